/* SPDX-License-Identifier: Apache-2.0 */
#include "common/uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX in place. */
static int percent_decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		int hi, lo;

		if (*s != '%') {
			*to++ = *s;
			continue;
		}
		hi = hex_digit(s[1]);
		lo = hi < 0 ? -1 : hex_digit(s[2]);
		if (lo < 0 || hi * 16 + lo == 0)
			return -EINVAL;
		*to++ = (char)(hi * 16 + lo);
		s += 2;
	}
	if (to < s) /* what has nothing to decode is not written to: it may be shared */
		*to = '\0';
	return 0;
}

static int parse_scheme(struct uri *u, char **rest)
{
	char *s = u->buf;

	if (!isalpha((unsigned char)*s))
		return -EINVAL;
	while (isalnum((unsigned char)*s) || *s == '_' || *s == '+' || *s == '-' || *s == '.')
		s++;
	if (*s != ':')
		return -EINVAL;
	*s = '\0';
	u->scheme = u->buf;
	*rest = s + 1;
	return 0;
}

static int parse_port(const char *s, uint16_t *out, struct err *err)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (!isdigit((unsigned char)*s) || *end || v < 1 || v > 65535)
		return err_set(err, -EINVAL, "port '%.100s': want a number from 1 to 65535", s);
	*out = (uint16_t)v;
	return 0;
}

/* auth starts behind "//" and ends at a NUL: host, host:port, [v6], [v6]:port. */
static int parse_authority(struct uri *u, char *auth, struct err *err)
{
	char *colon;

	if (*auth == '[') {
		char *close = strchr(auth, ']');

		if (!close || (close[1] && close[1] != ':'))
			return -EINVAL;
		*close = '\0';
		u->host = auth + 1;
		return close[1] ? parse_port(close + 2, &u->port, err) : 0;
	}
	u->host = auth;
	colon = strchr(auth, ':');
	if (!colon)
		return 0;
	*colon = '\0';
	return parse_port(colon + 1, &u->port, err);
}

static int parse_query(struct uri *u, char *q, struct err *err)
{
	char *save = NULL;

	for (char *kv = strtok_r(q, "&", &save); kv; kv = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(kv, '=');

		if (!eq || eq == kv)
			return err_set(err, -EINVAL, "parameter '%.100s': want KEY=VALUE", kv);
		if (u->nparams == URI_PARAMS_MAX)
			return err_set(err, -EINVAL, "parameter '%.100s': at most %d are taken", kv,
				       URI_PARAMS_MAX);
		*eq = '\0';
		u->params[u->nparams].key = kv;
		u->params[u->nparams].value = eq + 1;
		if (percent_decode(kv) || percent_decode(eq + 1))
			return err_set(err, -EINVAL,
				       "parameter '%.100s': '%%' without two hex digits, or %%00",
				       kv);
		u->nparams++;
	}
	return 0;
}

static int parse_rest(struct uri *u, char *rest, struct err *err)
{
	static char empty[] = "";
	char *query = strchr(rest, '?');

	u->host = empty;
	if (query) {
		*query++ = '\0';
		if (parse_query(u, query, err))
			return -EINVAL;
	}
	if (!strncmp(rest, "//", 2)) {
		char *auth = rest + 2, *slash = strchr(auth, '/');

		/* Moved down by one, so that the host can end in a NUL and the path keep its slash. */
		rest = slash ? slash : empty;
		memmove(auth - 1, auth, slash ? (size_t)(slash - auth) : strlen(auth) + 1);
		if (slash)
			slash[-1] = '\0';
		if (parse_authority(u, auth - 1, err) || percent_decode(u->host))
			return -EINVAL;
	}
	u->path = rest;
	return percent_decode(u->path);
}

int uri_parse(const char *text, struct uri *out, struct err *err)
{
	struct err why = { "" };
	char *rest;

	memset(out, 0, sizeof *out);
	if (strlen(text) > URI_MAX)
		return err_set(err, -EINVAL, "URI is longer than %d bytes", URI_MAX);
	strcpy(out->buf, text);
	if (parse_scheme(out, &rest))
		return err_set(err, -EINVAL, "not a URI (scheme:...): '%.200s'", text);
	if (parse_rest(out, rest, &why))
		return err_set(err, -EINVAL, "malformed URI '%.200s'%s%s", text,
			       why.text[0] ? ": " : "", why.text);
	return 0;
}

const char *uri_param(const struct uri *uri, const char *key)
{
	for (unsigned i = 0; i < uri->nparams; i++)
		if (!strcmp(uri->params[i].key, key))
			return uri->params[i].value;
	return NULL;
}

int uri_param_u64(const struct uri *uri, const char *key, uint64_t min, uint64_t max, uint64_t dflt,
		  uint64_t *out, struct err *err)
{
	const char *text = uri_param(uri, key);
	unsigned long long v;
	char *end;

	if (!text) {
		*out = dflt;
		return 0;
	}
	errno = 0;
	v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || v < min || v > max)
		return err_set(err, -EINVAL,
			       "URI parameter %s=%.100s: want a number from %llu to %llu", key,
			       text, (unsigned long long)min, (unsigned long long)max);
	*out = v;
	return 0;
}

int uri_only_params(const struct uri *uri, const char *const *known, struct err *err)
{
	for (unsigned i = 0; i < uri->nparams; i++) {
		const char *const *k = known;

		while (*k && strcmp(*k, uri->params[i].key))
			k++;
		if (!*k)
			return err_set(err, -EINVAL, "unknown URI parameter '%.100s'",
				       uri->params[i].key);
	}
	return 0;
}
