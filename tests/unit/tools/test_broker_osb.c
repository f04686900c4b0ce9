/* SPDX-License-Identifier: Apache-2.0 */
/* Conformance: each status and error word of the protocol, the catalog, repeats and conflicts, and what a bind says. */
#include "tests/unit/tools/osb_test.h"

/* --- bad requests ---------------------------------------------------------- */

static void malformed_requests_change_nothing(void **state)
{
	static const struct line lines[] = {
		{ "GET", "/", NULL, 404, NULL },
		{ "GET", "/v2/catalogue", NULL, 404, NULL },
		{ "POST", "/v2/catalog", "{}", 405, NULL },
		{ "GET", "/v2/service_instances/", NULL, 404, NULL },
		{ "GET", I "a/b", NULL, 404, NULL },
		{ "GET", I "a/service_bindings", NULL, 404, NULL },
		{ "GET", I "a/service_bindings/", NULL, 404, NULL },
		{ "GET", I "a/service_bindings/b/x", NULL, 404, NULL },
		{ "PUT", I "a\x01z", MAKE("big"), 404, NULL },
		{ "PUT", I "a", "", 400, NULL },
		{ "PUT", I "a", "[]", 400, NULL },
		{ "PUT", I "a", "{", 400, NULL },
		{ "PUT", I "a", "{\"service_id\":1,\"service_id\":2}", 400, NULL },
		{ "PUT", I "a", "{}", 400, NULL },
		{ "PUT", I "a", "{\"service_id\":\"s-files\"}", 400, NULL },
		{ "PUT", I "a", "{\"service_id\":null,\"plan_id\":[]}", 400, NULL },
		{ "PUT", I "a", "{" FILES("nope") "," CONTEXT "}", 400, NULL },
		{ "PUT", I "a", "{" FILES("disk") "," CONTEXT "}", 400, NULL },
		{ "PUT", I "a", "{" FILES("big") "}", 400, NULL },
		{ "PUT", I "a", "{" FILES("big") ",\"organization_guid\":\"o\"}", 400, NULL },
		{ "PUT", I "a", "{" FILES("big") ",\"context\":7}", 400, NULL },
		{ "PUT", I "a" ASYNC, "{" FILES("big") "," CONTEXT ",\"parameters\":[]}", 400,
		  NULL },
		{ "PUT", I "a" ASYNC, "{" FILES("big") "," CONTEXT ",\"parameters\":{\"x\":1}}",
		  400, NULL },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("big") "," CONTEXT ",\"parameters\":{\"size\":\"11g\"}}", 400, NULL },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("big") "," CONTEXT ",\"parameters\":{\"size\":\"10\"}}", 400, NULL },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("big") "," CONTEXT ",\"parameters\":{\"mount\":\"/a/../b\"}}", 400,
		  NULL },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("small") "," CONTEXT ",\"parameters\":{\"size\":1}}", 400, NULL },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("big") "," CONTEXT ",\"maintenance_info\":{\"version\":\"2.0.0\"}}",
		  422, "MaintenanceInfoConflict" },
		{ "PUT", I "a" ASYNC,
		  "{" FILES("small") "," CONTEXT ",\"maintenance_info\":{\"version\":\"1.0.0\"}}",
		  422, "MaintenanceInfoConflict" },
		{ "PUT", I "a", MAKE("big"), 422, "AsyncRequired" },
		{ "PUT", I "a?accepts_incomplete=yes", MAKE("big"), 422, "AsyncRequired" },
		{ "GET", I "a", NULL, 404, NULL },
		{ "GET", I "a/last_operation", NULL, 404, NULL },
		{ "DELETE", I "a", NULL, 400, NULL },
		{ "DELETE", I "a?service_id=s-files", NULL, 400, NULL },
		{ "DELETE", I "a?" IDS, NULL, 410, NULL },
		{ "PATCH", I "a", "{\"service_id\":\"s-files\"}", 404, NULL },
		{ "PATCH", I "a", "{}", 400, NULL },
		{ "PUT", I "a/service_bindings/b", BIND("app"), 404, NULL },
		{ "GET", I "a/service_bindings/b", NULL, 404, NULL },
		{ "GET", I "a/service_bindings/b/last_operation", NULL, 404, NULL },
		{ "DELETE", I "a/service_bindings/b?" IDS, NULL, 410, NULL },
		{ "DELETE", I "a/service_bindings/b", NULL, 400, NULL },
	};

	(void)state;
	run(lines, ARRAY_LEN(lines));
	assert_int_equal(fake_provider_calls(FAKE_CREATE), 0);
}

static struct osb_reply ask(const char *authorization, const char *version, const char *type)
{
	struct osb_call q = { .method = "PUT",
			      .path = I "a" ASYNC,
			      .body = "{}",
			      .len = 2,
			      .authorization = authorization,
			      .version = version,
			      .content_type = type };
	struct osb_reply r;

	osb_answer(&f.b, &q, &r);
	free(r.text);
	r.text = NULL;
	return r;
}

static void credentials_come_first_then_the_version(void **state)
{
	static const char good[] = "Basic dTpw";

	(void)state;
	assert_int_equal(ask(NULL, "2.17", NULL).status, 401);
	assert_int_equal(ask("Basic dTp4", "1.0", NULL).status, 401);
	assert_int_equal(ask("Basic !!", "2.17", NULL).status, 401);
	assert_int_equal(ask("Bearer x", "2.17", NULL).status, 401);
	assert_int_equal(ask(good, NULL, NULL).status, 400);
	assert_int_equal(ask(good, "3.0", NULL).status, 412);
	assert_int_equal(ask(good, "2.", NULL).status, 412);
	assert_int_equal(ask(good, "2.1x", NULL).status, 412);
	assert_int_equal(ask(good, "2.99", "text/plain").status, 400);
	assert_int_equal(ask(good, "2.13", NULL).status, 400); /* the body is empty */
}

static void too_long_bodies_and_parameters_are_refused(void **state)
{
	struct osb_call q = {
		.method = "PUT", .path = I "a", .authorization = "Basic dTpw", .version = "2.17"
	};
	struct osb_reply r;
	AUTO_FREE char *pad = calloc(1, 40001), *body = NULL;

	(void)state;
	osb_answer(&f.b, &q, &r);
	assert_int_equal(r.status, 413);
	free(r.text);
	memset(pad, 'x', 40000);
	assert_true(asprintf(&body, "{" FILES("big") "," CONTEXT ",\"parameters\":{\"a\":\"%s\"}}",
			     pad) > 0);
	expect("PUT", I "a" ASYNC, body, 400, NULL);
}

/* --- catalog --------------------------------------------------------------- */

static void catalog_tells_the_truth(void **state)
{
	struct fake_answer a = fake_call(&f, "GET", "/v2/catalog", NULL);
	const json_t *s, *plan;

	(void)state;
	assert_int_equal(a.status, 200);
	s = json_array_get(json_object_get(a.json, "services"), 0);
	assert_string_equal(json_string_value(json_array_get(json_object_get(s, "requires"), 0)),
			    "volume_mount");
	assert_true(json_is_true(json_object_get(s, "instances_retrievable")));
	assert_true(json_is_true(json_object_get(s, "bindings_retrievable")));
	assert_true(json_is_true(json_object_get(json_object_get(s, "metadata"), "shareable")));
	plan = json_array_get(json_object_get(s, "plans"), 1);
	assert_true(json_is_true(json_object_get(plan, "plan_updateable")));
	assert_true(json_is_true(json_object_get(plan, "free")));
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(plan, "maintenance_info"), "version")),
			    "1.0.0");
	plan = json_object_get(json_object_get(plan, "schemas"), "service_binding");
	plan = json_object_get(json_object_get(plan, "create"), "parameters");
	assert_non_null(json_object_get(plan, "$schema"));
	assert_non_null(json_object_get(json_object_get(plan, "properties"), "persifs.cache_size"));
	assert_null(json_object_get(json_object_get(plan, "properties"), "size"));
	s = json_array_get(json_object_get(a.json, "services"), 1);
	assert_true(json_is_false(json_object_get(json_object_get(s, "metadata"), "shareable")));
	fake_answer_done(&a);
}

static void catalog_is_not_sent_to_who_has_it(void **state)
{
	struct osb_call q = { .method = "GET",
			      .path = "/v2/catalog",
			      .authorization = "Basic dTpw",
			      .version = "2.17",
			      .body = "" };
	struct osb_reply r;
	char etag[40];

	(void)state;
	osb_answer(&f.b, &q, &r);
	assert_int_equal(r.status, 200);
	strcpy(etag, r.etag);
	free(r.text);
	q.if_none_match = etag;
	osb_answer(&f.b, &q, &r);
	assert_int_equal(r.status, 304);
	free(r.text);
}

/* --- repeats and conflicts ------------------------------------------------- */

static void repeats_of_a_creation_get_the_same(void **state)
{
	struct fake_answer a, b;
	static const char body[] =
		"{" FILES("big") "," CONTEXT
				 ",\"parameters\":{\"size\":\"2g\",\"uid\":7,\"gid\":8}}";
	static const char other_order[] =
		"{\"parameters\":{\"gid\":8, \"uid\":7, \"size\":\"2g\"}," CONTEXT
		"," FILES("big") "}";

	(void)state;
	fake_provider_hang(FAKE_CREATE);
	a = fake_call(&f, "PUT", I "a" ASYNC, body);
	assert_int_equal(a.status, 202);
	assert_true(fake_provider_wait_hanging(1));
	b = fake_call(&f, "PUT", I "a" ASYNC, other_order);
	assert_int_equal(b.status, 202);
	assert_string_equal(fake_text(&a, "operation"), fake_text(&b, "operation"));
	fake_answer_done(&a);
	fake_answer_done(&b);
	expect("PUT", I "a" ASYNC, MAKE("big"), 409, NULL);
	expect("GET", I "a", NULL, 404, NULL);
	expect("PATCH", I "a" ASYNC, "{" FILES("big") "}", 422, "ConcurrencyError");
	expect("PUT", I "a/service_bindings/b", BIND("x"), 422, "ConcurrencyError");
	a = fake_call(&f, "GET", I "a/last_operation", NULL);
	assert_string_equal(fake_text(&a, "state"), "in progress");
	assert_int_equal(a.retry_after, OSB_RETRY_S);
	fake_answer_done(&a);
	fake_provider_release();
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	expect("PUT", I "a" ASYNC, other_order, 200, NULL);
	expect("PUT", I "a", body, 200, NULL);
	expect("PUT", I "a" ASYNC, MAKE("big"), 409, NULL);
	expect("PUT", I "a" ASYNC, MAKE("small"), 409, NULL);
	assert_int_equal(fake_provider_volumes(), 1);
	expect_text("GET", I "a", NULL, 200, "\"size\":\"2g\"");
	expect("GET", I "a?service_id=s-disks", NULL, 404, NULL);
	expect("GET", I "a/last_operation?operation=create-0", NULL, 400, NULL);
}

static void bindings_repeat_and_conflict(void **state)
{
	static const struct line lines[] = {
		{ "PUT", I "a/service_bindings/b", BIND("x"), 201, NULL },
		{ "PUT", I "a/service_bindings/b", BIND("x"), 200, NULL },
		{ "PUT", I "a/service_bindings/b", BIND("y"), 409, NULL },
		{ "PUT", I "a/service_bindings/b",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{}}", 200, NULL },
		{ "PUT", I "a/service_bindings/b",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{\"readonly\":true}}", 409,
		  NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{\"readonly\":false}}", 400,
		  NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{\"source\":\"nfs://x/y\"}}",
		  400, NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{\"uid\":5}}", 400, NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":{\"mount\":\"rel\"}}", 400,
		  NULL },
		{ "PUT", I "a/service_bindings/c", "{" FILES("big") "}", 422, "RequiresApp" },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"bind_resource\":{\"credential_client_id\":\"k\"}}", 422,
		  "RequiresApp" },
		{ "PUT", I "a/service_bindings/c", "{" FILES("big") ",\"app_guid\":5}", 400, NULL },
		{ "PUT", I "a/service_bindings/c", "{" FILES("small") ",\"app_guid\":\"x\"}", 400,
		  NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"predecessor_binding_id\":\"no\"}", 400,
		  NULL },
		{ "PUT", I "a/service_bindings/c",
		  "{" FILES("big") ",\"app_guid\":\"x\",\"predecessor_binding_id\":\"b\"}", 201,
		  NULL },
		{ "GET", I "a/service_bindings/b", NULL, 200, NULL },
		{ "GET", I "a/service_bindings/b/last_operation", NULL, 200, NULL },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 422, NULL },
		{ "DELETE", I "a/service_bindings/b?service_id=s-disks&plan_id=disk", NULL, 400,
		  NULL },
		{ "DELETE", I "a/service_bindings/b?" IDS, NULL, 200, NULL },
		{ "DELETE", I "a/service_bindings/b?" IDS, NULL, 410, NULL },
		{ "GET", I "a/service_bindings/b", NULL, 404, NULL },
		{ "GET", I "a/service_bindings/b/last_operation", NULL, 410, NULL },
		{ "PUT", I "a/service_bindings/b", BIND("z"), 201, NULL },
		{ "DELETE", I "a/service_bindings/b?" IDS, NULL, 200, NULL },
		{ "DELETE", I "a/service_bindings/c?" IDS, NULL, 200, NULL },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 202, NULL },
		{ "~", "a", "succeeded", 0, NULL },
		{ "DELETE", I "a" ASYNC "&" IDS, NULL, 410, NULL },
	};

	(void)state;
	make("a", "big");
	run(lines, ARRAY_LEN(lines));
	assert_int_equal(fake_provider_volumes(), 0);
}

/* --- what a bind says ------------------------------------------------------ */

static json_t *bind_app(const char *instance, const char *id, const char *params)
{
	char path[200], body[600];
	struct fake_answer a;
	json_t *mount;

	snprintf(path, sizeof path, I "%s/service_bindings/%s", instance, id);
	snprintf(body, sizeof body, "{" FILES("big") ",\"app_guid\":\"x\",\"parameters\":%s}",
		 params);
	a = fake_call(&f, "PUT", path, body);
	if (a.status != 201)
		print_error("%s\n", a.text);
	assert_int_equal(a.status, 201);
	assert_int_equal(json_object_size(json_object_get(a.json, "credentials")), 0);
	assert_true(json_is_object(json_object_get(a.json, "credentials")));
	mount = json_incref(json_array_get(json_object_get(a.json, "volume_mounts"), 0));
	fake_answer_done(&a);
	return mount;
}

static const char *volume_id(const json_t *mount)
{
	return json_string_value(json_object_get(json_object_get(mount, "device"), "volume_id"));
}

static const json_t *config(const json_t *mount, const char *key)
{
	return json_object_get(json_object_get(json_object_get(mount, "device"), "mount_config"),
			       key);
}

static void volume_id_differs_with_the_options(void **state)
{
	json_t *rw, *r, *same, *user, *moved;

	(void)state;
	make("a", "big");
	rw = bind_app("a", "1", "{}");
	r = bind_app("a", "2", "{\"readonly\":true}");
	same = bind_app("a", "3", "{}");
	user = bind_app("a", "4", "{\"username\":\"joe\",\"password\":\"s3cret\"}");
	moved = bind_app("a", "5", "{\"mount\":\"/data/x\"}");
	assert_string_equal(volume_id(rw), volume_id(same));
	assert_string_equal(volume_id(rw),
			    volume_id(moved)); /* a path in a container is no option */
	assert_string_not_equal(volume_id(rw), volume_id(r));
	assert_string_not_equal(volume_id(rw), volume_id(user));
	assert_string_equal(json_string_value(json_object_get(rw, "mode")), "rw");
	assert_string_equal(json_string_value(json_object_get(r, "mode")), "r");
	assert_string_equal(json_string_value(json_object_get(rw, "container_dir")),
			    "/var/vcap/data/a");
	assert_string_equal(json_string_value(json_object_get(moved, "container_dir")), "/data/x");
	assert_string_equal(json_string_value(json_object_get(rw, "device_type")), "shared");
	assert_string_equal(json_string_value(json_object_get(rw, "driver")), "persifs");
	assert_string_equal(json_string_value(config(rw, "persifs.policy")), "lru");
	assert_string_equal(json_string_value(config(user, "password")), "s3cret");
	assert_null(config(moved, "mount"));
	assert_true(json_is_true(config(r, "readonly")));
	json_decref(rw);
	json_decref(r);
	json_decref(same);
	json_decref(user);
	json_decref(moved);
}

static void instance_parameters_are_defaults_of_binds(void **state)
{
	json_t *m;

	(void)state;
	expect("PUT", I "a" ASYNC,
	       "{" FILES(
		       "big") "," CONTEXT
			      ",\"parameters\":{\"uid\":7,\"gid\":\"8\",\"readonly\":true,\"mount\":\"/srv\"}}",
	       202, NULL);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	m = bind_app("a", "1", "{}");
	assert_int_equal(json_integer_value(config(m, "uid")), 7);
	assert_string_equal(json_string_value(json_object_get(m, "mode")), "r");
	assert_string_equal(json_string_value(json_object_get(m, "container_dir")), "/srv");
	json_decref(m);
	m = bind_app("a", "2", "{\"username\":\"u\",\"password\":\"p\"}");
	assert_null(config(m, "uid"));
	json_decref(m);
}

static void secrets_stay_where_they_belong(void **state)
{
	char path[100], line[1000];
	FILE *log;
	json_t *m;

	(void)state;
	make("a", "big");
	m = bind_app("a", "1", "{\"username\":\"joe\",\"password\":\"s3cret\"}");
	json_decref(m);
	expect_text("GET", I "a/service_bindings/1", NULL, 200,
		    "\"parameters\":{\"username\":\"joe\"}");
	snprintf(path, sizeof path, "%s/audit", f.dir);
	log = fopen(path, "r");
	assert_non_null(log);
	while (fgets(line, sizeof line, log)) {
		json_t *j = json_loads(line, 0, NULL);

		assert_non_null(j);
		assert_null(strstr(line, "s3cret"));
		json_decref(j);
	}
	fclose(log);
}

static void one_app_at_a_time_has_a_disk(void **state)
{
	static const struct line lines[] = {
		{ "PUT", I "d" ASYNC,
		  "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\"," CONTEXT "}", 202, NULL },
		{ "~", "d", "succeeded", 0, NULL },
		{ "PUT", I "d/service_bindings/1",
		  "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\",\"app_guid\":\"x\"}", 201,
		  NULL },
		{ "PUT", I "d/service_bindings/2",
		  "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\",\"app_guid\":\"x\"}", 201,
		  NULL },
		{ "PUT", I "d/service_bindings/3",
		  "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\",\"app_guid\":\"y\"}", 422,
		  NULL },
		{ "DELETE", I "d/service_bindings/1?service_id=s-disks&plan_id=disk", NULL, 200,
		  NULL },
		{ "DELETE", I "d/service_bindings/2?service_id=s-disks&plan_id=disk", NULL, 200,
		  NULL },
		{ "PUT", I "d/service_bindings/3",
		  "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\",\"app_guid\":\"y\"}", 201,
		  NULL },
	};

	(void)state;
	run(lines, ARRAY_LEN(lines));
	expect_text("PUT", I "d/service_bindings/4",
		    "{\"service_id\":\"s-disks\",\"plan_id\":\"disk\",\"app_guid\":\"z\"}", 422,
		    "one app can use at a time");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(malformed_requests_change_nothing),
		T(credentials_come_first_then_the_version),
		T(too_long_bodies_and_parameters_are_refused),
		T(catalog_tells_the_truth),
		T(catalog_is_not_sent_to_who_has_it),
		T(repeats_of_a_creation_get_the_same),
		T(bindings_repeat_and_conflict),
		T(volume_id_differs_with_the_options),
		T(instance_parameters_are_defaults_of_binds),
		T(secrets_stay_where_they_belong),
		T(one_app_at_a_time_has_a_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
