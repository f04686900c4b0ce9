/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/probe.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/lock.h"

struct question {
	struct bconfig *c; /* a reference */
	struct provider *p;
	const struct bplan *plan;
	char id[STORE_ID_MAX];
	json_t *handle; /* owned, a copy: counts of jansson are not for two threads */
	struct mutex lock;
	struct cond changed;
	/* guarded by lock */
	unsigned refs;
	struct probe_answer answer;
};

static _Atomic unsigned running;

static void drop(struct question *q)
{
	bool last;

	mutex_lock(&q->lock);
	last = !--q->refs;
	mutex_unlock(&q->lock);
	if (!last)
		return;
	cond_done(&q->changed);
	mutex_done(&q->lock);
	json_decref(q->handle);
	bconfig_put(q->c);
	free(q);
}

static void *ask(void *arg)
{
	struct question *q = arg;
	struct provider_ref ref = { .owner = q->id, .handle = q->handle, .plan = q->plan->object };
	struct probe_answer a = { .answered = true };

	a.volume_rc = q->p->ops->get(q->p, &ref, &a.volume, &a.volume_err);
	a.health_rc = q->p->ops->health(q->p, &a.health_err);
	mutex_lock(&q->lock);
	q->answer = a;
	cond_broadcast(&q->changed);
	mutex_unlock(&q->lock);
	drop(q);
	running--;
	return NULL;
}

static struct question *question_new(struct bconfig *c, const struct instance *i)
{
	struct question *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->c = bconfig_get(c);
	q->p = bconfig_provider(c, i->provider);
	q->plan = bconfig_plan(c, i->plan);
	strcpy(q->id, i->id);
	q->handle = json_deep_copy(i->handle);
	mutex_init(&q->lock, LOCK_broker_probe);
	cond_init(&q->changed);
	q->refs = 2;
	return q;
}

static bool start(struct question *q)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool ok = running++ < PROBES_MAX && q->p && q->plan;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	ok = ok && !pthread_create(&thread, &attr, ask, q);
	pthread_attr_destroy(&attr);
	if (!ok)
		running--;
	return ok;
}

void probe(struct bconfig *c, const struct instance *i, struct probe_answer *out)
{
	uint64_t deadline = clock_ms() + PROBE_WAIT_MS;
	struct question *q = question_new(c, i);

	memset(out, 0, sizeof *out);
	if (!q)
		return;
	if (start(q)) {
		mutex_lock(&q->lock);
		while (!q->answer.answered && cond_wait_until(&q->changed, &q->lock, deadline))
			;
		*out = q->answer;
		mutex_unlock(&q->lock);
	} else {
		drop(q);
	}
	drop(q);
}
