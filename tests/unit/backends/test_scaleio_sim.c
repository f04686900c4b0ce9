/* SPDX-License-Identifier: Apache-2.0 */
/* The ScaleIO provider against the simulated gateway: the life of a volume in each release, and each fault
 * of the simulator at each call of each operation. */
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

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"
#include "tools/sim/sim.h"

#define GIB ((uint64_t)1 << 30)
#define SDC1 "2b7e1c90-4d55-4e0b-9a61-000000000001" /* the simulator's, in the other case */
#define SDC2 "2B7E1C90-4D55-4E0B-9A61-000000000002"
#define OWNER "6b1c0f9e-instance"
#define SLOW_MS 500
#define CALLS_MAX 40 /* of one operation */

static struct {
	struct sim *sim;
	struct rest *control;
	struct provider *p;
	char url[64];
	bool impatient;
	json_t *plan, *handle, *snap, *copy;
	struct err err;
} fx;

/* --- fixture --------------------------------------------------------------- */

static json_t *control(const char *method, const char *path, json_t *body_take)
{
	AUTO_FREE char *text = body_take ? json_dumps(body_take, 0) : NULL;
	const struct rest_request q = {
		.call = "control", .method = method, .path = path, .body = text, .safe = true
	};
	struct rest_reply a;
	json_t *json;

	if (rest_call(fx.control, &q, &a, &fx.err))
		fail_msg("%s", fx.err.text);
	if (a.status != 200)
		fail_msg("%s %s: %ld %s", method, path, a.status, a.body);
	json = json_incref(a.json);
	rest_reply_done(&a);
	json_decref(body_take);
	return json;
}

static void tell(const char *method, const char *path, json_t *body_take)
{
	json_decref(control(method, path, body_take));
}

static void open_provider(void)
{
	json_t *config = json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", "scaleio", "url", fx.url,
				   "user", "admin", "password", "password", "timeout",
				   fx.impatient ? "0.3" : "20");

	provider_close(fx.p);
	fx.p = NULL;
	if (provider_open("array1", config, &fx.p, &fx.err))
		fail_msg("%s", fx.err.text);
	json_decref(config);
}

static void begin(const char *const *settings)
{
	const struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .settings = settings };
	struct rest_config rest = { .nurls = 1 };
	const char *url = fx.url;

	memset(&fx, 0, sizeof fx);
	atomic_store(&rest_pause_ms, 1);
	if (sim_start(&sim_scaleio, &cfg, &fx.sim, &fx.err))
		fail_msg("%s", fx.err.text);
	snprintf(fx.url, sizeof fx.url, "http://127.0.0.1:%u", sim_port(fx.sim));
	rest.urls = &url;
	if (rest_new(&rest, &fx.control, &fx.err))
		fail_msg("%s", fx.err.text);
	fx.plan = json_pack("{s:s, s:s}", "protection_domain", "pd1", "pool", "pool1");
	open_provider();
}

static int finish(void **state)
{
	(void)state;
	provider_close(fx.p);
	rest_free(fx.control);
	if (fx.sim)
		sim_stop(fx.sim);
	json_decref(fx.plan);
	json_decref(fx.handle);
	json_decref(fx.snap);
	json_decref(fx.copy);
	memset(&fx, 0, sizeof fx);
	return 0;
}

/* --- the operations -------------------------------------------------------- */

static struct provider_ref ref_of(const char *owner, const json_t *handle)
{
	return (struct provider_ref){ .owner = owner, .handle = handle, .plan = fx.plan };
}

static const struct provider_host host1 = { .sdc_guid = SDC1 }, host2 = { .sdc_guid = SDC2 };

static int do_create(void)
{
	const struct provider_spec spec = { .size = 12 * GIB };
	struct provider_ref r = ref_of(OWNER, NULL);
	json_t *handle = NULL;
	uint64_t size = 0;
	int rc = fx.p->ops->create(fx.p, &r, &spec, &handle, &size, &fx.err);

	if (rc)
		return rc;
	assert_int_equal(size, 16 * GIB);
	json_decref(fx.handle);
	fx.handle = handle;
	return 0;
}

static int do_get(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);
	struct provider_volume v;
	int rc = fx.p->ops->get(fx.p, &r, &v, &fx.err);

	if (!rc) {
		assert_int_equal(v.size, 16 * GIB);
		assert_true(v.fresh);
	}
	return rc;
}

static int do_get_by_name(void)
{
	struct provider_ref r = ref_of(OWNER, NULL);
	struct provider_volume v;

	return fx.p->ops->get(fx.p, &r, &v, &fx.err);
}

static int do_map(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);
	struct provider_mapping m;
	int rc = fx.p->ops->map(fx.p, &r, &host1, &m, &fx.err);
	char device[128];

	if (rc)
		return rc;
	snprintf(device, sizeof device, "/dev/disk/by-id/emc-vol-%s-%s",
		 rest_text(fx.handle, "system"), rest_text(fx.handle, "id"));
	assert_string_equal(m.device, device);
	assert_int_equal(m.size, 16 * GIB);
	return 0;
}

static int do_map_limited(void)
{
	int rc;

	json_object_set_new(fx.plan, "iops_limit", json_integer(500));
	json_object_set_new(fx.plan, "bandwidth_limit", json_string("10m"));
	rc = do_map();
	json_object_del(fx.plan, "iops_limit");
	json_object_del(fx.plan, "bandwidth_limit");
	return rc;
}

static int do_unmap(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);

	return fx.p->ops->unmap(fx.p, &r, &host1, &fx.err);
}

static int do_set_used(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);

	return fx.p->ops->set_used(fx.p, &r, &fx.err);
}

static int do_grow(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);
	uint64_t size = 0;
	int rc = fx.p->ops->grow(fx.p, &r, 17 * GIB, &size, &fx.err);

	if (!rc)
		assert_int_equal(size, 24 * GIB);
	return rc;
}

static int do_snapshot(void)
{
	struct provider_ref of = ref_of(OWNER, fx.handle), r = ref_of("snap", NULL);
	json_t *handle = NULL;
	int rc = fx.p->ops->snapshot(fx.p, &of, &r, &handle, &fx.err);

	if (rc)
		return rc;
	json_decref(fx.snap);
	fx.snap = handle;
	return 0;
}

static int do_restore(void)
{
	const struct provider_spec spec = { .size = 24 * GIB };
	struct provider_ref of = ref_of("snap", fx.snap), r = ref_of("copy", NULL);
	json_t *handle = NULL;
	uint64_t size = 0;
	int rc = fx.p->ops->restore(fx.p, &of, &r, &spec, &handle, &size, &fx.err);

	if (rc)
		return rc;
	assert_int_equal(size, 24 * GIB);
	json_decref(fx.copy);
	fx.copy = handle;
	return 0;
}

static int do_remove(void)
{
	struct provider_ref r = ref_of(OWNER, fx.handle);

	return fx.p->ops->remove(fx.p, &r, &fx.err);
}

static int do_remove_by_name(void)
{
	char name[PROVIDER_NAME_MAX];

	fx.p->ops->name_of(fx.p, OWNER, name);
	return fx.p->ops->remove_name(fx.p, name, &fx.err);
}

static int do_health(void)
{
	return fx.p->ops->health(fx.p, &fx.err);
}

static int do_capacity(void)
{
	struct provider_capacity c;
	int rc = fx.p->ops->capacity(fx.p, fx.plan, &c, &fx.err);

	if (!rc)
		assert_true(c.free <= c.total && c.total != PROVIDER_UNKNOWN);
	return rc;
}

static bool add_one(void *arg, const struct provider_volume *v)
{
	assert_true(provider_is_made_name("cf-", v->name));
	++*(unsigned *)arg;
	return true;
}

static unsigned listed;

static int do_list(void)
{
	listed = 0;
	return fx.p->ops->list(fx.p, add_one, &listed, &fx.err);
}

/* --- what the array has ---------------------------------------------------- */

static unsigned volumes(void)
{
	json_t *array = control("GET", "/_sim/scaleio/array", NULL);
	unsigned n = (unsigned)json_array_size(json_object_get(array, "volumes"));

	assert_true(json_is_array(json_object_get(array, "volumes")));
	json_decref(array);
	return n;
}

static void must(int rc)
{
	if (rc)
		fail_msg("%d: %s", rc, fx.err.text);
}

#define LEFT_MAX 4

static struct {
	struct provider_volume of[LEFT_MAX];
	unsigned n;
} left;

static bool note_left(void *arg, const struct provider_volume *v)
{
	(void)arg;
	assert_true(left.n < LEFT_MAX);
	left.of[left.n++] = *v;
	return true;
}

static void remove_all(void)
{
	struct provider_ref r = ref_of(OWNER, NULL);

	left.n = 0;
	must(fx.p->ops->list(fx.p, note_left, NULL, &fx.err));
	for (unsigned i = 0; i < left.n; i++) {
		if (left.of[i].nhosts)
			must(fx.p->ops->unmap(fx.p, &r, &host1, &fx.err));
		must(fx.p->ops->remove_name(fx.p, left.of[i].name, &fx.err));
	}
	assert_int_equal(volumes(), 0);
}

static struct provider_volume now(const char *owner)
{
	struct provider_ref r = ref_of(owner, NULL);
	struct provider_volume v;

	must(fx.p->ops->get(fx.p, &r, &v, &fx.err));
	return v;
}

/* --- each fault at each call ----------------------------------------------- */

enum level { NOTHING, CREATED, MAPPED, USED, SNAPPED };

static void prepare(enum level level)
{
	remove_all();
	if (level >= CREATED)
		must(do_create());
	if (level >= MAPPED)
		must(do_map());
	if (level >= USED)
		must(do_set_used());
	if (level >= SNAPPED)
		must(do_snapshot());
}

static void one_volume(void)
{
	assert_int_equal(volumes(), 1);
	assert_true(now(OWNER).size == 16 * GIB);
}

static void one_mapped(void)
{
	one_volume();
	assert_int_equal(now(OWNER).nhosts, 1);
}

static void none_mapped(void)
{
	one_volume();
	assert_int_equal(now(OWNER).nhosts, 0);
}

static void limits_are_set(void)
{
	AUTO_FREE char *text = NULL;
	json_t *array = control("GET", "/_sim/scaleio/array", NULL);

	one_mapped();
	text = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	assert_non_null(strstr(text, "500"));
	assert_non_null(strstr(text, "10240"));
}

static void one_used(void)
{
	one_mapped();
	assert_false(now(OWNER).fresh);
}

static void one_grown(void)
{
	assert_int_equal(volumes(), 1);
	assert_true(now(OWNER).size == 24 * GIB);
}

static void one_snapshot(void)
{
	assert_int_equal(volumes(), 2);
	assert_false(now("snap").fresh);
}

static void one_copy(void)
{
	assert_int_equal(volumes(), 3);
	assert_true(now("copy").size == 24 * GIB);
	assert_true(now("snap").size == 16 * GIB);
}

static void none(void)
{
	assert_int_equal(volumes(), 0);
}

static void one_listed(void)
{
	assert_int_equal(listed, 1);
}

static const struct operation {
	const char *name;
	enum level before;
	bool login; /* begins with a new session, and knows nothing of pools */
	bool reads;
	int (*run)(void);
	void (*check)(void);
} operations[] = {
	{ "create", NOTHING, true, false, do_create, one_volume },
	{ "get", CREATED, false, true, do_get, one_volume },
	{ "get by name", CREATED, false, true, do_get_by_name, one_volume },
	{ "list", CREATED, false, true, do_list, one_listed },
	{ "map", CREATED, false, false, do_map, one_mapped },
	{ "map with limits", CREATED, true, false, do_map_limited, limits_are_set },
	{ "unmap", MAPPED, false, false, do_unmap, none_mapped },
	{ "set used", MAPPED, false, false, do_set_used, one_used },
	{ "grow", CREATED, false, false, do_grow, one_grown },
	{ "snapshot", USED, false, false, do_snapshot, one_snapshot },
	{ "restore", SNAPPED, false, false, do_restore, one_copy },
	{ "remove", CREATED, false, false, do_remove, none },
	{ "remove by name", CREATED, false, false, do_remove_by_name, none },
	{ "capacity", CREATED, true, true, do_capacity, one_volume },
	{ "health", CREATED, false, true, do_health, one_volume },
};

static void set_fault(const char *fault, unsigned status, unsigned bytes, unsigned ms,
		      unsigned after)
{
	tell("POST", "/_sim/faults",
	     json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "match", "", "fault", fault, "after",
		       (int)after, "times", 1, "status", (int)(status ? status : 503), "bytes",
		       (int)bytes, "ms", (int)ms));
}

static bool fault_came(void)
{
	json_t *all = control("GET", "/_sim", NULL);
	const json_t *f = json_array_get(json_object_get(all, "faults"), 0);
	bool came = !f || json_integer_value(json_object_get(f, "hits")) > 0;

	json_decref(all);
	return came;
}

static unsigned runs;

/* True: the operation has so many calls that the fault came. */
static bool fail_at(const struct operation *op, const char *fault, unsigned status, unsigned ms,
		    unsigned at)
{
	bool came;
	int rc;

	fx.impatient = false;
	if (!at || !op->reads) /* a call that reads leaves what it found */
		prepare(op->before);
	fx.impatient = ms;
	if (op->login)
		open_provider();
	set_fault(fault, status, 3, ms, at);
	rc = op->run();
	came = fault_came();
	tell("DELETE", "/_sim/faults", NULL);
	fx.impatient = false;
	if (ms)
		open_provider(); /* a busy machine must not make the repeat too slow */
	if (!came) {
		if (!ms)
			must(rc);
		return false;
	}
	runs++;
	if (rc && rc != -EAGAIN && rc != -EPROTO)
		fail_msg("%s, %s at call %u: %d %s", op->name, fault, at, rc, fx.err.text);
	rc = op->run();
	if (rc)
		fail_msg("%s again after %s at call %u: %d %s", op->name, fault, at, rc,
			 fx.err.text);
	op->check();
	return true;
}

static const struct {
	const char *fault;
	unsigned status;
} faults[] = {
	{ "lost", 0 },
	{ "garbage", 0 },
	{ "html", 502 },
	{ "half", 0 },
	/* those below differ from them in the transport only */
	{ "drop", 0 },
	{ "cut", 0 },
	{ "empty", 503 },
	{ "status", 500 },
	{ "status", 503 },
};
#define FAULTS_SHORT 4

static void each_fault_at_each_call_is_survived(void **state)
{
	const char *scale = getenv("SCALE");
	size_t n = scale && !strcmp(scale, "ci") ? FAULTS_SHORT : ARRAY_LEN(faults);

	(void)state;
	begin(NULL);
	for (size_t o = 0; o < ARRAY_LEN(operations); o++)
		for (size_t f = 0; f < n; f++) {
			unsigned at = 0;

			while (fail_at(&operations[o], faults[f].fault, faults[f].status, 0, at))
				assert_true(++at < CALLS_MAX);
			assert_true(at > 0);
		}
	remove_all();
	printf("faults: %u runs\n", runs);
}

static void answers_that_come_too_late_are_survived(void **state)
{
	unsigned at = 0;

	(void)state;
	begin(NULL);
	while (fail_at(&operations[0], "slow", 0, SLOW_MS, at))
		assert_true(++at < CALLS_MAX);
	assert_true(at > 4);
	remove_all();
}

/* --- the life of a volume -------------------------------------------------- */

static void live(const char *pool, bool snapshots)
{
	struct provider_ref r = ref_of(OWNER, NULL);
	struct provider_mapping m;
	json_t *first;

	json_object_set_new(fx.plan, "pool", json_string(pool));
	must(do_health());
	must(do_capacity());
	must(do_create());
	first = json_incref(fx.handle);
	must(do_create());
	assert_true(json_equal(first, fx.handle));
	json_decref(first);
	must(do_get());
	assert_true(now(OWNER).fresh);
	tell("POST", "/_sim/tokens", json_pack("{s:b}", "drop", 1)); /* as by a restart */
	must(do_map());
	must(do_map());
	assert_int_equal(fx.p->ops->map(fx.p, &r, &host2, &m, &fx.err), -EBUSY);
	assert_string_equal(m.holder_guid, "2B7E1C90-4D55-4E0B-9A61-000000000001");
	assert_true(m.holder_connected);
	assert_int_equal(do_remove(), -EBUSY);
	must(fx.p->ops->unmap(fx.p, &r, &host2, &fx.err)); /* is not mapped there */
	assert_int_equal(now(OWNER).nhosts, 1);
	tell("POST", "/_sim/clock", json_pack("{s:i}", "advance", 700)); /* idle for too long */
	must(do_set_used());
	must(do_set_used());
	assert_false(now(OWNER).fresh);
	must(do_create()); /* a copy of the call that was long on its way */
	assert_int_equal(volumes(), 1);
	must(do_grow());
	must(do_grow());
	must(do_unmap());
	must(do_unmap());
	if (snapshots) {
		must(do_snapshot());
		assert_int_equal(do_restore(), 0);
		assert_int_equal(volumes(), 3);
	} else {
		assert_int_equal(do_snapshot(), -EOPNOTSUPP);
	}
	must(do_list());
	assert_int_equal(listed, snapshots ? 3 : 1);
	remove_all();
	must(do_remove());
	assert_int_equal(do_get_by_name(), -ENOENT);
}

static void a_volume_lives_in_each_release(void **state)
{
	static const struct {
		const char *version, *token, *expired;
	} releases[] = {
		{ "version=1.32", "token=quoted", "expired=401" },
		{ "version=2.0", "token=bare", "expired=403" },
		{ "version=2.6", "token=newline", "expired=403" },
		{ "version=3.0", "token=quoted", "expired=401" },
		{ "version=3.6", "token=bare", "expired=401" },
		{ "version=4.5", "token=quoted", "expired=401" },
		{ "version=5.0", "token=quoted", "expired=401" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(releases); i++) {
		const char *settings[] = { releases[i].version,
					   releases[i].token,
					   releases[i].expired,
					   "same_size=refuse",
					   "rounding=refuse",
					   "remove_delay_ms=20",
					   NULL };

		begin(settings);
		live("pool1", true);
		finish(NULL);
	}
}

static void a_volume_lives_in_an_erasure_coded_pool(void **state)
{
	static const char *const settings[] = { "version=5.0", "rounding=refuse", NULL };
	const struct provider_spec spec = { .size = 3 * GIB + 1 };
	struct provider_ref r = ref_of(OWNER, NULL);
	uint64_t size;

	(void)state;
	begin(settings);
	json_object_set_new(fx.plan, "protection_domain", json_string("pd-ec"));
	json_object_set_new(fx.plan, "pool", json_string("ec1"));
	r.plan = fx.plan;
	must(do_capacity());
	must(fx.p->ops->create(fx.p, &r, &spec, &fx.handle, &size, &fx.err));
	assert_int_equal(size, 4 * GIB);
	must(fx.p->ops->grow(fx.p, &r, 5 * GIB, &size, &fx.err));
	assert_int_equal(size, 5 * GIB);
	assert_int_equal(do_snapshot(), -EOPNOTSUPP);
	must(do_remove());
	assert_int_equal(volumes(), 0);
}

static void hosts_have_to_be_approved_where_the_system_says_so(void **state)
{
	static const char *const settings[] = { "restricted=yes", NULL };

	(void)state;
	begin(settings);
	tell("POST", "/_sim/scaleio/sdc", json_pack("{s:s, s:b}", "guid", SDC1, "approved", 0));
	must(do_create());
	assert_int_equal(do_map(), -EACCES);
	tell("POST", "/_sim/scaleio/sdc",
	     json_pack("{s:s, s:b, s:s}", "guid", SDC1, "approved", 1, "state", "Disconnected"));
	assert_int_equal(do_map(), -EAGAIN);
	tell("POST", "/_sim/scaleio/sdc",
	     json_pack("{s:s, s:s}", "guid", SDC1, "state", "Connected"));
	must(do_map());
	/* A host that has gone takes its mappings along. */
	tell("POST", "/_sim/scaleio/sdc", json_pack("{s:s, s:b}", "guid", SDC1, "remove", 1));
	must(do_unmap());
	must(do_remove());
}

static void nvme_hosts_map_too(void **state)
{
	static const char *const settings[] = { "version=4.5", NULL };
	const struct provider_host nvme = { .nqn = "nqn.2014-08.org.nvmexpress:uuid:1" };
	struct provider_ref r = ref_of(OWNER, NULL);
	struct provider_mapping m;

	(void)state;
	begin(settings);
	must(do_create());
	assert_int_equal(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err), -EINVAL);
	must(sgw_post(scaleio_of(fx.p), "create host", false,
		      json_pack("{s:s, s:s}", "name", "cell-7", "nqn", nvme.nqn), NULL, NULL,
		      &fx.err, "/api/types/Host/instances"));
	must(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err));
	assert_false(m.was_mapped);
	must(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err));
	assert_true(m.was_mapped);
	assert_int_equal(fx.p->ops->map(fx.p, &r, &host1, &m, &fx.err), -EBUSY);
	assert_string_equal(m.holder_nqn, nvme.nqn);
	must(fx.p->ops->unmap(fx.p, &r, &nvme, &fx.err));
	must(fx.p->ops->unmap(fx.p, &r, &nvme, &fx.err));
	must(fx.p->ops->map(fx.p, &r, &host1, &m, &fx.err));
	must(do_unmap());
	must(do_remove());
}

/* --- many at a time -------------------------------------------------------- */

static void *create_main(void *arg)
{
	const struct provider_spec spec = { .size = 8 * GIB };
	struct provider_ref r = ref_of(arg, NULL);
	json_t *handle = NULL;
	struct err err;
	uint64_t size;
	int rc = fx.p->ops->create(fx.p, &r, &spec, &handle, &size, &err);

	json_decref(handle);
	return (void *)(intptr_t)rc;
}

static void copies_of_a_call_end_in_one_volume(void **state)
{
	char owner[] = OWNER, other[] = "other";
	pthread_t t[12];
	void *rc;

	(void)state;
	begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, create_main, i % 2 ? owner : other),
				 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &rc);
		assert_null(rc);
	}
	assert_int_equal(volumes(), 2);
}

static void *map_main(void *arg)
{
	struct provider_ref r = ref_of(OWNER, NULL);
	struct provider_mapping m;
	struct err err;

	return (void *)(intptr_t)fx.p->ops->map(fx.p, &r, arg, &m, &err);
}

static void of_two_hosts_at_most_one_gets_the_volume(void **state)
{
	struct provider_host hosts[] = { host1, host2 };

	(void)state;
	begin(NULL);
	must(do_create());
	for (int round = 0; round < 10; round++) {
		struct provider_ref r = ref_of(OWNER, NULL);
		pthread_t t[2];
		unsigned won = 0;

		for (size_t i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&t[i], NULL, map_main, &hosts[i]), 0);
		for (size_t i = 0; i < 2; i++) {
			void *rc;

			pthread_join(t[i], &rc);
			won += !rc;
			assert_true(!rc || (int)(intptr_t)rc == -EBUSY ||
				    (int)(intptr_t)rc == -EAGAIN);
		}
		assert_int_equal(won, 1);
		assert_int_equal(now(OWNER).nhosts, 1);
		for (size_t i = 0; i < 2; i++)
			must(fx.p->ops->unmap(fx.p, &r, &hosts[i], &fx.err));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_teardown(a_volume_lives_in_each_release, finish),
	cmocka_unit_test_teardown(a_volume_lives_in_an_erasure_coded_pool, finish),
	cmocka_unit_test_teardown(hosts_have_to_be_approved_where_the_system_says_so, finish),
	cmocka_unit_test_teardown(nvme_hosts_map_too, finish),
	cmocka_unit_test_teardown(copies_of_a_call_end_in_one_volume, finish),
	cmocka_unit_test_teardown(of_two_hosts_at_most_one_gets_the_volume, finish),
	cmocka_unit_test_teardown(each_fault_at_each_call_is_survived, finish),
	cmocka_unit_test_teardown(answers_that_come_too_late_are_survived, finish),
};

int main(void)
{
	return cmocka_run_group_tests_name("scaleio with simulator", tests, NULL, NULL);
}
