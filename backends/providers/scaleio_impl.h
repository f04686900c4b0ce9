/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_impl.h - parts of the ScaleIO provider (ScaleIO, VxFlex OS, PowerFlex gateways)
 *
 * scaleio.c           configuration, plans, table of functions, health, capacity
 * scaleio_session.c   login, version, logout; one session for all threads
 * scaleio_call.c      one call: login, replay, what its answer means
 * scaleio_error.c     error codes, symbols and texts to classes
 * scaleio_pool.c      system, protection domain, storage pool; kept for five minutes
 * scaleio_volume.c    volumes: find, read, list, remove, grow, rename
 * scaleio_create.c    volumes: create, snapshot, restore
 * scaleio_host.c      hosts, and who of them a volume is mapped to
 * scaleio_map.c       map, limits, unmap
 *
 * What is shared between these files begins with sgw_, "ScaleIO gateway".
 *
 * Names. A volume is PREFIX + hash of its owner, and PREFIX + "n" + hash as long as nothing was ever written
 * to it: that is the mark of provider_volume.fresh. A name goes from the second form to the first,
 * never back: who has found neither looks for the first once more. Should there be both, the first
 * holds what was written. To callers a volume has one name, the first form. */
#ifndef BACKENDS_PROVIDERS_SCALEIO_IMPL_H
#define BACKENDS_PROVIDERS_SCALEIO_IMPL_H

#include "backends/providers/array_impl.h"
#include "backends/providers/provider.h"
#include "backends/providers/rest.h"
#include "common/lock.h"

#define SGW_ID_MAX 40       /* of an object's id, with the NUL; 16 digits are usual */
#define SGW_NAME_MAX 32     /* with the NUL: the array's limit is 31 */
#define SGW_PREFIX_MAX 4    /* so that PREFIX "n" HASH has 31 at most */
#define SGW_KEY_MAX 128     /* name of a pool or protection domain in a plan, with the NUL */
#define SGW_TOKEN_MAX 16384 /* bytes of a token, with the NUL */
#define SGW_PATH_MAX 1024   /* of a request */
#define SGW_POOLS_MAX 32    /* kept */
#define SGW_CACHE_MS 300000 /* how long system and pools are */
#define SGW_TRIES 4 /* of a call that a busy array refuses, of a create whose answer is lost */
#define SGW_VISIBLE_TRIES 6      /* looks for what was just made or changed */
#define SGW_REMOVE_MS 30000      /* how long a removal may be in progress */
#define SGW_LOGOUT_MS 5000       /* at the end */
#define SGW_STEP (8ULL << 30)    /* sizes are multiples of that, */
#define SGW_STEP_EC (1ULL << 30) /* or of that in erasure-coded pools */
#define SGW_SIZE_MAX (1ULL << 50)

/* What an answer means, whatever its status. */
enum sgw_fault {
	SGW_OK,
	SGW_ABSENT,       /* no such volume or object */
	SGW_TAKEN,        /* the name is in use */
	SGW_HOST_ABSENT,  /* no such host */
	SGW_MAPPED_HERE,  /* to this host already */
	SGW_MAPPED_ALL,   /* to all hosts */
	SGW_MAPPED_OTHER, /* to another host, and only one is allowed */
	SGW_MAPPED,       /* to some host: cannot be removed */
	SGW_NOT_MAPPED,   /* to this host */
	SGW_NOT_APPROVED, /* the host */
	SGW_REMOVING,     /* a removal is in progress */
	SGW_SHRINK,       /* sizes only grow */
	SGW_NO_ROOM,      /* capacity, or a limit of the system */
	SGW_CONFIG,       /* pool or protection domain: not what the plan says */
	SGW_ARGUMENT,     /* refused for what was asked */
	SGW_DENIED,       /* credentials or role */
	SGW_BUSY,         /* refused for now; nothing was done */
	SGW_LOST,         /* whether it was done is not known */
	SGW_NO_ROUTE,     /* this release has no such call */
	SGW_REFUSED,      /* for a reason that is not known here */
};

struct sgw_version {
	unsigned major, minor;
};

struct sgw_session {
	char *token, *refresh; /* owned; refresh NULL: none */
	bool bearer;           /* how the token is shown */
	bool by_rest;          /* of /rest/auth/login: logged out there */
	struct sgw_version version;
	uint64_t born_ms, used_ms, life_ms, idle_ms;
	uint64_t serial; /* 0: no session */
};

struct sgw_system {
	char id[SGW_ID_MAX];
	bool restricted; /* hosts have to be approved */
	char state[64];  /* of the MDM cluster; "": not told */
	uint64_t at_ms;
};

struct sgw_pool {
	char pool_key[SGW_KEY_MAX], domain_key[SGW_KEY_MAX]; /* as the plan names them */
	char id[SGW_ID_MAX], domain[SGW_ID_MAX];
	bool padded; /* new blocks read as zeros */
	bool thin_only, coded;
	uint64_t step;
	uint64_t at_ms; /* 0: a free place */
};

enum sgw_login { SGW_LOGIN_AUTO, SGW_LOGIN_CLASSIC, SGW_LOGIN_BEARER };

/* Keys of the configuration that only this kind has. */
struct sgw_config {
	char *system;   /* owned; id or name; NULL: the only one */
	unsigned login; /* enum sgw_login */
};

struct scaleio {
	struct provider base;
	/* set at start, then read only */
	struct array_config cfg;
	struct sgw_config own;
	char fresh_prefix[ARRAY_PREFIX_MAX + 1];
	struct rest *rest; /* owned */

	struct mutex lock; /* LOCK_provider */
	struct cond login_over;
	/* guarded by lock */
	struct sgw_session session;
	bool logging_in;
	uint64_t logins; /* that ended; also the next session's serial */
	int login_rc;    /* how the last one ended */
	struct err login_err;
	enum sgw_login style; /* what the gateway took last */
	struct sgw_system system;
	struct sgw_pool pools[SGW_POOLS_MAX];
};

static inline struct scaleio *scaleio_of(struct provider *p)
{
	return (struct scaleio *)p; /* base comes first */
}

/* --- sessions (scaleio_session.c) ------------------------------------------ */

/* A copy of the session to call with, logging in when there is none or it is about to end. Threads that come
 * meanwhile wait for the same login, and share its failure. */
int sgw_session_get(struct scaleio *s, struct sgw_session *out, struct err *err);
void sgw_session_done(struct sgw_session *c);
/* The array does not know this session any more. */
void sgw_session_drop(struct scaleio *s, uint64_t serial);
void sgw_session_used(struct scaleio *s, uint64_t serial);
void sgw_logout(struct scaleio *s);

/* --- calls (scaleio_call.c, scaleio_error.c) ------------------------------- */

struct sgw_call {
	const char *call, *method, *path;
	const json_t *body; /* borrowed; NULL: none */
	bool safe;          /* see rest.h */
};

/* rest_call(), with errors that a provider has. */
int sgw_rest(struct scaleio *s, const struct rest_request *q, struct rest_reply *out,
	     struct err *err);
/* One request as the session says; no judgement. */
int sgw_send(struct scaleio *s, const struct sgw_call *q, const struct sgw_session *c,
	     struct rest_reply *out, struct err *err);
/* With login, one replay when the session has gone, and repeats when the array is busy and the call safe.
 * 0: *out (may be NULL) is the answer, a new object: what is no JSON but a short text is a string, what is empty is null.
 * Otherwise -errno; *fault (may be NULL) is set in any case. */
int sgw_call(struct scaleio *s, const struct sgw_call *q, json_t **out, enum sgw_fault *fault,
	     struct err *err);
/* GET of a path made by fmt. */
int sgw_get(struct scaleio *s, const char *call, json_t **out, enum sgw_fault *fault,
	    struct err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* body: taken, NULL: no memory. */
int sgw_post(struct scaleio *s, const char *call, bool safe, json_t *body_take, json_t **out,
	     enum sgw_fault *fault, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

/* text: what the array says, for a sentence; cut, without control characters. */
enum sgw_fault sgw_judge(long status, const json_t *answer, char *text, size_t cap, unsigned *code);
int sgw_errno(enum sgw_fault fault);
/* The text of an answer that is a bare string; false when it is none, or longer than cap. */
bool sgw_bare(const struct rest_reply *a, char *buf, size_t cap);
bool sgw_is_id(const char *text);
/* The n-th short pause, for what is looked at again. */
void sgw_pause(unsigned n);

/* --- system and pools (scaleio_pool.c) ------------------------------------- */

struct sgw_plan {
	char *domain, *pool;      /* owned */
	unsigned thick;           /* index into thin, thick */
	uint64_t iops, bandwidth; /* bytes a second; 0: no limit */
	bool allow_unpadded;
};

/* plan may be NULL: as if empty. Keys that are not of this kind are left alone. */
int sgw_plan_read(const json_t *plan, struct sgw_plan *out, struct err *err);
void sgw_plan_done(struct sgw_plan *p);
int sgw_version_of(struct scaleio *s, struct sgw_version *out, struct err *err);
int sgw_system_get(struct scaleio *s, bool anew, struct sgw_system *out, struct err *err);
int sgw_pool_get(struct scaleio *s, const struct sgw_plan *plan, struct sgw_pool *out,
		 struct err *err);
/* Of a volume that exists: by id. */
int sgw_pool_by_id(struct scaleio *s, const char *id, struct sgw_pool *out, struct err *err);
void sgw_pools_forget(struct scaleio *s);
/* Up to the step; 0 is one step. -EINVAL above SGW_SIZE_MAX. */
int sgw_round(uint64_t size, uint64_t step, uint64_t *out, struct err *err);

/* --- volumes (scaleio_volume.c, scaleio_create.c) -------------------------- */

struct sgw_names {
	char used[PROVIDER_NAME_MAX], fresh[PROVIDER_NAME_MAX];
};

struct sgw_volume {
	char id[SGW_ID_MAX], name[PROVIDER_NAME_MAX];
	char pool[SGW_ID_MAX], vtree[SGW_ID_MAX], ancestor[SGW_ID_MAX]; /* "": none */
	uint64_t size, created;
	bool thick, to_all;
	json_t *mapped; /* counted; an array, or NULL */
};

void sgw_volume_done(struct sgw_volume *v);
int sgw_volume_parse(const json_t *object, struct sgw_volume *out, struct err *err);
void sgw_names_of(const struct scaleio *s, const char *owner, struct sgw_names *out);
/* Either form of a name of ours; false: it is none. */
bool sgw_names_from(const struct scaleio *s, const char *name, struct sgw_names *out);
/* -ENOENT. */
int sgw_volume_by_id(struct scaleio *s, const char *id, struct sgw_volume *out, struct err *err);
int sgw_volume_by_name(struct scaleio *s, const char *name, struct sgw_volume *out,
		       struct err *err);
int sgw_volume_by_names(struct scaleio *s, const struct sgw_names *names, struct sgw_volume *out,
			struct err *err);
/* By the handle's id when its name is ours, else by name. Without an owner (a cell knows none), any name
 * of ours will do. */
int sgw_volume_find(struct scaleio *s, const struct provider_ref *ref, struct sgw_volume *out,
		    struct err *err);
bool sgw_is_fresh(const struct scaleio *s, const struct sgw_volume *v);
/* Removes it; -EBUSY while it is mapped. 0 also when it has gone meanwhile. */
int sgw_volume_remove(struct scaleio *s, const struct sgw_volume *v, struct err *err);
/* Up to size, which is rounded; v is read again. */
int sgw_volume_grow(struct scaleio *s, struct sgw_volume *v, uint64_t size, struct err *err);

int scaleio_create(struct provider *p, const struct provider_ref *ref,
		   const struct provider_spec *spec, json_t **handle, uint64_t *size,
		   struct err *err);
int scaleio_remove(struct provider *p, const struct provider_ref *ref, struct err *err);
int scaleio_remove_name(struct provider *p, const char *name, struct err *err);
int scaleio_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
		struct err *err);
int scaleio_list(struct provider *p, provider_found *found, void *arg, struct err *err);
int scaleio_grow(struct provider *p, const struct provider_ref *ref, uint64_t want, uint64_t *size,
		 struct err *err);
int scaleio_set_used(struct provider *p, const struct provider_ref *ref, struct err *err);
int scaleio_snapshot(struct provider *p, const struct provider_ref *of,
		     const struct provider_ref *ref, json_t **handle, struct err *err);
int scaleio_restore(struct provider *p, const struct provider_ref *of,
		    const struct provider_ref *ref, const struct provider_spec *spec,
		    json_t **handle, uint64_t *size, struct err *err);

/* --- hosts and mappings (scaleio_host.c, scaleio_map.c) -------------------- */

struct sgw_host {
	char id[SGW_ID_MAX], name[64], guid[64], address[64], nqn[PROVIDER_NQN_MAX];
	bool nvme, approved, connected;
};

/* The host as the array knows it; -ENOENT. */
int sgw_host_find(struct scaleio *s, const struct provider_host *want, struct sgw_host *out,
		  struct err *err);
int sgw_host_by_id(struct scaleio *s, const char *id, struct sgw_host *out, struct err *err);
/* The entry of the host among the mappings of v; NULL. */
const json_t *sgw_mapping_of(const struct sgw_volume *v, const struct sgw_host *h);
/* Name, address or id in an entry, for a sentence. */
const char *sgw_mapping_name(const json_t *mapping);

int scaleio_map(struct provider *p, const struct provider_ref *ref,
		const struct provider_host *host, struct provider_mapping *out, struct err *err);
int scaleio_unmap(struct provider *p, const struct provider_ref *ref,
		  const struct provider_host *host, struct err *err);

#endif
