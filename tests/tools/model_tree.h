/* SPDX-License-Identifier: Apache-2.0 */
/* model_tree.h - listings and whole trees of both sides, compared
 *
 * Part of model.c, included once, after model.h. */
#ifndef TESTS_TOOLS_MODEL_TREE_H
#define TESTS_TOOLS_MODEL_TREE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

#include "tests/tools/model.h"

#define NAMES_MAX 4096 /* entries of a folder */

struct names {
	unsigned n;
	char *name[NAMES_MAX]; /* owned */
};

static inline int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void names_done(struct names *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->name[i]);
	l->n = 0;
}

/* Reads up to max entries more, without the dots. */
static inline void names_read(DIR *d, struct names *l, unsigned max)
{
	struct dirent *e;

	while (max > 0 && l->n < NAMES_MAX && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
			l->name[l->n++] = strdup(e->d_name);
			max--;
		}
}

static inline DIR *open_folder(int base, const char *path)
{
	int fd = openat(base, path, O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		close(fd);
	return d;
}

static inline void agree_names(struct names l[SIDES])
{
	for (int s = 0; s < SIDES; s++)
		qsort(l[s].name, l[s].n, sizeof(char *), by_name);
	for (unsigned i = 0; i < l[MOUNT].n || i < l[REF].n; i++) {
		const char *a = i < l[MOUNT].n ? l[MOUNT].name[i] : "(end)";
		const char *b = i < l[REF].n ? l[REF].name[i] : "(end)";

		if (strcmp(a, b) != 0)
			mismatch("listing has %s, reference %s", a, b);
	}
}

/* ---- whole trees ------------------------------------------------------ */

struct tree {
	unsigned long files, links, folders;
	unsigned long long bytes;
	unsigned n, cap;
	ino_t (*pair)[SIDES]; /* numbers of files with several names; owned */
};

/* The same file on one side must be the same file on the other. */
static inline void agree_identity(struct tree *t, const char *name, const struct stat st[SIDES])
{
	if (st[REF].st_nlink < 2 || S_ISDIR(st[REF].st_mode))
		return;
	for (unsigned i = 0; i < t->n; i++) {
		bool a = t->pair[i][MOUNT] == st[MOUNT].st_ino,
		     b = t->pair[i][REF] == st[REF].st_ino;

		if (a != b)
			mismatch("%s: hard links differ", name);
		if (a)
			return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->pair = realloc(t->pair, t->cap * sizeof *t->pair);
	}
	t->pair[t->n][MOUNT] = st[MOUNT].st_ino;
	t->pair[t->n++][REF] = st[REF].st_ino;
}

static inline void agree_content(struct tree *t, int dir[SIDES], const char *name)
{
	int fd[SIDES];
	uint64_t off = 0;

	BOTH(fd[s] = openat(dir[s], name, O_RDONLY | O_NOFOLLOW));
	if (!agree_fd())
		return;
	do {
		BOTH(pread(fd[s], self.buf[s], BUF_BYTES, (off_t)off));
		if (!agree())
			break;
		agree_bytes((size_t)both.r[REF], off);
		off += (uint64_t)both.r[REF];
	} while (both.r[REF] > 0);
	t->bytes += off;
	close(fd[MOUNT]);
	close(fd[REF]);
}

static inline void agree_tree(struct tree *t, int dir[SIDES], const char *path);

static inline void agree_object(struct tree *t, int dir[SIDES], const char *path, const char *name)
{
	char full[PATH_BYTES * 2];
	struct stat st[SIDES];

	snprintf(full, sizeof full, "%s/%s", path, name);
	log_op("compare %s", full);
	BOTH(fstatat(dir[s], name, &st[s], AT_SYMLINK_NOFOLLOW));
	if (!agree())
		mismatch("%s was listed but is not there", full);
	agree_stat(full, st);
	agree_identity(t, full, st);
	if (S_ISDIR(st[REF].st_mode)) {
		int sub[SIDES];

		t->folders++;
		BOTH(sub[s] = openat(dir[s], name, O_RDONLY | O_DIRECTORY));
		if (agree_fd())
			agree_tree(t, sub, full);
	} else if (S_ISLNK(st[REF].st_mode)) {
		t->links++;
		BOTH(readlinkat(dir[s], name, (char *)self.buf[s], PATH_BYTES));
		if (agree())
			agree_bytes((size_t)both.r[REF], 0);
	} else {
		t->files++;
		agree_content(t, dir, name);
	}
}

/* Takes the descriptors. */
static inline void agree_tree(struct tree *t, int dir[SIDES], const char *path)
{
	struct names *l = calloc(SIDES, sizeof *l);
	DIR *d[SIDES];

	if (!l)
		mismatch("no memory");
	for (int s = 0; s < SIDES; s++) {
		d[s] = fdopendir(dir[s]);
		if (!d[s])
			mismatch("fdopendir %s: %s", path, strerror(errno));
		names_read(d[s], &l[s], NAMES_MAX);
	}
	log_op("compare folder %s", path);
	agree_names(l);
	for (unsigned i = 0; i < l[REF].n; i++)
		agree_object(t, dir, path, l[REF].name[i]);
	for (int s = 0; s < SIDES; s++) {
		names_done(&l[s]);
		closedir(d[s]);
	}
	free(l);
}

#endif
