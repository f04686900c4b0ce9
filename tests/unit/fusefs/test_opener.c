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
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "fusefs/opener.h"

#define WAIT_MS 10000
#define LIMIT_MS 8000
#define SHORT_MS 80

enum { PORT_GOOD = 2049, PORT_REFUSED, PORT_HANGS };

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
