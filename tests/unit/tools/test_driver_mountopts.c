/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fusefs/options.h"
#include "tools/driver/mountopts.h"

static const char *const sources[] = { "nfs://", "memory:" };
static const char *const allowed[] = { "cache_size", "attr_timeout", "policy" };
static int identify(void *arg, const char *user, const char *password, uint32_t *uid, uint32_t *gid,
		    struct failure *f);
static struct mountopts_rules rules;
static struct mountopts m;
static struct failure f;

static int fresh(void **state)
{
	(void)state;
	log_level = LOG_LEVEL_ERROR;
	rules = (struct mountopts_rules){
		.sources = sources, .nsources = 2, .options = allowed, .noptions = 3
	};
	memset(&m, 0, sizeof m);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	mountopts_done(&m);
	return 0;
}

static int identify(void *arg, const char *user, const char *password, uint32_t *uid, uint32_t *gid,
		    struct failure *fail_out)
{
	(void)arg;
	if (strcmp(user, "alice") || strcmp(password, "s3cret"))
		return failure_set_safe(fail_out, -EACCES, "wrong");
	*uid = 1234;
	*gid = 5678;
	return 0;
}

/* Keys and values in one JSON text. */
static int build(const char *text)
{
	json_t *opts = json_loads(text, 0, NULL);
	int rc;

	assert_non_null(opts);
	mountopts_done(&m);
	memset(&m, 0, sizeof m);
	memset(&f, 0, sizeof f);
	rc = mountopts_build(opts, &rules, &m, &f);
	json_decref(opts);
	return rc;
}

static void refuse(const char *text, const char *sentence)
{
	assert_int_not_equal(build(text), 0);
	assert_true(f.safe);
	assert_string_equal(f.err.text, sentence);
}

/* As persifs mount would understand it. */
static struct mount_options parsed(void)
{
	struct mount_options o;
	struct err err = { "" };

	assert_int_equal(options_defaults(&o), 0);
	if (options_parse(&o, m.options, &err) || options_check(&o, &err))
		print_error("%s: %s\n", m.options, err.text);
	assert_string_equal(err.text, "");
	return o;
}

#define S "\"source\":\"nfs://nas/export\""

static void r3_values_are_taken_as_string_number_or_boolean(void **state)
{
	static const char *const same[] = {
		"{" S ",\"uid\":1000,\"gid\":1001,\"readonly\":true,\"version\":3}",
		"{" S ",\"uid\":\"1000\",\"gid\":\"1001\",\"readonly\":\"true\",\"version\":\"3\"}",
		"{" S ",\"uid\":1000.0,\"gid\":\"1001\",\"ro\":true,\"version\":\"3.0\"}",
		"{" S ",\"uid\":1000,\"gid\":1001,\"ro\":\"true\",\"version\":4.1}",
		"{" S
		",\"uid\":1000,\"gid\":1001,\"ro\":\"true\",\"version\":\"4.2\",\"cache\":\"true\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct mount_options o;

		assert_int_equal(build(same[i]), 0);
		o = parsed();
		assert_int_equal(o.uid, 1000);
		assert_int_equal(o.gid, 1001);
		assert_true(o.ro);
		options_done(&o);
	}
}

static void r5_mistakes_are_named_for_the_developer(void **state)
{
	(void)state;
	refuse("{\"zeta\":1,\"alpha\":{},\""
	       "persifs.layers\":\"x\"," S "}",
	       "Not allowed options: alpha, persifs.layers, zeta");
	refuse("{" S ",\"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
	       "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4xx\\n"
	       "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\":1}",
	       "Not allowed options: "
	       "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
	       "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4xx?"
	       "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4?");
	refuse("{}", "Missing mandatory options: source");
	refuse("{\"username\":\"u\"}", "Missing mandatory options: password, source");
	refuse("{" S ",\"uid\":1}", "option uid: wants gid beside it");
	refuse("{" S ",\"gid\":1}", "option gid: wants uid beside it");
	refuse("{" S ",\"uid\":0,\"gid\":1}",
	       "option uid: want a positive integer up to 4294967294");
	refuse("{" S ",\"uid\":\"-1\",\"gid\":1}", "option uid: want a positive integer");
	refuse("{" S ",\"uid\":\"1x\",\"gid\":1}", "option uid: want a positive integer");
	refuse("{" S ",\"uid\":1.5,\"gid\":1}", "option uid: want a positive integer");
	refuse("{" S ",\"uid\":true,\"gid\":1}", "option uid: want a positive integer");
	refuse("{" S ",\"uid\":4294967295,\"gid\":1}",
	       "option uid: want a positive integer up to 4294967294");
	refuse("{" S ",\"readonly\":\"yes\"}", "option readonly: want true or false");
	refuse("{" S ",\"version\":\"2\"}", "option version: want 3, 4, 4.0, 4.1 or 4.2");
	refuse("{" S ",\"version\":\"3,allow_other\"}",
	       "option version: want 3, 4, 4.0, 4.1 or 4.2");
	refuse("{\"source\":{}}",
	       "option source: want a string, number or boolean of at most 4096 bytes");
	refuse("{\"source\":\"nonsense\"}", "source is neither nfs://server/path nor server:/path");
	refuse("{" S ",\"username\":\"u\",\"password\":\"p\"}",
	       "options username and password: no directory is configured here");
	refuse("{" S ",\"persifs.cache_size\":\"lots\"}",
	       "option persifs.cache_size: want a size, as 64m");
}

static void keys_of_earlier_releases_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(
		build("{" S ",\"mount\":\"/data\",\"experimental\":true,\"auto_cache\":\"x\"}"), 0);
	assert_string_equal(m.options, "locks=daemon");
	assert_string_equal(m.uri, "nfs://nas/export");
}

static void hostile_values_stay_values(void **state)
{
	struct mount_options o;

	(void)state;
	assert_int_not_equal(build("{" S ",\"uid\":\"0,allow_other\",\"gid\":\"1\"}"), 0);
	assert_int_equal(build("{" S ",\"persifs.attr_timeout\":\"1,layers=trace\"}"), 0);
	assert_string_equal(m.options, "attr_timeout=1\\,layers=trace,locks=daemon");
	assert_int_equal(build("{" S ",\"persifs.policy\":\"lru\\\\,locks=kernel\"}"), 0);
	assert_string_equal(m.options, "policy=lru\\\\\\,locks=kernel,locks=daemon");
	assert_int_equal(build("{" S ",\"persifs.attr_timeout\":7}"), 0);
	o = parsed();
	assert_int_equal(o.attr_timeout, 7000);
	options_done(&o);
}

static void operators_defaults_come_before_what_the_developer_may_set(void **state)
{
	struct mount_options o;

	(void)state;
	rules.defaults = "attr_timeout=9,soft,locks=kernel";
	assert_int_equal(build("{" S ",\"persifs.attr_timeout\":1}"), 0);
	o = parsed();
	assert_int_equal(o.attr_timeout, 1000);
	assert_true(o.soft);
	assert_int_equal(o.locks, 1); /* daemon */
	options_done(&o);
}

static void cache_false_means_no_attributes_kept(void **state)
{
	struct mount_options o;

	(void)state;
	assert_int_equal(build("{" S ",\"cache\":false}"), 0);
	o = parsed();
	assert_int_equal(o.attr_timeout, 0);
	assert_int_equal(o.entry_timeout, 0);
	options_done(&o);
}

static void wish_for_a_cache_is_told_apart(void **state)
{
	(void)state;
	assert_int_equal(build("{" S ",\"persifs.cache_size\":\"64m\"}"), 0);
	assert_int_equal(m.cache_wanted, 64 << 20);
	assert_null(strstr(m.options, "cache_size"));
	assert_int_equal(build("{" S ",\"persifs.cache_size\":1048576}"), 0);
	assert_int_equal(m.cache_wanted, 1 << 20);
}

static void user_is_looked_up_where_a_directory_is(void **state)
{
	struct mount_options o;

	(void)state;
	rules.identify = identify;
	assert_int_equal(build("{" S ",\"username\":\"alice\",\"password\":\"s3cret\"}"), 0);
	o = parsed();
	assert_int_equal(o.uid, 1234);
	assert_int_equal(o.gid, 5678);
	options_done(&o);
	assert_null(strstr(m.options, "s3cret"));
	refuse("{" S ",\"username\":\"alice\",\"password\":\"x\"}", "wrong");
	refuse("{" S ",\"username\":\"alice\"}", "Missing mandatory options: password");
	refuse("{" S ",\"username\":\"a\",\"password\":\"x\",\"uid\":1,\"gid\":1}",
	       "options username and uid or gid exclude each other");
}

static void r15_copies_hold_no_secret(void **state)
{
	json_t *opts =
		json_loads("{\"username\":\"s3c1\",\"password\":\"s3c2\",\"Password\":\"s3c3\","
			   "\"persifs.password\":\"s3c6\","
			   "\"source\":\"nfs://u:s3c4@nas/x\",\"mount\":{\"p\":\"s3c5\"},"
			   "\"uid\":77}",
			   0, NULL);
	json_t *shown = mountopts_redacted(opts);
	bool had = false;
	json_t *stored = mountopts_stored(opts, &had);
	AUTO_FREE char *a = json_dumps(shown, 0);
	AUTO_FREE char *b = json_dumps(stored, 0);

	(void)state;
	assert_null(strstr(a, "s3c"));
	assert_null(strstr(b, "s3c"));
	assert_string_equal(json_string_value(json_object_get(shown, "password")), "REDACTED");
	assert_int_equal(json_integer_value(json_object_get(shown, "uid")), 77);
	assert_null(json_object_get(stored, "password"));
	assert_true(had);
	json_decref(opts);
	json_decref(shown);
	json_decref(stored);
	opts = json_loads("{\"source\":\"nas:/home/a@b\"}", 0, NULL);
	stored = mountopts_stored(opts, &had);
	assert_false(had);
	assert_string_equal(json_string_value(json_object_get(stored, "source")), "nas:/home/a@b");
	json_decref(opts);
	json_decref(stored);
}

#define ARRAY_SOURCE "\"source\":\"scaleio://gold/4f1c\""

static void volume_of_an_array_is_handed_on(void **state)
{
	static const char *const arrays[] = { "scaleio://gold", "image:", NULL };

	(void)state;
	refuse("{" ARRAY_SOURCE "}", "source is not among those that are allowed here");
	rules.arrays = arrays;
	assert_int_equal(build("{" ARRAY_SOURCE "}"), 0);
	assert_string_equal(m.uri, "scaleio://gold/4f1c");
	assert_null(m.volume);
	assert_int_equal(build("{" ARRAY_SOURCE ",\"volume\":{\"owner\":\"o\",\"provider\":"
			       "\"gold\",\"handle\":{\"id\":1},\"plan\":{}}}"),
			 0);
	assert_string_equal(json_string_value(json_object_get(m.volume, "owner")), "o");
	assert_int_equal(build("{\"source\":\"image:/a/b\",\"volume\":null}"), 0);
	refuse("{\"source\":\"scaleio://silver/4f1c\"}",
	       "source is not among those that are allowed here");
	refuse("{\"source\":\"scaleio://goldfish/4f1c\"}",
	       "source is not among those that are allowed here");
	assert_int_equal(build("{" S "}"), 0);
}

static void mistakes_in_a_volume_are_named(void **state)
{
	(void)state;
	refuse("{" S ",\"volume\":\"x\"}", "option volume: want an object");
	refuse("{" S ",\"volume\":{\"colour\":1}}", "option volume: colour is not known");
	refuse("{" S ",\"volume\":{\"owner\":7}}", "option volume: owner: want a short string");
	refuse("{" S ",\"volume\":{\"owner\":\"\"}}", "option volume: owner: want a short string");
	refuse("{" S ",\"volume\":{\"handle\":[]}}", "option volume: handle: want an object");
	refuse("{" S ",\"volume\":{\"plan\":\"small\"}}", "option volume: plan: want an object");
}

static void volume_outlives_a_restart_without_secrets(void **state)
{
	json_t *opts = json_loads("{" ARRAY_SOURCE
				  ",\"volume\":{\"owner\":\"o\",\"plan\":{\"pool\":[{"
				  "\"a\":5,\"password\":\"s3c1\"}],\"username\":\"s3c2\"},"
				  "\"password\":\"s3c3\"}}",
				  0, NULL);
	json_t *shown = mountopts_redacted(opts);
	bool had;
	json_t *stored = mountopts_stored(opts, &had);
	AUTO_FREE char *text = json_dumps(json_object_get(stored, "volume"), JSON_SORT_KEYS);

	(void)state;
	assert_string_equal(text, "{\"owner\": \"o\", \"plan\": {\"pool\": [{\"a\": 5}]}}");
	assert_string_equal(json_string_value(json_object_get(shown, "volume")), "REDACTED");
	assert_false(had);
	json_decref(opts);
	json_decref(shown);
	json_decref(stored);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r3_values_are_taken_as_string_number_or_boolean),
		TEST(r5_mistakes_are_named_for_the_developer),
		TEST(volume_of_an_array_is_handed_on),
		TEST(mistakes_in_a_volume_are_named),
		TEST(volume_outlives_a_restart_without_secrets),
		TEST(keys_of_earlier_releases_are_ignored),
		TEST(hostile_values_stay_values),
		TEST(operators_defaults_come_before_what_the_developer_may_set),
		TEST(cache_false_means_no_attributes_kept),
		TEST(wish_for_a_cache_is_told_apart),
		TEST(user_is_looked_up_where_a_directory_is),
		TEST(r15_copies_hold_no_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
