/* SPDX-License-Identifier: Apache-2.0 */
/* Any superblock, group, journal inode and extent blocks through ext4_super_read(): no crash, and what is taken holds
 * what super.h promises.
 *
 * Input: a byte of switches, 1,024 bytes of superblock, 64 of group 0, 256 of inode 8, extent blocks for block 64 and on. Switches: 1 the
 * superblock's checksum is repaired, 2 the group's, 4 the inode's, 8 those of the extent blocks. */
#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/super.h"
#include "common/cleanup.h"
#include "common/crc32c.h"
#include "tests/fake/fake_device.h"

enum {
	BYTES = 1 << 20,
	TABLE_BLOCK = 8,
	EXTENT_BLOCK = 64,
};

static const uint8_t *input;
static size_t left;

static void take(uint8_t *to, size_t n)
{
	n = left < n ? left : n;
	memcpy(to, input, n);
	input += n;
	left -= n;
}

static uint32_t get(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static void put(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static uint32_t inode_seed(const uint8_t *raw, const uint8_t *ino)
{
	uint32_t seed = crc32c(~0u, raw + 0x68, 16);
	uint8_t number[4];

	if (get(raw + 0x60) & 0x2000)
		seed = get(raw + 0x270);
	put(number, 8);
	return crc32c(crc32c(seed, number, 4), ino + 0x64, 4);
}

static void inode_sum(const uint8_t *raw, uint8_t *ino, size_t size)
{
	uint32_t crc;

	memset(ino + 0x7c, 0, 2);
	if (size > 128)
		memset(ino + 0x82, 0, 2);
	crc = htole32(crc32c(inode_seed(raw, ino), ino, size));
	memcpy(ino + 0x7c, &crc, 2);
	if (size > 128)
		memcpy(ino + 0x82, (uint8_t *)&crc + 2, 2);
}

static void extent_sums(const uint8_t *raw, const uint8_t *ino, uint8_t *image, uint32_t bs)
{
	for (uint32_t i = EXTENT_BLOCK; i < BYTES / bs && i < EXTENT_BLOCK + 16; i++) {
		uint8_t *b = image + (size_t)i * bs;
		size_t len = ((size_t)(b[4] | b[5] << 8) + 1) * 12;

		if (len + 4 <= bs)
			put(b + len, crc32c(inode_seed(raw, ino), b, len));
	}
}

static void build(uint8_t *image)
{
	uint8_t switches = 0, *raw = image + EXT4_SUPER_OFFSET, *desc, *ino;
	uint32_t bs, size;

	memset(image, 0, BYTES);
	take(&switches, 1);
	take(raw, EXT4_SUPER_BYTES);
	bs = 1024u << (get(raw + 0x18) & 3);
	desc = image + (size_t)(bs == 1024 ? 2 : 1) * bs;
	size = get(raw + 0x58) & 0xffff;
	size = size == 128 || size == 256 ? size : 256;
	take(desc, 64);
	put(desc + 8, TABLE_BLOCK);
	ino = image + (size_t)TABLE_BLOCK * bs + 7ul * size;
	take(ino, size);
	take(image + (size_t)EXTENT_BLOCK * bs, left);
	if (switches & 2) {
		uint8_t group[4] = { 0 };
		uint32_t seed = crc32c(~0u, raw + 0x68, 16), crc;

		memset(desc + 0x1e, 0, 2);
		crc = htole32(crc32c(crc32c(seed, group, 4), desc, 64));
		memcpy(desc + 0x1e, &crc, 2);
	}
	if (switches & 4)
		inode_sum(raw, ino, size);
	if (switches & 8)
		extent_sums(raw, ino, image, bs);
	if (switches & 1)
		put(raw + 0x3fc, crc32c(~0u, raw, 0x3fc));
}

static void check(const struct ext4_super *s)
{
	uint32_t log = 0;

	assert(s->block_size >= 1024 && s->block_size <= 65536);
	assert(s->blocks <= BYTES / s->block_size);
	assert(s->njournal && s->njournal <= EXT4_JOURNAL_EXTENTS_MAX);
	for (unsigned i = 0; i < s->njournal; i++) {
		const struct ext4_extent *e = &s->journal[i];

		assert(e->log == log && e->len);
		log += e->len;
		assert(e->phys && e->phys < s->blocks && e->len <= s->blocks - e->phys);
		for (unsigned k = 0; k < i; k++)
			assert(s->journal[k].phys + s->journal[k].len <= e->phys ||
			       e->phys + e->len <= s->journal[k].phys);
	}
	assert(s->journal_blocks >= 2 && s->journal_blocks <= log);
}

static void check_flag(struct bd *dev, struct ext4_super *s)
{
	struct ext4_super again;
	int rc = ext4_super_set_recovery(dev, s, !s->needs_recovery);

	assert(!rc);
	rc = ext4_super_read(dev, &again, NULL);
	assert(!rc && again.needs_recovery == s->needs_recovery);
	ext4_super_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_device_conf conf = { .size = BYTES, .limits.fua = true };
	AUTO_FREE uint8_t *image = malloc(BYTES);
	struct fake_device *f;
	struct ext4_super s;
	struct err err = { "" };
	struct bd *dev;
	int rc;

	if (!image)
		abort();
	input = data;
	left = size < BYTES / 2 ? size : BYTES / 2;
	build(image);
	dev = fake_device_open(&conf, NULL, &f);
	rc = bd_write(dev, image, BYTES, 0, 0);
	assert(!rc);
	rc = ext4_super_read(dev, &s, &err);
	if (rc) {
		assert(err.text[0]);
	} else {
		check(&s);
		check_flag(dev, &s);
		ext4_super_done(&s);
	}
	bd_close(dev);
	return 0;
}
