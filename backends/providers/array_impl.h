/* SPDX-License-Identifier: Apache-2.0 */
/* array_impl.h - configuration keys that all arrays have, and what follows from them
 *
 *   url | urls             "https://host[:port]", or a list of up to REST_URLS_MAX
 *   user, password | password_file
 *   ca_file | insecure     certificates: whose to trust, or to trust any
 *   connect_timeout, timeout, parallel, name_prefix
 */
#ifndef BACKENDS_PROVIDERS_ARRAY_IMPL_H
#define BACKENDS_PROVIDERS_ARRAY_IMPL_H

#include "backends/providers/provider.h"
#include "backends/providers/rest.h"
#include "common/opt.h"

#define ARRAY_PASSWORD_MAX 1024 /* bytes, with the NUL */
#define ARRAY_PREFIX_MAX 16     /* bytes of name_prefix, with the NUL */

struct array_config {
	char *urls[REST_URLS_MAX + 1]; /* owned, NULL-ended */
	size_t nurls;
	char *url; /* owned until it is moved to urls */
	char *user, *password, *password_file, *ca_file, *name_prefix; /* owned */
	bool insecure;
	uint64_t connect_ms, total_ms, parallel;
};

/* Sorts the members of config: "type" and those of lists (NULL-ended; may be NULL) are left to the
 * caller, the rest goes to out, or to own's table and base (filled with defaults; may be NULL). What is in none
 * of them is refused by name. Sentences say 'provider NAME: key "..."' and never show a password. On failure,
 * out is as after array_config_done(); base is the caller's. */
int array_config_read(const char *name, const json_t *config, const struct opt_def *own, void *base,
		      const char *const *lists, struct array_config *out, struct err *err);
void array_config_done(struct array_config *c);
/* The password; a file is read each time, so that it can be replaced. -EACCES. */
int array_password(const struct array_config *c, char buf[ARRAY_PASSWORD_MAX], struct err *err);
int array_rest_new(const struct array_config *c, struct rest **out, struct err *err);

#endif
