/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - one connection, see conn.h
 *
 *                 nconn_thread: calls wait, back-off over
 *         +------+ ------------------------------------> +------------+
 *   ----> | DOWN |                                       | CONNECTING |
 *         +------+ <------------------------------------ +------------+
 *            ^       conn_lost: refused, too late              |
 *            | conn_lost: error, end, nonsense, silence        | conn_up
 *            |                +----+                           |
 *            +--------------- | UP | <-------------------------+
 *                             +----+
 *
 * CONNECTING waits for the socket, or with target.dial for who connects in our place.
 *
 * 1. A call in flight is in exactly one of all and delayed; in all it is also
 *    in hash, and in sendq until its last byte went out.
 * 2. sendq is in the order of all; only its first call may be sent in part.
 * 3. Only the thread changes state and fd, under the lock; submitters may use
 *    fd under the lock while UP. After an error they leave it to the thread.
 * 4. rec.call is in all: whoever takes a call out, by expiry, tells rec. */
#include "backends/nfs/conn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"

enum {
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 5000,
	CONNECT_MS = 10000, /* one attempt */
	REPLY_MS = 60000,   /* a reply that takes longer, or silence: the connection is given up */
	PATIENCE_MAX = 3,   /* doublings of it for a call that was sent again and again */
	TICK_MS = 1000,
	IDLE_TICK_MS = 5000,
	HASH_SIZE = 256,
	IOV_MAX_PARTS = 128,
	RX_ROUNDS = 64, /* receives before others get a turn */
	STAGE_BYTES = 16384,
	STAGE_SMALL = 160, /* a READ reply up to its data, so that the data lands in place */
	BIG_READ = 16384,
};

enum nconn_state { NCONN_DOWN, NCONN_CONNECTING, NCONN_UP };

struct nconn {
	/* set at start, then read only */
	struct nsock_target target;
	_Atomic uint32_t *xids;
	char name[16];
	uint64_t reply_ms, tick_ms;
	pthread_t thread;
	int ep, ev;

	atomic_bool stop, no_reads;
	_Atomic unsigned big_reads; /* READs of more than BIG_READ in flight */
	struct mutex lock;
	/* guarded by lock */
	enum nconn_state state;
	int fd;
	struct list all, sendq, delayed;
	struct list hash[HASH_SIZE];
	uint64_t busy_since_ms; /* when all was last empty */

	/* owned by the thread */
	struct nrec rec;
	uint64_t heard_ms; /* when bytes last arrived */
	uint64_t until_ms; /* DOWN: no attempt before; CONNECTING: no longer than */
	unsigned backoff_ms;
	unsigned next_addr; /* with dial: grows with each connection that came to nothing */
	bool dialling;      /* CONNECTING, and fd is what dial() returned */
	unsigned tried;     /* addresses in vain since the last connection or lookup of the host */
	unsigned ups;       /* times that UP was reached */
	bool wants_out;     /* EPOLLOUT is armed */
	uint8_t stage[STAGE_BYTES];
};

static void conn_wake(struct nconn *c)
{
	uint64_t one = 1;

	(void)!write(c->ev, &one, sizeof one);
}

/* ---- the table of calls ---------------------------------------------- */

static bool is_big_read(const struct ncall *call)
{
	return call->kind == NCALL_READ && call->payload_len > BIG_READ;
}

static void enter_locked(struct nconn *c, struct ncall *call)
{
	if (list_empty(&c->all))
		c->busy_since_ms = clock_ms();
	list_push_back(&c->all, &call->all_link);
	list_push_back(&c->hash[call->xid % HASH_SIZE], &call->hash_link);
	list_push_back(&c->sendq, &call->send_link);
	if (is_big_read(call))
		atomic_fetch_add(&c->big_reads, 1);
}

static void leave_locked(struct nconn *c, struct ncall *call)
{
	bool delayed = list_empty(&call->hash_link);

	list_del(&call->all_link);
	list_del(&call->hash_link);
	list_del(&call->send_link);
	if (!delayed && is_big_read(call))
		atomic_fetch_sub(&c->big_reads, 1);
}

/* The calls in list were taken out; nobody else knows them now. */
static void complete_list(struct list *list, int error)
{
	struct list *l;

	while ((l = list_pop(list))) {
		struct ncall *call = list_entry(l, struct ncall, all_link);

		call->error = error;
		call->done(call);
	}
}

/* ---- sending --------------------------------------------------------- */

/* Adds what is left of call's record to iov; returns the parts used. */
static unsigned gather(const struct ncall *call, struct iovec *iov, unsigned max)
{
	static const char zeros[4];
	size_t payload = call->kind == NCALL_WRITE ? call->payload_len : 0;
	size_t at = call->sent, len, end = ncall_record_len(call);
	unsigned n = 0;

	if (at < call->args_len) {
		iov[n++] = (struct iovec){ call->args + at, call->args_len - at };
		at = call->args_len;
	}
	if (at < call->args_len + payload) {
		size_t from = at - call->args_len;

		n += ncall_payload(call, from, payload - from, iov + n, max - n, &len);
		at += len;
		if (len < payload - from)
			return n;
	}
	if (at < end && n < max)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros, end - at };
	return n;
}

static void sent_locked(struct nconn *c, size_t n)
{
	while (n) {
		struct ncall *call = list_first(&c->sendq, struct ncall, send_link);
		size_t left = ncall_record_len(call) - call->sent;

		if (n < left) {
			call->sent += n;
			return;
		}
		call->sent += left;
		call->was_sent = true;
		call->sends++;
		call->sent_ms = clock_ms();
		list_del(&call->send_link);
		n -= left;
	}
}

/* Sends until the queue is empty (0), the socket is full (-EAGAIN), or fails. */
static int flush_locked(struct nconn *c)
{
	mutex_assert_held(&c->lock);
	while (!list_empty(&c->sendq)) {
		struct iovec iov[IOV_MAX_PARTS];
		struct msghdr msg = { .msg_iov = iov };
		ssize_t n;

		list_for_each(it, &c->sendq) {
			if (msg.msg_iovlen + 3 > IOV_MAX_PARTS)
				break;
			msg.msg_iovlen += gather(list_entry(it, struct ncall, send_link),
						 iov + msg.msg_iovlen,
						 IOV_MAX_PARTS - (unsigned)msg.msg_iovlen);
		}
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		sent_locked(c, (size_t)n);
	}
	return 0;
}

void nconn_submit(struct nconn *c, struct ncall *call, uint64_t delay_ms)
{
	bool wake;

	stats_inc(STAT_nfs_rpcs);
	mutex_lock(&c->lock);
	call->xid = atomic_fetch_add(c->xids, 1);
	enc_set_xid(call->args, call->xid);
	if (delay_ms) {
		call->due_ms = clock_ms() + delay_ms;
		list_push_back(&c->delayed, &call->all_link);
		wake = true;
	} else if (c->state == NCONN_UP) {
		bool idle = list_empty(&c->sendq);

		enter_locked(c, call);
		/* A queue that is not empty is the thread's: it waits for room. */
		wake = idle && flush_locked(c);
	} else {
		wake = list_empty(&c->all);
		enter_locked(c, call);
	}
	wake |= call->kind == NCALL_READ && atomic_load(&c->no_reads);
	mutex_unlock(&c->lock);
	if (wake)
		conn_wake(c);
}

void nconn_abandon(struct nconn *c, struct ncall *call)
{
	struct list gone = LIST_INIT(gone);

	mutex_lock(&c->lock);
	call->abandoned = true;
	if (!list_empty(&call->all_link) && !call->sent) {
		leave_locked(c, call);
		list_push_back(&gone, &call->all_link);
	}
	mutex_unlock(&c->lock);
	complete_list(&gone, -EINTR);
}

void nconn_fail_reads(struct nconn *c)
{
	atomic_store(&c->no_reads, true);
	conn_wake(c);
}

bool nconn_owes_abandoned(struct nconn *c)
{
	bool owes = false;

	mutex_lock(&c->lock);
	list_for_each(it, &c->all)
		owes |= list_entry(it, struct ncall, all_link)->abandoned;
	mutex_unlock(&c->lock);
	return owes;
}

/* ---- receiving ------------------------------------------------------- */

static struct ncall *conn_find(void *arg, uint32_t xid)
{
	struct nconn *c = arg;
	struct ncall *found = NULL;

	mutex_lock(&c->lock);
	list_for_each(it, &c->hash[xid % HASH_SIZE]) {
		struct ncall *call = list_entry(it, struct ncall, hash_link);

		if (call->xid == xid && list_empty(&call->send_link))
			found = call;
	}
	mutex_unlock(&c->lock);
	return found;
}

static void conn_complete(void *arg, struct ncall *call, int error)
{
	struct nconn *c = arg;

	mutex_lock(&c->lock);
	leave_locked(c, call);
	mutex_unlock(&c->lock);
	call->error = error;
	call->done(call);
}

static const struct nrec_ops rec_ops = { .find = conn_find, .complete = conn_complete };

/* Receives what is there: payload in place, the rest through the stage. */
static int conn_receive(struct nconn *c)
{
	for (unsigned round = 0; round < RX_ROUNDS; round++) {
		struct iovec iov[IOV_MAX_PARTS + 1];
		struct msghdr msg = { .msg_iov = iov };
		size_t direct, asked, got;
		ssize_t n;

		msg.msg_iovlen = nrec_direct(&c->rec, iov, IOV_MAX_PARTS, &direct);
		asked = direct;
		if (msg.msg_iovlen < IOV_MAX_PARTS) {
			size_t room = atomic_load(&c->big_reads) ? STAGE_SMALL : STAGE_BYTES;

			iov[msg.msg_iovlen++] = (struct iovec){ c->stage, room };
			asked += room;
		}
		n = recvmsg(c->fd, &msg, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return -ECONNRESET;
		c->heard_ms = clock_ms();
		got = (size_t)n;
		nrec_received(&c->rec, got < direct ? got : direct);
		if (got > direct && nrec_feed(&c->rec, c->stage, got - direct))
			return -EBADMSG;
		if (got < asked)
			return 0;
	}
	return 0;
}

/* ---- states ---------------------------------------------------------- */

static void conn_watch(struct nconn *c, bool out)
{
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.fd = c->fd };

	c->wants_out = out;
	epoll_ctl(c->ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static void conn_set_fd_locked(struct nconn *c, int fd, enum nconn_state state)
{
	if (c->fd >= 0)
		close(c->fd); /* leaves the epoll set by this */
	c->fd = fd;
	c->state = state;
}

/* All calls of the lost socket go out again, in their order. */
static void requeue_locked(struct nconn *c, struct list *abandoned)
{
	unsigned again = 0;

	list_for_each_safe(it, tmp, &c->all) {
		struct ncall *call = list_entry(it, struct ncall, all_link);

		list_del(&call->send_link);
		call->sent = 0;
		call->reply_len = 0;
		if (call->abandoned) {
			leave_locked(c, call);
			list_push_back(abandoned, &call->all_link);
			continue;
		}
		call->resent |= call->was_sent;
		again += call->was_sent;
		list_push_back(&c->sendq, &call->send_link);
	}
	stats_add(STAT_nfs_retries, again);
}

static void conn_lost(struct nconn *c, int error)
{
	struct list abandoned = LIST_INIT(abandoned);
	bool was_up = c->state == NCONN_UP, busy;

	mutex_lock(&c->lock);
	conn_set_fd_locked(c, -1, NCONN_DOWN);
	requeue_locked(c, &abandoned);
	busy = !list_empty(&c->all);
	mutex_unlock(&c->lock);
	nrec_init(&c->rec, &rec_ops, c);
	/* The first attempt after a working connection comes at once. */
	c->until_ms = clock_ms() + c->backoff_ms;
	c->dialling = false;
	/* Nothing has worked since it last answered: another address of the name is next. */
	if (c->target.dial && c->backoff_ms)
		c->next_addr++;
	c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (c->backoff_ms > BACKOFF_MAX_MS)
		c->backoff_ms = BACKOFF_MAX_MS;
	/* The name may stand for another node by now: it is looked up first. */
	if (was_up)
		c->tried = c->target.naddr;
	if (was_up && busy)
		log_warn("nfs: connection to %s port %u lost: %s; connecting again", c->target.host,
			 c->target.port, strerror(-error));
	complete_list(&abandoned, -EINTR);
}

static void conn_up(struct nconn *c)
{
	nrec_init(&c->rec, &rec_ops, c);
	c->heard_ms = clock_ms();
	c->tried = 0;
	mutex_lock(&c->lock);
	c->state = NCONN_UP;
	mutex_unlock(&c->lock);
	if (c->ups++) {
		stats_inc(STAT_nfs_reconnects);
		log_info("nfs: connected to %s port %u again", c->target.host, c->target.port);
	}
}

/* fd_take: connected or connecting, or -errno. */
static void conn_adopt(struct nconn *c, int fd_take, bool connected)
{
	struct epoll_event ev = { .events = EPOLLIN | (c->dialling ? 0 : EPOLLOUT),
				  .data.fd = fd_take };

	if (fd_take < 0 || epoll_ctl(c->ep, EPOLL_CTL_ADD, fd_take, &ev)) {
		int error = fd_take < 0 ? fd_take : -errno;

		if (fd_take >= 0)
			close(fd_take);
		conn_lost(c, error);
		return;
	}
	mutex_lock(&c->lock);
	conn_set_fd_locked(c, fd_take, NCONN_CONNECTING);
	mutex_unlock(&c->lock);
	c->wants_out = true;
	c->until_ms = clock_ms() + CONNECT_MS;
	if (connected)
		conn_up(c);
}

/* The first failure in a row is told, the others would only repeat it. */
static void tell_failure(const struct nconn *c, int fd, const struct err *err)
{
	if (fd < 0 && c->backoff_ms == BACKOFF_MIN_MS)
		log_warn("nfs: %s; trying again", err->text);
}

static void conn_dial(struct nconn *c)
{
	struct err err = { "" };
	int fd = nsock_dial(&c->target, c->next_addr, CONNECT_MS, &err);

	tell_failure(c, fd, &err);
	c->dialling = c->target.dialled;
	if (fd >= 0 && !c->dialling)
		fd = nsock_dialled(&c->target, fd, NULL);
	conn_adopt(c, fd, !c->dialling);
}

/* The outcome of dialling is there. */
static void conn_dialled(struct nconn *c)
{
	struct err err = { "" };
	int fd = c->fd;

	mutex_lock(&c->lock);
	c->fd = -1;
	mutex_unlock(&c->lock);
	epoll_ctl(c->ep, EPOLL_CTL_DEL, fd, NULL);
	fd = nsock_dialled(&c->target, fd, &err);
	tell_failure(c, fd, &err);
	c->dialling = false;
	conn_adopt(c, fd, true);
}

static void conn_try(struct nconn *c)
{
	unsigned i;

	if (c->target.dial) {
		conn_dial(c);
		return;
	}
	/* None of the addresses answers, or the connection was lost. */
	if (c->tried >= c->target.naddr) {
		nsock_resolve(&c->target, NULL);
		c->tried = c->next_addr = 0;
	}
	c->tried++;
	i = c->next_addr++;
	conn_adopt(c, nsock_start(&c->target, i, NULL), false);
}

/* ---- timers ---------------------------------------------------------- */

static void start_delayed(struct nconn *c, uint64_t now)
{
	mutex_lock(&c->lock);
	list_for_each_safe(it, tmp, &c->delayed) {
		struct ncall *call = list_entry(it, struct ncall, all_link);

		if (call->due_ms > now)
			continue;
		list_del(&call->all_link);
		enter_locked(c, call);
	}
	mutex_unlock(&c->lock);
}

/* Takes out of list what is late; true when the stream to the server is cut by it. */
static bool is_late(const struct nconn *c, const struct ncall *call, uint64_t now)
{
	return (call->deadline_ms && call->deadline_ms <= now) ||
	       (call->kind == NCALL_READ && atomic_load(&c->no_reads));
}

static bool expire_locked(struct nconn *c, struct list *list, uint64_t now, struct list *late)
{
	bool cut = false;

	list_for_each_safe(it, tmp, list) {
		struct ncall *call = list_entry(it, struct ncall, all_link);

		if (!is_late(c, call, now))
			continue;
		cut |= call->sent && !list_empty(&call->send_link);
		nrec_forget(&c->rec, call);
		leave_locked(c, call);
		list_push_back(late, &call->all_link);
	}
	return cut;
}

/* The oldest call that went out waits for too long. A server may lose a reply and
 * answer all else; to one that is slow, each repetition leaves more time. */
static bool overdue_locked(struct nconn *c, uint64_t now)
{
	list_for_each(it, &c->all) {
		struct ncall *call = list_entry(it, struct ncall, all_link);
		unsigned patience = call->sends - 1 < PATIENCE_MAX ? call->sends - 1 : PATIENCE_MAX;

		if (list_empty(&call->send_link))
			return now > call->sent_ms + (c->reply_ms << patience);
	}
	return false;
}

static void conn_timers(struct nconn *c, uint64_t now)
{
	struct list late = LIST_INIT(late);
	uint64_t since;
	bool cut, silent;

	start_delayed(c, now);
	mutex_lock(&c->lock);
	cut = expire_locked(c, &c->all, now, &late);
	expire_locked(c, &c->delayed, now, &late);
	since = c->heard_ms > c->busy_since_ms ? c->heard_ms : c->busy_since_ms;
	silent = c->state == NCONN_UP && !list_empty(&c->all) &&
		 (now > since + c->reply_ms || overdue_locked(c, now));
	mutex_unlock(&c->lock);
	complete_list(&late, -ETIMEDOUT);
	if (cut || silent)
		conn_lost(c, -ETIMEDOUT);
	else if (c->state == NCONN_CONNECTING && now >= c->until_ms)
		conn_lost(c, -ETIMEDOUT);
}

static int conn_timeout(struct nconn *c, uint64_t now)
{
	uint64_t at = now + IDLE_TICK_MS;
	bool busy;

	mutex_lock(&c->lock);
	busy = !list_empty(&c->all);
	list_for_each(it, &c->delayed) {
		struct ncall *call = list_entry(it, struct ncall, all_link);

		at = call->due_ms < at ? call->due_ms : at;
	}
	mutex_unlock(&c->lock);
	if (busy && at > now + c->tick_ms)
		at = now + c->tick_ms;
	if (busy && c->state != NCONN_UP && c->until_ms < at)
		at = c->until_ms;
	return at > now ? (int)(at - now) : 0;
}

/* ---- the thread ------------------------------------------------------ */

static void conn_events(struct nconn *c, uint32_t events)
{
	int rc = 0;

	if (c->dialling) {
		if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			conn_dialled(c);
		return;
	}
	if (c->state == NCONN_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		rc = nsock_connected(c->fd);
		if (!rc)
			conn_up(c);
	}
	if (!rc && c->state == NCONN_UP && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
		rc = conn_receive(c);
		/* A server that answers is a good one: forget earlier failures. */
		if (!rc)
			c->backoff_ms = 0;
	}
	if (rc)
		conn_lost(c, rc);
}

static void conn_flush(struct nconn *c)
{
	int rc = 0;

	mutex_lock(&c->lock);
	if (c->state == NCONN_UP)
		rc = flush_locked(c);
	mutex_unlock(&c->lock);
	if (rc && rc != -EAGAIN)
		conn_lost(c, rc);
	else if (c->state == NCONN_UP && c->wants_out != (rc == -EAGAIN))
		conn_watch(c, rc == -EAGAIN);
}

static void conn_step(struct nconn *c)
{
	struct epoll_event ev[4];
	int n = epoll_wait(c->ep, ev, 4, conn_timeout(c, clock_ms()));
	uint64_t now, drain;
	bool busy;

	for (int i = 0; i < n; i++) {
		if (ev[i].data.fd == c->ev)
			(void)!read(c->ev, &drain, sizeof drain);
		else if (ev[i].data.fd == c->fd)
			conn_events(c, ev[i].events);
	}
	now = clock_ms();
	conn_timers(c, now);
	mutex_lock(&c->lock);
	busy = !list_empty(&c->all);
	mutex_unlock(&c->lock);
	if (c->state == NCONN_DOWN && busy && now >= c->until_ms)
		conn_try(c);
	conn_flush(c);
}

static void conn_fail_all(struct nconn *c)
{
	struct list gone = LIST_INIT(gone);

	mutex_lock(&c->lock);
	conn_set_fd_locked(c, -1, NCONN_DOWN);
	list_for_each_safe(it, tmp, &c->all) {
		leave_locked(c, list_entry(it, struct ncall, all_link));
		list_push_back(&gone, it);
	}
	list_splice(&gone, &c->delayed);
	mutex_unlock(&c->lock);
	complete_list(&gone, -EIO);
}

static void *nconn_thread(void *arg)
{
	struct nconn *c = arg;

	pthread_setname_np(pthread_self(), c->name);
	while (!atomic_load(&c->stop))
		conn_step(c);
	conn_fail_all(c);
	return NULL;
}

static int start_thread(struct nconn *c)
{
	sigset_t all, old;
	int rc;

	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&c->thread, NULL, nconn_thread, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

static void conn_destroy(struct nconn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->ep >= 0)
		close(c->ep);
	if (c->ev >= 0)
		close(c->ev);
	mutex_done(&c->lock);
	free(c);
}

static struct nconn *conn_make(const struct nconn_conf *conf)
{
	struct nconn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->target = *conf->target;
	c->xids = conf->xids;
	c->reply_ms = conf->reply_ms ? conf->reply_ms : REPLY_MS;
	c->tick_ms = c->reply_ms / 4 < TICK_MS ? c->reply_ms / 4 + 1 : TICK_MS;
	snprintf(c->name, sizeof c->name, "nfs-%.10s", conf->name);
	c->fd = -1;
	mutex_init(&c->lock, LOCK_be_conn);
	list_init(&c->all);
	list_init(&c->sendq);
	list_init(&c->delayed);
	for (unsigned i = 0; i < HASH_SIZE; i++)
		list_init(&c->hash[i]);
	nrec_init(&c->rec, &rec_ops, c);
	c->ep = epoll_create1(EPOLL_CLOEXEC);
	c->ev = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c;
}

int nconn_new(const struct nconn_conf *conf, int fd_take, struct nconn **out)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct nconn *c = conn_make(conf);
	int rc;

	if (!c) {
		if (fd_take >= 0)
			close(fd_take);
		return -ENOMEM;
	}
	ev.data.fd = c->ev;
	rc = c->ep < 0 || c->ev < 0 || epoll_ctl(c->ep, EPOLL_CTL_ADD, c->ev, &ev) ? -errno : 0;
	if (fd_take >= 0)
		conn_adopt(c, fd_take, true);
	if (!rc)
		rc = start_thread(c);
	if (rc) {
		conn_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

void nconn_free(struct nconn *c)
{
	if (!c)
		return;
	atomic_store(&c->stop, true);
	conn_wake(c);
	pthread_join(c->thread, NULL);
	conn_destroy(c);
}
