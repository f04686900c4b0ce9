/* SPDX-License-Identifier: Apache-2.0 */
/* posix_race.c - POSIX corners of names that go while others open them */
#include <sys/wait.h>

#include "tests/tools/posix.h"

enum { ROUNDS = 200, WHOLE = 70000 };

static void swap_names(void *arg)
{
	char name[32];

	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof name, "new%d", i);
		make_file(name, "text", 0644);
		OK(rename(name, "target"));
	}
}

static void rename_over_a_name_is_atomic_for_others(void)
{
	make_file("target", "text", 0644);
	pid_t pid = start_child(swap_names, NULL);
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		expect_text("target", "text");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void make_target(void)
{
	int fd = OK_INT(open("new", O_CREAT | O_EXCL | O_WRONLY, 0600));

	pattern_write(fd, 0, WHOLE, 3);
	OK(close(fd));
	OK(rename("new", "target"));
}

static void make_and_unlink(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		make_target();
		OK(unlink("target"));
	}
}

static void make_and_replace(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++)
		make_target();
}

/* Whoever got it open finds all that was written before, on disk or not. */
static void expect_whole_or_none(void (*child)(void *))
{
	pid_t pid = start_child(child, NULL);
	int status, found = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		int fd = open("target", O_RDONLY);

		if (fd < 0 && (errno == ENOENT || errno == ESTALE))
			continue;
		OK(fd);
		EQUAL(stat_fd(fd).st_size, WHOLE);
		pattern_expect(fd, 0, WHOLE, 3, false);
		OK(close(fd));
		found++;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(found > 0);
}

static void file_opened_while_its_name_goes_is_whole(void)
{
	expect_whole_or_none(make_and_unlink);
}

static void file_opened_while_it_is_replaced_is_whole(void)
{
	expect_whole_or_none(make_and_replace);
}

static const struct subtest tests[] = {
	SUBTEST(rename_over_a_name_is_atomic_for_others),
	SUBTEST(file_opened_while_its_name_goes_is_whole),
	SUBTEST(file_opened_while_it_is_replaced_is_whole),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
