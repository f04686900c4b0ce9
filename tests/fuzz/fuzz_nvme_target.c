/* SPDX-License-Identifier: Apache-2.0 */
/* Any stream of bytes from hosts of the simulated NVMe target: nothing crashes, what it sends are whole PDUs, and what it
 * holds has a limit. The first byte chooses configuration and faults, the second one the pieces in which the stream comes. A piece
 * goes to one of two connections; the first of them begins with an enabled admin queue, so that the rest is met soon. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/nvme_impl.h"

enum { ADMIN, IO, CONNS };
#define HEAD 3 /* bytes of choices */
#define STEP_MS 1000

static const char *const faults[] = { "r2t-pieces pieces=3 order=random times=0",
				      "data-pieces pieces=5 order=reverse times=0",
				      "storm permille=500",
				      "cut pdu=resp bytes=5 after=4",
				      "late op=write ms=1 times=2",
				      "data-pad bytes=8 times=0",
				      "slow op=any ms=1 times=0",
				      "data-long times=0" };

/* What was queued for a host: whole PDUs of the controller, unless a fault cut them. */
static void drain(struct nt_conn *c)
{
	const struct nvme_wire plain = { .data_max = UINT32_MAX }, wire = c->wire;
	struct list *l;

	while ((l = list_pop(&c->out))) {
		struct nt_out *o = list_entry(l, struct nt_out, link);
		struct nvme_wire w = o->len && o->bytes[0] == NVME_ICRESP ? plain : wire;
		struct nvme_pdu pdu;

		w.from_host = false;
		w.data_max = UINT32_MAX;
		if (!o->ends) {
			assert(o->len >= NVME_PDU_COMMON);
			assert(!nvme_pdu_begin(&w, o->bytes, &pdu));
			assert(pdu.plen == o->len);
			assert(!nvme_pdu_decode(&w, o->bytes, &pdu));
		}
		c->out_bytes -= o->len;
		free(o);
	}
	assert(!c->out_bytes);
}

/* Sends a PDU with data, as a host that behaves. */
static void host(struct nt_conn *c, const struct nvme_pdu *pdu, const uint8_t *data)
{
	struct nvme_wire w = c->wire;
	uint8_t head[NVME_HEAD_MAX], digest[NVME_DIGEST_BYTES];

	w.from_host = true;
	w.pda = (uint8_t)c->t->cfg.cpda;
	nt_conn_feed(c, head, nvme_pdu_put(&w, pdu, head));
	nt_conn_feed(c, data, pdu->data_len);
	nvme_digest_put(digest, nvme_digest(data, pdu->data_len));
	if (w.ddgst && pdu->data_len)
		nt_conn_feed(c, digest, sizeof digest);
}

static void join(struct nt_conn *c, bool digests, uint16_t qid, uint16_t cntlid)
{
	struct nvme_connect_data d = { .cntlid = cntlid,
				       .subnqn = NVME_TARGET_NQN,
				       .hostnqn = "nqn.host" };
	struct nvme_pdu pdu = { .type = NVME_ICREQ,
				.ic = { .limit = 1, .hdgst = digests, .ddgst = digests } };
	uint8_t data[NVME_CONNECT_BYTES] = { 0 };

	host(c, &pdu, data);
	nvme_connect_put(data, &d);
	pdu = (struct nvme_pdu){ .type = NVME_CAPSULE_CMD,
				 .data_len = sizeof data,
				 .sqe = { .opcode = NVME_FABRICS,
					  .flags = NVME_SQE_SGL,
					  .cid = 1,
					  .nsid = NVME_FABRICS_CONNECT,
					  .sgl_len = sizeof data,
					  .sgl_type = NVME_SGL_CAPSULE,
					  .cdw10 = (uint32_t)qid << 16,
					  .cdw11 = 31 | NVME_CONNECT_NO_FLOW << 16 } };
	host(c, &pdu, data);
	pdu = (struct nvme_pdu){ .type = NVME_CAPSULE_CMD,
				 .sqe = { .opcode = NVME_FABRICS,
					  .flags = NVME_SQE_SGL,
					  .cid = 2,
					  .nsid = NVME_FABRICS_SET,
					  .cdw11 = NVME_PROP_CC,
					  .cdw12 = NVME_CC_ENABLE } };
	if (!qid)
		host(c, &pdu, data);
}

static void settle(struct nvme_target *t, struct nt_conn **c)
{
	nt_tick(t);
	for (unsigned i = 0; i < CONNS; i++)
		if (c[i]) {
			drain(c[i]);
			if (c[i]->state == NTS_DEAD) {
				nt_conn_free(c[i]);
				c[i] = NULL;
			}
		}
	assert(t->nconns <= CONNS && t->memory <= NT_MEMORY_MAX);
}

static void stream(struct nvme_target *t, struct nt_conn **c, const uint8_t *p, size_t n,
		   size_t step)
{
	for (unsigned turn = 0; n; turn++) {
		size_t now = n < step ? n : step;
		unsigned to = turn & 1 ? IO : ADMIN;

		if (step > 200) /* one for all */
			to = IO;
		if (c[to])
			nt_conn_feed(c[to], p, now);
		if (turn % 8 == 7)
			clock_skew_ms += STEP_MS;
		settle(t, c);
		p += now;
		n -= now;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nvme_target_config cfg = { .size = 1 << 16, .maxh2cdata = 4096, .mdts = 4 };
	struct nt_conn *c[CONNS];
	struct nvme_target *t;

	if (size < HEAD)
		return 0;
	cfg.volatile_cache = data[0] & 1;
	cfg.block_size = data[0] & 2 ? 4096 : 512;
	cfg.r2t_bytes = data[0] & 4 ? 4096 : 0;
	if (nt_new(&cfg, &t, NULL))
		abort();
	for (unsigned i = 0; i < ARRAY_LEN(faults); i++)
		if (data[2] >> i & 1 && nvme_target_fault(t, faults[i], NULL))
			abort();
	for (unsigned i = 0; i < CONNS; i++)
		c[i] = nt_conn_new(t, -1, 0);
	if (!(data[0] & 8)) {
		join(c[ADMIN], data[0] & 16, 0, NVME_CNTLID_ANY);
		settle(t, c);
		if (c[ADMIN] && c[ADMIN]->ctrl)
			join(c[IO], data[0] & 16, 1, c[ADMIN]->ctrl->cntlid);
		settle(t, c);
	}
	stream(t, c, data + HEAD, size - HEAD, data[1] + 1u);
	clock_skew_ms = 0;
	nt_free(t);
	return 0;
}
