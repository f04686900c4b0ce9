/* SPDX-License-Identifier: Apache-2.0 */
/* spec.h - what descriptions of stacked layers have in common: parts with parameters, rules by number, times
 *
 *   "fault:write=3:EIO,read=1+:EIO,trace"   two parts; a comma starts a part only before a name, else
 *                                           a parameter of the part before it
 *
 * The text may come from anybody. Nothing here locks. */
#ifndef COMMON_SPEC_H
#define COMMON_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define SPEC_PARTS_MAX 64
#define SPEC_PARAM_MAX 4096            /* bytes of one parameter */
#define SPEC_TIME_MAX_US 3600000000ULL /* an hour */

/* Calls each() for the parts of text, the first one first, until one fails: which counts in names (NULL-ended), params are
 * "key=value" strings, NULL-ended, that it may write to. NULL and "" have no parts. 0, -ENOMEM, -EINVAL with a sentence, or
 * what each() returned. */
int spec_each(const char *text, const char *const *names,
	      int (*each)(void *arg, unsigned which, char **params, struct err *err), void *arg,
	      struct err *err);
/* Ends param at its '=' and returns what is behind it; NULL when there is none. */
char *spec_value(char *param);
/* Finds key in names (NULL-ended), or "all" of them: [*first, *end). -EINVAL with a sentence that starts with who. */
int spec_find(const char *who, const char *key, const char *const *names, unsigned *first,
	      unsigned *end, struct err *err);

/* "250us", "5ms", "2s": microseconds, at most SPEC_TIME_MAX_US. -EINVAL without a sentence. */
int spec_time_us(const char *text, uint64_t *out);
/* -EINVAL with a sentence: "who: key=value is no number from 0 to max". */
int spec_number(const char *who, const char *key, const char *value, double max, double *out,
		struct err *err);

/* The seed of dice, a number up to 1e15. -EINVAL with a sentence. */
int spec_seed(const char *who, const char *value, uint64_t *out, struct err *err);

/* Which of many calls fail: "3:EIO" the 3rd, "3+:EIO" it and all later ones, "3x2:EIO" it and the
 * next, "*:EIO" each with a probability. */
struct spec_rule {
	unsigned calls; /* so far */
	unsigned nth;   /* 0: no rule by number */
	unsigned count; /* of those that fail from the nth on; UINT_MAX: all */
	bool random;
	int error; /* positive */
};
/* -EINVAL without a sentence. */
int spec_rule(const char *text, struct spec_rule *out);

/* Numbers in [0, 1) that seed and the count of draws decide. */
struct spec_dice {
	uint64_t seed, draws;
	double p; /* probability of rules that are random */
};
double spec_draw(struct spec_dice *d);
/* Counts one more call: does it fail? */
bool spec_rule_hits(struct spec_rule *r, struct spec_dice *d);
/* One parameter of "fault": "p=" and "seed=" of the dice, or OPERATION=RULE, names being the operations of rules and "all" the
 * first nall of them. value as of spec_value(). -EINVAL with a sentence. */
int spec_fault(const char *key, const char *value, const char *const *names, unsigned nall,
	       struct spec_rule *rules, struct spec_dice *d, struct err *err);
/* p without a rule that uses it stands for all n of them, with EIO. */
void spec_rules_default(struct spec_rule *rules, unsigned n, const struct spec_dice *d);

#endif
