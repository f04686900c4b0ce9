/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_wire.h - NLM version 4: the bytes of its calls and replies
 *
 * Pure functions: any thread. Decoding is bounded and never allocates; see decode.h. */
#ifndef BACKENDS_NFS_NLM_WIRE_H
#define BACKENDS_NFS_NLM_WIRE_H

#include "backends/nfs/encode.h"

#define NLM_OH_BYTES 17
#define NLM_NETOBJ_MAX 1024 /* bytes of an opaque object, by protocol */
#define NLM_CALLER_MAX 80   /* bytes of our caller_name */

enum { NLM_PROG = 100021, NLM_VERS = 4 };
/* NM_LOCK is LOCK by a client that cannot be told of a restart (we run no NSM). */
enum nlm_proc { NLM_NULL, NLM_TEST, NLM_LOCK, NLM_CANCEL, NLM_UNLOCK, NLM_NM_LOCK = 22 };
enum nlm_status {
	NLM_GRANTED,
	NLM_DENIED,
	NLM_DENIED_NOLOCKS,
	NLM_BLOCKED,
	NLM_DENIED_GRACE,
	NLM_DEADLCK,
	NLM_ROFS,
	NLM_STALE_FH,
	NLM_FBIG,
	NLM_FAILED,
};

/* The arguments of any of the calls. Ranges as in struct be_lock. */
struct nlm_args {
	uint32_t cookie;
	const char *caller;
	const struct nfs_handle *fh;
	uint8_t oh[NLM_OH_BYTES]; /* who, together with caller and svid */
	int32_t svid;
	uint64_t start, end;
	bool exclusive, reclaim; /* LOCK; exclusive: TEST too */
};

struct nlm_reply {
	uint32_t status;
	/* TEST that was denied */
	bool exclusive;
	uint64_t start, end;
};

/* Never asks the server to block: it would have to call us back. */
void enc_nlm(struct enc *e, enum nlm_proc proc, const struct nlm_args *args);
/* A reply from behind its first word, which is the length of the cookie. Sets
 * d->bad for nonsense, a foreign cookie and an unknown status included. */
void dec_nlm(struct dec *d, enum nlm_proc proc, uint32_t cookie_len, uint32_t cookie,
	     struct nlm_reply *out);
/* -errno of a status; 0 for GRANTED. A denial is -EAGAIN. */
int nlm_errno(uint32_t status);

#endif
