/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/spawn.h"

static int run(const char *script, unsigned limit_ms, const struct cancel *cancel, char *text,
	       size_t cap)
{
	const char *const argv[] = { "sh", "-c", script, NULL };

	return spawn_wait(argv, limit_ms, cancel, text, cap);
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void status_and_complaint_are_heard(void **state)
{
	char text[128];

	(void)state;
	assert_int_equal(run("exit 0", 60000, NULL, text, sizeof text), 0);
	assert_string_equal(text, "");
	assert_int_equal(run("echo a >&2; echo lost; echo b >&2; exit 32", 60000, NULL, text,
			     sizeof text),
			 32);
	assert_string_equal(text, "a b");
	assert_int_equal(run("kill -9 $$", 60000, NULL, text, sizeof text), -EIO);
}

static void complaint_without_end_is_cut(void **state)
{
	char text[SPAWN_STDERR_MAX];

	(void)state;
	assert_int_equal(run("head -c 300000 /dev/zero | tr '\\0' x >&2", 60000, NULL, text,
			     sizeof text),
			 0);
	assert_int_equal(strlen(text), sizeof text - 1);
}

static void silence_ends_at_the_limit(void **state)
{
	char text[64];
	uint64_t begun = clock_us();

	(void)state;
	assert_int_equal(run("sleep 1000", 30, NULL, text, sizeof text), -ETIMEDOUT);
	assert_true(clock_us() - begun < 10000000);
}

static void who_is_not_wanted_is_killed(void **state)
{
	const struct cancel cancel = { never, NULL };
	char text[64];

	(void)state;
	assert_int_equal(run("sleep 1000", 600000, &cancel, text, sizeof text), -ECANCELED);
}

static void what_is_left_behind_is_not_waited_for(void **state)
{
	char text[64];
	uint64_t begun = clock_us();

	(void)state;
	/* Holds the pipe open, as a daemon might, until its own end. */
	assert_int_equal(run("sleep 3 & exit 0", 60000, NULL, text, sizeof text), 0);
	assert_true(clock_us() - begun < 2500000);
}

static void missing_program_is_an_error(void **state)
{
	const char *const argv[] = { "/nonexistent/persifs", "mount", NULL };
	char text[64];

	(void)state;
	assert_int_equal(spawn_wait(argv, 1000, NULL, text, sizeof text), -ENOENT);
}

static void descriptors_are_not_inherited(void **state)
{
	char text[64];
	int fd = dup(0);

	(void)state;
	assert_true(fd > 2);
	assert_int_equal(run("[ ! -e /proc/self/fd/3 ] && [ ! -e /proc/$$/fd/3 ]", 60000, NULL,
			     text, sizeof text),
			 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_and_complaint_are_heard),
		cmocka_unit_test(complaint_without_end_is_cut),
		cmocka_unit_test(silence_ends_at_the_limit),
		cmocka_unit_test(who_is_not_wanted_is_killed),
		cmocka_unit_test(what_is_left_behind_is_not_waited_for),
		cmocka_unit_test(missing_program_is_an_error),
		cmocka_unit_test(descriptors_are_not_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
