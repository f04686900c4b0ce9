/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the time sources; all cheap enough for the data path
 *
 * clock_ms() is monotonic and coarse (a few ms), clock_us() is exact. Tests that need to move time
 * set clock_skew_ms. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

extern _Atomic uint64_t clock_skew_ms;

static inline uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 +
	       atomic_load_explicit(&clock_skew_ms, memory_order_relaxed);
}

static inline uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Wall time as the kernel stamps files with it (coarse). */
static inline struct timespec clock_wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts;
}

/* <0, 0, >0 as a is before, equal to, after b. */
static inline int timespec_cmp(const struct timespec *a, const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec ? -1 : 1;
	return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

#endif
