/* SPDX-License-Identifier: Apache-2.0 */
/* mutant.c - what rules are broken with; see mutant.h */
#include "backends/block/ext4/mutant.h"

static void early_done(struct bd_req *rq)
{
	struct early *e = rq->arg;

	mutex_lock(&e->lock);
	e->done = true;
	/* Under the lock: whoever waits frees it. */
	cond_signal(&e->ended);
	mutex_unlock(&e->lock);
}

static void early_free(struct early *e)
{
	cond_done(&e->ended);
	mutex_done(&e->lock);
}

int early_begin(struct bd *dev, struct early *e)
{
	int rc;

	e->rq.done = early_done;
	e->rq.arg = e;
	e->done = false;
	mutex_init(&e->lock, LOCK_jrn_io);
	cond_init(&e->ended);
	rc = bd_submit(dev, &e->rq);
	if (rc)
		early_free(e);
	return rc;
}

int early_end(struct early *e, int rc)
{
	mutex_lock(&e->lock);
	while (!e->done)
		cond_wait(&e->ended, &e->lock);
	mutex_unlock(&e->lock);
	early_free(e);
	return rc ? rc : e->rq.result;
}
