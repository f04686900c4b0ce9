/* SPDX-License-Identifier: Apache-2.0 */
/* uring.c - requests of files and block devices in one ring, with one thread
 *
 *   done() on the ring's thread: submit() ------------------> submission queue --.
 *   other threads: submit() -> incoming, kick() -> eventfd -> ring's thread -----'-> io_uring_enter(), of which
 *                                                                                    the last one also waits
 *
 * The eventfd is read through the ring, so that the thread waits in one place; it is written to only when the thread
 * sleeps. What a ring cannot do (discard of a block device) and what came back short goes to the pool. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/block/file_impl.h"
#include "backends/block/ring.h"
#include "common/cleanup.h"
#include "common/lock.h"
#include "common/log.h"

enum { SLOT_DEVICE, SLOT_EVENT, SLOTS };
enum {
	REAP = 64,
	RETRY_US = 1000,
	/* So many are sent at once: with more the disk idles while the next row of answers is worked through. Measured on a
	 * virtual disk, 16 writes at a time, beside fio: 0.97 with 1 or 2, 0.95 with 4, 0.86 with 8, 0.81 with all in one
	 * call. */
	EARLY = 2,
};

struct file_ring {
	/* set at start, then read only */
	struct file *f;
	pthread_t thread;
	bool running; /* there is a thread, and the ring is its own */
	int ev;       /* owned */
	int started;
	sem_t start;

	_Atomic bool sleeps; /* or is about to: an eventfd wakes it */
	_Atomic bool stop;
	struct mutex lock;
	_Atomic unsigned nincoming; /* changed under lock */
	/* guarded by lock */
	struct list incoming; /* bd_req.link */

	/* the thread's */
	struct io_uring ring;
	unsigned out; /* requests in the ring */
	uint64_t event;
};

static _Thread_local const struct file_ring *runs_here;

/* ---- submission --------------------------------------------------------- */

static struct io_uring_sqe *new_sqe(struct file_ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	assert(sqe); /* the ring has room for the depth, and the eventfd */
	return sqe;
}

static void prepare_transfer(struct io_uring_sqe *sqe, const struct bd_req *rq)
{
	bool one = rq->niov == 1;

	if (rq->op == BD_READ && one)
		io_uring_prep_read(sqe, SLOT_DEVICE, rq->iov->iov_base, (unsigned)rq->len, rq->off);
	else if (rq->op == BD_READ)
		io_uring_prep_readv(sqe, SLOT_DEVICE, rq->iov, rq->niov, rq->off);
	else if (one)
		io_uring_prep_write(sqe, SLOT_DEVICE, rq->iov->iov_base, (unsigned)rq->len,
				    rq->off);
	else
		io_uring_prep_writev(sqe, SLOT_DEVICE, rq->iov, rq->niov, rq->off);
	sqe->rw_flags = rq->flags & BD_FUA ? RWF_DSYNC : 0;
}

/* On the ring's thread. */
static void prepare(struct file_ring *r, struct bd_req *rq)
{
	struct file *f = r->f;
	struct io_uring_sqe *sqe;

	if (rq->op == BD_DISCARD && f->is_block) {
		file_pool_add(f->pool, rq);
		return;
	}
	sqe = new_sqe(r);
	if (rq->op == BD_FLUSH)
		io_uring_prep_fsync(sqe, SLOT_DEVICE, IORING_FSYNC_DATASYNC);
	else if (rq->op == BD_READ || rq->op == BD_WRITE)
		prepare_transfer(sqe, rq);
	else
		io_uring_prep_fallocate(sqe, SLOT_DEVICE, file_fallocate_mode(f, rq),
					(off_t)rq->off, (off_t)rq->len);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, rq);
	r->out++;
	if (io_uring_sq_ready(&r->ring) >= EARLY)
		io_uring_submit(&r->ring); /* what fails here is sent by enter() */
}

static void watch_event(struct file_ring *r)
{
	struct io_uring_sqe *sqe = new_sqe(r);

	io_uring_prep_read(sqe, SLOT_EVENT, &r->event, sizeof r->event, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, NULL);
}

static void take_incoming(struct file_ring *r)
{
	struct list all = LIST_INIT(all), *l;

	if (atomic_load(&r->nincoming) == 0)
		return;
	mutex_lock(&r->lock);
	list_splice(&all, &r->incoming);
	atomic_store(&r->nincoming, 0);
	mutex_unlock(&r->lock);
	while ((l = list_pop(&all)))
		prepare(r, list_entry(l, struct bd_req, link));
}

static void wake(struct file_ring *r)
{
	uint64_t one = 1;

	if (atomic_exchange(&r->sleeps, false))
		(void)!write(r->ev, &one, sizeof one);
}

static void uring_submit(struct bd *dev, struct bd_req *rq)
{
	struct file_ring *r = file_of(dev)->ring;

	if (runs_here == r) {
		prepare(r, rq);
		return;
	}
	mutex_lock(&r->lock);
	list_push_back(&r->incoming, &rq->link);
	atomic_fetch_add(&r->nincoming, 1);
	mutex_unlock(&r->lock);
}

static void uring_kick(struct bd *dev)
{
	struct file_ring *r = file_of(dev)->ring;

	if (runs_here != r)
		wake(r);
}

/* ---- answers ------------------------------------------------------------- */

static void answer(struct file_ring *r, struct bd_req *rq, int res)
{
	bool transfer = rq->op == BD_READ || rq->op == BD_WRITE;

	r->out--;
	if (res == -EINTR || res == -EAGAIN || (transfer && res >= 0 && (uint64_t)res < rq->len)) {
		/* Done anew as a whole, by who goes on after a part and knows the end. */
		file_pool_add(r->f->pool, rq);
	} else if (rq->op == BD_ZERO && file_fallocate_again(r->f, rq, res)) {
		prepare(r, rq);
	} else {
		bd_complete(rq, res < 0 ? res : 0);
	}
}

static unsigned reap(struct file_ring *r)
{
	struct io_uring_cqe *cqes[REAP];
	struct {
		struct bd_req *rq;
		int res;
	} got[REAP];
	unsigned n = io_uring_peek_batch_cqe(&r->ring, cqes, REAP);

	for (unsigned i = 0; i < n; i++) {
		got[i].rq = io_uring_cqe_get_data(cqes[i]);
		got[i].res = cqes[i]->res;
	}
	io_uring_cq_advance(&r->ring, n);
	for (unsigned i = 0; i < n; i++) {
		if (got[i].rq)
			answer(r, got[i].rq, got[i].res);
		else
			watch_event(r);
	}
	return n;
}

/* Sends what is prepared, and waits for an answer or for who wakes it. */
static void enter(struct file_ring *r)
{
	int rc;

	atomic_store(&r->sleeps, true);
	if (atomic_load(&r->nincoming) > 0 || atomic_load(&r->stop))
		rc = io_uring_submit(&r->ring);
	else
		rc = io_uring_submit_and_wait(&r->ring, 1);
	atomic_store(&r->sleeps, false);
	if (rc == -EAGAIN || rc == -EBUSY)
		usleep(RETRY_US); /* the kernel lacks memory; answers will free some */
	else if (rc < 0 && rc != -EINTR)
		log_error("device: io_uring_enter: %s", strerror(-rc));
}

static void *ring_thread(void *arg)
{
	struct file_ring *r = arg;

	pthread_setname_np(pthread_self(), "bd-ring");
	runs_here = r;
	r->started = bd_ring_start(&r->ring);
	if (r->started)
		bd_ring_free(&r->ring);
	sem_post(&r->start);
	if (r->started)
		return NULL;
	watch_event(r);
	for (;;) {
		take_incoming(r);
		if (atomic_load(&r->stop) && r->out == 0)
			break;
		enter(r);
		while (reap(r) == REAP)
			;
	}
	bd_ring_free(&r->ring);
	return NULL;
}

/* ---- start and end -------------------------------------------------------- */

static int ring_make(struct file_ring *r)
{
	int fds[SLOTS] = { [SLOT_DEVICE] = r->f->fd, [SLOT_EVENT] = r->ev };

	return bd_ring_new(r->f->bd.limits.depth + 1, fds, SLOTS, &r->ring);
}

int file_ring_new(struct file *f, struct file_ring **out)
{
	struct file_ring *r = calloc(1, sizeof *r);
	int rc;

	if (!r)
		return -ENOMEM;
	r->f = f;
	r->ev = eventfd(0, EFD_CLOEXEC);
	rc = r->ev < 0 ? -errno : ring_make(r);
	if (rc) {
		if (r->ev >= 0)
			close(r->ev);
		free(r);
		return rc;
	}
	mutex_init(&r->lock, LOCK_bd_transport);
	list_init(&r->incoming);
	sem_init(&r->start, 0, 0);
	*out = r;
	return 0;
}

int file_ring_start(struct file_ring *r)
{
	int rc = -pthread_create(&r->thread, NULL, ring_thread, r);

	if (rc)
		return rc;
	r->running = true;
	while (sem_wait(&r->start) && errno == EINTR)
		;
	return r->started;
}

void file_ring_free(struct file_ring *r)
{
	if (r->running) {
		atomic_store(&r->stop, true);
		wake(r);
		pthread_join(r->thread, NULL);
	} else {
		bd_ring_free(&r->ring);
	}
	close(r->ev);
	sem_destroy(&r->start);
	mutex_done(&r->lock);
	free(r);
}

static void uring_close(struct bd *dev)
{
	struct file *f = file_of(dev);

	/* A thread of the pool may be on its way out of a kick. */
	file_pool_free(take_ptr(&f->pool));
	file_ring_free(take_ptr(&f->ring));
	file_free(f);
}

const struct bd_ops file_uring_ops = {
	.name = "file",
	.submit = uring_submit,
	.kick = uring_kick,
	.size = file_size_now,
	.close = uring_close,
};
