/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/daemons.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/ctlsock.h"

#define DRAIN_LOOK_MS 200 /* how long a drain is not looked after */

static uint64_t now_ms(void)
{
	return clock_us() / 1000;
}

static int connect_to(const char *point, unsigned limit_ms, struct err *err)
{
	size_t n = strlen(DAEMON_AT_SOCKET);

	return strncmp(point, DAEMON_AT_SOCKET, n) ?
		       ctlsock_connect_within(point, limit_ms, err) :
		       ctlsock_connect_path_within(point + n, limit_ms, err);
}

/* request is taken. */
static int ask_take(const char *point, json_t *request, json_t **reply, struct err *err)
{
	AUTO_FD int fd = connect_to(point, DAEMONS_ASK_MS, err);
	int rc = fd < 0 ? fd : ctlsock_call(fd, request, NULL, NULL, reply, err);

	json_decref(request);
	return rc;
}

int daemon_ping(const char *point, struct err *err)
{
	return ask_take(point, json_pack("{s:s}", "cmd", "ping"), NULL, err);
}

int daemon_tune(const char *point, const char *option, const char *value, struct err *err)
{
	return ask_take(point,
			json_pack("{s:s, s:s, s:s}", "cmd", "tune", "option", option, "value",
				  value),
			NULL, err);
}

/* --- drain ----------------------------------------------------------------- */

/* The drain runs in a thread of its own; who waits for it ends it by shutting the
 * socket down, however silent or talkative the daemon is. */
struct drain {
	int fd, over_fd; /* over_fd: an eventfd */
	int rc;
	struct err err;
};

static void *drain_main(void *arg)
{
	struct drain *d = arg;
	json_t *request = json_pack("{s:s}", "cmd", "drain");

	pthread_setname_np(pthread_self(), "driver-drain");
	d->rc = request ? ctlsock_call(d->fd, request, NULL, NULL, NULL, &d->err) : -ENOMEM;
	json_decref(request);
	eventfd_write(d->over_fd, 1);
	return NULL;
}

/* 0 when the drain is over, whatever came of it. */
static int wait_over(const struct drain *d, unsigned limit_ms, const struct cancel *cancel,
		     struct err *err)
{
	uint64_t deadline = now_ms() + limit_ms;

	for (;;) {
		struct pollfd p = { .fd = d->over_fd, .events = POLLIN };
		uint64_t now = now_ms(), left = now < deadline ? deadline - now : 0;

		if (poll(&p, 1, (int)(left < DRAIN_LOOK_MS ? left : DRAIN_LOOK_MS)) > 0)
			return 0;
		if (!left)
			return err_set(err, -ETIMEDOUT, "not everything is written after %u ms",
				       limit_ms);
		if (cancel && !cancel->wanted(cancel->arg))
			return err_set(err, -ECANCELED, "the wait for writing was cut short");
	}
}

int daemon_drain(const char *point, unsigned limit_ms, const struct cancel *cancel, struct err *err)
{
	AUTO_FD int fd =
		connect_to(point, limit_ms < DAEMONS_ASK_MS ? limit_ms : DAEMONS_ASK_MS, err);
	AUTO_FD int over_fd = eventfd(0, EFD_CLOEXEC);
	const struct timeval for_ever = { 0 };
	struct drain d = { .fd = fd, .over_fd = over_fd };
	pthread_t thread;
	int rc;

	if (fd < 0 || over_fd < 0)
		return fd < 0 ? fd : err_set(err, -EMFILE, "no descriptor is left");
	/* The waiting is limited here, so that a silence of the daemon is none of its own. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever);
	if (pthread_create(&thread, NULL, drain_main, &d))
		return err_set(err, -EAGAIN, "cannot start a thread");
	rc = wait_over(&d, limit_ms, cancel, err);
	if (rc)
		shutdown(fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	if (!rc && d.rc && err)
		*err = d.err;
	return rc ? rc : d.rc;
}

/* --- stat ------------------------------------------------------------------ */

json_t *daemon_stat(const char *point)
{
	json_t *reply = NULL, *stat;

	if (ask_take(point, json_pack("{s:s}", "cmd", "stat"), &reply, NULL))
		return NULL;
	stat = json_incref(json_object_get(reply, "stat"));
	json_decref(reply);
	if (json_is_object(stat))
		return stat;
	json_decref(stat);
	return NULL;
}

void daemon_key(const json_t *stat, char *buf, size_t cap)
{
	const char *volume = json_string_value(json_object_get(stat, "volume"));

	if (volume)
		snprintf(buf, cap, "%s", volume);
	else
		snprintf(buf, cap, "pid-%" JSON_INTEGER_FORMAT,
			 json_integer_value(json_object_get(stat, "worker_pid")));
}
