/* SPDX-License-Identifier: Apache-2.0 */
/* store_schema.c - the tables, and how an older store becomes a newer one
 *
 * Step N makes schema N of schema N - 1. Steps are only added: a store that exists has gone through
 * the old ones. All steps that are missing are one transaction, so a store is of one schema or another,
 * never in between; brokers that start at once take turns.
 *
 *   persifs_meta  name, value: "schema", and "seal", a known text sealed by the first key, by
 *                 which a key file that is not this store's is told before it does harm
 *   instances     worker and lease_ms: who works on the operation, until when (0: nobody)
 *   persifs_writers  PostgreSQL's driver keeps it (db_pg.c)
 *   bindings      go with their instance; changed_ms: when it was written last
 *   past          operations that another one has replaced, the newest of each instance
 *
 * Ids are compared by their bytes, in PostgreSQL too, whatever its locale: pages go by them. Numbers are BIGINT,
 * booleans 0 and 1, JSON is text, sealed or not; a text that is not there is ''. */
#include "tools/broker/store_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define META                                                              \
	"CREATE TABLE IF NOT EXISTS persifs_meta (name TEXT PRIMARY KEY," \
	" value TEXT NOT NULL)"

#define SCHEMA_1(id_type)                                                                   \
	"CREATE TABLE instances ("                                                          \
	" id " id_type " PRIMARY KEY, service TEXT NOT NULL, plan TEXT NOT NULL,"           \
	" provider TEXT NOT NULL, state TEXT NOT NULL, params TEXT NOT NULL,"               \
	" context TEXT NOT NULL, handle TEXT NOT NULL, size BIGINT NOT NULL,"               \
	" new_plan TEXT NOT NULL, new_params TEXT NOT NULL, new_size BIGINT NOT NULL,"      \
	" op_kind TEXT NOT NULL, op_state TEXT NOT NULL, op_id TEXT NOT NULL,"              \
	" op_description TEXT NOT NULL, op_begun_ms BIGINT NOT NULL,"                       \
	" op_changed_ms BIGINT NOT NULL, op_tries BIGINT NOT NULL,"                         \
	" op_next_try_ms BIGINT NOT NULL, op_usable BIGINT NOT NULL,"                       \
	" op_repeatable BIGINT NOT NULL, created_ms BIGINT NOT NULL,"                       \
	" version BIGINT NOT NULL, worker TEXT NOT NULL DEFAULT '',"                        \
	" lease_ms BIGINT NOT NULL DEFAULT 0);"                                             \
	"CREATE INDEX instances_due ON instances (op_next_try_ms)"                          \
	" WHERE op_state = 'in progress' AND op_kind <> 'none';"                            \
	"CREATE INDEX instances_dead ON instances (op_changed_ms) WHERE state = 'deleted';" \
	"CREATE TABLE bindings ("                                                           \
	" instance " id_type " NOT NULL REFERENCES instances (id) ON DELETE CASCADE,"       \
	" id " id_type " NOT NULL, app TEXT NOT NULL, service TEXT NOT NULL,"               \
	" plan TEXT NOT NULL, params TEXT NOT NULL, context TEXT NOT NULL,"                 \
	" answer TEXT NOT NULL, created_ms BIGINT NOT NULL, deleted BIGINT NOT NULL,"       \
	" changed_ms BIGINT NOT NULL, PRIMARY KEY (instance, id));"                         \
	"CREATE INDEX bindings_dead ON bindings (changed_ms) WHERE deleted = 1;"

#define SCHEMA_2(id_type)                                                 \
	"CREATE TABLE past ("                                             \
	" instance " id_type " NOT NULL REFERENCES instances (id)"        \
	" ON DELETE CASCADE, op_id TEXT NOT NULL, op_kind TEXT NOT NULL," \
	" op_state TEXT NOT NULL, op_description TEXT NOT NULL,"          \
	" op_begun_ms BIGINT NOT NULL, op_changed_ms BIGINT NOT NULL,"    \
	" PRIMARY KEY (instance, op_id));"

struct migration {
	const char *sqlite, *postgres;
};

static const struct migration migrations[] = {
	{ SCHEMA_1("TEXT NOT NULL"), SCHEMA_1("TEXT COLLATE \"C\"") },
	{ SCHEMA_2("TEXT"), SCHEMA_2("TEXT COLLATE \"C\"") },
};

#define SEAL_TEXT "persifs" /* that is sealed in persifs_meta */
#define SEAL_BELONGS "store"

static int meta_get(struct db_tx *tx, const char *name, char **out, struct err *err)
{
	struct db_rows rows;
	int rc = db_query(tx, "SELECT value FROM persifs_meta WHERE name = $1", &name, 1, &rows,
			  NULL, err);

	*out = NULL;
	if (rc)
		return rc;
	if (rows.n && !(*out = strdup(db_cell(&rows, 0, 0))))
		rc = err_set(err, -ENOMEM, "store: no memory");
	db_rows_done(&rows);
	return rc;
}

static int meta_set(struct db_tx *tx, const char *name, const char *value, struct err *err)
{
	const char *const args[] = { name, value };
	uint64_t n = 0;
	int rc = db_query(tx, "UPDATE persifs_meta SET value = $2 WHERE name = $1", args, 2, NULL,
			  &n, err);

	if (rc || n)
		return rc;
	return db_query(tx, "INSERT INTO persifs_meta (name, value) VALUES ($1, $2)", args, 2, NULL,
			NULL, err);
}

static int check_seal(struct store *s, struct db_tx *tx, struct err *err)
{
	AUTO_FREE char *sealed = NULL, *opened = NULL;
	int rc = meta_get(tx, "seal", &sealed, err);

	if (rc)
		return rc;
	if (!sealed) {
		sealed = seal_text(s->seal, SEAL_TEXT, SEAL_BELONGS);
		return sealed ? meta_set(tx, "seal", sealed, err) :
				err_set(err, -ENOMEM, "store: no memory");
	}
	opened = seal_open_text(s->seal, sealed, SEAL_BELONGS);
	if (!opened || strcmp(opened, SEAL_TEXT))
		return err_set(err, -EACCES,
			       "store: the key file has no key that this store was sealed with");
	return 0;
}

int store_reseal_meta(struct store *s, struct db_tx *tx, struct err *err)
{
	AUTO_FREE char *sealed = NULL;
	int rc = meta_get(tx, "seal", &sealed, err);

	if (rc || (sealed && seal_is_current(s->seal, sealed)))
		return rc;
	free(sealed);
	sealed = seal_text(s->seal, SEAL_TEXT, SEAL_BELONGS);
	return sealed ? meta_set(tx, "seal", sealed, err) :
			err_set(err, -ENOMEM, "store: no memory");
}

static int migrate_body(struct store *s, struct db_tx *tx, void *arg, struct err *err)
{
	AUTO_FREE char *text = NULL;
	uint64_t is = 0;
	char number[24];
	int rc;

	(void)arg;
	rc = db_lock_schema(tx, err);
	if (!rc)
		rc = db_script(tx, META, err);
	if (!rc)
		rc = meta_get(tx, "schema", &text, err);
	if (rc)
		return rc;
	if (text && !store_number(text, &is))
		return err_set(err, -EPROTO, "store: schema '%.32s' is no number", text);
	if (is > ARRAY_LEN(migrations))
		return err_set(err, -EOPNOTSUPP,
			       "store: it has schema %" PRIu64 " and this program knows %zu: "
			       "a newer program has used it",
			       is, ARRAY_LEN(migrations));
	for (size_t i = is; !rc && i < ARRAY_LEN(migrations); i++)
		rc = db_script(
			tx, db_is_postgres(s->db) ? migrations[i].postgres : migrations[i].sqlite,
			err);
	snprintf(number, sizeof number, "%zu", ARRAY_LEN(migrations));
	if (!rc && is < ARRAY_LEN(migrations))
		rc = meta_set(tx, "schema", number, err);
	return rc ? rc : check_seal(s, tx, err);
}

int store_migrate(struct store *s, struct err *err)
{
	static const struct store_points points = { "store: schema: before commit",
						    "store: schema written" };

	return store_run(s, DB_WRITE, &points, migrate_body, NULL, err);
}
