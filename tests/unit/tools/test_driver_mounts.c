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
#include "common/log.h"
#include "tools/driver/mounts.h"

static char root[64];

/* A program in the place of persifs, and a mount by it. */
static int mount_by(const char *script, unsigned limit_ms, struct failure *f)
{
	char program[96], point[96];
	struct mounts m = { .persifs = program, .mount_timeout_ms = limit_ms };
	const struct mount_spec spec = { "nfs://secret.host/x", "ro", point, NULL };
	FILE *out;
	int rc;

	snprintf(program, sizeof program, "%s/persifs", root);
	snprintf(point, sizeof point, "%s/vol", root);
	out = fopen(program, "we");
	assert_non_null(out);
	fprintf(out, "#!/bin/sh\n%s\n", script);
	fclose(out);
	chmod(program, 0755);
	rc = mounts_real.mount(&m, &spec, NULL, f);
	unlink(program);
	if (rc)
		assert_int_not_equal(access(point, F_OK), 0);
	else
		rmdir(point);
	return rc;
}

static int make_root(void **state)
{
	(void)state;
	log_level = LOG_LEVEL_ERROR;
	strcpy(root, "/tmp/persifs-mounts.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return rmdir(root);
}

static void mount_hands_over_options_uri_and_folder(void **state)
{
	char script[256];
	struct failure f;

	(void)state;
	snprintf(script, sizeof script,
		 "[ \"$*\" = 'mount -o ro nfs://secret.host/x %s/vol' ] && [ -d %s/vol ]", root,
		 root);
	assert_int_equal(mount_by(script, 60000, &f), 0);
}

static void r12_failed_mount_leaves_no_folder_and_tells_no_host(void **state)
{
	static const struct {
		const char *script, *want;
		bool safe;
	} cases[] = {
		{ "echo 'persifs: nfs://secret.host/x: Permission denied' >&2; exit 32",
		  "no access to the share", true },
		{ "echo 'persifs: secret.host: No such file or directory' >&2; exit 32",
		  "the share does not exist", true },
		{ "echo 'persifs: secret.host: bogus' >&2; exit 32", "the share cannot be mounted",
		  true },
		{ "echo 'persifs: URI: ext4 is not supported yet' >&2; exit 1",
		  "a volume of this kind cannot be mounted by this version", true },
		{ "echo 'persifs: option policy=x: want lru' >&2; exit 1",
		  "option policy=x: want lru", true },
	};
	struct failure f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_not_equal(mount_by(cases[i].script, 60000, &f), 0);
		assert_string_equal(f.err.text, cases[i].want);
		assert_true(f.safe == cases[i].safe);
	}
}

static void r12_mount_that_hangs_is_undone_at_its_limit(void **state)
{
	struct failure f;

	(void)state;
	assert_int_equal(mount_by("exec sleep 1000", 50, &f), -ETIMEDOUT);
	assert_true(f.safe);
}

static void something_in_the_way_is_left_alone(void **state)
{
	char inner[96], file[96];
	struct failure f;
	FILE *out;

	(void)state;
	snprintf(inner, sizeof inner, "%s/vol", root);
	out = fopen(inner, "we");
	assert_non_null(out);
	fclose(out);
	snprintf(file, sizeof file, "%s/persifs", root);
	{
		const struct mounts m = { .persifs = "false", .mount_timeout_ms = 1000 };
		const struct mount_spec spec = { "nfs://h/x", "ro", inner, NULL };

		assert_int_equal(mounts_real.mount((void *)(uintptr_t)&m, &spec, NULL, &f),
				 -EEXIST);
	}
	assert_int_equal(access(inner, F_OK), 0);
	unlink(inner);
}

static void unmount_of_nothing_is_enoent_and_takes_the_folder(void **state)
{
	struct mounts m = { .persifs = "false", .mount_timeout_ms = 1000 };
	char point[96];
	struct failure f;

	(void)state;
	snprintf(point, sizeof point, "%s/vol", root);
	assert_int_equal(mkdir(point, 0755), 0);
	assert_false(mounts_real.is_mounted(&m, point));
	assert_false(mounts_real.is_alive(&m, point));
	assert_int_equal(mounts_real.unmount(&m, point, 1000, NULL, NULL, &f), -ENOENT);
	assert_int_not_equal(access(point, F_OK), 0);
}

static void sweep_takes_empty_folders_only(void **state)
{
	char empty[96], full[96], inner[128];

	(void)state;
	snprintf(empty, sizeof empty, "%s/empty", root);
	snprintf(full, sizeof full, "%s/full", root);
	snprintf(inner, sizeof inner, "%s/full/x", root);
	assert_int_equal(mkdir(empty, 0755) | mkdir(full, 0755) | mkdir(inner, 0755), 0);
	mounts_sweep(root);
	assert_int_not_equal(access(empty, F_OK), 0);
	assert_int_equal(access(inner, F_OK), 0);
	rmdir(inner);
	rmdir(full);
}

#define ROOTED(t) cmocka_unit_test_setup_teardown(t, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROOTED(mount_hands_over_options_uri_and_folder),
		ROOTED(r12_failed_mount_leaves_no_folder_and_tells_no_host),
		ROOTED(r12_mount_that_hangs_is_undone_at_its_limit),
		ROOTED(something_in_the_way_is_left_alone),
		ROOTED(unmount_of_nothing_is_enoent_and_takes_the_folder),
		ROOTED(sweep_takes_empty_folders_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
