/* SPDX-License-Identifier: Apache-2.0 */
/* layer_impl.h - what the layers share
 *
 * pass.c has the table; for each operation it asks the layer before, calls the
 * backend below unless the layer has refused, and tells the layer the result. */
#ifndef BACKENDS_LAYER_LAYER_IMPL_H
#define BACKENDS_LAYER_LAYER_IMPL_H

#include "backends/layer/layer.h"

struct layer;

/* What is being asked; names are NULL where there is none. */
struct layer_what {
	enum layer_op op;
	const struct be_node *node; /* may be NULL */
	const char *name;
	const struct be_call *call; /* NULL: an operation without one */
};

struct layer_ops {
	/* Optional. 0, or -errno: the operation fails with it, where it can fail. */
	int (*before)(struct layer *l, const struct layer_what *what);
	/* Optional. */
	void (*after)(struct layer *l, const struct layer_what *what, ssize_t result);
	/* Optional: of read, write, commit; else layer_submit_below(). */
	enum be_submit (*submit)(struct layer *l, enum layer_op op, struct be_io *io);
	void (*free)(struct layer *l);
};

/* Embedded as first member of each layer's own struct. */
struct layer {
	struct backend be;
	const struct layer_ops *lops;
};

struct layer_type {
	const char *name;
	/* params: NULL-ended "key=value" strings, which it may write to. */
	int (*open)(char **params, struct layer **out, struct err *err);
};

extern const struct layer_type layer_fault, layer_delay, layer_trace;
extern const struct backend_ops layer_backend_ops;
extern const char *const layer_op_names[LAYER_OPS + 1]; /* NULL-ended */

enum be_submit layer_submit_below(struct layer *l, enum layer_op op, struct be_io *io);

#endif
