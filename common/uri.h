/* SPDX-License-Identifier: Apache-2.0 */
/* uri.h - scheme:[//host[:port]]/path[?key=value&...], percent-decoded
 *
 * Parts point into storage of the struct. A bad URI (no scheme, bad %XX, a NUL
 * inside, longer than URI_MAX, port outside 1..65535) is -EINVAL with a sentence. */
#ifndef COMMON_URI_H
#define COMMON_URI_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define URI_MAX 4096
#define URI_PARAMS_MAX 32

struct uri {
	char *scheme, *host, *path; /* never NULL after success; host and path may be "" */
	uint16_t port;              /* 0: none given */
	unsigned nparams;
	struct {
		char *key, *value;
	} params[URI_PARAMS_MAX];
	char buf[URI_MAX + 8];
};

int uri_parse(const char *text, struct uri *out, struct err *err);
/* The value of key, or NULL. */
const char *uri_param(const struct uri *uri, const char *key);
/* Value of key as a number in min..max, or dflt when absent; -EINVAL with a
 * sentence that names key and value. */
int uri_param_u64(const struct uri *uri, const char *key, uint64_t min, uint64_t max, uint64_t dflt,
		  uint64_t *out, struct err *err);
/* -EINVAL, naming it, when a key outside the NULL-ended list is present. */
int uri_only_params(const struct uri *uri, const char *const *known, struct err *err);

#endif
