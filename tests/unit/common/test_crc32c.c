/* SPDX-License-Identifier: Apache-2.0 */
#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* RFC 3720 B.4 */
static void the_published_values_come_out(void **state)
{
	unsigned char zeros[32] = { 0 }, ones[32], up[32];

	(void)state;
	memset(ones, 0xff, sizeof ones);
	for (unsigned i = 0; i < sizeof up; i++)
		up[i] = (unsigned char)i;
	assert_int_equal(crc32c(~0u, zeros, 32) ^ ~0u, 0x8a9136aau);
	assert_int_equal(crc32c(~0u, ones, 32) ^ ~0u, 0x62a8ab43u);
	assert_int_equal(crc32c(~0u, up, 32) ^ ~0u, 0x46dd794eu);
	assert_int_equal(crc32c(~0u, "123456789", 9) ^ ~0u, 0xe3069283u);
}

/* Bit by bit, as the definition says. */
static uint32_t plain(uint32_t crc, const unsigned char *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return crc;
}

static void any_length_and_alignment_and_in_pieces(void **state)
{
	unsigned char buf[300];

	(void)state;
	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = (unsigned char)(i * 37 + 11);
	for (size_t at = 0; at < 9; at++)
		for (size_t n = 0; n + at < sizeof buf; n++) {
			uint32_t whole = crc32c(7, buf + at, n);

			assert_int_equal(whole, plain(7, buf + at, n));
			assert_int_equal(crc32c(crc32c(7, buf + at, n / 3), buf + at + n / 3,
						n - n / 3),
					 whole);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_values_come_out),
		cmocka_unit_test(any_length_and_alignment_and_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
