/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptions of layers are taken apart as they say, and bad ones refused with a sentence. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/spec.h"

static const char *const names[] = { "fault", "delay", NULL };

static int note(void *arg, unsigned which, char **params, struct err *err)
{
	char *text = arg;

	(void)err;
	strcat(strcat(text, names[which]), "(");
	for (; *params; params++)
		strcat(strcat(text, *params), ";");
	strcat(text, ")");
	return 0;
}

static void parts_take_what_follows_up_to_the_next_name(void **state)
{
	char seen[256] = "";
	struct err err = { "" };

	(void)state;
	assert_int_equal(spec_each("fault:a=1,b,delay,fault,fault:", names, note, seen, &err), 0);
	assert_string_equal(seen, "fault(a=1;b;)delay()fault()fault()");
	seen[0] = '\0';
	assert_int_equal(spec_each(NULL, names, note, seen, &err), 0);
	assert_int_equal(spec_each("", names, note, seen, &err), 0);
	assert_string_equal(seen, "");
}

static void wrong_parts_are_refused(void **state)
{
	char seen[256] = "", many[400] = "fault";
	struct err err = { "" };

	(void)state;
	assert_int_equal(spec_each("delay,nonsense", names, note, seen, &err), 0);
	assert_string_equal(seen, "delay(nonsense;)");
	assert_int_equal(spec_each("nonsense,delay", names, note, seen, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'nonsense' (fault, delay are known)"));
	assert_int_equal(spec_each("faults", names, note, seen, &err), -EINVAL);
	for (unsigned i = 0; i < SPEC_PARTS_MAX; i++)
		strcat(many, ",p");
	assert_int_equal(spec_each(many, names, note, seen, &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 64 parts"));
}

static int refuse(void *arg, unsigned which, char **params, struct err *err)
{
	(void)which, (void)params;
	return ++*(unsigned *)arg == 2 ? err_set(err, -EPERM, "the second") : 0;
}

static void the_first_failure_ends_it(void **state)
{
	struct err err = { "" };
	unsigned n = 0;

	(void)state;
	assert_int_equal(spec_each("fault,delay,fault", names, refuse, &n, &err), -EPERM);
	assert_int_equal(n, 2);
	assert_string_equal(err.text, "the second");
}

static void keys_find_one_or_all(void **state)
{
	unsigned first, end;
	struct err err = { "" };

	(void)state;
	assert_int_equal(spec_find("x", "delay", names, &first, &end, &err), 0);
	assert_true(first == 1 && end == 2);
	assert_int_equal(spec_find("x", "all", names, &first, &end, &err), 0);
	assert_true(first == 0 && end == 2);
	assert_int_equal(spec_find("x", "del", names, &first, &end, &err), -EINVAL);
	assert_string_equal(err.text, "x: no operation 'del'");
}

static void times_have_units(void **state)
{
	static const char *const wrong[] = { "",
					     "5",
					     "ms",
					     "-1ms",
					     "5m",
					     "3601s",
					     "5ms ",
					     " 5ms",
					     "99999999999999999999s",
					     "18446744073709551615s" };
	uint64_t us = 0;

	(void)state;
	assert_int_equal(spec_time_us("7us", &us), 0);
	assert_int_equal(us, 7);
	assert_int_equal(spec_time_us("5ms", &us), 0);
	assert_int_equal(us, 5000);
	assert_int_equal(spec_time_us("3600s", &us), 0);
	assert_int_equal(us, SPEC_TIME_MAX_US);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(spec_time_us(wrong[i], &us), -EINVAL);
	assert_int_equal(us, SPEC_TIME_MAX_US);
}

static void numbers_have_limits(void **state)
{
	struct err err = { "" };
	double d = 0;

	(void)state;
	assert_int_equal(spec_number("x", "p", "0.25", 1, &d, &err), 0);
	assert_true(d == 0.25);
	assert_int_equal(spec_number("x", "p", "1.5", 1, &d, &err), -EINVAL);
	assert_string_equal(err.text, "x: p=1.5 is no number from 0 to 1");
	assert_int_equal(spec_number("x", "p", "nan", 1, &d, &err), -EINVAL);
	assert_int_equal(spec_number("x", "p", "", 1, &d, &err), -EINVAL);
}

/* The calls of 1..8 that fail, a digit each. */
static const char *hits(const char *text, struct spec_dice *d)
{
	static char seen[16];
	struct spec_rule r;
	char *p = seen;

	if (spec_rule(text, &r))
		return "refused";
	for (int c = '1'; c <= '8'; c++)
		if (spec_rule_hits(&r, d))
			*p++ = (char)c;
	*p = '\0';
	return seen;
}

static void rules_hit_what_they_name(void **state)
{
	static const char *const wrong[] = {
		"",       "3",       ":EIO",           "3:",     "3:eio",     "0:EIO",
		"3x0:E",  "3x0:EIO", "3x:EIO",         "3-:EIO", "-1:EIO",    "+3:EIO",
		"*3:EIO", "3+2:EIO", "4294967295:EIO", "3:EIO ", "3:NONSENSE"
	};
	struct spec_dice d = { .p = 0 };
	struct spec_rule r;

	(void)state;
	assert_string_equal(hits("3:EIO", &d), "3");
	assert_string_equal(hits("3+:EIO", &d), "345678");
	assert_string_equal(hits("3x2:EIO", &d), "34");
	assert_string_equal(hits("1x1:EIO", &d), "1");
	assert_string_equal(hits("*:EIO", &d), "");
	d.p = 1;
	assert_string_equal(hits("*:EIO", &d), "12345678");
	assert_int_equal(spec_rule("2:ENOSPC", &r), 0);
	assert_int_equal(r.error, ENOSPC);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_string_equal(hits(wrong[i], &d), "refused");
}

static void dice_repeat_with_their_seed(void **state)
{
	struct spec_dice a = { .seed = 7 }, b = { .seed = 7 }, c = { .seed = 8 };
	unsigned below = 0, same = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		double x = spec_draw(&a);

		assert_true(x >= 0 && x < 1);
		assert_true(x == spec_draw(&b));
		same += x == spec_draw(&c);
		below += x < 0.25;
	}
	assert_true(same < 10);
	assert_in_range(below, 200, 300);
}

static void p_alone_is_for_all(void **state)
{
	struct spec_dice d = { .p = 0.5 };
	struct spec_rule r[2] = { { .nth = 3, .error = ENOSPC }, { .nth = 0 } };

	(void)state;
	spec_rules_default(r, 2, &d);
	assert_true(r[0].random && r[1].random);
	assert_int_equal(r[0].error, ENOSPC);
	assert_int_equal(r[1].error, EIO);
	r[0].random = false;
	r[1].error = 0;
	spec_rules_default(r, 2, &d); /* r[1] uses p: it is for that one */
	assert_false(r[0].random);
}

static void faults_are_dice_and_rules_of_operations(void **state)
{
	static const char *const ops[] = { "read", "write", "sync", NULL };
	static const struct {
		const char *key, *value, *says;
	} wrong[] = {
		{ "write", NULL, "fault: 'write' is not OPERATION=N:ERROR" },
		{ "p", "2", "fault: p=2 is no number from 0 to 1" },
		{ "seed", "x", "fault: seed=x is no number from 0 to 1000000000000000" },
		{ "open", "1:EIO", "fault: no operation 'open'" },
		{ "sync", "EIO",
		  "fault: sync=EIO is not N:ERROR, N+:ERROR, NxCOUNT:ERROR or *:ERROR" },
	};
	struct spec_rule r[3] = { { .nth = 0 } };
	struct spec_dice d = { .seed = 1 };
	struct err err = { "" };

	(void)state;
	assert_int_equal(spec_fault("all", "2:ENOSPC", ops, 2, r, &d, &err), 0);
	assert_true(r[0].nth == 2 && r[1].error == ENOSPC && r[2].nth == 0);
	assert_int_equal(spec_fault("sync", "4:EIO", ops, 2, r, &d, &err), 0);
	assert_true(r[2].nth == 4 && r[1].nth == 2);
	assert_int_equal(spec_fault("p", "0.5", ops, 2, r, &d, &err), 0);
	assert_int_equal(spec_fault("seed", "9", ops, 2, r, &d, &err), 0);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(spec_fault(wrong[i].key, wrong[i].value, ops, 2, r, &d, &err),
				 -EINVAL);
		assert_string_equal(err.text, wrong[i].says);
	}
	assert_true(d.p == 0.5 && d.seed == 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_take_what_follows_up_to_the_next_name),
		cmocka_unit_test(wrong_parts_are_refused),
		cmocka_unit_test(the_first_failure_ends_it),
		cmocka_unit_test(keys_find_one_or_all),
		cmocka_unit_test(times_have_units),
		cmocka_unit_test(numbers_have_limits),
		cmocka_unit_test(rules_hit_what_they_name),
		cmocka_unit_test(dice_repeat_with_their_seed),
		cmocka_unit_test(p_alone_is_for_all),
		cmocka_unit_test(faults_are_dice_and_rules_of_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
