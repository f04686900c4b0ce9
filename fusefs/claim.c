/* SPDX-License-Identifier: Apache-2.0 */
/* claim.c - see claim.h */
#include "fusefs/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/backend.h"
#include "common/cleanup.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/safefd.h"

#define TRIES 100 /* lock files that vanished under our hands */

static int path_of(const char *name, const char *suffix, char *buf, size_t cap, struct err *err)
{
	int rc = runtime_dir(buf, cap, err);
	size_t n = rc ? 0 : strlen(buf);

	if (rc)
		return rc;
	if ((size_t)snprintf(buf + n, cap - n, "/%s%s", name, suffix) >= cap - n)
		return err_set(err, -ENAMETOOLONG, "the runtime folder's name is too long");
	return 0;
}

/* ---- the lock ---------------------------------------------------------- */

static bool is_still_at(int fd, const char *path)
{
	struct stat mine, there;

	return !fstat(fd, &mine) && !stat(path, &there) && mine.st_dev == there.st_dev &&
	       mine.st_ino == there.st_ino;
}

int claim_take(const char *key, struct err *err)
{
	char path[PATH_MAX];
	int rc = path_of(key, ".lock", path, sizeof path, err);

	for (int i = 0; !rc && i < TRIES; i++) {
		AUTO_FD int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return err_set(err, -errno, "'%s': %s", path, strerror(errno));
		/* The worker gets it: not to put a program of root's there. */
		safefd_replace(&fd, O_RDONLY);
		if (flock(fd, LOCK_EX | LOCK_NB))
			return err_set(err, -errno, "'%s': %s", path, strerror(errno));
		if (is_still_at(fd, path))
			return take_fd(&fd);
	}
	return rc ? rc : err_set(err, -EAGAIN, "'%s' comes and goes", path);
}

int claim_socket(const char *key, char *buf, size_t cap, struct err *err)
{
	return path_of(key, ".sock", buf, cap, err);
}

void claim_give(const char *key, int fd_take)
{
	char path[PATH_MAX];

	if (!claim_socket(key, path, sizeof path, NULL))
		unlink(path);
	if (!path_of(key, ".lock", path, sizeof path, NULL) && is_still_at(fd_take, path))
		unlink(path);
	close(fd_take);
}

/* ---- links ------------------------------------------------------------- */

/* At once, and over whatever is there. */
static int link_to(const char *target, const char *path)
{
	char fresh[PATH_MAX + 32];
	int rc = 0;

	snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
	unlink(fresh);
	if (symlink(target, fresh) || rename(fresh, path))
		rc = -errno;
	if (rc)
		unlink(fresh);
	return rc;
}

int claim_link(const char *key, unsigned maj, unsigned min, struct err *err)
{
	char path[PATH_MAX], target[BE_KEY_BYTES + 8];
	int rc = runtime_socket_path(maj, min, path, sizeof path, err);

	snprintf(target, sizeof target, "%s.sock", key);
	if (!rc)
		rc = link_to(target, path);
	return rc ? err_set(err, rc, "'%s': %s", path, strerror(-rc)) : 0;
}

bool claim_is_linked(const char *key, unsigned maj, unsigned min)
{
	char path[PATH_MAX], target[BE_KEY_BYTES + 8], want[BE_KEY_BYTES + 8];
	ssize_t n;

	if (runtime_socket_path(maj, min, path, sizeof path, NULL))
		return false;
	n = readlink(path, target, sizeof target - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	snprintf(want, sizeof want, "%s.sock", key);
	return !strcmp(target, want);
}

void claim_unlink(unsigned maj, unsigned min)
{
	char path[PATH_MAX];

	if (!runtime_socket_path(maj, min, path, sizeof path, NULL))
		unlink(path);
}

/* ---- hints ------------------------------------------------------------- */

static int hint_path(const char *uri, char *buf, size_t cap)
{
	char name[32];

	snprintf(name, sizeof name, "uri-%016llx",
		 (unsigned long long)hash_bytes(uri, strlen(uri), 0));
	return path_of(name, "", buf, cap, NULL);
}

void claim_note_uri(const char *uri, const char *key)
{
	char path[PATH_MAX];

	if (hint_path(uri, path, sizeof path) || link_to(key, path))
		log_debug("no hint for '%s'", uri);
}

bool claim_of_uri(const char *uri, char *key)
{
	char path[PATH_MAX];
	ssize_t n;

	if (hint_path(uri, path, sizeof path))
		return false;
	n = readlink(path, key, BE_KEY_BYTES - 1);
	if (n <= 0 || n >= BE_KEY_BYTES - 1)
		return false;
	key[n] = '\0';
	return !strchr(key, '/');
}
