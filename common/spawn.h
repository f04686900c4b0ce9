/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.h - runs a program, and hears what it complains about
 *
 * Any thread. */
#ifndef COMMON_SPAWN_H
#define COMMON_SPAWN_H

#include <stddef.h>

#include "common/cancel.h"

#define SPAWN_STDERR_MAX 4096 /* bytes of standard error that are kept */

/* Runs argv in a process group of its own and waits for its end, limit_ms at most. Returns its
 * exit status, -ETIMEDOUT or -ECANCELED when it was killed for that, -EIO when a signal
 * ended it, or what kept it from running. text gets its standard error, on one line. */
int spawn_wait(const char *const *argv, unsigned limit_ms, const struct cancel *cancel, char *text,
	       size_t cap);

#endif
