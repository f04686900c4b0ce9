/* SPDX-License-Identifier: Apache-2.0 */
/* super.h - what has to be known of an ext4 file system to open its journal
 *
 * The superblock with its checksum and the features that decide whether we may write, and where the journal file lies.
 * Nothing here allocates or changes more than the flag that says "the log may hold something".
 * Format: Documentation/filesystems/ext4 of the Linux kernel; structs of <ext2fs/ext2_fs.h>. Runs alone. */
#ifndef BACKENDS_BLOCK_EXT4_SUPER_H
#define BACKENDS_BLOCK_EXT4_SUPER_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/block/device.h"

#define EXT4_SUPER_OFFSET 1024u
#define EXT4_SUPER_BYTES 1024u
#define EXT4_JOURNAL_EXTENTS_MAX 65536u /* of a journal file: more is refused */

/* A run of blocks of a file. */
struct ext4_extent {
	uint32_t log, len;
	uint64_t phys;
};

struct ext4_super {
	uint8_t raw[EXT4_SUPER_BYTES]; /* as read */
	uint32_t block_size;
	uint64_t blocks;
	bool csum, bit64; /* metadata_csum; 64bit */
	bool needs_recovery;
	uint32_t csum_seed; /* of metadata: s_checksum_seed, or crc32c(~0, uuid) */
	/* The journal file, in order of log, without holes; owned. */
	struct ext4_extent *journal;
	unsigned njournal;
	uint32_t journal_blocks;
};

/* Reads and checks it. -EINVAL with a sentence: no ext4, bad checksum, beyond the device, no internal journal, a
 * feature that we do not know (named), a journal file with holes or shared blocks. */
int ext4_super_read(struct bd *dev, struct ext4_super *out, struct err *err);
void ext4_super_done(struct ext4_super *s);

/* After a change of its first 512 bytes: makes the checksum that stands in the second 512 right again, by four bytes that
 * ext4 does not use (s_algorithm_usage_bitmap). So the change is one sector, which is written wholly or not: a superblock of
 * new counts and an old checksum would keep everybody from the log that mends it. Whoever seals it (jrn_client) does it, too. */
void ext4_super_balance(uint8_t *raw);

/* Sets or clears needs_recovery on the disk, durable when it returns; only when it differs. Reads the superblock anew. */
int ext4_super_set_recovery(struct bd *dev, struct ext4_super *s, bool needed);

#endif
