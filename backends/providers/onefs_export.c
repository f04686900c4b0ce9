/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_export.c - exports
 *
 * Ours is one that says so in its description, and exports our path alone. The array refuses a
 * second export of a path, unless it is told to ignore warnings: an old release has to be, when a
 * client's name has no address. Two copies of a creation may both succeed then; the one with the lowest id stays. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define DESCRIPTION "persifs volume "
#define OWNER_MAX 128 /* bytes of an owner in a description */

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

/* "/platform/N/protocols/nfs/exports", owned. */
static int export_root(struct onefs *o, char **out, struct err *err)
{
	unsigned version;
	int rc = isi_version(o, &version, err);

	if (rc)
		return rc;
	if (asprintf(out, "/platform/%d/protocols/nfs/exports", version < 2 ? 1 : 2) < 0) {
		*out = NULL;
		return no_memory(err);
	}
	return 0;
}

/* URL of one export, or of all (id 0), with the argument key, which may be NULL. Owned. */
int isi_export_url(struct onefs *o, const char *zone, uint64_t id, const char *key,
		   const char *value, char **out, struct err *err)
{
	AUTO_FREE char *root = NULL;
	AUTO_FREE char *one = NULL;
	int rc = export_root(o, &root, err);

	if (rc)
		return rc;
	if (id && asprintf(&one, "%s/%llu", root, (unsigned long long)id) < 0) {
		one = NULL;
		return no_memory(err);
	}
	*out = isi_url(id ? one : root, "zone", isi_zone_arg(zone), key, value);
	return *out ? 0 : no_memory(err);
}

static uint64_t export_id(const json_t *object)
{
	uint64_t id;

	return rest_u64(json_object_get(object, "id"), &id) ? id : 0;
}

/* --- what is there ------------------------------------------------------------------------ */

bool isi_export_is_ours(const json_t *object, const struct isi_volume *v)
{
	const json_t *paths = json_object_get(object, "paths");
	const char *path = json_string_value(json_array_get(paths, 0));
	const char *text = rest_text(object, "description");
	size_t n = strlen(DESCRIPTION), len = strlen(v->name);

	return json_array_size(paths) == 1 && path && !strcmp(path, v->path) &&
	       !strncmp(text, DESCRIPTION, n) && !strncmp(text + n, v->name, len) &&
	       (!text[n + len] || text[n + len] == ' ');
}

static int keep_path(void *arg, json_t *item, json_t *into)
{
	const json_t *paths = json_object_get(item, "paths");

	for (size_t i = 0; i < json_array_size(paths); i++) {
		const char *path = json_string_value(json_array_get(paths, i));

		if (path && !strcmp(path, arg) && export_id(item))
			return json_array_append(into, item) ? -ENOMEM : 0;
	}
	return 0;
}

int isi_export_find(struct onefs *o, const struct isi_volume *v, json_t **out, struct err *err)
{
	AUTO_FREE char *root = NULL;
	AUTO_FREE char *url = NULL;
	struct isi_list l = { .call = "look for export",
			      .key = "exports",
			      .keep = keep_path,
			      .arg = (void *)v->path };
	int rc = export_root(o, &root, err);

	/* Releases that do not know the filter answer all. */
	if (!rc)
		rc = isi_export_url(o, v->zone, 0, "path", v->path, &url, err);
	if (rc)
		return rc;
	l.path = url;
	l.more = root;
	return isi_list(o, &l, out, err);
}

int isi_export_read(struct onefs *o, const char *zone, uint64_t id, json_t **out, struct err *err)
{
	AUTO_FREE char *url = NULL;
	struct isi_call c = { .name = "read export", .method = "GET", .safe = true };
	struct isi_reply a;
	json_t *object;
	int rc = isi_export_url(o, zone, id, NULL, NULL, &url, err);

	if (rc)
		return rc;
	c.path = url;
	rc = isi_call(o, &c, &a, err);
	object = json_array_get(json_object_get(a.rest.json, "exports"), 0);
	if (!rc && export_id(object) != id)
		rc = err_set(err, -EPROTO, "%s: read export: the answer does not hold export %llu",
			     o->base.name, (unsigned long long)id);
	if (!rc)
		*out = json_incref(object);
	isi_reply_done(&a);
	return rc;
}

int isi_export_get(struct onefs *o, const struct isi_volume *v, json_t **out, struct err *err)
{
	json_t *found = NULL;
	int rc = -ENOENT;

	if (v->export_id)
		rc = isi_export_read(o, v->zone, v->export_id, out, err);
	if (!rc && isi_export_is_ours(*out, v))
		return 0;
	if (!rc) { /* the number is somebody else's now */
		json_decref(*out);
		rc = -ENOENT;
	}
	if (rc != -ENOENT)
		return rc;
	rc = isi_export_find(o, v, &found, err);
	if (rc)
		return rc;
	rc = -ENOENT;
	for (size_t i = 0; rc && i < json_array_size(found); i++) {
		json_t *object = json_array_get(found, i);

		if (!isi_export_is_ours(object, v))
			continue;
		*out = json_incref(object);
		rc = 0;
	}
	json_decref(found);
	return rc ? err_set(err, rc, "%s: %.300s is not exported", o->base.name, v->path) : 0;
}

/* --- removal --------------------------------------------------------------------------------- */

static int export_delete(struct onefs *o, const struct isi_volume *v, uint64_t id, struct err *err)
{
	AUTO_FREE char *url = NULL;
	struct isi_call c = { .name = "delete export", .method = "DELETE", .safe = true };
	int rc = isi_export_url(o, v->zone, id, NULL, NULL, &url, err);

	if (rc)
		return rc;
	c.path = url;
	rc = isi_do(o, &c, err);
	return rc == -ENOENT ? 0 : rc;
}

static int may_remove(const struct onefs *o, const struct isi_volume *v, const json_t *object,
		      struct err *err)
{
	char first[128];

	if (!isi_export_is_ours(object, v))
		return err_set(err, -EBUSY, "%s: %.300s has an export, %llu, that is not ours",
			       o->base.name, v->path, (unsigned long long)export_id(object));
	/* With lists that are fixed, an entry is not a cell that has it mounted. */
	if (o->managed && isi_clients_count(o, object, first, sizeof first))
		return err_set(err, -EBUSY, "%s: volume %s is still used by %s", o->base.name,
			       v->name, first);
	return 0;
}

int isi_export_remove(struct onefs *o, const struct isi_volume *v, struct err *err)
{
	json_t *found = NULL;
	int rc = isi_export_find(o, v, &found, err);

	if (rc == -ENOENT) /* no such zone, or an array without exports */
		return 0;
	for (size_t i = 0; !rc && i < json_array_size(found); i++)
		rc = may_remove(o, v, json_array_get(found, i), err);
	for (size_t i = 0; !rc && i < json_array_size(found); i++)
		rc = export_delete(o, v, export_id(json_array_get(found, i)), err);
	json_decref(found);
	return rc;
}

/* --- creation ---------------------------------------------------------------------------------- */

/* Who may mount from the beginning; never nobody, as that would be everybody. */
static json_t *first_clients(const struct onefs *o)
{
	json_t *list = json_pack("[s]", ONEFS_DUMMY);

	if (list && !o->managed && json_array_extend(list, o->networks)) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static json_t *description(const struct isi_volume *v, const char *owner)
{
	char text[sizeof DESCRIPTION + PROVIDER_NAME_MAX + OWNER_MAX + 8];
	json_t *json;

	snprintf(text, sizeof text, DESCRIPTION "%s of %.*s", v->name, OWNER_MAX, owner);
	json = json_string(text);
	if (!json) { /* cut within a character, or none */
		snprintf(text, sizeof text, DESCRIPTION "%s", v->name);
		json = json_string(text);
	}
	return json;
}

static json_t *export_body(struct onefs *o, const struct isi_volume *v, const char *owner)
{
	json_t *clients = first_clients(o), *words = description(v, owner);
	json_t *body;

	if (!clients || !words) {
		json_decref(clients);
		json_decref(words);
		return NULL;
	}
	/* map_root is left as it is: nobody. */
	body = json_pack("{s:[s], s:o, s:o, s:b, s:[s]}", "paths", v->path, "description", words,
			 "clients", clients, "read_only", 0, "security_flavors", "unix");
	return body;
}

static int export_post(struct onefs *o, const struct isi_volume *v, const json_t *body,
		       const char *key, uint64_t *id, struct err *err)
{
	AUTO_FREE char *url = NULL;
	struct isi_call c = { .name = "make export", .method = "POST", .body = body };
	struct isi_reply a;
	int rc = isi_export_url(o, v->zone, 0, key, "true", &url, err);

	if (rc)
		return rc;
	c.path = url;
	rc = isi_call(o, &c, &a, err);
	if (!rc) {
		*id = export_id(a.rest.json);
		if (!*id) /* done, but which is it? Its path will tell */
			rc = err_set(err, -EAGAIN, "%s: make export: the answer has no id",
				     o->base.name);
	}
	if (rc == -EINVAL && isi_says(&a, "bad hostname"))
		rc = -EADDRNOTAVAIL; /* for export_make() alone */
	isi_reply_done(&a);
	return rc;
}

/* What to say about names without an address depends on the release: the fine switch, nothing, or force, which
 * ignores a good deal more, a second export of the path among it. */
static int export_make(struct onefs *o, const struct isi_volume *v, const json_t *body,
		       bool *forced, uint64_t *id, struct err *err)
{
	int rc = -EINVAL;

	*forced = false;
	if (o->set.ignore_hosts && !atomic_load(&o->old_switches)) {
		rc = export_post(o, v, body, "ignore_unresolvable_hosts", id, err);
		if (rc != -EINVAL)
			return rc == -EADDRNOTAVAIL ? -EINVAL : rc;
	}
	rc = export_post(o, v, body, NULL, id, err);
	if (o->set.ignore_hosts && rc != -EINVAL) /* it was the switch that was refused */
		atomic_store(&o->old_switches, true);
	if (rc == -EADDRNOTAVAIL && o->set.ignore_hosts) {
		*forced = true;
		rc = export_post(o, v, body, "force", id, err);
	}
	return rc == -EADDRNOTAVAIL ? -EINVAL : rc;
}

static int export_make_body(struct onefs *o, const struct isi_volume *v, const char *owner,
			    bool *forced, uint64_t *id, struct err *err)
{
	json_t *body = export_body(o, v, owner);
	int rc;

	*forced = false;
	if (!body)
		return no_memory(err);
	rc = export_make(o, v, body, forced, id, err);
	json_decref(body);
	return rc;
}

static bool is_passing(int rc)
{
	return rc == -EAGAIN || rc == -EPROTO;
}

/* A new export is not there at once on all nodes. To give up before it shows would leave it behind: a remove() that
 * comes now does not find it. */
static int wait_visible(struct onefs *o, const struct isi_volume *v, uint64_t id, struct err *err)
{
	uint64_t deadline = clock_ms() + ONEFS_VISIBLE_MS;
	json_t *object;
	int rc = 0;

	for (unsigned try = 0; try < ONEFS_VISIBLE_TRIES && clock_ms() < deadline; try++) {
		rc = isi_export_read(o, v->zone, id, &object, err);
		if (!rc)
			json_decref(object);
		if (rc != -ENOENT && !is_passing(rc))
			return rc;
		isi_pause(o, try);
	}
	if (rc != -ENOENT)
		return rc;
	return err_set(err, -EAGAIN, "%s: export %llu has been made, but cannot be seen yet",
		       o->base.name, (unsigned long long)id);
}

/* The lowest id of ours into *id, 0 when there is none; further ones of ours go. */
static int settle(struct onefs *o, const struct isi_volume *v, json_t *found, uint64_t *id,
		  struct err *err)
{
	int rc = 0;

	*id = 0;
	for (size_t i = 0; i < json_array_size(found); i++) {
		const json_t *object = json_array_get(found, i);
		uint64_t n = export_id(object);

		if (!isi_export_is_ours(object, v))
			return err_set(err, -EEXIST,
				       "%s: %.300s has an export, %llu, that is not ours",
				       o->base.name, v->path, (unsigned long long)n);
		if (!*id || n < *id)
			*id = n;
	}
	for (size_t i = 0; !rc && i < json_array_size(found); i++) {
		uint64_t n = export_id(json_array_get(found, i));

		if (n != *id)
			rc = export_delete(o, v, n, err);
	}
	return rc;
}

static int look(struct onefs *o, const struct isi_volume *v, uint64_t *id, struct err *err)
{
	json_t *found = NULL;
	int rc = isi_export_find(o, v, &found, err);

	if (!rc)
		rc = settle(o, v, found, id, err);
	json_decref(found);
	return rc;
}

/* Whether one that may have been made appears; an array that is busy just then may still have made it. */
static int look_again(struct onefs *o, const struct isi_volume *v, unsigned tries, uint64_t *id,
		      struct err *err)
{
	uint64_t deadline = clock_ms() + ONEFS_VISIBLE_MS;
	int rc = 0;

	*id = 0;
	for (unsigned try = 0; try < tries && clock_ms() < deadline; try++) {
		isi_pause(o, try);
		rc = look(o, v, id, err);
		if (*id || (rc && !is_passing(rc)))
			break;
	}
	return rc;
}

static int make_or_find(struct onefs *o, const struct isi_volume *v, const char *owner,
			uint64_t *id, struct err *err)
{
	struct err why = { "" };
	bool forced;
	int rc = export_make_body(o, v, owner, &forced, id, &why), seen;

	if (!rc) {
		rc = wait_visible(o, v, *id, err);
		return rc || !forced ? rc : look(o, v, id, err);
	}
	if (err)
		*err = why;
	if (rc != -EEXIST && rc != -EAGAIN)
		return rc;
	/* A copy of this call, or the answer that was lost, has made it: it shows soon. */
	seen = look_again(o, v, rc == -EEXIST ? ONEFS_VISIBLE_TRIES : ONEFS_LOST_TRIES, id, err);
	if (seen || *id)
		return seen;
	if (err)
		*err = why;
	return rc;
}

int isi_export_ensure(struct onefs *o, const struct isi_volume *v, const char *owner, uint64_t *id,
		      struct err *err)
{
	json_t *wanted;
	int rc = look(o, v, id, err);

	if (rc)
		return rc;
	if (!*id)
		return make_or_find(o, v, owner, id, err);
	/* One of an earlier call, whose lists may have been touched since. */
	wanted = first_clients(o);
	if (!wanted)
		return no_memory(err);
	rc = isi_clients_change(o, v, *id, wanted, true, NULL, err);
	json_decref(wanted);
	return rc;
}

/* --- names ---------------------------------------------------------------------------------------- */

struct names {
	const struct onefs *o;
	const char *base;
};

/* The name of a volume below base, when the export is ours. */
static int keep_ours(void *arg, json_t *item, json_t *into)
{
	const struct names *n = arg;
	const char *path = json_string_value(json_array_get(json_object_get(item, "paths"), 0));
	size_t len = strlen(n->base);
	struct isi_volume v = { .zone = "" };

	if (!path || strncmp(path, n->base, len) != 0 || path[len] != '/' ||
	    !provider_is_made_name(n->o->cfg.name_prefix, path + len + 1))
		return 0;
	snprintf(v.name, sizeof v.name, "%s", path + len + 1);
	snprintf(v.path, sizeof v.path, "%s", path);
	if (!isi_export_is_ours(item, &v))
		return 0;
	return json_array_append_new(into, json_string(v.name)) ? -ENOMEM : 0;
}

int isi_export_names(struct onefs *o, const struct isi_place *place, json_t **out, struct err *err)
{
	AUTO_FREE char *root = NULL;
	AUTO_FREE char *url = NULL;
	struct names n = { .o = o, .base = place->base };
	struct isi_list l = {
		.call = "list exports", .key = "exports", .keep = keep_ours, .arg = &n
	};
	int rc = export_root(o, &root, err);

	if (!rc)
		rc = isi_export_url(o, place->zone, 0, "limit", ONEFS_PAGE, &url, err);
	if (rc)
		return rc;
	l.path = url;
	l.more = root;
	return isi_list(o, &l, out, err);
}
