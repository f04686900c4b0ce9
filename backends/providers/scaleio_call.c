/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_call.c - one call to a gateway, and its answer */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"

#define ID_DIGITS_MAX 32
#define TEXT_MAX 240 /* of what the array says, in a sentence */
#define PAUSE_DOUBLINGS_MAX 4

void sgw_pause(unsigned n)
{
	uint64_t ms = (uint64_t)atomic_load(&rest_pause_ms)
		      << (n < PAUSE_DOUBLINGS_MAX ? n : PAUSE_DOUBLINGS_MAX);
	const struct timespec ts = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

bool sgw_is_id(const char *text)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF");

	return n && n <= ID_DIGITS_MAX && !text[n];
}

/* Builds differ: with quotes, without, with a newline behind. */
bool sgw_bare(const struct rest_reply *a, char *buf, size_t cap)
{
	const char *text = json_string_value(a->json);
	size_t n;

	if (!text && a->json && !json_is_number(a->json))
		return false;
	if (!text) {
		text = a->body;
		while (isspace((unsigned char)*text))
			text++;
	}
	n = strlen(text);
	while (n && isspace((unsigned char)text[n - 1]))
		n--;
	if (!n || n >= cap)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)text[i]) || text[i] == '<' || text[i] == '"')
			return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	return true;
}

int sgw_rest(struct scaleio *s, const struct rest_request *q, struct rest_reply *out,
	     struct err *err)
{
	int rc = rest_call(s->rest, q, out, err);

	return rc == -EMSGSIZE ? -EPROTO : rc; /* provider.h does not tell them apart */
}

int sgw_send(struct scaleio *s, const struct sgw_call *q, const struct sgw_session *c,
	     struct rest_reply *out, struct err *err)
{
	AUTO_FREE char *body = q->body ? json_dumps(q->body, JSON_COMPACT) : NULL;
	AUTO_FREE char *header = NULL;
	const char *headers[2] = { NULL, NULL };
	struct rest_request rq = { .call = q->call,
				   .method = q->method,
				   .path = q->path,
				   .headers = headers,
				   .body = body,
				   .safe = q->safe };
	int rc;

	if ((q->body && !body) ||
	    (c->bearer && asprintf(&header, "Authorization: Bearer %s", c->token) < 0))
		return err_set(err, -ENOMEM, "out of memory");
	headers[0] = header;
	if (!c->bearer) {
		rq.user = s->cfg.user;
		rq.password = c->token;
	}
	rc = sgw_rest(s, &rq, out, err);
	if (header)
		explicit_bzero(header, strlen(header));
	return rc;
}

/* --- judgement ------------------------------------------------------------- */

/* A server that is not what it should be may send back what it was sent. */
static bool tells_secret(const struct scaleio *s, const struct sgw_session *c, const char *text)
{
	char password[ARRAY_PASSWORD_MAX];
	bool tells = !array_password(&s->cfg, password, NULL) && strstr(text, password);

	explicit_bzero(password, sizeof password);
	return tells || (c->token && strstr(text, c->token)) ||
	       (c->refresh && strstr(text, c->refresh));
}

static int refuse(const struct scaleio *s, const struct sgw_call *q, const struct sgw_session *c,
		  const struct rest_reply *a, enum sgw_fault *fault, struct err *err)
{
	char text[TEXT_MAX], whole[64];
	unsigned code;

	*fault = sgw_judge(a->status, a->json, text, sizeof text, &code);
	if (!*text || tells_secret(s, c, text))
		snprintf(text, sizeof text, "refused without a reason");
	if (code)
		snprintf(whole, sizeof whole, "code %u", code);
	else
		snprintf(whole, sizeof whole, "HTTP status %ld", a->status);
	if (*fault == SGW_DENIED && a->status == 401)
		return err_set(err, -EACCES, "%s: %s: user or password of \"%s\" is refused",
			       s->base.name, q->call, s->cfg.user);
	return err_set(err, sgw_errno(*fault), "%s: %s: %s (%s)", s->base.name, q->call, text,
		       whole);
}

/* What a success holds. */
static int accept_answer(const struct scaleio *s, const struct sgw_call *q, struct rest_reply *a,
			 json_t **out, enum sgw_fault *fault, struct err *err)
{
	char text[TEXT_MAX];
	json_t *value;

	*fault = SGW_OK;
	if (a->json)
		value = json_incref(a->json);
	else if (!a->len)
		value = json_null();
	else if (sgw_bare(a, text, sizeof text))
		value = json_string(text);
	else
		value = NULL;
	if (!value) {
		/* A change was carried out, perhaps; a read says nothing that can be used. */
		*fault = SGW_LOST;
		return err_set(err, q->safe ? -EPROTO : -EAGAIN,
			       "%s: %s: the answer cannot be understood", s->base.name, q->call);
	}
	if (out)
		*out = value;
	else
		json_decref(value);
	return 0;
}

/* --- calls ----------------------------------------------------------------- */

/* Some builds of 2.x say 403 of a session that has ended. */
static bool session_has_gone(const struct sgw_session *c, const struct rest_reply *a)
{
	return a->status == 401 || (a->status == 403 && !c->by_rest && c->version.major < 3);
}

/* One round: a session, the request, and once more with a new session. *status: of the answer, or 0. */
static int call_once(struct scaleio *s, const struct sgw_call *q, json_t **out,
		     enum sgw_fault *fault, long *status, struct err *err)
{
	struct sgw_session c = { 0 };
	struct rest_reply a = { 0 };
	int rc = 0;

	*fault = SGW_LOST;
	for (int round = 0; round < 2; round++) {
		rest_reply_done(&a);
		sgw_session_done(&c);
		rc = sgw_session_get(s, &c, err);
		if (!rc)
			rc = sgw_send(s, q, &c, &a, err);
		if (rc)
			break;
		if (!session_has_gone(&c, &a)) {
			sgw_session_used(s, c.serial);
			break;
		}
		sgw_session_drop(s, c.serial);
	}
	*status = rc ? 0 : a.status;
	if (!rc && a.status >= 200 && a.status < 300)
		rc = accept_answer(s, q, &a, out, fault, err);
	else if (!rc)
		rc = refuse(s, q, &c, &a, fault, err);
	else if (rc == -EACCES)
		*fault = SGW_DENIED;
	sgw_session_done(&c);
	rest_reply_done(&a);
	return rc;
}

/* Whether the array itself, not the way to it, wants to be asked again: rest.c has done the other. */
static bool ask_again(const struct sgw_call *q, enum sgw_fault fault, long status, unsigned n)
{
	if (fault == SGW_BUSY)
		return true;
	return fault == SGW_LOST && status == 500 && q->safe && n == 0;
}

int sgw_call(struct scaleio *s, const struct sgw_call *q, json_t **out, enum sgw_fault *fault,
	     struct err *err)
{
	enum sgw_fault ignored;
	long status;

	if (!fault)
		fault = &ignored;
	for (unsigned n = 0;; n++) {
		int rc = call_once(s, q, out, fault, &status, err);

		if (rc != -EAGAIN || n + 1 == SGW_TRIES || !ask_again(q, *fault, status, n))
			return rc;
		sgw_pause(n + 1);
	}
}

static int __attribute__((format(printf, 2, 0)))
path_by(char path[SGW_PATH_MAX], const char *fmt, va_list ap, struct err *err)
{
	int n = vsnprintf(path, SGW_PATH_MAX, fmt, ap);

	return n > 0 && n < SGW_PATH_MAX ? 0 : err_set(err, -EINVAL, "a name is too long");
}

int sgw_get(struct scaleio *s, const char *call, json_t **out, enum sgw_fault *fault,
	    struct err *err, const char *fmt, ...)
{
	char path[SGW_PATH_MAX];
	const struct sgw_call q = { .call = call, .method = "GET", .path = path, .safe = true };
	va_list ap;
	int rc;

	if (fault)
		*fault = SGW_ARGUMENT;
	va_start(ap, fmt);
	rc = path_by(path, fmt, ap, err);
	va_end(ap);
	return rc ? rc : sgw_call(s, &q, out, fault, err);
}

int sgw_post(struct scaleio *s, const char *call, bool safe, json_t *body_take, json_t **out,
	     enum sgw_fault *fault, struct err *err, const char *fmt, ...)
{
	char path[SGW_PATH_MAX];
	const struct sgw_call q = {
		.call = call, .method = "POST", .path = path, .body = body_take, .safe = safe
	};
	va_list ap;
	int rc;

	if (fault)
		*fault = SGW_ARGUMENT;
	va_start(ap, fmt);
	rc = path_by(path, fmt, ap, err);
	va_end(ap);
	if (!rc)
		rc = body_take ? sgw_call(s, &q, out, fault, err) :
				 err_set(err, -ENOMEM, "out of memory");
	json_decref(body_take);
	return rc;
}
