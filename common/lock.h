/* SPDX-License-Identifier: Apache-2.0 */
/* lock.h - mutexes that know their rank and, in debug builds, their owner
 *
 * Ranks are the rows of lock.def. A debug build (PERSIFS_DEBUG) keeps the locks
 * that a thread holds and aborts when one is taken out of order, released by a
 * stranger, or still held where lock_assert_none() stands. A release build
 * costs what a pthread mutex costs. All functions abort on misuse; none fails. */
#ifndef COMMON_LOCK_H
#define COMMON_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
#define LOCK(name, text) LOCK_##name,
#include "common/lock.def"
#undef LOCK
	LOCK_RANKS
};

struct mutex {
	pthread_mutex_t m;
	enum lock_rank rank;
#ifdef PERSIFS_DEBUG
	_Atomic(uintptr_t) owner; /* the holder's thread, 0 when free */
#endif
};

struct cond {
	pthread_cond_t c; /* on the monotonic clock */
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_done(struct mutex *m);
#ifdef PERSIFS_DEBUG
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
void mutex_assert_held(struct mutex *m);
/* Aborts when the calling thread holds any lock of ours. */
void lock_assert_none(void);
#else
static inline void mutex_lock(struct mutex *m)
{
	pthread_mutex_lock(&m->m);
}
static inline void mutex_unlock(struct mutex *m)
{
	pthread_mutex_unlock(&m->m);
}
static inline void mutex_assert_held(struct mutex *m)
{
	(void)m;
}
static inline void lock_assert_none(void)
{
}
#endif
/* Two locks of one rank, by address; a == b locks once. */
void mutex_lock_pair(struct mutex *a, struct mutex *b);
void mutex_unlock_pair(struct mutex *a, struct mutex *b);

void cond_init(struct cond *c);
void cond_done(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* Waits until the monotonic time deadline_ms (clock_ms()); false when it passed. */
bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ms);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

#endif
