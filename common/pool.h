/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - a few threads for jobs that wait, in the order of their coming
 *
 * Threads: any may add a job, and within a job, too. */
#ifndef COMMON_POOL_H
#define COMMON_POOL_H

#include "common/list.h"
#include "common/lock.h"

struct pool;

struct pool_conf {
	const char *name; /* of its threads; a literal */
	enum lock_rank rank;
	/* Started with the pool; at most. A thread that is started later has the identity of whoever added a job. */
	unsigned threads_min, threads_max;
	void (*work)(void *arg, struct list *job);
	void *arg; /* borrowed until pool_free() */
};

/* -ENOMEM; -EAGAIN when threads_min threads cannot be had. */
int pool_new(const struct pool_conf *conf, struct pool **out);
/* job is work()'s from here. One more thread starts for it when none is free. */
void pool_add(struct pool *p, struct list *job);
/* Within work(), when only what adds further jobs is left of it: nobody is woken for the next one, which this thread takes
 * itself unless another happens to be first. It finds its memory in this CPU's cache. */
void pool_ends_soon(struct pool *p);
/* After its last job. NULL is fine. */
void pool_free(struct pool *p);

#endif
