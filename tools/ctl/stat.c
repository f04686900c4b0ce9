/* SPDX-License-Identifier: Apache-2.0 */
/* stat.c - the statistics of a mount, for people and as JSON
 *
 * The daemon sends names and values; units and help of the counters come from
 * stats.def, the table that the daemon was built from, too. A counter that a
 * newer daemon has is shown without them. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/stats.h"
#include "tools/ctl/ctl.h"

const char *ctl_human_bytes(json_int_t n, char *buf, size_t cap)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)n;
	unsigned u = 0;

	for (; v >= 1024 && u < 5; u++)
		v /= 1024;
	snprintf(buf, cap, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

static const struct stat_info *info_of(const char *name)
{
	for (int i = 0; i < STAT_COUNT; i++)
		if (!strcmp(stat_info[i].name, name))
			return &stat_info[i];
	return NULL;
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), k = strlen(end);

	return n >= k && !strcmp(text + n - k, end);
}

static void print_value(const char *name, const json_t *value)
{
	char human[32];
	char *text;

	if (json_is_string(value)) {
		printf("%s", json_string_value(value));
	} else if (json_is_integer(value) && ends_in(name, "_bytes")) {
		json_int_t n = json_integer_value(value);

		printf("%s", ctl_human_bytes(n, human, sizeof human));
	} else {
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		printf("%s", text ? text : "?");
		free(text);
	}
}

static void print_pairs(json_t *pairs)
{
	const char *name;
	json_t *value;

	json_object_foreach(pairs, name, value) {
		if (json_is_object(value) || json_is_array(value))
			continue;
		printf("  %-22s ", name);
		print_value(name, value);
		putchar('\n');
	}
}

static void print_counter(const char *name, json_int_t value)
{
	const struct stat_info *info = info_of(name);
	char human[32] = "";

	if (info && !strcmp(info->unit, "bytes"))
		ctl_human_bytes(value, human, sizeof human);
	else
		snprintf(human, sizeof human, "%" JSON_INTEGER_FORMAT, value);
	printf("  %-22s %14s  %-9s %s\n", name, human,
	       info && strcmp(info->unit, "bytes") ? info->unit : "", info ? info->help : "");
}

static bool same_group(const char *a, const char *b)
{
	size_t n = strcspn(a, "_");

	return n == strcspn(b, "_") && !strncmp(a, b, n);
}

/* Names that begin with the same word stand together; groups in order of arrival. */
static void print_counters(json_t *counters)
{
	const char *name, *leader = NULL;
	json_t *value;

	json_object_foreach(counters, name, value) {
		if (leader && !same_group(leader, name))
			putchar('\n');
		leader = name;
		if (json_is_integer(value))
			print_counter(name, json_integer_value(value));
	}
}

static void print_human(json_t *stat)
{
	json_t *counters = json_object_get(stat, "counters");
	json_t *options = json_object_get(stat, "options");
	json_t *sandbox = json_object_get(stat, "sandbox");

	puts("mount");
	print_pairs(stat);
	if (json_is_object(sandbox)) {
		puts("\nsandbox");
		print_pairs(sandbox);
	}
	if (json_is_object(counters)) {
		puts("\ncounters");
		print_counters(counters);
	}
	if (json_is_object(options)) {
		puts("\noptions");
		print_pairs(options);
	}
}

/* Scripts find every counter at the top level, too. */
static int print_json(json_t *stat)
{
	json_t *counters = json_object_get(stat, "counters");

	if (json_is_object(counters) && json_object_update_missing(stat, counters))
		return ctl_complain("out of memory");
	if (json_dumpf(stat, stdout, JSON_INDENT(2)))
		return ctl_complain("cannot write the output");
	putchar('\n');
	return 0;
}

int cmd_stat(int argc, char **argv)
{
	const char *dir = NULL;
	bool as_json = false;
	json_t *stat;
	int rc;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			as_json = true;
		else if (!dir && argv[i][0] != '-')
			dir = argv[i];
		else
			return ctl_usage();
	}
	if (!dir)
		return ctl_usage();
	rc = ctl_get_stat(dir, &stat);
	if (rc)
		return rc;
	if (as_json)
		rc = print_json(stat);
	else
		print_human(stat);
	json_decref(stat);
	return rc;
}
