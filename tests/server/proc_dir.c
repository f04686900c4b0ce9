/* SPDX-License-Identifier: Apache-2.0 */
/* proc_dir.c - READDIR and READDIRPLUS, and the listings that no server should send
 *
 * Cookies: 1 is ".", 2 is "..", the rest see names.c; on the wire with the bits
 * of --cookies high. The verifier is the directory's number and some bits. */
#include <stdio.h>
#include <string.h>

#include "tests/server/server.h"

#define VERF_BITS 0x5050000000000000ULL
#define HUGE_BYTES (3u << 20)

struct listing {
	bool plus;
	struct inode *dir;
	uint64_t cookie, verf; /* as asked */
	size_t start, max;     /* in out: where the result begins, how long it may get */
	size_t names_max;      /* READDIRPLUS: bytes of names and cookies */
	size_t names_len;
	uint64_t same; /* not 0: every name has this cookie */
};

static void put_entry(struct call *c, struct listing *l, const struct inode *i, const char *name,
		      size_t len, uint64_t cookie)
{
	xw_u32(c->out, 1);
	xw_u64(c->out, i->ino);
	xw_opaque(c->out, name, len);
	xw_u64(c->out, l->same ? l->same : cookie | c->srv->cookie_bits);
	l->names_len += 24 + len;
	if (l->plus) {
		put_post(c, i);
		put_post_handle(c, i);
	}
}

/* One entry, or nothing and false when it does not fit. */
static bool try_entry(struct call *c, struct listing *l, const struct inode *i, const char *name,
		      size_t len, uint64_t cookie)
{
	size_t at = c->out->len;

	put_entry(c, l, i, name, len, cookie);
	if (c->out->len + 8 - l->start <= l->max && l->names_len <= l->names_max)
		return true;
	c->out->len = at;
	return false;
}

/* All from the cookie on that fits; true at the end of the directory. */
static bool put_entries(struct call *c, struct listing *l, bool *any)
{
	struct inode *d = l->dir;
	uint64_t from = l->cookie & ~c->srv->cookie_bits;

	*any = true;
	for (uint64_t dots = from + 1; dots <= 2; dots++)
		if (!try_entry(c, l, dots == 1 ? d : d->parent, "..", dots, dots)) {
			*any = dots > from + 1;
			return false;
		}
	for (size_t n = name_after(d, from); n < d->nnames; n++) {
		struct name *e = &d->names[n];

		if (!try_entry(c, l, e->inode, e->text, e->len, e->cookie)) {
			*any = from < 2 || n > name_after(d, from);
			return false;
		}
	}
	return true;
}

static void put_invented(struct call *c, struct listing *l, uint64_t cookie)
{
	char name[32];

	do {
		snprintf(name, sizeof name, "endless-%llu", (unsigned long long)cookie++);
	} while (try_entry(c, l, l->dir, name, strlen(name), cookie));
}

/* What a hostile server answers; false: this one is honest. */
static bool put_hostile(struct call *c, struct listing *l)
{
	uint64_t next = l->cookie & ~c->srv->cookie_bits;
	bool any;

	if (proc_fault(c, F_empty_list)) {
		/* nothing */
	} else if (proc_fault(c, F_same_cookie)) {
		l->same = l->cookie ? l->cookie : 7;
		l->cookie = 0;
		put_entries(c, l, &any);
	} else if (proc_fault(c, F_endless_list)) {
		put_invented(c, l, next > 1000 ? next : 1000);
	} else if (proc_fault(c, F_huge_list)) {
		l->max = l->names_max = HUGE_BYTES;
		put_invented(c, l, next > 1000 ? next : 1000);
	} else {
		return false;
	}
	xw_u32(c->out, 0);
	xw_u32(c->out, 0);
	return true;
}

static uint32_t list_status(struct call *c, const struct listing *l)
{
	if (l->dir->type != NF3DIR)
		return NFS3ERR_NOTDIR;
	if (!inode_may(l->dir, c->cred, MAY_R))
		return NFS3ERR_ACCES;
	if (l->cookie && l->verf && l->verf != (l->dir->ino | VERF_BITS))
		return NFS3ERR_BAD_COOKIE;
	if (l->cookie && proc_fault(c, F_bad_cookie))
		return NFS3ERR_BAD_COOKIE;
	return proc_fault(c, F_toosmall) ? NFS3ERR_TOOSMALL : NFS3_OK;
}

static void list_ok(struct call *c, struct listing *l)
{
	bool any, eof;
	uint32_t lie = c->out->lie;

	c->out->lie = 0;
	inode_accessed(c->store, l->dir);
	l->start = c->out->len;
	xw_u32(c->out, NFS3_OK);
	put_post(c, l->dir);
	xw_u64(c->out, l->dir->ino | VERF_BITS);
	c->out->lie = lie;
	if (put_hostile(c, l))
		return;
	eof = put_entries(c, l, &any);
	if (!any) {
		c->out->len = l->start;
		xw_u32(c->out, NFS3ERR_TOOSMALL);
		put_post(c, l->dir);
		return;
	}
	xw_u32(c->out, 0);
	xw_u32(c->out, eof);
}

static void list(struct call *c, bool plus)
{
	uint32_t status, count;
	struct listing l = { .plus = plus, .dir = get_handle(c, &status), .names_max = SIZE_MAX };

	l.cookie = xr_u64(c->in);
	l.verf = xr_u64(c->in);
	if (plus)
		l.names_max = xr_u32(c->in);
	count = xr_u32(c->in);
	l.max = count < IO_BYTES_MAX ? count : IO_BYTES_MAX;
	if (c->in->bad)
		return;
	if (!status)
		status = list_status(c, &l);
	if (!status) {
		list_ok(c, &l);
		return;
	}
	xw_u32(c->out, status);
	put_post(c, l.dir);
}

void proc_readdir(struct call *c)
{
	list(c, false);
}

void proc_readdirplus(struct call *c)
{
	list(c, true);
}
