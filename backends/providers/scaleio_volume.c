/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_volume.c - volumes: found, read, listed, grown, renamed, removed */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define REMOVES_MAX 4 /* volumes that one owner may have left by calls that were killed */
#define GIB ((uint64_t)1 << 30)

/* --- names ----------------------------------------------------------------- */

void sgw_names_of(const struct scaleio *s, const char *owner, struct sgw_names *out)
{
	provider_make_name(s->cfg.name_prefix, owner, out->used);
	provider_make_name(s->fresh_prefix, owner, out->fresh);
}

bool sgw_names_from(const struct scaleio *s, const char *name, struct sgw_names *out)
{
	const char *hash;

	if (provider_is_made_name(s->cfg.name_prefix, name))
		hash = name + strlen(s->cfg.name_prefix);
	else if (provider_is_made_name(s->fresh_prefix, name))
		hash = name + strlen(s->fresh_prefix);
	else
		return false;
	snprintf(out->used, sizeof out->used, "%s%s", s->cfg.name_prefix, hash);
	snprintf(out->fresh, sizeof out->fresh, "%s%s", s->fresh_prefix, hash);
	return true;
}

bool sgw_is_fresh(const struct scaleio *s, const struct sgw_volume *v)
{
	return provider_is_made_name(s->fresh_prefix, v->name) && !*v->ancestor;
}

/* --- reading --------------------------------------------------------------- */

void sgw_volume_done(struct sgw_volume *v)
{
	json_decref(v->mapped);
	memset(v, 0, sizeof *v);
}

static bool take_id(const json_t *object, const char *key, char out[SGW_ID_MAX])
{
	const char *id = rest_text(object, key);

	if (!sgw_is_id(id))
		return false;
	snprintf(out, SGW_ID_MAX, "%s", id);
	return true;
}

int sgw_volume_parse(const json_t *object, struct sgw_volume *out, struct err *err)
{
	const char *name = rest_text(object, "name"), *type = rest_text(object, "volumeType");
	json_t *mapped = json_object_get(object, "mappedSdcInfo");
	struct sgw_volume v = { .mapped = NULL };
	uint64_t kib;

	if (!take_id(object, "id", v.id))
		return err_set(err, -EPROTO, "volume: the answer has no id");
	if (!rest_u64(json_object_get(object, "sizeInKb"), &kib) || kib > SGW_SIZE_MAX)
		return err_set(err, -EPROTO, "volume %s: the answer has no size", v.id);
	v.size = kib * 1024;
	if (strlen(name) < sizeof v.name) /* a longer one is not ours */
		snprintf(v.name, sizeof v.name, "%s", name);
	take_id(object, "storagePoolId", v.pool);
	take_id(object, "vtreeId", v.vtree);
	take_id(object, "ancestorVolumeId", v.ancestor);
	if (!rest_u64(json_object_get(object, "creationTime"), &v.created))
		v.created = 0;
	v.thick = !strcasecmp(type, "ThickProvisioned");
	v.to_all = json_is_true(json_object_get(object, "mappingToAllSdcsEnabled"));
	if (mapped && !json_is_array(mapped) && !json_is_null(mapped))
		return err_set(err, -EPROTO, "volume %s: its mappings are no list", v.id);
	v.mapped = json_is_array(mapped) ? json_incref(mapped) : NULL;
	*out = v;
	return 0;
}

int sgw_volume_by_id(struct scaleio *s, const char *id, struct sgw_volume *out, struct err *err)
{
	json_t *object = NULL;
	int rc = sgw_get(s, "read volume", &object, NULL, err, "/api/instances/Volume::%s", id);

	if (!rc)
		rc = sgw_volume_parse(object, out, err);
	if (!rc && strcasecmp(out->id, id) != 0) {
		sgw_volume_done(out);
		rc = err_set(err, -EPROTO, "%s: read volume: the answer is about another one",
			     s->base.name);
	}
	json_decref(object);
	return rc;
}

/* The name's id; -ENOENT. */
static int look_up(struct scaleio *s, const char *name, char id[SGW_ID_MAX], struct err *err)
{
	json_t *answer = NULL;
	const char *text;
	enum sgw_fault fault;
	int rc = sgw_post(s, "look up volume", true, json_pack("{s:s}", "name", name), &answer,
			  &fault, err, "/api/types/Volume/instances/action/queryIdByKey");

	if (fault == SGW_NO_ROUTE) /* of the first releases */
		rc = sgw_get(s, "look up volume", &answer, &fault, err,
			     "/api/types/Volume/instances/getByName::%s", name);
	if (rc)
		return rc;
	text = json_is_string(answer) ? json_string_value(answer) : rest_text(answer, "id");
	if (sgw_is_id(text))
		snprintf(id, SGW_ID_MAX, "%s", text);
	else
		rc = err_set(err, -EPROTO, "%s: look up volume: the answer is no id", s->base.name);
	json_decref(answer);
	return rc;
}

int sgw_volume_by_name(struct scaleio *s, const char *name, struct sgw_volume *out, struct err *err)
{
	char id[SGW_ID_MAX];
	int rc = look_up(s, name, id, err);

	if (rc)
		return rc;
	/* Its name is known a little before its id is. */
	for (unsigned n = 0; n < SGW_VISIBLE_TRIES; n++) {
		if (n)
			sgw_pause(n);
		rc = sgw_volume_by_id(s, id, out, err);
		if (rc != -ENOENT)
			break;
	}
	if (!rc && strcmp(out->name, name) != 0) { /* renamed meanwhile */
		sgw_volume_done(out);
		rc = err_set(err, -ENOENT, "%s: volume \"%s\" is not there", s->base.name, name);
	}
	return rc;
}

int sgw_volume_by_names(struct scaleio *s, const struct sgw_names *names, struct sgw_volume *out,
			struct err *err)
{
	int rc = sgw_volume_by_name(s, names->used, out, err);

	if (rc == -ENOENT)
		rc = sgw_volume_by_name(s, names->fresh, out, err);
	if (rc == -ENOENT) /* renamed between the two */
		rc = sgw_volume_by_name(s, names->used, out, err);
	if (rc == -ENOENT)
		err_set(err, rc, "%s: volume \"%s\" is not there", s->base.name, names->used);
	return rc;
}

/* A handle of another system would point to a stranger's volume. */
static int check_system(struct scaleio *s, const json_t *handle, struct err *err)
{
	const char *id = rest_text(handle, "system");
	struct sgw_system system;
	int rc;

	if (!*id)
		return 0;
	rc = sgw_system_get(s, false, &system, err);
	if (!rc && strcasecmp(system.id, id) != 0)
		rc = err_set(err, -EINVAL,
			     "%s: the volume is of system %.32s, the gateway serves %s",
			     s->base.name, id, system.id);
	return rc;
}

static bool is_ours(const struct scaleio *s, const struct sgw_volume *v, const char *owner)
{
	struct sgw_names is, wanted;

	if (!sgw_names_from(s, v->name, &is))
		return false;
	if (!owner)
		return true;
	sgw_names_of(s, owner, &wanted);
	return !strcmp(is.used, wanted.used);
}

int sgw_volume_find(struct scaleio *s, const struct provider_ref *ref, struct sgw_volume *out,
		    struct err *err)
{
	const char *id = rest_text(ref->handle, "id");
	struct sgw_names names;
	int rc = check_system(s, ref->handle, err);

	if (rc)
		return rc;
	if (sgw_is_id(id)) {
		rc = sgw_volume_by_id(s, id, out, err);
		if (!rc && is_ours(s, out, ref->owner))
			return 0;
		if (!rc)
			sgw_volume_done(out);
		else if (rc != -ENOENT)
			return rc;
	}
	if (!ref->owner)
		return err_set(err, -ENOENT, "%s: volume %.32s is not there, or not ours",
			       s->base.name, id);
	sgw_names_of(s, ref->owner, &names);
	return sgw_volume_by_names(s, &names, out, err);
}

/* --- for callers ----------------------------------------------------------- */

static void describe(const struct scaleio *s, const struct sgw_volume *v,
		     struct provider_volume *out)
{
	struct sgw_names names;

	memset(out, 0, sizeof *out);
	if (sgw_names_from(s, v->name, &names))
		memcpy(out->name, names.used, sizeof out->name);
	out->size = v->size;
	out->used = v->thick ? v->size : PROVIDER_UNKNOWN;
	out->created = v->created;
	out->fresh = sgw_is_fresh(s, v);
	out->nhosts = (unsigned)json_array_size(v->mapped);
	if (v->to_all && !out->nhosts)
		out->nhosts = 1;
}

/* Blocks that a thin volume has taken; those of its snapshots, in the same tree, are among them. */
static void learn_used(struct scaleio *s, const struct sgw_volume *v, struct provider_volume *out)
{
	json_t *stats = NULL;
	uint64_t kib = 0;
	bool net;

	if (v->thick || !*v->vtree ||
	    sgw_get(s, "volume statistics", &stats, NULL, NULL,
		    "/api/instances/VTree::%s/relationships/Statistics", v->vtree))
		return;
	net = rest_u64(json_object_get(stats, "netCapacityInUseInKb"), &kib);
	if (net || rest_u64(json_object_get(stats, "capacityInUseInKb"), &kib)) {
		out->used = kib > SGW_SIZE_MAX ? v->size : kib * 1024 / (net ? 1 : 2);
		if (out->used > v->size)
			out->used = v->size;
	}
	json_decref(stats);
}

int scaleio_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
		struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_volume_find(s, ref, &v, err);

	if (rc)
		return rc;
	describe(s, &v, out);
	learn_used(s, &v, out);
	sgw_volume_done(&v);
	return 0;
}

int scaleio_list(struct provider *p, provider_found *found, void *arg, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	json_t *list = NULL;
	int rc = sgw_get(s, "list volumes", &list, NULL, err, "/api/types/Volume/instances");

	if (rc)
		return rc;
	if (!json_is_array(list)) {
		json_decref(list);
		return err_set(err, -EPROTO, "%s: list volumes: the answer is no list",
			       s->base.name);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct provider_volume told;
		struct sgw_volume v = { .mapped = NULL };
		struct sgw_names names;
		bool more = true;

		if (sgw_volume_parse(json_array_get(list, i), &v, NULL))
			continue; /* somebody's, of a kind that is not known here */
		if (sgw_names_from(s, v.name, &names)) {
			describe(s, &v, &told);
			more = found(arg, &told);
		}
		sgw_volume_done(&v);
		if (!more)
			break;
	}
	json_decref(list);
	return 0;
}

/* --- removing -------------------------------------------------------------- */

static int is_mapped(const struct scaleio *s, const struct sgw_volume *v, struct err *err)
{
	const json_t *first = json_array_get(v->mapped, 0);

	if (v->to_all)
		return err_set(err, -EBUSY, "%s: the volume is mapped to all hosts", s->base.name);
	if (first)
		return err_set(err, -EBUSY, "%s: the volume is mapped to %.100s", s->base.name,
			       sgw_mapping_name(first));
	return 0;
}

/* Asks once; *again: it is still there and may go later. */
static int remove_once(struct scaleio *s, const struct sgw_volume *v, bool *again, struct err *err)
{
	enum sgw_fault fault;
	int rc = is_mapped(s, v, err);

	*again = false;
	if (rc)
		return rc;
	rc = sgw_post(s, "remove volume", true, json_pack("{s:s}", "removeMode", "ONLY_ME"), NULL,
		      &fault, err, "/api/instances/Volume::%s/action/removeVolume", v->id);
	if (fault == SGW_ABSENT)
		return 0;
	*again = fault == SGW_REMOVING || fault == SGW_MAPPED;
	return rc;
}

int sgw_volume_remove(struct scaleio *s, const struct sgw_volume *v, struct err *err)
{
	uint64_t deadline = clock_ms() + SGW_REMOVE_MS;
	struct sgw_volume now = *v;
	int rc = 0;

	json_incref(now.mapped);
	for (unsigned n = 0;; n++) {
		bool again;
		int removed = remove_once(s, &now, &again, err);

		sgw_volume_done(&now);
		if (!again)
			return removed;
		if (clock_ms() >= deadline)
			return err_set(err, -EAGAIN, "%s: the volume's removal is in progress",
				       s->base.name);
		sgw_pause(n);
		rc = sgw_volume_by_id(s, v->id, &now, err);
		if (rc)
			return rc == -ENOENT ? 0 : rc;
		if (strcmp(now.name, v->name) != 0) { /* it has a new owner, or a mark less */
			sgw_volume_done(&now);
			return err_set(err, -EAGAIN, "%s: the volume changed meanwhile",
				       s->base.name);
		}
	}
}

/* Whatever has one of the names. What was just removed may be found for another moment. */
static int remove_names(struct scaleio *s, const struct sgw_names *names, struct err *err)
{
	struct sgw_volume v = { .mapped = NULL };

	for (unsigned n = 0; n < REMOVES_MAX + SGW_VISIBLE_TRIES; n++) {
		int rc = sgw_volume_by_names(s, names, &v, err);

		if (rc)
			return rc == -ENOENT ? 0 : rc;
		rc = sgw_volume_remove(s, &v, err);
		sgw_volume_done(&v);
		if (rc)
			return rc;
		if (n >= REMOVES_MAX)
			sgw_pause(n - REMOVES_MAX);
	}
	return err_set(err, -EAGAIN, "%s: volume \"%s\" is still there", s->base.name, names->used);
}

int scaleio_remove(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_names names;
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_volume_find(s, ref, &v, err);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	sgw_names_from(s, v.name, &names);
	rc = sgw_volume_remove(s, &v, err);
	sgw_volume_done(&v);
	/* A create that was killed may have left another. */
	return rc ? rc : remove_names(s, &names, err);
}

int scaleio_remove_name(struct provider *p, const char *name, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_names names;

	if (!sgw_names_from(s, name, &names))
		return err_set(err, -EINVAL, "%s: \"%.64s\" is no name of ours", s->base.name,
			       name);
	return remove_names(s, &names, err);
}

/* --- changing -------------------------------------------------------------- */

/* What the array says of a volume's size decides, not what it said of the call: the present size is an error
 * in some releases, and an answer may be lost. */
static int grow_to(struct scaleio *s, struct sgw_volume *v, uint64_t size, struct err *err)
{
	char gib[24], id[SGW_ID_MAX];
	enum sgw_fault fault = SGW_OK;
	int rc = 0;

	snprintf(gib, sizeof gib, "%" PRIu64, size / GIB);
	memcpy(id, v->id, sizeof id);
	for (unsigned n = 0; n < SGW_TRIES; n++) {
		struct sgw_volume now = { .mapped = NULL };
		int read;

		if (n)
			sgw_pause(n);
		if (!n || rc)
			rc = sgw_post(s, "grow volume", false, json_pack("{s:s}", "sizeInGB", gib),
				      NULL, &fault, err,
				      "/api/instances/Volume::%s/action/setVolumeSize", id);
		read = sgw_volume_by_id(s, id, &now, rc ? NULL : err);
		if (read)
			return rc ? rc : read;
		sgw_volume_done(v);
		*v = now;
		if (v->size >= size)
			return 0;
		if (rc && rc != -EAGAIN)
			return rc;
	}
	return rc ? rc :
		    err_set(err, -EAGAIN, "%s: grow volume: it has still the old size",
			    s->base.name);
}

int sgw_volume_grow(struct scaleio *s, struct sgw_volume *v, uint64_t size, struct err *err)
{
	struct sgw_pool pool = { .step = SGW_STEP };
	struct sgw_version version;
	uint64_t want;
	int rc = sgw_version_of(s, &version, err);

	/* Only releases with erasure coding have other steps, so only there the pool matters. */
	if (!rc && version.major >= 5 && *v->pool)
		rc = sgw_pool_by_id(s, v->pool, &pool, err);
	rc = rc ? rc : sgw_round(size, pool.step, &want, err);
	if (rc)
		return rc;
	if (want < v->size)
		return err_set(err, -ERANGE,
			       "%s: the volume has %" PRIu64 " GiB, and cannot become smaller",
			       s->base.name, v->size / GIB);
	return want == v->size ? 0 : grow_to(s, v, want, err);
}

int scaleio_grow(struct provider *p, const struct provider_ref *ref, uint64_t want, uint64_t *size,
		 struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_volume_find(s, ref, &v, err);

	if (rc)
		return rc;
	rc = sgw_volume_grow(s, &v, want, err);
	if (!rc)
		*size = v.size;
	sgw_volume_done(&v);
	return rc;
}

/* As with sizes: the name that it has then decides. A name that is in use may be in use by itself. */
static int rename_once(struct scaleio *s, struct sgw_volume *v, const char *name, struct err *err)
{
	struct sgw_volume now = { .mapped = NULL };
	int read,
		rc = sgw_post(s, "rename volume", false, json_pack("{s:s}", "newName", name), NULL,
			      NULL, err, "/api/instances/Volume::%s/action/setVolumeName", v->id);

	if (rc && rc != -EAGAIN && rc != -EEXIST)
		return rc;
	read = sgw_volume_by_id(s, v->id, &now, rc ? NULL : err);
	if (read)
		return rc ? rc : read;
	sgw_volume_done(v);
	*v = now;
	if (!strcmp(v->name, name))
		return 0;
	return rc ? rc :
		    err_set(err, -EAGAIN, "%s: rename volume: it has still the old name",
			    s->base.name);
}

int scaleio_set_used(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_names names;
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_volume_find(s, ref, &v, err);

	if (rc)
		return rc;
	for (unsigned n = 0; n < SGW_TRIES; n++) {
		if (n)
			sgw_pause(n);
		if (!sgw_names_from(s, v.name, &names))
			rc = err_set(err, -ENOENT, "%s: the volume is not ours any more",
				     s->base.name);
		else if (strcmp(v.name, names.used) != 0)
			rc = rename_once(s, &v, names.used, err);
		if (rc != -EAGAIN)
			break;
	}
	sgw_volume_done(&v);
	return rc;
}
