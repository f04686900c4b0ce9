/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a PDU of NVMe over TCP, in both directions, and as each page of data. What the decoder takes is within
 * its bounds, and encodes to something that decodes to the same. The first byte chooses direction, digests, and
 * whether a PDU or a page is read. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/nvme_pdu.h"

enum { DATA_MAX = 1 << 16 };

static void one_pdu(const struct nvme_wire *w, const uint8_t *p, size_t n)
{
	uint8_t head[NVME_HEAD_MAX + NVME_DIGEST_BYTES] = { 0 }, out[NVME_HEAD_MAX];
	struct nvme_pdu pdu, again;
	int rc;

	if (n < NVME_PDU_COMMON)
		return;
	memcpy(head, p, n < sizeof head ? n : sizeof head);
	rc = nvme_pdu_begin(w, head, &pdu);
	if (rc) {
		assert(rc == -EBADMSG && pdu.bad.fes);
		return;
	}
	assert(pdu.head_len >= 24 && pdu.head_len <= NVME_HEAD_MAX && pdu.plen >= pdu.head_len);
	assert(!pdu.data_len || (pdu.data_off >= pdu.head_len && pdu.data_len <= DATA_MAX));
	assert(pdu.plen ==
	       (pdu.data_len ? pdu.data_off : pdu.head_len) + pdu.data_len + (pdu.ddgst ? 4 : 0));
	/* Header digests are made right half of the time: guessing one takes too long. */
	if (pdu.head_len > head[2] && (p[n - 1] & 1))
		nvme_digest_put(head + head[2], nvme_digest(head, head[2]));
	if (nvme_pdu_decode(w, head, &pdu))
		return;
	if (pdu.data_len && pdu.type <= NVME_C2H_TERM)
		pdu.data_off = (uint8_t)nvme_pdu_put(w, &pdu, out);
	assert(nvme_pdu_put(w, &pdu, out) <= sizeof out);
	assert(!nvme_pdu_decode(w, out, &again));
	assert(again.type == pdu.type && again.data_len == pdu.data_len &&
	       again.ddgst == pdu.ddgst);
	if (pdu.type == NVME_CAPSULE_CMD)
		assert(again.sqe.cid == pdu.sqe.cid && again.sqe.cdw15 == pdu.sqe.cdw15 &&
		       again.sqe.sgl_addr == pdu.sqe.sgl_addr);
}

static void one_page(const uint8_t *p, size_t n)
{
	static uint8_t page[NVME_IDENTIFY_BYTES];
	static uint32_t nsids[NVME_NS_LIST_MAX];
	struct nvme_connect_data connect;
	struct nvme_id_ctrl ctrl;
	struct nvme_id_ns ns;
	struct nvme_ns_ids ids;
	struct nvme_disc_entry entry;

	memset(page, 0, sizeof page);
	memcpy(page, p, n < sizeof page ? n : sizeof page);
	if (!nvme_connect_get(page, &connect))
		assert(connect.subnqn[0] && strlen(connect.hostnqn) < NVME_NQN_SIZE);
	if (!nvme_id_ctrl_get(page, &ctrl))
		assert(!ctrl.ioccsz || ctrl.ioccsz >= 4);
	if (!nvme_id_ns_get(page, &ns))
		assert((ns.flbas & 15) <= ns.nlbaf);
	nvme_ns_ids_get(page, &ids);
	assert(nvme_ns_list_get(page, nsids) <= (int)NVME_NS_LIST_MAX);
	if (!nvme_disc_entry_get(page, &entry))
		assert(strlen(entry.traddr) <= 256 && strlen(entry.trsvcid) <= 32);
}

static void one_ana_log(const uint8_t *p, size_t n)
{
	struct nvme_ana_group g;
	uint64_t changes;
	uint16_t groups;
	uint32_t sum = 0;

	if (nvme_ana_head_get(p, n, &changes, &groups))
		return;
	for (size_t at = NVME_ANA_HEAD_BYTES; groups--;) {
		int len = nvme_ana_group_get(p + at, n - at, &g);

		if (len < 0)
			return;
		assert((size_t)len <= n - at);
		for (uint32_t i = 0; i < g.nnsids; i++)
			sum += nvme_ana_nsid(p + at, i);
		at += (size_t)len;
	}
	(void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nvme_wire w = { .data_max = DATA_MAX };

	if (size < 2)
		return 0;
	w.from_host = data[0] & 1;
	w.hdgst = data[0] & 2;
	w.ddgst = data[0] & 4;
	w.pda = data[0] >> 3 & NVME_PDA_MAX;
	if (w.pda == NVME_PDA_MAX) {
		one_page(data + 1, size - 1);
		one_ana_log(data + 1, size - 1);
	} else {
		one_pdu(&w, data + 1, size - 1);
	}
	return 0;
}
