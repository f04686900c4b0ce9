/* SPDX-License-Identifier: Apache-2.0 */
/* encode.h - the bytes of our requests
 *
 * A struct enc appends to a buffer of fixed size; what does not fit sets full
 * and is dropped, so callers check once. Pure functions: any thread. */
#ifndef BACKENDS_NFS_ENCODE_H
#define BACKENDS_NFS_ENCODE_H

#include "backends/nfs/decode.h"

#define AUTH_GROUPS_MAX 16 /* supplementary groups of AUTH_SYS, by protocol */
#define AUTH_MACHINE_MAX 64

struct enc {
	uint8_t *base;
	size_t len, cap;
	bool full;
};

/* Where a call goes. */
struct nfs_proc {
	uint32_t prog, vers, proc;
};

void enc_init(struct enc *e, void *buf, size_t cap);
void enc_u32(struct enc *e, uint32_t v);
void enc_u64(struct enc *e, uint64_t v);
void enc_raw(struct enc *e, const void *p, size_t n); /* padded to 4 */
void enc_opaque(struct enc *e, const void *p, size_t n);
void enc_str(struct enc *e, const char *s);
void enc_handle(struct enc *e, const struct nfs_handle *fh);
/* Puts fh where another handle stands at at; what follows moves. Returns by how much,
 * modulo 2^64. What does not fit sets full. */
size_t enc_replace_handle(struct enc *e, size_t at, const struct nfs_handle *fh);
/* SATTR3. Bits of set->valid that it cannot carry are left out. */
void enc_sattr(struct enc *e, const struct be_setattr *set);

/* Record marker (to be set by enc_set_marker), XID 0, call header, AUTH_SYS
 * credential of cred: what stands before a call's arguments. */
void enc_call(struct enc *e, const struct nfs_proc *proc, const struct be_cred *cred,
	      const char *machine);
/* Writes the marker of a one-fragment record: the buffer and payload bytes that follow it. */
void enc_set_marker(struct enc *e, size_t payload);
void enc_set_xid(uint8_t *record, uint32_t xid);

#endif
