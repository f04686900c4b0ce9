/* SPDX-License-Identifier: Apache-2.0 */
/* ring.h - an io_uring that can read, write, sync and allocate in a few files, and nothing else
 *
 * Whoever subverts the process opens no path and no socket through it, nor uses a descriptor that was not given here.
 *
 * Threads: bd_ring_new() any; from bd_ring_start() on the thread that called it alone, bd_ring_free() too. */
#ifndef BACKENDS_BLOCK_RING_H
#define BACKENDS_BLOCK_RING_H

#include <liburing.h>

/* Makes a ring for entries requests at once; requests name a file by its place in fds (IOSQE_FIXED_FILE). It has
 * its own references to the files. -errno: -ENOSYS, -EPERM where rings are not allowed, -EINVAL where they cannot be restricted. */
int bd_ring_new(unsigned entries, const int *fds, unsigned nfds, struct io_uring *out);
/* From here on it runs, and cannot be changed. Once, by the only thread that submits and reaps. */
int bd_ring_start(struct io_uring *ring);
/* Nothing is in flight. The files are let go at once. */
void bd_ring_free(struct io_uring *ring);

#endif
