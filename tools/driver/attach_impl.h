/* SPDX-License-Identifier: Apache-2.0 */
/* attach_impl.h - what the files of attach.h share */
#ifndef TOOLS_DRIVER_ATTACH_IMPL_H
#define TOOLS_DRIVER_ATTACH_IMPL_H

#include <limits.h>
#include <pthread.h>

#include "common/list.h"
#include "common/lock.h"
#include "tools/driver/attach.h"

struct array {
	struct provider *provider; /* owned */
	const json_t *config;      /* borrowed from the configuration */
};

/* A volume of an array that this cell holds, takes or gives back. */
struct held {
	struct list link; /* guarded by attach.lock, as all up to the next comment */
	bool busy;        /* somebody has its turn */
	bool forgotten;   /* freed by its last user */
	unsigned users;
	json_t *points; /* object: mountpoint -> session "MAJOR-MINOR" or ""; owned */
	json_t *ended;  /* array: sessions that were unmounted and may live on; owned */
	bool mapped;    /* or may be */
	unsigned tries;
	uint64_t retry_at_ms;
	/* whoever has the turn changes them, under the lock too, for the state file is written by others */
	char *owner;               /* owned; NULL: unknown, as the next two */
	json_t *handle, *plan;     /* owned */
	char *device;              /* path; NULL: none (yet) */
	char *uri;                 /* for the layer below; NULL: not ready to be mounted */
	struct cell cell;          /* as whom it was mapped */
	uint64_t patient_until_ms; /* access may be denied that long: an entry is on its way */
	/* set at birth */
	const struct array *array;
	char *key; /* its source; owned */
};

struct attach {
	struct attach_config config;
	struct array arrays[ATTACH_PROVIDERS_MAX];
	size_t narrays;
	char *sources[ATTACH_PROVIDERS_MAX + 1]; /* owned */
	struct mutex save_lock;                  /* outside of lock: one state file at a time */
	struct mutex lock;
	struct cond turn; /* some turn is over, or there is work for the thread */
	/* guarded by lock */
	struct list all;
	unsigned n;
	bool stopping, stopped;
	/* attach_start()'s and attach_stop()'s */
	pthread_t thread;
	bool started;
};

/* What a mount is about; borrowed from its mount_spec. */
struct claim {
	const struct array *array;
	const char *key;
	const char *owner;           /* NULL: the source alone is known */
	const json_t *handle, *plan; /* NULL: unknown */
	json_t *from_source;         /* the handle that the source makes; owned */
};

bool held_is_block(const struct held *h);
struct provider_ref held_ref(const struct held *h);

/* --- attach.c --- */

struct held *held_find_locked(struct attach *a, const struct array *array, const char *key);
/* New, in the table; NULL without memory. */
struct held *held_add_locked(struct attach *a, const struct array *array, const char *key);
void held_forget_locked(struct attach *a, struct held *h);

/* --- attach_map.c: with the turn, unlocked --- */

/* From an entry in the state file to a uri that can be mounted. */
int held_take(struct attach *a, struct held *h, const struct cancel *cancel, struct failure *f);
/* A2; 0 when the array has it back. wait_ms: for its users. -EBUSY, or what the provider said. */
int held_give_back(struct attach *a, struct held *h, unsigned wait_ms, const struct cancel *cancel,
		   struct err *err);

/* --- attach_state.c --- */

int attach_save(struct attach *a, struct err *err);
/* Is the session of "MAJOR-MINOR" over, and has its daemon nothing left to write? */
bool attach_session_over(const char *session);
/* That of what is mounted at point, or "". */
void attach_session_of(const char *point, char *buf, size_t cap);

#endif
