/* SPDX-License-Identifier: Apache-2.0 */
/* lock.c - see lock.h. Debug builds keep a small stack of held locks for each
 * thread; a rank must be greater than the greatest held one, save in
 * mutex_lock_pair(), which orders equals by address. */
#include "common/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"

static void lock_die(const char *what, int rank)
{
	static const char *const names[] = {
#define LOCK(name, text) #name,
#include "common/lock.def"
#undef LOCK
	};
	fprintf(stderr, "lock: %s: %s\n", what, rank >= 0 && rank < LOCK_RANKS ? names[rank] : "?");
	abort();
}

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	if (pthread_mutex_init(&m->m, NULL))
		lock_die("cannot init", rank);
	m->rank = rank;
#ifdef PERSIFS_DEBUG
	m->owner = 0;
#endif
}

void mutex_done(struct mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

#ifdef PERSIFS_DEBUG
#define HELD_MAX 16
static __thread struct mutex *held[HELD_MAX];
static __thread int nheld;

static void held_push(struct mutex *m, bool pair)
{
	for (int i = 0; i < nheld; i++)
		if (held[i]->rank > m->rank || (held[i]->rank == m->rank && !pair))
			lock_die("taken out of order", (int)m->rank);
	if (nheld == HELD_MAX)
		lock_die("too many locks held", (int)m->rank);
	held[nheld++] = m;
}

static void held_pop(struct mutex *m)
{
	for (int i = nheld - 1; i >= 0; i--) {
		if (held[i] != m)
			continue;
		for (nheld--; i < nheld; i++)
			held[i] = held[i + 1];
		return;
	}
	lock_die("released by a thread that does not hold it", (int)m->rank);
}

static void lock_checked(struct mutex *m, bool pair)
{
	held_push(m, pair);
	pthread_mutex_lock(&m->m);
	m->owner = (uintptr_t)&nheld;
}

void mutex_lock(struct mutex *m)
{
	lock_checked(m, false);
}

void mutex_unlock(struct mutex *m)
{
	held_pop(m);
	m->owner = 0;
	pthread_mutex_unlock(&m->m);
}

void mutex_assert_held(struct mutex *m)
{
	if (m->owner != (uintptr_t)&nheld)
		lock_die("not held", (int)m->rank);
}

void lock_assert_none(void)
{
	if (nheld)
		lock_die("held across a call that may block", (int)held[0]->rank);
}
#else
static void lock_checked(struct mutex *m, bool pair)
{
	(void)pair;
	mutex_lock(m);
}
#endif

void mutex_lock_pair(struct mutex *a, struct mutex *b)
{
	struct mutex *first = (uintptr_t)a < (uintptr_t)b ? a : b;
	struct mutex *second = first == a ? b : a;

	mutex_lock(first);
	if (second != first)
		lock_checked(second, true);
}

void mutex_unlock_pair(struct mutex *a, struct mutex *b)
{
	mutex_unlock(a);
	if (a != b)
		mutex_unlock(b);
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

void cond_done(struct cond *c)
{
	pthread_cond_destroy(&c->c);
}

/* A wait gives the mutex up and takes it back: the owner must follow. */
static void owner_clear(struct mutex *m)
{
	mutex_assert_held(m);
#ifdef PERSIFS_DEBUG
	m->owner = 0;
#endif
}

static void owner_set(struct mutex *m)
{
	(void)m;
#ifdef PERSIFS_DEBUG
	m->owner = (uintptr_t)&nheld;
#endif
}

void cond_wait(struct cond *c, struct mutex *m)
{
	owner_clear(m);
	pthread_cond_wait(&c->c, &m->m);
	owner_set(m);
}

bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ms)
{
	/* The deadline is one of clock_ms(), which tests move; the kernel's clock stays. */
	uint64_t skew = atomic_load_explicit(&clock_skew_ms, memory_order_relaxed);
	uint64_t at = deadline_ms > skew ? deadline_ms - skew : 0;
	struct timespec ts = { .tv_sec = (time_t)(at / 1000),
			       .tv_nsec = (long)(at % 1000) * 1000000 };
	int rc;

	owner_clear(m);
	rc = pthread_cond_timedwait(&c->c, &m->m, &ts);
	owner_set(m);
	return rc != ETIMEDOUT;
}

void cond_signal(struct cond *c)
{
	pthread_cond_signal(&c->c);
}

void cond_broadcast(struct cond *c)
{
	pthread_cond_broadcast(&c->c);
}
