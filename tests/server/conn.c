/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - connections: records in, replies out, and the faults of the stream
 *
 * Replies go to out in the order in which they were made; those held back wait in
 * held until they are due. A connection that is
 *   dead     is closed and freed by conns_reap()
 *   closing  is dead as soon as out is empty, and takes nothing new
 *   stalled  is open, and nothing is read from it or sent to it any more */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/server/server.h"

#define RECV_BYTES (256u << 10)
#define DELAY_MS 100
#define REORDER_MS 20
#define OUT_BYTES_MAX (8u << 20) /* nothing is read while so much is not sent */
#define FRAGMENTS_MAX 500

struct held {
	struct held *next;
	uint64_t due_ms;
	bool overtaken; /* the next reply sends it */
	struct xw bytes;
};

struct conn {
	struct source src;
	struct conn *next;
	struct node *node;
	int fd;
	bool dead, closing, stalled, wants_out;
	uint8_t *in; /* owned: bytes not parsed yet */
	size_t in_len, in_cap;
	struct xw record; /* fragments of the record so far */
	struct xw out;
	size_t sent; /* of out */
	struct held *held;
};

/* ---- sending ------------------------------------------------------------------ */

static void conn_watch(struct conn *c)
{
	bool wants_out = c->sent < c->out.len;
	bool reads = c->out.len - c->sent < OUT_BYTES_MAX && !c->stalled;

	c->wants_out = wants_out;
	server_watch(c->node->srv, c->fd, &c->src,
		     (reads ? (uint32_t)EPOLLIN : 0) | (wants_out ? (uint32_t)EPOLLOUT : 0), false);
}

static void conn_flush(struct conn *c)
{
	while (!c->dead && c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.p + c->sent, c->out.len - c->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			c->dead = true;
		else
			c->sent += (size_t)n;
	}
	if (c->sent == c->out.len) {
		c->out.len = c->sent = 0;
		c->dead |= c->closing;
	}
	if (!c->dead)
		conn_watch(c);
}

static void conn_send(struct conn *c, const uint8_t *p, size_t n)
{
	if (c->dead || c->closing || c->stalled)
		return;
	if (n)
		memcpy(xw_room(&c->out, n), p, n);
}

static void held_send(struct conn *c, struct held **at)
{
	struct held *h = *at;

	*at = h->next;
	conn_send(c, h->bytes.p, h->bytes.len);
	xw_done(&h->bytes);
	free(h);
}

static void hold(struct conn *c, const struct xw *bytes, uint64_t ms, bool overtaken)
{
	struct held *h = grow(NULL, sizeof *h), **at = &c->held;

	*h = (struct held){ .due_ms = now_ms() + ms, .overtaken = overtaken };
	memcpy(xw_room(&h->bytes, bytes->len), bytes->p, bytes->len);
	while (*at && (*at)->due_ms <= h->due_ms)
		at = &(*at)->next;
	h->next = *at;
	*at = h;
}

static void held_overtake(struct conn *c)
{
	for (struct held **at = &c->held; *at;) {
		if ((*at)->overtaken)
			held_send(c, at);
		else
			at = &(*at)->next;
	}
}

/* ---- faults of the stream --------------------------------------------------------- */

static bool hit(const struct request *rq, enum fault f)
{
	return fault_hit(&rq->srv->faults, f, rq->bit);
}

static void put_record(struct xw *w, const uint8_t *p, size_t n)
{
	xw_u32(w, 1u << 31 | (uint32_t)n);
	if (n)
		memcpy(xw_room(w, n), p, n);
}

/* In pieces of any size, some of them empty, the last one perhaps, too. */
static void put_fragments(struct faults *f, struct xw *w, const uint8_t *p, size_t n)
{
	uint32_t most = (uint32_t)(n / FRAGMENTS_MAX) * 2 + 16;

	while (n) {
		uint32_t part = fault_random(f, 4) ? fault_random(f, most) : 0;

		if (part > n)
			part = (uint32_t)n;
		xw_u32(w, part);
		if (part)
			memcpy(xw_room(w, part), p, part);
		p += part;
		n -= part;
	}
	xw_u32(w, 1u << 31);
}

/* A reply to nobody; looks like that to a GETATTR that failed. */
static void put_unknown(struct faults *f, struct xw *w)
{
	xw_u32(w, 1u << 31 | 28);
	xw_u32(w, 0xc0000000u | fault_random(f, 1u << 30));
	xw_u32(w, REPLY);
	for (unsigned n = 0; n < 4; n++)
		xw_u32(w, 0);
	xw_u32(w, NFS3ERR_IO);
}

static void spoil(const struct request *rq, struct xw *reply)
{
	struct faults *f = &rq->srv->faults;

	if (hit(rq, F_wrong_xid))
		xw_set_u32(reply, 0, rq->xid ^ 0x40000000u);
	if (hit(rq, F_truncated))
		reply->len = fault_random(f, (uint32_t)reply->len / 4) * 4;
	if (hit(rq, F_garble) && reply->len > 4)
		reply->p[4 + fault_random(f, (uint32_t)reply->len - 4)] ^=
			(uint8_t)(1u << fault_random(f, 8));
}

static void frame(const struct request *rq, const struct xw *reply, struct xw *w)
{
	if (hit(rq, F_unknown))
		put_unknown(&rq->srv->faults, w);
	if (hit(rq, F_marker)) {
		xw_u32(w, 0x7fffffffu);
		memcpy(xw_room(w, reply->len), reply->p, reply->len);
	} else if (hit(rq, F_fragments)) {
		put_fragments(&rq->srv->faults, w, reply->p, reply->len);
	} else {
		put_record(w, reply->p, reply->len);
	}
}

static size_t cut_at(struct faults *f, size_t len)
{
	uint32_t at = f->f[F_cut].at;

	return at < len ? at : fault_random(f, (uint32_t)len);
}

static void send_framed(struct conn *c, const struct request *rq, const struct xw *w)
{
	struct faults *f = &rq->srv->faults;

	if (hit(rq, F_cut)) {
		conn_send(c, w->p, cut_at(f, w->len));
		c->closing = true;
	} else if (hit(rq, F_half)) {
		conn_send(c, w->p, w->len / 2);
		conn_flush(c);
		c->stalled = true;
	} else if (hit(rq, F_delay)) {
		hold(c, w, 1 + fault_random(f, DELAY_MS), false);
	} else if (hit(rq, F_reorder)) {
		hold(c, w, REORDER_MS, true);
	} else {
		conn_send(c, w->p, w->len);
		if (hit(rq, F_duplicate))
			conn_send(c, w->p, w->len);
		held_overtake(c);
	}
}

static void deliver(struct conn *c, const struct request *rq, struct xw *reply)
{
	struct xw w = { 0 };

	if (!reply->len || hit(rq, F_drop))
		return;
	spoil(rq, reply);
	frame(rq, reply, &w);
	send_framed(c, rq, &w);
	rq->srv->replies++;
	xw_done(&w);
}

/* ---- receiving -------------------------------------------------------------------- */

/* The faults that end connections; before the call is executed, or after. */
static bool outage(struct conn *c, const struct request *rq)
{
	struct node *n = c->node;

	if (hit(rq, F_restart))
		node_restart(n, true);
	else if (hit(rq, F_crash))
		node_restart(n, false);
	else if (hit(rq, F_refuse))
		node_refuse(n, 200 + fault_random(&rq->srv->faults, 800));
	else
		return false;
	return true;
}

static void conn_record(struct conn *c)
{
	struct request rq = {
		.srv = c->node->srv, .node = c->node, .p = c->record.p, .len = c->record.len
	};
	struct xw reply = { 0 };
	bool early;

	if (!rpc_parse(&rq)) {
		server_log(rq.srv, "a record that is no call: connection closed");
		c->dead = true;
		return;
	}
	if (hit(&rq, F_stall)) {
		c->stalled = true;
		return;
	}
	if (hit(&rq, F_lose))
		return;
	early = fault_random(&rq.srv->faults, 2);
	if (early && outage(c, &rq))
		return;
	rpc_answer(&rq, &reply);
	server_log(rq.srv, "xid %08x prog %u %s uid %u: %zu bytes", rq.xid, rq.prog,
		   rq.prog == 100003 ? proc_name(rq.proc) : "", rq.cred.uid, reply.len);
	if (early || !outage(c, &rq))
		deliver(c, &rq, &reply);
	xw_done(&reply);
}

/* Takes one fragment from p; the bytes it used, or 0: not all there. */
static size_t conn_fragment(struct conn *c, const uint8_t *p, size_t n)
{
	struct xr r = { .p = p, .end = p + n };
	uint32_t mark = xr_u32(&r), len = mark & 0x7fffffff;

	if (r.bad)
		return 0;
	if (len > RECORD_BYTES_MAX - c->record.len) {
		server_log(c->node->srv, "a record of more than %u bytes", RECORD_BYTES_MAX);
		c->dead = true;
		return 0;
	}
	if (n - 4 < len)
		return 0;
	if (len)
		memcpy(xw_room(&c->record, len), p + 4, len);
	if (mark >> 31) {
		conn_record(c);
		c->record.len = 0;
	}
	return 4 + (size_t)len;
}

static void conn_parse(struct conn *c)
{
	size_t at = 0, n;

	while (!c->dead && !c->closing && !c->stalled) {
		n = conn_fragment(c, c->in + at, c->in_len - at);
		if (!n)
			break;
		at += n;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void conn_receive(struct conn *c)
{
	ssize_t n;

	if (c->in_cap - c->in_len < RECV_BYTES) {
		c->in_cap = c->in_len + RECV_BYTES;
		c->in = grow(c->in, c->in_cap);
	}
	n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->dead = true;
		return;
	}
	c->in_len += (size_t)n;
	conn_parse(c);
}

static void conn_event(struct source *src, uint32_t events)
{
	struct conn *c = (struct conn *)src;

	if (c->dead)
		return;
	if (c->stalled) {
		c->dead = events & (EPOLLHUP | EPOLLERR);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		conn_receive(c);
	if (!c->stalled)
		conn_flush(c);
	else if (!c->dead)
		conn_watch(c);
}

/* ---- all of them -------------------------------------------------------------------- */

void conn_accept(struct node *n, int fd_take)
{
	struct server *srv = n->srv;
	struct conn *c;

	if (srv->nconns >= CONNS_MAX || fault_hit(&srv->faults, F_close_accept, P_ACCEPT)) {
		close(fd_take);
		return;
	}
	c = memset(grow(NULL, sizeof *c), 0, sizeof *c);
	c->src.event = conn_event;
	c->node = n;
	c->fd = fd_take;
	c->stalled = fault_hit(&srv->faults, F_stall, P_ACCEPT);
	c->next = srv->conns;
	srv->conns = c;
	srv->nconns++;
	srv->accepted++;
	server_watch(srv, fd_take, &c->src, c->stalled ? 0 : (uint32_t)EPOLLIN, true);
}

void conns_close(struct server *srv, const struct node *n)
{
	for (struct conn *c = srv->conns; c; c = c->next)
		c->dead |= !n || c->node == n;
}

void conns_unstall(struct server *srv)
{
	for (struct conn *c = srv->conns; c; c = c->next)
		c->dead |= c->stalled;
}

int conns_timers(struct server *srv)
{
	uint64_t now = now_ms(), next = UINT64_MAX;

	for (struct conn *c = srv->conns; c; c = c->next) {
		if (!c->held || c->dead)
			continue;
		while (c->held && c->held->due_ms <= now)
			held_send(c, &c->held);
		conn_flush(c);
		if (c->held && c->held->due_ms < next)
			next = c->held->due_ms;
	}
	return next == UINT64_MAX ? -1 : (int)(next - now);
}

static void conn_free(struct conn *c)
{
	while (c->held) {
		struct held *h = c->held;

		c->held = h->next;
		xw_done(&h->bytes);
		free(h);
	}
	close(c->fd);
	free(c->in);
	xw_done(&c->record);
	xw_done(&c->out);
	free(c);
}

void conns_reap(struct server *srv)
{
	for (struct conn **at = &srv->conns; *at;) {
		struct conn *c = *at;

		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		srv->nconns--;
		conn_free(c);
	}
}
