/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the table of volumes, and what a restart makes of it (R15, R16). */
#include "tests/unit/tools/volumes_test.h"

static void r15_secrets_are_not_in_the_state_and_are_missed_after_a_restart(void **state)
{
	json_t *opts = json_pack("{s:s, s:s, s:s}", "source", "nfs://nas/export", "username",
				 "mallory", "password", "hunter2");

	(void)state;
	assert_int_equal(volumes_create(fx.vs, "a", opts, &fx.f), 0);
	assert_null(strstr(fx.saved, "hunter2"));
	assert_null(strstr(fx.saved, "mallory"));
	restart();
	assert_int_equal(mount_as("a", false), -ESTALE);
	assert_non_null(strstr(fx.f.err.text, "must be created again"));
	json_object_del(opts, "username");
	json_object_del(opts, "password");
	assert_int_equal(volumes_create(fx.vs, "a", opts, &fx.f), 0);
	assert_int_equal(mount_as("a", false), 0);
	json_decref(opts);
}

static void r16_restart_keeps_mounts_counts_and_options(void **state)
{
	(void)state;
	create("a");
	create("b");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(mount_as("a", true), 0);
	restart();
	assert_true(fake_mounts_has(&fx.mounts, ROOT "/a"));
	assert_int_equal(fx.mounts.mounts, 1);
	assert_int_equal(count_of("a"), 2);
	assert_int_equal(count_of("b"), 0);
	assert_int_equal(mount_as("b", false), 0);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(count_of("a"), 0); /* still Docker's: known */
}

static void restart_knows_what_vanished_meanwhile(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	fake_mounts_vanish(&fx.mounts, ROOT "/a");
	restart();
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(mount_as("a", true), 0);
}

static void restart_takes_over_mounts_without_a_state(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", false), 0);
	free(fx.saved);
	fx.saved = NULL;
	restart();
	volumes_adopt(fx.vs, "a");
	assert_int_equal(count_of("a"), 1);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0); /* the rep's purge */
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
}

static void restart_looks_once_for_all_volumes(void **state)
{
	unsigned looks;

	(void)state;
	for (char n[] = "a"; *n < 'a' + 20; ++*n)
		create(n);
	assert_int_equal(mount_as("b", true), 0);
	looks = fx.mounts.looks;
	restart();
	assert_int_equal(fx.mounts.looks, looks + 1);
	assert_int_equal(count_of("b"), 1);
}

static void state_that_is_good_until_its_middle_knows_what_is_mounted(void **state)
{
	json_t *j = json_loads("{\"Version\":1,\"Volumes\":[{\"Name\":\"a\",\"Count\":2},{}]}", 0,
			       NULL);
	struct err err;

	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	volumes_free(fx.vs);
	fx.vs = volumes_new(&fx.env);
	assert_int_not_equal(volumes_restore(fx.vs, j, &err), 0);
	json_decref(j);
	volumes_adopt(fx.vs, "a");
	assert_int_equal(count_of("a"), 2);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
}

static void mount_with_a_name_of_no_text_is_left_alone(void **state)
{
	(void)state;
	volumes_adopt(fx.vs, "\xff");
	create("a"); /* is saved */
}

/* As if the driver had died while it mounted the volume that was created last. */
static void die_while_mounting(void)
{
	json_t *j = json_loads(fx.saved, 0, NULL), *list = json_object_get(j, "Volumes");
	json_t *last = json_array_get(list, json_array_size(list) - 1);

	json_object_set_new(last, "State", json_string("mounting"));
	free(fx.saved);
	fx.saved = json_dumps(j, 0);
	json_decref(j);
}

static void r12_mount_that_was_begun_when_the_driver_died_is_undone(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	die_while_mounting();
	restart();
	assert_int_equal(count_of("a"), 0);
	assert_false(fake_mounts_has(&fx.mounts, ROOT "/a"));
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(count_of("a"), 1);
}

/* The state on disk while a mount runs, as a successor would find it. */
static void r12_mount_is_on_disk_before_it_is_begun(void **state)
{
	struct mounter m = { 0 };

	(void)state;
	create("a");
	start_held_mounts(&m, 1);
	assert_non_null(strstr(fx.saved, "\"mounting\""));
	fake_mounts_hold(&fx.mounts, false);
	join_mounts(&m, 1);
	assert_null(strstr(fx.saved, "\"mounting\""));
	assert_non_null(strstr(fx.saved, "\"mounted\""));
}

static void state_of_a_stranger_is_refused(void **state)
{
	static const char *const texts[] = {
		"[]",
		"{}",
		"{\"Version\":2,\"Volumes\":[]}",
		"{\"Version\":1,\"Volumes\":{}}",
		"{\"Version\":1,\"Volumes\":[1]}",
		"{\"Version\":1,\"Volumes\":[{\"Name\":\"../x\"}]}",
		"{\"Version\":1,\"Volumes\":[{\"Name\":\"a\"},{\"Name\":\"a\"}]}",
	};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		json_t *j = json_loads(texts[i], 0, NULL);
		struct volumes *vs = volumes_new(&fx.env);

		assert_int_not_equal(volumes_restore(vs, j, &err), 0);
		volumes_free(vs);
		json_decref(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r15_secrets_are_not_in_the_state_and_are_missed_after_a_restart),
		TEST(r16_restart_keeps_mounts_counts_and_options),
		TEST(restart_knows_what_vanished_meanwhile),
		TEST(restart_takes_over_mounts_without_a_state),
		TEST(restart_looks_once_for_all_volumes),
		TEST(state_that_is_good_until_its_middle_knows_what_is_mounted),
		TEST(mount_with_a_name_of_no_text_is_left_alone),
		TEST(r12_mount_that_was_begun_when_the_driver_died_is_undone),
		TEST(r12_mount_is_on_disk_before_it_is_begun),
		TEST(state_of_a_stranger_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
