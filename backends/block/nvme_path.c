/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_path.c - one way to a subsystem: its thread, its connections, and when they are made anew
 *
 *             bring-up (nvme_ctrl.c)            a queue is lost, silence, nonsense, fatal state
 *   +--------+ ------------------> +--------+ -----------------------------> +------+
 *   | STARTS |                     | SERVES |                                | ENDS | shutdown, where the admin queue
 *   +--------+ <------------------ +--------+                                +------+ lives; then all is reset
 *        ^          back-off                                                     |
 *        '-----------------------------------------------------------------------'
 *
 * A path that ends first closes its I/O queues; then it tells until when writes that were not answered may still land;
 * only then it gives its requests back: the device repeats none of them before that (B7). */
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/block/nvme_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 2000,
	BACKOFF_UP_MS = 200, /* at most, after it was up */
	TODO_RETRY_MS = 100, /* between looks at what a controller should have said by itself */
	CANCEL_MS = 1000,    /* answers are waited for so long when the device is cancelled */
	EVENTS_MAX = 32,
};

static unsigned queue_count(const struct nvme_path *p)
{
	return 1 + p->conf->queues;
}

void nvp_wake(struct nvme_path *p)
{
	uint64_t one = 1;

	(void)!write(p->ev, &one, sizeof one);
}

const struct nvme_queue *nvp_lost(const struct nvme_path *p)
{
	for (unsigned i = 0; i < queue_count(p); i++)
		if (p->queues[i]->dead)
			return p->queues[i];
	return NULL;
}

/* ---- the loop ---------------------------------------------------------- */

static void watch(struct nvme_path *p, struct nvme_queue *q, int op, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = q };

	if (epoll_ctl(p->ep, op, q->fd, &ev))
		nvq_fail(q, -errno, "cannot watch queue %u: %s", q->id, strerror(errno));
	q->watched = op == EPOLL_CTL_DEL ? 0 : events;
}

/* Sends what waits, and waits for room where there is none. */
static void serve_queue(struct nvme_path *p, struct nvme_queue *q)
{
	uint32_t want = EPOLLIN;

	if (!q->watched)
		return;
	if (!q->dead)
		nvq_flush(q);
	mutex_lock(&q->lock);
	want |= q->wants_out ? EPOLLOUT : 0;
	mutex_unlock(&q->lock);
	/* A dead queue would be ready for ever. */
	if (q->dead)
		watch(p, q, EPOLL_CTL_DEL, 0);
	else if (q->watched != want)
		watch(p, q, EPOLL_CTL_MOD, want);
}

/* While this thread receives for a path, what done() submits is sent when all that came is dealt with. */
static __thread const struct nvme_path *receiving;

bool nvp_receives(const struct nvme_path *p)
{
	return receiving == p;
}

void nvp_poll(struct nvme_path *p, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t drain, now = clock_ms();
	int n;

	/* A keep-alive is not late because of a tick. */
	if (p->mode == NVME_PATH_SERVES && p->ka_due_ms < now + (uint64_t)timeout_ms)
		timeout_ms = p->ka_due_ms > now ? (int)(p->ka_due_ms - now) : 0;
	n = epoll_wait(p->ep, events, EVENTS_MAX, timeout_ms);
	receiving = p;
	for (int i = 0; i < n; i++) {
		struct nvme_queue *q = events[i].data.ptr;

		if (!q)
			(void)!read(p->ev, &drain, sizeof drain);
		else if (!q->dead && (events[i].events & ~(uint32_t)EPOLLOUT))
			(void)nvr_receive(q);
	}
	receiving = NULL;
	nvio_waiting(p);
	for (unsigned i = 0; i < queue_count(p); i++)
		serve_queue(p, p->queues[i]);
}

static void poll_until(struct nvme_path *p, uint64_t at_ms)
{
	for (uint64_t now = clock_ms(); now < at_ms && !atomic_load(&p->stop); now = clock_ms())
		nvp_poll(p, at_ms - now < NVME_TICK_MS ? (int)(at_ms - now) : NVME_TICK_MS);
}

/* ---- connections ------------------------------------------------------- */

/* All queues go where the first one went: another address of the name may be another controller. */
static void pin_address(struct nvme_path *p, int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;

	p->pinned = p->target;
	if (getpeername(fd, (struct sockaddr *)&sa, &len) ||
	    getnameinfo((struct sockaddr *)&sa, len, p->pinned.host, sizeof p->pinned.host, NULL, 0,
			NI_NUMERICHOST))
		return;
	p->pinned.naddr = 1;
	p->pinned.addr[0].sa = sa;
	p->pinned.addr[0].len = len;
}

static int open_socket(struct nvme_path *p, bool first, struct err *err)
{
	uint64_t deadline = clock_ms() + NVME_CONNECT_MS;
	int fd, rc = 0;

	if (!first)
		return nsock_connect(&p->pinned, 0, deadline, &p->stop, err);
	if (!p->target.dial)
		rc = nsock_resolve(&p->target, err);
	if (rc)
		return rc;
	fd = nsock_connect(&p->target, 0, deadline, &p->stop, err);
	if (fd >= 0)
		pin_address(p, fd);
	return fd;
}

int nvp_connect(struct nvme_path *p, struct nvme_queue *q, unsigned nslots, struct err *err)
{
	uint64_t deadline;
	int fd = open_socket(p, q->id == 0, err);

	if (fd < 0)
		return fd;
	q->want_hdgst = p->conf->hdgst;
	q->want_ddgst = p->conf->ddgst;
	nvq_open(q, fd, nslots);
	watch(p, q, EPOLL_CTL_ADD, EPOLLIN);
	nvq_hello(q);
	deadline = clock_ms() + NVME_ADMIN_MS;
	while (q->phase != NVME_PHASE_READY && !nvp_lost(p) && !atomic_load(&p->stop)) {
		if (clock_ms() >= deadline)
			nvq_fail(q, -ETIMEDOUT, "the greeting of queue %u is not answered", q->id);
		else
			nvp_poll(p, NVME_TICK_MS);
	}
	if (nvp_lost(p))
		return err_set(err, -ECONNRESET, "nvme-tcp: %s: %s", p->name, nvp_lost(p)->why);
	return atomic_load(&p->stop) ? err_set(err, -ECANCELED, "nvme-tcp: closed") : 0;
}

static void close_queue(struct nvme_path *p, struct nvme_queue *q)
{
	if (q->watched)
		watch(p, q, EPOLL_CTL_DEL, 0);
	nvq_close(q);
}

void nvp_drop(struct nvme_path *p)
{
	struct list waiting = LIST_INIT(waiting);
	struct list *l;

	for (unsigned i = 0; i < queue_count(p); i++)
		close_queue(p, p->queues[i]);
	for (unsigned i = 0; i < queue_count(p); i++) {
		nvq_drain(p->queues[i], &waiting);
		p->queues[i]->dead = false;
	}
	while ((l = list_pop(&waiting)))
		nvd_park(p->dev, list_entry(l, struct bd_req, link));
}

/* ---- serving ----------------------------------------------------------- */

static void set_ready(struct nvme_path *p)
{
	for (unsigned i = 1; i <= p->ns.nqueues; i++) {
		mutex_lock(&p->queues[i]->lock);
		p->queues[i]->ready = true;
		mutex_unlock(&p->queues[i]->lock);
	}
	atomic_store(&p->nqueues, p->ns.nqueues);
}

static void look_again(struct nvme_path *p, unsigned todo)
{
	struct err err = { "" };
	uint64_t blocks, asked = nvd_size_asked(p->dev);
	int rc = 0;

	if (todo & NVME_TODO_NS) {
		/* Reading the list of what changed makes the controller tell of the next change. */
		(void)nvc_read_log(p, NVME_LOG_CHANGED_NS, 0, NVME_IDENTIFY_BYTES, NULL);
		rc = nvc_count_blocks(p, &blocks, &err);
		if (!rc)
			nvd_blocks_seen(p->dev, blocks, asked);
	}
	if (!rc && (todo & NVME_TODO_ANA)) {
		rc = nvc_read_ana(p, &err);
		if (!rc)
			nvd_path_ana(p->dev, p, p->ana_seen);
	}
	/* Another namespace, or none: nothing may be sent to it any more. */
	if (rc && !nvp_lost(p))
		nvq_fail(p->queues[0], rc, "%s", err.text);
}

static bool in_transition(const struct nvme_path *p)
{
	return p->ana_seen == NVME_ANA_STATE_CHANGE || p->ana_seen == NVME_ANA_UNKNOWN;
}

void nvp_timers(struct nvme_path *p, uint64_t now)
{
	unsigned busy = 0;

	for (unsigned i = 0; i <= p->ns.nqueues; i++) {
		(void)nvq_overdue(p->queues[i], now);
		busy += i ? atomic_load(&p->queues[i]->busy) : 0;
	}
	if (now >= p->ka_due_ms) {
		p->ka_due_ms = now + p->conf->kato_ms / 2;
		nvc_keep_alive(p);
		/* Not all controllers tell when it gets better. */
		if (p->ana_seen != NVME_ANA_STATE_OPTIMIZED)
			atomic_fetch_or(&p->todo, NVME_TODO_ANA);
	}
	if (!atomic_load(&p->dev->cancelled))
		return;
	if (!p->cancel_due_ms)
		p->cancel_due_ms = now + CANCEL_MS;
	else if (busy && now >= p->cancel_due_ms)
		nvq_fail(p->queues[1], -ECANCELED, "cancelled with %u requests unanswered", busy);
}

static void look_when_due(struct nvme_path *p, uint64_t now)
{
	unsigned todo;

	if (now < p->todo_due_ms)
		return;
	todo = atomic_exchange(&p->todo, 0) | (in_transition(p) ? NVME_TODO_ANA : 0);
	p->todo_due_ms = now + TODO_RETRY_MS;
	if (todo)
		look_again(p, todo);
}

static void serve(struct nvme_path *p)
{
	uint64_t now = clock_ms();

	p->mode = NVME_PATH_SERVES;
	p->ka_due_ms = now + p->conf->kato_ms / 2;
	p->todo_due_ms = now;
	p->answered = false;
	nvd_await_pause(p->dev, p);
	set_ready(p);
	nvd_path_up(p->dev, p);
	while (!atomic_load(&p->stop) && !nvp_lost(p)) {
		bool soon = atomic_load(&p->todo) || in_transition(p) ||
			    atomic_load(&p->dev->cancelled);

		nvp_poll(p, soon ? TODO_RETRY_MS : NVME_TICK_MS);
		if (!nvp_lost(p))
			nvp_timers(p, clock_ms());
		if (!nvp_lost(p))
			look_when_due(p, clock_ms());
	}
}

/* Writes and the like that were not answered. */
static unsigned changes_in_flight(struct nvme_path *p)
{
	unsigned n = 0;

	for (unsigned i = 1; i < queue_count(p); i++) {
		struct nvme_queue *q = p->queues[i];

		mutex_lock(&q->lock);
		for (unsigned s = 0; s < q->nslots; s++)
			n += q->cmds[s].state != NVME_CMD_FREE &&
			     q->cmds[s].sqe.opcode != NVME_IO_READ &&
			     q->cmds[s].sqe.opcode != NVME_IO_FLUSH;
		mutex_unlock(&q->lock);
	}
	return n;
}

/* How long what was not answered may still land. A time that was given counts whatever the controller says. */
static uint64_t settle_ms(const struct nvme_path *p, bool shut)
{
	if (p->dev->env.settle_ms)
		return p->dev->env.settle_ms;
	return shut ? 0 : nvc_settle_ms(p);
}

static void path_end(struct nvme_path *p, bool served)
{
	const struct nvme_queue *q = nvp_lost(p);
	uint64_t lost_ms;
	unsigned changes;
	bool shut;

	p->mode = NVME_PATH_ENDS;
	if (served && q && !atomic_load(&p->dev->cancelled))
		log_warn("nvme-tcp: %s: %s; connecting again", p->name, q->why);
	atomic_store(&p->nqueues, 0);
	nvd_path_down(p->dev, p);
	for (unsigned i = 1; i < queue_count(p); i++)
		close_queue(p, p->queues[i]);
	lost_ms = clock_ms();
	changes = changes_in_flight(p);
	shut = nvc_shutdown(p);
	close_queue(p, p->queues[0]);
	if (changes)
		nvd_settle(p->dev, lost_ms + settle_ms(p, shut));
	nvp_drop(p);
}

static void back_off(struct nvme_path *p)
{
	uint64_t at = clock_ms() + p->backoff_ms;

	p->backoff_ms = p->backoff_ms ? p->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (p->backoff_ms > BACKOFF_MAX_MS)
		p->backoff_ms = BACKOFF_MAX_MS;
	poll_until(p, at);
}

static void *path_thread(void *arg)
{
	struct nvme_path *p = arg;

	pthread_setname_np(pthread_self(), p->thread_name);
	while (!atomic_load(&p->stop)) {
		struct err err = { "" };
		int rc;

		p->mode = NVME_PATH_STARTS;
		atomic_store(&p->todo, 0);
		rc = nvc_admin_up(p, &err);
		if (!rc)
			rc = nvc_io_up(p, &err);
		if (!rc)
			rc = nvd_same_namespace(p->dev, p, &err);
		if (!rc)
			serve(p);
		else
			nvd_path_failed(p->dev, p, rc, &err);
		path_end(p, !rc);
		/* One that answers is tried again at once, one that comes up soon. */
		if (!rc && p->answered)
			p->backoff_ms = 0;
		else if (!rc && p->backoff_ms > BACKOFF_UP_MS)
			p->backoff_ms = BACKOFF_UP_MS;
		if (!atomic_load(&p->stop))
			back_off(p);
	}
	return NULL;
}

/* ---- start, end -------------------------------------------------------- */

static int make_queues(struct nvme_path *p)
{
	for (unsigned i = 0; i < queue_count(p); i++) {
		p->queues[i] = calloc(1, sizeof *p->queues[i]);
		if (!p->queues[i])
			return -ENOMEM;
		nvq_init(p->queues[i], i);
		p->queues[i]->path = p;
	}
	return 0;
}

int nvp_init(struct nvme_path *p, const struct nvme_conf *conf, struct nvme_dev *dev)
{
	struct epoll_event ev = { .events = EPOLLIN };

	memset(p, 0, sizeof *p);
	p->conf = conf;
	p->dev = dev;
	p->ev = -1;
	p->ep = epoll_create1(EPOLL_CLOEXEC);
	if (p->ep < 0)
		return -errno;
	p->ev = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->ev < 0 || epoll_ctl(p->ep, EPOLL_CTL_ADD, p->ev, &ev))
		return -errno;
	p->buf = calloc(1, NVME_BUF_BYTES);
	return p->buf ? make_queues(p) : -ENOMEM;
}

void nvp_done(struct nvme_path *p)
{
	if (p->started) {
		atomic_store(&p->stop, true);
		nvp_wake(p);
		pthread_join(p->thread, NULL);
	}
	for (unsigned i = 0; i < queue_count(p); i++) {
		if (p->queues[i])
			nvq_done(p->queues[i]);
		free(p->queues[i]);
	}
	if (p->ev >= 0)
		close(p->ev);
	if (p->ep >= 0)
		close(p->ep);
	free(p->buf);
}

int nvp_start(struct nvme_path *p, unsigned index, struct err *err)
{
	sigset_t all, old;
	int rc;

	snprintf(p->thread_name, sizeof p->thread_name, "bd-nvme-p%u", index);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&p->thread, NULL, path_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->started = !rc;
	return rc ? err_set(err, -rc, "nvme-tcp: cannot start a thread: %s", strerror(rc)) : 0;
}
