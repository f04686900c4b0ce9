/* SPDX-License-Identifier: Apache-2.0 */
/* layer_fault.c - requests that fail when they are told to; see layers.h
 *
 * Without after=1 a request that fails never reaches the device below. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/layers_impl.h"
#include "common/spec.h"

enum mine { MINE_ERROR }; /* of layer_io.mine */

#define RULE_FUA BD_OPS
#define RULES (BD_OPS + 1)

struct fault {
	struct bd_layer l;
	/* set at start, then read only */
	bool after;
	/* guarded by l.lock */
	struct spec_rule rules[RULES];
	struct spec_dice dice;
};

/* The error that rq ends with; 0: none of ours. Each rule that it fits counts it. */
static int verdict_locked(struct fault *f, const struct bd_req *rq)
{
	int error = 0;

	if (spec_rule_hits(&f->rules[rq->op], &f->dice))
		error = -f->rules[rq->op].error;
	if ((rq->flags & BD_FUA) && spec_rule_hits(&f->rules[RULE_FUA], &f->dice) && !error)
		error = -f->rules[RULE_FUA].error;
	return error;
}

static void fault_submit(struct bd_layer *l, struct layer_io *io)
{
	struct fault *f = (struct fault *)l;
	int error;

	mutex_lock(&l->lock);
	error = verdict_locked(f, io->rq);
	mutex_unlock(&l->lock);
	io->mine[MINE_ERROR] = (uint64_t)-error;
	if (error && !f->after)
		layer_queue(l, &io->job, 0);
	else
		layer_send(io);
}

static void fault_done(struct bd_layer *l, struct layer_io *io)
{
	(void)l;
	layer_end(io, io->low.result ? io->low.result : -(int)io->mine[MINE_ERROR]);
}

static void fault_work(struct bd_layer *l, struct list *jobs)
{
	struct list *it;

	(void)l;
	while ((it = list_pop(jobs))) {
		struct layer_io *io = layer_io_of(it);

		layer_end(io, -(int)io->mine[MINE_ERROR]);
	}
}

/* ---- description ----------------------------------------------------- */

static int fault_param(struct fault *f, char *param, struct err *err)
{
	const char *value = spec_value(param);
	double after = 0;
	int rc;

	if (value && !strcmp(param, "after")) {
		rc = spec_number("fault", "after", value, 1, &after, err);
		f->after = after != 0;
		return rc;
	}
	/* "all" is each operation; FUA would count its write twice. */
	return spec_fault(param, value, bd_layer_op_names, BD_OPS, f->rules, &f->dice, err);
}

static int fault_open(char **params, struct bd *below, struct bd **out, struct err *err)
{
	struct fault *f = calloc(1, sizeof *f);
	int rc = 0;

	if (!f)
		return err_set(err, -ENOMEM, "fault: out of memory");
	layer_init(&f->l, &bd_layer_fault, below);
	for (; *params && !rc; params++)
		rc = fault_param(f, *params, err);
	spec_rules_default(f->rules, BD_OPS, &f->dice);
	if (!rc)
		rc = layer_start(&f->l, err);
	if (rc) {
		layer_drop(&f->l);
		return rc;
	}
	*out = &f->l.bd;
	return 0;
}

const struct bd_layer_type bd_layer_fault = {
	.name = "fault",
	.open = fault_open,
	.submit = fault_submit,
	.done = fault_done,
	.work = fault_work,
};
