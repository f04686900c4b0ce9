/* SPDX-License-Identifier: Apache-2.0 */
/* store_reseal.c - all rows sealed anew with the first key
 *
 * Goes through both tables by their keys, a page a transaction, beside brokers that work. What is
 * sealed by the first key already is passed over, so one that was killed is simply begun again. A row that
 * cannot be opened is left as it is, and told at the end: the other rows must not wait for it. */
#include "tools/broker/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define PAGE_ROWS 100
#define SEALED 3 /* columns of each table, behind its key */

/* A table: its key has two columns, an instance's the same twice. */
struct table {
	const char *select, *update;
	const char *columns[SEALED];
	bool binding;
};

static const struct table tables[] = {
	{ "SELECT id, id, params, context, new_params FROM instances"
	  " WHERE id > $1 AND id >= $2 ORDER BY id LIMIT $3 FOR UPDATE",
	  "UPDATE instances SET params = $3, context = $4, new_params = $5,"
	  " version = version + 1 WHERE id = $1 AND id = $2",
	  { "params", "context", "new_params" },
	  false },
	{ "SELECT instance, id, params, context, answer FROM bindings"
	  " WHERE (instance, id) > ($1, $2) ORDER BY instance, id LIMIT $3 FOR UPDATE",
	  "UPDATE bindings SET params = $3, context = $4, answer = $5"
	  " WHERE instance = $1 AND id = $2",
	  { "params", "context", "answer" },
	  true },
};

struct sweep {
	const struct table *table;
	char instance[STORE_ID_MAX], id[STORE_ID_MAX]; /* the last key that was passed */
	/* of the page, counted when it is on disk */
	char next_instance[STORE_ID_MAX], next_id[STORE_ID_MAX];
	unsigned rows, written;
	bool bad;
	struct err bad_text; /* of the first row that cannot be opened */
};

static bool is_current(const struct seal *seal, const struct db_rows *rows, unsigned row)
{
	for (unsigned k = 0; k < SEALED; k++) {
		const char *text = db_cell(rows, row, 2 + k);

		if (*text && !seal_is_current(seal, text))
			return false;
	}
	return true;
}

/* -EPROTO: it cannot be opened. */
static int reseal_text(const struct seal *seal, const char *sealed, const char *belongs, char **out)
{
	AUTO_FREE char *text = NULL;

	if (!belongs)
		return -ENOMEM;
	text = *sealed ? seal_open_text(seal, sealed, belongs) : NULL;
	if (*sealed && !text)
		return -EPROTO;
	*out = text ? seal_text(seal, text, belongs) : strdup("");
	return *out ? 0 : -ENOMEM;
}

static int reseal_row(struct store *s, struct db_tx *tx, struct sweep *w,
		      const struct db_rows *rows, unsigned row, struct err *err)
{
	const char *instance = db_cell(rows, row, 0), *id = db_cell(rows, row, 1);
	const char *args[2 + SEALED] = { instance, id };
	char *text[SEALED] = { NULL };
	int rc = 0;

	for (unsigned k = 0; !rc && k < SEALED; k++) {
		AUTO_FREE char *belongs =
			row_belongs(w->table->binding ? instance : NULL, id, w->table->columns[k]);

		rc = reseal_text(s->seal, db_cell(rows, row, 2 + k), belongs, &text[k]);
		args[2 + k] = text[k];
		if (rc == -EPROTO && !w->bad)
			err_set(&w->bad_text, 0,
				"store: %s '%.*s': no key of the key file opens its %s",
				w->table->binding ? "binding" : "instance", STORE_ID_MAX, id,
				w->table->columns[k]);
	}
	if (!rc) {
		rc = db_query(tx, w->table->update, args, 2 + SEALED, NULL, NULL, err);
		w->written++;
	} else if (rc == -EPROTO) {
		w->bad = true;
		rc = 0;
	} else {
		err_set(err, rc, "store: no memory");
	}
	for (unsigned k = 0; k < SEALED; k++)
		free(text[k]);
	return rc;
}

static int page_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	struct sweep *w = arg;
	char limit[16];
	const char *const args[] = { w->instance, w->id, limit };
	struct db_rows rows;
	int rc;

	snprintf(limit, sizeof limit, "%d", PAGE_ROWS);
	rc = db_query(tx, w->table->select, args, 3, &rows, NULL, err);
	if (rc)
		return rc;
	w->written = 0;
	w->rows = rows.n;
	for (unsigned i = 0; !rc && i < rows.n; i++)
		if (!is_current(s->seal, &rows, i))
			rc = reseal_row(s, tx, w, &rows, i, err);
	if (rows.n) {
		snprintf(w->next_instance, STORE_ID_MAX, "%s", db_cell(&rows, rows.n - 1, 0));
		snprintf(w->next_id, STORE_ID_MAX, "%s", db_cell(&rows, rows.n - 1, 1));
	}
	db_rows_done(&rows);
	return rc;
}

static int meta_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	(void)arg;
	return store_reseal_meta(s, tx, err);
}

int store_reseal(struct store *s, uint64_t *n, struct err *err)
{
	static const struct store_points points = { "store: reseal: before commit",
						    "store: page sealed anew" };
	struct sweep w = { .bad = false };
	int rc = 0;

	*n = 0;
	for (size_t i = 0; !rc && i < ARRAY_LEN(tables); i++) {
		w.table = &tables[i];
		*w.instance = *w.id = '\0';
		do {
			rc = store_run(s, DB_WRITE, &points, page_body, &w, err);
			if (rc)
				break;
			*n += w.written;
			strcpy(w.instance, w.next_instance);
			strcpy(w.id, w.next_id);
		} while (w.rows == PAGE_ROWS);
	}
	/* The last: an old key opens the store until nothing needs it. */
	if (!rc)
		rc = store_run(s, DB_WRITE, &points, meta_body, NULL, err);
	if (!rc && w.bad)
		rc = err_set(err, -EPROTO, "%s", w.bad_text.text);
	return rc;
}
