/* SPDX-License-Identifier: Apache-2.0 */
/* A log daemon that does not read, that goes away, and that comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

static struct {
	char dir[64], path[96];
	int fd;
	unsigned opens;
} d;

static void daemon_up(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	d.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	snprintf(sa.sun_path, sizeof sa.sun_path, "%s", d.path);
	unlink(d.path);
	assert_int_equal(bind(d.fd, (struct sockaddr *)&sa, sizeof sa), 0);
}

static int open_log(void *arg)
{
	(void)arg;
	d.opens++;
	return log_connect(d.path);
}

static bool arrives(const char *text)
{
	char buf[2048];
	ssize_t n = recv(d.fd, buf, sizeof buf - 1, 0);

	if (n < 0)
		return false;
	buf[n] = '\0';
	return strstr(buf, text) != NULL;
}

static void drop_all(void)
{
	char buf[2048];

	while (recv(d.fd, buf, sizeof buf, 0) >= 0)
		;
}

static void a_message_arrives_with_priority_and_name(void **state)
{
	(void)state;
	log_warn("file=%d", 12);
	assert_true(arrives("<28>unit["));
	log_error("disk=%s", "gone");
	assert_true(arrives("]: disk=gone"));
	log_debug("not of interest");
	assert_false(arrives(""));
}

/* Nobody reads: this would wait for ever. */
static void a_full_daemon_holds_up_nobody(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++)
		log_warn("message %d", i);
	drop_all();
	log_warn("after");
	assert_true(arrives("after"));
}

static void a_restarted_daemon_is_found_again_and_a_gone_one_is_not_asked_for_always(void **state)
{
	unsigned opens = d.opens;

	(void)state;
	close(d.fd);
	daemon_up();
	log_warn("back");
	assert_true(arrives("back"));
	assert_int_equal(d.opens, opens + 1);
	close(d.fd);
	unlink(d.path);
	for (int i = 0; i < 100; i++)
		log_warn("nobody");
	assert_int_equal(d.opens, opens + 1); /* the next try comes after a second */
	daemon_up();
}

static int up(void **state)
{
	(void)state;
	snprintf(d.dir, sizeof d.dir, "/tmp/persifs-log.XXXXXX");
	if (!mkdtemp(d.dir))
		return -1;
	snprintf(d.path, sizeof d.path, "%s/log", d.dir);
	daemon_up();
	log_to_syslog("unit");
	log_reopen_by(open_log, NULL);
	return 0;
}

static int down(void **state)
{
	(void)state;
	close(d.fd);
	unlink(d.path);
	return rmdir(d.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_arrives_with_priority_and_name),
		cmocka_unit_test(a_full_daemon_holds_up_nobody),
		cmocka_unit_test(
			a_restarted_daemon_is_found_again_and_a_gone_one_is_not_asked_for_always),
	};

	return cmocka_run_group_tests(tests, up, down);
}
