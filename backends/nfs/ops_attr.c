/* SPDX-License-Identifier: Apache-2.0 */
/* ops_attr.c - looking things up, attributes, permissions, open counts */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/nfs/nfs_impl.h"

/* What Linux sets in the flags of open() when it is going to execute the file. */
#define OPEN_FOR_EXEC 040
#define READLINK_MAX 4096

int be_nfs_check_name(const struct nfs_backend *b, const char *name)
{
	return strlen(name) > b->base.limits.name_max ? -ENAMETOOLONG : 0;
}

/* ---- entries --------------------------------------------------------- */

/* The attributes of a handle that came without them. */
static int attr_of(struct nfs_backend *b, const struct be_call *call, const struct nfs_handle *fh,
		   struct be_attr *out)
{
	struct nrpc r;
	int rc;

	nrpc_begin_fh(&r, b, call, NFS3_GETATTR, fh);
	enc_handle(&r.enc, fh);
	if (!nrpc_run(&r) && r.status == NFS3_OK)
		dec_attr(&r.dec, out);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	return rc;
}

/* The reply says that a handle we know is something else now. A second opinion tells
 * which one was wrong, this reply or what our node was made of. */
static int settle_lie(struct nfs_backend *b, const struct be_call *call,
		      const struct nfs_handle *fh, struct be_attr *attr, struct nfs_node **out)
{
	int rc = attr_of(b, call, fh, attr);

	if (rc)
		return rc;
	if (!nnode_get(b, fh, attr, out))
		return 0;
	nnode_retire(b, fh, attr);
	return nnode_get(b, fh, attr, out);
}

int be_nfs_entry(struct nfs_node *dir, const struct be_call *call, const char *name,
		 const struct nfs_handle *fh, const struct be_attr *attr, struct nstamp stamp,
		 uint32_t gen, struct be_entry *out)
{
	struct nfs_backend *b = nnode_backend(dir);
	struct be_attr second = *attr;
	struct nfs_node *node;
	int rc = nnode_get(b, fh, attr, &node);

	if (rc == -ESTALE)
		rc = settle_lie(b, call, fh, &second, &node);
	attr = &second;
	if (rc)
		return rc;
	be_nfs_seen_alive(node, stamp);
	nattr_update(node, attr, stamp);
	nname_put(dir, name, strlen(name), node, stamp, gen);
	if (!nattr_last(node, &out->attr))
		out->attr = *attr;
	out->node = &node->base;
	return 0;
}

/* ---- lookup ---------------------------------------------------------- */

int be_nfs_lookup_wire(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct be_entry *out)
{
	uint32_t gen = atomic_load(&dir->names_gen);
	bool attr_valid = false, dir_valid = false;
	struct be_attr attr, dir_attr;
	struct nfs_handle fh;
	struct nrpc r;
	int rc;

	nrpc_begin(&r, b, call, NFS3_LOOKUP, dir);
	nrpc_dirop(&r, dir, name);
	if (!nrpc_run(&r)) {
		if (r.status == NFS3_OK) {
			dec_handle(&r.dec, &fh);
			attr_valid = dec_post_attr(&r.dec, &attr);
		}
		dir_valid = dec_post_attr(&r.dec, &dir_attr);
	}
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (dir_valid && !r.dec.bad)
		nattr_update(dir, &dir_attr, r.stamp);
	if (rc)
		return rc;
	if (call && call->cred)
		naccess_learn(dir, call->cred, ACCESS3_LOOKUP, ACCESS3_LOOKUP);
	be_nfs_listing_missed(dir);
	if (!attr_valid)
		rc = attr_of(b, call, &fh, &attr);
	return rc ? rc : be_nfs_entry(dir, call, name, &fh, &attr, r.stamp, gen, out);
}

/* Answers from memory: the directory unchanged, its search allowed, the node fresh. */
static bool lookup_cached(const struct be_call *call, struct nfs_node *dir, const char *name,
			  struct be_entry *out)
{
	struct be_attr dir_attr;
	struct nfs_node *node;

	if (!nattr_fresh(dir, &dir_attr) || naccess_cached(dir, call->cred, ACCESS3_LOOKUP))
		return false;
	node = nname_find(dir, name);
	if (node && !atomic_load(&node->removed_at) && nattr_fresh(node, &out->attr)) {
		out->node = &node->base;
		return true;
	}
	nnode_put(node);
	return false;
}

int be_nfs_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_entry *out)
{
	int rc = be_nfs_check_name(be_nfs(be), name);

	if (rc)
		return rc;
	if ((call->flags & BE_REVALIDATE) || !lookup_cached(call, be_nfs_node(dir), name, out))
		rc = call->flags & BE_NOWAIT ?
			     -EAGAIN :
			     be_nfs_lookup_wire(be_nfs(be), call, be_nfs_node(dir), name, out);
	if (!rc)
		be_nfs_open_expect(be_nfs_node(out->node));
	return rc;
}

/* ---- attributes ------------------------------------------------------ */

int be_nfs_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		   struct be_attr *out)
{
	(void)be;
	return nattr_get(be_nfs_node(node), call, out);
}

static int setattr_wire(struct nfs_node *node, const struct be_call *call,
			const struct be_setattr *set, bool *post_valid, struct be_attr *out)
{
	struct nfs_backend *b = nnode_backend(node);
	struct nfs_wcc wcc = { .post_valid = false };
	struct nrpc r;
	int rc;

	nattr_begin(node);
	nrpc_begin(&r, b, call, NFS3_SETATTR, node);
	nrpc_handle(&r, node);
	enc_sattr(&r.enc, set);
	enc_u32(&r.enc, 0); /* no guard */
	if (!nrpc_run(&r))
		dec_wcc(&r.dec, &wcc);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (!r.dec.bad)
		nattr_wcc(node, &wcc, r.stamp);
	nattr_end(node);
	*post_valid = !rc && wcc.post_valid;
	if (*post_valid)
		*out = wcc.post;
	return rc;
}

/* Adds the mode without S_ISUID and S_ISGID to set where that is asked for and
 * needed; true when it did. */
static int kill_suid(struct nfs_node *node, const struct be_call *call, struct be_setattr *set)
{
	struct be_attr attr;
	mode_t mode;
	int rc;

	if (!(set->valid & BE_SET_KILL_SUID) || (set->valid & BE_SET_MODE))
		return 0;
	rc = nattr_get(node, call, &attr);
	if (rc)
		return rc;
	mode = attr.mode & 07777 & ~(mode_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(mode_t)S_ISGID;
	if (mode == (attr.mode & 07777))
		return 0;
	set->mode = mode;
	set->valid |= BE_SET_MODE;
	return 1;
}

int be_nfs_setattr(struct backend *be, const struct be_call *call, struct be_node *base,
		   const struct be_setattr *wanted, struct be_attr *out)
{
	struct nfs_node *node = be_nfs_node(base);
	struct be_setattr set = *wanted;
	bool post_valid;
	int killed, rc;

	(void)be;
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	killed = kill_suid(node, call, &set);
	if (killed < 0)
		return killed;
	rc = setattr_wire(node, call, &set, &post_valid, out);
	if (rc == -EPERM && killed) {
		/* May change the size but not the mode: the server clears the bits itself. */
		set.valid &= ~BE_SET_MODE;
		rc = setattr_wire(node, call, &set, &post_valid, out);
	}
	if (!rc && !post_valid)
		return nattr_get(node, call, out);
	if (!rc)
		nattr_own_view(node, out);
	return rc;
}

int be_nfs_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask)
{
	uint32_t bits = naccess_bits(be_nfs_node(node), mask);

	(void)be;
	return bits ? naccess_check(be_nfs_node(node), call, bits) : 0;
}

ssize_t be_nfs_readlink(struct backend *be, const struct be_call *call, struct be_node *base,
			char *buf, size_t cap)
{
	struct nfs_node *node = be_nfs_node(base);
	const uint8_t *target = NULL;
	bool attr_valid = false;
	struct be_attr attr;
	uint32_t len = 0;
	struct nrpc r;
	int rc;

	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	nrpc_begin(&r, be_nfs(be), call, NFS3_READLINK, node);
	nrpc_reserve(&r, 0, READLINK_MAX + NCALL_REPLY_INLINE);
	nrpc_handle(&r, node);
	if (!nrpc_run(&r)) {
		attr_valid = dec_post_attr(&r.dec, &attr);
		if (r.status == NFS3_OK)
			target = dec_opaque(&r.dec, READLINK_MAX, &len);
	}
	rc = nrpc_result(&r);
	if (!rc && target) {
		len = len < cap ? len : (uint32_t)cap;
		memcpy(buf, target, len);
		/* A NUL would end the target for some readers and not for others. */
		rc = len && memchr(buf, 0, len) ? -EIO : (int)len;
	}
	nrpc_end(&r);
	if (attr_valid && !r.dec.bad)
		nattr_update(node, &attr, r.stamp);
	return rc;
}

int be_nfs_statfs(struct backend *be, const struct be_call *call, struct be_node *base,
		  struct statvfs *out)
{
	enum { UNIT = 4096 };
	struct nfs_node *node = be_nfs_node(base);
	struct nfs_fsstat st = { .tbytes = 0 };
	struct be_attr attr;
	struct nrpc r;
	int rc;

	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	nrpc_begin(&r, be_nfs(be), call, NFS3_FSSTAT, node);
	nrpc_handle(&r, node);
	if (!nrpc_run(&r)) {
		dec_post_attr(&r.dec, &attr);
		if (r.status == NFS3_OK)
			dec_fsstat(&r.dec, &st);
	}
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (rc)
		return rc;
	*out = (struct statvfs){
		.f_bsize = UNIT,
		.f_frsize = UNIT,
		.f_blocks = st.tbytes / UNIT,
		.f_bfree = st.fbytes / UNIT,
		.f_bavail = st.abytes / UNIT,
		.f_files = st.tfiles,
		.f_ffree = st.ffiles,
		.f_favail = st.afiles,
		.f_namemax = be->limits.name_max,
	};
	return 0;
}

/* ---- open counts ----------------------------------------------------- */

static int open_mask(int oflags)
{
	if (oflags & OPEN_FOR_EXEC)
		return X_OK;
	switch (oflags & O_ACCMODE) {
	case O_RDONLY:
		return R_OK;
	case O_WRONLY:
		return W_OK;
	default:
		return R_OK | W_OK;
	}
}

/* Counted before the check, so that an unlink meanwhile keeps the file. */
int be_nfs_open(struct backend *be, const struct be_call *call, struct be_node *base, int oflags)
{
	struct nfs_node *node = be_nfs_node(base);
	int rc;

	(void)be;
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	rc = be_nfs_open_count(node, call);
	if (rc)
		return rc;
	rc = naccess_check(node, call, naccess_bits(node, open_mask(oflags)));
	if (rc)
		be_nfs_open_uncount(node);
	return rc;
}

void be_nfs_release(struct backend *be, struct be_node *base, int oflags)
{
	(void)be;
	(void)oflags;
	be_nfs_open_uncount(be_nfs_node(base));
}
