/* SPDX-License-Identifier: Apache-2.0 */
/* The transport of files and block devices, with each of its engines, on disk, on tmpfs and on a loop device. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include "backends/block/file_impl.h"
#include "tests/unit/backends/device_test.h"
#include "tests/unit/backends/loop_test.h"

#define SIZE (8u << 20)

static struct {
	char folder[64], path[80];
	const char *engine; /* for the URI */
	struct bd *dev;
	struct err err;
} t;

static void make_file(const char *base, off_t size)
{
	int fd;

	memset(&t, 0, sizeof t);
	snprintf(t.folder, sizeof t.folder, "%s/persifs-file-XXXXXX", base);
	assert_non_null(mkdtemp(t.folder));
	snprintf(t.path, sizeof t.path, "%s/image", t.folder);
	fd = open(t.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int up(const char *engine)
{
	make_file("/var/tmp", SIZE);
	t.engine = engine;
	return 0;
}

static int up_uring(void **state)
{
	(void)state;
	return up("uring");
}

static int up_threads(void **state)
{
	(void)state;
	return up("threads");
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	unlink(t.path);
	rmdir(t.folder);
	return 0;
}

static int try_open(const char *more, const struct bd_env *env)
{
	char uri[256];

	t.err.text[0] = '\0';
	snprintf(uri, sizeof uri, "file:%s?engine=%s%s", t.path, t.engine, more);
	return bd_open(uri, NULL, env, &t.dev, &t.err);
}

/* False: no ring is to be had here, and the test skips. */
static bool opened_with(const char *more, const struct bd_env *env)
{
	int rc = try_open(more, env);

	if (rc && strcmp(t.engine, "uring") == 0 && strstr(t.err.text, "there is no ring"))
		return false;
	if (rc)
		fail_msg("%s", t.err.text);
	assert_ptr_equal(t.dev->ops,
			 strcmp(t.engine, "uring") ? &file_threads_ops : &file_uring_ops);
	return true;
}

#define OPEN(more, env)                      \
	do {                                 \
		if (!opened_with(more, env)) \
			skip();              \
	} while (0)

static void file_is(uint64_t off, size_t len, int value)
{
	uint8_t *buf = malloc(len);
	int fd = open(t.path, O_RDONLY | O_CLOEXEC);

	assert_non_null(buf);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, len, (off_t)off), len);
	close(fd);
	assert_true(all_are(buf, len, value));
	free(buf);
}

static uint64_t blocks_used(void)
{
	struct stat st;

	assert_int_equal(stat(t.path, &st), 0);
	return (uint64_t)st.st_blocks;
}

/* ---- what it does ----------------------------------------------------------- */

static void do_each_operation(void)
{
	uint32_t block = t.dev->limits.block;
	struct treq *r;

	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 1 << 20, 7)), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 1 << 20, block, 8)), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	file_is(0, 1 << 20, 7);
	file_is(1 << 20, block, 8);
	r = treq_submit(t.dev, BD_READ, 0, 1 << 20, 2 * block, 0);
	assert_int_equal(treq_wait(r), 0);
	assert_true(all_are(r->buf, block, 8) && all_are(r->buf + block, block, 0));
	treq_free(r);
	assert_int_equal(bd_zero(t.dev, block, 65536, 0), 0);
	assert_int_equal(bd_zero(t.dev, 128 << 10, 65536, BD_UNMAP | BD_FUA), 0);
	file_is(0, block, 7);
	file_is(block, 65536, 0);
	file_is(block + 65536, (64 << 10) - block, 7);
	file_is(128 << 10, 65536, 0);
	file_is(192 << 10, 65536, 7);
	if (t.dev->limits.max_discard)
		assert_int_equal(bd_discard(t.dev, 512 << 10, 128 << 10), 0);
	file_is(640 << 10, 65536, 7);
	/* The last block, and none behind it. */
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, SIZE - block, block, 9)), 0);
	file_is(SIZE - block, block, 9);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, SIZE, block), -EINVAL);
}

static void test_each_operation_does_what_it_says(void **state)
{
	(void)state;
	OPEN("", NULL);
	assert_true(t.dev->limits.volatile_cache);
	assert_true(t.dev->limits.fua == (t.dev->limits.align > 1)); /* with O_DIRECT */
	assert_int_equal(t.dev->size, SIZE);
	do_each_operation();
}

static void test_on_tmpfs_it_works_without_o_direct(void **state)
{
	char engine[16];

	(void)state;
	snprintf(engine, sizeof engine, "%s", t.engine);
	down(NULL);
	make_file("/dev/shm", SIZE);
	t.engine = strcmp(engine, "uring") ? "threads" : "uring";
	OPEN("", NULL);
	do_each_operation();
}

static void test_buffered_needs_no_aligned_memory(void **state)
{
	struct treq *r = treq_new(BD_WRITE, BD_FUA, 512, 4096 + 512, 3);
	struct iovec iov[3] = { { r->buf + 1, 100 }, { r->buf + 101, 4000 }, { r->buf, 508 } };

	(void)state;
	if (!opened_with("&buffered=yes", NULL)) {
		treq_free(r);
		skip();
	}
	assert_int_equal(t.dev->limits.align, 1);
	assert_false(t.dev->limits.fua);
	r->rq.iov = iov;
	r->rq.niov = 3;
	assert_int_equal(bd_submit(t.dev, &r->rq), 0);
	assert_int_equal(treq_end(r), 0);
	file_is(512, 4096 + 512, 3);
}

static void test_unmap_and_discard_give_space_back(void **state)
{
	uint64_t full;

	(void)state;
	OPEN("", NULL);
	if (!t.dev->limits.max_discard)
		skip();
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 4 << 20, 1)), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	full = blocks_used();
	assert_int_equal(bd_zero(t.dev, 0, 1 << 20, 0), 0);
	assert_int_equal(blocks_used(), full);
	assert_int_equal(bd_zero(t.dev, 1 << 20, 1 << 20, BD_UNMAP), 0);
	assert_true(blocks_used() <= full - 2048);
	assert_int_equal(bd_discard(t.dev, 2 << 20, 1 << 20), 0);
	assert_true(blocks_used() <= full - 4096);
	file_is(0, 2 << 20, 0);
	file_is(3 << 20, 1 << 20, 1);
}

#define MANY 300u

static void test_many_requests_of_all_sizes_at_once(void **state)
{
	struct treq *w[MANY], *r[MANY];
	uint32_t block;

	(void)state;
	OPEN("&queue=16", NULL);
	block = t.dev->limits.block;
	for (unsigned i = 0; i < MANY; i++)
		w[i] = treq_submit(t.dev, BD_WRITE, i % 50 ? 0 : BD_FUA, i * 16384ull,
				   block * (1 + i % 4), (int)i);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(treq_wait(w[i]), 0);
	for (unsigned i = 0; i < MANY; i++)
		r[i] = treq_submit(t.dev, BD_READ, 0, i * 16384ull, block * (1 + i % 4), 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(treq_wait(r[i]), 0);
		assert_memory_equal(r[i]->buf, w[i]->buf, w[i]->rq.len);
		treq_free(r[i]);
		treq_free(w[i]);
	}
}

struct stream {
	struct treq *r;
	unsigned left;
	sem_t *end;
};

static void stream_done(struct bd_req *rq)
{
	struct stream *s = rq->arg;

	rq->off = (rq->off + 65536) % SIZE;
	if (rq->result || s->left-- == 0 || bd_submit(t.dev, rq))
		sem_post(s->end);
}

static void test_streams_submitted_from_done(void **state)
{
	struct stream s[8];
	sem_t end;

	(void)state;
	OPEN("", NULL);
	sem_init(&end, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		s[i] = (struct stream){ treq_new(BD_WRITE, 0, i * 8192, 4096, (int)i), 500, &end };
		s[i].r->rq.done = stream_done;
		s[i].r->rq.arg = &s[i];
		assert_int_equal(bd_submit(t.dev, &s[i].r->rq), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		while (sem_wait(&end))
			;
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(s[i].r->rq.result, 0);
		treq_free(s[i].r);
	}
	assert_true(bd_idle(t.dev, clock_ms() + TEST_WAIT_MS));
	sem_destroy(&end);
	file_is(7 * 8192, 4096, 7);
}

#define CALLERS 3u
#define CALLS 1000u

static void *caller(void *arg)
{
	uint64_t base = *(unsigned *)arg * (1ull << 20);
	uint8_t buf[512], seen[512];

	for (unsigned i = 0; i < CALLS; i++) {
		memset(buf, (int)i, sizeof buf);
		assert_int_equal(bd_write(t.dev, buf, sizeof buf, base + i % 7 * 512, 0), 0);
		assert_int_equal(bd_read(t.dev, seen, sizeof seen, base + i % 7 * 512), 0);
		assert_memory_equal(buf, seen, sizeof seen);
	}
	return NULL;
}

/* Nobody's request is forgotten when the engine falls asleep at that moment. */
static void test_callers_that_wait_for_each_request(void **state)
{
	pthread_t threads[CALLERS];
	unsigned ids[CALLERS];

	(void)state;
	OPEN("&buffered=yes", NULL);
	for (unsigned i = 0; i < CALLERS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, caller, &ids[i]), 0);
	}
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
}

/* A file of /proc gives a page at a time, whatever is asked for. */
static void test_what_comes_short_is_gone_on_with(void **state)
{
	static uint8_t want[30000], got[30000];
	struct file f = { .fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC) };
	struct iovec iov[4] = {
		{ got, 1 }, { got + 1, 9999 }, { got + 10000, 5 }, { got + 10005, 19995 }
	};
	struct bd_req rq = { .op = BD_READ, .off = 100, .len = sizeof got, .iov = iov, .niov = 4 };
	ssize_t n, at = 0;

	(void)state;
	if (f.fd < 0)
		skip();
	while (at < (ssize_t)sizeof want &&
	       (n = pread(f.fd, want + at, sizeof want - (size_t)at, 100 + at)) > 0)
		at += n;
	if (at == (ssize_t)sizeof want) {
		memset(got, 0, sizeof got);
		assert_int_equal(file_execute(&f, &rq), 0);
		assert_memory_equal(got, want, sizeof got);
	}
	close(f.fd);
}

/* The kernel refuses writes behind the first MiB; returns what a write there ends with. */
static int write_beyond_the_limit(unsigned flags)
{
	struct rlimit was, small = { 1 << 20, 1 << 20 };
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	int rc;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = treq_end(treq_submit(t.dev, BD_WRITE, flags, 2 << 20, 4096, 1));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, handler);
	return rc;
}

/* Its error may be that of older writes, and nobody is told a second time. */
static void test_a_write_with_fua_that_fails_fails_the_device(void **state)
{
	(void)state;
	OPEN("", NULL);
	if (!t.dev->limits.fua)
		skip();
	assert_int_equal(write_beyond_the_limit(0), -EFBIG);
	assert_int_equal(bd_failed(t.dev), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(write_beyond_the_limit(BD_FUA), -EFBIG);
	assert_int_equal(bd_failed(t.dev), -EFBIG);
	assert_int_equal(bd_flush(t.dev), -EFBIG);
}

/* ---- size ------------------------------------------------------------------------ */

static void test_it_grows(void **state)
{
	(void)state;
	OPEN("", NULL);
	assert_int_equal(truncate(t.path, 2 * SIZE + 100), 0);
	assert_int_equal(bd_resize(t.dev), 0);
	assert_int_equal(t.dev->size, 2 * SIZE);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 2 * SIZE - 4096, 4096, 5)), 0);
	file_is(2 * SIZE - 4096, 4096, 5);
}

static void test_a_file_that_was_cut_off_gives_an_error_and_no_hang(void **state)
{
	(void)state;
	OPEN("", NULL);
	assert_int_equal(truncate(t.path, 1 << 20), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 2 << 20, 8192, 0)), -EIO);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, (1 << 20) - 4096, 8192, 0)), -EIO);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, (1 << 20) - 4096, 4096, 0)), 0);
	assert_int_equal(bd_resize(t.dev), -EIO);
	assert_int_equal(t.dev->size, SIZE);
}

static void test_a_last_piece_of_a_block_is_not_used(void **state)
{
	(void)state;
	assert_int_equal(truncate(t.path, SIZE + 511), 0);
	OPEN("", NULL);
	assert_int_equal(t.dev->size, SIZE);
}

static void refused(int error, const char *more, const char *says)
{
	assert_int_equal(try_open(more, NULL), error);
	if (!strstr(t.err.text, says))
		fail_msg("'%s' does not say '%s'", t.err.text, says);
}

static void test_too_small_a_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(truncate(t.path, 511), 0);
	refused(-EINVAL, "", t.path);
	assert_int_equal(truncate(t.path, 0), 0);
	refused(-EINVAL, "", "has 0 bytes");
}

/* ---- what is refused at the open -------------------------------------------------- */

static void test_options_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		const char *uri, *says;
	} bad[] = {
		{ "file:/x?engine=fast", "engine=fast" },
		{ "file:/x?buffered=maybe", "buffered=maybe" },
		{ "file:/x?queue=0", "queue" },
		{ "file:/x?queue=513", "queue" },
		{ "file:/x?queue=a", "queue" },
		{ "file:/x?colour=red", "colour" },
		{ "file://host/x", "host" },
		{ "file:x", "slash" },
		{ "floppy:/x", "floppy" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		t.err.text[0] = '\0';
		assert_int_equal(bd_open(bad[i].uri, NULL, NULL, &t.dev, &t.err), -EINVAL);
		if (!strstr(t.err.text, bad[i].says))
			fail_msg("%s: '%s' does not say %s", bad[i].uri, t.err.text, bad[i].says);
	}
}

static void test_what_is_no_disk_is_refused(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int sock;

	(void)state;
	unlink(t.path);
	refused(-ENOENT, "", t.path);
	assert_int_equal(mkdir(t.path, 0700), 0);
	refused(-ENOTBLK, "", t.path);
	rmdir(t.path);
	assert_int_equal(mkfifo(t.path, 0600), 0);
	refused(-ENOTBLK, "", t.path);
	unlink(t.path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(un.sun_path, sizeof un.sun_path, "%s", t.path);
	assert_int_equal(bind(sock, (struct sockaddr *)&un, sizeof un), 0);
	refused(-ENOTBLK, "", t.path);
	close(sock);
	assert_int_equal(bd_open("/dev/null", NULL, NULL, &t.dev, &t.err), -ENOTBLK);
}

static int give_device(void *arg, unsigned n, uint32_t limit_ms, struct err *err)
{
	assert_int_equal(n, 0);
	assert_true(limit_ms > 0);
	if (*(int *)arg < 0)
		return err_set(err, -EACCES, "nobody opens that");
	return fcntl(*(int *)arg, F_DUPFD_CLOEXEC, 0);
}

static void test_the_openers_descriptor_is_used(void **state)
{
	int fd = -1;
	struct bd_env env = { .open_device = give_device, .open_arg = &fd };

	(void)state;
	assert_int_equal(try_open("", &env), -EACCES);
	assert_string_equal(t.err.text, "nobody opens that");
	fd = open(t.path, O_RDWR | O_CLOEXEC);
	unlink(t.path);
	if (!opened_with("", &env)) {
		close(fd);
		skip();
	}
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 4096, 1)), 0);
	close(fd);
	/* And one that is no disk. */
	bd_close(t.dev);
	t.dev = NULL;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(try_open("", &env), -ENOTBLK);
	close(fd);
}

static void test_read_only(void **state)
{
	struct bd_env env = { .readonly = true };
	uint8_t buf[512];

	(void)state;
	assert_int_equal(chmod(t.path, 0400), 0);
	OPEN("", &env);
	assert_true(t.dev->limits.readonly);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 0, 512), -EROFS);
	assert_int_equal(bd_read(t.dev, buf, sizeof buf, 0), 0);
	assert_int_equal(bd_flush(t.dev), 0);
}

/* ---- the fence ---------------------------------------------------------------------- */

static void test_a_file_that_another_has_is_busy(void **state)
{
	struct bd_env env = { .busy_ms = 1 };
	struct bd *first;

	(void)state;
	OPEN("", NULL);
	first = t.dev;
	t.dev = NULL;
	assert_int_equal(try_open("", &env), -EBUSY);
	assert_non_null(strstr(t.err.text, t.path));
	bd_close(first);
	/* At once: nothing of the first one is left. */
	assert_int_equal(try_open("", &env), 0);
}

static void *let_go(void *arg)
{
	poll(NULL, 0, 50);
	close(*(int *)arg);
	return NULL;
}

static void test_an_open_waits_for_the_predecessor(void **state)
{
	int fd = open(t.path, O_RDWR | O_CLOEXEC);
	pthread_t thread;
	int rc;

	(void)state;
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(pthread_create(&thread, NULL, let_go, &fd), 0);
	rc = opened_with("", NULL);
	pthread_join(thread, NULL);
	if (!rc)
		skip();
}

static void ignore(struct bd_req *rq)
{
	(void)rq;
}

/* Fills its queue with large writes, says so, and waits to be killed. */
static void writer(int say)
{
	static struct bd_req rq[64];
	static struct iovec iov;

	if (try_open("", NULL))
		_exit(1);
	iov = (struct iovec){ aligned_alloc(4096, 128 << 10), 128 << 10 };
	if (!iov.iov_base)
		_exit(1);
	memset(iov.iov_base, 0x77, iov.iov_len);
	for (unsigned i = 0; i < 64; i++) {
		rq[i] = (struct bd_req){ .op = BD_WRITE,
					 .off = i * iov.iov_len,
					 .len = iov.iov_len,
					 .iov = &iov,
					 .niov = 1,
					 .done = ignore };
		if (bd_submit(t.dev, &rq[i]))
			_exit(1);
		if (i == 32 && write(say, "x", 1) != 1)
			_exit(1);
	}
	pause();
	_exit(1);
}

/* A child that writes and was killed; false: it cannot, for no ring is to be had here. */
static bool killed_writer(pid_t *child)
{
	int said[2];
	char c;
	bool writes;

	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	*child = fork();
	assert_true(*child >= 0);
	if (*child == 0) {
		close(said[0]);
		writer(said[1]);
	}
	close(said[1]);
	writes = read(said[0], &c, 1) == 1;
	close(said[0]);
	kill(*child, SIGKILL);
	return writes;
}

/* kill -9 with writes in flight: when the successor has the file, nothing changes under it any more. */
static void test_no_write_of_a_killed_predecessor_comes_late(void **state)
{
	AUTO_FREE uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
	int status = 0;
	pid_t child;

	(void)state;
	assert_true(before && after);
	if (killed_writer(&child)) {
		assert_int_equal(try_open("", NULL), 0);
		assert_int_equal(bd_read(t.dev, before, SIZE, 0), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		poll(NULL, 0, 30); /* for what must not come there is no event */
		assert_int_equal(bd_read(t.dev, after, SIZE, 0), 0);
		assert_memory_equal(before, after, SIZE);
	} else {
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_string_equal(t.engine, "uring");
		print_message("no ring is to be had here\n");
	}
}

/* ---- where rings are refused ----------------------------------------------------------- */

/* A container runtime's filter. Codes above 0 tell the parent what went wrong. */
static void without_rings(int error)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	uint8_t buf[4096];

	if (!f ||
	    seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned)error), SCMP_SYS(io_uring_setup), 0) ||
	    seccomp_load(f))
		_exit(77);
	seccomp_release(f);
	t.engine = "uring";
	if (try_open("", NULL) != -error || !strstr(t.err.text, "there is no ring"))
		_exit(1);
	if (bd_open(t.path, NULL, NULL, &t.dev, &t.err))
		_exit(2);
	if (t.dev->ops != &file_threads_ops)
		_exit(3);
	memset(buf, 1, sizeof buf);
	if (bd_write(t.dev, buf, sizeof buf, 0, BD_FUA))
		_exit(4);
	bd_close(t.dev);
	_exit(0);
}

static void test_threads_take_over_where_rings_are_refused(void **state)
{
	static const int errors[] = { EPERM, ENOSYS };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		int status = 0;
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			without_rings(errors[i]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
		file_is(0, 4096, 1);
	}
}

static void test_the_ring_is_chosen_where_there_is_one_and_nobody_asks(void **state)
{
	struct bd_env env = { .engine = BD_THREADS };

	(void)state;
	OPEN("", NULL);
	bd_close(t.dev);
	assert_int_equal(bd_open(t.path, NULL, NULL, &t.dev, &t.err), 0);
	if (strcmp(t.engine, "uring") == 0)
		assert_ptr_equal(t.dev->ops, &file_uring_ops);
	bd_close(t.dev);
	t.dev = NULL;
	assert_int_equal(bd_open(t.path, NULL, &env, &t.dev, &t.err), 0);
	assert_ptr_equal(t.dev->ops, &file_threads_ops);
	bd_close(t.dev);
	/* The URI has the last word. */
	t.dev = NULL;
	OPEN("", &env);
}

/* ---- block devices ------------------------------------------------------------------------ */

static void test_a_block_device(void **state)
{
	char name[32], uri[80];
	struct bd_env env = { .busy_ms = 1 };
	struct bd *second = NULL;
	int loop = -1, rc;

	(void)state;
	if (!loop_up(t.path, &loop, name, sizeof name)) {
		print_message("no loop device can be made here\n");
		skip();
	}
	snprintf(uri, sizeof uri, "file:%s?engine=%s", name, t.engine);
	rc = bd_open(uri, NULL, &env, &t.dev, &t.err);
	if (rc) {
		close(loop);
		if (strstr(t.err.text, "there is no ring"))
			skip();
		fail_msg("%s", t.err.text);
	}
	/* The loop's own O_EXCL is in the way of nobody; ours is in the way of another's. */
	assert_int_equal(bd_open(uri, NULL, &env, &second, &t.err), -EBUSY);
	assert_non_null(strstr(t.err.text, name));
	assert_true(t.dev->limits.volatile_cache);
	assert_int_equal(t.dev->limits.block, 512);
	assert_int_equal(t.dev->size, SIZE);
	/* What the device's file has is read through the device: the loop writes through the page cache. */
	do_each_operation();
	assert_int_equal(truncate(t.path, 2 * SIZE), 0);
	assert_int_equal(ioctl(loop, LOOP_SET_CAPACITY, 0), 0);
	assert_int_equal(bd_resize(t.dev), 0);
	assert_int_equal(t.dev->size, 2 * SIZE);
	bd_close(t.dev);
	t.dev = NULL;
	assert_int_equal(ioctl(loop, LOOP_CLR_FD, 0), 0);
	close(loop);
}

#define BOTH(name)                                             \
	{ #name "_uring", name, up_uring, down, NULL },        \
	{                                                      \
#name "_threads", name, up_threads, down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_each_operation_does_what_it_says),
		BOTH(test_on_tmpfs_it_works_without_o_direct),
		BOTH(test_buffered_needs_no_aligned_memory),
		BOTH(test_unmap_and_discard_give_space_back),
		BOTH(test_many_requests_of_all_sizes_at_once),
		BOTH(test_streams_submitted_from_done),
		BOTH(test_callers_that_wait_for_each_request),
		cmocka_unit_test(test_what_comes_short_is_gone_on_with),
		BOTH(test_a_write_with_fua_that_fails_fails_the_device),
		BOTH(test_it_grows),
		BOTH(test_a_file_that_was_cut_off_gives_an_error_and_no_hang),
		BOTH(test_a_last_piece_of_a_block_is_not_used),
		BOTH(test_too_small_a_file_is_refused),
		BOTH(test_options_that_make_no_sense_are_refused),
		BOTH(test_what_is_no_disk_is_refused),
		BOTH(test_the_openers_descriptor_is_used),
		BOTH(test_read_only),
		BOTH(test_a_file_that_another_has_is_busy),
		BOTH(test_an_open_waits_for_the_predecessor),
		BOTH(test_no_write_of_a_killed_predecessor_comes_late),
		BOTH(test_threads_take_over_where_rings_are_refused),
		BOTH(test_the_ring_is_chosen_where_there_is_one_and_nobody_asks),
		BOTH(test_a_block_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
