/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_io.c - requests of a device as NVMe commands, and answers back
 *
 * A request is on the wire from nvio_submit() until it is completed or parked: parked ones go back to the core, which
 * sends them again in its order when the device has a path. priv[0] counts repetitions, priv[1] is the queue. */
#include <errno.h>
#include <string.h>

#include "backends/block/nvme_impl.h"
#include "common/clock.h"
#include "common/log.h"

int nvio_errno(uint16_t status, enum bd_op op)
{
	switch (NVME_STATUS(status)) {
	case NVME_OK:
		return 0;
	case NVME_INVALID_OPCODE:
		return -ENOTSUP;
	case NVME_INVALID_FIELD:
		return op == BD_ZERO || op == BD_DISCARD ? -ENOTSUP : -EIO;
	case NVME_CAPACITY:
		return -ENOSPC;
	case NVME_NS_READONLY:
		return -EROFS;
	default:
		return -EIO;
	}
}

/* The controller says that it is not the one, or not now: nothing was done. */
static bool is_path_error(uint16_t status)
{
	return NVME_STATUS_TYPE(status) == NVME_TYPE_PATH ||
	       (NVME_STATUS(status) == NVME_NS_NOT_READY && !(status & NVME_STATUS_DNR));
}

/* It may well work at once. A flush is not asked for twice: what it did the first time is unknown. Of a write with FUA
 * that holds when it was aborted; when its data did not come, or with a wrong digest (transient), it did nothing. */
static bool is_transient(uint16_t status, const struct bd_req *rq)
{
	if (rq->op == BD_FLUSH || status & NVME_STATUS_DNR)
		return false;
	return NVME_STATUS(status) == NVME_TRANSIENT ||
	       NVME_STATUS(status) == NVME_TRANSFER_ERROR ||
	       (NVME_STATUS(status) == NVME_ABORTED && !(rq->flags & BD_FUA));
}

static void io_issue_locked(struct nvme_queue *q, struct bd_req *rq);

/* The same once more, or false: it was tried often enough. */
static bool again(struct bd_req *rq)
{
	struct nvme_queue *q = rq->priv[1].ptr;

	if (rq->priv[0].u64 >= NVME_RETRIES)
		return false;
	rq->priv[0].u64++;
	mutex_lock(&q->lock);
	io_issue_locked(q,
			rq); /* closed by now: it waits there, and is given back with the others */
	mutex_unlock(&q->lock);
	return true;
}

static void io_end(void *arg, int error, const struct nvme_cqe *cqe)
{
	struct bd_req *rq = arg;
	struct nvme_queue *q = rq->priv[1].ptr;
	struct nvme_path *p = q->path;
	struct nvme_dev *d = p->dev;
	int rc;

	if (error == -ECONNRESET) {
		nvd_park(d, rq);
		return;
	}
	if (!error && is_path_error(cqe->status)) {
		nvd_path_ana(d, p, NVME_ANA_UNKNOWN);
		nvd_park(d, rq);
		return;
	}
	if ((error || is_transient(cqe->status, rq)) && again(rq))
		return;
	p->answered = true;
	rc = error ? -EIO : nvio_errno(cqe->status, rq->op);
	if (error)
		log_warn("nvme-tcp: %s: data at %llu came with a wrong digest %d times", p->name,
			 (unsigned long long)rq->off, NVME_RETRIES + 1);
	nvd_off_wire(d);
	bd_complete(rq, rc);
}

/* ---- commands --------------------------------------------------------- */

static void put_range(struct nvme_cmd *cmd, const struct bd_req *rq, uint32_t block)
{
	uint64_t first = rq->off / block;

	cmd->sqe.cdw10 = (uint32_t)first;
	cmd->sqe.cdw11 = (uint32_t)(first >> 32);
	cmd->sqe.cdw12 = (uint32_t)(rq->len / block - 1);
}

static void put_discard(struct nvme_cmd *cmd, const struct bd_req *rq, uint32_t block)
{
	nvme_dsm_put(cmd->small, rq->off / block, (uint32_t)(rq->len / block));
	cmd->small_iov = (struct iovec){ cmd->small, sizeof cmd->small };
	cmd->iov = &cmd->small_iov;
	cmd->niov = 1;
	cmd->len = sizeof cmd->small;
	cmd->to_target = true;
	cmd->sqe.opcode = NVME_IO_DSM;
	cmd->sqe.cdw11 = NVME_DSM_DEALLOCATE;
}

static void fill(struct nvme_cmd *cmd, const struct bd_req *rq, const struct nvme_ns *ns)
{
	cmd->sqe.nsid = ns->nsid;
	switch (rq->op) {
	case BD_READ:
	case BD_WRITE:
		put_range(cmd, rq, ns->block);
		cmd->sqe.opcode = rq->op == BD_READ ? NVME_IO_READ : NVME_IO_WRITE;
		cmd->to_target = rq->op == BD_WRITE;
		cmd->iov = rq->iov;
		cmd->niov = rq->niov;
		cmd->len = (uint32_t)rq->len;
		break;
	case BD_ZERO:
		put_range(cmd, rq, ns->block);
		cmd->sqe.opcode = NVME_IO_WRITE_ZEROES;
		cmd->sqe.cdw12 |= rq->flags & BD_UNMAP ? NVME_RW_DEAC : 0;
		break;
	case BD_DISCARD:
		put_discard(cmd, rq, ns->block);
		break;
	default:
		cmd->sqe.opcode = NVME_IO_FLUSH;
	}
	if (rq->flags & BD_FUA)
		cmd->sqe.cdw12 |= NVME_RW_FUA;
}

/* Issues rq, or lets it wait for a slot. */
static void io_issue_locked(struct nvme_queue *q, struct bd_req *rq)
{
	struct nvme_cmd *cmd = nvq_get_locked(q);
	const struct nvme_path *p = q->path;

	rq->priv[1].ptr = q;
	if (!cmd) {
		list_push_back(&q->waiting, &rq->link);
		return;
	}
	fill(cmd, rq, &p->ns);
	cmd->end = io_end;
	cmd->arg = rq;
	cmd->deadline_ms = clock_ms() + NVME_IO_MS;
	nvq_issue_locked(q, cmd);
}

/* ---- submission ------------------------------------------------------- */

/* Takes turns; a queue that has no slot left is passed over when another has one. */
static struct nvme_queue *choose(struct nvme_path *p)
{
	unsigned n = atomic_load(&p->nqueues), at = atomic_fetch_add(&p->next_queue, 1);

	for (unsigned i = 0; i < n; i++) {
		struct nvme_queue *q = p->queues[1 + (at + i) % n];

		if (atomic_load_explicit(&q->busy, memory_order_relaxed) < q->nslots)
			return q;
	}
	return n ? p->queues[1 + at % n] : NULL;
}

void nvio_submit(struct bd *bd, struct bd_req *rq)
{
	struct nvme_dev *d = nvd_of(bd);
	struct nvme_path *p = atomic_load(&d->active);
	struct nvme_queue *q = p ? choose(p) : NULL;
	bool ready = false;

	rq->priv[0].u64 = 0;
	atomic_fetch_add(&d->on_wire, 1);
	if (q) {
		mutex_lock(&q->lock);
		ready = q->ready;
		if (ready)
			io_issue_locked(q, rq);
		mutex_unlock(&q->lock);
	}
	if (!ready)
		nvd_park(d, rq);
}

/* Sends what this thread or others have left. A queue that the socket has no room for is the path's thread's. */
static void send_now(struct nvme_path *p)
{
	unsigned n = atomic_load(&p->nqueues);
	bool wake = false;

	for (unsigned i = 1; i <= n; i++) {
		struct nvme_queue *q = p->queues[i];
		int rc = 0;

		mutex_lock(&q->lock);
		if (q->live && !q->wants_out && !list_empty(&q->sendq)) {
			rc = nvq_flush_locked(q);
			q->wants_out = rc == -EAGAIN;
			if (rc && rc != -EAGAIN)
				q->send_error = rc;
		}
		wake |= rc != 0 || !list_empty(&q->ended);
		mutex_unlock(&q->lock);
	}
	if (wake)
		nvp_wake(p);
}

void nvio_kick(struct bd *bd)
{
	struct nvme_path *p = atomic_load(&nvd_of(bd)->active);

	if (p && !nvp_receives(p))
		send_now(p);
}

void nvio_waiting(struct nvme_path *p)
{
	unsigned n = atomic_load(&p->nqueues);

	for (unsigned i = 1; i <= n; i++) {
		struct nvme_queue *q = p->queues[i];

		mutex_lock(&q->lock);
		while (q->live && !list_empty(&q->waiting) && !list_empty(&q->free))
			io_issue_locked(q, list_entry(list_pop(&q->waiting), struct bd_req, link));
		mutex_unlock(&q->lock);
	}
}
