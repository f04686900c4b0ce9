/* SPDX-License-Identifier: Apache-2.0 */
/* opener.h - connections to the server and devices, opened by short-lived children of the supervisor
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
 * A device is asked for by its number among those of the mount's own configuration, never by a path. The child
 * opens it exclusively, waits while another has it, sends it and exits: from then on the worker alone
 * has it, so it is free as soon as the worker's last request is done, however the worker ended, and
 * whoever opens it next knows that (backends/block/exclusive.h).
 *
 * A request is one datagram of fixed size, which tells its kind, with one descriptor; whatever differs is
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
#define OPENER_DEVICE_LIMIT_MS 600000u
/* A child that opens a device ends so much after its limit: the open itself may hang. */
#define OPENER_DEVICE_GRACE_MS 1000u

struct opener_request {
	uint32_t magic; /* OPENER_MAGIC */
	uint32_t port;  /* 1 to 65535 */
	uint32_t first; /* as in be_dial; to OPENER_FIRST_MAX */
	uint32_t limit_ms;
};
#define OPENER_MAGIC 0x6f70656eu

/* For a device; of another size than the above. */
struct opener_device_request {
	uint32_t magic;    /* OPENER_DEVICE_MAGIC */
	uint32_t number;   /* in opener_conf.devices */
	uint32_t limit_ms; /* how long it may be busy, to OPENER_DEVICE_LIMIT_MS; 0: one attempt */
};
#define OPENER_DEVICE_MAGIC 0x6f706576u

/* What comes back, with the descriptor when rc is 0. */
struct opener_answer {
	int32_t rc; /* 0 or -errno */
	char text[384];
};

/* ---- the supervisor's side ------------------------------------------- */

struct opener_conf {
	const char *host; /* borrowed; NULL or "": every request is refused */
	bool resvport;
	struct errands *errands; /* borrowed; NULL: they are refused */
	/* Does the work in the child: a connection, or -errno with a sentence. */
	int (*connect)(const struct opener_conf *conf, const struct opener_request *req,
		       struct err *err);
	/* Paths, or links that arrays have for them; borrowed. */
	const char *const *devices;
	unsigned ndevices;
	unsigned device_flags; /* BD_OPEN_*: of exclusive.h */
	/* Opens devices[number] in the child: a descriptor, or -errno with a sentence. */
	int (*device)(const struct opener_conf *conf, const struct opener_device_request *req,
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
/* Opens devices[number] exclusively; ends in req->limit_ms, unless an open hangs. */
int opener_device(const struct opener_conf *conf, const struct opener_device_request *req,
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
/* bd_env.open_device; arg is the same. Waits. -EBUSY when another has it for all of limit_ms, -ETIMEDOUT when
 * nothing came of it, -EPIPE when the supervisor is gone. */
int opener_open_device(void *arg, unsigned n, uint32_t limit_ms, struct err *err);

#endif
