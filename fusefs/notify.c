/* SPDX-License-Identifier: Apache-2.0 */
#include "fusefs/notify.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "common/list.h"
#include "common/lock.h"
#include "common/stats.h"
#include "fusefs/kernel.h"
#include "fusefs/volume.h"

struct message {
	struct list link;
	uint64_t nodeid;
	int64_t off; /* -1: attributes only */
};

struct notifier {
	struct volume *v;
	pthread_t thread;
	struct mutex lock;
	struct cond cond;
	/* guarded by lock */
	struct list queue;
	unsigned count;
	bool stop;
};

static void send_one(struct notifier *n, const struct message *m)
{
	struct fuse_notify_inval_inode_out body = { .ino = m->nodeid, .off = m->off };
	struct fuse_out_header out = { .len = sizeof out + sizeof body,
				       .error = FUSE_NOTIFY_INVAL_INODE };
	struct iovec iov[2] = { { &out, sizeof out }, { &body, sizeof body } };

	/* ENOENT: the kernel does not know the inode (any more). */
	if (writev(n->v->fuse_fd, iov, 2) > 0)
		stats_inc(STAT_notify_inval);
}

static void *notify_main(void *arg)
{
	struct notifier *n = arg;
	struct list *it;

	prctl(PR_SET_NAME, "notify");
	mutex_lock(&n->lock);
	for (;;) {
		while (!n->stop && list_empty(&n->queue))
			cond_wait(&n->cond, &n->lock);
		if (n->stop)
			break;
		it = list_pop(&n->queue);
		n->count--;
		mutex_unlock(&n->lock);
		send_one(n, list_entry(it, struct message, link));
		free(list_entry(it, struct message, link));
		mutex_lock(&n->lock);
	}
	mutex_unlock(&n->lock);
	return NULL;
}

struct notifier *notifier_new(struct volume *v)
{
	struct notifier *n = calloc(1, sizeof *n);

	if (!n)
		return NULL;
	n->v = v;
	mutex_init(&n->lock, LOCK_notify);
	cond_init(&n->cond);
	list_init(&n->queue);
	if (pthread_create(&n->thread, NULL, notify_main, n)) {
		free(n);
		return NULL;
	}
	return n;
}

void notifier_free(struct notifier *n)
{
	struct list *it;

	if (!n)
		return;
	mutex_lock(&n->lock);
	n->stop = true;
	cond_broadcast(&n->cond);
	mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	while ((it = list_pop(&n->queue)))
		free(list_entry(it, struct message, link));
	mutex_done(&n->lock);
	cond_done(&n->cond);
	free(n);
}

static void enqueue(struct notifier *n, uint64_t nodeid, int64_t off)
{
	struct message *m = malloc(sizeof *m);
	bool drop;

	if (!m)
		return;
	m->nodeid = nodeid;
	m->off = off;
	mutex_lock(&n->lock);
	drop = n->count >= NOTIFY_QUEUE_MAX;
	if (!drop) {
		list_push_back(&n->queue, &m->link);
		n->count++;
		cond_signal(&n->cond);
	}
	mutex_unlock(&n->lock);
	if (drop)
		free(m);
}

void notify_inval_data(struct notifier *n, uint64_t nodeid)
{
	enqueue(n, nodeid, 0);
}

void notify_inval_attr(struct notifier *n, uint64_t nodeid)
{
	enqueue(n, nodeid, -1);
}
