/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/driver/leftovers.h"

static char dir[64];
static const char *const names[] = { "0-4090.sock", "0-4091.sock", "busy.sock", "begins.sock",
				     "idle.sock",   "note",        NULL };

static char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static int open_dir(void **state)
{
	(void)state;
	log_level = LOG_LEVEL_ERROR;
	strcpy(dir, "/tmp/persifs-leftovers.XXXXXX");
	return mkdtemp(dir) && !setenv("PERSIFS_RUNTIME_DIR", dir, 1) ? 0 : -1;
}

static int remove_dir(void **state)
{
	struct stat st;

	(void)state;
	for (size_t i = 0; names[i]; i++)
		unlink(in_dir(names[i]));
	assert_int_equal(stat("/proc", &st), 0);
	snprintf(dir + strlen(dir), 32, "/%u-%u.sock", major(st.st_dev), minor(st.st_dev));
	unlink(dir);
	*strrchr(dir, '/') = '\0';
	return rmdir(dir);
}

/* Listens for nobody, like a daemon that hangs. */
static int hang_at(const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *path = in_dir(name);

	assert_true(strlen(path) < sizeof un.sun_path);
	memcpy(un.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void daemons_with_a_mount_are_none(void **state)
{
	AUTO_FREE struct leftover *all = NULL;
	AUTO_FD int busy = hang_at("busy.sock");
	AUTO_FD int idle = hang_at("idle.sock");
	AUTO_FD int begins = hang_at("begins.sock");
	char mounted[64];
	struct stat st;
	ssize_t n;

	(void)busy;
	(void)idle;
	(void)begins;
	(void)state;
	assert_int_equal(stat("/proc", &st), 0);
	snprintf(mounted, sizeof mounted, "%u-%u.sock", major(st.st_dev), minor(st.st_dev));
	assert_int_equal(symlink("busy.sock", in_dir(mounted)), 0);
	assert_int_equal(symlink("idle.sock", in_dir("0-4090.sock")), 0);
	assert_int_equal(symlink("gone.sock", in_dir("0-4091.sock")), 0);
	assert_int_equal(mkdir(in_dir("note"), 0700), 0);
	n = leftovers_find(&all);
	rmdir(in_dir("note"));
	assert_int_equal(n, 2);
	for (ssize_t i = 0; i < n; i++) {
		assert_int_equal(all[i].had_session, !strcmp(all[i].key, "idle"));
		assert_int_not_equal(strcmp(all[i].key, "busy"), 0);
		assert_string_equal(all[i].at + strlen("unix:"),
				    in_dir(all[i].had_session ? "idle.sock" : "begins.sock"));
	}
}

static void one_that_hangs_is_dirty_and_one_that_ended_is_not(void **state)
{
	AUTO_FREE struct leftover *all = NULL;
	AUTO_FD int idle = hang_at("idle.sock");
	int gone = hang_at("begins.sock");
	json_t *dirty = json_array();
	ssize_t n = leftovers_find(&all);

	(void)idle;
	(void)state;
	close(gone);
	assert_int_equal(n, 2);
	leftovers_drain(all, (size_t)n, clock_ms(), dirty);
	assert_int_equal(json_array_size(dirty), 1);
	assert_string_equal(json_string_value(json_array_get(dirty, 0)), "idle");
	json_decref(dirty);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, open_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(daemons_with_a_mount_are_none),
		TEST(one_that_hangs_is_dirty_and_one_that_ended_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
