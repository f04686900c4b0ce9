/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_sim_test.h - what the tests of the OneFS provider with the simulated cluster share */
#ifndef TESTS_UNIT_ONEFS_SIM_TEST_H
#define TESTS_UNIT_ONEFS_SIM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "tools/sim/sim.h"

#define GIB (1024ULL * 1024 * 1024)
#define BASE "/ifs/data/persifs"
#define FIXED "\"networks\": [\"10.30.0.0/16\", \"cell-7.example\"]"
#define MANAGED "\"clients\": \"managed\", \"timeout\": "
#define EXPORTS "/platform/2/protocols/nfs/exports"
#define QUOTAS "/platform/1/quota/quotas"
#define SNAPSHOTS "/platform/1/snapshot/snapshots"

static struct {
	char dir[64], url[64];
	struct sim *sim;
	struct rest *control;
	struct provider *p;
	json_t *plan;
	struct err err;
	/* volumes of the test that runs: one, a snapshot of it, what is restored from that */
	char owner[3][64];
	json_t *handle[3];
	unsigned serial;
	char what[128]; /* is being tried */
} fx;

/* --- the cluster ------------------------------------------------------------------- */

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void start_sim(const char *const *settings)
{
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0",
				  .root = fx.dir,
				  .settings = settings };
	const char *urls[1] = { fx.url };
	const struct rest_config rc = { .urls = urls, .nurls = 1 };
	struct err err = { "" };

	if (sim_start(&sim_onefs, &cfg, &fx.sim, &err))
		fail_msg("%s", err.text);
	snprintf(fx.url, sizeof fx.url, "http://127.0.0.1:%u", sim_port(fx.sim));
	assert_int_equal(rest_new(&rc, &fx.control, &err), 0);
}

static inline int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-isi.XXXXXX");
	atomic_store(&rest_pause_ms, 1);
	return mkdtemp(fx.dir) ? 0 : -1;
}

static inline void forget(void)
{
	for (size_t i = 0; i < ARRAY_LEN(fx.handle); i++) {
		json_decref(fx.handle[i]);
		fx.handle[i] = NULL;
	}
}

static inline int teardown(void **state)
{
	(void)state;
	forget();
	json_decref(fx.plan);
	provider_close(fx.p);
	rest_free(fx.control);
	sim_stop(fx.sim);
	return nftw(fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The answer of a control or plain call, the caller's. */
static inline json_t *control(const char *method, const char *path, const char *body)
{
	const struct rest_request q = { .call = "control",
					.method = method,
					.path = path,
					.user = "admin",
					.password = "password",
					.body = body,
					.safe = true };
	struct rest_reply a;
	json_t *json;

	if (rest_call(fx.control, &q, &a, &fx.err) || a.status >= 300)
		fail_msg("%s %s: %s", method, path, fx.err.text);
	json = json_incref(a.json);
	rest_reply_done(&a);
	return json;
}

static inline size_t count(const char *path, const char *key)
{
	json_t *answer = control("GET", path, NULL);
	size_t n = json_array_size(json_object_get(answer, key));

	json_decref(answer);
	return n;
}

static inline const char *real_path(const char *path)
{
	static char buf[1200];

	snprintf(buf, sizeof buf, "%s%s", fx.dir, path);
	return buf;
}

static inline void nothing_is_left(void)
{
	size_t exports = count(EXPORTS, "exports"), quotas = count(QUOTAS, "quotas");
	size_t snapshots = count(SNAPSHOTS, "snapshots");

	if (exports || quotas || snapshots)
		fail_msg("%s: %zu exports, %zu quotas, %zu snapshots are left", fx.what, exports,
			 quotas, snapshots);
	/* An empty folder can be removed; the next creation makes it anew. */
	if (rmdir(real_path(BASE)) && errno != ENOENT)
		fail_msg("%s: %s", real_path(BASE), strerror(errno));
}

/* --- the provider -------------------------------------------------------------------- */

static inline void open_provider(const char *more, const char *plan)
{
	char text[1024];
	json_t *config;
	struct onefs *o;

	snprintf(text, sizeof text,
		 "{\"type\": \"onefs\", \"url\": \"%s\", \"user\": \"admin\", \"password\": "
		 "\"password\", \"nfs_host\": \"nfs.example\", %s}",
		 fx.url, more);
	config = json_loads(text, 0, NULL);
	assert_non_null(config);
	if (provider_open("isi", config, &fx.p, &fx.err))
		fail_msg("%s", fx.err.text);
	json_decref(config);
	json_decref(fx.plan);
	fx.plan = json_loads(plan ? plan : "{}", 0, NULL);
	if (fx.p->ops->check_plan(fx.p, fx.plan, &fx.err))
		fail_msg("%s", fx.err.text);
	o = CONTAINER_OF(fx.p, struct onefs, base);
	o->pause_ms = 1;
	o->settle_ms = 1;
}

static inline void close_provider(void)
{
	provider_close(fx.p);
	fx.p = NULL;
}

static inline void new_owners(void)
{
	forget();
	fx.serial++;
	for (unsigned i = 0; i < ARRAY_LEN(fx.owner); i++)
		snprintf(fx.owner[i], sizeof fx.owner[i], "instance-%u-%u", fx.serial, i);
}

static inline struct provider_ref ref(unsigned i)
{
	return (struct provider_ref){ .owner = fx.owner[i],
				      .handle = fx.handle[i],
				      .plan = fx.plan };
}

static const struct provider_host host = { .address = "10.30.1.21" };

static inline void put_handle(unsigned i, json_t *handle)
{
	json_decref(fx.handle[i]);
	fx.handle[i] = handle;
}

static inline int do_create(void)
{
	const struct provider_spec spec = { .size = GIB };
	const struct provider_ref r = { .owner = fx.owner[0], .plan = fx.plan };
	json_t *handle = NULL;
	uint64_t size = 0;
	int rc = fx.p->ops->create(fx.p, &r, &spec, &handle, &size, &fx.err);

	if (rc)
		return rc;
	put_handle(0, handle);
	if (!strstr(json_string_value(json_object_get(handle, "path")), BASE))
		return -EINVAL;
	return json_object_get(handle, "quota") && size != GIB ? -EINVAL : 0;
}

static inline int do_get(void)
{
	struct provider_volume v;
	const struct provider_ref r = ref(0);
	int rc = fx.p->ops->get(fx.p, &r, &v, &fx.err);

	return rc ? rc : v.size == GIB && provider_is_made_name("cf-", v.name) ? 0 : -EINVAL;
}

static inline int do_grow(void)
{
	const struct provider_ref r = ref(0);
	uint64_t size = 0;
	int rc = fx.p->ops->grow(fx.p, &r, 2 * GIB, &size, &fx.err);

	return rc ? rc : size == 2 * GIB ? 0 : -EINVAL;
}

static inline int do_map(void)
{
	const struct provider_ref r = ref(0);
	struct provider_mapping m;
	int rc = fx.p->ops->map(fx.p, &r, &host, &m, &fx.err);

	return rc ? rc : !strncmp(m.source, "nfs://nfs.example" BASE, 29) ? 0 : -EINVAL;
}

static inline int do_unmap(void)
{
	const struct provider_ref r = ref(0);

	return fx.p->ops->unmap(fx.p, &r, &host, &fx.err);
}

static inline int do_remove(void)
{
	const struct provider_ref r = ref(0);

	return fx.p->ops->remove(fx.p, &r, &fx.err);
}

static inline int do_snapshot(void)
{
	const struct provider_ref of = ref(0), r = { .owner = fx.owner[1], .plan = fx.plan };
	json_t *handle = NULL;
	int rc = fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err);

	if (!rc)
		put_handle(1, handle);
	return rc;
}

static inline int do_restore(void)
{
	const struct provider_spec spec = { .size = GIB };
	const struct provider_ref of = ref(1), r = { .owner = fx.owner[2], .plan = fx.plan };
	json_t *handle = NULL;
	uint64_t size;
	int rc = fx.p->ops->restore(fx.p, &of, &r, &spec, &handle, &size, &fx.err);

	if (!rc)
		put_handle(2, handle);
	return rc;
}

struct search {
	char name[PROVIDER_NAME_MAX];
	unsigned found, all;
};

static inline bool found(void *arg, const struct provider_volume *v)
{
	struct search *s = arg;

	s->all++;
	s->found += !strcmp(v->name, s->name);
	return true;
}

static inline int do_list(void)
{
	struct search s = { .found = 0 };
	int rc;

	fx.p->ops->name_of(fx.p, fx.owner[0], s.name);
	rc = fx.p->ops->list(fx.p, found, &s, &fx.err);
	return rc ? rc : s.found == 1 && s.all == 1 ? 0 : -EINVAL;
}

static inline int do_health(void)
{
	struct provider_capacity c;
	int rc = fx.p->ops->capacity(fx.p, NULL, &c, &fx.err);

	if (rc)
		return rc;
	return c.total == PROVIDER_UNKNOWN ? -EINVAL : fx.p->ops->health(fx.p, &fx.err);
}

/* --- what the cluster shows --------------------------------------------------------------- */

static inline const char *path_of(unsigned i)
{
	return json_string_value(json_object_get(fx.handle[i], "path"));
}

/* The export of volume i, of which there is one; the caller's. */
static inline json_t *export_of(unsigned i)
{
	json_t *answer = control("GET", EXPORTS, NULL), *found_one = NULL;
	const json_t *list = json_object_get(answer, "exports");

	for (size_t k = 0; k < json_array_size(list); k++) {
		json_t *e = json_array_get(list, k);

		if (strcmp(json_string_value(json_array_get(json_object_get(e, "paths"), 0)),
			   path_of(i)) != 0)
			continue;
		assert_null(found_one);
		found_one = json_incref(e);
	}
	json_decref(answer);
	assert_non_null(found_one);
	return found_one;
}

static inline void volume_is_whole(unsigned i, uint64_t size)
{
	json_t *e = export_of(i), *q = control("GET", QUOTAS, NULL);
	const json_t *list = json_object_get(q, "quotas"),
		     *mapping = json_object_get(e, "map_root");
	struct stat st;
	unsigned quotas = 0;

	assert_true(isi_clients_has(json_object_get(e, "clients"), "localhost"));
	assert_true(json_is_true(json_object_get(mapping, "enabled")));
	assert_non_null(strstr(json_string_value(json_object_get(e, "description")), fx.owner[i]));
	for (size_t k = 0; k < json_array_size(list); k++) {
		const json_t *one = json_array_get(list, k);

		if (strcmp(json_string_value(json_object_get(one, "path")), path_of(i)) != 0)
			continue;
		quotas++;
		assert_int_equal(json_integer_value(json_object_get(
					 json_object_get(one, "thresholds"), "hard")),
				 size);
		assert_true(json_is_true(json_object_get(one, "container")));
		assert_true(json_is_false(json_object_get(one, "include_snapshots")));
	}
	assert_int_equal(quotas, size ? 1 : 0);
	assert_int_equal(stat(real_path(path_of(i)), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0770);
	if (!geteuid()) {
		assert_int_equal(st.st_uid, 2000);
		assert_int_equal(st.st_gid, 2000);
	}
	json_decref(e);
	json_decref(q);
}

static inline void write_file(unsigned i, const char *text)
{
	char path[1300];

	snprintf(path, sizeof path, "%s/file", real_path(path_of(i)));
	{
		AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	}
}

static inline void file_is(unsigned i, const char *text)
{
	char path[1300], buf[64] = "";

	snprintf(path, sizeof path, "%s/file", real_path(path_of(i)));
	{
		AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_int_equal(read(fd, buf, sizeof buf - 1), strlen(text));
	}
	assert_string_equal(buf, text);
}

static inline void made(void)
{
	assert_int_equal(do_create(), 0);
}

static inline void made_with_file(void)
{
	made();
	write_file(0, "one");
}

static inline void made_with_snapshot(void)
{
	made_with_file();
	assert_int_equal(do_snapshot(), 0);
	write_file(0, "two");
}

static inline void is_restored(void)
{
	volume_is_whole(2, GIB);
	file_is(2, "one");
}

static inline void remove_all(void)
{
	assert_int_equal(do_unmap(), 0);
	for (unsigned i = 0; i < ARRAY_LEN(fx.owner); i++) {
		const struct provider_ref r = ref(i);

		if (fx.p->ops->remove(fx.p, &r, &fx.err))
			fail_msg("remove: %s", fx.err.text);
	}
	nothing_is_left();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
