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

#include "tools/driver/ldap.h"

static void filter_escapes_what_would_be_a_filter(void **state)
{
	char buf[64];

	(void)state;
	assert_int_equal(directory_filter("uid", "alice", buf, sizeof buf), 0);
	assert_string_equal(buf, "(uid=alice)");
	assert_int_equal(directory_filter("uid", "a*)(b\\\x01\xc3", buf, sizeof buf), 0);
	assert_string_equal(buf, "(uid=a\\2a\\29\\28b\\5c\\01\\c3)");
	assert_int_equal(directory_filter("uid", "aaaaaaaaaaaaaaaaaaaa", buf, 16), -ENAMETOOLONG);
}

static void empty_password_is_never_right(void **state)
{
	struct directory d = { .uri = "ldap://127.0.0.1:1", .base = "dc=x", .user_attr = "uid" };
	struct failure f;
	uint32_t uid, gid;

	(void)state;
	assert_int_equal(directory_identify(&d, "alice", "", &uid, &gid, &f), -EACCES);
	assert_int_equal(directory_identify(&d, "", "x", &uid, &gid, &f), -EACCES);
	assert_true(f.safe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filter_escapes_what_would_be_a_filter),
		cmocka_unit_test(empty_password_is_never_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
