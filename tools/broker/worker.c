/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - see worker.h
 *
 * Outcomes of a provider call, with the lease held:
 *   0                      done: READY, or a tombstone
 *   -EAGAIN, -ENOMEM       the row stays as it is, the next try comes later (BACKOFF), until operation_timeout
 *   -EBUSY of a deletion   the same, but for BUSY_MS only: somebody uses it, which no waiting of ours ends; then READY
 *   else, or too late      creation: remove(), and FAILED; update: READY with the old size; deletion: FAILED
 * A creation that cannot remove what it began is tried again as if it had not been tried at all, and given up at
 * twice the limit; the row stays, and DELETE begins anew.
 *
 * A deletion that stops a creation is claimed when the creation's call is over, by the outcome that is not written
 * any more (store_op_finish(): -ECANCELED), or when its worker is dead. It finds what the creation made.
 *
 * With the lease lost, nothing is written. A creation looks at the row: when it is gone, or being deleted, what was made here is
 * removed, since whoever deleted may have looked before it was there. */
#include "tools/broker/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lock.h"
#include "common/log.h"
#include "tools/broker/broker.h"

#define IDLE_MS 1000 /* between looks for what other brokers left */
#define LOOK_MS 100  /* between looks of who waits */
#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 60000
#define BUSY_MS 30000
#define OTHER_MS 5000  /* for a thread that works on the same instance still */
#define FINISH_TRIES 6 /* of writing an outcome while the store is away */
#define BURY_MS (3600 * 1000ULL)
#define DAY_MS (24ULL * 3600 * 1000)

struct worker {
	struct workers *all;
	char name[64];
	pthread_t thread;
	/* guarded by all->lock */
	bool busy, lost;
	char id[STORE_ID_MAX], op[40];
};

struct workers {
	struct broker *b; /* borrowed */
	uint64_t lease_ms;
	struct mutex lock;
	struct cond changed;
	/* guarded by lock */
	bool stopping;
	uint64_t wakes; /* counts workers_wake() and outcomes */
	unsigned running;
	/* set at start */
	pthread_t helper;
	bool has_helper;
	unsigned n;
	struct worker of[];
};

/* One operation while it is worked on. */
struct work {
	struct broker *b;
	struct worker *w;
	struct bconfig *c;
	struct instance i; /* as claimed */
	const struct bplan *plan;
	struct provider *p;
	/* what came of it */
	int rc;
	struct err err;
	json_t *handle; /* owned */
	uint64_t size;
	enum { OUT_DONE, OUT_LATER, OUT_FAILED, OUT_UNUSED } out;
};

/* --- provider calls -------------------------------------------------------- */

static void ref_of(const struct work *k, struct provider_ref *ref)
{
	*ref = (struct provider_ref){ .owner = k->i.id,
				      .handle = k->i.handle,
				      .plan = k->plan ? k->plan->object : NULL };
}

static int call_create(struct work *k)
{
	struct provider_ref ref;
	struct provider_spec spec = { .size = k->i.size, .params = k->i.params };
	int rc;

	ref_of(k, &ref);
	abort_point("worker: before create");
	rc = k->p->ops->create(k->p, &ref, &spec, &k->handle, &k->size, &k->err);
	abort_point("worker: after create");
	return rc;
}

static int call_remove(struct work *k, struct err *err)
{
	struct provider_ref ref;
	int rc;

	ref_of(k, &ref);
	abort_point("worker: before remove");
	rc = k->p->ops->remove(k->p, &ref, err);
	abort_point("worker: after remove");
	return rc;
}

static int call_grow(struct work *k)
{
	struct provider_ref ref;
	int rc;

	ref_of(k, &ref);
	if (!k->p->ops->grow)
		return err_set(&k->err, -EOPNOTSUPP, "this storage cannot grow a volume");
	abort_point("worker: before grow");
	rc = k->p->ops->grow(k->p, &ref, k->i.new_size, &k->size, &k->err);
	abort_point("worker: after grow");
	return rc;
}

/* --- outcomes -------------------------------------------------------------- */

static uint64_t backoff(unsigned tries)
{
	uint64_t ms = BACKOFF_MIN_MS;

	while (tries-- && ms < BACKOFF_MAX_MS)
		ms *= 2;
	return ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
}

static void end_op(struct work *k, struct instance *i, enum op_state state)
{
	i->op.state = state;
	i->op.changed_ms = broker_now_ms();
	snprintf(i->op.description, sizeof i->op.description, "%s",
		 state == OP_FAILED ? k->err.text : "");
}

static void forget_new(struct instance *i)
{
	json_decref(i->new_params);
	i->new_params = NULL;
	i->new_plan[0] = '\0';
	i->new_size = 0;
}

static void write_done(struct work *k, struct instance *i)
{
	end_op(k, i, OP_SUCCEEDED);
	if (i->op.kind == OP_DELETE) {
		i->state = INSTANCE_DELETED;
		json_decref(i->params);
		json_decref(i->context);
		json_decref(i->handle);
		i->params = i->context = i->handle = NULL;
		return;
	}
	i->state = INSTANCE_READY;
	if (k->size)
		i->size = k->size;
	if (i->op.kind == OP_CREATE) {
		json_decref(i->handle);
		i->handle = json_incref(k->handle);
		return;
	}
	snprintf(i->plan, sizeof i->plan, "%s", i->new_plan);
	json_decref(i->params);
	i->params = json_incref(i->new_params);
	forget_new(i);
}

static void write_failed(struct work *k, struct instance *i)
{
	end_op(k, i, OP_FAILED);
	i->op.usable = i->op.kind == OP_UPDATE || k->rc == -EBUSY;
	i->op.repeatable = k->rc != -ERANGE && k->rc != -EINVAL && k->rc != -EOPNOTSUPP;
	i->state = i->op.usable ? INSTANCE_READY : INSTANCE_FAILED;
	forget_new(i);
}

static int outcome_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	struct work *k = arg;

	(void)bindings;
	if (!exists)
		return -ESTALE;
	if (k->out == OUT_DONE) {
		write_done(k, i);
	} else if (k->out == OUT_FAILED) {
		write_failed(k, i);
	} else {
		i->op.tries++;
		i->op.changed_ms = broker_now_ms();
		i->op.next_try_ms = i->op.changed_ms + backoff(i->op.tries);
		snprintf(i->op.description, sizeof i->op.description, "tried again: %.400s",
			 k->err.text);
	}
	return 0;
}

/* --- one operation --------------------------------------------------------- */

static bool is_late(const struct work *k, unsigned times)
{
	return broker_now_ms() > k->i.op.begun_ms + times * k->c->operation_timeout;
}

static bool may_pass(int rc)
{
	return rc == -EAGAIN || rc == -ENOMEM;
}

static void create(struct work *k)
{
	struct err err = { "" };

	k->rc = is_late(k, 1) ? err_set(&k->err, -ETIMEDOUT, "gave up after %u tries: %.400s",
					k->i.op.tries, k->i.op.description) :
				call_create(k);
	k->out = k->rc ? may_pass(k->rc) ? OUT_LATER : OUT_FAILED : OUT_DONE;
	if (k->out != OUT_FAILED)
		return;
	/* Nothing stays behind, as far as it depends on us. */
	if (call_remove(k, &err) && !is_late(k, 2)) {
		log_warn("broker: instance %s: cannot remove what a failed creation left: %s",
			 k->i.id, err.text);
		k->out = OUT_LATER;
	}
}

static void update(struct work *k)
{
	k->rc = is_late(k, 1) ? err_set(&k->err, -ETIMEDOUT, "gave up after %u tries: %.400s",
					k->i.op.tries, k->i.op.description) :
				call_grow(k);
	k->out = k->rc ? may_pass(k->rc) ? OUT_LATER : OUT_FAILED : OUT_DONE;
}

static void delete (struct work *k)
{
	bool late = is_late(k, 1);

	k->rc = call_remove(k, &k->err);
	if (k->rc == -EBUSY)
		late |= broker_now_ms() > k->i.op.begun_ms + BUSY_MS;
	if (!k->rc || k->rc == -ENOENT)
		k->out = OUT_DONE;
	else
		k->out = (may_pass(k->rc) || k->rc == -EBUSY) && !late ? OUT_LATER : OUT_FAILED;
}

static bool find_provider(struct work *k)
{
	const char *plan = *k->i.new_plan ? k->i.new_plan : k->i.plan;

	k->plan = bconfig_plan(k->c, plan);
	k->p = bconfig_provider(k->c, k->i.provider);
	if (k->p && (k->plan || k->i.op.kind == OP_DELETE))
		return true;
	/* The operator may put it back into the configuration. */
	k->rc = err_set(&k->err, -EAGAIN, "%s '%.100s' is not in the broker's configuration",
			k->p ? "plan" : "provider", k->p ? plan : k->i.provider);
	k->out = is_late(k, 1) ? OUT_FAILED : OUT_LATER;
	return false;
}

static const char *kind_word(enum op_kind kind)
{
	return kind == OP_CREATE ? "create" : kind == OP_UPDATE ? "update" : "delete";
}

static void report(struct work *k)
{
	char text[STORE_TEXT_MAX + 32];
	struct audit_line l = { .what = kind_word(k->i.op.kind),
				.instance = k->i.id,
				.service = k->i.service,
				.plan = k->i.plan,
				.request = k->i.op.id,
				.outcome = text };

	if (k->out == OUT_LATER) {
		log_info("broker: %s of instance %s: %s; tried again", l.what, k->i.id,
			 k->err.text);
		return;
	}
	snprintf(text, sizeof text, "%s%s", k->out == OUT_DONE ? "succeeded" : "failed: ",
		 k->out == OUT_DONE ? "" : k->err.text);
	log_info("broker: %s of instance %s %s", l.what, k->i.id, text);
	audit_write(&k->b->audit, &l);
}

/* The lease is lost: somebody else works on the instance, or has deleted it. */
static void undo_creation(struct work *k)
{
	struct instance now;
	struct err err = { "" };
	int rc = store_get(k->b->store, k->i.id, &now, &err);
	bool gone;

	if (rc && rc != -ENOENT) {
		log_error("broker: instance %s: lost its lease, and the store does not answer; "
			  "persifs-broker sweep will tell what is left: %s",
			  k->i.id, err.text);
		return;
	}
	gone = rc == -ENOENT || now.state == INSTANCE_DELETED || now.state == INSTANCE_DELETING;
	if (!rc)
		instance_done(&now);
	if (gone && call_remove(k, &err))
		log_error("broker: instance %s: a volume is left that nobody owns: %s", k->i.id,
			  err.text);
}

static void finish(struct work *k)
{
	struct err err = { "" };
	int rc = 0;

	for (unsigned i = 0; i < FINISH_TRIES; i++) {
		rc = store_op_finish(k->b->store, k->w->name, k->i.id, k->i.op.id, outcome_rule, k,
				     &err);
		if (rc != -EAGAIN)
			break;
		usleep(1000 * (unsigned)backoff(i));
	}
	if (!rc) {
		report(k);
		return;
	}
	if (rc == -ECANCELED) {
		log_info("broker: %s of instance %s: given up for what was asked then",
			 kind_word(k->i.op.kind), k->i.id);
		return;
	}
	log_warn("broker: %s of instance %s: the outcome is another's to write: %s",
		 kind_word(k->i.op.kind), k->i.id, rc == -ESTALE ? "the lease is lost" : err.text);
	if (rc == -ESTALE && k->i.op.kind == OP_CREATE)
		undo_creation(k);
}

static void work_on(struct worker *w, struct instance *claimed)
{
	struct work k = { .b = w->all->b, .w = w, .i = *claimed };

	k.c = broker_config(k.b);
	if (find_provider(&k)) {
		if (k.i.op.kind == OP_CREATE)
			create(&k);
		else if (k.i.op.kind == OP_UPDATE)
			update(&k);
		else
			delete (&k);
		if (k.rc && !*k.err.text)
			err_set(&k.err, 0, "%s", strerror(-k.rc));
	}
	finish(&k);
	json_decref(k.handle);
	bconfig_put(k.c);
}

/* --- threads --------------------------------------------------------------- */

static void set_busy(struct worker *w, const struct instance *i)
{
	mutex_lock(&w->all->lock);
	w->busy = i != NULL;
	w->lost = false;
	if (i) {
		snprintf(w->id, sizeof w->id, "%s", i->id);
		snprintf(w->op, sizeof w->op, "%s", i->op.id);
	} else {
		w->all->wakes++;
		cond_broadcast(&w->all->changed);
	}
	mutex_unlock(&w->all->lock);
}

/* Until there is more to do; false: the end. */
static bool wait_for_more(struct workers *all, uint64_t seen, uint64_t wait_ms)
{
	uint64_t deadline = clock_ms() + (wait_ms < IDLE_MS ? wait_ms + 1 : IDLE_MS);
	bool goes_on;

	mutex_lock(&all->lock);
	while (!all->stopping && all->wakes == seen &&
	       cond_wait_until(&all->changed, &all->lock, deadline))
		;
	goes_on = !all->stopping;
	mutex_unlock(&all->lock);
	return goes_on;
}

static uint64_t wakes(struct workers *all)
{
	uint64_t n;

	mutex_lock(&all->lock);
	n = all->wakes;
	mutex_unlock(&all->lock);
	return n;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct instance i;
	bool goes_on = true;

	pthread_setname_np(pthread_self(), "broker-worker");
	while (goes_on) {
		uint64_t wait_ms = IDLE_MS, seen = wakes(w->all);
		struct err err = { "" };
		int rc = store_claim(w->all->b->store, w->name, w->all->lease_ms, &i, &wait_ms,
				     &err);

		if (rc && rc != -ENOENT)
			log_warn("broker: cannot look for work: %s", err.text);
		if (rc) {
			goes_on = wait_for_more(w->all, seen, rc == -ENOENT ? wait_ms : IDLE_MS);
			continue;
		}
		set_busy(w, &i);
		work_on(w, &i);
		instance_done(&i);
		set_busy(w, NULL);
		goes_on = wait_for_more(w->all, UINT64_MAX, 0);
	}
	mutex_lock(&w->all->lock);
	w->all->running--;
	cond_broadcast(&w->all->changed);
	mutex_unlock(&w->all->lock);
	return NULL;
}

static void renew(struct worker *w)
{
	char id[STORE_ID_MAX], op[40];
	struct err err = { "" };
	bool busy;
	int rc;

	mutex_lock(&w->all->lock);
	busy = w->busy && !w->lost;
	snprintf(id, sizeof id, "%s", w->id);
	snprintf(op, sizeof op, "%s", w->op);
	mutex_unlock(&w->all->lock);
	if (!busy)
		return;
	rc = store_renew(w->all->b->store, w->name, id, w->all->lease_ms, &err);
	if (rc == -ESTALE) {
		mutex_lock(&w->all->lock);
		w->lost |= w->busy && !strcmp(w->op, op);
		mutex_unlock(&w->all->lock);
	} else if (rc) {
		log_warn("broker: cannot renew the lease of instance %s: %s", id, err.text);
	}
}

static void bury(struct broker *b)
{
	struct bconfig *c = broker_config(b);
	struct err err = { "" };
	unsigned n = 0;

	if (store_bury(b->store, broker_now_ms() - c->tombstone_days * DAY_MS, &n, &err))
		log_warn("broker: cannot remove old tombstones: %s", err.text);
	else if (n)
		log_info("broker: %u tombstones removed", n);
	bconfig_put(c);
}

static void *helper_main(void *arg)
{
	struct workers *all = arg;
	uint64_t buried = 0, now;
	bool goes_on = true;

	pthread_setname_np(pthread_self(), "broker-leases");
	while (goes_on) {
		for (unsigned i = 0; i < all->n; i++)
			renew(&all->of[i]);
		now = clock_ms();
		if (!buried || now - buried > BURY_MS) {
			bury(all->b);
			buried = now;
		}
		mutex_lock(&all->lock);
		while (!all->stopping &&
		       cond_wait_until(&all->changed, &all->lock, now + all->lease_ms / 3))
			;
		goes_on = !all->stopping;
		mutex_unlock(&all->lock);
	}
	return NULL;
}

/* --- start and stop -------------------------------------------------------- */

int workers_start(struct broker *b, struct workers **out, struct err *err)
{
	struct bconfig *c = broker_config(b);
	unsigned n = (unsigned)c->workers;
	struct workers *all = calloc(1, sizeof *all + n * sizeof all->of[0]);
	char host[32] = "";

	if (!all) {
		bconfig_put(c);
		return err_set(err, -ENOMEM, "out of memory");
	}
	all->b = b;
	all->lease_ms = c->lease;
	bconfig_put(c);
	mutex_init(&all->lock, LOCK_broker_work);
	cond_init(&all->changed);
	gethostname(host, sizeof host - 1);
	for (unsigned i = 0; i < n; i++) {
		struct worker *w = &all->of[i];

		w->all = all;
		/* Unlike any earlier process's: its lease is not ours. */
		snprintf(w->name, sizeof w->name, "%s.%d.%" PRIx64 ".%u", host, getpid(),
			 clock_us(), i);
		mutex_lock(&all->lock);
		all->running++;
		mutex_unlock(&all->lock);
		if (pthread_create(&w->thread, NULL, worker_main, w)) {
			all->running--;
			workers_stop(all, IDLE_MS);
			return err_set(err, -EAGAIN, "cannot start a thread");
		}
		all->n++;
	}
	all->has_helper = !pthread_create(&all->helper, NULL, helper_main, all);
	if (!all->has_helper) {
		workers_stop(all, IDLE_MS);
		return err_set(err, -EAGAIN, "cannot start a thread");
	}
	*out = all;
	return 0;
}

bool workers_stop(struct workers *all, unsigned limit_ms)
{
	uint64_t deadline = clock_ms() + limit_ms;
	bool ended;

	if (!all)
		return true;
	mutex_lock(&all->lock);
	all->stopping = true;
	cond_broadcast(&all->changed);
	while (all->running && cond_wait_until(&all->changed, &all->lock, deadline))
		;
	ended = !all->running;
	mutex_unlock(&all->lock);
	if (!ended)
		return false;
	for (unsigned i = 0; i < all->n; i++)
		pthread_join(all->of[i].thread, NULL);
	if (all->has_helper)
		pthread_join(all->helper, NULL);
	cond_done(&all->changed);
	mutex_done(&all->lock);
	free(all);
	return true;
}

void workers_wake(struct workers *all)
{
	if (!all)
		return;
	mutex_lock(&all->lock);
	all->wakes++;
	cond_broadcast(&all->changed);
	mutex_unlock(&all->lock);
}

int workers_wait(struct workers *all, const char *id, const char *op, uint64_t limit_ms,
		 struct instance *out, struct err *err)
{
	uint64_t deadline = clock_ms() + limit_ms, seen, look;

	for (;;) {
		int rc;

		seen = wakes(all);
		rc = store_get(all->b->store, id, out, err);
		if (rc == -ENOENT) {
			memset(out, 0, sizeof *out);
			return 0;
		}
		if (rc)
			return rc;
		if (strcmp(out->op.id, op) || out->op.state != OP_IN_PROGRESS)
			return 0;
		instance_done(out);
		if (clock_ms() >= deadline)
			return err_set(err, -ETIMEDOUT, "the storage takes too long");
		look = clock_ms() + LOOK_MS;
		mutex_lock(&all->lock);
		while (all->wakes == seen && cond_wait_until(&all->changed, &all->lock, look))
			;
		mutex_unlock(&all->lock);
	}
}
