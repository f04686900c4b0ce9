/* SPDX-License-Identifier: Apache-2.0 */
/* persifs-ctl - asks and steers a running mount through its control socket */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/ctlsock.h"
#include "tools/ctl/ctl.h"

struct command {
	const char *name, *args, *help;
	int (*run)(int argc, char **argv);
};

int ctl_complain(const char *fmt, ...)
{
	va_list ap;

	fputs("persifs-ctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CTL_FAILED;
}

int ctl_usage(void)
{
	fputs("persifs-ctl: wrong usage, try 'persifs-ctl --help'\n", stderr);
	return CTL_USAGE;
}

int ctl_ask_take(const char *dir, json_t *request, json_t **reply)
{
	struct err err = { "" };
	AUTO_FD int fd = ctlsock_connect(dir, &err);
	int rc = fd;

	if (fd >= 0) {
		rc = ctlsock_call(fd, request, ctlsock_show_progress, NULL, reply, &err);
		ctlsock_show_end();
	}
	json_decref(request);
	return rc < 0 ? ctl_complain("%s", err.text) : 0;
}

int ctl_get_stat(const char *dir, json_t **stat)
{
	json_t *reply = NULL;
	int rc = ctl_ask_take(dir, json_pack("{s:s}", "cmd", "stat"), &reply);

	if (rc)
		return rc;
	*stat = json_incref(json_object_get(reply, "stat"));
	json_decref(reply);
	if (json_is_object(*stat))
		return 0;
	json_decref(*stat);
	return ctl_complain("the daemon's answer has no statistics");
}

static int cmd_drain(int argc, char **argv)
{
	if (argc != 2)
		return ctl_usage();
	return ctl_ask_take(argv[1], json_pack("{s:s}", "cmd", "drain"), NULL);
}

static int cmd_ping(int argc, char **argv)
{
	if (argc != 2)
		return ctl_usage();
	return ctl_ask_take(argv[1], json_pack("{s:s}", "cmd", "ping"), NULL);
}

static int tune_one(const char *dir, char *assignment)
{
	char *eq = strchr(assignment, '=');
	json_t *request;

	if (!eq || eq == assignment)
		return ctl_complain("'%s' is not option=value", assignment);
	*eq = '\0';
	request =
		json_pack("{s:s, s:s, s:s}", "cmd", "tune", "option", assignment, "value", eq + 1);
	if (!request)
		return ctl_complain("'%s' is not UTF-8 text", eq + 1);
	return ctl_ask_take(dir, request, NULL);
}

static int cmd_tune(int argc, char **argv)
{
	int rc = 0;

	if (argc < 3)
		return ctl_usage();
	for (int i = 2; i < argc && !rc; i++)
		rc = tune_one(argv[1], argv[i]);
	return rc;
}

static const struct command commands[] = {
	{ "stat", "DIR [--json]", "state, counters and options of the mount at DIR", cmd_stat },
	{ "top", "DIR [SECONDS [COUNT]]", "what changes, each SECONDS (1), COUNT times", cmd_top },
	{ "drain", "DIR", "write all dirty data to the backend, then return", cmd_drain },
	{ "tune", "DIR OPTION=VALUE...", "change options that can be tuned while mounted",
	  cmd_tune },
	{ "ping", "DIR", "succeed when the daemon answers", cmd_ping },
};

static int print_help(void)
{
	puts("usage: persifs-ctl COMMAND DIR ...\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-5s %-22s %s\n", commands[i].name, commands[i].args, commands[i].help);
	puts("\n  --help, --version\n\n"
	     "Exit status: 0 done, 1 failed (one line on stderr tells why), 2 wrong usage.");
	return 0;
}

/* Whatever was printed counts only once it is out: a full disk is a failure. */
static int finish(int rc)
{
	if ((fflush(stdout) || ferror(stdout)) && !rc)
		return ctl_complain("cannot write the output: %s", strerror(errno));
	return rc;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
		return finish(print_help());
	if (!strcmp(name, "--version")) {
		puts("persifs-ctl " PERSIFS_VERSION);
		return finish(0);
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(name, commands[i].name))
			return finish(commands[i].run(argc - 1, argv + 1));
	return ctl_usage();
}
