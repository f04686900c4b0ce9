/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - what the procedures share: handles, attributes, wcc; MOUNT; the table */
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>

#include "tests/server/server.h"

#define HANDLE_MAGIC 0x6e666674u
#define HANDLE_BYTES 20 /* magic, inode, its complement; then a generation, if not 0 */
#define FSID 0x70657273u
#define ODD_FILEID 0x7777000000000000ULL

static void proc_null(struct call *c)
{
	(void)c;
}

proc_fn *const nfs_procs[22] = {
	proc_null,   proc_getattr, proc_setattr,  proc_lookup, proc_access,  proc_readlink,
	proc_read,   proc_write,   proc_create,   proc_mkdir,  proc_symlink, proc_mknod,
	proc_remove, proc_rmdir,   proc_rename,   proc_link,   proc_readdir, proc_readdirplus,
	proc_fsstat, proc_fsinfo,  proc_pathconf, proc_commit,
};

bool proc_fault(const struct call *c, enum fault f)
{
	return fault_hit(&c->srv->faults, f, c->bit);
}

/* ---- arguments ---------------------------------------------------------- */

void get_name(struct call *c, const char **text, size_t *len)
{
	*text = (const char *)xr_opaque(c->in, LIST_BYTES_MAX, len);
}

static uint32_t generation_of(const struct server *srv, const struct inode *i)
{
	return i == srv->store.root ? srv->handle_gen + srv->root_gen : srv->handle_gen;
}

/* Longer and shorter in turns, as other generations are had. */
static size_t handle_bytes(uint32_t gen)
{
	return gen ? HANDLE_BYTES + (gen % 2 ? 4 : 8) : HANDLE_BYTES;
}

struct inode *get_handle(struct call *c, uint32_t *status)
{
	size_t n;
	const uint8_t *p = xr_opaque(c->in, NFS3_FHSIZE, &n);
	struct xr r = { .p = p, .end = p ? p + n : NULL, .bad = !p };
	uint32_t magic = xr_u32(&r);
	uint64_t ino = xr_u64(&r), check = xr_u64(&r);
	uint32_t gen = n > HANDLE_BYTES ? xr_u32(&r) : 0;
	struct inode *i = NULL;

	if (r.bad || n != handle_bytes(gen) || magic != HANDLE_MAGIC || check != ~ino) {
		*status = NFS3ERR_BADHANDLE;
		return NULL;
	}
	i = c->srv->unexported ? NULL : store_find(c->store, ino);
	if (i && gen != generation_of(c->srv, i))
		i = NULL;
	*status = !i ? NFS3ERR_STALE : i->frozen && (c->bit & P_CHANGES) ? NFS3ERR_ROFS : NFS3_OK;
	return i;
}

static void get_time(struct call *c, time_how *how, struct timespec *t)
{
	*how = (time_how)xr_u32(c->in);
	if (*how == SET_TO_CLIENT_TIME) {
		t->tv_sec = xr_u32(c->in);
		t->tv_nsec = xr_u32(c->in);
	} else if (*how > SET_TO_CLIENT_TIME) {
		c->in->bad = true;
	}
}

void get_wish(struct call *c, struct wish *w)
{
	*w = (struct wish){ 0 };
	w->mode_set = xr_u32(c->in);
	w->mode = w->mode_set ? xr_u32(c->in) & 07777 : 0;
	w->uid_set = xr_u32(c->in);
	w->uid = w->uid_set ? xr_u32(c->in) : 0;
	w->gid_set = xr_u32(c->in);
	w->gid = w->gid_set ? xr_u32(c->in) : 0;
	w->size_set = xr_u32(c->in);
	w->size = w->size_set ? xr_u64(c->in) : 0;
	get_time(c, &w->atime_how, &w->atime);
	get_time(c, &w->mtime_how, &w->mtime);
}

/* ---- results -------------------------------------------------------------- */

static void put_time(struct xw *w, struct timespec t)
{
	xw_u32(w, (uint32_t)t.tv_sec);
	xw_u32(w, (uint32_t)t.tv_nsec);
}

static uint32_t told_type(struct call *c, const struct inode *i)
{
	if (proc_fault(c, F_bad_type))
		return 99;
	if (proc_fault(c, F_other_type))
		return i->type == NF3DIR ? NF3REG : NF3DIR;
	return i->type;
}

static uint64_t told_size(const struct inode *i)
{
	if (i->type == NF3DIR)
		return PAGE_BYTES;
	return i->type == NF3LNK ? strlen(i->target) : i->size;
}

void put_attr(struct call *c, const struct inode *i)
{
	struct xw *w = c->out;

	xw_u32(w, told_type(c, i));
	xw_u32(w, i->mode);
	xw_u32(w, i->nlink);
	xw_u32(w, i->uid);
	xw_u32(w, i->gid);
	xw_u64(w, told_size(i));
	xw_u64(w, i->type == NF3DIR ? PAGE_BYTES : i->pages * PAGE_BYTES);
	xw_u32(w, i->rdev[0]);
	xw_u32(w, i->rdev[1]);
	xw_u64(w, FSID);
	xw_u64(w, proc_fault(c, F_other_fileid) ? i->ino ^ ODD_FILEID : i->ino);
	put_time(w, i->atime);
	put_time(w, i->mtime);
	put_time(w, i->ctime);
}

void put_post(struct call *c, const struct inode *i)
{
	bool told = i && !c->no_attr;

	xw_u32(c->out, told);
	if (told)
		put_attr(c, i);
}

void put_handle(struct call *c, const struct inode *i)
{
	uint32_t gen = generation_of(c->srv, i);
	struct xw h = { 0 };

	xw_u32(&h, HANDLE_MAGIC);
	xw_u64(&h, i->ino);
	xw_u64(&h, ~i->ino);
	if (gen)
		xw_u32(&h, gen);
	if (h.len < handle_bytes(gen))
		xw_u32(&h, 0);
	xw_opaque(c->out, h.p, h.len);
	xw_done(&h);
}

void put_post_handle(struct call *c, const struct inode *i)
{
	xw_u32(c->out, !c->no_handle);
	if (!c->no_handle)
		put_handle(c, i);
}

struct before before(const struct inode *i)
{
	struct before b = { .known = i };

	if (i) {
		b.size = told_size(i);
		b.mtime = i->mtime;
		b.ctime = i->ctime;
	}
	return b;
}

void put_wcc(struct call *c, const struct before *b, const struct inode *i)
{
	bool told = b->known && !c->no_attr;

	xw_u32(c->out, told);
	if (told) {
		xw_u64(c->out, b->size);
		put_time(c->out, b->mtime);
		put_time(c->out, b->ctime);
	}
	put_post(c, i);
}

/* ---- MOUNT ------------------------------------------------------------------ */

/* The export is /export; folders below it can be mounted, too. */
static struct inode *exported(struct call *c, const char *path, size_t len)
{
	static const char export[] = "/export";
	char copy[sizeof c->srv->export + MNTPATHLEN + 2];
	size_t n = sizeof export - 1;

	if (len < n || len > MNTPATHLEN || memcmp(path, export, n) != 0 ||
	    (len > n && path[n] != '/'))
		return NULL;
	snprintf(copy, sizeof copy, "%s/%.*s", c->srv->export, (int)(len - n), path + n);
	return store_walk(c->store, copy);
}

static void mount_mnt(struct call *c)
{
	struct inode *i;
	const char *path;
	size_t len;

	get_name(c, &path, &len);
	if (c->in->bad)
		return;
	if (c->srv->unexported) {
		xw_u32(c->out, MNT3ERR_ACCES);
		return;
	}
	i = exported(c, path, len);
	if (!i || i->type != NF3DIR) {
		xw_u32(c->out, i ? MNT3ERR_NOTDIR : MNT3ERR_NOENT);
		return;
	}
	xw_u32(c->out, MNT3_OK);
	put_handle(c, i);
	xw_u32(c->out, 1);
	xw_u32(c->out, AUTH_UNIX);
}

static void mount_export(struct call *c)
{
	xw_u32(c->out, 1);
	xw_opaque(c->out, "/export", 7);
	xw_u32(c->out, 0); /* groups */
	xw_u32(c->out, 0); /* exports */
}

void proc_mount(struct call *c, uint32_t proc)
{
	if (proc == MOUNT3_MNT)
		mount_mnt(c);
	else if (proc == MOUNT3_EXPORT)
		mount_export(c);
	else if (proc == MOUNT3_DUMP)
		xw_u32(c->out, 0);
}
