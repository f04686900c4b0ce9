/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_state.c - what outlives a restart, as JSON. Logins do not. What is read may come from anybody:
 * every member is looked at before it is believed. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define KIB_MAX (SIO_SIZE_MAX_KIB)

/* --- write ----------------------------------------------------------------- */

/* Without those whose removal is not over: after a restart they are gone. */
static uint64_t ancestor_of(struct scaleio *s, const struct sio_volume *v)
{
	uint64_t id = v->ancestor;
	const struct sio_volume *a = id ? sio_find_volume(s, id) : NULL;

	while (a && a->removed_ms) {
		id = a->ancestor;
		a = id ? sio_find_volume(s, id) : NULL;
	}
	return a ? id : 0;
}

static json_t *save_volume(struct scaleio *s, const struct sio_volume *v)
{
	json_t *maps = json_array();

	for (size_t i = 0; i < v->nmaps; i++) {
		const struct sio_map *m = &v->maps[i];

		json_array_append_new(maps,
				      json_pack("{s:o, s:i, s:I, s:I}", "sdc", sio_id_text(m->sdc),
						"access", (int)m->access, "iops",
						(json_int_t)m->iops, "kbps", (json_int_t)m->kbps));
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:i, s:b, s:b, s:b, s:b, s:i, "
			 "s:o}",
			 "id", sio_id_text(v->id), "vtree", sio_id_text(v->vtree), "ancestor",
			 sio_id_text(ancestor_of(s, v)), "group", sio_id_text(v->group), "name",
			 v->name, "class", v->class, "kib", (json_int_t)v->kib, "created",
			 (json_int_t)v->created, "pool", (int)v->pool, "thin", (int)v->thin,
			 "snapshot", (int)v->snapshot, "compressed", (int)v->compressed, "all_sdcs",
			 (int)v->all_sdcs, "limit", (int)v->limit, "maps", maps);
}

static json_t *save_sdc(const struct sio_sdc *h)
{
	return json_pack("{s:o, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:I}", "id",
			 sio_id_text(h->id), "name", h->name, "guid", h->guid, "ip", h->ip, "nqn",
			 h->nqn, "nvme", (int)h->nvme, "connected", (int)h->connected, "approved",
			 (int)h->approved, "paths", (json_int_t)h->paths, "ports",
			 (json_int_t)h->ports);
}

json_t *sio_saved(struct scaleio *s)
{
	json_t *volumes = json_array(), *hosts = json_array();

	mutex_assert_held(&s->lock);
	for (size_t i = 0; i < s->nvolumes; i++)
		if (!s->volumes[i]->removed_ms)
			json_array_append_new(volumes, save_volume(s, s->volumes[i]));
	for (size_t i = 0; i < s->nsdcs; i++)
		json_array_append_new(hosts, save_sdc(&s->sdcs[i]));
	return json_pack("{s:I, s:o, s:o}", "next", (json_int_t)s->next, "volumes", volumes,
			 "hosts", hosts);
}

/* --- read ------------------------------------------------------------------ */

static bool text(const json_t *o, const char *key, char *out, size_t cap)
{
	const char *t = json_string_value(json_object_get(o, key));

	if (!t || strlen(t) >= cap)
		return false;
	strcpy(out, t);
	return true;
}

static bool number(const json_t *o, const char *key, uint64_t max, uint64_t *out)
{
	const json_t *v = json_object_get(o, key);

	*out = (uint64_t)json_integer_value(v);
	return json_is_integer(v) && json_integer_value(v) >= 0 && *out <= max;
}

static bool flag(const json_t *o, const char *key, bool *out)
{
	const json_t *v = json_object_get(o, key);

	*out = json_is_true(v);
	return json_is_boolean(v);
}

/* high 0: any. */
static bool id(const json_t *o, const char *key, uint64_t high, uint64_t *out)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t && sio_id(t, out) && (!high || *out >> 32 == high);
}

static bool load_sdc(struct scaleio *s, const json_t *o)
{
	struct sio_sdc *h = s->nsdcs < SIO_HOSTS_MAX ? &s->sdcs[s->nsdcs] : NULL;

	if (!h || !id(o, "id", SIO_HIGH_SDC, &h->id) || sio_find_sdc(s, h->id) ||
	    !text(o, "name", h->name, sizeof h->name) ||
	    !text(o, "guid", h->guid, sizeof h->guid) || !text(o, "ip", h->ip, sizeof h->ip) ||
	    !text(o, "nqn", h->nqn, sizeof h->nqn) || !flag(o, "nvme", &h->nvme) ||
	    !flag(o, "connected", &h->connected) || !flag(o, "approved", &h->approved) ||
	    !number(o, "paths", 8, &h->paths) || !number(o, "ports", 10, &h->ports))
		return false;
	/* It becomes a part of a path. */
	if (strspn(h->guid, "0123456789abcdefABCDEF-") != strlen(h->guid))
		return false;
	s->nsdcs++;
	return (h->id & UINT32_MAX) < s->next;
}

static bool load_maps(struct scaleio *s, const json_t *o, struct sio_volume *v)
{
	const json_t *maps = json_object_get(o, "maps");
	size_t n = json_array_size(maps);
	uint64_t access;

	v->maps = n ? calloc(n, sizeof *v->maps) : NULL;
	if (!json_is_array(maps) || (n && !v->maps) || n > SIO_HOSTS_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *m = json_array_get(maps, i);
		struct sio_map *out = &v->maps[i];

		if (!id(m, "sdc", SIO_HIGH_SDC, &out->sdc) || !sio_find_sdc(s, out->sdc) ||
		    !number(m, "access", SIO_ACCESSES - 1, &access) ||
		    !number(m, "iops", INT32_MAX, &out->iops) ||
		    !number(m, "kbps", INT32_MAX, &out->kbps))
			return false;
		out->access = access;
		v->nmaps++;
	}
	return true;
}

static bool load_volume(struct scaleio *s, const json_t *o)
{
	uint64_t before = s->nvolumes ? s->volumes[s->nvolumes - 1]->id : 0, next = s->next;
	struct sio_volume *v = s->nvolumes < SIO_ALL_MAX ? sio_add_volume(s) : NULL;
	uint64_t pool, limit;

	s->next = next;
	if (!v || !id(o, "id", SIO_HIGH_VOLUME, &v->id) || v->id <= before ||
	    (v->id & UINT32_MAX) >= s->next || !id(o, "vtree", SIO_HIGH_VTREE, &v->vtree) ||
	    !id(o, "ancestor", 0, &v->ancestor) || !id(o, "group", 0, &v->group) ||
	    !text(o, "name", v->name, sizeof v->name) ||
	    !text(o, "class", v->class, sizeof v->class) || !number(o, "kib", KIB_MAX, &v->kib) ||
	    !number(o, "created", INT64_MAX, &v->created) ||
	    !number(o, "pool", SIO_POOLS - 1, &pool) || !flag(o, "thin", &v->thin) ||
	    !flag(o, "snapshot", &v->snapshot) || !flag(o, "compressed", &v->compressed) ||
	    !flag(o, "all_sdcs", &v->all_sdcs) || !number(o, "limit", SIO_READ_ONLY, &limit))
		return false;
	v->pool = (unsigned)pool;
	v->limit = limit;
	/* An ancestor is older: descents end. */
	return load_maps(s, o, v) && v->ancestor < v->id;
}

int sio_load(struct scaleio *s, const json_t *state, struct err *err)
{
	const json_t *volumes = json_object_get(state, "volumes");
	const json_t *hosts = json_object_get(state, "hosts");

	if (!number(state, "next", UINT32_MAX, &s->next) || !json_is_array(volumes) ||
	    !json_is_array(hosts))
		return err_set(err, -EINVAL,
			       "state: 'next', 'volumes' or 'hosts' is not what it should be");
	for (size_t i = 0; i < json_array_size(hosts); i++)
		if (!load_sdc(s, json_array_get(hosts, i)))
			return err_set(err, -EINVAL, "state: hosts[%zu] makes no sense", i);
	for (size_t i = 0; i < json_array_size(volumes); i++)
		if (!load_volume(s, json_array_get(volumes, i)))
			return err_set(err, -EINVAL, "state: volumes[%zu] makes no sense", i);
	return 0;
}
