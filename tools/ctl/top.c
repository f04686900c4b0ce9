/* SPDX-License-Identifier: Apache-2.0 */
/* top.c - what the counters did since the last look */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/ctl/ctl.h"

static void print_delta(const char *name, json_int_t total, json_int_t delta, double seconds)
{
	printf("  %-22s %14.1f /s %16" JSON_INTEGER_FORMAT "\n", name, (double)delta / seconds,
	       total);
}

static void print_changes(json_t *before, json_t *after, double seconds)
{
	json_t *value, *old = json_object_get(before, "counters");
	json_int_t dirty = json_integer_value(json_object_get(after, "dirty_bytes"));
	char human[32];
	const char *name;

	printf("dirty %s\n", ctl_human_bytes(dirty, human, sizeof human));
	json_object_foreach(json_object_get(after, "counters"), name, value) {
		json_int_t v = json_integer_value(value);
		json_int_t delta = v - json_integer_value(json_object_get(old, name));

		if (delta)
			print_delta(name, v, delta, seconds);
	}
}

/* Whole seconds in 1..3600, or 0. */
static unsigned long read_number(const char *text, unsigned long max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	return *end || v > max ? 0 : v;
}

int cmd_top(int argc, char **argv)
{
	unsigned long seconds = argc > 2 ? read_number(argv[2], 3600) : 1;
	unsigned long count = argc > 3 ? read_number(argv[3], 1000000) : 0;
	json_t *before, *after;
	int rc;

	if (argc < 2 || argc > 4 || !seconds || (argc > 3 && !count))
		return ctl_usage();
	rc = ctl_get_stat(argv[1], &before);
	if (rc)
		return rc;
	for (unsigned long i = 0; !count || i < count; i++) {
		sleep((unsigned)seconds);
		rc = ctl_get_stat(argv[1], &after);
		if (rc)
			break;
		if (isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		print_changes(before, after, (double)seconds);
		fflush(stdout);
		json_decref(before);
		before = after;
	}
	json_decref(before);
	return rc;
}
