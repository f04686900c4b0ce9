/* SPDX-License-Identifier: Apache-2.0 */
/* The providers "local" and "existing". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "backends/providers/provider.h"
#include "common/cleanup.h"

#define MIB (1ULL << 20)
#define COPIES 8
#define DEEP 3000

static struct {
	char dir[64];
	struct provider *p;
	json_t *folder, *image;
	struct err err;
} fx;

static json_t *json(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	return j;
}

static int start(void **state)
{
	json_t *config;

	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-local.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	config = json_pack("{s:s, s:s+}", "type", "local", "root", fx.dir, "/root");
	assert_int_equal(provider_open("disk", config, &fx.p, &fx.err), 0);
	json_decref(config);
	fx.folder = json("{\"mode\":\"0750\"}");
	fx.image = json("{\"kind\":\"image\",\"size\":\"64m\"}");
	return 0;
}

static int stop(void **state)
{
	unsigned budget = 1000000;

	(void)state;
	provider_close(fx.p);
	json_decref(fx.folder);
	json_decref(fx.image);
	return local_delete_tree(AT_FDCWD, fx.dir, &budget, &fx.err);
}

static int create(const json_t *plan, const char *owner, uint64_t size)
{
	struct provider_ref ref = { .owner = owner, .plan = plan };
	struct provider_spec spec = { .size = size };
	json_t *handle = NULL;
	uint64_t got = 0;
	int rc = fx.p->ops->create(fx.p, &ref, &spec, &handle, &got, &fx.err);

	assert_true(rc || json_is_object(handle));
	json_decref(handle);
	return rc;
}

static int drop(const char *owner)
{
	struct provider_ref ref = { .owner = owner };

	return fx.p->ops->remove(fx.p, &ref, &fx.err);
}

static int get(const json_t *plan, const char *owner, struct provider_volume *v)
{
	struct provider_ref ref = { .owner = owner, .plan = plan };

	return fx.p->ops->get(fx.p, &ref, v, &fx.err);
}

static void path_of(const char *owner, char *buf, size_t cap)
{
	char name[PROVIDER_NAME_MAX];

	fx.p->ops->name_of(fx.p, owner, name);
	snprintf(buf, cap, "%s/root/%s", fx.dir, name);
}

static bool count(void *arg, const struct provider_volume *v)
{
	(void)v;
	++*(unsigned *)arg;
	return true;
}

static unsigned volumes(void)
{
	unsigned n = 0;

	assert_int_equal(fx.p->ops->list(fx.p, count, &n, &fx.err), 0);
	return n;
}

/* --- folders --------------------------------------------------------------- */

static void a_folder_comes_and_goes(void **state)
{
	struct provider_volume v;
	char path[200];
	struct stat st;

	(void)state;
	assert_int_equal(create(fx.folder, "a", 5 * MIB), 0);
	path_of("a", path, sizeof path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(get(fx.folder, "a", &v), 0);
	assert_int_equal(v.size, 5 * MIB);
	assert_true(v.created > 0);
	strcat(path, "/file");
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(create(fx.folder, "a", 5 * MIB), 0); /* a repeat leaves what is in it */
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(create(fx.image, "a", 64 * MIB), -EEXIST);
	assert_int_equal(get(fx.image, "a", &v), -EEXIST);
	assert_int_equal(volumes(), 1);
	assert_int_equal(drop("a"), 0);
	assert_int_equal(drop("a"), 0);
	assert_int_equal(get(fx.folder, "a", &v), -ENOENT);
	assert_int_equal(volumes(), 0);
}

/* Without an owner in the plan it is not left to root, whom apps are not. */
static void a_folder_is_whose_the_cell_acts_as(void **state)
{
	json_t *config = json_object(), *named = json("{\"uid\":3000,\"gid\":3001}");
	const struct provider_ref ref = { .owner = "i-1", .plan = fx.folder };
	const json_int_t uid = geteuid() ? geteuid() : 2000, gid = geteuid() ? getegid() : 2000;
	char path[200];
	struct stat st;

	(void)state;
	assert_int_equal(create(fx.folder, "i-1", 0), 0);
	path_of("i-1", path, sizeof path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
	assert_int_equal(fx.p->ops->mount_config(fx.p, &ref, config, &fx.err), 0);
	assert_int_equal(json_integer_value(json_object_get(config, "uid")), uid);
	assert_int_equal(json_integer_value(json_object_get(config, "gid")), gid);
	if (!geteuid()) {
		assert_int_equal(create(named, "i-2", 0), 0);
		path_of("i-2", path, sizeof path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, 3000);
		assert_int_equal(st.st_gid, 3001);
	}
	json_decref(config);
	json_decref(named);
}

static void sizes_grow_and_never_shrink(void **state)
{
	const struct {
		const json_t *plan;
		const char *owner;
	} rows[] = { { fx.folder, "f" }, { fx.image, "i" } };
	struct provider_volume v;
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct provider_ref ref = { .owner = rows[i].owner, .plan = rows[i].plan };

		assert_int_equal(fx.p->ops->grow(fx.p, &ref, MIB, &size, &fx.err), -ENOENT);
		assert_int_equal(create(rows[i].plan, rows[i].owner, 32 * MIB), 0);
		assert_int_equal(fx.p->ops->grow(fx.p, &ref, 48 * MIB, &size, &fx.err), 0);
		assert_int_equal(size, 48 * MIB);
		assert_int_equal(fx.p->ops->grow(fx.p, &ref, 48 * MIB, &size, &fx.err), 0);
		assert_int_equal(fx.p->ops->grow(fx.p, &ref, 32 * MIB, &size, &fx.err), -ERANGE);
		assert_int_equal(get(rows[i].plan, rows[i].owner, &v), 0);
		assert_int_equal(v.size, 48 * MIB);
	}
}

static void a_quota_that_is_required_is_there_or_refused(void **state)
{
	json_t *plan = json("{\"quota\":\"required\"}");
	int rc = create(plan, "q", 8 * MIB);
	struct provider_volume v;

	(void)state;
	if (rc) { /* the file system of the test has none */
		assert_int_equal(rc, -EINVAL);
		assert_non_null(strstr(fx.err.text, "quota: required"));
		assert_int_equal(volumes(), 0);
		assert_int_equal(drop("q"), 0);
	} else {
		assert_int_equal(get(plan, "q", &v), 0);
		assert_true(v.used != PROVIDER_UNKNOWN);
	}
	json_decref(plan);
}

static void *make_copy(void *arg)
{
	struct provider_ref ref = { .owner = "c", .plan = arg };
	struct provider_spec spec = { .size = 32 * MIB };
	json_t *handle = NULL;
	uint64_t size;
	struct err err;
	int rc = fx.p->ops->create(fx.p, &ref, &spec, &handle, &size, &err);

	json_decref(handle);
	return (void *)(intptr_t)rc;
}

static void copies_of_a_creation_end_in_one_volume(void **state)
{
	json_t *plans[] = { fx.folder, fx.image };

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		pthread_t t[COPIES];

		for (size_t i = 0; i < COPIES; i++)
			pthread_create(&t[i], NULL, make_copy, plans[k]);
		for (size_t i = 0; i < COPIES; i++) {
			void *rc;

			pthread_join(t[i], &rc);
			assert_null(rc);
		}
		assert_int_equal(volumes(), 1);
		assert_int_equal(drop("c"), 0);
	}
}

static void what_a_killed_creation_left_goes(void **state)
{
	char name[PROVIDER_NAME_MAX], path[200];

	(void)state;
	assert_int_equal(create(fx.folder, "other", 0), 0); /* makes the root */
	fx.p->ops->name_of(fx.p, "k", name);
	snprintf(path, sizeof path, "%s/root/.new-%s", fx.dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(drop("k"), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(create(fx.folder, "k", 0), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(volumes(), 2);
}

/* Deeper than any path, wider than one step. */
static void trees_of_any_shape_are_deleted(void **state)
{
	char path[200], file[40];
	int at, next;
	unsigned budget = 50;
	int rc, steps = 0;

	(void)state;
	snprintf(path, sizeof path, "%s/tree", fx.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	at = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(symlinkat("/etc", at, "link"), 0);
	for (int i = 0; i < DEEP; i++) {
		if (i < 40) {
			snprintf(file, sizeof file, "file%d", i);
			close(openat(at, file, O_CREAT | O_WRONLY, 0));
		}
		assert_int_equal(mkdirat(at, "d", i % 2 ? 0 : 0700), i ? 0 : 0);
		fchmodat(at, "d", 0700, 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	do {
		rc = local_delete_tree(AT_FDCWD, path, &budget, &fx.err);
		budget = 500;
		steps++;
	} while (rc == -EAGAIN);
	assert_int_equal(rc, 0);
	assert_true(steps > 3);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* --- images ---------------------------------------------------------------- */

static void an_image_has_one_host(void **state)
{
	struct provider_host a = { .address = "10.0.0.1" }, b = { .address = "10.0.0.2" };
	struct provider_host nobody = { NULL, NULL, NULL };
	struct provider_ref ref = { .owner = "i", .plan = fx.image };
	struct provider_ref bare = { .owner = "i" }; /* whose plan is not known */
	struct provider_mapping m;
	struct provider_volume v;

	(void)state;
	assert_int_equal(create(fx.image, "i", 32 * MIB), 0);
	assert_int_equal(fx.p->ops->map(fx.p, &ref, &nobody, &m, &fx.err), -EINVAL);
	assert_int_equal(fx.p->ops->map(fx.p, &bare, &nobody, &m, &fx.err), -EINVAL);
	assert_int_equal(fx.p->ops->map(fx.p, &ref, &a, &m, &fx.err), 0);
	assert_false(m.was_mapped);
	assert_int_equal(m.size, 32 * MIB);
	assert_memory_equal(m.source, "image:/", 7);
	assert_int_equal(fx.p->ops->map(fx.p, &ref, &a, &m, &fx.err), 0);
	assert_true(m.was_mapped);
	assert_int_equal(fx.p->ops->map(fx.p, &ref, &b, &m, &fx.err), -EBUSY);
	assert_string_equal(m.holder, "10.0.0.1");
	assert_true(m.holder_connected);
	assert_int_equal(get(fx.image, "i", &v), 0);
	assert_int_equal(v.nhosts, 1);
	assert_int_equal(drop("i"), -EBUSY);
	assert_int_equal(fx.p->ops->unmap(fx.p, &ref, &b, &fx.err), 0); /* it has nothing */
	assert_int_equal(drop("i"), -EBUSY);
	assert_int_equal(fx.p->ops->unmap(fx.p, &ref, &a, &fx.err), 0);
	assert_int_equal(fx.p->ops->unmap(fx.p, &ref, &a, &fx.err), 0);
	assert_int_equal(fx.p->ops->map(fx.p, &ref, &b, &m, &fx.err), 0);
	assert_int_equal(fx.p->ops->unmap(fx.p, &ref, &b, &fx.err), 0);
	assert_int_equal(drop("i"), 0);
}

static void the_fresh_mark_goes_for_ever(void **state)
{
	struct provider_ref ref = { .owner = "i", .plan = fx.image };
	struct provider_ref copy = { .owner = "c", .plan = fx.image };
	struct provider_spec spec = { .size = 64 * MIB };
	struct provider_volume v;
	json_t *handle;
	uint64_t size;
	char path[200], text[8] = "";
	int fd;

	(void)state;
	assert_int_equal(create(fx.image, "i", MIB), -EINVAL);
	assert_int_equal(create(fx.image, "i", 32 * MIB), 0);
	assert_int_equal(get(fx.image, "i", &v), 0);
	assert_true(v.fresh);
	assert_int_equal(fx.p->ops->set_used(fx.p, &ref, &fx.err), 0);
	assert_int_equal(fx.p->ops->set_used(fx.p, &ref, &fx.err), 0);
	assert_int_equal(create(fx.image, "i", 32 * MIB), 0);
	assert_int_equal(get(fx.image, "i", &v), 0);
	assert_false(v.fresh);
	path_of("i", path, sizeof path);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "data", 4, 9 * MIB), 4);
	close(fd);
	assert_int_equal(fx.p->ops->restore(fx.p, &ref, &copy, &spec, &handle, &size, &fx.err), 0);
	json_decref(handle);
	assert_int_equal(size, 64 * MIB);
	assert_int_equal(get(fx.image, "c", &v), 0);
	assert_false(v.fresh); /* it is a copy */
	assert_int_equal(v.size, 64 * MIB);
	path_of("c", path, sizeof path);
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, text, 4, 9 * MIB), 4);
	assert_string_equal(text, "data");
	close(fd);
}

static void a_folder_is_copied_with_all_that_is_in_it(void **state)
{
	struct provider_ref from = { .owner = "f", .plan = fx.folder };
	struct provider_ref to = { .owner = "t", .plan = fx.folder };
	char path[300], target[20] = "", text[8] = "";
	json_t *handle;
	struct stat st;
	int at, fd;

	(void)state;
	assert_int_equal(fx.p->ops->snapshot(fx.p, &from, &to, &handle, &fx.err), -ENOENT);
	assert_int_equal(create(fx.folder, "f", 5 * MIB), 0);
	path_of("f", path, sizeof path);
	at = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(at, "d", 0700), 0);
	assert_int_equal(symlinkat("../x", at, "d/link"), 0);
	assert_int_equal(mknodat(at, "d/fifo", S_IFIFO | 0600, 0), 0);
	fd = openat(at, "d/file", O_CREAT | O_WRONLY, 0640);
	assert_int_equal(pwrite(fd, "data", 4, MIB), 4);
	close(fd);
	assert_int_equal(fchmodat(at, "d", 0510, 0), 0);
	close(at);
	assert_int_equal(fx.p->ops->snapshot(fx.p, &from, &to, &handle, &fx.err), 0);
	json_decref(handle);
	assert_int_equal(fx.p->ops->snapshot(fx.p, &from, &to, &handle, &fx.err), 0);
	json_decref(handle);
	path_of("t", path, sizeof path);
	at = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(fstatat(at, "d", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0510);
	assert_true(readlinkat(at, "d/link", target, sizeof target - 1) > 0);
	assert_string_equal(target, "../x");
	assert_int_equal(fstatat(at, "d/fifo", &st, 0), 0);
	assert_true(S_ISFIFO(st.st_mode));
	fd = openat(at, "d/file", O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, MIB + 4);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(pread(fd, text, 4, MIB), 4);
	assert_string_equal(text, "data");
	close(fd);
	close(at);
	assert_int_equal(volumes(), 2);
	assert_int_equal(drop("t"), 0);
	assert_int_equal(drop("f"), 0);
}

static void what_is_not_ours_is_left_alone(void **state)
{
	char path[200];

	(void)state;
	assert_int_equal(create(fx.folder, "a", 0), 0);
	snprintf(path, sizeof path, "%s/root/lost+found", fx.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(volumes(), 1);
	assert_int_equal(fx.p->ops->remove_name(fx.p, "lost+found", &fx.err), -EINVAL);
	assert_int_equal(fx.p->ops->remove_name(fx.p, "../x", &fx.err), -EINVAL);
	assert_int_equal(access(path, F_OK), 0);
}

static void a_root_that_is_no_folder_is_told(void **state)
{
	struct provider_capacity c;
	char path[200];
	int fd;

	(void)state;
	assert_int_equal(fx.p->ops->health(fx.p, &fx.err), 0);
	assert_int_equal(fx.p->ops->capacity(fx.p, fx.folder, &c, &fx.err), 0);
	assert_true(c.total > 0 && c.free <= c.total);
	snprintf(path, sizeof path, "%s/root", fx.dir);
	assert_int_equal(rmdir(path), 0);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_true(fx.p->ops->health(fx.p, &fx.err) < 0);
	assert_non_null(strstr(fx.err.text, path));
	assert_true(create(fx.folder, "a", 0) < 0);
}

static void configurations_are_checked(void **state)
{
	static const char *const bad[] = {
		"{\"type\":\"local\"}",
		"{\"type\":\"local\",\"root\":\"rel\"}",
		"{\"type\":\"local\",\"root\":\"/a/../b\"}",
		"{\"type\":\"local\",\"root\":\"/a b\"}",
		"{\"type\":\"local\",\"root\":\"/a\",\"name_prefix\":\"a/b\"}",
		"{\"type\":\"local\",\"root\":\"/a\",\"frob\":1}",
		"{\"type\":\"existing\",\"root\":\"/a\"}",
		"{\"type\":\"none\"}",
		"{}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		json_t *c = json(bad[i]);
		struct provider *p;

		assert_int_equal(provider_open("x", c, &p, &fx.err), -EINVAL);
		assert_non_null(strstr(fx.err.text, "provider x"));
		json_decref(c);
	}
}

/* --- shares that exist ----------------------------------------------------- */

static void shares_are_composed_and_checked(void **state)
{
	static const struct {
		const char *plan, *params, *share; /* NULL: refused */
	} rows[] = {
		{ "{}", "{\"share\":\"srv/a\"}", "srv/a" },
		{ "{}", "{\"share\":\"srv/a\",\"subdirectory\":\"b/c\"}", "srv/a/b/c" },
		{ "{}", "{\"share\":\"[fd00::1]/a\"}", "[fd00::1]/a" },
		{ "{}", "{\"share\":\"[fd00::1]:/a\"}", NULL },
		{ "{}", "{}", NULL },
		{ "{}", "{\"share\":\"srv\"}", NULL },
		{ "{}", "{\"share\":\"srv/a?x\"}", NULL },
		{ "{}", "{\"share\":\"srv/a b\"}", NULL },
		{ "{}", "{\"share\":\"srv/..\"}", NULL },
		{ "{\"share\":\"srv/x\"}", "{}", "srv/x" },
		{ "{\"share\":\"srv/x\"}", "{\"subdirectory\":\"t1\"}", "srv/x/t1" },
		{ "{\"share\":\"srv/x\"}", "{\"subdirectory\":\"../t1\"}", NULL },
		{ "{\"share\":\"srv/x\"}", "{\"subdirectory\":\"/t1\"}", NULL },
		{ "{\"share\":\"srv/x\"}", "{\"share\":\"srv/y\"}", NULL },
		{ "{\"share\":\"srv/x\",\"allow_share\":true}", "{\"share\":\"srv/y\"}", "srv/y" },
	};
	json_t *config = json("{\"type\":\"existing\"}");
	struct provider *p;

	(void)state;
	assert_int_equal(provider_open("nfs", config, &p, &fx.err), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *plan = json(rows[i].plan), *params = json(rows[i].params), *handle = NULL;
		struct provider_ref ref = { .owner = "o", .plan = plan };
		struct provider_spec spec = { .params = params };
		json_t *mount = json_object();
		uint64_t size;
		char want[200];
		int rc = p->ops->create(p, &ref, &spec, &handle, &size, &fx.err);

		assert_int_equal(rc, rows[i].share ? 0 : -EINVAL);
		ref.handle = handle;
		if (!rc) {
			snprintf(want, sizeof want, "nfs://%s", rows[i].share);
			assert_int_equal(p->ops->mount_config(p, &ref, mount, &fx.err), 0);
			assert_string_equal(json_string_value(json_object_get(mount, "source")),
					    want);
		}
		json_decref(mount);
		json_decref(handle);
		json_decref(plan);
		json_decref(params);
	}
	json_decref(config);
	provider_close(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_folder_comes_and_goes),
		T(a_folder_is_whose_the_cell_acts_as),
		T(sizes_grow_and_never_shrink),
		T(a_quota_that_is_required_is_there_or_refused),
		T(copies_of_a_creation_end_in_one_volume),
		T(what_a_killed_creation_left_goes),
		T(trees_of_any_shape_are_deleted),
		T(an_image_has_one_host),
		T(the_fresh_mark_goes_for_ever),
		T(a_folder_is_copied_with_all_that_is_in_it),
		T(what_is_not_ours_is_left_alone),
		T(a_root_that_is_no_folder_is_told),
		T(configurations_are_checked),
		T(shares_are_composed_and_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
