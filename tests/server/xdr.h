/* SPDX-License-Identifier: Apache-2.0 */
/* xdr.h - XDR by hand, for a server that must also be able to encode nonsense
 *
 * Not libnfs's zdr_* routines: they cannot lie about a length, and a test of our
 * own encoders is worth more when the other side is written apart from them.
 * Constants and structures of the protocol do come from libnfs's headers.
 *
 * The writer grows and exits without memory. The reader never passes its end:
 * the first thing that does not fit sets bad, and from then on all is zero. */
#ifndef TESTS_SERVER_XDR_H
#define TESTS_SERVER_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xw {
	uint8_t *p; /* owned */
	size_t len, cap;
	uint32_t lie; /* not 0: what the next opaque says its length is; then 0 again */
};

/* n bytes more, uninitialised; valid until the next call. */
uint8_t *xw_room(struct xw *w, size_t n);
void xw_u32(struct xw *w, uint32_t v);
void xw_u64(struct xw *w, uint64_t v);
void xw_fixed(struct xw *w, const void *p, size_t n);  /* and padding */
void xw_opaque(struct xw *w, const void *p, size_t n); /* length, bytes, padding */
void xw_set_u32(struct xw *w, size_t at, uint32_t v);
void xw_done(struct xw *w);

struct xr {
	const uint8_t *p, *end; /* borrowed */
	bool bad;
};

uint32_t xr_u32(struct xr *r);
uint64_t xr_u64(struct xr *r);
const uint8_t *xr_fixed(struct xr *r, size_t n); /* and padding; NULL when bad */
const uint8_t *xr_opaque(struct xr *r, size_t max, size_t *n);

/* realloc(), but never fails. */
void *grow(void *p, size_t n);

#endif
