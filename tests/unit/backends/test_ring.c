/* SPDX-License-Identifier: Apache-2.0 */
/* What a ring of ours refuses: whoever has the process gets nothing new through it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these above it */
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/block/ring.h"

static struct {
	struct io_uring ring;
	int fd, other;
	char buf[16];
	struct iovec iov;
} t;

static int up(void **state)
{
	int rc;

	(void)state;
	memset(&t, 0, sizeof t);
	t.fd = memfd_create("ring", MFD_CLOEXEC);
	t.other = memfd_create("other", MFD_CLOEXEC);
	t.iov = (struct iovec){ t.buf, sizeof t.buf };
	if (t.fd < 0 || t.other < 0 || write(t.fd, "0123456789abcdef", 16) != 16)
		return -1;
	rc = bd_ring_new(8, &t.fd, 1, &t.ring);
	if (rc) {
		print_message("no ring here: %s\n", strerror(-rc));
		*state = &t; /* tests skip */
		return 0;
	}
	*state = NULL;
	return bd_ring_start(&t.ring);
}

static int down(void **state)
{
	if (!*state)
		bd_ring_free(&t.ring);
	close(t.fd);
	close(t.other);
	return 0;
}

static void need(void **state)
{
	if (*state)
		skip();
}

/* The answer to what is prepared; a refusal comes at the submission or as an answer. */
static int ask(void)
{
	struct io_uring_cqe *cqe;
	int rc;

	rc = io_uring_submit(&t.ring);
	if (rc < 0)
		return rc;
	rc = io_uring_wait_cqe(&t.ring, &cqe);
	if (rc == 0) {
		rc = cqe->res;
		io_uring_cqe_seen(&t.ring, cqe);
	}
	return rc;
}

static void test_its_file_is_read_and_synced(void **state)
{
	struct io_uring_sqe *sqe;

	need(state);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_read(sqe, 0, t.buf, 16, 0);
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(ask(), 16);
	assert_memory_equal(t.buf, "0123456789abcdef", 16);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_writev(sqe, 0, &t.iov, 1, 16);
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(ask(), 16);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(ask(), 0);
}

static void test_a_descriptor_that_was_not_given_is_refused(void **state)
{
	struct io_uring_sqe *sqe;

	need(state);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_read(sqe, t.other, t.buf, 16, 0);
	assert_int_equal(ask(), -EACCES);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_write(sqe, 0, t.buf, 16, 0);
	assert_int_equal(ask(), -EACCES);
	sqe = io_uring_get_sqe(&t.ring);
	io_uring_prep_read(sqe, 1, t.buf, 16, 0); /* a place that has no file */
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(ask(), -EBADF);
}

static void test_nothing_is_opened_or_connected(void **state)
{
	struct io_uring_sqe *sqe;

	need(state);
	for (unsigned flags = 0; flags <= IOSQE_FIXED_FILE; flags++) {
		sqe = io_uring_get_sqe(&t.ring);
		io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
		sqe->flags = (uint8_t)flags;
		assert_int_equal(ask(), -EACCES);
		sqe = io_uring_get_sqe(&t.ring);
		io_uring_prep_openat_direct(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0, 0);
		sqe->flags = (uint8_t)flags;
		assert_int_equal(ask(), -EACCES);
		sqe = io_uring_get_sqe(&t.ring);
		io_uring_prep_socket(sqe, AF_INET, SOCK_STREAM, 0, 0);
		sqe->flags = (uint8_t)flags;
		assert_int_equal(ask(), -EACCES);
		sqe = io_uring_get_sqe(&t.ring);
		io_uring_prep_unlink(sqe, "/nowhere", 0);
		sqe->flags = (uint8_t)flags;
		assert_int_equal(ask(), -EACCES);
	}
}

static void test_it_cannot_be_changed(void **state)
{
	need(state);
	assert_int_equal(io_uring_register_files_update(&t.ring, 0, &t.other, 1), -EACCES);
	assert_int_equal(io_uring_register_buffers(&t.ring, &t.iov, 1), -EACCES);
	assert_int_equal(io_uring_register_eventfd(&t.ring, t.other), -EACCES);
	assert_true(bd_ring_start(&t.ring) < 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_its_file_is_read_and_synced),
		T(test_a_descriptor_that_was_not_given_is_refused),
		T(test_nothing_is_opened_or_connected),
		T(test_it_cannot_be_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
