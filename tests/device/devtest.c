/* SPDX-License-Identifier: Apache-2.0 */
/* devtest.c - is this device one? Random requests on any URI against a shadow, and the rules of device.h */
#include "tests/device/devtest.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/cleanup.h"
#include "common/log.h"

#define TIMEOUT_MS 60000u
#define GROWN_MS 20000u
#define THREADS_MAX 64u
#define FAILURES_MAX 100u /* of one read, where some may fail */
#define GROW_ROOM 4u      /* times its size that a device may come to have */

static const char usage[] =
	"usage: devtest --uri URI [options]\n"
	"  --uri URI         what bd_open() takes; ITS CONTENT IS LOST\n"
	"  --layers SPEC     layers above it\n"
	"  --test NAME,...   rules, load, cancel (these three without the option), faults, replay, cuts\n"
	"  --ops N           requests of load (10000)\n"
	"  --seed S          of all chance; printed\n"
	"  --threads N       that submit (2)\n"
	"  --depth N         requests in flight, each (32)\n"
	"  --size BYTES      use so much of the device\n"
	"  --cuts N          power cuts of the test cuts (20)\n"
	"  --log PATH        where replay has its log (a temporary file)\n"
	"  --grow-cmd CMD    makes the device larger; run when half of the load is done\n"
	"  --limit-s N       everything ends within this time (300)\n"
	"  --may-fail        errors of requests are no failure\n"
	"  --restartable     the server may go and come back: no error, however long that takes\n"
	"  --state FILE      the shadow, which survives being killed; goes on with the one that is there\n"
	"  --verify-only     compares the device with that state, and does nothing else\n"
	"  --settle-ms N     between the loss of a server and what is sent again (the transport's)\n"
	"SIGTERM ends the load early, and what was done is judged.\n"
	"exit status: 0 passed, 1 the device did something wrong, 2 trouble, 3 too late\n";

static const struct {
	const char *name;
	bool (*run)(struct devtest *t);
} tests[] = {
	{ "rules", test_rules },   { "load", test_load },     { "cancel", test_cancel },
	{ "faults", test_faults }, { "replay", test_replay }, { "cuts", test_cuts },
};

static atomic_bool enough;

static void on_term(int sig)
{
	(void)sig;
	atomic_store(&enough, true);
}

/* ---- for all parts --------------------------------------------------------- */

bool wrong(const char *fmt, ...)
{
	va_list ap;

	fputs("devtest: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

struct bd *devtest_open(struct devtest *t, const char *more)
{
	struct bd_env env = { .timeout_ms = t->restartable ? 0 : TIMEOUT_MS,
			      .settle_ms = t->settle_ms };
	AUTO_FREE char *layers = NULL;
	struct err err = { "" };
	struct bd *dev;
	int rc;

	if (asprintf(&layers, "%s%s%s", t->layers ? t->layers : "",
		     t->layers && *t->layers && more ? "," : "", more ? more : "") < 0)
		errx(EXIT_TROUBLE, "out of memory");
	rc = bd_open(t->uri, layers, &env, &dev, &err);
	if (rc)
		errx(EXIT_TROUBLE, "%s: %s (%s)", t->uri, err.text, strerror(-rc));
	return dev;
}

bool devtest_verify(struct devtest *t, bool after, struct verify_stats *out)
{
	struct bd *dev = devtest_open(t, NULL);
	bool good;

	out->tries = t->may_fail ? FAILURES_MAX : 1;
	good = load_verify(dev, &t->shadow, after, out);
	bd_close(dev);
	return good || wrong("after %s: %llu sectors are wrong", after ? "the close" : "the load",
			     (unsigned long long)out->wrong);
}

void devtest_load_conf(struct devtest *t, struct bd *dev, uint64_t ops, struct load_conf *out)
{
	*out = (struct load_conf){
		.dev = dev,
		.shadow = &t->shadow,
		.seed = rnd_seed(t->seed, 1000 + t->round++),
		.ops = ops,
		.threads = t->threads,
		.depth = t->depth,
		.limit_s = t->limit_s,
		.may_fail = t->may_fail,
		.enough = &enough,
	};
}

/* ---- load ------------------------------------------------------------------- */

struct growth {
	struct devtest *t;
	struct bd *dev;
	bool failed;
};

/* Runs the command, and asks the device until it has grown. */
static uint64_t grow(void *arg)
{
	struct growth *g = arg;
	uint64_t was = atomic_load(&g->dev->size), end = clock_ms() + GROWN_MS;
	int status = system(g->t->grow_cmd),
	    rc; /* NOLINT(cert-env33-c): a command of the test's caller */

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		g->failed = !wrong("the command that grows the device: status %d", status);
		return was;
	}
	while ((rc = bd_resize(g->dev)) == 0 && atomic_load(&g->dev->size) == was &&
	       clock_ms() < end)
		usleep(10000);
	if (rc || atomic_load(&g->dev->size) <= was)
		g->failed = !wrong("the device has %llu bytes, and does not grow: %s",
				   (unsigned long long)was, strerror(-rc));
	return atomic_load(&g->dev->size);
}

static void tell_load(const struct devtest *t, struct bd *dev)
{
	const struct load_stats *s = &t->stats;
	struct bd_counts c;
	uint64_t n = 0;

	bd_counts(dev, &c);
	for (int i = 0; i < BD_OPS; i++)
		n += s->ops[i];
	printf("load: %llu requests (%llu reads, %llu writes, %llu flushes, %llu discards, %llu zeros; %llu FUA, "
	       "%llu rows), %.1f MiB, %.0f/s; %llu sectors compared, %llu overlaps refused (%llu late), errors %llu, "
	       "resent %llu, reconnects %llu\n",
	       (unsigned long long)n, (unsigned long long)s->ops[BD_READ],
	       (unsigned long long)s->ops[BD_WRITE], (unsigned long long)s->ops[BD_FLUSH],
	       (unsigned long long)s->ops[BD_DISCARD], (unsigned long long)s->ops[BD_ZERO],
	       (unsigned long long)s->fua, (unsigned long long)s->rows,
	       (double)(s->bytes[BD_READ] + s->bytes[BD_WRITE]) / (1 << 20),
	       s->seconds > 0 ? (double)n / s->seconds : 0, (unsigned long long)s->sectors_checked,
	       (unsigned long long)s->overlaps_refused, (unsigned long long)s->overlaps_late,
	       (unsigned long long)s->errors, (unsigned long long)c.resent,
	       (unsigned long long)c.reconnects);
}

/* With so many requests some must have met others in flight. */
static bool overlaps_were_seen(const struct devtest *t)
{
	if (t->ops < 2000 || atomic_load(&enough) || t->threads * t->depth < 16 ||
	    t->stats.overlaps_refused)
		return true;
	return wrong("none of %llu overlapping requests was refused",
		     (unsigned long long)t->stats.overlaps_late);
}

bool test_load(struct devtest *t)
{
	struct growth growth = { .t = t };
	struct verify_stats v = { .tries = t->may_fail ? FAILURES_MAX : 1 };
	struct load_conf conf;
	struct bd *dev = devtest_open(t, NULL);
	bool good;
	int rc = 0;

	t->stats = (struct load_stats){ .seconds = 0 };
	growth.dev = dev;
	devtest_load_conf(t, dev, t->ops, &conf);
	if (t->grow_cmd) {
		conf.halfway = grow;
		conf.halfway_arg = &growth;
	}
	good = load_run(&conf, &t->stats) && !growth.failed;
	if (good)
		good = load_verify(dev, &t->shadow, false, &v) ||
		       wrong("%llu sectors are wrong", (unsigned long long)v.wrong);
	/* What a flush covers is there after the close; half of the runs end without one. */
	if (good && t->seed % 2) {
		uint64_t covers = shadow_flush_begin(&t->shadow);

		rc = bd_flush(dev);
		if (!rc)
			shadow_flush_done(&t->shadow, covers);
	}
	tell_load(t, dev);
	bd_close(dev);
	if (rc && !t->may_fail)
		return wrong("the last flush: %s", strerror(-rc));
	return good && overlaps_were_seen(t) && devtest_verify(t, true, &v);
}

/* ---- options ------------------------------------------------------------------- */

enum {
	O_URI = 1,
	O_LAYERS,
	O_TEST,
	O_OPS,
	O_SEED,
	O_THREADS,
	O_DEPTH,
	O_SIZE,
	O_CUTS,
	O_LOG,
	O_GROW,
	O_LIMIT,
	O_SETTLE,
	O_MAY_FAIL,
	O_RESTARTABLE,
	O_STATE,
	O_VERIFY,
	O_HELP
};

static const struct option options[] = {
	{ "uri", 1, NULL, O_URI },
	{ "layers", 1, NULL, O_LAYERS },
	{ "test", 1, NULL, O_TEST },
	{ "ops", 1, NULL, O_OPS },
	{ "seed", 1, NULL, O_SEED },
	{ "threads", 1, NULL, O_THREADS },
	{ "depth", 1, NULL, O_DEPTH },
	{ "size", 1, NULL, O_SIZE },
	{ "cuts", 1, NULL, O_CUTS },
	{ "log", 1, NULL, O_LOG },
	{ "grow-cmd", 1, NULL, O_GROW },
	{ "limit-s", 1, NULL, O_LIMIT },
	{ "may-fail", 0, NULL, O_MAY_FAIL },
	{ "restartable", 0, NULL, O_RESTARTABLE },
	{ "state", 1, NULL, O_STATE },
	{ "verify-only", 0, NULL, O_VERIFY },
	{ "settle-ms", 1, NULL, O_SETTLE },
	{ "help", 0, NULL, O_HELP },
	{ NULL, 0, NULL, 0 },
};

struct choice {
	const char *tests;
	bool verify_only;
};

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (end == text || *end || *text == '-' || v < min || v > max)
		errx(EXIT_TROUBLE, "--%s %s: want a number from %llu to %llu", name, text,
		     (unsigned long long)min, (unsigned long long)max);
	return v;
}

static const char *name_of(int option)
{
	const struct option *o = options;

	while (o->name && o->val != option)
		o++;
	return o->name ? o->name : "?";
}

static void set_number(struct devtest *t, int option, const char *text)
{
	const char *name = name_of(option);

	switch (option) {
	case O_OPS:
		t->ops = number(name, text, 1, 1u << 26);
		break;
	case O_SEED:
		t->seed = number(name, text, 0, UINT64_MAX);
		break;
	case O_THREADS:
		t->threads = (unsigned)number(name, text, 1, THREADS_MAX);
		break;
	case O_DEPTH:
		t->depth = (unsigned)number(name, text, 1, BD_DEPTH_MAX);
		break;
	case O_SIZE:
		t->size = number(name, text, 1, BD_SIZE_MAX);
		break;
	case O_SETTLE:
		t->settle_ms = (unsigned)number(name, text, 1, 60000);
		break;
	case O_CUTS:
		t->cuts = (unsigned)number(name, text, 1, 100000);
		break;
	default:
		t->limit_s = (unsigned)number(name, text, 1, 86400);
	}
}

static void set_option(struct devtest *t, struct choice *choice, int option, const char *text)
{
	switch (option) {
	case O_URI:
		t->uri = text;
		break;
	case O_LAYERS:
		t->layers = text;
		break;
	case O_TEST:
		choice->tests = text;
		break;
	case O_LOG:
		t->log = text;
		break;
	case O_GROW:
		t->grow_cmd = text;
		break;
	case O_STATE:
		t->state = text;
		break;
	case O_MAY_FAIL:
		t->may_fail = true;
		break;
	case O_RESTARTABLE:
		t->restartable = true;
		break;
	case O_VERIFY:
		choice->verify_only = true;
		break;
	case O_HELP:
		fputs(usage, stdout);
		exit(0);
	case '?':
		fputs(usage, stderr);
		exit(EXIT_TROUBLE);
	default:
		set_number(t, option, text);
	}
}

/* The shadow, as large as the device. A state that goes on is compared first. */
static bool prepare(struct devtest *t, bool verify_only)
{
	struct verify_stats v = { .wrong = 0 };
	bool goes_on = t->state && access(t->state, F_OK) == 0;
	struct bd *dev = devtest_open(t, NULL);
	uint64_t size = atomic_load(&dev->size);
	uint32_t block = dev->limits.block;

	printf("devtest: %s: %llu bytes, blocks of %u, transfers of %zu, depth %u%s%s%s; seed %llu\n",
	       t->uri, (unsigned long long)size, block, dev->limits.max_transfer, dev->limits.depth,
	       dev->limits.volatile_cache ? ", volatile cache" : "", dev->limits.fua ? ", FUA" : "",
	       dev->limits.keeps ? ", keeps" : "", (unsigned long long)t->seed);
	bd_close(dev);
	if (t->size && t->size < size)
		size = t->size / block * block;
	if (size < 64 * (uint64_t)block)
		errx(EXIT_TROUBLE, "%llu bytes are too few", (unsigned long long)size);
	if (verify_only && !goes_on)
		errx(EXIT_TROUBLE, "%s: there is no state", t->state ? t->state : "--verify-only");
	shadow_open(&t->shadow, t->state, block, size, t->grow_cmd ? GROW_ROOM * size : size);
	return !goes_on || devtest_verify(t, true, &v);
}

static bool run(struct devtest *t, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		if (!strcmp(name, tests[i].name))
			return tests[i].run(t) || wrong("%s failed; --seed %llu repeats it", name,
							(unsigned long long)t->seed);
	errx(EXIT_TROUBLE, "there is no test '%s'", name);
}

int main(int argc, char **argv)
{
	struct devtest t = { .ops = 10000, .threads = 2, .depth = 32, .limit_s = 300, .cuts = 20 };
	struct choice choice = { .tests = "rules,load,cancel" };
	char *names, *save = NULL;
	bool good;
	int option;

	t.seed = clock_us();
	log_level = LOG_LEVEL_WARN;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGTERM, on_term);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(&t, &choice, option, optarg);
	if (!t.uri || optind < argc) {
		fputs(usage, stderr);
		return EXIT_TROUBLE;
	}
	alarm(t.limit_s + 30); /* what the load's own limit does not cover */
	good = prepare(&t, choice.verify_only);
	names = choice.verify_only ? NULL : strdup(choice.tests);
	for (char *n = names; good && names && (n = strtok_r(n, ",", &save)); n = NULL)
		good = run(&t, n);
	free(names);
	shadow_close(&t.shadow);
	if (good)
		printf("devtest: passed\n");
	return good ? 0 : EXIT_WRONG;
}
