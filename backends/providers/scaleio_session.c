/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_session.c - login and logout; one session, shared by all threads
 *
 * A system has room for 128 sessions of all its users, so one is kept and renewed SGW_AHEAD_MS before
 * it would end. Who finds none logs in, outside of the lock; who comes meanwhile waits.
 *
 * Two ways in. Classic: GET /api/login, a token that is the password from then on. Since 4.0:
 * POST /rest/auth/login, a token for "Authorization: Bearer". A gateway of 4.x may know either or both, and
 * tells its version only to whom is logged in. So the classic way is tried first, and left for the other when
 * the version is new or the gateway does not know it. What worked is tried first the next time. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define CLASSIC_LIFE_MS (8 * 3600000ULL)
#define CLASSIC_IDLE_MS (10 * 60000ULL)
#define BEARER_LIFE_S 300 /* when the array does not tell */
#define BEARER_LIFE_MAX_S 86400
#define SGW_AHEAD_MS 30000
#define LOGIN_STEPS 6 /* calls of one login at most, for the limit of who waits for it */
#define LOGINS_MAX 3  /* of one call */
#define VERSION_BEARER 4
#define VERSION_PART_MAX 9999

void sgw_session_done(struct sgw_session *c)
{
	if (c->token)
		explicit_bzero(c->token, strlen(c->token));
	if (c->refresh)
		explicit_bzero(c->refresh, strlen(c->refresh));
	free(c->token);
	free(c->refresh);
	memset(c, 0, sizeof *c);
}

/* --- logging in ------------------------------------------------------------ */

/* What an answer to a login says; WAY_NONE: this is not how one logs in there. */
enum way { WAY_OPEN, WAY_NONE, WAY_CLOSED };

static enum way way_of(const struct rest_reply *a)
{
	if (a->status == 200)
		return WAY_OPEN;
	if (a->status == 404 || a->status == 405 || a->status == 501)
		return WAY_NONE;
	/* The front door of 4.x says 401 as a page of HTML for whatever it does not know. */
	if (a->status == 401 && !json_is_object(a->json))
		return WAY_NONE;
	return WAY_CLOSED;
}

static int login_refused(struct scaleio *s, const struct rest_reply *a, struct err *err)
{
	char text[200];
	unsigned code;
	enum sgw_fault fault;

	if (a->status == 401)
		return err_set(err, -EACCES, "%s: login: user or password of \"%s\" is refused",
			       s->base.name, s->cfg.user);
	fault = sgw_judge(a->status, a->json, text, sizeof text, &code);
	/* What it says is not repeated: the request holds the password. */
	return err_set(err, fault == SGW_NO_ROUTE ? -EPROTO : sgw_errno(fault),
		       "%s: login: refused with HTTP status %ld, code %u", s->base.name, a->status,
		       code);
}

static int token_set(char **out, const char *text, struct err *err)
{
	size_t n = strlen(text);

	if (!n || n >= SGW_TOKEN_MAX)
		return err_set(err, -EPROTO, "login: the answer holds no token");
	for (size_t i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] == 0x7f)
			return err_set(err, -EPROTO, "login: the token is none");
	*out = strdup(text);
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int login_classic(struct scaleio *s, struct sgw_session *c, enum way *way, struct err *err)
{
	char password[ARRAY_PASSWORD_MAX];
	char token[SGW_TOKEN_MAX];
	const struct rest_request q = { .call = "login",
					.method = "GET",
					.path = "/api/login",
					.user = s->cfg.user,
					.password = password,
					.safe = true };
	struct rest_reply a = { 0 };
	int rc = array_password(&s->cfg, password, err);

	*way = WAY_CLOSED;
	if (!rc)
		rc = sgw_rest(s, &q, &a, err);
	explicit_bzero(password, sizeof password);
	if (!rc) {
		*way = way_of(&a);
		if (*way != WAY_OPEN)
			rc = login_refused(s, &a, err);
		else if (!sgw_bare(&a, token, sizeof token))
			rc = err_set(err, -EPROTO, "%s: login: the answer is no token",
				     s->base.name);
		else
			rc = token_set(&c->token, token, err);
	}
	explicit_bzero(token, sizeof token);
	rest_reply_done(&a);
	c->bearer = c->by_rest = false;
	c->life_ms = CLASSIC_LIFE_MS;
	c->idle_ms = CLASSIC_IDLE_MS;
	return rc;
}

static int take_bearer(struct sgw_session *c, const json_t *answer, struct err *err)
{
	uint64_t seconds;
	int rc = token_set(&c->token, rest_text(answer, "access_token"), err);

	if (!rc && *rest_text(answer, "refresh_token"))
		rc = token_set(&c->refresh, rest_text(answer, "refresh_token"), err);
	if (!rest_u64(json_object_get(answer, "expires_in"), &seconds) || !seconds)
		seconds = BEARER_LIFE_S;
	if (seconds > BEARER_LIFE_MAX_S)
		seconds = BEARER_LIFE_MAX_S;
	c->bearer = c->by_rest = true;
	c->life_ms = seconds * 1000;
	c->idle_ms = UINT64_MAX;
	return rc;
}

static int login_bearer(struct scaleio *s, struct sgw_session *c, enum way *way, struct err *err)
{
	char password[ARRAY_PASSWORD_MAX];
	struct rest_request q = {
		.call = "login", .method = "POST", .path = "/rest/auth/login", .safe = true
	};
	struct rest_reply a = { 0 };
	json_t *body = NULL;
	char *text = NULL;
	int rc = array_password(&s->cfg, password, err);

	*way = WAY_CLOSED;
	if (!rc) {
		body = json_pack("{s:s, s:s}", "username", s->cfg.user, "password", password);
		text = body ? json_dumps(body, JSON_COMPACT) : NULL;
		q.body = text;
		rc = text ? sgw_rest(s, &q, &a, err) :
			    err_set(err, -EINVAL, "%s: user or password is no UTF-8", s->base.name);
	}
	explicit_bzero(password, sizeof password);
	if (!rc) {
		*way = way_of(&a);
		rc = *way == WAY_OPEN ? take_bearer(c, a.json, err) : login_refused(s, &a, err);
	}
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	json_decref(body);
	rest_reply_done(&a);
	return rc;
}

/* --- version --------------------------------------------------------------- */

static bool version_part(const char **text, unsigned *out)
{
	char *end;
	unsigned long v = strtoul(*text, &end, 10);

	if (end == *text || v > VERSION_PART_MAX)
		return false;
	*out = (unsigned)v;
	*text = end;
	return true;
}

/* By number of each part: "3.10" is newer than "3.9". */
static int learn_version(struct scaleio *s, struct sgw_session *c, struct err *err)
{
	const struct sgw_call q = {
		.call = "version", .method = "GET", .path = "/api/version", .safe = true
	};
	struct rest_reply a = { 0 };
	char buf[64];
	const char *text = buf;
	int rc = sgw_send(s, &q, c, &a, err);

	if (rc)
		return rc;
	if (a.status != 200 || !sgw_bare(&a, buf, sizeof buf) ||
	    !version_part(&text, &c->version.major) ||
	    (*text == '.' && (text++, !version_part(&text, &c->version.minor))))
		rc = err_set(err, a.status >= 500 ? -EAGAIN : -EPROTO,
			     "%s: version: no version in the answer (HTTP status %ld)",
			     s->base.name, a.status);
	rest_reply_done(&a);
	return rc;
}

/* --- logging out ----------------------------------------------------------- */

/* Best effort: the session ends by itself some time. */
static void log_out(struct scaleio *s, const struct sgw_session *c)
{
	AUTO_FREE char *header = NULL;
	AUTO_FREE char *text = NULL;
	const char *headers[2] = { NULL, NULL };
	struct rest_request q = { .call = "logout",
				  .method = c->by_rest ? "POST" : "GET",
				  .path = c->by_rest ? "/rest/auth/logout" : "/api/logout",
				  .headers = headers,
				  .total_ms = SGW_LOGOUT_MS };
	struct rest_reply a;
	json_t *body = NULL;

	if (!c->token || (c->bearer && asprintf(&header, "Authorization: Bearer %s", c->token) < 0))
		return;
	headers[0] = header;
	if (!c->bearer) {
		q.user = s->cfg.user;
		q.password = c->token;
	}
	if (c->by_rest && c->refresh) {
		body = json_pack("{s:s}", "refresh_token", c->refresh);
		text = body ? json_dumps(body, JSON_COMPACT) : NULL;
		q.body = text;
	}
	if (!sgw_rest(s, &q, &a, NULL))
		rest_reply_done(&a);
	json_decref(body);
}

void sgw_logout(struct scaleio *s)
{
	log_out(s, &s->session);
	sgw_session_done(&s->session);
}

/* --- both ways ------------------------------------------------------------- */

/* A classic session of a new release is exchanged, where the release has the other way. */
static void exchange(struct scaleio *s, struct sgw_session *c)
{
	struct sgw_session b = { .version = c->version };
	struct err ignored;
	enum way way;

	if (login_bearer(s, &b, &way, &ignored)) {
		sgw_session_done(&b);
		c->bearer = true; /* the classic token is taken as one */
		return;
	}
	log_out(s, c);
	sgw_session_done(c);
	*c = b;
}

static int login(struct scaleio *s, enum sgw_login style, struct sgw_session *out, struct err *err)
{
	struct sgw_session c = { 0 };
	enum way way = WAY_NONE;
	bool only = s->own.login != SGW_LOGIN_AUTO;
	int rc;

	if (style == SGW_LOGIN_BEARER)
		rc = login_bearer(s, &c, &way, err);
	else
		rc = login_classic(s, &c, &way, err);
	if (rc && way == WAY_NONE && !only) {
		struct err second = { "" };

		sgw_session_done(&c);
		rc = style == SGW_LOGIN_BEARER ? login_classic(s, &c, &way, &second) :
						 login_bearer(s, &c, &way, &second);
		if (rc && way != WAY_NONE)
			*err = second;
	}
	if (!rc)
		rc = learn_version(s, &c, err);
	if (!rc && !c.by_rest && c.version.major >= VERSION_BEARER) {
		if (only)
			c.bearer = true;
		else
			exchange(s, &c);
	}
	if (rc) {
		if (c.token)
			log_out(s, &c);
		sgw_session_done(&c);
	} else {
		*out = c;
	}
	return rc;
}

/* --- one for all threads --------------------------------------------------- */

static bool is_good_locked(const struct scaleio *s)
{
	const struct sgw_session *c = &s->session;
	uint64_t now = clock_ms(), ahead = SGW_AHEAD_MS;

	if (!c->serial)
		return false;
	if (c->life_ms < 4 * ahead) /* of a short life a quarter has to do */
		ahead = c->life_ms / 4;
	return now - c->born_ms + ahead < c->life_ms &&
	       (c->idle_ms == UINT64_MAX || now - c->used_ms + ahead < c->idle_ms);
}

static int copy_locked(const struct scaleio *s, struct sgw_session *out, struct err *err)
{
	*out = s->session;
	out->token = strdup(s->session.token);
	out->refresh = s->session.refresh ? strdup(s->session.refresh) : NULL;
	if (out->token && (out->refresh || !s->session.refresh))
		return 0;
	sgw_session_done(out);
	return err_set(err, -ENOMEM, "out of memory");
}

/* Until a login that runs has ended; its failure is the caller's, too: with a wrong password, many
 * threads that tried one after another would lock the user out. */
static int wait_for_login_locked(struct scaleio *s, struct err *err)
{
	uint64_t limit = s->cfg.total_ms * REST_WHOLE * LOGIN_STEPS, deadline = clock_ms() + limit;
	uint64_t before = s->logins;

	while (s->logins == before)
		if (!cond_wait_until(&s->login_over, &s->lock, deadline))
			return err_set(err, -EAGAIN, "%s: login takes too long", s->base.name);
	if (s->login_rc && err)
		*err = s->login_err;
	return s->login_rc;
}

/* The lock is given up meanwhile. */
static int login_locked(struct scaleio *s, struct err *err)
{
	struct sgw_session fresh = { 0 }, old;
	enum sgw_login style = s->style;
	struct err why = { "" };
	int rc;

	s->logging_in = true;
	mutex_unlock(&s->lock);
	rc = login(s, style, &fresh, &why);
	mutex_lock(&s->lock);
	old = s->session;
	memset(&s->session, 0, sizeof s->session);
	s->logins++;
	if (!rc) {
		fresh.serial = s->logins;
		fresh.born_ms = fresh.used_ms = clock_ms();
		s->session = fresh;
		if (s->own.login == SGW_LOGIN_AUTO)
			s->style = fresh.by_rest ? SGW_LOGIN_BEARER : SGW_LOGIN_CLASSIC;
	}
	s->logging_in = false;
	s->login_rc = rc;
	s->login_err = why;
	cond_broadcast(&s->login_over);
	mutex_unlock(&s->lock);
	if (rc && err)
		*err = why;
	/* A token that nobody will show again still counts as a session. */
	if (old.by_rest)
		log_out(s, &old);
	sgw_session_done(&old);
	mutex_lock(&s->lock);
	return rc;
}

int sgw_session_get(struct scaleio *s, struct sgw_session *out, struct err *err)
{
	int rc = 0;

	mutex_lock(&s->lock);
	/* A session that is over as soon as it was had is shown all the same. */
	for (int n = 0; !rc && !is_good_locked(s) && (n < LOGINS_MAX || !s->session.serial); n++)
		rc = n >= 2 * LOGINS_MAX ?
			     err_set(err, -EAGAIN, "%s: sessions do not last", s->base.name) :
		     s->logging_in ? wait_for_login_locked(s, err) :
				     login_locked(s, err);
	if (!rc)
		rc = copy_locked(s, out, err);
	mutex_unlock(&s->lock);
	return rc;
}

void sgw_session_drop(struct scaleio *s, uint64_t serial)
{
	mutex_lock(&s->lock);
	if (s->session.serial == serial && !s->logging_in)
		sgw_session_done(&s->session);
	mutex_unlock(&s->lock);
}

void sgw_session_used(struct scaleio *s, uint64_t serial)
{
	mutex_lock(&s->lock);
	if (s->session.serial == serial)
		s->session.used_ms = clock_ms();
	mutex_unlock(&s->lock);
}
