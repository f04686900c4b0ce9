/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - a few threads for transfers that wait for a disk
 *
 * Threads are started with the pool and end with it. Jobs run in the order of
 * their coming. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "backends/dir/dir_impl.h"

struct job {
	struct list link;
	void (*work)(struct be_io *io);
	struct be_io *io; /* borrowed until work is done */
};

struct pool {
	/* set at start, then read only */
	unsigned nthreads;
	pthread_t *threads; /* owned */
	char name[16];
	struct mutex lock;
	struct cond more;
	/* guarded by lock */
	struct list jobs;
	bool ending;
};

static struct job *job_wait(struct pool *p)
{
	struct list *l;

	mutex_lock(&p->lock);
	while (list_empty(&p->jobs) && !p->ending)
		cond_wait(&p->more, &p->lock);
	l = list_pop(&p->jobs);
	mutex_unlock(&p->lock);
	return l ? list_entry(l, struct job, link) : NULL;
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;
	struct job *job;

	pthread_setname_np(pthread_self(), p->name);
	while ((job = job_wait(p))) {
		job->work(job->io);
		free(job);
	}
	return NULL;
}

struct pool *pool_new(const char *name, unsigned threads)
{
	struct pool *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	mutex_init(&p->lock, LOCK_be_queue);
	cond_init(&p->more);
	list_init(&p->jobs);
	for (size_t i = 0; i + 1 < sizeof p->name && name[i]; i++)
		p->name[i] = name[i];
	p->threads = calloc(threads, sizeof *p->threads);
	while (p->threads && p->nthreads < threads &&
	       pthread_create(&p->threads[p->nthreads], NULL, pool_thread, p) == 0)
		p->nthreads++;
	if (p->nthreads == threads)
		return p;
	pool_free(p);
	return NULL;
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

bool pool_submit(struct pool *p, void (*work)(struct be_io *io), struct be_io *io)
{
	struct job *job = malloc(sizeof *job);

	if (!job)
		return false;
	job->work = work;
	job->io = io;
	mutex_lock(&p->lock);
	list_push_back(&p->jobs, &job->link);
	cond_signal(&p->more);
	mutex_unlock(&p->lock);
	return true;
}
