/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/api.h"

static struct fake_mounts mounts;
static struct mountopts_rules rules;
static struct volumes_env env;
static struct metrics metrics;
static struct api api;

static int save(void *arg, const char *text)
{
	(void)arg;
	(void)text;
	return 0;
}

static int fresh(void **state)
{
	static const char *const sources[] = { "nfs://" };

	(void)state;
	log_level = LOG_LEVEL_ERROR;
	fake_mounts_init(&mounts);
	rules = (struct mountopts_rules){ .sources = sources, .nsources = 1 };
	env = (struct volumes_env){ .root = "/root",
				    .mounts = &fake_mounts_ops,
				    .mounts_arg = &mounts,
				    .rules = &rules,
				    .save = save };
	memset(&metrics, 0, sizeof metrics);
	api = (struct api){ .volumes = volumes_new(&env), .metrics = &metrics, .scope = "local" };
	return api.volumes ? 0 : -1;
}

static int finish(void **state)
{
	(void)state;
	volumes_free(api.volumes);
	fake_mounts_done(&mounts);
	return 0;
}

/* The answer as compact JSON, static. */
static const char *ask_bytes(const char *route, const char *body, size_t len)
{
	static char kept[65536];
	struct api_undo undo;
	char path[64];
	json_t *answer;
	char *text;

	snprintf(path, sizeof path, "/%s", route);
	answer = api_answer(&api, path, body, len, NULL, NULL, &undo);
	assert_true(json_is_object(answer));
	text = json_dumps(answer, JSON_COMPACT);
	snprintf(kept, sizeof kept, "%s", text);
	free(text);
	json_decref(answer);
	free(undo.mounted);
	return kept;
}

static const char *ask(const char *route, const char *body)
{
	return ask_bytes(route, body, strlen(body));
}

static void is(const char *route, const char *body, const char *want)
{
	assert_string_equal(ask(route, body), want);
}

#define A "{\"Name\":\"a\"}"
#define GOOD "{\"Name\":\"a\",\"Opts\":{\"source\":\"nas:/x\"}}"
#define NONE "{\"Err\":\"\"}"

static void all_nine_routes_answer(void **state)
{
	(void)state;
	is("Plugin.Activate", "", "{\"Implements\":[\"VolumeDriver\"]}");
	is("VolumeDriver.Capabilities", "", "{\"Capabilities\":{\"Scope\":\"local\"}}");
	is("VolumeDriver.List", "", "{\"Volumes\":[],\"Err\":\"\"}");
	is("VolumeDriver.Create", GOOD, NONE);
	is("VolumeDriver.Path", A, "{\"Mountpoint\":\"\",\"Err\":\"Volume a is not mounted\"}");
	is("VolumeDriver.Mount", A, "{\"Mountpoint\":\"/root/a\",\"Err\":\"\"}");
	is("VolumeDriver.Path", A, "{\"Mountpoint\":\"/root/a\",\"Err\":\"\"}");
	is("VolumeDriver.List", "{}",
	   "{\"Volumes\":[{\"Name\":\"a\",\"Mountpoint\":\"/root/a\",\"MountCount\":1}],\"Err\":\"\"}");
	assert_non_null(
		strstr(ask("VolumeDriver.Get", A),
		       "{\"Volume\":{\"Name\":\"a\",\"Mountpoint\":\"/root/a\",\"MountCount\":1,"
		       "\"CreatedAt\":\"2"));
	is("VolumeDriver.Unmount", A, NONE);
	is("VolumeDriver.Unmount", A, "{\"Err\":\"Volume a does not exist\"}");
	is("VolumeDriver.Get", A, "{\"Err\":\"Volume a does not exist\"}");
	is("VolumeDriver.Remove", A, NONE);
}

static void r2_an_empty_body_is_an_empty_object(void **state)
{
	static const char *const empty[] = { "", "{}", "{}\n", " \r\n\t", "null", "{ }  " };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
		is("VolumeDriver.List", empty[i], "{\"Volumes\":[],\"Err\":\"\"}");
		is("VolumeDriver.Create", empty[i],
		   "{\"Err\":\"Missing mandatory 'volume_name'\"}");
	}
}

static void r4_whatever_goes_wrong_is_json_with_an_err(void **state)
{
	static const char *const bodies[] = {
		"{",
		"[]",
		"\"x\"",
		"12",
		"{\"Name\":1}",
		"{\"Name\":[\"a\"]}",
		"{\"Name\":\"a\\u0000b\"}",
		"{\"Name\":\"\xff\"}",
		"{\"Name\":{}}",
		"\x00",
		"{\"Name\":\"a\",}",
		"{'Name':'a'}",
	};
	static const char *const named[] = { "VolumeDriver.Create", "VolumeDriver.Remove",
					     "VolumeDriver.Mount",  "VolumeDriver.Unmount",
					     "VolumeDriver.Path",   "VolumeDriver.Get" };

	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(named); r++)
		for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
			const char *answer = ask(named[r], bodies[i]);

			assert_non_null(strstr(answer, "\"Err\":\""));
			assert_null(strstr(answer, "\"Err\":\"\""));
		}
	is("VolumeDriver.Bogus", "", "{\"Err\":\"No such route\"}");
	is("", "", "{\"Err\":\"No such route\"}");
	assert_non_null(strstr(ask_bytes("VolumeDriver.Create", NULL, 0), "too long"));
	is("VolumeDriver.Create", "{\"Name\":\"a\",\"Opts\":[]}",
	   "{\"Err\":\"Opts is not an object\"}");
}

static void deep_and_long_bodies_are_bounded(void **state)
{
	size_t n = 200000;
	AUTO_FREE char *body = malloc(n + 1);

	(void)state;
	memset(body, '[', n);
	body[n] = '\0';
	assert_non_null(strstr(ask("VolumeDriver.Create", body), "not JSON"));
	memset(body, 'x', n);
	memcpy(body, "{\"Name\":\"a\",\"Opts\":{\"k\":\"", 25);
	memcpy(body + n - 3, "\"}}", 3);
	assert_non_null(strstr(ask("VolumeDriver.Create", body), "longer than"));
	memcpy(body, "{\"Name\":\"", 9);
	memset(body + 9, 'x', 20);
	memcpy(body + n - 3, "x\"}", 4);
	assert_non_null(strstr(ask("VolumeDriver.Create", body), "longer than"));
}

static void r5_mistakes_are_a_safe_description_of_mount_only(void **state)
{
	(void)state;
	is("VolumeDriver.Create",
	   "{\"Name\":\"a\",\"Opts\":{\"source\":\"nfs://nas/x\",\"b\":1,\"a\":2}}", NONE);
	is("VolumeDriver.Mount", A,
	   "{\"Mountpoint\":\"\",\"Err\":\"{\\\"SafeDescription\\\":\\\"Not allowed options: a, b\\\"}\"}");
	is("VolumeDriver.Mount", "{\"Name\":\"z\"}",
	   "{\"Mountpoint\":\"\",\"Err\":\"Volume z must be created before being mounted\"}");
}

static void a_create_without_a_source_fails(void **state)
{
	static const char *const opts[] = { "", ",\"Opts\":null", ",\"Opts\":{}",
					    ",\"Opts\":{\"source\":\"\"}",
					    ",\"Opts\":{\"source\":7}" };
	char body[128];

	(void)state;
	for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) {
		snprintf(body, sizeof body, "{\"Name\":\"a\"%s,\"More\":{}}", opts[i]);
		is("VolumeDriver.Create", body, "{\"Err\":\"Missing mandatory options: source\"}");
	}
	is("VolumeDriver.Mount", A,
	   "{\"Mountpoint\":\"\",\"Err\":\"Volume a must be created before being mounted\"}");
}

static void r7_and_r11_an_id_makes_a_volume_stay(void **state)
{
	(void)state;
	is("VolumeDriver.Create", GOOD, NONE);
	ask("VolumeDriver.Mount", "{\"Name\":\"a\",\"ID\":\"c0ffee\"}");
	is("VolumeDriver.Unmount", "{\"Name\":\"a\",\"ID\":\"c0ffee\"}", NONE);
	assert_non_null(strstr(ask("VolumeDriver.Get", A), "\"Err\":\"\""));
	ask("VolumeDriver.Mount", A);
	is("VolumeDriver.Remove", A, NONE);
	is("VolumeDriver.Create", GOOD, NONE);
	ask("VolumeDriver.Mount", "{\"Name\":\"a\",\"ID\":\"\"}");
	is("VolumeDriver.Unmount", A, NONE);
	is("VolumeDriver.Get", A, "{\"Err\":\"Volume a does not exist\"}");
}

static void r8_routes_answered_from_memory_are_marked(void **state)
{
	(void)state;
	assert_false(api_may_wait("/Plugin.Activate"));
	assert_false(api_may_wait("/VolumeDriver.Capabilities"));
	assert_false(api_may_wait("/VolumeDriver.List"));
	assert_false(api_may_wait("/VolumeDriver.Get"));
	assert_false(api_may_wait("/VolumeDriver.Path"));
	assert_true(api_may_wait("/VolumeDriver.Mount"));
	assert_true(api_may_wait("/VolumeDriver.Create"));
	assert_false(api_may_wait("/x"));
}

static void r12_mount_that_nobody_heard_of_is_undone(void **state)
{
	struct api_undo undo;
	json_t *answer;

	(void)state;
	is("VolumeDriver.Create", GOOD, NONE);
	answer = api_answer(&api, "/VolumeDriver.Mount", A, strlen(A), NULL, NULL, &undo);
	json_decref(answer);
	assert_string_equal(undo.mounted, "a");
	assert_true(fake_mounts_has(&mounts, "/root/a"));
	api_undo(&api, &undo);
	assert_false(fake_mounts_has(&mounts, "/root/a"));
}

static void r14_names_cannot_leave_the_root(void **state)
{
	static const char *const bodies[] = {
		"{\"Name\":\"../x\",\"Opts\":{\"source\":\"nas:/x\"}}",
		"{\"Name\":\"a/../../x\",\"Opts\":{\"source\":\"nas:/x\"}}",
		"{\"Name\":\"\\u002e\\u002e\",\"Opts\":{\"source\":\"nas:/x\"}}",
		"{\"Name\":\"a\\u0000/../..\",\"Opts\":{\"source\":\"nas:/x\"}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		assert_null(strstr(ask("VolumeDriver.Create", bodies[i]), NONE));
		ask("VolumeDriver.Mount", bodies[i]);
		ask("VolumeDriver.Remove", bodies[i]);
	}
	assert_int_equal(mounts.mounts, 0);
}

static void r15_a_body_that_is_not_json_is_not_quoted(void **state)
{
	(void)state;
	assert_null(strstr(ask("VolumeDriver.Create",
			       "{\"Name\":\"a\",\"Opts\":{\"password\":hunter2}}"),
			   "hunter2"));
}

static void requests_and_errors_are_counted(void **state)
{
	(void)state;
	is("VolumeDriver.Create", GOOD, NONE);
	ask("VolumeDriver.Mount", "{\"Name\":\"z\"}");
	assert_int_equal(metrics.op[OP_CREATE].requests, 1);
	assert_int_equal(metrics.op[OP_CREATE].errors, 0);
	assert_int_equal(metrics.op[OP_MOUNT].errors, 1);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_nine_routes_answer),
		TEST(r2_an_empty_body_is_an_empty_object),
		TEST(r4_whatever_goes_wrong_is_json_with_an_err),
		TEST(deep_and_long_bodies_are_bounded),
		TEST(r5_mistakes_are_a_safe_description_of_mount_only),
		TEST(a_create_without_a_source_fails),
		TEST(r7_and_r11_an_id_makes_a_volume_stay),
		TEST(r8_routes_answered_from_memory_are_marked),
		TEST(r12_mount_that_nobody_heard_of_is_undone),
		TEST(r14_names_cannot_leave_the_root),
		TEST(r15_a_body_that_is_not_json_is_not_quoted),
		TEST(requests_and_errors_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
