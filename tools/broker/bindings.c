/* SPDX-License-Identifier: Apache-2.0 */
/* bindings.c - bind, fetch, unbind
 *
 * All synchronous: what a driver needs to know is made from the row of the instance and the
 * configuration. The whole answer is stored with the binding (sealed, for there may be a password in it), so that a repeat
 * gets the same, whatever the configuration says by then.
 *
 * The answer is made before the transaction, from the instance as it was; when the rule meets a newer one, all
 * is done again. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/broker/bindopts.h"
#include "tools/broker/osb_impl.h"
#include "tools/broker/schema.h"

#define BIND_TRIES 5     /* against updates that come between */
#define DIGEST_BYTES 8   /* of a mount's options, in the volume's id */
#define PLAIN_ID_MAX 128 /* longer ids of instances are cut: a volume's id becomes a file name */
#define APP_ID 2000      /* uid and gid as which a platform runs apps */
#define NO_CHANGE (-ECANCELED)

enum verdict {
	V_NEW,
	V_SAME,
	V_CONFLICT,
	V_NO_INSTANCE,
	V_NOT_READY,
	V_FAILED,
	V_OTHER_PLAN,
	V_TAKEN,
	V_CHANGED,
	V_ABSENT,
};

struct bind {
	struct osb *o;
	const struct bplan *plan;
	const char *app;
	json_t *params, *context; /* borrowed, or NULL */
	uint64_t version;         /* of the instance that the answer was made from */
	json_t *answer;           /* owned */
	enum verdict verdict;
	enum instance_state state;
	json_t *stored; /* owned: the answer of a binding that is there */
};

/* --- the answer ------------------------------------------------------------ */

/* Equal for equal mounts, different for others. Keyed: passwords cannot be guessed from it. */
static bool digest(const struct osb *o, const char *mode, const json_t *config,
		   char out[2 * DIGEST_BYTES + 1])
{
	AUTO_FREE char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	AUTO_FREE char *what = NULL, *mac = NULL;
	unsigned char bin[DIGEST_BYTES];

	if (!text || asprintf(&what, "volume %s %s %s", o->id, mode, text) < 0)
		return false;
	mac = seal_sign(o->b->seal, what, 0);
	explicit_bzero(what, strlen(what));
	explicit_bzero(text, strlen(text));
	if (!mac || crypto_generichash(bin, sizeof bin, (unsigned char *)mac, strlen(mac), NULL, 0))
		return false;
	sodium_bin2hex(out, 2 * DIGEST_BYTES + 1, bin, sizeof bin);
	return true;
}

static bool volume_id(const struct osb *o, const char *mode, const json_t *config, char *buf,
		      size_t cap)
{
	char mark[2 * DIGEST_BYTES + 1];

	if (!digest(o, mode, config, mark))
		return false;
	/* The whole id is in the mark. */
	snprintf(buf, cap, "%.*s-%s", PLAIN_ID_MAX, o->id, mark);
	return true;
}

/* Cells ask an array about these, so that they have to know what it knows them by. */
static bool is_of_array(const json_t *config)
{
	static const char *const schemes[] = { "scaleio:", "onefs:", "image:" };
	const char *source = json_string_value(json_object_get(config, "source"));

	for (size_t i = 0; source && i < ARRAY_LEN(schemes); i++)
		if (!strncmp(source, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

/* The root of a disk's new file system has to be somebody's, and apps are to write there. */
static bool set_id(const struct bplan *plan, json_t *out, const char *key, int64_t id)
{
	if (id < 0 && bplan_is_block(plan))
		id = APP_ID;
	return id >= 0 && json_object_set_new(out, key, json_integer(id));
}

/* What the driver and the provider on a cell read of a plan, and no more: the rest is long, and the operator's. A new
 * object, copied: counts of jansson are not for two threads; NULL: no memory. */
static json_t *plan_for_cells(const struct bplan *plan)
{
	const char *const *key = plan->p->ops->plan_keys;
	json_t *out = json_object();
	bool bad = !out;

	for (; key && *key; key++) {
		json_t *value = json_object_get(plan->object, *key);

		if (value)
			bad |= json_object_set_new(out, *key, json_deep_copy(value)) != 0;
	}
	bad |= set_id(plan, out, "uid", plan->uid);
	bad |= set_id(plan, out, "gid", plan->gid);
	if (!bad)
		return out;
	json_decref(out);
	return NULL;
}

static int add_volume(const struct bind *b, const struct instance *i, json_t *config)
{
	json_t *plan = plan_for_cells(b->plan);
	json_t *volume = plan ? json_pack("{s:s, s:s, s:O*, s:o}", "provider", b->plan->provider,
					  "owner", i->id, "handle", i->handle, "plan", plan) :
				NULL;

	return json_object_set_new(config, "volume", volume) ? -ENOMEM : 0;
}

/* source, then what the plan, the instance and the bind say. */
static int mount_config(const struct bind *b, const struct instance *i, const json_t *merged,
			json_t **out, struct err *err)
{
	struct provider *p = b->plan->p;
	struct provider_ref ref = { .owner = i->id, .handle = i->handle, .plan = b->plan->object };
	json_t *config = json_object();
	int rc = config ? p->ops->mount_config(p, &ref, config, err) : -ENOMEM;

	if (!rc && json_object_get(merged, "username")) {
		json_object_del(config, "uid");
		json_object_del(config, "gid");
	}
	if (!rc && json_object_update(config, (json_t *)merged))
		rc = -ENOMEM;
	if (!rc && is_of_array(config))
		rc = add_volume(b, i, config);
	if (rc)
		json_decref(config);
	else
		*out = config;
	return rc;
}

static int make_answer(struct bind *b, const struct instance *i, struct err *err)
{
	json_t *merged, *config = NULL;
	char dir[BINDOPTS_DIR_MAX], volume[STORE_ID_MAX];
	const char *mode;
	int rc = bindopts_merge(b->plan, i->params, b->params, &merged, err);

	if (rc)
		return rc;
	mode = bindopts_readonly(merged) ? "r" : "rw";
	rc = bindopts_container_dir(b->plan, b->o->id, i->params, b->params, dir, err);
	if (!rc)
		rc = mount_config(b, i, merged, &config, err);
	if (!rc && !volume_id(b->o, mode, config, volume, sizeof volume))
		rc = -ENOMEM;
	if (!rc) {
		json_decref(b->answer);
		b->answer = json_pack("{s:{}, s:[{s:s, s:s, s:s, s:s, s:{s:s, s:O}}]}",
				      "credentials", "volume_mounts", "driver", b->o->c->driver,
				      "container_dir", dir, "mode", mode, "device_type", "shared",
				      "device", "volume_id", volume, "mount_config", config);
		rc = b->answer ? 0 : -ENOMEM;
	}
	json_decref(config);
	json_decref(merged);
	return rc;
}

/* --- bind ------------------------------------------------------------------ */

static enum verdict judge_instance(const struct bind *b, const struct instance *i, bool there)
{
	if (!there || i->state == INSTANCE_DELETED)
		return V_NO_INSTANCE;
	if (i->state == INSTANCE_FAILED)
		return V_FAILED;
	if (i->state != INSTANCE_READY && i->state != INSTANCE_UPDATING)
		return V_NOT_READY;
	if (strcmp(i->service, b->plan->service->id) || strcmp(i->plan, b->plan->id))
		return V_OTHER_PLAN;
	return V_NEW;
}

static bool is_taken(const struct bind *b, const char *const *others)
{
	if (!bplan_is_block(b->plan))
		return false;
	for (; others && *others; others++)
		if (strcmp(*others, b->app))
			return true;
	return false;
}

static void fill(const struct bind *b, struct binding *row)
{
	row->deleted = false;
	snprintf(row->app, sizeof row->app, "%s", b->app);
	snprintf(row->service, sizeof row->service, "%s", b->plan->service->id);
	snprintf(row->plan, sizeof row->plan, "%s", b->plan->id);
	osb_set_json(&row->params, b->params);
	osb_set_json(&row->context, b->context);
	osb_set_json(&row->answer, b->answer);
	row->created_ms = 0; /* the store's clock */
}

static bool is_same(const struct bind *b, const struct binding *row)
{
	return !strcmp(row->app, b->app) && !strcmp(row->service, b->plan->service->id) &&
	       !strcmp(row->plan, b->plan->id) && osb_same_params(row->params, b->params);
}

static int bind_rule(void *arg, const struct instance *i, bool has_instance, struct binding *row,
		     bool exists, const char *const *others)
{
	struct bind *b = arg;

	b->verdict = judge_instance(b, i, has_instance);
	if (has_instance)
		b->state = i->state;
	if (exists && !row->deleted) {
		b->verdict = is_same(b, row) ? V_SAME : V_CONFLICT;
		osb_set_json(&b->stored, row->answer);
		return NO_CHANGE;
	}
	if (b->verdict == V_NEW && is_taken(b, others))
		b->verdict = V_TAKEN;
	if (b->verdict == V_NEW && (i->version != b->version || !b->answer))
		b->verdict = V_CHANGED;
	if (b->verdict != V_NEW)
		return NO_CHANGE;
	fill(b, row);
	return 0;
}

static void answer_bind(struct bind *b)
{
	struct osb *o = b->o;

	switch (b->verdict) {
	case V_NEW:
		osb_reply_take(o, STATUS_CREATED, json_incref(b->answer));
		break;
	case V_SAME:
		osb_reply_take(o, STATUS_OK, json_incref(b->stored));
		break;
	case V_CONFLICT:
		osb_fail(o, STATUS_CONFLICT, NULL,
			 "A binding of this id exists with other attributes.");
		break;
	case V_NO_INSTANCE:
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such instance.");
		break;
	case V_FAILED:
		osb_fail(o, STATUS_UNPROCESSABLE, NULL,
			 "This instance has failed; it can only be deleted.");
		break;
	case V_NOT_READY:
		osb_concurrency(o, b->state == INSTANCE_CREATING ? "creation" : "deletion");
		break;
	case V_OTHER_PLAN:
		osb_fail(o, STATUS_BAD, NULL, "The instance is of another service or plan.");
		break;
	case V_TAKEN:
		osb_fail(o, STATUS_UNPROCESSABLE, NULL,
			 "This volume is a disk that one app can use at a time, and another app is "
			 "bound to it. Unbind that app first, or create a volume of a file plan.");
		break;
	default:
		osb_fail(o, STATUS_UNAVAILABLE, NULL, "The instance is changing; try again.");
	}
}

/* The answer is made for an instance as it is now; of one that cannot be bound, the rule says why. */
static int prepare(struct bind *b, struct err *err)
{
	struct instance i;
	int rc = store_get(b->o->b->store, b->o->id, &i, err);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	b->version = i.version;
	if (judge_instance(b, &i, true) == V_NEW)
		rc = make_answer(b, &i, err);
	instance_done(&i);
	return rc;
}

/* A successor takes over the parameters of its predecessor. */
static bool take_predecessor(struct bind *b, struct binding *before, bool *has)
{
	struct osb *o = b->o;
	const char *id;
	struct err err = { "" };
	int rc;

	*has = false;
	if (!osb_text(o, "predecessor_binding_id", &id))
		return false;
	if (!id)
		return true;
	rc = store_binding(o->b->store, o->id, id, before, &err);
	*has = !rc;
	if (rc && rc != -ENOENT) {
		osb_fail_rc(o, rc, &err);
		return false;
	}
	if (rc || before->deleted) {
		osb_fail(o, STATUS_BAD, NULL,
			 "predecessor_binding_id is no binding of this instance");
		return false;
	}
	if (b->params && !osb_same_params(b->params, before->params)) {
		osb_fail(o, STATUS_BAD, NULL,
			 "a successor takes over the parameters of its predecessor");
		return false;
	}
	b->params = before->params;
	return true;
}

static bool take_app(struct bind *b)
{
	struct osb *o = b->o;
	const json_t *resource = json_object_get(o->body, "bind_resource");
	const json_t *app = json_object_get(resource, "app_guid");

	if (!app || json_is_null(app))
		app = json_object_get(o->body, "app_guid");
	b->app = json_string_value(app);
	if (b->app && *b->app && strlen(b->app) < STORE_ID_MAX)
		return true;
	if (app && !json_is_null(app) && (!b->app || *b->app))
		osb_fail(o, STATUS_BAD, NULL, "app_guid: want a string of at most %d bytes",
			 STORE_ID_MAX - 1);
	else
		osb_fail(o, STATUS_UNPROCESSABLE, "RequiresApp",
			 "This service supports generation of credentials through binding an "
			 "application only: a volume is of use to nothing else.");
	return false;
}

static bool check(struct bind *b)
{
	struct err err = { "" };

	if (schema_check(b->plan->bind_schema, b->params, &err) ||
	    bindopts_check(b->params, &err)) {
		osb_fail(b->o, STATUS_BAD, NULL, "%s", err.text);
		return false;
	}
	return true;
}

static void carry_out(struct bind *b)
{
	struct osb *o = b->o;
	struct err err = { "" };
	int rc = 0;

	for (unsigned i = 0; i < BIND_TRIES; i++) {
		rc = prepare(b, &err);
		if (rc)
			break;
		rc = store_bind(o->b->store, o->id, o->bid, bind_rule, b, &err);
		if (rc != NO_CHANGE || b->verdict != V_CHANGED)
			break;
	}
	if (rc == -EINVAL)
		osb_fail(o, STATUS_BAD, NULL, "%s", err.text);
	else if (rc && rc != NO_CHANGE)
		osb_fail_rc(o, rc, &err);
	else
		answer_bind(b);
}

void osb_bind(struct osb *o)
{
	struct bind b = { .o = o, .plan = osb_plan(o) };
	json_t *context = json_object_get(o->body, "context");
	struct binding before;
	bool has = false;

	if (!b.plan)
		return;
	b.context = json_is_object(context) ? context : NULL;
	if (osb_params(o, &b.params) && take_predecessor(&b, &before, &has) && take_app(&b) &&
	    check(&b))
		carry_out(&b);
	json_decref(b.answer);
	json_decref(b.stored);
	if (has)
		binding_done(&before);
}

/* --- fetch, unbind, last operation ----------------------------------------- */

static void answer_fetch(struct osb *o, const struct binding *b)
{
	json_t *body = json_copy(b->answer);

	if (body)
		json_object_set_new(body, "parameters", osb_shown_params(b->params));
	osb_reply_take(o, STATUS_OK, body);
}

static bool matches_query(const struct osb *o, const struct binding *b)
{
	return (!o->q->service_id || !strcmp(o->q->service_id, b->service)) &&
	       (!o->q->plan_id || !strcmp(o->q->plan_id, b->plan));
}

void osb_fetch_binding(struct osb *o)
{
	struct binding b;
	struct err err = { "" };
	int rc = store_binding(o->b->store, o->id, o->bid, &b, &err);

	if (rc && rc != -ENOENT)
		osb_fail_rc(o, rc, &err);
	else if (rc || b.deleted || !matches_query(o, &b))
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such binding.");
	else
		answer_fetch(o, &b);
	if (!rc)
		binding_done(&b);
}

/* The instance's state does not matter: what is unbound is one mount less. */
static int unbind_rule(void *arg, const struct instance *i, bool has_instance, struct binding *row,
		       bool exists, const char *const *others)
{
	struct bind *b = arg;

	(void)i;
	(void)has_instance;
	(void)others;
	b->verdict = !exists || row->deleted                ? V_ABSENT :
		     strcmp(row->service, b->o->service_id) ? V_OTHER_PLAN :
							      V_NEW;
	if (b->verdict != V_NEW)
		return NO_CHANGE;
	row->deleted = true;
	osb_set_json(&row->params, NULL);
	osb_set_json(&row->context, NULL);
	osb_set_json(&row->answer, NULL);
	return 0;
}

void osb_unbind(struct osb *o)
{
	struct bind b = { .o = o };
	struct err err = { "" };
	int rc;

	if (!osb_query_ids(o))
		return;
	rc = store_bind(o->b->store, o->id, o->bid, unbind_rule, &b, &err);
	if (rc && rc != NO_CHANGE && rc != -ENOENT)
		osb_fail_rc(o, rc, &err);
	else if (rc == -ENOENT || b.verdict == V_ABSENT)
		osb_reply_take(o, STATUS_GONE, json_object());
	else if (b.verdict == V_OTHER_PLAN)
		osb_fail(o, STATUS_BAD, NULL, "The binding is of another service.");
	else
		osb_reply_take(o, STATUS_OK, json_object());
}

void osb_last_binding(struct osb *o)
{
	struct binding b;
	struct err err = { "" };
	int rc = store_binding(o->b->store, o->id, o->bid, &b, &err);

	if (rc && rc != -ENOENT)
		osb_fail_rc(o, rc, &err);
	else if (rc)
		osb_fail(o, STATUS_NOT_FOUND, NULL, "There is no such binding.");
	else if (b.deleted)
		osb_reply_take(o, STATUS_GONE, json_object());
	else
		osb_reply_take(o, STATUS_OK, json_pack("{s:s}", "state", "succeeded"));
	if (!rc)
		binding_done(&b);
}
