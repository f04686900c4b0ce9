/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/state.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text), done = 0;

	while (done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int sync_folder(const char *path)
{
	char copy[PATH_MAX];
	AUTO_FD int fd = -1;

	snprintf(copy, sizeof copy, "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

int state_write(const char *path, const char *text, mode_t mode)
{
	char new[PATH_MAX];
	AUTO_FD int fd = -1;
	int rc;

	if (snprintf(new, sizeof new, "%s" STATE_TAIL, path) >= (int)sizeof new)
		return -ENAMETOOLONG;
	/* A symbolic link there is nobody's business to follow. */
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, text);
	if (!rc && (fchmod(fd, mode) || fsync(fd) || rename(new, path)))
		rc = -errno;
	if (rc) {
		unlink(new);
		return rc;
	}
	return sync_folder(path);
}

static ssize_t read_all(int fd, char *text, size_t cap)
{
	size_t done = 0;

	while (done < cap) {
		ssize_t n = read(fd, text + done, cap - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int state_read(const char *path, json_t **out, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	struct stat st;
	json_error_t e;
	ssize_t len;

	*out = NULL;
	if (fd < 0)
		return errno == ENOENT ?
			       0 :
			       err_set(err, -errno, "state file '%s': %s", path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)STATE_BYTES_MAX)
		return err_set(err, -EINVAL, "state file '%s' is none: not a file, or too long",
			       path);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "state file '%s': out of memory", path);
	/* At once: json_loadfd() makes a system call for each byte. */
	len = read_all(fd, text, (size_t)st.st_size);
	if (len < 0)
		return err_set(err, (int)len, "state file '%s': %s", path, strerror((int)-len));
	*out = json_loadb(text, (size_t)len, 0, &e);
	return *out ? 0 :
		      err_set(err, -EINVAL, "state file '%s', line %d: %s", path, e.line, e.text);
}
