/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_create.c - volumes and snapshots come to be
 *
 * The array refuses a second object of one name, and that is what repeats rely on: a call whose answer was
 * lost is followed by a look for its name, and sent again only when there is none. One hole is
 * left, as a volume changes its name once: a copy of create() that was on its way for so long that
 * the volume of the first one has been formatted meanwhile finds the first name free. So whoever has
 * made one looks whether the other name is there, and takes its own back then. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"

#define VERSION_MODES 3 /* snapshots have an access mode since then */
#define VERSION_CODED 5

struct wish {
	const struct sgw_names *names;
	const struct sgw_pool *pool;
	uint64_t size;
	bool thick;
};

static int handle_new(struct scaleio *s, const struct sgw_volume *v, json_t **out, struct err *err)
{
	struct sgw_system system;
	int rc = sgw_system_get(s, false, &system, err);

	if (rc)
		return rc;
	*out = json_pack("{s:s, s:s}", "id", v->id, "system", system.id);
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Waits a little until what was just made can be seen. What has another name is not what was made. */
static int read_new(struct scaleio *s, const char *id, const struct sgw_names *names,
		    struct sgw_volume *out, struct err *err)
{
	int rc = -ENOENT;

	for (unsigned n = 0; rc == -ENOENT && n < SGW_VISIBLE_TRIES; n++) {
		if (n)
			sgw_pause(n);
		rc = sgw_volume_by_id(s, id, out, err);
	}
	if (rc == -ENOENT) /* it was there a moment ago */
		return err_set(err, -EAGAIN, "%s: the new volume is not to be seen yet",
			       s->base.name);
	if (rc || !strcmp(out->name, names->fresh) || !strcmp(out->name, names->used))
		return rc;
	sgw_volume_done(out);
	return err_set(err, -EPROTO, "%s: the new volume has another name", s->base.name);
}

/* Whether a call whose answer says that the name is taken, or nothing, is to be followed by a look. */
static bool look_again(int rc)
{
	return rc == -EAGAIN || rc == -EEXIST;
}

static int name_unseen(const struct scaleio *s, int rc, struct err *err)
{
	if (rc != -EEXIST)
		return rc;
	return err_set(err, -EAGAIN, "%s: the volume's name is in use, but it is not to be seen",
		       s->base.name);
}

/* --- volumes --------------------------------------------------------------- */

static int compare(const struct scaleio *s, const struct sgw_volume *v, const struct wish *w,
		   struct err *err)
{
	if (*v->ancestor)
		return err_set(err, -EEXIST, "%s: volume \"%s\" exists, and is a copy of another",
			       s->base.name, v->name);
	if (v->size != w->size)
		return err_set(err, -EEXIST,
			       "%s: volume \"%s\" exists with %" PRIu64 " GiB instead of %" PRIu64,
			       s->base.name, v->name, v->size >> 30, w->size >> 30);
	if (*v->pool && strcasecmp(v->pool, w->pool->id) != 0)
		return err_set(err, -EEXIST, "%s: volume \"%s\" exists in another pool",
			       s->base.name, v->name);
	if (v->thick != w->thick)
		return err_set(err, -EEXIST, "%s: volume \"%s\" exists with provisioning %s",
			       s->base.name, v->name, v->thick ? "thick" : "thin");
	return 0;
}

static int post_volume(struct scaleio *s, const struct wish *w, char id[SGW_ID_MAX],
		       enum sgw_fault *fault, struct err *err)
{
	char kib[24];
	json_t *answer = NULL;
	int rc;

	snprintf(kib, sizeof kib, "%" PRIu64, w->size / 1024);
	rc = sgw_post(s, "create volume", false,
		      json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", w->names->fresh,
				"storagePoolId", w->pool->id, "protectionDomainId", w->pool->domain,
				"volumeType", w->thick ? "ThickProvisioned" : "ThinProvisioned",
				"volumeSizeInKb", kib),
		      &answer, fault, err, "/api/types/Volume/instances");
	if (rc)
		return rc;
	/* Done, but what? As with an answer that was lost. */
	if (!sgw_is_id(rest_text(answer, "id")))
		rc = err_set(err, -EAGAIN, "%s: create volume: the answer has no id", s->base.name);
	else
		snprintf(id, SGW_ID_MAX, "%s", rest_text(answer, "id"));
	json_decref(answer);
	return rc;
}

/* v, just made: taken back when the owner has a volume already, which v becomes then. */
static int settle(struct scaleio *s, const struct sgw_names *names, struct sgw_volume *v,
		  struct err *err)
{
	struct sgw_volume other = { .mapped = NULL };
	int rc = sgw_volume_by_name(s, names->used, &other, err);

	if (rc == -ENOENT)
		return 0;
	if (!rc && strcasecmp(other.id, v->id) != 0)
		rc = sgw_volume_remove(s, v, err);
	if (rc) {
		sgw_volume_done(&other);
		return rc;
	}
	sgw_volume_done(v);
	*v = other;
	return 0;
}

static int make_volume(struct scaleio *s, const struct wish *w, struct sgw_volume *out,
		       enum sgw_fault *fault, struct err *err)
{
	char id[SGW_ID_MAX];
	int rc = 0;

	for (unsigned n = 0; n < SGW_TRIES; n++) {
		int found;

		if (n)
			sgw_pause(n);
		rc = post_volume(s, w, id, fault, err);
		if (!rc)
			rc = read_new(s, id, w->names, out, err);
		if (!rc)
			return settle(s, w->names, out, err);
		if (!look_again(rc))
			return rc;
		found = sgw_volume_by_names(s, w->names, out, NULL);
		if (!found)
			return 0;
		if (found != -ENOENT)
			return name_unseen(s, rc, err);
	}
	return name_unseen(s, rc, err);
}

static int have_volume(struct scaleio *s, const struct wish *w, json_t **handle, uint64_t *size,
		       enum sgw_fault *fault, struct err *err)
{
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_volume_by_name(s, w->names->used, &v, err);

	*fault = SGW_OK;
	if (rc == -ENOENT)
		rc = make_volume(s, w, &v, fault, err);
	if (!rc)
		rc = compare(s, &v, w, err);
	if (!rc)
		rc = handle_new(s, &v, handle, err);
	if (!rc)
		*size = v.size;
	sgw_volume_done(&v);
	return rc;
}

static int check_pool(const struct scaleio *s, const struct sgw_plan *plan,
		      const struct sgw_pool *pool, struct err *err)
{
	if (!pool->padded && !plan->allow_unpadded)
		return err_set(
			err, -EINVAL,
			"%s: pool \"%s\" hands out blocks with former content (zero padding is "
			"off); \"allow_unpadded\" takes it all the same",
			s->base.name, plan->pool);
	if (pool->thin_only && plan->thick)
		return err_set(err, -EINVAL, "%s: pool \"%s\" has thin volumes only", s->base.name,
			       plan->pool);
	return 0;
}

int scaleio_create(struct provider *p, const struct provider_ref *ref,
		   const struct provider_spec *spec, json_t **handle, uint64_t *size,
		   struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	enum sgw_fault fault = SGW_OK;
	struct sgw_names names;
	struct sgw_pool pool;
	struct sgw_plan plan;
	struct wish w = { .names = &names, .pool = &pool };
	int rc = sgw_plan_read(ref->plan, &plan, err);

	if (rc)
		return rc;
	sgw_names_of(s, ref->owner, &names);
	w.thick = plan.thick;
	/* A second time when the pool that was known has gone: another may have its name. */
	for (int round = 0; round < 2; round++) {
		rc = sgw_pool_get(s, &plan, &pool, err);
		rc = rc ? rc : check_pool(s, &plan, &pool, err);
		rc = rc ? rc : sgw_round(spec->size, pool.step, &w.size, err);
		if (rc)
			break;
		rc = have_volume(s, &w, handle, size, &fault, err);
		if (!rc || fault != SGW_CONFIG)
			break;
		sgw_pools_forget(s);
	}
	sgw_plan_done(&plan);
	return rc;
}

/* --- snapshots ------------------------------------------------------------- */

static int check_source(struct scaleio *s, const struct sgw_volume *source,
			struct sgw_version *version, struct err *err)
{
	struct sgw_pool pool;
	int rc = sgw_version_of(s, version, err);

	if (rc || version->major < VERSION_CODED || !*source->pool)
		return rc;
	rc = sgw_pool_by_id(s, source->pool, &pool, err);
	if (!rc && pool.coded)
		rc = err_set(err, -EOPNOTSUPP,
			     "%s: snapshots in erasure-coded pools are not supported",
			     s->base.name);
	return rc;
}

static int post_snapshot(struct scaleio *s, const struct sgw_volume *source, const char *name,
			 const char *mode, char id[SGW_ID_MAX], struct err *err)
{
	json_t *body = json_pack("{s:[{s:s, s:s}], s:s*}", "snapshotDefs", "volumeId", source->id,
				 "snapshotName", name, "accessModeLimit", mode);
	json_t *answer = NULL;
	struct sgw_system system;
	const char *made;
	int rc = sgw_system_get(s, false, &system, err);

	if (rc) {
		json_decref(body);
		return rc;
	}
	rc = sgw_post(s, "create snapshot", false, body, &answer, NULL, err,
		      "/api/instances/System::%s/action/snapshotVolumes", system.id);
	if (rc)
		return rc;
	made = json_string_value(json_array_get(json_object_get(answer, "volumeIdList"), 0));
	if (!made || !sgw_is_id(made))
		rc = err_set(err, -EAGAIN, "%s: create snapshot: the answer has no id",
			     s->base.name);
	else
		snprintf(id, SGW_ID_MAX, "%s", made);
	json_decref(answer);
	return rc;
}

/* The snapshot of source with that name, made or there already. */
static int have_snapshot(struct scaleio *s, const struct sgw_volume *source,
			 const struct sgw_names *names, const char *mode, struct sgw_volume *out,
			 struct err *err)
{
	const char *name = names->used;
	char id[SGW_ID_MAX];
	int rc = -EAGAIN;

	for (unsigned n = 0; n < SGW_TRIES; n++) {
		int found = sgw_volume_by_name(s, name, out, n ? NULL : err);

		if (!found) {
			if (!strcasecmp(out->ancestor, source->id))
				return 0;
			sgw_volume_done(out);
			return err_set(err, -EEXIST,
				       "%s: volume \"%s\" exists, and is no copy of "
				       "\"%s\"",
				       s->base.name, name, source->name);
		}
		if (found != -ENOENT)
			return n ? name_unseen(s, rc, err) : found;
		if (n)
			sgw_pause(n);
		rc = post_snapshot(s, source, name, mode, id, err);
		if (!rc)
			return read_new(s, id, names, out, err);
		if (!look_again(rc))
			return rc;
	}
	return name_unseen(s, rc, err);
}

/* A copy of what *of* means under ref's name. *out is set on success. */
static int copy(struct scaleio *s, const struct provider_ref *of, const struct provider_ref *ref,
		const char *mode, uint64_t size, struct sgw_volume *out, struct err *err)
{
	struct sgw_version version;
	struct sgw_volume source = { .mapped = NULL };
	struct sgw_names names;
	int rc = sgw_volume_find(s, of, &source, err);

	if (rc)
		return rc;
	sgw_names_of(s, ref->owner, &names);
	rc = check_source(s, &source, &version, err);
	if (!rc && size && size < source.size)
		rc = err_set(err, -ERANGE,
			     "%s: the snapshot has %" PRIu64 " GiB, and a volume of it "
			     "cannot be smaller",
			     s->base.name, source.size >> 30);
	if (!rc)
		rc = have_snapshot(s, &source, &names, version.major >= VERSION_MODES ? mode : NULL,
				   out, err);
	sgw_volume_done(&source);
	return rc;
}

int scaleio_snapshot(struct provider *p, const struct provider_ref *of,
		     const struct provider_ref *ref, json_t **handle, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	int rc = copy(s, of, ref, "ReadOnly", 0, &v, err);

	if (rc)
		return rc;
	rc = handle_new(s, &v, handle, err);
	sgw_volume_done(&v);
	return rc;
}

int scaleio_restore(struct provider *p, const struct provider_ref *of,
		    const struct provider_ref *ref, const struct provider_spec *spec,
		    json_t **handle, uint64_t *size, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	uint64_t want = 0;
	int rc = spec->size ? sgw_round(spec->size, SGW_STEP, &want, err) : 0;

	rc = rc ? rc : copy(s, of, ref, "ReadWrite", want, &v, err);
	if (rc)
		return rc;
	if (want > v.size)
		rc = sgw_volume_grow(s, &v, want, err);
	if (!rc)
		rc = handle_new(s, &v, handle, err);
	if (!rc)
		*size = v.size;
	sgw_volume_done(&v);
	return rc;
}
