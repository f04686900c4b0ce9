/* SPDX-License-Identifier: Apache-2.0 */
/* cache_impl.h - what the parts of the cache share */
#ifndef CACHE_CACHE_IMPL_H
#define CACHE_CACHE_IMPL_H

#include <pthread.h>

#include "cache/cache.h"
#include "cache/page.h"
#include "common/lock.h"

#define INDEX_SHARDS 64
#define FILE_CREDS 4     /* writers' credentials that a file remembers */
#define EVICT_TRIES 4096 /* candidates looked at before an allocation gives up */
#define RETRY_MIN_MS 500 /* of writes that the backend refused; doubles up to */
#define RETRY_MAX_MS 30000
#define WB_TICK_MS 250
#define WAIT_TICK_MS 1000        /* a net under lost wake-ups */
#define INTR_TICK_MS 250         /* how often a wait looks whether it was interrupted */
#define STOP_TICK_MS 1           /* how often the end looks for reads in flight */
#define ROOM_TICK_MS 10          /* while somebody waits for a frame */
#define STREAM_BYTES (16u << 20) /* written on end are written back at once: the store keeps up */
#define COMMIT_BYTES (64u << 20) /* of a file, unstable, are committed though more is dirty */
#define FILE_WANTED 0x80000000u

struct cache_file {
	struct cache *c;
	uint64_t id;          /* never used twice */
	struct be_node *node; /* counted */
	uint64_t owner;
	_Atomic uint32_t refs; /* I/O in flight, being listed; FILE_WANTED: idle() when it ends */
	_Atomic uint32_t nframes;
	_Atomic uint64_t size;

	struct mutex lock;
	/* guarded by lock */
	struct cond cond;        /* something in flight ended, or thawed */
	struct list dirty;       /* frames with dirty units, oldest first */
	struct list unstable;    /* frames with unstable or committing units */
	struct list waiters;     /* struct cache_wait */
	uint64_t fno_max;        /* no frame has a larger page number; the size may shrink first */
	uint64_t be_size;        /* the backend's idea of the size */
	uint64_t change_seq;     /* grows with every write, its arrival, and change of size */
	unsigned fills, commits; /* in flight */
	unsigned epoch, epoch_writes[2]; /* writes in flight, by the epoch they began in */
	bool need_commit;       /* written since the last commit, held by this machine only */
	unsigned creds_refused; /* a bit for each of creds[] since the last write was taken */
	uint64_t cred_turns;    /* refused writes that wait for another credential */
	unsigned sleepers;      /* threads in cond_wait */
	uint32_t dirty_units, unstable_frames;
	uint64_t inval_gen; /* fills begun under an older one are not kept */
	unsigned frozen;
	bool discard;
	struct timespec mtime; /* of the last write, while mtime_ours */
	bool mtime_ours;
	uint64_t stream_end, stream_bytes; /* where the last write ended; written on end since */
	bool token_valid;
	uint64_t token_size;
	struct timespec token_mtime, token_ctime;
	uint64_t token_seen_ms; /* when these were first seen */
	uint64_t clean_ms;      /* when all clean units were dropped: what there is came later */
	int err;                /* last error of writing back */
	uint32_t err_seq;
	int failing; /* -errno while the backend refuses */
	_Atomic uint64_t retry_at_ms;
	uint64_t retry_delay_ms;
	uint64_t losses; /* times that the backend lost unstable data */
	unsigned sure;   /* fsyncs that want writes to be durable at once */
	struct be_cred *creds[FILE_CREDS];
	unsigned ncreds;
	/* guarded by cache->wb_lock */
	uint64_t drained;        /* round of cache_drain() that gave up on it */
	struct list dirty_files; /* on cache->dirty_files while busy with dirty or unstable data */
	_Atomic uint64_t dirty_since_ms;
	bool hurry;          /* due now, however young */
	_Atomic bool listed; /* changed with both locks held */
};

struct shard {
	struct mutex lock;
} __attribute__((aligned(64)));

struct cache {
	struct arena *arena;
	struct backend *be;
	uint32_t page_size, page_shift, unit, unit_shift, units;
	uint32_t nframes;
	struct frame *frames;      /* owned, one a frame of the arena */
	_Atomic uint32_t *buckets; /* owned */
	uint32_t bucket_mask;
	struct shard shards[INDEX_SHARDS];
	_Atomic uint64_t next_file_id;
	void (*idle)(void *arg, uint64_t owner);
	void *idle_arg;
	uint64_t stream_bytes, commit_bytes; /* STREAM_BYTES, COMMIT_BYTES; tests want less */

	struct mutex frames_lock;
	/* guarded by frames_lock */
	uint32_t *free_stack, nfree;
	_Atomic uint32_t used;
	_Atomic uint32_t frames_limit;
	struct policy policy;

	_Atomic uint64_t dirty_units, unstable_units;
	_Atomic unsigned fills; /* reads in flight, of all files */
	_Atomic uint32_t held_frames;
	_Atomic uint32_t held_background, held_limit;
	_Atomic uint64_t dirty_age_ms, readahead_max;
	_Atomic bool has_waiters; /* room or held is not empty */

	struct mutex wb_lock;
	/* guarded by wb_lock */
	struct cond wb_cond; /* the thread has something to do, or a write ended */
	struct list dirty_files;
	struct list held; /* struct cache_wr waiting for the dirty limit, first come first served */
	_Atomic uint32_t nheld;
	struct list room; /* struct cache_wait: waiting for a frame */
	_Atomic bool wb_kick;
	uint64_t drains; /* rounds of cache_drain() */
	bool stop;
	bool releasing, release_again; /* a thread is in held_release() */
	unsigned inflight;             /* writes in flight */
	unsigned failing_files;
	int last_error;
	pthread_t wb_thread;
};

static inline uint64_t file_unit_count(const struct cache *c, uint64_t size)
{
	return (size + c->unit - 1) >> c->unit_shift;
}

static inline struct arena_page *page_of(const struct cache *c, uint32_t frame)
{
	return &c->arena->pages[frame];
}

static inline uint8_t *frame_mem(const struct cache *c, uint32_t frame)
{
	return arena_frame(c->arena, frame);
}

/* frame.c: pins, index, allocation */
int frames_init(struct cache *c, enum policy_kind policy);
void frames_done(struct cache *c);
/* Lock-free: the pinned frame, or FRAME_NONE (perhaps wrongly: then look again with the lock). */
uint32_t frame_find(struct cache_file *f, uint64_t fno);
/* With f->lock held: exact. Pinned. */
uint32_t frame_find_locked(struct cache_file *f, uint64_t fno);
/* With f->lock held: a new, empty, indexed frame, pinned; FRAME_NONE when none is to be had. */
uint32_t frame_alloc_locked(struct cache_file *f, uint64_t fno, bool unproven);
void frame_unpin(struct cache *c, uint32_t frame);
void frame_hit(struct cache *c, uint32_t frame);
/* With the file's lock held: takes the frame out of the index; freed now or by the last unpin. */
void frame_doom(struct cache *c, uint32_t frame);
/* With f->lock held: calls fn for each indexed frame of f with page number >= first, pinned. */
void frames_each_locked(struct cache_file *f, uint64_t first,
			void (*fn)(struct cache_file *f, uint32_t frame, void *arg), void *arg);
/* Gives the memory of free frames back to the system when more than the limit are in use, or asked to. */
void frames_trim(struct cache *c);
void page_check(struct cache *c, uint32_t frame);
enum page_state page_state(struct cache *c, uint32_t frame);

/* cache.c: waiting */
/* Moves the waiters of frame (FRAME_NONE: all) to out; f->lock held. */
void waiters_take_locked(struct cache_file *f, uint32_t frame, struct list *out);
void waiters_wake(struct list *woken, int err); /* no locks held */
void token_set_locked(struct cache_file *f, const struct be_attr *attr);
void wait_on_locked(struct cache_file *f, struct cache_wait *w, uint32_t frame);
/* Takes w off the file's list; false when it is not there (any more). */
bool wait_cancel(struct cache_file *f, struct cache_wait *w);
/* Parks for a free frame; the writeback thread wakes w. */
void wait_for_room(struct cache *c, struct cache_wait *w);
void room_wake(struct cache *c);
/* A thread waits until file state changes. 0, or -EINTR: it is not to wait any more. */
int file_wait_locked(struct cache_file *f);
/* True when this thread's wait is over, see cache_interruptible(); else *limit_ms is
 * when to look again. */
bool wait_interrupted(uint64_t *limit_ms);
void file_changed_locked(struct cache_file *f); /* wakes those threads */

/* dirty.c: the books of what is not on the backend; f->lock held */
void page_mark_dirty_locked(struct cache_file *f, uint32_t frame, uint64_t units);
/* Recomputes what follows from the masks: dirty list, held, counts. Before is the
 * sum of obligations before the change. */
struct page_before {
	uint64_t dirty, unstable;
};
struct page_before page_before(struct cache *c, uint32_t frame);
void page_changed_locked(struct cache_file *f, uint32_t frame, struct page_before b);
void file_list_dirty_locked(struct cache_file *f); /* puts it on cache->dirty_files */
void file_hurry_locked(struct cache_file *f);      /* a listed file is written back at once */
/* A file with a reference is not freed. The last one may report it idle: f is
 * not to be touched after file_put(). No locks held. */
void file_get(struct cache_file *f);
void file_put(struct cache_file *f);
/* Unlists the file when nothing is owed any more. No locks held; the caller has a reference. */
void file_settle(struct cache_file *f);

/* fill.c */
/* Starts reading what [off, off+len) lacks; f->lock not held. 0, -ENOBUFS when no frame was to be had. */
int fill_range(struct cache_file *f, uint64_t off, uint64_t len, const struct be_cred *cred,
	       bool ahead, bool whole);
bool unit_is_hole_locked(const struct cache_file *f, uint64_t fno, unsigned unit);

/* writeback.c */
void *wb_main(void *arg);
void wb_kick(struct cache *c);
/* Submits the file's dirty ranges, at most those of now. *skipped: some were in
 * flight already. May wait for others' writes unless nowait, and for a thaw unless
 * nowait or background. 0, -ENOMEM, -EAGAIN when frozen, -EINTR. */
int wb_submit_file(struct cache_file *f, bool background, bool nowait, bool *skipped);
/* Starts a commit of what is unstable, with a writer's credential, else cred;
 * false when one is under way already, or the file frozen. */
bool wb_commit_start(struct cache_file *f, bool datasync, const struct be_cred *cred);
/* Waits, with f->lock held, for the writes that are in flight now. 0 or -EINTR. */
int writes_wait_locked(struct cache_file *f);
static inline unsigned file_writes(const struct cache_file *f)
{
	return f->epoch_writes[0] + f->epoch_writes[1];
}
/* f->failing, and the count of such files; 0: the backend takes the file's data. */
void failing_set_locked(struct cache_file *f, int err);
/* Releases writers below the limit. No locks held. */
void held_release(struct cache *c);

/* readahead.h's caller in fill.c */
#endif
