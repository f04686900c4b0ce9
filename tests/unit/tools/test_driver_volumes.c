/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the volume plugin protocol that the table of volumes keeps, on a fake mounter. */
#include "tests/unit/tools/volumes_test.h"

/* --- mounting -------------------------------------------------------------- */

static void first_mount_counts_one(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(count_of("a"), 1);
	assert_true(fake_mounts_has(&fx.mounts, ROOT "/a"));
}

static void second_mount_counts_and_mounts_nothing(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(mount_as("a", true), 0); /* docker cp: the same ID again */
	assert_int_equal(count_of("a"), 2);
	assert_int_equal(fx.mounts.mounts, 1);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_true(fake_mounts_has(&fx.mounts, ROOT "/a"));
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_false(fake_mounts_has(&fx.mounts, ROOT "/a"));
}

/* Who divides the budget looks for the points of mounts when it is told. */
static void note_points(void *arg)
{
	struct volume_info *infos;
	ssize_t n = volumes_list(fx.vs, &infos);
	unsigned *told = arg;

	assert_true(n >= 0);
	*told = 0;
	for (ssize_t i = 0; i < n; i++)
		*told += *infos[i].point != '\0';
	volume_infos_free(infos, (size_t)n);
}

static void budget_is_told_of_a_mount_when_its_point_is_listed(void **state)
{
	unsigned told = 99;

	(void)state;
	volumes_free(fx.vs);
	fx.env.changed = note_points;
	fx.env.budget_arg = &told;
	fx.vs = volumes_new(&fx.env);
	create("a");
	assert_int_equal(mount_as("a", false), 0);
	assert_int_equal(told, 1);
	told = 99;
	assert_int_equal(mount_as("a", false), 0);
	assert_int_equal(told, 99); /* nothing was mounted */
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(told, 99);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(told, 0);
}

static void mount_of_an_unknown_name_says_create_first(void **state)
{
	(void)state;
	assert_int_equal(mount_as("a", true), -ENOENT);
	assert_string_equal(fx.f.err.text, "Volume a must be created before being mounted");
}

static void mount_of_a_vanished_mount_mounts_anew(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	fake_mounts_vanish(&fx.mounts, ROOT "/a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(fx.mounts.mounts, 2);
	assert_int_equal(count_of("a"), 2);
	fake_mounts_kill(&fx.mounts, ROOT "/a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(fx.mounts.mounts, 3);
	assert_int_equal(count_of("a"), 3);
}

static void six_parallel_mounts_are_one_mount_with_count_six(void **state)
{
	struct mounter m[6] = { 0 };

	(void)state;
	create("a");
	start_held_mounts(m, 6);
	fake_mounts_hold(&fx.mounts, false);
	join_mounts(m, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(m[i].rc, 0);
	assert_int_equal(count_of("a"), 6);
	assert_int_equal(fx.mounts.mounts, 1);
}

static void different_names_mount_in_parallel(void **state)
{
	struct mounter a = { 0 }, b = { 0 };

	(void)state;
	create("a");
	create("b");
	fake_mounts_hold(&fx.mounts, true);
	start_mounts(&a, 1, "a");
	start_mounts(&b, 1, "b");
	fake_mounts_wait_holding(&fx.mounts, 2);
	fake_mounts_hold(&fx.mounts, false);
	join_mounts(&a, 1);
	join_mounts(&b, 1);
	assert_false(a.rc || b.rc);
}

static void r5_bad_options_fail_at_mount_and_not_at_create(void **state)
{
	json_t *opts =
		json_pack("{s:s, s:s, s:i}", "source", "nfs://nas/x", "sauce", "x", "uid", 1);

	(void)state;
	assert_int_equal(volumes_create(fx.vs, "a", opts, &fx.f), 0);
	json_decref(opts);
	assert_int_not_equal(mount_as("a", false), 0);
	assert_true(fx.f.safe);
	assert_string_equal(fx.f.err.text, "Not allowed options: sauce");
	assert_int_equal(count_of("a"), 0);
}

/* --- R7, R11 --------------------------------------------------------------- */

static void r7_volume_mounted_with_an_id_stays_known(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(mount_as("a", true), 0);
}

static void r11_volume_mounted_without_an_id_is_forgotten(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", false), 0);
	assert_int_equal(mount_as("a", false), 0);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(count_of("a"), 1);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(count_of("a"), -1);
	assert_int_equal(mount_as("a", false), -ENOENT);
}

/* n more volumes in the state file, created and never mounted. */
static void fill_state(int n)
{
	json_t *j = json_loads(fx.saved, 0, NULL), *list = json_object_get(j, "Volumes");
	char name[32];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "v%d", i);
		json_array_append_new(list, json_pack("{s:s, s:{}}", "Name", name, "Opts"));
	}
	free(fx.saved);
	fx.saved = json_dumps(j, 0);
	json_decref(j);
}

static void r11_records_never_removed_do_not_pile_up(void **state)
{
	struct volume_info *all;
	char name[32];
	ssize_t n;

	(void)state;
	create("docker");
	assert_int_equal(mount_as("docker", true), 0);
	fill_state(VOLUMES_MAX - 1);
	restart();
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "new%d", i);
		create(name);
	}
	n = volumes_list(fx.vs, &all);
	assert_int_equal(n, VOLUMES_MAX);
	volume_infos_free(all, (size_t)n);
	assert_int_equal(count_of("docker"), 1);
	assert_int_equal(count_of("v0"), -1);
}

/* --- R8 -------------------------------------------------------------------- */

static void r8_list_get_and_path_answer_while_a_mount_hangs(void **state)
{
	struct mounter m = { 0 };
	struct volume_info *all;
	char *point;

	(void)state;
	create("a");
	create("b");
	start_held_mounts(&m, 1);
	assert_int_equal(volumes_list(fx.vs, &all), 2);
	volume_infos_free(all, 2);
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(volumes_path(fx.vs, "a", &point, &fx.f), -ENOENT);
	create("c"); /* neither do other names wait */
	fake_mounts_hold(&fx.mounts, false);
	join_mounts(&m, 1);
	assert_int_equal(volumes_path(fx.vs, "a", &point, &fx.f), 0);
	assert_string_equal(point, ROOT "/a");
	free(point);
}

/* --- R9, R10 --------------------------------------------------------------- */

static void r9_surplus_unmount_of_a_unique_id_hits_nobody(void **state)
{
	(void)state;
	create("vol_one");
	create("vol_two");
	assert_int_equal(mount_as("vol_one", false), 0);
	assert_int_equal(volumes_unmount(fx.vs, "vol_two", &fx.f), -ENOENT);
	assert_int_equal(volumes_unmount(fx.vs, "vol_two", &fx.f), -ENOENT);
	assert_int_equal(volumes_unmount(fx.vs, "vol_three", &fx.f), -ENOENT);
	assert_string_equal(fx.f.err.text, "Volume vol_three does not exist");
	assert_int_equal(count_of("vol_one"), 1);
	assert_true(fake_mounts_has(&fx.mounts, ROOT "/vol_one"));
}

static void r10_each_name_has_its_mount_with_locks_of_the_daemon(void **state)
{
	(void)state;
	create("a");
	create("b");
	assert_int_equal(mount_as("a", false), 0);
	assert_non_null(strstr(fx.mounts.options, "locks=daemon"));
	assert_int_equal(mount_as("b", false), 0);
	assert_non_null(strstr(fx.mounts.options, "locks=daemon"));
	assert_string_equal(fx.mounts.uri, "nfs://nas/export");
	assert_int_equal(fake_mounts_count(&fx.mounts), 2);
}

/* --- R12 ------------------------------------------------------------------- */

static void r12_failed_mount_leaves_no_count_and_no_mount(void **state)
{
	(void)state;
	create("a");
	fx.mounts.mount_fails = -EIO;
	assert_int_equal(mount_as("a", false), -EIO);
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), -ENOENT);
	assert_non_null(strstr(fx.f.err.text, "Volume a does not exist"));
	fx.mounts.mount_fails = 0;
	assert_int_equal(mount_as("a", false), 0);
	assert_int_equal(count_of("a"), 1);
}

static void r12_client_that_hangs_up_leaves_nothing(void **state)
{
	struct mounter m = { 0 };

	(void)state;
	create("a");
	start_held_mounts(&m, 1);
	m.gone = true;
	join_mounts(&m, 1); /* though the mount would hang for ever */
	assert_int_equal(m.rc, -ECANCELED);
	assert_int_equal(count_of("a"), 0);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
}

static void r12_client_gone_before_its_mount_was_usable_leaves_nothing(void **state)
{
	struct mounter m = { .gone = true };

	(void)state;
	create("a");
	start_mounts(&m, 1, "a");
	join_mounts(&m, 1);
	assert_int_equal(m.rc, -ECANCELED);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
	assert_int_equal(count_of("a"), 0);
}

static void r12_mount_of_one_who_hung_up_serves_who_still_waits(void **state)
{
	struct mounter m[3] = { 0 };

	(void)state;
	create("a");
	start_held_mounts(m, 1);
	start_mounts(m + 1, 2, "a");
	m[0].gone = true;
	m[1].gone = true;
	fake_mounts_hold(&fx.mounts, false);
	join_mounts(m, 3);
	assert_int_equal(m[2].rc, 0);
	assert_int_equal(count_of("a"), 1 + !m[0].rc + !m[1].rc);
	assert_true(fake_mounts_has(&fx.mounts, ROOT "/a"));
}

static void r12_mount_that_cannot_be_saved_is_undone(void **state)
{
	(void)state;
	create("a");
	fx.save_fails = -ENOSPC;
	assert_int_equal(mount_as("a", false), -ENOSPC);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
	fx.save_fails = 0;
	assert_int_equal(mount_as("a", false), 0);
	fx.save_fails = -ENOSPC;
	assert_int_equal(mount_as("a", false), -ENOSPC);
	assert_int_equal(count_of("a"), 1);
	assert_int_equal(fake_mounts_count(&fx.mounts), 1);
}

static void create_that_cannot_be_saved_creates_nothing(void **state)
{
	json_t *opts = json_pack("{s:s}", "source", "nfs://nas/x");

	(void)state;
	fx.save_fails = -EIO;
	assert_int_equal(volumes_create(fx.vs, "a", opts, &fx.f), -EIO);
	json_decref(opts);
	assert_int_equal(count_of("a"), -1);
}

/* --- unmount and remove ---------------------------------------------------- */

static void r13_last_unmount_waits_for_the_writing(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	fx.mounts.leaves_dirty = true; /* and succeeds though some is left: the daemon goes on */
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(fx.mounts.drain_ms, 777);
}

static void unmount_of_a_vanished_mount_says_so_and_counts_down(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(mount_as("a", true), 0);
	fake_mounts_vanish(&fx.mounts, ROOT "/a");
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), -ENOENT);
	assert_non_null(strstr(fx.f.err.text, "does not exist"));
	assert_int_equal(count_of("a"), 1);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), -ENOENT);
	assert_int_equal(count_of("a"), 0);
}

static void unmount_that_fails_keeps_the_count(void **state)
{
	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	fx.mounts.unmount_fails = -EPERM;
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), -EPERM);
	assert_int_equal(count_of("a"), 1);
	fx.mounts.unmount_fails = 0;
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
}

static void r7_remove_with_a_count_above_zero_unmounts(void **state)
{
	(void)state;
	create("a");
	for (int i = 0; i < 3; i++)
		assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(volumes_remove(fx.vs, "a", &fx.f), 0);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
	assert_int_equal(count_of("a"), -1);
	assert_int_equal(volumes_remove(fx.vs, "a", &fx.f), 0); /* unknown: success */
}

static void create_of_a_mounted_volume_disturbs_nothing(void **state)
{
	json_t *opts = json_pack("{s:s}", "source", "nfs://nas/other");

	(void)state;
	create("a");
	assert_int_equal(mount_as("a", true), 0);
	assert_int_equal(volumes_create(fx.vs, "a", opts, &fx.f), 0);
	json_decref(opts);
	assert_int_equal(count_of("a"), 1);
	assert_int_equal(fx.mounts.mounts, 1);
	assert_int_equal(volumes_unmount(fx.vs, "a", &fx.f), 0);
	assert_int_equal(mount_as("a", true), 0);
	assert_string_equal(fx.mounts.uri, "nfs://nas/other"); /* the new Opts replaced the old */
}

/* --- R14 ------------------------------------------------------------------- */

static void r14_nasty_names_are_refused_in_every_operation(void **state)
{
	static const char *const nasty[] = {
		"",
		".",
		"..",
		"../x",
		"a/b",
		"/etc",
		"a\\b",
		"a\nb",
		"a\x01",
		"\x7f",
		"a\tb",
		"\xc2\x85",
		"..\\..",
		"x/../../y",
		"driver-state.json",
		"driver-state.json.new",
	};
	struct volume_info i;
	char *point = NULL;
	char longest[VOLUME_NAME_MAX + 2];
	json_t *opts = json_pack("{s:s}", "source", "nfs://nas/x");

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(nasty); k++) {
		const char *n = nasty[k];

		assert_int_not_equal(volumes_create(fx.vs, n, opts, &fx.f), 0);
		assert_int_not_equal(mount_as(n, true), 0);
		assert_int_not_equal(volumes_unmount(fx.vs, n, &fx.f), 0);
		assert_int_not_equal(volumes_remove(fx.vs, n, &fx.f), 0);
		assert_int_not_equal(volumes_path(fx.vs, n, &point, &fx.f), 0);
		assert_int_not_equal(volumes_get(fx.vs, n, &i, &fx.f), 0);
		volumes_adopt(fx.vs, n);
	}
	memset(longest, 'n', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_int_not_equal(volumes_create(fx.vs, longest, opts, &fx.f), 0);
	longest[VOLUME_NAME_MAX] = '\0';
	assert_int_equal(volumes_create(fx.vs, longest, opts, &fx.f), 0);
	assert_int_equal(volumes_create(fx.vs, "\xc3\xbc_..a b'\"$(x)", opts, &fx.f), 0);
	json_decref(opts);
	assert_int_equal(fx.mounts.mounts, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_mount_counts_one),
		TEST(second_mount_counts_and_mounts_nothing),
		TEST(budget_is_told_of_a_mount_when_its_point_is_listed),
		TEST(mount_of_an_unknown_name_says_create_first),
		TEST(mount_of_a_vanished_mount_mounts_anew),
		TEST(six_parallel_mounts_are_one_mount_with_count_six),
		TEST(different_names_mount_in_parallel),
		TEST(r5_bad_options_fail_at_mount_and_not_at_create),
		TEST(r7_volume_mounted_with_an_id_stays_known),
		TEST(r11_volume_mounted_without_an_id_is_forgotten),
		TEST(r11_records_never_removed_do_not_pile_up),
		TEST(r8_list_get_and_path_answer_while_a_mount_hangs),
		TEST(r9_surplus_unmount_of_a_unique_id_hits_nobody),
		TEST(r10_each_name_has_its_mount_with_locks_of_the_daemon),
		TEST(r12_failed_mount_leaves_no_count_and_no_mount),
		TEST(r12_client_that_hangs_up_leaves_nothing),
		TEST(r12_client_gone_before_its_mount_was_usable_leaves_nothing),
		TEST(r12_mount_of_one_who_hung_up_serves_who_still_waits),
		TEST(r12_mount_that_cannot_be_saved_is_undone),
		TEST(create_that_cannot_be_saved_creates_nothing),
		TEST(r13_last_unmount_waits_for_the_writing),
		TEST(unmount_of_a_vanished_mount_says_so_and_counts_down),
		TEST(unmount_that_fails_keeps_the_count),
		TEST(r7_remove_with_a_count_above_zero_unmounts),
		TEST(create_of_a_mounted_volume_disturbs_nothing),
		TEST(r14_nasty_names_are_refused_in_every_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
