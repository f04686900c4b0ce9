/* SPDX-License-Identifier: Apache-2.0 */
#include "common/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"

#define BACKLOG 1024

static int bad(const char *text, const char *want, struct err *err)
{
	return err_set(err, -EINVAL, "address '%.200s': want %s", text, want);
}

static int parse_unix(const char *path, struct listen_addr *out, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (path[0] != '/' || strlen(path) >= sizeof un.sun_path)
		return bad(path, "an absolute path of at most 107 bytes", err);
	strcpy(un.sun_path, path);
	memcpy(&out->addr, &un, sizeof un);
	out->len = sizeof un;
	out->is_unix = out->is_loopback = true;
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof in);
		return ntohl(in.sin_addr.s_addr) >> 24 == 127;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof in6);
		return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
	}
	return false;
}

/* getaddrinfo() takes what strtoul() takes, and cuts it to 16 bits. */
static bool is_port(const char *text)
{
	return strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) &&
	       atoi(text) <= UINT16_MAX;
}

static int parse_tcp(const char *text, struct listen_addr *out, struct err *err)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
					.ai_socktype = SOCK_STREAM };
	const char *colon = strrchr(text, ':');
	struct addrinfo *res = NULL;
	char host[64];
	size_t n;

	if (!colon || colon == text || !colon[1] || !is_port(colon + 1) ||
	    (size_t)(colon - text) >= sizeof host)
		return bad(text, "ADDRESS:PORT with a numeric address", err);
	n = (size_t)(colon - text);
	memcpy(host, text, n);
	host[n] = '\0';
	if (host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = '\0';
	}
	if (getaddrinfo(host, colon + 1, &hints, &res))
		return bad(text, "ADDRESS:PORT with a numeric address", err);
	memcpy(&out->addr, res->ai_addr, res->ai_addrlen);
	out->len = res->ai_addrlen;
	out->is_loopback = is_loopback(res->ai_addr);
	freeaddrinfo(res);
	return 0;
}

int listen_parse(const char *text, struct listen_addr *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	if (!strncmp(text, "unix:", 5))
		return parse_unix(text + 5, out, err);
	if (!strncmp(text, "tcp:", 4))
		return parse_tcp(text + 4, out, err);
	return bad(text, "unix:/path or tcp:addr:port", err);
}

/* A socket on which nobody listens is what a killed service left. */
static int remove_stale(const struct listen_addr *a, const char *path, struct err *err)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "'%s' is there, and is no socket", path);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	if (!connect(fd, (const struct sockaddr *)&a->addr, a->len) || errno == EAGAIN)
		return err_set(err, -EADDRINUSE, "'%s': somebody listens there already", path);
	if (unlink(path) && errno != ENOENT)
		return err_set(err, -errno, "cannot remove '%s': %s", path, strerror(errno));
	return 0;
}

static int bind_unix(int fd, const struct listen_addr *a, struct err *err)
{
	struct sockaddr_un un;
	int rc;

	memcpy(&un, &a->addr, sizeof un);
	rc = paths_make_parents(un.sun_path, err);
	if (!rc)
		rc = remove_stale(a, un.sun_path, err);
	if (rc)
		return rc;
	/* The mode before bind() is the one that the socket is born with, less the umask. */
	if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&a->addr, a->len) ||
	    chmod(un.sun_path, 0600))
		return err_set(err, -errno, "cannot bind '%s': %s", un.sun_path, strerror(errno));
	return 0;
}

static int bind_tcp(int fd, const struct listen_addr *a, struct err *err)
{
	const int one = 1;
	char host[INET6_ADDRSTRLEN] = "?", port[8] = "?";

	getnameinfo((const struct sockaddr *)&a->addr, a->len, host, sizeof host, port, sizeof port,
		    NI_NUMERICHOST | NI_NUMERICSERV);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    bind(fd, (const struct sockaddr *)&a->addr, a->len))
		return err_set(err, -errno, "cannot bind %s port %s: %s", host, port,
			       strerror(errno));
	return 0;
}

int listen_open(const struct listen_addr *a, struct err *err)
{
	AUTO_FD int fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	rc = a->is_unix ? bind_unix(fd, a, err) : bind_tcp(fd, a, err);
	if (rc)
		return rc;
	if (listen(fd, BACKLOG))
		return err_set(err, -errno, "listen: %s", strerror(errno));
	return take_fd(&fd);
}

unsigned listen_port(int fd)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in in;
	socklen_t len = sizeof ss;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return 0;
	memcpy(&in, &ss, sizeof in); /* the port lies at the same place in both */
	return ntohs(in.sin_port);
}
