/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_login.c - logins. A classic token lives 8 hours, and 10 minutes without use; a bearer token
 * of 4.x as long as the answer said. Both are taken in either kind of header from 4.x on. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

static json_t *unauthorized(struct sio_call *c)
{
	if (c->s->version >= 400) {
		c->status = 401;
		c->html = "Unauthorized";
		return NULL;
	}
	return sio_bad(c, 401, 0, "Unauthorized");
}

static bool is_alive(const struct sio_session *n, uint64_t now)
{
	if (n->expires)
		return now < n->expires;
	return now < n->created + SIO_LIFE_S && now <= n->used + SIO_IDLE_S;
}

static void end_session(struct scaleio *s, size_t i)
{
	sodium_memzero(&s->sessions[i], sizeof s->sessions[i]);
	s->sessions[i] = s->sessions[--s->nsessions];
}

/* Base64 of "user:ms:random", as the real ones look. */
static void make_token(const char *user, uint64_t now, char *out)
{
	char plain[SIO_TOKEN_MAX / 2];
	unsigned char random[16];
	char hex[33];
	int n;

	randombytes_buf(random, sizeof random);
	sodium_bin2hex(hex, sizeof hex, random, sizeof random);
	n = snprintf(plain, sizeof plain, "%.16s:%" PRIu64 "000:%s", user, now, hex);
	sodium_bin2base64(out, SIO_TOKEN_MAX, (unsigned char *)plain, (size_t)n,
			  sodium_base64_VARIANT_ORIGINAL);
}

static struct sio_session *open_session(struct sio_call *c)
{
	struct scaleio *s = c->s;
	uint64_t now = sim_now(s->sim);
	struct sio_session *n;

	for (size_t i = s->nsessions; i-- > 0;)
		if (!is_alive(&s->sessions[i], now))
			end_session(s, i);
	if (s->nsessions == SIO_SESSIONS_MAX) {
		sio_fail(c, 252);
		return NULL;
	}
	n = &s->sessions[s->nsessions++];
	memset(n, 0, sizeof *n);
	n->created = n->used = now;
	make_token(sim_settings(s->sim)->user, now, n->token);
	return n;
}

static bool is_user(const struct scaleio *s, const char *user, const char *password)
{
	const struct sim_config *cfg = sim_settings(s->sim);

	return user && password && !strcmp(user, cfg->user) && !strcmp(password, cfg->password);
}

/* The second half of "user:password", whose first is cut off. */
static char *split(char *basic)
{
	char *colon = basic ? strchr(basic, ':') : NULL;

	if (colon)
		*colon++ = '\0';
	return colon;
}

json_t *sio_login(struct sio_call *c)
{
	AUTO_FREE char *basic = sim_basic(c->rq);
	char *password = split(basic), *text = NULL;
	struct sio_session *n;

	if (!is_user(c->s, basic, password))
		return unauthorized(c);
	n = open_session(c);
	if (!n)
		return NULL;
	if (asprintf(&text, c->s->opt->token == SIO_TOKEN_BARE ? "%s%s" : "\"%s\"%s", n->token,
		     c->s->opt->token == SIO_TOKEN_NEWLINE ? "\n" : "") < 0)
		text = NULL;
	httpd_reply_take(c->rq, 200, text, NULL);
	c->answered = true;
	return NULL;
}

static size_t find_session(const struct scaleio *s, const char *token)
{
	for (size_t i = 0; token && *token && i < s->nsessions; i++)
		if (!strcmp(s->sessions[i].token, token))
			return i;
	return SIZE_MAX;
}

static size_t session_of(struct sio_call *c)
{
	const char *h = httpd_header(c->rq, "Authorization");
	AUTO_FREE char *basic = sim_basic(c->rq);

	if (c->s->version >= 400 && h && !strncasecmp(h, "Bearer ", 7))
		return find_session(c->s, h + 7);
	return find_session(c->s, split(basic));
}

bool sio_logged_in(struct sio_call *c)
{
	struct scaleio *s = c->s;
	size_t i = session_of(c);

	if (i == SIZE_MAX) {
		unauthorized(c);
		return false;
	}
	if (!is_alive(&s->sessions[i], sim_now(s->sim))) {
		end_session(s, i);
		if (s->opt->expired == SIO_EXPIRED_403)
			sio_bad(c, 403, 0, "Forbidden");
		else
			unauthorized(c);
		return false;
	}
	s->sessions[i].used = sim_now(s->sim);
	return true;
}

json_t *sio_logout(struct sio_call *c)
{
	end_session(c->s, session_of(c));
	c->status = 200;
	c->empty = true;
	return NULL;
}

json_t *sio_rest_login(struct sio_call *c)
{
	const struct scaleio_options *opt = c->s->opt;
	struct sio_session *n;
	const char *user, *password;

	if (!sio_text(c, c->body, "username", true, &user) ||
	    !sio_text(c, c->body, "password", true, &password))
		return NULL;
	if (!is_user(c->s, user, password))
		return unauthorized(c);
	n = open_session(c);
	if (!n)
		return NULL;
	make_token("refresh", n->created, n->refresh);
	n->expires = n->created + opt->expires_in;
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:s}", "access_token", n->token,
			 "refresh_token", n->refresh, "token_type", "Bearer", "expires_in",
			 (json_int_t)opt->expires_in, "refresh_expires_in", 1800, "scope",
			 "openid");
}

json_t *sio_rest_logout(struct sio_call *c)
{
	const char *refresh;

	if (!sio_text(c, c->body, "refresh_token", true, &refresh))
		return NULL;
	for (size_t i = c->s->nsessions; *refresh && i-- > 0;)
		if (!strcmp(c->s->sessions[i].refresh, refresh))
			end_session(c->s, i);
	c->status = 204;
	c->empty = true;
	return NULL;
}
