/* SPDX-License-Identifier: Apache-2.0 */
/* The broker on real sockets: headers, TLS, a new certificate under requests, the admin port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_cert.h"
#include "tests/fake/fake_provider.h"
#include "tools/broker/service.h"

#define REPLY_MAX 65536
#define LIMIT_S 10
#define STOP_MS 10000
#define CLIENTS 4
#define RELOADS 5

static struct {
	struct fake_broker f;
	struct bservices s;
	struct bconfig *c;
	char cert[100], key[100];
} fx;

static int start_with(json_t *more)
{
	struct err err = { "" };

	memset(&fx.s, 0, sizeof fx.s);
	json_object_set_new(more, "listen", json_pack("[s]", "tcp:127.0.0.1:0"));
	json_object_set_new(more, "admin", json_string("127.0.0.1:0"));
	if (fake_broker_start(&fx.f, more))
		return -1;
	fx.s.b = &fx.f.b;
	fx.c = broker_config(&fx.f.b);
	if (bservices_start(&fx.s, fx.c, &err)) {
		print_error("%s\n", err.text);
		return -1;
	}
	return 0;
}

static int start(void **state)
{
	(void)state;
	return start_with(json_object());
}

static int stop(void **state)
{
	(void)state;
	assert_true(bservices_stop(&fx.s, fx.c, STOP_MS));
	bconfig_put(fx.c);
	fake_broker_stop(&fx.f);
	return 0;
}

/* --- a client -------------------------------------------------------------- */

struct reply {
	long status;
	char headers[REPLY_MAX], body[REPLY_MAX];
};

static size_t keep(char *data, size_t one, size_t n, void *arg)
{
	char *buf = arg;

	if (strlen(buf) + n < REPLY_MAX)
		strncat(buf, data, n);
	(void)one;
	return n;
}

static CURLcode ask(const char *base, unsigned port, const char *path, const char *login,
		    struct curl_slist *headers, struct reply *r)
{
	CURL *c = curl_easy_init();
	char url[300];
	CURLcode rc;

	memset(r, 0, sizeof *r);
	snprintf(url, sizeof url, "%s://127.0.0.1:%u%s", base, port, path);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)LIMIT_S);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_USERPWD, login);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, r->body);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, keep);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, r->headers);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	rc = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r->status);
	curl_easy_cleanup(c);
	return rc;
}

static bool has_header(const struct reply *r, const char *line)
{
	return strcasestr(r->headers, line) != NULL;
}

/* --- tests ----------------------------------------------------------------- */

static void headers_go_both_ways(void **state)
{
	struct curl_slist *h = curl_slist_append(NULL, "X-Broker-API-Version: 2.17");
	struct reply r;

	(void)state;
	h = curl_slist_append(h, "X-Broker-API-Request-Identity: req-42");
	assert_int_equal(ask("http", fx.s.port, "/v2/catalog", "u:p", h, &r), CURLE_OK);
	assert_int_equal(r.status, 200);
	assert_true(has_header(&r, "X-Broker-API-Request-Identity: req-42"));
	assert_true(has_header(&r, "ETag: \""));
	assert_true(has_header(&r, "Content-Type: application/json"));
	assert_int_equal(ask("http", fx.s.port, "/v2/catalog", "u:x", h, &r), CURLE_OK);
	assert_int_equal(r.status, 401);
	assert_true(has_header(&r, "WWW-Authenticate: Basic"));
	assert_true(has_header(&r, "X-Broker-API-Request-Identity: req-42"));
	assert_int_equal(ask("http", fx.s.port, "/v2/catalog", "u:p", NULL, &r), CURLE_OK);
	assert_int_equal(r.status, 400);
	curl_slist_free_all(h);
}

static void polls_are_told_when_to_come_again(void **state)
{
	struct curl_slist *h = curl_slist_append(NULL, "X-Broker-API-Version: 2.17");
	struct fake_answer a;
	struct reply r;

	(void)state;
	fake_provider_hang(FAKE_CREATE);
	a = fake_call(&fx.f, "PUT", "/v2/service_instances/a?accepts_incomplete=true",
		      "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"context\":{}}");
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_int_equal(ask("http", fx.s.port, "/v2/service_instances/a/last_operation", "u:p", h,
			     &r),
			 CURLE_OK);
	assert_true(has_header(&r, "Retry-After: 5"));
	fake_provider_release();
	assert_string_equal(fake_wait(&fx.f, "a"), "succeeded");
	curl_slist_free_all(h);
}

static void pages_have_their_policy(void **state)
{
	struct reply r;

	(void)state;
	assert_int_equal(ask("http", fx.s.port, "/dashboard/a?t=1.x", NULL, NULL, &r), CURLE_OK);
	assert_int_equal(r.status, 403);
	assert_true(has_header(&r, "Content-Security-Policy: default-src 'none'"));
	assert_true(has_header(&r, "Cache-Control: no-store"));
	assert_true(has_header(&r, "Content-Type: text/html"));
	assert_non_null(strstr(r.body, "has expired"));
}

static void the_admin_port_tells_health_and_metrics(void **state)
{
	struct reply r;

	(void)state;
	assert_int_equal(ask("http", fx.s.admin_port, "/health", NULL, NULL, &r), CURLE_OK);
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(r.body, "\"store\":true"));
	assert_int_equal(ask("http", fx.s.admin_port, "/metrics", NULL, NULL, &r), CURLE_OK);
	assert_non_null(strstr(r.body, "persifs_broker_requests_total{route=\"catalog\"} 0"));
	assert_int_equal(ask("http", fx.s.admin_port, "/v2/catalog", "u:p", NULL, &r), CURLE_OK);
	assert_int_equal(r.status, 404);
}

/* --- certificates ---------------------------------------------------------- */

static _Atomic bool over;
static _Atomic unsigned good, bad;

static void *hammer(void *arg)
{
	struct curl_slist *h = curl_slist_append(NULL, "X-Broker-API-Version: 2.17");
	struct reply r;

	while (!over) {
		CURLcode rc = ask("https", fx.s.port, "/v2/catalog", "u:p", h, &r);

		if (rc == CURLE_OK && r.status == 200)
			good++;
		else if (bad++ < 5)
			print_error("%s, status %ld\n", curl_easy_strerror(rc), r.status);
	}
	curl_slist_free_all(h);
	return arg;
}

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void write_pair(const struct fake_cert *c)
{
	write_file(fx.cert, c->cert);
	write_file(fx.key, c->key);
}

/* Whether the server's certificate is signed by the authority. */
static bool is_signed_by(const struct fake_cert *ca)
{
	CURL *c = curl_easy_init();
	char url[100], sink[REPLY_MAX] = "";
	CURLcode rc;

	snprintf(url, sizeof url, "https://127.0.0.1:%u/", fx.s.port);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)LIMIT_S);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_CAINFO, ca->ca_file);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, sink);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	rc = curl_easy_perform(c);
	curl_easy_cleanup(c);
	return rc == CURLE_OK;
}

static void a_new_certificate_drops_no_request(void **state)
{
	struct fake_cert certs[2];
	pthread_t t[CLIENTS];
	struct err err = { "" };

	(void)state;
	fake_cert_make(&certs[0]);
	fake_cert_make(&certs[1]);
	snprintf(fx.cert, sizeof fx.cert, "/tmp/persifs-broker-cert.%d", getpid());
	snprintf(fx.key, sizeof fx.key, "/tmp/persifs-broker-key.%d", getpid());
	write_pair(&certs[0]);
	assert_int_equal(
		start_with(json_pack("{s:{s:s, s:s}}", "tls", "cert", fx.cert, "key", fx.key)), 0);
	assert_true(is_signed_by(&certs[0]));
	assert_false(is_signed_by(&certs[1]));
	over = false;
	good = bad = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, NULL), 0);
	for (unsigned i = 1; i <= RELOADS; i++) {
		unsigned before = good;

		write_pair(&certs[i % 2]);
		assert_int_equal(bservices_reload(&fx.s, fx.c, &err), 0);
		for (unsigned k = 0; k < 500 && good < before + 20; k++)
			usleep(10000);
	}
	over = true;
	for (size_t i = 0; i < CLIENTS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(bad, 0);
	assert_true(good >= RELOADS * 20);
	assert_true(is_signed_by(&certs[RELOADS % 2]));
	write_file(fx.cert, "no certificate");
	assert_true(bservices_reload(&fx.s, fx.c, &err) < 0); /* the old one goes on */
	assert_true(is_signed_by(&certs[RELOADS % 2]));
	unlink(fx.cert);
	assert_true(bservices_reload(&fx.s, fx.c, &err) < 0);
	assert_non_null(strstr(err.text, "tls.cert"));
	unlink(fx.key);
	fake_cert_done(&certs[0]);
	fake_cert_done(&certs[1]);
	stop(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(headers_go_both_ways),
		T(polls_are_told_when_to_come_again),
		T(pages_have_their_policy),
		T(the_admin_port_tells_health_and_metrics),
		cmocka_unit_test(a_new_certificate_drops_no_request),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
