/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of backend.h, data and attributes. */
#include <linux/falloc.h>
#include <sys/xattr.h>

#include "tests/unit/backends/contract.h"

#define MIB (1024 * 1024)

struct file {
	struct fixture *f;
	struct be_node *n; /* counted, open */
};

static struct file file_new(void **state)
{
	struct fixture *f = *state;
	struct be_entry e;

	assert_int_equal(backend_create(f->be, &f->call, f->root, "file", 0644, O_RDWR, &e), 0);
	return (struct file){ .f = f, .n = e.node };
}

static void file_done(struct file *fi)
{
	backend_release(fi->f->be, fi->n, O_RDWR);
	be_node_put(fi->n);
}

static void fill(unsigned char *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)((i * 31 + (i >> 8) + seed) & 0xff);
}

static void assert_zeros(const unsigned char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i])
			fail_msg("byte %zu is %u, not 0", i, buf[i]);
}

/* ---- reading and writing ---------------------------------------------- */

static void written_bytes_are_read_back(void **state)
{
	static const size_t sizes[] = { 1, 100, 4096, 5000, 65536, 65537, MIB, 3 * MIB + 17 };
	struct file fi = file_new(state);
	unsigned char *out = malloc(4 * MIB), *in = malloc(4 * MIB);
	uint64_t off = 0;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		fill(out, sizes[i], (unsigned)i);
		assert_int_equal(write_at(fi.f, fi.n, out, sizes[i], off), sizes[i]);
		memset(in, 0xee, sizes[i]);
		assert_int_equal(read_at(fi.f, fi.n, in, sizes[i], off), sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
		off += sizes[i];
		assert_int_equal(attr_of(fi.f, fi.n).size, off);
	}
	assert_true(attr_of(fi.f, fi.n).blocks >= off / 512);
	assert_int_equal(commit(fi.f, fi.n), 0);
	free(out);
	free(in);
	file_done(&fi);
}

static void reads_are_short_only_at_the_end(void **state)
{
	struct file fi = file_new(state);
	unsigned char buf[100];

	assert_int_equal(read_at(fi.f, fi.n, buf, 100, 0), 0);
	assert_int_equal(write_at(fi.f, fi.n, "hello", 5, 0), 5);
	assert_int_equal(read_at(fi.f, fi.n, buf, 100, 0), 5);
	assert_int_equal(read_at(fi.f, fi.n, buf, 100, 3), 2);
	assert_int_equal(read_at(fi.f, fi.n, buf, 100, 5), 0);
	assert_int_equal(read_at(fi.f, fi.n, buf, 100, 1ULL << 40), 0);
	file_done(&fi);
}

static void buffers_are_gathered_and_scattered(void **state)
{
	struct file fi = file_new(state);
	unsigned char a[3000], b[1], c[70000], all[73001], back[73001];
	struct iovec iov[] = { { a, sizeof a }, { b, sizeof b }, { c, sizeof c } };
	struct be_io io = {
		.node = fi.n, .cred = fi.f->cred, .iov = iov, .niov = 3, .off = 10, .len = sizeof all
	};

	fill(all, sizeof all, 5);
	memcpy(a, all, sizeof a);
	memcpy(b, all + sizeof a, sizeof b);
	memcpy(c, all + sizeof a + sizeof b, sizeof c);
	assert_int_equal(backend_write_wait(fi.f->be, &io), sizeof all);
	assert_int_equal(read_at(fi.f, fi.n, back, sizeof back, 10), sizeof back);
	assert_memory_equal(back, all, sizeof all);
	memset(a, 0, sizeof a);
	memset(b, 0, sizeof b);
	memset(c, 0, sizeof c);
	iov[0] = (struct iovec){ a, sizeof a };
	iov[1] = (struct iovec){ b, sizeof b };
	iov[2] = (struct iovec){ c, sizeof c };
	io = (struct be_io){
		.node = fi.n, .cred = fi.f->cred, .iov = iov, .niov = 3, .off = 10, .len = sizeof all
	};
	assert_int_equal(backend_read_wait(fi.f->be, &io), sizeof all);
	assert_memory_equal(a, all, sizeof a);
	assert_memory_equal(c, all + sizeof a + 1, sizeof c);
	file_done(&fi);
}

static void holes_read_as_zeros(void **state)
{
	struct file fi = file_new(state);
	unsigned char buf[8192];

	assert_int_equal(write_at(fi.f, fi.n, "x", 1, 10 * MIB), 1);
	assert_int_equal(attr_of(fi.f, fi.n).size, 10 * MIB + 1);
	assert_true(attr_of(fi.f, fi.n).blocks < 1024);
	memset(buf, 1, sizeof buf);
	assert_int_equal(read_at(fi.f, fi.n, buf, sizeof buf, 10 * MIB - 8000), 8001);
	assert_zeros(buf, 8000);
	assert_int_equal(buf[8000], 'x');
	file_done(&fi);
}

static void truncation_takes_data_away_for_good(void **state)
{
	struct file fi = file_new(state);
	unsigned char *buf = malloc(MIB);

	memset(buf, 0xaa, MIB);
	assert_int_equal(write_at(fi.f, fi.n, buf, MIB, 0), MIB);
	set_size(fi.f, fi.n, 5000);
	assert_int_equal(read_at(fi.f, fi.n, buf, MIB, 0), 5000);
	set_size(fi.f, fi.n, MIB);
	assert_int_equal(read_at(fi.f, fi.n, buf, MIB, 0), MIB);
	assert_int_equal(buf[4999], 0xaa);
	assert_zeros(buf + 5000, MIB - 5000);
	set_size(fi.f, fi.n, 0);
	assert_int_equal(attr_of(fi.f, fi.n).blocks, 0);
	free(buf);
	file_done(&fi);
}

static void unlinked_file_keeps_its_data_while_open(void **state)
{
	struct file fi = file_new(state);
	char buf[4];

	assert_int_equal(write_at(fi.f, fi.n, "data", 4, 0), 4);
	assert_int_equal(unlink_name(fi.f, fi.f->root, "file"), 0);
	assert_int_equal(attr_of(fi.f, fi.n).nlink, 0);
	assert_int_equal(write_at(fi.f, fi.n, "more", 4, 4), 4);
	assert_int_equal(read_at(fi.f, fi.n, buf, 4, 0), 4);
	assert_memory_equal(buf, "data", 4);
	set_size(fi.f, fi.n, 2);
	assert_int_equal(commit(fi.f, fi.n), 0);
	file_done(&fi);
}

static void write_sets_the_time_it_was_asked_to(void **state)
{
	struct file fi = file_new(state);
	struct iovec iov = { .iov_base = (void *)(uintptr_t) "x", .iov_len = 1 };
	struct be_io io = { .node = fi.n,
			    .cred = fi.f->cred,
			    .iov = &iov,
			    .niov = 1,
			    .len = 1,
			    .mtime = { .tv_sec = 1000000000, .tv_nsec = 12345000 } };
	struct be_attr attr;

	assert_true(fi.f->be->limits.caps & BE_CAP_WRITE_MTIME);
	assert_int_equal(backend_write_wait(fi.f->be, &io), 1);
	attr = attr_of(fi.f, fi.n);
	assert_int_equal(attr.mtime.tv_sec, 1000000000);
	assert_int_equal(attr.mtime.tv_nsec, 12345000);
	file_done(&fi);
}

/* ---- ranges ----------------------------------------------------------- */

static int fallocate_at(struct file *fi, int mode, uint64_t off, uint64_t len)
{
	return backend_fallocate(fi->f->be, &fi->f->call, fi->n, mode, off, len);
}

static void fallocate_allocates_punches_and_zeroes(void **state)
{
	struct file fi = file_new(state);
	unsigned char *buf = malloc(MIB);
	uint64_t blocks;

	assert_int_equal(fallocate_at(&fi, 0, 0, 300000), 0);
	assert_int_equal(attr_of(fi.f, fi.n).size, 300000);
	assert_true(attr_of(fi.f, fi.n).blocks * 512 >= 300000);
	assert_int_equal(fallocate_at(&fi, FALLOC_FL_KEEP_SIZE, 300000, MIB), 0);
	assert_int_equal(attr_of(fi.f, fi.n).size, 300000);
	memset(buf, 0xbb, MIB);
	assert_int_equal(write_at(fi.f, fi.n, buf, 300000, 0), 300000);
	blocks = attr_of(fi.f, fi.n).blocks;
	assert_int_equal(
		fallocate_at(&fi, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 200000), 0);
	assert_true(attr_of(fi.f, fi.n).blocks < blocks);
	assert_int_equal(fallocate_at(&fi, FALLOC_FL_ZERO_RANGE, 290000, 20000), 0);
	assert_int_equal(attr_of(fi.f, fi.n).size, 310000);
	assert_int_equal(read_at(fi.f, fi.n, buf, MIB, 0), 310000);
	assert_int_equal(buf[999], 0xbb);
	assert_zeros(buf + 1000, 200000);
	assert_int_equal(buf[201000], 0xbb);
	assert_int_equal(buf[289999], 0xbb);
	assert_zeros(buf + 290000, 20000);
	assert_int_equal(fallocate_at(&fi, 0, 0, 0), -EINVAL);
	assert_int_equal(fallocate_at(&fi, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
	free(buf);
	file_done(&fi);
}

static void seek_finds_data_and_holes(void **state)
{
	struct file fi = file_new(state);
	struct backend *be = fi.f->be;
	struct be_call *call = &fi.f->call;
	unsigned char *buf = malloc(256 * 1024);
	uint64_t at;

	memset(buf, 1, 256 * 1024);
	assert_int_equal(write_at(fi.f, fi.n, buf, 128 * 1024, 4 * MIB), 128 * 1024);
	set_size(fi.f, fi.n, 8 * MIB);
	assert_int_equal(commit(fi.f, fi.n), 0);
	assert_int_equal(backend_seek(be, call, fi.n, 0, SEEK_DATA, &at), 0);
	assert_int_equal(at, 4 * MIB);
	assert_int_equal(backend_seek(be, call, fi.n, 4 * MIB + 100, SEEK_DATA, &at), 0);
	assert_int_equal(at, 4 * MIB + 100);
	assert_int_equal(backend_seek(be, call, fi.n, 4 * MIB, SEEK_HOLE, &at), 0);
	assert_int_equal(at, 4 * MIB + 128 * 1024);
	assert_int_equal(backend_seek(be, call, fi.n, 10, SEEK_HOLE, &at), 0);
	assert_int_equal(at, 10);
	assert_int_equal(backend_seek(be, call, fi.n, 6 * MIB, SEEK_DATA, &at), -ENXIO);
	assert_int_equal(backend_seek(be, call, fi.n, 8 * MIB, SEEK_HOLE, &at), -ENXIO);
	assert_int_equal(backend_seek(be, call, fi.n, 0, SEEK_SET, &at), -EINVAL);
	/* Without a hole the end is one. */
	set_size(fi.f, fi.n, 0);
	assert_int_equal(write_at(fi.f, fi.n, buf, 100000, 0), 100000);
	assert_int_equal(backend_seek(be, call, fi.n, 50, SEEK_HOLE, &at), 0);
	assert_int_equal(at, 100000);
	free(buf);
	file_done(&fi);
}

static void copy_range_copies_within_and_between_files(void **state)
{
	struct file fi = file_new(state);
	struct fixture *f = fi.f;
	struct be_node *to = make_file(f, f->root, "to");
	unsigned char *a = malloc(MIB), *b = malloc(MIB);

	open_file(f, to, O_RDWR);
	fill(a, MIB, 9);
	assert_int_equal(write_at(f, fi.n, a, 200000, 0), 200000);
	assert_int_equal(backend_copy_range(f->be, &f->call, fi.n, 100, to, 7, 150000), 150000);
	assert_int_equal(read_at(f, to, b, MIB, 0), 150007);
	assert_memory_equal(b + 7, a + 100, 150000);
	assert_int_equal(backend_copy_range(f->be, &f->call, fi.n, 150000, to, 0, 100000), 50000);
	assert_int_equal(backend_copy_range(f->be, &f->call, fi.n, 200000, to, 0, 10), 0);
	assert_int_equal(backend_copy_range(f->be, &f->call, fi.n, 0, fi.n, 300000, 200000),
			 200000);
	assert_int_equal(read_at(f, fi.n, b, 200000, 300000), 200000);
	assert_memory_equal(b, a, 200000);
	assert_int_equal(backend_copy_range(f->be, &f->call, fi.n, 0, fi.n, 100, 200), -EINVAL);
	backend_release(f->be, to, O_RDWR);
	be_node_put(to);
	free(a);
	free(b);
	file_done(&fi);
}

/* ---- a model that cannot be wrong ------------------------------------- */

#define MODEL_MAX (600 * 1024)

struct model {
	unsigned char data[MODEL_MAX];
	size_t size;
};

static void model_step(struct file *fi, struct model *m, unsigned char *buf, unsigned *seed)
{
	size_t off = (size_t)rand_r(seed) % MODEL_MAX, len = (size_t)rand_r(seed) % 100000 + 1;
	unsigned op = (unsigned)rand_r(seed) % 10;

	if (op < 2)
		len = len % 5000 + 1;
	if (off + len > MODEL_MAX)
		len = MODEL_MAX - off;
	if (op < 5) {
		fill(buf, len, *seed);
		assert_int_equal(write_at(fi->f, fi->n, buf, len, off), len);
		memcpy(m->data + off, buf, len);
		m->size = off + len > m->size ? off + len : m->size;
	} else if (op == 5) {
		set_size(fi->f, fi->n, off);
		if (off < m->size)
			memset(m->data + off, 0, m->size - off);
		m->size = off;
	} else if (op == 6) {
		assert_int_equal(
			fallocate_at(fi, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), 0);
		memset(m->data + off, 0, len);
	} else if (op == 7) {
		assert_int_equal(fallocate_at(fi, FALLOC_FL_ZERO_RANGE, off, len), 0);
		memset(m->data + off, 0, len);
		m->size = off + len > m->size ? off + len : m->size;
	} else {
		size_t expect = off >= m->size ? 0 : len < m->size - off ? len : m->size - off;

		assert_int_equal(read_at(fi->f, fi->n, buf, len, off), expect);
		assert_memory_equal(buf, m->data + off, expect);
	}
}

static void random_changes_agree_with_a_flat_model(void **state)
{
	struct file fi = file_new(state);
	struct model *m = calloc(1, sizeof *m);
	unsigned char *buf = malloc(MODEL_MAX);
	unsigned seed = 12345, steps = *store_now->layers ? 150 : 1500;

	for (unsigned i = 0; i < steps; i++)
		model_step(&fi, m, buf, &seed);
	assert_int_equal(attr_of(fi.f, fi.n).size, m->size);
	assert_int_equal(read_at(fi.f, fi.n, buf, MODEL_MAX, 0), m->size);
	assert_memory_equal(buf, m->data, m->size);
	free(m);
	free(buf);
	file_done(&fi);
}

/* ---- attributes ------------------------------------------------------- */

static void setattr_changes_what_it_is_told_to(void **state)
{
	struct file fi = file_new(state);
	struct be_setattr set = { .valid = BE_SET_MODE | BE_SET_ATIME | BE_SET_MTIME,
				  .mode = 0604,
				  .atime = { 100, 5000 },
				  .mtime = { 200, 6000 } };
	struct be_attr before = attr_of(fi.f, fi.n), a;

	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &set, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0604);
	assert_int_equal(a.atime.tv_sec, 100);
	assert_int_equal(a.atime.tv_nsec, 5000);
	assert_int_equal(a.mtime.tv_sec, 200);
	assert_int_equal(a.mtime.tv_nsec, 6000);
	assert_true(a.ctime.tv_sec >= before.ctime.tv_sec);
	assert_true(a.btime.tv_sec == before.btime.tv_sec);
	set = (struct be_setattr){ .valid = BE_SET_ATIME_NOW };
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &set, &a), 0);
	assert_true(a.atime.tv_sec > 1000000000);
	assert_int_equal(a.mtime.tv_sec, 200);
	set = (struct be_setattr){ .valid = BE_SET_SIZE, .size = 10 };
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &set, &a), 0);
	assert_int_equal(a.size, 10);
	assert_true(a.mtime.tv_sec > 1000000000);
	set = (struct be_setattr){ .valid = BE_SET_SIZE };
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.f->root, &set, &a), -EISDIR);
	file_done(&fi);
}

static void chown_and_truncate_kill_suid_when_asked(void **state)
{
	struct be_setattr suid = { .valid = BE_SET_MODE, .mode = 06755 }, set;
	struct be_attr a;
	struct file fi;

	need_root();
	fi = file_new(state);
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &suid, &a), 0);
	assert_int_equal(a.mode & 07777, 06755);
	set = (struct be_setattr){ .valid = BE_SET_UID | BE_SET_GID | BE_SET_KILL_SUID,
				   .uid = 42,
				   .gid = 43 };
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &set, &a), 0);
	assert_int_equal(a.uid, 42);
	assert_int_equal(a.gid, 43);
	assert_int_equal(a.mode & 07777, 0755);
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &suid, &a), 0);
	set = (struct be_setattr){ .valid = BE_SET_SIZE | BE_SET_KILL_SUID };
	assert_int_equal(backend_setattr(fi.f->be, &fi.f->call, fi.n, &set, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	file_done(&fi);
}

static void changes_move_the_directory_times(void **state)
{
	struct fixture *f = *state;
	struct be_setattr old = { .valid = BE_SET_MTIME | BE_SET_ATIME };
	struct be_node *d = make_dir(f, f->root, "d");
	struct be_attr a;

	assert_int_equal(backend_setattr(f->be, &f->call, d, &old, &a), 0);
	assert_int_equal(a.mtime.tv_sec, 0);
	be_node_put(make_file(f, d, "x"));
	assert_true(attr_of(f, d).mtime.tv_sec > 1000000000);
	assert_int_equal(backend_setattr(f->be, &f->call, d, &old, &a), 0);
	assert_int_equal(unlink_name(f, d, "x"), 0);
	assert_true(attr_of(f, d).mtime.tv_sec > 1000000000);
	be_node_put(d);
}

static void statfs_tells_sizes(void **state)
{
	struct fixture *f = *state;
	struct statvfs s;

	assert_int_equal(backend_statfs(f->be, &f->call, f->root, &s), 0);
	assert_true(s.f_blocks > 0 && s.f_bfree <= s.f_blocks && s.f_bavail <= s.f_blocks);
	assert_int_equal(s.f_namemax, 255);
	assert_int_equal(f->be->limits.name_max, 255);
}

static void xattrs_are_kept_listed_and_removed(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "x");
	struct backend *be = f->be;
	struct be_call *call = &f->call;
	char buf[300], big[1000];

	assert_int_equal(backend_getxattr(be, call, n, "user.a", buf, sizeof buf), -ENODATA);
	assert_int_equal(backend_setxattr(be, call, n, "user.a", "one", 3, XATTR_REPLACE),
			 -ENODATA);
	assert_int_equal(backend_setxattr(be, call, n, "user.a", "one", 3, XATTR_CREATE), 0);
	assert_int_equal(backend_setxattr(be, call, n, "user.a", "two", 3, XATTR_CREATE), -EEXIST);
	assert_int_equal(backend_setxattr(be, call, n, "user.a", "three", 5, XATTR_REPLACE), 0);
	assert_int_equal(backend_getxattr(be, call, n, "user.a", NULL, 0), 5);
	assert_int_equal(backend_getxattr(be, call, n, "user.a", buf, 4), -ERANGE);
	assert_int_equal(backend_getxattr(be, call, n, "user.a", buf, sizeof buf), 5);
	assert_memory_equal(buf, "three", 5);
	assert_int_equal(backend_setxattr(be, call, n, "user.empty", NULL, 0, 0), 0);
	assert_int_equal(backend_getxattr(be, call, n, "user.empty", buf, sizeof buf), 0);
	memset(big, 'b', sizeof big);
	assert_int_equal(backend_setxattr(be, call, n, "user.big", big, sizeof big, 0), 0);
	assert_int_equal(backend_listxattr(be, call, n, NULL, 0), 7 + 11 + 9);
	assert_int_equal(backend_listxattr(be, call, n, buf, 10), -ERANGE);
	assert_int_equal(backend_listxattr(be, call, n, buf, sizeof buf), 27);
	assert_int_equal(backend_removexattr(be, call, n, "user.a"), 0);
	assert_int_equal(backend_removexattr(be, call, n, "user.a"), -ENODATA);
	assert_int_equal(backend_listxattr(be, call, n, buf, sizeof buf), 20);
	assert_int_equal(backend_setxattr(be, call, n, "", "x", 1, 0), -ERANGE);
	assert_int_equal(backend_setxattr(be, call, n, "nonsense", "x", 1, 0), -EOPNOTSUPP);
	assert_int_equal(backend_setxattr(be, call, n, "user.a", big, 65537, 0), -E2BIG);
	assert_int_equal(backend_setxattr(be, call, f->root, "user.dir", "d", 1, 0), 0);
	assert_int_equal(backend_getxattr(be, call, f->root, "user.dir", buf, sizeof buf), 1);
	be_node_put(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT_TEST(written_bytes_are_read_back),
		CONTRACT_TEST(reads_are_short_only_at_the_end),
		CONTRACT_TEST(buffers_are_gathered_and_scattered),
		CONTRACT_TEST(holes_read_as_zeros),
		CONTRACT_TEST(truncation_takes_data_away_for_good),
		CONTRACT_TEST(unlinked_file_keeps_its_data_while_open),
		CONTRACT_TEST(write_sets_the_time_it_was_asked_to),
		CONTRACT_TEST(fallocate_allocates_punches_and_zeroes),
		CONTRACT_TEST(seek_finds_data_and_holes),
		CONTRACT_TEST(copy_range_copies_within_and_between_files),
		CONTRACT_TEST(random_changes_agree_with_a_flat_model),
		CONTRACT_TEST(setattr_changes_what_it_is_told_to),
		CONTRACT_TEST(chown_and_truncate_kill_suid_when_asked),
		CONTRACT_TEST(changes_move_the_directory_times),
		CONTRACT_TEST(statfs_tells_sizes),
		CONTRACT_TEST(xattrs_are_kept_listed_and_removed),
	};

	return contract_run("data", tests, ARRAY_LEN(tests));
}
