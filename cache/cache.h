/* SPDX-License-Identifier: Apache-2.0 */
/* cache.h - the write-back page cache of one volume
 *
 * Files are cached in frames of page_size bytes, each cut into units (4 KiB, or
 * page_size / 64 if that is more) that are valid or dirty one by one. A write
 * is acknowledged when it lies in a frame; it reaches the backend by age, by
 * pressure, or by cache_flush()/cache_fsync(), in file order, neighbours
 * together, and never twice at once for one range.
 *
 * Durability (numbers of docs/durability.md): D1 cache_fsync() returns 0 only
 * when all that was written before it is on stable storage, under one verifier.
 * D5 an error of writing sticks to the file until every handle has been told
 * (cache_error()). D8 data that the backend refuses stays dirty and is tried
 * again; meanwhile new writes to that file get the error.
 *
 * Threads: all functions from any thread, without locks held. "May wait" means
 * that it blocks; the others never do. With `nowait`, a function that would
 * have to wait returns -EAGAIN and has changed nothing that matters. */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "backends/backend.h"
#include "cache/arena.h"
#include "cache/policy.h"
#include "common/list.h"

#define CACHE_IO_MAX ARENA_PAYLOAD_MAX           /* bytes of one read or write */
#define CACHE_PINS_MAX (CACHE_IO_MAX / 4096 + 1) /* frames that one may touch */

struct cache;
struct cache_file;

/* Changeable while running with cache_tune(). */
struct cache_tunables {
	uint64_t cache_bytes;        /* frames in use at most; <= what the arena has */
	uint32_t background_percent; /* of cache_bytes: writing back starts */
	uint32_t limit_percent;      /* of cache_bytes: writers wait */
	uint64_t dirty_age_ms;       /* dirty data older than this is written back */
	uint64_t readahead_max;      /* bytes ahead of one stream; 0: none */
};

struct cache_config {
	struct cache_tunables tun;
	enum policy_kind policy;
	/* A file that cache_file_try_free() refused is idle now; owner as given to cache_file_new(). */
	void (*idle)(void *arg, uint64_t owner);
	void *idle_arg;
};

/* arena and be are borrowed until cache_free(). Starts the writeback thread. */
int cache_new(const struct cache_config *config, struct arena *arena, struct backend *be,
	      struct cache **out);
/* Nothing reads any more: ends what is being read from the backend, and waits until it
 * has ended. Before files are freed for good. */
void cache_stop_reads(struct cache *c);
/* Stops writeback. All files must have been freed. */
void cache_free(struct cache *c);
void cache_tune(struct cache *c, const struct cache_tunables *tun);
uint32_t cache_unit(const struct cache *c);

struct cache_usage {
	uint64_t page_size, frames, frames_used; /* frames: limit in force */
	uint64_t dirty_bytes, unstable_bytes, held_frames;
	uint64_t writers_held, files_dirty, files_failing;
};
void cache_usage(struct cache *c, struct cache_usage *out);

/* ---- files ---- */

/* node is counted for the file's life. size: what the backend says. owner: for
 * config.idle. -ENOMEM. */
int cache_file_new(struct cache *c, struct be_node *node, uint64_t size, uint64_t owner,
		   struct cache_file **out);
/* Drops all frames and frees the file, if nothing is dirty, uncommitted or in
 * flight; else returns false, and config.idle will be called when that ends. No
 * other call on the file may be under way. NULL is fine. */
bool cache_file_try_free(struct cache_file *f);
/* The file is in use again: idle is not wanted any more. */
void cache_file_revive(struct cache_file *f);
/* The file's last name and last handle are gone: dirty data is dropped, now and later. */
void cache_file_discard(struct cache_file *f);

/* A quick look: true while any frame holds pages of the file. NULL is fine. */
bool cache_file_cached(struct cache_file *f);

uint64_t cache_file_size(struct cache_file *f);
/* True while the cache knows better than the backend: unwritten data. */
bool cache_file_dirty(struct cache_file *f);

/* A quick look: true while anything written is not yet safe on the backend. */
bool cache_file_owes(struct cache_file *f);

/* Take before asking the backend for attributes, hand to cache_merge_attr(). */
uint64_t cache_change_seq(struct cache_file *f);
/* Puts the cache's size and times over attr where it knows better; takes over
 * the backend's size where it does not. seq: from before the question. */
void cache_merge_attr(struct cache_file *f, struct be_attr *attr, uint64_t seq);
/* At open (close-to-open): true when the pages known for the file still hold;
 * false when somebody else changed it: clean frames are dropped. */
bool cache_revalidate(struct cache_file *f, const struct be_attr *attr, uint64_t seq);
/* Our own change of attributes: attr is the new normal; mtime: it set the time of
 * the last write, which later write-back must not change. */
void cache_own_change(struct cache_file *f, const struct be_attr *attr, bool mtime);
/* Drops every clean unit. */
void cache_invalidate(struct cache_file *f);

/* ---- reading ---- */

struct cache_wait {
	struct list link;
	struct cache_file *file;
	uint32_t frame;
	bool queued; /* on file's list of waiters; guarded by that file's lock */
	void (*wake)(struct cache_wait *w, int err);
};

struct readahead;

/* One read. The caller fills the first part; iov is what to send. */
struct cache_rd {
	struct cache_file *file;
	uint64_t off;
	uint32_t len;
	const struct be_cred *cred;                        /* borrowed until done */
	struct readahead *ra;                              /* of the open handle, or NULL */
	void (*done)(struct cache_rd *rd, ssize_t result); /* after -EINPROGRESS; no locks held */
	/* out, valid until cache_read_done() */
	unsigned niov;
	struct iovec iov[CACHE_PINS_MAX];
	/* internal */
	struct cache_wait wait;
	bool park;
	uint32_t want; /* len cut at the end of file */
	unsigned npins;
	uint8_t *bounce; /* when frames are too scarce to pin them all */
	uint32_t bounced;
	uint32_t pins[CACHE_PINS_MAX];
};

/* Returns bytes (0 at the end of file), -errno, or -EINPROGRESS: done() follows,
 * perhaps before this returns. With park false: -EAGAIN instead; call again. */
ssize_t cache_read(struct cache_rd *rd, bool park);
/* Ends a parked read early: true when done() will not be called (the read is as
 * if failed); false when it is too late. */
bool cache_read_cancel(struct cache_rd *rd);
/* Lets go of the frames; after every cache_read() that did not fail. */
void cache_read_done(struct cache_rd *rd);

/* ---- writing ---- */

struct cache_wr {
	struct cache_file *file;
	uint64_t off;
	uint32_t len;
	const uint8_t *src;         /* kept until done */
	const struct be_cred *cred; /* borrowed until done; the file keeps its own count */
	bool append;                /* off is chosen by the cache: the end of the file */
	void (*done)(struct cache_wr *wr, ssize_t result); /* after -EINPROGRESS */
	/* internal */
	struct cache_wait wait;
	struct list held;
	uint32_t at;
	bool admitted, park;
};

/* Returns len, -errno, or -EINPROGRESS: done() follows, perhaps before this
 * returns. With park false: -EAGAIN instead; src may move then, and
 * cache_write_resume() goes on. wr->off is final after success. */
ssize_t cache_write(struct cache_wr *wr, bool park);
ssize_t cache_write_resume(struct cache_wr *wr);
/* Ends a parked write early (its program was killed): true when done() will not
 * be called; false when it is too late. */
bool cache_write_cancel(struct cache_wr *wr);

/* ---- who waits ---- */

/* The calling thread's waits in the functions below end with -EINTR soon after *flag
 * has become true; what it had begun goes on by itself. NULL: they cannot be ended. */
void cache_interruptible(const atomic_bool *flag);

/* ---- making durable ---- */

/* Writes all dirty data of the file to the backend (not committed). May wait. */
int cache_flush(struct cache_file *f, bool nowait);
/* ... and commits it. cred: who asks, for a file that nobody wrote to (NULL: then
 * there is nothing to do). May wait. Returns the error of *this* attempt, not old ones. */
int cache_fsync(struct cache_file *f, bool datasync, const struct be_cred *cred, bool nowait);
/* The error that a handle has not been told yet, and marks it told. *seen is the
 * handle's own, from cache_error_seq() at open. */
int cache_error(struct cache_file *f, uint32_t *seen);
uint32_t cache_error_seq(struct cache_file *f);
/* Writes and commits everything. progress (may be NULL) is called now and then
 * and stops the drain by returning false. May wait. 0 or the first error. */
int cache_drain(struct cache *c, bool (*progress)(void *arg, const struct cache_usage *u),
		void *arg);

/* ---- changing size and place ---- */

/* Between begin and end no data of the file is in flight, and readers and
 * writers wait. flush: dirty data is written first. May wait. */
int cache_freeze(struct cache_file *f, bool flush, bool nowait);
void cache_thaw(struct cache_file *f);
/* Frozen only: the backend's file now has this size. */
void cache_set_size(struct cache_file *f, uint64_t size);
/* Frozen only: the backend's bytes in the range are not what the frames hold.
 * new_size: of the file now. */
void cache_forget_range(struct cache_file *f, uint64_t off, uint64_t len, uint64_t new_size);

#endif
