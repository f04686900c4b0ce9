/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker may say that its volume is: a subverted one would take another's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/backend.h"
#include "common/cleanup.h"
#include "common/hash.h"

/* As backends/nfs makes them. */
static const char *nfs_key(const char *host, const char *rest)
{
	static char key[BE_KEY_BYTES];

	snprintf(key, sizeof key, "nfs-%016llx-%s",
		 (unsigned long long)hash_bytes(host, strlen(host), 0), rest);
	return key;
}

static void a_server_has_volumes_of_its_own_name(void **state)
{
	(void)state;
	assert_true(backend_key_fits("nfs://nas/export", nfs_key("nas", "2049-12ab")));
	assert_true(backend_key_fits("nfs://NAS/export", nfs_key("nas", "2049-0")));
	assert_true(backend_key_fits("nfs://nas/export", nfs_key("nas", "33-ffffffffffffffff")));
	assert_false(backend_key_fits("nfs://evil/export", nfs_key("nas", "2049-12ab")));
}

static void a_named_port_is_that_one(void **state)
{
	const char *uri = "nfs://nas/export?nfsport=2050";

	(void)state;
	assert_true(backend_key_fits(uri, nfs_key("nas", "2050-1")));
	assert_false(backend_key_fits(uri, nfs_key("nas", "2049-1")));
	assert_false(backend_key_fits("nfs://nas:2050/export", nfs_key("nas", "2049-1")));
}

static void other_words_fit_nothing(void **state)
{
	static const char *const words[] = { "",        "-",
					     "own-1",   "dir-fe00-0",
					     "nfs-",    "nfs-1-2",
					     "..",      "nfs-0123456789abcdef-2049-",
					     "uri-1234" };
	static const char *const rests[] = { "2049-12ab.",
					     "2049-12ab-",
					     "2049-012ab",
					     "02049-1",
					     "2049-0x1",
					     "-1-1",
					     "2049- 1",
					     "+2049-1",
					     "2049-1 ",
					     "99999-1x",
					     "2049-11111111111111111" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		assert_false(backend_key_fits("nfs://nas/export", words[i]));
		assert_false(backend_key_fits("memory:", words[i]));
		assert_false(backend_key_fits("dir:/", words[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(rests); i++)
		assert_false(backend_key_fits("nfs://nas/export", nfs_key("nas", rests[i])));
}

static void a_folder_is_itself(void **state)
{
	char key[BE_KEY_BYTES];
	struct stat st;

	(void)state;
	assert_int_equal(stat("/proc", &st), 0);
	snprintf(key, sizeof key, "dir-%llx-%llx", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	assert_true(backend_key_fits("dir:/proc", key));
	assert_false(backend_key_fits("dir:/", key));
	assert_false(backend_key_fits("nfs://nas/proc", key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_has_volumes_of_its_own_name),
		cmocka_unit_test(a_named_port_is_that_one),
		cmocka_unit_test(other_words_fit_nothing),
		cmocka_unit_test(a_folder_is_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
