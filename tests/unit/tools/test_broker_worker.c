/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_provider.h"

#define I "/v2/service_instances/"
#define ASYNC "?accepts_incomplete=true"
#define IDS "&service_id=s-files&plan_id=big"
#define MAKE "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"context\":{}}"
#define GIB (1ULL << 30)
#define STOP_MS 10000

static struct fake_broker f;

static int start(void **state)
{
	(void)state;
	return fake_broker_start(&f, NULL);
}

static int start_impatient(void **state)
{
	(void)state;
	return fake_broker_start(&f, json_pack("{s:s}", "operation_timeout", "1s"));
}

static int stop(void **state)
{
	(void)state;
	fake_broker_stop(&f);
	return 0;
}

static void call(const char *method, const char *path, const char *body, unsigned status)
{
	struct fake_answer a = fake_call(&f, method, path, body);

	if (a.status != status)
		print_error("%s %s: %u %s\n", method, path, a.status, a.text);
	assert_int_equal(a.status, status);
	fake_answer_done(&a);
}

static void get(struct instance *i)
{
	struct err err = { "" };

	assert_int_equal(store_get(f.b.store, "a", i, &err), 0);
}

/* A row as a broker that died left it, or another one wrote it. */
struct row {
	enum instance_state state;
	enum op_kind kind;
	uint64_t begun_ms;
	const char *provider, *op;
	bool remove;
};

static int write_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	const struct row *r = arg;

	(void)exists;
	(void)bindings;
	if (r->remove)
		return STORE_REMOVE;
	strcpy(i->service, "s-files");
	strcpy(i->plan, "big");
	strcpy(i->provider, r->provider ? r->provider : "files");
	i->state = r->state;
	i->size = GIB;
	i->op.kind = r->kind;
	i->op.state = r->state == INSTANCE_READY || r->state == INSTANCE_DELETED ? OP_SUCCEEDED :
										   OP_IN_PROGRESS;
	i->op.begun_ms = r->begun_ms ? r->begun_ms : broker_now_ms();
	strcpy(i->op.id, r->op ? r->op : "op-1");
	return 0;
}

static void write_row(struct row r)
{
	struct err err = { "" };

	if (store_change(f.b.store, "a", write_rule, &r, &err))
		print_error("%s\n", err.text);
	assert_string_equal(err.text, "");
}

/* --- tries ----------------------------------------------------------------- */

static void what_may_pass_is_tried_again(void **state)
{
	(void)state;
	fake_provider_fail(FAKE_CREATE, 0, 2, -EAGAIN, true); /* done, and the answer lost */
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_calls(FAKE_CREATE), 3);
	assert_int_equal(fake_provider_volumes(), 1);
	fake_provider_fail(FAKE_REMOVE, 0, 1, -EAGAIN, true);
	call("DELETE", I "a" ASYNC IDS, NULL, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 0);
}

static void a_try_that_failed_is_told_meanwhile(void **state)
{
	struct instance i;

	(void)state;
	fake_provider_fail(FAKE_CREATE, 0, 3, -EAGAIN, false);
	call("PUT", I "a" ASYNC, MAKE, 202);
	for (int k = 0; k < 500; k++) {
		bool told;

		get(&i);
		told = i.op.tries > 0;
		if (told) {
			assert_int_equal(i.state, INSTANCE_CREATING);
			assert_non_null(strstr(i.op.description, "the fake storage says"));
			assert_true(i.op.next_try_ms > i.op.begun_ms);
		}
		instance_done(&i);
		if (told)
			return;
		usleep(5000);
	}
	fail();
}

static void who_tries_too_long_gives_up_and_leaves_nothing(void **state)
{
	struct instance i;

	(void)state;
	fake_provider_fail(FAKE_CREATE, 0, 0, -EAGAIN, true);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_string_equal(fake_wait(&f, "a"), "failed");
	assert_int_equal(fake_provider_volumes(), 0);
	get(&i);
	assert_int_equal(i.state, INSTANCE_FAILED);
	assert_non_null(strstr(i.op.description, "gave up after"));
	instance_done(&i);
}

static void what_a_failed_creation_left_is_removed_until_it_is_gone(void **state)
{
	(void)state;
	fake_provider_fail(FAKE_CREATE, 0, 0, -EINVAL, true);
	fake_provider_fail(FAKE_REMOVE, 0, 2, -EAGAIN, false);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_string_equal(fake_wait(&f, "a"), "failed");
	assert_int_equal(fake_provider_volumes(), 0);
	assert_true(fake_provider_calls(FAKE_REMOVE) >= 3);
}

static void a_deletion_that_fails_for_good_can_begin_anew(void **state)
{
	struct fake_answer a;

	(void)state;
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	fake_provider_fail(FAKE_REMOVE, 0, 1, -EACCES, false);
	call("DELETE", I "a" ASYNC IDS, NULL, 202);
	assert_string_equal(fake_wait(&f, "a"), "failed");
	a = fake_call(&f, "GET", I "a/last_operation", NULL);
	assert_true(json_is_false(json_object_get(a.json, "instance_usable")));
	assert_null(json_object_get(a.json, "update_repeatable"));
	fake_answer_done(&a);
	call("DELETE", I "a" ASYNC IDS, NULL, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 0);
}

static void a_volume_that_stays_in_use_stays_usable(void **state)
{
	struct instance i;

	(void)state;
	fake_provider_add("a", GIB, 0);
	fake_provider_fail(FAKE_REMOVE, 0, 0, -EBUSY, false);
	write_row((struct row){ .state = INSTANCE_DELETING,
				.kind = OP_DELETE,
				.begun_ms = broker_now_ms() - 60000 });
	workers_wake(f.b.workers);
	assert_string_equal(fake_wait(&f, "a"), "failed");
	get(&i);
	assert_int_equal(i.state, INSTANCE_READY);
	assert_true(i.op.usable);
	instance_done(&i);
	assert_int_equal(fake_provider_volumes(), 1);
}

/* --- leases ---------------------------------------------------------------- */

static void what_a_dead_broker_began_is_finished(void **state)
{
	struct instance i;
	struct err err;
	uint64_t wait;

	(void)state;
	assert_true(fake_broker_stop_workers(&f, STOP_MS));
	write_row((struct row){ .state = INSTANCE_CREATING, .kind = OP_CREATE });
	fake_provider_add("a", GIB, 0); /* so far it got */
	assert_int_equal(store_claim(f.b.store, "dead", 200, &i, &wait, &err), 0);
	instance_done(&i);
	assert_int_equal(fake_broker_start_workers(&f), 0);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 1);
	get(&i);
	assert_int_equal(i.state, INSTANCE_READY);
	assert_non_null(i.handle);
	instance_done(&i);
}

static void a_long_call_keeps_its_lease(void **state)
{
	struct instance i;
	struct err err;
	uint64_t wait;

	(void)state;
	fake_provider_hang(FAKE_CREATE);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_true(fake_provider_wait_hanging(1));
	for (int k = 0; k < 15; k++) { /* longer than the lease of a second */
		assert_int_equal(store_claim(f.b.store, "thief", 1000, &i, &wait, &err), -ENOENT);
		usleep(100000);
	}
	fake_provider_release();
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_calls(FAKE_CREATE), 1);
}

/* A worker hangs in create(); meanwhile another writes the row; then the worker wakes up. */
static void lose_the_lease(struct row r)
{
	fake_provider_hang(FAKE_CREATE);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_true(fake_provider_wait_hanging(1));
	write_row(r);
	fake_provider_release();
	assert_true(fake_broker_stop_workers(&f, STOP_MS));
}

static void a_lost_lease_writes_no_outcome(void **state)
{
	struct instance i;

	(void)state;
	lose_the_lease(
		(struct row){ .state = INSTANCE_READY, .kind = OP_CREATE, .op = "of-another" });
	get(&i);
	assert_string_equal(i.op.id, "of-another");
	assert_null(i.handle);
	instance_done(&i);
	assert_int_equal(fake_provider_volumes(), 1); /* it is the other's volume, too */
	assert_int_equal(fake_provider_calls(FAKE_REMOVE), 0);
}

static void a_lost_lease_removes_what_nobody_has(void **state)
{
	(void)state;
	lose_the_lease((struct row){ .remove = true });
	assert_int_equal(fake_provider_volumes(), 0);
	assert_true(fake_provider_calls(FAKE_REMOVE) > 0);
}

/* Nobody else would: the row tells of no volume any more. */
static void a_lost_lease_removes_also_from_a_storage_that_is_away(void **state)
{
	(void)state;
	fake_provider_fail(FAKE_REMOVE, 0, 2, -EAGAIN, false);
	lose_the_lease((struct row){ .remove = true });
	assert_int_equal(fake_provider_volumes(), 0);
	assert_int_equal(fake_provider_calls(FAKE_REMOVE), 3);
}

static void a_lost_lease_removes_what_was_deleted(void **state)
{
	(void)state;
	lose_the_lease(
		(struct row){ .state = INSTANCE_DELETED, .kind = OP_DELETE, .op = "of-another" });
	assert_int_equal(fake_provider_volumes(), 0);
}

/* Or what the creation makes last stays, or keeps the deletion from its work. */
static void a_deletion_waits_for_the_call_that_it_stops(void **state)
{
	(void)state;
	fake_provider_hang(FAKE_CREATE);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_true(fake_provider_wait_hanging(1));
	call("DELETE", I "a" ASYNC "&service_id=s-files&plan_id=big", NULL, 202);
	for (int k = 0; k < 20; k++) {
		assert_int_equal(fake_provider_calls(FAKE_REMOVE), 0);
		usleep(10000);
	}
	fake_provider_release();
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 0);
}

/* Equal updates at one moment: those that come when the first is over do not end what others wait for. */
static void a_repeat_of_an_update_that_is_over_changes_nothing(void **state)
{
	static const char grow[] = "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}";
	struct instance before, after;

	(void)state;
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	call("PATCH", I "a" ASYNC, grow, 202);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	get(&before);
	call("PATCH", I "a" ASYNC, grow, 200);
	get(&after);
	assert_string_equal(after.op.id, before.op.id);
	assert_int_equal(after.version, before.version);
	instance_done(&before);
	instance_done(&after);
}

/* --- configuration and process --------------------------------------------- */

static void a_provider_that_is_not_configured_may_come_back(void **state)
{
	struct instance i;
	struct bconfig *c;
	json_t *all = fake_broker_config(&f);

	(void)state;
	write_row(
		(struct row){ .state = INSTANCE_CREATING, .kind = OP_CREATE, .provider = "later" });
	workers_wake(f.b.workers);
	for (int k = 0; k < 200; k++) {
		unsigned tries;

		get(&i);
		tries = i.op.tries;
		if (tries)
			assert_non_null(strstr(i.op.description, "provider 'later' is not in"));
		instance_done(&i);
		if (tries)
			break;
		usleep(10000);
	}
	json_object_set_new(json_object_get(all, "providers"), "later",
			    json_pack("{s:s}", "type", "fake-files"));
	c = fake_broker_load(all);
	assert_non_null(c);
	broker_set_config(&f.b, c);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
}

static void the_end_does_not_wait_for_a_storage_that_hangs(void **state)
{
	(void)state;
	fake_provider_hang(FAKE_CREATE);
	call("PUT", I "a" ASYNC, MAKE, 202);
	assert_true(fake_provider_wait_hanging(1));
	assert_false(fake_broker_stop_workers(&f, 50));
	fake_provider_release();
	assert_true(fake_broker_stop_workers(&f, STOP_MS));
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_may_pass_is_tried_again),
		T(a_try_that_failed_is_told_meanwhile),
		cmocka_unit_test_setup_teardown(who_tries_too_long_gives_up_and_leaves_nothing,
						start_impatient, stop),
		T(what_a_failed_creation_left_is_removed_until_it_is_gone),
		T(a_deletion_that_fails_for_good_can_begin_anew),
		T(a_volume_that_stays_in_use_stays_usable),
		T(what_a_dead_broker_began_is_finished),
		T(a_long_call_keeps_its_lease),
		T(a_lost_lease_writes_no_outcome),
		T(a_lost_lease_removes_what_nobody_has),
		T(a_lost_lease_removes_also_from_a_storage_that_is_away),
		T(a_lost_lease_removes_what_was_deleted),
		T(a_deletion_waits_for_the_call_that_it_stops),
		T(a_repeat_of_an_update_that_is_over_changes_nothing),
		T(a_provider_that_is_not_configured_may_come_back),
		T(the_end_does_not_wait_for_a_storage_that_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
