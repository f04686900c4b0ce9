/* SPDX-License-Identifier: Apache-2.0 */
/* rest_reply.c - what an answer holds; nothing here knows of connections */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/rest.h"

/* A server's text may nest as deep as it is long, and a parser that recurses has a stack. */
static bool too_deep(const char *text, size_t len)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '[' || c == '{') {
			if (++depth > REST_DEPTH_MAX)
				return true;
		} else if ((c == ']' || c == '}') && depth) {
			depth--;
		}
	}
	return false;
}

void rest_reply_make(struct rest_reply *a, long status, char *body_take, size_t len,
		     char **headers_take)
{
	memset(a, 0, sizeof *a);
	a->status = status;
	a->body = body_take;
	a->len = len;
	a->headers = headers_take;
	if (len && !too_deep(body_take, len))
		a->json = json_loadb(body_take, len, JSON_DECODE_ANY, NULL);
}

void rest_reply_done(struct rest_reply *a)
{
	free(a->body);
	json_decref(a->json);
	for (size_t i = 0; a->headers && a->headers[i]; i++)
		free(a->headers[i]);
	free(a->headers);
	memset(a, 0, sizeof *a);
}

const char *rest_header(const struct rest_reply *a, const char *name, size_t *at)
{
	size_t n = strlen(name);

	for (; a->headers && a->headers[*at]; (*at)++) {
		const char *h = a->headers[*at];

		if (strncmp(h, name, n) || h[n] != ':')
			continue;
		(*at)++;
		h += n + 1;
		return h + strspn(h, " \t");
	}
	return NULL;
}

char *rest_escape(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char *out = malloc(strlen(text) * 3 + 1), *p = out;

	if (!out)
		return NULL;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (strchr(plain, c)) {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	*p = '\0';
	return out;
}

bool rest_u64(const json_t *value, uint64_t *out)
{
	const char *s = json_string_value(value);
	uint64_t v = 0;

	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return false;
		*out = (uint64_t)json_integer_value(value);
		return true;
	}
	if (!s || !*s)
		return false;
	for (; *s; s++)
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
	*out = v;
	return true;
}

const char *rest_text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}
