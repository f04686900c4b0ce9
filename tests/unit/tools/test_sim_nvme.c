/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated NVMe target as a good one: what it offers, what it keeps, what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/unit/tools/nvme_fixture.h"

#define FUA (1u << 30)

static const struct nvme_target_config big = { .size = 4 << 20, .block_size = 4096 };
static const struct nvme_target_config cached = { .size = 4 << 20, .volatile_cache = true };

/* ---- bring-up --------------------------------------------------------- */

static void a_controller_comes_up_and_tells_what_it_is(void **state)
{
	uint8_t *p = fx.page;

	(void)state;
	up(&cached);
	assert_true(host_admin(&fx.a, fx.port, 0, 5000));
	assert_int_equal(host_property(&fx.a, 0, true), 0);
	assert_int_equal(host_result(&fx.a) & 0xffff, 127);
	assert_int_equal(host_property(&fx.a, 8, false), 0);
	assert_int_equal(host_result(&fx.a), 0x10400);
	assert_int_equal(host_identify(&fx.a, 1, 0, p), 0);
	assert_true(p[76] & 8);     /* ANA */
	assert_int_equal(p[77], 8); /* MDTS */
	assert_int_equal(g16(p + 78), fx.a.cntlid);
	assert_int_equal(g16(p + 514), 128);       /* MAXCMD */
	assert_int_equal(g32(p + 516), 1);         /* NN */
	assert_int_equal(g16(p + 520) & 0xc, 0xc); /* DSM, write zeroes */
	assert_int_equal(p[525] & 1, 1);           /* VWC */
	assert_string_equal((char *)p + 768, NVME_TARGET_NQN);
	assert_int_equal(g32(p + 1792), (16384 + 64) / 16);
	assert_int_equal(host_feature(&fx.a, 0x09, 7, 7 | 7 << 16), 0);
	assert_int_equal(host_result(&fx.a), 3 | 3 << 16);
}

static void namespaces_tell_size_and_identity(void **state)
{
	const struct nvme_target_config cfg = { .size = 4 << 20,
						.block_size = 4096,
						.namespaces = 2 };
	uint8_t nguid[16], *p = fx.page;

	(void)state;
	up(&cfg);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	assert_int_equal(host_identify(&fx.a, 0, 2, p), 0);
	assert_int_equal(g64(p), 1024);
	assert_int_equal(p[26], 0);
	assert_int_equal(p[130], 12);
	assert_int_equal(g32(p + 92), 2);
	memcpy(nguid, p + 104, 16);
	assert_int_equal(host_identify(&fx.a, 3, 2, p), 0);
	assert_int_equal(p[0], 2);
	assert_int_equal(p[1], 16);
	assert_memory_equal(p + 4, nguid, 16);
	assert_int_equal(p[20], 3);
	assert_int_equal(p[20 + 4 + 6] >> 4, 4);
	assert_int_equal(host_identify(&fx.a, 2, 0, p), 0);
	assert_int_equal(g32(p), 1);
	assert_int_equal(g32(p + 4), 2);
	assert_int_equal(g32(p + 8), 0);
	assert_int_equal(host_identify(&fx.a, 2, 1, p), 0);
	assert_int_equal(g32(p), 2);
	assert_int_equal(host_identify(&fx.a, 0, 3, p), 0x00b);
	assert_int_equal(host_identify(&fx.a, 0x10, 1, p), 0x002);
	fault("identity ns=2");
	assert_int_equal(host_identify(&fx.a, 0, 2, p), 0);
	assert_memory_not_equal(p + 104, nguid, 16);
}

static void every_path_is_told_by_discovery(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
						.size = 1 << 20 };
	uint8_t *page = fx.in;
	char port[33];

	(void)state;
	up(&cfg);
	assert_true(host_dial(&fx.a, nvme_target_port(fx.t, 1)));
	host_icreq(&fx.a, 0, 0);
	assert_int_equal(host_pdu(&fx.a), H_ICRESP);
	assert_int_equal(host_connect(&fx.a, DISCOVERY, HOSTNQN, 0, 32, 0xffff, 0), 0);
	assert_int_equal(host_log(&fx.a, 0x70, page, 4096), 0x00c); /* not enabled yet */
	assert_int_equal(host_set_cc(&fx.a, 0x00460001), 0);
	assert_int_equal(host_log(&fx.a, 0x70, page, 4096), 0);
	assert_int_equal(g64(page + 8), 2);
	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *e = page + 1024 * (i + 1);

		assert_int_equal(e[0], 3);
		assert_int_equal(e[1], 1);
		assert_int_equal(e[2], 2);
		snprintf(port, sizeof port, "%u", nvme_target_port(fx.t, i));
		assert_memory_equal(e + 32, port, strlen(port));
		assert_string_equal((const char *)e + 256, NVME_TARGET_NQN);
		assert_memory_equal(e + 512, "127.0.0.1 ", 10);
	}
	assert_int_equal(host_log(&fx.a, 0x0c, page, 4096), 0x109);
}

static void connect_is_refused_with_a_reason(void **state)
{
	const struct nvme_target_config cfg = { .size = 1 << 20, .host_nqn = HOSTNQN };
	struct host *h = &fx.a;

	(void)state;
	up(&cfg);
	assert_true(host_dial(h, fx.port));
	host_icreq(h, 0, 0);
	assert_int_equal(host_pdu(h), H_ICRESP);
	assert_int_equal(host_property(h, 0, true), 0x001);
	assert_int_equal(host_connect(h, "nqn.other", HOSTNQN, 0, 32, 0xffff, 0), 0x182);
	assert_int_equal(host_result(h), 256 | 1 << 16);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, "nqn.stranger", 0, 32, 0xffff, 0), 0x184);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, HOSTNQN, 0, 1, 0xffff, 0), 0x182);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, HOSTNQN, 0, 32, 7, 0), 0x182);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, HOSTNQN, 1, 32, 7, 0), 0x182);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, HOSTNQN, 0, 32, 0xffff, 0), 0);
	assert_int_equal(host_connect(h, NVME_TARGET_NQN, HOSTNQN, 0, 32, 0xffff, 0), 0x00c);
	/* An I/O queue before the controller is ready, one too many, one twice. */
	assert_true(host_dial(&fx.io, fx.port));
	host_icreq(&fx.io, 0, 0);
	assert_int_equal(host_pdu(&fx.io), H_ICRESP);
	assert_int_equal(host_connect(&fx.io, NVME_TARGET_NQN, HOSTNQN, 1, 32, h->cntlid, 0),
			 0x00c);
	assert_int_equal(host_set_cc(h, 0x00460001), 0);
	assert_int_equal(host_connect(&fx.io, NVME_TARGET_NQN, HOSTNQN, 5, 32, h->cntlid, 0),
			 0x182);
	assert_int_equal(host_connect(&fx.io, NVME_TARGET_NQN, HOSTNQN, 1, 129, h->cntlid, 0),
			 0x182);
	assert_int_equal(host_connect(&fx.io, NVME_TARGET_NQN, "nqn.x", 1, 32, h->cntlid, 0),
			 0x182);
	assert_int_equal(host_connect(&fx.io, NVME_TARGET_NQN, HOSTNQN, 1, 32, h->cntlid, 0), 0);
	host_close(&fx.io);
}

static void commands_want_an_enabled_controller(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	assert_int_equal(host_set_cc(&fx.a, 0x00460000), 0);
	assert_int_equal(host_identify(&fx.a, 1, 0, fx.page), 0x00c);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0x00c);
	assert_int_equal(host_set_cc(&fx.a, 0x00560001), 0); /* entries of 32 bytes */
	assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	assert_int_equal(host_result(&fx.a), 2);
}

static void shutdown_is_confirmed(void **state)
{
	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	assert_int_equal(host_set_cc(&fx.a, 0x00464001), 0);
	assert_int_equal(host_property(&fx.a, 0x1c, false), 0);
	assert_int_equal(host_result(&fx.a) & 0xc, 8);
	assert_int_equal(counts().shutdowns, 1);
}

static void a_silent_host_is_dropped(void **state)
{
	uint8_t q[64];

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 60000));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
	clock_skew_ms += 40000;
	sqe_make(q, 0x18, 0, 0, 0);
	assert_int_equal(host_simple(&fx.a, q, NULL, 0), 0);
	clock_skew_ms += 40000;
	/* Other commands do not count: the host has to send Keep Alive. */
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	clock_skew_ms += 30000;
	assert_int_equal(host_pdu(&fx.a), H_EOF);
	assert_int_equal(host_pdu(&fx.io), H_EOF);
	assert_int_equal(counts().kato, 1);
}

static void losing_the_admin_queue_loses_the_others(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	host_close(&fx.a);
	assert_int_equal(host_pdu(&fx.io), H_EOF);
}

/* ---- reading and writing ---------------------------------------------- */

static void write_and_read(unsigned digests, bool flow, const struct nvme_target_config *cfg)
{
	uint32_t block = cfg->block_size ? cfg->block_size : 512;
	unsigned r2ts;

	both(cfg, digests, 0, flow);
	assert_int_equal(fx.io.hd, digests & 1);
	assert_int_equal(fx.io.dd, digests >> 1 & 1);
	assert_int_equal(host_write(&fx.io, 3, 16384 / block, 0, fx.out, 16384), 0);
	assert_int_equal(
		host_write_r2t(&fx.io, 100, BYTES / block, fx.out, BYTES, 128 << 10, &r2ts), 0);
	assert_int_equal(r2ts, 1);
	assert_int_equal(host_read(&fx.io, 3, 16384 / block, fx.in, 16384), 0);
	assert_memory_equal(fx.in, fx.out, 16384);
	assert_int_equal(host_read(&fx.io, 100, BYTES / block, fx.in, BYTES), 0);
	assert_memory_equal(fx.in, fx.out, BYTES);
	assert_int_equal(fx.io.pdu[0], flow ? H_RESP : H_C2H);
	assert_int_equal(nvme_target_peek(fx.t, 1, 100 * block, fx.in, 4096, true), 0);
	assert_memory_equal(fx.in, fx.out, 4096);
	assert_int_equal(counts().in_capsule, 3); /* two Connects, a write */
	assert_int_equal(counts().terms + counts().refused + counts().digest_errors, 0);
}

static void data_come_back(void **state)
{
	(void)state;
	write_and_read(0, false, &plain);
}
static void data_come_back_in_large_blocks(void **state)
{
	(void)state;
	write_and_read(0, false, &big);
}
static void data_come_back_with_digests(void **state)
{
	(void)state;
	write_and_read(3, false, &plain);
}
static void data_come_back_with_a_header_digest(void **state)
{
	(void)state;
	write_and_read(1, false, &big);
}
static void data_come_back_with_flow_control(void **state)
{
	(void)state;
	write_and_read(2, true, &plain);
}

static void digests_are_refused_where_told_so(void **state)
{
	const struct nvme_target_config cfg = { .size = 1 << 20, .no_digests = true };

	(void)state;
	both(&cfg, 3, 0, false);
	assert_false(fx.io.hd || fx.io.dd);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
}

static void several_r2ts_are_sent_when_the_host_allows(void **state)
{
	const struct nvme_target_config cfg = { .size = 4 << 20, .r2t_bytes = 32 << 10 };
	uint8_t q[64];
	unsigned r2ts;

	(void)state;
	both(&cfg, 0, 3, false);
	assert_int_equal(host_write_r2t(&fx.io, 0, BYTES / 512, fx.out, BYTES, 10000, &r2ts), 0);
	assert_int_equal(r2ts, 8);
	assert_int_equal(host_read(&fx.io, 0, BYTES / 512, fx.in, BYTES), 0);
	assert_memory_equal(fx.in, fx.out, BYTES);
	/* Four at once, and not a fifth: the next is the answer to a Flush. */
	sqe_rw(q, 0x01, 0, BYTES / 512, 0, 0x5a, BYTES);
	host_capsule(&fx.io, q, NULL, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(host_pdu(&fx.io), H_R2T);
		assert_int_equal(g32(fx.io.pdu + 12), i << 15);
		assert_int_equal(g32(fx.io.pdu + 16), 32 << 10);
	}
	assert_int_equal(host_flush(&fx.io), 0);
}

static void zeroes_and_discards(void **state)
{
	uint8_t q[64], ranges[32] = { 0 };

	(void)state;
	both(&plain, 0, 0, false);
	assert_int_equal(host_write(&fx.io, 0, 32, 0, fx.out, 16384), 0);
	sqe_rw(q, 0x08, 8, 8, 0, 0, 0);
	assert_int_equal(host_simple(&fx.io, q, NULL, 0), 0);
	p32(ranges + 4, 2);
	p64(ranges + 8, 20);
	p32(ranges + 16 + 4, 1);
	p64(ranges + 16 + 8, 31);
	sqe_make(q, 0x09, 1, 0x01, 32);
	q[40] = 1;
	q[44] = 4;
	assert_int_equal(host_simple(&fx.io, q, ranges, 32), 0);
	assert_int_equal(host_read(&fx.io, 0, 32, fx.in, 16384), 0);
	memset(fx.out + 8 * 512, 0, 8 * 512);
	assert_memory_equal(fx.in, fx.out, 20 * 512);
	assert_memory_equal(fx.in + 22 * 512, fx.out + 22 * 512, 9 * 512);
	assert_memory_not_equal(fx.in + 20 * 512, fx.out + 20 * 512, 1024);
	assert_memory_not_equal(fx.in + 31 * 512, fx.out + 31 * 512, 512);
	p64(ranges + 16 + 8, 8192);
	assert_int_equal(host_simple(&fx.io, q, ranges, 32), 0x080);
}

static void what_cannot_be_is_refused(void **state)
{
	uint8_t q[64];
	struct host *h = &fx.io;

	(void)state;
	both(&plain, 0, 0, false);
	assert_int_equal(host_read(h, 8192, 1, fx.in, 512), 0x080);
	assert_int_equal(host_read(h, 8191, 2, fx.in, 1024), 0x080);
	assert_int_equal(host_read(h, UINT64_MAX, 1, fx.in, 512), 0x080);
	assert_int_equal(host_read(h, 8191, 1, fx.in, 512), 0);
	assert_int_equal(host_read(h, 0, 2, fx.in, 512), 0x00f);
	assert_int_equal(host_read(h, 0, 4096, fx.in, 4096 * 512), 0x002); /* MDTS */
	sqe_rw(q, 0x02, 0, 1, 0, 0x5a, 512);
	p32(q + 4, 2);
	assert_int_equal(host_simple(h, q, NULL, 0), 0x00b);
	q[0] = 0x7e;
	assert_int_equal(host_simple(h, q, NULL, 0), 0x001);
	sqe_rw(q, 0x02, 0, 1, 0, 0x01, 512);
	assert_int_equal(host_simple(h, q, NULL, 0), 0x002); /* a read into the capsule */
	sqe_rw(q, 0x01, 0, 1, 0, 0x01, 512);
	q[1] = 0;
	assert_int_equal(host_simple(h, q, fx.out, 512), 0x002); /* PRPs */
	sqe_rw(q, 0x01, 0, 1, 0, 0x01, 512);
	q[24] = 8;
	assert_int_equal(host_simple(h, q, fx.out, 512), 0x016); /* an offset in the capsule */
	assert_int_equal(host_write(h, 0, 40, 0, fx.out, 40 * 512),
			 0x016); /* more than a capsule takes */
	sqe_rw(q, 0x01, 0, 2, 0, 0x01, 1024);
	assert_int_equal(host_simple(h, q, fx.out, 512), 0x00f);
	/* And without its data being asked for. */
	sqe_rw(q, 0x01, 8192, 64, 0, 0x5a, 32768);
	assert_int_equal(host_simple(h, q, NULL, 0), 0x080);
	assert_int_equal(host_feature(&fx.a, 0x09, 0x0b, 1), 0x002);
	assert_int_equal(host_feature(&fx.a, 0x0a, 0x55, 0), 0x002);
	assert_int_equal(host_log(&fx.a, 0x55, fx.page, 512), 0x109);
	assert_int_equal(counts().terms, 0);
}

static void an_id_in_use_is_refused(void **state)
{
	uint8_t q[64];

	(void)state;
	both(&plain, 0, 0, false);
	sqe_rw(q, 0x01, 0, 64, 0, 0x5a, 32768);
	host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_pdu(&fx.io), H_R2T);
	fx.io.cid--;
	assert_int_equal(host_flush(&fx.io), 0x003);
	assert_int_equal(counts().conflicts, 1);
}

/* ---- what lasts ------------------------------------------------------- */

static void reconnect(void)
{
	struct err err = { "" };

	host_close(&fx.a);
	host_close(&fx.io);
	if (nvme_target_revive(fx.t, &err))
		fail_msg("%s", err.text);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
}

static void a_kill_loses_what_was_not_flushed(void **state)
{
	struct host h;

	(void)state;
	both(&cached, 0, 0, false);
	assert_int_equal(host_write(&fx.io, 0, 2, 0, fx.out, 1024), 0);
	assert_int_equal(host_flush(&fx.io), 0);
	assert_int_equal(host_write(&fx.io, 1, 2, 0, fx.out + 4096, 1024), 0);
	assert_int_equal(host_write(&fx.io, 9, 1, FUA, fx.out, 512), 0);
	assert_int_equal(host_read(&fx.io, 1, 2, fx.in, 1024), 0);
	assert_memory_equal(fx.in, fx.out + 4096, 1024);
	nvme_target_kill(fx.t, 0);
	assert_int_equal(host_pdu(&fx.a), H_EOF);
	assert_int_equal(host_pdu(&fx.io), H_EOF);
	assert_false(host_dial(&h, fx.port)); /* closed, and still ours */
	host_close(&h);
	reconnect();
	assert_int_equal(host_read(&fx.io, 0, 10, fx.in, 5120), 0);
	assert_memory_equal(fx.in, fx.out, 1024);
	assert_int_equal(fx.in[1024], 0);
	assert_memory_equal(fx.in + 9 * 512, fx.out, 512);
	assert_int_equal(counts().lost_blocks, 2);
	assert_int_equal(counts().fua, 1);
}

static void a_kill_may_keep_a_part(void **state)
{
	unsigned kept = 0;

	(void)state;
	both(&cached, 0, 0, false);
	assert_int_equal(host_write(&fx.io, 0, 32, 0, fx.out, 16384), 0);
	nvme_target_kill(fx.t, 500);
	reconnect();
	assert_int_equal(host_read(&fx.io, 0, 32, fx.in, 16384), 0);
	for (unsigned i = 0; i < 32; i++) {
		bool same = !memcmp(fx.in + i * 512, fx.out + i * 512, 512);

		kept += same;
		for (unsigned j = 0; j < 512 && !same; j++)
			assert_int_equal(fx.in[i * 512 + j], 0);
	}
	assert_in_range(kept, 1, 31);
	assert_int_equal(counts().lost_blocks, 32 - kept);
}

static void without_a_cache_nothing_is_lost(void **state)
{
	(void)state;
	both(&plain, 0, 0, false);
	assert_int_equal(host_write(&fx.io, 5, 2, 0, fx.out, 1024), 0);
	nvme_target_kill(fx.t, 0);
	reconnect();
	assert_int_equal(host_read(&fx.io, 5, 2, fx.in, 1024), 0);
	assert_memory_equal(fx.in, fx.out, 1024);
}

static void a_file_outlives_the_target(void **state)
{
	char name[] = "/tmp/persifs-nvme.XXXXXX";
	struct nvme_target_config cfg = { .size = 1 << 20, .file = name, .namespaces = 2 };
	AUTO_FD int fd = mkstemp(name);
	uint8_t q[64];

	(void)state;
	assert_true(fd >= 0);
	both(&cfg, 0, 0, false);
	sqe_rw(q, 0x01, 2, 2, 0, 0x01, 1024);
	p32(q + 4, 2);
	assert_int_equal(host_simple(&fx.io, q, fx.out, 1024), 0);
	host_close(&fx.a);
	host_close(&fx.io);
	nvme_target_stop(fx.t);
	fx.t = NULL;
	assert_int_equal(pread(fd, fx.in, 1024, (2 << 20) + 1024), 1024);
	assert_memory_equal(fx.in, fx.out, 1024);
	up(&cfg);
	unlink(name);
	assert_int_equal(nvme_target_peek(fx.t, 2, 1024, fx.in, 1024, true), 0);
	assert_memory_equal(fx.in, fx.out, 1024);
}

/* ---- events ----------------------------------------------------------- */

static void changes_are_told_once_until_their_page_is_read(void **state)
{
	uint8_t q[64], *p = fx.page;
	uint16_t first, second;

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	assert_int_equal(host_feature(&fx.a, 0x09, 0x0b, 1 << 8 | 1 << 11), 0);
	sqe_make(q, 0x0c, 0, 0, 0);
	first = host_capsule(&fx.a, q, NULL, 0);
	second = host_capsule(&fx.a, q, NULL, 0);
	fault("ana state=nonoptimized");
	assert_int_equal(host_status(&fx.a, first), 0);
	assert_int_equal(host_result(&fx.a), 2 | 3 << 8 | 0x0c << 16);
	fault("ana state=inaccessible"); /* masked */
	fault("size blocks=16384");
	assert_int_equal(host_status(&fx.a, second), 0);
	assert_int_equal(host_result(&fx.a), 2 | 0 << 8 | 0x04 << 16);
	assert_int_equal(host_log(&fx.a, 0x0c, p, 56), 0);
	assert_int_equal(g64(p), 2);
	assert_int_equal(g16(p + 8), 1);
	assert_int_equal(g32(p + 16), 1);
	assert_int_equal(g32(p + 20), 1);
	assert_int_equal(p[32], 3);
	assert_int_equal(g32(p + 48), 1);
	assert_int_equal(host_log(&fx.a, 0x04, p, 4096), 0);
	assert_int_equal(g32(p), 1);
	assert_int_equal(host_log(&fx.a, 0x04, p, 4096), 0);
	assert_int_equal(g32(p), 0);
	assert_int_equal(host_identify(&fx.a, 0, 1, p), 0);
	assert_int_equal(g64(p), 16384);
	fault("ana state=optimized"); /* kept until somebody asks */
	first = host_capsule(&fx.a, q, NULL, 0);
	assert_int_equal(host_status(&fx.a, first), 0);
	assert_int_equal(host_result(&fx.a), 2 | 3 << 8 | 0x0c << 16);
}

static void too_many_event_requests_are_refused(void **state)
{
	uint8_t q[64];

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	sqe_make(q, 0x0c, 0, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		host_capsule(&fx.a, q, NULL, 0);
	assert_int_equal(host_simple(&fx.a, q, NULL, 0), 0x105);
}

static void states_of_a_path_are_obeyed(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
						.size = 1 << 20 };
	struct host a, io;

	(void)state;
	both(&cfg, 0, 0, false);
	assert_true(host_admin(&a, nvme_target_port(fx.t, 1), 0, 0));
	assert_int_not_equal(a.cntlid, fx.a.cntlid);
	assert_true(host_io(&io, nvme_target_port(fx.t, 1), a.cntlid, 1, 0, 0, false));
	fault("ana path=0 state=inaccessible");
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0x302);
	assert_int_equal(host_read(&io, 0, 1, fx.in, 512), 0);
	fault("ana path=1 group=1 state=change");
	assert_int_equal(host_write(&io, 0, 1, 0, fx.out, 512), 0x303);
	fault("ana state=lost");
	assert_int_equal(host_flush(&io), 0x301);
	fault("ana path=0 state=nonoptimized");
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	/* A controller lives on its path. */
	host_close(&io);
	assert_false(host_io(&io, nvme_target_port(fx.t, 1), fx.a.cntlid, 2, 0, 0, false));
	host_close(&io);
	host_close(&a);
}

static void a_hung_command_can_be_aborted(void **state)
{
	uint8_t q[64], abort_q[64];
	uint16_t cid;

	(void)state;
	both(&plain, 0, 0, false);
	fault("hang op=read");
	sqe_rw(q, 0x02, 0, 1, 0, 0x5a, 512);
	cid = host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_flush(&fx.io), 0); /* the queue goes on */
	sqe_make(abort_q, 0x08, 0, 0, 0);
	p32(abort_q + 40, 1 | (cid + 1u) << 16);
	assert_int_equal(host_simple(&fx.a, abort_q, NULL, 0), 0);
	assert_int_equal(host_result(&fx.a), 1);
	p32(abort_q + 40, 1 | (uint32_t)cid << 16);
	assert_int_equal(host_simple(&fx.a, abort_q, NULL, 0), 0);
	assert_int_equal(host_result(&fx.a), 0);
	assert_int_equal(host_status(&fx.io, cid), 0x007);
}

static void bad_configurations_are_refused(void **state)
{
	static const char *const no_fault[] = { "dorp", NULL };
	static const struct {
		struct nvme_target_config cfg;
		const char *text;
	} rows[] = { { { .block_size = 1024 }, "block size" },
		     { { .size = 513 }, "multiple" },
		     { { .size = 1ull << 50 }, "1 TiB" },
		     { { .namespaces = 2049 }, "2048 namespaces" },
		     { { .in_capsule = 100 }, "capsule" },
		     { { .maxh2cdata = 100 }, "maxh2cdata" },
		     { { .cpda = 32 }, "cpda" },
		     { { .queues = 17 }, "16" },
		     { { .queue_size = 1 }, "entries" },
		     { { .nqn = DISCOVERY }, "NQN" },
		     { { .listen = { "somewhere:80" } }, "numeric" },
		     { { .file = "/proc/nowhere/file" }, "/proc/nowhere/file" },
		     { { .faults = no_fault }, "'dorp'" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { "" };

		assert_true(nvme_target_start(&rows[i].cfg, &fx.t, &err) < 0);
		if (!strstr(err.text, rows[i].text))
			fail_msg("row %zu: '%s'", i, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_controller_comes_up_and_tells_what_it_is),
		T(namespaces_tell_size_and_identity),
		T(every_path_is_told_by_discovery),
		T(connect_is_refused_with_a_reason),
		T(commands_want_an_enabled_controller),
		T(shutdown_is_confirmed),
		T(a_silent_host_is_dropped),
		T(losing_the_admin_queue_loses_the_others),
		T(data_come_back),
		T(data_come_back_in_large_blocks),
		T(data_come_back_with_digests),
		T(data_come_back_with_a_header_digest),
		T(data_come_back_with_flow_control),
		T(digests_are_refused_where_told_so),
		T(several_r2ts_are_sent_when_the_host_allows),
		T(zeroes_and_discards),
		T(what_cannot_be_is_refused),
		T(an_id_in_use_is_refused),
		T(a_kill_loses_what_was_not_flushed),
		T(a_kill_may_keep_a_part),
		T(without_a_cache_nothing_is_lost),
		T(a_file_outlives_the_target),
		T(changes_are_told_once_until_their_page_is_read),
		T(too_many_event_requests_are_refused),
		T(states_of_a_path_are_obeyed),
		T(a_hung_command_can_be_aborted),
		T(bad_configurations_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
