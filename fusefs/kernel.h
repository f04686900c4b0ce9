/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - the FUSE protocol: <linux/fuse.h> and the numbers that Debian 12's
 * copy (7.38) does not have yet. Source: the kernel's UAPI, protocol 7.45. */
#ifndef FUSEFS_KERNEL_H
#define FUSEFS_KERNEL_H

#include <linux/fuse.h>
#include <stdint.h>

#define PFUSE_STATX 52
#define PFUSE_COPY_FILE_RANGE_64 53
#define PFUSE_NOTIFY_RESEND 7
#define PFUSE_NOTIFY_INC_EPOCH 8 /* 6.16: all names the kernel knows are looked up anew */

/* Bits of init_out.flags and, from 32 on, flags2. */
#define PFUSE_PARALLEL_DIROPS (1u << 18)
#define PFUSE_ABORT_ERROR (1u << 21)
#define PFUSE_HANDLE_KILLPRIV_V2 (1u << 28)
#define PFUSE_DIRECT_IO_ALLOW_MMAP (1u << 4) /* flags2 */

struct pfuse_statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct pfuse_sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

struct pfuse_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct pfuse_sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};

struct pfuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	struct pfuse_statx stat;
};

struct pfuse_copy_out64 {
	uint64_t bytes;
};

#endif
