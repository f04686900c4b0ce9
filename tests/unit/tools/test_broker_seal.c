/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/broker/seal.h"

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddee00"

static char dir[64], file[128];
static struct err err;

static int fresh(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/persifs-seal.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof file, "%s/key", dir);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(dir);
}

static void write_file(const char *text, size_t len)
{
	FILE *f = fopen(file, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(file, 0600), 0);
}

static struct seal *with_keys(const char *text)
{
	struct seal *s = NULL;

	write_file(text, strlen(text));
	assert_int_equal(seal_open(file, &s, &err), 0);
	return s;
}

static void expect_opens(const struct seal *s, const char *sealed, const char *belongs,
			 const char *text)
{
	char *got = seal_open_text(s, sealed, belongs);

	if (text)
		assert_string_equal(got, text);
	else
		assert_null(got);
	free(got);
}

static void texts_come_back_and_never_look_alike(void **state)
{
	static const char *const texts[] = { "", "x", "{\"password\":\"s3cret\"}",
					     "\xc3\xa4\n\t \"" };
	struct seal *s = with_keys(KEY_A "\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO_FREE char *a = seal_text(s, texts[i], "instance 1 params");
		AUTO_FREE char *b = seal_text(s, texts[i], "instance 1 params");

		assert_memory_equal(a, "v1:", 3);
		assert_string_not_equal(a, b);
		assert_null(strstr(a, "s3cret"));
		assert_true(seal_is_current(s, a));
		expect_opens(s, a, "instance 1 params", texts[i]);
	}
	seal_close(s);
}

static void moved_texts_are_refused(void **state)
{
	struct seal *s = with_keys(KEY_A);
	AUTO_FREE char *sealed = seal_text(s, "text", "instance 1 params");

	(void)state;
	expect_opens(s, sealed, "instance 2 params", NULL);
	expect_opens(s, sealed, "instance 1 context", NULL);
	expect_opens(s, sealed, "", NULL);
	seal_close(s);
}

static void changed_texts_are_refused(void **state)
{
	struct seal *s = with_keys(KEY_A);
	AUTO_FREE char *sealed = seal_text(s, "text", "b");

	(void)state;
	for (size_t i = 0; sealed[i]; i++) {
		char was = sealed[i];

		for (int c = 1; c < 256; c++) {
			sealed[i] = (char)c;
			if (sealed[i] != was)
				expect_opens(s, sealed, "b", NULL);
		}
		sealed[i] = was;
	}
	for (size_t cut = strlen(sealed); cut-- > 0;) {
		AUTO_FREE char *shorter = strndup(sealed, cut);

		expect_opens(s, shorter, "b", NULL);
	}
	expect_opens(s, sealed, "b", "text");
	seal_close(s);
}

static void new_key_seals_and_the_old_one_opens(void **state)
{
	struct seal *s = with_keys(KEY_A "\n");
	AUTO_FREE char *old = seal_text(s, "text", "b");
	AUTO_FREE char *young = NULL;

	(void)state;
	seal_close(s);
	s = with_keys("# the new one\n  " KEY_B "  # today\n\n" KEY_A "\n");
	expect_opens(s, old, "b", "text");
	assert_false(seal_is_current(s, old));
	young = seal_text(s, "text", "b");
	assert_true(seal_is_current(s, young));
	seal_close(s);
	s = with_keys(KEY_B);
	expect_opens(s, old, "b", NULL);
	expect_opens(s, young, "b", "text");
	seal_close(s);
}

static void key_files_open_to_others_are_refused(void **state)
{
	struct seal *s = with_keys(KEY_A);

	(void)state;
	seal_close(s);
	for (int bit = 1; bit <= 040; bit <<= 1) {
		assert_int_equal(chmod(file, (mode_t)(0600 | bit)), 0);
		assert_int_equal(seal_open(file, &s, &err), -EACCES);
		assert_non_null(strstr(err.text, file));
		assert_non_null(strstr(err.text, "mode"));
	}
	if (geteuid())
		return;
	assert_int_equal(chmod(file, 0600), 0);
	assert_int_equal(chown(file, 12345, (gid_t)-1), 0);
	assert_int_equal(seal_open(file, &s, &err), -EACCES);
	assert_non_null(strstr(err.text, "12345"));
}

static void bad_key_files_name_the_line_but_not_the_key(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "no key" },
		{ "# nothing\n\n", "no key" },
		{ KEY_A "\nff00\n", "line 2" },
		{ "\n" KEY_A "0\n", "line 2" },
		{ "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "line 1" },
		{ KEY_A "\n" KEY_B "\n" KEY_A, "line 3: a key twice" },
	};
	struct seal *s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		write_file(cases[i].text, strlen(cases[i].text));
		assert_int_equal(seal_open(file, &s, &err), -EINVAL);
		assert_non_null(strstr(err.text, cases[i].says));
		assert_null(strstr(err.text, "112233"));
	}
	write_file(KEY_A "\0\n", strlen(KEY_A) + 2);
	assert_int_equal(seal_open(file, &s, &err), -EINVAL);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(seal_open(file, &s, &err), -EINVAL);
	assert_int_equal(mkfifo(file, 0600), 0);
	assert_int_equal(seal_open(file, &s, &err), -EINVAL);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(seal_open(dir, &s, &err), -EINVAL);
}

static void made_key_is_private_and_never_replaced(void **state)
{
	struct seal *s;
	struct stat st;

	(void)state;
	assert_int_equal(seal_make_key(file, &err), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(seal_open(file, &s, &err), 0);
	seal_close(s);
	assert_int_equal(seal_make_key(file, &err), -EEXIST);
}

static void links_hold_until_they_expire(void **state)
{
	struct seal *s = with_keys(KEY_A);
	AUTO_FREE char *token = seal_sign(s, "/dashboard/1", 1000);

	(void)state;
	assert_true(seal_check(s, "/dashboard/1", token, 0));
	assert_true(seal_check(s, "/dashboard/1", token, 999));
	assert_false(seal_check(s, "/dashboard/1", token, 1000));
	assert_false(seal_check(s, "/dashboard/2", token, 999));
	seal_close(s);
	/* They outlive the rotation of the key, and end with it. */
	s = with_keys(KEY_B "\n" KEY_A);
	assert_true(seal_check(s, "/dashboard/1", token, 999));
	seal_close(s);
	s = with_keys(KEY_B);
	assert_false(seal_check(s, "/dashboard/1", token, 999));
	seal_close(s);
}

static void forged_links_are_refused(void **state)
{
	static const char *const forged[] = { "",
					      ".",
					      "1000",
					      "1000.",
					      ".AAAA",
					      "x.AAAA",
					      "+1.A",
					      "99999999999999999999999.AAAA",
					      "18446744073709551615." };
	struct seal *s = with_keys(KEY_A);
	AUTO_FREE char *token = seal_sign(s, "what", 1000);
	AUTO_FREE char *later = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forged); i++)
		assert_false(seal_check(s, "what", forged[i], 0));
	for (size_t i = 0; token[i]; i++) {
		char was = token[i];

		for (int c = 1; c < 256; c++) {
			token[i] = (char)c;
			if (token[i] != was)
				assert_false(seal_check(s, "what", token, 0));
		}
		token[i] = was;
	}
	assert_true(asprintf(&later, "9%s", token) > 0);
	assert_false(seal_check(s, "what", later, 0));
	assert_true(seal_check(s, "what", token, 0));
	seal_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(texts_come_back_and_never_look_alike, fresh,
						finish),
		cmocka_unit_test_setup_teardown(moved_texts_are_refused, fresh, finish),
		cmocka_unit_test_setup_teardown(changed_texts_are_refused, fresh, finish),
		cmocka_unit_test_setup_teardown(new_key_seals_and_the_old_one_opens, fresh, finish),
		cmocka_unit_test_setup_teardown(key_files_open_to_others_are_refused, fresh,
						finish),
		cmocka_unit_test_setup_teardown(bad_key_files_name_the_line_but_not_the_key, fresh,
						finish),
		cmocka_unit_test_setup_teardown(made_key_is_private_and_never_replaced, fresh,
						finish),
		cmocka_unit_test_setup_teardown(links_hold_until_they_expire, fresh, finish),
		cmocka_unit_test_setup_teardown(forged_links_are_refused, fresh, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
