/* SPDX-License-Identifier: Apache-2.0 */
/* fake_device.h - a device in memory that does what a test says, when it says so
 *
 *   struct fake_device *f;
 *   struct bd *dev = fake_device_open(&(struct fake_device_conf){ .limits = { .fua = true } }, &env, &f);
 *   fake_device_hold(f, true);                 requests wait inside
 *   bd_submit(dev, &rq);
 *   fake_device_wait(f, 1);                    one is there; fake_device_at(f, 0) tells which
 *   fake_device_release(f, 0);                 it is executed and answered
 *   bd_close(dev);                             f is gone
 *
 * What is written lies in a volatile cache (limits.volatile_cache) until a flush or FUA; fake_device_lose() drops it.
 * A request takes effect when it is executed, by the fake's own thread, which also answers. Requests that break
 * the limits, overlap one that is inside, or come while the device is paused abort.
 *
 * Threads: any. Failing to start aborts, and so does what a test waits for in vain. */
#ifndef TESTS_FAKE_DEVICE_H
#define TESTS_FAKE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/block/device.h"

#define FAKE_DEVICE_LOG 65536u
#define FAKE_DEVICE_SIZE (1ull << 20)

struct fake_device_conf {
	uint64_t size; /* 0: FAKE_DEVICE_SIZE */
	/* What is 0 of the numbers is: block 512, align 1, max_transfer 1 MiB, depth 64. max_zero and
	 * max_discard stay 0: not supported. */
	struct bd_limits limits;
	bool write_through; /* limits.volatile_cache is false; else it is true */
};

struct fake_device_seen {
	enum bd_op op;
	unsigned flags;
	uint64_t off, len, stamp;
	unsigned niov;
};

struct fake_device;

struct bd *fake_device_open(const struct fake_device_conf *conf, const struct bd_env *env,
			    struct fake_device **out);
/* The same, for limits that the core has to refuse. */
int fake_device_try(const struct fake_device_conf *conf, const struct bd_env *env, struct bd **dev,
		    struct fake_device **out, struct err *err);

/* ---- what is inside --------------------------------------------------- */

/* On: requests wait inside until they are released. Off: all that wait and all that come are executed and answered. */
void fake_device_hold(struct fake_device *f, bool on);
/* On: submit() itself does not return, as that of a transport that is slow to take a request. */
void fake_device_stall(struct fake_device *f, bool on);
/* Waits until a submit() stalls. */
void fake_device_wait_stalled(struct fake_device *f);
/* Only requests of op wait; the others are answered. BD_OPS: all, as at the start. */
void fake_device_hold_only(struct fake_device *f, enum bd_op op);
unsigned fake_device_held(struct fake_device *f);
/* Waits until n (or more) are held. */
void fake_device_wait(struct fake_device *f, unsigned n);
/* The i-th of those that are held, in the order of their coming. */
struct fake_device_seen fake_device_at(struct fake_device *f, unsigned i);
/* Executes and answers it; returns when done() of the request's owner has returned. */
void fake_device_release(struct fake_device *f, unsigned i);
/* Executes it, and does not answer: as a server does whose connection breaks then. */
void fake_device_execute(struct fake_device *f, unsigned i);

/* All that ever came, in its order; fake_device_clear() forgets it. */
unsigned fake_device_count(struct fake_device *f);
struct fake_device_seen fake_device_seen(struct fake_device *f, unsigned i);
unsigned fake_device_count_op(struct fake_device *f, enum bd_op op);
void fake_device_clear(struct fake_device *f);
unsigned fake_device_most(struct fake_device *f); /* inside at once, so far */
unsigned fake_device_kicks(struct fake_device *f);

/* ---- faults ----------------------------------------------------------- */

/* The nth request of op from now on (1: the next) and the times - 1 after it are answered with error, and not executed.
 * times 0: for ever. One fault an op at a time. */
void fake_device_fail(struct fake_device *f, enum bd_op op, unsigned nth, unsigned times,
		      int error);
/* The volatile cache is dropped: what was not flushed is as before. */
void fake_device_lose(struct fake_device *f);
/* Only what lies in off, len. */
void fake_device_lose_range(struct fake_device *f, uint64_t off, uint64_t len);
/* The connection is lost: bd_pause(), and what is inside is given back, last one first. */
void fake_device_disconnect(struct fake_device *f);
/* bd_resume(). */
void fake_device_connect(struct fake_device *f);
/* bd_size() from now on. */
void fake_device_grow(struct fake_device *f, uint64_t size);

/* ---- bytes ------------------------------------------------------------ */

/* What a reader sees, and what would survive; borrowed, and still only while nothing is inside. */
const uint8_t *fake_device_bytes(struct fake_device *f);
const uint8_t *fake_device_durable(struct fake_device *f);

#endif
