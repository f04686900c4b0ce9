/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulated cluster does not do by itself: conflicts, odd answers, old releases. */
#include "tests/unit/backends/onefs_test.h"

#define EXPORTS "/platform/2/protocols/nfs/exports"
#define QUOTAS "/platform/1/quota/quotas"
#define SNAPSHOTS "/platform/1/snapshot/snapshots"
#define BASE "/ifs/data/persifs"
#define NS "/namespace" BASE
#define GIB (1024ULL * 1024 * 1024)
#define ATTRS                                                                         \
	"{\"attrs\":[{\"name\":\"type\",\"value\":\"container\",\"namespace\":null}," \
	"{\"name\":\"create_time\",\"value\":\"Tue, 14 Nov 2023 22:13:20 GMT\"}]}"
#define NONE "{\"exports\":[],\"resume\":null,\"total\":0}"
#define NO_QUOTA "{\"quotas\":[],\"resume\":null}"
#define LATEST "GET /platform/latest"

static char name[PROVIDER_NAME_MAX];
static char text[8][2048]; /* bodies of the script */
static json_t *handle;
static uint64_t size;

static void begin(const char *more)
{
	open_more(more);
	fx.p->ops->name_of(fx.p, OWNER, name);
	on(LATEST, 200, "{\"latest\":\"12\"}");
	size = 0;
	handle = NULL;
}

static const char *body(unsigned i, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static const char *body(unsigned i, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text[i], sizeof text[i], fmt, ap);
	va_end(ap);
	return text[i];
}

/* One export of ours. */
static const char *ours(unsigned i, int id, const char *clients)
{
	return body(i,
		    "{\"exports\":[{\"id\":%d,\"paths\":[\"" BASE
		    "/%s\"],\"description\":\"persifs volume %s of x\",\"clients\":[%s],"
		    "\"read_write_clients\":[],\"max_file_size\":9223372036854775807}],"
		    "\"resume\":null,\"total\":1}",
		    id, name, name, clients);
}

#define CELLS "\"localhost\",\"10.30.0.0/16\""

static const char *quota(unsigned i, const char *members)
{
	return body(
		i,
		"{\"quotas\":[{\"id\":\"XwAFAQEA\",\"path\":\"" BASE
		"/%s\",\"type\":\"directory\",\"enforced\":true,\"include_snapshots\":false,%s}]}",
		name, members);
}

#define HARD "\"thresholds\":{\"hard\":1073741824,\"soft\":null}"

static struct provider_ref ref(const json_t *plan)
{
	return (struct provider_ref){ .owner = OWNER, .plan = plan };
}

static int create_with(const json_t *plan)
{
	const struct provider_spec spec = { .size = GIB };
	const struct provider_ref r = ref(plan);

	json_decref(handle);
	handle = NULL;
	return fx.p->ops->create(fx.p, &r, &spec, &handle, &size, &fx.err);
}

static int create(void)
{
	return create_with(NULL);
}

static int remove_volume(void)
{
	const struct provider_ref r = ref(NULL);

	return fx.p->ops->remove(fx.p, &r, &fx.err);
}

static int get(struct provider_volume *v)
{
	const struct provider_ref r = ref(NULL);

	return fx.p->ops->get(fx.p, &r, v, &fx.err);
}

static const struct fake_http_seen *last(void)
{
	return fake_http_seen(fx.a, fake_http_count(fx.a) - 1);
}

static void directory_is_there(void)
{
	on("GET " NS "/", 200, ATTRS);
	on("PUT " NS "/", 200, NULL); /* acl */
}

static void quota_is_there(void)
{
	on("GET " QUOTAS, 200, quota(7, HARD));
}

/* --- create ------------------------------------------------------------------------ */

static void creation_is_directory_owner_quota_export(void **state)
{
	const struct fake_http_seen *s;

	(void)state;
	begin(FIXED BASIC);
	on("GET " NS "/", 404, "<html><h1>Not Found</h1></html>");
	on("PUT " NS "/", 200, NULL);
	on("PUT " NS "/", 200, NULL);
	on("GET " QUOTAS, 200, NO_QUOTA);
	on("POST " QUOTAS, 201, "{\"id\":\"XwAFAQEA\"}");
	quota_is_there();
	on("GET " EXPORTS, 200, NONE);
	on("POST " EXPORTS, 201, "{\"id\":812}");
	on("GET " EXPORTS "/812", 404, NULL);
	on("GET " EXPORTS "/812", 404, "{\"errors\":[{\"code\":\"AEC_NOT_FOUND\"}]}");
	on("GET " EXPORTS "/812", 200, ours(0, 812, CELLS));
	assert_int_equal(create(), 0);
	script_is_done();
	assert_int_equal(size, GIB);
	assert_int_equal(json_integer_value(json_object_get(handle, "export")), 812);
	assert_string_equal(rest_text(handle, "quota"), "XwAFAQEA");
	assert_string_equal(rest_text(handle, "zone"), "System");
	s = fake_http_seen(fx.a, 2);
	assert_string_equal(s->body,
			    "{\"authoritative\":\"mode\",\"mode\":\"0770\",\"owner\":{\"id\":"
			    "\"UID:2000\",\"type\":\"user\"},\"group\":{\"id\":\"GID:2000\","
			    "\"type\":\"group\"}}");
	s = fake_http_seen(fx.a, 4);
	assert_non_null(strstr(s->body, "\"hard\":1073741824"));
	assert_non_null(strstr(s->body, "\"container\":true"));
	assert_non_null(strstr(s->body, "\"include_snapshots\":false"));
	s = fake_http_seen(fx.a, 8);
	assert_string_equal(s->method, "POST");
	assert_non_null(strstr(s->body, "\"clients\":[\"localhost\",\"10.30.0.0/16\"]"));
	assert_non_null(strstr(s->body, " of " OWNER "\""));
	assert_null(strstr(s->body, "map_root"));
	json_decref(handle);
}

static void parents_are_made_without_the_volumes_mode(void **state)
{
	(void)state;
	begin(FIXED BASIC);
	on("PUT " NS "/", 404, NULL);
	on("PUT " NS, 200, NULL);
	on("PUT " NS "/", 200, NULL);
	assert_int_equal(isi_ns_mkdir(fx.o, BASE "/x", 0770, &fx.err), 0);
	assert_non_null(strstr(fx.headers, "x-isi-ifs-access-control: 0770\n"));
	assert_non_null(strstr(fx.headers, "x-isi-ifs-target-type: container\n"));
	assert_string_equal(fake_http_seen(fx.a, 1)->path, NS);
}

static void what_is_not_ours_is_a_conflict(void **state)
{
	static const char *const others[] = {
		"{\"exports\":[{\"id\":5,\"paths\":[\"" BASE "/%s\"],\"description\":\"theirs\"}]}",
		"{\"exports\":[{\"id\":5,\"paths\":[\"/ifs/a\",\"" BASE
		"/%s\"],\"description\":\"persifs volume x\"}]}",
	};

	(void)state;
	begin(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		char exports[512];

		/* the text has one %s, for the name */
		snprintf(exports, sizeof exports, "%.*s%s%s",
			 (int)(strstr(others[i], "%s") - others[i]), others[i], name,
			 strstr(others[i], "%s") + 2);
		directory_is_there();
		quota_is_there();
		on("GET " EXPORTS, 200, body(1, "%s", exports));
		assert_int_equal(create(), -EEXIST);
		assert_non_null(strstr(fx.err.text, "not ours"));
		on("GET " EXPORTS, 200, text[1]);
		assert_int_equal(remove_volume(), -EBUSY);
		fake_http_unexpected(fx.a);
	}
	script_is_done();
	on("GET " NS "/", 200, "{\"attrs\":[{\"name\":\"type\",\"value\":\"object\"}]}");
	assert_int_equal(create(), -EEXIST);
	assert_non_null(strstr(fx.err.text, "no directory"));
	directory_is_there();
	on("GET " QUOTAS, 200, quota(0, "\"thresholds\":{\"hard\":5368709120}"));
	assert_int_equal(create(), -EEXIST);
	assert_non_null(strstr(fx.err.text, "5368709120"));
	directory_is_there();
	on("GET " QUOTAS, 200, quota(0, "\"thresholds\":{\"hard\":null}"));
	assert_int_equal(create(), -EEXIST);
	script_is_done();
}

static void lost_answer_of_an_export_is_looked_for(void **state)
{
	const struct fake_http_step lost = { .match = "POST " EXPORTS, .fault = FAKE_HTTP_DROP };

	(void)state;
	begin(FIXED BASIC);
	directory_is_there();
	quota_is_there();
	on("GET " EXPORTS, 200, NONE);
	fake_http_add(fx.a, &lost);
	on("GET " EXPORTS, 200, NONE);
	on("GET " EXPORTS, 200, ours(0, 77, CELLS));
	/* the client has moved to the other node by then */
	fake_http_on(fx.b, "GET " EXPORTS, 200, NONE);
	fake_http_on(fx.b, "GET " EXPORTS, 200, text[0]);
	assert_int_equal(create(), 0);
	assert_int_equal(fake_http_calls(fx.a, "POST " EXPORTS), 1);
	assert_int_equal(fake_http_calls(fx.b, "POST " EXPORTS), 0);
	assert_int_equal(json_integer_value(json_object_get(handle, "export")), 77);
	json_decref(handle);
}

static void lists_of_an_earlier_export_are_closed_again(void **state)
{
	(void)state;
	begin(FIXED BASIC);
	directory_is_there();
	quota_is_there();
	on("GET " EXPORTS, 200, ours(0, 812, ""));
	on("GET " EXPORTS "/812", 200, ours(1, 812, ""));
	on("PUT " EXPORTS "/812", 204, NULL);
	on("GET " EXPORTS "/812", 200, ours(2, 812, CELLS));
	on("GET " EXPORTS "/812", 200, text[2]);
	assert_int_equal(create(), 0);
	assert_int_equal(fake_http_calls(fx.a, "PUT " EXPORTS), 1);
	script_is_done();
	json_decref(handle);
}

#define BAD_NAME "{\"errors\":[{\"code\":\"AEC_EXCEPTION\",\"message\":\"bad hostname cell-7\"}]}"
#define BAD_ARGUMENT \
	"{\"errors\":[{\"code\":\"AEC_BAD_REQUEST\",\"message\":\"Unknown query argument\"}]}"

static void old_release_is_told_to_ignore_names_otherwise(void **state)
{
	static const struct fake_http_step fine = { .match = "POST " EXPORTS,
						    .query = "ignore_unresolvable_hosts=true",
						    .status = 400,
						    .body = BAD_ARGUMENT },
					   forced = { .match = "POST " EXPORTS,
						      .query = "force=true",
						      .status = 201,
						      .body = "{\"id\":9}" },
					   plain = { .match = "POST " EXPORTS,
						     .status = 500,
						     .body = BAD_NAME };

	(void)state;
	begin(FIXED BASIC);
	directory_is_there();
	quota_is_there();
	on("GET " EXPORTS "/9", 200, ours(0, 9, CELLS));
	on("GET " EXPORTS, 200, NONE);
	/* forced, two copies of a creation both succeed: the later one goes */
	on("GET " EXPORTS, 200,
	   body(1,
		"{\"exports\":[{\"id\":9,\"paths\":[\"" BASE "/%s\"],\"description\":\"persifs "
		"volume %s of x\"},{\"id\":8,\"paths\":[\"" BASE
		"/%s\"],\"description\":\"persifs volume %s\"}]}",
		name, name, name, name));
	on("DELETE " EXPORTS "/9", 204, NULL);
	fake_http_add(fx.a, &fine);
	fake_http_add(fx.a, &forced);
	fake_http_add(fx.a, &plain);
	fx.o->pause_ms = 1;
	assert_int_equal(create(), 0);
	/* the second POST has no argument and took the step of force or of none */
	assert_int_equal(json_integer_value(json_object_get(handle, "export")), 8);
	assert_true(atomic_load(&fx.o->old_switches));
	script_is_done();
	json_decref(handle);
}

static void names_without_address_may_be_refused(void **state)
{
	(void)state;
	begin("\"networks\": [\"cell-7\"], \"ignore_unresolvable_hosts\": false" BASIC);
	directory_is_there();
	quota_is_there();
	on("GET " EXPORTS, 200, NONE);
	on("POST " EXPORTS, 500, BAD_NAME);
	assert_int_equal(create(), -EINVAL);
	assert_non_null(strstr(fx.err.text, "bad hostname cell-7"));
	script_is_done();
}

static void zone_has_to_hold_the_path(void **state)
{
	static const char *const zones = "{\"zones\":[{\"name\":\"System\",\"path\":\"/ifs\"},"
					 "{\"name\":\"cf\",\"path\":\"/ifs/cf\"}],\"resume\":null}";
	static const struct {
		const char *zone, *base;
		unsigned status;
		int rc;
	} cases[] = {
		{ "cf", "/ifs/cf", 200, 0 },        { "CF", "/ifs/cf/a", 200, 0 },
		{ "cf", "/ifs/cfx", 200, -EINVAL }, { "none", "/ifs/cf", 200, -EINVAL },
		{ "cf", "/ifs/x", 403, 0 }, /* may not list: the export will tell */
		{ "System", "/ifs/x", 0, 0 },
	};

	(void)state;
	begin(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct isi_place at = { "", "" };

		snprintf(at.base, sizeof at.base, "%s", cases[i].base);
		snprintf(at.zone, sizeof at.zone, "%s", cases[i].zone);
		if (cases[i].status)
			on("GET /platform/3/zones", cases[i].status, zones);
		assert_int_equal(isi_zone_check(fx.o, &at, &fx.err), cases[i].rc);
	}
	script_is_done();
}

/* --- remove -------------------------------------------------------------------------- */

static void removal_is_export_quota_snapshot_directory(void **state)
{
	static const char *const order[] = { "GET",    "GET",  "DELETE", "GET", "DELETE",
					     "DELETE", "POST", "DELETE", "GET" };

	(void)state;
	begin(FIXED BASIC);
	on("GET " EXPORTS, 200, ours(0, 812, CELLS ",\"10.9.9.9\""));
	on("DELETE " EXPORTS "/812", 204, NULL);
	quota_is_there();
	on("DELETE " QUOTAS "/XwAFAQEA", 204, NULL);
	on("DELETE " SNAPSHOTS "/cf-", 404, NULL);
	on("POST " NS "/cf-", 200, NULL);
	on("DELETE " NS "/.trash-cf-", 204, NULL);
	on("GET " EXPORTS, 200, NONE);
	assert_int_equal(remove_volume(), 0);
	script_is_done();
	for (unsigned i = 0; i < ARRAY_LEN(order); i++)
		assert_string_equal(fake_http_seen(fx.a, i)->method, order[i]);
}

static void what_is_gone_is_removed(void **state)
{
	(void)state;
	begin(FIXED BASIC);
	on("GET " EXPORTS, 404, "{\"errors\":[{\"code\":\"AEC_NOT_FOUND\"}]}");
	on("GET " QUOTAS, 404, "{\"errors\":[{\"message\":\"quota not found\"}]}");
	on("DELETE " SNAPSHOTS, 403, NULL); /* an account without that privilege */
	on("POST " NS, 404, NULL);
	on("DELETE " NS, 404, NULL);
	on("GET " EXPORTS, 200, NONE);
	assert_int_equal(remove_volume(), 0);
	script_is_done();
}

/* A create that is still on its way gives it a quota once more. */
static void volume_that_is_being_made_is_removed_later(void **state)
{
	(void)state;
	begin(FIXED BASIC);
	on("GET " EXPORTS, 200, NONE);
	on("GET " QUOTAS, 404, "{\"errors\":[{\"message\":\"quota not found\"}]}");
	on("DELETE " SNAPSHOTS "/cf-", 404, NULL);
	on("POST " NS "/cf-", 403,
	   "{\"errors\":[{\"code\":\"AEC_FORBIDDEN\",\"message\":\"no\"}]}");
	quota_is_there();
	assert_int_equal(remove_volume(), -EAGAIN);
	script_is_done();
}

static void volume_in_use_is_not_removed(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	on("GET " EXPORTS, 200, ours(0, 812, "\"localhost\",\"10.30.1.21\""));
	assert_int_equal(remove_volume(), -EBUSY);
	assert_non_null(strstr(fx.err.text, "10.30.1.21"));
	script_is_done();
}

static void trash_in_the_way_goes_first(void **state)
{
	(void)state;
	open_more(FIXED BASIC);
	on("POST " NS "/x", 409, "{\"errors\":[{\"code\":\"AEC_CONFLICT\"}]}");
	on("DELETE " NS "/.trash-x", 204, NULL);
	on("POST " NS "/x", 200, NULL);
	on("DELETE " NS "/.trash-x", 500, "<html>");
	on("DELETE " NS "/.trash-x", 409,
	   "{\"errors\":[{\"code\":\"AEC_CONFLICT\",\"message\":\"d is not empty\"}]}");
	on("DELETE " NS "/.trash-x", 404, NULL);
	assert_int_equal(isi_ns_remove(fx.o, BASE "/x", BASE "/.trash-x", &fx.err), 0);
	script_is_done();
	on("POST " NS "/x", 404, NULL);
	on("DELETE " NS "/.trash-x", 403, NULL); /* a folder that may not be entered */
	assert_int_equal(isi_ns_remove(fx.o, BASE "/x", BASE "/.trash-x", &fx.err), -EACCES);
	on("POST " NS "/x", 200, NULL);
	on("DELETE " NS "/.trash-x", 409, NULL);
	assert_int_equal(isi_ns_remove(fx.o, BASE "/x", BASE "/.trash-x", &fx.err), -EBUSY);
}

/* --- get, list, grow --------------------------------------------------------------------- */

static void usage_is_read_by_whatever_name(void **state)
{
	static const struct {
		const char *members;
		uint64_t used;
	} cases[] = {
		{ HARD ",\"usage\":{\"inodes\":1,\"logical\":77,\"physical\":2048}", 77 },
		{ HARD ",\"usage\":{\"fslogical\":78,\"physical\":1}", 78 },
		{ HARD ",\"usage\":{\"applogical\":79}", 79 },
		{ HARD ",\"usage\":{\"physical\":9007199254740993}", 9007199254740993 },
		{ HARD ",\"ready\":false,\"usage\":{\"logical\":5}", PROVIDER_UNKNOWN },
		{ HARD ",\"usage\":null", PROVIDER_UNKNOWN },
		{ HARD ",\"usage\":{\"logical\":-4}", PROVIDER_UNKNOWN },
	};

	(void)state;
	begin(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct provider_volume v;

		on("GET " NS, 200, ATTRS);
		on("GET " QUOTAS, 200, quota(0, cases[i].members));
		on("GET " EXPORTS, 200, ours(1, 812, CELLS ",\"10.9.9.9\",\"10.9.9.8\""));
		assert_int_equal(get(&v), 0);
		assert_int_equal(v.used, cases[i].used);
		assert_int_equal(v.size, GIB);
		assert_int_equal(v.created, 1700000000);
		assert_int_equal(v.nhosts, 2);
		assert_string_equal(v.name, name);
		assert_false(v.fresh);
		fake_http_clear(fx.a);
	}
}

static int grow(uint64_t want)
{
	const struct provider_ref r = ref(NULL);

	size = 0;
	return fx.p->ops->grow(fx.p, &r, want, &size, &fx.err);
}

static void quota_never_shrinks(void **state)
{
	(void)state;
	begin(FIXED BASIC);
	on_always("GET " NS, 200, ATTRS);
	quota_is_there();
	on("PUT " QUOTAS "/XwAFAQEA", 204, NULL);
	assert_int_equal(grow(1ULL << 45), 0);
	assert_int_equal(size, 1ULL << 45);
	assert_string_equal(last()->body, "{\"thresholds\":{\"hard\":35184372088832}}");
	quota_is_there();
	assert_int_equal(grow(GIB), 0); /* it has that */
	assert_int_equal(size, GIB);
	quota_is_there();
	assert_int_equal(grow(GIB - 1), -ERANGE);
	on("GET " QUOTAS, 200, quota(0, HARD ",\"usage\":{\"logical\":3221225472}"));
	assert_int_equal(grow(2 * GIB), -ERANGE);
	assert_non_null(strstr(fx.err.text, "holds 3221225472"));
	on("GET " QUOTAS, 200, NO_QUOTA);
	assert_int_equal(grow(GIB), -ERANGE);
	assert_int_equal(grow(0), -EINVAL);
	assert_int_equal(grow(UINT64_MAX), -EINVAL);
	assert_int_equal(fake_http_calls(fx.a, "PUT /"), 1);
}

struct names {
	unsigned n, stop;
	char name[8][PROVIDER_NAME_MAX];
};

static bool take(void *arg, const struct provider_volume *v)
{
	struct names *s = arg;

	assert_true(s->n < 8);
	snprintf(s->name[s->n++], PROVIDER_NAME_MAX, "%s", v->name);
	return s->n != s->stop;
}

static void list_finds_folders_trash_orphans_snapshots(void **state)
{
	char n[4][PROVIDER_NAME_MAX], *p;
	struct names found = { .n = 0 };
	const struct fake_http_step second = {
		.match = "GET " NS, .query = "resume=t 1&2", .times = 2, .body = text[1]
	};

	(void)state;
	begin(FIXED BASIC);
	for (unsigned i = 0; i < 4; i++)
		provider_make_name("cf-", (const char *[]){ "a", "b", "c", "d" }[i], n[i]);
	body(0,
	     "{\"children\":[{\"name\":\"%s\"},{\"name\":\"other\"},{\"name\":null},7],"
	     "\"resume\":\"t 1&2\"}",
	     n[0]);
	body(1,
	     "{\"children\":[{\"name\":\".trash-%s\"},{\"name\":\"%s\",\"type\":\"object\"}],"
	     "\"resume\":null}",
	     n[1], n[3]);
	body(2,
	     "{\"exports\":[{\"id\":1,\"paths\":[\"" BASE "/%s\"],\"description\":\"persifs "
	     "volume %s of c\"},{\"id\":2,\"paths\":[\"" BASE
	     "/%s\"],\"description\":\"theirs\"}]}",
	     n[2], n[2], n[3]);
	fake_http_add(fx.a, &second);
	on("GET " SNAPSHOTS, 403, NULL);
	on("GET " NS, 200, text[0]);
	on("GET " EXPORTS, 200, text[2]);
	assert_int_equal(fx.p->ops->list(fx.p, take, &found, &fx.err), 0);
	assert_int_equal(found.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		bool there = false;

		for (unsigned k = 0; k < found.n; k++)
			there |= !strcmp(found.name[k], n[i]);
		assert_true(there);
	}
	found.n = 0;
	found.stop = 1;
	on("GET " SNAPSHOTS, 200, "{\"snapshots\":[]}");
	on("GET " NS, 200, text[0]);
	on("GET " EXPORTS, 200, text[2]);
	assert_int_equal(fx.p->ops->list(fx.p, take, &found, &fx.err), 0);
	assert_int_equal(found.n, 1);
	script_is_done();
	p = strchr(fx.path, '?');
	assert_non_null(p);
}

static void stale_token_begins_the_list_anew(void **state)
{
	static const char page[] = "{\"children\":[{\"name\":\"a\"}],\"resume\":\"t\"}";
	const struct fake_http_step stale = {
		.match = "GET " NS,
		.query = "resume=t",
		.status = 400,
		.body = "{\"errors\":[{\"code\":\"AEC_BAD_REQUEST\",\"message\":\"Invalid resume "
			"token\"}]}"
	};
	const struct fake_http_step fine = { .match = "GET " NS,
					     .query = "resume=t",
					     .body = "{\"children\":[{\"name\":\"b\"}]}" };
	const struct fake_http_step same = {
		.match = "GET " NS, .query = "resume=t", .times = 5, .body = page
	};
	json_t *names = NULL;

	(void)state;
	open_more(FIXED BASIC);
	fake_http_add(fx.a, &stale);
	fake_http_add(fx.a, &fine);
	on("GET " NS, 200, page);
	on("GET " NS, 200, page);
	assert_int_equal(isi_ns_list(fx.o, BASE, &names, &fx.err), 0);
	assert_int_equal(json_array_size(names), 2); /* and not a twice */
	json_decref(names);
	script_is_done();
	fake_http_clear(fx.a);
	fake_http_add(fx.a, &same);
	on("GET " NS, 200, page);
	assert_int_equal(isi_ns_list(fx.o, BASE, &names, &fx.err), -EPROTO);
	assert_non_null(strstr(fx.err.text, "same page"));
	fake_http_clear(fx.a);
	for (unsigned i = 0; i < 9; i++)
		fake_http_add(fx.a, &stale);
	on_always("GET " NS, 200, page);
	assert_int_equal(isi_ns_list(fx.o, BASE, &names, &fx.err), -EAGAIN);
}

/* --- snapshots, the cluster --------------------------------------------------------------- */

static void copy_that_fails_names_the_first(void **state)
{
	static const struct {
		const char *body;
		int rc;
		const char *words;
	} cases[] = {
		{ "", 0, "" },
		{ "{\"success\":true,\"copy_errors\":[]}", 0, "" },
		{ "{\"copy_errors\":[{\"error_src\":\"/ifs/a/b\",\"message\":\"Permission denied\"},"
		  "{\"error_src\":\"/ifs/c\"}],\"success\":false}",
		  -EACCES, "'/ifs/a/b': Permission denied" },
		{ "{\"copy_errors\":{\"copy_errors\":[{\"source\":\"/ifs/x\",\"message\":\"io\"}]}}",
		  -EAGAIN, "'/ifs/x': io" },
		{ "{\"success\":false}", -EAGAIN, "not named" },
		{ "{\"copy_errors\":[17]}", -EAGAIN, "not named" },
		{ "<html>", -EPROTO, "no JSON" },
	};

	(void)state;
	open_more(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fx.err.text[0] = '\0';
		on("PUT " NS "/to", 200, cases[i].body);
		assert_int_equal(isi_ns_copy(fx.o, "/ifs/.snapshot/s 1/x", BASE "/to", &fx.err),
				 cases[i].rc);
		assert_non_null(strstr(fx.err.text, cases[i].words));
		assert_non_null(strstr(
			fx.headers, "x-isi-ifs-copy-source: /namespace/ifs/.snapshot/s%201/x\n"));
	}
	script_is_done();
}

static void snapshot_of_another_path_is_a_conflict(void **state)
{
	const struct provider_ref r = ref(NULL);

	(void)state;
	open_more(FIXED BASIC);
	fx.p->ops->name_of(fx.p, OWNER, name);
	on("GET " NS, 200, ATTRS);
	on("POST " SNAPSHOTS, 409, "{\"errors\":[{\"code\":\"AEC_CONFLICT\"}]}");
	on("GET " SNAPSHOTS "/cf-", 200,
	   body(0, "{\"snapshots\":[{\"id\":212,\"name\":\"%s\",\"path\":\"/ifs/else\"}]}", name));
	assert_int_equal(fx.p->ops->snapshot(fx.p, &r, &r, &handle, &fx.err), -EEXIST);
	assert_non_null(strstr(fx.err.text, "/ifs/else"));
	script_is_done();
}

static void health_is_what_the_cluster_says(void **state)
{
	static const struct {
		const char *config, *settings;
		int rc;
		const char *words;
	} cases[] = {
		{ "{\"name\":\"isi\",\"has_quorum\":true}", "{\"settings\":{\"service\":true}}", 0,
		  "" },
		{ "{\"name\":\"isi\"}", "{\"settings\":{}}", 0, "" },
		{ "{\"has_quorum\":false}", NULL, -EAGAIN, "quorum" },
		{ "{}", "{\"settings\":{\"service\":false}}", -EAGAIN, "switched off" },
		{ "{}", "{}", -EPROTO, "settings" },
		{ "[]", NULL, -EPROTO, "no object" },
		{ "<html>", NULL, -EPROTO, "no object" },
	};

	(void)state;
	begin(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fx.err.text[0] = '\0';
		on("GET /platform/3/cluster/config", 200, cases[i].config);
		if (cases[i].settings)
			on("GET /platform/3/protocols/nfs/settings/global", 200, cases[i].settings);
		assert_int_equal(fx.p->ops->health(fx.p, &fx.err), cases[i].rc);
		assert_non_null(strstr(fx.err.text, cases[i].words));
	}
	script_is_done();
	assert_true(atomic_load(&fx.p->ops->stats(fx.p)->of[0].requests) > 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(creation_is_directory_owner_quota_export),
		T(parents_are_made_without_the_volumes_mode),
		T(what_is_not_ours_is_a_conflict),
		T(lost_answer_of_an_export_is_looked_for),
		T(lists_of_an_earlier_export_are_closed_again),
		T(old_release_is_told_to_ignore_names_otherwise),
		T(names_without_address_may_be_refused),
		T(zone_has_to_hold_the_path),
		T(removal_is_export_quota_snapshot_directory),
		T(what_is_gone_is_removed),
		T(volume_that_is_being_made_is_removed_later),
		T(volume_in_use_is_not_removed),
		T(trash_in_the_way_goes_first),
		T(usage_is_read_by_whatever_name),
		T(quota_never_shrinks),
		T(list_finds_folders_trash_orphans_snapshots),
		T(stale_token_begins_the_list_anew),
		T(copy_that_fails_names_the_first),
		T(snapshot_of_another_path_is_a_conflict),
		T(health_is_what_the_cluster_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
