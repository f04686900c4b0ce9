/* SPDX-License-Identifier: Apache-2.0 */
/* model_name.h - operations on names, folders and attributes
 *
 * Part of model.c, included once, after model.h. */
#ifndef TESTS_TOOLS_MODEL_NAME_H
#define TESTS_TOOLS_MODEL_NAME_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <linux/fs.h>

#include "tests/tools/model_file.h"
#include "tests/tools/model_tree.h"

/* ---- names ------------------------------------------------------------ */

/* A folder is about to go. Where an open file keeps a hidden name in it
 * (rmdir_open), nothing is left open. */
static inline void before_folder_goes(const char *path)
{
	struct stat st;

	if (!is_without("rmdir_open") || fstatat(self.base[REF], path, &st, AT_SYMLINK_NOFOLLOW) ||
	    !S_ISDIR(st.st_mode))
		return;
	log_op("close all");
	for (unsigned i = 0; i < HANDLES; i++)
		handle_close(&self.handle[i]);
}

static inline void op_rename(void)
{
	static const unsigned kinds[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	char from[PATH_BYTES], to[PATH_BYTES];
	unsigned flags = chance(70) ? 0 : kinds[pick(3)];

	if (flags && is_without(flags == RENAME_EXCHANGE ? "exchange" : "noreplace"))
		flags = 0;
	before_folder_goes(pick_path(to));
	log_op("rename %s %s flags %u", pick_path(from), to, flags);
	BOTH(renameat2(self.base[s], from, self.base[s], to, flags));
	agree();
}

static inline void op_link(void)
{
	char from[PATH_BYTES], to[PATH_BYTES];

	log_op("link %s %s", pick_path(from), pick_path(to));
	BOTH(linkat(self.base[s], from, self.base[s], to, 0));
	agree();
}

static inline void op_symlink(void)
{
	char target[PATH_BYTES], path[PATH_BYTES];

	log_op("symlink %s at %s", pick_path(target), pick_path(path));
	BOTH(symlinkat(target, self.base[s], path));
	agree();
}

static inline void op_readlink(void)
{
	char path[PATH_BYTES];

	log_op("readlink %s", pick_path(path));
	BOTH(readlinkat(self.base[s], path, (char *)self.buf[s], PATH_BYTES));
	if (agree())
		agree_bytes((size_t)both.r[REF], 0);
}

static inline void op_unlink(void)
{
	char path[PATH_BYTES];

	log_op("unlink %s", pick_path(path));
	BOTH(unlinkat(self.base[s], path, 0));
	agree();
}

/* Takes the name away from a file that is open. */
static inline void op_unlink_open(void)
{
	struct handle *h = handle_any(false);

	if (!h)
		return;
	log_op("unlink %s (open)", h->path);
	BOTH(unlinkat(self.base[s], h->path, 0));
	agree();
	agree_fstat(h);
}

static inline void op_mkdir(void)
{
	char path[PATH_BYTES];
	mode_t mode = pick_mode();

	log_op("mkdir %s mode 0%o", pick_path(path), mode);
	BOTH(mkdirat(self.base[s], path, mode));
	agree();
}

static inline void op_rmdir(void)
{
	char path[PATH_BYTES];

	before_folder_goes(pick_path(path));
	log_op("rmdir %s", path);
	BOTH(unlinkat(self.base[s], path, AT_REMOVEDIR));
	agree();
}

static inline void op_stat(void)
{
	struct stat st[SIDES];
	char path[PATH_BYTES];
	int flags = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;

	log_op("%s %s", flags ? "lstat" : "stat", pick_path(path));
	BOTH(fstatat(self.base[s], path, &st[s], flags));
	if (agree())
		agree_stat(path, st);
}

static inline void op_fstat(void)
{
	struct handle *h = handle_any(chance(10));

	if (!h)
		return;
	log_op("fstat %s", h->path);
	agree_fstat(h);
}

/* ---- folders ---------------------------------------------------------- */

static inline void op_readdir(void)
{
	static struct names l[SIDES];
	char path[PATH_BYTES];
	DIR *d[SIDES];

	pick_path(path);
	if (chance(30))
		strcpy(path, ".");
	log_op("readdir %s", path);
	BOTH((d[s] = open_folder(self.base[s], path)) ? 0 : -1);
	if (!agree())
		return;
	for (int s = 0; s < SIDES; s++) {
		names_read(d[s], &l[s], NAMES_MAX);
		closedir(d[s]);
	}
	agree_names(l);
	names_done(&l[MOUNT]);
	names_done(&l[REF]);
}

static inline bool touch_or_remove(int dir, const char *name, bool make)
{
	if (!make)
		return unlinkat(dir, name, 0) == 0;
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_NOFOLLOW, 0644);

	return fd >= 0 && close(fd) == 0;
}

/* Names come and go in the middle of a listing; all others are told once. */
static inline void op_readdir_change(void)
{
	static struct names was, got;
	char path[PATH_BYTES], name[2][16];
	bool make = chance(50);
	DIR *d[SIDES];

	log_op("readdir %s while changing", pick_path(path));
	BOTH((d[s] = open_folder(self.base[s], path)) ? 0 : -1);
	if (!agree())
		return;
	names_read(d[REF], &was, NAMES_MAX);
	names_read(d[MOUNT], &got, pick(6));
	for (int i = 0; i < 2; i++) {
		sprintf(name[i], "n%u", pick(8));
		BOTH(touch_or_remove(dirfd(d[s]), name[i], make) ? 0 : -1);
		agree();
	}
	names_read(d[MOUNT], &got, NAMES_MAX);
	for (unsigned i = 0; i < was.n; i++) {
		unsigned seen = 0;

		for (unsigned k = 0; k < got.n; k++)
			seen += strcmp(was.name[i], got.name[k]) == 0;
		if (seen != 1 && strcmp(was.name[i], name[0]) != 0 &&
		    strcmp(was.name[i], name[1]) != 0)
			mismatch("%s was told %u times", was.name[i], seen);
	}
	names_done(&was);
	names_done(&got);
	closedir(d[MOUNT]);
	closedir(d[REF]);
}

/* ---- attributes ------------------------------------------------------- */

static inline void op_chmod(void)
{
	struct handle *h = chance(30) ? handle_any(false) : NULL;
	char path[PATH_BYTES];
	mode_t mode = pick_mode();

	log_op("chmod %s 0%o%s", h ? h->path : pick_path(path), mode, h ? " (open)" : "");
	if (h)
		BOTH(fchmod(h->fd[s], mode));
	else
		BOTH(fchmodat(self.base[s], path, mode, 0));
	agree();
}

static inline void op_chown(void)
{
	static const uid_t id[] = { 0, 2001, 2002, (uid_t)-1 };
	char path[PATH_BYTES];
	uid_t uid = id[pick(4)];
	gid_t gid = id[pick(4)];

	log_op("lchown %s %d %d", pick_path(path), (int)uid, (int)gid);
	BOTH(fchownat(self.base[s], path, uid, gid, AT_SYMLINK_NOFOLLOW));
	agree();
}

static inline void pick_times(struct timespec t[2])
{
	for (int i = 0; i < 2; i++) {
		t[i] = (struct timespec){ 1000000000 + pick(400000000), pick(1000000000) };
		if (chance(20))
			t[i].tv_nsec = chance(50) ? UTIME_NOW : UTIME_OMIT;
	}
}

static inline void op_utimens(void)
{
	struct handle *h = chance(40) ? handle_any(false) : NULL;
	char path[PATH_BYTES];
	struct timespec t[2];

	pick_times(t);
	log_op("utimens %s mtime %lld.%09ld%s", h ? h->path : pick_path(path),
	       (long long)t[1].tv_sec, t[1].tv_nsec, h ? " (open)" : "");
	if (h)
		BOTH(futimens(h->fd[s], t));
	else
		BOTH(utimensat(self.base[s], path, t, AT_SYMLINK_NOFOLLOW));
	agree();
	if (h)
		agree_fstat(h);
}

static inline void op_xattr(void)
{
	static const int how[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
	struct handle *h = handle_any(false);
	int flags = how[pick(4)];
	size_t len = pick(200);
	char name[16];

	if (!h)
		return;
	sprintf(name, "user.x%u", pick(3));
	switch (pick(4)) {
	case 0:
		fill(self.buf[REF], len);
		log_op("setxattr %s %s len %zu flags %d", h->path, name, len, flags);
		BOTH(fsetxattr(h->fd[s], name, self.buf[REF], len, flags));
		agree();
		break;
	case 1:
		log_op("removexattr %s %s", h->path, name);
		BOTH(fremovexattr(h->fd[s], name));
		agree();
		break;
	case 2:
		log_op("listxattr %s", h->path);
		BOTH(flistxattr(h->fd[s], NULL, 0));
		agree();
		break;
	default:
		log_op("getxattr %s %s cap %zu", h->path, name, len);
		BOTH(fgetxattr(h->fd[s], name, self.buf[s], len));
		if (agree() && len)
			agree_bytes((size_t)both.r[REF], 0);
	}
}

#endif
