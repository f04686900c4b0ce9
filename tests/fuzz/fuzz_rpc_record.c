/* SPDX-License-Identifier: Apache-2.0 */
/* Any stream of bytes from a server with two calls in flight, a READ and another
 * one: each ends at most once, and nothing is stored outside of its buffers. The
 * first byte says in which pieces the stream arrives and whether in place. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/rpc.h"

enum { XID_READ = 1, XID_PLAIN = 2, ROOM = 600, GUARD = 0x5a };

struct server {
	struct ncall *read, *plain;
	unsigned read_done, plain_done;
};

static struct ncall *find(void *arg, uint32_t xid)
{
	struct server *s = arg;

	if (xid == XID_READ && !s->read_done)
		return s->read;
	return xid == XID_PLAIN && !s->plain_done ? s->plain : NULL;
}

static void complete(void *arg, struct ncall *call, int error)
{
	struct server *s = arg;

	assert(error <= 0);
	if (call == s->read)
		s->read_done++;
	else
		s->plain_done++;
	assert(s->read_done <= 1 && s->plain_done <= 1);
	assert(call->reply_len <= call->reply_cap);
}

static const struct nrec_ops ops = { find, complete };

/* Receives in place what can be; returns how much. */
static size_t in_place(struct nrec *r, const uint8_t *p, size_t n)
{
	struct iovec iov[2];
	size_t len, got = 0;
	unsigned parts = nrec_direct(r, iov, 2, &len);

	for (unsigned i = 0; i < parts && got < n; i++) {
		size_t part = iov[i].iov_len < n - got ? iov[i].iov_len : n - got;

		memcpy(iov[i].iov_base, p + got, part);
		got += part;
	}
	assert(got <= len);
	nrec_received(r, got);
	return got;
}

static void stream(struct nrec *r, const uint8_t *p, size_t n, size_t step, bool place)
{
	while (n) {
		size_t now = n < step ? n : step, got = place ? in_place(r, p, now) : 0;

		if (!got) {
			if (nrec_feed(r, p, now))
				return;
			got = now;
		}
		p += got;
		n -= got;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ncall_pool pool;
	uint8_t room[ROOM + 2];
	struct iovec iov[] = { { room + 1, 100 }, { room + 101, ROOM - 100 } };
	struct server s = { .read_done = 0 };
	struct nrec r;

	if (!size)
		return 0;
	if (ncall_pool_init(&pool, 2))
		abort();
	room[0] = room[ROOM + 1] = GUARD;
	s.read = ncall_new(&pool);
	s.plain = ncall_new(&pool);
	s.read->kind = NCALL_READ;
	s.read->iov = iov;
	s.read->niov = 2;
	s.read->payload_len = ROOM;
	nrec_init(&r, &ops, &s);
	stream(&r, data + 1, size - 1, (data[0] & 0x7f) + 1u, data[0] & 0x80);
	assert(room[0] == GUARD && room[ROOM + 1] == GUARD);
	ncall_put(s.read);
	ncall_put(s.plain);
	ncall_pool_done(&pool);
	return 0;
}
