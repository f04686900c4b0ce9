/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_volume.c - the life of a volume
 *
 *     create:  directory, owner and mode, quota, export       each step looks for what an earlier try has left
 *     remove:  export, quota, snapshot of that name, directory to .trash-NAME, its tree; then the export once more
 *
 * The export comes last and goes first: what has one is complete. A create that is killed anywhere is continued by
 * the next, or cleared away by remove(). A directory with a quota cannot be deleted nor moved, and an export outlives its
 * directory, hence the order. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"

#define TRASH ".trash-"
#define SNAPSHOTS "/platform/1/snapshot/snapshots"
#define IFS "/ifs"

static struct onefs *of_provider(struct provider *p)
{
	return CONTAINER_OF(p, struct onefs, base);
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

/* --- create ------------------------------------------------------------------------------ */

static int make_directory(struct onefs *o, const struct isi_volume *v, const json_t *plan,
			  struct err *err)
{
	mode_t mode = isi_plan_mode(plan);
	int rc = isi_ns_stat(o, v->path, NULL, err);

	if (rc == -ENOENT)
		rc = isi_ns_mkdir(o, v->path, mode, err);
	if (rc)
		return rc;
	return isi_ns_own(o, v->path, isi_plan_id(plan, "uid"), isi_plan_id(plan, "gid"), mode,
			  err);
}

/* Fills a new volume from a tree, unless it is complete already: an application may be using it. */
static int fill(struct onefs *o, const struct isi_volume *v, const json_t *plan, const char *from,
		struct err *err)
{
	json_t *object = NULL;
	int rc = isi_export_get(o, v, &object, NULL);

	if (!rc) {
		json_decref(object);
		return 0;
	}
	if (rc != -ENOENT)
		return err_set(err, rc, "%s: it cannot be told whether %.200s is complete",
			       o->base.name, v->path);
	rc = isi_ns_copy(o, from, v->path, err);
	/* The copy may have brought the owner of the tree with it. */
	return rc ? rc :
		    isi_ns_own(o, v->path, isi_plan_id(plan, "uid"), isi_plan_id(plan, "gid"),
			       isi_plan_mode(plan), err);
}

static json_t *make_handle(const struct isi_volume *v, const char *quota)
{
	json_t *handle = json_pack("{s:s, s:s, s:s, s:I}", "name", v->name, "path", v->path, "zone",
				   v->zone, "export", (json_int_t)v->export_id);

	if (handle && *quota && json_object_set_new(handle, "quota", json_string(quota))) {
		json_decref(handle);
		return NULL;
	}
	return handle;
}

static int make_steps(struct onefs *o, struct isi_volume *v, const struct provider_ref *ref,
		      uint64_t size, const char *from, struct isi_quota *q, struct err *err)
{
	int rc = make_directory(o, v, ref->plan, err);

	if (!rc && size)
		rc = isi_quota_ensure(o, v->path, size, isi_plan_quota_optional(ref->plan), q, err);
	if (!rc && from)
		rc = fill(o, v, ref->plan, from, err);
	if (!rc)
		rc = isi_export_ensure(o, v, ref->owner, &v->export_id, err);
	/* One of them has lost what an earlier one has made. */
	return rc == -ENOENT ? -EAGAIN : rc;
}

static int make_volume(struct onefs *o, const struct provider_ref *ref,
		       const struct provider_spec *spec, const char *from, json_t **handle,
		       uint64_t *size, struct err *err)
{
	struct isi_quota q = { .id = "" };
	struct isi_volume v;
	struct isi_place place;
	int rc = isi_locate(o, ref, &v, err);

	if (rc)
		return rc;
	if (v.is_snapshot)
		return err_set(err, -EEXIST, "%s: %s is a snapshot", o->base.name, v.name);
	if (spec->size > ONEFS_SIZE_MAX)
		return err_set(err, -EINVAL, "%s: size %llu is more than %llu bytes", o->base.name,
			       (unsigned long long)spec->size, (unsigned long long)ONEFS_SIZE_MAX);
	snprintf(place.base, sizeof place.base, "%.*s", (int)(strrchr(v.path, '/') - v.path),
		 v.path);
	memcpy(place.zone, v.zone, sizeof place.zone);
	rc = isi_zone_check(o, &place, err);
	if (!rc)
		rc = make_steps(o, &v, ref, spec->size, from, &q, err);
	if (rc)
		return rc;
	*handle = make_handle(&v, q.id);
	if (!*handle)
		return no_memory(err);
	*size = *q.id ? q.hard : 0;
	return 0;
}

int isi_create(struct provider *p, const struct provider_ref *ref, const struct provider_spec *spec,
	       json_t **handle, uint64_t *size, struct err *err)
{
	return make_volume(of_provider(p), ref, spec, NULL, handle, size, err);
}

/* --- remove ---------------------------------------------------------------------------------- */

static int remove_snapshot(struct onefs *o, const struct isi_volume *v, struct err *err)
{
	int rc = isi_snapshot_remove(o, v->name, err);

	/* An account that may not touch snapshots has made none. */
	return rc == -EACCES && !v->is_snapshot ? 0 : rc;
}

/* The directory can neither be moved nor deleted: of that kind is one whose quota has come since ours was removed, by a
 * create that is still on its way. */
static int explain_refusal(struct onefs *o, const struct isi_volume *v, struct err *err)
{
	struct isi_quota q = { .id = "" };
	struct err ignored;

	if (isi_quota_find(o, v->path, &q, &ignored) || !*q.id)
		return -EACCES;
	return err_set(err, -EAGAIN, "%s: volume %s is being made at the same time", o->base.name,
		       v->name);
}

static int remove_volume(struct onefs *o, const struct isi_volume *v, struct err *err)
{
	char trash[ONEFS_PATH_MAX + PROVIDER_NAME_MAX];
	int rc;

	if (v->is_snapshot)
		return remove_snapshot(o, v, err);
	snprintf(trash, sizeof trash, "%.*s/" TRASH "%s", (int)(strrchr(v->path, '/') - v->path),
		 v->path, v->name);
	rc = isi_export_remove(o, v, err);
	if (!rc)
		rc = isi_quota_remove(o, v->path, err);
	if (!rc)
		rc = remove_snapshot(o, v, err);
	if (!rc)
		rc = isi_ns_remove(o, v->path, trash, err);
	if (rc == -EACCES)
		rc = explain_refusal(o, v, err);
	/* Of a create whose answer was lost it may show only now. */
	return rc ? rc : isi_export_remove(o, v, err);
}

int isi_remove(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_volume v;
	int rc = isi_locate(o, ref, &v, err);

	return rc ? rc : remove_volume(o, &v, err);
}

int isi_remove_name(struct provider *p, const char *name, struct err *err)
{
	AUTO_FREE struct isi_place *places = calloc(ONEFS_PLACES_MAX, sizeof *places);
	struct onefs *o = of_provider(p);
	size_t n;
	int rc = 0;

	if (!places)
		return no_memory(err);
	if (!provider_is_made_name(o->cfg.name_prefix, name))
		return err_set(err, -EINVAL, "%s: '%.64s' is no name of a volume of ours",
			       o->base.name, name);
	n = isi_places(o, places);
	for (size_t i = 0; !rc && i < n; i++) {
		struct isi_volume v = { .export_id = 0 };
		int len = snprintf(v.path, sizeof v.path, "%s/%s", places[i].base, name);

		if (len < 0 || (size_t)len >= sizeof v.path)
			continue;
		snprintf(v.name, sizeof v.name, "%s", name);
		memcpy(v.zone, places[i].zone, sizeof v.zone);
		rc = remove_volume(o, &v, err);
	}
	return rc;
}

/* --- get ----------------------------------------------------------------------------------------- */

static int get_snapshot(struct onefs *o, const struct isi_volume *v, struct provider_volume *out,
			struct err *err)
{
	struct isi_snapshot s;
	int rc = isi_snapshot_find(o, v->name, &s, err);

	if (rc)
		return rc;
	memset(out, 0, sizeof *out);
	snprintf(out->name, sizeof out->name, "%s", v->name);
	out->used = s.size;
	out->created = s.created;
	return 0;
}

int isi_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
	    struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_volume v;
	struct isi_quota q;
	uint64_t created = 0;
	json_t *object = NULL;
	int rc = isi_locate(o, ref, &v, err);

	if (rc)
		return rc;
	if (v.is_snapshot)
		return get_snapshot(o, &v, out, err);
	rc = isi_ns_stat(o, v.path, &created, err);
	if (rc == -ENOENT && !ref->handle && !get_snapshot(o, &v, out, NULL))
		return 0;
	if (rc)
		return rc;
	rc = isi_quota_find(o, v.path, &q, err);
	if (rc && rc != -EOPNOTSUPP)
		return rc;
	rc = isi_export_get(o, &v, &object, err);
	if (rc && rc != -ENOENT)
		return rc;
	memset(out, 0, sizeof *out);
	snprintf(out->name, sizeof out->name, "%s", v.name);
	out->size = q.hard;
	out->used = q.used;
	out->created = created;
	out->nhosts = object ? isi_clients_count(o, object, NULL, 0) : 0;
	json_decref(object);
	return 0;
}

/* --- list ------------------------------------------------------------------------------------------- */

/* Adds those of the names that look like ours to a set. */
static int add_names(const struct onefs *o, json_t *set, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (name && !strncmp(name, TRASH, strlen(TRASH)))
			name += strlen(TRASH); /* half removed: to be removed once more */
		if (name && provider_is_made_name(o->cfg.name_prefix, name) &&
		    json_object_set_new(set, name, json_true()))
			return -ENOMEM;
	}
	return 0;
}

static int keep_name(void *arg, json_t *item, json_t *into)
{
	(void)arg;
	return json_is_string(json_object_get(item, "name")) &&
			       json_array_append(into, json_object_get(item, "name")) ?
		       -ENOMEM :
		       0;
}

static int snapshot_names(struct onefs *o, json_t **out, struct err *err)
{
	const struct isi_list l = { .call = "list snapshots",
				    .path = SNAPSHOTS "?limit=" ONEFS_PAGE,
				    .more = SNAPSHOTS,
				    .key = "snapshots",
				    .keep = keep_name };
	int rc = isi_list(o, &l, out, err);

	if (rc != -EOPNOTSUPP && rc != -EACCES && rc != -ENOENT)
		return rc;
	*out = json_array(); /* no licence, no privilege: none of ours */
	return *out ? 0 : no_memory(err);
}

static int list_place(struct onefs *o, const struct isi_place *place, json_t *set, struct err *err)
{
	json_t *names = NULL;
	int rc = isi_ns_list(o, place->base, &names, err);

	if (!rc)
		rc = add_names(o, set, names);
	else if (rc == -ENOENT) /* nothing has been made there yet */
		rc = 0;
	json_decref(names);
	names = NULL;
	if (!rc)
		rc = isi_export_names(o, place, &names, err);
	if (!rc)
		rc = add_names(o, set, names);
	json_decref(names);
	return rc;
}

static int collect(struct onefs *o, json_t *set, struct err *err)
{
	AUTO_FREE struct isi_place *places = calloc(ONEFS_PLACES_MAX, sizeof *places);
	json_t *names = NULL;
	size_t n;
	int rc;

	if (!places)
		return no_memory(err);
	n = isi_places(o, places);
	rc = snapshot_names(o, &names, err);
	if (!rc)
		rc = add_names(o, set, names);
	json_decref(names);
	for (size_t i = 0; !rc && i < n; i++)
		rc = list_place(o, &places[i], set, err);
	return rc;
}

int isi_list_volumes(struct provider *p, provider_found *found, void *arg, struct err *err)
{
	struct onefs *o = of_provider(p);
	json_t *set = json_object(), *value;
	const char *name;
	int rc;

	if (!set)
		return no_memory(err);
	rc = collect(o, set, err);
	if (!rc) {
		json_object_foreach(set, name, value) {
			struct provider_volume v = { .size = PROVIDER_UNKNOWN,
						     .used = PROVIDER_UNKNOWN };

			snprintf(v.name, sizeof v.name, "%s", name);
			if (!found(arg, &v))
				break;
		}
	}
	json_decref(set);
	return rc;
}

/* --- grow ----------------------------------------------------------------------------------------------- */

int isi_grow(struct provider *p, const struct provider_ref *ref, uint64_t want, uint64_t *size,
	     struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_volume v;
	struct isi_quota q;
	int rc = isi_locate(o, ref, &v, err);

	if (!rc && v.is_snapshot)
		rc = err_set(err, -EOPNOTSUPP, "%s: a snapshot does not grow", o->base.name);
	if (!rc && (!want || want > ONEFS_SIZE_MAX))
		rc = err_set(err, -EINVAL, "%s: size %llu is not between 1 and %llu bytes",
			     o->base.name, (unsigned long long)want,
			     (unsigned long long)ONEFS_SIZE_MAX);
	if (!rc)
		rc = isi_ns_stat(o, v.path, NULL, err);
	if (rc)
		return rc;
	rc = isi_quota_find(o, v.path, &q, err);
	if (rc == -EOPNOTSUPP && isi_plan_quota_optional(ref->plan))
		rc = 0; /* q is empty */
	if (rc)
		return rc;
	if (!*q.id && isi_plan_quota_optional(ref->plan)) {
		*size = 0; /* without a limit, it is large enough */
		return 0;
	}
	if (!*q.id)
		return err_set(err, -ERANGE, "%s: volume %s has no limit: any would be smaller",
			       o->base.name, v.name);
	if (want < q.hard)
		return err_set(err, -ERANGE, "%s: volume %s has %llu bytes, %llu are less",
			       o->base.name, v.name, (unsigned long long)q.hard,
			       (unsigned long long)want);
	if (q.used != PROVIDER_UNKNOWN && want < q.used)
		return err_set(err, -ERANGE, "%s: volume %s holds %llu bytes, %llu are less",
			       o->base.name, v.name, (unsigned long long)q.used,
			       (unsigned long long)want);
	if (want != q.hard)
		rc = isi_quota_set(o, q.id, want, err);
	if (!rc)
		*size = want;
	return rc;
}

/* --- snapshots --------------------------------------------------------------------------------------------- */

int isi_snapshot(struct provider *p, const struct provider_ref *of, const struct provider_ref *ref,
		 json_t **handle, struct err *err)
{
	struct onefs *o = of_provider(p);
	char name[PROVIDER_NAME_MAX];
	struct isi_volume v;
	struct isi_snapshot s;
	int rc = isi_locate(o, of, &v, err);

	if (!rc && v.is_snapshot)
		rc = err_set(err, -EOPNOTSUPP, "%s: a snapshot of a snapshot is not supported",
			     o->base.name);
	if (!rc)
		rc = isi_ns_stat(o, v.path, NULL, err);
	if (rc)
		return rc;
	p->ops->name_of(p, ref->owner, name);
	rc = isi_snapshot_ensure(o, name, v.path, &s, err);
	if (rc)
		return rc;
	*handle = json_pack("{s:s, s:s, s:s, s:I}", "name", name, "path", v.path, "zone", v.zone,
			    "snapshot", (json_int_t)s.id);
	return *handle ? 0 : no_memory(err);
}

int isi_restore(struct provider *p, const struct provider_ref *of, const struct provider_ref *ref,
		const struct provider_spec *spec, json_t **handle, uint64_t *size, struct err *err)
{
	struct onefs *o = of_provider(p);
	char from[ONEFS_PATH_MAX + PROVIDER_NAME_MAX + 16];
	struct isi_volume v;
	struct isi_snapshot s;
	int rc = isi_locate(o, of, &v, err);

	if (!rc)
		rc = isi_snapshot_find(o, v.name, &s, err);
	if (rc)
		return rc;
	if (strncmp(s.path, IFS "/", strlen(IFS "/")) != 0)
		return err_set(err, -EPROTO,
			       "%s: snapshot %s is of %.200s, which is not below " IFS,
			       o->base.name, v.name, s.path);
	snprintf(from, sizeof from, IFS "/.snapshot/%s%s", v.name, s.path + strlen(IFS));
	return make_volume(o, ref, spec, from, handle, size, err);
}
