/* SPDX-License-Identifier: Apache-2.0 */
/* errmap.c - status codes of NFSv3 and MOUNT v3 as -errno; unknown ones are -EIO */
#include <errno.h>

#include "backends/nfs/nfs_impl.h"

int be_nfs_errno(uint32_t status)
{
	static const struct {
		uint32_t status;
		int err;
	} map[] = {
		{ NFS3_OK, 0 },
		{ NFS3ERR_PERM, EPERM },
		{ NFS3ERR_NOENT, ENOENT },
		{ NFS3ERR_IO, EIO },
		{ NFS3ERR_NXIO, ENXIO },
		{ NFS3ERR_ACCES, EACCES },
		{ NFS3ERR_EXIST, EEXIST },
		{ NFS3ERR_XDEV, EXDEV },
		{ NFS3ERR_NODEV, ENODEV },
		{ NFS3ERR_NOTDIR, ENOTDIR },
		{ NFS3ERR_ISDIR, EISDIR },
		{ NFS3ERR_INVAL, EINVAL },
		{ NFS3ERR_FBIG, EFBIG },
		{ NFS3ERR_NOSPC, ENOSPC },
		{ NFS3ERR_ROFS, EROFS },
		{ NFS3ERR_MLINK, EMLINK },
		{ NFS3ERR_NAMETOOLONG, ENAMETOOLONG },
		{ NFS3ERR_NOTEMPTY, ENOTEMPTY },
		{ NFS3ERR_DQUOT, EDQUOT },
		{ NFS3ERR_STALE, ESTALE },
		{ NFS3ERR_REMOTE, EREMOTE },
		{ NFS3ERR_BADHANDLE, ESTALE },
		{ NFS3ERR_NOTSUPP, EOPNOTSUPP },
		{ NFS3ERR_BADTYPE, EINVAL },
		/* The caller retries; what is left of it here came too often. */
		{ NFS3ERR_JUKEBOX, ETIMEDOUT },
	};

	for (unsigned i = 0; i < ARRAY_LEN(map); i++)
		if (map[i].status == status)
			return -map[i].err;
	return -EIO;
}

int be_nfs_mount_errno(uint32_t status)
{
	switch (status) {
	case MNT3ERR_NOTSUPP:
		return -EOPNOTSUPP;
	case MNT3ERR_SERVERFAULT:
		return -EIO;
	default: /* the others have NFS's numbers */
		return be_nfs_errno(status);
	}
}
