/* SPDX-License-Identifier: Apache-2.0 */
/* db.c - the pool of connections, and who answers for a commit that nobody has heard of
 *
 * A connection is taken for a transaction and put back after it. When one turns out to be lost, the generation
 * moves on, and those that are idle from before are closed instead of used: after a
 * restart of the server each of them would cost a try.
 *
 * A commit whose answer got lost may have happened. The driver leaves a mark of it, and a new connection
 * asks the server what became of that, so that a transaction is never done twice, nor
 * reported as lost when it is not. */
#include "tools/broker/db_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lock.h"

#define VERDICT_MS 5000 /* to learn what became of a commit */
#define VERDICT_PAUSE_MS 100

struct db {
	const struct db_driver *driver;
	void *config; /* owned, the driver's */
	struct mutex lock;
	struct cond returned; /* a connection */
	/* guarded by lock */
	struct db_conn *idle, *idle_writer;
	unsigned nconns; /* idle or used, without the writer */
	bool writer_used;
	uint64_t generation;
};

struct db_tx {
	struct db *db;
	struct db_conn *conn;
	enum db_mode mode;
};

static const struct db_driver *const drivers[] = { &db_sqlite, &db_postgres };

int db_open(const char *uri, struct db **out, struct err *err)
{
	AUTO_FREE struct db *db = calloc(1, sizeof *db);
	int rc;

	if (!db)
		return err_set(err, -ENOMEM, "store: no memory");
	for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
		size_t len = strlen(drivers[i]->scheme);

		if (!strncmp(uri, drivers[i]->scheme, len) && uri[len] == ':')
			db->driver = drivers[i];
	}
	if (!db->driver)
		return err_set(err, -EINVAL,
			       "store: \"sqlite:/path\" or \"postgresql://...\" is wanted");
	rc = db->driver->open(uri, &db->config, err);
	if (rc)
		return rc;
	mutex_init(&db->lock, LOCK_store_db);
	cond_init(&db->returned);
	*out = take_ptr(&db);
	return 0;
}

void db_close(struct db *db)
{
	struct db_conn *next;

	if (!db)
		return;
	assert(!db->writer_used);
	for (struct db_conn *c = db->idle; c; c = next) {
		next = c->next;
		db->driver->disconnect(c);
		db->nconns--;
	}
	assert(!db->nconns);
	/* The writer goes last: it is the one that may fold the log into the file. */
	if (db->idle_writer)
		db->driver->disconnect(db->idle_writer);
	db->driver->close(db->config);
	mutex_done(&db->lock);
	cond_done(&db->returned);
	free(db);
}

bool db_is_postgres(const struct db *db)
{
	return db->driver == &db_postgres;
}

/* --- the pool ------------------------------------------------------------------ */

/* An idle one, or NULL with a place for a new one that is the caller's; false: neither. */
static bool take_locked(struct db *db, bool writer, struct db_conn **out)
{
	mutex_assert_held(&db->lock);
	if (writer) {
		if (db->writer_used)
			return false;
		db->writer_used = true;
		*out = take_ptr(&db->idle_writer);
		return true;
	}
	*out = db->idle;
	if (*out)
		db->idle = (*out)->next;
	else if (db->nconns == DB_CONNS_MAX)
		return false;
	else
		db->nconns++;
	return true;
}

static void give_place(struct db *db, bool writer)
{
	mutex_lock(&db->lock);
	if (writer)
		db->writer_used = false;
	else
		db->nconns--;
	/* Writers and readers wait for the same signal. */
	cond_broadcast(&db->returned);
	mutex_unlock(&db->lock);
}

static int acquire(struct db *db, bool writer, struct db_conn **out, struct err *err)
{
	/* Not clock_ms(): a test that moves the time must not make waits longer. */
	uint64_t deadline = clock_us() / 1000 + DB_WAIT_MS, generation;
	bool got;
	int rc;

	mutex_lock(&db->lock);
	while (!(got = take_locked(db, writer, out)))
		if (!cond_wait_until(&db->returned, &db->lock, deadline))
			break;
	generation = db->generation;
	mutex_unlock(&db->lock);
	if (!got)
		return err_set(err, -EAGAIN, "store: busy: no connection was free for %d s",
			       DB_WAIT_MS / 1000);
	if (*out && (*out)->generation == generation)
		return 0;
	if (*out)
		db->driver->disconnect(*out);
	rc = db->driver->connect(db->config, writer, out, err);
	if (rc) {
		give_place(db, writer);
		return rc;
	}
	(*out)->driver = db->driver;
	(*out)->writer = writer;
	(*out)->generation = generation;
	return 0;
}

static void put_back(struct db *db, struct db_conn *c)
{
	bool writer = c->writer;

	if (c->broken) {
		if (db->driver->remote) {
			mutex_lock(&db->lock);
			if (c->generation == db->generation)
				db->generation++;
			mutex_unlock(&db->lock);
		}
		db->driver->disconnect(c);
		give_place(db, writer);
		return;
	}
	mutex_lock(&db->lock);
	if (writer) {
		db->idle_writer = c;
		db->writer_used = false;
	} else {
		c->next = db->idle;
		db->idle = c;
	}
	cond_broadcast(&db->returned);
	mutex_unlock(&db->lock);
}

/* --- transactions ---------------------------------------------------------------- */

int db_begin(struct db *db, enum db_mode mode, struct db_tx **out, struct err *err)
{
	AUTO_FREE struct db_tx *tx = calloc(1, sizeof *tx);
	int rc;

	if (!tx)
		return err_set(err, -ENOMEM, "store: no memory");
	tx->db = db;
	tx->mode = mode;
	rc = acquire(db, mode == DB_WRITE && db->driver->one_writer, &tx->conn, err);
	if (rc)
		return rc;
	if (mode == DB_WRITE)
		rc = db->driver->begin(tx->conn, err);
	if (rc) {
		put_back(db, tx->conn);
		return rc;
	}
	*out = take_ptr(&tx);
	return 0;
}

void db_rollback(struct db_tx *tx)
{
	if (!tx)
		return;
	if (tx->mode == DB_WRITE && !tx->conn->broken)
		tx->db->driver->rollback(tx->conn);
	put_back(tx->db, tx->conn);
	free(tx);
}

/* 1: it was committed; 0: it was not; -EAGAIN: nobody could tell. */
static int verdict(struct db *db, const char *mark, struct err *err)
{
	const struct timespec pause = { .tv_nsec = VERDICT_PAUSE_MS * 1000000L };
	uint64_t end = clock_us() / 1000 + VERDICT_MS;
	int rc = -EAGAIN;

	while (rc < 0 && clock_us() / 1000 < end) {
		struct db_conn *c;

		nanosleep(&pause, NULL);
		rc = acquire(db, false, &c, err);
		if (rc)
			continue;
		rc = db->driver->was_committed(c, mark, err);
		put_back(db, c);
	}
	return rc < 0 ? err_set(err, -EAGAIN,
				"store: the server went away while a change was written: "
				"it may be done or not") :
			rc;
}

int db_commit(struct db_tx *tx, struct err *err)
{
	AUTO_FREE struct db_tx *owned = tx;
	char mark[DB_MARK_MAX] = "";
	int rc = 0;

	if (tx->mode == DB_WRITE)
		rc = tx->db->driver->commit(tx->conn, mark, sizeof mark, err);
	if (rc && !tx->conn->broken)
		tx->db->driver->rollback(tx->conn);
	put_back(tx->db, tx->conn);
	if (rc != -ECONNRESET || !*mark)
		return rc;
	rc = verdict(owned->db, mark, err);
	if (rc < 0)
		return rc;
	return rc ? 0 : err_set(err, -ECONNRESET, "store: the server went away before a commit");
}

int db_query(struct db_tx *tx, const char *sql, const char *const *args, unsigned nargs,
	     struct db_rows *rows, uint64_t *changed, struct err *err)
{
	assert(nargs <= DB_ARGS_MAX);
	if (rows)
		memset(rows, 0, sizeof *rows);
	return tx->db->driver->query(tx->conn, sql, args, nargs, rows, changed, err);
}

int db_script(struct db_tx *tx, const char *sql, struct err *err)
{
	return tx->db->driver->script(tx->conn, sql, err);
}

int db_lock_schema(struct db_tx *tx, struct err *err)
{
	return tx->db->driver->lock_schema(tx->conn, err);
}

int db_now(struct db_tx *tx, uint64_t *ms, struct err *err)
{
	int rc = tx->db->driver->now(tx->conn, ms, err);

	if (!rc)
		*ms += atomic_load_explicit(&clock_skew_ms, memory_order_relaxed);
	return rc;
}

/* --- rows ------------------------------------------------------------------------- */

int db_rows_make(struct db_rows *rows, unsigned n, unsigned cols)
{
	rows->cell = calloc((size_t)n * cols + 1, sizeof *rows->cell);
	if (!rows->cell)
		return -ENOMEM;
	rows->n = n;
	rows->cols = cols;
	return 0;
}

int db_rows_set(struct db_rows *rows, unsigned row, unsigned col, const char *text)
{
	char **cell = &rows->cell[(size_t)row * rows->cols + col];

	*cell = strdup(text ? text : "");
	return *cell ? 0 : -ENOMEM;
}

const char *db_cell(const struct db_rows *rows, unsigned row, unsigned col)
{
	assert(row < rows->n && col < rows->cols);
	return rows->cell[(size_t)row * rows->cols + col];
}

void db_rows_done(struct db_rows *rows)
{
	for (size_t i = 0; i < (size_t)rows->n * rows->cols; i++)
		free(rows->cell[i]);
	free(rows->cell);
	memset(rows, 0, sizeof *rows);
}
