/* SPDX-License-Identifier: Apache-2.0 */
/* local_side.c - what lies beside a volume: notes, marks; and copies of images */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "common/cleanup.h"

#define COPY_STEP (64u << 20)

int local_failed(struct err *err, const char *what, const char *name)
{
	int rc = -errno;

	if (rc == -EPERM || rc == -EROFS)
		rc = -EACCES;
	if (rc == -EDQUOT)
		rc = -ENOSPC;
	return err_set(err, rc, "cannot %s '%s': %s", what, name, strerror(errno));
}

void local_side_name(const char *what, const char *name, char buf[LOCAL_SIDE_MAX])
{
	snprintf(buf, LOCAL_SIDE_MAX, ".%s-%s", what, name);
}

int local_write_note(int root, const char *name, const struct local_note *n, struct err *err)
{
	char side[LOCAL_SIDE_MAX], temp[LOCAL_SIDE_MAX], text[64];
	int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu32 "\n", n->size, n->project);
	AUTO_FD int fd = -1;

	local_side_name("note", name, side);
	local_side_name("temp", name, temp);
	fd = openat(root, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd) ||
	    renameat(root, temp, root, side))
		return local_failed(err, "write", side);
	return 0;
}

void local_read_note(int root, const char *name, struct local_note *n)
{
	char side[LOCAL_SIDE_MAX], text[64] = "";
	AUTO_FD int fd = -1;

	memset(n, 0, sizeof *n);
	local_side_name("note", name, side);
	fd = openat(root, side, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 &&
	    sscanf(text, "%" SCNu64 " %" SCNu32, &n->size, &n->project) < 1)
		memset(n, 0, sizeof *n);
}

bool local_has_side(int root, const char *what, const char *name, struct stat *st)
{
	char side[LOCAL_SIDE_MAX];

	local_side_name(what, name, side);
	return !fstatat(root, side, st, AT_SYMLINK_NOFOLLOW);
}

void local_drop_side(int root, const char *what, const char *name)
{
	char side[LOCAL_SIDE_MAX];

	local_side_name(what, name, side);
	unlinkat(root, side, 0);
}

/* As blocks that are shared, where the file system can; holes stay holes. */
int local_copy_data(int from, int to, uint64_t size)
{
	off_t at = 0, end;

	if (!ioctl(to, FICLONE, from))
		return 0;
	while ((at = lseek(from, at, SEEK_DATA)) >= 0 && (uint64_t)at < size) {
		end = lseek(from, at, SEEK_HOLE);
		while (at < end) {
			size_t step = (size_t)(end - at) < COPY_STEP ? (size_t)(end - at) :
								       COPY_STEP;
			off_t out = at;
			ssize_t n = copy_file_range(from, &at, to, &out, step, 0);

			if (n <= 0)
				return n ? -errno : -EIO;
		}
	}
	return at >= 0 || errno == ENXIO ? 0 : -errno;
}
