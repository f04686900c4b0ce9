/* SPDX-License-Identifier: Apache-2.0 */
/* opt.h - option tables: one row names an option, its type, limits, default and help
 *
 * A program keeps its options in one struct and describes it by one table that
 * ends in a row without a name; parser, help, manual page, completion and
 * run-time tuning all read that table. The text may come from anybody. Nothing
 * here locks: whoever shares the struct between threads guards it. */
#ifndef COMMON_OPT_H
#define COMMON_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

#define OPT_LIST_MAX 65536 /* longest "-o" text in bytes */
#define OPT_VALUE_MAX 8192 /* longest value of one option in bytes */

enum opt_type {
	OPT_SIZE,    /* uint64_t bytes; suffix k, m, g or t, binary */
	OPT_UINT,    /* uint64_t */
	OPT_PERCENT, /* uint32_t; the % sign may be left out; never above 100 */
	OPT_TIME,    /* uint64_t ms; suffix ms, s, m or h, plain = seconds, "0.5" allowed */
	OPT_BOOL,    /* bool; "name", "noname", "name=yes|no|true|false|on|off|1|0" */
	OPT_ENUM,    /* unsigned, an index into choices */
	OPT_ID,      /* int64_t, a uid or gid; -1 = unset, also as text */
	OPT_STRING,  /* char *, owned by the struct; NULL = unset, "" unsets */
};

struct opt_def {
	const char *name; /* NULL ends the table */
	enum opt_type type;
	const char *unit;           /* for the help: what a plain number counts; may be NULL */
	size_t offset;              /* of the member in the struct */
	uint64_t min, max;          /* of numbers, inclusive; max 0: whatever the type holds */
	const char *dflt;           /* text for opt_set(), or NULL: zero, first choice, unset */
	const char *const *choices; /* OPT_ENUM: names, NULL-ended */
	const char *help;
	bool runtime; /* may change while mounted; opt_set() leaves that to the caller */
};

/* Fills storage whose content is undefined. Aborts when the table is wrong
 * (a default that its own row refuses), -ENOMEM otherwise. */
int opt_defaults(const struct opt_def *table, void *base);
/* Frees the strings; the struct is as if unset. Harmless when repeated. */
void opt_done(const struct opt_def *table, void *base);

/* The row of name ("noname" is not looked at), or NULL. */
const struct opt_def *opt_find(const struct opt_def *table, const char *name);
/* Sets one option; value NULL when none was given. -EINVAL with a sentence that
 * names option, value and what is wanted; the member is unchanged then. */
int opt_set(const struct opt_def *table, void *base, const char *name, const char *value,
	    struct err *err);
/* Sets each of "a,b=c,..." in order and stops at the first bad one, leaving
 * those before it set. "\," is a comma and "\\" a backslash; empty items are
 * skipped. */
int opt_parse(const struct opt_def *table, void *base, const char *text, struct err *err);

/* The current value as text that opt_set() accepts; -ENOSPC when cap is short. */
int opt_format(const struct opt_def *def, const void *base, char *buf, size_t cap);
void opt_print_help(const struct opt_def *table, FILE *out);
/* One option a line, those that want a value as "name=": for shell completion. */
void opt_print_names(const struct opt_def *table, FILE *out);

#endif
