/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.c - see mounts.h
 *
 * A killed `persifs mount` can leave a daemon behind that mounts a moment later. It
 * cannot once the folder is gone; so whatever is to be undone is detached and its folder
 * removed, again and again until both have worked. */
#include "tools/driver/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/spawn.h"
#include "tools/driver/daemons.h"

#define DETACH_TRIES 32 /* mounts stacked on a folder, or made while it is undone */
#define MOUNT_TRIES 3   /* something came in the way meanwhile */

/* Calls found() for each line of mountinfo that mounts something at or below root. */
static int for_each_mount(const char *root, void (*found)(void *arg, const struct mount_entry *e),
			  void *arg)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	AUTO_FREE char *line = NULL;
	size_t cap = 0, n = strlen(root);
	FILE *in = fopen("/proc/self/mountinfo", "re");

	if (!in || !e) {
		if (in)
			fclose(in);
		return in ? -ENOMEM : -errno;
	}
	while (getline(&line, &cap, in) > 0)
		if (!mount_entry_parse(line, e) && !strncmp(e->point, root, n) &&
		    (!e->point[n] || e->point[n] == '/'))
			found(arg, e);
	fclose(in);
	return 0;
}

struct at_point {
	const char *point;
	bool ours;
};

static void look_at(void *arg, const struct mount_entry *e)
{
	struct at_point *p = arg;

	if (strcmp(e->point, p->point))
		return;
	if (!strcmp(e->fstype, RUNTIME_FSTYPE))
		p->ours = true;
}

static bool real_is_mounted(void *arg, const char *point)
{
	struct at_point p = { .point = point };

	(void)arg;
	return !for_each_mount(point, look_at, &p) && p.ours;
}

static bool real_is_alive(void *arg, const char *point)
{
	struct err err = { "" };
	int rc;

	if (!real_is_mounted(arg, point))
		return false;
	rc = daemon_ping(point, &err);
	if (rc)
		log_warn("driver: '%s': %s", point, err.text);
	return !rc || rc == -ETIMEDOUT;
}

/* Both gone, or -errno. */
static int detach_and_remove(const char *point, struct failure *f)
{
	int rc = 0;

	for (int i = 0; i < DETACH_TRIES; i++) {
		while (real_is_mounted(NULL, point))
			if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW))
				return failure_set(f, -errno, "cannot unmount '%s': %s", point,
						   strerror(errno));
		if (!rmdir(point) || errno == ENOENT)
			return 0;
		rc = -errno;
		if (rc != -EBUSY)
			break;
	}
	return failure_set(f, rc, "cannot remove the folder '%s': %s", point, strerror(-rc));
}

/* --- mount ----------------------------------------------------------------- */

static int make_folder(const char *point, struct failure *f)
{
	struct failure ignored;

	if (!mkdir(point, 0755))
		return 0;
	if (errno != EEXIST)
		return failure_set(f, -errno, "cannot make the folder '%s': %s", point,
				   strerror(errno));
	/* What an earlier driver left: an empty folder, or a mount that nobody counts. */
	if (detach_and_remove(point, &ignored) || mkdir(point, 0755))
		return failure_set(f, -EEXIST, "something is in the way at '%s'", point);
	return 0;
}

/* Sentences of persifs can name hosts; the developer gets one of these. An option that is
 * wrong is named, for it is the developer's own. */
static int explain(int status, const char *text, unsigned limit_ms, struct failure *f)
{
	const char *option = strstr(text, "option ");

	if (status == -ETIMEDOUT)
		return failure_set_safe(f, -ETIMEDOUT,
					"the share did not become usable within %u seconds",
					limit_ms / 1000);
	if (status == -ECANCELED)
		return failure_set(f, -ECANCELED, "nobody waits for this mount any more");
	if (status < 0)
		return failure_set(f, status, "cannot run persifs: %s", strerror(-status));
	if (status == MOUNTS_USAGE && option)
		return failure_set_safe(f, -EINVAL, "%.300s", option);
	if (strstr(text, "is not supported"))
		return failure_set_safe(f, -EOPNOTSUPP,
					"a volume of this kind cannot be mounted by this version");
	if (strstr(text, strerror(EACCES)) || strstr(text, strerror(EPERM)))
		return failure_set_safe(f, -EACCES, "no access to the share");
	if (strstr(text, strerror(ENOENT)))
		return failure_set_safe(f, -ENOENT, "the share does not exist");
	if (strstr(text, strerror(ENOTDIR)))
		return failure_set_safe(f, -ENOTDIR, "the share is not a folder");
	return failure_set_safe(f, -EIO, "the share cannot be mounted");
}

static unsigned time_left(uint64_t deadline)
{
	uint64_t now = clock_ms();

	return now < deadline ? (unsigned)(deadline - now) : 0;
}

/* Everybody is one identity towards the store, root too: whether that may read is known now, and
 * an app would learn it too late. By a program, for the store may hang. */
static int check_access(const struct mounts *real, const struct mount_spec *m, uint64_t deadline,
			const struct cancel *cancel, struct failure *f)
{
	const char *const argv[] = { "/usr/bin/test", "-r", m->point, "-a", "-x", m->point, NULL };
	char text[SPAWN_STDERR_MAX];
	int rc;

	if (!m->options || (strncmp(m->options, "uid=", 4) && !strstr(m->options, ",uid=")))
		return 0;
	rc = spawn_wait(argv, time_left(deadline), cancel, text, sizeof text);
	if (!rc)
		return 0;
	log_warn("driver: mount at '%s': status %d of the check of access", m->point, rc);
	return rc > 0 ? failure_set_safe(f, -EACCES,
					 "uid and gid have no read access to the share") :
			explain(rc, text, real->mount_timeout_ms, f);
}

static int real_mount(void *arg, const struct mount_spec *m, const struct cancel *cancel,
		      struct failure *f)
{
	const struct mounts *real = arg;
	const char *const argv[] = { real->persifs, "mount",  "-o", m->options,
				     m->uri,        m->point, NULL };
	uint64_t deadline = clock_ms() + real->mount_timeout_ms;
	char text[SPAWN_STDERR_MAX];
	struct failure undo;
	bool in_the_way;
	int rc, tries = 0;

	do {
		rc = make_folder(m->point, f);
		if (rc)
			return rc;
		rc = spawn_wait(argv, time_left(deadline), cancel, text, sizeof text);
		/* A mount that fails leaves nothing: this is what a killed driver had begun. */
		in_the_way = rc > 0 && real_is_mounted(NULL, m->point);
		if (in_the_way)
			log_warn("driver: at '%s' a mount came late that an earlier driver began",
				 m->point);
	} while (in_the_way && ++tries < MOUNT_TRIES);
	if (rc) {
		log_warn("driver: mount at '%s': status %d: %.600s", m->point, rc, text);
		rc = explain(rc, text, real->mount_timeout_ms, f);
	} else {
		rc = check_access(real, m, deadline, cancel, f);
		if (!rc)
			return 0;
	}
	if (detach_and_remove(m->point, &undo))
		log_error("driver: %s", undo.err.text);
	return rc;
}

/* --- unmount --------------------------------------------------------------- */

static int real_unmount(void *arg, const char *point, unsigned drain_ms,
			const struct cancel *cancel, bool *dirty, struct failure *f)
{
	bool mounted = real_is_mounted(arg, point);
	struct err err = { "" };
	int rc = 0;

	if (mounted && drain_ms)
		rc = daemon_drain(point, drain_ms, cancel, &err);
	if (rc)
		log_warn("driver: '%s' is unmounted with data left to write: %s", point, err.text);
	if (dirty) /* without a moment to ask, nobody knows */
		*dirty = rc != 0 || (mounted && !drain_ms);
	rc = detach_and_remove(point, f);
	if (rc && !mounted)
		return -ENOENT;
	/* A folder that something else is mounted on, or that is not empty, is not the mount. */
	if (rc && !real_is_mounted(arg, point)) {
		log_error("driver: %s", f->err.text);
		rc = 0;
	}
	return rc ? rc : mounted ? 0 : -ENOENT;
}

/* --- the root -------------------------------------------------------------- */

struct below {
	size_t nroot;
	void (*found)(void *arg, const char *name);
	void *arg;
};

static void look_below(void *arg, const struct mount_entry *e)
{
	const struct below *b = arg;

	if (!strcmp(e->fstype, RUNTIME_FSTYPE) && e->point[b->nroot] == '/' &&
	    e->point[b->nroot + 1] && !strchr(e->point + b->nroot + 1, '/'))
		b->found(b->arg, e->point + b->nroot + 1);
}

static int real_below(void *arg, const char *root, void (*found)(void *arg, const char *name),
		      void *found_arg)
{
	struct below b = { .nroot = strlen(root), .found = found, .arg = found_arg };

	(void)arg;
	return for_each_mount(root, look_below, &b);
}

const struct mounts_ops mounts_real = {
	.mount = real_mount,
	.unmount = real_unmount,
	.is_mounted = real_is_mounted,
	.is_alive = real_is_alive,
	.below = real_below,
};

void mounts_sweep(const char *root)
{
	DIR *d = opendir(root);
	const struct dirent *e;

	if (!d)
		return;
	/* rmdir() refuses what is not empty, no folder, or mounted on. */
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	closedir(d);
}
