/* SPDX-License-Identifier: Apache-2.0 */
/* What each call of the store promises, over both databases. Operations are in
 * test_broker_store_ops.c; crashes, rotation and figures in test_broker_store_crash.c. */
#include "tests/unit/tools/broker_store.h"

#include <pthread.h>
#include <sys/stat.h>

#define THREADS 32
#define ROUNDS 8 /* of each thread */

/* --- rules ------------------------------------------------------------------------- */

static int add_one(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)bindings;
	if (!exists)
		i->state = INSTANCE_READY;
	i->size++;
	return 0;
}

struct adder {
	pthread_t thread;
	char id[32];
	int rc;
	struct err err;
};

static void *adder_main(void *arg)
{
	struct adder *a = arg;

	for (int i = 0; i < ROUNDS && !a->rc; i++)
		a->rc = store_change(fx.s, a->id, add_one, NULL, &a->err);
	return NULL;
}

static void run_adders(bool same)
{
	struct adder adders[THREADS] = { 0 };

	for (int i = 0; i < THREADS; i++) {
		snprintf(adders[i].id, sizeof adders[i].id, "row%02d", same ? 0 : i);
		assert_int_equal(pthread_create(&adders[i].thread, NULL, adder_main, &adders[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(adders[i].thread, NULL);
		if (adders[i].rc)
			print_message("%s\n", adders[i].err.text);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(adders[i].rc, 0);
}

static void rules_on_one_row_lose_nothing(void **state)
{
	struct instance i;

	NEEDS_DATABASE(state);
	run_adders(true);
	assert_int_equal(store_get(fx.s, "row00", &i, &err), 0);
	assert_int_equal(i.size, THREADS * ROUNDS);
	assert_int_equal(i.version, THREADS * ROUNDS);
	instance_done(&i);
}

static void rules_on_different_rows_do_not_meet(void **state)
{
	struct instance page[THREADS + 1];
	unsigned n;

	NEEDS_DATABASE(state);
	run_adders(false);
	assert_int_equal(store_list(fx.s, "", THREADS + 1, page, &n, &err), 0);
	assert_int_equal(n, THREADS);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(page[i].size, ROUNDS);
		instance_done(&page[i]);
	}
}

static int refuse(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)bindings;
	(void)exists;
	i->size += 5;
	json_object_set_new(i->params, "x", json_true());
	return *(int *)arg;
}

static int look(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)i;
	assert_true(exists);
	assert_int_equal(bindings, 0);
	return 0;
}

static void refused_and_idle_rules_write_nothing(void **state)
{
	/* Its own errors, those of the database among them, come back as they are. */
	static int codes[] = { -EEXIST, -EDEADLK, -ECONNRESET, -EAGAIN, 7 };
	struct instance i;

	NEEDS_DATABASE(state);
	must_change("a", make_ready, NULL);
	for (size_t k = 0; k < ARRAY_LEN(codes); k++)
		assert_int_equal(try_change("a", refuse, &codes[k]), codes[k]);
	must_change("a", look, NULL);
	assert_int_equal(store_get(fx.s, "a", &i, &err), 0);
	assert_int_equal(i.size, 1);
	assert_int_equal(i.version, 1);
	assert_null(json_object_get(i.params, "x"));
	instance_done(&i);
	assert_int_equal(try_change("b", refuse, &codes[0]), -EEXIST);
	assert_int_equal(store_get(fx.s, "b", &i, &err), -ENOENT);
}

static void fixture_reopen(void)
{
	store_close(fx.s);
	fx.s = NULL;
	fixture_open();
}

static int fill_all(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	const struct instance *want = arg;
	uint64_t version = i->version;

	(void)exists;
	(void)bindings;
	instance_done(i);
	*i = *want;
	json_incref(i->params);
	json_incref(i->context);
	json_incref(i->handle);
	json_incref(i->new_params);
	i->version = version;
	return 0;
}

static void compare(const struct instance *got, const struct instance *want)
{
	assert_string_equal(got->id, want->id);
	assert_string_equal(got->service, want->service);
	assert_string_equal(got->plan, want->plan);
	assert_string_equal(got->provider, want->provider);
	assert_int_equal(got->state, want->state);
	assert_true(json_equal(got->params, want->params));
	assert_true(json_equal(got->context, want->context));
	assert_true(json_equal(got->handle, want->handle));
	assert_true(json_equal(got->new_params, want->new_params));
	assert_int_equal(got->size, want->size);
	assert_string_equal(got->new_plan, want->new_plan);
	assert_int_equal(got->new_size, want->new_size);
	assert_int_equal(got->op.kind, want->op.kind);
	assert_int_equal(got->op.state, want->op.state);
	assert_string_equal(got->op.id, want->op.id);
	assert_int_equal(got->op.tries, want->op.tries);
	assert_int_equal(got->op.next_try_ms, want->op.next_try_ms);
	assert_int_equal(got->op.usable, want->op.usable);
	assert_int_equal(got->op.repeatable, want->op.repeatable);
	assert_int_equal(got->created_ms, want->created_ms);
}

static void every_field_comes_back(void **state)
{
	struct instance want = {
		.id = "\xc3\xa4 'id\" %",
		.service = "s\n",
		.plan = "p",
		.provider = "x",
		.state = INSTANCE_UPDATING,
		.size = INT64_MAX,
		.new_plan = "np",
		.new_size = 7,
		.op = { .kind = OP_UPDATE,
			.state = OP_FAILED,
			.id = "op-1",
			.description = "not done: \xc3\xa4",
			.tries = 3,
			.next_try_ms = 12345,
			.begun_ms = 99,
			.usable = true,
			.repeatable = true },
		.created_ms = 42,
	};
	struct instance got;

	NEEDS_DATABASE(state);
	want.params = json_pack("{s:s,s:[i,n,b]}", "k\xc3\xa4", "v'\"\\", "l", 1, 1);
	want.context = json_pack("{s:s%}", "nul", "a\0b", (size_t)3);
	want.handle = json_pack("{s:{}}", "empty");
	want.new_params = json_pack("[]");
	must_change(want.id, fill_all, &want);
	fixture_reopen();
	assert_int_equal(store_get(fx.s, want.id, &got, &err), 0);
	compare(&got, &want);
	assert_string_equal(got.op.description, want.op.description);
	assert_int_equal(got.op.begun_ms, 99);
	assert_true(got.op.changed_ms > 1600000000000ull);
	instance_done(&got);
	must_change(want.id, remove_it, NULL);
	must_change(want.id, remove_it, NULL);
	assert_int_equal(store_get(fx.s, want.id, &got, &err), -ENOENT);
	instance_done(&want);
}

/* A description is cut to its room by whoever writes it, maybe within a character. */
static int cut_text(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)arg;
	(void)exists;
	(void)bindings;
	strcpy(i->op.description, "cut \xc3\xa4 \xe2\x82");
	return 0;
}

static int too_much(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)exists;
	(void)bindings;
	switch (*(int *)arg) {
	case 0:
		i->size = UINT64_MAX;
		break;
	case 1:
		strcpy(i->plan, "\xff");
		break;
	default: {
		AUTO_FREE char *big = calloc(1, 2u << 20);

		memset(big, 'x', (2u << 20) - 1);
		i->params = json_pack("{s:s}", "big", big);
	}
	}
	return 0;
}

static void what_no_row_can_hold_is_refused(void **state)
{
	char longest[STORE_ID_MAX + 1];
	struct instance i;

	NEEDS_DATABASE(state);
	memset(longest, 'i', sizeof longest);
	longest[STORE_ID_MAX] = '\0';
	assert_int_equal(try_change(longest, add_one, NULL), -EINVAL);
	assert_int_equal(try_change("", add_one, NULL), -EINVAL);
	assert_int_equal(try_change("\xc3", add_one, NULL), -EINVAL);
	assert_int_equal(store_get(fx.s, longest, &i, &err), -EINVAL);
	assert_non_null(strstr(err.text, "instance id"));
	longest[STORE_ID_MAX - 1] = '\0';
	must_change(longest, add_one, NULL);
	for (int k = 0; k < 3; k++)
		assert_int_equal(try_change("a", too_much, &k), -EINVAL);
	assert_int_equal(store_get(fx.s, "a", &i, &err), -ENOENT);
	must_change("a", cut_text, NULL);
	assert_int_equal(store_get(fx.s, "a", &i, &err), 0);
	assert_string_equal(i.op.description, "cut \xc3\xa4 ??");
	instance_done(&i);
}

static void pages_go_by_bytes_and_miss_nothing(void **state)
{
	/* As bytes; a locale would mix cases and put the umlaut beside a. */
	static const char *const ids[] = {
		"-", "10", "9", "A", "Z", "a", "aa", "b", "z", "\xc3\xa4"
	};
	char after[STORE_ID_MAX] = "";
	struct instance page[3];
	unsigned n, seen = 0;

	NEEDS_DATABASE(state);
	for (size_t i = ARRAY_LEN(ids); i-- > 0;)
		must_change(ids[i], make_ready, NULL);
	do {
		assert_int_equal(store_list(fx.s, after, 3, page, &n, &err), 0);
		for (unsigned i = 0; i < n; i++) {
			assert_string_equal(page[i].id, ids[seen++]);
			memcpy(after, page[i].id, sizeof after);
			instance_done(&page[i]);
		}
	} while (n == 3);
	assert_int_equal(seen, ARRAY_LEN(ids));
	assert_int_equal(store_list(fx.s, after, 3, page, &n, &err), 0);
	assert_int_equal(n, 0);
}

/* --- tombstones -------------------------------------------------------------------- */

static void tombstones_stay_until_they_are_buried(void **state)
{
	static enum instance_state deleted = INSTANCE_DELETED, failed = INSTANCE_FAILED;
	struct instance i;
	uint64_t time;
	unsigned n;

	NEEDS_DATABASE(state);
	must_change("dead", make_ready, NULL);
	must_bind("dead", "b", "app");
	must_change("dead", set_state, &deleted);
	must_change("failed", make_ready, NULL);
	must_change("failed", set_state, &failed);
	must_change("alive", make_ready, NULL);
	assert_int_equal(store_get(fx.s, "dead", &i, &err), 0);
	assert_int_equal(i.state, INSTANCE_DELETED);
	time = i.op.changed_ms;
	instance_done(&i);
	assert_int_equal(store_bury(fx.s, time, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_bury(fx.s, time + 1, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(store_get(fx.s, "dead", &i, &err), -ENOENT);
	assert_int_equal(store_bury(fx.s, UINT64_MAX, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_get(fx.s, "failed", &i, &err), 0);
	instance_done(&i);
	assert_int_equal(store_get(fx.s, "alive", &i, &err), 0);
	instance_done(&i);
}

/* --- bindings ------------------------------------------------------------------------ */

/* arg: the apps that are expected as others, in order, NULL-ended. */
static int see_others(void *arg, const struct instance *i, bool has_instance, struct binding *b,
		      bool exists, const char *const *others)
{
	const char *const *want = arg;

	(void)b;
	(void)exists;
	assert_true(has_instance);
	assert_int_equal(i->state, INSTANCE_READY);
	for (; *want; want++, others++)
		assert_string_equal(*others, *want);
	assert_null(*others);
	return 0;
}

static int unbind(void *arg, const struct instance *i, bool has_instance, struct binding *b,
		  bool exists, const char *const *others)
{
	(void)arg;
	(void)i;
	(void)has_instance;
	(void)others;
	assert_true(exists);
	b->deleted = true;
	return 0;
}

static int unbind_whole(void *arg, const struct instance *i, bool has_instance, struct binding *b,
			bool exists, const char *const *others)
{
	(void)arg;
	(void)i;
	(void)has_instance;
	(void)b;
	(void)exists;
	(void)others;
	return STORE_REMOVE;
}

static int count(void *arg, struct instance *i, bool exists, unsigned bindings)
{
	(void)i;
	(void)exists;
	*(unsigned *)arg = bindings;
	return 0;
}

static void rules_of_bindings_see_the_other_apps(void **state)
{
	static const char *all[] = { "app1", "app2", "app3", NULL };
	static const char *rest[] = { "app1", "app3", NULL };
	unsigned n = 0, got;
	struct binding b, page[4];

	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	must_bind("i", "b1", "app1");
	must_bind("i", "b2", "app2");
	must_bind("i", "b3", "app3");
	assert_int_equal(try_bind("i", "b2", see_others, rest), 0);
	assert_int_equal(try_bind("i", "new", see_others, all), 0);
	assert_int_equal(store_binding(fx.s, "i", "new", &b, &err), -ENOENT);
	assert_int_equal(try_bind("i", "b1", bind_app, "x"), -EEXIST);
	/* A tombstone is no other. */
	assert_int_equal(try_bind("i", "b2", unbind, NULL), 0);
	assert_int_equal(try_bind("i", "new", see_others, rest), 0);
	must_change("i", count, &n);
	assert_int_equal(n, 2);
	assert_int_equal(store_binding(fx.s, "i", "b2", &b, &err), 0);
	assert_true(b.deleted);
	binding_done(&b);
	assert_int_equal(store_bindings(fx.s, "i", "", 2, page, &got, &err), 0);
	assert_int_equal(got, 2);
	assert_string_equal(page[1].id, "b2");
	binding_done(&page[0]);
	binding_done(&page[1]);
	assert_int_equal(store_bindings(fx.s, "i", "b2", 4, page, &got, &err), 0);
	assert_int_equal(got, 1);
	assert_string_equal(page[0].app, "app3");
	assert_string_equal(json_string_value(json_object_get(page[0].answer, "mount")), SECRET);
	assert_true(page[0].created_ms > 1600000000000ull);
	binding_done(&page[0]);
	assert_int_equal(try_bind("i", "b3", unbind_whole, NULL), 0);
	assert_int_equal(store_binding(fx.s, "i", "b3", &b, &err), -ENOENT);
	assert_int_equal(store_bury(fx.s, UINT64_MAX, &got, &err), 0);
	assert_int_equal(got, 1);
	assert_int_equal(store_binding(fx.s, "i", "b2", &b, &err), -ENOENT);
}

static int bind_anyhow(void *arg, const struct instance *i, bool has_instance, struct binding *b,
		       bool exists, const char *const *others)
{
	(void)i;
	(void)has_instance;
	(void)exists;
	(void)others;
	strcpy(b->app, arg);
	return 0;
}

static void bindings_exist_only_with_a_ready_instance(void **state)
{
	static const enum instance_state states[] = { INSTANCE_CREATING, INSTANCE_DELETING,
						      INSTANCE_FAILED, INSTANCE_DELETED };
	static enum instance_state updating = INSTANCE_UPDATING;
	struct binding b;

	NEEDS_DATABASE(state);
	assert_int_equal(try_bind("none", "b", bind_app, "app"), -ENOENT);
	assert_int_equal(try_bind("none", "b", bind_anyhow, "app"), -EINVAL);
	for (size_t k = 0; k < ARRAY_LEN(states); k++) {
		enum instance_state to = states[k];

		must_change("i", make_ready, NULL);
		must_change("i", set_state, &updating);
		must_bind("i", "b", "app");
		must_change("i", set_state, &to);
		assert_int_equal(store_binding(fx.s, "i", "b", &b, &err), 0);
		assert_true(b.deleted);
		binding_done(&b);
		assert_int_equal(try_bind("i", "c", bind_anyhow, "app"), -EINVAL);
		assert_non_null(strstr(err.text, "'i'"));
		must_change("i", remove_it, NULL);
		assert_int_equal(store_binding(fx.s, "i", "b", &b, &err), -ENOENT);
	}
}

struct binder {
	pthread_t thread;
	char id[16];
	int rc;
};

static int only_one(void *arg, const struct instance *i, bool has_instance, struct binding *b,
		    bool exists, const char *const *others)
{
	(void)i;
	(void)has_instance;
	(void)exists;
	if (*others)
		return -EBUSY;
	strcpy(b->app, arg);
	return 0;
}

static void *binder_main(void *arg)
{
	struct binder *b = arg;

	b->rc = store_bind(fx.s, "i", b->id, only_one, b->id, NULL);
	return NULL;
}

static void one_of_many_apps_gets_a_block_volume(void **state)
{
	struct binder binders[THREADS] = { 0 };
	int won = 0;

	NEEDS_DATABASE(state);
	must_change("i", make_ready, NULL);
	for (int i = 0; i < THREADS; i++) {
		snprintf(binders[i].id, sizeof binders[i].id, "app%d", i);
		assert_int_equal(pthread_create(&binders[i].thread, NULL, binder_main, &binders[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(binders[i].thread, NULL);
	for (int i = 0; i < THREADS; i++) {
		assert_true(!binders[i].rc || binders[i].rc == -EBUSY);
		won += !binders[i].rc;
	}
	assert_int_equal(won, 1);
}

/* --- rows and stores that make no sense ---------------------------------------------- */

static void rows_that_make_no_sense_are_named(void **state)
{
	static const char *const damage[] = {
		"UPDATE instances SET state = 'odd' WHERE id = 'bad'",
		"UPDATE instances SET state = 'ready', size = -1 WHERE id = 'bad'",
		"UPDATE instances SET size = 1, params = 'v1:x' WHERE id = 'bad'",
		"UPDATE instances SET params = context WHERE id = 'bad'",
		("UPDATE instances SET params ="
		 " (SELECT params FROM instances WHERE id = 'good') WHERE id = 'bad'"),
		"UPDATE instances SET params = '', handle = '{' WHERE id = 'bad'",
		"UPDATE instances SET handle = '', op_kind = '' WHERE id = 'bad'",
	};
	struct instance page[2];
	struct binding b;
	unsigned n;

	NEEDS_DATABASE(state);
	must_change("bad", make_ready, NULL);
	must_change("good", make_ready, NULL);
	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		run_sql(damage[i]);
		assert_int_equal(store_get(fx.s, "bad", &page[0], &err), -EPROTO);
		assert_non_null(strstr(err.text, "'bad'"));
		assert_int_equal(store_list(fx.s, "", 2, page, &n, &err), -EPROTO);
		assert_int_equal(try_change("bad", look, NULL), -EPROTO);
		assert_int_equal(try_bind("bad", "b", bind_app, "a"), -EPROTO);
		assert_int_equal(store_get(fx.s, "good", &page[0], &err), 0);
		instance_done(&page[0]);
	}
	must_bind("good", "b", "app");
	run_sql("UPDATE bindings SET answer = params");
	assert_int_equal(store_bindings(fx.s, "good", "", 1, &b, &n, &err), -EPROTO);
	assert_non_null(strstr(err.text, "answer"));
}

static void store_of_a_newer_program_is_refused(void **state)
{
	struct store *s = NULL;

	NEEDS_DATABASE(state);
	run_sql("UPDATE persifs_meta SET value = '99' WHERE name = 'schema'");
	assert_int_equal(store_open(fx.uri, fx.seal, &s, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "99"));
	assert_non_null(strstr(err.text, "newer"));
	run_sql("UPDATE persifs_meta SET value = 'x' WHERE name = 'schema'");
	assert_int_equal(store_open(fx.uri, fx.seal, &s, &err), -EPROTO);
	assert_null(s);
}

/* As a program of schema 1 leaves it. */
static void older_store_becomes_a_newer_one(void **state)
{
	struct operation past[STORE_PAST_MAX];
	struct instance i;
	unsigned n = 99;

	NEEDS_DATABASE(state);
	must_change("old", make_ready, NULL);
	run_sql("DROP TABLE past");
	run_sql("UPDATE persifs_meta SET value = '1' WHERE name = 'schema'");
	assert_int_not_equal(store_past(fx.s, "old", past, &n, &err), 0);
	store_close(fx.s);
	fx.s = NULL;
	fixture_open();
	assert_int_equal(store_get(fx.s, "old", &i, &err), 0);
	assert_int_equal(i.state, INSTANCE_READY);
	instance_done(&i);
	assert_int_equal(store_past(fx.s, "old", past, &n, &err), 0);
	assert_int_equal(n, 0);
}

static void foreign_key_file_is_refused(void **state)
{
	char key[128];
	struct seal *other;
	struct store *s = NULL;

	NEEDS_DATABASE(state);
	snprintf(key, sizeof key, "%s/other", fx.dir);
	assert_int_equal(seal_make_key(key, &err), 0);
	assert_int_equal(seal_open(key, &other, &err), 0);
	assert_int_equal(unlink(key), 0);
	assert_int_equal(store_open(fx.uri, other, &s, &err), -EACCES);
	assert_null(s);
	seal_close(other);
}

static void wrong_uris_tell_no_password(void **state)
{
	static const struct {
		const char *uri;
		int rc;
	} cases[] = {
		{ "", -EINVAL },
		{ "mysql://u:" SECRET "@h/db", -EINVAL },
		{ "sqlite", -EINVAL },
		{ "sqlite:relative", -EINVAL },
		{ "sqlite:/nonexistent/"
		  "dir/db",
		  -EIO },
		{ "sqlite:/proc", -EIO },
		{ "postgresql://u:" SECRET "@h:port:/db?x=y", -EINVAL },
		{ "postgresql://u:" SECRET "@/db?host=/nonexistent", -EAGAIN },
	};
	struct store *s = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memset(&err, 0, sizeof err);
		assert_int_equal(store_open(cases[i].uri, fx.seal, &s, &err), cases[i].rc);
		assert_true(*err.text);
		assert_null(strstr(err.text, SECRET));
	}
	assert_null(s);
}

static void file_is_closed_to_others(void **state)
{
	static const char *const tails[] = { "", "-wal", "-shm" };
	struct stat st;

	NEEDS_DATABASE(state);
	must_change("a", make_ready, NULL);
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		char path[128];

		snprintf(path, sizeof path, "%s%s", fx.db, tails[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 077, 0);
	}
	assert_int_equal(store_health(fx.s, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(rules_on_one_row_lose_nothing),
		BOTH(rules_on_different_rows_do_not_meet),
		BOTH(refused_and_idle_rules_write_nothing),
		BOTH(every_field_comes_back),
		BOTH(what_no_row_can_hold_is_refused),
		BOTH(pages_go_by_bytes_and_miss_nothing),
		BOTH(tombstones_stay_until_they_are_buried),
		BOTH(rules_of_bindings_see_the_other_apps),
		BOTH(bindings_exist_only_with_a_ready_instance),
		BOTH(one_of_many_apps_gets_a_block_volume),
		BOTH(rows_that_make_no_sense_are_named),
		BOTH(store_of_a_newer_program_is_refused),
		BOTH(older_store_becomes_a_newer_one),
		BOTH(foreign_key_file_is_refused),
		ONLY(LITE, wrong_uris_tell_no_password),
		ONLY(LITE, file_is_closed_to_others),
	};

	return cmocka_run_group_tests(tests, server_new, server_free);
}
