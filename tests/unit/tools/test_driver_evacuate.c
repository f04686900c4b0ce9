/* SPDX-License-Identifier: Apache-2.0 */
/* The end of all volumes: within its limit, whatever hangs, and what is known afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/volumes.h"

#define ROOT "/root"
#define LIMIT_MS 700
#define SLACK_MS 20000 /* of a busy machine; what hangs in these tests would do so for ever */

static struct fixture {
	struct fake_mounts mounts;
	struct mountopts_rules rules;
	struct volumes_env env;
	struct volumes *vs;
	json_t *dirty, *failed;
	struct failure f;
} fx;

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
	memset(&fx, 0, sizeof fx);
	log_level = LOG_LEVEL_ERROR;
	fake_mounts_init(&fx.mounts);
	fx.rules = (struct mountopts_rules){ .sources = sources, .nsources = 1 };
	fx.env = (struct volumes_env){ .root = ROOT,
				       .mounts = &fake_mounts_ops,
				       .mounts_arg = &fx.mounts,
				       .rules = &fx.rules,
				       .unmount_wait_ms = 3600000,
				       .save = save };
	fx.vs = volumes_new(&fx.env);
	return fx.vs ? 0 : -1;
}

static int finish(void **state)
{
	(void)state;
	volumes_free(fx.vs);
	fake_mounts_done(&fx.mounts);
	json_decref(fx.dirty);
	json_decref(fx.failed);
	return 0;
}

/* --- helpers --------------------------------------------------------------- */

static void create(const char *name)
{
	json_t *opts = json_pack("{s:s}", "source", "nfs://nas/export");

	assert_int_equal(volumes_create(fx.vs, name, opts, &fx.f), 0);
	json_decref(opts);
}

static int mount_as(const char *name, bool has_id)
{
	const struct caller caller = { .has_id = has_id };
	char *point = NULL;
	int rc = volumes_mount(fx.vs, name, &caller, &point, &fx.f);

	free(point);
	return rc;
}

static bool is_known(const char *name)
{
	struct volume_info i;

	if (volumes_get(fx.vs, name, &i, &fx.f))
		return false;
	assert_int_equal(i.count, 0);
	volume_info_done(&i);
	return true;
}

static void evacuate(unsigned limit_ms)
{
	uint64_t begun = clock_ms();

	volumes_close(fx.vs);
	assert_int_equal(mount_as("a", false), -ESHUTDOWN);
	volumes_evacuate(fx.vs, limit_ms, &fx.dirty, &fx.failed);
	assert_true(clock_ms() - begun < limit_ms + SLACK_MS);
	assert_int_equal(json_array_size(fx.failed), 0);
	assert_int_equal(fake_mounts_count(&fx.mounts), 0);
}

static void *mount_main(void *arg)
{
	const struct caller caller = { 0 };
	struct failure f;
	char *point = NULL;
	int *rc = arg;

	*rc = volumes_mount(fx.vs, "a", &caller, &point, &f);
	free(point);
	return NULL;
}

static void *unmount_main(void *arg)
{
	struct failure f;
	int *rc = arg;

	*rc = volumes_unmount(fx.vs, "a", &f);
	return NULL;
}

/* --- tests ----------------------------------------------------------------- */

static void all_is_unmounted_and_the_dirty_are_named(void **state)
{
	(void)state;
	for (char n[] = "a"; *n < 'a' + 20; ++*n) {
		create(n);
		assert_int_equal(mount_as(n, *n % 2), 0);
	}
	fx.mounts.leaves_dirty = true;
	evacuate(60000);
	assert_int_equal(json_array_size(fx.dirty), 20);
}

static void r7_what_docker_mounted_stays_known_and_volmans_is_forgotten(void **state)
{
	(void)state;
	create("docker");
	create("never_mounted");
	create("volman");
	assert_int_equal(mount_as("docker", true), 0);
	assert_int_equal(mount_as("volman", false), 0);
	evacuate(60000);
	assert_true(is_known("docker"));
	assert_true(is_known("never_mounted"));
	assert_false(is_known("volman"));
}

static void mount_that_hangs_is_cut_short(void **state)
{
	pthread_t thread;
	int rc = 0;

	(void)state;
	create("a");
	fake_mounts_hold(&fx.mounts, true);
	assert_int_equal(pthread_create(&thread, NULL, mount_main, &rc), 0);
	fake_mounts_wait_holding(&fx.mounts, 1);
	evacuate(60000);
	pthread_join(thread, NULL);
	assert_int_not_equal(rc, 0);
	assert_int_equal(json_array_size(fx.dirty), 0);
}

static void unmount_that_waits_for_a_hung_store_ends_in_time_and_is_named(void **state)
{
	pthread_t thread;
	int rc = -1;

	(void)state;
	create("a");
	assert_int_equal(mount_as("a", false), 0);
	fx.mounts.hold_unmount = true;
	assert_int_equal(pthread_create(&thread, NULL, unmount_main, &rc), 0);
	fake_mounts_wait_holding(&fx.mounts, 1);
	evacuate(LIMIT_MS);
	pthread_join(thread, NULL);
	assert_int_equal(rc, 0);
	assert_int_equal(json_array_size(fx.dirty), 1);
	assert_string_equal(json_string_value(json_array_get(fx.dirty, 0)), "a");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_is_unmounted_and_the_dirty_are_named),
		TEST(r7_what_docker_mounted_stays_known_and_volmans_is_forgotten),
		TEST(mount_that_hangs_is_cut_short),
		TEST(unmount_that_waits_for_a_hung_store_ends_in_time_and_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
