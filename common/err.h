/* SPDX-License-Identifier: Apache-2.0 */
/* err.h - a sentence for a person, beside the -errno that decides
 *
 * Functions on the way to a command line take a struct err as last parameter
 * and fill it when they fail; NULL means that nobody wants the sentence. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

struct err {
	char text[512];
};

/* Stores the sentence (cut at the end of text) and returns code unchanged. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
