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

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/driver/source.h"

static struct failure f;

/* The URI, static; NULL when it is refused, safely. */
static const char *resolve(const char *text, const char *prefix)
{
	static char kept[8192];
	char *uri = NULL;
	int rc = source_resolve(text, &prefix, 1, &uri, &f);

	if (rc) {
		assert_true(f.safe);
		return NULL;
	}
	snprintf(kept, sizeof kept, "%s", uri);
	free(uri);
	return kept;
}

static void both_spellings_of_nfs_are_taken(void **state)
{
	(void)state;
	assert_string_equal(resolve("nfs://nas/a/b", "nfs://"), "nfs://nas/a/b");
	assert_string_equal(resolve("nas:/a/b", "nfs://"), "nfs://nas/a/b");
	assert_string_equal(resolve("[::1]:/a", "nfs://"), "nfs://[::1]/a");
	assert_string_equal(resolve("nas:/a b%?#", "nfs://"), "nfs://nas/a%20b%25%3F%23");
	assert_string_equal(resolve("nfs://nas/a?nfsport=1&version=3", "nfs://"),
			    "nfs://nas/a?nfsport=1&version=3");
	assert_string_equal(resolve("memory:", "memory:"), "memory:");
}

static void prefixes_end_at_components(void **state)
{
	(void)state;
	assert_non_null(resolve("nfs://nas/apps", "nfs://nas/apps"));
	assert_non_null(resolve("nfs://NAS/apps/x", "nfs://nas/apps"));
	assert_non_null(resolve("nfs://nas//apps///x", "nfs://nas/apps/"));
	assert_null(resolve("nfs://nas/appsx", "nfs://nas/apps"));
	assert_null(resolve("nfs://nas/app", "nfs://nas/apps"));
	assert_null(resolve("nfs://nas.evil/apps", "nfs://nas"));
	assert_null(resolve("nfs://nas:1/apps", "nfs://nas:2"));
	assert_non_null(resolve("nfs://nas:2/apps", "nfs://nas:2"));
	assert_null(resolve("memory:", "nfs://"));
	assert_null(resolve("dir:/etc", "nfs://"));
	assert_null(resolve("file:///etc", "nfs://"));
}

static void nothing_leads_out_of_a_prefix(void **state)
{
	static const char *const bad[] = {
		"nfs://nas/apps/../etc",
		"nfs://nas/apps/%2e%2e/etc",
		"nas:/apps/..",
		"nfs://nas/apps/x/%2E./../etc",
		"nfs://u:p@nas/apps",
		"nfs://nas%2fapps/x",
		"nfs:///apps",
		"nfs://nas",
		"nas",
		"",
		"nas:/apps/\n",
		"nfs://nas/apps%00",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_null(resolve(bad[i], i > 5 ? "nfs://" : "nfs://nas/apps"));
}

static void too_long_a_source_is_refused(void **state)
{
	AUTO_FREE char *text = malloc(SOURCE_MAX + 10);

	(void)state;
	memset(text, 'a', SOURCE_MAX + 9);
	text[SOURCE_MAX + 9] = '\0';
	memcpy(text, "nfs://nas/", 10);
	assert_null(resolve(text, "nfs://"));
}

static void real_path_of_a_folder_counts(void **state)
{
	char dir[] = "/tmp/persifs-source.XXXXXX", a[64], text[128], want[128], prefix[128];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(prefix, sizeof prefix, "dir:%s/in", dir);
	snprintf(a, sizeof a, "%s/in", dir);
	assert_int_equal(mkdir(a, 0755), 0);
	snprintf(a, sizeof a, "%s/in/a b", dir);
	assert_int_equal(mkdir(a, 0755), 0);
	snprintf(a, sizeof a, "%s/inside", dir);
	assert_int_equal(mkdir(a, 0755), 0);
	snprintf(a, sizeof a, "%s/in/out", dir);
	assert_int_equal(symlink("../inside", a), 0);

	snprintf(text, sizeof text, "dir:%s/in/a%%20b", dir);
	assert_string_equal(resolve(text, prefix), text);
	snprintf(text, sizeof text, "dir:%s/in/.//a%%20b", dir);
	snprintf(want, sizeof want, "dir:%s/in/a%%20b", dir);
	assert_string_equal(resolve(text, prefix), want);
	snprintf(text, sizeof text, "dir:%s/in/out", dir);
	assert_null(resolve(text, prefix));
	snprintf(text, sizeof text, "dir:%s/inside", dir);
	assert_null(resolve(text, prefix));
	snprintf(text, sizeof text, "dir:%s/in/missing", dir);
	assert_null(resolve(text, prefix));
	assert_null(strstr(f.err.text, dir));

	unlink(a);
	snprintf(a, sizeof a, "%s/in/a b", dir);
	rmdir(a);
	snprintf(a, sizeof a, "%s/in", dir);
	rmdir(a);
	snprintf(a, sizeof a, "%s/inside", dir);
	rmdir(a);
	assert_int_equal(rmdir(dir), 0);
}

static void prefixes_are_checked(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(source_check_prefix("nfs://nas/x", &err), 0);
	assert_int_equal(source_check_prefix("dir:/srv", &err), 0);
	assert_int_not_equal(source_check_prefix("srv", &err), 0);
	assert_int_not_equal(source_check_prefix("dir:srv", &err), 0);
	assert_int_not_equal(source_check_prefix("nfs://nas/x?version=3", &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_spellings_of_nfs_are_taken),
		cmocka_unit_test(prefixes_end_at_components),
		cmocka_unit_test(nothing_leads_out_of_a_prefix),
		cmocka_unit_test(too_long_a_source_is_refused),
		cmocka_unit_test(real_path_of_a_folder_counts),
		cmocka_unit_test(prefixes_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
