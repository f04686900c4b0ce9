/* SPDX-License-Identifier: Apache-2.0 */
/* args.h - the command line of a program that measures: "--name VALUE" by its option table */
#ifndef TOOLS_BENCH_ARGS_H
#define TOOLS_BENCH_ARGS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/opt.h"

/* Rows that programs have in common. */
#define ARGS_DEVICE(member)                                                                        \
	{                                                                                          \
		.name = "device", .type = OPT_STRING, .offset = member, .help = "what is measured" \
	}
#define ARGS_LAYERS(member)                                                                        \
	{                                                                                          \
		.name = "layers", .type = OPT_STRING, .offset = member, .help = "above the device" \
	}
#define ARGS_RUNTIME(member, text, what)                                                         \
	{                                                                                        \
		.name = "runtime", .type = OPT_TIME, .offset = member, .min = 1, .max = 3600000, \
		.dflt = text, .help = what                                                       \
	}
#define ARGS_JSON(member)                                                         \
	{                                                                         \
		.name = "json", .type = OPT_BOOL, .offset = member, .dflt = "no", \
		.help = "for programs"                                            \
	}

static inline void args_set(const char *usage, const struct opt_def *table, void *base,
			    const char *name, const char *value)
{
	struct err err = { "" };

	if (opt_set(table, base, name, value, &err) == 0)
		return;
	fprintf(stderr, "%.*s: %s\n", (int)strcspn(usage, " "), usage, err.text);
	exit(2);
}

__attribute__((noreturn)) static inline void args_usage(const char *usage)
{
	fprintf(stderr, "usage: %s\n", usage);
	exit(2);
}

/* Fills base with the defaults and what is given, and returns where in argv the words behind the options start, of which
 * there have to be `words`. Ends the program otherwise: --help shows usage, which starts with its name, and the table. */
static inline int args_parse(const char *usage, const struct opt_def *table, void *base, int argc,
			     char **argv, int words)
{
	int i;

	if (opt_defaults(table, base))
		exit(1);
	for (i = 1; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		const char *name = argv[i] + 2;
		const struct opt_def *row = opt_find(table, name);
		bool valued = row && row->type != OPT_BOOL && i + 1 < argc;

		if (strcmp(name, "help") == 0) {
			printf("usage: %s\n", usage);
			opt_print_help(table, stdout);
			exit(0);
		}
		args_set(usage, table, base, name, valued ? argv[i + 1] : NULL);
		i += valued;
	}
	if (argc - i == words)
		return i;
	args_usage(usage);
}

#endif
