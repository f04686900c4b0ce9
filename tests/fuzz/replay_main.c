/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once on each file of the folders and files named, or, when
 * none is, on its own corpus (from the root of the source): how `make check`
 * replays the corpora, with any compiler and without a fuzzer. */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static int replay_file(int fd, off_t size)
{
	AUTO_FREE uint8_t *data = malloc(size ? (size_t)size : 1); /* exact: ASan sees an overrun */
	ssize_t n = data ? read(fd, data, (size_t)size) : -1;

	if (n != size)
		return -1;
	LLVMFuzzerTestOneInput(data, (size_t)n);
	replayed++;
	return 0;
}

static int replay(const char *path);

static int replay_folder(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	int rc = d ? 0 : -1;

	while (!rc && (e = readdir(d))) {
		char inner[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
		rc = replay(inner);
	}
	if (d)
		closedir(d);
	return rc;
}

static int replay(const char *path)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st))
		rc = -1;
	else
		rc = S_ISDIR(st.st_mode) ? replay_folder(path) : replay_file(fd, st.st_size);
	if (rc)
		fprintf(stderr, "cannot replay '%s'\n", path);
	return rc;
}

int main(int argc, char **argv)
{
	const char *target = strchr(program_invocation_short_name, '_');
	char corpus[PATH_MAX];
	int rc = 0;

	if (argc == 1 && target) {
		snprintf(corpus, sizeof corpus, "tests/fuzz/corpus/%s", target + 1);
		rc = replay(corpus);
	}
	for (int i = 1; i < argc; i++)
		rc |= replay(argv[i]);
	if (!rc && !replayed) {
		fprintf(stderr, "nothing to replay\n");
		return 1;
	}
	printf("%u inputs replayed\n", replayed);
	return rc ? 1 : 0;
}
