/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tools/sim_scaleio.h"

/* --- logins ---------------------------------------------------------------- */

static void wrong_password_and_no_token_are_401(void **state)
{
	struct client c = fx.c;

	(void)state;
	c.user = "admin";
	c.password = "wrong";
	refused(client_call(&c, "GET", "/api/login", NULL), 401, 0);
	c.user = "nobody";
	c.password = "password";
	refused(client_call(&c, "GET", "/api/login", NULL), 401, 0);
	c.password = NULL;
	refused(client_call(&c, "GET", "/api/login", NULL), 401, 0);
	refused(client_call(&c, "GET", "/api/version", NULL), 401, 0);
	c.password = "password"; /* is no token */
	c.user = "admin";
	refused(client_call(&c, "GET", "/api/version", NULL), 401, 0);
	c.user = "whoever";
	c.password = fx.token;
	succeeds(client_call(&c, "GET", "/api/version", NULL));
	c.user = "";
	succeeds(client_call(&c, "GET", "/api/version", NULL));
}

static void token_lives_eight_hours_ten_minutes_idle(void **state)
{
	(void)state;
	for (int i = 0; i < 47; i++) { /* 7:50 h in use */
		advance(600);
		succeeds(call("GET", "/api/version", NULL));
	}
	advance(590);
	succeeds(call("GET", "/api/version", NULL));
	advance(60); /* used, but old */
	refused(call("GET", "/api/version", NULL), 401, 0);
	login();
	succeeds(call("GET", "/api/version", NULL));
	advance(602);
	refused(call("GET", "/api/version", NULL), 401, 0);
	login();
	succeeds(call("GET", "/api/version", NULL));
	succeeds(post("/_sim/tokens", "{\"drop\":true}"));
	refused(call("GET", "/api/version", NULL), 401, 0);
}

static void logout_ends_the_session(void **state)
{
	struct reply r = call("GET", "/api/logout", NULL);

	(void)state;
	assert_int_equal(r.status, 200);
	assert_int_equal(r.len, 0);
	client_done(&r);
	refused(call("GET", "/api/version", NULL), 401, 0);
	refused(call("GET", "/api/logout", NULL), 401, 0);
}

static void sessions_are_128(void **state)
{
	struct client c = fx.c;

	(void)state;
	for (int i = 1; i < 128; i++)
		login();
	c.user = "admin";
	c.password = "password";
	refused(client_call(&c, "GET", "/api/login", NULL), 500, 252);
	advance(700); /* idle ones make room */
	login();
}

static void token_comes_in_three_shapes(void **state)
{
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .settings = fx.settings };
	struct err err;
	struct client c;
	struct reply r;

	(void)state;
	restart("token=newline", NULL);
	c = fx.c;
	c.user = "admin";
	c.password = "password";
	r = client_call(&c, "GET", "/api/login", NULL);
	assert_int_equal(r.body[r.len - 1], '\n');
	assert_int_equal(r.body[0], '"');
	client_done(&r);
	stop();
	fx.settings[0] = "token=bare";
	assert_int_equal(sim_start(&sim_scaleio, &cfg, &fx.sim, &err), 0);
	c.port = sim_port(fx.sim);
	r = client_call(&c, "GET", "/api/login", NULL);
	assert_int_equal(r.status, 200);
	assert_int_not_equal(r.body[0], '"');
	c.password = r.body;
	succeeds(client_call(&c, "GET", "/api/version", NULL));
	client_done(&r);
}

static void expired_session_may_be_403(void **state)
{
	(void)state;
	restart("expired=403", "version=2.6");
	advance(602);
	refused(call("GET", "/api/version", NULL), 403, 0);
	refused(call("GET", "/api/version", NULL), 401, 0);
}

static void monitor_may_only_ask(void **state)
{
	(void)state;
	restart("role=monitor", NULL);
	refused(create_of("a", POOL1, "8388608"), 403, 0);
	refused(query_name("a"), 500, 79);
	succeeds(call("GET", CREATE, NULL));
}

static void bearer_of_4_expires_and_401_is_html(void **state)
{
	struct client c;
	struct reply r, r2;

	(void)state;
	page(post("/rest/auth/login", "{\"username\":\"admin\",\"password\":\"password\"}"), 404);
	restart("version=4.5", "expires_in=60");
	c = fx.c;
	c.password = NULL;
	page(client_call(&c, "GET", "/api/version", NULL), 401);
	page(client_call(&c, "POST", "/rest/auth/login",
			 "{\"username\":\"admin\",\"password\":\"x\"}"),
	     401);
	r = client_call(&c, "POST", "/rest/auth/login",
			"{\"username\":\"admin\",\"password\":\"password\"}");
	assert_int_equal(r.status, 200);
	assert_string_equal(text_of(r.json, "token_type"), "Bearer");
	assert_int_equal(int_of(r.json, "expires_in"), 60);
	c.bearer = text_of(r.json, "access_token");
	succeeds(client_call(&c, "GET", "/api/version", NULL));
	advance(61);
	page(client_call(&c, "GET", "/api/version", NULL), 401);
	client_done(&r);
	c.bearer = fx.token; /* the classic one, as a bearer */
	succeeds(client_call(&c, "GET", "/api/version", NULL));
	r = client_call(&c, "POST", "/rest/auth/login",
			"{\"username\":\"admin\",\"password\":\"password\"}");
	c.bearer = text_of(r.json, "access_token");
	{
		char body[256];

		snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}",
			 text_of(r.json, "refresh_token"));
		r2 = client_call(&c, "POST", "/rest/auth/logout", body);
	}
	assert_int_equal(r2.status, 204);
	client_done(&r2);
	page(client_call(&c, "GET", "/api/version", NULL), 401);
	client_done(&r);
}

/* --- volumes --------------------------------------------------------------- */

static void create_again_is_99_and_lookup_finds_it(void **state)
{
	id_text id, again;
	json_t *v;

	(void)state;
	take_id(create_of("cf-0d5c1b0e7a4f", POOL1, "16777216"), id);
	refused(create_of("cf-0d5c1b0e7a4f", POOL1, "16777216"), 500, 99);
	take_id(query_name("cf-0d5c1b0e7a4f"), again);
	assert_string_equal(id, again);
	v = get_json("Volume", id);
	assert_int_equal(int_of(v, "sizeInKb"), 16777216);
	assert_string_equal(text_of(v, "storagePoolId"), POOL1);
	assert_string_equal(text_of(v, "name"), "cf-0d5c1b0e7a4f");
	assert_string_equal(text_of(v, "volumeType"), "ThinProvisioned");
	assert_true(json_is_null(json_object_get(v, "mappedSdcInfo")));
	assert_true(json_is_null(json_object_get(v, "ancestorVolumeId")));
	assert_true(json_is_false(json_object_get(v, "mappingToAllSdcsEnabled")));
	assert_true(json_is_array(json_object_get(v, "links")));
	assert_true(json_object_size(v) > 30);
	assert_true(llabs(int_of(v, "creationTime") - (json_int_t)time(NULL)) < 10);
	json_decref(v);
	refused(query_name("nobody"), 500, 79);
}

static void sizes_round_up_or_are_refused(void **state)
{
	id_text id;
	json_t *v;

	(void)state;
	take_id(create_of("twelve", POOL1, "12582912"), id);
	v = get_json("Volume", id);
	assert_int_equal(int_of(v, "sizeInKb"), 16777216);
	json_decref(v);
	take_id(post(CREATE, "{\"storagePoolId\":\"" POOL1 "\",\"volumeSizeInGb\":\"1\"}"), id);
	v = get_json("Volume", id);
	assert_int_equal(int_of(v, "sizeInKb"), 8388608);
	assert_true(json_is_null(json_object_get(v, "name")));
	json_decref(v);
	refused(create_of("big", POOL1, "1099511627777"), 500, 190);
	refused(create_of("big", POOL1, "18446744073709551615"), 500, 190);
	refused(create_of("big", POOL1, "18446744073709551616"), 400, 64);
	restart("rounding=refuse", NULL);
	refused(create_of("twelve", POOL1, "12582912"), 500, 225);
	refused(create_of("zero", POOL1, "0"), 500, 225);
	take_id(create_of("sixteen", POOL1, "16777216"), id);
}

static void names_are_checked(void **state)
{
	id_text id;

	(void)state;
	refused(create_of("12345678901234567890123456789012", POOL1, "8388608"), 500, 226);
	make("1234567890123456789012345678901", id);
	refused(create_of("with space", POOL1, "8388608"), 500, 227);
	refused(create_of("uml\xc3\xa4ut", POOL1, "8388608"), 500, 227);
	refused(create_of("", POOL1, "8388608"), 500, 227);
	refused(act(id, "setVolumeName", "{\"newName\":\"a b\"}"), 500, 227);
	refused(act(id, "setVolumeName", "{\"newName\":\"1234567890123456789012345678901\"}"), 500,
		99);
	succeeds(act(id, "setVolumeName", "{\"newName\":\"other\"}"));
	refused(query_name("1234567890123456789012345678901"), 500, 79);
	succeeds(query_name("other"));
}

static void json_numbers_are_no_text(void **state)
{
	static const struct {
		const char *body;
		long status;
		json_int_t code;
	} rows[] = {
		{ "{\"storagePoolId\":\"" POOL1 "\",\"volumeSizeInKb\":8388608}", 400, 62 },
		{ "{\"storagePoolId\":\"" POOL1 "\",\"volumeSizeInKb\":\"8g\"}", 400, 64 },
		{ "{\"storagePoolId\":\"" POOL1 "\",\"volumeSizeInKb\":\"-8\"}", 400, 64 },
		{ "{\"storagePoolId\":\"" POOL1 "\",\"volumeSizeInKb\":\"\"}", 400, 64 },
		{ "{\"storagePoolId\":\"" POOL1 "\"}", 400, 0 },
		{ "{\"storagePoolId\":\"" POOL1
		  "\",\"volumeSizeInKb\":\"8388608\",\"volumeSizeInGb\":\"8\"}",
		  400, 62 },
		{ "{\"volumeSizeInKb\":\"8388608\"}", 500, 188 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"pool1\"}", 400, 0 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" NOBODY "\"}", 500, 171 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" POOL1
		  "\",\"protectionDomainId\":\"" PD2 "\"}",
		  500, 197 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" POOL1
		  "\",\"protectionDomainId\":\"" NOBODY "\"}",
		  500, 142 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" POOL1
		  "\",\"useRmcache\":true}",
		  400, 62 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" POOL1
		  "\",\"volumeType\":\"Fat\"}",
		  400, 64 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" FINE
		  "\",\"volumeType\":\"ThickProvisioned\"}",
		  500, 62 },
		{ "{\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"" POOL1
		  "\",\"volumeClass\":\"x\"}",
		  500, 62 },
		{ "[]", 400, 0 },
		{ "{\"a\":", 400, 0 },
		{ "null", 400, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		refused(post(CREATE, rows[i].body), rows[i].status, rows[i].code);
	fx.c.type = "text/plain";
	refused(post(CREATE, "{}"), 415, 0);
	assert_int_equal(count(CREATE), 0);
}

static void grow_only_grows(void **state)
{
	id_text id;
	json_t *v;

	(void)state;
	take_id(create_of("a", POOL1, "16777216"), id);
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":\"8\"}"), 500, 133);
	succeeds(act(id, "setVolumeSize", "{\"sizeInGB\":\"16\"}"));
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":24}"), 400, 62);
	refused(act(id, "setVolumeSize", "{}"), 400, 0);
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":\"99999999999999999\"}"), 500, 190);
	succeeds(map_guid(id, GUID1, "FALSE"));
	succeeds(act(id, "setVolumeSize", "{\"sizeInGB\":\"17\"}"));
	v = get_json("Volume", id);
	assert_int_equal(int_of(v, "sizeInKb"), 24 << 20);
	json_decref(v);
	refused(act(NOBODY, "setVolumeSize", "{\"sizeInGB\":\"24\"}"), 500, 79);
	restart("same_size=refuse", "rounding=refuse");
	take_id(create_of("a", POOL1, "16777216"), id);
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":\"16\"}"), 500, 133);
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":\"17\"}"), 500, 225);
}

static void remove_wants_it_unmapped_and_once(void **state)
{
	id_text id;

	(void)state;
	make("a", id);
	refused(act(id, "removeVolume", "{}"), 400, 0);
	refused(remove_volume(id, "ALL"), 400, 64);
	succeeds(map_guid(id, GUID1, "FALSE"));
	refused(remove_volume(id, "ONLY_ME"), 500, 104);
	succeeds(unmap_guid(id, GUID1));
	succeeds(remove_volume(id, "ONLY_ME"));
	refused(remove_volume(id, "ONLY_ME"), 500, 79);
	refused(get("Volume", id), 500, 79);
	refused(remove_volume("xyz", "ONLY_ME"), 400, 0);
	make("a", id);
}

static void removal_takes_time(void **state)
{
	uint64_t deadline = clock_ms() + 10000;
	struct reply r;
	id_text id;

	(void)state;
	restart("remove_delay_ms=150", NULL);
	make("a", id);
	succeeds(remove_volume(id, "ONLY_ME"));
	refused(remove_volume(id, "ONLY_ME"), 500, 212);
	refused(map_guid(id, GUID1, "FALSE"), 500, 212);
	succeeds(get("Volume", id));
	for (long status = 200; status == 200;) {
		r = get("Volume", id);
		status = r.status;
		client_done(&r);
		assert_true(clock_ms() < deadline);
		usleep(10000);
	}
	refused(get("Volume", id), 500, 79);
}

static void lists_are_whole_and_quick(void **state)
{
	uint64_t begin;
	struct reply r;
	char name[32];
	const json_t *last;

	(void)state;
	restart("overcommit=100", "capacity=1024t");
	fx.c.curl = curl_easy_init(); /* one connection */
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "cf-%d", i);
		succeeds(create_of(name, POOL1, "8388608"));
	}
	curl_easy_cleanup(fx.c.curl);
	fx.c.curl = NULL;
	begin = clock_us();
	r = call("GET", CREATE, NULL);
	assert_true(clock_us() - begin < 10000000);
	assert_int_equal(json_array_size(r.json), MANY);
	last = json_array_get(r.json, MANY - 1);
	assert_string_equal(text_of(last, "name"), name);
	assert_true(json_is_null(json_object_get(last, "mappedSdcInfo")));
	client_done(&r);
	assert_int_equal(count("/api/instances/StoragePool::" POOL1 "/relationships/Volume"), MANY);
	assert_int_equal(count("/api/instances/StoragePool::" POOL2 "/relationships/Volume"), 0);
}

static void selected_volumes_are_answered(void **state)
{
	struct reply r;
	id_text a, b;
	char body[128];

	(void)state;
	make("a", a);
	make("b", b);
	snprintf(body, sizeof body, "{\"ids\":[\"%s\",\"%s\"]}", b, a);
	r = post(CREATE "/action/queryBySelectedIds", body);
	assert_int_equal(json_array_size(r.json), 2);
	assert_string_equal(text_of(json_array_get(r.json, 0), "name"), "b");
	client_done(&r);
	refused(post(CREATE "/action/queryBySelectedIds", "{\"ids\":[\"" NOBODY "\"]}"), 500, 79);
	refused(post(CREATE "/action/queryBySelectedIds", "{\"ids\":[1]}"), 500, 62);
	refused(post(CREATE "/action/queryBySelectedIds", "{}"), 400, 62);
	restart("version=2.6", NULL);
	page(post(CREATE "/action/queryBySelectedIds", "{\"ids\":[]}"), 404);
}

static void pools_promise_only_so_much(void **state)
{
	id_text id;

	(void)state;
	restart("capacity=16g", "overcommit=2");
	take_id(create_of("a", POOL1, "16777216"), id);
	refused(create_of("b", POOL1, "25165824"), 500, 300);
	refused(act(id, "setVolumeSize", "{\"sizeInGB\":\"40\"}"), 500, 300);
	succeeds(create_of("b", POOL1, "16777216"));
	refused(create_of("c", POOL1, "8388608"), 500, 300);
	succeeds(create_of("c", POOL2, "8388608"));
	refused(post(CREATE, "{\"storagePoolId\":\"" NOZERO
			     "\",\"volumeSizeInGb\":\"24\",\"volumeType\":\"ThickProvisioned\"}"),
		500, 67);
	restart("volumes_max=2", NULL);
	succeeds(create_of("a", POOL1, "8388608"));
	succeeds(create_of("b", POOL1, "8388608"));
	refused(create_of("c", POOL1, "8388608"), 500, 96);
}

/* --- faults ---------------------------------------------------------------- */

static void half_executed_calls_do_a_part(void **state)
{
	id_text a, b;
	char body[256];

	(void)state;
	succeeds(post("/_sim/faults",
		      "{\"match\":\"POST " CREATE "\",\"fault\":\"half\",\"times\":1}"));
	refused(create_of("a", POOL1, "8388608"), 500, 68);
	take_id(query_name("a"), a); /* it is there */
	make("b", b);
	succeeds(post("/_sim/faults", "{\"match\":\"POST /api/instances\",\"fault\":\"half\"}"));
	snprintf(body, sizeof body,
		 "{\"snapshotDefs\":[{\"volumeId\":\"%s\"},{\"volumeId\":\"%s\"}]}", a, b);
	refused(post("/api/instances/System/action/snapshotVolumes", body), 500, 68);
	assert_int_equal(count(CREATE), 3);
	refused(map_guid(a, GUID1, "FALSE"), 500, 68);
	refused(map_guid(a, GUID1, "FALSE"), 500, 81);
	refused(remove_volume(b, "ONLY_ME"), 500, 68);
	refused(remove_volume(b, "ONLY_ME"), 500, 79);
}

static void lost_create_is_found_by_its_name(void **state)
{
	struct reply r;
	id_text id;

	(void)state;
	succeeds(post("/_sim/faults",
		      "{\"match\":\"POST " CREATE "\",\"fault\":\"lost\",\"times\":1}"));
	r = create_of("a", POOL1, "8388608");
	assert_int_not_equal(r.rc, CURLE_OK);
	client_done(&r);
	take_id(query_name("a"), id);
	refused(create_of("a", POOL1, "8388608"), 500, 99);
}

/* --- the rest -------------------------------------------------------------- */

static void unknown_routes_are_pages(void **state)
{
	static const char *const paths[] = {
		"/",
		"/api",
		"/api/",
		"/api/types",
		"/api/types/Nothing/instances",
		"/api/types/Volume",
		"/api/types/Volume/instances/more/and/more/and/more",
		"/api/types/Domain/instances",
		"/api/types/Volume/instances/getByName::a",
		"/api/instances/Volume",
		"/api/instances/Volume::ffffffffffffffff/relationships",
		"/api/instances/Nothing::ffffffffffffffff",
		"/api/instances/System::5e8d0c3a7b91f20f/relationships/Volume",
		"/rest/v1/file-systems",
		"/dtapi/rest/v1/metrics/query",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		page(call("GET", paths[i], NULL), 404);
	page(post("/api/types/StoragePool/instances", "{}"), 404);
	page(post("/api/instances/System/action/reboot", "{}"), 404);
	page(call("DELETE", "/api/instances/Volume::" NOBODY, NULL), 404);
	page(act(NOBODY, "explode", "{}"), 404);
	refused(get("Volume", "17"), 400, 0);
	refused(get("Sdc", NOBODY), 500, 80);
	refused(get("StoragePool", NOBODY), 500, 171);
	refused(get("ProtectionDomain", NOBODY), 500, 142);
	refused(get("System", NOBODY), 500, 3);
	refused(post("/api/instances/System::" NOBODY "/action/querySystemLimits", "{}"), 500, 3);
}

static void pools_and_domains_are_looked_up(void **state)
{
	id_text id;
	struct reply r;
	size_t named = 0;

	(void)state;
	take_id(post("/api/types/ProtectionDomain/instances/action/queryIdByKey",
		     "{\"name\":\"pd2\"}"),
		id);
	assert_string_equal(id, PD2);
	refused(post("/api/types/ProtectionDomain/instances/action/queryIdByKey",
		     "{\"name\":\"pd-ec\"}"),
		500, 142);
	take_id(post("/api/types/StoragePool/instances/action/queryIdByKey",
		     "{\"name\":\"pool1\",\"protectionDomainId\":\"" PD2 "\"}"),
		id);
	assert_string_equal(id, POOL2);
	refused(post("/api/types/StoragePool/instances/action/queryIdByKey",
		     "{\"name\":\"fine\",\"protectionDomainId\":\"" PD1 "\"}"),
		500, 171);
	refused(post("/api/types/StoragePool/instances/action/queryIdByKey",
		     "{\"name\":\"pool1\"}"),
		400, 0);
	r = call("GET", "/api/types/StoragePool/instances", NULL);
	for (size_t i = 0; i < json_array_size(r.json); i++) {
		const json_t *p = json_array_get(r.json, i);

		named += !strcmp(text_of(p, "name"), "pool1");
		assert_int_equal(json_is_false(json_object_get(p, "zeroPaddingEnabled")),
				 !strcmp(text_of(p, "name"), "nozero"));
	}
	assert_int_equal(named, 2);
	client_done(&r);
	assert_int_equal(
		count("/api/instances/ProtectionDomain::" PD1 "/relationships/StoragePool"), 2);
	assert_int_equal(count("/api/types/ProtectionDomain/instances"), 2);
	assert_int_equal(count("/api/types/System/instances"), 1);
	assert_int_equal(count("/api/types/FaultSet/instances"), 0);
}

static void release_1_looks_up_by_name(void **state)
{
	id_text id, found;

	(void)state;
	restart("version=1.32", NULL);
	take_id(create_of("a/b+c", POOL1, "8388608"), id);
	take_id(call("GET", CREATE "/getByName::a%252Fb%2Bc", NULL), found);
	assert_string_equal(id, found);
	refused(call("GET", CREATE "/getByName::nobody", NULL), 500, 78);
	refused(get("Volume", NOBODY), 500, 78);
	take_id(call("GET", "/api/types/Domain/instances/getByName::pd2", NULL), found);
	assert_string_equal(found, PD2);
	take_id(call("GET", "/api/types/Pool/instances/getByName::" PD2 ",pool1", NULL), found);
	assert_string_equal(found, POOL2);
	page(query_name("a"), 404);
}

static void release_5_has_gigabytes(void **state)
{
	struct reply r;
	id_text id;
	json_t *v;

	(void)state;
	restart("version=5.0", NULL);
	assert_int_equal(count("/api/types/ProtectionDomain/instances"), 3);
	take_id(create_of("ec", EC, "1048577"), id);
	v = get_json("Volume", id);
	assert_int_equal(int_of(v, "sizeInKb"), 2 << 20);
	assert_null(json_object_get(v, "compressionMethod"));
	json_decref(v);
	refused(post(CREATE, "{\"storagePoolId\":\"" EC
			     "\",\"volumeSizeInGb\":\"1\",\"volumeType\":\"ThickProvisioned\"}"),
		500, 62);
	refused(snapshot(id, "s"), 500, 62);
	r = post("/dtapi/rest/v1/metrics/query",
		 "{\"resource_type\":\"storage_pool\",\"ids\":[\"" EC
		 "\"],\"metrics\":[\"physical_total\"]}");
	v = json_array_get(json_object_get(json_array_get(json_object_get(r.json, "resources"), 0),
					   "metrics"),
			   0);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(v, "values"), 0)),
			 64LL << 40);
	client_done(&r);
	restart("version=4.5", NULL);
	refused(create_of("ec", EC, "1048576"), 500, 171);
}

static void statistics_by_release(void **state)
{
	static const char path[] = "/api/instances/StoragePool::" POOL1 "/relationships/Statistics";
	static const char selected[] =
		"/api/types/StoragePool/instances/action/querySelectedStatistics";
	static const char body[] = "{\"ids\":[\"" POOL1
				   "\"],\"properties\":[\"netUnusedCapacityInKb\","
				   "\"thinCapacityAllocatedInKb\"]}";
	struct reply r;
	json_t *o;

	(void)state;
	succeeds(create_of("a", POOL1, "8388608"));
	r = call("GET", path, NULL);
	assert_int_equal(int_of(r.json, "thinCapacityAllocatedInKb"), 8388608);
	assert_int_equal(int_of(r.json, "netUnusedCapacityInKb"), 64LL << 30);
	assert_non_null(json_object_get(r.json, "snapshotCapacityInKb"));
	assert_non_null(json_object_get(r.json, "userDataReadBwc"));
	client_done(&r);
	r = post(selected, body);
	o = json_object_get(r.json, POOL1);
	assert_int_equal(json_object_size(o), 2);
	assert_int_equal(int_of(o, "thinCapacityAllocatedInKb"), 8388608);
	client_done(&r);
	refused(post(selected, "{\"ids\":[\"" NOBODY "\"],\"properties\":[\"x\"]}"), 500, 171);
	refused(post(selected, "{\"ids\":[\"" POOL1 "\"],\"properties\":[\"x\"]}"), 400, 62);
	refused(post(selected, "{}"), 400, 62);
	r = post("/api/instances/System/action/querySystemLimits", "{}");
	assert_true(json_array_size(json_object_get(r.json, "systemLimitEntryList")) > 5);
	client_done(&r);
	restart("version=2.6", NULL);
	r = call("GET", path, NULL);
	assert_null(json_object_get(r.json, "netUnusedCapacityInKb"));
	assert_int_equal(int_of(r.json, "capacityAvailableForVolumeAllocationInKb"), 64LL << 30);
	assert_non_null(json_object_get(r.json, "thinCapacityAllocatedInKm"));
	client_done(&r);
	refused(post(selected, body), 400, 62);
}

static void wrong_settings_are_refused(void **state)
{
	static const char *const bad[] = { "version=6.0",  "version=x",     "version=3",
					   "system_id=17", "rounding=down", "capacity=1",
					   "sdcs=100000",  "expires_in=0",  "version=4.5x" };

	(void)state;
	stop();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *settings[] = { bad[i], NULL };
		struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .settings = settings };
		struct err err = { "" };

		assert_int_equal(sim_start(&sim_scaleio, &cfg, &fx.sim, &err), -EINVAL);
		assert_int_not_equal(err.text[0], '\0');
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wrong_password_and_no_token_are_401),
		TEST(token_lives_eight_hours_ten_minutes_idle),
		TEST(logout_ends_the_session),
		TEST(sessions_are_128),
		TEST(token_comes_in_three_shapes),
		TEST(expired_session_may_be_403),
		TEST(monitor_may_only_ask),
		TEST(bearer_of_4_expires_and_401_is_html),
		TEST(create_again_is_99_and_lookup_finds_it),
		TEST(sizes_round_up_or_are_refused),
		TEST(names_are_checked),
		TEST(json_numbers_are_no_text),
		TEST(grow_only_grows),
		TEST(remove_wants_it_unmapped_and_once),
		TEST(removal_takes_time),
		TEST(lists_are_whole_and_quick),
		TEST(selected_volumes_are_answered),
		TEST(pools_promise_only_so_much),
		TEST(half_executed_calls_do_a_part),
		TEST(lost_create_is_found_by_its_name),
		TEST(unknown_routes_are_pages),
		TEST(pools_and_domains_are_looked_up),
		TEST(release_1_looks_up_by_name),
		TEST(release_5_has_gigabytes),
		TEST(statistics_by_release),
		TEST(wrong_settings_are_refused),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
