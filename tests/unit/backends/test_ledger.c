/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger (ledger.h, L1 and L2): what a successor finds, and what it makes of bytes that are none of ours. */
#include "backends/block/ledger.h"

#include "tests/unit/backends/device_test.h"

#define RECORDS 8u
#define BYTES (sizeof(struct bd_ledger) + RECORDS * sizeof(struct bd_ledger_record))
#define SIZE FAKE_DEVICE_SIZE

static struct {
	struct bd_ledger *l;
	struct bd *dev;
	struct fake_device *f;
	struct bd_ledger_range found[RECORDS];
	unsigned nonsense;
} t;

static int up(void **state)
{
	void *mem = aligned_alloc(64, (BYTES + 63) & ~63ul);

	(void)state;
	assert_non_null(mem);
	memset(mem, 0, BYTES);
	memset(&t, 0, sizeof t);
	t.l = bd_ledger_init(mem, BYTES);
	assert_non_null(t.l);
	return 0;
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	free(t.l);
	return 0;
}

static void open_with(bool keeps, bool write_through)
{
	struct bd_env env = { .ledger = t.l };
	struct fake_device_conf conf = { .limits = { .keeps = keeps, .max_discard = SIZE },
					 .write_through = write_through };

	t.dev = fake_device_open(&conf, &env, &t.f);
}

static int found(void)
{
	return bd_ledger_read(t.l, BYTES, SIZE, t.found, RECORDS, &t.nonsense);
}

static void test_memory_that_is_too_small_or_crooked_is_no_ledger(void **state)
{
	_Alignas(64) static uint8_t mem[256];

	(void)state;
	assert_null(bd_ledger_init(NULL, 4096));
	assert_null(bd_ledger_init(mem, sizeof(struct bd_ledger)));
	assert_null(bd_ledger_init(mem, sizeof(struct bd_ledger) + 31));
	assert_null(bd_ledger_init(mem + 8, 128));
	assert_non_null(bd_ledger_init(mem, sizeof(struct bd_ledger) + 32));
}

static void test_a_write_is_recorded_while_it_is_in_flight(void **state)
{
	struct treq *w, *d, *r;

	(void)state;
	open_with(false, false);
	assert_int_equal(found(), 0);
	fake_device_hold(t.f, true);
	w = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1);
	d = treq_submit(t.dev, BD_DISCARD, 0, 8192, 1024, 0);
	r = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	assert_int_equal(found(), 2);
	assert_int_equal(t.nonsense, 0);
	assert_int_equal(t.found[0].off, 4096);
	assert_int_equal(t.found[0].len, 512);
	assert_int_equal(t.found[0].op, BD_WRITE);
	assert_int_equal(t.found[0].state, BD_LEDGER_IN_FLIGHT);
	assert_int_equal(t.found[1].op, BD_DISCARD);
	assert_true(t.found[0].stamp < t.found[1].stamp);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(w) | treq_end(d) | treq_end(r), 0);
	assert_int_equal(found(), 0);
}

static void test_where_writes_are_kept_they_are_unflushed_until_the_flush(void **state)
{
	(void)state;
	open_with(true, false);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_ZERO, 0, 512, 512, 1)), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 1024, 512, 1)), 0);
	/* The flush in place of FUA covered all. */
	assert_int_equal(found(), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_ZERO, 0, 512, 512, 1)), 0);
	assert_int_equal(found(), 1);
	assert_int_equal(t.found[0].state, BD_LEDGER_UNFLUSHED);
	assert_int_equal(t.found[0].op, BD_ZERO);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(found(), 0);
}

static void test_nothing_is_unflushed_without_a_volatile_cache(void **state)
{
	(void)state;
	open_with(true, true);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), 0);
	assert_int_equal(found(), 0);
}

static void test_a_full_ledger_makes_writes_wait(void **state)
{
	struct treq *r[RECORDS];

	(void)state;
	open_with(false, false);
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < RECORDS; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, (int)i);
	/* Half of it is a successor's. */
	assert_int_equal(fake_device_held(t.f), RECORDS / 2);
	assert_int_equal(found(), RECORDS / 2);
	for (unsigned i = 0; i < RECORDS; i++) {
		fake_device_wait(t.f, 1);
		assert_int_equal(fake_device_at(t.f, 0).off, i * 512);
		fake_device_release(t.f, 0);
		assert_int_equal(treq_end(r[i]), 0);
	}
	assert_int_equal(found(), 0);
}

static void test_a_full_ledger_forces_a_flush_where_writes_are_kept(void **state)
{
	struct bd_counts counts;

	(void)state;
	open_with(true, false);
	for (unsigned i = 0; i < 3 * RECORDS; i++)
		assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, 1)), 0);
	bd_counts(t.dev, &counts);
	assert_true(counts.forced_flushes >= 4);
	assert_true(found() <= (int)RECORDS / 2);
}

static void test_a_predecessors_records_stay_until_they_are_cleared(void **state)
{
	struct treq *r;
	uint64_t before;

	(void)state;
	open_with(true, false);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1)), 0);
	bd_close(t.dev); /* without a flush: as good as dead */
	assert_int_equal(found(), 1);
	before = t.found[0].stamp;
	open_with(true, false);
	assert_int_equal(found(), 1);
	r = treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1);
	assert_int_equal(treq_end(r), 0);
	assert_int_equal(found(), 2);
	assert_int_equal(t.found[0].off, 4096);
	assert_true(t.found[1].stamp > before);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(found(), 1); /* ours alone went */
	bd_ledger_clear(t.l);
	assert_int_equal(found(), 0);
}

static void test_a_ledger_full_of_the_dead_is_refused(void **state)
{
	struct bd_env env = { .ledger = t.l };
	struct fake_device_conf conf = { .size = 0 };
	struct err err = { "" };

	(void)state;
	for (unsigned i = 0; i < RECORDS; i++)
		t.l->records[i] =
			(struct bd_ledger_record){ 0, 512, i, BD_LEDGER_IN_FLIGHT, BD_WRITE };
	assert_int_equal(fake_device_try(&conf, &env, &t.dev, &t.f, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "ledger is full"));
	bd_ledger_clear(t.l);
	assert_int_equal(fake_device_try(&conf, &env, &t.dev, &t.f, &err), 0);
}

static void test_after_a_failed_flush_the_records_stay(void **state)
{
	(void)state;
	open_with(true, false);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1)), 0);
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -EIO);
	assert_int_equal(bd_flush(t.dev), -EIO);
	assert_int_equal(found(), 1);
	assert_int_equal(t.found[0].state, BD_LEDGER_UNFLUSHED);
}

/* ---- what has no answer ---- */

static void open_with_timeout(void)
{
	struct bd_env env = { .ledger = t.l, .timeout_ms = 5000 };
	struct fake_device_conf conf = { .size = 0 };

	t.dev = fake_device_open(&conf, &env, &t.f);
}

/* One that was sent and one that was not; the connection is lost. */
static void lose_one(struct treq **sent, struct treq **unsent)
{
	fake_device_hold(t.f, true);
	*sent = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1);
	fake_device_wait(t.f, 1);
	fake_device_disconnect(t.f);
	*unsent = treq_submit(t.dev, BD_WRITE, 0, 8192, 512, 1);
}

static void only_4096_is_in_flight(void)
{
	assert_int_equal(found(), 1);
	assert_int_equal(t.found[0].off, 4096);
	assert_int_equal(t.found[0].state, BD_LEDGER_IN_FLIGHT);
}

static void test_a_write_that_expires_may_still_land(void **state)
{
	struct treq *sent, *unsent;

	(void)state;
	open_with_timeout();
	lose_one(&sent, &unsent);
	bd_expire(t.dev, clock_ms() + 6000);
	assert_int_equal(treq_end(sent), -ETIMEDOUT);
	assert_int_equal(treq_end(unsent), -ETIMEDOUT);
	only_4096_is_in_flight();
}

static void test_a_write_that_is_cancelled_while_paused_may_still_land(void **state)
{
	struct treq *sent, *unsent;

	(void)state;
	open_with(false, false);
	lose_one(&sent, &unsent);
	bd_cancel(t.dev);
	assert_int_equal(treq_end(sent), -ECANCELED);
	assert_int_equal(treq_end(unsent), -ECANCELED);
	only_4096_is_in_flight();
}

static void test_a_write_that_the_transport_cuts_off_may_still_land(void **state)
{
	struct treq *sent;

	(void)state;
	open_with(false, false);
	fake_device_hold(t.f, true);
	sent = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1);
	fake_device_wait(t.f, 1);
	bd_cancel(t.dev);
	assert_int_equal(treq_end(sent), -ECANCELED);
	only_4096_is_in_flight();
}

static void
test_a_write_that_waits_for_its_repetition_on_a_device_that_fails_may_still_land(void **state)
{
	struct treq *sent;

	(void)state;
	open_with(true, false);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), 0);
	fake_device_hold(t.f, true);
	sent = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1);
	fake_device_wait(t.f, 1);
	fake_device_disconnect(t.f);
	fake_device_fail(t.f, BD_WRITE, 1, 1, -EPERM);
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(sent), -EPERM);
	assert_int_equal(found(), 2);
	assert_int_equal(t.found[0].state, BD_LEDGER_UNFLUSHED);
	assert_int_equal(t.found[1].off, 4096);
	assert_int_equal(t.found[1].state, BD_LEDGER_IN_FLIGHT);
}

static void test_a_write_that_is_refused_does_not_land(void **state)
{
	struct treq *sent, *unsent;

	(void)state;
	open_with(false, false);
	fake_device_fail(t.f, BD_WRITE, 1, 2, -EIO);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1)), -EIO);
	assert_int_equal(found(), 0);
	/* Nor when the answer is that of the repetition. */
	lose_one(&sent, &unsent);
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(sent), -EIO);
	assert_int_equal(treq_end(unsent), 0);
	assert_int_equal(found(), 0);
}

static void test_nonsense_is_counted_and_left_out(void **state)
{
	struct bd_ledger_record *r = t.l->records;

	(void)state;
	r[0] = (struct bd_ledger_record){ SIZE - 512, 512, 9, BD_LEDGER_IN_FLIGHT, BD_WRITE };
	r[1] = (struct bd_ledger_record){ SIZE, 512, 1, BD_LEDGER_IN_FLIGHT, BD_WRITE };
	r[2] = (struct bd_ledger_record){ UINT64_MAX - 511, 1024, 1, BD_LEDGER_UNFLUSHED,
					  BD_WRITE };
	r[3] = (struct bd_ledger_record){ 0, 0, 1, BD_LEDGER_IN_FLIGHT, BD_WRITE };
	r[4] = (struct bd_ledger_record){ 0, 512, 1, 77, BD_WRITE };
	r[5] = (struct bd_ledger_record){ 0, 512, 1, BD_LEDGER_UNFLUSHED, BD_READ };
	r[6] = (struct bd_ledger_record){ 0, 512, 3, BD_LEDGER_UNFLUSHED, BD_ZERO };
	r[7] = (struct bd_ledger_record){ 0, 512, 1, BD_LEDGER_IN_FLIGHT, 99 };
	assert_int_equal(found(), 2);
	assert_int_equal(t.nonsense, 6);
	assert_int_equal(t.found[0].stamp, 3);
	assert_int_equal(t.found[1].stamp, 9);
	/* One place: the first, and how many there are. */
	t.found[1].stamp = 0;
	assert_int_equal(bd_ledger_read(t.l, BYTES, SIZE, t.found, 1, NULL), 2);
	assert_int_equal(t.found[0].stamp, 3);
	assert_int_equal(t.found[1].stamp, 0);
	assert_int_equal(bd_ledger_read(t.l, BYTES, SIZE, NULL, 0, NULL), 2);
}

static void test_what_is_no_ledger_is_refused(void **state)
{
	(void)state;
	assert_int_equal(bd_ledger_read(t.l, 63, SIZE, t.found, RECORDS, NULL), -EINVAL);
	assert_int_equal(bd_ledger_read(t.l, BYTES - 1, SIZE, t.found, RECORDS, NULL), -EINVAL);
	t.l->nrecords = 0;
	assert_int_equal(found(), -EINVAL);
	t.l->nrecords = UINT32_MAX;
	assert_int_equal(found(), -EINVAL);
	t.l->nrecords = RECORDS;
	t.l->magic ^= 1;
	assert_int_equal(found(), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_memory_that_is_too_small_or_crooked_is_no_ledger),
		T(test_a_write_is_recorded_while_it_is_in_flight),
		T(test_where_writes_are_kept_they_are_unflushed_until_the_flush),
		T(test_nothing_is_unflushed_without_a_volatile_cache),
		T(test_a_full_ledger_makes_writes_wait),
		T(test_a_full_ledger_forces_a_flush_where_writes_are_kept),
		T(test_a_predecessors_records_stay_until_they_are_cleared),
		T(test_a_ledger_full_of_the_dead_is_refused),
		T(test_after_a_failed_flush_the_records_stay),
		T(test_a_write_that_expires_may_still_land),
		T(test_a_write_that_is_cancelled_while_paused_may_still_land),
		T(test_a_write_that_the_transport_cuts_off_may_still_land),
		T(test_a_write_that_waits_for_its_repetition_on_a_device_that_fails_may_still_land),
		T(test_a_write_that_is_refused_does_not_land),
		T(test_nonsense_is_counted_and_left_out),
		T(test_what_is_no_ledger_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
