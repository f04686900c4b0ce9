/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.h - one RPC call in flight, and the stream of reply records
 *
 * A struct ncall carries an encoded request and receives its reply. It is made
 * here, handed to a connection (conn.h), and comes back through done(), once.
 * Payload is never copied: a WRITE's bytes are sent from call->iov, a READ's
 * bytes are received into it.
 *
 * A struct nrec turns the bytes that a server sends into replies: it takes
 * record markers apart, asks the connection which call a reply belongs to, and
 * fills the call's reply buffer or, for a READ, its payload. It makes no system
 * call, so tests and fuzzers feed it from memory. One thread. */
#ifndef BACKENDS_NFS_RPC_H
#define BACKENDS_NFS_RPC_H

#include "backends/nfs/encode.h"
#include "common/list.h"
#include "common/lock.h"

#define NCALL_ARGS_INLINE 1024              /* any call but SYMLINK and MNT */
#define NCALL_REPLY_INLINE 1024             /* any reply but READLINK and READDIR */
#define NREC_MAX ((1u << 20) + (64u << 10)) /* bytes of a reply record */
#define NREC_FRAGMENTS_MAX 4096             /* of one record */

enum ncall_kind {
	NCALL_PLAIN, /* the reply goes to call->reply */
	NCALL_WRITE, /* the same; payload follows the arguments */
	NCALL_READ,  /* the reply's head goes to call->head, its data to the payload */
};

struct ncall {
	/* set by the submitter, constant while in flight */
	enum ncall_kind kind;
	uint8_t *args; /* owned: an encoded record, up to the payload */
	size_t args_len, args_cap;
	struct iovec *iov; /* borrowed: payload memory */
	unsigned niov;
	size_t iov_off;                   /* where in iov this call's payload starts */
	size_t payload_len;               /* bytes to send, or room to receive */
	void (*done)(struct ncall *call); /* on the connection's thread, no lock held */
	void *priv;                       /* the submitter's */
	uint64_t scratch[6];              /* the submitter's; zero at first */
	uint64_t deadline_ms;             /* 0: none; kept by the connection */

	/* guarded by the connection's lock while in flight */
	struct list all_link, send_link, hash_link;
	uint32_t xid;
	size_t sent;      /* bytes of the record given to the current socket */
	bool was_sent;    /* the whole record went out on some socket */
	unsigned sends;   /* how often */
	uint64_t sent_ms; /* when last */
	bool abandoned;   /* nobody waits any more */
	uint64_t due_ms;  /* not to be sent before */

	/* the result */
	int error;      /* 0: a reply arrived; or -errno of the transport */
	bool resent;    /* the server may have executed it twice */
	uint8_t *reply; /* owned: the whole record */
	size_t reply_len, reply_cap;
	struct nfs_read_head head; /* READ */

	/* for a waiting thread */
	_Atomic unsigned refs;
	struct mutex wait_lock;
	struct cond wait_cond;
	bool finished; /* guarded by wait_lock */

	struct ncall_pool *pool;
	struct list pool_link;
	uint8_t args_inline[NCALL_ARGS_INLINE];
	uint8_t reply_inline[NCALL_REPLY_INLINE];
};

/* Calls kept for reuse, so that the data path does not allocate. */
struct ncall_pool {
	struct mutex lock;
	struct list free; /* guarded by lock */
	unsigned nfree;   /* guarded by lock */
	unsigned keep;    /* how many are kept */
};

/* Makes keep calls in advance; -ENOMEM, then to be undone by ncall_pool_done() as well. */
int ncall_pool_init(struct ncall_pool *pool, unsigned keep);
void ncall_pool_done(struct ncall_pool *pool); /* all calls are back */

/* A call with one reference, inline buffers, nothing encoded; NULL without memory. */
struct ncall *ncall_new(struct ncall_pool *pool);
struct ncall *ncall_get(struct ncall *call);
void ncall_put(struct ncall *call);
/* Larger buffers; -ENOMEM. Before anything is encoded. */
int ncall_reserve(struct ncall *call, size_t args_cap, size_t reply_cap);
/* A done() for callers that wait: wakes ncall_wait() and drops a reference. */
void ncall_finish(struct ncall *call);
/* Waits until finished or until deadline_ms (monotonic); true when finished. */
bool ncall_wait(struct ncall *call, uint64_t deadline_ms);
/* Clears the result, for sending the same request again under a new XID. */
void ncall_rearm(struct ncall *call);

/* Bytes of the whole record to send: marker, payload and its padding included. */
size_t ncall_record_len(const struct ncall *call);
/* Fills iov with up to max parts of call's payload from byte from on, at most
 * len bytes; returns the parts, and in *out_len their sum. */
unsigned ncall_payload(const struct ncall *call, size_t from, size_t len, struct iovec *iov,
		       unsigned max, size_t *out_len);

struct nrec;
struct nrec_ops {
	/* The call in flight under xid, or NULL. It stays in flight until complete(). */
	struct ncall *(*find)(void *arg, uint32_t xid);
	/* Its reply is complete (error 0), or unusable (-errno). */
	void (*complete)(void *arg, struct ncall *call, int error);
};

enum nrec_sink { NREC_XID, NREC_HEAD, NREC_PLAIN, NREC_DATA, NREC_SKIP };

struct nrec {
	const struct nrec_ops *ops;
	void *arg;
	/* the record marker */
	uint8_t mark[4];
	unsigned mark_len;
	uint32_t frag_left;
	bool frag_last;
	unsigned fragments;
	/* the record */
	size_t rec_len; /* of the fragments seen so far */
	enum nrec_sink sink;
	struct ncall *call; /* borrowed, in flight; NULL: nobody waits for this record */
	int error;
	uint8_t head[READ_HEAD_MAX];
	size_t head_len, head_need;
	size_t data_got;
};

/* Ready for the first byte of a connection. */
void nrec_init(struct nrec *r, const struct nrec_ops *ops, void *arg);
/* Takes n bytes of the stream. -EIO: the stream makes no sense, close it. */
int nrec_feed(struct nrec *r, const void *p, size_t n);
/* Where the next bytes may be received in place: parts, and their sum in *len. 0: nowhere. */
unsigned nrec_direct(const struct nrec *r, struct iovec *iov, unsigned max, size_t *len);
/* n <= *len bytes were received there. */
void nrec_received(struct nrec *r, size_t n);
/* The call being received is gone: the rest of its record is dropped. */
void nrec_forget(struct nrec *r, const struct ncall *call);

#endif
