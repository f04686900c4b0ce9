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

#include "common/opt.h"

struct settings {
	uint64_t size, count, age;
	uint32_t ratio;
	bool ro, direct;
	unsigned mode;
	int64_t uid;
	char *name;
};

static const char *const modes[] = { "close-to-open", "exclusive", "strict", NULL };

#define AT(member) offsetof(struct settings, member)
static const struct opt_def table[] = {
	{ "cache_size", OPT_SIZE, "bytes", AT(size), 1 << 20, 1ULL << 42, "64m", NULL, "cache",
	  false },
	{ "count", OPT_UINT, NULL, AT(count), 1, 16, "4", NULL, "a count", false },
	{ "dirty_age", OPT_TIME, NULL, AT(age), 100, 3600000, "5", NULL, "age", true },
	{ "ratio", OPT_PERCENT, NULL, AT(ratio), 5, 0, "20%", NULL, "share", true },
	{ "ro", OPT_BOOL, NULL, AT(ro), 0, 0, NULL, NULL, "read-only", false },
	{ "direct", OPT_BOOL, NULL, AT(direct), 0, 0, "yes", NULL, "bypass", false },
	{ "consistency", OPT_ENUM, NULL, AT(mode), 0, 0, "exclusive", modes, "mode", false },
	{ "uid", OPT_ID, NULL, AT(uid), 0, 0, NULL, NULL, "owner", false },
	{ "name", OPT_STRING, NULL, AT(name), 0, 0, "x", NULL, "a name", false },
	{ .name = NULL },
};

static struct settings s;
static struct err err;

static int fresh(void **state)
{
	(void)state;
	memset(&s, 0xa5, sizeof s);
	memset(&err, 0, sizeof err);
	return opt_defaults(table, &s);
}

static int finish(void **state)
{
	(void)state;
	opt_done(table, &s);
	opt_done(table, &s);
	return s.name ? -1 : 0;
}

static int set(const char *name, const char *value)
{
	return opt_set(table, &s, name, value, &err);
}

static void assert_refused(const char *name, const char *value, const char *sentence)
{
	err.text[0] = '\0';
	assert_int_equal(set(name, value), -EINVAL);
	assert_string_equal(err.text, sentence);
}

static void defaults_fill_every_member(void **state)
{
	(void)state;
	assert_int_equal(s.size, 64 << 20);
	assert_int_equal(s.count, 4);
	assert_int_equal(s.age, 5000);
	assert_int_equal(s.ratio, 20);
	assert_false(s.ro);
	assert_true(s.direct);
	assert_int_equal(s.mode, 1);
	assert_int_equal(s.uid, -1);
	assert_string_equal(s.name, "x");
}

static void sizes_take_binary_suffixes(void **state)
{
	(void)state;
	assert_int_equal(set("cache_size", "1048576"), 0);
	assert_int_equal(s.size, 1 << 20);
	assert_int_equal(set("cache_size", "1536K"), 0);
	assert_int_equal(s.size, 1536 << 10);
	assert_int_equal(set("cache_size", "3g"), 0);
	assert_int_equal(s.size, 3ULL << 30);
	assert_int_equal(set("cache_size", "2t"), 0);
	assert_int_equal(s.size, 2ULL << 40);
}

static void times_are_seconds_unless_told_otherwise(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {
		{ "1", 1000 },     { "0.25", 250 },  { "250ms", 250 },
		{ "30s", 30000 },  { "2m", 120000 }, { "0.5h", 1800000 },
		{ "1h", 3600000 }, { "0.1", 100 },   { "1.0009", 1000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(set("dirty_age", cases[i].text), 0);
		assert_int_equal(s.age, cases[i].ms);
	}
}

static void bad_numbers_are_refused_and_change_nothing(void **state)
{
	static const char *const bad[] = { "",
					   " 1m",
					   "1m ",
					   "-1m",
					   "+1m",
					   "1.5m",
					   "1mm",
					   "m",
					   "0x10000000",
					   "1e9",
					   "99999999999999999999",
					   "20000000t",
					   "1k",
					   "5t",
					   "1.",
					   NULL };

	(void)state;
	for (const char *const *b = bad; *b; b++) {
		assert_int_equal(set("cache_size", *b), -EINVAL);
		assert_int_equal(s.size, 64 << 20);
	}
	assert_int_equal(set("ratio", "101"), -EINVAL);
	assert_int_equal(set("ratio", "4"), -EINVAL);
	assert_int_equal(set("uid", "4294967295"), -EINVAL);
	assert_int_equal(set("uid", "-2"), -EINVAL);
	assert_int_equal(set("dirty_age", ".5"), -EINVAL);
	assert_int_equal(s.ratio, 20);
	assert_int_equal(s.uid, -1);
}

static void messages_name_option_value_and_limits(void **state)
{
	(void)state;
	assert_refused("cache_size", "1k", "option 'cache_size=1k': want a size from 1m to 4t");
	assert_refused("dirty_age", "2h", "option 'dirty_age=2h': want a time from 100ms to 1h");
	assert_refused("ratio", "x\ny", "option 'ratio=x?y': want a percentage from 5% to 100%");
	assert_refused("ro", "perhaps", "option 'ro=perhaps': want yes or no");
	assert_refused("consistency", "lax",
		       "option 'consistency=lax': want close-to-open, exclusive or strict");
	assert_refused("count", NULL, "option 'count' needs a value");
}

static void unknown_names_suggest_a_near_one(void **state)
{
	(void)state;
	assert_refused("cache-size", "1m",
		       "unknown option 'cache-size' (did you mean 'cache_size'?)");
	assert_refused("consistencies", "strict",
		       "unknown option 'consistencies' (did you mean 'consistency'?)");
	assert_refused("frobnicate", NULL, "unknown option 'frobnicate'");
	assert_refused("nocount", NULL, "unknown option 'nocount' (did you mean 'count'?)");
	assert_refused("", "", "unknown option ''");
}

static void a_very_long_name_is_cut_in_the_message(void **state)
{
	char name[4000];

	(void)state;
	memset(name, 'n', sizeof name);
	name[sizeof name - 1] = '\0';
	assert_int_equal(set(name, NULL), -EINVAL);
	assert_true(strlen(err.text) < 120);
}

static void booleans_have_four_spellings(void **state)
{
	(void)state;
	assert_int_equal(set("ro", NULL), 0);
	assert_true(s.ro);
	assert_int_equal(set("noro", NULL), 0);
	assert_false(s.ro);
	assert_int_equal(set("ro", "ON"), 0);
	assert_true(s.ro);
	assert_int_equal(set("ro", "0"), 0);
	assert_false(s.ro);
	assert_int_equal(set("noro", "yes"), -EINVAL);
}

static void an_empty_string_unsets(void **state)
{
	(void)state;
	assert_int_equal(set("name", "y"), 0);
	assert_string_equal(s.name, "y");
	assert_int_equal(set("name", ""), 0);
	assert_null(s.name);
}

static void overlong_values_are_refused(void **state)
{
	char value[OPT_VALUE_MAX + 2];

	(void)state;
	memset(value, 'v', sizeof value);
	value[OPT_VALUE_MAX + 1] = '\0';
	assert_int_equal(set("name", value), -EINVAL);
	value[OPT_VALUE_MAX] = '\0';
	assert_int_equal(set("name", value), 0);
}

static void a_list_sets_each_in_order(void **state)
{
	(void)state;
	assert_int_equal(opt_parse(table, &s, "ro,cache_size=2m,,count=3,nodirect,uid=7,", &err),
			 0);
	assert_true(s.ro);
	assert_false(s.direct);
	assert_int_equal(s.size, 2 << 20);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.uid, 7);
	assert_int_equal(opt_parse(table, &s, "", &err), 0);
}

static void a_list_stops_at_the_first_bad_item(void **state)
{
	(void)state;
	assert_int_equal(opt_parse(table, &s, "count=2,nonsense,count=3", &err), -EINVAL);
	assert_int_equal(s.count, 2);
}

static void a_backslash_keeps_a_comma(void **state)
{
	(void)state;
	assert_int_equal(opt_parse(table, &s, "name=a\\,b\\\\c\\d=e,ro", &err), 0);
	assert_string_equal(s.name, "a,b\\c\\d=e");
	assert_true(s.ro);
	assert_int_equal(opt_parse(table, &s, "name=end\\", &err), 0);
	assert_string_equal(s.name, "end\\");
}

static void formatted_values_read_back_unchanged(void **state)
{
	struct settings copy;
	char text[64];

	(void)state;
	assert_int_equal(opt_parse(table, &s,
				   "cache_size=1025k,dirty_age=90,ratio=33,ro,uid=0,"
				   "consistency=strict,name=q",
				   &err),
			 0);
	assert_int_equal(opt_defaults(table, &copy), 0);
	for (const struct opt_def *d = table; d->name; d++) {
		assert_int_equal(opt_format(d, &s, text, sizeof text), 0);
		assert_int_equal(opt_set(table, &copy, d->name, text, &err), 0);
	}
	assert_int_equal(copy.size, s.size);
	assert_int_equal(copy.age, s.age);
	assert_int_equal(copy.ratio, 33);
	assert_true(copy.ro);
	assert_int_equal(copy.uid, 0);
	assert_int_equal(copy.mode, 2);
	assert_string_equal(copy.name, "q");
	opt_done(table, &copy);
}

static void formats_choose_the_largest_exact_unit(void **state)
{
	char text[8];

	(void)state;
	assert_int_equal(set("cache_size", "1024k"), 0);
	assert_int_equal(opt_format(opt_find(table, "cache_size"), &s, text, sizeof text), 0);
	assert_string_equal(text, "1m");
	assert_int_equal(set("dirty_age", "90"), 0);
	assert_int_equal(opt_format(opt_find(table, "dirty_age"), &s, text, sizeof text), 0);
	assert_string_equal(text, "90s");
	assert_int_equal(opt_format(opt_find(table, "consistency"), &s, text, sizeof text),
			 -ENOSPC);
}

static void help_and_names_list_every_option(void **state)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	opt_print_help(table, f);
	opt_print_names(table, f);
	fclose(f);
	for (const struct opt_def *d = table; d->name; d++)
		assert_non_null(strstr(text, d->name));
	assert_non_null(strstr(text, "a size from 1m to 4t"));
	assert_non_null(strstr(text, "\nnoro\n"));
	assert_non_null(strstr(text, "\ncache_size=\n"));
	free(text);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(defaults_fill_every_member),
		CASE(sizes_take_binary_suffixes),
		CASE(times_are_seconds_unless_told_otherwise),
		CASE(bad_numbers_are_refused_and_change_nothing),
		CASE(messages_name_option_value_and_limits),
		CASE(unknown_names_suggest_a_near_one),
		CASE(a_very_long_name_is_cut_in_the_message),
		CASE(booleans_have_four_spellings),
		CASE(an_empty_string_unsets),
		CASE(overlong_values_are_refused),
		CASE(a_list_sets_each_in_order),
		CASE(a_list_stops_at_the_first_bad_item),
		CASE(a_backslash_keeps_a_comma),
		CASE(formatted_values_read_back_unchanged),
		CASE(formats_choose_the_largest_exact_unit),
		CASE(help_and_names_list_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
