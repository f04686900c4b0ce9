/* SPDX-License-Identifier: Apache-2.0 */
/* posix_perm.c - POSIX corners of owners, modes, permission checks and xattrs
 *
 * Needs root: checks are made by processes of real users, which share no name
 * with anybody on the machine. */
#include <dirent.h>
#include <sys/xattr.h>

#include "tests/tools/posix.h"

#define GROUP 2100 /* a group that only ann and carl are in */

static const struct user root = { 0, 0, 0 };
static const struct user ann = { 2001, 2001, GROUP };
static const struct user bob = { 2002, 2002, 0 };
static const struct user carl = { 2003, 2003, GROUP };

static void own(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	OK(lchown(path, uid, gid));
	OK(chmod(path, mode));
}

static void make_owned(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	make_file(path, "#!/bin/sh\nexit 0\n", 0600);
	own(path, uid, gid, mode);
}

static mode_t mode_of(const char *path)
{
	return stat_of(path).st_mode & 07777;
}

/* open() and close(), to be used as the call of AS(). */
static int try_open(const char *path, int flags)
{
	int fd = open(path, flags, 0666);

	return fd < 0 ? -1 : close(fd);
}

static int try_list(const char *path)
{
	DIR *d = opendir(path);

	if (!d)
		return -1;
	while (readdir(d))
		continue;
	return closedir(d);
}

static int try_exec(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(path, path, (char *)NULL);
		_exit(errno);
	}
	errno = exit_status(pid);
	return errno ? -1 : 0;
}

static int try_utimes(const char *path, bool now)
{
	const struct timespec t[2] = { { 1000, 0 }, { 1000, 0 } };

	return utimensat(AT_FDCWD, path, now ? NULL : t, 0);
}

/* ---- who may what ----------------------------------------------------- */

static const struct {
	mode_t mode;
	int ann, carl, bob; /* owner, member of the group, other: R_OK|W_OK */
} file_rights[] = {
	{ 0600, R_OK | W_OK, 0, 0 },       { 0640, R_OK | W_OK, R_OK, 0 },
	{ 0060, 0, R_OK | W_OK, 0 },       { 0006, 0, 0, R_OK | W_OK },
	{ 0604, R_OK | W_OK, 0, R_OK },    { 0420, R_OK, W_OK, 0 },
	{ 0246, W_OK, R_OK, R_OK | W_OK }, { 0000, 0, 0, 0 },
};

static void check_file_rights(const struct user *who, int may)
{
	AS(who, try_open("f", O_RDONLY), may & R_OK ? 0 : EACCES);
	AS(who, try_open("f", O_WRONLY), may & W_OK ? 0 : EACCES);
	AS(who, try_open("f", O_RDWR), may == (R_OK | W_OK) ? 0 : EACCES);
	AS(who, access("f", R_OK), may & R_OK ? 0 : EACCES);
	AS(who, access("f", W_OK), may & W_OK ? 0 : EACCES);
	AS(who, access("f", X_OK), EACCES);
	AS(who, truncate("f", 17), may & W_OK ? 0 : EACCES);
}

static void owner_group_and_other_have_their_own_bits(void)
{
	NEED_ROOT();
	make_owned("f", ann.uid, GROUP, 0600);
	for (size_t i = 0; i < sizeof file_rights / sizeof *file_rights; i++) {
		OK(chmod("f", file_rights[i].mode));
		check_file_rights(&ann, file_rights[i].ann);
		check_file_rights(&carl, file_rights[i].carl);
		check_file_rights(&bob, file_rights[i].bob);
	}
	AS(&root, try_open("f", O_RDWR), 0);
	AS(&root, access("f", R_OK | W_OK), 0);
	AS(&root, access("f", X_OK), EACCES);
	AS(&bob, access("f", F_OK), 0);
}

static void search_permission_holds_for_names_that_root_has_cached(void)
{
	NEED_ROOT();
	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	make_owned("d/e/f", bob.uid, bob.gid, 0666);
	own("d", ann.uid, GROUP, 0710);
	expect_text("d/e/f",
		    "#!/bin/sh\nexit 0\n"); /* dentries, attributes and data are cached now */
	AS(&bob, try_open("d/e/f", O_RDONLY), EACCES);
	AS(&bob, access("d/e/f", F_OK), EACCES);
	AS(&bob, chdir("d"), EACCES);
	AS(&carl, try_open("d/e/f", O_RDWR), 0);
	AS(&carl, chdir("d"), 0);
	AS(&ann, try_open("d/e/f", O_RDWR), 0);
	OK(chmod("d", 0711));
	AS(&bob, try_open("d/e/f", O_RDONLY), 0);
	OK(chmod("d", 0700));
	AS(&bob, try_open("d/e/f", O_RDONLY), EACCES);
	AS(&carl, try_open("d/e/f", O_RDONLY), EACCES);
	OK(chmod("d", 0755));
	OK(chmod("d/e", 0600));
	AS(&bob, try_open("d/e/f", O_RDONLY), EACCES);
	AS(&ann, try_open("d/e/f", O_RDONLY), EACCES);
	OK(chown("d/e", bob.uid, bob.gid));
	AS(&bob, try_open("d/e/f", O_RDONLY), EACCES);
	OK(chmod("d/e", 0100));
	AS(&bob, try_open("d/e/f", O_RDONLY), 0);
}

static void groups_are_those_of_the_calling_process(void)
{
	struct user bare = ann, joined = bob;

	NEED_ROOT();
	bare.extra = 0;
	joined.extra = GROUP;
	make_owned("f", carl.uid, GROUP, 0640);
	for (int i = 0; i < 5; i++) {
		AS(&ann, try_open("f", O_RDONLY), 0);
		AS(&bare, try_open("f", O_RDONLY), EACCES);
		AS(&joined, try_open("f", O_RDONLY), 0);
		AS(&bob, try_open("f", O_RDONLY), EACCES);
	}
}

static void folder_needs_write_and_search_to_change_names(void)
{
	NEED_ROOT();
	OK(mkdir("d", 0755));
	make_owned("d/f", bob.uid, bob.gid, 0666);
	own("d", ann.uid, ann.gid, 0755);
	AS(&bob, try_open("d/new", O_CREAT | O_WRONLY), EACCES);
	AS(&bob, mkdir("d/new", 0755), EACCES);
	AS(&bob, symlink("x", "d/new"), EACCES);
	AS(&bob, mkfifo("d/new", 0644), EACCES);
	AS(&bob, link("d/f", "d/new"), EACCES);
	AS(&bob, rename("d/f", "d/new"), EACCES);
	AS(&bob, unlink("d/f"), EACCES);
	AS(&bob, try_open("d/f", O_CREAT | O_WRONLY), 0);
	OK(chmod("d", 0752)); /* write without search */
	AS(&bob, try_open("d/new", O_CREAT | O_WRONLY), EACCES);
	AS(&bob, unlink("d/f"), EACCES);
	OK(chmod("d", 0751)); /* search without read */
	AS(&bob, try_list("d"), EACCES);
	AS(&bob, try_open("d/f", O_RDONLY), 0);
	OK(chmod("d", 0754)); /* read without search */
	AS(&bob, try_list("d"), 0);
	AS(&bob, try_open("d/f", O_RDONLY), EACCES);
	make_owned("d/r", 0, 0, 0600);
	AS(&ann, unlink("d/r"), 0); /* the folder's rights decide, not the file's */
	AS(&ann, rmdir("d"), EACCES);
}

static void new_files_belong_to_their_maker(void)
{
	NEED_ROOT();
	own(".", 0, 0, 0777);
	AS(&ann, try_open("f", O_CREAT | O_EXCL | O_WRONLY), 0);
	AS(&bob, mkdir("d", 0750), 0);
	AS(&carl, symlink("x", "l"), 0);
	AS(&carl, mkfifo("p", 0600), 0);
	EQUAL(stat_of("f").st_uid, ann.uid);
	EQUAL(stat_of("f").st_gid, ann.gid);
	EQUAL(mode_of("f"), 0644);
	EQUAL(stat_of("d").st_uid, bob.uid);
	EQUAL(stat_of("d").st_gid, bob.gid);
	EQUAL(stat_of("l").st_uid, carl.uid);
	EQUAL(stat_of("p").st_gid, carl.gid);
}

static void write_through_open(void *arg)
{
	int fd = *(int *)arg;

	become(&bob);
	EQUAL(pwrite(fd, "after", 5, 0), 5);
	OK(ftruncate(fd, 5));
	OK(fsync(fd));
}

static void open_file_keeps_the_rights_it_was_opened_with(void)
{
	NEED_ROOT();
	NEED("open_keeps_access");
	make_owned("f", ann.uid, ann.gid, 0666);
	int fd = OK_INT(open("f", O_RDWR));

	OK(chmod("f", 0));
	AS(&bob, try_open("f", O_RDWR), EACCES);
	join_child(start_child(write_through_open, &fd));
	OK(close(fd));
	expect_text("f", "after");
}

/* The mode asked for at creation holds for later opens, not for this one. */
static int make_read_only_and_write(void)
{
	int fd = open("f", O_CREAT | O_EXCL | O_RDWR, 0400);

	if (fd < 0 || write(fd, "first", 5) != 5 || fsync(fd))
		return -1;
	return close(fd);
}

static void maker_may_write_a_file_created_read_only(void)
{
	NEED_ROOT();
	own(".", 0, 0, 0777);
	AS(&ann, make_read_only_and_write(), 0);
	AS(&ann, try_open("f", O_WRONLY), EACCES);
	AS(&ann, try_open("f", O_CREAT | O_EXCL | O_WRONLY), EEXIST);
	expect_text("f", "first");
	EQUAL(mode_of("f"), 0400);
}

static void programs_run_by_the_x_bit(void)
{
	NEED_ROOT();
	make_owned("script", ann.uid, ann.gid, 0755);
	AS(&bob, try_exec("./script"), 0);
	OK(chmod("script", 0744));
	AS(&bob, try_exec("./script"), EACCES);
	AS(&ann, try_exec("./script"), 0);
	OK(chmod("script", 0644));
	AS(&root, try_exec("./script"), EACCES);
	AS(&root, access("script", X_OK), EACCES);
	OK(chmod("script", 0611));
	AS(&bob, access("script", X_OK), 0);
	AS(&bob, access("script", R_OK), EACCES);
	OK(mkdir("d", 0));
	AS(&root, access("d", R_OK | W_OK | X_OK), 0);
	AS(&bob, access("d", X_OK), EACCES);
}

/* ---- sticky, setgid, setuid ------------------------------------------- */

static void sticky_folder_protects_names_of_others(void)
{
	NEED_ROOT();
	OK(mkdir("d", 0755));
	own("d", ann.uid, ann.gid, 01777);
	EQUAL(mode_of("d"), 01777);
	make_owned("d/bobs", bob.uid, bob.gid, 0666);
	make_owned("d/carls", carl.uid, carl.gid, 0666);
	AS(&carl, unlink("d/bobs"), EPERM);
	AS(&carl, rename("d/bobs", "d/x"), EPERM);
	AS(&carl, rename("d/carls", "d/bobs"), EPERM);
	AS(&carl, try_open("d/bobs", O_WRONLY | O_TRUNC), 0);
	AS(&carl, mkdir("d/dir", 0777), 0);
	AS(&bob, rmdir("d/dir"), EPERM);
	AS(&carl, rename("d/carls", "d/mine"), 0);
	AS(&bob, unlink("d/bobs"), 0);
	AS(&ann, unlink("d/mine"), 0); /* owner of the folder */
	AS(&carl, rmdir("d/dir"), 0);
	AS(&bob, mkdir("d/sub", 0777), 0);
	EQUAL(mode_of("d/sub"), 0755); /* not inherited */
}

static int make_in_setgid(void)
{
	umask(002);
	if (try_open("d/f", O_CREAT | O_EXCL | O_WRONLY) || mkdir("d/sub", 0777))
		return -1;
	return mkfifo("d/p", 0666);
}

static void setgid_folder_hands_its_group_down(void)
{
	NEED_ROOT();
	OK(mkdir("d", 0755));
	own("d", bob.uid, GROUP, 02777);
	EQUAL(mode_of("d"), 02777);
	AS(&carl, make_in_setgid(), 0);
	EQUAL(stat_of("d/f").st_gid, GROUP);
	EQUAL(stat_of("d/f").st_uid, carl.uid);
	EQUAL(mode_of("d/f"), 0664);
	EQUAL(stat_of("d/sub").st_gid, GROUP);
	EQUAL(mode_of("d/sub"), 02775);
	EQUAL(stat_of("d/p").st_gid, GROUP);
	AS(&bob, try_open("d/g", O_CREAT | O_EXCL | O_WRONLY), 0); /* owner, not a member */
	EQUAL(stat_of("d/g").st_gid, GROUP);
	AS(&bob, chmod("d/g", 02755), 0); /* not in the group: the bit is dropped */
	EQUAL(mode_of("d/g"), 0755);
	AS(&carl, chmod("d/f", 02755), 0);
	EQUAL(mode_of("d/f"), 02755);
}

static int write_some(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || pwrite(fd, "x", 1, 0) != 1)
		return -1;
	return close(fd);
}

static void write_clears_suid_and_sgid(void)
{
	NEED_ROOT();
	make_owned("f", ann.uid, GROUP, 06777);
	EQUAL(mode_of("f"), 06777);
	AS(&bob, write_some("f"), 0);
	EQUAL(mode_of("f"), 0777);
	OK(chmod("f", 06777));
	AS(&ann, write_some("f"), 0);
	EQUAL(mode_of("f"), 0777);
	OK(chmod("f", 06777));
	AS(&ann, truncate("f", 3), 0);
	EQUAL(mode_of("f"), 0777);
	OK(chmod("f", 04777));
	AS(&bob, try_open("f", O_WRONLY | O_TRUNC), 0);
	EQUAL(mode_of("f"), 0777);
	OK(chmod("f", 06777));
	AS(&root, write_some("f"), 0); /* CAP_FSETID keeps them */
	EQUAL(mode_of("f"), 06777);
}

static void chown_clears_suid_and_sgid(void)
{
	NEED_ROOT();
	make_owned("f", ann.uid, ann.gid, 06755);
	AS(&ann, chown("f", (uid_t)-1, GROUP), 0);
	EQUAL(stat_of("f").st_gid, GROUP);
	EQUAL(mode_of("f"), 0755);
	OK(chmod("f", 06755));
	OK(chown("f", bob.uid, (gid_t)-1));
	EQUAL(mode_of("f"), 0755);
	OK(mkdir("d", 0755));
	OK(chmod("d", 02755));
	OK(chown("d", bob.uid, bob.gid));
	EQUAL(mode_of("d"), 02755); /* folders keep theirs */
}

/* ---- chown, chmod, utimes --------------------------------------------- */

static void chown_is_for_root_and_own_groups(void)
{
	NEED_ROOT();
	make_owned("f", ann.uid, ann.gid, 0644);
	AS(&ann, chown("f", bob.uid, (gid_t)-1), EPERM);
	AS(&ann, chown("f", (uid_t)-1, bob.gid), EPERM);
	AS(&ann, chown("f", (uid_t)-1, GROUP), 0);
	EQUAL(stat_of("f").st_gid, GROUP);
	AS(&carl, chown("f", (uid_t)-1, carl.gid), EPERM);
	AS(&ann, chown("f", ann.uid, ann.gid), 0);
	AS(&bob, chown("f", (uid_t)-1, (gid_t)-1), 0);
	OK(symlink("f", "l"));
	OK(lchown("l", bob.uid, bob.gid));
	EQUAL(stat_of("l").st_uid, bob.uid);
	EQUAL(stat_of("f").st_uid, ann.uid);
	OK(chown("l", carl.uid, carl.gid));
	EQUAL(stat_of("f").st_uid, carl.uid);
	OK(chown("f", 4000000000u, 4000000001u));
	EQUAL(stat_of("f").st_uid, 4000000000u);
	EQUAL(stat_of("f").st_gid, 4000000001u);
}

static void chmod_and_utimes_are_for_the_owner(void)
{
	NEED_ROOT();
	make_owned("f", ann.uid, GROUP, 0664);
	AS(&bob, chmod("f", 0777), EPERM);
	AS(&carl, chmod("f", 0777), EPERM);
	AS(&ann, chmod("f", 0664), 0);
	AS(&carl, try_utimes("f", false), EPERM);
	AS(&carl, try_utimes("f", true), 0); /* may write: "now" is allowed */
	AS(&bob, try_utimes("f", true), EACCES);
	AS(&bob, try_utimes("f", false), EPERM);
	AS(&ann, try_utimes("f", false), 0);
	EQUAL(stat_of("f").st_mtime, 1000);
	OK(chmod("f", 0));
	AS(&ann, try_utimes("f", true), 0);
	AS(&ann, chmod("f", 07000), 0);
	EQUAL(mode_of("f"), 07000);
	OK(mkdir("d", 0755));
	AS(&bob, chmod("d", 0777), EPERM);
}

/* ---- extended attributes ---------------------------------------------- */

static void xattrs_are_set_listed_and_removed(void)
{
	char buf[300], list[300], big[2000];

	NEED("xattr");
	make_file("f", "x", 0644);
	FAILS(getxattr("f", "user.none", buf, sizeof buf), ENODATA);
	OK(setxattr("f", "user.a", "one", 3, XATTR_CREATE));
	FAILS(setxattr("f", "user.a", "two", 3, XATTR_CREATE), EEXIST);
	FAILS(setxattr("f", "user.b", "two", 3, XATTR_REPLACE), ENODATA);
	OK(setxattr("f", "user.a", "seven77", 7, XATTR_REPLACE));
	EQUAL(getxattr("f", "user.a", NULL, 0), 7);
	EQUAL(getxattr("f", "user.a", buf, sizeof buf), 7);
	CHECK(memcmp(buf, "seven77", 7) == 0);
	FAILS(getxattr("f", "user.a", buf, 3), ERANGE);
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQUAL(getxattr("f", "user.empty", buf, sizeof buf), 0);
	EQUAL(listxattr("f", list, sizeof list), 18);
	EQUAL(listxattr("f", NULL, 0), 18);
	FAILS(listxattr("f", list, 5), ERANGE);
	memset(big, 'b', sizeof big);
	OK(setxattr("f", "user.a", big, sizeof big, 0));
	EQUAL(getxattr("f", "user.a", NULL, 0), sizeof big);
	OK(removexattr("f", "user.a"));
	FAILS(removexattr("f", "user.a"), ENODATA);
	EQUAL(listxattr("f", list, sizeof list), 11);
	CHECK(strcmp(list, "user.empty") == 0);
	int fd = OK_INT(open("f", O_RDWR));

	OK(unlink("f"));
	OK(fsetxattr(fd, "user.late", "v", 1, 0));
	EQUAL(fgetxattr(fd, "user.late", buf, sizeof buf), 1);
	close(fd);
	OK(mkdir("d", 0755));
	OK(setxattr("d", "user.dir", "v", 1, 0));
	FAILS(setxattr("d", "bogus.name", "v", 1, 0), EOPNOTSUPP);
}

static void xattrs_obey_permissions(void)
{
	NEED_ROOT();
	NEED("xattr");
	make_owned("f", ann.uid, ann.gid, 0644);
	AS(&bob, setxattr("f", "user.a", "v", 1, 0), EACCES);
	AS(&ann, setxattr("f", "user.a", "v", 1, 0), 0);
	AS(&bob, getxattr("f", "user.a", NULL, 0), 0);
	AS(&bob, removexattr("f", "user.a"), EACCES);
	OK(chmod("f", 0600));
	AS(&bob, getxattr("f", "user.a", NULL, 0), EACCES);
	AS(&ann, setxattr("f", "trusted.u", "v", 1, 0), EPERM);
}

static void trusted_xattrs_are_for_root(void)
{
	NEED_ROOT();
	NEED("trusted_xattr");
	make_owned("f", ann.uid, ann.gid, 0644);
	OK(setxattr("f", "trusted.t", "v", 1, 0));
	AS(&ann, setxattr("f", "trusted.u", "v", 1, 0), EPERM);
	EQUAL(getxattr("f", "trusted.t", NULL, 0), 1);
}

static const struct subtest tests[] = {
	SUBTEST(owner_group_and_other_have_their_own_bits),
	SUBTEST(search_permission_holds_for_names_that_root_has_cached),
	SUBTEST(groups_are_those_of_the_calling_process),
	SUBTEST(folder_needs_write_and_search_to_change_names),
	SUBTEST(new_files_belong_to_their_maker),
	SUBTEST(open_file_keeps_the_rights_it_was_opened_with),
	SUBTEST(maker_may_write_a_file_created_read_only),
	SUBTEST(programs_run_by_the_x_bit),
	SUBTEST(sticky_folder_protects_names_of_others),
	SUBTEST(setgid_folder_hands_its_group_down),
	SUBTEST(write_clears_suid_and_sgid),
	SUBTEST(chown_clears_suid_and_sgid),
	SUBTEST(chown_is_for_root_and_own_groups),
	SUBTEST(chmod_and_utimes_are_for_the_owner),
	SUBTEST(xattrs_are_set_listed_and_removed),
	SUBTEST(xattrs_obey_permissions),
	SUBTEST(trusted_xattrs_are_for_root),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
