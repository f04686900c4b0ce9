/* SPDX-License-Identifier: Apache-2.0 */
/* One queue without a socket: what it sends byte by byte, and answers at moments that a network rarely makes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/block/nvme_impl.h"
#include "common/cleanup.h"

enum { SLOTS = 5, WIRE_MAX = 1 << 20, DATA = 20000, H2C = 4096 };

static struct nvme_queue *q;
static uint8_t wire[WIRE_MAX], data[DATA];
static size_t wire_len, room, at_once;

static struct end {
	unsigned n;
	int error;
	uint16_t status;
} ends[SLOTS];

static ssize_t to_wire(struct nvme_queue *queue, const struct iovec *iov, unsigned n)
{
	size_t sum = 0, max = at_once < room ? at_once : room;

	(void)queue;
	for (unsigned i = 0; i < n && sum < max; i++) {
		size_t part = iov[i].iov_len < max - sum ? iov[i].iov_len : max - sum;

		assert_true(wire_len + part <= WIRE_MAX);
		memcpy(wire + wire_len, iov[i].iov_base, part);
		wire_len += part;
		sum += part;
	}
	room -= sum;
	return sum ? (ssize_t)sum : -EAGAIN;
}

static void on_end(void *arg, int error, const struct nvme_cqe *cqe)
{
	struct end *e = arg;

	e->n++;
	e->error = error;
	e->status = cqe ? cqe->status : 0;
}

static int set_up(void **state)
{
	(void)state;
	q = calloc(1, sizeof *q);
	if (!q)
		return -1;
	memset(ends, 0, sizeof ends);
	wire_len = 0;
	room = at_once = WIRE_MAX;
	for (size_t i = 0; i < DATA; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	nvq_init(q, 1);
	q->send = to_wire;
	nvq_open(q, -1, SLOTS);
	q->phase = NVME_PHASE_READY;
	q->h2c_max = H2C;
	q->capsule_max = 512;
	return 0;
}

static int tear_down(void **state)
{
	struct list none = LIST_INIT(none);

	(void)state;
	nvq_close(q);
	nvq_drain(q, &none);
	nvq_done(q);
	free(q);
	return 0;
}

static uint16_t issue(struct end *e, bool write, struct iovec *iov, unsigned niov, uint32_t len)
{
	struct nvme_cmd *cmd;

	mutex_lock(&q->lock);
	cmd = nvq_get_locked(q);
	assert_non_null(cmd);
	cmd->sqe.opcode = write ? NVME_IO_WRITE : NVME_IO_READ;
	cmd->to_target = write;
	cmd->iov = iov;
	cmd->niov = niov;
	cmd->len = len;
	cmd->end = on_end;
	cmd->arg = e;
	nvq_issue_locked(q, cmd);
	mutex_unlock(&q->lock);
	nvq_flush(q);
	return cmd->sqe.cid;
}

static int feed_pdu(const struct nvme_pdu *pdu, const uint8_t *payload)
{
	struct nvme_wire w = q->rx_wire;
	uint8_t head[NVME_HEAD_MAX];
	int rc = nvr_feed(q, head, nvme_pdu_put(&w, pdu, head));

	return rc || !pdu->data_len ? rc : nvr_feed(q, payload, pdu->data_len);
}

static int feed_answer(uint16_t cid, uint16_t status)
{
	const struct nvme_pdu pdu = { .type = NVME_CAPSULE_RESP,
				      .cqe = { .cid = cid, .status = status } };

	return feed_pdu(&pdu, NULL);
}

static int feed_r2t(uint16_t cid, uint32_t off, uint32_t len)
{
	const struct nvme_pdu pdu = { .type = NVME_R2T, .data = { cid, 0x77, off, len } };

	return feed_pdu(&pdu, NULL);
}

/* ---- which bytes were seen ------------------------------------------------ */

static void bytes_are_counted_once(void **state)
{
	struct nvme_cover c = { 0 };

	(void)state;
	assert_false(nvme_cover_full(&c, 100));
	assert_true(nvme_cover_full(&c, 0));
	assert_int_equal(nvme_cover_add(&c, 40, 20), 0);
	assert_int_equal(nvme_cover_add(&c, 80, 20), 0);
	assert_int_equal(nvme_cover_add(&c, 59, 2), -EBADMSG);
	assert_int_equal(nvme_cover_add(&c, 40, 20), -EBADMSG);
	assert_int_equal(nvme_cover_add(&c, 30, 11), -EBADMSG);
	assert_int_equal(nvme_cover_add(&c, 60, 21), -EBADMSG);
	assert_int_equal(nvme_cover_add(&c, 0, 10), 0);
	assert_int_equal(c.n, 3);
	assert_int_equal(nvme_cover_add(&c, 60, 20), 0); /* closes a gap */
	assert_int_equal(c.n, 2);
	assert_int_equal(nvme_cover_add(&c, 30, 10), 0); /* touches what is behind */
	assert_int_equal(nvme_cover_add(&c, 10, 10), 0); /* and what is before */
	assert_false(nvme_cover_full(&c, 100));
	assert_int_equal(nvme_cover_add(&c, 20, 10), 0);
	assert_true(nvme_cover_full(&c, 100));
	c.n = 0;
	for (uint32_t i = 0; i < NVME_GAPS_MAX; i++)
		assert_int_equal(nvme_cover_add(&c, i * 100, 10), 0);
	assert_int_equal(nvme_cover_add(&c, 5000, 10), -EBADMSG);
}

/* ---- what goes out ----------------------------------------------------------- */

/* Takes the next PDU off the wire, as a target does. */
static size_t next_pdu(size_t at, struct nvme_pdu *out)
{
	struct nvme_wire w = q->tx_wire;

	w.from_host = true;
	w.data_max = WIRE_MAX;
	assert_true(at + NVME_PDU_COMMON <= wire_len);
	assert_int_equal(nvme_pdu_decode(&w, wire + at, out), 0);
	assert_true(at + out->plen <= wire_len);
	if (out->ddgst)
		assert_int_equal(nvme_digest_get(wire + at + out->data_off + out->data_len),
				 nvme_digest(wire + at + out->data_off, out->data_len));
	return at + out->plen;
}

static void a_write_is_whole_however_it_is_cut(void **state)
{
	struct iovec iov[3] = { { data, 1 }, { data + 1, 9000 }, { data + 9001, DATA - 9001 } };

	(void)state;
	q->rx_wire.hdgst = q->tx_wire.hdgst = true;
	q->rx_wire.ddgst = q->tx_wire.ddgst = true;
	q->tx_wire.pda = 5;
	for (at_once = 1; at_once < 9000; at_once = at_once * 3 + 1) {
		struct nvme_pdu pdu;
		uint16_t cid;
		size_t at;

		wire_len = 0;
		ends[0].n = 0;
		cid = issue(&ends[0], true, iov, 3, DATA);
		assert_int_equal(feed_r2t(cid, 0, 10000), 0);
		nvq_flush(q);
		assert_int_equal(feed_r2t(cid, 10000, DATA - 10000), 0);
		nvq_flush(q);
		at = next_pdu(0, &pdu);
		assert_int_equal(pdu.sqe.sgl_type, NVME_SGL_TRANSPORT);
		for (uint32_t off = 0; off < DATA;) {
			at = next_pdu(at, &pdu);
			assert_int_equal(pdu.type, NVME_H2C_DATA);
			assert_int_equal(pdu.data.off, off);
			assert_int_equal(pdu.data.tag, 0x77);
			assert_true(pdu.data_len <= H2C);
			assert_memory_equal(wire + at - pdu.plen + pdu.data_off, data + off,
					    pdu.data_len);
			off += pdu.data_len;
			assert_int_equal(!!(pdu.flags & NVME_PDU_LAST),
					 off == 10000 || off == DATA);
		}
		assert_int_equal(at, wire_len);
		assert_int_equal(feed_answer(cid, 0), 0);
		assert_int_equal(ends[0].n, 1);
	}
}

/* A large write does not keep a small command waiting. */
static void small_commands_pass_between(void **state)
{
	struct iovec iov = { data, DATA };
	struct nvme_pdu pdu;
	uint16_t cid = issue(&ends[0], true, &iov, 1, DATA);
	size_t at;

	(void)state;
	assert_int_equal(feed_r2t(cid, 0, DATA), 0);
	room = 10;
	nvq_flush(q);
	issue(&ends[1], false, &iov, 1, 512);
	room = WIRE_MAX;
	nvq_flush(q);
	at = next_pdu(next_pdu(0, &pdu), &pdu);
	assert_int_equal(pdu.type, NVME_H2C_DATA);
	at = next_pdu(at, &pdu);
	assert_int_equal(pdu.type, NVME_CAPSULE_CMD);
	next_pdu(at, &pdu);
	assert_int_equal(pdu.type, NVME_H2C_DATA);
}

/* ---- answers ------------------------------------------------------------------ */

static void an_early_error_waits_for_what_is_going_out(void **state)
{
	struct iovec iov = { data, DATA };
	uint16_t cid = issue(&ends[0], true, &iov, 1, DATA);
	struct nvme_pdu pdu;
	size_t at;

	(void)state;
	assert_int_equal(feed_r2t(cid, 0, DATA), 0);
	room = 100;
	nvq_flush(q); /* a part of the first H2CData */
	assert_int_equal(feed_answer(cid, NVME_WRITE_FAULT), 0);
	assert_int_equal(ends[0].n, 0);
	nvq_flush(q);
	assert_int_equal(ends[0].n, 0);
	room = WIRE_MAX;
	nvq_flush(q);
	assert_int_equal(ends[0].n, 1);
	assert_int_equal(ends[0].status, NVME_WRITE_FAULT);
	/* That PDU is whole, and none follows. */
	at = next_pdu(next_pdu(0, &pdu), &pdu);
	assert_int_equal(at, wire_len);
	assert_false(q->dead);
}

static void an_early_error_before_anything_is_out(void **state)
{
	struct iovec iov = { data, DATA };
	uint16_t cid = issue(&ends[0], true, &iov, 1, DATA);

	(void)state;
	room = 0;
	assert_int_equal(feed_r2t(cid, 0, DATA), 0);
	assert_int_equal(feed_answer(cid, NVME_WRITE_FAULT), 0);
	assert_int_equal(ends[0].n, 1);
	room = WIRE_MAX;
	nvq_flush(q);
	assert_int_equal(wire_len, 72);
}

/* It asked for all data and says at once that it has them, while some, or all, of them are still here. */
static void success_before_all_data_are_out_is_none(void **state)
{
	static const size_t rooms[] = { 0, 100, H2C + 100, DATA };

	for (unsigned i = 0; i < ARRAY_LEN(rooms); i++) {
		struct iovec iov = { data, DATA };
		uint16_t cid = issue(&ends[0], true, &iov, 1, DATA);

		assert_int_equal(feed_r2t(cid, 0, DATA / 2), 0);
		assert_int_equal(feed_r2t(cid, DATA / 2, DATA / 2), 0);
		room = rooms[i];
		nvq_flush(q);
		assert_int_equal(feed_answer(cid, 0), -EPROTO);
		assert_true(q->dead);
		nvq_flush(q);
		assert_int_equal(ends[0].n, 0);
		tear_down(state);
		assert_int_equal(ends[0].n, 1);
		assert_int_equal(ends[0].error, -ECONNRESET);
		assert_int_equal(set_up(state), 0);
	}
}

static void a_command_that_is_not_out_cannot_be_answered(void **state)
{
	struct iovec iov = { data, DATA };
	uint16_t cid;

	(void)state;
	room = 20;
	cid = issue(&ends[0], false, &iov, 1, 512);
	assert_int_equal(feed_answer(cid, 0), -EPROTO);
	assert_true(q->dead);
	assert_int_equal(ends[0].n, 0);
}

static void an_old_id_is_nobodys(void **state)
{
	struct iovec iov = { data, DATA };
	uint16_t first = issue(&ends[0], true, &iov, 1, 512), second;

	(void)state;
	assert_int_equal(feed_answer(first, 0), 0);
	second = issue(&ends[1], true, &iov, 1, 512);
	assert_int_equal(first % NVME_SLOTS_MAX, second % NVME_SLOTS_MAX);
	assert_int_not_equal(first, second);
	assert_int_equal(feed_answer(first, 0), -EPROTO);
	assert_int_equal(ends[1].n, 0);
}

static void a_lost_connection_ends_all_commands(void **state)
{
	struct iovec iov = { data, DATA };
	struct list none = LIST_INIT(none);

	(void)state;
	room = 100;
	for (unsigned i = 0; i < SLOTS; i++)
		issue(&ends[i], i & 1, &iov, 1, DATA);
	mutex_lock(&q->lock);
	assert_null(nvq_get_locked(q));
	mutex_unlock(&q->lock);
	nvq_close(q);
	nvq_drain(q, &none);
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(ends[i].n, 1);
		assert_int_equal(ends[i].error, -ECONNRESET);
	}
}

static void too_many_questions_are_refused(void **state)
{
	struct iovec iov = { data, DATA };
	uint16_t cid = issue(&ends[0], true, &iov, 1, DATA);

	(void)state;
	room = 0;
	/* One is loaded to be sent, the others wait. */
	for (uint32_t i = 0; i <= NVME_R2TS_MAX; i++)
		assert_int_equal(feed_r2t(cid, i * 2000, 2000), 0);
	assert_int_equal(feed_r2t(cid, 16000, 2000), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_counted_once),
		cmocka_unit_test_setup_teardown(a_write_is_whole_however_it_is_cut, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(small_commands_pass_between, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_early_error_waits_for_what_is_going_out, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(an_early_error_before_anything_is_out, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(success_before_all_data_are_out_is_none, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_command_that_is_not_out_cannot_be_answered,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_old_id_is_nobodys, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_lost_connection_ends_all_commands, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(too_many_questions_are_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
