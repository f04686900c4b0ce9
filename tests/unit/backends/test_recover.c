/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of logs made by hand (jrn_recover()): every format, and every way in which a log can be broken. */
#include "tests/unit/backends/log_maker.h"

#define V2 JBD2_INCOMPAT_CSUM_V2
#define V3 JBD2_INCOMPAT_CSUM_V3
#define WIDE JBD2_INCOMPAT_64BIT
#define REVOKE JBD2_INCOMPAT_REVOKE
#define NO_CSUM "-b 1024 -J size=1 -O ^metadata_csum,^64bit"

static struct maker m;
static struct jrn_recovered r;
static struct err err;

static int up(void **state)
{
	(void)state;
	maker_init(&m, SMALL_1K, 4, V3 | WIDE | REVOKE, 0);
	memset(&r, 0, sizeof r);
	err.text[0] = '\0';
	return 0;
}

static int down(void **state)
{
	(void)state;
	maker_done(&m);
	return 0;
}

static struct image result(int wanted)
{
	struct image im = image_copy_of(m.im.bytes, m.im.size);
	int rc = image_recover(&im, &r, &err);

	if (rc != wanted)
		fail_msg("%d instead of %d: %s", rc, wanted, err.text);
	if (rc)
		assert_true(err.text[0]);
	return im;
}

/* Refused, and nothing was written home. */
static void refused(int wanted, const char *text)
{
	struct image im = result(wanted);

	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
	assert_true(same_files(&im, &m.im, &m.s));
	image_done(&im);
}

/* The log ends before what was broken: so many transactions count, and blocks from 0 on are what they left. */
static void ends_after(unsigned transactions, const int *fills, unsigned n)
{
	struct image im = result(0);

	assert_int_equal(r.transactions, transactions);
	for (unsigned i = 0; i < n; i++)
		assert_true(maker_is(&m, &im, i, fills[i]));
	image_done(&im);
}

/* ---- formats --------------------------------------------------------------- */

static void one_format(const char *options, uint32_t incompat, uint32_t compat, bool e2fsck)
{
	struct image im, other;

	maker_done(&m);
	maker_init(&m, options, strstr(options, "4096") ? 24 : 4, incompat, compat);
	maker_txn(&m, 0, 20, 1);
	maker_images(&m, 10, 3, 2);
	maker_images(&m, 20, 5, 3);
	maker_commit(&m);
	maker_revoke(&m, 0, 2);
	maker_txn(&m, 30, 1, 4);
	im = result(0);
	other = image_copy_of(m.im.bytes, m.im.size);
	assert_int_equal(r.transactions, 3);
	assert_int_equal(r.revoked, 2);
	assert_int_equal(r.blocks, 20 - 2 + 5 + 1); /* each block once */
	assert_int_equal(r.next_sequence, 104);
	assert_true(maker_is(&m, &im, 1, 0));
	assert_true(maker_is(&m, &im, 2, 1));
	assert_true(maker_is(&m, &im, 12, 2));
	assert_true(maker_is(&m, &im, 24, 3));
	assert_true(maker_is(&m, &im, 30, 4));
	if (e2fsck) {
		assert_in_range(image_e2fsck(&other, "-y -E journal_only"), 0, 1);
		assert_true(same_files(&im, &other, &m.s));
	}
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
	image_done(&other);
}

static void test_every_format_is_replayed(void **state)
{
	(void)state;
	one_format(NO_CSUM, REVOKE, 0, true);
	one_format("-b 1024 -J size=1 -O ^metadata_csum", REVOKE | WIDE, 0, true);
	one_format(NO_CSUM, REVOKE, JBD2_COMPAT_CHECKSUM, true);
	one_format(NO_CSUM, REVOKE | V2, 0, true);
	one_format(SMALL_1K, REVOKE | V2 | WIDE, 0, true);
	one_format("-b 1024 -J size=1 -O ^64bit", REVOKE | V3, 0, true);
	one_format(SMALL_1K, REVOKE | V3 | WIDE, 0, true);
	one_format(SMALL_4K, REVOKE | V3 | WIDE, 0, true);
}

static void test_a_journal_superblock_of_version_1_has_no_features(void **state)
{
	struct image im;

	(void)state;
	maker_done(&m);
	maker_init(&m, NO_CSUM, 4, 0, 0);
	put32(maker_log(&m, 0) + 4, JBD2_SUPER_V1);
	maker_txn(&m, 0, 3, 1);
	im = result(0);
	assert_true(maker_is(&m, &im, 2, 1));
	image_done(&im);
}

static void test_an_escaped_block_gets_its_magic_back(void **state)
{
	struct image im;
	uint8_t *p;

	(void)state;
	maker_txn(&m, 0, 1, 0);
	im = result(0);
	p = im.bytes + m.payload * 1024;
	assert_int_equal(get32(p), JBD2_MAGIC);
	assert_int_equal(get32(p + 4), 0);
	image_done(&im);
}

static void test_a_log_may_go_round_its_end(void **state)
{
	static const int fills[] = { 2, 2, 2, 1, 1 };

	(void)state;
	maker_begin(&m, m.total - 4, 100);
	maker_txn(&m, 0, 5, 1);
	maker_txn(&m, 0, 3, 2);
	ends_after(2, fills, 5);
}

static void test_sequence_numbers_wrap(void **state)
{
	struct image im;

	(void)state;
	maker_begin(&m, 1, UINT32_MAX - 1);
	maker_txn(&m, 0, 2, 1); /* -2 */
	maker_txn(&m, 0, 1, 2); /* -1 */
	maker_revoke(&m, 1, 1);
	maker_txn(&m, 2, 1, 3); /* 0: revokes what -2 wrote */
	maker_txn(&m, 3, 1, 4); /* 1 */
	im = result(0);
	assert_int_equal(r.transactions, 4);
	assert_int_equal(r.next_sequence, 3);
	assert_true(maker_is(&m, &im, 0, 2));
	assert_true(maker_is(&m, &im, 1, 0));
	assert_true(maker_is(&m, &im, 2, 3));
	image_done(&im);
}

static void test_a_revoke_counts_for_its_own_and_older_transactions_only(void **state)
{
	static const int fills[] = { 0, 3, 2 };

	(void)state;
	maker_txn(&m, 0, 3, 1);
	maker_revoke(&m, 0, 2);
	maker_images(&m, 0, 3, 2); /* 0 and 1 are revoked in their own transaction */
	maker_commit(&m);
	maker_txn(&m, 1, 1, 3); /* and 1 lives again */
	ends_after(3, fills, 3);
}

/* ---- where a log ends --------------------------------------------------------- */

static const int first_only[] = { 1, 1, 0 };

static void two_transactions(void)
{
	maker_txn(&m, 0, 2, 1);
	maker_txn(&m, 1, 2, 2);
}

static void test_a_transaction_without_commit_block_does_not_count(void **state)
{
	(void)state;
	two_transactions();
	memset(m.last, 0, 1024);
	ends_after(1, first_only, 3);
}

static void test_blocks_of_another_number_end_the_log(void **state)
{
	(void)state;
	two_transactions();
	put32(m.last + 8, 99);
	maker_commit_seal(&m, m.last);
	ends_after(1, first_only, 3);
}

static void test_a_remnant_older_than_the_last_commit_ends_the_log(void **state)
{
	(void)state;
	maker_txn(&m, 0, 2, 1);
	m.seconds = 500; /* before the first one's 1000 */
	maker_images(&m, 1, 2, 2);
	m.last[1000] ^= 1; /* its checksum is wrong */
	maker_commit(&m);
	ends_after(1, first_only, 3);
}

static void test_an_old_commit_block_with_a_wrong_checksum_ends_the_log(void **state)
{
	(void)state;
	maker_txn(&m, 0, 2, 1);
	m.seconds = 500;
	maker_txn(&m, 1, 2, 2);
	m.last[20] ^= 1;
	ends_after(1, first_only, 3);
}

static void test_a_commit_block_of_which_only_one_sector_arrived_counts(void **state)
{
	static const int fills[] = { 1, 2, 2 };

	(void)state;
	two_transactions();
	memset(m.last + 512, 0x99, 512);
	ends_after(2, fills, 3);
}

static void test_an_unknown_block_ends_the_log(void **state)
{
	(void)state;
	maker_txn(&m, 0, 2, 1);
	maker_block(&m, JBD2_FAST_COMMIT);
	ends_after(1, first_only, 3);
}

static void test_a_log_that_is_all_descriptors_ends(void **state)
{
	static const int none[] = { 0 };

	(void)state;
	for (unsigned i = 1; i < m.total; i++)
		maker_seal(&m, maker_block(&m, JBD2_DESCRIPTOR));
	ends_after(0, none, 1);
}

static void test_a_descriptor_with_more_tags_than_blocks_ends_the_log(void **state)
{
	static const int none[] = { 0 };
	unsigned i;

	(void)state;
	/* Each sends the reader on over others, round and round. */
	for (i = 1; i < m.total; i++) {
		uint8_t *d = maker_block(&m, JBD2_DESCRIPTOR);

		for (size_t at = 12; at + 16 <= 1020; at += 16)
			put32(d + at + 4, JBD2_TAG_SAME_UUID);
		maker_seal(&m, d);
	}
	ends_after(0, none, 1);
}

static void test_v1_the_last_transaction_of_asynchronous_commits_may_be_cut_off(void **state)
{
	(void)state;
	maker_done(&m);
	maker_init(&m, NO_CSUM, 4, JBD2_INCOMPAT_ASYNC_COMMIT, JBD2_COMPAT_CHECKSUM);
	two_transactions();
	m.last[0x10] ^= 1;
	ends_after(1, first_only, 3);
}

/* ---- damage ---------------------------------------------------------------------- */

static void test_a_wrong_checksum_in_a_committed_transaction_is_damage(void **state)
{
	uint32_t at = m.pos;

	(void)state;
	maker_txn(&m, 0, 2, 1);
	maker_log(&m, at + 2)[5] ^= 1; /* the second image */
	maker_txn(&m, 5, 1, 2);
	refused(-EUCLEAN, "wrong checksum");
}

static void test_a_wrong_descriptor_in_a_committed_transaction_is_damage(void **state)
{
	(void)state;
	maker_images(&m, 0, 2, 1);
	m.last[700] ^= 1;
	maker_commit(&m);
	refused(-EUCLEAN, "wrong checksum");
}

static void test_a_wrong_revoke_block_in_a_committed_transaction_is_damage(void **state)
{
	(void)state;
	maker_txn(&m, 0, 2, 1);
	maker_revoke(&m, 0, 2);
	m.last[20] ^= 1;
	maker_commit(&m);
	refused(-EUCLEAN, "wrong checksum");
}

static void test_a_wrong_commit_block_that_is_new_is_damage(void **state)
{
	(void)state;
	two_transactions();
	m.last[20] ^= 1;
	refused(-EUCLEAN, "wrong checksum");
}

static void test_v1_a_wrong_checksum_is_damage(void **state)
{
	(void)state;
	maker_done(&m);
	maker_init(&m, NO_CSUM, 4, 0, JBD2_COMPAT_CHECKSUM);
	two_transactions();
	m.last[0x10] ^= 1;
	refused(-EUCLEAN, "wrong checksum");
}

static void test_a_revoked_image_need_not_be_sound(void **state)
{
	static const int fills[] = { 0, 1 };
	uint32_t at = m.pos;

	(void)state;
	maker_txn(&m, 0, 2, 1);
	maker_log(&m, at + 1)[5] ^= 1;
	maker_revoke(&m, 0, 1);
	maker_commit(&m);
	ends_after(2, fills, 2);
}

static void test_images_of_blocks_that_do_not_exist_are_damage(void **state)
{
	uint64_t real = m.payload;

	(void)state;
	m.payload = m.s.blocks;
	maker_txn(&m, 0, 1, 1);
	m.payload = real;
	refused(-EUCLEAN, "does not exist");
}

static void test_images_of_the_journal_itself_are_damage(void **state)
{
	uint64_t real = m.payload;

	(void)state;
	m.payload = log_block_at(&m.s, 7);
	maker_txn(&m, 0, 1, 1);
	m.payload = real;
	refused(-EUCLEAN, "is the journal's");
}

static void test_a_revoke_block_with_a_wrong_size_is_damage(void **state)
{
	static const uint32_t sizes[] = { 0, 15, 1021, 1024, UINT32_MAX };

	(void)state;
	maker_txn(&m, 0, 1, 1);
	maker_revoke(&m, 0, 1);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		put32(m.last + 12, sizes[i]);
		maker_seal(&m, m.last);
		if (!i)
			maker_commit(&m);
		m.last = maker_log(&m, m.pos - 2);
		refused(-EUCLEAN, "revoke block");
	}
}

/* ---- journal superblocks ------------------------------------------------------------- */

static void super_refused(uint32_t incompat, uint32_t compat, int wanted, const char *text)
{
	m.incompat = incompat;
	m.compat = compat;
	maker_super(&m);
	refused(wanted, text);
}

static void test_features_that_are_not_supported_are_named(void **state)
{
	(void)state;
	super_refused(JBD2_INCOMPAT_FAST_COMMIT, 0, -EINVAL, "fast_commit");
	super_refused(0x40, 0, -EINVAL, "0x40");
	super_refused(V2 | V3, 0, -EINVAL, "two kinds");
	super_refused(V3, JBD2_COMPAT_CHECKSUM, -EINVAL, "two kinds");
	super_refused(JBD2_INCOMPAT_ASYNC_COMMIT, 0, -EINVAL, "asynchronous");
}

static void field_refused(size_t off, uint32_t v, int wanted, const char *text)
{
	uint8_t *j = maker_log(&m, 0), old[1024];

	memcpy(old, j, sizeof old);
	put32(j + off, v);
	put32(j + 0xfc, 0);
	put32(j + 0xfc, crc32c(~0u, j, 1024));
	refused(wanted, text);
	memcpy(j, old, sizeof old);
}

static void test_journal_superblocks_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	field_refused(0x00, 7, -EUCLEAN, "no superblock");
	field_refused(0x04, 7, -EUCLEAN, "no superblock");
	field_refused(0x0c, 2048, -EUCLEAN, "blocks of 2048");
	field_refused(0x10, m.total + 1, -EUCLEAN, "its file has");
	field_refused(0x14, 0, -EUCLEAN, "log is from");
	field_refused(0x14, m.total, -EUCLEAN, "log is from");
	field_refused(0x1c, m.total, -EUCLEAN, "begins at");
	field_refused(0x2c, 1, -EINVAL, "read-only");
	field_refused(0x50, 0, -EINVAL, "type 0");
	maker_log(&m, 0)[0x30] ^= 1;
	refused(-EUCLEAN, "checksum of the journal superblock");
}

/* ---- the rest ---------------------------------------------------------------------------- */

static void test_the_log_of_a_clean_file_system_is_left_alone(void **state)
{
	uint8_t *raw = m.im.bytes + EXT4_SUPER_OFFSET;
	struct image im;
	uint32_t crc;

	(void)state;
	two_transactions();
	raw[0x60] &= (uint8_t)~4;
	crc = htole32(crc32c(~0u, raw, 0x3fc));
	memcpy(raw + 0x3fc, &crc, 4);
	im = result(0);
	assert_memory_equal(im.bytes, m.im.bytes, im.size);
	assert_int_equal(r.transactions, 0);
	assert_int_equal(r.blocks, 0);
	assert_int_equal(r.next_sequence, 103); /* yet its numbers are not used again */
	image_done(&im);
}

/* J8: cut off at each of its writes and flushes, it is run again. */
static void cut_and_run_again(enum bd_op op, const struct image *wanted)
{
	int rc;
	unsigned n = 1;

	do {
		struct fake_device *f;
		struct bd *dev = device_with(&m.im, NULL, &f);
		struct image im;
		struct ext4_super s;

		assert_int_equal(ext4_super_read(dev, &s, &err), 0);
		fake_device_fail(f, op, n++, 0, -EIO);
		rc = jrn_recover(dev, &s, &r, &err);
		ext4_super_done(&s);
		im = image_copy_of(fake_device_durable(f), m.im.size);
		bd_close(dev);
		assert_int_equal(image_recover(&im, &r, &err), 0);
		assert_true(same_files(&im, wanted, &m.s));
		image_done(&im);
	} while (rc);
	assert_true(n > 2);
}

static void test_j8_a_recovery_that_was_cut_off_is_run_again(void **state)
{
	struct image wanted;

	(void)state;
	for (int i = 1; i < 9; i++)
		maker_txn(&m, (unsigned)i * 5, 8, i);
	wanted = result(0);
	cut_and_run_again(BD_WRITE, &wanted);
	cut_and_run_again(BD_FLUSH, &wanted);
	image_done(&wanted);
}

/* Which transactions did somebody replay: 0 to 2, or -1: a mixture. */
static int state_of(const uint8_t *bytes)
{
	static const int wanted[3][3] = { { 0, 0, 0 }, { 1, 1, 0 }, { 1, 2, 2 } };
	const struct image im = { (uint8_t *)bytes, m.im.size };

	for (int k = 0; k < 3; k++)
		if (maker_is(&m, &im, 0, wanted[k][0]) && maker_is(&m, &im, 1, wanted[k][1]) &&
		    maker_is(&m, &im, 2, wanted[k][2]))
			return k;
	return -1;
}

static void write_back(struct bd *dev, uint64_t off, size_t len)
{
	assert_int_equal(bd_write(dev, m.im.bytes + off, len, off, 0), 0);
}

/* One device for all: what a recovery changed is put back. */
static int flip(struct bd *dev, struct fake_device *f, uint64_t off)
{
	uint8_t sector[512];
	int rc, state;

	memcpy(sector, m.im.bytes + off / 512 * 512, 512);
	sector[off % 512] ^= 0x40;
	assert_int_equal(bd_write(dev, sector, 512, off / 512 * 512, 0), 0);
	rc = jrn_recover(dev, &m.s, &r, &err);
	state = state_of(fake_device_bytes(f));
	write_back(dev, off / 512 * 512, 512);
	write_back(dev, m.payload * 1024, 3 * 1024ul);
	write_back(dev, log_block_at(&m.s, 0) * 1024, 1024);
	write_back(dev, EXT4_SUPER_OFFSET, 1024);
	if (rc) {
		assert_true(rc == -EUCLEAN || rc == -EINVAL);
		assert_int_equal(state, 0);
	} else {
		assert_in_range(state, 0, 2);
	}
	return rc;
}

static void test_every_flipped_byte_is_damage_or_the_end_of_the_log(void **state)
{
	struct fake_device *f;
	unsigned refusals = 0, n = 0;
	struct bd *dev;

	(void)state;
	two_transactions(); /* blocks 1 to 8 */
	dev = device_with(&m.im, NULL, &f);
	m.s.needs_recovery = true;
	for (uint32_t b = 0; b < 9; b++) {
		uint64_t at = log_block_at(&m.s, b) * 1024;

		/* Each byte of what is not filler, some of the rest. */
		for (unsigned i = 0; i < 1024; i += i < 96 || i > 1018 ? 1 : 61) {
			refusals += flip(dev, f, at + i) != 0;
			n++;
		}
	}
	assert_true(refusals > n / 2);
	assert_int_equal(jrn_recover(dev, &m.s, &r, &err), 0);
	assert_int_equal(state_of(fake_device_bytes(f)), 2);
	bd_close(dev);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_format_is_replayed),
		T(test_a_journal_superblock_of_version_1_has_no_features),
		T(test_an_escaped_block_gets_its_magic_back),
		T(test_a_log_may_go_round_its_end),
		T(test_sequence_numbers_wrap),
		T(test_a_revoke_counts_for_its_own_and_older_transactions_only),
		T(test_a_transaction_without_commit_block_does_not_count),
		T(test_blocks_of_another_number_end_the_log),
		T(test_a_remnant_older_than_the_last_commit_ends_the_log),
		T(test_an_old_commit_block_with_a_wrong_checksum_ends_the_log),
		T(test_a_commit_block_of_which_only_one_sector_arrived_counts),
		T(test_an_unknown_block_ends_the_log),
		T(test_a_log_that_is_all_descriptors_ends),
		T(test_a_descriptor_with_more_tags_than_blocks_ends_the_log),
		T(test_v1_the_last_transaction_of_asynchronous_commits_may_be_cut_off),
		T(test_a_wrong_checksum_in_a_committed_transaction_is_damage),
		T(test_a_wrong_descriptor_in_a_committed_transaction_is_damage),
		T(test_a_wrong_revoke_block_in_a_committed_transaction_is_damage),
		T(test_a_wrong_commit_block_that_is_new_is_damage),
		T(test_v1_a_wrong_checksum_is_damage),
		T(test_a_revoked_image_need_not_be_sound),
		T(test_images_of_blocks_that_do_not_exist_are_damage),
		T(test_images_of_the_journal_itself_are_damage),
		T(test_a_revoke_block_with_a_wrong_size_is_damage),
		T(test_features_that_are_not_supported_are_named),
		T(test_journal_superblocks_that_make_no_sense_are_refused),
		T(test_the_log_of_a_clean_file_system_is_left_alone),
		T(test_j8_a_recovery_that_was_cut_off_is_run_again),
		T(test_every_flipped_byte_is_damage_or_the_end_of_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
