/* SPDX-License-Identifier: Apache-2.0 */
/* volumes.h - the volumes that the platform knows by name, and what becomes of them
 *
 *   known --mount--> mounting --usable--> mounted(1..n) --last unmount--> unmounting --> known,
 *     ^                 |                                                      or forgotten
 *     '-- undone: fails, nobody waits any more, time is over
 *
 * V1 One operation at a time works on a name; others wait for their turn. Different names
 *    do not wait for each other.
 * V2 volumes_get(), _list(), _path() and _info() take one short lock and wait for nothing else.
 * V3 The state file is written before an operation is answered, and before a mount is begun.
 * V4 A count above 0 says that somebody was told the mountpoint. A mount with the count 0
 *    exists only while an operation has its turn.
 * V5 A volume mounted without an ID is forgotten at its last unmount; others are kept.
 *
 * Any thread. Names come from strangers and are checked here, in each operation. Results are 0
 * or -errno with a failure to tell. */
#ifndef TOOLS_DRIVER_VOLUMES_H
#define TOOLS_DRIVER_VOLUMES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "tools/driver/failure.h"
#include "tools/driver/mountopts.h"
#include "tools/driver/mounts.h"

#define VOLUMES_MAX 4096         /* names; the oldest unused one without an ID makes room */
#define VOLUME_NAME_MAX 255      /* bytes: a component of a path */
#define VOLUMES_OPTS_MAX 65536   /* bytes of one volume's Opts as JSON */
#define EVACUATE_PARALLEL_MAX 64 /* volumes unmounted at a time */

struct volumes;

enum volume_state { VOLUME_KNOWN, VOLUME_MOUNTING, VOLUME_MOUNTED, VOLUME_UNMOUNTING };

extern const char *const volume_state_names[];

/* What the table needs; borrowed until volumes_free(). */
struct volumes_env {
	const char *root;     /* absolute, without symbolic links */
	const char *reserved; /* a name in root that is none of a volume, or NULL */
	const struct mounts_ops *mounts;
	void *mounts_arg;
	const struct mountopts_rules *rules;
	unsigned unmount_wait_ms;
	/* Makes the text what a restart will find. -errno when it is not safely stored. */
	int (*save)(void *arg, const char *text);
	void *save_arg;
	/* The cache of one more daemon, given what it wants (0: no wish). Never waits. Optional. */
	uint64_t (*share)(void *arg, uint64_t wanted);
	/* Something was mounted or unmounted. Never waits. Optional. */
	void (*changed)(void *arg);
	void *budget_arg;
};

/* Who asks. gone: the client will not hear the answer; NULL: it will. */
struct caller {
	bool (*gone)(void *arg);
	void *arg;
	bool has_id; /* the request named a container's ID: Docker's does */
};

struct volume_info {
	char *name;  /* owned by the info, as is point */
	char *point; /* "" when it is not mounted */
	enum volume_state state;
	unsigned count;
	time_t created;
	uint64_t cache_wanted; /* bytes, 0: no wish */
	char *last_error;      /* of the last Mount, for the operator; NULL: none */
};

struct volumes *volumes_new(const struct volumes_env *env);
void volumes_free(struct volumes *vs); /* no operation may run */

/* Takes over what a former driver stored (NULL: nothing). Before anybody else has vs.
 * -EINVAL when it is not such a text; what was read of it is there. */
int volumes_restore(struct volumes *vs, const json_t *state, struct err *err);
/* Takes over a mount that is there and that no state file told of. */
void volumes_adopt(struct volumes *vs, const char *name);

int volumes_create(struct volumes *vs, const char *name, const json_t *opts, struct failure *f);
int volumes_remove(struct volumes *vs, const char *name, struct failure *f);
/* *point is the caller's. -ECANCELED when the caller is gone: then nothing was counted. */
int volumes_mount(struct volumes *vs, const char *name, const struct caller *caller, char **point,
		  struct failure *f);
int volumes_unmount(struct volumes *vs, const char *name, struct failure *f);
/* 0 with the mountpoint, the caller's. */
int volumes_path(struct volumes *vs, const char *name, char **point, struct failure *f);
int volumes_get(struct volumes *vs, const char *name, struct volume_info *out, struct failure *f);

/* All of them, oldest first, in *out (the caller's to volume_infos_free()); the number or -errno. */
ssize_t volumes_list(struct volumes *vs, struct volume_info **out);
void volume_info_done(struct volume_info *i);
void volume_infos_free(struct volume_info *all, size_t n);

/* From here on mounts are refused, and those that are under way are undone. */
void volumes_close(struct volumes *vs);
/* After volumes_close(): unmounts everything (and forgets as V5 says), within limit_ms whatever the stores
 * do. Names of volumes with data left to write go to *dirty (JSON array, the caller's), of those that could
 * not be unmounted to *failed. */
void volumes_evacuate(struct volumes *vs, unsigned limit_ms, json_t **dirty, json_t **failed);

/* Has what is in memory now on disk before it returns (or a later state). */
int volumes_save(struct volumes *vs, struct failure *f);

/* Is it the name of a volume? For volumes.c and its tests. */
int volume_name_check(const struct volumes_env *env, const char *name, struct failure *f);

#endif
