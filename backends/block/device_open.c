/* SPDX-License-Identifier: Apache-2.0 */
/* device_open.c - a device by its URI */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/block/device.h"
#include "backends/block/layers.h"
#include "backends/block/sdc.h"

static const struct bd_transport *const transports[] = { &bd_file, &bd_nbd, &bd_nvme_tcp,
							 &bd_scaleio };

static const struct bd_transport *find(const char *scheme)
{
	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		const struct bd_transport *t = transports[i];

		for (const char *const *s = t->schemes; *s; s++) {
			if (strcmp(*s, scheme) == 0)
				return t;
		}
	}
	return NULL;
}

static int unknown(const char *scheme, struct err *err)
{
	char known[400] = "";
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_LEN(transports) && at < sizeof known; i++)
		at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "",
				       transports[i]->uri_help);
	return err_set(err, -EINVAL, "there is no device of scheme %.60s; known are: %s", scheme,
		       known);
}

/* "/path" is a path as it stands, with nothing of a URI in it. */
static int parse(const char *text, struct uri *out, struct err *err)
{
	size_t len = strlen(text);

	if (text[0] != '/')
		return uri_parse(text, out, err);
	if (len > URI_MAX) {
		err_set(err, -EINVAL, "a path of %zu bytes is longer than %d", len, URI_MAX);
		return -EINVAL;
	}
	memset(out, 0, sizeof *out);
	memcpy(out->buf + 6, text, len + 1);
	memcpy(out->buf, "file", 5);
	out->scheme = out->buf;
	out->host = out->buf + 5; /* "" */
	out->path = out->buf + 6;
	return 0;
}

static int look_up(const char *text, struct uri *uri, const struct bd_transport **out,
		   struct err *err)
{
	int rc = parse(text, uri, err);

	if (rc)
		return rc;
	*out = find(uri->scheme);
	return *out ? 0 : unknown(uri->scheme, err);
}

int bd_prepare(const char *uri, const struct bd_env *env, struct bd **out, struct err *err)
{
	static const struct bd_env none;
	const struct bd_transport *t;
	struct uri u;
	int rc = look_up(uri, &u, &t, err);

	if (rc)
		return rc;
	if (t->prepare)
		return t->prepare(&u, env ? env : &none, out, err);
	*out = NULL;
	return 0;
}

int bd_open(const char *uri, const char *layers, const struct bd_env *env, struct bd **out,
	    struct err *err)
{
	struct bd_env e = env ? *env : (struct bd_env){ 0 };
	const struct bd_transport *t;
	struct bd *below = NULL;
	struct uri u;
	int rc = look_up(uri, &u, &t, err);

	if (rc) {
		bd_close(e.prepared);
		return rc;
	}
	if (t->prepare && !e.prepared)
		rc = t->prepare(&u, &e, &e.prepared, err);
	assert(t->prepare || !e.prepared);
	if (!rc)
		rc = t->open(&u, &e, &below, err);
	if (rc)
		return rc;
	rc = bd_layers_open(layers, below, out, err);
	if (rc)
		bd_close(below);
	return rc;
}
