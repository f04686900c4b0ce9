/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_error.c - what an answer means, lists in pages, URLs
 *
 * The array says the same thing in two ways: as JSON ("errors", each with a code, a message and
 * perhaps a field) or as a page of its front end. Codes decide where there are some, then the
 * words that releases have in common, then the status. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"

#define SECRET_MIN 4 /* shorter ones would blot out half of each sentence */

/* --- the class ------------------------------------------------------------------ */

static const struct {
	const char *code;
	int rc;
} codes[] = {
	{ "AEC_TRANSIENT", -EAGAIN },
	{ "AEC_BAD_REQUEST", -EINVAL },
	{ "AEC_ARG_REQUIRED", -EINVAL },
	{ "AEC_ARG_SINGLE_ONLY", -EINVAL },
	{ "AEC_UNAUTHORIZED", -EACCES },
	{ "AEC_FORBIDDEN", -EACCES },
	{ "AEC_LIMIT_EXCEEDED", -ENOSPC },
	{ "AEC_INVALID_LICENSE", -EOPNOTSUPP },
	{ "AEC_NAMETOO_LONG", -EINVAL },
	{ "AEC_NOT_FOUND", -ENOENT },
	{ "AEC_METHOD_NOT_ALLOWED", -EOPNOTSUPP },
	{ "AEC_NOT_ACCEPTABLE", -EOPNOTSUPP },
	{ "AEC_CONFLICT", -EEXIST },
	{ "AEC_PRE_CONDITION_FAILED", -EAGAIN },
	{ "AEC_INVALID_REQUEST_RANGE", -EINVAL },
};

/* Words that tell more than the code or status that they come with. */
static const struct {
	const char *words;
	long from, to; /* statuses that they count for */
	int rc;
} phrases[] = {
	{ "is not empty", 400, 599, -EBUSY },
	{ "bad hostname", 400, 599, -EINVAL },
	{ "invalid resume token", 400, 499, -EAGAIN },
	{ "not found", 500, 500, -ENOENT },
	{ "no such file or directory", 404, 500, -ENOENT },
	{ "does not exist", 404, 500, -ENOENT },
	{ "no space left", 400, 599, -ENOSPC },
};

static int class_of_code(const char *code)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (!strcmp(codes[i].code, code))
			return codes[i].rc;
	return 0;
}

static int class_of_status(long status)
{
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
	case 410:
		return -ENOENT;
	case 405:
	case 406:
	case 501:
		return -EOPNOTSUPP;
	case 408:
	case 425:
	case 429:
		return -EAGAIN;
	case 409:
		return -EEXIST;
	case 507:
		return -ENOSPC;
	default:
		break;
	}
	if (status >= 500 && status < 600)
		return -EAGAIN;
	return status >= 400 && status < 500 ? -EINVAL : -EPROTO;
}

bool isi_says(const struct isi_reply *a, const char *fragment)
{
	return strcasestr(a->message, fragment) != NULL;
}

static int classify(const struct isi_reply *a)
{
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
		if (a->rest.status >= phrases[i].from && a->rest.status <= phrases[i].to &&
		    isi_says(a, phrases[i].words))
			return phrases[i].rc;
	rc = class_of_code(a->code);
	return rc ? rc : class_of_status(a->rest.status);
}

/* --- the message ----------------------------------------------------------------- */

static void blot(char *text, const char *secret)
{
	size_t n = strlen(secret);

	if (n < SECRET_MIN)
		return;
	for (char *at = strstr(text, secret); at; at = strstr(at, secret)) {
		memset(at, '*', n);
		at += n;
	}
}

static void blot_password(const struct onefs *o, char *text)
{
	char password[ARRAY_PASSWORD_MAX];

	if (*text && !array_password(&o->cfg, password, NULL))
		blot(text, password);
	explicit_bzero(password, sizeof password);
}

/* Appends text, cut at cap, with control characters and runs of space made one space. */
static void append_clean(char *buf, size_t cap, const char *text, size_t len)
{
	size_t at = strlen(buf);

	for (size_t i = 0; i < len && at + 1 < cap; i++) {
		unsigned char c = (unsigned char)text[i];

		if (iscntrl(c))
			c = ' ';
		if (c == ' ' && (!at || buf[at - 1] == ' '))
			continue;
		buf[at++] = (char)c;
	}
	buf[at] = '\0';
}

static void append(char *buf, size_t cap, const char *text)
{
	append_clean(buf, cap, text, strlen(text));
}

/* All entries of "errors" become one message; the first code that is known decides. */
static bool take_errors(struct isi_reply *a, const json_t *errors)
{
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *e = json_array_get(errors, i);
		const char *code = rest_text(e, "code"), *field = rest_text(e, "field");

		if (!class_of_code(a->code) && (!*a->code || class_of_code(code)))
			snprintf(a->code, sizeof a->code, "%s", code);
		if (*a->message)
			append(a->message, sizeof a->message, "; ");
		append(a->message, sizeof a->message, rest_text(e, "message"));
		if (*field) {
			append(a->message, sizeof a->message, " (field ");
			append(a->message, sizeof a->message, field);
			append(a->message, sizeof a->message, ")");
		}
	}
	return json_array_size(errors) > 0;
}

/* The heading of a page, or its title. */
static void take_page(struct isi_reply *a)
{
	static const char *const tags[] = { "h1", "title" };

	for (size_t i = 0; i < ARRAY_LEN(tags) && !*a->message; i++) {
		char open[8];
		const char *at, *end;

		snprintf(open, sizeof open, "<%s", tags[i]);
		at = strcasestr(a->rest.body, open);
		at = at ? strchr(at, '>') : NULL;
		end = at ? strchr(at, '<') : NULL;
		if (end)
			append_clean(a->message, sizeof a->message, at + 1, (size_t)(end - at - 1));
	}
}

static void take_message(struct isi_reply *a)
{
	const json_t *json = a->rest.json;

	if (take_errors(a, json_object_get(json, "errors")))
		return;
	if (json)
		append(a->message, sizeof a->message, rest_text(json, "message"));
	else if (a->rest.body)
		take_page(a);
}

static bool is_license(const struct isi_reply *a)
{
	return a->rest.status == 403 && !*a->code &&
	       (isi_says(a, "license") || isi_says(a, "licence"));
}

int isi_judge(const struct onefs *o, const char *call, const struct isi_session *s,
	      struct isi_reply *a, struct err *err)
{
	bool fine = a->rest.status >= 200 && a->rest.status < 300;
	const char *hint = "";
	int rc;

	a->code[0] = a->message[0] = '\0';
	if (fine && !json_array_size(json_object_get(a->rest.json, "errors")))
		return 0;
	take_message(a);
	blot_password(o, a->message);
	if (s) {
		blot(a->message, s->id);
		blot(a->message, s->csrf);
	}
	if (fine) { /* AEC_TRANSIENT: a part of it, or not yet */
		rc = class_of_code(a->code);
		rc = rc ? rc : -EPROTO;
	} else {
		rc = is_license(a) ? -EOPNOTSUPP : classify(a);
	}
	if (rc == -EACCES && a->rest.status == 403)
		hint = "; the account's role lacks a privilege";
	return err_set(err, rc, "%s: %s: %s%s%s (status %ld)%s", o->base.name, call, a->code,
		       *a->code && *a->message ? ": " : "",
		       *a->message ? a->message :
		       *a->code    ? "" :
				     "refused without a reason",
		       a->rest.status, hint);
}

/* --- URLs ----------------------------------------------------------------------------- */

static bool put_pair(FILE *out, char sep, const char *key, const char *value)
{
	AUTO_FREE char *text = rest_escape(value);

	if (!text)
		return false;
	fprintf(out, "%c%s=%s", sep, key, text);
	return true;
}

char *isi_url_pairs(const char *base, const char *const *pairs)
{
	char *text = NULL, sep = strchr(base, '?') ? '&' : '?';
	bool ok = true;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs(base, out);
	for (; ok && pairs[0]; pairs += 2) {
		if (!pairs[1])
			continue;
		ok = put_pair(out, sep, pairs[0], pairs[1]);
		sep = '&';
	}
	if (fclose(out) || !ok) {
		free(text);
		return NULL;
	}
	return text;
}

static bool put_component(FILE *out, const char *at, size_t len)
{
	AUTO_FREE char *part = strndup(at, len);
	AUTO_FREE char *text = part ? rest_escape(part) : NULL;

	if (text)
		fprintf(out, "/%s", text);
	return text != NULL;
}

char *isi_ns_url(const char *path, const char *query)
{
	char *text = NULL;
	bool ok = true;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs("/namespace", out);
	for (const char *p = path; ok && *p;) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n)
			ok = put_component(out, p, n);
		p += n;
	}
	if (query)
		fprintf(out, "?%s", query);
	if (fclose(out) || !ok) {
		free(text);
		return NULL;
	}
	return text;
}

const char *isi_zone_arg(const char *zone)
{
	return *zone && strcmp(zone, ONEFS_SYSTEM) != 0 ? zone : NULL;
}

void isi_pause(const struct onefs *o, unsigned try)
{
	uint64_t ms = o->pause_ms;
	struct timespec ts;

	while (try-- && ms < ONEFS_PAUSE_MAX_MS)
		ms *= 2;
	if (!o->pause_ms)
		return;
	ms = ms > ONEFS_PAUSE_MAX_MS ? ONEFS_PAUSE_MAX_MS : ms;
	ts.tv_sec = (time_t)(ms / 1000);
	ts.tv_nsec = (long)(ms % 1000) * 1000000;
	nanosleep(&ts, NULL);
}

/* --- lists -------------------------------------------------------------------------------- */

static int keep_page(const struct isi_list *l, const json_t *answer, json_t *into,
		     const struct onefs *o, struct err *err)
{
	json_t *items = json_object_get(answer, l->key);

	if (!json_is_array(items))
		return err_set(err, -EPROTO, "%s: %s: the answer has no list \"%s\"", o->base.name,
			       l->call, l->key);
	for (size_t i = 0; i < json_array_size(items); i++) {
		json_t *item = json_array_get(items, i);
		int rc = json_is_object(item) ? l->keep(l->arg, item, into) : 0;

		if (rc)
			return err_set(err, rc, "out of memory");
	}
	if (json_array_size(into) > ONEFS_ITEMS_MAX)
		return err_set(err, -EPROTO, "%s: %s: more than %d entries", o->base.name, l->call,
			       ONEFS_ITEMS_MAX);
	return 0;
}

/* One page. *next: the URL of the next one, NULL at the end. stale: the token is of a list that has changed. */
static int read_page(struct onefs *o, const struct isi_list *l, const char *url, json_t *into,
		     char **next, bool *stale, struct err *err)
{
	const struct isi_call c = { .name = l->call, .method = "GET", .path = url, .safe = true };
	struct isi_reply a;
	const char *token;
	int rc = isi_call(o, &c, &a, err);

	*stale = rc && isi_says(&a, "invalid resume token");
	if (!rc)
		rc = keep_page(l, a.rest.json, into, o, err);
	token = rc ? "" : rest_text(a.rest.json, "resume");
	if (*token) {
		*next = isi_url(l->more, "resume", token);
		if (!*next)
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	isi_reply_done(&a);
	return rc;
}

static int read_pages(struct onefs *o, const struct isi_list *l, json_t *into, bool *stale,
		      struct err *err)
{
	AUTO_FREE char *url = l->path ? strdup(l->path) : NULL;

	if (!url)
		return err_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < ONEFS_PAGES_MAX; i++) {
		char *next = NULL;
		int rc = read_page(o, l, url, into, &next, stale, err);

		if (rc || !next) {
			free(next);
			return rc;
		}
		if (!strcmp(next, url)) { /* would never end */
			free(next);
			return err_set(err, -EPROTO, "%s: %s: the same page comes again",
				       o->base.name, l->call);
		}
		free(url);
		url = next;
	}
	return err_set(err, -EPROTO, "%s: %s: more than %d pages", o->base.name, l->call,
		       ONEFS_PAGES_MAX);
}

int isi_list(struct onefs *o, const struct isi_list *l, json_t **out, struct err *err)
{
	bool stale = false;
	int rc = -EAGAIN;

	for (unsigned i = 0; i <= ONEFS_RESTARTS; i++) {
		json_t *into = json_array();

		if (!into)
			return err_set(err, -ENOMEM, "out of memory");
		rc = read_pages(o, l, into, &stale, err);
		if (!rc) {
			*out = into;
			return 0;
		}
		json_decref(into);
		if (!stale)
			break;
	}
	return rc;
}
