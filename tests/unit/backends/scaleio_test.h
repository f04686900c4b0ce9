/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_test.h - a ScaleIO provider before a gateway of which the test says what it answers */
#ifndef TESTS_UNIT_BACKENDS_SCALEIO_TEST_H
#define TESTS_UNIT_BACKENDS_SCALEIO_TEST_H

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
#include <unistd.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/fake/fake_http.h"

#define GIB ((uint64_t)1 << 30)
#define PASSWORD "p4ss-of-the-user"
#define TOKEN "t0ken-of-the-session"
#define OWNER "owner"
#define VOL "4f1c20a900000003"
#define OTHER_VOL "4f1c20a900000009"
#define POOL "91ab03fc00000000"
#define DOMAIN "b0c1d2e300000000"
#define SYSTEM "5e8d0c3a7b91f20f"
#define BY_ID "GET /api/instances/Volume::" VOL
#define LOOK_UP "POST /api/types/Volume/instances/action/queryIdByKey"
#define CREATE "POST /api/types/Volume/instances"
#define ACTION(name) "POST /api/instances/Volume::" VOL "/action/" name
#define NOT_FOUND \
	"{\"message\":\"Could not find the volume\",\"httpStatusCode\":500,\"errorCode\":79}"
#define IN_USE                                                                       \
	"{\"message\":\"Volume name already in use. Please use a different name.\"," \
	"\"httpStatusCode\":500,\"errorCode\":99}"
#define UNAUTHORIZED "{\"message\":\"Unauthorized\",\"httpStatusCode\":401,\"errorCode\":0}"

#define SDC "e1f20d4400000001"
#define SDC2 "e1f20d4400000002"
#define MAPPED_1            \
	"{\"sdcId\":\"" SDC \
	"\",\"sdcIp\":\"10.0.0.1\",\"sdcName\":\"cell-1\",\"limitIops\":0,\"limitBwInMbps\":0}"
#define MAPPED_1_LIMITED \
	"{\"sdcId\":\"" SDC "\",\"sdcName\":\"cell-1\",\"limitIops\":500,\"limitBwInMbps\":10}"
#define MAPPED_2 "{\"sdcId\":\"" SDC2 "\",\"sdcIp\":\"10.0.0.2\",\"sdcName\":null}"
#define ERROR(n, text) "{\"message\":\"" text "\",\"httpStatusCode\":500,\"errorCode\":" #n "}"
#define SIZE(gib) (gib) * GIB

static struct {
	struct fake_http *f;
	struct provider *p;
	json_t *plan, *handle;
	struct sgw_names names;
	char *texts[512]; /* owned; of the script */
	unsigned ntexts;
	char path[64]; /* of a file that goes with the test; "": none */
	struct err err;
} fx;

/* A text that lives as long as the script. */
static inline const char *keep(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline const char *keep(const char *fmt, ...)
{
	va_list ap;

	assert_true(fx.ntexts < ARRAY_LEN(fx.texts));
	va_start(ap, fmt);
	assert_true(vasprintf(&fx.texts[fx.ntexts], fmt, ap) >= 0);
	va_end(ap);
	return fx.texts[fx.ntexts++];
}

static inline void on(const char *match, unsigned status, const char *body)
{
	fake_http_on(fx.f, match, status, body);
}

static inline void always(const char *match, unsigned status, const char *body)
{
	const struct fake_http_step step = {
		.match = match, .status = status, .body = body, .times = FAKE_HTTP_ALWAYS
	};

	fake_http_add(fx.f, &step);
}

static inline void fault(const char *match, enum fake_http_fault what, const char *body)
{
	const struct fake_http_step step = {
		.match = match, .fault = what, .body = body, .bytes = 3
	};

	fake_http_add(fx.f, &step);
}

/* A volume of the array; mapped: the entries of its list, or NULL. */
static inline const char *volume(const char *name, uint64_t gib, const char *mapped)
{
	return keep("{\"id\":\"" VOL
		    "\",\"name\":\"%s\",\"sizeInKb\":%llu,\"storagePoolId\":\"" POOL
		    "\",\"vtreeId\":\"77d0b1e500000003\",\"ancestorVolumeId\":null,"
		    "\"volumeType\":\"ThinProvisioned\",\"creationTime\":1700000123,"
		    "\"mappedSdcInfo\":%s%s%s,\"mappingToAllSdcsEnabled\":false,\"pairIds\":null,"
		    "\"links\":[],\"ofTheFuture\":{\"a\":[1]}}",
		    name, (unsigned long long)gib << 20, mapped ? "[" : "",
		    mapped ? mapped : "null", mapped ? "]" : "");
}

static inline void open_with(json_t *config_take)
{
	provider_close(fx.p);
	fx.p = NULL;
	if (provider_open("array1", config_take, &fx.p, &fx.err))
		fail_msg("%s", fx.err.text);
	json_decref(config_take);
}

static inline json_t *config(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", "scaleio", "url", fake_http_url(fx.f),
			 "user", "svc", "password", PASSWORD, "timeout", "5");
}

/* What nearly every test needs: a login, a system, a pool. */
static inline void basics(const char *version)
{
	always("GET /api/login", 200, "\"" TOKEN "\"");
	always("GET /api/logout", 200, "");
	always("GET /api/version", 200, keep("\"%s\"", version));
	always("GET /api/types/System/instances", 200,
	       "[{\"id\":\"" SYSTEM "\",\"name\":null,\"restrictedSdcMode\":\"None\"}]");
	always("POST /api/types/ProtectionDomain/instances/action/queryIdByKey", 200,
	       "\"" DOMAIN "\"");
	always("POST /api/types/StoragePool/instances/action/queryIdByKey", 200, "\"" POOL "\"");
	always("GET /api/instances/StoragePool::" POOL, 200,
	       "{\"id\":\"" POOL "\",\"name\":\"pool1\",\"protectionDomainId\":\"" DOMAIN
	       "\",\"zeroPaddingEnabled\":true,\"dataLayout\":\"MediumGranularity\"}");
}

static inline int start(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	atomic_store(&rest_pause_ms, 1);
	atomic_store(&clock_skew_ms, 0);
	fx.f = fake_http_start(NULL, NULL);
	open_with(config());
	fx.plan = json_pack("{s:s, s:s}", "protection_domain", "pd1", "pool", "pool1");
	fx.handle = json_pack("{s:s, s:s}", "id", VOL, "system", SYSTEM);
	sgw_names_of(scaleio_of(fx.p), OWNER, &fx.names);
	return 0;
}

static inline int stop(void **state)
{
	(void)state;
	provider_close(fx.p);
	fake_http_stop(fx.f);
	if (*fx.path)
		unlink(fx.path);
	json_decref(fx.plan);
	json_decref(fx.handle);
	while (fx.ntexts)
		free(fx.texts[--fx.ntexts]);
	atomic_store(&clock_skew_ms, 0);
	return 0;
}

static inline struct provider_ref ref(const json_t *handle)
{
	return (struct provider_ref){ .owner = OWNER, .handle = handle, .plan = fx.plan };
}

/* The script was followed to its end, and nothing else was asked. */
static inline void script_is_done(void)
{
	assert_int_equal(fake_http_unexpected(fx.f), 0);
	assert_int_equal(fake_http_left(fx.f), 0);
}

/* No sentence shows a password or token. */
static inline void no_secret(void)
{
	assert_null(strstr(fx.err.text, PASSWORD));
	assert_null(strstr(fx.err.text, TOKEN));
}

/* The n-th body that a call was sent with. */
static inline const char *body_of(const char *match, unsigned n)
{
	for (unsigned i = 0; i < fake_http_count(fx.f); i++) {
		const struct fake_http_seen *s = fake_http_seen(fx.f, i);
		char call[SGW_PATH_MAX];

		snprintf(call, sizeof call, "%s %s", s->method, s->path);
		if (!strcmp(call, match) && !n--)
			return s->body;
	}
	fail_msg("%s was not called", match);
	return "";
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

#endif
