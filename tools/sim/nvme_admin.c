/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_admin.c - controllers of the simulated NVMe target: fabrics and admin commands
 *
 * A controller comes with the Connect of an admin queue and goes with that connection, by a silent host, or by a
 * kill; its I/O queues go with it. It lives on one path. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/nvme_impl.h"

#define READY_MS 5000u /* CAP.TO */
#define VERSION 0x10400u
#define CAP_QUEUES_CONTIGUOUS (1ull << 16)
#define CAP_NVM (1ull << 37)
#define CC_SIZES_MASK \
	0x00fffff0u /* entry sizes, page size, command set, arbitration; SHN is apart */
#define CSTS_SHST_BUSY (1u << 2)
#define LOG_RETAIN (1u << 15) /* the event stays masked */
#define LOG_BYTES_MAX (1u << 20)
#define FEATURE_MASK 0xffu
#define CONNECT_AT_QID 42u /* offsets that a refused Connect tells */
#define CONNECT_AT_SQSIZE 44u
#define CONNECT_IN_DATA (1u << 16)
#define CONNECT_AT_CNTLID (16u | CONNECT_IN_DATA)
#define CONNECT_AT_SUBNQN (256u | CONNECT_IN_DATA)
#define CONNECT_AT_HOSTNQN (512u | CONNECT_IN_DATA)
#define ASYNC_KNOWN (NVME_ASYNC_NS_CHANGED | NVME_ASYNC_ANA)

enum nt_op nt_op_of(const struct nvme_sqe *sqe, bool admin)
{
	static const uint8_t io[] = { [NVME_IO_READ] = NT_READ,
				      [NVME_IO_WRITE] = NT_WRITE,
				      [NVME_IO_FLUSH] = NT_FLUSH,
				      [NVME_IO_DSM] = NT_DSM,
				      [NVME_IO_WRITE_ZEROES] = NT_ZERO };

	if (!admin)
		return sqe->opcode < ARRAY_LEN(io) &&
				       (io[sqe->opcode] || sqe->opcode == NVME_IO_READ) ?
			       (enum nt_op)io[sqe->opcode] :
			       NT_OTHER;
	switch (sqe->opcode) {
	case NVME_FABRICS:
		return (sqe->nsid & 0xff) == NVME_FABRICS_CONNECT ? NT_CONNECT :
		       (sqe->nsid & 0xff) == NVME_FABRICS_SET ||
				       (sqe->nsid & 0xff) == NVME_FABRICS_GET ?
								    NT_PROPERTY :
								    NT_OTHER;
	case NVME_ADMIN_IDENTIFY:
		return NT_IDENTIFY;
	case NVME_ADMIN_LOG_PAGE:
		return NT_LOG;
	case NVME_ADMIN_SET_FEATURES:
		return NT_SET;
	case NVME_ADMIN_GET_FEATURES:
		return NT_GET;
	case NVME_ADMIN_ASYNC_EVENT:
		return NT_AER;
	case NVME_ADMIN_ABORT:
		return NT_ABORT;
	case NVME_ADMIN_KEEP_ALIVE:
		return NT_KEEPALIVE;
	default:
		return NT_OTHER;
	}
}

/* ---- controllers ------------------------------------------------------ */

void nt_ctrl_free(struct nt_ctrl *ctrl)
{
	for (unsigned i = 0; i <= NVME_TARGET_QUEUES_MAX; i++) {
		struct nt_conn *c = ctrl->queues[i];

		if (!c)
			continue;
		/* Before: or the admin queue would free us again. */
		ctrl->queues[i] = NULL;
		c->ctrl = NULL;
		nt_conn_reset(c);
	}
	list_del(&ctrl->link);
	list_del(&ctrl->ready.link);
	ctrl->t->nctrls--;
	free(ctrl);
}

void nt_ctrl_fatal(struct nt_ctrl *ctrl)
{
	ctrl->csts |= NVME_CSTS_CFS;
}

static struct nt_ctrl *ctrl_find(struct nvme_target *t, uint16_t cntlid)
{
	list_for_each(it, &t->ctrls) {
		struct nt_ctrl *ctrl = list_entry(it, struct nt_ctrl, link);

		if (ctrl->cntlid == cntlid)
			return ctrl;
	}
	return NULL;
}

static struct nt_ctrl *ctrl_new(struct nvme_target *t, unsigned path)
{
	struct nt_ctrl *ctrl = t->nctrls < NT_CTRLS_MAX ? calloc(1, sizeof *ctrl) : NULL;

	if (!ctrl)
		return NULL;
	ctrl->t = t;
	ctrl->path = path;
	/* Never one that was there a while ago: who takes the wrong one is told so. */
	do {
		ctrl->cntlid = t->next_cntlid++ % 0xffefu + 1;
	} while (ctrl_find(t, ctrl->cntlid));
	list_init(&ctrl->ready.link);
	list_push_back(&t->ctrls, &ctrl->link);
	t->nctrls++;
	t->n.controllers++;
	return ctrl;
}

/* ---- Connect ---------------------------------------------------------- */

static uint16_t wrong(struct nt_cmd *cmd, uint32_t where)
{
	cmd->result = where;
	return NVME_CONNECT_PARAM | NVME_STATUS_DNR;
}

static void join(struct nt_cmd *cmd, struct nt_ctrl *ctrl, uint16_t qid)
{
	struct nt_conn *c = cmd->conn;

	c->ctrl = ctrl;
	c->qid = qid;
	c->entries = (uint16_t)((cmd->sqe.cdw11 & 0xffffu) + 1);
	c->no_flow = cmd->sqe.cdw11 >> 16 & NVME_CONNECT_NO_FLOW;
	c->sq_head = (uint16_t)(1 % c->entries); /* the Connect itself */
	ctrl->queues[qid] = c;
	cmd->result = ctrl->cntlid;
}

static uint16_t connect_admin(struct nt_cmd *cmd, const struct nvme_connect_data *d)
{
	struct nvme_target *t = cmd->t;
	bool discovery = !strcmp(d->subnqn, NVME_DISCOVERY_NQN);
	struct nt_ctrl *ctrl;

	if (d->cntlid != NVME_CNTLID_ANY)
		return wrong(cmd, CONNECT_AT_CNTLID);
	if ((cmd->sqe.cdw11 & 0xffffu) >= NT_ADMIN_ENTRIES)
		return wrong(cmd, CONNECT_AT_SQSIZE);
	if (!discovery && strcmp(d->subnqn, t->cfg.nqn) != 0)
		return wrong(cmd, CONNECT_AT_SUBNQN);
	if (!discovery && t->cfg.host_nqn && strcmp(d->hostnqn, t->cfg.host_nqn) != 0)
		return NVME_CONNECT_HOST | NVME_STATUS_DNR;
	ctrl = ctrl_new(t, cmd->conn->path);
	if (!ctrl)
		return NVME_CONNECT_BUSY;
	ctrl->discovery = discovery;
	memcpy(ctrl->hostid, d->hostid, sizeof ctrl->hostid);
	memcpy(ctrl->hostnqn, d->hostnqn, sizeof ctrl->hostnqn);
	ctrl->kato_us = cmd->sqe.cdw12 * 1000ull;
	ctrl->heard_us = nt_now_us();
	join(cmd, ctrl, 0);
	return 0;
}

static uint16_t connect_io(struct nt_cmd *cmd, const struct nvme_connect_data *d, uint16_t qid)
{
	struct nvme_target *t = cmd->t;
	struct nt_ctrl *ctrl = ctrl_find(t, d->cntlid);

	if (!ctrl || ctrl->path != cmd->conn->path || ctrl->discovery)
		return wrong(cmd, CONNECT_AT_CNTLID);
	if (strcmp(d->subnqn, t->cfg.nqn) != 0)
		return wrong(cmd, CONNECT_AT_SUBNQN);
	if (strcmp(d->hostnqn, ctrl->hostnqn) != 0 ||
	    memcmp(d->hostid, ctrl->hostid, sizeof d->hostid) != 0)
		return wrong(cmd, CONNECT_AT_HOSTNQN);
	if (qid > t->cfg.queues)
		return wrong(cmd, CONNECT_AT_QID);
	if ((cmd->sqe.cdw11 & 0xffffu) >= t->cfg.queue_size)
		return wrong(cmd, CONNECT_AT_SQSIZE);
	if (ctrl->queues[qid] || !(ctrl->csts & NVME_CSTS_RDY))
		return NVME_SEQUENCE | NVME_STATUS_DNR;
	join(cmd, ctrl, qid);
	return 0;
}

static uint16_t run_connect(struct nt_cmd *cmd)
{
	uint16_t qid = (uint16_t)(cmd->sqe.cdw10 >> 16);
	struct nvme_connect_data d;

	if (nvme_connect_get(cmd->data, &d))
		return wrong(cmd, CONNECT_AT_SUBNQN);
	if (!(cmd->sqe.cdw11 & 0xffffu))
		return wrong(cmd, CONNECT_AT_SQSIZE);
	return qid ? connect_io(cmd, &d, qid) : connect_admin(cmd, &d);
}

/* ---- properties ------------------------------------------------------- */

static void become_ready(struct nvme_target *t, struct nt_job *job)
{
	struct nt_ctrl *ctrl = CONTAINER_OF(job, struct nt_ctrl, ready);

	(void)t;
	if (ctrl->cc & NVME_CC_EN)
		ctrl->csts |= NVME_CSTS_RDY;
}

static void enable(struct nt_ctrl *ctrl)
{
	const struct nt_rule *r = nt_rule_while(ctrl->t, NTF_READY_LATE, ctrl->path);

	ctrl->heard_us = nt_now_us();
	if ((ctrl->cc & CC_SIZES_MASK & ~NVME_CC_SHN) !=
	    (NVME_CC_ENABLE & CC_SIZES_MASK & ~NVME_CC_SHN))
		nt_ctrl_fatal(ctrl);
	else if (r)
		nt_job_add(ctrl->t, &ctrl->ready, r->v[NTK_MS], become_ready);
	else
		ctrl->csts |= NVME_CSTS_RDY;
}

static void set_cc(struct nt_ctrl *ctrl, uint32_t cc)
{
	uint32_t old = ctrl->cc;

	ctrl->cc = cc;
	if (cc & NVME_CC_EN && !(old & NVME_CC_EN))
		enable(ctrl);
	if (!(cc & NVME_CC_EN) && old & NVME_CC_EN) {
		list_del(&ctrl->ready.link);
		ctrl->csts = 0;
	}
	if (cc & NVME_CC_SHN && !(old & NVME_CC_SHN)) {
		bool never = nt_rule_while(ctrl->t, NTF_SHUTDOWN_NEVER, ctrl->path);

		ctrl->csts |= never ? CSTS_SHST_BUSY : NVME_CSTS_SHST_DONE;
		ctrl->t->n.shutdowns += !never;
	}
}

static uint16_t run_property(struct nt_cmd *cmd)
{
	struct nt_ctrl *ctrl = cmd->conn->ctrl;
	bool eight = cmd->sqe.cdw10 & NVME_PROP_8BYTES;

	if ((cmd->sqe.nsid & 0xff) == NVME_FABRICS_SET) {
		if (cmd->sqe.cdw11 != NVME_PROP_CC || eight)
			return NVME_INVALID_FIELD | NVME_STATUS_DNR;
		set_cc(ctrl, cmd->sqe.cdw12);
		return 0;
	}
	if (eight != (cmd->sqe.cdw11 == NVME_PROP_CAP))
		return NVME_INVALID_FIELD | NVME_STATUS_DNR;
	switch (cmd->sqe.cdw11) {
	case NVME_PROP_CAP:
		cmd->result = (cmd->t->cfg.queue_size - 1) | CAP_QUEUES_CONTIGUOUS |
			      (uint64_t)(READY_MS / 500) << 24 | CAP_NVM;
		return 0;
	case NVME_PROP_VS:
		cmd->result = VERSION;
		return 0;
	case NVME_PROP_CC:
		cmd->result = ctrl->cc;
		return 0;
	case NVME_PROP_CSTS:
		cmd->result = ctrl->csts;
		return 0;
	default:
		return NVME_INVALID_FIELD | NVME_STATUS_DNR;
	}
}

/* ---- events ----------------------------------------------------------- */

static struct nt_cmd *find_aer(struct nt_ctrl *ctrl)
{
	const struct nt_conn *c = ctrl->queues[0];

	if (!c || c->state != NTS_LIVE)
		return NULL;
	list_for_each(it, &c->cmds) {
		struct nt_cmd *cmd = list_entry(it, struct nt_cmd, link);

		if (cmd->op == NT_AER && !cmd->hung)
			return cmd;
	}
	return NULL;
}

/* Sending may be the end of the connection, and of the controller. */
static void tell(struct nt_ctrl *ctrl)
{
	const struct nt_conn *c = ctrl->queues[0];
	static const struct {
		enum nvme_notice notice;
		enum nvme_log page;
	} rows[] = { { NVME_NOTICE_NS_CHANGED, NVME_LOG_CHANGED_NS },
		     { NVME_NOTICE_ANA, NVME_LOG_ANA } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t bit = 1u << rows[i].notice;
		struct nt_cmd *aer;

		if (!(ctrl->pending & ~ctrl->masked & bit))
			continue;
		aer = find_aer(ctrl);
		if (!aer)
			return;
		ctrl->pending &= ~bit;
		ctrl->masked |= bit;
		nt_answer(aer, 0,
			  NVME_EVENT_NOTICE | (uint64_t)rows[i].notice << 8 |
				  (uint64_t)rows[i].page << 16);
		if (c->state != NTS_LIVE)
			return;
	}
}

void nt_notice(struct nvme_target *t, struct nt_ctrl *ctrl, enum nvme_notice notice)
{
	(void)t;
	/* The feature's bits begin at 8, in the order of the notices. */
	if (!(ctrl->async >> (8 + notice) & 1u) || ctrl->masked >> notice & 1u)
		return;
	ctrl->pending |= 1u << notice;
	tell(ctrl);
}

static void run_aer(struct nt_cmd *cmd)
{
	struct nt_ctrl *ctrl = cmd->conn->ctrl;
	unsigned n = 0;

	list_for_each(it, &cmd->conn->cmds)
		n += list_entry(it, struct nt_cmd, link)->op == NT_AER;
	if (n > NT_AERS_MAX)
		nt_refuse(cmd, NVME_EVENT_LIMIT | NVME_STATUS_DNR);
	else
		tell(ctrl);
}

/* ---- the other commands ----------------------------------------------- */

static uint16_t run_features(struct nt_cmd *cmd)
{
	struct nt_ctrl *ctrl = cmd->conn->ctrl;
	uint32_t n = cmd->t->cfg.queues - 1, v = cmd->sqe.cdw11;
	bool set = cmd->op == NT_SET;

	switch (cmd->sqe.cdw10 & FEATURE_MASK) {
	case NVME_FEAT_QUEUES:
		if (set && ((v & 0xffffu) == 0xffffu || v >> 16 == 0xffffu))
			return NVME_INVALID_FIELD;
		/* As many as there are, whatever was asked for: so does the kernel's target. */
		cmd->result = n | n << 16;
		return 0;
	case NVME_FEAT_ASYNC:
		if (set && v & ~ASYNC_KNOWN)
			return NVME_INVALID_FIELD;
		if (set)
			ctrl->async = v;
		cmd->result = ctrl->async;
		return 0;
	case NVME_FEAT_KEEP_ALIVE:
		if (set) {
			ctrl->kato_us = v * 1000ull;
			ctrl->heard_us = nt_now_us();
		}
		cmd->result = ctrl->kato_us / 1000;
		return 0;
	case NVME_FEAT_VWC:
		cmd->result = cmd->t->cfg.volatile_cache;
		return set ? NVME_INVALID_FIELD : 0;
	default:
		return NVME_INVALID_FIELD;
	}
}

static struct nt_cmd *find_hung(const struct nt_conn *c, uint16_t cid)
{
	list_for_each(it, &c->cmds) {
		struct nt_cmd *cmd = list_entry(it, struct nt_cmd, link);

		if (cmd->sqe.cid == cid && cmd->hung)
			return cmd;
	}
	return NULL;
}

static void run_abort(struct nt_cmd *cmd)
{
	uint16_t qid = (uint16_t)cmd->sqe.cdw10, cid = (uint16_t)(cmd->sqe.cdw10 >> 16);
	struct nt_conn *c = qid <= NVME_TARGET_QUEUES_MAX ? cmd->conn->ctrl->queues[qid] : NULL;
	struct nt_cmd *other = c ? find_hung(c, cid) : NULL;

	nt_answer(cmd, 0, !other); /* 1: not aborted */
	/* That may have been the end of both. */
	if (other && c->state == NTS_LIVE)
		nt_answer(other, NVME_ABORTED, 0);
}

static uint32_t log_bytes(const struct nvme_sqe *q)
{
	uint64_t dwords = (q->cdw10 >> 16 | (uint64_t)(q->cdw11 & 0xffffu) << 16) + 1;

	return dwords > LOG_BYTES_MAX / 4 ? LOG_BYTES_MAX + 4 : (uint32_t)dwords * 4;
}

static uint16_t run_log(struct nt_cmd *cmd)
{
	const struct nvme_sqe *q = &cmd->sqe;
	struct nt_ctrl *ctrl = cmd->conn->ctrl;
	uint64_t off = q->cdw12 | (uint64_t)q->cdw13 << 32;
	uint32_t page = q->cdw10 & 0xff, len = log_bytes(q);
	uint16_t status;

	if (off % 4)
		return NVME_INVALID_FIELD;
	if (!nt_cmd_room(cmd, len))
		return NVME_INTERNAL;
	status = nt_log_page(cmd, off, cmd->data, len);
	if (!status && !(q->cdw10 & LOG_RETAIN)) {
		if (page == NVME_LOG_ANA)
			ctrl->masked &= ~(1u << NVME_NOTICE_ANA);
		if (page == NVME_LOG_CHANGED_NS) {
			ctrl->masked &= ~(1u << NVME_NOTICE_NS_CHANGED);
			memset(ctrl->changed, 0, sizeof ctrl->changed);
		}
	}
	if (NT_HAS(&cmd->plan, NTF_LOG_CHANGES))
		cmd->t->generation++;
	return status;
}

static uint16_t run_identify(struct nt_cmd *cmd)
{
	return nt_cmd_room(cmd, NVME_IDENTIFY_BYTES) ? nt_identify(cmd, cmd->data) : NVME_INTERNAL;
}

static uint16_t check_connect(const struct nt_cmd *cmd, struct nt_need *out)
{
	if (cmd->conn->ctrl)
		return NVME_SEQUENCE;
	out->len = NVME_CONNECT_BYTES;
	return cmd->sqe.cdw10 & 0xffffu ? NVME_CONNECT_FORMAT : 0;
}

uint16_t nt_admin_check(struct nt_cmd *cmd, struct nt_need *out)
{
	const struct nt_ctrl *ctrl = cmd->conn->ctrl;

	if (cmd->op == NT_CONNECT)
		return check_connect(cmd, out);
	if (!ctrl || cmd->op == NT_OTHER)
		return NVME_INVALID_OPCODE;
	if (cmd->op == NT_PROPERTY)
		return 0;
	if (!(ctrl->cc & NVME_CC_EN) || !(ctrl->csts & NVME_CSTS_RDY))
		return NVME_SEQUENCE;
	if (cmd->op != NT_IDENTIFY && cmd->op != NT_LOG)
		return 0;
	out->to_host = true;
	out->len = cmd->op == NT_IDENTIFY ? NVME_IDENTIFY_BYTES : log_bytes(&cmd->sqe);
	return out->len > LOG_BYTES_MAX ? NVME_INVALID_FIELD : 0;
}

void nt_admin_run(struct nt_cmd *cmd)
{
	uint16_t status = 0;

	switch (cmd->op) {
	case NT_CONNECT:
		status = run_connect(cmd);
		break;
	case NT_PROPERTY:
		status = run_property(cmd);
		break;
	case NT_IDENTIFY:
		status = run_identify(cmd);
		break;
	case NT_LOG:
		status = run_log(cmd);
		break;
	case NT_SET:
	case NT_GET:
		status = run_features(cmd);
		break;
	case NT_ABORT:
		run_abort(cmd);
		return;
	case NT_AER:
		run_aer(cmd);
		return;
	default: /* keep alive */
		cmd->conn->ctrl->heard_us = nt_now_us();
	}
	if (status)
		nt_refuse(cmd, status == NVME_CONNECT_BUSY ? status : status | NVME_STATUS_DNR);
	else
		nt_answer(cmd, 0, cmd->result);
}
