/* SPDX-License-Identifier: Apache-2.0 */
/* What the dir backend promises beyond the contract: nothing leads out of the
 * folder, descriptors are bounded, nodes are what they were, opening explains. */
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/backends/contract.h"

static struct store store = { .name = "dir", .uri = "dir:", .layers = "", .folder = true };

static int open_store(void **state)
{
	store_now = &store;
	return store_open(state);
}

static const char *inside(const struct fixture *f, const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", f->folder, name);
	return path;
}

/* ---- escape ----------------------------------------------------------- */

struct swapper {
	pthread_t thread;
	char a[128], b[128];
	_Atomic bool stop;
};

/* Exchanges a directory and a symbolic link that leads out, as fast as it can. */
static void *swap(void *arg)
{
	struct swapper *s = arg;

	while (!atomic_load(&s->stop))
		renameat2(AT_FDCWD, s->a, AT_FDCWD, s->b, RENAME_EXCHANGE);
	return NULL;
}

static void attack_round(struct fixture *f, unsigned i)
{
	struct be_entry d, e;
	struct be_dir *stream;
	char name[16];

	if (lookup(f, f->root, "d", &d))
		return;
	snprintf(name, sizeof name, "x%u", i);
	if (S_ISDIR(d.node->type)) {
		assert_int_equal(backend_create(f->be, &f->call, d.node, name, 0644, O_RDWR, &e),
				 0);
		backend_release(f->be, e.node, O_RDWR);
		be_node_put(e.node);
		assert_int_equal(rename_name(f, d.node, name, d.node, "renamed", 0), 0);
		assert_int_equal(lookup(f, d.node, "secret", &e), -ENOENT);
	} else {
		assert_true(S_ISLNK(d.node->type));
		assert_int_equal(lookup(f, d.node, "secret", &e), -ENOTDIR);
		assert_int_equal(backend_opendir(f->be, &f->call, d.node, &stream), -ENOTDIR);
	}
	be_node_put(d.node);
}

static void symlinks_swapped_in_lead_nowhere(void **state)
{
	struct fixture *f = *state;
	struct swapper s = { .stop = false };
	char outside[] = "/tmp/persifs-outside-XXXXXX", secret[64];
	DIR *d;
	unsigned n = 0;

	assert_non_null(mkdtemp(outside));
	snprintf(secret, sizeof secret, "%s/secret", outside);
	close(open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	be_node_put(make_dir(f, f->root, "d"));
	snprintf(s.a, sizeof s.a, "%s", inside(f, "d"));
	snprintf(s.b, sizeof s.b, "%s", inside(f, "l"));
	assert_int_equal(symlink(outside, s.b), 0);
	assert_int_equal(pthread_create(&s.thread, NULL, swap, &s), 0);
	for (unsigned i = 0; i < 3000; i++)
		attack_round(f, i);
	atomic_store(&s.stop, true);
	pthread_join(s.thread, NULL);
	d = opendir(outside);
	while (readdir(d))
		n++;
	closedir(d);
	assert_int_equal(n, 3); /* dots and the secret */
	nftw(outside, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void symlinks_are_opened_by_nobody(void **state)
{
	struct fixture *f = *state;
	struct be_node *d = make_dir(f, f->root, "d");
	struct be_setattr set = { .valid = BE_SET_SIZE };
	struct be_attr attr;
	struct be_entry e;

	assert_int_equal(symlink("/etc/passwd", inside(f, "d/l")), 0);
	assert_int_equal(lookup(f, d, "l", &e), 0);
	assert_int_equal(backend_open_node(f->be, &f->call, e.node, O_RDONLY), -EINVAL);
	assert_int_equal(backend_setattr(f->be, &f->call, e.node, &set, &attr), -EINVAL);
	set = (struct be_setattr){ .valid = BE_SET_MTIME, .mtime = { .tv_sec = 77 } };
	assert_int_equal(backend_setattr(f->be, &f->call, e.node, &set, &attr), 0);
	assert_int_equal(attr.mtime.tv_sec, 77); /* the link's own */
	be_node_put(e.node);
	/* create finds the link and does not go through it */
	assert_int_equal(backend_create(f->be, &f->call, d, "l", 0644, O_RDWR, &e), -ESTALE);
	assert_int_equal(backend_create(f->be, &f->call, d, "l", 0644, O_RDWR | O_EXCL, &e),
			 -EEXIST);
	be_node_put(d);
}

static void what_is_mounted_inside_is_refused(void **state)
{
	struct fixture *f = *state;
	struct be_node *d = make_dir(f, f->root, "d");
	struct be_entry e;
	struct listing l;

	if (geteuid() != 0 || mount("none", inside(f, "d"), "tmpfs", 0, "size=64k")) {
		be_node_put(d);
		skip();
	}
	assert_int_equal(lookup(f, f->root, "d", &e), -EXDEV);
	list_all(f, f->root, &l);
	assert_int_equal(listing_count(&l, "d"), 1);
	listing_done(&l);
	assert_int_equal(umount(inside(f, "d")), 0);
	/* The same file system at another place counts as well. */
	assert_int_equal(mount(f->folder, inside(f, "d"), "none", MS_BIND, NULL), 0);
	assert_int_equal(lookup(f, f->root, "d", &e), -EXDEV);
	assert_int_equal(umount(inside(f, "d")), 0);
	assert_ptr_equal(find(f, f->root, "d"), d);
	be_node_put(d);
}

static bool parent_emit(void *arg, const struct be_dirent *ent)
{
	if (ent->name_len == 2 && !memcmp(ent->name, "..", 2))
		*(uint64_t *)arg = ent->ino;
	return true;
}

static void parent_of_the_folder_is_not_shown(void **state)
{
	struct fixture *f = *state;
	uint64_t parent = 0;
	struct be_dir *d;

	assert_int_equal(backend_opendir(f->be, &f->call, f->root, &d), 0);
	assert_int_equal(backend_readdir(f->be, &f->call, d, 0, true, parent_emit, &parent), 0);
	assert_int_equal(parent, f->root->ino);
	backend_closedir(f->be, d);
}

/* ---- descriptors and identity of nodes --------------------------------- */

#define MANY 300

static int open_few_fds(void **state)
{
	struct fixture *f;
	struct backend *be;
	struct be_entry root;
	struct err err;
	char uri[128];

	open_store(state);
	f = *state;
	snprintf(uri, sizeof uri, "dir:%s?fds=16", f->folder);
	be_node_put(f->root);
	backend_close(f->be);
	assert_int_equal(backend_open(uri, "", NULL, &be, &err), 0);
	f->be = be;
	assert_int_equal(backend_root(be, &root), 0);
	f->root = root.node;
	return 0;
}

/* Without them each node keeps a descriptor. */
static void need_handles(struct fixture *f)
{
	unsigned char buf[BE_NODE_SAVE_MAX];

	if (backend_node_save(f->be, f->root, buf, sizeof buf) == -ENOTSUP)
		skip();
}

static void many_nodes_need_few_descriptors(void **state)
{
	struct fixture *f = *state;
	struct be_node *n[MANY];
	int before = count_fds();
	char name[16];

	need_handles(f);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "n%d", i);
		n[i] = make_file(f, f->root, name);
	}
	assert_true(count_fds() - before <= 20);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			snprintf(name, sizeof name, "n%d", i);
			assert_int_equal(attr_of(f, n[i]).ino, n[i]->ino);
			assert_ptr_equal(find(f, f->root, name), n[i]);
			open_file(f, n[i], O_RDWR);
			assert_int_equal(write_at(f, n[i], name, 4, 0), 4);
			backend_release(f->be, n[i], O_RDWR);
		}
		assert_true(count_fds() - before <= 20);
	}
	for (int i = 0; i < MANY; i++) {
		struct be_removed r;

		snprintf(name, sizeof name, "n%d", i);
		assert_int_equal(backend_unlink(f->be, &f->call, f->root, name, &r), 0);
		assert_ptr_equal(r.node, n[i]);
		assert_true(r.gone);
		be_node_put(r.node);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(attr_of(f, n[i]).nlink, 0);
		be_node_put(n[i]);
	}
}

/* Somebody else removes the file and makes others until the number comes again. */
static void reused_inode_number_is_another_node(void **state)
{
	struct fixture *f = *state;
	struct be_node *old, *others[40];
	struct stat st = { .st_ino = 0 };
	struct be_attr attr;
	struct be_entry e;
	char name[16];
	uint64_t ino;

	need_handles(f);
	old = make_file(f, f->root, "old");
	ino = old->ino;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) { /* drives old's descriptor out */
		snprintf(name, sizeof name, "o%zu", i);
		others[i] = make_file(f, f->root, name);
	}
	assert_int_equal(unlink(inside(f, "old")), 0);
	for (int i = 0; i < 100 && st.st_ino != ino; i++) {
		snprintf(name, sizeof name, "new%d", i);
		close(open(inside(f, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		assert_int_equal(stat(inside(f, name), &st), 0);
	}
	if (st.st_ino == ino) {
		assert_int_equal(lookup(f, f->root, name, &e), 0);
		assert_int_equal(e.node->ino, ino);
		assert_ptr_not_equal(e.node, old);
		assert_int_equal(backend_getattr(f->be, &f->call, old, &attr), -ESTALE);
		be_node_put(e.node);
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		be_node_put(others[i]);
	be_node_put(old);
	if (st.st_ino != ino)
		skip();
}

static void saved_node_is_found_again(void **state)
{
	struct fixture *f = *state;
	struct be_node *d = make_dir(f, f->root, "d"), *n = make_file(f, d, "n");
	unsigned char buf[BE_NODE_SAVE_MAX + 1];
	ssize_t len = backend_node_save(f->be, n, buf, BE_NODE_SAVE_MAX);
	uint64_t ino = n->ino;
	struct be_entry e;

	be_node_put(n);
	be_node_put(d);
	if (len == -ENOTSUP)
		skip();
	assert_in_range(len, 1, BE_NODE_SAVE_MAX);
	assert_int_equal(backend_node_restore(f->be, buf, (size_t)len, &e), 0);
	assert_int_equal(e.node->ino, ino);
	assert_int_equal(e.attr.ino, ino);
	be_node_put(e.node);
	for (size_t cut = 0; cut < (size_t)len; cut++)
		assert_int_equal(backend_node_restore(f->be, buf, cut, &e), -EINVAL);
	assert_int_equal(backend_node_restore(f->be, buf, sizeof buf, &e), -EINVAL);
	buf[8] ^= 1; /* another number than the handle leads to */
	assert_int_equal(backend_node_restore(f->be, buf, (size_t)len, &e), -ESTALE);
	buf[8] ^= 1;
	assert_int_equal(unlink(inside(f, "d/n")), 0);
	assert_int_equal(backend_node_restore(f->be, buf, (size_t)len, &e), -ESTALE);
}

static void open_file_survives_removal_by_others(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");
	char buf[4];

	open_file(f, n, O_RDWR);
	assert_int_equal(write_at(f, n, "data", 4, 0), 4);
	assert_int_equal(commit(f, n), 0);
	assert_int_equal(unlink(inside(f, "n")), 0);
	assert_int_equal(read_at(f, n, buf, 4, 0), 4);
	assert_int_equal(attr_of(f, n).nlink, 0);
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
}

static void changes_by_others_are_seen(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");
	char buf[8];
	int fd = open(inside(f, "n"), O_WRONLY | O_CLOEXEC);

	assert_int_equal(write(fd, "outside", 7), 7);
	close(fd);
	assert_int_equal(attr_of(f, n).size, 7);
	open_file(f, n, O_RDONLY);
	assert_int_equal(read_at(f, n, buf, 8, 0), 7);
	assert_memory_equal(buf, "outside", 7);
	backend_release(f->be, n, O_RDONLY);
	be_node_put(n);
	close(open(inside(f, "m"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_non_null(find(f, f->root, "m"));
}

/* Cold data comes through the pool, in pieces as it is found. */
static void uncached_data_is_read_whole(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");
	const size_t size = 3 << 20;
	char *out = malloc(size), *in = malloc(size);
	int fd;

	for (size_t i = 0; i < size; i++)
		out[i] = (char)(i * 7 + i / 4096);
	open_file(f, n, O_RDWR);
	assert_int_equal(write_at(f, n, out, size, 0), size);
	assert_int_equal(commit(f, n), 0);
	fd = open(inside(f, "n"), O_RDONLY | O_CLOEXEC);
	posix_fadvise(fd, 1 << 20, 1 << 20, POSIX_FADV_DONTNEED);
	close(fd);
	assert_int_equal(read_at(f, n, in, size, 0), size);
	assert_memory_equal(in, out, size);
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
	free(out);
	free(in);
}

/* ---- opening ----------------------------------------------------------- */

static void opening_fails_with_a_sentence(void **state)
{
	static const struct {
		const char *uri;
		int rc;
	} wrong[] = { { "dir:relative", -EINVAL },        { "dir:", -EINVAL },
		      { "dir:/nowhere/at/all", -ENOENT }, { "dir:/etc/passwd", -ENOTDIR },
		      { "dir://host/tmp", -EINVAL },      { "dir:/tmp?x=1", -EINVAL },
		      { "dir:/tmp?fds=1", -EINVAL } };
	int before = count_fds();
	struct backend *be;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		err.text[0] = '\0';
		assert_int_equal(backend_open(wrong[i].uri, NULL, NULL, &be, &err), wrong[i].rc);
		assert_true(strlen(err.text) > 10);
	}
	assert_int_equal(count_fds(), before);
}

#define DIR_TEST(t) cmocka_unit_test_setup_teardown(t, open_store, store_close)
#define FEW_TEST(t) cmocka_unit_test_setup_teardown(t, open_few_fds, store_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIR_TEST(symlinks_swapped_in_lead_nowhere),
		DIR_TEST(symlinks_are_opened_by_nobody),
		DIR_TEST(what_is_mounted_inside_is_refused),
		DIR_TEST(parent_of_the_folder_is_not_shown),
		FEW_TEST(many_nodes_need_few_descriptors),
		FEW_TEST(reused_inode_number_is_another_node),
		DIR_TEST(saved_node_is_found_again),
		DIR_TEST(open_file_survives_removal_by_others),
		DIR_TEST(changes_by_others_are_seen),
		DIR_TEST(uncached_data_is_read_whole),
		cmocka_unit_test(opening_fails_with_a_sentence),
	};

	umask(0);
	/* Mounts of these tests are nobody else's business. */
	if (unshare(CLONE_NEWNS) == 0)
		mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
