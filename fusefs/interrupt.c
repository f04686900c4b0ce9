/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt.c - see interrupt.h */
#include "fusefs/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/stats.h"
#include "fusefs/errand.h"
#include "fusefs/session.h"

#define LOOK_MS 100
#define LOOK_BATCH 64 /* requests pinned at once */

/* Columns of /proc/PID/stat behind the name, counted from 0, see proc(5). */
enum { STAT_COL_STATE = 0, STAT_COL_FLAGS = 6, STAT_COL_PENDING = 28 };
#define TASK_SIGNALED 0x400u /* flags: ended by a signal */
#define PENDING_KILL (1u << (9 - 1))

static unsigned long long column(const char *s, int n)
{
	while (n-- && s)
		s = strchr(s + 1, ' ');
	return s ? strtoull(s + 1, NULL, 10) : 0;
}

bool task_is_killed(const struct errand_client *errands, pid_t tid)
{
	char text[1024];
	AUTO_FD int fd = -1;
	const char *s;
	ssize_t n;

	if (!tid)
		return true;
	fd = errand_task(errands, ERRAND_TASK_STAT, tid);
	if (fd < 0)
		return fd == -ENOENT;
	n = read(fd, text, sizeof text - 1);
	if (n <= 0)
		return n < 0 && errno == ESRCH;
	text[n] = '\0';
	s = strrchr(text, ')'); /* the name may hold anything */
	if (!s || s[1] != ' ')
		return false;
	s++;
	/* A signal that kills becomes a pending SIGKILL of each thread, until it is taken. */
	return strchr("ZX", s[1]) || column(s, STAT_COL_FLAGS) & TASK_SIGNALED ||
	       column(s, STAT_COL_PENDING) & PENDING_KILL;
}

static bool any_signal_ends(const struct request *rq)
{
	return rq->hdr->opcode == FUSE_SETLKW;
}

/* A pinned request: nobody waits for it any more. */
static void give_up(struct request *rq)
{
	bool (*cancel)(struct request * rq);

	mutex_lock(&rq->v->request_lock);
	list_del(&rq->signalled);
	rq->interrupted = true;
	cancel = rq->ended ? NULL : rq->cancel;
	mutex_unlock(&rq->v->request_lock);
	if (cancel && cancel(rq))
		request_finish(rq, -EINTR);
}

/* A pinned request: its wait ends if it may. */
static void look_at(struct request *rq)
{
	struct volume *v = rq->v;

	if (!any_signal_ends(rq) && !task_is_killed(v->errands, (pid_t)rq->hdr->pid)) {
		mutex_lock(&v->request_lock);
		if (!rq->ended && list_empty(&rq->signalled)) {
			list_push_back(&v->signalled, &rq->signalled);
			cond_signal(&v->signalled_cond);
		}
		mutex_unlock(&v->request_lock);
		return;
	}
	stats_inc(STAT_fuse_interrupted);
	give_up(rq);
}

bool interrupt_request(const struct session *s, uint64_t unique)
{
	struct request *rq = request_pin(s, unique);

	if (!rq)
		return false;
	look_at(rq);
	request_unpin(rq);
	return true;
}

/* Up to LOOK_BATCH requests of the session, pinned, from the buckets at *bucket on. */
static unsigned pin_some(struct session *s, unsigned *bucket, struct request **batch)
{
	struct volume *v = s->v;
	unsigned n = 0;

	mutex_lock(&v->request_lock);
	for (; *bucket < INTERRUPT_BUCKETS && n < LOOK_BATCH; ++*bucket)
		list_for_each(it, &v->by_unique[*bucket]) {
			struct request *rq = list_entry(it, struct request, by_unique);

			if (rq->s != s || rq->interrupted || n == LOOK_BATCH)
				continue;
			rq->pins++;
			batch[n++] = rq;
		}
	mutex_unlock(&v->request_lock);
	return n;
}

void interrupt_all(struct session *s)
{
	struct request *batch[LOOK_BATCH];
	unsigned bucket = 0, n;

	while ((n = pin_some(s, &bucket, batch)))
		for (unsigned i = 0; i < n; i++) {
			give_up(batch[i]);
			request_unpin(batch[i]);
		}
}

/* Each request on the list at most once, the oldest first; the others come next time. */
static void look_around(struct volume *v)
{
	struct request *batch[LOOK_BATCH];
	struct list *it;
	unsigned n = 0;

	mutex_lock(&v->request_lock);
	while (n < LOOK_BATCH && (it = list_pop(&v->signalled))) {
		batch[n] = list_entry(it, struct request, signalled);
		batch[n++]->pins++;
	}
	mutex_unlock(&v->request_lock);
	for (unsigned i = 0; i < n; i++) {
		look_at(batch[i]);
		request_unpin(batch[i]);
	}
}

static void *interrupts_main(void *arg)
{
	struct volume *v = arg;

	prctl(PR_SET_NAME, "interrupts");
	mutex_lock(&v->request_lock);
	while (!v->interrupts_stop) {
		if (list_empty(&v->signalled)) {
			cond_wait(&v->signalled_cond, &v->request_lock);
			continue;
		}
		cond_wait_until(&v->signalled_cond, &v->request_lock, clock_ms() + LOOK_MS);
		mutex_unlock(&v->request_lock);
		look_around(v);
		mutex_lock(&v->request_lock);
	}
	mutex_unlock(&v->request_lock);
	return NULL;
}

int interrupts_init(struct volume *v)
{
	cond_init(&v->signalled_cond);
	list_init(&v->signalled);
	v->interrupts_stop = false;
	return -pthread_create(&v->interrupts_thread, NULL, interrupts_main, v);
}

void interrupts_done(struct volume *v)
{
	mutex_lock(&v->request_lock);
	v->interrupts_stop = true;
	cond_signal(&v->signalled_cond);
	mutex_unlock(&v->request_lock);
	pthread_join(v->interrupts_thread, NULL);
	cond_done(&v->signalled_cond);
}
