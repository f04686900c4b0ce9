/* SPDX-License-Identifier: Apache-2.0 */
/* buf_impl.h - what buffers and journal share: the buffers' table, and the images that may not be home
 *
 *            seal               durable            written home           tail has passed
 *   (none) -------> live image ---------> may go home --------> logged ------------------> (none)
 *                                             '-----------------'  a newer image is durable, or a revoke
 *
 * A live image has data. While the log holds the transaction the struct stays, without data: so it is known whether the
 * log has an image of a block (J3).
 *  I1 Images of one block are in their bucket newest first.
 *  I2 A buffer whose newest image is live may be dropped: it is read from the image.
 *  I3 An image that is on its way home (homing) keeps its data until it is there. */
#ifndef BACKENDS_BLOCK_EXT4_BUF_IMPL_H
#define BACKENDS_BLOCK_EXT4_BUF_IMPL_H

#include "backends/block/ext4/buf.h"

struct sealed;

struct jrn_image {
	uint64_t block;
	struct sealed *in;  /* borrowed: it owns the image and its data */
	struct list bucket; /* images of this hash, newest first */
	struct buf *buf;    /* held until the seal is over, then NULL */
	uint8_t *data;      /* NULL: need not go home (any more) */
	bool escaped;       /* its first four bytes are the magic, and zero as the log has them */
	bool homing;
};

struct bufs {
	/* set at start, then read only */
	struct bufs_conf conf;
	size_t mask;
	size_t align; /* of memory for the device */

	struct mutex lock; /* rank bufs */
	/* guarded by lock */
	struct cond read; /* a buffer became valid, or failed */
	struct list *table;
	struct list lru; /* clean and not held, oldest first */
	size_t clean_bytes, held;
	uint64_t hits, reads, evictions;

	struct mutex image_lock; /* rank jrn_image */
	/* guarded by image_lock */
	struct list *images; /* NULL: no journal is open */
	size_t image_mask;
};

/* For transactions: one more holder of a buffer that is held already. */
void buf_hold(struct buf *b);
/* block is forgotten: later gets make a new buffer. The old one, held, if somebody holds it; else NULL. */
struct buf *bufs_detach(struct bufs *bs, uint64_t block);
/* Was it forgotten since it was held? */
bool buf_is_gone(struct buf *b);
/* Forgets block unless somebody holds it. False: somebody does. */
bool bufs_drop_unheld(struct bufs *bs, uint64_t block);
/* Forgets it in any case. False: somebody holds it. */
bool bufs_drop(struct bufs *bs, uint64_t block);
/* Memory that the device can read and write. NULL: none left. */
void *bufs_memory(const struct bufs *bs, size_t bytes);

/* The table of images for a log of so many blocks. -ENOMEM, -EBUSY: a journal uses these buffers. */
int images_init(struct bufs *bs, uint32_t log_blocks);
void images_done(struct bufs *bs);

void image_insert_locked(struct bufs *bs, struct jrn_image *im);
void image_remove_locked(struct jrn_image *im);
struct list *image_bucket_locked(struct bufs *bs, uint64_t block);
/* Does the log hold an image of block? */
bool image_exists(struct bufs *bs, uint64_t block);

#endif
