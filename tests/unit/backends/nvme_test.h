/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_test.h - our NVMe/TCP initiator against the simulated target, in one process */
#ifndef TESTS_UNIT_BACKENDS_NVME_TEST_H
#define TESTS_UNIT_BACKENDS_NVME_TEST_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/block/device.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/sim/nvme_target.h"

enum { PATIENCE_MS = 20000, SETTLE_MS = 20 };

struct nvme_fixture {
	struct nvme_target *target;
	struct bd *dev;
};

static inline void nvme_target_up(struct nvme_fixture *f, const struct nvme_target_config *cfg)
{
	struct err err = { "" };

	memset(f, 0, sizeof *f);
	if (nvme_target_start(cfg, &f->target, &err))
		fail_msg("target: %s", err.text);
}

/* URI of the target, all of its paths, with params behind ("&queues=1"). */
static inline void nvme_uri(const struct nvme_fixture *f, unsigned paths, const char *params,
			    char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, "nvme-tcp://127.0.0.1:%u/%s?kato=2s%s",
				     nvme_target_port(f->target, 0), NVME_TARGET_NQN, params);

	for (unsigned i = 1; i < paths; i++)
		at += (size_t)snprintf(out + at, size - at, "&path=127.0.0.1:%u",
				       nvme_target_port(f->target, i));
}

static inline int nvme_try_open(struct nvme_fixture *f, unsigned paths, const char *params,
				const struct bd_env *env, struct err *err)
{
	char uri[1024];

	nvme_uri(f, paths, params, uri, sizeof uri);
	return bd_open(uri, NULL, env, &f->dev, err);
}

static inline void nvme_open_env(struct nvme_fixture *f, unsigned paths, const char *params,
				 const struct bd_env *env)
{
	struct err err = { "" };

	if (nvme_try_open(f, paths, params, env, &err))
		fail_msg("open: %s", err.text);
}

static inline void nvme_open_dev(struct nvme_fixture *f, const char *params)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };

	nvme_open_env(f, 1, params, &env);
}

static inline void nvme_both_up(struct nvme_fixture *f, const struct nvme_target_config *cfg,
				const char *params)
{
	nvme_target_up(f, cfg);
	nvme_open_dev(f, params);
}

static inline void nvme_down(struct nvme_fixture *f)
{
	bd_close(f->dev);
	nvme_target_stop(f->target);
	memset(f, 0, sizeof *f);
}

static inline void nvme_fault(struct nvme_fixture *f, const char *text)
{
	struct err err = { "" };

	if (nvme_target_fault(f->target, text, &err))
		fail_msg("fault '%s': %s", text, err.text);
}

static inline struct nvme_target_counts nvme_counts(struct nvme_fixture *f)
{
	struct nvme_target_counts c;

	nvme_target_counts(f->target, &c);
	return c;
}

static inline struct bd_counts nvme_bd_counts(struct nvme_fixture *f)
{
	struct bd_counts c;

	bd_counts(f->dev, &c);
	return c;
}

/* Bytes that tell where they belong, and which time they were written. */
static inline void pattern(uint8_t *buf, size_t len, uint64_t off, uint32_t round)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(((off + i) >> 9) * 31 + (off + i) * 7 + round * 101);
}

/* Writes, reads back, and looks at the target's bytes. */
static inline void there_and_back(struct nvme_fixture *f, uint64_t off, size_t len, uint32_t round)
{
	AUTO_FREE uint8_t *out = malloc(len), *in = malloc(len);

	assert_true(out && in);
	pattern(out, len, off, round);
	memset(in, 0, len);
	assert_int_equal(bd_write(f->dev, out, len, off, 0), 0);
	assert_int_equal(bd_read(f->dev, in, len, off), 0);
	assert_memory_equal(in, out, len);
	memset(in, 0, len);
	assert_int_equal(nvme_target_peek(f->target, 1, off, in, len, false), 0);
	assert_memory_equal(in, out, len);
}

/* Waits until cond holds. */
#define wait_for(cond)                                      \
	do {                                                \
		uint64_t until_ = clock_ms() + PATIENCE_MS; \
		while (!(cond) && clock_ms() < until_)      \
			usleep(1000);                       \
		assert_true(cond);                          \
	} while (0)

/* ---- a request that is not waited for -------------------------------- */

struct async {
	struct bd_req rq;
	struct iovec iov;
	_Atomic int done; /* 0: not yet; 1 */
};

static inline void async_done(struct bd_req *rq)
{
	struct async *a = rq->arg;

	atomic_store(&a->done, 1);
}

static inline void async_start(struct nvme_fixture *f, struct async *a, enum bd_op op, void *buf,
			       uint64_t len, uint64_t off)
{
	a->iov = (struct iovec){ buf, len };
	a->rq = (struct bd_req){ .op = op, .off = off, .len = len, .done = async_done, .arg = a };
	if (op == BD_READ || op == BD_WRITE) {
		a->rq.iov = &a->iov;
		a->rq.niov = 1;
	}
	a->done = 0;
	assert_int_equal(bd_submit(f->dev, &a->rq), 0);
}

static inline int async_wait(struct async *a)
{
	wait_for(atomic_load(&a->done));
	return a->rq.result;
}

#endif
