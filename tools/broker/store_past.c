/* SPDX-License-Identifier: Apache-2.0 */
/* store_past.c - the operations that an instance has had before its last one
 *
 * Written in the transaction that begins the next one, from the row as it was: an operation that is
 * the first or goes on costs nothing. */
#include "tools/broker/store_impl.h"

#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

int past_add(struct db_tx *tx, const char *id, enum op_kind kind, struct err *err)
{
	int rc;

	if (kind == OP_CREATE)
		return db_query(tx, "DELETE FROM past WHERE instance = $1", &id, 1, NULL, NULL,
				err);
	rc = db_query(tx,
		      "INSERT INTO past (instance, op_id, op_kind, op_state, op_description,"
		      " op_begun_ms, op_changed_ms) SELECT id, op_id, op_kind, op_state,"
		      " op_description, op_begun_ms, op_changed_ms FROM instances"
		      " WHERE id = $1 AND op_kind <> 'none' ON CONFLICT DO NOTHING",
		      &id, 1, NULL, NULL, err);
	if (rc)
		return rc;
	return db_query(tx,
			"DELETE FROM past WHERE instance = $1 AND op_begun_ms <"
			" (SELECT min(newest.op_begun_ms) FROM (SELECT op_begun_ms FROM past"
			" WHERE instance = $1 ORDER BY op_begun_ms DESC"
			" LIMIT " TEXT(STORE_PAST_MAX) ") AS newest)",
			&id, 1, NULL, NULL, err);
}

struct question {
	const char *instance;
	struct operation *out;
	unsigned n;
};

static int past_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct question *q = arg;
	struct db_rows rows;
	int rc = db_query(tx,
			  "SELECT op_id, op_kind, op_state, op_description, op_begun_ms,"
			  " op_changed_ms FROM past WHERE instance = $1"
			  " ORDER BY op_begun_ms DESC, op_changed_ms DESC"
			  " LIMIT " TEXT(STORE_PAST_MAX),
			  &q->instance, 1, &rows, NULL, err);

	(void)s;
	if (rc)
		return rc;
	for (q->n = 0; !rc && q->n < rows.n; q->n += !rc)
		rc = operation_decode(&rows, q->n, &q->out[q->n], err);
	db_rows_done(&rows);
	return rc;
}

int store_past(struct store *s, const char *instance, struct operation out[STORE_PAST_MAX],
	       unsigned *n, struct err *err)
{
	struct question q = { .instance = instance, .out = out };
	int rc = store_check_id("instance", instance, err);

	if (!rc)
		rc = store_run(s, DB_READ, NULL, past_body, &q, err);
	if (!rc)
		*n = q.n;
	return rc;
}
