/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/backends/onefs_test.h"

#include <pthread.h>

#define STATS "GET /platform/1/statistics/current"
#define STATS_BODY                                                  \
	"{\"stats\":[{\"key\":\"ifs.bytes.total\",\"value\":1000}," \
	"{\"key\":\"ifs.bytes.avail\",\"value\":400,\"error\":null}]}"
#define LOGIN "POST /session/1/session"
#define LOGOUT "DELETE /session/1/session"
#define THREADS 8

static void login_on(struct fake_http *f, const char *cookie, const char *csrf, unsigned ms)
{
	const struct fake_http_step step = { .match = LOGIN,
					     .status = 201,
					     .body = LIFETIMES,
					     .headers = { cookie, csrf },
					     .ms = ms };

	fake_http_add(f, &step);
}

static int ask(void)
{
	struct provider_capacity c;

	fx.err.text[0] = '\0';
	return fx.p->ops->capacity(fx.p, NULL, &c, &fx.err);
}

static const struct fake_http_seen *seen(unsigned i)
{
	return fake_http_seen(fx.a, i);
}

/* --- sessions ------------------------------------------------------------------ */

static void session_is_three_headers_and_both_services(void **state)
{
	struct provider_capacity c;
	char referer[128];

	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	on(STATS, 200, STATS_BODY);
	on(LOGOUT, 204, NULL);
	assert_int_equal(fx.p->ops->capacity(fx.p, NULL, &c, &fx.err), 0);
	assert_int_equal(c.total, 1000);
	assert_int_equal(c.free, 400);
	assert_non_null(strstr(seen(0)->body, "\"platform\",\"namespace\""));
	assert_non_null(strstr(seen(0)->body, "\"password\":\"" SECRET "\""));
	assert_string_equal(seen(0)->authorization, "");
	assert_string_equal(seen(1)->cookie, "isisessid=aaaa-session-of-a; isicsrf=aaaa-csrf-of-a");
	assert_string_equal(seen(1)->csrf, "aaaa-csrf-of-a");
	snprintf(referer, sizeof referer, "%s", fake_http_url(fx.a));
	assert_string_equal(seen(1)->referer, referer);
	assert_string_equal(seen(1)->authorization, "");
	close_provider();
	assert_string_equal(seen(2)->method, "DELETE");
	assert_string_equal(seen(2)->csrf, "aaaa-csrf-of-a");
	script_is_done();
}

static void old_release_gets_no_token(void **state)
{
	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, NULL, 0);
	on(STATS, 200, STATS_BODY);
	on(LOGOUT, 204, NULL);
	assert_int_equal(ask(), 0);
	assert_string_equal(seen(1)->cookie, "isisessid=aaaa-session-of-a");
	assert_string_equal(seen(1)->csrf, "");
	close_provider();
	script_is_done();
}

static void lost_session_is_renewed_once(void **state)
{
	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	on(STATS, 401, "{\"errors\":[{\"code\":\"AEC_UNAUTHORIZED\",\"message\":\"no\"}]}");
	login_on(fx.a, "Set-Cookie: isisessid=second; path=/", CSRF_A, 0);
	on(STATS, 200, STATS_BODY);
	assert_int_equal(ask(), 0);
	assert_string_equal(seen(3)->cookie, "isisessid=second; isicsrf=aaaa-csrf-of-a");
	script_is_done();
}

static void second_refusal_is_reported(void **state)
{
	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	on_always(STATS, 401, "<html><title>Authorization Required</title></html>");
	assert_int_equal(ask(), -EACCES);
	sentence_is_clean();
	assert_non_null(strstr(fx.err.text, "Authorization Required"));
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 2);
	assert_int_equal(fake_http_calls(fx.a, STATS), 2);
}

static void missing_privilege_is_no_reason_to_log_in(void **state)
{
	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	on_always(
		STATS, 403,
		"{\"errors\":[{\"code\":\"AEC_FORBIDDEN\",\"message\":\"Privilege check failed\"}]}");
	assert_int_equal(ask(), -EACCES);
	assert_non_null(strstr(fx.err.text, "role lacks a privilege"));
	assert_int_equal(ask(), -EACCES);
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 1);
	assert_int_equal(fake_http_calls(fx.a, STATS), 2);
}

static void wrong_password_is_told_without_it(void **state)
{
	static const char *const bodies[] = {
		"{\"message\":\"Username or password is incorrect.\"}",
		"{\"errors\":[{\"code\":\"AEC_UNAUTHORIZED\",\"message\":\"" SECRET
		" is wrong\"}]}",
		"<html><h1>Authorization Required</h1></html>", ""
	};

	(void)state;
	open_more(FIXED);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		on(LOGIN, 401, bodies[i]);
		assert_int_equal(ask(), -EACCES);
		sentence_is_clean();
		assert_non_null(strstr(fx.err.text, "user 'svc'"));
	}
	script_is_done();
}

static void login_that_makes_no_sense_is_an_error(void **state)
{
	static const struct {
		unsigned status;
		const char *cookie;
		int rc;
	} cases[] = { { 201, NULL, -EPROTO },
		      { 201, "Set-Cookie: isisessid=; path=/", -EPROTO },
		      { 201, "Set-Cookie: isisessid=a b\"c", 0 }, /* ends at the space */
		      { 201, "Set-Cookie: isisessid=\"quoted\"", -EPROTO },
		      { 404, NULL, -ENOENT },
		      { 500, NULL, -EAGAIN },
		      { 302, NULL, -EPROTO } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_http_clear(fx.a);
		open_more(FIXED);
		on_always(STATS, 200, STATS_BODY);
		on_always(LOGOUT, 204, NULL);
		login_on(fx.a, cases[i].cookie, NULL, 0);
		if (cases[i].status != 201) {
			fake_http_clear(fx.a);
			on(LOGIN, cases[i].status, "<html></html>");
		}
		assert_int_equal(ask(), cases[i].rc);
		close_provider();
	}
}

static void cookie_of_any_answer_is_taken(void **state)
{
	const struct fake_http_step step = { .match = STATS,
					     .body = STATS_BODY,
					     .headers = {
						     "Set-Cookie: isisessid=replacement; path=/",
						     "Set-Cookie: isicsrf=token2; path=/" } };

	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	fake_http_add(fx.a, &step);
	on(STATS, 200, STATS_BODY);
	assert_int_equal(ask(), 0);
	assert_int_equal(ask(), 0);
	assert_string_equal(seen(2)->cookie, "isisessid=replacement; isicsrf=token2");
	assert_string_equal(seen(2)->csrf, "token2");
	script_is_done();
}

static void session_is_renewed_ahead_of_its_end(void **state)
{
	(void)state;
	open_more(FIXED);
	on_always(STATS, 200, STATS_BODY);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	assert_int_equal(ask(), 0);
	atomic_store(&clock_skew_ms, 860000);
	assert_int_equal(ask(), 0);
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 1);
	login_on(fx.a, COOKIE_A, CSRF_A, 0); /* 871 s without a call */
	atomic_store(&clock_skew_ms, 860000 + 871000);
	assert_int_equal(ask(), 0);
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 2);
	for (uint64_t s = 0; s <= 13800; s += 600) { /* in use all the time */
		atomic_store(&clock_skew_ms, 1731000 + s * 1000);
		assert_int_equal(ask(), 0);
	}
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 2);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	atomic_store(&clock_skew_ms, 1731000 + 14371000);
	assert_int_equal(ask(), 0);
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 3);
	assert_int_equal(fake_http_calls(fx.a, STATS), 28);
}

/* --- several threads and nodes ---------------------------------------------------- */

static void *ask_thread(void *arg)
{
	struct provider_capacity c;
	int *rc = arg;

	*rc = fx.p->ops->capacity(fx.p, NULL, &c, NULL);
	return NULL;
}

static void ask_in_threads(int expected)
{
	pthread_t threads[THREADS];
	int rcs[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_thread, &rcs[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(rcs[i], expected);
}

static void threads_share_one_login(void **state)
{
	(void)state;
	open_more(FIXED);
	fx.o->send = rest_call;
	on_always(STATS, 200, STATS_BODY);
	login_on(fx.a, COOKIE_A, CSRF_A, 300);
	ask_in_threads(0);
	assert_int_equal(fake_http_calls(fx.a, LOGIN), 1);
	assert_int_equal(fake_http_unexpected(fx.a), 0);
}

static void threads_share_a_refusal(void **state)
{
	const struct fake_http_step step = {
		.match = LOGIN, .status = 401, .ms = 400, .times = FAKE_HTTP_ALWAYS
	};

	(void)state;
	open_more(FIXED);
	fx.o->send = rest_call;
	fake_http_add(fx.a, &step);
	ask_in_threads(-EACCES);
	/* One; a thread that starts late on a busy machine tries once more. */
	assert_in_range(fake_http_calls(fx.a, LOGIN), 1, THREADS / 2);
}

static void another_node_wants_another_session(void **state)
{
	const struct fake_http_step gone = { .match = STATS, .fault = FAKE_HTTP_DROP, .times = 9 };
	char referer[128];
	unsigned n;

	(void)state;
	open_more(FIXED);
	login_on(fx.a, COOKIE_A, CSRF_A, 0);
	fake_http_add(fx.a, &gone);
	fake_http_on(fx.b, STATS, 403, "<html><title>Forbidden</title></html>");
	login_on(fx.b, "Set-Cookie: isisessid=session-of-b", "Set-Cookie: isicsrf=csrf-of-b", 0);
	fake_http_on(fx.b, STATS, 200, STATS_BODY);
	fake_http_on(fx.b, LOGOUT, 204, NULL);
	assert_int_equal(ask(), 0);
	n = fake_http_count(fx.b);
	snprintf(referer, sizeof referer, "%s", fake_http_url(fx.b));
	assert_string_equal(fake_http_seen(fx.b, n - 1)->referer, referer);
	assert_string_equal(fake_http_seen(fx.b, n - 1)->cookie,
			    "isisessid=session-of-b; isicsrf=csrf-of-b");
	close_provider();
	assert_int_equal(fake_http_left(fx.b), 0);
}

static void basic_sends_it_with_each_call(void **state)
{
	(void)state;
	open_more(FIXED BASIC);
	on(STATS, 200, STATS_BODY);
	on(STATS, 401, "<html><title>Authorization Required</title></html>");
	assert_int_equal(ask(), 0);
	assert_string_equal(seen(0)->authorization, "Basic c3ZjOnMzY3IzdC13b3Jk");
	assert_string_equal(seen(0)->cookie, "");
	assert_int_equal(ask(), -EACCES);
	sentence_is_clean();
	close_provider();
	script_is_done();
}

/* --- what answers mean --------------------------------------------------------------- */

#define E(code, message) \
	"{\"errors\":[{\"code\":\"" code "\",\"field\":\"x\",\"message\":\"" message "\"}]}"

static const struct {
	unsigned status;
	const char *body;
	int rc;
	const char *words; /* of the sentence */
} answers[] = {
	{ 200, "{}", -EPROTO, "no list" },
	{ 200, "", -EPROTO, "no list" },
	{ 200, "<html>", -EPROTO, "no list" },
	{ 200, E("AEC_TRANSIENT", "in progress"), -EAGAIN, "in progress" },
	{ 200, "{\"errors\":[{\"message\":\"odd\"}]}", -EPROTO, "odd" },
	{ 304, "", -EPROTO, "refused without a reason" },
	{ 400, E("AEC_BAD_REQUEST", "unknown argument"), -EINVAL, "unknown argument (field x)" },
	{ 400, E("AEC_ARG_REQUIRED", "m"), -EINVAL, "AEC_ARG_REQUIRED" },
	{ 400, E("AEC_BAD_REQUEST", "Invalid resume token"), -EAGAIN, "resume" },
	{ 400, "not json", -EINVAL, "status 400" },
	{ 403, E("AEC_FORBIDDEN", "no"), -EACCES, "privilege" },
	{ 403, E("AEC_LIMIT_EXCEEDED", "40000 exports"), -ENOSPC, "40000" },
	{ 403, E("AEC_INVALID_LICENSE", "no"), -EOPNOTSUPP, "AEC_INVALID_LICENSE" },
	{ 403, "{\"errors\":[{\"message\":\"No license\"}]}", -EOPNOTSUPP, "license" },
	{ 403, E("AEC_NAMETOO_LONG", "n"), -EINVAL, "NAMETOO" },
	{ 404, E("AEC_NOT_FOUND", "gone"), -ENOENT, "gone" },
	{ 404, "<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1>", -ENOENT,
	  "Not Found" },
	{ 405, "", -EOPNOTSUPP, "405" },
	{ 409, E("AEC_CONFLICT", "exists"), -EEXIST, "exists" },
	{ 409, E("AEC_CONFLICT", "Directory is not empty"), -EBUSY, "not empty" },
	{ 412, E("AEC_PRE_CONDITION_FAILED", "m"), -EAGAIN, "" },
	{ 429, "", -EAGAIN, "" },
	{ 500, E("AEC_EXCEPTION", "bad hostname cell-7"), -EINVAL, "cell-7" },
	{ 500, E("AEC_EXCEPTION", "Failed to fetch quota domain record: No such file or directory"),
	  -ENOENT, "quota domain" },
	{ 500, E("AEC_SYSTEM_INTERNAL_ERROR", "m"), -EAGAIN, "" },
	{ 503, "<html><h1>Service\n  Unavailable</h1></html>", -EAGAIN, "Service Unavailable" },
	{ 507, "", -ENOSPC, "" },
	/* two entries, the second of which is known; no field; other types than are due */
	{ 500,
	  "{\"errors\":[{\"code\":\"AEC_NEW\",\"message\":\"one\"},"
	  "{\"code\":\"AEC_CONFLICT\",\"message\":\"two\"}]}",
	  -EEXIST, "one; two" },
	{ 409, "{\"errors\":[{\"code\":null,\"message\":17}]}", -EEXIST, "409" },
	{ 409, "{\"errors\":null}", -EEXIST, "409" },
	{ 409, "{\"errors\":[[],1,null]}", -EEXIST, "409" },
	{ 409, E("AEC_CONFLICT", "it is " SECRET "!"), -EEXIST, "it is ***********!" },
	{ 400, E("AEC_BAD_REQUEST", "aaaa-csrf-of-a is no token"), -EINVAL, "is no token" },
};

static void each_answer_has_its_class(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		int rc;

		fake_http_clear(fx.a);
		fake_http_clear(fx.b);
		open_more(FIXED);
		login_on(fx.a, COOKIE_A, CSRF_A, 0);
		login_on(fx.b, COOKIE_A, CSRF_A, 0);
		on_always(STATS, answers[i].status, answers[i].body);
		fake_http_add(fx.b, &(struct fake_http_step){ .match = STATS,
							      .times = FAKE_HTTP_ALWAYS,
							      .status = answers[i].status,
							      .body = answers[i].body });
		rc = ask();
		if (rc != answers[i].rc || !strstr(fx.err.text, answers[i].words))
			fail_msg("%u %s: %d %s", answers[i].status, answers[i].body, rc,
				 fx.err.text);
		sentence_is_clean();
		close_provider();
	}
}

static void version_is_the_number_before_the_dot(void **state)
{
	static const struct {
		unsigned status;
		const char *body;
		unsigned version;
		int rc;
	} cases[] = {
		{ 200, "{\"latest\":\"5\"}", 5, 0 },
		{ 200, "{\"latest\":\"12.1\"}", 12, 0 },
		{ 200, "{\"latest\":22}", 22, 0 },
		{ 200, "{\"latest\":16.1}", 16, 0 },
		{ 200, "{}", 2, 0 },
		{ 200, "{\"latest\":null}", 2, 0 },
		{ 200, "{\"latest\":\"99999999999999999999\"}", 2, 0 },
		{ 200, "{\"latest\":-3e300}", 2, 0 },
		{ 404, "<html>", 2, 0 },
		{ 200, "<html>", 0, -EPROTO },
		{ 403, "", 0, -EACCES },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned version = 0, again = 0;

		fake_http_clear(fx.a);
		open_more(FIXED BASIC);
		on("GET /platform/latest", cases[i].status, cases[i].body);
		assert_int_equal(isi_version(fx.o, &version, &fx.err), cases[i].rc);
		assert_int_equal(version, cases[i].version);
		if (!cases[i].rc) { /* asked once */
			assert_int_equal(isi_version(fx.o, &again, &fx.err), 0);
			assert_int_equal(again, version);
		}
		script_is_done();
		close_provider();
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(session_is_three_headers_and_both_services),
		T(old_release_gets_no_token),
		T(lost_session_is_renewed_once),
		T(second_refusal_is_reported),
		T(missing_privilege_is_no_reason_to_log_in),
		T(wrong_password_is_told_without_it),
		T(login_that_makes_no_sense_is_an_error),
		T(cookie_of_any_answer_is_taken),
		T(session_is_renewed_ahead_of_its_end),
		T(threads_share_one_login),
		T(threads_share_a_refusal),
		T(another_node_wants_another_session),
		T(basic_sends_it_with_each_call),
		T(each_answer_has_its_class),
		T(version_is_the_number_before_the_dot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
