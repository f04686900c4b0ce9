/* SPDX-License-Identifier: Apache-2.0 */
/* space.c - memory for file data: blocks of 4, 16 and 64 KiB
 *
 * One range of addresses is reserved at start and used up in slabs of 2 MiB,
 * each asking for a huge page and cut into blocks of one class. The slab of a
 * block follows from its address. Blocks that were never used are not touched;
 * freed ones are linked through their first bytes, last freed first taken, so
 * that they are still in the processor's cache. Of slabs that become wholly
 * free a few keep their memory, the others give it back to the system. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "backends/memory/memory_impl.h"

#define SLAB_SHIFT 21
#define SLAB_BYTES (1UL << SLAB_SHIFT)
#define WARM_MAX 32 /* wholly free slabs that keep their memory */

struct mem_slab {
	struct list link;            /* partial[cls], warm or cold; itself when full */
	void *free;                  /* freed blocks */
	uint16_t nused, nfresh, cls; /* blocks given out; blocks ever given out */
};

static unsigned slab_blocks(unsigned cls)
{
	return (unsigned)(SLAB_BYTES / mem_class_bytes(cls));
}

static char *slab_mem(const struct mem_space *sp, const struct mem_slab *s)
{
	return sp->base + ((size_t)(s - sp->slabs) << SLAB_SHIFT);
}

int mem_space_init(struct mem_space *sp, uint64_t bytes_max)
{
	size_t bytes;
	char *raw;

	sp->bytes_max = bytes_max;
	/* Twice the limit: slabs of one class may be nearly empty while another needs more. */
	sp->slabs_max = 2 * ((bytes_max >> SLAB_SHIFT) + 2 * MEM_CLASSES);
	bytes = sp->slabs_max << SLAB_SHIFT;
	raw = mmap(NULL, bytes + SLAB_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (raw == MAP_FAILED)
		return -ENOMEM;
	sp->base = (char *)(((uintptr_t)raw + SLAB_BYTES - 1) & ~(SLAB_BYTES - 1));
	if (sp->base > raw)
		munmap(raw, (size_t)(sp->base - raw));
	if (sp->base < raw + SLAB_BYTES)
		munmap(sp->base + bytes, (size_t)(raw + SLAB_BYTES - sp->base));
	sp->slabs = calloc(sp->slabs_max, sizeof *sp->slabs);
	if (!sp->slabs) {
		munmap(sp->base, bytes);
		return -ENOMEM;
	}
	mutex_init(&sp->lock, LOCK_be_queue);
	for (int i = 0; i < MEM_CLASSES; i++)
		list_init(&sp->partial[i]);
	list_init(&sp->warm);
	list_init(&sp->cold);
	return 0;
}

void mem_space_done(struct mem_space *sp)
{
	if (!sp->slabs)
		return;
	munmap(sp->base, sp->slabs_max << SLAB_SHIFT);
	free(sp->slabs);
	mutex_done(&sp->lock);
}

/* A slab without blocks in use: one with memory, one without, or a new one. */
static struct mem_slab *slab_take_locked(struct mem_space *sp)
{
	struct mem_slab *s;
	struct list *l = list_pop(&sp->warm);

	if (l) {
		sp->nwarm--;
		return list_entry(l, struct mem_slab, link);
	}
	l = list_pop(&sp->cold);
	if (l)
		return list_entry(l, struct mem_slab, link);
	if (sp->slabs_made == sp->slabs_max)
		return NULL;
	s = &sp->slabs[sp->slabs_made];
	if (mprotect(slab_mem(sp, s), SLAB_BYTES, PROT_READ | PROT_WRITE))
		return NULL;
	madvise(slab_mem(sp, s), SLAB_BYTES, MADV_HUGEPAGE); /* a wish */
	sp->slabs_made++;
	list_init(&s->link);
	return s;
}

static struct mem_slab *slab_with_room_locked(struct mem_space *sp, unsigned cls)
{
	struct mem_slab *s;

	if (!list_empty(&sp->partial[cls]))
		return list_first(&sp->partial[cls], struct mem_slab, link);
	s = slab_take_locked(sp);
	if (!s)
		return NULL;
	s->free = NULL;
	s->nused = s->nfresh = 0;
	s->cls = (uint16_t)cls;
	list_push_front(&sp->partial[cls], &s->link);
	return s;
}

static void *block_take_locked(struct mem_space *sp, unsigned cls)
{
	struct mem_slab *s = slab_with_room_locked(sp, cls);
	void *block;

	if (!s)
		return NULL;
	block = s->free;
	if (block)
		s->free = *(void **)block;
	else
		block = slab_mem(sp, s) + s->nfresh++ * mem_class_bytes(cls);
	if (++s->nused == slab_blocks(cls))
		list_del(&s->link);
	return block;
}

void *mem_block_new(struct mem_space *sp, unsigned cls)
{
	uint64_t bytes = mem_class_bytes(cls);
	void *block = NULL;

	if (atomic_fetch_add(&sp->bytes_used, bytes) + bytes <= sp->bytes_max) {
		mutex_lock(&sp->lock);
		block = block_take_locked(sp, cls);
		mutex_unlock(&sp->lock);
	}
	if (!block)
		atomic_fetch_sub(&sp->bytes_used, bytes);
	return block;
}

/* The slab's last block is free: true when its memory is to be given back. */
static bool slab_retire_locked(struct mem_space *sp, struct mem_slab *s)
{
	list_del(&s->link);
	if (sp->nwarm == WARM_MAX)
		return true;
	sp->nwarm++;
	list_push_front(&sp->warm, &s->link);
	return false;
}

void mem_block_free(struct mem_space *sp, void *block, unsigned cls)
{
	struct mem_slab *s = &sp->slabs[(size_t)((char *)block - sp->base) >> SLAB_SHIFT];
	bool give_back = false;

	mutex_lock(&sp->lock);
	assert(s->cls == cls && s->nused > 0);
	*(void **)block = s->free;
	s->free = block;
	if (s->nused-- == slab_blocks(cls))
		list_push_front(&sp->partial[cls], &s->link);
	if (s->nused == 0)
		give_back = slab_retire_locked(sp, s);
	mutex_unlock(&sp->lock);
	atomic_fetch_sub(&sp->bytes_used, mem_class_bytes(cls));
	if (!give_back)
		return;
	madvise(slab_mem(sp, s), SLAB_BYTES, MADV_DONTNEED);
	mutex_lock(&sp->lock);
	list_push_front(&sp->cold, &s->link);
	mutex_unlock(&sp->lock);
}
