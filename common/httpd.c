/* SPDX-License-Identifier: Apache-2.0 */
/* httpd.c - see httpd.h
 *
 * A request:
 *
 *   uri_seen() --> RECEIVING --handler_called(), whole--> WORKING --httpd_reply--> SENDING
 *                     |                                                               |
 *                     '-- time over or client gone ------> completed() <--------------'
 *
 * While it is WORKING in the pool, its connection is suspended: libmicrohttpd neither
 * looks at the socket nor closes it, so that a worker may ask whether the client is
 * still there. The library's own time limit begins anew with each byte; the reaper's
 * does not. It shuts a socket down, and the library notices. */
#include "common/httpd.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/list.h"
#include "common/lock.h"
#include "common/log.h"

#define LISTENERS_MAX 16
#define REAP_MS 500          /* how often the reaper looks */
#define WORKER_IDLE_MS 10000 /* after which a worker without work ends */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define WHOLE SIZE_MAX
#define LIBRARY_TIMEOUT_S (HTTPD_IDLE_MS / 1000)

enum conn_state { CONN_IDLE, CONN_RECEIVING, CONN_WORKING, CONN_SENDING };

struct conn {
	struct list link;
	int fd; /* the library's */
	/* guarded by httpd.lock */
	enum conn_state state;
	uint64_t since_ms;
	bool shut;
	/* owned by the listener's thread */
	bool trusted; /* its certificate was looked at */
};

struct httpd_request {
	struct list link; /* in httpd.queue */
	struct httpd *h;
	struct MHD_Connection *mhd;
	struct conn *conn; /* lives at least as long */
	bool started, pooled, too_long;
	char *method, *path; /* owned */
	char *body;          /* owned */
	size_t len, cap;
	size_t discarded;
	unsigned status;
	char *text;       /* owned until sent */
	const char *type; /* static */
	struct {
		char *name, *value; /* owned */
	} headers[HTTPD_HEADERS_MAX];
	unsigned nheaders;
	size_t cut; /* of httpd_reply_cut(), or WHOLE */
	void *tag;
};

struct httpd {
	const struct httpd_handler *handler;
	void *arg;
	char name[12];
	bool want_cert;
	char *cert, *key, *ca; /* owned: the library keeps pointers */
	unsigned nlisteners;
	struct MHD_Daemon *mhd[LISTENERS_MAX];
	pthread_t reaper;
	_Atomic size_t body_bytes;
	struct mutex lock;
	struct cond work, ended;
	/* guarded by lock */
	struct list conns, queue;
	unsigned nconns, workers, idle_workers;
	bool stopping;
};

/* --- what a handler asks --------------------------------------------------- */

const char *httpd_method(const struct httpd_request *rq)
{
	return rq->method;
}

const char *httpd_path(const struct httpd_request *rq)
{
	return rq->path;
}

const char *httpd_body(const struct httpd_request *rq, size_t *len)
{
	*len = rq->len;
	if (rq->too_long)
		return NULL;
	return rq->body ? rq->body : "";
}

const char *httpd_header(struct httpd_request *rq, const char *name)
{
	return MHD_lookup_connection_value(rq->mhd, MHD_HEADER_KIND, name);
}

const char *httpd_query(struct httpd_request *rq, const char *name)
{
	const char *value = NULL;

	if (!MHD_lookup_connection_value_n(rq->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name),
					   &value, NULL))
		return NULL;
	return value ? value : "";
}

struct query_walk {
	void (*each)(void *arg, const char *name, const char *value);
	void *arg;
};

static enum MHD_Result walk_query(void *cls, enum MHD_ValueKind kind, const char *name,
				  const char *value)
{
	const struct query_walk *w = cls;

	(void)kind;
	w->each(w->arg, name, value ? value : "");
	return MHD_YES;
}

void httpd_each_query(struct httpd_request *rq,
		      void (*each)(void *arg, const char *name, const char *value), void *arg)
{
	struct query_walk w = { each, arg };

	MHD_get_connection_values(rq->mhd, MHD_GET_ARGUMENT_KIND, walk_query, &w);
}

bool httpd_add_header(struct httpd_request *rq, const char *name, const char *value)
{
	unsigned n = rq->nheaders;

	if (n == HTTPD_HEADERS_MAX)
		return false;
	rq->headers[n].name = strdup(name);
	rq->headers[n].value = strdup(value);
	if (!rq->headers[n].name || !rq->headers[n].value) {
		free(rq->headers[n].name);
		free(rq->headers[n].value);
		return false;
	}
	rq->nheaders++;
	return true;
}

void httpd_reply_cut(struct httpd_request *rq, size_t bytes)
{
	rq->cut = bytes;
}

bool httpd_client_gone(const struct httpd_request *rq)
{
	struct pollfd p = { .fd = rq->conn->fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void httpd_reply_take(struct httpd_request *rq, unsigned status, char *text, const char *type)
{
	free(rq->text);
	rq->status = text ? status : MHD_HTTP_INTERNAL_SERVER_ERROR;
	rq->text = text;
	rq->type = type ? type : "application/json";
}

void **httpd_tag(struct httpd_request *rq)
{
	return &rq->tag;
}

/* --- connections ----------------------------------------------------------- */

static void conn_enter(struct httpd *h, struct conn *c, enum conn_state state)
{
	mutex_lock(&h->lock);
	c->state = state;
	c->since_ms = clock_ms();
	mutex_unlock(&h->lock);
}

static void connection_changed(void *cls, struct MHD_Connection *mhd, void **ctx,
			       enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct httpd *h = cls;
	struct conn *c = *ctx;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		c = calloc(1, sizeof *c);
		if (!c || !info) {
			free(c);
			return; /* its requests are refused for want of it */
		}
		c->fd = info->connect_fd;
		c->since_ms = clock_ms();
		mutex_lock(&h->lock);
		list_push_back(&h->conns, &c->link);
		h->nconns++;
		mutex_unlock(&h->lock);
		*ctx = c;
	} else if (c) {
		mutex_lock(&h->lock);
		list_del(&c->link);
		h->nconns--;
		mutex_unlock(&h->lock);
		free(c);
		*ctx = NULL;
	}
}

static uint64_t conn_limit_ms(const struct httpd *h, const struct conn *c)
{
	switch (c->state) {
	case CONN_IDLE:
		return h->nconns > HTTPD_CONNECTIONS_MANY ? HTTPD_PRESSED_MS : HTTPD_IDLE_MS;
	case CONN_RECEIVING:
		return HTTPD_RECEIVE_MS;
	case CONN_SENDING:
		return HTTPD_SEND_MS;
	case CONN_WORKING:
		break;
	}
	return UINT64_MAX;
}

static void reap_locked(struct httpd *h, uint64_t now)
{
	mutex_assert_held(&h->lock);
	list_for_each(l, &h->conns) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->shut || now < c->since_ms || now - c->since_ms < conn_limit_ms(h, c))
			continue;
		c->shut = true;
		shutdown(c->fd, SHUT_RDWR);
	}
}

static void *reaper_main(void *arg)
{
	struct httpd *h = arg;

	pthread_setname_np(pthread_self(), "httpd-reaper");
	mutex_lock(&h->lock);
	while (!h->stopping) {
		reap_locked(h, clock_ms());
		cond_wait_until(&h->ended, &h->lock, clock_ms() + REAP_MS);
	}
	mutex_unlock(&h->lock);
	return NULL;
}

/* --- requests -------------------------------------------------------------- */

static void *uri_seen(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct httpd_request *rq;

	(void)uri;
	if (!info || !info->socket_context)
		return NULL;
	rq = calloc(1, sizeof *rq);
	if (!rq)
		return NULL;
	list_init(&rq->link);
	rq->h = cls;
	rq->mhd = mhd;
	rq->cut = WHOLE;
	rq->conn = info->socket_context;
	conn_enter(rq->h, rq->conn, CONN_RECEIVING);
	return rq;
}

static void completed(void *cls, struct MHD_Connection *mhd, void **ctx,
		      enum MHD_RequestTerminationCode why)
{
	struct httpd *h = cls;
	struct httpd_request *rq = *ctx;

	(void)mhd;
	if (!rq)
		return;
	*ctx = NULL;
	conn_enter(h, rq->conn, CONN_IDLE);
	if (rq->started && h->handler->done)
		h->handler->done(h->arg, rq, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	atomic_fetch_sub(&h->body_bytes, rq->cap);
	free(rq->body);
	free(rq->method);
	free(rq->path);
	free(rq->text);
	for (unsigned i = 0; i < rq->nheaders; i++) {
		free(rq->headers[i].name);
		free(rq->headers[i].value);
	}
	free(rq);
}

static bool body_grow(struct httpd_request *rq, size_t need)
{
	size_t cap = rq->cap ? rq->cap * 2 : 1024, more;
	char *body;

	while (cap < need)
		cap *= 2;
	more = cap - rq->cap;
	if (atomic_fetch_add(&rq->h->body_bytes, more) + more > HTTPD_BODIES_MAX) {
		atomic_fetch_sub(&rq->h->body_bytes, more);
		return false;
	}
	body = realloc(rq->body, cap);
	if (!body) {
		atomic_fetch_sub(&rq->h->body_bytes, more);
		return false;
	}
	rq->body = body;
	rq->cap = cap;
	return true;
}

static enum MHD_Result body_append(struct httpd_request *rq, const char *data, size_t n)
{
	size_t need = rq->len + n + 1;

	if (!rq->too_long &&
	    (need > HTTPD_BODY_MAX + 1 || (need > rq->cap && !body_grow(rq, need))))
		rq->too_long = true;
	if (rq->too_long) {
		rq->discarded += n;
		return rq->discarded > HTTPD_DISCARD_MAX ? MHD_NO : MHD_YES;
	}
	memcpy(rq->body + rq->len, data, n);
	rq->len += n;
	rq->body[rq->len] = '\0';
	return MHD_YES;
}

/* The text of an answer that breaks off. */
struct cut_text {
	size_t cut;
	char text[];
};

static ssize_t read_cut(void *cls, uint64_t pos, char *buf, size_t max)
{
	const struct cut_text *c = cls;
	size_t n = pos < c->cut ? c->cut - (size_t)pos : 0;

	if (!n)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	memcpy(buf, c->text + pos, n < max ? n : max);
	return (ssize_t)(n < max ? n : max);
}

/* Takes text. */
static struct MHD_Response *cut_response(struct httpd_request *rq, char *text)
{
	size_t len = strlen(text);
	struct cut_text *c = malloc(sizeof *c + len + 1);
	struct MHD_Response *r = NULL;

	if (c) {
		memcpy(c->text, text, len + 1);
		c->cut = rq->cut < len ? rq->cut : len;
		r = MHD_create_response_from_callback(len + 1, 4096, read_cut, c, free);
	}
	if (!r)
		free(c);
	free(text);
	return r;
}

static enum MHD_Result send_text(struct httpd_request *rq, unsigned status, char *text,
				 enum MHD_ResponseMemoryMode mode, const char *type)
{
	bool cut = rq->cut != WHOLE && mode == MHD_RESPMEM_MUST_FREE;
	struct MHD_Response *r = cut ? cut_response(rq, text) :
				       MHD_create_response_from_buffer(strlen(text), text, mode);
	enum MHD_Result rc;

	if (!r) {
		if (mode == MHD_RESPMEM_MUST_FREE && !cut)
			free(text);
		return MHD_NO;
	}
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	for (unsigned i = 0; i < rq->nheaders; i++)
		MHD_add_response_header(r, rq->headers[i].name, rq->headers[i].value);
	rc = MHD_queue_response(rq->mhd, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result send_reply(struct httpd_request *rq)
{
	static char failed[] = "{\"Err\":\"internal error\"}";

	conn_enter(rq->h, rq->conn, CONN_SENDING);
	if (rq->cut == HTTPD_NO_ANSWER)
		return MHD_NO;
	if (!rq->text)
		return send_text(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, failed, MHD_RESPMEM_PERSISTENT,
				 "application/json");
	return send_text(rq, rq->status, take_ptr(&rq->text), MHD_RESPMEM_MUST_FREE, rq->type);
}

static bool is_trusted(struct httpd_request *rq)
{
	const union MHD_ConnectionInfo *info;
	unsigned status = ~0u;

	if (!rq->h->want_cert || rq->conn->trusted)
		return true;
	info = MHD_get_connection_info(rq->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (!info)
		return true; /* a listener without TLS */
	if (gnutls_certificate_verify_peers2(info->tls_session, &status) < 0 || status)
		return false;
	rq->conn->trusted = true;
	return true;
}

/* --- the pool -------------------------------------------------------------- */

static void *worker_main(void *arg)
{
	struct httpd *h = arg;

	pthread_setname_np(pthread_self(), h->name);
	mutex_lock(&h->lock);
	for (;;) {
		struct list *l = list_pop(&h->queue);
		struct httpd_request *rq;

		if (!l) {
			bool woken = false;

			if (!h->stopping) {
				h->idle_workers++;
				woken = cond_wait_until(&h->work, &h->lock,
							clock_ms() + WORKER_IDLE_MS);
				h->idle_workers--;
			}
			if (!woken && list_empty(&h->queue))
				break;
			continue;
		}
		mutex_unlock(&h->lock);
		rq = list_entry(l, struct httpd_request, link);
		h->handler->answer(h->arg, rq);
		MHD_resume_connection(rq->mhd); /* from here the listener's thread has it */
		mutex_lock(&h->lock);
	}
	h->workers--;
	cond_broadcast(&h->ended);
	mutex_unlock(&h->lock);
	return NULL;
}

static bool add_worker_locked(struct httpd *h)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	mutex_assert_held(&h->lock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, worker_main, h);
	pthread_attr_destroy(&attr);
	if (rc)
		return false;
	h->workers++;
	return true;
}

/* False when there is nobody to do it. */
static bool hand_over(struct httpd_request *rq)
{
	struct httpd *h = rq->h;
	unsigned queued = 1;
	bool ok = true;

	mutex_lock(&h->lock);
	list_for_each(l, &h->queue)
		queued++;
	if (queued > h->idle_workers && h->workers < HTTPD_WORKERS_MAX)
		ok = add_worker_locked(h) || h->workers;
	ok = ok && !h->stopping;
	if (ok) {
		rq->pooled = true;
		MHD_suspend_connection(rq->mhd);
		list_push_back(&h->queue, &rq->link);
		cond_signal(&h->work);
	}
	mutex_unlock(&h->lock);
	return ok;
}

static enum MHD_Result begin(struct httpd_request *rq, const char *url, const char *method)
{
	static char untrusted[] = "{\"Err\":\"a client certificate is wanted\"}";

	rq->path = strdup(url);
	rq->method = strdup(method);
	if (!rq->path || !rq->method)
		return MHD_NO;
	if (!is_trusted(rq))
		return send_text(rq, MHD_HTTP_FORBIDDEN, untrusted, MHD_RESPMEM_PERSISTENT,
				 "application/json");
	rq->started = true;
	return MHD_YES;
}

static enum MHD_Result handler_called(void *cls, struct MHD_Connection *mhd, const char *url,
				      const char *method, const char *version, const char *data,
				      size_t *len, void **ctx)
{
	struct httpd_request *rq = *ctx;
	struct httpd *h = cls;

	(void)mhd;
	(void)version;
	if (!rq)
		return MHD_NO;
	if (!rq->path)
		return begin(rq, url, method);
	if (*len) {
		enum MHD_Result rc = body_append(rq, data, *len);

		*len = 0;
		return rc;
	}
	if (rq->pooled)
		return send_reply(rq);
	conn_enter(h, rq->conn, CONN_WORKING);
	if (h->handler->may_wait(h->arg, rq)) {
		if (hand_over(rq))
			return MHD_YES;
		return send_reply(rq);
	}
	h->handler->answer(h->arg, rq);
	return send_reply(rq);
}

/* --- start and stop -------------------------------------------------------- */

static struct MHD_Daemon *start_listener(struct httpd *h, const struct httpd_listener *l)
{
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, h->cert },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, h->key },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES },
		{ h->ca ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, h->ca },
		{ MHD_OPTION_END, 0, NULL },
	};
	const struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;

	return MHD_start_daemon(flags | (l->tls ? MHD_USE_TLS : 0), 0, NULL, NULL, handler_called,
				h, MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_CONNECTION_LIMIT,
				(unsigned)HTTPD_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				(size_t)HTTPD_CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
				(unsigned)LIBRARY_TIMEOUT_S, MHD_OPTION_NOTIFY_CONNECTION,
				connection_changed, h, MHD_OPTION_NOTIFY_COMPLETED, completed, h,
				MHD_OPTION_URI_LOG_CALLBACK, uri_seen, h, MHD_OPTION_ARRAY,
				l->tls ? tls : none, MHD_OPTION_END);
}

static void httpd_free(struct httpd *h)
{
	cond_done(&h->work);
	cond_done(&h->ended);
	mutex_done(&h->lock);
	free(h->cert);
	free(h->key);
	free(h->ca);
	free(h);
}

static char *copy_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

static struct httpd *httpd_new(const struct httpd_config *cfg)
{
	struct httpd *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->handler = cfg->handler;
	h->arg = cfg->arg;
	h->want_cert = cfg->client_ca_pem;
	snprintf(h->name, sizeof h->name, "%s", cfg->name);
	h->cert = copy_or_null(cfg->cert_pem);
	h->key = copy_or_null(cfg->key_pem);
	h->ca = copy_or_null(cfg->client_ca_pem);
	mutex_init(&h->lock, LOCK_httpd);
	cond_init(&h->work);
	cond_init(&h->ended);
	list_init(&h->conns);
	list_init(&h->queue);
	return h;
}

int httpd_start(const struct httpd_config *cfg, struct httpd **out, struct err *err)
{
	struct httpd *h = cfg->nlisteners <= LISTENERS_MAX ? httpd_new(cfg) : NULL;

	if (!h)
		return err_set(err, -ENOMEM, "no memory for %u listeners (at most %d)",
			       cfg->nlisteners, LISTENERS_MAX);
	if (pthread_create(&h->reaper, NULL, reaper_main, h)) {
		httpd_free(h);
		return err_set(err, -EAGAIN, "cannot start a thread");
	}
	for (unsigned i = 0; i < cfg->nlisteners; i++) {
		h->mhd[i] = start_listener(h, &cfg->listeners[i]);
		if (!h->mhd[i]) {
			while (i-- > 0) {
				/* The descriptors stay the caller's. */
				MHD_quiesce_daemon(h->mhd[i]);
			}
			httpd_stop(h, 0);
			return err_set(err, -EINVAL, "cannot start the HTTP service%s",
				       cfg->cert_pem ? " (are certificate and key a pair?)" : "");
		}
		h->nlisteners++;
	}
	*out = h;
	return 0;
}

/* Those that are suspended must be resumed before a listener may be stopped. */
static bool wait_for_workers(struct httpd *h, unsigned limit_ms)
{
	uint64_t deadline = clock_ms() + limit_ms;
	bool idle;

	mutex_lock(&h->lock);
	h->stopping = true;
	cond_broadcast(&h->work);
	cond_broadcast(&h->ended);
	while (h->workers && clock_ms() < deadline)
		cond_wait_until(&h->ended, &h->lock, deadline);
	idle = !h->workers;
	mutex_unlock(&h->lock);
	return idle;
}

bool httpd_stop(struct httpd *h, unsigned limit_ms)
{
	if (!h)
		return true;
	if (!wait_for_workers(h, limit_ms))
		return false;
	pthread_join(h->reaper, NULL);
	for (unsigned i = 0; i < h->nlisteners; i++)
		MHD_stop_daemon(h->mhd[i]);
	httpd_free(h);
	return true;
}

void httpd_quiesce(struct httpd *h)
{
	for (unsigned i = 0; i < h->nlisteners; i++) {
		int fd = MHD_quiesce_daemon(h->mhd[i]);

		if (fd >= 0)
			close(fd);
	}
}

unsigned httpd_connections(struct httpd *h)
{
	unsigned n;

	mutex_lock(&h->lock);
	n = h->nconns;
	mutex_unlock(&h->lock);
	return n;
}
