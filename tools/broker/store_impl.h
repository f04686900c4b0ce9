/* SPDX-License-Identifier: Apache-2.0 */
/* store_impl.h - what the parts of the store share: transactions that are tried again, and rows
 *
 * A part does its work in a body, which store_run() puts into a transaction. A body may
 * run several times, as whatever met another transaction or a lost server is undone and begun anew. */
#ifndef TOOLS_BROKER_STORE_IMPL_H
#define TOOLS_BROKER_STORE_IMPL_H

#include "tools/broker/db.h"
#include "tools/broker/seal.h"
#include "tools/broker/store.h"

#define STORE_JSON_MAX (1u << 20) /* bytes of one column's JSON */
#define STORE_LIMIT_MAX 10000     /* rows of a page */

struct store {
	struct db *db;     /* owned */
	struct seal *seal; /* borrowed */
};

/* Names of the two points at a commit (common/abortpoint.h). */
struct store_points {
	const char *before, *after;
};

/* > 0: not an error of the database; the transaction is undone and store_run() returns it. */
#define STORE_REFUSED 1
typedef int store_body(struct store *s, struct db_tx *tx, void *arg, struct err *err);
int store_run(struct store *s, enum db_mode mode, const struct store_points *points,
	      store_body *body, void *arg, struct err *err);

int store_migrate(struct store *s, struct err *err);
/* The text by which the key file is checked, sealed by the first key. */
int store_reseal_meta(struct store *s, struct db_tx *tx, struct err *err);

/* --- rows ------------------------------------------------------------------------ */

/* The columns of both tables, in the order of their SELECTs and of the texts below. */
#define INSTANCE_COLUMNS                                                                \
	"id, service, plan, provider, state, params, context, handle, size, new_plan,"  \
	" new_params, new_size, op_kind, op_state, op_id, op_description, op_begun_ms," \
	" op_changed_ms, op_tries, op_next_try_ms, op_usable, op_repeatable, created_ms, version"
enum instance_column {
	I_ID,
	I_SERVICE,
	I_PLAN,
	I_PROVIDER,
	I_STATE,
	I_PARAMS,
	I_CONTEXT,
	I_HANDLE,
	I_SIZE,
	I_NEW_PLAN,
	I_NEW_PARAMS,
	I_NEW_SIZE,
	I_OP_KIND,
	I_OP_STATE,
	I_OP_ID,
	I_OP_DESCRIPTION,
	I_OP_BEGUN,
	I_OP_CHANGED,
	I_OP_TRIES,
	I_OP_NEXT_TRY,
	I_OP_USABLE,
	I_OP_REPEATABLE,
	I_CREATED,
	I_VERSION,
	I_COLUMNS,
};
#define BINDING_COLUMNS \
	"instance, id, app, service, plan, params, context, answer, created_ms, deleted"
enum binding_column {
	B_INSTANCE,
	B_ID,
	B_APP,
	B_SERVICE,
	B_PLAN,
	B_PARAMS,
	B_CONTEXT,
	B_ANSWER,
	B_CREATED,
	B_DELETED,
	B_COLUMNS,
};

/* A row as texts, nothing sealed; owned. */
struct row {
	char *text[I_COLUMNS];
};

void row_done(struct row *r);
bool row_equal(const struct row *a, const struct row *b);
/* -EINVAL: too long, or not UTF-8; with a sentence. */
int instance_encode(const struct instance *i, struct row *out, struct err *err);
int binding_encode(const struct binding *b, struct row *out, struct err *err);
/* Seals the columns that are to be sealed, in place. */
int instance_seal(const struct store *s, struct row *r, struct err *err);
int binding_seal(const struct store *s, struct row *r, struct err *err);
/* -EPROTO with the id. *out needs no instance_done() then. */
int instance_decode(const struct store *s, const struct db_rows *rows, unsigned row,
		    struct instance *out, struct err *err);
int binding_decode(const struct store *s, const struct db_rows *rows, unsigned row,
		   struct binding *out, struct err *err);
/* Of a row of op_id, op_kind, op_state, op_description, op_begun_ms, op_changed_ms. */
int operation_decode(const struct db_rows *rows, unsigned row, struct operation *out,
		     struct err *err);
/* What a sealed column belongs to; owned by the caller. instance is NULL for a column of an instance. */
char *row_belongs(const char *instance, const char *id, const char *column);
/* Ids as they may be; -EINVAL. */
int store_check_id(const char *what, const char *id, struct err *err);
/* A number of a cell: digits, 63 bits. */
bool store_number(const char *text, uint64_t *out);

/* --- shared by instances, operations and bindings ---------------------------------- */

/* The instance, locked; *found. worker (may be NULL): who holds its lease. */
int instance_lock(struct store *s, struct db_tx *tx, const char *id, struct instance *out,
		  bool *found, char worker[STORE_ID_MAX], struct err *err);
/* One rule on one locked instance. */
struct instance_change {
	const char *id;
	store_rule *rule;
	void *arg;
	const char *worker, *op; /* of store_op_finish(), or NULL */
	int rule_rc;             /* out, with STORE_REFUSED */
	bool replaced;           /* out: op is not the instance's any more, the lease is given up */
};
store_body instance_change_body;

/* The operation of the row as it is goes to the past, as kind comes instead. */
int past_add(struct db_tx *tx, const char *id, enum op_kind kind, struct err *err);

#endif
