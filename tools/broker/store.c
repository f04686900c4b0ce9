/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - opening, transactions that are tried again, and instances
 *
 * store_run() is the only place that commits. Between the rule's decision and the return of a call lie one commit
 * and nothing else, so a process that dies has either done all of it or nothing. */
#include "tools/broker/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define CONFLICT_TRIES 10   /* of a transaction that meets others */
#define CONFLICT_PAUSE_MS 5 /* at most, before the second; more before later ones */
#define AWAY_MS 3000        /* that a server may be away */
#define AWAY_PAUSE_MS 50    /* before the second try, twice as much before each later one */
#define AWAY_PAUSE_MAX_MS 800

/* --- transactions ---------------------------------------------------------------- */

static int run_once(struct store *s, enum db_mode mode, const struct store_points *points,
		    store_body *body, void *arg, struct err *err)
{
	struct db_tx *tx;
	int rc = db_begin(s->db, mode, &tx, err);

	if (rc)
		return rc;
	rc = body(s, tx, arg, err);
	if (rc || mode == DB_READ) {
		db_rollback(tx);
		return rc;
	}
	abort_point(points->before);
	rc = db_commit(tx, err);
	if (!rc)
		abort_point(points->after);
	return rc;
}

static void pause_ms(uint64_t ms)
{
	struct timespec ts = { .tv_sec = (time_t)(ms / 1000),
			       .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

/* Between half of it and all, so that those who met do not meet again. */
static void pause_about(uint64_t ms)
{
	static _Atomic uint32_t seed = 1;
	uint32_t x = atomic_fetch_add(&seed, 0x9e3779b9u) ^ (uint32_t)clock_us();

	x = (x ^ (x >> 16)) * 0x45d9f3bu;
	pause_ms(ms / 2 + (x >> 8) % (ms / 2 + 1));
}

int store_run(struct store *s, enum db_mode mode, const struct store_points *points,
	      store_body *body, void *arg, struct err *err)
{
	uint64_t end = clock_us() / 1000 + AWAY_MS, wait = AWAY_PAUSE_MS;
	unsigned conflicts = 0;

	for (;;) {
		int rc = run_once(s, mode, points, body, arg, err);

		if (rc != -EDEADLK && rc != -ECONNRESET)
			return rc;
		if (rc == -EDEADLK && ++conflicts == CONFLICT_TRIES)
			return -EAGAIN;
		if (rc == -ECONNRESET && clock_us() / 1000 + wait > end)
			return -EAGAIN;
		if (rc == -EDEADLK) {
			pause_about((uint64_t)conflicts * CONFLICT_PAUSE_MS);
		} else {
			pause_about(wait);
			wait = wait * 2 < AWAY_PAUSE_MAX_MS ? wait * 2 : AWAY_PAUSE_MAX_MS;
		}
	}
}

int store_open(const char *uri, struct seal *seal, struct store **out, struct err *err)
{
	AUTO_FREE struct store *s = calloc(1, sizeof *s);
	int rc;

	assert(seal);
	if (!s)
		return err_set(err, -ENOMEM, "store: no memory");
	s->seal = seal;
	rc = db_open(uri, &s->db, err);
	if (rc)
		return rc;
	rc = store_migrate(s, err);
	if (rc) {
		db_close(s->db);
		return rc;
	}
	*out = take_ptr(&s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	db_close(s->db);
	free(s);
}

static int health_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct db_rows rows;
	int rc = db_query(tx, "SELECT value FROM persifs_meta WHERE name = 'schema'", NULL, 0,
			  &rows, NULL, err);

	(void)s;
	(void)arg;
	if (rc)
		return rc;
	if (!rows.n)
		rc = err_set(err, -EPROTO, "store: its schema has no number");
	db_rows_done(&rows);
	return rc;
}

int store_health(struct store *s, struct err *err)
{
	return store_run(s, DB_READ, NULL, health_body, NULL, err);
}

/* --- one instance ------------------------------------------------------------------ */

int instance_lock(struct store *s, struct db_tx *tx, const char *id, struct instance *out,
		  bool *found, char worker[STORE_ID_MAX], struct err *err)
{
	struct db_rows rows;
	int rc = db_query(tx,
			  "SELECT " INSTANCE_COLUMNS
			  ", worker FROM instances WHERE id = $1 FOR UPDATE",
			  &id, 1, &rows, NULL, err);

	if (rc)
		return rc;
	memset(out, 0, sizeof *out);
	snprintf(out->id, sizeof out->id, "%s", id);
	*found = rows.n;
	if (*found)
		rc = instance_decode(s, &rows, 0, out, err);
	if (*found && !rc && worker)
		snprintf(worker, STORE_ID_MAX, "%s", db_cell(&rows, 0, I_COLUMNS));
	db_rows_done(&rows);
	return rc;
}

static int count_bindings(struct db_tx *tx, const char *id, unsigned *out, struct err *err)
{
	struct db_rows rows;
	uint64_t n = 0;
	int rc = db_query(tx, "SELECT count(*) FROM bindings WHERE instance = $1 AND deleted = 0",
			  &id, 1, &rows, NULL, err);

	if (rc)
		return rc;
	if (rows.n)
		store_number(db_cell(&rows, 0, 0), &n);
	*out = n > UINT32_MAX ? UINT32_MAX : (unsigned)n;
	db_rows_done(&rows);
	return 0;
}

static bool may_have_bindings(const struct instance *i)
{
	return i->state == INSTANCE_READY || i->state == INSTANCE_UPDATING;
}

/* I4: what such an instance may not have any more becomes tombstones. */
static int drop_bindings(struct db_tx *tx, const struct instance *i, struct err *err)
{
	char now[24];
	const char *const args[] = { i->id, now };

	snprintf(now, sizeof now, "%" PRIu64, i->op.changed_ms);
	return db_query(tx,
			"UPDATE bindings SET deleted = 1, changed_ms = $2"
			" WHERE instance = $1 AND deleted = 0",
			args, 2, NULL, NULL, err);
}

static int instance_remove(struct db_tx *tx, const char *id, struct err *err)
{
	return db_query(tx, "DELETE FROM instances WHERE id = $1", &id, 1, NULL, NULL, err);
}

/* The lease stays with who has it, or ends: keep is "1" or "0". */
static int instance_write(struct store *s, struct db_tx *tx, const struct instance *i, bool exists,
			  bool keep_lease, struct err *err)
{
	static const char insert[] =
		"INSERT INTO instances (" INSTANCE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7,"
		" $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,"
		" $24)";
	static const char update[] =
		"UPDATE instances SET service = $2, plan = $3, provider = $4, state = $5,"
		" params = $6, context = $7, handle = $8, size = $9, new_plan = $10,"
		" new_params = $11, new_size = $12, op_kind = $13, op_state = $14, op_id = $15,"
		" op_description = $16, op_begun_ms = $17, op_changed_ms = $18, op_tries = $19,"
		" op_next_try_ms = $20, op_usable = $21, op_repeatable = $22, created_ms = $23,"
		" version = $24, worker = CASE WHEN $25 = '1' THEN worker ELSE '' END,"
		" lease_ms = CASE WHEN $25 = '1' THEN lease_ms ELSE 0 END WHERE id = $1";
	const char *args[I_COLUMNS + 1];
	struct row row;
	int rc = instance_encode(i, &row, err);

	if (rc)
		return rc;
	rc = instance_seal(s, &row, err);
	for (int k = 0; k < I_COLUMNS; k++)
		args[k] = row.text[k];
	args[I_COLUMNS] = keep_lease ? "1" : "0";
	if (!rc)
		rc = db_query(tx, exists ? update : insert, args, I_COLUMNS + exists, NULL, NULL,
			      err);
	row_done(&row);
	return rc;
}

/* What the store keeps by itself: times, version, whether the lease goes on. */
struct before {
	struct row row;
	char op[sizeof((struct operation *)0)->id];
	uint64_t begun_ms;
	bool exists, in_progress;
};

static int write_changed(struct store *s, struct db_tx *tx, const struct before *was,
			 struct instance *i, bool finish, unsigned bindings, struct err *err)
{
	bool new_op = !was->exists || strcmp(was->op, i->op.id) != 0;
	bool keep = !finish && (!new_op || was->in_progress) && i->op.state == OP_IN_PROGRESS;
	uint64_t now;
	int rc = db_now(tx, &now, err);

	if (rc)
		return rc;
	if (!i->created_ms)
		i->created_ms = now;
	if (new_op && i->op.kind != OP_NONE && (!i->op.begun_ms || i->op.begun_ms == was->begun_ms))
		i->op.begun_ms = now;
	i->op.changed_ms = now;
	i->version++;
	if (new_op && was->exists)
		rc = past_add(tx, i->id, i->op.kind, err);
	if (!rc)
		rc = instance_write(s, tx, i, was->exists, keep, err);
	if (!rc && bindings && !may_have_bindings(i))
		rc = drop_bindings(tx, i, err);
	return rc;
}

static int apply_rule(struct store *s, struct db_tx *tx, struct instance_change *c,
		      struct instance *i, bool exists, struct err *err)
{
	struct before was = { .exists = exists,
			      .in_progress = i->op.kind != OP_NONE && i->op.state == OP_IN_PROGRESS,
			      .begun_ms = i->op.begun_ms };
	struct row after;
	unsigned bindings;
	bool changed;
	int rc = count_bindings(tx, c->id, &bindings, err);

	strcpy(was.op, i->op.id);
	if (!rc)
		rc = instance_encode(i, &was.row, err);
	if (rc)
		return rc;
	c->rule_rc = c->rule(c->arg, i, exists, bindings);
	snprintf(i->id, sizeof i->id, "%s", c->id);
	if (c->rule_rc == STORE_REMOVE) {
		c->rule_rc = 0;
		rc = exists ? instance_remove(tx, c->id, err) : 0;
	} else if (c->rule_rc) {
		rc = STORE_REFUSED;
	} else if (!(rc = instance_encode(i, &after, err))) {
		/* The end of a lease is a change too. */
		changed = c->worker || !row_equal(&was.row, &after);
		row_done(&after);
		if (changed)
			rc = write_changed(s, tx, &was, i, c->worker != NULL, bindings, err);
	}
	row_done(&was.row);
	return rc;
}

/* The operation that has replaced this one need not wait any longer. */
static int give_up(struct db_tx *tx, struct instance_change *c, struct err *err)
{
	c->replaced = true;
	return db_query(tx, "UPDATE instances SET worker = '', lease_ms = 0 WHERE id = $1", &c->id,
			1, NULL, NULL, err);
}

int instance_change_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct instance_change *c = arg;
	char worker[STORE_ID_MAX] = "";
	struct instance i;
	bool exists;
	int rc = instance_lock(s, tx, c->id, &i, &exists, worker, err);

	if (rc)
		return rc;
	if (c->worker &&
	    (!exists || strcmp(worker, c->worker) != 0 || i.op.state != OP_IN_PROGRESS))
		rc = err_set(err, -ESTALE, "store: instance '%s': the lease is lost", c->id);
	else if (c->worker && strcmp(i.op.id, c->op) != 0)
		rc = give_up(tx, c, err);
	else
		rc = apply_rule(s, tx, c, &i, exists, err);
	instance_done(&i);
	return rc;
}

int store_change(struct store *s, const char *id, store_rule *rule, void *arg, struct err *err)
{
	static const struct store_points points = { "store: instance: before commit",
						    "store: instance written" };
	struct instance_change c = { .id = id, .rule = rule, .arg = arg };
	int rc = store_check_id("instance", id, err);

	if (!rc)
		rc = store_run(s, DB_WRITE, &points, instance_change_body, &c, err);
	return rc == STORE_REFUSED ? c.rule_rc : rc;
}

/* --- reading ----------------------------------------------------------------------- */

struct page {
	const char *after;
	unsigned limit;
	struct instance *out;
	unsigned n;
};

static int get_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct page *p = arg;
	struct db_rows rows;
	int rc = db_query(tx, "SELECT " INSTANCE_COLUMNS " FROM instances WHERE id = $1", &p->after,
			  1, &rows, NULL, err);

	if (rc)
		return rc;
	rc = rows.n ? instance_decode(s, &rows, 0, p->out, err) :
		      err_set(err, -ENOENT, "store: no instance '%s'", p->after);
	db_rows_done(&rows);
	return rc;
}

int store_get(struct store *s, const char *id, struct instance *out, struct err *err)
{
	struct page p = { .after = id, .out = out };
	int rc = store_check_id("instance", id, err);

	return rc ? rc : store_run(s, DB_READ, NULL, get_body, &p, err);
}

static int list_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct page *p = arg;
	char limit[16];
	const char *const args[] = { p->after, limit };
	struct db_rows rows;
	int rc;

	snprintf(limit, sizeof limit, "%u", p->limit);
	rc = db_query(tx,
		      "SELECT " INSTANCE_COLUMNS
		      " FROM instances WHERE id > $1 ORDER BY id LIMIT $2",
		      args, 2, &rows, NULL, err);
	if (rc)
		return rc;
	for (p->n = 0; !rc && p->n < rows.n; p->n += !rc)
		rc = instance_decode(s, &rows, p->n, &p->out[p->n], err);
	while (rc && p->n)
		instance_done(&p->out[--p->n]);
	db_rows_done(&rows);
	return rc;
}

int store_list(struct store *s, const char *after, unsigned limit, struct instance *out,
	       unsigned *n, struct err *err)
{
	struct page p = { .after = after, .limit = limit, .out = out };
	int rc = *after ? store_check_id("instance", after, err) : 0;

	if (!rc && limit > STORE_LIMIT_MAX)
		p.limit = STORE_LIMIT_MAX;
	if (!rc)
		rc = store_run(s, DB_READ, NULL, list_body, &p, err);
	if (!rc)
		*n = p.n;
	return rc;
}
