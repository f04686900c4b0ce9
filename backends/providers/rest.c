/* SPDX-License-Identifier: Apache-2.0 */
/* rest.c - see rest.h
 *
 * A client keeps as many easy handles as calls may run at a time; each keeps one
 * connection. The handle used last is used next, so that few calls use few connections. A
 * call takes a handle for each of its tries and holds none while it pauses. */
#include "backends/providers/rest.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "backends/providers/rest_impl.h"
#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lock.h"

#define CONNECT_MS 10000
#define TOTAL_MS 60000
#define TOTAL_MAX_MS 3600000
#define PARALLEL 8
#define PAUSE_MS 200
#define REQUEST_PATH_MAX 8192

_Atomic unsigned rest_pause_ms = PAUSE_MS;

const uint64_t rest_bucket_us[REST_BUCKETS] = { 10000,   50000,    200000,   1000000,
						5000000, 20000000, 60000000, UINT64_MAX };

struct rest {
	/* set at start, then read only */
	char *urls[REST_URLS_MAX]; /* owned */
	size_t nurls;
	char *ca_file; /* owned; NULL: the system's */
	bool insecure;
	uint64_t connect_ms, total_ms;
	size_t reply_max;
	unsigned parallel;

	_Atomic unsigned current; /* index into urls */
	struct rest_stats stats;
	struct mutex lock;
	struct cond freed;
	/* guarded by lock */
	CURL *idle[REST_PARALLEL_MAX];
	unsigned nidle;
};

/* --- making one ------------------------------------------------------------ */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void curl_start(void)
{
	curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool part_is(CURLU *u, CURLUPart part, const char *want)
{
	char *text = NULL;
	bool is = curl_url_get(u, part, &text, 0) ? !want : want && !strcmp(text, want);

	curl_free(text);
	return is;
}

/* A scheme, a host and perhaps a port, and nothing else. */
static int check_url(const char *url, struct err *err)
{
	CURLU *u = curl_url();
	int rc = 0;

	if (!u)
		return err_set(err, -ENOMEM, "out of memory");
	if (curl_url_set(u, CURLUPART_URL, url, 0)) {
		/* What cannot be taken apart may hold a password, too. */
		rc = strchr(url, '@') ?
			     err_set(err, -EINVAL, "url: cannot be understood") :
			     err_set(err, -EINVAL, "url '%.200s': cannot be understood", url);
	} else if (!part_is(u, CURLUPART_USER, NULL) || !part_is(u, CURLUPART_PASSWORD, NULL)) {
		rc = err_set(err, -EINVAL, "url: user and password have keys of their own");
	} else if (!part_is(u, CURLUPART_SCHEME, "https") &&
		   !part_is(u, CURLUPART_SCHEME, "http")) {
		rc = err_set(err, -EINVAL, "url '%.200s': want https:// or http://", url);
	} else if (!part_is(u, CURLUPART_PATH, "/") || !part_is(u, CURLUPART_QUERY, NULL) ||
		   !part_is(u, CURLUPART_FRAGMENT, NULL)) {
		rc = err_set(err, -EINVAL, "url '%.200s': want https://host[:port]", url);
	}
	curl_url_cleanup(u);
	return rc;
}

static int copy_url(struct rest *r, const char *url, struct err *err)
{
	char *copy = strdup(url);
	size_t n;
	int rc;

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	n = strlen(copy);
	while (n && copy[n - 1] == '/')
		copy[--n] = '\0';
	rc = check_url(copy, err);
	if (rc)
		free(copy);
	else
		r->urls[r->nurls++] = copy;
	return rc;
}

static int make_handles(struct rest *r, struct err *err)
{
	while (r->nidle < r->parallel) {
		r->idle[r->nidle] = curl_easy_init();
		if (!r->idle[r->nidle])
			return err_set(err, -ENOMEM, "out of memory");
		r->nidle++;
	}
	return 0;
}

static int configure(struct rest *r, const struct rest_config *cfg, struct err *err)
{
	int rc = 0;

	if (!cfg->nurls || cfg->nurls > REST_URLS_MAX)
		return err_set(err, -EINVAL, "want 1 to %d urls", REST_URLS_MAX);
	if (cfg->parallel > REST_PARALLEL_MAX)
		return err_set(err, -EINVAL, "parallel: want 1 to %d", REST_PARALLEL_MAX);
	if (cfg->total_ms > TOTAL_MAX_MS || cfg->connect_ms > TOTAL_MAX_MS)
		return err_set(err, -EINVAL, "timeout: want at most one hour");
	r->insecure = cfg->insecure;
	r->connect_ms = cfg->connect_ms ? cfg->connect_ms : CONNECT_MS;
	r->total_ms = cfg->total_ms ? cfg->total_ms : TOTAL_MS;
	r->reply_max = cfg->reply_max ? cfg->reply_max : REST_REPLY_MAX;
	r->parallel = cfg->parallel ? cfg->parallel : PARALLEL;
	for (size_t i = 0; i < cfg->nurls && !rc; i++)
		rc = copy_url(r, cfg->urls[i], err);
	if (!rc && cfg->ca_file) {
		r->ca_file = strdup(cfg->ca_file);
		if (!r->ca_file)
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	return rc ? rc : make_handles(r, err);
}

int rest_new(const struct rest_config *cfg, struct rest **out, struct err *err)
{
	struct rest *r;
	int rc;

	pthread_once(&curl_once, curl_start);
	r = curl_started ? NULL : calloc(1, sizeof *r);
	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	mutex_init(&r->lock, LOCK_rest);
	cond_init(&r->freed);
	rc = configure(r, cfg, err);
	if (rc)
		rest_free(r);
	else
		*out = r;
	return rc;
}

void rest_free(struct rest *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->nidle; i++)
		curl_easy_cleanup(r->idle[i]);
	for (size_t i = 0; i < r->nurls; i++)
		free(r->urls[i]);
	free(r->ca_file);
	cond_done(&r->freed);
	mutex_done(&r->lock);
	free(r);
}

void rest_base(struct rest *r, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s", r->urls[atomic_load(&r->current)]);
}

/* --- counters -------------------------------------------------------------- */

const struct rest_stats *rest_stats(const struct rest *r)
{
	return &r->stats;
}

/* The row of a call; the last one also counts what has no row of its own. */
static size_t stats_row(struct rest_stats *s, const char *call)
{
	for (size_t i = 0; i < REST_CALLS_MAX; i++) {
		const char *there = NULL;

		if (atomic_compare_exchange_strong(&s->of[i].call, &there, call) ||
		    !strcmp(there, call))
			return i;
	}
	return REST_CALLS_MAX - 1;
}

static bool is_away(long status)
{
	return status == 502 || status == 503 || status == 504;
}

static void count(struct rest *r, const char *call, uint64_t us, bool good)
{
	size_t row = stats_row(&r->stats, call), b = 0;

	while (us > rest_bucket_us[b])
		b++;
	atomic_fetch_add(&r->stats.of[row].requests, 1);
	atomic_fetch_add(&r->stats.of[row].failures, !good);
	atomic_fetch_add(&r->stats.of[row].us, us);
	atomic_fetch_add(&r->stats.of[row].bucket[b], 1);
}

/* --- a call ---------------------------------------------------------------- */

static CURL *handle_get(struct rest *r, uint64_t deadline_ms)
{
	CURL *c = NULL;

	mutex_lock(&r->lock);
	while (!r->nidle && cond_wait_until(&r->freed, &r->lock, deadline_ms))
		;
	if (r->nidle)
		c = r->idle[--r->nidle];
	mutex_unlock(&r->lock);
	return c;
}

static void handle_put(struct rest *r, CURL *c)
{
	mutex_lock(&r->lock);
	r->idle[r->nidle++] = c;
	cond_signal(&r->freed);
	mutex_unlock(&r->lock);
}

/* One URL failed: the next, unless somebody else has moved on already. */
static void move_on(struct rest *r, unsigned from)
{
	if (r->nurls > 1 &&
	    atomic_compare_exchange_strong(&r->current, &from, (from + 1) % (unsigned)r->nurls))
		atomic_fetch_add(&r->stats.failovers, 1);
}

/* Half of it to one and a half times, twice as long after each try. False: it would end too late. */
static bool pause_before(unsigned try, uint64_t deadline_ms)
{
	uint64_t ms = (uint64_t)atomic_load(&rest_pause_ms) << (try - 1), random = 0;
	struct timespec ts;

	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
		random = clock_us();
	ms = ms / 2 + (ms ? random % ms : 0);
	if (clock_ms() + ms >= deadline_ms)
		return false;
	ts.tv_sec = (time_t)(ms / 1000);
	ts.tv_nsec = (long)(ms % 1000) * 1000000;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	return true;
}

/* Spaces and control characters would end the line that they stand in: a token of a hostile server
 * could add a request of its own. */
static int check_request(const struct rest_request *q, struct err *err)
{
	if (q->path[0] != '/' || strlen(q->path) > REQUEST_PATH_MAX)
		return err_set(err, -EINVAL, "%s: the path is not one", q->call);
	for (const char *p = q->path; *p; p++)
		if (*p <= 0x20 || *p == 0x7f)
			return err_set(err, -EINVAL,
				       "%s: the path has a space or control character", q->call);
	for (size_t i = 0; q->headers && q->headers[i]; i++)
		if (strpbrk(q->headers[i], "\r\n"))
			return err_set(err, -EPROTO, "%s: a header has a line break", q->call);
	return 0;
}

static bool again(const struct rest_request *q, const struct rest_try *t)
{
	switch (t->outcome) {
	case TRY_ANSWERED:
		return q->safe && is_away(t->reply.status);
	case TRY_NOT_SENT:
		return true;
	case TRY_LOST:
		return q->safe;
	case TRY_FAILED:
		break;
	}
	return false;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* One try; -EAGAIN when there is no handle, or no time, for it. */
static int try_once(struct rest *r, struct rest_try *t, uint64_t limit_ms, uint64_t deadline_ms,
		    unsigned url)
{
	CURL *c = handle_get(r, deadline_ms);
	uint64_t now = clock_ms();

	if (c && now < deadline_ms) {
		t->base = r->urls[url];
		t->total_ms = smaller(limit_ms, deadline_ms - now);
		t->connect_ms = smaller(r->connect_ms, t->total_ms);
		abort_point("rest: before a call");
		rest_try_run(c, t);
		abort_point("rest: after a call");
	} else {
		t->outcome = TRY_FAILED;
		t->code = -EAGAIN;
		snprintf(t->why, sizeof t->why, "%s",
			 c ? "the time limit is over" : "too many calls at a time");
	}
	if (c)
		handle_put(r, c);
	if (t->outcome == TRY_NOT_SENT || t->outcome == TRY_LOST ||
	    (t->outcome == TRY_ANSWERED && is_away(t->reply.status)))
		move_on(r, url);
	return t->code;
}

static int explain(const struct rest *r, const struct rest_request *q, const struct rest_try *t,
		   unsigned url, bool lost, struct err *err)
{
	for (char *p = (char *)t->why; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	return err_set(err, t->code, "%s: %.100s: %.250s%s", q->call, r->urls[url], t->why,
		       lost && !q->safe ? "; it may have been carried out" : "");
}

int rest_call(struct rest *r, const struct rest_request *q, struct rest_reply *out, struct err *err)
{
	struct rest_try t = {
		.q = q, .ca_file = r->ca_file, .insecure = r->insecure, .reply_max = r->reply_max
	};
	uint64_t limit_ms = q->total_ms ? q->total_ms : r->total_ms;
	uint64_t deadline_ms = clock_ms() + limit_ms * REST_WHOLE, begun = clock_us();
	bool lost = false, resent = false;
	unsigned url = 0;
	int rc = check_request(q, err);

	lock_assert_none();
	if (rc)
		return rc;
	for (unsigned try = 0;; try++) {
		url = atomic_load(&r->current);
		try_once(r, &t, limit_ms, deadline_ms, url);
		if (!again(q, &t) || try + 1 == REST_TRIES || !pause_before(try + 1, deadline_ms))
			break;
		resent = resent || t.outcome != TRY_NOT_SENT;
		lost = lost || t.outcome == TRY_LOST;
		rest_reply_done(&t.reply);
		atomic_fetch_add(&r->stats.resent, 1);
	}
	count(r, q->call, clock_us() - begun,
	      t.outcome == TRY_ANSWERED && !is_away(t.reply.status));
	if (t.outcome != TRY_ANSWERED)
		return explain(r, q, &t, url, lost || t.outcome == TRY_LOST, err);
	*out = t.reply;
	out->url = url;
	out->resent = resent;
	return 0;
}
