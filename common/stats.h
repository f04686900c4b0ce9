/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h - counters, declared in stats.def
 *
 * stats_add() is a plain add to a block of the calling thread's own; readers
 * sum the blocks. Counts of ended threads are kept. Values only grow. */
#ifndef COMMON_STATS_H
#define COMMON_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum stat_id {
#define STAT(name, unit, help) STAT_##name,
#include "common/stats.def"
#undef STAT
	STAT_COUNT
};

struct stat_info {
	const char *name, *unit, *help;
};

struct stats_block {
	_Atomic uint64_t v[STAT_COUNT];
};

extern const struct stat_info stat_info[STAT_COUNT];
extern __thread struct stats_block *stats_mine;

/* Makes the calling thread's block; falls back to a shared one without memory. */
struct stats_block *stats_attach(void);

static inline void stats_add(enum stat_id id, uint64_t n)
{
	struct stats_block *b = stats_mine ? stats_mine : stats_attach();

	atomic_fetch_add_explicit(&b->v[id], n, memory_order_relaxed);
}

static inline void stats_inc(enum stat_id id)
{
	stats_add(id, 1);
}

/* Sum over all threads, dead ones included. */
uint64_t stats_get(enum stat_id id);

#endif
