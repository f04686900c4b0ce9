/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of the platform API, hostile clients and many at once. */
#include "tests/unit/tools/onefs_client.h"

#include <pthread.h>

/* --- sessions ------------------------------------------------------------ */

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
	for (int i = 0; i < 16; i++) {
		advance(890);
		assert_int_equal(call("GET", EXPORTS, NULL), 200);
	}
	advance(200); /* 14440 s in all */
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

/* --- hostile and many clients --- */

/* Whatever is sent, an answer comes, and nothing is made of it. */
static void hostile_bodies_get_an_answer(void **state)
{
	static const char *const paths[] = { EXPORTS,
					     EXPORTS "/1",
					     QUOTAS,
					     QUOTAS "/x",
					     SNAPS,
					     SNAPS "/s",
					     NFS "/aliases",
					     NFS "/aliases/a",
					     NFS "/settings/zone",
					     "/namespace/ifs/v?acl",
					     "/session/1/session",
					     "/_sim/onefs/node",
					     "/_sim/onefs/copy_error" };
	static const char *const bodies[] = {
		"",
		"null",
		"[]",
		"{",
		"\xff\xfe",
		"{\"paths\":null,\"path\":null,\"name\":null,\"thresholds\":null,\"clients\":null}",
		"{\"paths\":[null,7,{}],\"clients\":[null,[]],\"map_root\":{\"user\":7}}",
		"{\"paths\":[\"/ifs/../../etc\"],\"path\":\"/ifs/../x\",\"name\":\"/../x\"}",
		"{\"paths\":[\"/ifs/v\"],\"map_root\":{\"enabled\":7,\"user\":{\"id\":\"UID:99999999999\"}}}",
		"{\"path\":\"/ifs/v\",\"type\":\"user\",\"persona\":7,\"thresholds\":[]}",
		"{\"path\":\"/ifs/v\",\"thresholds\":{\"hard\":99999999999999999999}}",
		"{\"name\":\"a\\u0000b\",\"path\":\"/ifs/v\"}",
		"{\"authoritative\":\"acl\",\"acl\":[null,7,{\"trustee\":null}],\"owner\":7,\"group\":[]}",
		"{\"authoritative\":\"mode\",\"mode\":7,\"owner\":{\"id\":7}}",
		"{\"node\":-1,\"nfsv4_domain\":[],\"aliases\":{}}",
		"{\"username\":[],\"password\":{},\"services\":\"platform\"}",
	};
	static const char *const methods[] = { "POST", "PUT", "DELETE", "GET" };

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	for (size_t m = 0; m < ARRAY_LEN(methods); m++)
		for (size_t p = 0; p < ARRAY_LEN(paths); p++)
			for (size_t b = 0; b < ARRAY_LEN(bodies); b++)
				assert_in_range(call(methods[m], paths[p], bodies[b]), 200, 500);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "exports")), 0);
	assert_int_equal(call("GET", QUOTAS, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "quotas")), 0);
	assert_int_equal(call("GET", SNAPS, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "snapshots")), 0);
}

#define CLIENTS 8
#define ROUNDS 10

static size_t ignore(const char *data, size_t size, size_t n, void *arg)
{
	(void)data;
	(void)arg;
	return size * n;
}

/* asserts of cmocka are for its own thread: the count of surprises is returned. */
static unsigned say(CURL *curl, long want, const char *method, const char *path, const char *body)
{
	struct curl_slist *h = curl_slist_append(NULL, CONTAINER);
	char url[512];
	long status = 0;

	snprintf(url, sizeof url, "%s%s", fx.origin, path);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(curl, CURLOPT_USERPWD, "admin:password");
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, h);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(h);
	return status != want;
}

static void *one_of_many(void *arg)
{
	unsigned *wrong = arg, i = *wrong;
	CURL *curl = curl_easy_init();
	char dir[64], body[256], query[128];

	*wrong = 0;
	snprintf(dir, sizeof dir, "/namespace/ifs/c%u", i);
	snprintf(query, sizeof query, QUOTAS "?path=/ifs/c%u&type=directory", i);
	for (int r = 0; r < ROUNDS; r++) {
		*wrong += say(curl, 200, "PUT", dir, NULL);
		snprintf(body, sizeof body,
			 "{\"path\":\"/ifs/c%u\",\"type\":\"directory\",\"enforced\":true,"
			 "\"include_snapshots\":false,\"thresholds_include_overhead\":false,"
			 "\"thresholds\":{\"hard\":1000}}",
			 i);
		*wrong += say(curl, 201, "POST", QUOTAS, body);
		snprintf(body, sizeof body, "{\"paths\":[\"/ifs/c%u\"]}", i);
		*wrong += say(curl, 201, "POST", EXPORTS, body);
		*wrong += say(curl, 409, "POST", EXPORTS, body);
		*wrong += say(curl, 200, "GET", EXPORTS "?limit=3", NULL);
		*wrong += say(curl, 200, "GET", QUOTAS, NULL);
		snprintf(body, sizeof body, "{\"name\":\"s%u\",\"path\":\"/ifs/c%u\"}", i, i);
		*wrong += say(curl, 201, "POST", SNAPS, body);
		snprintf(body, sizeof body, SNAPS "/s%u", i);
		*wrong += say(curl, 204, "DELETE", body, NULL);
		*wrong += say(curl, 204, "DELETE", query, NULL);
		*wrong += say(curl, 204, "DELETE", dir, NULL);
		*wrong += say(curl, 200, "PUT", dir, NULL);
		snprintf(body, sizeof body, "{\"paths\":[\"/ifs/c%u\"]}", i + 100);
		*wrong += say(curl, 400, "POST", EXPORTS, body);
		snprintf(body, sizeof body, "{\"paths\":[\"/ifs/c%u\"]}", i);
		*wrong += say(curl, 201, "POST", EXPORTS "?force=true", body);
		*wrong += say(curl, 204, "DELETE", dir, NULL);
		i += CLIENTS; /* the exports stay: another folder */
		snprintf(dir, sizeof dir, "/namespace/ifs/c%u", i);
		snprintf(query, sizeof query, QUOTAS "?path=/ifs/c%u&type=directory", i);
	}
	curl_easy_cleanup(curl);
	return NULL;
}

static void many_clients_at_once(void **state)
{
	pthread_t threads[CLIENTS];
	unsigned wrong[CLIENTS];

	(void)state;
	begin("nodes=2", NULL);
	for (unsigned i = 0; i < CLIENTS; i++) {
		wrong[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, &wrong[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(wrong[i], 0);
	}
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")),
			 2 * CLIENTS * ROUNDS);
	assert_int_equal(call("GET", QUOTAS, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "quotas")), 0);
}

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
		T(hostile_bodies_get_an_answer),
		T(many_clients_at_once),
	};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
