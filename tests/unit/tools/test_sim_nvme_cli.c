/* SPDX-License-Identifier: Apache-2.0 */
/* persifs-sim nvme as a process: command line, control route, and what SIGKILL leaves in its file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "tests/unit/tools/nvme_host.h"
#include "tests/unit/tools/sim_client.h"
#include "tools/sim/nvme_cli.h"

#define ARGS_MAX 24
#define TEXT_MAX 4096

static struct {
	pid_t pid;
	FILE *says; /* its standard output and error */
	unsigned port, second;
	struct client c;
	struct host a, io;
	char file[64];
} fx;

/* Starts it with these arguments, NULL-ended. */
static void start(const char *const *args)
{
	char *argv[ARGS_MAX] = { (char *)"nvme" };
	int argc = 1, p[2];

	while (args[argc - 1]) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	assert_int_equal(pipe(p), 0);
	fflush(NULL);
	fx.pid = fork();
	assert_true(fx.pid >= 0);
	if (!fx.pid) {
		dup2(p[1], 1);
		dup2(p[1], 2);
		close(p[0]);
		close(p[1]);
		argc = nvme_cli(argc, argv);
		fflush(NULL);
		_exit(argc);
	}
	close(p[1]);
	fx.says = fdopen(p[0], "r");
	assert_non_null(fx.says);
}

/* The exit status, or 1000 and the signal. */
static int ended(int signal)
{
	int status = 0;

	if (signal)
		kill(fx.pid, signal);
	assert_int_equal(waitpid(fx.pid, &status, 0), fx.pid);
	fx.pid = 0;
	fclose(fx.says);
	fx.says = NULL;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static unsigned read_port(const char *before)
{
	char line[512], *at;

	assert_non_null(fgets(line, sizeof line, fx.says));
	at = strstr(line, before);
	if (!at)
		fail_msg("it says: %s", line);
	return (unsigned)atoi(at ? at + strlen(before) : "");
}

static int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	fx.a.fd = fx.io.fd = -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(&fx.a);
	host_close(&fx.io);
	if (fx.pid)
		ended(SIGKILL);
	if (*fx.file)
		unlink(fx.file);
	return 0;
}

static void both(void)
{
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
}

static struct reply call(const char *method, const char *path, const char *body)
{
	return client_call(&fx.c, method, path, body);
}

static void expect(const char *method, const char *path, const char *body, long status)
{
	struct reply r = call(method, path, body);

	if (r.status != status)
		fail_msg("%s %s %s: %ld, %s", method, path, body, r.status, r.body);
	client_done(&r);
}

static long long counter(const char *name)
{
	struct reply r = call("GET", "/_sim", NULL);
	const json_t *n = json_object_get(r.json, name);
	long long v = json_integer_value(n);

	assert_true(json_is_integer(n));
	client_done(&r);
	return v;
}

static void the_control_route_steers_it(void **state)
{
	static const char *const args[] = {
		"--listen",  "tcp:127.0.0.1:0",           "--listen",  "127.0.0.1:0",
		"--size=1m", "--volatile-cache",          "--control", "tcp:127.0.0.1:0",
		"--fault",   "status op=read code=0x281", "--mdts",    "5",
		NULL
	};
	uint8_t buf[512], page[4096];

	(void)state;
	start(args);
	fx.c.port = read_port("control on port ");
	fx.port = read_port("nvme-tcp://127.0.0.1:");
	fx.second = read_port("nvme-tcp://127.0.0.1:");
	both();
	assert_int_equal(host_identify(&fx.a, 1, 0, page), 0);
	assert_int_equal(page[77], 5);
	assert_int_equal(page[525], 1);
	assert_int_equal(host_read(&fx.io, 0, 1, buf, 512), 0x281);
	assert_int_equal(host_read(&fx.io, 0, 1, buf, 512), 0);
	assert_int_equal(counter("reads"), 2);
	expect("POST", "/_sim/faults", "{\"fault\": \"status op=flush code=0x006 times=0\"}", 200);
	assert_int_equal(host_flush(&fx.io), 0x006);
	expect("DELETE", "/_sim/faults", NULL, 200);
	assert_int_equal(host_flush(&fx.io), 0);
	expect("POST", "/_sim/faults", "{\"fault\": \"dorp\"}", 400);
	expect("POST", "/_sim/faults", "{\"fault\": 1}", 400);
	expect("POST", "/_sim/faults", "no JSON", 400);
	expect("GET", "/_sim/elsewhere", NULL, 404);
	assert_int_equal(host_write(&fx.io, 0, 1, 0, page, 512), 0);
	expect("POST", "/_sim/nvme/kill", "{}", 200);
	assert_int_equal(host_pdu(&fx.io), H_EOF);
	assert_int_equal(counter("lost_blocks"), 1);
	host_close(&fx.a);
	host_close(&fx.io);
	expect("POST", "/_sim/nvme/revive", "{}", 200);
	both();
	assert_int_equal(ended(SIGTERM), 0);
}

static void sigkill_leaves_what_was_flushed(void **state)
{
	const char *const args[] = { "--size", "1m", "--volatile-cache", "--file", fx.file, NULL };
	uint8_t one[512], two[512], buf[1024];

	(void)state;
	snprintf(fx.file, sizeof fx.file, "/tmp/persifs-nvme.XXXXXX");
	close(mkstemp(fx.file));
	memset(one, 1, sizeof one);
	memset(two, 2, sizeof two);
	start(args);
	fx.port = read_port("nvme-tcp://127.0.0.1:");
	both();
	assert_int_equal(host_write(&fx.io, 0, 1, 0, one, 512), 0);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(host_write(&fx.io, 1, 1, 0, two, 512), 0);
	assert_int_equal(ended(SIGKILL), 1000 + SIGKILL);
	host_close(&fx.a);
	host_close(&fx.io);
	start(args);
	fx.port = read_port("nvme-tcp://127.0.0.1:");
	both();
	assert_int_equal(host_read(&fx.io, 0, 2, buf, 1024), 0);
	assert_memory_equal(buf, one, 512);
	assert_int_equal(buf[512], 0);
	/* And SIGTERM writes what it has. */
	assert_int_equal(host_write(&fx.io, 1, 1, 0, two, 512), 0);
	assert_int_equal(ended(SIGTERM), 0);
	host_close(&fx.a);
	host_close(&fx.io);
	start(args);
	fx.port = read_port("nvme-tcp://127.0.0.1:");
	both();
	assert_int_equal(host_read(&fx.io, 1, 1, buf, 512), 0);
	assert_memory_equal(buf, two, 512);
}

static void wrong_command_lines_are_refused(void **state)
{
	static const struct {
		const char *args[4];
		int status;
		const char *says;
	} rows[] = { { { "here" }, 2, "'here'" },
		     { { "--size" }, 2, "--size wants a value" },
		     { { "--size=1" }, 2, "size=1" },
		     { { "--shape=round" }, 2, "shape" },
		     { { "--block-size", "1024" }, 1, "512 or 4096" },
		     { { "--fault", "dorp" }, 1, "'dorp'" },
		     { { "--listen", "somewhere:1" }, 1, "numeric" },
		     { { "--control=nowhere" }, 1, "nowhere" },
		     { { "--file", "/proc/none/file" }, 1, "/proc/none/file" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[TEXT_MAX] = "";

		start(rows[i].args);
		if (!fgets(text, sizeof text, fx.says) || !strstr(text, rows[i].says))
			fail_msg("row %zu: '%s'", i, text);
		assert_int_equal(ended(0), rows[i].status);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_control_route_steers_it),
		T(sigkill_leaves_what_was_flushed),
		T(wrong_command_lines_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
