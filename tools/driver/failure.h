/* SPDX-License-Identifier: Apache-2.0 */
/* failure.h - what an operation of the driver failed with, and for whose eyes
 *
 * safe: the sentence is for the developer of an app. It holds no host, no secret and
 * nothing about the cell, and is sent as a SafeDescription. Otherwise it is the operator's. */
#ifndef TOOLS_DRIVER_FAILURE_H
#define TOOLS_DRIVER_FAILURE_H

#include <stdbool.h>

#include "common/err.h"

struct failure {
	struct err err;
	bool safe;
};

/* Both store the sentence (one line of UTF-8, cut to fit) and return code. */
int failure_set(struct failure *f, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int failure_set_safe(struct failure *f, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
