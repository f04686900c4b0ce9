/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - see encode.h */
#include "backends/nfs/encode.h"

#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <assert.h>
#include <string.h>

enum { MARK_LAST = 0x80000000u, RPC_VERSION = 2, FLAVOR_NONE = 0, FLAVOR_SYS = 1 };

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

void enc_init(struct enc *e, void *buf, size_t cap)
{
	*e = (struct enc){ .base = buf, .cap = cap };
}

void enc_raw(struct enc *e, const void *p, size_t n)
{
	size_t padded = (n + 3) & ~(size_t)3;

	if (e->full || padded > e->cap - e->len) {
		e->full = true;
		return;
	}
	memcpy(e->base + e->len, p, n);
	memset(e->base + e->len + n, 0, padded - n);
	e->len += padded;
}

void enc_u32(struct enc *e, uint32_t v)
{
	uint8_t b[4];

	put_u32(b, v);
	enc_raw(e, b, sizeof b);
}

void enc_u64(struct enc *e, uint64_t v)
{
	enc_u32(e, (uint32_t)(v >> 32));
	enc_u32(e, (uint32_t)v);
}

void enc_opaque(struct enc *e, const void *p, size_t n)
{
	enc_u32(e, (uint32_t)n);
	enc_raw(e, p, n);
}

void enc_str(struct enc *e, const char *s)
{
	enc_opaque(e, s, strlen(s));
}

void enc_handle(struct enc *e, const struct nfs_handle *fh)
{
	enc_opaque(e, fh->data, fh->len);
}

size_t enc_replace_handle(struct enc *e, size_t at, const struct nfs_handle *fh)
{
	uint8_t bytes[4 + NFS_FH_MAX];
	struct enc h;
	struct dec d;
	struct nfs_handle old;
	size_t end, tail;

	dec_init(&d, e->base + at, e->len - at);
	dec_handle(&d, &old);
	assert(!d.bad);
	end = (size_t)(d.p - e->base);
	tail = e->len - end;
	enc_init(&h, bytes, sizeof bytes);
	enc_handle(&h, fh);
	if (e->full || at + h.len + tail > e->cap) {
		e->full = true;
		return 0;
	}
	memmove(e->base + at + h.len, e->base + end, tail);
	memcpy(e->base + at, bytes, h.len);
	e->len = at + h.len + tail;
	return at + h.len - end;
}

static void enc_optional_u32(struct enc *e, bool given, uint32_t v)
{
	enc_u32(e, given);
	if (given)
		enc_u32(e, v);
}

/* The wire knows the seconds 0 .. 2^32-1. */
static void enc_set_time(struct enc *e, bool now, bool given, const struct timespec *ts)
{
	int64_t sec = ts->tv_sec;

	enc_u32(e, now ? SET_TO_SERVER_TIME : given ? SET_TO_CLIENT_TIME : DONT_CHANGE);
	if (now || !given)
		return;
	enc_u32(e, sec < 0 ? 0 : sec > UINT32_MAX ? UINT32_MAX : (uint32_t)sec);
	enc_u32(e, (uint32_t)ts->tv_nsec);
}

void enc_sattr(struct enc *e, const struct be_setattr *set)
{
	unsigned v = set->valid;

	enc_optional_u32(e, v & BE_SET_MODE, set->mode & 07777);
	enc_optional_u32(e, v & BE_SET_UID, set->uid);
	enc_optional_u32(e, v & BE_SET_GID, set->gid);
	enc_u32(e, !!(v & BE_SET_SIZE));
	if (v & BE_SET_SIZE)
		enc_u64(e, set->size);
	enc_set_time(e, v & BE_SET_ATIME_NOW, v & BE_SET_ATIME, &set->atime);
	enc_set_time(e, v & BE_SET_MTIME_NOW, v & BE_SET_MTIME, &set->mtime);
}

static void enc_auth_sys(struct enc *e, const struct be_cred *cred, const char *machine)
{
	unsigned ngroups = cred->ngroups < AUTH_GROUPS_MAX ? cred->ngroups : AUTH_GROUPS_MAX;
	size_t mlen = strnlen(machine, AUTH_MACHINE_MAX);

	enc_u32(e, FLAVOR_SYS);
	enc_u32(e, (uint32_t)(5 * 4 + ((mlen + 3) & ~(size_t)3) + 4 * ngroups));
	enc_u32(e, 0); /* stamp */
	enc_opaque(e, machine, mlen);
	enc_u32(e, cred->uid);
	enc_u32(e, cred->gid);
	enc_u32(e, ngroups);
	for (unsigned i = 0; i < ngroups; i++)
		enc_u32(e, cred->groups[i]);
}

void enc_call(struct enc *e, const struct nfs_proc *proc, const struct be_cred *cred,
	      const char *machine)
{
	enc_u32(e, MARK_LAST);
	enc_u32(e, 0); /* XID, by enc_set_xid() */
	enc_u32(e, 0); /* CALL */
	enc_u32(e, RPC_VERSION);
	enc_u32(e, proc->prog);
	enc_u32(e, proc->vers);
	enc_u32(e, proc->proc);
	enc_auth_sys(e, cred, machine);
	enc_u32(e, FLAVOR_NONE);
	enc_u32(e, 0);
}

void enc_set_marker(struct enc *e, size_t payload)
{
	put_u32(e->base, MARK_LAST | (uint32_t)(e->len - 4 + payload));
}

void enc_set_xid(uint8_t *record, uint32_t xid)
{
	put_u32(record + 4, xid);
}
