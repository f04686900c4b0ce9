/* SPDX-License-Identifier: Apache-2.0 */
/* The memory backend with many names and much data. Times are printed, not judged. */
#include <time.h>

#include "tests/unit/backends/contract.h"

#define FILES 100000u
#define SMALL_FILES 20000u

static struct store store = { .name = "memory", .uri = "memory:?size=512m", .layers = "" };
static double started;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void start(void)
{
	started = now();
}

static void report(const char *what, unsigned n, double bytes)
{
	double t = now() - started;

	print_message("  %-28s %8.0f ns each", what, t / n * 1e9);
	if (bytes > 0)
		print_message(", %6.2f GB/s", bytes / t / 1e9);
	print_message("\n");
}

static int open_store(void **state)
{
	store_now = &store;
	return store_open(state);
}

static bool count_emit(void *arg, const struct be_dirent *ent)
{
	(void)ent;
	++*(unsigned *)arg;
	return true;
}

static bool one_emit(void *arg, const struct be_dirent *ent)
{
	uint64_t *cookie = arg;

	if (*cookie)
		return false;
	*cookie = ent->cookie;
	return true;
}

static void walk_by_single_entries(struct fixture *f, struct be_dir *d)
{
	uint64_t at = 0;
	unsigned n = 0;

	start();
	for (;;) {
		uint64_t next = 0;

		assert_int_equal(backend_readdir(f->be, &f->call, d, at, false, one_emit, &next),
				 0);
		if (!next)
			break;
		at = next;
		n++;
	}
	report("readdir, one at a time", n, 0);
	assert_int_equal(n, FILES + 2);
}

static void list_whole(struct fixture *f, struct be_dir *d, bool plus)
{
	unsigned n = 0;

	start();
	assert_int_equal(backend_readdir(f->be, &f->call, d, 0, plus, count_emit, &n), 0);
	report(plus ? "readdirplus" : "readdir", n, 0);
	assert_int_equal(n, FILES + 2);
}

static void a_hundred_thousand_names_in_one_directory(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	struct be_dir *d;
	char name[32];

	start();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file-%08u", i);
		be_node_put(make_file(f, dir, name));
	}
	report("create + release", FILES, 0);
	start();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file-%08u", i * 7919 % FILES);
		assert_non_null(find(f, dir, name));
	}
	report("lookup, scattered", FILES, 0);
	assert_int_equal(backend_opendir(f->be, &f->call, dir, &d), 0);
	list_whole(f, d, false);
	list_whole(f, d, true);
	walk_by_single_entries(f, d);
	backend_closedir(f->be, d);
	start();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "file-%08u", i * 7919 % FILES);
		assert_int_equal(unlink_name(f, dir, name), 0);
	}
	report("unlink, scattered", FILES, 0);
	be_node_put(dir);
}

static void small_calls(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "some-file-name");
	const unsigned times = 300000;
	struct be_setattr set = { .valid = BE_SET_MODE, .mode = 0600 };
	struct be_attr attr;

	start();
	for (unsigned i = 0; i < times; i++)
		find(f, f->root, "some-file-name");
	report("lookup + put", times, 0);
	start();
	for (unsigned i = 0; i < times; i++)
		attr_of(f, n);
	report("getattr", times, 0);
	start();
	for (unsigned i = 0; i < times; i++)
		assert_int_equal(backend_setattr(f->be, &f->call, n, &set, &attr), 0);
	report("setattr", times, 0);
	start();
	for (unsigned i = 0; i < times; i++)
		assert_int_equal(rename_name(f, f->root, i % 2 ? "other" : "some-file-name",
					     f->root, i % 2 ? "some-file-name" : "other", 0),
				 0);
	report("rename", times, 0);
	be_node_put(n);
}

static void small_files(void **state)
{
	struct fixture *f = *state;
	static char buf[4096];
	char name[32];

	start();
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		struct be_node *n;

		snprintf(name, sizeof name, "small-%u", i);
		n = make_file(f, f->root, name);
		open_file(f, n, O_RDWR);
		assert_int_equal(write_at(f, n, buf, sizeof buf, 0), sizeof buf);
		backend_release(f->be, n, O_RDWR);
		be_node_put(n);
	}
	report("create + write 4 KiB", SMALL_FILES, (double)SMALL_FILES * sizeof buf);
}

static void transfer(struct fixture *f, struct be_node *n, size_t piece, const char *what)
{
	const size_t total = 256u << 20;
	char *buf = malloc(piece);
	char text[32];

	memset(buf, 1, piece);
	for (int pass = 0; pass < 3; pass++) {
		start();
		for (size_t off = 0; off < total; off += piece)
			assert_int_equal(pass < 2 ? write_at(f, n, buf, piece, off) :
						    read_at(f, n, buf, piece, off),
					 piece);
		snprintf(text, sizeof text, "%s %s",
			 pass == 0 ? "write new" :
			 pass == 1 ? "write again" :
				     "read",
			 what);
		report(text, (unsigned)(total / piece), (double)total);
	}
	set_size(f, n, 0);
	free(buf);
}

static void large_transfers(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");

	open_file(f, n, O_RDWR);
	transfer(f, n, 4096, "4 KiB");
	transfer(f, n, 65536, "64 KiB");
	transfer(f, n, 1 << 20, "1 MiB");
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_hundred_thousand_names_in_one_directory,
						open_store, store_close),
		cmocka_unit_test_setup_teardown(small_calls, open_store, store_close),
		cmocka_unit_test_setup_teardown(small_files, open_store, store_close),
		cmocka_unit_test_setup_teardown(large_transfers, open_store, store_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
