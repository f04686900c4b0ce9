/* SPDX-License-Identifier: Apache-2.0 */
/* volumes_test.h - a table of volumes on a fake mounter, and its state as a restart would find it */
#ifndef TESTS_UNIT_TOOLS_VOLUMES_TEST_H
#define TESTS_UNIT_TOOLS_VOLUMES_TEST_H

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

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/volumes.h"

#define ROOT "/root"

static struct fixture {
	struct fake_mounts mounts;
	struct mountopts_rules rules;
	struct volumes_env env;
	struct volumes *vs;
	char *saved; /* what a restart would find */
	int save_fails;
	unsigned saves;
	pthread_mutex_t save_lock;
	struct failure f;
} fx;

static inline int save(void *arg, const char *text)
{
	struct fixture *x = arg;

	pthread_mutex_lock(&x->save_lock);
	x->saves++;
	if (!x->save_fails) {
		free(x->saved);
		x->saved = strdup(text);
	}
	pthread_mutex_unlock(&x->save_lock);
	return x->save_fails;
}

static inline int fresh(void **state)
{
	static const char *const sources[] = { "nfs://" };

	(void)state;
	memset(&fx, 0, sizeof fx);
	log_level = LOG_LEVEL_ERROR;
	pthread_mutex_init(&fx.save_lock, NULL);
	fake_mounts_init(&fx.mounts);
	fx.rules = (struct mountopts_rules){ .sources = sources, .nsources = 1 };
	fx.env = (struct volumes_env){ .root = ROOT,
				       .reserved = "driver-state.json",
				       .mounts = &fake_mounts_ops,
				       .mounts_arg = &fx.mounts,
				       .rules = &fx.rules,
				       .unmount_wait_ms = 777,
				       .save = save,
				       .save_arg = &fx };
	fx.vs = volumes_new(&fx.env);
	return fx.vs ? 0 : -1;
}

static inline int finish(void **state)
{
	(void)state;
	volumes_free(fx.vs);
	fake_mounts_done(&fx.mounts);
	free(fx.saved);
	return 0;
}

/* --- helpers --------------------------------------------------------------- */

static inline void create(const char *name)
{
	json_t *opts = json_pack("{s:s}", "source", "nfs://nas/export");

	assert_int_equal(volumes_create(fx.vs, name, opts, &fx.f), 0);
	json_decref(opts);
}

static inline int mount_as(const char *name, bool has_id)
{
	const struct caller caller = { .has_id = has_id };
	char *point = NULL, want[300];
	int rc = volumes_mount(fx.vs, name, &caller, &point, &fx.f);

	if (!rc) {
		snprintf(want, sizeof want, ROOT "/%s", name);
		assert_string_equal(point, want);
	}
	free(point);
	return rc;
}

static inline int count_of(const char *name)
{
	struct volume_info i;
	int n;

	if (volumes_get(fx.vs, name, &i, &fx.f))
		return -1;
	n = (int)i.count;
	assert_true((*i.point != '\0') == (n > 0));
	volume_info_done(&i);
	return n;
}

/* As if the driver had been killed and started again. */
static inline void restart(void)
{
	AUTO_FREE char *text = fx.saved ? strdup(fx.saved) : NULL;
	json_t *state = text ? json_loads(text, 0, NULL) : NULL;
	struct err err;

	volumes_free(fx.vs);
	fx.vs = volumes_new(&fx.env);
	assert_int_equal(volumes_restore(fx.vs, state, &err), 0);
	json_decref(state);
}

struct mounter {
	pthread_t thread;
	const char *name;
	_Atomic bool gone;
	int rc;
};

static inline bool is_gone(void *arg)
{
	return ((struct mounter *)arg)->gone;
}

static inline void *mounter_main(void *arg)
{
	struct mounter *m = arg;
	const struct caller caller = { .gone = is_gone, .arg = m };
	struct failure f;
	char *point = NULL;

	m->rc = volumes_mount(fx.vs, m->name, &caller, &point, &f);
	free(point);
	return NULL;
}

static inline void start_mounts(struct mounter *m, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		m[i].name = name;
		assert_int_equal(pthread_create(&m[i].thread, NULL, mounter_main, &m[i]), 0);
	}
}

/* Of "a": one of them is under way until fake_mounts_hold() lets it go. */
static inline void start_held_mounts(struct mounter *m, size_t n)
{
	fake_mounts_hold(&fx.mounts, true);
	start_mounts(m, n, "a");
	fake_mounts_wait_holding(&fx.mounts, 1);
}

static inline void join_mounts(struct mounter *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pthread_join(m[i].thread, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, finish)

#endif
