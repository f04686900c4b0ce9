/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_system.c - look-ups by name, statistics, limits */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define NAMES_UNTIL 200 /* the last release with getByName */

static json_t *id_of(uint64_t high, size_t i)
{
	return sio_id_text(high << 32 | i);
}

/* --- by name --------------------------------------------------------------- */

static json_t *volume_id(struct sio_call *c, const char *name)
{
	const struct sio_volume *v = *name ? sio_find_name(c->s, name) : NULL;

	return v ? sio_id_text(v->id) : sio_fail(c, sio_not_found(c->s));
}

static json_t *domain_id(struct sio_call *c, const char *name)
{
	for (unsigned i = 0; i < SIO_DOMAINS; i++)
		if (sio_domain_exists(c->s, i) && !strcmp(sio_domains[i], name))
			return id_of(SIO_HIGH_DOMAIN, i);
	return sio_fail(c, 142);
}

static json_t *pool_id(struct sio_call *c, uint64_t domain, const char *name)
{
	if (domain >> 32 != SIO_HIGH_DOMAIN ||
	    !sio_domain_exists(c->s, (unsigned)(domain & UINT32_MAX)))
		return sio_fail(c, 142);
	for (unsigned i = 0; i < SIO_POOLS; i++)
		if (sio_pool_exists(c->s, i) && sio_pools[i].domain == (domain & UINT32_MAX) &&
		    !strcmp(sio_pools[i].name, name))
			return id_of(SIO_HIGH_POOL, i);
	return sio_fail(c, 171);
}

static json_t *sdc_id(struct sio_call *c)
{
	const struct sio_sdc *found = NULL;
	const char *ip;

	if (!sio_text(c, c->body, "ip", true, &ip))
		return NULL;
	for (size_t i = 0; i < c->s->nsdcs; i++) {
		if (!*ip || strcmp(c->s->sdcs[i].ip, ip) != 0)
			continue;
		if (found)
			return sio_fail(c, 101);
		found = &c->s->sdcs[i];
	}
	return found ? sio_id_text(found->id) : sio_fail(c, 80);
}

json_t *sio_query_id(struct sio_call *c, const char *type)
{
	const char *name;
	uint64_t domain;

	if (c->s->version < 200)
		return sio_no_route(c);
	if (!strcmp(type, "Sdc"))
		return sdc_id(c);
	if (strcmp(type, "Volume") != 0 && strcmp(type, "ProtectionDomain") != 0 &&
	    strcmp(type, "StoragePool") != 0)
		return sio_no_route(c);
	if (!sio_text(c, c->body, "name", true, &name))
		return NULL;
	if (!strcmp(type, "Volume"))
		return volume_id(c, name);
	if (!strcmp(type, "ProtectionDomain"))
		return domain_id(c, name);
	return sio_id_key(c, c->body, "protectionDomainId", &domain) ? pool_id(c, domain, name) :
								       NULL;
}

static int hex_digit(char ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : tolower((unsigned char)ch) - 'a' + 10;
}

/* The server in front has decoded it once; clients encode twice. */
static void decode(char *text)
{
	char *out = text;

	for (const char *p = text; *p; p++) {
		if (*p == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2])) {
			*out++ = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
			p += 2;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
}

json_t *sio_by_name(struct sio_call *c, const char *type, const char *key)
{
	AUTO_FREE char *name = strdup(key);
	uint64_t domain;
	char *comma;

	if (!name)
		return sio_fail(c, 67);
	if (c->s->version > NAMES_UNTIL)
		return sio_no_route(c);
	decode(name);
	if (!strcmp(type, "Volume"))
		return volume_id(c, name);
	if (!strcmp(type, "Domain") || !strcmp(type, "ProtectionDomain"))
		return domain_id(c, name);
	if (strcmp(type, "Pool") != 0 && strcmp(type, "StoragePool") != 0)
		return sio_no_route(c);
	comma = strchr(name, ',');
	if (!comma)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	*comma = '\0';
	if (!sio_id(name, &domain))
		return sio_bad(c, 400, 0, "id must be a hexadecimal number (unsigned long)");
	return pool_id(c, domain, comma + 1);
}

/* --- statistics ------------------------------------------------------------ */

struct use {
	uint64_t capacity, in_use, thin, thick, snaps; /* KiB, net */
	unsigned volumes;
};

static struct use use_of(const struct scaleio *s, unsigned pool)
{
	struct use u = { .capacity = s->opt->capacity / 1024 };

	for (size_t i = 0; i < s->nvolumes; i++) {
		const struct sio_volume *v = s->volumes[i];
		uint64_t used = sio_image_used_kib(s, v);

		if (v->pool != pool || v->removed_ms)
			continue;
		u.volumes++;
		u.in_use += v->thin ? used : v->kib;
		if (v->snapshot)
			u.snaps += used;
		else if (v->thin)
			u.thin += v->kib;
		else
			u.thick += v->kib;
	}
	return u;
}

static json_t *bandwidth(void)
{
	return json_pack("{s:i, s:i, s:i}", "numSeconds", 0, "totalWeightInKb", 0, "numOccured", 0);
}

static void add(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *pool_statistics(const struct scaleio *s, unsigned pool)
{
	struct use u = use_of(s, pool);
	uint64_t left = u.capacity > u.in_use ? u.capacity - u.in_use : 0, spare = u.capacity / 5;
	uint64_t promised = u.capacity > u.thick ? u.capacity - u.thick : 0;
	json_t *o = json_object();

	if (s->version >= 300) {
		add(o, "netUnusedCapacityInKb", left);
		add(o, "netCapacityInUseInKb", u.in_use);
	}
	/* Mirrored twice, and spare. */
	add(o, "capacityLimitInKb", u.capacity * 2 + spare);
	add(o, "spareCapacityInKb", spare);
	add(o, "capacityInUseInKb", u.in_use * 2);
	add(o, "capacityAvailableForVolumeAllocationInKb", promised - promised % SIO_STEP_KIB);
	add(o, "thickCapacityInUseInKb", u.thick);
	add(o, s->version < 300 ? "thinCapacityAllocatedInKm" : "thinCapacityAllocatedInKb",
	    u.thin);
	add(o, s->version < 305 ? "snapCapacityInUseInKb" : "snapshotCapacityInKb", u.snaps);
	add(o, "numOfVolumes", u.volumes);
	json_object_set_new(o, "userDataReadBwc", bandwidth());
	json_object_set_new(o, "userDataWriteBwc", bandwidth());
	return o;
}

static json_t *volume_statistics(struct scaleio *s, uint64_t id)
{
	const struct sio_volume *v = sio_find_volume(s, id);
	json_t *o = json_object();
	uint64_t children = 0;

	for (size_t i = 0; i < s->nvolumes; i++)
		children += s->volumes[i]->ancestor == id;
	add(o, "numOfMappedSdcs", v ? v->nmaps : 0);
	add(o, "numOfChildVolumes", children);
	json_object_set_new(o, "userDataReadBwc", bandwidth());
	json_object_set_new(o, "userDataWriteBwc", bandwidth());
	return o;
}

/* A tree's: the blocks of its volumes and of their snapshots. */
static json_t *vtree_statistics(const struct scaleio *s, uint64_t id)
{
	json_t *o = json_object();
	uint64_t used = 0, volumes = 0;

	for (size_t i = 0; i < s->nvolumes; i++) {
		const struct sio_volume *v = s->volumes[i];

		if (v->vtree != id || v->removed_ms)
			continue;
		used += v->thin ? sio_image_used_kib(s, v) : v->kib;
		volumes++;
	}
	if (s->version >= 300)
		add(o, "netCapacityInUseInKb", used);
	add(o, "capacityInUseInKb", used * 2);
	add(o, "numOfVolumes", volumes);
	return o;
}

static json_t *sdc_statistics(const struct scaleio *s, uint64_t id)
{
	json_t *o = json_object();
	uint64_t n = 0;

	for (size_t i = 0; i < s->nvolumes; i++)
		for (size_t j = 0; j < s->volumes[i]->nmaps; j++)
			n += s->volumes[i]->maps[j].sdc == id;
	add(o, "numOfMappedVolumes", n);
	json_object_set_new(o, "userDataReadBwc", bandwidth());
	json_object_set_new(o, "userDataWriteBwc", bandwidth());
	return o;
}

static json_t *system_statistics(const struct scaleio *s)
{
	json_t *o = json_object();
	uint64_t mapped = 0;

	for (size_t i = 0; i < s->nvolumes; i++)
		mapped += s->volumes[i]->nmaps > 0;
	add(o, "numOfVolumes", s->nvolumes);
	add(o, "numOfMappedToAllVolumes", 0);
	add(o, "numOfUnmappedVolumes", s->nvolumes - mapped);
	add(o, "numOfSdc", s->nsdcs);
	return o;
}

json_t *sio_statistics(struct sio_call *c, const char *type, uint64_t id)
{
	if (!strcmp(type, "StoragePool"))
		return pool_statistics(c->s, (unsigned)(id & UINT32_MAX));
	if (!strcmp(type, "Volume"))
		return volume_statistics(c->s, id);
	if (!strcmp(type, "VTree"))
		return vtree_statistics(c->s, id);
	if (!strcmp(type, "Sdc"))
		return sdc_statistics(c->s, id);
	if (!strcmp(type, "System"))
		return system_statistics(c->s);
	return NULL;
}

/* Of all, those that are asked for. */
static json_t *pick(struct sio_call *c, json_t *all_take, const json_t *properties)
{
	json_t *o = json_object();

	for (size_t i = 0; i < json_array_size(properties); i++) {
		const char *key = json_string_value(json_array_get(properties, i));
		json_t *v = key ? json_object_get(all_take, key) : NULL;

		if (!v) {
			json_decref(o);
			json_decref(all_take);
			return sio_bad(c, 400, 62, "Wrong command parameters");
		}
		json_object_set(o, key, v);
	}
	json_decref(all_take);
	return o;
}

static bool read_pool_id(struct sio_call *c, const json_t *v, unsigned *pool)
{
	const char *text = json_string_value(v);
	uint64_t id;

	if (!text || !sio_id(text, &id)) {
		sio_bad(c, 400, 0, "id must be a hexadecimal number (unsigned long)");
		return false;
	}
	*pool = (unsigned)(id & UINT32_MAX);
	if (id >> 32 == SIO_HIGH_POOL && sio_pool_exists(c->s, *pool))
		return true;
	sio_fail(c, 171);
	return false;
}

json_t *sio_selected_statistics(struct sio_call *c)
{
	const json_t *ids = json_object_get(c->body, "ids");
	const json_t *properties = json_object_get(c->body, "properties");
	json_t *all;

	if (!json_is_array(ids) || !json_is_array(properties) || !json_array_size(properties) ||
	    json_array_size(ids) > SIO_POOLS)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	all = json_object();
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const json_t *id = json_array_get(ids, i);
		unsigned pool;
		json_t *o = NULL;

		if (read_pool_id(c, id, &pool))
			o = pick(c, pool_statistics(c->s, pool), properties);
		if (!o) {
			json_decref(all);
			return NULL;
		}
		json_object_set_new(all, json_string_value(id), o);
	}
	return all;
}

static json_t *metric(const char *name, uint64_t bytes)
{
	return json_pack("{s:s, s:[I]}", "name", name, "values", (json_int_t)bytes);
}

static json_t *pool_metrics(struct sio_call *c, const json_t *id, const json_t *names)
{
	json_t *list = json_array();
	unsigned pool;
	struct use u;

	if (!read_pool_id(c, id, &pool)) {
		json_decref(list);
		return NULL;
	}
	u = use_of(c->s, pool);
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (name && !strcmp(name, "physical_total"))
			json_array_append_new(list, metric(name, u.capacity * 1024));
		else if (name && !strcmp(name, "physical_free"))
			json_array_append_new(list, metric(name, (u.capacity - u.in_use) * 1024));
		else if (name && !strcmp(name, "physical_used"))
			json_array_append_new(list, metric(name, u.in_use * 1024));
	}
	return json_pack("{s:s, s:o}", "id", json_string_value(id), "metrics", list);
}

json_t *sio_metrics(struct sio_call *c)
{
	const json_t *ids = json_object_get(c->body, "ids");
	const char *type;
	json_t *all;

	if (c->s->version < 500)
		return sio_no_route(c);
	if (!sio_text(c, c->body, "resource_type", true, &type))
		return NULL;
	if (strcmp(type, "storage_pool") != 0 || json_array_size(ids) > SIO_POOLS)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	all = json_array();
	for (size_t i = 0; i < json_array_size(ids); i++) {
		json_t *o = pool_metrics(c, json_array_get(ids, i),
					 json_object_get(c->body, "metrics"));

		if (!o) {
			json_decref(all);
			return NULL;
		}
		json_array_append_new(all, o);
	}
	return json_pack("{s:o}", "resources", all);
}

/* --- limits ---------------------------------------------------------------- */

static const struct {
	const char *type, *description;
	unsigned max, min;
} limits[] = {
	{ "protectionDomain", "Maximum number of protection domains", 256, 0 },
	{ "storagePool", "Maximum number of storage pools", 1024, 0 },
	{ "storagePoolsPerProtectionDomain",
	  "Maximum number of storage pools in a protection domain", 64, 0 },
	{ "sds", "Maximum number of SDSs", 512, 0 },
	{ "sdc", "Maximum number of SDCs", SIO_HOSTS_MAX, 0 },
	{ "volume", "Maximum number of volumes", SIO_VOLUMES_MAX, 0 },
	{ "volumeAndSnapshot", "Maximum number of volumes and snapshots", SIO_ALL_MAX, 0 },
	{ "volumesPerVtree", "Maximum number of volumes in a VTree", SIO_VTREE_SNAPS_MAX + 1, 0 },
	{ "volumesPerSdc", "Maximum number of volumes mapped to an SDC", SIO_PER_HOST_MAX, 0 },
	{ "volumesPerProtectionDomain", "Maximum number of volumes in a protection domain", 32768,
	  0 },
	{ "volumeSizeGb", "Maximum and minimum volume size in GB", 1048576, 8 },
	{ "user", "Maximum number of users", 256, 0 },
	{ "session", "Maximum number of sessions", SIO_SESSIONS_MAX, 0 },
};

json_t *sio_limits(struct sio_call *c)
{
	json_t *all = json_array();

	(void)c;
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		char max[16], min[16];

		snprintf(max, sizeof max, "%u", limits[i].max);
		snprintf(min, sizeof min, "%u", limits[i].min);
		json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s}", "type", limits[i].type,
						     "description", limits[i].description, "maxVal",
						     max, "minVal", min));
	}
	return json_pack("{s:o}", "systemLimitEntryList", all);
}
