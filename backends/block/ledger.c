/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.c - records of writes in memory that outlives the process, see ledger.h
 *
 * A process that dies between two stores leaves a record whose state is old: free, and its numbers do not
 * count, or valid, and they are not touched while it is. */
#include "backends/block/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device_impl.h"

static_assert(sizeof(struct bd_ledger) == 64, "layout in the arena");
static_assert(sizeof(struct bd_ledger_record) == 32, "layout in the arena");

static unsigned fits(size_t bytes)
{
	size_t n;

	if (bytes < sizeof(struct bd_ledger))
		return 0;
	n = (bytes - sizeof(struct bd_ledger)) / sizeof(struct bd_ledger_record);
	return n < BD_LEDGER_RECORDS ? (unsigned)n : BD_LEDGER_RECORDS;
}

struct bd_ledger *bd_ledger_init(void *mem, size_t bytes)
{
	struct bd_ledger *l = mem;
	unsigned n = fits(bytes);

	if (!mem || (uintptr_t)mem % 64 || n == 0)
		return NULL;
	l->nrecords = n;
	atomic_thread_fence(memory_order_release);
	l->magic = BD_LEDGER_MAGIC;
	return l;
}

uint32_t bd_ledger_take(struct bd_ledger *l, unsigned *at, const struct bd_req *rq)
{
	for (uint32_t n = 0; n < l->nrecords; n++) {
		uint32_t i = (uint32_t)((*at + n) % l->nrecords);
		struct bd_ledger_record *r = &l->records[i];

		if (atomic_load_explicit(&r->state, memory_order_relaxed) != BD_LEDGER_FREE)
			continue;
		r->off = rq->off;
		r->len = rq->len;
		r->stamp = rq->stamp;
		r->op = rq->op;
		atomic_store_explicit(&r->state, BD_LEDGER_IN_FLIGHT, memory_order_release);
		*at = i + 1;
		return i;
	}
	return NO_RECORD;
}

void bd_ledger_set(struct bd_ledger *l, uint32_t record, enum bd_ledger_state state)
{
	assert(record < l->nrecords);
	atomic_store_explicit(&l->records[record].state, state, memory_order_release);
}

static int by_stamp(const void *a, const void *b)
{
	const struct bd_ledger_range *x = a, *y = b;

	return (x->stamp > y->stamp) - (x->stamp < y->stamp);
}

/* False: nonsense. */
static bool sane(const struct bd_ledger_range *r, uint64_t size)
{
	return (r->state == BD_LEDGER_IN_FLIGHT || r->state == BD_LEDGER_UNFLUSHED) &&
	       op_changes(r->op) && r->len > 0 && r->off <= size && r->len <= size - r->off;
}

int bd_ledger_read(const void *mem, size_t bytes, uint64_t size, struct bd_ledger_range *out,
		   unsigned cap, unsigned *nonsense)
{
	const struct bd_ledger *l = mem;
	AUTO_FREE struct bd_ledger_range *all = NULL;
	unsigned n = 0, bad = 0, nrecords;

	if (bytes < sizeof *l || l->magic != BD_LEDGER_MAGIC)
		return -EINVAL;
	nrecords = l->nrecords;
	if (nrecords == 0 || nrecords > fits(bytes))
		return -EINVAL;
	all = calloc(nrecords, sizeof *all);
	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < nrecords; i++) {
		const struct bd_ledger_record *r = &l->records[i];
		uint32_t state = atomic_load_explicit(&r->state, memory_order_acquire);
		struct bd_ledger_range range = {
			.off = r->off, .len = r->len, .stamp = r->stamp, .state = state, .op = r->op
		};

		if (state == BD_LEDGER_FREE)
			continue;
		if (sane(&range, size))
			all[n++] = range;
		else
			bad++;
	}
	qsort(all, n, sizeof *all, by_stamp);
	if (cap > 0 && n > 0)
		memcpy(out, all, (n < cap ? n : cap) * sizeof *out);
	if (nonsense)
		*nonsense = bad;
	return (int)n;
}

void bd_ledger_clear(struct bd_ledger *l)
{
	for (unsigned i = 0; i < l->nrecords; i++)
		bd_ledger_set(l, i, BD_LEDGER_FREE);
}
