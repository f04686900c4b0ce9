/* SPDX-License-Identifier: Apache-2.0 */
/* The whole life of volumes on a simulated cluster, in its releases and with its licences. */
#include "tests/unit/backends/onefs_sim_test.h"

static void live(bool quota, bool snapshots, bool managed)
{
	struct search s = { .found = 0 };
	struct provider_volume v;
	struct provider_ref r;
	json_t *first;

	new_owners();
	assert_int_equal(do_create(), 0);
	volume_is_whole(0, quota ? GIB : 0);
	first = json_incref(fx.handle[0]);
	assert_int_equal(do_create(), 0); /* the same, and nothing more */
	assert_true(json_equal(first, fx.handle[0]));
	json_decref(first);
	volume_is_whole(0, quota ? GIB : 0);
	write_file(0, "one");
	r = ref(0);
	if (quota) {
		assert_int_equal(do_get(), 0);
		assert_int_equal(do_grow(), 0);
		volume_is_whole(0, 2 * GIB);
	}
	assert_int_equal(do_map(), 0);
	assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), 0);
	assert_int_equal(v.nhosts, managed ? 1 : 0);
	if (managed)
		assert_int_equal(do_remove(), -EBUSY);
	assert_int_equal(do_unmap(), 0);
	if (snapshots) {
		assert_int_equal(do_snapshot(), 0);
		write_file(0, "two");
		assert_int_equal(do_restore(), 0);
		file_is(2, "one");
	} else {
		assert_int_equal(do_snapshot(), -EOPNOTSUPP);
		assert_non_null(strstr(fx.err.text, "SnapshotIQ"));
	}
	assert_int_equal(fx.p->ops->list(fx.p, found, &s, &fx.err), 0);
	assert_int_equal(s.all, snapshots ? 3 : 1);
	remove_all();
	assert_int_equal(fx.p->ops->get(fx.p, &r, &v, &fx.err), -ENOENT);
	remove_all(); /* what is gone is no error */
}

static void life_is_the_same_on_all_releases(void **state)
{
	static const struct {
		const char *settings[3], *config, *plan;
		bool quota, snapshots, managed;
	} cases[] = {
		{ { "latest=12" }, FIXED, NULL, true, true, false },
		{ { "latest=22", "export_delay_ms=120" }, FIXED, NULL, true, true, false },
		{ { "latest=3", "csrf=no" }, MANAGED "10", NULL, true, true, true },
		{ { "latest=none" }, FIXED, NULL, true, true, false },
		{ { "latest=none" }, MANAGED "10", NULL, true, true, true },
		{ { "errors=html" }, MANAGED "10", NULL, true, true, true },
		{ { "errors=mixed" }, FIXED ", \"auth\": \"basic\"", NULL, true, true, false },
		{ { "quota_licence=unlicensed" },
		  MANAGED "10",
		  "{\"quota\": \"ignore\"}",
		  false,
		  true,
		  true },
		{ { "snapshot_licence=unlicensed" }, FIXED, NULL, true, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("%s %s\n", cases[i].settings[0], cases[i].config);
		start_sim(cases[i].settings);
		open_provider(cases[i].config, cases[i].plan);
		live(cases[i].quota, cases[i].snapshots, cases[i].managed);
		close_provider();
		rest_free(fx.control);
		sim_stop(fx.sim);
		fx.control = NULL;
		fx.sim = NULL;
	}
}

static void no_licence_for_quotas_is_told(void **state)
{
	static const char *const settings[] = { "quota_licence=unlicensed", NULL };

	(void)state;
	start_sim(settings);
	open_provider(FIXED, NULL);
	new_owners();
	assert_int_equal(do_create(), -EOPNOTSUPP);
	assert_non_null(strstr(fx.err.text, "SmartQuotas"));
	remove_all();
}

static void part_that_cannot_be_copied_fails_the_restore(void **state)
{
	char body[1200];

	(void)state;
	start_sim(NULL);
	open_provider(FIXED, NULL);
	new_owners();
	made_with_snapshot();
	snprintf(body, sizeof body, "{\"path\":\"/ifs/.snapshot/%s%s/file\"}",
		 json_string_value(json_object_get(fx.handle[1], "name")), path_of(0) + 4);
	json_decref(control("POST", "/_sim/onefs/copy_error", body));
	assert_int_equal(do_restore(), -EACCES);
	if (!strstr(fx.err.text, "/file"))
		fail_msg("%s", fx.err.text);
	json_decref(control("DELETE", "/_sim/onefs/copy_error", NULL));
	assert_int_equal(do_restore(), 0);
	is_restored();
	remove_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(life_is_the_same_on_all_releases),
		T(no_licence_for_quotas_is_told),
		T(part_that_cannot_be_copied_fails_the_restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
