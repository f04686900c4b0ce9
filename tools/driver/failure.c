/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/failure.h"

#include <stdarg.h>
#include <stdio.h>

static void __attribute__((format(printf, 3, 0)))
store(struct failure *f, bool safe, const char *fmt, va_list ap)
{
	f->safe = safe;
	vsnprintf(f->err.text, sizeof f->err.text, fmt, ap);
}

int failure_set(struct failure *f, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	store(f, false, fmt, ap);
	va_end(ap);
	return code;
}

int failure_set_safe(struct failure *f, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	store(f, true, fmt, ap);
	va_end(ap);
	return code;
}
