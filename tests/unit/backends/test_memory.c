/* SPDX-License-Identifier: Apache-2.0 */
/* What the memory backend promises beyond the contract: its limits. */
#include <linux/falloc.h>

#include "tests/unit/backends/contract.h"

static struct store store = { .name = "memory", .layers = "" };

static struct fixture *open_uri(const char *uri)
{
	void *state;

	store.uri = uri;
	store_now = &store;
	store_open(&state);
	return state;
}

static void close_store(struct fixture *f)
{
	void *state = f;

	store_close(&state);
}

static uint64_t bytes_free(struct fixture *f)
{
	struct statvfs s;

	assert_int_equal(backend_statfs(f->be, &f->call, f->root, &s), 0);
	return (uint64_t)s.f_bfree * s.f_frsize;
}

static void size_limits_what_can_be_written(void **state)
{
	struct fixture *f = open_uri("memory:?size=1m");
	struct be_node *n = make_file(f, f->root, "n");
	char *buf = calloc(1, 2 << 20);

	(void)state;
	open_file(f, n, O_RDWR);
	assert_int_equal(bytes_free(f), 1 << 20);
	assert_int_equal(write_at(f, n, buf, 2 << 20, 0), -ENOSPC);
	assert_int_equal(attr_of(f, n).size, 0);
	assert_int_equal(bytes_free(f), 1 << 20);
	assert_int_equal(write_at(f, n, buf, 1 << 20, 0), 1 << 20);
	assert_int_equal(bytes_free(f), 0);
	assert_int_equal(write_at(f, n, buf, 1 << 20, 0), 1 << 20); /* needs nothing new */
	assert_int_equal(write_at(f, n, buf, 1, 1 << 20), -ENOSPC);
	assert_int_equal(backend_fallocate(f->be, &f->call, n, 0, 0, 2 << 20), -ENOSPC);
	assert_int_equal(backend_fallocate(f->be, &f->call, n,
					   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536),
			 0);
	assert_int_equal(write_at(f, n, buf, 65536, 1 << 20), 65536);
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
	assert_int_equal(unlink_name(f, f->root, "n"), 0);
	assert_int_equal(bytes_free(f), 1 << 20);
	free(buf);
	close_store(f);
}

static void small_files_take_small_blocks(void **state)
{
	struct fixture *f = open_uri("memory:?size=4m");
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct be_node *n;

		snprintf(name, sizeof name, "n%u", i);
		n = make_file(f, f->root, name);
		open_file(f, n, O_RDWR);
		assert_int_equal(write_at(f, n, name, sizeof name, 0), sizeof name);
		backend_release(f->be, n, O_RDWR);
		be_node_put(n);
	}
	close_store(f);
}

static void growing_files_keep_their_bytes(void **state)
{
	struct fixture *f = open_uri("memory:?size=4m");
	struct be_node *n = make_file(f, f->root, "n");
	char in[512], out[512];

	(void)state;
	open_file(f, n, O_RDWR);
	for (unsigned i = 0; i < 400; i++) { /* through all sizes of blocks */
		memset(out, (int)(i % 250 + 1), sizeof out);
		assert_int_equal(write_at(f, n, out, sizeof out, i * sizeof out), sizeof out);
	}
	for (unsigned i = 0; i < 400; i++) {
		memset(out, (int)(i % 250 + 1), sizeof out);
		assert_int_equal(read_at(f, n, in, sizeof in, i * sizeof in), sizeof in);
		assert_memory_equal(in, out, sizeof in);
	}
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
	close_store(f);
}

static void inodes_limit_what_can_be_made(void **state)
{
	struct fixture *f = open_uri("memory:?inodes=3"); /* one is the root's */
	struct be_entry e;

	(void)state;
	be_node_put(make_file(f, f->root, "a"));
	be_node_put(make_dir(f, f->root, "b"));
	assert_int_equal(backend_mkdir(f->be, &f->call, f->root, "c", 0755, &e), -ENOSPC);
	assert_int_equal(backend_create(f->be, &f->call, f->root, "c", 0644, O_RDWR, &e), -ENOSPC);
	assert_int_equal(unlink_name(f, f->root, "a"), 0);
	be_node_put(make_file(f, f->root, "c"));
	close_store(f);
}

static void names_of_one_file_are_limited(void **state)
{
	struct fixture *f = open_uri("memory:");
	struct be_node *n = make_file(f, f->root, "n");
	struct be_entry e;
	char name[16];
	int rc = 0;

	(void)state;
	for (unsigned i = 1; i < 70000 && !rc; i++) {
		snprintf(name, sizeof name, "l%u", i);
		rc = backend_link(f->be, &f->call, n, f->root, name, &e);
		if (!rc)
			be_node_put(e.node);
	}
	assert_int_equal(rc, -EMLINK);
	assert_int_equal(attr_of(f, n).nlink, 65000);
	be_node_put(n);
	close_store(f);
}

static void xattrs_of_one_node_are_limited(void **state)
{
	struct fixture *f = open_uri("memory:");
	char *big = calloc(1, 65536);

	(void)state;
	assert_int_equal(backend_setxattr(f->be, &f->call, f->root, "user.a", big, 65536, 0), 0);
	assert_int_equal(backend_setxattr(f->be, &f->call, f->root, "user.b", big, 65536, 0),
			 -ENOSPC);
	assert_int_equal(backend_setxattr(f->be, &f->call, f->root, "user.a", big, 65000, 0), 0);
	free(big);
	close_store(f);
}

static void offsets_reach_to_the_largest_file(void **state)
{
	struct fixture *f = open_uri("memory:?size=16m");
	struct be_node *n = make_file(f, f->root, "n");
	uint64_t max = f->be->limits.file_max, at;
	char c = 'x';

	(void)state;
	open_file(f, n, O_RDWR);
	assert_int_equal(write_at(f, n, &c, 1, max - 1), 1);
	assert_int_equal(attr_of(f, n).size, max);
	assert_int_equal(write_at(f, n, &c, 1, max), -EFBIG);
	assert_int_equal(backend_seek(f->be, &f->call, n, 0, SEEK_DATA, &at), 0);
	assert_true(at <= max - 1 && at >= max - 4096);
	c = 0;
	assert_int_equal(read_at(f, n, &c, 1, max - 1), 1);
	assert_int_equal(c, 'x');
	set_size(f, n, 1);
	assert_int_equal(backend_seek(f->be, &f->call, n, 0, SEEK_DATA, &at), -ENXIO);
	assert_int_equal(attr_of(f, n).blocks, 0);
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
	close_store(f);
}

static void deep_trees_are_freed(void **state)
{
	struct fixture *f = open_uri("memory:");
	struct be_node *dir = be_node_get(f->root);

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct be_node *sub = make_dir(f, dir, "d");

		be_node_put(dir);
		dir = sub;
	}
	be_node_put(dir);
	close_store(f);
}

static void wrong_uris_are_refused_with_a_sentence(void **state)
{
	static const char *const wrong[] = { "memory:?size=1",   "memory:?size=x",
					     "memory:?size=1q",  "memory:?size=99999t",
					     "memory:?size=-1g", "memory:?inodes=0",
					     "memory:?other=1",  "memory://host/",
					     "memory:/path",     "memory:?size=" };
	struct backend *be;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		err.text[0] = '\0';
		assert_int_equal(backend_open(wrong[i], NULL, NULL, &be, &err), -EINVAL);
		assert_true(strlen(err.text) > 10);
	}
	assert_int_equal(backend_open("memory:?size=64k", NULL, NULL, &be, &err), 0);
	backend_close(be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_limits_what_can_be_written),
		cmocka_unit_test(small_files_take_small_blocks),
		cmocka_unit_test(growing_files_keep_their_bytes),
		cmocka_unit_test(inodes_limit_what_can_be_made),
		cmocka_unit_test(names_of_one_file_are_limited),
		cmocka_unit_test(xattrs_of_one_node_are_limited),
		cmocka_unit_test(offsets_reach_to_the_largest_file),
		cmocka_unit_test(deep_trees_are_freed),
		cmocka_unit_test(wrong_uris_are_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
