/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c - fills a file until an error comes, and later shows that nothing that
 * was acknowledged is lost
 *
 *   fill FILE BYTES          writes a pattern, then fsyncs through two handles
 *                            and prints "wrote N write=E fsync=E other=E", E an
 *                            errno's name or 0; reads a line from stdin; fsyncs
 *                            until that succeeds or RETRY_SECONDS are over, and
 *                            prints "again fsync=E other=E close=E"
 *   fill --check FILE BYTES  compares the file's first BYTES with the pattern
 *   fill --quota DEV UID KIB sets a user's block quota on a mounted device */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/quota.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536u
#define RETRY_SECONDS 40

static const char *name_of(int err)
{
	return err ? strerrorname_np(err) : "0";
}

static void pattern(unsigned char *buf, uint64_t off)
{
	for (unsigned i = 0; i < BLOCK; i++)
		buf[i] = (unsigned char)((off + i) * 2654435761u >> 13);
}

static int errno_of(int rc)
{
	return rc < 0 ? errno : 0;
}

static int fill(const char *path, uint64_t bytes)
{
	static unsigned char buf[BLOCK];
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644), other = open(path, O_RDWR);
	int write_err = 0, err, other_err;
	uint64_t done = 0;

	if (fd < 0 || other < 0) {
		printf("open=%s\n", name_of(errno));
		return 1;
	}
	while (done < bytes && !write_err) {
		pattern(buf, done - done % BLOCK);
		ssize_t n = write(fd, buf + done % BLOCK, BLOCK - done % BLOCK);

		if (n < 0)
			write_err = errno;
		else
			done += (uint64_t)n;
	}
	err = errno_of(fsync(fd));
	other_err = errno_of(fsync(other));
	printf("wrote %llu write=%s fsync=%s other=%s\n", (unsigned long long)done,
	       name_of(write_err), name_of(err), name_of(other_err));
	fflush(stdout);
	if (getchar() == EOF) /* ended as it is */
		return 0;
	for (int i = 0; i < RETRY_SECONDS * 10 && (err || other_err); i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
		err = errno_of(fsync(fd));
		other_err = errno_of(fsync(other));
	}
	printf("again fsync=%s other=%s ", name_of(err), name_of(other_err));
	err = errno_of(close(fd));
	other_err = errno_of(close(other));
	printf("close=%s\n", name_of(err ? err : other_err));
	return 0;
}

static int check(const char *path, uint64_t bytes)
{
	static unsigned char want[BLOCK], got[BLOCK];
	int fd = open(path, O_RDONLY);

	for (uint64_t off = 0; off < bytes; off += BLOCK) {
		size_t len = bytes - off < BLOCK ? (size_t)(bytes - off) : BLOCK;

		pattern(want, off);
		if (pread(fd, got, len, (off_t)off) != (ssize_t)len ||
		    memcmp(want, got, len) != 0) {
			printf("%s differs in the block at %llu\n", path, (unsigned long long)off);
			return 1;
		}
	}
	close(fd);
	return 0;
}

static int set_quota(const char *dev, int uid, uint64_t kib)
{
	struct dqblk q = { .dqb_bhardlimit = kib, .dqb_valid = QIF_BLIMITS };

	if (quotactl(QCMD(Q_SETQUOTA, USRQUOTA), dev, uid, (caddr_t)&q)) {
		perror(dev);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return fill(argv[1], strtoull(argv[2], NULL, 0));
	if (argc == 4 && strcmp(argv[1], "--check") == 0)
		return check(argv[2], strtoull(argv[3], NULL, 0));
	if (argc == 5 && strcmp(argv[1], "--quota") == 0)
		return set_quota(argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 0));
	fputs("usage: fill FILE BYTES | --check FILE BYTES | --quota DEV UID KIB\n", stderr);
	return 2;
}
