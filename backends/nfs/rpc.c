/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.c - the stream of reply records, see rpc.h
 *
 * A record passes through these sinks (record_done() from any of them):
 *
 *      XID --find: NULL-----------------------------------> SKIP
 *       |----a READ----> HEAD --status OK--> DATA --full--> SKIP (padding)
 *       |                  `----refused, nonsense---------> SKIP
 *       `----others----> PLAIN --larger than the buffer---> SKIP
 *
 * 1. call is set in HEAD, PLAIN, DATA, and in SKIP when its fate is known.
 * 2. error is what complete() will be told when the record ends; a record that
 *    ends in XID, HEAD or DATA was cut: -EIO.
 * 3. Nothing is stored beyond head_need, reply_cap or payload_len. */
#include "backends/nfs/rpc.h"

#include <assert.h>
#include <errno.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <string.h>

/* Up to the NFS status of a READ reply with an empty verifier. */
#define READ_HEAD_FIRST 28

static void record_start(struct nrec *r)
{
	r->rec_len = 0;
	r->fragments = 0;
	r->sink = NREC_XID;
	r->call = NULL;
	r->error = 0;
	r->head_len = 0;
	r->head_need = 4;
	r->data_got = 0;
}

void nrec_init(struct nrec *r, const struct nrec_ops *ops, void *arg)
{
	*r = (struct nrec){ .ops = ops, .arg = arg };
	record_start(r);
}

static void record_fail(struct nrec *r, int error)
{
	r->error = error;
	r->sink = NREC_SKIP;
}

static void record_done(struct nrec *r)
{
	struct ncall *call = r->call;
	int error = r->error;

	if (r->sink == NREC_HEAD || r->sink == NREC_DATA)
		error = -EIO;
	record_start(r);
	if (call)
		r->ops->complete(r->arg, call, error);
}

static void got_xid(struct nrec *r)
{
	struct dec d;

	dec_init(&d, r->head, 4);
	r->call = r->ops->find(r->arg, dec_u32(&d));
	if (!r->call) {
		r->sink = NREC_SKIP;
	} else if (r->call->kind == NCALL_READ) {
		r->sink = NREC_HEAD;
		r->head_need = READ_HEAD_FIRST;
	} else {
		r->sink = NREC_PLAIN;
		memcpy(r->call->reply, r->head, 4);
		r->call->reply_len = 4;
	}
}

static void got_head(struct nrec *r)
{
	struct nfs_read_head *h = &r->call->head;
	int rc = dec_read_head(r->head, r->head_len, h, &r->head_need);

	if (rc == -EAGAIN)
		return;
	if (rc) {
		record_fail(r, rc);
	} else if (h->rpc_error || h->status != NFS3_OK) {
		record_fail(r, h->rpc_error);
	} else if (h->data_len > r->call->payload_len) {
		record_fail(r, -EIO);
	} else {
		r->sink = h->data_len ? NREC_DATA : NREC_SKIP;
	}
}

static size_t take_head(struct nrec *r, const uint8_t *p, size_t n)
{
	size_t room = r->head_need - r->head_len;

	assert(r->head_need <= sizeof r->head);
	n = n < room ? n : room;
	memcpy(r->head + r->head_len, p, n);
	r->head_len += n;
	if (r->head_len < r->head_need)
		return n;
	if (r->sink == NREC_XID)
		got_xid(r);
	else
		got_head(r);
	return n;
}

static size_t take_plain(struct nrec *r, const uint8_t *p, size_t n)
{
	struct ncall *call = r->call;

	if (n > call->reply_cap - call->reply_len) {
		record_fail(r, -EIO);
		return n;
	}
	memcpy(call->reply + call->reply_len, p, n);
	call->reply_len += n;
	return n;
}

static void data_arrived(struct nrec *r, size_t n)
{
	r->data_got += n;
	if (r->data_got == r->call->head.data_len)
		r->sink = NREC_SKIP;
}

static size_t take_data(struct nrec *r, const uint8_t *p, size_t n)
{
	struct iovec iov;
	size_t len;

	ncall_payload(r->call, r->data_got, r->call->head.data_len - r->data_got, &iov, 1, &len);
	n = n < len ? n : len;
	assert(n);
	memcpy(iov.iov_base, p, n);
	data_arrived(r, n);
	return n;
}

/* Takes some of n bytes that belong to the record. */
static size_t take_body(struct nrec *r, const uint8_t *p, size_t n)
{
	switch (r->sink) {
	case NREC_XID:
	case NREC_HEAD:
		return take_head(r, p, n);
	case NREC_PLAIN:
		return take_plain(r, p, n);
	case NREC_DATA:
		return take_data(r, p, n);
	default:
		return n;
	}
}

static int got_marker(struct nrec *r)
{
	struct dec d;
	uint32_t mark;

	dec_init(&d, r->mark, 4);
	mark = dec_u32(&d);
	r->mark_len = 0;
	r->frag_last = mark >> 31;
	r->frag_left = mark & 0x7fffffff;
	if (r->frag_left > NREC_MAX - r->rec_len || ++r->fragments > NREC_FRAGMENTS_MAX)
		return -EIO;
	r->rec_len += r->frag_left;
	if (!r->frag_left && r->frag_last)
		record_done(r);
	return 0;
}

static void frag_consumed(struct nrec *r, size_t n)
{
	r->frag_left -= (uint32_t)n;
	if (!r->frag_left && r->frag_last)
		record_done(r);
}

int nrec_feed(struct nrec *r, const void *p, size_t n)
{
	const uint8_t *s = p, *end = s + n;

	while (s < end) {
		if (!r->frag_left) {
			r->mark[r->mark_len++] = *s++;
			if (r->mark_len == 4 && got_marker(r)) {
				record_fail(r, -EIO);
				record_done(r);
				return -EIO;
			}
			continue;
		}
		n = (size_t)(end - s) < r->frag_left ? (size_t)(end - s) : r->frag_left;
		n = take_body(r, s, n);
		s += n;
		frag_consumed(r, n);
	}
	return 0;
}

unsigned nrec_direct(const struct nrec *r, struct iovec *iov, unsigned max, size_t *len)
{
	size_t left;

	*len = 0;
	if (r->sink != NREC_DATA || !r->frag_left)
		return 0;
	left = r->call->head.data_len - r->data_got;
	return ncall_payload(r->call, r->data_got, left < r->frag_left ? left : r->frag_left, iov,
			     max, len);
}

void nrec_received(struct nrec *r, size_t n)
{
	if (!n)
		return;
	assert(r->sink == NREC_DATA && n <= r->frag_left);
	data_arrived(r, n);
	frag_consumed(r, n);
}

void nrec_forget(struct nrec *r, const struct ncall *call)
{
	if (call && r->call == call) {
		r->call = NULL;
		r->sink = NREC_SKIP;
	}
}
