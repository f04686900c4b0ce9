/* SPDX-License-Identifier: Apache-2.0 */
/* attr.c - cached attributes of nodes, and what replies prove about them
 *
 * 1. A reply is taken unless attributes were applied after its request was sent;
 *    then only when its ctime is later. With the same ctime and other attributes (one tick of
 *    the server's clock), or when it is the reply to a change of ours (the clock was set
 *    back), nobody knows which is newer, and the server is asked before any is believed.
 * 2. Others changed a node when its mtime, ctime or size moved and no modifying
 *    call of ours was in flight between request and reply; or when the attributes
 *    before our only modifying call are not the ones that we knew. They are told
 *    to the layer above (env.changed), and a directory's names are forgotten.
 * 3. Attributes are believed for a while that doubles each time the server
 *    confirms them and falls back to the least when they changed.
 * 4. Where the server's clock ticks coarsely, a directory that looks the same when its
 *    attributes were due may have other names all the same; they are forgotten. */
#include <errno.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"

enum { FILE_MIN_MS = 3000, DIR_MIN_MS = 30000, FRESH_MAX_MS = 60000 };

struct nstamp nattr_stamp(struct nfs_backend *b)
{
	return (struct nstamp){ .clock = atomic_load(&b->clock), .ms = clock_ms() };
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return timespec_cmp(a, b) == 0;
}

static bool same_data(const struct be_attr *a, const struct be_attr *b)
{
	return a->size == b->size && same_time(&a->mtime, &b->mtime);
}

static uint64_t fresh_min(const struct nfs_node *node)
{
	return node->base.type == S_IFDIR ? DIR_MIN_MS : FILE_MIN_MS;
}

/* What differs between what is known and attr, as BE_CHANGED_* bits. */
static unsigned diff_locked(const struct nfs_node *node, const struct be_attr *attr)
{
	if (!same_data(&node->attr, attr))
		return BE_CHANGED_ATTR |
		       (node->base.type == S_IFDIR ? BE_CHANGED_NAMES : BE_CHANGED_DATA);
	if (!node->own_ctime && !same_time(&node->attr.ctime, &attr->ctime))
		return BE_CHANGED_ATTR;
	return 0;
}

/* Rule 4. */
static void names_due_locked(struct nfs_node *node)
{
	if (node->base.type != S_IFDIR ||
	    !be_time_hides_changes(&node->base.be->limits, &node->attr.ctime, node->seen_ms,
				   node->names_ms))
		return;
	node->names_ms = clock_ms();
	atomic_fetch_add(&node->names_gen, 1);
}

static void store_locked(struct nfs_node *node, const struct be_attr *attr, uint64_t sent_ms,
			 bool ours)
{
	bool moved = !node->attr_known || !same_data(&node->attr, attr) ||
		     !same_time(&node->attr.ctime, &attr->ctime);

	if (moved)
		node->seen_ms = clock_ms();
	else if (sent_ms >= node->fresh_until_ms)
		names_due_locked(node);
	/* Doubled only by a check that came when it was due. */
	if (!node->fresh_ms || (moved && !ours))
		node->fresh_ms = fresh_min(node);
	else if (!moved && sent_ms >= node->fresh_until_ms)
		node->fresh_ms = node->fresh_ms * 2 < FRESH_MAX_MS ? node->fresh_ms * 2 :
								     FRESH_MAX_MS;
	node->attr = *attr;
	node->attr_known = true;
	node->own_ctime = false;
	node->fresh_until_ms = sent_ms + node->fresh_ms;
	if (moved)
		node->applied_clock = atomic_fetch_add(&nnode_backend(node)->clock, 1) + 1;
}

/* Rule 1, for a reply that was overtaken. */
static bool newer_locked(const struct nfs_node *node, const struct be_attr *attr)
{
	return timespec_cmp(&attr->ctime, &node->attr.ctime) > 0;
}

static bool same_as_known_locked(const struct nfs_node *node, const struct be_attr *attr)
{
	return same_data(&node->attr, attr) && same_time(&node->attr.ctime, &attr->ctime) &&
	       node->attr.mode == attr->mode && node->attr.nlink == attr->nlink &&
	       node->attr.uid == attr->uid && node->attr.gid == attr->gid;
}

static void expire_locked(struct nfs_node *node)
{
	node->fresh_until_ms = 0;
	node->own_ctime = true;
}

static void tell(struct nfs_node *node, unsigned what)
{
	struct nfs_backend *b = nnode_backend(node);

	if (what & BE_CHANGED_NAMES)
		atomic_fetch_add(&node->names_gen, 1);
	if (what && b->env.changed)
		b->env.changed(b->env.changed_arg, &node->base, what);
}

void nattr_update(struct nfs_node *node, const struct be_attr *attr, struct nstamp stamp)
{
	unsigned what = 0;
	bool overtaken;

	if ((attr->mode & S_IFMT) != node->base.type)
		return;
	mutex_lock(&node->lock);
	overtaken = node->attr_known && node->applied_clock > stamp.clock;
	if (!overtaken || newer_locked(node, attr)) {
		if (node->attr_known && !overtaken && !node->modifying)
			what = diff_locked(node, attr);
		store_locked(node, attr, stamp.ms, false);
	} else if (same_time(&attr->ctime, &node->attr.ctime) &&
		   !same_as_known_locked(node, attr)) {
		expire_locked(node);
	}
	mutex_unlock(&node->lock);
	tell(node, what);
}

void nattr_begin(struct nfs_node *node)
{
	mutex_lock(&node->lock);
	node->modifying++;
	mutex_unlock(&node->lock);
}

/* Rule 2 for a modifying call: without the attributes before it nothing is proved. */
static unsigned foreign_locked(const struct nfs_node *node, const struct nfs_wcc *wcc)
{
	if (!wcc->pre_valid || !node->attr_known || node->modifying > 1)
		return 0;
	if (wcc->pre_size != node->attr.size || !same_time(&wcc->pre_mtime, &node->attr.mtime))
		return BE_CHANGED_ATTR |
		       (node->base.type == S_IFDIR ? BE_CHANGED_NAMES : BE_CHANGED_DATA);
	if (!node->own_ctime && !same_time(&wcc->pre_ctime, &node->attr.ctime))
		return BE_CHANGED_ATTR;
	return 0;
}

void nattr_wcc(struct nfs_node *node, const struct nfs_wcc *wcc, struct nstamp stamp)
{
	unsigned what = 0;
	bool overtaken;

	mutex_lock(&node->lock);
	overtaken = node->attr_known && node->applied_clock > stamp.clock;
	if (!overtaken)
		what = foreign_locked(node, wcc);
	if (!wcc->post_valid || (wcc->post.mode & S_IFMT) != node->base.type) {
		expire_locked(node);
		node->attr_known = false;
	} else if (!overtaken || newer_locked(node, &wcc->post)) {
		store_locked(node, &wcc->post, stamp.ms, !what);
	} else if (!same_as_known_locked(node, &wcc->post)) {
		expire_locked(node);
	}
	mutex_unlock(&node->lock);
	tell(node, what);
}

void nattr_end(struct nfs_node *node)
{
	mutex_lock(&node->lock);
	node->modifying--;
	/* A plain reply from before this moment proves nothing about others. */
	node->applied_clock = atomic_fetch_add(&nnode_backend(node)->clock, 1) + 1;
	mutex_unlock(&node->lock);
}

void nattr_expire(struct nfs_node *node)
{
	mutex_lock(&node->lock);
	expire_locked(node);
	mutex_unlock(&node->lock);
}

/* A silly-renamed file has one name less than the server thinks. */
static void copy_locked(const struct nfs_node *node, struct be_attr *out)
{
	*out = node->attr;
	if (node->silly && out->nlink)
		out->nlink--;
}

void nattr_own_view(struct nfs_node *node, struct be_attr *attr)
{
	mutex_lock(&node->lock);
	if (node->silly && attr->nlink)
		attr->nlink--;
	mutex_unlock(&node->lock);
}

bool nattr_fresh(struct nfs_node *node, struct be_attr *out)
{
	bool fresh;

	mutex_lock(&node->lock);
	fresh = node->attr_known && clock_ms() < node->fresh_until_ms;
	if (fresh)
		copy_locked(node, out);
	mutex_unlock(&node->lock);
	return fresh;
}

bool nattr_last(struct nfs_node *node, struct be_attr *out)
{
	bool known;

	mutex_lock(&node->lock);
	known = node->attr_known;
	if (known)
		copy_locked(node, out);
	mutex_unlock(&node->lock);
	return known;
}

static int getattr_wire(struct nfs_node *node, const struct be_call *call, struct be_attr *out)
{
	struct nfs_backend *b = nnode_backend(node);
	struct nrpc r;
	int rc;

	nrpc_begin(&r, b, call, NFS3_GETATTR, node);
	nrpc_handle(&r, node);
	if (!nrpc_run(&r) && r.status == NFS3_OK)
		dec_attr(&r.dec, out);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (rc)
		return rc;
	if ((out->mode & S_IFMT) != node->base.type)
		return -ESTALE;
	nattr_update(node, out, r.stamp);
	/* Something newer may have been applied meanwhile. */
	nattr_last(node, out);
	return 0;
}

int nattr_get(struct nfs_node *node, const struct be_call *call, struct be_attr *out)
{
	unsigned flags = call ? call->flags : 0;

	if (!(flags & BE_REVALIDATE) && nattr_fresh(node, out))
		return 0;
	return flags & BE_NOWAIT ? -EAGAIN : getattr_wire(node, call, out);
}
