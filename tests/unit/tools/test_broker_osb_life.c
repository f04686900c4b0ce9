/* SPDX-License-Identifier: Apache-2.0 */
/* Conformance: updates, plans that are synchronous, sequences of a platform that cleans up after itself, many at once. */
#include "tests/unit/tools/osb_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define CLIENTS 32

/* --- updates --------------------------------------------------------------- */

static void updates_change_what_is_named(void **state)
{
	static const struct line lines[] = {
		{ "PATCH", I "a", "{\"service_id\":\"s-disks\"}", 400, NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\",\"parameters\":{\"nope\":1}}", 400,
		  NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}",
		  422, "AsyncRequired" },
		{ "PATCH", I "a" ASYNC,
		  "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}", 202, NULL },
		{ "~", "a", "succeeded", 0, NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\",\"parameters\":{\"readonly\":true}}",
		  200, NULL },
		{ "PATCH", I "a",
		  "{\"service_id\":\"s-files\",\"context\":{\"instance_name\":\"new\"}}", 200,
		  NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"99g\"}}",
		  400, NULL },
		{ "PATCH", I "a" ASYNC, "{" FILES("elsewhere") "}", 422, NULL },
		{ "PATCH", I "a" ASYNC, "{" FILES("disk") "}", 400, NULL },
		{ "PATCH", I "a", "{" FILES("big") ",\"maintenance_info\":{\"version\":\"9.0.0\"}}",
		  422, "MaintenanceInfoConflict" },
		{ "PATCH", I "a" ASYNC, "{" FILES("bigger") "}", 200, NULL },
		{ "PATCH", I "a" ASYNC, "{" FILES("big") "}", 422, NULL },
	};
	struct instance i;
	struct err err;

	(void)state;
	make("a", "big");
	run(lines, ARRAY_LEN(lines));
	assert_int_equal(store_get(f.b.store, "a", &i, &err), 0);
	assert_int_equal(i.size, 5ULL << 30);
	assert_string_equal(i.plan, "bigger");
	assert_true(json_is_true(json_object_get(i.params, "readonly")));
	assert_string_equal(json_string_value(json_object_get(i.params, "size")), "5g");
	assert_string_equal(json_string_value(json_object_get(i.context, "instance_name")), "new");
	instance_done(&i);
}

static void a_volume_does_not_shrink(void **state)
{
	struct fake_answer a;

	(void)state;
	expect("PUT", I "a" ASYNC,
	       "{" FILES("big") "," CONTEXT ",\"parameters\":{\"size\":\"4g\"}}", 202, NULL);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	a = fake_call(&f, "PATCH", I "a" ASYNC,
		      "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"3g\"}}");
	assert_int_equal(a.status, 422);
	assert_true(json_is_false(json_object_get(a.json, "update_repeatable")));
	assert_true(json_is_true(json_object_get(a.json, "instance_usable")));
	fake_answer_done(&a);
	assert_int_equal(fake_provider_calls(FAKE_GROW), 0);
}

static void a_failed_update_leaves_the_instance_usable(void **state)
{
	struct fake_answer a;

	(void)state;
	make("a", "big");
	fake_provider_fail(FAKE_GROW, 0, 1, -ENOSPC, false);
	expect("PATCH", I "a" ASYNC,
	       "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}", 202, NULL);
	assert_string_equal(fake_wait(&f, "a"), "failed");
	a = fake_call(&f, "GET", I "a/last_operation", NULL);
	assert_true(json_is_true(json_object_get(a.json, "instance_usable")));
	assert_true(json_is_true(json_object_get(a.json, "update_repeatable")));
	fake_answer_done(&a);
	expect("GET", I "a", NULL, 200, NULL);
	expect("PATCH", I "a" ASYNC,
	       "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}", 202, NULL);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
}

static void an_update_that_runs_excludes_others(void **state)
{
	static const struct line lines[] = {
		{ "PATCH", I "a" ASYNC,
		  "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}", 202, NULL },
		{ "PATCH", I "a" ASYNC,
		  "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"5g\"}}", 202, NULL },
		{ "PATCH", I "a" ASYNC,
		  "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"6g\"}}", 422,
		  "ConcurrencyError" },
		{ "GET", I "a", NULL, 422, "ConcurrencyError" },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 422, "ConcurrencyError" },
		{ "PUT", I "a" ASYNC, MAKE("big"), 422, "ConcurrencyError" },
		{ "PUT", I "a/service_bindings/b", BIND("x"), 201, NULL },
	};

	(void)state;
	make("a", "big");
	fake_provider_hang(FAKE_GROW);
	run(lines, ARRAY_LEN(lines));
	fake_provider_release();
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
}

/* --- kinds of plans -------------------------------------------------------- */

static void existing_shares_are_synchronous(void **state)
{
	static const char ids[] = "\"service_id\":\"s-nfs\",\"plan_id\":\"existing\"";
	char body[300];
	static const struct {
		const char *params;
		unsigned status;
		const char *part;
	} rows[] = {
		{ "{}", 400, "share is required" },
		{ "{\"share\":\"srv:/x\"}", 400, "no colon allowed after server" },
		{ "{\"share\":\"nfs://srv/x\"}", 400, "without nfs://" },
		{ "{\"share\":\"/x/y\"}", 400, "server/path" },
		{ "{\"share\":\"srv/a/../b\"}", 400, "server/path" },
		{ "{\"source\":\"nfs://srv/x\"}", 400, "['source']" },
		{ "{\"share\":5}", 400, "want string" },
		{ "{\"share\":\"srv/x\",\"frob\":1}", 400, "frob is not allowed" },
		{ "{\"share\":\"srv/x/y\",\"uid\":\"1000\",\"gid\":1000}", 201, "{" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(body, sizeof body, "{%s," CONTEXT ",\"parameters\":%s}", ids,
			 rows[i].params);
		expect_text("PUT", I "n", body, rows[i].status, rows[i].part);
	}
	expect("PUT", I "n", body, 200, NULL);
	snprintf(body, sizeof body, "{%s,\"app_guid\":\"x\",\"parameters\":{\"share\":\"o/p\"}}",
		 ids);
	expect("PUT", I "n/service_bindings/b", body, 400, NULL);
	snprintf(body, sizeof body, "{%s,\"app_guid\":\"x\"}", ids);
	expect_text("PUT", I "n/service_bindings/b", body, 201, "\"source\":\"nfs://srv/x/y\"");
	expect("DELETE", I "n/service_bindings/b?service_id=s-nfs&plan_id=existing", NULL, 200,
	       NULL);
	expect("DELETE", I "n?service_id=s-nfs&plan_id=existing", NULL, 200, NULL);
	expect("DELETE", I "n?service_id=s-nfs&plan_id=existing", NULL, 410, NULL);
}

static void local_folders_are_synchronous(void **state)
{
	static const char ids[] = "service_id=s-local&plan_id=folder";
	char path[100];

	(void)state;
	expect("PUT", I "l", "{\"service_id\":\"s-local\",\"plan_id\":\"folder\"," CONTEXT "}", 201,
	       NULL);
	expect("PATCH", I "l", "{\"service_id\":\"s-local\",\"parameters\":{\"size\":\"2g\"}}", 200,
	       NULL);
	expect_text("PUT", I "l/service_bindings/b",
		    "{\"service_id\":\"s-local\",\"plan_id\":\"folder\",\"app_guid\":\"x\"}", 201,
		    "\"source\":\"dir:/");
	snprintf(path, sizeof path, I "l/service_bindings/b?%s", ids);
	expect("DELETE", path, NULL, 200, NULL);
	snprintf(path, sizeof path, I "l?%s", ids);
	expect("DELETE", path, NULL, 200, NULL);
	expect("DELETE", path, NULL, 410, NULL);
}

/* --- what a platform does that is unsure ----------------------------------- */

static void a_failed_creation_is_cleaned_up(void **state)
{
	static const struct line lines[] = {
		{ "PUT", I "a" ASYNC, MAKE("big"), 202, NULL },
		{ "~", "a", "failed", 0, NULL },
		{ "GET", I "a", NULL, 404, NULL },
		{ "PUT", I "a" ASYNC, MAKE("big"), 409, NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\"}", 422, NULL },
		{ "PUT", I "a/service_bindings/b", BIND("x"), 422, NULL },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 202, NULL },
		{ "~", "a", "succeeded", 0, NULL },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 410, NULL },
		{ "PUT", I "a" ASYNC, MAKE("big"), 202, NULL },
		{ "~", "a", "succeeded", 0, NULL },
	};

	(void)state;
	fake_provider_fail(FAKE_CREATE, 0, 1, -ENOSPC, true);
	run(lines, 2);
	assert_int_equal(fake_provider_volumes(), 0); /* though the array had made it */
	run(lines + 2, ARRAY_LEN(lines) - 2);
	assert_int_equal(fake_provider_volumes(), 1);
}

/* All orders of: create (its answer lost), bind, unbind, delete, delete; at the end nothing is left. */
static void clean_up_works_in_any_order(void **state)
{
	static const struct line steps[] = {
		{ "PUT", I "o" ASYNC, MAKE("big"), 0, NULL },
		{ "PUT", I "o/service_bindings/b", BIND("x"), 0, NULL },
		{ "DELETE", I "o/service_bindings/b?" IDS, NULL, 0, NULL },
		{ "DELETE", I "o" ASYNC "&" IDS, NULL, 0, NULL },
	};
	unsigned order[4];

	(void)state;
	for (unsigned code = 0; code < 256; code++) {
		struct fake_answer a;
		unsigned tries = 0;

		for (unsigned i = 0; i < 4; i++)
			order[i] = code >> 2 * i & 3;
		for (unsigned i = 0; i < 4; i++) {
			const struct line *l = &steps[order[i]];

			a = fake_call(&f, l->method, l->path, l->body);
			assert_true(a.status < 500 && a.status != 404 ?
					    true :
					    a.status == 404 && !strcmp(l->method, "PUT"));
			fake_answer_done(&a);
		}
		/* The platform's own: unbind and delete until 200 or 410. */
		do {
			a = fake_call(&f, "DELETE", steps[2].path, NULL);
			assert_true(a.status == 200 || a.status == 410);
			fake_answer_done(&a);
			a = fake_call(&f, "DELETE", steps[3].path, NULL);
			assert_true(a.status == 202 || a.status == 410);
			tries += a.status != 410;
			if (a.status == 202)
				fake_wait(&f, "o");
			fake_answer_done(&a);
		} while (tries == 1 && fake_provider_volumes());
		assert_int_equal(fake_provider_volumes(), 0);
	}
}

static void a_deletion_stops_a_creation(void **state)
{
	(void)state;
	fake_provider_hang(FAKE_CREATE);
	expect("PUT", I "a" ASYNC, MAKE("big"), 202, NULL);
	assert_true(fake_provider_wait_hanging(1));
	expect("DELETE", I "a" ASYNC "&" IDS, NULL, 202, NULL);
	fake_provider_release(); /* the creation wakes, and its outcome is nobody's any more */
	assert_string_equal(fake_wait(&f, "a"), "succeeded"); /* of the deletion */
	assert_int_equal(fake_provider_volumes(), 0);
	assert_int_equal(fake_provider_calls(FAKE_REMOVE), 1);
}

static void a_volume_in_use_is_not_deleted(void **state)
{
	(void)state;
	make("a", "big");
	fake_provider_fail(FAKE_REMOVE, 0, 1, -EBUSY, false);
	expect("DELETE", I "a" ASYNC "&" IDS, NULL, 202, NULL);
	assert_string_equal(fake_wait(&f, "a"), "succeeded"); /* it was let go meanwhile */
	assert_int_equal(fake_provider_volumes(), 0);
}

/* --- many at once ---------------------------------------------------------- */

static _Atomic unsigned statuses[600];

static void *client(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;
	char path[100];
	struct fake_answer a;

	snprintf(path, sizeof path, I "%s%u" ASYNC, n < CLIENTS ? "same" : "own",
		 n < CLIENTS ? 0 : n);
	a = fake_call(&f, "PUT", path, n % 2 ? MAKE("big") : MAKE("small"));
	statuses[a.status]++;
	fake_answer_done(&a);
	snprintf(path, sizeof path, I "%s%u" ASYNC "&" IDS, n < CLIENTS ? "same" : "own",
		 n < CLIENTS ? 0 : n);
	if (n >= CLIENTS) {
		snprintf(path, sizeof path, "own%u", n);
		assert_string_equal(fake_wait(&f, path), "succeeded");
	}
	return NULL;
}

static void parallel_clients(bool same)
{
	pthread_t t[CLIENTS];

	memset((void *)statuses, 0, sizeof statuses);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, client,
						(void *)(uintptr_t)(same ? i : CLIENTS + i)),
				 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(t[i], NULL);
}

static void clients_of_one_instance_do_not_mix(void **state)
{
	(void)state;
	parallel_clients(true);
	/* Half of them ask for another plan than the one that was first. */
	assert_int_equal(statuses[202] + statuses[200], CLIENTS / 2);
	assert_int_equal(statuses[409], CLIENTS / 2);
	assert_string_equal(fake_wait(&f, "same0"), "succeeded");
	assert_int_equal(fake_provider_volumes(), 1);
}

static void clients_of_different_instances_do_not_wait(void **state)
{
	(void)state;
	parallel_clients(false);
	assert_int_equal(statuses[202], CLIENTS);
	assert_int_equal(fake_provider_volumes(), CLIENTS);
	assert_int_equal(fake_provider_calls(FAKE_CREATE), CLIENTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(updates_change_what_is_named),
		T(a_volume_does_not_shrink),
		T(a_failed_update_leaves_the_instance_usable),
		T(an_update_that_runs_excludes_others),
		T(existing_shares_are_synchronous),
		T(local_folders_are_synchronous),
		T(a_failed_creation_is_cleaned_up),
		T(clean_up_works_in_any_order),
		T(a_deletion_stops_a_creation),
		T(a_volume_in_use_is_not_deleted),
		T(clients_of_one_instance_do_not_mix),
		T(clients_of_different_instances_do_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
