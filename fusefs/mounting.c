/* SPDX-License-Identifier: Apache-2.0 */
/* mounting.c - see mounting.h */
#include "fusefs/mounting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/runtime.h"

#define READ_AHEAD_KIB 1024 /* what the kernel may ask for in advance */
#define MOUNTS_MAX 4096     /* of one device, taken away at once */

int mounting_open(struct err *err)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "cannot open /dev/fuse: %s%s", strerror(errno),
			       errno == ENOENT ? " (is the fuse module loaded?)" : "");
	return fd;
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

int mounting_mount(const struct mount_request *m, int fuse_fd, mode_t root_type, unsigned *maj,
		   unsigned *min, struct err *err)
{
	AUTO_FD int mnt = make_mount(m, fuse_fd, root_type);
	int rc = mnt < 0 ? mnt : 0;

	if (!rc && move_mount(mnt, "", AT_FDCWD, m->dir, MOVE_MOUNT_F_EMPTY_PATH))
		rc = -errno;
	if (rc)
		return err_set(err, rc, "cannot mount at '%s': %s%s", m->dir, strerror(-rc),
			       rc == -EPERM ?
				       " (mounting wants root, or a user namespace of one's own)" :
				       "");
	rc = runtime_mount_dev(m->dir, maj, min, NULL, 0, err);
	if (!rc)
		raise_read_ahead(*maj, *min);
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

int mounting_umount_all(unsigned maj, unsigned min, int flags)
{
	char **points = calloc(MOUNTS_MAX, sizeof *points);
	unsigned n = points ? points_of(maj, min, points, MOUNTS_MAX) : 0;
	int rc = points ? 0 : -ENOMEM;

	while (n--) {
		if (points[n] && umount2(points[n], flags | UMOUNT_NOFOLLOW) && !rc)
			rc = -errno;
		free(points[n]);
	}
	free(points);
	return rc;
}
