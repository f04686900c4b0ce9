/* SPDX-License-Identifier: Apache-2.0 */
/* oracle.h - what happened to each block of the test's file, and which of it a power cut must have left
 *
 *   a block:   FREE --META--> logged in transactions --FREE--> FREE --DATA--> written directly --FREE--> FREE
 *
 * Each event has the number of the mount and the ordinal of its transaction in that mount (1 is the first: ordinals do not
 * wrap where transaction numbers do). What a mount that ended badly had kept is told by history_kept().
 *
 * A recovered image is right for a cut when there is one transaction n (0: the state that the mount began with), not
 * before the last one acknowledged at the cut, of which holds:
 *  O1 a block that is logged at the end of n has the bytes that it had at the end of n;
 *  O2 a block written directly, whose write was acknowledged or belongs to a transaction up to n, has these bytes, each sector
 *     from this or a later write;
 *  O3 all other blocks hold anything.
 *
 * Acknowledgements are marks in the log of writes:  "mount M"  "ack M TID"  "data BATCH".
 * Threads: history_add() and its like under the workload's lock; the oracle runs alone. */
#ifndef TESTS_CRASH_ORACLE_H
#define TESTS_CRASH_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/block/record.h"

#define HISTORY_MOUNTS 32u /* in one run */
#define SECTORS_MAX 8u     /* of a block */
#define WHY_MAX 400u

enum event_kind { EVENT_META, EVENT_FREE, EVENT_DATA };

struct event {
	uint32_t mount, ord; /* DATA: of the transaction that promises it; 0: none */
	uint32_t batch;      /* DATA: that is acknowledged by a mark */
	enum event_kind kind;
	uint64_t version;
	uint64_t sector[SECTORS_MAX]; /* hashes */
};

struct block_history {
	struct event *events; /* owned; in their order */
	unsigned n, cap;
};

struct history {
	unsigned nblocks, block_size;
	struct block_history *blocks;
	unsigned mounts; /* begun so far; the first has number 1 */
	struct mount_history {
		uint32_t first_tid; /* of ordinal 1; valid when any is true */
		bool any;
		uint32_t last; /* largest ordinal of an event */
		uint32_t kept; /* what the next mount found */
	} mount[HISTORY_MOUNTS + 1];
};

void history_init(struct history *h, unsigned nblocks, unsigned block_size);
void history_done(struct history *h);
/* A mount begins: its number. */
unsigned history_mount(struct history *h);
/* Ordinal of tid in the mount that runs; the first call of a mount makes it 1. */
uint32_t history_ord(struct history *h, uint32_t tid);
/* bytes: of the whole block, what it holds from now on (FREE: NULL). */
void history_add(struct history *h, unsigned block, const struct event *e, const uint8_t *bytes);
/* The mount that runs is over, and the transaction of that ordinal is what the next one will find. */
void history_kept(struct history *h, uint32_t ord);
int history_save(const struct history *h, const char *path);
int history_load(struct history *h, const char *path, struct err *err);

struct oracle {
	const struct history *h; /* borrowed */
	/* For each point of the log (entries + 1). */
	struct need {
		uint32_t mount, acked, marks;
	} * needs;
	uint32_t *batch_point; /* of a batch: the first point that has its mark; UINT32_MAX: none */
	unsigned nbatches;
};

/* -EINVAL with a sentence: a mark makes no sense. */
int oracle_init(struct oracle *o, const struct history *h, const struct record_log *log,
		struct err *err);
void oracle_done(struct oracle *o);
/* What must hold differs between points with different keys. */
uint64_t oracle_key(const struct oracle *o, uint32_t point);
/* May blocks (all of them, one after the other) stand on the disk after a recovery from a cut at point? The
 * ordinal n in *ord, its mount in *mount (of ordinal 0: the mount that begins with it). False: no, and why. */
bool oracle_judge(const struct oracle *o, uint32_t point, const uint8_t *blocks, uint32_t *mount,
		  uint32_t *ord, char why[WHY_MAX]);
/* The event that decides what block holds at the end of that transaction; NULL: nothing happened to it. *data: the first
 * of the direct writes behind it, or NULL; there are *ndata. */
const struct event *history_at(const struct history *h, unsigned block, uint32_t mount,
			       uint32_t ord, const struct event **data, unsigned *ndata);

#endif
