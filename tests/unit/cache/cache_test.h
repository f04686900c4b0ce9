/* SPDX-License-Identifier: Apache-2.0 */
/* cache_test.h - the fixture that the cache's tests share: a fake backend, a
 * small arena, a cache whose thread does nothing by itself, and one file
 *
 * fx_done() asserts that nothing is owed, that the invariants of every frame hold
 * and that no descriptor and no frame leaked. A test that hangs is killed. */
#ifndef TESTS_UNIT_CACHE_CACHE_TEST_H
#define TESTS_UNIT_CACHE_CACHE_TEST_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/cache_impl.h"
#include "cache/readahead.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/fake/fake_backend.h"

#define HELPER __attribute__((unused)) static
#define PAGE 16384u /* bytes of a frame; four units */
#define UNIT 4096u
#define FRAMES 64u
#define UID_A 1000
#define UID_B 1001
#define HOUR_MS (3600 * 1000)
#define WATCHDOG_S 120

struct fx {
	struct fake *fb;
	struct arena *arena;
	struct cache *c;
	struct cache_tunables tun;
	struct fake_node *n;
	struct cache_file *f;
	struct be_cred *cred, *cred_b;
	_Atomic unsigned idle_calls;
	int fds_before;
};

HELPER int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_idle(void *arg, uint64_t owner)
{
	struct fx *x = arg;

	(void)owner;
	x->idle_calls++;
}

/* The backend's limits may be changed between fx_backend() and fx_cache(). */
HELPER struct fx *fx_backend(enum fake_mode mode)
{
	struct fx *x = calloc(1, sizeof *x);

	assert_non_null(x);
	alarm(WATCHDOG_S);
	log_level = LOG_LEVEL_ERROR;
	x->fds_before = count_fds();
	x->fb = fake_new(mode);
	x->cred = be_cred_new(UID_A, UID_A, 0, NULL);
	x->cred_b = be_cred_new(UID_B, UID_B, 0, NULL);
	x->tun = (struct cache_tunables){ .cache_bytes = (uint64_t)FRAMES * PAGE,
					  .background_percent = 90,
					  .limit_percent = 90,
					  .dirty_age_ms = HOUR_MS };
	return x;
}

HELPER void fx_cache(struct fx *x, uint64_t size)
{
	struct cache_config cfg = { .tun = x->tun, .idle = on_idle, .idle_arg = x };
	struct err err;
	int fd;

	assert_int_equal(arena_create(PAGE, FRAMES, &fd), 0);
	assert_int_equal(arena_attach(fd, &x->arena, &err), 0);
	assert_int_equal(cache_new(&cfg, x->arena, &x->fb->be, &x->c), 0);
	x->n = fake_node_new(x->fb, size);
	assert_int_equal(cache_file_new(x->c, &x->n->node, size, 7, &x->f), 0);
}

HELPER struct fx *fx_new(enum fake_mode mode, uint64_t size)
{
	struct fx *x = fx_backend(mode);

	fx_cache(x, size);
	return x;
}

/* I1, I2, I3, I5 of page.h, in release builds too, and I4: zeros beyond the end. */
static void verify_frame(struct cache_file *f, uint32_t frame, void *arg)
{
	struct cache *c = f->c;
	const struct frame *fr = &c->frames[frame];
	const struct arena_page *pg = page_of(c, frame);
	uint64_t owed = pg->dirty | pg->unstable | fr->writing | fr->committing;

	(void)arg;
	page_check(c, frame);
	assert_int_equal(owed & ~pg->valid, 0);
	assert_int_equal(fr->fill & pg->valid, 0);
	assert_int_equal(fr->held, owed != 0);
	assert_int_equal(fr->file_id, f->id);
	assert_int_equal(fr->fno, pg->fno);
	for (unsigned u = 0; u < c->units; u++) {
		uint64_t off = (pg->fno << c->page_shift) + (uint64_t)u * c->unit;
		const uint8_t *mem = frame_mem(c, frame) + (size_t)u * c->unit;

		for (unsigned i = 0; pg->valid >> u & 1 && off + c->unit > f->size && i < c->unit;
		     i++)
			if (off + i >= f->size)
				assert_int_equal(mem[i], 0);
	}
}

HELPER void verify_file(struct cache_file *f)
{
	mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->c->nframes; i++)
		if (f->c->frames[i].file_id == f->id && f->c->frames[i].file == f &&
		    !(f->c->frames[i].pins & PIN_DOOMED))
			verify_frame(f, i, NULL);
	mutex_unlock(&f->lock);
}

HELPER void verify_clean(struct cache *c)
{
	struct cache_usage u;

	cache_usage(c, &u);
	assert_int_equal(u.dirty_bytes, 0);
	assert_int_equal(u.unstable_bytes, 0);
	assert_int_equal(u.held_frames, 0);
	assert_int_equal(u.writers_held, 0);
	assert_int_equal(u.files_failing, 0);
}

/* Frees a file with nothing dirty; waits for the thread that may hold it just now. */
HELPER void file_free(struct cache_file *f)
{
	while (!cache_file_try_free(f))
		sched_yield();
}

HELPER void fx_done(struct fx *x)
{
	verify_file(x->f);
	file_free(x->f);
	verify_clean(x->c);
	assert_int_equal(x->c->used, 0);
	assert_int_equal(x->c->nfree, x->c->nframes);
	cache_free(x->c);
	arena_free(x->arena);
	be_node_put(&x->n->node);
	fake_free(x->fb);
	assert_int_equal(x->cred->refs, 1);
	assert_int_equal(x->cred_b->refs, 1);
	be_cred_put(x->cred);
	be_cred_put(x->cred_b);
	clock_skew_ms = 0;
	assert_int_equal(count_fds(), x->fds_before);
	free(x);
	alarm(0);
}

/* ---- reads and writes that wait ---- */

struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
	ssize_t result;
};

static void waiting_init(struct waiting *w)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->over = false;
	w->result = -EINPROGRESS;
}

static void waiting_end(struct waiting *w, ssize_t result)
{
	pthread_mutex_lock(&w->lock);
	assert(!w->over);
	w->over = true;
	w->result = result;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static ssize_t waiting_wait(struct waiting *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->over)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return w->result;
}

HELPER bool waiting_over(struct waiting *w)
{
	bool over;

	pthread_mutex_lock(&w->lock);
	over = w->over;
	pthread_mutex_unlock(&w->lock);
	return over;
}

struct reading {
	struct cache_rd rd;
	struct waiting w;
};

static void reading_ended(struct cache_rd *rd, ssize_t result)
{
	waiting_end(&CONTAINER_OF(rd, struct reading, rd)->w, result);
}

HELPER void read_begin(struct reading *r, struct cache_file *f, const struct be_cred *cred,
		       uint64_t off, uint32_t len)
{
	ssize_t rc;

	waiting_init(&r->w);
	r->rd = (struct cache_rd){
		.file = f, .off = off, .len = len, .cred = cred, .done = reading_ended
	};
	rc = cache_read(&r->rd, true);
	if (rc != -EINPROGRESS)
		waiting_end(&r->w, rc);
}

/* Waits, copies, lets go. */
HELPER ssize_t read_end(struct reading *r, uint8_t *buf)
{
	ssize_t rc = waiting_wait(&r->w);
	size_t sum = 0;

	for (unsigned i = 0; rc > 0 && i < r->rd.niov; i++) {
		memcpy(buf + sum, r->rd.iov[i].iov_base, r->rd.iov[i].iov_len);
		sum += r->rd.iov[i].iov_len;
	}
	assert(rc <= 0 || sum == (size_t)rc);
	if (rc >= 0)
		cache_read_done(&r->rd);
	return rc;
}

HELPER ssize_t read_wait(struct fx *x, uint64_t off, uint32_t len, uint8_t *buf)
{
	struct reading r;

	read_begin(&r, x->f, x->cred, off, len);
	return read_end(&r, buf);
}

struct writing {
	struct cache_wr wr;
	struct waiting w;
};

static void writing_ended(struct cache_wr *wr, ssize_t result)
{
	waiting_end(&CONTAINER_OF(wr, struct writing, wr)->w, result);
}

HELPER void write_begin(struct writing *w, struct cache_file *f, const struct be_cred *cred,
			uint64_t off, uint32_t len, const uint8_t *src)
{
	ssize_t rc;

	waiting_init(&w->w);
	w->wr = (struct cache_wr){
		.file = f, .off = off, .len = len, .src = src, .cred = cred, .done = writing_ended
	};
	rc = cache_write(&w->wr, true);
	if (rc != -EINPROGRESS)
		waiting_end(&w->w, rc);
}

HELPER ssize_t write_end(struct writing *w)
{
	return waiting_wait(&w->w);
}

HELPER ssize_t write_wait(struct fx *x, uint64_t off, uint32_t len, const uint8_t *src)
{
	struct writing w;

	write_begin(&w, x->f, x->cred, off, len, src);
	return write_end(&w);
}

/* Writes len bytes of value at off. */
HELPER void put(struct fx *x, uint64_t off, uint32_t len, uint8_t value)
{
	uint8_t *src = malloc(len);

	assert_non_null(src);
	memset(src, value, len);
	assert_int_equal(write_wait(x, off, len, src), len);
	free(src);
}

/* Asserts that the backend holds len bytes of value at off. */
HELPER void expect_stored(struct fx *x, uint64_t off, uint32_t len, uint8_t value, bool durable)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	fake_peek(x->n, off, buf, len, durable);
	for (uint32_t i = 0; i < len; i++)
		if (buf[i] != value)
			fail_msg("byte %llu is %u, not %u", (unsigned long long)(off + i), buf[i],
				 value);
	free(buf);
}

/* Asserts that a read returns n bytes of value. */
HELPER void expect_read(struct fx *x, uint64_t off, uint32_t len, ssize_t n, uint8_t value)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(read_wait(x, off, len, buf), n);
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != value)
			fail_msg("byte %llu is %u, not %u",
				 (unsigned long long)off + (unsigned long long)i, buf[i], value);
	free(buf);
}

/* Asserts that a read returns n bytes of the file as fake_node_new() made it. */
HELPER void expect_original(struct fx *x, uint64_t off, uint32_t len, ssize_t n)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(read_wait(x, off, len, buf), n);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(buf[i], fake_byte(off + (uint64_t)i));
	free(buf);
}

/* A cache call that waits, on a thread of its own. */
struct call {
	pthread_t thread;
	struct cache_file *f;
	const struct be_cred *cred;
	struct waiting w;
};

static void *call_fsync(void *arg)
{
	struct call *c = arg;

	waiting_end(&c->w, cache_fsync(c->f, true, c->cred, false));
	return NULL;
}

static void *call_freeze(void *arg)
{
	struct call *c = arg;

	waiting_end(&c->w, cache_freeze(c->f, false, false));
	return NULL;
}

HELPER void call_begin(struct call *c, struct fx *x, void *(*fn)(void *))
{
	waiting_init(&c->w);
	c->f = x->f;
	c->cred = x->cred;
	assert_int_equal(pthread_create(&c->thread, NULL, fn, c), 0);
}

HELPER void fsync_begin(struct call *c, struct fx *x)
{
	call_begin(c, x, call_fsync);
}

HELPER void freeze_begin(struct call *c, struct fx *x)
{
	call_begin(c, x, call_freeze);
}

HELPER int call_end(struct call *c)
{
	pthread_join(c->thread, NULL);
	return (int)c->w.result;
}

/* Completes whatever comes until the call is over. */
HELPER int call_end_completing(struct call *c, struct fx *x)
{
	while (!waiting_over(&c->w))
		if (!fake_complete_next(x->fb))
			sched_yield();
	return call_end(c);
}

#endif
