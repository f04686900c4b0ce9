/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct pool {
	/* set at start, then read only */
	struct pool_conf conf;
	struct mutex lock;
	struct cond more;
	/* guarded by lock */
	struct list jobs;
	unsigned njobs;
	unsigned claimed;   /* of them: by threads that have not come back yet */
	pthread_t *threads; /* owned */
	unsigned nthreads;
	unsigned idle; /* threads that wait, or were woken and have not run yet */
	bool ending;
};

/* Of the thread's own job, which ends soon: the pool whose next job it will take, and whether there is one. */
static _Thread_local struct {
	struct pool *takes_next_of;
	bool claimed;
} mine;

/* A job, or NULL at the end. */
static struct list *job_wait(struct pool *p, bool claimed)
{
	struct list *job;

	mutex_lock(&p->lock);
	p->claimed -= claimed;
	p->idle++;
	while (list_empty(&p->jobs) && !p->ending)
		cond_wait(&p->more, &p->lock);
	p->idle--;
	job = list_pop(&p->jobs);
	p->njobs -= job != NULL;
	mutex_unlock(&p->lock);
	return job;
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;
	struct list *job;

	pthread_setname_np(pthread_self(), p->conf.name);
	while ((job = job_wait(p, mine.claimed))) {
		mine.claimed = false;
		p->conf.work(p->conf.arg, job);
		mine.takes_next_of = NULL;
	}
	return NULL;
}

/* Whoever does not get a thread waits for one that has other work now. */
static bool start_thread_locked(struct pool *p)
{
	if (p->nthreads == p->conf.threads_max ||
	    pthread_create(&p->threads[p->nthreads], NULL, pool_thread, p))
		return false;
	p->nthreads++;
	return true;
}

void pool_ends_soon(struct pool *p)
{
	mine.takes_next_of = p;
}

void pool_add(struct pool *p, struct list *job)
{
	mutex_lock(&p->lock);
	list_push_back(&p->jobs, job);
	p->njobs++;
	if (mine.takes_next_of == p) {
		mine.takes_next_of = NULL;
		mine.claimed = true;
		p->claimed++;
	} else if (p->njobs - p->claimed <= p->idle) {
		cond_signal(&p->more);
	} else {
		start_thread_locked(p);
	}
	mutex_unlock(&p->lock);
}

int pool_new(const struct pool_conf *conf, struct pool **out)
{
	struct pool *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->conf = *conf;
	mutex_init(&p->lock, conf->rank);
	cond_init(&p->more);
	list_init(&p->jobs);
	p->threads = calloc(conf->threads_max, sizeof *p->threads);
	mutex_lock(&p->lock);
	while (p->threads && p->nthreads < conf->threads_min && start_thread_locked(p))
		;
	mutex_unlock(&p->lock);
	if (p->nthreads < conf->threads_min) {
		pool_free(p);
		return -EAGAIN;
	}
	*out = p;
	return 0;
}

void pool_free(struct pool *p)
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
