/* SPDX-License-Identifier: Apache-2.0 */
/* db_pg.c - PostgreSQL by libpq
 *
 * Connections do not block: whatever the server does, or ceases to do, an answer is waited for
 * by poll() and for so long only. Statements are prepared at their first use on a connection.
 *
 * The limits are told to the server too, so that it gives up before we do and the connection lives on; one that
 * idles within a transaction (a stopped broker) is ended by it, and its row locks with it.
 *
 * Was a commit made whose answer is lost? Each connection has a row in persifs_writers, and a transaction that
 * has written sets the number of that row as its last step. Who asks writes the same row, and so waits until
 * the old transaction is over, one way or the other; then the number tells. (The server's own txid_status() does
 * not: after a crash it gives out numbers of transactions that were lost again.) */
#include "tools/broker/db_impl.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define CONNECT_S "3" /* to one address, as text for libpq */
#define GRACE_MS 2000 /* beyond DB_ANSWER_MS, for the way */
#define SCHEMA_LOCK "7305800612"
#define ID_BYTES 16 /* of a connection */
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

struct pg_config {
	char *uri;      /* owned */
	char *password; /* owned; NULL: none in the URI */
};

struct pg_conn {
	struct db_conn base;
	PGconn *h;                       /* owned */
	const char *texts[DB_TEXTS_MAX]; /* prepared as "s0", "s1", ...; borrowed */
	unsigned ntexts;
	char id[ID_BYTES * 2 + 1]; /* in persifs_writers */
	uint64_t writes;           /* transactions that were told there */
	bool wrote;                /* the transaction that runs */
};

static struct pg_conn *pg(struct db_conn *c)
{
	return CONTAINER_OF(c, struct pg_conn, base);
}

/* --- errors ------------------------------------------------------------------------ */

/* The first line of a message of libpq, without the password. */
static int fail(const struct pg_config *config, int code, const char *what, const char *text,
		struct err *err)
{
	int len = (int)strcspn(text, "\n");

	if (config && config->password && *config->password && strstr(text, config->password))
		return err_set(err, code, "store: %s", what);
	return err_set(err, code, "store: %s: %.*s", what, len, text);
}

static int lost(struct pg_conn *p, const char *text, struct err *err)
{
	p->base.broken = true;
	return fail(NULL, -ECONNRESET, "the database server is away", text, err);
}

static bool state_in(const char *state, const char *const *list)
{
	for (; *list; list++)
		if (!strncmp(state, *list, strlen(*list)))
			return true;
	return false;
}

static int failure(struct pg_conn *p, const PGresult *r, struct err *err)
{
	/* Serialization, deadlock; a row that another has made meanwhile. */
	static const char *const again[] = { "40001", "40P01", "23505", NULL };
	/* Lock and statement limits. */
	static const char *const late[] = { "55P03", "57014", NULL };
	/* Shutdown, crash, start, too many, idle limit; a server that is not the first any more. */
	static const char *const away[] = { "57P", "08", "53300", "25P03", "25006", NULL };
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	/* The primary message alone: details hold values of rows. */
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

	if (!text || !*text)
		text = "no reason given";
	if (PQstatus(p->h) == CONNECTION_BAD || !state || state_in(state, away))
		return lost(p, text, err);
	if (state_in(state, again))
		return fail(NULL, -EDEADLK, "another change at the same time", text, err);
	if (state_in(state, late))
		return fail(NULL, -EAGAIN, "not in time", text, err);
	return fail(NULL, -EIO, "database", text, err);
}

/* --- configuration, connections ------------------------------------------------------ */

static void pg_close(void *config)
{
	struct pg_config *c = config;

	free(c->uri);
	free(c->password);
	free(c);
}

static int pg_open(const char *uri, void **config, struct err *err)
{
	struct pg_config *c = calloc(1, sizeof *c);
	PQconninfoOption *all = PQconninfoParse(uri, NULL); /* its message quotes the URI */
	bool ok = c && all;

	if (c && !all) {
		pg_close(c);
		return err_set(err, -EINVAL,
			       "store: the URI \"postgresql://...\" is not one that libpq reads");
	}
	for (const PQconninfoOption *o = all; ok && o->keyword; o++)
		if (!strcmp(o->keyword, "password") && o->val)
			ok = (c->password = strdup(o->val)) != NULL;
	PQconninfoFree(all);
	if (ok)
		ok = (c->uri = strdup(uri)) != NULL;
	if (!ok) {
		if (c)
			pg_close(c);
		return err_set(err, -ENOMEM, "store: no memory");
	}
	*config = c;
	return 0;
}

static void pg_disconnect(struct db_conn *c)
{
	PQfinish(pg(c)->h);
	free(pg(c));
}

static void no_notice(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static bool wait_for(PGconn *h, short events, uint64_t deadline)
{
	struct pollfd fd = { .fd = PQsocket(h), .events = events };
	uint64_t now = clock_us() / 1000;
	int n;

	if (now >= deadline)
		return false;
	n = poll(&fd, 1, (int)(deadline - now));
	return n > 0 || (n < 0 && errno == EINTR);
}

/* Sends what is left to send, and reads until PQgetResult() does not block. */
static bool exchange(PGconn *h, uint64_t deadline)
{
	int left;

	while ((left = PQflush(h)) > 0) {
		if (!wait_for(h, POLLIN | POLLOUT, deadline))
			return false;
		PQconsumeInput(h);
	}
	while (left == 0 && PQisBusy(h)) {
		if (!wait_for(h, POLLIN, deadline))
			return false;
		/* What fails here is told by the result. */
		if (!PQconsumeInput(h))
			break;
	}
	return true;
}

/* The last result, or the first that is an error. */
static int answer(struct pg_conn *p, int sent, PGresult **out, struct err *err)
{
	uint64_t deadline = clock_us() / 1000 + DB_ANSWER_MS + GRACE_MS;
	PGresult *r, *kept = NULL;
	int rc = 0;

	if (!sent)
		return lost(p, PQerrorMessage(p->h), err);
	for (;;) {
		ExecStatusType status;

		if (!exchange(p->h, deadline)) {
			PQclear(kept);
			return lost(p, "no answer", err);
		}
		r = PQgetResult(p->h);
		if (!r)
			break;
		status = PQresultStatus(r);
		if (!rc && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			rc = failure(p, r, err);
		PQclear(kept);
		kept = r;
		/* A lost connection has no end of results. */
		if (p->base.broken)
			break;
	}
	if (!rc && !kept)
		rc = lost(p, PQerrorMessage(p->h), err);
	if (rc || !out)
		PQclear(kept);
	else
		*out = kept;
	return rc;
}

static int pg_script(struct db_conn *c, const char *sql, struct err *err)
{
	pg(c)->wrote = true; /* maybe */
	return answer(pg(c), PQsendQuery(pg(c)->h, sql), NULL, err);
}

static void make_id(char id[ID_BYTES * 2 + 1])
{
	unsigned char bytes[ID_BYTES];

	/* So few bytes come whole once the system is up. */
	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		abort();
	for (int i = 0; i < ID_BYTES; i++)
		snprintf(id + (size_t)i * 2, 3, "%02x", bytes[i]);
}

static int pg_connect(void *config, bool writer, struct db_conn **out, struct err *err)
{
	const struct pg_config *conf = config;
	/* What stands after the URI wins over it. */
	static const char *const names[] = {
		"connect_timeout", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
		"dbname",          "client_encoding", "application_name",    NULL,
	};
	const char *const values[] = {
		CONNECT_S,        "10", "5", STRINGIFY(DB_ANSWER_MS), conf->uri, "UTF8",
		"persifs-broker", NULL,
	};
	struct pg_conn *p = calloc(1, sizeof *p);
	int rc;

	(void)writer;
	if (!p)
		return err_set(err, -ENOMEM, "store: no memory");
	p->h = PQconnectdbParams(names, values, 1);
	if (PQstatus(p->h) != CONNECTION_OK || PQsetnonblocking(p->h, 1)) {
		rc = fail(conf, -ECONNRESET, "the database server cannot be reached",
			  PQerrorMessage(p->h), err);
		pg_disconnect(&p->base);
		return rc;
	}
	PQsetNoticeProcessor(p->h, no_notice, NULL);
	make_id(p->id);
	rc = pg_script(
		&p->base,
		"SET statement_timeout = " STRINGIFY(DB_ANSWER_MS) ";SET lock_timeout = " STRINGIFY(
			DB_LOCK_MS) ";"
				    "SET idle_in_transaction_session_timeout = 15000;"
				    "SET default_transaction_isolation = 'read committed';"
				    "SELECT set_config('synchronous_commit', 'on', false)"
				    " WHERE current_setting('synchronous_commit') = 'off'",
		err);
	if (rc) {
		pg_disconnect(&p->base);
		return rc;
	}
	*out = &p->base;
	return 0;
}

/* --- statements ------------------------------------------------------------------ */

static int prepare(struct pg_conn *p, const char *sql, char name[16], struct err *err)
{
	unsigned i = 0;
	int rc;

	while (i < p->ntexts && p->texts[i] != sql)
		i++;
	snprintf(name, 16, "s%u", i);
	if (i < p->ntexts)
		return 0;
	if (i == DB_TEXTS_MAX)
		return err_set(err, -EIO, "store: too many kinds of statements");
	rc = answer(p, PQsendPrepare(p->h, name, sql, 0, NULL), NULL, err);
	if (!rc)
		p->texts[p->ntexts++] = sql;
	return rc;
}

static int copy_rows(const PGresult *r, struct db_rows *rows)
{
	if (db_rows_make(rows, (unsigned)PQntuples(r), (unsigned)PQnfields(r)))
		return -ENOMEM;
	for (unsigned i = 0; i < rows->n; i++)
		for (unsigned k = 0; k < rows->cols; k++)
			if (db_rows_set(rows, i, k, PQgetvalue(r, (int)i, (int)k)))
				return -ENOMEM;
	return 0;
}

static int pg_query(struct db_conn *c, const char *sql, const char *const *args, unsigned nargs,
		    struct db_rows *rows, uint64_t *changed, struct err *err)
{
	struct pg_conn *p = pg(c);
	PGresult *r = NULL;
	char name[16];
	int rc = prepare(p, sql, name, err);

	if (rc)
		return rc;
	rc = answer(p, PQsendQueryPrepared(p->h, name, (int)nargs, args, NULL, NULL, 0), &r, err);
	if (rc)
		return rc;
	if (PQresultStatus(r) == PGRES_COMMAND_OK && strtoull(PQcmdTuples(r), NULL, 10))
		p->wrote = true;
	if (changed)
		*changed = strtoull(PQcmdTuples(r), NULL, 10);
	if (rows && copy_rows(r, rows)) {
		db_rows_done(rows);
		rc = err_set(err, -ENOMEM, "store: no memory");
	}
	PQclear(r);
	return rc;
}

/* One cell of one row. */
static int ask(struct db_conn *c, const char *sql, const char *arg, char *buf, size_t cap,
	       struct err *err)
{
	struct db_rows rows = { 0 };
	int rc = pg_query(c, sql, &arg, arg ? 1 : 0, &rows, NULL, err);

	if (rc)
		return rc;
	snprintf(buf, cap, "%s", rows.n ? db_cell(&rows, 0, 0) : "");
	db_rows_done(&rows);
	return 0;
}

/* --- transactions ---------------------------------------------------------------- */

static int pg_begin(struct db_conn *c, struct err *err)
{
	pg(c)->wrote = false;
	return pg_query(c, "BEGIN", NULL, 0, NULL, NULL, err);
}

/* The last step of a transaction that has written; *mark is what was_committed() takes. */
static int tell_write(struct pg_conn *p, char *mark, size_t cap, struct err *err)
{
	char number[24];
	const char *const args[] = { p->id, number };

	snprintf(number, sizeof number, "%" PRIu64, p->writes + 1);
	snprintf(mark, cap, "%s %s", p->id, number);
	return pg_query(&p->base,
			"INSERT INTO persifs_writers (id, writes, at) VALUES ($1, $2, now())"
			" ON CONFLICT (id) DO UPDATE SET writes = EXCLUDED.writes, at = now()",
			args, 2, NULL, NULL, err);
}

static int pg_commit(struct db_conn *c, char *mark, size_t cap, struct err *err)
{
	struct pg_conn *p = pg(c);
	PGresult *r = NULL;
	char told[DB_MARK_MAX] = "";
	int rc = p->wrote ? tell_write(p, told, sizeof told, err) : 0;

	if (rc)
		return rc;
	rc = answer(p, PQsendQuery(p->h, "COMMIT"), &r, err);
	if (rc) {
		snprintf(mark, cap, "%s", told);
		return rc;
	}
	p->writes++;
	/* A transaction that has failed is told to commit, and is undone without an error. */
	if (strcmp(PQcmdStatus(r), "COMMIT"))
		rc = err_set(err, -EIO, "store: the database has undone a change");
	PQclear(r);
	return rc;
}

static void pg_rollback(struct db_conn *c)
{
	if (pg_script(c, "ROLLBACK", NULL))
		c->broken = true;
}

static int pg_was_committed(struct db_conn *c, const char *mark, struct err *err)
{
	char id[ID_BYTES * 2 + 1], writes[24];
	int rc;

	snprintf(id, sizeof id, "%s", mark);
	/* A row that is being made is waited for as one that is being changed is. */
	rc = ask(c,
		 "INSERT INTO persifs_writers (id, writes, at) VALUES ($1, 0, now())"
		 " ON CONFLICT (id) DO UPDATE SET at = now() RETURNING writes",
		 id, writes, sizeof writes, err);
	return rc ? rc : !strcmp(writes, mark + strlen(id) + 1);
}

static int pg_lock_schema(struct db_conn *c, struct err *err)
{
	/* Rows of connections that are gone since long go too. */
	return pg_script(c,
			 "SELECT pg_advisory_xact_lock(" SCHEMA_LOCK ");"
			 "CREATE TABLE IF NOT EXISTS persifs_writers (id TEXT PRIMARY KEY,"
			 " writes BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL);"
			 "DELETE FROM persifs_writers WHERE at < now() - interval '1 day'",
			 err);
}

static int pg_now(struct db_conn *c, uint64_t *ms, struct err *err)
{
	char text[32];
	int rc = ask(c, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", NULL, text,
		     sizeof text, err);

	if (!rc)
		*ms = strtoull(text, NULL, 10);
	return rc;
}

const struct db_driver db_postgres = {
	.scheme = "postgresql",
	.remote = true,
	.open = pg_open,
	.close = pg_close,
	.connect = pg_connect,
	.disconnect = pg_disconnect,
	.begin = pg_begin,
	.commit = pg_commit,
	.rollback = pg_rollback,
	.was_committed = pg_was_committed,
	.query = pg_query,
	.script = pg_script,
	.lock_schema = pg_lock_schema,
	.now = pg_now,
};
