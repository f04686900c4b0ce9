/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_load.h - many writes, reads and flushes at once, each read compared with what was written there
 *
 *   a job, in its own range:  write -> read, compare -> (every eighth job: flush) -> the next round
 *
 * Jobs go on from done() itself, on the device's threads. */
#ifndef TESTS_UNIT_BACKENDS_NVME_LOAD_H
#define TESTS_UNIT_BACKENDS_NVME_LOAD_H

#include "tests/unit/backends/nvme_test.h"

enum {
	LOAD_JOBS = 96,
	LOAD_ROUNDS = 40,
	LOAD_BLOCKS = 40,
	LOAD_MAX = LOAD_BLOCKS * 512,
	LOAD_STRIDE = 65536, /* of the ranges */
	LOAD_FLUSHERS = 8,
};

enum job_stage { JOB_WRITES, JOB_READS, JOB_FLUSHES };

struct load;

struct job {
	struct async a;
	struct load *load;
	uint8_t *out, *in;
	unsigned n, round;
	enum job_stage stage;
	size_t len;
	uint64_t off;
	const char *why; /* NULL: all is well */
};

struct load {
	struct bd *dev;
	unsigned rounds; /* 0: until stop */
	atomic_bool stop;
	_Atomic unsigned done; /* rounds of all jobs */
	struct job jobs[LOAD_JOBS];
};

static inline void job_done(struct bd_req *rq);

static inline void job_submit(struct job *j, enum job_stage stage)
{
	static const enum bd_op ops[] = { BD_WRITE, BD_READ, BD_FLUSH };

	j->stage = stage;
	j->a.iov = (struct iovec){ stage == JOB_WRITES ? j->out : j->in, j->len };
	j->a.rq = (struct bd_req){ .op = ops[stage], .done = job_done, .arg = &j->a };
	if (stage != JOB_FLUSHES) {
		j->a.rq.off = j->off;
		j->a.rq.len = j->len;
		j->a.rq.iov = &j->a.iov;
		j->a.rq.niov = 1;
	}
	if (bd_submit(j->load->dev, &j->a.rq)) {
		j->why = "refused";
		atomic_store(&j->a.done, 1);
	}
}

static inline void job_next_round(struct job *j)
{
	if (atomic_load(&j->load->stop) || (j->load->rounds && j->round >= j->load->rounds)) {
		atomic_store(&j->a.done, 1);
		return;
	}
	j->round++;
	j->len = 512 * (1 + (size_t)(j->n * 7 + j->round * 13) % LOAD_BLOCKS);
	j->off = (uint64_t)j->n * LOAD_STRIDE + 512 * ((j->n + j->round) % 9);
	pattern(j->out, j->len, j->off, j->round);
	memset(j->in, 0, j->len);
	job_submit(j, JOB_WRITES);
}

static inline void job_done(struct bd_req *rq)
{
	struct job *j = CONTAINER_OF(CONTAINER_OF(rq, struct async, rq), struct job, a);

	if (rq->result)
		j->why = "failed";
	else if (j->stage == JOB_READS && memcmp(j->in, j->out, j->len) != 0)
		j->why = "read something else than it wrote";
	if (j->why) {
		atomic_store(&j->a.done, 1);
		return;
	}
	if (j->stage == JOB_WRITES) {
		job_submit(j, JOB_READS);
	} else if (j->stage == JOB_READS && j->n % LOAD_FLUSHERS == 0) {
		job_submit(j, JOB_FLUSHES);
	} else {
		atomic_fetch_add(&j->load->done, 1);
		job_next_round(j);
	}
}

static inline struct load *load_start(struct nvme_fixture *f, unsigned rounds)
{
	struct load *l = calloc(1, sizeof *l);

	assert_non_null(l);
	l->dev = f->dev;
	l->rounds = rounds;
	for (unsigned i = 0; i < LOAD_JOBS; i++) {
		struct job *j = &l->jobs[i];

		j->n = i;
		j->load = l;
		j->out = malloc(LOAD_MAX);
		j->in = malloc(LOAD_MAX);
		assert_true(j->out && j->in);
		job_next_round(j);
	}
	return l;
}

/* Waits for its end. */
static inline void load_end(struct load *l)
{
	for (unsigned i = 0; i < LOAD_JOBS; i++) {
		struct job *j = &l->jobs[i];

		wait_for(atomic_load(&j->a.done));
		if (j->why)
			fail_msg("job %u, round %u, stage %u: %s (%d)", j->n, j->round, j->stage,
				 j->why, j->a.rq.result);
	}
	for (unsigned i = 0; i < LOAD_JOBS; i++) {
		free(l->jobs[i].out);
		free(l->jobs[i].in);
	}
	free(l);
}

static inline void load_run(struct nvme_fixture *f, unsigned rounds)
{
	load_end(load_start(f, rounds));
}

#endif
