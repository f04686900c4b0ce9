/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_session.c - logins, and one call with one of them
 *
 *             login (one thread; others wait for its outcome)
 *     none ---------------------------------------------------> alive
 *       ^                                                         | Set-Cookie of any answer: renewed
 *       +---------------------------------------------------------+
 *         401; its end is near; calls go to another node now
 *
 * A session holds at the node that gave it, and for requests that name this node as their Referer. A call
 * that finds it gone logs in anew and is made once more; what is refused then is reported. 403 says that the role
 * lacks something: no login helps, but at another node than the session's it may mean the same as 401. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define SESSION_URL "/session/1/session"
#define HEADERS_MAX 6
#define HEADER_MAX (ONEFS_COOKIE_MAX * 2 + 64)
#define VERSION_OLD 2 /* OneFS 7.2, which does not tell */
#define VERSION_MAX 1000

/* --- cookies ---------------------------------------------------------------------- */

/* The value of cookie name in "name=value; attributes" into buf; what cannot go into a header is no value. */
static bool cookie_value(const char *text, const char *name, char buf[ONEFS_COOKIE_MAX])
{
	size_t n = strlen(name), len;

	text += strspn(text, " ");
	if (strncmp(text, name, n) != 0 || text[n] != '=')
		return false;
	text += n + 1;
	len = strcspn(text, "; ");
	if (!len || len >= ONEFS_COOKIE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == ',' || text[i] == '"')
			return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return true;
}

/* True when the answer carries a new session cookie. */
static bool read_cookies(const struct rest_reply *a, char id[ONEFS_COOKIE_MAX],
			 char csrf[ONEFS_COOKIE_MAX])
{
	const char *text;
	bool found = false;
	size_t at = 0;

	while ((text = rest_header(a, "set-cookie", &at)) != NULL) {
		found |= cookie_value(text, "isisessid", id);
		found |= cookie_value(text, "isicsrf", csrf);
	}
	return found;
}

/* --- login --------------------------------------------------------------------------- */

static int login_body(const struct onefs *o, char **out, struct err *err)
{
	char password[ARRAY_PASSWORD_MAX];
	int rc = array_password(&o->cfg, password, err);
	json_t *body = rc ? NULL :
			    json_pack("{s:s, s:s, s:[s, s]}", "username", o->cfg.user, "password",
				      password, "services", "platform", "namespace");

	explicit_bzero(password, sizeof password);
	if (rc)
		return rc;
	*out = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return *out ? 0 : err_set(err, -EINVAL, "%s: user or password is no UTF-8", o->base.name);
}

static uint64_t lifetime_ms(const json_t *answer, const char *key, uint64_t dflt)
{
	uint64_t seconds;

	if (!rest_u64(json_object_get(answer, key), &seconds) || !seconds || seconds > UINT32_MAX)
		seconds = dflt;
	return seconds * 1000;
}

static int judge_login(const struct onefs *o, struct isi_reply *a, struct err *err)
{
	int rc = isi_judge(o, "log in", NULL, a, err);

	if (rc && (a->rest.status == 401 || a->rest.status == 403))
		return err_set(err, -EACCES,
			       "%s: log in: user '%.100s' or the password is not accepted",
			       o->base.name, o->cfg.user);
	return rc;
}

static int log_in(struct onefs *o, struct isi_session *s, struct err *err)
{
	/* A second login does no harm. */
	struct rest_request q = {
		.call = "log in", .method = "POST", .path = SESSION_URL, .safe = true
	};
	struct isi_reply a = { 0 };
	char *body = NULL;
	int rc = login_body(o, &body, err);

	if (rc)
		return rc;
	q.body = body;
	memset(s, 0, sizeof *s);
	rc = o->send(o->rest, &q, &a.rest, err);
	explicit_bzero(body, strlen(body));
	free(body);
	if (rc)
		return rc;
	rc = judge_login(o, &a, err);
	if (!rc && (!read_cookies(&a.rest, s->id, s->csrf) || !*s->id))
		rc = err_set(err, -EPROTO, "%s: log in: the answer holds no session cookie",
			     o->base.name);
	s->url = a.rest.url;
	rest_base(o->rest, s->base, sizeof s->base);
	s->born_ms = s->used_ms = clock_ms();
	s->absolute_ms = lifetime_ms(a.rest.json, "timeout_absolute", 14400);
	s->inactive_ms = lifetime_ms(a.rest.json, "timeout_inactive", 900);
	isi_reply_done(&a);
	return rc;
}

/* --- the session that all share --------------------------------------------------------- */

static bool is_near(uint64_t since, uint64_t life, uint64_t now)
{
	uint64_t margin = life / 4 < ONEFS_RENEW_MS ? life / 4 : ONEFS_RENEW_MS;

	return now - since >= life - margin;
}

static bool is_usable_locked(const struct onefs *o, const char *base)
{
	const struct isi_session *s = &o->session;
	uint64_t now = clock_ms();

	return s->serial && !strcmp(s->base, base) && !is_near(s->born_ms, s->absolute_ms, now) &&
	       !is_near(s->used_ms, s->inactive_ms, now);
}

/* Waits for the login that runs; its failure is everybody's, so that a wrong password is not tried by each. */
static int join_login_locked(struct onefs *o, struct err *err)
{
	uint64_t deadline = clock_ms() + ONEFS_LOGIN_WAIT_MS, seen = o->logins;

	while (o->logging_in && o->logins == seen)
		if (!cond_wait_until(&o->changed, &o->lock, deadline))
			return err_set(err, -EAGAIN, "%s: log in: takes too long", o->base.name);
	if (o->login_rc && err)
		*err = o->login_err;
	return o->login_rc;
}

/* A copy of the session for one call. */
static int session_get(struct onefs *o, struct isi_session *out, struct err *err)
{
	struct isi_session fresh;
	char base[ONEFS_BASE_MAX];
	struct err why = { "" };
	int rc;

	rest_base(o->rest, base, sizeof base);
	mutex_lock(&o->lock);
	while (!is_usable_locked(o, base)) {
		if (!o->logging_in)
			break;
		rc = join_login_locked(o, err);
		if (rc) {
			mutex_unlock(&o->lock);
			return rc;
		}
		rest_base(o->rest, base, sizeof base); /* the login may have moved on */
	}
	if (is_usable_locked(o, base)) {
		*out = o->session;
		mutex_unlock(&o->lock);
		return 0;
	}
	o->logging_in = true;
	mutex_unlock(&o->lock);
	rc = log_in(o, &fresh, &why);
	mutex_lock(&o->lock);
	o->logging_in = false;
	o->logins++;
	o->login_rc = rc;
	o->login_err = why;
	if (!rc) {
		fresh.serial = ++o->serials;
		o->session = *out = fresh;
	}
	cond_broadcast(&o->changed);
	mutex_unlock(&o->lock);
	if (rc && err)
		*err = why;
	return rc;
}

/* An answer came with s: it is in use, and may have been replaced. */
static void session_used(struct onefs *o, const struct isi_session *s, const struct rest_reply *a)
{
	char id[ONEFS_COOKIE_MAX] = "", csrf[ONEFS_COOKIE_MAX] = "";
	bool renewed = a->status != 401 && a->url == s->url && read_cookies(a, id, csrf);

	mutex_lock(&o->lock);
	if (o->session.serial == s->serial) {
		o->session.used_ms = clock_ms();
		if (renewed && *id)
			memcpy(o->session.id, id, sizeof id);
		if (renewed && *csrf)
			memcpy(o->session.csrf, csrf, sizeof csrf);
	}
	mutex_unlock(&o->lock);
}

static void session_drop(struct onefs *o, uint64_t serial)
{
	mutex_lock(&o->lock);
	if (o->session.serial == serial)
		o->session.serial = 0;
	mutex_unlock(&o->lock);
}

/* --- calls ----------------------------------------------------------------------------------- */

struct headers {
	char cookie[HEADER_MAX], csrf[HEADER_MAX], referer[HEADER_MAX];
	const char *list[HEADERS_MAX + 1];
};

static void set_headers(struct headers *h, const struct isi_call *c, const struct isi_session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(c->header); i++)
		if (c->header[i])
			h->list[n++] = c->header[i];
	h->list[n++] = "Accept: application/json";
	if (s) {
		snprintf(h->cookie, sizeof h->cookie, "Cookie: isisessid=%s%s%s", s->id,
			 *s->csrf ? "; isicsrf=" : "", s->csrf);
		snprintf(h->referer, sizeof h->referer, "Referer: %s", s->base);
		h->list[n++] = h->cookie;
		h->list[n++] = h->referer;
	}
	if (s && *s->csrf) {
		snprintf(h->csrf, sizeof h->csrf, "X-CSRF-Token: %s", s->csrf);
		h->list[n++] = h->csrf;
	}
	h->list[n] = NULL;
}

static int send_once(struct onefs *o, const struct isi_call *c, const struct isi_session *s,
		     const char *body, struct isi_reply *out, struct err *err)
{
	char password[ARRAY_PASSWORD_MAX];
	struct headers h;
	struct rest_request q = { .call = c->name,
				  .method = c->method,
				  .path = c->path,
				  .headers = h.list,
				  .body = body,
				  .total_ms = c->total_ms,
				  .safe = c->safe };
	int rc;

	set_headers(&h, c, s);
	if (s)
		return o->send(o->rest, &q, &out->rest, err);
	rc = array_password(&o->cfg, password, err);
	if (!rc) {
		q.user = o->cfg.user;
		q.password = password;
		rc = o->send(o->rest, &q, &out->rest, err);
	}
	explicit_bzero(password, sizeof password);
	return rc;
}

static bool is_session_gone(const struct isi_session *s, const struct rest_reply *a)
{
	return a->status == 401 || (a->status == 403 && a->url != s->url);
}

static int call_with_session(struct onefs *o, const struct isi_call *c, const char *body,
			     struct isi_reply *out, struct err *err)
{
	struct isi_session s;

	for (bool again = false;; again = true) {
		int rc = session_get(o, &s, err);

		if (!rc)
			rc = send_once(o, c, &s, body, out, err);
		if (rc)
			return rc;
		session_used(o, &s, &out->rest);
		if (is_session_gone(&s, &out->rest)) {
			session_drop(o, s.serial);
			if (!again) {
				isi_reply_done(out);
				continue;
			}
		}
		return isi_judge(o, c->name, &s, out, err);
	}
}

int isi_call(struct onefs *o, const struct isi_call *c, struct isi_reply *out, struct err *err)
{
	AUTO_FREE char *body = c->body ? json_dumps(c->body, JSON_COMPACT) : NULL;
	int rc;

	memset(out, 0, sizeof *out);
	if (!c->path || (c->body && !body))
		return err_set(err, -ENOMEM, "out of memory");
	if (!o->basic)
		return call_with_session(o, c, body, out, err);
	rc = send_once(o, c, NULL, body, out, err);
	return rc ? rc : isi_judge(o, c->name, NULL, out, err);
}

void isi_reply_done(struct isi_reply *a)
{
	rest_reply_done(&a->rest);
	memset(a, 0, sizeof *a);
}

int isi_do(struct onefs *o, const struct isi_call *c, struct err *err)
{
	struct isi_reply a;
	int rc = isi_call(o, c, &a, err);

	isi_reply_done(&a);
	return rc;
}

void isi_logout(struct onefs *o)
{
	const struct isi_call c = { .name = "log out", .method = "DELETE", .path = SESSION_URL };
	struct isi_reply a = { 0 };

	if (o->basic || !o->session.serial)
		return;
	if (!send_once(o, &c, &o->session, NULL, &a, NULL))
		isi_reply_done(&a);
	o->session.serial = 0;
}

/* "12.1", "5", or a number. */
static unsigned read_version(const json_t *latest)
{
	uint64_t n = 0;

	if (json_is_string(latest))
		n = strtoul(json_string_value(latest), NULL, 10);
	else if (json_is_number(latest))
		n = json_number_value(latest) >= 1 && json_number_value(latest) < VERSION_MAX ?
			    (uint64_t)json_number_value(latest) :
			    0;
	return n >= 1 && n < VERSION_MAX ? (unsigned)n : VERSION_OLD;
}

int isi_version(struct onefs *o, unsigned *out, struct err *err)
{
	const struct isi_call c = {
		.name = "version", .method = "GET", .path = "/platform/latest", .safe = true
	};
	unsigned version = atomic_load(&o->version);
	struct isi_reply a;
	int rc = 0;

	if (!version) {
		rc = isi_call(o, &c, &a, err);
		if (!rc && !a.rest.json) /* a page that somebody else has put there */
			rc = err_set(err, -EPROTO, "%s: version: the answer is no JSON",
				     o->base.name);
		if (!rc || rc == -ENOENT) {
			version = rc ? VERSION_OLD :
				       read_version(json_object_get(a.rest.json, "latest"));
			rc = 0;
			atomic_store(&o->version, version);
		}
		isi_reply_done(&a);
	}
	*out = version;
	return rc;
}
