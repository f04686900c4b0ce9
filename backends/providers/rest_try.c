/* SPDX-License-Identifier: Apache-2.0 */
/* rest_try.c - one request and its answer over libcurl, and what a failure of it means */
#include "backends/providers/rest_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define HEADERS_MAX 256 /* lines of one answer */
#define BODY_FIRST 4096

/* What of an answer has come so far. */
struct receive {
	char *body; /* owned */
	size_t len, cap, max;
	char **headers; /* owned; room for HEADERS_MAX and the NULL */
	size_t nheaders, head_bytes;
	bool too_long, no_memory;
};

static void receive_done(struct receive *r)
{
	for (size_t i = 0; i < r->nheaders; i++)
		free(r->headers[i]);
	free(r->headers);
	free(r->body);
	memset(r, 0, sizeof *r);
}

static bool receive_room(struct receive *r, size_t need)
{
	size_t cap = r->cap ? r->cap : BODY_FIRST;
	char *body;

	while (cap < need)
		cap *= 2;
	if (cap == r->cap)
		return true;
	body = realloc(r->body, cap);
	if (!body) {
		r->no_memory = true;
		return false;
	}
	r->body = body;
	r->cap = cap;
	return true;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct receive *r = arg;

	n *= size;
	if (n > r->max - r->len) {
		r->too_long = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (!receive_room(r, r->len + n + 1))
		return CURL_WRITEFUNC_ERROR;
	memcpy(r->body + r->len, data, n);
	r->len += n;
	return n;
}

/* "Name: value" from a line of the server's, trimmed, the name in lower case; NULL: no memory. */
static char *header_line(const char *data, size_t n)
{
	char *h = strndup(data, n);

	if (!h)
		return NULL;
	h[strcspn(h, "\r\n")] = '\0';
	for (char *p = h; *p && *p != ':'; p++)
		*p = (char)tolower((unsigned char)*p);
	n = strlen(h);
	while (n && (h[n - 1] == ' ' || h[n - 1] == '\t'))
		h[--n] = '\0';
	return h;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct receive *r = arg;

	n *= size;
	r->head_bytes += n;
	if (r->head_bytes > REST_HEAD_MAX || r->nheaders == HEADERS_MAX) {
		r->too_long = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (n >= 5 && !memcmp(data, "HTTP/", 5)) { /* of an interim answer were those before */
		while (r->nheaders)
			free(r->headers[--r->nheaders]);
		return n;
	}
	if (!memchr(data, ':', n))
		return n;
	r->headers[r->nheaders] = header_line(data, n);
	if (!r->headers[r->nheaders]) {
		r->no_memory = true;
		return CURL_WRITEFUNC_ERROR;
	}
	r->nheaders++;
	return n;
}

/* --- the request ----------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *text)
{
	struct curl_slist *more = curl_slist_append(*list, text);

	if (!more)
		return false;
	*list = more;
	return true;
}

static struct curl_slist *request_headers(const struct rest_request *q)
{
	struct curl_slist *list = NULL;
	char type[128];
	bool ok;

	snprintf(type, sizeof type, "Content-Type: %s", q->type ? q->type : "application/json");
	/* Without "Expect:" a large body would wait for an answer that old servers do not send. */
	ok = add_header(&list, "Accept: application/json") && add_header(&list, "Expect:") &&
	     (!q->body || add_header(&list, type));
	for (size_t i = 0; ok && q->headers && q->headers[i]; i++)
		ok = add_header(&list, q->headers[i]);
	if (!ok) {
		curl_slist_free_all(list);
		return NULL;
	}
	return list;
}

static void set_method(CURL *c, const struct rest_request *q)
{
	bool sends = q->body || !strcmp(q->method, "POST") || !strcmp(q->method, "PUT");

	if (!strcmp(q->method, "HEAD")) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
		return;
	}
	if (sends) {
		const char *body = q->body ? q->body : "";

		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
	}
	if (strcmp(q->method, sends ? "POST" : "GET") != 0)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
}

static void set_transport(CURL *c, struct rest_try *t)
{
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->why);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_PROXY,
			 ""); /* http_proxy of the environment is not for arrays */
	curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 1L);
	/* curl sends a call again by itself when a kept connection proves to be dead. The server may have
	 * carried out the first one: only calls that may be repeated use kept connections. */
	curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, t->q->safe ? 0L : 1L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)t->connect_ms);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)t->total_ms);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0L : 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0L : 2L);
	if (t->ca_file) {
		curl_easy_setopt(c, CURLOPT_CAINFO, t->ca_file);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	if (t->q->user || t->q->password) {
		curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(c, CURLOPT_USERNAME, t->q->user ? t->q->user : "");
		curl_easy_setopt(c, CURLOPT_PASSWORD, t->q->password ? t->q->password : "");
	}
}

/* --- what came of it ------------------------------------------------------- */

static bool was_connected(CURL *c, const struct rest_try *t)
{
	bool tls = !strncmp(t->base, "https:", 6);
	curl_off_t us = 0;

	curl_easy_getinfo(c, tls ? CURLINFO_APPCONNECT_TIME_T : CURLINFO_CONNECT_TIME_T, &us);
	return us > 0;
}

static void failed(struct rest_try *t, enum rest_outcome outcome, int code, const char *why)
{
	t->outcome = outcome;
	t->code = code;
	if (why)
		snprintf(t->why, sizeof t->why, "%s", why);
}

/* Where curl's codes become ours. */
static void judge(CURL *c, CURLcode rc, const struct receive *r, struct rest_try *t)
{
	if (r->too_long) {
		failed(t, TRY_FAILED, -EMSGSIZE, "the answer is longer than the limit");
		return;
	}
	switch (r->no_memory ? CURLE_OUT_OF_MEMORY : rc) {
	case CURLE_OUT_OF_MEMORY:
		failed(t, TRY_FAILED, -ENOMEM, "out of memory");
		return;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		failed(t, TRY_FAILED, -EACCES, NULL);
		return;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		failed(t, TRY_FAILED, -EPROTO, "the answer is not HTTP");
		return;
	case CURLE_URL_MALFORMAT:
		failed(t, TRY_FAILED, -EINVAL, NULL);
		return;
	case CURLE_SSL_CONNECT_ERROR:
		memmove(t->why + 5, t->why, sizeof t->why - 6);
		memcpy(t->why, "TLS: ", 5);
		__attribute__((fallthrough));
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		failed(t, TRY_NOT_SENT, -EAGAIN, NULL);
		return;
	case CURLE_OPERATION_TIMEDOUT:
		failed(t, was_connected(c, t) || t->q->safe ? TRY_LOST : TRY_NOT_SENT, -EAGAIN,
		       "no answer within the time limit");
		return;
	default:
		failed(t, TRY_LOST, -EAGAIN, NULL);
	}
}

static void finish(CURL *c, CURLcode rc, struct receive *r, struct rest_try *t)
{
	long status = 0;

	if (!rc && !receive_room(r, r->len + 1))
		rc = CURLE_OUT_OF_MEMORY;
	if (rc) {
		if (!t->why[0])
			snprintf(t->why, sizeof t->why, "%s", curl_easy_strerror(rc));
		judge(c, rc, r, t);
		return;
	}
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	r->body[r->len] = '\0';
	r->headers[r->nheaders] = NULL;
	rest_reply_make(&t->reply, status, take_ptr(&r->body), r->len, take_ptr(&r->headers));
	r->nheaders = 0;
	t->outcome = TRY_ANSWERED;
	t->code = 0;
}

void rest_try_run(CURL *curl, struct rest_try *t)
{
	AUTO_FREE char *url = NULL;
	struct receive r = { .max = t->reply_max };
	struct curl_slist *headers = request_headers(t->q);

	memset(&t->reply, 0, sizeof t->reply);
	t->why[0] = '\0';
	r.headers = calloc(HEADERS_MAX + 1, sizeof *r.headers);
	if (!headers || !r.headers || asprintf(&url, "%s%s", t->base, t->q->path) < 0) {
		failed(t, TRY_FAILED, -ENOMEM, "out of memory");
	} else {
		curl_easy_reset(curl); /* keeps the connection */
		set_transport(curl, t);
		set_method(curl, t->q);
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, &r);
		curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
		curl_easy_setopt(curl, CURLOPT_HEADERDATA, &r);
		finish(curl, curl_easy_perform(curl), &r, t);
		curl_easy_reset(curl); /* no password stays in it */
	}
	curl_slist_free_all(headers);
	receive_done(&r);
}
