/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of the ScaleIO provider, conversation by conversation. */
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
static void a_late_copy_takes_its_volume_back(void **state)
{
	(void)state;
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" OTHER_VOL "\"}");
	on("GET /api/instances/Volume::" OTHER_VOL, 200,
	   keep("{\"id\":\"" OTHER_VOL "\",\"name\":\"%s\",\"sizeInKb\":16777216}",
		fx.names.fresh));
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on("POST /api/instances/Volume::" OTHER_VOL "/action/removeVolume", 200, "");
	assert_int_equal(create(SIZE(16)), 0);
	script_is_done();
}

/* Nor may it be left, when it cannot be taken back at once; nor may a stranger's be. */
static void a_late_copy_that_stays_is_an_error(void **state)
{
	(void)state;
	basics("3.6");
	on(LOOK_UP, 500, NOT_FOUND);
	on(CREATE, 200, "{\"id\":\"" OTHER_VOL "\"}");
	on("GET /api/instances/Volume::" OTHER_VOL, 200,
	   keep("{\"id\":\"" OTHER_VOL "\",\"name\":\"%s\",\"sizeInKb\":16777216}",
		fx.names.fresh));
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on("POST /api/instances/Volume::" OTHER_VOL "/action/removeVolume", 500,
	   ERROR(168, "You do not have permission"));
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

/* --- find, get, list ------------------------------------------------------- */

static void a_handle_whose_id_has_another_name_is_a_strangers(void **state)
{
	struct provider_ref r = ref(fx.handle);
	struct provider_volume v;

	(void)state;
	basics("3.6");
	always(LOOK_UP, 500, NOT_FOUND);
	on(BY_ID, 200, volume("somebodys", 16, NULL));
	assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), -ENOENT);
	on(BY_ID, 200, volume("somebodys", 16, NULL));
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), 0);
	on(BY_ID, 200, "{\"id\":\"" VOL "\",\"name\":null,\"sizeInKb\":8388608}");
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), 0);
	assert_int_equal(fake_http_calls(fx.f, ACTION("removeVolume")), 0);
	script_is_done();
}

static void a_handle_of_another_system_is_refused(void **state)
{
	struct provider_ref r;

	(void)state;
	basics("3.6");
	json_object_set_new(fx.handle, "system", json_string("1111111111111111"));
	r = ref(fx.handle);
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), -EINVAL);
	assert_int_equal(fake_http_calls(fx.f, "GET /api/instances/Volume"), 0);
}

static void get_tells_size_use_and_mark(void **state)
{
	struct provider_ref r = ref(fx.handle);
	struct provider_volume v;

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.fresh, 16, NULL));
	on("GET /api/instances/VTree::77d0b1e500000003/relationships/Statistics", 200,
	   "{\"netCapacityInUseInKb\":1024}");
	assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), 0);
	assert_string_equal(v.name, fx.names.used); /* one name to callers */
	assert_true(v.fresh);
	assert_int_equal(v.nhosts, 0);
	assert_true(v.size == SIZE(16) && v.used == 1 << 20 && v.created == 1700000123);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1 "," MAPPED_2));
	on("GET /api/instances/VTree::77d0b1e500000003/relationships/Statistics", 404, "");
	assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), 0);
	assert_false(v.fresh);
	assert_int_equal(v.nhosts, 2);
	assert_true(v.used == PROVIDER_UNKNOWN);
	script_is_done();
}

static void ids_that_mean_nothing_are_absent(void **state)
{
	static const struct {
		unsigned status;
		const char *body;
	} of[] = { { 400, ERROR(0, "id must be a hexadecimal number (unsigned long)") },
		   { 500, ERROR(88, "Invalid volume ID. Please try again.") },
		   { 500, ERROR(78, "Could not find the volume") },
		   { 500, ERROR(3, "Not found") } };
	struct provider_ref r = ref(fx.handle);
	struct provider_volume v;

	(void)state;
	basics("3.6");
	always(LOOK_UP, 500, NOT_FOUND);
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		on(BY_ID, of[i].status, of[i].body);
		assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), -ENOENT);
	}
	script_is_done();
}

static void volumes_that_make_no_sense_are_errors(void **state)
{
	static const char *const of[] = {
		"[]",
		"null",
		"\"x\"",
		"{}",
		"{\"id\":\"" VOL "\"}",
		"{\"id\":\"" VOL "\",\"sizeInKb\":-1}",
		"{\"id\":\"" VOL "\",\"sizeInKb\":9007199254740993}",
		"{\"id\":\"" VOL "\",\"sizeInKb\":8,\"mappedSdcInfo\":7}",
		"{\"id\":\"" OTHER_VOL "\",\"sizeInKb\":8}",
		"{\"id\":\"a/../b\",\"sizeInKb\":8}",
	};
	struct provider_ref r = ref(fx.handle);
	struct provider_volume v;

	(void)state;
	basics("3.6");
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		on(BY_ID, 200, of[i]);
		assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), -EPROTO);
	}
	script_is_done();
}

static bool count_some(void *arg, const struct provider_volume *v)
{
	assert_true(provider_is_made_name("cf-", v->name));
	return ++*(unsigned *)arg < 4000;
}

static void a_list_of_thousands_is_read_whole(void **state)
{
	json_t *list = json_array();
	AUTO_FREE char *text = NULL;
	unsigned n = 0;

	(void)state;
	basics("3.6");
	for (unsigned i = 0; i < 5000; i++) {
		char owner[16], name[PROVIDER_NAME_MAX], id[32];

		snprintf(owner, sizeof owner, "%u", i);
		provider_make_name(i % 2 ? "cf-" : "cf-n", owner, name);
		snprintf(id, sizeof id, "4f1c20a9%08x", i);
		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:I, s:n, s:[{s:n}]}", "id", id, "name",
						i % 10 ? json_string(name) :
						i % 20 ? json_null() :
							 json_string("other"),
						"sizeInKb", (json_int_t)8388608, "mappedSdcInfo",
						"unknown", "x"));
	}
	json_array_append_new(list, json_integer(7));
	json_array_append_new(list, json_object());
	text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	on("GET /api/types/Volume/instances", 200, text);
	assert_int_equal(fx.p->ops->list(fx.p, count_some, &n, &fx.err), 0);
	assert_int_equal(n, 4000); /* as many as were wanted, of 4500 */
	on("GET /api/types/Volume/instances", 200, "{}");
	assert_int_equal(fx.p->ops->list(fx.p, count_some, &n, &fx.err), -EPROTO);
	script_is_done();
}

/* --- remove ---------------------------------------------------------------- */

static void a_mapped_volume_is_not_removed(void **state)
{
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), -EBUSY);
	assert_non_null(strstr(fx.err.text, "cell-1"));
	/* Mapped between the look and the removal. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("removeVolume"), 500, ERROR(104, "Volume is mapped"));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_2));
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), -EBUSY);
	assert_non_null(strstr(fx.err.text, "10.0.0.2"));
	script_is_done();
}

static void a_removal_in_progress_is_waited_for(void **state)
{
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("removeVolume"), 500,
	   ERROR(212, "A volume removal operation is currently in progress"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("removeVolume"), 500,
	   ERROR(212, "A volume removal operation is currently in progress"));
	on(BY_ID, 500, NOT_FOUND);
	always(LOOK_UP, 500, NOT_FOUND);
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), 0);
	assert_string_equal(body_of(ACTION("removeVolume"), 0), "{\"removeMode\":\"ONLY_ME\"}");
	script_is_done();
}

static void what_a_killed_create_left_goes_too(void **state)
{
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("removeVolume"), 500, NOT_FOUND); /* by somebody else: fine */
	on(LOOK_UP, 500, NOT_FOUND);
	on(LOOK_UP, 200, "\"" OTHER_VOL "\"");
	on("GET /api/instances/Volume::" OTHER_VOL, 200,
	   keep("{\"id\":\"" OTHER_VOL "\",\"name\":\"%s\",\"sizeInKb\":8388608}", fx.names.fresh));
	on("POST /api/instances/Volume::" OTHER_VOL "/action/removeVolume", 200, "");
	on(LOOK_UP, 500, NOT_FOUND);
	on(LOOK_UP, 500, NOT_FOUND);
	on(LOOK_UP, 500, NOT_FOUND);
	assert_int_equal(fx.p->ops->remove(fx.p, &r, &fx.err), 0);
	script_is_done();
}

static void only_names_of_ours_are_removed_by_name(void **state)
{
	(void)state;
	basics("3.6");
	assert_int_equal(fx.p->ops->remove_name(fx.p, "production-db", &fx.err), -EINVAL);
	assert_int_equal(fake_http_count(fx.f), 0);
}

/* --- grow, mark, snapshots ------------------------------------------------- */

static int grow(uint64_t want)
{
	struct provider_ref r = ref(fx.handle);
	uint64_t size = 0;
	int rc = fx.p->ops->grow(fx.p, &r, want, &size, &fx.err);

	assert_true(rc || size >= want);
	return rc;
}

static void growing_compares_first(void **state)
{
	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(grow(SIZE(9)), 0); /* is 16 */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(grow(SIZE(8)), -ERANGE);
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("setVolumeSize"), 200, "{}");
	on(BY_ID, 200, volume(fx.names.used, 24, NULL));
	assert_int_equal(grow(SIZE(17)), 0);
	assert_string_equal(body_of(ACTION("setVolumeSize"), 0), "{\"sizeInGB\":\"24\"}");
	script_is_done();
}

static void the_size_afterwards_decides(void **state)
{
	(void)state;
	basics("3.6");
	/* The answer was lost, but it was done. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	fault(ACTION("setVolumeSize"), FAKE_HTTP_DROP, NULL);
	on(BY_ID, 200, volume(fx.names.used, 24, NULL));
	assert_int_equal(grow(SIZE(24)), 0);
	/* Somebody was faster: 133 for the present size. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("setVolumeSize"), 500, ERROR(133, "Volume capacity can only be increased"));
	on(BY_ID, 200, volume(fx.names.used, 24, NULL));
	assert_int_equal(grow(SIZE(24)), 0);
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("setVolumeSize"), 500, ERROR(133, "Volume capacity can only be increased"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(grow(SIZE(24)), -ERANGE);
	script_is_done();
}

static void the_mark_goes_by_a_new_name(void **state)
{
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.fresh, 16, MAPPED_1));
	on(ACTION("setVolumeName"), 200, "");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), 0);
	assert_string_equal(body_of(ACTION("setVolumeName"), 0),
			    keep("{\"newName\":\"%s\"}", fx.names.used));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), 0);
	/* Lost, and not done; then done by itself. */
	on(BY_ID, 200, volume(fx.names.fresh, 16, MAPPED_1));
	fault(ACTION("setVolumeName"), FAKE_HTTP_DROP, NULL);
	on(BY_ID, 200, volume(fx.names.fresh, 16, MAPPED_1));
	on(ACTION("setVolumeName"), 500, IN_USE);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), 0);
	/* Taken by another volume. */
	on(BY_ID, 200, volume(fx.names.fresh, 16, MAPPED_1));
	on(ACTION("setVolumeName"), 500, IN_USE);
	on(BY_ID, 200, volume(fx.names.fresh, 16, MAPPED_1));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), -EEXIST);
	script_is_done();
}

static void a_cell_knows_a_volume_by_its_handle_alone(void **state)
{
	struct provider_ref r = { .handle = fx.handle };

	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.fresh, 16, NULL));
	on(ACTION("setVolumeName"), 200, "");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), 0);
	on(BY_ID, 200, volume("somebodys", 16, NULL));
	assert_int_equal(fx.p->ops->set_used(fx.p, &r, &fx.err), -ENOENT);
	script_is_done();
}

static const char *copy_of(const char *name, unsigned gib, const char *ancestor)
{
	return keep("{\"id\":\"" OTHER_VOL
		    "\",\"name\":\"%s\",\"sizeInKb\":%u,\"volumeType\":\"Snapshot\","
		    "\"ancestorVolumeId\":\"%s\"}",
		    name, gib << 20, ancestor);
}

static void snapshots_are_found_again_by_name_and_source(void **state)
{
	struct provider_ref of = ref(fx.handle), r = ref(NULL);
	struct sgw_names names;
	json_t *handle = NULL;

	(void)state;
	r.owner = "snap";
	sgw_names_of(scaleio_of(fx.p), "snap", &names);
	basics("3.6");
	always(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(LOOK_UP, 500, NOT_FOUND);
	on("POST /api/instances/System::" SYSTEM "/action/snapshotVolumes", 500,
	   "{\"message\":\"Error with details\",\"errorCode\":0,\"details\":[{\"error\":"
	   "\"TOO_MANY_SNAPS_IN_VTREE\",\"rc\":182,\"errorMessage\":\"There are too many snapshots\"}]}");
	assert_int_equal(fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err), -ENOSPC);
	assert_non_null(strstr(fx.err.text, "too many snapshots"));
	on(LOOK_UP, 500, NOT_FOUND);
	fault("POST /api/instances/System::" SYSTEM "/action/snapshotVolumes", FAKE_HTTP_DROP,
	      NULL);
	on(LOOK_UP, 200, "\"" OTHER_VOL "\"");
	on("GET /api/instances/Volume::" OTHER_VOL, 200, copy_of(names.used, 16, VOL));
	assert_int_equal(fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err), 0);
	assert_string_equal(rest_text(handle, "id"), OTHER_VOL);
	json_decref(handle);
	assert_string_equal(
		body_of("POST /api/instances/System::" SYSTEM "/action/snapshotVolumes", 1),
		keep("{\"snapshotDefs\":[{\"volumeId\":\"" VOL "\",\"snapshotName\":\"%s\"}],"
		     "\"accessModeLimit\":\"ReadOnly\"}",
		     names.used));
	on(LOOK_UP, 200, "\"" OTHER_VOL "\"");
	on("GET /api/instances/Volume::" OTHER_VOL, 200, copy_of(names.used, 16, "1234"));
	assert_int_equal(fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err), -EEXIST);
	script_is_done();
}

static void a_restored_volume_is_a_writable_copy_that_grew(void **state)
{
	const struct provider_spec spec = { .size = SIZE(20) }, small = { .size = SIZE(8) };
	struct provider_ref of = ref(fx.handle), r = ref(NULL);
	struct sgw_names names;
	json_t *handle = NULL;
	uint64_t size;

	(void)state;
	r.owner = "copy";
	sgw_names_of(scaleio_of(fx.p), "copy", &names);
	basics("2.6");
	always(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(fx.p->ops->restore(fx.p, &of, &r, &small, &handle, &size, &fx.err),
			 -ERANGE);
	on(LOOK_UP, 500, NOT_FOUND);
	on("POST /api/instances/System::" SYSTEM "/action/snapshotVolumes", 200,
	   "{\"volumeIdList\":[\"" OTHER_VOL "\"],\"snapshotGroupId\":\"a2\"}");
	on("GET /api/instances/Volume::" OTHER_VOL, 200, copy_of(names.used, 16, VOL));
	on("POST /api/instances/Volume::" OTHER_VOL "/action/setVolumeSize", 200, "");
	on("GET /api/instances/Volume::" OTHER_VOL, 200, copy_of(names.used, 24, VOL));
	assert_int_equal(fx.p->ops->restore(fx.p, &of, &r, &spec, &handle, &size, &fx.err), 0);
	assert_true(size == SIZE(24));
	json_decref(handle);
	/* The releases before 3.0 do not know access modes. */
	assert_null(
		strstr(body_of("POST /api/instances/System::" SYSTEM "/action/snapshotVolumes", 0),
		       "accessModeLimit"));
	script_is_done();
}

/* --- the rest -------------------------------------------------------------- */

static void capacity_is_read_from_what_the_release_counts(void **state)
{
	struct provider_capacity c;

	(void)state;
	basics("3.6");
	on("GET /api/instances/StoragePool::" POOL "/relationships/Statistics", 200,
	   "{\"netUnusedCapacityInKb\":1000,\"netCapacityInUseInKb\":24,\"capacityLimitInKb\":9999}");
	assert_int_equal(fx.p->ops->capacity(fx.p, fx.plan, &c, &fx.err), 0);
	assert_true(c.free == 1024000 && c.total == 1048576);
	on("GET /api/instances/StoragePool::" POOL "/relationships/Statistics", 200,
	   "{\"capacityLimitInKb\":3000,\"spareCapacityInKb\":1000,\"capacityInUseInKb\":10,"
	   "\"capacityAvailableForVolumeAllocationInKb\":900}");
	assert_int_equal(fx.p->ops->capacity(fx.p, fx.plan, &c, &fx.err), 0);
	assert_true(c.free == 921600 && c.total == 1024000);
	on("GET /api/instances/StoragePool::" POOL "/relationships/Statistics", 200, "{}");
	assert_int_equal(fx.p->ops->capacity(fx.p, fx.plan, &c, &fx.err), -EPROTO);
	script_is_done();
}

static void coded_pools_are_counted_elsewhere(void **state)
{
	struct provider_capacity c;

	(void)state;
	basics("5.0");
	always("POST /rest/auth/login", 404, "");
	always("GET /api/instances/ProtectionDomain::" DOMAIN, 200,
	       "{\"id\":\"" DOMAIN "\",\"genType\":\"EC\"}");
	on("POST /dtapi/rest/v1/metrics/query", 200,
	   "{\"resources\":[{\"id\":\"" POOL
	   "\",\"metrics\":[{\"name\":\"physical_total\",\"values\":[500]},"
	   "{\"name\":\"physical_free\",\"values\":[400]}]}]}");
	assert_int_equal(fx.p->ops->capacity(fx.p, fx.plan, &c, &fx.err), 0);
	assert_true(c.free == 400 && c.total == 500);
	script_is_done();
}

static void mount_config_names_array_and_volume(void **state)
{
	struct provider_ref r = ref(fx.handle);
	json_t *c = json_object();

	(void)state;
	assert_int_equal(fx.p->ops->mount_config(fx.p, &r, c, &fx.err), 0);
	assert_string_equal(rest_text(c, "source"), "scaleio://array1/" VOL);
	assert_int_equal(fake_http_count(fx.f), 0); /* nobody is asked */
	r.handle = NULL;
	basics("3.6");
	on(LOOK_UP, 200, "\"" VOL "\"");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(fx.p->ops->mount_config(fx.p, &r, c, &fx.err), 0);
	assert_string_equal(rest_text(c, "source"), "scaleio://array1/" VOL);
	json_decref(c);
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
		TEST(a_handle_whose_id_has_another_name_is_a_strangers),
		TEST(a_handle_of_another_system_is_refused),
		TEST(get_tells_size_use_and_mark),
		TEST(ids_that_mean_nothing_are_absent),
		TEST(volumes_that_make_no_sense_are_errors),
		TEST(a_list_of_thousands_is_read_whole),
		TEST(a_mapped_volume_is_not_removed),
		TEST(a_removal_in_progress_is_waited_for),
		TEST(what_a_killed_create_left_goes_too),
		TEST(only_names_of_ours_are_removed_by_name),
		TEST(growing_compares_first),
		TEST(the_size_afterwards_decides),
		TEST(the_mark_goes_by_a_new_name),
		TEST(a_cell_knows_a_volume_by_its_handle_alone),
		TEST(snapshots_are_found_again_by_name_and_source),
		TEST(a_restored_volume_is_a_writable_copy_that_grew),
		TEST(capacity_is_read_from_what_the_release_counts),
		TEST(coded_pools_are_counted_elsewhere),
		TEST(mount_config_names_array_and_volume),
	};

	return cmocka_run_group_tests_name("scaleio volumes", tests, NULL, NULL);
}
