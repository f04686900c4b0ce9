/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - what `persifs mount -o` understands: one struct, one table */
#ifndef FUSEFS_OPTIONS_H
#define FUSEFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "cache/cache.h"
#include "common/opt.h"

enum consistency { CONSISTENCY_AUTO, CLOSE_TO_OPEN, EXCLUSIVE, STRICT };
enum lock_keeper { LOCKS_AUTO, LOCKS_DAEMON, LOCKS_KERNEL };

struct mount_options {
	uint64_t cache_size, page_size;
	uint32_t dirty_background, dirty_limit;
	uint64_t dirty_age, readahead_max;
	unsigned policy, consistency, locks;
	uint64_t attr_timeout, entry_timeout, negative_timeout; /* ms */
	bool ro, noexec;
	int64_t uid, gid, owner_uid, owner_gid;
	bool allow_other, default_permissions, xattr;
	uint64_t nconnect, rsize, wsize;
	bool resvport, hard, soft, nlm;
	uint64_t timeout, rpc_timeout;
	unsigned log_level;
	uint64_t receivers, busy_poll;
	bool pin;
	unsigned sandbox;
	int64_t sandbox_uid;
	char *device;
	char *layers;
};

extern const struct opt_def mount_option_table[];

/* Defaults for this machine; allow_other as befits the caller's uid. */
int options_defaults(struct mount_options *o);
void options_done(struct mount_options *o);
/* One -o argument; words of fstab(5) that mean nothing here are passed over,
 * suid and dev are refused. -EINVAL with a sentence. */
int options_parse(struct mount_options *o, const char *text, struct err *err);
/* Checks that the options fit together. -EINVAL with a sentence. */
int options_check(const struct mount_options *o, struct err *err);
/* Replaces "auto" by what suits the backend. */
void options_resolve(struct mount_options *o, const struct be_limits *limits);
/* True when identities are mapped (uid or gid given). */
bool options_mapped(const struct mount_options *o);
void options_tunables(const struct mount_options *o, struct cache_tunables *out);
/* All options as one -o text that options_parse() accepts; malloc'd, NULL without memory. */
char *options_format(const struct mount_options *o);

#endif
