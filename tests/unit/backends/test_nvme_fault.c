/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that misbehave: what the specification allows is borne, the rest ends the connection; in both cases no request
 * fails that could be repeated, and no byte is wrong. */
#include "tests/unit/backends/nvme_test.h"

static struct nvme_fixture fx;

static int tear_down(void **state)
{
	(void)state;
	nvme_down(&fx);
	return 0;
}

enum { LEN = 96 * 1024, OFF = 64 * 1024 };

static void expect_reconnects(const char *fault, uint64_t before, uint64_t want)
{
	uint64_t now = nvme_bd_counts(&fx).reconnects - before;

	if (now != want)
		fail_msg("%s: %llu reconnects instead of %llu", fault, (unsigned long long)now,
			 (unsigned long long)want);
}

/* ---- what is allowed ------------------------------------------------------ */

static void what_is_allowed_is_borne(void **state)
{
	static const char *const faults[] = {
		"r2t-late op=write ms=30",
		"r2t-pieces op=write pieces=5",
		"r2t-pieces op=write pieces=4 order=reverse",
		"r2t-pieces op=write pieces=7 order=random",
		"data-pieces op=read pieces=6",
		"data-pieces op=read pieces=6 order=reverse",
		"data-pieces op=read pieces=8 order=random",
		"data-nolast op=read",
		"data-nosuccess op=read",
		"data-pad op=read bytes=4",
		"data-pad op=read bytes=64",
		"split pdu=c2h bytes=999",
		"split pdu=resp bytes=1 ms=1",
		"split pdu=c2h bytes=7000 ms=1",
		"split pdu=r2t bytes=3 ms=1",
		"delay op=io ms=20",
		"slow op=io ms=20",
	};
	static const char *const params[] = { "&queues=1", "&queues=1&hdgst=yes&ddgst=yes" };

	(void)state;
	for (unsigned d = 0; d < 2; d++) {
		nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, params[d]);
		for (unsigned i = 0; i < ARRAY_LEN(faults); i++) {
			nvme_fault(&fx, faults[i]);
			there_and_back(&fx, OFF, LEN, i);
			if (!nvme_counts(&fx).faults)
				fail_msg("%s: no effect", faults[i]);
			nvme_fault(&fx, "clear");
			expect_reconnects(faults[i], 0, 0);
		}
		assert_int_equal(nvme_counts(&fx).host_terms, 0);
		assert_int_equal(nvme_counts(&fx).terms, 0);
		nvme_down(&fx);
	}
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
}

/* ---- what ends a connection ----------------------------------------------- */

static void what_is_wrong_ends_the_connection(void **state)
{
	static const struct {
		const char *fault;
		bool term; /* the target is told */
	} wrong[] = {
		{ "wrongid op=write", true },
		{ "wrongid op=read", true },
		{ "twice op=write", true },
		{ "r2t-beyond op=write", true },
		{ "r2t-id op=write", true },
		{ "data-short op=read", true },
		{ "data-long op=read", true },
		{ "data-beyond op=read", true },
		{ "data-id op=read", true },
		{ "header-digest pdu=resp", true },
		{ "header-digest pdu=c2h", true },
		{ "header-digest pdu=r2t", true },
		{ "garbage pdu=c2h", true },
		{ "garbage pdu=resp", true },
		{ "garbage pdu=r2t", true },
		{ "length pdu=c2h bytes=24", true },
		{ "length pdu=resp bytes=4000", true },
		{ "length pdu=r2t bytes=1", true },
		{ "term pdu=resp", false },
		{ "term pdu=c2h fes=3", false },
		{ "drop op=write", false },
		{ "drop op=read", false },
		{ "lost op=write", false },
		{ "lost op=read", false },
		{ "late op=write ms=10", false },
		{ "cut pdu=c2h bytes=10", false },
		{ "cut pdu=c2h bytes=5000", false },
		{ "cut pdu=resp", false },
		{ "cut pdu=r2t bytes=8", false },
		{ "cut pdu=h2c", false },
		{ "cut pdu=cmd queue=1", false },
		{ "reset", false },
	};

	unsigned told = 0, want = 0;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1&hdgst=yes&ddgst=yes");
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		uint64_t reconnects = nvme_bd_counts(&fx).reconnects;
		uint64_t terms = nvme_counts(&fx).host_terms;

		nvme_fault(&fx, wrong[i].fault);
		there_and_back(&fx, OFF, LEN, i);
		wait_for(nvme_bd_counts(&fx).reconnects > reconnects);
		wait_for(!nvme_bd_counts(&fx).paused);
		expect_reconnects(wrong[i].fault, reconnects, 1);
		told += wrong[i].term && nvme_counts(&fx).host_terms > terms;
		want += wrong[i].term;
		nvme_fault(&fx, "clear");
	}
	there_and_back(&fx, OFF, LEN, 99);
	/* The connection is reset behind a Term PDU, which then may be lost. */
	assert_in_range(told, want / 2, want);
	assert_int_equal(nvme_counts(&fx).terms, 0);
}

static void a_wrong_data_digest_is_read_again(void **state)
{
	static uint8_t in[LEN];
	uint64_t reads;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1&ddgst=yes");
	there_and_back(&fx, OFF, LEN, 1);
	reads = nvme_counts(&fx).reads;
	nvme_fault(&fx, "data-digest pdu=c2h queue=1 times=2");
	there_and_back(&fx, OFF, LEN, 2);
	assert_int_equal(nvme_counts(&fx).reads, reads + 3);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 0);
	nvme_fault(&fx, "data-digest pdu=c2h queue=1 times=0");
	assert_int_equal(bd_read(fx.dev, in, LEN, OFF), -EIO);
	nvme_fault(&fx, "clear");
	there_and_back(&fx, OFF, LEN, 3);
}

/* ---- status ----------------------------------------------------------------- */

static void an_error_of_the_target_has_its_number(void **state)
{
	static const struct {
		const char *fault;
		int rc;
	} table[] = {
		{ "status op=write code=0x280 dnr", -EIO },
		{ "status op=write code=0x081", -ENOSPC },
		{ "status op=write code=0x020", -EROFS },
		{ "status op=write code=0x001", -ENOTSUP },
		{ "status op=write code=0x080 dnr", -EIO },
		{ "status op=write code=0x7ff", -EIO },
		{ "status op=write code=0x022 times=9", -EIO },
		{ "status op=write code=0x022 times=3", 0 },
		{ "status op=write code=0x022 dnr", -EIO },
	};
	static uint8_t buf[LEN];

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .volatile_cache = true }, "&queues=1");
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		nvme_fault(&fx, table[i].fault);
		if (bd_write(fx.dev, buf, i % 2 ? LEN : 512, 0, 0) != table[i].rc)
			fail_msg("%s", table[i].fault);
		nvme_fault(&fx, "clear");
	}
	nvme_fault(&fx, "status op=read code=0x281");
	assert_int_equal(bd_read(fx.dev, buf, 512, 0), -EIO);
	nvme_fault(&fx, "status op=zero code=0x002 times=0");
	assert_int_equal(bd_zero(fx.dev, 0, 65536, 0), 0); /* written instead */
	nvme_fault(&fx, "status op=dsm code=0x002");
	assert_int_equal(bd_discard(fx.dev, 0, 65536), -ENOTSUP);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 0);
	/* B3: a failed flush is for good, and not repeated. */
	nvme_fault(&fx, "status op=flush code=0x022");
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), 0);
	assert_int_equal(bd_flush(fx.dev), -EIO);
	assert_int_equal(bd_failed(fx.dev), -EIO);
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), -EIO);
}

/* B3: it may be of older writes, which nobody is told again. */
static void a_failed_write_with_fua_is_a_failed_flush(void **state)
{
	static uint8_t buf[LEN];

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .volatile_cache = true }, "&queues=1");
	/* Its data did not come: nothing was done. */
	nvme_fault(&fx, "status op=write code=0x022 times=3");
	assert_int_equal(bd_write(fx.dev, buf, LEN, 0, BD_FUA), 0);
	nvme_fault(&fx, "status op=write code=0x007");
	assert_int_equal(bd_write(fx.dev, buf, LEN, 0, 0), 0);
	assert_int_equal(bd_failed(fx.dev), 0);
	nvme_fault(&fx, "status op=write code=0x007");
	assert_int_equal(bd_write(fx.dev, buf, LEN, 0, BD_FUA), -EIO);
	assert_int_equal(bd_failed(fx.dev), -EIO);
	assert_int_equal(bd_flush(fx.dev), -EIO);
}

/* ---- silence ------------------------------------------------------------------ */

static void a_command_without_answer_is_repeated(void **state)
{
	uint8_t buf[512];
	struct async a;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1");
	nvme_fault(&fx, "hang op=write");
	pattern(buf, sizeof buf, 0, 1);
	async_start(&fx, &a, BD_WRITE, buf, 512, 0);
	wait_for(nvme_counts(&fx).faults == 1);
	assert_false(a.done);
	atomic_fetch_add(&clock_skew_ms, 31000);
	assert_int_equal(async_wait(&a), 0);
	there_and_back(&fx, 0, 512, 2);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 1);
}

static void keep_alives_are_sent_and_their_answers_missed(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1");
	wait_for(nvme_counts(&fx).keepalives >= 1);
	assert_int_equal(nvme_counts(&fx).kato, 0);
	nvme_fault(&fx, "hang op=keepalive");
	wait_for(nvme_counts(&fx).faults >= 1);
	atomic_fetch_add(&clock_skew_ms, 2100);
	wait_for(nvme_bd_counts(&fx).reconnects == 1);
	there_and_back(&fx, 0, LEN, 1);
}

/* An event makes the path ask for a log, which is never given: it may not fall silent over that. */
static void a_slow_log_does_not_stop_keep_alives(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };
	struct err err = { "" };
	char uri[256];
	uint64_t before;

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	snprintf(uri, sizeof uri, "nvme-tcp://127.0.0.1:%u/%s?kato=1s&queues=1",
		 nvme_target_port(fx.target, 0), NVME_TARGET_NQN);
	assert_int_equal(bd_open(uri, NULL, &env, &fx.dev, &err), 0);
	nvme_fault(&fx, "hang op=log");
	nvme_fault(&fx, "size blocks=200000");
	wait_for(nvme_counts(&fx).faults == 1);
	before = nvme_counts(&fx).keepalives;
	/* Two more, and another one: for longer than the target bears silence. */
	wait_for(nvme_counts(&fx).keepalives >= before + 3);
	assert_int_equal(nvme_counts(&fx).kato, 0);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 0);
	there_and_back(&fx, 0, LEN, 1);
}

static void a_slow_log_does_not_delay_a_cancel(void **state)
{
	uint8_t buf[512] = { 0 };
	struct async a;
	uint64_t start;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1");
	nvme_fault(&fx, "nokato");
	nvme_fault(&fx, "hang op=write");
	nvme_fault(&fx, "hang op=log");
	async_start(&fx, &a, BD_WRITE, buf, 512, 0);
	nvme_fault(&fx, "size blocks=200000");
	wait_for(nvme_counts(&fx).faults == 2);
	start = clock_ms();
	bd_cancel(fx.dev);
	assert_int_equal(async_wait(&a), -ECANCELED);
	assert_in_range(clock_ms() - start, 0, 5000);
}

static void a_fatal_state_is_noticed(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1");
	there_and_back(&fx, 0, LEN, 1);
	nvme_fault(&fx, "fatal");
	wait_for(nvme_bd_counts(&fx).reconnects == 1);
	there_and_back(&fx, 0, LEN, 2);
}

static void a_frozen_target_is_waited_for(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "&queues=1");
	nvme_fault(&fx, "freeze ms=300");
	there_and_back(&fx, 0, LEN, 1);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 0);
}

/* ---- another namespace ------------------------------------------------------- */

static void another_namespace_is_not_written_to(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS, .timeout_ms = 700 };
	static const char *const changes[] = { "identity", "size blocks=8" };
	uint8_t out[4096], in[4096];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(changes); i++) {
		struct nvme_target_counts c;

		nvme_target_up(&fx, &(struct nvme_target_config){ .size = 1 << 20 });
		nvme_open_env(&fx, 1, "&queues=1", &env);
		there_and_back(&fx, 65536, 4096, 1);
		nvme_target_kill(fx.target, 0);
		nvme_fault(&fx, changes[i]);
		assert_int_equal(nvme_target_revive(fx.target, NULL), 0);
		c = nvme_counts(&fx);
		pattern(out, sizeof out, 65536, 9);
		assert_int_equal(bd_write(fx.dev, out, 4096, 0, 0), -ETIMEDOUT);
		assert_int_equal(bd_failed(fx.dev), -ETIMEDOUT);
		assert_int_equal(nvme_counts(&fx).writes, c.writes);
		memset(out, 0, sizeof out);
		assert_int_equal(nvme_target_peek(fx.target, 1, 0, in, 4096, false), 0);
		assert_memory_equal(in, out, 4096);
		nvme_down(&fx);
	}
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
}

/* Told by an event, with the connection as it was. */
static void a_changed_identity_ends_the_connection(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS, .timeout_ms = 500 };
	uint8_t buf[4096] = { 0 };

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_open_env(&fx, 1, "&queues=1", &env);
	nvme_fault(&fx, "identity");
	wait_for(nvme_bd_counts(&fx).paused);
	assert_int_equal(bd_write(fx.dev, buf, 4096, 0, 0), -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_is_allowed_is_borne, tear_down),
		cmocka_unit_test_teardown(what_is_wrong_ends_the_connection, tear_down),
		cmocka_unit_test_teardown(a_wrong_data_digest_is_read_again, tear_down),
		cmocka_unit_test_teardown(an_error_of_the_target_has_its_number, tear_down),
		cmocka_unit_test_teardown(a_failed_write_with_fua_is_a_failed_flush, tear_down),
		cmocka_unit_test_teardown(a_command_without_answer_is_repeated, tear_down),
		cmocka_unit_test_teardown(keep_alives_are_sent_and_their_answers_missed, tear_down),
		cmocka_unit_test_teardown(a_slow_log_does_not_stop_keep_alives, tear_down),
		cmocka_unit_test_teardown(a_slow_log_does_not_delay_a_cancel, tear_down),
		cmocka_unit_test_teardown(a_fatal_state_is_noticed, tear_down),
		cmocka_unit_test_teardown(a_frozen_target_is_waited_for, tear_down),
		cmocka_unit_test_teardown(another_namespace_is_not_written_to, tear_down),
		cmocka_unit_test_teardown(a_changed_identity_ends_the_connection, tear_down),
	};

	if (getenv("NVME_TEST"))
		cmocka_set_test_filter(getenv("NVME_TEST"));
	log_level = getenv("NVME_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
