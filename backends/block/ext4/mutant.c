/* SPDX-License-Identifier: Apache-2.0 */
/* mutant.c - what rules are broken with; see mutant.h */
#include "backends/block/ext4/mutant.h"

static void early_done(struct bd_req *rq)
{
	struct early_flush *f = rq->arg;

	mutex_lock(&f->lock);
	f->done = true;
	/* Under the lock: whoever waits frees it. */
	cond_signal(&f->ended);
	mutex_unlock(&f->lock);
}

static void early_free(struct early_flush *f)
{
	cond_done(&f->ended);
	mutex_done(&f->lock);
}

int early_flush_begin(struct bd *dev, struct early_flush *f)
{
	int rc;

	*f = (struct early_flush){ .rq = { .op = BD_FLUSH, .done = early_done, .arg = f } };
	mutex_init(&f->lock, LOCK_jrn_io);
	cond_init(&f->ended);
	rc = bd_submit(dev, &f->rq);
	if (rc)
		early_free(f);
	return rc;
}

int early_flush_end(struct early_flush *f, int rc)
{
	mutex_lock(&f->lock);
	while (!f->done)
		cond_wait(&f->ended, &f->lock);
	mutex_unlock(&f->lock);
	early_free(f);
	return rc ? rc : f->rq.result;
}
