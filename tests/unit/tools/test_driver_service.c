/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's services on real sockets, and a fake mounter behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/service.h"

static struct {
	struct fake_mounts mounts;
	struct mountopts_rules rules;
	struct volumes_env env;
	struct metrics metrics;
	struct config config;
	struct service service;
	char dir[64];
	unsigned admin_port;
} fx;

static int save(void *arg, const char *text)
{
	(void)arg;
	(void)text;
	return 0;
}

static unsigned free_port(void)
{
	struct listen_addr a;
	struct err err;
	AUTO_FD int fd = -1;

	assert_int_equal(listen_parse("tcp:127.0.0.1:0", &a, &err), 0);
	fd = listen_open(&a, &err);
	return listen_port(fd);
}

static void configure(void)
{
	char text[128];
	struct err err;

	assert_int_equal(config_defaults(&fx.config), 0);
	snprintf(text, sizeof text, "unix:%s/s", fx.dir);
	assert_int_equal(config_add_listen(&fx.config, text, &err), 0);
	assert_int_equal(config_add_listen(&fx.config, "tcp:127.0.0.1:0", &err), 0);
	fx.admin_port = free_port();
	snprintf(text, sizeof text, "127.0.0.1:%u", fx.admin_port);
	assert_int_equal(opt_set(config_table, &fx.config, "admin", text, &err), 0);
	assert_int_equal(config_check(&fx.config, &err), 0);
}

static int start(void **state)
{
	static const char *const sources[] = { "nfs://" };
	struct err err = { "" };

	(void)state;
	memset(&fx, 0, sizeof fx);
	log_level = LOG_LEVEL_ERROR;
	strcpy(fx.dir, "/tmp/persifs-service.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	setenv("PERSIFS_RUNTIME_DIR", fx.dir, 1);
	configure();
	fake_mounts_init(&fx.mounts);
	fx.rules = (struct mountopts_rules){ .sources = sources, .nsources = 1 };
	fx.env = (struct volumes_env){ .root = "/root",
				       .mounts = &fake_mounts_ops,
				       .mounts_arg = &fx.mounts,
				       .rules = &fx.rules,
				       .save = save };
	fx.service.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fx.service.api.volumes = fx.service.admin.volumes = volumes_new(&fx.env);
	fx.service.api.metrics = fx.service.admin.metrics = &fx.metrics;
	fx.service.api.scope = "local";
	fx.service.admin.root = fx.dir;
	fx.service.admin.state = "/nonexistent/state";
	fx.service.admin.evacuate_ms = 10000;
	if (service_start(&fx.service, &fx.config, &err))
		print_error("%s\n", err.text);
	return *err.text ? -1 : 0;
}

static int stop(void **state)
{
	(void)state;
	volumes_close(fx.service.api.volumes);
	assert_true(service_stop(&fx.service, &fx.config, 10000));
	volumes_free(fx.service.api.volumes);
	fake_mounts_done(&fx.mounts);
	close(fx.service.end_fd);
	config_done(&fx.config);
	return rmdir(fx.dir); /* the socket is gone */
}

static int dial_unix(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s/s", fx.dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
	return fd;
}

static int dial_tcp(unsigned port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	return fd;
}

static void post(int fd, const char *route, const char *body)
{
	char text[1024];
	int n = snprintf(text, sizeof text,
			 "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", route,
			 strlen(body), body);

	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* Until the end of the connection, or of the JSON object. */
static const char *hear(int fd)
{
	static char buf[65536];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, buf + len, sizeof buf - 1 - len, 0)) > 0) {
		len += (size_t)n;
		buf[len] = '\0';
		if (strstr(buf, "\r\n\r\n") && buf[len - 1] == '}')
			break;
	}
	buf[len] = '\0';
	return buf;
}

static const char *ask(int fd, const char *route, const char *body)
{
	const char *text, *head;

	post(fd, route, body);
	text = hear(fd);
	head = strstr(text, "\r\n\r\n");
	return head ? head + 4 : text;
}

#define A "{\"Name\":\"a\",\"Opts\":{\"source\":\"nas:/x\"}}"

static void r1_unix_socket_and_tcp_serve_one_table(void **state)
{
	AUTO_FD int un = dial_unix();
	AUTO_FD int tcp = dial_tcp(fx.service.tcp_port);

	(void)state;
	assert_string_equal(ask(un, "Plugin.Activate", ""), "{\"Implements\":[\"VolumeDriver\"]}");
	assert_string_equal(ask(un, "VolumeDriver.Create", A), "{\"Err\":\"\"}");
	assert_string_equal(ask(tcp, "VolumeDriver.Mount", A),
			    "{\"Mountpoint\":\"/root/a\",\"Err\":\"\"}");
	assert_non_null(strstr(ask(un, "VolumeDriver.Get", A), "\"MountCount\":1"));
	assert_string_equal(ask(tcp, "VolumeDriver.Unmount", A), "{\"Err\":\"\"}");
}

static void r4_status_is_200_with_json_for_every_call(void **state)
{
	AUTO_FD int fd = dial_unix();

	(void)state;
	post(fd, "VolumeDriver.Create", "{");
	assert_non_null(strstr(hear(fd), "HTTP/1.1 200 "));
	post(fd, "VolumeDriver.Mount", "{\"Name\":\"nope\"}");
	assert_non_null(strstr(hear(fd), "Content-Type: application/json"));
	post(fd, "Bogus", "");
	assert_non_null(strstr(hear(fd), "HTTP/1.1 404 "));
}

static void r8_activate_and_list_answer_while_mounts_hang(void **state)
{
	AUTO_FD int fd = dial_unix();
	AUTO_FD int hung = dial_unix();

	(void)state;
	ask(fd, "VolumeDriver.Create", A);
	fake_mounts_hold(&fx.mounts, true);
	post(hung, "VolumeDriver.Mount", A);
	fake_mounts_wait_holding(&fx.mounts, 1);
	assert_string_equal(ask(fd, "Plugin.Activate", ""), "{\"Implements\":[\"VolumeDriver\"]}");
	assert_non_null(strstr(ask(fd, "VolumeDriver.List", ""), "\"Err\":\"\""));
	assert_non_null(strstr(ask(fd, "VolumeDriver.Get", A), "mounting"));
	fake_mounts_hold(&fx.mounts, false);
	assert_non_null(strstr(hear(hung), "/root/a"));
}

static bool nothing_is_mounted(void)
{
	return !fake_mounts_count(&fx.mounts);
}

static void r12_client_that_hangs_up_leaves_no_mount(void **state)
{
	AUTO_FD int fd = dial_unix();
	int hung = dial_tcp(fx.service.tcp_port);

	(void)state;
	ask(fd, "VolumeDriver.Create", A);
	fake_mounts_hold(&fx.mounts, true);
	post(hung, "VolumeDriver.Mount", A);
	fake_mounts_wait_holding(&fx.mounts, 1);
	close(hung);
	/* Waits for its turn, which comes when the other was given up. */
	assert_string_equal(ask(fd, "VolumeDriver.Unmount", A),
			    "{\"Err\":\"Volume a does not exist: it is not mounted\"}");
	assert_true(nothing_is_mounted());
}

static const char *admin(const char *route)
{
	AUTO_FD int fd = dial_tcp(fx.admin_port);

	return ask(fd, route, "");
}

/* A probe that asks for the headers of whatever there is must not take the cell's volumes away. */
static void admin_port_does_nothing_on_head(void **state)
{
	static const char *const methods[] = { "HEAD", "OPTIONS", "DELETE" };
	char text[128], answer[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		AUTO_FD int fd = dial_tcp(fx.admin_port);
		int n = snprintf(text, sizeof text, "%s /evacuate HTTP/1.0\r\n\r\n", methods[i]);
		ssize_t got;

		assert_int_equal(send(fd, text, (size_t)n, 0), n);
		got = recv(fd, answer, sizeof answer - 1, 0);
		assert_true(got > 0);
		answer[got] = '\0';
		assert_non_null(strstr(answer, " 405 "));
	}
	assert_string_equal(admin("ping"), "{\"Err\":\"\"}");
}

static void admin_port_tells_and_evacuates(void **state)
{
	AUTO_FD int fd = dial_unix();
	eventfd_t n;

	(void)state;
	assert_string_equal(admin("ping"), "{\"Err\":\"\"}");
	ask(fd, "VolumeDriver.Create", A);
	ask(fd, "VolumeDriver.Mount", A);
	assert_non_null(strstr(admin("health"), "{\"Name\":\"a\",\"State\":\"mounted\""));
	assert_non_null(strstr(admin("bogus"), "No such route"));
	fx.mounts.leaves_dirty = true;
	assert_string_equal(admin("evacuate"),
			    "{\"Err\":\"volumes with data left to write: a\",\"Dirty\":[\"a\"],"
			    "\"Failed\":[]}");
	assert_true(nothing_is_mounted());
	assert_non_null(strstr(admin("ping"), "evacuated"));
	/* The answer was out before it was told that this is the end; that comes at once after. */
	for (int i = 0; i < 1000 && eventfd_read(fx.service.end_fd, &n); i++)
		usleep(2000);
	assert_true(n > 0);
	assert_non_null(strstr(ask(fd, "VolumeDriver.Create", A), "\"Err\""));
	assert_non_null(strstr(ask(fd, "VolumeDriver.Mount", A), "evacuated"));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r1_unix_socket_and_tcp_serve_one_table),
		TEST(r4_status_is_200_with_json_for_every_call),
		TEST(r8_activate_and_list_answer_while_mounts_hang),
		TEST(r12_client_that_hangs_up_leaves_no_mount),
		TEST(admin_port_does_nothing_on_head),
		TEST(admin_port_tells_and_evacuates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
