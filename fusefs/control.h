/* SPDX-License-Identifier: Apache-2.0 */
/* control.h - the daemon's side of the control socket (common/ctlsock.h tells the protocol)
 *
 * One thread listens; each client gets a thread of its own, at most
 * CONTROL_CLIENTS_MAX at a time; more wait to be accepted. Only root and the user who
 * mounted are served. */
#ifndef FUSEFS_CONTROL_H
#define FUSEFS_CONTROL_H

#include <jansson.h>

#include "common/err.h"

#define CONTROL_CLIENTS_MAX 64

struct volume;
struct control;

/* fd_take: a listening socket, owned from here on also on failure. */
int control_new(struct volume *v, int fd_take, struct control **out, struct err *err);
/* The mount is gone and everything was written (rc 0) or given up (-errno):
 * waiting umount clients get their answer. Then clients are cut off and the
 * socket removed, by the supervisor. Until it returns their commands use the volume. NULL is fine. */
void control_free(struct control *c, int rc, unsigned long long dirty_bytes);
/* The answer to one request line: a new object. Clients' commands that need a
 * conversation (drain, umount) are handled elsewhere. Exposed for the fuzzer. */
json_t *control_answer(struct volume *v, const json_t *request);
/* A session has left: who waits for that looks again. NULL is fine. */
void control_left(struct control *c);
/* control_join.c: the two questions of join.h. *fd_out: a descriptor that goes with the answer
 * (the caller's), else untouched. */
json_t *control_join(struct volume *v, const json_t *request, int *fd_out);
json_t *control_mounted(struct volume *v, const json_t *request, int fd_take);
/* Puts the options that may change while mounted in force; v->opt_lock held, or alone. */
void control_apply(struct volume *v);
/* Statistics as persifs-ctl shows them; a new object. */
json_t *control_stat(struct volume *v);

#endif
