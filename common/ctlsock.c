/* SPDX-License-Identifier: Apache-2.0 */
/* ctlsock.c - see ctlsock.h. What the daemon says is checked as if a stranger had
 * said it: length, syntax, the one of three shapes that a line may have. */
#include "common/ctlsock.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "common/runtime.h"

#define ERRNO_MAX 4095

/* Bytes received and not yet taken as lines. */
struct line_buf {
	char *data; /* owned */
	size_t used, cap;
	size_t taken; /* length of the line handed out last, newline included */
	int fd;       /* the last that came beside them, or -1; owned */
};

int ctlsock_connect_path_within(const char *path, unsigned limit_ms, struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	/* No time at all would mean no limit to the kernel. */
	struct timeval silence = { .tv_sec = limit_ms / 1000,
				   .tv_usec = (suseconds_t)(limit_ms % 1000) * 1000 + 1 };
	AUTO_FD int fd = -1;

	if (strlen(path) >= sizeof addr.sun_path)
		return err_set(err, -ENAMETOOLONG, "'%.200s': too long for a socket", path);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	/* Before connect(): a stopped daemon's backlog can be full. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) < 0)
		return err_set(err, -errno, "setsockopt: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		return err_set(err,
			       errno == ENOENT ? -ECONNREFUSED :
			       errno == EAGAIN ? -ETIMEDOUT :
						 -errno,
			       "%s: %s", path, strerror(errno));
	return take_fd(&fd);
}

int ctlsock_connect_path(const char *path, struct err *err)
{
	return ctlsock_connect_path_within(path, CTLSOCK_SILENCE_S * 1000, err);
}

int ctlsock_connect_within(const char *dir, unsigned limit_ms, struct err *err)
{
	char path[PATH_MAX];
	struct err why;
	unsigned maj, min;
	int rc;

	rc = runtime_mount_dev(dir, &maj, &min, NULL, 0, err);
	if (!rc)
		rc = runtime_socket_path(maj, min, path, sizeof path, err);
	if (rc)
		return rc;
	rc = ctlsock_connect_path_within(path, limit_ms, &why);
	return rc >= 0 ? rc :
			 err_set(err, rc, "no daemon answers for '%.200s' at %s", dir, why.text);
}

int ctlsock_connect(const char *dir, struct err *err)
{
	return ctlsock_connect_within(dir, CTLSOCK_SILENCE_S * 1000, err);
}

static int broken(struct err *err)
{
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return err_set(err, -ETIMEDOUT, "the daemon has been silent for too long");
	return err_set(err, -ECONNRESET, "the connection to the daemon broke: %s", strerror(errno));
}

int ctlsock_send_fd(int fd, const json_t *line, int fd_beside, struct err *err)
{
	AUTO_FREE char *text = json_dumps(line, JSON_COMPACT);
	size_t len, sent = 0;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	len = strlen(text);
	text[len++] = '\n'; /* replaces the NUL: from here text is bytes */
	if (len > CTLSOCK_LINE_MAX)
		return err_set(err, -E2BIG, "the request is longer than %d bytes",
			       CTLSOCK_LINE_MAX);
	if (fd_beside >= 0 && fd_send(fd, text, sent = 1, fd_beside, 0))
		return broken(err);
	while (sent < len) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return broken(err);
		sent += (size_t)n;
	}
	return 0;
}

int ctlsock_send(int fd, const json_t *line, struct err *err)
{
	return ctlsock_send_fd(fd, line, -1, err);
}

static int line_buf_grow(struct line_buf *b, struct err *err)
{
	size_t cap = b->cap ? b->cap * 2 : 4096;
	char *data;

	if (b->cap >= CTLSOCK_LINE_MAX) {
		err_set(err, -EPROTO, "the daemon sent a line longer than %d bytes",
			CTLSOCK_LINE_MAX);
		return -EPROTO;
	}
	data = realloc(b->data, cap);
	if (!data) {
		err_set(err, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	b->data = data;
	b->cap = cap;
	return 0;
}

/* The next whole line, without its newline; it stays valid until the next call. */
static int line_buf_next(struct line_buf *b, int fd, const char **line, size_t *len,
			 struct err *err)
{
	size_t searched = 0;

	b->used -= b->taken;
	if (b->taken)
		memmove(b->data, b->data + b->taken, b->used);
	b->taken = 0;
	for (;;) {
		char *nl = b->used > searched ?
				   memchr(b->data + searched, '\n', b->used - searched) :
				   NULL;
		int passed = -1, rc;
		ssize_t n;

		if (nl) {
			*line = b->data;
			*len = (size_t)(nl - b->data);
			b->taken = *len + 1;
			return 0;
		}
		searched = b->used;
		rc = b->used == b->cap ? line_buf_grow(b, err) : 0;
		if (rc)
			return rc;
		n = fd_recv(fd, b->data + b->used, b->cap - b->used, &passed, 0);
		if (n == 0)
			return err_set(err, -ECONNRESET, "the daemon closed the connection");
		if (n < 0 && n != -EINTR) {
			errno = (int)-n;
			return broken(err);
		}
		if (passed >= 0) {
			cleanup_fd(&b->fd);
			b->fd = passed;
		}
		b->used += n > 0 ? (size_t)n : 0;
	}
}

/* The last line: success keeps it, failure turns it into a sentence. */
static int judge(const json_t *line, struct err *err)
{
	const json_t *ok = json_object_get(line, "ok");
	const char *text = json_string_value(json_object_get(line, "error"));
	json_int_t code = json_integer_value(json_object_get(line, "errno"));

	if (json_is_true(ok))
		return 0;
	if (!json_is_false(ok))
		return err_set(err, -EPROTO, "the daemon's answer makes no sense");
	if (code < 1 || code > ERRNO_MAX)
		code = EIO;
	return err_set(err, -(int)code, "%s", text ? text : strerror((int)code));
}

/* The last line of the answer. */
static int converse(int fd, struct line_buf *buf, void (*progress)(void *arg, const json_t *p),
		    void *arg, json_t **reply, struct err *err)
{
	json_t *line = NULL;
	int rc = 0;

	while (!rc) {
		const char *text = NULL;
		const json_t *inner;
		size_t len = 0;

		rc = line_buf_next(buf, fd, &text, &len, err);
		if (rc)
			break;
		line = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(line)) {
			rc = err_set(err, -EPROTO, "the daemon's answer is not a JSON object");
			break;
		}
		inner = json_object_get(line, "progress");
		if (!inner) {
			rc = judge(line, err);
			if (!rc && reply)
				*reply = json_incref(line);
			break;
		}
		if (progress && json_is_object(inner))
			progress(arg, inner);
		json_decref(line);
		line = NULL;
	}
	json_decref(line);
	return rc;
}

int ctlsock_call(int fd, const json_t *request, void (*progress)(void *arg, const json_t *p),
		 void *arg, json_t **reply, struct err *err)
{
	struct line_buf buf = { .fd = -1 };
	int rc = ctlsock_send(fd, request, err);

	if (!rc)
		rc = converse(fd, &buf, progress, arg, reply, err);
	cleanup_fd(&buf.fd);
	free(buf.data);
	return rc;
}

int ctlsock_ask(int fd, const json_t *request, int fd_beside, int *fd_out, json_t **reply,
		struct err *err)
{
	struct line_buf buf = { .fd = -1 };
	int rc = ctlsock_send_fd(fd, request, fd_beside, err);

	if (!rc)
		rc = converse(fd, &buf, NULL, NULL, reply, err);
	if (!rc && fd_out)
		*fd_out = take_fd(&buf.fd);
	cleanup_fd(&buf.fd);
	free(buf.data);
	return rc;
}

void ctlsock_show_progress(void *arg, const json_t *p)
{
	const json_t *dirty = json_object_get(p, "dirty_bytes");

	(void)arg;
	if (json_is_integer(dirty) && isatty(STDERR_FILENO))
		fprintf(stderr, "\r%.1f MiB to write \033[K",
			(double)json_integer_value(dirty) / (1 << 20));
}

void ctlsock_show_end(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}
