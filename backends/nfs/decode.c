/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c - see decode.h. Everything goes through dec_bytes(), the only place
 * that compares a length with what is left. */
#include "backends/nfs/decode.h"

#include <errno.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { MSG_REPLY = 1 };
enum { REPLY_ACCEPTED, REPLY_DENIED };
enum { ACC_SUCCESS, ACC_PROG_UNAVAIL, ACC_PROG_MISMATCH, ACC_PROC_UNAVAIL, ACC_GARBAGE_ARGS };
enum { REJECT_RPC_MISMATCH, REJECT_AUTH };

void dec_init(struct dec *d, const void *p, size_t len)
{
	*d = (struct dec){ .base = p, .p = p, .end = (const uint8_t *)p + len };
}

size_t dec_left(const struct dec *d)
{
	return d->bad ? 0 : (size_t)(d->end - d->p);
}

const uint8_t *dec_bytes(struct dec *d, size_t n)
{
	const uint8_t *at = d->p;

	if (d->bad)
		return NULL;
	if (n > (size_t)(d->end - d->p)) {
		d->bad = true;
		d->need = (size_t)(d->p - d->base) + n;
		return NULL;
	}
	d->p += n;
	return at;
}

uint32_t dec_u32(struct dec *d)
{
	const uint8_t *p = dec_bytes(d, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint64_t dec_u64(struct dec *d)
{
	uint64_t hi = dec_u32(d);

	return hi << 32 | dec_u32(d);
}

bool dec_bool(struct dec *d)
{
	uint32_t v = dec_u32(d);

	if (v > 1)
		d->bad = true;
	return v == 1 && !d->bad;
}

const uint8_t *dec_opaque(struct dec *d, uint32_t max, uint32_t *len)
{
	uint32_t n = dec_u32(d);
	const uint8_t *p;

	*len = 0;
	if (n > max)
		d->bad = true;
	p = dec_bytes(d, d->bad ? 0 : ((size_t)n + 3) & ~(size_t)3);
	if (p)
		*len = n;
	return p;
}

void dec_handle(struct dec *d, struct nfs_handle *out)
{
	const uint8_t *p = dec_opaque(d, NFS_FH_MAX, &out->len);

	if (!p || !out->len) {
		d->bad = true;
		out->len = 0;
		return;
	}
	memcpy(out->data, p, out->len);
}

/* Servers have been seen to send more than a second of nanoseconds: cut to what a
 * time can hold, since nothing else in the reply is wrong. */
static struct timespec dec_time(struct dec *d)
{
	struct timespec ts = { .tv_sec = dec_u32(d) };
	uint32_t ns = dec_u32(d);

	ts.tv_nsec = ns < 1000000000 ? (long)ns : 999999999;
	return ts;
}

static mode_t dec_type(struct dec *d)
{
	static const mode_t types[] = {
		[NF3REG] = S_IFREG, [NF3DIR] = S_IFDIR,   [NF3BLK] = S_IFBLK, [NF3CHR] = S_IFCHR,
		[NF3LNK] = S_IFLNK, [NF3SOCK] = S_IFSOCK, [NF3FIFO] = S_IFIFO
	};
	uint32_t t = dec_u32(d);

	if (t < NF3REG || t > NF3FIFO) {
		d->bad = true;
		return 0;
	}
	return types[t];
}

void dec_attr_fsid(struct dec *d, struct be_attr *out, uint64_t *fsid)
{
	uint64_t used;
	uint32_t major, minor;

	memset(out, 0, sizeof *out);
	out->mode = dec_type(d);
	out->mode |= dec_u32(d) & 07777;
	out->nlink = dec_u32(d);
	out->uid = dec_u32(d);
	out->gid = dec_u32(d);
	out->size = dec_u64(d);
	used = dec_u64(d);
	out->blocks = used / 512 + (used % 512 != 0);
	major = dec_u32(d);
	minor = dec_u32(d);
	out->rdev = makedev(major, minor);
	*fsid = dec_u64(d);
	out->ino = dec_u64(d);
	out->atime = dec_time(d);
	out->mtime = dec_time(d);
	out->ctime = dec_time(d);
	if (out->size > INT64_MAX)
		d->bad = true;
}

void dec_attr(struct dec *d, struct be_attr *out)
{
	uint64_t fsid;

	dec_attr_fsid(d, out, &fsid);
}

bool dec_post_attr(struct dec *d, struct be_attr *out)
{
	if (!dec_bool(d))
		return false;
	dec_attr(d, out);
	return !d->bad;
}

bool dec_post_handle(struct dec *d, struct nfs_handle *out)
{
	out->len = 0;
	if (!dec_bool(d))
		return false;
	dec_handle(d, out);
	return !d->bad;
}

void dec_wcc(struct dec *d, struct nfs_wcc *out)
{
	memset(out, 0, sizeof *out);
	if (dec_bool(d)) {
		out->pre_size = dec_u64(d);
		out->pre_mtime = dec_time(d);
		out->pre_ctime = dec_time(d);
		out->pre_valid = !d->bad;
	}
	out->post_valid = dec_post_attr(d, &out->post);
}

static int dec_accepted(struct dec *d)
{
	uint32_t len, stat;

	dec_u32(d); /* flavour of the verifier */
	dec_opaque(d, RPC_VERF_MAX, &len);
	stat = dec_u32(d);
	if (d->bad)
		return -EIO;
	switch (stat) {
	case ACC_SUCCESS:
		return 0;
	case ACC_PROG_UNAVAIL:
	case ACC_PROG_MISMATCH:
		return -EPROTONOSUPPORT;
	case ACC_PROC_UNAVAIL:
		return -ENOTSUP;
	default: /* our arguments were garbage to it, or it failed */
		return -EIO;
	}
}

int dec_reply_head(struct dec *d, uint32_t *xid)
{
	uint32_t type, stat;

	*xid = dec_u32(d);
	type = dec_u32(d);
	stat = dec_u32(d);
	if (d->bad || type != MSG_REPLY || stat > REPLY_DENIED)
		return -EIO;
	if (stat == REPLY_ACCEPTED)
		return dec_accepted(d);
	stat = dec_u32(d);
	if (d->bad || stat > REJECT_AUTH)
		return -EIO;
	return stat == REJECT_AUTH ? -EACCES : -EPROTONOSUPPORT;
}

int dec_read_head(const void *p, size_t len, struct nfs_read_head *out, size_t *need)
{
	uint32_t count, xid;
	struct dec d;

	dec_init(&d, p, len);
	memset(out, 0, sizeof *out);
	out->rpc_error = dec_reply_head(&d, &xid);
	if (!d.bad && out->rpc_error)
		return 0;
	out->status = dec_u32(&d);
	out->attr_valid = dec_post_attr(&d, &out->attr);
	if (!d.bad && out->status == NFS3_OK) {
		count = dec_u32(&d);
		out->eof = dec_bool(&d);
		out->data_len = dec_u32(&d);
		if (!d.bad && count != out->data_len)
			return -EIO;
	}
	out->head_len = (size_t)(d.p - d.base);
	if (!d.bad)
		return 0;
	*need = d.need;
	return d.need > len && d.need <= READ_HEAD_MAX ? -EAGAIN : -EIO;
}

bool dec_dirent(struct dec *d, bool plus, struct nfs_dirent *out)
{
	memset(out, 0, sizeof *out);
	if (!dec_bool(d))
		return false;
	out->fileid = dec_u64(d);
	/* Longer names than we pass on are not nonsense: the caller skips them. */
	out->name = dec_opaque(d, 4096, &out->name_len);
	out->cookie = dec_u64(d);
	if (plus) {
		out->attr_valid = dec_post_attr(d, &out->attr);
		dec_post_handle(d, &out->fh);
	}
	return !d->bad;
}

void dec_fsinfo(struct dec *d, struct nfs_fsinfo *out)
{
	memset(out, 0, sizeof *out);
	out->rtmax = dec_u32(d);
	out->rtpref = dec_u32(d);
	dec_u32(d);
	out->wtmax = dec_u32(d);
	out->wtpref = dec_u32(d);
	dec_u32(d);
	out->dtpref = dec_u32(d);
	out->file_max = dec_u64(d);
	out->time_delta = dec_time(d);
	dec_u32(d); /* properties */
}

void dec_fsstat(struct dec *d, struct nfs_fsstat *out)
{
	memset(out, 0, sizeof *out);
	out->tbytes = dec_u64(d);
	out->fbytes = dec_u64(d);
	out->abytes = dec_u64(d);
	out->tfiles = dec_u64(d);
	out->ffiles = dec_u64(d);
	out->afiles = dec_u64(d);
	dec_u32(d); /* invarsec */
}

void dec_mount_ok(struct dec *d, struct nfs_handle *root, bool *sys)
{
	uint32_t n;

	dec_handle(d, root);
	n = dec_u32(d);
	*sys = n == 0;
	for (uint32_t i = 0; i < n && i < MOUNT_FLAVORS_MAX && !d->bad; i++)
		if (dec_u32(d) == 1)
			*sys = true;
}
