/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/admin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/driver/census.h"
#include "tools/driver/daemons.h"
#include "tools/driver/leftovers.h"
#include "tools/driver/state.h"

#define OK 200
#define NOT_FOUND 404
#define BAD_METHOD 405
#define UNAVAILABLE 500

static const char text_json[] = "application/json";
static const char text_metrics[] = "text/plain; version=0.0.4; charset=utf-8";

static void reply_take(struct admin_reply *out, unsigned status, json_t *j)
{
	out->status = status;
	out->type = text_json;
	out->text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
}

static void ping(struct admin *a, struct admin_reply *out)
{
	if (a->evacuating)
		reply_take(out, UNAVAILABLE,
			   json_pack("{s:s}", "Err", "the driver is being evacuated"));
	else
		reply_take(out, OK, json_pack("{s:s}", "Err", ""));
}

static json_t *health_of(const struct volume_info *i)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "Name", i->name, "State",
			      volume_state_names[i->state], "Mountpoint", i->point, "MountCount",
			      (int)i->count);

	if (i->last_error)
		json_object_set_new(j, "LastError", json_string(i->last_error));
	return j;
}

static void health(struct admin *a, struct admin_reply *out)
{
	struct volume_info *all = NULL;
	ssize_t n = volumes_list(a->volumes, &all);
	json_t *volumes = json_array();

	for (ssize_t i = 0; i < n; i++)
		json_array_append_new(volumes, health_of(&all[i]));
	volume_infos_free(all, n < 0 ? 0 : (size_t)n);
	reply_take(out, n < 0 ? UNAVAILABLE : OK,
		   json_pack("{s:s, s:b, s:s, s:o}", "Err", n < 0 ? "out of memory" : "",
			     "Evacuating", (int)a->evacuating, "Version", PERSIFS_VERSION,
			     "Volumes", volumes));
}

/* --- metrics --------------------------------------------------------------- */

static void metrics(struct admin *a, struct admin_reply *out)
{
	struct volume_info *infos = NULL;
	ssize_t got = volumes_list(a->volumes, &infos);
	size_t n = got < 0 ? 0 : (size_t)got, len;
	AUTO_FREE struct census_entry *entries = calloc(n + 1, sizeof *entries);
	FILE *text = entries ? open_memstream(&out->text, &len) : NULL;

	out->status = OK;
	out->type = text_metrics;
	if (text) {
		for (size_t i = 0; i < n; i++)
			entries[i].point = infos[i].point;
		census_take(entries, n);
		metrics_print(text, a->metrics, infos, entries, n);
		fclose(text);
		census_drop(entries, n);
	}
	volume_infos_free(infos, n);
}

/* --- evacuate -------------------------------------------------------------- */

static void join_names(FILE *out, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++)
		fprintf(out, "%s%s", i ? ", " : "", json_string_value(json_array_get(names, i)));
}

/* What a person has to know of it; "" when all went well. */
static char *evacuate_sentence(const json_t *dirty, const json_t *failed)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	if (json_array_size(dirty)) {
		fputs("volumes with data left to write: ", out);
		join_names(out, dirty);
	}
	if (json_array_size(failed)) {
		fputs(json_array_size(dirty) ? "; volumes not unmounted: " :
					       "volumes not unmounted: ",
		      out);
		join_names(out, failed);
	}
	fclose(out);
	return text;
}

static void remove_state(const char *path)
{
	char bad[PATH_MAX];

	unlink(path);
	if (snprintf(bad, sizeof bad, "%s" STATE_BAD_TAIL, path) < (int)sizeof bad)
		unlink(bad);
}

/* Docker's volumes are known after a reboot, too (R7); without one, nothing is left in the root. */
static void settle_state(struct admin *a)
{
	struct volume_info *left = NULL;
	ssize_t n = volumes_list(a->volumes, &left);
	struct failure f;

	volume_infos_free(left, n < 0 ? 0 : (size_t)n);
	if (!n)
		remove_state(a->state);
	else if (volumes_save(a->volumes, &f))
		log_error("driver: %s", f.err.text);
}

static void evacuate(struct admin *a, struct admin_reply *out)
{
	AUTO_FREE struct leftover *left = NULL;
	AUTO_FREE char *sentence = NULL;
	uint64_t deadline = clock_ms() + a->evacuate_ms;
	json_t *dirty, *failed;
	ssize_t nleft;

	if (atomic_exchange(&a->evacuating, true)) {
		reply_take(out, OK, json_pack("{s:s}", "Err", "an evacuation is under way"));
		return;
	}
	log_info("driver: evacuate");
	volumes_close(a->volumes);
	nleft = leftovers_find(&left);
	volumes_evacuate(a->volumes, a->evacuate_ms, &dirty, &failed);
	leftovers_drain(left, nleft < 0 ? 0 : (size_t)nleft, deadline, dirty);
	if (a->attach)
		attach_settle(a->attach, deadline, failed);
	mounts_sweep(a->root);
	settle_state(a);
	sentence = evacuate_sentence(dirty, failed);
	if (sentence && *sentence)
		log_warn("driver: evacuate: %s", sentence);
	out->ends = true;
	reply_take(out, OK,
		   json_pack("{s:s, s:o, s:o}", "Err", sentence ? sentence : "", "Dirty", dirty,
			     "Failed", failed));
}

/* --- routes ---------------------------------------------------------------- */

static const struct route {
	const char *path;
	bool may_wait, acts; /* acts: a probe with HEAD may not reach it */
	void (*answer)(struct admin *a, struct admin_reply *out);
} routes[] = {
	{ "/ping", false, false, ping },
	{ "/health", false, false, health },
	{ "/metrics", true, false, metrics },
	{ "/evacuate", true, true, evacuate },
};

static const struct route *find_route(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(routes[i].path, path))
			return &routes[i];
	return NULL;
}

bool admin_may_wait(const char *path)
{
	const struct route *r = find_route(path);

	return r && r->may_wait;
}

void admin_answer(struct admin *a, const char *method, const char *path, struct admin_reply *out)
{
	const struct route *r = find_route(path);

	out->text = NULL;
	out->ends = false;
	if (!r)
		reply_take(out, NOT_FOUND, json_pack("{s:s}", "Err", "No such route"));
	else if (strcmp(method, "GET") && strcmp(method, "POST") &&
		 (strcmp(method, "HEAD") || r->acts))
		reply_take(out, BAD_METHOD, json_pack("{s:s}", "Err", "Want a GET or a POST"));
	else
		r->answer(a, out);
}
