/* SPDX-License-Identifier: Apache-2.0 */
/* db_impl.h - what a kind of database does for db.c, which keeps the pool of its connections
 *
 * A connection is used by one thread at a time. */
#ifndef TOOLS_BROKER_DB_IMPL_H
#define TOOLS_BROKER_DB_IMPL_H

#include "tools/broker/db.h"

#define DB_MARK_MAX 64 /* of a commit */

struct db_conn {
	const struct db_driver *driver;
	struct db_conn *next; /* in the list of free ones */
	uint64_t generation;  /* of the pool when it was made */
	bool writer;
	bool broken; /* not to be used again */
};

struct db_driver {
	const char *scheme;
	/* One connection writes, others read; otherwise all are alike. */
	bool one_writer;
	bool remote; /* a server, which may go away */
	/* Checks the URI, and makes what connect() takes. */
	int (*open)(const char *uri, void **config, struct err *err);
	void (*close)(void *config);
	int (*connect)(void *config, bool writer, struct db_conn **out, struct err *err);
	void (*disconnect)(struct db_conn *c);
	/* The last try to end a transaction; what fails sets broken. */
	int (*begin)(struct db_conn *c, struct err *err);
	int (*commit)(struct db_conn *c, char *mark, size_t cap, struct err *err);
	void (*rollback)(struct db_conn *c);
	/* Whether the transaction with the mark that a failed commit() left was committed: 1, 0, -errno. */
	int (*was_committed)(struct db_conn *c, const char *mark, struct err *err);
	int (*query)(struct db_conn *c, const char *sql, const char *const *args, unsigned nargs,
		     struct db_rows *rows, uint64_t *changed, struct err *err);
	int (*script)(struct db_conn *c, const char *sql, struct err *err);
	int (*lock_schema)(struct db_conn *c, struct err *err);
	int (*now)(struct db_conn *c, uint64_t *ms, struct err *err);
};

extern const struct db_driver db_sqlite, db_postgres;

/* Room for n rows of cols cells. */
int db_rows_make(struct db_rows *rows, unsigned n, unsigned cols);
/* Copies text (NULL: "") into a cell. */
int db_rows_set(struct db_rows *rows, unsigned row, unsigned col, const char *text);

#endif
