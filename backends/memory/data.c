/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - read, write, truncate
 *
 * Bytes are copied without the node's lock: a reader or writer looks up its
 * chunks under the lock, counts itself as a user, copies, and takes the lock
 * again to leave. Whoever wants to take blocks away (truncate, punch, a larger
 * block for a chunk) waits until there is no user and does it under the lock;
 * new users wait behind him.
 *
 * A page that a write covers in part is zeroed and counted as data before the
 * copying; one that it covers wholly counts only afterwards, so that nobody
 * reads what was in the block before. A read beside a write of the same bytes
 * may see some of both. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

#define BATCH 32 /* chunks looked up at once; bits of a mask */

/* One chunk's part of a transfer. */
struct span {
	char *mem;     /* the chunk's block; NULL: a hole */
	unsigned mask; /* its pages with data */
	uint32_t off, len;
};

/* A place in a list of buffers. */
struct cursor {
	const struct iovec *iov;
	size_t done; /* bytes of *iov used up */
};

enum copy_how { COPY_IN, COPY_OUT, COPY_ZERO };

static void cursor_copy(struct cursor *c, char *mem, size_t len, enum copy_how how)
{
	while (len) {
		size_t n = c->iov->iov_len - c->done;
		char *buf = (char *)c->iov->iov_base + c->done;

		if (n > len)
			n = len;
		if (how == COPY_IN)
			memcpy(mem, buf, n);
		else if (how == COPY_OUT)
			memcpy(buf, mem, n);
		else
			memset(buf, 0, n);
		if (mem)
			mem += n;
		len -= n;
		c->done += n;
		if (c->done == c->iov->iov_len) {
			c->iov++;
			c->done = 0;
		}
	}
}

/* ---- users ---------------------------------------------------------- */

static void users_enter_locked(struct mem_node *n)
{
	while (n->file.waiting)
		cond_wait(&n->file.idle, &n->lock);
	n->file.users++;
}

static void users_leave_locked(struct mem_node *n)
{
	if (--n->file.users == 0 && n->file.waiting)
		cond_broadcast(&n->file.idle);
}

void mem_data_idle_locked(struct mem_node *n)
{
	mutex_assert_held(&n->lock);
	if (!n->file.users)
		return;
	n->file.waiting++;
	while (n->file.users)
		cond_wait(&n->file.idle, &n->lock);
	if (--n->file.waiting == 0)
		cond_broadcast(&n->file.idle);
}

/* ---- spans ---------------------------------------------------------- */

static uint32_t span_place(struct span *s, uint64_t off, size_t len)
{
	s->off = (uint32_t)(off & (MEM_CHUNK - 1));
	s->len = MEM_CHUNK - s->off;
	if (s->len > len)
		s->len = (uint32_t)len;
	return s->len;
}

/* Looks up to BATCH chunks up; returns how many, and in *len what they cover. */
static unsigned spans_find_locked(struct mem_node *n, uint64_t off, size_t *len, struct span *spans)
{
	size_t left = *len, covered = 0;
	unsigned i;

	for (i = 0; i < BATCH && left; i++) {
		const uint64_t *slot =
			mem_chunks_slot(&n->file.chunks, (off + covered) >> MEM_CHUNK_SHIFT);
		uint32_t part = span_place(&spans[i], off + covered, left);

		spans[i].mem = slot && *slot ? mem_slot_mem(*slot) : NULL;
		spans[i].mask = slot && *slot ? mem_slot_mask(*slot) : 0;
		covered += part;
		left -= part;
	}
	*len = covered;
	return i;
}

/* ---- read ----------------------------------------------------------- */

static void span_read(const struct span *s, struct cursor *c)
{
	uint32_t at = s->off, end = s->off + s->len;

	while (at < end) {
		unsigned page = at >> MEM_PAGE_SHIFT;
		bool data = s->mem && (s->mask >> page & 1);
		uint32_t to;

		/* As many pages at once as are alike. */
		do
			page++;
		while (page << MEM_PAGE_SHIFT < end && (s->mem && (s->mask >> page & 1)) == data);
		to = page << MEM_PAGE_SHIFT;
		if (to > end)
			to = end;
		cursor_copy(c, data ? s->mem + at : NULL, to - at, data ? COPY_OUT : COPY_ZERO);
		at = to;
	}
}

size_t mem_data_read(struct mem_node *n, const struct iovec *iov, uint64_t off, size_t len)
{
	struct cursor c = { .iov = iov };
	struct span spans[BATCH];
	size_t done = 0;

	for (;;) {
		size_t part = len - done;
		unsigned nspans;

		mutex_lock(&n->lock);
		users_enter_locked(n);
		if (off >= n->attr.size)
			part = 0;
		else if (part > n->attr.size - off)
			part = n->attr.size - off;
		nspans = spans_find_locked(n, off, &part, spans);
		mutex_unlock(&n->lock);
		for (unsigned i = 0; i < nspans; i++)
			span_read(&spans[i], &c);
		mutex_lock(&n->lock);
		users_leave_locked(n);
		mutex_unlock(&n->lock);
		done += part;
		off += part;
		if (part == 0 || done == len)
			return done;
	}
}

enum be_submit mem_submit_read(struct backend *be, struct be_io *io)
{
	(void)be;
	io->result = (ssize_t)mem_data_read(mem_node_of(io->node), io->iov, io->off, io->len);
	return BE_DONE;
}

/* ---- write ---------------------------------------------------------- */

static unsigned class_for(uint64_t chunk, size_t end)
{
	unsigned cls = 0;

	if (chunk > 0)
		return MEM_CHUNK_CLASS; /* only small files have small blocks */
	while (mem_class_bytes(cls) < end)
		cls++;
	return cls;
}

/* True when chunk has a block for its first end bytes. */
static bool chunk_fits(const struct mem_node *n, uint64_t chunk, size_t end)
{
	const uint64_t *slot = mem_chunks_slot(&n->file.chunks, chunk);

	return slot && *slot && mem_class_bytes(*slot >> 62) >= end;
}

static void block_move(uint64_t from, char *to)
{
	unsigned mask = mem_slot_mask(from);

	for (unsigned page = 0; mask >> page; page++)
		if (mask >> page & 1)
			memcpy(to + page * MEM_PAGE, mem_slot_mem(from) + page * MEM_PAGE,
			       MEM_PAGE);
}

int mem_chunk_fit_locked(struct mem *mem, struct mem_node *n, uint64_t chunk, size_t end)
{
	unsigned cls = class_for(chunk, end);
	uint64_t *slot, old;
	char *block;

	if (chunk_fits(n, chunk, end))
		return 0;
	slot = mem_chunks_slot_make(&n->file.chunks, chunk);
	if (!slot)
		return -ENOMEM;
	block = mem_block_new(&mem->space, cls);
	if (!block)
		return -ENOSPC;
	old = *slot;
	*slot = (uintptr_t)block | (uint64_t)cls << 62;
	n->attr.blocks += mem_class_bytes(cls) / 512;
	if (old) {
		assert(n->file.users == 0);
		block_move(old, block);
		*slot |= mem_slot_mask(old);
		n->attr.blocks -= mem_class_bytes(old >> 62) / 512;
		mem_block_free(&mem->space, mem_slot_mem(old), (unsigned)(old >> 62));
	}
	return 0;
}

/* True when a chunk of the batch has a block that is too small. */
static bool must_enlarge_locked(const struct mem_node *n, uint64_t off, size_t len)
{
	const uint64_t *slot = mem_chunks_slot(&n->file.chunks, 0);
	uint64_t end = off + len;

	/* Only chunk 0 ever has a small block. */
	return off < MEM_CHUNK && slot && *slot &&
	       !chunk_fits(n, 0, end < MEM_CHUNK ? (size_t)end : MEM_CHUNK);
}

static void slot_free(struct mem *mem, struct mem_node *n, uint64_t *slot)
{
	unsigned cls = (unsigned)(*slot >> 62);

	mem_block_free(&mem->space, mem_slot_mem(*slot), cls);
	n->attr.blocks -= mem_class_bytes(cls) / 512;
	*slot = 0;
}

/* Gives back what a failing batch has taken: bit i of made is chunk first + i. */
static void batch_undo_locked(struct mem *mem, struct mem_node *n, uint64_t first, uint32_t made)
{
	for (; made; made &= made - 1)
		slot_free(mem, n,
			  mem_chunks_slot(&n->file.chunks, first + (unsigned)__builtin_ctz(made)));
}

/* Blocks for the chunks of one batch, all or none. Waits for users only to
 * enlarge a block. */
static int batch_fit_locked(struct mem *mem, struct mem_node *n, uint64_t off, size_t len)
{
	uint64_t first = off >> MEM_CHUNK_SHIFT;
	uint32_t made = 0;
	struct span s;

	if (must_enlarge_locked(n, off, len))
		mem_data_idle_locked(n);
	for (unsigned i = 0; i < BATCH && len; i++, off += s.len, len -= s.len) {
		bool is_new = !chunk_fits(n, first + i, 1);
		int rc;

		span_place(&s, off, len);
		rc = mem_chunk_fit_locked(mem, n, first + i, s.off + s.len);
		if (rc) {
			batch_undo_locked(mem, n, first, made);
			return rc;
		}
		made |= (uint32_t)is_new << i;
	}
	return 0;
}

/* Before the copying: a page covered in part becomes data, zeros where it was not. */
static void page_edge_locked(struct mem_node *n, uint64_t at)
{
	uint64_t *slot = mem_chunks_slot(&n->file.chunks, at >> MEM_CHUNK_SHIFT);
	unsigned page = (unsigned)(at & (MEM_CHUNK - 1)) >> MEM_PAGE_SHIFT;

	if (*slot >> page & 1)
		return;
	memset(mem_slot_mem(*slot) + page * MEM_PAGE, 0, MEM_PAGE);
	*slot |= 1ULL << page;
}

static void edges_locked(struct mem_node *n, uint64_t off, size_t len)
{
	uint64_t end = off + len;

	if (off & (MEM_PAGE - 1))
		page_edge_locked(n, off);
	if (end & (MEM_PAGE - 1))
		page_edge_locked(n, end);
}

/* After the copying: all pages of the range are data. */
static void pages_set_locked(struct mem_node *n, uint64_t off, size_t len)
{
	struct span s;

	for (; len; off += s.len, len -= s.len) {
		unsigned first, last;

		span_place(&s, off, len);
		first = s.off >> MEM_PAGE_SHIFT;
		last = (s.off + s.len - 1) >> MEM_PAGE_SHIFT;
		*mem_chunks_slot(&n->file.chunks, off >> MEM_CHUNK_SHIFT) |= ((2ULL << last) - 1) &
									     ~((1ULL << first) - 1);
	}
}

/* Gets the node ready for a batch of the write, its caller a user. Returns the
 * number of chunks and what they cover, or -errno. */
static int write_begin(struct mem *mem, struct mem_node *n, uint64_t off, size_t *len,
		       struct span *spans)
{
	int rc;

	mutex_lock(&n->lock);
	while (n->file.waiting)
		cond_wait(&n->file.idle, &n->lock);
	rc = batch_fit_locked(mem, n, off, *len);
	if (!rc) {
		rc = (int)spans_find_locked(n, off, len, spans);
		edges_locked(n, off, *len);
		n->file.users++;
	}
	mutex_unlock(&n->lock);
	return rc;
}

int mem_data_write(struct mem *mem, struct mem_node *n, const struct iovec *iov, uint64_t off,
		   size_t len)
{
	struct cursor c = { .iov = iov };
	struct span spans[BATCH];

	while (len) {
		size_t part = len;
		int nspans = write_begin(mem, n, off, &part, spans);

		if (nspans < 0)
			return nspans;
		for (int i = 0; i < nspans; i++) {
			assert(spans[i].mem);
			/* write_begin() fills as many as it tells. NOLINTNEXTLINE(clang-analyzer-core.*) */
			cursor_copy(&c, spans[i].mem + spans[i].off, spans[i].len, COPY_IN);
		}
		mutex_lock(&n->lock);
		pages_set_locked(n, off, part);
		if (off + part > n->attr.size)
			n->attr.size = off + part;
		users_leave_locked(n);
		mutex_unlock(&n->lock);
		off += part;
		len -= part;
	}
	return 0;
}

static void io_complete(struct mem_node *n, struct be_io *io, ssize_t result)
{
	io->result = result;
	io->stable = BE_FILE_SYNC; /* as stable as this store gets */
	io->verifier = 0;
	io->post = n->attr;
	io->post_valid = true;
}

enum be_submit mem_submit_write(struct backend *be, struct be_io *io)
{
	struct mem_node *n = mem_node_of(io->node);
	int rc = mem_data_write(mem_of(be), n, io->iov, io->off, io->len);

	mutex_lock(&n->lock);
	if (!rc)
		n->attr.mtime = n->attr.ctime =
			io->mtime.tv_sec || io->mtime.tv_nsec ? io->mtime : clock_wall();
	io_complete(n, io, rc ? rc : (ssize_t)io->len);
	mutex_unlock(&n->lock);
	return BE_DONE;
}

enum be_submit mem_submit_commit(struct backend *be, struct be_io *io)
{
	struct mem_node *n = mem_node_of(io->node);

	(void)be;
	mutex_lock(&n->lock);
	io_complete(n, io, 0);
	mutex_unlock(&n->lock);
	return BE_DONE;
}

/* ---- taking away ---------------------------------------------------- */

/* Makes bytes [from, to) of one chunk read as zeros. */
static void slot_zero(uint64_t *slot, uint32_t from, uint32_t to)
{
	unsigned mask = mem_slot_mask(*slot);

	for (uint32_t at = from, end; at < to; at = end) {
		unsigned page = at >> MEM_PAGE_SHIFT;

		end = (page + 1) << MEM_PAGE_SHIFT;
		if (!(mask >> page & 1))
			continue;
		if (at == page << MEM_PAGE_SHIFT && end <= to)
			*slot &= ~(1ULL << page);
		else
			memset(mem_slot_mem(*slot) + at, 0, (end < to ? end : to) - at);
	}
}

void mem_data_zero_locked(struct mem *mem, struct mem_node *n, uint64_t from, uint64_t to)
{
	uint64_t chunk = from >> MEM_CHUNK_SHIFT, *slot;

	assert(n->file.users == 0);
	while (mem_chunks_next(&n->file.chunks, &chunk, &slot)) {
		uint64_t base = chunk << MEM_CHUNK_SHIFT;

		if (base >= to)
			return;
		slot_zero(slot, from > base ? (uint32_t)(from - base) : 0,
			  to - base < MEM_CHUNK ? (uint32_t)(to - base) : MEM_CHUNK);
		if (!mem_slot_mask(*slot))
			slot_free(mem, n, slot);
		chunk++;
	}
}

void mem_data_truncate_locked(struct mem *mem, struct mem_node *n, uint64_t size)
{
	uint64_t keep = (size + MEM_CHUNK - 1) >> MEM_CHUNK_SHIFT;

	if (size <= n->attr.size) {
		n->attr.blocks -= mem_chunks_cut(&n->file.chunks, &mem->space, keep) / 512;
		if (size & (MEM_CHUNK - 1))
			mem_data_zero_locked(mem, n, size, keep << MEM_CHUNK_SHIFT);
	}
	n->attr.size = size;
}
