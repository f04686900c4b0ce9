/* SPDX-License-Identifier: Apache-2.0 */
/* The block row, from inside. Its filter: each attempt in a process of its own, which the filter is for, with the ring
 * that devices have, made before it and started behind it. The whole sandbox: a device of each engine, prepared before it
 * and opened behind it. What the rows of mounts refuse is tried by tests/sandbox/try.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/device.h"
#include "backends/block/ring.h"
#include "common/cleanup.h"
#include "fusefs/sandbox_impl.h"
#include "tests/unit/backends/loop_test.h"

enum { NO_RING = 100 }; /* of no errno */

/* What becomes of the request that was prepared. */
static int through(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_submit_and_wait(ring, 1);

	if (rc < 0)
		return rc;
	rc = io_uring_wait_cqe(ring, &cqe);
	if (rc)
		return rc;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc < 0 ? rc : 0;
}

static int read_device(struct io_uring *ring)
{
	static char buf[64];
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, 0, buf, sizeof buf, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	return through(ring);
}

static int read_other(struct io_uring *ring)
{
	static char buf[64];
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, STDIN_FILENO, buf, sizeof buf, 0);
	return through(ring);
}

static int open_file(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	return through(ring);
}

static int open_file_fixed(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_openat(sqe, 0, "/etc/passwd", O_RDONLY, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	return through(ring);
}

static int make_socket(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_rw(45 /* IORING_OP_SOCKET */, sqe, AF_INET, NULL, 0, SOCK_STREAM);
	return through(ring);
}

static int another_file(struct io_uring *ring)
{
	int fd = STDIN_FILENO, rc = io_uring_register_files_update(ring, 0, &fd, 1);

	return rc < 0 ? rc : 0;
}

static int another_ring(struct io_uring *ring)
{
	struct io_uring_params p = { 0 };

	(void)ring;
	return syscall(SYS_io_uring_setup, 4, &p) < 0 ? -errno : 0;
}

static int size_of_device(struct io_uring *ring)
{
	uint64_t size;

	(void)ring;
	return ioctl(STDIN_FILENO, BLKGETSIZE64, &size) ? -errno : 0;
}

static int let_files_go(struct io_uring *ring)
{
	return io_uring_unregister_files(ring);
}

static int restrict_again(struct io_uring *ring)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, NULL,
		       0) < 0 ?
		       -errno :
		       0;
}

static int rights_of_device(struct io_uring *ring)
{
	int on = 1;

	(void)ring;
	return ioctl(STDIN_FILENO, BLKROSET, &on) ? -errno : 0;
}

static int fill_terminal(struct io_uring *ring)
{
	(void)ring;
	return ioctl(STDIN_FILENO, TIOCSTI, "x") ? -errno : 0;
}

/* The attempt's outcome behind the filter; NO_RING: none can be made here. */
static int behind(bool block, int (*attempt)(struct io_uring *))
{
	struct sandbox s = { .mode = SANDBOX_FULL, .block = block };
	AUTO_FD int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct io_uring ring;
	int status;
	pid_t pid = fork();

	if (!pid) {
		AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		int rc;

		dup2(null, STDIN_FILENO);
		if (bd_ring_new(4, &fd, 1, &ring))
			_exit(NO_RING);
		sandbox_filter(&s);
		if (s.part[SANDBOX_PART_SECCOMP].missing)
			_exit(NO_RING);
		rc = bd_ring_start(&ring);
		_exit(rc ? -rc : -attempt(&ring));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static bool rings_are_here(void)
{
#ifdef PERSIFS_NO_SANDBOX
	return false;
#else
	return behind(true, read_device) != NO_RING;
#endif
}

static void the_rows_own_works(void **state)
{
	(void)state;
	if (!rings_are_here())
		skip();
	assert_int_equal(behind(true, read_device), 0);
	assert_int_equal(behind(true, let_files_go), 0);
	/* Let through: /dev/null has no size. */
	assert_int_equal(behind(true, size_of_device), ENOTTY);
}

static void the_ring_leads_nowhere_else(void **state)
{
	(void)state;
	if (!rings_are_here())
		skip();
	assert_int_equal(behind(true, read_other), EACCES);
	assert_int_equal(behind(true, open_file), EACCES);
	assert_int_equal(behind(true, open_file_fixed), EACCES);
	assert_int_equal(behind(true, make_socket), EACCES);
	assert_int_equal(behind(true, another_file), EPERM);
	assert_int_equal(behind(true, another_ring), EPERM);
	assert_int_equal(behind(true, restrict_again), EPERM);
	assert_int_equal(behind(true, rights_of_device), EPERM);
	assert_int_equal(behind(true, fill_terminal), EPERM);
}

/* Else it would not be seen that the row is any different. */
static void other_rows_enter_no_ring(void **state)
{
	(void)state;
	if (!rings_are_here())
		skip();
	assert_int_equal(behind(false, read_device), EPERM);
	assert_int_equal(behind(false, size_of_device), EPERM);
}

/* ---- devices ---------------------------------------------------------- */

enum { DEVICE = 4u << 20, PART = 64u << 10, BEHIND_LIMIT_S = 60 };

/* In the child; says where it failed, and ends. */
#define WANT(condition)                                                                     \
	do {                                                                                \
		if (!(condition)) {                                                         \
			dprintf(STDERR_FILENO, "%s: %s (%s)\n", uri, #condition, err.text); \
			_exit(1);                                                           \
		}                                                                           \
	} while (0)

static bool holds(struct bd *dev, uint64_t off, int value)
{
	static uint8_t buf[PART];
	int rc = bd_read(dev, buf, sizeof buf, off);

	for (size_t i = 0; i < sizeof buf && !rc; i++)
		rc = buf[i] != value;
	return !rc;
}

static void use_device(const char *uri, struct bd *dev)
{
	static uint8_t buf[PART];
	struct err err = { "" };

	memset(buf, 7, sizeof buf);
	for (unsigned i = 0; i < 4; i++)
		WANT(!bd_write(dev, buf, PART, i * PART, i == 0 ? BD_FUA : 0));
	WANT(!bd_flush(dev));
	WANT(!bd_zero(dev, PART, PART, 0));
	WANT(!bd_zero(dev, 2 * PART, PART, BD_UNMAP | BD_FUA));
	WANT(holds(dev, 0, 7) && holds(dev, PART, 0) && holds(dev, 2 * PART, 0));
	WANT(holds(dev, 3 * PART, 7));
	WANT(dev->limits.max_discard > 0 && !bd_discard(dev, 3 * PART, PART));
	WANT(!bd_resize(dev) && dev->size == DEVICE);
	WANT(!bd_failed(dev));
}

/* The process has given all up, and still has what it prepared. */
static void use_behind_sandbox(const char *uri)
{
	struct sandbox s = { .mode = SANDBOX_AUTO, .block = true, .uid = -1 };
	AUTO_FD int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct be_prepared p = BE_PREPARED_NONE;
	struct err err = { "" };
	struct bd_env env = { 0 };
	struct bd *dev = NULL;
	struct io_uring ring;
	bool rings;

	alarm(BEHIND_LIMIT_S);
	if (bd_prepare(uri, &env, &env.prepared, &err))
		_exit(strstr(err.text, "there is no ring") ? NO_RING : 1);
	rings = !bd_ring_new(4, &exe, 1, &ring);
	WANT(!sandbox_enter(&s, &p, &err));
	if (s.mode != SANDBOX_OFF) {
		WANT(!s.part[SANDBOX_PART_SECCOMP].missing);
		WANT(open("/proc/self/exe", O_RDONLY) < 0);
		WANT(another_ring(NULL) == -EPERM);
	}
	WANT(!bd_open(uri, NULL, &env, &dev, &err));
	use_device(uri, dev);
	if (rings) {
		WANT(!bd_ring_start(&ring) && !read_device(&ring));
		WANT(open_file(&ring) == -EACCES && open_file_fixed(&ring) == -EACCES);
		bd_ring_free(&ring);
	}
	bd_close(dev);
	_exit(0);
}

/* False: there is no ring. */
static bool behind_sandbox(const char *path, const char *engine)
{
	char uri[160];
	int status = 0;
	pid_t pid;

	snprintf(uri, sizeof uri, "file:%s?engine=%s", path, engine);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		use_behind_sandbox(uri);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("%s: ended by signal %d", uri, WTERMSIG(status));
	if (WEXITSTATUS(status) == NO_RING)
		return false;
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

static char image[64];

static int image_up(void **state)
{
	int fd;

	(void)state;
	strcpy(image, "/var/tmp/persifs-sandbox-XXXXXX");
	fd = mkstemp(image);
	if (fd < 0 || ftruncate(fd, DEVICE))
		return -1;
	close(fd);
	return 0;
}

static int image_down(void **state)
{
	(void)state;
	return unlink(image);
}

static void a_prepared_file_works_behind_the_sandbox(void **state)
{
	bool ring;

	(void)state;
	assert_true(behind_sandbox(image, "threads"));
	ring = behind_sandbox(image, "uring");
	if (!ring)
		print_message("no ring can be made here\n");
}

static void a_prepared_block_device_works_behind_the_sandbox(void **state)
{
	char name[32];
	int loop = -1;

	(void)state;
	if (!loop_up(image, &loop, name, sizeof name)) {
		print_message("no loop device can be made here\n");
		skip();
	}
	assert_true(behind_sandbox(name, "threads"));
	behind_sandbox(name, "uring");
	close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rows_own_works),
		cmocka_unit_test(the_ring_leads_nowhere_else),
		cmocka_unit_test(other_rows_enter_no_ring),
		cmocka_unit_test_setup_teardown(a_prepared_file_works_behind_the_sandbox, image_up,
						image_down),
		cmocka_unit_test_setup_teardown(a_prepared_block_device_works_behind_the_sandbox,
						image_up, image_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
