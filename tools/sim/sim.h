/* SPDX-License-Identifier: Apache-2.0 */
/* sim.h - a simulated array: what the kinds ("scaleio", "onefs") and their server share
 *
 * The server (sim.c) listens, injects faults, keeps the clock and the state file; a kind answers
 * requests as its array would. The same code is persifs-sim, and runs inside tests.
 *
 * Faults are set by the control route, whatever the kind:
 *   GET    /_sim            the rules, counters of calls by method and path, the clock
 *   POST   /_sim/faults     {"match": "POST /api/types/Volume/instances" (a prefix), "fault": NAME, "after": N
 *                            (such calls pass first), "times": N (0: always), "ms", "status", "bytes"}
 *   DELETE /_sim/faults
 *   POST   /_sim/clock      {"advance": SECONDS}: logins and sessions grow old
 *   POST   /_sim/tokens     {"drop": true}: every login is forgotten
 * NAMEs: delay (ms, then as usual), drop (closed without an answer, not executed), lost (executed, then
 * closed without an answer), cut (executed, the answer breaks off after bytes), status (not executed:
 * status with a body of JSON without a code), html (not executed, status with a page), empty (not executed, status without a
 * body), garbage (executed, 200 with bytes that are no JSON), half (the kind executes a part and fails; of calls that
 * have parts), slow (executed, then silence for ms before the answer).
 * Paths below /_sim/NAME/ are control routes of the kind NAME and come to its answer(), past all faults.
 * Rules are looked at in their order; a call that a rule lets pass by "after" goes on to the next.
 *
 * Threads: a kind's answer() runs in the pool, several at a time; it locks for itself. */
#ifndef TOOLS_SIM_SIM_H
#define TOOLS_SIM_SIM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/httpd.h"
#include "common/opt.h"

struct sim;

struct sim_config {
	const char *listen;     /* "tcp:127.0.0.1:0" */
	const char *cert, *key; /* files (PEM); both NULL: no TLS */
	const char *state; /* file, made when missing, written by rename after changes; NULL: none */
	const char *user, *password; /* who may log in; NULL: "admin", "password" */
	const char *root;            /* folder for what backs the volumes; NULL: none is made */
	const char *const *settings; /* "name=value" of the kind's options, NULL-ended; may be NULL */
};

struct sim_kind {
	const char *name;
	const struct opt_def *options; /* of the struct below, for settings and --help */
	size_t options_size;
	/* options: filled; the kind's to keep (freed after close()). state: of save(), or NULL. */
	int (*open)(struct sim *sim, void *options, const json_t *state, void **out,
		    struct err *err);
	void (*close)(void *arg);
	/* One httpd_reply_take(). half: execute a part and fail (see above). */
	void (*answer)(void *arg, struct httpd_request *rq, bool half);
	json_t *(*save)(void *arg); /* a new object, NULL: no memory */
	void (*drop_tokens)(void *arg);
};

extern const struct sim_kind sim_scaleio, sim_onefs;

int sim_start(const struct sim_kind *kind, const struct sim_config *cfg, struct sim **out,
	      struct err *err);
void sim_stop(struct sim *s);
unsigned sim_port(const struct sim *s);

/* --- for kinds --------------------------------------------------------------- */

const struct sim_config *sim_settings(const struct sim *s);
/* Seconds since 1970 on the simulated clock. */
uint64_t sim_now(const struct sim *s);
/* Something durable changed: the state file is written before the answer is sent. */
void sim_changed(struct sim *s);
/* A JSON answer; object is taken. */
void sim_reply(struct httpd_request *rq, unsigned status, json_t *object_take);
/* "user:password" of basic authentication, decoded, owned by the caller; NULL without or when it is broken. */
char *sim_basic(struct httpd_request *rq);

#endif
