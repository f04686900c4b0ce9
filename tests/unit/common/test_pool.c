/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "common/clock.h"
#include "common/pool.h"

#define JOBS 64
#define CHAIN 4
#define LIMIT_MS 30000
#define STEAL_MS 20
#define TRIES_MAX 10

struct fixture {
	struct pool *pool;
	struct mutex lock;
	struct cond changed;
	/* guarded by lock */
	unsigned begun, running, running_most, ended;
	unsigned order[JOBS];
	pthread_t thread[JOBS];
	bool gate; /* jobs wait until it is open */
	/* of the thread whose job runs */
	struct list jobs[JOBS];
	unsigned chain; /* jobs that add the next at their end, and give another thread time to take it */
};

static void await_locked(struct fixture *f, const unsigned *count, unsigned n)
{
	uint64_t limit = clock_ms() + LIMIT_MS;

	while (*count < n)
		assert_true(cond_wait_until(&f->changed, &f->lock, limit));
}

static void work(void *arg, struct list *job)
{
	struct fixture *f = arg;
	unsigned i = (unsigned)(job - f->jobs), next;
	uint64_t limit;

	mutex_lock(&f->lock);
	f->thread[f->begun] = pthread_self();
	f->order[f->begun++] = i;
	if (++f->running > f->running_most)
		f->running_most = f->running;
	cond_broadcast(&f->changed);
	while (f->gate)
		cond_wait(&f->changed, &f->lock);
	f->running--;
	next = i + 1 < f->chain ? i + 1 : 0;
	mutex_unlock(&f->lock);
	if (next) {
		pool_ends_soon(f->pool);
		pool_add(f->pool, &f->jobs[next]);
	}
	mutex_lock(&f->lock);
	limit = clock_ms() + STEAL_MS;
	while (next && f->begun == next && cond_wait_until(&f->changed, &f->lock, limit))
		;
	f->ended++;
	cond_broadcast(&f->changed);
	mutex_unlock(&f->lock);
}

static void setup(struct fixture *f, unsigned min, unsigned max)
{
	struct pool_conf conf = {
		.name = "test",
		.rank = LOCK_be_queue,
		.threads_min = min,
		.threads_max = max,
		.work = work,
		.arg = f,
	};

	*f = (struct fixture){ .gate = false };
	mutex_init(&f->lock, LOCK_bd);
	cond_init(&f->changed);
	assert_int_equal(pool_new(&conf, &f->pool), 0);
}

static void teardown(struct fixture *f)
{
	pool_free(f->pool);
	cond_done(&f->changed);
	mutex_done(&f->lock);
}

static void one_thread_runs_jobs_in_the_order_of_their_coming(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1, 1);
	for (unsigned i = 0; i < JOBS; i++)
		pool_add(f.pool, &f.jobs[i]);
	mutex_lock(&f.lock);
	await_locked(&f, &f.ended, JOBS);
	for (unsigned i = 0; i < JOBS; i++)
		assert_int_equal(f.order[i], i);
	mutex_unlock(&f.lock);
	teardown(&f);
}

static void threads_are_added_for_jobs_that_find_none_up_to_the_limit(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1, 3);
	f.gate = true;
	for (unsigned i = 0; i < 8; i++)
		pool_add(f.pool, &f.jobs[i]);
	mutex_lock(&f.lock);
	await_locked(&f, &f.begun, 3);
	f.gate = false;
	cond_broadcast(&f.changed);
	await_locked(&f, &f.ended, 8);
	assert_int_equal(f.running_most, 3);
	mutex_unlock(&f.lock);
	teardown(&f);
}

static bool chain_stays_on_one_thread(struct fixture *f)
{
	bool same = true;

	mutex_lock(&f->lock);
	f->chain = CHAIN;
	f->begun = f->ended = 0;
	mutex_unlock(&f->lock);
	pool_add(f->pool, &f->jobs[0]);
	mutex_lock(&f->lock);
	await_locked(f, &f->ended, CHAIN);
	for (unsigned i = 1; i < CHAIN; i++)
		same = same && pthread_equal(f->thread[i], f->thread[0]);
	mutex_unlock(&f->lock);
	return same;
}

/* The other thread waits all the time. Only while it comes back from something else may it be first. */
static void job_added_at_the_end_of_another_wakes_nobody(void **state)
{
	struct fixture f;
	unsigned tries = 0;

	(void)state;
	setup(&f, 2, 2);
	while (!chain_stays_on_one_thread(&f))
		assert_true(++tries < TRIES_MAX);
	teardown(&f);
}

static void pool_without_a_job_ends(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4, 4);
	teardown(&f);
	pool_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread_runs_jobs_in_the_order_of_their_coming),
		cmocka_unit_test(threads_are_added_for_jobs_that_find_none_up_to_the_limit),
		cmocka_unit_test(job_added_at_the_end_of_another_wakes_nobody),
		cmocka_unit_test(pool_without_a_job_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
