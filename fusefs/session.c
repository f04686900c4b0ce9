/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - receivers: read, decode, run, answer. See session.h. */
#include "fusefs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "common/stats.h"
#include "common/tsan.h"
#include "fusefs/ops.h"
#include "fusefs/receiver.h"

#define RECEIVERS_AUTO_MIN 2 /* one may be away from its CPU while awake */
#define RECEIVERS_AUTO_MAX 8
#define LONG_BYTES (128u << 10)

op_fn *op_raw(uint32_t opcode)
{
	static op_fn *const table[] = {
		[FUSE_LOOKUP] = op_lookup,
		[FUSE_FORGET] = op_forget,
		[FUSE_GETATTR] = op_getattr,
		[FUSE_SETATTR] = op_setattr,
		[FUSE_OPEN] = op_open,
		[FUSE_READ] = op_read,
		[FUSE_WRITE] = op_write,
		[FUSE_RELEASE] = op_release,
		[FUSE_FLUSH] = op_flush,
		[FUSE_CREATE] = op_create,
		[FUSE_INTERRUPT] = op_interrupt,
		[FUSE_BATCH_FORGET] = op_batch_forget,
		[FUSE_TMPFILE] = op_tmpfile,
		[PFUSE_STATX] = op_statx,
		[PFUSE_COPY_FILE_RANGE_64] = op_copy_file_range_64,
	};

	return opcode < ARRAY_LEN(table) ? table[opcode] : NULL;
}

bool session_dispatch(struct request *rq)
{
	op_fn *op = op_raw(rq->hdr->opcode);
	int rc = op ? op(rq) : decoder_run(rq);

	switch (rc) {
	case OP_PARKED:
		stats_inc(STAT_fuse_parked);
		return false;
	case OP_PUNT:
		offload_submit(rq);
		return false;
	default:
		if (rc < 0 && !rq->answered)
			reply_err(rq, rc);
		break;
	}
	if (!rq->registered) {
		stats_inc(STAT_fuse_inline);
		return true;
	}
	request_end(rq);
	return false;
}

/* Moves so much data that others should not wait for it. */
static bool is_long(struct request *rq)
{
	const struct fuse_read_in *arg =
		rq->hdr->opcode == FUSE_READ ? request_arg(rq, sizeof *arg) : NULL;

	return rq->len >= LONG_BYTES || (arg && arg->size >= LONG_BYTES);
}

/* A message into rq; 0, or -errno when the session is over. */
static int receive(struct receiver *r, struct request *rq, bool awake)
{
	size_t cap = ARENA_SLOT_LARGE - (4096 - 80);
	ssize_t n = receiver_read(r, rq->msg, cap, awake ? (unsigned)rq->v->busy_poll : 0);

	if (n < 0)
		return (int)n;
	if (n < (ssize_t)sizeof *rq->hdr)
		return -EIO;
	rq->len = (size_t)n;
	TSAN_ACQUIRE(&rq->v->fuse_fd);
	if (is_long(rq))
		receiver_busy(r);
	return 0;
}

static void receive_loop(struct volume *v, struct receiver *r)
{
	struct request *rq = request_new(v);
	int rc = rq ? 0 : -ENOMEM;
	bool answered = false;

	while (!rc) {
		/* What others will answer brings no next request soon. */
		rc = receive(r, rq, answered);
		if (rc)
			break;
		stats_inc(STAT_fuse_requests);
		answered = session_dispatch(rq);
		if (answered) {
			request_reset(rq);
			continue;
		}
		while (!(rq = request_new(v)))
			usleep(10000); /* out of memory: others will free some */
	}
	if (rq)
		request_free(rq);
	if (rc != -ENODEV && rc != -ECONNABORTED && !v->unmounted)
		log_error("fuse: receiving failed: %s", strerror(-rc));
	v->unmounted = true;
}

struct start {
	struct volume *v;
	int cpu;
};

static void *receiver_main(void *arg)
{
	struct start *st = arg;
	struct volume *v = st->v;
	struct receiver receiver;
	cpu_set_t set;
	char name[16];

	snprintf(name, sizeof name, "receiver-%d", st->cpu);
	prctl(PR_SET_NAME, name);
	if (v->opt.pin && st->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((size_t)st->cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set))
			log_info("fuse: %s cannot be pinned: %s", name, strerror(errno));
	}
	free(st);
	receiver_init(&receiver, &v->receivers);
	receive_loop(v, &receiver);
	receivers_end(&v->receivers);
	return NULL;
}

static int start_receiver(struct volume *v, int cpu)
{
	struct start *st = malloc(sizeof *st);
	int rc = st ? 0 : -ENOMEM;

	if (!rc) {
		st->v = v;
		st->cpu = cpu;
		rc = -pthread_create(&v->receiver_ids[v->nreceivers], NULL, receiver_main, st);
	}
	if (rc)
		free(st);
	else
		v->nreceivers++;
	return rc;
}

/* The n-th CPU that we may run on, round and round. */
static int nth_cpu(const cpu_set_t *set, unsigned n)
{
	unsigned count = (unsigned)CPU_COUNT(set);

	n %= count ? count : 1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, set) && !n--)
			return cpu;
	return -1;
}

int session_start(struct volume *v, struct err *err)
{
	unsigned n = (unsigned)v->opt.receivers;
	cpu_set_t set;
	int rc = 0;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	if (!n)
		n = (unsigned)CPU_COUNT(&set);
	if (!v->opt.receivers && n < RECEIVERS_AUTO_MIN)
		n = RECEIVERS_AUTO_MIN;
	if (!v->opt.receivers && n > RECEIVERS_AUTO_MAX)
		n = RECEIVERS_AUTO_MAX;
	if (fcntl(v->fuse_fd, F_SETFL, O_NONBLOCK))
		return err_set(err, -errno, "/dev/fuse: %s", strerror(errno));
	receivers_init(&v->receivers, v->fuse_fd);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = start_receiver(v, nth_cpu(&set, i));
	/* One is enough to serve; none is an error. */
	if (rc && !v->nreceivers)
		return err_set(err, rc, "cannot start a receiver: %s", strerror(-rc));
	return 0;
}

void session_join(struct volume *v)
{
	for (unsigned i = 0; i < v->nreceivers; i++)
		pthread_join(v->receiver_ids[i], NULL);
	v->nreceivers = 0;
	receivers_done(&v->receivers);
}
