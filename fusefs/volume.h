/* SPDX-License-Identifier: Apache-2.0 */
/* volume.h - one mounted volume: what all parts of the worker share
 *
 * One backend, one cache, one inode table; sessions with the kernel come and go
 * (session.h), the last one ends the volume. Made by worker.c, which also tears
 * it down in the opposite order. */
#ifndef FUSEFS_VOLUME_H
#define FUSEFS_VOLUME_H

#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "cache/cache.h"
#include "common/list.h"
#include "common/lock.h"
#include "fusefs/filelock.h"
#include "fusefs/options.h"
#include "fusefs/receiver.h"
#include "fusefs/sandbox.h"

#define SESSIONS_MAX 128
#define INTERRUPT_BUCKETS 256
#define POOL_THREADS_MAX 64
#define NAME_BYTES_MAX 1024

struct request;
struct inode;
struct handle;
struct session;

struct volume {
	struct mount_options opt; /* runtime options are guarded by opt_lock */
	struct mutex opt_lock;
	_Atomic uint64_t busy_poll;   /* a copy for the data path */
	const char *uri, *mountpoint; /* of the first session */
	char key[BE_KEY_BYTES];
	struct backend *be;
	struct cache *cache;
	struct arena *arena;
	pid_t supervisor_pid;
	struct sandbox sandbox;
	uid_t owner;                         /* who mounted: the id before the sandbox */
	const struct errand_client *errands; /* borrowed; NULL: there is no supervisor */
	uint64_t cache_max;                  /* bytes of frames that the arena has */
	bool inline_meta; /* the backend's calls do not wait: run them on receivers */

	/* session.c; changed with sessions_lock and inode_lock held, read with either */
	struct session *sessions[SESSIONS_MAX];
	_Atomic unsigned nsessions;
	struct mutex sessions_lock;
	struct cond sessions_cond; /* one has left */
	bool ending;               /* guarded by sessions_lock: none can come any more */
	/* upcalls, any thread: a session that joined; later, the same one is over */
	void (*came)(struct volume *v, unsigned maj, unsigned min);
	void (*left)(struct volume *v, unsigned maj, unsigned min);

	/* request.c */
	struct mutex slot_lock;
	struct cond slot_cond;
	struct list free_requests; /* guarded by slot_lock */
	uint32_t *small_free, *large_free;
	uint32_t nsmall_free, nlarge_free;
	struct mutex request_lock;
	struct list by_unique[INTERRUPT_BUCKETS]; /* guarded by request_lock */
	_Atomic uint64_t next_op_id;

	/* interrupt.c; guarded by request_lock */
	struct list signalled; /* requests whose program got a signal, and waits on */
	struct cond signalled_cond;
	bool interrupts_stop;
	pthread_t interrupts_thread;

	/* offload.c */
	struct mutex pool_lock;
	struct cond pool_cond, pool_spawn; /* work for a thread; work for a new one */
	/* guarded by pool_lock */
	struct list pool_queue;
	unsigned pool_threads, pool_waiting, pool_queued;
	bool pool_stop;
	pthread_t pool_spawner, pool_ids[POOL_THREADS_MAX];

	/* inode.c */
	struct mutex inode_lock;
	struct inode *_Atomic *inodes; /* by nodeid; ARENA_INODES of them, touched as used */
	uint32_t *inode_free;          /* stack of nodeids used before */
	uint32_t ninode_free, inode_free_cap, inode_next;
	uint64_t generation;
	_Atomic uint32_t ninodes;
	struct list idle_inodes; /* oldest first */
	uint32_t nidle, idle_max;

	/* handle.c */
	struct mutex handle_lock;
	struct handle *_Atomic *handles; /* by file handle; ARENA_HANDLES of them */
	uint32_t *handle_free;
	uint32_t nhandle_free, handle_free_cap, handle_next;
	_Atomic uint32_t nhandles;

	struct filelocks locks;

	/* cred.c */
	struct cred_cache *creds;

	/* control.c */
	struct control *_Atomic control; /* made when sessions serve already */
};

#endif
