/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - operations that fail when they are told to; see layer.h
 *
 * A failing operation never reaches the backend below. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "backends/layer/layer_impl.h"
#include "common/lock.h"
#include "common/spec.h"

struct fault {
	struct layer layer;
	struct mutex lock;
	/* guarded by lock */
	struct spec_rule rules[LAYER_OPS];
	struct spec_dice dice;
};

static int fault_before(struct layer *l, const struct layer_what *what)
{
	struct fault *f = (struct fault *)l;
	struct spec_rule *r = &f->rules[what->op];
	int rc = 0;

	mutex_lock(&f->lock);
	if (spec_rule_hits(r, &f->dice))
		rc = -r->error;
	mutex_unlock(&f->lock);
	return rc;
}

static void fault_free(struct layer *l)
{
	mutex_done(&((struct fault *)l)->lock);
	free(l);
}

static const struct layer_ops fault_ops = { .before = fault_before, .free = fault_free };

/* ---- description ----------------------------------------------------- */

static int fault_open(char **params, struct layer **out, struct err *err)
{
	struct fault *f = calloc(1, sizeof *f);
	int rc = 0;

	if (!f)
		return err_set(err, -ENOMEM, "fault: out of memory");
	f->layer.lops = &fault_ops;
	mutex_init(&f->lock, LOCK_layer);
	for (; *params && !rc; params++) {
		const char *value = spec_value(*params);

		rc = spec_fault(*params, value, layer_op_names, LAYER_OPS, f->rules, &f->dice, err);
	}
	spec_rules_default(f->rules, LAYER_OPS, &f->dice);
	if (rc) {
		fault_free(&f->layer);
		return rc;
	}
	*out = &f->layer;
	return 0;
}

const struct layer_type layer_fault = { .name = "fault", .open = fault_open };

/* ---- for tests ------------------------------------------------------- */

static struct fault *fault_find(struct backend *be)
{
	for (; be; be = be->next)
		if (be->ops == &layer_backend_ops && ((struct layer *)be)->lops == &fault_ops)
			return (struct fault *)be;
	assert(!"a stack with a fault layer");
	return NULL;
}

static void rule_set(struct backend *be, enum layer_op op, struct spec_rule rule)
{
	struct fault *f = fault_find(be);

	mutex_lock(&f->lock);
	f->rules[op] = rule;
	mutex_unlock(&f->lock);
}

void fault_set(struct backend *be, enum layer_op op, unsigned nth, int error)
{
	rule_set(be, op, (struct spec_rule){ .nth = nth, .count = 1, .error = error });
}

void fault_set_always(struct backend *be, enum layer_op op, int error)
{
	rule_set(be, op, (struct spec_rule){ .nth = 1, .count = UINT_MAX, .error = error });
}

unsigned fault_count(struct backend *be, enum layer_op op)
{
	struct fault *f = fault_find(be);
	unsigned n;

	mutex_lock(&f->lock);
	n = f->rules[op].calls;
	mutex_unlock(&f->lock);
	return n;
}
