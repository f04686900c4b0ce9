/* SPDX-License-Identifier: Apache-2.0 */
/* Any journal superblock and any log blocks, through jrn_recover() over a memory device: no crash, no end that does not
 * come; what is refused has changed nothing at home, and the log itself is never written but for its superblock.
 *
 * Input: a byte of switches, the 1,024 bytes of the journal superblock, log blocks. The switches repair checksums, which no
 * fuzzer guesses: 1 of the journal superblock, 2 of descriptor, revoke and commit blocks, 4 of V3 tags; 8: the file system has blocks of
 * 4,096 bytes; 16: the log is in two pieces. */
#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jbd2.h"
#include "backends/block/ext4/journal.h"
#include "common/cleanup.h"
#include "common/crc32c.h"
#include "tests/fake/fake_device.h"

enum {
	SUPER_SUM = 1,
	BLOCK_SUMS = 2,
	TAG_SUMS = 4,
	LARGE = 8,
	SPLIT = 16,
	BLOCKS = 256,
	LOG_BLOCKS = 64,
	LOG_AT = 100,
	FILL = 0xa5,
};

static struct {
	uint8_t *image;
	struct ext4_super s;
	struct ext4_extent extents[2];
	uint32_t seed;
} t;

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}

static void put(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static uint8_t *log_block(uint32_t log)
{
	const struct ext4_extent *e = &t.extents[t.s.njournal - 1];

	if (log < e->log)
		e = &t.extents[0];
	return t.image + (e->phys + (log - e->log)) * t.s.block_size;
}

/* The tags of a descriptor, as far as there are some. */
static void tag_sums(uint32_t at)
{
	uint8_t *d = log_block(at);
	uint32_t bs = t.s.block_size, flags = 0;

	for (size_t off = 12; off + 16 <= bs - 4 && !(flags & JBD2_TAG_LAST); off += 16) {
		uint8_t *tag = d + off;

		flags = be32(tag + 4);
		if (++at == LOG_BLOCKS)
			at = 1;
		put(tag + 12, crc32c(crc32c(t.seed, d + 8, 4), log_block(at), bs));
		if (!(flags & JBD2_TAG_SAME_UUID))
			off += 16;
	}
}

static void block_sums(uint8_t switches)
{
	uint32_t bs = t.s.block_size;

	for (uint32_t i = 1; i < LOG_BLOCKS; i++) {
		uint8_t *b = log_block(i);
		size_t field = be32(b + 4) == JBD2_COMMIT ? 16 : bs - 4;

		if (be32(b) != JBD2_MAGIC)
			continue;
		if ((switches & TAG_SUMS) && be32(b + 4) == JBD2_DESCRIPTOR)
			tag_sums(i);
		if (!(switches & BLOCK_SUMS))
			continue;
		put(b + field, 0);
		put(b + field, crc32c(t.seed, b, bs));
	}
}

static void super_sum(void)
{
	uint8_t *j = log_block(0);

	put(j + 0xfc, 0);
	put(j + 0xfc, crc32c(~0u, j, 1024));
}

static void build(const uint8_t *data, size_t size)
{
	uint8_t switches = data[0], *raw;
	uint32_t bs = switches & LARGE ? 4096 : 1024;

	data++;
	size--;
	t.s = (struct ext4_super){
		.block_size = bs,
		.blocks = BLOCKS,
		.needs_recovery = true,
		.journal = t.extents,
		.njournal = switches & SPLIT ? 2 : 1,
		.journal_blocks = LOG_BLOCKS,
	};
	t.extents[0] = (struct ext4_extent){ .log = 0, .len = LOG_BLOCKS, .phys = LOG_AT };
	if (switches & SPLIT) {
		t.extents[0].len = 11;
		t.extents[1] =
			(struct ext4_extent){ .log = 11, .len = LOG_BLOCKS - 11, .phys = 30 };
	}
	memset(t.image, FILL, (size_t)BLOCKS * bs);
	raw = t.image + EXT4_SUPER_OFFSET;
	memset(raw, 0, EXT4_SUPER_BYTES);
	raw[0x38] = 0x53;
	raw[0x39] = 0xef;
	raw[0x4c] = 1;
	raw[0x60] = 4;
	for (uint32_t i = 0; i < LOG_BLOCKS; i++) {
		size_t n = i ? bs : 1024;

		memset(log_block(i), 0, bs);
		n = size < n ? size : n;
		memcpy(log_block(i), data, n);
		data += n;
		size -= n;
	}
	t.seed = crc32c(~0u, log_block(0) + 0x30, 16);
	block_sums(switches);
	if (switches & SUPER_SUM)
		super_sum();
}

static bool in_log(uint64_t block)
{
	for (unsigned i = 0; i < t.s.njournal; i++)
		if (block >= t.extents[i].phys && block < t.extents[i].phys + t.extents[i].len)
			return true;
	return false;
}

static void check(const uint8_t *after, int rc)
{
	uint32_t bs = t.s.block_size;

	for (uint64_t b = 0; b < BLOCKS; b++) {
		bool super = b == EXT4_SUPER_OFFSET / bs || b == LOG_AT; /* the journal's */

		if (!super && (rc || in_log(b)))
			assert(!memcmp(after + b * bs, t.image + b * bs, bs));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE uint8_t *image = malloc((size_t)BLOCKS * 4096);
	struct fake_device_conf conf = { .limits.fua = true };
	struct jrn_recovered r;
	struct fake_device *f;
	struct err err = { "" };
	struct bd *dev;
	int rc;

	if (!image)
		abort();
	if (!size)
		return 0;
	t.image = image;
	build(data, size);
	conf.size = (uint64_t)BLOCKS * t.s.block_size;
	dev = fake_device_open(&conf, NULL, &f);
	rc = bd_write(dev, image, conf.size, 0, 0);
	assert(!rc);
	rc = jrn_recover(dev, &t.s, &r, &err);
	assert(!rc || err.text[0]);
	check(fake_device_bytes(f), rc);
	if (!rc) { /* again: there is nothing left to do */
		rc = jrn_recover(dev, &t.s, &r, &err);
		assert(!rc && !r.transactions);
	}
	bd_close(dev);
	t.image = NULL;
	return 0;
}
