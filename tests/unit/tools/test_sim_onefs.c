/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of the platform API depend on. */
#include "tests/unit/tools/onefs_client.h"

#include <pthread.h>

/* --- exports ------------------------------------------------------------- */

static void exports_conflict(void **state)
{
	char path[128];
	const json_t *e;

	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/v"), 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"]}"),
			 201);
	assert_true(json_is_integer(json_object_get(fx.json, "id")));
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 1);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	assert_string_equal(code(), "AEC_CONFLICT");
	assert_int_equal(make_export("force=true", "{\"paths\":[\"/ifs/v\"]}"), 201);
	snprintf(path, sizeof path, EXPORTS "/%d", 2);
	assert_int_equal(call("GET", path, NULL), 200);
	e = first("exports");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(e, "conflicting_paths"), 0)),
		"/ifs/v");
	assert_int_equal(json_array_size(json_object_get(e, "clients")), 0); /* open to everybody */
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_int_equal(call("DELETE", path, NULL), 404);
	assert_string_equal(text_of(first("errors"), "message"), "Export id 2 does not exist");
	assert_string_equal(text_of(first("errors"), "field"), "id");
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "conflicting_paths")),
			 0);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/none\"]}"), 400);
	assert_int_equal(make_export("", "{\"clients\":[\"localhost\"]}"), 400);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"colour\":\"red\"}"), 400);
	assert_int_equal(json_array_size(json_object_get(fx.json, "errors")), 2);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/v", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 1);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 0);
}

static void a_fresh_export_shows_all_defaults(void **state)
{
	const json_t *e, *map;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"],"
			"\"map_root\":{\"enabled\":false}}");
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	e = first("exports");
	assert_int_equal(json_object_size(e), 50);
	assert_true(json_integer_value(json_object_get(e, "max_file_size")) == INT64_MAX);
	assert_true(json_real_value(json_object_get(e, "time_delta")) == 1e-9);
	assert_string_equal(text_of(e, "zone"), "System");
	map = json_object_get(e, "map_root");
	assert_true(json_is_false(json_object_get(map, "enabled")));
	assert_string_equal(text_of(json_object_get(map, "user"), "id"), "USER:nobody");
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"map_root\":\"@DEFAULT\"}"), 204);
	call("GET", EXPORTS "/1", NULL);
	map = json_object_get(first("exports"), "map_root");
	assert_true(json_is_true(json_object_get(map, "enabled")));
	call("GET", EXPORTS "/1?scope=user", NULL);
	assert_null(json_object_get(first("exports"), "max_file_size"));
	call("GET", "/platform/1/protocols/nfs/exports/1", NULL);
	assert_string_equal(text_of(json_object_get(first("exports"), "map_root"), "user"),
			    "nobody");
}

static void unresolvable_clients_are_refused(void **state)
{
	static const char body[] =
		"{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\",\"nowhere.example\","
		"\"here.example\",\"10.0.0.0/8\",\"@group\"]}";

	(void)state;
	begin("hosts=here.example", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("", body), 500);
	assert_string_equal(code(), "AEC_EXCEPTION");
	assert_non_null(strstr(fx.body, "bad hostname 'nowhere.example'"));
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"\"]}"), 500);
	assert_int_equal(make_export("ignore_unresolvable_hosts=true", body), 201);
	call("GET", EXPORTS "/1", NULL);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "clients")), 5);
	assert_int_equal(json_array_size(json_object_get(first("exports"), "unresolved_clients")),
			 1);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"root_clients\":[\"nowhere.example\"]}"),
			 500);
	assert_int_equal(call("PUT", EXPORTS "/1?force=true",
			      "{\"root_clients\":[\"nowhere.example\"]}"),
			 204);
}

static void an_old_release_knows_few_arguments(void **state)
{
	(void)state;
	begin("latest=3", NULL);
	make_dir("/namespace/ifs/v");
	make_dir("/namespace/ifs/w");
	assert_int_equal(make_export("ignore_unresolvable_hosts=true",
				     "{\"paths\":[\"/ifs/v\"],\"clients\":[\"nowhere.example\"]}"),
			 400);
	assert_string_equal(code(), "AEC_BAD_REQUEST");
	assert_int_equal(make_export("force=true",
				     "{\"paths\":[\"/ifs/v\"],\"clients\":[\"nowhere.example\"]}"),
			 201);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 1); /* ignored */
	assert_int_equal(call("GET", "/platform/4/protocols/nfs/exports", NULL), 404);
}

static void a_new_export_takes_its_time(void **state)
{
	(void)state;
	begin("export_delay_ms=400000", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 201);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 404);
	assert_int_equal(call("GET", EXPORTS "?path=/ifs/v", NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "total")), 0);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	atomic_store(&clock_skew_ms, 500000);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
}

static void lists_are_replaced_as_a_whole(void **state)
{
	const json_t *clients;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("",
		    "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"],\"description\":\"d\"}");
	/* two who have read the same list */
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":[\"localhost\",\"10.0.0.1\"]}"),
			 204);
	assert_null(fx.body);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":[\"localhost\",\"10.0.0.2\"]}"),
			 204);
	call("GET", EXPORTS "/1", NULL);
	clients = json_object_get(first("exports"), "clients");
	assert_int_equal(json_array_size(clients), 2);
	assert_string_equal(json_string_value(json_array_get(clients, 1)), "10.0.0.2");
	assert_string_equal(text_of(first("exports"), "description"), "d");
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"clients\":\"10.0.0.2\"}"), 400);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"id\":7}"), 403);
	assert_int_equal(call("PUT", EXPORTS "/1", "{\"block_size\":-1}"), 400);
	assert_int_equal(call("PUT", EXPORTS "/1", "[]"), 400);
	assert_int_equal(call("PUT", EXPORTS "/2", "{\"clients\":[]}"), 404);
	assert_int_equal(call("PATCH", EXPORTS "/1", "{}"), 405);
}

static void zones_have_exports_of_their_own(void **state)
{
	(void)state;
	begin("zones=cf:/ifs/data/cf other:/ifs/other", NULL);
	assert_int_equal(call("GET", "/platform/3/zones", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "zones")), 3);
	make_dir("/namespace/ifs/data/cf/v");
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_export("zone=cf", "{\"paths\":[\"/ifs/v\"]}"), 400);
	assert_int_equal(make_export("zone=cf", "{\"paths\":[\"/ifs/data/cf/v\"]}"), 201);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 1);
	assert_int_equal(make_export("zone=none", "{\"paths\":[\"/ifs/v\"]}"), 404);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/data/cf/v\"]}"), 201); /* of System */
	assert_int_equal(call("GET", EXPORTS "/1?zone=cf", NULL), 200);
	assert_string_equal(text_of(first("exports"), "zone"), "cf");
	assert_int_equal(call("DELETE", EXPORTS "/1?zone=other", NULL), 404);
	assert_int_equal(call("GET", "/platform/3/network/pools?access_zone=cf", NULL), 200);
	assert_string_equal(text_of(first("pools"), "access_zone"), "cf");
}

/* --- 12,000 exports ------------------------------------------------------ */

static void write_many(unsigned n)
{
	json_t *exports = json_object(), *state;

	for (unsigned i = 1; i <= n; i++) {
		char key[32], path[32];

		snprintf(key, sizeof key, "System:%u", i);
		snprintf(path, sizeof path, "/ifs/v%u", i);
		json_object_set_new(exports, key,
				    json_pack("{s:i, s:s, s:[s], s:[s], s:i}", "id", (int)i, "zone",
					      "System", "paths", path, "clients", "localhost",
					      "nfsd", (int)i));
	}
	state = json_pack("{s:s, s:i, s:{s:o, s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:i, s:i, s:i}}",
			  "kind", "onefs", "advance", 0, "state", "exports", exports, "quotas",
			  "snapshots", "aliases", "acls", "global", "zones", "quota_id", 0,
			  "snapshot_id", 1, "nfsd_id", (int)n);
	assert_int_equal(json_dump_file(state, fx.state, 0), 0);
	json_decref(state);
}

static void many_exports_come_in_pages(void **state)
{
	char path[192] = EXPORTS "?limit=1000", old[160] = "";
	unsigned seen = 0, pages = 0;

	(void)state;
	write_many(12000);
	begin(NULL, NULL);
	do {
		const char *token;

		assert_int_equal(call("GET", path, NULL), 200);
		seen += (unsigned)json_array_size(json_object_get(fx.json, "exports"));
		token = text_of(fx.json, "resume");
		if (*token)
			snprintf(path, sizeof path, EXPORTS "?resume=%s", token);
		if (!pages++) {
			assert_int_equal(json_integer_value(json_object_get(fx.json, "total")),
					 12000);
			snprintf(old, sizeof old, "%.159s", path);
			assert_int_equal(call("DELETE", EXPORTS "/1500", NULL), 204);
			call("GET", EXPORTS "?limit=1", NULL);
		}
	} while (*text_of(fx.json, "resume"));
	assert_int_equal(pages, 12);
	assert_int_equal(seen, 11999);
	snprintf(path, sizeof path, "%s&limit=10", old);
	assert_int_equal(call("GET", path, NULL), 400);
	assert_int_equal(call("GET", EXPORTS "?resume=nonsense", NULL), 400);
	assert_non_null(strstr(fx.body, "Invalid resume token"));
	advance(1000);
	assert_int_equal(call("GET", old, NULL), 400);
}

/* --- quotas -------------------------------------------------------------- */

static void quotas_have_rules(void **state)
{
	char path[128], id[40];

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"soft\":1000}"), 400);
	assert_string_equal(text_of(first("errors"), "field"), "soft_grace");
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000,\"advisory\":1000}"), 400);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":0}"), 400);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":\"1000\"}"), 400);
	assert_int_equal(make_quota("\"container\":true"), 400);
	assert_int_equal(make_quota("\"colour\":1,\"thresholds\":{\"hard\":1000}"), 400);
	assert_int_equal(call("POST", QUOTAS, "{\"path\":\"/ifs/v\",\"type\":\"directory\"}"), 400);
	assert_string_equal(code(), "AEC_ARG_REQUIRED");
	assert_int_equal(make_quota("\"container\":true,\"thresholds\":{\"hard\":1000,\"soft\":900,"
				    "\"soft_grace\":60,\"advisory\":null}"),
			 201);
	strcpy(id, text_of(fx.json, "id"));
	assert_int_equal(strlen(id), 32);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 409);
	snprintf(path, sizeof path, QUOTAS "/%s", id);
	assert_int_equal(call("PUT", path, "{\"path\":\"/ifs/v\",\"thresholds\":{\"hard\":2000}}"),
			 400);
	assert_int_equal(call("PUT", path, "{\"thresholds\":{\"hard\":2000}}"), 204);
	assert_int_equal(call("PUT", path, "{\"thresholds\":{\"hard\":800}}"),
			 400); /* below soft */
	assert_int_equal(call("GET", path, NULL), 200);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(first("quotas"), "thresholds"), "hard")),
			 2000);
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(first("quotas"), "thresholds"), "soft")),
			 900);
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_int_equal(call("DELETE", path, NULL), 404);
	assert_string_equal(text_of(first("errors"), "message"), "quota not found");
	assert_int_equal(call("POST", QUOTAS,
			      "{\"path\":\"/ifs/none\",\"type\":\"directory\",\"enforced\":false,"
			      "\"include_snapshots\":false,\"thresholds_include_overhead\":false}"),
			 404);
	assert_non_null(strstr(fx.body, "Failed to fetch quota domain record"));
}

static void usage_is_what_the_folder_holds(void **state)
{
	char path[160];
	const json_t *q;
	FILE *f;

	(void)state;
	begin("quota_scan_ms=300000", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"container\":true,\"thresholds\":{\"hard\":1000}"), 201);
	assert_int_equal(
		call("GET", QUOTAS "?path=/ifs/v&type=directory&recurse_path_children=false", NULL),
		200);
	q = first("quotas");
	assert_true(json_is_false(json_object_get(q, "ready")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(q, "usage"), "inodes")),
			 1);
	atomic_store(&clock_skew_ms, 400000);
	snprintf(path, sizeof path, "%s/ifs/v/file", fx.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%5000s", "x");
	fclose(f);
	assert_int_equal(call("GET", QUOTAS "?path=/ifs&recurse_path_children=true", NULL), 200);
	q = first("quotas");
	assert_true(json_is_true(json_object_get(q, "ready")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(q, "usage"), "logical")), 5000);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(q, "usage"), "inodes")),
			 2);
	assert_true(
		json_is_true(json_object_get(json_object_get(q, "thresholds"), "hard_exceeded")));
	assert_int_equal(call("GET", "/platform/8/quota/quotas", NULL), 200);
	q = first("quotas");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(q, "usage"), "applogical")),
		5000);
	assert_string_equal(text_of(q, "thresholds_on"), "fslogicalsize");
	assert_null(json_object_get(q, "thresholds_include_overhead"));
	assert_int_equal(call("GET", QUOTAS "?path=/ifs/w", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "quotas")), 0);
}

static void licences_are_wanted(void **state)
{
	(void)state;
	begin("quota_licence=expired", "snapshot_licence=unlicensed");
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 403);
	assert_string_equal(code(), "AEC_INVALID_LICENSE");
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s\",\"path\":\"/ifs/v\"}"), 403);
	assert_int_equal(call("GET", "/platform/5/license/licenses/SMARTQUOTAS", NULL), 200);
	assert_string_equal(text_of(first("licenses"), "status"), "Expired");
	assert_int_equal(call("GET", "/platform/5/license/licenses/NONE", NULL), 404);
}

/* --- errors -------------------------------------------------------------- */

static void errors_come_as_pages_too(void **state)
{
	(void)state;
	begin("errors=mixed", NULL);
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_string_equal(code(), "AEC_NOT_FOUND");
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_null(fx.json);
	assert_non_null(strstr(fx.body, "<h1>Not Found</h1>"));
	assert_int_equal(call("GET", EXPORTS "/7", NULL), 404);
	assert_non_null(fx.json);
	assert_int_equal(
		call("POST", "/_sim/faults",
		     "{\"match\":\"GET /platform\",\"fault\":\"html\",\"status\":503,\"times\":1}"),
		200);
	assert_int_equal(call("GET", EXPORTS, NULL), 503);
	assert_null(fx.json);
	assert_int_equal(call("GET", EXPORTS, NULL), 200);
}

static void two_errors_in_one_answer(void **state)
{
	(void)state;
	begin("deny=ISI_PRIV_SNAPSHOT", NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(make_quota("\"thresholds\":{\"soft\":1000,\"hard\":500}"), 400);
	assert_int_equal(json_array_size(json_object_get(fx.json, "errors")), 2);
	assert_int_equal(call("GET", "/platform/1/nothing/here", NULL), 404);
	assert_null(json_object_get(first("errors"), "field"));
	assert_int_equal(call("GET", SNAPS, NULL), 403);
	assert_string_equal(code(), "AEC_FORBIDDEN");
	assert_int_equal(call("GET", EXPORTS "?limit=1&limit=2", NULL), 400);
	assert_string_equal(code(), "AEC_ARG_SINGLE_ONLY");
}

/* --- the rest --------------------------------------------------------------- */

static void the_cluster_tells_of_itself(void **state)
{
	(void)state;
	begin("latest=12.1", "capacity=1t");
	assert_int_equal(call("GET", "/platform/latest", NULL), 200);
	assert_string_equal(text_of(fx.json, "latest"), "12.1");
	assert_int_equal(call("GET", "/platform/3/cluster/config", NULL), 200);
	assert_string_equal(text_of(json_object_get(fx.json, "onefs_version"), "release"),
			    "v9.2.1.0");
	assert_int_equal(call("GET", "/platform/12/cluster/version", NULL), 200);
	assert_int_equal(number("nodes", "lnn"), 1);
	assert_int_equal(call("GET", "/platform/11/cluster/version", NULL), 404);
	assert_int_equal(
		call("GET",
		     "/platform/1/statistics/current?key=ifs.bytes.avail&key=ifs.bytes.total",
		     NULL),
		200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "stats")), 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(fx.json, "stats"), 1), "value")),
			 1LL << 40);
	assert_int_equal(call("GET", "/platform/1/statistics/current?keys=ifs.bytes.used,x", NULL),
			 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "stats")), 2);
	assert_int_equal(call("GET", NFS "/settings/global", NULL), 200);
	assert_true(json_is_true(
		json_object_get(json_object_get(fx.json, "settings"), "nfsv3_enabled")));
	assert_int_equal(call("PUT", NFS "/settings/zone", "{\"nfsv4_no_names\":true}"), 204);
	assert_int_equal(call("GET", NFS "/settings/zone", NULL), 200);
	assert_true(json_is_true(
		json_object_get(json_object_get(fx.json, "settings"), "nfsv4_no_names")));
	assert_int_equal(call("PUT", NFS "/settings/zone", "{\"nfsv4_domain\":1}"), 400);
}

static void aliases_are_short_names(void **state)
{
	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"/short\",\"path\":\"/ifs/v\"}"),
			 201);
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"/short\",\"path\":\"/ifs/v\"}"),
			 409);
	assert_int_equal(call("POST", NFS "/aliases", "{\"name\":\"short\",\"path\":\"/ifs/v\"}"),
			 400);
	assert_int_equal(call("GET", NFS "/aliases/%2Fshort", NULL), 200);
	assert_string_equal(text_of(first("aliases"), "path"), "/ifs/v");
	assert_int_equal(call("PUT", NFS "/aliases/%2Fshort", "{\"name\":\"/other\"}"), 204);
	assert_int_equal(call("GET", NFS "/aliases/%2Fshort", NULL), 404);
	assert_int_equal(call("DELETE", NFS "/aliases/other", NULL), 204);
	assert_int_equal(call("GET", NFS "/aliases", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "aliases")), 0);
}

static void the_state_outlives_a_restart(void **state)
{
	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	make_export("", "{\"paths\":[\"/ifs/v\"],\"clients\":[\"localhost\"]}");
	make_quota("\"thresholds\":{\"hard\":1000}");
	call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/v\"}");
	sim_stop(fx.sim);
	fx.sim = NULL;
	begin(NULL, NULL);
	assert_int_equal(call("GET", EXPORTS "/1", NULL), 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409);
	assert_int_equal(make_export("force=true", "{\"paths\":[\"/ifs/v\"]}"), 201);
	assert_int_equal(json_integer_value(json_object_get(fx.json, "id")), 2);
	assert_int_equal(make_quota("\"thresholds\":{\"hard\":1000}"), 409);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 200);
}

static void bad_settings_and_states_are_refused(void **state)
{
	static const char *const bad[][2] = { { "latest=x", "latest" },
					      { "zones=cf", "zones" },
					      { "zones=cf:/etc", "zones" },
					      { "ganesha=yes", "nfs_port" },
					      { "colour=red", "colour" } };
	static const char *const states[] = {
		"{}", "[]", "{\"kind\":\"onefs\",\"advance\":0,\"state\":{\"exports\":[]}}",
		"{\"kind\":\"onefs\",\"advance\":0,\"state\":{\"exports\":{\"System:1\":{\"id\":1}},"
		"\"quotas\":{},\"snapshots\":{},\"aliases\":{},\"acls\":{},\"global\":{},\"zones\":{},"
		"\"quota_id\":0,\"snapshot_id\":1,\"nfsd_id\":0}}"
	};
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .root = fx.dir };
	const char *settings[2] = { NULL, NULL };
	struct sim *s;
	struct err err;
	FILE *f;

	(void)state;
	cfg.settings = settings;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		settings[0] = bad[i][0];
		err.text[0] = '\0';
		assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
		assert_non_null(strstr(err.text, bad[i][1]));
	}
	settings[0] = NULL;
	cfg.state = fx.state;
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		f = fopen(fx.state, "w");
		fputs(states[i], f);
		fclose(f);
		assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
		assert_true(*err.text);
	}
	cfg.root = NULL;
	cfg.state = NULL;
	assert_true(sim_start(&sim_onefs, &cfg, &s, &err) < 0);
	assert_non_null(strstr(err.text, "--root"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(exports_conflict),
		T(a_fresh_export_shows_all_defaults),
		T(unresolvable_clients_are_refused),
		T(an_old_release_knows_few_arguments),
		T(a_new_export_takes_its_time),
		T(lists_are_replaced_as_a_whole),
		T(zones_have_exports_of_their_own),
		T(many_exports_come_in_pages),
		T(quotas_have_rules),
		T(usage_is_what_the_folder_holds),
		T(licences_are_wanted),
		T(errors_come_as_pages_too),
		T(two_errors_in_one_answer),
		T(the_cluster_tells_of_itself),
		T(aliases_are_short_names),
		T(the_state_outlives_a_restart),
		T(bad_settings_and_states_are_refused),
	};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
