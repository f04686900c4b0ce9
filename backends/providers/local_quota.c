/* SPDX-License-Identifier: Apache-2.0 */
/* local_quota.c - project quotas of ext4 and XFS, through quotactl_fd(2), which wants no device
 *
 * A project's number is taken from the folder's name; where it is another's (its limit is set, and the folder has not
 * got the number), the next one is tried. */
#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "common/hash.h"

#define BLOCK 512 /* that the kernel counts in */
#define TRIES 16
#define ID_MASK 0x3fffffffu

static int quota(int fd, unsigned command, uint32_t id, struct fs_disk_quota *q)
{
#ifdef SYS_quotactl_fd
	return syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), id, q) ? -errno : 0;
#else
	(void)fd;
	(void)command;
	(void)id;
	(void)q;
	return -ENOSYS;
#endif
}

static uint32_t project_of(int fd)
{
	struct fsxattr x;

	return ioctl(fd, FS_IOC_FSGETXATTR, &x) ? 0 : x.fsx_projid;
}

static int set_project(int fd, uint32_t id)
{
	struct fsxattr x;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &x))
		return -errno;
	x.fsx_projid = id;
	x.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &x) ? -errno : 0;
}

/* A number that nobody has. */
static int choose(int fd, const char *name, uint32_t *out)
{
	uint32_t id = (uint32_t)hash_bytes(name, strlen(name), 0) & ID_MASK;

	for (unsigned i = 0; i < TRIES; i++, id = (id + 1) & ID_MASK) {
		struct fs_disk_quota q = { 0 };
		int rc = id ? quota(fd, Q_XGETQUOTA, id, &q) : -EEXIST;

		if (rc && rc != -ENOENT && rc != -EEXIST)
			return rc;
		if (rc == -EEXIST || (!rc && (q.d_blk_hardlimit || q.d_bcount)))
			continue;
		*out = id;
		return 0;
	}
	return -EEXIST;
}

int local_set_quota(int folder, uint64_t bytes, uint32_t *id, const char *name, struct err *err)
{
	struct fs_disk_quota q = { .d_version = FS_DQUOT_VERSION,
				   .d_flags = FS_PROJ_QUOTA,
				   .d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT,
				   .d_blk_hardlimit = bytes / BLOCK,
				   .d_blk_softlimit = bytes / BLOCK };
	uint32_t project = *id ? *id : project_of(folder);
	int rc = project ? 0 : choose(folder, name, &project);

	if (!rc)
		rc = set_project(folder, project);
	q.d_id = project;
	if (!rc)
		rc = quota(folder, Q_XSETQLIM, project, &q);
	if (rc == -ENOSYS || rc == -ESRCH || rc == -ENOTTY || rc == -EINVAL || rc == -ENOTSUP ||
	    rc == -EPERM)
		return err_set(err, -EOPNOTSUPP,
			       "the file system has no project quotas, or they are off");
	if (rc)
		return err_set(err, rc, "cannot set a quota: %s", strerror(-rc));
	*id = project;
	return 0;
}

int local_quota_used(int folder, uint32_t id, uint64_t *out)
{
	struct fs_disk_quota q = { 0 };

	if (!id || quota(folder, Q_XGETQUOTA, id, &q))
		return -EOPNOTSUPP;
	*out = q.d_bcount * BLOCK;
	return 0;
}
