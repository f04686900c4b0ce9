/* SPDX-License-Identifier: Apache-2.0 */
/* super_impl.h - parts of super.c that the journal needs */
#ifndef BACKENDS_BLOCK_EXT4_SUPER_IMPL_H
#define BACKENDS_BLOCK_EXT4_SUPER_IMPL_H

#include "backends/block/ext4/super.h"

/* Some bytes of the device, whatever its blocks are. -errno. */
int ext4_read_bytes(struct bd *dev, uint64_t off, void *out, size_t len);
/* Nobody else writes the device's blocks around them meanwhile. -errno. */
int ext4_write_bytes(struct bd *dev, uint64_t off, const void *from, size_t len, unsigned flags);

/* Where a block of the journal file lies, and how many from it on lie together. log < journal_blocks. */
uint64_t ext4_journal_block(const struct ext4_super *s, uint32_t log, uint32_t *run);

/* A copy of the journal's extents in the order of the device; freed by the caller. NULL: no memory. */
struct ext4_extent *ext4_journal_sorted(const struct ext4_super *s);
bool ext4_extents_hold(const struct ext4_extent *sorted, unsigned n, uint64_t block);

#endif
