/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_impl.h - parts of the OneFS provider: platform API (exports, quotas, snapshots) and
 * namespace API (directories), over rest.h
 *
 * onefs.c          configuration, table of functions
 * onefs_volume.c   the volume: create, remove, get, list, grow, snapshot, restore
 * onefs_session.c  login, one call, what Set-Cookie says
 * onefs_error.c    what an answer means; lists in pages; URLs
 * onefs_ns.c       directories
 * onefs_export.c   exports
 * onefs_clients.c  lists of clients of an export, changed beside other writers
 * onefs_quota.c    quotas, snapshots, statistics
 *
 * Names begin with isi_, as the simulator of the array has onefs_.
 *
 * A volume is BASE/NAME with an export and, when it has a size, a quota. Everything is found again by the
 * path; ids only shorten the way. */
#ifndef BACKENDS_PROVIDERS_ONEFS_IMPL_H
#define BACKENDS_PROVIDERS_ONEFS_IMPL_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "backends/providers/array_impl.h"
#include "backends/providers/provider.h"
#include "backends/providers/rest.h"
#include "common/err.h"
#include "common/lock.h"

#define ONEFS_PATH_MAX 1024        /* of a directory, with the NUL; the array's own limit */
#define ONEFS_ZONE_MAX 128         /* of an access zone's name, with the NUL */
#define ONEFS_COOKIE_MAX 512       /* of a session's cookies, with the NUL */
#define ONEFS_BASE_MAX 300         /* "https://host:port", with the NUL */
#define ONEFS_PLACES_MAX 64        /* base paths of all plans */
#define ONEFS_NETWORKS_MAX 256     /* entries of the configuration */
#define ONEFS_PAGES_MAX 4096       /* of one list */
#define ONEFS_ITEMS_MAX 500000     /* that one list keeps */
#define ONEFS_PAGE "1000"          /* entries asked for at a time */
#define ONEFS_RESTARTS 3           /* of a list whose token grew stale */
#define ONEFS_LOGIN_WAIT_MS 120000 /* for the login of another thread */
#define ONEFS_RENEW_MS 30000       /* so long before its end a session is replaced */
#define ONEFS_VISIBLE_TRIES 40     /* looks for an export that was made ... */
#define ONEFS_VISIBLE_MS 40000     /* no look begins later */
#define ONEFS_PAUSE_MS 50          /* ... the first pause, */
#define ONEFS_PAUSE_MAX_MS 1000    /* ... and the longest */
#define ONEFS_LOST_TRIES 6         /* looks for one whose answer was lost */
#define ONEFS_TREE_MS (300 * 1000) /* one delete or copy of a whole tree */
#define ONEFS_TREE_TRIES 3         /* deletes of one tree within one remove() */
#define ONEFS_CLIENT_TRIES 16      /* attempts to change a list beside other writers */
#define ONEFS_HOLD_MS 120000       /* for another thread that changes the same export */
#define ONEFS_SETTLE_MS 200     /* after a change: a stale list of another writer arrives by then */
#define ONEFS_ID_DEFAULT 2000   /* uid and gid of applications */
#define ONEFS_MODE_DEFAULT 0770 /* of a volume's directory */
#define ONEFS_SIZE_MAX (1ULL << 60) /* bytes; fits a JSON integer with room to spare */
#define ONEFS_DUMMY "localhost" /* keeps a list of clients from being empty, which is open to all */
#define ONEFS_SYSTEM "System"   /* the zone that needs no name */

/* Keys of the configuration that only this kind has. */
struct isi_settings {
	unsigned auth, clients;            /* isi_auths, isi_clients */
	char *zone, *base_path, *nfs_host; /* owned; nfs_host may be NULL */
	bool ignore_hosts;
};

/* A cookie pair of one node. */
struct isi_session {
	char id[ONEFS_COOKIE_MAX], csrf[ONEFS_COOKIE_MAX]; /* csrf "": an old release */
	char base[ONEFS_BASE_MAX];                         /* where it holds: the Referer */
	unsigned url;
	uint64_t serial; /* 0: none */
	uint64_t born_ms, used_ms, absolute_ms, inactive_ms;
};

/* Where volumes may lie. */
struct isi_place {
	char base[ONEFS_PATH_MAX], zone[ONEFS_ZONE_MAX];
};

/* Somebody who changes an export. */
struct isi_hold {
	struct isi_hold *next;
	const char *key;
};

struct onefs {
	struct provider base;
	/* set at open, then read only */
	struct rest *rest;
	/* rest_call(), or what a test puts in its place */
	int (*send)(struct rest *r, const struct rest_request *q, struct rest_reply *out,
		    struct err *err);
	struct array_config cfg;
	struct isi_settings set;
	bool basic, managed;
	json_t *networks;             /* array of strings, may be empty */
	unsigned pause_ms, settle_ms; /* as the limits above; tests shorten them */
	_Atomic unsigned version;     /* of the platform API; 0: not asked yet */
	_Atomic bool old_switches;    /* the server refused ignore_unresolvable_hosts */
	struct mutex lock;
	struct cond changed; /* a login has ended, a hold was let go */
	/* guarded by lock */
	struct isi_session session;
	uint64_t serials, logins;
	bool logging_in;
	int login_rc; /* of the last login, for those who waited for it */
	struct err login_err;
	struct isi_hold *holds;
	struct isi_place places[ONEFS_PLACES_MAX]; /* of plans; the provider's own is the first */
	size_t nplaces;
};

/* A volume that is meant. */
struct isi_volume {
	char name[PROVIDER_NAME_MAX], path[ONEFS_PATH_MAX], zone[ONEFS_ZONE_MAX];
	uint64_t export_id; /* 0: unknown */
	bool is_snapshot;   /* as the handle says */
};

/* --- calls (onefs_session.c) ---------------------------------------------------- */

struct isi_call {
	const char *name, *method; /* see rest_request */
	const char *path;          /* NULL: -ENOMEM */
	const char *header[2];     /* further headers */
	const json_t *body;        /* NULL: none */
	uint64_t total_ms;
	bool safe;
};

struct isi_reply {
	struct rest_reply rest;
	char code[40];     /* AEC_... or "" */
	char message[200]; /* cleaned, without secrets */
};

/* 0: answered with 2xx. Otherwise the class (provider.h) with a sentence; out->code and out->message are there for
 * both. Always ends in isi_reply_done(). */
int isi_call(struct onefs *o, const struct isi_call *c, struct isi_reply *out, struct err *err);
void isi_reply_done(struct isi_reply *a);
/* The reply itself does not matter. */
int isi_do(struct onefs *o, const struct isi_call *c, struct err *err);
/* Tells the array that the session is over; the answer does not matter. */
void isi_logout(struct onefs *o);
/* Number of the newest platform API; asked once. */
int isi_version(struct onefs *o, unsigned *out, struct err *err);

/* --- answers (onefs_error.c) ------------------------------------------------------- */

/* Fills code and message; the class of a status that is not 2xx, and of a 2xx that reports errors. */
int isi_judge(const struct onefs *o, const char *call, const struct isi_session *s,
	      struct isi_reply *a, struct err *err);
/* The message holds the fragment, whatever the case of letters. */
bool isi_says(const struct isi_reply *a, const char *fragment);
/* base?key=value&...: pairs up to a NULL key; a NULL value leaves its key out. Owned; NULL: no memory. */
char *isi_url_pairs(const char *base, const char *const *pairs);
#define isi_url(base, ...) isi_url_pairs(base, (const char *const[]){ __VA_ARGS__, NULL })
/* "/namespace/PATH?query", encoded. Owned; NULL: no memory. */
char *isi_ns_url(const char *path, const char *query);
/* zone for a query: NULL for the system's. */
const char *isi_zone_arg(const char *zone);

struct isi_list {
	const char *call, *path, *more; /* first page; what "?resume=" goes behind */
	const char *key;                /* of the array in the answer */
	/* Appends what is wanted of item to into. */
	int (*keep)(void *arg, json_t *item, json_t *into);
	void *arg;
};
/* All pages. *out: a new array. */
int isi_list(struct onefs *o, const struct isi_list *l, json_t **out, struct err *err);
/* Waits pause_ms, more with each try. */
void isi_pause(const struct onefs *o, unsigned try);

/* --- directories (onefs_ns.c) --------------------------------------------------------- */

/* -ENOENT; -EEXIST when it is no directory. *created: seconds since 1970, or 0; may be NULL. */
int isi_ns_stat(struct onefs *o, const char *path, uint64_t *created, struct err *err);
/* With its parents. 0 also when it is there. */
int isi_ns_mkdir(struct onefs *o, const char *path, mode_t mode, struct err *err);
int isi_ns_own(struct onefs *o, const char *path, uint32_t uid, uint32_t gid, mode_t mode,
	       struct err *err);
/* Moves path to trash and deletes it there. 0 also when both are gone. */
int isi_ns_remove(struct onefs *o, const char *path, const char *trash, struct err *err);
int isi_ns_copy(struct onefs *o, const char *from, const char *to, struct err *err);
/* Names of the directories in path; -ENOENT without path. *out: a new array of strings. */
int isi_ns_list(struct onefs *o, const char *path, json_t **out, struct err *err);

/* --- exports (onefs_export.c, onefs_clients.c) ------------------------------------------- */

/* Exports that have the path among theirs: a new array of objects. */
int isi_export_find(struct onefs *o, const struct isi_volume *v, json_t **out, struct err *err);
/* Made by us for this volume alone. */
bool isi_export_is_ours(const json_t *object, const struct isi_volume *v);
/* Exactly one export of ours that can be used; *id is its. -EEXIST when somebody else's is there. */
int isi_export_ensure(struct onefs *o, const struct isi_volume *v, const char *owner, uint64_t *id,
		      struct err *err);
/* A new reference to our export's object; by id first. -ENOENT. */
int isi_export_get(struct onefs *o, const struct isi_volume *v, json_t **out, struct err *err);
/* By its id alone. */
int isi_export_read(struct onefs *o, const char *zone, uint64_t id, json_t **out, struct err *err);
/* All of ours; -EBUSY while clients of their own are listed, or when one is not ours. */
int isi_export_remove(struct onefs *o, const struct isi_volume *v, struct err *err);
/* Names of volumes in a zone whose exports say that they are ours: a new array of strings. */
int isi_export_names(struct onefs *o, const struct isi_place *place, json_t **out, struct err *err);
/* URL of one export, or of all (id 0), with the argument key, which may be NULL. Owned. */
int isi_export_url(struct onefs *o, const char *zone, uint64_t id, const char *key,
		   const char *value, char **out, struct err *err);

/* Entries by which single hosts may mount: all but the dummy and the configured networks. */
unsigned isi_clients_count(const struct onefs *o, const json_t *object, char *first, size_t cap);
/* Adds or takes away addresses (array of strings), and stays until the change holds and nobody else's entry was lost by
 * it. *was: all were there before. Never takes the dummy away. */
int isi_clients_change(struct onefs *o, const struct isi_volume *v, uint64_t id, json_t *entries,
		       bool add, bool *was, struct err *err);
bool isi_clients_has(const json_t *list, const char *entry);

/* --- quotas and the rest (onefs_quota.c) ------------------------------------------------------- */

struct isi_quota {
	char id[128];        /* "": none */
	uint64_t hard, used; /* bytes; 0: no limit; PROVIDER_UNKNOWN */
	bool plain;          /* hard, enforced, without snapshots: as we make them */
};
/* The directory's own; id "" when it has none. */
int isi_quota_find(struct onefs *o, const char *path, struct isi_quota *out, struct err *err);
/* -EEXIST when one with another limit is there. optional: *out has no id where the licence is missing. */
int isi_quota_ensure(struct onefs *o, const char *path, uint64_t size, bool optional,
		     struct isi_quota *out, struct err *err);
int isi_quota_set(struct onefs *o, const char *id, uint64_t size, struct err *err);
int isi_quota_remove(struct onefs *o, const char *path, struct err *err);

struct isi_snapshot {
	uint64_t id, created, size;
	char path[ONEFS_PATH_MAX];
};
int isi_snapshot_find(struct onefs *o, const char *name, struct isi_snapshot *out, struct err *err);
/* -EEXIST when the name is that of another path's. */
int isi_snapshot_ensure(struct onefs *o, const char *name, const char *path,
			struct isi_snapshot *out, struct err *err);
int isi_snapshot_remove(struct onefs *o, const char *name, struct err *err);

int isi_statistics(struct onefs *o, struct provider_capacity *out, struct err *err);
int isi_health(struct onefs *o, struct err *err);
/* -EINVAL when base does not lie below the zone's root, or there is no such zone. */
int isi_zone_check(struct onefs *o, const struct isi_place *place, struct err *err);

/* --- volumes (onefs.c, onefs_volume.c) ------------------------------------------------------------ */

/* The place that a plan means, by its keys or the provider's. */
void isi_place_of(const struct onefs *o, const json_t *plan, struct isi_place *out);
/* Which volume a ref means. */
int isi_locate(struct onefs *o, const struct provider_ref *ref, struct isi_volume *out,
	       struct err *err);
/* Absolute, below /ifs, without "..", "." and empty parts. */
bool isi_path_is_good(const char *path);
/* A copy of the places that are known. */
size_t isi_places(struct onefs *o, struct isi_place out[ONEFS_PLACES_MAX]);

int isi_create(struct provider *p, const struct provider_ref *ref, const struct provider_spec *spec,
	       json_t **handle, uint64_t *size, struct err *err);
int isi_remove(struct provider *p, const struct provider_ref *ref, struct err *err);
int isi_remove_name(struct provider *p, const char *name, struct err *err);
int isi_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
	    struct err *err);
int isi_list_volumes(struct provider *p, provider_found *found, void *arg, struct err *err);
int isi_grow(struct provider *p, const struct provider_ref *ref, uint64_t want, uint64_t *size,
	     struct err *err);
int isi_snapshot(struct provider *p, const struct provider_ref *of, const struct provider_ref *ref,
		 json_t **handle, struct err *err);
int isi_restore(struct provider *p, const struct provider_ref *of, const struct provider_ref *ref,
		const struct provider_spec *spec, json_t **handle, uint64_t *size, struct err *err);
/* Of a plan's directories: uid, gid, mode. */
uint32_t isi_plan_id(const json_t *plan, const char *key);
mode_t isi_plan_mode(const json_t *plan);
bool isi_plan_quota_optional(const json_t *plan);

#endif
