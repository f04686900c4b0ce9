/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h - one sum of memory for all caches of a machine
 *
 * Each daemon gets an equal share, none more than its volumes ask for; what those leave is
 * divided among the others. A thread of its own asks the daemons who they are (several
 * names can have one) and sends what changed by "tune", so that no operation waits. */
#ifndef TOOLS_DRIVER_BUDGET_H
#define TOOLS_DRIVER_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "tools/driver/volumes.h"

#define BUDGET_SHARE_MIN (4ULL << 20) /* what persifs takes at least */
#define BUDGET_STEP (1ULL << 20)      /* shares are rounded down to this */
#define BUDGET_TRIES 4                /* a daemon can grow to a limit that only it knows */

struct budget;

struct budget *budget_new(uint64_t total);
void budget_free(struct budget *b); /* after budget_stop() */

/* The thread, and whose volumes it looks at. -errno. */
int budget_start(struct budget *b, struct volumes *vs);
void budget_stop(struct budget *b);

/* For struct volumes_env; arg is the budget. */
uint64_t budget_share(void *arg, uint64_t wanted);
void budget_changed(void *arg);

/* Divides total among n, of which each wants at most wanted[i] (0: any), into shares[i]. */
void budget_divide(uint64_t total, const uint64_t *wanted, size_t n, uint64_t *shares);

#endif
