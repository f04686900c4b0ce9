/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - fallocate, SEEK_DATA and SEEK_HOLE, copying between files */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

static int allocate_locked(struct mem *mem, struct mem_node *n, uint64_t off, uint64_t len)
{
	uint64_t last = (off + len - 1) >> MEM_CHUNK_SHIFT;

	if (len > mem->space.bytes_max)
		return -ENOSPC; /* spares a long and useless try */
	for (uint64_t chunk = off >> MEM_CHUNK_SHIFT; chunk <= last; chunk++) {
		size_t end = chunk < last ? MEM_CHUNK : ((off + len - 1) & (MEM_CHUNK - 1)) + 1;
		int rc = mem_chunk_fit_locked(mem, n, chunk, end);

		if (rc)
			return rc;
	}
	return 0;
}

static int fallocate_locked(struct mem *mem, struct mem_node *n, int mode, uint64_t off,
			    uint64_t len)
{
	bool keep_size = mode & FALLOC_FL_KEEP_SIZE;
	int rc = 0;

	mem_data_idle_locked(n);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		mem_data_zero_locked(mem, n, off, off + len);
	if (!(mode & FALLOC_FL_PUNCH_HOLE))
		rc = allocate_locked(mem, n, off, len);
	if (rc)
		return rc;
	if (!keep_size && off + len > n->attr.size)
		n->attr.size = off + len;
	else if (mode == 0 || mode == FALLOC_FL_KEEP_SIZE)
		return 0;
	n->attr.mtime = n->attr.ctime = clock_wall();
	return 0;
}

int mem_fallocate(struct backend *be, const struct be_call *call, struct be_node *node, int mode,
		  uint64_t off, uint64_t len)
{
	struct mem_node *n = mem_node_of(node);
	int op = mode & ~FALLOC_FL_KEEP_SIZE, rc;

	(void)call;
	if (op != 0 && op != FALLOC_FL_PUNCH_HOLE && op != FALLOC_FL_ZERO_RANGE)
		return -ENOTSUP;
	if (op == FALLOC_FL_PUNCH_HOLE && op == mode)
		return -ENOTSUP; /* as the system call: only with KEEP_SIZE */
	mutex_lock(&n->lock);
	rc = fallocate_locked(mem_of(be), n, mode, off, len);
	mutex_unlock(&n->lock);
	return rc;
}

/* The first page at or behind *page that is data; false when there is none. */
static bool next_data(const struct mem_node *n, uint64_t *page)
{
	const unsigned shift = MEM_CHUNK_SHIFT - MEM_PAGE_SHIFT;
	uint64_t chunk = *page >> shift, *slot;

	for (; mem_chunks_next(&n->file.chunks, &chunk, &slot); chunk++) {
		unsigned first = chunk == *page >> shift ? (unsigned)(*page & ((1u << shift) - 1)) :
							   0;
		unsigned mask = mem_slot_mask(*slot) >> first;

		if (mask) {
			*page = (chunk << shift) + first + (unsigned)__builtin_ctz(mask);
			return true;
		}
	}
	return false;
}

/* The first page at or behind page that is a hole. */
static uint64_t next_hole(const struct mem_node *n, uint64_t page)
{
	const unsigned shift = MEM_CHUNK_SHIFT - MEM_PAGE_SHIFT, all = (1u << (1u << shift)) - 1;

	for (;; page = ((page >> shift) + 1) << shift) {
		const uint64_t *slot = mem_chunks_slot(&n->file.chunks, page >> shift);
		unsigned first = (unsigned)(page & ((1u << shift) - 1));
		unsigned holes = all & ~(slot && *slot ? mem_slot_mask(*slot) : 0);

		if (holes >> first)
			return page + (unsigned)__builtin_ctz(holes >> first);
	}
}

int mem_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
	     int whence, uint64_t *out)
{
	struct mem_node *n = mem_node_of(node);
	uint64_t page = off >> MEM_PAGE_SHIFT, at, size;
	bool found = true;

	(void)be;
	(void)call;
	mutex_lock(&n->lock);
	size = n->attr.size;
	if (off < size) {
		if (whence == SEEK_DATA)
			found = next_data(n, &page);
		else
			page = next_hole(n, page);
	}
	mutex_unlock(&n->lock);
	at = page << MEM_PAGE_SHIFT;
	if (at < off)
		at = off;
	if (off >= size || !found || (whence == SEEK_DATA && at >= size))
		return -ENXIO;
	*out = at < size ? at : size;
	return 0;
}

/* Copies up to a chunk through buf: holding both files at once could not be ordered. */
static ssize_t copy_part(struct mem *mem, struct mem_node *src, uint64_t src_off,
			 struct mem_node *dst, uint64_t dst_off, size_t len, char *buf)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	size_t n = mem_data_read(src, &iov, src_off, len);
	int rc;

	iov.iov_len = n;
	rc = n ? mem_data_write(mem, dst, &iov, dst_off, n) : 0;
	return rc ? rc : (ssize_t)n;
}

ssize_t mem_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
		       uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len)
{
	struct mem_node *to = mem_node_of(dst);
	AUTO_FREE char *buf = NULL;
	size_t done = 0;
	ssize_t n = 0;

	(void)call;
	if (src == dst && src_off < dst_off + len && dst_off < src_off + len)
		return -EINVAL;
	buf = malloc(MEM_CHUNK);
	if (!buf)
		return -ENOMEM;
	while (done < len) {
		size_t part = len - done < MEM_CHUNK ? len - done : MEM_CHUNK;

		n = copy_part(mem_of(be), mem_node_of(src), src_off + done, to, dst_off + done,
			      part, buf);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (!done)
		return n;
	mutex_lock(&to->lock);
	to->attr.mtime = to->attr.ctime = clock_wall();
	mutex_unlock(&to->lock);
	return (ssize_t)done;
}
