/* SPDX-License-Identifier: Apache-2.0 */
/* offload.c - threads that may wait: made when work is queued and nobody is free,
 * up to POOL_THREADS_MAX; they stay until the session ends. One thread does
 * nothing but make them: a thread inherits identity and capabilities of its
 * maker, and those that run operations may wear a caller's. */
#include <errno.h>
#include <sys/prctl.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "fusefs/session.h"

#define POOL_STACK (512u << 10)
#define SPAWN_RETRY_MS 100

static void run(struct request *rq)
{
	rq->may_block = true;
	/* Its program was told to stop while it was queued: nothing has happened yet. */
	if (rq->interrupted) {
		request_finish(rq, -EINTR);
		return;
	}
	cache_interruptible(&rq->interrupted);
	session_dispatch(rq);
	cache_interruptible(NULL);
}

static void *pool_main(void *arg)
{
	struct volume *v = arg;
	struct list *it;

	prctl(PR_SET_NAME, "pool");
	mutex_lock(&v->pool_lock);
	for (;;) {
		it = list_pop(&v->pool_queue);
		if (it) {
			v->pool_queued--;
			mutex_unlock(&v->pool_lock);
			run(list_entry(it, struct request, link));
			mutex_lock(&v->pool_lock);
			continue;
		}
		if (v->pool_stop)
			break;
		v->pool_waiting++;
		cond_wait(&v->pool_cond, &v->pool_lock);
		v->pool_waiting--;
	}
	mutex_unlock(&v->pool_lock);
	return NULL;
}

static bool thread_wanted_locked(const struct volume *v)
{
	return v->pool_queued > v->pool_waiting && v->pool_threads < POOL_THREADS_MAX;
}

static void start_thread_locked(struct volume *v)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	if (!pthread_create(&v->pool_ids[v->pool_threads], &attr, pool_main, v)) {
		v->pool_threads++;
	} else {
		log_error("pool: no thread can be made; %u are there", v->pool_threads);
		cond_wait_until(&v->pool_spawn, &v->pool_lock, clock_ms() + SPAWN_RETRY_MS);
	}
	pthread_attr_destroy(&attr);
}

static void *spawner_main(void *arg)
{
	struct volume *v = arg;

	prctl(PR_SET_NAME, "pool-spawner");
	mutex_lock(&v->pool_lock);
	while (!v->pool_stop) {
		if (thread_wanted_locked(v))
			start_thread_locked(v);
		else
			cond_wait(&v->pool_spawn, &v->pool_lock);
	}
	mutex_unlock(&v->pool_lock);
	return NULL;
}

int offload_init(struct volume *v)
{
	mutex_init(&v->pool_lock, LOCK_pool);
	cond_init(&v->pool_cond);
	cond_init(&v->pool_spawn);
	list_init(&v->pool_queue);
	return -pthread_create(&v->pool_spawner, NULL, spawner_main, v);
}

void offload_submit(struct request *rq)
{
	struct volume *v = rq->v;

	stats_inc(STAT_fuse_pooled);
	request_detach(rq, NULL);
	mutex_lock(&v->pool_lock);
	list_push_back(&v->pool_queue, &rq->link);
	v->pool_queued++;
	if (v->pool_waiting)
		cond_signal(&v->pool_cond);
	if (thread_wanted_locked(v))
		cond_signal(&v->pool_spawn);
	mutex_unlock(&v->pool_lock);
}

void offload_done(struct volume *v)
{
	mutex_lock(&v->pool_lock);
	v->pool_stop = true;
	cond_broadcast(&v->pool_cond);
	cond_broadcast(&v->pool_spawn);
	mutex_unlock(&v->pool_lock);
	pthread_join(v->pool_spawner, NULL);
	for (unsigned i = 0; i < v->pool_threads; i++)
		pthread_join(v->pool_ids[i], NULL);
	mutex_done(&v->pool_lock);
	cond_done(&v->pool_cond);
	cond_done(&v->pool_spawn);
}
