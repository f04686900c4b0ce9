/* SPDX-License-Identifier: Apache-2.0 */
/* The OneFS provider and the simulated cluster: the whole life of volumes, and each operation with each fault at each
 * of its calls. What failed is repeated until it succeeds; then all is removed, and nothing may be left. */
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
#define CALLS_MAX 60  /* of one operation */
#define REPEATS_MAX 8 /* until it succeeds */
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

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void start_sim(const char *const *settings)
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

static int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-isi.XXXXXX");
	atomic_store(&rest_pause_ms, 1);
	return mkdtemp(fx.dir) ? 0 : -1;
}

static void forget(void)
{
	for (size_t i = 0; i < ARRAY_LEN(fx.handle); i++) {
		json_decref(fx.handle[i]);
		fx.handle[i] = NULL;
	}
}

static int teardown(void **state)
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
static json_t *control(const char *method, const char *path, const char *body)
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

static size_t count(const char *path, const char *key)
{
	json_t *answer = control("GET", path, NULL);
	size_t n = json_array_size(json_object_get(answer, key));

	json_decref(answer);
	return n;
}

static const char *real_path(const char *path)
{
	static char buf[1200];

	snprintf(buf, sizeof buf, "%s%s", fx.dir, path);
	return buf;
}

static void nothing_is_left(void)
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

static void open_provider(const char *more, const char *plan)
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

static void close_provider(void)
{
	provider_close(fx.p);
	fx.p = NULL;
}

static void new_owners(void)
{
	forget();
	fx.serial++;
	for (unsigned i = 0; i < ARRAY_LEN(fx.owner); i++)
		snprintf(fx.owner[i], sizeof fx.owner[i], "instance-%u-%u", fx.serial, i);
}

static struct provider_ref ref(unsigned i)
{
	return (struct provider_ref){ .owner = fx.owner[i],
				      .handle = fx.handle[i],
				      .plan = fx.plan };
}

static const struct provider_host host = { .address = "10.30.1.21" };

static void put_handle(unsigned i, json_t *handle)
{
	json_decref(fx.handle[i]);
	fx.handle[i] = handle;
}

static int do_create(void)
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

static int do_get(void)
{
	struct provider_volume v;
	const struct provider_ref r = ref(0);
	int rc = fx.p->ops->get(fx.p, &r, &v, &fx.err);

	return rc ? rc : v.size == GIB && provider_is_made_name("cf-", v.name) ? 0 : -EINVAL;
}

static int do_grow(void)
{
	const struct provider_ref r = ref(0);
	uint64_t size = 0;
	int rc = fx.p->ops->grow(fx.p, &r, 2 * GIB, &size, &fx.err);

	return rc ? rc : size == 2 * GIB ? 0 : -EINVAL;
}

static int do_map(void)
{
	const struct provider_ref r = ref(0);
	struct provider_mapping m;
	int rc = fx.p->ops->map(fx.p, &r, &host, &m, &fx.err);

	return rc ? rc : !strncmp(m.source, "nfs://nfs.example" BASE, 29) ? 0 : -EINVAL;
}

static int do_unmap(void)
{
	const struct provider_ref r = ref(0);

	return fx.p->ops->unmap(fx.p, &r, &host, &fx.err);
}

static int do_remove(void)
{
	const struct provider_ref r = ref(0);

	return fx.p->ops->remove(fx.p, &r, &fx.err);
}

static int do_snapshot(void)
{
	const struct provider_ref of = ref(0), r = { .owner = fx.owner[1], .plan = fx.plan };
	json_t *handle = NULL;
	int rc = fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err);

	if (!rc)
		put_handle(1, handle);
	return rc;
}

static int do_restore(void)
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

static bool found(void *arg, const struct provider_volume *v)
{
	struct search *s = arg;

	s->all++;
	s->found += !strcmp(v->name, s->name);
	return true;
}

static int do_list(void)
{
	struct search s = { .found = 0 };
	int rc;

	fx.p->ops->name_of(fx.p, fx.owner[0], s.name);
	rc = fx.p->ops->list(fx.p, found, &s, &fx.err);
	return rc ? rc : s.found == 1 && s.all == 1 ? 0 : -EINVAL;
}

static int do_health(void)
{
	struct provider_capacity c;
	int rc = fx.p->ops->capacity(fx.p, NULL, &c, &fx.err);

	if (rc)
		return rc;
	return c.total == PROVIDER_UNKNOWN ? -EINVAL : fx.p->ops->health(fx.p, &fx.err);
}

/* --- what the cluster shows --------------------------------------------------------------- */

static const char *path_of(unsigned i)
{
	return json_string_value(json_object_get(fx.handle[i], "path"));
}

/* The export of volume i, of which there is one; the caller's. */
static json_t *export_of(unsigned i)
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

static void volume_is_whole(unsigned i, uint64_t size)
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

static void write_file(unsigned i, const char *text)
{
	char path[1300];

	snprintf(path, sizeof path, "%s/file", real_path(path_of(i)));
	{
		AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	}
}

static void file_is(unsigned i, const char *text)
{
	char path[1300], buf[64] = "";

	snprintf(path, sizeof path, "%s/file", real_path(path_of(i)));
	{
		AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_int_equal(read(fd, buf, sizeof buf - 1), strlen(text));
	}
	assert_string_equal(buf, text);
}

/* --- each fault at each call ------------------------------------------------------------------ */

static void made(void)
{
	assert_int_equal(do_create(), 0);
}

static void made_and_mapped(void)
{
	made();
	assert_int_equal(do_map(), 0);
}

static void made_with_file(void)
{
	made();
	write_file(0, "one");
}

static void made_with_snapshot(void)
{
	made_with_file();
	assert_int_equal(do_snapshot(), 0);
	write_file(0, "two");
}

static void is_whole(void)
{
	volume_is_whole(0, GIB);
}

static void is_grown(void)
{
	volume_is_whole(0, 2 * GIB);
}

static void is_mapped(void)
{
	json_t *e = export_of(0);

	assert_true(isi_clients_has(json_object_get(e, "clients"), host.address));
	assert_int_equal(json_array_size(json_object_get(e, "clients")), 2);
	json_decref(e);
}

static void is_unmapped(void)
{
	json_t *e = export_of(0);

	assert_int_equal(json_array_size(json_object_get(e, "clients")), 1);
	json_decref(e);
	is_whole();
}

static void is_snapped(void)
{
	assert_int_equal(count(SNAPSHOTS, "snapshots"), 1);
	is_whole();
}

static void is_restored(void)
{
	volume_is_whole(2, GIB);
	file_is(2, "one");
}

static const struct operation {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
	void (*check)(void);
	bool reads;
} operations[] = {
	{ "create", NULL, do_create, is_whole, false },
	{ "get", made, do_get, is_whole, true },
	{ "grow", made, do_grow, is_grown, false },
	{ "map", made, do_map, is_mapped, false },
	{ "unmap", made_and_mapped, do_unmap, is_unmapped, false },
	{ "remove", made_with_file, do_remove, nothing_is_left, false },
	{ "snapshot", made_with_file, do_snapshot, is_snapped, false },
	{ "restore", made_with_snapshot, do_restore, is_restored, false },
	{ "list", made, do_list, is_whole, true },
	{ "health", made, do_health, is_whole, true },
};

/* CI's time is short: with SCALE=ci only the faults that say so, and those that read meet one of them. */
static const struct fault {
	const char *name;
	unsigned times, status, bytes, ms;
	bool ci;
} faults[] = {
	{ .name = "garbage", .times = 1, .ci = true },
	{ .name = "drop", .times = REST_TRIES, .ci = true },
	{ .name = "lost", .times = 1, .ci = true },
	{ .name = "lost", .times = REST_TRIES, .ci = true },
	{ .name = "half", .times = 1, .ci = true },
	{ .name = "html", .times = 1, .status = 500, .ci = true },
	{ .name = "drop", .times = 1 },
	{ .name = "cut", .times = 1, .bytes = 7 },
	{ .name = "status", .times = REST_TRIES, .status = 503 },
	{ .name = "status", .times = 1, .status = 500 },
	{ .name = "status", .times = 1, .status = 401 },
	{ .name = "html", .times = REST_TRIES, .status = 502 },
	{ .name = "empty", .times = 1, .status = 500 },
};

static bool is_ci(void)
{
	const char *scale = getenv("SCALE");

	return scale && !strcmp(scale, "ci");
}

static void set_fault(const struct fault *f, unsigned after)
{
	json_t *body = json_pack("{s:s, s:s, s:i, s:i}", "match", "", "fault", f->name, "after",
				 (int)after, "times", (int)f->times);
	char *text;

	if (f->status)
		json_object_set_new(body, "status", json_integer(f->status));
	if (f->bytes)
		json_object_set_new(body, "bytes", json_integer(f->bytes));
	if (f->ms)
		json_object_set_new(body, "ms", json_integer(f->ms));
	text = json_dumps(body, 0);
	json_decref(control("DELETE", "/_sim/faults", NULL));
	json_decref(control("POST", "/_sim/faults", text));
	free(text);
	json_decref(body);
}

/* How often the fault has come; it is gone then. */
static json_int_t clear_fault(void)
{
	json_t *answer = control("GET", "/_sim", NULL);
	json_int_t hits = json_integer_value(
		json_object_get(json_array_get(json_object_get(answer, "faults"), 0), "hits"));

	json_decref(answer);
	json_decref(control("DELETE", "/_sim/faults", NULL));
	return hits;
}

static void remove_all(void)
{
	assert_int_equal(do_unmap(), 0);
	for (unsigned i = 0; i < ARRAY_LEN(fx.owner); i++) {
		const struct provider_ref r = ref(i);

		if (fx.p->ops->remove(fx.p, &r, &fx.err))
			fail_msg("remove: %s", fx.err.text);
	}
	nothing_is_left();
}

/* False: the operation has no call of that number. */
static bool run_one(const struct operation *op, const struct fault *f, unsigned after,
		    const char *config)
{
	unsigned tries = 0;
	int rc;

	snprintf(fx.what, sizeof fx.what, "%s, %s x%u at call %u", op->name, f->name, f->times,
		 after);
	new_owners();
	open_provider(config, NULL);
	if (op->prepare)
		op->prepare();
	close_provider(); /* the operation begins with a login */
	open_provider(config, NULL);
	set_fault(f, after);
	while ((rc = op->run()) != 0) {
		/* Of a login, 401 says that the password is wrong. */
		if (rc != -EAGAIN && rc != -EPROTO && (rc != -EACCES || f->status != 401))
			fail_msg("%s: %d %s", fx.what, rc, fx.err.text);
		if (++tries == REPEATS_MAX)
			fail_msg("%s, again and again: %s", fx.what, fx.err.text);
	}
	if (!clear_fault()) {
		remove_all();
		close_provider();
		return false;
	}
	op->check();
	remove_all();
	close_provider();
	return true;
}

static bool is_due(const struct operation *op, const struct fault *f)
{
	return !is_ci() || (f->ci && (!op->reads || f == faults));
}

static unsigned run_faults(const struct operation *op)
{
	unsigned runs = 0;

	for (size_t k = 0; k < ARRAY_LEN(faults); k++) {
		if (!is_due(op, &faults[k]))
			continue;
		for (unsigned n = 0; run_one(op, &faults[k], n, MANAGED "10"); n++) {
			assert_true(n < CALLS_MAX);
			runs++;
		}
	}
	return runs;
}

static void each_operation_survives_each_fault(void **state)
{
	unsigned runs = 0;

	(void)state;
	start_sim(NULL);
	for (size_t i = 0; i < ARRAY_LEN(operations); i++)
		runs += run_faults(&operations[i]);
	print_message("%u runs with a fault\n", runs);
	assert_true(runs > (is_ci() ? 200 : 800));
}

static void creation_and_removal_survive_silence(void **state)
{
	static const struct fault silence = { .name = "slow", .times = 1, .ms = 130 };
	unsigned runs = 0;

	(void)state;
	start_sim(NULL);
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		const struct operation *op = &operations[i];

		if (op->run != do_create && op->run != do_remove)
			continue;
		for (unsigned n = 0; run_one(op, &silence, n, MANAGED "0.1"); n++)
			runs++;
	}
	assert_true(runs > 15);
}

/* What the broker does with a creation that it gives up: remove(), without a handle. */
static bool give_up(int (*run)(void), void (*prepare)(void), const struct fault *f, unsigned after)
{
	bool hit;

	snprintf(fx.what, sizeof fx.what, "%s at call %u", f->name, after);
	new_owners();
	open_provider(MANAGED "10", NULL);
	if (prepare)
		prepare();
	set_fault(f, after);
	run();
	hit = clear_fault() > 0;
	forget();
	remove_all();
	close_provider();
	return hit;
}

static void creation_that_is_given_up_leaves_nothing(void **state)
{
	static const struct fault list[] = { { .name = "lost", .times = REST_TRIES },
					     { .name = "half", .times = REST_TRIES },
					     { .name = "garbage", .times = 1 },
					     { .name = "status", .times = 9, .status = 500 } };
	static const char *const settings[] = { "export_delay_ms=5", NULL };
	unsigned runs = 0;

	(void)state;
	start_sim(settings);
	for (size_t k = 0; k < ARRAY_LEN(list); k++) {
		for (unsigned n = 0; give_up(do_create, NULL, &list[k], n); n++)
			runs++;
		for (unsigned n = 0; give_up(do_restore, made_with_snapshot, &list[k], n); n++)
			runs++;
	}
	print_message("%u runs that were given up\n", runs);
	assert_true(runs > 60);
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

/* --- lives ---------------------------------------------------------------------------------------- */

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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(part_that_cannot_be_copied_fails_the_restore),
		T(creation_that_is_given_up_leaves_nothing),
		T(life_is_the_same_on_all_releases),
		T(no_licence_for_quotas_is_told),
		T(each_operation_survives_each_fault),
		T(creation_and_removal_survive_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
