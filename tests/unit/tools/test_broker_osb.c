/* SPDX-License-Identifier: Apache-2.0 */
/* Conformance: each status and error word of the protocol, repeats and conflicts, and sequences of a platform that
 * cleans up after itself. */
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

#include "common/cleanup.h"
#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_provider.h"

#define CLIENTS 32
#define I "/v2/service_instances/"
#define ASYNC "?accepts_incomplete=true"
#define IDS "service_id=s-files&plan_id=big"
#define FILES(plan) "\"service_id\":\"s-files\",\"plan_id\":\"" plan "\""
#define CONTEXT "\"context\":{\"platform\":\"cloudfoundry\"}"
#define MAKE(plan) "{" FILES(plan) "," CONTEXT "}"
#define BIND(app) "{" FILES("big") ",\"bind_resource\":{\"app_guid\":\"" app "\"}}"

static struct fake_broker f;

static int start(void **state)
{
	(void)state;
	return fake_broker_start(&f, NULL);
}

static int stop(void **state)
{
	(void)state;
	fake_broker_stop(&f);
	return 0;
}

/* --- one request a line ---------------------------------------------------- */

static void expect(const char *method, const char *path, const char *body, unsigned status,
		   const char *word)
{
	struct fake_answer a = fake_call(&f, method, path, body);

	if (a.status != status || strcmp(fake_text(&a, "error"), word ? word : ""))
		print_error("%s %s %s: %u %s\n", method, path, body ? body : "", a.status, a.text);
	assert_int_equal(a.status, status);
	assert_string_equal(fake_text(&a, "error"), word ? word : "");
	assert_true(json_is_object(a.json)); /* bodies are never empty */
	if (status >= 400 && status != 410)
		assert_true(strlen(fake_text(&a, "description")) > 0);
	fake_answer_done(&a);
}

static void expect_text(const char *method, const char *path, const char *body, unsigned status,
			const char *part)
{
	struct fake_answer a = fake_call(&f, method, path, body);

	if (a.status != status || !strstr(a.text, part))
		print_error("%s %s %s: %u %s\n", method, path, body ? body : "", a.status, a.text);
	assert_int_equal(a.status, status);
	assert_non_null(strstr(a.text, part));
	fake_answer_done(&a);
}

static void make(const char *id, const char *plan)
{
	char path[300], body[300];

	snprintf(path, sizeof path, I "%s" ASYNC, id);
	snprintf(body, sizeof body, "{\"service_id\":\"s-files\",\"plan_id\":\"%s\"," CONTEXT "}",
		 plan);
	expect("PUT", path, body, 202, NULL);
	assert_string_equal(fake_wait(&f, id), "succeeded");
}

struct line {
	const char *method, *path, *body;
	unsigned status;
	const char *word;
};

static void run(const struct line *l, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (*l[i].method == '~')
			assert_string_equal(fake_wait(&f, l[i].path), l[i].body);
		else
			expect(l[i].method, l[i].path, l[i].body, l[i].status, l[i].word);
	}
}

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

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

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
