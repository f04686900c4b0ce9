/* SPDX-License-Identifier: Apache-2.0 */
/* join.c - see join.h */
#include "fusefs/join.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/ctlsock.h"
#include "common/log.h"
#include "fusefs/claim.h"
#include "fusefs/mounting.h"

#define TRIES 100 /* sessions that end just when they are to be shared */
#define TRY_PAUSE_MS 10

static int connect_to(const char *key, struct err *err)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int rc = claim_socket(key, path, sizeof path, err);

	return rc ? rc : ctlsock_connect_path(path, err);
}

static json_t *request(const struct mount_request *m, const char *cmd)
{
	AUTO_FREE char *options = options_format(m->opt);

	return json_pack("{s:s, s:s, s:s}", "cmd", cmd, "uri", m->uri, "options",
			 options ? options : "");
}

/* What the volume has and this mount wished otherwise. */
static void show_notes(const json_t *reply)
{
	const json_t *notes = json_object_get(reply, "notes");

	for (size_t i = 0; i < json_array_size(notes); i++) {
		const char *note = json_string_value(json_array_get(notes, i));

		if (note)
			log_warn("%s", note);
	}
}

/* A session of its own; the mount is not to be seen yet. */
static int make_session(const struct mount_request *m, int sock, mode_t root_type,
			struct mounting *out, struct err *err)
{
	AUTO_FD int fuse_fd = -1;
	json_t *line;
	int rc = mounting_open(m, &fuse_fd, err);

	if (!rc)
		rc = mounting_make(m, &fuse_fd, root_type, out, err);
	if (rc)
		return rc;
	line = request(m, "mounted");
	json_object_set_new(line, "major", json_integer(out->maj));
	json_object_set_new(line, "minor", json_integer(out->min));
	rc = ctlsock_ask(sock, line, fuse_fd, NULL, NULL, err);
	json_decref(line);
	if (rc)
		mounting_undo(m, out);
	return rc;
}

/* -ENOTCONN: the session that was to be shared has just ended. */
static int join_once(const struct mount_request *m, int sock, struct mounting *out, struct err *err)
{
	json_t *line = request(m, "join"), *reply = NULL;
	AUTO_FD int same = -1;
	int rc = ctlsock_ask(sock, line, -1, &same, &reply, err);

	json_decref(line);
	if (rc)
		return rc;
	show_notes(reply);
	if (same >= 0 && mounting_can_repeat(m))
		rc = mounting_make(m, &same, S_IFDIR, out, err);
	else
		rc = make_session(m, sock,
				  (mode_t)json_integer_value(json_object_get(reply, "root_type")),
				  out, err);
	json_decref(reply);
	return rc;
}

static bool hangs_up(int sock)
{
	struct pollfd p = { .fd = sock };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* The mount becomes visible, with the link by which it is found, and while the daemon lives: of
 * one that dies from now on the supervisor takes it away. */
static int show(const struct mount_request *m, const char *key, int sock, struct mounting *mnt,
		struct err *err)
{
	int rc = claim_link(key, mnt->maj, mnt->min, err);

	if (!rc)
		rc = mounting_attach(m, mnt, err);
	else
		mounting_undo(m, mnt);
	if (rc || !hangs_up(sock))
		return rc;
	mounting_take_back(m);
	return err_set(err, -ECONNRESET, "the volume's daemon has died");
}

int join_volume(const struct mount_request *m, const char *key, struct err *err)
{
	AUTO_FD int sock = connect_to(key, err);
	int rc = sock < 0 ? sock : -ENOTCONN;
	struct mounting mnt;

	for (int i = 0; rc == -ENOTCONN && i < TRIES; i++) {
		if (i)
			poll(NULL, 0, TRY_PAUSE_MS);
		rc = join_once(m, sock, &mnt, err);
	}
	if (!rc)
		rc = show(m, key, sock, &mnt, err);
	if (!rc)
		claim_note_uri(m->uri, key);
	return rc;
}
