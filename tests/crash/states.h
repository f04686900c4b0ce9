/* SPDX-License-Identifier: Apache-2.0 */
/* states.h - what a power cut can leave of a log of writes
 *
 *   entries:  w0 w1 FLUSH w2 w3 w4(FUA) mark w5 FLUSH ...
 *                   ^durable^volatile   ^ point: all before it was done, the entry at it is in flight
 *
 *  M1 A flush makes durable what stands before it in the log: it stands where it was submitted.
 *  M2 A write with FUA is durable once it is done, and says nothing of others.
 *  M3 Every other write since the last flush is there or not, each by itself; what is there lies in the order of
 *     the log, for writes that overlap were never in flight together.
 *  M4 A write in flight is there, not, or torn at 512 bytes.
 *  M5 A discarded range holds garbage or zeros, from the moment the discard was sent.
 *  M6 A write or discard that was sent before flushes were answered (record.h: data_len) may have landed before what they make durable:
 *     at the first of these flushes, and at each end of an epoch from there on, it is there or not like the volatile
 *     ones: an overtaker. Before that flush it is not there, for it may not have been sent yet.
 *  M7 A write with FUA that is an overtaker is there when a later overtaker is: whoever sent that one may have waited for it.
 *
 * The cuts of each point, in their order; the text of one is POINT.KINDINDEX:
 *   p   all of the volatile writes
 *   m   at the end of an epoch of up to 6 volatile writes: each other subset; index: the bits of those that are there
 *   n a x r   of longer ones: none, each alone, each missing, STATES_RANDOM seeded subsets
 *   u   a seeded subset, one of its writes torn
 *   t   the write in flight, torn; odd: above a seeded subset of the others
 *   d   the discard in flight: garbage, zeros, half of it
 *   o   with overtakers: of up to 6 writes, volatile ones and overtakers, each subset with an overtaker; index: the bits, the volatile ones
 *       first, less the number of subsets without. Of more: each overtaker alone, each and all of the volatile ones, each
 *       volatile one missing beside all overtakers, STATES_RANDOM seeded subsets
 *   v   a seeded subset with an overtaker, one of its writes torn; odd: an overtaker
 * An epoch ends before a flush, before a write with FUA, and at the end of the log.
 *
 * Cuts come in the order of points. Threads: one at a time. */
#ifndef TESTS_CRASH_STATES_H
#define TESTS_CRASH_STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/block/record.h"
#include "tests/crash/overlay.h"

#define STATES_EXHAUSTIVE 6u
#define STATES_RANDOM 32u
#define STATES_TORN_SUBSETS 8u
#define CUT_TEXT_MAX 32u

struct cut {
	uint32_t point, index;
	char kind;
};

struct states_conf {
	const struct record_log *log; /* borrowed, as start */
	const struct overlay *start;  /* the image before the first entry */
	uint64_t seed;
};

struct states {
	struct states_conf conf;
	/* Where the iteration stands. */
	struct overlay durable; /* M1, up to flushed */
	unsigned flushed;       /* entries that durable holds */
	unsigned window;        /* first entry behind the last flush before the point */
	uint32_t point;
	unsigned group; /* of this point's cuts */
	uint32_t index;
	struct entry_list {
		unsigned *at, n, cap; /* at: owned */
	} vol, over;     /* volatile ones of the window; overtakers, when the point ends an epoch */
	unsigned *first; /* of each entry: the first flush that it overtook, UINT_MAX: none; owned */
	unsigned *reach; /* of each flush: the last entry with it as first, 0: none; owned */
	unsigned far;    /* no overtaker at the point is behind this entry */
};

/* -EINVAL with a sentence: an entry lies beyond the image. */
int states_init(struct states *s, const struct states_conf *conf, struct err *err);
void states_done(struct states *s);
/* The next cut; false: there are no more. */
bool states_next(struct states *s, struct cut *out);
/* The image of the cut that states_next() gave last, above the durable image; valid until the next one is asked for. */
void states_image(struct states *s, const struct cut *c, struct overlay *out);
void cut_text(const struct cut *c, char text[CUT_TEXT_MAX]);

#endif
