/* SPDX-License-Identifier: Apache-2.0 */
/* chunk.c - which block holds which 64 KiB of a file
 *
 * A tree of tables with 512 slots; its height grows with the highest chunk ever
 * written and falls only when the file is cut to one chunk or none, so that a
 * small file needs no table and a sparse one few. */
#include <stdlib.h>

#include "backends/memory/memory_impl.h"

#define TABLE_SHIFT 9
#define TABLE_SLOTS (1u << TABLE_SHIFT)

static uint64_t *table_of(uint64_t entry)
{
	return (uint64_t *)(uintptr_t)entry;
}

static bool in_reach(const struct mem_chunks *c, uint64_t chunk)
{
	return chunk >> (TABLE_SHIFT * c->height) == 0;
}

static unsigned index_at(uint64_t chunk, unsigned level)
{
	return (unsigned)(chunk >> (TABLE_SHIFT * (level - 1))) & (TABLE_SLOTS - 1);
}

uint64_t *mem_chunks_slot(const struct mem_chunks *c, uint64_t chunk)
{
	const uint64_t *at = &c->root;

	if (!in_reach(c, chunk))
		return NULL;
	for (unsigned level = c->height; level > 0; level--) {
		if (!*at)
			return NULL;
		at = &table_of(*at)[index_at(chunk, level)];
	}
	return (uint64_t *)(uintptr_t)at;
}

static uint64_t table_new(void)
{
	return (uint64_t)(uintptr_t)calloc(TABLE_SLOTS, sizeof(uint64_t));
}

/* Puts one more table above the root. */
static bool grow(struct mem_chunks *c)
{
	if (c->root) {
		uint64_t table = table_new();

		if (!table)
			return false;
		table_of(table)[0] = c->root;
		c->root = table;
	}
	c->height++;
	return true;
}

uint64_t *mem_chunks_slot_make(struct mem_chunks *c, uint64_t chunk)
{
	uint64_t *at = &c->root;

	while (!in_reach(c, chunk))
		if (!grow(c))
			return NULL;
	for (unsigned level = c->height; level > 0; level--) {
		if (!*at)
			*at = table_new();
		if (!*at)
			return NULL;
		at = &table_of(*at)[index_at(chunk, level)];
	}
	return at;
}

/* Looks for the first used slot at or behind *chunk under at, whose subtree
 * starts at chunk number base. */
static uint64_t *next_under(uint64_t *at, unsigned level, uint64_t base, uint64_t *chunk)
{
	uint64_t span;

	if (!*at)
		return NULL;
	if (level == 0) {
		*chunk = base;
		return at;
	}
	span = 1ULL << (TABLE_SHIFT * (level - 1));
	for (unsigned i = *chunk > base ? (unsigned)((*chunk - base) / span) : 0; i < TABLE_SLOTS;
	     i++) {
		uint64_t *found = next_under(&table_of(*at)[i], level - 1, base + i * span, chunk);

		if (found)
			return found;
	}
	return NULL;
}

bool mem_chunks_next(const struct mem_chunks *c, uint64_t *chunk, uint64_t **slot)
{
	if (!in_reach(c, *chunk))
		return false;
	*slot = next_under((uint64_t *)(uintptr_t)&c->root, c->height, 0, chunk);
	return *slot != NULL;
}

/* Returns true when nothing is left under at. */
static bool cut_under(uint64_t *at, unsigned level, uint64_t base, uint64_t first,
		      struct mem_space *sp, uint64_t *freed)
{
	uint64_t span = 1ULL << (TABLE_SHIFT * level);
	bool empty = true;

	if (!*at)
		return true;
	if (base + span <= first)
		return false;
	if (level == 0) {
		*freed += mem_class_bytes(*at >> 62);
		mem_block_free(sp, mem_slot_mem(*at), (unsigned)(*at >> 62));
	} else {
		span >>= TABLE_SHIFT;
		for (unsigned i = 0; i < TABLE_SLOTS; i++)
			empty &= cut_under(&table_of(*at)[i], level - 1, base + i * span, first, sp,
					   freed);
		if (!empty)
			return false;
		free(table_of(*at));
	}
	*at = 0;
	return true;
}

uint64_t mem_chunks_cut(struct mem_chunks *c, struct mem_space *sp, uint64_t first)
{
	uint64_t freed = 0;

	if (cut_under(&c->root, c->height, 0, first, sp, &freed))
		c->height = 0;
	return freed;
}
