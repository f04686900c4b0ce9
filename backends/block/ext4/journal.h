/* SPDX-License-Identifier: Apache-2.0 */
/* journal.h - transactions on metadata blocks, written to a jbd2 log
 *
 *   txn_begin .. buf_change .. txn_end      handles of the running transaction, many at once
 *                 | seal: no handle open; images made, checksums set; the next transaction runs from here
 *                 v
 *   log writes --> FLUSH --> commit block (FUA) = durable: waiters wake, freed blocks may be used again
 *                 v
 *   images go home (checkpoint) --> FLUSH --> journal superblock with the new tail (FUA) = log space is free
 *
 *  J1 The commit block is written after all other blocks of its transaction and everything that was done on the device
 *     before are durable.
 *  J2 An image goes home only after its transaction is durable; the tail passes a transaction only after each of its
 *     images is durable at home, or void: a newer image of the block, or a revoke, is durable in the log.
 *  J3 A block that was logged and is freed is revoked in the transaction that frees it, while an image of it is in the
 *     log; logged again in the same transaction, the revoke is taken back.
 *  J4 A freed block is used again only after client->committed() of the freeing transaction; that comes when it is durable
 *     and no home write of an older image of a block revoked in it is in flight.
 *  J5 Sequence numbers grow for ever, over clean ends too; commit times never run backwards.
 *  J6 needs_recovery stands on the disk before the first commit of a mount.
 *  J7 An error of a log write, flush or home write stops the journal for good: every waiter, fsync and new handle
 *     gets it, and it is noted in the journal superblock if that can still be written.
 *  J8 What recovery does is done again, without harm, when it is cut off.
 *
 * Threads: any. A handle belongs to one thread. Own threads: "ext4-commit", "ext4-home".
 * Never wait for a commit (jrn_wait() and its like) with a handle open; never wait so, nor begin a handle, with a buffer
 * locked: a seal waits for handles, and takes the locks of what they changed. */
#ifndef BACKENDS_BLOCK_EXT4_JOURNAL_H
#define BACKENDS_BLOCK_EXT4_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/block/ext4/buf.h"
#include "backends/block/ext4/super.h"

struct jrn;

#define JRN_COMMIT_MS 5000u     /* age at which a transaction is committed */
#define JRN_TRANSACTION_PART 4u /* it holds at most this part of the log */

/* What the file system does for its journal. All optional, none fails the caller; arg is conf->client_arg. */
struct jrn_client {
	/* In the seal, no other handle is open: writes what lives as structs into buffers. t is a handle with the credits
	 * that were set aside by jrn_set_pack_credits(). -errno stops the journal. */
	int (*pack)(void *arg, struct txn *t);
	/* In the seal: sets the checksums in image, b's bytes that are about to be logged; b->data gets them too.
	 * BUF_SUPER: ext4_super_balance(), and nothing changes behind its first 512 bytes. */
	void (*seal)(void *arg, const struct buf *b, uint8_t *image);
	/* Each range of a handle that ends, for a record that outlives the process; before txn_end() returns. The bytes are those
	 * that the block has then: where two open handles change the same bytes (bits of a bitmap, a group's counts), they hold
	 * what the other one did, too. Such a client has to keep them apart. */
	void (*redo)(void *arg, uint32_t tid, uint64_t block, uint32_t off, uint32_t len,
		     const uint8_t *bytes);
	/* J4. On a thread of the journal: begins no handle, waits for no commit. */
	void (*committed)(void *arg, uint32_t tid);
	/* Once; others may meet the error a moment earlier. Waits for nothing of the journal's. */
	void (*aborted)(void *arg, int error);
};

struct jrn_conf {
	struct bd *dev; /* borrowed, as the next two */
	struct bufs *bufs;
	const struct ext4_super *super;  /* block size, features, where the journal lies */
	uint32_t commit_ms;              /* 0: JRN_COMMIT_MS */
	const struct jrn_client *client; /* NULL: none */
	void *client_arg;
};

/* What a recovery found and did. */
struct jrn_recovered {
	unsigned transactions, blocks,
		revoked; /* replayed; blocks written home; skipped for a revoke */
	uint32_t next_sequence;
};

/* Replays what is committed, makes it durable, then marks the log empty and clears needs_recovery: what the caller knows of
 * the superblock is old afterwards. Written by us or by the kernel: checksums none, V2, V3, 32
 * and 64 bit. The log of a clean file system is left alone. -EINVAL, -EUCLEAN with a sentence: a log that makes no
 * sense, a committed block with a wrong checksum, fast commits, asynchronous commits with a feature unknown to us. */
int jrn_recover(struct bd *dev, const struct ext4_super *super, struct jrn_recovered *out,
		struct err *err);

/* Opens an empty (recovered) log for writing: sets its features, and needs_recovery in the file system. */
int jrn_open(const struct jrn_conf *conf, struct jrn **out, struct err *err);
/* Commits, brings everything home, leaves log and needs_recovery clean. The error that stopped it, if one did: then the
 * file system needs recovery. Frees in any case. NULL is fine. */
int jrn_close(struct jrn *j);
/* The same as a crash: nothing more is written. For tests and for a device that is gone. */
void jrn_abandon(struct jrn *j);

/* ---- handles ---------------------------------------------------------- */

struct txn {
	struct jrn *j;
	uint32_t tid;
	unsigned credits; /* left */
	struct txn_range *ranges;
	unsigned nranges, cap;
};

/* Joins the running transaction with room for credits more blocks (revokes count a block each 100). May wait for
 * a seal, or for log space. -ENOSPC: more than a transaction holds; or the error that stopped the journal. */
int txn_begin(struct jrn *j, unsigned credits, struct txn *out);
/* More room without waiting. -EAGAIN: end this handle at a consistent point and begin another. */
int txn_extend(struct txn *t, unsigned credits);
/* The transaction that the changes are in. */
uint32_t txn_end(struct txn *t);

/* block of this type of content is freed in this handle: forgets its buffer and image, revokes it if the log has it (J3).
 * Nobody else may hold the buffer. For blocks that were never logged it does nothing. */
void txn_forget(struct txn *t, uint64_t block);

/* Credits that pack() may use, set aside from each transaction. -EAGAIN: the running one has no room for so many; it is
 * being committed. */
int jrn_set_pack_credits(struct jrn *j, unsigned credits);

/* ---- waiting ---------------------------------------------------------- */

/* Until tid is durable, committing it now if need be. Who comes during a commit joins the next. When nothing was changed in it,
 * jrn_barrier(). */
int jrn_wait(struct jrn *j, uint32_t tid);
/* Until all that was done on the device before the call is durable: one flush for all who come meanwhile. */
int jrn_barrier(struct jrn *j);
/* Commits what runs, and waits. */
int jrn_commit(struct jrn *j);
/* All images go home, the log is empty afterwards. */
int jrn_checkpoint(struct jrn *j);
bool jrn_durable(struct jrn *j, uint32_t tid);
/* 0, or what stopped it. */
int jrn_error(struct jrn *j);

struct jrn_counts {
	uint64_t commits, blocks, revokes, escapes, home_writes, flushes, seal_us_max;
	uint32_t running, durable; /* tids */
	uint32_t log_used, log_blocks;
};
void jrn_counts(struct jrn *j, struct jrn_counts *out);

#endif
