/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_client.h - a simulated OneFS in a folder of its own, and a plain client of it */
#ifndef TESTS_UNIT_TOOLS_ONEFS_CLIENT_H
#define TESTS_UNIT_TOOLS_ONEFS_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <curl/curl.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/sim.h"

#define NFS "/platform/2/protocols/nfs"
#define EXPORTS NFS "/exports"
#define QUOTAS "/platform/1/quota/quotas"
#define SNAPS "/platform/1/snapshot/snapshots"
#define CONTAINER "x-isi-ifs-target-type: container"
#define HEADERS_MAX 8

static struct onefs_client {
	char dir[64], state[96], origin[64];
	struct sim *sim;
	CURL *curl;
	bool session; /* calls use it instead of basic authentication */
	char id[64], csrf[64];
	/* of the last answer */
	long status;
	char *body;
	size_t len;
	json_t *json;
	char cookies[2][256];
	unsigned ncookies;
} fx;

/* --- the client ------------------------------------------------------------- */

static inline size_t take_body(const char *data, size_t size, size_t n, void *arg)
{
	(void)arg;
	fx.body = realloc(fx.body, fx.len + size * n + 1);
	memcpy(fx.body + fx.len, data, size * n);
	fx.len += size * n;
	fx.body[fx.len] = '\0';
	return size * n;
}

static inline size_t take_header(const char *data, size_t size, size_t n, void *arg)
{
	(void)arg;
	if (size * n > 12 && !strncasecmp(data, "Set-Cookie: ", 12) && fx.ncookies < 2)
		snprintf(fx.cookies[fx.ncookies++], sizeof fx.cookies[0], "%.*s",
			 (int)(size * n - 14), data + 12);
	return size * n;
}

static inline struct curl_slist *session_headers(struct curl_slist *h)
{
	char text[160];

	snprintf(text, sizeof text, "Cookie: other=1; isisessid=%s", fx.id);
	h = curl_slist_append(h, text);
	if (*fx.csrf) {
		snprintf(text, sizeof text, "X-CSRF-Token: %s", fx.csrf);
		h = curl_slist_append(h, text);
		snprintf(text, sizeof text, "Referer: %s", fx.origin);
		h = curl_slist_append(h, text);
	}
	return h;
}

static inline void prepare(const char *method, const char *body)
{
	curl_easy_reset(fx.curl);
	curl_easy_setopt(fx.curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(fx.curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(fx.curl, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(fx.curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(fx.curl, CURLOPT_HEADERFUNCTION, take_header);
	if (!strcmp(method, "HEAD"))
		curl_easy_setopt(fx.curl, CURLOPT_NOBODY, 1L);
	if (body)
		curl_easy_setopt(fx.curl, CURLOPT_POSTFIELDS, body);
	free(fx.body);
	json_decref(fx.json);
	fx.body = NULL;
	fx.json = NULL;
	fx.len = 0;
	fx.ncookies = 0;
}

/* Status of a call; headers: texts, NULL-ended, or NULL. */
static inline long call_with(const char *method, const char *path, const char *body,
			     const char *const *headers)
{
	struct curl_slist *h = curl_slist_append(NULL, "Content-Type: application/json");
	char url[4096];

	prepare(method, body);
	snprintf(url, sizeof url, "%s%s", fx.origin, path);
	curl_easy_setopt(fx.curl, CURLOPT_URL, url);
	if (fx.session)
		h = session_headers(h);
	else
		curl_easy_setopt(fx.curl, CURLOPT_USERPWD, "admin:password");
	for (; headers && *headers; headers++)
		h = curl_slist_append(h, *headers);
	curl_easy_setopt(fx.curl, CURLOPT_HTTPHEADER, h);
	assert_int_equal(curl_easy_perform(fx.curl), CURLE_OK);
	curl_easy_getinfo(fx.curl, CURLINFO_RESPONSE_CODE, &fx.status);
	curl_slist_free_all(h);
	fx.json = fx.body ? json_loads(fx.body, 0, NULL) : NULL;
	return fx.status;
}

static inline long call(const char *method, const char *path, const char *body)
{
	return call_with(method, path, body, NULL);
}

static inline long with_header(const char *method, const char *path, const char *header)
{
	const char *const h[] = { header, NULL };

	return call_with(method, path, NULL, h);
}

static inline long make_dir(const char *path)
{
	return with_header("PUT", path, CONTAINER);
}

static inline const json_t *first(const char *list)
{
	const json_t *v = json_array_get(json_object_get(fx.json, list), 0);

	assert_non_null(v);
	return v;
}

static inline const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

static inline const char *code(void)
{
	return text_of(first("errors"), "code");
}

/* Member of the answer's list's first object. */
static inline json_int_t number(const char *list, const char *key)
{
	return json_integer_value(json_object_get(first(list), key));
}

static inline long make_export(const char *query, const char *body)
{
	char path[256];

	snprintf(path, sizeof path, EXPORTS "?%s", query);
	return call("POST", path, body);
}

/* --- start and stop --------------------------------------------------------- */

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void begin_again(const char *const *settings)
{
	struct sim_config cfg = {
		.listen = "tcp:127.0.0.1:0", .root = fx.dir, .state = fx.state, .settings = settings
	};
	struct err err = { "" };

	if (sim_start(&sim_onefs, &cfg, &fx.sim, &err))
		fail_msg("%s", err.text);
	snprintf(fx.origin, sizeof fx.origin, "http://127.0.0.1:%u", sim_port(fx.sim));
}

static inline int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-onefs.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.state, sizeof fx.state, "%s/state", fx.dir);
	fx.curl = curl_easy_init();
	return fx.curl ? 0 : -1;
}

static inline int teardown(void **state)
{
	(void)state;
	sim_stop(fx.sim);
	curl_easy_cleanup(fx.curl);
	free(fx.body);
	json_decref(fx.json);
	atomic_store(&clock_skew_ms, 0);
	return nftw(fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void begin(const char *setting, const char *other)
{
	const char *const settings[] = { setting ? setting : "nodes=1", other, NULL };

	begin_again(settings);
}

static inline void log_in(void)
{
	const char *v;

	fx.session = false;
	fx.csrf[0] = '\0';
	assert_int_equal(call("POST", "/session/1/session",
			      "{\"username\":\"admin\",\"password\":\"password\","
			      "\"services\":[\"platform\",\"namespace\"]}"),
			 201);
	for (unsigned i = 0; i < fx.ncookies; i++) {
		v = strchr(fx.cookies[i], '=') + 1;
		snprintf(!strncmp(fx.cookies[i], "isicsrf=", 8) ? fx.csrf : fx.id, sizeof fx.id,
			 "%.*s", (int)strcspn(v, ";"), v);
	}
	fx.session = true;
}

static inline void advance(unsigned seconds)
{
	char body[64];

	snprintf(body, sizeof body, "{\"advance\":%u}", seconds);
	assert_int_equal(call("POST", "/_sim/clock", body), 200);
}

static inline long make_quota(const char *rest)
{
	char body[512];

	snprintf(body, sizeof body,
		 "{\"path\":\"/ifs/v\",\"type\":\"directory\",\"enforced\":true,"
		 "\"include_snapshots\":false,\"thresholds_include_overhead\":false,%s}",
		 rest);
	return call("POST", QUOTAS, body);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
