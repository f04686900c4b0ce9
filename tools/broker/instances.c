/* SPDX-License-Identifier: Apache-2.0 */
/* instances.c - create, fetch, delete, and what became of an operation
 *
 *            PUT                    worker                  PATCH               worker
 *   (none) ------> CREATING ---------------------> READY --------> UPDATING ----------> READY
 *                     |  \-- for good not --> FAILED  |                (also when it failed)
 *              DELETE |            DELETE |           | DELETE
 *                     +-------------------+-----------+------> DELETING --> DELETED (tombstone)
 *                                                                 \-- for good not --> FAILED
 *
 * Each request is one transaction with a rule that looks at the locked row and decides; what it decided is the
 * verdict, from which the answer is made. Nothing is made for a plan of kind EXISTING: its create() is asked before
 * the row is written, since it has no effect, and the row is READY at once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/broker/bindopts.h"
#include "tools/broker/osb_impl.h"
#include "tools/broker/schema.h"

enum verdict {
	V_STARTED, /* the row was written */
	V_DONE,    /* it is as asked already */
	V_RUNNING, /* the same is on its way */
	V_CONFLICT,
	V_BUSY,
	V_FAILED,
	V_ASYNC,
	V_ABSENT,
	V_BOUND,
	V_OTHER_SERVICE,
};

/* Rules return this for "nothing to write": the verdict tells the rest. */
#define NO_CHANGE (-ECANCELED)

/* --- what is shown --------------------------------------------------------- */

void osb_add_dashboard(struct osb *o, json_t *object)
{
	AUTO_FREE char *what = NULL, *token = NULL, *url = NULL;
	uint64_t end = broker_now_ms() / 1000 + o->c->link_lifetime / 1000;

	if (!o->c->dashboard_url || asprintf(&what, "dashboard %s", o->id) < 0)
		return;
	token = seal_sign(o->b->seal, what, end);
	if (token && asprintf(&url, "%s/dashboard/%s?t=%s", o->c->dashboard_url, o->id, token) > 0)
		json_object_set_new(object, "dashboard_url", json_string(url));
}

static void answer_done(struct osb *o, unsigned status)
{
	json_t *body = json_object();

	osb_add_dashboard(o, body);
	osb_reply_take(o, status, body);
}

static const char *state_word(enum instance_state s)
{
	return s == INSTANCE_CREATING ? "creation" : s == INSTANCE_UPDATING ? "update" : "deletion";
}

static const char *op_word(const struct operation *op)
{
	return op->kind == OP_CREATE ? "creation" : op->kind == OP_UPDATE ? "update" : "deletion";
}

/* --- create ---------------------------------------------------------------- */

struct provision {
	struct osb *o;
	const struct bplan *plan;
	json_t *params, *context; /* borrowed */
	json_t *handle;           /* owned; of a plan that makes nothing */
	uint64_t size;
	enum verdict verdict;
	enum instance_state state; /* that was found */
	char op[40];
};

static void fill_new(struct instance *i, const struct provision *p)
{
	char id[STORE_ID_MAX];
	uint64_t version = i->version;
	bool made = p->plan->p->ops->kind != PROVIDER_EXISTING;

	snprintf(id, sizeof id, "%s", i->id);
	instance_done(i); /* a tombstone's */
	memset(i, 0, sizeof *i);
	i->version = version;
	snprintf(i->id, sizeof i->id, "%s", id);
	snprintf(i->service, sizeof i->service, "%s", p->plan->service->id);
	snprintf(i->plan, sizeof i->plan, "%s", p->plan->id);
	snprintf(i->provider, sizeof i->provider, "%s", p->plan->provider);
	osb_set_json(&i->params, p->params);
	osb_set_json(&i->context, p->context);
	osb_set_json(&i->handle, p->handle);
	i->size = p->size;
	i->state = made ? INSTANCE_CREATING : INSTANCE_READY;
	osb_op_begin(&i->op, OP_CREATE);
	if (!made)
		i->op.state = OP_SUCCEEDED;
}

static enum verdict judge_existing(const struct provision *p, const struct instance *i)
{
	bool same = !strcmp(i->service, p->plan->service->id) && !strcmp(i->plan, p->plan->id) &&
		    osb_same_params(i->params, p->params);

	if (i->state == INSTANCE_DELETING)
		return V_BUSY;
	if (!same)
		return V_CONFLICT;
	if (i->state == INSTANCE_READY)
		return V_DONE;
	if (i->state == INSTANCE_CREATING)
		return V_RUNNING;
	return i->state == INSTANCE_FAILED ? V_FAILED : V_BUSY;
}

static int provision_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	struct provision *p = arg;
	bool may = osb_accepts_incomplete(p->o) || !bplan_is_async(p->plan);

	(void)bindings;
	p->state = i->state;
	p->verdict = V_STARTED;
	if (exists && i->state != INSTANCE_DELETED)
		p->verdict = judge_existing(p, i);
	if ((p->verdict == V_STARTED || p->verdict == V_RUNNING) && !may)
		p->verdict = V_ASYNC;
	if (p->verdict == V_STARTED)
		fill_new(i, p);
	snprintf(p->op, sizeof p->op, "%s", i->op.id);
	return p->verdict == V_STARTED ? 0 : NO_CHANGE;
}

/* Quick storage: the answer tells the outcome, unless it takes too long. True with the instance as it is
 * then, the caller's; false when the request is answered. lives: as of osb_accepted(). */
static bool wait_for(struct osb *o, const char *op, bool lives, struct instance *i)
{
	struct err err = { "" };
	int rc = workers_wait(o->b->workers, o->id, op, o->c->sync_wait, i, &err);

	if (rc == -ETIMEDOUT && osb_accepts_incomplete(o))
		osb_accepted(o, op, lives);
	else if (rc)
		osb_fail_rc(o, rc == -ETIMEDOUT ? -EIO : rc, &err);
	return !rc;
}

static void wait_for_creation(struct osb *o, const char *op)
{
	struct instance i;

	if (!wait_for(o, op, true, &i))
		return;
	if (i.state == INSTANCE_READY)
		answer_done(o, STATUS_CREATED);
	else if (!strcmp(i.op.id, op))
		osb_fail(o, STATUS_ERROR, NULL, "%.480s",
			 *i.op.description ? i.op.description : "the creation failed");
	else /* a deletion has stopped it, and nothing is left to be cleaned up */
		osb_concurrency(o, *i.id ? op_word(&i.op) : "deletion");
	instance_done(&i);
}

static void answer_provision(struct provision *p)
{
	struct osb *o = p->o;

	switch (p->verdict) {
	case V_DONE:
		answer_done(o, STATUS_OK);
		break;
	case V_RUNNING:
	case V_STARTED:
		if (p->plan->p->ops->kind == PROVIDER_EXISTING)
			answer_done(o, STATUS_CREATED);
		else if (bplan_is_async(p->plan))
			osb_accepted(o, p->op, true);
		else
			wait_for_creation(o, p->op);
		break;
	case V_ASYNC:
		osb_async_required(o);
		break;
	case V_BUSY:
		osb_concurrency(o, state_word(p->state));
		break;
	case V_FAILED:
		osb_fail(o, STATUS_CONFLICT, NULL,
			 "The creation of this instance has failed; it has to be deleted first.");
		break;
	default:
		osb_fail(o, STATUS_CONFLICT, NULL,
			 "An instance of this id exists with other attributes.");
	}
}

static bool has_place(struct osb *o)
{
	const char *org, *space;

	if (!osb_text(o, "organization_guid", &org) || !osb_text(o, "space_guid", &space))
		return false;
	if (json_object_get(o->body, "context") || (org && space))
		return true;
	osb_fail(o, STATUS_BAD, NULL, "%s is required", org ? "space_guid" : "organization_guid");
	return false;
}

static bool take_context(struct osb *o, json_t **out)
{
	json_t *c = json_object_get(o->body, "context");

	*out = json_is_object(c) ? c : NULL;
	if (!c || json_is_null(c) || *out)
		return true;
	osb_fail(o, STATUS_BAD, NULL, "context: want an object");
	return false;
}

static bool check_params(struct osb *o, const json_t *schema, const json_t *params)
{
	struct err err = { "" };

	if (!schema_check(schema, params, &err) && !bindopts_check(params, &err))
		return true;
	osb_fail(o, STATUS_BAD, NULL, "%s", err.text);
	return false;
}

/* The deployed brokers' users know this one by name. */
static bool refuse_source(struct osb *o, const struct bplan *plan, const json_t *params)
{
	if (plan->p->ops->kind != PROVIDER_EXISTING || !json_object_get(params, "source"))
		return false;
	osb_fail(o, STATUS_BAD, NULL,
		 "create configuration contains the following invalid option: ['source']; "
		 "use share");
	return true;
}

/* A plan that makes nothing is asked at once whether it likes the parameters. */
static bool ask_existing(struct provision *p)
{
	struct osb *o = p->o;
	struct provider_ref ref = { .owner = o->id, .plan = p->plan->object };
	struct provider_spec spec = { .params = p->params };
	struct err err = { "" };
	uint64_t size = 0;
	int rc;

	if (p->plan->p->ops->kind != PROVIDER_EXISTING)
		return true;
	rc = p->plan->p->ops->create(p->plan->p, &ref, &spec, &p->handle, &size, &err);
	if (rc == -EINVAL)
		osb_fail(o, STATUS_BAD, NULL, "%s", err.text);
	else if (rc)
		osb_fail_rc(o, rc, &err);
	return !rc;
}

void osb_provision(struct osb *o)
{
	struct provision p = { .o = o, .plan = osb_plan(o) };
	struct err err = { "" };
	int rc;

	if (!p.plan || !has_place(o) || !take_context(o, &p.context) ||
	    !osb_maintenance(o, p.plan) || !osb_params(o, &p.params) ||
	    refuse_source(o, p.plan, p.params) || !check_params(o, p.plan->create_schema, p.params))
		return;
	if (bindopts_size(p.plan, p.params, p.plan->size, &p.size, &err)) {
		osb_fail(o, STATUS_BAD, NULL, "%s", err.text);
		return;
	}
	if (!ask_existing(&p))
		return;
	rc = store_change(o->b->store, o->id, provision_rule, &p, &err);
	if (rc && rc != NO_CHANGE) {
		osb_fail_rc(o, rc, &err);
	} else {
		workers_wake(o->b->workers);
		answer_provision(&p);
	}
	json_decref(p.handle);
}

/* --- update ---------------------------------------------------------------- */

struct update {
	struct osb *o;
	const struct bplan *plan; /* asked for, or NULL: as it is */
	const struct bservice *service;
	json_t *params, *context; /* borrowed, or NULL */
	enum verdict verdict;
	enum instance_state state;
	char op[40];
	const struct bplan *target; /* that the instance has afterwards */
	unsigned status;            /* of a refusal; 0: none */
	bool not_repeatable;
	struct err why;
};

static int refuse(struct update *u, unsigned status, const char *why)
{
	u->status = status;
	err_set(&u->why, 0, "%s", why);
	return NO_CHANGE;
}

/* Another plan of the same storage: what differs is what we do ourselves, and the size. */
static const char *why_not_to(const struct bplan *from, const struct bplan *to)
{
	const char *const *k = from->p->ops->plan_keys;

	if (!from->updateable)
		return "This plan cannot be changed to another.";
	if (strcmp(from->provider, to->provider))
		return "The new plan is of another storage system; data would have to be copied.";
	for (; k && *k; k++)
		if (!json_equal(json_object_get(from->object, *k),
				json_object_get(to->object, *k)) &&
		    (json_object_get(from->object, *k) || json_object_get(to->object, *k)))
			return "The new plan lies elsewhere on the storage system; data would have "
			       "to be copied.";
	return NULL;
}

/* The size it should have; what is not mentioned stays. */
static int wanted_size(struct update *u, const struct instance *i, const struct bplan *from,
		       const json_t *merged, uint64_t *want)
{
	uint64_t old;

	if (bindopts_size(from, i->params, from->size, &old, &u->why))
		old = i->size; /* the plan allowed more once */
	if (bindopts_size(u->target, merged, u->target->size, want, &u->why)) {
		u->status = STATUS_BAD;
		return NO_CHANGE;
	}
	if (*want == old) {
		*want = i->size;
	} else if (*want < old) {
		u->not_repeatable = true;
		return refuse(u, STATUS_UNPROCESSABLE,
			      "A volume cannot be made smaller; create a new one and copy.");
	} else if (*want < i->size) {
		*want = i->size; /* it was rounded up */
	}
	return 0;
}

/* A repeat of an update that is over, to a client that did not hear of it. It is no operation of its own: whoever waits
 * for the first one would take it for another's. */
static bool changes_nothing(const struct update *u, const struct instance *i, const json_t *merged)
{
	return !strcmp(i->plan, u->target->id) && osb_same_params(i->params, merged) &&
	       (!u->context || json_equal(i->context, u->context));
}

static int start_update(struct update *u, struct instance *i, json_t *merged, uint64_t want)
{
	bool grows = want != i->size && u->target->p->ops->kind != PROVIDER_EXISTING;

	if (grows && bplan_is_async(u->target) && !osb_accepts_incomplete(u->o)) {
		u->verdict = V_ASYNC;
		return NO_CHANGE;
	}
	if (!grows && changes_nothing(u, i, merged)) {
		u->verdict = V_DONE;
		return NO_CHANGE;
	}
	if (u->context)
		osb_set_json(&i->context, u->context);
	osb_op_begin(&i->op, OP_UPDATE);
	if (grows) {
		i->state = INSTANCE_UPDATING;
		snprintf(i->new_plan, sizeof i->new_plan, "%s", u->target->id);
		osb_set_json(&i->new_params, merged);
		i->new_size = want;
		u->verdict = V_STARTED;
	} else {
		i->op.state = OP_SUCCEEDED;
		snprintf(i->plan, sizeof i->plan, "%s", u->target->id);
		osb_set_json(&i->params, merged);
		u->verdict = V_DONE;
	}
	snprintf(u->op, sizeof u->op, "%s", i->op.id);
	return 0;
}

static json_t *merge(const json_t *old, const json_t *more)
{
	json_t *m = old ? json_copy((json_t *)old) : json_object();

	if (m && more)
		json_object_update(m, (json_t *)more);
	return m;
}

/* The same update as the one that runs. */
static bool is_repeat(const struct update *u, const struct instance *i)
{
	json_t *merged = merge(i->params, u->params);
	bool same = (!u->plan || !strcmp(u->plan->id, i->new_plan)) &&
		    osb_same_params(merged, i->new_params);

	json_decref(merged);
	return same;
}

static int update_ready(struct update *u, struct instance *i)
{
	const struct bplan *from = bconfig_plan(u->o->c, i->plan);
	const char *why;
	json_t *merged;
	uint64_t want = 0;
	int rc;

	u->target = u->plan ? u->plan : from;
	if (!from)
		return refuse(u, STATUS_UNPROCESSABLE,
			      "The plan of this instance is no longer offered.");
	why = from == u->target ? NULL : why_not_to(from, u->target);
	if (why)
		return refuse(u, STATUS_UNPROCESSABLE, why);
	if (schema_check(u->target->update_schema, u->params, &u->why) ||
	    bindopts_check(u->params, &u->why)) {
		u->status = STATUS_BAD;
		return NO_CHANGE;
	}
	merged = merge(i->params, u->params);
	rc = merged ? wanted_size(u, i, from, merged, &want) : -ENOMEM;
	if (!rc)
		rc = start_update(u, i, merged, want);
	json_decref(merged);
	return rc;
}

static int update_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	struct update *u = arg;

	(void)bindings;
	u->status = 0;
	u->not_repeatable = false;
	u->state = i->state;
	u->verdict = V_BUSY;
	snprintf(u->op, sizeof u->op, "%s", i->op.id);
	if (!exists || i->state == INSTANCE_DELETED)
		u->verdict = V_ABSENT;
	else if (strcmp(i->service, u->service->id))
		u->verdict = V_OTHER_SERVICE;
	else if (i->state == INSTANCE_FAILED)
		u->verdict = V_FAILED;
	else if (i->state == INSTANCE_UPDATING && is_repeat(u, i)) {
		u->verdict = V_RUNNING;
		u->target = bconfig_plan(u->o->c, i->new_plan);
	} else if (i->state == INSTANCE_READY)
		return update_ready(u, i);
	return NO_CHANGE;
}

static void fail_update(struct osb *o, unsigned status, bool repeatable, const char *why)
{
	json_t *body = json_pack("{s:s, s:b, s:b}", "description", why, "instance_usable", 1,
				 "update_repeatable", (int)repeatable);

	snprintf(o->outcome, sizeof o->outcome, "%s", why);
	osb_reply_take(o, status, body);
}

static void wait_for_update(struct osb *o, const char *op)
{
	struct instance i;

	if (!wait_for(o, op, true, &i))
		return;
	if (i.op.kind == OP_UPDATE && i.op.state == OP_SUCCEEDED)
		answer_done(o, STATUS_OK); /* also a repeat, which had nothing to do any more */
	else if (strcmp(i.op.id, op))      /* ours is over, and the next has begun */
		osb_concurrency(o, *i.id ? op_word(&i.op) : "deletion");
	else
		fail_update(o, i.op.repeatable ? STATUS_ERROR : STATUS_UNPROCESSABLE,
			    i.op.repeatable, i.op.description);
	instance_done(&i);
}

static void answer_update(struct update *u)
{
	struct osb *o = u->o;

	if (u->status) {
		if (u->status == STATUS_UNPROCESSABLE)
			fail_update(o, u->status, !u->not_repeatable, u->why.text);
		else
			osb_fail(o, u->status, NULL, "%s", u->why.text);
		return;
	}
	switch (u->verdict) {
	case V_DONE:
		answer_done(o, STATUS_OK);
		break;
	case V_STARTED:
	case V_RUNNING:
		if (!u->target || bplan_is_async(u->target))
			osb_accepted(o, u->op, true);
		else
			wait_for_update(o, u->op);
		break;
	case V_ASYNC:
		osb_async_required(o);
		break;
	case V_ABSENT:
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such instance.");
		break;
	case V_OTHER_SERVICE:
		osb_fail(o, STATUS_BAD, NULL, "The instance is of another service.");
		break;
	case V_FAILED:
		osb_fail(o, STATUS_UNPROCESSABLE, NULL,
			 "This instance has failed; it can only be deleted.");
		break;
	default:
		osb_concurrency(o, state_word(u->state));
	}
}

void osb_update(struct osb *o)
{
	struct update u = { .o = o };
	struct err err = { "" };
	int rc;

	if (!osb_text(o, "service_id", &o->service_id) || !osb_text(o, "plan_id", &o->plan_id))
		return;
	u.service = bconfig_service(o->c, o->service_id);
	if (!u.service) {
		osb_fail(o, STATUS_BAD, NULL, "service_id is %s",
			 o->service_id ? "not in the catalog" : "required");
		return;
	}
	u.plan = o->plan_id ? osb_plan(o) : NULL;
	if ((o->plan_id && !u.plan) || (u.plan && !osb_maintenance(o, u.plan)) ||
	    !take_context(o, &u.context) || !osb_params(o, &u.params))
		return;
	rc = store_change(o->b->store, o->id, update_rule, &u, &err);
	if (rc && rc != NO_CHANGE) {
		osb_fail_rc(o, rc, &err);
		return;
	}
	workers_wake(o->b->workers);
	answer_update(&u);
}

/* --- delete ---------------------------------------------------------------- */

struct deprovision {
	struct osb *o;
	enum verdict verdict;
	enum instance_state state;
	unsigned bindings;
	bool async, made;
	char op[40];
};

static void judge_plan(struct deprovision *d, const struct instance *i)
{
	const struct bplan *plan = bconfig_plan(d->o->c, i->plan);
	const struct provider *p = plan ? plan->p : bconfig_provider(d->o->c, i->provider);

	d->made = !p || p->ops->kind != PROVIDER_EXISTING;
	d->async = plan ? bplan_is_async(plan) : d->made;
}

static void start_deletion(struct deprovision *d, struct instance *i)
{
	osb_op_begin(&i->op, OP_DELETE);
	if (d->made) {
		i->state = INSTANCE_DELETING;
	} else {
		i->state = INSTANCE_DELETED;
		i->op.state = OP_SUCCEEDED;
		osb_set_json(&i->params, NULL);
		osb_set_json(&i->context, NULL);
		osb_set_json(&i->handle, NULL);
	}
	osb_set_json(&i->new_params, NULL);
	i->new_plan[0] = '\0';
	i->new_size = 0;
}

static int deprovision_rule(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	struct deprovision *d = arg;

	d->verdict = V_STARTED;
	d->state = i->state;
	d->bindings = bindings;
	judge_plan(d, i);
	if (!exists || i->state == INSTANCE_DELETED)
		d->verdict = V_ABSENT;
	else if (strcmp(i->service, d->o->service_id))
		d->verdict = V_OTHER_SERVICE;
	else if (i->state == INSTANCE_UPDATING)
		d->verdict = V_BUSY;
	else if (bindings)
		d->verdict = V_BOUND;
	else if (d->async && !osb_accepts_incomplete(d->o))
		d->verdict = V_ASYNC;
	else if (i->state == INSTANCE_DELETING)
		d->verdict = V_RUNNING;
	if (d->verdict == V_STARTED)
		start_deletion(d, i);
	snprintf(d->op, sizeof d->op, "%s", i->op.id);
	return d->verdict == V_STARTED ? 0 : NO_CHANGE;
}

static void wait_for_deletion(struct osb *o, const char *op)
{
	struct instance i;

	if (!wait_for(o, op, false, &i))
		return;
	if (!*i.id || i.state == INSTANCE_DELETED || i.op.kind != OP_DELETE)
		osb_reply_take(o, STATUS_OK, json_object());
	else if (strcmp(i.op.id, op)) /* ours has failed, and the next has begun */
		osb_concurrency(o, op_word(&i.op));
	else
		osb_fail(o, STATUS_ERROR, NULL, "%.480s", i.op.description);
	instance_done(&i);
}

static void answer_deprovision(struct deprovision *d)
{
	struct osb *o = d->o;

	switch (d->verdict) {
	case V_ABSENT:
		osb_reply_take(o, STATUS_GONE, json_object());
		break;
	case V_OTHER_SERVICE:
		osb_fail(o, STATUS_BAD, NULL, "The instance is of another service.");
		break;
	case V_BUSY:
		osb_concurrency(o, state_word(d->state));
		break;
	case V_BOUND:
		osb_fail(o, STATUS_UNPROCESSABLE, NULL,
			 "The volume still has %u binding%s; unbind the apps first.", d->bindings,
			 d->bindings == 1 ? "" : "s");
		break;
	case V_ASYNC:
		osb_async_required(o);
		break;
	default:
		if (!d->made)
			osb_reply_take(o, STATUS_OK, json_object());
		else if (d->async)
			osb_accepted(o, d->op, false);
		else
			wait_for_deletion(o, d->op);
	}
}

void osb_deprovision(struct osb *o)
{
	struct deprovision d = { .o = o };
	struct err err = { "" };
	int rc;

	if (!osb_query_ids(o))
		return;
	rc = store_change(o->b->store, o->id, deprovision_rule, &d, &err);
	if (rc && rc != NO_CHANGE) {
		osb_fail_rc(o, rc, &err);
		return;
	}
	workers_wake(o->b->workers);
	answer_deprovision(&d);
}

/* --- fetch ----------------------------------------------------------------- */

static bool matches_query(const struct osb *o, const struct instance *i)
{
	return (!o->q->service_id || !strcmp(o->q->service_id, i->service)) &&
	       (!o->q->plan_id || !strcmp(o->q->plan_id, i->plan));
}

static void answer_fetch(struct osb *o, const struct instance *i)
{
	const struct bplan *plan = bconfig_plan(o->c, i->plan);
	json_t *body = json_pack("{s:s, s:s, s:o}", "service_id", i->service, "plan_id", i->plan,
				 "parameters", osb_shown_params(i->params));

	if (body && plan && plan->maintenance)
		json_object_set_new(
			body, "maintenance_info",
			json_pack("{s:o}", "version",
				  json_deep_copy(json_object_get(plan->maintenance, "version"))));
	osb_add_dashboard(o, body);
	osb_reply_take(o, STATUS_OK, body);
}

void osb_fetch(struct osb *o)
{
	struct instance i;
	struct err err = { "" };
	int rc = store_get(o->b->store, o->id, &i, &err);
	bool there = !rc && (i.state == INSTANCE_READY || i.state == INSTANCE_UPDATING ||
			     (i.state == INSTANCE_FAILED && i.op.kind == OP_DELETE));

	if (rc && rc != -ENOENT)
		osb_fail_rc(o, rc, &err);
	else if (!there || !matches_query(o, &i))
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such instance.");
	else if (i.state == INSTANCE_UPDATING)
		osb_concurrency(o, "update");
	else
		answer_fetch(o, &i);
	if (!rc)
		instance_done(&i);
}

/* --- last operation -------------------------------------------------------- */

static void answer_state(struct osb *o, const struct instance *i)
{
	static const char *const states[] = { "in progress", "succeeded", "failed" };
	const char *text = i->op.description;
	json_t *body = json_pack("{s:s}", "state", states[i->op.state]);

	if (*text)
		json_object_set_new(body, "description", json_string(text));
	if (i->op.state == OP_FAILED && i->op.kind != OP_CREATE) {
		json_object_set_new(body, "instance_usable", json_boolean(i->op.usable));
		if (i->op.kind == OP_UPDATE)
			json_object_set_new(body, "update_repeatable",
					    json_boolean(i->op.repeatable));
	}
	if (i->op.state == OP_IN_PROGRESS)
		o->out->retry_after = OSB_RETRY_S;
	osb_reply_take(o, STATUS_OK, body);
}

/* Of an operation that another has replaced: a deletion tells for the creation that it stopped. */
static bool is_known(const struct osb *o, const struct instance *i)
{
	const char *op = o->q->operation;

	return !op || !*op || !strcmp(op, i->op.id) || i->op.kind == OP_DELETE;
}

void osb_last_operation(struct osb *o)
{
	const char *op = o->q->operation;
	struct instance i;
	struct err err = { "" };
	int rc = store_get(o->b->store, o->id, &i, &err);

	if (rc == -ENOENT && op && !strncmp(op, "delete-", 7))
		osb_reply_take(o, STATUS_GONE, json_object()); /* buried meanwhile */
	else if (rc == -ENOENT)
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such instance.");
	else if (rc)
		osb_fail_rc(o, rc, &err);
	else if (i.op.kind == OP_NONE || !is_known(o, &i))
		osb_fail(o, STATUS_BAD, NULL, "There is no such operation.");
	else
		answer_state(o, &i);
	if (!rc)
		instance_done(&i);
}
