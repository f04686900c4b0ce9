/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/discovery.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"
#include "tools/driver/state.h"

#define DRIVER_NAME "persifs"

static const char *find_listener(const struct config *c, const char *scheme)
{
	for (size_t i = 0; i < c->nlisten; i++)
		if (!strncmp(c->listen[i], scheme, strlen(scheme)))
			return c->listen[i] + strlen(scheme);
	return NULL;
}

static void set_if(json_t *object, const char *key, const char *value)
{
	if (value)
		json_object_set_new(object, key, json_string(value));
}

static char *json_text(const struct config *c, const char *tcp, unsigned port)
{
	const char *colon = strrchr(tcp, ':');
	json_t *j, *tls;
	char addr[256], *text;
	bool bare = tcp[0] != '[' && memchr(tcp, ':', (size_t)(colon - tcp)); /* IPv6 */

	snprintf(addr, sizeof addr, "%s://%s%.*s%s:%u", c->tls_cert ? "https" : "http",
		 bare ? "[" : "", (int)(colon - tcp), tcp, bare ? "]" : "", port);
	j = json_pack("{s:s, s:s, s:b}", "Name", DRIVER_NAME, "Addr", addr, "UniqueVolumeIds", 1);
	if (c->tls_cert) {
		tls = json_pack("{s:b}", "InsecureSkipVerify", 0);
		set_if(tls, "CAFile", c->tls_discovery_ca);
		set_if(tls, "CertFile", c->tls_discovery_cert);
		set_if(tls, "KeyFile", c->tls_discovery_key);
		json_object_set_new(j, "TLSConfig", tls);
	}
	text = json_dumps(j, JSON_INDENT(2));
	json_decref(j);
	return text;
}

static char *spec_text(const char *path)
{
	char *text;

	return asprintf(&text, "unix://%s\n", path) < 0 ? NULL : text;
}

int discovery_write(const struct config *c, unsigned tcp_port, char **path, struct err *err)
{
	const char *tcp = find_listener(c, "tcp:"), *un = find_listener(c, "unix:");
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *file = NULL;
	int rc;

	*path = NULL;
	if (!c->discovery || (!tcp && !un))
		return 0;
	text = tcp ? json_text(c, tcp, tcp_port) : spec_text(un);
	if (!text ||
	    asprintf(&file, "%s/" DRIVER_NAME ".%s", c->discovery, tcp ? "json" : "spec") < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = paths_make_folder(c->discovery, err);
	if (rc)
		return rc;
	rc = state_write(file, text, 0644);
	if (rc)
		return err_set(err, rc, "discovery file '%s': %s", file, strerror(-rc));
	*path = take_ptr(&file);
	return 0;
}

void discovery_remove(const char *path)
{
	if (path)
		unlink(path);
}
