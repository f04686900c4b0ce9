/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_impl.h - what the files of the NBD transport share
 *
 *   nbd.c         URI, limits, open and close
 *   nbd_conn.c    one connection: made, looked at, ended
 *   nbd_io.c      a request's way: to a connection, to its answer, or back to the core
 *   nbd_thread.c  "bd-nbd": waits for answers, notices what is lost, connects anew
 *
 * 1. A request that the transport has is in exactly one list: of a connection (in flight), bounce_wait,
 *    back (to be given back or refused), done (answered).
 * 2. libnbd's lock of a handle is taken before bdn_dev.lock (its callbacks do that), so libnbd is never called under it.
 * 3. Only the thread opens and closes handles. Others use one while they count in bdn_conn.users.
 * 4. The connections are all up or all down: what is lost on one may have been a server's death. */
#ifndef BACKENDS_BLOCK_NBD_IMPL_H
#define BACKENDS_BLOCK_NBD_IMPL_H

#include <libnbd.h>
#include <pthread.h>

#include "backends/block/device.h"
#include "backends/sock.h"
#include "common/lock.h"

enum {
	BDN_PORT = 10809,
	BDN_CONNECTIONS = 4, /* unless the URI says another number */
	BDN_CONNECTIONS_MAX = 8,
	BDN_DEPTH = 64,         /* in flight on one connection; libnbd's manual advises no more */
	BDN_CONNECT_MS = 10000, /* one attempt, handshake included */
	BDN_REPLY_S = 60,
	BDN_REPLY_MAX_S = 3600,
	BDN_SETTLE_MS = 1000,
	BDN_CANCEL_MS = 1000, /* what is in flight may still end by itself */
	BDN_EXPORT_MAX = 4096,
};

/* So much is in flight on a connection before the next one is used: answers of one are read in a row. */
enum { BDN_FILL = 64 };
#define BDN_FILL_BYTES (1u << 20)
#define BDN_TRANSFER_MAX (1u << 20) /* larger ones gain nothing and make one answer late for all */
#define BDN_PAYLOAD_MAX (32u << 20) /* of a server that names no maximum: what all take */
#define BDN_ZERO_MAX (64ull << 20)  /* a server may write that many zeros for one answer */
#define BDN_DISCARD_MAX (1024ull << 20)
#define BDN_BOUNCE_MAX (64u << 20) /* bytes of requests in several pieces, in flight */

/* Where the server is, and how it is spoken to. Set at start, then read only, but for sock's addresses. */
struct bdn_target {
	struct nsock_target sock;            /* TCP */
	char *path;                          /* unix socket; owned; NULL: TCP */
	char *name;                          /* of the export; owned */
	char *certificates, *psk, *username; /* owned, may be NULL */
	bool tls;
	unsigned connections;
	uint32_t reply_ms;
	char text[300]; /* for messages: "host port 10809" or "socket /path" */
};

/* What a server says of an export. */
struct bdn_export {
	uint64_t size; /* a multiple of block */
	uint32_t block, preferred;
	size_t max_transfer;
	bool readonly, rotational, flush, fua, trim, zero, fast_zero, multi;
};

struct bdn_conn {
	struct bdn_dev *dev;
	struct nbd_handle *h; /* owned; the thread's; NULL: none */
	/* owned by the thread */
	int fd;            /* a duplicate of h's, which libnbd closes when the connection ends */
	bool wants_out;    /* EPOLLOUT is armed */
	uint64_t heard_ms; /* when something last came */
	/* guarded by dev->lock */
	struct list inflight; /* in the order of sending */
	unsigned n, users;    /* requests in flight; threads other than dev's that use h */
	uint64_t bytes;       /* of what is in flight */
	uint64_t replies;
};

enum bdn_state {
	BDN_UP,
	BDN_DOWN,  /* paused: the thread connects */
	BDN_BROKEN /* all that comes ends with dev->broken */
};

struct bdn_dev {
	struct bd bd;
	/* set at start, then read only */
	struct bdn_target target;
	struct bdn_export export; /* size: guarded by lock */
	uint32_t settle_ms, timeout_ms;
	int ep, ev;
	pthread_t thread;

	atomic_bool stop;   /* nobody waits for answers any more */
	atomic_bool ending; /* the thread is to end */
	atomic_bool woken;  /* ev was written to */
	_Atomic uint64_t bounces;

	struct mutex lock;
	/* guarded by lock */
	enum bdn_state state;
	int broken;
	struct bdn_conn conns[BDN_CONNECTIONS_MAX];
	unsigned nconns; /* written by the thread alone */
	struct list done, back, bounce_wait;
	size_t bounce_bytes;
	bool lost;            /* a connection is no good any more */
	unsigned looks, seen; /* size() asked so often; the thread has looked so often */
	struct cond changed;  /* users, seen, state */

	/* owned by the thread */
	unsigned first;    /* address of the name that is tried first */
	unsigned patience; /* doublings of reply_ms for a server that is slow */
	unsigned nonsense; /* losses in a row by answers that are none */
	uint64_t up_ms;    /* when the connections were made */
	uint64_t stop_ms;  /* when what is in flight is cut off after a cancel; 0: not */
	char why[200];     /* the connection was lost */
};

/* The device whose thread runs here. */
extern _Thread_local struct bdn_dev *bdn_here;

/* ---- nbd_conn.c ---- */

/* Called in waits for a server, every 100 ms at the least; false: give it up. */
typedef bool bdn_tick(void *arg);

/* A handle that is ready, and what its server says. -errno with a sentence. */
int bdn_connect(struct bdn_target *t, unsigned first, uint32_t limit_ms, bdn_tick *tick, void *arg,
		const atomic_bool *stop, struct nbd_handle **out, struct bdn_export *export,
		struct err *err);
/* The end that the protocol asks for; waits for the server a little. */
void bdn_goodbye(struct nbd_handle *h);
/* Its socket is reset when fd is closed, too: what was sent and not read by the server is lost. fd is a duplicate of
 * the socket's: libnbd has closed its own when the connection is dead. */
void bdn_reset(struct nbd_handle *h, int fd);
/* 0, or -errno with a sentence: requests made for the export was cannot go to is. */
int bdn_same(const struct bdn_export *was, const struct bdn_export *is, struct err *err);

/* ---- nbd_io.c ---- */

void bdn_submit(struct bd *dev, struct bd_req *rq);
/* Ends all that was answered, and starts what waited for room. The thread, no lock held. */
void bdn_complete(struct bdn_dev *d);
/* What is in flight on c is nobody's: moved to back. c's handle is closed. */
void bdn_take_back_locked(struct bdn_dev *d, struct bdn_conn *c);
/* What is in back goes to the core, or ends with d->broken. */
void bdn_give_back(struct bdn_dev *d);
void bdn_wake(struct bdn_dev *d);

/* ---- nbd_thread.c ---- */

/* Connects, to as many connections as the server likes; the first time (open) and again. -errno with a sentence. */
int bdn_connect_all(struct bdn_dev *d, struct err *err);
/* Ends the connections in peace. Nothing is in flight. */
void bdn_part(struct bdn_dev *d);
void *bdn_thread(void *arg);

#endif
