/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/stats.h"

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++)
		stats_inc(STAT_backend_calls);
	stats_add(STAT_backend_reads, 5);
	return NULL;
}

static void sums_include_ended_threads(void **state)
{
	uint64_t calls = stats_get(STAT_backend_calls), reads = stats_get(STAT_backend_reads);
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
	count(NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(stats_get(STAT_backend_calls) - calls, 50000);
	assert_int_equal(stats_get(STAT_backend_reads) - reads, 25);
}

static _Atomic int stop;

static void *count_until_stopped(void *arg)
{
	uint64_t *n = arg;

	while (!stop) {
		stats_inc(STAT_commits);
		++*n;
	}
	return NULL;
}

static void reading_beside_counting_only_grows(void **state)
{
	uint64_t start = stats_get(STAT_commits), last = start, counted = 0;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, count_until_stopped, &counted), 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = stats_get(STAT_commits);

		assert_true(now >= last);
		last = now;
	}
	stop = 1;
	pthread_join(t, NULL);
	assert_int_equal(stats_get(STAT_commits) - start, counted);
}

static void every_counter_explains_itself_and_has_its_own_name(void **state)
{
	(void)state;
	for (int i = 0; i < STAT_COUNT; i++) {
		assert_true(strlen(stat_info[i].name) > 0);
		assert_true(strlen(stat_info[i].unit) > 0);
		assert_true(strlen(stat_info[i].help) > 0);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(stat_info[i].name, stat_info[k].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_include_ended_threads),
		cmocka_unit_test(reading_beside_counting_only_grows),
		cmocka_unit_test(every_counter_explains_itself_and_has_its_own_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
