/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h */
#include "tests/crash/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/crash/litter.h"

enum { SEEN_MIN = 4096 };
/* How often a good state's recovery is taken apart, and how many of its cuts are judged. */
static const struct {
	unsigned one_in, cuts;
} deeper[RUN_DEPTH] = { { 12, 4 }, { 4, 2 } };

/* Images that were judged with the same demands. */
struct seen {
	uint64_t *keys; /* 0: free */
	unsigned n, cap;
};

struct session {
	struct judge *j;
	const struct run_conf *conf;
	const struct base *base; /* that the log begins with */
	bool saved;              /* a run of before */
	bool found;              /* the only state that is wanted */
	struct oracle oracle;
	struct seen seen;
	struct err *err;
	char *log_path, *deep_path[RUN_DEPTH]; /* owned */
};

/* A log, and the state that it begins with. */
struct level {
	const struct record_log *log;
	const struct overlay *start;
	uint64_t want;
	unsigned depth;
	uint32_t point;   /* deeper than 0: of the cut in the workload's log */
	uint64_t payload; /* deeper than 0: what the recovery has to leave */
	char prefix[STATE_NAME_MAX];
	const char *only;
};

/* ---- states that were there before ------------------------------------ */

static bool seen_put(struct seen *s, uint64_t key)
{
	unsigned at = (unsigned)(key & (s->cap - 1));

	for (; s->keys[at]; at = (at + 1) & (s->cap - 1))
		if (s->keys[at] == key)
			return false;
	s->keys[at] = key;
	s->n++;
	return true;
}

/* True: it is new. */
static bool seen_new(struct seen *s, uint64_t key)
{
	if (2 * s->n >= s->cap) {
		struct seen bigger = { .cap = s->cap ? 2 * s->cap : SEEN_MIN };

		bigger.keys = xalloc(bigger.cap, sizeof *bigger.keys);
		for (unsigned i = 0; i < s->cap; i++)
			if (s->keys[i])
				seen_put(&bigger, s->keys[i]);
		free(s->keys);
		*s = bigger;
	}
	return seen_put(s, key ? key : 1);
}

/* ---- saving what failed ----------------------------------------------- */

static int write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");
	size_t n;

	if (!f)
		return -errno;
	n = fwrite(bytes, 1, len, f);
	return fclose(f) || n != len ? -EIO : 0;
}

static int copy_file(const char *from, const char *to)
{
	AUTO_FREE uint8_t *bytes = NULL;
	AUTO_FD int fd = open(from, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	bytes = xalloc(1, (size_t)st.st_size);
	if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
		return -EIO;
	return write_file(to, bytes, (size_t)st.st_size);
}

/* The entries up to the point, in words. */
static void list_writes(const struct record_log *log, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return;
	for (unsigned i = 0; i < log->n; i++) {
		const struct record_entry *e = &log->items[i].e;

		if (e->flags & RECORD_MARK)
			fprintf(f, "%6u  mark %.*s\n", i, (int)e->data_len,
				(const char *)log->items[i].data);
		else
			fprintf(f, "%6u %s%s%s sector %llu + %llu, overtook %llu\n", i,
				e->flags & RECORD_FLUSH ? " flush" : "",
				e->flags & RECORD_FUA ? " fua" : "",
				e->flags & RECORD_DISCARD ? " discard" :
				e->nr_sectors             ? " write" :
							    "",
				(unsigned long long)e->sector, (unsigned long long)e->nr_sectors,
				(unsigned long long)e->data_len);
	}
	fclose(f);
}

static void save(struct session *s, const struct history *h, const char *name, const char *why)
{
	const struct run_conf *c = s->conf;
	AUTO_FREE char *dir =
		xprintf("%s/run-%s-%llu", c->dir, c->base->kind->name, (unsigned long long)c->seed);
	AUTO_FREE char *image = xprintf("%s/base.img", dir), *log = xprintf("%s/log", dir);
	AUTO_FREE char *history = xprintf("%s/history", dir);
	AUTO_FREE char *writes = xprintf("%s/writes.txt", dir);
	AUTO_FREE char *about = xprintf("%s/about.txt", dir);
	AUTO_FREE char *text = xprintf(
		"%s %llu\n%s\n%s\nagain: crashjournal --replay %s --only %s --keep-state FILE\n",
		c->base->kind->name, (unsigned long long)c->seed, name, why, dir, name);

	struct record_log rec;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return;
	write_file(image, s->base->bytes, s->base->size);
	copy_file(s->log_path, log);
	history_save(h, history);
	if (!record_load(log, &rec, NULL)) {
		list_writes(&rec, writes);
		record_unload(&rec);
	}
	write_file(about, text, strlen(text));
}

int run_about(const char *from, char kind[16], uint64_t *seed, struct err *err)
{
	AUTO_FREE char *path = xprintf("%s/about.txt", from);
	unsigned long long n;
	FILE *f;
	int got;

	f = fopen(path, "re");
	if (!f)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	got = fscanf(f, "%15s %llu", kind, &n);
	fclose(f);
	if (got != 2)
		return err_set(err, -EINVAL, "%s does not begin with a kind and a seed", path);
	*seed = n;
	return 0;
}

static void keep_state(const char *path, const struct overlay *state)
{
	AUTO_FREE uint8_t *bytes = xalloc(1, state->size);

	overlay_copy(state, bytes, state->size);
	if (write_file(path, bytes, state->size))
		die("cannot write %s", path);
}

/* ---- judging ---------------------------------------------------------- */

static int judge_level(struct session *s, const struct level *l);

/* Takes our recovery of the state apart. */
static int go_deeper(struct session *s, const struct level *l, const struct overlay *state,
		     uint32_t point, const char *name, uint64_t payload, const char *only)
{
	struct level next = { .start = state,
			      .want = only ? UINT64_MAX : deeper[l->depth].cuts,
			      .depth = l->depth + 1,
			      .point = point,
			      .payload = payload,
			      .only = only };
	const char *path = s->deep_path[l->depth];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc;
	struct jrn_recovered found;
	struct record_log log;
	struct overlay o;

	if (fd < 0)
		return err_set(s->err, -errno, "cannot write %s: %s", path, strerror(errno));
	snprintf(next.prefix, sizeof next.prefix, "%.90s/", name);
	overlay_over(&o, state);
	rc = recover_image(&o, fd, &found, s->err);
	overlay_done(&o);
	if (!rc)
		rc = record_load(path, &log, s->err);
	if (rc)
		return rc;
	next.log = &log;
	rc = judge_level(s, &next);
	record_unload(&log);
	return rc;
}

static void count(struct session *s, const struct level *l, const struct cut *c)
{
	atomic_fetch_add(&s->conf->counters->judged, 1);
	atomic_fetch_add(&s->conf->counters->kinds[(unsigned char)c->kind], 1);
	atomic_fetch_add(&s->conf->counters->depth[l->depth], 1);
}

static int judge_cut(struct session *s, const struct level *l, const struct cut *c,
		     const struct overlay *state, const char *name, const char *rest)
{
	uint32_t point = l->depth ? l->point : c->point;
	uint64_t dice = mix64(s->conf->seed ^ state->hash);
	struct verdict v;

	s->found = s->found || (l->only && !rest);
	if (s->conf->keep_state && l->only && !rest)
		keep_state(s->conf->keep_state, state);
	if (!l->only && !seen_new(&s->seen, state->hash ^ oracle_key(&s->oracle, point))) {
		atomic_fetch_add(&s->conf->counters->equal, 1);
		return 0;
	}
	alarm(RUN_LIMIT_S);
	judge_state(s->j, state, &s->oracle, point, &v);
	count(s, l, c);
	if (v.good && l->depth && v.payload != l->payload) {
		v.good = false;
		snprintf(v.why, sizeof v.why,
			 "recovery that was cut off and done again leaves other bytes (J8)");
	}
	if (!v.good) {
		save(s, s->oracle.h, name, v.why);
		return err_set(s->err, -EUCLEAN, "%s seed %llu state %s: %.300s",
			       s->conf->base->kind->name, (unsigned long long)s->conf->seed, name,
			       v.why);
	}
	if (l->depth < RUN_DEPTH && s->j->which & JUDGE_OWN &&
	    (rest || (!l->only && dice % deeper[l->depth].one_in == 0)))
		return go_deeper(s, l, state, point, name, v.payload, rest);
	return 0;
}

/* The part of l->only that names the cut; *rest: what is behind it, or NULL. False: it is another one. */
static bool is_only(const struct level *l, const char *text, const char **rest)
{
	size_t n = strlen(text);

	*rest = NULL;
	if (!l->only)
		return true;
	if (strncmp(l->only, text, n) != 0 || (l->only[n] && l->only[n] != '/'))
		return false;
	*rest = l->only[n] ? l->only + n + 1 : NULL;
	return true;
}

/* Torn writes are more than half of all cuts, and show less than the others: one in three of them counts. */
static unsigned weight(const struct cut *c)
{
	return c->kind == 't' ? 1 : 3;
}

/* The weight of all cuts. */
static uint64_t weigh_cuts(const struct states_conf *conf, struct err *err)
{
	struct states st;
	struct cut c;
	uint64_t n = 0;

	if (states_init(&st, conf, err))
		return 0;
	while (states_next(&st, &c))
		n += weight(&c);
	states_done(&st);
	return n;
}

static bool sampled(const struct level *l, uint64_t *seq, uint64_t total, unsigned w)
{
	if (l->want >= total)
		return true;
	return rand_below(seq, total) < l->want * w;
}

static int judge_level(struct session *s, const struct level *l)
{
	const struct states_conf sc = { .log = l->log,
					.start = l->start,
					.seed = s->conf->seed + l->depth };
	uint64_t total = weigh_cuts(&sc, s->err), seq = mix64(l->start->hash ^ s->conf->seed);
	struct states st;
	struct cut c;
	int rc = states_init(&st, &sc, s->err);

	if (rc)
		return rc;
	while (!rc && !atomic_load(s->conf->stop) && states_next(&st, &c)) {
		char text[CUT_TEXT_MAX], name[STATE_NAME_MAX];
		struct overlay state;
		const char *rest;

		if (!sampled(l, &seq, total, weight(&c)))
			continue;
		cut_text(&c, text);
		if (!is_only(l, text, &rest))
			continue;
		snprintf(name, sizeof name, "%.60s%s", l->prefix, text);
		states_image(&st, &c, &state);
		rc = judge_cut(s, l, &c, &state, name, rest);
		overlay_done(&state);
	}
	states_done(&st);
	return rc;
}

static int judge_log(struct session *s, const struct history *h)
{
	/* Cuts of recoveries make up for the rest. */
	uint64_t flat = s->conf->want - s->conf->want / 3;
	struct base littered = *s->conf->base;
	AUTO_FREE uint8_t *bytes = NULL;
	struct level top = { .want = s->conf->only ? UINT64_MAX : flat, .only = s->conf->only };
	struct record_log log;
	struct overlay start;
	int rc = record_load(s->log_path, &log, s->err);

	if (rc)
		return rc;
	rc = oracle_init(&s->oracle, h, &log, s->err);
	if (littered.kind->litter && !s->saved) {
		bytes = xalloc(1, littered.size);
		memcpy(bytes, littered.bytes, littered.size);
		littered.bytes = bytes;
		litter_put(&littered, &log);
	}
	s->base = &littered;
	overlay_base(&start, littered.bytes, littered.size);
	top.log = &log;
	top.start = &start;
	if (!rc)
		rc = judge_level(s, &top);
	atomic_fetch_add(&s->conf->counters->runs, 1);
	overlay_done(&start);
	oracle_done(&s->oracle);
	s->base = s->conf->base;
	free(s->seen.keys);
	record_unload(&log);
	return rc;
}

static void session_init(struct session *s, struct judge *j, const struct run_conf *conf,
			 struct err *err)
{
	*s = (struct session){ .j = j, .conf = conf, .base = conf->base, .err = err };
	s->log_path = xprintf("%s/log-%d", conf->dir, (int)getpid());
	for (unsigned i = 0; i < RUN_DEPTH; i++)
		s->deep_path[i] = xprintf("%s/log-%d-%u", conf->dir, (int)getpid(), i);
}

static void session_done(struct session *s)
{
	unlink(s->log_path);
	free(s->log_path);
	for (unsigned i = 0; i < RUN_DEPTH; i++) {
		unlink(s->deep_path[i]);
		free(s->deep_path[i]);
	}
}

int run_fresh(struct judge *j, const struct run_conf *conf, struct err *err)
{
	const struct workload_conf wc = { .base = conf->base,
					  .seed = conf->seed,
					  .threads = conf->threads,
					  .mounts = conf->mounts,
					  .ops = conf->ops };
	struct session s;
	struct history h;
	struct err why;
	int rc, judged;

	session_init(&s, j, conf, err);
	alarm(RUN_LIMIT_S);
	rc = workload_run(&wc, s.log_path, &h, &why);
	/* When the workload saw something, a state of what it wrote until then may show it better. */
	judged = judge_log(&s, &h);
	if (judged && (!rc || judged == -EUCLEAN)) {
		rc = judged;
	} else if (rc) {
		save(&s, &h, "-", why.text);
		rc = err_set(err, -EUCLEAN, "%s seed %llu, the workload: %.400s",
			     conf->base->kind->name, (unsigned long long)conf->seed, why.text);
	} else if (conf->keep) {
		save(&s, &h, "-", "good");
	}
	alarm(0);
	history_done(&h);
	session_done(&s);
	return rc;
}

int run_saved(struct judge *j, const struct run_conf *conf, const char *from, struct err *err)
{
	AUTO_FREE char *history = xprintf("%s/history", from), *log = xprintf("%s/log", from);
	struct session s;
	struct history h;
	int rc;

	session_init(&s, j, conf, err);
	s.saved = true;
	rc = history_load(&h, history, err);
	if (!rc && (rc = copy_file(log, s.log_path)))
		rc = err_set(err, rc, "cannot copy %s: %s", log, strerror(-rc));
	if (!rc)
		rc = judge_log(&s, &h);
	if (!rc && conf->only && !s.found)
		rc = err_set(err, -ENOENT, "%s has no state '%s'", from, conf->only);
	alarm(0);
	history_done(&h);
	session_done(&s);
	return rc;
}
