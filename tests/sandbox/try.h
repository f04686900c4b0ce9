/* SPDX-License-Identifier: Apache-2.0 */
/* try.h - what somebody who has taken the worker over would try
 *
 * Linked into persifs-try alone: the program as it is, and a control command "try" that runs each
 * attempt inside the worker. */
#ifndef TESTS_SANDBOX_TRY_H
#define TESTS_SANDBOX_TRY_H

#include <jansson.h>
#include <sys/types.h>

/* {"ok": true, "tries": {NAME: "done" or the text of an errno}}; a new object. other: a process
 * that is none of ours to touch. */
json_t *sandbox_try(pid_t other);

#endif
