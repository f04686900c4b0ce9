/* SPDX-License-Identifier: Apache-2.0 */
/* broker_store.h - what the suites of the store share: each test runs over both databases
 *
 * BOTH(name) are two rows of a group: one with a new SQLite file, one with an empty schema of a
 * PostgreSQL server that the group starts once. */
#ifndef TESTS_UNIT_TOOLS_BROKER_STORE_H
#define TESTS_UNIT_TOOLS_BROKER_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/fake/fake_pg.h"
#include "tools/broker/db.h"
#include "tools/broker/seal.h"
#include "tools/broker/store.h"

enum kind { LITE, POSTGRES };

struct fixture {
	enum kind kind;
	char dir[64], key[96], db[96], uri[256];
	struct seal *seal;
	struct store *s;
};

static const enum kind kinds[] = { LITE, POSTGRES };
static struct fake_pg *server;
static const char *server_missing;
static struct fixture fx;
static struct err err;

static void fixture_open(void)
{
	int rc = store_open(fx.uri, fx.seal, &fx.s, &err);

	if (rc)
		print_message("%s\n", err.text);
	assert_int_equal(rc, 0);
}

/* An empty database; the URI of the fixture names it. */
static int fixture_empty(void)
{
	if (fx.kind == POSTGRES)
		return fake_pg_fresh(server, fx.uri, sizeof fx.uri) ? 0 : -1;
	snprintf(fx.db, sizeof fx.db, "%s/db", fx.dir);
	snprintf(fx.uri, sizeof fx.uri, "sqlite:%s", fx.db);
	for (size_t i = 0; i < 3; i++) {
		static const char *const tails[] = { "", "-wal", "-shm" };
		char path[128];

		snprintf(path, sizeof path, "%s%s", fx.db, tails[i]);
		if (unlink(path) && errno != ENOENT)
			return -1;
	}
	return 0;
}

static int fixture_new(void **state)
{
	memset(&fx, 0, sizeof fx);
	fx.kind = *(const enum kind *)*state;
	clock_skew_ms = 0;
	strcpy(fx.dir, "/tmp/persifs-store.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.key, sizeof fx.key, "%s/key", fx.dir);
	if (seal_make_key(fx.key, &err) || seal_open(fx.key, &fx.seal, &err))
		return -1;
	if (fx.kind == POSTGRES && !server)
		return 0; /* the test skips itself */
	if (fixture_empty())
		return -1;
	fixture_open();
	return 0;
}

static int fixture_free(void **state)
{
	enum kind kind = fx.kind;

	(void)state;
	store_close(fx.s);
	seal_close(fx.seal);
	unlink(fx.key);
	fx.kind = LITE;
	if (kind == LITE)
		fixture_empty();
	return rmdir(fx.dir);
}

static int server_new(void **state)
{
	(void)state;
	server_missing = fake_pg_missing();
	if (server_missing)
		return 0;
	server = fake_pg_new();
	return server ? 0 : -1;
}

static int server_free(void **state)
{
	(void)state;
	fake_pg_free(server);
	return 0;
}

/* First line of each test. */
#define NEEDS_DATABASE(state)                                  \
	do {                                                   \
		(void)(state);                                 \
		if (fx.kind == POSTGRES && !server) {          \
			print_message("%s\n", server_missing); \
			skip();                                \
		}                                              \
	} while (0)

#define BOTH(test)                                                                               \
	{ #test " (sqlite)", test, fixture_new, fixture_free, (void *)(uintptr_t)&kinds[LITE] }, \
	{                                                                                        \
#test " (postgresql)", test, fixture_new, fixture_free,                          \
			(void *)(uintptr_t)&kinds[POSTGRES]                                      \
	}
#define ONLY(which, test)                                                                \
	{                                                                                \
#test, test, fixture_new, fixture_free, (void *)(uintptr_t)&kinds[which] \
	}

/* SQL beside the store, as somebody else may run it. */
static void run_sql(const char *sql)
{
	struct db *db;
	struct db_tx *tx;
	int rc;

	assert_int_equal(db_open(fx.uri, &db, &err), 0);
	assert_int_equal(db_begin(db, DB_WRITE, &tx, &err), 0);
	rc = db_script(tx, sql, &err);
	if (rc)
		print_message("%s\n", err.text);
	assert_int_equal(rc, 0);
	assert_int_equal(db_commit(tx, &err), 0);
	db_close(db);
}

/* --- rules ------------------------------------------------------------------------- */

/* Makes a ready instance with a secret in it. */
#define SECRET "hunter2-s3cret"

static int make_ready(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)bindings;
	if (exists)
		return -EEXIST;
	strcpy(i->service, "service");
	strcpy(i->plan, "plan");
	strcpy(i->provider, "p");
	i->state = INSTANCE_READY;
	i->size = 1;
	i->params = json_pack("{s:s}", "password", SECRET);
	i->context = json_pack("{s:s}", "space", SECRET);
	i->handle = json_pack("{s:s}", "volume", "v1");
	i->op.kind = OP_CREATE;
	i->op.state = OP_SUCCEEDED;
	return 0;
}

/* Begins the operation whose id is arg. */
static __attribute__((unused)) int make_creating(void *arg, struct instance *i, bool exists,
						 unsigned bindings)
{
	(void)exists;
	(void)bindings;
	i->state = INSTANCE_CREATING;
	i->op.kind = OP_CREATE;
	i->op.state = OP_IN_PROGRESS;
	snprintf(i->op.id, sizeof i->op.id, "%s", (const char *)arg);
	return 0;
}

static __attribute__((unused)) int set_state(void *arg, struct instance *i, bool exists,
					     unsigned bindings)
{
	(void)bindings;
	if (!exists)
		return -ENOENT;
	i->state = *(const enum instance_state *)arg;
	return 0;
}

static __attribute__((unused)) int remove_it(void *arg, struct instance *i, bool exists,
					     unsigned bindings)
{
	(void)arg;
	(void)i;
	(void)exists;
	(void)bindings;
	return STORE_REMOVE;
}

/* Binds the app that arg names. */
static int bind_app(void *arg, const struct instance *i, bool has_instance, struct binding *b,
		    bool exists, const char *const *others)
{
	(void)i;
	(void)others;
	if (!has_instance)
		return -ENOENT;
	if (exists)
		return -EEXIST;
	snprintf(b->app, sizeof b->app, "%s", (const char *)arg);
	strcpy(b->service, "service");
	strcpy(b->plan, "plan");
	b->params = json_pack("{s:s}", "password", SECRET);
	b->context = json_pack("{s:s}", "space", SECRET);
	b->answer = json_pack("{s:s}", "mount", SECRET);
	return 0;
}

/* Rules do not change what they are given. */
static __attribute__((unused)) int try_change(const char *id, store_rule *rule, const void *arg)
{
	return store_change(fx.s, id, rule, (void *)(uintptr_t)arg, &err);
}

static __attribute__((unused)) int try_bind(const char *id, const char *binding,
					    store_bind_rule *rule, const void *arg)
{
	return store_bind(fx.s, id, binding, rule, (void *)(uintptr_t)arg, &err);
}

static __attribute__((unused)) void must_change(const char *id, store_rule *rule, const void *arg)
{
	int rc = try_change(id, rule, arg);

	if (rc)
		print_message("%s: %d %s\n", id, rc, err.text);
	assert_int_equal(rc, 0);
}

static __attribute__((unused)) void must_bind(const char *id, const char *binding, const char *app)
{
	int rc = try_bind(id, binding, bind_app, app);

	if (rc)
		print_message("%s %s: %d %s\n", id, binding, rc, err.text);
	assert_int_equal(rc, 0);
}

#endif
