/* SPDX-License-Identifier: Apache-2.0 */
/* ops_remove.c - REMOVE, RMDIR, RENAME; what they take away is found first */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "backends/nfs/silly_impl.h"

#define RENAME_NOREPLACE_FLAG 1u /* RENAME_NOREPLACE of linux/fs.h */

/* For silly names on their way out; and for a release that the kernel has yet to
 * send, since close() does not wait for it. */
enum { RMDIR_STEP_MS = 10, RMDIR_WAIT_MS = 2000, RMDIR_HELD_MS = 50 };

enum { LEADS_ELSEWHERE = 1 };

/* The node that name leads to, counted; -ENOENT. */
static int find_victim(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct nfs_node **out)
{
	struct be_entry e;
	int rc;

	*out = nname_find(dir, name);
	if (*out)
		return 0;
	rc = be_nfs_lookup_wire(b, call, dir, name, &e);
	if (!rc)
		*out = be_nfs_node(e.node);
	return rc;
}

/* Between removal_begin() and removal_end(): another session may have replaced the name
 * while its node waited for its turn. */
static bool still_leads_to(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
			   const char *name, const struct nfs_node *node)
{
	struct nfs_node *now = NULL;
	bool same = !find_victim(b, call, dir, name, &now) && now == node;

	nnode_put(now);
	return same;
}

/* Is the name about to go the last one of node? A file that is open is asked
 * about anew, since others may have taken its other names. */
static int last_name(struct nfs_node *node, const struct be_call *call, bool open, bool *out)
{
	struct be_call ask = *call;
	struct be_attr attr;
	int rc = nattr_get(node, call, &attr);

	if (!rc && open && attr.nlink > 1) {
		ask.flags |= BE_REVALIDATE;
		rc = nattr_get(node, &ask, &attr);
	}
	*out = rc || attr.nlink <= 1;
	return rc;
}

/* Was the name gone when a repeated REMOVE or RMDIR came? A server that was still
 * busy with the first one may have said that it is stale. */
static bool gone_before(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
			const char *name, int rc)
{
	struct be_entry e;

	if (rc != -ESTALE)
		return rc == -ENOENT;
	rc = be_nfs_lookup_wire(b, call, dir, name, &e);
	if (!rc)
		be_node_put(e.node);
	return rc == -ENOENT;
}

/* REMOVE or RMDIR. A repeated one that finds nothing did it the first time. */
static int remove_wire(struct nfs_backend *b, const struct be_call *call, uint32_t proc,
		       struct nfs_node *dir, const char *name)
{
	struct nfs_wcc wcc = { .post_valid = false };
	struct nrpc r;
	int rc;

	nattr_begin(dir);
	nrpc_begin(&r, b, call, proc, dir);
	nrpc_dirop(&r, dir, name);
	if (!nrpc_run(&r))
		dec_wcc(&r.dec, &wcc);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (r.dec.bad)
		wcc.pre_valid = wcc.post_valid = false;
	nattr_wcc(dir, &wcc, r.stamp);
	nattr_end(dir);
	if (rc && r.resent && gone_before(b, call, dir, name, rc))
		rc = 0;
	if (!rc || rc == -ENOENT)
		nname_drop(dir, name);
	return rc;
}

/* RENAME, without a word on what it does to other nodes. */
static int rename_wire(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct nfs_node *newdir, const char *newname, bool *resent)
{
	struct nfs_wcc from = { .post_valid = false }, to = from;
	struct nrpc r;
	int rc;

	nattr_begin(dir);
	nattr_begin(newdir);
	nrpc_begin(&r, b, call, NFS3_RENAME, dir);
	nrpc_dirop(&r, dir, name);
	nrpc_dirop(&r, newdir, newname);
	if (!nrpc_run(&r)) {
		dec_wcc(&r.dec, &from);
		dec_wcc(&r.dec, &to);
	}
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (r.dec.bad)
		from.pre_valid = from.post_valid = to.pre_valid = to.post_valid = false;
	if (dir != newdir)
		nattr_wcc(dir, &from, r.stamp);
	else
		nattr_end(dir); /* counted twice, told once */
	nattr_wcc(newdir, &to, r.stamp);
	nattr_end(newdir);
	if (dir != newdir)
		nattr_end(dir);
	*resent = r.resent;
	return rc;
}

/* ---- unlink, rmdir --------------------------------------------------- */

/* Hides node, open under its last name, behind a silly one. */
static int unlink_open(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct nfs_node *node)
{
	struct nfs_silly *s = silly_new(dir, node, call->cred);
	bool resent;
	int rc;

	if (!s)
		return -ENOMEM;
	rc = rename_wire(b, call, dir, name, dir, s->name, &resent);
	if (rc && !((rc == -ENOENT || rc == -ESTALE) && resent)) {
		silly_free(s);
		return rc;
	}
	nname_drop(dir, name);
	silly_adopt(node, s);
	return 0;
}

/* Between removal_begin() and removal_end(). */
static int unlink_begun(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
			const char *name, struct nfs_node *node, bool open, bool *gone)
{
	int rc = last_name(node, call, open, gone);

	if (rc && rc != -ESTALE)
		return rc;
	if (open && *gone && node->base.type == S_IFREG && !rc)
		return unlink_open(b, call, dir, name, node);
	rc = remove_wire(b, call, NFS3_REMOVE, dir, name);
	if (!rc)
		nattr_expire(node);
	return rc;
}

/* LEADS_ELSEWHERE: nothing has happened. */
static int unlink_node(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct nfs_node *node, bool *gone)
{
	bool open;
	int rc;

	if (silly_owns_name(node, dir, name))
		return -EBUSY;
	rc = removal_begin(node, call, &open);
	if (rc)
		return rc;
	if (!still_leads_to(b, call, dir, name, node)) {
		removal_end(node, false);
		return LEADS_ELSEWHERE;
	}
	rc = unlink_begun(b, call, dir, name, node, open, gone);
	removal_end(node, !rc && *gone);
	return rc;
}

int be_nfs_unlink(struct backend *be, const struct be_call *call, struct be_node *base,
		  const char *name, struct be_removed *out)
{
	struct nfs_backend *b = be_nfs(be);
	struct nfs_node *dir = be_nfs_node(base), *node = NULL;
	bool gone;
	int rc = be_nfs_check_name(b, name);

	if (!rc && (call->flags & BE_NOWAIT))
		rc = -EAGAIN;
	if (rc)
		return rc;
	do {
		nnode_put(node);
		rc = find_victim(b, call, dir, name, &node);
		if (rc)
			return rc;
		rc = node->base.type == S_IFDIR ? -EISDIR :
						  unlink_node(b, call, dir, name, node, &gone);
	} while (rc == LEADS_ELSEWHERE);
	if (rc) {
		nnode_put(node);
		return rc;
	}
	*out = (struct be_removed){ .node = &node->base, .gone = gone };
	return 0;
}

/* RMDIR of node, which waits a while for silly names in it to go. */
static int rmdir_patiently(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
			   const char *name, struct nfs_node *node)
{
	bool swept = false;
	unsigned waited = 0;

	for (;;) {
		bool pending = atomic_load(&node->silly_pending) > 0;
		bool held = atomic_load(&node->silly_held) > 0;
		int rc = remove_wire(b, call, NFS3_RMDIR, dir, name);

		/* Perhaps it holds nothing but what a dead daemon left, and nobody sees. */
		if (rc == -ENOTEMPTY && !pending && !held && !swept) {
			swept = true;
			if (nsweep_dir(node, call))
				continue;
		}
		if (rc != -ENOTEMPTY || (!pending && !held) ||
		    waited >= (pending ? RMDIR_WAIT_MS : RMDIR_HELD_MS))
			return rc;
		if (call->interrupted && atomic_load(call->interrupted))
			return -EINTR;
		poll(NULL, 0, RMDIR_STEP_MS);
		waited += RMDIR_STEP_MS;
	}
}

int be_nfs_rmdir(struct backend *be, const struct be_call *call, struct be_node *base,
		 const char *name, struct be_removed *out)
{
	struct nfs_backend *b = be_nfs(be);
	struct nfs_node *dir = be_nfs_node(base), *node;
	int rc = be_nfs_check_name(b, name);

	if (rc)
		return rc;
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	/* By LOOKUP where need be, so that waiting and the caller know what goes. */
	rc = find_victim(b, call, dir, name, &node);
	if (rc)
		return rc;
	rc = rmdir_patiently(b, call, dir, name, node);
	if (rc) {
		nnode_put(node);
		return rc;
	}
	nattr_expire(node);
	*out = (struct be_removed){ .node = &node->base, .gone = true };
	return 0;
}

/* ---- rename ---------------------------------------------------------- */

struct rename {
	struct nfs_backend *b;
	const struct be_call *call;
	struct nfs_node *dir, *newdir;
	const char *name, *newname;
	struct nfs_node *src;    /* counted */
	struct nfs_node *victim; /* counted, or NULL */
	bool begun;              /* the victim's removal_begin() */
	bool open;               /* the victim is, under a name of its own */
	bool gone;               /* the victim's last name goes */
	bool stale;              /* the server knows nothing of the victim any more */
	struct nfs_silly *silly; /* the victim's second name, while it has one */
	bool moved;              /* the victim has left newname already */
};

/* Before an open victim is replaced it gets a second name; on servers without
 * hard links it leaves the first one, which is missing for a moment then. */
static int rename_save_victim(struct rename *n)
{
	struct be_entry e;
	bool resent;
	int rc;

	n->silly = silly_new(n->newdir, n->victim, n->call->cred);
	if (!n->silly)
		return -ENOMEM;
	rc = be_nfs_link(&n->b->base, n->call, &n->victim->base, &n->newdir->base, n->silly->name,
			 &e);
	if (!rc) {
		be_node_put(e.node);
		return 0;
	}
	if (rc == -ESTALE || rc == -ENOENT) { /* it is gone: what has the name now is another */
		silly_free(take_ptr(&n->silly));
		return 0;
	}
	silly_keep(n->silly, n->victim);
	rc = rename_wire(n->b, n->call, n->newdir, n->newname, n->newdir, n->silly->name, &resent);
	n->moved = !rc;
	return rc;
}

/* The replacing did not happen: the victim gets back what it had. */
static void rename_restore_victim(struct rename *n)
{
	bool resent;

	if (n->moved)
		rename_wire(n->b, n->call, n->newdir, n->silly->name, n->newdir, n->newname,
			    &resent);
	else
		remove_wire(n->b, n->call, NFS3_REMOVE, n->newdir, n->silly->name);
	silly_free(n->silly);
}

/* A repeated RENAME that finds no source: it worked when the target is our source. */
static int rename_check(struct rename *n)
{
	struct be_entry e;
	bool same;

	if (be_nfs_lookup_wire(n->b, n->call, n->newdir, n->newname, &e))
		return -ENOENT;
	same = e.node == &n->src->base;
	be_node_put(e.node);
	return same ? 0 : -ENOENT;
}

static int rename_replace(struct rename *n)
{
	uint32_t gen = atomic_load(&n->newdir->names_gen);
	bool resent, save = n->begun && n->gone && n->open && !n->stale &&
			    n->victim->base.type == S_IFREG;
	int rc = save ? rename_save_victim(n) : 0;

	if (rc) {
		silly_free(take_ptr(&n->silly));
		return rc;
	}
	rc = rename_wire(n->b, n->call, n->dir, n->name, n->newdir, n->newname, &resent);
	if ((rc == -ENOENT || rc == -ESTALE) && resent)
		rc = rename_check(n);
	if (rc) {
		if (n->silly)
			rename_restore_victim(n);
		return rc;
	}
	nname_drop(n->dir, n->name);
	nname_drop(n->newdir, n->newname);
	nname_put(n->newdir, n->newname, strlen(n->newname), n->src, nattr_stamp(n->b), gen);
	nattr_expire(n->src);
	if (n->silly)
		silly_adopt(n->victim, n->silly);
	else if (n->victim)
		nattr_expire(n->victim);
	return 0;
}

/* 0: the victim, if there is one, has its turn. LEADS_ELSEWHERE: it was another, once more. */
static int rename_take_victim(struct rename *n)
{
	int rc = find_victim(n->b, n->call, n->newdir, n->newname, &n->victim);

	if (rc == -ENOENT)
		return 0;
	if (rc || n->victim == n->src || n->victim->base.type == S_IFDIR)
		return rc;
	rc = removal_begin(n->victim, n->call, &n->open);
	if (rc)
		return rc;
	n->begun = still_leads_to(n->b, n->call, n->newdir, n->newname, n->victim);
	if (n->begun)
		return 0;
	removal_end(n->victim, false);
	nnode_put(take_ptr(&n->victim));
	return LEADS_ELSEWHERE;
}

static int rename_find_victim(struct rename *n)
{
	int rc;

	do {
		rc = rename_take_victim(n);
	} while (rc == LEADS_ELSEWHERE);
	if (rc || !n->victim || n->victim == n->src)
		return rc;
	if (!n->begun) {
		n->gone = true; /* a folder */
		return 0;
	}
	rc = last_name(n->victim, n->call, n->open, &n->gone);
	n->stale = rc == -ESTALE;
	return n->stale ? 0 : rc;
}

/* Two names of one file: nothing to do, by POSIX, and nothing to be told. */
static int rename_same(struct rename *n)
{
	nnode_put(n->victim);
	n->victim = NULL;
	return 0;
}

/* The target must not exist: LINK tells for sure. Directories cannot be linked;
 * there a look before has to do, and at worst an empty directory is replaced. */
static int rename_noreplace(struct rename *n)
{
	struct be_entry e;
	int rc = -EOPNOTSUPP;

	if (n->src->base.type != S_IFDIR)
		rc = be_nfs_link(&n->b->base, n->call, &n->src->base, &n->newdir->base, n->newname,
				 &e);
	if (!rc) {
		be_node_put(e.node);
		rc = remove_wire(n->b, n->call, NFS3_REMOVE, n->dir, n->name);
		if (rc)
			remove_wire(n->b, n->call, NFS3_REMOVE, n->newdir, n->newname);
		nattr_expire(n->src);
		return rc;
	}
	if (rc != -EOPNOTSUPP)
		return rc;
	rc = be_nfs_lookup_wire(n->b, n->call, n->newdir, n->newname, &e);
	if (!rc) {
		be_node_put(e.node);
		return -EEXIST;
	}
	return rc == -ENOENT ? rename_replace(n) : rc;
}

static int rename_run(struct rename *n, unsigned flags)
{
	int rc = find_victim(n->b, n->call, n->dir, n->name, &n->src);

	if (rc)
		return rc;
	if (silly_owns_name(n->src, n->dir, n->name))
		return -EBUSY;
	if (flags & RENAME_NOREPLACE_FLAG)
		return rename_noreplace(n);
	rc = rename_find_victim(n);
	if (rc)
		return rc;
	return n->victim == n->src ? rename_same(n) : rename_replace(n);
}

int be_nfs_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_node *newdir, const char *newname, unsigned flags,
		  struct be_removed *out)
{
	struct rename n = { .b = be_nfs(be),
			    .call = call,
			    .dir = be_nfs_node(dir),
			    .newdir = be_nfs_node(newdir),
			    .name = name,
			    .newname = newname };
	int rc;

	if (flags & ~RENAME_NOREPLACE_FLAG)
		return -EINVAL;
	if (be_nfs_check_name(n.b, name) || be_nfs_check_name(n.b, newname))
		return -ENAMETOOLONG;
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	rc = rename_run(&n, flags);
	if (n.begun)
		removal_end(n.victim, !rc && n.gone);
	nnode_put(n.src);
	if (rc) {
		nnode_put(n.victim);
		return rc;
	}
	*out = (struct be_removed){ .node = n.victim ? &n.victim->base : NULL, .gone = n.gone };
	return 0;
}
