/* SPDX-License-Identifier: Apache-2.0 */
/* Locks at the server: the bytes, the table of what is held, and the client
 * against a lock service that the test plays itself (tests/fake/fake_peers.h). */
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

#include "backends/nfs/nlm_impl.h"
#include "common/clock.h"
#include "tests/fake/fake_peers.h"

#define WAIT_MS 10000

/* ---- the wire --------------------------------------------------------- */

static struct nfs_handle fh = { .len = 4, .data = { 1, 2, 3, 4 } };

static void lock_is_encoded_as_the_protocol_says(void **state)
{
	struct nlm_args a = { .cookie = 7,
			      .caller = "me",
			      .fh = &fh,
			      .svid = 9,
			      .start = 10,
			      .end = 29,
			      .exclusive = true,
			      .reclaim = true };
	uint8_t buf[256];
	struct enc e;
	struct dec d;
	uint32_t len;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	enc_nlm(&e, NLM_LOCK, &a);
	assert_false(e.full);
	dec_init(&d, buf, e.len);
	assert_int_equal(dec_u32(&d), 4);
	assert_int_equal(dec_u32(&d), 7);
	assert_false(dec_bool(&d)); /* block */
	assert_true(dec_bool(&d));  /* exclusive */
	assert_memory_equal(dec_opaque(&d, 64, &len), "me", 2);
	assert_memory_equal(dec_opaque(&d, 64, &len), fh.data, 4);
	dec_opaque(&d, 64, &len);
	assert_int_equal(len, NLM_OH_BYTES);
	assert_int_equal(dec_u32(&d), 9);
	assert_int_equal(dec_u64(&d), 10);
	assert_int_equal(dec_u64(&d), 20);
	assert_true(dec_bool(&d)); /* reclaim */
	assert_int_equal(dec_u32(&d), 0);
	assert_false(d.bad);
	assert_int_equal(dec_left(&d), 0);
}

static void end_of_file_is_length_zero(void **state)
{
	struct nlm_args a = { .caller = "", .fh = &fh, .start = 5, .end = BE_LOCK_END };
	uint8_t buf[256];
	struct enc e;
	struct dec d;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	enc_nlm(&e, NLM_UNLOCK, &a);
	dec_init(&d, buf + e.len - 16, 16);
	assert_int_equal(dec_u64(&d), 5);
	assert_int_equal(dec_u64(&d), 0);
}

/* A TEST reply behind the length of its cookie. */
static size_t denied_reply(uint8_t *buf, size_t cap, uint64_t off, uint64_t len)
{
	struct enc e;

	enc_init(&e, buf, cap);
	enc_u32(&e, 7);
	enc_u32(&e, NLM_DENIED);
	enc_u32(&e, true);
	enc_u32(&e, 99);
	enc_opaque(&e, "oh", 2);
	enc_u64(&e, off);
	enc_u64(&e, len);
	return e.len;
}

static void holder_is_decoded_and_kept_in_bounds(void **state)
{
	static const struct {
		uint64_t off, len, start, end;
	} t[] = {
		{ 3, 4, 3, 6 },
		{ 3, 0, 3, BE_LOCK_END },
		{ UINT64_MAX, 5, BE_LOCK_END, BE_LOCK_END },
		{ 8, UINT64_MAX, 8, BE_LOCK_END },
	};
	struct nlm_reply r;
	uint8_t buf[128];
	struct dec d;

	(void)state;
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		dec_init(&d, buf, denied_reply(buf, sizeof buf, t[i].off, t[i].len));
		dec_nlm(&d, NLM_TEST, 4, 7, &r);
		assert_false(d.bad);
		assert_true(r.exclusive);
		assert_int_equal(r.start, t[i].start);
		assert_int_equal(r.end, t[i].end);
	}
}

static void nonsense_is_refused(void **state)
{
	struct nlm_reply r;
	uint8_t buf[128];
	size_t len = denied_reply(buf, sizeof buf, 0, 0);
	struct dec d;

	(void)state;
	for (size_t n = 0; n < len; n++) {
		dec_init(&d, buf, n);
		dec_nlm(&d, NLM_TEST, 4, 7, &r);
		assert_true(d.bad);
	}
	dec_init(&d, buf, len);
	dec_nlm(&d, NLM_TEST, 4, 8, &r);
	assert_true(d.bad); /* another's cookie */
	dec_init(&d, buf, len);
	dec_nlm(&d, NLM_TEST, 8, 7, &r);
	assert_true(d.bad);
	buf[7] = 77;
	dec_init(&d, buf, len);
	dec_nlm(&d, NLM_LOCK, 4, 7, &r);
	assert_true(d.bad); /* no such status */
	assert_int_equal(nlm_errno(77), -EIO);
}

/* ---- the table -------------------------------------------------------- */

static struct nfs_backend b;
static struct nfs_node nodes[2];
static struct nlm_table table;

static struct nlm_owner *owner(uint64_t id, bool flock)
{
	struct be_lock lk = { .owner = id, .flock = flock };

	return nlm_owner_get(&table, &lk);
}

static void set(struct nlm_owner *o, uint64_t start, uint64_t end, enum nlm_kind kind)
{
	struct list freed = LIST_INIT(freed);
	struct nlm_spares s;

	assert_int_equal(nlm_spares_get(&s), 0);
	nlm_table_set(&table, &nodes[0].base, b.self, o, start, end, kind, &s, &freed);
	nlm_spares_put(&s);
	nlm_held_free(&freed);
}

/* The pieces of o as "start-end kind" in order. */
static void has(struct nlm_owner *o, const char *want)
{
	char got[256] = "";
	uint64_t pos = 0;
	struct nlm_held *h;

	while ((h = nlm_table_next(&table, &nodes[0].base, o, pos))) {
		snprintf(got + strlen(got), sizeof got - strlen(got), "%d-%d%c ", (int)h->start,
			 (int)h->end, h->exclusive ? 'x' : 's');
		pos = h->end + 1;
	}
	assert_string_equal(got, want);
}

static int table_up(void **state)
{
	(void)state;
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < 2; i++)
		nodes[i].base = (struct be_node){ .be = &b.base, .refs = 1, .type = S_IFREG };
	b.self = be_cred_new(0, 0, 0, NULL);
	nlm_table_init(&table, 0xfffffffe);
	return 0;
}

static int table_down(void **state)
{
	struct list freed = LIST_INIT(freed);

	(void)state;
	nlm_table_done(&table, &freed);
	nlm_held_free(&freed);
	be_cred_put(b.self);
	return nodes[0].base.refs == 1 && !table.nheld ? 0 : -1;
}

static void pieces_are_split_and_joined(void **state)
{
	struct nlm_owner *o = owner(1, false);

	(void)state;
	set(o, 0, 99, NLM_EXCLUSIVE);
	set(o, 40, 49, NLM_NOTHING);
	has(o, "0-39x 50-99x ");
	set(o, 10, 19, NLM_SHARED);
	has(o, "0-9x 10-19s 20-39x 50-99x ");
	set(o, 40, 49, NLM_EXCLUSIVE);
	has(o, "0-9x 10-19s 20-99x ");
	set(o, 10, 19, NLM_EXCLUSIVE);
	has(o, "0-99x ");
	set(o, 0, BE_LOCK_END, NLM_NOTHING);
	has(o, "");
	nlm_owner_put(&table, o);
}

static void owners_are_told_apart(void **state)
{
	struct nlm_owner *a = owner(1, false), *f = owner(1, true), *again = owner(1, false);

	(void)state;
	assert_ptr_equal(a, again);
	assert_ptr_not_equal(a, f);
	assert_true(a->svid >= 0 && f->svid >= 0);
	assert_int_not_equal(a->svid, f->svid);
	set(a, 0, 9, NLM_EXCLUSIVE);
	set(f, 0, 9, NLM_EXCLUSIVE);
	set(a, 0, 9, NLM_NOTHING);
	has(a, "");
	has(f, "0-9x ");
	nlm_owner_put(&table, a);
	nlm_owner_put(&table, again);
	nlm_owner_put(&table, f);
}

static void lost_piece_is_lost_until_unlocked(void **state)
{
	struct nlm_owner *o = owner(1, false);

	(void)state;
	set(o, 0, 99, NLM_EXCLUSIVE);
	nlm_table_lose(&table, nlm_table_next(&table, &nodes[0].base, o, 0));
	assert_true(nlm_table_lost(&table, &nodes[0].base));
	assert_false(nlm_table_lost(&table, &nodes[1].base));
	set(o, 40, 49, NLM_NOTHING);
	assert_int_equal(table.nlost, 2);
	set(o, 0, 99, NLM_NOTHING);
	assert_int_equal(table.nlost, 0);
	nlm_owner_put(&table, o);
}

/* ---- a lock service --------------------------------------------------- */

static struct {
	pthread_t thread;
	struct fake_peers peers; /* hung up under lock */
	pthread_mutex_t lock;
	/* guarded by lock */
	bool stop, silent, no_nm_lock;
	uint32_t lock_status, reclaim_status, unlock_status;
	unsigned locks, nm_locks, reclaims, unlocks, tests;
	uint64_t off, len; /* of the last call */
} srv = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct be_call call;
static atomic_bool interrupted;

/* What is said to a call whose arguments d is at; the ranges are remembered. */
static uint32_t judge(uint32_t proc, struct dec *d)
{
	uint32_t n;
	bool reclaim = false;

	if (proc == NLM_LOCK || proc == NLM_NM_LOCK)
		dec_bool(d);
	if (proc != NLM_UNLOCK)
		dec_bool(d);
	for (int i = 0; i < 3; i++)
		dec_opaque(d, 128, &n);
	dec_u32(d);
	srv.off = dec_u64(d);
	srv.len = dec_u64(d);
	if (proc == NLM_UNLOCK) {
		srv.unlocks++;
		return srv.unlock_status;
	}
	if (proc == NLM_TEST) {
		srv.tests++;
		return srv.lock_status;
	}
	reclaim = dec_bool(d);
	srv.nm_locks += proc == NLM_NM_LOCK;
	srv.locks++;
	srv.reclaims += reclaim;
	return reclaim ? srv.reclaim_status : srv.lock_status;
}

static void serve(int fd, const uint8_t *msg, size_t len)
{
	uint8_t buf[256];
	uint32_t xid, proc, cookie, n;
	struct dec d;
	struct enc e;

	dec_init(&d, msg, len);
	xid = dec_u32(&d);
	for (int i = 0; i < 4; i++)
		dec_u32(&d);
	proc = dec_u32(&d);
	for (int i = 0; i < 2; i++) {
		dec_u32(&d);
		dec_opaque(&d, 400, &n);
	}
	dec_u32(&d);
	cookie = dec_u32(&d);
	enc_init(&e, buf, sizeof buf);
	enc_u32(&e, 0);
	enc_u32(&e, xid);
	enc_u32(&e, 1);
	enc_u64(&e, 0);
	enc_u32(&e, 0);
	if (proc == NLM_NM_LOCK && srv.no_nm_lock) {
		enc_u32(&e, 3);
	} else {
		enc_u32(&e, 0);
		enc_u32(&e, 4);
		enc_u32(&e, cookie);
		enc_u32(&e, judge(proc, &d));
	}
	if (srv.silent)
		return;
	enc_set_marker(&e, 0);
	assert_int_equal(write(fd, buf, e.len), e.len);
}

static void *server_main(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd p[FAKE_PEERS_MAX];
		int n;
		bool stop;

		pthread_mutex_lock(&srv.lock);
		n = srv.peers.n;
		stop = srv.stop;
		for (int i = 0; i < n; i++)
			p[i] = (struct pollfd){ .fd = srv.peers.fd[i], .events = POLLIN };
		pthread_mutex_unlock(&srv.lock);
		if (stop)
			return NULL;
		poll(p, (nfds_t)n, 2);
		for (int i = 0; i < n; i++) {
			uint8_t mark[4], msg[2048];
			struct dec d;
			size_t len;

			if (!p[i].revents)
				continue;
			pthread_mutex_lock(&srv.lock);
			if (srv.peers.fd[i] == p[i].fd && fake_peers_read(p[i].fd, mark, 4)) {
				dec_init(&d, mark, 4);
				len = dec_u32(&d) & 0x7fffffff;
				if (len <= sizeof msg && fake_peers_read(p[i].fd, msg, len))
					serve(p[i].fd, msg, len);
			} else {
				fake_peers_hang_up(&srv.peers, i);
			}
			pthread_mutex_unlock(&srv.lock);
		}
	}
}

static int up(void **state)
{
	struct err err;

	(void)state;
	memset(&b, 0, sizeof b);
	table_up(state);
	strcpy(b.target.host, "test");
	strcpy(b.machine, "cell");
	b.target.dial = fake_peers_dial;
	b.target.dial_arg = &srv.peers;
	srv.stop = srv.silent = srv.no_nm_lock = false;
	srv.lock_status = srv.reclaim_status = srv.unlock_status = NLM_GRANTED;
	srv.locks = srv.nm_locks = srv.reclaims = srv.unlocks = srv.tests = 0;
	interrupted = false;
	call = (struct be_call){ .cred = b.self, .interrupted = &interrupted };
	if (ncall_pool_init(&b.pool, 4) || pthread_create(&srv.thread, NULL, server_main, NULL))
		return -1;
	return be_nfs_nlm_open(&b, 4045, &err);
}

static int down(void **state)
{
	(void)state;
	be_nfs_nlm_close(b.nlm);
	pthread_mutex_lock(&srv.lock);
	srv.stop = true;
	pthread_mutex_unlock(&srv.lock);
	pthread_join(srv.thread, NULL);
	fake_peers_done(&srv.peers);
	ncall_pool_done(&b.pool);
	be_cred_put(b.self);
	return nodes[0].base.refs == 1 ? 0 : -1;
}

static void hang_up(uint32_t reclaim_status, uint32_t lock_status)
{
	pthread_mutex_lock(&srv.lock);
	srv.reclaim_status = reclaim_status;
	srv.lock_status = lock_status;
	for (int i = 0; i < srv.peers.n; i++)
		fake_peers_hang_up(&srv.peers, i);
	pthread_mutex_unlock(&srv.lock);
}

static unsigned count(const unsigned *n)
{
	unsigned v;

	pthread_mutex_lock(&srv.lock);
	v = *n;
	pthread_mutex_unlock(&srv.lock);
	return v;
}

static void wait_count(const unsigned *n, unsigned want)
{
	for (int ms = 0; ms < WAIT_MS && count(n) < want; ms++)
		poll(NULL, 0, 1);
	assert_true(count(n) >= want);
}

static const struct be_lock whole = { .owner = 1, .exclusive = true, .end = BE_LOCK_END };
#define NODE (&nodes[0].base)

static int take(void)
{
	return be_nfs_lock(&b.base, &call, NODE, &whole);
}

static int give(void)
{
	return be_nfs_unlock(&b.base, &call, NODE, &whole);
}

static void lock_is_held_and_given_back(void **state)
{
	(void)state;
	assert_int_equal(take(), 0);
	assert_int_equal(b.nlm->table.nheld, 1);
	assert_int_equal(srv.nm_locks, 1);
	assert_int_equal(srv.len, 0);
	assert_int_equal(give(), 0);
	assert_int_equal(b.nlm->table.nheld, 0);
	assert_int_equal(srv.unlocks, 1);
}

static void refusals_have_their_errno(void **state)
{
	static const struct {
		uint32_t status;
		int rc;
	} t[] = { { NLM_DENIED, -EAGAIN },
		  { NLM_BLOCKED, -EAGAIN },
		  { NLM_DENIED_NOLOCKS, -ENOLCK },
		  { NLM_DEADLCK, -EDEADLK },
		  { NLM_ROFS, -EROFS },
		  { NLM_STALE_FH, -ESTALE },
		  { NLM_FBIG, -EFBIG },
		  { NLM_FAILED, -EIO } };

	(void)state;
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		srv.lock_status = t[i].status;
		assert_int_equal(take(), t[i].rc);
	}
	assert_int_equal(b.nlm->table.nheld, 0);
	assert_int_equal(srv.unlocks, 0); /* a refusal leaves no doubt */
}

static void plain_lock_where_nm_lock_is_unknown(void **state)
{
	(void)state;
	srv.no_nm_lock = true;
	assert_int_equal(take(), 0);
	assert_int_equal(srv.nm_locks, 0);
	assert_int_equal(srv.locks, 1);
}

static void grace_is_waited_out_but_can_be_interrupted(void **state)
{
	(void)state;
	srv.lock_status = NLM_DENIED_GRACE;
	interrupted = true;
	assert_int_equal(take(), -EINTR);
	assert_int_equal(b.nlm->table.nheld, 0);
}

static void lost_connection_takes_locks_again(void **state)
{
	(void)state;
	assert_int_equal(take(), 0);
	hang_up(NLM_GRANTED, NLM_DENIED);
	wait_count(&srv.reclaims, 1);
	srv.lock_status = NLM_GRANTED;
	assert_int_equal(take(), 0); /* waits for UP */
	assert_false(be_nfs_nlm_lost(b.nlm, NODE));
	assert_int_equal(b.nlm->table.nheld, 1);
	assert_int_equal(give(), 0);
}

static void outside_of_grace_they_are_ordinary_locks(void **state)
{
	(void)state;
	assert_int_equal(take(), 0);
	hang_up(NLM_DENIED_GRACE, NLM_GRANTED);
	wait_count(&srv.locks, 3);
	assert_int_equal(give(), 0);
	assert_int_equal(srv.reclaims, 1);
	assert_int_equal(srv.locks, 3);
}

static void lock_that_cannot_be_had_again_is_lost(void **state)
{
	(void)state;
	assert_int_equal(take(), 0);
	hang_up(NLM_DENIED_GRACE, NLM_DENIED);
	for (int ms = 0; ms < WAIT_MS && !be_nfs_nlm_lost(b.nlm, NODE); ms++)
		poll(NULL, 0, 1);
	assert_true(be_nfs_nlm_lost(b.nlm, NODE));
	assert_int_equal(give(), 0);
	assert_false(be_nfs_nlm_lost(b.nlm, NODE));
}

static void *interrupt_soon(void *arg)
{
	wait_count(&srv.locks, 1);
	interrupted = true;
	return arg;
}

static void interrupted_lock_is_given_back(void **state)
{
	pthread_t thread;

	(void)state;
	srv.silent = true;
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
	assert_int_equal(take(), -EINTR);
	pthread_join(thread, NULL);
	pthread_mutex_lock(&srv.lock);
	srv.silent = false;
	pthread_mutex_unlock(&srv.lock);
	wait_count(&srv.unlocks, 1);
	interrupted = false;
	assert_int_equal(take(), 0);
	assert_int_equal(b.nlm->table.nheld, 1);
}

/* The server may carry them out in any order. */
static void unlock_does_not_overtake_the_lock_it_undoes(void **state)
{
	pthread_t thread;

	(void)state;
	srv.silent = true;
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
	assert_int_equal(take(), -EINTR);
	pthread_join(thread, NULL);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(count(&srv.unlocks), 0);
		usleep(10000);
	}
	pthread_mutex_lock(&srv.lock);
	srv.silent = false;
	pthread_mutex_unlock(&srv.lock);
	wait_count(&srv.unlocks, 1);
	interrupted = false;
}

static void close_gives_all_back(void **state)
{
	(void)state;
	assert_int_equal(take(), 0);
	be_nfs_nlm_close(b.nlm);
	b.nlm = NULL;
	assert_int_equal(count(&srv.unlocks), 1);
	assert_int_equal(nodes[0].base.refs, 1);
}

static void test_tells_who_is_in_the_way(void **state)
{
	struct be_lock out;

	(void)state;
	assert_int_equal(be_nfs_lock_test(&b.base, &call, NODE, &whole, &out), 0);
	srv.lock_status = NLM_DENIED; /* without its holder: nonsense */
	assert_int_equal(be_nfs_lock_test(&b.base, &call, NODE, &whole, &out), -EIO);
	assert_int_equal(srv.tests, 2);
}

#define TABLE_TEST(f) cmocka_unit_test_setup_teardown(f, table_up, table_down)
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_is_encoded_as_the_protocol_says),
		cmocka_unit_test(end_of_file_is_length_zero),
		cmocka_unit_test(holder_is_decoded_and_kept_in_bounds),
		cmocka_unit_test(nonsense_is_refused),
		TABLE_TEST(pieces_are_split_and_joined),
		TABLE_TEST(owners_are_told_apart),
		TABLE_TEST(lost_piece_is_lost_until_unlocked),
		SERVER_TEST(lock_is_held_and_given_back),
		SERVER_TEST(refusals_have_their_errno),
		SERVER_TEST(plain_lock_where_nm_lock_is_unknown),
		SERVER_TEST(grace_is_waited_out_but_can_be_interrupted),
		SERVER_TEST(lost_connection_takes_locks_again),
		SERVER_TEST(outside_of_grace_they_are_ordinary_locks),
		SERVER_TEST(lock_that_cannot_be_had_again_is_lost),
		SERVER_TEST(interrupted_lock_is_given_back),
		SERVER_TEST(unlock_does_not_overtake_the_lock_it_undoes),
		SERVER_TEST(close_gives_all_back),
		SERVER_TEST(test_tells_who_is_in_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
