/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/paths.h"

#define LONG_MS 20000

static char dir[64], target[96], link_path[96];

static int up(void **state)
{
	int fd;

	(void)state;
	strcpy(dir, "/tmp/persifs-paths.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(target, sizeof target, "%s/target", dir);
	snprintf(link_path, sizeof link_path, "%s/link", dir);
	fd = open(target, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? -1 : close(fd);
}

static int down(void **state)
{
	(void)state;
	unlink(target);
	unlink(link_path);
	return rmdir(dir);
}

static void *appear_main(void *arg)
{
	usleep(50000);
	if (symlink(target, link_path))
		abort();
	return arg;
}

static bool nobody_waits(void *arg)
{
	(void)arg;
	return false;
}

static void waits_for_what_is_to_come_or_go(void **state)
{
	const struct cancel cancel = { nobody_waits, NULL };
	pthread_t thread;

	(void)state;
	assert_int_equal(paths_wait(link_path, true, 20, NULL), -ETIMEDOUT);
	assert_int_equal(paths_wait(link_path, true, LONG_MS, &cancel), -ECANCELED);
	assert_int_equal(paths_wait(link_path, false, 20, NULL), 0);
	pthread_create(&thread, NULL, appear_main, NULL);
	assert_int_equal(paths_wait(link_path, true, LONG_MS, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(paths_wait(link_path, false, 20, NULL), -ETIMEDOUT);
	unlink(target);
	assert_int_equal(paths_wait(link_path, false, 20, NULL), 0);
}

static void a_pause_ends_when_nobody_waits(void **state)
{
	const struct cancel cancel = { nobody_waits, NULL };
	uint64_t start = clock_us();

	(void)state;
	assert_int_equal(cancel_pause(30, NULL), 0);
	assert_true(clock_us() - start >= 29000);
	assert_int_equal(cancel_pause(600000, &cancel), -ECANCELED);
}

static void folders_on_the_way_are_made(void **state)
{
	char path[120], deep[140];
	struct stat st;
	struct err err;

	(void)state;
	snprintf(path, sizeof path, "%s/a/b", dir);
	snprintf(deep, sizeof deep, "%s/c", path);
	assert_int_equal(paths_make_parents(deep, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(stat(deep, &st), -1);
	assert_int_equal(paths_make_folder(deep, &err), 0);
	assert_int_equal(stat(deep, &st), 0);
	snprintf(deep, sizeof deep, "%s/x/y", target);
	assert_int_equal(paths_make_folder(deep, &err), -ENOTDIR);
	snprintf(deep, sizeof deep, "%s/c", path);
	rmdir(deep);
	rmdir(path);
	snprintf(path, sizeof path, "%s/a", dir);
	rmdir(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(waits_for_what_is_to_come_or_go),
		TEST(a_pause_ends_when_nobody_waits),
		TEST(folders_on_the_way_are_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
