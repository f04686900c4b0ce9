/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor.h - the small process that mounts, and keeps what must outlive a worker
 *
 *   supervisor                          worker (the same program, exec'd)
 *   opens /dev/fuse, makes the arena
 *   starts the worker  ---------------> prepares the backend, enters the sandbox (confine.h),
 *                                       opens it
 *   <-------- "backend MODE KEY" ------ (or "error SENTENCE", and ends)
 *   takes the volume KEY (claim.h); when it has a daemon: ends the worker, joins (join.h)
 *   makes the mount, makes the control socket
 *   ------ the claim's descriptor ----> keeps it
 *   -------- "mounted MAJ MIN KEY" ---> receivers, INIT
 *   <------------------- "ready" ------
 *   attaches the mount: programs see it when it is served, and no dead one if we die before
 *   <---- "session MAJ MIN", "left MAJ MIN": sessions that come and go
 *   tells who waits for the mount; waits for signals and the worker's end
 *   ------------ "drain" -------------> (SIGTERM)
 *   <------------ "drained RC" --------
 *
 * All the while it has children open connections for the worker (opener.h), and opens other
 * things for it (errand.h).
 *
 * A caller who may not mount has fusermount3 do it; where a descriptor of a mount was given
 * there is nothing to mount, and nothing to unmount.
 *
 * It never reads /dev/fuse, never maps the arena, never parses foreign data. A
 * worker that dies is not restarted yet: the mount is taken away with an error. */
#ifndef FUSEFS_SUPERVISOR_H
#define FUSEFS_SUPERVISOR_H

#include <stdbool.h>

#include "common/err.h"
#include "fusefs/options.h"

#define LINE_BYTES_MAX 1024 /* of a message between the two */

struct mount_request {
	const char *uri;
	const char *dir; /* absolute */
	int adopted_fd; /* owned: /dev/fuse of a mount that somebody else made, and takes away; or -1 */
	struct mount_options *opt;
	bool foreground;
};

#define SUPERVISOR_JOINED (-1) /* instead of an exit status: another daemon serves the mount */

/* Mounts and stays until the volume is unmounted, or joins its daemon and returns. status_fd: gets one byte 0 when the
 * mount is usable, or 1 and a sentence; it is closed then. -1: nobody waits, the
 * sentence goes to stderr. Returns the exit status. */
int supervisor_run(const struct mount_request *m, int status_fd);

/* worker.c: argv as the supervisor makes it. Returns the exit status. */
int worker_main(int argc, char **argv);

/* One line over the socket between the two. */
int line_send(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line without its newline into buf[LINE_BYTES_MAX]; 0, -EPIPE at the end, -EPROTO. */
int line_recv(int fd, char *buf);
/* The same without waiting for the rest of one, which stays in *in: -EAGAIN. Who sends half a line holds
 * nobody up. */
struct line_in {
	size_t n;
	char text[LINE_BYTES_MAX];
};
int line_take(struct line_in *in, int fd, char *buf);

#endif
