/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_nfs.c - aliases of export paths, and the settings of the NFS service */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

static json_t *table(struct onefs_call *c, const char *name)
{
	return json_object_get(c->o->state, name);
}

/* --- aliases: kept by "zone:name" ------------------------------------------- */

static void alias_key(const struct onefs_call *c, const char *name, char key[ONEFS_PATH_MAX])
{
	snprintf(key, ONEFS_PATH_MAX, "%s:%s%s", c->zone->name, *name == '/' ? "" : "/", name);
}

static bool check_alias(struct onefs_call *c, bool new)
{
	const char *name = json_string_value(json_object_get(c->body, "name"));
	const char *path = json_string_value(json_object_get(c->body, "path")), *key;
	json_t *v;
	struct stat st;

	json_object_foreach(c->body, key, v) {
		if (!onefs_word(" name path zone ", key) || !json_is_string(v))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key,
				   "Field '%.64s' is unknown, or no text", key);
	}
	if ((new || name) &&
	    (!name || name[0] != '/' || !name[1] || strchr(name + 1, '/') || strlen(name) > 127))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "name",
			   "An alias is '/' and a name of at most 126 characters");
	if ((new || path) &&
	    (!path || !onefs_path_ok(path) || !onefs_path_below(path, c->zone->path)))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path", "path must lie below %s",
			   c->zone->path);
	else if (path && !onefs_arg_true(c, "force") && onefs_stat(c->o, path, &st))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path", "Path '%s' does not exist", path);
	return !c->errors;
}

static json_t *find_alias(struct onefs_call *c, char key[ONEFS_PATH_MAX])
{
	json_t *a;

	alias_key(c, c->key, key);
	a = json_object_get(table(c, "aliases"), key);
	if (!a)
		onefs_fail(c, 404, "AEC_NOT_FOUND", "aid", "Alias '%s' does not exist", c->key);
	return a;
}

static void put_alias(struct onefs_call *c, const json_t *before, const char *name,
		      const char *path)
{
	char key[ONEFS_PATH_MAX], old[ONEFS_PATH_MAX] = "";

	alias_key(c, name, key);
	if (before)
		alias_key(c, json_string_value(json_object_get(before, "name")), old);
	if (strcmp(old, key) != 0 && json_object_get(table(c, "aliases"), key)) {
		onefs_fail(c, 409, "AEC_CONFLICT", "name", "Alias '%s' exists already", name);
		return;
	}
	path = path ? path : json_string_value(json_object_get(before, "path"));
	json_object_set_new(table(c, "aliases"), key,
			    json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", name, "name", name, "path",
				      path, "zone", c->zone->name, "health", "unknown"));
	if (before && strcmp(old, key) != 0)
		json_object_del(table(c, "aliases"), old);
	c->changed = true;
}

static json_t *aliases_of_zone(struct onefs_call *c)
{
	json_t *keys = json_array(), *a;
	const char *key;

	json_object_foreach(table(c, "aliases"), key, a) {
		if (!strcmp(json_string_value(json_object_get(a, "zone")), c->zone->name))
			json_array_append_new(keys, json_string(key));
	}
	return keys;
}

void onefs_aliases_get(struct onefs_call *c)
{
	json_t *keys = onefs_arg(c, "resume") ? NULL : aliases_of_zone(c), *resume;
	json_t *page = onefs_page(c, onefs_aliases_get, keys, &resume), *list;

	if (!page)
		return;
	list = json_array();
	for (size_t i = 0; i < json_array_size(page); i++) {
		const char *key = json_string_value(json_array_get(page, i));
		const json_t *a = json_object_get(table(c, "aliases"), key);

		if (a)
			json_array_append_new(list, json_deep_copy(a));
	}
	json_decref(page);
	c->answer = json_pack("{s:o, s:o}", "aliases", list, "resume", resume);
}

void onefs_aliases_post(struct onefs_call *c)
{
	const char *name = json_string_value(json_object_get(c->body, "name"));

	if (!check_alias(c, true))
		return;
	put_alias(c, NULL, name, json_string_value(json_object_get(c->body, "path")));
	if (c->errors)
		return;
	c->status = 201;
	c->answer = json_pack("{s:s}", "id", name);
}

void onefs_alias_get(struct onefs_call *c)
{
	char key[ONEFS_PATH_MAX];
	json_t *a = find_alias(c, key);

	if (a)
		c->answer = json_pack("{s:[o]}", "aliases", json_deep_copy(a));
}

void onefs_alias_put(struct onefs_call *c)
{
	char key[ONEFS_PATH_MAX];
	json_t *a = find_alias(c, key);
	const char *name = json_string_value(json_object_get(c->body, "name"));

	if (!a || !check_alias(c, false))
		return;
	json_incref(a);
	put_alias(c, a, name ? name : json_string_value(json_object_get(a, "name")),
		  json_string_value(json_object_get(c->body, "path")));
	json_decref(a);
	c->status = c->errors ? c->status : 204;
}

void onefs_alias_delete(struct onefs_call *c)
{
	char key[ONEFS_PATH_MAX];

	if (!find_alias(c, key))
		return;
	json_object_del(table(c, "aliases"), key);
	c->changed = true;
	c->status = 204;
}

/* --- settings --------------------------------------------------------------- */

static json_t *global_defaults(void)
{
	return json_pack("{s:b, s:b, s:b, s:b, s:i, s:i}", "service", 1, "nfsv3_enabled", 1,
			 "nfsv4_enabled", 0, "nfsv3_rdma_enabled", 0, "rpc_minthreads", 16,
			 "rpc_maxthreads", 16);
}

static json_t *zone_defaults(void)
{
	return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "nfsv4_domain", "localhost",
			 "nfsv4_no_names", 0, "nfsv4_allow_numeric_ids", 1, "nfsv4_replace_domain",
			 1, "nfsv4_no_domain", 0, "nfsv4_no_domain_uids", 1);
}

static void settings_get(struct onefs_call *c, json_t *defaults_take, const json_t *set)
{
	json_t *copy = json_deep_copy(set);
	const char *key;
	json_t *v;

	json_object_foreach(copy, key, v) {
		if (json_object_get(defaults_take, key))
			json_object_set(defaults_take, key, v);
	}
	json_decref(copy);
	c->answer = json_pack("{s:o}", "settings", defaults_take);
}

static void settings_put(struct onefs_call *c, json_t *defaults_take, json_t *set)
{
	const char *key;
	json_t *v;

	json_object_foreach(c->body, key, v) {
		const json_t *d = json_object_get(defaults_take, key);

		if (!d)
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key, "Unknown field '%.64s'", key);
		else if (json_is_boolean(d) ? !json_is_boolean(v) :
					      json_typeof(d) != json_typeof(v))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key, "Field '%s' is of a wrong type",
				   key);
	}
	json_decref(defaults_take);
	if (c->errors)
		return;
	json_object_update_new(set, json_deep_copy(c->body));
	c->changed = true;
	c->status = 204;
}

void onefs_global_get(struct onefs_call *c)
{
	settings_get(c, global_defaults(), table(c, "global"));
}

void onefs_global_put(struct onefs_call *c)
{
	settings_put(c, global_defaults(), table(c, "global"));
}

static json_t *zone_settings(struct onefs_call *c)
{
	json_t *zones = table(c, "zones"), *z = json_object_get(zones, c->zone->name);

	if (!z) {
		z = json_object();
		json_object_set_new(zones, c->zone->name, z);
	}
	return z;
}

void onefs_zoneset_get(struct onefs_call *c)
{
	settings_get(c, zone_defaults(), zone_settings(c));
}

void onefs_zoneset_put(struct onefs_call *c)
{
	settings_put(c, zone_defaults(), zone_settings(c));
}
