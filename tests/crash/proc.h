/* SPDX-License-Identifier: Apache-2.0 */
/* proc.h - programs that are run for a moment, and what they said */
#ifndef TESTS_CRASH_PROC_H
#define TESTS_CRASH_PROC_H

#include <stddef.h>

#define PROC_FD 3 /* where the program finds fd: "/proc/self/fd/3" */
#define PROC_LIMIT_MS 60000

/* Runs argv with fd (-1: none) as its PROC_FD; what it prints to both outputs is in out[0..cap), terminated and cut.
 * Its exit status; -errno when it did not start, -ETIMEDOUT after the limit, -EINTR when a signal ended it. */
int proc_run(const char *const *argv, int fd, char *out, size_t cap);

#endif
