/* SPDX-License-Identifier: Apache-2.0 */
/* db.h - SQLite and PostgreSQL through one narrow door
 *
 * Statements are SQL that both know, with $1 parameters; parameters and cells are text. Numbers fit into
 * 63 bits. " FOR UPDATE" and what follows it is left out for SQLite, where a writing transaction
 * is alone anyway.
 *
 * SQLite: one connection writes (WAL, synchronous=FULL, BEGIN IMMEDIATE), others read beside it.
 * PostgreSQL: a pool of connections that are made when they are needed, READ COMMITTED, row locks.
 *
 * Threads: any; a transaction belongs to the thread that began it. Every wait has a limit: for a connection
 * of the pool, for a lock, for an answer. Errors, with a sentence that holds no password:
 *   -EAGAIN     not in time: a lock, a connection, a statement
 *   -EDEADLK    the transaction met another: begin it anew
 *   -ECONNRESET the server is away; what was begun is undone: begin anew, later
 *   -EIO        anything else, with the library's sentence; -ENOMEM */
#ifndef TOOLS_BROKER_DB_H
#define TOOLS_BROKER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define DB_ARGS_MAX 40     /* parameters of a statement */
#define DB_TEXTS_MAX 64    /* different statements of a program */
#define DB_CONNS_MAX 8     /* of PostgreSQL's pool; readers of SQLite */
#define DB_WAIT_MS 10000   /* for a connection of the pool */
#define DB_LOCK_MS 5000    /* for a lock of another transaction or process */
#define DB_ANSWER_MS 10000 /* for a statement */

struct db;
struct db_tx;

enum db_mode {
	DB_READ,  /* single statements, each sees what is committed */
	DB_WRITE, /* a transaction */
};

struct db_rows {
	unsigned n, cols;
	char **cell; /* n * cols, owned; NULL is "" */
};

/* "sqlite:/path", made if need be, or "postgresql://...". PostgreSQL need not be up. -EINVAL: the URI. */
int db_open(const char *uri, struct db **out, struct err *err);
/* No transaction runs. */
void db_close(struct db *db);
/* Several processes use it at once, so DDL of the two differs. */
bool db_is_postgres(const struct db *db);

int db_begin(struct db *db, enum db_mode mode, struct db_tx **out, struct err *err);
/* Ends the transaction in any case. 0: it is on disk. -EAGAIN: the server went away, and nobody
 * knows whether it is; -ECONNRESET: it is not. */
int db_commit(struct db_tx *tx, struct err *err);
/* NULL is fine. */
void db_rollback(struct db_tx *tx);

/* sql lives as long as the program does: its address is the name under which it is prepared. rows may
 * be NULL; *changed (may be NULL): how many rows an INSERT, UPDATE or DELETE met. */
int db_query(struct db_tx *tx, const char *sql, const char *const *args, unsigned nargs,
	     struct db_rows *rows, uint64_t *changed, struct err *err);
/* Several statements without parameters, as of migrations. */
int db_script(struct db_tx *tx, const char *sql, struct err *err);
/* No other process migrates until the transaction ends. */
int db_lock_schema(struct db_tx *tx, struct err *err);
/* Milliseconds since 1970 by the clock of the machine that the database runs on (and clock_skew_ms):
 * the same for all who share the database. */
int db_now(struct db_tx *tx, uint64_t *ms, struct err *err);

const char *db_cell(const struct db_rows *rows, unsigned row, unsigned col);
void db_rows_done(struct db_rows *rows);

#endif
