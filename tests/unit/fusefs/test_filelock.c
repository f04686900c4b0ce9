/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of several owners against a model that knows each byte, kept in the daemon
 * alone and together with a store that keeps them too, which the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/filelock.h"
#include "fusefs/interrupt.h"
#include "fusefs/inode.h"
#include "fusefs/request.h"
#include "fusefs/session.h"

#define BYTES 24
#define OWNERS 3
#define STEPS 3000
#define WAIT_MS 5000

/* Who has a byte how: 0, F_RDLCK + 1 or F_WRLCK + 1, by owner. */
struct map {
	uint8_t kind[OWNERS][BYTES];
};

static struct {
	struct volume v;
	struct session s;
	struct arena arena;
	struct inode in;
	struct backend be;
	struct be_node node;
	int answers; /* the other end of s.fuse_fd */
	struct map model;
	/* the store */
	pthread_mutex_t lock;
	struct map store;
	int refuse; /* so many locks: held by the stranger; -1: all */
	int fail;   /* -errno for locks, after the stranger */
	unsigned locks, unlocks;
} t;

/* ---- the store --------------------------------------------------------- */

static void map_set(struct map *m, uint64_t owner, uint64_t start, uint64_t end, int kind)
{
	for (uint64_t i = start; i <= end && i < BYTES; i++)
		m->kind[owner - 1][i] = (uint8_t)kind;
}

static bool map_excludes(const struct map *m, uint64_t owner, uint64_t start, uint64_t end,
			 uint32_t type)
{
	for (uint64_t o = 1; o <= OWNERS; o++)
		for (uint64_t i = start; o != owner && i <= end && i < BYTES; i++)
			if (m->kind[o - 1][i] &&
			    (type == F_WRLCK || m->kind[o - 1][i] == F_WRLCK + 1))
				return true;
	return false;
}

static int store_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		      const struct be_lock *lk)
{
	int rc = 0;

	(void)be;
	(void)call;
	(void)node;
	pthread_mutex_lock(&t.lock);
	t.locks++;
	if (t.refuse) {
		t.refuse -= t.refuse > 0;
		rc = -EAGAIN;
	} else {
		rc = t.fail;
	}
	if (!rc)
		map_set(&t.store, lk->owner, lk->start, lk->end,
			(lk->exclusive ? F_WRLCK : F_RDLCK) + 1);
	pthread_mutex_unlock(&t.lock);
	return rc;
}

static int store_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
			const struct be_lock *lk)
{
	(void)be;
	(void)call;
	(void)node;
	pthread_mutex_lock(&t.lock);
	t.unlocks++;
	map_set(&t.store, lk->owner, lk->start, lk->end, 0);
	pthread_mutex_unlock(&t.lock);
	return 0;
}

static int store_test(struct backend *be, const struct be_call *call, struct be_node *node,
		      const struct be_lock *lk, struct be_lock *out)
{
	(void)be;
	(void)call;
	(void)node;
	if (!t.refuse)
		return 0;
	*out = *lk;
	out->exclusive = true;
	return 1;
}

static const struct backend_ops ops = { .lock = store_lock,
					.unlock = store_unlock,
					.lock_test = store_test };

/* ---- a volume with one file --------------------------------------------- */

static int up_with(unsigned caps)
{
	int fds[2];

	memset(&t, 0, sizeof t);
	pthread_mutex_init(&t.lock, NULL);
	if (pipe2(fds, O_CLOEXEC))
		return -1;
	t.answers = fds[0];
	t.be.ops = &ops;
	t.be.limits.caps = caps;
	t.node = (struct be_node){ .be = &t.be, .refs = 1, .type = S_IFREG };
	t.s.fuse_fd = fds[1];
	t.s.v = &t.v;
	t.v.be = &t.be;
	t.v.arena = &t.arena;
	t.arena.slots = calloc(ARENA_SLOTS, sizeof *t.arena.slots);
	t.v.inodes = calloc(4, sizeof *t.v.inodes);
	t.in.v = &t.v;
	t.in.nodeid = 2;
	t.in.node = &t.node;
	list_init(&t.in.posix_locks);
	list_init(&t.in.flock_locks);
	list_init(&t.in.lock_waiters);
	t.v.inodes[2] = &t.in;
	filelocks_init(&t.v.locks);
	return requests_init(&t.v);
}

static int up(void **state)
{
	(void)state;
	return up_with(0);
}

static int up_there(void **state)
{
	(void)state;
	return up_with(BE_CAP_LOCKS);
}

static int down(void **state)
{
	unsigned left = t.in.nlocks;

	(void)state;
	filelocks_stop(&t.v.locks);
	filelocks_done(&t.v.locks);
	requests_done(&t.v);
	free(t.arena.slots);
	free((void *)t.v.inodes);
	close(t.s.fuse_fd);
	close(t.answers);
	return left ? -1 : 0;
}

static struct be_cred *cred(void)
{
	return be_cred_new(0, 0, 0, NULL);
}

/* A request on a thread that may block. request_done() or its answer ends it. */
static struct request *request(uint64_t unique)
{
	struct request *rq = calloc(1, sizeof *rq);
	struct fuse_in_header *hdr = calloc(1, sizeof *hdr);

	*hdr = (struct fuse_in_header){ .unique = unique, .nodeid = 2 };
	rq->v = &t.v;
	rq->s = &t.s;
	t.s.nrequests++;
	rq->slot = ARENA_SLOTS_SMALL;
	rq->hdr = hdr;
	rq->msg = (uint8_t *)hdr;
	rq->len = ARENA_SLOT_SMALL + 1; /* does not move */
	rq->may_block = true;
	rq->cred = cred();
	list_init(&rq->signalled);
	mutex_lock(&t.v.slot_lock);
	t.v.nlarge_free--;
	mutex_unlock(&t.v.slot_lock);
	return rq;
}

static void request_done(struct request *rq)
{
	free(rq->hdr);
	rq->hdr = NULL;
	request_free(rq);
}

static int set_as(uint64_t owner, uint32_t type, uint64_t start, uint64_t end, uint64_t fh,
		  bool flock)
{
	struct fuse_lk_in arg = { .owner = owner, .fh = fh, .lk = { start, end, type, 1 } };
	struct request *rq = request(1);
	int rc = filelock_set(rq, &t.in, &arg, flock, false);

	request_done(rq);
	return rc;
}

static int set(uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
	return set_as(owner, type, start, end, owner, false);
}

static void release(uint64_t owner)
{
	struct request *rq = request(1);

	assert_int_equal(filelock_release(rq, &t.in, owner, false), 0);
	request_done(rq);
}

static uint32_t get(uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
	struct fuse_file_lock lk = { start, end, type, 1 };
	struct request *rq = request(1);

	assert_int_equal(filelock_get(rq, &t.in, owner, &lk), 0);
	request_done(rq);
	return lk.type;
}

/* Each byte, as an outsider sees it, is what the model says. */
static void check_all(void)
{
	for (uint64_t i = 0; i < BYTES; i++) {
		bool any = map_excludes(&t.model, 0, i, i, F_WRLCK);
		bool excl = map_excludes(&t.model, 0, i, i, F_RDLCK);

		assert_int_equal(get(99, F_WRLCK, i, i) != F_UNLCK, any);
		assert_int_equal(get(99, F_RDLCK, i, i) != F_UNLCK, excl);
	}
	if (t.be.limits.caps)
		assert_memory_equal(&t.store, &t.model, sizeof t.model);
}

/* ---- tests --------------------------------------------------------------- */

static void hole_in_the_middle_splits(void **state)
{
	(void)state;
	assert_int_equal(set(1, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(1, F_UNLCK, 4, 5), 0);
	map_set(&t.model, 1, 0, 9, F_WRLCK + 1);
	map_set(&t.model, 1, 4, 5, 0);
	check_all();
	assert_int_equal(set(2, F_WRLCK, 4, 5), 0);
	assert_int_equal(set(2, F_RDLCK, 3, 5), -EAGAIN);
	release(1);
	release(2);
}

static void upgrade_and_downgrade_replace(void **state)
{
	(void)state;
	assert_int_equal(set(1, F_RDLCK, 0, 9), 0);
	assert_int_equal(set(2, F_RDLCK, 5, 14), 0);
	assert_int_equal(set(1, F_WRLCK, 0, 9), -EAGAIN); /* the other reads there */
	assert_int_equal(set(1, F_WRLCK, 0, 4), 0);
	assert_int_equal(set(2, F_RDLCK, 4, 4), -EAGAIN);
	assert_int_equal(set(1, F_RDLCK, 0, 4), 0);
	assert_int_equal(set(2, F_RDLCK, 4, 4), 0);
	map_set(&t.model, 1, 0, 9, F_RDLCK + 1);
	map_set(&t.model, 2, 4, 14, F_RDLCK + 1);
	check_all();
	release(1);
	release(2);
}

static void random_locks_are_what_the_model_says(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int i = 0; i < STEPS; i++) {
		uint64_t o = 1 + (unsigned)rand_r(&seed) % OWNERS;
		uint64_t start = (unsigned)rand_r(&seed) % BYTES;
		uint64_t end = start + (unsigned)rand_r(&seed) % (BYTES - start);
		static const uint32_t types[] = { F_RDLCK, F_WRLCK, F_UNLCK, F_UNLCK };
		uint32_t type = types[rand_r(&seed) % 4];
		bool no = type != F_UNLCK && map_excludes(&t.model, o, start, end, type);

		t.refuse = t.be.limits.caps && type != F_UNLCK && rand_r(&seed) % 5 == 0;
		if (t.refuse)
			no = true;
		assert_int_equal(set(o, type, start, end), no ? -EAGAIN : 0);
		t.refuse = 0;
		if (!no)
			map_set(&t.model, o, start, end, type == F_UNLCK ? 0 : (int)type + 1);
		if (i % 50 == 0)
			check_all();
	}
	for (uint64_t o = 1; o <= OWNERS; o++) {
		release(o);
		map_set(&t.model, o, 0, BYTES, 0);
	}
	check_all();
}

static void flock_and_fcntl_do_not_meet(void **state)
{
	struct request *rq = request(1);

	(void)state;
	assert_int_equal(set_as(1, F_WRLCK, 0, INT64_MAX, 5, true), 0);
	assert_int_equal(set_as(2, F_RDLCK, 0, INT64_MAX, 6, true), -EAGAIN);
	if (!t.be.limits.caps)
		assert_int_equal(set(2, F_WRLCK, 0, 9), 0);
	assert_int_equal(filelock_release_handle(rq, &t.in, 5), 0);
	request_done(rq);
	assert_int_equal(set_as(2, F_RDLCK, 0, INT64_MAX, 6, true), 0);
	rq = request(1);
	assert_int_equal(filelock_release(rq, &t.in, 2, true), 0);
	request_done(rq);
	release(2);
}

static void receiver_hands_on_what_asks_the_store(void **state)
{
	struct fuse_lk_in arg = { .owner = 1, .lk = { 0, 9, F_WRLCK, 1 } };
	struct fuse_file_lock lk = { 0, 9, F_WRLCK, 1 };
	struct request *rq = request(1);

	(void)state;
	assert_int_equal(set(1, F_WRLCK, 0, 9), 0);
	rq->may_block = false;
	assert_int_equal(filelock_set(rq, &t.in, &arg, false, false), OP_PUNT);
	assert_int_equal(filelock_get(rq, &t.in, 1, &lk), OP_PUNT);
	assert_int_equal(filelock_release(rq, &t.in, 2, false), 0); /* has none */
	assert_int_equal(filelock_release(rq, &t.in, 1, false), OP_PUNT);
	assert_int_equal(t.unlocks, 0);
	rq->may_block = true;
	assert_int_equal(filelock_release(rq, &t.in, 1, false), 0);
	assert_int_equal(t.unlocks, 1);
	request_done(rq);
}

static void refused_upgrade_leaves_the_old_lock(void **state)
{
	(void)state;
	assert_int_equal(set(1, F_RDLCK, 0, 9), 0);
	t.fail = -ENOLCK;
	assert_int_equal(set(1, F_WRLCK, 2, 5), -ENOLCK);
	t.fail = 0;
	map_set(&t.model, 1, 0, 9, F_RDLCK + 1);
	check_all();
	release(1);
}

static void strangers_lock_is_told(void **state)
{
	(void)state;
	t.refuse = -1;
	assert_int_equal(get(1, F_RDLCK, 0, 9), F_WRLCK);
	t.refuse = 0;
	assert_int_equal(get(1, F_RDLCK, 0, 9), F_UNLCK);
}

/* The error in the next answer to the kernel, that of request unique. */
static int answer_to(uint64_t unique)
{
	struct pollfd p = { .fd = t.answers, .events = POLLIN };
	struct fuse_out_header out;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(t.answers, &out, sizeof out), sizeof out);
	assert_int_equal(out.unique, unique);
	return out.error;
}

/* Starts to wait for a lock of owner on [0, 9]. Its header outlives the request. */
static struct fuse_in_header *wait_for(uint64_t owner, uint64_t unique)
{
	struct fuse_lk_in arg = { .owner = owner, .fh = owner, .lk = { 0, 9, F_WRLCK, 1 } };
	struct request *rq = request(unique);
	struct fuse_in_header *hdr = rq->hdr;

	assert_int_equal(filelock_set(rq, &t.in, &arg, false, true), OP_PARKED);
	return hdr;
}

static void waiter_asks_until_the_stranger_is_gone(void **state)
{
	struct fuse_in_header *hdr;

	(void)state;
	t.refuse = 3;
	hdr = wait_for(1, 11);
	assert_int_equal(answer_to(11), 0);
	assert_int_equal(t.locks, 4);
	assert_int_equal(set(2, F_RDLCK, 0, 0), -EAGAIN);
	release(1);
	free(hdr);
}

static void waiters_of_this_mount_queue_up(void **state)
{
	struct fuse_in_header *a, *b;

	(void)state;
	assert_int_equal(set(1, F_WRLCK, 0, 9), 0);
	a = wait_for(2, 12);
	b = wait_for(3, 13);
	assert_int_equal(t.locks, 1); /* the store hears of one at a time */
	release(1);
	assert_int_equal(answer_to(12), 0);
	release(2);
	assert_int_equal(answer_to(13), 0);
	release(3);
	free(a);
	free(b);
}

static void waiter_is_interrupted(void **state)
{
	struct fuse_in_header *hdr;

	(void)state;
	t.refuse = -1;
	hdr = wait_for(1, 14);
	assert_true(interrupt_request(&t.s, 14));
	assert_int_equal(answer_to(14), -EINTR);
	pthread_mutex_lock(&t.lock);
	t.refuse = 0;
	pthread_mutex_unlock(&t.lock);
	assert_int_equal(set(2, F_WRLCK, 0, 9), 0);
	release(2);
	free(hdr);
}

static void circle_of_waiters_is_refused(void **state)
{
	struct fuse_lk_in arg = { .owner = 1, .fh = 1, .lk = { 10, 19, F_WRLCK, 1 } };
	struct fuse_in_header *hdr;
	struct request *rq;

	(void)state;
	assert_int_equal(set(1, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(2, F_WRLCK, 10, 19), 0);
	hdr = wait_for(2, 15);
	rq = request(16);
	assert_int_equal(filelock_set(rq, &t.in, &arg, false, true), -EDEADLK);
	request_done(rq);
	release(1);
	assert_int_equal(answer_to(15), 0);
	release(2);
	free(hdr);
}

#define HERE(f) cmocka_unit_test_setup_teardown(f, up, down)
#define THERE(f)                                     \
	{                                            \
#f "_there", f, up_there, down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HERE(hole_in_the_middle_splits),
		THERE(hole_in_the_middle_splits),
		HERE(upgrade_and_downgrade_replace),
		THERE(upgrade_and_downgrade_replace),
		HERE(random_locks_are_what_the_model_says),
		THERE(random_locks_are_what_the_model_says),
		HERE(flock_and_fcntl_do_not_meet),
		THERE(flock_and_fcntl_do_not_meet),
		HERE(circle_of_waiters_is_refused),
		THERE(circle_of_waiters_is_refused),
		THERE(receiver_hands_on_what_asks_the_store),
		THERE(refused_upgrade_leaves_the_old_lock),
		THERE(strangers_lock_is_told),
		THERE(waiter_asks_until_the_stranger_is_gone),
		THERE(waiters_of_this_mount_queue_up),
		THERE(waiter_is_interrupted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
