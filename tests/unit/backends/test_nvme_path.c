/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that die, come back, or have several paths: no request fails in the time that it has, no byte is lost or old. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/backends/nvme_load.h"

enum { RESTARTS = 12 };

static struct nvme_fixture fx;

static int tear_down(void **state)
{
	(void)state;
	nvme_down(&fx);
	return 0;
}

/* The device reads everywhere what the target has after all is flushed. */
static void flushed_is_durable(void)
{
	static uint8_t now[LOAD_STRIDE], durable[LOAD_STRIDE];

	assert_int_equal(bd_flush(fx.dev), 0);
	for (uint64_t off = 0; off < (uint64_t)LOAD_JOBS * LOAD_STRIDE; off += LOAD_STRIDE) {
		assert_int_equal(bd_read(fx.dev, now, sizeof now, off), 0);
		assert_int_equal(nvme_target_peek(fx.target, 1, off, durable, sizeof durable, true),
				 0);
		assert_memory_equal(now, durable, sizeof now);
	}
}

/* ---- restarts ------------------------------------------------------------- */

static void restarts(const struct nvme_target_config *cfg, const char *params, unsigned n)
{
	struct load *l;

	nvme_both_up(&fx, cfg, params);
	l = load_start(&fx, 0);
	for (unsigned i = 0; i < n; i++) {
		unsigned done = atomic_load(&l->done);

		wait_for(atomic_load(&l->done) >= done + LOAD_JOBS);
		nvme_target_kill(fx.target, i % 3 ? 0 : 500);
		assert_int_equal(nvme_target_revive(fx.target, NULL), 0);
	}
	atomic_store(&l->stop, true);
	load_end(l);
	assert_in_range(nvme_bd_counts(&fx).reconnects, n, 3 * n);
	flushed_is_durable();
}

static void restarts_lose_nothing(void **state)
{
	const char *n = getenv("NVME_TEST_RESTARTS");

	(void)state;
	restarts(&(struct nvme_target_config){ .volatile_cache = true, .in_capsule = 4096 },
		 "&queues=2", n ? (unsigned)atoi(n) : RESTARTS);
	assert_true(nvme_counts(&fx).lost_blocks > 0);
	nvme_down(&fx);
	restarts(&(struct nvme_target_config){ .volatile_cache = true, .block_size = 512 },
		 "&queues=1&hdgst=yes&ddgst=yes", RESTARTS / 4);
}

/* Nothing is in flight when the server dies, and it is back before anybody looks. */
static void what_was_answered_survives_a_quick_restart(void **state)
{
	uint8_t out[8192], in[8192];

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .volatile_cache = true }, "&queues=1");
	for (unsigned i = 0; i < 5; i++) {
		pattern(out, sizeof out, 0, i);
		assert_int_equal(bd_write(fx.dev, out, sizeof out, 0, 0), 0);
		nvme_target_kill(fx.target, 0);
		nvme_target_peek(fx.target, 1, 0, in, sizeof in, false);
		assert_memory_not_equal(in, out, sizeof in);
		assert_int_equal(nvme_target_revive(fx.target, NULL), 0);
		wait_for(nvme_bd_counts(&fx).reconnects == i + 1);
		assert_int_equal(bd_read(fx.dev, in, sizeof in, 0), 0);
		assert_memory_equal(in, out, sizeof in);
	}
	assert_int_equal(bd_flush(fx.dev), 0);
	assert_int_equal(nvme_target_peek(fx.target, 1, 0, in, sizeof in, true), 0);
	assert_memory_equal(in, out, sizeof in);
}

static void a_server_that_stays_away_ends_the_device(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS, .timeout_ms = 300 };
	uint8_t buf[512] = { 0 };

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_open_env(&fx, 1, "", &env);
	nvme_target_kill(fx.target, 0);
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), -ETIMEDOUT);
	assert_int_equal(nvme_target_revive(fx.target, NULL), 0);
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), -ETIMEDOUT);
}

static void a_close_while_the_server_is_away(void **state)
{
	uint8_t buf[512] = { 0 };
	struct async a;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "");
	nvme_target_kill(fx.target, 0);
	async_start(&fx, &a, BD_WRITE, buf, 512, 0);
	wait_for(nvme_bd_counts(&fx).paused);
	bd_cancel(fx.dev);
	assert_int_equal(async_wait(&a), -ECANCELED);
}

/* ---- late writes ------------------------------------------------------------ */

/* A write that its connection did not survive is executed later. What comes after it must not be undone by that. */
static void a_late_write_does_not_undo_a_newer_one(void **state)
{
	const struct bd_env env = { .settle_ms = 150 };
	uint8_t old[4096], new[4096], in[4096];

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_open_env(&fx, 1, "&queues=1", &env);
	pattern(old, sizeof old, 0, 1);
	pattern(new, sizeof new, 0, 2);
	nvme_fault(&fx, "late op=write ms=100");
	assert_int_equal(bd_write(fx.dev, old, 4096, 0, 0), 0);
	assert_int_equal(bd_write(fx.dev, new, 4096, 0, 0), 0);
	wait_for(nvme_counts(&fx).late == 1 && !nvme_counts(&fx).delayed);
	assert_int_equal(bd_read(fx.dev, in, 4096, 0), 0);
	assert_memory_equal(in, new, 4096);
}

/* Without settle_ms it is the keep-alive time; with a confirmed shutdown there is nothing to wait for. */
static void a_confirmed_shutdown_needs_no_settling(void **state)
{
	const struct bd_env env = { .settle_ms = 0 };
	uint8_t buf[4096] = { 0 };
	uint64_t start;

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_open_env(&fx, 1, "&queues=1", &env);
	nvme_fault(&fx, "garbage pdu=resp queue=1");
	start = clock_ms();
	assert_int_equal(bd_write(fx.dev, buf, 4096, 0, 0), 0);
	assert_true(clock_ms() - start < 1500);
	assert_int_equal(nvme_counts(&fx).shutdowns, 1);
	nvme_fault(&fx, "drop op=write");
	start = clock_ms();
	if (getenv("NVME_TEST_SLOW")) {
		nvme_fault(&fx, "shutdown-never");
		assert_int_equal(bd_write(fx.dev, buf, 4096, 0, 0), 0);
		assert_in_range(clock_ms() - start, 1900, 5000);
	}
}

/* ---- several paths ------------------------------------------------------------ */

static const struct nvme_target_config two = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
					       .volatile_cache = true };

static void open_two(void)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };

	nvme_target_up(&fx, &two);
	nvme_open_env(&fx, 2, "&queues=1", &env);
}

static void the_other_path_takes_over(void **state)
{
	struct load *l;

	(void)state;
	open_two();
	l = load_start(&fx, 0);
	for (unsigned i = 0; i < 6; i++) {
		unsigned done = atomic_load(&l->done);

		nvme_fault(&fx, i % 2 ? "up path=0" : "down path=0");
		wait_for(atomic_load(&l->done) >= done + LOAD_JOBS);
		nvme_fault(&fx, i % 2 ? "reset path=1" : "up path=1");
		done = atomic_load(&l->done);
		wait_for(atomic_load(&l->done) >= done + LOAD_JOBS);
	}
	atomic_store(&l->stop, true);
	load_end(l);
	flushed_is_durable();
}

/* Of the admin commands and of data, since the last call: which path has writes? */
static bool writes_go_to(unsigned path)
{
	char text[64];
	uint64_t faults = nvme_counts(&fx).faults;
	uint8_t buf[512] = { 0 };

	snprintf(text, sizeof text, "delay op=write path=%u ms=1", path);
	nvme_fault(&fx, text);
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), 0);
	nvme_fault(&fx, "clear");
	return nvme_counts(&fx).faults > faults;
}

static void the_state_of_access_decides(void **state)
{
	(void)state;
	open_two();
	assert_true(writes_go_to(0));
	nvme_fault(&fx, "ana path=0 state=nonoptimized");
	wait_for(writes_go_to(1));
	nvme_fault(&fx, "ana path=1 state=inaccessible");
	wait_for(writes_go_to(0));
	nvme_fault(&fx, "ana path=1 state=optimized");
	wait_for(writes_go_to(1));
	nvme_fault(&fx, "ana path=1 state=change");
	wait_for(writes_go_to(0));
	nvme_fault(&fx, "ana path=0 state=lost");
	nvme_fault(&fx, "ana path=1 state=optimized");
	wait_for(writes_go_to(1));
	assert_int_equal(nvme_bd_counts(&fx).errors, 0);
}

/* The controller says so in its answers, before any event. */
static void a_path_error_moves_the_request(void **state)
{
	static const char *const faults[] = { "status op=io path=0 code=0x302",
					      "status op=io path=0 code=0x303",
					      "status op=io path=0 code=0x360",
					      "status op=io path=0 code=0x370 times=3" };

	(void)state;
	open_two();
	for (unsigned i = 0; i < ARRAY_LEN(faults); i++) {
		nvme_fault(&fx, faults[i]);
		there_and_back(&fx, 0, 65536, i);
		nvme_fault(&fx, "clear");
	}
	assert_int_equal(nvme_bd_counts(&fx).errors, 0);
}

static void no_access_is_waited_for(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS, .timeout_ms = 5000 };
	uint8_t buf[4096] = { 0 };
	struct async a;

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_open_env(&fx, 1, "", &env);
	nvme_fault(&fx, "ana state=inaccessible");
	wait_for(nvme_bd_counts(&fx).paused);
	async_start(&fx, &a, BD_WRITE, buf, sizeof buf, 0);
	assert_false(atomic_load(&a.done));
	nvme_fault(&fx, "ana state=optimized");
	assert_int_equal(async_wait(&a), 0);
}

static void one_path_of_two_is_enough_to_open(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };
	struct err err = { "" };

	(void)state;
	nvme_target_up(&fx, &two);
	nvme_fault(&fx, "down path=0");
	nvme_open_env(&fx, 2, "", &env);
	there_and_back(&fx, 0, 65536, 1);
	bd_close(fx.dev);
	fx.dev = NULL;
	nvme_fault(&fx, "down path=1");
	assert_true(nvme_try_open(&fx, 2, "", &env, &err) < 0);
	assert_non_null(strstr(err.text, "cannot connect"));
	nvme_fault(&fx, "up path=1");
	nvme_fault(&fx, "ana path=1 state=inaccessible");
	assert_int_equal(nvme_try_open(&fx, 2, "", &env, &err), -ECONNREFUSED);
}

/* ---- paths that can do different things ---------------------------------------- */

/* Two targets that say they are one subsystem: strong has no cache and takes large commands, weak the opposite. */
static struct nvme_target *weak;

static int weak_tear_down(void **state)
{
	tear_down(state);
	nvme_target_stop(weak);
	weak = NULL;
	return 0;
}

static int open_unequal(bool weak_first, const struct bd_env *env, struct err *err)
{
	unsigned ports[2] = { nvme_target_port(fx.target, 0), nvme_target_port(weak, 0) };
	char uri[256];

	snprintf(uri, sizeof uri, "nvme-tcp://127.0.0.1:%u/%s?kato=2s&queues=1&path=127.0.0.1:%u",
		 ports[weak_first], NVME_TARGET_NQN, ports[!weak_first]);
	return bd_open(uri, NULL, env, &fx.dev, err);
}

static void start_unequal(void)
{
	struct err err = { "" };

	nvme_target_up(&fx, &(struct nvme_target_config){ .size = 1 << 20, .mdts = 5 });
	if (nvme_target_start(&(struct nvme_target_config){ .size = 1 << 20,
							    .mdts = 1,
							    .volatile_cache = true },
			      &weak, &err))
		fail_msg("target: %s", err.text);
}

/* Whichever was the first to answer. */
static void an_open_promises_what_all_paths_can_do(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };
	struct err err = { "" };

	(void)state;
	start_unequal();
	for (unsigned i = 0; i < 4; i++) {
		/* The other one is late. */
		struct nvme_target *late = i & 1 ? fx.target : weak;

		assert_int_equal(nvme_target_fault(late, "delay op=identify ms=50", &err), 0);
		assert_int_equal(open_unequal(i & 2, &env, &err), 0);
		assert_int_equal(fx.dev->limits.max_transfer, 8192);
		assert_true(fx.dev->limits.volatile_cache && fx.dev->limits.fua &&
			    fx.dev->limits.keeps);
		bd_close(fx.dev);
		fx.dev = NULL;
	}
}

/* Requests are made for the device as it was opened. */
static void a_lesser_path_is_not_used_after_the_open(void **state)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS, .timeout_ms = 500 };
	struct nvme_target_counts c;
	uint8_t buf[512] = { 0 };
	struct err err = { "" };

	(void)state;
	start_unequal();
	assert_int_equal(nvme_target_fault(weak, "down", &err), 0);
	assert_int_equal(open_unequal(false, &env, &err), 0);
	assert_int_equal(fx.dev->limits.max_transfer, 128 << 10);
	assert_false(fx.dev->limits.volatile_cache);
	assert_int_equal(nvme_target_fault(weak, "up", &err), 0);
	nvme_fault(&fx, "down");
	assert_int_equal(bd_write(fx.dev, buf, 512, 0, 0), -ETIMEDOUT);
	nvme_target_counts(weak, &c);
	assert_true(c.controllers > 0);
	assert_int_equal(c.writes, 0);
}

/* ---- others connect -------------------------------------------------------------- */

static struct dialler {
	_Atomic unsigned dials, by_address, taken;
} dialler;

static int connect_to(const struct be_dial *want)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(want->port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	dialler.by_address += !strcmp(want->host, "127.0.0.1");
	inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		close(fd);
		fd = -ECONNREFUSED;
	}
	return fd;
}

static int dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct dialler *d = arg;
	int fd = connect_to(want);

	d->dials++;
	return fd < 0 ? err_set(err, fd, "no way to %s", want->host) : fd;
}

/* With an outcome to wait for: what dial() gives is readable when the connection is there. */
static int dial_later(void *arg, const struct be_dial *want, struct err *err)
{
	int pair[2], fd = dial(arg, want, err);

	if (fd < 0)
		return fd;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(write(pair[1], &fd, sizeof fd), sizeof fd);
	close(pair[1]);
	return pair[0];
}

static int dialled(int fd_take, struct err *err)
{
	int fd = -1;

	(void)err;
	dialler.taken++;
	assert_int_equal(read(fd_take, &fd, sizeof fd), sizeof fd);
	close(fd_take);
	return fd;
}

static void connections_are_made_by_others(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct bd_env env = { .settle_ms = SETTLE_MS,
					    .dial = i ? dial_later : dial,
					    .dialled = i ? dialled : NULL,
					    .dial_arg = &dialler };
		struct err err = { "" };
		char uri[256];

		memset(&dialler, 0, sizeof dialler);
		nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
		snprintf(uri, sizeof uri, "nvme-tcp://some.name:%u/%s?queues=2",
			 nvme_target_port(fx.target, 0), NVME_TARGET_NQN);
		assert_int_equal(bd_open(uri, NULL, &env, &fx.dev, &err), 0);
		there_and_back(&fx, 0, 65536, i);
		assert_int_equal(dialler.dials, 3);
		assert_int_equal(dialler.taken, i ? 3 : 0);
		/* I/O queues go where the first one went, whatever else the name stands for. */
		assert_int_equal(dialler.by_address, 2);
		nvme_fault(&fx, "reset");
		there_and_back(&fx, 0, 65536, 9);
		wait_for(dialler.dials >= 6);
		bd_close(fx.dev);
		fx.dev = NULL;
		nvme_fault(&fx, "down");
		assert_int_equal(nvme_try_open(&fx, 1, "", &env, &err), -ECONNREFUSED);
		assert_non_null(strstr(err.text, "no way to"));
		if (!i)
			nvme_down(&fx);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(restarts_lose_nothing, tear_down),
		cmocka_unit_test_teardown(what_was_answered_survives_a_quick_restart, tear_down),
		cmocka_unit_test_teardown(a_server_that_stays_away_ends_the_device, tear_down),
		cmocka_unit_test_teardown(a_close_while_the_server_is_away, tear_down),
		cmocka_unit_test_teardown(a_late_write_does_not_undo_a_newer_one, tear_down),
		cmocka_unit_test_teardown(a_confirmed_shutdown_needs_no_settling, tear_down),
		cmocka_unit_test_teardown(the_other_path_takes_over, tear_down),
		cmocka_unit_test_teardown(the_state_of_access_decides, tear_down),
		cmocka_unit_test_teardown(a_path_error_moves_the_request, tear_down),
		cmocka_unit_test_teardown(no_access_is_waited_for, tear_down),
		cmocka_unit_test_teardown(one_path_of_two_is_enough_to_open, tear_down),
		cmocka_unit_test_teardown(an_open_promises_what_all_paths_can_do, weak_tear_down),
		cmocka_unit_test_teardown(a_lesser_path_is_not_used_after_the_open, weak_tear_down),
		cmocka_unit_test_teardown(connections_are_made_by_others, tear_down),
	};

	if (getenv("NVME_TEST"))
		cmocka_set_test_filter(getenv("NVME_TEST"));
	log_level = getenv("NVME_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
