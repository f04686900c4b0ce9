/* SPDX-License-Identifier: Apache-2.0 */
/* What ext4_super_read() takes, and what it refuses with which sentence; the flag that is set without tearing. */
#include "common/crc32c.h"
#include "tests/unit/backends/ext4_test.h"

static struct image im;
static struct err err;

static int up(void **state)
{
	(void)state;
	im = image_make(SMALL_1K, 4);
	err.text[0] = '\0';
	return 0;
}

static int down(void **state)
{
	(void)state;
	image_done(&im);
	return 0;
}

static uint8_t *raw(void)
{
	return im.bytes + EXT4_SUPER_OFFSET;
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

static void seal_super(void)
{
	if (get(raw() + 0x64) & 0x400)
		put(raw() + 0x3fc, crc32c(~0u, raw(), 0x3fc));
}

/* Inode 8 in the image, and its checksum after a change. */
static uint8_t *inode8(void)
{
	uint32_t bs = 1024u << get(raw() + 0x18), first = get(raw() + 0x14);
	uint32_t size = get(raw() + 0x58) & 0xffff;

	return im.bytes + (uint64_t)get(im.bytes + (first + 1) * bs + 8) * bs + 7ul * size;
}

static uint32_t inode_seed(void)
{
	uint8_t ino[4];
	uint32_t seed = crc32c(~0u, raw() + 0x68, 16);

	put(ino, 8);
	return crc32c(crc32c(seed, ino, 4), inode8() + 0x64, 4);
}

static void seal_inode(void)
{
	uint8_t *p = inode8();
	uint32_t crc;

	memset(p + 0x7c, 0, 2);
	memset(p + 0x82, 0, 2);
	crc = htole32(crc32c(inode_seed(), p, 256));
	memcpy(p + 0x7c, &crc, 2);
	memcpy(p + 0x82, (uint8_t *)&crc + 2, 2);
}

static int read_it(struct ext4_super *s)
{
	struct fake_device *f;
	struct bd *dev = device_with(&im, NULL, &f);
	int rc = ext4_super_read(dev, s, &err);

	bd_close(dev);
	return rc;
}

static void refused(const char *text)
{
	struct ext4_super s;

	assert_int_equal(read_it(&s), -EINVAL);
	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
}

/* ---- what is taken ------------------------------------------------------------ */

static void one_kind(const char *options, size_t mib, bool csum, bool bit64)
{
	struct ext4_super s;
	uint32_t log = 0;

	image_done(&im);
	im = image_make(options, mib);
	if (read_it(&s))
		fail_msg("%s: %s", options, err.text);
	assert_int_equal(s.csum, csum);
	assert_int_equal(s.bit64, bit64);
	assert_false(s.needs_recovery);
	assert_int_equal(s.blocks * s.block_size, mib * MIB);
	for (unsigned i = 0; i < s.njournal; i++) {
		assert_int_equal(s.journal[i].log, log);
		log += s.journal[i].len;
	}
	assert_int_equal(s.journal_blocks, log);
	assert_true(log >= JBD2_MIN_BLOCKS);
	/* The first one is the journal superblock. */
	assert_int_equal(be32toh(*(uint32_t *)(im.bytes + s.journal[0].phys * s.block_size)),
			 JBD2_MAGIC);
	ext4_super_done(&s);
}

static void test_file_systems_of_mke2fs_are_read(void **state)
{
	(void)state;
	one_kind("-b 1024 -J size=1", 4, true, true);
	one_kind("-b 1024 -J size=1 -O ^64bit", 4, true, false);
	one_kind("-b 1024 -J size=2 -O ^metadata_csum", 8, false, true);
	one_kind("-b 1024 -J size=1 -O ^metadata_csum,^64bit,^flex_bg", 4, false, false);
	one_kind("-b 4096 -J size=4 -I 128", 24, true, true);
	one_kind("-b 4096 -J size=4 -O metadata_csum_seed,project", 24, true, true);
	one_kind("-b 4096 -J size=4 -O ^metadata_csum,uninit_bg", 24, false, true);
}

/* Adds a level: the root points to a block that holds what was in it. */
static void deepen(uint64_t block)
{
	uint8_t *root = inode8() + 0x28, *leaf = im.bytes + block * 1024;
	uint32_t crc;

	memset(leaf, 0, 1024);
	memcpy(leaf, root, 60);
	leaf[4] = 84; /* entries that fit, with a checksum behind them */
	crc = htole32(crc32c(inode_seed(), leaf, 85ul * 12));
	memcpy(leaf + 85ul * 12, &crc, 4);
	root[2] = 1;
	root[6]++;
	memset(root + 12, 0, 48);
	put(root + 16, (uint32_t)block);
	seal_inode();
}

static void test_an_extent_tree_may_be_deep(void **state)
{
	struct ext4_super flat, deep;
	uint64_t end;

	(void)state;
	assert_int_equal(read_it(&flat), 0);
	end = flat.blocks;
	for (unsigned depth = 1; depth <= 5; depth++) {
		deepen(end - depth);
		if (read_it(&deep))
			fail_msg("%s", err.text);
		assert_int_equal(deep.njournal, flat.njournal);
		assert_memory_equal(deep.journal, flat.journal,
				    flat.njournal * sizeof *flat.journal);
		ext4_super_done(&deep);
	}
	deepen(end - 6);
	refused("depth 6");
	ext4_super_done(&flat);
}

/* ---- what is refused ------------------------------------------------------------ */

static void test_other_things_than_ext4_are_refused(void **state)
{
	(void)state;
	put(raw() + 0x38, 0x1234);
	refused("no ext4");
	memset(im.bytes, 0, im.size);
	refused("no ext4");
	im.size = 1024;
	refused("holds no ext4");
}

static void test_a_wrong_checksum_is_refused(void **state)
{
	(void)state;
	raw()[0x100] ^= 1;
	refused("checksum of the ext4 superblock");
}

static void feature(size_t off, uint32_t bit, const char *name)
{
	uint32_t old = get(raw() + off);

	put(raw() + off, old | bit);
	seal_super();
	refused(name);
	put(raw() + off, old);
	seal_super();
}

static void test_features_that_stand_in_the_way_are_named(void **state)
{
	(void)state;
	feature(0x5c, 0x400, "fast_commit");
	feature(0x5c, 0x1000, "orphan_file");
	feature(0x60, 0x8, "journal_dev");
	feature(0x60, 0x10, "meta_bg");
	feature(0x60, 0x100, "mmp");
	feature(0x60, 0x8000, "inline_data");
	feature(0x60, 0x10000, "encrypt");
	feature(0x60, 0x20000, "casefold");
	feature(0x60, 0x800000, "0x800000");
	feature(0x64, 0x100, "quota");
	feature(0x64, 0x200, "bigalloc");
	feature(0x64, 0x8000, "verity");
	feature(0x64, 0x800000, "0x800000");
}

static void test_a_file_system_without_journal_is_refused(void **state)
{
	(void)state;
	put(raw() + 0x5c, get(raw() + 0x5c) & ~4u);
	seal_super();
	refused("has_journal");
}

static void number(size_t off, uint32_t v, const char *text)
{
	uint32_t old = get(raw() + off);

	put(raw() + off, v);
	seal_super();
	refused(text);
	put(raw() + off, old);
	seal_super();
}

static void test_numbers_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	number(0x18, 7, "block size");
	number(0x18, UINT32_MAX, "block size");
	number(0x14, 0, "first block");
	number(0x04, 4097, "the device holds");
	number(0x04, 3, "has 3 blocks");
	number(0x150, 1, "the device holds");
	number(0x4c, 0, "revision");
	number(0x58, 100, "inodes of 100 bytes");
	number(0x58, 2048, "inodes of 2048 bytes");
	number(0x28, 4, "4 inodes in a group");
	number(0xe0, 9, "inode 9");
	number(0xe4, 1, "device 0x1");
	number(0xfc, 48u << 16, "descriptors of 48");
	number(0xfc, 2048u << 16, "descriptors of 2048");
	number(0x174, 0, "type 0");
}

static void extent_field(size_t off, uint32_t v, const char *text)
{
	uint32_t old = get(inode8() + 0x28 + off);

	put(inode8() + 0x28 + off, v);
	seal_inode();
	refused(text);
	put(inode8() + 0x28 + off, old);
	seal_inode();
}

static void test_extents_that_make_no_sense_are_refused(void **state)
{
	uint32_t entry = get(inode8() + 0x28 + 16);

	(void)state;
	extent_field(0, 0, "magic");
	extent_field(4, 6 << 16, "depth");
	extent_field(0, 5u << 16 | 0xf30a, "number of entries");
	extent_field(0, 0xf30a, "number of entries");
	extent_field(12, 1, "a hole");
	extent_field(16, entry & 0xffff0000u, "length 0");
	extent_field(16, (entry & 0xffff0000u) | 0x8001, "length 32769");
	extent_field(16, (entry & 0xffffu) | 0x10000, "block");
	extent_field(20, 0, "block 0");
	extent_field(20, 4096, "block 4096");
	extent_field(20, 4095, "block 4095");
}

static void test_blocks_that_are_used_twice_are_refused(void **state)
{
	struct ext4_super s;
	uint8_t *root = inode8() + 0x28;

	(void)state;
	assert_int_equal(read_it(&s), 0);
	/* Two extents, the second on top of the first. */
	root[2] = 2;
	put(root + 16, 600);
	put(root + 20, (uint32_t)s.journal[0].phys);
	put(root + 24, 600);
	put(root + 28, s.journal_blocks - 600);
	put(root + 32, (uint32_t)s.journal[0].phys + 100);
	seal_inode();
	refused("used twice");
	ext4_super_done(&s);
}

static void test_the_inode_has_to_be_a_sound_file(void **state)
{
	(void)state;
	inode8()[0x70] ^= 1;
	refused("journal's inode is wrong");
	inode8()[0x70] ^= 1;
	put(inode8() + 0x20, 0);
	seal_inode();
	refused("without extents");
	put(inode8() + 0x20, 0x80000);
	put(inode8(), 0x4000);
	seal_inode();
	refused("is no file");
	put(inode8(), 0x8180);
	put(inode8() + 4, 2000 * 1024);
	seal_inode();
	refused("end before the file");
	put(inode8() + 4, 1024);
	seal_inode();
	refused("journal of 1 blocks");
}

static void test_a_wrong_checksum_below_the_superblock_is_refused(void **state)
{
	(void)state;
	im.bytes[2 * 1024 + 8] ^= 1; /* group 0 */
	refused("ext4 group 0 is wrong");
	im.bytes[2 * 1024 + 8] ^= 1;
	deepen(4000);
	im.bytes[4000 * 1024 + 12 + 8] ^= 1;
	refused("checksum of block 4000");
}

static void test_a_device_with_larger_blocks_is_refused(void **state)
{
	struct fake_device_conf conf = { .limits = { .block = 4096, .max_transfer = 1 << 20 } };
	struct fake_device *f;
	struct bd *dev = device_with(&im, &conf, &f);
	struct ext4_super s;

	(void)state;
	assert_int_equal(ext4_super_read(dev, &s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "blocks of 4096"));
	bd_close(dev);
}

static void test_a_device_that_fails_is_told(void **state)
{
	struct ext4_super s = { .journal = NULL };
	int rc = -EIO;
	unsigned n = 1;

	(void)state;
	deepen(4000);
	while (rc) {
		struct fake_device *f;
		struct bd *dev = device_with(&im, NULL, &f);

		fake_device_fail(f, BD_READ, n++, 1, -EIO);
		rc = ext4_super_read(dev, &s, &err);
		assert_true(!rc || rc == -EIO);
		bd_close(dev);
	}
	assert_true(n > 4);
	ext4_super_done(&s);
}

/* ---- the flag ---------------------------------------------------------------------- */

static void test_the_flag_is_set_by_one_sector_and_the_checksum_stays(void **state)
{
	struct fake_device *f;
	struct bd *dev = device_with(&im, NULL, &f);
	struct ext4_super s, again;
	struct image after;

	(void)state;
	assert_int_equal(ext4_super_read(dev, &s, &err), 0);
	assert_int_equal(ext4_super_set_recovery(dev, &s, false), 0);
	assert_int_equal(fake_device_count_op(f, BD_WRITE), 0); /* it is as it should be */
	assert_int_equal(ext4_super_set_recovery(dev, &s, true), 0);
	assert_true(s.needs_recovery);
	assert_int_equal(fake_device_count_op(f, BD_WRITE), 1);
	assert_int_equal(fake_device_seen(f, fake_device_count(f) - 1).flags, BD_FUA);
	assert_int_equal(fake_device_seen(f, fake_device_count(f) - 1).len, 512);
	assert_memory_equal(fake_device_durable(f) + 1536, im.bytes + 1536, im.size - 1536);
	assert_int_equal(ext4_super_read(dev, &again, &err), 0);
	assert_true(again.needs_recovery);
	ext4_super_done(&again);
	after = image_copy_of(fake_device_durable(f), im.size);
	assert_in_range(image_e2fsck(&after, "-y -E journal_only"), 0, 1);
	image_done(&after);
	assert_int_equal(ext4_super_set_recovery(dev, &s, false), 0);
	after = image_copy_of(fake_device_durable(f), im.size);
	assert_int_equal(image_e2fsck(&after, "-fn"), 0);
	image_done(&after);
	ext4_super_done(&s);
	bd_close(dev);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_file_systems_of_mke2fs_are_read),
		T(test_an_extent_tree_may_be_deep),
		T(test_other_things_than_ext4_are_refused),
		T(test_a_wrong_checksum_is_refused),
		T(test_features_that_stand_in_the_way_are_named),
		T(test_a_file_system_without_journal_is_refused),
		T(test_numbers_that_make_no_sense_are_refused),
		T(test_extents_that_make_no_sense_are_refused),
		T(test_blocks_that_are_used_twice_are_refused),
		T(test_the_inode_has_to_be_a_sound_file),
		T(test_a_wrong_checksum_below_the_superblock_is_refused),
		T(test_a_device_with_larger_blocks_is_refused),
		T(test_a_device_that_fails_is_told),
		T(test_the_flag_is_set_by_one_sector_and_the_checksum_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
