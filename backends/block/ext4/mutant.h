/* SPDX-License-Identifier: Apache-2.0 */
/* mutant.h - one rule broken at a time, to prove that the crash harness sees it
 *
 * MUTANT(name) is 0 but in builds with -DPERSIFS_MUTANTS (tests/crash), where jrn_mutant chooses one. */
#ifndef BACKENDS_BLOCK_EXT4_MUTANT_H
#define BACKENDS_BLOCK_EXT4_MUTANT_H

#include <stdbool.h>

#include "backends/block/device.h"
#include "common/lock.h"

/* clang-format off */
#define JRN_MUTANTS(X)                                                                             \
	X(no_flush_before_commit, "the commit block follows without a flush")                     \
	X(commit_before_flush_done, "the commit block is sent before the flush is answered")      \
	X(no_fua_commit, "the commit block is written without FUA")                               \
	X(ack_before_fua, "a commit is acknowledged while its commit block is in flight")         \
	X(freed_before_fua, "freed blocks are given out while the commit block is in flight")     \
	X(commit_early, "the commit block is sent while log blocks are in flight")                \
	X(revoke_forgotten, "a freed block is not revoked")                                       \
	X(revoke_not_cancelled, "a block logged again in its transaction stays revoked")          \
	X(freed_reused_early, "freed blocks are given out before the commit")                     \
	X(checkpoint_before_commit, "images go home before their transaction is durable")         \
	X(tail_moved_early, "the tail moves before home writes are durable")                      \
	X(tail_before_flush_done, "the tail is sent before the flush of home writes is answered") \
	X(tail_without_fua, "log space is used again before the new tail is durable")             \
	X(escape_forgotten, "a block that begins with the magic is logged as it is")              \
	X(unescape_forgotten, "recovery does not put the magic back")                             \
	X(wrong_checksum_seed, "checksums start from another seed")                               \
	X(stale_sequence_accepted, "recovery takes blocks of any sequence")                       \
	X(sequence_restarted, "each mount numbers its transactions from 1")                       \
	X(torn_commit_accepted, "recovery takes a commit block without looking at its checksum") \
	X(recovery_without_flush, "recovery empties the log before replayed blocks are durable")
/* clang-format on */

enum jrn_mutant_id {
	JRN_MUTANT_none,
#define X(name, text) JRN_MUTANT_##name,
	JRN_MUTANTS(X)
#undef X
		JRN_MUTANTS_END
};

#ifdef PERSIFS_MUTANTS
extern enum jrn_mutant_id jrn_mutant; /* set before anything runs */
#define MUTANT(name) (jrn_mutant == JRN_MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

/* A request that is not waited for at once, as a rule wants it. One that began has to end. */
struct early {
	struct bd_req rq; /* op, flags, off, len, iov, niov: the caller's */
	struct mutex lock;
	struct cond ended;
	bool done; /* guarded by lock */
};
/* Sends it. An error: nothing was sent. */
int early_begin(struct bd *dev, struct early *e);
/* Waits for it. rc, or where that is 0, what became of the request. */
int early_end(struct early *e, int rc);

#endif
