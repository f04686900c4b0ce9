/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_tree.c - the real folder behind /ifs
 *
 * Clients that mount an export may leave symbolic links anywhere: no path is followed through
 * one, each part is opened below the one before. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define COPY_CHUNK (1u << 30)

/* --- paths ------------------------------------------------------------------ */

bool onefs_path_ok(const char *path)
{
	unsigned depth = 0;

	if (strncmp(path, "/ifs", 4) || (path[4] && path[4] != '/') ||
	    strlen(path) >= ONEFS_PATH_MAX)
		return false;
	for (const char *p = path + 4; *p;) {
		size_t n = strcspn(++p, "/");

		if (!n || n > ONEFS_NAME_MAX || (n == 1 && p[0] == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.') || ++depth > ONEFS_DEPTH_MAX)
			return false;
		p += n;
	}
	return true;
}

bool onefs_path_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* The folder that holds the path's last part, and that part; "." for the store itself. */
static int open_parent(struct onefs *o, const char *path, bool make, const char **last)
{
	int fd = dup(o->ifs), next;

	*last = ".";
	for (const char *p = path + 4; fd >= 0 && *p;) {
		char name[ONEFS_NAME_MAX + 1];
		size_t n = strcspn(++p, "/");

		*last = p;
		if (!p[n])
			break;
		memcpy(name, p, n);
		name[n] = '\0';
		if (make && mkdirat(fd, name, 0755) && errno != EEXIST) {
			int rc = -errno;

			close(fd);
			return rc;
		}
		next = openat(fd, name, FOLDER);
		if (next < 0 && (errno == ELOOP || errno == ENOTDIR))
			errno = ENOENT;
		next = next < 0 ? -errno : next;
		close(fd);
		fd = next;
		p += n;
	}
	return fd;
}

int onefs_stat(struct onefs *o, const char *path, struct stat *st)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);

	if (dir < 0)
		return dir;
	return fstatat(dir, last, st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int onefs_open_dir(struct onefs *o, const char *path)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);
	int fd = dir < 0 ? dir : openat(dir, last, FOLDER);

	if (dir < 0)
		return dir;
	return fd < 0 ? -errno : fd;
}

int onefs_mkdir(struct onefs *o, const char *path, mode_t mode, bool parents)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, parents, &last);
	struct stat st;

	if (dir < 0)
		return dir;
	if (!mkdirat(dir, last, 0700))
		/* What is asked for counts, whatever this process' umask. */
		return fchmodat(dir, last, mode, 0) ? -errno : 1;
	if (errno != EEXIST)
		return -errno;
	if (fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int onefs_move(struct onefs *o, const char *from, const char *to)
{
	const char *last, *tolast;
	AUTO_FD int dir = open_parent(o, from, false, &last);
	AUTO_FD int todir = dir < 0 ? dir : open_parent(o, to, false, &tolast);

	if (dir < 0 || todir < 0)
		return dir < 0 ? dir : todir;
	return renameat2(dir, last, todir, tolast, RENAME_NOREPLACE) ? -errno : 0;
}

int onefs_chmod(struct onefs *o, const char *path, mode_t mode)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);
	struct stat st;

	if (dir < 0)
		return dir;
	if (fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -EINVAL;
	return fchmodat(dir, last, mode & 07777, 0) ? -errno : 0;
}

int onefs_chown(struct onefs *o, const char *path, int64_t uid, int64_t gid)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);

	if (dir < 0)
		return dir;
	return fchownat(dir, last, (uid_t)uid, (gid_t)gid, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* --- walks ------------------------------------------------------------------ */

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* The next entry that is none of the dots, or NULL; *rc tells of a failure. */
static const char *next_name(DIR *d, int *rc)
{
	const struct dirent *e;

	do {
		errno = 0;
		e = readdir(d);
	} while (e && is_dots(e->d_name));
	if (!e)
		*rc = -errno;
	return e ? e->d_name : NULL;
}

struct removal {
	unsigned left; /* entries until it stops, and 1; 0: never */
	bool bounded;  /* by what the API's user may enter */
};

static int remove_inside(int dir, const char *name, unsigned depth, struct removal *r);

static int remove_entry(int dir, const char *name, unsigned depth, struct removal *r)
{
	int rc = 0;

	if (r->left == 1)
		return -EINTR;
	if (unlinkat(dir, name, 0)) {
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		rc = remove_inside(dir, name, depth + 1, r);
		if (!rc && unlinkat(dir, name, AT_REMOVEDIR))
			rc = -errno;
	}
	if (!rc && r->left)
		r->left--;
	return rc;
}

/* The simulator may be root; the API's user is then one that owns what the simulator has made. */
static bool may_enter(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (st.st_uid == geteuid() || (st.st_mode & 07) == 07);
}

static int remove_inside(int dir, const char *name, unsigned depth, struct removal *r)
{
	int fd = depth > ONEFS_DEPTH_MAX ? -1 : openat(dir, name, FOLDER), rc = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const char *child;

	if (!d) {
		rc = depth > ONEFS_DEPTH_MAX ? -ENAMETOOLONG : -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	if (r->bounded && !may_enter(fd))
		rc = -EACCES;
	while (!rc && (child = next_name(d, &rc)))
		rc = remove_entry(dirfd(d), child, depth, r);
	closedir(d);
	return rc;
}

int onefs_remove(struct onefs *o, const char *path, enum onefs_removal how, unsigned stop_after)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);
	struct removal r = { stop_after ? stop_after + 1 : 0, how == REMOVE_BOUNDED };

	if (dir < 0)
		return dir;
	if (how != REMOVE_ONE)
		return remove_entry(dir, last, 0, &r);
	if (!unlinkat(dir, last, 0))
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	return unlinkat(dir, last, AT_REMOVEDIR) ? -errno : 0;
}

static int add_usage(int dir, const char *name, unsigned depth, struct onefs_usage *u)
{
	struct stat st;
	int fd, rc = 0;
	DIR *d;
	const char *child;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno; /* went meanwhile */
	u->inodes++;
	u->physical += (uint64_t)st.st_blocks * 512;
	if (!S_ISDIR(st.st_mode)) {
		u->logical += (uint64_t)st.st_size;
		return 0;
	}
	if (depth > ONEFS_DEPTH_MAX)
		return -ENAMETOOLONG;
	fd = openat(dir, name, FOLDER);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	while (!rc && (child = next_name(d, &rc)))
		rc = add_usage(dirfd(d), child, depth + 1, u);
	closedir(d);
	return rc;
}

int onefs_usage(struct onefs *o, const char *path, struct onefs_usage *out)
{
	const char *last;
	AUTO_FD int dir = open_parent(o, path, false, &last);

	memset(out, 0, sizeof *out);
	return dir < 0 ? dir : add_usage(dir, last, 0, out);
}

/* --- copies ----------------------------------------------------------------- */

/* Where a copy is, as two paths that grow and shrink. */
struct copy {
	struct onefs_copy *how;
	unsigned done, depth;
	char from[ONEFS_PATH_MAX], to[ONEFS_PATH_MAX];
};

static int copy_bytes(int in, int out)
{
	ssize_t n;

	do
		n = sendfile(out, in, NULL, COPY_CHUNK);
	while (n > 0);
	return n < 0 ? -errno : 0;
}

static int copy_file(int in_dir, int out_dir, const char *name, const char *as, mode_t mode)
{
	AUTO_FD int in = openat(in_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_FD int out = in < 0 ? -1 :
				   openat(out_dir, as,
					  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
					  mode & 0777);
	int rc;

	if (in < 0 || out < 0)
		return -errno;
	rc = copy_bytes(in, out);
	if (!rc && fchmod(out, mode & 07777))
		rc = -errno;
	return rc;
}

static int copy_link(int in_dir, int out_dir, const char *name, const char *as)
{
	char text[4096];
	ssize_t n = readlinkat(in_dir, name, text, sizeof text - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return symlinkat(text, out_dir, as) && errno != EEXIST ? -errno : 0;
}

static int copy_entry(struct copy *c, int in_dir, int out_dir, const char *name, const char *as);

static int copy_inside(struct copy *c, int in_dir, int out_dir, const char *name, const char *as)
{
	AUTO_FD int out = openat(out_dir, as, FOLDER);
	int in = out < 0 ? -1 : openat(in_dir, name, FOLDER), rc = 0;
	DIR *d = in < 0 ? NULL : fdopendir(in);
	size_t from = strlen(c->from), to = strlen(c->to);
	const char *child;

	if (!d) {
		rc = -errno;
		if (in >= 0)
			close(in);
		return rc;
	}
	while (!rc && (child = next_name(d, &rc))) {
		if (from + strlen(child) + 2 > sizeof c->from ||
		    to + strlen(child) + 2 > sizeof c->to) {
			rc = -ENAMETOOLONG;
			break;
		}
		sprintf(c->from + from, "/%s", child);
		sprintf(c->to + to, "/%s", child);
		rc = copy_entry(c, dirfd(d), out, child, child);
		c->from[from] = c->to[to] = '\0';
	}
	closedir(d);
	return rc;
}

static int copy_one(struct copy *c, int in_dir, int out_dir, const char *name, const char *as,
		    const struct stat *st)
{
	int rc = -EOPNOTSUPP;

	if (S_ISREG(st->st_mode))
		rc = copy_file(in_dir, out_dir, name, as, st->st_mode);
	else if (S_ISLNK(st->st_mode))
		rc = copy_link(in_dir, out_dir, name, as);
	else if (S_ISDIR(st->st_mode) && c->depth < ONEFS_DEPTH_MAX) {
		if (mkdirat(out_dir, as, 0700) && errno != EEXIST)
			return -errno;
		c->depth++;
		rc = copy_inside(c, in_dir, out_dir, name, as);
		c->depth--;
		if (!rc && fchmodat(out_dir, as, st->st_mode & 07777, 0))
			rc = -errno;
	}
	if (!rc && !geteuid() && fchownat(out_dir, as, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW))
		rc = -errno;
	return rc;
}

static int copy_entry(struct copy *c, int in_dir, int out_dir, const char *name, const char *as)
{
	const char *why = c->how->check ? c->how->check(c->how->arg, c->from) : NULL;
	struct stat st;
	int rc = 0;

	if (c->how->stop_after && c->done == c->how->stop_after)
		return -EINTR;
	if (!why) {
		rc = fstatat(in_dir, name, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
		rc = rc ? rc : copy_one(c, in_dir, out_dir, name, as, &st);
		if (rc == -EINTR || rc == -ECANCELED)
			return rc;
		if (rc)
			why = strerrordesc_np(-rc);
		else
			c->done += !S_ISDIR(st.st_mode);
	}
	if (why && !c->how->failed(c->how->arg, c->from, c->to, why))
		return -ECANCELED;
	return 0;
}

int onefs_copy_tree(struct onefs *o, const char *from, const char *to, struct onefs_copy *how)
{
	const char *last, *as;
	AUTO_FD int in = open_parent(o, from, false, &last);
	AUTO_FD int out = in < 0 ? in : open_parent(o, to, false, &as);
	struct copy c = { .how = how };

	if (in < 0 || out < 0)
		return in < 0 ? in : out;
	snprintf(c.from, sizeof c.from, "%s", from);
	snprintf(c.to, sizeof c.to, "%s", to);
	return copy_entry(&c, in, out, last, as);
}
