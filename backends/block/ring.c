/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - see ring.h */
#include "backends/block/ring.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Newest first: what one thread submits and reaps, with completions when it asks for them; then
 * without interrupts of that thread; then as the first kernels have it. */
static const unsigned setups[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	IORING_SETUP_COOP_TASKRUN,
	0,
};

static const uint8_t allowed[] = {
	IORING_OP_READ,       IORING_OP_WRITE, IORING_OP_READV,     IORING_OP_WRITEV,
	IORING_OP_READ_FIXED, IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_WRITE_FIXED,
};

/* Debian's library has the functions for these two in its header alone. */
static int ask_kernel(const struct io_uring *ring, unsigned what, void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, n) < 0 ? -errno : 0;
}

static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction r[ARRAY_LEN(allowed) + 3] = { 0 };
	unsigned n = 0;

	for (; n < ARRAY_LEN(allowed); n++) {
		r[n].opcode = IORING_RESTRICTION_SQE_OP;
		r[n].sqe_op = allowed[n];
	}
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	r[n++].sqe_flags = IOSQE_FIXED_FILE;
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[n++].sqe_flags = IOSQE_FIXED_FILE;
	/* For the end. */
	r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	r[n++].register_op = IORING_UNREGISTER_FILES;
	return ask_kernel(ring, IORING_REGISTER_RESTRICTIONS, r, n);
}

int bd_ring_new(unsigned entries, const int *fds, unsigned nfds, struct io_uring *out)
{
	int rc = -EINVAL;

	for (size_t i = 0; i < ARRAY_LEN(setups) && rc == -EINVAL; i++)
		rc = io_uring_queue_init(entries, out, setups[i] | IORING_SETUP_R_DISABLED);
	if (rc)
		return rc;
	rc = io_uring_register_files(out, fds, nfds);
	if (rc >= 0)
		rc = restrict_ring(out);
	if (rc < 0) {
		io_uring_queue_exit(out);
		return rc;
	}
	return 0;
}

int bd_ring_start(struct io_uring *ring)
{
	/* Saves the look-up of the ring's descriptor at each call; old kernels have no such thing. */
	(void)io_uring_register_ring_fd(ring);
	return ask_kernel(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

void bd_ring_free(struct io_uring *ring)
{
	/* What is left of a ring goes some time later. */
	io_uring_unregister_files(ring);
	io_uring_queue_exit(ring);
}
