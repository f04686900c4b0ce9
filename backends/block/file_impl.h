/* SPDX-License-Identifier: Apache-2.0 */
/* file_impl.h - what the transport of files and block devices has in common with its two engines */
#ifndef BACKENDS_BLOCK_FILE_IMPL_H
#define BACKENDS_BLOCK_FILE_IMPL_H

#include "backends/block/device.h"

enum {
	FILE_DEPTH = 128,
	FILE_TRANSFER_MAX = 4u << 20,
	FILE_RANGE_MAX =
		256u << 20, /* one zero or discard: a worker of the kernel is busy with it */
};

struct pool;
struct file_ring;

struct file {
	struct bd bd; /* first */
	/* set at start, then read only */
	int fd; /* owned */
	bool is_block;
	enum bd_engine engine;  /* that was asked for */
	struct pool *pool;      /* owned */
	struct file_ring *ring; /* owned; NULL: the pool does all */

	_Atomic bool no_punch; /* the file has no holes: zeros without BD_UNMAP */
};

static inline struct file *file_of(struct bd *dev)
{
	return (struct file *)dev;
}

/* ---- file.c ---- */

/* Mode of fallocate() for a ZERO, or for the DISCARD of a file; noted in rq->priv. */
int file_fallocate_mode(struct file *f, struct bd_req *rq);
/* fallocate() answered error: true, and it is worth another attempt with the mode that is now right. */
bool file_fallocate_again(struct file *f, const struct bd_req *rq, int error);
/* Does it, waiting. 0 or -errno. */
int file_execute(struct file *f, struct bd_req *rq);
int file_size_now(struct bd *dev, uint64_t *out);
/* Frees all but the ring. */
void file_free(struct file *f);

/* ---- threads.c: requests on threads ---- */

extern const struct bd_ops file_threads_ops;

int file_pool_new(struct file *f, unsigned threads_max, struct pool **out);
/* Executes rq and completes it. */
void file_pool_add(struct pool *p, struct bd_req *rq);
/* No request is inside. NULL is fine. */
void file_pool_free(struct pool *p);

/* ---- uring.c: requests in a ring ---- */

extern const struct bd_ops file_uring_ops;

/* Its descriptors; file_ring_start() does not need any others. -errno: rings are not to be had here. */
int file_ring_new(struct file *f, struct file_ring **out);
/* Starts its thread. -errno: it cannot be, and is good for file_ring_free() alone. */
int file_ring_start(struct file_ring *r);
/* No request is inside. */
void file_ring_free(struct file_ring *r);

#endif
