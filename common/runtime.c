/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - see runtime.h. Mounts can be stacked on one folder, and a mount on
 * a parent can hide others that /proc still lists. So the walk starts with the
 * id of the mount that holds the folder and climbs by parent ids. */
#include "common/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SYMLINKS_MAX 8   /* followed from the name given to the mount point */
#define STACKED_MAX 1024 /* mounts on top of each other */

/* --- the folder ------------------------------------------------------------ */

static int check_private(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_set(err, -errno, "runtime folder '%s': %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "runtime folder '%s' is not a folder", path);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(
			err, -EPERM,
			"runtime folder '%s' must belong to uid %u and be writable by nobody else",
			path, (unsigned)geteuid());
	return 0;
}

int runtime_dir(char *buf, size_t cap, struct err *err)
{
	const char *set = getenv("PERSIFS_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
	bool root = geteuid() == 0;
	int n;

	if (set && *set)
		n = snprintf(buf, cap, "%s", set);
	else if (root)
		n = snprintf(buf, cap, "/run/persifs");
	else if (xdg && *xdg)
		n = snprintf(buf, cap, "%s/persifs", xdg);
	else
		return err_set(err, -ENOENT,
			       "neither PERSIFS_RUNTIME_DIR nor XDG_RUNTIME_DIR is set");
	if (n < 0 || (size_t)n >= cap)
		return err_set(err, -ENAMETOOLONG, "the runtime folder's name is too long");
	if (mkdir(buf, root ? 0755 : 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "cannot make runtime folder '%s': %s", buf,
			       strerror(errno));
	return check_private(buf, err);
}

int runtime_socket_path(unsigned maj, unsigned min, char *buf, size_t cap, struct err *err)
{
	size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path), n;
	int rc = runtime_dir(buf, cap, err);

	if (rc)
		return rc;
	n = strlen(buf);
	n += (size_t)snprintf(buf + n, cap - n, "/%u-%u.sock", maj, min);
	if (n >= cap || n >= longest)
		return err_set(err, -ENAMETOOLONG, "the runtime folder's name is too long");
	return 0;
}

/* --- mountinfo ------------------------------------------------------------- */

static bool is_octal(const char *s)
{
	for (int i = 0; i < 3; i++)
		if (s[i] < '0' || s[i] > '7')
			return false;
	return s[0] <= '3';
}

/* Copies the field at *s (up to a blank), \ooo undone, and moves past the blank. */
static int take_field(const char **s, char *out, size_t cap)
{
	const char *p = *s;
	size_t n = 0;

	for (; *p && *p != ' ' && *p != '\n'; p++) {
		char c = *p;

		if (c == '\\' && is_octal(p + 1)) {
			c = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		}
		if (n + 1 >= cap)
			return -EINVAL;
		out[n++] = c;
	}
	out[n] = '\0';
	*s = *p == ' ' ? p + 1 : p;
	return n ? 0 : -EINVAL;
}

int mount_entry_parse(const char *line, struct mount_entry *out)
{
	static const char separator[] = " - ";
	char root[PATH_MAX];
	int used = 0;

	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %u:%u %n", &out->id, &out->parent_id, &out->maj,
		   &out->min, &used) != 4 ||
	    !used)
		return -EINVAL;
	line += used;
	if (take_field(&line, root, sizeof root) ||
	    take_field(&line, out->point, sizeof out->point))
		return -EINVAL;
	line = strstr(line, separator);
	if (!line)
		return -EINVAL;
	line += strlen(separator);
	if (take_field(&line, out->fstype, sizeof out->fstype))
		return -EINVAL;
	/* An empty source is legal and leaves two blanks in a row. */
	if (take_field(&line, out->source, sizeof out->source) && *line != ' ')
		out->source[0] = '\0';
	return 0;
}

/* Reads the next line that mounts something at path. */
static bool next_at(FILE *in, char **line, size_t *cap, const char *path, struct mount_entry *out)
{
	while (getline(line, cap, in) > 0)
		if (!mount_entry_parse(*line, out) && !strcmp(out->point, path))
			return true;
	return false;
}

int mount_entry_top(FILE *mountinfo, const char *path, uint64_t parent_id, struct mount_entry *out)
{
	AUTO_FREE char *line = NULL;
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	size_t cap = 0;
	int rc = -ENOENT;

	if (!e)
		return -ENOMEM;
	for (int level = 0; level < STACKED_MAX; level++) {
		bool climbed = false;

		rewind(mountinfo);
		while (next_at(mountinfo, &line, &cap, path, e)) {
			if (parent_id && e->parent_id != parent_id)
				continue;
			*out = *e;
			rc = 0;
			climbed = true;
			if (parent_id)
				break;
		}
		if (!climbed || !parent_id)
			break;
		parent_id = out->id;
	}
	return rc;
}

/* --- from a name to its mount ---------------------------------------------- */

/* The absolute path of dir with all but its last component resolved. */
static int resolve_parent(const char *dir, char *out, size_t cap, uint64_t *parent_id)
{
	AUTO_FREE char *copy1 = strdup(dir);
	AUTO_FREE char *copy2 = strdup(dir);
	AUTO_FREE char *parent = NULL;
	struct statx stx;
	const char *name;
	bool whole;
	int n;

	if (!copy1 || !copy2)
		return -ENOMEM;
	name = basename(copy1);
	whole = !strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "/");
	parent = realpath(whole ? dir : dirname(copy2), NULL);
	if (!parent)
		return -errno;
	if (whole && strcmp(parent, "/"))
		return resolve_parent(parent, out, cap, parent_id);
	n = whole ? snprintf(out, cap, "/") :
		    snprintf(out, cap, "%s/%s", strcmp(parent, "/") ? parent : "", name);
	if (n < 0 || (size_t)n >= cap)
		return -ENAMETOOLONG;
	*parent_id = 0;
	if (!whole && !statx(AT_FDCWD, parent, AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) &&
	    (stx.stx_mask & STATX_MNT_ID))
		*parent_id = stx.stx_mnt_id;
	return 0;
}

/* The target of a symbolic link at path; reading one does not ask a mounted root. */
static int follow(char *path, size_t cap)
{
	char target[PATH_MAX], *slash;
	ssize_t n = readlink(path, target, sizeof target - 1);
	size_t keep = 0;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (target[0] != '/') {
		slash = strrchr(path, '/');
		keep = slash ? (size_t)(slash - path) + 1 : 0;
	}
	if (keep + (size_t)n >= cap)
		return -ENAMETOOLONG;
	memcpy(path + keep, target, (size_t)n + 1);
	return 0;
}

/* -EINVAL when neither dir nor what it links to is a mount point. */
static int find_mount(const char *dir, struct mount_entry *out)
{
	char path[PATH_MAX], name[PATH_MAX];
	FILE *in = fopen("/proc/self/mountinfo", "re");
	int rc = in ? 0 : -errno;

	if (!rc && snprintf(name, sizeof name, "%s", dir) >= (int)sizeof name)
		rc = -ENAMETOOLONG;
	for (int links = 0; !rc; links++) {
		uint64_t parent_id = 0;

		rc = resolve_parent(name, path, sizeof path, &parent_id);
		if (rc)
			break;
		rc = mount_entry_top(in, path, parent_id, out);
		if (rc != -ENOENT)
			break;
		strcpy(name, path);
		rc = links < SYMLINKS_MAX ? follow(name, sizeof name) : -ELOOP;
	}
	if (in)
		fclose(in);
	return rc;
}

int runtime_mount_dev(const char *dir, unsigned *maj, unsigned *min, char *source, size_t cap,
		      struct err *err)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	int rc = e ? find_mount(dir, e) : -ENOMEM;

	if (rc == -EINVAL)
		return err_set(err, rc, "not a mount point: '%.300s'", dir);
	if (rc)
		return err_set(err, rc, "'%.300s': %s", dir, strerror(-rc));
	if (strcmp(e->fstype, RUNTIME_FSTYPE))
		return err_set(err, -EINVAL, "not a persifs mount: '%.300s' (it is %s)", dir,
			       e->fstype);
	*maj = e->maj;
	*min = e->min;
	if (source)
		snprintf(source, cap, "%s", e->source);
	return 0;
}
