/* SPDX-License-Identifier: Apache-2.0 */
/* worker.h - threads that carry out what rows say: create, update, delete
 *
 * A worker claims an operation, asks the provider, and writes the outcome if it still holds the lease. A
 * helper renews leases, wakes who waits, and buries tombstones. What a killed broker began is claimed by
 * whoever runs, when its lease is over; nothing else has to be done at start. Threads: any. */
#ifndef TOOLS_BROKER_WORKER_H
#define TOOLS_BROKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "tools/broker/store.h"

struct broker;
struct workers;

int workers_start(struct broker *b, struct workers **out, struct err *err);
/* False: a provider call still runs after limit_ms; then nothing is freed, and the process should end: the
 * lease lets another go on. NULL is fine. */
bool workers_stop(struct workers *w, unsigned limit_ms);
/* There is something to claim. NULL is fine. */
void workers_wake(struct workers *w);
/* Until the operation op of the instance is over, at most limit_ms. 0 with the instance as it is then (also when it
 * is gone: zeroed), -ETIMEDOUT, or an error of the store. */
int workers_wait(struct workers *w, const char *id, const char *op, uint64_t limit_ms,
		 struct instance *out, struct err *err);

#endif
