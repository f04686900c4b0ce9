/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/uri.h"

static const struct good {
	const char *text, *scheme, *host, *path;
	uint16_t port;
	unsigned nparams;
} good[] = {
	{ "memory:", "memory", "", "", 0, 0 },
	{ "memory:?size=1g&inodes=5", "memory", "", "", 0, 2 },
	{ "dir:/srv/data", "dir", "", "/srv/data", 0, 0 },
	{ "dir:///srv", "dir", "", "/srv", 0, 0 },
	{ "dir:relative/x", "dir", "", "relative/x", 0, 0 },
	{ "nfs://host/export/a", "nfs", "host", "/export/a", 0, 0 },
	{ "nfs://host:2049/export?version=3", "nfs", "host", "/export", 2049, 1 },
	{ "nfs://host", "nfs", "host", "", 0, 0 },
	{ "nfs://[fe80::1]:111/e", "nfs", "fe80::1", "/e", 111, 0 },
	{ "nfs://[::1]/e", "nfs", "::1", "/e", 0, 0 },
	{ "nfs://h/with%20space/%c3%bc", "nfs", "h", "/with space/\xc3\xbc", 0, 0 },
	{ "nvme+tcp://h:65535/x", "nvme+tcp", "h", "/x", 65535, 0 },
	{ "nfs://h/a//b/?", "nfs", "h", "/a//b/", 0, 0 },
};

static void good_uris_come_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		const struct good *g = &good[i];
		struct uri u;
		struct err err;

		if (uri_parse(g->text, &u, &err))
			fail_msg("%s: %s", g->text, err.text);
		assert_string_equal(u.scheme, g->scheme);
		assert_string_equal(u.host, g->host);
		assert_string_equal(u.path, g->path);
		assert_int_equal(u.port, g->port);
		assert_int_equal(u.nparams, g->nparams);
	}
}

static void bad_uris_are_refused_with_a_sentence(void **state)
{
	static const char *const bad[] = {
		"",
		"no-colon",
		":x",
		"1abc:x",
		"a b:c",
		"nfs://h:0/x",
		"nfs://h:65536/x",
		"nfs://h:x/",
		"nfs://h:-1/",
		"nfs://h: 1/",
		"nfs://[::1/x",
		"nfs://[::1]x/y",
		"nfs://h/%",
		"nfs://h/%4",
		"nfs://h/%zz",
		"nfs://h/%00",
		"nfs:/x?noequals",
		"nfs:/x?=v",
		"nfs:/x?a=%",
		"nfs://h%00/x",
	};
	struct uri u;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err.text[0] = '\0';
		if (uri_parse(bad[i], &u, &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(strlen(err.text) > 10);
		assert_int_equal(uri_parse(bad[i], &u, NULL), -EINVAL);
	}
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *uri, *says;
	} bad[] = {
		{ "nbd://h:99999/x", "port '99999'" },
		{ "nbd://[::1]:x/", "port 'x'" },
		{ "nbd://h/x?noequals&a=b", "'noequals'" },
		{ "nbd://h/x?a=b&=v", "'=v'" },
		{ "nbd://h/x?a=%zz", "'a'" },
	};
	struct uri u;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(uri_parse(bad[i].uri, &u, &err), -EINVAL);
		if (!strstr(err.text, bad[i].says))
			fail_msg("%s: %s", bad[i].uri, err.text);
	}
}

static void sizes_are_limited(void **state)
{
	char *text = malloc(URI_MAX + 2);
	struct uri u;

	(void)state;
	memset(text, 'x', URI_MAX + 1);
	memcpy(text, "dir:/", 5);
	text[URI_MAX] = '\0';
	assert_int_equal(uri_parse(text, &u, NULL), 0);
	assert_int_equal(strlen(u.path), URI_MAX - 4);
	text[URI_MAX] = 'x';
	text[URI_MAX + 1] = '\0';
	assert_int_equal(uri_parse(text, &u, NULL), -EINVAL);
	strcpy(text, "x:?");
	for (int i = 0; i < URI_PARAMS_MAX; i++)
		strcat(text, "a=b&");
	assert_int_equal(uri_parse(text, &u, NULL), 0);
	strcat(text, "a=b");
	assert_int_equal(uri_parse(text, &u, NULL), -EINVAL);
	free(text);
}

static void parameters_are_found_and_checked(void **state)
{
	static const char *const known[] = { "size", "name", "n", NULL };
	static const char *const fewer[] = { "size", NULL };
	struct uri u;
	struct err err;
	uint64_t v;

	(void)state;
	assert_int_equal(uri_parse("x:?size=10&name=a%26b&n=7x", &u, &err), 0);
	assert_string_equal(uri_param(&u, "size"), "10");
	assert_string_equal(uri_param(&u, "name"), "a&b");
	assert_null(uri_param(&u, "missing"));
	assert_int_equal(uri_param_u64(&u, "size", 1, 10, 3, &v, &err), 0);
	assert_int_equal(v, 10);
	assert_int_equal(uri_param_u64(&u, "missing", 1, 10, 3, &v, &err), 0);
	assert_int_equal(v, 3);
	assert_int_equal(uri_param_u64(&u, "size", 1, 9, 3, &v, &err), -EINVAL);
	assert_non_null(strstr(err.text, "size=10"));
	assert_int_equal(uri_param_u64(&u, "n", 1, 9, 3, &v, &err), -EINVAL);
	assert_int_equal(uri_only_params(&u, known, &err), 0);
	assert_int_equal(uri_only_params(&u, fewer, &err), -EINVAL);
	assert_non_null(strstr(err.text, "name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_uris_come_apart),
		cmocka_unit_test(bad_uris_are_refused_with_a_sentence),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(sizes_are_limited),
		cmocka_unit_test(parameters_are_found_and_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
