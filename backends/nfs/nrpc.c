/* SPDX-License-Identifier: Apache-2.0 */
/* nrpc.c - one synchronous call, see nfs_impl.h. The caller's thread encodes,
 * submits, and sleeps until the connection's thread wakes it. JUKEBOX ("come
 * back later") never gets out of here: the request is sent again, as a new one. So is
 * one about a root that is had again under another handle (root.c). */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/stats.h"

enum { POLL_MS = 250, JUKEBOX_MIN_MS = 500, JUKEBOX_MAX_MS = 5000 };

uint64_t be_nfs_hash(const struct nfs_handle *fh)
{
	return hash_bytes(fh->data, fh->len, 1);
}

struct nconn *be_nfs_conn(struct nfs_backend *b, const struct nfs_handle *fh)
{
	return b->conns[b->nconns == 1 ? 0 : be_nfs_hash(fh) % b->nconns];
}

static void count_call(uint32_t proc)
{
	switch (proc) {
	case NFS3_GETATTR:
		return stats_inc(STAT_nfs_getattr);
	case NFS3_LOOKUP:
		return stats_inc(STAT_nfs_lookup);
	case NFS3_ACCESS:
		return stats_inc(STAT_nfs_access);
	case NFS3_READ:
		return stats_inc(STAT_nfs_read);
	case NFS3_WRITE:
		return stats_inc(STAT_nfs_write);
	case NFS3_COMMIT:
		return stats_inc(STAT_nfs_commit);
	case NFS3_READDIR:
		return stats_inc(STAT_nfs_readdir);
	case NFS3_READDIRPLUS:
		return stats_inc(STAT_nfs_readdirplus);
	default:
		return;
	}
}

static void begin_with(struct nrpc *r, const struct nfs_proc *proc, const struct be_cred *cred)
{
	r->call = ncall_new(&r->b->pool);
	if (!r->call) {
		r->rc = -ENOMEM;
		enc_init(&r->enc, NULL, 0);
		return;
	}
	enc_init(&r->enc, r->call->args, r->call->args_cap);
	enc_call(&r->enc, proc, cred, r->b->machine);
	if (r->b->sync_limit_ms)
		r->deadline_ms = clock_ms() + r->b->sync_limit_ms;
}

void nrpc_begin_on(struct nrpc *r, struct nfs_backend *b, struct nconn *conn,
		   const struct nfs_proc *proc)
{
	*r = (struct nrpc){ .b = b, .conn = conn };
	begin_with(r, proc, b->self);
}

void nrpc_begin(struct nrpc *r, struct nfs_backend *b, const struct be_call *call, uint32_t proc,
		struct nfs_node *node)
{
	nrpc_begin_fh(r, b, call, proc, &node->fh);
	r->node = node;
}

void nrpc_begin_fh(struct nrpc *r, struct nfs_backend *b, const struct be_call *call, uint32_t proc,
		   const struct nfs_handle *fh)
{
	struct nfs_proc p = { NFS_PROGRAM, NFS_V3, proc };

	*r = (struct nrpc){ .b = b, .conn = be_nfs_conn(b, fh) };
	r->interrupted = call ? call->interrupted : NULL;
	count_call(proc);
	begin_with(r, &p, call && call->cred ? call->cred : b->self);
}

void be_nfs_begin_async(struct nfs_backend *b, struct ncall *call, uint32_t proc,
			const struct be_cred *cred, struct enc *enc)
{
	struct nfs_proc p = { NFS_PROGRAM, NFS_V3, proc };

	count_call(proc);
	enc_init(enc, call->args, call->args_cap);
	enc_call(enc, &p, cred, b->machine);
}

void nrpc_reserve(struct nrpc *r, size_t args_cap, size_t reply_cap)
{
	size_t len = r->enc.len;
	uint8_t *old;

	if (r->rc)
		return;
	old = r->call->args;
	r->rc = ncall_reserve(r->call, args_cap, reply_cap);
	if (r->rc || r->call->args == old)
		return;
	/* The head was written into the inline buffer, which stays. */
	enc_init(&r->enc, r->call->args, r->call->args_cap);
	enc_raw(&r->enc, old, len);
}

void nrpc_handle(struct nrpc *r, const struct nfs_node *node)
{
	struct nfs_handle fh;
	uint32_t gen = nnode_handle(node, &fh);
	size_t at = r->enc.len;

	enc_handle(&r->enc, &fh);
	if (!nroot_is(node))
		return;
	assert(r->nroots < ARRAY_LEN(r->root_at));
	r->root_gen = r->nroots ? r->root_gen : gen;
	r->root_at[r->nroots++] = at;
}

void nrpc_dirop(struct nrpc *r, const struct nfs_node *dir, const char *name)
{
	nrpc_handle(r, dir);
	enc_str(&r->enc, name);
}

/* Puts the root's present handle where its old one stands in the arguments. */
static void renew_handles(struct nrpc *r)
{
	struct nfs_handle fh;
	size_t moved = 0;

	r->root_gen = nnode_handle(atomic_load(&r->b->root_node), &fh);
	for (unsigned i = 0; i < r->nroots; i++) {
		r->root_at[i] += moved;
		moved += enc_replace_handle(&r->enc, r->root_at[i], &fh);
	}
	if (r->enc.full)
		r->rc = -ENAMETOOLONG;
}

static bool interrupted(const struct nrpc *r)
{
	return r->interrupted && atomic_load_explicit(r->interrupted, memory_order_relaxed);
}

/* 0, or why waiting should end. */
static int give_up(const struct nrpc *r)
{
	if (interrupted(r))
		return -EINTR;
	return r->deadline_ms && clock_ms() >= r->deadline_ms ? -ETIMEDOUT : 0;
}

static int submit_and_wait(struct nrpc *r)
{
	r->call->done = ncall_finish;
	nconn_submit(r->conn, ncall_get(r->call), 0);
	while (!ncall_wait(r->call, clock_ms() + POLL_MS)) {
		int rc = give_up(r);

		if (!rc)
			continue;
		nconn_abandon(r->conn, r->call);
		return rc;
	}
	return r->call->error;
}

static int pause_ms(const struct nrpc *r, unsigned ms)
{
	uint64_t end = clock_ms() + ms;
	int rc = 0;

	while (!rc && clock_ms() < end) {
		poll(NULL, 0, ms < POLL_MS ? (int)ms : POLL_MS);
		rc = give_up(r);
	}
	return rc;
}

static int run_once(struct nrpc *r)
{
	uint32_t xid;
	int rc;

	r->stamp = nattr_stamp(r->b);
	rc = submit_and_wait(r);
	if (rc)
		return rc;
	r->resent |= r->call->resent;
	dec_init(&r->dec, r->call->reply, r->call->reply_len);
	rc = dec_reply_head(&r->dec, &xid);
	if (rc)
		return rc;
	r->status = dec_u32(&r->dec);
	return r->dec.bad ? -EIO : 0;
}

static void run_patiently(struct nrpc *r)
{
	unsigned delay = JUKEBOX_MIN_MS;

	enc_set_marker(&r->enc, 0);
	r->call->args_len = r->enc.len;
	while (!(r->rc = run_once(r)) && r->status == NFS3ERR_JUKEBOX) {
		r->rc = pause_ms(r, delay);
		if (r->rc)
			break;
		delay = delay * 2 < JUKEBOX_MAX_MS ? delay * 2 : JUKEBOX_MAX_MS;
		ncall_rearm(r->call);
	}
}

static bool is_stale(const struct nrpc *r)
{
	return !r->rc && be_nfs_errno(r->status) == -ESTALE;
}

int nrpc_run(struct nrpc *r)
{
	if (!r->rc && r->enc.full)
		r->rc = -ENAMETOOLONG;
	if (r->rc)
		return r->rc;
	run_patiently(r);
	if (is_stale(r) && r->nroots && !nroot_renew(r->b, r->root_gen, r->interrupted)) {
		ncall_rearm(r->call);
		renew_handles(r);
		if (!r->rc)
			run_patiently(r);
	}
	if (r->nroots && nrpc_ok(r))
		nroot_seen_alive(r->b);
	if (is_stale(r) && r->node)
		nname_stale(r->node);
	return r->rc;
}

bool nrpc_ok(const struct nrpc *r)
{
	return !r->rc && r->status == NFS3_OK;
}

int nrpc_result(const struct nrpc *r)
{
	if (r->rc)
		return r->rc;
	return r->dec.bad ? -EIO : be_nfs_errno(r->status);
}

void nrpc_end(struct nrpc *r)
{
	ncall_put(r->call);
	r->call = NULL;
}
