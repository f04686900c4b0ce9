/* SPDX-License-Identifier: Apache-2.0 */
/* device_impl.h - what the files of the core share: device.c (requests), device_keep.c (what a server may lose,
 * reconnects), device_life.c (start, end) */
#ifndef BACKENDS_BLOCK_DEVICE_IMPL_H
#define BACKENDS_BLOCK_DEVICE_IMPL_H

#include <pthread.h>

#include "backends/block/device.h"
#include "backends/block/ledger.h"
#include "common/lock.h"

enum {
	KEPT_MAX = 16384,          /* unflushed writes that are kept, however small */
	WORK_SLAB = 64,            /* works allocated at once */
	ZERO_BYTES = 65536,        /* of zeros, written again and again */
	ZERO_WRITE_MAX = 1u << 20, /* one write of zeros */
	RESUME_MS = 60000,     /* a transport that gave back all has nothing in flight after it */
	CLOSE_WARN_MS = 30000, /* a close that takes longer is worth a line */
};
#define NO_RECORD UINT32_MAX

/* Where it stands with the server, see device_keep.c. */
enum core_state { CORE_RUNS, CORE_PAUSED, CORE_KEPT, CORE_AGAIN };

enum work_kind {
	WORK_CALLER,
	WORK_FORCED, /* the core's own flush */
	WORK_KEPT,   /* an unflushed write, sent again after a reconnect */
};

struct kept;

/* A request that was taken, until its done(). */
struct work {
	struct list
		link; /* waiting, stalled, flushes, fuas, riders, again, ended, free; alone while all of it is sent */
	struct bd_req *rq;
	enum work_kind kind;
	unsigned slot;     /* in core.ranges and core.works; not of WORK_KEPT */
	uint64_t issued;   /* bytes that were sent */
	unsigned iov_at;   /* the piece of rq->iov where issued stands, */
	size_t iov_off;    /* and where in it */
	unsigned out;      /* requests of it at the transport */
	uint64_t covers;   /* flush: writes that were done when it was sent, core.done_seq */
	uint32_t record;   /* in the ledger, or NO_RECORD */
	struct kept *kept; /* owned: where its bytes go when it is done */
	int error;
	bool started;   /* has its record and its place among the kept */
	bool direct;    /* the transport has rq itself */
	bool durable;   /* as if it had BD_FUA: it cannot be kept */
	bool by_writes; /* ZERO that is written */
	bool flushing;  /* written; what remains is the flush in place of BD_FUA */
	bool restart;   /* all of it is sent again when nothing of it is out */
	bool lost;      /* a request of it was given back without an answer: it may still land */
};

/* What the transport gets when it cannot be the caller's request itself. */
struct part {
	struct list link; /* core.parts, while free */
	struct bd_req rq;
	struct iovec *iov; /* BD_IOV_MAX; in core.part_iov */
};

/* A write that is done and not flushed. Its work stays unused until a reconnect. */
struct kept {
	struct list link;    /* core.kept; alone while it is a place only */
	struct list sending; /* core.sending, while at the transport again */
	struct work work;
	struct bd_req rq;
	struct iovec iov;
	uint8_t *data;    /* behind the struct, in its memory; NULL of a ZERO */
	uint64_t done_at; /* core.done_seq of its end */
	uint32_t record;  /* UNFLUSHED in the ledger, or NO_RECORD */
};

struct work_range {
	uint64_t off, end; /* of a flush: both 0 */
	bool changes;
};

struct bd_core {
	/* set at start, then read only */
	struct bd *dev;
	uint64_t max_transfer, max_zero, max_discard; /* multiples of what may be cut */
	uint64_t keep_max;
	uint32_t timeout_ms, resume_ms; /* the latter RESUME_MS; tests have less */
	struct bd_ledger *ledger;       /* borrowed */
	unsigned ledger_max;            /* records that we use at most */
	bool readonly, keeps;
	uint8_t *zeros;          /* owned, as the next two; NULL without */
	struct part *part_array; /* limits.depth of them */
	struct iovec *part_iov;
	pthread_t thread;

	_Atomic unsigned running;    /* requests of callers whose done() has not returned */
	_Atomic unsigned submitting; /* threads that call ops->submit() */
	_Atomic bool pausing;        /* CORE_PAUSED, for those threads */

	struct mutex lock;
	struct cond idle;  /* running or in_flight became 0 */
	struct cond quiet; /* submitting became 0 */
	struct cond more;  /* ended has something, or stop */
	/* guarded by lock */
	enum core_state state;
	struct list waiting; /* works, in the order of submission */
	struct list stalled; /* writes for which there is no room in the ledger or among the kept */
	struct list flushes; /* wait for settling; also works whose flush in place of BD_FUA does */
	struct list fuas;    /* the same, writes with BD_FUA at the transport */
	struct list
		riders; /* flushes, and the one that is out was sent after them: it is theirs, too */
	struct list again;         /* given back by the transport, by stamp */
	struct list ended;         /* done() is the thread's */
	struct list free;          /* works */
	struct list parts;         /* free ones */
	struct work_range *ranges; /* owned, dense; works the same */
	struct work **works;
	unsigned active, active_cap;
	void *slabs; /* owned: chain of works' memory */
	unsigned in_flight;
	uint64_t stamp, done_seq;
	int failed;
	bool cancelled, stop;
	/* Its flush, or its write with BD_FUA, is at the transport: one at a time, so that no success passes a failure (B3) */
	const struct work *settling;
	bool fuas_turn;
	bool no_zero;  /* the transport said so, in spite of limits */
	bool progress; /* something was answered since the last resume */
	unsigned ledger_used, ledger_at;
	/* what is kept, by done_at */
	struct list kept, sending;
	struct list *kept_next; /* CORE_KEPT: to be sent */
	unsigned nkept;         /* with places of writes in flight */
	uint64_t kept_bytes;
	struct work forced;
	struct bd_req forced_rq;
	bool forced_out; /* waiting or sent */
	struct bd_counts counts;
};

static inline bool op_changes(enum bd_op op)
{
	return op == BD_WRITE || op == BD_DISCARD || op == BD_ZERO;
}

/* ---- device.c ---- */

/* Finds what can be sent, up to the depth. The caller sends out with bdc_send() after the unlock. */
void bdc_pump_locked(struct bd_core *c, struct list *out);
void bdc_send(struct bd_core *c, struct list *out);
/* Calls done() of what ended; no lock held. */
void bdc_run_ended(struct bd_core *c, struct list *ended);
/* w's next request is a flush or has BD_FUA, and another's is out. */
bool bdc_must_wait_locked(const struct bd_core *c, const struct work *w);
/* Nothing of w is out any more: what comes next. */
void bdc_step_locked(struct bd_core *c, struct work *w, struct list *ended);
/* w leaves the core with error; its done() is due. */
void bdc_end_locked(struct bd_core *c, struct work *w, int error, struct list *ended);
/* A request came back from the transport, with an answer or without. */
void bdc_back_locked(struct bd_core *c, struct work *w, struct bd_req *rq);
/* From the start, with all of it. */
void bdc_reset_locked(struct work *w);
/* Works that wait and that pick() chooses end with error; those that are partly out when that is over. */
void bdc_sweep_locked(struct bd_core *c, bool (*pick)(const struct work *w), int error,
		      struct list *ended);
void bdc_fail_locked(struct bd_core *c, int error, struct list *ended);

/* ---- device_keep.c ---- */

/* Room for w's bytes until a flush; false: not now. */
bool bdc_keep_reserve_locked(struct bd_core *c, struct work *w, bool fua);
void bdc_keep_copy(const struct work *w, const struct bd_req *rq);
/* w is done: its bytes are kept, or its place is given up. */
void bdc_keep_done_locked(struct bd_core *c, struct work *w, bool keep);
void bdc_keep_flushed_locked(struct bd_core *c, uint64_t covers);
/* Bytes go; the ledger still tells of them. */
void bdc_keep_drop_locked(struct bd_core *c);
/* While not running: the next work to be sent, NULL: wait. May end the state. */
struct work *bdc_resend_next_locked(struct bd_core *c);
/* All of w is out. */
void bdc_kept_sent_locked(struct bd_core *c, const struct work *w);
void bdc_kept_answer_locked(struct bd_core *c, struct work *w, struct list *ended);
/* By stamp. */
void bdc_again_locked(struct bd_core *c, struct work *w);

/* ---- ledger.c ---- */

/* A record in flight, or NO_RECORD: full. *at: where to look first. */
uint32_t bd_ledger_take(struct bd_ledger *l, unsigned *at, const struct bd_req *rq);
void bd_ledger_set(struct bd_ledger *l, uint32_t record, enum bd_ledger_state state);

#endif
