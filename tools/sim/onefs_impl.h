/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_impl.h - what the parts of the simulated OneFS cluster share
 *
 *   onefs.c          the kind: open, close, save, sessions, dispatch of a call
 *   onefs_reply.c    errors, arguments, checks of fields, pages
 *   onefs_route.c    the table of routes
 *   onefs_cluster.c  version, configuration, zones, pools, licences, statistics
 *   onefs_export.c   exports       onefs_nfs.c   aliases, settings of the NFS service
 *   onefs_quota.c    quotas        onefs_snap.c  snapshots
 *   onefs_ran.c      /namespace    onefs_acl.c   modes and owners there
 *   onefs_tree.c     the real folder behind it
 *   onefs_nfsd.c     nfs-ganesha, which exports the real folder
 *
 * What the cluster knows is kept as JSON objects, in the form of the answers but without
 * what is computed for them, and is the state file as it is. */
#ifndef TOOLS_SIM_ONEFS_IMPL_H
#define TOOLS_SIM_ONEFS_IMPL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/lock.h"
#include "tools/sim/sim.h"

#define ONEFS_PATH_MAX 1024 /* bytes of a path, with the NUL */
#define ONEFS_NAME_MAX 255  /* of one name */
#define ONEFS_DEPTH_MAX 128 /* levels of folders that are walked */
#define ONEFS_PAGE_MAX 5000 /* entries of one page */
#define ONEFS_PAGE 1000     /* without limit= */
#define ONEFS_SESSIONS 256  /* at a time; the oldest goes */
#define ONEFS_CURSORS 64    /* resume tokens that are remembered */
#define ONEFS_ZONES 16
#define ONEFS_TOKEN 40 /* bytes of a session's or page's token, with the NUL */

struct onefs_nfsd;

struct onefs_options {
	char *latest, *release, *zones, *hosts, *deny, *smartconnect;
	bool csrf, basic, ganesha;
	unsigned errors, quota_licence, snapshot_licence; /* enums below */
	uint64_t nodes, export_delay_ms, quota_scan_ms, max_exports, capacity;
	uint64_t nfs_port, mount_port;
};
enum onefs_errors { ERRORS_JSON, ERRORS_HTML, ERRORS_MIXED };

struct onefs_session {
	char id[ONEFS_TOKEN], csrf[ONEFS_TOKEN]; /* id "": free */
	char next[ONEFS_TOKEN];                  /* the replacement that was offered, or "" */
	unsigned node;
	bool platform, ran; /* services */
	uint64_t made, used;
};

/* Pages of a list: what matched when the first one was asked for. */
struct onefs_cursor {
	char token[ONEFS_TOKEN]; /* "": free */
	const void *of;          /* the route whose list it is */
	json_t *keys;            /* owned: all that matched, in order */
	json_t *args;            /* owned: of the first call */
	size_t at;
	uint64_t made;
};

struct onefs_zone {
	char name[64], path[256];
};

struct onefs {
	struct sim *sim;
	const struct onefs_options *opt;
	unsigned latest; /* 0: the route is not there */
	int ifs;         /* the folder that is /ifs */
	struct onefs_zone zones[ONEFS_ZONES];
	unsigned nzones;
	struct onefs_nfsd *nfsd; /* NULL: none */
	struct mutex lock;
	/* guarded by lock */
	json_t *state;    /* exports, quotas, snapshots, ...: see state_new() */
	json_t *paths;    /* "zone:path" of exports -> how many have it */
	json_t *visible;  /* key of an export or quota -> clock_ms() from which it is seen */
	json_t *copyfail; /* path whose copy fails -> message */
	json_t *defaults; /* of an export; not changed after open() */
	struct onefs_session sessions[ONEFS_SESSIONS];
	struct onefs_cursor cursors[ONEFS_CURSORS];
	unsigned node; /* that answers, from 1 */
	bool rotate;   /* each call goes to the next node */
	unsigned long nerrors;
};

/* One call. */
struct onefs_call {
	struct onefs *o;
	struct httpd_request *rq;
	const char *method, *path;
	unsigned version; /* N of /platform/N */
	char key[128];    /* what the route's "*" stands for, or "" */
	json_t *args;     /* owned: name -> value, or array of values */
	json_t *body;     /* owned: an object, or NULL */
	const struct onefs_zone *zone;
	unsigned node; /* that answers */
	uint64_t now;
	bool half;
	bool changed; /* what the state file holds */
	bool exports; /* the NFS server has to hear of it */
	/* the outcome */
	unsigned status;
	json_t *answer; /* owned; NULL: no body */
	json_t *errors; /* owned, an array; NULL: none */
};

typedef void onefs_fn(struct onefs_call *c);

struct onefs_route {
	const char *method, *pattern; /* below /platform/N/; "*" at its end stands for one part */
	unsigned since;               /* N */
	const char *args;             /* allowed, each with a blank before and behind it */
	const char *privilege;
	onefs_fn *fn;    /* under the lock */
	onefs_fn *after; /* without it, when fn made no error; NULL: nothing */
};

/* --- onefs_reply.c --- */

/* Adds an error; the first one's status is the answer's. */
void onefs_fail(struct onefs_call *c, unsigned status, const char *code, const char *field,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void onefs_reply(struct onefs_call *c);
/* First value of a query argument, or NULL. */
const char *onefs_arg(const struct onefs_call *c, const char *name);
bool onefs_arg_true(const struct onefs_call *c, const char *name);
bool onefs_word(const char *list, const char *word); /* list: " a b c " */
/* 1..max, or the default; an error is added when it is none. */
uint64_t onefs_arg_number(struct onefs_call *c, const char *name, uint64_t dflt, uint64_t max);
void onefs_token(char buf[ONEFS_TOKEN]);
/* Copies of the keys of one page, and "resume" for the answer. keys (taken) is NULL when the call brings a token:
 * then those of the first call are taken, and its args become the call's. NULL: an error was added. */
json_t *onefs_page(struct onefs_call *c, const void *of, json_t *keys_take, json_t **resume);
bool onefs_persona(const json_t *p, const char *kinds, int64_t *id);

/* --- routes and their parts --- */

const struct onefs_route *onefs_find_route(const char *method, const char *rest, char key[128],
					   bool *known);
onefs_fn onefs_latest, onefs_config, onefs_version, onefs_zone_list, onefs_pool_list, onefs_licence,
	onefs_licence_list, onefs_stats;
onefs_fn onefs_exports_get, onefs_exports_post, onefs_export_get, onefs_export_put,
	onefs_export_delete, onefs_exports_summary, onefs_export_defaults;
onefs_fn onefs_aliases_get, onefs_aliases_post, onefs_alias_get, onefs_alias_put,
	onefs_alias_delete;
onefs_fn onefs_global_get, onefs_global_put, onefs_zoneset_get, onefs_zoneset_put;
onefs_fn onefs_quotas_get, onefs_quotas_post, onefs_quotas_delete, onefs_quota_get, onefs_quota_put,
	onefs_quota_delete, onefs_quota_usage;
onefs_fn onefs_snaps_get, onefs_snaps_post, onefs_snap_get, onefs_snap_put, onefs_snap_delete,
	onefs_snap_copy, onefs_snap_drop;
void onefs_namespace(struct onefs_call *c);
/* The error of a call for path, by -errno. */
void onefs_fail_errno(struct onefs_call *c, int rc, const char *path);
/* Octal, or the name of an access list; NULL: dflt. */
bool onefs_read_mode(const char *text, mode_t dflt, mode_t *out);
json_t *onefs_user(uid_t uid);
json_t *onefs_group(gid_t gid);
void onefs_get_acl(struct onefs_call *c, const char *path);
void onefs_put_acl(struct onefs_call *c, const char *path);
/* What is kept of paths that are gone, or are called otherwise now. */
void onefs_forget_acls(struct onefs_call *c, const char *path);
json_t *onefs_export_defaults_new(void);
bool onefs_state_ok(const json_t *state);
void onefs_index_exports(struct onefs *o);
/* Forgets snapshots of the state file whose copy or removal was not finished. */
void onefs_snap_load(struct onefs *o);
/* A quota at path or, with below, at something in it. Under the lock. */
bool onefs_has_quota(struct onefs *o, const char *path, bool below);
bool onefs_licensed(unsigned licence);
bool onefs_denied(const struct onefs *o, const char *privilege);

/* --- onefs_tree.c: paths are absolute, "/ifs/..."; -errno --- */

struct onefs_usage {
	uint64_t inodes, logical, physical;
};
/* Tells of something that could not be copied. False: stop. */
typedef bool onefs_copy_failed(void *arg, const char *from, const char *to, const char *why);
/* Why the path itself may not be copied, or NULL. */
typedef const char *onefs_copy_check(void *arg, const char *from);

struct onefs_copy {
	onefs_copy_check *check;
	onefs_copy_failed *failed;
	void *arg;
	unsigned stop_after; /* files; 0: all */
};

/* Below /ifs, without "." and "..", not too long; path: "/ifs" for the store itself. */
bool onefs_path_ok(const char *path);
bool onefs_path_below(const char *path, const char *dir); /* or the same */
int onefs_stat(struct onefs *o, const char *path, struct stat *st);
int onefs_open_dir(struct onefs *o, const char *path); /* a descriptor to be read */
/* 1: made; 0: there already. */
int onefs_mkdir(struct onefs *o, const char *path, mode_t mode, bool parents);
enum onefs_removal {
	REMOVE_ONE,
	REMOVE_ALL,     /* with what is in it */
	REMOVE_BOUNDED, /* the same, until a folder that is closed to the API's user */
};
/* stop_after: entries, then -EINTR; 0: all. */
int onefs_remove(struct onefs *o, const char *path, enum onefs_removal how, unsigned stop_after);
int onefs_move(struct onefs *o, const char *from, const char *to);
int onefs_copy_tree(struct onefs *o, const char *from, const char *to, struct onefs_copy *how);
int onefs_usage(struct onefs *o, const char *path, struct onefs_usage *out);
int onefs_chmod(struct onefs *o, const char *path, mode_t mode);
int onefs_chown(struct onefs *o, const char *path, int64_t uid, int64_t gid);

/* --- onefs_nfsd.c --- */

/* On a thread that lives as long as the server: the kernel ends it with that thread. */
int onefs_nfsd_start(struct onefs *o, struct err *err);
void onefs_nfsd_stop(struct onefs *o);
/* The exports have changed: returns when the server knows, or after a limit. */
void onefs_nfsd_reload(struct onefs *o);

#endif
