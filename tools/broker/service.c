/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tools/broker/metrics.h"
#include "tools/broker/osb.h"

#define PEM_BYTES_MAX (1 << 20)
#define RETIRE_MS 60000 /* for what an old service has begun */
#define DRAIN_MS 30000  /* for connections that are open, before that */
#define PAUSE_MS 20
#define REQUEST_ID_MAX 256
#define OK 200
#define UNAUTHORIZED 401
#define NOT_FOUND 404
#define NOT_ALLOWED 405
#define UNAVAILABLE 503

/* --- the API --------------------------------------------------------------- */

/* Each request waits for the store, at least. */
static bool api_may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	(void)rq;
	return true;
}

static void fill_call(struct httpd_request *rq, struct osb_call *q)
{
	*q = (struct osb_call){
		.method = httpd_method(rq),
		.path = httpd_path(rq),
		.authorization = httpd_header(rq, "Authorization"),
		.version = httpd_header(rq, "X-Broker-API-Version"),
		.identity = httpd_header(rq, "X-Broker-API-Originating-Identity"),
		.request = httpd_header(rq, "X-Broker-API-Request-Identity"),
		.content_type = httpd_header(rq, "Content-Type"),
		.if_none_match = httpd_header(rq, "If-None-Match"),
		.accepts_incomplete = httpd_query(rq, "accepts_incomplete"),
		.service_id = httpd_query(rq, "service_id"),
		.plan_id = httpd_query(rq, "plan_id"),
		.operation = httpd_query(rq, "operation"),
		.token = httpd_query(rq, "t"),
	};
	q->body = httpd_body(rq, &q->len);
}

static void add_headers(struct httpd_request *rq, const struct osb_call *q,
			const struct osb_reply *r)
{
	char number[16];

	if (q->request && strlen(q->request) <= REQUEST_ID_MAX)
		httpd_add_header(rq, "X-Broker-API-Request-Identity", q->request);
	if (r->status == UNAUTHORIZED)
		httpd_add_header(rq, "WWW-Authenticate", "Basic realm=\"persifs-broker\"");
	if (r->retry_after) {
		snprintf(number, sizeof number, "%u", r->retry_after);
		httpd_add_header(rq, "Retry-After", number);
	}
	if (*r->etag)
		httpd_add_header(rq, "ETag", r->etag);
	httpd_add_header(rq, "X-Content-Type-Options", "nosniff");
	if (r->route != OSB_DASHBOARD)
		return;
	if (*r->policy)
		httpd_add_header(rq, "Content-Security-Policy", r->policy);
	httpd_add_header(rq, "Referrer-Policy", "no-referrer");
	httpd_add_header(rq, "Cache-Control", "no-store");
}

static void api_answer_http(void *arg, struct httpd_request *rq)
{
	struct bservices *s = arg;
	struct osb_call q;
	struct osb_reply r;

	fill_call(rq, &q);
	osb_answer(s->b, &q, &r);
	add_headers(rq, &q, &r);
	httpd_reply_take(rq, r.status, r.text, r.type);
}

static const struct httpd_handler api_handler = { api_may_wait, api_answer_http, NULL };

/* --- the admin port -------------------------------------------------------- */

static char *health(struct broker *b, unsigned *status)
{
	struct err err = { "" };
	int rc = store_health(b->store, &err);
	json_t *j = json_pack("{s:s, s:b, s:s}", "version", PERSIFS_VERSION, "store", !rc, "error",
			      rc ? err.text : "");
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	*status = rc ? UNAVAILABLE : OK;
	json_decref(j);
	return text;
}

static char *metrics(struct broker *b)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	broker_metrics_print(out, b);
	fclose(out);
	return text;
}

static void admin_answer_http(void *arg, struct httpd_request *rq)
{
	struct bservices *s = arg;
	unsigned status = OK;
	char *text;

	if (strcmp(httpd_method(rq), "GET")) {
		httpd_reply_take(rq, NOT_ALLOWED, strdup("{}"), NULL);
	} else if (!strcmp(httpd_path(rq), "/health")) {
		text = health(s->b, &status);
		httpd_reply_take(rq, status, text, NULL);
	} else if (!strcmp(httpd_path(rq), "/metrics")) {
		httpd_reply_take(rq, OK, metrics(s->b), "text/plain; version=0.0.4; charset=utf-8");
	} else {
		httpd_reply_take(rq, NOT_FOUND, strdup("{}"), NULL);
	}
}

static const struct httpd_handler admin_handler = { api_may_wait, admin_answer_http, NULL };

/* --- certificates ---------------------------------------------------------- */

static int read_pem(const char *key, const char *path, char **out, struct err *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_FD int fd = -1;
	ssize_t n;

	*out = NULL;
	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	text = calloc(1, PEM_BYTES_MAX);
	n = fd < 0 || !text ? -1 : read(fd, text, PEM_BYTES_MAX - 1);
	if (n <= 0)
		return err_set(err, -EINVAL, "%s '%.200s': %s", key, path,
			       n ? strerror(errno) : "it is empty");
	*out = strdup(text);
	explicit_bzero(text, (size_t)n);
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static void forget(char *pem)
{
	if (pem)
		explicit_bzero(pem, strlen(pem));
	free(pem);
}

static int read_pems(const struct bconfig *c, char **cert, char **key, struct err *err)
{
	int rc = read_pem("tls.cert", c->tls_cert, cert, err);

	*key = NULL;
	if (!rc)
		rc = read_pem("tls.key", c->tls_key, key, err);
	if (rc) {
		forget(*cert);
		*cert = NULL;
	}
	return rc;
}

/* --- start ----------------------------------------------------------------- */

static int start_on(struct bservices *s, const char *cert, const char *key, struct httpd **out,
		    struct err *err)
{
	struct httpd_listener l[BCONFIG_LISTEN_MAX] = { { 0 } };
	struct httpd_config cfg = { .name = "broker-http",
				    .listeners = l,
				    .nlisteners = s->nfds,
				    .cert_pem = cert,
				    .key_pem = key,
				    .handler = &api_handler,
				    .arg = s };
	int rc;

	for (unsigned i = 0; i < s->nfds; i++) {
		l[i].fd = fcntl(s->fds[i], F_DUPFD_CLOEXEC, 0);
		l[i].tls = s->tls[i];
	}
	rc = httpd_start(&cfg, out, err);
	for (unsigned i = 0; rc && i < s->nfds; i++)
		close(l[i].fd);
	return rc;
}

static char *address_of(const char *text, unsigned port)
{
	const char *colon = strrchr(text, ':');
	char *out;

	if (!port || !colon)
		return strdup(text);
	return asprintf(&out, "%.*s:%u", (int)(colon - text), text, port) < 0 ? NULL : out;
}

static int open_listeners(struct bservices *s, const struct bconfig *c, struct err *err)
{
	for (size_t i = 0; i < c->nlisten; i++) {
		struct listen_addr a;
		unsigned port;
		int fd;

		if (listen_parse(c->listen[i], &a, err))
			return -EINVAL;
		fd = listen_open(&a, err);
		if (fd < 0)
			return fd;
		s->tls[s->nfds] = !a.is_unix && c->tls_cert;
		s->fds[s->nfds++] = fd;
		port = a.is_unix ? 0 : listen_port(fd);
		if (!s->port)
			s->port = port;
		if (!s->address)
			s->address = address_of(c->listen[i], port);
		if (!a.is_loopback && !c->tls_cert)
			log_warn("broker: '%s' without TLS: passwords can be read on their way",
				 c->listen[i]);
	}
	return 0;
}

static int start_admin(struct bservices *s, const struct bconfig *c, struct err *err)
{
	struct httpd_listener l = { 0 };
	struct httpd_config cfg = { .name = "broker-adm",
				    .listeners = &l,
				    .nlisteners = 1,
				    .handler = &admin_handler,
				    .arg = s };
	struct listen_addr a;
	char text[128];
	int rc;

	if (!c->admin)
		return 0;
	snprintf(text, sizeof text, "tcp:%s", c->admin);
	if (listen_parse(text, &a, err))
		return -EINVAL;
	l.fd = listen_open(&a, err);
	if (l.fd < 0)
		return l.fd;
	s->admin_port = listen_port(l.fd);
	rc = httpd_start(&cfg, &s->admin, err);
	if (rc)
		close(l.fd);
	return rc;
}

int bservices_start(struct bservices *s, const struct bconfig *c, struct err *err)
{
	int rc = read_pems(c, &s->cert, &s->key, err);

	if (!rc)
		rc = open_listeners(s, c, err);
	if (!rc)
		rc = start_on(s, s->cert, s->key, &s->api, err);
	return rc ? rc : start_admin(s, c, err);
}

/* --- another certificate --------------------------------------------------- */

struct retired {
	struct bservices *s;
	struct httpd *old;
};

static void pause_ms(unsigned ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000L };

	nanosleep(&ts, NULL);
}

/* Connections that are open have their answers first; idle ones end with the service. */
static void *retire_main(void *arg)
{
	struct retired *r = arg;
	struct bservices *s = r->s;

	pthread_setname_np(pthread_self(), "broker-retire");
	httpd_quiesce(r->old);
	for (unsigned ms = 0; ms < DRAIN_MS && !s->stopping && httpd_connections(r->old);
	     ms += PAUSE_MS)
		pause_ms(PAUSE_MS);
	if (!httpd_stop(r->old, RETIRE_MS))
		log_warn("broker: requests of before the new certificate still run");
	free(r);
	s->retiring--;
	return NULL;
}

static void retire(struct bservices *s, struct httpd *old)
{
	struct retired *r = malloc(sizeof *r);
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (r)
		*r = (struct retired){ s, old };
	s->retiring++;
	if (!r || pthread_create(&thread, &attr, retire_main, r)) {
		log_error("broker: cannot start a thread; the old certificate is still in use");
		free(r); /* retiring stays: the process ends without freeing anything */
	}
	pthread_attr_destroy(&attr);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

int bservices_reload(struct bservices *s, const struct bconfig *c, struct err *err)
{
	char *cert, *key;
	struct httpd *next;
	int rc = read_pems(c, &cert, &key, err);

	if (!rc && !cert != !s->cert)
		rc = err_set(err, -EINVAL, "tls: beginning or ending it wants a restart");
	if (rc || (same_text(cert, s->cert) && same_text(key, s->key))) {
		if (!rc || cert) {
			forget(cert);
			forget(key);
		}
		return rc;
	}
	rc = start_on(s, cert, key, &next, err);
	if (rc) {
		forget(cert);
		forget(key);
		return rc;
	}
	retire(s, s->api);
	s->api = next;
	forget(s->cert);
	forget(s->key);
	s->cert = cert;
	s->key = key;
	return 0;
}

bool bservices_stop(struct bservices *s, const struct bconfig *c, unsigned limit_ms)
{
	bool ended;

	s->stopping = true;
	for (size_t i = 0; s->api && i < c->nlisten; i++)
		if (!strncmp(c->listen[i], "unix:", 5))
			unlink(c->listen[i] + 5);
	ended = httpd_stop(s->api, limit_ms);
	ended &= httpd_stop(s->admin, limit_ms);
	for (unsigned ms = 0; ms < limit_ms && s->retiring; ms += PAUSE_MS)
		pause_ms(PAUSE_MS);
	ended &= !s->retiring;
	while (s->nfds)
		close(s->fds[--s->nfds]);
	forget(s->cert);
	forget(s->key);
	free(s->address);
	s->cert = s->key = s->address = NULL;
	return ended;
}
