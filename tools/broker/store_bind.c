/* SPDX-License-Identifier: Apache-2.0 */
/* store_bind.c - bindings
 *
 * Whoever writes a binding holds the lock of its instance's row, so a rule sees the instance and its
 * other bindings as they stay until the commit. */
#include "tools/broker/store_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

struct bind {
	const char *instance, *id;
	store_bind_rule *rule;
	void *arg;
	int rule_rc;
};

static int binding_read(struct store *s, struct db_tx *tx, const char *instance, const char *id,
			struct binding *out, bool *found, struct err *err)
{
	const char *const args[] = { instance, id };
	struct db_rows rows;
	int rc = db_query(tx,
			  "SELECT " BINDING_COLUMNS
			  " FROM bindings WHERE instance = $1 AND id = $2",
			  args, 2, &rows, NULL, err);

	if (rc)
		return rc;
	memset(out, 0, sizeof *out);
	snprintf(out->instance, sizeof out->instance, "%s", instance);
	snprintf(out->id, sizeof out->id, "%s", id);
	*found = rows.n;
	if (*found)
		rc = binding_decode(s, &rows, 0, out, err);
	db_rows_done(&rows);
	return rc;
}

static int read_others(struct db_tx *tx, const struct bind *b, struct db_rows *rows,
		       const char ***out, struct err *err)
{
	const char *const args[] = { b->instance, b->id };
	int rc = db_query(tx,
			  "SELECT app FROM bindings"
			  " WHERE instance = $1 AND id <> $2 AND deleted = 0 ORDER BY id",
			  args, 2, rows, NULL, err);
	const char **apps = rc ? NULL : calloc(rows->n + 1, sizeof *apps);

	if (rc)
		return rc;
	if (!apps) {
		db_rows_done(rows);
		return err_set(err, -ENOMEM, "store: no memory");
	}
	for (unsigned i = 0; i < rows->n; i++)
		apps[i] = db_cell(rows, i, 0);
	*out = apps;
	return 0;
}

static int binding_write(struct store *s, struct db_tx *tx, struct binding *b, bool exists,
			 struct err *err)
{
	static const char insert[] = "INSERT INTO bindings (" BINDING_COLUMNS ", changed_ms)"
				     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
	static const char update[] =
		"UPDATE bindings SET app = $3, service = $4, plan = $5, params = $6,"
		" context = $7, answer = $8, created_ms = $9, deleted = $10, changed_ms = $11"
		" WHERE instance = $1 AND id = $2";
	const char *args[B_COLUMNS + 1];
	struct row row;
	char text[24];
	uint64_t now;
	int rc = db_now(tx, &now, err);

	if (rc)
		return rc;
	if (!b->created_ms)
		b->created_ms = now;
	rc = binding_encode(b, &row, err);
	if (rc)
		return rc;
	rc = binding_seal(s, &row, err);
	snprintf(text, sizeof text, "%" PRIu64, now);
	for (int k = 0; k < B_COLUMNS; k++)
		args[k] = row.text[k];
	args[B_COLUMNS] = text;
	if (!rc)
		rc = db_query(tx, exists ? update : insert, args, B_COLUMNS + 1, NULL, NULL, err);
	row_done(&row);
	return rc;
}

/* I4, and no binding without an instance. */
static int check_written(const struct instance *i, bool has_instance, const struct binding *b,
			 struct err *err)
{
	if (!has_instance)
		return err_set(err, -EINVAL, "store: binding '%s': there is no instance '%s'",
			       b->id, b->instance);
	if (!b->deleted && i->state != INSTANCE_READY && i->state != INSTANCE_UPDATING)
		return err_set(err, -EINVAL,
			       "store: binding '%s': instance '%s' is not ready to be bound", b->id,
			       b->instance);
	return 0;
}

static int write_if_changed(struct store *s, struct db_tx *tx, const struct row *was,
			    struct binding *b, bool exists, const struct instance *i,
			    bool has_instance, struct err *err)
{
	struct row after;
	bool same;
	int rc = binding_encode(b, &after, err);

	if (rc)
		return rc;
	same = row_equal(was, &after);
	row_done(&after);
	if (same)
		return 0;
	rc = check_written(i, has_instance, b, err);
	return rc ? rc : binding_write(s, tx, b, exists, err);
}

static int apply_rule(struct store *s, struct db_tx *tx, struct bind *c, const struct instance *i,
		      bool has_instance, struct binding *b, bool exists, struct err *err)
{
	const char *const key[] = { c->instance, c->id };
	AUTO_FREE const char **others = NULL;
	struct db_rows apps;
	struct row was;
	int rc = binding_encode(b, &was, err);

	if (rc)
		return rc;
	rc = read_others(tx, c, &apps, &others, err);
	if (rc) {
		row_done(&was);
		return rc;
	}
	c->rule_rc = c->rule(c->arg, i, has_instance, b, exists, others);
	snprintf(b->instance, sizeof b->instance, "%s", c->instance);
	snprintf(b->id, sizeof b->id, "%s", c->id);
	if (c->rule_rc == STORE_REMOVE) {
		c->rule_rc = 0;
		rc = db_query(tx, "DELETE FROM bindings WHERE instance = $1 AND id = $2", key, 2,
			      NULL, NULL, err);
	} else if (c->rule_rc) {
		rc = STORE_REFUSED;
	} else {
		rc = write_if_changed(s, tx, &was, b, exists, i, has_instance, err);
	}
	db_rows_done(&apps);
	row_done(&was);
	return rc;
}

static int bind_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct bind *c = arg;
	bool has_instance, exists;
	struct instance i;
	struct binding b;
	int rc = instance_lock(s, tx, c->instance, &i, &has_instance, NULL, err);

	if (rc)
		return rc;
	rc = binding_read(s, tx, c->instance, c->id, &b, &exists, err);
	if (!rc) {
		rc = apply_rule(s, tx, c, &i, has_instance, &b, exists, err);
		binding_done(&b);
	}
	instance_done(&i);
	return rc;
}

static int check_ids(const char *instance, const char *id, struct err *err)
{
	int rc = store_check_id("instance", instance, err);

	return rc ? rc : store_check_id("binding", id, err);
}

int store_bind(struct store *s, const char *instance, const char *id, store_bind_rule *rule,
	       void *arg, struct err *err)
{
	static const struct store_points points = { "store: binding: before commit",
						    "store: binding written" };
	struct bind c = { .instance = instance, .id = id, .rule = rule, .arg = arg };
	int rc = check_ids(instance, id, err);

	if (!rc)
		rc = store_run(s, DB_WRITE, &points, bind_body, &c, err);
	return rc == STORE_REFUSED ? c.rule_rc : rc;
}

/* --- reading ----------------------------------------------------------------------- */

struct page {
	const char *instance, *after; /* after: the id itself, of one */
	unsigned limit;
	struct binding *out;
	unsigned n;
};

static int get_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct page *p = arg;
	bool found;
	int rc = binding_read(s, tx, p->instance, p->after, p->out, &found, err);

	return rc || found ? rc :
			     err_set(err, -ENOENT, "store: instance '%s' has no binding '%s'",
				     p->instance, p->after);
}

int store_binding(struct store *s, const char *instance, const char *id, struct binding *out,
		  struct err *err)
{
	struct page p = { .instance = instance, .after = id, .out = out };
	int rc = check_ids(instance, id, err);

	return rc ? rc : store_run(s, DB_READ, NULL, get_body, &p, err);
}

static int list_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct page *p = arg;
	char limit[16];
	const char *const args[] = { p->instance, p->after, limit };
	struct db_rows rows;
	int rc;

	snprintf(limit, sizeof limit, "%u", p->limit);
	rc = db_query(tx,
		      "SELECT " BINDING_COLUMNS " FROM bindings"
		      " WHERE instance = $1 AND id > $2 ORDER BY id LIMIT $3",
		      args, 3, &rows, NULL, err);
	if (rc)
		return rc;
	for (p->n = 0; !rc && p->n < rows.n; p->n += !rc)
		rc = binding_decode(s, &rows, p->n, &p->out[p->n], err);
	while (rc && p->n)
		binding_done(&p->out[--p->n]);
	db_rows_done(&rows);
	return rc;
}

int store_bindings(struct store *s, const char *instance, const char *after, unsigned limit,
		   struct binding *out, unsigned *n, struct err *err)
{
	struct page p = { .instance = instance, .after = after, .limit = limit, .out = out };
	int rc = *after ? check_ids(instance, after, err) :
			  store_check_id("instance", instance, err);

	if (!rc && limit > STORE_LIMIT_MAX)
		p.limit = STORE_LIMIT_MAX;
	if (!rc)
		rc = store_run(s, DB_READ, NULL, list_body, &p, err);
	if (!rc)
		*n = p.n;
	return rc;
}
