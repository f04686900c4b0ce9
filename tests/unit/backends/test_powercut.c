/* SPDX-License-Identifier: Apache-2.0 */
/* The powercut layer is a disk with a volatile cache: what was flushed is there after a cut, the rest is old or new,
 * block by block (layers.h; P1 to P4 in layer_powercut.c). */
#include "tests/unit/backends/device_test.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "backends/block/layers.h"

#define SECTORS 64u

static struct {
	struct bd *dev; /* the layer */
	struct fake_device *f;
	uint8_t bytes[SECTORS * 512];
} t;

/* What is written below is there at once: what the fake has is what survives. */
static const struct fake_device_conf conf = {
	.write_through = true,
	.limits = { .max_zero = 1u << 20, .max_discard = 1u << 20 },
};

static void open_with(const struct fake_device_conf *c, uint64_t seed)
{
	struct err err = { "" };

	if (bd_powercut_open(fake_device_open(c, NULL, &t.f), seed, &t.dev, &err))
		fail_msg("%s", err.text);
}

static int up(void **state)
{
	(void)state;
	open_with(&conf, 7);
	return 0;
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	return 0;
}

static void write_at(uint64_t sector, uint64_t n, int fill, unsigned flags)
{
	struct treq *r = treq_submit(t.dev, BD_WRITE, flags, sector * 512, n * 512, fill);

	assert_int_equal(treq_end(r), 0);
}

static bool below_is(uint64_t sector, uint64_t n, int value)
{
	return all_are(fake_device_bytes(t.f) + sector * 512, n * 512, value);
}

static bool reads(uint64_t sector, uint64_t n, int value)
{
	assert_int_equal(bd_read(t.dev, t.bytes, n * 512, sector * 512), 0);
	return all_are(t.bytes, n * 512, value);
}

/* ---- the cache ----------------------------------------------------------------- */

static void writes_are_held_until_a_flush_and_reads_see_them(void **state)
{
	(void)state;
	assert_true(t.dev->limits.volatile_cache && t.dev->limits.fua);
	write_at(2, 4, 0xaa, 0);
	write_at(3, 1, 0xbb, 0);
	assert_true(reads(2, 1, 0xaa) && reads(3, 1, 0xbb) && reads(4, 2, 0xaa) && reads(1, 1, 0) &&
		    reads(6, 1, 0));
	assert_true(below_is(0, SECTORS, 0));
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(below_is(2, 1, 0xaa) && below_is(3, 1, 0xbb) && below_is(4, 2, 0xaa));
	assert_true(reads(3, 1, 0xbb));
}

static void a_read_takes_each_piece_from_where_it_is(void **state)
{
	struct treq *r;
	struct iovec iov[3];

	(void)state;
	write_at(1, 1, 0x11, BD_FUA);
	write_at(2, 2, 0x22, 0);
	r = treq_new(BD_READ, 0, 0, 5 * 512, 0);
	iov[0] = (struct iovec){ r->buf, 700 };
	iov[1] = (struct iovec){ r->buf + 700, 1 };
	iov[2] = (struct iovec){ r->buf + 701, 5 * 512 - 701 };
	r->rq.iov = iov;
	r->rq.niov = 3;
	assert_int_equal(bd_submit(t.dev, &r->rq), 0);
	assert_int_equal(treq_wait(r), 0);
	assert_true(all_are(r->buf, 512, 0) && all_are(r->buf + 512, 512, 0x11) &&
		    all_are(r->buf + 1024, 1024, 0x22) && all_are(r->buf + 2048, 512, 0));
	treq_free(r);
}

/* B1: it says nothing of others. P2: and it is not covered by what is older. */
static void fua_is_durable_alone(void **state)
{
	(void)state;
	write_at(0, 8, 0x11, 0);
	write_at(20, 1, 0x22, 0);
	write_at(4, 2, 0x33, BD_FUA);
	assert_true(below_is(4, 2, 0x33));
	assert_true(below_is(0, 4, 0) && below_is(6, 2, 0) && below_is(20, 1, 0));
	assert_true(reads(0, 4, 0x11) && reads(4, 2, 0x33) && reads(6, 2, 0x11));
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(below_is(0, 4, 0x11) && below_is(4, 2, 0x33) && below_is(6, 2, 0x11));
}

/* P1: the write is in flight together with the flush. */
static void a_flush_takes_only_what_was_done_before_it(void **state)
{
	struct treq *r, *w, *fl;

	(void)state;
	write_at(1, 1, 0x11, 0);
	fake_device_hold_only(t.f, BD_READ);
	r = treq_submit(t.dev, BD_READ, 0, 40 * 512, 512, 0);
	fake_device_wait(t.f, 1); /* the layer is busy with it */
	w = treq_submit(t.dev, BD_WRITE, 0, 5 * 512, 512, 0x55);
	fl = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(r), 0);
	assert_int_equal(treq_end(w), 0);
	assert_int_equal(treq_end(fl), 0);
	assert_true(below_is(1, 1, 0x11));
	assert_true(below_is(5, 1, 0));
	assert_true(reads(5, 1, 0x55));
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(below_is(5, 1, 0x55));
}

static void zeros_are_zeros_and_discards_anything(void **state)
{
	(void)state;
	write_at(0, 16, 0x11, BD_FUA);
	assert_int_equal(bd_zero(t.dev, 0, 4096, BD_UNMAP), 0);
	assert_true(reads(0, 8, 0) && below_is(0, 8, 0x11));
	assert_int_equal(bd_discard(t.dev, 4096, 2048), 0);
	assert_false(reads(8, 4, 0) || reads(8, 4, 0x11));
	write_at(8, 4, 0x22, 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(below_is(0, 8, 0) && below_is(8, 4, 0x22) && below_is(12, 4, 0x11));
}

/* The cache is no larger than 64 MiB: the oldest goes below before its time. */
static void what_is_held_has_a_limit(void **state)
{
	struct treq *r = treq_new(BD_WRITE, 0, 0, FAKE_DEVICE_SIZE, 0x10);
	unsigned n = 0;

	(void)state;
	while (below_is(0, 1, 0)) {
		assert_int_equal(bd_submit(t.dev, &r->rq), 0);
		assert_int_equal(treq_wait(r), 0);
		memset(r->buf, 0x10 + (int)++n, FAKE_DEVICE_SIZE);
		assert_in_range(n, 1, 70);
	}
	assert_in_range(n, 60, 70);
	assert_true(below_is(0, 2048, 0x10));
	assert_true(reads(0, SECTORS, 0x10 + (int)n - 1));
	treq_free(r);
}

static void errors_below_are_told(void **state)
{
	struct treq *r;

	(void)state;
	write_at(0, 1, 0x11, 0);
	fake_device_fail(t.f, BD_READ, 1, 1, -EIO);
	assert_int_equal(bd_read(t.dev, t.bytes, 512, 0), -EIO);
	assert_true(reads(0, 1, 0x11));
	fake_device_fail(t.f, BD_WRITE, 1, 1, -ENOSPC);
	r = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 0x22);
	assert_int_equal(treq_end(r), -ENOSPC);
	assert_true(reads(0, 1, 0x11));
	assert_int_equal(bd_failed(t.dev), -ENOSPC);
	down(NULL);
	open_with(&conf, 7);
	write_at(0, 1, 0x11, 0);
	fake_device_fail(t.f, BD_WRITE, 1, 1, -EIO);
	assert_int_equal(bd_flush(t.dev), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
}

/* A flush is handed on to a disk that has a cache of its own. */
static void a_flush_goes_all_the_way(void **state)
{
	(void)state;
	down(NULL);
	open_with(&(struct fake_device_conf){ .size = 0 }, 1);
	write_at(0, 1, 0x11, 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(all_are(fake_device_durable(t.f), 512, 0x11));
	write_at(1, 1, 0x22, BD_FUA); /* below by a write and a flush */
	assert_true(all_are(fake_device_durable(t.f) + 512, 512, 0x22));
}

/* ---- the cut --------------------------------------------------------------------- */

enum found { OLD = 1, NEW = 2, MIXED_FIRST = 4, MIXED_LAST = 8, MIXED_SOME = 16 };

/* How a write of n sectors of fresh over stale has ended. */
static enum found found_at(uint64_t sector, unsigned n, int stale, int fresh)
{
	unsigned news = 0, edges = 0;

	for (unsigned i = 0; i < n; i++) {
		bool is_new = below_is(sector + i, 1, fresh);

		assert_true(is_new || below_is(sector + i, 1, stale)); /* P4 */
		news += is_new;
		edges += i && is_new != below_is(sector + i - 1, 1, fresh);
	}
	if (news == 0 || news == n)
		return news ? NEW : OLD;
	if (edges > 1)
		return MIXED_SOME;
	return below_is(sector, 1, fresh) ? MIXED_FIRST : MIXED_LAST;
}

/* What the fake has is looked at after the layer's end of work, before the close. */
static enum found cut_with(uint64_t seed, unsigned n)
{
	enum found found;

	open_with(&conf, seed);
	write_at(0, n, 0x11, 0);
	write_at(n, 1, 0x77, 0);
	assert_int_equal(bd_flush(t.dev), 0);
	write_at(0, n, 0x22, 0);
	write_at(40, 1, 0x33, BD_FUA);
	assert_int_equal(bd_powercut(t.dev), 0);
	assert_true(below_is(n, 1, 0x77) && below_is(40, 1, 0x33));
	found = found_at(0, n, 0x11, 0x22);
	bd_close(t.dev);
	return found;
}

static void a_cut_leaves_old_new_or_parts_and_never_less_than_was_flushed(void **state)
{
	unsigned seen = 0, seen_one = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		seen |= cut_with(seed, 8);
		seen_one |= cut_with(seed, 1);
	}
	assert_int_equal(seen, OLD | NEW | MIXED_FIRST | MIXED_LAST | MIXED_SOME);
	assert_int_equal(seen_one, OLD | NEW);
}

static void a_seed_repeats_its_cut(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		uint8_t first[32 * 512];

		for (int again = 0; again < 2; again++) {
			open_with(&conf, seed);
			write_at(0, 32, 0x22, 0);
			write_at(8, 8, 0x33, 0);
			assert_int_equal(bd_powercut(t.dev), 0);
			if (again)
				assert_memory_equal(first, fake_device_bytes(t.f), sizeof first);
			else
				memcpy(first, fake_device_bytes(t.f), sizeof first);
			bd_close(t.dev);
		}
	}
}

/* Each of the two is there or not, and the newer one is never below the older. */
static void overlapping_writes_keep_their_order(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		open_with(&conf, seed);
		write_at(0, 1, 0x22, 0);
		write_at(0, 1, 0x33, 0);
		write_at(0, 1, 0x44, seed % 2 ? BD_FUA : 0);
		assert_int_equal(bd_powercut(t.dev), 0);
		if (seed % 2)
			assert_true(below_is(0, 1, 0x44));
		else
			seen |= 1u << (fake_device_bytes(t.f)[0] >> 4);
		bd_close(t.dev);
	}
	assert_int_equal(seen, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4);
}

/* Blocks of 4096 bytes are not torn. */
static void the_device_says_what_a_block_is(void **state)
{
	struct fake_device_conf large = conf;

	(void)state;
	large.limits.block = 4096;
	for (uint64_t seed = 0; seed < 40; seed++) {
		open_with(&large, seed);
		write_at(0, 32, 0x22, 0);
		assert_int_equal(bd_powercut(t.dev), 0);
		for (unsigned i = 0; i < 4; i++)
			assert_true(below_is(8 * i, 8, 0x22) || below_is(8 * i, 8, 0));
		bd_close(t.dev);
	}
}

static void after_the_cut_nothing_works(void **state)
{
	(void)state;
	write_at(0, 1, 0x11, 0);
	assert_int_equal(bd_powercut(t.dev), 0);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(bd_read(t.dev, t.bytes, 512, 0), -EIO);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 0, 512), -EIO);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(bd_powercut(t.dev), 0); /* it is cut */
}

static _Atomic pid_t cutter;

static void *cut(void *arg)
{
	atomic_store(&cutter, gettid());
	assert_int_equal(bd_powercut(arg), 0);
	return NULL;
}

/* The plug is pulled: whoever pulls sleeps until all has landed. */
static bool cutter_sleeps(void)
{
	char path[64], text[128] = "";
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&cutter));
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(text, sizeof text, f))
		text[0] = '\0';
	fclose(f);
	return strstr(text, ") S ") != NULL;
}

/* What is in flight fails, and may have landed all the same, FUA or not. */
static void writes_in_flight_may_land(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct treq *r, *w, *u;
		pthread_t thread;

		atomic_store(&cutter, 0);
		open_with(&conf, seed);
		fake_device_hold_only(t.f, BD_READ);
		r = treq_submit(t.dev, BD_READ, 0, 60 * 512, 512, 0);
		fake_device_wait(t.f, 1); /* the layer is busy with it */
		w = treq_submit(t.dev, BD_WRITE, 0, 0, 512, 0x11);
		u = treq_submit(t.dev, BD_WRITE, BD_FUA, 512, 512, 0x22);
		assert_int_equal(pthread_create(&thread, NULL, cut, t.dev), 0);
		while (!cutter_sleeps())
			sched_yield();
		fake_device_hold(t.f, false);
		pthread_join(thread, NULL);
		assert_int_equal(treq_end(r), 0);
		assert_int_equal(treq_end(w), -EIO);
		assert_int_equal(treq_end(u), -EIO);
		seen |= below_is(0, 1, 0x11) ? 1 : 2;
		seen |= below_is(1, 1, 0x22) ? 4 : 8;
		bd_close(t.dev);
	}
	assert_int_equal(seen, 15);
}

static void only_the_layer_can_be_cut(void **state)
{
	struct fake_device *f;
	struct bd *plain = fake_device_open(&conf, NULL, &f);

	(void)state;
	assert_int_equal(bd_powercut(plain), -EINVAL);
	bd_close(plain);
}

/* The disk below has failed: the cut says so. */
static void a_cut_tells_of_errors_below(void **state)
{
	(void)state;
	write_at(0, 32, 0x11, 0);
	fake_device_fail(t.f, BD_WRITE, 1, 0, -EIO);
	for (unsigned i = 1; i < 20; i++)
		write_at(i, 1, 0x12, 0);
	assert_int_equal(bd_powercut(t.dev), -EIO);
	assert_int_equal(bd_read(t.dev, t.bytes, 512, 0), -EIO);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(writes_are_held_until_a_flush_and_reads_see_them),
		T(a_read_takes_each_piece_from_where_it_is),
		T(fua_is_durable_alone),
		T(a_flush_takes_only_what_was_done_before_it),
		T(zeros_are_zeros_and_discards_anything),
		T(what_is_held_has_a_limit),
		T(errors_below_are_told),
		T(a_flush_goes_all_the_way),
		cmocka_unit_test(a_cut_leaves_old_new_or_parts_and_never_less_than_was_flushed),
		cmocka_unit_test(a_seed_repeats_its_cut),
		cmocka_unit_test(overlapping_writes_keep_their_order),
		cmocka_unit_test(the_device_says_what_a_block_is),
		T(after_the_cut_nothing_works),
		cmocka_unit_test(writes_in_flight_may_land),
		cmocka_unit_test(only_the_layer_can_be_cut),
		T(a_cut_tells_of_errors_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
