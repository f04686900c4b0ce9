/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_cluster.c - what the cluster tells of itself: release, zones, pools, licences, capacity */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define GUID "000c29d1b2c3d4e5f60718293a4b5c6d7e8f"

void onefs_latest(struct onefs_call *c)
{
	c->answer = json_pack("{s:s}", "latest", c->o->opt->latest);
}

static json_t *versions(const struct onefs_call *c, unsigned lnn)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:s}", "lnn", (int)lnn, "release",
			 c->o->opt->release, "build", "B_9_2_1_000(RELEASE)", "type",
			 "Isilon OneFS", "version", "Isilon OneFS simulated by persifs-sim");
}

void onefs_config(struct onefs_call *c)
{
	json_t *devices = json_array(), *version = versions(c, 1);

	json_object_del(version, "lnn");
	for (unsigned i = 1; i <= c->o->opt->nodes; i++)
		json_array_append_new(devices, json_pack("{s:i, s:i, s:s, s:b}", "devid", (int)i,
							 "lnn", (int)i, "guid", GUID, "is_up", 1));
	c->answer = json_pack("{s:s, s:s, s:s, s:o, s:o, s:i, s:i, s:b, s:b, s:s}", "name",
			      "persifs-sim", "guid", GUID, "description", "", "onefs_version",
			      version, "devices", devices, "local_lnn", (int)c->node, "local_devid",
			      (int)c->node, "has_quorum", 1, "is_vonefs", 1, "encoding", "utf-8");
}

void onefs_version(struct onefs_call *c)
{
	json_t *nodes = json_array();

	for (unsigned i = 1; i <= c->o->opt->nodes; i++)
		json_array_append_new(nodes, versions(c, i));
	c->answer = json_pack("{s:o, s:[], s:i}", "nodes", nodes, "errors", "total",
			      (int)c->o->opt->nodes);
}

/* --- zones and pools -------------------------------------------------------- */

static json_t *zone_object(const struct onefs *o, unsigned i)
{
	const struct onefs_zone *z = &o->zones[i];

	return json_pack("{s:s, s:s, s:i, s:s, s:s, s:b, s:[s]}", "name", z->name, "id", z->name,
			 "zone_id", (int)i + 1, "path", z->path, "groupnet", "groupnet0", "system",
			 i == 0, "auth_providers",
			 i ? "lsa-local-provider:zone" : "lsa-local-provider:System");
}

void onefs_zone_list(struct onefs_call *c)
{
	json_t *zones = json_array();

	for (unsigned i = 0; i < c->o->nzones; i++)
		if (!*c->key || !strcmp(c->key, c->o->zones[i].name))
			json_array_append_new(zones, zone_object(c->o, i));
	if (*c->key && !json_array_size(zones))
		onefs_fail(c, 404, "AEC_NOT_FOUND", "id", "Access zone '%s' not found.", c->key);
	c->answer = json_pack("{s:o}", "zones", zones);
	if (!*c->key) {
		json_object_set_new(c->answer, "total", json_integer(c->o->nzones));
		json_object_set_new(c->answer, "resume", json_null());
	}
}

void onefs_pool_list(struct onefs_call *c)
{
	const char *zone = onefs_arg(c, "access_zone");
	json_t *pools = json_array();

	for (unsigned i = 0; i < c->o->nzones; i++) {
		const struct onefs_zone *z = &c->o->zones[i];
		char id[64], name[16];

		if (zone && strcmp(zone, z->name))
			continue;
		snprintf(name, sizeof name, "pool%u", i);
		snprintf(id, sizeof id, "groupnet0.subnet0.%s", name);
		json_array_append_new(
			pools,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}], s:[{s:s, s:i}], s:s, "
				  "s:[], s:s, s:i, s:s, s:s, s:s}",
				  "id", id, "name", name, "groupnet", "groupnet0", "access_zone",
				  z->name, "alloc_method", "dynamic", "ranges", "low", "127.0.0.1",
				  "high", "127.0.0.1", "ifaces", "iface", "ext-1", "lnn", 1,
				  "sc_dns_zone", c->o->opt->smartconnect, "sc_dns_zone_aliases",
				  "sc_subnet", "subnet0", "sc_ttl", 0, "sc_connect_policy",
				  "round_robin", "sc_failover_policy", "round_robin",
				  "rebalance_policy", "auto"));
	}
	c->answer = json_pack("{s:o, s:i, s:n}", "pools", pools, "total",
			      (int)json_array_size(pools), "resume");
}

/* --- licences --------------------------------------------------------------- */

static const char *const states[] = { "Licensed", "Evaluation", "Unlicensed", "Expired" };

bool onefs_licensed(unsigned licence)
{
	return licence < 2;
}

static json_t *licences(struct onefs_call *c)
{
	const struct onefs_options *opt = c->o->opt;
	const struct {
		const char *id, *name;
		unsigned state;
	} all[] = {
		{ "SMARTQUOTAS", "SmartQuotas", opt->quota_licence },
		{ "SNAPSHOTIQ", "SnapshotIQ", opt->snapshot_licence },
		{ "SMARTCONNECT_ADVANCED", "SmartConnect Advanced", 0 },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!*c->key || !strcasecmp(c->key, all[i].id))
			json_array_append_new(
				list, json_pack("{s:s, s:s, s:s, s:n, s:b}", "id", all[i].id,
						"name", all[i].name, "status", states[all[i].state],
						"expiration", "expired_alert", all[i].state == 3));
	return list;
}

void onefs_licence_list(struct onefs_call *c)
{
	c->answer = json_pack("{s:o}", "licenses", licences(c));
}

void onefs_licence(struct onefs_call *c)
{
	onefs_licence_list(c);
	if (!json_array_size(json_object_get(c->answer, "licenses")))
		onefs_fail(c, 404, "AEC_NOT_FOUND", "id", "License '%s' not found.", c->key);
}

/* --- capacity --------------------------------------------------------------- */

static bool stat_value(struct onefs_call *c, const char *key, uint64_t *out)
{
	struct statvfs v;
	uint64_t total, free_bytes, avail, set = c->o->opt->capacity;

	if (strncmp(key, "ifs.bytes.", 10) || fstatvfs(c->o->ifs, &v))
		return false;
	total = (uint64_t)v.f_blocks * v.f_frsize;
	free_bytes = (uint64_t)v.f_bfree * v.f_frsize;
	avail = (uint64_t)v.f_bavail * v.f_frsize;
	if (set) { /* the same share of it is used */
		double share = total ? (double)(total - free_bytes) / (double)total : 0;

		total = set;
		free_bytes = avail = set - (uint64_t)(share * (double)set);
	}
	key += 10;
	if (!strcmp(key, "total"))
		*out = total;
	else if (!strcmp(key, "free"))
		*out = free_bytes;
	else if (!strcmp(key, "avail"))
		*out = avail;
	else if (!strcmp(key, "used"))
		*out = total - free_bytes;
	else
		return false;
	return true;
}

static void add_stat(struct onefs_call *c, json_t *stats, const char *key)
{
	uint64_t v = 0;
	bool known = stat_value(c, key, &v);

	json_array_append_new(
		stats,
		json_pack("{s:s*, s:i, s:o, s:o, s:o, s:I}", "key", key, "devid", 0, "value",
			  known ? json_integer((json_int_t)v) : json_null(), "error",
			  known ? json_null() : json_string("Unknown statistic key"), "error_code",
			  known ? json_null() : json_integer(2), "time", (json_int_t)c->now));
}

void onefs_stats(struct onefs_call *c)
{
	const json_t *one = json_object_get(c->args, "key"),
		     *list = onefs_arg(c, "keys") ? c->args : NULL;
	json_t *stats;

	if (!one && !list) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "key", "A key is required");
		return;
	}
	stats = json_array();
	if (json_is_string(one))
		add_stat(c, stats, json_string_value(one));
	for (size_t i = 0; i < json_array_size(one); i++)
		add_stat(c, stats, json_string_value(json_array_get(one, i)));
	for (const char *p = list ? onefs_arg(c, "keys") : ""; *p;) {
		size_t n = strcspn(p, ",");
		char key[64];

		snprintf(key, sizeof key, "%.*s", (int)(n < 63 ? n : 63), p);
		add_stat(c, stats, key);
		p += n + (p[n] == ',');
	}
	c->answer = json_pack("{s:o}", "stats", stats);
}
