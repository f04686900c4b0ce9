/* SPDX-License-Identifier: Apache-2.0 */
/* How the ScaleIO provider creates volumes, and in which pools. */
#include "tests/unit/backends/scaleio_test.h"

static int create(uint64_t size)
{
	const struct provider_spec spec = { .size = size };
	struct provider_ref r = ref(NULL);
	json_t *handle = NULL;
	uint64_t got = 0;
	int rc = fx.p->ops->create(fx.p, &r, &spec, &handle, &got, &fx.err);

	no_secret();
	if (!rc) {
		assert_true(json_equal(handle, fx.handle));
		assert_true(got >= size && got);
	}
	json_decref(handle);
	return rc;
}

/* --- create ---------------------------------------------------------------- */

static void create_rounds_up_and_sends_text(void **state)
{
	json_t *body;

	(void)state;
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" VOL "\"}");
	on(BY_ID, 200, volume(fx.names.fresh, 16, NULL));
	on(LOOK_UP, 500, NOT_FOUND);
	assert_int_equal(create(SIZE(12)), 0);
	body = json_loads(body_of(CREATE, 0), 0, NULL);
	assert_string_equal(rest_text(body, "name"), fx.names.fresh);
	assert_string_equal(rest_text(body, "volumeSizeInKb"), "16777216");
	assert_string_equal(rest_text(body, "volumeType"), "ThinProvisioned");
	assert_string_equal(rest_text(body, "storagePoolId"), POOL);
	assert_string_equal(rest_text(body, "protectionDomainId"), DOMAIN);
	json_decref(body);
	script_is_done();
}

static void a_repeat_finds_the_first_by_its_name(void **state)
{
	(void)state;
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 500, IN_USE);
	on(LOOK_UP, 500, NOT_FOUND);
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 500, NOT_FOUND); /* its name is known a little before its id is */
	on(BY_ID, 200, volume(fx.names.fresh, 16, NULL));
	assert_int_equal(create(SIZE(16)), 0);
	script_is_done();
}

static void a_lost_answer_is_looked_for_before_it_is_asked_again(void **state)
{
	static const struct {
		enum fake_http_fault fault;
		unsigned status;
		const char *body;
	} lost[] = { { FAKE_HTTP_DROP, 0, NULL },
		     { FAKE_HTTP_CUT, 0, "{\"id\":\"" VOL "\"}" },
		     { FAKE_HTTP_NONE, 200, "\x01\x02<" },
		     { FAKE_HTTP_NONE, 200, "{\"id\":7}" },
		     { FAKE_HTTP_NONE, 502, "<html>" },
		     { FAKE_HTTP_NONE, 500, ERROR(68, "A timeout occurred") } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		const struct fake_http_step step = { .match = CREATE,
						     .fault = lost[i].fault,
						     .status = lost[i].status,
						     .body = lost[i].body,
						     .bytes = 3 };

		open_with(config());
		fake_http_clear(fx.f);
		basics("3.6");
		on(LOOK_UP, 500, NOT_FOUND);
		/* Once it was carried out, once not. */
		if (i % 2) {
			fake_http_add(fx.f, &step);
			on(LOOK_UP, 500, NOT_FOUND);
			on(LOOK_UP, 500, NOT_FOUND);
			on(LOOK_UP, 500, NOT_FOUND);
			/* "POST /api/types/Volume/instances" is also how the look-ups begin */
			on(CREATE, 200, "{\"id\":\"" VOL "\"}");
			on(BY_ID, 200, volume(fx.names.fresh, 8, NULL));
			on(LOOK_UP, 500, NOT_FOUND);
		} else {
			fake_http_add(fx.f, &step);
			on(LOOK_UP, 500, NOT_FOUND);
			on(LOOK_UP, 200, "\"" VOL "\"");
			on(BY_ID, 200, volume(fx.names.fresh, 8, NULL));
		}
		assert_int_equal(create(0), 0);
		script_is_done();
	}
}

static void what_differs_is_a_conflict(void **state)
{
	static const char *const others[] = {
		"\"sizeInKb\":25165824,\"storagePoolId\":\"" POOL
		"\",\"volumeType\":\"ThinProvisioned\"",
		"\"sizeInKb\":16777216,\"storagePoolId\":\"91ab03fc00000001\",\"volumeType\":\"ThinProvisioned\"",
		"\"sizeInKb\":16777216,\"storagePoolId\":\"" POOL
		"\",\"volumeType\":\"ThickProvisioned\"",
		"\"sizeInKb\":16777216,\"storagePoolId\":\"" POOL
		"\",\"volumeType\":\"Snapshot\",\"ancestorVolumeId\":\"77\"",
	};

	(void)state;
	basics("3.6");
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		on(LOOK_UP, 200, "\"" VOL "\"");
		on(BY_ID, 200,
		   keep("{\"id\":\"" VOL "\",\"name\":\"%s\",%s}", fx.names.used, others[i]));
		assert_int_equal(create(SIZE(16)), -EEXIST);
	}
	script_is_done();
}

/* A copy of the call that was on its way until the volume had its first data. */
static void late_copy(const char *maps, unsigned status, const char *answer)
{
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" OTHER_VOL "\"}");
	on("GET /api/instances/Volume::" OTHER_VOL, 200,
	   keep("{\"id\":\"" OTHER_VOL "\",\"name\":\"%s\",\"sizeInKb\":16777216}",
		fx.names.fresh));
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 16, maps));
	on("POST /api/instances/Volume::" OTHER_VOL "/action/removeVolume", status, answer);
}

static void a_late_copy_takes_its_volume_back(void **state)
{
	(void)state;
	late_copy(NULL, 200, "");
	assert_int_equal(create(SIZE(16)), 0);
	script_is_done();
}

/* Nor may it be left, when it cannot be taken back at once; nor may a stranger's be. */
static void a_late_copy_that_stays_is_an_error(void **state)
{
	(void)state;
	late_copy(MAPPED_1, 500, ERROR(168, "You do not have permission"));
	assert_int_equal(create(SIZE(16)), -EACCES);
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" VOL "\"}");
	on(BY_ID, 200, volume("production", 16, NULL));
	assert_int_equal(create(SIZE(16)), -EPROTO);
	script_is_done();
}

static void sizes_have_ends(void **state)
{
	(void)state;
	basics("3.6");
	assert_int_equal(create(((uint64_t)1 << 50) + 1), -EINVAL);
	assert_int_equal(create(UINT64_MAX), -EINVAL);
	assert_int_equal(create(UINT64_MAX - (7 * GIB)), -EINVAL);
	assert_int_equal(fake_http_calls(fx.f, CREATE), 0);
}

static void coded_pools_have_steps_of_one_gib(void **state)
{
	(void)state;
	basics("5.0");
	always("POST /rest/auth/login", 404, "");
	always("GET /api/instances/ProtectionDomain::" DOMAIN, 200,
	       "{\"id\":\"" DOMAIN "\",\"genType\":\"EC\"}");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" VOL "\"}");
	on(BY_ID, 200, volume(fx.names.fresh, 3, NULL));
	on(LOOK_UP, 500, NOT_FOUND);
	assert_int_equal(create(SIZE(2) + 1), 0);
	assert_non_null(strstr(body_of(CREATE, 0), "\"3145728\""));
	json_object_set_new(fx.plan, "provisioning", json_string("thick"));
	assert_int_equal(create(SIZE(2)), -EINVAL);
	script_is_done();
}

static void limits_of_the_array_are_told(void **state)
{
	(void)state;
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 500, ERROR(96, "maximum number of volumes"));
	assert_int_equal(create(0), -ENOSPC);
	assert_non_null(strstr(fx.err.text, "maximum number of volumes (code 96)"));
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 500, ERROR(168, "You do not have permission"));
	assert_int_equal(create(0), -EACCES);
	script_is_done();
}

/* --- pools ----------------------------------------------------------------- */

static void pools_are_looked_up_once_and_again_when_they_have_gone(void **state)
{
	(void)state;
	basics("3.6");
	for (int i = 0; i < 2; i++) {
		on(LOOK_UP, 200, "\"" VOL "\"");
		on(BY_ID, 200, volume(fx.names.used, 8, NULL));
		assert_int_equal(create(0), 0);
	}
	assert_int_equal(fake_http_calls(fx.f, "POST /api/types/StoragePool"), 1);
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 500, ERROR(171, "Could not find Storage Pool"));
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 8, NULL));
	assert_int_equal(create(0), 0);
	assert_int_equal(fake_http_calls(fx.f, "POST /api/types/StoragePool"), 2);
	script_is_done();
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 8, NULL));
	atomic_store(&clock_skew_ms, 301000);
	assert_int_equal(create(0), 0);
	assert_int_equal(fake_http_calls(fx.f, "POST /api/types/StoragePool"), 3);
}

static void a_pool_name_of_two_domains_is_refused(void **state)
{
	(void)state;
	basics("3.6");
	json_object_del(fx.plan, "protection_domain");
	on("GET /api/types/StoragePool/instances", 200,
	   "[{\"id\":\"1\",\"name\":\"pool1\"},{\"id\":\"2\",\"name\":null},{\"id\":\"3\",\"name\":\"pool1\"}]");
	assert_int_equal(create(0), -EINVAL);
	assert_non_null(strstr(fx.err.text, "protection_domain"));
	on("GET /api/types/StoragePool/instances", 200, "[{\"id\":\"1\",\"name\":\"pool2\"}]");
	assert_int_equal(create(0), -EINVAL);
	on("GET /api/types/StoragePool/instances", 200,
	   "[{\"id\":\"" POOL "\",\"name\":\"pool1\",\"protectionDomainId\":\"" DOMAIN
	   "\",\"zeroPaddingEnabled\":true}]");
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 8, NULL));
	assert_int_equal(create(0), 0);
	script_is_done();
}

static void old_releases_know_names_by_another_call(void **state)
{
	(void)state;
	on("POST /api/types/ProtectionDomain/instances/action/queryIdByKey", 404, "<html>");
	on("GET /api/types/Domain/instances/getByName::pd 1", 200, "\"" DOMAIN "\"");
	on("POST /api/types/StoragePool/instances/action/queryIdByKey", 404, "<html>");
	on("GET /api/types/Pool/instances/getByName::" DOMAIN ",a/b", 200, "\"" POOL "\"");
	on(LOOK_UP, 404, "<html>");
	on(keep("GET /api/types/Volume/instances/getByName::%s", fx.names.used), 200,
	   "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 8, NULL));
	basics("1.32");
	json_object_set_new(fx.plan, "protection_domain", json_string("pd 1"));
	json_object_set_new(fx.plan, "pool", json_string("a/b"));
	assert_int_equal(create(0), 0);
	script_is_done();
}

static void pools_that_hand_out_old_blocks_are_refused(void **state)
{
	static const char *const pads[] = { "false", "null" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pads); i++) {
		open_with(config());
		on("GET /api/instances/StoragePool::" POOL, 200,
		   keep("{\"id\":\"" POOL "\",\"protectionDomainId\":\"" DOMAIN
			"\",\"zeroPaddingEnabled\":%s}",
			pads[i]));
		if (!i)
			basics("3.6");
		assert_int_equal(create(0), -EINVAL);
		assert_non_null(strstr(fx.err.text, "allow_unpadded"));
	}
	json_object_set_new(fx.plan, "allow_unpadded", json_true());
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 8, NULL));
	assert_int_equal(create(0), 0);
	script_is_done();
}

static void a_pool_of_another_domain_is_refused(void **state)
{
	(void)state;
	basics("3.6");
	json_object_set_new(fx.plan, "pool", json_string("91ab03fc00000007"));
	on("GET /api/instances/StoragePool::91ab03fc00000007", 200,
	   "{\"id\":\"91ab03fc00000007\",\"protectionDomainId\":\"b0c1d2e300000009\",\"zeroPaddingEnabled\":true}");
	assert_int_equal(create(0), -EINVAL);
	assert_non_null(strstr(fx.err.text, "another protection domain"));
	script_is_done();
}

static void plans_are_checked(void **state)
{
	static const struct {
		const char *plan;
		int rc;
	} of[] = {
		{ "{\"pool\":\"p\",\"size\":\"8g\"}", 0 },
		{ "{\"pool\":\"p\",\"provisioning\":\"thick\",\"iops_limit\":11,\"bandwidth_limit\":\"10m\"}",
		  0 },
		{ "{}", -EINVAL },
		{ "{\"pool\":3.5}", 0 },
		{ "{\"pool\":[]}", -EINVAL },
		{ "{\"pool\":\"p\",\"provisioning\":\"fat\"}", -EINVAL },
		{ "{\"pool\":\"p\",\"iops_limit\":10}", -EINVAL },
		{ "{\"pool\":\"p\",\"iops_limit\":-1}", -EINVAL },
		{ "{\"pool\":\"p\",\"bandwidth_limit\":\"1k\"}", -EINVAL },
		{ "{\"pool\":\"p\",\"allow_unpadded\":\"perhaps\"}", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		json_t *plan = json_loads(of[i].plan, 0, NULL);

		assert_int_equal(fx.p->ops->check_plan(fx.p, plan, &fx.err), of[i].rc);
		json_decref(plan);
	}
	assert_int_equal(fake_http_count(fx.f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_rounds_up_and_sends_text),
		TEST(a_repeat_finds_the_first_by_its_name),
		TEST(a_lost_answer_is_looked_for_before_it_is_asked_again),
		TEST(what_differs_is_a_conflict),
		TEST(a_late_copy_takes_its_volume_back),
		TEST(a_late_copy_that_stays_is_an_error),
		TEST(sizes_have_ends),
		TEST(coded_pools_have_steps_of_one_gib),
		TEST(limits_of_the_array_are_told),
		TEST(pools_are_looked_up_once_and_again_when_they_have_gone),
		TEST(a_pool_name_of_two_domains_is_refused),
		TEST(old_releases_know_names_by_another_call),
		TEST(pools_that_hand_out_old_blocks_are_refused),
		TEST(a_pool_of_another_domain_is_refused),
		TEST(plans_are_checked),
	};

	return cmocka_run_group_tests_name("scaleio creation", tests, NULL, NULL);
}
