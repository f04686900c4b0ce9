/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - see source.h. Both sides are compared decoded, so that an escaped slash or
 * dot hides nothing, and a source with ".." in its path is refused outright: the server
 * would walk it. */
#include "tools/driver/source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/uri.h"

static const char *const schemes[] = { "dir", "memory", "nfs", "image" };

static bool has_scheme(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t n = strlen(schemes[i]);

		if (!strncmp(text, schemes[i], n) && text[n] == ':')
			return true;
	}
	return strstr(text, "://") != NULL;
}

static void put_escaped(FILE *out, const char *path)
{
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (isalnum(c) || strchr("/-._~:@,+=", c))
			fputc(c, out);
		else
			fprintf(out, "%%%02X", c);
	}
}

/* head, then the path with what a URI would take for something else escaped. */
static char *join_escaped(const char *head, size_t nhead, const char *path)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fwrite(head, 1, nhead, out);
	put_escaped(out, path);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

char *source_join(const char *head, const char *path)
{
	return join_escaped(head, strlen(head), path);
}

/* "server:/path" as mount(8) writes it; anything else as it is. NULL without memory. */
static char *to_uri(const char *text)
{
	const char *colon = text[0] == '[' ? strstr(text, "]:/") : strstr(text, ":/");
	char host[300];
	int n;

	if (has_scheme(text) || !colon)
		return strdup(text);
	colon += text[0] == '[';
	n = snprintf(host, sizeof host, "nfs://%.*s", (int)(colon - text), text);
	if (n < 0 || (size_t)n >= sizeof host)
		return strdup(text); /* is no URI either, and told so */
	return join_escaped(host, (size_t)n, colon + 1);
}

static bool has_dotdot(const char *path)
{
	for (const char *p = strstr(path, ".."); p; p = strstr(p + 1, ".."))
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return true;
	return false;
}

static bool is_clean(const char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			return false;
	return true;
}

/* path lies at or below base; several slashes count as one. */
static bool is_below(const char *path, const char *base)
{
	for (;;) {
		while (*base == '/' && base[1] == '/')
			base++;
		while (*path == '/' && path[1] == '/')
			path++;
		if (!*base)
			return true;
		if (*base == '/' && !base[1])
			return !*path || *path == '/';
		if (*base != *path)
			return false;
		base++;
		path++;
		if (!*base)
			return !*path || *path == '/';
	}
}

static bool is_under(const struct uri *u, const char *path, const struct uri *prefix)
{
	char base[PATH_MAX];

	if (strcmp(u->scheme, prefix->scheme))
		return false;
	if (!strcmp(u->scheme, "dir"))
		return realpath(prefix->path, base) && is_below(path, base);
	if (*prefix->host && strcasecmp(u->host, prefix->host))
		return false;
	if (prefix->port && prefix->port != u->port)
		return false;
	return is_below(path, prefix->path);
}

static bool is_allowed(const struct uri *u, const char *path, const char *const *allowed, size_t n)
{
	AUTO_FREE struct uri *prefix = malloc(sizeof *prefix);

	for (size_t i = 0; prefix && i < n; i++)
		if (!uri_parse(allowed[i], prefix, NULL) && is_under(u, path, prefix))
			return true;
	return false;
}

static int resolve_dir(const struct uri *u, char *real, struct failure *f)
{
	if (*u->host || u->nparams)
		return failure_set_safe(f, -EINVAL, "source: a folder is named as dir:/path");
	/* One sentence for what is missing and what is forbidden: no probing of the cell. */
	if (u->path[0] != '/' || !realpath(u->path, real))
		return failure_set_safe(f, -EACCES,
					"source is not among those that are allowed here");
	return 0;
}

int source_resolve(const char *text, const char *const *allowed, size_t nallowed, char **out,
		   struct failure *f)
{
	AUTO_FREE char *uri = NULL;
	AUTO_FREE struct uri *u = malloc(sizeof *u);
	char real[PATH_MAX];
	bool is_dir;

	if (strlen(text) > SOURCE_MAX || !is_clean(text))
		return failure_set_safe(f, -EINVAL,
					"source is too long, or holds control characters");
	uri = to_uri(text);
	if (!uri || !u)
		return failure_set(f, -ENOMEM, "out of memory");
	if (uri_parse(uri, u, NULL) || strchr(u->host, '@') || strchr(u->host, '/'))
		return failure_set_safe(f, -EINVAL,
					"source is neither nfs://server/path nor server:/path");
	if (has_dotdot(u->path))
		return failure_set_safe(f, -EINVAL, "source holds \"..\"");
	is_dir = !strcmp(u->scheme, "dir");
	if (is_dir && resolve_dir(u, real, f))
		return -EINVAL;
	if (!is_allowed(u, is_dir ? real : u->path, allowed, nallowed))
		return failure_set_safe(f, -EACCES,
					"source is not among those that are allowed here");
	if (!strcmp(u->scheme, "nfs") && (!*u->host || u->path[0] != '/'))
		return failure_set_safe(f, -EINVAL,
					"source is neither nfs://server/path nor server:/path");
	*out = is_dir ? join_escaped("dir:", 4, real) : take_ptr(&uri);
	return *out ? 0 : failure_set(f, -ENOMEM, "out of memory");
}

int source_check_prefix(const char *prefix, struct err *err)
{
	AUTO_FREE struct uri *u = malloc(sizeof *u);

	if (!u)
		return err_set(err, -ENOMEM, "out of memory");
	if (uri_parse(prefix, u, err))
		return -EINVAL;
	if (u->nparams)
		return err_set(err, -EINVAL, "prefix '%.200s': may have no ?key=value", prefix);
	if (!strcmp(u->scheme, "dir") && u->path[0] != '/')
		return err_set(err, -EINVAL, "prefix '%.200s': want dir:/path", prefix);
	return 0;
}
