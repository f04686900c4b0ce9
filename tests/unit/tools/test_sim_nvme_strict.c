/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated NVMe target as a strict one: each wrong PDU ends the connection, and is told why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "common/cleanup.h"
#include "tests/unit/tools/nvme_fixture.h"

enum { FIELD = 1, SEQUENCE, HDGST, RANGE, LIMIT, UNSUPPORTED };

/* A C2HTermReq with this reason, what it was about, and then the end. */
static void expect_term(struct host *h, unsigned fes, int fei)
{
	assert_int_equal(host_pdu(h), H_C2HTERM);
	assert_int_equal(g16(h->pdu + 8), fes);
	if (fei >= 0)
		assert_int_equal(g32(h->pdu + 10), fei);
	assert_in_range(h->len, 24 + 8, 152);
	assert_int_equal(host_pdu(h), H_EOF);
}

/* ---- strictness: one wrong PDU a row ---------------------------------- */

static void raw(struct host *h, unsigned type, unsigned flags, unsigned hlen, unsigned pdo,
		uint32_t plen)
{
	uint8_t b[128] = { (uint8_t)type, (uint8_t)flags, (uint8_t)hlen, (uint8_t)pdo };

	p32(b + 4, plen);
	host_send(h, b, hlen > 8 && hlen <= sizeof b ? hlen : 8);
}

static void wrong_pdus_end_the_connection(void **state)
{
	static const struct {
		unsigned type, flags, hlen, pdo;
		uint32_t plen;
		unsigned fes;
		int fei;
	} rows[] = {
		{ 0x2f, 0, 8, 0, 8, FIELD, 0 },                 /* no such type */
		{ H_RESP, 0, 24, 0, 24, FIELD, 0 },             /* of the other direction */
		{ H_CMD, 1, 72, 0, 76, FIELD, 1 },              /* a digest that was not agreed */
		{ H_CMD, 0, 64, 0, 72, FIELD, 2 },              /* length of the header */
		{ H_CMD, 0, 72, 0, 8, FIELD, 4 },               /* length of the PDU */
		{ H_CMD, 0, 72, 72, 72 + (1 << 20), LIMIT, 4 }, /* more data than fit */
		{ H_CMD, 0, 72, 70, 584, FIELD, 3 },            /* data within the header */
		{ H_H2C, 4, 24, 0, 24, FIELD, 4 },              /* without data */
		{ H_ICREQ, 0, 128, 0, 128, SEQUENCE, 0 },       /* a second one */
	};

	(void)state;
	up(&plain);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
		raw(&fx.io, rows[i].type, rows[i].flags, rows[i].hlen, rows[i].pdo, rows[i].plen);
		expect_term(&fx.io, rows[i].fes, rows[i].fei);
		host_close(&fx.io);
		assert_int_equal(counts().terms, i + 1);
	}
	assert_int_equal(host_identify(&fx.a, 1, 0, fx.page), 0); /* the controller goes on */
}

static void a_connection_begins_with_a_good_icreq(void **state)
{
	uint8_t b[128] = { H_ICREQ, 0, 128, 0, 128 };

	(void)state;
	up(&plain);
	assert_true(host_dial(&fx.a, fx.port));
	raw(&fx.a, H_CMD, 0, 72, 0, 72);
	expect_term(&fx.a, SEQUENCE, 0);
	host_close(&fx.a);
	assert_true(host_dial(&fx.a, fx.port));
	b[8] = 1; /* format version */
	host_send(&fx.a, b, sizeof b);
	expect_term(&fx.a, UNSUPPORTED, 8);
}

static void a_wrong_header_digest_is_told(void **state)
{
	uint8_t b[76] = { H_CMD, 1, 72, 0, 76 };

	(void)state;
	both(&plain, 1, 0, false);
	p32(b + 72, slow_crc(b, 72) ^ 1);
	host_send(&fx.io, b, sizeof b);
	expect_term(&fx.io, HDGST, (int)(slow_crc(b, 72) ^ 1));
}

static void a_wrong_data_digest_fails_the_command_only(void **state)
{
	uint8_t b[80 + 512 + 4] = { H_CMD, 2, 72, 72 };
	uint8_t q[64];

	(void)state;
	both(&plain, 2, 0, false);
	sqe_rw(q, 0x01, 0, 1, 0, 0x01, 512);
	memcpy(b + 8, q, 64);
	p16(b + 10, 99);
	p32(b + 4, 72 + 512 + 4);
	memset(b + 72, 1, 512);
	p32(b + 72 + 512, slow_crc(b + 72, 512) ^ 1);
	host_send(&fx.io, b, 72 + 512 + 4);
	assert_int_equal(host_status(&fx.io, 99), 0x022);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0);
	assert_int_equal(fx.in[0], 0);
	assert_int_equal(counts().digest_errors, 1);
}

/* A write of 64 blocks whose R2T has come. */
static uint16_t asked(uint16_t *tag)
{
	uint8_t q[64];
	uint16_t cid;

	sqe_rw(q, 0x01, 0, 64, 0, 0x5a, 32768);
	cid = host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_pdu(&fx.io), H_R2T);
	*tag = (uint16_t)g16(fx.io.pdu + 10);
	return cid;
}

static void wrong_data_end_the_connection(void **state)
{
	static const struct {
		int cid, tag; /* added */
		uint32_t off, len;
		bool last;
		unsigned fes;
		int fei;
	} rows[] = {
		{ 0, 1, 0, 512, false, FIELD, 10 },
		{ 1, 0, 0, 512, false, FIELD, 8 },
		{ 0, 0, 512, 512, false, SEQUENCE, 12 },
		{ 0, 0, 32768, 512, false, RANGE, 12 },
		{ 0, 0, 0, 32768 + 512, true, RANGE, 12 },
		{ 0, 0, 0, 65536 + 512, true, LIMIT, -1 },
		{ 0, 0, 0, 512, true, FIELD, 1 },    /* LAST, though it is not */
		{ 0, 0, 0, 32768, false, FIELD, 1 }, /* the last without LAST */
	};
	const struct nvme_target_config cfg = { .size = 4 << 20, .maxh2cdata = 65536 };

	(void)state;
	up(&cfg);
	assert_true(host_admin(&fx.a, fx.port, 0, 0));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		uint16_t cid, tag;

		assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, 0, 0, false));
		cid = asked(&tag);
		host_h2c(&fx.io, (uint16_t)(cid + rows[i].cid), (uint16_t)(tag + rows[i].tag),
			 rows[i].off, fx.out, rows[i].len, rows[i].last);
		expect_term(&fx.io, rows[i].fes, rows[i].fei);
		host_close(&fx.io);
	}
	assert_int_equal(counts().writes, ARRAY_LEN(rows));
}

static void more_commands_than_entries_end_the_connection(void **state)
{
	uint8_t q[64];

	(void)state;
	both(&plain, 0, 0, false);
	fault("hang op=flush times=0");
	sqe_make(q, 0x00, 1, 0, 0);
	for (unsigned i = 0; i < 32; i++)
		host_capsule(&fx.io, q, NULL, 0);
	assert_int_equal(host_read(&fx.io, 0, 1, fx.in, 512), 0x10000 | H_C2HTERM);
}

static void data_have_to_be_aligned_as_told(void **state)
{
	const struct nvme_target_config cfg = { .size = 1 << 20, .cpda = 31 };
	uint8_t b[128] = { H_CMD, 0, 72, 128 }, q[64], d[1024] = { 1 };

	(void)state;
	up(&cfg);
	assert_true(host_dial(&fx.a, fx.port));
	host_icreq(&fx.a, 0, 0);
	assert_int_equal(host_pdu(&fx.a), H_ICRESP);
	assert_int_equal(fx.a.pdu[10], 31);
	sqe_make(q, 0x7f, 1, 0x01, 1024);
	p16(q + 44, 31);
	p16(d + 16, 0xffff);
	strcpy((char *)d + 256, NVME_TARGET_NQN);
	strcpy((char *)d + 512, HOSTNQN);
	memcpy(b + 8, q, 64);
	p32(b + 4, 128 + 1024);
	host_send(&fx.a, b, sizeof b);
	host_send(&fx.a, d, sizeof d);
	assert_int_equal(host_status(&fx.a, 0), 0);
	host_capsule(&fx.a, q, d, 1024); /* right behind the header */
	expect_term(&fx.a, FIELD, 3);
}

static void a_host_that_ends_is_let_go(void **state)
{
	uint8_t b[24 + 8] = { H_H2CTERM, 0, 24, 0, 32 };

	(void)state;
	both(&plain, 0, 0, false);
	host_send(&fx.io, b, sizeof b);
	assert_int_equal(host_pdu(&fx.io), H_EOF);
	assert_int_equal(counts().host_terms, 1);
	assert_int_equal(counts().terms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wrong_pdus_end_the_connection),
		T(a_connection_begins_with_a_good_icreq),
		T(a_wrong_header_digest_is_told),
		T(a_wrong_data_digest_fails_the_command_only),
		T(wrong_data_end_the_connection),
		T(more_commands_than_entries_end_the_connection),
		T(data_have_to_be_aligned_as_told),
		T(a_host_that_ends_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
