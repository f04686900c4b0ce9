/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_queue.c - a connection of NVMe over TCP, which is one queue: commands and what goes out
 *
 *          nvq_get    nvq_issue            last byte is out             answered (nvme_rx.c)
 *   FREE ----------> ---------> QUEUED -----------------------> SENT ----------------------> FREE, end()
 *                                                              |    ^
 *                                                          R2T v    | last byte of H2CData is out
 *                                                             in sendq again
 *
 * 1. A command is in exactly one of free, sendq and ended, or in none while it waits for the target.
 * 2. Only the first of sendq may be sent in part; tx.sent says how much.
 * 3. Any thread submits and sends, under the lock; only the path's thread receives, ends commands, opens and closes.
 * 4. An error for a command whose data are still going out ends it when they are out: a PDU cannot be cut. Success
 *    then is a lie, and ends the connection. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/block/nvme_impl.h"
#include "common/clock.h"
#include "common/crc32c.h"

enum { SEND_PIECES = 128, PDU_PIECES_MIN = 3 };

static ssize_t queue_send(struct nvme_queue *q, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n };
	ssize_t sent = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	return sent < 0 ? -errno : sent;
}

void nvq_init(struct nvme_queue *q, unsigned id)
{
	mutex_init(&q->lock, LOCK_bd_transport);
	q->id = id;
	q->fd = -1;
	q->send = queue_send;
	list_init(&q->free);
	list_init(&q->sendq);
	list_init(&q->ended);
	list_init(&q->waiting);
	for (unsigned i = 0; i < NVME_SLOTS_MAX; i++)
		list_init(&q->cmds[i].link);
}

void nvq_done(struct nvme_queue *q)
{
	if (q->fd >= 0)
		close(q->fd);
	mutex_done(&q->lock);
}

void nvq_open(struct nvme_queue *q, int fd_take, unsigned nslots)
{
	nvr_reset(q);
	q->phase = NVME_PHASE_IC;
	q->dead = false;
	q->why[0] = '\0';
	q->term = (struct nvme_term){ 0 };
	q->rx_wire = (struct nvme_wire){ .data_max = NVME_TRANSFER_MAX };
	q->tx_wire = (struct nvme_wire){ .from_host = true };
	q->capsule_max = NVME_ADMIN_CAPSULE;
	mutex_lock(&q->lock);
	q->fd = fd_take;
	q->send_error = 0;
	q->wants_out = false;
	q->nslots = nslots;
	q->busy = 0;
	q->big_reads = 0;
	list_init(&q->free);
	list_init(&q->sendq);
	list_init(&q->ended);
	for (unsigned i = 0; i < nslots; i++) {
		q->cmds[i].slot = (uint16_t)i;
		q->cmds[i].state = NVME_CMD_FREE;
		list_push_back(&q->free, &q->cmds[i].link);
	}
	q->live = true;
	mutex_unlock(&q->lock);
}

int nvq_fail(struct nvme_queue *q, int code, const char *fmt, ...)
{
	va_list ap;

	if (q->dead)
		return code;
	q->dead = true;
	va_start(ap, fmt);
	vsnprintf(q->why, sizeof q->why, fmt, ap);
	va_end(ap);
	return code;
}

/* ---- the end of a connection ------------------------------------------ */

/* Best effort, between two PDUs only. */
static void send_term_locked(struct nvme_queue *q)
{
	const struct nvme_pdu pdu = { .type = NVME_H2C_TERM, .term = q->term };
	uint8_t head[NVME_HEAD_MAX];
	struct iovec iov = { head, 0 };

	if (!q->term.fes || q->send_error)
		return;
	if (!list_empty(&q->sendq) && list_first(&q->sendq, struct nvme_cmd, link)->tx.sent)
		return;
	iov.iov_len = nvme_pdu_put(&q->tx_wire, &pdu, head);
	(void)!q->send(q, &iov, 1);
}

void nvq_close(struct nvme_queue *q)
{
	struct linger reset = { .l_onoff = 1 };
	int fd;

	mutex_lock(&q->lock);
	if (q->live)
		send_term_locked(q);
	q->live = q->ready = false;
	fd = take_fd(&q->fd);
	mutex_unlock(&q->lock);
	if (fd < 0)
		return;
	/* Reset, not finished: what lies in buffers of either side shall not be executed. */
	(void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(fd);
}

void nvq_drain(struct nvme_queue *q, struct list *waiting)
{
	mutex_lock(&q->lock);
	list_splice(waiting, &q->waiting);
	for (unsigned i = 0; i < q->nslots; i++) {
		struct nvme_cmd *cmd = &q->cmds[i];
		nvme_end_fn *end = cmd->end;
		void *arg = cmd->arg;

		if (cmd->state == NVME_CMD_FREE)
			continue;
		cmd->state = NVME_CMD_FREE;
		list_del(&cmd->link);
		mutex_unlock(&q->lock);
		if (end)
			end(arg, -ECONNRESET, NULL);
		mutex_lock(&q->lock);
	}
	q->nslots = 0;
	list_init(&q->free);
	mutex_unlock(&q->lock);
}

bool nvq_overdue(struct nvme_queue *q, uint64_t now_ms)
{
	const struct nvme_cmd *late = NULL;
	uint8_t opcode = 0;

	mutex_lock(&q->lock);
	for (unsigned i = 0; i < q->nslots && !late; i++) {
		const struct nvme_cmd *cmd = &q->cmds[i];

		if (cmd->state != NVME_CMD_FREE && cmd->deadline_ms && cmd->deadline_ms <= now_ms)
			late = cmd;
	}
	if (late)
		opcode = late->sqe.opcode;
	mutex_unlock(&q->lock);
	if (late)
		nvq_fail(q, -ETIMEDOUT, "command 0x%02x of queue %u is not answered", opcode,
			 q->id);
	return late;
}

/* ---- what goes out ---------------------------------------------------- */

/* The pieces of iov that hold [off, off + len); *got: how much of it fits max. */
static unsigned slice(const struct iovec *iov, unsigned niov, uint32_t off, uint32_t len,
		      struct iovec *out, unsigned max, size_t *got)
{
	unsigned n = 0;

	*got = 0;
	for (unsigned i = 0; i < niov && n < max && *got < len; i++) {
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= (uint32_t)part;
			continue;
		}
		part -= off;
		if (part > len - *got)
			part = len - *got;
		out[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + off, part };
		*got += part;
		off = 0;
	}
	return n;
}

static uint32_t data_digest(const struct nvme_cmd *cmd, uint32_t off, uint32_t len)
{
	uint32_t crc = NVME_DIGEST_START;
	struct iovec part;
	size_t got;

	for (; len; off += (uint32_t)got, len -= (uint32_t)got) {
		if (!slice(cmd->iov, cmd->niov, off, len, &part, 1, &got))
			break;
		crc = crc32c(crc, part.iov_base, got);
	}
	return nvme_digest_end(crc);
}

/* pdu with data_len bytes of the command's data from off becomes what is sent. */
static void load_tx(struct nvme_queue *q, struct nvme_cmd *cmd, const struct nvme_pdu *pdu,
		    uint32_t off)
{
	struct nvme_tx *tx = &cmd->tx;

	tx->head_len = (uint32_t)nvme_pdu_put(&q->tx_wire, pdu, tx->head);
	tx->off = off;
	tx->len = pdu->data_len;
	tx->sent = 0;
	tx->digest_len = q->tx_wire.ddgst && tx->len ? NVME_DIGEST_BYTES : 0;
	if (tx->digest_len)
		nvme_digest_put(tx->digest, data_digest(cmd, off, tx->len));
}

static uint64_t tx_bytes(const struct nvme_tx *tx)
{
	return (uint64_t)tx->head_len + tx->len + tx->digest_len;
}

/* Adds what is left of the command's PDU to iov; false: not all of it fits. */
static bool gather(const struct nvme_cmd *cmd, struct iovec *iov, unsigned max, unsigned *n)
{
	const struct nvme_tx *tx = &cmd->tx;
	uint64_t at = tx->sent;
	size_t got;

	if (at < tx->head_len) {
		iov[(*n)++] =
			(struct iovec){ (void *)(uintptr_t)(tx->head + at), tx->head_len - at };
		at = tx->head_len;
	}
	if (at < tx->head_len + tx->len) {
		uint32_t from = (uint32_t)(at - tx->head_len);

		*n += slice(cmd->iov, cmd->niov, tx->off + from, tx->len - from, iov + *n, max - *n,
			    &got);
		at += got;
		if (from + got < tx->len)
			return false;
	}
	if (at < tx_bytes(tx)) {
		size_t from = at - tx->head_len - tx->len;

		if (*n == max)
			return false;
		iov[(*n)++] = (struct iovec){ (void *)(uintptr_t)(tx->digest + from),
					      tx->digest_len - from };
	}
	return true;
}

void nvq_load_h2c_locked(struct nvme_queue *q, struct nvme_cmd *cmd)
{
	struct nvme_r2t *r = &cmd->r2ts[0];
	/* The kernel's target (6.1) takes each digest for that of all the command's data: with digests of data a PDU is as
	 * large as the target lets it. */
	uint32_t max = q->tx_wire.ddgst || q->h2c_max < NVME_H2C_MAX ? q->h2c_max : NVME_H2C_MAX;
	uint32_t len = r->len < max ? r->len : max;
	const struct nvme_pdu pdu = { .type = NVME_H2C_DATA,
				      .flags = len == r->len ? NVME_PDU_LAST : 0,
				      .data_len = len,
				      .data = { cmd->sqe.cid, r->tag, r->off, len } };

	load_tx(q, cmd, &pdu, r->off);
	list_push_back(&q->sendq, &cmd->link);
	r->off += len;
	r->len -= len;
	if (r->len)
		return;
	cmd->nr2ts--;
	memmove(cmd->r2ts, cmd->r2ts + 1, cmd->nr2ts * sizeof cmd->r2ts[0]);
}

/* The command's PDU is out. */
static void tx_end_locked(struct nvme_queue *q, struct nvme_cmd *cmd)
{
	list_del(&cmd->link);
	cmd->tx.sent = 0;
	cmd->state = NVME_CMD_SENT;
	if (cmd->answered) {
		list_push_back(&q->ended, &cmd->link);
	} else if (cmd->nr2ts) {
		/* Behind the others: a large write leaves room for small commands. */
		nvq_load_h2c_locked(q, cmd);
	}
}

static void sent_locked(struct nvme_queue *q, size_t n)
{
	while (n) {
		struct nvme_cmd *cmd = list_first(&q->sendq, struct nvme_cmd, link);
		uint64_t left = tx_bytes(&cmd->tx) - cmd->tx.sent;

		if (n < left) {
			cmd->tx.sent += n;
			return;
		}
		n -= left;
		tx_end_locked(q, cmd);
	}
}

int nvq_flush_locked(struct nvme_queue *q)
{
	mutex_assert_held(&q->lock);
	while (q->live && !list_empty(&q->sendq)) {
		struct iovec iov[SEND_PIECES];
		unsigned n = 0;
		ssize_t sent;

		list_for_each(it, &q->sendq) {
			if (n + PDU_PIECES_MIN > SEND_PIECES ||
			    !gather(list_entry(it, struct nvme_cmd, link), iov, SEND_PIECES, &n))
				break;
		}
		sent = q->send(q, iov, n);
		if (sent == -EINTR)
			continue;
		if (sent < 0)
			return (int)sent;
		sent_locked(q, (size_t)sent);
	}
	return 0;
}

static bool is_big_read(const struct nvme_cmd *cmd)
{
	return !cmd->to_target && cmd->len > NVME_STAGE_BYTES;
}

void nvq_put_locked(struct nvme_queue *q, struct nvme_cmd *cmd)
{
	if (is_big_read(cmd))
		atomic_fetch_sub(&q->big_reads, 1);
	cmd->state = NVME_CMD_FREE;
	list_push_front(&q->free, &cmd->link);
	q->busy--;
}

/* Commands that were answered before their data were out. */
static void end_answered(struct nvme_queue *q)
{
	struct list *l;

	mutex_lock(&q->lock);
	while ((l = list_pop(&q->ended))) {
		struct nvme_cmd *cmd = list_entry(l, struct nvme_cmd, link);
		struct nvme_cqe cqe = cmd->cqe;
		nvme_end_fn *end = cmd->end;
		void *arg = cmd->arg;

		nvq_put_locked(q, cmd);
		mutex_unlock(&q->lock);
		if (end)
			end(arg, 0, &cqe);
		mutex_lock(&q->lock);
	}
	mutex_unlock(&q->lock);
}

void nvq_flush(struct nvme_queue *q)
{
	int rc;

	mutex_lock(&q->lock);
	rc = q->send_error ? q->send_error : nvq_flush_locked(q);
	q->wants_out = rc == -EAGAIN;
	mutex_unlock(&q->lock);
	end_answered(q);
	if (rc && rc != -EAGAIN)
		nvq_fail(q, rc, "cannot send on queue %u: %s", q->id, strerror(-rc));
}

/* ---- commands --------------------------------------------------------- */

struct nvme_cmd *nvq_get_locked(struct nvme_queue *q)
{
	struct list *l = q->live ? list_pop(&q->free) : NULL;
	struct nvme_cmd *cmd;

	if (!l)
		return NULL;
	cmd = list_entry(l, struct nvme_cmd, link);
	q->busy++;
	cmd->state = NVME_CMD_QUEUED;
	memset(&cmd->sqe, 0, sizeof cmd->sqe);
	cmd->iov = NULL;
	cmd->niov = 0;
	cmd->len = 0;
	cmd->to_target = cmd->capsule = cmd->answered = cmd->damaged = false;
	cmd->nr2ts = 0;
	cmd->seen.n = 0;
	cmd->deadline_ms = 0;
	/* Ids of a slot differ from use to use, so that a stray answer is known for what it is; never 0xffff. */
	cmd->generation = (uint16_t)((cmd->generation + 1) % (UINT16_MAX / NVME_SLOTS_MAX));
	return cmd;
}

void nvq_issue_locked(struct nvme_queue *q, struct nvme_cmd *cmd)
{
	struct nvme_pdu pdu = { .type = NVME_CAPSULE_CMD };
	uint32_t max = cmd->sqe.opcode == NVME_FABRICS ? NVME_ADMIN_CAPSULE : q->capsule_max;

	cmd->capsule = cmd->to_target && cmd->len && cmd->len <= max;
	cmd->sqe.cid = (uint16_t)(cmd->generation * NVME_SLOTS_MAX + cmd->slot);
	cmd->sqe.flags = NVME_SQE_SGL;
	cmd->sqe.sgl_len = cmd->len;
	cmd->sqe.sgl_type = cmd->capsule ? NVME_SGL_CAPSULE : NVME_SGL_TRANSPORT;
	pdu.sqe = cmd->sqe;
	pdu.data_len = cmd->capsule ? cmd->len : 0;
	if (is_big_read(cmd))
		atomic_fetch_add(&q->big_reads, 1);
	load_tx(q, cmd, &pdu, 0);
	list_push_back(&q->sendq, &cmd->link);
}

int nvq_hello(struct nvme_queue *q)
{
	const struct nvme_pdu pdu = { .type = NVME_ICREQ,
				      .ic = { .hdgst = q->want_hdgst, .ddgst = q->want_ddgst } };
	uint8_t head[NVME_HEAD_MAX];
	struct iovec iov = { head, nvme_pdu_put(&q->tx_wire, &pdu, head) };
	ssize_t n;

	/* The first bytes of a connection always find room. */
	mutex_lock(&q->lock);
	n = q->send(q, &iov, 1);
	mutex_unlock(&q->lock);
	if (n == (ssize_t)iov.iov_len)
		return 0;
	return nvq_fail(q, n < 0 ? (int)n : -EIO, "cannot greet on queue %u", q->id);
}
