/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/metrics.h"

#include <inttypes.h>

#include "backends/providers/rest.h"
#include "common/cleanup.h"
#include "tools/broker/broker.h"
#include "tools/broker/osb.h"

static const char *const ends[BROKER_BUCKETS] = { "0.001", "0.005", "0.01", "0.05",
						  "0.2",   "1",     "5",    "+Inf" };

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_requests(FILE *out, struct broker_metrics *m)
{
	print_head(out, "persifs_broker_requests_total", "counter", "requests answered");
	for (int i = 0; i < OSB_ROUTES; i++)
		fprintf(out, "persifs_broker_requests_total{route=\"%s\"} %" PRIu64 "\n",
			osb_route_names[i], m->of[i].requests);
	print_head(out, "persifs_broker_errors_total", "counter",
		   "requests answered with a status of 400 or more");
	for (int i = 0; i < OSB_ROUTES; i++)
		fprintf(out, "persifs_broker_errors_total{route=\"%s\"} %" PRIu64 "\n",
			osb_route_names[i], m->of[i].errors);
	print_head(out, "persifs_broker_duration_seconds", "histogram", "time spent in requests");
	for (int i = 0; i < OSB_ROUTES; i++) {
		uint64_t sum = 0;

		for (size_t k = 0; k < BROKER_BUCKETS; k++) {
			sum += m->of[i].bucket[k];
			fprintf(out,
				"persifs_broker_duration_seconds_bucket{route=\"%s\",le=\"%s\"} "
				"%" PRIu64 "\n",
				osb_route_names[i], ends[k], sum);
		}
		fprintf(out,
			"persifs_broker_duration_seconds_sum{route=\"%s\"} %.6f\n"
			"persifs_broker_duration_seconds_count{route=\"%s\"} %" PRIu64 "\n",
			osb_route_names[i], (double)m->of[i].us / 1e6, osb_route_names[i], sum);
	}
}

/* The names are the configuration's: letters, digits, "-", "_" and ".". */
static void print_count(FILE *out, const char *what, const char *provider, const char *call,
			uint64_t n)
{
	fprintf(out, "persifs_broker_provider_%s{provider=\"%s\",call=\"%s\"} %" PRIu64 "\n", what,
		provider, call, n);
}

static void print_times(FILE *out, const char *provider, const struct rest_stats *s, size_t i)
{
	const char *call = s->of[i].call;
	uint64_t sum = 0;

	for (size_t k = 0; k < REST_BUCKETS; k++) {
		char le[32] = "+Inf";

		sum += s->of[i].bucket[k];
		if (rest_bucket_us[k] != UINT64_MAX)
			snprintf(le, sizeof le, "%.3f", (double)rest_bucket_us[k] / 1e6);
		fprintf(out,
			"persifs_broker_provider_seconds_bucket{provider=\"%s\",call=\"%s\",le=\"%s\"} "
			"%" PRIu64 "\n",
			provider, call, le, sum);
	}
	fprintf(out, "persifs_broker_provider_seconds_sum{provider=\"%s\",call=\"%s\"} %.6f\n",
		provider, call, (double)s->of[i].us / 1e6);
	print_count(out, "seconds_count", provider, call, sum);
}

enum family { CALLS, FAILURES, TIMES };

static void print_family(FILE *out, const struct bconfig *c, enum family f)
{
	for (size_t i = 0; i < c->nproviders; i++) {
		const struct provider *p = c->providers[i].p;
		const char *name = c->providers[i].name;
		const struct rest_stats *s = p->ops->stats ? p->ops->stats(p) : NULL;

		for (size_t k = 0; s && k < REST_CALLS_MAX && s->of[k].call; k++) {
			if (f == CALLS)
				print_count(out, "calls_total", name, s->of[k].call,
					    s->of[k].requests);
			else if (f == FAILURES)
				print_count(out, "failures_total", name, s->of[k].call,
					    s->of[k].failures);
			else
				print_times(out, name, s, k);
		}
	}
}

void broker_metrics_print(FILE *out, struct broker *b)
{
	struct bconfig *c = broker_config(b);

	print_requests(out, &b->metrics);
	print_head(out, "persifs_broker_provider_calls_total", "counter",
		   "requests to storage systems");
	print_family(out, c, CALLS);
	print_head(out, "persifs_broker_provider_failures_total", "counter",
		   "of these, without an answer that could be used");
	print_family(out, c, FAILURES);
	print_head(out, "persifs_broker_provider_seconds", "histogram",
		   "time until they were answered");
	print_family(out, c, TIMES);
	bconfig_put(c);
}
