/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_command.c - the way of a command through the simulated NVMe target
 *
 *   capsule --> drop | hang | status --> checks --+--> R2T .. H2CData --.
 *                                                 '-- data is there ----+--> late | delay --> run --> lost | slow --> answer
 *
 * A command that is checked and refused is answered before its data is asked for. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/nvme_impl.h"

#define AT_CID 8 /* offsets in data PDUs */
#define AT_TAG 10
#define AT_OFF 12
#define AT_LEN 16
#define BEYOND (1u << 20)
#define FUSED 0x03u

void nt_cmd_free(struct nt_cmd *cmd)
{
	list_del(&cmd->link);
	list_del(&cmd->job.link);
	if (cmd->data)
		cmd->t->memory -= cmd->len;
	free(cmd->data);
	free(cmd->r2ts);
	free(cmd);
}

/* ---- answers ---------------------------------------------------------- */

static void send_cqe(struct nt_conn *c, uint16_t cid, uint16_t status, uint64_t result)
{
	struct nvme_pdu pdu = { .type = NVME_CAPSULE_RESP,
				.cqe = { .result = result,
					 .sq_head = c->no_flow ? UINT16_MAX : c->sq_head,
					 .sq_id = c->qid,
					 .cid = cid,
					 .status = status } };

	nt_send(c, &pdu, NULL, 0);
}

static void shuffle(struct nvme_target *t, unsigned *order, unsigned n, enum nt_order how)
{
	for (unsigned i = 0; i < n; i++)
		order[i] = how == NTO_REVERSE ? n - 1 - i : i;
	for (unsigned i = n; how == NTO_RANDOM && i > 1; i--) {
		unsigned j = (unsigned)nt_random(t, i), x = order[i - 1];

		order[i - 1] = order[j];
		order[j] = x;
	}
}

/* Pieces of at least four bytes that cover len. */
static uint32_t piece_bytes(uint32_t len, uint32_t pieces)
{
	uint32_t n = (len + pieces - 1) / pieces;

	return (n + 3) / 4 * 4;
}

static void send_piece(struct nt_cmd *cmd, uint32_t off, uint32_t len, bool last)
{
	struct nt_conn *c = cmd->conn;
	const struct nt_plan *p = &cmd->plan;
	bool success = last && c->no_flow && !NT_HAS(p, NTF_DATA_NOSUCCESS);
	uint16_t cid = cmd->sqe.cid;
	struct nvme_pdu pdu = { .type = NVME_C2H_DATA, .data_len = len };

	if (NT_HAS(p, NTF_DATA_ID))
		cid ^= 0x7fff;
	pdu.data = (struct nvme_data){ .cid = cid, .off = off, .len = len };
	if (NT_HAS(p, NTF_DATA_BEYOND) && !off)
		pdu.data.off += BEYOND;
	if (last && !NT_HAS(p, NTF_DATA_NOLAST))
		pdu.flags |= NVME_PDU_LAST;
	if (success)
		pdu.flags |= NVME_PDU_SUCCESS;
	nt_send(c, &pdu, cmd->data + off % cmd->len,
		NT_HAS(p, NTF_DATA_PAD) ? p->arg[NTF_DATA_PAD] : 0);
}

/* Data for the host; true: no response follows. */
static bool send_data(struct nt_cmd *cmd)
{
	const struct nt_plan *p = &cmd->plan;
	uint32_t len = cmd->len, block = cmd->t->cfg.block_size, size;
	unsigned pieces = NT_HAS(p, NTF_DATA_PIECES) ? p->arg[NTF_DATA_PIECES] : 1;
	unsigned order[NT_PIECES_MAX];
	bool more = NT_HAS(p, NTF_DATA_LONG);

	if (NT_HAS(p, NTF_DATA_SHORT))
		len -= len > block ? block : 4;
	size = piece_bytes(len, pieces);
	pieces = (len + size - 1) / size;
	shuffle(cmd->t, order, pieces, (enum nt_order)p->order[NTF_DATA_PIECES]);
	for (unsigned i = 0; i < pieces; i++) {
		uint32_t off = order[i] * size;

		send_piece(cmd, off, len - off < size ? len - off : size, i == pieces - 1 && !more);
	}
	if (more)
		send_piece(cmd, len, len < block ? len : block, true);
	return cmd->conn->no_flow && !NT_HAS(p, NTF_DATA_NOSUCCESS);
}

static void answer_now(struct nt_cmd *cmd)
{
	struct nt_conn *c = cmd->conn;
	const struct nt_plan *p = &cmd->plan;
	uint16_t cid = cmd->sqe.cid;
	bool told = false, wrong = NT_HAS(p, NTF_WRONGID);

	/* It is ours alone from here on: sending may be the end of the connection and of all its commands. */
	list_del(&cmd->link);
	c->ncmds--;
	if (cmd->to_host && cmd->data && !cmd->status && !wrong)
		told = send_data(cmd);
	if (!told)
		send_cqe(c, wrong ? cid ^ 0x7fff : cid, cmd->status, cmd->result);
	if (NT_HAS(p, NTF_TWICE))
		send_cqe(c, cid, cmd->status, cmd->result);
	if (NT_HAS(p, NTF_CSTS) && c->ctrl)
		nt_ctrl_fatal(c->ctrl);
	nt_cmd_free(cmd);
}

static void answer_late(struct nvme_target *t, struct nt_job *job)
{
	struct nt_cmd *cmd = CONTAINER_OF(job, struct nt_cmd, job);

	(void)t;
	if (cmd->conn->state == NTS_LIVE)
		answer_now(cmd);
}

void nt_answer(struct nt_cmd *cmd, uint16_t status, uint64_t result)
{
	cmd->status = status;
	cmd->result = result;
	if (!cmd->conn)
		nt_cmd_free(cmd);
	else if (NT_HAS(&cmd->plan, NTF_LOST))
		nt_conn_reset(cmd->conn);
	else if (NT_HAS(&cmd->plan, NTF_SLOW))
		nt_job_add(cmd->t, &cmd->job, cmd->plan.arg[NTF_SLOW], answer_late);
	else
		answer_now(cmd);
}

void nt_refuse(struct nt_cmd *cmd, uint16_t status)
{
	cmd->t->n.refused++;
	nt_answer(cmd, status, cmd->result);
}

/* ---- running ---------------------------------------------------------- */

static void run_now(struct nt_cmd *cmd)
{
	if (1u << cmd->op & NT_OPS_IO)
		nt_io_run(cmd);
	else
		nt_admin_run(cmd);
}

static void cmd_run(struct nvme_target *t, struct nt_job *job)
{
	struct nt_cmd *cmd = CONTAINER_OF(job, struct nt_cmd, job);

	if (!cmd->conn)
		t->n.late++;
	if (!cmd->conn || cmd->conn->state == NTS_LIVE)
		run_now(cmd);
}

/* From here on the command outlives its connection. */
static void leave(struct nt_cmd *cmd)
{
	struct nt_conn *c = cmd->conn;

	list_del(&cmd->link);
	c->ncmds--;
	cmd->conn = NULL;
	list_push_back(&cmd->t->late, &cmd->link);
	nt_job_add(cmd->t, &cmd->job, cmd->plan.arg[NTF_LATE], cmd_run);
	nt_conn_reset(c);
}

/* All its data are there. */
static void ready(struct nt_cmd *cmd)
{
	if (cmd->status)
		nt_refuse(cmd, cmd->status);
	else if (NT_HAS(&cmd->plan, NTF_LATE))
		leave(cmd);
	else if (NT_HAS(&cmd->plan, NTF_DELAY))
		nt_job_add(cmd->t, &cmd->job, cmd->plan.arg[NTF_DELAY], cmd_run);
	else
		run_now(cmd);
}

/* ---- asking for data -------------------------------------------------- */

static void send_r2t(struct nt_cmd *cmd, struct nt_r2t *r)
{
	struct nt_conn *c = cmd->conn;
	const struct nt_plan *p = &cmd->plan;
	struct nvme_pdu pdu = { .type = NVME_R2T };
	uint16_t cid = cmd->sqe.cid;

	r->tag = c->next_tag++;
	r->sent = true;
	cmd->r2ts_sent++;
	if (NT_HAS(p, NTF_R2T_ID))
		cid ^= 0x7fff;
	pdu.data = (struct nvme_data){ .cid = cid, .tag = r->tag, .off = r->off, .len = r->len };
	if (NT_HAS(p, NTF_R2T_BEYOND))
		pdu.data.off += cmd->len;
	cmd->t->n.r2ts++;
	nt_send(c, &pdu, NULL, 0);
}

/* As many as the host allows; sending may be the end of the command. */
static void send_r2ts(struct nt_cmd *cmd)
{
	struct nt_conn *c = cmd->conn;

	while (cmd->r2ts_sent < cmd->nr2ts && cmd->r2ts_sent - cmd->r2ts_done < c->maxr2t) {
		send_r2t(cmd, &cmd->r2ts[cmd->r2ts_sent]);
		if (c->state != NTS_LIVE)
			return;
	}
}

static void r2ts_late(struct nvme_target *t, struct nt_job *job)
{
	struct nt_cmd *cmd = CONTAINER_OF(job, struct nt_cmd, job);

	(void)t;
	if (cmd->conn->state == NTS_LIVE)
		send_r2ts(cmd);
}

static bool cut_r2ts(struct nt_cmd *cmd)
{
	const struct nt_plan *p = &cmd->plan;
	uint32_t size = cmd->t->cfg.r2t_bytes ? cmd->t->cfg.r2t_bytes : cmd->len;
	unsigned order[NT_PIECES_MAX];

	if (NT_HAS(p, NTF_R2T_PIECES))
		size = piece_bytes(cmd->len, p->arg[NTF_R2T_PIECES]);
	if (cmd->len / size >= NT_PIECES_MAX)
		size = piece_bytes(cmd->len, NT_PIECES_MAX);
	cmd->nr2ts = (cmd->len + size - 1) / size;
	cmd->r2ts = calloc(cmd->nr2ts, sizeof *cmd->r2ts);
	if (!cmd->r2ts)
		return false;
	shuffle(cmd->t, order, cmd->nr2ts, (enum nt_order)p->order[NTF_R2T_PIECES]);
	for (unsigned i = 0; i < cmd->nr2ts; i++) {
		uint32_t off = order[i] * size;

		cmd->r2ts[i].off = off;
		cmd->r2ts[i].len = cmd->len - off < size ? cmd->len - off : size;
	}
	return true;
}

bool nt_cmd_room(struct nt_cmd *cmd, uint32_t len)
{
	if (cmd->t->memory + len > NT_MEMORY_MAX)
		return false;
	cmd->data = calloc(1, len ? len : 1);
	if (!cmd->data)
		return false;
	cmd->len = len;
	cmd->t->memory += len;
	return true;
}

static void ask_for_data(struct nt_cmd *cmd, uint32_t len)
{
	if (!nt_cmd_room(cmd, len) || !cut_r2ts(cmd))
		nt_refuse(cmd, NVME_INTERNAL);
	else if (NT_HAS(&cmd->plan, NTF_R2T_LATE))
		nt_job_add(cmd->t, &cmd->job, cmd->plan.arg[NTF_R2T_LATE], r2ts_late);
	else
		send_r2ts(cmd);
}

static struct nt_cmd *find_r2t(struct nt_conn *c, uint16_t tag, struct nt_r2t **out)
{
	list_for_each(it, &c->cmds) {
		struct nt_cmd *cmd = list_entry(it, struct nt_cmd, link);

		for (unsigned i = 0; i < cmd->r2ts_sent; i++)
			if (cmd->r2ts[i].tag == tag && !cmd->r2ts[i].done) {
				*out = &cmd->r2ts[i];
				return cmd;
			}
	}
	return NULL;
}

/* Whether an H2CData is what its R2T asked for next; else it is the end. */
static bool h2c_fits(struct nt_conn *c, const struct nt_cmd *cmd, const struct nt_r2t *r,
		     const struct nvme_pdu *pdu)
{
	const struct nvme_data *d = &pdu->data;

	if (!cmd)
		nt_term(c, NVME_FES_FIELD, AT_TAG);
	else if (d->cid != cmd->sqe.cid)
		nt_term(c, NVME_FES_FIELD, AT_CID);
	else if (d->len > c->t->cfg.maxh2cdata)
		nt_term(c, NVME_FES_LIMIT, AT_LEN);
	else if (d->off < r->off || d->off - r->off > r->len || d->len > r->len - (d->off - r->off))
		nt_term(c, NVME_FES_RANGE, AT_OFF);
	else if (d->off != r->off + r->got)
		nt_term(c, NVME_FES_SEQUENCE, AT_OFF);
	else if ((r->got + d->len == r->len) != !!(pdu->flags & NVME_PDU_LAST))
		nt_term(c, NVME_FES_FIELD, 1);
	else
		return true;
	return false;
}

void nt_h2c_data(struct nt_conn *c, const struct nvme_pdu *pdu, const uint8_t *data, bool data_bad)
{
	struct nt_r2t *r = NULL;
	struct nt_cmd *cmd = find_r2t(c, pdu->data.tag, &r);

	if (!h2c_fits(c, cmd, r, pdu))
		return;
	c->t->n.h2c++;
	memcpy(cmd->data + pdu->data.off, data, pdu->data.len);
	r->got += pdu->data.len;
	if (data_bad)
		cmd->status = NVME_TRANSIENT;
	if (r->got < r->len)
		return;
	r->done = true;
	cmd->r2ts_done++;
	if (cmd->r2ts_done == cmd->nr2ts)
		ready(cmd);
	else
		send_r2ts(cmd);
}

/* ---- a new command ---------------------------------------------------- */

static const struct nt_cmd *find_cid(const struct nt_conn *c, uint16_t cid)
{
	list_for_each(it, &c->cmds) {
		const struct nt_cmd *cmd = list_entry(it, struct nt_cmd, link);

		if (cmd->sqe.cid == cid)
			return cmd;
	}
	return NULL;
}

/* Whether the SGL tells the data that the command needs, in a way that there is. */
static uint16_t check_sgl(const struct nt_conn *c, const struct nvme_pdu *pdu,
			  const struct nt_need *need)
{
	const struct nvme_sqe *q = &pdu->sqe;
	uint32_t room = c->ctrl && c->qid ? c->t->cfg.in_capsule : NT_ADMIN_CAPSULE;

	if (q->flags & FUSED || (q->flags & NVME_SQE_PSDT) != NVME_SQE_SGL)
		return NVME_INVALID_FIELD;
	if (need->at_most ? q->sgl_len < need->len : q->sgl_len != need->len)
		return NVME_SGL_INVALID;
	if (!need->len)
		return 0;
	if (q->sgl_type == NVME_SGL_TRANSPORT)
		return 0;
	if (q->sgl_type != NVME_SGL_CAPSULE || need->to_host)
		return NVME_INVALID_FIELD;
	if (q->sgl_addr || q->sgl_len > room)
		return NT_STATUS_SGL_OFFSET;
	return q->sgl_len == pdu->data_len ? 0 : NVME_SGL_INVALID;
}

static uint16_t check(struct nt_cmd *cmd, const struct nvme_pdu *pdu, struct nt_need *need)
{
	uint16_t status = 1u << cmd->op & NT_OPS_IO ? nt_io_check(cmd, need) :
						      nt_admin_check(cmd, need);

	if (!status)
		status = check_sgl(cmd->conn, pdu, need);
	return status ? status | NVME_STATUS_DNR : 0;
}

static void count(struct nvme_target *t, enum nt_op op)
{
	uint64_t *const of[NT_OPS] = {
		[NT_READ] = &t->n.reads,    [NT_WRITE] = &t->n.writes,
		[NT_FLUSH] = &t->n.flushes, [NT_ZERO] = &t->n.zeroes,
		[NT_DSM] = &t->n.discards,  [NT_KEEPALIVE] = &t->n.keepalives,
	};

	if (of[op])
		++*of[op];
}

static struct nt_cmd *cmd_new(struct nt_conn *c, const struct nvme_sqe *sqe)
{
	struct nt_cmd *cmd = calloc(1, sizeof *cmd);

	if (!cmd)
		return NULL;
	cmd->t = c->t;
	cmd->conn = c;
	cmd->sqe = *sqe;
	cmd->op = nt_op_of(sqe, !c->ctrl || !c->qid);
	list_init(&cmd->job.link);
	list_push_back(&c->cmds, &cmd->link);
	c->ncmds++;
	count(c->t, cmd->op);
	return cmd;
}

/* Commands of which nothing is executed; true: this is one. */
static bool misbehave(struct nt_cmd *cmd)
{
	const struct nt_plan *p = &cmd->plan;

	if (NT_HAS(p, NTF_DROP))
		nt_conn_reset(cmd->conn);
	else if (NT_HAS(p, NTF_HANG))
		cmd->hung = true;
	else if (NT_HAS(p, NTF_STATUS))
		nt_answer(cmd, (uint16_t)(p->arg[NTF_STATUS] | (p->dnr ? NVME_STATUS_DNR : 0)), 0);
	else
		return false;
	return true;
}

void nt_command(struct nt_conn *c, const struct nvme_pdu *pdu, const uint8_t *data, bool data_bad)
{
	const struct nvme_sqe *q = &pdu->sqe;
	struct nt_what what = { .queue = nt_queue(c), .path = c->path };
	struct nt_need need = { .len = 0 };
	struct nt_cmd *cmd;
	uint16_t status;

	c->sq_head = (uint16_t)((c->sq_head + 1u) % c->entries);
	if (c->ncmds >= c->entries || (pdu->data_len && q->sgl_type == NVME_SGL_TRANSPORT)) {
		nt_term(c, c->ncmds >= c->entries ? NVME_FES_SEQUENCE : NVME_FES_FIELD, 4);
		return;
	}
	if (find_cid(c, q->cid)) {
		c->t->n.conflicts++;
		send_cqe(c, q->cid, NVME_CID_CONFLICT | NVME_STATUS_DNR, 0);
		return;
	}
	cmd = cmd_new(c, q);
	if (!cmd) {
		nt_conn_reset(c);
		return;
	}
	status = check(cmd, pdu, &need);
	if (need.at_most)
		need.len = q->sgl_len;
	cmd->to_host = need.to_host;
	what.op = cmd->op;
	what.data = !status && need.len && need.to_host;
	what.r2t = !status && need.len && !need.to_host && q->sgl_type == NVME_SGL_TRANSPORT;
	nt_plan_make(c->t, &what, &cmd->plan);
	if (misbehave(cmd))
		return;
	if (status) {
		nt_refuse(cmd, status);
	} else if (what.r2t) {
		ask_for_data(cmd, need.len);
	} else if (need.len && !need.to_host) {
		c->t->n.in_capsule++;
		cmd->status = data_bad                   ? NVME_TRANSIENT :
			      nt_cmd_room(cmd, need.len) ? 0 :
							   NVME_INTERNAL;
		if (cmd->data)
			memcpy(cmd->data, data, need.len);
		ready(cmd);
	} else {
		ready(cmd);
	}
}
