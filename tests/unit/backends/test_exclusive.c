/* SPDX-License-Identifier: Apache-2.0 */
/* The fence: files, and loop devices where they can be made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/exclusive.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define BYTES (1 << 20)
#define LONG_MS 20000

static char dir[64], image[96], other[96], link_path[96];
static struct err err;
static int fds;

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void make_image(const char *path)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
}

static int up(void **state)
{
	(void)state;
	err.text[0] = '\0';
	fds = count_fds();
	strcpy(dir, "/tmp/persifs-excl.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(image, sizeof image, "%s/image", dir);
	snprintf(other, sizeof other, "%s/other", dir);
	snprintf(link_path, sizeof link_path, "%s/link", dir);
	make_image(image);
	return 0;
}

static int down(void **state)
{
	(void)state;
	unlink(image);
	unlink(other);
	unlink(link_path);
	return rmdir(dir) || count_fds() != fds;
}

static void the_second_is_refused_and_told_why(void **state)
{
	int fd = bd_exclusive_open(image, 0, 0, &err), again;
	uint64_t size = 0;

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDWR);
	assert_int_equal(bd_exclusive_size(fd, &size), 0);
	assert_int_equal(size, BYTES);
	assert_int_equal(bd_exclusive_open(image, 0, 0, &err), -EBUSY);
	assert_non_null(strstr(err.text, image));
	assert_non_null(strstr(err.text, "in use"));
	assert_int_equal(bd_exclusive_open(image, BD_OPEN_READONLY, 0, NULL), -EBUSY);
	close(fd);
	again = bd_exclusive_open(image, BD_OPEN_READONLY, 0, &err);
	assert_true(again >= 0);
	assert_int_equal(fcntl(again, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(again);
}

static void it_waits_as_long_as_it_may(void **state)
{
	AUTO_FD int fd = bd_exclusive_open(image, 0, 0, &err);
	uint64_t start = clock_us();

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(bd_exclusive_open(image, 0, 60, &err), -EBUSY);
	assert_true(clock_us() - start >= 60000);
	assert_non_null(strstr(err.text, "60 ms"));
}

static void *close_soon(void *arg)
{
	usleep(50000);
	close(*(int *)arg);
	return NULL;
}

static void it_gets_what_another_lets_go(void **state)
{
	int first = bd_exclusive_open(image, 0, 0, &err), fd;
	pthread_t t;

	(void)state;
	assert_true(first >= 0);
	pthread_create(&t, NULL, close_soon, &first);
	fd = bd_exclusive_open(image, 0, LONG_MS, &err);
	pthread_join(t, NULL);
	assert_true(fd >= 0);
	close(fd);
}

/* A process that has path exclusively. */
static pid_t holder_of(const char *path)
{
	char ready = 'r';
	int pipes[2];
	pid_t pid;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		int fd = bd_exclusive_open(path, 0, 0, NULL);

		if (fd < 0 || write(pipes[1], &ready, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(pipes[1]);
	assert_true(pid > 0);
	assert_int_equal(read(pipes[0], &ready, 1), 1);
	close(pipes[0]);
	return pid;
}

static void free_once_killed(const char *path)
{
	pid_t pid = holder_of(path);
	int rc = bd_exclusive_open(path, 0, 0, &err), fd;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(rc, -EBUSY);
	fd = bd_exclusive_open(path, 0, 0, &err);
	assert_true(fd >= 0);
	close(fd);
}

static void the_device_of_a_killed_process_is_free(void **state)
{
	(void)state;
	free_once_killed(image);
}

static void what_is_no_device_is_refused(void **state)
{
	(void)state;
	assert_int_equal(bd_exclusive_open(dir, 0, LONG_MS, &err), -ENOTBLK);
	assert_non_null(strstr(err.text, dir));
	assert_int_equal(bd_exclusive_open("/dev/null", 0, LONG_MS, &err), -ENOTBLK);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_int_equal(bd_exclusive_open(other, BD_OPEN_READONLY, LONG_MS, &err), -ENOTBLK);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(bd_exclusive_open(other, 0, LONG_MS, &err), -ENOENT);
	assert_non_null(strstr(err.text, other));
}

static void direct_where_it_can_be(void **state)
{
	char shm[] = "/dev/shm/persifs-excl.XXXXXX";
	AUTO_FD int made = mkstemp(shm);
	AUTO_FD int fd = -1;

	(void)state;
	fd = bd_exclusive_open(image, BD_OPEN_BUFFERED, 0, &err);
	assert_true(fd >= 0);
	assert_false(fcntl(fd, F_GETFL) & O_DIRECT);
	if (made < 0)
		return;
	close(take_fd(&fd));
	fd = bd_exclusive_open(shm, 0, 0, &err);
	unlink(shm);
	assert_true(fd >= 0);
}

/* ---- links ------------------------------------------------------------ */

static void point_to(const char *target)
{
	char temp[100];

	snprintf(temp, sizeof temp, "%s.new", link_path);
	if (symlink(target, temp) || rename(temp, link_path))
		abort();
}

static void *move_soon(void *arg)
{
	usleep(50000);
	point_to(arg);
	return NULL;
}

static bool is_open_on(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino;
}

/* It waits for the link's device, not for the one that the link had led to. */
static void a_link_that_moves_is_followed(void **state)
{
	AUTO_FD int held = bd_exclusive_open(image, 0, 0, &err);
	AUTO_FD int fd = -1;
	pthread_t t;

	(void)state;
	assert_true(held >= 0);
	make_image(other);
	point_to(image);
	pthread_create(&t, NULL, move_soon, other);
	fd = bd_exclusive_open(link_path, 0, LONG_MS, &err);
	pthread_join(t, NULL);
	assert_true(fd >= 0);
	assert_true(is_open_on(fd, other));
}

static _Atomic bool stop;

static void *move_on_and_on(void *arg)
{
	for (unsigned i = 0; !stop; i++)
		point_to(i % 2 ? image : other);
	return arg;
}

/* Never one that the link left before the open was over, without another look. */
static void a_link_that_does_not_rest_harms_nothing(void **state)
{
	unsigned opened = 0, stale = 0;
	pthread_t t;

	(void)state;
	make_image(other);
	point_to(image);
	stop = false;
	pthread_create(&t, NULL, move_on_and_on, NULL);
	for (unsigned i = 0; i < 300; i++) {
		int fd = bd_exclusive_open(link_path, 0, 0, &err);

		opened += fd >= 0;
		stale += fd == -ESTALE;
		if (fd >= 0)
			close(fd);
	}
	stop = true;
	pthread_join(t, NULL);
	assert_int_equal(opened + stale, 300);
	assert_true(opened > 0);
}

/* ---- block devices ------------------------------------------------------ */

/* A loop device over image; its descriptor keeps it. False: not here. */
static bool loop_up(char *path, size_t cap, int *fd)
{
	AUTO_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	AUTO_FD int back = open(image, O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = (uint32_t)back,
				      .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };

	for (int i = 0; i < 8 && control >= 0; i++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		snprintf(path, cap, "/dev/loop%d", n);
		*fd = n < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		if (*fd >= 0 && !ioctl(*fd, LOOP_CONFIGURE, &config))
			return true;
		if (*fd >= 0)
			close(*fd);
	}
	return false;
}

static void a_block_device_is_had_by_one(void **state)
{
	AUTO_FD int keep = -1, fd = -1;
	char path[64];
	uint64_t size = 0;

	(void)state;
	if (!loop_up(path, sizeof path, &keep)) {
		print_message("no loop device can be made here\n");
		skip();
	}
	fd = bd_exclusive_open(path, 0, 0, &err);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFL) & O_DIRECT);
	assert_int_equal(bd_exclusive_size(fd, &size), 0);
	assert_int_equal(size, BYTES);
	assert_int_equal(bd_exclusive_open(path, 0, 0, &err), -EBUSY);
	close(take_fd(&fd));
	free_once_killed(path);
	/* By its stable link, too. */
	point_to(path);
	fd = bd_exclusive_open(link_path, 0, 0, &err);
	assert_true(fd >= 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_second_is_refused_and_told_why),
		TEST(it_waits_as_long_as_it_may),
		TEST(it_gets_what_another_lets_go),
		TEST(the_device_of_a_killed_process_is_free),
		TEST(what_is_no_device_is_refused),
		TEST(direct_where_it_can_be),
		TEST(a_link_that_moves_is_followed),
		TEST(a_link_that_does_not_rest_harms_nothing),
		TEST(a_block_device_is_had_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
