/* SPDX-License-Identifier: Apache-2.0 */
/* db_sqlite.c - the embedded database
 *
 * The file is made for its owner alone; SQLite gives the log and the index beside it the same mode. What is
 * deleted is overwritten (secure_delete): after the keys were changed no text sealed by an old one stays. */
#include "tools/broker/db_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define WAL_TRIES 50 /* to switch a file to the log, which waits for nobody */
#define WAL_PAUSE_MS 20

struct lite_text {
	const char *sql;  /* borrowed; its address is the name */
	sqlite3_stmt *st; /* owned */
};

struct lite_conn {
	struct db_conn base;
	sqlite3 *h; /* owned */
	struct lite_text texts[DB_TEXTS_MAX];
	unsigned ntexts;
};

static struct lite_conn *lite(struct db_conn *c)
{
	return CONTAINER_OF(c, struct lite_conn, base);
}

static int failure(struct lite_conn *l, int code, struct err *err)
{
	int extended = sqlite3_extended_errcode(l->h);

	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		return err_set(err, -EAGAIN, "store: locked by another process for %d s",
			       DB_LOCK_MS / 1000);
	if (code == SQLITE_NOMEM)
		return err_set(err, -ENOMEM, "store: no memory");
	if (extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_UNIQUE)
		return err_set(err, -EDEADLK, "store: the row is there already");
	return err_set(err, -EIO, "store: %s", sqlite3_errmsg(l->h));
}

static int lite_open(const char *uri, void **config, struct err *err)
{
	const char *path = strchr(uri, ':') + 1;
	AUTO_FD int fd = -1;
	char *copy;

	if (*path != '/')
		return err_set(err, -EINVAL, "store '%s': an absolute path is wanted", uri);
	/* Only when there is none: closing a descriptor of the file would end the locks that
	 * this process may have on it. */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno != EEXIST)
		return err_set(err, errno == ENOMEM ? -ENOMEM : -EIO, "store '%s': %s", path,
			       strerror(errno));
	copy = strdup(path);
	if (!copy)
		return err_set(err, -ENOMEM, "store: no memory");
	*config = copy;
	return 0;
}

static void lite_close(void *config)
{
	free(config);
}

static void lite_disconnect(struct db_conn *c)
{
	struct lite_conn *l = lite(c);

	for (unsigned i = 0; i < l->ntexts; i++)
		sqlite3_finalize(l->texts[i].st);
	sqlite3_close(l->h);
	free(l);
}

/* Two processes that make one file meet here, and the busy timeout does not cover it. */
static int use_log(struct lite_conn *l)
{
	const struct timespec pause = { .tv_nsec = WAL_PAUSE_MS * 1000000L };
	int code = SQLITE_BUSY;

	for (int i = 0; i < WAL_TRIES && code == SQLITE_BUSY; i++) {
		if (i)
			nanosleep(&pause, NULL);
		code = sqlite3_exec(l->h, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
	}
	return code;
}

static int prepare_conn(struct lite_conn *l, bool writer)
{
	int code;

	sqlite3_busy_timeout(l->h, DB_LOCK_MS);
	sqlite3_extended_result_codes(l->h, 0);
	code = sqlite3_exec(l->h,
			    "PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;"
			    "PRAGMA secure_delete=ON;PRAGMA trusted_schema=OFF;",
			    NULL, NULL, NULL);
	if (!code)
		code = writer ? use_log(l) :
				sqlite3_exec(l->h, "PRAGMA query_only=ON", NULL, NULL, NULL);
	return code;
}

static int lite_connect(void *config, bool writer, struct db_conn **out, struct err *err)
{
	struct lite_conn *l = calloc(1, sizeof *l);
	int code, rc;

	if (!l)
		return err_set(err, -ENOMEM, "store: no memory");
	code = sqlite3_open_v2(config, &l->h, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (!code)
		code = prepare_conn(l, writer);
	if (code) {
		rc = failure(l, code, err);
		lite_disconnect(&l->base);
		return rc;
	}
	*out = &l->base;
	return 0;
}

/* --- statements ------------------------------------------------------------------ */

static int text_of(struct lite_conn *l, const char *sql, sqlite3_stmt **out, struct err *err)
{
	const char *lock = strstr(sql, " FOR UPDATE");
	struct lite_text *t;
	int code;

	for (unsigned i = 0; i < l->ntexts; i++) {
		if (l->texts[i].sql == sql) {
			*out = l->texts[i].st;
			return 0;
		}
	}
	if (l->ntexts == DB_TEXTS_MAX)
		return err_set(err, -EIO, "store: too many kinds of statements");
	t = &l->texts[l->ntexts];
	code = sqlite3_prepare_v3(l->h, sql, lock ? (int)(lock - sql) : -1,
				  SQLITE_PREPARE_PERSISTENT, &t->st, NULL);
	if (code)
		return failure(l, code, err);
	t->sql = sql;
	l->ntexts++;
	*out = t->st;
	return 0;
}

static int bind_args(struct lite_conn *l, sqlite3_stmt *st, const char *const *args, unsigned nargs,
		     struct err *err)
{
	for (unsigned i = 0; i < nargs; i++) {
		char name[16];
		int at, code;

		snprintf(name, sizeof name, "$%u", i + 1);
		at = sqlite3_bind_parameter_index(st, name);
		code = sqlite3_bind_text(st, at, args[i], -1, SQLITE_STATIC);
		if (code)
			return failure(l, code, err);
	}
	return 0;
}

static int add_row(struct db_rows *rows, sqlite3_stmt *st, unsigned *cap)
{
	unsigned cols = (unsigned)sqlite3_column_count(st);

	if (rows->n == *cap) {
		unsigned wider = *cap ? *cap * 2 : 4;
		char **cell = realloc(rows->cell, (size_t)wider * cols * sizeof *cell);

		if (!cell)
			return -ENOMEM;
		rows->cell = cell;
		*cap = wider;
	}
	rows->cols = cols;
	memset(&rows->cell[(size_t)rows->n * cols], 0, cols * sizeof *rows->cell);
	rows->n++;
	for (unsigned i = 0; i < cols; i++)
		if (db_rows_set(rows, rows->n - 1, i,
				(const char *)sqlite3_column_text(st, (int)i)))
			return -ENOMEM;
	return 0;
}

static int step_all(struct lite_conn *l, sqlite3_stmt *st, struct db_rows *rows, struct err *err)
{
	unsigned cap = 0;
	int code;

	while ((code = sqlite3_step(st)) == SQLITE_ROW)
		if (rows && add_row(rows, st, &cap))
			return err_set(err, -ENOMEM, "store: no memory");
	return code == SQLITE_DONE ? 0 : failure(l, code, err);
}

static int lite_query(struct db_conn *c, const char *sql, const char *const *args, unsigned nargs,
		      struct db_rows *rows, uint64_t *changed, struct err *err)
{
	struct lite_conn *l = lite(c);
	sqlite3_stmt *st = NULL;
	int rc = text_of(l, sql, &st, err);

	if (rc)
		return rc;
	rc = bind_args(l, st, args, nargs, err);
	if (!rc)
		rc = step_all(l, st, rows, err);
	if (!rc && changed)
		*changed = (uint64_t)sqlite3_changes64(l->h);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st); /* they point to texts of the caller */
	if (rc && rows)
		db_rows_done(rows);
	return rc;
}

static int lite_script(struct db_conn *c, const char *sql, struct err *err)
{
	struct lite_conn *l = lite(c);
	int code = sqlite3_exec(l->h, sql, NULL, NULL, NULL);

	return code ? failure(l, code, err) : 0;
}

/* --- transactions ---------------------------------------------------------------- */

static int lite_begin(struct db_conn *c, struct err *err)
{
	return lite_query(c, "BEGIN IMMEDIATE", NULL, 0, NULL, NULL, err);
}

static int lite_commit(struct db_conn *c, char *mark, size_t cap, struct err *err)
{
	(void)mark;
	(void)cap;
	return lite_query(c, "COMMIT", NULL, 0, NULL, NULL, err);
}

static void lite_rollback(struct db_conn *c)
{
	/* Some failures have ended the transaction already. */
	if (!sqlite3_get_autocommit(lite(c)->h) &&
	    lite_query(c, "ROLLBACK", NULL, 0, NULL, NULL, NULL))
		c->broken = true;
}

static int lite_was_committed(struct db_conn *c, const char *mark, struct err *err)
{
	(void)c;
	(void)mark;
	return err_set(err, -EIO, "store: a file does not go away");
}

static int lite_lock_schema(struct db_conn *c, struct err *err)
{
	/* BEGIN IMMEDIATE has done it. */
	(void)c;
	(void)err;
	return 0;
}

static int lite_now(struct db_conn *c, uint64_t *ms, struct err *err)
{
	struct timespec ts;

	/* All who share a file with locks share a machine. */
	(void)c;
	(void)err;
	clock_gettime(CLOCK_REALTIME, &ts);
	*ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	return 0;
}

const struct db_driver db_sqlite = {
	.scheme = "sqlite",
	.one_writer = true,
	.open = lite_open,
	.close = lite_close,
	.connect = lite_connect,
	.disconnect = lite_disconnect,
	.begin = lite_begin,
	.commit = lite_commit,
	.rollback = lite_rollback,
	.was_committed = lite_was_committed,
	.query = lite_query,
	.script = lite_script,
	.lock_schema = lite_lock_schema,
	.now = lite_now,
};
