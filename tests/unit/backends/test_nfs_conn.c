/* SPDX-License-Identifier: Apache-2.0 */
/* A connection against a server that the test plays itself (tests/fake/fake_peers.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/nfs/conn.h"
#include "common/clock.h"
#include "tests/fake/fake_peers.h"

#define WAIT_MS 10000
#define REPLY_MS 400

static struct {
	struct nsock_target target;
	struct ncall_pool pool;
	_Atomic uint32_t xids;
	struct nconn *conn;
	struct fake_peers peers;
} t;

/* ---- a dialler that answers later --------------------------------------- */

static int late_ends[FAKE_PEERS_MAX]; /* written to: the outcome is known */
static _Atomic int lates;
static unsigned late_first[FAKE_PEERS_MAX];

static int late_dial(void *arg, const struct be_dial *want, struct err *err)
{
	int pair[2], i = atomic_load(&lates);

	(void)arg;
	(void)err;
	if (i == FAKE_PEERS_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -EMFILE;
	late_first[i] = want->first;
	late_ends[i] = pair[1];
	atomic_store(&lates, i + 1);
	return pair[0];
}

static int late_dialled(int fd_take, struct err *err)
{
	char c;
	ssize_t n = read(fd_take, &c, 1);

	close(fd_take);
	return n == 1 ? fake_peers_dial(&t.peers, NULL, err) :
			err_set(err, -ETIMEDOUT, "nobody answered");
}

static int late_end(int i)
{
	for (int ms = 0; ms < WAIT_MS && atomic_load(&lates) <= i; ms++)
		poll(NULL, 0, 1);
	assert_true(atomic_load(&lates) > i);
	return late_ends[i];
}

static int up_with(uint64_t reply_ms)
{
	struct nconn_conf conf = {
		.target = &t.target, .name = "test", .xids = &t.xids, .reply_ms = reply_ms
	};

	memset(&t, 0, sizeof t);
	strcpy(t.target.host, "test");
	t.target.dial = fake_peers_dial;
	t.target.dial_arg = &t.peers;
	t.xids = 1000;
	if (ncall_pool_init(&t.pool, 4))
		return -1;
	return nconn_new(&conf, -1, &t.conn);
}

static int up(void **state)
{
	(void)state;
	return up_with(0);
}

static int up_late(void **state)
{
	(void)state;
	atomic_store(&lates, 0);
	if (up_with(0))
		return -1;
	/* Nothing was submitted: the thread has not looked at it yet. */
	nconn_free(t.conn);
	t.target.dial = late_dial;
	t.target.dialled = late_dialled;
	return nconn_new(
		&(struct nconn_conf){ .target = &t.target, .name = "test", .xids = &t.xids }, -1,
		&t.conn);
}

static int up_impatient(void **state)
{
	(void)state;
	return up_with(REPLY_MS);
}

static int down(void **state)
{
	unsigned n;

	(void)state;
	nconn_free(t.conn);
	fake_peers_done(&t.peers);
	n = t.pool.nfree;
	ncall_pool_done(&t.pool);
	return n >= 4 ? 0 : -1;
}

static int peer(int i)
{
	return fake_peers_wait(&t.peers, i);
}

static void hang_up(int i)
{
	peer(i);
	fake_peers_hang_up(&t.peers, i);
}

static uint32_t get_u32(const uint8_t *p)
{
	struct dec d;

	dec_init(&d, p, 4);
	return dec_u32(&d);
}

/* Reads a request whole; returns its XID. */
static uint32_t take_request(int fd, uint8_t *buf, size_t cap, size_t *len)
{
	uint8_t mark[4];

	assert_true(fake_peers_read(fd, mark, 4));
	*len = get_u32(mark) & 0x7fffffff;
	assert_true(*len <= cap);
	assert_true(fake_peers_read(fd, buf, *len));
	return get_u32(buf);
}

static uint32_t take_xid(int fd)
{
	uint8_t buf[65536];
	size_t len;

	return take_request(fd, buf, sizeof buf, &len);
}

static void put_reply(struct enc *e, uint32_t xid, uint32_t word)
{
	enc_u32(e, 0x80000000u | 28);
	enc_u32(e, xid);
	enc_u32(e, 1);
	for (int i = 0; i < 4; i++)
		enc_u32(e, 0);
	enc_u32(e, word);
}

static void reply(int fd, uint32_t xid, uint32_t word)
{
	uint8_t buf[32];
	struct enc e;

	enc_init(&e, buf, sizeof buf);
	put_reply(&e, xid, word);
	assert_int_equal(write(fd, buf, e.len), e.len);
}

static struct ncall *call_new(void)
{
	static const struct nfs_proc proc = { 100003, 3, 1 };
	struct be_cred *cred = be_cred_new(0, 0, 0, NULL);
	struct ncall *call = ncall_new(&t.pool);
	struct enc e;

	assert_non_null(call);
	enc_init(&e, call->args, call->args_cap);
	enc_call(&e, &proc, cred, "m");
	enc_set_marker(&e, 0);
	call->args_len = e.len;
	call->done = ncall_finish;
	be_cred_put(cred);
	return call;
}

static struct ncall *submitted(void)
{
	struct ncall *call = call_new();

	nconn_submit(t.conn, ncall_get(call), 0);
	return call;
}

/* Waits for call, checks its word, and lets it go. */
static void finish(struct ncall *call, int error, uint32_t word)
{
	assert_true(ncall_wait(call, clock_ms() + WAIT_MS));
	assert_int_equal(call->error, error);
	if (!error) {
		assert_int_equal(call->reply_len, 28);
		assert_int_equal(get_u32(call->reply + 24), word);
	}
	ncall_put(call);
}

static void replies_find_their_calls_in_any_order(void **state)
{
	struct ncall *a = submitted(), *b = submitted(), *c = submitted();
	int fd = peer(0);
	uint32_t xa = take_xid(fd), xb = take_xid(fd), xc = take_xid(fd);

	(void)state;
	assert_int_equal(xa, 1000);
	reply(fd, xc, 3);
	reply(fd, 77777, 9); /* of nobody */
	reply(fd, xa, 1);
	reply(fd, xa, 8); /* twice */
	reply(fd, xb, 2);
	finish(a, 0, 1);
	finish(b, 0, 2);
	finish(c, 0, 3);
	assert_int_equal(t.peers.n, 1);
}

static void a_lost_connection_is_made_anew_and_keeps_the_xids(void **state)
{
	struct ncall *a = submitted(), *b = submitted();
	int fd = peer(0);
	uint32_t xa = take_xid(fd), xb = take_xid(fd);

	(void)state;
	reply(fd, xa, 1);
	finish(a, 0, 1);
	t.peers.refuse = 2; /* back-off, then success */
	hang_up(0);
	fd = peer(1);
	assert_int_equal(take_xid(fd), xb);
	reply(fd, xb, 2);
	assert_true(ncall_wait(b, clock_ms() + WAIT_MS));
	assert_true(b->resent);
	finish(b, 0, 2);
}

static void an_idle_connection_is_made_anew_only_when_needed(void **state)
{
	struct ncall *a = submitted();

	(void)state;
	reply(peer(0), take_xid(peer(0)), 1);
	finish(a, 0, 1);
	hang_up(0);
	poll(NULL, 0, 50);
	assert_int_equal(t.peers.n, 1);
	a = submitted();
	reply(peer(1), take_xid(peer(1)), 2);
	assert_true(ncall_wait(a, clock_ms() + WAIT_MS));
	finish(a, 0, 2);
}

static void garbage_costs_the_connection_not_the_call(void **state)
{
	static const uint8_t garbage[] = { 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4 };
	struct ncall *a = submitted();
	uint32_t xid = take_xid(peer(0));

	(void)state;
	assert_int_equal(write(peer(0), garbage, sizeof garbage), sizeof garbage);
	assert_int_equal(take_xid(peer(1)), xid);
	reply(peer(1), xid, 4);
	finish(a, 0, 4);
}

static void dialling_may_take_its_time(void **state)
{
	struct ncall *a = submitted();
	uint32_t xid;

	(void)state;
	assert_int_equal(write(late_end(0), "y", 1), 1);
	xid = take_xid(peer(0));
	reply(peer(0), xid, 7);
	finish(a, 0, 7);
	close(late_ends[0]);
}

/* Neither deadlines nor the end of the mount wait for it: down() frees. */
static void dialling_without_an_outcome_holds_up_nothing(void **state)
{
	struct ncall *a = call_new(), *b;
	uint64_t start = clock_ms();

	(void)state;
	a->deadline_ms = start + 50;
	nconn_submit(t.conn, ncall_get(a), 0);
	late_end(0);
	finish(a, -ETIMEDOUT, 0);
	b = submitted();
	nconn_free(t.conn);
	t.conn = NULL;
	finish(b, -EIO, 0);
	assert_true(clock_ms() < start + WAIT_MS / 2);
	close(late_ends[0]);
}

static void after_failures_another_address_is_first(void **state)
{
	struct ncall *a = submitted();

	(void)state;
	for (int i = 0; i < 3; i++)
		close(late_end(i));
	assert_int_equal(write(late_end(3), "y", 1), 1);
	reply(peer(0), take_xid(peer(0)), 1);
	finish(a, 0, 1);
	assert_int_equal(late_first[0], 0);
	assert_true(late_first[3] > late_first[1]);
	close(late_ends[3]);
}

/* Others are answered all the time: silence alone would never be noticed. */
static void a_lost_reply_is_asked_for_again(void **state)
{
	struct ncall *a = submitted();
	uint32_t xa = take_xid(peer(0));
	uint64_t start = clock_ms();

	(void)state;
	while (atomic_load(&t.peers.n) == 1 && clock_ms() < start + WAIT_MS) {
		struct ncall *b = submitted();
		struct pollfd p = { .fd = peer(0), .events = POLLIN };

		/* This one may have come too late for the first connection. */
		if (poll(&p, 1, 50) == 1 && atomic_load(&t.peers.n) == 1)
			reply(peer(0), take_xid(peer(0)), 2);
		if (!ncall_wait(b, clock_ms() + 50)) {
			assert_int_equal(take_xid(peer(1)), xa);
			reply(peer(1), xa, 1);
			reply(peer(1), take_xid(peer(1)), 2);
			finish(b, 0, 2);
			assert_true(ncall_wait(a, clock_ms() + WAIT_MS));
			assert_true(a->resent);
			finish(a, 0, 1);
			return;
		}
		finish(b, 0, 2);
		poll(NULL, 0, 20);
	}
	assert_true(clock_ms() >= start + REPLY_MS);
	assert_int_equal(take_xid(peer(1)), xa);
	reply(peer(1), xa, 1);
	finish(a, 0, 1);
}

/* A READ reply: its head says n bytes; have of them follow. */
static void half_read_reply(int fd, uint32_t xid, uint32_t n, const char *data, size_t have)
{
	uint8_t buf[128];
	struct enc e;

	enc_init(&e, buf, sizeof buf);
	enc_u32(&e, 0x80000000u | (44 + n));
	enc_u32(&e, xid);
	enc_u32(&e, 1);
	for (int i = 0; i < 6; i++)
		enc_u32(&e, 0); /* accepted, no verifier, success, OK, no attributes */
	enc_u32(&e, n);
	enc_u32(&e, 1);
	enc_u32(&e, n);
	assert_int_equal(write(fd, buf, e.len), e.len);
	assert_int_equal(write(fd, data, have), have);
}

static void a_half_received_read_is_received_again(void **state)
{
	char room[32];
	struct iovec iov[] = { { room, 20 }, { room + 20, 12 } };
	struct ncall *call = call_new();
	uint32_t xid;

	(void)state;
	call->kind = NCALL_READ;
	call->iov = iov;
	call->niov = 2;
	call->payload_len = sizeof room;
	nconn_submit(t.conn, ncall_get(call), 0);
	xid = take_xid(peer(0));
	half_read_reply(peer(0), xid, 32, "wrong wrong wrong wrong wrong", 25);
	hang_up(0);
	assert_int_equal(take_xid(peer(1)), xid);
	half_read_reply(peer(1), xid, 32, "0123456789abcdef0123456789abcdef", 32);
	assert_true(ncall_wait(call, clock_ms() + WAIT_MS));
	assert_int_equal(call->error, 0);
	assert_int_equal(call->head.data_len, 32);
	assert_memory_equal(room, "0123456789abcdef0123456789abcdef", 32);
	ncall_put(call);
}

static void a_large_write_goes_out_whole_past_a_full_socket(void **state)
{
	enum { PART = 300001, ROOM = 2 * PART + 1024 };
	char *data = malloc(2 * PART);
	uint8_t *got = malloc(ROOM);
	struct iovec iov[] = { { data, PART }, { data + PART, PART } };
	struct ncall *call = call_new(), *after;
	size_t len, head = call->args_len;
	struct enc e;
	uint32_t xid;

	(void)state;
	for (size_t i = 0; i < 2 * PART; i++)
		data[i] = (char)(i * 7 + i / 251);
	call->kind = NCALL_WRITE;
	call->iov = iov;
	call->niov = 2;
	call->payload_len = 2 * PART;
	enc_init(&e, call->args, call->args_cap);
	e.len = head;
	enc_set_marker(&e, 2 * PART + 2);
	nconn_submit(t.conn, ncall_get(call), 0);
	after = submitted();
	xid = take_request(peer(0), got, ROOM, &len);
	assert_int_equal(len, head - 4 + 2 * PART + 2);
	assert_memory_equal(got + head - 4, data, 2 * PART);
	assert_int_equal(take_xid(peer(0)), xid + 1);
	reply(peer(0), xid, 0);
	reply(peer(0), xid + 1, 0);
	finish(call, 0, 0);
	finish(after, 0, 0);
	free(data);
	free(got);
}

static void an_abandoned_call_is_not_sent_again(void **state)
{
	struct ncall *a = submitted(), *b = submitted();
	uint32_t xa = take_xid(peer(0)), xb = take_xid(peer(0));

	(void)state;
	nconn_abandon(t.conn, a);
	hang_up(0);
	assert_true(xa != xb);
	assert_int_equal(take_xid(peer(1)), xb);
	reply(peer(1), xb, 2);
	finish(b, 0, 2);
	finish(a, -EINTR, 0);
}

static void a_deadline_ends_an_unanswered_call(void **state)
{
	struct ncall *a = call_new(), *b;
	uint32_t xa;

	(void)state;
	a->deadline_ms = clock_ms() + 50;
	nconn_submit(t.conn, ncall_get(a), 0);
	xa = take_xid(peer(0));
	finish(a, -ETIMEDOUT, 0);
	reply(peer(0), xa, 1); /* too late, and harmless */
	b = submitted();
	reply(peer(0), take_xid(peer(0)), 2);
	finish(b, 0, 2);
}

/* Sent, delayed, and submitted afterwards; other calls go on. */
static void reads_can_be_ended_all_at_once(void **state)
{
	struct ncall *reads[3], *other;
	uint32_t sent, xid;

	(void)state;
	for (int i = 0; i < 3; i++) {
		reads[i] = call_new();
		reads[i]->kind = NCALL_READ;
	}
	nconn_submit(t.conn, ncall_get(reads[0]), 0);
	sent = take_xid(peer(0));
	nconn_submit(t.conn, ncall_get(reads[1]), 60000);
	nconn_fail_reads(t.conn);
	finish(reads[0], -ETIMEDOUT, 0);
	finish(reads[1], -ETIMEDOUT, 0);
	nconn_submit(t.conn, ncall_get(reads[2]), 0);
	finish(reads[2], -ETIMEDOUT, 0);
	reply(peer(0), sent, 1); /* too late, and harmless */
	other = submitted();
	do
		xid = take_xid(peer(0));
	while (xid != other->xid);
	reply(peer(0), xid, 2);
	finish(other, 0, 2);
}

static void a_delayed_call_waits(void **state)
{
	struct ncall *a = call_new(), *b;
	uint64_t start = clock_ms();

	(void)state;
	nconn_submit(t.conn, ncall_get(a), 100);
	b = submitted();
	assert_int_equal(take_xid(peer(0)), 1001);
	assert_int_equal(take_xid(peer(0)), 1000);
	assert_true(clock_ms() >= start + 90);
	reply(peer(0), 1000, 1);
	reply(peer(0), 1001, 2);
	finish(a, 0, 1);
	finish(b, 0, 2);
}

static void closing_fails_what_is_in_flight(void **state)
{
	struct ncall *a = submitted(), *b = call_new();

	(void)state;
	nconn_submit(t.conn, ncall_get(b), 60000);
	take_xid(peer(0));
	nconn_free(t.conn);
	t.conn = NULL;
	finish(a, -EIO, 0);
	finish(b, -EIO, 0);
}

int main(void)
{
#define CONN_TEST(f) cmocka_unit_test_setup_teardown(f, up, down)
	const struct CMUnitTest tests[] = {
		CONN_TEST(replies_find_their_calls_in_any_order),
		CONN_TEST(a_lost_connection_is_made_anew_and_keeps_the_xids),
		CONN_TEST(an_idle_connection_is_made_anew_only_when_needed),
		CONN_TEST(garbage_costs_the_connection_not_the_call),
		CONN_TEST(a_half_received_read_is_received_again),
		cmocka_unit_test_setup_teardown(a_lost_reply_is_asked_for_again, up_impatient,
						down),
		CONN_TEST(a_large_write_goes_out_whole_past_a_full_socket),
		CONN_TEST(an_abandoned_call_is_not_sent_again),
		CONN_TEST(a_deadline_ends_an_unanswered_call),
		CONN_TEST(reads_can_be_ended_all_at_once),
		CONN_TEST(a_delayed_call_waits),
		cmocka_unit_test_setup_teardown(dialling_may_take_its_time, up_late, down),
		cmocka_unit_test_setup_teardown(dialling_without_an_outcome_holds_up_nothing,
						up_late, down),
		cmocka_unit_test_setup_teardown(after_failures_another_address_is_first, up_late,
						down),
		CONN_TEST(closing_fails_what_is_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
