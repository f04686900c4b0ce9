/* SPDX-License-Identifier: Apache-2.0 */
/* proc_data.c - READ, WRITE, COMMIT, READLINK */
#include <string.h>
#include <sys/stat.h>

#include "tests/server/server.h"

/* A file's owner may always read and write, as the client has checked at open. */
static uint32_t io_allowed(const struct call *c, const struct inode *i, unsigned want)
{
	if (i->type != NF3REG)
		return i->type == NF3DIR ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
	if (c->cred->uid == i->uid || inode_may(i, c->cred, want))
		return NFS3_OK;
	return want == MAY_R && inode_may(i, c->cred, MAY_X) ? NFS3_OK : NFS3ERR_ACCES;
}

static void read_ok(struct call *c, struct inode *i, uint64_t off, size_t n)
{
	size_t left = off < i->size ? (i->size - off < n ? (size_t)(i->size - off) : n) : 0;
	bool eof = off + left >= i->size;
	uint32_t told;

	if (left > 1 && proc_fault(c, F_short_read)) {
		left = 1 + fault_random(&c->srv->faults, (uint32_t)left - 1);
		eof = false;
	}
	inode_accessed(c->store, i);
	put_post(c, i);
	told = c->out->lie == 1 ? (uint32_t)left + 4 : c->out->lie ? c->out->lie : (uint32_t)left;
	c->out->lie = 0;
	xw_u32(c->out, told + (proc_fault(c, F_bad_count) ? 8 : 0));
	xw_u32(c->out, eof);
	xw_u32(c->out, told);
	data_read(i, off, xw_room(c->out, left), left, false);
	memset(xw_room(c->out, -left & 3), 0, -left & 3);
}

void proc_read(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	uint64_t off = xr_u64(c->in);
	uint32_t n = xr_u32(c->in);

	if (c->in->bad)
		return;
	if (!status)
		status = io_allowed(c, i, MAY_R);
	xw_u32(c->out, status);
	if (status)
		put_post(c, i);
	else
		read_ok(c, i, off, n < IO_BYTES_MAX ? n : IO_BYTES_MAX);
}

static uint32_t write_file(struct call *c, struct inode *i, uint64_t off, const uint8_t *p,
			   size_t *n, bool stable)
{
	uint32_t status = io_allowed(c, i, MAY_W);

	if (*n > 1 && proc_fault(c, F_short_write))
		*n = 1 + fault_random(&c->srv->faults, (uint32_t)*n - 1);
	if (!status)
		status = data_write(c->store, i, off, p, n, stable, c->node->index);
	if (status)
		return status;
	if (c->cred->uid) {
		i->mode &= ~(uint32_t)S_ISUID;
		if (i->mode & S_IXGRP)
			i->mode &= ~(uint32_t)S_ISGID;
	}
	inode_changed(c->store, i, true);
	return NFS3_OK;
}

void proc_write(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	struct before b = before(i);
	uint64_t off = xr_u64(c->in);
	uint32_t count = xr_u32(c->in), how = xr_u32(c->in);
	size_t n;
	const uint8_t *p = xr_opaque(c->in, IO_BYTES_MAX, &n);

	if (count != n || how > FILE_SYNC)
		c->in->bad = true;
	if (c->in->bad)
		return;
	if (!status)
		status = write_file(c, i, off, p, &n, how != UNSTABLE);
	xw_u32(c->out, status);
	put_wcc(c, &b, i);
	if (status)
		return;
	xw_u32(c->out, (uint32_t)n);
	xw_u32(c->out, how == UNSTABLE ? UNSTABLE : FILE_SYNC);
	xw_u64(c->out, c->node->verf);
}

void proc_commit(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	struct before b = before(i);
	uint64_t off = xr_u64(c->in);
	uint32_t n = xr_u32(c->in);

	if (c->in->bad)
		return;
	if (!status && i->type != NF3REG)
		status = NFS3ERR_INVAL;
	if (!status)
		data_commit(i, off, n, c->node->index);
	xw_u32(c->out, status);
	put_wcc(c, &b, i);
	if (!status)
		xw_u64(c->out, c->node->verf);
}

void proc_readlink(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);

	if (c->in->bad)
		return;
	if (!status && i->type != NF3LNK)
		status = NFS3ERR_INVAL;
	xw_u32(c->out, status);
	if (!status)
		inode_accessed(c->store, i);
	put_post(c, i);
	if (!status)
		xw_opaque(c->out, i->target, strlen(i->target));
}
