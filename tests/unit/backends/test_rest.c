/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/providers/rest.h"
#include "common/cleanup.h"
#include "common/listen.h"
#include "tests/fake/fake_cert.h"
#include "tests/fake/fake_http.h"

#define SECRET "s3cr3t-word"

static struct {
	struct fake_http *a, *b, *tls;
	struct fake_cert own, other;
	struct rest *r;
} fx;

static struct rest *client(const char *url, const char *other, const struct rest_config *more)
{
	const char *urls[2] = { url, other };
	struct rest_config cfg = *more;
	struct rest *r = NULL;
	struct err err = { "" };

	cfg.urls = urls;
	cfg.nurls = other ? 2 : 1;
	if (rest_new(&cfg, &r, &err))
		fail_msg("%s", err.text);
	return r;
}

static int start(void **state)
{
	const struct rest_config cfg = { .total_ms = 20000 };

	(void)state;
	atomic_store(&rest_pause_ms, 4);
	fx.a = fake_http_start(NULL, NULL);
	fx.b = fake_http_start(NULL, NULL);
	fx.r = client(fake_http_url(fx.a), NULL, &cfg);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rest_free(fx.r);
	fake_http_stop(fx.a);
	fake_http_stop(fx.b);
	fake_http_stop(fx.tls);
	fake_cert_done(&fx.own);
	fake_cert_done(&fx.other);
	memset(&fx, 0, sizeof fx);
	return 0;
}

/* One call with a secret in each place that may hold one; no sentence may show it. */
static int ask(struct rest *r, const char *method, const char *path, bool safe,
	       struct rest_reply *a, struct err *err)
{
	static const char *const headers[] = { "X-Token: " SECRET, NULL };
	const struct rest_request q = { .call = "test call",
					.method = method,
					.path = path,
					.headers = headers,
					.user = "user",
					.password = SECRET,
					.body = strcmp(method, "GET") && strcmp(method, "HEAD") ?
							"{\"k\":\"" SECRET "\"}" :
							NULL,
					.safe = safe };
	int rc;

	err->text[0] = '\0';
	rc = rest_call(r, &q, a, err);
	assert_null(strstr(err->text, SECRET));
	if (rc)
		assert_non_null(strstr(err->text, "test call"));
	return rc;
}

static int quick(struct rest *r, const char *method, const char *path, bool safe, long *status)
{
	struct rest_reply a = { 0 };
	struct err err;
	int rc = ask(r, method, path, safe, &a, &err);

	if (status)
		*status = rc ? 0 : a.status;
	rest_reply_done(&a);
	return rc;
}

/* --- what is sent and received --------------------------------------------- */

static void request_and_answer_are_whole(void **state)
{
	const struct fake_http_step step = { .match = "POST /api/x",
					     .query = "q=1 2",
					     .status = 201,
					     .body = "{\"id\":\"77\",\"n\":9007199254740993}",
					     .headers = { "X-One: 1", "Set-Cookie: a=b",
							  "Set-Cookie: c=d" } };
	const struct fake_http_seen *s;
	struct rest_reply a;
	struct err err;
	uint64_t n;
	size_t at = 0;

	(void)state;
	fake_http_add(fx.a, &step);
	assert_int_equal(ask(fx.r, "POST", "/api/x?q=1%202", false, &a, &err), 0);
	assert_int_equal(a.status, 201);
	assert_false(a.resent);
	assert_string_equal(rest_text(a.json, "id"), "77");
	assert_true(rest_u64(json_object_get(a.json, "n"), &n) && n == 9007199254740993u);
	assert_int_equal(a.len, strlen(a.body));
	assert_string_equal(rest_header(&a, "x-one", &at), "1");
	at = 0;
	assert_string_equal(rest_header(&a, "set-cookie", &at), "a=b");
	assert_string_equal(rest_header(&a, "set-cookie", &at), "c=d");
	assert_null(rest_header(&a, "set-cookie", &at));
	rest_reply_done(&a);
	s = fake_http_seen(fx.a, 0);
	assert_string_equal(s->body, "{\"k\":\"" SECRET "\"}");
	assert_string_equal(s->type, "application/json");
	assert_string_equal(s->authorization, "Basic dXNlcjpzM2NyM3Qtd29yZA==");
	assert_int_equal(fake_http_unexpected(fx.a), 0);
}

static void every_method_arrives(void **state)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "DELETE", "HEAD" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		const struct rest_request q = { .call = "m", .method = methods[i], .path = "/p" };
		struct rest_reply a;
		struct err err;

		fake_http_on(fx.a, NULL, 200, "{}");
		assert_int_equal(rest_call(fx.r, &q, &a, &err), 0);
		assert_string_equal(fake_http_seen(fx.a, (unsigned)i)->method, methods[i]);
		assert_string_equal(fake_http_seen(fx.a, (unsigned)i)->authorization, "");
		assert_string_equal(a.body, strcmp(methods[i], "HEAD") ? "{}" : "");
		rest_reply_done(&a);
	}
}

static void what_is_no_json_is_kept_as_text(void **state)
{
	static const char deep[] =
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
		"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";
	static const struct {
		const char *body;
		bool json;
	} of[] = {
		{ "<html>busy</html>", false },
		{ "", false },
		{ "{\"a\":", false },
		{ "{\"a\":1}x", false },
		{ "{\"a\":123456789012345678901234567890}", false },
		{ "\"\\ud800\"", false },
		{ "\"token\"", true },
		{ "null", true },
		{ "\"[[[[\\\"[[[\"", true },
		{ deep, false },
		{ deep + 1, false }, /* one bracket fewer, but not balanced */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		struct rest_reply a;
		struct err err;

		fake_http_on(fx.a, "GET /", 500, of[i].body);
		assert_int_equal(ask(fx.r, "GET", "/", true, &a, &err), 0);
		assert_int_equal(a.status, 500);
		assert_string_equal(a.body, of[i].body);
		assert_int_equal(!!a.json, of[i].json);
		rest_reply_done(&a);
	}
}

static void redirects_are_not_followed(void **state)
{
	struct fake_http_step step = { .match = "GET /", .status = 302 };
	char header[128];
	long status;

	(void)state;
	snprintf(header, sizeof header, "Location: %s/x", fake_http_url(fx.b));
	step.headers[0] = header;
	fake_http_add(fx.a, &step);
	assert_int_equal(quick(fx.r, "GET", "/", true, &status), 0);
	assert_int_equal(status, 302);
	assert_int_equal(fake_http_count(fx.b), 0);
}

static void proxies_of_the_environment_are_not_used(void **state)
{
	(void)state;
	setenv("http_proxy", fake_http_url(fx.b), 1);
	setenv("all_proxy", fake_http_url(fx.b), 1);
	fake_http_on(fx.a, "GET /", 200, "{}");
	assert_int_equal(quick(fx.r, "GET", "/", true, NULL), 0);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	assert_int_equal(fake_http_count(fx.a), 1);
	assert_int_equal(fake_http_count(fx.b), 0);
}

static void a_line_break_is_refused_before_anything_is_sent(void **state)
{
	static const char *const bad[] = { "X: a\r\nY: b", NULL };
	struct rest_request q = { .call = "c", .method = "GET", .path = "/a", .headers = bad };
	struct rest_reply a;
	struct err err;

	(void)state;
	assert_int_equal(rest_call(fx.r, &q, &a, &err), -EPROTO);
	q.headers = NULL;
	q.path = "/a b";
	assert_int_equal(rest_call(fx.r, &q, &a, &err), -EINVAL);
	q.path = "/a\nb";
	assert_int_equal(rest_call(fx.r, &q, &a, &err), -EINVAL);
	q.path = "a";
	assert_int_equal(rest_call(fx.r, &q, &a, &err), -EINVAL);
	assert_int_equal(fake_http_count(fx.a), 0);
}

/* --- sending again --------------------------------------------------------- */

static void safe_calls_are_sent_again_while_the_server_is_away(void **state)
{
	static const unsigned away[] = { 502, 503, 504 };
	struct rest_reply a;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(away); i++)
		fake_http_on(fx.a, "GET /", away[i], "<html>");
	fake_http_on(fx.a, "GET /", 200, "{}");
	assert_int_equal(ask(fx.r, "GET", "/", true, &a, &err), 0);
	assert_int_equal(a.status, 200);
	assert_true(a.resent);
	rest_reply_done(&a);
	assert_int_equal(fake_http_count(fx.a), 4);
	assert_int_equal(rest_stats(fx.r)->resent, 3);
}

static void the_last_answer_of_a_server_that_stays_away_is_told(void **state)
{
	const struct fake_http_step step = { .status = 503, .times = FAKE_HTTP_ALWAYS };
	long status;

	(void)state;
	fake_http_add(fx.a, &step);
	assert_int_equal(quick(fx.r, "GET", "/", true, &status), 0);
	assert_int_equal(status, 503);
	assert_int_equal(fake_http_count(fx.a), REST_TRIES);
}

static void safe_calls_are_sent_again_when_answers_are_lost(void **state)
{
	const struct fake_http_step drop = { .match = "GET /", .fault = FAKE_HTTP_DROP };
	const struct fake_http_step cut = {
		.match = "GET /", .fault = FAKE_HTTP_CUT, .bytes = 4, .body = "{\"a\":1}"
	};
	long status;

	(void)state;
	fake_http_add(fx.a, &drop);
	fake_http_add(fx.a, &cut);
	fake_http_on(fx.a, "GET /", 200, "{}");
	assert_int_equal(quick(fx.r, "GET", "/", true, &status), 0);
	assert_int_equal(status, 200);
	assert_int_equal(fake_http_count(fx.a), 3);
}

static void unsafe_calls_are_sent_once(void **state)
{
	const struct fake_http_step drop = { .match = "POST /", .fault = FAKE_HTTP_DROP };
	const struct fake_http_step cut = {
		.match = "POST /", .fault = FAKE_HTTP_CUT, .bytes = 1, .body = "{}"
	};
	struct rest_reply a;
	struct err err;
	long status;

	(void)state;
	/* A kept connection tempts curl to send again by itself. */
	fake_http_on(fx.a, "GET /", 200, "{}");
	assert_int_equal(quick(fx.r, "GET", "/", true, NULL), 0);
	fake_http_add(fx.a, &drop);
	assert_int_equal(ask(fx.r, "POST", "/", false, &a, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "may have been carried out"));
	assert_int_equal(fake_http_calls(fx.a, "POST /"), 1);
	fake_http_add(fx.a, &cut);
	assert_int_equal(quick(fx.r, "POST", "/", false, NULL), -EAGAIN);
	assert_int_equal(fake_http_calls(fx.a, "POST /"), 2);
	fake_http_on(fx.a, "POST /", 503, "<html>");
	assert_int_equal(quick(fx.r, "POST", "/", false, &status), 0);
	assert_int_equal(status, 503);
	assert_int_equal(fake_http_calls(fx.a, "POST /"), 3);
}

/* A port of our own on which nobody listens. */
static int dead_port(char *url, size_t cap)
{
	struct listen_addr a;
	struct err err;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(listen_parse("tcp:127.0.0.1:0", &a, &err), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a.addr, a.len), 0);
	snprintf(url, cap, "http://127.0.0.1:%u", listen_port(fd));
	return fd;
}

static void what_was_not_received_goes_to_the_next_url(void **state)
{
	const struct rest_config cfg = { .total_ms = 20000 };
	char url[64], base[64];
	AUTO_FD int fd = dead_port(url, sizeof url);
	struct rest *r = client(url, fake_http_url(fx.a), &cfg);
	struct rest_reply a;
	struct err err;

	(void)state;
	assert_true(fd >= 0); /* held: nobody else gets the port */
	fake_http_on(fx.a, "POST /", 200, "{}");
	fake_http_on(fx.a, "POST /", 200, "{}");
	assert_int_equal(ask(r, "POST", "/", false, &a, &err), 0);
	assert_int_equal(a.url, 1);
	assert_false(a.resent);
	rest_reply_done(&a);
	rest_base(r, base, sizeof base);
	assert_string_equal(base, fake_http_url(fx.a));
	assert_int_equal(quick(r, "POST", "/", false, NULL), 0); /* stays there */
	assert_int_equal(rest_stats(r)->failovers, 1);
	assert_int_equal(rest_stats(r)->resent, 1);
	rest_free(r);
}

static void nobody_there_is_told_with_the_url(void **state)
{
	const struct rest_config cfg = { .total_ms = 20000 };
	char url[64];
	AUTO_FD int fd = dead_port(url, sizeof url);
	struct rest *r = client(url, NULL, &cfg);
	struct rest_reply a;
	struct err err;

	(void)state;
	assert_true(fd >= 0); /* held: nobody else gets the port */
	assert_int_equal(ask(r, "POST", "/", false, &a, &err), -EAGAIN);
	assert_non_null(strstr(err.text, url));
	assert_null(strstr(err.text, "carried out"));
	rest_free(r);
}

static void a_gateway_that_fails_is_left_for_the_other(void **state)
{
	const struct fake_http_step down = { .status = 503, .times = FAKE_HTTP_ALWAYS };
	const struct fake_http_step up = { .body = "{}", .times = FAKE_HTTP_ALWAYS };
	const struct rest_config cfg = { .total_ms = 20000 };
	struct rest *r = client(fake_http_url(fx.a), fake_http_url(fx.b), &cfg);
	long status;

	(void)state;
	fake_http_add(fx.a, &down);
	fake_http_add(fx.b, &up);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(quick(r, "GET", "/", true, &status), 0);
		assert_int_equal(status, 200);
	}
	assert_int_equal(fake_http_count(fx.a), 1);
	assert_int_equal(fake_http_count(fx.b), 3);
	rest_free(r);
}

/* --- limits ---------------------------------------------------------------- */

static void slow_answers_end_at_the_limit(void **state)
{
	const struct fake_http_step slow = { .ms = 900, .times = FAKE_HTTP_ALWAYS, .body = "{}" };
	const struct rest_config cfg = { .total_ms = 150 };
	struct rest *r = client(fake_http_url(fx.a), NULL, &cfg);
	struct rest_reply a;
	struct err err;

	(void)state;
	fake_http_add(fx.a, &slow);
	assert_int_equal(ask(r, "POST", "/", false, &a, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "time limit"));
	assert_non_null(strstr(err.text, "carried out"));
	assert_int_equal(fake_http_count(fx.a), 1);
	assert_int_equal(ask(r, "GET", "/", true, &a, &err), -EAGAIN);
	assert_in_range(fake_http_calls(fx.a, "GET /"), 1, REST_WHOLE); /* not REST_TRIES */
	rest_free(r);
}

static void an_answer_above_the_limit_is_refused(void **state)
{
	const struct rest_config cfg = { .total_ms = 20000, .reply_max = 1000 };
	struct rest *r = client(fake_http_url(fx.a), NULL, &cfg);
	char body[1002];
	struct rest_reply a;
	struct err err;

	(void)state;
	memset(body, ' ', sizeof body);
	body[0] = '{';
	body[999] = '}';
	body[1000] = '\0';
	fake_http_on(fx.a, "GET /", 200, body);
	assert_int_equal(ask(r, "GET", "/", true, &a, &err), 0);
	assert_int_equal(a.len, 1000);
	assert_non_null(a.json);
	rest_reply_done(&a);
	body[1000] = ' ';
	body[1001] = '\0';
	fake_http_on(fx.a, "GET /", 200, body);
	assert_int_equal(ask(r, "GET", "/", true, &a, &err), -EMSGSIZE);
	assert_int_equal(fake_http_count(fx.a), 2);
	rest_free(r);
}

/* A server that says whatever it is told to, for ever when asked, to each connection. */
struct raw {
	int fd;
	char url[64];
	const char *head, *repeat;
	pthread_t thread;
};

static void raw_talk(const struct raw *raw, int fd)
{
	char buf[4096];

	if (recv(fd, buf, sizeof buf, 0) <= 0)
		return;
	if (send(fd, raw->head, strlen(raw->head), MSG_NOSIGNAL) < 0)
		return;
	while (raw->repeat && send(fd, raw->repeat, strlen(raw->repeat), MSG_NOSIGNAL) > 0)
		;
}

static void *raw_main(void *arg)
{
	const struct raw *raw = arg;

	for (;;) {
		AUTO_FD int fd = accept(raw->fd, NULL, NULL);

		if (fd < 0)
			return NULL;
		raw_talk(raw, fd);
	}
}

static void raw_start(struct raw *raw, const char *head, const char *repeat)
{
	raw->fd = dead_port(raw->url, sizeof raw->url);
	raw->head = head;
	raw->repeat = repeat;
	assert_int_equal(listen(raw->fd, 8), 0);
	assert_int_equal(pthread_create(&raw->thread, NULL, raw_main, raw), 0);
}

static void raw_stop(struct raw *raw)
{
	shutdown(raw->fd, SHUT_RDWR);
	pthread_join(raw->thread, NULL);
	close(raw->fd);
}

static int raw_ask(const char *head, const char *repeat, size_t max, struct rest_reply *a)
{
	const struct rest_config cfg = { .total_ms = 20000, .reply_max = max };
	struct rest *r;
	struct raw raw;
	struct err err;
	int rc;

	raw_start(&raw, head, repeat);
	r = client(raw.url, NULL, &cfg);
	rc = ask(r, "GET", "/", true, a, &err);
	rest_free(r);
	raw_stop(&raw);
	return rc;
}

static void endless_bodies_and_headers_are_cut_off(void **state)
{
	char line[1001];
	struct rest_reply a;

	(void)state;
	memset(line, 'x', sizeof line - 1);
	line[1000] = '\0';
	assert_int_equal(raw_ask("HTTP/1.1 200 OK\r\n\r\n", line, 1 << 20, &a), -EMSGSIZE);
	memcpy(line, "X-Y: ", 5);
	memcpy(line + 998, "\r\n", 2);
	assert_int_equal(raw_ask("HTTP/1.1 200 OK\r\n", line, 1 << 20, &a), -EMSGSIZE);
	assert_int_equal(raw_ask("HTTP/1.1 200 OK\r\n", "A: b\r\n", 1 << 20, &a), -EMSGSIZE);
	memcpy(line, "xxxxx", 5);
	memcpy(line + 998, "xx", 2);
	assert_int_not_equal(raw_ask("HTTP/1.1 200 OK\r\n", line, 1 << 20, &a), 0);
}

static void what_is_no_http_is_an_error(void **state)
{
	static const char *const nonsense[] = {
		"SSH-2.0-OpenSSH\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "\r\n\r\n",
		"\x16\x03\x01",
	};
	struct rest_reply a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nonsense); i++)
		assert_int_not_equal(raw_ask(nonsense[i], NULL, 0, &a), 0);
	assert_int_equal(raw_ask("SSH-2.0-OpenSSH\r\n", NULL, 0, &a), -EPROTO);
	assert_int_equal(raw_ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
				 NULL, 0, &a),
			 -EAGAIN);
	assert_int_equal(raw_ask("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", NULL, 0, &a),
			 -EAGAIN);
	/* Interim answers are not the answer. */
	assert_int_equal(raw_ask("HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n"
				 "HTTP/1.1 200 OK\r\nX-B:2 \r\n\r\n[]",
				 NULL, 0, &a),
			 0);
	assert_string_equal(a.headers[0], "x-b:2");
	assert_null(a.headers[1]);
	assert_string_equal(a.body, "[]");
	rest_reply_done(&a);
}

/* --- certificates ---------------------------------------------------------- */

static int over_tls(const char *url, const char *ca_file, bool insecure, struct err *err)
{
	const struct rest_config cfg = { .total_ms = 20000,
					 .ca_file = ca_file,
					 .insecure = insecure };
	struct rest *r = client(url, NULL, &cfg);
	struct rest_reply a = { 0 };
	int rc = ask(r, "GET", "/", true, &a, err);

	rest_reply_done(&a);
	rest_free(r);
	return rc;
}

static void certificates_are_verified(void **state)
{
	const struct fake_http_step ok = { .body = "{}", .times = FAKE_HTTP_ALWAYS };
	struct err err;
	char name[80];

	(void)state;
	fake_cert_make(&fx.own);
	fake_cert_make(&fx.other);
	fx.tls = fake_http_start(fx.own.cert, fx.own.key);
	fake_http_add(fx.tls, &ok);
	assert_int_equal(over_tls(fake_http_url(fx.tls), fx.own.ca_file, false, &err), 0);
	assert_int_equal(over_tls(fake_http_url(fx.tls), fx.other.ca_file, false, &err), -EACCES);
	assert_non_null(strstr(err.text, fake_http_url(fx.tls)));
	assert_int_equal(over_tls(fake_http_url(fx.tls), NULL, false, &err), -EACCES);
	assert_int_equal(over_tls(fake_http_url(fx.tls), "/nonexistent/ca.pem", false, &err),
			 -EACCES);
	assert_int_equal(over_tls(fake_http_url(fx.tls), NULL, true, &err), 0);
	/* The authority is right, the name is not. */
	snprintf(name, sizeof name, "https://localhost%s", strrchr(fake_http_url(fx.tls), ':'));
	assert_int_equal(over_tls(name, fx.own.ca_file, false, &err), -EACCES);
	assert_int_equal(fake_http_count(fx.tls), 2);
}

static void a_server_without_tls_is_not_spoken_to_in_clear(void **state)
{
	char url[80];
	struct err err;

	(void)state;
	snprintf(url, sizeof url, "https%s", fake_http_url(fx.a) + 4);
	assert_int_equal(over_tls(url, NULL, true, &err), -EAGAIN);
	assert_int_equal(fake_http_count(fx.a), 0);
}

static void urls_are_checked(void **state)
{
	static const char *const bad[] = { "",
					   "ftp://h",
					   "https://",
					   "h",
					   "https://user:" SECRET "@h",
					   "https://" SECRET "@h",
					   "https://" SECRET "@h:x",
					   "https://h/api",
					   "https://h?x=1",
					   "https://h#x",
					   "file:///etc/passwd" };
	static const char *const good[] = { "https://h", "https://h/", "http://[::1]:80//" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
		bool is_bad = i < ARRAY_LEN(bad);
		const char *url = is_bad ? bad[i] : good[i - ARRAY_LEN(bad)];
		struct rest_config cfg = { .urls = &url, .nurls = 1 };
		struct err err = { "" };
		struct rest *r = NULL;

		assert_int_equal(rest_new(&cfg, &r, &err), is_bad ? -EINVAL : 0);
		assert_int_equal(!!r, !is_bad);
		assert_null(strstr(err.text, SECRET));
		rest_free(r);
	}
}

/* --- many at a time -------------------------------------------------------- */

static void *parallel_main(void *arg)
{
	struct rest *r = arg;
	long status;

	for (int i = 0; i < 5; i++)
		if (quick(r, i % 2 ? "POST" : "GET", "/", i % 2 == 0, &status) || status != 200)
			return arg;
	return NULL;
}

static void calls_run_at_a_time_up_to_the_limit(void **state)
{
	const struct fake_http_step ok = { .body = "{}", .times = FAKE_HTTP_ALWAYS, .ms = 5 };
	const struct rest_config cfg = { .total_ms = 20000, .parallel = 3 };
	struct rest *r = client(fake_http_url(fx.a), NULL, &cfg);
	uint64_t in_buckets = 0;
	pthread_t t[12];
	void *bad;

	(void)state;
	fake_http_add(fx.a, &ok);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, parallel_main, r), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(fake_http_count(fx.a), 60);
	assert_in_range(fake_http_most(fx.a), 2, 3);
	assert_string_equal(rest_stats(r)->of[0].call, "test call");
	assert_null(rest_stats(r)->of[1].call);
	assert_int_equal(rest_stats(r)->of[0].requests, 60);
	assert_int_equal(rest_stats(r)->of[0].failures, 0);
	for (size_t b = 0; b < REST_BUCKETS; b++)
		in_buckets += rest_stats(r)->of[0].bucket[b];
	assert_int_equal(in_buckets, 60);
	rest_free(r);
}

static void *slow_main(void *arg)
{
	quick(arg, "GET", "/slow", true, NULL);
	return NULL;
}

static void waiting_for_a_turn_has_a_limit(void **state)
{
	const struct fake_http_step slow = { .match = "GET /slow", .body = "{}", .ms = 1500 };
	const struct rest_config cfg = { .total_ms = 5000, .parallel = 1 };
	const struct rest_request q = { .call = "c", .method = "GET", .path = "/", .total_ms = 50 };
	struct rest *r = client(fake_http_url(fx.a), NULL, &cfg);
	struct rest_reply a;
	struct err err;
	pthread_t t;

	(void)state;
	fake_http_add(fx.a, &slow);
	assert_int_equal(pthread_create(&t, NULL, slow_main, r), 0);
	while (!fake_http_count(fx.a))
		usleep(1000);
	assert_int_equal(rest_call(r, &q, &a, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "too many calls"));
	pthread_join(t, NULL);
	assert_int_equal(fake_http_count(fx.a), 1);
	rest_free(r);
}

/* --- small parts ----------------------------------------------------------- */

static void numbers_may_be_strings(void **state)
{
	static const char *const bad[] = { "\"\"",   "\"-1\"", "-1",
					   "1.5",    "null",   "\"18446744073709551616\"",
					   "\"1 \"", "\"x\"",  "true",
					   "{}" };
	json_t *v = json_loads("\"18446744073709551615\"", JSON_DECODE_ANY, NULL);
	uint64_t n = 7;

	(void)state;
	assert_true(rest_u64(v, &n) && n == UINT64_MAX);
	json_decref(v);
	assert_false(rest_u64(NULL, &n));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		v = json_loads(bad[i], JSON_DECODE_ANY, NULL);
		assert_non_null(v);
		assert_false(rest_u64(v, &n));
		json_decref(v);
	}
	assert_string_equal(rest_text(NULL, "x"), "");
}

static void names_are_escaped(void **state)
{
	AUTO_FREE char *e = rest_escape("a/b c+d:\xc3\xa4%~");

	(void)state;
	assert_string_equal(e, "a%2Fb%20c%2Bd%3A%C3%A4%25~");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(request_and_answer_are_whole),
		TEST(every_method_arrives),
		TEST(what_is_no_json_is_kept_as_text),
		TEST(redirects_are_not_followed),
		TEST(proxies_of_the_environment_are_not_used),
		TEST(a_line_break_is_refused_before_anything_is_sent),
		TEST(safe_calls_are_sent_again_while_the_server_is_away),
		TEST(the_last_answer_of_a_server_that_stays_away_is_told),
		TEST(safe_calls_are_sent_again_when_answers_are_lost),
		TEST(unsafe_calls_are_sent_once),
		TEST(what_was_not_received_goes_to_the_next_url),
		TEST(nobody_there_is_told_with_the_url),
		TEST(a_gateway_that_fails_is_left_for_the_other),
		TEST(slow_answers_end_at_the_limit),
		TEST(an_answer_above_the_limit_is_refused),
		TEST(endless_bodies_and_headers_are_cut_off),
		TEST(what_is_no_http_is_an_error),
		TEST(certificates_are_verified),
		TEST(a_server_without_tls_is_not_spoken_to_in_clear),
		TEST(urls_are_checked),
		TEST(calls_run_at_a_time_up_to_the_limit),
		TEST(waiting_for_a_turn_has_a_limit),
		TEST(numbers_may_be_strings),
		TEST(names_are_escaped),
	};

	return cmocka_run_group_tests_name("rest", tests, NULL, NULL);
}
