/* SPDX-License-Identifier: Apache-2.0 */
/* opener.h - connections to the server, opened by short-lived children of the supervisor
 *
 *   worker: opener_dial()                 supervisor: openers_serve()
 *   request, and one end of a
 *   socket pair for the answer  --------> checks it, forks a child, forgets it
 *   waits on the other end                child: looks the host up, connects
 *   opener_dialled()  <------------------ answer, with the connection; exits
 *
 * The worker names a port and nothing else: host and reserved source port are the
 * mount's own configuration, which the supervisor knows by itself. So the worker
 * needs no name service and makes no socket, and whoever subverts it reaches no
 * other host. A child that hangs in the name service or in connect() is ended by
 * its own timer, and nobody else waits for it.
 *
 * A request is one datagram of fixed size with one descriptor; whatever differs is
 * dropped or refused. The request socket is new for each worker, and carries its errands
 * (errand.h), too.
 *
 * Threads: openers_*() on the only thread of the supervisor (it forks), opener_*()
 * on any thread of the worker. */
#ifndef FUSEFS_OPENER_H
#define FUSEFS_OPENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backends/backend.h"
#include "fusefs/errand.h"

#define OPENERS_MAX 40         /* children at once; more requests are answered -EAGAIN */
#define OPENER_LIMIT_MS 20000u /* longest time that a request may ask for */
#define OPENER_FIRST_MAX 65535u

struct opener_request {
	uint32_t magic; /* OPENER_MAGIC */
	uint32_t port;  /* 1 to 65535 */
	uint32_t first; /* as in be_dial; to OPENER_FIRST_MAX */
	uint32_t limit_ms;
};
#define OPENER_MAGIC 0x6f70656eu

/* What comes back, with the connection when rc is 0. */
struct opener_answer {
	int32_t rc; /* 0 or -errno */
	char text[256];
};

/* ---- the supervisor's side ------------------------------------------- */

struct opener_conf {
	const char *host; /* borrowed; NULL or "": every request is refused */
	bool resvport;
	struct errands *errands; /* borrowed; NULL: they are refused */
	/* Does the work in the child: a connection, or -errno with a sentence. */
	int (*connect)(const struct opener_conf *conf, const struct opener_request *req,
		       struct err *err);
};

struct openers {
	struct opener_conf conf;
	int fd; /* requests; -1: no worker */
	pid_t pids[OPENERS_MAX];
	unsigned count;
};

/* Looks conf->host up and connects to the port; ends in req->limit_ms. */
int opener_connect(const struct opener_conf *conf, const struct opener_request *req,
		   struct err *err);
void openers_init(struct openers *o, const struct opener_conf *conf);
/* A request socket for a new worker: returns its end, close-on-exec. -errno. */
int openers_start(struct openers *o);
/* o->fd is readable: takes one request. Never waits. False: the worker has closed its end. */
bool openers_serve(struct openers *o);
/* Takes note of children that have ended. */
void openers_reap(struct openers *o);
/* The worker is gone: closes the socket, kills all children. */
void openers_end(struct openers *o);

/* ---- the worker's side ----------------------------------------------- */

struct opener_client {
	int fd;           /* the worker's end of the request socket */
	const char *host; /* borrowed: the URI's */
};

/* be_env.dial and be_env.dialled; arg is a struct opener_client. -EPIPE when the
 * supervisor is gone. */
int opener_dial(void *arg, const struct be_dial *want, struct err *err);
int opener_dialled(int fd_take, struct err *err);

#endif
