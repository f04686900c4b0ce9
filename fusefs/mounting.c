/* SPDX-License-Identifier: Apache-2.0 */
/* mounting.c - see mounting.h */
#include "fusefs/mounting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/runtime.h"
#include "common/safefd.h"
#include "fusefs/fusermount.h"

#define READ_AHEAD_KIB 1024 /* what the kernel may ask for in advance */
#define MOUNTS_MAX 4096     /* of one device, taken away at once */

int mounting_open(const struct mount_request *m, int *out, struct err *err)
{
	*out = -1;
	if (m->adopted_fd < 0 && fusermount_needed())
		return fusermount_check(m->opt, FUSERMOUNT_CONF, err);
	*out = m->adopted_fd < 0 ? open("/dev/fuse", O_RDWR | O_CLOEXEC) :
				   fcntl(m->adopted_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (*out < 0)
		return err_set(err, -errno, "cannot open /dev/fuse: %s%s", strerror(errno),
			       errno == ENOENT ? " (is the fuse module loaded?)" : "");
	/* The worker, which gets it, is not to change the device for everybody. */
	if (m->adopted_fd < 0)
		safefd_replace(out, O_RDWR);
	return 0;
}

bool mounting_can_repeat(const struct mount_request *m)
{
	return m->adopted_fd < 0 && !fusermount_needed();
}

/* Larger requests for sequential readers; only root may, and only here it is cheap. */
static void raise_read_ahead(unsigned maj, unsigned min)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", maj, min);
	f = fopen(path, "we");
	if (!f)
		return;
	fprintf(f, "%d\n", READ_AHEAD_KIB);
	fclose(f);
}

struct param {
	const char *key, *value; /* value NULL: a flag */
};

static int configure(int fs, const struct param *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].key && fsconfig(fs, p[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
					 p[i].key, p[i].value, 0))
			return -errno;
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) ? -errno : 0;
}

/* A mount that is nowhere yet. By fsmount(2), since a flag of mount(2) would be the
 * superblock's, or come a moment later. */
static int make_mount(const struct mount_request *m, int fuse_fd, mode_t root_type)
{
	const struct mount_options *o = m->opt;
	bool checks = o->default_permissions && !options_mapped(o);
	unsigned attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (o->ro ? MOUNT_ATTR_RDONLY : 0) |
			 (o->noexec ? MOUNT_ATTR_NOEXEC : 0);
	char fd[16], mode[16], uid[16], gid[16];
	const struct param params[] = { { "source", m->uri },
					{ "subtype", "persifs" },
					{ "fd", fd },
					{ "rootmode", mode },
					{ "user_id", uid },
					{ "group_id", gid },
					{ o->allow_other ? "allow_other" : NULL, NULL },
					{ checks ? "default_permissions" : NULL, NULL } };
	AUTO_FD int fs = fsopen("fuse", FSOPEN_CLOEXEC);
	int rc;

	snprintf(fd, sizeof fd, "%d", fuse_fd);
	snprintf(mode, sizeof mode, "%o", root_type);
	snprintf(uid, sizeof uid, "%u", geteuid());
	snprintf(gid, sizeof gid, "%u", getegid());
	rc = fs < 0 ? -errno : configure(fs, params, ARRAY_LEN(params));
	if (rc)
		return rc;
	rc = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	return rc < 0 ? -errno : rc;
}

static int cannot_mount(const struct mount_request *m, int rc, struct err *err)
{
	return err_set(err, rc, "cannot mount at '%s': %s%s", m->dir, strerror(-rc),
		       rc == -EPERM ? " (mounting wants root, or a user namespace of one's own)" :
				      "");
}

/* Without asking for anything, of which only the daemon knows: it does not answer yet. */
static int mount_dev(int mnt, unsigned *maj, unsigned *min)
{
	struct statx stx;

	if (statx(mnt, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx))
		return -errno;
	*maj = stx.stx_dev_major;
	*min = stx.stx_dev_minor;
	return 0;
}

/* By ourselves. */
static int make_here(const struct mount_request *m, int fuse_fd, mode_t root_type,
		     struct mounting *out, struct err *err)
{
	AUTO_FD int mnt = make_mount(m, fuse_fd, root_type);
	int rc = mnt < 0 ? mnt : mount_dev(mnt, &out->maj, &out->min);

	if (rc)
		return cannot_mount(m, rc, err);
	out->fd = take_fd(&mnt);
	return 0;
}

/* Newer kernels tell the number of a connection, which is that of its mount's device. */
static bool fdinfo_dev(int fd, unsigned *maj, unsigned *min)
{
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	*maj = 0;
	while (f && !found && fgets(line, sizeof line, f))
		found = sscanf(line, "fuse_connection: %u", min) == 1;
	if (f)
		fclose(f);
	return found;
}

static int adopted_dev(const struct mount_request *m, unsigned *maj, unsigned *min, struct err *err)
{
	const char *given = m->opt->device;
	char end;

	if (!given && fdinfo_dev(m->adopted_fd, maj, min))
		return 0;
	if (!given)
		return err_set(
			err, -ENOENT,
			"'%s': this kernel does not tell which mount it is: option device is "
			"wanted",
			m->dir);
	if (sscanf(given, "%u:%u%c", maj, min, &end) != 2)
		return err_set(err, -EINVAL, "option device=%.100s: want MAJOR:MINOR", given);
	return 0;
}

int mounting_make(const struct mount_request *m, int *fuse_fd, mode_t root_type,
		  struct mounting *out, struct err *err)
{
	int rc;

	out->fd = -1;
	if (m->adopted_fd >= 0)
		return adopted_dev(m, &out->maj, &out->min, err);
	if (*fuse_fd >= 0) {
		rc = make_here(m, *fuse_fd, root_type, out, err);
	} else {
		*fuse_fd = rc = fusermount_mount(m->opt, m->uri, m->dir, err);
		if (rc >= 0)
			rc = runtime_mount_dev(m->dir, &out->maj, &out->min, NULL, 0, err);
	}
	if (!rc)
		raise_read_ahead(out->maj, out->min);
	return rc;
}

int mounting_attach(const struct mount_request *m, struct mounting *mnt, struct err *err)
{
	int rc = 0;

	if (mnt->fd < 0)
		return 0;
	if (move_mount(mnt->fd, "", AT_FDCWD, m->dir, MOVE_MOUNT_F_EMPTY_PATH))
		rc = cannot_mount(m, -errno, err);
	cleanup_fd(&mnt->fd);
	return rc;
}

bool mounting_is_at(const char *dir)
{
	unsigned maj, min;
	struct err err;

	return !runtime_mount_dev(dir, &maj, &min, NULL, 0, &err);
}

/* ---- taking away -------------------------------------------------------- */

/* Mount points of the device, in the order of mountinfo. */
static unsigned points_of(unsigned maj, unsigned min, char **points, unsigned cap)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	FILE *in = e ? fopen("/proc/self/mountinfo", "re") : NULL;
	AUTO_FREE char *line = NULL;
	size_t size = 0;
	unsigned n = 0;

	while (in && n < cap && getline(&line, &size, in) > 0) {
		if (mount_entry_parse(line, e) || e->maj != maj || e->min != min ||
		    strcmp(e->fstype, RUNTIME_FSTYPE))
			continue;
		if (points)
			points[n] = strdup(e->point);
		n++;
	}
	if (in)
		fclose(in);
	return n;
}

unsigned mounting_count(unsigned maj, unsigned min)
{
	return points_of(maj, min, NULL, MOUNTS_MAX);
}

static int take_away(const char *point, int flags)
{
	if (!umount2(point, flags | UMOUNT_NOFOLLOW))
		return 0;
	if (errno == EPERM && fusermount_needed())
		return fusermount_umount(point, flags & MNT_DETACH);
	return -errno;
}

void mounting_take_back(const struct mount_request *m)
{
	if (m->adopted_fd < 0)
		take_away(m->dir, MNT_DETACH);
}

void mounting_undo(const struct mount_request *m, struct mounting *mnt)
{
	if (mnt->fd >= 0)
		cleanup_fd(&mnt->fd);
	else if (m->adopted_fd < 0)
		mounting_umount_all(mnt->maj, mnt->min, MNT_DETACH);
}

int mounting_umount_all(unsigned maj, unsigned min, int flags)
{
	char **points = calloc(MOUNTS_MAX, sizeof *points);
	unsigned n = points ? points_of(maj, min, points, MOUNTS_MAX) : 0;
	int rc = points ? 0 : -ENOMEM;

	while (n--) {
		int one = points[n] ? take_away(points[n], flags) : 0;

		if (!rc)
			rc = one;
		free(points[n]);
	}
	free(points);
	return rc;
}
