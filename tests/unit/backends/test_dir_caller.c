/* SPDX-License-Identifier: Apache-2.0 */
/* The dir backend acts as the caller: the file system's own rules hold. */
#include <pthread.h>

#include "tests/unit/backends/contract.h"

#define ALICE 1234
#define BOB 2345
#define TEAM 3456

static struct store store = { .name = "dir", .uri = "dir:", .layers = "", .folder = true };

struct people {
	struct fixture *f;
	struct be_cred *alice, *bob, *teamed; /* teamed: bob with a supplementary group */
	struct be_call as_alice, as_bob, as_teamed;
};

static struct people *people_of(void **state)
{
	return *state;
}

static int open_store(void **state)
{
	struct people *p = calloc(1, sizeof *p);
	const gid_t team = TEAM;
	void *inner;

	store_now = &store;
	store_open(&inner);
	p->f = inner;
	p->alice = be_cred_new(ALICE, ALICE, 0, NULL);
	p->bob = be_cred_new(BOB, BOB, 0, NULL);
	p->teamed = be_cred_new(BOB, BOB, 1, &team);
	p->as_alice.cred = p->alice;
	p->as_bob.cred = p->bob;
	p->as_teamed.cred = p->teamed;
	*state = p;
	return 0;
}

static int close_store(void **state)
{
	struct people *p = *state;
	void *inner = p->f;

	store_close(&inner);
	be_cred_put(p->alice);
	be_cred_put(p->bob);
	be_cred_put(p->teamed);
	free(p);
	return 0;
}

static int set_mode(struct people *p, const struct be_call *call, struct be_node *n, mode_t mode)
{
	struct be_setattr set = { .valid = BE_SET_MODE, .mode = mode };
	struct be_attr attr;

	return backend_setattr(p->f->be, call, n, &set, &attr);
}

static int set_owner(struct people *p, const struct be_call *call, struct be_node *n, uid_t uid,
		     gid_t gid)
{
	struct be_setattr set = { .valid = BE_SET_UID | BE_SET_GID, .uid = uid, .gid = gid };
	struct be_attr attr;

	return backend_setattr(p->f->be, call, n, &set, &attr);
}

/* A file of alice's with the mode. */
static struct be_node *alices(struct people *p, const char *name, mode_t mode)
{
	struct be_node *n = make_file(p->f, p->f->root, name);

	assert_int_equal(set_owner(p, &p->f->call, n, ALICE, ALICE), 0);
	assert_int_equal(set_mode(p, &p->f->call, n, mode), 0);
	return n;
}

static int try_open(struct people *p, const struct be_call *call, struct be_node *n, int oflags)
{
	int rc = backend_open_node(p->f->be, call, n, oflags);

	if (!rc)
		backend_release(p->f->be, n, oflags);
	return rc;
}

static void open_asks_the_file_for_permission(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0640);
	struct backend *be = p->f->be;

	assert_true(be->limits.caps & BE_CAP_CRED);
	for (int open_already = 0; open_already < 2; open_already++) {
		assert_int_equal(try_open(p, &p->as_alice, n, O_RDWR), 0);
		assert_int_equal(try_open(p, &p->as_bob, n, O_RDONLY), -EACCES);
		assert_int_equal(try_open(p, &p->as_bob, n, O_WRONLY), -EACCES);
		assert_int_equal(try_open(p, &p->f->call, n, O_RDWR), 0);
		assert_int_equal(backend_access(be, &p->as_bob, n, R_OK), -EACCES);
		assert_int_equal(backend_access(be, &p->as_alice, n, R_OK | W_OK), 0);
		assert_int_equal(backend_access(be, &p->as_alice, n, X_OK), -EACCES);
		if (!open_already)
			open_file(p->f, n, O_RDWR);
	}
	backend_release(be, n, O_RDWR);
	be_node_put(n);
}

static void supplementary_groups_count(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0640);

	assert_int_equal(set_owner(p, &p->f->call, n, ALICE, TEAM), 0);
	assert_int_equal(try_open(p, &p->as_bob, n, O_RDONLY), -EACCES);
	assert_int_equal(try_open(p, &p->as_teamed, n, O_RDONLY), 0);
	assert_int_equal(try_open(p, &p->as_teamed, n, O_WRONLY), -EACCES);
	be_node_put(n);
}

static void directories_ask_for_permission(void **state)
{
	struct people *p = people_of(state);
	struct fixture *f = p->f;
	struct be_node *d = make_dir(f, f->root, "d");
	struct be_entry e;
	struct be_dir *s;

	be_node_put(make_file(f, d, "x"));
	assert_int_equal(set_mode(p, &f->call, d, 0755), 0);
	assert_int_equal(backend_create(f->be, &p->as_bob, d, "y", 0644, O_RDWR, &e), -EACCES);
	assert_int_equal(backend_mkdir(f->be, &p->as_bob, d, "y", 0755, &e), -EACCES);
	assert_int_equal(backend_unlink(f->be, &p->as_bob, d, "x", &(struct be_removed){ 0 }),
			 -EACCES);
	assert_int_equal(backend_lookup(f->be, &p->as_bob, d, "x", &e), 0);
	be_node_put(e.node);
	assert_int_equal(set_mode(p, &f->call, d, 0700), 0);
	assert_int_equal(backend_lookup(f->be, &p->as_bob, d, "x", &e), -EACCES);
	assert_int_equal(backend_opendir(f->be, &p->as_bob, d, &s), -EACCES);
	assert_int_equal(backend_opendir(f->be, &f->call, d, &s), 0);
	backend_closedir(f->be, s);
	be_node_put(d);
}

static void sticky_directories_protect_others_files(void **state)
{
	struct people *p = people_of(state);
	struct fixture *f = p->f;
	struct be_removed r = { .node = NULL };
	struct be_entry e;

	assert_int_equal(set_mode(p, &f->call, f->root, 01777), 0);
	assert_int_equal(backend_create(f->be, &p->as_alice, f->root, "a", 0666, O_RDWR, &e), 0);
	backend_release(f->be, e.node, O_RDWR);
	assert_int_equal(e.attr.uid, ALICE);
	assert_int_equal(backend_unlink(f->be, &p->as_bob, f->root, "a", &r), -EPERM);
	assert_int_equal(backend_rename(f->be, &p->as_bob, f->root, "a", f->root, "b", 0, &r),
			 -EPERM);
	assert_int_equal(backend_unlink(f->be, &p->as_alice, f->root, "a", &r), 0);
	be_node_put(r.node);
	be_node_put(e.node);
}

static void only_owners_change_modes_and_owners(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0666);
	struct be_setattr set = { .valid = BE_SET_MTIME, .mtime = { .tv_sec = 5 } };
	struct be_attr a;

	assert_int_equal(set_mode(p, &p->as_bob, n, 0777), -EPERM);
	assert_int_equal(set_mode(p, &p->as_alice, n, 0622), 0);
	assert_int_equal(set_owner(p, &p->as_alice, n, BOB, ALICE), -EPERM);
	assert_int_equal(set_owner(p, &p->as_bob, n, BOB, BOB), -EPERM);
	assert_int_equal(backend_setattr(p->f->be, &p->as_bob, n, &set, &a), -EPERM);
	assert_int_equal(backend_setattr(p->f->be, &p->as_alice, n, &set, &a), 0);
	set.valid = BE_SET_MTIME_NOW | BE_SET_ATIME_NOW; /* a right of all who may write */
	assert_int_equal(backend_setattr(p->f->be, &p->as_bob, n, &set, &a), 0);
	set = (struct be_setattr){ .valid = BE_SET_SIZE, .size = 3 };
	assert_int_equal(backend_setattr(p->f->be, &p->as_bob, n, &set, &a), 0);
	assert_int_equal(set_mode(p, &p->as_alice, n, 0600), 0);
	assert_int_equal(backend_setattr(p->f->be, &p->as_bob, n, &set, &a), -EACCES);
	be_node_put(n);
}

static void suid_goes_when_another_writes(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 04777);
	struct iovec iov = { .iov_base = (void *)(uintptr_t) "x", .iov_len = 1 };
	struct be_io io = { .node = n,
			    .cred = p->bob,
			    .iov = &iov,
			    .niov = 1,
			    .len = 1,
			    .background = true,
			    .mtime = { .tv_sec = 1000 } };

	assert_int_equal(backend_open_node(p->f->be, &p->as_bob, n, O_WRONLY), 0);
	assert_int_equal(backend_write_wait(p->f->be, &io), 1);
	assert_int_equal(attr_of(p->f, n).mode & 07777, 0777);
	assert_int_equal(attr_of(p->f, n).mtime.tv_sec, 1000); /* though bob is not the owner */
	backend_release(p->f->be, n, O_WRONLY);
	be_node_put(n);
}

static void write_only_and_execute_only_files_open(void **state)
{
	struct people *p = people_of(state);
	struct be_node *w = alices(p, "w", 0200), *x = alices(p, "x", 0111);
	const int exec_flag = 0x20;
	char c;

	assert_int_equal(backend_open_node(p->f->be, &p->as_alice, w, O_WRONLY), 0);
	assert_int_equal(write_at(p->f, w, "w", 1, 0), 1);
	assert_int_equal(read_at(p->f, w, &c, 1, 0), 1); /* the cache must be able to */
	backend_release(p->f->be, w, O_WRONLY);
	assert_int_equal(try_open(p, &p->as_alice, w, O_RDONLY), -EACCES);
	assert_int_equal(try_open(p, &p->as_bob, x, O_RDONLY), -EACCES);
	assert_int_equal(try_open(p, &p->as_bob, x, O_RDONLY | exec_flag), 0);
	assert_int_equal(try_open(p, &p->as_bob, w, O_RDONLY | exec_flag), -EACCES);
	be_node_put(w);
	be_node_put(x);
}

static void creator_may_truncate_his_read_only_file_while_open(void **state)
{
	struct people *p = people_of(state);
	struct be_setattr set = { .valid = BE_SET_SIZE | BE_SET_OPENED, .size = 10 };
	struct be_attr a;
	struct be_entry e;

	assert_int_equal(set_mode(p, &p->f->call, p->f->root, 0777), 0);
	assert_int_equal(backend_create(p->f->be, &p->as_alice, p->f->root, "n", 0444, O_RDWR, &e),
			 0);
	assert_int_equal(backend_setattr(p->f->be, &p->as_alice, e.node, &set, &a), 0);
	assert_int_equal(a.size, 10);
	set.valid = BE_SET_SIZE; /* by name, as anybody */
	assert_int_equal(backend_setattr(p->f->be, &p->as_alice, e.node, &set, &a), -EACCES);
	backend_release(p->f->be, e.node, O_RDWR);
	set.valid = BE_SET_SIZE | BE_SET_OPENED; /* nobody has it open */
	assert_int_equal(backend_setattr(p->f->be, &p->as_alice, e.node, &set, &a), -EACCES);
	be_node_put(e.node);
}

static void xattrs_ask_for_permission(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0600);
	struct backend *be = p->f->be;
	char buf[8];

	assert_int_equal(backend_setxattr(be, &p->as_alice, n, "user.a", "1", 1, 0), 0);
	assert_int_equal(backend_getxattr(be, &p->as_bob, n, "user.a", buf, 8), -EACCES);
	assert_int_equal(backend_setxattr(be, &p->as_bob, n, "user.a", "2", 1, 0), -EACCES);
	assert_int_equal(backend_setxattr(be, &p->as_alice, n, "trusted.a", "1", 1, 0), -EPERM);
	assert_int_equal(backend_setxattr(be, &p->as_alice, n, "security.capability",
					  "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0),
			 -EPERM);
	assert_int_equal(backend_setxattr(be, &p->f->call, n, "trusted.a", "1", 1, 0), 0);
	assert_int_equal(backend_setxattr(be, &p->as_alice, n, "system.x", "1", 1, 0), -EOPNOTSUPP);
	be_node_put(n);
}

static void hard_links_keep_the_systems_rules(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0666);
	struct be_entry e;

	assert_int_equal(set_mode(p, &p->f->call, p->f->root, 0777), 0);
	assert_int_equal(backend_link(p->f->be, &p->as_alice, n, p->f->root, "l", &e), 0);
	be_node_put(e.node);
	assert_int_equal(set_mode(p, &p->f->call, p->f->root, 0755), 0);
	assert_int_equal(backend_link(p->f->be, &p->as_bob, n, p->f->root, "m", &e), -EACCES);
	be_node_put(n);
}

/* ---- threads ----------------------------------------------------------- */

struct task {
	struct people *p;
	struct be_node *n;
	int rc;
};

static void *root_opens(void *arg)
{
	struct task *t = arg;

	t->rc = try_open(t->p, &t->p->f->call, t->n, O_RDWR);
	return NULL;
}

static void new_threads_do_not_keep_who_started_them(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0600);
	struct task t = { .p = p, .n = n };
	pthread_t thread;

	assert_int_equal(try_open(p, &p->as_bob, n, O_RDONLY), -EACCES); /* we are bob now */
	assert_int_equal(pthread_create(&thread, NULL, root_opens, &t), 0);
	pthread_join(thread, NULL);
	assert_int_equal(t.rc, 0);
	be_node_put(n);
}

static void *alternate(void *arg)
{
	struct task *t = arg;

	for (int i = 0; i < 2000; i++) {
		t->rc |= try_open(t->p, &t->p->as_alice, t->n, O_RDWR) != 0;
		t->rc |= try_open(t->p, &t->p->as_bob, t->n, O_RDONLY) != -EACCES;
	}
	return NULL;
}

static void threads_have_identities_of_their_own(void **state)
{
	struct people *p = people_of(state);
	struct be_node *n = alices(p, "n", 0600);
	struct task t[3];
	pthread_t thread[3];

	for (int i = 0; i < 3; i++) {
		t[i] = (struct task){ .p = p, .n = n };
		assert_int_equal(pthread_create(&thread[i], NULL, alternate, &t[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(t[i].rc, 0);
	}
	be_node_put(n);
}

#define CALLER_TEST(t) cmocka_unit_test_setup_teardown(t, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CALLER_TEST(open_asks_the_file_for_permission),
		CALLER_TEST(supplementary_groups_count),
		CALLER_TEST(directories_ask_for_permission),
		CALLER_TEST(sticky_directories_protect_others_files),
		CALLER_TEST(only_owners_change_modes_and_owners),
		CALLER_TEST(suid_goes_when_another_writes),
		CALLER_TEST(write_only_and_execute_only_files_open),
		CALLER_TEST(creator_may_truncate_his_read_only_file_while_open),
		CALLER_TEST(xattrs_ask_for_permission),
		CALLER_TEST(hard_links_keep_the_systems_rules),
		CALLER_TEST(new_threads_do_not_keep_who_started_them),
		CALLER_TEST(threads_have_identities_of_their_own),
	};

	if (geteuid() != 0) {
		print_message("skipped: only root can act as others\n");
		return 0;
	}
	umask(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
