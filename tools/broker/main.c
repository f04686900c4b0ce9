/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - persifs-broker: the service broker
 *
 * Start: options, configuration, key, store, workers, services, the word on stdout. End: the same
 * backwards; operations that run are left to their lease. SIGHUP reads the configuration anew. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "tools/broker/service.h"
#include "tools/broker/sweep.h"

#define EXIT_USAGE 2
#define STOP_MS 2000 /* for requests and provider calls that run at SIGTERM */
#define PASSWORD_MAX 1024

static int complain(int status, const char *text)
{
	fprintf(stderr, "persifs-broker: %s\n", text);
	return status;
}

/* --- command line ---------------------------------------------------------- */

enum {
	O_CONFIG = 256,
	O_CHECK,
	O_LISTEN,
	O_ADMIN,
	O_STORE,
	O_KEY_FILE,
	O_FIX,
	O_JSON,
	O_GRACE,
	O_VERSION
};

static const struct option longs[] = { { "config", required_argument, NULL, O_CONFIG },
				       { "check-config", no_argument, NULL, O_CHECK },
				       { "listen", required_argument, NULL, O_LISTEN },
				       { "admin", required_argument, NULL, O_ADMIN },
				       { "store", required_argument, NULL, O_STORE },
				       { "key-file", required_argument, NULL, O_KEY_FILE },
				       { "fix", no_argument, NULL, O_FIX },
				       { "json", no_argument, NULL, O_JSON },
				       { "grace", required_argument, NULL, O_GRACE },
				       { "help", no_argument, NULL, 'h' },
				       { "version", no_argument, NULL, O_VERSION },
				       { 0 } };

struct cli {
	int argc;
	char **argv;
	const char *file, *command, *argument;
	bool check, json;
	struct {
		uint64_t grace_ms;
	} times;
	struct sweep_options sweep;
};

static const struct opt_def grace_table[] = {
	{ "grace", OPT_TIME, "seconds", 0, 0, UINT64_MAX / 4, "1h", NULL, "age of an orphan",
	  false },
	{ 0 },
};

static void usage(void)
{
	puts("usage: persifs-broker --config FILE [OPTION...]\n"
	     "       persifs-broker sweep --config FILE [--fix] [--json] [--grace TIME]\n"
	     "       persifs-broker reseal --config FILE\n"
	     "       persifs-broker hash-password < FILE\n"
	     "       persifs-broker make-key FILE\n"
	     "\n"
	     "Serves the Open Service Broker API for volumes. Runs in the foreground.\n"
	     "\n"
	     "  --config FILE           configuration (JSON), see persifs-broker.json(5)\n"
	     "  --check-config          say what is wrong with it, start nothing\n"
	     "  --listen ADDRESS        tcp:addr:port or unix:/path; may be repeated; default\n"
	     "                          tcp:127.0.0.1:8999\n"
	     "  --admin ADDR:PORT       /health and /metrics; default off\n"
	     "  --store URI             sqlite:/path or postgresql://...\n"
	     "  --key-file FILE         key that secrets in the store are sealed with\n"
	     "  --fix                   sweep: remove volumes that nobody owns\n"
	     "  --json                  sweep: print JSON\n"
	     "  --grace TIME            sweep: leave younger ones alone; default 1h\n"
	     "  --help, --version\n"
	     "\n"
	     "SIGHUP reads the configuration anew. An option wins over the same key of the file.\n"
	     "Keys of the file, beside listen, users, providers and services:");
	opt_print_help(bconfig_table, stdout);
	puts("\nKeys of a plan, beside those of its provider, mount_defaults, bind_options,\n"
	     "metadata and maintenance_info:");
	opt_print_help(bconfig_plan_table, stdout);
}

static int set(struct bconfig *c, const char *key, const char *text, struct err *err)
{
	return opt_set(bconfig_table, c, key, text, err);
}

static int apply(struct bconfig *c, int option, const char *arg, bool *listens, struct err *err)
{
	switch (option) {
	case O_LISTEN:
		if (!*listens)
			bconfig_clear_listen(c);
		*listens = true;
		return bconfig_add_listen(c, arg, err);
	case O_ADMIN:
		return set(c, "admin", arg, err);
	case O_STORE:
		return set(c, "store", arg, err);
	case O_KEY_FILE:
		return set(c, "key_file", arg, err);
	default:
		return 0;
	}
}

/* The file, then the options that override it; whole and checked. */
static int configure(const struct cli *cli, struct bconfig **out, struct err *err)
{
	struct bconfig *c = bconfig_new();
	bool listens = false;
	int rc = c ? 0 : err_set(err, -ENOMEM, "out of memory"), ch;

	if (!rc && cli->file)
		rc = bconfig_load(c, cli->file, err);
	optind = 1;
	while (!rc && (ch = getopt_long(cli->argc, cli->argv, "h", longs, NULL)) >= 0)
		rc = apply(c, ch, optarg, &listens, err);
	if (!rc)
		rc = bconfig_check(c, err);
	if (rc)
		bconfig_put(c);
	else
		*out = c;
	return rc;
}

static int parse_option(struct cli *cli, int ch, struct err *err)
{
	switch (ch) {
	case O_CONFIG:
		cli->file = optarg;
		break;
	case O_CHECK:
		cli->check = true;
		break;
	case O_FIX:
		cli->sweep.fix = true;
		break;
	case O_JSON:
		cli->json = true;
		break;
	case O_GRACE:
		return opt_set(grace_table, &cli->times, "grace", optarg, err);
	default:
		break;
	}
	return 0;
}

/* -1: go on; else the exit status. */
static int parse(struct cli *cli)
{
	struct err err = { "" };
	int ch;

	cli->times.grace_ms = SWEEP_GRACE_S * 1000ULL;
	while ((ch = getopt_long(cli->argc, cli->argv, "h", longs, NULL)) >= 0) {
		if (ch == '?')
			return EXIT_USAGE;
		if (ch == 'h')
			return usage(), 0;
		if (ch == O_VERSION)
			return puts("persifs-broker " PERSIFS_VERSION) < 0;
		if (parse_option(cli, ch, &err))
			return complain(EXIT_USAGE, err.text);
	}
	cli->sweep.grace_s = cli->times.grace_ms / 1000;
	if (optind < cli->argc)
		cli->command = cli->argv[optind++];
	if (optind < cli->argc)
		cli->argument = cli->argv[optind++];
	return optind < cli->argc ? complain(EXIT_USAGE, "too many arguments, see --help") : -1;
}

/* --- small commands -------------------------------------------------------- */

static int hash_password(void)
{
	char password[PASSWORD_MAX], hash[crypto_pwhash_STRBYTES];
	bool ok;

	if (isatty(STDIN_FILENO))
		fputs("password (it is shown): ", stderr);
	if (!fgets(password, sizeof password, stdin))
		return complain(EXIT_USAGE, "hash-password: want a password on standard input");
	password[strcspn(password, "\n")] = '\0';
	if (!*password)
		return complain(EXIT_USAGE, "hash-password: the password is empty");
	ok = sodium_init() >= 0 && auth_hash(password, hash);
	explicit_bzero(password, sizeof password);
	return ok ? puts(hash) < 0 : complain(1, "out of memory");
}

static int make_key(const char *file)
{
	struct err err = { "" };

	if (!file)
		return complain(EXIT_USAGE, "make-key: want the name of the file");
	if (paths_make_parents(file, &err) || seal_make_key(file, &err))
		return complain(1, err.text);
	return 0;
}

/* --- the process ----------------------------------------------------------- */

struct process {
	struct cli cli;
	struct broker b;
	struct bservices services;
	struct bconfig *at_start; /* a reference: what holds until a restart */
	bool has_broker;
	int sig_fd;
};

static int open_store(struct process *p, const struct bconfig *c, struct err *err)
{
	int rc = seal_open(c->key_file, &p->b.seal, err);

	if (!rc && !strncmp(c->store, "sqlite:", 7) && c->store[7] == '/')
		rc = paths_make_parents(c->store + 7, err);
	return rc ? rc : store_open(c->store, p->b.seal, &p->b.store, err);
}

static void close_store(struct process *p)
{
	store_close(p->b.store);
	seal_close(p->b.seal);
}

static int run_sweep(struct process *p, const struct bconfig *c)
{
	struct err err = { "" };
	json_t *found = NULL;
	int status;

	if (open_store(p, c, &err) || sweep(c, p->b.store, &p->cli.sweep, &found, &err)) {
		close_store(p);
		return complain(1, err.text);
	}
	if (p->cli.json)
		json_dumpf(found, stdout, JSON_INDENT(1));
	else
		sweep_print(stdout, found);
	if (p->cli.json)
		putchar('\n');
	status = sweep_is_clean(found) ? 0 : 1;
	json_decref(found);
	close_store(p);
	return status;
}

static int run_reseal(struct process *p, const struct bconfig *c)
{
	struct err err = { "" };
	uint64_t n = 0;
	int rc = open_store(p, c, &err);

	if (!rc)
		rc = store_reseal(p->b.store, &n, &err);
	close_store(p);
	if (rc)
		return complain(1, err.text);
	return printf("%" PRIu64 " rows sealed anew\n", n) < 0;
}

static int start(struct process *p, struct bconfig *c, struct err *err)
{
	int rc;

	p->has_broker = true;
	rc = broker_init(&p->b, c, err);
	if (!rc)
		rc = open_store(p, c, err);
	if (!rc)
		rc = workers_start(&p->b, &p->b.workers, err);
	p->services.b = &p->b;
	return rc ? rc : bservices_start(&p->services, c, err);
}

/* Requests and calls that do not end soon are left as kill -9 leaves them: rows and leases say
 * how to go on. */
static void stop(struct process *p)
{
	bool ended = bservices_stop(&p->services, p->at_start, STOP_MS);

	if (!workers_stop(p->b.workers, STOP_MS) || !ended)
		_exit(0);
	close_store(p);
	if (p->has_broker)
		broker_done(&p->b);
	bconfig_put(p->at_start);
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void warn_of_restart(const struct bconfig *was, const struct bconfig *is)
{
	bool listen = was->nlisten == is->nlisten;

	for (size_t i = 0; listen && i < is->nlisten; i++)
		listen = same(was->listen[i], is->listen[i]);
	if (!listen || !same(was->admin, is->admin))
		log_warn("broker: listen and admin change with a restart only");
	if (!same(was->store, is->store) || !same(was->key_file, is->key_file))
		log_warn("broker: store and key_file change with a restart only");
	if (was->workers != is->workers || was->lease != is->lease)
		log_warn("broker: workers and lease change with a restart only");
}

static void reload(struct process *p)
{
	struct err err = { "" };
	struct bconfig *c = NULL;

	if (configure(&p->cli, &c, &err) || bservices_reload(&p->services, c, &err)) {
		log_error("broker: the new configuration is not taken: %s", err.text);
		bconfig_put(c);
		return;
	}
	if (audit_open(&p->b.audit, c->audit_log, &err))
		log_error("broker: the audit log goes on in the old file: %s", err.text);
	warn_of_restart(p->at_start, c);
	log_level = (enum log_level)c->log_level;
	broker_set_config(&p->b, c);
	log_info("broker: the new configuration holds");
}

static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void set_limits(void)
{
	struct rlimit files;

	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Keys and passwords are in memory: no core file, and no look at it by others. */
	prctl(PR_SET_DUMPABLE, 0);
}

static void wait_for_end(struct process *p)
{
	struct signalfd_siginfo si;
	ssize_t n;

	while ((n = read(p->sig_fd, &si, sizeof si)) == (ssize_t)sizeof si || errno == EINTR) {
		if (n != (ssize_t)sizeof si)
			continue;
		if (si.ssi_signo != SIGHUP)
			break;
		reload(p);
	}
	log_info("broker: ends by a signal");
}

static int serve(struct process *p, struct bconfig *c)
{
	struct err err = { "" };

	p->at_start = bconfig_get(c);
	p->sig_fd = block_signals();
	set_limits();
	if (start(p, c, &err)) {
		complain(1, err.text);
		stop(p);
		return 1;
	}
	printf("persifs-broker: ready on %s\n", p->services.address);
	fflush(stdout);
	log_info("broker: started, %zu services", c->nservices);
	wait_for_end(p);
	stop(p);
	return 0;
}

static struct process process;

int main(int argc, char **argv)
{
	struct process *p = &process;
	struct cli *cli = &p->cli;
	struct bconfig *c = NULL;
	struct err err = { "" };
	int rc;

	cli->argc = argc;
	cli->argv = argv;
	rc = parse(cli);
	if (rc >= 0)
		return rc;
	if (cli->command && !strcmp(cli->command, "hash-password"))
		return hash_password();
	if (cli->command && !strcmp(cli->command, "make-key"))
		return make_key(cli->argument);
	if (cli->command && strcmp(cli->command, "sweep") && strcmp(cli->command, "reseal"))
		return complain(EXIT_USAGE, "the command is not known, see --help");
	if (!cli->file)
		return complain(EXIT_USAGE, "--config FILE is required, see --help");
	if (configure(cli, &c, &err) || bconfig_check_files(c, &err)) {
		bconfig_put(c);
		return complain(EXIT_USAGE, err.text);
	}
	log_level = (enum log_level)c->log_level;
	if (cli->check)
		rc = puts("the configuration is valid") < 0;
	else if (!cli->command)
		return serve(p, c); /* takes the reference */
	else
		rc = *cli->command == 's' ? run_sweep(p, c) : run_reseal(p, c);
	bconfig_put(c);
	return rc;
}
