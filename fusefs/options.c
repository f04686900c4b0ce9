/* SPDX-License-Identifier: Apache-2.0 */
#include "fusefs/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define KIB 1024ULL
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define AUTO_MS UINT64_MAX
#define YEAR_MS (365ULL * 86400 * 1000)

static const char *const lock_names[] = { "auto", "daemon", "kernel", NULL };
static const char *const consistency_names[] = { "auto", "close-to-open", "exclusive", "strict",
						 NULL };
static const char *const sandbox_names[] = { "auto", "full", "off", NULL };
static const char *const level_names[] = { "error", "warn", "info", "debug", NULL };

#define AT(member) offsetof(struct mount_options, member)

const struct opt_def mount_option_table[] = {
	{ "cache_size", OPT_SIZE, "bytes", AT(cache_size), 4 * MIB, 1024 * GIB, "512m", NULL,
	  "memory for cached pages", true },
	{ "page_size", OPT_SIZE, "bytes", AT(page_size), 4 * KIB, MIB, "64k", NULL,
	  "size of a cache frame, a power of two", false },
	{ "dirty_background", OPT_PERCENT, "% of cache_size", AT(dirty_background), 1, 90, "10",
	  NULL, "write back begins above this", true },
	{ "dirty_limit", OPT_PERCENT, "% of cache_size", AT(dirty_limit), 1, 90, "50", NULL,
	  "writers wait above this", true },
	{ "dirty_age", OPT_TIME, "seconds", AT(dirty_age), 100, 3600 * 1000, "5", NULL,
	  "dirty data older than this is written back", true },
	{ "readahead_max", OPT_SIZE, "bytes", AT(readahead_max), 0, 64 * MIB, "8m", NULL,
	  "largest readahead of one stream; 0: none", true },
	{ "policy", OPT_ENUM, NULL, AT(policy), 0, 0, "s3fifo", policy_names, "eviction policy",
	  false },
	{ "consistency", OPT_ENUM, NULL, AT(consistency), 0, 0, "auto", consistency_names,
	  "close-to-open: checked at open, flushed at close (NFS, folders); exclusive: nobody "
	  "else changes files (memory); strict: nothing is cached",
	  false },
	{ "locks", OPT_ENUM, NULL, AT(locks), 0, 0, "auto", lock_names,
	  "who keeps file locks: daemon, or kernel (by default with exclusive; costs no request)",
	  false },
	{ "attr_timeout", OPT_TIME, "seconds", AT(attr_timeout), 0, YEAR_MS, NULL, NULL,
	  "how long the kernel keeps attributes; default 3, exclusive 3600, strict 0", true },
	{ "entry_timeout", OPT_TIME, "seconds", AT(entry_timeout), 0, YEAR_MS, NULL, NULL,
	  "how long the kernel keeps names; default 3, exclusive 3600, strict 0", true },
	{ "negative_timeout", OPT_TIME, "seconds", AT(negative_timeout), 0, YEAR_MS, NULL, NULL,
	  "how long the kernel keeps that a name is missing; default 0, exclusive 3600", true },
	{ "ro", OPT_BOOL, NULL, AT(ro), 0, 0, "no", NULL, "read-only", false },
	{ "noexec", OPT_BOOL, NULL, AT(noexec), 0, 0, "no", NULL, "programs cannot be executed",
	  false },
	{ "uid", OPT_ID, NULL, AT(uid), 0, 0, "-1", NULL,
	  "user id used towards the backend for everybody", false },
	{ "gid", OPT_ID, NULL, AT(gid), 0, 0, "-1", NULL,
	  "group id used towards the backend for everybody", false },
	{ "owner_uid", OPT_ID, NULL, AT(owner_uid), 0, 0, "2000", NULL,
	  "with uid: what programs see as owner of that user's files", false },
	{ "owner_gid", OPT_ID, NULL, AT(owner_gid), 0, 0, "2000", NULL,
	  "with gid: what programs see as group of that group's files", false },
	{ "allow_other", OPT_BOOL, NULL, AT(allow_other), 0, 0, "no", NULL,
	  "other users may enter; on by default when root mounts", false },
	{ "default_permissions", OPT_BOOL, NULL, AT(default_permissions), 0, 0, "yes", NULL,
	  "the kernel checks mode bits too; always off with uid or gid", false },
	{ "xattr", OPT_BOOL, NULL, AT(xattr), 0, 0, "yes", NULL,
	  "extended attributes where the backend has them; without, programs like ls ask for less",
	  false },
	{ "nconnect", OPT_UINT, "connections", AT(nconnect), 1, 16, "1", NULL,
	  "connections to the server", false },
	{ "rsize", OPT_SIZE, "bytes", AT(rsize), 0, MIB, "0", NULL,
	  "largest read sent; 0: the server's wish", false },
	{ "wsize", OPT_SIZE, "bytes", AT(wsize), 0, MIB, "0", NULL,
	  "largest write sent; 0: the server's wish", false },
	{ "resvport", OPT_BOOL, NULL, AT(resvport), 0, 0, "no", NULL,
	  "connect from a port below 1024", false },
	{ "hard", OPT_BOOL, NULL, AT(hard), 0, 0, "yes", NULL, "wait for a lost server for ever",
	  false },
	{ "soft", OPT_BOOL, NULL, AT(soft), 0, 0, "no", NULL,
	  "give up on a lost server after timeout", false },
	{ "timeout", OPT_TIME, "seconds", AT(timeout), 1000, 3600 * 1000, "60", NULL,
	  "with soft: when an operation fails", false },
	{ "rpc_timeout", OPT_TIME, "seconds", AT(rpc_timeout), 100, 3600 * 1000, "60", NULL,
	  "a server that has not answered for so long is connected to and asked again", false },
	{ "nlm", OPT_BOOL, NULL, AT(nlm), 0, 0, "no", NULL,
	  "file locks are taken at the NFS server, so that other clients see them", false },
	{ "log_level", OPT_ENUM, NULL, AT(log_level), 0, 0, "info", level_names,
	  "least important message logged", true },
	{ "receivers", OPT_UINT, "threads", AT(receivers), 0, 64, "0", NULL,
	  "threads that read requests; 0: one for each CPU, at most 8", false },
	{ "busy_poll", OPT_UINT, "microseconds", AT(busy_poll), 0, 1000, "50", NULL,
	  "how long a receiver waits awake for the next request, while that pays", true },
	{ "pin", OPT_BOOL, NULL, AT(pin), 0, 0, "no", NULL, "each receiver stays on one CPU",
	  false },
	{ "sandbox", OPT_ENUM, NULL, AT(sandbox), 0, 0, "auto", sandbox_names,
	  "what the daemon gives up before it reads from server or device: auto, what this kernel "
	  "and the caller's rights allow; full: or the mount fails",
	  false },
	{ "sandbox_uid", OPT_ID, NULL, AT(sandbox_uid), 0, 0, "-1", NULL,
	  "user id of the daemon itself; default 65533 where that is to be had (nfs, memory)",
	  false },
	{ "device", OPT_STRING, NULL, AT(device), 0, 0, NULL, NULL,
	  "MAJOR:MINOR of the mount whose /dev/fd/N is given instead of a folder, where the kernel "
	  "does not tell it",
	  false },
	{ "layers", OPT_STRING, NULL, AT(layers), 0, 0, NULL, NULL,
	  "test layers above the backend: fault:..., delay:..., trace", false },
	{ 0 },
};

/* Words of fstab(5) and mount(8) that are for others, or true anyway. */
static const char *const ignored[] = { "rw",       "defaults", "auto",       "noauto",   "user",
				       "nouser",   "users",    "owner",      "group",    "_netdev",
				       "nofail",   "nosuid",   "nodev",      "exec",     "async",
				       "relatime", "noatime",  "nodiratime", "lazytime", NULL };

int options_defaults(struct mount_options *o)
{
	int rc = opt_defaults(mount_option_table, o);

	if (rc)
		return rc;
	o->allow_other = geteuid() == 0;
	o->attr_timeout = o->entry_timeout = o->negative_timeout = AUTO_MS;
	return 0;
}

void options_done(struct mount_options *o)
{
	opt_done(mount_option_table, o);
}

static bool is_ignored(const char *word, size_t len)
{
	if (len >= 2 && !strncmp(word, "x-", 2))
		return true;
	if (len >= 8 && !strncmp(word, "comment=", 8))
		return true;
	for (const char *const *i = ignored; *i; i++)
		if (strlen(*i) == len && !strncmp(*i, word, len))
			return true;
	return false;
}

/* The end of an item: a comma that no backslash protects. */
static const char *item_end(const char *s)
{
	for (; *s && *s != ','; s++)
		if (*s == '\\' && s[1])
			s++;
	return s;
}

int options_parse(struct mount_options *o, const char *text, struct err *err)
{
	while (*text) {
		const char *end = item_end(text);
		size_t len = (size_t)(end - text);
		char *item;
		int rc = 0;

		if (len == 4 && !strncmp(text, "suid", 4))
			return err_set(err, -EINVAL,
				       "option suid: persifs mounts are always nosuid");
		if (len == 3 && !strncmp(text, "dev", 3))
			return err_set(err, -EINVAL, "option dev: persifs mounts are always nodev");
		if (len && !is_ignored(text, len)) {
			item = strndup(text, len);
			rc = item ? opt_parse(mount_option_table, o, item, err) : -ENOMEM;
			free(item);
		}
		if (rc)
			return rc;
		text = *end ? end + 1 : end;
	}
	return 0;
}

int options_check(const struct mount_options *o, struct err *err)
{
	if (o->page_size & (o->page_size - 1))
		return err_set(err, -EINVAL, "option page_size=%llu: want a power of two",
			       (unsigned long long)o->page_size);
	if (o->cache_size < 64 * o->page_size)
		return err_set(err, -EINVAL,
			       "option cache_size=%llu: want at least 64 pages of %llu bytes",
			       (unsigned long long)o->cache_size, (unsigned long long)o->page_size);
	if (o->dirty_background > o->dirty_limit)
		return err_set(err, -EINVAL,
			       "option dirty_background=%u: want at most dirty_limit=%u",
			       o->dirty_background, o->dirty_limit);
	if (options_mapped(o) && (o->uid == 0 || o->gid == 0))
		return err_set(err, -EINVAL, "option %s=0: a mapped identity cannot be root",
			       o->uid == 0 ? "uid" : "gid");
	if (options_mapped(o) && (o->uid < 0 || o->gid < 0))
		return err_set(err, -EINVAL, "option %s: wants %s beside it",
			       o->uid < 0 ? "gid" : "uid", o->uid < 0 ? "uid" : "gid");
	if (o->nlm && o->locks == LOCKS_KERNEL)
		return err_set(err, -EINVAL, "option nlm: does not go with locks=kernel");
	if (o->nlm && o->consistency == EXCLUSIVE)
		return err_set(err, -EINVAL, "option nlm: does not go with consistency=exclusive");
	return 0;
}

static void resolve_ms(uint64_t *v, uint64_t normal, uint64_t exclusive, unsigned consistency)
{
	if (consistency == STRICT)
		*v = 0;
	else if (*v == AUTO_MS)
		*v = consistency == EXCLUSIVE ? exclusive : normal;
}

void options_resolve(struct mount_options *o, const struct be_limits *limits)
{
	if (o->consistency == CONSISTENCY_AUTO)
		o->consistency = limits->caps & BE_CAP_SHARED ? CLOSE_TO_OPEN : EXCLUSIVE;
	if (o->locks == LOCKS_AUTO)
		o->locks = o->consistency == EXCLUSIVE ? LOCKS_KERNEL : LOCKS_DAEMON;
	resolve_ms(&o->attr_timeout, 3000, 3600 * 1000, o->consistency);
	resolve_ms(&o->entry_timeout, 3000, 3600 * 1000, o->consistency);
	resolve_ms(&o->negative_timeout, 0, 3600 * 1000, o->consistency);
	if (options_mapped(o))
		o->default_permissions = false;
}

bool options_mapped(const struct mount_options *o)
{
	return o->uid >= 0 || o->gid >= 0;
}

void options_tunables(const struct mount_options *o, struct cache_tunables *out)
{
	*out = (struct cache_tunables){ .cache_bytes = o->cache_size,
					.background_percent = o->dirty_background,
					.limit_percent = o->dirty_limit,
					.dirty_age_ms = o->dirty_age,
					.readahead_max = o->readahead_max };
}

static void put_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			fputc('\\', out);
		fputc(*s, out);
	}
}

char *options_format(const struct mount_options *o)
{
	char *text = NULL, value[OPT_VALUE_MAX];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (const struct opt_def *d = mount_option_table; d->name; d++) {
		uint64_t ms =
			d->type == OPT_TIME ?
				*(const uint64_t *)(const void *)((const char *)o + d->offset) :
				0;

		if (ms == AUTO_MS || opt_format(d, o, value, sizeof value) ||
		    (d->type == OPT_STRING && !*value))
			continue;
		fprintf(out, "%s=", d->name);
		put_escaped(out, value);
		fputc(',', out);
	}
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}
