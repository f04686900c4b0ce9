/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - see stats.h. A block lives on one of two lists' worth of state: it
 * belongs to a living thread (in blocks[]) or its counts were folded into the
 * shared block when the thread ended. */
#include "common/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/list.h"
#include "common/lock.h"

struct linked_block {
	struct stats_block block;
	struct list link;
};

const struct stat_info stat_info[STAT_COUNT] = {
#define STAT(name, unit, help) { #name, unit, help },
#include "common/stats.def"
#undef STAT
};

__thread struct stats_block *stats_mine;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static struct mutex lock;
static struct list blocks; /* guarded by lock */
static struct stats_block shared;

static void stats_detach(void *p)
{
	struct linked_block *b = p;

	mutex_lock(&lock);
	for (int i = 0; i < STAT_COUNT; i++)
		atomic_fetch_add(&shared.v[i], atomic_load(&b->block.v[i]));
	list_del(&b->link);
	mutex_unlock(&lock);
	stats_mine = &shared;
	free(b);
}

static void stats_init(void)
{
	mutex_init(&lock, LOCK_stats);
	list_init(&blocks);
	pthread_key_create(&key, stats_detach);
}

struct stats_block *stats_attach(void)
{
	struct linked_block *b;

	pthread_once(&once, stats_init);
	b = calloc(1, sizeof *b);
	if (!b || pthread_setspecific(key, b)) {
		free(b);
		return &shared;
	}
	mutex_lock(&lock);
	list_push_back(&blocks, &b->link);
	mutex_unlock(&lock);
	stats_mine = &b->block;
	return stats_mine;
}

uint64_t stats_get(enum stat_id id)
{
	uint64_t sum;

	pthread_once(&once, stats_init);
	mutex_lock(&lock);
	sum = atomic_load(&shared.v[id]);
	list_for_each(it, &blocks)
		sum += atomic_load(&list_entry(it, struct linked_block, link)->block.v[id]);
	mutex_unlock(&lock);
	return sum;
}
