/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/unit/tools/sim_client.h"
#include "tools/sim/sim.h"
#include "tools/sim/tls.h"

/* --- an array that counts -------------------------------------------------- */

struct toy_options {
	uint64_t start;
	char *word;
};

static const struct opt_def toy_options[] = {
	{ .name = "start",
	  .type = OPT_UINT,
	  .offset = offsetof(struct toy_options, start),
	  .max = 100,
	  .dflt = "5",
	  .help = "first number" },
	{ .name = "word",
	  .type = OPT_STRING,
	  .offset = offsetof(struct toy_options, word),
	  .help = "a word" },
	{ .name = NULL },
};

static struct toy {
	struct sim *sim;
	struct toy_options *opt;
	_Atomic uint64_t number;
	_Atomic unsigned halves, drops, running;
	_Atomic bool opened;
} toy;

static int toy_open(struct sim *sim, void *options, const json_t *state, void **out,
		    struct err *err)
{
	toy.sim = sim;
	toy.opt = options;
	if (toy.opt->word && !strcmp(toy.opt->word, "bad"))
		return err_set(err, -EINVAL, "word 'bad' is bad");
	toy.number = state ? (uint64_t)json_integer_value(json_object_get(state, "number")) :
			     toy.opt->start;
	toy.opened = true;
	*out = &toy;
	return 0;
}

static void toy_close(void *arg)
{
	((struct toy *)arg)->opened = false;
}

static void toy_answer(void *arg, struct httpd_request *rq, bool half)
{
	struct toy *t = arg;
	AUTO_FREE char *basic = sim_basic(rq);

	t->running++;
	t->halves += half;
	if (!strcmp(httpd_method(rq), "POST")) {
		t->number++;
		sim_changed(t->sim);
	}
	sim_reply(rq, 200,
		  json_pack("{s:I, s:s}", "number", (json_int_t)t->number, "basic",
			    basic ? basic : "-"));
	t->running--;
}

static json_t *toy_save(void *arg)
{
	return json_pack("{s:I}", "number", (json_int_t)((struct toy *)arg)->number);
}

static void toy_drop(void *arg)
{
	((struct toy *)arg)->drops++;
}

static const struct sim_kind kind = { .name = "toy",
				      .options = toy_options,
				      .options_size = sizeof(struct toy_options),
				      .open = toy_open,
				      .close = toy_close,
				      .answer = toy_answer,
				      .save = toy_save,
				      .drop_tokens = toy_drop };

/* --- fixture --------------------------------------------------------------- */

static struct {
	char dir[64], state[96];
	struct sim *sim;
	struct client c;
} fx;

static void up(const char *const *settings)
{
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0",
				  .state = fx.state,
				  .settings = settings };
	struct err err = { "" };

	if (sim_start(&kind, &cfg, &fx.sim, &err))
		fail_msg("%s", err.text);
	fx.c = (struct client){ .port = sim_port(fx.sim) };
}

static void down(void)
{
	sim_stop(fx.sim);
	fx.sim = NULL;
	assert_false(toy.opened);
}

static int setup(void **state)
{
	(void)state;
	memset(&toy, 0, sizeof toy);
	strcpy(fx.dir, "/tmp/persifs-sim.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.state, sizeof fx.state, "%s/deep/state", fx.dir);
	up(NULL);
	return 0;
}

static int teardown(void **state)
{
	char text[128];

	(void)state;
	if (fx.sim)
		down();
	unlink(fx.state);
	snprintf(text, sizeof text, "%s/deep", fx.dir);
	rmdir(text);
	return rmdir(fx.dir);
}

/* The status; 0 without a whole answer. */
static long ask(const char *method, const char *path, const char *body)
{
	struct reply r = client_call(&fx.c, method, path, body);
	long status = r.rc ? 0 : r.status;

	client_done(&r);
	return status;
}

static void set_fault(const char *json)
{
	assert_int_equal(ask("POST", "/_sim/faults", json), 200);
}

/* --- tests ----------------------------------------------------------------- */

static void kind_answers_and_basic_is_decoded(void **state)
{
	struct client c = fx.c;
	struct reply r;

	(void)state;
	c.user = "me";
	c.password = "a:b\xc3\xa4";
	r = client_call(&c, "POST", "/x", "{}");
	assert_int_equal(json_integer_value(json_object_get(r.json, "number")), 6);
	assert_string_equal(json_string_value(json_object_get(r.json, "basic")), "me:a:b\xc3\xa4");
	client_done(&r);
	c.password = NULL;
	r = client_call(&c, "GET", "/x", NULL);
	assert_string_equal(json_string_value(json_object_get(r.json, "basic")), "-");
	client_done(&r);
}

static void calls_that_are_not_executed_change_nothing(void **state)
{
	static const struct {
		const char *fault, *type;
		long status;
		bool json;
		size_t min_len;
	} rows[] = {
		{ "{\"match\":\"POST /x\",\"fault\":\"status\",\"status\":502,\"times\":1}",
		  "application/json", 502, true, 10 },
		{ "{\"match\":\"POST /x\",\"fault\":\"html\",\"status\":504,\"times\":1}",
		  "text/html", 504, false, 10 },
		{ "{\"match\":\"POST /x\",\"fault\":\"empty\",\"times\":1}", "application/json",
		  503, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct reply r;

		set_fault(rows[i].fault);
		r = client_call(&fx.c, "POST", "/x/y", "{}");
		assert_int_equal(r.rc, CURLE_OK);
		assert_int_equal(r.status, rows[i].status);
		assert_string_equal(r.type, rows[i].type);
		assert_int_equal(r.json != NULL, rows[i].json);
		assert_null(json_object_get(r.json, "errorCode"));
		assert_int_equal(r.len >= rows[i].min_len, true);
		assert_int_equal(r.len > 0, rows[i].min_len > 0);
		client_done(&r);
		assert_int_equal(toy.number, 5);
	}
	set_fault("{\"match\":\"POST /x\",\"fault\":\"drop\",\"times\":1}");
	assert_int_equal(ask("POST", "/x", "{}"), 0);
	assert_int_equal(toy.number, 5);
	assert_int_equal(ask("POST", "/x", "{}"), 200);
	assert_int_equal(toy.number, 6);
}

static void calls_whose_answer_is_lost_are_executed(void **state)
{
	struct reply r;

	(void)state;
	set_fault("{\"match\":\"POST /x\",\"fault\":\"lost\",\"times\":1}");
	assert_int_equal(ask("POST", "/x", "{}"), 0);
	assert_int_equal(toy.number, 6);
	set_fault("{\"match\":\"POST /x\",\"fault\":\"cut\",\"bytes\":7,\"times\":1}");
	r = client_call(&fx.c, "POST", "/x", "{}");
	assert_int_equal(r.rc, CURLE_PARTIAL_FILE);
	assert_string_equal(r.body, "{\"numbe");
	client_done(&r);
	assert_int_equal(toy.number, 7);
	set_fault("{\"match\":\"POST /x\",\"fault\":\"garbage\",\"times\":1}");
	r = client_call(&fx.c, "POST", "/x", "{}");
	assert_int_equal(r.rc, CURLE_OK);
	assert_int_equal(r.status, 200);
	assert_true(r.len > 0);
	assert_null(r.json);
	client_done(&r);
	assert_int_equal(toy.number, 8);
	set_fault("{\"match\":\"POST /x\",\"fault\":\"half\",\"times\":1}");
	assert_int_equal(ask("POST", "/x", "{}"), 200);
	assert_int_equal(toy.halves, 1);
}

static void delay_comes_before_slow_after_the_work(void **state)
{
	struct client c = fx.c;
	uint64_t begin = clock_us();
	struct reply r;

	(void)state;
	set_fault("{\"match\":\"POST /x\",\"fault\":\"delay\",\"ms\":120,\"times\":1}");
	assert_int_equal(ask("POST", "/x", "{}"), 200);
	assert_true(clock_us() - begin >= 100000);
	assert_int_equal(toy.number, 6);
	c.limit_ms = 150;
	set_fault("{\"match\":\"POST /x\",\"fault\":\"slow\",\"ms\":600000,\"times\":1}");
	r = client_call(&c, "POST", "/x", "{}");
	assert_int_equal(r.rc, CURLE_OPERATION_TIMEDOUT);
	client_done(&r);
	assert_int_equal(toy.number, 7);
	set_fault("{\"match\":\"POST /x\",\"fault\":\"delay\",\"ms\":600000,\"times\":1}");
	r = client_call(&c, "POST", "/x", "{}");
	assert_int_equal(r.rc, CURLE_OPERATION_TIMEDOUT);
	client_done(&r);
}

static void after_and_times_count_calls_of_the_rule(void **state)
{
	static const long want[] = { 200, 200, 502, 502, 418, 200 };

	(void)state;
	set_fault("{\"match\":\"GET /x\",\"fault\":\"status\",\"status\":502,\"after\":2,"
		  "\"times\":2}");
	set_fault("{\"match\":\"GET /x\",\"fault\":\"status\",\"status\":418,\"after\":2,"
		  "\"times\":1}");
	assert_int_equal(ask("GET", "/y", NULL), 200);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_int_equal(ask("GET", "/x/1", NULL), want[i]);
	set_fault("{\"match\":\"GET /z\",\"fault\":\"status\"}");
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask("GET", "/z", NULL), 503);
	assert_int_equal(ask("DELETE", "/_sim/faults", NULL), 200);
	assert_int_equal(ask("GET", "/z", NULL), 200);
}

static void control_tells_rules_calls_and_clock(void **state)
{
	struct reply r;
	const json_t *fault;
	json_int_t clock;

	(void)state;
	set_fault("{\"match\":\"GET /a\",\"fault\":\"status\",\"times\":3}");
	ask("GET", "/a?query=1", NULL);
	ask("GET", "/a", NULL);
	ask("PUT", "/b", "{}");
	r = client_call(&fx.c, "GET", "/_sim", NULL);
	assert_string_equal(json_string_value(json_object_get(r.json, "kind")), "toy");
	fault = json_array_get(json_object_get(r.json, "faults"), 0);
	assert_int_equal(json_integer_value(json_object_get(fault, "hits")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(r.json, "calls"), "GET /a")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(r.json, "calls"), "PUT /b")), 1);
	clock = json_integer_value(json_object_get(r.json, "clock"));
	client_done(&r);
	assert_int_equal(ask("POST", "/_sim/clock", "{\"advance\":100000}"), 200);
	assert_true((json_int_t)sim_now(fx.sim) >= clock + 100000);
	assert_int_equal(ask("POST", "/_sim/tokens", "{\"drop\":true}"), 200);
	assert_int_equal(toy.drops, 1);
}

static void kinds_control_routes_pass_faults(void **state)
{
	(void)state;
	set_fault("{\"match\":\"\",\"fault\":\"drop\"}");
	assert_int_equal(ask("GET", "/x", NULL), 0);
	assert_int_equal(ask("POST", "/_sim/toy/x", "{}"), 200);
	assert_int_equal(toy.number, 6);
	assert_int_equal(ask("POST", "/_sim/toyx", "{}"), 404);
	assert_int_equal(ask("POST", "/_simx", "{}"), 0);
}

static void nonsense_for_the_control_route_is_refused(void **state)
{
	static const char *const bodies[] = {
		"",
		"[]",
		"{",
		"null",
		"{}",
		"{\"fault\":\"drop\"}",
		"{\"match\":\"x\"}",
		"{\"match\":1,\"fault\":\"drop\"}",
		"{\"match\":\"x\",\"fault\":\"none\"}",
		"{\"match\":\"x\",\"fault\":\"drop\",\"after\":-1}",
		"{\"match\":\"x\",\"fault\":\"drop\",\"times\":\"1\"}",
		"{\"match\":\"x\",\"fault\":\"delay\",\"ms\":99999999999}",
		"{\"match\":\"x\",\"fault\":\"status\",\"status\":7}",
		"{\"match\":\"x\",\"fault\":\"cut\",\"bytes\":1.5}",
	};
	AUTO_FREE char *longest = malloc(2048);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		assert_int_equal(ask("POST", "/_sim/faults", bodies[i]), 400);
	strcpy(longest, "{\"fault\":\"drop\",\"match\":\"");
	memset(longest + strlen(longest), 'x', 1024);
	strcpy(longest + 1024, "\"}");
	assert_int_equal(ask("POST", "/_sim/faults", longest), 400);
	assert_int_equal(ask("POST", "/_sim/clock", "{\"advance\":-5}"), 400);
	assert_int_equal(ask("POST", "/_sim/clock", "{\"advance\":9223372036854775807}"), 400);
	assert_int_equal(ask("POST", "/_sim/tokens", "{}"), 400);
	assert_int_equal(ask("PUT", "/_sim/faults", "{}"), 404);
	for (int i = 0; i < 64; i++)
		set_fault("{\"match\":\"x\",\"fault\":\"drop\"}");
	assert_int_equal(ask("POST", "/_sim/faults", "{\"match\":\"x\",\"fault\":\"drop\"}"), 400);
}

static void state_and_clock_outlive_a_restart(void **state)
{
	struct stat st;
	uint64_t now;

	(void)state;
	assert_int_equal(ask("POST", "/x", "{}"), 200);
	assert_int_equal(ask("POST", "/_sim/clock", "{\"advance\":5000}"), 200);
	now = sim_now(fx.sim);
	assert_int_equal(stat(fx.state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	down();
	up(NULL);
	assert_int_equal(toy.number, 6);
	assert_true(sim_now(fx.sim) >= now);
}

/* The answer of a call that has changed something says that the file holds it. */
static void state_is_written_before_the_answer(void **state)
{
	(void)state;
	for (json_int_t i = 6; i < 12; i++) {
		json_t *all;

		assert_int_equal(ask("POST", "/x", "{}"), 200);
		all = json_load_file(fx.state, 0, NULL);
		assert_int_equal(json_integer_value(
					 json_object_get(json_object_get(all, "state"), "number")),
				 i);
		json_decref(all);
	}
}

static void broken_state_files_are_refused(void **state)
{
	static const char *const texts[] = { "",
					     "{",
					     "[]",
					     "{\"kind\":\"onefs\",\"advance\":0,\"state\":{}}",
					     "{\"kind\":\"toy\",\"advance\":-1,\"state\":{}}",
					     "{\"kind\":\"toy\",\"advance\":0,\"state\":[]}",
					     "{\"advance\":0,\"state\":{}}" };
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .state = fx.state };
	struct err err;

	(void)state;
	down();
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		FILE *f = fopen(fx.state, "w");

		fputs(texts[i], f);
		fclose(f);
		err.text[0] = '\0';
		assert_int_equal(sim_start(&kind, &cfg, &fx.sim, &err), -EINVAL);
		assert_non_null(strstr(err.text, fx.state));
	}
}

static void *many_calls(void *arg)
{
	(void)arg;
	for (int i = 0; i < 25; i++)
		if (ask("POST", "/x", "{}") != 200)
			return (void *)1;
	return NULL;
}

static void threads_of_callers_lose_no_change(void **state)
{
	pthread_t threads[4];
	void *bad;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, many_calls, NULL);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	down();
	up(NULL);
	assert_int_equal(toy.number, 105);
}

static void *hang(void *arg)
{
	(void)arg;
	ask("GET", "/x", NULL);
	return NULL;
}

static void stop_does_not_wait_for_silent_calls(void **state)
{
	pthread_t thread;
	uint64_t begin;

	(void)state;
	set_fault("{\"match\":\"GET /x\",\"fault\":\"delay\",\"ms\":600000}");
	pthread_create(&thread, NULL, hang, NULL);
	for (bool waits = false; !waits;) {
		struct reply r = client_call(&fx.c, "GET", "/_sim", NULL);

		waits = json_object_get(json_object_get(r.json, "calls"), "GET /x");
		client_done(&r);
	}
	begin = clock_us();
	down();
	assert_true(clock_us() - begin < 5000000);
	pthread_join(thread, NULL);
}

static void settings_are_set_or_refused(void **state)
{
	static const char *const good[] = { "start=42", "word=good", NULL };
	static const char *const bad[][2] = { { "start=101", NULL },
					      { "nothing=1", NULL },
					      { "start", NULL },
					      { "word=bad", NULL } };
	struct err err;

	(void)state;
	down();
	up(good);
	assert_int_equal(toy.opt->start, 42);
	assert_string_equal(toy.opt->word, "good");
	assert_int_equal(toy.number, 42);
	down();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .settings = bad[i] };

		err.text[0] = '\0';
		assert_int_equal(sim_start(&kind, &cfg, &fx.sim, &err), -EINVAL);
		assert_int_not_equal(err.text[0], '\0');
	}
}

static void tls_is_spoken_with_a_certificate_of_our_own(void **state)
{
	char cert[96], key[96];
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .cert = cert, .key = key };
	struct client c = { .ca = cert };
	struct stat before, after;
	struct err err;
	struct reply r;

	(void)state;
	down();
	snprintf(cert, sizeof cert, "%s/cert", fx.dir);
	snprintf(key, sizeof key, "%s/key", fx.dir);
	assert_int_equal(tls_make_files("127.0.0.1", cert, key, &err), 0);
	assert_int_equal(stat(key, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	assert_int_equal(tls_make_files("127.0.0.1", cert, key, &err), 0);
	assert_int_equal(stat(key, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(sim_start(&kind, &cfg, &fx.sim, &err), 0);
	c.port = sim_port(fx.sim);
	r = client_call(&c, "GET", "/x", NULL);
	assert_int_equal(r.rc, CURLE_OK);
	assert_int_equal(r.status, 200);
	client_done(&r);
	down();
	cfg.key = cfg.cert;
	assert_true(sim_start(&kind, &cfg, &fx.sim, &err) < 0);
	cfg.key = NULL;
	assert_int_equal(sim_start(&kind, &cfg, &fx.sim, &err), -EINVAL);
	unlink(key);
	cfg.key = key;
	assert_int_equal(sim_start(&kind, &cfg, &fx.sim, &err), -ENOENT);
	unlink(cert);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kind_answers_and_basic_is_decoded),
		TEST(calls_that_are_not_executed_change_nothing),
		TEST(calls_whose_answer_is_lost_are_executed),
		TEST(delay_comes_before_slow_after_the_work),
		TEST(after_and_times_count_calls_of_the_rule),
		TEST(control_tells_rules_calls_and_clock),
		TEST(kinds_control_routes_pass_faults),
		TEST(nonsense_for_the_control_route_is_refused),
		TEST(state_and_clock_outlive_a_restart),
		TEST(state_is_written_before_the_answer),
		TEST(broken_state_files_are_refused),
		TEST(threads_of_callers_lose_no_change),
		TEST(stop_does_not_wait_for_silent_calls),
		TEST(settings_are_set_or_refused),
		TEST(tls_is_spoken_with_a_certificate_of_our_own),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
