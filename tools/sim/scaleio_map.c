/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_map.c - hosts (SDCs, and NVMe hosts of 4.x), and the volumes that they see */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define CODE_TIMEOUT 68
#define IOPS_MIN 11

static const char *const access_flags[] = { "ReadWrite", "ReadOnly", "NoAccess", NULL };

static json_t *half_or_ok(struct sio_call *c)
{
	sim_changed(c->s->sim);
	return c->half ? sio_fail(c, CODE_TIMEOUT) : json_object();
}

static struct sio_map *find_map(struct sio_volume *v, uint64_t sdc)
{
	for (size_t i = 0; i < v->nmaps; i++)
		if (v->maps[i].sdc == sdc)
			return &v->maps[i];
	return NULL;
}

static size_t maps_of(const struct scaleio *s, uint64_t sdc)
{
	size_t n = 0;

	for (size_t i = 0; i < s->nvolumes; i++)
		for (size_t j = 0; j < s->volumes[i]->nmaps; j++)
			n += s->volumes[i]->maps[j].sdc == sdc;
	return n;
}

/* --- which host ------------------------------------------------------------ */

static struct sio_sdc *find_by_text(struct scaleio *s, const char *key, const char *text)
{
	for (size_t i = 0; i < s->nsdcs; i++) {
		struct sio_sdc *h = &s->sdcs[i];

		if (!strcmp(key, "nqn") ? h->nvme && !strcmp(h->nqn, text) :
					  !strcasecmp(h->guid, text))
			return h;
	}
	return NULL;
}

/* By exactly one of id_key and the others; missing is the code of one that is not there. */
static struct sio_sdc *read_host(struct sio_call *c, const char *id_key, bool nqn, unsigned missing)
{
	const char *id, *guid, *name = NULL;
	struct sio_sdc *h = NULL;
	uint64_t n;

	if (!sio_text(c, c->body, id_key, false, &id) ||
	    !sio_text(c, c->body, "guid", false, &guid) ||
	    (nqn && !sio_text(c, c->body, "nqn", false, &name)))
		return NULL;
	if (!id + !guid + !name != 2) {
		sio_bad(c, 400, id || guid || name ? 62 : 0,
			"Request message is not valid: One of the following parameter(s) must be "
			"part of the request body: %s, guid.",
			id_key);
		return NULL;
	}
	if (id) {
		if (!sio_id_key(c, c->body, id_key, &n))
			return NULL;
		h = sio_find_sdc(c->s, n);
	} else {
		h = find_by_text(c->s, guid ? "guid" : "nqn", guid ? guid : name);
	}
	if (!h)
		sio_fail(c, missing);
	return h;
}

/* --- map ------------------------------------------------------------------- */

static struct sio_map *add_map(struct scaleio *s, struct sio_volume *v, uint64_t sdc)
{
	struct sio_map *all = realloc(v->maps, (v->nmaps + 1) * sizeof *all);

	if (!all)
		return NULL;
	v->maps = all;
	all[v->nmaps] = (struct sio_map){ .sdc = sdc };
	sio_link_soon(s, v, &all[v->nmaps]);
	return &all[v->nmaps++];
}

static json_t *map_all(struct sio_call *c, struct sio_volume *v)
{
	if (v->all_sdcs)
		return sio_fail(c, 82);
	v->all_sdcs = true;
	for (size_t i = 0; i < c->s->nsdcs; i++)
		if (!find_map(v, c->s->sdcs[i].id) && !add_map(c->s, v, c->s->sdcs[i].id))
			return sio_fail(c, 67);
	return half_or_ok(c);
}

static json_t *map(struct sio_call *c, struct sio_volume *v, const struct sio_sdc *h,
		   unsigned already)
{
	struct sio_map *m;
	unsigned access;
	bool several;

	if (!sio_flag(c, "allowMultipleMappings", false, &several) ||
	    !sio_choice(c, c->body, "accessMode", access_flags, SIO_READ_WRITE, &access))
		return NULL;
	if (c->s->version < 300 && json_object_get(c->body, "accessMode"))
		return sio_bad(c, 400, 62, "Wrong command parameters");
	if (v->removed_ms)
		return sio_fail(c, 212);
	if (v->all_sdcs)
		return sio_fail(c, 82);
	if (find_map(v, h->id))
		return sio_fail(c, already);
	if (!h->approved && c->s->opt->restricted)
		return sio_fail(c, 322);
	if (v->nmaps && !several)
		return sio_fail(c, c->s->version < 300 ? 297 : 306);
	if (maps_of(c->s, h->id) >= SIO_PER_HOST_MAX)
		return sio_fail(c, 294);
	m = add_map(c->s, v, h->id);
	if (!m)
		return sio_fail(c, 67);
	m->access = access;
	return half_or_ok(c);
}

/* The trap: whatever allSdcs holds, an id even, it means all of them. */
static bool means_all(const struct sio_call *c)
{
	return json_object_get(c->body, "allSdcs") || json_object_get(c->body, "allHosts");
}

json_t *sio_map(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h;

	if (means_all(c))
		return map_all(c, v);
	h = read_host(c, "sdcId", false, 80);
	return h ? map(c, v, h, 81) : NULL;
}

json_t *sio_map_host(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h;

	if (c->s->version < 400)
		return sio_no_route(c);
	if (means_all(c))
		return map_all(c, v);
	h = read_host(c, "hostId", true, 91);
	return h ? map(c, v, h, 4037) : NULL;
}

/* --- unmap ----------------------------------------------------------------- */

static void drop_map(struct scaleio *s, struct sio_volume *v, struct sio_map *m)
{
	sio_link_remove(s, v, m);
	*m = v->maps[--v->nmaps];
}

static json_t *unmap_all(struct sio_call *c, struct sio_volume *v)
{
	if (!v->nmaps && !v->all_sdcs)
		return sio_fail(c, 84);
	while (v->nmaps)
		drop_map(c->s, v, v->maps);
	v->all_sdcs = false;
	return half_or_ok(c);
}

static json_t *unmap(struct sio_call *c, struct sio_volume *v, const struct sio_sdc *h,
		     unsigned not_mapped)
{
	struct sio_map *m = find_map(v, h->id);

	if (v->all_sdcs)
		return sio_fail(c, 86);
	if (!m)
		return sio_fail(c, not_mapped);
	drop_map(c->s, v, m);
	return half_or_ok(c);
}

json_t *sio_unmap(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h;
	bool skip;

	if (!sio_flag(c, "skipApplianceValidation", false, &skip) ||
	    !sio_flag(c, "ignoreScsiInitiators", false, &skip))
		return NULL;
	if (means_all(c))
		return unmap_all(c, v);
	h = read_host(c, "sdcId", false, 80);
	return h ? unmap(c, v, h, 84) : NULL;
}

json_t *sio_unmap_host(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h;

	if (c->s->version < 400)
		return sio_no_route(c);
	if (means_all(c))
		return unmap_all(c, v);
	h = read_host(c, "hostId", true, 91);
	return h ? unmap(c, v, h, 4039) : NULL;
}

/* --- of a mapping ---------------------------------------------------------- */

json_t *sio_set_limits(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h = read_host(c, "sdcId", false, 80);
	struct sio_map *m = h ? find_map(v, h->id) : NULL;
	uint64_t iops = 0, kbps = 0;
	bool has_iops, has_kbps;

	if (!h || !sio_number(c, "iopsLimit", false, &iops, &has_iops) ||
	    !sio_number(c, "bandwidthLimitInKbps", false, &kbps, &has_kbps))
		return NULL;
	if (!m)
		return sio_fail(c, 84);
	if (h->nvme || (!has_iops && !has_kbps))
		return sio_fail(c, 62);
	if ((iops && iops < IOPS_MIN) || iops > INT32_MAX || kbps % 1024 || kbps > INT32_MAX)
		return sio_fail(c, 64);
	if (has_iops)
		m->iops = iops;
	if (has_kbps)
		m->kbps = kbps;
	return half_or_ok(c);
}

json_t *sio_set_access(struct sio_call *c, struct sio_volume *v)
{
	struct sio_sdc *h;
	struct sio_map *m;
	unsigned access;

	if (c->s->version < 300)
		return sio_no_route(c);
	h = read_host(c, "sdcId", false, 80);
	if (!h || !sio_choice(c, c->body, "accessMode", access_flags, SIO_ACCESSES, &access))
		return NULL;
	m = find_map(v, h->id);
	if (!m)
		return sio_fail(c, 84);
	if (access == SIO_ACCESSES)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	m->access = access;
	return half_or_ok(c);
}

/* --- hosts ----------------------------------------------------------------- */

struct sio_sdc *sio_add_sdc(struct scaleio *s)
{
	struct sio_sdc *h;

	if (s->nsdcs == SIO_HOSTS_MAX)
		return NULL;
	h = &s->sdcs[s->nsdcs++];
	memset(h, 0, sizeof *h);
	h->id = SIO_HIGH_SDC << 32 | s->next++;
	h->connected = true;
	h->approved = !s->opt->restricted;
	return h;
}

static void drop_sdc(struct scaleio *s, struct sio_sdc *h)
{
	for (size_t i = 0; i < s->nvolumes; i++) {
		struct sio_map *m = find_map(s->volumes[i], h->id);

		if (m)
			drop_map(s, s->volumes[i], m);
	}
	*h = s->sdcs[--s->nsdcs];
}

static bool check_host_name(struct sio_call *c, const char *name)
{
	unsigned code = strlen(name) > SIO_NAME_MAX ? 226 : !*name ? 227 : 0;

	for (const char *p = name; *p && !code; p++)
		if (!isgraph((unsigned char)*p))
			code = 227;
	for (size_t i = 0; i < c->s->nsdcs && !code; i++)
		if (!strcmp(c->s->sdcs[i].name, name))
			code = 7;
	if (code)
		sio_fail(c, code);
	return !code;
}

json_t *sio_create_host(struct sio_call *c)
{
	const char *name, *nqn;
	uint64_t paths = 4, ports = 10;
	struct sio_sdc *h;
	bool there;

	if (c->s->version < 400)
		return sio_no_route(c);
	if (!sio_text(c, c->body, "name", false, &name) ||
	    !sio_text(c, c->body, "nqn", true, &nqn) ||
	    !sio_number(c, "maxNumPaths", false, &paths, &there) ||
	    !sio_number(c, "maxNumSysPorts", false, &ports, &there) ||
	    (name && !check_host_name(c, name)))
		return NULL;
	if (strncmp(nqn, "nqn.", 4) != 0 || strlen(nqn) > SIO_TEXT_MAX || !paths || paths > 8 ||
	    !ports || ports > 10)
		return sio_fail(c, 64);
	if (find_by_text(c->s, "nqn", nqn))
		return sio_fail(c, 7);
	h = sio_add_sdc(c->s);
	if (!h)
		return sio_fail(c, 67);
	h->nvme = h->approved = true;
	h->connected = false; /* before its first connection */
	strcpy(h->name, name ? name : "");
	strcpy(h->nqn, nqn);
	h->paths = paths;
	h->ports = ports;
	sim_changed(c->s->sim);
	return c->half ? sio_fail(c, CODE_TIMEOUT) : json_pack("{s:o}", "id", sio_id_text(h->id));
}

static json_t *set_number(struct sio_call *c, struct sio_sdc *h, const char *key, uint64_t max,
			  uint64_t *out)
{
	uint64_t n = 0;
	bool there;

	if (!h->nvme)
		return sio_fail(c, 91);
	if (!sio_number(c, key, true, &n, &there))
		return NULL;
	if (!n || n > max)
		return sio_fail(c, 64);
	*out = n;
	return half_or_ok(c);
}

json_t *sio_sdc_action(struct sio_call *c, struct sio_sdc *h, const char *action)
{
	const char *name;

	if (!strcmp(action, "setSdcName")) {
		if (!sio_text(c, c->body, "sdcName", true, &name) || !check_host_name(c, name))
			return NULL;
		strcpy(h->name, name);
		return half_or_ok(c);
	}
	if (!strcmp(action, "removeSdc")) {
		if (maps_of(c->s, h->id))
			return sio_fail(c, 104);
		drop_sdc(c->s, h);
		return half_or_ok(c);
	}
	if (!strcmp(action, "modifyMaxNumPaths") && c->s->version >= 400)
		return set_number(c, h, "newMaxNumPaths", 8, &h->paths);
	if (!strcmp(action, "modifyMaxNumSysPorts") && c->s->version >= 400)
		return set_number(c, h, "newMaxNumSysPorts", 10, &h->ports);
	return sio_no_route(c);
}

json_t *sio_approve(struct sio_call *c)
{
	struct sio_sdc *h;
	const char *guid;

	if (!sio_text(c, c->body, "sdcGuid", true, &guid))
		return NULL;
	h = find_by_text(c->s, "guid", guid);
	if (!h || !*guid)
		return sio_fail(c, 80);
	h->approved = true;
	return half_or_ok(c);
}

/* --- the control route ----------------------------------------------------- */

static bool is_guid(const char *text)
{
	return text && strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36;
}

static bool copy_key(struct sio_call *c, const char *key, char *out, size_t cap)
{
	const char *text;

	if (!sio_text(c, c->body, key, false, &text))
		return false;
	if (text && strlen(text) >= cap) {
		sio_bad(c, 400, 64, "Parameter out of range");
		return false;
	}
	if (text)
		strcpy(out, text);
	return true;
}

/* A machine that reports to the MDM, comes or goes; what is not given stays as it is. */
json_t *sio_control_sdc(struct sio_call *c)
{
	const json_t *approved = json_object_get(c->body, "approved");
	const char *guid = json_string_value(json_object_get(c->body, "guid"));
	struct sio_sdc *h, new = { 0 };
	const char *state;

	if (!is_guid(guid))
		return sio_bad(c, 400, 0, "'guid' is no GUID");
	h = find_by_text(c->s, "guid", guid);
	if (json_is_true(json_object_get(c->body, "remove"))) {
		if (!h)
			return sio_fail(c, 80);
		drop_sdc(c->s, h);
		sim_changed(c->s->sim);
		return json_object();
	}
	if (h)
		new = *h;
	if (!copy_key(c, "name", new.name, sizeof new.name) ||
	    !copy_key(c, "ip", new.ip, sizeof new.ip) ||
	    !sio_text(c, c->body, "state", false, &state))
		return NULL;
	if (approved && !json_is_boolean(approved))
		return sio_bad(c, 400, 0, "'approved' is no boolean");
	if (!h)
		h = sio_add_sdc(c->s);
	if (!h)
		return sio_fail(c, 67);
	strcpy(h->guid, guid);
	strcpy(h->name, new.name);
	strcpy(h->ip, new.ip);
	if (state)
		h->connected = !strcmp(state, "Connected");
	if (approved)
		h->approved = json_is_true(approved);
	sim_changed(c->s->sim);
	return json_pack("{s:o}", "id", sio_id_text(h->id));
}
