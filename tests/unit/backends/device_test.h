/* SPDX-License-Identifier: Apache-2.0 */
/* device_test.h - what the tests of devices share: requests that can be waited for */
#ifndef TESTS_UNIT_DEVICE_TEST_H
#define TESTS_UNIT_DEVICE_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these above it */
#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device.h"
#include "common/clock.h"
#include "tests/fake/fake_device.h"

#define TEST_WAIT_MS 20000

/* A request, its memory, and whether it is done. */
struct treq {
	struct bd_req rq;
	struct iovec iov;
	uint8_t *buf; /* owned; aligned to 4096 */
	sem_t ready;
	_Atomic int dones;
	pthread_t on; /* the thread of done() */
};

static void treq_done(struct bd_req *rq)
{
	struct treq *r = rq->arg;

	r->on = pthread_self();
	atomic_fetch_add(&r->dones, 1);
	sem_post(&r->ready);
}

/* A WRITE has its bytes filled with fill, a READ with 0xee. */
static inline struct treq *treq_new(enum bd_op op, unsigned flags, uint64_t off, uint64_t len,
				    int fill)
{
	struct treq *r = calloc(1, sizeof *r);

	assert_non_null(r);
	sem_init(&r->ready, 0, 0);
	r->rq = (struct bd_req){
		.op = op, .flags = flags, .off = off, .len = len, .done = treq_done, .arg = r
	};
	if (op == BD_READ || op == BD_WRITE) {
		r->buf = aligned_alloc(4096, (len + 4095) & ~4095ull);
		assert_non_null(r->buf);
		memset(r->buf, op == BD_READ ? 0xee : fill, len);
		r->iov = (struct iovec){ r->buf, len };
		r->rq.iov = &r->iov;
		r->rq.niov = 1;
	}
	return r;
}

static inline void treq_free(struct treq *r)
{
	sem_destroy(&r->ready);
	free(r->buf);
	free(r);
}

static inline struct treq *treq_submit(struct bd *dev, enum bd_op op, unsigned flags, uint64_t off,
				       uint64_t len, int fill)
{
	struct treq *r = treq_new(op, flags, off, len, fill);

	assert_int_equal(bd_submit(dev, &r->rq), 0);
	return r;
}

static inline bool treq_is_done(struct treq *r)
{
	return atomic_load(&r->dones) > 0;
}

/* Waits for it; r stays. */
static inline int treq_wait(struct treq *r)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TEST_WAIT_MS / 1000;
	while (sem_timedwait(&r->ready, &until)) {
		if (errno != EINTR)
			fail_msg("request %d at %llu is not done", r->rq.op,
				 (unsigned long long)r->rq.off);
	}
	return r->rq.result;
}

/* Waits for it; r goes. */
static inline int treq_end(struct treq *r)
{
	int result = treq_wait(r);

	assert_int_equal(atomic_load(&r->dones), 1);
	treq_free(r);
	return result;
}

/* What bd_submit() says to a request that is refused. */
static inline int refusal(struct bd *dev, enum bd_op op, unsigned flags, uint64_t off, uint64_t len)
{
	struct treq *r = treq_new(op, flags, off, len, 0);
	int rc = bd_submit(dev, &r->rq);

	assert_int_not_equal(rc, 0);
	assert_int_equal(atomic_load(&r->dones), 0);
	treq_free(r);
	return rc;
}

static inline bool all_are(const uint8_t *p, size_t len, int value)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != (uint8_t)value)
			return false;
	}
	return true;
}

#endif
