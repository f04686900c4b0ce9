/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_impl.h - a simulated ScaleIO / VxFlex OS / PowerFlex gateway, from inside
 *
 * scaleio.c          options, start, the way of a request
 * scaleio_state.c    what outlives a restart
 * scaleio_login.c    logins and their life
 * scaleio_body.c     what a request says; refusals
 * scaleio_route.c    which call a path means
 * scaleio_object.c   objects and lists as JSON
 * scaleio_volume.c   create, grow, rename, remove
 * scaleio_snap.c     snapshots
 * scaleio_map.c      hosts, and volumes mapped to them
 * scaleio_system.c   look-ups by name, statistics, limits
 * scaleio_image.c    image files, and the links that stand for devices
 *
 * Everything is guarded by one lock (LOCK_sim_array); answers are written as text after it is free. */
#ifndef TOOLS_SIM_SCALEIO_IMPL_H
#define TOOLS_SIM_SCALEIO_IMPL_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/lock.h"
#include "tools/sim/sim.h"

#define SIO_NAME_MAX 31
#define SIO_TEXT_MAX 223 /* an NQN */
#define SIO_SESSIONS_MAX 128
#define SIO_TOKEN_MAX 160
#define SIO_LIFE_S (8 * 3600)
#define SIO_IDLE_S 600
#define SIO_GIB_KIB 1048576ULL
#define SIO_STEP_KIB (8 * SIO_GIB_KIB)
#define SIO_SIZE_MAX_KIB (1048576 * SIO_GIB_KIB)
#define SIO_VOLUMES_MAX 131072 /* beside snapshots */
#define SIO_ALL_MAX 133120     /* with them */
#define SIO_VTREE_SNAPS_MAX 126
#define SIO_PER_HOST_MAX 8192
#define SIO_HOSTS_MAX 2048
#define SIO_DOMAINS 3 /* the last from 5.0 on */
#define SIO_POOLS 5

#define SIO_HIGH_VOLUME 0x4f1c20a9ULL
#define SIO_HIGH_VTREE 0x77d0b1e5ULL
#define SIO_HIGH_DOMAIN 0xb0c1d2e3ULL
#define SIO_HIGH_POOL 0x91ab03fcULL
#define SIO_HIGH_SDC 0xe1f20d44ULL
#define SIO_HIGH_GROUP 0xa20c55deULL
#define SIO_HIGH_SDT 0xc7710be5ULL
#define SIO_HIGH_SDS 0xd5a3f7c2ULL

struct scaleio_options {
	char *version, *system_id, *system_name;
	unsigned rounding, same_size, token, expired, role;
	uint64_t capacity; /* bytes of a pool */
	uint64_t sdcs, volumes_max, overcommit, device_delay_ms, remove_delay_ms, expires_in;
	bool restricted;
};

enum { SIO_ROUND_UP, SIO_ROUND_REFUSE };
enum { SIO_SAME_OK, SIO_SAME_REFUSE };
enum { SIO_TOKEN_QUOTED, SIO_TOKEN_BARE, SIO_TOKEN_NEWLINE };
enum { SIO_EXPIRED_401, SIO_EXPIRED_403 };
enum { SIO_ROLE_ADMIN, SIO_ROLE_MONITOR };
enum sio_access { SIO_READ_WRITE, SIO_READ_ONLY, SIO_NO_ACCESS, SIO_ACCESSES };
extern const char *const sio_access_names[];

struct sio_pool {
	const char *name;
	unsigned domain;
	unsigned since; /* version */
	bool zero_padding, fine, ec;
};
extern const struct sio_pool sio_pools[SIO_POOLS];
extern const char *const sio_domains[SIO_DOMAINS];

struct sio_map {
	uint64_t sdc;
	enum sio_access access;
	uint64_t iops, kbps;
	uint64_t due_ms; /* when its device appears */
	bool linked;
};

struct sio_volume {
	uint64_t id, vtree;
	uint64_t ancestor, group; /* 0: none */
	char name[SIO_NAME_MAX + 1];
	char class[SIO_NAME_MAX + 1];
	uint64_t kib, created;
	unsigned pool;
	bool thin, snapshot, compressed, all_sdcs;
	enum sio_access limit;
	uint64_t removed_ms;  /* 0, or when its removal ends */
	struct sio_map *maps; /* owned */
	size_t nmaps;
};

struct sio_sdc {
	uint64_t id;
	char name[SIO_NAME_MAX + 1], guid[40], ip[64], nqn[SIO_TEXT_MAX + 1];
	bool nvme, connected, approved;
	uint64_t paths, ports;
};

struct sio_session {
	char token[SIO_TOKEN_MAX], refresh[SIO_TOKEN_MAX];
	uint64_t created, used, expires; /* expires: of a bearer token, 0: classic */
};

struct scaleio {
	struct sim *sim;
	const struct scaleio_options *opt;
	unsigned version; /* 306: 3.6 */
	uint64_t system;
	pthread_t thread; /* makes links that are due */
	bool threaded;
	struct mutex lock;
	struct cond wake; /* a link is to be made, or the end */
	/* guarded by lock */
	bool stopping;
	struct sio_volume **volumes; /* owned; by id, which grows */
	size_t nvolumes, volumes_cap;
	size_t nremoved; /* of them, those whose removal has begun */
	struct sio_sdc sdcs[SIO_HOSTS_MAX];
	size_t nsdcs;
	uint64_t next; /* low half of the next id */
	struct sio_session sessions[SIO_SESSIONS_MAX];
	size_t nsessions;
};

/* One request. Whoever refuses it fills status and what follows, and returns NULL. */
struct sio_call {
	struct scaleio *s;
	struct httpd_request *rq;
	json_t *body; /* an object, of a POST */
	bool half;
	unsigned status;
	unsigned code; /* with message */
	char message[256];
	const char *details; /* symbol of code: an "Error with details" */
	const char *html;    /* instead of all that: a page with this text */
	bool empty;          /* status without a body */
	bool answered;       /* the handler has replied itself */
};

/* --- scaleio_body.c --- */
json_t *sio_fail(struct sio_call *c, unsigned code); /* status 500 and the code's sentence */
json_t *sio_bad(struct sio_call *c, unsigned status, unsigned code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
json_t *sio_no_route(struct sio_call *c);
void sio_answer_refusal(const struct sio_call *c);
/* A key's text into *out, NULL when it is absent and not required. False: refused. */
bool sio_text(struct sio_call *c, const json_t *o, const char *key, bool required,
	      const char **out);
bool sio_number(struct sio_call *c, const char *key, bool required, uint64_t *out, bool *there);
bool sio_flag(struct sio_call *c, const char *key, bool dflt, bool *out);
/* One of names, its index; absent: dflt. */
bool sio_choice(struct sio_call *c, const json_t *o, const char *key, const char *const *names,
		unsigned dflt, unsigned *out);
/* An id of 16 hexadecimal digits. */
bool sio_id(const char *text, uint64_t *out);
bool sio_id_key(struct sio_call *c, const json_t *o, const char *key, uint64_t *out);
json_t *sio_id_text(uint64_t id);
json_t *sio_text_or_null(const char *text);

/* --- scaleio_state.c --- */
json_t *sio_saved(struct scaleio *s); /* under the lock */
int sio_load(struct scaleio *s, const json_t *state, struct err *err);

/* --- scaleio_login.c --- */
bool sio_logged_in(struct sio_call *c); /* or refused */
json_t *sio_login(struct sio_call *c);
json_t *sio_logout(struct sio_call *c);
json_t *sio_rest_login(struct sio_call *c);
json_t *sio_rest_logout(struct sio_call *c);

/* --- scaleio_route.c --- */
json_t *sio_dispatch(struct sio_call *c);

/* --- scaleio_object.c --- */
bool sio_pool_exists(const struct scaleio *s, unsigned pool);
bool sio_domain_exists(const struct scaleio *s, unsigned domain);
struct sio_volume *sio_find_volume(struct scaleio *s, uint64_t id); /* removed ones, too */
struct sio_volume *sio_find_name(struct scaleio *s, const char *name);
struct sio_sdc *sio_find_sdc(struct scaleio *s, uint64_t id);
json_t *sio_list(struct sio_call *c, const char *type);
json_t *sio_get(struct sio_call *c, const char *type, const char *id);
json_t *sio_related(struct sio_call *c, const char *type, const char *id, const char *relation);
json_t *sio_selected(struct sio_call *c); /* queryBySelectedIds */
bool sio_type_known(const struct scaleio *s, const char *type);

/* --- scaleio_volume.c, scaleio_snap.c --- */
typedef json_t *sio_volume_fn(struct sio_call *c, struct sio_volume *v);
json_t *sio_create(struct sio_call *c);
sio_volume_fn sio_set_size, sio_set_name, sio_remove, sio_set_limit, sio_overwrite;
json_t *sio_snapshot(struct sio_call *c);
json_t *sio_remove_group(struct sio_call *c);
/* Names: 226, 227, 99; name may be NULL. */
bool sio_check_name(struct sio_call *c, const char *name);
bool sio_room(struct sio_call *c, unsigned pool, bool thin, uint64_t kib);
/* At the end of the table; NULL: no memory. Its id is set. */
struct sio_volume *sio_add_volume(struct scaleio *s);
bool sio_begin_removal(struct sio_call *c, struct sio_volume *v);
/* Those whose removal has ended. */
void sio_reap(struct scaleio *s);
void sio_free_volume(struct sio_volume *v);
unsigned sio_not_found(const struct scaleio *s); /* code of a volume that is not there */

/* --- scaleio_map.c --- */
sio_volume_fn sio_map, sio_unmap, sio_map_host, sio_unmap_host, sio_set_limits, sio_set_access;
json_t *sio_create_host(struct sio_call *c);
json_t *sio_sdc_action(struct sio_call *c, struct sio_sdc *sdc, const char *action);
json_t *sio_approve(struct sio_call *c);
json_t *sio_control_sdc(struct sio_call *c);
struct sio_sdc *sio_add_sdc(struct scaleio *s); /* NULL: too many */

/* --- scaleio_system.c --- */
json_t *sio_query_id(struct sio_call *c, const char *type);
json_t *sio_by_name(struct sio_call *c, const char *type, const char *key);
json_t *sio_limits(struct sio_call *c);
json_t *sio_statistics(struct sio_call *c, const char *type, uint64_t id);
json_t *sio_selected_statistics(struct sio_call *c);
json_t *sio_metrics(struct sio_call *c);

/* --- scaleio_image.c: all do nothing without a root. -errno, logged --- */
int sio_image_open(struct scaleio *s, struct err *err); /* at start: folders, links */
int sio_image_make(struct scaleio *s, const struct sio_volume *v);
int sio_image_copy(struct scaleio *s, const struct sio_volume *from, const struct sio_volume *to);
int sio_image_grow(struct scaleio *s, const struct sio_volume *v);
void sio_image_remove(struct scaleio *s, const struct sio_volume *v);
uint64_t sio_image_used_kib(const struct scaleio *s, const struct sio_volume *v);
void sio_link_make(struct scaleio *s, const struct sio_volume *v, struct sio_map *m);
void sio_link_remove(struct scaleio *s, const struct sio_volume *v, struct sio_map *m);
/* Of a fresh mapping: now, or after device_delay_ms. */
void sio_link_soon(struct scaleio *s, const struct sio_volume *v, struct sio_map *m);
void *sio_link_main(void *arg);

#endif
