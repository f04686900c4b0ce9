/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_volume.c - volumes made, grown, renamed and removed.
 *
 * A call that is half executed (the fault "half") does its work, or the first part of it, and fails with
 * a timeout: what a client then believes is wrong. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/scaleio_impl.h"

#define CODE_TIMEOUT 68

static const char *const volume_types[] = { "ThinProvisioned", "ThickProvisioned", NULL };
static const char *const compressions[] = { "None", "Normal", NULL };

unsigned sio_not_found(const struct scaleio *s)
{
	return s->version < 200 ? 78 : 79;
}

void sio_free_volume(struct sio_volume *v)
{
	if (v)
		free(v->maps);
	free(v);
}

struct sio_volume *sio_add_volume(struct scaleio *s)
{
	struct sio_volume *v = calloc(1, sizeof *v);

	if (v && s->nvolumes == s->volumes_cap) {
		size_t cap = s->volumes_cap ? s->volumes_cap * 2 : 64;
		struct sio_volume **all = realloc(s->volumes, cap * sizeof *all);

		if (!all) {
			free(v);
			return NULL;
		}
		s->volumes = all;
		s->volumes_cap = cap;
	}
	if (!v)
		return NULL;
	v->id = SIO_HIGH_VOLUME << 32 | s->next;
	v->vtree = SIO_HIGH_VTREE << 32 | s->next++;
	s->volumes[s->nvolumes++] = v;
	return v;
}

static void drop_volume(struct scaleio *s, struct sio_volume *v)
{
	size_t i = 0;

	while (s->volumes[i] != v)
		i++;
	memmove(&s->volumes[i], &s->volumes[i + 1], (s->nvolumes - i - 1) * sizeof(void *));
	s->nvolumes--;
	s->nremoved -= v->removed_ms > 0;
	for (i = 0; i < s->nvolumes; i++)
		if (s->volumes[i]->ancestor == v->id)
			s->volumes[i]->ancestor = v->ancestor;
	sio_free_volume(v);
}

void sio_reap(struct scaleio *s)
{
	uint64_t now = clock_ms();

	for (size_t i = s->nvolumes; s->nremoved && i-- > 0;)
		if (s->volumes[i]->removed_ms && s->volumes[i]->removed_ms <= now)
			drop_volume(s, s->volumes[i]);
}

/* --- checks ---------------------------------------------------------------- */

bool sio_check_name(struct sio_call *c, const char *name)
{
	unsigned code = 0;

	if (!name)
		return true;
	if (strlen(name) > SIO_NAME_MAX)
		code = 226;
	else if (!*name)
		code = 227;
	else if (sio_find_name(c->s, name))
		code = 99;
	for (const char *p = name; *p && code != 226; p++)
		if (!isgraph((unsigned char)*p))
			code = 227;
	if (code)
		sio_fail(c, code);
	return !code;
}

/* Rounds up, or refuses, as the setting says. */
static bool check_size(struct sio_call *c, unsigned pool, uint64_t *kib)
{
	uint64_t step = sio_pools[pool].ec ? SIO_GIB_KIB : SIO_STEP_KIB;

	if (*kib > SIO_SIZE_MAX_KIB) {
		sio_fail(c, 190);
		return false;
	}
	if ((!*kib || *kib % step) && c->s->opt->rounding == SIO_ROUND_REFUSE) {
		sio_fail(c, 225);
		return false;
	}
	*kib = *kib ? (*kib + step - 1) / step * step : step;
	return true;
}

/* Thick volumes have room of their own; all together may be promised so many times the pool. */
bool sio_room(struct sio_call *c, unsigned pool, bool thin, uint64_t kib)
{
	uint64_t capacity = c->s->opt->capacity / 1024, thick = 0, all = 0;

	for (size_t i = 0; i < c->s->nvolumes; i++) {
		const struct sio_volume *v = c->s->volumes[i];

		if (v->pool != pool || v->removed_ms || v->snapshot)
			continue;
		all += v->kib;
		thick += v->thin ? 0 : v->kib;
	}
	if (!thin && thick + kib > capacity) {
		sio_fail(c, 67);
		return false;
	}
	if (all + kib > capacity * c->s->opt->overcommit) {
		sio_fail(c, 300);
		return false;
	}
	return true;
}

static json_t *half_or(struct sio_call *c, json_t *answer_take)
{
	sim_changed(c->s->sim);
	if (!c->half)
		return answer_take;
	json_decref(answer_take);
	return sio_fail(c, CODE_TIMEOUT);
}

/* --- create ---------------------------------------------------------------- */

static bool read_size(struct sio_call *c, uint64_t *kib)
{
	bool in_kib, in_gib;
	uint64_t gib = 0;

	if (!sio_number(c, "volumeSizeInKb", false, kib, &in_kib) ||
	    !sio_number(c, "volumeSizeInGb", false, &gib, &in_gib))
		return false;
	if (in_kib == in_gib) {
		sio_bad(c, 400, in_kib ? 62 : 0,
			"Request message is not valid: One of the following parameter(s) must be "
			"part of the request body: volumeSizeInKb, volumeSizeInGb.");
		return false;
	}
	if (in_gib)
		*kib = gib > SIO_SIZE_MAX_KIB / SIO_GIB_KIB ? UINT64_MAX : gib * SIO_GIB_KIB;
	return true;
}

static bool read_pool(struct sio_call *c, unsigned *pool)
{
	const char *text, *domain;
	uint64_t id = 0, domain_id = 0;
	unsigned code = 0;

	if (!sio_text(c, c->body, "storagePoolId", false, &text) ||
	    !sio_text(c, c->body, "protectionDomainId", false, &domain))
		return false;
	if ((text && !sio_id_key(c, c->body, "storagePoolId", &id)) ||
	    (domain && !sio_id_key(c, c->body, "protectionDomainId", &domain_id)))
		return false;
	*pool = (unsigned)(id & UINT32_MAX);
	if (!text)
		code = 188;
	else if (domain && (domain_id >> 32 != SIO_HIGH_DOMAIN ||
			    !sio_domain_exists(c->s, (unsigned)(domain_id & UINT32_MAX))))
		code = 142;
	else if (id >> 32 != SIO_HIGH_POOL || !sio_pool_exists(c->s, *pool))
		code = 171;
	else if (domain && (domain_id & UINT32_MAX) != sio_pools[*pool].domain)
		code = 197;
	if (code)
		sio_fail(c, code);
	return !code;
}

struct wish {
	const char *name, *class;
	unsigned pool, type, compression;
	uint64_t kib;
	bool rmcache;
};

/* What releases and kinds of pools do not have. */
static bool check_kind(struct sio_call *c, const struct wish *w)
{
	const struct sio_pool *p = &sio_pools[w->pool];
	bool compresses = json_object_get(c->body, "compressionMethod");

	if ((w->type && (p->fine || p->ec)) || (compresses && c->s->version < 300) ||
	    (compresses && w->compression && !p->fine) || (compresses && p->ec) ||
	    (w->class && c->s->version < 400)) {
		sio_fail(c, 62);
		return false;
	}
	if (w->class && strlen(w->class) > SIO_NAME_MAX) {
		sio_fail(c, 64);
		return false;
	}
	return true;
}

static bool check_count(struct sio_call *c, size_t more)
{
	size_t volumes = 0;

	for (size_t i = 0; i < c->s->nvolumes; i++)
		volumes += !c->s->volumes[i]->snapshot;
	if (volumes + more > c->s->opt->volumes_max || c->s->nvolumes + more > SIO_ALL_MAX) {
		sio_fail(c, 96);
		return false;
	}
	return true;
}

json_t *sio_create(struct sio_call *c)
{
	struct wish w = { 0 };
	struct sio_volume *v;

	if (!read_size(c, &w.kib) || !read_pool(c, &w.pool) ||
	    !sio_text(c, c->body, "name", false, &w.name) ||
	    !sio_text(c, c->body, "volumeClass", false, &w.class) ||
	    !sio_choice(c, c->body, "volumeType", volume_types, 0, &w.type) ||
	    !sio_choice(c, c->body, "compressionMethod", compressions, 0, &w.compression) ||
	    !sio_flag(c, "useRmcache", false, &w.rmcache))
		return NULL;
	if (!check_kind(c, &w) || !check_size(c, w.pool, &w.kib) || !sio_check_name(c, w.name) ||
	    !check_count(c, 1) || !sio_room(c, w.pool, !w.type, w.kib))
		return NULL;
	v = sio_add_volume(c->s);
	if (!v)
		return sio_fail(c, 67);
	strcpy(v->name, w.name ? w.name : "");
	strcpy(v->class, w.class ? w.class : "");
	v->kib = w.kib;
	v->pool = w.pool;
	v->thin = !w.type;
	v->compressed = w.compression;
	v->created = sim_now(c->s->sim);
	if (sio_image_make(c->s, v)) {
		sio_image_remove(c->s, v);
		drop_volume(c->s, v);
		return sio_fail(c, 67);
	}
	return half_or(c, json_pack("{s:o}", "id", sio_id_text(v->id)));
}

/* --- change ---------------------------------------------------------------- */

json_t *sio_set_size(struct sio_call *c, struct sio_volume *v)
{
	uint64_t gib = 0, kib, old = v->kib;
	bool there;

	if (!sio_number(c, "sizeInGB", true, &gib, &there))
		return NULL;
	kib = gib > SIO_SIZE_MAX_KIB / SIO_GIB_KIB ? UINT64_MAX : gib * SIO_GIB_KIB;
	if (!check_size(c, v->pool, &kib))
		return NULL;
	if (kib < old || (kib == old && c->s->opt->same_size == SIO_SAME_REFUSE))
		return sio_fail(c, 133);
	if (!sio_room(c, v->pool, v->thin, kib - old))
		return NULL;
	v->kib = kib;
	if (sio_image_grow(c->s, v)) {
		v->kib = old;
		return sio_fail(c, 67);
	}
	return half_or(c, json_object());
}

json_t *sio_set_name(struct sio_call *c, struct sio_volume *v)
{
	const char *name;

	if (!sio_text(c, c->body, "newName", true, &name) || !sio_check_name(c, name))
		return NULL;
	strcpy(v->name, name);
	return half_or(c, json_object());
}

json_t *sio_set_limit(struct sio_call *c, struct sio_volume *v)
{
	unsigned limit;

	if (c->s->version < 300)
		return sio_no_route(c);
	if (!sio_choice(c, c->body, "accessModeLimit", sio_access_names, SIO_ACCESSES, &limit))
		return NULL;
	if (limit >= SIO_NO_ACCESS)
		return sio_bad(c, 400, 62, "Wrong command parameters");
	v->limit = limit;
	return half_or(c, json_object());
}

json_t *sio_overwrite(struct sio_call *c, struct sio_volume *v)
{
	struct sio_volume *from;
	uint64_t id;

	if (!sio_id_key(c, c->body, "srcVolumeId", &id))
		return NULL;
	from = sio_find_volume(c->s, id);
	if (!from)
		return sio_fail(c, sio_not_found(c->s));
	if (from == v)
		return sio_fail(c, 330);
	if (from->vtree != v->vtree)
		return sio_fail(c, 198);
	if (sio_image_copy(c->s, from, v))
		return sio_fail(c, 67);
	return half_or(c, json_object());
}

/* --- remove ---------------------------------------------------------------- */

enum remove_mode { ONLY_ME, INCLUDING_DESCENDANTS, DESCENDANTS_ONLY, WHOLE_VTREE, REMOVE_MODES };
static const char *const remove_modes[] = { "ONLY_ME", "INCLUDING_DESCENDANTS", "DESCENDANTS_ONLY",
					    "WHOLE_VTREE", NULL };

static bool descends(struct scaleio *s, const struct sio_volume *v, uint64_t from)
{
	while (v && v->ancestor && v->ancestor != from)
		v = sio_find_volume(s, v->ancestor);
	return v && v->ancestor;
}

static bool is_meant(struct scaleio *s, const struct sio_volume *v, const struct sio_volume *of,
		     enum remove_mode mode)
{
	switch (mode) {
	case ONLY_ME:
		return v == of;
	case INCLUDING_DESCENDANTS:
		return v == of || descends(s, v, of->id);
	case DESCENDANTS_ONLY:
		return descends(s, v, of->id);
	default:
		return v->vtree == of->vtree;
	}
}

bool sio_begin_removal(struct sio_call *c, struct sio_volume *v)
{
	if (v->removed_ms) {
		sio_fail(c, 212);
		return false;
	}
	if (v->nmaps || v->all_sdcs) {
		sio_fail(c, 104);
		return false;
	}
	v->removed_ms = clock_ms() + c->s->opt->remove_delay_ms;
	c->s->nremoved++;
	sio_image_remove(c->s, v);
	return true;
}

json_t *sio_remove(struct sio_call *c, struct sio_volume *v)
{
	struct scaleio *s = c->s;
	AUTO_FREE struct sio_volume **meant = calloc(s->nvolumes, sizeof *meant);
	size_t n = 0;
	unsigned mode;

	if (!sio_choice(c, c->body, "removeMode", remove_modes, REMOVE_MODES, &mode))
		return NULL;
	if (mode == REMOVE_MODES || !meant)
		return sio_bad(c, 400, 0,
			       "Request message is not valid: The following parameter(s) must be "
			       "part of the request body: removeMode.");
	for (size_t i = 0; i < s->nvolumes; i++)
		if (is_meant(s, s->volumes[i], v, mode))
			meant[n++] = s->volumes[i];
	if (!n)
		return sio_fail(c, 183);
	for (size_t i = 0; i < n; i++)
		if (meant[i]->nmaps || meant[i]->all_sdcs)
			return sio_fail(c, 104);
	for (size_t i = 0; i < (c->half ? 1 : n); i++)
		if (!sio_begin_removal(c, meant[i]))
			return NULL;
	return half_or(c, json_object());
}
