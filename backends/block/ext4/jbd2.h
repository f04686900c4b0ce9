/* SPDX-License-Identifier: Apache-2.0 */
/* jbd2.h - the journal on disk, as the kernel's jbd2 and e2fsprogs read and write it
 *
 * Source of the format: Documentation/filesystems/ext4/journal.rst of the Linux kernel. All numbers are big endian.
 * The log is a ring of blocks of the journal file: block 0 the superblock, [first, total) the log.
 *
 *   a transaction:  revoke blocks and descriptor blocks, each descriptor followed by the blocks that its tags
 *                   name, in their order; then one commit block. All with its sequence number */
#ifndef BACKENDS_BLOCK_EXT4_JBD2_H
#define BACKENDS_BLOCK_EXT4_JBD2_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define JBD2_MAGIC 0xc03b3998u
#define JBD2_MIN_BLOCKS 1024u
#define JBD2_SUPER_BYTES 1024u

enum jbd2_type {
	JBD2_DESCRIPTOR = 1,
	JBD2_COMMIT = 2,
	JBD2_SUPER_V1 = 3,
	JBD2_SUPER_V2 = 4,
	JBD2_REVOKE = 5,
	JBD2_FAST_COMMIT = 6, /* not ours: a log with such blocks is refused */
};

struct jbd2_header {
	uint32_t magic, type, sequence;
};

#define JBD2_COMPAT_CHECKSUM 1u
#define JBD2_INCOMPAT_REVOKE 1u
#define JBD2_INCOMPAT_64BIT 2u
#define JBD2_INCOMPAT_ASYNC_COMMIT 4u
#define JBD2_INCOMPAT_CSUM_V2 8u
#define JBD2_INCOMPAT_CSUM_V3 16u
#define JBD2_INCOMPAT_FAST_COMMIT 32u
#define JBD2_CRC32C 4u

struct jbd2_super {
	struct jbd2_header h;
	uint32_t block_size, total, first;
	uint32_t sequence,
		start;  /* of the first transaction that counts; start 0: the log is empty */
	uint32_t error; /* -errno with which it was stopped */
	uint32_t compat, incompat, ro_compat;
	uint8_t uuid[16];
	uint32_t users, dynsuper, max_transaction, max_data;
	uint8_t checksum_type, pad[3];
	uint32_t fc_blocks, head;
	uint32_t pad2[40];
	uint32_t checksum; /* crc32c(~0, the 1,024 bytes with this zero) */
	uint8_t user_uuid[16 * 48];
};
static_assert(sizeof(struct jbd2_super) == JBD2_SUPER_BYTES, "layout");
static_assert(offsetof(struct jbd2_super, checksum) == 0xfc, "layout");

#define JBD2_TAG_ESCAPED 1u /* the block's first four bytes are the magic, and zero in the log */
#define JBD2_TAG_SAME_UUID 2u
#define JBD2_TAG_DELETED 4u
#define JBD2_TAG_LAST 8u

struct jbd2_tag3 { /* CSUM_V3 */
	uint32_t block_low, flags, block_high, checksum;
};
struct jbd2_tag { /* the others: block_high only with 64BIT */
	uint32_t block_low;
	uint16_t checksum, flags; /* CSUM_V2: low half of the checksum */
	uint32_t block_high;
};
struct jbd2_tail { /* last of a descriptor or revoke block, with CSUM_V2 and V3 */
	uint32_t checksum;
};
struct jbd2_revoke {
	struct jbd2_header h;
	uint32_t count; /* bytes used, with this head; then block numbers of 4 or (64BIT) 8 bytes */
};
struct jbd2_commit {
	struct jbd2_header h;
	uint8_t checksum_type, checksum_size, pad[2];
	uint32_t checksum[8]; /* [0]: of the whole block with this zero */
	uint64_t seconds;
	uint32_t nanoseconds;
} __attribute__((packed));
static_assert(offsetof(struct jbd2_commit, seconds) == 0x30, "layout");

#endif
