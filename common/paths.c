/* SPDX-License-Identifier: Apache-2.0 */
#include "common/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"

static int make(const char *path, struct err *err)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		return err_set(err, -errno, "cannot make folder '%s': %s", path, strerror(errno));
	return 0;
}

int paths_make_parents(const char *path, struct err *err)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
		return err_set(err, -ENAMETOOLONG, "path '%.100s...' is too long", path);
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int rc;

		*slash = '\0';
		rc = make(copy, err);
		if (rc)
			return rc;
		*slash = '/';
	}
	return 0;
}

int paths_make_folder(const char *path, struct err *err)
{
	int rc = paths_make_parents(path, err);

	return rc ? rc : make(path, err);
}

int paths_wait(const char *path, bool there, unsigned limit_ms, const struct cancel *cancel)
{
	uint64_t end = clock_us() / 1000 + limit_ms;

	for (;;) {
		struct stat st;

		if (!stat(path, &st) == there)
			return 0;
		if (clock_us() / 1000 >= end)
			return -ETIMEDOUT;
		if (cancel_pause(CANCEL_LOOK_MS, cancel))
			return -ECANCELED;
	}
}
