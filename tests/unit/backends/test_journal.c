/* SPDX-License-Identifier: Apache-2.0 */
/* The journal (journal.h, J1 to J8) over a fake device: what it writes, in which order, and what is left when the power
 * goes. Errors are in test_journal_errors.c, threads in test_journal_threads.c. */
#include "tests/unit/backends/ext4_test.h"

static struct fixture x;

static int up(void **state)
{
	(void)state;
	fixture_device(&x, SMALL_1K, 8, NULL);
	return 0;
}

static int down(void **state)
{
	(void)state;
	fixture_done(&x);
	return 0;
}

static void test_a_commit_survives_and_both_recoveries_agree(void **state)
{
	struct image ours, theirs;
	struct jrn_recovered r;
	struct err err = { "" };
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	tid = put_blocks(&x, 0, 5, 0x5a);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	put_blocks(&x, 3, 5, 0x77); /* is not waited for */
	ours = fixture_durable(&x);
	fixture_abandon(&x);
	assert_false(block_is(&x, ours.bytes, 0, 0x5a));
	theirs = image_copy_of(ours.bytes, ours.size);
	if (image_recover(&ours, &r, &err))
		fail_msg("%s", err.text);
	assert_int_equal(r.transactions, 1);
	assert_int_equal(r.blocks, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_true(block_is(&x, ours.bytes, i, 0x5a));
	assert_false(block_is(&x, ours.bytes, 5, 0x77));
	assert_in_range(image_e2fsck(&theirs, "-y -E journal_only"), 0, 1);
	assert_true(same_files(&ours, &theirs, &x.super));
	assert_int_equal(image_e2fsck(&ours, "-fn"), 0);
	assert_int_equal(image_e2fsck(&theirs, "-fn"), 0);
	image_done(&ours);
	image_done(&theirs);
}

static void test_a_clean_end_leaves_nothing_to_recover(void **state)
{
	struct image im;
	struct ext4_super s;
	struct err err;

	(void)state;
	fixture_open(&x, 1 << 20);
	put_blocks(&x, 0, 9, 0x31);
	assert_int_equal(fixture_close(&x), 0);
	im = fixture_durable(&x);
	for (unsigned i = 0; i < 9; i++)
		assert_true(block_is(&x, im.bytes, i, 0x31));
	assert_int_equal(ext4_super_read(x.dev, &s, &err), 0);
	assert_false(s.needs_recovery);
	ext4_super_done(&s);
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_commit_survives_and_both_recoveries_agree,
						up, down),
		cmocka_unit_test_setup_teardown(test_a_clean_end_leaves_nothing_to_recover, up,
						down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
