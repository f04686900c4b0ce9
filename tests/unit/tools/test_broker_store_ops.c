/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: who may claim, renew and finish one, over both databases. Time is moved, not waited for. */
#include "tests/unit/tools/broker_store.h"

#include <pthread.h>

static int add_one(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)bindings;
	if (!exists)
		i->state = INSTANCE_READY;
	i->size++;
	return 0;
}

#define LEASE_MS 30000

static int succeed(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)bindings;
	assert_true(exists);
	i->state = INSTANCE_READY;
	i->op.state = OP_SUCCEEDED;
	return 0;
}

static int try_later(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)exists;
	(void)bindings;
	i->op.tries++;
	i->op.next_try_ms = i->op.changed_ms + *(uint64_t *)arg;
	return 0;
}

static void claim(const char *worker, const char *id)
{
	struct instance i;
	uint64_t wait;
	int rc = store_claim(fx.s, worker, LEASE_MS, &i, &wait, &err);

	assert_int_equal(rc, id ? 0 : -ENOENT);
	if (rc)
		return;
	assert_string_equal(i.id, id);
	instance_done(&i);
}

static void one_worker_at_a_time_holds_an_operation(void **state)
{
	struct instance i;
	uint64_t wait = 0;

	NEEDS_DATABASE(state);
	assert_int_equal(store_claim(fx.s, "w1", LEASE_MS, &i, &wait, &err), -ENOENT);
	assert_true(wait == UINT64_MAX);
	must_change("ready", make_ready, NULL);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	assert_int_equal(store_claim(fx.s, "w2", LEASE_MS, &i, &wait, &err), -ENOENT);
	assert_in_range(wait, LEASE_MS / 2, LEASE_MS);
	/* Whoever does not hold it can neither renew nor finish. */
	assert_int_equal(store_renew(fx.s, "w2", "a", LEASE_MS, &err), -ESTALE);
	assert_int_equal(store_op_finish(fx.s, "w2", "a", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_op_finish(fx.s, "w1", "b", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), 0);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), -ESTALE);
	claim("w2", NULL);
}

static void lost_lease_writes_no_outcome(void **state)
{
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	clock_skew_ms += LEASE_MS - 1000;
	claim("w2", NULL);
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), 0);
	clock_skew_ms += LEASE_MS - 1000;
	claim("w2", NULL);
	clock_skew_ms += 2000;
	claim("w2", "a");
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), -ESTALE);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_get(fx.s, "a", &i, &err), 0);
	assert_int_equal(i.state, INSTANCE_CREATING);
	instance_done(&i);
	assert_int_equal(store_op_finish(fx.s, "w2", "a", "op1", succeed, NULL, &err), 0);
}

static void lease_that_nobody_took_can_be_renewed(void **state)
{
	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	clock_skew_ms += LEASE_MS * 2;
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), 0);
	claim("w2", NULL);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), 0);
}

/* Whoever carries out op2 must not look before w1 has ended what it does for op1. */
static void new_operation_waits_for_the_worker_of_the_old(void **state)
{
	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	must_change("a", make_creating, "op2");
	claim("w2", NULL);
	clock_skew_ms += LEASE_MS - 1000;
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), 0);
	clock_skew_ms += LEASE_MS - 1000;
	claim("w2", NULL);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), -ECANCELED);
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), -ESTALE);
	claim("w2", "a");
	/* A change beside the worker leaves it its lease. */
	must_change("a", add_one, NULL);
	assert_int_equal(store_renew(fx.s, "w2", "a", LEASE_MS, &err), 0);
	assert_int_equal(store_op_finish(fx.s, "w2", "a", "op2", remove_it, NULL, &err), 0);
	assert_int_equal(store_renew(fx.s, "w2", "a", LEASE_MS, &err), -ESTALE);
}

static void new_operation_waits_for_no_dead_worker(void **state)
{
	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	must_change("a", make_creating, "op2");
	clock_skew_ms += LEASE_MS + 1000;
	claim("w2", "a");
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", succeed, NULL, &err), -ESTALE);
	assert_int_equal(store_op_finish(fx.s, "w2", "a", "op2", remove_it, NULL, &err), 0);
}

static void retry_waits_for_its_time(void **state)
{
	uint64_t later = 60000, wait;
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", try_later, &later, &err), 0);
	assert_int_equal(store_claim(fx.s, "w2", LEASE_MS, &i, &wait, &err), -ENOENT);
	assert_in_range(wait, later - 20000, later);
	clock_skew_ms += wait + 1;
	assert_int_equal(store_claim(fx.s, "w2", LEASE_MS, &i, &wait, &err), 0);
	assert_int_equal(i.op.tries, 1);
	instance_done(&i);
}

static int refuse_outcome(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	i->state = INSTANCE_READY;
	return -ECANCELED;
}

static void refused_outcome_keeps_the_lease(void **state)
{
	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	claim("w1", "a");
	assert_int_equal(store_op_finish(fx.s, "w1", "a", "op1", refuse_outcome, NULL, &err),
			 -ECANCELED);
	assert_int_equal(store_renew(fx.s, "w1", "a", LEASE_MS, &err), 0);
}

struct claimer {
	pthread_t thread;
	char name[16];
	unsigned claimed;
	int rc;
};

static void *claimer_main(void *arg)
{
	struct claimer *c = arg;
	struct instance i;
	uint64_t wait;

	for (;;) {
		c->rc = store_claim(fx.s, c->name, LEASE_MS, &i, &wait, NULL);
		if (c->rc == -ENOENT && wait < LEASE_MS / 2)
			continue; /* another is just taking the last ones */
		if (c->rc)
			return NULL;
		c->claimed++;
		c->rc = store_op_finish(fx.s, c->name, i.id, i.op.id, succeed, NULL, NULL);
		instance_done(&i);
		if (c->rc)
			return NULL;
	}
}

static void each_operation_is_claimed_once(void **state)
{
	enum { OPERATIONS = 60, WORKERS = 8 };
	struct claimer workers[WORKERS] = { 0 };
	unsigned sum = 0;

	NEEDS_DATABASE(state);
	for (int i = 0; i < OPERATIONS; i++) {
		char id[16];

		snprintf(id, sizeof id, "i%d", i);
		must_change(id, make_creating, id);
	}
	for (int i = 0; i < WORKERS; i++) {
		snprintf(workers[i].name, sizeof workers[i].name, "w%d", i);
		assert_int_equal(
			pthread_create(&workers[i].thread, NULL, claimer_main, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(workers[i].rc, -ENOENT);
		sum += workers[i].claimed;
	}
	assert_int_equal(sum, OPERATIONS);
}

static void bad_row_does_not_keep_others_from_their_turn(void **state)
{
	struct instance i;
	uint64_t wait;

	NEEDS_DATABASE(state);
	must_change("a", make_creating, "op1");
	must_change("b", make_creating, "op2");
	run_sql("UPDATE instances SET provider = '', handle = '?' WHERE id = 'a'");
	assert_int_equal(store_claim(fx.s, "w", LEASE_MS, &i, &wait, &err), -EPROTO);
	assert_non_null(strstr(err.text, "'a'"));
	claim("w", "b");
	claim("w", NULL);
}

static int begin_update(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)exists;
	(void)bindings;
	memset(&i->op, 0, sizeof i->op);
	snprintf(i->op.id, sizeof i->op.id, "update-%u", *(unsigned *)arg);
	i->op.kind = OP_UPDATE;
	i->op.state = *(unsigned *)arg % 2 ? OP_FAILED : OP_SUCCEEDED;
	snprintf(i->op.description, sizeof i->op.description, "number %u", *(unsigned *)arg);
	return 0;
}

/* A life of one instance; another one's is its own. */
static void past_operations_are_told_newest_first(void **state)
{
	struct operation past[STORE_PAST_MAX];
	unsigned n = 99, k;

	NEEDS_DATABASE(state);
	must_change("a", make_creating, "create-1");
	assert_int_equal(store_past(fx.s, "a", past, &n, &err), 0);
	assert_int_equal(n, 0);
	for (k = 0; k < 2; k++) {
		usleep(2000); /* their order is that of their times */
		must_change("a", begin_update, &k);
	}
	must_change("b", make_creating, "create-2");
	assert_int_equal(store_past(fx.s, "a", past, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(past[0].id, "update-0");
	assert_int_equal(past[0].kind, OP_UPDATE);
	assert_int_equal(past[0].state, OP_SUCCEEDED);
	assert_string_equal(past[0].description, "number 0");
	assert_true(past[0].begun_ms > 1600000000000ull);
	assert_string_equal(past[1].id, "create-1");
	assert_int_equal(past[1].state, OP_IN_PROGRESS); /* it was replaced */
	assert_int_equal(store_past(fx.s, "b", past, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_past(fx.s, "unknown", past, &n, &err), 0);
	assert_int_equal(n, 0);
}

static void past_operations_have_an_end(void **state)
{
	struct operation past[STORE_PAST_MAX];
	unsigned n, k;

	NEEDS_DATABASE(state);
	must_change("a", make_creating, "create-1");
	for (k = 0; k < 3 * STORE_PAST_MAX; k++) {
		must_change("a", begin_update, &k);
		usleep(2000); /* as above */
	}
	assert_int_equal(store_past(fx.s, "a", past, &n, &err), 0);
	assert_int_equal(n, STORE_PAST_MAX);
	for (k = 0; k < n; k++)
		assert_int_equal(strtoul(past[k].id + 7, NULL, 10), 3 * STORE_PAST_MAX - 2 - k);
	/* A new life, and the end of it. */
	must_change("a", make_creating, "create-2");
	assert_int_equal(store_past(fx.s, "a", past, &n, &err), 0);
	assert_int_equal(n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(one_worker_at_a_time_holds_an_operation),
		BOTH(lost_lease_writes_no_outcome),
		BOTH(lease_that_nobody_took_can_be_renewed),
		BOTH(new_operation_waits_for_the_worker_of_the_old),
		BOTH(new_operation_waits_for_no_dead_worker),
		BOTH(retry_waits_for_its_time),
		BOTH(refused_outcome_keeps_the_lease),
		BOTH(each_operation_is_claimed_once),
		BOTH(bad_row_does_not_keep_others_from_their_turn),
		BOTH(past_operations_are_told_newest_first),
		BOTH(past_operations_have_an_end),
	};

	return cmocka_run_group_tests(tests, server_new, server_free);
}
