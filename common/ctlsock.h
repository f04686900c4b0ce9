/* SPDX-License-Identifier: Apache-2.0 */
/* ctlsock.h - the caller's side of a mount's control socket
 *
 * A unix stream socket carries one JSON object a line, each way. The caller
 * sends a request, {"cmd":"stat"|"drain"|"umount"|"tune"|"ping", ...}. The
 * daemon answers with any number of {"progress":{...}} lines and one last line,
 * {"ok":true,...} or {"ok":false,"error":"a sentence","errno":N}. A daemon at
 * work says something at least once in CTLSOCK_SILENCE_S.
 *
 * umount: the daemon drains (progress lines with dirty_bytes), then sends
 * {"progress":{"state":"drained"}}; the caller unmounts and sends
 * {"cmd":"unmounted"}, or {"cmd":"cancel","errno":N} when it could not; the
 * daemon's last line follows. One thread a connection. */
#ifndef COMMON_CTLSOCK_H
#define COMMON_CTLSOCK_H

#include <jansson.h>

#include "common/err.h"

#define CTLSOCK_LINE_MAX (1 << 20) /* bytes, newline included; longer is an error */
#define CTLSOCK_SILENCE_S 60

/* A connected descriptor for the mount at dir, or -errno: -EINVAL when dir is not
 * a persifs mount, -ECONNREFUSED when no daemon answers for it. */
int ctlsock_connect(const char *dir, struct err *err);
/* The same, with a limit other than CTLSOCK_SILENCE_S for connecting, and for each
 * silence afterwards: -ETIMEDOUT. */
int ctlsock_connect_within(const char *dir, unsigned limit_ms, struct err *err);

/* The same for the socket at path. */
int ctlsock_connect_path(const char *path, struct err *err);
int ctlsock_connect_path_within(const char *path, unsigned limit_ms, struct err *err);

/* One line out. */
int ctlsock_send(int fd, const json_t *line, struct err *err);
/* With a descriptor beside it; -1: none. */
int ctlsock_send_fd(int fd, const json_t *line, int fd_beside, struct err *err);

/* Sends the request and waits for the last line. progress (may be NULL) gets the
 * inner object of each progress line, borrowed. 0 when the daemon said ok, with
 * its line in *reply (the caller's to json_decref(); reply may be NULL); else the
 * daemon's errno, -EPROTO for nonsense, -ECONNRESET when it went away,
 * -ETIMEDOUT after silence. */
int ctlsock_call(int fd, const json_t *request, void (*progress)(void *arg, const json_t *p),
		 void *arg, json_t **reply, struct err *err);

/* The same without progress, with a descriptor beside the request (-1: none) and, when
 * fd_out is given, one that came with the answer (-1: none), close-on-exec. */
int ctlsock_ask(int fd, const json_t *request, int fd_beside, int *fd_out, json_t **reply,
		struct err *err);

/* A progress function for people: rewrites one line on stderr with the dirty bytes
 * left, when stderr is a terminal. arg is not used. End with ctlsock_show_end(). */
void ctlsock_show_progress(void *arg, const json_t *p);
void ctlsock_show_end(void);

#endif
