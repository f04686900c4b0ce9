/* SPDX-License-Identifier: Apache-2.0 */
/* The conversations that clients of OneFS depend on, with a plain client. */
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

static struct {
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

static size_t take_body(const char *data, size_t size, size_t n, void *arg)
{
	(void)arg;
	fx.body = realloc(fx.body, fx.len + size * n + 1);
	memcpy(fx.body + fx.len, data, size * n);
	fx.len += size * n;
	fx.body[fx.len] = '\0';
	return size * n;
}

static size_t take_header(const char *data, size_t size, size_t n, void *arg)
{
	(void)arg;
	if (size * n > 12 && !strncasecmp(data, "Set-Cookie: ", 12) && fx.ncookies < 2)
		snprintf(fx.cookies[fx.ncookies++], sizeof fx.cookies[0], "%.*s",
			 (int)(size * n - 14), data + 12);
	return size * n;
}

static struct curl_slist *session_headers(struct curl_slist *h)
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

static void prepare(const char *method, const char *body)
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
static long call_with(const char *method, const char *path, const char *body,
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

static long call(const char *method, const char *path, const char *body)
{
	return call_with(method, path, body, NULL);
}

static long with_header(const char *method, const char *path, const char *header)
{
	const char *const h[] = { header, NULL };

	return call_with(method, path, NULL, h);
}

static long make_dir(const char *path)
{
	return with_header("PUT", path, CONTAINER);
}

static const json_t *first(const char *list)
{
	const json_t *v = json_array_get(json_object_get(fx.json, list), 0);

	assert_non_null(v);
	return v;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

static const char *code(void)
{
	return text_of(first("errors"), "code");
}

/* Member of the answer's list's first object. */
static json_int_t number(const char *list, const char *key)
{
	return json_integer_value(json_object_get(first(list), key));
}

static long make_export(const char *query, const char *body)
{
	char path[256];

	snprintf(path, sizeof path, EXPORTS "?%s", query);
	return call("POST", path, body);
}

/* --- start and stop --------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void begin_again(const char *const *settings)
{
	struct sim_config cfg = {
		.listen = "tcp:127.0.0.1:0", .root = fx.dir, .state = fx.state, .settings = settings
	};
	struct err err = { "" };

	if (sim_start(&sim_onefs, &cfg, &fx.sim, &err))
		fail_msg("%s", err.text);
	snprintf(fx.origin, sizeof fx.origin, "http://127.0.0.1:%u", sim_port(fx.sim));
}

static int setup(void **state)
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

static int teardown(void **state)
{
	(void)state;
	sim_stop(fx.sim);
	curl_easy_cleanup(fx.curl);
	free(fx.body);
	json_decref(fx.json);
	atomic_store(&clock_skew_ms, 0);
	return nftw(fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin(const char *setting, const char *other)
{
	const char *const settings[] = { setting ? setting : "nodes=1", other, NULL };

	begin_again(settings);
}

static void log_in(void)
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

static void advance(unsigned seconds)
{
	char body[64];

	snprintf(body, sizeof body, "{\"advance\":%u}", seconds);
	assert_int_equal(call("POST", "/_sim/clock", body), 200);
}

/* --- 1: sessions ------------------------------------------------------------ */

static void a_session_wants_all_it_has(void **state)
{
	char good[64];

	(void)state;
	begin(NULL, NULL);
	log_in();
	assert_int_equal(json_integer_value(json_object_get(fx.json, "timeout_absolute")), 14400);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "timeout_inactive")), 900);
	assert_int_equal(fx.ncookies, 2);
	assert_non_null(strstr(fx.cookies[0], "; path=/; HttpOnly; SameSite=strict"));
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(call("GET", "/namespace/ifs", NULL), 200);
	strcpy(good, fx.csrf);
	fx.csrf[0] = '\0';
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	assert_string_equal(code(), "AEC_UNAUTHORIZED");
	strcpy(fx.csrf, "guessed");
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	strcpy(fx.csrf, good);
	assert_int_equal(call("DELETE", "/session/1/session", NULL), 204);
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
}

static void a_foreign_referer_is_refused(void **state)
{
	char token[96], origin[96];
	const char *h[] = { token, "Referer: https://elsewhere:8080", NULL };

	(void)state;
	begin(NULL, NULL);
	log_in();
	snprintf(token, sizeof token, "X-CSRF-Token: %s", fx.csrf);
	snprintf(origin, sizeof origin, "Origin: %s", fx.origin);
	fx.csrf[0] = '\0'; /* from here on the headers above speak */
	assert_int_equal(call_with("GET", EXPORTS, NULL, h), 403);
	assert_string_equal(code(), "AEC_FORBIDDEN");
	h[1] = NULL;
	assert_int_equal(call_with("GET", EXPORTS, NULL, h), 403);
	h[1] = origin;
	assert_int_equal(call_with("GET", EXPORTS, NULL, h), 200);
}

static void sessions_grow_old(void **state)
{
	(void)state;
	begin("latest=5", NULL);
	log_in();
	for (int i = 0; i < 15; i++) {
		advance(899);
		assert_int_equal(call("GET", EXPORTS, NULL), 200);
	}
	advance(899);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	advance(100); /* 14484 s in all */
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	log_in();
	advance(900);
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	log_in();
	assert_int_equal(call("POST", "/_sim/tokens", "{\"drop\":true}"), 200);
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
}

static void newer_releases_offer_another_cookie(void **state)
{
	(void)state;
	begin("latest=15", NULL);
	log_in();
	advance(440);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(fx.ncookies, 0);
	advance(20);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(fx.ncookies, 1);
	snprintf(fx.id, sizeof fx.id, "%.36s", strchr(fx.cookies[0], '=') + 1);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	advance(500); /* 960 s after the login */
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
}

static void a_session_lives_at_one_node(void **state)
{
	(void)state;
	begin("nodes=3", NULL);
	log_in();
	assert_int_equal(call("POST", "/_sim/onefs/node", "{\"node\":2}"), 200);
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	assert_int_equal(call("POST", "/_sim/onefs/node", "{\"node\":1}"), 200);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(call("POST", "/_sim/onefs/node", "{\"node\":4}"), 400);
	assert_int_equal(call("POST", "/_sim/onefs/node", "{\"rotate\":true}"), 200);
	assert_int_equal(call("GET", EXPORTS, NULL) + call("GET", EXPORTS, NULL) +
				 call("GET", EXPORTS, NULL),
			 200 + 401 + 401);
}

static void an_old_release_has_no_csrf(void **state)
{
	(void)state;
	begin("csrf=no", "latest=none");
	log_in();
	assert_int_equal(fx.ncookies, 1);
	assert_string_equal(fx.csrf, "");
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(call("GET", "/platform/latest", NULL), 404);
	assert_int_equal(call("GET", "/platform/3/cluster/config", NULL), 404);
}

static void passwords_and_services_are_checked(void **state)
{
	(void)state;
	begin("basic=no", NULL);
	assert_int_equal(call("GET", EXPORTS, NULL), 401);
	assert_int_equal(
		call("POST", "/session/1/session",
		     "{\"username\":\"admin\",\"password\":\"x\",\"services\":[\"platform\"]}"),
		401);
	assert_int_equal(call("POST", "/session/1/session", "{\"username\":\"admin\"}"), 400);
	assert_int_equal(call("POST", "/session/1/session", "nonsense"), 400);
	assert_int_equal(
		call("POST", "/session/1/session",
		     "{\"username\":\"admin\",\"password\":\"password\",\"services\":[\"ftp\"]}"),
		400);
	log_in();
	assert_int_equal(call("GET", "/session/1/session", NULL), 200);
	assert_string_equal(text_of(fx.json, "username"), "admin");
	fx.session = false;
	assert_int_equal(call("POST", "/session/1/session",
			      "{\"username\":\"admin\",\"password\":\"password\","
			      "\"services\":[\"platform\"]}"),
			 201);
	snprintf(fx.id, sizeof fx.id, "%.36s", strchr(fx.cookies[0], '=') + 1);
	snprintf(fx.csrf, sizeof fx.csrf, "%.36s", strchr(fx.cookies[1], '=') + 1);
	fx.session = true;
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(call("GET", "/namespace/ifs", NULL), 401);
}

/* --- 2: directories --------------------------------------------------------- */

static void directories_come_and_go(void **state)
{
	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/a"), 200);
	assert_int_equal(make_dir("/namespace/ifs/a"), 200);
	assert_int_equal(make_dir("/namespace/ifs/x/y"), 404);
	assert_string_equal(code(), "AEC_NOT_FOUND");
	assert_int_equal(make_dir("/namespace/ifs/x/y?recursive=true"), 200);
	assert_int_equal(call("PUT", "/namespace/ifs/b", NULL), 400);
	assert_int_equal(call("HEAD", "/namespace/ifs/x/y", NULL), 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/x/z", NULL), 404);
	assert_int_equal(call("DELETE", "/namespace/ifs/x", NULL), 409);
	assert_non_null(strstr(fx.body, "is not empty"));
	assert_int_equal(call("POST", QUOTAS,
			      "{\"path\":\"/ifs/x/y\",\"type\":\"directory\",\"enforced\":true,"
			      "\"include_snapshots\":false,\"thresholds_include_overhead\":false,"
			      "\"thresholds\":{\"hard\":1048576}}"),
			 201);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 409);
	assert_string_equal(code(), "AEC_CONFLICT");
	assert_int_equal(call("DELETE", QUOTAS "?path=/ifs/x/y&type=directory", NULL), 204);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 204);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 404);
	assert_int_equal(call("DELETE", "/namespace/ifs?recursive=true", NULL), 403);
	assert_int_equal(call("GET", "/namespace/other/x", NULL), 404);
}

static void paths_do_not_leave_the_store(void **state)
{
	char link[128], outside[128];
	struct stat st;

	(void)state;
	begin(NULL, NULL);
	snprintf(link, sizeof link, "%s/ifs/link", fx.dir);
	snprintf(outside, sizeof outside, "%s/outside", fx.dir);
	assert_int_equal(symlink("..", link), 0);
	assert_int_equal(make_dir("/namespace/ifs/link/outside"), 404);
	assert_int_equal(make_dir("/namespace/ifs/%2e%2e/outside"), 404);
	assert_int_equal(call("GET", "/namespace/ifs/link", NULL), 405);
	assert_int_equal(call("DELETE", "/namespace/ifs/link?recursive=true", NULL), 204);
	assert_int_not_equal(stat(outside, &st), 0);
	assert_int_equal(stat(fx.dir, &st), 0);
	assert_int_equal(
		make_dir("/namespace/ifs/"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		404);
}

static void modes_and_owners_are_real(void **state)
{
	const char *const h[] = { CONTAINER, "x-isi-ifs-access-control: 0777", NULL };
	char real[128];
	struct stat st;

	(void)state;
	begin(NULL, NULL);
	snprintf(real, sizeof real, "%s/ifs/v", fx.dir);
	assert_int_equal(call_with("PUT", "/namespace/ifs/v", NULL, h), 200);
	assert_int_equal(stat(real, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl", "{\"mode\":\"0770\"}"), 400);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl",
			      "{\"authoritative\":\"mode\",\"mode\":\"0770\","
			      "\"owner\":{\"id\":\"UID:2000\",\"type\":\"user\"},"
			      "\"group\":{\"id\":\"GID:3000\",\"type\":\"group\"}}"),
			 200);
	assert_int_equal(stat(real, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0770);
	if (!geteuid()) {
		assert_int_equal(st.st_uid, 2000);
		assert_int_equal(st.st_gid, 3000);
	}
	assert_int_equal(call("GET", "/namespace/ifs/v?acl", NULL), 200);
	assert_string_equal(text_of(fx.json, "mode"), "0770");
	assert_string_equal(text_of(json_object_get(fx.json, "owner"), "id"), "UID:2000");
	assert_string_equal(text_of(json_object_get(fx.json, "group"), "id"), "GID:3000");
	assert_int_equal(
		call("PUT", "/namespace/ifs/v?acl",
		     "{\"authoritative\":\"acl\",\"action\":\"replace\",\"acl\":[{\"trustee\":"
		     "{\"id\":\"UID:2000\"},\"accesstype\":\"allow\",\"accessrights\":"
		     "[\"dir_gen_all\"]}]}"),
		200);
	assert_int_equal(call("GET", "/namespace/ifs/v?acl", NULL), 200);
	assert_string_equal(text_of(fx.json, "authoritative"), "acl");
	assert_int_equal(json_array_size(json_object_get(fx.json, "acl")), 1);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl",
			      "{\"authoritative\":\"mode\",\"mode\":\"9\"}"),
			 400);
	assert_int_equal(call("GET", "/namespace/ifs/v?metadata", NULL), 200);
	assert_string_equal(text_of(json_array_get(json_object_get(fx.json, "attrs"), 2), "value"),
			    "0770");
	assert_int_equal(call("GET", "/namespace/ifs/w?metadata", NULL), 404);
}

static void listings_come_in_pages(void **state)
{
	char path[512], token[64];

	(void)state;
	begin(NULL, NULL);
	for (int i = 0; i < 25; i++) {
		snprintf(path, sizeof path, "/namespace/ifs/d/v%02d?recursive=true", i);
		assert_int_equal(make_dir(path), 200);
	}
	assert_int_equal(
		call("GET", "/namespace/ifs/d?detail=default&limit=10&type=container", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "children")), 10);
	assert_string_equal(text_of(first("children"), "name"), "v00");
	assert_string_equal(text_of(first("children"), "type"), "container");
	strcpy(token, text_of(fx.json, "resume"));
	snprintf(path, sizeof path, "/namespace/ifs/d?resume=%s", token);
	assert_int_equal(call("GET", path, NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "v10");
	snprintf(path, sizeof path, "/namespace/ifs/d?resume=%s", text_of(fx.json, "resume"));
	assert_int_equal(call("GET", path, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "children")), 5);
	assert_true(json_is_null(json_object_get(fx.json, "resume")));
	snprintf(path, sizeof path, "/namespace/ifs?resume=%s", token);
	assert_int_equal(call("GET", path, NULL), 400); /* of another folder */
	assert_int_equal(call("GET", "/namespace/ifs/d?limit=5001", NULL), 400);
	assert_int_equal(call("GET", "/namespace/ifs/d?nonsense=1", NULL), 400);
	assert_int_equal(call("GET", "/namespace/ifs/d?sort=name&dir=DESC&limit=1", NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "v24");
}

static void directories_move(void **state)
{
	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/a/in?recursive=true"), 200);
	assert_int_equal(make_dir("/namespace/ifs/c"), 200);
	assert_int_equal(with_header("POST", "/namespace/ifs/a",
				     "x-isi-ifs-set-location: /namespace/ifs/b%20c"),
			 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/b%20c/in", NULL), 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/a", NULL), 404);
	assert_int_equal(with_header("POST", "/namespace/ifs/b%20c",
				     "x-isi-ifs-set-location: /namespace/ifs/c"),
			 409);
	assert_int_equal(
		with_header("POST", "/namespace/ifs/b%20c", "x-isi-ifs-set-location: /etc"), 400);
	assert_int_equal(with_header("POST", "/namespace/ifs/none",
				     "x-isi-ifs-set-location: /namespace/ifs/d"),
			 404);
}

/* --- 3: exports ------------------------------------------------------------- */

static void exports_conflict(void **state)
{
	char path[128];
	const json_t *e;

	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/v"), 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"]}"),
			 201);
	assert_true(json_is_integer(json_object_get(fx.json, "id")));
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 1);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	assert_string_equal(code(), "AEC_CONFLICT");
	assert_int_equal(make_export("force=true", "{\"paths\":[\"/ifs/v\"]}"), 201);
	snprintf(path, sizeof path, EXPORTS "/%d", 2);
	assert_int_equal(call("GET", path, NULL), 200);
	e = first("exports");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(e, "conflicting_paths"), 0)),
		"/ifs/v");
	assert_int_equal(json_array_size(json_object_get(e, "clients")), 0); /* open to everybody */
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_int_equal(call("DELETE", path, NULL), 404);
	assert_string_equal(text_of(first("errors"), "message"), "Export id 2 does not exist");
	assert_string_equal(text_of(first("errors"), "field"), "id");
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "conflicting_paths")),
			 0);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/none\"]}"), 400);
	assert_int_equal(make_export("", "{\"clients\":[\"localhost\"]}"), 400);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"colour\":\"red\"}"), 400);
	assert_int_equal(json_array_size(json_object_get(fx.json, "errors")), 2);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/v", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 1);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 0);
}

static void a_fresh_export_shows_all_defaults(void **state)
{
	const json_t *e, *map;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"],"
			"\"map_root\":{\"enabled\":false}}");
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	e = first("exports");
	assert_int_equal(json_object_size(e), 50);
	assert_true(json_integer_value(json_object_get(e, "max_file_size")) == INT64_MAX);
	assert_true(json_real_value(json_object_get(e, "time_delta")) == 1e-9);
	assert_string_equal(text_of(e, "zone"), "System");
	map = json_object_get(e, "map_root");
	assert_true(json_is_false(json_object_get(map, "enabled")));
	assert_string_equal(text_of(json_object_get(map, "user"), "id"), "USER:nobody");
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"map_root\":\"@DEFAULT\"}"), 204);
	call("GET", EXPORTS "/1", NULL);
	map = json_object_get(first("exports"), "map_root");
	assert_true(json_is_true(json_object_get(map, "enabled")));
	call("GET", EXPORTS "/1?scope=user", NULL);
	assert_null(json_object_get(first("exports"), "max_file_size"));
	call("GET", "/platform/1/protocols/nfs/exports/1", NULL);
	assert_string_equal(text_of(json_object_get(first("exports"), "map_root"), "user"),
			    "nobody");
}

static void unresolvable_clients_are_refused(void **state)
{
	static const char body[] =
		"{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\",\"nowhere.example\","
		"\"here.example\",\"10.0.0.0/8\",\"@group\"]}";

	(void)state;
	begin("hosts=here.example", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("", body), 500);
	assert_string_equal(code(), "AEC_EXCEPTION");
	assert_non_null(strstr(fx.body, "bad hostname 'nowhere.example'"));
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"\"]}"), 500);
	assert_int_equal(make_export("ignore_unresolvable_hosts=true", body), 201);
	call("GET", EXPORTS "/1", NULL);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "clients")), 5);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "unresolved_clients")),
			 1);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"root_clients\":[\"nowhere.example\"]}"),
			 500);
	assert_int_equal(call("PUT", EXPORTS "/1?force=true",
			      "{\"root_clients\":[\"nowhere.example\"]}"),
			 204);
}

static void an_old_release_knows_few_arguments(void **state)
{
	(void)state;
	begin("latest=3", NULL);
	make_dir("/namespace/ifs/v");
	make_dir("/namespace/ifs/w");
	assert_int_equal(make_export("ignore_unresolvable_hosts=true",
				     "{\"paths\":[\"/ifs/v\"],\"clients\":[\"nowhere.example\"]}"),
			 400);
	assert_string_equal(code(), "AEC_BAD_REQUEST");
	assert_int_equal(make_export("force=true",
				     "{\"paths\":[\"/ifs/v\"],\"clients\":[\"nowhere.example\"]}"),
			 201);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 1); /* ignored */
	assert_int_equal(call("GET", "/platform/4/protocols/nfs/exports", NULL), 404);
}

static void a_new_export_takes_its_time(void **state)
{
	(void)state;
	begin("export_delay_ms=400000", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 201);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 404);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/v", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 0);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	atomic_store(&clock_skew_ms, 500000);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
}

static void lists_are_replaced_as_a_whole(void **state)
{
	const json_t *clients;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("",
		    "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"],\"description\":\"d\"}");
	/* two who have read the same list */
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":[\"localhost\",\"10.0.0.1\"]}"),
			 204);
	assert_null(fx.body);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":[\"localhost\",\"10.0.0.2\"]}"),
			 204);
	call("GET", EXPORTS "/1", NULL);
	clients = json_object_get(first("exports"), "clients");
	assert_int_equal(json_array_size(clients), 2);
	assert_string_equal(json_string_value(json_array_get(clients, 1)), "10.0.0.2");
	assert_string_equal(text_of(first("exports"), "description"), "d");
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":\"10.0.0.2\"}"), 400);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"id\":7}"), 403);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"block_size\":-1}"), 400);
	assert_int_equal(call("PUT", EXPORTS "/1", "[]"), 400);
	assert_int_equal(call("PUT", EXPORTS "/2", "{\"clients\":[]}"), 404);
	assert_int_equal(call("PATCH", EXPORTS "/1", "{}"), 405);
}

static void zones_have_exports_of_their_own(void **state)
{
	(void)state;
	begin("zones=cf:/ifs/data/cf other:/ifs/other", NULL);
	assert_int_equal(call("GET", "/platform/3/zones", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "zones")), 3);
	make_dir("/namespace/ifs/data/cf/v");
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("zone=cf", "{\"paths\":[\"/ifs/v\"]}"), 400);
	assert_int_equal(make_export("zone=cf", "{\"paths\":[\"/ifs/data/cf/v\"]}"), 201);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 1);
	assert_int_equal(make_export("zone=none", "{\"paths\":[\"/ifs/v\"]}"), 404);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/data/cf/v\"]}"), 201); /* of System */
	assert_int_equal(call("GET", EXPORTS "/1?zone=cf", NULL), 200);
	assert_string_equal(text_of(first("exports"), "zone"), "cf");
	assert_int_equal(call("DELETE", EXPORTS "/1?zone=other", NULL), 404);
	assert_int_equal(call("GET", "/platform/3/network/pools?access_zone=cf", NULL), 200);
	assert_string_equal(text_of(first("pools"), "access_zone"), "cf");
}

/* --- 4: 12,000 exports ------------------------------------------------------ */

static void write_many(unsigned n)
{
	json_t *exports = json_object(), *state;

	for (unsigned i = 1; i <= n; i++) {
		char key[32], path[32];

		snprintf(key, sizeof key, "System:%u", i);
		snprintf(path, sizeof path, "/ifs/v%u", i);
		json_object_set_new(exports, key,
				    json_pack("{s:i, s:s, s:[s], s:[s], s:i}", "id", (int)i, "zone",
					      "System", "paths", path, "clients", "localhost",
					      "nfsd", (int)i));
	}
	state = json_pack("{s:s, s:i, s:{s:o, s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:i, s:i, s:i}}",
			  "kind", "onefs", "advance", 0, "state", "exports", exports, "quotas",
			  "snapshots", "aliases", "acls", "global", "zones", "quota_id", 0,
			  "snapshot_id", 1, "nfsd_id", (int)n);
	assert_int_equal(json_dump_file(state, fx.state, 0), 0);
	json_decref(state);
}

static void many_exports_come_in_pages(void **state)
{
	char path[192] = EXPORTS "?limit=1000", old[160] = "";
	unsigned seen = 0, pages = 0;

	(void)state;
	write_many(12000);
	begin(NULL, NULL);
	do {
		const char *token;

		assert_int_equal(call("GET", path, NULL), 200);
		seen += (unsigned)json_array_size(json_object_get(fx.json, "exports"));
		token = text_of(fx.json, "resume");
		if (*token)
			snprintf(path, sizeof path, EXPORTS "?resume=%s", token);
		if (!pages++) {
			assert_int_equal(json_integer_value(json_object_get(fx.json, "total")),
					 12000);
			snprintf(old, sizeof old, "%.159s", path);
			assert_int_equal(call("DELETE", EXPORTS "/1500", NULL), 204);
			call("GET", EXPORTS "?limit=1", NULL);
		}
	} while (*text_of(fx.json, "resume"));
	assert_int_equal(pages, 12);
	assert_int_equal(seen, 11999);
	snprintf(path, sizeof path, "%s&limit=10", old);
	assert_int_equal(call("GET", path, NULL), 400);
	assert_int_equal(call("GET", EXPORTS "?resume=nonsense", NULL), 400);
	assert_non_null(strstr(fx.body, "Invalid resume token"));
	advance(1000);
	assert_int_equal(call("GET", old, NULL), 400);
}

/* --- 5: quotas -------------------------------------------------------------- */

static long make_quota(const char *rest)
{
	char body[512];

	snprintf(body, sizeof body,
		 "{\"path\":\"/ifs/v\",\"type\":\"directory\",\"enforced\":true,"
		 "\"include_snapshots\":false,\"thresholds_include_overhead\":false,%s}",
		 rest);
	return call("POST", QUOTAS, body);
}

static void quotas_have_rules(void **state)
{
	char path[128], id[40];

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"soft\":1000}"), 400);
	assert_string_equal(text_of(first("errors"), "field"), "soft_grace");
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000,\"advisory\":1000}"), 400);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":0}"), 400);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":\"1000\"}"), 400);
	assert_int_equal(make_quota("\"container\":true"), 400);
	assert_int_equal(make_quota("\"colour\":1,\"thresholds\":{\"hard\":1000}"), 400);
	assert_int_equal(call("POST", QUOTAS, "{\"path\":\"/ifs/v\",\"type\":\"directory\"}"), 400);
	assert_string_equal(code(), "AEC_ARG_REQUIRED");
	assert_int_equal(make_quota("\"container\":true,\"thresholds\":{\"hard\":1000,\"soft\":900,"
				    "\"soft_grace\":60,\"advisory\":null}"),
			 201);
	strcpy(id, text_of(fx.json, "id"));
	assert_int_equal(strlen(id), 32);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 409);
	snprintf(path, sizeof path, QUOTAS "/%s", id);
	assert_int_equal(call("PUT", path, "{\"path\":\"/ifs/v\",\"thresholds\":{\"hard\":2000}}"),
			 400);
	assert_int_equal(call("PUT", path, "{\"thresholds\":{\"hard\":2000}}"), 204);
	assert_int_equal(call("PUT", path, "{\"thresholds\":{\"hard\":800}}"),
			 400); /* below soft */
	assert_int_equal(call("GET", path, NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(first("quotas"), "thresholds"), "hard")),
			 2000);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(first("quotas"), "thresholds"), "soft")),
			 900);
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_int_equal(call("DELETE", path, NULL), 404);
	assert_string_equal(text_of(first("errors"), "message"), "quota not found");
	assert_int_equal(call("POST", QUOTAS,
			      "{\"path\":\"/ifs/none\",\"type\":\"directory\",\"enforced\":false,"
			      "\"include_snapshots\":false,\"thresholds_include_overhead\":false}"),
			 404);
	assert_non_null(strstr(fx.body, "Failed to fetch quota domain record"));
}

static void usage_is_what_the_folder_holds(void **state)
{
	char path[160];
	const json_t *q;
	FILE *f;

	(void)state;
	begin("quota_scan_ms=300000", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"container\":true,\"thresholds\":{\"hard\":1000}"), 201);
	assert_int_equal(
		call("GET", QUOTAS "?path=/ifs/v&type=directory&recurse_path_children=false", NULL),
		200);
	q = first("quotas");
	assert_true(json_is_false(json_object_get(q, "ready")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(q, "usage"), "inodes")),
			 1);
	atomic_store(&clock_skew_ms, 400000);
	snprintf(path, sizeof path, "%s/ifs/v/file", fx.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%5000s", "x");
	fclose(f);
	assert_int_equal(call("GET", QUOTAS "?path=/ifs&recurse_path_children=true", NULL), 200);
	q = first("quotas");
	assert_true(json_is_true(json_object_get(q, "ready")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(q, "usage"), "logical")), 5000);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(q, "usage"), "inodes")),
			 2);
	assert_true(
		json_is_true(json_object_get(json_object_get(q, "thresholds"), "hard_exceeded")));
	assert_int_equal(call("GET", "/platform/8/quota/quotas", NULL), 200);
	q = first("quotas");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(q, "usage"), "applogical")),
		5000);
	assert_string_equal(text_of(q, "thresholds_on"), "fslogicalsize");
	assert_null(json_object_get(q, "thresholds_include_overhead"));
	assert_int_equal(call("GET", QUOTAS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "quotas")), 0);
}

static void licences_are_wanted(void **state)
{
	(void)state;
	begin("quota_licence=expired", "snapshot_licence=unlicensed");
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 403);
	assert_string_equal(code(), "AEC_INVALID_LICENSE");
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s\",\"path\":\"/ifs/v\"}"), 403);
	assert_int_equal(call("GET", "/platform/5/license/licenses/SMARTQUOTAS", NULL), 200);
	assert_string_equal(text_of(first("licenses"), "status"), "Expired");
	assert_int_equal(call("GET", "/platform/5/license/licenses/NONE", NULL), 404);
}

/* --- 6: errors -------------------------------------------------------------- */

static void errors_come_as_pages_too(void **state)
{
	(void)state;
	begin("errors=mixed", NULL);
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_string_equal(code(), "AEC_NOT_FOUND");
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_null(fx.json);
	assert_non_null(strstr(fx.body, "<h1>Not Found</h1>"));
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_non_null(fx.json);
	assert_int_equal(
		call("POST", "/_sim/faults",
		     "{\"match\":\"GET /platform\",\"fault\":\"html\",\"status\":503,\"times\":1}"),
		200);
	assert_int_equal(call("GET", EXPORTS, NULL), 503);
	assert_null(fx.json);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
}

static void two_errors_in_one_answer(void **state)
{
	(void)state;
	begin("deny=ISI_PRIV_SNAPSHOT", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"soft\":1000,\"hard\":500}"), 400);
	assert_int_equal(json_array_size(json_object_get(fx.json, "errors")), 2);
	assert_int_equal(call("GET", "/platform/1/nothing/here", NULL), 404);
	assert_null(json_object_get(first("errors"), "field"));
	assert_int_equal(call("GET", SNAPS, NULL), 403);
	assert_string_equal(code(), "AEC_FORBIDDEN");
	assert_int_equal(call("GET", EXPORTS "?limit=1&limit=2", NULL), 400);
	assert_string_equal(code(), "AEC_ARG_SINGLE_ONLY");
}

/* --- 7: copies and snapshots ------------------------------------------------ */

static void write_file(const char *below, const char *text)
{
	char path[192];
	FILE *f;

	snprintf(path, sizeof path, "%s/ifs/%s", fx.dir, below);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool holds(const char *below, const char *text)
{
	char path[192], buf[64] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/ifs/%s", fx.dir, below);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(buf, sizeof buf, f))
		buf[0] = '\0';
	fclose(f);
	return !strcmp(buf, text);
}

static long copy_src(const char *to)
{
	return with_header("PUT", to, "x-isi-ifs-copy-source: /namespace/ifs/src");
}

static void copies_tell_what_failed(void **state)
{
	const json_t *e;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/src/deep?recursive=true");
	write_file("src/one", "1");
	write_file("src/deep/two", "2");
	assert_int_equal(copy_src("/namespace/ifs/dst"), 200);
	assert_null(fx.body);
	assert_true(holds("dst/one", "1") && holds("dst/deep/two", "2"));
	assert_int_equal(copy_src("/namespace/ifs/dst"), 409);
	assert_int_equal(copy_src("/namespace/ifs/dst?merge=true"), 200);
	assert_int_equal(copy_src("/namespace/ifs/src/in"), 400);
	assert_int_equal(call("POST", "/_sim/onefs/copy_error", "{\"path\":\"/ifs/src/deep/two\"}"),
			 200);
	assert_int_equal(copy_src("/namespace/ifs/dst2?continue=true"), 200);
	assert_true(json_is_false(json_object_get(fx.json, "success")));
	e = first("copy_errors");
	assert_string_equal(text_of(e, "source"), "/namespace/ifs/src/deep/two");
	assert_string_equal(text_of(e, "target"), "/namespace/ifs/dst2/deep/two");
	assert_string_equal(text_of(e, "message"), "Permission denied");
	assert_true(holds("dst2/one", "1") && !holds("dst2/deep/two", "2"));
	assert_int_equal(call("DELETE", "/_sim/onefs/copy_error", NULL), 200);
	assert_int_equal(copy_src("/namespace/ifs/dst2?merge=true"), 200);
	assert_true(holds("dst2/deep/two", "2"));
}

static void snapshots_keep_what_was(void **state)
{
	char path[64];

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/data/v?recursive=true");
	write_file("data/v/f", "old");
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/data/v\"}"), 201);
	assert_string_equal(text_of(fx.json, "state"), "active");
	snprintf(path, sizeof path, SNAPS "/%lld",
		 (long long)json_integer_value(json_object_get(fx.json, "id")));
	write_file("data/v/f", "new");
	assert_true(holds(".snapshot/s1/data/v/f", "old"));
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/data\"}"), 409);
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s2\",\"path\":\"/ifs/none\"}"), 404);
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"../s\",\"path\":\"/ifs/data\"}"), 400);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 200);
	assert_string_equal(text_of(first("snapshots"), "path"), "/ifs/data/v");
	assert_int_equal(with_header("PUT", "/namespace/ifs/data/w",
				     "x-isi-ifs-copy-source: /namespace/ifs/.snapshot/s1/data/v"),
			 200);
	assert_true(holds("data/w/f", "old"));
	assert_int_equal(call("DELETE", "/namespace/ifs/.snapshot/s1?recursive=true", NULL), 403);
	assert_int_equal(make_dir("/namespace/ifs/.snapshot/s3"), 403);
	assert_int_equal(call("GET", "/namespace/ifs", NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "data");
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_false(holds(".snapshot/s1/data/v/f", "old"));
	assert_int_equal(call("GET", path, NULL), 404);
	/* of everything: without itself */
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"all\",\"path\":\"/ifs\"}"), 201);
	assert_true(holds(".snapshot/all/data/v/f", "new"));
}

/* --- the rest --------------------------------------------------------------- */

static void the_cluster_tells_of_itself(void **state)
{
	(void)state;
	begin("latest=12.1", "capacity=1t");
	assert_int_equal(call("GET", "/platform/latest", NULL), 200);
	assert_string_equal(text_of(fx.json, "latest"), "12.1");
	assert_int_equal(call("GET", "/platform/3/cluster/config", NULL), 200);
	assert_string_equal(text_of(json_object_get(fx.json, "onefs_version"), "release"),
			    "v9.2.1.0");
	assert_int_equal(call("GET", "/platform/12/cluster/version", NULL), 200);
	assert_int_equal(number("nodes", "lnn"), 1);
	assert_int_equal(call("GET", "/platform/11/cluster/version", NULL), 404);
	assert_int_equal(
		call("GET",
		     "/platform/1/statistics/current?key=ifs.bytes.avail&key=ifs.bytes.total",
		     NULL),
		200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "stats")), 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(fx.json, "stats"), 1), "value")),
			 1LL << 40);
	assert_int_equal(call("GET", "/platform/1/statistics/current?keys=ifs.bytes.used,x", NULL),
			 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "stats")), 2);
	assert_int_equal(call("GET", NFS "/settings/global", NULL), 200);
	assert_true(json_is_true(
		json_object_get(json_object_get(fx.json, "settings"), "nfsv3_enabled")));
	assert_int_equal(call("PUT", NFS "/settings/zone", "{\"nfsv4_no_names\":true}"), 204);
	assert_int_equal(call("GET", NFS "/settings/zone", NULL), 200);
	assert_true(json_is_true(
		json_object_get(json_object_get(fx.json, "settings"), "nfsv4_no_names")));
	assert_int_equal(call("PUT", NFS "/settings/zone", "{\"nfsv4_domain\":1}"), 400);
}

static void aliases_are_short_names(void **state)
{
	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"/short\",\"path\":\"/ifs/v\"}"),
			 201);
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"/short\",\"path\":\"/ifs/v\"}"),
			 409);
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"short\",\"path\":\"/ifs/v\"}"),
			 400);
	assert_int_equal(call("GET", NFS "/aliases/%2Fshort", NULL), 200);
	assert_string_equal(text_of(first("aliases"), "path"), "/ifs/v");
	assert_int_equal(call("PUT", NFS "/aliases/%2Fshort", "{\"name\":\"/other\"}"), 204);
	assert_int_equal(call("GET", NFS "/aliases/%2Fshort", NULL), 404);
	assert_int_equal(call("DELETE", NFS "/aliases/other", NULL), 204);
	assert_int_equal(call("GET", NFS "/aliases", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "aliases")), 0);
}

static void half_executed_calls_leave_a_part(void **state)
{
	char path[128];
	struct dirent *e;
	unsigned left = 0;
	DIR *d;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v/a?recursive=true");
	make_dir("/namespace/ifs/v/b");
	make_dir("/namespace/ifs/v/c");
	assert_int_equal(call("POST", "/_sim/faults",
			      "{\"match\":\"DELETE /namespace\",\"fault\":\"half\",\"times\":1}"),
			 200);
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 500);
	snprintf(path, sizeof path, "%s/ifs/v", fx.dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		left += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(left, 2);
	assert_int_equal(call("POST", "/_sim/faults",
			      "{\"match\":\"POST /platform\",\"fault\":\"half\",\"times\":1}"),
			 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 500);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409); /* it was made */
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 204);
}

static void the_state_outlives_a_restart(void **state)
{
	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"]}");
	make_quota("\"thresholds\":{\"hard\":1000}");
	call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/v\"}");
	sim_stop(fx.sim);
	fx.sim = NULL;
	begin(NULL, NULL);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	assert_int_equal(make_export("force=true", "{\"paths\":[\"/ifs/v\"]}"), 201);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 2);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 409);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 200);
}

static void bad_settings_and_states_are_refused(void **state)
{
	static const char *const bad[][2] = { { "latest=x", "latest" },
					      { "zones=cf", "zones" },
					      { "zones=cf:/etc", "zones" },
					      { "ganesha=yes", "nfs_port" },
					      { "colour=red", "colour" } };
	static const char *const states[] = {
		"{}", "[]", "{\"kind\":\"onefs\",\"advance\":0,\"state\":{\"exports\":[]}}",
		"{\"kind\":\"onefs\",\"advance\":0,\"state\":{\"exports\":{\"System:1\":{\"id\":1}},"
		"\"quotas\":{},\"snapshots\":{},\"aliases\":{},\"acls\":{},\"global\":{},\"zones\":{},"
		"\"quota_id\":0,\"snapshot_id\":1,\"nfsd_id\":0}}"
	};
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .root = fx.dir };
	const char *settings[2] = { NULL, NULL };
	struct sim *s;
	struct err err;
	FILE *f;

	(void)state;
	cfg.settings = settings;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		settings[0] = bad[i][0];
		err.text[0] = '\0';
		assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
		assert_non_null(strstr(err.text, bad[i][1]));
	}
	settings[0] = NULL;
	cfg.state = fx.state;
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		f = fopen(fx.state, "w");
		fputs(states[i], f);
		fclose(f);
		assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
		assert_true(*err.text);
	}
	cfg.root = NULL;
	cfg.state = NULL;
	assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
	assert_non_null(strstr(err.text, "--root"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_session_wants_all_it_has),
		T(a_foreign_referer_is_refused),
		T(sessions_grow_old),
		T(newer_releases_offer_another_cookie),
		T(a_session_lives_at_one_node),
		T(an_old_release_has_no_csrf),
		T(passwords_and_services_are_checked),
		T(directories_come_and_go),
		T(paths_do_not_leave_the_store),
		T(modes_and_owners_are_real),
		T(listings_come_in_pages),
		T(directories_move),
		T(exports_conflict),
		T(a_fresh_export_shows_all_defaults),
		T(unresolvable_clients_are_refused),
		T(an_old_release_knows_few_arguments),
		T(a_new_export_takes_its_time),
		T(lists_are_replaced_as_a_whole),
		T(zones_have_exports_of_their_own),
		T(many_exports_come_in_pages),
		T(quotas_have_rules),
		T(usage_is_what_the_folder_holds),
		T(licences_are_wanted),
		T(errors_come_as_pages_too),
		T(two_errors_in_one_answer),
		T(copies_tell_what_failed),
		T(snapshots_keep_what_was),
		T(the_cluster_tells_of_itself),
		T(aliases_are_short_names),
		T(half_executed_calls_leave_a_part),
		T(the_state_outlives_a_restart),
		T(bad_settings_and_states_are_refused),
	};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
