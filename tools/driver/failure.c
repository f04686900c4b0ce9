/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/failure.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

/* The length of the UTF-8 character that s begins with, 0 when it is none. */
static size_t char_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned long c;

	if (n < 2)
		return n;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
	    (n == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return n;
}

/* A sentence that was cut in a character could not be sent as JSON, and a stranger's newline in it
 * would begin a line of the log. */
static void mend(char *text)
{
	while (*text) {
		size_t n = char_len((const unsigned char *)text);

		if (!n || iscntrl((unsigned char)*text))
			*text = '?';
		text += n ? n : 1;
	}
}

static void __attribute__((format(printf, 3, 0)))
store(struct failure *f, bool safe, const char *fmt, va_list ap)
{
	f->safe = safe;
	vsnprintf(f->err.text, sizeof f->err.text, fmt, ap);
	mend(f->err.text);
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
