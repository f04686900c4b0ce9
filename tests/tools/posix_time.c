/* SPDX-License-Identifier: Apache-2.0 */
/* posix_time.c - POSIX corners of times and of what stat() tells of writes */

#include "tests/tools/posix.h"

#define SAME(a, b) CHECK(time_cmp((a), (b)) == 0)
#define LATER(a, b) CHECK(time_cmp((a), (b)) > 0)

static void write_moves_mtime_and_ctime_only(void)
{
	int fd = new_file("f");
	struct stat a = stat_fd(fd), b;
	char c;

	clock_tick();
	EQUAL(write(fd, "x", 1), 1);
	b = stat_fd(fd);
	LATER(b.st_mtim, a.st_mtim);
	LATER(b.st_ctim, a.st_ctim);
	SAME(b.st_atim, a.st_atim);
	OK(fsync(fd));
	a = stat_fd(fd);
	CHECK(time_cmp(a.st_mtim, b.st_mtim) >= 0);
	clock_tick();
	EQUAL(write(fd, "x", 0), 0);
	EQUAL(pread(fd, &c, 1, 0), 1);
	b = stat_fd(fd);
	SAME(b.st_mtim, a.st_mtim);
	SAME(b.st_ctim, a.st_ctim);
	clock_tick();
	OK(ftruncate(fd, 100));
	a = stat_fd(fd);
	LATER(a.st_mtim, b.st_mtim);
	LATER(a.st_ctim, b.st_ctim);
	clock_tick();
	close(OK_INT(open("f", O_WRONLY | O_TRUNC)));
	b = stat_fd(fd);
	LATER(b.st_mtim, a.st_mtim);
	close(fd);
}

static void metadata_changes_move_ctime_only(void)
{
	make_file("f", "x", 0644);
	struct stat a = stat_of("f"), b;

	clock_tick();
	OK(chmod("f", 0600));
	b = stat_of("f");
	SAME(b.st_mtim, a.st_mtim);
	LATER(b.st_ctim, a.st_ctim);
	clock_tick();
	OK(link("f", "g"));
	a = stat_of("f");
	SAME(a.st_mtim, b.st_mtim);
	LATER(a.st_ctim, b.st_ctim);
	clock_tick();
	OK(unlink("g"));
	b = stat_of("f");
	LATER(b.st_ctim, a.st_ctim);
	clock_tick();
	OK(chown("f", geteuid(), getegid()));
	a = stat_of("f");
	SAME(a.st_mtim, b.st_mtim);
	LATER(a.st_ctim, b.st_ctim);
}

static void names_move_the_times_of_their_folder(void)
{
	OK(mkdir("d", 0755));
	OK(mkdir("e", 0755));
	struct stat a = stat_of("d"), b;

	clock_tick();
	make_file("d/f", "", 0644);
	b = stat_of("d");
	LATER(b.st_mtim, a.st_mtim);
	LATER(b.st_ctim, a.st_ctim);
	clock_tick();
	int fd = OK_INT(open("d/f", O_WRONLY));

	EQUAL(write(fd, "x", 1), 1);
	close(fd);
	OK(chmod("d/f", 0600));
	a = stat_of("d");
	SAME(a.st_mtim, b.st_mtim);
	struct stat e = stat_of("e");

	OK(rename("d/f", "e/f"));
	LATER(stat_of("d").st_mtim, a.st_mtim);
	LATER(stat_of("e").st_mtim, e.st_mtim);
	e = stat_of("e");
	clock_tick();
	OK(unlink("e/f"));
	LATER(stat_of("e").st_mtim, e.st_mtim);
	a = stat_of("d");
	clock_tick();
	OK(mkdir("d/sub", 0755));
	LATER(stat_of("d").st_mtim, a.st_mtim);
}

static void utimes_set_exactly_what_is_asked(void)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1500000000, 987654321 } };

	make_file("f", "x", 0644);
	OK(utimensat(AT_FDCWD, "f", t, 0));
	struct stat st = stat_of("f");

	SAME(st.st_atim, t[0]);
	SAME(st.st_mtim, t[1]);
	t[0].tv_nsec = UTIME_OMIT;
	t[1] = (struct timespec){ 4000000000, 1 }; /* after 2038 */
	OK(utimensat(AT_FDCWD, "f", t, 0));
	st = stat_of("f");
	EQUAL(st.st_atim.tv_sec, 1000000000);
	EQUAL(st.st_mtim.tv_sec, 4000000000);
	EQUAL(st.st_mtim.tv_nsec, 1);
	t[1].tv_nsec = UTIME_OMIT;
	struct stat was = st;

	clock_tick();
	OK(utimensat(AT_FDCWD, "f", t, 0));
	SAME(stat_of("f").st_ctim, was.st_ctim);
	t[0].tv_nsec = UTIME_NOW;
	t[1].tv_nsec = UTIME_NOW;
	OK(utimensat(AT_FDCWD, "f", t, 0));
	st = stat_of("f");
	CHECK(llabs((long long)st.st_mtim.tv_sec - time(NULL)) < 60);
	SAME(st.st_atim, st.st_mtim);
	t[0] = (struct timespec){ 5, 1000000000 };
	FAILS(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	OK(symlink("f", "l"));
	t[0] = t[1] = (struct timespec){ 77, 0 };
	OK(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
	if (has_feature("linktimes"))
		EQUAL(stat_of("l").st_mtim.tv_sec, 77);
	CHECK(stat_of("f").st_mtim.tv_sec != 77);
	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "d", t, 0));
	EQUAL(stat_of("d").st_mtim.tv_sec, 77);
}

static void times_before_1970_are_kept(void)
{
	struct timespec t[2] = { { -5, 0 }, { -1000000, 500 } };

	NEED("neg_time");
	make_file("f", "x", 0644);
	OK(utimensat(AT_FDCWD, "f", t, 0));
	struct stat st = stat_of("f");

	SAME(st.st_atim, t[0]);
	SAME(st.st_mtim, t[1]);
}

/* What tar and cp -p do: late write-back must not move the time again. */
static void mtime_set_after_a_write_stays(void)
{
	struct timespec t[2] = { { 1111111111, 0 }, { 1222222222, 333 } };
	int fd = new_file("f");

	pattern_write(fd, 0, 3 * FRAME, 1);
	OK(futimens(fd, t));
	SAME(stat_fd(fd).st_mtim, t[1]);
	OK(fsync(fd));
	SAME(stat_fd(fd).st_mtim, t[1]);
	OK(close(fd));
	fd = OK_INT(open("f", O_RDONLY));
	SAME(stat_fd(fd).st_mtim, t[1]);
	pattern_expect(fd, 0, 3 * FRAME, 1, false);
	OK(syncfs(fd));
	close(fd);
	SAME(stat_of("f").st_mtim, t[1]);
}

static void read_never_moves_mtime_and_atime_only_forward(void)
{
	struct timespec t[2] = { { 1000000000, 0 }, { 1100000000, 0 } };
	char c;

	make_file("f", "x", 0644);
	OK(utimensat(AT_FDCWD, "f", t, 0));
	struct stat a = stat_of("f"), b;
	int fd = OK_INT(open("f", O_RDONLY));

	EQUAL(read(fd, &c, 1), 1);
	close(fd);
	b = stat_of("f");
	SAME(b.st_mtim, a.st_mtim);
	SAME(b.st_ctim, a.st_ctim);
	CHECK(time_cmp(b.st_atim, a.st_atim) >= 0);
	CHECK(b.st_atim.tv_sec <= time(NULL) + 1);
	fd = OK_INT(open("f", O_RDONLY | O_NOATIME));
	EQUAL(read(fd, &c, 1), 1);
	close(fd);
	SAME(stat_of("f").st_atim, b.st_atim);
	if (has_feature("atime"))
		LATER(b.st_atim, a.st_atim);
}

static void birth_time_is_told_and_fixed(void)
{
	struct statx a, b;

	NEED("btime");
	make_file("f", "x", 0644);
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &a));
	CHECK(a.stx_mask & STATX_BTIME);
	CHECK(llabs((long long)a.stx_btime.tv_sec - time(NULL)) < 60);
	EQUAL(a.stx_size, 1);
	clock_tick();
	OK(truncate("f", 10));
	OK(chmod("f", 0600));
	OK(statx(AT_FDCWD, "f", 0, STATX_BTIME, &b));
	EQUAL(b.stx_btime.tv_sec, a.stx_btime.tv_sec);
	EQUAL(b.stx_btime.tv_nsec, a.stx_btime.tv_nsec);
}

static void write_one_more(void *arg)
{
	int fd = OK_INT(open("f", O_WRONLY));

	pattern_write(fd, *(uint64_t *)arg, 1, 0);
	OK(close(fd));
}

static void size_and_blocks_follow_writes_at_once(void)
{
	int fd = new_file("f");

	EQUAL(stat_fd(fd).st_blocks, 0);
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t off = i * 7000;

		join_child(start_child(write_one_more, &off));
		EQUAL(stat_fd(fd).st_size, off + 1);
		EQUAL(stat_of("f").st_size, off + 1);
		EQUAL(lseek(fd, 0, SEEK_END), off + 1);
	}
	OK(fsync(fd));
	CHECK(stat_fd(fd).st_blocks > 0);
	CHECK(stat_fd(fd).st_blksize >= 512);
	close(fd);
}

static const struct subtest tests[] = {
	SUBTEST(write_moves_mtime_and_ctime_only),
	SUBTEST(metadata_changes_move_ctime_only),
	SUBTEST(names_move_the_times_of_their_folder),
	SUBTEST(utimes_set_exactly_what_is_asked),
	SUBTEST(times_before_1970_are_kept),
	SUBTEST(mtime_set_after_a_write_stays),
	SUBTEST(read_never_moves_mtime_and_atime_only_forward),
	SUBTEST(birth_time_is_told_and_fixed),
	SUBTEST(size_and_blocks_follow_writes_at_once),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
