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

#include "common/runtime.h"

static struct mount_entry entry;
static struct err err;
static char work[64];

static int make_work(void **state)
{
	(void)state;
	strcpy(work, "/tmp/test_runtime.XXXXXX");
	memset(&err, 0, sizeof err);
	return mkdtemp(work) ? 0 : -1;
}

static int remove_work(void **state)
{
	char cmd[128];

	(void)state;
	unsetenv("PERSIFS_RUNTIME_DIR");
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", work);
	return system(cmd);
}

static FILE *lines(const char *text)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	fputs(text, f);
	return f;
}

static int top(const char *text, const char *path, uint64_t parent_id)
{
	FILE *f = lines(text);
	int rc = mount_entry_top(f, path, parent_id, &entry);

	fclose(f);
	return rc;
}

static void a_line_yields_its_fields(void **state)
{
	(void)state;
	assert_int_equal(mount_entry_parse("36 35 98:7 /root /mnt/x rw,noatime master:1 shared:2 - "
					   "fuse.persifs dir:/srv rw,user_id=0\n",
					   &entry),
			 0);
	assert_int_equal(entry.id, 36);
	assert_int_equal(entry.parent_id, 35);
	assert_int_equal(entry.maj, 98);
	assert_int_equal(entry.min, 7);
	assert_string_equal(entry.point, "/mnt/x");
	assert_string_equal(entry.fstype, "fuse.persifs");
	assert_string_equal(entry.source, "dir:/srv");
}

static void octal_escapes_are_undone(void **state)
{
	(void)state;
	assert_int_equal(mount_entry_parse("1 2 0:9 / /a\\040b\\011c\\134d\\9x rw - t s\\012 rw",
					   &entry),
			 0);
	assert_string_equal(entry.point, "/a b\tc\\d\\9x");
	assert_string_equal(entry.source, "s\n");
}

static void an_empty_source_is_legal(void **state)
{
	(void)state;
	assert_int_equal(mount_entry_parse("1 2 0:9 / /a rw - tmpfs  rw", &entry), 0);
	assert_string_equal(entry.source, "");
}

static void broken_lines_are_refused(void **state)
{
	static const char *const bad[] = { "",
					   "\n",
					   "1 2",
					   "1 2 3",
					   "1 2 0:1 ",
					   "1 2 0:1 /",
					   "1 2 0:1 / /x rw",
					   "1 2 0:1 / /x rw - ",
					   "a b c:d / / - t s",
					   NULL };

	(void)state;
	for (const char *const *b = bad; *b; b++)
		assert_int_equal(mount_entry_parse(*b, &entry), -EINVAL);
}

static void an_overlong_line_is_refused(void **state)
{
	char line[3 * PATH_MAX];
	size_t n = (size_t)sprintf(line, "1 2 0:1 / /");

	(void)state;
	memset(line + n, 'x', 2 * PATH_MAX);
	strcpy(line + n + 2 * PATH_MAX, " rw - t s rw");
	assert_int_equal(mount_entry_parse(line, &entry), -EINVAL);
}

static const char stack[] = "20 1 0:1 / / rw - ext4 root rw\n"
			    "30 20 0:2 / /m rw - tmpfs low rw\n"
			    "50 40 0:4 / /m rw - fuse.persifs high rw\n" /* listed out of order */
			    "40 30 0:3 / /m rw - tmpfs middle rw\n"
			    "60 99 0:6 / /m rw - tmpfs hidden rw\n"
			    "70 20 0:7 / /m2 rw - tmpfs other rw\n";

static void the_stack_is_climbed_by_parents(void **state)
{
	(void)state;
	assert_int_equal(top(stack, "/m", 20), 0);
	assert_string_equal(entry.source, "high");
}

static void a_hidden_mount_is_not_found(void **state)
{
	(void)state;
	assert_int_equal(top(stack, "/m", 70), -ENOENT);
	assert_int_equal(top(stack, "/", 20), -ENOENT);
}

static void without_a_parent_the_last_line_wins(void **state)
{
	(void)state;
	assert_int_equal(top(stack, "/m", 0), 0);
	assert_string_equal(entry.source, "hidden");
}

static void a_loop_of_parents_ends(void **state)
{
	(void)state;
	assert_int_equal(top("5 6 0:1 / /m rw - t a rw\n6 5 0:1 / /m rw - t b rw\n", "/m", 6), 0);
}

static void a_plain_folder_is_no_mount_point(void **state)
{
	unsigned maj, min;

	(void)state;
	assert_int_equal(runtime_mount_dev(work, &maj, &min, NULL, 0, &err), -EINVAL);
	assert_non_null(strstr(err.text, "not a mount point: '/tmp/test_runtime."));
}

static void a_missing_folder_says_so(void **state)
{
	unsigned maj, min;

	(void)state;
	assert_int_equal(runtime_mount_dev("/nowhere/at/all", &maj, &min, NULL, 0, &err), -ENOENT);
	assert_string_equal(err.text, "'/nowhere/at/all': No such file or directory");
}

static void another_file_system_is_named(void **state)
{
	unsigned maj, min;

	(void)state;
	assert_int_equal(runtime_mount_dev("/proc", &maj, &min, NULL, 0, &err), -EINVAL);
	assert_string_equal(err.text, "not a persifs mount: '/proc' (it is proc)");
	assert_int_equal(runtime_mount_dev("/proc/self/../", &maj, &min, NULL, 0, &err), -EINVAL);
	assert_string_equal(err.text, "not a persifs mount: '/proc/self/../' (it is proc)");
}

static void a_link_to_a_mount_point_is_followed(void **state)
{
	unsigned maj, min;
	char link[128], loop[128];

	(void)state;
	snprintf(link, sizeof link, "%s/link", work);
	snprintf(loop, sizeof loop, "%s/loop", work);
	assert_int_equal(symlink("/proc", link), 0);
	assert_int_equal(symlink("loop", loop), 0);
	assert_int_equal(runtime_mount_dev(link, &maj, &min, NULL, 0, &err), -EINVAL);
	assert_non_null(strstr(err.text, "(it is proc)"));
	assert_int_equal(runtime_mount_dev(loop, &maj, &min, NULL, 0, &err), -ELOOP);
}

static void the_folder_is_made_private(void **state)
{
	char path[128], sock[108];
	struct stat st;

	(void)state;
	snprintf(path, sizeof path, "%s/run", work);
	setenv("PERSIFS_RUNTIME_DIR", path, 1);
	assert_int_equal(runtime_socket_path(0, 42, sock, sizeof sock, &err), 0);
	assert_string_equal(sock + strlen(path), "/0-42.sock");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 022, 0);
}

static void a_folder_open_to_others_is_refused(void **state)
{
	char buf[128];

	(void)state;
	setenv("PERSIFS_RUNTIME_DIR", work, 1);
	assert_int_equal(chmod(work, 0777), 0);
	assert_int_equal(runtime_dir(buf, sizeof buf, &err), -EPERM);
	assert_int_equal(chmod(work, 0700), 0);
	assert_int_equal(runtime_dir(buf, sizeof buf, &err), 0);
	assert_int_equal(runtime_dir(buf, 8, &err), -ENAMETOOLONG);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_work, remove_work)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_line_yields_its_fields),
		CASE(octal_escapes_are_undone),
		CASE(an_empty_source_is_legal),
		CASE(broken_lines_are_refused),
		CASE(an_overlong_line_is_refused),
		CASE(the_stack_is_climbed_by_parents),
		CASE(a_hidden_mount_is_not_found),
		CASE(without_a_parent_the_last_line_wins),
		CASE(a_loop_of_parents_ends),
		CASE(a_plain_folder_is_no_mount_point),
		CASE(a_missing_folder_says_so),
		CASE(another_file_system_is_named),
		CASE(a_link_to_a_mount_point_is_followed),
		CASE(the_folder_is_made_private),
		CASE(a_folder_open_to_others_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
