/* SPDX-License-Identifier: Apache-2.0 */
/* offload.c - threads that may wait: made when work is queued and nobody is free,
 * up to POOL_THREADS_MAX; they stay until the session ends. */
#include <errno.h>
#include <sys/prctl.h>

#include "common/log.h"
#include "common/stats.h"
#include "fusefs/session.h"

#define POOL_STACK (512u << 10)

void offload_init(struct volume *v)
{
	mutex_init(&v->pool_lock, LOCK_pool);
	cond_init(&v->pool_cond);
	cond_init(&v->pool_idle);
	list_init(&v->pool_queue);
}

static void run(struct request *rq)
{
	rq->may_block = true;
	/* Its program was told to stop while it was queued: nothing has happened yet. */
	if (rq->interrupted) {
		request_finish(rq, -EINTR);
		return;
	}
	session_dispatch(rq);
}

static void *pool_main(void *arg)
{
	struct volume *v = arg;

	prctl(PR_SET_NAME, "pool");
	mutex_lock(&v->pool_lock);
	for (;;) {
		struct list *it = list_pop(&v->pool_queue);

		if (it) {
			v->pool_busy++;
			mutex_unlock(&v->pool_lock);
			run(list_entry(it, struct request, link));
			mutex_lock(&v->pool_lock);
			v->pool_busy--;
			continue;
		}
		if (v->pool_stop)
			break;
		v->pool_waiting++;
		cond_wait(&v->pool_cond, &v->pool_lock);
		v->pool_waiting--;
	}
	v->pool_threads--;
	cond_broadcast(&v->pool_idle);
	mutex_unlock(&v->pool_lock);
	return NULL;
}

static bool start_thread(struct volume *v)
{
	pthread_attr_t attr;
	pthread_t t;
	bool ok;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	ok = !pthread_create(&t, &attr, pool_main, v);
	pthread_attr_destroy(&attr);
	return ok;
}

void offload_submit(struct request *rq)
{
	struct volume *v = rq->v;

	stats_inc(STAT_fuse_pooled);
	request_detach(rq, NULL);
	mutex_lock(&v->pool_lock);
	list_push_back(&v->pool_queue, &rq->link);
	if (v->pool_waiting)
		cond_signal(&v->pool_cond);
	else if (v->pool_threads < POOL_THREADS_MAX && start_thread(v))
		v->pool_threads++;
	else if (!v->pool_threads)
		log_error("pool: no thread can be made");
	mutex_unlock(&v->pool_lock);
}

void offload_done(struct volume *v)
{
	mutex_lock(&v->pool_lock);
	v->pool_stop = true;
	cond_broadcast(&v->pool_cond);
	while (v->pool_threads)
		cond_wait(&v->pool_idle, &v->pool_lock);
	mutex_unlock(&v->pool_lock);
	mutex_done(&v->pool_lock);
	cond_done(&v->pool_cond);
	cond_done(&v->pool_idle);
}
