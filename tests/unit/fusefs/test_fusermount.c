/* SPDX-License-Identifier: Apache-2.0 */
/* What fusermount3 would refuse is refused before, with the line that is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/fusermount.h"

static char conf[] = "/tmp/persifs-fuse.conf.XXXXXX";

static int check(const char *text, bool allow_other)
{
	struct mount_options o = { .allow_other = allow_other };
	struct err err = { "" };
	FILE *f = fopen(conf, "w");
	int rc;

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	rc = fusermount_check(&o, conf, &err);
	if (rc) {
		assert_non_null(strstr(err.text, "allow_other"));
		assert_non_null(strstr(err.text, conf));
	}
	return rc;
}

static void allow_other_wants_its_line(void **state)
{
	(void)state;
	assert_int_equal(check("", true), -EPERM);
	assert_int_equal(check("#user_allow_other\n", true), -EPERM);
	assert_int_equal(check("user_allow_others\n", true), -EPERM);
	assert_int_equal(check("mount_max = 5\nuser_allow_other", true), 0);
	assert_int_equal(check("  user_allow_other \t\n", true), 0);
}

static void without_it_nothing_is_wanted(void **state)
{
	struct mount_options o = { .allow_other = false };
	struct err err;

	(void)state;
	assert_int_equal(check("", false), 0);
	assert_int_equal(fusermount_check(&o, "/nothing/there", &err), 0);
	o.allow_other = true;
	assert_int_equal(fusermount_check(&o, "/nothing/there", &err), -EPERM);
}

static int up(void **state)
{
	int fd = mkstemp(conf);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int down(void **state)
{
	(void)state;
	return unlink(conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allow_other_wants_its_line),
		cmocka_unit_test(without_it_nothing_is_wanted),
	};

	return cmocka_run_group_tests(tests, up, down);
}
