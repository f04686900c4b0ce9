/* SPDX-License-Identifier: Apache-2.0 */
/* The store when processes and servers die, when keys change, and when it is large.
 *
 * A victim is a child process with a store of its own that ends by SIGKILL at its Nth statement. SQLite tells
 * of each statement by its trace; for PostgreSQL the functions of libpq that send one are defined
 * here, and count before they send and after. */
#include "tests/unit/tools/broker_store.h"

#include <dlfcn.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define STEPS_MAX 500 /* statements of a victim */

/* --- victims ------------------------------------------------------------------------- */

static _Atomic long steps_left = -1; /* < 0: nobody is to die */

static void step(void)
{
	if (steps_left > 0 && !--steps_left)
		raise(SIGKILL);
}

static int on_statement(unsigned type, void *arg, void *p, void *x)
{
	(void)type;
	(void)arg;
	(void)p;
	(void)x;
	step();
	return 0;
}

static int trace_connection(sqlite3 *h, char **text, const void *api)
{
	(void)text;
	(void)api;
	return sqlite3_trace_v2(h, SQLITE_TRACE_STMT, on_statement, NULL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The next commit's connection breaks, before the server gets to know of it or after. */
static enum { CUT_NEVER, CUT_BEFORE, CUT_AFTER } cut;

/* What is read from now on is the end, even if an answer is there already. */
static void cut_connection(const PGconn *h)
{
	int pair[2];

	cut = CUT_NEVER;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
	    dup2(pair[0], PQsocket(h)) < 0)
		abort();
	close(pair[0]);
	close(pair[1]);
}

int PQsendQuery(PGconn *h, const char *query)
{
	bool commit = !strcmp(query, "COMMIT");
	int rc;

	step();
	if (commit && cut == CUT_BEFORE)
		cut_connection(h);
	rc = REAL(PQsendQuery)(h, query);
	if (commit && cut == CUT_AFTER)
		cut_connection(h);
	step();
	return rc;
}

int PQsendQueryPrepared(PGconn *h, const char *name, int n, const char *const *values,
			const int *lengths, const int *formats, int format)
{
	int rc;

	step();
	rc = REAL(PQsendQueryPrepared)(h, name, n, values, lengths, formats, format);
	step();
	return rc;
}

typedef void victim(void);

/* Runs it in a child that dies at its statement number n; false: it got to its end before. */
static bool killed_at(long n, victim *main_of)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		sqlite3_auto_extension((void (*)(void))trace_connection);
		/* Our own, as the parent's connections must not be touched. */
		fx.s = NULL;
		steps_left = n;
		main_of();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	return false;
}

/* --- whole states -------------------------------------------------------------------- */

static void must(bool ok)
{
	if (!ok)
		_exit(3);
}

static int begin_deletion(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	i->state = INSTANCE_DELETING;
	i->size = 2;
	i->op.kind = OP_DELETE;
	i->op.state = OP_IN_PROGRESS;
	strcpy(i->op.id, "op-delete");
	return 0;
}

/* The life of an instance, from a store that does not exist to a tombstone that is buried. */
static void life(void)
{
	static enum instance_state deleted = INSTANCE_DELETED;
	struct instance i;
	uint64_t wait;
	unsigned n;

	must(!store_open(fx.uri, fx.seal, &fx.s, &err));
	must(!try_change("i", make_ready, NULL));
	must(!try_bind("i", "b", bind_app, "app"));
	must(!try_change("i", begin_deletion, NULL));
	must(!store_claim(fx.s, "w", 60000, &i, &wait, &err));
	instance_done(&i);
	must(!store_op_finish(fx.s, "w", "i", "op-delete", set_state, &deleted, &err));
	must(!store_bury(fx.s, UINT64_MAX, &n, &err) && n == 1);
}

/* How far the life has come, by what is there; a mixture of two states is none. */
static int progress(void)
{
	struct instance i;
	struct binding b;
	bool bound;
	int rc = store_get(fx.s, "i", &i, &err), at;

	if (rc) {
		assert_int_equal(rc, -ENOENT);
		assert_int_equal(store_binding(fx.s, "i", "b", &b, &err), -ENOENT);
		return 0;
	}
	rc = store_binding(fx.s, "i", "b", &b, &err);
	assert_true(!rc || rc == -ENOENT);
	bound = !rc && !b.deleted;
	assert_string_equal(json_string_value(json_object_get(i.params, "password")), SECRET);
	switch (i.state) {
	case INSTANCE_READY:
		assert_int_equal(i.size, 1);
		assert_true(bound || rc == -ENOENT);
		at = bound ? 2 : 1;
		break;
	case INSTANCE_DELETING:
		assert_int_equal(i.size, 2);
		assert_string_equal(i.op.id, "op-delete");
		assert_true(!rc && !bound);
		at = 3;
		break;
	default:
		assert_int_equal(i.state, INSTANCE_DELETED);
		assert_true(!rc && !bound);
		at = 4;
	}
	if (!rc)
		binding_done(&b);
	instance_done(&i);
	return at;
}

static void killed_writer_leaves_a_whole_state(void **state)
{
	int at, furthest = 0;
	unsigned seen = 0;
	long n = 1;

	NEEDS_DATABASE(state);
	for (bool killed = true; killed; n++) {
		assert_true(n < STEPS_MAX);
		store_close(fx.s);
		fx.s = NULL;
		assert_int_equal(fixture_empty(), 0);
		killed = killed_at(n, life);
		/* Opening is all that a recovery takes. */
		fixture_open();
		at = progress();
		/* The same life with one statement more never got less far, until it was buried. */
		assert_true(at >= furthest || (at == 0 && furthest == 4));
		furthest = at > furthest ? at : furthest;
		seen |= 1u << at;
	}
	assert_int_equal(at, 0);
	assert_int_equal(seen, 0x1f);
	print_message("killed at each of %ld statements\n", n - 2);
}

/* --- keys ---------------------------------------------------------------------------- */

#define RESEALED 230 /* more than two pages */

/* A new key before those that are there. */
static void rotate(void)
{
	char text[4096], fresh[128];
	size_t len;
	FILE *f;

	snprintf(fresh, sizeof fresh, "%s/fresh", fx.dir);
	assert_int_equal(seal_make_key(fresh, &err), 0);
	f = fopen(fresh, "re");
	assert_non_null(f);
	len = fread(text, 1, sizeof text / 2, f);
	fclose(f);
	unlink(fresh);
	f = fopen(fx.key, "re");
	assert_non_null(f);
	len += fread(text + len, 1, sizeof text - len, f);
	fclose(f);
	f = fopen(fx.key, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	store_close(fx.s);
	seal_close(fx.seal);
	fx.s = NULL;
	assert_int_equal(seal_open(fx.key, &fx.seal, &err), 0);
	fixture_open();
}

/* Only the first key stays. */
static void forget_old_keys(void)
{
	char line[128];
	FILE *f = fopen(fx.key, "re");

	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	fclose(f);
	f = fopen(fx.key, "we");
	assert_non_null(f);
	fputs(line, f);
	fclose(f);
	store_close(fx.s);
	seal_close(fx.seal);
	fx.s = NULL;
	assert_int_equal(seal_open(fx.key, &fx.seal, &err), 0);
	fixture_open();
}

static void reseal_all(void)
{
	uint64_t n;

	must(!store_open(fx.uri, fx.seal, &fx.s, &err));
	must(!store_reseal(fx.s, &n, &err));
}

static void make_many(int n)
{
	for (int i = 0; i < n; i++) {
		char id[16];

		snprintf(id, sizeof id, "i%03d", i);
		must_change(id, make_ready, NULL);
		must_bind(id, "b", "app");
	}
}

static void expect_many(int n)
{
	for (int i = 0; i < n; i++) {
		struct instance in;
		struct binding b;
		char id[16];

		snprintf(id, sizeof id, "i%03d", i);
		assert_int_equal(store_get(fx.s, id, &in, &err), 0);
		assert_string_equal(json_string_value(json_object_get(in.params, "password")),
				    SECRET);
		instance_done(&in);
		assert_int_equal(store_binding(fx.s, id, "b", &b, &err), 0);
		assert_string_equal(json_string_value(json_object_get(b.answer, "mount")), SECRET);
		binding_done(&b);
	}
}

static void rotation_survives_a_kill_in_its_middle(void **state)
{
	uint64_t n;

	NEEDS_DATABASE(state);
	make_many(RESEALED);
	rotate();
	expect_many(RESEALED);
	/* In the second page of the instances. */
	assert_true(killed_at(300 * (fx.kind == POSTGRES ? 2 : 1), reseal_all));
	expect_many(RESEALED);
	assert_int_equal(store_reseal(fx.s, &n, &err), 0);
	/* What was on disk before the kill was not done again. */
	assert_in_range(n, RESEALED, RESEALED * 2 - 1);
	assert_int_equal(store_reseal(fx.s, &n, &err), 0);
	assert_int_equal(n, 0);
	forget_old_keys();
	expect_many(RESEALED);
}

static void row_of_a_lost_key_does_not_stop_the_rotation(void **state)
{
	struct instance i;
	uint64_t n;

	NEEDS_DATABASE(state);
	make_many(3);
	run_sql("UPDATE instances SET context = 'v1:0000000000000000:AAAA' WHERE id = 'i001'");
	rotate();
	assert_int_equal(store_reseal(fx.s, &n, &err), -EPROTO);
	assert_non_null(strstr(err.text, "'i001'"));
	assert_int_equal(n, 5);
	forget_old_keys();
	assert_int_equal(store_get(fx.s, "i000", &i, &err), 0);
	instance_done(&i);
	assert_int_equal(store_get(fx.s, "i001", &i, &err), -EPROTO);
}

static void expect_no_secret_in(const char *path)
{
	AUTO_FREE char *text = NULL;
	struct stat st;
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	assert_int_equal(fstat(fileno(f), &st), 0);
	text = malloc((size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
	fclose(f);
	assert_null(memmem(text, (size_t)st.st_size, SECRET, strlen(SECRET)));
}

static void expect_no_secret_in_rows(const char *sql)
{
	struct db *db;
	struct db_tx *tx;
	struct db_rows rows;

	assert_int_equal(db_open(fx.uri, &db, &err), 0);
	assert_int_equal(db_begin(db, DB_READ, &tx, &err), 0);
	assert_int_equal(db_query(tx, sql, NULL, 0, &rows, NULL, &err), 0);
	assert_int_equal(rows.n, 1);
	for (unsigned k = 0; k < rows.cols; k++)
		assert_null(strstr(db_cell(&rows, 0, k), SECRET));
	db_rows_done(&rows);
	db_rollback(tx);
	db_close(db);
}

static int update_with_secret(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	i->new_params = json_pack("{s:s}", "password", SECRET);
	return 0;
}

static void no_secret_is_stored_in_clear(void **state)
{
	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	must_change("i", update_with_secret, NULL);
	must_bind("i", "b", "app");
	expect_no_secret_in_rows("SELECT * FROM instances");
	expect_no_secret_in_rows("SELECT * FROM bindings");
	if (fx.kind == LITE) {
		char wal[128];

		snprintf(wal, sizeof wal, "%s-wal", fx.db);
		expect_no_secret_in(wal);
		store_close(fx.s);
		fx.s = NULL;
		expect_no_secret_in(fx.db);
	}
}

/* --- a server that goes away ----------------------------------------------------------- */

static int add_one(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	i->size++;
	return 0;
}

static void server_that_is_away_is_told_and_comes_back(void **state)
{
	uint64_t begun;
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	fake_pg_kill(server);
	begun = clock_us();
	assert_int_equal(store_change(fx.s, "i", add_one, NULL, &err), -EAGAIN);
	assert_true(*err.text);
	assert_in_range(clock_us() - begun, 0, 20000000);
	assert_true(fake_pg_start(server));
	must_change("i", add_one, NULL);
	assert_int_equal(store_get(fx.s, "i", &i, &err), 0);
	assert_int_equal(i.size, 2);
	instance_done(&i);
}

static void commit_without_an_answer_is_made_once(void **state)
{
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	cut = CUT_BEFORE;
	must_change("i", add_one, NULL);
	assert_int_equal(cut, CUT_NEVER);
	cut = CUT_AFTER;
	must_change("i", add_one, NULL);
	assert_int_equal(cut, CUT_NEVER);
	assert_int_equal(store_get(fx.s, "i", &i, &err), 0);
	assert_int_equal(i.size, 3);
	assert_int_equal(i.version, 3);
	instance_done(&i);
}

struct writer {
	pthread_t thread;
	atomic_bool stop;
	unsigned done, failed;
};

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	while (!w->stop) {
		int rc = store_change(fx.s, "i", add_one, NULL, NULL);

		if (rc && rc != -EAGAIN)
			abort();
		if (rc)
			w->failed++;
		else
			w->done++;
	}
	return NULL;
}

/* Connections that break at any moment, in a commit too: each change is made once or not at all. */
static void lost_connections_neither_lose_nor_double_a_change(void **state)
{
	enum { WRITERS = 4, CUTS = 25 };
	struct writer writers[WRITERS] = { 0 };
	unsigned done = 0, failed = 0;
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	for (int k = 0; k < WRITERS; k++)
		assert_int_equal(pthread_create(&writers[k].thread, NULL, writer_main, &writers[k]),
				 0);
	for (int k = 0; k < CUTS; k++) {
		const struct timespec ts = { .tv_nsec = 20000000 };

		nanosleep(&ts, NULL);
		if (k == CUTS / 2) {
			fake_pg_kill(server);
			assert_true(fake_pg_start(server));
		}
		assert_true(fake_pg_disconnect_all(server));
	}
	for (int k = 0; k < WRITERS; k++)
		writers[k].stop = true;
	for (int k = 0; k < WRITERS; k++) {
		pthread_join(writers[k].thread, NULL);
		done += writers[k].done;
		failed += writers[k].failed;
	}
	assert_int_equal(store_get(fx.s, "i", &i, &err), 0);
	/* Those that failed may have been made: their sentence says so. */
	assert_in_range(i.size, 1 + done, 1 + done + failed);
	assert_true(done > 0);
	print_message("%u changes, %u given up, %d cuts\n", done, failed, CUTS);
	instance_done(&i);
}

/* --- a large store ----------------------------------------------------------------------- */

#define INSTANCES 10000
#define SAMPLES 300

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double median_ms(uint64_t *us)
{
	qsort(us, SAMPLES, sizeof *us, by_value);
	us += SAMPLES / 2;
	return (double)*us / 1000;
}

static void fill(void)
{
	run_sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
		" INSERT INTO instances SELECT 'i' || (100000 + i), 's', 'p', 'x', 'ready',"
		" '', '', '{}', 1, '', '', 0, 'create', 'succeeded', 'op', '', 1, 1, 0, 0, 1, 1,"
		" 1, 1 , '', 0 FROM n;"
		"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 29999)"
		" INSERT INTO bindings SELECT 'i' || (100001 + i / 3), 'b' || i, 'app' || i, 's',"
		" 'p', '', '', '', 1, 0, 1 FROM n");
}

static unsigned count_pages(void)
{
	static struct instance page[500];
	char after[STORE_ID_MAX] = "";
	unsigned n, all = 0;

	do {
		assert_int_equal(store_list(fx.s, after, 500, page, &n, &err), 0);
		for (unsigned i = 0; i < n; i++) {
			memcpy(after, page[i].id, sizeof after);
			instance_done(&page[i]);
		}
		all += n;
	} while (n == 500);
	return all;
}

static void figures_of_a_large_store(void **state)
{
	uint64_t bind_us[SAMPLES], get_us[SAMPLES], list_us;
	struct instance i;

	NEEDS_DATABASE(state);
	fill();
	for (unsigned k = 0; k < SAMPLES; k++) {
		unsigned row = 100001 + k * 7919 % INSTANCES;
		char id[16];

		snprintf(id, sizeof id, "i%u", row);
		must_change(id, update_with_secret, NULL);
		bind_us[k] = clock_us();
		must_bind(id, "new", "app");
		bind_us[k] = clock_us() - bind_us[k];
		get_us[k] = clock_us();
		assert_int_equal(store_get(fx.s, id, &i, &err), 0);
		get_us[k] = clock_us() - get_us[k];
		instance_done(&i);
	}
	list_us = clock_us();
	assert_int_equal(count_pages(), INSTANCES);
	list_us = clock_us() - list_us;
	print_message("10000 instances, 30000 bindings: store_bind %.3f ms, store_get %.3f ms "
		      "(median of %d), all pages %.0f ms\n",
		      median_ms(bind_us), median_ms(get_us), SAMPLES, (double)list_us / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(killed_writer_leaves_a_whole_state),
		BOTH(rotation_survives_a_kill_in_its_middle),
		BOTH(row_of_a_lost_key_does_not_stop_the_rotation),
		BOTH(no_secret_is_stored_in_clear),
		ONLY(POSTGRES, server_that_is_away_is_told_and_comes_back),
		ONLY(POSTGRES, commit_without_an_answer_is_made_once),
		ONLY(POSTGRES, lost_connections_neither_lose_nor_double_a_change),
		BOTH(figures_of_a_large_store),
	};

	return cmocka_run_group_tests(tests, server_new, server_free);
}
