/* SPDX-License-Identifier: Apache-2.0 */
/* record.h - a log of writes, in the format of the kernel's dm-log-writes (drivers/md/dm-log-writes.c,
 * Documentation/admin-guide/device-mapper/log-writes.rst), so that xfstests' replay-log reads it too
 *
 *   sector 0           struct record_super, padded to a sector of sector_size bytes
 *   then, each padded  struct record_entry (one sector), its data (nr_sectors * 512 bytes; none for a discard);
 *   to sector_size     a mark has its text behind the struct, in the same sector
 *
 * All numbers little endian; sector and nr_sectors count 512 bytes whatever sector_size is. A flush is an
 * entry without sectors and stands where the flush was *submitted*: what is before it was done by then. A write
 * with FUA has its flag. A zeroed range is a write of zeros, in pieces of RECORD_ZERO_MAX bytes. A write or discard that was
 * in flight together with flushes stands behind them, and tells in data_len how many it may have overtaken: it may have
 * reached the disk before what those cover. An entry without flags and sectors is the place of a
 * flush that was not done; readers leave it out, and do not count it either.
 * Reads and writes of the log: one thread. */
#ifndef BACKENDS_BLOCK_RECORD_H
#define BACKENDS_BLOCK_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define RECORD_MAGIC 0x6a736677736872ULL
#define RECORD_VERSION 1ULL
#define RECORD_FLUSH 1ull
#define RECORD_FUA 2ull
#define RECORD_DISCARD 4ull
#define RECORD_MARK 8ull
#define RECORD_METADATA 16ull
#define RECORD_ZERO_MAX (1u << 20)
#define RECORD_DATA_MAX (64u << 20) /* of one entry; a reader refuses more */

struct record_super {
	uint64_t magic, version, nr_entries;
	uint32_t sector_size, pad;
};

struct record_entry {
	uint64_t sector, nr_sectors, flags;
	uint64_t data_len; /* of a mark's text; else flushes before it that were not done at its submission */
};

struct record_log {
	unsigned n;
	struct record_item {
		struct record_entry e; /* data_len of a write or discard: of the flushes in the log */
		const uint8_t *
			data; /* of a write: nr_sectors * 512 bytes; of a mark: text, not terminated; else NULL */
	} * items;
	void *map; /* the whole file; owned */
	size_t map_bytes;
};

/* Reads a whole log. The number of entries in the head may be too small when the writer died: what is complete counts.
 * -EINVAL with a sentence (which entry, which field). */
int record_load(const char *path, struct record_log *out, struct err *err);
void record_unload(struct record_log *log);

#endif
