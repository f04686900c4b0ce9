/* SPDX-License-Identifier: Apache-2.0 */
/* volumes_impl.h - what the files of the table of volumes share */
#ifndef TOOLS_DRIVER_VOLUMES_IMPL_H
#define TOOLS_DRIVER_VOLUMES_IMPL_H

#include "common/list.h"
#include "common/lock.h"
#include "tools/driver/volumes.h"

struct vol {
	struct list link;  /* in volumes.all or, forgotten, in none */
	struct list chain; /* in a bucket, likewise */
	char *name;        /* owned; set at birth */
	/* all guarded by volumes.lock */
	json_t *opts;     /* owned; never changed, only replaced */
	bool secret_lost; /* opts had secrets before a restart */
	enum volume_state state;
	unsigned count;
	bool docker; /* was mounted with an ID */
	bool forgotten;
	bool busy;       /* somebody has its turn */
	unsigned users;  /* threads that hold a pointer */
	unsigned hoping; /* mounts that are under way or wait, whose client is still there */
	bool found;      /* mounted, at the look of volumes_restore() */
	bool left_dirty; /* unmounted after volumes_close(), with data left to write */
	time_t created;
	uint64_t cache_wanted;
	char *last_error; /* owned */
};

#define VOLUME_BUCKETS 4096

struct volumes {
	struct volumes_env env;
	struct mutex save_lock; /* outside of lock: one state file is written at a time */
	uint64_t saved;         /* guarded by save_lock: the generation that is on disk */
	struct mutex lock;
	struct cond turn; /* some volume's turn is over */
	/* guarded by lock */
	struct list all; /* oldest first */
	struct list bucket[VOLUME_BUCKETS];
	unsigned n;
	uint64_t generation; /* of what should be on disk */
	bool closed;
	uint64_t drain_until_ms; /* an evacuation's: no unmount waits longer; 0: none runs */
};

struct vol *vol_find_locked(struct volumes *vs, const char *name);
/* NULL without memory. */
struct vol *vol_add_locked(struct volumes *vs, const char *name);
/* Forgets it; freed when its last user leaves. */
void vol_forget_locked(struct volumes *vs, struct vol *v);

/* A turn: waits until nobody else works on v. False when it was forgotten meanwhile;
 * the turn is to be left all the same. */
bool vol_enter_locked(struct volumes *vs, struct vol *v);
void vol_leave_locked(struct volumes *vs, struct vol *v);

/* One user less: frees v when it was the last and v is forgotten. */
void vol_put_locked(struct vol *v);

/* ROOT/NAME, the caller's; NULL without memory. */
char *vol_point(const struct volumes *vs, const struct vol *v);

/* The text of the state file, the caller's. */
char *volumes_dump_locked(struct volumes *vs);

/* With the turn, unlocked: takes the mount away; the state is KNOWN afterwards, or MOUNTED
 * when it failed. -ENOENT: nothing was mounted. It waits for the writing at most drain_ms, and
 * not when an evacuation has no time left. */
int vol_unmount(struct volumes *vs, struct vol *v, unsigned drain_ms, struct failure *f);

#endif
