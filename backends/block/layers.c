/* SPDX-License-Identifier: Apache-2.0 */
/* layers.c - what the layers share: requests on their way down and up, a thread each, the stack
 *
 * A layer is a transport whose wire is bd_submit() of the device below. Its requests come from a pool of limits.depth,
 * which is as many as the core has in flight. */
#include "backends/block/layers_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/spec.h"

const char *const bd_layer_op_names[BD_OPS + 2] = {
	[BD_READ] = "read",       [BD_WRITE] = "write", [BD_FLUSH] = "flush",
	[BD_DISCARD] = "discard", [BD_ZERO] = "zero",   [BD_OPS] = "fua",
};

/* ---- requests ---------------------------------------------------------- */

static struct layer_io *io_get(struct bd_layer *l, struct bd_req *rq)
{
	struct layer_io *io;

	mutex_lock(&l->lock);
	assert(!list_empty(&l->idle)); /* the core keeps to the depth */
	io = list_entry(list_pop(&l->idle), struct layer_io, job.link);
	mutex_unlock(&l->lock);
	io->job.refused = false;
	io->rq = rq;
	memset(io->mine, 0, sizeof io->mine);
	return io;
}

void layer_end(struct layer_io *io, int result)
{
	struct bd_layer *l = io->l;
	struct bd_req *rq = io->rq;

	mutex_lock(&l->lock);
	list_push_front(&l->idle, &io->job.link);
	mutex_unlock(&l->lock);
	bd_complete(rq, result);
}

static void low_answered(struct layer_io *io)
{
	struct bd_layer *l = io->l;
	int failed = io->low.result ? bd_failed(l->below) : 0;

	if (failed)
		bd_fail(&l->bd, failed);
	if (l->type->done)
		l->type->done(l, io);
	else
		layer_end(io, io->low.result);
}

static void low_done(struct bd_req *low)
{
	low_answered(low->arg);
}

void layer_send(struct layer_io *io)
{
	struct bd_req *rq = io->rq;
	int rc;

	io->low = (struct bd_req){ .op = rq->op,
				   .flags = rq->flags,
				   .off = rq->off,
				   .len = rq->len,
				   .iov = rq->iov,
				   .niov = rq->niov,
				   .done = low_done,
				   .arg = io };
	rc = bd_submit(io->l->below, &io->low);
	if (!rc)
		return;
	io->low.result = rc == -ESHUTDOWN ? -ECANCELED : rc;
	io->job.refused = true;
	layer_queue(io->l, &io->job, 0);
}

/* ---- the thread -------------------------------------------------------- */

void layer_queue_locked(struct bd_layer *l, struct layer_job *job, uint64_t due_us)
{
	struct list *at = l->queue.prev;

	mutex_assert_held(&l->lock);
	job->due_us = due_us;
	while (at != &l->queue && list_entry(at, struct layer_job, link)->due_us > due_us)
		at = at->prev;
	list_push_front(at, &job->link);
	cond_signal(&l->more);
}

void layer_queue(struct bd_layer *l, struct layer_job *job, uint64_t due_us)
{
	mutex_lock(&l->lock);
	layer_queue_locked(l, job, due_us);
	mutex_unlock(&l->lock);
}

/* Moves what is due to out; false: nothing is, *due_us tells when (UINT64_MAX: not known). */
static bool take_due_locked(struct bd_layer *l, struct list *out, uint64_t *due_us)
{
	uint64_t now = clock_us();

	*due_us = UINT64_MAX;
	while (!list_empty(&l->queue)) {
		struct layer_job *job = list_first(&l->queue, struct layer_job, link);

		if (job->due_us > now && !l->hurry) {
			*due_us = job->due_us;
			break;
		}
		list_push_back(out, list_pop(&l->queue));
	}
	return !list_empty(out);
}

/* False: the layer ends, and all is done. */
static bool wait_due(struct bd_layer *l, struct list *out)
{
	uint64_t due_us;
	bool got;

	mutex_lock(&l->lock);
	while (!(got = take_due_locked(l, out, &due_us)) && !l->ending) {
		if (due_us == UINT64_MAX)
			cond_wait(&l->more, &l->lock);
		else
			cond_wait_until(&l->more, &l->lock, (due_us + 999) / 1000);
	}
	mutex_unlock(&l->lock);
	return got;
}

static void *layer_thread(void *arg)
{
	struct bd_layer *l = arg;
	struct list jobs;

	pthread_setname_np(pthread_self(), l->type->name);
	list_init(&jobs);
	while (wait_due(l, &jobs)) {
		list_for_each_safe(it, tmp, &jobs) {
			struct layer_job *job = list_entry(it, struct layer_job, link);

			if (!job->refused)
				continue;
			list_del(it);
			job->refused = false;
			low_answered(layer_io_of(it));
		}
		if (!list_empty(&jobs))
			l->type->work(l, &jobs);
		assert(list_empty(&jobs));
	}
	return NULL;
}

/* ---- the table ---------------------------------------------------------- */

static void layer_submit(struct bd *dev, struct bd_req *rq)
{
	struct bd_layer *l = (struct bd_layer *)dev;

	l->type->submit(l, io_get(l, rq));
}

static int layer_size(struct bd *dev, uint64_t *out)
{
	struct bd *below = ((struct bd_layer *)dev)->below;
	int rc = bd_resize(below);

	if (!rc)
		*out = atomic_load(&below->size);
	return rc;
}

static void layer_cancel(struct bd *dev)
{
	struct bd_layer *l = (struct bd_layer *)dev;

	bd_cancel(l->below);
	mutex_lock(&l->lock);
	l->hurry = true;
	cond_signal(&l->more);
	mutex_unlock(&l->lock);
}

/* The layer's thread does what is queued, and ends. */
static void thread_end(struct bd_layer *l)
{
	if (!l->running)
		return;
	mutex_lock(&l->lock);
	l->ending = true;
	cond_signal(&l->more);
	mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	l->running = false;
}

/* Nothing is in flight, but threads may be on their way back: ours out of the last bd_submit() below, those of the device
 * below out of the last bd_complete() here. So ours ends before that device, and our core after it. */
static void layer_close(struct bd *dev)
{
	struct bd_layer *l = (struct bd_layer *)dev;

	thread_end(l);
	bd_close(l->below);
	layer_drop(l);
}

static const struct bd_ops layer_bd_ops = {
	.name = "layer",
	.submit = layer_submit,
	.size = layer_size,
	.cancel = layer_cancel,
	.close = layer_close,
};

/* ---- one layer ----------------------------------------------------------- */

void layer_init(struct bd_layer *l, const struct bd_layer_type *type, struct bd *below)
{
	l->type = type;
	l->below = below;
	l->bd.ops = &layer_bd_ops;
	l->bd.limits = below->limits;
	l->bd.limits.keeps = false; /* the core below does it */
	atomic_init(&l->bd.size, atomic_load(&below->size));
	mutex_init(&l->lock, LOCK_bd_layer);
	cond_init(&l->more);
	list_init(&l->idle);
	list_init(&l->queue);
}

int layer_start(struct bd_layer *l, struct err *err)
{
	static const struct bd_env env; /* nothing: ledger and time limits are those below */
	unsigned depth = l->bd.limits.depth;
	int rc;

	l->ios = calloc(depth, sizeof *l->ios);
	if (!l->ios)
		return err_set(err, -ENOMEM, "%s: out of memory", l->type->name);
	for (unsigned i = 0; i < depth; i++) {
		l->ios[i].l = l;
		list_push_back(&l->idle, &l->ios[i].job.link);
	}
	rc = bd_core_new(&l->bd, &env, err);
	if (rc)
		return rc;
	rc = -pthread_create(&l->thread, NULL, layer_thread, l);
	if (rc)
		return err_set(err, rc, "%s: cannot start a thread", l->type->name);
	l->running = true;
	return 0;
}

void layer_drop(struct bd_layer *l)
{
	thread_end(l);
	if (l->type->free)
		l->type->free(l);
	bd_core_free(&l->bd);
	cond_done(&l->more);
	mutex_done(&l->lock);
	free(l->ios);
	free(l);
}

struct bd_layer *layer_find(struct bd *dev, const struct bd_layer_type *type)
{
	while (dev && dev->ops == &layer_bd_ops) {
		struct bd_layer *l = (struct bd_layer *)dev;

		if (l->type == type)
			return l;
		dev = l->below;
	}
	return NULL;
}

/* ---- the stack ------------------------------------------------------------ */

static const struct bd_layer_type *const types[] = { &bd_layer_record, &bd_layer_powercut,
						     &bd_layer_fault, &bd_layer_delay };
static const char *const type_names[] = { "record", "powercut", "fault", "delay", NULL };

static int open_one(void *arg, unsigned which, char **params, struct err *err)
{
	struct bd **top = arg;

	return types[which]->open(params, *top, top, err);
}

int bd_layers_open(const char *spec, struct bd *below, struct bd **out, struct err *err)
{
	struct bd *top = below;
	int rc = spec_each(spec, type_names, open_one, &top, err);

	if (!rc) {
		*out = top;
		return 0;
	}
	while (top != below) {
		struct bd_layer *l = (struct bd_layer *)top;

		top = l->below;
		layer_drop(l);
	}
	return rc;
}
