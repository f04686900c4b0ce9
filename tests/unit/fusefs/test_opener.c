/* SPDX-License-Identifier: Apache-2.0 */
/* Supervisor and worker in one process: what the children do is the test's affair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/exclusive.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "fusefs/opener.h"

#define WAIT_MS 10000
#define LIMIT_MS 8000
#define SHORT_MS 80

enum { PORT_GOOD = 2049, PORT_REFUSED, PORT_HANGS };
enum { DEVICE_ONE, DEVICE_TWO, DEVICE_GONE, DEVICE_HANGS, DEVICES };

static struct {
	struct openers openers;
	struct opener_client client;
	int fds; /* open descriptors before */
} t;

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* In the child: a connection whose other end has said hello. */
static int fake_connect(const struct opener_conf *conf, const struct opener_request *req,
			struct err *err)
{
	int sv[2];

	(void)conf;
	if (req->port == PORT_REFUSED)
		return err_set(err, -ECONNREFUSED, "nobody at home");
	while (req->port == PORT_HANGS)
		pause();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) || write(sv[1], "hello", 5) != 5)
		return -EIO;
	return sv[0];
}

/* In the child: an open that never ends, else the real one. */
static int fake_device(const struct opener_conf *conf, const struct opener_device_request *req,
		       struct err *err)
{
	while (req->number == DEVICE_HANGS)
		pause();
	return opener_device(conf, req, err);
}

static int up(void **state)
{
	struct opener_conf conf = { .host = "nas.test", .connect = fake_connect };

	(void)state;
	t.fds = count_fds();
	openers_init(&t.openers, &conf);
	t.client.host = "nas.test";
	t.client.fd = openers_start(&t.openers);
	return t.client.fd < 0;
}

static int down(void **state)
{
	uint64_t end = clock_ms() + WAIT_MS;

	(void)state;
	openers_end(&t.openers);
	close(t.client.fd);
	while (t.openers.count && clock_ms() < end) {
		openers_reap(&t.openers);
		poll(NULL, 0, 1);
	}
	assert_int_equal(t.openers.count, 0);
	return count_fds() != t.fds;
}

static int dial_for(unsigned port, uint32_t limit_ms)
{
	struct be_dial want = { .host = "nas.test", .port = (uint16_t)port, .limit_ms = limit_ms };
	struct err err;
	int fd = opener_dial(&t.client, &want, &err);

	assert_true(fd >= 0);
	assert_true(openers_serve(&t.openers));
	return fd;
}

static int outcome(int fd, struct err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return opener_dialled(fd, err);
}

static void the_connection_arrives(void **state)
{
	char buf[8] = "";
	struct err err;
	int fd = outcome(dial_for(PORT_GOOD, LIMIT_MS), &err);

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(read(fd, buf, sizeof buf), 5);
	assert_string_equal(buf, "hello");
	close(fd);
}

static void a_failure_arrives_with_its_sentence(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(outcome(dial_for(PORT_REFUSED, LIMIT_MS), &err), -ECONNREFUSED);
	assert_string_equal(err.text, "nobody at home");
}

static void one_that_hangs_holds_up_nobody_and_ends(void **state)
{
	uint64_t start = clock_ms();
	struct err err;
	int hung = dial_for(PORT_HANGS, SHORT_MS), fd;

	(void)state;
	fd = outcome(dial_for(PORT_GOOD, LIMIT_MS), &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(outcome(hung, &err), -ETIMEDOUT);
	assert_true(clock_ms() - start < WAIT_MS);
}

static void children_are_limited_in_number(void **state)
{
	int hung[OPENERS_MAX];
	struct err err;

	(void)state;
	for (unsigned i = 0; i < OPENERS_MAX; i++)
		hung[i] = dial_for(PORT_HANGS, LIMIT_MS);
	assert_int_equal(outcome(dial_for(PORT_GOOD, LIMIT_MS), &err), -EAGAIN);
	openers_end(&t.openers);
	for (unsigned i = 0; i < OPENERS_MAX; i++)
		assert_int_equal(outcome(hung[i], &err), -ETIMEDOUT);
}

static void another_host_is_refused_by_the_worker(void **state)
{
	struct be_dial want = { .host = "else.test", .port = 1, .limit_ms = LIMIT_MS };
	struct err err;

	(void)state;
	assert_int_equal(opener_dial(&t.client, &want, &err), -EINVAL);
	assert_non_null(strstr(err.text, "else.test"));
}

/* ---- what a subverted worker may send --------------------------------- */

/* Sends len bytes with n descriptors, of which the first is the way back. */
static int send_raw(const void *data, size_t len, unsigned n)
{
	union {
		char buf[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int sv[2], fds[3];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	fds[0] = fds[1] = fds[2] = sv[1];
	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n * sizeof(int));
	}
	assert_int_equal(sendmsg(t.client.fd, &msg, 0), len);
	close(sv[1]);
	return sv[0];
}

static void wrong_requests_are_refused_without_a_child(void **state)
{
	const struct opener_request good = { OPENER_MAGIC, PORT_GOOD, 0, LIMIT_MS };
	const struct opener_request bad[] = {
		{ OPENER_MAGIC + 1, PORT_GOOD, 0, LIMIT_MS },
		{ OPENER_MAGIC, 0, 0, LIMIT_MS },
		{ OPENER_MAGIC, UINT16_MAX + 1, 0, LIMIT_MS },
		{ OPENER_MAGIC, PORT_GOOD, OPENER_FIRST_MAX + 1, LIMIT_MS },
		{ OPENER_MAGIC, PORT_GOOD, 0, 0 },
		{ OPENER_MAGIC, PORT_GOOD, 0, OPENER_LIMIT_MS + 1 },
	};
	char large[512] = { 0 };
	struct err err;
	int back;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		back = send_raw(&bad[i], sizeof bad[i], 1);
		assert_true(openers_serve(&t.openers));
		assert_int_equal(outcome(back, &err), -EINVAL);
	}
	back = send_raw(&good, sizeof good - 1, 1);
	assert_true(openers_serve(&t.openers));
	assert_int_equal(outcome(back, &err), -EINVAL);
	memcpy(large, &good, sizeof good);
	back = send_raw(large, sizeof large, 1);
	assert_true(openers_serve(&t.openers));
	assert_int_equal(outcome(back, &err), -EINVAL);
	assert_int_equal(t.openers.count, 0);
}

/* And none of them stays open here: down() counts. */
static void too_few_and_too_many_descriptors_are_dropped(void **state)
{
	const struct opener_request good = { OPENER_MAGIC, PORT_GOOD, 0, LIMIT_MS };
	static const unsigned wrong_counts[] = { 0, 2, 3 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(wrong_counts); i++) {
		int back = send_raw(&good, sizeof good, wrong_counts[i]);

		assert_true(openers_serve(&t.openers));
		close(back);
	}
	assert_int_equal(t.openers.count, 0);
}

static void a_mount_without_a_server_connects_to_nothing(void **state)
{
	struct err err;

	(void)state;
	t.openers.conf.host = "";
	assert_int_equal(outcome(dial_for(PORT_GOOD, LIMIT_MS), &err), -EINVAL);
	assert_int_equal(t.openers.count, 0);
}

static void nothing_to_read_is_not_the_end_and_a_closed_worker_is(void **state)
{
	(void)state;
	assert_true(openers_serve(&t.openers));
	close(t.client.fd);
	assert_false(openers_serve(&t.openers));
	t.client.fd = dup(0); /* for down() */
}

static void without_a_supervisor_dialling_fails(void **state)
{
	struct be_dial want = { .host = "nas.test", .port = 1, .limit_ms = LIMIT_MS };
	struct err err;

	(void)state;
	openers_end(&t.openers);
	assert_int_equal(opener_dial(&t.client, &want, &err), -EPIPE);
	assert_non_null(strstr(err.text, "supervisor is gone"));
}

/* ---- devices ----------------------------------------------------------- */

/* What a worker tells of its device. */
struct told {
	int rc;
	int flags, fd_flags;
	char text[512];
};

/* A process of its own, as the worker is: it dies with what it has. */
struct worker {
	pid_t pid;
	int told;
};

static struct {
	char dir[64], paths[DEVICES][96];
	const char *names[DEVICES];
} dev;

static int up_devices(void **state)
{
	int rc = up(state);

	strcpy(dev.dir, "/tmp/persifs-opener.XXXXXX");
	if (rc || !mkdtemp(dev.dir))
		return -1;
	for (unsigned i = 0; i < DEVICES; i++) {
		snprintf(dev.paths[i], sizeof dev.paths[i], "%s/device%u", dev.dir, i);
		dev.names[i] = dev.paths[i];
		if (i != DEVICE_GONE)
			close(open(dev.paths[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	}
	t.openers.conf.devices = dev.names;
	t.openers.conf.ndevices = DEVICES;
	t.openers.conf.device = fake_device;
	return 0;
}

static int down_devices(void **state)
{
	for (unsigned i = 0; i < DEVICES; i++)
		unlink(dev.paths[i]);
	return down(state) || rmdir(dev.dir);
}

static void worker_main(unsigned n, uint32_t limit_ms, int told) __attribute__((noreturn));
static void worker_main(unsigned n, uint32_t limit_ms, int told)
{
	struct told out = { 0 };
	struct err err = { "" };
	int fd;

	close(t.openers.fd);
	fd = opener_open_device(&t.client, n, limit_ms, &err);
	out.rc = fd < 0 ? fd : 0;
	out.flags = fd < 0 ? 0 : fcntl(fd, F_GETFL);
	out.fd_flags = fd < 0 ? 0 : fcntl(fd, F_GETFD);
	snprintf(out.text, sizeof out.text, "%s", err.text);
	if (write(told, &out, sizeof out) != sizeof out)
		_exit(1);
	for (;;)
		pause();
}

static struct worker worker_start(unsigned n, uint32_t limit_ms)
{
	struct worker w;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	w.pid = fork();
	if (!w.pid)
		worker_main(n, limit_ms, pipes[1]);
	assert_true(w.pid > 0);
	close(pipes[1]);
	w.told = pipes[0];
	return w;
}

/* The supervisor's loop, until the worker tells or wait_ms are over. */
static bool worker_tells(const struct worker *w, uint32_t wait_ms, struct told *out)
{
	uint64_t end = clock_us() / 1000 + wait_ms;

	for (;;) {
		struct pollfd p[2] = { { .fd = w->told, .events = POLLIN },
				       { .fd = t.openers.fd, .events = POLLIN } };
		uint64_t now = clock_us() / 1000;

		if (poll(p, 2, now < end ? (int)(end - now) : 0) <= 0)
			return false;
		if (p[1].revents)
			assert_true(openers_serve(&t.openers));
		if (p[0].revents) {
			assert_int_equal(read(w->told, out, sizeof *out), sizeof *out);
			return true;
		}
	}
}

static void worker_kill(struct worker *w)
{
	kill(w->pid, SIGKILL);
	assert_int_equal(waitpid(w->pid, NULL, 0), w->pid);
	close(w->told);
}

static void children_end(void)
{
	uint64_t end = clock_ms() + WAIT_MS;

	for (openers_reap(&t.openers); t.openers.count && clock_ms() < end;
	     openers_reap(&t.openers))
		poll(NULL, 0, 1);
	assert_int_equal(t.openers.count, 0);
}

static bool have_it_open(const char *path)
{
	struct stat want, st;

	assert_int_equal(stat(path, &want), 0);
	for (int fd = 0; fd < 256; fd++)
		if (!fstat(fd, &st) && st.st_ino == want.st_ino && st.st_dev == want.st_dev)
			return true;
	return false;
}

static void a_device_is_the_workers_alone_and_free_when_it_dies(void **state)
{
	struct worker w = worker_start(DEVICE_ONE, LIMIT_MS);
	struct told told;
	struct err err;
	int fd;

	(void)state;
	assert_true(worker_tells(&w, WAIT_MS, &told));
	assert_string_equal(told.text, "");
	assert_int_equal(told.rc, 0);
	assert_int_equal(told.flags & O_ACCMODE, O_RDWR);
	assert_true(told.fd_flags & FD_CLOEXEC);
	children_end();
	assert_false(have_it_open(dev.paths[DEVICE_ONE]));
	assert_int_equal(bd_exclusive_open(dev.paths[DEVICE_ONE], 0, 0, &err), -EBUSY);
	worker_kill(&w);
	fd = bd_exclusive_open(dev.paths[DEVICE_ONE], 0, 0, &err);
	assert_true(fd >= 0);
	close(fd);
}

static void a_device_that_is_busy_delays_its_own_request_alone(void **state)
{
	struct worker first, second, third;
	struct told told;

	(void)state;
	first = worker_start(DEVICE_ONE, LIMIT_MS);
	assert_true(worker_tells(&first, WAIT_MS, &told));
	assert_int_equal(told.rc, 0);
	second = worker_start(DEVICE_ONE, LIMIT_MS);
	assert_false(worker_tells(&second, SHORT_MS, &told));
	third = worker_start(DEVICE_TWO, LIMIT_MS);
	assert_true(worker_tells(&third, WAIT_MS, &told));
	assert_int_equal(told.rc, 0);
	assert_false(worker_tells(&second, 0, &told));
	worker_kill(&first);
	assert_true(worker_tells(&second, WAIT_MS, &told));
	assert_int_equal(told.rc, 0);
	worker_kill(&second);
	worker_kill(&third);
}

static void one_that_stays_busy_is_told_of(void **state)
{
	int fd = bd_exclusive_open(dev.paths[DEVICE_TWO], 0, 0, NULL);
	struct worker w;
	struct told told;

	(void)state;
	assert_true(fd >= 0);
	w = worker_start(DEVICE_TWO, SHORT_MS);
	assert_true(worker_tells(&w, WAIT_MS, &told));
	assert_int_equal(told.rc, -EBUSY);
	assert_non_null(strstr(told.text, dev.paths[DEVICE_TWO]));
	worker_kill(&w);
	close(fd);
}

static void what_cannot_be_opened_is_told_of(void **state)
{
	struct worker w = worker_start(DEVICE_GONE, LIMIT_MS);
	struct told told;

	(void)state;
	assert_true(worker_tells(&w, WAIT_MS, &told));
	assert_int_equal(told.rc, -ENOENT);
	assert_non_null(strstr(told.text, dev.paths[DEVICE_GONE]));
	worker_kill(&w);
}

static void an_open_that_hangs_is_ended_by_its_child(void **state)
{
	uint64_t start = clock_us();
	struct worker w = worker_start(DEVICE_HANGS, 0);
	struct told told;

	(void)state;
	assert_true(worker_tells(&w, WAIT_MS, &told));
	assert_int_equal(told.rc, -ETIMEDOUT);
	assert_non_null(strstr(told.text, "hangs"));
	assert_true(clock_us() - start >= OPENER_DEVICE_GRACE_MS * 1000);
	children_end();
	worker_kill(&w);
}

static void wrong_requests_for_devices_start_no_child(void **state)
{
	const struct opener_device_request bad[] = {
		{ OPENER_MAGIC, DEVICE_ONE, LIMIT_MS },
		{ OPENER_DEVICE_MAGIC, DEVICES, LIMIT_MS },
		{ OPENER_DEVICE_MAGIC, UINT32_MAX, LIMIT_MS },
		{ OPENER_DEVICE_MAGIC, DEVICE_ONE, OPENER_DEVICE_LIMIT_MS + 1 },
	};
	const struct opener_device_request good = { OPENER_DEVICE_MAGIC, DEVICE_ONE, 0 };
	struct err err;
	int back;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		back = send_raw(&bad[i], sizeof bad[i], 1);
		assert_true(openers_serve(&t.openers));
		assert_int_equal(outcome(back, &err), -EINVAL);
	}
	t.openers.conf.ndevices = 0;
	back = send_raw(&good, sizeof good, 1);
	assert_true(openers_serve(&t.openers));
	assert_int_equal(outcome(back, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no device"));
	assert_int_equal(t.openers.count, 0);
}

static void without_a_supervisor_no_device_opens(void **state)
{
	struct err err;

	(void)state;
	openers_end(&t.openers);
	assert_int_equal(opener_open_device(&t.client, DEVICE_ONE, LIMIT_MS, &err), -EPIPE);
	assert_non_null(strstr(err.text, "supervisor is gone"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)
#define TEST_DEVICES(f) cmocka_unit_test_setup_teardown(f, up_devices, down_devices)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_connection_arrives),
		TEST(a_failure_arrives_with_its_sentence),
		TEST(one_that_hangs_holds_up_nobody_and_ends),
		TEST(children_are_limited_in_number),
		TEST(another_host_is_refused_by_the_worker),
		TEST(wrong_requests_are_refused_without_a_child),
		TEST(too_few_and_too_many_descriptors_are_dropped),
		TEST(a_mount_without_a_server_connects_to_nothing),
		TEST(nothing_to_read_is_not_the_end_and_a_closed_worker_is),
		TEST(without_a_supervisor_dialling_fails),
		TEST_DEVICES(a_device_is_the_workers_alone_and_free_when_it_dies),
		TEST_DEVICES(a_device_that_is_busy_delays_its_own_request_alone),
		TEST_DEVICES(one_that_stays_busy_is_told_of),
		TEST_DEVICES(what_cannot_be_opened_is_told_of),
		TEST_DEVICES(an_open_that_hangs_is_ended_by_its_child),
		TEST_DEVICES(wrong_requests_for_devices_start_no_child),
		TEST_DEVICES(without_a_supervisor_no_device_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
