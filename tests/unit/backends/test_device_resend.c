/* SPDX-License-Identifier: Apache-2.0 */
/* What the core sends after a reconnect, in which order, and when it gives up (device.h, B7). */
#include <sched.h>

#include "backends/block/device_impl.h"
#include "tests/unit/backends/device_keep_test.h"

/* ---- B7: the order ------------------------------------------------------------- */

/* What was not answered is lost, and what comes then is answered. */
static void lose_and_connect(void)
{
	fake_device_disconnect(t.f);
	fake_device_lose(t.f);
	fake_device_clear(t.f);
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
}

static void test_kept_then_unanswered_then_new(void **state)
{
	struct treq *unanswered[3], *fresh[2];

	(void)state;
	write_at(0, 512, 1, 0);
	write_at(512, 512, 2, 0);
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 3; i++)
		unanswered[i] = treq_submit(t.dev, BD_WRITE, 0, 4096 + i * 512, 512, 3);
	fake_device_wait(t.f, 3);
	fake_device_disconnect(t.f); /* gives them back, last one first */
	assert_true(counts().paused);
	for (unsigned i = 0; i < 2; i++)
		fresh[i] = treq_submit(t.dev, BD_WRITE, 0, 8192 + i * 512, 512, 4);
	fake_device_clear(t.f);
	fake_device_connect(t.f);
	fake_device_wait(t.f, 2);
	assert_int_equal(fake_device_at(t.f, 0).off, 0);
	assert_int_equal(fake_device_at(t.f, 1).off, 512);
	fake_device_release(t.f, 1);
	assert_int_equal(fake_device_count(t.f), 2); /* all of the kept come first */
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_device_at(t.f, i).off, 4096 + i * 512);
	fake_device_release(t.f, 0);
	fake_device_release(t.f, 0);
	assert_int_equal(fake_device_count(t.f), 5);
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 2);
	assert_int_equal(fake_device_at(t.f, 0).off, 8192);
	fake_device_hold(t.f, false);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(treq_end(unanswered[i]), 0);
	assert_int_equal(treq_end(fresh[0]) | treq_end(fresh[1]), 0);
	assert_int_equal(counts().resent, 5);
}

static void test_kept_writes_that_overlap_go_one_after_another(void **state)
{
	(void)state;
	write_at(0, 2048, 1, 0);
	write_at(1024, 2048, 2, 0);
	write_at(8192, 512, 9, 0);
	write_at(0, 512, 3, 0);
	fake_device_disconnect(t.f);
	fake_device_lose(t.f);
	fake_device_clear(t.f);
	fake_device_hold(t.f, true);
	fake_device_connect(t.f);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_count(t.f), 1);
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 3); /* the other three do not overlap each other */
	assert_int_equal(fake_device_at(t.f, 0).off, 1024);
	fake_device_release(t.f, 2);
	fake_device_hold(t.f, false);
	settled();
	bytes_are(0, 512, 3);
	bytes_are(512, 512, 1);
	bytes_are(1024, 2048, 2);
}

static void test_an_unanswered_write_over_a_kept_one_comes_after_it(void **state)
{
	struct treq *newer;

	(void)state;
	write_at(0, 4096, 1, 0);
	fake_device_hold(t.f, true);
	newer = treq_submit(t.dev, BD_WRITE, 0, 1024, 512, 2);
	fake_device_wait(t.f, 1);
	fake_device_execute(t.f, 0); /* done there, and the answer is lost */
	fake_device_disconnect(t.f);
	fake_device_connect(t.f);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).len, 4096);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(newer), 0);
	bytes_are(1024, 512, 2);
	bytes_are(0, 1024, 1);
}

static void test_a_new_write_over_a_kept_one_comes_after_it(void **state)
{
	struct treq *newer;

	(void)state;
	write_at(0, 4096, 1, 0);
	fake_device_disconnect(t.f);
	newer = treq_submit(t.dev, BD_WRITE, 0, 0, 4096, 2);
	fake_device_lose(t.f);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(newer), 0);
	bytes_are(0, 4096, 2);
	restart();
	settled();
	bytes_are(0, 4096, 2);
}

static void test_an_unanswered_flush_follows_the_kept_writes(void **state)
{
	struct treq *flush;

	(void)state;
	write_at(0, 512, 1, 0);
	fake_device_hold(t.f, true);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 1);
	lose_and_connect();
	assert_int_equal(treq_end(flush), 0);
	assert_int_equal(fake_device_seen(t.f, 0).op, BD_WRITE);
	assert_int_equal(fake_device_seen(t.f, 1).op, BD_FLUSH);
	assert_true(all_are(fake_device_durable(t.f), 512, 1));
	assert_int_equal(counts().kept_bytes, 0);
}

static void test_flushes_that_wait_for_an_unanswered_one_go_with_its_repetition(void **state)
{
	struct treq *first, *flush[2], *fua;

	(void)state;
	fake_device_hold_only(t.f, BD_FLUSH);
	first = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	for (unsigned i = 0; i < 2; i++)
		flush[i] = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fua = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	/* Answered after it, by the same thread: its flush waits. */
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 4096, 512, 0)), 0);
	fake_device_wait(t.f, 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(first), 0);
	fake_device_wait(t.f, 1);
	lose_and_connect();
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(treq_end(flush[i]), 0);
	assert_int_equal(treq_end(fua), 0);
	settled();
	assert_true(all_are(fake_device_durable(t.f), 512, 1));
	assert_int_equal(fake_device_count_op(t.f, BD_WRITE), 1);
	assert_in_range(fake_device_count_op(t.f, BD_FLUSH), 1, 2);
}

/* Written, not flushed, and not kept, for it is not done: it starts anew. */
static void test_fua_whose_flush_was_not_answered_is_written_again(void **state)
{
	struct treq *r;

	(void)state;
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	fake_device_wait(t.f, 1);
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, BD_FLUSH);
	lose_and_connect();
	assert_int_equal(treq_end(r), 0);
	assert_int_equal(fake_device_seen(t.f, 0).op, BD_WRITE);
	assert_true(all_are(fake_device_durable(t.f), 512, 1));
}

static void test_a_cut_write_starts_anew_with_the_parts_that_were_answered(void **state)
{
	struct treq *r;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .max_transfer = 1024, .depth = 2 } },
		  (struct bd_env){ 0 });
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, 0, 0, 8192, 1);
	fake_device_wait(t.f, 2);
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 2);
	lose_and_connect();
	assert_int_equal(treq_end(r), 0);
	bytes_are(0, 8192, 1);
	assert_int_equal(fake_device_count(t.f), 8);
	restart();
	settled();
	bytes_are(0, 8192, 1);
	assert_int_equal(fake_device_count(t.f), 8); /* kept whole, cut again */
}

static void test_a_connection_lost_again_during_the_repetition(void **state)
{
	struct treq *r;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .max_transfer = 512, .depth = 2 } },
		  (struct bd_env){ 0 });
	write_at(0, 2048, 1, 0);
	write_at(1024, 2048, 2, 0);
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, 0, 8192, 1024, 3);
	fake_device_wait(t.f, 2);
	for (unsigned i = 0; i < 6; i++) {
		fake_device_disconnect(t.f);
		fake_device_lose(t.f);
		fake_device_clear(t.f);
		fake_device_connect(t.f);
		for (unsigned j = 0; j < i; j++) {
			fake_device_wait(t.f, 1);
			fake_device_release(t.f, 0);
		}
		assert_int_equal(fake_device_seen(t.f, 0).off, 0);
		assert_false(treq_is_done(r));
	}
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(r), 0);
	settled();
	bytes_are(0, 1024, 1);
	bytes_are(1024, 2048, 2);
	bytes_are(8192, 1024, 3);
}

static void test_a_kept_write_that_is_refused_fails_the_device(void **state)
{
	(void)state;
	write_at(0, 512, 1, 0);
	write_at(0, 512, 2, 0);
	fake_device_disconnect(t.f);
	fake_device_fail(t.f, BD_WRITE, 1, 1, -EPERM);
	fake_device_connect(t.f);
	settled();
	assert_int_equal(bd_failed(t.dev), -EPERM);
	assert_int_equal(bd_flush(t.dev), -EPERM);
	assert_int_equal(counts().kept_bytes, 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 0, 512, 0)), 0);
}

/* The server that came back has no command for zeros any more. */
static void zeros_refused(unsigned depth)
{
	open_with((struct fake_device_conf){ .limits = { .max_zero = 4096, .depth = depth } },
		  (struct bd_env){ 0 });
	write_at(0, 32768, 1, BD_FUA);
	assert_int_equal(bd_zero(t.dev, 0, 16384, 0), 0);
	assert_int_equal(bd_zero(t.dev, 20480, 4096, 0), 0);
	write_at(8192, 512, 2, 0);
	write_at(40960, 512, 3, 0);
	fake_device_fail(t.f, BD_ZERO, 1, 0, -ENOTSUP);
	restart();
	settled();
	assert_int_equal(bd_failed(t.dev), 0);
	bytes_are(0, 8192, 0);
	bytes_are(8192, 512, 2);
	bytes_are(8704, 16384 - 8704, 0);
	bytes_are(16384, 4096, 1);
	bytes_are(20480, 4096, 0);
	bytes_are(40960, 512, 3);
	assert_int_equal(bd_flush(t.dev), 0);
}

static void test_kept_zeros_that_are_refused_are_written(void **state)
{
	(void)state;
	for (unsigned depth = 1; depth < 9; depth++)
		zeros_refused(depth);
	/* And lost again on the way. */
	open_with((struct fake_device_conf){ .limits = { .max_zero = 4096, .depth = 2 } },
		  (struct bd_env){ 0 });
	write_at(0, 16384, 1, BD_FUA);
	assert_int_equal(bd_zero(t.dev, 0, 16384, 0), 0);
	fake_device_fail(t.f, BD_ZERO, 2, 0, -ENOTSUP);
	fake_device_hold(t.f, true);
	restart();
	for (unsigned i = 0; i < 3; i++) {
		fake_device_wait(t.f, 1);
		fake_device_release(t.f, 0);
	}
	restart();
	fake_device_hold(t.f, false);
	settled();
	bytes_are(0, 16384, 0);
	assert_int_equal(bd_failed(t.dev), 0);
}

static void test_answers_between_pause_and_resume_count(void **state)
{
	(void)state;
	write_at(0, 512, 1, 0);
	bd_pause(t.dev);
	assert_true(counts().paused);
	bd_resume(t.dev);
	settled();
	assert_false(counts().paused);
	write_at(512, 512, 2, 0);
	bytes_are(0, 512, 1);
}

/* A transport that lost sight of what it had. */
static void test_what_a_transport_neither_answers_nor_gives_back_fails_the_device(void **state)
{
	struct treq *write, *cut, *read, *later[2];

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .max_transfer = 512, .depth = 4 } },
		  (struct bd_env){ 0 });
	t.dev->core->resume_ms = 20;
	write_at(0, 512, 1, 0);
	fake_device_hold(t.f, true);
	write = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 2);
	read = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	cut = treq_submit(t.dev, BD_WRITE, 0, 8192, 4096, 3);
	fake_device_wait(t.f, 4);
	later[0] = treq_submit(t.dev, BD_WRITE, 0, 16384, 512, 4);
	later[1] = treq_submit(t.dev, BD_READ, 0, 512, 512, 0);
	bd_pause(t.dev);
	bd_resume(t.dev);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(treq_end(later[0]), -EIO);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -EIO);
	assert_false(treq_is_done(write) || treq_is_done(read) || treq_is_done(cut));
	/* Their answers come all the same, and who only reads goes on. */
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(write), 0);
	assert_int_equal(treq_end(cut), -EIO);
	assert_int_equal(treq_wait(read), 0);
	assert_true(all_are(read->buf, 512, 1));
	treq_free(read);
	assert_int_equal(treq_end(later[1]), 0);
	assert_int_equal(counts().kept_bytes, 0);
}

static void *submits(void *arg)
{
	assert_int_equal(bd_submit(t.dev, arg), 0);
	return NULL;
}

static _Atomic bool lost;

static void *loses(void *arg)
{
	fake_device_disconnect(t.f);
	atomic_store(&lost, true);
	return arg;
}

/* Else the transport would send it on the new connection, before what has to come first. */
static void test_a_pause_waits_for_who_is_just_submitting(void **state)
{
	struct treq *r = treq_new(BD_WRITE, 0, 0, 512, 1);
	pthread_t submitter, loser;

	(void)state;
	atomic_store(&lost, false);
	fake_device_stall(t.f, true);
	fake_device_hold(t.f, true);
	assert_int_equal(pthread_create(&submitter, NULL, submits, &r->rq), 0);
	fake_device_wait_stalled(t.f);
	assert_int_equal(pthread_create(&loser, NULL, loses, NULL), 0);
	while (!counts().paused)
		sched_yield();
	assert_false(atomic_load(&lost));
	fake_device_stall(t.f, false);
	pthread_join(submitter, NULL);
	pthread_join(loser, NULL);
	assert_int_equal(fake_device_held(t.f), 0); /* it was given back */
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(r), 0);
	assert_int_equal(counts().resent, 1);
}

/* ---- limits of patience ---------------------------------------------------------- */

static void test_requests_expire_while_the_server_is_away(void **state)
{
	struct treq *in_flight, *waits, *read;
	uint64_t now;
	uint32_t next;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .timeout_ms = 5000 });
	assert_int_equal(bd_expire(t.dev, clock_ms() + 100000), UINT32_MAX);
	fake_device_hold(t.f, true);
	in_flight = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	fake_device_wait(t.f, 1);
	fake_device_disconnect(t.f);
	now = clock_ms();
	waits = treq_submit(t.dev, BD_WRITE, 0, 4096, 512, 1);
	next = bd_expire(t.dev, now);
	assert_in_range(next, 4900, 5000);
	assert_false(treq_is_done(in_flight));
	assert_int_equal(bd_failed(t.dev), 0);
	bd_expire(t.dev, clock_ms() + 6000);
	assert_int_equal(treq_end(in_flight), -ETIMEDOUT);
	assert_int_equal(treq_end(waits), -ETIMEDOUT);
	assert_int_equal(bd_failed(t.dev), -ETIMEDOUT);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -ETIMEDOUT);
	read = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(read), 0);
}

static void test_time_goes_on_over_reconnects_that_bring_nothing(void **state)
{
	struct treq *r;

	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ .timeout_ms = 60000 });
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	fake_device_wait(t.f, 1);
	fake_device_disconnect(t.f);
	atomic_fetch_add(&clock_skew_ms, 40000);
	fake_device_connect(t.f);
	fake_device_disconnect(t.f);
	assert_in_range(bd_expire(t.dev, clock_ms()), 1, 20000);
	/* One that brought something begins anew. */
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(r), 0);
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	fake_device_disconnect(t.f);
	assert_in_range(bd_expire(t.dev, clock_ms()), 50000, 60000);
	fake_device_hold(t.f, false);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(r), 0);
	atomic_store(&clock_skew_ms, 0);
}

static void test_without_a_limit_nothing_expires(void **state)
{
	struct treq *r;

	(void)state;
	fake_device_disconnect(t.f);
	r = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	assert_int_equal(bd_expire(t.dev, UINT64_MAX), UINT32_MAX);
	fake_device_connect(t.f);
	assert_int_equal(treq_end(r), 0);
}

static void test_cancel_while_paused_ends_all(void **state)
{
	struct treq *r[6];

	(void)state;
	write_at(65536, 512, 9, 0);
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 3; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, BD_FUA, i * 512, 512, 1);
	fake_device_wait(t.f, 3);
	fake_device_disconnect(t.f);
	for (unsigned i = 3; i < 6; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, 1);
	bd_cancel(t.dev);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(treq_end(r[i]), -ECANCELED);
	assert_int_equal(bd_failed(t.dev), 0);
	settled();
}

static void test_what_comes_back_after_a_cancel_ends(void **state)
{
	struct treq *r;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .max_transfer = 512, .depth = 1 } },
		  (struct bd_env){ 0 });
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, 0, 0, 4096, 1);
	fake_device_wait(t.f, 1);
	bd_cancel(t.dev);
	assert_int_equal(treq_end(r), -ECANCELED);
	assert_int_equal(fake_device_count(t.f), 1);
}

static void test_a_close_while_paused_with_kept_writes(void **state)
{
	struct treq *r;

	(void)state;
	write_at(0, 512, 1, 0);
	fake_device_disconnect(t.f);
	r = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	bd_close(t.dev);
	t.dev = NULL;
	assert_int_equal(treq_end(r), -ECANCELED);
}

static void test_a_close_during_the_repetition(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		write_at(i * 512, 1024, (int)i, 0);
	fake_device_disconnect(t.f);
	fake_device_hold(t.f, true);
	fake_device_connect(t.f);
	fake_device_wait(t.f, 1);
	bd_close(t.dev);
	t.dev = NULL;
}

/* ---- under load -------------------------------------------------------------------- */

#define LOAD_THREADS 3u
#define LOAD_SHARE 65536u

static _Atomic unsigned load_left;

static void *load(void *arg)
{
	uint64_t base = *(unsigned *)arg * (uint64_t)LOAD_SHARE;
	unsigned seed = *(unsigned *)arg + 7;
	uint8_t shadow[LOAD_SHARE], buf[8192];

	memset(shadow, 0, sizeof shadow);
	for (unsigned i = 0; i < 400; i++) {
		uint64_t len = 512ull * (1 + (unsigned)rand_r(&seed) % 16);
		uint64_t off = 512ull *
			       ((unsigned)rand_r(&seed) % (unsigned)((LOAD_SHARE - len) / 512 + 1));
		unsigned what = (unsigned)rand_r(&seed) % 16;

		if (what < 8) {
			memset(buf, (int)i, len);
			assert_int_equal(
				bd_write(t.dev, buf, len, base + off, what < 2 ? BD_FUA : 0), 0);
			memset(shadow + off, (int)i, len);
		} else if (what < 10) {
			assert_int_equal(bd_zero(t.dev, base + off, len, what == 8 ? BD_FUA : 0),
					 0);
			memset(shadow + off, 0, len);
		} else if (what == 10) {
			assert_int_equal(bd_flush(t.dev), 0);
		} else {
			assert_int_equal(bd_read(t.dev, buf, len, base + off), 0);
			assert_memory_equal(buf, shadow + off, len);
		}
	}
	assert_int_equal(bd_read(t.dev, shadow, 512, base), 0);
	atomic_fetch_sub(&load_left, 1);
	return NULL;
}

/* The server loses its cache again and again, and nobody sees it. */
static void under_load(bool fua)
{
	pthread_t threads[LOAD_THREADS];
	unsigned ids[LOAD_THREADS];

	open_with((struct fake_device_conf){ .limits = { .depth = 4,
							 .max_transfer = 4096,
							 .max_zero = 2048,
							 .fua = fua } },
		  (struct bd_env){ .keep_max = 32768 });
	atomic_store(&load_left, LOAD_THREADS);
	for (unsigned i = 0; i < LOAD_THREADS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, load, &ids[i]), 0);
	}
	while (atomic_load(&load_left) > 0) {
		restart();
		for (uint64_t end = clock_us() + 300; clock_us() < end;)
			sched_yield();
	}
	for (unsigned i = 0; i < LOAD_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counts().errors, 0);
	assert_true(counts().resent > 0);
}

static void test_nothing_is_lost_or_stale_under_load(void **state)
{
	(void)state;
	under_load(false);
}

static void test_nothing_is_lost_or_stale_under_load_with_fua(void **state)
{
	(void)state;
	under_load(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_kept_then_unanswered_then_new),
		T(test_kept_writes_that_overlap_go_one_after_another),
		T(test_an_unanswered_write_over_a_kept_one_comes_after_it),
		T(test_a_new_write_over_a_kept_one_comes_after_it),
		T(test_an_unanswered_flush_follows_the_kept_writes),
		T(test_flushes_that_wait_for_an_unanswered_one_go_with_its_repetition),
		T(test_fua_whose_flush_was_not_answered_is_written_again),
		T(test_a_cut_write_starts_anew_with_the_parts_that_were_answered),
		T(test_a_connection_lost_again_during_the_repetition),
		T(test_a_kept_write_that_is_refused_fails_the_device),
		T(test_kept_zeros_that_are_refused_are_written),
		T(test_answers_between_pause_and_resume_count),
		T(test_what_a_transport_neither_answers_nor_gives_back_fails_the_device),
		T(test_a_pause_waits_for_who_is_just_submitting),
		T(test_requests_expire_while_the_server_is_away),
		T(test_time_goes_on_over_reconnects_that_bring_nothing),
		T(test_without_a_limit_nothing_expires),
		T(test_cancel_while_paused_ends_all),
		T(test_what_comes_back_after_a_cancel_ends),
		T(test_a_close_while_paused_with_kept_writes),
		T(test_a_close_during_the_repetition),
		T(test_nothing_is_lost_or_stale_under_load),
		T(test_nothing_is_lost_or_stale_under_load_with_fua),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
