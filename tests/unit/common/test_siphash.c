/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors that the authors of SipHash published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "common/siphash.h"

static const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };

static void tags_are_those_of_the_authors(void **state)
{
	static const struct {
		size_t len;
		uint64_t tag;
	} vectors[] = { { 0, 0x726fdb47dd0e0e31 },  { 1, 0x74f839c593dc67fd },
			{ 7, 0xab0200f58b01d137 },  { 8, 0x93f5f5799a932462 },
			{ 15, 0xa129ca6149be45e5 }, { 63, 0x958a324ceb064572 } };
	unsigned char text[64];

	(void)state;
	for (unsigned i = 0; i < sizeof text; i++)
		text[i] = (unsigned char)i;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		assert_true(siphash(key, text, vectors[i].len) == vectors[i].tag);
}

static void another_key_gives_another_tag(void **state)
{
	const uint64_t other[2] = { key[0] + 1, key[1] };

	(void)state;
	assert_true(siphash(key, "handle", 6) != siphash(other, "handle", 6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_are_those_of_the_authors),
		cmocka_unit_test(another_key_gives_another_tag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
