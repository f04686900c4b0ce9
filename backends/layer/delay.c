/* SPDX-License-Identifier: Apache-2.0 */
/* delay.c - operations that start late; see layer.h
 *
 * Data operations are queued by the time at which they are due and submitted
 * below by a thread of the layer, so that their submitter goes on at once. The
 * others sleep in their caller, which they would hold up anyway. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/layer/layer_impl.h"
#include "common/clock.h"
#include "common/list.h"
#include "common/lock.h"
#include "common/spec.h"

#define NAP_US 100000 /* how often a sleeper looks whether it is interrupted */

struct late {
	struct list link;
	uint64_t due_us;
	enum layer_op op;
	struct be_io *io; /* borrowed until done */
};

struct delay {
	struct layer layer;
	/* set at start, then read only */
	uint64_t us[LAYER_OPS];
	pthread_t thread;
	bool running;
	struct mutex lock;
	struct cond changed;
	/* guarded by lock */
	struct list queue; /* soonest first */
	bool ending;
};

/* ---- data ------------------------------------------------------------ */

static void late_submit(struct delay *d, struct late *late)
{
	struct be_io *io = late->io;

	if (layer_submit_below(&d->layer, late->op, io) == BE_DONE)
		io->done(io);
	free(late);
}

/* The next one when it is due; NULL when the layer ends. */
static struct late *late_wait(struct delay *d)
{
	struct late *late = NULL;

	mutex_lock(&d->lock);
	while (!late && !d->ending) {
		uint64_t now = clock_us(), due = UINT64_MAX;

		if (!list_empty(&d->queue))
			due = list_first(&d->queue, struct late, link)->due_us;
		if (due == UINT64_MAX)
			cond_wait(&d->changed, &d->lock);
		else if (due > now)
			cond_wait_until(&d->changed, &d->lock, (due + 999) / 1000);
		else
			late = list_entry(list_pop(&d->queue), struct late, link);
	}
	mutex_unlock(&d->lock);
	return late;
}

static void *delay_thread(void *arg)
{
	struct delay *d = arg;
	struct late *late;

	pthread_setname_np(pthread_self(), "layer-delay");
	while ((late = late_wait(d)))
		late_submit(d, late);
	return NULL;
}

/* Behind all that are due earlier or at the same time. */
static void queue_locked(struct delay *d, struct late *late)
{
	struct list *at = d->queue.prev;

	while (at != &d->queue && list_entry(at, struct late, link)->due_us > late->due_us)
		at = at->prev;
	list_push_front(at, &late->link);
}

static enum be_submit delay_submit(struct layer *l, enum layer_op op, struct be_io *io)
{
	struct delay *d = (struct delay *)l;
	struct late *late = d->us[op] ? malloc(sizeof *late) : NULL;

	if (!late)
		return layer_submit_below(l, op, io);
	late->due_us = clock_us() + d->us[op];
	late->op = op;
	late->io = io;
	mutex_lock(&d->lock);
	queue_locked(d, late);
	cond_signal(&d->changed);
	mutex_unlock(&d->lock);
	return BE_QUEUED;
}

/* ---- the others ------------------------------------------------------- */

static int delay_before(struct layer *l, const struct layer_what *what)
{
	struct delay *d = (struct delay *)l;
	uint64_t left = d->us[what->op];

	if (what->op <= LAYER_commit)
		return 0; /* theirs comes in delay_submit() */
	while (left) {
		uint64_t nap = left < NAP_US ? left : NAP_US;
		struct timespec ts = { .tv_sec = 0, .tv_nsec = (long)nap * 1000 };

		if (what->call && what->call->interrupted && atomic_load(what->call->interrupted))
			return -EINTR;
		nanosleep(&ts, NULL);
		left -= nap;
	}
	return 0;
}

static void delay_free(struct layer *l)
{
	struct delay *d = (struct delay *)l;

	if (d->running) {
		mutex_lock(&d->lock);
		assert(list_empty(&d->queue));
		d->ending = true;
		cond_signal(&d->changed);
		mutex_unlock(&d->lock);
		pthread_join(d->thread, NULL);
	}
	cond_done(&d->changed);
	mutex_done(&d->lock);
	free(d);
}

static const struct layer_ops delay_ops = {
	.before = delay_before,
	.submit = delay_submit,
	.free = delay_free,
};

/* ---- description ----------------------------------------------------- */

static int param_parse(struct delay *d, char *param, struct err *err)
{
	char *value = spec_value(param);
	unsigned first, end;
	uint64_t us;
	int rc;

	if (!value)
		return err_set(err, -EINVAL, "delay: '%.100s' is not OPERATION=TIME", param);
	rc = spec_find("delay", param, layer_op_names, &first, &end, err);
	if (rc)
		return rc;
	rc = spec_time_us(value, &us);
	if (rc)
		return err_set(err, rc, "delay: %s=%.100s is no time up to an hour, as in 5ms",
			       param, value);
	while (first < end)
		d->us[first++] = us;
	return 0;
}

static int delay_open(char **params, struct layer **out, struct err *err)
{
	struct delay *d = calloc(1, sizeof *d);
	int rc = 0;

	if (!d)
		return err_set(err, -ENOMEM, "delay: out of memory");
	d->layer.lops = &delay_ops;
	mutex_init(&d->lock, LOCK_layer);
	cond_init(&d->changed);
	list_init(&d->queue);
	for (; *params && !rc; params++)
		rc = param_parse(d, *params, err);
	if (!rc) {
		rc = -pthread_create(&d->thread, NULL, delay_thread, d);
		d->running = rc == 0;
		if (rc)
			err_set(err, rc, "delay: cannot start a thread");
	}
	if (rc) {
		delay_free(&d->layer);
		return rc;
	}
	*out = &d->layer;
	return 0;
}

const struct layer_type layer_delay = { .name = "delay", .open = delay_open };
