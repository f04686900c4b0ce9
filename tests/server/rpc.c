/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.c - a call's head, its answer or rejection, the duplicate request cache
 *
 * The cache knows a repetition by all bytes of its record, the XID among them: a
 * client that repeats a call must not change it. It keeps only what may not be
 * executed twice, and the oldest goes first. */
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>

#include "common/hash.h"
#include "tests/server/server.h"

#define PORTMAP_PROGRAM 100000
#define PORTMAP_GETPORT 3
#define AUTH_BYTES_MAX 400
#define NOBODY 65534

#define ONCE (P(SETATTR) | P_MAKE | P(REMOVE) | P(RMDIR) | P(RENAME) | P(LINK))

/* ---- the head ------------------------------------------------------------- */

static void get_cred(struct request *rq, uint32_t flavor, const uint8_t *p, size_t n)
{
	struct xr r = { .p = p, .end = p ? p + n : NULL, .bad = !p };
	struct cred *c = &rq->cred;
	size_t len;

	*c = (struct cred){ .uid = NOBODY, .gid = NOBODY };
	if (flavor != AUTH_UNIX)
		return;
	xr_u32(&r);
	xr_opaque(&r, 255, &len);
	c->uid = xr_u32(&r);
	c->gid = xr_u32(&r);
	c->ngroups = xr_u32(&r);
	if (c->ngroups > GROUPS_MAX)
		r.bad = true;
	for (unsigned n_group = 0; n_group < c->ngroups && !r.bad; n_group++)
		c->groups[n_group] = xr_u32(&r);
	if (r.bad)
		rq->args.bad = true;
}

static uint32_t bit_of(const struct request *rq)
{
	if (rq->prog == NFS_PROGRAM)
		return rq->proc < 22 ? 1u << rq->proc : 0;
	return rq->prog == MOUNT_PROGRAM ? P_MNT : 0;
}

bool rpc_parse(struct request *rq)
{
	struct xr *r = &rq->args;
	uint32_t type, version, flavor;
	const uint8_t *p;
	size_t n;

	*r = (struct xr){ .p = rq->p, .end = rq->p + rq->len };
	rq->xid = xr_u32(r);
	type = xr_u32(r);
	version = xr_u32(r);
	rq->prog = xr_u32(r);
	rq->vers = xr_u32(r);
	rq->proc = xr_u32(r);
	flavor = xr_u32(r);
	p = xr_opaque(r, AUTH_BYTES_MAX, &n);
	get_cred(rq, flavor, p, n);
	xr_u32(r);
	xr_opaque(r, AUTH_BYTES_MAX, &n);
	rq->bit = bit_of(rq);
	rq->key = hash_bytes(rq->p, rq->len, rq->node->index) | 1;
	return !r->bad && type == CALL && version == RPC_MSG_VERSION;
}

/* ---- the duplicate request cache --------------------------------------------- */

static struct drc_entry *drc_find(struct server *srv, uint64_t key)
{
	for (unsigned n = 0; n < DRC_ENTRIES; n++)
		if (srv->drc[n].key == key)
			return &srv->drc[n];
	return NULL;
}

static void drc_keep(struct server *srv, uint64_t key, const struct xw *reply)
{
	struct drc_entry *e = &srv->drc[srv->drc_next++ % DRC_ENTRIES];

	e->key = key;
	e->reply = grow(e->reply, reply->len);
	e->len = reply->len;
	memcpy(e->reply, reply->p, reply->len);
}

void drc_clear(struct server *srv)
{
	for (unsigned n = 0; n < DRC_ENTRIES; n++) {
		free(srv->drc[n].reply);
		srv->drc[n] = (struct drc_entry){ 0 };
	}
}

/* ---- the answer ----------------------------------------------------------------- */

static void put_accepted(struct request *rq, struct xw *out, uint32_t stat)
{
	bool nonsense = fault_hit(&rq->srv->faults, F_short_verf, rq->bit);

	xw_u32(out, rq->xid);
	xw_u32(out, REPLY);
	xw_u32(out, MSG_ACCEPTED);
	xw_u32(out, AUTH_NONE);
	xw_u32(out, nonsense ? 1u << 31 : 0);
	xw_u32(out, stat);
	if (stat == PROG_MISMATCH) {
		xw_u32(out, 3);
		xw_u32(out, 3);
	}
}

static void put_denied(struct request *rq, struct xw *out)
{
	xw_u32(out, rq->xid);
	xw_u32(out, REPLY);
	xw_u32(out, MSG_DENIED);
	xw_u32(out, AUTH_ERROR);
	xw_u32(out, AUTH_REJECTEDCRED);
}

static bool rejected(struct request *rq, struct xw *out)
{
	static const struct {
		enum fault fault;
		uint32_t stat;
	} table[] = { { F_prog_mismatch, PROG_MISMATCH },
		      { F_garbage_args, GARBAGE_ARGS },
		      { F_system_err, SYSTEM_ERR } };

	if (fault_hit(&rq->srv->faults, F_auth_error, rq->bit)) {
		put_denied(rq, out);
		return true;
	}
	for (unsigned n = 0; n < sizeof table / sizeof *table; n++) {
		if (fault_hit(&rq->srv->faults, table[n].fault, rq->bit)) {
			put_accepted(rq, out, table[n].stat);
			return true;
		}
	}
	return false;
}

/* A status without execution, and a result that tells nothing else. */
static bool refused(struct request *rq, struct xw *out)
{
	static const uint8_t words[22] = { 0, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2,
					   2, 2, 2, 4, 3, 1, 1, 1, 1, 1, 2 };
	static const struct {
		enum fault fault;
		uint32_t status;
	} table[] = { { F_jukebox, NFS3ERR_JUKEBOX },
		      { F_stale, NFS3ERR_STALE },
		      { F_serverfault, NFS3ERR_SERVERFAULT } };

	if (rq->bit == P_MNT || !rq->proc)
		return false;
	for (unsigned n = 0; n < sizeof table / sizeof *table; n++) {
		if (!fault_hit(&rq->srv->faults, table[n].fault, rq->bit))
			continue;
		put_accepted(rq, out, SUCCESS);
		xw_u32(out, table[n].status);
		for (unsigned w = 0; w < words[rq->proc]; w++)
			xw_u32(out, 0);
		return true;
	}
	return false;
}

/* What the next opaque of the result says of its length; READ has its own idea of 1. */
static uint32_t lie_for(struct request *rq)
{
	if (fault_hit(&rq->srv->faults, F_huge_opaque, rq->bit))
		return 1u << 31;
	if (!fault_hit(&rq->srv->faults, F_long_opaque, rq->bit))
		return 0;
	if (rq->proc == NFS3_READ)
		return 1;
	return rq->bit & (P_LIST | P(READLINK)) ? 4000 : 64;
}

static void execute(struct request *rq, struct xw *out)
{
	struct call c = { .srv = rq->srv,
			  .store = &rq->srv->store,
			  .node = rq->node,
			  .cred = &rq->cred,
			  .bit = rq->bit,
			  .in = &rq->args,
			  .out = out };

	put_accepted(rq, out, SUCCESS);
	if (rq->prog == MOUNT_PROGRAM) {
		proc_mount(&c, rq->proc);
	} else {
		c.no_attr = fault_hit(&rq->srv->faults, F_no_attr, rq->bit);
		c.no_handle = fault_hit(&rq->srv->faults, F_no_handle, rq->bit);
		out->lie = lie_for(rq);
		nfs_procs[rq->proc](&c);
		out->lie = 0;
	}
	if (rq->args.bad) {
		out->len = 0;
		put_accepted(rq, out, GARBAGE_ARGS);
	}
}

static void answer_portmap(struct request *rq, struct xw *out)
{
	uint32_t prog = xr_u32(&rq->args);

	put_accepted(rq, out, SUCCESS);
	if (rq->proc == PORTMAP_GETPORT)
		xw_u32(out, prog == NFS_PROGRAM || prog == MOUNT_PROGRAM ? rq->node->port : 0);
}

static void answer_nfs(struct request *rq, struct xw *out)
{
	bool once = rq->srv->drc_on && rq->prog == NFS_PROGRAM && (rq->bit & ONCE);
	struct drc_entry *e = once ? drc_find(rq->srv, rq->key) : NULL;

	if (e) {
		rq->srv->drc_hits++;
		xw_fixed(out, e->reply, e->len);
		return;
	}
	if (refused(rq, out))
		return;
	execute(rq, out);
	if (once)
		drc_keep(rq->srv, rq->key, out);
}

void rpc_answer(struct request *rq, struct xw *out)
{
	bool nfs = rq->prog == NFS_PROGRAM, mount = rq->prog == MOUNT_PROGRAM;

	for (unsigned n = 0; n < 24; n++)
		rq->srv->calls[n] += rq->bit == 1u << n;
	if (rejected(rq, out))
		return;
	if (rq->prog == PORTMAP_PROGRAM && rq->vers == 2)
		answer_portmap(rq, out);
	else if (!nfs && !mount)
		put_accepted(rq, out, PROG_UNAVAIL);
	else if (rq->vers != 3)
		put_accepted(rq, out, PROG_MISMATCH);
	else if (rq->proc >= (nfs ? 22u : 6u))
		put_accepted(rq, out, PROC_UNAVAIL);
	else
		answer_nfs(rq, out);
}
