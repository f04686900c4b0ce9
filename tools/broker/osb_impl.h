/* SPDX-License-Identifier: Apache-2.0 */
/* osb_impl.h - what the routes share: api.c finds the route, the others answer it */
#ifndef TOOLS_BROKER_OSB_IMPL_H
#define TOOLS_BROKER_OSB_IMPL_H

#include "tools/broker/broker.h"
#include "tools/broker/osb.h"

#define STATUS_OK 200
#define STATUS_CREATED 201
#define STATUS_ACCEPTED 202
#define STATUS_NOT_MODIFIED 304
#define STATUS_BAD 400
#define STATUS_AUTH 401
#define STATUS_FORBIDDEN 403
#define STATUS_NOT_FOUND 404
#define STATUS_METHOD 405
#define STATUS_CONFLICT 409
#define STATUS_GONE 410
#define STATUS_VERSION 412
#define STATUS_TOO_LARGE 413
#define STATUS_UNPROCESSABLE 422
#define STATUS_ERROR 500
#define STATUS_UNAVAILABLE 503

/* One request while it is answered. */
struct osb {
	struct broker *b;
	struct bconfig *c; /* borrowed */
	const struct osb_call *q;
	struct osb_reply *out;
	char id[STORE_ID_MAX], bid[STORE_ID_MAX];
	json_t *body; /* owned; an object, of PUT and PATCH */
	/* for the audit log; borrowed from body or query, or NULL */
	const char *service_id, *plan_id;
	char outcome[STORE_TEXT_MAX];
};

/* The answer. word NULL: without "error". object is taken; NULL: out of memory. */
void osb_fail(struct osb *o, unsigned status, const char *word, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void osb_reply_take(struct osb *o, unsigned status, json_t *object);
/* Of an error of the store or of a provider. */
void osb_fail_rc(struct osb *o, int rc, const struct err *err);
void osb_async_required(struct osb *o);
void osb_concurrency(struct osb *o, const char *what);
bool osb_accepts_incomplete(const struct osb *o);

/* A string of the body, or NULL; false when it is there and something else (answered). */
bool osb_text(struct osb *o, const char *key, const char **out);
/* service_id and plan_id of the body as a plan; NULL: answered. */
const struct bplan *osb_plan(struct osb *o);
/* "parameters" of the body, or NULL; false: answered. */
bool osb_params(struct osb *o, json_t **out);
/* maintenance_info of the body is the plan's; false: answered. */
bool osb_maintenance(struct osb *o, const struct bplan *plan);
/* service_id and plan_id of the query of a DELETE; false: answered. */
bool osb_query_ids(struct osb *o);

/* Of rows. NULL and {} are the same parameters. */
bool osb_same_params(const json_t *a, const json_t *b);
void osb_set_json(json_t **member, const json_t *value); /* one reference of value for *member */
void osb_op_begin(struct operation *op, enum op_kind kind);
/* 202 with "operation" and, of what goes on living, dashboard_url. */
void osb_accepted(struct osb *o, const char *op, bool lives);
/* What goes out of parameters: secrets are left out. A new object. */
json_t *osb_shown_params(const json_t *params);
/* instances.c: "dashboard_url" into object, when there are dashboards. */
void osb_add_dashboard(struct osb *o, json_t *object);

/* The routes. */
void osb_provision(struct osb *o);
void osb_update(struct osb *o);
void osb_fetch(struct osb *o);
void osb_deprovision(struct osb *o);
void osb_last_operation(struct osb *o);
void osb_bind(struct osb *o);
void osb_fetch_binding(struct osb *o);
void osb_unbind(struct osb *o);
void osb_last_binding(struct osb *o);
void osb_dashboard(struct osb *o);
void osb_dashboard_unknown(struct osb *o); /* below /dashboard/, and no page */

#endif
