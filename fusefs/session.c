/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - receivers: read, decode, run, answer. See session.h. */
#include "fusefs/session.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "common/stats.h"
#include "common/tsan.h"
#include "fusefs/ops.h"

#define RECEIVERS_AUTO_MAX 8

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

/* A message into rq; 0, or -errno when the session is over. */
static int receive(struct request *rq)
{
	size_t cap = ARENA_SLOT_LARGE - (4096 - 80);
	ssize_t n;

	for (;;) {
		n = read(rq->v->fuse_fd, rq->msg, cap);
		if (n >= (ssize_t)sizeof *rq->hdr) {
			rq->len = (size_t)n;
			TSAN_ACQUIRE(&rq->v->fuse_fd);
			return 0;
		}
		if (n >= 0)
			return -EIO;
		/* ENOENT: the request was taken back while it was read. */
		if (errno != EINTR && errno != ENOENT && errno != EAGAIN)
			return -errno;
	}
}

static void receive_loop(struct volume *v)
{
	struct request *rq = request_new(v);
	int rc = rq ? 0 : -ENOMEM;

	while (!rc) {
		rc = receive(rq);
		if (rc)
			break;
		stats_inc(STAT_fuse_requests);
		if (session_dispatch(rq)) {
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
	receive_loop(v);
	return NULL;
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

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	if (!n)
		n = (unsigned)CPU_COUNT(&set) < RECEIVERS_AUTO_MAX ? (unsigned)CPU_COUNT(&set) :
								     RECEIVERS_AUTO_MAX;
	for (unsigned i = 0; i < n; i++) {
		struct start *st = malloc(sizeof *st);

		if (st)
			*st = (struct start){ v, nth_cpu(&set, i) };
		if (!st || pthread_create(&v->receivers[i], NULL, receiver_main, st)) {
			free(st);
			/* One is enough to serve; none is an error. */
			if (i)
				return 0;
			return err_set(err, -EAGAIN, "cannot start a thread");
		}
		v->nreceivers++;
	}
	return 0;
}

void session_join(struct volume *v)
{
	for (unsigned i = 0; i < v->nreceivers; i++)
		pthread_join(v->receivers[i], NULL);
	v->nreceivers = 0;
}
