/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cache/readahead.h"

#define STEP 65536u
#define MAX (1u << 20)

static void a_stream_grows_up_to_the_limit_without_gaps(void **state)
{
	struct readahead ra;
	uint64_t asked = 0, first = 0;

	(void)state;
	readahead_init(&ra);
	for (uint64_t off = 0; off < 64 * STEP; off += STEP) {
		struct ra_advice adv = readahead_note(&ra, off, STEP, MAX);

		assert_true(adv.sequential);
		if (!adv.len)
			continue;
		first = first ? first : adv.len;
		assert_int_equal(adv.off, asked ? asked : off + STEP);
		asked = adv.off + adv.len;
		assert_in_range(asked - off - STEP, 1, MAX);
	}
	assert_int_equal(first, RA_START);
	assert_in_range(asked, 64 * STEP + MAX / 2, 64 * STEP + MAX);
	readahead_done(&ra);
}

static void random_reads_ask_for_nothing(void **state)
{
	struct readahead ra;
	uint64_t off = 1u << 30;

	(void)state;
	readahead_init(&ra);
	for (int i = 0; i < 50; i++) {
		struct ra_advice adv = readahead_note(&ra, off, 4096, MAX);

		assert_false(adv.sequential);
		assert_int_equal(adv.len, 0);
		off += 100u << 20;
	}
	readahead_done(&ra);
}

static void streams_do_not_disturb_each_other(void **state)
{
	struct readahead ra;

	(void)state;
	readahead_init(&ra);
	for (uint64_t i = 0; i < 20; i++)
		for (uint64_t s = 0; s < RA_STREAMS; s++)
			assert_int_equal(
				readahead_note(&ra, (s << 30) + i * STEP, STEP, MAX).sequential,
				i > 0 || s == 0);
	readahead_done(&ra);
}

static void limit_zero_means_none(void **state)
{
	struct readahead ra;

	(void)state;
	readahead_init(&ra);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(readahead_note(&ra, i * STEP, STEP, 0).len, 0);
	readahead_done(&ra);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_grows_up_to_the_limit_without_gaps),
		cmocka_unit_test(random_reads_ask_for_nothing),
		cmocka_unit_test(streams_do_not_disturb_each_other),
		cmocka_unit_test(limit_zero_means_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
