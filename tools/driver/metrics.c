/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
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

/* One scrape: what is known of each mount, and which of them stand for their daemon. */
struct scrape {
	FILE *out;
	const struct volume_info *infos;
	const struct census_entry *entries;
	size_t n;
	bool *first; /* of the mounts of a daemon: its values are told once */
};

static void print_states(const struct scrape *s)
{
	unsigned in_state[VOLUME_UNMOUNTING + 1] = { 0 };

	for (size_t i = 0; i < s->n; i++)
		in_state[s->infos[i].state]++;
	print_head(s->out, "persifs_driver_volumes", "gauge", "volumes known, by state");
	for (int k = 0; k <= VOLUME_UNMOUNTING; k++)
		fprintf(s->out, "persifs_driver_volumes{state=\"%s\"} %u\n", volume_state_names[k],
			in_state[k]);
	print_head(s->out, "persifs_up", "gauge",
		   "whether the daemon of a mounted volume answered");
	for (size_t i = 0; i < s->n; i++) {
		if (!*s->infos[i].point)
			continue;
		fputs("persifs_up{mount=\"", s->out);
		print_label(s->out, s->infos[i].name);
		fprintf(s->out, "\"} %d\n", s->entries[i].stat != NULL);
	}
}

static void print_volume(FILE *out, const json_t *stat)
{
	char key[KEY_MAX];

	daemon_key(stat, key, sizeof key);
	fputs("volume=\"", out);
	print_label(out, key);
	fputc('"', out);
}

/* Which volume and session a mount shows: joins the names to the other samples. */
static void print_mounts(const struct scrape *s)
{
	print_head(s->out, "persifs_mount_info", "gauge", "the volume and session of a mount");
	for (size_t i = 0; i < s->n; i++) {
		if (!s->entries[i].stat)
			continue;
		fputs("persifs_mount_info{mount=\"", s->out);
		print_label(s->out, s->infos[i].name);
		fputs("\",", s->out);
		print_volume(s->out, s->entries[i].stat);
		fprintf(s->out, ",session=\"%s\"} 1\n", s->entries[i].device);
	}
}

static void print_sample(FILE *out, const char *metric, const char *tail, const json_t *stat,
			 const json_t *value)
{
	if (!json_is_integer(value))
		return;
	fprintf(out, "persifs_%s%s{", metric, tail);
	print_volume(out, stat);
	fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
}

static const char *const gauges[] = { "dirty_bytes",     "unstable_bytes", "page_size",
				      "frames",          "frames_used",    "frames_held",
				      "writers_waiting", "files_failing",  "inodes",
				      "open_handles" };

static void print_gauges(const struct scrape *s)
{
	for (size_t g = 0; g < ARRAY_LEN(gauges); g++) {
		fprintf(s->out, "# TYPE persifs_%s gauge\n", gauges[g]);
		for (size_t i = 0; i < s->n; i++)
			if (s->first[i])
				print_sample(s->out, gauges[g], "", s->entries[i].stat,
					     json_object_get(s->entries[i].stat, gauges[g]));
	}
}

/* --- sessions --------------------------------------------------------------- */

static const struct {
	const char *key, *help;
} session_counters[] = {
	{ "requests", "requests of the kernel, by session" },
	{ "read_bytes", "bytes read by programs through the daemon, by session" },
	{ "write_bytes", "bytes written by programs, by session" },
};

/* A uid or gid that all files are shown with; empty, which is as good as absent, without one. */
static void print_owner(FILE *out, const char *label, const json_t *session)
{
	json_int_t id = json_integer_value(json_object_get(session, label));

	if (id < 0)
		fprintf(out, ",%s=\"\"", label);
	else
		fprintf(out, ",%s=\"%" JSON_INTEGER_FORMAT "\"", label, id);
}

static void print_session(FILE *out, const char *counter, const json_t *stat, const json_t *session)
{
	const char *device = json_string_value(json_object_get(session, "device"));
	const json_t *value = json_object_get(session, counter);

	if (!device || !json_is_integer(value))
		return;
	fprintf(out, "persifs_session_%s_total{", counter);
	print_volume(out, stat);
	fputs(",session=\"", out);
	print_label(out, device);
	fputc('"', out);
	print_owner(out, "uid", session);
	print_owner(out, "gid", session);
	fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
}

static void print_sessions(const struct scrape *s)
{
	char name[64];

	for (size_t c = 0; c < ARRAY_LEN(session_counters); c++) {
		snprintf(name, sizeof name, "persifs_session_%s_total", session_counters[c].key);
		print_head(s->out, name, "counter", session_counters[c].help);
		for (size_t i = 0; i < s->n; i++) {
			const json_t *stat = s->entries[i].stat;
			const json_t *all = json_object_get(stat, "sessions");

			for (size_t k = 0; s->first[i] && k < json_array_size(all); k++)
				print_session(s->out, session_counters[c].key, stat,
					      json_array_get(all, k));
		}
	}
}

/* --- counters --------------------------------------------------------------- */

/* A name of a metric from a daemon that may be newer, or no daemon of ours. */
static bool is_metric_name(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s);
}

/* Samples of one metric stand together: the daemons are gone through once for each. */
static void print_counters(const struct scrape *s)
{
	json_t *names = json_object(), *value;
	const char *name;

	for (size_t i = 0; i < s->n; i++)
		if (s->first[i])
			json_object_update_missing(names,
						   json_object_get(s->entries[i].stat, "counters"));
	json_object_foreach(names, name, value) {
		if (!is_metric_name(name))
			continue;
		fprintf(s->out, "# TYPE persifs_%s_total counter\n", name);
		for (size_t i = 0; i < s->n; i++) {
			const json_t *stat = s->entries[i].stat;

			if (s->first[i])
				print_sample(s->out, name, "_total", stat,
					     json_object_get(json_object_get(stat, "counters"),
							     name));
		}
	}
	json_decref(names);
}

static bool is_first(const struct census_entry *entries, size_t i)
{
	if (!entries[i].stat)
		return false;
	for (size_t k = 0; k < i; k++)
		if (entries[k].stat == entries[i].stat)
			return false;
	return true;
}

void metrics_print(FILE *out, const struct metrics *m, const struct volume_info *infos,
		   const struct census_entry *entries, size_t n)
{
	AUTO_FREE bool *first = calloc(n + 1, sizeof *first);
	const struct scrape s = { out, infos, entries, n, first };

	print_own(out, m);
	if (!first)
		return;
	for (size_t i = 0; i < n; i++)
		first[i] = is_first(entries, i);
	print_states(&s);
	print_mounts(&s);
	print_sessions(&s);
	print_gauges(&s);
	print_counters(&s);
}
