/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts and mappings of the ScaleIO provider, conversation by conversation. */
#include "tests/unit/backends/scaleio_test.h"

#define GUID "2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA"
#define GUID_LOW "2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa"
#define GUID2 "3B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA"
#define NQN "nqn.2014-08.org.nvmexpress:uuid:2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa"

/* --- map ------------------------------------------------------------------- */

#define HOSTS(approved, state2)                                                              \
	"[{\"id\":\"" SDC "\",\"sdcGuid\":\"" GUID                                           \
	"\",\"name\":\"cell-1\",\"sdcApproved\":" approved                                   \
	",\"mdmConnectionState\":\"Connected\"},7,{\"id\":\"" SDC2 "\",\"sdcGuid\":\"" GUID2 \
	"\",\"name\":null,\"sdcApproved\":true,\"mdmConnectionState\":\"" state2 "\"}]"

static const struct provider_host cell = { .sdc_guid = GUID_LOW };
static struct provider_mapping m;

static int map(void)
{
	struct provider_ref r = ref(fx.handle);

	return fx.p->ops->map(fx.p, &r, &cell, &m, &fx.err);
}

static int unmap(void)
{
	struct provider_ref r = ref(fx.handle);

	return fx.p->ops->unmap(fx.p, &r, &cell, &fx.err);
}

/* What is forbidden in any conversation. */
static void never_all_hosts(void)
{
	for (unsigned i = 0; i < fake_http_count(fx.f); i++)
		assert_null(strcasestr(fake_http_seen(fx.f, i)->body, "allSdcs"));
}

static void map_is_exclusive_and_confirmed(void **state)
{
	(void)state;
	basics("3.6");
	always("GET /api/types/Sdc/instances", 200, HOSTS("true", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 200, "{}");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL)); /* not yet to be seen */
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(map(), 0);
	assert_false(m.was_mapped);
	assert_string_equal(m.device, "/dev/disk/by-id/emc-vol-" SYSTEM "-" VOL);
	assert_string_equal(m.source, "");
	assert_true(m.size == SIZE(16));
	assert_string_equal(body_of(ACTION("addMappedSdc"), 0),
			    "{\"sdcId\":\"" SDC "\",\"allowMultipleMappings\":\"FALSE\"}");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(map(), 0);
	assert_true(m.was_mapped);
	/* By a copy of this call, meanwhile. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 500, ERROR(81, "The volume is already mapped to this SDC"));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	assert_int_equal(map(), 0);
	script_is_done();
	never_all_hosts();
}

static void the_holder_is_named(void **state)
{
	(void)state;
	basics("3.6");
	always("GET /api/types/Sdc/instances", 200, HOSTS("true", "Disconnected"));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_2));
	assert_int_equal(map(), -EBUSY);
	assert_string_equal(m.holder, "10.0.0.2");
	assert_string_equal(m.holder_guid, GUID2);
	assert_false(m.holder_connected);
	assert_non_null(strstr(fx.err.text, "10.0.0.2"));
	/* Two at the same time: the array decides. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 500,
	   ERROR(306, "Only a single SDC may be mapped to this volume at a time"));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_2));
	assert_int_equal(map(), -EBUSY);
	assert_string_equal(m.holder_guid, GUID2);
	/* An array that lets both in: ours goes. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 200, "");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1 "," MAPPED_2));
	on(ACTION("removeMappedSdc"), 200, "");
	assert_int_equal(map(), -EBUSY);
	/* The other one has gone before it could be named. */
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 500, ERROR(297, "may not be mapped to additional SDCs"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(map(), -EAGAIN);
	on(BY_ID, 200,
	   keep("{\"id\":\"" VOL
		"\",\"name\":\"%s\",\"sizeInKb\":8388608,\"mappingToAllSdcsEnabled\":true}",
		fx.names.used));
	assert_int_equal(map(), -EBUSY);
	assert_string_equal(m.holder, "all hosts");
	script_is_done();
	never_all_hosts();
}

static void hosts_have_to_be_known_approved_and_connected(void **state)
{
	(void)state;
	on("GET /api/types/System/instances", 200,
	   "[{\"id\":\"" SYSTEM "\",\"restrictedSdcMode\":\"Guid\"}]");
	basics("3.6");
	on("GET /api/types/Sdc/instances", 200, "[]");
	assert_int_equal(map(), -EINVAL);
	assert_non_null(strstr(fx.err.text, GUID_LOW));
	on("GET /api/types/Sdc/instances", 200, HOSTS("false", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(map(), -EACCES);
	on("GET /api/types/Sdc/instances", 200,
	   "[{\"id\":\"" SDC "\",\"sdcGuid\":\"" GUID
	   "\",\"mdmConnectionState\":\"Disconnected\"}]");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(map(), -EAGAIN);
	on("GET /api/types/Sdc/instances", 200, HOSTS("true", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 500, ERROR(322, "The SDC is not approved"));
	assert_int_equal(map(), -EACCES);
	on("GET /api/types/Sdc/instances", 200, HOSTS("true", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 500, ERROR(80, "Could not find the SDC"));
	assert_int_equal(map(), -EINVAL);
	script_is_done();
}

static void limits_come_after_the_mapping_and_undo_it_when_they_fail(void **state)
{
	(void)state;
	json_object_set_new(fx.plan, "iops_limit", json_integer(500));
	json_object_set_new(fx.plan, "bandwidth_limit", json_string("10m"));
	basics("3.6");
	always("GET /api/types/Sdc/instances", 200, HOSTS("true", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedSdc"), 200, "");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("setMappedSdcLimits"), 500, ERROR(64, "Parameter out of range"));
	on(ACTION("removeMappedSdc"), 200, "");
	assert_int_equal(map(), -EINVAL);
	assert_string_equal(body_of(ACTION("setMappedSdcLimits"), 0),
			    "{\"sdcId\":\"" SDC
			    "\",\"iopsLimit\":\"500\",\"bandwidthLimitInKbps\":\"10240\"}");
	/* Who was mapped before stays so. */
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("setMappedSdcLimits"), 500, ERROR(64, "Parameter out of range"));
	assert_int_equal(map(), -EINVAL);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("setMappedSdcLimits"), 200, "");
	assert_int_equal(map(), 0);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1_LIMITED));
	assert_int_equal(map(), 0); /* they hold already */
	script_is_done();
}

static void unmap_succeeds_when_it_is_done_already(void **state)
{
	(void)state;
	basics("3.6");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(unmap(), 0);
	always("GET /api/types/Sdc/instances", 200, HOSTS("true", "Connected"));
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_2));
	assert_int_equal(unmap(), 0);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1 "," MAPPED_2));
	on(ACTION("removeMappedSdc"), 200, "");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1)); /* still to be seen */
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_2));
	assert_int_equal(unmap(), 0);
	assert_string_equal(body_of(ACTION("removeMappedSdc"), 0), "{\"sdcId\":\"" SDC "\"}");
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("removeMappedSdc"), 500, ERROR(84, "The volume is not mapped to SDC"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(unmap(), 0);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("removeMappedSdc"), 500, NOT_FOUND);
	on(BY_ID, 500, NOT_FOUND);
	assert_int_equal(unmap(), 0);
	on(BY_ID, 200, volume(fx.names.used, 16, MAPPED_1));
	on(ACTION("removeMappedSdc"), 500, ERROR(90, "Invalid SDC ID"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(unmap(), 0);
	on(BY_ID, 500, NOT_FOUND);
	always(LOOK_UP, 500, NOT_FOUND);
	assert_int_equal(unmap(), 0);
	script_is_done();
	never_all_hosts();
}

static void nvme_hosts_are_known_by_nqn(void **state)
{
	const struct provider_host nvme = { .nqn = NQN };
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("4.5");
	always("POST /rest/auth/login", 404, "");
	always("GET /api/types/Host/instances", 200, "[{\"id\":\"" SDC2 "\",\"nqn\":\"" NQN "\"}]");
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	on(ACTION("addMappedHost"), 200, "");
	on(BY_ID, 200,
	   volume(fx.names.used, 16,
		  "{\"sdcId\":\"" SDC2 "\",\"hostType\":\"NVMeHost\",\"nqn\":\"" NQN "\"}"));
	assert_int_equal(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err), 0);
	assert_string_equal(m.device, "/dev/disk/by-id/nvme-eui." VOL "64b94e"
				      "3a7b91f20f");
	assert_string_equal(body_of(ACTION("addMappedHost"), 0),
			    "{\"hostId\":\"" SDC2 "\",\"allowMultipleMappings\":\"FALSE\"}");
	on(BY_ID, 200, volume(fx.names.used, 16, "{\"sdcId\":\"" SDC2 "\",\"nqn\":\"" NQN "\"}"));
	on(ACTION("removeMappedHost"), 500, ERROR(4039, "not mapped"));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(fx.p->ops->unmap(fx.p, &r, &nvme, &fx.err), 0);
	json_object_set_new(fx.plan, "iops_limit", json_integer(500));
	on(BY_ID, 200, volume(fx.names.used, 16, NULL));
	assert_int_equal(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err), -EINVAL);
	script_is_done();
}

static void old_releases_have_no_nvme_hosts(void **state)
{
	const struct provider_host nvme = { .nqn = NQN }, nobody = { .address = "10.0.0.1" };
	struct provider_ref r = ref(fx.handle);

	(void)state;
	basics("3.6");
	assert_int_equal(fx.p->ops->map(fx.p, &r, &nvme, &m, &fx.err), -EOPNOTSUPP);
	assert_int_equal(fx.p->ops->map(fx.p, &r, &nobody, &m, &fx.err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(map_is_exclusive_and_confirmed),
		TEST(the_holder_is_named),
		TEST(hosts_have_to_be_known_approved_and_connected),
		TEST(limits_come_after_the_mapping_and_undo_it_when_they_fail),
		TEST(unmap_succeeds_when_it_is_done_already),
		TEST(nvme_hosts_are_known_by_nqn),
		TEST(old_releases_have_no_nvme_hosts),
	};

	return cmocka_run_group_tests_name("scaleio mappings", tests, NULL, NULL);
}
