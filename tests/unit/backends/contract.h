/* SPDX-License-Identifier: Apache-2.0 */
/* contract.h - the fixture that the contract's tests share
 *
 * A test runs once for each store in stores[]: contract_run() opens it empty
 * before each test, and afterwards counts descriptors. */
#ifndef TESTS_UNIT_BACKENDS_CONTRACT_H
#define TESTS_UNIT_BACKENDS_CONTRACT_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/backend.h"
#include "common/cleanup.h"

#define HELPER __attribute__((unused)) static
#define SLOW_LAYERS "trace,delay:read=1ms,write=1ms,commit=1ms"

struct store {
	const char *name, *uri, *layers;
	bool folder; /* uri lacks a temporary folder at its end */
};

static const struct store stores[] = {
	{ "memory", "memory:?size=256m&inodes=200000", "", false },
	{ "dir", "dir:", "", true },
	{ "memory, layers", "memory:?size=256m", SLOW_LAYERS, false },
	{ "dir, layers", "dir:", SLOW_LAYERS, true },
};

static const struct store *store_now;

struct fixture {
	struct backend *be;
	struct be_node *root; /* counted */
	struct be_cred *cred;
	struct be_call call;
	char folder[64]; /* "" for memory */
	int fds_before;
};

HELPER int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

HELPER int store_open(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct be_entry root;
	struct err err;
	char uri[128];

	assert_non_null(f);
	f->fds_before = count_fds();
	snprintf(uri, sizeof uri, "%s", store_now->uri);
	if (store_now->folder) {
		strcpy(f->folder, "/tmp/persifs-test-XXXXXX");
		assert_non_null(mkdtemp(f->folder));
		snprintf(uri, sizeof uri, "%s%s", store_now->uri, f->folder);
	}
	if (backend_open(uri, store_now->layers, NULL, &f->be, &err))
		fail_msg("%s: %s", uri, err.text);
	assert_int_equal(backend_root(f->be, &root), 0);
	f->root = root.node;
	f->cred = be_cred_new(geteuid(), getegid(), 0, NULL);
	assert_non_null(f->cred);
	f->call.cred = f->cred;
	*state = f;
	return 0;
}

HELPER int store_close(void **state)
{
	struct fixture *f = *state;

	be_node_put(f->root);
	backend_close(f->be);
	be_cred_put(f->cred);
	if (*f->folder)
		nftw(f->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(count_fds(), f->fds_before);
	free(f);
	return 0;
}

/* Runs the tests over each store. Returns how many failed. */
HELPER int contract_run(const char *what, const struct CMUnitTest *tests, size_t n)
{
	int failed = 0;

	umask(0);
	for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
		char name[128];

		store_now = &stores[i];
		snprintf(name, sizeof name, "%s: %s", what, stores[i].name);
		print_message("=== %s\n", name);
		failed += _cmocka_run_group_tests(name, tests, n, NULL, NULL);
	}
	return failed;
}
#define CONTRACT_TEST(t) cmocka_unit_test_setup_teardown(t, store_open, store_close)

HELPER void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* ---- making things; all counted, the test puts them ------------------ */

HELPER struct be_node *make_file(struct fixture *f, struct be_node *dir, const char *name)
{
	struct be_entry e;

	assert_int_equal(backend_create(f->be, &f->call, dir, name, 0644, O_RDWR | O_EXCL, &e), 0);
	backend_release(f->be, e.node, O_RDWR);
	return e.node;
}

HELPER struct be_node *make_dir(struct fixture *f, struct be_node *dir, const char *name)
{
	struct be_entry e;

	assert_int_equal(backend_mkdir(f->be, &f->call, dir, name, 0755, &e), 0);
	assert_true(S_ISDIR(e.attr.mode));
	return e.node;
}

HELPER int lookup(struct fixture *f, struct be_node *dir, const char *name, struct be_entry *out)
{
	return backend_lookup(f->be, &f->call, dir, name, out);
}

/* The node that name leads to, not counted; NULL when there is none. */
HELPER struct be_node *find(struct fixture *f, struct be_node *dir, const char *name)
{
	struct be_entry e;
	int rc = lookup(f, dir, name, &e);

	if (rc == -ENOENT)
		return NULL;
	assert_int_equal(rc, 0);
	be_node_put(e.node);
	return e.node;
}

HELPER struct be_attr attr_of(struct fixture *f, struct be_node *node)
{
	struct be_attr attr;

	assert_int_equal(backend_getattr(f->be, &f->call, node, &attr), 0);
	return attr;
}

HELPER int unlink_name(struct fixture *f, struct be_node *dir, const char *name)
{
	struct be_removed r = { .node = NULL };
	int rc = backend_unlink(f->be, &f->call, dir, name, &r);

	be_node_put(r.node);
	return rc;
}

HELPER int rmdir_name(struct fixture *f, struct be_node *dir, const char *name)
{
	struct be_removed r = { .node = NULL };
	int rc = backend_rmdir(f->be, &f->call, dir, name, &r);

	be_node_put(r.node);
	return rc;
}

HELPER int rename_name(struct fixture *f, struct be_node *dir, const char *name,
		       struct be_node *newdir, const char *newname, unsigned flags)
{
	struct be_removed r = { .node = NULL };
	int rc = backend_rename(f->be, &f->call, dir, name, newdir, newname, flags, &r);

	be_node_put(r.node);
	return rc;
}

/* ---- data; the file must be open ------------------------------------- */

HELPER void open_file(struct fixture *f, struct be_node *node, int oflags)
{
	assert_int_equal(backend_open_node(f->be, &f->call, node, oflags), 0);
}

HELPER ssize_t write_at(struct fixture *f, struct be_node *node, const void *buf, size_t len,
			uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct be_io io = { .node = node,
			    .cred = f->cred,
			    .iov = &iov,
			    .niov = 1,
			    .off = off,
			    .len = len,
			    .background = true };

	clock_gettime(CLOCK_REALTIME, &io.mtime);
	return backend_write_wait(f->be, &io);
}

HELPER ssize_t read_at(struct fixture *f, struct be_node *node, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct be_io io = {
		.node = node, .cred = f->cred, .iov = &iov, .niov = 1, .off = off, .len = len
	};

	return backend_read_wait(f->be, &io);
}

HELPER ssize_t commit(struct fixture *f, struct be_node *node)
{
	struct be_io io = { .node = node, .cred = f->cred };

	return backend_commit_wait(f->be, &io);
}

HELPER void set_size(struct fixture *f, struct be_node *node, uint64_t size)
{
	struct be_setattr set = { .valid = BE_SET_SIZE, .size = size };
	struct be_attr attr;

	assert_int_equal(backend_setattr(f->be, &f->call, node, &set, &attr), 0);
	assert_int_equal(attr.size, size);
}

/* ---- listing ---------------------------------------------------------- */

struct listing {
	char (*names)[256];
	uint64_t *cookies;
	size_t count, max; /* emit refuses at max; 0: never */
	bool plus_seen;    /* every entry but the dots had node and attributes */
	uint64_t last_cookie;
};

HELPER bool listing_emit(void *arg, const struct be_dirent *ent)
{
	struct listing *l = arg;
	bool dots = (ent->name_len == 1 && ent->name[0] == '.') ||
		    (ent->name_len == 2 && !memcmp(ent->name, "..", 2));

	if (l->max && l->count == l->max)
		return false;
	assert_true(ent->cookie != 0);
	assert_true(ent->name_len > 0 && ent->name_len < 256);
	l->names = realloc(l->names, (l->count + 1) * sizeof *l->names);
	l->cookies = realloc(l->cookies, (l->count + 1) * sizeof *l->cookies);
	memcpy(l->names[l->count], ent->name, ent->name_len);
	l->names[l->count][ent->name_len] = '\0';
	l->cookies[l->count++] = l->last_cookie = ent->cookie;
	if (!dots && (!ent->node || !ent->attr))
		l->plus_seen = false;
	if (dots)
		assert_null(ent->node);
	if (ent->attr)
		assert_int_equal(ent->attr->ino, ent->ino);
	return true;
}

HELPER void list_from(struct fixture *f, struct be_dir *d, uint64_t cookie, bool plus, size_t max,
		      struct listing *l)
{
	memset(l, 0, sizeof *l);
	l->max = max;
	l->plus_seen = true;
	l->last_cookie = cookie;
	assert_int_equal(backend_readdir(f->be, &f->call, d, cookie, plus, listing_emit, l), 0);
}

HELPER void listing_done(struct listing *l)
{
	free(l->names);
	free(l->cookies);
}

HELPER size_t listing_count(const struct listing *l, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		n += !strcmp(l->names[i], name);
	return n;
}

HELPER void list_all(struct fixture *f, struct be_node *dir, struct listing *l)
{
	struct be_dir *d;

	assert_int_equal(backend_opendir(f->be, &f->call, dir, &d), 0);
	list_from(f, d, 0, false, 0, l);
	backend_closedir(f->be, d);
}

#endif
