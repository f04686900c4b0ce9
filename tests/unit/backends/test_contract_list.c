/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of backend.h, listing directories while they change. */
#include "tests/unit/backends/contract.h"

static void name_of(char name[16], unsigned i)
{
	snprintf(name, 16, "n%05u", i);
}

static void make_files(struct fixture *f, struct be_node *dir, unsigned first, unsigned end)
{
	char name[16];

	for (unsigned i = first; i < end; i++) {
		struct be_entry e;

		name_of(name, i);
		assert_int_equal(backend_mknod(f->be, &f->call, dir, name, S_IFREG | 0644, 0, &e),
				 0);
		be_node_put(e.node);
	}
}

static struct be_dir *open_dir(struct fixture *f, struct be_node *dir)
{
	struct be_dir *d;

	assert_int_equal(backend_opendir(f->be, &f->call, dir, &d), 0);
	return d;
}

static void empty_directory_lists_its_dots(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	struct listing l;

	list_all(f, dir, &l);
	assert_int_equal(l.count, 2);
	assert_int_equal(listing_count(&l, "."), 1);
	assert_int_equal(listing_count(&l, ".."), 1);
	listing_done(&l);
	be_node_put(dir);
}

struct dots {
	uint64_t self, parent;
};

static bool dots_emit(void *arg, const struct be_dirent *ent)
{
	struct dots *dots = arg;

	*(ent->name_len == 1 ? &dots->self : &dots->parent) = ent->ino;
	return true;
}

static void dots_carry_the_numbers_of_self_and_parent(void **state)
{
	struct fixture *f = *state;
	struct be_node *a = make_dir(f, f->root, "a"), *b = make_dir(f, a, "b");
	struct dots dots = { 0, 0 };
	struct be_dir *d = open_dir(f, b);

	assert_int_equal(backend_readdir(f->be, &f->call, d, 0, true, dots_emit, &dots), 0);
	assert_int_equal(dots.self, b->ino);
	assert_int_equal(dots.parent, a->ino);
	assert_int_equal(rename_name(f, a, "b", f->root, "b", 0), 0);
	assert_int_equal(backend_readdir(f->be, &f->call, d, 0, true, dots_emit, &dots), 0);
	assert_int_equal(dots.parent, f->root->ino);
	backend_closedir(f->be, d);
	be_node_put(a);
	be_node_put(b);
}

static void every_entry_comes_once_however_it_is_cut(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	unsigned seen[500] = { 0 };
	uint64_t cookie = 0;
	size_t n = 0, round = 0, got;
	struct be_dir *d;

	make_files(f, dir, 0, 500);
	d = open_dir(f, dir);
	for (;;) {
		struct listing l;

		list_from(f, d, cookie, round % 2, 1 + round % 17, &l);
		round++;
		for (size_t i = 0; i < l.count; i++)
			if (l.names[i][0] == 'n')
				seen[atoi(l.names[i] + 1)]++;
		n += l.count;
		cookie = l.last_cookie;
		got = l.count;
		listing_done(&l);
		if (!got)
			break;
	}
	assert_int_equal(n, 502);
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(seen[i], 1);
	backend_closedir(f->be, d);
	be_node_put(dir);
}

static void any_cookie_continues_at_its_place(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	struct listing all, tail;
	struct be_dir *d;

	make_files(f, dir, 0, 100);
	d = open_dir(f, dir);
	list_from(f, d, 0, false, 0, &all);
	assert_int_equal(all.count, 102);
	for (size_t i = all.count; i-- > 0; i -= i > 7 ? 7 : 0) {
		list_from(f, d, all.cookies[i], false, 0, &tail);
		assert_int_equal(tail.count, all.count - i - 1);
		for (size_t k = 0; k < tail.count; k++)
			assert_string_equal(tail.names[k], all.names[i + 1 + k]);
		listing_done(&tail);
	}
	listing_done(&all);
	backend_closedir(f->be, d);
	be_node_put(dir);
}

/* Every third is removed and as many made while a listing is under way. */
static void cookies_stay_valid_while_entries_come_and_go(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	unsigned seen[2000] = { 0 };
	struct listing l;
	struct be_dir *d;
	uint64_t cookie;
	char name[16];

	make_files(f, dir, 0, 1000);
	d = open_dir(f, dir);
	list_from(f, d, 0, false, 300, &l);
	for (size_t i = 0; i < l.count; i++)
		if (l.names[i][0] == 'n')
			seen[atoi(l.names[i] + 1)]++;
	cookie = l.last_cookie;
	listing_done(&l);
	for (unsigned i = 0; i < 1000; i += 3) {
		name_of(name, i);
		assert_int_equal(unlink_name(f, dir, name), 0);
	}
	make_files(f, dir, 1000, 2000);
	/* A stream opened anew knows nothing but the cookie. */
	backend_closedir(f->be, d);
	d = open_dir(f, dir);
	list_from(f, d, cookie, false, 0, &l);
	for (size_t i = 0; i < l.count; i++)
		if (l.names[i][0] == 'n')
			seen[atoi(l.names[i] + 1)]++;
	listing_done(&l);
	for (unsigned i = 0; i < 1000; i++)
		if (i % 3)
			assert_int_equal(seen[i], 1);
	for (unsigned i = 0; i < 2000; i++)
		assert_true(seen[i] <= 1);
	backend_closedir(f->be, d);
	be_node_put(dir);
}

static void rewinding_shows_what_is_new(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	struct be_dir *d = open_dir(f, dir);
	struct listing l;

	list_from(f, d, 0, false, 0, &l);
	assert_int_equal(l.count, 2);
	listing_done(&l);
	make_files(f, dir, 0, 3);
	list_from(f, d, 0, false, 0, &l);
	assert_int_equal(l.count, 5);
	listing_done(&l);
	backend_closedir(f->be, d);
	be_node_put(dir);
}

static void plus_brings_nodes_and_attributes(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d"), *n;
	struct be_entry e;
	struct be_dir *d;
	struct listing l;

	make_files(f, dir, 0, 50);
	n = make_dir(f, dir, "sub");
	assert_int_equal(backend_symlink(f->be, &f->call, dir, "link", "/nowhere", &e), 0);
	be_node_put(e.node);
	d = open_dir(f, dir);
	list_from(f, d, 0, true, 0, &l);
	assert_int_equal(l.count, 54);
	assert_true(l.plus_seen);
	listing_done(&l);
	backend_closedir(f->be, d);
	be_node_put(n);
	be_node_put(dir);
}

static void removed_directory_lists_nothing_more(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	struct be_dir *d = open_dir(f, dir);
	struct listing l;

	assert_int_equal(rmdir_name(f, f->root, "d"), 0);
	list_from(f, d, 0, false, 0, &l);
	assert_true(l.count <= 2);
	listing_done(&l);
	assert_int_equal(backend_fsyncdir(f->be, &f->call, f->root), 0);
	backend_closedir(f->be, d);
	be_node_put(dir);
}

static void emptying_while_listing_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct be_node *dir = make_dir(f, f->root, "d");
	uint64_t cookie = 0;
	struct be_dir *d;
	bool more = true;

	make_files(f, dir, 0, 700);
	d = open_dir(f, dir);
	while (more) { /* as rm -r does it */
		struct listing l;

		list_from(f, d, cookie, false, 64, &l);
		for (size_t i = 0; i < l.count; i++)
			if (l.names[i][0] == 'n')
				assert_int_equal(unlink_name(f, dir, l.names[i]), 0);
		cookie = l.last_cookie;
		more = l.count > 0;
		listing_done(&l);
	}
	backend_closedir(f->be, d);
	assert_int_equal(rmdir_name(f, f->root, "d"), 0);
	be_node_put(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT_TEST(empty_directory_lists_its_dots),
		CONTRACT_TEST(dots_carry_the_numbers_of_self_and_parent),
		CONTRACT_TEST(every_entry_comes_once_however_it_is_cut),
		CONTRACT_TEST(any_cookie_continues_at_its_place),
		CONTRACT_TEST(cookies_stay_valid_while_entries_come_and_go),
		CONTRACT_TEST(rewinding_shows_what_is_new),
		CONTRACT_TEST(plus_brings_nodes_and_attributes),
		CONTRACT_TEST(removed_directory_lists_nothing_more),
		CONTRACT_TEST(emptying_while_listing_leaves_nothing),
	};

	return contract_run("list", tests, ARRAY_LEN(tests));
}
