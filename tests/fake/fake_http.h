/* SPDX-License-Identifier: Apache-2.0 */
/* fake_http.h - an HTTP server of which a test says what it answers
 *
 * The script is a list of steps; a request takes the first one that matches it and is not
 * used up, and those for always only when no other does. What no step matches is answered 404 and counted. Everything that comes is
 * recorded. Failing to start aborts. */
#ifndef TESTS_FAKE_HTTP_H
#define TESTS_FAKE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define FAKE_HTTP_STEPS_MAX 256
#define FAKE_HTTP_SEEN_MAX 4096
#define FAKE_HTTP_ALWAYS 0x7fffffff /* times */

enum fake_http_fault {
	FAKE_HTTP_NONE,
	FAKE_HTTP_DROP, /* closed without an answer */
	FAKE_HTTP_CUT,  /* the answer breaks off after bytes of its body */
};

struct fake_http_step {
	const char *match; /* "POST /api/types/" : method, and a prefix of the path; NULL: any */
	const char *query; /* "name=value" that has to be there, decoded; NULL: whatever */
	int times;         /* 0: once */
	unsigned status;   /* 0: 200 */
	const char *body;  /* NULL: empty */
	const char *type;  /* NULL: application/json */
	const char *headers[6]; /* "Name: value", NULL-ended */
	enum fake_http_fault fault;
	size_t bytes;
	unsigned ms; /* before it is answered */
};

struct fake_http_seen {
	char *method, *path, *body;
	char *authorization; /* "" without; the same for the others */
	char *type, *cookie, *csrf, *referer;
	bool expected; /* a step matched */
};

struct fake_http;

/* cert and key: PEM (fake_cert.h), both NULL: no TLS. */
struct fake_http *fake_http_start(const char *cert, const char *key);
void fake_http_stop(struct fake_http *f);
const char *fake_http_url(const struct fake_http *f); /* "https://127.0.0.1:PORT" */
/* Texts are borrowed until fake_http_stop(). */
void fake_http_add(struct fake_http *f, const struct fake_http_step *step);
void fake_http_on(struct fake_http *f, const char *match, unsigned status, const char *body);
/* Steps and records go. */
void fake_http_clear(struct fake_http *f);

unsigned fake_http_count(struct fake_http *f);
/* Valid until fake_http_clear(). Aborts when there were not that many. */
const struct fake_http_seen *fake_http_seen(struct fake_http *f, unsigned i);
unsigned fake_http_calls(struct fake_http *f, const char *match); /* seen that begin so */
/* Requests that no step matched, and steps that are left (without those for always); both are written to stderr. */
unsigned fake_http_unexpected(struct fake_http *f);
unsigned fake_http_left(struct fake_http *f);
/* Most requests that were being answered at the same time. */
unsigned fake_http_most(struct fake_http *f);

#endif
