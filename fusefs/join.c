/* SPDX-License-Identifier: Apache-2.0 */
/* join.c - see join.h */
#include "fusefs/join.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
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

static int make_session(const struct mount_request *m, int sock, mode_t root_type, unsigned *maj,
			unsigned *min, struct err *err)
{
	AUTO_FD int fuse_fd = -1;
	json_t *line;
	int rc = mounting_open(m, &fuse_fd, err);

	if (!rc)
		rc = mounting_mount(m, &fuse_fd, root_type, maj, min, err);
	if (rc)
		return rc;
	line = request(m, "mounted");
	json_object_set_new(line, "major", json_integer(*maj));
	json_object_set_new(line, "minor", json_integer(*min));
	rc = ctlsock_ask(sock, line, fuse_fd, NULL, NULL, err);
	json_decref(line);
	if (rc && m->adopted_fd < 0)
		mounting_umount_all(*maj, *min, MNT_DETACH);
	return rc;
}

/* -ENOTCONN: the session that was to be shared has just ended. */
static int join_once(const struct mount_request *m, int sock, unsigned *maj, unsigned *min,
		     struct err *err)
{
	json_t *line = request(m, "join"), *reply = NULL;
	AUTO_FD int same = -1;
	int rc = ctlsock_ask(sock, line, -1, &same, &reply, err);

	json_decref(line);
	if (rc)
		return rc;
	show_notes(reply);
	if (same >= 0 && mounting_can_repeat(m))
		rc = mounting_mount(m, &same, S_IFDIR, maj, min, err);
	else
		rc = make_session(m, sock,
				  (mode_t)json_integer_value(json_object_get(reply, "root_type")),
				  maj, min, err);
	json_decref(reply);
	return rc;
}

int join_volume(const struct mount_request *m, const char *key, unsigned *maj, unsigned *min,
		struct err *err)
{
	AUTO_FD int sock = connect_to(key, err);
	int rc = sock < 0 ? sock : -ENOTCONN;

	for (int i = 0; rc == -ENOTCONN && i < TRIES; i++) {
		if (i)
			poll(NULL, 0, TRY_PAUSE_MS);
		rc = join_once(m, sock, maj, min, err);
	}
	if (!rc)
		rc = claim_link(key, *maj, *min, err);
	if (!rc)
		claim_note_uri(m->uri, key);
	return rc;
}
