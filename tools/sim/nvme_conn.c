/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_conn.c - one connection of the simulated NVMe target: PDUs in, PDUs out
 *
 *          ICReq           wrong PDU, cut                sent and closed by the host, or END_MS over
 *   NEW ----------> LIVE ------------------> ENDING -------------------------------------------------> DEAD
 *     '---------------'---------- reset: faults, the host has gone ------------------------------------^
 *
 * The host's PDUs are held to the letter: type, flags, lengths, place of the data, digests, sequence. What is wrong is
 * answered by a C2HTermReq that carries the header, and the end. A wrong digest of data is an answer of the command, for
 * the stream is whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/nvme_impl.h"

#define END_MS 2000       /* for a host to read our C2HTermReq and close */
#define DATA_OFF_MAX 256u /* of a PDU, so far its data begin */
#define GARBAGE_TYPE 0x2f
#define AT_FLAGS 1 /* offsets in the header */
#define AT_PDO 3
#define AT_PLEN 4

static uint32_t max(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

struct nt_conn *nt_conn_new(struct nvme_target *t, int fd_take, unsigned path)
{
	struct nt_conn *c = calloc(1, sizeof *c);

	if (!c) {
		if (fd_take >= 0)
			close(fd_take);
		return NULL;
	}
	c->t = t;
	c->fd = fd_take;
	c->path = path;
	c->wire.from_host = true;
	c->wire.data_max = max(max(t->cfg.in_capsule, NT_ADMIN_CAPSULE), t->cfg.maxh2cdata);
	c->maxr2t = 1;
	c->entries = 1;
	list_init(&c->cmds);
	list_init(&c->out);
	list_push_back(&t->conns, &c->link);
	t->nconns++;
	t->n.accepted++;
	return c;
}

static void forget(struct nt_conn *c)
{
	struct list *l;

	while ((l = list_pop(&c->cmds)))
		nt_cmd_free(list_entry(l, struct nt_cmd, link));
	c->ncmds = 0;
	while ((l = list_pop(&c->out)))
		free(list_entry(l, struct nt_out, link));
	c->out_bytes = 0;
}

/* The end of an admin queue is that of its controller. */
static void leave_controller(struct nt_conn *c)
{
	struct nt_ctrl *ctrl = c->ctrl;

	c->ctrl = NULL;
	if (!ctrl || ctrl->queues[c->qid] != c)
		return;
	ctrl->queues[c->qid] = NULL;
	if (!c->qid)
		nt_ctrl_free(ctrl);
}

void nt_conn_reset(struct nt_conn *c)
{
	if (c->state == NTS_DEAD)
		return;
	c->rst = c->state < NTS_ENDING;
	c->state = NTS_DEAD;
	leave_controller(c);
}

void nt_conn_free(struct nt_conn *c)
{
	const struct linger now = { .l_onoff = 1 };

	nt_conn_reset(c);
	forget(c);
	list_del(&c->link);
	c->t->nconns--;
	if (c->fd >= 0 && c->rst)
		(void)!setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	if (c->fd >= 0)
		close(c->fd);
	free(c->rx);
	free(c);
}

/* ---- sending ---------------------------------------------------------- */

static void queue(struct nt_conn *c, struct nt_out *o)
{
	list_push_back(&c->out, &o->link);
	c->out_bytes += o->len;
}

/* Nothing more is taken from the host; what is queued still goes out. */
static void end(struct nt_conn *c)
{
	struct list *l;

	if (c->state >= NTS_ENDING)
		return;
	c->state = NTS_ENDING;
	c->end_us = nt_now_us() + END_MS * 1000ull;
	leave_controller(c);
	while ((l = list_pop(&c->cmds)))
		nt_cmd_free(list_entry(l, struct nt_cmd, link));
	c->ncmds = 0;
}

static void send_term(struct nt_conn *c, uint16_t fes, uint32_t fei)
{
	struct nvme_pdu pdu = { .type = NVME_C2H_TERM, .term = { .fes = fes, .fei = fei } };
	struct nvme_wire wire = c->wire;
	struct nt_out *o = calloc(1, sizeof *o + NVME_HEAD_MAX + NVME_TERM_DATA_MAX);
	size_t head = c->rx_len < c->pdu.head_len ? c->rx_len : c->pdu.head_len;

	wire.from_host = false;
	if (!o) {
		nt_conn_reset(c);
		return;
	}
	/* What the host sent of its header, as far as it is one. */
	if (!head)
		head = c->rx_len < NVME_PDU_COMMON ? c->rx_len : NVME_PDU_COMMON;
	if (head > NVME_TERM_DATA_MAX - NVME_CQE_BYTES - NVME_PDU_COMMON)
		head = NVME_TERM_DATA_MAX - NVME_CQE_BYTES - NVME_PDU_COMMON;
	pdu.data_len = (uint32_t)head;
	o->len = nvme_pdu_put(&wire, &pdu, o->bytes);
	if (head)
		memcpy(o->bytes + o->len, c->rx, head);
	o->len += head;
	o->ends = true;
	queue(c, o);
	end(c);
}

void nt_term(struct nt_conn *c, uint16_t fes, uint32_t fei)
{
	if (c->state >= NTS_ENDING)
		return;
	c->t->n.terms++;
	send_term(c, fes, fei);
}

/* Room between header and data, which the header's digest knows of. */
static size_t put_padding(const struct nvme_wire *w, uint8_t *b, size_t head, unsigned pad)
{
	uint32_t plen = (uint32_t)b[4] | (uint32_t)b[5] << 8 | (uint32_t)b[6] << 16 |
			(uint32_t)b[7] << 24;

	memset(b + head, 0, pad);
	b[AT_PDO] = (uint8_t)(head + pad);
	nvme_digest_put(b + AT_PLEN, plen + pad); /* as any number of 32 bits */
	if (w->hdgst)
		nvme_digest_put(b + b[2], nvme_digest(b, b[2]));
	return head + pad;
}

/* Bytes that are wrong on purpose. */
static void spoil(struct nt_conn *c, const struct nvme_pdu *pdu, struct nt_out *o)
{
	struct nvme_target *t = c->t;
	unsigned type = pdu->type, hlen = o->bytes[2];
	int q = nt_queue(c);
	const struct nt_rule *r;

	if (c->wire.hdgst && type != NVME_ICRESP && nt_rule_of_pdu(t, NTF_HDGST, type, q, c->path))
		o->bytes[hlen] ^= 0x5a;
	if (c->wire.ddgst && pdu->data_len && nt_rule_of_pdu(t, NTF_DDGST, type, q, c->path))
		o->bytes[o->len - 1] ^= 0x5a;
	if (nt_rule_of_pdu(t, NTF_GARBAGE, type, q, c->path))
		o->bytes[0] = GARBAGE_TYPE;
	r = nt_rule_of_pdu(t, NTF_LENGTH, type, q, c->path);
	if (r)
		nvme_digest_put(o->bytes + AT_PLEN, r->v[NTK_BYTES]);
	r = nt_rule_of_pdu(t, NTF_SPLIT, type, q, c->path);
	if (r) {
		o->step = r->v[NTK_BYTES];
		o->pause_ms = r->v[NTK_MS];
	}
	r = nt_rule_of_pdu(t, NTF_CUT, type, q, c->path);
	if (r) {
		o->len = r->v[NTK_BYTES] < o->len ? r->v[NTK_BYTES] : o->len;
		o->ends = true;
	}
}

void nt_send(struct nt_conn *c, const struct nvme_pdu *pdu, const void *data, unsigned pad)
{
	struct nvme_wire wire = c->wire;
	const struct nt_rule *r;
	struct nt_out *o;
	bool ends;

	if (c->state >= NTS_ENDING)
		return;
	r = nt_rule_of_pdu(c->t, NTF_TERM, pdu->type, nt_queue(c), c->path);
	if (r) {
		send_term(c, (uint16_t)(r->v[NTK_FES] ? r->v[NTK_FES] : NVME_FES_FIELD), 0);
		return;
	}
	o = calloc(1, sizeof *o + DATA_OFF_MAX + pad + pdu->data_len + NVME_DIGEST_BYTES);
	if (!o) {
		nt_conn_reset(c);
		return;
	}
	wire.from_host = false;
	o->len = nvme_pdu_put(&wire, pdu, o->bytes);
	if (pad && pdu->data_len)
		o->len = put_padding(&wire, o->bytes, o->len, pad);
	if (pdu->data_len) {
		memcpy(o->bytes + o->len, data, pdu->data_len);
		o->len += pdu->data_len;
		if (o->bytes[AT_FLAGS] & NVME_PDU_DDGST) {
			nvme_digest_put(o->bytes + o->len, nvme_digest(data, pdu->data_len));
			o->len += NVME_DIGEST_BYTES;
		}
	}
	spoil(c, pdu, o);
	ends = o->ends;
	queue(c, o);
	if (ends)
		end(c);
}

/* ---- receiving -------------------------------------------------------- */

static void take_icreq(struct nt_conn *c)
{
	const struct nvme_ic *ic = &c->pdu.ic;
	bool digests = !c->t->cfg.no_digests;
	struct nvme_pdu out = { .type = NVME_ICRESP,
				.ic = { .pda = (uint8_t)c->t->cfg.cpda,
					.hdgst = ic->hdgst && digests,
					.ddgst = ic->ddgst && digests,
					.limit = c->t->cfg.maxh2cdata } };

	nt_send(c, &out, NULL, 0);
	if (c->state != NTS_NEW)
		return;
	c->state = NTS_LIVE;
	c->maxr2t = ic->limit < NT_PIECES_MAX ? ic->limit + 1 : NT_PIECES_MAX;
	c->wire.hdgst = out.ic.hdgst;
	c->wire.ddgst = out.ic.ddgst;
	c->wire.pda = ic->pda;
}

/* Where data have to begin: behind header and digest, at a multiple of what ICResp told. */
static bool data_in_place(const struct nt_conn *c)
{
	uint32_t unit = (c->t->cfg.cpda + 1) * 4, at = c->pdu.head_len;

	return !c->pdu.data_len || c->pdu.type == NVME_H2C_TERM ||
	       c->pdu.data_off == (at + unit - 1) / unit * unit;
}

/* A whole PDU. */
static void take(struct nt_conn *c)
{
	const uint8_t *data = c->rx + c->pdu.data_off;
	bool bad;

	if (c->pdu.type == NVME_H2C_TERM) {
		c->t->n.host_terms++;
		nt_conn_reset(c);
		return;
	}
	if ((c->pdu.type == NVME_ICREQ) != (c->state == NTS_NEW)) {
		nt_term(c, NVME_FES_SEQUENCE, 0);
		return;
	}
	if (!data_in_place(c)) {
		nt_term(c, NVME_FES_FIELD, AT_PDO);
		return;
	}
	if (nt_rule_of_pdu(c->t, NTF_CUT, c->pdu.type, nt_queue(c), c->path)) {
		nt_conn_reset(c);
		return;
	}
	bad = c->pdu.ddgst &&
	      nvme_digest_get(data + c->pdu.data_len) != nvme_digest(data, c->pdu.data_len);
	c->t->n.digest_errors += bad;
	if (c->pdu.type == NVME_ICREQ)
		take_icreq(c);
	else if (c->pdu.type == NVME_CAPSULE_CMD)
		nt_command(c, &c->pdu, data, bad);
	else
		nt_h2c_data(c, &c->pdu, data, bad);
}

/* Room for n bytes of a PDU. */
static bool rx_room(struct nt_conn *c, size_t n)
{
	uint8_t *p;

	if (n <= c->rx_cap)
		return true;
	p = realloc(c->rx, n);
	if (!p)
		return false;
	c->rx = p;
	c->rx_cap = n;
	return true;
}

/* How many bytes of the PDU are wanted before the next look at it. */
static size_t wanted(const struct nt_conn *c)
{
	return c->rx_len < NVME_PDU_COMMON ? NVME_PDU_COMMON :
	       c->rx_len < c->pdu.head_len ? c->pdu.head_len :
					     c->pdu.plen;
}

/* rx holds what wanted() has told. */
static void look(struct nt_conn *c)
{
	int rc = 0;

	if (c->rx_len == NVME_PDU_COMMON)
		rc = nvme_pdu_begin(&c->wire, c->rx, &c->pdu);
	else if (c->rx_len == c->pdu.head_len)
		rc = nvme_pdu_decode(&c->wire, c->rx, &c->pdu);
	if (rc) {
		nt_term(c, c->pdu.bad.fes, c->pdu.bad.fei);
		return;
	}
	if (c->rx_len < c->pdu.head_len || c->rx_len < c->pdu.plen)
		return;
	take(c);
	c->rx_len = 0;
	c->pdu.head_len = 0;
}

void nt_conn_feed(struct nt_conn *c, const uint8_t *p, size_t n)
{
	while (n && c->state < NTS_ENDING && !nt_rule_while(c->t, NTF_MUTE, c->path)) {
		size_t want = wanted(c), part = want - c->rx_len < n ? want - c->rx_len : n;

		if (!rx_room(c, want)) {
			nt_conn_reset(c);
			return;
		}
		memcpy(c->rx + c->rx_len, p, part);
		c->rx_len += part;
		p += part;
		n -= part;
		if (c->rx_len == want)
			look(c);
	}
}
