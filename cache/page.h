/* SPDX-License-Identifier: Apache-2.0 */
/* page.h - one frame: what it holds and what may happen to it
 *
 * A frame's content is described by masks, a bit for each unit:
 *   valid       the memory holds the file's bytes          (arena)
 *   dirty       ... that the backend does not have         (arena)
 *   unstable    ... that the backend may lose until commit (arena)
 *   fill        a read from the backend is under way
 *   writing     a write to the backend is under way
 *   committing  a commit that covers it is under way
 *
 *  EMPTY --frame_alloc--> (indexed) --fill_issue--> FILLING --fill_done--> CLEAN
 *    ^                        |                                            |  ^
 *    |                    cache_write                                 write|  |write_done
 *    |                        v                                            v  |(stable)
 *    |                      DIRTY <------------------------------------- DIRTY|
 *    |                        |  ^                                            |
 *    |          wb_submit     v  |write_done(error): FAILED = DIRTY, file->err
 *    |                      WRITING ------------------------------------------+
 *    |                        |write_done(unstable)                           |
 *    |                        v                 commit_done(same verifier)    |
 *    |                      UNSTABLE -----------------------------------------+
 *    |                        |commit_done(other verifier): DIRTY again
 *    +------- evicted or doomed, only from CLEAN (a doomed frame may lose dirty units first)
 *
 * Invariants, asserted by page_check() with the file's lock held:
 *  I1 dirty, writing, unstable, committing are subsets of valid
 *  I2 fill and valid do not meet
 *  I3 fill, writing, dirty, unstable or committing units mean pins > 0
 *  I4 bytes of a valid unit beyond the file's size are zero (checked by tests)
 *  I5 a frame in the index carries its file's id and page number */
#ifndef CACHE_PAGE_H
#define CACHE_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "cache/cache.h"
#include "common/list.h"

#define FRAME_NONE UINT32_MAX
#define FRAME_THAW (UINT32_MAX - 1) /* waiting for the end of a freeze, not for a frame */
#define PIN_BUSY 0x80000000u        /* belongs to who set it: evicting or free */
#define PIN_DOOMED 0x40000000u      /* out of the index; the last unpin frees it */
#define PIN_COUNT 0x3fffffffu

struct frame {
	_Atomic uint32_t pins;
	_Atomic uint32_t hash_next;
	_Atomic uint64_t file_id; /* 0: not indexed */
	_Atomic uint64_t fno;
	struct cache_file *file;
	/* guarded by the file's lock */
	uint64_t fill, writing, committing;
	uint64_t backed;           /* of these units the memory exists, whosever they were */
	struct list dirty_link;    /* on file->dirty while dirty != 0 */
	struct list unstable_link; /* on file->unstable while unstable or committing */
	bool held;                 /* counted in cache->held_frames, one pin taken */
};

enum page_state { PAGE_EMPTY, PAGE_FILLING, PAGE_CLEAN, PAGE_DIRTY, PAGE_WRITING, PAGE_UNSTABLE };

static inline uint64_t mask_load(const uint64_t *m)
{
	return __atomic_load_n(m, __ATOMIC_ACQUIRE);
}

static inline void mask_store(uint64_t *m, uint64_t v)
{
	__atomic_store_n(m, v, __ATOMIC_RELEASE);
}

/* Bits of units first..last, both included, last < 64. */
static inline uint64_t mask_range(unsigned first, unsigned last)
{
	return (~0ULL >> (63 - last)) & (~0ULL << first);
}

#endif
