/* SPDX-License-Identifier: Apache-2.0 */
/* Any stream of bytes from a target with reads, writes and a command without data in flight: each ends at most once,
 * nothing is stored outside of its memory, and what is sent lies within its data. The first byte chooses digests, and in
 * which pieces the stream arrives; where it chooses so, digests of headers are made right, and ids too. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/nvme_impl.h"
#include "common/le.h"

enum { COMMANDS = 5, ROOM = 4096, GUARD = 0x5a, SLOTS = 7 };

struct memory {
	uint8_t before[8], data[ROOM], after[8];
};

static struct memory memory[COMMANDS];
static unsigned ended[COMMANDS];
static size_t room; /* of the socket */

static void end(void *arg, int error, const struct nvme_cqe *cqe)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	assert(error <= 0 && (cqe || error == -ECONNRESET));
	assert(++ended[i] == 1);
}

static ssize_t swallow(struct nvme_queue *q, const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	(void)q;
	for (unsigned i = 0; i < n && sum < room; i++) {
		uint8_t look = 0;

		for (size_t at = 0; at < iov[i].iov_len; at++)
			look ^= ((const uint8_t *)iov[i].iov_base)[at];
		(void)look;
		sum += iov[i].iov_len < room - sum ? iov[i].iov_len : room - sum;
	}
	room -= sum;
	return sum ? (ssize_t)sum : -EAGAIN;
}

static void issue(struct nvme_queue *q, unsigned i, struct iovec *iov)
{
	struct nvme_cmd *cmd = nvq_get_locked(q);

	assert(cmd);
	memset(&memory[i], GUARD, sizeof memory[i]);
	ended[i] = 0;
	iov[0] = (struct iovec){ memory[i].data, 512 };
	iov[1] = (struct iovec){ memory[i].data + 512, ROOM - 512 };
	cmd->to_target = i == 2 || i == 3;
	cmd->iov = iov;
	cmd->niov = i == 4 ? 0 : 2;
	cmd->len = i == 4 ? 0 : ROOM;
	cmd->sqe.opcode = cmd->to_target ? NVME_IO_WRITE : NVME_IO_READ;
	cmd->end = end;
	cmd->arg = (void *)(uintptr_t)i;
	nvq_issue_locked(q, cmd);
}

static void start(struct nvme_queue *q, uint8_t how, struct iovec (*iov)[2])
{
	memset(q, 0, sizeof *q);
	nvq_init(q, 1);
	q->send = swallow;
	room = 1 << 20;
	q->want_hdgst = how & 1;
	q->want_ddgst = how & 2;
	nvq_open(q, -1, SLOTS);
	if (how & 4) {
		/* Past the greeting. */
		q->phase = NVME_PHASE_READY;
		q->rx_wire.hdgst = q->tx_wire.hdgst = how & 1;
		q->rx_wire.ddgst = q->tx_wire.ddgst = how & 2;
		q->h2c_max = NVME_MAXH2CDATA_MIN;
	}
	q->capsule_max = 0;
	mutex_lock(&q->lock);
	for (unsigned i = 0; i < COMMANDS; i++)
		issue(q, i, iov[i]);
	(void)nvq_flush_locked(q);
	if (how & 16)
		room = 100; /* what goes out now stays in the middle */
	mutex_unlock(&q->lock);
}

/* What a fuzzer cannot guess: ids of commands, and digests. */
static void mend(const struct nvme_queue *q, uint8_t *pdu, size_t n)
{
	unsigned at = pdu[0] == NVME_CAPSULE_RESP ? 20 : 8;

	if (n < 28 || pdu[2] != 24)
		return;
	le16_put(pdu + at, q->cmds[pdu[at] % COMMANDS].sqe.cid);
	if (q->rx_wire.hdgst)
		nvme_digest_put(pdu + 24, nvme_digest(pdu, 24));
}

static int feed(struct nvme_queue *q, const uint8_t *p, size_t n, size_t step)
{
	int rc = 0;

	while (n && !rc) {
		struct iovec iov[3];
		size_t now = n < step ? n : step, len;

		if (nvr_direct(q, iov, 3, &len)) {
			now = iov[0].iov_len < now ? iov[0].iov_len : now;
			memcpy(iov[0].iov_base, p, now);
			rc = nvr_received(q, now);
		} else {
			rc = nvr_feed(q, p, now);
		}
		p += now;
		n -= now;
		nvq_flush(q);
	}
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nvme_queue q;
	static const uint8_t guard[8] = { GUARD, GUARD, GUARD, GUARD, GUARD, GUARD, GUARD, GUARD };
	struct iovec iov[COMMANDS][2];
	struct list waiting = LIST_INIT(waiting);
	size_t step;
	int rc = 0;

	if (size < 2)
		return 0;
	start(&q, data[0], iov);
	step = (data[0] >> 5) * 19u + 1;
	/* Records of 2 bytes length, little endian, and what they say. */
	for (data++, size--; size > 2 && !rc;) {
		size_t n = le16_get(data) & 0x1fffu;
		bool mended = data[1] & 0x80;
		uint8_t *copy;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		copy = malloc(n + 1);
		if (!copy)
			abort();
		memcpy(copy, data, n);
		if (mended && n > 2)
			mend(&q, copy, n);
		rc = feed(&q, copy, n, step);
		free(copy);
		data += n;
		size -= n;
	}
	assert(!rc || (q.dead && q.why[0]));
	nvq_close(&q);
	nvq_drain(&q, &waiting);
	for (unsigned i = 0; i < COMMANDS; i++) {
		assert(ended[i] == 1);
		assert(!memcmp(memory[i].before, guard, 8) && !memcmp(memory[i].after, guard, 8));
	}
	nvq_done(&q);
	return 0;
}
