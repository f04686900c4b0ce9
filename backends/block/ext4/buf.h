/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h - metadata blocks in memory: one live copy each, changed only within a transaction
 *
 *              buf_get                   buf_change (in a handle)            seal
 *   absent ------------> clean -----------------------> dirty in T ------------------> logged (image of T)
 *      ^                  |  ^                                                        |      |
 *      '---- evicted -----'  '---------------- image is home or forgotten -----------'      '--> dirty in T+1
 *
 *  F1 A block has one struct buf, and its data is the newest there is: of running handles, else of the newest image,
 *     else of the disk.
 *  F2 data changes only through the pointer that buf_change() gives, within the bytes asked for, between the
 *     handle's begin and end, with the buffer's lock held.
 *  F3 Only images are written home, never live data: so nothing reaches its place before it is committed.
 *  F4 A clean buffer that nobody holds may be dropped; read again, it comes from the newest image, else from disk.
 *
 * Threads: any. Lock order: handle (journal.h), then buffer locks (sleeping, several at once in an order of the caller's):
 * nobody begins a handle with a buffer locked, for a seal waits for both.
 * Errors: -EIO and what the device says; -ENOMEM; -EUCLEAN from the client's check. */
#ifndef BACKENDS_BLOCK_EXT4_BUF_H
#define BACKENDS_BLOCK_EXT4_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/block/device.h"
#include "common/list.h"
#include "common/lock.h"

struct bufs;
struct jrn;
struct txn;

/* What is in a block: decides its checksum. */
enum buf_type {
	BUF_PLAIN, /* no checksum: slow symlinks, tests */
	BUF_SUPER,
	BUF_DESCRIPTORS,
	BUF_BLOCK_BITMAP,
	BUF_INODE_BITMAP,
	BUF_INODES,
	BUF_DIR_LEAF,
	BUF_DIR_INDEX,
	BUF_EXTENTS,
	BUF_XATTRS,
	BUF_TYPES
};

struct buf {
	uint64_t block;     /* of the file system */
	uint8_t *data;      /* block_size bytes; read with the lock held, shared or not */
	enum buf_type type; /* and whose it is, for checksums: constant while it is held */
	uint32_t owner_ino, owner_gen;
	struct bufs *bufs;
	/* Of buf.c and the journal (buf_impl.h). */
	pthread_rwlock_t lock;
	uint32_t refs;           /* the running transaction has one when it is dirty */
	bool valid, fresh, gone; /* read; just allocated and not written yet; forgotten */
	bool dirty;              /* in the running transaction */
	int error;               /* of its reading */
	struct list lru, hash, txn_link;
};

struct buf_owner {
	enum buf_type type;
	uint32_t ino, gen;
};

struct bufs_conf {
	struct bd *dev; /* borrowed */
	uint32_t block_size;
	uint64_t blocks;
	size_t memory; /* bytes of clean buffers kept at most; what is held or dirty comes on top */
	/* Optional: is what was read from disk sound (checksums)? 0 or -EUCLEAN. Once a buffer, no lock held but the buffer's. */
	int (*check)(void *arg, const struct buf *b);
	void *arg;
};

int bufs_new(const struct bufs_conf *conf, struct bufs **out);
void bufs_free(struct bufs *bs); /* after jrn_close(); nothing is held; NULL is fine */

/* Holds block, read unless it is in memory. Waits for the device. */
int buf_get(struct bufs *bs, uint64_t block, struct buf_owner owner, struct buf **out);
/* The same of a block just allocated: not read, its bytes unspecified until the first buf_change() of all of them.
 * -EBUSY: somebody holds it. */
int buf_get_new(struct bufs *bs, uint64_t block, struct buf_owner owner, struct buf **out);
void buf_put(struct buf *b); /* NULL is fine */

void buf_lock(struct buf *b); /* for changes */
void buf_lock_shared(
	struct buf *
		b); /* never twice by a thread, nor over txn_end(): who wants to change goes first */
void buf_unlock(struct buf *b);

/* The only way to change a block: data + off, to be written up to len bytes, until the buffer's lock is given up or the
 * handle ends. The handle knows the ranges (redo, journal.h). Takes a credit of the handle for the first range of each block that is
 * not in the transaction yet. Cannot fail: who runs out of credits has miscounted, and is aborted. */
uint8_t *buf_change(struct txn *t, struct buf *b, size_t off, size_t len);

struct bufs_counts {
	uint64_t hits, reads, evictions;
	size_t bytes, held;
};
void bufs_counts(struct bufs *bs, struct bufs_counts *out);

#endif
