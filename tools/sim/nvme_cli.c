/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_cli.c - persifs-sim nvme: the simulated NVMe target as a program, with a control route over HTTP */
#include "tools/sim/nvme_cli.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/httpd.h"
#include "common/listen.h"
#include "common/opt.h"
#include "tools/sim/nvme_target.h"

#define EXIT_USAGE 2
#define STOP_MS 5000u

struct options {
	uint64_t size, block_size, namespaces, mdts, in_capsule, maxh2cdata, r2t, cpda, queues,
		queue_size, seed;
	char *file, *nqn, *host_nqn, *control;
	bool volatile_cache, digests;
};

#define AT(member) .offset = offsetof(struct options, member)

static const struct opt_def table[] = {
	{ .name = "size",
	  .type = OPT_SIZE,
	  AT(size),
	  .min = 4096,
	  .max = NVME_TARGET_SIZE_MAX,
	  .dflt = "64m",
	  .help = "of each namespace; it can grow to twice of it" },
	{ .name = "block-size",
	  .type = OPT_SIZE,
	  AT(block_size),
	  .min = 512,
	  .max = 4096,
	  .dflt = "512",
	  .help = "512 or 4096" },
	{ .name = "namespaces",
	  .type = OPT_UINT,
	  AT(namespaces),
	  .min = 1,
	  .max = NVME_TARGET_NAMESPACES_MAX,
	  .dflt = "1",
	  .help = "so many, in up to 8 ANA groups" },
	{ .name = "file",
	  .type = OPT_STRING,
	  AT(file),
	  .help = "holds the namespaces; default: memory" },
	{ .name = "nqn",
	  .type = OPT_STRING,
	  AT(nqn),
	  .dflt = NVME_TARGET_NQN,
	  .help = "name of the subsystem" },
	{ .name = "host-nqn",
	  .type = OPT_STRING,
	  AT(host_nqn),
	  .help = "the only host that may connect" },
	{ .name = "volatile-cache",
	  .type = OPT_BOOL,
	  AT(volatile_cache),
	  .help = "writes are in memory until FLUSH or FUA, and lost when killed" },
	{ .name = "digests",
	  .type = OPT_BOOL,
	  AT(digests),
	  .dflt = "yes",
	  .help = "as the host asks; no: refused" },
	{ .name = "mdts",
	  .type = OPT_UINT,
	  AT(mdts),
	  .min = 1,
	  .max = 12,
	  .dflt = "8",
	  .help = "largest transfer, 2^N * 4 KiB" },
	{ .name = "in-capsule",
	  .type = OPT_SIZE,
	  AT(in_capsule),
	  .max = NVME_TARGET_IN_CAPSULE_MAX,
	  .dflt = "16k",
	  .help = "bytes of data in a command capsule; 0: none" },
	{ .name = "maxh2cdata",
	  .type = OPT_SIZE,
	  AT(maxh2cdata),
	  .min = 4096,
	  .max = NVME_TARGET_H2C_MAX,
	  .dflt = "128k",
	  .help = "bytes of one H2CData" },
	{ .name = "r2t",
	  .type = OPT_SIZE,
	  AT(r2t),
	  .max = NVME_TARGET_H2C_MAX,
	  .dflt = "0",
	  .help = "bytes that one R2T asks for; 0: all" },
	{ .name = "cpda",
	  .type = OPT_UINT,
	  AT(cpda),
	  .max = 31,
	  .dflt = "0",
	  .help = "alignment of a host's data, (N + 1) * 4" },
	{ .name = "queues",
	  .type = OPT_UINT,
	  AT(queues),
	  .min = 1,
	  .max = NVME_TARGET_QUEUES_MAX,
	  .dflt = "4",
	  .help = "I/O queues of a host" },
	{ .name = "queue-size",
	  .type = OPT_UINT,
	  AT(queue_size),
	  .min = 2,
	  .max = NVME_TARGET_QUEUE_SIZE_MAX,
	  .dflt = "128",
	  .help = "entries of a queue" },
	{ .name = "seed",
	  .type = OPT_UINT,
	  AT(seed),
	  .dflt = "1",
	  .help = "of faults that happen at random" },
	{ .name = "control",
	  .type = OPT_STRING,
	  AT(control),
	  .help = "tcp:addr:port of the control route" },
	{ .name = NULL },
};

struct program {
	struct options opt;
	struct nvme_target_config cfg;
	const char *faults[NVME_TARGET_FAULTS_MAX + 1];
	unsigned nlisten, nfaults;
	struct nvme_target *target;
	struct httpd *httpd;
	unsigned control_port;
};

static int complain(int status, const char *text)
{
	fprintf(stderr, "persifs-sim: %s\n", text);
	return status;
}

static void usage(void)
{
	puts("usage: persifs-sim nvme [OPTION...]\n"
	     "\n"
	     "An NVMe/TCP subsystem that misbehaves when told to. Runs in the foreground.\n"
	     "\n"
	     "  --listen ADDRESS      addr:port, port 0 for any; may be repeated: more paths;\n"
	     "                        default 127.0.0.1:0\n"
	     "  --fault TEXT          as in FAULTS OF NVME of the manual; may be repeated\n"
	     "  --help\n"
	     "\n"
	     "  --NAME=VALUE, or --NAME VALUE:");
	opt_print_help(table, stdout);
}

/* ---- command line ----------------------------------------------------- */

static int add_listen(struct program *p, const char *value, struct err *err)
{
	if (p->nlisten == NVME_TARGET_PATHS_MAX)
		return err_set(err, -EINVAL, "--listen: at most %d paths", NVME_TARGET_PATHS_MAX);
	p->cfg.listen[p->nlisten++] = strncmp(value, "tcp:", 4) ? value : value + 4;
	return 0;
}

static int add_fault(struct program *p, const char *value, struct err *err)
{
	if (p->nfaults == NVME_TARGET_FAULTS_MAX)
		return err_set(err, -EINVAL, "--fault: at most %d", NVME_TARGET_FAULTS_MAX);
	p->faults[p->nfaults++] = value;
	return 0;
}

/* One option and perhaps the next argument; how many arguments it was, or -errno. */
static int take_option(struct program *p, char **argv, struct err *err)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '='), *value = eq ? eq + 1 : NULL;
	AUTO_FREE char *key = eq ? strndup(name, (size_t)(eq - name)) : strdup(name);
	const struct opt_def *def;
	int used = 1, rc;
	bool special;

	if (!key)
		return err_set(err, -ENOMEM, "out of memory");
	special = !strcmp(key, "listen") || !strcmp(key, "fault");
	def = opt_find(table, key);
	if (!value && (special || (def && def->type != OPT_BOOL))) {
		value = argv[1];
		used = 2;
		if (!value)
			return err_set(err, -EINVAL, "--%s wants a value", key);
	}
	if (special)
		rc = *key == 'l' ? add_listen(p, value, err) : add_fault(p, value, err);
	else
		rc = opt_set(table, &p->opt, key, value, err);
	return rc ? rc : used;
}

static int parse(int argc, char **argv, struct program *p, struct err *err)
{
	for (int i = 1; i < argc;) {
		int n;

		if (strncmp(argv[i], "--", 2) != 0)
			return err_set(err, -EINVAL,
				       "no argument is wanted beside options: '%.100s'", argv[i]);
		n = take_option(p, argv + i, err);
		if (n < 0)
			return n;
		i += n;
	}
	return 0;
}

static void configure(struct program *p)
{
	const struct options *o = &p->opt;
	struct nvme_target_config *c = &p->cfg;

	c->size = o->size;
	c->block_size = (uint32_t)o->block_size;
	c->namespaces = (unsigned)o->namespaces;
	c->file = o->file;
	c->nqn = o->nqn;
	c->host_nqn = o->host_nqn;
	c->volatile_cache = o->volatile_cache;
	c->no_digests = !o->digests;
	c->mdts = (unsigned)o->mdts;
	c->in_capsule = (uint32_t)o->in_capsule;
	c->no_in_capsule = !o->in_capsule;
	c->maxh2cdata = (uint32_t)o->maxh2cdata;
	c->r2t_bytes = (uint32_t)o->r2t;
	c->cpda = (unsigned)o->cpda;
	c->queues = (unsigned)o->queues;
	c->queue_size = (unsigned)o->queue_size;
	c->seed = o->seed;
	c->faults = p->faults;
}

/* ---- control route ---------------------------------------------------- */

static void reply(struct httpd_request *rq, unsigned status, json_t *take)
{
	char *text = take ? json_dumps(take, JSON_COMPACT) : NULL;

	json_decref(take);
	httpd_reply_take(rq, status, text, NULL);
}

static void reply_err(struct httpd_request *rq, int rc, const struct err *err)
{
	if (rc)
		reply(rq, 400, json_pack("{s:s}", "error", err->text));
	else
		reply(rq, 200, json_pack("{s:b}", "done", 1));
}

static void tell(struct program *p, struct httpd_request *rq, const json_t *body)
{
	struct nvme_target_counts n;
	json_t *all = json_object();

	(void)body;
	nvme_target_counts(p->target, &n);
#define COUNT(name) json_object_set_new(all, #name, json_integer((json_int_t)n.name))
	COUNT(accepted);
	COUNT(controllers);
	COUNT(reads);
	COUNT(writes);
	COUNT(flushes);
	COUNT(zeroes);
	COUNT(discards);
	COUNT(keepalives);
	COUNT(in_capsule);
	COUNT(r2ts);
	COUNT(h2c);
	COUNT(fua);
	COUNT(terms);
	COUNT(host_terms);
	COUNT(digest_errors);
	COUNT(conflicts);
	COUNT(refused);
	COUNT(kato);
	COUNT(shutdowns);
	COUNT(faults);
	COUNT(late);
	COUNT(lost_blocks);
	COUNT(connections);
	COUNT(delayed);
#undef COUNT
	reply(rq, 200, all);
}

static void set_fault(struct program *p, struct httpd_request *rq, const json_t *body)
{
	const char *text = json_string_value(json_object_get(body, "fault"));
	struct err err = { "'fault' is wanted, a text" };

	reply_err(rq, text ? nvme_target_fault(p->target, text, &err) : -EINVAL, &err);
}

static void clear(struct program *p, struct httpd_request *rq, const json_t *body)
{
	struct err err;

	(void)body;
	reply_err(rq, nvme_target_fault(p->target, "clear", &err), &err);
}

static void die(struct program *p, struct httpd_request *rq, const json_t *body)
{
	json_int_t keep = json_integer_value(json_object_get(body, "keep"));

	nvme_target_kill(p->target, keep > 0 && keep <= 1000 ? (unsigned)keep : 0);
	reply_err(rq, 0, NULL);
}

static void revive(struct program *p, struct httpd_request *rq, const json_t *body)
{
	struct err err;

	(void)body;
	reply_err(rq, nvme_target_revive(p->target, &err), &err);
}

static const struct {
	const char *method, *path;
	void (*run)(struct program *p, struct httpd_request *rq, const json_t *body);
} routes[] = {
	{ "GET", "/_sim", tell },
	{ "POST", "/_sim/faults", set_fault },
	{ "DELETE", "/_sim/faults", clear },
	{ "POST", "/_sim/nvme/kill", die },
	{ "POST", "/_sim/nvme/revive", revive },
};

static bool may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	(void)rq;
	return true; /* for the target's thread */
}

static void answer(void *arg, struct httpd_request *rq)
{
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const char *text = httpd_body(rq, &len);
		json_t *body;

		if (strcmp(routes[i].method, httpd_method(rq)) != 0 ||
		    strcmp(routes[i].path, httpd_path(rq)) != 0)
			continue;
		body = text ? json_loadb(text, len, 0, NULL) : NULL;
		routes[i].run(arg, rq, body);
		json_decref(body);
		return;
	}
	reply(rq, 404, json_pack("{s:s}", "error", "no such control route"));
}

static int start_control(struct program *p, struct err *err)
{
	static const struct httpd_handler handler = { .may_wait = may_wait, .answer = answer };
	struct httpd_listener l = { .fd = -1 };
	struct httpd_config cfg = {
		.name = "sim", .listeners = &l, .nlisteners = 1, .handler = &handler, .arg = p
	};
	struct listen_addr a;
	int rc;

	if (!p->opt.control)
		return 0;
	rc = listen_parse(p->opt.control, &a, err);
	if (rc)
		return rc;
	l.fd = listen_open(&a, err);
	if (l.fd < 0)
		return l.fd;
	p->control_port = listen_port(l.fd);
	rc = httpd_start(&cfg, &p->httpd, err);
	if (rc)
		close(l.fd);
	return rc;
}

/* ---- the process ------------------------------------------------------ */

static void say_where(const struct program *p)
{
	unsigned n = p->nlisten ? p->nlisten : 1;

	if (p->httpd)
		printf("persifs-sim: control on port %u\n", p->control_port);
	for (unsigned i = 0; i < n; i++) {
		const char *at = p->nlisten ? p->cfg.listen[i] : "127.0.0.1:0";

		printf("persifs-sim: listening on nvme-tcp://%.*s:%u/%s\n",
		       (int)(strrchr(at, ':') - at), at, nvme_target_port(p->target, i),
		       p->cfg.nqn);
	}
	fflush(stdout);
}

static int run(struct program *p, struct err *err)
{
	sigset_t set;
	int sig, rc;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	rc = nvme_target_start(&p->cfg, &p->target, err);
	if (!rc)
		rc = start_control(p, err);
	if (!rc) {
		say_where(p);
		sigwait(&set, &sig);
	}
	if (!httpd_stop(p->httpd, STOP_MS))
		_exit(1);
	nvme_target_stop(p->target);
	return rc ? complain(1, err->text) : 0;
}

int nvme_cli(int argc, char **argv)
{
	struct program p = { .nlisten = 0 };
	struct err err = { "" };
	int rc;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return usage(), 0;
	if (opt_defaults(table, &p.opt))
		return complain(1, "out of memory");
	if (parse(argc, argv, &p, &err)) {
		rc = complain(EXIT_USAGE, err.text);
	} else {
		configure(&p);
		rc = run(&p, &err);
	}
	opt_done(table, &p.opt);
	return rc;
}
