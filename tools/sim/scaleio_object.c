/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_object.c - the gateway's objects as JSON. One row a type: how many there may be, which of them
 * are there, the JSON of one, and to which parent it belongs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define CODE_TYPE_NOT_FOUND 3

const char *const sio_access_names[] = { "ReadWrite", "ReadOnly", "NoAccess", NULL };
const char *const sio_domains[SIO_DOMAINS] = { "pd1", "pd2", "pd-ec" };
const struct sio_pool sio_pools[SIO_POOLS] = {
	{ .name = "pool1", .domain = 0, .zero_padding = true },
	{ .name = "nozero", .domain = 0 },
	{ .name = "pool1", .domain = 1, .zero_padding = true },
	{ .name = "fine", .domain = 1, .since = 300, .zero_padding = true, .fine = true },
	{ .name = "ec1", .domain = 2, .since = 500, .zero_padding = true, .ec = true },
};

bool sio_domain_exists(const struct scaleio *s, unsigned domain)
{
	return domain < SIO_DOMAINS && (domain < SIO_DOMAINS - 1 || s->version >= 500);
}

bool sio_pool_exists(const struct scaleio *s, unsigned pool)
{
	return pool < SIO_POOLS && s->version >= sio_pools[pool].since;
}

struct sio_volume *sio_find_volume(struct scaleio *s, uint64_t id)
{
	size_t low = 0, high = s->nvolumes;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->volumes[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->nvolumes && s->volumes[low]->id == id ? s->volumes[low] : NULL;
}

struct sio_volume *sio_find_name(struct scaleio *s, const char *name)
{
	for (size_t i = 0; i < s->nvolumes; i++)
		if (!strcmp(s->volumes[i]->name, name))
			return s->volumes[i];
	return NULL;
}

struct sio_sdc *sio_find_sdc(struct scaleio *s, uint64_t id)
{
	for (size_t i = 0; i < s->nsdcs; i++)
		if (s->sdcs[i].id == id)
			return &s->sdcs[i];
	return NULL;
}

/* --- links ----------------------------------------------------------------- */

static json_t *links_of(const char *type, uint64_t id)
{
	char href[96];

	snprintf(href, sizeof href, "/api/instances/%s::%016" PRIx64, type, id);
	return json_pack("[{s:s, s:s}]", "rel", "self", "href", href);
}

static void add_relation(json_t *o, const char *type, uint64_t id, const char *relation)
{
	char rel[96], href[160];

	snprintf(rel, sizeof rel, "/api/%s/relationship/%s", type, relation);
	snprintf(href, sizeof href, "/api/instances/%s::%016" PRIx64 "/relationships/%s", type, id,
		 relation);
	json_array_append_new(json_object_get(o, "links"),
			      json_pack("{s:s, s:s}", "rel", rel, "href", href));
}

static void add_parent(json_t *o, const char *key, const char *type, uint64_t id)
{
	char rel[96], href[96];

	snprintf(rel, sizeof rel, "/api/parent/relationship/%s", key);
	snprintf(href, sizeof href, "/api/instances/%s::%016" PRIx64, type, id);
	json_array_append_new(json_object_get(o, "links"),
			      json_pack("{s:s, s:s}", "rel", rel, "href", href));
}

/* --- objects --------------------------------------------------------------- */

static uint64_t id_at(uint64_t high, size_t i)
{
	return high << 32 | i;
}

static json_t *of_system(struct scaleio *s, size_t i)
{
	unsigned major = s->version / 100, minor = s->version % 100;
	char version[64], release[32], nqn[96];
	json_t *o;

	(void)i;
	snprintf(release, sizeof release, "R%u_%u.700.103", major, minor);
	snprintf(version, sizeof version, "DellEMC %s Version: %s",
		 major >= 4 ? "PowerFlex" : "ScaleIO", release);
	o = json_pack("{s:o, s:o, s:s, s:s, s:s, s:{s:s, s:s, s:n, s:i, s:[]}, s:i, s:b, s:s, s:s, "
		      "s:s, s:s, s:i, s:i, s:o}",
		      "id", sio_id_text(s->system), "name",
		      sio_text_or_null(s->opt->system_name ? s->opt->system_name : ""), "installId",
		      "1f3c5a7b9d0e2468", "swid", "", "systemVersionName", version, "mdmCluster",
		      "clusterState", "ClusteredNormal", "clusterMode", "ThreeNodes", "name",
		      "goodNodesNum", 3, "slaves", "mdmManagementPort", major >= 4 ? 8611 : 6611,
		      "restrictedSdcModeEnabled", (int)s->opt->restricted, "restrictedSdcMode",
		      s->opt->restricted ? "Guid" : "None", "perfProfile", "HighPerformance",
		      "maxCapacityInGb", "Unlimited", "tlsVersion", "TLSv1.2",
		      "capacityAlertHighThresholdPercent", 80,
		      "capacityAlertCriticalThresholdPercent", 90, "links",
		      links_of("System", s->system));
	if (major >= 4) {
		snprintf(nqn, sizeof nqn, "nqn.1988-11.com.dell:powerflex:00:%016" PRIx64,
			 s->system);
		json_object_set_new(o, "systemNqn", json_string(nqn));
	}
	add_relation(o, "System", s->system, "Statistics");
	return o;
}

static json_t *of_domain(struct scaleio *s, size_t i)
{
	uint64_t id = id_at(SIO_HIGH_DOMAIN, i);
	json_t *o;

	if (!sio_domain_exists(s, (unsigned)i))
		return NULL;
	o = json_pack("{s:o, s:s, s:o, s:s, s:n, s:o}", "id", sio_id_text(id), "name",
		      sio_domains[i], "systemId", sio_id_text(s->system), "protectionDomainState",
		      "Active", "rebuildNetworkThrottlingInKbps", "links",
		      links_of("ProtectionDomain", id));
	if (s->version >= 500)
		json_object_set_new(o, "genType",
				    json_string(i == SIO_DOMAINS - 1 ? "EC" : "Mirroring"));
	add_parent(o, "systemId", "System", s->system);
	return o;
}

static json_t *of_pool(struct scaleio *s, size_t i)
{
	const struct sio_pool *p = &sio_pools[i];
	uint64_t id = id_at(SIO_HIGH_POOL, i), domain = id_at(SIO_HIGH_DOMAIN, p->domain);
	json_t *o;

	if (!sio_pool_exists(s, (unsigned)i))
		return NULL;
	o = json_pack("{s:o, s:s, s:o, s:b, s:i, s:s, s:b, s:b, s:i, s:i, s:n, s:o}", "id",
		      sio_id_text(id), "name", p->name, "protectionDomainId", sio_id_text(domain),
		      "zeroPaddingEnabled", (int)p->zero_padding, "sparePercentage", 10,
		      "mediaType", "SSD", "useRmcache", 0, "checksumEnabled", 0,
		      "capacityAlertHighThreshold", 80, "capacityAlertCriticalThreshold", 90,
		      "externalAccelerationType", "links", links_of("StoragePool", id));
	if (s->version >= 300) {
		json_object_set_new(o, "dataLayout",
				    json_string(p->fine ? "FineGranularity" : "MediumGranularity"));
		if (!p->ec)
			json_object_set_new(o, "compressionMethod",
					    json_string(p->fine ? "Normal" : "None"));
	}
	add_relation(o, "StoragePool", id, "Statistics");
	add_relation(o, "StoragePool", id, "Volume");
	add_parent(o, "protectionDomainId", "ProtectionDomain", domain);
	return o;
}

static json_t *of_mapping(struct scaleio *s, const struct sio_map *m)
{
	const struct sio_sdc *h = sio_find_sdc(s, m->sdc);
	json_t *o;

	if (!h)
		return NULL;
	o = json_pack("{s:o, s:o, s:o, s:I, s:I}", "sdcId", sio_id_text(m->sdc), "sdcIp",
		      sio_text_or_null(h->ip), "sdcName", sio_text_or_null(h->name), "limitIops",
		      (json_int_t)m->iops, "limitBwInMbps", (json_int_t)(m->kbps / 1024));
	if (s->version >= 300) {
		json_object_set_new(o, "accessMode", json_string(sio_access_names[m->access]));
		json_object_set_new(o, "isDirectBufferMapping", json_false());
	}
	if (s->version >= 400) {
		json_object_set_new(o, "hostType", json_string(h->nvme ? "NVMeHost" : "SdcHost"));
		json_object_set_new(o, "nqn", sio_text_or_null(h->nqn));
	}
	return o;
}

static json_t *of_mappings(struct scaleio *s, const struct sio_volume *v)
{
	json_t *all;

	if (!v->nmaps)
		return json_null();
	all = json_array();
	for (size_t i = 0; i < v->nmaps; i++)
		json_array_append_new(all, of_mapping(s, &v->maps[i]));
	return all;
}

/* What clients have to step over. */
static int add_ballast(json_t *o)
{
	json_t *more = json_pack(
		"{s:b, s:b, s:i, s:s, s:b, s:b, s:b, s:n, s:n, s:n, s:s, s:b, s:i, s:b, s:i, s:[], "
		"s:n, s:{s:n, s:[i]}}",
		"isVvol", 0, "isObfuscated", 0, "secureSnapshotExpTime", 0, "managedBy", "ScaleIO",
		"notGenuineSnapshot", 0, "lockedAutoSnapshot", 0,
		"lockedAutoSnapshotMarkedForRemoval", 0, "autoSnapshotGroupId",
		"snplIdOfAutoSnapshot", "snplIdOfSourceVolume", "volumeReplicationState",
		"UnmarkedForReplication", "replicationJournalVolume", 0, "replicationTimeStamp", 0,
		"timeStampIsAccurate", 0, "originalExpiryTime", 0, "retentionLevels", "pairIds",
		"fieldOfALaterRelease", "nothing", "numbers", 1);
	int rc = json_object_update(o, more);

	json_decref(more);
	return rc;
}

static json_t *id_or_null(uint64_t id)
{
	return id ? sio_id_text(id) : json_null();
}

static json_t *of_one_volume(struct scaleio *s, const struct sio_volume *v)
{
	const struct sio_pool *p = &sio_pools[v->pool];
	uint64_t pool = id_at(SIO_HIGH_POOL, v->pool);
	json_t *o = json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:s, s:I, s:o, s:b, s:b, s:o, s:o}",
			      "id", sio_id_text(v->id), "name", sio_text_or_null(v->name),
			      "sizeInKb", (json_int_t)v->kib, "storagePoolId", sio_id_text(pool),
			      "vtreeId", sio_id_text(v->vtree), "ancestorVolumeId",
			      id_or_null(v->ancestor), "volumeType",
			      v->snapshot ? "Snapshot" :
			      v->thin     ? "ThinProvisioned" :
					    "ThickProvisioned",
			      "creationTime", (json_int_t)v->created, "mappedSdcInfo",
			      of_mappings(s, v), "mappingToAllSdcsEnabled", (int)v->all_sdcs,
			      "useRmcache", 0, "consistencyGroupId", id_or_null(v->group), "links",
			      links_of("Volume", v->id));

	if (s->version >= 300) {
		json_object_set_new(o, "dataLayout",
				    json_string(p->fine ? "FineGranularity" : "MediumGranularity"));
		json_object_set_new(o, "accessModeLimit", json_string(sio_access_names[v->limit]));
		if (!p->ec)
			json_object_set_new(o, "compressionMethod",
					    json_string(!p->fine      ? "Invalid" :
							v->compressed ? "Normal" :
									"None"));
	}
	if (s->version >= 400) {
		json_object_set_new(o, "volumeClass",
				    json_string(*v->class ? v->class : "defaultclass"));
		json_object_set_new(o, "nsid", json_integer((json_int_t)(v->id & UINT32_MAX) + 1));
	}
	add_relation(o, "Volume", v->id, "Statistics");
	add_parent(o, "vtreeId", "VTree", v->vtree);
	add_parent(o, "storagePoolId", "StoragePool", pool);
	add_ballast(o);
	return o;
}

static json_t *of_volume(struct scaleio *s, size_t i)
{
	return of_one_volume(s, s->volumes[i]);
}

/* A tree is told by its oldest volume. */
static json_t *of_vtree(struct scaleio *s, size_t i)
{
	const struct sio_volume *v = s->volumes[i];

	for (size_t j = 0; j < i; j++)
		if (s->volumes[j]->vtree == v->vtree)
			return NULL;
	return json_pack("{s:o, s:n, s:o, s:o, s:o}", "id", sio_id_text(v->vtree), "name",
			 "storagePoolId", sio_id_text(id_at(SIO_HIGH_POOL, v->pool)),
			 "baseVolumeId", sio_id_text(v->id), "links", links_of("VTree", v->vtree));
}

static json_t *of_sdc(struct scaleio *s, size_t i)
{
	const struct sio_sdc *h = &s->sdcs[i];
	char release[32];
	json_t *o;

	snprintf(release, sizeof release, "R%u_%u.700.103", s->version / 100, s->version % 100);
	o = json_pack("{s:o, s:o, s:o, s:o, s:b, s:n, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id",
		      sio_id_text(h->id), "name", sio_text_or_null(h->name), "sdcGuid",
		      sio_text_or_null(h->guid), "sdcIp", sio_text_or_null(h->ip), "sdcApproved",
		      (int)h->approved, "sdcApprovedIps", "mdmConnectionState",
		      h->connected ? "Connected" : "Disconnected", "osType", "Linux", "perfProfile",
		      "HighPerformance", "softwareVersionInfo", release, "versionInfo", release,
		      "systemId", sio_id_text(s->system), "links",
		      links_of(h->nvme ? "Host" : "Sdc", h->id));
	json_object_set_new(o, "sdcIps", *h->ip ? json_pack("[s]", h->ip) : json_array());
	if (s->version >= 400) {
		json_object_set_new(o, "sdcType", json_string("AppSdc"));
		json_object_set_new(o, "hostType", json_string(h->nvme ? "NVMeHost" : "SdcHost"));
		json_object_set_new(o, "nqn", sio_text_or_null(h->nqn));
	}
	add_relation(o, "Sdc", h->id, "Volume");
	return o;
}

static json_t *of_host(struct scaleio *s, size_t i)
{
	json_t *o;

	if (!s->sdcs[i].nvme)
		return NULL;
	o = of_sdc(s, i);
	json_object_set_new(o, "maxNumPaths", json_integer((json_int_t)s->sdcs[i].paths));
	json_object_set_new(o, "maxNumSysPorts", json_integer((json_int_t)s->sdcs[i].ports));
	return o;
}

static json_t *of_sdt(struct scaleio *s, size_t i)
{
	uint64_t id = id_at(SIO_HIGH_SDT, i);
	char name[16], ip[32];

	snprintf(name, sizeof name, "sdt-%zu", i + 1);
	snprintf(ip, sizeof ip, "10.20.0.%zu", 61 + i);
	return json_pack("{s:o, s:s, s:s, s:o, s:o, s:i, s:i, s:i, s:[{s:s, s:s}], s:s, s:s, s:s, "
			 "s:s, s:o}",
			 "id", sio_id_text(id), "name", name, "sdtState", "Normal", "systemId",
			 sio_id_text(s->system), "protectionDomainId",
			 sio_id_text(id_at(SIO_HIGH_DOMAIN, 0)), "nvmePort", 4420, "discoveryPort",
			 8009, "storagePort", 12200, "ipList", "ip", ip, "role", "StorageAndHost",
			 "mdmConnectionState", "Connected", "membershipState", "Joined",
			 "maintenanceState", "NoMaintenance", "softwareVersionInfo",
			 "R4_5.2100.103", "links", links_of("Sdt", id));
}

static json_t *of_sds(struct scaleio *s, size_t i)
{
	uint64_t id = id_at(SIO_HIGH_SDS, i);
	char name[16], ip[32];

	(void)s;
	snprintf(name, sizeof name, "sds-%zu", i + 1);
	snprintf(ip, sizeof ip, "10.20.0.%zu", 41 + i);
	return json_pack("{s:o, s:s, s:o, s:s, s:[{s:s, s:s}], s:s, s:s, s:o}", "id",
			 sio_id_text(id), "name", name, "protectionDomainId",
			 sio_id_text(id_at(SIO_HIGH_DOMAIN, i / 3)), "sdsState", "Normal", "ipList",
			 "ip", ip, "role", "all", "mdmConnectionState", "Connected",
			 "membershipState", "Joined", "links", links_of("Sds", id));
}

static json_t *of_user(struct scaleio *s, size_t i)
{
	(void)i;
	return json_pack("{s:s, s:s, s:s, s:o, s:[]}", "id", "a1b2c3d400000000", "name",
			 sim_settings(s->sim)->user, "userRole",
			 s->opt->role == SIO_ROLE_ADMIN ? "Administrator" : "Monitor", "systemId",
			 sio_id_text(s->system), "links");
}

/* --- types ----------------------------------------------------------------- */

static size_t count_one(const struct scaleio *s)
{
	(void)s;
	return 1;
}

static size_t count_none(const struct scaleio *s)
{
	(void)s;
	return 0;
}

static size_t count_domains(const struct scaleio *s)
{
	(void)s;
	return SIO_DOMAINS;
}

static size_t count_pools(const struct scaleio *s)
{
	(void)s;
	return SIO_POOLS;
}

static size_t count_volumes(const struct scaleio *s)
{
	return s->nvolumes;
}

static size_t count_sdcs(const struct scaleio *s)
{
	return s->nsdcs;
}

static size_t count_sdts(const struct scaleio *s)
{
	(void)s;
	return 2;
}

static size_t count_sdss(const struct scaleio *s)
{
	(void)s;
	return 6;
}

static const struct type {
	const char *name;
	unsigned since, until; /* versions; until 0: still */
	unsigned code;         /* of one that is not there */
	size_t (*count)(const struct scaleio *s);
	json_t *(*of)(struct scaleio *s, size_t i); /* NULL: not this one */
} types[] = {
	{ "System", 0, 0, CODE_TYPE_NOT_FOUND, count_one, of_system },
	{ "ProtectionDomain", 0, 0, 142, count_domains, of_domain },
	{ "Domain", 0, 200, 142, count_domains, of_domain },
	{ "StoragePool", 0, 0, 171, count_pools, of_pool },
	{ "Pool", 0, 200, 171, count_pools, of_pool },
	{ "Volume", 0, 0, 79, count_volumes, of_volume },
	{ "VTree", 0, 0, CODE_TYPE_NOT_FOUND, count_volumes, of_vtree },
	{ "Sdc", 0, 0, 80, count_sdcs, of_sdc },
	{ "Host", 400, 0, 91, count_sdcs, of_host },
	{ "Sdt", 400, 0, 4000, count_sdts, of_sdt },
	{ "Sds", 0, 0, CODE_TYPE_NOT_FOUND, count_sdss, of_sds },
	{ "User", 0, 0, CODE_TYPE_NOT_FOUND, count_one, of_user },
	{ "Device", 0, 0, CODE_TYPE_NOT_FOUND, count_none, of_user },
	{ "FaultSet", 0, 0, CODE_TYPE_NOT_FOUND, count_none, of_user },
	{ "SnapshotPolicy", 300, 0, CODE_TYPE_NOT_FOUND, count_none, of_user },
	{ "NvmeController", 400, 0, CODE_TYPE_NOT_FOUND, count_none, of_user },
};

static const struct type *find_type(const struct scaleio *s, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const struct type *t = &types[i];

		if (!strcmp(t->name, name) && s->version >= t->since &&
		    (!t->until || s->version <= t->until))
			return t;
	}
	return NULL;
}

bool sio_type_known(const struct scaleio *s, const char *type)
{
	return find_type(s, type);
}

static bool is_mapped_to(const json_t *volume, const char *sdc)
{
	const json_t *maps = json_object_get(volume, "mappedSdcInfo");

	for (size_t i = 0; i < json_array_size(maps); i++) {
		const json_t *m = json_array_get(maps, i);

		if (!strcmp(json_string_value(json_object_get(m, "sdcId")), sdc))
			return true;
	}
	return json_is_true(json_object_get(volume, "mappingToAllSdcsEnabled"));
}

/* key NULL: all. */
static json_t *collect(struct scaleio *s, const struct type *t, const char *key, const char *id)
{
	json_t *all = json_array();
	size_t n = t->count(s);

	for (size_t i = 0; i < n; i++) {
		json_t *o = t->of(s, i);
		const char *has = key ? json_string_value(json_object_get(o, key)) : NULL;

		if (o && (!key || (has && !strcmp(has, id)) ||
			  (!strcmp(key, "sdc") && is_mapped_to(o, id))))
			json_array_append_new(all, o);
		else
			json_decref(o);
	}
	return all;
}

json_t *sio_list(struct sio_call *c, const char *type)
{
	const struct type *t = find_type(c->s, type);

	return t ? collect(c->s, t, NULL, NULL) : sio_no_route(c);
}

static json_t *get(struct sio_call *c, const struct type *t, const char *id)
{
	struct sio_volume *v;
	uint64_t n;
	json_t *o;

	if (!sio_id(id, &n))
		return sio_bad(c, 400, 0, "id must be a hexadecimal number (unsigned long)");
	if (t->of == of_volume) {
		v = sio_find_volume(c->s, n);
		return v ? of_one_volume(c->s, v) : sio_fail(c, sio_not_found(c->s));
	}
	for (size_t i = 0; i < t->count(c->s); i++) {
		uint64_t has;

		o = t->of(c->s, i);
		if (o && sio_id(json_string_value(json_object_get(o, "id")), &has) && has == n)
			return o;
		json_decref(o);
	}
	return sio_fail(c, t->code);
}

json_t *sio_get(struct sio_call *c, const char *type, const char *id)
{
	const struct type *t = find_type(c->s, type);

	return t ? get(c, t, id) : sio_no_route(c);
}

static const struct {
	const char *type, *relation, *key;
} relations[] = {
	{ "System", "ProtectionDomain", "systemId" },
	{ "System", "Sdc", "systemId" },
	{ "System", "User", "systemId" },
	{ "ProtectionDomain", "StoragePool", "protectionDomainId" },
	{ "ProtectionDomain", "Sds", "protectionDomainId" },
	{ "ProtectionDomain", "Sdt", "protectionDomainId" },
	{ "ProtectionDomain", "FaultSet", "protectionDomainId" },
	{ "StoragePool", "Volume", "storagePoolId" },
	{ "StoragePool", "Device", "storagePoolId" },
	{ "StoragePool", "VTree", "storagePoolId" },
	{ "Sdc", "Volume", "sdc" },
	{ "Host", "Volume", "sdc" },
	{ "Host", "NvmeController", "hostId" },
	{ "VTree", "Volume", "vtreeId" },
};

json_t *sio_related(struct sio_call *c, const char *type, const char *id, const char *relation)
{
	const struct type *t = find_type(c->s, type);
	const char *self;
	json_t *o, *all = NULL;
	uint64_t n;

	if (!t)
		return sio_no_route(c);
	o = get(c, t, id);
	if (!o)
		return NULL;
	self = json_string_value(json_object_get(o, "id"));
	if (!strcmp(relation, "Statistics") && sio_id(self, &n))
		all = sio_statistics(c, type, n);
	for (size_t i = 0; i < ARRAY_LEN(relations); i++) {
		const struct type *of = find_type(c->s, relation);

		if (of && !strcmp(relations[i].type, type) &&
		    !strcmp(relations[i].relation, relation))
			all = collect(c->s, of, relations[i].key, self);
	}
	json_decref(o);
	return all || c->status ? all : sio_no_route(c);
}

json_t *sio_selected(struct sio_call *c)
{
	const json_t *ids = json_object_get(c->body, "ids");
	json_t *all;

	if (c->s->version < 300)
		return sio_no_route(c);
	if (!json_is_array(ids))
		return sio_bad(c, 400, 62, "Wrong command parameters");
	all = json_array();
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		json_t *o = id ? sio_get(c, "Volume", id) : sio_fail(c, 62);

		if (!o) {
			json_decref(all);
			return NULL;
		}
		json_array_append_new(all, o);
	}
	return all;
}
