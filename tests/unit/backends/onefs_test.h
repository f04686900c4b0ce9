/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_test.h - what the tests of the OneFS provider share: a scripted array, and a provider that talks to it */
#ifndef TESTS_UNIT_ONEFS_TEST_H
#define TESTS_UNIT_ONEFS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/fake/fake_http.h"

#define SECRET "s3cr3t-word"
#define OWNER "8c1e7a52-4f0b-4d6a-9e59-0f3b8f5d2a11"
#define COOKIE_A \
	"Set-Cookie: isisessid=aaaa-session-of-a; path=/; HttpOnly; Secure; SameSite=strict"
#define CSRF_A "Set-Cookie: isicsrf=aaaa-csrf-of-a; path=/; SameSite=strict"
#define LIFETIMES "{\"timeout_absolute\":14400,\"timeout_inactive\":900,\"username\":\"svc\"}"

static struct {
	struct fake_http *a, *b;
	struct provider *p;
	struct onefs *o;
	struct err err;
	/* of the last call, by spy_send() */
	char headers[2048];
	char path[2048];
} fx;

/* The scripted server records a part of the headers only, and no query. */
static inline int spy_send(struct rest *r, const struct rest_request *q, struct rest_reply *out,
			   struct err *err)
{
	size_t n = 0;

	fx.headers[0] = '\0';
	for (size_t i = 0; q->headers && q->headers[i] && n < sizeof fx.headers; i++)
		n += (size_t)snprintf(fx.headers + n, sizeof fx.headers - n, "%s\n", q->headers[i]);
	snprintf(fx.path, sizeof fx.path, "%s", q->path);
	return rest_call(r, q, out, err);
}

/* Opens fx.p; more: further members, as "\"auth\": \"basic\"". */
static inline void open_more(const char *more)
{
	char text[2048];
	json_t *config;

	snprintf(text, sizeof text,
		 "{\"type\": \"onefs\", \"urls\": [\"%s\", \"%s\"], \"user\": \"svc\", "
		 "\"password\": \"" SECRET
		 "\", \"nfs_host\": \"nfs.example\", \"timeout\": 10%s%s}",
		 fake_http_url(fx.a), fake_http_url(fx.b), more ? ", " : "", more ? more : "");
	config = json_loads(text, 0, NULL);
	assert_non_null(config);
	if (provider_open("isi", config, &fx.p, &fx.err))
		fail_msg("%s", fx.err.text);
	json_decref(config);
	fx.o = CONTAINER_OF(fx.p, struct onefs, base);
	fx.o->send = spy_send;
	fx.o->pause_ms = 1;
	fx.o->settle_ms = 1;
}

#define FIXED "\"networks\": [\"10.30.0.0/16\"]"
#define MANAGED "\"clients\": \"managed\""
#define BASIC ", \"auth\": \"basic\""

static inline void close_provider(void)
{
	provider_close(fx.p);
	fx.p = NULL;
}

static inline int start(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	atomic_store(&rest_pause_ms, 2);
	atomic_store(&clock_skew_ms, 0);
	fx.a = fake_http_start(NULL, NULL);
	fx.b = fake_http_start(NULL, NULL);
	return 0;
}

static inline int stop(void **state)
{
	(void)state;
	provider_close(fx.p);
	fake_http_stop(fx.a);
	fake_http_stop(fx.b);
	atomic_store(&clock_skew_ms, 0);
	return 0;
}

static inline void on(const char *match, unsigned status, const char *body)
{
	fake_http_on(fx.a, match, status, body);
}

static inline void on_always(const char *match, unsigned status, const char *body)
{
	const struct fake_http_step step = {
		.match = match, .times = FAKE_HTTP_ALWAYS, .status = status, .body = body
	};

	fake_http_add(fx.a, &step);
}

/* All of the script has been used, and nothing else was asked. */
static inline void script_is_done(void)
{
	assert_int_equal(fake_http_unexpected(fx.a), 0);
	assert_int_equal(fake_http_left(fx.a), 0);
}

/* No sentence shows what must stay secret. */
static inline void sentence_is_clean(void)
{
	assert_null(strstr(fx.err.text, SECRET));
	assert_null(strstr(fx.err.text, "session-of-"));
	assert_null(strstr(fx.err.text, "csrf-of-"));
	assert_non_null(strstr(fx.err.text, "isi"));
}

#endif
