/* SPDX-License-Identifier: Apache-2.0 */
/* posix_dir.c - POSIX corners of folders */
#include <dirent.h>

#include "tests/tools/posix.h"

static void readdir_tells_type_and_number(void)
{
	unsigned seen = 0, dots = 0;

	make_file("file", "", 0644);
	OK(mkdir("dir", 0755));
	OK(symlink("file", "link"));
	OK(mkfifo("fifo", 0644));
	DIR *d = opendir(".");

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		struct stat st = stat_of(e->d_name);

		if (e->d_type != DT_UNKNOWN && e->d_type != IFTODT(st.st_mode))
			FAIL("%s: d_type %d, mode %o", e->d_name, e->d_type, st.st_mode);
		if (strcmp(e->d_name, "..") != 0)
			EQUAL(e->d_ino, st.st_ino);
		if (e->d_name[0] == '.')
			dots++;
		else
			seen++;
	}
	closedir(d);
	EQUAL(seen, 4);
	EQUAL(dots, 2);
}

#define SEEK_FILES 600

/* Reads to the end; counts how often each surviving number was seen. */
static void count_names(DIR *d, unsigned char *seen)
{
	int n;

	for (struct dirent *e; (e = readdir(d));)
		if (sscanf(e->d_name, "f%d", &n) == 1 && n >= 0 && n < SEEK_FILES)
			seen[n]++;
}

/* Names seen before the mark stay behind it, all others come exactly once,
 * whatever was made or removed meanwhile. */
static void telldir_mark_survives_changes(void)
{
	unsigned char before[SEEK_FILES] = { 0 }, after[SEEK_FILES] = { 0 };
	char name[32];
	int n, taken = 0;

	for (int i = 0; i < SEEK_FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		make_file(name, "", 0644);
	}
	DIR *d = opendir(".");

	CHECK(d != NULL);
	while (taken < SEEK_FILES / 2) {
		struct dirent *e = readdir(d);

		CHECK(e != NULL);
		if (sscanf(e->d_name, "f%d", &n) == 1) {
			before[n] = 1;
			taken++;
		}
	}
	long mark = telldir(d);

	for (int i = 0; i < SEEK_FILES; i += 3) {
		snprintf(name, sizeof name, "f%d", i);
		OK(unlink(name));
		snprintf(name, sizeof name, "new%d", i);
		make_file(name, "", 0644);
	}
	seekdir(d, mark);
	count_names(d, after);
	for (int i = 0; i < SEEK_FILES; i++)
		if (i % 3 != 0 && before[i] + after[i] != 1)
			FAIL("f%d seen %d times before, %d after", i, before[i], after[i]);
	rewinddir(d);
	memset(after, 0, sizeof after);
	count_names(d, after);
	for (int i = 0; i < SEEK_FILES; i++)
		EQUAL(after[i], i % 3 != 0);
	closedir(d);
}

static void readdir_while_unlinking_misses_nothing(void)
{
	char name[64];
	unsigned seen = 0;

	OK(mkdir("d", 0755));
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "d/some-longer-name-%d", i);
		make_file(name, "", 0644);
	}
	DIR *d = opendir("d");

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		OK(unlinkat(dirfd(d), e->d_name, 0));
		seen++;
	}
	closedir(d);
	EQUAL(seen, 2000);
	OK(rmdir("d"));
}

static void folder_of_many_entries_lists_each_once(void)
{
	long n = posix_entries, found = 0, i;
	unsigned char *seen = calloc((size_t)n, 1);
	char name[64];
	struct stat st;

	CHECK(seen != NULL);
	OK(mkdir("d", 0755));
	int dir = OK_INT(open("d", O_RDONLY | O_DIRECTORY));

	for (i = 0; i < n; i++) {
		snprintf(name, sizeof name, "entry-%ld", i);
		OK(mknodat(dir, name, S_IFREG | 0644, 0));
	}
	DIR *d = opendir("d");

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		if (sscanf(e->d_name, "entry-%ld", &i) == 1 && i >= 0 && i < n) {
			if (seen[i])
				FAIL("%s listed twice", e->d_name);
			seen[i] = 1;
			found++;
		}
	closedir(d);
	EQUAL(found, n);
	for (i = 0; i < n; i += 97) {
		snprintf(name, sizeof name, "entry-%ld", i);
		OK(fstatat(dir, name, &st, 0));
	}
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof name, "entry-%ld", i);
		OK(unlinkat(dir, name, 0));
	}
	close(dir);
	OK(rmdir("d"));
	free(seen);
}

static void make_and_tell(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof name, "x%d", i);
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);

		if (fd < 0) {
			EQUAL(errno, EEXIST);
			continue;
		}
		int log = OK_INT(open("won", O_WRONLY | O_APPEND));

		EQUAL(write(log, ".", 1), 1);
		close(log);
		close(fd);
	}
}

static void exclusive_create_has_one_winner(void)
{
	pid_t pid[8];

	make_file("won", "", 0644);
	for (int i = 0; i < 8; i++)
		pid[i] = start_child(make_and_tell, NULL);
	for (int i = 0; i < 8; i++)
		join_child(pid[i]);
	EQUAL(stat_of("won").st_size, 200);
}

static void make_name(void *arg)
{
	make_file(arg, "there", 0644);
}

static void missing_name_appears_when_another_process_makes_it(void)
{
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%d", i);
		FAILS(access(name, F_OK), ENOENT);
		FAILS(open(name, O_RDONLY), ENOENT);
		join_child(start_child(make_name, name));
		expect_text(name, "there");
		OK(unlink(name));
		FAILS(access(name, F_OK), ENOENT);
	}
}

static const struct subtest tests[] = {
	SUBTEST(readdir_tells_type_and_number),
	SUBTEST(telldir_mark_survives_changes),
	SUBTEST(readdir_while_unlinking_misses_nothing),
	SUBTEST(folder_of_many_entries_lists_each_once),
	SUBTEST(exclusive_create_has_one_winner),
	SUBTEST(missing_name_appears_when_another_process_makes_it),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
