/* SPDX-License-Identifier: Apache-2.0 */
#include "common/spec.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/hash.h"

#define ERRNO_MAX 200

/* ---- parts ------------------------------------------------------------ */

/* Which of names part starts with, its first parameter (or "") in *rest; -1: none. */
static int name_of(char *part, const char *const *names, char **rest)
{
	for (int i = 0; names[i]; i++) {
		size_t len = strlen(names[i]);

		if (strncmp(part, names[i], len) != 0 || (part[len] && part[len] != ':'))
			continue;
		*rest = part + len + (part[len] == ':');
		return i;
	}
	return -1;
}

static int split(char *text, char **parts, struct err *err)
{
	char *save = NULL;
	size_t n = 0;

	for (char *p = strtok_r(text, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (n == SPEC_PARTS_MAX)
			return err_set(err, -EINVAL, "layers: more than %d parts", SPEC_PARTS_MAX);
		if (strlen(p) > SPEC_PARAM_MAX)
			return err_set(err, -EINVAL, "layers: '%.40s...' is longer than %d bytes",
				       p, SPEC_PARAM_MAX);
		parts[n++] = p;
	}
	parts[n] = NULL;
	return 0;
}

static int unknown(const char *part, const char *const *names, struct err *err)
{
	char known[128];
	size_t at = 0;

	known[0] = '\0';
	for (; *names && at < sizeof known; names++)
		at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "",
				       *names);
	return err_set(err, -EINVAL, "unknown layer '%.100s' (%s are known)", part, known);
}

int spec_each(const char *text, const char *const *names,
	      int (*each)(void *arg, unsigned which, char **params, struct err *err), void *arg,
	      struct err *err)
{
	AUTO_FREE char *copy = text ? strdup(text) : NULL;
	char *parts[SPEC_PARTS_MAX + 1] = { NULL }, *params[SPEC_PARTS_MAX + 1], *rest, *ignored;
	int rc = 0;

	if (text && !copy)
		return err_set(err, -ENOMEM, "layers: out of memory");
	if (copy)
		rc = split(copy, parts, err);
	for (size_t i = 0, n = 0; !rc && parts[i]; n = 0) {
		int which = name_of(parts[i], names, &rest);

		if (which < 0)
			return unknown(parts[i], names, err);
		if (*rest)
			params[n++] = rest;
		for (i++; parts[i] && name_of(parts[i], names, &ignored) < 0; i++)
			params[n++] = parts[i];
		params[n] = NULL;
		rc = each(arg, (unsigned)which, params, err);
	}
	return rc;
}

char *spec_value(char *param)
{
	char *eq = strchr(param, '=');

	if (!eq)
		return NULL;
	*eq = '\0';
	return eq + 1;
}

int spec_find(const char *who, const char *key, const char *const *names, unsigned *first,
	      unsigned *end, struct err *err)
{
	unsigned n = 0, at = UINT_MAX;

	for (; names[n]; n++)
		if (!strcmp(key, names[n]))
			at = n;
	*first = at;
	*end = at + 1;
	if (at != UINT_MAX)
		return 0;
	if (strcmp(key, "all") != 0)
		return err_set(err, -EINVAL, "%s: no operation '%.100s'", who, key);
	*first = 0;
	*end = n;
	return 0;
}

/* ---- values ------------------------------------------------------------ */

int spec_time_us(const char *text, uint64_t *out)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = { { "us", 1 }, { "ms", 1000 }, { "s", 1000000 } };
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (!isdigit((unsigned char)*text) || v > SPEC_TIME_MAX_US)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		if (v * units[i].us > SPEC_TIME_MAX_US)
			return -EINVAL;
		*out = v * units[i].us;
		return 0;
	}
	return -EINVAL;
}

int spec_number(const char *who, const char *key, const char *value, double max, double *out,
		struct err *err)
{
	char *end;
	double v = strtod(value, &end);

	if (end == value || *end || !(v >= 0 && v <= max))
		return err_set(err, -EINVAL, "%s: %s=%.100s is no number from 0 to %.0f", who, key,
			       value, max);
	*out = v;
	return 0;
}

int spec_seed(const char *who, const char *value, uint64_t *out, struct err *err)
{
	double seed = 0;
	int rc = spec_number(who, "seed", value, 1e15, &seed, err);

	if (!rc)
		*out = (uint64_t)seed;
	return rc;
}

/* ---- rules ------------------------------------------------------------- */

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

static int count_parse(const char *text, const char **end, unsigned *out)
{
	char *stop;
	unsigned long v = strtoul(text, &stop, 10);

	if (!isdigit((unsigned char)*text) || v == 0 || v >= UINT_MAX)
		return -EINVAL;
	*out = (unsigned)v;
	*end = stop;
	return 0;
}

int spec_rule(const char *text, struct spec_rule *out)
{
	struct spec_rule r = { .count = 1 };
	const char *p = text;

	if (*p == '*') {
		r.random = true;
		p++;
	} else if (count_parse(p, &p, &r.nth)) {
		return -EINVAL;
	} else if (*p == '+') {
		r.count = UINT_MAX;
		p++;
	} else if (*p == 'x' && count_parse(p + 1, &p, &r.count)) {
		return -EINVAL;
	}
	if (*p != ':' || error_parse(p + 1, &r.error))
		return -EINVAL;
	*out = r;
	return 0;
}

double spec_draw(struct spec_dice *d)
{
	uint64_t x = hash_u64(d->seed * 0x9e3779b97f4a7c15ULL + ++d->draws);

	return (double)(x >> 11) / (double)(1ULL << 53);
}

bool spec_rule_hits(struct spec_rule *r, struct spec_dice *d)
{
	r->calls++;
	if (r->random && spec_draw(d) < d->p)
		return true;
	return r->nth && r->calls >= r->nth && r->calls - r->nth < r->count;
}

int spec_fault(const char *key, const char *value, const char *const *names, unsigned nall,
	       struct spec_rule *rules, struct spec_dice *d, struct err *err)
{
	unsigned first, end;
	int rc;

	if (!value)
		return err_set(err, -EINVAL, "fault: '%.100s' is not OPERATION=N:ERROR", key);
	if (!strcmp(key, "p"))
		return spec_number("fault", key, value, 1, &d->p, err);
	if (!strcmp(key, "seed"))
		return spec_seed("fault", value, &d->seed, err);
	rc = spec_find("fault", key, names, &first, &end, err);
	if (!rc && end > first + 1)
		end = nall;
	for (; !rc && first < end; first++)
		if (spec_rule(value, &rules[first]))
			return err_set(
				err, -EINVAL,
				"fault: %.20s=%.100s is not N:ERROR, N+:ERROR, NxCOUNT:ERROR or *:ERROR",
				key, value);
	return rc;
}

void spec_rules_default(struct spec_rule *rules, unsigned n, const struct spec_dice *d)
{
	for (unsigned i = 0; i < n; i++)
		if (rules[i].random)
			return;
	for (unsigned i = 0; d->p > 0 && i < n; i++) {
		rules[i].random = true;
		if (!rules[i].nth)
			rules[i].error = EIO;
	}
}
