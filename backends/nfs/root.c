/* SPDX-License-Identifier: Apache-2.0 */
/* root.c - the root outlives its file handle
 *
 * A server that calls the root's handle stale has taken the export away, or gives
 * out other handles now. No lookup leads to the root, so it is had as at the start,
 * by MNT. Until then its operations fail with ESTALE, and dirty data is kept.
 *
 *            stale, nroot_renew()
 *   ALIVE --------------------------> ASKING (one thread; the others wait)
 *    ^  ^                              |  |
 *    |  `-- GETATTR or MNT: the same --'  |  refused, no answer, another object
 *    |      object; generation grows      v
 *    `-- nroot_renew(), later; or ------ LOST
 *        nroot_seen_alive()
 *
 * Between two rounds of ASKING lie RENEW_PAUSE_MS.
 *
 * The node stays: the table knows it by its first handle, nroot_find() by the
 * present one. A root with another file number is another directory, and names and
 * files that programs hold would silently mean others there: it is refused. */
#include <errno.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum { RENEW_PAUSE_MS = 1000, POLL_MS = 250 };

void nroot_init(struct nfs_backend *b)
{
	mutex_init(&b->root_lock, LOCK_be_tree);
	cond_init(&b->root_renewed);
}

void nroot_done(struct nfs_backend *b)
{
	cond_done(&b->root_renewed);
	mutex_done(&b->root_lock);
}

void nroot_set(struct nfs_backend *b, struct nfs_node *node)
{
	struct nfs_node *none = NULL;

	be_node_get(&node->base);
	if (!atomic_compare_exchange_strong(&b->root_node, &none, node))
		be_node_put(&node->base);
}

bool nroot_is(const struct nfs_node *node)
{
	return node == atomic_load(&nnode_backend(node)->root_node);
}

uint32_t nnode_handle(const struct nfs_node *node, struct nfs_handle *out)
{
	struct nfs_backend *b = nnode_backend(node);
	uint32_t gen;

	if (!nroot_is(node)) {
		*out = node->fh;
		return 0;
	}
	mutex_lock(&b->root_lock);
	*out = b->root;
	gen = atomic_load(&b->root_gen);
	mutex_unlock(&b->root_lock);
	return gen;
}

struct nfs_node *nroot_find(struct nfs_backend *b, const struct nfs_handle *fh)
{
	struct nfs_node *root = NULL;

	if (!atomic_load(&b->root_gen))
		return NULL; /* the table knows it */
	mutex_lock(&b->root_lock);
	if (b->root.len == fh->len && !memcmp(b->root.data, fh->data, fh->len))
		root = atomic_load(&b->root_node);
	mutex_unlock(&b->root_lock);
	if (root)
		be_node_get(&root->base);
	return root;
}

/* ---- asking ------------------------------------------------------------ */

/* 0: fh is the root that we know. -ESTALE: nothing, or something else. */
static int check(struct nfs_backend *b, const atomic_bool *interrupted, const struct nfs_handle *fh,
		 struct err *err)
{
	const struct nfs_node *root = atomic_load(&b->root_node);
	struct be_attr attr = { .ino = 0 };
	struct nrpc r;
	int rc;

	nrpc_begin_fh(&r, b, NULL, NFS3_GETATTR, fh);
	r.interrupted = interrupted;
	enc_handle(&r.enc, fh);
	if (!nrpc_run(&r) && r.status == NFS3_OK)
		dec_attr(&r.dec, &attr);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (rc)
		return err_set(err, rc, "%s", strerror(-rc));
	if (attr.ino != root->base.ino || (attr.mode & S_IFMT) != S_IFDIR)
		return err_set(err, -ESTALE,
			       "its root is another directory now (%llu, was %llu): to be "
			       "mounted anew",
			       (unsigned long long)attr.ino, (unsigned long long)root->base.ino);
	return 0;
}

static int ask(struct nfs_backend *b, const atomic_bool *interrupted, struct nfs_handle *fh,
	       struct err *err)
{
	int rc = check(b, interrupted, fh, err);

	if (rc != -ESTALE)
		return rc;
	rc = be_nfs_mount_folder(b, b->export, fh, err);
	return rc ? rc : check(b, interrupted, fh, err);
}

static void say_again(const struct nfs_backend *b)
{
	log_info("nfs: export '%s' of %s is there again", b->export, b->target.host);
}

void nroot_seen_alive(struct nfs_backend *b)
{
	if (atomic_load_explicit(&b->root_lost, memory_order_relaxed) &&
	    atomic_exchange(&b->root_lost, false))
		say_again(b);
}

/* Takes the outcome over; says what is news. */
static void settle(struct nfs_backend *b, int rc, const struct nfs_handle *fh, const char *why)
{
	bool news;

	mutex_lock(&b->root_lock);
	news = rc != -EINTR && atomic_exchange(&b->root_lost, rc != 0) != (rc != 0);
	if (!rc) {
		b->root = *fh;
		atomic_fetch_add(&b->root_gen, 1);
	}
	b->root_next_ms = rc == -EINTR ? 0 : clock_ms() + RENEW_PAUSE_MS;
	b->root_asking = false;
	cond_broadcast(&b->root_renewed);
	mutex_unlock(&b->root_lock);
	if (!news)
		return;
	if (rc)
		log_error("nfs: export '%s' of %s is gone: %s; operations fail, dirty data is "
			  "kept",
			  b->export, b->target.host, why);
	else
		say_again(b);
}

/* root_lock is held. 0: the caller asks; 1: somebody succeeded since gen; -errno.
 * Who finds the root lost a moment ago fails; who saw it alive waits for its turn. */
static int turn_locked(struct nfs_backend *b, uint32_t gen, const atomic_bool *interrupted)
{
	for (;;) {
		uint64_t now = clock_ms(), wake = now + POLL_MS;

		if (atomic_load(&b->root_gen) != gen)
			return 1;
		if (!b->root_asking && now >= b->root_next_ms)
			return 0;
		if (!b->root_asking && atomic_load(&b->root_lost))
			return -ESTALE;
		if (interrupted && atomic_load(interrupted))
			return -EINTR;
		if (!b->root_asking && b->root_next_ms < wake)
			wake = b->root_next_ms;
		cond_wait_until(&b->root_renewed, &b->root_lock, wake);
	}
}

int nroot_renew(struct nfs_backend *b, uint32_t gen, const atomic_bool *interrupted)
{
	struct err err = { "" };
	struct nfs_handle fh;
	int rc;

	mutex_lock(&b->root_lock);
	rc = turn_locked(b, gen, interrupted);
	if (!rc)
		b->root_asking = true;
	fh = b->root;
	mutex_unlock(&b->root_lock);
	if (rc)
		return rc > 0 ? 0 : rc;
	rc = ask(b, interrupted, &fh, &err);
	settle(b, rc, &fh, err.text);
	if (rc)
		return rc == -EINTR ? rc : -ESTALE;
	nname_stale(atomic_load(&b->root_node));
	return 0;
}
