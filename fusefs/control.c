/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - listening, conversations; what is answered stands in control_answer.c
 *
 * umount:  client                     daemon
 *          {"cmd":"umount"} --------> drains, progress lines
 *          <------------------------- {"progress":{"state":"drained"}}
 *          unmounts
 *          {"cmd":"unmounted"} -----> waits for control_free(): the final drain
 *          <------------------------- {"ok":true,"dirty_bytes":0} */
#include "fusefs/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ctlsock.h"
#include "common/fdpass.h"
#include "common/list.h"
#include "common/log.h"
#include "fusefs/errand.h"
#include "fusefs/session.h"

#define PROGRESS_MS 500
#define GONE_LOOK_MS 100
#define CUT_MS 5000       /* at the end: for clients to take what they are owed */
#define GONE_WAIT_MS 5000 /* for the kernel to end the session after the last unmount */

struct client {
	struct list link;
	struct control *c;
	int fd;
	int passed; /* the last descriptor that came, or -1; owned */
	size_t len; /* bytes read and not used yet */
	char buf[65536];
};

struct control {
	struct volume *v;
	int fd, wake[2]; /* listening; a byte into wake[1] ends the thread */
	pthread_t thread;
	struct mutex lock;
	struct cond cond;
	/* guarded by lock */
	struct list clients;
	unsigned nclients;
	bool gone; /* the volume is unmounted and drained */
	bool stop;
	int rc;
	unsigned long long dirty_bytes;
};

static int send_json(int fd, json_t *line)
{
	int rc = line ? ctlsock_send(fd, line, NULL) : -ENOMEM;

	json_decref(line);
	return rc;
}

static json_t *failure(int err, const char *what)
{
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", what, "errno", -err);
}

/* The next line as an object; NULL at the end, after an error, or for nonsense. */
static json_t *next_line(struct client *cl, bool *bad)
{
	char *nl;
	json_t *obj;

	*bad = false;
	while (!(nl = memchr(cl->buf, '\n', cl->len))) {
		int fd = -1;
		ssize_t n;

		if (cl->len == sizeof cl->buf) {
			*bad = true;
			return NULL;
		}
		n = fd_recv(cl->fd, cl->buf + cl->len, sizeof cl->buf - cl->len, &fd, 0);
		if (n <= 0)
			return NULL;
		cl->len += (size_t)n;
		if (fd >= 0) {
			cleanup_fd(&cl->passed);
			cl->passed = fd;
		}
	}
	obj = json_loadb(cl->buf, (size_t)(nl - cl->buf), JSON_REJECT_DUPLICATES, NULL);
	cl->len -= (size_t)(nl + 1 - cl->buf);
	memmove(cl->buf, nl + 1, cl->len);
	*bad = !json_is_object(obj);
	return obj;
}

struct drain_watch {
	int fd;
	uint64_t told_ms;
	bool lost; /* the client went away */
};

static bool drain_progress(void *arg, const struct cache_usage *u)
{
	struct drain_watch *w = arg;

	if (clock_ms() - w->told_ms < PROGRESS_MS)
		return true;
	w->told_ms = clock_ms();
	w->lost = send_json(w->fd, json_pack("{s:{s:I,s:I}}", "progress", "dirty_bytes",
					     (json_int_t)u->dirty_bytes, "files",
					     (json_int_t)u->files_dirty)) != 0;
	return !w->lost;
}

/* True when all was written; else the answer has been sent. */
static bool drain_for(struct client *cl)
{
	struct drain_watch w = { .fd = cl->fd, .told_ms = clock_ms() };
	struct cache_usage u;
	char text[256];
	int rc = cache_drain(cl->c->v->cache, drain_progress, &w);

	if (!rc)
		return true;
	cache_usage(cl->c->v->cache, &u);
	snprintf(text, sizeof text, "%llu bytes of %llu files could not be written: %s",
		 (unsigned long long)u.dirty_bytes, (unsigned long long)u.files_dirty,
		 strerror(-rc));
	send_json(cl->fd, failure(rc, text));
	return false;
}

/* Waits for the end of the volume, or of the session alone when others go on. */
static enum {
	VOLUME_GONE,
	SESSION_GONE,
	STILL_THERE
} wait_gone(struct client *cl, unsigned maj, unsigned min)
{
	struct control *c = cl->c;
	uint64_t limit = clock_ms() + GONE_WAIT_MS;
	bool gone, left = false;

	mutex_lock(&c->lock);
	while (!c->gone && !left && clock_ms() < limit) {
		mutex_unlock(&c->lock);
		left = session_has_left(c->v, maj, min);
		mutex_lock(&c->lock);
		if (!c->gone && !left)
			cond_wait_until(&c->cond, &c->lock, clock_ms() + GONE_LOOK_MS);
	}
	gone = c->gone;
	mutex_unlock(&c->lock);
	return gone ? VOLUME_GONE : left ? SESSION_GONE : STILL_THERE;
}

static bool is_gone(struct control *c)
{
	bool gone;

	mutex_lock(&c->lock);
	gone = c->gone;
	mutex_unlock(&c->lock);
	return gone;
}

static bool said_unmounted(const json_t *line)
{
	const char *cmd = json_string_value(json_object_get(line, "cmd"));

	return cmd && !strcmp(cmd, "unmounted");
}

/* It goes on elsewhere: what can be promised is that all is written. */
static void umount_partly(struct client *cl, const char *note)
{
	if (drain_for(cl))
		send_json(cl->fd,
			  json_pack("{s:b,s:i,s:s}", "ok", 1, "dirty_bytes", 0, "note", note));
}

static void umount_end(struct client *cl, unsigned maj, unsigned min)
{
	struct control *c = cl->c;

	switch (wait_gone(cl, maj, min)) {
	case SESSION_GONE:
		umount_partly(cl, "other sessions of the volume go on");
		break;
	case STILL_THERE:
		umount_partly(cl, "still mounted in another mount namespace");
		break;
	default:
		if (c->rc)
			send_json(cl->fd,
				  failure(c->rc,
					  "data written after the drain is not on the backend"));
		else
			send_json(cl->fd, json_pack("{s:b,s:I}", "ok", 1, "dirty_bytes",
						    (json_int_t)c->dirty_bytes));
	}
}

static void do_umount(struct client *cl, const json_t *request)
{
	unsigned maj = (unsigned)json_integer_value(json_object_get(request, "major"));
	unsigned min = (unsigned)json_integer_value(json_object_get(request, "minor"));
	bool said, others, bad;
	json_t *line;

	if (!drain_for(cl))
		return;
	if (send_json(cl->fd, json_pack("{s:{s:s}}", "progress", "state", "drained")))
		return;
	line = next_line(cl, &bad);
	said = said_unmounted(line);
	others = json_is_true(json_object_get(line, "others"));
	json_decref(line);
	/* The kernel may tell us of the unmount before the client does. */
	if (!said && !is_gone(cl->c))
		send_json(cl->fd, failure(-ECANCELED, "not unmounted; everything was written"));
	else if (others)
		umount_partly(cl, "other mounts of the session go on");
	else
		umount_end(cl, maj, min);
}

/* An answer that may have a descriptor beside it. */
static void answer_join(struct client *cl, const json_t *request)
{
	int fd = -1;
	json_t *line = control_join(cl->c->v, request, &fd);

	if (line)
		ctlsock_send_fd(cl->fd, line, fd, NULL);
	json_decref(line);
	cleanup_fd(&fd);
}

static void serve_line(struct client *cl, const json_t *line)
{
	const char *cmd = json_string_value(json_object_get(line, "cmd"));

	if (cmd && !strcmp(cmd, "drain")) {
		if (drain_for(cl))
			send_json(cl->fd, json_pack("{s:b,s:i}", "ok", 1, "dirty_bytes", 0));
	} else if (cmd && !strcmp(cmd, "umount")) {
		do_umount(cl, line);
	} else if (cmd && !strcmp(cmd, "join")) {
		answer_join(cl, line);
	} else if (cmd && !strcmp(cmd, "mounted")) {
		send_json(cl->fd, control_mounted(cl->c->v, line, take_fd(&cl->passed)));
	} else {
		send_json(cl->fd, control_answer(cl->c->v, line));
	}
}

static void *client_main(void *arg)
{
	struct client *cl = arg;
	struct control *c = cl->c;
	json_t *line;
	bool bad;

	prctl(PR_SET_NAME, "control-client");
	while ((line = next_line(cl, &bad)) || bad) {
		if (bad)
			send_json(cl->fd, failure(-EINVAL, "want one JSON object a line"));
		else
			serve_line(cl, line);
		json_decref(line);
		if (bad)
			break;
	}
	mutex_lock(&c->lock);
	list_del(&cl->link);
	c->nclients--;
	close(cl->fd);
	cleanup_fd(&cl->passed);
	cond_broadcast(&c->cond);
	mutex_unlock(&c->lock);
	free(cl);
	return NULL;
}

static bool may_ask(const struct control *c, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == 0 || cred.uid == c->v->owner);
}

static void start_client(struct control *c, int fd)
{
	struct client *cl = may_ask(c, fd) ? calloc(1, sizeof *cl) : NULL;
	pthread_attr_t attr;
	pthread_t t;
	bool ok = false;

	if (!cl) {
		close(fd);
		return;
	}
	cl->c = c;
	cl->fd = fd;
	cl->passed = -1;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	mutex_lock(&c->lock);
	if (c->nclients < CONTROL_CLIENTS_MAX && !c->stop) {
		list_push_back(&c->clients, &cl->link);
		c->nclients++;
		ok = !pthread_create(&t, &attr, client_main, cl);
		if (!ok) {
			list_del(&cl->link);
			c->nclients--;
		}
	}
	mutex_unlock(&c->lock);
	pthread_attr_destroy(&attr);
	if (!ok) {
		close(fd);
		free(cl);
	}
}

static void wait_for_room(struct control *c)
{
	mutex_lock(&c->lock);
	while (c->nclients >= CONTROL_CLIENTS_MAX && !c->stop)
		cond_wait(&c->cond, &c->lock);
	mutex_unlock(&c->lock);
}

static void *control_main(void *arg)
{
	struct control *c = arg;
	struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN },
			       { .fd = c->wake[0], .events = POLLIN } };

	prctl(PR_SET_NAME, "control");
	while (!p[1].revents) {
		int fd;

		if (poll(p, 2, -1) < 0 || !p[0].revents)
			continue;
		wait_for_room(c);
		fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			start_client(c, fd);
	}
	return NULL;
}

int control_new(struct volume *v, int fd_take, struct control **out, struct err *err)
{
	struct control *c = calloc(1, sizeof *c);
	int rc = 0;

	if (!c) {
		close(fd_take);
		return err_set(err, -ENOMEM, "out of memory");
	}
	c->v = v;
	c->wake[0] = c->wake[1] = -1;
	mutex_init(&c->lock, LOCK_control);
	cond_init(&c->cond);
	list_init(&c->clients);
	c->fd = fd_take;
	if (pipe2(c->wake, O_CLOEXEC))
		rc = err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	if (!rc && pthread_create(&c->thread, NULL, control_main, c))
		rc = err_set(err, -EAGAIN, "cannot start a thread");
	if (rc) {
		cleanup_fd(&c->fd);
		cleanup_fd(&c->wake[0]);
		cleanup_fd(&c->wake[1]);
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void control_left(struct control *c)
{
	if (!c)
		return;
	mutex_lock(&c->lock);
	cond_broadcast(&c->cond);
	mutex_unlock(&c->lock);
}

static void cut_locked(struct control *c, int how)
{
	list_for_each(it, &c->clients)
		shutdown(list_entry(it, struct client, link)->fd, how);
}

/* What clients are owed is in their sockets before these are cut; those who do not read
 * would keep us for ever. */
static void part_locked(struct control *c)
{
	uint64_t limit = clock_ms() + CUT_MS;

	cut_locked(c, SHUT_RD);
	while (c->nclients && clock_ms() < limit)
		cond_wait_until(&c->cond, &c->lock, limit);
	cut_locked(c, SHUT_RDWR);
	while (c->nclients)
		cond_wait(&c->cond, &c->lock);
}

void control_free(struct control *c, int rc, unsigned long long dirty_bytes)
{
	if (!c)
		return;
	mutex_lock(&c->lock);
	c->stop = true;
	cond_broadcast(&c->cond);
	mutex_unlock(&c->lock);
	if (write(c->wake[1], "", 1) < 0)
		log_warn("control: cannot stop the thread: %s", strerror(errno));
	pthread_join(c->thread, NULL);
	/* Whoever is told that the mount is gone finds no socket of it. */
	if (c->v->errands)
		(void)errand_plain(c->v->errands, ERRAND_UNLINK_CONTROL);
	mutex_lock(&c->lock);
	c->gone = true;
	c->rc = rc;
	c->dirty_bytes = dirty_bytes;
	cond_broadcast(&c->cond);
	part_locked(c);
	mutex_unlock(&c->lock);
	close(c->fd);
	close(c->wake[0]);
	close(c->wake[1]);
	mutex_done(&c->lock);
	cond_done(&c->cond);
	free(c);
}
