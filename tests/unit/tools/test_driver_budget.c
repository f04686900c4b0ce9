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

#include "tools/driver/budget.h"

#define MIB (1ULL << 20)

static void budget_is_divided_equally(void **state)
{
	const uint64_t wanted[4] = { 0 };
	uint64_t shares[4];

	(void)state;
	budget_divide(400 * MIB, wanted, 4, shares);
	for (int i = 0; i < 4; i++)
		assert_int_equal(shares[i], 100 * MIB);
	budget_divide(1 * MIB, wanted, 1, shares);
	assert_int_equal(shares[0], BUDGET_SHARE_MIN);
	budget_divide(MIB, wanted, 0, shares);
}

static void who_wants_less_leaves_the_rest_to_others(void **state)
{
	const uint64_t wanted[4] = { 10 * MIB, 0, 120 * MIB, 1000 * MIB };
	uint64_t shares[4], sum = 0;

	(void)state;
	budget_divide(400 * MIB, wanted, 4, shares);
	assert_int_equal(shares[0], 10 * MIB);
	assert_int_equal(shares[2], 120 * MIB);
	assert_int_equal(shares[1], 135 * MIB);
	assert_int_equal(shares[3], 135 * MIB);
	for (int i = 0; i < 4; i++)
		sum += shares[i];
	assert_true(sum <= 400 * MIB);
}

static void new_daemon_gets_what_it_wants_at_most(void **state)
{
	struct budget *b = budget_new(100 * MIB);

	(void)state;
	assert_int_equal(budget_share(b, 0), 100 * MIB);
	assert_int_equal(budget_share(b, 5 * MIB), 5 * MIB);
	assert_int_equal(budget_share(b, 500 * MIB), 100 * MIB);
	budget_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budget_is_divided_equally),
		cmocka_unit_test(who_wants_less_leaves_the_rest_to_others),
		cmocka_unit_test(new_daemon_gets_what_it_wants_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
