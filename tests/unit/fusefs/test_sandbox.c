/* SPDX-License-Identifier: Apache-2.0 */
/* The filter of the block row, from inside: each attempt in a process of its own, which the filter is for, with the ring
 * that devices have, made before it and started behind it. What the rows of mounts refuse is tried by
 * tests/sandbox/try.c. */
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
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/ring.h"
#include "common/cleanup.h"
#include "fusefs/sandbox_impl.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rows_own_works),
		cmocka_unit_test(the_ring_leads_nowhere_else),
		cmocka_unit_test(other_rows_enter_no_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
