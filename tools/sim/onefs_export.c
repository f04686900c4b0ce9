/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_export.c - NFS exports
 *
 * An export is kept as what was set; the zone's defaults are put under it when it is read. Its key is
 * "zone:id". state.exports is in the order of creation, which is that of ids in each zone. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/onefs_impl.h"

#define KEY_MAX 160
#define PATHS_MAX 64     /* of one export */
#define CLIENTS_MAX 4096 /* in one list */
#define NFSD_IDS 65000   /* of nfs-ganesha's 16 bits */
#define OLD 3            /* `latest` of releases that know few arguments */

static const char mapping[] = "{\"enabled\":false,\"primary_group\":{},\"secondary_groups\":[],"
			      "\"user\":{\"id\":\"USER:nobody\"}}";

static const char plain[] =
	"{\"zone\":\"System\",\"description\":\"\",\"clients\":[],\"root_clients\":[],"
	"\"read_write_clients\":[],\"read_only_clients\":[],\"unresolved_clients\":[],"
	"\"conflicting_paths\":[],\"read_only\":false,\"all_dirs\":false,"
	"\"security_flavors\":[\"unix\"],\"snapshot\":\"-\",\"map_full\":true,"
	"\"map_lookup_uid\":false,\"map_retry\":true,\"block_size\":8192,"
	"\"directory_transfer_size\":131072,\"read_transfer_size\":131072,"
	"\"read_transfer_max_size\":1048576,\"read_transfer_multiple\":512,"
	"\"write_transfer_size\":524288,\"write_transfer_max_size\":1048576,"
	"\"write_transfer_multiple\":512,\"max_file_size\":9223372036854775807,"
	"\"name_max_size\":255,\"link_max\":32767,\"time_delta\":1e-9,\"readdirplus\":true,"
	"\"readdirplus_prefetch\":10,\"return_32bit_file_ids\":false,"
	"\"commit_asynchronous\":false,\"setattr_asynchronous\":false,"
	"\"write_unstable_action\":\"UNSTABLE\",\"write_unstable_reply\":\"UNSTABLE\","
	"\"write_datasync_action\":\"DATASYNC\",\"write_datasync_reply\":\"DATASYNC\","
	"\"write_filesync_action\":\"FILESYNC\",\"write_filesync_reply\":\"FILESYNC\","
	"\"can_set_time\":true,\"case_insensitive\":false,\"case_preserving\":true,"
	"\"chown_restricted\":false,\"symlinks\":true,\"no_truncate\":false,"
	"\"encoding\":\"DEFAULT\"}";

static const char *const lists[] = { "clients", "root_clients", "read_write_clients",
				     "read_only_clients" };

json_t *onefs_export_defaults_new(void)
{
	json_t *d = json_loads(plain, 0, NULL), *root = json_loads(mapping, 0, NULL);

	json_object_set_new(d, "map_root", root);
	json_object_set_new(root, "enabled", json_true());
	json_object_set_new(d, "map_non_root", json_loads(mapping, 0, NULL));
	json_object_set_new(d, "map_failure", json_loads(mapping, 0, NULL));
	return d;
}

/* --- the table -------------------------------------------------------------- */

static json_t *exports(const struct onefs_call *c)
{
	return json_object_get(c->o->state, "exports");
}

static void count_paths(struct onefs *o, const json_t *e, int by)
{
	const json_t *paths = json_object_get(e, "paths");
	const char *zone = json_string_value(json_object_get(e, "zone"));

	for (size_t i = 0; zone && i < json_array_size(paths); i++) {
		char key[ONEFS_PATH_MAX + KEY_MAX];
		const char *path = json_string_value(json_array_get(paths, i));
		json_int_t n;

		snprintf(key, sizeof key, "%s:%s", zone, path ? path : "");
		n = json_integer_value(json_object_get(o->paths, key)) + by;
		if (n > 0)
			json_object_set_new(o->paths, key, json_integer(n));
		else
			json_object_del(o->paths, key);
	}
}

void onefs_index_exports(struct onefs *o)
{
	const char *key;
	json_t *e;

	json_object_foreach(json_object_get(o->state, "exports"), key, e) {
		count_paths(o, e, 1);
	}
}

static json_int_t with_path(struct onefs_call *c, const char *zone, const char *path)
{
	char key[ONEFS_PATH_MAX + KEY_MAX];

	snprintf(key, sizeof key, "%s:%s", zone, path);
	return json_integer_value(json_object_get(c->o->paths, key));
}

/* Not before its time. */
static bool is_visible(struct onefs_call *c, const char *key)
{
	const json_t *from = json_object_get(c->o->visible, key);

	if (!from)
		return true;
	if ((uint64_t)json_integer_value(from) > clock_ms())
		return false;
	json_object_del(c->o->visible, key);
	return true;
}

/* As it is told: with the defaults under it. */
static json_t *shown(struct onefs_call *c, const json_t *e)
{
	const char *scope = onefs_arg(c, "scope"),
		   *zone = json_string_value(json_object_get(e, "zone"));
	bool own = scope && !strcmp(scope, "user"), old = c->version == 1;
	json_t *all = own ? json_object() : json_deep_copy(c->o->defaults),
	       *conflicts = json_array();
	const json_t *paths = json_object_get(e, "paths");
	static const char *const maps[] = { "map_root", "map_non_root", "map_failure", "map_all" };

	json_object_update_new(all, json_deep_copy(e));
	json_object_del(all, "nfsd");
	for (size_t i = 0; i < json_array_size(paths); i++)
		if (with_path(c, zone, json_string_value(json_array_get(paths, i))) > 1)
			json_array_append(conflicts, json_array_get(paths, i));
	json_object_set_new(all, "conflicting_paths", conflicts);
	for (size_t i = 0; old && i < ARRAY_LEN(maps); i++) { /* API 1 knows plain names */
		json_t *map = json_object_get(all, maps[i]);
		const char *id =
			json_string_value(json_object_get(json_object_get(map, "user"), "id"));

		if (id && strchr(id, ':'))
			json_object_set_new(map, "user", json_string(strchr(id, ':') + 1));
	}
	if (old)
		json_object_del(all, "zone");
	return all;
}

static json_t *find(struct onefs_call *c, char key[KEY_MAX])
{
	char *end;
	unsigned long id = strtoul(c->key, &end, 10);
	json_t *e;

	snprintf(key, KEY_MAX, "%s:%lu", c->zone->name, id);
	e = *end || *c->key < '0' || *c->key > '9' ? NULL : json_object_get(exports(c), key);
	if (e && is_visible(c, key))
		return e;
	onefs_fail(c, 404, "AEC_NOT_FOUND", "id", "Export id %.64s does not exist", c->key);
	return NULL;
}

/* --- checks of fields ------------------------------------------------------- */

static bool resolves(const struct onefs_call *c, const char *name)
{
	char text[64];
	const char *slash = strchr(name, '/');
	struct in6_addr a;
	char list[OPT_VALUE_MAX + 4];

	snprintf(text, sizeof text, "%.*s", slash ? (int)(slash - name) : 63, name);
	if (inet_pton(AF_INET, text, &a) == 1 || inet_pton(AF_INET6, text, &a) == 1) {
		char *end = NULL;
		unsigned long bits = slash ? strtoul(slash + 1, &end, 10) : 0;

		return !slash || (slash[1] && !*end && bits <= (strchr(text, ':') ? 128 : 32)) ||
		       (inet_pton(AF_INET, slash + 1, &a) == 1);
	}
	if (*name == '@' || !strcasecmp(name, "localhost"))
		return name[1];
	snprintf(list, sizeof list, " %s ", c->o->opt->hosts ? c->o->opt->hosts : "");
	return onefs_word(list, name);
}

static bool may_ignore(const struct onefs_call *c, const char *what)
{
	return onefs_arg_true(c, "force") || onefs_arg_true(c, what);
}

static void check_client(struct onefs_call *c, const json_t *client, const char *list,
			 json_t *unresolved)
{
	const char *name = json_string_value(client);

	if (!name)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", list, "%s must hold strings", list);
	else if (!*name || strlen(name) > ONEFS_NAME_MAX)
		onefs_fail(c, 500, "AEC_EXCEPTION", list, "bad hostname '%.64s'", name);
	else if (!resolves(c, name)) {
		if (may_ignore(c, "ignore_unresolvable_hosts"))
			json_array_append_new(unresolved, json_string(name));
		else
			onefs_fail(c, 500, "AEC_EXCEPTION", list, "bad hostname '%s'", name);
	}
}

static void check_clients(struct onefs_call *c, const json_t *e, json_t *unresolved)
{
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		const json_t *v = json_object_get(e, lists[l]);

		if (json_array_size(v) > CLIENTS_MAX)
			onefs_fail(c, 400, "AEC_BAD_REQUEST", lists[l], "Too many clients");
		else
			for (size_t i = 0; i < json_array_size(v); i++)
				check_client(c, json_array_get(v, i), lists[l], unresolved);
	}
}

static void check_path(struct onefs_call *c, const char *path)
{
	struct stat st;

	if (!path || !onefs_path_ok(path)) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "paths", "'%.200s' is no valid path",
			   path ? path : "");
	} else if (!onefs_path_below(path, c->zone->path)) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "paths",
			   "Path '%s' is not below the zone's root '%s'", path, c->zone->path);
	} else if (!may_ignore(c, "ignore_bad_paths") &&
		   (onefs_stat(c->o, path, &st) || !S_ISDIR(st.st_mode))) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "paths", "Path '%s' does not exist", path);
	}
}

/* before: the export that is changed, or NULL. */
static void check_paths(struct onefs_call *c, const json_t *paths, const json_t *before)
{
	if (!json_array_size(paths) || json_array_size(paths) > PATHS_MAX) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "paths", "paths must hold 1 to %d paths",
			   PATHS_MAX);
		return;
	}
	for (size_t i = 0; i < json_array_size(paths); i++) {
		const char *path = json_string_value(json_array_get(paths, i));
		const json_t *own = json_object_get(before, "paths");
		json_int_t mine = 0;

		check_path(c, path);
		for (size_t k = 0; path && k < json_array_size(own); k++)
			mine += !strcmp(path, json_string_value(json_array_get(own, k)));
		if (path && !may_ignore(c, "ignore_conflicts") &&
		    with_path(c, c->zone->name, path) > mine)
			onefs_fail(c, 409, "AEC_CONFLICT", "paths",
				   "Path '%.200s' is exported already in zone %s", path,
				   c->zone->name);
	}
}

static void check_map(struct onefs_call *c, const char *name, json_t *map)
{
	const json_t *user = json_object_get(map, "user"), *v;
	const char *key;
	int64_t id;

	json_object_foreach(map, key, v) {
		if (!onefs_word(" enabled user primary_group secondary_groups ", key))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "Unknown field '%.64s' in %s",
				   key, name);
	}
	v = json_object_get(map, "enabled");
	if (v && !json_is_boolean(v))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "enabled of %s must be a boolean",
			   name);
	if (json_is_string(user) && c->version == 1) {
		char text[ONEFS_NAME_MAX + 8];

		snprintf(text, sizeof text, "USER:%s", json_string_value(user));
		json_object_set_new(map, "user", json_pack("{s:s*}", "id", text));
	} else if (user && !onefs_persona(json_object_get(user, "id"), " USER UID SID ", &id)) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name,
			   "user of %s is no persona like USER:nobody", name);
	}
}

static bool same_type(const json_t *a, const json_t *b)
{
	if (json_is_boolean(a))
		return json_is_boolean(b);
	if (json_is_real(a))
		return json_is_number(b);
	return json_typeof(a) == json_typeof(b);
}

static void check_field(struct onefs_call *c, const char *name, json_t *v)
{
	bool map = !strncmp(name, "map_", 4) && json_is_object(v);
	const json_t *dflt = json_object_get(c->o->defaults, name);

	if (!dflt && !strcmp(name, "map_all"))
		dflt = json_object_get(c->o->defaults, "map_root");
	if (!strcmp(name, "paths")) {
		if (!json_is_array(v))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "paths must be an array");
	} else if (onefs_word(" id conflicting_paths unresolved_clients ", name)) {
		onefs_fail(c, 403, "AEC_FORBIDDEN", name, "Property %s may not be set", name);
	} else if (!dflt || (c->version == 1 && !strcmp(name, "zone"))) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "Unknown field '%.64s'", name);
	} else if (!same_type(dflt, v) &&
		   (!json_is_string(v) || strcmp(json_string_value(v), "@DEFAULT") != 0)) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "Field '%s' is of a wrong type", name);
	} else if (json_is_integer(v) && json_integer_value(v) < 0) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "Field '%s' must not be negative",
			   name);
	} else if (!strcmp(name, "zone") && strcmp(json_string_value(v), c->zone->name) != 0) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", name, "The zone is told by ?zone=");
	} else if (map) {
		check_map(c, name, v);
	}
}

static void check_body(struct onefs_call *c, const json_t *before)
{
	const char *name, *arg;
	json_t *v, *paths = json_object_get(c->body, "paths");

	json_object_foreach(c->args, arg, v) {
		if (c->o->latest <= OLD && strcmp(arg, "zone") != 0 && strcmp(arg, "force") != 0)
			onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "Unknown argument '%.64s'",
				   arg);
	}
	json_object_foreach(c->body, name, v) {
		check_field(c, name, v);
	}
	if (!before || paths)
		check_paths(c, paths, before);
}

/* Sets members of the body; maps are merged, lists replaced as a whole. */
static void take_body(struct onefs_call *c, json_t *e)
{
	const char *name;
	json_t *v;

	json_object_foreach(c->body, name, v) {
		const char *text = json_string_value(v);
		json_t *old = json_object_get(e, name);

		if (text && !strcmp(text, "@DEFAULT")) {
			json_object_del(e, name);
		} else if (json_is_object(v)) {
			json_t *map =
				json_deep_copy(old ? old : json_object_get(c->o->defaults, name));

			if (!map)
				map = json_loads(mapping, 0, NULL);
			json_object_update(map, v);
			json_object_set_new(e, name, map);
		} else {
			json_object_set_new(e, name, json_deep_copy(v));
		}
	}
}

/* --- calls ------------------------------------------------------------------ */

static json_int_t next_of(struct onefs_call *c, const char *counter, json_int_t by)
{
	json_t *n = json_object_get(c->o->state, counter);

	json_integer_set(n, json_integer_value(n) + by);
	return json_integer_value(n);
}

/* Ids are counted in each zone, so the largest of it is looked at. */
static json_int_t next_id(struct onefs_call *c)
{
	char name[80];
	json_t *zones = json_object_get(c->o->state, "zones");
	json_t *z;

	snprintf(name, sizeof name, "%s", c->zone->name);
	z = json_object_get(zones, name);
	if (!z) {
		z = json_object();
		json_object_set_new(zones, name, z);
	}
	json_object_set_new(
		z, "last_export",
		json_integer(json_integer_value(json_object_get(z, "last_export")) + 1));
	return json_integer_value(json_object_get(z, "last_export"));
}

void onefs_exports_post(struct onefs_call *c)
{
	json_t *e, *unresolved = json_array();
	char key[KEY_MAX];
	uint64_t seen_at = clock_ms() + c->o->opt->export_delay_ms;
	json_int_t id;

	check_body(c, NULL);
	check_clients(c, c->body, unresolved);
	if (json_object_size(exports(c)) >= c->o->opt->max_exports)
		onefs_fail(c, 403, "AEC_LIMIT_EXCEEDED", NULL,
			   "The limit of %llu exports is reached",
			   (unsigned long long)c->o->opt->max_exports);
	if (c->errors) {
		json_decref(unresolved);
		return;
	}
	id = next_id(c);
	e = json_pack("{s:I, s:s, s:o}", "id", id, "zone", c->zone->name, "unresolved_clients",
		      unresolved);
	take_body(c, e);
	json_object_set_new(
		e, "nfsd",
		json_integer(next_of(c, "nfsd_id",
				     (json_int_t)json_array_size(json_object_get(e, "paths")))));
	snprintf(key, sizeof key, "%s:%lld", c->zone->name, (long long)id);
	json_object_set_new(exports(c), key, e);
	count_paths(c->o, e, 1);
	if (c->o->opt->export_delay_ms)
		json_object_set_new(c->o->visible, key, json_integer((json_int_t)seen_at));
	c->changed = c->exports = true;
	c->status = 201;
	c->answer = json_pack("{s:I}", "id", id);
}

void onefs_export_get(struct onefs_call *c)
{
	char key[KEY_MAX];
	const json_t *e = find(c, key);

	if (e)
		c->answer = json_pack("{s:[o]}", "exports", shown(c, e));
}

void onefs_export_put(struct onefs_call *c)
{
	char key[KEY_MAX];
	json_t *e = find(c, key), *now, *unresolved;

	if (!e)
		return;
	check_body(c, e);
	if (c->errors)
		return;
	now = json_deep_copy(e);
	unresolved = json_array();
	take_body(c, now);
	check_clients(c, c->body, unresolved);
	if (c->errors) {
		json_decref(now);
		json_decref(unresolved);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (json_object_get(c->body, lists[i]))
			json_object_set(now, "unresolved_clients", unresolved);
	json_decref(unresolved);
	count_paths(c->o, e, -1);
	if (json_object_get(c->body, "paths"))
		json_object_set_new(now, "nfsd",
				    json_integer(next_of(c, "nfsd_id",
							 (json_int_t)json_array_size(
								 json_object_get(now, "paths")))));
	json_object_set_new(exports(c), key, now);
	count_paths(c->o, now, 1);
	c->changed = c->exports = true;
	c->status = 204;
}

void onefs_export_delete(struct onefs_call *c)
{
	char key[KEY_MAX];
	json_t *e = find(c, key);

	if (!e)
		return;
	count_paths(c->o, e, -1);
	json_object_del(exports(c), key);
	c->changed = c->exports = true;
	c->status = 204;
}

static bool has_path(const json_t *e, const char *path)
{
	const json_t *paths = json_object_get(e, "paths");

	for (size_t i = 0; i < json_array_size(paths); i++)
		if (!strcmp(json_string_value(json_array_get(paths, i)), path))
			return true;
	return false;
}

static int by_description, by_paths; /* addresses that tell the order */
struct sorted {
	const char *key, *text;
	json_int_t id;
};

static int compare_ids(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int compare_texts(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	int c = strcmp(x->text, y->text);

	return c ? c : compare_ids(a, b);
}

static const char *sort_text(const json_t *e, const int *by)
{
	const json_t *v = by == &by_paths ? json_array_get(json_object_get(e, "paths"), 0) :
					    json_object_get(e, "description");
	const char *text = json_string_value(v);

	return text ? text : "";
}

static json_t *sorted_keys(struct sorted *all, size_t n, const int *by, bool down, size_t from)
{
	json_t *keys = json_array();

	qsort(all, n, sizeof *all, by ? compare_texts : compare_ids);
	for (size_t i = from; i < n; i++)
		json_array_append_new(keys, json_string(all[down ? n - 1 - i : i].key));
	return keys;
}

/* Keys of the zone's exports that the arguments mean. */
static json_t *matching(struct onefs_call *c, size_t *total)
{
	const char *path = onefs_arg(c, "path"), *sort = onefs_arg(c, "sort"),
		   *dir = onefs_arg(c, "dir");
	uint64_t from = onefs_arg(c, "offset") && strcmp(onefs_arg(c, "offset"), "0") != 0 ?
				onefs_arg_number(c, "offset", 0, UINT32_MAX) :
				0;
	AUTO_FREE struct sorted *all = calloc(json_object_size(exports(c)) + 1, sizeof *all);
	const int *by = NULL;
	const char *key;
	size_t n = 0;
	json_t *e;

	if (sort && !strcmp(sort, "paths"))
		by = &by_paths;
	else if (sort && !strcmp(sort, "description"))
		by = &by_description;
	else if (sort && strcmp(sort, "id") != 0)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "sort", "Cannot sort by '%.64s'", sort);
	if (!all || c->errors)
		return NULL;
	json_object_foreach(exports(c), key, e) {
		if (strcmp(json_string_value(json_object_get(e, "zone")), c->zone->name) != 0 ||
		    (path && c->o->latest > OLD && !has_path(e, path)) || !is_visible(c, key))
			continue;
		all[n].key = key;
		all[n].text = by ? sort_text(e, by) : "";
		all[n++].id = json_integer_value(json_object_get(e, "id"));
	}
	*total = n;
	return sorted_keys(all, n, by, dir && !strcasecmp(dir, "DESC"), from);
}

void onefs_exports_get(struct onefs_call *c)
{
	bool first = !onefs_arg(c, "resume");
	size_t total = 0;
	json_t *keys = first ? matching(c, &total) : NULL, *page, *resume, *list;
	char digest[32];

	if (c->errors)
		return;
	page = onefs_page(c, onefs_exports_get, keys, &resume);
	if (!page)
		return;
	list = json_array();
	for (size_t i = 0; i < json_array_size(page); i++) {
		const json_t *e =
			json_object_get(exports(c), json_string_value(json_array_get(page, i)));

		if (e) /* not deleted since the first page */
			json_array_append_new(list, shown(c, e));
	}
	json_decref(page);
	snprintf(digest, sizeof digest, "%zx", json_object_size(exports(c)));
	c->answer =
		json_pack("{s:s, s:o, s:o}", "digest", digest, "exports", list, "resume", resume);
	if (first)
		json_object_set_new(c->answer, "total", json_integer((json_int_t)total));
}

void onefs_exports_summary(struct onefs_call *c)
{
	json_int_t n = 0;
	const char *key;
	json_t *e;

	json_object_foreach(exports(c), key, e) {
		n += !strcmp(json_string_value(json_object_get(e, "zone")), c->zone->name);
	}
	c->answer = json_pack("{s:{s:I}}", "summary", "count", n);
}

void onefs_export_defaults(struct onefs_call *c)
{
	json_t *d = json_deep_copy(c->o->defaults);

	json_object_del(d, "conflicting_paths");
	json_object_del(d, "unresolved_clients");
	json_object_set_new(d, "zone", json_string(c->zone->name));
	c->answer = json_pack("{s:o}", "settings", d);
}
