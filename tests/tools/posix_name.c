/* SPDX-License-Identifier: Apache-2.0 */
/* posix_name.c - POSIX corners of names, links, renames and kinds of files */
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <linux/fs.h>

#include "tests/tools/posix.h"

/* ---- names and paths -------------------------------------------------- */

static void name_of_255_bytes_works(void)
{
	char name[256], other[256];
	bool seen = false;

	memset(name, 'n', 255);
	memset(other, 'o', 255);
	name[255] = other[255] = '\0';
	make_file(name, "long", 0644);
	expect_text(name, "long");
	DIR *d = opendir(".");

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		seen |= strcmp(e->d_name, name) == 0;
	closedir(d);
	CHECK(seen);
	OK(rename(name, other));
	OK(link(other, name));
	EQUAL(stat_of(name).st_nlink, 2);
	OK(unlink(name));
	OK(mkdir(name, 0755));
	OK(rmdir(name));
	OK(symlink("x", name));
	OK(unlink(name));
	OK(unlink(other));
}

static void name_of_256_bytes_is_refused(void)
{
	char name[257];
	struct stat st;

	memset(name, 'n', 256);
	name[256] = '\0';
	make_file("f", "", 0644);
	FAILS(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	FAILS(open(name, O_RDONLY), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	FAILS(symlink("x", name), ENAMETOOLONG);
	FAILS(link("f", name), ENAMETOOLONG);
	FAILS(rename("f", name), ENAMETOOLONG);
	FAILS(mkfifo(name, 0644), ENAMETOOLONG);
	FAILS(unlink(name), ENAMETOOLONG);
	FAILS(rmdir(name), ENAMETOOLONG);
	CHECK(access("f", F_OK) == 0);
}

static void name_may_hold_any_byte(void)
{
	static const char *const names[] = { " ",        "...",         "a b",  "-rf",
					     "\n",       "\t\x01\x7f",  "*?[",  "\xff\xfe",
					     "\xc3\x28", "caf\xc3\xa9", ".nfs", "\\" };
	bool seen[sizeof names / sizeof *names] = { false };
	unsigned found = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		make_file(names[i], names[i], 0644);
	DIR *d = opendir(".");

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			if (strcmp(e->d_name, names[i]) == 0 && !seen[i]) {
				seen[i] = true;
				found++;
			}
	closedir(d);
	EQUAL(found, sizeof names / sizeof *names);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		expect_text(names[i], names[i]);
}

static void empty_name_and_bad_component_are_refused(void)
{
	struct stat st;

	make_file("f", "", 0644);
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(stat("f/x", &st), ENOTDIR);
	FAILS(stat("f/", &st), ENOTDIR);
	FAILS(stat("none/x", &st), ENOENT);
	FAILS(open("f/x", O_CREAT | O_WRONLY, 0644), ENOTDIR);
	FAILS(mkdir("f/x", 0755), ENOTDIR);
	FAILS(mkdir("f", 0755), EEXIST);
	FAILS(rmdir("f"), ENOTDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	FAILS(unlink("none"), ENOENT);
	OK(mkdir("d", 0755));
	FAILS(unlink("d"), EISDIR);
	FAILS(open("d", O_WRONLY), EISDIR);
	FAILS(open("d", O_CREAT | O_RDWR, 0644), EISDIR);
	FAILS(rmdir("d/."), EINVAL);
	make_file("d/x", "", 0644);
	FAILS_EITHER(rmdir("d"), ENOTEMPTY, EEXIST);
	OK(mkdir("e/", 0755));
}

static void path_of_4095_bytes_works_4096_is_refused(void)
{
	char comp[201], path[PATH_MAX + 1] = "";
	int at = OK_INT(open(".", O_RDONLY | O_DIRECTORY));
	size_t len = 0;
	struct stat st;

	memset(comp, 'd', 200);
	comp[200] = '\0';
	while (len + 201 < PATH_MAX - 10) { /* 200 bytes and a slash each */
		OK(mkdirat(at, comp, 0755));
		int next = OK_INT(openat(at, comp, O_RDONLY | O_DIRECTORY));

		close(at);
		at = next;
		memcpy(path + len, comp, 200);
		path[len + 200] = '/';
		len += 201;
	}
	size_t rest = PATH_MAX - 1 - len;

	memset(path + len, 'f', rest);
	path[PATH_MAX - 1] = '\0';
	make_file(path, "deep", 0644);
	expect_text(path, "deep");
	EQUAL(fstatat(at, path + len, &st, 0), 0);
	path[PATH_MAX - 1] = 'f';
	path[PATH_MAX] = '\0';
	FAILS(stat(path, &st), ENAMETOOLONG);
	FAILS(open(path, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	/* Deeper than any path: reached by relative names only. */
	for (int i = 0; i < 10; i++) {
		OK(mkdirat(at, comp, 0755));
		int next = OK_INT(openat(at, comp, O_RDONLY | O_DIRECTORY));

		close(at);
		at = next;
	}
	int fd = OK_INT(openat(at, "end", O_CREAT | O_RDWR, 0644));

	EQUAL(write(fd, "x", 1), 1);
	close(fd);
	close(at);
}

/* ---- symbolic links --------------------------------------------------- */

static void symlink_target_is_kept_to_the_byte(void)
{
	char target[PATH_MAX + 1], got[PATH_MAX + 1];

	memset(target, 't', PATH_MAX);
	target[PATH_MAX] = '\0';
	FAILS(symlink(target, "l"), ENAMETOOLONG);
	target[1000] = '\0';
	OK(symlink(target, "l"));
	EQUAL(readlink("l", got, sizeof got), 1000);
	CHECK(memcmp(got, target, 1000) == 0);
	EQUAL(readlink("l", got, 10), 10);
	EQUAL(stat_of("l").st_size, 1000);
	CHECK(S_ISLNK(stat_of("l").st_mode));
	OK(symlink("../a//b/./\n\xff", "odd"));
	EQUAL(readlink("odd", got, sizeof got), 12);
	CHECK(memcmp(got, "../a//b/./\n\xff", 12) == 0);
	make_file("f", "", 0644);
	FAILS(readlink("f", got, sizeof got), EINVAL);
	FAILS(symlink("x", "f"), EEXIST);
}

static void symlink_loop_gives_eloop(void)
{
	struct stat st;
	char from[16], to[16];

	OK(symlink("b", "a"));
	OK(symlink("a", "b"));
	OK(symlink("self", "self"));
	FAILS(stat("a", &st), ELOOP);
	FAILS(open("self", O_RDONLY), ELOOP);
	FAILS(stat("self/x", &st), ELOOP);
	make_file("c0", "end", 0644);
	for (int i = 1; i <= 45; i++) {
		snprintf(to, sizeof to, "c%d", i - 1);
		snprintf(from, sizeof from, "c%d", i);
		OK(symlink(to, from));
	}
	expect_text("c40", "end");
	FAILS(open("c41", O_RDONLY), ELOOP);
	FAILS(open("c1", O_RDONLY | O_NOFOLLOW), ELOOP);
}

static void dangling_symlink_creates_its_target(void)
{
	struct stat st;

	OK(symlink("target", "l"));
	FAILS(stat("l", &st), ENOENT);
	FAILS(open("l", O_RDONLY), ENOENT);
	FAILS(open("l", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	FAILS(mkdir("l", 0755), EEXIST);
	int fd = OK_INT(open("l", O_CREAT | O_WRONLY, 0644));

	EQUAL(write(fd, "via", 3), 3);
	close(fd);
	expect_text("target", "via");
	CHECK(S_ISLNK(stat_of("l").st_mode));
	OK(unlink("l"));
	expect_text("target", "via");
}

/* ---- links ------------------------------------------------------------ */

static void link_count_follows_every_name(void)
{
	char name[16];

	make_file("f", "one", 0644);
	struct stat st = stat_of("f");
	int fd = OK_INT(open("f", O_RDWR));

	for (int i = 1; i <= 20; i++) {
		snprintf(name, sizeof name, "l%d", i);
		OK(link("f", name));
		EQUAL(stat_of("f").st_nlink, i + 1);
		EQUAL(stat_of(name).st_ino, st.st_ino);
	}
	EQUAL(stat_fd(fd).st_nlink, 21);
	OK(unlink("f"));
	EQUAL(stat_fd(fd).st_nlink, 20);
	EQUAL(stat_of("l7").st_nlink, 20);
	EQUAL(pwrite(fd, "two", 3, 0), 3);
	expect_text("l20", "two");
	FAILS(link("l1", "l2"), EEXIST);
	FAILS(link("none", "x"), ENOENT);
	OK(mkdir("d", 0755));
	FAILS(link("d", "x"), EPERM);
	OK(symlink("l1", "s"));
	OK(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
	CHECK(S_ISLNK(stat_of("s2").st_mode));
	EQUAL(stat_of("s").st_nlink, 2);
	OK(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	EQUAL(stat_of("s3").st_ino, st.st_ino);
	close(fd);
}

static void link_count_of_a_folder_counts_subfolders(void)
{
	NEED("dirnlink");
	OK(mkdir("d", 0755));
	OK(mkdir("e", 0755));
	EQUAL(stat_of("d").st_nlink, 2);
	OK(mkdir("d/1", 0755));
	OK(mkdir("d/2", 0755));
	EQUAL(stat_of("d").st_nlink, 4);
	make_file("d/f", "", 0644);
	EQUAL(stat_of("d").st_nlink, 4);
	OK(rename("d/1", "e/1"));
	EQUAL(stat_of("d").st_nlink, 3);
	EQUAL(stat_of("e").st_nlink, 3);
	OK(rmdir("d/2"));
	EQUAL(stat_of("d").st_nlink, 2);
}

/* ---- rename ----------------------------------------------------------- */

static void rename_replaces_only_what_fits(void)
{
	make_file("f", "f", 0644);
	make_file("g", "g", 0644);
	OK(mkdir("d", 0755));
	OK(mkdir("empty", 0755));
	OK(mkdir("full", 0755));
	make_file("full/x", "x", 0644);
	FAILS(rename("f", "d"), EISDIR);
	FAILS(rename("d", "f"), ENOTDIR);
	FAILS_EITHER(rename("d", "full"), ENOTEMPTY, EEXIST);
	OK(rename("full", "empty"));
	expect_text("empty/x", "x");
	FAILS(access("full", F_OK), ENOENT);
	ino_t ino = stat_of("f").st_ino;

	OK(rename("f", "g"));
	EQUAL(stat_of("g").st_ino, ino);
	expect_text("g", "f");
	FAILS(rename("f", "g"), ENOENT);
	FAILS(rename("g", "none/x"), ENOENT);
	OK(rename("g", "g"));
	FAILS(rename("g", "g/x"), ENOTDIR);
	OK(symlink("g", "s"));
	OK(rename("s", "d/s"));
	CHECK(S_ISLNK(stat_of("d/s").st_mode));
	make_file("h", "h", 0644);
	OK(rename("h", "d/s"));
	expect_text("g", "f");
	expect_text("d/s", "h");
}

static void rename_moves_a_full_folder_but_not_into_itself(void)
{
	struct stat st;

	OK(mkdir("a", 0755));
	OK(mkdir("a/b", 0755));
	OK(mkdir("a/b/c", 0755));
	OK(mkdir("t", 0755));
	make_file("a/b/c/f", "deep", 0644);
	FAILS(rename("a", "a/b"), EINVAL);
	FAILS(rename("a", "a/b/c/x"), EINVAL);
	FAILS_EITHER(rename("a/b/c", "a"), ENOTEMPTY, EEXIST);
	int fd = OK_INT(open("a/b/c/f", O_RDONLY));
	int dir = OK_INT(open("a/b", O_RDONLY | O_DIRECTORY));

	OK(rename("a/b", "t/b"));
	expect_text("t/b/c/f", "deep");
	FAILS(stat("a/b", &st), ENOENT);
	OK(fstatat(dir, "..", &st, 0));
	EQUAL(st.st_ino, stat_of("t").st_ino);
	OK(fstatat(dir, "c/f", &st, 0));
	EQUAL(st.st_ino, stat_fd(fd).st_ino);
	OK(rename("t/b/c/f", "a/f"));
	expect_text("a/f", "deep");
	close(dir);
	close(fd);
}

static void rename_of_hard_links_to_one_file_keeps_both(void)
{
	make_file("a", "same", 0644);
	OK(link("a", "b"));
	OK(rename("a", "b"));
	expect_text("a", "same");
	expect_text("b", "same");
	EQUAL(stat_of("a").st_nlink, 2);
}

static void rename_noreplace_refuses_an_existing_name(void)
{
	NEED("noreplace");
	make_file("a", "a", 0644);
	make_file("b", "b", 0644);
	OK(mkdir("d", 0755));
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "d", RENAME_NOREPLACE), EEXIST);
	expect_text("b", "b");
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	expect_text("c", "a");
	FAILS(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
}

static void rename_exchange_swaps_two_names(void)
{
	NEED("exchange");
	make_file("a", "a", 0644);
	OK(mkdir("d", 0755));
	OK(mkdir("d/sub", 0755));
	make_file("d/x", "x", 0644);
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "d", RENAME_EXCHANGE));
	expect_text("d", "a");
	expect_text("a/x", "x");
	OK(renameat2(AT_FDCWD, "d", AT_FDCWD, "a/sub", RENAME_EXCHANGE));
	expect_text("a/sub", "a");
	CHECK(S_ISDIR(stat_of("d").st_mode));
	FAILS(renameat2(AT_FDCWD, "d", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
}

/* ---- open files that lose their name ---------------------------------- */

static void unlinked_file_lives_while_open(void)
{
	make_file("f", "before", 0644);
	int fd = OK_INT(open("f", O_RDWR));
	ino_t ino = stat_fd(fd).st_ino;

	OK(unlink("f"));
	FAILS(access("f", F_OK), ENOENT);
	EQUAL(stat_fd(fd).st_nlink, 0);
	make_file("f", "second", 0644);
	CHECK(stat_of("f").st_ino != ino);
	pattern_write(fd, 0, 200000, 5);
	OK(fsync(fd));
	pattern_expect(fd, 0, 200000, 5, false);
	OK(ftruncate(fd, 70000));
	EQUAL(stat_fd(fd).st_size, 70000);
	OK(fchmod(fd, 0600));
	EQUAL(stat_fd(fd).st_mode & 07777, 0600);
	EQUAL(stat_fd(fd).st_ino, ino);
	OK(close(fd));
	expect_text("f", "second");
}

static void replaced_file_lives_while_open(void)
{
	make_file("old", "old text", 0644);
	make_file("new", "new text", 0644);
	char buf[16];
	int fd = OK_INT(open("old", O_RDWR));

	OK(rename("new", "old"));
	EQUAL(pread(fd, buf, sizeof buf, 0), 8);
	CHECK(memcmp(buf, "old text", 8) == 0);
	EQUAL(pwrite(fd, "OLD", 3, 0), 3);
	OK(fsync(fd));
	expect_text("old", "new text");
	EQUAL(stat_fd(fd).st_nlink, 0);
	OK(close(fd));
	expect_text("old", "new text");
}

static void folder_of_unlinked_open_file_can_be_removed(void)
{
	NEED("rmdir_open");
	OK(mkdir("d", 0755));
	make_file("d/f", "text", 0644);
	int fd = OK_INT(open("d/f", O_RDWR));

	OK(unlink("d/f"));
	OK(rmdir("d"));
	EQUAL(pwrite(fd, "more", 4, 0), 4);
	OK(close(fd));
}

static void removed_folder_is_empty_and_refuses_names(void)
{
	OK(mkdir("d", 0755));
	int dir = OK_INT(open("d", O_RDONLY | O_DIRECTORY));

	OK(rmdir("d"));
	FAILS(openat(dir, "x", O_CREAT | O_WRONLY, 0644), ENOENT);
	FAILS(mkdirat(dir, "x", 0755), ENOENT);
	OK(mkdir("d", 0755));
	make_file("d/x", "", 0644);
	FAILS(faccessat(dir, "x", F_OK, 0), ENOENT);
	close(dir);
}

/* ---- kinds of files --------------------------------------------------- */

static void fifo_writer(void *arg)
{
	int fd = OK_INT(open(arg, O_WRONLY));

	EQUAL(write(fd, "through", 7), 7);
	close(fd);
}

static void fifo_and_socket_work(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "sock" };
	char buf[16], fifo[] = "fifo";

	OK(mkfifo("fifo", 0640));
	EQUAL(stat_of("fifo").st_mode, S_IFIFO | 0640);
	pid_t pid = start_child(fifo_writer, fifo);
	int fd = OK_INT(open("fifo", O_RDONLY));

	EQUAL(read(fd, buf, sizeof buf), 7);
	CHECK(memcmp(buf, "through", 7) == 0);
	close(fd);
	join_child(pid);
	int srv = OK_INT(socket(AF_UNIX, SOCK_STREAM, 0));
	int cli = OK_INT(socket(AF_UNIX, SOCK_STREAM, 0));

	OK(bind(srv, (struct sockaddr *)&addr, sizeof addr));
	CHECK(S_ISSOCK(stat_of("sock").st_mode));
	OK(listen(srv, 1));
	OK(connect(cli, (struct sockaddr *)&addr, sizeof addr));
	FAILS(bind(OK_INT(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&addr, sizeof addr),
	      EADDRINUSE);
	close(cli);
	close(srv);
}

static void device_node_keeps_its_number(void)
{
	NEED_ROOT();
	NEED("mknod");
	OK(mknod("chr", S_IFCHR | 0600, makedev(1, 3)));
	OK(mknod("blk", S_IFBLK | 0640, makedev(259, 70000)));
	EQUAL(stat_of("chr").st_rdev, makedev(1, 3));
	EQUAL(stat_of("chr").st_mode, S_IFCHR | 0600);
	EQUAL(stat_of("blk").st_rdev, makedev(259, 70000));
	OK(mknod("reg", S_IFREG | 0644, 0));
	CHECK(S_ISREG(stat_of("reg").st_mode));
	OK(rename("chr", "chr2"));
	OK(unlink("chr2"));
}

static void creation_obeys_umask_and_flags(void)
{
	umask(027);
	int fd = OK_INT(open("f", O_CREAT | O_EXCL | O_RDWR, 06777));

	EQUAL(stat_fd(fd).st_mode & 07777, 06750);
	EQUAL(stat_fd(fd).st_size, 0);
	EQUAL(stat_fd(fd).st_nlink, 1);
	close(fd);
	OK(mkdir("d", 01777));
	EQUAL(stat_of("d").st_mode & 07777, 01750);
	OK(mkfifo("p", 0666));
	EQUAL(stat_of("p").st_mode & 07777, 0640);
	FAILS(open("f", O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
	FAILS(open("none", O_RDWR), ENOENT);
	umask(0);
	fd = OK_INT(open("ro", O_CREAT | O_EXCL | O_RDWR, 0444));
	EQUAL(write(fd, "still writable here", 19), 19);
	OK(fsync(fd));
	close(fd);
	expect_text("ro", "still writable here");
	fd = OK_INT(open("f", O_PATH));
	EQUAL(stat_fd(fd).st_mode & 07777, 06750);
	FAILS(write(fd, "x", 1), EBADF);
	close(fd);
}

static void tmpfile_has_no_name_until_linked(void)
{
	char path[64];

	NEED("tmpfile");
	int fd = OK_INT(open(".", O_TMPFILE | O_RDWR, 0640));

	EQUAL(stat_fd(fd).st_nlink, 0);
	EQUAL(stat_fd(fd).st_mode, S_IFREG | 0640);
	EQUAL(write(fd, "nameless", 8), 8);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(fd);
	expect_text("named", "nameless");
	EQUAL(stat_of("named").st_nlink, 1);
	fd = OK_INT(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "x", AT_SYMLINK_FOLLOW), ENOENT);
	close(fd);
}

/* ---- the rest --------------------------------------------------------- */

static void statfs_is_sane(void)
{
	struct statvfs v, w;

	OK(statvfs(".", &v));
	CHECK(v.f_bsize >= 512 && v.f_frsize >= 512);
	CHECK(v.f_blocks > 0);
	CHECK(v.f_bfree <= v.f_blocks && v.f_bavail <= v.f_bfree);
	CHECK(v.f_ffree <= v.f_files);
	EQUAL(v.f_namemax, 255);
	make_file("f", "", 0644);
	int fd = OK_INT(open("f", O_RDWR));

	OK(fstatvfs(fd, &w));
	EQUAL(w.f_blocks, v.f_blocks);
	close(fd);
}

static void ioctl_is_refused_and_poll_is_ready(void)
{
	make_file("f", "x", 0644);
	int fd = OK_INT(open("f", O_RDWR)), val = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	FAILS(ioctl(fd, _IOR('P', 99, int), &val), ENOTTY);
	FAILS(ioctl(fd, TCGETS, &val), ENOTTY);
	EQUAL(poll(&p, 1, 1000), 1);
	EQUAL(p.revents, POLLIN | POLLOUT);
	close(fd);
}

static void fsync_of_a_folder_succeeds(void)
{
	OK(mkdir("d", 0755));
	make_file("d/f", "", 0644);
	int fd = OK_INT(open("d", O_RDONLY | O_DIRECTORY));

	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(syncfs(fd));
	FAILS(read(fd, &fd, 1), EISDIR);
	close(fd);
}

static const struct subtest tests[] = {
	SUBTEST(name_of_255_bytes_works),
	SUBTEST(name_of_256_bytes_is_refused),
	SUBTEST(name_may_hold_any_byte),
	SUBTEST(empty_name_and_bad_component_are_refused),
	SUBTEST(path_of_4095_bytes_works_4096_is_refused),
	SUBTEST(symlink_target_is_kept_to_the_byte),
	SUBTEST(symlink_loop_gives_eloop),
	SUBTEST(dangling_symlink_creates_its_target),
	SUBTEST(link_count_follows_every_name),
	SUBTEST(link_count_of_a_folder_counts_subfolders),
	SUBTEST(rename_replaces_only_what_fits),
	SUBTEST(rename_moves_a_full_folder_but_not_into_itself),
	SUBTEST(rename_of_hard_links_to_one_file_keeps_both),
	SUBTEST(rename_noreplace_refuses_an_existing_name),
	SUBTEST(rename_exchange_swaps_two_names),
	SUBTEST(unlinked_file_lives_while_open),
	SUBTEST(replaced_file_lives_while_open),
	SUBTEST(folder_of_unlinked_open_file_can_be_removed),
	SUBTEST(removed_folder_is_empty_and_refuses_names),
	SUBTEST(fifo_and_socket_work),
	SUBTEST(device_node_keeps_its_number),
	SUBTEST(creation_obeys_umask_and_flags),
	SUBTEST(tmpfile_has_no_name_until_linked),
	SUBTEST(statfs_is_sane),
	SUBTEST(ioctl_is_refused_and_poll_is_ready),
	SUBTEST(fsync_of_a_folder_succeeds),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
