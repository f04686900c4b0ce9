/* SPDX-License-Identifier: Apache-2.0 */
/* layer.c - building a stack of layers from its description */
#include "backends/layer/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/layer/layer_impl.h"
#include "common/cleanup.h"

#define PARTS_MAX 64

const char *const layer_op_names[LAYER_OPS] = {
#define X(name) #name,
	LAYER_OPS_TABLE(X)
#undef X
};

int layer_op_find(const char *layer, const char *key, unsigned *first, unsigned *end,
		  struct err *err)
{
	*first = 0;
	*end = LAYER_OPS;
	if (!strcmp(key, "all"))
		return 0;
	while (*first < LAYER_OPS && strcmp(key, layer_op_names[*first]) != 0)
		(*first)++;
	if (*first == LAYER_OPS)
		return err_set(err, -EINVAL, "%s: no operation '%.100s'", layer, key);
	*end = *first + 1;
	return 0;
}

/* The layer that part starts, its first parameter (or "") in *rest; else NULL. */
static const struct layer_type *type_of(char *part, char **rest)
{
	static const struct layer_type *const types[] = { &layer_fault, &layer_delay,
							  &layer_trace };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t len = strlen(types[i]->name);

		if (strncmp(part, types[i]->name, len) != 0 || (part[len] && part[len] != ':'))
			continue;
		*rest = part + len + (part[len] == ':');
		return types[i];
	}
	return NULL;
}

static int split(char *spec, char **parts, struct err *err)
{
	char *save = NULL;
	size_t n = 0;

	for (char *p = strtok_r(spec, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (n == PARTS_MAX)
			return err_set(err, -EINVAL, "layers: more than %d parts", PARTS_MAX);
		parts[n++] = p;
	}
	parts[n] = NULL;
	return 0;
}

/* Opens the layer that starts at parts[0], above *top; *used tells how many
 * parts were its own. */
static int open_one(char **parts, size_t *used, struct backend **top, struct err *err)
{
	char *params[PARTS_MAX + 1], *rest, *ignored;
	const struct layer_type *type = type_of(parts[0], &rest);
	struct layer *l;
	size_t n = 0;
	int rc;

	if (!type)
		return err_set(err, -EINVAL,
			       "unknown layer '%.100s' (fault, delay, trace are known)", parts[0]);
	if (*rest)
		params[n++] = rest;
	for (*used = 1; parts[*used] && !type_of(parts[*used], &ignored); ++*used)
		params[n++] = parts[*used];
	params[n] = NULL;
	rc = type->open(params, &l, err);
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
	AUTO_FREE char *copy = spec ? strdup(spec) : NULL;
	char *parts[PARTS_MAX + 1] = { NULL };
	struct backend *top = below;
	int rc = 0;

	if (spec && !copy)
		return err_set(err, -ENOMEM, "layers: out of memory");
	if (copy)
		rc = split(copy, parts, err);
	for (size_t i = 0, used = 0; !rc && parts[i]; i += used)
		rc = open_one(parts + i, &used, &top, err);
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
