/* SPDX-License-Identifier: Apache-2.0 */
/* mountopts.h - from the Opts of a volume to what persifs mount is told
 *
 * Opts are a developer's: keys and values may be anything. Values are taken as string,
 * number or boolean. All mistakes are told as safe sentences. Any thread. */
#ifndef TOOLS_DRIVER_MOUNTOPTS_H
#define TOOLS_DRIVER_MOUNTOPTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/driver/failure.h"

#define MOUNTOPTS_NAME_MAX 255   /* of a provider or an owner */
#define MOUNTOPTS_VALUE_MAX 4096 /* bytes of one value */

/* What the operator allows. Everything borrowed, read only. */
struct mountopts_rules {
	const char *const *sources;
	size_t nsources;
	const char *const *arrays; /* more of sources: those of attach.h, NULL-ended; may be NULL */
	const char *const *options; /* allowed as persifs.NAME */
	size_t noptions;
	const char *defaults; /* options in the form of -o; may be NULL */
	/* Who this user is; NULL: nobody knows, and username is refused. */
	int (*identify)(void *arg, const char *user, const char *password, uint32_t *uid,
			uint32_t *gid, struct failure *f);
	void *identify_arg;
};

struct mountopts {
	char *uri;             /* owned */
	char *options;         /* owned; without cache_size */
	uint64_t cache_wanted; /* bytes; 0: nothing was said */
	json_t *volume; /* a count of it; NULL: none. Strings "provider", "owner", objects "handle", "plan" */
};

/* 0 with *out, or -errno. */
int mountopts_build(const json_t *opts, const struct mountopts_rules *rules, struct mountopts *out,
		    struct failure *f);
void mountopts_done(struct mountopts *m);

/* A copy for the log: values of secrets, and of keys that nobody knows, are REDACTED. */
json_t *mountopts_redacted(const json_t *opts);
/* A copy for the state file: the same, without the secrets, with what names a volume of an array; *had_secret says whether there were any. */
json_t *mountopts_stored(const json_t *opts, bool *had_secret);

#endif
