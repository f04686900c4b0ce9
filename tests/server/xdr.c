/* SPDX-License-Identifier: Apache-2.0 */
/* xdr.c - see xdr.h */
#include "tests/server/xdr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *grow(void *p, size_t n)
{
	void *q = realloc(p, n);

	if (!q) {
		fputs("nfsfault: no memory\n", stderr);
		exit(1);
	}
	return q;
}

uint8_t *xw_room(struct xw *w, size_t n)
{
	if (w->cap - w->len < n) {
		w->cap = (w->len + n) * 2 + 256;
		w->p = grow(w->p, w->cap);
	}
	w->len += n;
	return w->p + w->len - n;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

void xw_u32(struct xw *w, uint32_t v)
{
	put_u32(xw_room(w, 4), v);
}

void xw_set_u32(struct xw *w, size_t at, uint32_t v)
{
	put_u32(w->p + at, v);
}

void xw_u64(struct xw *w, uint64_t v)
{
	xw_u32(w, (uint32_t)(v >> 32));
	xw_u32(w, (uint32_t)v);
}

void xw_fixed(struct xw *w, const void *p, size_t n)
{
	size_t padded = (n + 3) & ~(size_t)3;
	uint8_t *to = xw_room(w, padded);

	if (n)
		memcpy(to, p, n);
	memset(to + n, 0, padded - n);
}

void xw_opaque(struct xw *w, const void *p, size_t n)
{
	xw_u32(w, w->lie ? w->lie : (uint32_t)n);
	w->lie = 0;
	xw_fixed(w, p, n);
}

void xw_done(struct xw *w)
{
	free(w->p);
	*w = (struct xw){ 0 };
}

const uint8_t *xr_fixed(struct xr *r, size_t n)
{
	size_t padded = (n + 3) & ~(size_t)3;
	const uint8_t *at = r->p;

	if (r->bad || padded > (size_t)(r->end - r->p)) {
		r->bad = true;
		return NULL;
	}
	r->p += padded;
	return at;
}

uint32_t xr_u32(struct xr *r)
{
	const uint8_t *p = xr_fixed(r, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint64_t xr_u64(struct xr *r)
{
	uint64_t hi = xr_u32(r);

	return hi << 32 | xr_u32(r);
}

const uint8_t *xr_opaque(struct xr *r, size_t max, size_t *n)
{
	*n = xr_u32(r);
	if (*n > max)
		r->bad = true;
	if (r->bad)
		*n = 0;
	return xr_fixed(r, *n);
}
