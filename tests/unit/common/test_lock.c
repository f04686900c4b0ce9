/* SPDX-License-Identifier: Apache-2.0 */
/* Mutexes and conditions work; debug builds abort on misuse. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/lock.h"

static struct mutex outer, outer2, inner;
static struct cond changed;
static unsigned counter; /* guarded by outer */

static int setup(void **state)
{
	(void)state;
	mutex_init(&outer, LOCK_inode);
	mutex_init(&outer2, LOCK_inode);
	mutex_init(&inner, LOCK_be_node);
	cond_init(&changed);
	counter = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mutex_done(&outer);
	mutex_done(&outer2);
	mutex_done(&inner);
	cond_done(&changed);
	return 0;
}

static void *count_up(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		mutex_lock(&outer);
		counter++;
		mutex_unlock(&outer);
	}
	return NULL;
}

static void only_one_thread_is_inside(void **state)
{
	pthread_t t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_up, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(counter, 60000);
}

static void *lock_pairs(void *arg)
{
	bool turned = arg != NULL;

	for (int i = 0; i < 20000; i++) {
		mutex_lock_pair(turned ? &outer : &outer2, turned ? &outer2 : &outer);
		counter++;
		mutex_unlock_pair(&outer, &outer2);
	}
	return NULL;
}

static void pairs_do_not_deadlock_whatever_their_order(void **state)
{
	pthread_t t[2];

	(void)state;
	assert_int_equal(pthread_create(&t[0], NULL, lock_pairs, NULL), 0);
	assert_int_equal(pthread_create(&t[1], NULL, lock_pairs, &counter), 0);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	assert_int_equal(counter, 40000);
	mutex_lock_pair(&outer, &outer);
	mutex_unlock_pair(&outer, &outer);
}

static void *set_counter(void *arg)
{
	(void)arg;
	mutex_lock(&outer);
	counter = 1;
	cond_broadcast(&changed);
	mutex_unlock(&outer);
	return NULL;
}

static void waiters_are_woken(void **state)
{
	pthread_t t;

	(void)state;
	mutex_lock(&outer);
	assert_int_equal(pthread_create(&t, NULL, set_counter, NULL), 0);
	while (!counter)
		cond_wait(&changed, &outer);
	mutex_assert_held(&outer);
	mutex_unlock(&outer);
	pthread_join(t, NULL);
}

static void waiting_ends_at_its_deadline(void **state)
{
	(void)state;
	mutex_lock(&outer);
	assert_false(cond_wait_until(&changed, &outer, clock_ms() + 5));
	mutex_assert_held(&outer);
	mutex_unlock(&outer);
	lock_assert_none();
}

#ifdef PERSIFS_DEBUG
static void take_out_of_order(void)
{
	mutex_lock(&inner);
	mutex_lock(&outer);
}

static void take_two_of_a_rank(void)
{
	mutex_lock(&outer);
	mutex_lock(&outer2);
}

static void release_what_is_not_held(void)
{
	mutex_unlock(&outer);
}

static void call_with_a_lock(void)
{
	mutex_lock(&inner);
	lock_assert_none();
}

static void claim_without_the_lock(void)
{
	mutex_assert_held(&inner);
}

static void assert_aborts(void (*misuse)(void))
{
	const struct rlimit no_core = { 0, 0 };
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		misuse();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void misuse_aborts(void **state)
{
	(void)state;
	assert_aborts(take_out_of_order);
	assert_aborts(take_two_of_a_rank);
	assert_aborts(release_what_is_not_held);
	assert_aborts(call_with_a_lock);
	assert_aborts(claim_without_the_lock);
}
#else
static void misuse_aborts(void **state)
{
	(void)state;
	skip();
}
#endif

#define LOCK_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(only_one_thread_is_inside),
		LOCK_TEST(pairs_do_not_deadlock_whatever_their_order),
		LOCK_TEST(waiters_are_woken),
		LOCK_TEST(waiting_ends_at_its_deadline),
		LOCK_TEST(misuse_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
