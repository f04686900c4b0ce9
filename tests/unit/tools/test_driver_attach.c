/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of attach.h on the way to a mount: mapped, formatted, one cell at a time, and what an array may answer. */
#include "tests/unit/tools/attach_fixture.h"

/* --- one volume ------------------------------------------------------------ */

static void other_sources_pass_through(void **state)
{
	(void)state;
	assert_int_equal(mount_with("nfs://nas/export", NULL, 0, NULL), 0);
	assert_string_equal(fx.world->uri, "nfs://nas/export");
	assert_int_equal(unmount_at(0), 0);
	calls_are("mount unmount ");
	assert_false(file_is_there(fx.state));
}

static void first_mount_maps_formats_marks_then_mounts(void **state)
{
	char want[PATH_MAX], log[128], line[512] = "";
	json_t *volume =
		json_pack("{s:s, s:{s:i, s:i}}", "owner", "two", "plan", "uid", 2000, "gid", 2001);
	FILE *in;

	(void)state;
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 0, NULL), 0);
	json_decref(volume);
	calls_are("map get set_used mount ");
	snprintf(want, sizeof want, "ext4:%s/LINK", fx.array->dir);
	assert_string_equal(fx.world->uri, want);
	assert_int_equal(formats(), 1);
	snprintf(log, sizeof log, "%s.log", fx.mkfs);
	in = fopen(log, "re");
	assert_non_null(fgets(line, sizeof line, in));
	fclose(in);
	assert_non_null(strstr(line, "root_owner=2000:2001"));
	assert_non_null(strstr(line, "nodiscard"));
	held_by("cell-a");
	assert_true(file_is_there(fx.state));
}

static void last_unmount_gives_back(void **state)
{
	char link[PATH_MAX];

	(void)state;
	assert_int_equal(mount_at(0), 0);
	free(fake_array_calls(fx.array));
	assert_int_equal(unmount_at(0), 0);
	calls_are("unmount unmap:cell-a ");
	held_by("");
	snprintf(link, sizeof link, "%s/LINK", fx.array->dir);
	assert_false(file_is_there(link));
	assert_false(file_is_there(fx.state));
}

static void formatted_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mount_at(0), 0);
		assert_true(fx.world->data_was_there == (i > 0));
		assert_int_equal(unmount_at(0), 0);
	}
	assert_int_equal(formats(), 1);
}

static void names_of_a_volume_share_its_mapping(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(mount_at(1), 0);
	calls_are("map get set_used mount mount ");
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_int_equal(unmount_at(1), 0);
	held_by("");
	calls_are("unmount unmount unmap:cell-a ");
}

static void *mount_main(void *arg)
{
	const struct mount_spec m = { .uri = "scaleio://gold/one", .options = "", .point = arg };
	struct failure f;

	return attach_ops.mount(fx.attach, &m, NULL, &f) ? arg : NULL;
}

static void *unmount_main(void *arg)
{
	struct failure f;

	return attach_ops.unmount(fx.attach, arg, 0, NULL, NULL, &f) ? arg : NULL;
}

static void all_at_once(void *(*run)(void *arg))
{
	pthread_t threads[POINTS];
	void *failed;

	for (int i = 0; i < POINTS; i++)
		pthread_create(&threads[i], NULL, run, (void *)points[i]);
	for (int i = 0; i < POINTS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void parallel_mounts_map_once(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		all_at_once(mount_main);
		held_by("cell-a");
		assert_int_equal(fx.array->maps, round + 1);
		all_at_once(unmount_main);
		held_by("");
		assert_int_equal(fx.array->unmaps, round + 1);
	}
	assert_int_equal(formats(), 1);
}

static void failed_mount_gives_back(void **state)
{
	(void)state;
	fx.world->mount_fails = -EIO;
	assert_int_equal(mount_at(0), -EIO);
	held_by("");
	assert_false(file_is_there(fx.state));
}

static void failed_unmount_keeps_it(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.world->unmount_fails = -EIO;
	assert_int_equal(unmount_at(0), -EIO);
	held_by("cell-a");
	fx.world->unmount_fails = 0;
	assert_int_equal(unmount_at(0), 0);
	held_by("");
}

/* --- A3: formats ----------------------------------------------------------- */

static void format_rules(void **state)
{
	static const struct {
		bool fresh;
		const char *magic, *mount_time;
		int rc;
		unsigned formats;
		const char *sentence;
	} cases[] = {
		{ true, NULL, NULL, 0, 1, "" },     /* new, blank */
		{ true, "S\357", NULL, 0, 1, "" },  /* killed before set_used(): made anew */
		{ false, "S\357", NULL, 0, 0, "" }, /* killed after it */
		{ false, "S\357", "\1", 0, 0, "" }, /* used */
		{ false, NULL, NULL, -EMEDIUMTYPE, 0, "no file system and is not new" },
		{ true, "S\357", "\1", -EMEDIUMTYPE, 0, "counts as new, but holds" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_array_reset(fx.array);
		forget_formats();
		fx.array->fresh = cases[i].fresh;
		if (cases[i].magic)
			poke(1080, cases[i].magic, 2);
		if (cases[i].mount_time)
			poke(1024 + 44, cases[i].mount_time, 1);
		assert_int_equal(mount_at(0), cases[i].rc);
		assert_int_equal(formats(), cases[i].formats);
		assert_true(!cases[i].rc || fx.f.safe);
		if (cases[i].rc)
			assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		else
			assert_int_equal(unmount_at(0), 0);
		held_by("");
	}
}

static void not_mounted_before_the_mark_is_gone(void **state)
{
	(void)state;
	fx.array->set_used_fails = -EIO;
	assert_int_not_equal(mount_at(0), 0);
	assert_false(fx.world->mounted[0]);
	fx.array->set_used_fails = 0;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(formats(), 2);
}

static void lost_answer_of_the_mark_formats_no_second_time(void **state)
{
	(void)state;
	fx.array->set_used_lost = true;
	assert_int_equal(mount_at(0), -EAGAIN);
	assert_true(fx.f.safe);
	held_by("");
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(formats(), 1);
}

static void failing_mkfs_is_told(void **state)
{
	(void)state;
	write_mkfs("echo broken >&2; exit 3");
	assert_int_equal(mount_at(0), -EIO);
	assert_true(fx.f.safe);
	assert_true(fx.array->fresh);
	held_by("");
	write_mkfs("");
	assert_int_equal(mount_at(0), 0);
}

/* --- another cell ---------------------------------------------------------- */

static void *let_go_main(void *arg)
{
	uint64_t end = clock_ms() + PATIENCE_MS;
	unsigned polls = 0;

	while (polls < 3 && clock_ms() < end) {
		pthread_mutex_lock(&fx.array->lock);
		polls = fx.array->polls;
		pthread_mutex_unlock(&fx.array->lock);
		usleep(1000);
	}
	fake_array_hold(fx.array, "");
	return arg;
}

static void waits_until_another_cell_lets_go(void **state)
{
	pthread_t thread;

	(void)state;
	fake_array_hold(fx.array, "cell-b");
	pthread_create(&thread, NULL, let_go_main, NULL);
	assert_int_equal(mount_at(0), 0);
	pthread_join(thread, NULL);
	held_by("cell-a");
	assert_true(fx.array->polls >= 3);
}

static void wait_little(struct attach_config *c)
{
	c->block_wait_ms = 30;
}

static void names_the_holder_that_does_not_let_go(void **state)
{
	(void)state;
	restart_with(wait_little);
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_at(0), -EBUSY);
	assert_true(fx.f.safe);
	assert_non_null(strstr(fx.f.err.text, "name-of-cell-b"));
	held_by("cell-b");
	assert_int_equal(fx.array->unmaps, 0);
	assert_false(file_is_there(fx.state));
	assert_int_equal(formats(), 0);
}

static bool wanted_until_polls(void *arg)
{
	unsigned polls;

	(void)arg;
	pthread_mutex_lock(&fx.array->lock);
	polls = fx.array->polls;
	pthread_mutex_unlock(&fx.array->lock);
	return polls < 3;
}

static void r12_wait_ends_when_nobody_waits(void **state)
{
	const struct cancel cancel = { wanted_until_polls, NULL };

	(void)state;
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_with("scaleio://gold/one", NULL, 0, &cancel), -ECANCELED);
	held_by("cell-b");
	assert_false(file_is_there(fx.state));
}

static void fence_after_nothing(struct attach_config *c)
{
	c->block_wait_ms = 30;
	c->fence = true;
	c->fence_s = 60;
}

static void fenced_only_by_policy(void **state)
{
	static const struct {
		bool policy, connected;
		int gone_s; /* 0: the array does not tell */
		bool fenced;
	} cases[] = { { false, false, 100000, false },
		      { true, true, 100000, false },
		      { true, false, 30, false },
		      { true, false, 0, false },
		      { true, false, 90, true } };

	(void)state;
	restart_with(wait_little);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_array_reset(fx.array);
		if (cases[i].policy)
			restart_with(fence_after_nothing);
		fake_array_hold(fx.array, "cell-b");
		fx.array->other_connected = cases[i].connected;
		fx.array->other_since =
			cases[i].gone_s ? (uint64_t)time(NULL) - (uint64_t)cases[i].gone_s : 0;
		assert_int_equal(mount_at(0), cases[i].fenced ? 0 : -EBUSY);
		held_by(cases[i].fenced ? "cell-a" : "cell-b");
	}
	calls_are("map unmap:cell-b map get set_used mount ");
}

static void fence_after_a_second(struct attach_config *c)
{
	c->fence = true;
	c->fence_s = 1;
}

/* Where the array tells no time, the driver has to have seen it, without a break. */
static void silence_is_measured_where_the_array_tells_no_time(void **state)
{
	uint64_t begun = clock_ms();

	(void)state;
	restart_with(fence_after_a_second);
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_at(0), 0);
	assert_true(clock_ms() - begun >= 990);
	held_by("cell-a");
}

static void fence_text(void **state)
{
	struct err err;
	unsigned s;
	bool on;

	(void)state;
	assert_int_equal(attach_parse_fence("never", &on, &s, &err), 0);
	assert_false(on);
	assert_int_equal(attach_parse_fence("disconnected:300", &on, &s, &err), 0);
	assert_true(on && s == 300);
	assert_int_equal(attach_parse_fence("disconnected:0", &on, &s, &err), -EINVAL);
	assert_int_equal(attach_parse_fence("disconnected:1h", &on, &s, &err), -EINVAL);
	assert_int_equal(attach_parse_fence("always", &on, &s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'always'"));
}

/* --- the array's answers --------------------------------------------------- */

static void refusals_are_told_at_once_and_leave_nothing(void **state)
{
	static const struct {
		int rc;
		const char *sentence;
	} cases[] = { { -ENOENT, "does not exist" },
		      { -EACCES, "refuses this cell" },
		      { -EINVAL, "cannot give the volume" },
		      { -EOPNOTSUPP, "cannot be mapped" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fx.array->map_fails = cases[i].rc;
		assert_int_equal(mount_at(0), cases[i].rc);
		assert_true(fx.f.safe);
		assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		assert_null(strstr(fx.f.err.text, "secret.host"));
		calls_are("map ");
		assert_false(file_is_there(fx.state));
	}
}

static void array_that_is_away_is_asked_again(void **state)
{
	(void)state;
	fx.array->map_lost = true;
	assert_int_equal(mount_at(0), 0);
	calls_are("map map get set_used mount ");
}

static void array_that_stays_away(void **state)
{
	(void)state;
	restart_with(wait_little);
	fx.array->map_fails = -EAGAIN;
	assert_int_equal(mount_at(0), -EAGAIN);
	assert_true(fx.f.safe);
	/* It may have been done all the same. */
	assert_true(fx.array->unmaps > 0);
}

static void device_that_does_not_come_or_is_short(void **state)
{
	(void)state;
	fx.array->no_device = true;
	assert_int_equal(mount_at(0), -ETIMEDOUT);
	assert_true(fx.f.safe);
	held_by("");
	fx.array->no_device = false;
	fx.array->tells_size = 2 * FAKE_ARRAY_SIZE;
	assert_int_equal(mount_at(0), -EIO);
	assert_non_null(strstr(fx.f.err.text, "smaller"));
	held_by("");
	assert_int_equal(formats(), 0);
}

static void device_that_does_not_go_is_let_be(void **state)
{
	(void)state;
	fx.array->device_stays = true;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	assert_false(file_is_there(fx.state));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(other_sources_pass_through),
		T(first_mount_maps_formats_marks_then_mounts),
		T(last_unmount_gives_back),
		T(formatted_once),
		T(names_of_a_volume_share_its_mapping),
		T(parallel_mounts_map_once),
		T(failed_mount_gives_back),
		T(failed_unmount_keeps_it),
		T(format_rules),
		T(not_mounted_before_the_mark_is_gone),
		T(lost_answer_of_the_mark_formats_no_second_time),
		T(failing_mkfs_is_told),
		T(waits_until_another_cell_lets_go),
		T(names_the_holder_that_does_not_let_go),
		T(r12_wait_ends_when_nobody_waits),
		T(fenced_only_by_policy),
		T(silence_is_measured_where_the_array_tells_no_time),
		T(fence_text),
		T(refusals_are_told_at_once_and_leave_nothing),
		T(array_that_is_away_is_asked_again),
		T(array_that_stays_away),
		T(device_that_does_not_come_or_is_short),
		T(device_that_does_not_go_is_let_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
