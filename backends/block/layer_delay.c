/* SPDX-License-Identifier: Apache-2.0 */
/* layer_delay.c - requests that start late; see layers.h
 *
 * They wait in the queue of the layer's thread, by the time at which they are due. Whoever closes need not wait for
 * them: they are sent down at once then, where they are refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/layers_impl.h"
#include "common/clock.h"
#include "common/spec.h"

#define DELAY_FUA BD_OPS
#define DELAYS (BD_OPS + 1)

struct delay {
	struct bd_layer l;
	/* set at start, then read only */
	uint64_t us[DELAYS];
	uint64_t jitter_us;
	bool jitter_all; /* no operation was named */
	/* guarded by l.lock */
	struct spec_dice dice;
};

static uint64_t delay_of(struct delay *d, const struct bd_req *rq)
{
	uint64_t us = d->us[rq->op] + (rq->flags & BD_FUA ? d->us[DELAY_FUA] : 0);

	if (!d->jitter_us || !(us || d->jitter_all))
		return us;
	mutex_lock(&d->l.lock);
	us += (uint64_t)(spec_draw(&d->dice) * (double)d->jitter_us);
	mutex_unlock(&d->l.lock);
	return us;
}

static void delay_submit(struct bd_layer *l, struct layer_io *io)
{
	uint64_t us = delay_of((struct delay *)l, io->rq);

	if (us)
		layer_queue(l, &io->job, clock_us() + us);
	else
		layer_send(io);
}

static void delay_work(struct bd_layer *l, struct list *jobs)
{
	struct list *it;

	(void)l;
	while ((it = list_pop(jobs)))
		layer_send(layer_io_of(it));
}

/* ---- description ----------------------------------------------------- */

static int delay_param(struct delay *d, char *param, struct err *err)
{
	char *value = spec_value(param);
	unsigned first, end;
	uint64_t us;
	int rc;

	if (!value)
		return err_set(err, -EINVAL, "delay: '%.100s' is not OPERATION=TIME", param);
	if (!strcmp(param, "seed"))
		return spec_seed("delay", value, &d->dice.seed, err);
	if (spec_time_us(value, &us))
		return err_set(err, -EINVAL,
			       "delay: %.20s=%.100s is no time up to an hour, as in 5ms", param,
			       value);
	if (!strcmp(param, "jitter")) {
		d->jitter_us = us;
		return 0;
	}
	rc = spec_find("delay", param, bd_layer_op_names, &first, &end, err);
	if (rc)
		return rc;
	/* "all" is each operation; FUA would add its own to that of its write. */
	if (end > first + 1)
		end = BD_OPS;
	while (first < end)
		d->us[first++] = us;
	d->jitter_all = false;
	return 0;
}

static int delay_open(char **params, struct bd *below, struct bd **out, struct err *err)
{
	struct delay *d = calloc(1, sizeof *d);
	int rc = 0;

	if (!d)
		return err_set(err, -ENOMEM, "delay: out of memory");
	layer_init(&d->l, &bd_layer_delay, below);
	d->jitter_all = true;
	for (; *params && !rc; params++)
		rc = delay_param(d, *params, err);
	if (!rc)
		rc = layer_start(&d->l, err);
	if (rc) {
		layer_drop(&d->l);
		return rc;
	}
	*out = &d->l.bd;
	return 0;
}

const struct bd_layer_type bd_layer_delay = {
	.name = "delay",
	.open = delay_open,
	.submit = delay_submit,
	.work = delay_work,
};
