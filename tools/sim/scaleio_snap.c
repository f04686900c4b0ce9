/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_snap.c - snapshots: volumes of the same tree that begin with the same content. A group is
 * made as a whole or not at all, but for the fault "half", which ends after its first one. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define DEFS_MAX 1024
#define CODE_TIMEOUT 68

struct def {
	struct sio_volume *of;
	const char *name; /* borrowed from the body; may be NULL */
};

static bool names_differ(struct sio_call *c, const struct def *defs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++) {
			if (!defs[i].name || !defs[j].name || strcmp(defs[i].name, defs[j].name))
				continue;
			sio_fail(c, 99);
			return false;
		}
	}
	return true;
}

/* Those there and those asked for. */
static bool vtree_has_room(struct sio_call *c, const struct def *defs, size_t n, uint64_t vtree)
{
	size_t snaps = 0;

	for (size_t i = 0; i < c->s->nvolumes; i++)
		snaps += c->s->volumes[i]->vtree == vtree && c->s->volumes[i]->snapshot;
	for (size_t i = 0; i < n; i++)
		snaps += defs[i].of->vtree == vtree;
	if (snaps <= SIO_VTREE_SNAPS_MAX)
		return true;
	sio_fail(c, 182);
	c->details = "TOO_MANY_SNAPS_IN_VTREE";
	return false;
}

static bool read_def(struct sio_call *c, const json_t *o, struct def *out)
{
	uint64_t id;

	if (!json_is_object(o)) {
		sio_bad(c, 400, 62, "Wrong command parameters");
		return false;
	}
	if (!sio_id_key(c, o, "volumeId", &id) ||
	    !sio_text(c, o, "snapshotName", false, &out->name) || !sio_check_name(c, out->name))
		return false;
	out->of = sio_find_volume(c->s, id);
	if (!out->of || out->of->removed_ms) {
		sio_fail(c, sio_not_found(c->s));
		return false;
	}
	/* 5.x makes these by other calls, of which nothing is known here. */
	if (sio_pools[out->of->pool].ec) {
		sio_fail(c, 62);
		return false;
	}
	return true;
}

static struct sio_volume *make(struct sio_call *c, const struct def *d, unsigned limit,
			       uint64_t group)
{
	struct sio_volume *v = sio_add_volume(c->s);

	if (!v)
		return NULL;
	v->vtree = d->of->vtree;
	v->ancestor = d->of->id;
	v->snapshot = true;
	v->group = group;
	strcpy(v->name, d->name ? d->name : "");
	strcpy(v->class, d->of->class);
	v->kib = d->of->kib;
	v->pool = d->of->pool;
	v->thin = true;
	v->compressed = d->of->compressed;
	v->limit = limit;
	v->created = sim_now(c->s->sim);
	return sio_image_make(c->s, v) || sio_image_copy(c->s, d->of, v) ? NULL : v;
}

static void forget_group(struct sio_call *c, uint64_t group)
{
	for (size_t i = 0; i < c->s->nvolumes; i++)
		if (c->s->volumes[i]->group == group && !c->s->volumes[i]->removed_ms)
			sio_begin_removal(c, c->s->volumes[i]);
}

static json_t *make_all(struct sio_call *c, const struct def *defs, size_t n, unsigned limit)
{
	uint64_t group = SIO_HIGH_GROUP << 32 | c->s->next;
	json_t *ids = json_array();

	for (size_t i = 0; i < (c->half ? 1 : n); i++) {
		const struct sio_volume *v = make(c, &defs[i], limit, group);

		if (!v) {
			json_decref(ids);
			forget_group(c, group);
			return sio_fail(c, 67);
		}
		json_array_append_new(ids, sio_id_text(v->id));
	}
	sim_changed(c->s->sim);
	if (c->half) {
		json_decref(ids);
		return sio_fail(c, CODE_TIMEOUT);
	}
	return json_pack("{s:o, s:o}", "volumeIdList", ids, "snapshotGroupId", sio_id_text(group));
}

json_t *sio_snapshot(struct sio_call *c)
{
	const json_t *list = json_object_get(c->body, "snapshotDefs");
	size_t n = json_array_size(list);
	AUTO_FREE struct def *defs = calloc(n + 1, sizeof *defs);
	unsigned limit;

	if (!n || n > DEFS_MAX || !defs)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	if (!sio_choice(c, c->body, "accessModeLimit", sio_access_names, SIO_READ_WRITE, &limit))
		return NULL;
	if (limit == SIO_NO_ACCESS ||
	    (c->s->version < 300 && json_object_get(c->body, "accessModeLimit")))
		return sio_bad(c, 400, 62, "Wrong command parameters");
	for (size_t i = 0; i < n; i++)
		if (!read_def(c, json_array_get(list, i), &defs[i]))
			return NULL;
	if (!names_differ(c, defs, n))
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!vtree_has_room(c, defs, n, defs[i].of->vtree))
			return NULL;
	if (c->s->nvolumes + n > SIO_ALL_MAX)
		return sio_fail(c, 96);
	return make_all(c, defs, n, limit);
}

json_t *sio_remove_group(struct sio_call *c)
{
	struct scaleio *s = c->s;
	uint64_t group;
	int n = 0;

	if (!sio_id_key(c, c->body, "snapGroupId", &group))
		return NULL;
	for (size_t i = 0; group && i < s->nvolumes; i++)
		if (s->volumes[i]->group == group &&
		    (s->volumes[i]->nmaps || s->volumes[i]->all_sdcs))
			return sio_fail(c, 104);
	for (size_t i = 0; group && i < s->nvolumes && !(c->half && n); i++)
		if (s->volumes[i]->group == group && !s->volumes[i]->removed_ms)
			n += sio_begin_removal(c, s->volumes[i]);
	if (!n)
		return sio_fail(c, 185);
	sim_changed(s->sim);
	return c->half ? sio_fail(c, CODE_TIMEOUT) : json_pack("{s:i}", "numberOfVolumes", n);
}
