/* SPDX-License-Identifier: Apache-2.0 */
/* jrn_impl.h - inside of the journal: journal.c (life, waits), handle.c, commit.c, home.c
 *
 *   struct running --seal--> struct sealed: log list, not durable --commit block--> durable --images home--> tail passes it
 *
 * The log list holds what the log holds, oldest first; only its last one may be not durable, for one thread commits.
 *
 *        first            tail = pos of the oldest        head
 *          |                 |                             |
 *          [ ... free ...... [ T-3 ][ T-2 ][ T-1 ][ T .... ] ... free ... )
 *
 * Threads: "ext4-commit" seals and writes transactions; "ext4-home" writes images home and moves the tail. Only these two write
 * the log; the superblock of the journal is written by whoever has super_busy. */
#ifndef BACKENDS_BLOCK_EXT4_JRN_IMPL_H
#define BACKENDS_BLOCK_EXT4_JRN_IMPL_H

#include <pthread.h>

#include "backends/block/ext4/buf_impl.h"
#include "backends/block/ext4/jlog_impl.h"
#include "backends/block/ext4/journal.h"

#define JRN_REVOKES_PER_CREDIT 100u
#define JRN_REVOKE_BUCKETS 1024u

struct jrn_revoke {
	uint64_t block;
	struct list bucket, link;
};

struct running {
	uint32_t tid;
	unsigned handles;  /* open */
	unsigned reserved; /* blocks in it, and credits of open handles */
	unsigned nblocks;  /* of dirty */
	unsigned nrevokes, revokes_charged;
	struct list dirty;   /* struct buf, each held */
	struct list revokes; /* struct jrn_revoke, owned */
	struct list revoke_table[JRN_REVOKE_BUCKETS];
	uint64_t since_ms; /* when its first handle began; 0: none did */
};

struct sealed {
	struct list link; /* of the log list */
	uint32_t tid;
	uint32_t pos, blocks; /* where it lies in the log; pos 0: not known yet */
	uint32_t nrevoke_blocks, ndescriptors;
	unsigned nimages, nrevokes;
	struct jrn_image *images; /* owned */
	struct list revokes;      /* owned; until it is durable */
	bool durable, begun;      /* begun: jrn_log_begin() */
	/* guarded by the images' lock */
	uint8_t *area; /* all its blocks as the log has them, one piece; freed with the last live image */
	unsigned live; /* images with data */
};

struct jrn {
	/* set at start, then read only */
	struct bd *dev;
	struct bufs *bufs;
	struct ext4_super super; /* as read at the open; owned */
	const struct jrn_client *client;
	void *client_arg;
	uint32_t commit_ms;
	uint32_t log_blocks, credits_max;
	pthread_t commit_thread, home_thread;

	struct mutex lock; /* rank jrn */
	/* guarded by lock */
	struct cond room;        /* a seal is over: handles may begin */
	struct cond quiet;       /* the last handle ended */
	struct cond commit_work; /* for the commit thread */
	struct cond home_work;   /* for the home thread */
	struct cond settled;     /* anything that somebody may wait for has happened */
	struct running run;
	unsigned pack_credits;
	bool sealing, commit_wanted, stop, home_stop;
	uint64_t seals, empty_seal; /* number of seals begun; of the last one that found nothing */
	int error;
	bool abandoned, noted;
	uint32_t durable; /* tid */
	struct list log;  /* struct sealed */
	uint32_t head, used;
	bool log_empty;          /* the journal superblock says so, or is about to */
	bool space_wanted;       /* a transaction waits for room */
	bool home_asked, homing; /* a checkpoint up to home_upto is wanted; a round is under way */
	uint32_t home_upto;
	uint64_t flushes_begun, flushes_done; /* numbers */
	bool flushing;
	struct jlog_super disk; /* journal superblock: with super_busy */
	bool super_busy;
	struct jrn_counts counts;

	/* owned by the commit thread */
	uint64_t last_seconds;
	uint32_t last_nanoseconds;
};

/* The journal stops: the first error stays (J7). what: a sentence for the log. */
void jrn_fail(struct jrn *j, int error, const char *what);
/* 0, or why nothing more may be written. */
int jrn_may_write(struct jrn *j);
/* Group flush: returns when one that began after the call is done. */
int jrn_flush(struct jrn *j);
/* The blocks of s are durable, but for the commit block, which comes next: makes it the first one of the log if that is
 * empty. So nothing that lay there before is ever taken for its beginning. */
int jrn_log_begin(struct jrn *j, struct sealed *s);
/* The log begins behind last from now on. It is empty when the next one has not come to jrn_log_begin(). */
int jrn_log_tail(struct jrn *j, const struct sealed *last, unsigned flags);
/* Adds the runs of n blocks at mem to the log from pos on; returns how many, at most cap (else -E2BIG). */
int jrn_log_runs(const struct jrn *j, uint32_t pos, uint8_t *mem, uint32_t n, struct jlog_run *runs,
		 struct iovec *iov, unsigned cap);

void run_init(struct running *r, uint32_t tid);
/* May this many more credits join the running transaction? */
bool run_room_locked(const struct jrn *j, unsigned credits);
struct jrn_revoke *run_revoke_find(struct running *r, uint64_t block);
void run_revoke_drop(struct running *r, struct jrn_revoke *v);

void sealed_free(struct sealed *s);
/* The image need not go home any more. */
void image_drop_locked(struct jrn_image *im);

void *jrn_commit_main(void *arg);
void *jrn_home_main(void *arg);
/* Is there something that should go home? */
bool jrn_home_due_locked(const struct jrn *j);

#endif
