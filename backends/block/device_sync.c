/* SPDX-License-Identifier: Apache-2.0 */
/* device_sync.c - requests that their caller waits for
 *
 * Memory that is not aligned as the device wants it is copied through a buffer, a piece at a time. */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device.h"
#include "common/cleanup.h"
#include "common/lock.h"

#define BOUNCE_MAX (1u << 20)

static void wake(struct bd_req *rq)
{
	sem_post(rq->arg);
}

/* bd_submit() promises that done() runs, so this wait has the device's limit. */
static int run(struct bd *dev, struct bd_req *rq)
{
	sem_t done;
	int rc;

	lock_assert_none();
	sem_init(&done, 0, 0);
	rq->done = wake;
	rq->arg = &done;
	rc = bd_submit(dev, rq);
	if (rc == 0) {
		while (sem_wait(&done) && errno == EINTR)
			;
		rc = rq->result;
	}
	sem_destroy(&done);
	return rc;
}

static int transfer(struct bd *dev, enum bd_op op, void *buf, size_t len, uint64_t off,
		    unsigned flags)
{
	struct iovec iov = { buf, len };
	struct bd_req rq = {
		.op = op, .flags = flags, .off = off, .len = len, .iov = &iov, .niov = 1
	};

	return run(dev, &rq);
}

static bool aligned(const struct bd *dev, const void *buf)
{
	return ((uintptr_t)buf & (dev->limits.align - 1)) == 0;
}

static void *bounce_new(const struct bd *dev, size_t len)
{
	size_t n = len < BOUNCE_MAX ? len : BOUNCE_MAX, align = dev->limits.align;

	return aligned_alloc(align < BD_BLOCK_MIN ? BD_BLOCK_MIN : align,
			     (n + BD_BLOCK_MAX - 1) & ~(size_t)(BD_BLOCK_MAX - 1));
}

int bd_read(struct bd *dev, void *buf, size_t len, uint64_t off)
{
	AUTO_FREE uint8_t *bounce = NULL;
	int rc = 0;

	if (aligned(dev, buf))
		return transfer(dev, BD_READ, buf, len, off, 0);
	bounce = bounce_new(dev, len);
	if (!bounce)
		return -ENOMEM;
	for (size_t at = 0; at < len && rc == 0; at += BOUNCE_MAX) {
		size_t n = len - at < BOUNCE_MAX ? len - at : BOUNCE_MAX;

		rc = transfer(dev, BD_READ, bounce, n, off + at, 0);
		if (rc == 0)
			memcpy((uint8_t *)buf + at, bounce, n);
	}
	return rc;
}

int bd_write(struct bd *dev, const void *buf, size_t len, uint64_t off, unsigned flags)
{
	AUTO_FREE uint8_t *bounce = NULL;
	int rc = 0;

	if (aligned(dev, buf))
		return transfer(dev, BD_WRITE, (void *)(uintptr_t)buf, len, off, flags);
	bounce = bounce_new(dev, len);
	if (!bounce)
		return -ENOMEM;
	for (size_t at = 0; at < len && rc == 0; at += BOUNCE_MAX) {
		size_t n = len - at < BOUNCE_MAX ? len - at : BOUNCE_MAX;

		memcpy(bounce, (const uint8_t *)buf + at, n);
		rc = transfer(dev, BD_WRITE, bounce, n, off + at, flags);
	}
	return rc;
}

int bd_flush(struct bd *dev)
{
	struct bd_req rq = { .op = BD_FLUSH };

	return run(dev, &rq);
}

int bd_zero(struct bd *dev, uint64_t off, uint64_t len, unsigned flags)
{
	struct bd_req rq = { .op = BD_ZERO, .flags = flags, .off = off, .len = len };

	return run(dev, &rq);
}

int bd_discard(struct bd *dev, uint64_t off, uint64_t len)
{
	struct bd_req rq = { .op = BD_DISCARD, .off = off, .len = len };

	return run(dev, &rq);
}
