/* SPDX-License-Identifier: Apache-2.0 */
/* What the core keeps for a server that may lose it, and how much of it (device.h, B7). */
#include "tests/unit/backends/device_keep_test.h"

/* ---- what is kept ---------------------------------------------------------- */

static void test_a_write_that_is_done_survives_the_server(void **state)
{
	(void)state;
	write_at(512, 4096, 1, 0);
	assert_int_equal(counts().kept_bytes, 4096);
	restart();
	settled();
	bytes_are(512, 4096, 1);
	assert_int_equal(counts().resent, 1);
	assert_int_equal(counts().reconnects, 1);
	/* And the next time: it is still not flushed. */
	restart();
	settled();
	bytes_are(512, 4096, 1);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(counts().kept_bytes, 0);
	restart();
	settled();
	assert_int_equal(fake_device_count(t.f), 0);
	bytes_are(512, 4096, 1);
}

static void test_the_copy_has_the_bytes_of_the_end_of_the_write(void **state)
{
	struct treq *r = treq_submit(t.dev, BD_WRITE, 0, 0, 512, 5);

	(void)state;
	assert_int_equal(treq_wait(r), 0);
	memset(r->buf, 6, 512); /* the owner's again */
	restart();
	settled();
	bytes_are(0, 512, 5);
	treq_free(r);
}

static void test_zeros_are_kept_as_zeros(void **state)
{
	(void)state;
	open_with((struct fake_device_conf){ .limits = { .max_zero = 4096 } },
		  (struct bd_env){ 0 });
	write_at(0, 16384, 1, BD_FUA);
	assert_int_equal(bd_zero(t.dev, 0, 16384, BD_UNMAP), 0);
	assert_int_equal(counts().kept_bytes, 0); /* there are no bytes to keep */
	restart();
	settled();
	bytes_are(0, 16384, 0);
	assert_int_equal(fake_device_count_op(t.f, BD_ZERO), 4);
	assert_int_equal(fake_device_seen(t.f, 0).flags, BD_UNMAP);
}

static void test_a_failed_write_is_not_kept(void **state)
{
	(void)state;
	fake_device_fail(t.f, BD_WRITE, 1, 1, -ENOSPC);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), -ENOSPC);
	assert_int_equal(counts().kept_bytes, 0);
}

static void test_fua_is_not_kept_but_over_an_older_write(void **state)
{
	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true } }, (struct bd_env){ 0 });
	write_at(0, 512, 1, BD_FUA);
	assert_int_equal(counts().kept_bytes, 0);
	write_at(4096, 1024, 2, 0);
	write_at(4096 + 512, 1024, 3, BD_FUA);
	assert_int_equal(counts().kept_bytes, 2048);
	restart();
	settled();
	bytes_are(0, 512, 1);
	bytes_are(4096, 512, 2);
	bytes_are(4096 + 512, 1024, 3); /* not what was there before */
}

static void test_a_flush_covers_only_what_was_done_when_it_was_sent(void **state)
{
	struct treq *flush, *late;

	(void)state;
	write_at(0, 512, 1, 0);
	fake_device_hold(t.f, true);
	late = treq_submit(t.dev, BD_WRITE, 0, 512, 512, 2);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 2);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(late), 0);
	assert_int_equal(counts().kept_bytes, 1024);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(flush), 0);
	assert_int_equal(counts().kept_bytes, 512);
	fake_device_hold(t.f, false);
	restart();
	settled();
	bytes_are(512, 512, 2);
	assert_int_equal(fake_device_count(t.f), 1);
}

static void test_a_flush_in_place_of_fua_covers_others_too(void **state)
{
	(void)state;
	write_at(0, 512, 1, 0);
	write_at(512, 512, 2, BD_FUA);
	assert_int_equal(counts().kept_bytes, 0);
}

/* ---- keep_max ---------------------------------------------------------------- */

static void test_at_keep_max_the_core_flushes_and_new_writes_wait(void **state)
{
	struct treq *a, *b, *read;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 8192 });
	write_at(0, 4096, 1, 0);
	write_at(4096, 4096, 2, 0);
	fake_device_hold_only(t.f, BD_FLUSH);
	a = treq_submit(t.dev, BD_WRITE, 0, 8192, 4096, 3);
	b = treq_submit(t.dev, BD_WRITE, 0, 16384, 512, 4);
	read = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, BD_FLUSH);
	assert_int_equal(treq_end(read), 0); /* reads do not wait */
	assert_int_equal(counts().waiting, 2);
	assert_int_equal(fake_device_count_op(t.f, BD_WRITE), 2);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(a) | treq_end(b), 0);
	assert_int_equal(counts().forced_flushes, 1);
	assert_int_equal(counts().kept_bytes, 4096 + 512);
	assert_int_equal(counts().ops[BD_FLUSH], 0); /* nobody asked for it */
}

static void test_what_fits_does_not_overtake_what_stalls(void **state)
{
	struct treq *big, *small;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 8192 });
	write_at(0, 4096, 1, 0);
	fake_device_hold_only(t.f, BD_FLUSH);
	big = treq_submit(t.dev, BD_WRITE, 0, 8192, 8192, 2);
	small = treq_submit(t.dev, BD_WRITE, 0, 32768, 512, 3);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_count_op(t.f, BD_WRITE), 1);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(big) | treq_end(small), 0);
}

static void test_a_write_larger_than_keep_max_is_durable_when_done(void **state)
{
	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 4096 });
	write_at(0, 4096, 1, 0);
	write_at(0, 65536, 2, 0); /* over the older one: that is flushed before */
	assert_true(all_are(fake_device_durable(t.f), 65536, 2));
	assert_int_equal(counts().kept_bytes, 0);
	restart();
	settled();
	bytes_are(0, 65536, 2);
}

static void test_many_writes_stay_within_keep_max(void **state)
{
	struct treq *r[200];

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 16384 });
	for (unsigned i = 0; i < 200; i++) {
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 4096, 4096, (int)i);
		assert_true(counts().kept_bytes <= 16384);
	}
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(treq_end(r[i]), 0);
	assert_true(counts().kept_bytes <= 16384);
	assert_true(counts().forced_flushes > 0);
	restart();
	settled();
	for (unsigned i = 0; i < 200; i++)
		bytes_are(i * 4096, 4096, (int)i);
}

static void test_what_a_callers_flush_makes_room_for_is_not_flushed_again(void **state)
{
	struct treq *flush, *waits;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 4096 });
	write_at(0, 4096, 1, 0);
	fake_device_hold_only(t.f, BD_FLUSH);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 1);
	waits = treq_submit(t.dev, BD_WRITE, 0, 8192, 4096, 2);
	assert_int_equal(fake_device_held(t.f), 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(flush) | treq_end(waits), 0);
	assert_int_equal(counts().forced_flushes, 0);
}

static void test_a_forced_flush_that_fails_fails_the_device(void **state)
{
	struct treq *waits;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .keep_max = 4096 });
	write_at(0, 4096, 1, 0);
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -EIO);
	waits = treq_submit(t.dev, BD_WRITE, 0, 8192, 4096, 1);
	assert_int_equal(treq_end(waits), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(counts().kept_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_write_that_is_done_survives_the_server),
		T(test_the_copy_has_the_bytes_of_the_end_of_the_write),
		T(test_zeros_are_kept_as_zeros),
		T(test_a_failed_write_is_not_kept),
		T(test_fua_is_not_kept_but_over_an_older_write),
		T(test_a_flush_covers_only_what_was_done_when_it_was_sent),
		T(test_a_flush_in_place_of_fua_covers_others_too),
		T(test_at_keep_max_the_core_flushes_and_new_writes_wait),
		T(test_what_fits_does_not_overtake_what_stalls),
		T(test_a_write_larger_than_keep_max_is_durable_when_done),
		T(test_many_writes_stay_within_keep_max),
		T(test_what_a_callers_flush_makes_room_for_is_not_flushed_again),
		T(test_a_forced_flush_that_fails_fails_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
