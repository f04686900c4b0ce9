/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tools/sim_scaleio.h"

/* --- mappings -------------------------------------------------------------- */

static void maps_are_told_and_repeated(void **state)
{
	const json_t *maps, *m;
	char sdc[20], path[96];
	id_text id;
	json_t *v;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	refused(map_guid(id, "2b7e1c90-4d55-4e0b-9a61-000000000001", "FALSE"), 500, 81);
	refused(map_guid(id, GUID2, "FALSE"), 500, 306);
	v = get_json("Volume", id);
	maps = json_object_get(v, "mappedSdcInfo");
	assert_int_equal(json_array_size(maps), 1);
	m = json_array_get(maps, 0);
	assert_string_equal(text_of(m, "sdcName"), "diego-cell-1");
	assert_string_equal(text_of(m, "accessMode"), "ReadWrite");
	assert_int_equal(int_of(m, "limitIops"), 0);
	snprintf(sdc, sizeof sdc, "%s", text_of(m, "sdcId"));
	json_decref(v);
	snprintf(path, sizeof path, "/api/instances/Sdc::%s/relationships/Volume", sdc);
	assert_int_equal(count(path), 1);
	succeeds(map_guid(id, GUID2, "TRUE"));
	succeeds(unmap_guid(id, GUID1));
	refused(unmap_guid(id, GUID1), 500, 84);
	assert_int_equal(count(path), 0);
	succeeds(unmap_guid(id, GUID2));
	refused(unmap_guid(id, NOBODY), 500, 80);
	refused(map_guid(id, NOBODY, "FALSE"), 500, 80);
	refused(map_guid(NOBODY, GUID1, "FALSE"), 500, 79);
	refused(act(id, "addMappedSdc", "{}"), 400, 0);
	refused(act(id, "addMappedSdc", "{\"sdcId\":\"" NOBODY "\",\"guid\":\"" GUID1 "\"}"), 400,
		62);
	refused(act(id, "addMappedSdc", "{\"sdcId\":\"17\"}"), 400, 0);
	refused(act(id, "addMappedSdc", "{\"guid\":\"" GUID1 "\",\"allowMultipleMappings\":true}"),
		400, 62);
}

static void second_host_of_2_is_297(void **state)
{
	id_text id;

	(void)state;
	restart("version=2.6", NULL);
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	refused(map_guid(id, GUID2, "FALSE"), 500, 297);
	page(act(id, "setVolumeAccessModeLimit", "{}"), 404);
}

/* The field means all hosts, whatever it holds. */
static void all_sdcs_unmaps_everybody(void **state)
{
	id_text id;
	json_t *v;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	succeeds(map_guid(id, GUID2, "TRUE"));
	succeeds(act(id, "removeMappedSdc", "{\"allSdcs\":\"e1f20d4400000001\"}"));
	v = get_json("Volume", id);
	assert_true(json_is_null(json_object_get(v, "mappedSdcInfo")));
	json_decref(v);
	succeeds(act(id, "addMappedSdc", "{\"allSdcs\":\"TRUE\"}"));
	refused(map_guid(id, GUID1, "TRUE"), 500, 82);
	refused(unmap_guid(id, GUID1), 500, 86);
	refused(act(id, "addMappedSdc", "{\"allSdcs\":\"TRUE\"}"), 500, 82);
	refused(remove_volume(id, "ONLY_ME"), 500, 104);
	v = get_json("Volume", id);
	assert_true(json_is_true(json_object_get(v, "mappingToAllSdcsEnabled")));
	json_decref(v);
}

static void limits_of_a_mapping(void **state)
{
	const json_t *m;
	id_text id;
	json_t *v;

	(void)state;
	make("a", id);
	refused(act(id, "setMappedSdcLimits", "{\"guid\":\"" GUID1 "\",\"iopsLimit\":\"500\"}"),
		500, 84);
	succeeds(map_guid(id, GUID1, "FALSE"));
	succeeds(act(id, "setMappedSdcLimits",
		     "{\"guid\":\"" GUID1
		     "\",\"iopsLimit\":\"500\",\"bandwidthLimitInKbps\":\"10240\"}"));
	v = get_json("Volume", id);
	m = json_array_get(json_object_get(v, "mappedSdcInfo"), 0);
	assert_int_equal(int_of(m, "limitIops"), 500);
	assert_int_equal(int_of(m, "limitBwInMbps"), 10);
	json_decref(v);
	refused(act(id, "setMappedSdcLimits", "{\"guid\":\"" GUID1 "\",\"iopsLimit\":\"10\"}"), 500,
		64);
	refused(act(id, "setMappedSdcLimits",
		    "{\"guid\":\"" GUID1 "\",\"bandwidthLimitInKbps\":\"1000\"}"),
		500, 64);
	refused(act(id, "setMappedSdcLimits", "{\"guid\":\"" GUID1 "\",\"iopsLimit\":500}"), 400,
		62);
	succeeds(act(id, "setVolumeMappingAccessMode",
		     "{\"guid\":\"" GUID1 "\",\"accessMode\":\"ReadOnly\"}"));
	succeeds(act(id, "setVolumeAccessModeLimit", "{\"accessModeLimit\":\"ReadOnly\"}"));
	v = get_json("Volume", id);
	m = json_array_get(json_object_get(v, "mappedSdcInfo"), 0);
	assert_string_equal(text_of(m, "accessMode"), "ReadOnly");
	assert_string_equal(text_of(v, "accessModeLimit"), "ReadOnly");
	json_decref(v);
}

static void restricted_hosts_have_to_be_approved(void **state)
{
	id_text id;

	(void)state;
	restart("restricted", NULL);
	make("a", id);
	refused(map_guid(id, GUID1, "FALSE"), 500, 322);
	refused(post("/api/instances/System/action/approveSdc", "{\"sdcGuid\":\"" NOBODY "\"}"),
		500, 80);
	succeeds(post("/api/instances/System::" SYSTEM "/action/approveSdc",
		      "{\"sdcGuid\":\"" GUID1 "\"}"));
	succeeds(map_guid(id, GUID1, "FALSE"));
}

static void hosts_come_go_and_are_renamed(void **state)
{
	static const char guid[] = "AAAAAAAA-0000-0000-0000-00000000000A";
	id_text sdc, id, found;
	char path[96];
	json_t *o;

	(void)state;
	assert_int_equal(count("/api/types/Sdc/instances"), 2);
	take_id(post("/_sim/scaleio/sdc",
		     "{\"guid\":\"AAAAAAAA-0000-0000-0000-00000000000A\",\"name\":\"cell-9\","
		     "\"ip\":\"10.1.1.9\",\"state\":\"Connected\",\"approved\":true}"),
		sdc);
	assert_int_equal(count("/api/instances/System::" SYSTEM "/relationships/Sdc"), 3);
	take_id(post("/api/types/Sdc/instances/action/queryIdByKey", "{\"ip\":\"10.1.1.9\"}"),
		found);
	assert_string_equal(found, sdc);
	take_id(post("/_sim/scaleio/sdc", "{\"guid\":\"AAAAAAAA-0000-0000-0000-00000000000A\","
					  "\"state\":\"Disconnected\"}"),
		found);
	assert_string_equal(found, sdc);
	o = get_json("Sdc", sdc);
	assert_string_equal(text_of(o, "mdmConnectionState"), "Disconnected");
	assert_string_equal(text_of(o, "name"), "cell-9");
	assert_string_equal(text_of(o, "sdcGuid"), guid);
	json_decref(o);
	snprintf(path, sizeof path, "/api/instances/Sdc::%s/action/setSdcName", sdc);
	succeeds(post(path, "{\"sdcName\":\"renamed\"}"));
	refused(post(path, "{\"sdcName\":\"diego-cell-1\"}"), 500, 7);
	succeeds(post("/_sim/scaleio/sdc",
		      "{\"guid\":\"BBBBBBBB-0000-0000-0000-00000000000B\",\"ip\":\"10.1.1.9\"}"));
	refused(post("/api/types/Sdc/instances/action/queryIdByKey", "{\"ip\":\"10.1.1.9\"}"), 500,
		101);
	make("a", id);
	succeeds(map_guid(id, guid, "FALSE"));
	succeeds(post("/_sim/scaleio/sdc", "{\"guid\":\"AAAAAAAA-0000-0000-0000-00000000000A\","
					   "\"remove\":true}"));
	refused(unmap_guid(id, guid), 500, 80);
	succeeds(remove_volume(id, "ONLY_ME"));
	refused(post("/_sim/scaleio/sdc", "{\"guid\":\"../../../../etc\"}"), 400, 0);
	refused(post("/_sim/scaleio/sdc", "{\"guid\":\"" GUID1 "\",\"name\":\"a name that is much "
					  "longer than thirty-one\"}"),
		400, 64);
}

static void nvme_hosts_of_4_map_by_nqn(void **state)
{
	static const char nqn[] = "{\"nqn\":\"nqn.2014-08.org.nvmexpress:uuid:1\"}";
	const json_t *m;
	id_text host, id;
	char body[64];
	json_t *v;

	(void)state;
	page(call("GET", "/api/types/Host/instances", NULL), 404);
	restart("version=4.5", NULL);
	assert_int_equal(count("/api/types/Host/instances"), 0);
	refused(post("/api/types/Host/instances", "{\"name\":\"h\"}"), 400, 0);
	refused(post("/api/types/Host/instances", "{\"nqn\":\"x\"}"), 500, 64);
	take_id(post("/api/types/Host/instances",
		     "{\"name\":\"h\",\"nqn\":\"nqn.2014-08.org.nvmexpress:uuid:1\","
		     "\"maxNumPaths\":\"4\"}"),
		host);
	refused(post("/api/types/Host/instances", nqn), 500, 7);
	make("a", id);
	succeeds(act(id, "addMappedHost", nqn));
	snprintf(body, sizeof body, "{\"hostId\":\"%s\"}", host);
	refused(act(id, "addMappedHost", body), 500, 4037);
	v = get_json("Volume", id);
	m = json_array_get(json_object_get(v, "mappedSdcInfo"), 0);
	assert_string_equal(text_of(m, "hostType"), "NVMeHost");
	assert_string_equal(text_of(m, "nqn"), "nqn.2014-08.org.nvmexpress:uuid:1");
	assert_int_not_equal(int_of(v, "nsid"), 0);
	json_decref(v);
	snprintf(body, sizeof body, "{\"sdcId\":\"%s\",\"iopsLimit\":\"100\"}", host);
	refused(act(id, "setMappedSdcLimits", body), 500, 62);
	succeeds(act(id, "removeMappedHost", nqn));
	refused(act(id, "removeMappedHost", nqn), 500, 4039);
	snprintf(body, sizeof body, "{\"sdcId\":\"%s\"}", host);
	succeeds(act(id, "addMappedSdc", body));
	succeeds(act(id, "removeMappedSdc", body));
	refused(act(id, "addMappedHost", "{\"hostId\":\"" NOBODY "\"}"), 500, 91);
	assert_int_equal(count("/api/types/Host/instances"), 1);
	assert_int_equal(count("/api/types/Sdc/instances"), 3);
	assert_int_equal(count("/api/types/Sdt/instances"), 2);
	v = get_json("System", SYSTEM);
	assert_string_equal(text_of(v, "systemNqn"), "nqn.1988-11.com.dell:powerflex:00:" SYSTEM);
	json_decref(v);
}

/* --- snapshots ------------------------------------------------------------- */

static void snapshot_is_a_volume_of_the_tree(void **state)
{
	id_text a, b, snap, group, clone, other;
	json_t *v, *s;

	(void)state;
	make("a", a);
	make("b", b);
	take_snapshot(a, "s", snap, group);
	v = get_json("Volume", a);
	s = get_json("Volume", snap);
	assert_string_equal(text_of(s, "volumeType"), "Snapshot");
	assert_string_equal(text_of(s, "ancestorVolumeId"), a);
	assert_string_equal(text_of(s, "vtreeId"), text_of(v, "vtreeId"));
	assert_string_equal(text_of(s, "consistencyGroupId"), group);
	json_decref(v);
	json_decref(s);
	refused(snapshot(a, "s"), 500, 99);
	refused(snapshot(NOBODY, "t"), 500, 79);
	refused(post("/api/instances/System/action/snapshotVolumes", "{\"snapshotDefs\":[]}"), 400,
		62);
	take_snapshot(snap, "clone", clone, other);
	succeeds(remove_volume(snap, "ONLY_ME"));
	s = get_json("Volume", clone);
	assert_string_equal(text_of(s, "ancestorVolumeId"), a);
	json_decref(s);
	refused(act(b, "overwriteVolumeContent", "{\"srcVolumeId\":\"" NOBODY "\"}"), 500, 79);
	succeeds(remove_volume(a, "ONLY_ME"));
	s = get_json("Volume", clone);
	assert_true(json_is_null(json_object_get(s, "ancestorVolumeId")));
	json_decref(s);
	assert_int_equal(count(CREATE), 2);
}

static void remove_modes_take_what_they_say(void **state)
{
	id_text a, s1, s2, group;

	(void)state;
	make("a", a);
	refused(remove_volume(a, "DESCENDANTS_ONLY"), 500, 183);
	take_snapshot(a, "s1", s1, group);
	take_snapshot(s1, "s2", s2, group);
	succeeds(map_guid(s2, GUID1, "FALSE"));
	refused(remove_volume(a, "DESCENDANTS_ONLY"), 500, 104);
	assert_int_equal(count(CREATE), 3);
	succeeds(unmap_guid(s2, GUID1));
	succeeds(remove_volume(s1, "INCLUDING_DESCENDANTS"));
	assert_int_equal(count(CREATE), 1);
	take_snapshot(a, "s1", s1, group);
	succeeds(remove_volume(s1, "WHOLE_VTREE"));
	assert_int_equal(count(CREATE), 0);
}

static void tree_holds_126_snapshots(void **state)
{
	id_text a, s, group;
	struct reply r;
	const json_t *d;
	char name[16];

	(void)state;
	make("a", a);
	for (int i = 0; i < 126; i++) {
		snprintf(name, sizeof name, "s%d", i);
		take_snapshot(a, name, s, group);
	}
	r = snapshot(a, "more");
	assert_int_equal(r.status, 500);
	assert_string_equal(text_of(r.json, "message"), "Error with details");
	assert_int_equal(int_of(r.json, "errorCode"), 0);
	d = json_array_get(json_object_get(r.json, "details"), 0);
	assert_int_equal(int_of(d, "rc"), 182);
	assert_string_equal(text_of(d, "error"), "TOO_MANY_SNAPS_IN_VTREE");
	client_done(&r);
}

static void group_goes_as_a_whole(void **state)
{
	id_text a, b;
	char body[256], group[64];
	struct reply r;

	(void)state;
	make("a", a);
	make("b", b);
	snprintf(body, sizeof body,
		 "{\"snapshotDefs\":[{\"volumeId\":\"%s\",\"snapshotName\":\"x\"},"
		 "{\"volumeId\":\"%s\",\"snapshotName\":\"x\"}]}",
		 a, b);
	refused(post("/api/instances/System/action/snapshotVolumes", body), 500, 99);
	snprintf(body, sizeof body,
		 "{\"snapshotDefs\":[{\"volumeId\":\"%s\"},{\"volumeId\":\"%s\"}],"
		 "\"accessModeLimit\":\"ReadOnly\"}",
		 a, b);
	r = post("/api/instances/System/action/snapshotVolumes", body);
	assert_int_equal(json_array_size(json_object_get(r.json, "volumeIdList")), 2);
	snprintf(group, sizeof group, "{\"snapGroupId\":\"%s\"}",
		 text_of(r.json, "snapshotGroupId"));
	client_done(&r);
	assert_int_equal(count(CREATE), 4);
	r = post("/api/instances/System::" SYSTEM "/action/removeConsistencyGroupSnapshots", group);
	assert_int_equal(int_of(r.json, "numberOfVolumes"), 2);
	client_done(&r);
	assert_int_equal(count(CREATE), 2);
	refused(post("/api/instances/System/action/removeConsistencyGroupSnapshots", group), 500,
		185);
	refused(post("/api/instances/System/action/removeConsistencyGroupSnapshots",
		     "{\"snapGroupId\":\"0000000000000000\"}"),
		500, 185);
	assert_int_equal(count(CREATE), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(maps_are_told_and_repeated),
		TEST(second_host_of_2_is_297),
		TEST(all_sdcs_unmaps_everybody),
		TEST(limits_of_a_mapping),
		TEST(restricted_hosts_have_to_be_approved),
		TEST(hosts_come_go_and_are_renamed),
		TEST(nvme_hosts_of_4_map_by_nqn),
		TEST(snapshot_is_a_volume_of_the_tree),
		TEST(remove_modes_take_what_they_say),
		TEST(tree_holds_126_snapshots),
		TEST(group_goes_as_a_whole),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
