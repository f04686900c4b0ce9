/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/httpd.h"
#include "common/listen.h"

#define STOP_MS 20000

struct fake_http {
	struct httpd *h;
	char url[64];
	pthread_mutex_t lock;
	/* guarded by lock */
	struct fake_http_step steps[FAKE_HTTP_STEPS_MAX];
	int used[FAKE_HTTP_STEPS_MAX];
	unsigned nsteps, nseen, now, most;
	struct fake_http_seen seen[FAKE_HTTP_SEEN_MAX];
};

static bool begins(const char *method, const char *path, const char *match)
{
	size_t n = strlen(method);

	return !match || (!strncmp(match, method, n) && match[n] == ' ' &&
			  !strncmp(path, match + n + 1, strlen(match + n + 1)));
}

static bool has_query(struct httpd_request *rq, const char *query)
{
	char name[128];
	const char *value = query ? strchr(query, '=') : NULL, *there;

	if (!query)
		return true;
	snprintf(name, sizeof name, "%.*s", (int)(value ? value - query : (long)strlen(query)),
		 query);
	there = httpd_query(rq, name);
	return there && (!value || !strcmp(there, value + 1));
}

static char *copy(const char *text)
{
	char *c = strdup(text ? text : "");

	if (!c)
		abort();
	return c;
}

static void record(struct fake_http *f, struct httpd_request *rq, bool expected)
{
	struct fake_http_seen *s = &f->seen[f->nseen];
	size_t len;

	if (f->nseen == FAKE_HTTP_SEEN_MAX)
		abort();
	s->method = copy(httpd_method(rq));
	s->path = copy(httpd_path(rq));
	s->body = copy(httpd_body(rq, &len));
	s->authorization = copy(httpd_header(rq, "Authorization"));
	s->type = copy(httpd_header(rq, "Content-Type"));
	s->cookie = copy(httpd_header(rq, "Cookie"));
	s->csrf = copy(httpd_header(rq, "X-CSRF-Token"));
	s->referer = copy(httpd_header(rq, "Referer"));
	s->expected = expected;
	f->nseen++;
}

static bool pick_step(struct fake_http *f, struct httpd_request *rq, bool always,
		      struct fake_http_step *out)
{
	for (unsigned i = 0; i < f->nsteps; i++) {
		const struct fake_http_step *s = &f->steps[i];
		int times = s->times ? s->times : 1;

		if ((times == FAKE_HTTP_ALWAYS) != always || f->used[i] >= times ||
		    !begins(httpd_method(rq), httpd_path(rq), s->match) || !has_query(rq, s->query))
			continue;
		f->used[i] += !always;
		*out = *s;
		return true;
	}
	return false;
}

static bool next_step(struct fake_http *f, struct httpd_request *rq, struct fake_http_step *out)
{
	return pick_step(f, rq, false, out) || pick_step(f, rq, true, out);
}

static bool may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	(void)rq;
	return true;
}

static void send_headers(struct httpd_request *rq, const struct fake_http_step *s)
{
	for (size_t i = 0; i < sizeof s->headers / sizeof *s->headers && s->headers[i]; i++) {
		const char *colon = strstr(s->headers[i], ": ");
		char name[128];

		if (!colon)
			abort();
		snprintf(name, sizeof name, "%.*s", (int)(colon - s->headers[i]), s->headers[i]);
		if (!httpd_add_header(rq, name, colon + 2))
			abort();
	}
}

static void answer(void *arg, struct httpd_request *rq)
{
	struct fake_http_step s = { .status = 404, .body = "{\"message\":\"not in the script\"}" };
	struct fake_http *f = arg;

	pthread_mutex_lock(&f->lock);
	record(f, rq, next_step(f, rq, &s));
	if (++f->now > f->most)
		f->most = f->now;
	pthread_mutex_unlock(&f->lock);
	if (s.ms) {
		const struct timespec ts = { s.ms / 1000, (long)(s.ms % 1000) * 1000000 };

		nanosleep(&ts, NULL);
	}
	httpd_reply_take(rq, s.status ? s.status : 200, copy(s.body), s.type);
	send_headers(rq, &s);
	if (s.fault)
		httpd_reply_cut(rq, s.fault == FAKE_HTTP_DROP ? HTTPD_NO_ANSWER : s.bytes);
	pthread_mutex_lock(&f->lock);
	f->now--;
	pthread_mutex_unlock(&f->lock);
}

static const struct httpd_handler handler = { may_wait, answer, NULL };

struct fake_http *fake_http_start(const char *cert, const char *key)
{
	struct fake_http *f = calloc(1, sizeof *f);
	struct httpd_listener l = { .tls = cert };
	struct httpd_config cfg = { .name = "fake",
				    .listeners = &l,
				    .nlisteners = 1,
				    .cert_pem = cert,
				    .key_pem = key,
				    .handler = &handler,
				    .arg = f };
	struct listen_addr a;
	struct err err;

	if (!f || listen_parse("tcp:127.0.0.1:0", &a, &err))
		abort();
	pthread_mutex_init(&f->lock, NULL);
	l.fd = listen_open(&a, &err);
	if (l.fd < 0)
		abort();
	snprintf(f->url, sizeof f->url, "%s://127.0.0.1:%u", cert ? "https" : "http",
		 listen_port(l.fd));
	if (httpd_start(&cfg, &f->h, &err)) {
		fprintf(stderr, "fake server: %s\n", err.text);
		abort();
	}
	return f;
}

static void seen_done(struct fake_http *f)
{
	while (f->nseen) {
		struct fake_http_seen *s = &f->seen[--f->nseen];

		free(s->method);
		free(s->path);
		free(s->body);
		free(s->authorization);
		free(s->type);
		free(s->cookie);
		free(s->csrf);
		free(s->referer);
	}
}

void fake_http_stop(struct fake_http *f)
{
	if (!f)
		return;
	if (!httpd_stop(f->h, STOP_MS))
		abort();
	seen_done(f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const char *fake_http_url(const struct fake_http *f)
{
	return f->url;
}

void fake_http_add(struct fake_http *f, const struct fake_http_step *step)
{
	pthread_mutex_lock(&f->lock);
	if (f->nsteps == FAKE_HTTP_STEPS_MAX)
		abort();
	f->used[f->nsteps] = 0;
	f->steps[f->nsteps++] = *step;
	pthread_mutex_unlock(&f->lock);
}

void fake_http_on(struct fake_http *f, const char *match, unsigned status, const char *body)
{
	const struct fake_http_step step = { .match = match, .status = status, .body = body };

	fake_http_add(f, &step);
}

void fake_http_clear(struct fake_http *f)
{
	pthread_mutex_lock(&f->lock);
	seen_done(f);
	f->nsteps = f->most = 0;
	pthread_mutex_unlock(&f->lock);
}

unsigned fake_http_count(struct fake_http *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->nseen;
	pthread_mutex_unlock(&f->lock);
	return n;
}

const struct fake_http_seen *fake_http_seen(struct fake_http *f, unsigned i)
{
	if (i >= fake_http_count(f)) {
		fprintf(stderr, "fake server: request %u did not come\n", i);
		abort();
	}
	return &f->seen[i];
}

unsigned fake_http_calls(struct fake_http *f, const char *match)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->nseen; i++)
		n += begins(f->seen[i].method, f->seen[i].path, match);
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned fake_http_unexpected(struct fake_http *f)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->nseen; i++) {
		const struct fake_http_seen *s = &f->seen[i];

		if (s->expected)
			continue;
		fprintf(stderr, "fake server: request %u is not in the script: %s %s %s\n", i,
			s->method, s->path, s->body);
		n++;
	}
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned fake_http_left(struct fake_http *f)
{
	unsigned left = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->nsteps; i++) {
		int times = f->steps[i].times ? f->steps[i].times : 1;

		if (times == FAKE_HTTP_ALWAYS || f->used[i] >= times)
			continue;
		fprintf(stderr, "fake server: nobody asked for step %u: %s\n", i,
			f->steps[i].match ? f->steps[i].match : "any");
		left++;
	}
	pthread_mutex_unlock(&f->lock);
	return left;
}

unsigned fake_http_most(struct fake_http *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->most;
	pthread_mutex_unlock(&f->lock);
	return n;
}
