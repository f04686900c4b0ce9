/* SPDX-License-Identifier: Apache-2.0 */
/* jlog_impl.h - the blocks of a log: checksums, tags, the journal superblock, and writes of many at once
 *
 * Shared by the journal, which writes logs, and the recovery, which reads them. Nothing here has threads or locks but
 * jlog_write(). */
#ifndef BACKENDS_BLOCK_EXT4_JLOG_IMPL_H
#define BACKENDS_BLOCK_EXT4_JLOG_IMPL_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/block/ext4/jbd2.h"
#include "backends/block/ext4/super.h"

/* A journal of mke2fs has at most so many blocks. The tables of a recovery grow with what the log holds. */
#define JLOG_BLOCKS_MAX 10240000u

/* How a log is written. */
struct jlog_format {
	uint32_t block_size;
	bool bit64;  /* tags and revokes have 64 bit */
	bool csum;   /* V2 or V3: each block has a checksum */
	bool v3;     /* of 32 bit in the tags */
	bool compat; /* V1: the commit block has one of the transaction */
	bool async;  /* commit blocks may be written before the others */
	uint32_t seed;
};

/* As read: block 0 of the journal file. */
struct jlog_super {
	struct jbd2_super raw;
	struct jlog_format format;
	uint32_t total, first, sequence, start;
};

/* Sequence numbers wrap: a is b or later. */
static inline bool tid_geq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

static inline bool tid_gt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* Reads and checks the journal superblock. -EINVAL, -EUCLEAN with a sentence. */
int jlog_super_read(struct bd *dev, const struct ext4_super *super, struct jlog_super *out,
		    struct err *err);
/* Sets the checksum where the format has one, and writes what changes: the first sector. Not two at once. */
int jlog_super_write(struct bd *dev, const struct ext4_super *super, struct jlog_super *l,
		     unsigned flags);
void jlog_format_of(const struct jbd2_super *raw, struct jlog_format *out);

static inline uint32_t jlog_next(const struct jlog_super *l, uint32_t block, uint32_t n)
{
	uint64_t next = (uint64_t)block + n;

	return (uint32_t)(next < l->total ? next : next - l->total + l->first);
}

/* crc32c of a whole block in which the four bytes at field are zero. */
uint32_t jlog_block_crc(const struct jlog_format *f, const uint8_t *block, size_t field);
/* Of a block as it lies in the log, for its tag. */
uint32_t jlog_tag_crc(const struct jlog_format *f, uint32_t sequence, const uint8_t *block);

/* A tag, whichever form it has. */
struct jlog_tag {
	uint64_t block;
	uint32_t flags, checksum;
};
size_t jlog_tag_bytes(const struct jlog_format *f);
/* Bytes at the end of a descriptor or revoke block that belong to its checksum. */
size_t jlog_tail_bytes(const struct jlog_format *f);
/* The tag at *at of a descriptor block, and *at behind it. False: there is none, the block is full. */
bool jlog_tag_get(const struct jlog_format *f, const uint8_t *block, size_t *at,
		  struct jlog_tag *out);
/* Writes one at *at; false: no room. */
bool jlog_tag_put(const struct jlog_format *f, uint8_t *block, size_t *at,
		  const struct jlog_tag *tag);
/* Does the checksum of the tag fit the block as it lies in the log? Without checksums always. */
bool jlog_tag_fits(const struct jlog_format *f, const struct jlog_tag *tag, uint32_t sequence,
		   const uint8_t *block);

/* Bytes of a block number in a revoke block. */
static inline size_t jlog_revoke_bytes(const struct jlog_format *f)
{
	return f->bit64 ? 8 : 4;
}
static inline uint32_t jlog_revokes_per_block(const struct jlog_format *f)
{
	size_t room = f->block_size - sizeof(struct jbd2_revoke) - jlog_tail_bytes(f);

	return (uint32_t)(room / jlog_revoke_bytes(f));
}
/* At the least: only the first tag of a block has a UUID behind it. */
static inline uint32_t jlog_tags_per_block(const struct jlog_format *f)
{
	size_t room = f->block_size - sizeof(struct jbd2_header) - 16 - jlog_tail_bytes(f);

	return (uint32_t)(room / jlog_tag_bytes(f));
}

void jlog_header_put(uint8_t *block, enum jbd2_type type, uint32_t sequence);
/* Into the last four bytes of a finished descriptor or revoke block, where the format has checksums. */
void jlog_tail_put(const struct jlog_format *f, uint8_t *block);
bool jlog_tail_fits(const struct jlog_format *f, const uint8_t *block);

/* V1: CRC-32 of a transaction's descriptors and blocks, most significant bit first. */
uint32_t jlog_crc32_be(uint32_t crc, const uint8_t *p, size_t n);

/* A piece of memory and where it goes. */
struct jlog_run {
	uint64_t off; /* bytes of the device */
	size_t len;
	const struct iovec *iov;
	unsigned niov;
};
/* Writes all of them, many in flight, and waits: none overlaps another. The first error. */
int jlog_write(struct bd *dev, const struct jlog_run *runs, unsigned n, unsigned flags);

#endif
