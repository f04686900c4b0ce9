/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/metrics.h"

#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/driver/daemons.h"

#define KEY_MAX 256 /* bytes of a volume's key that are shown */

const char *const op_names[OPS] = { "activate", "capabilities", "create", "remove", "mount",
				    "unmount",  "path",         "get",    "list" };

static const struct {
	uint64_t us;
	const char *text;
} bounds[METRICS_BUCKETS] = {
	{ 10000, "0.01" },  { 20000, "0.02" },    { 50000, "0.05" }, { 150000, "0.15" },
	{ 500000, "0.5" },  { 1000000, "1" },     { 2000000, "2" },  { 8000000, "8" },
	{ 30000000, "30" }, { 120000000, "120" },
};

void metrics_count(struct metrics *m, enum op op, bool failed, uint64_t us)
{
	m->op[op].requests++;
	m->op[op].errors += failed;
	m->op[op].us += us;
	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		if (us > bounds[i].us)
			continue;
		m->op[op].bucket[i]++;
		break;
	}
}

/* A label's value: backslash, quote and newline are escaped. */
static void print_label(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			fputc('\\', out);
		if (*s == '\n')
			fputs("\\n", out);
		else
			fputc(*s, out);
	}
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_histogram(FILE *out, const struct metrics *m, enum op op)
{
	uint64_t sum = 0, count = m->op[op].requests;
	char name[64];

	snprintf(name, sizeof name, "persifs_driver_%s_duration_seconds", op_names[op]);
	print_head(out, name, "histogram", "time spent in such requests");
	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		sum += m->op[op].bucket[i];
		fprintf(out, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, bounds[i].text, sum);
	}
	if (count < sum)
		count = sum; /* counted while we read */
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n",
		name, count, name, (double)m->op[op].us / 1e6, name, count);
}

static void print_own(FILE *out, const struct metrics *m)
{
	print_head(out, "persifs_driver_requests_total", "counter", "requests answered");
	for (int i = 0; i < OPS; i++)
		fprintf(out, "persifs_driver_requests_total{route=\"%s\"} %" PRIu64 "\n",
			op_names[i], m->op[i].requests);
	print_head(out, "persifs_driver_errors_total", "counter", "requests answered with an Err");
	for (int i = 0; i < OPS; i++)
		fprintf(out, "persifs_driver_errors_total{route=\"%s\"} %" PRIu64 "\n", op_names[i],
			m->op[i].errors);
	print_histogram(out, m, OP_MOUNT);
	print_histogram(out, m, OP_UNMOUNT);
}

static void print_states(FILE *out, const struct volume_info *infos, json_t *const *stats, size_t n)
{
	unsigned in_state[VOLUME_UNMOUNTING + 1] = { 0 };

	for (size_t i = 0; i < n; i++)
		in_state[infos[i].state]++;
	print_head(out, "persifs_driver_volumes", "gauge", "volumes known, by state");
	for (int s = 0; s <= VOLUME_UNMOUNTING; s++)
		fprintf(out, "persifs_driver_volumes{state=\"%s\"} %u\n", volume_state_names[s],
			in_state[s]);
	print_head(out, "persifs_up", "gauge", "whether the daemon of a mounted volume answered");
	for (size_t i = 0; i < n; i++) {
		if (!*infos[i].point)
			continue;
		fputs("persifs_up{mount=\"", out);
		print_label(out, infos[i].name);
		fprintf(out, "\"} %d\n", stats[i] != NULL);
	}
}

static void print_sample(FILE *out, const char *metric, const char *tail, const char *mount,
			 const json_t *stat, const json_t *value)
{
	char key[KEY_MAX];

	if (!json_is_integer(value))
		return;
	daemon_key(stat, key, sizeof key);
	fprintf(out, "persifs_%s%s{volume=\"", metric, tail);
	print_label(out, key);
	fputs("\",mount=\"", out);
	print_label(out, mount);
	fprintf(out, "\"} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
}

static const char *const gauges[] = { "dirty_bytes",     "unstable_bytes", "page_size",
				      "frames",          "frames_used",    "frames_held",
				      "writers_waiting", "files_failing",  "inodes",
				      "open_handles" };

static void print_gauges(FILE *out, const struct volume_info *infos, json_t *const *stats, size_t n)
{
	for (size_t g = 0; g < ARRAY_LEN(gauges); g++) {
		fprintf(out, "# TYPE persifs_%s gauge\n", gauges[g]);
		for (size_t i = 0; i < n; i++)
			print_sample(out, gauges[g], "", infos[i].name, stats[i],
				     json_object_get(stats[i], gauges[g]));
	}
}

/* A name of a metric from a daemon that may be newer, or no daemon of ours. */
static bool is_metric_name(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s);
}

/* Samples of one metric stand together: the daemons are gone through once for each. */
static void print_counters(FILE *out, const struct volume_info *infos, json_t *const *stats,
			   size_t n)
{
	json_t *names = json_object(), *value;
	const char *name;

	for (size_t i = 0; i < n; i++)
		json_object_update_missing(names, json_object_get(stats[i], "counters"));
	json_object_foreach(names, name, value) {
		if (!is_metric_name(name))
			continue;
		fprintf(out, "# TYPE persifs_%s_total counter\n", name);
		for (size_t i = 0; i < n; i++)
			print_sample(out, name, "_total", infos[i].name, stats[i],
				     json_object_get(json_object_get(stats[i], "counters"), name));
	}
	json_decref(names);
}

void metrics_print(FILE *out, const struct metrics *m, const struct volume_info *infos,
		   json_t *const *stats, size_t n)
{
	print_own(out, m);
	print_states(out, infos, stats, n);
	print_gauges(out, infos, stats, n);
	print_counters(out, infos, stats, n);
}
