/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations, plans, handles, and what mounts are told: without an array. */
#include "tests/unit/backends/onefs_test.h"

#define BASE "/ifs/data/persifs"

static char name[PROVIDER_NAME_MAX];
static char text[2][2048];

static const char *body(unsigned i, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static const char *body(unsigned i, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text[i], sizeof text[i], fmt, ap);
	va_end(ap);
	return text[i];
}

static struct provider_ref ref(const json_t *plan)
{
	return (struct provider_ref){ .owner = OWNER, .plan = plan };
}

static void mistakes_of_the_configuration_are_named(void **state)
{
	static const char *const cases[][2] = {
		{ "", "networks" },
		{ FIXED ", \"colour\": 1", "colour" },
		{ "\"networks\": []", "networks" },
		{ "\"networks\": \"10.0.0.0/8\"", "networks" },
		{ "\"networks\": [7]", "networks" },
		{ "\"networks\": [\"\"]", "networks" },
		{ "\"networks\": [\"*\"]", "networks" },
		{ "\"networks\": [\"0.0.0.0/0\"]", "networks" },
		{ "\"networks\": [\"::/0\"]", "networks" },
		{ "\"networks\": [\"10.0.0.0/33\"]", "networks" },
		{ "\"networks\": [\"10.0.0.0/ 8\"]", "networks" },
		{ "\"networks\": [\"10.1/16\"]", "networks" },
		{ MANAGED ", " FIXED, "networks" },
		{ FIXED ", \"clients\": \"all\"", "clients" },
		{ FIXED ", \"auth\": \"token\"", "auth" },
		{ FIXED ", \"base_path\": \"/data\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs/\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs/a//b\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs/a/../b\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs/a/\"", "base_path" },
		{ FIXED ", \"base_path\": \"/ifs/.snapshot/a\"", "base_path" },
		{ FIXED ", \"zone\": \"\"", "zone" },
		{ FIXED ", \"nfs_host\": \"a b\"", "nfs_host" },
		{ FIXED ", \"nfs_host\": \"a/b\"", "nfs_host" },
	};
	struct provider *p = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char config[512];
		json_t *json;

		snprintf(config, sizeof config,
			 "{\"type\": \"onefs\", \"url\": \"https://127.0.0.1:1\", \"user\": \"u\", "
			 "\"password\": \"" SECRET "\"%s%s}",
			 *cases[i][0] ? ", " : "", cases[i][0]);
		json = json_loads(config, 0, NULL);
		assert_non_null(json);
		if (provider_open("isi", json, &p, &fx.err) != -EINVAL)
			fail_msg("%s", cases[i][0]);
		if (!strstr(fx.err.text, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], fx.err.text);
		sentence_is_clean();
		json_decref(json);
	}
}

static void mistakes_of_a_plan_are_named(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"uid\": 0}", "uid" },
		{ "{\"uid\": -1}", "uid" },
		{ "{\"gid\": 4294967295}", "gid" },
		{ "{\"gid\": \"x\"}", "gid" },
		{ "{\"mode\": 770}", "mode" },
		{ "{\"mode\": \"770x\"}", "mode" },
		{ "{\"mode\": \"0970\"}", "mode" },
		{ "{\"mode\": \"0070\"}", "mode" },
		{ "{\"mode\": \"17777\"}", "mode" },
		{ "{\"quota\": \"maybe\"}", "quota" },
		{ "{\"quota\": null}", "quota" },
		{ "{\"zone\": 1}", "zone" },
		{ "{\"base_path\": \"/tmp\"}", "base_path" },
		{ "{\"nfs_host\": \"\"}", "nfs_host" },
		{ "{\"nfs_host\": \"h,ro\"}", "nfs_host" },
	};
	static const char good[] =
		"{\"name\":\"small\",\"uid\":1000,\"gid\":\"1001\",\"mode\":\"2775\",\"quota\":"
		"\"required\",\"zone\":\"cf\",\"base_path\":\"/ifs/cf\",\"nfs_host\":\"fd00::1\"}";
	json_t *plan;

	(void)state;
	open_more(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		plan = json_loads(cases[i][0], 0, NULL);
		if (fx.p->ops->check_plan(fx.p, plan, &fx.err) != -EINVAL ||
		    !strstr(fx.err.text, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], fx.err.text);
		json_decref(plan);
	}
	plan = json_loads(good, 0, NULL);
	for (unsigned i = 0; i < 3; i++) /* the same place is one place */
		assert_int_equal(fx.p->ops->check_plan(fx.p, plan, &fx.err), 0);
	assert_int_equal(fx.o->nplaces, 2);
	json_decref(plan);
	for (unsigned i = 2; i <= ONEFS_PLACES_MAX; i++) {
		plan = json_pack("{s:s}", "base_path", body(0, "/ifs/p%u", i));
		assert_int_equal(fx.p->ops->check_plan(fx.p, plan, &fx.err),
				 i < ONEFS_PLACES_MAX ? 0 : -EINVAL);
		json_decref(plan);
	}
}

static void mounts_get_source_and_owner(void **state)
{
	static const struct {
		const char *more, *plan, *source;
	} cases[] = {
		{ FIXED, "{}", "nfs://nfs.example" BASE "/" },
		{ FIXED, "{\"base_path\":\"/ifs/a b\",\"nfs_host\":\"fd00::1\"}",
		  "nfs://[fd00::1]/ifs/a%20b/" },
		{ MANAGED, "{}", "onefs://isi/" },
		{ MANAGED, "{\"base_path\":\"/ifs/cf\",\"zone\":\"cf\"}", "onefs://isi/" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *plan = json_loads(cases[i].plan, 0, NULL), *config = json_object();
		const struct provider_ref r = ref(plan);
		const char *source;

		open_more(cases[i].more);
		fx.p->ops->name_of(fx.p, OWNER, name);
		assert_int_equal(fx.p->ops->mount_config(fx.p, &r, config, &fx.err), 0);
		source = rest_text(config, "source");
		body(0, "%s%s%s", cases[i].source, name,
		     i == 3 ? body(1, "?path=%%2Fifs%%2Fcf%%2F%s&zone=cf", name) : "");
		assert_string_equal(source, text[0]);
		assert_int_equal(json_integer_value(json_object_get(config, "uid")), 2000);
		assert_int_equal(json_integer_value(json_object_get(config, "gid")), 2000);
		close_provider();
		json_decref(plan);
		json_decref(config);
	}
	assert_int_equal(fake_http_count(fx.a), 0); /* nobody was asked */
}

static void handle_of_another_is_refused(void **state)
{
	static const char *const cases[] = {
		"{\"name\":\"cf-00000000000000000000000000\"}",
		"{\"name\":\"cf-x\"}",
		"{\"path\":\"/ifs/data/persifs/other\"}",
		"{\"path\":\"/ifs/../etc\"}",
		"{\"path\":\"relative\"}",
	};
	struct isi_volume v;
	json_t *h;

	(void)state;
	open_more(FIXED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct provider_ref r = ref(NULL);

		r.handle = h = json_loads(cases[i], 0, NULL);
		assert_int_equal(isi_locate(fx.o, &r, &v, &fx.err), -EINVAL);
		json_decref(h);
	}
	{
		struct provider_ref r = { .owner = NULL };

		assert_int_equal(isi_locate(fx.o, &r, &v, &fx.err), -EINVAL);
		/* what a driver knows: the name alone */
		fx.p->ops->name_of(fx.p, OWNER, name);
		r.handle = h = json_pack("{s:s, s:s, s:s}", "name", name, "path",
					 body(0, "/ifs/cf/%s", name), "zone", "cf");
		assert_int_equal(isi_locate(fx.o, &r, &v, &fx.err), 0);
		assert_string_equal(v.path, text[0]);
		assert_string_equal(v.zone, "cf");
		json_object_del(h, "path");
		assert_int_equal(isi_locate(fx.o, &r, &v, &fx.err), 0);
		assert_string_equal(v.path, body(0, BASE "/%s", name));
		json_decref(h);
	}
	assert_int_equal(fx.p->ops->remove_name(fx.p, "somebodys", &fx.err), -EINVAL);
	assert_int_equal(fx.p->ops->set_used(fx.p, NULL, &fx.err), -EOPNOTSUPP);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mistakes_of_the_configuration_are_named),
		T(mistakes_of_a_plan_are_named),
		T(mounts_get_source_and_owner),
		T(handle_of_another_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
