/* SPDX-License-Identifier: Apache-2.0 */
/* Random reads, writes, truncations and flushes, against a plain array
 * a file. Each thread has files of its own and all share the cache,
 * which is too small for them. PERSIFS_TEST_SEED repeats a run. */
#include "tests/unit/cache/cache_test.h"

#define THREADS 4
#define STEPS 400
#define SPAN (40 * PAGE)

struct actor {
	struct fx *x;
	pthread_t thread;
	struct fake_node *n;
	struct cache_file *f;
	uint64_t rng;
	uint8_t *model, *buf;
	uint64_t size;
	const char *failed;
};

static uint32_t draw(struct actor *a, uint32_t below)
{
	a->rng = a->rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(a->rng >> 33) % below;
}

static bool step_write(struct actor *a)
{
	uint64_t off = draw(a, 4) ? draw(a, SPAN - 3 * PAGE) : draw(a, SPAN / UNIT - 12) * UNIT;
	uint32_t len = draw(a, 3) ? 1 + draw(a, 3 * PAGE) : UNIT * (1 + draw(a, 8));
	struct writing w;

	for (uint32_t i = 0; i < len; i++)
		a->buf[i] = (uint8_t)draw(a, 255);
	write_begin(&w, a->f, a->x->cred, off, len, a->buf);
	if (write_end(&w) != len)
		return false;
	memcpy(a->model + off, a->buf, len);
	if (off + len > a->size)
		a->size = off + len;
	return true;
}

static bool step_read(struct actor *a)
{
	uint64_t off = draw(a, SPAN);
	uint32_t len = 1 + draw(a, 6 * PAGE);
	uint64_t want = off >= a->size ? 0 : a->size - off < len ? a->size - off : len;
	struct reading r;

	read_begin(&r, a->f, a->x->cred, off, len);
	return read_end(&r, a->buf) == (ssize_t)want && !memcmp(a->buf, a->model + off, want);
}

static bool step_truncate(struct actor *a)
{
	uint64_t size = draw(a, SPAN);

	if (cache_freeze(a->f, false, false))
		return false;
	fake_truncate(a->n, size);
	cache_set_size(a->f, size);
	cache_thaw(a->f);
	if (size < a->size)
		memset(a->model + size, 0, a->size - size);
	a->size = size;
	return true;
}

static bool step_fsync(struct actor *a)
{
	if (cache_fsync(a->f, true, a->x->cred, false))
		return false;
	fake_peek(a->n, 0, a->buf, a->size, true);
	return !memcmp(a->buf, a->model, a->size) && fake_size(a->n) == a->size;
}

static bool step_reopen(struct actor *a)
{
	if (cache_fsync(a->f, true, a->x->cred, false))
		return false;
	while (!cache_file_try_free(a->f))
		sched_yield();
	return !cache_file_new(a->x->c, &a->n->node, fake_size(a->n), 1, &a->f);
}

static bool step(struct actor *a, const char **what)
{
	uint32_t d = draw(a, 100);

	*what = "write";
	if (d < 45)
		return step_write(a);
	*what = "read";
	if (d < 85)
		return step_read(a);
	*what = "truncate";
	if (d < 89)
		return step_truncate(a);
	*what = "fsync";
	if (d < 94)
		return step_fsync(a);
	*what = "reopen";
	if (d < 96)
		return step_reopen(a);
	if (d < 98)
		cache_invalidate(a->f);
	else
		wb_kick(a->x->c);
	return true;
}

static void *act(void *arg)
{
	struct actor *a = arg;
	const char *what = NULL;

	for (unsigned i = 0; i < STEPS && !a->failed; i++)
		if (!step(a, &what))
			a->failed = what;
	if (!a->failed && !step_fsync(a))
		a->failed = "last fsync";
	return NULL;
}

static void actor_begin(struct actor *a, struct fx *x, uint64_t seed)
{
	*a = (struct actor){ .x = x, .rng = seed, .n = fake_node_new(x->fb, 0) };
	a->model = calloc(1, SPAN + 8 * PAGE);
	a->buf = calloc(1, SPAN + 8 * PAGE);
	assert_true(a->model && a->buf);
	assert_int_equal(cache_file_new(x->c, &a->n->node, 0, 1, &a->f), 0);
	assert_int_equal(pthread_create(&a->thread, NULL, act, a), 0);
}

/* All threads have ended: what is looked at does not change. */
static void actor_end(struct actor *a, uint64_t seed)
{
	if (a->failed)
		fail_msg("%s went wrong, PERSIFS_TEST_SEED=%llu", a->failed,
			 (unsigned long long)seed);
	verify_file(a->f);
	file_free(a->f);
	be_node_put(&a->n->node);
	free(a->model);
	free(a->buf);
}

static void run(enum fake_mode mode, enum be_stable stable)
{
	const char *given = getenv("PERSIFS_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 10) :
				(uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
	struct fx *x = fx_backend(mode);
	struct actor a[THREADS];

	print_message("seed %llu\n", (unsigned long long)seed);
	x->fb->stable = stable;
	x->fb->be.limits.write_max = 3 * PAGE;
	x->fb->be.limits.inflight_max = 4;
	x->fb->be.limits.caps = BE_CAP_BLOCKING;
	x->fb->seed = (uint32_t)seed;
	x->tun.dirty_age_ms = 1;
	x->tun.background_percent = 20;
	x->tun.limit_percent = 50;
	fx_cache(x, 0);
	for (unsigned i = 0; i < THREADS; i++)
		actor_begin(&a[i], x, seed + i);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(a[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		actor_end(&a[i], seed);
	fx_done(x);
}

static void inline_backend_agrees_with_an_array(void **state)
{
	(void)state;
	run(FAKE_INLINE, BE_FILE_SYNC);
}

static void threaded_backend_agrees_with_an_array(void **state)
{
	(void)state;
	run(FAKE_THREAD, BE_FILE_SYNC);
}

static void unstable_backend_agrees_with_an_array(void **state)
{
	(void)state;
	run(FAKE_THREAD, BE_UNSTABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inline_backend_agrees_with_an_array),
		cmocka_unit_test(threaded_backend_agrees_with_an_array),
		cmocka_unit_test(unstable_backend_agrees_with_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
