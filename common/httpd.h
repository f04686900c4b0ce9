/* SPDX-License-Identifier: Apache-2.0 */
/* httpd.h - a small HTTP service for JSON bodies, over libmicrohttpd
 *
 * Each listener has one thread that receives, sends, and runs what is answered from
 * memory. Requests of which may_wait() says so run on threads of a pool that grows to
 * HTTPD_WORKERS_MAX; more wait for one. So a call that hangs holds up no other kind.
 *
 * Everything a stranger can make us hold has a limit below. A connection that says
 * nothing, or dribbles, is closed when its time is over; sooner when there are many.
 *
 * TLS: with a client_ca a request without a certificate signed by it is answered 403
 * and never reaches the handler. TLS 1.2 and newer. */
#ifndef COMMON_HTTPD_H
#define COMMON_HTTPD_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define HTTPD_BODY_MAX (1 << 20)          /* bytes of one request's body */
#define HTTPD_BODIES_MAX (64u << 20)      /* bytes of all bodies in memory */
#define HTTPD_DISCARD_MAX (16u << 20)     /* of a body that is too long, read for politeness */
#define HTTPD_CONNECTIONS_MAX 4096        /* of one listener; others wait in the kernel */
#define HTTPD_CONNECTIONS_MANY 2048       /* above, idle ones have HTTPD_PRESSED_MS only */
#define HTTPD_CONNECTION_BYTES (16 << 10) /* request line, headers, what is sent */
#define HTTPD_WORKERS_MAX 256
#define HTTPD_HEADERS_MAX 12         /* of an answer, beside those that every answer has */
#define HTTPD_NO_ANSWER ((size_t)-2) /* for httpd_reply_cut() */
#define HTTPD_IDLE_MS 120000         /* between two requests of a connection */
#define HTTPD_PRESSED_MS 5000
#define HTTPD_RECEIVE_MS 30000 /* for one whole request */
#define HTTPD_SEND_MS 60000    /* for one whole answer */

struct httpd;
struct httpd_request; /* valid until its done() has returned */

struct httpd_handler {
	/* True: answer() may take long and runs in the pool. On the listener's thread. */
	bool (*may_wait)(void *arg, const struct httpd_request *rq);
	/* Answers by one httpd_reply(). Without one, the client gets status 500. */
	void (*answer)(void *arg, struct httpd_request *rq);
	/* After the whole answer was sent, or the client had gone before that. On the
	 * listener's thread: may not wait. Optional. */
	void (*done)(void *arg, struct httpd_request *rq, bool delivered);
};

struct httpd_listener {
	int fd; /* listening; closed by httpd_stop() */
	bool tls;
};

struct httpd_config {
	const char *name; /* of its threads */
	const struct httpd_listener *listeners;
	unsigned nlisteners;
	const char *cert_pem, *key_pem, *client_ca_pem; /* contents; for tls listeners */
	const struct httpd_handler *handler;            /* borrowed until httpd_stop() */
	void *arg;
};

/* Takes requests from here on. -errno with a sentence; the descriptors stay the caller's then. */
int httpd_start(const struct httpd_config *cfg, struct httpd **out, struct err *err);
/* Takes no more requests, and waits limit_ms for those that run. False when some still
 * run: then nothing is freed, and the process should end. NULL is fine. */
bool httpd_stop(struct httpd *h, unsigned limit_ms);

/* Accepts no more connections; those that are open go on until httpd_stop(). The listening sockets are not shut
 * down, only closed here: a service that has duplicates of them goes on accepting. */
void httpd_quiesce(struct httpd *h);
/* How many connections are open. */
unsigned httpd_connections(struct httpd *h);

const char *httpd_method(const struct httpd_request *rq);
const char *httpd_path(const struct httpd_request *rq); /* without query */
/* The body, a NUL behind it; NULL when it was longer than HTTPD_BODY_MAX. */
const char *httpd_body(const struct httpd_request *rq, size_t *len);
/* The value of a header, or NULL. Only in may_wait() and answer(). */
const char *httpd_header(struct httpd_request *rq, const char *name);
/* The value of a query argument, decoded, "" without one; or NULL. Only in may_wait() and answer(). */
const char *httpd_query(struct httpd_request *rq, const char *name);
/* Every query argument in order, repeated ones too, decoded; value is "" without one. Only in may_wait()
 * and answer(). */
void httpd_each_query(struct httpd_request *rq,
		      void (*each)(void *arg, const char *name, const char *value), void *arg);
/* The client has closed, or half-closed, its connection. Only in answer(); never waits. */
bool httpd_client_gone(const struct httpd_request *rq);
/* Status and text (taken, from malloc; NULL: out of memory, status 500) of the answer. type NULL is
 * application/json. */
void httpd_reply_take(struct httpd_request *rq, unsigned status, char *text, const char *type);
/* A header for the answer, both copied; before or after httpd_reply_take(). False: no memory, or more than
 * HTTPD_HEADERS_MAX. */
bool httpd_add_header(struct httpd_request *rq, const char *name, const char *value);
/* For simulators of servers that fail: of the answer only so many bytes are sent, then the
 * connection is closed; with HTTPD_NO_ANSWER it is closed at once. */
void httpd_reply_cut(struct httpd_request *rq, size_t bytes);
/* A place of the handler's for what done() has to know. */
void **httpd_tag(struct httpd_request *rq);

#endif
