/* SPDX-License-Identifier: Apache-2.0 */
/* device.h - a disk: one table of functions, several transports, and the rules between them and ext4
 *
 *   bd_submit()          core (device.c)                 transport (struct bd_ops)
 *   checked, refused --> queued --> in flight ---------> submit()
 *                          ^           |                    |
 *                          |           '<-- bd_complete() --'  done() runs
 *                          '--------------- bd_requeue() <--'  the connection was lost
 *
 * What holds for every device:
 *  B1 A write that is done may be lost until a flush that was submitted after that is done. With BD_FUA
 *     it is durable when done, and says nothing of others. Without limits.volatile_cache both are free.
 *  B2 Requests in flight together have no order. One that overlaps another of which either changes data
 *     is refused (-EBUSY): who needs an order waits.
 *  B3 A flush that fails makes all since the last good one doubtful, and so does a write with BD_FUA where there is
 *     a volatile cache, whatever the error: the device fails all later writes and flushes with it, until it is
 *     opened anew (bd_failed()).
 *  B4 What may be torn is a write's limits.block bytes at the least: smaller units are written wholly or not.
 *  B5 A discarded range holds anything. A zeroed one reads as zeros.
 *  B6 done() runs once for each request that bd_submit() took, on a thread of the device, never inside
 *     bd_submit(), with no lock held. It may submit; it may not wait for a request or close.
 *  B7 A network server that comes back gets, in this order: writes that are done and not flushed, requests that
 *     were not answered, new ones. The same bytes come first, so a late copy of an old request changes nothing.
 *
 * Threads: any for bd_submit() and the calls below it; open, close alone.
 * Errors:  -errno. -EIO where the device says no more; -ENOSPC, -ENOTSUP, -EROFS where it does; -ETIMEDOUT when
 *          conf.timeout_ms is over; -ECANCELED after bd_cancel(). */
#ifndef BACKENDS_BLOCK_DEVICE_H
#define BACKENDS_BLOCK_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "backends/backend.h" /* be_dial */
#include "common/err.h"
#include "common/list.h"
#include "common/uri.h"

struct bd;
struct bd_core;
struct bd_ledger;

enum bd_op { BD_READ, BD_WRITE, BD_FLUSH, BD_DISCARD, BD_ZERO, BD_OPS };

#define BD_FUA 1u   /* WRITE, ZERO: durable when done */
#define BD_UNMAP 2u /* ZERO: the space may be given back */

#define BD_BLOCK_MIN 512u
#define BD_BLOCK_MAX 4096u /* logical blocks above it are refused at open */
#define BD_IOV_MAX 256u    /* pieces of one request */
#define BD_DEPTH_MAX 512u  /* in flight at a transport */
#define BD_SIZE_MAX (1ull << 60)
#define BD_KEEP_MAX \
	(64ull << 20) /* bytes of unflushed writes kept for a server that may lose them */

/* A request. Owned by the caller, untouched by him until done(). */
struct bd_req {
	enum bd_op op;
	unsigned flags;
	uint64_t off, len;       /* bytes, multiples of limits.block; FLUSH: 0 */
	const struct iovec *iov; /* READ, WRITE: borrowed with what it points to; the sum is len, */
	unsigned niov;           /* each piece and its address a multiple of limits.align */
	void (*done)(struct bd_req *rq);
	void *arg;  /* the caller's */
	int result; /* out: 0 or -errno */

	/* The device's while it has the request. */
	struct bd *dev;
	struct list link; /* a transport's queues, while it has the request */
	uint64_t stamp;   /* order of submission */
	uint64_t deadline_ms;
	void *core; /* struct of device.c */
	union {
		void *ptr;
		uint64_t u64;
	} priv[4]; /* the transport's */
};

struct bd_limits {
	uint32_t block;      /* logical block: power of two, BD_BLOCK_MIN..BD_BLOCK_MAX */
	uint32_t align;      /* of memory: 1, or a power of two */
	uint32_t preferred;  /* bytes that it likes; 0: block */
	size_t max_transfer; /* bytes of one READ or WRITE at the transport; core cuts larger ones */
	/* The same of ZERO and DISCARD; 0: not supported. A ZERO that is answered -ENOTSUP is written from then on. */
	uint64_t max_zero, max_discard;
	uint32_t discard_granularity; /* 0: block */
	unsigned depth;               /* in flight at the transport; the others wait in the core */
	bool volatile_cache;          /* false: what is done is durable */
	bool fua; /* transport takes BD_FUA of a WRITE; else, and for a ZERO, the core flushes */
	bool zero_fast; /* ZERO is cheaper than writing zeros */
	bool readonly, rotational;
	bool keeps; /* the server can lose what it answered while we live: unflushed writes are kept (B7); not of a layer */
};

struct bd_ops {
	const char *name;
	/* Takes a request that fits the limits. From any thread and from within done(); never waits
	 * for the device, never completes inside. */
	void (*submit)(struct bd *dev, struct bd_req *rq);
	/* Optional: the last of a row of submit() calls was made. */
	void (*kick)(struct bd *dev);
	/* How large it is now: devices grow. May wait. */
	int (*size)(struct bd *dev, uint64_t *out);
	/* Optional: all that is in flight ends soon, -ECANCELED. A transport that cannot waits it out. */
	void (*cancel)(struct bd *dev);
	/* Nothing is in flight. Ends the threads, frees dev. A thread may still be on its way out of bd_complete(), and of
	 * the submit() and kick() in there: all that call it are joined before anything that these use is freed. */
	void (*close)(struct bd *dev);
};

/* Embedded as first member by a transport. */
struct bd {
	const struct bd_ops *ops;
	struct bd_limits limits; /* constant after the open */
	_Atomic uint64_t size;   /* bytes, a multiple of limits.block */
	struct bd_core *core;
};

/* ---- for callers ------------------------------------------------------ */

/* 0: taken. Else nothing was done and done() does not run: -EINVAL (range, alignment, pieces), -EROFS, -EBUSY (B2),
 * -ENOTSUP (DISCARD), -ENOMEM, -ESHUTDOWN after bd_cancel(), or the error of a failed device. */
int bd_submit(struct bd *dev, struct bd_req *rq);
/* Submits n requests and kicks once; how many were taken: the next one was refused with *rc. */
unsigned bd_submit_all(struct bd *dev, struct bd_req *const *rqs, unsigned n, int *rc);

/* The same, waiting; memory of any alignment. Not within done(), nor with a lock of ours. */
int bd_read(struct bd *dev, void *buf, size_t len, uint64_t off);
int bd_write(struct bd *dev, const void *buf, size_t len, uint64_t off, unsigned flags);
int bd_flush(struct bd *dev);
int bd_zero(struct bd *dev, uint64_t off, uint64_t len,
	    unsigned flags); /* writes zeros where there is no command */
int bd_discard(struct bd *dev, uint64_t off, uint64_t len);

/* Asks the device for its size, which may only have grown (-EIO else); sets dev->size. */
int bd_resize(struct bd *dev);
/* The error that all writes fail with from now on, or 0. */
int bd_failed(struct bd *dev);
/* No new requests are taken; what waits in the core ends with -ECANCELED, what is in flight as the transport can. */
void bd_cancel(struct bd *dev);
/* Cancels, waits until all is done, closes. NULL is fine, and what bd_prepare() made. */
void bd_close(struct bd *dev);
/* Waits until nothing is in flight or waiting. False: not before deadline_ms (clock_ms()). */
bool bd_idle(struct bd *dev, uint64_t deadline_ms);

struct bd_counts {
	uint64_t ops[BD_OPS], bytes[BD_OPS], errors, refused;
	uint64_t resent, reconnects,
		forced_flushes; /* B7; flushes of the core's own, to drop what it keeps */
	uint64_t kept_bytes;
	unsigned in_flight, waiting;
	bool paused;
};
void bd_counts(struct bd *dev, struct bd_counts *out);

/* ---- opening ---------------------------------------------------------- */

enum bd_engine { BD_AUTO, BD_URING, BD_THREADS };

/* What the mount gives; all of it may be 0. */
struct bd_env {
	/* Opens device number n of the configuration for a process that opens nothing (fusefs/opener.h): an exclusive
	 * descriptor, or -errno with a sentence. NULL: opened by path here. */
	int (*open_device)(void *arg, unsigned n, uint32_t limit_ms, struct err *err);
	void *open_arg;
	/* Connections, as in be_env. NULL: made here. */
	int (*dial)(void *arg, const struct be_dial *want, struct err *err);
	int (*dialled)(int fd_take, struct err *err);
	void *dial_arg;
	enum bd_engine engine;
	bool readonly;
	uint32_t busy_ms; /* how long an exclusive open waits for a predecessor's last requests; 0: 30 s */
	uint32_t timeout_ms; /* of a request while the server is away, then the device has failed; 0: for ever */
	uint32_t settle_ms; /* between the loss of a connection and the repetition of what it did not answer */
	struct bd_ledger *ledger; /* borrowed until the close; NULL: none */
	uint64_t keep_max;        /* 0: BD_KEEP_MAX */
	struct bd *
		prepared; /* bd_prepare() made it of the same; bd_open() takes it, also when it fails */
};

/* The first half of bd_open(), for a process that gives up paths and privileges between the two (fusefs/sandbox.h):
 * opens files, makes a ring, and asks the kernel about the device; starts no thread and asks no server. *out is for
 * env.prepared or bd_close(), and for nothing else; NULL: there is nothing to prepare. */
int bd_prepare(const char *uri, const struct bd_env *env, struct bd **out, struct err *err);

/* Opens "/path" or "file:/path" (files and block devices), "nbd://host[:port]/export", "nbds://",
 * "nbd+unix:///export?socket=/path", "nvme-tcp://host[:port]/NQN?nsid=N|nguid=HEX", with the layers named in
 * layers (layers.h) above it. Parameters of the URI: docs/block.md. */
int bd_open(const char *uri, const char *layers, const struct bd_env *env, struct bd **out,
	    struct err *err);

/* One row a transport; bd_open() looks the scheme up. */
struct bd_transport {
	const char *const *schemes; /* NULL-ended */
	const char *uri_help;
	/* Optional, see bd_prepare(): *out has all but a core, and ops->close frees it. */
	int (*prepare)(const struct uri *uri, const struct bd_env *env, struct bd **out,
		       struct err *err);
	/* Takes env->prepared, also when it fails; there is one where there is prepare(). */
	int (*open)(const struct uri *uri, const struct bd_env *env, struct bd **out,
		    struct err *err);
};
extern const struct bd_transport bd_file, bd_nbd, bd_nvme_tcp;

/* ---- for transports and layers ---------------------------------------- */

/* Makes dev->core; ops, limits and size are set. -EINVAL with a sentence for limits outside the above. */
int bd_core_new(struct bd *dev, const struct bd_env *env, struct err *err);
/* Last call of ops->close before it frees dev; also of a half-opened one (core NULL is fine). */
void bd_core_free(struct bd *dev);

/* The request has ended: frees it for its owner and sends what waits. No lock of the transport held. */
void bd_complete(struct bd_req *rq, int result);

/* Network transports. A device starts running; when its connection is lost the transport calls bd_pause(), gives back
 * each request that is in flight by bd_requeue(), in any order, and bd_resume() when a new one is ready
 * (then submit() is called again, B7). bd_pause() waits until no submit() or kick() runs any more: it is not called from
 * within those, nor with a lock that they take. Between its return and bd_resume() neither is called. Requests may
 * still be completed then. bd_resume() comes when all was completed or given back; it waits for threads that are just
 * completing, a minute at most: then the device has failed. */
void bd_pause(struct bd *dev);
void bd_requeue(struct bd_req *rq);
void bd_resume(struct bd *dev);
/* Ends requests whose deadline is over while paused, with -ETIMEDOUT; the device has failed then. The transport's
 * thread calls it while it waits for a server; returns ms until the next deadline, UINT32_MAX: none. */
uint32_t bd_expire(struct bd *dev, uint64_t now_ms);
/* Fails the device for good (first error wins): B3. */
void bd_fail(struct bd *dev, int error);

#endif
