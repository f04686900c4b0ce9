/* SPDX-License-Identifier: Apache-2.0 */
/* Logins of the ScaleIO provider, and what answers mean. */
#include "tests/unit/backends/scaleio_test.h"

#include <pthread.h>

#define MINUTE_MS 60000

static int health(void)
{
	int rc = fx.p->ops->health(fx.p, &fx.err);

	no_secret();
	return rc;
}

static unsigned logins(void)
{
	return fake_http_calls(fx.f, "GET /api/login");
}

/* --- classic logins -------------------------------------------------------- */

static void token_is_the_password_of_later_calls(void **state)
{
	(void)state;
	basics("3.6");
	assert_int_equal(health(), 0);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 1);
	/* svc:password, then svc:token */
	assert_string_equal(fake_http_seen(fx.f, 0)->authorization,
			    "Basic c3ZjOnA0c3Mtb2YtdGhlLXVzZXI=");
	assert_string_equal(fake_http_seen(fx.f, 1)->authorization,
			    "Basic c3ZjOnQwa2VuLW9mLXRoZS1zZXNzaW9u");
	provider_close(fx.p);
	fx.p = NULL;
	assert_int_equal(fake_http_calls(fx.f, "GET /api/logout"), 1);
	script_is_done();
}

static void token_comes_with_and_without_quotes(void **state)
{
	static const char *const forms[] = { "\"" TOKEN "\"", TOKEN, TOKEN "\n",
					     " \"" TOKEN "\" \r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		open_with(config());
		fake_http_clear(fx.f);
		on("GET /api/login", 200, forms[i]);
		basics("3.6");
		assert_int_equal(health(), 0);
		assert_string_equal(fake_http_seen(fx.f, 1)->authorization,
				    "Basic c3ZjOnQwa2VuLW9mLXRoZS1zZXNzaW9u");
	}
}

static void what_is_no_token_is_refused(void **state)
{
	static const char *const forms[] = { "",        "{}",   "[]",   "<html>",
					     "\"a b\"", "null", "\"\"", "\"a\\r\\nX: y\"" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		on("GET /api/login", 200, forms[i]);
		assert_int_equal(health(), -EPROTO);
		assert_int_equal(fake_http_count(fx.f), i + 1);
	}
}

static void session_is_renewed_ahead_of_its_end(void **state)
{
	(void)state;
	basics("3.6");
	assert_int_equal(health(), 0);
	atomic_store(&clock_skew_ms, 9 * MINUTE_MS);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 1);
	atomic_fetch_add(&clock_skew_ms, 9 * MINUTE_MS); /* 18 minutes, but never idle for ten */
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 1);
	atomic_fetch_add(&clock_skew_ms, 10 * MINUTE_MS - 20000);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 2);
	for (int i = 0; i < 53; i++) { /* 8 hours */
		atomic_fetch_add(&clock_skew_ms, 9 * MINUTE_MS);
		assert_int_equal(health(), 0);
	}
	assert_int_equal(logins(), 2);
	atomic_fetch_add(&clock_skew_ms, 3 * MINUTE_MS);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 3);
}

static void a_session_that_ended_early_is_replayed_once(void **state)
{
	(void)state;
	basics("3.6");
	assert_int_equal(health(), 0);
	on("GET /api/types/System/instances", 401, UNAUTHORIZED);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 2);
	on("GET /api/types/System/instances", 401, "<html>401</html>");
	on("GET /api/types/System/instances", 401, UNAUTHORIZED);
	assert_int_equal(health(), -EACCES);
	assert_int_equal(logins(), 3);
}

static void old_builds_say_403_of_a_session_that_ended(void **state)
{
	(void)state;
	basics("2.5");
	on("GET /api/types/System/instances", 403, "{\"message\":\"Forbidden\",\"errorCode\":0}");
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 2);
	on("GET /api/types/System/instances", 403, "");
	on("GET /api/types/System/instances", 403, "");
	assert_int_equal(health(), -EACCES);
	assert_int_equal(logins(), 3);
}

static void newer_ones_mean_the_role(void **state)
{
	(void)state;
	basics("3.0");
	on("GET /api/types/System/instances", 403, "");
	assert_int_equal(health(), -EACCES);
	assert_int_equal(logins(), 1);
}

static void wrong_passwords_are_told_and_not_tried_again(void **state)
{
	(void)state;
	on("GET /api/login", 401, UNAUTHORIZED);
	assert_int_equal(health(), -EACCES);
	assert_non_null(strstr(fx.err.text, "\"svc\""));
	script_is_done();
}

static void an_answer_with_our_secrets_is_not_repeated(void **state)
{
	(void)state;
	basics("3.6");
	on("GET /api/types/System/instances", 500,
	   "{\"message\":\"bad token " TOKEN "\",\"errorCode\":62}");
	assert_int_equal(health(), -EINVAL);
	on("GET /api/types/System/instances", 500,
	   "{\"message\":\"bad " PASSWORD "\",\"errorCode\":62}");
	assert_int_equal(health(), -EINVAL);
	open_with(config());
	on("GET /api/login", 500, "{\"message\":\"not " PASSWORD "\",\"errorCode\":62}");
	assert_int_equal(health(), -EINVAL);
}

static void *health_main(void *arg)
{
	struct err err;

	(void)arg;
	return (void *)(intptr_t)fx.p->ops->health(fx.p, &err);
}

static void many_threads_make_one_login(void **state)
{
	const struct fake_http_step slow = { .match = "GET /api/login",
					     .body = "\"" TOKEN "\"",
					     .ms = 50 };
	const struct fake_http_step gone = { .match = "GET /api/types/System",
					     .status = 401,
					     .body = UNAUTHORIZED,
					     .times = 8,
					     .ms = 30 };
	pthread_t t[16];
	void *rc;

	(void)state;
	fake_http_add(fx.f, &slow);
	basics("3.6");
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			assert_int_equal(pthread_create(&t[i], NULL, health_main, NULL), 0);
		for (size_t i = 0; i < ARRAY_LEN(t); i++) {
			pthread_join(t[i], &rc);
			if (round == 0)
				assert_null(rc);
		}
		if (round == 0) {
			assert_int_equal(logins(), 1);
			fake_http_add(fx.f, &gone);
		}
	}
	/* Without sharing there would be nine. Who came late may have met a 401 with the new session. */
	assert_in_range(logins(), 2, 5);
}

static void threads_that_wait_share_the_failure(void **state)
{
	const struct fake_http_step slow = {
		.match = "GET /api/login", .status = 401, .body = UNAUTHORIZED, .ms = 300
	};
	pthread_t t[8];
	void *rc;

	(void)state;
	fake_http_add(fx.f, &slow);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, health_main, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &rc);
		assert_non_null(rc);
	}
	/* A machine that is very busy lets one come late, never all of them. */
	assert_in_range(logins(), 1, 4);
}

/* --- 4.x ------------------------------------------------------------------- */

#define BEARER_LOGIN "POST /rest/auth/login"
#define BEARER(n, life)                                                     \
	"{\"access_token\":\"access-" n "\",\"refresh_token\":\"refresh-" n \
	"\",\"token_type\":\"Bearer\",\"expires_in\":" life ",\"scope\":\"openid\"}"

static void new_releases_get_a_bearer_token(void **state)
{
	(void)state;
	on(BEARER_LOGIN, 200, BEARER("1", "300"));
	basics("4.5");
	always("POST /rest/auth/logout", 204, "");
	assert_int_equal(health(), 0);
	assert_string_equal(body_of(BEARER_LOGIN, 0),
			    "{\"username\":\"svc\",\"password\":\"" PASSWORD "\"}");
	assert_int_equal(fake_http_calls(fx.f, "GET /api/logout"), 1); /* the classic one */
	assert_string_equal(fake_http_seen(fx.f, fake_http_count(fx.f) - 1)->authorization,
			    "Bearer access-1");
	/* From now on the new way is the first; five minutes are short. */
	on(BEARER_LOGIN, 200, BEARER("2", "300"));
	atomic_store(&clock_skew_ms, 280000);
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 1);
	assert_string_equal(body_of("POST /rest/auth/logout", 0),
			    "{\"refresh_token\":\"refresh-1\"}");
	assert_string_equal(fake_http_seen(fx.f, fake_http_count(fx.f) - 1)->authorization,
			    "Bearer access-2");
	provider_close(fx.p);
	fx.p = NULL;
	assert_string_equal(body_of("POST /rest/auth/logout", 1),
			    "{\"refresh_token\":\"refresh-2\"}");
	script_is_done();
}

static void a_short_life_is_used_for_the_most_part(void **state)
{
	(void)state;
	on(BEARER_LOGIN, 200, BEARER("1", "20"));
	basics("4.0");
	assert_int_equal(health(), 0);
	atomic_store(&clock_skew_ms, 10000);
	assert_int_equal(health(), 0);
	assert_int_equal(fake_http_calls(fx.f, BEARER_LOGIN), 1);
	on(BEARER_LOGIN, 200, BEARER("2", "20"));
	atomic_store(&clock_skew_ms, 16000);
	assert_int_equal(health(), 0);
	assert_int_equal(fake_http_calls(fx.f, BEARER_LOGIN), 2);
}

static void a_gateway_without_the_classic_way_is_found_out(void **state)
{
	(void)state;
	on("GET /api/login", 401, "<html>Unauthorized</html>");
	on(BEARER_LOGIN, 200, BEARER("1", "300"));
	basics("4.5");
	assert_int_equal(health(), 0);
	assert_int_equal(logins(), 1);
}

static void a_new_release_without_the_new_way_takes_the_token_as_bearer(void **state)
{
	(void)state;
	on(BEARER_LOGIN, 404, "<html>");
	basics("4.0");
	assert_int_equal(health(), 0);
	assert_string_equal(fake_http_seen(fx.f, fake_http_count(fx.f) - 1)->authorization,
			    "Bearer " TOKEN);
}

static void both_ways_closed_is_an_error(void **state)
{
	(void)state;
	on("GET /api/login", 401, "<html>");
	on(BEARER_LOGIN, 401, "<html>");
	assert_int_equal(health(), -EACCES);
	on("GET /api/login", 404, "<html>");
	on(BEARER_LOGIN, 404, "");
	assert_int_equal(health(), -EPROTO);
	on("GET /api/login", 404, "");
	on(BEARER_LOGIN, 200, "{\"access_token\":null}");
	assert_int_equal(health(), -EPROTO);
	script_is_done();
}

static void versions_compare_by_number(void **state)
{
	static const char *const bad[] = {
		"\"\"", "\"x\"", "{}", "\"3.\"", "<html>", "\"99999.0\""
	};
	struct sgw_version v;

	(void)state;
	basics("3.10");
	assert_int_equal(sgw_version_of(scaleio_of(fx.p), &v, &fx.err), 0);
	assert_int_equal(v.major, 3);
	assert_int_equal(v.minor, 10);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		open_with(config());
		on("GET /api/version", 200, bad[i]);
		assert_int_equal(health(), -EPROTO);
	}
}

/* --- what answers mean ----------------------------------------------------- */

static const struct {
	long status;
	const char *body;
	enum sgw_fault fault;
	int rc;
} classes[] = {
#define CODE(n, text) "{\"message\":\"" text "\",\"httpStatusCode\":500,\"errorCode\":" #n "}"
	{ 500, CODE(3, "Not found"), SGW_ABSENT, -ENOENT },
	{ 500, CODE(7, "Already exists"), SGW_TAKEN, -EEXIST },
	{ 500, CODE(62, "Wrong command parameters"), SGW_ARGUMENT, -EINVAL },
	{ 500, CODE(64, "Parameter out of range"), SGW_ARGUMENT, -EINVAL },
	{ 500, CODE(67, "Insufficient resources"), SGW_NO_ROOM, -ENOSPC },
	{ 500, CODE(68, "A timeout occurred"), SGW_LOST, -EAGAIN },
	{ 500, CODE(69, "Communication error"), SGW_LOST, -EAGAIN },
	{ 500, CODE(78, "Could not find the volume"), SGW_ABSENT, -ENOENT },
	{ 500, CODE(79, "Could not find the volume"), SGW_ABSENT, -ENOENT },
	{ 500, CODE(80, "Could not find the SDC"), SGW_HOST_ABSENT, -EINVAL },
	{ 500, CODE(81, "already"), SGW_MAPPED_HERE, -EBUSY },
	{ 500, CODE(82, "all"), SGW_MAPPED_ALL, -EBUSY },
	{ 500, CODE(84, "not"), SGW_NOT_MAPPED, -EINVAL },
	{ 500, CODE(87, "many"), SGW_NO_ROOM, -ENOSPC },
	{ 500, CODE(88, "Invalid volume ID. Please try again."), SGW_ABSENT, -ENOENT },
	{ 500, CODE(90, "Invalid SDC ID"), SGW_HOST_ABSENT, -EINVAL },
	{ 500, CODE(99, "in use"), SGW_TAKEN, -EEXIST },
	{ 500, CODE(104, "Volume is mapped"), SGW_MAPPED, -EBUSY },
	{ 500, CODE(121, "slave"), SGW_BUSY, -EAGAIN },
	{ 500, CODE(124, "degraded"), SGW_BUSY, -EAGAIN },
	{ 500, CODE(132, "license"), SGW_NO_ROOM, -ENOSPC },
	{ 500, CODE(133, "increased"), SGW_SHRINK, -ERANGE },
	{ 500, CODE(142, "pd"), SGW_CONFIG, -EINVAL },
	{ 500, CODE(164, "The system is busy. Retry later"), SGW_BUSY, -EAGAIN },
	{ 500, CODE(166, "Could not create the volume"), SGW_REFUSED, -EINVAL },
	{ 500, CODE(168, "You do not have permission"), SGW_DENIED, -EACCES },
	{ 500, CODE(171, "pool"), SGW_CONFIG, -EINVAL },
	{ 500, CODE(174, "pool"), SGW_CONFIG, -EINVAL },
	{ 500, CODE(182, "many"), SGW_NO_ROOM, -ENOSPC },
	{ 500, CODE(183, "none"), SGW_ABSENT, -ENOENT },
	{ 500, CODE(188, "no default"), SGW_CONFIG, -EINVAL },
	{ 500, CODE(190, "large"), SGW_ARGUMENT, -EINVAL },
	{ 500, CODE(191, "small"), SGW_NO_ROOM, -ENOSPC },
	{ 500, CODE(197, "mismatch"), SGW_CONFIG, -EINVAL },
	{ 500, CODE(212, "removal"), SGW_REMOVING, -EAGAIN },
	{ 500, CODE(225, "8 GB blocks"), SGW_ARGUMENT, -EINVAL },
	{ 500, CODE(226, "31 characters"), SGW_ARGUMENT, -EINVAL },
	{ 500, CODE(227, "invalid characters"), SGW_ARGUMENT, -EINVAL },
	/* numbers that differ: the text decides */
	{ 500, CODE(297, "This volume may not be mapped to additional SDCs"), SGW_MAPPED_OTHER,
	  -EBUSY },
	{ 500, CODE(811, "Only a single SDC may be mapped to this volume at a time"),
	  SGW_MAPPED_OTHER, -EBUSY },
	{ 500, CODE(297, "The SDC is not approved"), SGW_NOT_APPROVED, -EACCES },
	{ 500, CODE(322, "x"), SGW_NOT_APPROVED, -EACCES },
	{ 500, CODE(300, "Requested volume size exceeds the volume allocation limit"), SGW_NO_ROOM,
	  -ENOSPC },
	{ 500, CODE(4037, "x"), SGW_MAPPED_HERE, -EBUSY },
	{ 500, CODE(4039, "x"), SGW_NOT_MAPPED, -EINVAL },
	{ 500, CODE(252, "The maximum number of sessions is already open"), SGW_BUSY, -EAGAIN },
	{ 500, CODE(9999, "Whatever"), SGW_REFUSED, -EINVAL },
	{ 400, CODE(0, "id must be a hexadecimal number (unsigned long)"), SGW_ABSENT, -ENOENT },
	{ 500, CODE(0, "id must be a hexadecimal number"), SGW_ABSENT, -ENOENT },
	{ 500,
	  "{\"message\":\"Error with details\",\"httpStatusCode\":500,\"errorCode\":0,\"details\":[{\"error\":\"TOO_MANY_SNAPS_IN_VTREE\",\"rc\":182,\"errorMessage\":\"There are too many snapshots in the VTree\"}]}",
	  SGW_NO_ROOM, -ENOSPC },
	{ 500,
	  "{\"message\":\"Error with details\",\"errorCode\":0,\"details\":[{\"error\":\"VOL_NOT_FOUND\"}]}",
	  SGW_ABSENT, -ENOENT },
	{ 500, "{\"message\":\"Error with details\",\"errorCode\":0,\"details\":[{\"rc\":99}]}",
	  SGW_TAKEN, -EEXIST },
	{ 500, "{\"message\":\"Error with details\",\"errorCode\":0,\"details\":[]}", SGW_LOST,
	  -EAGAIN },
	{ 500, "{\"message\":\"Error with details\",\"errorCode\":99,\"details\":null}", SGW_TAKEN,
	  -EEXIST },
	{ 500, "{\"message\":\"Internal\"}", SGW_LOST, -EAGAIN },
	{ 500, "{\"errorCode\":-1}", SGW_LOST, -EAGAIN },
	{ 500, "{\"errorCode\":99999999999999}", SGW_LOST, -EAGAIN },
	{ 500, "[]", SGW_LOST, -EAGAIN },
	{ 500, "null", SGW_LOST, -EAGAIN },
	{ 502, "<html>", SGW_LOST, -EAGAIN },
	{ 503, "", SGW_LOST, -EAGAIN },
	{ 504, "", SGW_LOST, -EAGAIN },
	{ 429, "", SGW_BUSY, -EAGAIN },
	{ 400, "", SGW_ARGUMENT, -EINVAL },
	{ 401, UNAUTHORIZED, SGW_DENIED, -EACCES },
	{ 403, "", SGW_DENIED, -EACCES },
	{ 404, "<html>", SGW_NO_ROUTE, -EPROTO },
	{ 400, "{\"message\":\"no route handled\"}", SGW_NO_ROUTE, -EPROTO },
	{ 302, "", SGW_REFUSED, -EINVAL },
};

static void refusals_have_classes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
		json_t *json = json_loads(classes[i].body, JSON_DECODE_ANY, NULL);
		char text[64];
		unsigned code;
		enum sgw_fault f = sgw_judge(classes[i].status, json, text, sizeof text, &code);

		if (f != classes[i].fault || sgw_errno(f) != classes[i].rc)
			fail_msg("%ld %s: class %u", classes[i].status, classes[i].body, f);
		json_decref(json);
	}
}

static void a_busy_array_is_asked_again(void **state)
{
	(void)state;
	basics("3.6");
	on("GET /api/types/System/instances", 500, CODE(164, "The system is busy. Retry later"));
	on("GET /api/types/System/instances", 500, CODE(121, "slave MDM"));
	on("GET /api/types/System/instances", 500, CODE(124, "cluster degraded"));
	assert_int_equal(health(), 0);
	script_is_done();
}

static void pages_and_empty_bodies_are_survived(void **state)
{
	(void)state;
	basics("3.6");
	on("GET /api/types/System/instances", 502, "<html><body>Bad Gateway</body></html>");
	on("GET /api/types/System/instances", 503, "");
	fault("GET /api/types/System/instances", FAKE_HTTP_CUT, "[{\"id\":\"" SYSTEM "\"}]");
	assert_int_equal(health(), 0);
	on("GET /api/types/System/instances", 200, "<html>");
	assert_int_equal(health(), -EPROTO);
	on("GET /api/types/System/instances", 200, "");
	assert_int_equal(health(), -EPROTO);
	on("GET /api/types/System/instances", 200, "[]");
	assert_int_equal(health(), -EPROTO);
	on("GET /api/types/System/instances", 200, "[{\"id\":\"../../x\"}]");
	assert_int_equal(health(), -EPROTO);
	script_is_done();
}

static void a_degraded_cluster_is_not_well(void **state)
{
	(void)state;
	basics("3.6");
	on("GET /api/types/System/instances", 200,
	   "[{\"id\":\"" SYSTEM "\",\"mdmCluster\":{\"clusterState\":\"ClusteredDegraded\"}}]");
	assert_int_equal(health(), -EAGAIN);
	assert_non_null(strstr(fx.err.text, "ClusteredDegraded"));
	on("GET /api/types/System/instances", 200,
	   "[{\"id\":\"" SYSTEM "\",\"mdmCluster\":{\"clusterState\":\"ClusteredNormal\"}}]");
	assert_int_equal(health(), 0);
}

static void systems_are_told_apart_by_id_or_name(void **state)
{
	static const char two[] = "[{\"id\":\"11\",\"name\":\"a\"},{\"id\":\"22\",\"name\":\"b\"}]";
	static const struct {
		const char *key;
		int rc;
	} of[] = { { "22", 0 }, { "b", 0 }, { "c", -EINVAL }, { NULL, -EINVAL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		json_t *c = config();

		if (of[i].key)
			json_object_set_new(c, "system", json_string(of[i].key));
		open_with(c);
		fake_http_clear(fx.f);
		on("GET /api/types/System/instances", 200, two);
		basics("3.6");
		assert_int_equal(health(), of[i].rc);
	}
}

/* --- configuration --------------------------------------------------------- */

static int open_text(const char *more)
{
	struct provider *p = NULL;
	AUTO_FREE char *text = NULL;
	json_t *c;
	int rc;

	assert_true(asprintf(&text, "{\"type\":\"scaleio\"%s}", more) > 0);
	c = json_loads(text, 0, NULL);
	assert_non_null(c);
	rc = provider_open("array1", c, &p, &fx.err);
	no_secret();
	provider_close(p);
	json_decref(c);
	return rc;
}

static void configurations_are_checked(void **state)
{
#define GOOD ",\"url\":\"https://gw\",\"user\":\"u\",\"password\":\"" PASSWORD "\""
	static const struct {
		const char *text, *sentence;
	} bad[] = {
		{ "", "\"user\"" },
		{ ",\"user\":\"u\",\"password\":\"x\"", "\"url\"" },
		{ ",\"url\":\"https://gw\",\"user\":\"u\"", "\"password\"" },
		{ GOOD ",\"password_file\":\"/x\"", "\"password\"" },
		{ GOOD ",\"colour\":\"red\"", "\"colour\"" },
		{ GOOD ",\"timeout\":\"soon\"", "\"timeout\"" },
		{ GOOD ",\"parallel\":0", "\"parallel\"" },
		{ GOOD ",\"parallel\":65", "\"parallel\"" },
		{ GOOD ",\"insecure\":3", "\"insecure\"" },
		{ GOOD ",\"ca_file\":\"/nonexistent/ca\"", "\"ca_file\"" },
		{ GOOD ",\"name_prefix\":\"toolong\"", "\"name_prefix\"" },
		{ GOOD ",\"name_prefix\":\"cfn\"", "\"name_prefix\"" },
		{ GOOD ",\"name_prefix\":\"A\"", "\"name_prefix\"" },
		{ GOOD ",\"name_prefix\":\"\"", "\"name_prefix\"" },
		{ GOOD ",\"urls\":[\"https://gw\"]", "\"url\"" },
		{ GOOD ",\"login\":\"maybe\"", "\"login\"" },
		{ GOOD ",\"system\":[]", "\"system\"" },
		{ ",\"user\":\"u\",\"password\":\"x\",\"urls\":[]", "\"urls\"" },
		{ ",\"user\":\"u\",\"password\":\"x\",\"urls\":[1]", "\"urls\"" },
		{ ",\"user\":\"u\",\"password\":\"x\",\"url\":\"ftp://h\"", "ftp://h" },
		{ ",\"user\":\"u\",\"password\":\"x\",\"url\":\"https://a:" PASSWORD "@h\"",
		  "url" },
		{ ",\"url\":\"https://gw\",\"user\":\"u\",\"password\":3", "\"password\"" },
		{ ",\"url\":\"https://gw\",\"user\":\"u\",\"password_file\":\"/nonexistent/p\"",
		  "/nonexistent/p" },
	};
	static const char *const good[] = {
		GOOD,
		",\"user\":\"u\",\"password\":\"x\",\"urls\":[\"https://a/api\",\"https://b:8443/\"]",
		GOOD
		",\"insecure\":true,\"timeout\":30,\"connect_timeout\":\"2.5\",\"parallel\":64,\"login\":\"classic\",\"system\":\"s\"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (open_text(bad[i].text) != -EINVAL || !strstr(fx.err.text, bad[i].sentence) ||
		    !strstr(fx.err.text, "array1"))
			if (!strstr(fx.err.text, "/nonexistent/p"))
				fail_msg("%s: %s", bad[i].text, fx.err.text);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (open_text(good[i]))
			fail_msg("%s: %s", good[i], fx.err.text);
}

static void kinds_are_known_by_their_type(void **state)
{
	json_t *c = json_pack("{s:s}", "type", "floppy"), *none = json_object(),
	       *list = json_array();
	struct provider *p = NULL;

	(void)state;
	assert_int_equal(provider_open("a", c, &p, &fx.err), -EINVAL);
	assert_non_null(strstr(fx.err.text, "floppy"));
	assert_non_null(strstr(fx.err.text, "scaleio"));
	assert_int_equal(provider_open("a", none, &p, &fx.err), -EINVAL);
	assert_int_equal(provider_open("a", list, &p, &fx.err), -EINVAL);
	assert_int_equal(provider_open("", c, &p, &fx.err), -EINVAL);
	provider_close(NULL);
	json_decref(c);
	json_decref(none);
	json_decref(list);
}

static void passwords_are_read_anew_from_their_file(void **state)
{
	json_t *c;
	int fd;

	(void)state;
	strcpy(fx.path, "/tmp/persifs-password.XXXXXX");
	fd = mkstemp(fx.path);
	assert_true(fd >= 0);
	c = json_pack("{s:s, s:s, s:s, s:s}", "type", "scaleio", "url", fake_http_url(fx.f), "user",
		      "svc", "password_file", fx.path);
	assert_int_equal(write(fd, "first\n", 6), 6);
	open_with(c);
	assert_int_equal(pwrite(fd, PASSWORD "\n", strlen(PASSWORD) + 1, 0), strlen(PASSWORD) + 1);
	close(fd);
	basics("3.6");
	assert_int_equal(health(), 0);
	assert_string_equal(fake_http_seen(fx.f, 0)->authorization,
			    "Basic c3ZjOnA0c3Mtb2YtdGhlLXVzZXI=");
}

static void names_are_hashes_that_are_recognised(void **state)
{
	char a[PROVIDER_NAME_MAX], b[PROVIDER_NAME_MAX];

	(void)state;
	provider_make_name("cf-", "one", a);
	provider_make_name("cf-", "two", b);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), 29);
	assert_true(strlen(fx.names.fresh) <= 31);
	assert_true(provider_is_made_name("cf-", a));
	assert_false(provider_is_made_name("cf", a));
	assert_false(provider_is_made_name("cf-", "cf-short"));
	assert_false(provider_is_made_name("cf-", fx.names.fresh));
	a[5] = 'l'; /* looks like 1 */
	assert_false(provider_is_made_name("cf-", a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(token_is_the_password_of_later_calls),
		TEST(token_comes_with_and_without_quotes),
		TEST(what_is_no_token_is_refused),
		TEST(session_is_renewed_ahead_of_its_end),
		TEST(a_session_that_ended_early_is_replayed_once),
		TEST(old_builds_say_403_of_a_session_that_ended),
		TEST(newer_ones_mean_the_role),
		TEST(wrong_passwords_are_told_and_not_tried_again),
		TEST(an_answer_with_our_secrets_is_not_repeated),
		TEST(many_threads_make_one_login),
		TEST(threads_that_wait_share_the_failure),
		TEST(new_releases_get_a_bearer_token),
		TEST(a_short_life_is_used_for_the_most_part),
		TEST(a_gateway_without_the_classic_way_is_found_out),
		TEST(a_new_release_without_the_new_way_takes_the_token_as_bearer),
		TEST(both_ways_closed_is_an_error),
		TEST(versions_compare_by_number),
		TEST(refusals_have_classes),
		TEST(a_busy_array_is_asked_again),
		TEST(pages_and_empty_bodies_are_survived),
		TEST(a_degraded_cluster_is_not_well),
		TEST(systems_are_told_apart_by_id_or_name),
		TEST(configurations_are_checked),
		TEST(kinds_are_known_by_their_type),
		TEST(passwords_are_read_anew_from_their_file),
		TEST(names_are_hashes_that_are_recognised),
	};

	return cmocka_run_group_tests_name("scaleio sessions", tests, NULL, NULL);
}
