/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_snap.c - snapshots: copies in /ifs/.snapshot/NAME/<path below /ifs>
 *
 * A snapshot is there for others when its copy is whole: until then its state is "creating". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

static json_t *snaps(const struct onefs_call *c)
{
	return json_object_get(c->o->state, "snapshots");
}

static const char *text_of(const json_t *s, const char *key)
{
	const char *t = json_string_value(json_object_get(s, key));

	return t ? t : "";
}

static bool is_licensed(struct onefs_call *c)
{
	if (!onefs_licensed(c->o->opt->snapshot_licence))
		onefs_fail(c, 403, "AEC_INVALID_LICENSE", NULL,
			   "The SnapshotIQ module is not licensed");
	return !c->errors;
}

static void drop_folder(struct onefs_call *c, const char *name)
{
	AUTO_FREE char *place = NULL;

	if (asprintf(&place, "/ifs/.snapshot/%s", name) < 0)
		place = NULL;
	else if (onefs_path_ok(place))
		onefs_remove(c->o, place, REMOVE_ALL, 0);
}

/* Those whose time is over go when somebody asks for snapshots. */
static void drop_expired(struct onefs_call *c)
{
	const char *id;
	json_t *s;
	void *tmp;

	json_object_foreach_safe(snaps(c), tmp, id, s)
	{
		json_int_t expires = json_integer_value(json_object_get(s, "expires"));

		if (!expires || expires > (json_int_t)c->now ||
		    strcmp(text_of(s, "state"), "active") != 0)
			continue;
		drop_folder(c, text_of(s, "name"));
		json_object_del(snaps(c), id);
		c->changed = true;
	}
}

/* By id or name; key gets the id. */
static json_t *find(struct onefs_call *c, char key[24])
{
	const char *id;
	json_t *s;

	drop_expired(c);
	s = json_object_get(snaps(c), c->key);
	snprintf(key, 24, "%.23s", c->key);
	if (!s) {
		json_t *v;

		json_object_foreach(snaps(c), id, v) {
			if (strcmp(text_of(v, "name"), c->key) != 0)
				continue;
			s = v;
			snprintf(key, 24, "%s", id);
		}
	}
	if (!s)
		onefs_fail(c, 404, "AEC_NOT_FOUND", "id", "%s snapshot not found", c->key);
	return s;
}

void onefs_snap_load(struct onefs *o)
{
	json_t *all = json_object_get(o->state, "snapshots"), *s;
	const char *id;
	void *tmp;

	json_object_foreach_safe(all, tmp, id, s)
	{
		if (strcmp(text_of(s, "state"), "active") != 0)
			json_object_del(all, id);
	}
}

/* NULL when they are too long together. */
static char *place_of(const char *name, const char *path)
{
	char *out;

	if (asprintf(&out, "/ifs/.snapshot/%s%s", name, path + 4) < 0)
		return NULL;
	if (onefs_path_ok(out))
		return out;
	free(out);
	return NULL;
}

static void check_name(struct onefs_call *c, const char *name, const char *self)
{
	const char *id;
	json_t *s;

	if (!name || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "name", "name is required, without '/'");
	} else if (strlen(name) > ONEFS_NAME_MAX) {
		onefs_fail(c, 403, "AEC_NAMETOO_LONG", "name", "name is too long");
	} else {
		json_object_foreach(snaps(c), id, s) {
			if (!strcmp(text_of(s, "name"), name) && (!self || strcmp(self, id) != 0))
				onefs_fail(c, 409, "AEC_CONFLICT", "name",
					   "Snapshot '%s' exists already", name);
		}
	}
}

static void check_expires(struct onefs_call *c)
{
	const json_t *e = json_object_get(c->body, "expires");

	if (e && !json_is_null(e) &&
	    (!json_is_integer(e) || json_integer_value(e) <= (json_int_t)c->now))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "expires", "expires must lie in the future");
}

static void check_fields(struct onefs_call *c, const char *allowed)
{
	const char *key;
	json_t *v;

	json_object_foreach(c->body, key, v) {
		if (!onefs_word(allowed, key))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key,
				   "Field '%.64s' is unknown, or fixed", key);
	}
	check_expires(c);
}

void onefs_snaps_post(struct onefs_call *c)
{
	const char *name = json_string_value(json_object_get(c->body, "name"));
	const char *path = json_string_value(json_object_get(c->body, "path"));
	json_t *n = json_object_get(c->o->state, "snapshot_id"), *expires, *s;
	AUTO_FREE char *place = NULL;
	struct stat st;

	if (!is_licensed(c))
		return;
	drop_expired(c);
	check_fields(c, " name path expires alias ");
	check_name(c, name, NULL);
	if (!path || !onefs_path_ok(path))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "path", "path must be one below /ifs");
	else if (onefs_path_below(path, "/ifs/.snapshot"))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path",
			   "A snapshot of snapshots is not possible");
	else if (onefs_stat(c->o, path, &st) || !S_ISDIR(st.st_mode))
		onefs_fail(c, 404, "AEC_NOT_FOUND", "path", "Path '%s' does not exist", path);
	if (c->errors)
		return;
	place = place_of(name, path);
	if (!place) {
		onefs_fail(c, 403, "AEC_NAMETOO_LONG", "path",
			   "The path in the snapshot is too long");
		return;
	}
	json_integer_set(n, json_integer_value(n) + 1);
	snprintf(c->key, sizeof c->key, "%lld", (long long)json_integer_value(n));
	expires = json_object_get(c->body, "expires");
	s = json_pack("{s:I, s:s, s:s, s:I, s:O, s:s, s:i, s:b, s:n, s:n, s:i, s:f, s:f, s:n, s:n}",
		      "id", json_integer_value(n), "name", name, "path", path, "created",
		      (json_int_t)c->now, "expires", expires ? expires : json_null(), "state",
		      "creating", "size", 0, "has_locks", 0, "schedule", "alias", "shadow_bytes", 0,
		      "pct_filesystem", 0.0, "pct_reserve", 0.0, "target_id", "target_name");
	json_object_set_new(snaps(c), c->key, s);
	c->status = 201;
}

/* --- the copy --------------------------------------------------------------- */

struct copying {
	char why[256];
};

static const char *skip_snapshots(void *arg, const char *from)
{
	(void)arg;
	return !strcmp(from, "/ifs/.snapshot") ? "" : NULL;
}

static bool note_failure(void *arg, const char *from, const char *to, const char *why)
{
	struct copying *k = arg;

	(void)to;
	if (*why && !*k->why)
		snprintf(k->why, sizeof k->why, "%.150s: %s", from, why);
	return !*k->why;
}

static void copy_folder(struct onefs_call *c, const char *name, const char *path, struct copying *k)
{
	struct onefs_copy how = { .check = skip_snapshots,
				  .failed = note_failure,
				  .arg = k,
				  .stop_after = c->half ? 1 : 0 };
	AUTO_FREE char *place = place_of(name, path);
	AUTO_FREE char *parent = place ? strdup(place) : NULL;
	int rc = parent ? 0 : -ENOMEM;

	if (!rc && strcmp(path, "/ifs") != 0)
		*strrchr(parent, '/') = '\0';
	rc = rc ? rc : onefs_mkdir(c->o, parent, 0755, true);
	rc = rc < 0 ? rc : onefs_copy_tree(c->o, path, place, &how);
	if (rc < 0 && !*k->why)
		snprintf(k->why, sizeof k->why, "%s",
			 rc == -EINTR ? "interrupted" : strerrordesc_np(-rc));
}

void onefs_snap_copy(struct onefs_call *c)
{
	const char *name = text_of(c->body, "name"), *path = text_of(c->body, "path");
	struct copying k = { "" };
	json_t *s;

	copy_folder(c, name, path, &k);
	if (*k.why)
		drop_folder(c, name);
	mutex_lock(&c->o->lock);
	s = json_object_get(snaps(c), c->key);
	if (*k.why) {
		json_object_del(snaps(c), c->key);
		onefs_fail(c, 500, "AEC_EXCEPTION", NULL, "Snapshot failed: %s", k.why);
	} else if (s) {
		json_object_set_new(s, "state", json_string("active"));
		c->answer = json_deep_copy(s);
		c->changed = true;
	}
	mutex_unlock(&c->o->lock);
}

/* --- the other calls -------------------------------------------------------- */

static json_t *matching(struct onefs_call *c)
{
	const char *state = onefs_arg(c, "state"), *id;
	json_t *keys = json_array(), *s;

	drop_expired(c);
	json_object_foreach(snaps(c), id, s) {
		if ((!state || !strcmp(state, "all") || !strcmp(state, text_of(s, "state"))))
			json_array_append_new(keys, json_string(id));
	}
	return keys;
}

void onefs_snaps_get(struct onefs_call *c)
{
	json_t *keys = onefs_arg(c, "resume") ? NULL : matching(c), *resume;
	json_t *page = onefs_page(c, onefs_snaps_get, keys, &resume), *list;

	if (!page)
		return;
	list = json_array();
	for (size_t i = 0; i < json_array_size(page); i++) {
		const char *id = json_string_value(json_array_get(page, i));
		const json_t *s = json_object_get(snaps(c), id);

		if (s)
			json_array_append_new(list, json_deep_copy(s));
	}
	json_decref(page);
	c->answer = json_pack("{s:o, s:i, s:o}", "snapshots", list, "total",
			      (int)json_object_size(snaps(c)), "resume", resume);
}

void onefs_snap_get(struct onefs_call *c)
{
	char key[24];
	const json_t *s = find(c, key);

	if (s)
		c->answer = json_pack("{s:[o]}", "snapshots", json_deep_copy(s));
}

void onefs_snap_put(struct onefs_call *c)
{
	char key[24];
	json_t *s = is_licensed(c) ? find(c, key) : NULL;
	json_t *expires = json_object_get(c->body, "expires");

	if (!s)
		return;
	check_fields(c, " expires ");
	if (c->errors)
		return;
	if (expires)
		json_object_set(s, "expires", expires);
	c->changed = true;
	c->status = 204;
}

void onefs_snap_delete(struct onefs_call *c)
{
	char key[24];
	json_t *s = find(c, key);

	if (!s)
		return;
	if (strcmp(text_of(s, "state"), "active") != 0) {
		onefs_fail(c, 409, "AEC_CONFLICT", "id", "Snapshot '%s' is %s", text_of(s, "name"),
			   text_of(s, "state"));
		return;
	}
	json_object_set_new(s, "state", json_string("deleting"));
	snprintf(c->key, sizeof c->key, "%s", key);
	c->status = 204;
	c->changed = true;
}

void onefs_snap_drop(struct onefs_call *c)
{
	AUTO_FREE char *name = NULL;

	mutex_lock(&c->o->lock);
	name = strdup(text_of(json_object_get(snaps(c), c->key), "name"));
	mutex_unlock(&c->o->lock);
	if (name && *name)
		drop_folder(c, name);
	mutex_lock(&c->o->lock);
	json_object_del(snaps(c), c->key);
	mutex_unlock(&c->o->lock);
}
