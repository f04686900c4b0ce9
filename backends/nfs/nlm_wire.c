/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_wire.c - see nlm_wire.h. On the wire a range is an offset and a length,
 * length 0 being "to the end". */
#include "backends/nfs/nlm_wire.h"

#include <errno.h>

#include "common/cleanup.h"

enum { STATE_NONE = 0 }; /* of NSM, which we do not run */

static void enc_alock(struct enc *e, const struct nlm_args *a)
{
	enc_str(e, a->caller);
	enc_handle(e, a->fh);
	enc_opaque(e, a->oh, sizeof a->oh);
	enc_u32(e, (uint32_t)a->svid);
	enc_u64(e, a->start);
	enc_u64(e, a->end >= BE_LOCK_END ? 0 : a->end - a->start + 1);
}

void enc_nlm(struct enc *e, enum nlm_proc proc, const struct nlm_args *a)
{
	bool lock = proc == NLM_LOCK || proc == NLM_NM_LOCK;

	enc_u32(e, sizeof a->cookie);
	enc_u32(e, a->cookie);
	if (lock || proc == NLM_CANCEL)
		enc_u32(e, false); /* block */
	if (proc != NLM_UNLOCK)
		enc_u32(e, a->exclusive);
	enc_alock(e, a);
	if (lock) {
		enc_u32(e, a->reclaim);
		enc_u32(e, STATE_NONE);
	}
}

/* Whatever the server says, the range is one of struct be_lock. */
static void dec_holder(struct dec *d, struct nlm_reply *out)
{
	uint64_t off, len;
	uint32_t oh_len;

	out->exclusive = dec_bool(d);
	dec_u32(d); /* svid */
	dec_opaque(d, NLM_NETOBJ_MAX, &oh_len);
	off = dec_u64(d);
	len = dec_u64(d);
	out->start = off < BE_LOCK_END ? off : BE_LOCK_END;
	out->end = !len || len > BE_LOCK_END - out->start ? BE_LOCK_END : out->start + len - 1;
}

void dec_nlm(struct dec *d, enum nlm_proc proc, uint32_t cookie_len, uint32_t cookie,
	     struct nlm_reply *out)
{
	*out = (struct nlm_reply){ .status = NLM_FAILED };
	if (cookie_len != sizeof cookie || dec_u32(d) != cookie) {
		d->bad = true;
		return;
	}
	out->status = dec_u32(d);
	if (out->status > NLM_FAILED)
		d->bad = true;
	if (proc == NLM_TEST && out->status == NLM_DENIED)
		dec_holder(d, out);
}

int nlm_errno(uint32_t status)
{
	static const int map[] = {
		[NLM_GRANTED] = 0,
		[NLM_DENIED] = -EAGAIN,
		[NLM_DENIED_NOLOCKS] = -ENOLCK,
		[NLM_BLOCKED] = -EAGAIN, /* not asked for */
		[NLM_DENIED_GRACE] = -EAGAIN,
		[NLM_DEADLCK] = -EDEADLK,
		[NLM_ROFS] = -EROFS,
		[NLM_STALE_FH] = -ESTALE,
		[NLM_FBIG] = -EFBIG,
		[NLM_FAILED] = -EIO,
	};

	return status < ARRAY_LEN(map) ? map[status] : -EIO;
}
