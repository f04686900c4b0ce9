/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_quota.c - quotas, snapshots, what the cluster says of itself
 *
 * A quota is hard and a container: clients see it as the size of the file system. Paths of queries
 * are compared here once more, as some releases do not look at them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"

#define QUOTAS "/platform/1/quota/quotas"
#define SNAPSHOTS "/platform/1/snapshot/snapshots"

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

/* base/id, encoded. */
static char *url_of(const char *base, const char *id)
{
	AUTO_FREE char *part = rest_escape(id);
	char *url = NULL;

	return part && asprintf(&url, "%s/%s", base, part) >= 0 ? url : NULL;
}

/* --- quotas ------------------------------------------------------------------------------ */

static int keep_path(void *arg, json_t *item, json_t *into)
{
	if (strcmp(rest_text(item, "path"), arg) != 0 || !*rest_text(item, "id"))
		return 0;
	return json_array_append(into, item) ? -ENOMEM : 0;
}

/* type NULL: of all types. */
static int quotas_at(struct onefs *o, const char *path, const char *type, json_t **out,
		     struct err *err)
{
	AUTO_FREE char *url =
		isi_url(QUOTAS, "path", path, "type", type, "recurse_path_children", "false");
	const struct isi_list l = { .call = "look for quota",
				    .path = url,
				    .more = QUOTAS,
				    .key = "quotas",
				    .keep = keep_path,
				    .arg = (void *)path };
	int rc = isi_list(o, &l, out, err);

	if (rc != -ENOENT) /* "quota not found" */
		return rc;
	*out = json_array();
	return *out ? 0 : no_memory(err);
}

static uint64_t usage_of(const json_t *quota)
{
	/* What a hard limit of ours counts comes first; releases differ in the names. */
	static const char *const names[] = { "logical",  "fslogical",  "applogical",
					     "physical", "fsphysical", NULL };
	const json_t *usage = json_object_get(quota, "usage");
	uint64_t n;

	if (json_is_false(json_object_get(quota, "ready")))
		return PROVIDER_UNKNOWN; /* the first scan still counts */
	for (const char *const *name = names; *name; name++)
		if (rest_u64(json_object_get(usage, *name), &n))
			return n;
	return PROVIDER_UNKNOWN;
}

static int read_quota(const struct onefs *o, const json_t *quota, struct isi_quota *out,
		      struct err *err)
{
	const json_t *hard = json_object_get(json_object_get(quota, "thresholds"), "hard");
	const char *id = rest_text(quota, "id");

	memset(out, 0, sizeof *out);
	if (strlen(id) >= sizeof out->id)
		return err_set(err, -EPROTO, "%s: look for quota: its id is too long",
			       o->base.name);
	snprintf(out->id, sizeof out->id, "%s", id);
	if (!rest_u64(hard, &out->hard))
		out->hard = 0;
	out->used = usage_of(quota);
	out->plain = json_is_true(json_object_get(quota, "enforced")) &&
		     !json_is_true(json_object_get(quota, "include_snapshots")) && out->hard;
	return 0;
}

int isi_quota_find(struct onefs *o, const char *path, struct isi_quota *out, struct err *err)
{
	json_t *found = NULL;
	int rc = quotas_at(o, path, "directory", &found, err);

	memset(out, 0, sizeof *out);
	out->used = PROVIDER_UNKNOWN;
	for (size_t i = 0; !rc && i < json_array_size(found); i++) {
		const json_t *quota = json_array_get(found, i);
		const char *type = rest_text(quota, "type");

		if (*type && strcmp(type, "directory") != 0)
			continue;
		rc = read_quota(o, quota, out, err);
		break;
	}
	json_decref(found);
	return rc;
}

static int quota_post(struct onefs *o, const char *path, uint64_t size, struct err *err)
{
	json_t *body = json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:{s:I, s:n, s:n}}", "path", path,
				 "type", "directory", "enforced", 1, "include_snapshots", 0,
				 "thresholds_include_overhead", 0, "container", 1, "thresholds",
				 "hard", (json_int_t)size, "soft", "advisory");
	/* A second one is refused: what it finds is the first. */
	const struct isi_call c = {
		.name = "make quota", .method = "POST", .path = QUOTAS, .body = body, .safe = true
	};
	int rc;

	if (!body)
		return no_memory(err);
	rc = isi_do(o, &c, err);
	json_decref(body);
	return rc;
}

static int quota_check(const struct onefs *o, const char *path, uint64_t size,
		       const struct isi_quota *q, struct err *err)
{
	if (!q->plain)
		return err_set(err, -EEXIST, "%s: %.300s has a quota that is not ours",
			       o->base.name, path);
	if (q->hard != size)
		return err_set(err, -EEXIST,
			       "%s: %.300s has a quota of %llu bytes already, wanted are %llu",
			       o->base.name, path, (unsigned long long)q->hard,
			       (unsigned long long)size);
	return 0;
}

int isi_quota_ensure(struct onefs *o, const char *path, uint64_t size, bool optional,
		     struct isi_quota *out, struct err *err)
{
	int rc = isi_quota_find(o, path, out, err), posted;

	if (rc)
		return rc == -EOPNOTSUPP && optional ? 0 : rc;
	if (*out->id)
		return quota_check(o, path, size, out, err);
	posted = quota_post(o, path, size, err);
	if (posted == -EOPNOTSUPP && optional)
		return 0;
	if (posted == -EOPNOTSUPP)
		return err_set(err, posted,
			       "%s: make quota: the array has no SmartQuotas licence; the plan may "
			       "say quota = ignore",
			       o->base.name);
	if (posted && posted != -EEXIST && posted != -EAGAIN)
		return posted;
	rc = isi_quota_find(o, path, out, posted ? NULL : err);
	if (rc)
		return posted == -EAGAIN ? posted : rc;
	if (!*out->id)
		return posted ? posted :
				err_set(err, -EAGAIN, "%s: make quota: it is not there",
					o->base.name);
	return quota_check(o, path, size, out, err);
}

int isi_quota_set(struct onefs *o, const char *id, uint64_t size, struct err *err)
{
	AUTO_FREE char *url = url_of(QUOTAS, id);
	json_t *body = json_pack("{s:{s:I}}", "thresholds", "hard", (json_int_t)size);
	const struct isi_call c = {
		.name = "change quota", .method = "PUT", .path = url, .body = body, .safe = true
	};
	int rc;

	if (!body)
		return no_memory(err);
	rc = isi_do(o, &c, err);
	json_decref(body);
	return rc;
}

int isi_quota_remove(struct onefs *o, const char *path, struct err *err)
{
	json_t *found = NULL;
	/* Of all types: any of them keeps the directory. */
	int rc = quotas_at(o, path, NULL, &found, err);

	if (rc == -EOPNOTSUPP) /* without a licence there are none that hold */
		return 0;
	for (size_t i = 0; !rc && i < json_array_size(found); i++) {
		AUTO_FREE char *url = url_of(QUOTAS, rest_text(json_array_get(found, i), "id"));
		const struct isi_call c = {
			.name = "delete quota", .method = "DELETE", .path = url, .safe = true
		};

		rc = isi_do(o, &c, err);
		if (rc == -ENOENT)
			rc = 0;
	}
	json_decref(found);
	return rc;
}

/* --- snapshots ------------------------------------------------------------------------------- */

static int read_snapshot(const struct onefs *o, const json_t *s, struct isi_snapshot *out,
			 struct err *err)
{
	const char *path = rest_text(s, "path");

	memset(out, 0, sizeof *out);
	if (!rest_u64(json_object_get(s, "id"), &out->id) || *path != '/' ||
	    strlen(path) >= sizeof out->path)
		return err_set(err, -EPROTO, "%s: look for snapshot: id or path make no sense",
			       o->base.name);
	snprintf(out->path, sizeof out->path, "%s", path);
	if (!rest_u64(json_object_get(s, "created"), &out->created))
		out->created = 0;
	if (!rest_u64(json_object_get(s, "size"), &out->size))
		out->size = PROVIDER_UNKNOWN;
	if (!strcmp(rest_text(s, "state"), "deleting"))
		return err_set(err, -ENOENT, "%s: the snapshot is being deleted", o->base.name);
	return 0;
}

int isi_snapshot_find(struct onefs *o, const char *name, struct isi_snapshot *out, struct err *err)
{
	AUTO_FREE char *url = url_of(SNAPSHOTS, name);
	const struct isi_call c = {
		.name = "look for snapshot", .method = "GET", .path = url, .safe = true
	};
	struct isi_reply a;
	int rc = isi_call(o, &c, &a, err);
	const json_t *s = json_array_get(json_object_get(a.rest.json, "snapshots"), 0);

	if (!rc)
		rc = read_snapshot(o, s, out, err);
	if (!rc && strcmp(rest_text(s, "name"), name) != 0)
		rc = err_set(err, -EPROTO, "%s: look for snapshot: another one is answered",
			     o->base.name);
	isi_reply_done(&a);
	return rc;
}

int isi_snapshot_ensure(struct onefs *o, const char *name, const char *path,
			struct isi_snapshot *out, struct err *err)
{
	json_t *body = json_pack("{s:s, s:s}", "name", name, "path", path);
	/* Names are unique: a second one is refused. */
	const struct isi_call c = { .name = "make snapshot",
				    .method = "POST",
				    .path = SNAPSHOTS,
				    .body = body,
				    .safe = true };
	int rc;

	if (!body)
		return no_memory(err);
	rc = isi_do(o, &c, err);
	json_decref(body);
	if (rc == -EOPNOTSUPP)
		return err_set(err, rc, "%s: make snapshot: the array has no SnapshotIQ licence",
			       o->base.name);
	if (rc && rc != -EEXIST)
		return rc;
	rc = isi_snapshot_find(o, name, out, err);
	if (!rc && strcmp(out->path, path) != 0)
		rc = err_set(err, -EEXIST, "%s: snapshot %s is of another path, %.200s",
			     o->base.name, name, out->path);
	return rc;
}

int isi_snapshot_remove(struct onefs *o, const char *name, struct err *err)
{
	AUTO_FREE char *url = url_of(SNAPSHOTS, name);
	const struct isi_call c = {
		.name = "delete snapshot", .method = "DELETE", .path = url, .safe = true
	};
	int rc = isi_do(o, &c, err);

	/* Without a licence there is none. */
	return rc == -ENOENT || rc == -EOPNOTSUPP ? 0 : rc;
}

/* --- the cluster -------------------------------------------------------------------------------- */

static uint64_t stat_value(const json_t *answer, const char *key)
{
	const json_t *stats = json_object_get(answer, "stats");
	uint64_t n;

	for (size_t i = 0; i < json_array_size(stats); i++) {
		const json_t *stat = json_array_get(stats, i);

		if (!strcmp(rest_text(stat, "key"), key) &&
		    rest_u64(json_object_get(stat, "value"), &n))
			return n;
	}
	return PROVIDER_UNKNOWN;
}

int isi_statistics(struct onefs *o, struct provider_capacity *out, struct err *err)
{
	const struct isi_call c = {
		.name = "capacity",
		.method = "GET",
		.path = "/platform/1/statistics/current?key=ifs.bytes.avail&key=ifs.bytes.total",
		.safe = true
	};
	struct isi_reply a;
	int rc = isi_call(o, &c, &a, err);

	if (!rc && !json_is_array(json_object_get(a.rest.json, "stats")))
		rc = err_set(err, -EPROTO, "%s: capacity: the answer has no list \"stats\"",
			     o->base.name);
	if (!rc) {
		out->total = stat_value(a.rest.json, "ifs.bytes.total");
		out->free = stat_value(a.rest.json, "ifs.bytes.avail");
	}
	isi_reply_done(&a);
	return rc;
}

/* Answers of version N of a resource, at most what the array has. */
static int get_versioned(struct onefs *o, const char *name, unsigned wanted, const char *rest,
			 struct isi_reply *a, struct err *err)
{
	AUTO_FREE char *url = NULL;
	struct isi_call c = { .name = name, .method = "GET", .safe = true };
	unsigned version;
	int rc;

	memset(a, 0, sizeof *a);
	rc = isi_version(o, &version, err);
	if (rc)
		return rc;
	if (asprintf(&url, "/platform/%u/%s", version < wanted ? version : wanted, rest) < 0) {
		url = NULL;
		return no_memory(err);
	}
	c.path = url;
	return isi_call(o, &c, a, err);
}

int isi_health(struct onefs *o, struct err *err)
{
	struct isi_reply a;
	const json_t *settings;
	int rc = get_versioned(o, "cluster config", 3, "cluster/config", &a, err);

	if (!rc && !json_is_object(a.rest.json))
		rc = err_set(err, -EPROTO, "%s: cluster config: the answer is no object",
			     o->base.name);
	if (!rc && json_is_false(json_object_get(a.rest.json, "has_quorum")))
		rc = err_set(err, -EAGAIN, "%s: the cluster has no quorum", o->base.name);
	isi_reply_done(&a);
	if (rc)
		return rc;
	rc = get_versioned(o, "NFS settings", 3, "protocols/nfs/settings/global", &a, err);
	settings = json_object_get(a.rest.json, "settings");
	if (!rc && !json_is_object(settings))
		rc = err_set(err, -EPROTO, "%s: NFS settings: the answer has no \"settings\"",
			     o->base.name);
	if (!rc && json_is_false(json_object_get(settings, "service")))
		rc = err_set(err, -EAGAIN, "%s: the cluster's NFS service is switched off",
			     o->base.name);
	isi_reply_done(&a);
	return rc;
}

static int keep_zone(void *arg, json_t *item, json_t *into)
{
	if (strcasecmp(rest_text(item, "name"), arg) != 0)
		return 0;
	return json_array_append(into, item) ? -ENOMEM : 0;
}

static bool is_below(const char *path, const char *root)
{
	size_t n = strlen(root);

	while (n > 1 && root[n - 1] == '/')
		n--;
	return !strncmp(path, root, n) && (!path[n] || path[n] == '/');
}

int isi_zone_check(struct onefs *o, const struct isi_place *place, struct err *err)
{
	AUTO_FREE char *url = NULL;
	struct isi_list l = {
		.call = "zones", .key = "zones", .keep = keep_zone, .arg = (void *)place->zone
	};
	json_t *found = NULL;
	const char *root;
	unsigned version;
	int rc;

	if (!isi_zone_arg(place->zone))
		return 0;
	rc = isi_version(o, &version, err);
	if (rc)
		return rc;
	if (asprintf(&url, "/platform/%u/zones", version < 3 ? 1 : 3) < 0) {
		url = NULL;
		return no_memory(err);
	}
	l.path = l.more = url;
	rc = isi_list(o, &l, &found, err);
	if (rc) /* an account of a zone may not list them: the export will tell */
		return rc == -EACCES ? 0 : rc;
	root = rest_text(json_array_get(found, 0), "path");
	if (!json_array_size(found))
		rc = err_set(err, -EINVAL, "%s: there is no access zone '%s'", o->base.name,
			     place->zone);
	else if (*root && !is_below(place->base, root))
		rc = err_set(
			err, -EINVAL,
			"%s: base_path %.150s does not lie below the root of zone '%s', %.150s",
			o->base.name, place->base, place->zone, root);
	json_decref(found);
	return rc;
}
