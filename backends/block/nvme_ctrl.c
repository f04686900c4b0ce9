/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_ctrl.c - a controller from the first connection to its shutdown
 *
 *   admin queue: ICReq, Connect -> CAP -> CC.EN -> CSTS.RDY -> Identify -> number of queues -> events
 *   each I/O queue: ICReq, Connect;  then the namespace (nvme_ns.c), and the state of its group
 *
 * All of it runs on the path's thread, which goes on serving its connections while it waits for an answer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/block/nvme_ctrl_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	ADMIN_ENTRIES = NVME_ADMIN_SLOTS + 1,
	READY_POLL_MS = 10,
	SHUTDOWN_MS = 1000,
	READY_MIN_MS = 1000, /* a controller that promises less still gets so much */
	CC_MPS_SHIFT = 7,
	KAS_UNIT_MS = 100,
	MDTS_SHIFT_MAX = 20,
	EVENTS_TOLD = 8, /* of a connection, that mean nothing to us */
};

/* ---- one command, waited for ------------------------------------------ */

struct waiter {
	bool done;
	int error;
	struct nvme_cqe cqe;
};

static void exec_end(void *arg, int error, const struct nvme_cqe *cqe)
{
	struct waiter *w = arg;

	w->done = true;
	w->error = error;
	if (cqe)
		w->cqe = *cqe;
}

static bool given_up(const struct nvme_path *p)
{
	return p->mode != NVME_PATH_ENDS && (atomic_load(&p->stop) || nvp_lost(p));
}

static int lost(const struct nvme_path *p, struct err *err)
{
	const struct nvme_queue *q = nvp_lost(p);

	if (!q)
		return err_set(err, -ECANCELED, "nvme-tcp: %s: closed", p->name);
	return err_set(err, -ECONNRESET, "nvme-tcp: %s: %s", p->name, q->why);
}

static struct nvme_cmd *send_admin(struct nvme_queue *q, const struct nvme_sqe *sqe,
				   const struct nvc_data *data, uint64_t deadline_ms,
				   nvme_end_fn *end, void *arg)
{
	struct nvme_cmd *cmd;

	mutex_lock(&q->lock);
	cmd = nvq_get_locked(q);
	if (cmd) {
		cmd->sqe = *sqe;
		if (data && data->len) {
			cmd->small_iov = (struct iovec){ data->p, data->len };
			cmd->iov = &cmd->small_iov;
			cmd->niov = 1;
			cmd->len = data->len;
			cmd->to_target = data->to_target;
		}
		cmd->deadline_ms = deadline_ms;
		cmd->end = end;
		cmd->arg = arg;
		nvq_issue_locked(q, cmd);
	}
	mutex_unlock(&q->lock);
	nvq_flush(q);
	return cmd;
}

int nvc_exec(struct nvme_path *p, struct nvme_queue *q, const struct nvme_sqe *sqe,
	     const struct nvc_data *data, struct nvme_cqe *out, struct err *err)
{
	struct waiter w = { .done = false };
	uint64_t now = clock_ms();
	uint64_t deadline = now + (p->mode == NVME_PATH_ENDS ? SHUTDOWN_MS : NVME_ADMIN_MS);
	struct nvme_cmd *cmd = send_admin(q, sqe, data, deadline, exec_end, &w);

	if (!cmd)
		return err_set(err, -EBUSY, "nvme-tcp: %s: queue %u takes no command", p->name,
			       q->id);
	for (; !w.done && !q->dead && !given_up(p); now = clock_ms()) {
		if (now >= deadline)
			nvq_overdue(q, now);
		else
			nvp_poll(p, NVME_TICK_MS);
		/* Others depend on a path that serves, however slow this answer is. */
		if (p->mode == NVME_PATH_SERVES && !nvp_lost(p))
			nvp_timers(p, clock_ms());
	}
	if (!w.done) {
		mutex_lock(&q->lock);
		cmd->end =
			NULL; /* what comes now is for nobody; the data have their place in p->buf */
		mutex_unlock(&q->lock);
	}
	if (!w.done || w.error == -ECONNRESET)
		return lost(p, err);
	if (w.error)
		return err_set(err, -EIO, "nvme-tcp: %s: data of command 0x%02x came damaged",
			       p->name, sqe->opcode);
	*out = w.cqe;
	return 0;
}

int nvc_refused(const struct nvme_path *p, const char *what, const struct nvme_cqe *cqe,
		struct err *err)
{
	if (!NVME_STATUS(cqe->status))
		return 0;
	return err_set(err, -EIO, "nvme-tcp: %s refuses to %s: status 0x%x", p->name, what,
		       NVME_STATUS(cqe->status));
}

/* ---- properties ------------------------------------------------------- */

static int prop_get(struct nvme_path *p, enum nvme_property which, bool eight, uint64_t *out,
		    struct err *err)
{
	const struct nvme_sqe sqe = { .opcode = NVME_FABRICS,
				      .nsid = NVME_FABRICS_GET,
				      .cdw10 = eight ? NVME_PROP_8BYTES : 0,
				      .cdw11 = which };
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_exec(p, p->queues[0], &sqe, NULL, &cqe, err);

	if (!rc)
		rc = nvc_refused(p, "tell a property", &cqe, err);
	if (!rc)
		*out = eight ? cqe.result : cqe.result & UINT32_MAX;
	return rc;
}

static int prop_set(struct nvme_path *p, enum nvme_property which, uint32_t value, struct err *err)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_FABRICS, .nsid = NVME_FABRICS_SET, .cdw11 = which, .cdw12 = value
	};
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_exec(p, p->queues[0], &sqe, NULL, &cqe, err);

	return rc ? rc : nvc_refused(p, "set a property", &cqe, err);
}

/* Polls CSTS until (value & mask) == want. */
static int await_state(struct nvme_path *p, uint32_t mask, uint32_t want, uint64_t limit_ms,
		       struct err *err)
{
	uint64_t csts, now = clock_ms(), deadline = now + limit_ms;

	for (;;) {
		int rc = prop_get(p, NVME_PROP_CSTS, false, &csts, err);

		if (rc)
			return rc;
		if ((csts & mask) == want)
			return 0;
		if (csts & NVME_CSTS_CFS)
			return err_set(err, -EIO,
				       "nvme-tcp: %s: the controller reports a fatal error",
				       p->name);
		if (clock_ms() >= deadline)
			return err_set(err, -ETIMEDOUT,
				       "nvme-tcp: %s: the controller is not ready after %llu ms",
				       p->name, (unsigned long long)limit_ms);
		for (now = clock_ms(); clock_ms() < now + READY_POLL_MS && !given_up(p);)
			nvp_poll(p, READY_POLL_MS);
	}
}

static int enable(struct nvme_path *p, struct err *err)
{
	uint64_t limit;
	int rc = prop_get(p, NVME_PROP_CAP, true, &p->cap, err);

	if (rc)
		return rc;
	limit = NVME_CAP_TIMEOUT_MS(p->cap);
	p->cc = NVME_CC_ENABLE | (uint32_t)(p->cap >> 48 & 15u) << CC_MPS_SHIFT;
	rc = prop_set(p, NVME_PROP_CC, p->cc, err);
	return rc ? rc :
		    await_state(p, NVME_CSTS_RDY | NVME_CSTS_CFS, NVME_CSTS_RDY,
				limit < READY_MIN_MS ? READY_MIN_MS : limit, err);
}

bool nvc_shutdown(struct nvme_path *p)
{
	if (p->queues[0]->dead || !p->queues[0]->live || !p->cc)
		return false;
	return !prop_set(p, NVME_PROP_CC, p->cc | NVME_CC_SHN_NORMAL, NULL) &&
	       !await_state(p, NVME_CSTS_SHST, NVME_CSTS_SHST_DONE, SHUTDOWN_MS, NULL);
}

/* ---- Connect ---------------------------------------------------------- */

static int connect_refused(const struct nvme_path *p, const struct nvme_cqe *cqe, struct err *err)
{
	const struct nvme_conf *c = p->conf;

	switch (NVME_STATUS(cqe->status)) {
	case NVME_OK:
		if (!(cqe->result & NVME_CONNECT_AUTH))
			return 0;
		/* fall through */
	case NVME_AUTH_REQUIRED:
		return err_set(err, -EACCES,
			       "nvme-tcp: %s asks for authentication (DH-HMAC-CHAP), which is not "
			       "supported",
			       p->name);
	case NVME_CONNECT_HOST:
		return err_set(err, -EACCES, "nvme-tcp: %s does not allow host NQN '%s'", p->name,
			       c->hostnqn);
	case NVME_CONNECT_PARAM:
		return err_set(err, -ENOENT,
			       "nvme-tcp: %s has no subsystem '%s' (or refuses our parameters)",
			       p->name, c->subnqn);
	case NVME_CONNECT_BUSY:
		return err_set(err, -EBUSY, "nvme-tcp: %s: subsystem '%s' has no controller free",
			       p->name, c->subnqn);
	default:
		return nvc_refused(p, "connect", cqe, err);
	}
}

static int connect_queue(struct nvme_path *p, struct nvme_queue *q, unsigned nslots,
			 struct err *err)
{
	const struct nvme_sqe sqe = { .opcode = NVME_FABRICS,
				      .nsid = NVME_FABRICS_CONNECT,
				      .cdw10 = q->id << 16,
				      .cdw11 = nslots,
				      .cdw12 = q->id ? 0 : p->conf->kato_ms };
	const struct nvc_data data = { p->buf, NVME_CONNECT_BYTES, true };
	struct nvme_connect_data c = { .cntlid = q->id ? p->cntlid : NVME_CNTLID_ANY };
	struct nvme_cqe cqe = { 0 };
	int rc = nvp_connect(p, q, nslots, err);

	if (rc)
		return rc;
	memcpy(c.hostid, p->conf->hostid, sizeof c.hostid);
	memcpy(c.subnqn, p->conf->subnqn, sizeof c.subnqn);
	memcpy(c.hostnqn, p->conf->hostnqn, sizeof c.hostnqn);
	nvme_connect_put(p->buf, &c);
	rc = nvc_exec(p, q, &sqe, &data, &cqe, err);
	if (!rc)
		rc = connect_refused(p, &cqe, err);
	if (!rc && !q->id)
		p->cntlid = (uint16_t)cqe.result;
	return rc;
}

/* ---- identify, features, logs ----------------------------------------- */

int nvc_identify(struct nvme_path *p, enum nvme_cns cns, uint32_t nsid, struct nvme_cqe *cqe,
		 struct err *err)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .cdw10 = cns };
	const struct nvc_data data = { p->buf, NVME_IDENTIFY_BYTES, false };

	return nvc_exec(p, p->queues[0], &sqe, &data, cqe, err);
}

static int read_log_part(struct nvme_path *p, unsigned page, uint64_t off, uint8_t *to,
			 uint32_t len, struct err *err)
{
	uint32_t dwords = len / 4 - 1;
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_LOG_PAGE,
				      .nsid = UINT32_MAX,
				      .cdw10 = page | (dwords & 0xffffu) << 16,
				      .cdw11 = dwords >> 16,
				      .cdw12 = (uint32_t)off,
				      .cdw13 = (uint32_t)(off >> 32) };
	const struct nvc_data data = { to, len, false };
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_exec(p, p->queues[0], &sqe, &data, &cqe, err);

	return rc ? rc : nvc_refused(p, "give a log page", &cqe, err);
}

uint32_t nvc_mdts(const struct nvme_path *p)
{
	uint64_t max = NVME_TRANSFER_MAX;

	if (p->id.mdts && p->id.mdts < MDTS_SHIFT_MAX) {
		uint64_t mdts = NVME_CAP_MIN_PAGE(p->cap) << p->id.mdts;

		max = mdts < max ? mdts : max;
	}
	return (uint32_t)max;
}

int nvc_read_log(struct nvme_path *p, unsigned page, uint64_t off, uint32_t len, struct err *err)
{
	uint32_t max = nvc_mdts(p), part;
	int rc = 0;

	for (uint32_t at = 0; !rc && at < len; at += part) {
		part = len - at < max ? len - at : max;
		rc = read_log_part(p, page, off + at, p->buf + at, part, err);
	}
	return rc;
}

static int set_feature(struct nvme_path *p, enum nvme_feature feature, uint32_t value,
		       struct nvme_cqe *cqe, struct err *err)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_SET_FEATURES,
				      .cdw10 = feature,
				      .cdw11 = value };

	return nvc_exec(p, p->queues[0], &sqe, NULL, cqe, err);
}

int nvc_admin_up(struct nvme_path *p, struct err *err)
{
	struct nvme_cqe cqe = { 0 };
	int rc;

	p->cc = 0;
	p->events = 0;
	rc = connect_queue(p, p->queues[0], NVME_ADMIN_SLOTS, err);
	if (!rc)
		rc = enable(p, err);
	if (!rc)
		rc = nvc_identify(p, NVME_CNS_CTRL, 0, &cqe, err);
	if (!rc)
		rc = nvc_refused(p, "identify its controller", &cqe, err);
	if (!rc && nvme_id_ctrl_get(p->buf, &p->id))
		rc = err_set(err, -EBADMSG,
			     "nvme-tcp: %s: the controller identifies itself wrongly", p->name);
	return rc;
}

/* ---- events ------------------------------------------------------------ */

static void expect_event(struct nvme_path *p);

static void on_event(void *arg, int error, const struct nvme_cqe *cqe)
{
	struct nvme_path *p = arg;
	uint32_t r;

	if (error || NVME_STATUS(cqe->status))
		return;
	r = (uint32_t)cqe->result;
	if (NVME_EVENT_TYPE(r) == NVME_EVENT_NOTICE && NVME_EVENT_INFO(r) == NVME_NOTICE_ANA)
		atomic_fetch_or(&p->todo, NVME_TODO_ANA);
	else if (NVME_EVENT_TYPE(r) == NVME_EVENT_NOTICE &&
		 NVME_EVENT_INFO(r) == NVME_NOTICE_NS_CHANGED)
		atomic_fetch_or(&p->todo, NVME_TODO_NS);
	else if (p->events++ < EVENTS_TOLD)
		log_warn("nvme-tcp: %s: event 0x%06x", p->name, r);
	p->todo_due_ms = 0;
	expect_event(p);
}

static void expect_event(struct nvme_path *p)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_ASYNC_EVENT };

	(void)send_admin(p->queues[0], &sqe, NULL, 0, on_event, p);
}

/* What a controller does not announce is found by its answers, later. */
static int ask_for_events(struct nvme_path *p, struct err *err)
{
	uint32_t mask = p->id.oaes & (NVME_ASYNC_NS_CHANGED | NVME_ASYNC_ANA);
	struct nvme_cqe cqe = { 0 };
	int rc = mask ? set_feature(p, NVME_FEAT_ASYNC, mask, &cqe, err) : 0;

	if (!rc)
		expect_event(p);
	return rc;
}

/* ---- keep-alive -------------------------------------------------------- */

static void on_state(void *arg, int error, const struct nvme_cqe *cqe)
{
	struct nvme_path *p = arg;

	if (error || NVME_STATUS(cqe->status))
		return;
	if (cqe->result & NVME_CSTS_CFS)
		nvq_fail(p->queues[0], -EIO, "the controller reports a fatal error");
	else if (!(cqe->result & NVME_CSTS_RDY))
		nvq_fail(p->queues[0], -EIO, "the controller is not ready any more");
}

void nvc_keep_alive(struct nvme_path *p)
{
	const struct nvme_sqe alive = { .opcode = NVME_ADMIN_KEEP_ALIVE };
	const struct nvme_sqe state = { .opcode = NVME_FABRICS,
					.nsid = NVME_FABRICS_GET,
					.cdw11 = NVME_PROP_CSTS };
	uint64_t deadline = clock_ms() + p->conf->kato_ms;

	/* Without a slot: those that have them are not answered, and their deadlines tell. */
	(void)send_admin(p->queues[0], &alive, NULL, deadline, NULL, NULL);
	(void)send_admin(p->queues[0], &state, NULL, deadline, on_state, p);
}

uint32_t nvc_settle_ms(const struct nvme_path *p)
{
	uint32_t unit = p->id.kas ? p->id.kas * (uint32_t)KAS_UNIT_MS : 1;

	/* Controllers round the time up to their unit. */
	return (p->conf->kato_ms + unit - 1) / unit * unit;
}

/* ---- I/O queues -------------------------------------------------------- */

static int count_queues(struct nvme_path *p, unsigned *out, struct err *err)
{
	unsigned n = p->conf->queues, sq, cq;
	struct nvme_cqe cqe = { 0 };
	int rc = set_feature(p, NVME_FEAT_QUEUES, (n - 1) | (n - 1) << 16, &cqe, err);

	if (!rc)
		rc = nvc_refused(p, "give I/O queues", &cqe, err);
	if (rc)
		return rc;
	sq = (unsigned)(cqe.result & 0xffffu) + 1;
	cq = (unsigned)(cqe.result >> 16 & 0xffffu) + 1;
	n = sq < n ? sq : n;
	*out = cq < n ? cq : n;
	return 0;
}

/* The queue has one entry more than we use: a full one looks like an empty one. */
static int count_slots(const struct nvme_path *p, unsigned *out, struct err *err)
{
	unsigned n = (unsigned)NVME_CAP_ENTRIES(p->cap) - 1;

	if (p->id.maxcmd && p->id.maxcmd < n)
		n = p->id.maxcmd;
	*out = n < NVME_SLOTS_MAX ? n : NVME_SLOTS_MAX;
	return n ? 0 :
		   err_set(err, -EINVAL, "nvme-tcp: %s: queues of one entry cannot be used",
			   p->name);
}

/* Bytes of data in a capsule of an I/O queue. */
static uint32_t capsule_max(const struct nvme_id_ctrl *id)
{
	uint64_t bytes = (uint64_t)id->ioccsz * 16;

	if (bytes <= NVME_SQE_BYTES || id->icdoff)
		return 0;
	bytes -= NVME_SQE_BYTES;
	return bytes < NVME_TRANSFER_MAX ? (uint32_t)bytes : NVME_TRANSFER_MAX;
}

int nvc_io_up(struct nvme_path *p, struct err *err)
{
	unsigned nqueues = 0, nslots = 0;
	int rc = count_slots(p, &nslots, err);

	if (!rc)
		rc = count_queues(p, &nqueues, err);
	if (!rc)
		rc = ask_for_events(p, err);
	for (unsigned i = 1; !rc && i <= nqueues; i++) {
		rc = connect_queue(p, p->queues[i], nslots, err);
		p->queues[i]->capsule_max = capsule_max(&p->id);
	}
	if (!rc)
		rc = nvc_find_ns(p, err);
	if (!rc)
		rc = nvc_read_ana(p, err);
	p->ns.nqueues = nqueues;
	p->ns.depth = nqueues * nslots < BD_DEPTH_MAX ? nqueues * nslots : BD_DEPTH_MAX;
	return rc;
}
