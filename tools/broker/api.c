/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - see osb.h: routes, headers, and the parts of bodies that several routes have */
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/broker/osb_impl.h"

#define BROKER_VERSION "2.17"
#define ID_BYTES_MAX 200 /* of instances and bindings */
#define REQUEST_ID_MAX 256
#define CATALOG_PATH "/v2/catalog"
#define INSTANCES_PATH "/v2/service_instances/"
#define DASHBOARD_PATH "/dashboard/"
#define OPERATION_BYTES 16

const char *const osb_route_names[OSB_ROUTES] = {
	"catalog",        "provision", "update",        "fetch",  "deprovision",
	"last_operation", "bind",      "fetch_binding", "unbind", "last_operation_binding",
	"dashboard",      "other"
};

/* --- answers --------------------------------------------------------------- */

void osb_reply_take(struct osb *o, unsigned status, json_t *object)
{
	free(o->out->text);
	o->out->status = status;
	o->out->text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
}

void osb_fail(struct osb *o, unsigned status, const char *word, const char *fmt, ...)
{
	json_t *body = json_object(), *text;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->outcome, sizeof o->outcome, fmt, ap);
	va_end(ap);
	if (word)
		json_object_set_new(body, "error", json_string(word));
	text = json_string(o->outcome); /* NULL: cut within a character */
	json_object_set_new(body, "description", text ? text : json_string("the request failed"));
	osb_reply_take(o, status, body);
}

void osb_fail_rc(struct osb *o, int rc, const struct err *err)
{
	const char *why = *err->text ? err->text : strerror(-rc);

	if (rc == -EAGAIN)
		osb_fail(o, STATUS_UNAVAILABLE, NULL, "not possible now, try again: %.400s", why);
	else
		osb_fail(o, STATUS_ERROR, NULL, "%.480s", why);
	log_warn("broker: %s %s: %s", o->q->method, o->id, why);
}

void osb_async_required(struct osb *o)
{
	osb_fail(o, STATUS_UNPROCESSABLE, "AsyncRequired",
		 "This service plan requires client support for asynchronous service operations.");
}

void osb_concurrency(struct osb *o, const char *what)
{
	osb_fail(o, STATUS_UNPROCESSABLE, "ConcurrencyError",
		 "Another operation (%s) on this instance is in progress.", what);
}

bool osb_accepts_incomplete(const struct osb *o)
{
	return o->q->accepts_incomplete && !strcmp(o->q->accepts_incomplete, "true");
}

void osb_accepted(struct osb *o, const char *op, bool lives)
{
	json_t *body = json_pack("{s:s}", "operation", op);

	if (lives)
		osb_add_dashboard(o, body);
	osb_reply_take(o, STATUS_ACCEPTED, body);
}

/* --- parts of bodies ------------------------------------------------------- */

bool osb_text(struct osb *o, const char *key, const char **out)
{
	const json_t *v = json_object_get(o->body, key);

	*out = json_string_value(v);
	if (!v || json_is_null(v) || (*out && strlen(*out) < ID_BYTES_MAX))
		return true;
	osb_fail(o, STATUS_BAD, NULL, "%s: want a string of at most %d bytes", key,
		 ID_BYTES_MAX - 1);
	return false;
}

const struct bplan *osb_plan(struct osb *o)
{
	const struct bservice *s;
	const struct bplan *p;

	if (!osb_text(o, "service_id", &o->service_id) || !osb_text(o, "plan_id", &o->plan_id))
		return NULL;
	if (!o->service_id || !o->plan_id) {
		osb_fail(o, STATUS_BAD, NULL, "%s is required",
			 o->service_id ? "plan_id" : "service_id");
		return NULL;
	}
	s = bconfig_service(o->c, o->service_id);
	p = bconfig_plan(o->c, o->plan_id);
	if (s && p && p->service == s)
		return p;
	osb_fail(o, STATUS_BAD, NULL, "%s '%.100s' is not in the catalog",
		 s ? "plan_id" : "service_id", s ? o->plan_id : o->service_id);
	return NULL;
}

bool osb_params(struct osb *o, json_t **out)
{
	json_t *p = json_object_get(o->body, "parameters");
	AUTO_FREE char *text = NULL;

	*out = NULL;
	if (!p || json_is_null(p))
		return true;
	text = json_dumps(p, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!json_is_object(p) || !text || strlen(text) > o->c->parameters_max) {
		osb_fail(o, STATUS_BAD, NULL, "parameters: want an object of at most %llu bytes",
			 (unsigned long long)o->c->parameters_max);
		return false;
	}
	*out = p;
	return true;
}

bool osb_maintenance(struct osb *o, const struct bplan *plan)
{
	const json_t *given =
		json_object_get(json_object_get(o->body, "maintenance_info"), "version");
	const char *ours = json_string_value(json_object_get(plan->maintenance, "version"));

	if (!given || (ours && json_is_string(given) && !strcmp(json_string_value(given), ours)))
		return true;
	osb_fail(o, STATUS_UNPROCESSABLE, "MaintenanceInfoConflict",
		 "maintenance_info.version is not that of the catalog (%s)", ours ? ours : "none");
	return false;
}

bool osb_query_ids(struct osb *o)
{
	o->service_id = o->q->service_id;
	o->plan_id = o->q->plan_id;
	if (o->service_id && *o->service_id && o->plan_id && *o->plan_id)
		return true;
	osb_fail(o, STATUS_BAD, NULL, "%s is required in the query",
		 o->service_id && *o->service_id ? "plan_id" : "service_id");
	return false;
}

/* --- rows ------------------------------------------------------------------ */

bool osb_same_params(const json_t *a, const json_t *b)
{
	if (!json_object_size(a) || !json_object_size(b))
		return json_object_size(a) == json_object_size(b);
	return json_equal(a, b);
}

void osb_set_json(json_t **member, const json_t *value)
{
	json_t *old = *member;

	*member = json_incref((json_t *)value);
	json_decref(old);
}

void osb_op_begin(struct operation *op, enum op_kind kind)
{
	static const char *const words[] = { "", "create-", "update-", "delete-" };
	unsigned char bin[OPERATION_BYTES];
	char hex[2 * OPERATION_BYTES + 1];

	memset(op, 0, sizeof *op);
	randombytes_buf(bin, sizeof bin);
	snprintf(op->id, sizeof op->id, "%s%s", words[kind],
		 sodium_bin2hex(hex, sizeof hex, bin, sizeof bin));
	op->kind = kind;
	op->state = OP_IN_PROGRESS;
	op->usable = op->repeatable = true;
}

json_t *osb_shown_params(const json_t *params)
{
	json_t *shown = params ? json_copy((json_t *)params) : json_object();

	json_object_del(shown, "password");
	return shown;
}

/* --- routes ---------------------------------------------------------------- */

struct route {
	const char *method;
	enum osb_route route;
	void (*answer)(struct osb *o);
};

static const struct route on_instance[] = { { "PUT", OSB_CREATE, osb_provision },
					    { "PATCH", OSB_UPDATE, osb_update },
					    { "GET", OSB_FETCH, osb_fetch },
					    { "DELETE", OSB_DELETE, osb_deprovision },
					    { 0 } };
static const struct route on_last[] = { { "GET", OSB_LAST, osb_last_operation }, { 0 } };
static const struct route on_binding[] = { { "PUT", OSB_BIND, osb_bind },
					   { "GET", OSB_FETCH_BINDING, osb_fetch_binding },
					   { "DELETE", OSB_UNBIND, osb_unbind },
					   { 0 } };
static const struct route on_last_binding[] = { { "GET", OSB_LAST_BINDING, osb_last_binding },
						{ 0 } };

static void catalog(struct osb *o)
{
	snprintf(o->out->etag, sizeof o->out->etag, "%s", o->c->etag);
	if (o->q->if_none_match && !strcmp(o->q->if_none_match, o->c->etag)) {
		o->out->status = STATUS_NOT_MODIFIED;
		o->out->text = strdup("");
		return;
	}
	o->out->status = STATUS_OK;
	o->out->text = strdup(o->c->catalog);
}

static const struct route on_catalog[] = { { "GET", OSB_CATALOG, catalog }, { 0 } };

/* The component at *at, which moves behind the next "/"; false: empty, too long, or with bytes that no platform uses. */
static bool take_id(const char **at, char *buf)
{
	size_t n = strcspn(*at, "/");

	if (!n || n >= ID_BYTES_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((*at)[i] <= ' ' || (*at)[i] > '~')
			return false;
	memcpy(buf, *at, n);
	buf[n] = '\0';
	*at += n + ((*at)[n] == '/');
	return true;
}

static const struct route *routes_of(struct osb *o)
{
	const char *p = o->q->path, *rest;

	if (!strcmp(p, CATALOG_PATH))
		return on_catalog;
	if (strncmp(p, INSTANCES_PATH, strlen(INSTANCES_PATH)))
		return NULL;
	p += strlen(INSTANCES_PATH);
	if (!take_id(&p, o->id))
		return NULL;
	if (!*p)
		return p[-1] == '/' ? NULL : on_instance;
	if (!strcmp(p, "last_operation"))
		return on_last;
	rest = strchr(p, '/');
	if (!rest || strncmp(p, "service_bindings/", 17))
		return NULL;
	rest++;
	if (!take_id(&rest, o->bid))
		return NULL;
	if (!*rest)
		return rest[-1] == '/' ? NULL : on_binding;
	return strcmp(rest, "last_operation") ? NULL : on_last_binding;
}

static const struct route *find_route(struct osb *o)
{
	const struct route *r = routes_of(o);

	if (!r) {
		osb_fail(o, STATUS_NOT_FOUND, NULL, "no such route");
		return NULL;
	}
	for (; r->method; r++)
		if (!strcmp(r->method, o->q->method))
			return r;
	osb_fail(o, STATUS_METHOD, NULL, "%.16s is not a method of this route", o->q->method);
	return NULL;
}

/* --- a request ------------------------------------------------------------- */

static bool check_version(struct osb *o)
{
	const char *v = o->q->version;

	if (!v) {
		osb_fail(o, STATUS_BAD, NULL,
			 "X-Broker-API-Version is missing; this broker speaks " BROKER_VERSION);
		return false;
	}
	if (!strncmp(v, "2.", 2) && v[2] && strspn(v + 2, "0123456789") == strlen(v + 2))
		return true;
	osb_fail(o, STATUS_VERSION, NULL,
		 "X-Broker-API-Version is not supported; this broker speaks " BROKER_VERSION
		 " and takes any 2.N");
	return false;
}

static bool read_body(struct osb *o)
{
	const char *type = o->q->content_type;
	json_error_t e;

	if (strcmp(o->q->method, "PUT") && strcmp(o->q->method, "PATCH"))
		return true;
	if (!o->q->body) {
		osb_fail(o, STATUS_TOO_LARGE, NULL, "the body is too long");
		return false;
	}
	if (type && strncasecmp(type, "application/json", 16)) {
		osb_fail(o, STATUS_BAD, NULL, "Content-Type: want application/json");
		return false;
	}
	o->body = json_loadb(o->q->body, o->q->len, JSON_REJECT_DUPLICATES, &e);
	if (json_is_object(o->body))
		return true;
	if (o->body)
		osb_fail(o, STATUS_BAD, NULL, "the body is no JSON object");
	else /* not the text of the error: it repeats what stands there */
		osb_fail(o, STATUS_BAD, NULL, "the body is not JSON: line %d, column %d", e.line,
			 e.column);
	return false;
}

static void write_audit(struct osb *o, const char *user)
{
	struct audit_line l = { .identity = o->q->identity,
				.user = user,
				.request = o->q->request,
				.what = osb_route_names[o->out->route],
				.instance = o->id,
				.binding = *o->bid ? o->bid : NULL,
				.service = o->service_id,
				.plan = o->plan_id,
				.status = o->out->status,
				.outcome = *o->outcome ? o->outcome : NULL };

	if (l.request && strlen(l.request) > REQUEST_ID_MAX)
		l.request = NULL;
	if (strcmp(o->q->method, "GET"))
		audit_write(&o->b->audit, &l);
}

static void answer(struct osb *o)
{
	const struct route *r;
	const char *user;

	if (!strncmp(o->q->path, DASHBOARD_PATH, strlen(DASHBOARD_PATH))) {
		const char *at = o->q->path + strlen(DASHBOARD_PATH);

		o->out->route = OSB_DASHBOARD;
		if (strcmp(o->q->method, "GET") || !take_id(&at, o->id) || *at)
			osb_dashboard_unknown(o);
		else
			osb_dashboard(o);
		return;
	}
	user = auth_check(&o->b->auth, o->c, o->q->authorization);
	if (!user) {
		osb_fail(o, STATUS_AUTH, NULL, "user or password is wrong");
		return;
	}
	if (!check_version(o))
		return;
	r = find_route(o);
	if (!r)
		return;
	o->out->route = r->route;
	if (read_body(o))
		r->answer(o);
	write_audit(o, user);
}

static void count(struct broker *b, const struct osb_reply *r, uint64_t us)
{
	static const uint64_t ends[BROKER_BUCKETS - 1] = { 1000,   5000,    10000,  50000,
							   200000, 1000000, 5000000 };
	size_t i = 0;

	while (i < BROKER_BUCKETS - 1 && us > ends[i])
		i++;
	b->metrics.of[r->route].requests++;
	b->metrics.of[r->route].errors += r->status >= STATUS_BAD;
	b->metrics.of[r->route].us += us;
	b->metrics.of[r->route].bucket[i]++;
}

static_assert(OSB_ROUTES == BROKER_ROUTES, "a counter for each route");

void osb_answer(struct broker *b, const struct osb_call *q, struct osb_reply *out)
{
	struct osb o = { .b = b, .q = q, .out = out };
	uint64_t begun = clock_us();

	memset(out, 0, sizeof *out);
	out->route = OSB_OTHER;
	out->status = STATUS_ERROR;
	o.c = broker_config(b);
	answer(&o);
	if (!out->text) {
		out->status = STATUS_ERROR;
		out->text = strdup("{\"description\":\"out of memory\"}");
	}
	count(b, out, clock_us() - begun);
	json_decref(o.body);
	bconfig_put(o.c);
}
