/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - operations that fail when they are told to; see layer.h
 *
 * A failing operation never reaches the backend below. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/layer/layer_impl.h"
#include "common/hash.h"
#include "common/lock.h"

#define ERRNO_MAX 200

struct rule {
	unsigned calls; /* since the rule was made */
	unsigned nth;   /* 0: no rule by number */
	bool onwards;   /* not only the nth, later ones as well */
	bool random;    /* each with fault.p */
	int error;
};

struct fault {
	struct layer layer;
	struct mutex lock;
	/* guarded by lock */
	struct rule rules[LAYER_OPS];
	uint64_t draws;
	/* set at start, then read only */
	uint64_t seed;
	double p;
};

/* A number in [0, 1) that the seed and the count of draws decide. */
static double draw_locked(struct fault *f)
{
	uint64_t x = hash_u64(f->seed * 0x9e3779b97f4a7c15ULL + ++f->draws);

	return (double)(x >> 11) / (double)(1ULL << 53);
}

static bool rule_hits_locked(struct fault *f, struct rule *r)
{
	r->calls++;
	if (r->random && draw_locked(f) < f->p)
		return true;
	return r->nth && (r->calls == r->nth || (r->onwards && r->calls > r->nth));
}

static int fault_before(struct layer *l, const struct layer_what *what)
{
	struct fault *f = (struct fault *)l;
	struct rule *r = &f->rules[what->op];
	int rc = 0;

	mutex_lock(&f->lock);
	if (rule_hits_locked(f, r))
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

static int error_parse(const char *text, int *out)
{
	for (int e = 1; e < ERRNO_MAX; e++) {
		const char *name = strerrorname_np(e);

		if (name && !strcmp(name, text)) {
			*out = e;
			return 0;
		}
	}
	return -EINVAL;
}

/* when: "3:EIO", "3+:EIO", "*:EIO" */
static int rule_parse(char *when, struct rule *out)
{
	char *colon = strchr(when, ':'), *end = when;

	if (!colon || error_parse(colon + 1, &out->error))
		return -EINVAL;
	if (*when == '*') {
		out->random = true;
		end++;
	} else if (isdigit((unsigned char)*when)) {
		out->nth = (unsigned)strtoul(when, &end, 10);
		out->onwards = *end == '+';
		end += out->onwards;
	}
	return end == colon && (out->random || out->nth) ? 0 : -EINVAL;
}

static int number_parse(const char *key, const char *value, double max, double *out,
			struct err *err)
{
	char *end;
	double v = strtod(value, &end);

	if (end == value || *end || !(v >= 0 && v <= max))
		return err_set(err, -EINVAL, "fault: %s=%.100s is no number from 0 to %.0f", key,
			       value, max);
	*out = v;
	return 0;
}

static int param_parse(struct fault *f, const char *param, struct err *err)
{
	char text[128], *eq;
	unsigned first, end;
	double number = 0;
	int rc;

	if (strlen(param) >= sizeof text || !(eq = strchr(strcpy(text, param), '=')))
		return err_set(err, -EINVAL, "fault: '%.100s' is not OPERATION=N:ERROR", param);
	*eq = '\0';
	if (!strcmp(text, "p"))
		return number_parse("p", eq + 1, 1, &f->p, err);
	if (!strcmp(text, "seed")) {
		rc = number_parse("seed", eq + 1, 1e15, &number, err);
		f->seed = rc ? 0 : (uint64_t)number;
		return rc;
	}
	rc = layer_op_find("fault", text, &first, &end, err);
	for (; !rc && first < end; first++) {
		struct rule r = { .calls = 0 };
		char when[sizeof text];

		rc = rule_parse(strcpy(when, eq + 1), &r);
		if (rc)
			return err_set(err, rc,
				       "fault: '%.100s' is not N:ERROR, N+:ERROR or *:ERROR",
				       eq + 1);
		f->rules[first] = r;
	}
	return rc;
}

/* p without any rule that uses it stands for all operations. */
static void random_default(struct fault *f)
{
	for (unsigned i = 0; i < LAYER_OPS; i++)
		if (f->rules[i].random)
			return;
	for (unsigned i = 0; f->p > 0 && i < LAYER_OPS; i++) {
		f->rules[i].random = true;
		if (!f->rules[i].nth)
			f->rules[i].error = EIO;
	}
}

static int fault_open(char *const *params, struct layer **out, struct err *err)
{
	struct fault *f = calloc(1, sizeof *f);
	int rc = 0;

	if (!f)
		return err_set(err, -ENOMEM, "fault: out of memory");
	f->layer.lops = &fault_ops;
	mutex_init(&f->lock, LOCK_layer);
	for (; *params && !rc; params++)
		rc = param_parse(f, *params, err);
	random_default(f);
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

static void rule_set(struct backend *be, enum layer_op op, struct rule rule)
{
	struct fault *f = fault_find(be);

	mutex_lock(&f->lock);
	f->rules[op] = rule;
	mutex_unlock(&f->lock);
}

void fault_set(struct backend *be, enum layer_op op, unsigned nth, int error)
{
	rule_set(be, op, (struct rule){ .nth = nth, .error = error });
}

void fault_set_always(struct backend *be, enum layer_op op, int error)
{
	rule_set(be, op, (struct rule){ .nth = 1, .onwards = true, .error = error });
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
