/* SPDX-License-Identifier: Apache-2.0 */
/* Two copies of the broker on one PostgreSQL store. */
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
#include <unistd.h>

#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_pg.h"
#include "tests/fake/fake_provider.h"

#define CLIENTS 32
#define STOP_MS 10000
#define I "/v2/service_instances/"
#define ASYNC "?accepts_incomplete=true"
#define IDS "&service_id=s-files&plan_id=big"
#define MAKE "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"context\":{}}"

static struct fake_pg *pg;
static struct fake_broker one,
	two; /* two has the key of one, and its own connections and workers */

static int start(void **state)
{
	struct err err = { "" };
	char uri[300];

	(void)state;
	if (!pg)
		return 0;
	if (!fake_pg_fresh(pg, uri, sizeof uri) ||
	    fake_broker_start(&one, json_pack("{s:s}", "store", uri)))
		return -1;
	memset(&two, 0, sizeof two);
	two.b.seal = one.b.seal;
	if (broker_init(&two.b, broker_config(&one.b), &err) ||
	    store_open(uri, two.b.seal, &two.b.store, &err))
		return -1;
	return fake_broker_start_workers(&two);
}

static int stop(void **state)
{
	(void)state;
	if (!pg)
		return 0;
	fake_provider_reset();
	fake_broker_stop_workers(&two, STOP_MS);
	store_close(two.b.store);
	broker_done(&two.b);
	fake_broker_stop(&one);
	return 0;
}

static void need_server(void)
{
	if (!pg)
		skip();
}

static _Atomic unsigned statuses[600];
static bool same;

static void *client(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;
	struct fake_broker *f = n % 2 ? &one : &two;
	struct fake_answer a;
	char path[100], id[20];

	snprintf(id, sizeof id, "i%u", same ? 0 : n);
	snprintf(path, sizeof path, I "%s" ASYNC, id);
	a = fake_call(f, "PUT", path, MAKE);
	statuses[a.status]++;
	fake_answer_done(&a);
	/* The other copy tells the same. */
	if (strcmp(fake_wait(n % 2 ? &two : &one, id), "succeeded"))
		statuses[0]++;
	return NULL;
}

static void run_clients(void)
{
	pthread_t t[CLIENTS];

	memset((void *)statuses, 0, sizeof statuses);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, client, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(statuses[0], 0);
}

static void one_instance_is_made_once(void **state)
{
	(void)state;
	need_server();
	same = true;
	run_clients();
	assert_int_equal(statuses[202] + statuses[200], CLIENTS);
	assert_int_equal(fake_provider_calls(FAKE_CREATE), 1);
	assert_int_equal(fake_provider_volumes(), 1);
}

static void many_instances_are_made_once_each(void **state)
{
	(void)state;
	need_server();
	same = false;
	run_clients();
	assert_int_equal(statuses[202], CLIENTS);
	assert_int_equal(fake_provider_calls(FAKE_CREATE), CLIENTS);
	assert_int_equal(fake_provider_volumes(), CLIENTS);
}

static void a_copy_finishes_what_another_began(void **state)
{
	struct fake_answer a;
	struct instance i;
	struct err err;
	uint64_t wait;

	(void)state;
	need_server();
	assert_true(fake_broker_stop_workers(&one, STOP_MS));
	assert_true(fake_broker_stop_workers(&two, STOP_MS));
	a = fake_call(&one, "PUT", I "a" ASYNC, MAKE);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_int_equal(store_claim(one.b.store, "dead", 300, &i, &wait, &err), 0);
	instance_done(&i);
	assert_int_equal(fake_broker_start_workers(&two), 0);
	assert_string_equal(fake_wait(&one, "a"), "succeeded");
	a = fake_call(&two, "DELETE", I "a" ASYNC IDS, NULL);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&one, "a"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 0);
	assert_int_equal(fake_broker_start_workers(&one), 0);
}

static void a_binding_of_one_is_known_to_the_other(void **state)
{
	static const char bind[] =
		"{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"app_guid\":\"x\"}";
	struct fake_answer a, b;

	(void)state;
	need_server();
	a = fake_call(&one, "PUT", I "a" ASYNC, MAKE);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&two, "a"), "succeeded");
	a = fake_call(&one, "PUT", I "a/service_bindings/b", bind);
	b = fake_call(&two, "PUT", I "a/service_bindings/b", bind);
	assert_int_equal(a.status, 201);
	assert_int_equal(b.status, 200);
	assert_true(json_equal(a.json, b.json));
	fake_answer_done(&a);
	fake_answer_done(&b);
}

static void a_server_that_restarts_loses_nothing(void **state)
{
	struct fake_answer a;

	(void)state;
	need_server();
	a = fake_call(&one, "PUT", I "a" ASYNC, MAKE);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	fake_pg_kill(pg);
	a = fake_call(&two, "PUT", I "b" ASYNC, MAKE);
	assert_int_equal(a.status, 503); /* not possible now */
	fake_answer_done(&a);
	assert_true(fake_pg_start(pg));
	assert_string_equal(fake_wait(&two, "a"), "succeeded");
	a = fake_call(&two, "PUT", I "b" ASYNC, MAKE);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&one, "b"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_instance_is_made_once),
		T(many_instances_are_made_once_each),
		T(a_copy_finishes_what_another_began),
		T(a_binding_of_one_is_known_to_the_other),
		T(a_server_that_restarts_loses_nothing),
	};
	const char *missing = fake_pg_missing();
	int rc;

	if (missing)
		fprintf(stderr, "skipped: %s\n", missing);
	else if (!(pg = fake_pg_new()))
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	fake_pg_free(pg);
	return rc;
}
