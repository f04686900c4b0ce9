/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of backend.h, names: every store keeps it, with layers or without. */
#include "tests/unit/backends/contract.h"

static void root_is_a_directory_and_always_the_same_node(void **state)
{
	struct fixture *f = *state;
	struct be_entry e;

	assert_true(S_ISDIR(f->root->type));
	assert_int_equal(backend_root(f->be, &e), 0);
	assert_ptr_equal(e.node, f->root);
	assert_int_equal(e.attr.ino, f->root->ino);
	be_node_put(e.node);
	assert_int_equal(lookup(f, f->root, "missing", &e), -ENOENT);
}

static void created_file_is_found_as_the_same_node(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "a");
	struct be_entry e;

	assert_true(S_ISREG(n->type));
	assert_int_equal(lookup(f, f->root, "a", &e), 0);
	assert_ptr_equal(e.node, n);
	assert_int_equal(e.attr.nlink, 1);
	assert_int_equal(e.attr.size, 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	be_node_put(e.node);
	be_node_put(n);
	assert_non_null(find(f, f->root, "a"));
}

static void hostile_names_are_refused_and_odd_ones_kept(void **state)
{
	static const char *const hostile[] = { "", ".", "..", "/", "a/b", "/etc", "../x", "a/" };
	static const char *const odd[] = { "...",    " ",    "\n",           "-rf", "\xff\xfe",
					   "%2e%2e", "a\\b", "\xe2\x82\xac", "~",   "..a" };
	struct fixture *f = *state;
	struct be_entry e;
	char name[258];

	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		assert_int_equal(lookup(f, f->root, hostile[i], &e), -EINVAL);
		assert_int_equal(backend_mkdir(f->be, &f->call, f->root, hostile[i], 0755, &e),
				 -EINVAL);
		assert_int_equal(unlink_name(f, f->root, hostile[i]), -EINVAL);
		assert_int_equal(rename_name(f, f->root, "x", f->root, hostile[i], 0), -EINVAL);
	}
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		be_node_put(make_file(f, f->root, odd[i]));
		assert_non_null(find(f, f->root, odd[i]));
	}
	memset(name, 'x', sizeof name);
	name[255] = '\0';
	be_node_put(make_file(f, f->root, name));
	name[255] = 'x';
	name[256] = '\0';
	assert_int_equal(lookup(f, f->root, name, &e), -ENAMETOOLONG);
}

static void create_opens_what_exists_unless_excl(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "a");
	struct be_entry e;

	assert_int_equal(backend_create(f->be, &f->call, f->root, "a", 0600, O_RDWR | O_EXCL, &e),
			 -EEXIST);
	assert_int_equal(backend_create(f->be, &f->call, f->root, "a", 0600, O_RDWR, &e), 0);
	assert_ptr_equal(e.node, n);
	assert_int_equal(e.attr.mode & 0777, 0644);
	backend_release(f->be, e.node, O_RDWR);
	be_node_put(e.node);
	be_node_put(n);
	be_node_put(make_dir(f, f->root, "d"));
	assert_int_equal(backend_create(f->be, &f->call, f->root, "d", 0600, O_RDWR, &e), -EISDIR);
}

static void directories_count_their_links(void **state)
{
	struct fixture *f = *state;
	struct be_node *d = make_dir(f, f->root, "d"), *sub;
	struct be_removed r;

	assert_int_equal(attr_of(f, d).nlink, 2);
	sub = make_dir(f, d, "sub");
	assert_int_equal(attr_of(f, d).nlink, 3);
	assert_int_equal(rmdir_name(f, f->root, "d"), -ENOTEMPTY);
	assert_int_equal(unlink_name(f, d, "sub"), -EISDIR);
	assert_int_equal(backend_rmdir(f->be, &f->call, d, "sub", &r), 0);
	assert_ptr_equal(r.node, sub);
	assert_true(r.gone);
	be_node_put(r.node);
	assert_int_equal(attr_of(f, d).nlink, 2);
	assert_int_equal(rmdir_name(f, d, "sub"), -ENOENT);
	be_node_put(make_file(f, d, "file"));
	assert_int_equal(rmdir_name(f, d, "file"), -ENOTDIR);
	assert_int_equal(rmdir_name(f, f->root, "d"), -ENOTEMPTY);
	assert_int_equal(unlink_name(f, d, "file"), 0);
	assert_int_equal(rmdir_name(f, f->root, "d"), 0);
	be_node_put(sub);
	be_node_put(d);
}

static void removed_directory_takes_nothing(void **state)
{
	struct fixture *f = *state;
	struct be_node *d = make_dir(f, f->root, "d"), *n = make_file(f, f->root, "n");
	struct be_entry e;

	assert_int_equal(rmdir_name(f, f->root, "d"), 0);
	assert_int_equal(backend_create(f->be, &f->call, d, "x", 0600, O_RDWR, &e), -ENOENT);
	assert_int_equal(backend_mkdir(f->be, &f->call, d, "x", 0700, &e), -ENOENT);
	assert_int_equal(backend_symlink(f->be, &f->call, d, "x", "t", &e), -ENOENT);
	assert_int_equal(backend_link(f->be, &f->call, n, d, "x", &e), -ENOENT);
	assert_int_equal(rename_name(f, f->root, "n", d, "x", 0), -ENOENT);
	assert_int_equal(lookup(f, d, "x", &e), -ENOENT);
	assert_non_null(find(f, f->root, "n"));
	be_node_put(n);
	be_node_put(d);
}

static void operations_in_a_file_say_enotdir(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");
	struct be_entry e;
	struct be_dir *d;

	assert_int_equal(lookup(f, n, "x", &e), -ENOTDIR);
	assert_int_equal(backend_mkdir(f->be, &f->call, n, "x", 0755, &e), -ENOTDIR);
	assert_int_equal(backend_opendir(f->be, &f->call, n, &d), -ENOTDIR);
	assert_int_equal(unlink_name(f, n, "x"), -ENOTDIR);
	assert_int_equal(backend_open_node(f->be, &f->call, f->root, O_RDONLY), -EISDIR);
	be_node_put(n);
}

static void hard_links_share_one_node(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "a"), *d = make_dir(f, f->root, "d");
	struct be_removed r;
	struct be_entry e;

	assert_int_equal(backend_link(f->be, &f->call, n, d, "b", &e), 0);
	assert_ptr_equal(e.node, n);
	assert_int_equal(e.attr.nlink, 2);
	be_node_put(e.node);
	assert_int_equal(backend_link(f->be, &f->call, n, f->root, "a", &e), -EEXIST);
	assert_int_equal(backend_link(f->be, &f->call, d, f->root, "d2", &e), -EPERM);
	assert_int_equal(attr_of(f, n).nlink, 2);
	assert_int_equal(backend_unlink(f->be, &f->call, f->root, "a", &r), 0);
	assert_ptr_equal(r.node, n);
	assert_false(r.gone);
	be_node_put(r.node);
	assert_int_equal(attr_of(f, n).nlink, 1);
	assert_int_equal(backend_unlink(f->be, &f->call, d, "b", &r), 0);
	assert_ptr_equal(r.node, n);
	assert_true(r.gone);
	be_node_put(r.node);
	assert_int_equal(backend_link(f->be, &f->call, n, f->root, "back", &e), -ENOENT);
	be_node_put(n);
	be_node_put(d);
}

static void symlinks_keep_their_target(void **state)
{
	struct fixture *f = *state;
	struct be_entry e;
	char target[4096], buf[4096];

	assert_int_equal(backend_symlink(f->be, &f->call, f->root, "l", "../../etc/passwd", &e), 0);
	assert_true(S_ISLNK(e.node->type));
	assert_int_equal(e.attr.size, 16);
	assert_int_equal(backend_readlink(f->be, &f->call, e.node, buf, sizeof buf), 16);
	assert_memory_equal(buf, "../../etc/passwd", 16);
	assert_int_equal(backend_readlink(f->be, &f->call, e.node, buf, 5), 5);
	assert_int_equal(lookup(f, e.node, "x", &e), -ENOTDIR);
	be_node_put(e.node);
	memset(target, 'a', sizeof target);
	target[sizeof target - 1] = '\0';
	assert_int_equal(backend_symlink(f->be, &f->call, f->root, "m", target, &e), 0);
	assert_int_equal(backend_readlink(f->be, &f->call, e.node, buf, sizeof buf), 4095);
	be_node_put(e.node);
	assert_int_equal(backend_symlink(f->be, &f->call, f->root, "n", "", &e), -ENOENT);
	assert_int_equal(backend_readlink(f->be, &f->call, f->root, buf, sizeof buf), -EINVAL);
}

static void special_files_keep_type_and_number(void **state)
{
	static const mode_t types[] = { S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR, S_IFBLK };
	struct fixture *f = *state;
	size_t n = geteuid() == 0 ? ARRAY_LEN(types) : 3;

	for (size_t i = 0; i < n; i++) {
		struct be_entry e, again;
		char name[8];

		snprintf(name, sizeof name, "n%zu", i);
		assert_int_equal(backend_mknod(f->be, &f->call, f->root, name, types[i] | 0640,
					       0x0105, &e),
				 0);
		assert_int_equal(e.attr.mode, types[i] | 0640);
		assert_int_equal(e.attr.rdev, i > 2 ? 0x0105 : 0);
		assert_int_equal(lookup(f, f->root, name, &again), 0);
		assert_ptr_equal(e.node, again.node);
		assert_int_equal(e.node->type, types[i]);
		if (types[i] != S_IFREG)
			assert_int_equal(backend_open_node(f->be, &f->call, e.node, O_RDONLY),
					 -EINVAL);
		be_node_put(again.node);
		be_node_put(e.node);
	}
}

static void setgid_directory_hands_its_group_down(void **state)
{
	struct fixture *f = *state;
	struct be_setattr set = { .valid = BE_SET_MODE | BE_SET_GID, .mode = 02775, .gid = 4711 };
	struct be_node *d, *n;
	struct be_attr attr;

	need_root();
	d = make_dir(f, f->root, "d");
	assert_int_equal(backend_setattr(f->be, &f->call, d, &set, &attr), 0);
	assert_int_equal(attr.mode & 07777, 02775);
	n = make_file(f, d, "file");
	assert_int_equal(attr_of(f, n).gid, 4711);
	be_node_put(n);
	n = make_dir(f, d, "sub");
	assert_int_equal(attr_of(f, n).gid, 4711);
	assert_true(attr_of(f, n).mode & S_ISGID);
	be_node_put(n);
	n = make_file(f, f->root, "outside");
	assert_int_equal(attr_of(f, n).gid, getegid());
	be_node_put(n);
	be_node_put(d);
}

static void new_objects_belong_to_the_caller(void **state)
{
	struct fixture *f = *state;
	struct be_setattr open_up = { .valid = BE_SET_MODE, .mode = 01777 };
	struct be_cred *cred;
	struct be_call call;
	struct be_attr attr;
	struct be_entry e;

	need_root();
	cred = be_cred_new(1234, 2345, 0, NULL);
	call = (struct be_call){ .cred = cred };
	assert_int_equal(backend_setattr(f->be, &f->call, f->root, &open_up, &attr), 0);
	assert_int_equal(backend_mkdir(f->be, &call, f->root, "d", 0700, &e), 0);
	assert_int_equal(e.attr.uid, 1234);
	assert_int_equal(e.attr.gid, 2345);
	be_node_put(e.node);
	assert_int_equal(backend_symlink(f->be, &call, f->root, "l", "t", &e), 0);
	assert_int_equal(e.attr.uid, 1234);
	be_node_put(e.node);
	assert_int_equal(backend_create(f->be, &call, f->root, "f", 0600, O_RDWR, &e), 0);
	assert_int_equal(e.attr.uid, 1234);
	backend_release(f->be, e.node, O_RDWR);
	be_node_put(e.node);
	be_cred_put(cred);
	be_node_put(make_file(f, f->root, "mine"));
}

/* ---- rename ----------------------------------------------------------- */

static void rename_moves_and_replaces(void **state)
{
	struct fixture *f = *state;
	struct be_node *a = make_file(f, f->root, "a"), *b = make_file(f, f->root, "b");
	struct be_node *d = make_dir(f, f->root, "d");
	struct be_removed r;

	assert_int_equal(backend_rename(f->be, &f->call, f->root, "a", d, "x", 0, &r), 0);
	assert_null(r.node);
	assert_ptr_equal(find(f, d, "x"), a);
	assert_null(find(f, f->root, "a"));
	assert_int_equal(backend_rename(f->be, &f->call, f->root, "b", d, "x", 0, &r), 0);
	assert_ptr_equal(r.node, a);
	assert_true(r.gone);
	be_node_put(r.node);
	assert_ptr_equal(find(f, d, "x"), b);
	assert_int_equal(rename_name(f, f->root, "b", d, "y", 0), -ENOENT);
	assert_int_equal(rename_name(f, d, "x", d, "x", 0), 0);
	assert_int_equal(rename_name(f, d, "x", d, "z", 0), 0);
	assert_ptr_equal(find(f, d, "z"), b);
	assert_null(find(f, d, "x"));
	be_node_put(a);
	be_node_put(b);
	be_node_put(d);
}

static void rename_of_directories_keeps_links_and_refuses_loops(void **state)
{
	struct fixture *f = *state;
	struct be_node *a = make_dir(f, f->root, "a"), *b = make_dir(f, f->root, "b");
	struct be_node *sub = make_dir(f, a, "sub"), *deep = make_dir(f, sub, "deep");
	struct be_node *n = make_file(f, f->root, "n");

	assert_int_equal(rename_name(f, f->root, "a", a, "x", 0), -EINVAL);
	assert_int_equal(rename_name(f, f->root, "a", deep, "x", 0), -EINVAL);
	assert_int_equal(rename_name(f, a, "sub", f->root, "n", 0), -ENOTDIR);
	assert_int_equal(rename_name(f, f->root, "n", f->root, "b", 0), -EISDIR);
	assert_int_equal(rename_name(f, f->root, "b", f->root, "a", 0), -ENOTEMPTY);
	assert_int_equal(rename_name(f, sub, "deep", f->root, "a", 0), -ENOTEMPTY);
	assert_int_equal(rename_name(f, a, "sub", f->root, "b", 0), 0);
	assert_ptr_equal(find(f, f->root, "b"), sub);
	assert_int_equal(attr_of(f, a).nlink, 2);
	assert_int_equal(attr_of(f, sub).nlink, 3);
	assert_int_equal(rename_name(f, f->root, "b", a, "again", 0), 0);
	assert_int_equal(attr_of(f, a).nlink, 3);
	assert_int_equal(rename_name(f, f->root, "a", deep, "x", 0), -EINVAL);
	be_node_put(a);
	be_node_put(b);
	be_node_put(sub);
	be_node_put(deep);
	be_node_put(n);
}

static void rename_flags_are_honoured(void **state)
{
	struct fixture *f = *state;
	struct be_node *a = make_file(f, f->root, "a"), *d = make_dir(f, f->root, "d");
	struct be_node *sub = make_dir(f, d, "sub");

	assert_int_equal(rename_name(f, f->root, "a", d, "sub", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename_name(f, f->root, "a", d, "b", RENAME_NOREPLACE), 0);
	assert_int_equal(rename_name(f, d, "b", f->root, "missing", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(rename_name(f, d, "b", f->root, "a", 0), 0);
	assert_int_equal(rename_name(f, f->root, "a", d, "sub", RENAME_EXCHANGE), 0);
	assert_ptr_equal(find(f, f->root, "a"), sub);
	assert_ptr_equal(find(f, d, "sub"), a);
	assert_int_equal(attr_of(f, d).nlink, 2);
	assert_int_equal(rename_name(f, f->root, "d", f->root, "a", RENAME_EXCHANGE), 0);
	assert_ptr_equal(find(f, f->root, "a"), d);
	assert_int_equal(rename_name(f, f->root, "a", d, "sub", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(rename_name(f, f->root, "a", d, "sub", RENAME_WHITEOUT), -EINVAL);
	assert_int_equal(rename_name(f, f->root, "a", d, "sub", 8), -EINVAL);
	be_node_put(a);
	be_node_put(d);
	be_node_put(sub);
}

static void rename_onto_another_name_of_the_same_file_does_nothing(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "a");
	struct be_removed r;
	struct be_entry e;

	assert_int_equal(backend_link(f->be, &f->call, n, f->root, "b", &e), 0);
	be_node_put(e.node);
	assert_int_equal(backend_rename(f->be, &f->call, f->root, "a", f->root, "b", 0, &r), 0);
	assert_null(r.node);
	assert_ptr_equal(find(f, f->root, "a"), n);
	assert_ptr_equal(find(f, f->root, "b"), n);
	assert_int_equal(attr_of(f, n).nlink, 2);
	be_node_put(n);
}

static void tmpfile_gets_a_name_by_link(void **state)
{
	struct fixture *f = *state;
	struct be_entry e, linked;
	char buf[4];

	assert_int_equal(backend_tmpfile(f->be, &f->call, f->root, 0600, O_RDWR, &e), 0);
	assert_int_equal(e.attr.nlink, 0);
	assert_int_equal(write_at(f, e.node, "tmp!", 4, 0), 4);
	assert_int_equal(backend_link(f->be, &f->call, e.node, f->root, "kept", &linked), 0);
	assert_ptr_equal(linked.node, e.node);
	assert_int_equal(linked.attr.nlink, 1);
	backend_release(f->be, e.node, O_RDWR);
	be_node_put(linked.node);
	be_node_put(e.node);
	assert_int_equal(lookup(f, f->root, "kept", &e), 0);
	open_file(f, e.node, O_RDONLY);
	assert_int_equal(read_at(f, e.node, buf, 4, 0), 4);
	assert_memory_equal(buf, "tmp!", 4);
	backend_release(f->be, e.node, O_RDONLY);
	be_node_put(e.node);
	/* Never linked: it just goes. */
	assert_int_equal(backend_tmpfile(f->be, &f->call, f->root, 0600, O_RDWR, &e), 0);
	backend_release(f->be, e.node, O_RDWR);
	be_node_put(e.node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT_TEST(root_is_a_directory_and_always_the_same_node),
		CONTRACT_TEST(created_file_is_found_as_the_same_node),
		CONTRACT_TEST(hostile_names_are_refused_and_odd_ones_kept),
		CONTRACT_TEST(create_opens_what_exists_unless_excl),
		CONTRACT_TEST(directories_count_their_links),
		CONTRACT_TEST(removed_directory_takes_nothing),
		CONTRACT_TEST(operations_in_a_file_say_enotdir),
		CONTRACT_TEST(hard_links_share_one_node),
		CONTRACT_TEST(symlinks_keep_their_target),
		CONTRACT_TEST(special_files_keep_type_and_number),
		CONTRACT_TEST(setgid_directory_hands_its_group_down),
		CONTRACT_TEST(new_objects_belong_to_the_caller),
		CONTRACT_TEST(rename_moves_and_replaces),
		CONTRACT_TEST(rename_of_directories_keeps_links_and_refuses_loops),
		CONTRACT_TEST(rename_flags_are_honoured),
		CONTRACT_TEST(rename_onto_another_name_of_the_same_file_does_nothing),
		CONTRACT_TEST(tmpfile_gets_a_name_by_link),
	};

	return contract_run("names", tests, ARRAY_LEN(tests));
}
