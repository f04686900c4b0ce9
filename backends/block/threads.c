/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - requests of files and block devices on threads that wait for them
 *
 * The whole engine where rings are refused; beside a ring it does what a ring cannot: discards of block
 * devices, and transfers that came back short.
 *
 * There is one thread at the start, and one more whenever a job finds none that is free, up to the limit. A job that is
 * submitted within a done() is taken by the thread that runs it: nobody has to be woken, and the caller's next request
 * finds its memory in this CPU's cache. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "backends/block/file_impl.h"
#include "common/lock.h"

struct file_pool {
	/* set at start, then read only */
	struct file *f;
	unsigned threads_max;
	struct mutex lock;
	struct cond more;
	/* guarded by lock */
	struct list jobs; /* bd_req.link */
	unsigned njobs;
	unsigned claimed;   /* of them: by threads that have not come back yet */
	pthread_t *threads; /* owned */
	unsigned nthreads;
	unsigned idle; /* threads that wait, or were woken and have not run yet */
	bool ending;
};

/* Of the thread's own: it runs a done(), and has taken none of the jobs that this submitted. */
static _Thread_local struct file_pool *takes_next_of;

/* A job, or NULL at the end. */
static struct bd_req *job_wait(struct file_pool *p, bool claimed)
{
	struct list *l;

	mutex_lock(&p->lock);
	p->claimed -= claimed;
	p->idle++;
	while (list_empty(&p->jobs) && !p->ending)
		cond_wait(&p->more, &p->lock);
	p->idle--;
	l = list_pop(&p->jobs);
	p->njobs -= l != NULL;
	mutex_unlock(&p->lock);
	return l ? list_entry(l, struct bd_req, link) : NULL;
}

static void *pool_thread(void *arg)
{
	struct file_pool *p = arg;
	struct bd_req *rq;
	bool claimed = false;

	pthread_setname_np(pthread_self(), "bd-file");
	while ((rq = job_wait(p, claimed))) {
		int result = file_execute(p->f, rq);

		takes_next_of = p;
		bd_complete(rq, result);
		claimed = takes_next_of == NULL;
		takes_next_of = NULL;
	}
	return NULL;
}

/* Whoever does not get a thread waits for one that has other work now. */
static void start_thread_locked(struct file_pool *p)
{
	if (p->nthreads < p->threads_max &&
	    pthread_create(&p->threads[p->nthreads], NULL, pool_thread, p) == 0)
		p->nthreads++;
}

void file_pool_add(struct file_pool *p, struct bd_req *rq)
{
	bool mine = takes_next_of == p;

	mutex_lock(&p->lock);
	list_push_back(&p->jobs, &rq->link);
	p->njobs++;
	if (mine) {
		takes_next_of = NULL;
		p->claimed++;
	} else if (p->njobs - p->claimed <= p->idle) {
		cond_signal(&p->more);
	} else {
		start_thread_locked(p);
	}
	mutex_unlock(&p->lock);
}

int file_pool_new(struct file *f, unsigned threads_max, struct file_pool **out)
{
	struct file_pool *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->f = f;
	p->threads_max = threads_max;
	mutex_init(&p->lock, LOCK_bd_transport);
	cond_init(&p->more);
	list_init(&p->jobs);
	p->threads = calloc(threads_max, sizeof *p->threads);
	mutex_lock(&p->lock);
	if (p->threads)
		start_thread_locked(p);
	mutex_unlock(&p->lock);
	if (p->nthreads == 0) {
		file_pool_free(p);
		return -EAGAIN;
	}
	*out = p;
	return 0;
}

void file_pool_free(struct file_pool *p)
{
	if (!p)
		return;
	mutex_lock(&p->lock);
	assert(list_empty(&p->jobs));
	p->ending = true;
	cond_broadcast(&p->more);
	mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	cond_done(&p->more);
	mutex_done(&p->lock);
	free(p->threads);
	free(p);
}

/* ---- the table --------------------------------------------------------- */

static void threads_submit(struct bd *dev, struct bd_req *rq)
{
	file_pool_add(file_of(dev)->pool, rq);
}

static void threads_close(struct bd *dev)
{
	file_free(file_of(dev));
}

const struct bd_ops file_threads_ops = {
	.name = "file",
	.submit = threads_submit,
	.size = file_size_now,
	.close = threads_close,
};
