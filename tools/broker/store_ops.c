/* SPDX-License-Identifier: Apache-2.0 */
/* store_ops.c - operations: who works on which, and the end of tombstones
 *
 *   due, lease over --store_claim()--> leased to a worker --store_renew()--> ...
 *        ^                                  |         |
 *        |                                  |         +--store_op_finish()--> over, or due again
 *        +-------- the lease runs out ------+
 *
 * A lease that has run out is lost when another takes the operation, not before: nobody is harmed meanwhile. It outlives
 * its operation: where a rule begins another one (DELETE during a creation), that waits until the worker of the first has
 * ended its call, and said so by store_op_finish(), or is dead. Or it would remove what is not there
 * yet, and nobody what comes then. Workers' names differ, by thread too, or one could finish what another of its
 * name holds.
 *
 * Whether an operation is due, and a lease over, is told by the clock of the database (db_now()), so brokers
 * whose clocks differ agree. next_try_ms comes from the broker; where its clock is wrong, a
 * retry comes early or late, and that is all. */
#include "tools/broker/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define TAKEN_MS 50    /* what another is just taking may be free then */
#define BURY_BATCH 500 /* rows of a transaction */

struct claim {
	const char *worker;
	uint64_t lease_ms;
	struct instance *out;
	uint64_t now, wait_ms;
	bool found;
	char bad[STORE_ID_MAX]; /* a row that makes no sense */
};

static void to_text(char buf[24], uint64_t n)
{
	snprintf(buf, 24, "%" PRIu64, n > INT64_MAX ? INT64_MAX : n);
}

/* Says only when to look again; what it finds due may be taken until then. */
static int peek_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct claim *c = arg;
	struct db_rows rows;
	uint64_t due;
	int rc = db_now(tx, &c->now, err);

	(void)s;
	if (!rc)
		rc = db_query(tx,
			      "SELECT min(CASE WHEN op_next_try_ms > lease_ms THEN op_next_try_ms"
			      " ELSE lease_ms END) FROM instances"
			      " WHERE op_state = 'in progress' AND op_kind <> 'none'",
			      NULL, 0, &rows, NULL, err);
	if (rc)
		return rc;
	if (!rows.n || !store_number(db_cell(&rows, 0, 0), &due))
		c->wait_ms = UINT64_MAX;
	else
		c->wait_ms = due > c->now ? due - c->now : 0;
	db_rows_done(&rows);
	return 0;
}

static int take(struct db_tx *tx, const char *id, const char *worker, uint64_t until,
		struct err *err)
{
	char text[24];
	const char *const args[] = { id, worker, text };

	to_text(text, until);
	return db_query(tx, "UPDATE instances SET worker = $2, lease_ms = $3 WHERE id = $1", args,
			3, NULL, NULL, err);
}

static int claim_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct claim *c = arg;
	char now[24];
	const char *const args[] = { now };
	struct db_rows rows;
	int rc;

	/* Of a try whose commit failed. */
	if (c->found)
		instance_done(c->out);
	c->found = false;
	rc = db_now(tx, &c->now, err);
	if (rc)
		return rc;
	to_text(now, c->now);
	rc = db_query(tx,
		      "SELECT " INSTANCE_COLUMNS " FROM instances"
		      " WHERE op_state = 'in progress' AND op_kind <> 'none'"
		      " AND op_next_try_ms <= $1 AND lease_ms <= $1"
		      " ORDER BY op_next_try_ms, id LIMIT 1 FOR UPDATE SKIP LOCKED",
		      args, 1, &rows, NULL, err);
	if (rc)
		return rc;
	if (rows.n) {
		rc = instance_decode(s, &rows, 0, c->out, err);
		c->found = !rc;
		if (rc == -EPROTO)
			snprintf(c->bad, sizeof c->bad, "%s", db_cell(&rows, 0, I_ID));
	}
	db_rows_done(&rows);
	if (!c->found)
		return rc;
	rc = take(tx, c->out->id, c->worker, c->now + c->lease_ms, err);
	if (rc) {
		instance_done(c->out);
		c->found = false;
	}
	return rc;
}

static int postpone_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	const struct claim *c = arg;

	(void)s;
	return take(tx, c->bad, "", c->now + c->lease_ms, err);
}

/* Its commit failed: what was read is not ours. */
static int claim_failed(struct store *s, struct claim *c, int rc, struct err *err)
{
	static const struct store_points points = { "store: bad row: before commit",
						    "store: bad row put off" };

	if (c->found)
		instance_done(c->out);
	/* A row that makes no sense must not keep the others from their turn. */
	if (rc == -EPROTO && *c->bad)
		store_run(s, DB_WRITE, &points, postpone_body, c, NULL);
	return rc ? rc : err_set(err, -ENOENT, "store: no operation is due");
}

int store_claim(struct store *s, const char *worker, uint64_t lease_ms, struct instance *out,
		uint64_t *wait_ms, struct err *err)
{
	static const struct store_points points = { "store: claim: before commit",
						    "store: operation claimed" };
	struct claim c = { .worker = worker, .lease_ms = lease_ms, .out = out };
	int rc = store_check_id("worker", worker, err);

	if (!rc)
		rc = store_run(s, DB_READ, NULL, peek_body, &c, err);
	if (rc)
		return rc;
	if (c.wait_ms) {
		*wait_ms = c.wait_ms;
		return err_set(err, -ENOENT, "store: no operation is due");
	}
	rc = store_run(s, DB_WRITE, &points, claim_body, &c, err);
	if (!rc && c.found)
		return 0;
	*wait_ms = TAKEN_MS;
	return claim_failed(s, &c, rc, err);
}

/* --- renewing and finishing ---------------------------------------------------------- */

struct renewal {
	const char *worker, *id;
	uint64_t lease_ms;
};

static int renew_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	const struct renewal *r = arg;
	char until[24];
	const char *const args[] = { r->id, r->worker, until };
	uint64_t now, n = 0;
	int rc = db_now(tx, &now, err);

	(void)s;
	if (rc)
		return rc;
	to_text(until, now + r->lease_ms);
	rc = db_query(tx,
		      "UPDATE instances SET lease_ms = $3 WHERE id = $1"
		      " AND worker = $2 AND op_state = 'in progress'",
		      args, 3, NULL, &n, err);
	if (!rc && !n)
		rc = err_set(err, -ESTALE, "store: instance '%s': the lease is lost", r->id);
	return rc;
}

int store_renew(struct store *s, const char *worker, const char *id, uint64_t lease_ms,
		struct err *err)
{
	static const struct store_points points = { "store: renewal: before commit",
						    "store: lease renewed" };
	struct renewal r = { worker, id, lease_ms };
	int rc = store_check_id("worker", worker, err);

	return rc ? rc : store_run(s, DB_WRITE, &points, renew_body, &r, err);
}

int store_op_finish(struct store *s, const char *worker, const char *id, const char *op,
		    store_rule *rule, void *arg, struct err *err)
{
	static const struct store_points points = { "store: outcome: before commit",
						    "store: outcome written" };
	struct instance_change c = {
		.id = id, .rule = rule, .arg = arg, .worker = worker, .op = op
	};
	int rc = store_check_id("instance", id, err);

	if (!rc)
		rc = store_check_id("worker", worker, err);
	if (!rc)
		rc = store_run(s, DB_WRITE, &points, instance_change_body, &c, err);
	if (!rc && c.replaced)
		rc = err_set(err, -ECANCELED, "store: instance '%s': another operation has begun",
			     id);
	return rc == STORE_REFUSED ? c.rule_rc : rc;
}

/* --- tombstones ---------------------------------------------------------------------- */

struct burial {
	const char *sql;
	char before[24], limit[16];
	uint64_t n;
};

static int bury_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct burial *b = arg;
	const char *const args[] = { b->before, b->limit };

	(void)s;
	return db_query(tx, b->sql, args, 2, NULL, &b->n, err);
}

int store_bury(struct store *s, uint64_t before_ms, unsigned *n, struct err *err)
{
	static const struct store_points points = { "store: burial: before commit",
						    "store: tombstones removed" };
	/* The condition stands outside too: a row may have come to life since it was chosen. */
	static const char *const sql[] = {
		"DELETE FROM instances WHERE state = 'deleted' AND op_changed_ms < $1 AND id IN"
		" (SELECT id FROM instances WHERE state = 'deleted' AND op_changed_ms < $1"
		" ORDER BY op_changed_ms LIMIT $2)",
		"DELETE FROM bindings WHERE deleted = 1 AND changed_ms < $1 AND (instance, id) IN"
		" (SELECT instance, id FROM bindings WHERE deleted = 1 AND changed_ms < $1"
		" ORDER BY changed_ms LIMIT $2)",
	};
	struct burial b;
	int rc = 0;

	*n = 0;
	to_text(b.before, before_ms);
	snprintf(b.limit, sizeof b.limit, "%d", BURY_BATCH);
	for (size_t i = 0; !rc && i < ARRAY_LEN(sql); i++) {
		b.sql = sql[i];
		do {
			rc = store_run(s, DB_WRITE, &points, bury_body, &b, err);
			if (!rc)
				*n += (unsigned)b.n;
		} while (!rc && b.n == BURY_BATCH);
	}
	return rc;
}
