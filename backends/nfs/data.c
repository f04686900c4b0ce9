/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - READ, WRITE, COMMIT: asynchronous, payload never copied
 *
 * One struct ncall serves one be_io from submit to done; a short answer, or one
 * longer than a request may be, sends it again for the rest. It keeps its state in
 * call->scratch, laid out as struct ndata. All of it runs on one thread at a time:
 * the submitter's, then the connection's. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"

enum { RESTARTS_MAX = 8, JUKEBOX_MIN_MS = 500, JUKEBOX_MAX_MS = 5000 };
enum { STRIPE_BYTES = 1 << 20 };

struct ndata {
	uint64_t bytes;    /* done so far */
	uint64_t verifier; /* of them */
	struct nstamp stamp;
	uint32_t stable;   /* the weakest of them */
	uint32_t delay_ms; /* of the last JUKEBOX */
	uint32_t restarts;
};

static_assert(sizeof(struct ndata) <= sizeof((struct ncall *)0)->scratch, "fits into a call");

static struct ndata *ndata(struct ncall *call)
{
	return (struct ndata *)call->scratch;
}

static void send_read(struct ncall *call, uint64_t delay_ms);
static void send_write(struct ncall *call, uint64_t delay_ms);
static void send_commit(struct ncall *call, uint64_t delay_ms);

static void io_finish(struct ncall *call, ssize_t result)
{
	struct be_io *io = call->priv;

	if (call->kind != NCALL_READ)
		nattr_end(be_nfs_node(io->node));
	if (result == -ESTALE)
		nname_stale(be_nfs_node(io->node));
	ncall_put(call);
	io->be_priv = NULL;
	io->result = result;
	io->done(io);
}

static uint64_t jukebox_delay(struct ncall *call)
{
	struct ndata *s = ndata(call);

	s->delay_ms = s->delay_ms ? s->delay_ms * 2 : JUKEBOX_MIN_MS;
	if (s->delay_ms > JUKEBOX_MAX_MS)
		s->delay_ms = JUKEBOX_MAX_MS;
	return s->delay_ms;
}

/* A file's WRITEs and COMMITs keep to one connection, so to one node of a cluster, whose
 * verifiers they compare. READs are spread: by megabytes, as streams ask for them. */
static struct nconn *conn_for(struct nfs_backend *b, const struct ncall *call, uint64_t off)
{
	const struct be_io *io = call->priv;
	const struct nfs_handle *fh = &be_nfs_node(io->node)->fh;

	if (call->kind != NCALL_READ || b->nconns == 1)
		return be_nfs_conn(b, fh);
	return b->conns[(be_nfs_hash(fh) + off / STRIPE_BYTES) % b->nconns];
}

static void send_call(struct ncall *call, struct enc *enc, uint64_t delay_ms)
{
	struct be_io *io = call->priv;
	struct nfs_node *node = be_nfs_node(io->node);
	struct nfs_backend *b = nnode_backend(node);

	assert(!enc->full);
	enc_set_marker(enc, call->kind == NCALL_WRITE ? (call->payload_len + 3) & ~(size_t)3 : 0);
	call->args_len = enc->len;
	ncall_rearm(call);
	ndata(call)->stamp = nattr_stamp(b);
	nconn_submit(conn_for(b, call, io->off + call->iov_off), call, delay_ms);
}

static struct ncall *call_for(struct be_io *io, enum ncall_kind kind, void (*done)(struct ncall *))
{
	struct nfs_backend *b = nnode_backend(be_nfs_node(io->node));
	struct ncall *call = ncall_new(&b->pool);

	if (!call) {
		io->result = -ENOMEM;
		return NULL;
	}
	call->kind = kind;
	call->priv = io;
	call->iov = io->iov;
	call->niov = io->niov;
	call->done = done;
	if (b->env.soft)
		call->deadline_ms = clock_ms() + b->env.timeout_ms;
	io->be_priv = call;
	return call;
}

/* ---- READ ------------------------------------------------------------ */

static void read_done(struct ncall *call)
{
	struct be_io *io = call->priv;
	const struct nfs_read_head *h = &call->head;
	struct ndata *s = ndata(call);
	int rc = call->error;

	if (rc)
		return io_finish(call, rc);
	if (h->status == NFS3ERR_JUKEBOX)
		return send_read(call, jukebox_delay(call));
	if (h->attr_valid)
		nattr_update(be_nfs_node(io->node), &h->attr, s->stamp);
	rc = be_nfs_errno(h->status);
	if (rc)
		return io_finish(call, rc);
	s->bytes += h->data_len;
	if (s->bytes == io->len || h->eof)
		return io_finish(call, (ssize_t)s->bytes);
	if (!h->data_len)
		return io_finish(call, -EIO);
	send_read(call, 0);
}

static void send_read(struct ncall *call, uint64_t delay_ms)
{
	struct be_io *io = call->priv;
	struct nfs_node *node = be_nfs_node(io->node);
	struct nfs_backend *b = nnode_backend(node);
	size_t left = io->len - ndata(call)->bytes;
	struct enc e;

	call->iov_off = ndata(call)->bytes;
	call->payload_len = left < b->base.limits.read_max ? left : b->base.limits.read_max;
	be_nfs_begin_async(b, call, NFS3_READ, io->cred ? io->cred : b->self, &e);
	enc_handle(&e, &node->fh);
	enc_u64(&e, io->off + call->iov_off);
	enc_u32(&e, (uint32_t)call->payload_len);
	send_call(call, &e, delay_ms);
}

enum be_submit be_nfs_submit_read(struct backend *be, struct be_io *io)
{
	struct ncall *call;

	(void)be;
	if (!io->len) {
		io->result = 0;
		return BE_DONE;
	}
	call = call_for(io, NCALL_READ, read_done);
	if (!call)
		return BE_DONE;
	send_read(call, 0);
	return BE_QUEUED;
}

/* ---- replies with wcc ------------------------------------------------ */

static int reply_start(struct ncall *call, struct dec *d)
{
	uint32_t xid;

	dec_init(d, call->reply, call->reply_len);
	return call->error ? call->error : dec_reply_head(d, &xid);
}

/* The start of a WRITE's or COMMIT's reply: -errno, and what it says of the file. */
static int wcc_reply(struct ncall *call, struct dec *d, uint32_t *status)
{
	struct be_io *io = call->priv;
	struct nfs_wcc wcc;
	int rc = reply_start(call, d);

	if (rc) {
		nattr_expire(be_nfs_node(io->node));
		return rc;
	}
	*status = dec_u32(d);
	if (*status == NFS3ERR_JUKEBOX)
		return 0;
	dec_wcc(d, &wcc);
	if (d->bad)
		return -EIO;
	nattr_wcc(be_nfs_node(io->node), &wcc, ndata(call)->stamp);
	io->post_valid = wcc.post_valid;
	io->post = wcc.post;
	nattr_own_view(be_nfs_node(io->node), &io->post);
	return be_nfs_errno(*status);
}

/* ---- WRITE ----------------------------------------------------------- */

/* Counts what one answer acknowledged. Parts under two verifiers are worth
 * nothing together, as the server may have lost the first: all is written again. */
static int write_count(struct ncall *call, uint32_t count, uint32_t stable, uint64_t verifier)
{
	struct ndata *s = ndata(call);

	if (!count || count > call->payload_len || stable > FILE_SYNC)
		return -EIO;
	if (s->bytes && verifier != s->verifier && (stable == UNSTABLE || s->stable == UNSTABLE)) {
		s->bytes = 0;
		return ++s->restarts > RESTARTS_MAX ? -EIO : 0;
	}
	s->stable = !s->bytes || stable < s->stable ? stable : s->stable;
	s->verifier = verifier;
	s->bytes += count;
	return 0;
}

static void write_done(struct ncall *call)
{
	struct be_io *io = call->priv;
	struct ndata *s = ndata(call);
	uint32_t status = 0, count, stable;
	uint64_t verifier;
	struct dec d;
	int rc = wcc_reply(call, &d, &status);

	if (rc)
		return io_finish(call, rc);
	if (status == NFS3ERR_JUKEBOX)
		return send_write(call, jukebox_delay(call));
	count = dec_u32(&d);
	stable = dec_u32(&d);
	verifier = dec_u64(&d);
	rc = d.bad ? -EIO : write_count(call, count, stable, verifier);
	if (rc)
		return io_finish(call, rc);
	if (s->bytes < io->len)
		return send_write(call, 0);
	io->stable = s->stable == FILE_SYNC ? BE_FILE_SYNC :
		     s->stable == DATA_SYNC ? BE_DATA_SYNC :
					      BE_UNSTABLE;
	io->verifier = s->verifier;
	io_finish(call, (ssize_t)io->len);
}

static void send_write(struct ncall *call, uint64_t delay_ms)
{
	static const uint32_t how[] = {
		[BE_UNSTABLE] = UNSTABLE, [BE_DATA_SYNC] = DATA_SYNC, [BE_FILE_SYNC] = FILE_SYNC
	};
	struct be_io *io = call->priv;
	struct nfs_node *node = be_nfs_node(io->node);
	struct nfs_backend *b = nnode_backend(node);
	size_t left = io->len - ndata(call)->bytes;
	struct enc e;

	call->iov_off = ndata(call)->bytes;
	call->payload_len = left < b->base.limits.write_max ? left : b->base.limits.write_max;
	be_nfs_begin_async(b, call, NFS3_WRITE, io->cred ? io->cred : b->self, &e);
	enc_handle(&e, &node->fh);
	enc_u64(&e, io->off + call->iov_off);
	enc_u32(&e, (uint32_t)call->payload_len);
	enc_u32(&e, how[io->want]);
	enc_u32(&e, (uint32_t)call->payload_len);
	send_call(call, &e, delay_ms);
}

enum be_submit be_nfs_submit_write(struct backend *be, struct be_io *io)
{
	struct ncall *call;

	(void)be;
	io->post_valid = false;
	io->stable = BE_FILE_SYNC;
	if (!io->len) {
		io->result = 0;
		return BE_DONE;
	}
	call = call_for(io, NCALL_WRITE, write_done);
	if (!call)
		return BE_DONE;
	nattr_begin(be_nfs_node(io->node));
	send_write(call, 0);
	return BE_QUEUED;
}

/* ---- COMMIT ---------------------------------------------------------- */

static void commit_done(struct ncall *call)
{
	struct be_io *io = call->priv;
	uint32_t status = 0;
	struct dec d;
	int rc = wcc_reply(call, &d, &status);

	if (!rc && status == NFS3ERR_JUKEBOX)
		return send_commit(call, jukebox_delay(call));
	if (!rc) {
		io->verifier = dec_u64(&d);
		rc = d.bad ? -EIO : 0;
	}
	io_finish(call, rc);
}

static void send_commit(struct ncall *call, uint64_t delay_ms)
{
	struct be_io *io = call->priv;
	struct nfs_node *node = be_nfs_node(io->node);
	struct nfs_backend *b = nnode_backend(node);
	bool whole = io->len > UINT32_MAX;
	struct enc e;

	be_nfs_begin_async(b, call, NFS3_COMMIT, io->cred ? io->cred : b->self, &e);
	enc_handle(&e, &node->fh);
	enc_u64(&e, whole ? 0 : io->off);
	enc_u32(&e, whole ? 0 : (uint32_t)io->len);
	send_call(call, &e, delay_ms);
}

enum be_submit be_nfs_submit_commit(struct backend *be, struct be_io *io)
{
	struct ncall *call = call_for(io, NCALL_PLAIN, commit_done);

	(void)be;
	if (!call)
		return BE_DONE;
	call->niov = 0;
	io->post_valid = false;
	nattr_begin(be_nfs_node(io->node));
	send_commit(call, 0);
	return BE_QUEUED;
}
