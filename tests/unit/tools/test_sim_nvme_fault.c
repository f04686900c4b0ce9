/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated NVMe target as a bad one: each fault does what its sentence says, as often as it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "tests/unit/tools/nvme_fixture.h"

/* ---- faults of commands ----------------------------------------------- */

static void status_and_after_and_times(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("status op=read code=0x281 after=1 times=2");
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0x281);
	assert_int_equal(g16(fx.io.pdu + 22) >> 1 & 0x4000, 0);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0x281);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	fault("status op=write code=0x280 dnr");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out, 512), 0x280);
	assert_int_equal(g16(fx.io.pdu + 22) >> 1 & 0x4000, 0x4000);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	assert_int_equal(fx.in[1], 0);
	assert_int_equal(counts().faults, 3);
	assert_int_equal(counts().refused, 0);
}

static void drop_loses_the_command_and_lost_the_answer(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("drop op=write");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out + 1, 512), H_EOF);
	host_close(&fx.io);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_int_equal(fx.in[0], 0);
	fault("lost op=write");
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out + 1, 512), H_EOF);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_memory_equal(fx.in, fx.out + 1, 512);
}

static void a_late_write_lands_when_its_connection_is_gone(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("late op=write ms=60000");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out + 1, 512), H_EOF);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_int_equal(fx.in[0], 0);
	assert_int_equal(counts().delayed, 1);
	clock_skew_ms += 60001;
	while (!counts().late) /* the alarm of the test's runner is its limit */
		poll(NULL, 0, 1);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_memory_equal(fx.in, fx.out + 1, 512);
}

static void a_kill_forgets_late_writes(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("late op=write ms=60000");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out + 1, 512), H_EOF);
	nvme_target_kill(fx.t, 0);
	assert_int_equal(counts().delayed, 0);
}

/* Nothing comes before the time, and the answer after it. */
static void expect_silence_until(uint64_t ms, int type)
{
	struct pollfd p = { .fd = fx.io.fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 30), 0);
	clock_skew_ms += ms;
	assert_int_equal(host_pdu(&fx.io), type);
}

static void slow_is_executed_and_delay_is_not(void **state)
{
	uint8_t q[64];

	(void)state;
	both(&plain, 0, 0, false);
	fault("slow op=write ms=60000");
	fault("delay op=write ms=60000 after=1");
	sqe_rw(q, 0x01, 0, 1, 0, 0x01, 512);
	host_capsule(&fx.io, q, fx.out + 1, 512);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_memory_equal(fx.in, fx.out + 1, 512);
	expect_silence_until(60001, H_RESP);
	host_capsule(&fx.io, q, fx.out + 2, 512);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_memory_equal(fx.in, fx.out + 1, 512);
	expect_silence_until(60001, H_RESP);
	assert_int_equal(nvme_target_peek(fx.t, 1, 0, fx.in, 512, true), 0);
	assert_memory_equal(fx.in, fx.out + 2, 512);
}

/* The controller that a late Connect makes has been heard after the look at the clock that found it due. */
static void a_delayed_connect_is_late_and_nothing_else(void **state)
{
	(void)state;
	up(&plain);
	fault("delay op=connect ms=20 times=0");
	assert_true(host_admin(&fx.a, fx.port, 0, 5000));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(counts().faults, 2);
	assert_int_equal(counts().kato, 0);
}

static void answers_with_another_id_or_twice(void **state)
{
	uint8_t q[64];
	uint16_t cid;

	(void)state;
	both(&plain, 0, 0, false);
	fault("wrongid op=flush");
	assert_int_equal(host_flush(&fx.io), 0x20000);
	fault("twice op=flush");
	sqe_make(q, 0x00, 1, 0, 0);
	cid = host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_status(&fx.io, cid), 0);
	assert_int_equal(host_status(&fx.io, cid), 0);
}

static void a_controller_says_fatal(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("csts op=write");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out, 512), 0);
	assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	assert_int_equal(host_result(&fx.a), 3);
}

static void a_fatal_order_is_of_its_path(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("fatal path=0");
	assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	assert_int_equal(host_result(&fx.a), 3);
}

/* ---- faults of R2T ---------------------------------------------------- */

static void an_r2t_comes_late(void **state)
{
	uint8_t q[64];

	(void)state;
	both(&plain, 0, 0, false);
	fault("r2t-late ms=60000");
	assert_int_equal(host_write(&fx.io, 0, 1, 0, fx.out, 512), 0); /* needs none */
	sqe_rw(q, 0x01, 0, 64, 0, 0x5a, 32768);
	host_capsule(&fx.io, q, NULL, 0);
	expect_silence_until(60001, H_R2T);
}

static void r2ts_come_in_pieces_in_any_order(void **state)
{
	uint8_t q[64];
	unsigned r2ts;

	(void)state;
	both(&plain, 0, 1, false);
	fault("r2t-pieces pieces=5 order=random");
	assert_int_equal(host_write_r2t(&fx.io, 0, 64, fx.out, 32768, 3000, &r2ts), 0);
	assert_int_equal(r2ts, 5);
	assert_int_equal(host_read(&fx.io, 0, 64, fx.in, 32768), 0);
	assert_memory_equal(fx.in, fx.out, 32768);
	fault("r2t-pieces pieces=4 order=reverse");
	sqe_rw(q, 0x01, 0, 64, 0, 0x5a, 32768);
	host_capsule(&fx.io, q, NULL, 0);
	for (unsigned i = 0; i < 2; i++) { /* at once */
		assert_int_equal(host_pdu(&fx.io), H_R2T);
		assert_int_equal(g32(fx.io.pdu + 12), (3 - i) * 8192);
	}
}

static void r2ts_that_ask_for_what_is_not_there(void **state)
{
	uint8_t q[64];
	uint16_t cid;

	(void)state;
	both(&plain, 0, 0, false);
	fault("r2t-beyond");
	fault("r2t-id after=1");
	sqe_rw(q, 0x01, 0, 64, 0, 0x5a, 32768);
	cid = host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_pdu(&fx.io), H_R2T);
	assert_int_equal(g16(fx.io.pdu + 8), cid);
	assert_int_equal(g32(fx.io.pdu + 12), 32768);
	cid = host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_pdu(&fx.io), H_R2T);
	assert_int_not_equal(g16(fx.io.pdu + 8), cid);
}

/* ---- faults of data --------------------------------------------------- */

/* Starts a read of eight blocks. */
static uint16_t start_read(void)
{
	uint8_t q[64];

	sqe_rw(q, 0x02, 0, 8, 0, 0x5a, 4096);
	return host_capsule(&fx.io, q, NULL, 0);
}

static void expect_data(uint16_t cid, uint32_t off, uint32_t len, unsigned flags)
{
	assert_int_equal(host_pdu(&fx.io), H_C2H);
	assert_int_equal(g16(fx.io.pdu + 8), cid);
	assert_int_equal(g32(fx.io.pdu + 12), off);
	assert_int_equal(g32(fx.io.pdu + 16), len);
	assert_int_equal(fx.io.dlen, len);
	assert_int_equal(fx.io.pdu[1] & 0xc, flags);
}

static void data_come_in_pieces(void **state)
{
	uint16_t cid;

	(void)state;
	both(&plain, 3, 0, false);
	assert_int_equal(host_write(&fx.io, 0, 8, 0, fx.out, 4096), 0);
	fault("data-pieces pieces=4 order=reverse");
	cid = start_read();
	for (uint32_t i = 0; i < 4; i++) {
		expect_data(cid, (3 - i) * 1024, 1024, i == 3 ? 0xc : 0);
		assert_memory_equal(fx.io.pdu + fx.io.at, fx.out + (3 - i) * 1024, 1024);
	}
	fault("data-pieces pieces=1000 order=random");
	assert_int_equal(host_read(&fx.io, 0, 8, fx.in, 4096), 0);
	assert_memory_equal(fx.in, fx.out, 4096);
}

static void data_without_last_or_success(void **state)
{
	uint16_t cid;

	(void)state;
	both(&plain, 0, 0, false);
	fault("data-nolast");
	cid = start_read();
	expect_data(cid, 0, 4096, 8);
	fault("data-nosuccess");
	cid = start_read();
	expect_data(cid, 0, 4096, 4);
	assert_int_equal(host_status(&fx.io, cid), 0);
}

static void data_behind_padding(void **state)
{
	(void)state;
	both(&plain, 3, 0, false);
	assert_int_equal(host_write(&fx.io, 0, 8, 0, fx.out, 4096), 0);
	fault("data-pad bytes=20");
	assert_int_equal(host_read(&fx.io, 0, 8, fx.in, 4096), 0);
	assert_int_equal(fx.io.at, 24 + 4 + 20);
	assert_memory_equal(fx.in, fx.out, 4096);
}

static void data_that_do_not_fit(void **state)
{
	uint16_t cid;

	(void)state;
	both(&plain, 0, 0, false);
	fault("data-short");
	cid = start_read();
	expect_data(cid, 0, 3584, 0xc);
	fault("data-long");
	cid = start_read();
	expect_data(cid, 0, 4096, 0);
	expect_data(cid, 4096, 512, 0xc);
	fault("data-beyond");
	cid = start_read();
	expect_data(cid, 1 << 20, 4096, 0xc);
	fault("data-id");
	cid = start_read();
	expect_data(cid ^ 0x7fff, 0, 4096, 0xc);
	cid = start_read();
	expect_data(cid, 0, 4096, 0xc);
}

/* ---- faults of PDUs --------------------------------------------------- */

static void a_pdu_is_sent_in_small_steps(void **state)
{
	uint8_t q[64], b[24];

	(void)state;
	both(&plain, 0, 0, false);
	fault("split pdu=resp bytes=7 ms=60000 queue=1");
	sqe_make(q, 0x00, 1, 0, 0);
	host_capsule(&fx.io, q, NULL, 0);
	for (unsigned i = 0; i < 4; i++) {
		struct pollfd p = { .fd = fx.io.fd, .events = POLLIN };

		assert_int_equal(recv(fx.io.fd, b, sizeof b, 0), i < 3 ? 7 : 3);
		assert_int_equal(poll(&p, 1, 20), 0);
		clock_skew_ms += 60001;
	}
	fault("split pdu=c2h bytes=1");
	assert_int_equal(host_read(&fx.io, 0, 8, fx.in, 4096), 0);
}

static void digests_are_wrong_once(void **state)
{
	(void)state;
	both(&plain, 3, 0, false);
	fault("header-digest pdu=resp after=1 queue=io");
	assert_int_equal(host_identify(&fx.a, 1, 0, fx.page), 0);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(host_flush(&fx.io), -2);
	assert_int_equal(host_flush(&fx.io), 0);
	fault("data-digest");
	assert_int_equal(host_read(&fx.io, 0, 8, fx.in, 4096), -3);
	assert_int_equal(host_read(&fx.io, 0, 8, fx.in, 4096), 0);
}

static void connections_break_at_any_pdu(void **state)
{
	static const char *const rows[] = { "cut pdu=icresp",
					    "cut pdu=icreq",
					    "cut pdu=cmd after=1",
					    "cut pdu=h2c",
					    "cut pdu=r2t",
					    "cut pdu=c2h bytes=100",
					    "cut pdu=resp after=1 bytes=9" };

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned r2ts;
		bool all;

		fault(rows[i]);
		all = host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false) &&
		      !host_write_r2t(&fx.io, 0, 64, fx.out, 32768, 32768, &r2ts) &&
		      !host_read(&fx.io, 0, 8, fx.in, 4096);
		assert_false(all);
		assert_int_equal(host_pdu(&fx.io), H_EOF);
		host_close(&fx.io);
		assert_int_equal(counts().faults, i + 1);
	}
	assert_int_equal(host_identify(&fx.a, 1, 0, fx.page), 0);
}

static void a_pdu_breaks_off_after_some_bytes(void **state)
{
	uint8_t q[64], b[24];

	(void)state;
	both(&plain, 0, 0, false);
	fault("cut pdu=resp bytes=9");
	sqe_make(q, 0x00, 1, 0, 0);
	host_capsule(&fx.io, q, NULL, 0);
	assert_true(host_bytes(&fx.io, b, 9));
	assert_false(host_bytes(&fx.io, b, 1));
}

static void other_pdus_come_instead(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	fault("garbage pdu=resp");
	assert_int_equal(host_flush(&fx.io), 0x10000 | 0x2f);
	fault("length pdu=resp bytes=4");
	assert_int_equal(host_flush(&fx.io), -4);
	host_close(&fx.io);
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	fault("term fes=3");
	assert_int_equal(host_flush(&fx.io), 0x10000 | H_C2HTERM);
	assert_int_equal(g16(fx.io.pdu + 8), 3);
	assert_int_equal(counts().terms, 0);
}

/* ---- faults that last, and orders ------------------------------------- */

static void a_mute_path_answers_nothing(void **state)
{
	struct pollfd p = { .events = POLLIN };

	(void)state;
	up(&plain);
	fault("mute");
	assert_true(host_dial(&fx.a, fx.port));
	host_icreq(&fx.a, 0, 0);
	p.fd = fx.a.fd;
	assert_int_equal(poll(&p, 1, 30), 0);
	host_close(&fx.a);
	fault("clear");
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
}

static void a_silent_host_is_kept_when_told_so(void **state)
{
	(void)state;
	up(&plain);
	fault("nokato");
	assert_true(host_admin(&fx.a, fx.port, 0, 1000));
	clock_skew_ms += 600000;
	assert_int_equal(host_identify(&fx.a, 1, 0, fx.page), 0);
	fault("clear");
	clock_skew_ms += 600000;
	assert_int_equal(host_pdu(&fx.a), H_EOF);
}

static void ready_comes_late_and_shutdown_never(void **state)
{
	(void)state;
	up(&plain);
	fault("ready-late ms=60000");
	fault("shutdown-never");
	assert_false(host_admin(&fx.a, fx.port, 0, 0));
	assert_int_equal(host_result(&fx.a), 0);
	clock_skew_ms += 60001;
	do {
		assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	} while (!host_result(&fx.a));
	assert_int_equal(host_set_cc(&fx.a, 0x00464001), 0);
	assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	assert_int_equal(host_result(&fx.a), 1 | 1 << 2);
	assert_int_equal(counts().shutdowns, 0);
}

static void a_storm_loses_nothing(void **state)
{
	struct nvme_target_config cfg = { .size = 4 << 20, .seed = 7 };
	unsigned lost = 0, r2ts;

	(void)state;
	both(&cfg, 0, 0, false);
	fault("storm permille=300");
	for (unsigned i = 0; i < 100; i++) {
		bool ok = i % 2 ? !host_read(&fx.io, 0, 64, fx.in, 32768) :
				  !host_write_r2t(&fx.io, 0, 64, fx.out, 32768, 32768, &r2ts);

		if (ok && i % 2)
			assert_memory_equal(fx.in, fx.out, 32768);
		if (ok)
			continue;
		lost++;
		i -= i % 2 + 1; /* the write again */
		host_close(&fx.io);
		assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	}
	assert_in_range(counts().faults, 15, 80);
	assert_in_range(lost, 1, 30);
	assert_int_equal(counts().terms, 0);
}

static void permille_goes_by_seed(void **state)
{
	struct nvme_target_config cfg = { .size = 1 << 20, .seed = 3 };
	char runs[2][200];

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		both(&cfg, 0, 0, false);
		fault("status op=flush code=0x006 permille=300 times=0");
		for (unsigned i = 0; i < sizeof runs[0]; i++)
			runs[round][i] = (char)host_flush(&fx.io);
		assert_in_range(counts().faults, 30, 90);
		host_close(&fx.a);
		host_close(&fx.io);
		nvme_target_stop(fx.t);
		fx.t = NULL;
	}
	assert_memory_equal(runs[0], runs[1], sizeof runs[0]);
}

static void paths_go_down_and_up(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
						.size = 1 << 20 };
	struct host h;

	(void)state;
	both(&cfg, 0, 0, false);
	fault("reset path=1");
	assert_int_equal(host_flush(&fx.io), 0);
	fault("down path=0");
	assert_int_equal(host_pdu(&fx.io), H_EOF);
	assert_false(host_dial(&h, fx.port));
	host_close(&h);
	assert_true(host_admin(&h, nvme_target_port(fx.t, 1), 0, 0));
	host_close(&h);
	fault("up path=0");
	assert_true(host_admin(&h, fx.port, 0, 0));
	fault("reset");
	assert_int_equal(host_pdu(&h), H_EOF);
	host_close(&h);
}

static void a_frozen_target_goes_on_later(void **state)
{
	uint8_t q[64];

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 1000));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	fault("freeze ms=60000");
	sqe_make(q, 0x00, 1, 0, 0);
	host_capsule(&fx.io, q, NULL, 0);
	expect_silence_until(60001, H_RESP);
	assert_int_equal(counts().kato, 0); /* the time did not count */
}

static void sizes_change_within_limits(void **state)
{
	struct err err;

	(void)state;
	both(&plain, 0, 0, false);
	fault("size blocks=16384");
	assert_int_equal(host_write(&fx.io, 16383, 1, 0, fx.out, 512), 0);
	assert_int_equal(nvme_target_fault(fx.t, "size blocks=16385", &err), -EINVAL);
	fault("size blocks=100");
	assert_int_equal(host_read(&fx.io, 100, 1, fx.in, 512), 0x080);
	fault("size blocks=0");
	assert_int_equal(host_identify(&fx.a, 2, 0, fx.page), 0);
	assert_int_equal(g32(fx.page), 0);
}

static void bad_sentences_are_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = { { "", "no fault" },
		     { "dorp", "'dorp'" },
		     { "drop op=reed", "op=reed" },
		     { "drop when=now", "'when'" },
		     { "drop times=x", "times=x" },
		     { "drop times=-1", "times=-1" },
		     { "drop after", "after" },
		     { "drop permille=1001", "permille=1001" },
		     { "drop queue=17", "queue=17" },
		     { "drop path=8", "path=8" },
		     { "drop path=1", "1 paths" },
		     { "drop pdu=resp", "not of PDUs" },
		     { "drop ms=1", "'ms'" },
		     { "status", "code=" },
		     { "status code=0x800", "code=0x800" },
		     { "late op=read ms=1", "other commands" },
		     { "r2t-pieces pieces=0", "pieces=0" },
		     { "r2t-pieces pieces=2 order=sorted", "order=sorted" },
		     { "split bytes=0", "sends nothing" },
		     { "split bytes=1 pdu=h2c", "other PDUs" },
		     { "data-digest pdu=r2t", "other PDUs" },
		     { "data-pad bytes=6", "multiple of 4" },
		     { "ana state=best", "state=best" },
		     { "ana state=lost group=2", "namespaces" },
		     { "identity ns=2", "namespaces" },
		     { "freeze ms=99999999999999999999", "ms=" } };
	struct err err;
	char text[600];

	(void)state;
	up(&plain);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(nvme_target_fault(fx.t, rows[i].text, &err), -EINVAL);
		if (!strstr(err.text, rows[i].says))
			fail_msg("'%s': '%s'", rows[i].text, err.text);
	}
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(nvme_target_fault(fx.t, text, &err), -EINVAL);
	for (unsigned i = 0; i < NVME_TARGET_FAULTS_MAX; i++)
		fault("drop op=dsm");
	assert_int_equal(nvme_target_fault(fx.t, "drop", &err), -ENOSPC);
	fault("clear");
	fault("drop");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(status_and_after_and_times),
		T(drop_loses_the_command_and_lost_the_answer),
		T(a_late_write_lands_when_its_connection_is_gone),
		T(a_kill_forgets_late_writes),
		T(slow_is_executed_and_delay_is_not),
		T(a_delayed_connect_is_late_and_nothing_else),
		T(answers_with_another_id_or_twice),
		T(a_controller_says_fatal),
		T(a_fatal_order_is_of_its_path),
		T(an_r2t_comes_late),
		T(r2ts_come_in_pieces_in_any_order),
		T(r2ts_that_ask_for_what_is_not_there),
		T(data_come_in_pieces),
		T(data_without_last_or_success),
		T(data_behind_padding),
		T(data_that_do_not_fit),
		T(a_pdu_is_sent_in_small_steps),
		T(digests_are_wrong_once),
		T(connections_break_at_any_pdu),
		T(a_pdu_breaks_off_after_some_bytes),
		T(other_pdus_come_instead),
		T(a_mute_path_answers_nothing),
		T(a_silent_host_is_kept_when_told_so),
		T(ready_comes_late_and_shutdown_never),
		T(a_storm_loses_nothing),
		T(permille_goes_by_seed),
		T(paths_go_down_and_up),
		T(a_frozen_target_goes_on_later),
		T(sizes_change_within_limits),
		T(bad_sentences_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
