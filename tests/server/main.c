/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - nfsfault, an NFSv3 server that fails on purpose; see server.h
 *
 * An export in memory, one thread, faults by command or by chance. With the same
 * seed and the same calls in the same order the same faults come. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/server/server.h"

#define EVENTS 64

static volatile sig_atomic_t ended;

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void server_log(struct server *srv, const char *fmt, ...)
{
	va_list ap;

	if (!srv->log)
		return;
	fprintf(srv->log, "%lu ", now_ms());
	va_start(ap, fmt);
	vfprintf(srv->log, fmt, ap);
	va_end(ap);
	fputc('\n', srv->log);
}

void server_watch(struct server *srv, int fd, struct source *src, uint32_t events, bool add)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	epoll_ctl(srv->ep, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev);
}

/* ---- options ---------------------------------------------------------------------- */

static const char usage[] =
	"usage: nfsfault --port N [options]\n"
	"       nfsfault --say PATH COMMAND\n"
	"  --port N            0: any; \"ready PORT\" on stdout tells\n"
	"  --port2 N           a second node with the same files and another verifier\n"
	"  --nodes 2           the same, on any port; \"ready PORT PORT2\"\n"
	"  --address A         127.0.0.1, or another, or one of IPv6; --address2 A: node 2's\n"
	"  --ctl PATH          the control socket, for --say\n"
	"  --seed S            of all chance\n"
	"  --faults P[:N]      none, lossless, hostile, or names by comma; N of 1000 calls\n"
	"  --size-limit BYTES  of all files; beyond: NOSPC\n"
	"  --cookies high      cookies of listings have the top bit\n"
	"  --no-drc            no duplicate request cache\n"
	"  --time-grain NS     what times are rounded down to\n"
	"  --pidfile PATH, --log PATH, --help\n"
	"commands: fault NAME [count=N] [permille=N] [proc=NAME] [at=BYTE], profile P[:N],\n"
	"  clear, restart [keep-drc], node K down|up, stats, check, dump PATH,\n"
	"  cat [stable] PATH, limit BYTES, quota UID BYTES, quit,\n"
	"  export remove|restore|PATH, handles root|all, grain NS,\n"
	"  snapshot PATH\n"
	"faults:\n";

static int help(FILE *out, int rc)
{
	fputs(usage, out);
	faults_list(out);
	return rc;
}

static const struct option options[] = {
	{ "port", 1, NULL, 'p' },    { "port2", 1, NULL, '2' },    { "nodes", 1, NULL, 'n' },
	{ "address", 1, NULL, 'a' }, { "address2", 1, NULL, 'A' }, { "ctl", 1, NULL, 'c' },
	{ "seed", 1, NULL, 's' },    { "faults", 1, NULL, 'f' },   { "size-limit", 1, NULL, 'l' },
	{ "cookies", 1, NULL, 'k' }, { "no-drc", 0, NULL, 'd' },   { "time-grain", 1, NULL, 'g' },
	{ "pidfile", 1, NULL, 'i' }, { "log", 1, NULL, 'o' },      { "help", 0, NULL, 'h' },
	{ "say", 1, NULL, 'y' },     { NULL, 0, NULL, 0 },
};

struct conf {
	const char *ctl, *faults, *pidfile, *say;
	uint64_t seed;
	bool port, help;
};

static bool parse_option(struct server *srv, struct conf *conf, int o, const char *arg)
{
	uint64_t n = arg ? strtoull(arg, NULL, 0) : 0;

	switch (o) {
	case 'p':
		srv->node[0].port = (uint16_t)n;
		conf->port = true;
		break;
	case '2':
		srv->node[1].port = (uint16_t)n;
		srv->nnodes = 2;
		break;
	case 'n':
		srv->nnodes = (unsigned)n;
		return n == 1 || n == 2;
	case 'a':
		srv->node[0].address = srv->node[1].address = arg;
		break;
	case 'A':
		srv->node[1].address = arg;
		srv->nnodes = 2;
		break;
	case 'c':
		conf->ctl = arg;
		break;
	case 's':
		conf->seed = n;
		break;
	case 'f':
		conf->faults = arg;
		break;
	case 'l':
		srv->store.limit = n;
		break;
	case 'k':
		srv->cookie_bits = strcmp(arg, "high") == 0 ? 1ULL << 63 : 0;
		break;
	case 'd':
		srv->drc_on = false;
		break;
	case 'g':
		srv->store.grain_ns = n;
		break;
	case 'i':
		conf->pidfile = arg;
		break;
	case 'o':
		srv->log = fopen(arg, "w");
		return srv->log;
	case 'y':
		conf->say = arg;
		break;
	case 'h':
		conf->help = true;
		break;
	default:
		return false;
	}
	return true;
}

/* ---- the loop ----------------------------------------------------------------------- */

static void on_signal(int sig)
{
	(void)sig;
	ended = 1;
}

static int sooner(int a, int b)
{
	return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static void loop(struct server *srv)
{
	struct epoll_event ev[EVENTS];

	while (!srv->stop && !ended) {
		int wait = sooner(nodes_timers(srv), conns_timers(srv)), n;

		conns_reap(srv);
		n = epoll_wait(srv->ep, ev, EVENTS, wait);
		for (int i = 0; i < n; i++) {
			struct source *src = ev[i].data.ptr;

			src->event(src, ev[i].events);
		}
		conns_reap(srv);
		if (srv->log)
			fflush(srv->log);
	}
}

static int start(struct server *srv, const struct conf *conf)
{
	const char *wrong;

	faults_init(&srv->faults, conf->seed);
	wrong = conf->faults ? faults_profile(&srv->faults, conf->faults) : NULL;
	if (wrong) {
		fprintf(stderr, "nfsfault: --faults %s: %s\n", conf->faults, wrong);
		return 2;
	}
	store_init(&srv->store);
	srv->ep = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned n = 0; n < srv->nnodes; n++) {
		int rc = node_up(&srv->node[n]);

		if (rc) {
			fprintf(stderr, "nfsfault: %s port %u: %s\n", srv->node[n].address,
				srv->node[n].port, strerror(-rc));
			return 1;
		}
	}
	if (conf->ctl && ctl_listen(srv, conf->ctl)) {
		perror(conf->ctl);
		return 1;
	}
	return 0;
}

static int tell_ready(const struct server *srv, const struct conf *conf)
{
	FILE *f = conf->pidfile ? fopen(conf->pidfile, "w") : NULL;

	if (conf->pidfile && !f) {
		perror(conf->pidfile);
		return 1;
	}
	if (f) {
		fprintf(f, "%d\n", (int)getpid());
		fclose(f);
	}
	printf("ready %u", srv->node[0].port);
	if (srv->nnodes > 1)
		printf(" %u", srv->node[1].port);
	putchar('\n');
	fflush(stdout);
	return 0;
}

static void finish(struct server *srv)
{
	conns_close(srv, NULL);
	conns_reap(srv);
	drc_clear(srv);
	store_done(&srv->store);
	if (srv->log)
		fclose(srv->log);
}

int main(int argc, char **argv)
{
	static struct server srv = { .drc_on = true, .nnodes = 1 };
	struct sigaction act = { .sa_handler = on_signal };
	struct conf conf = { .seed = 1 };
	int rc;

	for (unsigned n = 0; n < NODES_MAX; n++)
		srv.node[n] = (struct node){ .srv = &srv,
					     .index = n,
					     .fd = -1,
					     .address = "127.0.0.1",
					     .verf = 0x7665726600000001ULL + n };
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!parse_option(&srv, &conf, o, optarg))
			return help(stderr, 2);
	if (conf.help)
		return help(stdout, 0);
	if (conf.say && optind == argc - 1)
		return ctl_say(conf.say, argv[optind]);
	if (!conf.port || conf.say || optind != argc)
		return help(stderr, 2);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	rc = start(&srv, &conf);
	if (!rc)
		rc = tell_ready(&srv, &conf);
	if (!rc)
		loop(&srv);
	finish(&srv);
	return rc;
}
