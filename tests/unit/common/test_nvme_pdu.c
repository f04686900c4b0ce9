/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes below are written by hand from the specification's tables. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/nvme_pdu.h"

#define MAX_DATA 65536u

static const struct nvme_wire from_host = { .from_host = true, .data_max = MAX_DATA };
static const struct nvme_wire from_target = { .data_max = MAX_DATA };
static const struct nvme_wire host_digests = {
	.from_host = true, .hdgst = true, .ddgst = true, .data_max = MAX_DATA
};

/* ---- golden bytes ------------------------------------------------------ */

static void an_icreq_has_128_bytes(void **state)
{
	const struct nvme_pdu ask = { .type = NVME_ICREQ,
				      .ic = { .pda = 0, .ddgst = true, .limit = 3 } };
	uint8_t want[128] = { 0, 0, 128, 0, 128, 0, 0, 0, 0, 0, 0, 2, 3 };
	uint8_t out[NVME_HEAD_MAX];
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_put(&host_digests, &ask, out), 128);
	assert_memory_equal(out, want, 128);
	assert_int_equal(nvme_pdu_begin(&from_host, out, &got), 0);
	assert_int_equal(got.head_len, 128);
	assert_int_equal(nvme_pdu_decode(&from_host, out, &got), 0);
	assert_false(got.ic.hdgst);
	assert_true(got.ic.ddgst);
	assert_int_equal(got.ic.limit, 3);
}

static void an_icresp_tells_how_much_the_target_takes(void **state)
{
	uint8_t b[128] = { 1, 0, 128, 0, 128, 0, 0, 0, 0, 0, 1, 3, 0x00, 0x80, 0, 0 };
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_decode(&from_target, b, &got), 0);
	assert_int_equal(got.ic.pda, 1);
	assert_true(got.ic.hdgst && got.ic.ddgst);
	assert_int_equal(got.ic.limit, 32768);
	b[13] = 0x0f; /* 3840: below what each target has to take */
	assert_int_equal(nvme_pdu_decode(&from_target, b, &got), -EBADMSG);
	assert_int_equal(got.bad.fei, 12);
	b[13] = 0x80;
	b[8] = 1;
	assert_int_equal(nvme_pdu_decode(&from_target, b, &got), -EBADMSG);
	assert_int_equal(got.bad.fes, NVME_FES_UNSUPPORTED);
	b[8] = 0;
	b[10] = 32;
	assert_int_equal(nvme_pdu_decode(&from_target, b, &got), -EBADMSG);
}

/* A write of 8 blocks at 0x123456789a with FUA, its 4096 bytes in the capsule. */
static const uint8_t write_capsule[72] = {
	4,    0,    72,   72,   72 + 0, 0x10, 0, 0, /* 4168 bytes */
	0x01, 0x40, 0x34, 0x12, 0x05,   0,    0, 0, /* write, SGL, cid, nsid */
	0,    0,    0,    0,    0,      0,    0, 0,    0, 0, 0, 0, 0, 0, 0, 0, /* metadata */
	0,    0,    0,    0,    0,      0,    0, 0,    /* at 24: offset in the capsule */
	0x00, 0x10, 0,    0,    0,      0,    0, 0x01, /* 4096 bytes, in the capsule */
	0x9a, 0x78, 0x56, 0x34, 0x12,   0,    0, 0,    /* first block */
	0x07, 0,    0,    0x40, 0,      0,    0, 0,    /* blocks - 1, FUA */
	0,    0,    0,    0,    0,      0,    0, 0,
};

static const struct nvme_sqe write_sqe = { .opcode = NVME_IO_WRITE,
					   .flags = NVME_SQE_SGL,
					   .cid = 0x1234,
					   .nsid = 5,
					   .sgl_len = 4096,
					   .sgl_type = NVME_SGL_CAPSULE,
					   .cdw10 = 0x3456789a,
					   .cdw11 = 0x12,
					   .cdw12 = 7 | NVME_RW_FUA };

static void a_write_capsule_is_as_the_tables_say(void **state)
{
	const struct nvme_pdu pdu = { .type = NVME_CAPSULE_CMD,
				      .data_len = 4096,
				      .sqe = write_sqe };
	uint8_t out[NVME_HEAD_MAX];
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_put(&from_host, &pdu, out), 72);
	assert_memory_equal(out, write_capsule, 72);
	assert_int_equal(nvme_pdu_decode(&from_host, write_capsule, &got), 0);
	assert_int_equal(got.data_off, 72);
	assert_int_equal(got.data_len, 4096);
	assert_false(got.ddgst);
	assert_memory_equal(&got.sqe, &write_sqe, sizeof write_sqe);
}

static void digests_and_padding_move_the_data(void **state)
{
	const struct nvme_pdu pdu = { .type = NVME_CAPSULE_CMD,
				      .data_len = 4096,
				      .sqe = write_sqe };
	struct nvme_wire w = host_digests;
	uint8_t out[NVME_HEAD_MAX];
	struct nvme_pdu got;

	(void)state;
	w.pda = 7; /* 32 bytes */
	assert_int_equal(nvme_pdu_put(&w, &pdu, out), 96);
	assert_int_equal(out[1], NVME_PDU_HDGST | NVME_PDU_DDGST);
	assert_int_equal(out[3], 96);
	assert_int_equal(out[4] | out[5] << 8, 96 + 4096 + 4);
	assert_int_equal(nvme_digest_get(out + 72), nvme_digest(out, 72));
	for (unsigned i = 76; i < 96; i++)
		assert_int_equal(out[i], 0);
	assert_int_equal(nvme_pdu_decode(&w, out, &got), 0);
	assert_int_equal(got.head_len, 76);
	assert_int_equal(got.data_off, 96);
	assert_int_equal(got.data_len, 4096);
	assert_true(got.ddgst);

	w.pda = NVME_PDA_MAX;
	assert_int_equal(nvme_pdu_put(&w, &pdu, out), 128);
	for (w.pda = 0; w.pda <= NVME_PDA_MAX; w.pda++) {
		size_t n = nvme_pdu_put(&w, &pdu, out);

		assert_in_range(n, 76, NVME_HEAD_MAX);
		assert_int_equal(n % ((w.pda + 1u) * 4), 0);
	}
}

static void a_digest_is_that_of_iscsi(void **state)
{
	uint8_t zeros[32] = { 0 }, out[4];
	static const uint8_t want[4] = { 0xaa, 0x36, 0x91, 0x8a }; /* RFC 3720 B.4 */

	(void)state;
	nvme_digest_put(out, nvme_digest(zeros, sizeof zeros));
	assert_memory_equal(out, want, 4);
	assert_int_equal(nvme_digest_get(want), 0x8a9136aau);
}

static void a_response_capsule_comes_apart(void **state)
{
	/* Result 0x0100002a, head 9, queue 1, cid 0x0207, LBA out of range with "do not retry". */
	static const uint8_t b[24] = { 5, 0, 24, 0, 24, 0, 0, 0, 0x2a, 0,    0, 1,
				       0, 0, 0,  0, 9,  0, 1, 0, 0x07, 0x02, 0, 0x81 };
	struct nvme_pdu got, pdu = { .type = NVME_CAPSULE_RESP };
	uint8_t out[NVME_HEAD_MAX];

	(void)state;
	assert_int_equal(nvme_pdu_decode(&from_target, b, &got), 0);
	assert_int_equal(got.cqe.result, 0x0100002a);
	assert_int_equal(got.cqe.sq_head, 9);
	assert_int_equal(got.cqe.sq_id, 1);
	assert_int_equal(got.cqe.cid, 0x0207);
	assert_int_equal(got.cqe.status, NVME_LBA_RANGE | NVME_STATUS_DNR);
	assert_int_equal(NVME_STATUS(got.cqe.status), NVME_LBA_RANGE);
	assert_int_equal(got.data_len, 0);
	pdu.cqe = got.cqe;
	assert_int_equal(nvme_pdu_put(&from_target, &pdu, out), 24);
	assert_memory_equal(out, b, 24);
}

static void data_pdus_come_apart(void **state)
{
	/* R2T: cid 3, tag 0x1111, offset 8192, length 4096. */
	static const uint8_t r2t[24] = { 9, 0,    24, 0, 24, 0,    0, 0, 3, 0, 0x11, 0x11,
					 0, 0x20, 0,  0, 0,  0x10, 0, 0, 0, 0, 0,    0 };
	/* C2HData: LAST and SUCCESS, data at 32, 512 bytes at 1024 of cid 3. */
	static const uint8_t c2h[24] = { 7, 12, 24, 32, 0x20, 2, 0, 0, 3, 0, 0, 0,
					 0, 4,  0,  0,  0,    2, 0, 0, 0, 0, 0, 0 };
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_decode(&from_target, r2t, &got), 0);
	assert_int_equal(got.data.cid, 3);
	assert_int_equal(got.data.tag, 0x1111);
	assert_int_equal(got.data.off, 8192);
	assert_int_equal(got.data.len, 4096);
	assert_int_equal(nvme_pdu_decode(&from_target, c2h, &got), 0);
	assert_int_equal(got.flags, NVME_PDU_LAST | NVME_PDU_SUCCESS);
	assert_int_equal(got.data_off, 32);
	assert_int_equal(got.data.off, 1024);
	assert_int_equal(got.data.len, 512);
}

static void each_type_survives_both_ways_with_all_digests(void **state)
{
	static const struct nvme_pdu pdus[] = {
		{ .type = NVME_C2H_TERM, .term = { NVME_FES_RANGE, 0x12345678 }, .data_len = 24 },
		{ .type = NVME_H2C_TERM, .term = { NVME_FES_HDGST, 7 } },
		{ .type = NVME_CAPSULE_CMD, .sqe = { .opcode = 0x7f, .cid = 9, .cdw15 = 1 } },
		{ .type = NVME_CAPSULE_RESP, .cqe = { .result = ~0ull, .status = 0x7fff } },
		{ .type = NVME_H2C_DATA,
		  .flags = NVME_PDU_LAST,
		  .data = { 1, 2, 65536, 512 },
		  .data_len = 512 },
		{ .type = NVME_C2H_DATA, .data = { 1, 0, 4, 8 }, .data_len = 8 },
		{ .type = NVME_R2T, .data = { 0xffff, 0xfffe, 0xfffff000, 0xfff } },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(pdus) * 4; i++) {
		const struct nvme_pdu *p = &pdus[i / 4];
		struct nvme_wire w = { .hdgst = i & 1, .ddgst = i & 2, .data_max = MAX_DATA };
		uint8_t out[NVME_HEAD_MAX], again[NVME_HEAD_MAX];
		struct nvme_pdu got;
		size_t n = nvme_pdu_put(&w, p, out);

		w.from_host = p->type == NVME_H2C_TERM || p->type == NVME_CAPSULE_CMD ||
			      p->type == NVME_H2C_DATA;
		assert_int_equal(nvme_pdu_decode(&w, out, &got), 0);
		assert_int_equal(got.data_len, p->data_len);
		assert_int_equal(got.ddgst, w.ddgst && p->data_len && got.type > NVME_C2H_TERM);
		assert_int_equal(nvme_pdu_put(&w, &got, again), n);
		assert_memory_equal(out, again, n);
	}
}

/* ---- what is refused --------------------------------------------------- */

static void wrong_headers_are_refused_with_their_place(void **state)
{
	static const struct wrong {
		unsigned at;
		uint8_t value;
		uint16_t fes;
		uint32_t fei;
	} wrong[] = {
		{ 0, 8, NVME_FES_FIELD, 0 },
		{ 0, 10, NVME_FES_FIELD, 0 },
		{ 0, 255, NVME_FES_FIELD, 0 },
		{ 0, 5, NVME_FES_FIELD, 0 }, /* a target's */
		{ 1, 1, NVME_FES_FIELD, 1 }, /* a header digest that was not agreed */
		{ 1, 2, NVME_FES_FIELD, 1 },
		{ 2, 71, NVME_FES_FIELD, 2 },
		{ 3, 68, NVME_FES_FIELD, 3 }, /* data within the header */
		{ 3, 74, NVME_FES_FIELD, 3 },
		{ 5, 0, NVME_FES_FIELD, 0 }, /* without data: below */
		{ 6, 2, NVME_FES_LIMIT, 4 },
		{ 7, 0xff, NVME_FES_LIMIT, 4 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct wrong *x = &wrong[i];
		uint8_t b[72];
		struct nvme_pdu got;

		memcpy(b, write_capsule, sizeof b);
		b[x->at] = x->value;
		if (x->at == 5) { /* 72 bytes are a command without data */
			assert_int_equal(nvme_pdu_decode(&from_host, b, &got), 0);
			assert_int_equal(got.data_len, 0);
			b[4] = 71;
			assert_int_equal(nvme_pdu_decode(&from_host, b, &got), -EBADMSG);
			assert_int_equal(got.bad.fei, 4);
			continue;
		}
		assert_int_equal(nvme_pdu_begin(&from_host, b, &got), -EBADMSG);
		assert_int_equal(got.bad.fes, x->fes);
		assert_int_equal(got.bad.fei, x->fei);
	}
}

static void data_pdus_that_do_not_add_up_are_refused(void **state)
{
	/* H2CData, 512 bytes at 0. */
	static const uint8_t good[24] = { 6, 4, 24, 24, 0x18, 2, 0, 0, 3, 0, 1, 0,
					  0, 0, 0,  0,  0,    2, 0, 0, 0, 0, 0, 0 };
	uint8_t b[24];
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_decode(&from_host, good, &got), 0);
	memcpy(b, good, 24);
	b[17] = 4; /* says 1024, has 512 */
	assert_int_equal(nvme_pdu_decode(&from_host, b, &got), -EBADMSG);
	assert_int_equal(got.bad.fei, 16);
	memcpy(b, good, 24);
	b[12] = 2; /* offset in the middle of a dword */
	assert_int_equal(nvme_pdu_decode(&from_host, b, &got), -EBADMSG);
	memcpy(b, good, 24);
	memset(b + 12, 0xff, 4);
	b[12] = 0xfc; /* offset and length wrap */
	assert_int_equal(nvme_pdu_decode(&from_host, b, &got), -EBADMSG);
	assert_int_equal(got.bad.fes, NVME_FES_RANGE);
	memcpy(b, good, 24);
	b[4] = 24;
	b[5] = 0; /* no data at all */
	assert_int_equal(nvme_pdu_decode(&from_host, b, &got), -EBADMSG);
}

static void a_header_digest_finds_each_flipped_bit(void **state)
{
	const struct nvme_pdu pdu = { .type = NVME_CAPSULE_CMD, .sqe = write_sqe };
	uint8_t out[NVME_HEAD_MAX];
	struct nvme_pdu got;

	(void)state;
	assert_int_equal(nvme_pdu_put(&host_digests, &pdu, out), 76);
	assert_int_equal(nvme_pdu_decode(&host_digests, out, &got), 0);
	for (unsigned bit = 8 * NVME_PDU_COMMON; bit < 8 * 76; bit++) {
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(nvme_pdu_decode(&host_digests, out, &got), -EBADMSG);
		assert_int_equal(got.bad.fes, NVME_FES_HDGST);
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* ---- pages ------------------------------------------------------------- */

static void connect_data_have_their_names_in_place(void **state)
{
	struct nvme_connect_data got, c = { .hostid = { 1, 2, 3 },
					    .cntlid = NVME_CNTLID_ANY,
					    .subnqn = "nqn.a",
					    .hostnqn = "nqn.host" };
	uint8_t b[NVME_CONNECT_BYTES];

	(void)state;
	nvme_connect_put(b, &c);
	assert_int_equal(b[1], 2);
	assert_int_equal(b[16] | b[17] << 8, 0xffff);
	assert_string_equal((char *)b + 256, "nqn.a");
	assert_string_equal((char *)b + 512, "nqn.host");
	assert_int_equal(nvme_connect_get(b, &got), 0);
	assert_memory_equal(&got.hostid, c.hostid, 16);
	assert_string_equal(got.hostnqn, "nqn.host");
	memset(b + 256, 'x', 256);
	assert_int_equal(nvme_connect_get(b, &got), -EBADMSG);
	memset(b + 256, 0, 256);
	assert_int_equal(nvme_connect_get(b, &got), -EBADMSG);
}

static void a_controller_page_is_read_and_written(void **state)
{
	static uint8_t b[NVME_IDENTIFY_BYTES], again[NVME_IDENTIFY_BYTES];
	struct nvme_id_ctrl id;

	(void)state;
	memset(b, 0, sizeof b);
	memcpy(b + 4, "serial              ", 20);
	memset(b + 24, ' ', 40);
	memset(b + 64, ' ', 8);
	b[76] = NVME_CMIC_ANA;
	b[77] = 5;
	b[78] = 0x34;
	b[320] = 10;
	b[512] = 0x66;
	b[513] = 0x44;
	b[514] = 128;
	b[516] = 1;
	b[520] = NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES;
	b[525] = 1;
	strcpy((char *)b + 768, "nqn.x");
	b[1793] = 4; /* 1024 * 16 */
	assert_int_equal(nvme_id_ctrl_get(b, &id), 0);
	assert_string_equal(id.serial, "serial");
	assert_string_equal(id.model, "");
	assert_int_equal(id.cmic, NVME_CMIC_ANA);
	assert_int_equal(id.mdts, 5);
	assert_int_equal(id.cntlid, 0x34);
	assert_int_equal(id.kas, 10);
	assert_int_equal(id.maxcmd, 128);
	assert_int_equal(id.nn, 1);
	assert_int_equal(id.vwc, 1);
	assert_int_equal(id.ioccsz, 1024);
	assert_string_equal(id.subnqn, "nqn.x");
	nvme_id_ctrl_put(again, &id);
	assert_memory_equal(b, again, sizeof b);
	b[1793] = 0;
	b[1792] = 3; /* not even a command fits */
	assert_int_equal(nvme_id_ctrl_get(b, &id), -EBADMSG);
}

static void a_namespace_page_is_read_and_written(void **state)
{
	static uint8_t b[NVME_IDENTIFY_BYTES], again[NVME_IDENTIFY_BYTES];
	struct nvme_id_ns ns;

	(void)state;
	memset(b, 0, sizeof b);
	b[1] = b[9] = b[17] = 0x80; /* 32768 blocks */
	b[25] = 2;
	b[26] = 2;
	b[33] = 1;
	b[92] = 7;
	b[104] = 0xab;
	b[119] = 0xcd;
	b[128 + 8 + 2] = 12;
	assert_int_equal(nvme_id_ns_get(b, &ns), 0);
	assert_int_equal(ns.nsze, 32768);
	assert_int_equal(ns.lbads, 12);
	assert_int_equal(ns.ms, 0);
	assert_int_equal(ns.anagrpid, 7);
	assert_int_equal(ns.nguid[15], 0xcd);
	nvme_id_ns_put(again, &ns);
	assert_memory_equal(b, again, sizeof b);
	b[128 + 8] = 8;
	assert_int_equal(nvme_id_ns_get(b, &ns), 0);
	assert_int_equal(ns.ms, 8);
	b[26] = 3;
	assert_int_equal(nvme_id_ns_get(b, &ns), -EBADMSG);
}

static void descriptors_of_a_namespace_are_found(void **state)
{
	static uint8_t b[NVME_IDENTIFY_BYTES];
	struct nvme_ns_ids ids, out = { .has_uuid = true,
					.uuid = { 9 },
					.has_nguid = true,
					.nguid = { 8 },
					.has_eui64 = true,
					.eui64 = { 7 } };

	(void)state;
	memset(b, 0, sizeof b);
	b[0] = 4; /* a command set: of no interest */
	b[1] = 1;
	b[5] = 3;
	b[6] = 16;
	b[9] = 0x11;
	assert_int_equal(nvme_ns_ids_get(b, &ids), 0);
	assert_true(ids.has_uuid && !ids.has_nguid && !ids.has_eui64);
	assert_int_equal(ids.uuid[0], 0x11);
	b[6] = 15;
	assert_int_equal(nvme_ns_ids_get(b, &ids), -EBADMSG);
	nvme_ns_ids_put(b, &out);
	assert_int_equal(nvme_ns_ids_get(b, &ids), 0);
	assert_memory_equal(&ids, &out, sizeof ids);
	for (unsigned i = 0; i < NVME_IDENTIFY_BYTES; i += 16) {
		b[i] = 200; /* unknown ones to the end, the last beyond it */
		b[i + 1] = 12;
	}
	assert_int_equal(nvme_ns_ids_get(b, &ids), 0);
	b[NVME_IDENTIFY_BYTES - 15] = 13;
	assert_int_equal(nvme_ns_ids_get(b, &ids), -EBADMSG);
}

static void a_list_of_namespaces_ascends(void **state)
{
	static uint8_t b[NVME_IDENTIFY_BYTES];
	static uint32_t got[NVME_NS_LIST_MAX], all[NVME_NS_LIST_MAX];
	static const uint32_t some[] = { 1, 5, 0x01000000 }, wrong[] = { 1, 5, 5 };

	(void)state;
	nvme_ns_list_put(b, some, 3);
	assert_int_equal(b[11], 1);
	assert_int_equal(nvme_ns_list_get(b, got), 3);
	assert_memory_equal(got, some, sizeof some);
	nvme_ns_list_put(b, wrong, 3);
	assert_int_equal(nvme_ns_list_get(b, got), -EBADMSG);
	for (unsigned i = 0; i < NVME_NS_LIST_MAX; i++)
		all[i] = i + 1;
	nvme_ns_list_put(b, all, NVME_NS_LIST_MAX);
	assert_int_equal(nvme_ns_list_get(b, got), NVME_NS_LIST_MAX);
}

static void an_ana_log_is_walked_within_its_bytes(void **state)
{
	uint8_t b[128] = { 9, 0, 0, 0, 0, 0, 0, 0, 2, 0 };
	struct nvme_ana_group g;
	uint64_t changes;
	uint16_t groups;
	static const uint32_t nsids[] = { 3, 4 };
	const struct nvme_ana_group put = { 2, 2, 5, NVME_ANA_STATE_INACCESSIBLE };

	(void)state;
	assert_int_equal(nvme_ana_head_get(b, 15, &changes, &groups), -EBADMSG);
	assert_int_equal(nvme_ana_head_get(b, 16, &changes, &groups), 0);
	assert_int_equal(changes, 9);
	assert_int_equal(groups, 2);
	b[16] = 1; /* group 1: no namespace, optimised */
	b[32] = 1;
	assert_int_equal(nvme_ana_group_get(b + 16, 112, &g), 32);
	assert_int_equal(g.state, NVME_ANA_STATE_OPTIMIZED);
	assert_int_equal(nvme_ana_group_put(b + 48, &put, nsids), 40);
	assert_int_equal(nvme_ana_group_get(b + 48, 40, &g), 40);
	assert_int_equal(g.state, NVME_ANA_STATE_INACCESSIBLE);
	assert_int_equal(nvme_ana_nsid(b + 48, 1), 4);
	assert_int_equal(nvme_ana_group_get(b + 48, 39, &g), -EBADMSG);
	assert_int_equal(nvme_ana_group_get(b + 48, 31, &g), -EBADMSG);
	memset(b + 52, 0xff, 4);
	assert_int_equal(nvme_ana_group_get(b + 48, 80, &g), -EBADMSG);
}

static void discovery_entries_are_read_and_written(void **state)
{
	static uint8_t b[NVME_DISC_ENTRY_BYTES];
	const struct nvme_disc_entry e = { .trtype = NVME_TRTYPE_TCP,
					   .adrfam = NVME_ADRFAM_IPV4,
					   .subtype = NVME_SUBTYPE_NVME,
					   .portid = 2,
					   .cntlid = NVME_CNTLID_ANY,
					   .asqsz = 32,
					   .trsvcid = "4420",
					   .subnqn = "nqn.y",
					   .traddr = "10.0.0.1" };
	struct nvme_disc_entry got;
	uint64_t generation, records;

	(void)state;
	nvme_disc_entry_put(b, &e);
	assert_memory_equal(b + 32, "4420    ", 8);
	assert_memory_equal(b + 512, "10.0.0.1 ", 9);
	assert_int_equal(nvme_disc_entry_get(b, &got), 0);
	assert_memory_equal(&got, &e, sizeof e);
	memset(b + 256, 'n', 256);
	assert_int_equal(nvme_disc_entry_get(b, &got), -EBADMSG);
	nvme_disc_head_put(b, 7, 3);
	assert_int_equal(nvme_disc_head_get(b, &generation, &records), 0);
	assert_int_equal(generation, 7);
	assert_int_equal(records, 3);
	b[16] = 1;
	assert_int_equal(nvme_disc_head_get(b, &generation, &records), -EBADMSG);
}

static void a_range_to_give_back_has_16_bytes(void **state)
{
	static const uint8_t want[16] = { 0, 0, 0, 0, 0x00, 0x01, 0, 0, 0x78, 0x56, 0x34, 0x12 };
	uint8_t b[16];
	uint64_t slba;
	uint32_t blocks;

	(void)state;
	nvme_dsm_put(b, 0x12345678, 256);
	assert_memory_equal(b, want, 16);
	nvme_dsm_get(b, &slba, &blocks);
	assert_int_equal(slba, 0x12345678);
	assert_int_equal(blocks, 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_icreq_has_128_bytes),
		cmocka_unit_test(an_icresp_tells_how_much_the_target_takes),
		cmocka_unit_test(a_write_capsule_is_as_the_tables_say),
		cmocka_unit_test(digests_and_padding_move_the_data),
		cmocka_unit_test(a_digest_is_that_of_iscsi),
		cmocka_unit_test(a_response_capsule_comes_apart),
		cmocka_unit_test(data_pdus_come_apart),
		cmocka_unit_test(each_type_survives_both_ways_with_all_digests),
		cmocka_unit_test(wrong_headers_are_refused_with_their_place),
		cmocka_unit_test(data_pdus_that_do_not_add_up_are_refused),
		cmocka_unit_test(a_header_digest_finds_each_flipped_bit),
		cmocka_unit_test(connect_data_have_their_names_in_place),
		cmocka_unit_test(a_controller_page_is_read_and_written),
		cmocka_unit_test(a_namespace_page_is_read_and_written),
		cmocka_unit_test(descriptors_of_a_namespace_are_found),
		cmocka_unit_test(a_list_of_namespaces_ascends),
		cmocka_unit_test(an_ana_log_is_walked_within_its_bytes),
		cmocka_unit_test(discovery_entries_are_read_and_written),
		cmocka_unit_test(a_range_to_give_back_has_16_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
