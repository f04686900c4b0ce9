/* SPDX-License-Identifier: Apache-2.0 */
/* device_life.c - start and end of a device's core, and what is asked of it as a whole
 *
 * The thread "bd-core" calls done() where no thread of the transport is at hand: a flush that has nothing to do, what
 * a cancel or a failure ends. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device_impl.h"
#include "common/clock.h"
#include "common/log.h"

static void *core_thread(void *arg)
{
	struct bd_core *c = arg;
	struct list ended = LIST_INIT(ended);

	pthread_setname_np(pthread_self(), "bd-core");
	mutex_lock(&c->lock);
	for (;;) {
		while (list_empty(&c->ended) && !c->stop)
			cond_wait(&c->more, &c->lock);
		if (list_empty(&c->ended))
			break;
		list_splice(&ended, &c->ended);
		mutex_unlock(&c->lock);
		bdc_run_ended(c, &ended);
		mutex_lock(&c->lock);
	}
	mutex_unlock(&c->lock);
	return NULL;
}

/* ---- start ------------------------------------------------------------- */

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int check_limits(const struct bd *dev, struct err *err)
{
	const struct bd_limits *l = &dev->limits;
	uint64_t size = dev->size;

	if (!power_of_two(l->block) || l->block < BD_BLOCK_MIN || l->block > BD_BLOCK_MAX)
		return err_set(err, -EINVAL, "%s: logical blocks of %u bytes; %u to %u can be used",
			       dev->ops->name, l->block, BD_BLOCK_MIN, BD_BLOCK_MAX);
	if (!power_of_two(l->align) || l->align > BD_BLOCK_MAX)
		return err_set(err, -EINVAL, "%s: memory aligned to %u bytes; up to %u can be used",
			       dev->ops->name, l->align, BD_BLOCK_MAX);
	if (l->depth == 0 || l->depth > BD_DEPTH_MAX)
		return err_set(err, -EINVAL, "%s: %u requests at once; 1 to %u can be used",
			       dev->ops->name, l->depth, BD_DEPTH_MAX);
	if (l->max_transfer < l->block || l->max_transfer < l->align)
		return err_set(err, -EINVAL, "%s: transfers of at most %zu bytes; a block has %u",
			       dev->ops->name, l->max_transfer, l->block);
	if ((l->max_zero && l->max_zero < l->block) ||
	    (l->max_discard && l->max_discard < l->block))
		return err_set(err, -EINVAL,
			       "%s: zeroes %llu and discards %llu bytes at most; a block has %u",
			       dev->ops->name, (unsigned long long)l->max_zero,
			       (unsigned long long)l->max_discard, l->block);
	if (size < l->block || size > BD_SIZE_MAX || size % l->block)
		return err_set(err, -EINVAL,
			       "%s: a size of %llu bytes is not a number of blocks of %u",
			       dev->ops->name, (unsigned long long)size, l->block);
	return 0;
}

static int take_ledger(struct bd_core *c, struct err *err)
{
	const struct bd_ledger *l = c->ledger;
	unsigned used = 0, need = c->dev->limits.depth;

	if (!l)
		return 0;
	/* Numbers go on where a predecessor's end: the records of both are in one order. */
	for (unsigned i = 0; i < l->nrecords; i++) {
		if (l->records[i].state == BD_LEDGER_FREE)
			continue;
		used++;
		if (l->records[i].stamp > c->stamp)
			c->stamp = l->records[i].stamp;
	}
	/* Half of it, so that a successor has room beside what we leave. */
	c->ledger_max = l->nrecords > 1 ? l->nrecords / 2 : 1;
	if (need > c->ledger_max)
		need = c->ledger_max;
	if (l->nrecords - used < need)
		return err_set(err, -ENOSPC,
			       "%s: the ledger is full of what dead processes left: %u records",
			       c->dev->ops->name, used);
	return 0;
}

static int alloc_parts(struct bd_core *c)
{
	unsigned depth = c->dev->limits.depth;

	c->part_array = calloc(depth, sizeof *c->part_array);
	c->part_iov = calloc((size_t)depth * BD_IOV_MAX, sizeof *c->part_iov);
	c->zeros = aligned_alloc(BD_BLOCK_MAX, ZERO_BYTES);
	if (!c->part_array || !c->part_iov || !c->zeros)
		return -ENOMEM;
	memset(c->zeros, 0, ZERO_BYTES);
	for (unsigned i = 0; i < depth; i++) {
		c->part_array[i].iov = &c->part_iov[(size_t)i * BD_IOV_MAX];
		list_push_back(&c->parts, &c->part_array[i].link);
	}
	return 0;
}

static void take_limits(struct bd_core *c, const struct bd_env *env)
{
	const struct bd_limits *l = &c->dev->limits;
	uint64_t unit = l->align > l->block ? l->align : l->block;

	static_assert(ZERO_WRITE_MAX <= BD_IOV_MAX * (uint64_t)ZERO_BYTES, "zeros fit the pieces");
	c->max_transfer = l->max_transfer / unit * unit;
	c->max_zero = l->max_zero / l->block * l->block;
	c->max_discard = l->max_discard / l->block * l->block;
	c->readonly = l->readonly || (env && env->readonly);
	c->keeps = l->keeps && l->volatile_cache;
	c->keep_max = env && env->keep_max ? env->keep_max : BD_KEEP_MAX;
	c->timeout_ms = env ? env->timeout_ms : 0;
	c->resume_ms = RESUME_MS;
	c->ledger = env ? env->ledger : NULL;
}

static void core_init(struct bd_core *c)
{
	struct list *lists[] = { &c->waiting, &c->stalled, &c->flushes, &c->fuas,
				 &c->riders,  &c->again,   &c->ended,   &c->free,
				 &c->parts,   &c->kept,    &c->sending };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		list_init(lists[i]);
	c->kept_next = &c->kept;
	list_init(&c->forced.link);
	mutex_init(&c->lock, LOCK_bd);
	cond_init(&c->idle);
	cond_init(&c->quiet);
	cond_init(&c->more);
}

static void core_done(struct bd_core *c)
{
	while (c->slabs) {
		void *slab = c->slabs;

		c->slabs = *(void **)slab;
		free(slab);
	}
	cond_done(&c->idle);
	cond_done(&c->quiet);
	cond_done(&c->more);
	mutex_done(&c->lock);
	free(c->ranges);
	free(c->works);
	free(c->zeros);
	free(c->part_array);
	free(c->part_iov);
	free(c);
}

int bd_core_new(struct bd *dev, const struct bd_env *env, struct err *err)
{
	struct bd_core *c;
	int rc = check_limits(dev, err);

	if (rc)
		return rc;
	c = calloc(1, sizeof *c);
	if (!c)
		return err_set(err, -ENOMEM, "%s: no memory", dev->ops->name);
	c->dev = dev;
	core_init(c);
	take_limits(c, env);
	rc = take_ledger(c, err);
	if (rc == 0 && alloc_parts(c))
		rc = err_set(err, -ENOMEM, "%s: no memory", dev->ops->name);
	if (rc == 0 && pthread_create(&c->thread, NULL, core_thread, c))
		rc = err_set(err, -EAGAIN, "%s: no thread can be started", dev->ops->name);
	if (rc) {
		core_done(c);
		return rc;
	}
	dev->core = c;
	return 0;
}

/* ---- end --------------------------------------------------------------- */

void bd_core_free(struct bd *dev)
{
	struct bd_core *c = dev->core;

	if (!c)
		return;
	dev->core = NULL;
	mutex_lock(&c->lock);
	assert(c->active == 0 && c->in_flight == 0);
	bdc_keep_drop_locked(c);
	c->stop = true;
	cond_signal(&c->more);
	mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	core_done(c);
}

static bool any(const struct work *w)
{
	(void)w;
	return true;
}

void bd_cancel(struct bd *dev)
{
	struct bd_core *c = dev->core;
	bool first;

	mutex_lock(&c->lock);
	first = !c->cancelled;
	c->cancelled = true;
	if (first)
		bdc_sweep_locked(c, any, -ECANCELED, &c->ended);
	cond_signal(&c->more);
	mutex_unlock(&c->lock);
	if (first && dev->ops->cancel)
		dev->ops->cancel(dev);
}

/* All done() have returned, but what the core itself sent counts, too. */
static bool is_idle_locked(struct bd_core *c)
{
	return atomic_load(&c->running) == 0 && c->in_flight == 0;
}

bool bd_idle(struct bd *dev, uint64_t deadline_ms)
{
	struct bd_core *c = dev->core;
	bool idle;

	mutex_lock(&c->lock);
	while (!(idle = is_idle_locked(c)) && cond_wait_until(&c->idle, &c->lock, deadline_ms))
		;
	mutex_unlock(&c->lock);
	return idle;
}

void bd_close(struct bd *dev)
{
	if (!dev)
		return;
	if (dev->core)
		bd_cancel(dev);
	while (dev->core && !bd_idle(dev, clock_ms() + CLOSE_WARN_MS))
		log_warn("%s: close waits for requests that do not end", dev->ops->name);
	dev->ops->close(dev);
}

/* ---- as a whole -------------------------------------------------------- */

int bd_failed(struct bd *dev)
{
	struct bd_core *c = dev->core;
	int error;

	mutex_lock(&c->lock);
	error = c->failed;
	mutex_unlock(&c->lock);
	return error;
}

int bd_resize(struct bd *dev)
{
	uint64_t size = 0, old = atomic_load(&dev->size);
	int rc = dev->ops->size(dev, &size);

	if (rc)
		return rc;
	size -= size % dev->limits.block;
	if (size < old)
		return -EIO;
	if (size > BD_SIZE_MAX)
		return -EFBIG;
	atomic_store(&dev->size, size);
	return 0;
}

void bd_counts(struct bd *dev, struct bd_counts *out)
{
	struct bd_core *c = dev->core;

	mutex_lock(&c->lock);
	*out = c->counts;
	out->kept_bytes = c->kept_bytes;
	out->in_flight = c->in_flight;
	out->paused = c->state == CORE_PAUSED;
	out->waiting = 0;
	for (unsigned i = 0; i < c->active; i++)
		out->waiting += c->works[i]->out == 0;
	mutex_unlock(&c->lock);
}
