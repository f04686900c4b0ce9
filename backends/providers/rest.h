/* SPDX-License-Identifier: Apache-2.0 */
/* rest.h - calls to an array's REST interface, over libcurl
 *
 * A client has one or several base URLs of one system (gateways, nodes) and stays with one
 * of them until that one fails. It keeps connections, limits time and size of everything,
 * and sends again what may be sent again. What an answer means is its caller's business.
 *
 * Sending again. A call marked safe (it reads, or its repeat does no harm) is tried
 * REST_TRIES times, with growing pauses and jitter, at the next URL, while no
 * answer came or it was 502, 503 or 504. A call that is not safe is sent again only when the first
 * one surely was not received (the connection was not made). Otherwise -EAGAIN says: perhaps
 * done; look before you ask again. All tries together take REST_WHOLE times total_ms at most.
 *
 * What curl would do on its own is off: redirects, proxies of the environment (arrays are reached
 * directly), other protocols, a second try of a call on a connection that had gone.
 *
 * No header, user, password or body is ever logged or put into a sentence.
 * Threads: any, several at a time, except rest_new() and rest_free(). */
#ifndef BACKENDS_PROVIDERS_REST_H
#define BACKENDS_PROVIDERS_REST_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define REST_TRIES 4
#define REST_WHOLE 2 /* times total_ms: all tries of a call */
#define REST_URLS_MAX 8
#define REST_PARALLEL_MAX 64
#define REST_HEAD_MAX (64u << 10)   /* bytes of all headers of one answer */
#define REST_REPLY_MAX (512u << 20) /* bytes of one answer: 131072 volumes of a big array */
#define REST_DEPTH_MAX 64           /* levels of nested JSON; jansson's own limit is higher */
#define REST_CALLS_MAX 48           /* kinds of calls that are counted apart */
#define REST_BUCKETS 8

struct rest;

struct rest_config {
	const char *const *urls; /* "https://host[:port]"; a trailing "/" goes */
	size_t nurls;
	const char *ca_file;           /* PEM; NULL: the system's */
	bool insecure;                 /* certificates are not verified */
	uint64_t connect_ms, total_ms; /* 0: 10 s, 60 s */
	size_t reply_max;              /* 0: REST_REPLY_MAX */
	unsigned parallel;             /* calls at a time, others wait; 0: 8 */
};

struct rest_request {
	const char *call;           /* constant text, for counters and sentences: "create volume" */
	const char *method;         /* GET, POST, PUT, DELETE, HEAD */
	const char *path;           /* with query, percent-encoded (rest_escape()) */
	const char *const *headers; /* "Name: value", NULL-ended; may be NULL */
	const char *user, *password; /* basic; NULL: none */
	const char *body;            /* NULL: none */
	const char *type;            /* of the body; NULL: application/json */
	uint64_t total_ms;           /* 0: the client's */
	bool safe;
};

struct rest_reply {
	long status;
	char *body; /* owned, NUL-ended; HEAD: "" */
	size_t len;
	json_t *json;   /* owned; NULL when the body is no JSON (HTML, empty, cut) */
	char **headers; /* owned: "name: value", names in lower case; NULL-ended */
	unsigned url;   /* which one answered */
	bool resent;    /* an earlier try may have been carried out */
};

/* Counters; read any time. */
struct rest_stats {
	struct {
		const char *_Atomic call; /* NULL ends the list */
		_Atomic uint64_t requests, failures, us;
		_Atomic uint64_t bucket[REST_BUCKETS]; /* not cumulative */
	} of[REST_CALLS_MAX];
	_Atomic uint64_t resent, failovers;
};
extern const uint64_t rest_bucket_us[REST_BUCKETS]; /* upper ends; the last is UINT64_MAX */

/* First pause before a try is repeated; tests shorten it. */
extern _Atomic unsigned rest_pause_ms;

/* -EINVAL names the URL, unless it holds a user or password. */
int rest_new(const struct rest_config *cfg, struct rest **out, struct err *err);
void rest_free(struct rest *r);
/* 0: an answer came, whatever its status. -EAGAIN, -EMSGSIZE (longer than reply_max),
 * -EACCES (certificate), -EPROTO (no HTTP), -ENOMEM. */
int rest_call(struct rest *r, const struct rest_request *q, struct rest_reply *out,
	      struct err *err);
void rest_reply_done(struct rest_reply *a);
/* First value of a header (name in lower case) at or after *at, which moves on; or NULL. */
const char *rest_header(const struct rest_reply *a, const char *name, size_t *at);
/* URL that calls go to at present: "https://host:port". */
void rest_base(struct rest *r, char *buf, size_t cap);
const struct rest_stats *rest_stats(const struct rest *r);

/* An answer from its parts: parses the body (taken; NUL-ended) as JSON that is not deeper than
 * REST_DEPTH_MAX. headers: taken, "Name: value" with names in lower case, NULL-ended, or NULL. */
void rest_reply_make(struct rest_reply *a, long status, char *body_take, size_t len,
		     char **headers_take);

/* One path component or query value, percent-encoded; owned by the caller, NULL: no memory. */
char *rest_escape(const char *text);

/* What a number that may also come as a string means; false when it is none. */
bool rest_u64(const json_t *value, uint64_t *out);
/* The string, or "" when it is absent, null or of another type. */
const char *rest_text(const json_t *object, const char *key);

#endif
