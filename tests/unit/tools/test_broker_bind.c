/* SPDX-License-Identifier: Apache-2.0 */
/* What a bind tells the driver of a volume that cells ask an array about. */
#include "tests/unit/tools/broker_test.h"

#define CONTEXT "\"context\":{\"platform\":\"cloudfoundry\"}"

/* Creates instance a of the plan, if need be, and binds it; the mount_config is the caller's. */
static json_t *bind_new(const char *ids, const char *binding)
{
	char path[200], body[400];
	struct fake_answer a;
	json_t *mount, *config;

	snprintf(body, sizeof body, "{%s," CONTEXT "}", ids);
	a = fake_call(&f, "PUT", I "a?accepts_incomplete=true", body);
	assert_true(a.status == 202 || a.status == 200);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");

	snprintf(path, sizeof path, I "a/service_bindings/%s", binding);
	snprintf(body, sizeof body, "{%s,\"app_guid\":\"x\"}", ids);
	a = fake_call(&f, "PUT", path, body);
	assert_int_equal(a.status, 201);
	mount = json_array_get(json_object_get(a.json, "volume_mounts"), 0);
	config = json_object_get(json_object_get(mount, "device"), "mount_config");
	json_incref(config);
	fake_answer_done(&a);
	return config;
}

static const char *text_at(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static void a_volume_of_an_array_comes_with_what_the_array_knows_it_by(void **state)
{
	json_t *config = bind_new("\"service_id\":\"s-disks\",\"plan_id\":\"disk\"", "b"), *again;
	const json_t *volume = json_object_get(config, "volume");
	const json_t *plan = json_object_get(volume, "plan");

	(void)state;
	assert_int_equal(strncmp(text_at(config, "source"), "scaleio://blocks/", 17), 0);
	assert_string_equal(text_at(volume, "provider"), "blocks");
	assert_string_equal(text_at(volume, "owner"), "a");
	assert_true(*text_at(json_object_get(volume, "handle"), "name"));
	/* The driver reads numbers, however the operator has written them, or not; and nothing that it does not read is told. */
	assert_int_equal(json_integer_value(json_object_get(plan, "uid")), 3000);
	assert_int_equal(json_integer_value(json_object_get(plan, "gid")), 2000);
	assert_string_equal(text_at(plan, "pool"), "gold");
	assert_int_equal(json_object_size(plan), 3);
	/* A second instance of the app finds the same volume under the same name. */
	again = bind_new("\"service_id\":\"s-disks\",\"plan_id\":\"disk\"", "c");
	assert_true(json_equal(config, again));
	json_decref(again);
	json_decref(config);
}

static void a_share_needs_no_more_than_its_source(void **state)
{
	json_t *config = bind_new("\"service_id\":\"s-files\",\"plan_id\":\"small\"", "b");

	(void)state;
	assert_int_equal(strncmp(text_at(config, "source"), "nfs://", 6), 0);
	assert_null(json_object_get(config, "volume"));
	json_decref(config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_volume_of_an_array_comes_with_what_the_array_knows_it_by),
		TEST(a_share_needs_no_more_than_its_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
