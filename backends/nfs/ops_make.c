/* SPDX-License-Identifier: Apache-2.0 */
/* ops_make.c - CREATE, MKNOD, MKDIR, SYMLINK, LINK
 *
 * After a call that the server may have executed twice, EXIST is looked at: an
 * object of the right type and owner, as new as the directory's last change, is
 * what our first try made. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"

#define SYMLINK_ARGS_MAX (NCALL_ARGS_INLINE + 4096 + 8)
/* Between a retry and its first try, on the server's clock. */
#define RETRY_AGE_MAX_S 300
#define CREATE_AGAIN_MAX 3

/* What is made, where, and the reply. */
struct make {
	struct nfs_backend *b;
	const struct be_call *call;
	struct nfs_node *dir;
	const char *name;
	mode_t type;
	uint32_t gen;
	struct nrpc r;
	struct nfs_handle fh;
	struct be_attr attr;
	bool fh_valid, attr_valid;
	struct nfs_wcc wcc; /* of dir */
};

static int make_begin(struct make *m, struct backend *be, const struct be_call *call,
		      struct be_node *dir, const char *name, mode_t type)
{
	*m = (struct make){
		.b = be_nfs(be), .call = call, .dir = be_nfs_node(dir), .name = name, .type = type
	};
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	m->gen = atomic_load(&m->dir->names_gen);
	return be_nfs_check_name(m->b, name);
}

static void make_call(struct make *m, uint32_t proc)
{
	m->fh_valid = m->attr_valid = false;
	nattr_begin(m->dir);
	nrpc_begin(&m->r, m->b, m->call, proc, m->dir);
}

/* Runs the call and takes its reply, which is the same for CREATE, MKDIR, MKNOD, SYMLINK. */
static int make_run(struct make *m)
{
	int rc;

	memset(&m->wcc, 0, sizeof m->wcc);
	if (!nrpc_run(&m->r)) {
		if (m->r.status == NFS3_OK) {
			m->fh_valid = dec_post_handle(&m->r.dec, &m->fh);
			m->attr_valid = dec_post_attr(&m->r.dec, &m->attr);
		}
		dec_wcc(&m->r.dec, &m->wcc);
	}
	rc = nrpc_result(&m->r);
	nrpc_end(&m->r);
	if (m->r.dec.bad)
		m->wcc.pre_valid = m->wcc.post_valid = false;
	nattr_wcc(m->dir, &m->wcc, m->r.stamp);
	nattr_end(m->dir);
	return rc;
}

/* Is this what an earlier try of the same call made? */
static bool made_by_us(const struct make *m, const struct be_attr *attr)
{
	if ((attr->mode & S_IFMT) != m->type || attr->uid != m->call->cred->uid)
		return false;
	return !m->wcc.post_valid ||
	       attr->ctime.tv_sec >= m->wcc.post.mtime.tv_sec - RETRY_AGE_MAX_S;
}

/* From the reply to the entry, by LOOKUP where the reply was sparse. */
static int make_entry(struct make *m, int rc, struct be_entry *out)
{
	if (rc == -EEXIST && m->r.resent) {
		rc = be_nfs_lookup_wire(m->b, m->call, m->dir, m->name, out);
		if (rc || made_by_us(m, &out->attr))
			return rc;
		be_node_put(out->node);
		return -EEXIST;
	}
	if (rc)
		return rc;
	if (!m->fh_valid || !m->attr_valid)
		return be_nfs_lookup_wire(m->b, m->call, m->dir, m->name, out);
	return be_nfs_entry(m->dir, m->call, m->name, &m->fh, &m->attr, m->r.stamp, m->gen, out);
}

static struct be_setattr with_mode(mode_t mode)
{
	return (struct be_setattr){ .valid = BE_SET_MODE, .mode = mode & 07777 };
}

/* ---- CREATE ---------------------------------------------------------- */

static int create_guarded(struct make *m, mode_t mode, struct be_entry *out)
{
	struct be_setattr set = with_mode(mode);

	make_call(m, NFS3_CREATE);
	nrpc_dirop(&m->r, m->dir, m->name);
	enc_u32(&m->r.enc, GUARDED);
	enc_sattr(&m->r.enc, &set);
	return make_entry(m, make_run(m), out);
}

static uint64_t create_verifier(void)
{
	uint64_t v;

	if (getrandom(&v, sizeof v, GRND_NONBLOCK) != sizeof v)
		v = (uint64_t)clock_wall().tv_nsec << 32 ^ clock_ms();
	return v;
}

/* The server parks the verifier in the times: SETATTR puts them right. */
static int exclusive_finish(struct make *m, mode_t mode, struct be_entry *out)
{
	struct be_setattr set = with_mode(mode);
	int rc;

	set.valid |= BE_SET_ATIME_NOW | BE_SET_MTIME_NOW;
	rc = be_nfs_setattr(&m->b->base, m->call, out->node, &set, &out->attr);
	if (rc)
		be_node_put(out->node);
	return rc;
}

/* Safe to repeat: the server knows its own by the verifier. */
static int create_exclusive(struct make *m, mode_t mode, struct be_entry *out)
{
	int rc;

	make_call(m, NFS3_CREATE);
	nrpc_dirop(&m->r, m->dir, m->name);
	enc_u32(&m->r.enc, EXCLUSIVE);
	enc_u64(&m->r.enc, create_verifier());
	rc = make_run(m);
	if (rc == -EOPNOTSUPP)
		return create_guarded(m, mode, out);
	rc = make_entry(m, rc, out);
	return rc ? rc : exclusive_finish(m, mode, out);
}

/* Somebody was faster: open theirs, if they made a file. */
static int create_open_existing(struct make *m, int oflags, struct be_entry *out)
{
	int rc = be_nfs_lookup_wire(m->b, m->call, m->dir, m->name, out);

	if (rc)
		return rc;
	if (out->node->type == S_IFREG)
		rc = be_nfs_open(&m->b->base, m->call, out->node, oflags);
	else /* stale: what the kernel believed of this name; it looks again */
		rc = out->node->type == S_IFDIR ? -EISDIR : -ESTALE;
	if (rc)
		be_node_put(out->node);
	return rc;
}

static int create_once(struct make *m, mode_t mode, int oflags, struct be_entry *out)
{
	int rc = oflags & O_EXCL ? create_exclusive(m, mode, out) : create_guarded(m, mode, out);

	if (rc == -EEXIST && !(oflags & O_EXCL))
		return create_open_existing(m, oflags, out);
	if (!rc)
		rc = be_nfs_open_count(be_nfs_node(out->node), m->call);
	else
		return rc;
	if (rc)
		be_node_put(out->node);
	return rc;
}

int be_nfs_create(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, int oflags, struct be_entry *out)
{
	struct make m;
	int rc = make_begin(&m, be, call, dir, name, S_IFREG);

	if (rc)
		return rc;
	rc = create_once(&m, mode, oflags, out);
	/* What was there may have been removed while we came to open it. */
	for (int i = 0; (rc == -ENOENT || rc == -ESTALE) && i < CREATE_AGAIN_MAX; i++)
		rc = create_once(&m, mode, oflags, out);
	return rc;
}

/* ---- the others ------------------------------------------------------ */

int be_nfs_mknod(struct backend *be, const struct be_call *call, struct be_node *dir,
		 const char *name, mode_t mode, dev_t rdev, struct be_entry *out)
{
	struct be_setattr set = with_mode(mode);
	struct make m;
	uint32_t type;
	int rc = make_begin(&m, be, call, dir, name, mode & S_IFMT);

	if (rc)
		return rc;
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
		m.type = S_IFREG;
		return create_guarded(&m, mode, out);
	case S_IFCHR:
		type = NF3CHR;
		break;
	case S_IFBLK:
		type = NF3BLK;
		break;
	case S_IFIFO:
		type = NF3FIFO;
		break;
	case S_IFSOCK:
		type = NF3SOCK;
		break;
	default:
		return -EINVAL;
	}
	make_call(&m, NFS3_MKNOD);
	nrpc_dirop(&m.r, m.dir, name);
	enc_u32(&m.r.enc, type);
	enc_sattr(&m.r.enc, &set);
	if (type == NF3CHR || type == NF3BLK) {
		enc_u32(&m.r.enc, major(rdev));
		enc_u32(&m.r.enc, minor(rdev));
	}
	return make_entry(&m, make_run(&m), out);
}

int be_nfs_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		 const char *name, mode_t mode, struct be_entry *out)
{
	struct be_setattr set = with_mode(mode);
	struct make m;
	int rc = make_begin(&m, be, call, dir, name, S_IFDIR);

	if (rc)
		return rc;
	make_call(&m, NFS3_MKDIR);
	nrpc_dirop(&m.r, m.dir, name);
	enc_sattr(&m.r.enc, &set);
	return make_entry(&m, make_run(&m), out);
}

int be_nfs_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, const char *target, struct be_entry *out)
{
	struct be_setattr set = with_mode(0777);
	struct make m;
	int rc = make_begin(&m, be, call, dir, name, S_IFLNK);

	if (rc)
		return rc;
	make_call(&m, NFS3_SYMLINK);
	nrpc_reserve(&m.r, SYMLINK_ARGS_MAX, 0);
	nrpc_dirop(&m.r, m.dir, name);
	enc_sattr(&m.r.enc, &set);
	enc_str(&m.r.enc, target);
	return make_entry(&m, make_run(&m), out);
}

/* LINK over the wire; the file's attributes and the directory's are taken in. */
static int link_wire(struct make *m, struct nfs_node *node)
{
	int rc;

	memset(&m->wcc, 0, sizeof m->wcc);
	nattr_begin(node);
	nattr_begin(m->dir);
	nrpc_begin(&m->r, m->b, m->call, NFS3_LINK, node);
	nrpc_handle(&m->r, node);
	nrpc_dirop(&m->r, m->dir, m->name);
	if (!nrpc_run(&m->r)) {
		m->attr_valid = dec_post_attr(&m->r.dec, &m->attr);
		dec_wcc(&m->r.dec, &m->wcc);
	}
	rc = nrpc_result(&m->r);
	nrpc_end(&m->r);
	if (m->r.dec.bad)
		m->wcc.pre_valid = m->wcc.post_valid = m->attr_valid = false;
	nattr_wcc(m->dir, &m->wcc, m->r.stamp);
	nattr_end(m->dir);
	if (m->attr_valid)
		nattr_update(node, &m->attr, m->r.stamp);
	else
		nattr_expire(node);
	nattr_end(node);
	return rc;
}

/* After a retry: does the name lead to node? */
static int link_check(struct make *m, struct nfs_node *node)
{
	struct be_entry e;
	bool same;

	if (be_nfs_lookup_wire(m->b, m->call, m->dir, m->name, &e))
		return -EEXIST;
	same = e.node == &node->base;
	be_node_put(e.node);
	return same ? 0 : -EEXIST;
}

int be_nfs_link(struct backend *be, const struct be_call *call, struct be_node *base,
		struct be_node *dir, const char *name, struct be_entry *out)
{
	struct nfs_node *node = be_nfs_node(base);
	struct make m;
	int rc = make_begin(&m, be, call, dir, name, base->type);

	if (rc)
		return rc;
	rc = link_wire(&m, node);
	if (rc == -EEXIST && m.r.resent)
		rc = link_check(&m, node);
	if (!rc)
		rc = nattr_get(node, call, &out->attr);
	if (rc)
		return rc;
	nname_put(m.dir, name, strlen(name), node, m.r.stamp, m.gen);
	out->node = be_node_get(base);
	return 0;
}
