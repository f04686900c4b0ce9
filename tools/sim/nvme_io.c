/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_io.c - commands of I/O queues: checks, and what they do to the blocks */
#include <string.h>

#include "tools/sim/nvme_impl.h"

#define GARBAGE 0xd5 /* what a discarded block holds: nobody may count on zeros */
#define MDTS_UNIT 4096u

static uint64_t first_block(const struct nvme_sqe *q)
{
	return q->cdw10 | (uint64_t)q->cdw11 << 32;
}

static uint32_t nblocks(const struct nvme_sqe *q)
{
	return (q->cdw12 & 0xffffu) + 1;
}

static uint64_t place(const struct nt_cmd *cmd, uint64_t block)
{
	const struct nt_store *s = &cmd->t->store;

	return (cmd->sqe.nsid - 1) * s->stride + block * s->block;
}

static bool in_range(const struct nvme_target *t, uint32_t nsid, uint64_t block, uint64_t n)
{
	uint64_t all = t->ns[nsid - 1].blocks;

	return block <= all && n <= all - block;
}

/* What the state of its group lets a path do. */
static uint16_t check_path(const struct nvme_target *t, unsigned path, uint32_t nsid)
{
	switch (t->paths[path].ana[nt_group(nsid) - 1]) {
	case NVME_ANA_STATE_INACCESSIBLE:
		return NVME_ANA_INACCESSIBLE;
	case NVME_ANA_STATE_LOST:
		return NVME_ANA_LOST;
	case NVME_ANA_STATE_CHANGE:
		return NVME_ANA_CHANGE;
	default:
		return 0;
	}
}

static uint16_t check_rw(const struct nt_cmd *cmd, struct nt_need *out)
{
	const struct nvme_target *t = cmd->t;
	const struct nvme_sqe *q = &cmd->sqe;
	uint64_t len = (uint64_t)nblocks(q) * t->cfg.block_size;

	out->to_host = cmd->op == NT_READ;
	if (!in_range(t, q->nsid, first_block(q), nblocks(q)))
		return NVME_LBA_RANGE;
	if (cmd->op == NT_ZERO)
		return 0;
	out->len = (uint32_t)len;
	return len > (uint64_t)MDTS_UNIT << t->cfg.mdts ? NVME_INVALID_FIELD : 0;
}

/* Ready, and of a controller that runs. */
static uint16_t check_state(const struct nt_cmd *cmd)
{
	const struct nt_ctrl *ctrl = cmd->conn->ctrl;

	if (!ctrl)
		return NVME_INVALID_OPCODE;
	return ctrl->cc & NVME_CC_EN && ctrl->csts & NVME_CSTS_RDY ? 0 : NVME_SEQUENCE;
}

uint16_t nt_io_check(struct nt_cmd *cmd, struct nt_need *out)
{
	const struct nvme_sqe *q = &cmd->sqe;
	struct nvme_target *t = cmd->t;
	uint16_t status = check_state(cmd);

	if (status)
		return status;
	/* A flush of all namespaces. */
	if (cmd->op == NT_FLUSH && q->nsid == UINT32_MAX)
		return 0;
	if (!q->nsid || q->nsid > t->cfg.namespaces)
		return NVME_INVALID_NS;
	status = check_path(t, cmd->conn->path, q->nsid);
	if (status || cmd->op == NT_FLUSH)
		return status;
	if (cmd->op != NT_DSM)
		return check_rw(cmd, out);
	out->len = ((q->cdw10 & 0xffu) + 1) * NVME_DSM_RANGE_BYTES;
	out->at_most = true;
	return q->sgl_len > NVME_DSM_RANGES_MAX * NVME_DSM_RANGE_BYTES ? NVME_SGL_INVALID : 0;
}

static uint16_t discard(struct nt_cmd *cmd)
{
	const struct nvme_sqe *q = &cmd->sqe;
	uint32_t n = (q->cdw10 & 0xffu) + 1, blocks;
	uint64_t slba;
	int rc = 0;

	for (uint32_t i = 0; i < n; i++) {
		nvme_dsm_get(cmd->data + (size_t)i * NVME_DSM_RANGE_BYTES, &slba, &blocks);
		if (!in_range(cmd->t, q->nsid, slba, blocks))
			return NVME_LBA_RANGE | NVME_STATUS_DNR;
	}
	for (uint32_t i = 0; i < n && !rc && q->cdw11 & NVME_DSM_DEALLOCATE; i++) {
		nvme_dsm_get(cmd->data + (size_t)i * NVME_DSM_RANGE_BYTES, &slba, &blocks);
		rc = nt_store_fill(&cmd->t->store, place(cmd, slba),
				   (uint64_t)blocks * cmd->t->store.block, GARBAGE, false);
	}
	return rc ? NVME_INTERNAL : 0;
}

void nt_io_run(struct nt_cmd *cmd)
{
	const struct nvme_sqe *q = &cmd->sqe;
	struct nt_store *s = &cmd->t->store;
	bool fua = q->cdw12 & NVME_RW_FUA;
	uint32_t len = nblocks(q) * s->block;
	uint64_t at = place(cmd, first_block(q));
	uint16_t status = NVME_INTERNAL;

	if (cmd->op == NT_WRITE || cmd->op == NT_ZERO)
		cmd->t->n.fua += fua;
	switch (cmd->op) {
	case NT_READ:
		if (nt_cmd_room(cmd, len) && !nt_store_read(s, at, cmd->data, len, false))
			status = 0;
		break;
	case NT_WRITE:
		status = nt_store_write(s, at, cmd->data, len, fua) ? NVME_WRITE_FAULT : 0;
		break;
	case NT_ZERO:
		status = nt_store_fill(s, at, len, 0, fua) ? NVME_WRITE_FAULT : 0;
		break;
	case NT_FLUSH:
		status = nt_store_flush(s) ? NVME_INTERNAL : 0;
		break;
	default:
		status = discard(cmd);
	}
	nt_answer(cmd, status, 0);
}
