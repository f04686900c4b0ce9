/* SPDX-License-Identifier: Apache-2.0 */
/* Sweeping, and the page about an instance. */
#include "tests/unit/tools/broker_test.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "tools/broker/sweep.h"

#define MAKE "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"context\":{}}"
#define OLD 1000000000 /* seconds since 1970 */
#define GIB (1ULL << 30)

static void make(const char *id, const char *context)
{
	char path[200], body[600];
	struct fake_answer a;

	snprintf(path, sizeof path, I "%s" ASYNC, id);
	snprintf(body, sizeof body,
		 "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"context\":%s}", context);
	a = fake_call(&f, "PUT", path, body);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&f, id), "succeeded");
}

/* Only the provider "files" is looked at: the fake ones share their volumes. */
static json_t *run(bool fix, uint64_t grace_s)
{
	struct sweep_options o = { .fix = fix, .grace_s = grace_s };
	json_t *all = fake_broker_config(&f), *found = NULL;
	struct bconfig *c;
	struct err err = { "" };

	json_object_del(json_object_get(all, "providers"), "blocks");
	json_array_remove(json_object_get(all, "services"), 1);
	c = fake_broker_load(all);
	assert_int_equal(sweep(c, f.b.store, &o, &found, &err), 0);
	bconfig_put(c);
	return found;
}

static unsigned count(const json_t *found, const char *kind)
{
	unsigned n = 0;

	for (size_t i = 0; i < json_array_size(found); i++)
		n += !strcmp(json_string_value(json_object_get(json_array_get(found, i), "kind")),
			     kind);
	return n;
}

static void orphans_are_found_and_removed(void **state)
{
	json_t *found;

	(void)state;
	make("a", "{}");
	found = run(true, 0);
	assert_int_equal(json_array_size(found), 0);
	json_decref(found);
	fake_provider_add("orphan", GIB, OLD);
	fake_provider_add("young", GIB, (uint64_t)time(NULL));
	fake_provider_add("ageless", GIB, 0);
	found = run(false, 3600);
	assert_int_equal(count(found, "orphan"), 2); /* the young one may be somebody's yet */
	assert_false(sweep_is_clean(found));
	json_decref(found);
	assert_int_equal(fake_provider_volumes(), 4);
	found = run(true, 3600);
	assert_int_equal(count(found, "orphan"), 2);
	assert_false(sweep_is_clean(found)); /* of unknown age: told, not removed */
	json_decref(found);
	assert_int_equal(fake_provider_volumes(), 3);
	found = run(true, 0);
	assert_true(sweep_is_clean(found));
	json_decref(found);
	assert_int_equal(fake_provider_volumes(), 1);
}

static void what_others_changed_is_told(void **state)
{
	json_t *found;

	(void)state;
	make("gone", "{}");
	make("grown", "{}");
	make("mapped", "{}");
	fake_provider_drop("gone");
	fake_provider_resize("grown", 3 * GIB);
	fake_provider_set_hosts("mapped", 2);
	found = run(true, 0);
	assert_int_equal(count(found, "missing"), 1);
	assert_int_equal(count(found, "size"), 1);
	assert_int_equal(count(found, "mapped"), 1);
	assert_int_equal(json_array_size(found), 3);
	sweep_print(stdout, found);
	json_decref(found);
}

static void a_storage_that_is_away_is_told(void **state)
{
	json_t *found;

	(void)state;
	make("a", "{}");
	fake_provider_fail(FAKE_LIST, 0, 1, -EAGAIN, false);
	found = run(true, 0);
	assert_int_equal(count(found, "unreachable"), 1);
	assert_int_equal(json_array_size(found), 1);
	json_decref(found);
	assert_int_equal(fake_provider_volumes(), 1);
}

static int many_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	strcpy(i->service, "s-files");
	strcpy(i->plan, "big");
	strcpy(i->provider, "files");
	i->state = INSTANCE_READY;
	return 0;
}

static void more_than_a_page_of_rows_is_looked_at(void **state)
{
	struct err err;
	json_t *found;
	char id[20];

	(void)state;
	for (unsigned i = 0; i < SWEEP_PAGE + 3; i++) {
		snprintf(id, sizeof id, "i%u", i);
		assert_int_equal(store_change(f.b.store, id, many_rule, NULL, &err), 0);
		fake_provider_add(id, GIB, OLD);
	}
	fake_provider_drop("i502");
	found = run(true, 0);
	assert_int_equal(count(found, "orphan"), 0);
	assert_int_equal(count(found, "missing"), 1);
	json_decref(found);
	assert_int_equal(fake_provider_volumes(), SWEEP_PAGE + 2);
}

/* --- the page -------------------------------------------------------------- */

/* The path with its token, of the link that a fetch tells. */
static void link_of(const char *id, char *buf, size_t cap)
{
	static const char base[] = "https://broker.test";
	char path[200];
	struct fake_answer a;

	snprintf(path, sizeof path, I "%s", id);
	a = fake_call(&f, "GET", path, NULL);
	assert_memory_equal(fake_text(&a, "dashboard_url"), base, sizeof base - 1);
	snprintf(buf, cap, "%s", fake_text(&a, "dashboard_url") + sizeof base - 1);
	fake_answer_done(&a);
}

/* As a browser asks: without credentials and version. */
static struct osb_reply ask(const char *link)
{
	char path[300];
	struct osb_call q = { .method = "GET", .path = path, .body = "" };
	struct osb_reply r;
	char *t;

	snprintf(path, sizeof path, "%s", link);
	t = strstr(path, "?t=");
	if (t) {
		*t = '\0';
		q.token = t + 3;
	}
	osb_answer(&f.b, &q, &r);
	return r;
}

static void ask_for(const char *link, unsigned status, const char *part)
{
	struct osb_reply r = ask(link);

	if (r.status != status || !strstr(r.text, part))
		print_error("%s: %u %s\n", link, r.status, r.text);
	assert_int_equal(r.status, status);
	assert_non_null(strstr(r.text, part));
	free(r.text);
}

static void a_page_is_escaped_and_whole(void **state)
{
	struct osb_reply r;
	char link[300];

	(void)state;
	make("a",
	     "{\"instance_name\":\"<script>alert('x')</script>\",\"space_name\":\"a\\\"b&c\"}");
	link_of("a", link, sizeof link);
	r = ask(link);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.type, "text/html; charset=utf-8");
	assert_null(strstr(r.text, "<script"));
	assert_non_null(strstr(r.text, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
	assert_non_null(strstr(r.text, "a&quot;b&amp;c"));
	assert_null(strstr(r.text, "src="));
	assert_null(strstr(r.text, "href="));
	assert_null(strstr(r.text, "url("));
	assert_non_null(strstr(r.text, "<dd>1 GiB</dd>"));
	assert_non_null(strstr(r.text, "<dd>256 MiB</dd>"));
	assert_non_null(strstr(r.text, "25 % used"));
	assert_non_null(strstr(r.text, "class=\"good\" width=\"25.0\""));
	assert_null(strstr(r.text, "style=")); /* the policy would not let it through */
	assert_non_null(strstr(r.policy, "style-src 'sha256-"));
	assert_null(strstr(r.policy, "unsafe"));
	assert_non_null(strstr(r.text, "viewport"));
	free(r.text);
}

static void links_open_their_page_only_and_for_a_while(void **state)
{
	char link[300], other[300];
	char *token;

	(void)state;
	make("a", "{}");
	make("b", "{}");
	link_of("a", link, sizeof link);
	ask_for(link, 200, "ready");
	token = strstr(link, "?t=");
	snprintf(other, sizeof other, "/dashboard/b%s", token);
	ask_for(other, 403, "has expired");
	ask_for("/dashboard/a", 403, "has expired");
	ask_for("/dashboard/a?t=", 403, "has expired");
	ask_for("/dashboard/a?t=1.x", 403, "has expired");
	/* A link of the past: signed by us, and over. */
	token = seal_sign(f.b.seal, "dashboard a", (uint64_t)time(NULL) - 1);
	snprintf(other, sizeof other, "/dashboard/a?t=%s", token);
	free(token);
	ask_for(other, 403, "has expired");
	/* Of an instance that is gone. */
	token = seal_sign(f.b.seal, "dashboard zz", (uint64_t)time(NULL) + 60);
	snprintf(other, sizeof other, "/dashboard/zz?t=%s", token);
	free(token);
	ask_for(other, 404, "deleted");
}

static void a_page_does_not_wait_for_a_storage_that_hangs(void **state)
{
	char link[300];

	(void)state;
	make("a", "{}");
	link_of("a", link, sizeof link);
	fake_provider_fail(FAKE_HEALTH, 0, 1, -EAGAIN, false);
	ask_for(link, 200, "not well");
	fake_provider_hang(FAKE_GET);
	ask_for(link, 200, "does not answer now");
	fake_provider_release();
}

/* As a browser shows it, not as a program reads it. */
static void what_is_no_page_is_a_page_too(void **state)
{
	struct osb_reply r;

	(void)state;
	ask_for("/dashboard/", 404, "<h1>There is no such page</h1>");
	ask_for("/dashboard/a/b", 404, "<h1>There is no such page</h1>");
	r = ask("/dashboard/a?t=1.x");
	assert_string_equal(r.type, "text/html; charset=utf-8");
	assert_non_null(strstr(r.policy, "default-src 'none'"));
	free(r.text);
}

static void bindings_are_shown(void **state)
{
	struct fake_answer a;
	char link[300];

	(void)state;
	make("a", "{}");
	link_of("a", link, sizeof link);
	ask_for(link, 200, "no app uses this volume");
	a = fake_call(&f, "PUT", I "a/service_bindings/b",
		      "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"app_guid\":\"<app>\","
		      "\"parameters\":{\"readonly\":true}}");
	assert_int_equal(a.status, 201);
	fake_answer_done(&a);
	ask_for(link, 200, "&lt;app&gt;</code> · read-only<br><small><code>/var/vcap/data/a");
}

static void bind_app(unsigned n)
{
	struct fake_answer a;
	char path[100], body[200];

	snprintf(path, sizeof path, I "a/service_bindings/b%03u", n);
	snprintf(body, sizeof body,
		 "{\"service_id\":\"s-files\",\"plan_id\":\"big\",\"app_guid\":\"app-number-%u\"}",
		 n);
	a = fake_call(&f, "PUT", path, body);
	assert_int_equal(a.status, 201);
	fake_answer_done(&a);
}

static void unbind_app(unsigned n)
{
	struct fake_answer a;
	char path[100];

	snprintf(path, sizeof path, I "a/service_bindings/b%03u?service_id=s-files&plan_id=big", n);
	a = fake_call(&f, "DELETE", path, NULL);
	assert_int_equal(a.status, 200);
	fake_answer_done(&a);
}

/* However many bindings there have been. */
static void those_that_live_are_shown_whatever_was_before_them(void **state)
{
	char link[300];

	(void)state;
	make("a", "{}");
	link_of("a", link, sizeof link);
	for (unsigned n = 0; n < 70; n++)
		bind_app(n);
	ask_for(link, 200, "and more");
	for (unsigned n = 0; n < 69; n++)
		unbind_app(n);
	ask_for(link, 200, "title=\"app-number-69\">app-numb");
	unbind_app(69);
	ask_for(link, 200, "no app uses this volume");
}

/* A tombstone's time is not its, nor none. */
static void one_that_is_created_anew_has_times(void **state)
{
	struct fake_answer a;
	char link[300];

	(void)state;
	make("a", "{}");
	a = fake_call(&f, "DELETE", I "a" ASYNC "&service_id=s-files&plan_id=big", NULL);
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	make("a", "{}");
	link_of("a", link, sizeof link);
	ask_for(link, 200, "<dt>Begun</dt><dd><time>20");
	ask_for(link, 200, "<dt>Ended</dt><dd><time>20");
	ask_for(link, 200, "<dt>Created</dt><dd><time>20");
}

static void operations_before_the_last_are_shown(void **state)
{
	struct fake_answer a;
	char link[300];

	(void)state;
	make("a", "{}");
	a = fake_call(&f, "PATCH", I "a" ASYNC,
		      "{\"service_id\":\"s-files\",\"parameters\":{\"size\":\"2g\"}}");
	assert_int_equal(a.status, 202);
	fake_answer_done(&a);
	assert_string_equal(fake_wait(&f, "a"), "succeeded");
	link_of("a", link, sizeof link);
	ask_for(link, 200, "<dt>Update</dt><dd class=\"good\">succeeded");
	ask_for(link, 200, "<li>Creation <span class=\"good\">succeeded</span> <small><time>20");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(orphans_are_found_and_removed),
		T(what_others_changed_is_told),
		T(a_storage_that_is_away_is_told),
		T(more_than_a_page_of_rows_is_looked_at),
		T(a_page_is_escaped_and_whole),
		T(links_open_their_page_only_and_for_a_while),
		T(a_page_does_not_wait_for_a_storage_that_hangs),
		T(what_is_no_page_is_a_page_too),
		T(bindings_are_shown),
		T(those_that_live_are_shown_whatever_was_before_them),
		T(one_that_is_created_anew_has_times),
		T(operations_before_the_last_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
