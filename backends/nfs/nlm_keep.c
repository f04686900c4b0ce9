/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_keep.c - the connection to the lock service, and the thread that keeps it
 *
 * The keeper waits for the connection to be lost. Then it makes another one, as
 * soon as locks are held or wanted, and takes all held ones again: with reclaim
 * while the server is in its grace period, else as ordinary ones. A server
 * that has only dropped an idle connection grants them too. Those that it refuses
 * are lost. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "backends/nfs/nlm_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum { PMAP_TCP_PORT = 111, PMAP_PROG = 100000, PMAP_VERS = 2, PMAP_GETPORT = 3 };
enum { IPPROTO_TCP_NUMBER = 6 };
enum {
	CONNECT_MS = 3000,
	ENTER_SLICE_MS = 100,
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 2000,
	SETTLE_MS = 5000, /* an answer while settling */
	ORDER_MS = 2000,  /* an answer to what was given up */
	ORDER_SLICE_MS = 20,
	GRACE_MS = 1000,
};

/* ---- connecting ------------------------------------------------------ */

static int connect_port(struct nlm *n, uint16_t port, struct nconn **conn, int *watch,
			struct err *err)
{
	struct nsock_target target = n->b->target;
	struct nconn_conf conf = { .target = &target,
				   .name = "nlm",
				   .xids = &n->b->xids,
				   .reply_ms = n->b->env.reply_ms };
	int fd;

	nsock_set_port(&target, port);
	fd = nsock_connect(&target, n->dials++, clock_ms() + CONNECT_MS, &n->stop, err);
	if (fd < 0)
		return fd;
	if (watch) {
		*watch = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (*watch < 0) {
			close(fd);
			return err_set(err, -EMFILE, "no descriptor left");
		}
	}
	return nconn_new(&conf, fd, conn);
}

static int ask_port(struct nlm *n, uint16_t *port, struct err *err)
{
	struct nfs_proc proc = { PMAP_PROG, PMAP_VERS, PMAP_GETPORT };
	const char *host = n->b->target.host;
	struct nconn *conn;
	struct nrpc r;
	int rc = connect_port(n, PMAP_TCP_PORT, &conn, NULL, err);

	if (rc)
		return rc;
	nrpc_begin_on(&r, n->b, conn, &proc);
	r.deadline_ms = clock_ms() + CONNECT_MS;
	r.interrupted = &n->stop;
	enc_u32(&r.enc, NLM_PROG);
	enc_u32(&r.enc, NLM_VERS);
	enc_u32(&r.enc, IPPROTO_TCP_NUMBER);
	enc_u32(&r.enc, 0);
	rc = nrpc_run(&r);
	nrpc_end(&r);
	nconn_free(conn);
	if (rc)
		return err_set(err, rc, "the portmapper on %s: %s", host, strerror(-rc));
	if (!r.status || r.status > UINT16_MAX)
		return err_set(err, -EPROTONOSUPPORT, "%s does not serve NLM version 4 (locks)",
			       host);
	*port = (uint16_t)r.status;
	return 0;
}

static void disconnect(struct nlm *n)
{
	nconn_free(n->conn);
	n->conn = NULL;
	if (n->watch_fd >= 0)
		close(n->watch_fd);
	n->watch_fd = -1;
}

static int connect_service(struct nlm *n, struct err *err)
{
	uint16_t port = n->fixed_port;
	int rc = port ? 0 : ask_port(n, &port, err);

	disconnect(n);
	if (!rc)
		rc = connect_port(n, port, &n->conn, &n->watch_fd, err);
	if (rc)
		disconnect(n);
	return rc;
}

/* ---- entering -------------------------------------------------------- */

void nlm_kick(struct nlm *n)
{
	uint64_t one = 1;

	if (write(n->wake_fd, &one, sizeof one) < 0)
		return; /* full: it is awake */
}

static bool may_enter_locked(const struct nlm *n)
{
	return n->state == NLM_UP && list_empty(&n->doubts);
}

int nlm_enter(struct nlm *n, const atomic_bool *interrupted, uint64_t deadline_ms)
{
	int rc = 0;

	mutex_lock(&n->lock);
	n->waiting++;
	if (!may_enter_locked(n))
		nlm_kick(n);
	while (!may_enter_locked(n) && !rc) {
		cond_wait_until(&n->changed, &n->lock, clock_ms() + ENTER_SLICE_MS);
		if (interrupted && atomic_load(interrupted))
			rc = -EINTR;
		else if (deadline_ms && clock_ms() >= deadline_ms)
			rc = -ETIMEDOUT;
	}
	n->waiting--;
	if (!rc)
		n->active++;
	mutex_unlock(&n->lock);
	return rc;
}

void nlm_leave(struct nlm *n)
{
	mutex_lock(&n->lock);
	n->active--;
	cond_broadcast(&n->changed);
	mutex_unlock(&n->lock);
}

/* ---- settling: the keeper is alone with table and server -------------- */

/* Sleeps, or ends early when the mount does. */
static void keeper_pause(struct nlm *n, int ms)
{
	struct pollfd p = { .fd = n->wake_fd, .events = POLLIN };
	uint64_t end = clock_ms() + (uint64_t)ms, now, count;

	while (!n->stop && (now = clock_ms()) < end) {
		if (poll(&p, 1, (int)(end - now)) > 0 && read(n->wake_fd, &count, sizeof count) < 0)
			return;
	}
}

/* What an answer of the keeper's own calls comes to; waits out a grace period. */
static int settle_call(struct nlm *n, enum nlm_proc proc, struct nlm_args *args,
		       const struct be_cred *cred, struct nlm_reply *out)
{
	for (;;) {
		uint64_t end = clock_ms() + SETTLE_MS;
		int rc;

		do {
			rc = proc == NLM_LOCK ? nlm_call_lock(n, args, cred, &n->stop, end, out) :
						nlm_call(n, proc, args, cred, &n->stop, end, out);
		} while (rc == -ETIMEDOUT && clock_ms() < end);
		if (rc || out->status != NLM_DENIED_GRACE || args->reclaim)
			return rc;
		keeper_pause(n, GRACE_MS);
		if (n->stop)
			return -EINTR;
	}
}

static void lose(struct nlm *n, struct nlm_held *h, uint32_t status)
{
	mutex_lock(&n->lock);
	if (!h->lost)
		log_error("nlm: lock on file %llu, bytes %llu to %llu, is lost (%s): reading and "
			  "writing it fails until it is unlocked",
			  (unsigned long long)h->node->ino, (unsigned long long)h->start,
			  (unsigned long long)h->end, strerror(-nlm_errno(status)));
	nlm_table_lose(&n->table, h);
	mutex_unlock(&n->lock);
}

static int take_again(struct nlm *n, struct nlm_held *h)
{
	struct nlm_args args;
	struct nlm_reply reply;
	int rc;

	nlm_args_init(n, &args, h->owner, h->node, h->start, h->end);
	args.exclusive = h->exclusive;
	args.reclaim = n->retake;
	rc = settle_call(n, NLM_LOCK, &args, h->cred, &reply);
	if (!rc && args.reclaim && reply.status != NLM_GRANTED) {
		args.reclaim = false;
		rc = settle_call(n, NLM_LOCK, &args, h->cred, &reply);
	}
	if (!rc && reply.status != NLM_GRANTED)
		lose(n, h, reply.status);
	return rc;
}

static int give_back(struct nlm *n, const struct nlm_doubt *d, uint64_t start, uint64_t end)
{
	struct nlm_args args;
	struct nlm_reply reply;

	nlm_args_init(n, &args, d->owner, d->node, start, end);
	return settle_call(n, NLM_UNLOCK, &args, d->cred, &reply);
}

static struct nlm_held *next_piece(struct nlm *n, const struct nlm_doubt *d, uint64_t pos)
{
	struct nlm_held *h;

	mutex_lock(&n->lock);
	h = nlm_table_next(&n->table, d->node, d->owner, pos);
	mutex_unlock(&n->lock);
	return h && h->start <= d->end ? h : NULL;
}

/* Makes the server have in the range what the table has: gaps are unlocked, held
 * pieces locked again, so that at no time somebody else could come in between. */
static int settle_doubt(struct nlm *n, struct nlm_doubt *d)
{
	struct list freed = LIST_INIT(freed);
	struct nlm_spares none = { { NULL, NULL } };
	uint64_t pos = d->start;
	int rc = d->drop ? nlm_spares_get(&none) : 0;

	if (rc)
		return rc;
	if (d->drop) {
		mutex_lock(&n->lock);
		nlm_table_set(&n->table, d->node, d->cred, d->owner, d->start, d->end, NLM_NOTHING,
			      &none, &freed);
		mutex_unlock(&n->lock);
		nlm_held_free(&freed);
		nlm_spares_put(&none);
		d->drop = false;
	}
	while (!rc && pos <= d->end) {
		struct nlm_held *h = next_piece(n, d, pos);

		if (!h)
			return give_back(n, d, pos, d->end);
		if (h->start > pos)
			rc = give_back(n, d, pos, h->start - 1);
		if (!rc && !h->lost)
			rc = take_again(n, h);
		pos = h->end + 1;
	}
	return rc;
}

/* A server carries out calls in any order: an UNLOCK sent now may overtake the LOCK that
 * it is to undo. So that one's answer is waited for, if there is ever one. */
static void await_given_up(struct nlm *n)
{
	uint64_t end = clock_ms() + ORDER_MS;

	while (!n->stop && clock_ms() < end && nconn_owes_abandoned(n->conn))
		keeper_pause(n, ORDER_SLICE_MS);
}

static int settle_doubts(struct nlm *n)
{
	for (;;) {
		struct nlm_doubt *d = NULL;
		int rc;

		await_given_up(n);

		mutex_lock(&n->lock);
		if (!list_empty(&n->doubts))
			d = list_first(&n->doubts, struct nlm_doubt, link);
		mutex_unlock(&n->lock);
		if (!d)
			return 0;
		rc = settle_doubt(n, d);
		if (rc)
			return rc;
		mutex_lock(&n->lock);
		list_del(&d->link);
		mutex_unlock(&n->lock);
		nlm_doubt_free(n, d);
	}
}

static int take_all_again(struct nlm *n)
{
	unsigned count = 0;
	int rc = 0;

	/* Nobody else changes the list (I2). */
	list_for_each(it, &n->table.held) {
		struct nlm_held *h = list_entry(it, struct nlm_held, link);

		if (h->lost)
			continue;
		rc = take_again(n, h);
		if (rc)
			break;
		count += !h->lost;
	}
	if (count)
		log_info("nlm: connected anew, %u locks were taken again", count);
	return rc;
}

static int settle(struct nlm *n)
{
	int rc = settle_doubts(n);

	if (!rc && n->retake)
		rc = take_all_again(n);
	return rc;
}

/* ---- the keeper ------------------------------------------------------ */

/* Until the connection is lost (true), or somebody kicks. */
static bool watch(struct nlm *n, bool connected)
{
	struct pollfd p[2] = { { .fd = n->wake_fd, .events = POLLIN },
			       { .fd = n->watch_fd, .events = POLLRDHUP } };
	uint64_t count;

	if (poll(p, connected ? 2 : 1, -1) < 0)
		return false;
	if (p[0].revents && read(n->wake_fd, &count, sizeof count) < 0)
		return false;
	return connected && p[1].revents;
}

static bool wanted_locked(const struct nlm *n)
{
	return n->waiting || n->table.nheld || !list_empty(&n->doubts);
}

static void set_state_locked(struct nlm *n, enum nlm_state state)
{
	n->state = state;
	while (state != NLM_UP && n->active)
		cond_wait(&n->changed, &n->lock);
	cond_broadcast(&n->changed);
}

/* One step from DOWN; true when it led nowhere. */
static bool step_down(struct nlm *n, bool wanted)
{
	struct err err = { "" };

	if (!wanted) {
		watch(n, false);
		return false;
	}
	if (connect_service(n, &err)) {
		log_debug("nlm: %s", err.text);
		return true;
	}
	mutex_lock(&n->lock);
	n->retake = true;
	set_state_locked(n, NLM_SETTLE);
	mutex_unlock(&n->lock);
	return false;
}

static bool step_settle(struct nlm *n)
{
	int rc = settle(n);

	mutex_lock(&n->lock);
	if (!rc)
		n->retake = false;
	if (rc || list_empty(&n->doubts))
		set_state_locked(n, rc ? NLM_DOWN : NLM_UP);
	mutex_unlock(&n->lock);
	if (rc)
		log_warn("nlm: taking locks again: %s", strerror(-rc));
	return rc != 0;
}

static void step_up(struct nlm *n, bool doubts)
{
	bool lost = !doubts && watch(n, true);

	if (!doubts && !lost)
		return;
	mutex_lock(&n->lock);
	set_state_locked(n, lost ? NLM_DOWN : NLM_SETTLE);
	mutex_unlock(&n->lock);
}

static void *keeper_main(void *arg)
{
	struct nlm *n = arg;
	int backoff = BACKOFF_MIN_MS;

	prctl(PR_SET_NAME, "nlm-keeper");
	while (!n->stop) {
		bool wanted, doubts, stuck = false;
		enum nlm_state state;

		mutex_lock(&n->lock);
		state = n->state;
		wanted = wanted_locked(n);
		doubts = !list_empty(&n->doubts);
		mutex_unlock(&n->lock);
		if (state == NLM_DOWN)
			stuck = step_down(n, wanted);
		else if (state == NLM_SETTLE)
			stuck = step_settle(n);
		else
			step_up(n, doubts);
		if (stuck)
			keeper_pause(n, backoff);
		else if (state == NLM_SETTLE)
			backoff = BACKOFF_MIN_MS;
		if (stuck && backoff < BACKOFF_MAX_MS)
			backoff *= 2;
	}
	return NULL;
}

/* ---- open and close -------------------------------------------------- */

static int init_identity(struct nlm *n)
{
	struct {
		uint8_t instance[8];
		uint32_t svid;
	} r;

	/* Some servers know an owner by our address and svid alone: other mounts
	 * of this machine must not have the same ones. */
	if (getrandom(&r, sizeof r, 0) != sizeof r)
		return -EIO;
	memcpy(n->instance, r.instance, sizeof n->instance);
	nlm_table_init(&n->table, r.svid);
	snprintf(n->caller, sizeof n->caller, "%s.%02x%02x%02x%02x", n->b->machine, r.instance[0],
		 r.instance[1], r.instance[2], r.instance[3]);
	return 0;
}

static void nlm_free(struct nlm *n)
{
	struct list freed = LIST_INIT(freed);
	struct list *it;

	disconnect(n);
	while ((it = list_pop(&n->doubts)))
		nlm_doubt_free(n, list_entry(it, struct nlm_doubt, link));
	nlm_table_done(&n->table, &freed);
	nlm_held_free(&freed);
	if (n->wake_fd >= 0)
		close(n->wake_fd);
	cond_done(&n->changed);
	mutex_done(&n->lock);
	free(n);
}

int be_nfs_nlm_open(struct nfs_backend *b, uint16_t port, struct err *err)
{
	struct nlm *n = calloc(1, sizeof *n);
	int rc;

	if (!n)
		return err_set(err, -ENOMEM, "no memory");
	n->b = b;
	n->fixed_port = port;
	n->watch_fd = -1;
	mutex_init(&n->lock, LOCK_be_lock);
	cond_init(&n->changed);
	list_init(&n->doubts);
	nlm_table_init(&n->table, 0);
	n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = n->wake_fd < 0 || init_identity(n) ?
		     err_set(err, -EIO, "cannot set up locking: %s", strerror(errno)) :
		     connect_service(n, err);
	if (rc) {
		nlm_free(n);
		return rc;
	}
	n->state = NLM_UP;
	if (pthread_create(&n->keeper, NULL, keeper_main, n)) {
		nlm_free(n);
		return err_set(err, -EAGAIN, "cannot start a thread");
	}
	b->nlm = n;
	return 0;
}

/* Best effort: the server has no other way to learn that we are gone. */
static void give_all_back(struct nlm *n)
{
	uint64_t end = clock_ms() + NLM_CLOSE_MS;

	list_for_each(it, &n->table.held) {
		struct nlm_held *h = list_entry(it, struct nlm_held, link);
		struct nlm_args args;
		struct nlm_reply reply;

		nlm_args_init(n, &args, h->owner, h->node, h->start, h->end);
		if (clock_ms() >= end ||
		    nlm_call(n, NLM_UNLOCK, &args, h->cred, NULL, end, &reply)) {
			log_warn("nlm: closed with locks that the server may keep");
			return;
		}
	}
}

void be_nfs_nlm_close(struct nlm *n)
{
	if (!n)
		return;
	n->stop = true;
	nlm_kick(n);
	pthread_join(n->keeper, NULL);
	if (n->state == NLM_UP)
		give_all_back(n);
	nlm_free(n);
}
