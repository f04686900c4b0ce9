/* SPDX-License-Identifier: Apache-2.0 */
/* decode.h - NFSv3 and ONC RPC replies, read from byte ranges
 *
 * A struct dec walks over bytes that a stranger sent. Nothing here allocates,
 * recurses, or reads outside [base, end). The first thing that does not fit
 * (too short, too long, not a boolean, no such type) sets bad; from then on all
 * functions yield zeros, so callers check bad once, at the end. When bytes ran
 * out, need says how many from base on would have let it go further.
 * Pure functions: any thread. */
#ifndef BACKENDS_NFS_DECODE_H
#define BACKENDS_NFS_DECODE_H

#include "backends/backend.h"

#define NFS_FH_MAX 64
#define NFS_NAME_MAX 255
#define RPC_VERF_MAX 400     /* bytes of a verifier's body */
#define READ_HEAD_MAX 560    /* a READ reply up to its data, longest verifier included */
#define MOUNT_FLAVORS_MAX 64 /* more are not looked at */

struct dec {
	const uint8_t *base, *p, *end;
	size_t need; /* set when bytes ran out */
	bool bad;
};

/* A file handle; len 0: none. */
struct nfs_handle {
	uint32_t len;
	uint8_t data[NFS_FH_MAX];
};

/* What a modifying operation says of the object before and after it. */
struct nfs_wcc {
	bool pre_valid, post_valid;
	uint64_t pre_size;
	struct timespec pre_mtime, pre_ctime;
	struct be_attr post;
};

/* A READ reply up to its data, or a refusal (rpc_error or status set). */
struct nfs_read_head {
	int rpc_error;   /* 0 or -errno: the RPC layer refused */
	uint32_t status; /* NFS3_OK: the rest is valid */
	bool attr_valid;
	struct be_attr attr;
	bool eof;
	uint32_t data_len;
	size_t head_len; /* bytes before the data */
};

/* One entry of READDIR or READDIRPLUS. */
struct nfs_dirent {
	uint64_t fileid, cookie;
	const uint8_t *name; /* inside the reply */
	uint32_t name_len;
	bool attr_valid;
	struct be_attr attr;
	struct nfs_handle fh; /* len 0: not given */
};

struct nfs_fsinfo {
	uint32_t rtmax, rtpref, wtmax, wtpref, dtpref;
	uint64_t file_max;
	struct timespec time_delta;
};

struct nfs_fsstat {
	uint64_t tbytes, fbytes, abytes, tfiles, ffiles, afiles;
};

void dec_init(struct dec *d, const void *p, size_t len);
size_t dec_left(const struct dec *d);
uint32_t dec_u32(struct dec *d);
uint64_t dec_u64(struct dec *d);
bool dec_bool(struct dec *d);
/* n bytes in place, without padding; NULL when bad. */
const uint8_t *dec_bytes(struct dec *d, size_t n);
/* Counted bytes with padding; longer than max is bad. */
const uint8_t *dec_opaque(struct dec *d, uint32_t max, uint32_t *len);

void dec_handle(struct dec *d, struct nfs_handle *out); /* empty is bad */
void dec_attr(struct dec *d, struct be_attr *out);
/* The same, with the server's number of the file system. */
void dec_attr_fsid(struct dec *d, struct be_attr *out, uint64_t *fsid);
/* True when attributes (a handle) followed. */
bool dec_post_attr(struct dec *d, struct be_attr *out);
bool dec_post_handle(struct dec *d, struct nfs_handle *out);
void dec_wcc(struct dec *d, struct nfs_wcc *out);

/* The head of an RPC reply, from the XID to where the procedure's results
 * start. 0, or -errno: -EIO for nonsense, what the server refused otherwise. */
int dec_reply_head(struct dec *d, uint32_t *xid);
/* A READ reply as far as it has arrived. 0: *out is complete. -EAGAIN: at least
 * *need bytes are wanted (more than len, never more than READ_HEAD_MAX). -EIO: nonsense. */
int dec_read_head(const void *p, size_t len, struct nfs_read_head *out, size_t *need);
/* The next entry; false at the end of the list (or bad). */
bool dec_dirent(struct dec *d, bool plus, struct nfs_dirent *out);
void dec_fsinfo(struct dec *d, struct nfs_fsinfo *out);
void dec_fsstat(struct dec *d, struct nfs_fsstat *out);
/* After the status of a MNT reply: the root handle; *sys tells whether AUTH_SYS is
 * welcome (an empty list of flavours means yes). */
void dec_mount_ok(struct dec *d, struct nfs_handle *root, bool *sys);

#endif
