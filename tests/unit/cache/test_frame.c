/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: found, evicted, given back; attributes that arrive late; files that end. */
#include "tests/unit/cache/cache_test.h"

static void unlisted_page_is_not_found(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);
	uint32_t a, b;

	(void)state;
	assert_int_equal(frame_find(x->f, 0), FRAME_NONE);
	expect_original(x, PAGE, UNIT, UNIT);
	a = frame_find(x->f, 1);
	assert_int_not_equal(a, FRAME_NONE);
	mutex_lock(&x->f->lock);
	b = frame_find_locked(x->f, 1);
	assert_int_equal(frame_find_locked(x->f, 2), FRAME_NONE);
	mutex_unlock(&x->f->lock);
	assert_int_equal(a, b);
	assert_int_equal(page_state(x->c, a), PAGE_CLEAN);
	assert_int_equal(x->c->frames[a].pins & PIN_COUNT, 2);
	frame_unpin(x->c, a);
	frame_unpin(x->c, b);
	fx_done(x);
}

static void doomed_frame_lives_until_its_last_pin(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);
	struct reading r;
	uint8_t buf[PAGE];

	(void)state;
	read_begin(&r, x->f, x->cred, 0, PAGE);
	cache_invalidate(x->f);
	assert_int_equal(frame_find(x->f, 0), FRAME_NONE);
	assert_int_equal(x->c->used, 1);
	assert_int_equal(read_end(&r, buf), PAGE);
	assert_int_equal(buf[5], fake_byte(5));
	assert_int_equal(x->c->used, 0);
	fx_done(x);
}

static void clean_frames_are_evicted_for_others(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 2 * FRAMES * PAGE);

	(void)state;
	for (unsigned i = 0; i < 2 * FRAMES; i++)
		expect_original(x, i * PAGE, PAGE, PAGE);
	assert_int_equal(x->c->used, FRAMES);
	verify_file(x->f);
	fx_done(x);
}

static void dirty_frames_are_not_evicted(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 2 * FRAMES * PAGE);

	(void)state;
	for (unsigned i = 0; i < FRAMES / 2; i++)
		put(x, i * PAGE + 5, 1, 3);
	for (unsigned i = FRAMES / 2; i < 2 * FRAMES; i++)
		expect_original(x, i * PAGE, PAGE, PAGE);
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 0);
	for (unsigned i = 0; i < FRAMES / 2; i++)
		expect_read(x, i * PAGE + 5, 1, 1, 3);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static void tuning_down_gives_memory_back(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct cache_usage u;
	struct arena *a;
	struct cache *c;
	struct cache_config cfg = { .tun = x->tun };
	struct err err;
	int fd;

	(void)state;
	fx_cache(x, 0);
	assert_int_equal(arena_create(4096, 256, &fd), 0);
	assert_int_equal(arena_attach(fd, &a, &err), 0);
	cfg.tun.cache_bytes = 256 * 4096;
	assert_int_equal(cache_new(&cfg, a, &x->fb->be, &c), 0);
	file_free(x->f);
	assert_int_equal(cache_file_new(c, &x->n->node, 0, 7, &x->f), 0);
	fake_truncate(x->n, 256 * 4096);
	cache_freeze(x->f, false, false);
	cache_set_size(x->f, 256 * 4096);
	cache_thaw(x->f);
	expect_read(x, 0, 256 * 4096, 256 * 4096, 0);
	assert_int_equal(c->used, 256);
	cfg.tun.cache_bytes = 64 * 4096;
	cache_tune(c, &cfg.tun);
	cache_usage(c, &u);
	assert_int_equal(u.frames, 64);
	assert_int_equal(u.frames_used, 64);
	expect_read(x, 0, 256 * 4096, 256 * 4096, 0);
	assert_in_range(c->used, 1, 64);
	file_free(x->f);
	cache_free(c);
	arena_free(a);
	assert_int_equal(cache_file_new(x->c, &x->n->node, 0, 7, &x->f), 0);
	fx_done(x);
}

/* The server answered before our write arrived there; we hear of it afterwards. */
static void late_attributes_do_not_shrink_what_was_written_since(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	struct be_attr attr = { .size = 0 };
	uint64_t seq;

	(void)state;
	put(x, 0, PAGE, 1);
	seq = cache_change_seq(x->f);
	assert_int_equal(cache_flush(x->f, false), 0);
	cache_merge_attr(x->f, &attr, seq);
	assert_int_equal(attr.size, PAGE);
	expect_read(x, 0, PAGE, PAGE, 1);
	attr.size = 0;
	assert_true(cache_revalidate(x->f, &attr, seq));
	expect_read(x, 0, PAGE, PAGE, 1);
	fx_done(x);
}

static void attributes_of_dirty_files_are_ours(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 100);
	struct be_attr attr = { .size = 100 };

	(void)state;
	put(x, 0, 3 * UNIT, 1);
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	assert_int_equal(attr.size, 3 * UNIT);
	assert_int_equal(attr.blocks, 3 * UNIT / 512);
	assert_true(attr.mtime.tv_sec > 0);
	assert_int_equal(timespec_cmp(&attr.mtime, &attr.ctime), 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	attr = (struct be_attr){ .size = 3 * UNIT, .mtime = { 5, 0 } };
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	assert_int_equal(attr.mtime.tv_sec, 5);
	fx_done(x);
}

static void foreign_changes_drop_clean_pages_at_open(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, PAGE);
	struct be_attr attr = { .size = PAGE, .mtime = { 1, 0 }, .ctime = { 1, 0 } };

	(void)state;
	assert_false(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_original(x, 0, PAGE, PAGE);
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	pthread_mutex_lock(&x->fb->lock);
	memset(x->n->live, 9, PAGE);
	pthread_mutex_unlock(&x->fb->lock);
	expect_original(x, 0, PAGE, PAGE); /* still cached */
	attr.ctime.tv_nsec = 1;
	assert_false(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_read(x, 0, PAGE, PAGE, 9);
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	fx_done(x);
}

/* The clock of the backend ticks once a second: what was read before the tick ended may
 * lack a change under the same times, what was read after it does not. */
static void pages_read_within_a_tick_are_not_believed(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct be_attr attr = { .size = PAGE, .mtime = { 7, 0 }, .ctime = { 7, 0 } };

	(void)state;
	x->fb->be.limits.time_grain_ns = 1000000000;
	fx_cache(x, PAGE);
	assert_false(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_original(x, 0, PAGE, PAGE);
	pthread_mutex_lock(&x->fb->lock);
	memset(x->n->live, 9, PAGE);
	pthread_mutex_unlock(&x->fb->lock);
	clock_skew_ms += 1500;
	assert_false(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_read(x, 0, PAGE, PAGE, 9);
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	/* Times that are finer than the grain tell every change. */
	attr.ctime.tv_nsec = 5;
	assert_false(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_read(x, 0, PAGE, PAGE, 9);
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	fx_done(x);
}

static void own_writes_do_not_look_foreign(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct be_attr attr = { .size = PAGE };

	(void)state;
	x->fb->post = true;
	fx_cache(x, PAGE);
	cache_revalidate(x->f, &attr, cache_change_seq(x->f));
	put(x, 0, PAGE, 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	attr = (struct be_attr){ .size = PAGE, .mtime = x->n->mtime, .ctime = x->n->mtime };
	fake_log_clear(x->fb);
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	expect_read(x, 0, PAGE, PAGE, 1);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 0);
	fx_done(x);
}

static void busy_file_tells_when_it_is_idle(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading r;
	uint8_t buf[10];

	(void)state;
	read_begin(&r, x->f, x->cred, 0, 10);
	assert_false(cache_file_try_free(x->f));
	cache_file_revive(x->f);
	fake_complete_all(x->fb);
	assert_int_equal(x->idle_calls, 0);
	assert_int_equal(read_end(&r, buf), 10);
	put(x, 0, UNIT, 1);
	assert_true(cache_file_owes(x->f));
	assert_false(cache_file_try_free(x->f));
	assert_int_equal(cache_flush(x->f, true), -EAGAIN);
	assert_int_equal(x->idle_calls, 0);
	fake_complete_all(x->fb);
	assert_int_equal(x->idle_calls, 1);
	assert_false(cache_file_owes(x->f));
	fx_done(x);
}

/* Opened, written and closed again and again, as an inode table would. */
struct owner {
	struct fx *x;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct cache_file *f;
	unsigned freed;
	bool wanted;
};

static void owner_try(struct owner *o)
{
	if (o->f && o->wanted && cache_file_try_free(o->f)) {
		o->f = NULL;
		o->freed++;
		pthread_cond_broadcast(&o->cond);
	}
}

static void owner_idle(void *arg, uint64_t number)
{
	struct owner *o = arg;

	(void)number;
	pthread_mutex_lock(&o->lock);
	owner_try(o);
	pthread_mutex_unlock(&o->lock);
}

static void owner_round(struct owner *o, unsigned round)
{
	struct fx *x = o->x;
	struct writing w;
	uint8_t bytes[100];

	memset(bytes, (int)(round & 0xff), sizeof bytes);
	assert_int_equal(cache_file_new(x->c, &x->n->node, fake_size(x->n), 1, &o->f), 0);
	write_begin(&w, o->f, x->cred, round * 10, sizeof bytes, bytes);
	assert_int_equal(write_end(&w), sizeof bytes);
	pthread_mutex_lock(&o->lock);
	o->wanted = true;
	owner_try(o);
	if (o->f && round % 3 == 0) {
		o->wanted = false;
		cache_file_revive(o->f);
		pthread_mutex_unlock(&o->lock);
		assert_int_equal(cache_flush(o->f, false), 0);
		pthread_mutex_lock(&o->lock);
		o->wanted = true;
		owner_try(o);
	}
	wb_kick(x->c);
	while (o->f)
		pthread_cond_wait(&o->cond, &o->lock);
	o->wanted = false;
	pthread_mutex_unlock(&o->lock);
}

static void files_end_while_threads_still_hold_them(void **state)
{
	struct fx *x = fx_backend(FAKE_THREAD);
	struct owner o = { .x = x };

	(void)state;
	x->tun.dirty_age_ms = 0;
	fx_cache(x, PAGE);
	pthread_mutex_init(&o.lock, NULL);
	pthread_cond_init(&o.cond, NULL);
	x->c->idle_arg = &o;
	x->c->idle = owner_idle;
	for (unsigned round = 0; round < 200; round++)
		owner_round(&o, round);
	assert_int_equal(o.freed, 200);
	fx_done(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unlisted_page_is_not_found),
		cmocka_unit_test(doomed_frame_lives_until_its_last_pin),
		cmocka_unit_test(clean_frames_are_evicted_for_others),
		cmocka_unit_test(dirty_frames_are_not_evicted),
		cmocka_unit_test(tuning_down_gives_memory_back),
		cmocka_unit_test(late_attributes_do_not_shrink_what_was_written_since),
		cmocka_unit_test(attributes_of_dirty_files_are_ours),
		cmocka_unit_test(foreign_changes_drop_clean_pages_at_open),
		cmocka_unit_test(pages_read_within_a_tick_are_not_believed),
		cmocka_unit_test(own_writes_do_not_look_foreign),
		cmocka_unit_test(busy_file_tells_when_it_is_idle),
		cmocka_unit_test(files_end_while_threads_still_hold_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
