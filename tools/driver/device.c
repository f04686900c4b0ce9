/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - see device.h. Whether a device is in use is asked of the kernel in four ways, for it has no
 * one answer: the table of mounts, loop devices, an exclusive open, and the descriptors of all processes,
 * read as links, which asks no file system that may hang. */
#include "tools/driver/device.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/spawn.h"

/* The superblock of ext2, 3 and 4, little-endian. */
#define SB_OFFSET 1024
#define SB_BYTES 128
#define SB_MOUNT_TIME 44
#define SB_MOUNT_COUNT 52
#define SB_MAGIC 56

/* --- who has it ------------------------------------------------------------ */

static bool is_mounted(const char *real, const struct stat *st, char *who, size_t cap)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	AUTO_FREE char *line = NULL;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	size_t n = 0;

	if (!in || !e)
		snprintf(who, cap, "nobody knows whom: /proc/self/mountinfo cannot be read");
	while (in && e && !found && getline(&line, &n, in) > 0) {
		if (mount_entry_parse(line, e) || !strcmp(e->fstype, RUNTIME_FSTYPE))
			continue;
		found = !strcmp(e->source, real) ||
			(S_ISBLK(st->st_mode) && e->maj == major(st->st_rdev) &&
			 e->min == minor(st->st_rdev));
		if (found)
			snprintf(who, cap, "the mount at '%.200s'", e->point);
	}
	if (in)
		fclose(in);
	return found || !in || !e;
}

static void read_first_line(const char *path, char *buf, size_t cap)
{
	FILE *in = fopen(path, "re");

	*buf = '\0';
	if (in && !fgets(buf, (int)cap, in))
		*buf = '\0';
	if (in)
		fclose(in);
	buf[strcspn(buf, "\n")] = '\0';
}

static bool is_behind_loop(const char *real, char *who, size_t cap)
{
	DIR *d = opendir("/sys/block");
	const struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		char path[PATH_MAX], file[PATH_MAX];

		if (strncmp(e->d_name, "loop", 4))
			continue;
		snprintf(path, sizeof path, "/sys/block/%.200s/loop/backing_file", e->d_name);
		read_first_line(path, file, sizeof file);
		found = !strcmp(file, real);
		if (found)
			snprintf(who, cap, "the loop device %.100s", e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

/* 0 no, 1 yes, -errno when it may not be looked at. One that has ended has nothing. */
static int process_has(const char *pid, const char *real)
{
	char path[300], target[PATH_MAX];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%.200s/fd", pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (!found && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		found = !strcmp(target, real);
	}
	closedir(d);
	return found;
}

static bool is_open(const char *real, char *who, size_t cap)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	bool found = !d;

	if (!d)
		snprintf(who, cap, "nobody knows whom: /proc cannot be read");
	while (d && !found && (e = readdir(d))) {
		int rc = isdigit((unsigned char)e->d_name[0]) ? process_has(e->d_name, real) : 0;

		found = rc != 0;
		if (found)
			snprintf(who, cap, "process %.20s%s%s", e->d_name,
				 rc < 0 ? ", perhaps: " : "", rc < 0 ? strerror(-rc) : "");
	}
	if (d)
		closedir(d);
	return found;
}

/* A mount that is not in our table: of another mount namespace, or of what the kernel stacks on it. No
 * process holds a device so, when none has it open. */
static bool is_claimed(const char *real, const struct stat *st, char *who, size_t cap)
{
	AUTO_FD int fd = S_ISBLK(st->st_mode) ? open(real, O_RDONLY | O_EXCL | O_CLOEXEC) : -1;

	if (!S_ISBLK(st->st_mode) || fd >= 0 || errno != EBUSY || is_open(real, who, cap))
		return false;
	snprintf(who, cap, "the kernel, for a mount that is not seen here, or another device");
	return true;
}

/* Through the link. -errno when it is not there. */
static int look_up(const char *path, char *real, struct stat *st)
{
	memset(st, 0, sizeof *st);
	return realpath(path, real) && !stat(real, st) ? 0 : -errno;
}

void device_users(const char *path, char *who, size_t cap)
{
	char real[PATH_MAX];
	struct stat st;

	*who = '\0';
	if (!look_up(path, real, &st) && !is_mounted(real, &st, who, cap) &&
	    !is_behind_loop(real, who, cap) && !is_open(real, who, cap))
		is_claimed(real, &st, who, cap);
}

/* --- what it is ------------------------------------------------------------ */

static int size_of(const char *real, const struct stat *st, uint64_t *size)
{
	AUTO_FD int fd = -1;

	*size = (uint64_t)st->st_size;
	if (S_ISREG(st->st_mode))
		return 0;
	if (!S_ISBLK(st->st_mode))
		return -ENOTBLK;
	fd = open(real, O_RDONLY | O_CLOEXEC);
	return fd < 0 || ioctl(fd, BLKGETSIZE64, size) ? -errno : 0;
}

int device_check(const char *path, uint64_t size, struct failure *f)
{
	char real[PATH_MAX], who[300];
	struct stat st;
	uint64_t has = 0;
	int rc = look_up(path, real, &st);

	if (!rc)
		rc = size_of(real, &st, &has);
	if (rc) {
		log_error("driver: device '%s': %s", path, strerror(-rc));
		return failure_set_safe(f, rc, "the volume's device cannot be read on this cell");
	}
	if (size && has < size) {
		log_error("driver: device '%s' has %" PRIu64 " bytes, the array says %" PRIu64,
			  path, has, size);
		return failure_set_safe(
			f, -EIO, "the volume's device is smaller than the storage system says");
	}
	if (!is_mounted(real, &st, who, sizeof who) && !is_behind_loop(real, who, sizeof who) &&
	    !is_claimed(real, &st, who, sizeof who))
		return 0;
	log_error("driver: device '%s' is used by %s", path, who);
	return failure_set_safe(f, -EBUSY,
				"the volume's device is already in use on this cell, by something "
				"other than the driver");
}

int device_content(const char *path, enum device_content *out)
{
	static const unsigned char none[4];
	unsigned char sb[SB_BYTES];
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, sb, sizeof sb, SB_OFFSET);

	if (n < 0)
		return -errno;
	if (n < SB_BYTES || sb[SB_MAGIC] != 0x53 || sb[SB_MAGIC + 1] != 0xef)
		*out = DEVICE_BLANK;
	else if (!memcmp(sb + SB_MOUNT_TIME, none, 4) && !memcmp(sb + SB_MOUNT_COUNT, none, 2))
		*out = DEVICE_MADE;
	else
		*out = DEVICE_FILLED;
	return 0;
}

/* --- writing --------------------------------------------------------------- */

int device_flush(const char *path)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ENXIO ? 0 : -errno;
	if (fsync(fd) || fstat(fd, &st))
		return -errno;
	/* What another cell writes later is not to be read from this one's memory. */
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKFLSBUF, 0))
		return -errno;
	return 0;
}

int device_format(const char *path, const char *mkfs, int64_t uid, int64_t gid,
		  const struct cancel *cancel, struct failure *f)
{
	char real[PATH_MAX], options[200], text[SPAWN_STDERR_MAX];
	/* For thin volumes: a new one has nothing to discard, and tables of inodes that nobody
	 * needs yet stay unwritten, so unallocated. The journal is written whole: what it
	 * held before could be taken for transactions. */
	const char *const argv[] = { mkfs, "-q", "-F", "-m", "0", "-E", options, real, NULL };
	int rc;

	snprintf(options, sizeof options,
		 "nodiscard,lazy_itable_init=1,lazy_journal_init=0,root_owner=%" PRId64 ":%" PRId64,
		 uid < 0 ? 0 : uid, gid < 0 ? 0 : gid);
	if (!realpath(path, real))
		return failure_set(f, -errno, "device '%.200s': %s", path, strerror(errno));
	rc = spawn_wait(argv, DEVICE_MKFS_MS, cancel, text, sizeof text);
	log_info("driver: '%s' on '%s': status %d%s%.600s", mkfs, real, rc, *text ? ": " : "",
		 text);
	if (rc == -ECANCELED)
		return failure_set(f, rc, "nobody waits for this mount any more");
	if (!rc)
		rc = device_flush(path);
	return rc ? failure_set_safe(f, rc < 0 ? rc : -EIO,
				     "the new volume could not be prepared for its first use") :
		    0;
}
