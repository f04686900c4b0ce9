/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_reply.c - errors as OneFS words them, query arguments, and lists in pages */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define CURSOR_LIFE_S 900

/* --- answers ---------------------------------------------------------------- */

void onefs_fail(struct onefs_call *c, unsigned status, const char *code, const char *field,
		const char *fmt, ...)
{
	char text[ONEFS_PATH_MAX + 256];
	json_t *e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!c->errors) {
		c->errors = json_array();
		c->status = status;
	}
	e = json_pack("{s:s, s:s}", "code", code, "message", text);
	if (!e) /* cut in the middle of a character */
		e = json_pack("{s:s, s:s}", "code", code, "message", "Invalid value");
	if (field)
		json_object_set_new(e, "field", json_string(field));
	json_array_append_new(c->errors, e);
}

static const char *title_of(unsigned status)
{
	static const struct {
		unsigned status;
		const char *title;
	} titles[] = {
		{ 400, "Bad Request" }, { 401, "Authorization Required" }, { 403, "Forbidden" },
		{ 404, "Not Found" },   { 405, "Method Not Allowed" },     { 409, "Conflict" },
	};

	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Internal Server Error";
}

static void escape_into(char *out, size_t cap, const char *text)
{
	size_t n = 0;

	for (; *text && n + 8 < cap; text++) {
		const char *e = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;

		if (*text == '&')
			e = "&amp;";
		if (e)
			n += (size_t)sprintf(out + n, "%s", e);
		else
			out[n++] = *text;
	}
	out[n] = '\0';
}

/* The front-end's way of saying the same. */
static void reply_page(struct onefs_call *c)
{
	const json_t *first = json_array_get(c->errors, 0);
	const char *title = title_of(c->status);
	char text[2 * ONEFS_PATH_MAX], *page;

	escape_into(text, sizeof text, json_string_value(json_object_get(first, "message")));
	if (asprintf(&page,
		     "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n"
		     "<title>%u %s</title>\n</head><body>\n<h1>%s</h1>\n<p>%s</p>\n</body></html>\n",
		     c->status, title, title, text) < 0)
		page = NULL;
	httpd_reply_take(c->rq, c->status, page, "text/html; charset=iso-8859-1");
}

static bool as_page(struct onefs_call *c)
{
	bool page;

	mutex_lock(&c->o->lock);
	page = c->o->opt->errors == ERRORS_HTML ||
	       (c->o->opt->errors == ERRORS_MIXED && c->o->nerrors++ % 2);
	mutex_unlock(&c->o->lock);
	return page;
}

void onefs_reply(struct onefs_call *c)
{
	if (c->errors && as_page(c))
		reply_page(c);
	else if (c->errors)
		sim_reply(c->rq, c->status, json_pack("{s:O}", "errors", c->errors));
	else if (c->answer)
		sim_reply(c->rq, c->status, json_incref(c->answer));
	else
		httpd_reply_take(c->rq, c->status, strdup(""), "text/plain");
}

/* --- arguments -------------------------------------------------------------- */

const char *onefs_arg(const struct onefs_call *c, const char *name)
{
	const json_t *v = json_object_get(c->args, name);

	if (json_is_array(v))
		v = json_array_get(v, 0);
	return json_string_value(v);
}

bool onefs_arg_true(const struct onefs_call *c, const char *name)
{
	const char *v = onefs_arg(c, name);

	return v && (!*v || !strcasecmp(v, "true") || !strcmp(v, "1"));
}

bool onefs_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	if (!n || strchr(word, ' '))
		return false;
	for (const char *p = list; (p = strstr(p, word)); p++)
		if (p > list && p[-1] == ' ' && p[n] == ' ')
			return true;
	return false;
}

uint64_t onefs_arg_number(struct onefs_call *c, const char *name, uint64_t dflt, uint64_t max)
{
	const char *text = onefs_arg(c, name);
	char *end;
	unsigned long long v;

	if (!text)
		return dflt;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < 1 || v > max) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "Invalid value '%.64s' for %s", text,
			   name);
		return dflt;
	}
	return v;
}

bool onefs_persona(const json_t *p, const char *kinds, int64_t *id)
{
	const char *text = json_string_value(p), *colon = text ? strchr(text, ':') : NULL;
	char kind[8], *end;

	if (!colon || (size_t)(colon - text) >= sizeof kind || !colon[1])
		return false;
	memcpy(kind, text, (size_t)(colon - text));
	kind[colon - text] = '\0';
	*id = -1;
	if (!onefs_word(kinds, kind))
		return false;
	if (strcmp(kind, "UID") && strcmp(kind, "GID"))
		return true;
	errno = 0;
	*id = (int64_t)strtoul(colon + 1, &end, 10);
	return colon[1] >= '0' && colon[1] <= '9' && !*end && !errno && *id < UINT32_MAX;
}

/* --- pages ------------------------------------------------------------------ */

void onefs_token(char buf[ONEFS_TOKEN])
{
	unsigned char r[16];

	if (getrandom(r, sizeof r, 0) != sizeof r)
		abort(); /* never for so few bytes once the machine is up */
	snprintf(buf, ONEFS_TOKEN,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
		 r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
		 r[15]);
}

static struct onefs_cursor *find_cursor(struct onefs_call *c, const void *of)
{
	const char *token = onefs_arg(c, "resume");

	if (json_object_size(c->args) > 1) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "resume",
			   "No other argument may be given with resume");
		return NULL;
	}
	for (size_t i = 0; *token && i < ONEFS_CURSORS; i++) {
		struct onefs_cursor *k = &c->o->cursors[i];

		if (k->of == of && !strcmp(k->token, token) && c->now - k->made <= CURSOR_LIFE_S)
			return k;
	}
	onefs_fail(c, 400, "AEC_BAD_REQUEST", "resume", "Invalid resume token '%.64s'", token);
	return NULL;
}

/* The one for what comes after this page; the oldest gives way. */
static struct onefs_cursor *keep_cursor(struct onefs_call *c, const void *of, json_t *keys,
					size_t at)
{
	struct onefs_cursor *k = &c->o->cursors[0];

	for (size_t i = 0; i < ONEFS_CURSORS && *k->token; i++)
		if (!*c->o->cursors[i].token || c->o->cursors[i].made < k->made)
			k = &c->o->cursors[i];
	json_decref(k->keys);
	json_decref(k->args);
	onefs_token(k->token);
	k->of = of;
	k->keys = json_incref(keys);
	k->args = json_incref(c->args);
	k->at = at;
	k->made = c->now;
	return k;
}

json_t *onefs_page(struct onefs_call *c, const void *of, json_t *keys_take, json_t **resume)
{
	json_t *keys = keys_take, *page;
	size_t at = 0, n, limit;

	mutex_assert_held(&c->o->lock);
	if (!keys) {
		struct onefs_cursor *k = find_cursor(c, of);

		if (!k)
			return NULL;
		keys = json_incref(k->keys);
		at = k->at;
		json_decref(c->args);
		c->args = json_incref(k->args);
	}
	limit = onefs_arg_number(c, "limit", ONEFS_PAGE, ONEFS_PAGE_MAX);
	n = json_array_size(keys);
	page = json_array();
	for (; limit && at < n; at++, limit--)
		json_array_append_new(page, json_deep_copy(json_array_get(keys, at)));
	*resume = at < n && !c->errors ? json_string(keep_cursor(c, of, keys, at)->token) :
					 json_null();
	json_decref(keys);
	return page;
}
