/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of the ScaleIO provider, conversation by conversation. */
#include "tests/unit/backends/scaleio_test.h"

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
