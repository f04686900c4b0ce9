/* SPDX-License-Identifier: Apache-2.0 */
/* layer.c - building a stack of layers from its description */
#include "backends/layer/layer.h"

#include <stddef.h>

#include "backends/layer/layer_impl.h"
#include "common/spec.h"

const char *const layer_op_names[LAYER_OPS + 1] = {
#define X(name) #name,
	LAYER_OPS_TABLE(X)
#undef X
};

static const struct layer_type *const types[] = { &layer_fault, &layer_delay, &layer_trace };
static const char *const type_names[] = { "fault", "delay", "trace", NULL };

static int open_one(void *arg, unsigned which, char **params, struct err *err)
{
	struct backend **top = arg;
	struct layer *l;
	int rc = types[which]->open(params, &l, err);

	if (rc)
		return rc;
	l->be.ops = &layer_backend_ops;
	l->be.limits = (*top)->limits;
	l->be.next = *top;
	*top = &l->be;
	return 0;
}

int layers_open(const char *spec, struct backend *below, struct backend **out, struct err *err)
{
	struct backend *top = below;
	int rc = spec_each(spec, type_names, open_one, &top, err);

	if (!rc) {
		*out = top;
		return 0;
	}
	while (top != below) {
		struct layer *l = (struct layer *)top;

		top = top->next;
		l->lops->free(l);
	}
	return rc;
}
