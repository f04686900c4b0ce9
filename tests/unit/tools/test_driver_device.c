/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of arrays, with image files in their place, and who this cell is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tools/driver/cell.h"
#include "tools/driver/device.h"

#define IMAGE_BYTES (8 << 20)

static char dir[64], image[96], other[96];
static struct failure f;

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	chmod(path, mode);
}

static int fresh(void **state)
{
	AUTO_FD int fd = -1;

	(void)state;
	log_level = LOG_LEVEL_ERROR;
	strcpy(dir, "/tmp/persifs-device.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(image, sizeof image, "%s/image", dir);
	snprintf(other, sizeof other, "%s/other", dir);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? -1 : ftruncate(fd, IMAGE_BYTES);
}

static int finish(void **state)
{
	(void)state;
	unlink(image);
	unlink(other);
	return rmdir(dir);
}

static bool nobody_waits(void *arg)
{
	(void)arg;
	return false;
}

static void checked_for_kind_and_size(void **state)
{
	(void)state;
	assert_int_equal(device_check(image, 0, &f), 0);
	assert_int_equal(device_check(image, IMAGE_BYTES, &f), 0);
	assert_int_equal(device_check(image, IMAGE_BYTES + 1, &f), -EIO);
	assert_true(f.safe && !strstr(f.err.text, dir));
	assert_int_equal(device_check(dir, 0, &f), -ENOTBLK);
	assert_int_equal(device_check(other, 0, &f), -ENOENT);
	assert_true(f.safe && !strstr(f.err.text, dir));
}

static void open_descriptors_are_users(void **state)
{
	char who[300], want[40];
	int fd;

	(void)state;
	device_users(image, who, sizeof who);
	assert_string_equal(who, "");
	assert_int_equal(symlink(image, other), 0);
	fd = open(other, O_RDONLY | O_CLOEXEC);
	device_users(other, who, sizeof who);
	snprintf(want, sizeof want, "process %d", getpid());
	assert_string_equal(who, want);
	close(fd);
	device_users(other, who, sizeof who);
	assert_string_equal(who, "");
	device_users("/nonexistent", who, sizeof who);
	assert_string_equal(who, "");
}

static enum device_content content(void)
{
	enum device_content c;

	assert_int_equal(device_content(image, &c), 0);
	return c;
}

static void real_mkfs_makes_what_is_told_apart_from_blank_and_used(void **state)
{
	static const char *const programs[] = { "/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4" };
	const char *mkfs = NULL;
	AUTO_FD int fd = open(image, O_RDWR | O_CLOEXEC);
	unsigned char root_owner[2];

	(void)state;
	assert_int_equal(content(), DEVICE_BLANK);
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (!access(programs[i], X_OK))
			mkfs = programs[i];
	if (!mkfs)
		skip();
	assert_int_equal(device_format(image, mkfs, 2000, 2000, NULL, &f), 0);
	assert_int_equal(content(), DEVICE_MADE);
	/* Once more: who was killed before the mark was gone. */
	assert_int_equal(device_format(image, mkfs, -1, -1, NULL, &f), 0);
	assert_int_equal(content(), DEVICE_MADE);
	assert_int_equal(pread(fd, root_owner, 2, 1024 + 52), 2);
	assert_int_equal(root_owner[0] | root_owner[1], 0);
	assert_int_equal(pwrite(fd, "\1", 1, 1024 + 52), 1);
	assert_int_equal(content(), DEVICE_FILLED);
}

static void mkfs_that_fails_or_is_not_wanted(void **state)
{
	const struct cancel cancel = { nobody_waits, NULL };

	(void)state;
	assert_int_equal(device_format(image, "/nonexistent/mkfs", 0, 0, NULL, &f), -ENOENT);
	assert_true(f.safe);
	assert_int_equal(device_format(image, "false", 0, 0, NULL, &f), -EIO);
	write_file(other, "#!/bin/sh\nexec sleep 1000\n", 0755);
	assert_int_equal(device_format(image, other, 0, 0, &cancel, &f), -ECANCELED);
}

static void flush_of_what_is_gone_is_done(void **state)
{
	(void)state;
	assert_int_equal(device_flush(image), 0);
	assert_int_equal(device_flush(other), 0);
}

/* --- the cell -------------------------------------------------------------- */

static void cell_is_as_configured(void **state)
{
	const struct cell_config c = { .sdc_guid = "G", .nqn = "N", .address = "A" };
	struct provider_host host;
	struct cell cell;

	(void)state;
	cell_find(&c, NULL, &cell);
	host = cell_host(&cell);
	assert_string_equal(host.sdc_guid, "G");
	assert_string_equal(host.nqn, "N");
	assert_string_equal(host.address, "A");
}

static void cell_is_asked_for(void **state)
{
	static const struct {
		const char *script, *guid;
	} cases[] = {
		{ "echo 'About to query'; echo 2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA",
		  "2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA" },
		{ "[ \"$*\" = --query_guid ] && echo 2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa",
		  "2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa" },
		{ "echo 2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AAB", "" },
		{ "echo no; exit 1", "" },
	};
	json_t *array = json_pack("{s:[s]}", "url", "https://127.0.0.1:9/x");
	char hostnqn[] = "/tmp/persifs-nqn.XXXXXX", script[200];
	const struct cell_config c = { .drv_cfg = other, .hostnqn = hostnqn };
	AUTO_FD int fd = mkstemp(hostnqn);
	struct cell cell;

	(void)state;
	assert_true(fd >= 0);
	log_level = LOG_LEVEL_ERROR;
	write_file(hostnqn, "nqn.2014-08.org.nvmexpress:uuid:1 \n", 0600);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		snprintf(script, sizeof script, "#!/bin/sh\n%s\n", cases[i].script);
		write_file(other, script, 0755);
		cell_find(&c, array, &cell);
		assert_string_equal(cell.sdc_guid, cases[i].guid);
		assert_string_equal(cell.nqn, "nqn.2014-08.org.nvmexpress:uuid:1");
		assert_string_equal(cell.address, "127.0.0.1");
	}
	unlink(hostnqn);
	json_decref(array);
}

static void cell_that_cannot_be_found_is_nobody(void **state)
{
	const struct cell_config c = { .drv_cfg = "/nonexistent", .hostnqn = "/nonexistent" };
	json_t *array = json_pack("{s:s}", "url", "not a url");
	struct provider_host host;
	struct cell cell;

	(void)state;
	cell_find(&c, array, &cell);
	host = cell_host(&cell);
	assert_null(host.sdc_guid);
	assert_null(host.nqn);
	assert_null(host.address);
	json_decref(array);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(checked_for_kind_and_size),
		T(open_descriptors_are_users),
		T(real_mkfs_makes_what_is_told_apart_from_blank_and_used),
		T(mkfs_that_fails_or_is_not_wanted),
		T(flush_of_what_is_gone_is_done),
		T(cell_is_as_configured),
		T(cell_is_asked_for),
		T(cell_that_cannot_be_found_is_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
