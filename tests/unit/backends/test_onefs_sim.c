/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation with each fault at each of its calls. What failed is repeated until it succeeds; then all is
 * removed, and nothing may be left. */
#include "tests/unit/backends/onefs_sim_test.h"

#define CALLS_MAX 60  /* of one operation */
#define REPEATS_MAX 8 /* until it succeeds */

/* --- each fault at each call ------------------------------------------------------------------ */

static void made_and_mapped(void)
{
	made();
	assert_int_equal(do_map(), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_operation_survives_each_fault),
		T(creation_and_removal_survive_silence),
		T(creation_that_is_given_up_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
