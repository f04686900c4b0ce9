/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_rx.c - what a target sends: a state machine that knows no socket
 *
 *            header is there, nothing follows
 *            .------------.
 *            v            |                                  digests
 *          HEAD ----------'---> PAD ---> DATA ------------------------> DIGEST
 *            ^       C2HData                |  none                        |
 *            '------------------------------'------------------------------'
 *
 * 1. Only C2HData has something behind its header; rx.cmd is the command that it belongs to, and is sent.
 * 2. In DATA, piece and piece_off are where the next byte lands; left bytes fit from there on.
 * 3. An error is for good: the queue is dead, and is not fed again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/block/nvme_impl.h"
#include "common/crc32c.h"

enum { RX_ROUNDS = 8, RX_PIECES = 64, STAGE_SMALL = 128 };

int nvme_cover_add(struct nvme_cover *c, uint32_t off, uint32_t len)
{
	uint32_t end = off + len;
	unsigned i = 0;

	while (i < c->n && c->spans[i].end < off)
		i++;
	/* Span i is the first that touches or lies behind. */
	if (i < c->n && c->spans[i].end == off) {
		if (i + 1 < c->n && c->spans[i + 1].off < end)
			return -EBADMSG;
		c->spans[i].end = end;
		if (i + 1 < c->n && c->spans[i + 1].off == end) {
			c->spans[i].end = c->spans[i + 1].end;
			c->n--;
			memmove(c->spans + i + 1, c->spans + i + 2,
				(c->n - i - 1) * sizeof c->spans[0]);
		}
		return 0;
	}
	if (i < c->n && c->spans[i].off < end)
		return -EBADMSG;
	if (i < c->n && c->spans[i].off == end) {
		c->spans[i].off = off;
		return 0;
	}
	if (c->n == NVME_GAPS_MAX)
		return -EBADMSG;
	memmove(c->spans + i + 1, c->spans + i, (c->n - i) * sizeof c->spans[0]);
	c->spans[i] = (struct nvme_span){ off, end };
	c->n++;
	return 0;
}

void nvr_reset(struct nvme_queue *q)
{
	memset(&q->rx, 0, sizeof q->rx);
	q->rx.want = NVME_PDU_COMMON;
}

/* The target broke the protocol: it is told how, and the connection is over. */
static int broken(struct nvme_queue *q, enum nvme_fes fes, uint32_t fei, const char *what)
{
	if (!q->dead)
		q->term = (struct nvme_term){ .fes = (uint16_t)fes, .fei = fei };
	return nvq_fail(q, -EPROTO, "the target broke the protocol on queue %u: %s", q->id, what);
}

/* ---- commands --------------------------------------------------------- */

/* The command in flight with this id, whose capsule is out; else NULL. */
static struct nvme_cmd *find_locked(struct nvme_queue *q, uint16_t cid)
{
	struct nvme_cmd *cmd = &q->cmds[cid % NVME_SLOTS_MAX];

	if (cid % NVME_SLOTS_MAX >= q->nslots || cmd->state != NVME_CMD_SENT || cmd->answered ||
	    cmd->sqe.cid != cid)
		return NULL;
	return cmd;
}

/* What is missing when the target says that all went well; NULL: nothing. */
static const char *incomplete_locked(const struct nvme_cmd *cmd)
{
	/* What it asked for may still be here, and an answer would keep it from going out. */
	if (!list_empty(&cmd->link))
		return "a write is answered of whose data not all were sent";
	if (cmd->capsule || nvme_cover_full(&cmd->seen, cmd->len))
		return NULL;
	return cmd->to_target ? "a write is answered of which it did not take all data" :
				"a command is answered of which data are missing";
}

/* Frees the command first: end() may want its slot. */
static void finish(struct nvme_queue *q, struct nvme_cmd *cmd, const struct nvme_cqe *cqe)
{
	nvme_end_fn *end;
	void *arg;
	int error;

	mutex_lock(&q->lock);
	if (!list_empty(&cmd->link)) {
		/* It failed while its data are going out, see nvme_queue.c: the R2Ts that wait are void. */
		bool begun = cmd->tx.sent;

		cmd->nr2ts = 0;
		cmd->cqe = *cqe;
		cmd->answered = begun;
		if (begun) {
			mutex_unlock(&q->lock);
			return;
		}
		list_del(&cmd->link);
	}
	end = cmd->end;
	arg = cmd->arg;
	error = cmd->damaged ? -EILSEQ : 0;
	nvq_put_locked(q, cmd);
	mutex_unlock(&q->lock);
	if (end)
		end(arg, error, cqe);
}

static int on_answer(struct nvme_queue *q, const struct nvme_cqe *cqe)
{
	struct nvme_cmd *cmd;
	const char *what = NULL;

	mutex_lock(&q->lock);
	cmd = find_locked(q, cqe->cid);
	if (cmd && !NVME_STATUS(cqe->status))
		what = incomplete_locked(cmd);
	mutex_unlock(&q->lock);
	if (!cmd)
		return broken(q, NVME_FES_SEQUENCE, 20, "an answer to no command");
	if (what)
		return broken(q, NVME_FES_SEQUENCE, 0, what);
	finish(q, cmd, cqe);
	return 0;
}

static int on_r2t(struct nvme_queue *q, const struct nvme_data *r)
{
	struct nvme_cmd *cmd;
	const char *what = NULL;

	mutex_lock(&q->lock);
	cmd = find_locked(q, r->cid);
	if (!cmd || !cmd->to_target || cmd->capsule)
		what = "it asks for data of no write";
	else if (r->len > cmd->len || r->off > cmd->len - r->len)
		what = "it asks for data beyond a write";
	else if (cmd->nr2ts == NVME_R2TS_MAX)
		what = "it asks for data of a write too many times at once";
	else if (nvme_cover_add(&cmd->seen, r->off, r->len))
		what = "it asks for data of a write twice, or in too many pieces";
	if (!what) {
		cmd->r2ts[cmd->nr2ts++] = (struct nvme_r2t){ r->tag, r->off, r->len };
		if (list_empty(&cmd->link))
			nvq_load_h2c_locked(q, cmd);
	}
	mutex_unlock(&q->lock);
	return what ? broken(q, NVME_FES_RANGE, 12, what) : 0;
}

/* The header of data: where do they belong? */
static int on_data(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;
	const struct nvme_data *d = &rx->pdu.data;
	size_t off = d->off;

	mutex_lock(&q->lock);
	rx->cmd = find_locked(q, d->cid);
	mutex_unlock(&q->lock);
	if (!rx->cmd || rx->cmd->to_target || !rx->cmd->len)
		return broken(q, NVME_FES_FIELD, 8, "data of no read");
	if (d->len > rx->cmd->len || d->off > rx->cmd->len - d->len)
		return broken(q, NVME_FES_RANGE, 12, "data beyond a read");
	if (nvme_cover_add(&rx->cmd->seen, d->off, d->len))
		return broken(q, NVME_FES_RANGE, 12, "data of a read twice, or in too many pieces");
	for (rx->piece = 0; off >= rx->cmd->iov[rx->piece].iov_len; rx->piece++)
		off -= rx->cmd->iov[rx->piece].iov_len;
	rx->piece_off = off;
	rx->crc = NVME_DIGEST_START;
	rx->left = rx->pdu.data_off - rx->pdu.head_len;
	rx->state = NVME_RX_PAD;
	if (!rx->left) {
		rx->state = NVME_RX_DATA;
		rx->left = rx->pdu.data_len;
	}
	return 0;
}

static void next_header(struct nvme_rx *rx)
{
	rx->state = NVME_RX_HEAD;
	rx->cmd = NULL;
	rx->have = 0;
	rx->want = NVME_PDU_COMMON;
}

/* All of a C2HData is there. */
static int data_end(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;
	struct nvme_cmd *cmd = rx->cmd;
	uint8_t flags = rx->pdu.flags;
	struct nvme_cqe cqe = { .cid = rx->pdu.data.cid };
	const char *what;

	next_header(rx);
	if (!(flags & NVME_PDU_SUCCESS))
		return 0;
	if (!(flags & NVME_PDU_LAST))
		return broken(q, NVME_FES_FIELD, 1, "success is told before the last data");
	mutex_lock(&q->lock);
	what = incomplete_locked(cmd);
	mutex_unlock(&q->lock);
	if (what)
		return broken(q, NVME_FES_SEQUENCE, 1, what);
	finish(q, cmd, &cqe);
	return 0;
}

static int data_received(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;

	if (rx->left)
		return 0;
	if (!rx->pdu.ddgst)
		return data_end(q);
	rx->state = NVME_RX_DIGEST;
	rx->have = 0;
	rx->want = NVME_DIGEST_BYTES;
	return 0;
}

static int digest_received(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;

	/* The stream is in step: the command is repeated, the connection stays. */
	if (nvme_digest_get(rx->head) != nvme_digest_end(rx->crc))
		rx->cmd->damaged = true;
	return data_end(q);
}

/* ---- headers ---------------------------------------------------------- */

static int on_greeting(struct nvme_queue *q, const struct nvme_ic *ic)
{
	if (q->phase != NVME_PHASE_IC)
		return broken(q, NVME_FES_SEQUENCE, 0, "a second greeting");
	if ((ic->hdgst && !q->want_hdgst) || (ic->ddgst && !q->want_ddgst))
		return broken(q, NVME_FES_UNSUPPORTED, 11, "digests that were not asked for");
	q->rx_wire.hdgst = q->tx_wire.hdgst = ic->hdgst;
	q->rx_wire.ddgst = q->tx_wire.ddgst = ic->ddgst;
	q->tx_wire.pda = ic->pda;
	q->h2c_max = ic->limit;
	q->phase = NVME_PHASE_READY;
	return 0;
}

static int on_term(struct nvme_queue *q, const struct nvme_term *t)
{
	static const char *const reasons[] = { "no reason",    "invalid header field",
					       "wrong order",  "header digest",
					       "out of range", "limit exceeded",
					       "unsupported" };
	const char *text = t->fes < ARRAY_LEN(reasons) ? reasons[t->fes] : "unknown reason";

	return nvq_fail(q, -ECONNABORTED, "the target ended queue %u: %s (%u, %u)", q->id, text,
			t->fes, t->fei);
}

static int on_header(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;
	const struct nvme_pdu *pdu = &rx->pdu;

	/* What follows a Term PDU's header says nothing to us: the connection is over. */
	if (pdu->type == NVME_C2H_TERM)
		return on_term(q, &pdu->term);
	if (pdu->type == NVME_C2H_DATA)
		return on_data(q);
	next_header(rx);
	switch (pdu->type) {
	case NVME_ICRESP:
		return on_greeting(q, &pdu->ic);
	case NVME_CAPSULE_RESP:
		return on_answer(q, &pdu->cqe);
	default:
		return on_r2t(q, &pdu->data);
	}
}

static int header_received(struct nvme_queue *q)
{
	struct nvme_rx *rx = &q->rx;
	bool begun = rx->have == NVME_PDU_COMMON;
	int rc = begun ? nvme_pdu_begin(&q->rx_wire, rx->head, &rx->pdu) :
			 nvme_pdu_decode(&q->rx_wire, rx->head, &rx->pdu);

	if (rc)
		return broken(q, (enum nvme_fes)rx->pdu.bad.fes, rx->pdu.bad.fei,
			      rx->pdu.bad.fes == NVME_FES_HDGST ? "a header digest is wrong" :
								  "a malformed PDU");
	if (!begun)
		return on_header(q);
	if (q->phase == NVME_PHASE_IC && rx->pdu.type != NVME_ICRESP &&
	    rx->pdu.type != NVME_C2H_TERM)
		return broken(q, NVME_FES_SEQUENCE, 0, "it does not greet first");
	rx->want = rx->pdu.head_len;
	return 0;
}

/* ---- bytes ------------------------------------------------------------ */

unsigned nvr_direct(struct nvme_queue *q, struct iovec *out, unsigned max, size_t *len)
{
	struct nvme_rx *rx = &q->rx;
	size_t off = rx->piece_off;
	unsigned n = 0;

	*len = 0;
	if (rx->state != NVME_RX_DATA)
		return 0;
	for (unsigned i = rx->piece; n < max && *len < rx->left; i++, off = 0) {
		const struct iovec *v = &rx->cmd->iov[i];
		size_t part = v->iov_len - off;

		if (part > rx->left - *len)
			part = rx->left - *len;
		out[n++] = (struct iovec){ (uint8_t *)v->iov_base + off, part };
		*len += part;
	}
	return n;
}

int nvr_received(struct nvme_queue *q, size_t n)
{
	struct nvme_rx *rx = &q->rx;

	rx->left -= (uint32_t)n;
	while (n) {
		const struct iovec *v = &rx->cmd->iov[rx->piece];
		size_t part = v->iov_len - rx->piece_off;

		if (part > n)
			part = n;
		if (rx->pdu.ddgst)
			rx->crc = crc32c(rx->crc, (uint8_t *)v->iov_base + rx->piece_off, part);
		n -= part;
		rx->piece_off += part;
		if (rx->piece_off == v->iov_len) {
			rx->piece++;
			rx->piece_off = 0;
		}
	}
	return data_received(q);
}

/* Payload that did not land in place. */
static int feed_data(struct nvme_queue *q, const uint8_t *p, size_t n)
{
	struct iovec out[RX_PIECES];
	size_t len, done = 0;
	int rc = 0;

	while (done < n && !rc) {
		unsigned pieces = nvr_direct(q, out, RX_PIECES, &len);
		size_t now = 0;

		for (unsigned i = 0; i < pieces && done + now < n; i++) {
			size_t part = out[i].iov_len;

			if (part > n - done - now)
				part = n - done - now;
			memcpy(out[i].iov_base, p + done + now, part);
			now += part;
		}
		done += now;
		rc = nvr_received(q, now);
	}
	return rc;
}

/* The next bytes of a header or a digest. */
static int feed_head(struct nvme_queue *q, const uint8_t *p, size_t n)
{
	struct nvme_rx *rx = &q->rx;

	memcpy(rx->head + rx->have, p, n);
	rx->have += (unsigned)n;
	if (rx->have < rx->want)
		return 0;
	return rx->state == NVME_RX_HEAD ? header_received(q) : digest_received(q);
}

static int feed_pad(struct nvme_queue *q, size_t n)
{
	struct nvme_rx *rx = &q->rx;

	rx->left -= (uint32_t)n;
	if (!rx->left) {
		rx->state = NVME_RX_DATA;
		rx->left = rx->pdu.data_len;
	}
	return 0;
}

int nvr_feed(struct nvme_queue *q, const uint8_t *p, size_t n)
{
	struct nvme_rx *rx = &q->rx;

	while (n) {
		bool counted = rx->state == NVME_RX_PAD || rx->state == NVME_RX_DATA;
		size_t now = counted ? rx->left : rx->want - rx->have;
		int rc;

		if (now > n)
			now = n;
		if (rx->state == NVME_RX_PAD)
			rc = feed_pad(q, now);
		else if (rx->state == NVME_RX_DATA)
			rc = feed_data(q, p, now);
		else
			rc = feed_head(q, p, now);
		if (rc)
			return rc;
		p += now;
		n -= now;
	}
	return 0;
}

int nvr_receive(struct nvme_queue *q)
{
	for (unsigned round = 0; round < RX_ROUNDS && !q->dead; round++) {
		struct iovec iov[RX_PIECES + 1];
		struct msghdr msg = { .msg_iov = iov };
		size_t direct, asked, got;
		ssize_t n;
		int rc;

		msg.msg_iovlen = nvr_direct(q, iov, RX_PIECES, &direct);
		asked = direct;
		if (direct == q->rx.left || !direct) {
			/* While large data are to come, only as much as a header has: they land in place. */
			size_t room = q->big_reads ? STAGE_SMALL : NVME_STAGE_BYTES;

			iov[msg.msg_iovlen++] = (struct iovec){ q->stage, room };
			asked += room;
		}
		n = recvmsg(q->fd, &msg, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return nvq_fail(q, n ? -errno : -ECONNRESET, "queue %u: %s", q->id,
					n ? strerror(errno) : "the target closed the connection");
		got = (size_t)n;
		rc = direct ? nvr_received(q, got < direct ? got : direct) : 0;
		if (!rc && got > direct)
			rc = nvr_feed(q, q->stage, got - direct);
		if (rc)
			return rc;
		if (got < asked)
			return 0;
	}
	return 0;
}
