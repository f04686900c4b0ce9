/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_tcp.c - a namespace of an NVMe/TCP subsystem as a device: which path is used, and what happens between two
 *
 *              the active path is lost, or not accessible, or a better one is up, or requests came back
 *   +------+ ------------------------------------------------------------------------------> +--------+
 *   | RUNS |                                   bd_pause()                                    | PAUSED |
 *   +------+ <------------------------------------------------------------------------------ +--------+
 *              nothing is on the wire, nothing can land any more, a path is up: bd_resume()
 *
 * 1. Only the device's thread pauses, gives back, chooses a path, and resumes.
 * 2. A request is on the wire (counted), parked, or the core's.
 * 3. A path tells until when its unanswered writes may land before it parks them. So when nothing is on the wire,
 *    settle_until is known.
 * 4. Paths are used one at a time: the best one that is up.
 * 5. A path that was active and was lost gets no request before the pause that its loss asks for, however quickly it is
 *    up again: its controller is another one, and the core may have to repeat writes first (B7). */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/nvme_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	PAUSED_TICK_MS = 100, /* a look at deadlines and at the clock, while paused */
	IDLE_TICK_MS = 5000,
	SIZE_MS = 30000,
};

/* ---- told by paths ----------------------------------------------------- */

static void changed_locked(struct nvme_dev *d)
{
	d->told++;
	cond_broadcast(&d->cond);
}

static void tell(struct nvme_dev *d)
{
	mutex_lock(&d->lock);
	changed_locked(d);
	mutex_unlock(&d->lock);
}

void nvd_off_wire(struct nvme_dev *d)
{
	if (atomic_fetch_sub(&d->on_wire, 1) == 1 && !atomic_load(&d->running))
		tell(d);
}

void nvd_park(struct nvme_dev *d, struct bd_req *rq)
{
	mutex_lock(&d->lock);
	list_push_back(&d->parked, &rq->link);
	atomic_fetch_sub(&d->on_wire, 1);
	changed_locked(d);
	mutex_unlock(&d->lock);
}

void nvd_path_up(struct nvme_dev *d, struct nvme_path *p)
{
	bool again;

	mutex_lock(&d->lock);
	again = p->tried;
	p->up = p->tried = true;
	p->ana = p->ana_seen;
	/* A question for the size that the lost controller did not answer. */
	if (d->size_asked > d->size_answered)
		atomic_fetch_or(&p->todo, NVME_TODO_NS);
	p->error.text[0] = '\0';
	changed_locked(d);
	mutex_unlock(&d->lock);
	if (again)
		log_info("nvme-tcp: %s: connected again", p->name);
}

void nvd_path_failed(struct nvme_dev *d, struct nvme_path *p, int code, const struct err *err)
{
	bool first;

	mutex_lock(&d->lock);
	/* The first failure in a row is told, the others would only repeat it. */
	first = d->opened && !p->error.text[0];
	p->error = *err;
	p->error_code = code;
	p->tried = true;
	changed_locked(d);
	mutex_unlock(&d->lock);
	if (first && !atomic_load(&p->stop))
		log_warn("%s; trying again", err->text);
}

void nvd_path_down(struct nvme_dev *d, struct nvme_path *p)
{
	mutex_lock(&d->lock);
	p->up = false;
	d->broken |= atomic_load(&d->active) == p;
	changed_locked(d);
	mutex_unlock(&d->lock);
}

void nvd_await_pause(struct nvme_dev *d, const struct nvme_path *p)
{
	mutex_lock(&d->lock);
	while (d->broken && !atomic_load(&p->stop))
		cond_wait_until(&d->cond, &d->lock, clock_ms() + PAUSED_TICK_MS);
	mutex_unlock(&d->lock);
}

void nvd_settle(struct nvme_dev *d, uint64_t at_ms)
{
	mutex_lock(&d->lock);
	if (at_ms > d->settle_until_ms)
		d->settle_until_ms = at_ms;
	mutex_unlock(&d->lock);
}

void nvd_path_ana(struct nvme_dev *d, struct nvme_path *p, uint8_t state)
{
	bool changed;

	mutex_lock(&d->lock);
	changed = p->ana != state;
	p->ana = state;
	changed_locked(d);
	mutex_unlock(&d->lock);
	if (state == NVME_ANA_UNKNOWN)
		p->ana_seen = state; /* the path reads the log soon */
	else if (changed)
		log_info("nvme-tcp: %s: access state %u", p->name, state);
}

uint64_t nvd_size_asked(struct nvme_dev *d)
{
	uint64_t n;

	mutex_lock(&d->lock);
	n = d->size_asked;
	mutex_unlock(&d->lock);
	return n;
}

void nvd_blocks_seen(struct nvme_dev *d, uint64_t blocks, uint64_t asked)
{
	mutex_lock(&d->lock);
	d->blocks_seen = blocks;
	if (asked > d->size_answered)
		d->size_answered = asked;
	changed_locked(d);
	mutex_unlock(&d->lock);
}

static bool can_do(const struct bd_limits *l, const struct nvme_ns *ns)
{
	return ns->max_transfer >= l->max_transfer && (ns->dsm || !l->max_discard) &&
	       (ns->write_zeroes || !l->max_zero) && (!ns->volatile_cache || l->volatile_cache) &&
	       (!ns->readonly || l->readonly);
}

/* Until the open is over: requests will be made for what each of the paths can do, whichever was the first. */
static void combine(struct nvme_ns *all, const struct nvme_ns *ns)
{
	if (ns->max_transfer < all->max_transfer)
		all->max_transfer = ns->max_transfer;
	all->dsm &= ns->dsm;
	all->write_zeroes &= ns->write_zeroes;
	all->volatile_cache |= ns->volatile_cache;
	all->readonly |= ns->readonly;
}

int nvd_same_namespace(struct nvme_dev *d, const struct nvme_path *p, struct err *err)
{
	const struct nvme_ns *ns = &p->ns, *known = &d->ns;
	int rc = 0;

	mutex_lock(&d->lock);
	if (!d->known) {
		d->ns = *ns;
		d->known = true;
	} else if (memcmp(&ns->ids, &known->ids, sizeof ns->ids) || ns->block != known->block) {
		rc = err_set(err, -ESTALE,
			     "nvme-tcp: %s: namespace %u is not the one that was opened", p->name,
			     ns->nsid);
	} else if (ns->blocks <
		   (d->opened ? atomic_load(&d->bd.size) / ns->block : known->blocks)) {
		rc = err_set(err, -ESTALE, "nvme-tcp: %s: namespace %u has shrunk to %llu blocks",
			     p->name, ns->nsid, (unsigned long long)ns->blocks);
	} else if (d->opened && !can_do(&d->bd.limits, ns)) {
		rc = err_set(
			err, -ESTALE,
			"nvme-tcp: %s: the controller can do less than the one that was opened",
			p->name);
	} else if (!d->opened) {
		combine(&d->ns, ns);
	}
	mutex_unlock(&d->lock);
	return rc;
}

/* ---- the thread -------------------------------------------------------- */

/* 0: cannot be used; the higher, the better. */
static unsigned rating_locked(const struct nvme_path *p)
{
	if (!p || !p->up)
		return 0;
	return p->ana == NVME_ANA_STATE_OPTIMIZED     ? 2 :
	       p->ana == NVME_ANA_STATE_NON_OPTIMIZED ? 1 :
							0;
}

struct nvme_path *nvd_best_locked(const struct nvme_dev *d)
{
	struct nvme_path *best = NULL;

	for (unsigned i = 0; i < d->npaths; i++)
		if (rating_locked(d->paths[i]) > rating_locked(best))
			best = d->paths[i];
	return best;
}

static void pause_now(struct nvme_dev *d)
{
	atomic_store(&d->running, false);
	mutex_unlock(&d->lock);
	bd_pause(&d->bd);
	mutex_lock(&d->lock);
	atomic_store(&d->active, NULL);
	d->broken = false;
	changed_locked(d);
}

/* Parked requests go back to the core. */
static void give_back(struct nvme_dev *d)
{
	struct list parked = LIST_INIT(parked);
	struct list *l;

	list_splice(&parked, &d->parked);
	mutex_unlock(&d->lock);
	while ((l = list_pop(&parked))) {
		struct bd_req *rq = list_entry(l, struct bd_req, link);

		if (atomic_load(&d->cancelled))
			bd_complete(rq, -ECANCELED);
		else
			bd_requeue(rq);
	}
	mutex_lock(&d->lock);
}

static void resume_on(struct nvme_dev *d, struct nvme_path *p)
{
	log_debug("nvme-tcp: requests go to %s", p->name);
	atomic_store(&d->active, p);
	atomic_store(&d->running, true);
	mutex_unlock(&d->lock);
	bd_resume(&d->bd);
	mutex_lock(&d->lock);
}

/* One look at the state; returns until when nothing is to be done unless somebody tells. */
static uint64_t step(struct nvme_dev *d)
{
	struct nvme_path *best = nvd_best_locked(d), *active = atomic_load(&d->active);
	uint64_t now = clock_ms(), at;
	uint32_t expire;

	if (atomic_load(&d->running)) {
		if (!d->broken && list_empty(&d->parked) && rating_locked(active) &&
		    rating_locked(active) >= rating_locked(best))
			return now + IDLE_TICK_MS;
		pause_now(d);
		return 0;
	}
	if (!list_empty(&d->parked)) {
		give_back(d);
		return 0;
	}
	if (best && atomic_load(&d->on_wire) == 0 && now >= d->settle_until_ms) {
		resume_on(d, best);
		return 0;
	}
	mutex_unlock(&d->lock);
	expire = bd_expire(&d->bd, now);
	mutex_lock(&d->lock);
	at = now + (expire < PAUSED_TICK_MS ? expire : PAUSED_TICK_MS);
	return best && d->settle_until_ms > now && d->settle_until_ms < at ? d->settle_until_ms :
									     at;
}

static void *device_thread(void *arg)
{
	struct nvme_dev *d = arg;

	pthread_setname_np(pthread_self(), "bd-nvme");
	mutex_lock(&d->lock);
	while (!atomic_load(&d->stop)) {
		uint64_t told = d->told, at = step(d);

		/* What was told while step() did not hold the lock is looked at first. */
		if (at && told == d->told)
			cond_wait_until(&d->cond, &d->lock, at);
	}
	mutex_unlock(&d->lock);
	return NULL;
}

/* ---- the table --------------------------------------------------------- */

/* What counts is a look that begins after the question. */
static int nvd_size(struct bd *bd, uint64_t *out)
{
	struct nvme_dev *d = nvd_of(bd);
	uint64_t deadline = clock_ms() + SIZE_MS, mine;
	struct nvme_path *p = NULL;
	int rc = 0;

	mutex_lock(&d->lock);
	mine = ++d->size_asked;
	while (d->size_answered < mine && !rc) {
		struct nvme_path *best = nvd_best_locked(d);

		/* Asked again when another one takes over. */
		if (best && best != p) {
			atomic_fetch_or(&best->todo, NVME_TODO_NS);
			nvp_wake(best);
		}
		p = best;
		if (atomic_load(&d->cancelled))
			rc = -ECANCELED;
		else if (!cond_wait_until(&d->cond, &d->lock, clock_ms() + PAUSED_TICK_MS) &&
			 clock_ms() >= deadline)
			rc = -ETIMEDOUT;
	}
	if (!rc)
		*out = d->blocks_seen * d->ns.block;
	mutex_unlock(&d->lock);
	return rc;
}

static void nvd_cancel(struct bd *bd)
{
	struct nvme_dev *d = nvd_of(bd);

	atomic_store(&d->cancelled, true);
	tell(d);
	for (unsigned i = 0; i < d->npaths; i++)
		nvp_wake(d->paths[i]);
}

void nvd_free(struct nvme_dev *d)
{
	/* All paths end at once: each waits for its controller's shutdown. */
	for (unsigned i = 0; i < d->npaths; i++) {
		atomic_store(&d->paths[i]->stop, true);
		nvp_wake(d->paths[i]);
	}
	if (d->started) {
		atomic_store(&d->stop, true);
		tell(d);
		pthread_join(d->thread, NULL);
	}
	for (unsigned i = 0; i < d->npaths; i++) {
		nvp_done(d->paths[i]);
		free(d->paths[i]);
	}
	bd_core_free(&d->bd);
	cond_done(&d->cond);
	mutex_done(&d->lock);
	free(d);
}

static void nvd_close(struct bd *bd)
{
	nvd_free(nvd_of(bd));
}

static const struct bd_ops ops = { .name = "nvme-tcp",
				   .submit = nvio_submit,
				   .kick = nvio_kick,
				   .size = nvd_size,
				   .cancel = nvd_cancel,
				   .close = nvd_close };

struct nvme_dev *nvd_new(const struct bd_env *env)
{
	struct nvme_dev *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->bd.ops = &ops;
	d->env = *env;
	mutex_init(&d->lock, LOCK_bd_transport);
	cond_init(&d->cond);
	list_init(&d->parked);
	return d;
}

static void set_limits(struct nvme_dev *d)
{
	const struct nvme_ns *ns = &d->ns;

	d->bd.limits = (struct bd_limits){
		.block = ns->block,
		.align = 1,
		.max_transfer = ns->max_transfer,
		.max_zero = ns->write_zeroes ? NVME_ZERO_MAX : 0,
		.max_discard = ns->dsm ? NVME_DISCARD_MAX : 0,
		.depth = ns->depth,
		.volatile_cache = ns->volatile_cache,
		.fua = ns->volatile_cache,
		.zero_fast = ns->write_zeroes,
		.readonly = ns->readonly || d->env.readonly,
		.keeps = ns->volatile_cache,
	};
	atomic_store(&d->bd.size, ns->blocks * ns->block);
}

int nvd_run(struct nvme_dev *d, struct err *err)
{
	sigset_t all, old;
	int rc;

	mutex_lock(&d->lock);
	set_limits(d);
	d->opened = true;
	atomic_store(&d->active, nvd_best_locked(d));
	mutex_unlock(&d->lock);
	rc = bd_core_new(&d->bd, &d->env, err);
	if (rc)
		return rc;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_store(&d->running, true);
	rc = pthread_create(&d->thread, NULL, device_thread, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	d->started = !rc;
	return rc ? err_set(err, -rc, "nvme-tcp: cannot start a thread: %s", strerror(rc)) : 0;
}
