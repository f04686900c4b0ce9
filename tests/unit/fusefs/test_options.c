/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "fusefs/options.h"

static int parse(struct mount_options *o, const char *text, struct err *err)
{
	int rc;

	assert_int_equal(options_defaults(o), 0);
	rc = options_parse(o, text, err);
	return rc ? rc : options_check(o, err);
}

static void accepts(const char *text)
{
	struct mount_options o;
	struct err err = { "" };

	if (parse(&o, text, &err))
		fail_msg("%s: %s", text, err.text);
	options_done(&o);
}

static void refuses(const char *text, const char *word)
{
	struct mount_options o;
	struct err err = { "" };

	assert_int_equal(parse(&o, text, &err), -EINVAL);
	if (!strstr(err.text, word))
		fail_msg("%s: \"%s\" does not say %s", text, err.text, word);
	options_done(&o);
}

static void defaults_fit_together(void **state)
{
	struct mount_options o;
	struct err err;

	(void)state;
	assert_int_equal(parse(&o, "", &err), 0);
	assert_int_equal(o.page_size, 65536);
	assert_int_equal(o.cache_size, 512 << 20);
	assert_int_equal(o.allow_other, geteuid() == 0);
	assert_false(options_mapped(&o));
	options_done(&o);
}

static void words_of_fstab_are_passed_over(void **state)
{
	(void)state;
	accepts("rw,defaults,noauto,_netdev,nofail,nosuid,nodev,exec,x-systemd.automount,comment=x,,");
}

static void suid_and_dev_are_refused(void **state)
{
	(void)state;
	refuses("suid", "suid");
	refuses("ro,dev", "dev");
}

static void conflicts_are_refused(void **state)
{
	(void)state;
	refuses("page_size=12k", "page_size");
	refuses("cache_size=4m,page_size=1m", "cache_size");
	refuses("dirty_background=60", "dirty_background");
	refuses("uid=0,gid=5", "uid");
	refuses("uid=5,gid=0", "gid");
	refuses("uid=5", "gid");
	refuses("gid=5", "uid");
	refuses("nonsense=1", "nonsense");
	refuses("policy=best", "policy");
}

static void unset_times_follow_consistency(void **state)
{
	static const struct {
		const char *text;
		unsigned caps;
		uint64_t attr, negative;
	} cases[] = { { "", BE_CAP_SHARED, 3000, 0 },
		      { "", 0, 3600000, 3600000 },
		      { "consistency=strict,attr_timeout=9", 0, 0, 0 },
		      { "attr_timeout=9", BE_CAP_SHARED, 9000, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct be_limits limits = { .caps = cases[i].caps };
		struct mount_options o;
		struct err err;

		assert_int_equal(parse(&o, cases[i].text, &err), 0);
		options_resolve(&o, &limits);
		assert_int_equal(o.attr_timeout, cases[i].attr);
		assert_int_equal(o.negative_timeout, cases[i].negative);
		options_done(&o);
	}
}

static void text_survives_a_round_trip(void **state)
{
	static const char *const texts[] = { "", "ro,policy=lru,dirty_age=0.5,uid=5,gid=6",
					     "layers=fault:a=1\\,b\\\\c,nconnect=4",
					     "attr_timeout=9,cache_size=1g" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct mount_options a, b;
		struct err err;
		AUTO_FREE char *one = NULL, *two = NULL;

		assert_int_equal(parse(&a, texts[i], &err), 0);
		one = options_format(&a);
		assert_non_null(one);
		assert_int_equal(parse(&b, one, &err), 0);
		two = options_format(&b);
		assert_string_equal(one, two);
		assert_int_equal(a.attr_timeout, b.attr_timeout);
		options_done(&a);
		options_done(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_fit_together),
		cmocka_unit_test(words_of_fstab_are_passed_over),
		cmocka_unit_test(suid_and_dev_are_refused),
		cmocka_unit_test(conflicts_are_refused),
		cmocka_unit_test(unset_times_follow_consistency),
		cmocka_unit_test(text_survives_a_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
