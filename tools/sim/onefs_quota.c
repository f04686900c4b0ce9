/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_quota.c - quotas: rules and thresholds are kept, use is what the real folder holds
 *
 * Nothing enforces them: a hard limit shows in what is told (usage, hard_exceeded), no write fails. */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/onefs_impl.h"

#define RENAMED 8 /* N from which usage members and the overhead's switch have other names */
#define TYPES " directory user group default-user default-group "
#define FIELDS                                                                             \
	" path type enforced include_snapshots container thresholds persona force linked " \
	"ignore_limit_checks "

static const char *const limits[] = { "advisory", "soft", "hard" };

static json_t *quotas(const struct onefs_call *c)
{
	return json_object_get(c->o->state, "quotas");
}

static const char *text_of(const json_t *q, const char *key)
{
	const char *t = json_string_value(json_object_get(q, key));

	return t ? t : "";
}

bool onefs_has_quota(struct onefs *o, const char *path, bool below)
{
	const char *id;
	json_t *q;

	mutex_assert_held(&o->lock);
	json_object_foreach(json_object_get(o->state, "quotas"), id, q) {
		const char *at = text_of(q, "path");

		if (below ? onefs_path_below(at, path) : !strcmp(at, path))
			return true;
	}
	return false;
}

static bool is_licensed(struct onefs_call *c)
{
	if (!onefs_licensed(c->o->opt->quota_licence))
		onefs_fail(c, 403, "AEC_INVALID_LICENSE", NULL,
			   "The SmartQuotas module is not licensed");
	return !c->errors;
}

/* --- checks ----------------------------------------------------------------- */

static json_int_t limit_of(const json_t *t, const char *name)
{
	return json_integer_value(json_object_get(t, name)); /* 0: none */
}

static void check_limit(struct onefs_call *c, const char *key, const json_t *v)
{
	if (!onefs_word(" hard soft soft_grace advisory percent_soft percent_advisory ", key))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "thresholds", "Unknown threshold '%.64s'",
			   key);
	else if (!json_is_null(v) && (!json_is_integer(v) || json_integer_value(v) < 1))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", key,
			   "Threshold %s must be an integer of at least 1, or null", key);
}

/* t: all thresholds as they are to be. */
static void check_thresholds(struct onefs_call *c, const json_t *t, bool enforced)
{
	json_int_t hard = limit_of(t, "hard"), soft = limit_of(t, "soft");
	json_int_t advisory = limit_of(t, "advisory");

	if (soft && !limit_of(t, "soft_grace"))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "soft_grace",
			   "soft_grace is required with a soft threshold");
	if (hard && soft >= hard)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "soft",
			   "The soft threshold must be below hard");
	if (hard && advisory >= hard)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "advisory",
			   "The advisory threshold must be below hard");
	if (enforced && !hard && !soft && !advisory)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "thresholds",
			   "An enforced quota needs at least one threshold");
}

static void need_bool(struct onefs_call *c, const char *name)
{
	if (!json_object_get(c->body, name))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", name, "%s is required", name);
}

static bool type_ok(const char *key, const json_t *v)
{
	if (onefs_word(" path type thresholds_on ", key))
		return json_is_string(v);
	if (!strcmp(key, "thresholds"))
		return json_is_object(v);
	if (!strcmp(key, "persona"))
		return json_is_object(v) || json_is_null(v);
	return json_is_boolean(v);
}

static void check_fields(struct onefs_call *c, bool new)
{
	const char *own = c->version < RENAMED ? "thresholds_include_overhead" : "thresholds_on",
		   *key;
	json_t *v, *t = json_object_get(c->body, "thresholds");

	json_object_foreach(c->body, key, v) {
		if (!onefs_word(FIELDS, key) && strcmp(key, own) != 0)
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key, "Unknown field '%.64s'", key);
		else if (!new &&onefs_word(" path type include_snapshots persona force ", key))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key,
				   "%s of a quota may not be changed", key);
		else if (!type_ok(key, v))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", key, "Field '%s' is of a wrong type",
				   key);
	}
	json_object_foreach(t, key, v) {
		check_limit(c, key, v);
	}
}

static void check_target(struct onefs_call *c)
{
	const char *path = text_of(c->body, "path"), *type = text_of(c->body, "type");
	bool per_user = !strcmp(type, "user") || !strcmp(type, "group");
	struct stat st;
	int64_t id;

	if (!*path)
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "path", "path is required");
	else if (!onefs_path_ok(path))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path", "'%.200s' is no path below /ifs",
			   path);
	else if (!strcmp(path, "/ifs") && !json_is_true(json_object_get(c->body, "force")))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path", "A quota on /ifs itself wants force");
	if (!*type)
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "type", "type is required");
	else if (!onefs_word(TYPES, type) &&
		 (c->version < RENAMED || strcmp(type, "default-directory") != 0))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "type", "Unknown type '%.64s'", type);
	if (per_user && !onefs_persona(json_object_get(json_object_get(c->body, "persona"), "id"),
				       " USER UID GROUP GID SID ", &id))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "persona", "persona is required for %s",
			   type);
	if (!c->errors && (onefs_stat(c->o, path, &st) || !S_ISDIR(st.st_mode)))
		onefs_fail(c, c->o->latest < 5 ? 500 : 404,
			   c->o->latest < 5 ? "AEC_SYSTEM_INTERNAL_ERROR" : "AEC_NOT_FOUND", "path",
			   "Failed to fetch quota domain record: No such file or directory");
}

static bool same_persona(const json_t *a, const json_t *b)
{
	const json_t *x = json_object_get(json_object_get(a, "persona"), "id");
	const json_t *y = json_object_get(json_object_get(b, "persona"), "id");

	return (!x && !y) || (x && y && json_equal(x, y));
}

static bool is_taken(struct onefs_call *c)
{
	const char *id;
	json_t *q;

	json_object_foreach(quotas(c), id, q) {
		if (!strcmp(text_of(q, "path"), text_of(c->body, "path")) &&
		    !strcmp(text_of(q, "type"), text_of(c->body, "type")) &&
		    same_persona(q, c->body)) {
			onefs_fail(c, 409, "AEC_CONFLICT", "path",
				   "A quota of type %s exists already for '%s'", text_of(q, "type"),
				   text_of(q, "path"));
			return true;
		}
	}
	return false;
}

/* --- what is told ----------------------------------------------------------- */

static json_t *shown(struct onefs_call *c, const char *id, const json_t *q)
{
	static const char *const told[] = { "hard", "soft", "advisory" };
	const json_t *from = json_object_get(c->o->visible, id);
	const json_t *set = json_object_get(q, "thresholds");
	json_t *all = json_deep_copy(q), *t = json_object();
	bool ready = !from || (uint64_t)json_integer_value(from) <= clock_ms();
	char name[32];

	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		json_t *v = json_object_get(set, told[i]);

		json_object_set(t, told[i], v ? v : json_null());
		snprintf(name, sizeof name, "%s_exceeded", told[i]);
		json_object_set_new(t, name, json_false());
		snprintf(name, sizeof name, "%s_last_exceeded", told[i]);
		json_object_set_new(t, name, json_null());
	}
	json_object_set_new(t, "soft_grace", json_null());
	if (limit_of(set, "soft_grace"))
		json_object_set(t, "soft_grace", json_object_get(set, "soft_grace"));
	json_object_set_new(t, "percent_soft", json_null());
	json_object_set_new(t, "percent_advisory", json_null());
	json_object_set_new(all, "thresholds", t);
	json_object_set_new(all, "ready", json_boolean(ready));
	if (c->version >= RENAMED) {
		bool over = json_is_true(json_object_get(q, "thresholds_include_overhead"));

		json_object_del(all, "thresholds_include_overhead");
		json_object_set_new(all, "thresholds_on",
				    json_string(over ? "physicalsize" : "fslogicalsize"));
	}
	return all;
}

static void set_exceeded(struct onefs_call *c, json_t *q, uint64_t used)
{
	json_t *t = json_object_get(q, "thresholds");
	char name[32];

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		json_int_t limit = limit_of(t, limits[i]);

		if (!limit || used <= (uint64_t)limit)
			continue;
		snprintf(name, sizeof name, "%s_exceeded", limits[i]);
		json_object_set_new(t, name, json_true());
		snprintf(name, sizeof name, "%s_last_exceeded", limits[i]);
		json_object_set_new(t, name, json_integer((json_int_t)c->now));
	}
}

/* The folders are walked when nobody waits for the lock. */
void onefs_quota_usage(struct onefs_call *c)
{
	const json_t *list = json_object_get(c->answer, "quotas");

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *q = json_array_get(list, i), *usage;
		struct onefs_usage u;
		bool over = json_is_true(json_object_get(q, "thresholds_include_overhead")) ||
			    !strcmp(text_of(q, "thresholds_on"), "physicalsize");

		if (onefs_usage(c->o, text_of(q, "path"), &u))
			memset(&u, 0, sizeof u);
		usage = c->version < RENAMED ?
				json_pack("{s:I, s:I, s:I}", "inodes", (json_int_t)u.inodes,
					  "logical", (json_int_t)u.logical, "physical",
					  (json_int_t)u.physical) :
				json_pack("{s:I, s:I, s:I, s:b, s:I}", "inodes",
					  (json_int_t)u.inodes, "fslogical", (json_int_t)u.logical,
					  "applogical", (json_int_t)u.logical, "applogical_ready",
					  1, "physical", (json_int_t)u.physical);
		json_object_set_new(q, "usage", usage);
		set_exceeded(c, q, over ? u.physical : u.logical);
	}
}

/* --- calls ------------------------------------------------------------------ */

static json_t *find(struct onefs_call *c)
{
	json_t *q = json_object_get(quotas(c), c->key);

	if (!q)
		onefs_fail(c, 404, "AEC_NOT_FOUND", "id", "quota not found");
	return q;
}

static bool flag(const struct onefs_call *c, const char *name)
{
	return json_is_true(json_object_get(c->body, name));
}

void onefs_quotas_post(struct onefs_call *c)
{
	json_t *n = json_object_get(c->o->state, "quota_id"), *q, *t, *p;
	uint64_t ready_at = clock_ms() + c->o->opt->quota_scan_ms;
	char id[40];

	if (!is_licensed(c))
		return;
	check_fields(c, true);
	need_bool(c, "enforced");
	need_bool(c, "include_snapshots");
	if (c->version < RENAMED)
		need_bool(c, "thresholds_include_overhead");
	check_target(c);
	t = json_object_get(c->body, "thresholds");
	check_thresholds(c, t, flag(c, "enforced"));
	if (c->errors || is_taken(c))
		return;
	json_integer_set(n, json_integer_value(n) + 1);
	snprintf(id, sizeof id, "XwAFAQEAAAAAAAAA%08llxAAAAAAAA",
		 (unsigned long long)json_integer_value(n));
	t = t ? json_deep_copy(t) : json_object();
	p = json_deep_copy(json_object_get(c->body, "persona"));
	q = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:s, s:o, s:o}", "id", id, "path",
		      text_of(c->body, "path"), "type", text_of(c->body, "type"), "enforced",
		      flag(c, "enforced"), "container", flag(c, "container"), "include_snapshots",
		      flag(c, "include_snapshots"), "thresholds_include_overhead",
		      flag(c, "thresholds_include_overhead") ||
			      !strcmp(text_of(c->body, "thresholds_on"), "physicalsize"),
		      "linked", 0, "notifications", "default", "persona", p ? p : json_null(),
		      "thresholds", t);
	json_object_set_new(quotas(c), id, q);
	json_object_set_new(c->o->visible, id, json_integer((json_int_t)ready_at));
	c->changed = true;
	c->status = 201;
	c->answer = json_pack("{s:s}", "id", id);
}

void onefs_quota_get(struct onefs_call *c)
{
	const json_t *q = find(c);

	if (q)
		c->answer = json_pack("{s:[o]}", "quotas", shown(c, c->key, q));
}

void onefs_quota_put(struct onefs_call *c)
{
	json_t *q = is_licensed(c) ? find(c) : NULL, *t, *v;
	const char *key;
	bool enforced;

	if (!q)
		return;
	check_fields(c, false);
	if (c->errors)
		return;
	t = json_deep_copy(json_object_get(q, "thresholds"));
	json_object_update(t, json_object_get(c->body, "thresholds"));
	v = json_object_get(c->body, "enforced");
	enforced = v ? json_is_true(v) : json_is_true(json_object_get(q, "enforced"));
	check_thresholds(c, t, enforced);
	if (c->errors) {
		json_decref(t);
		return;
	}
	json_object_foreach(c->body, key, v) {
		if (!strcmp(key, "thresholds_on"))
			json_object_set_new(
				q, "thresholds_include_overhead",
				json_boolean(!strcmp(json_string_value(v), "physicalsize")));
		else if (json_is_boolean(v) && strcmp(key, "ignore_limit_checks") != 0)
			json_object_set(q, key, v);
	}
	json_object_set_new(q, "thresholds", t);
	c->changed = true;
	c->status = 204;
}

static void forget(struct onefs_call *c, const char *id)
{
	json_object_del(c->o->visible, id);
	json_object_del(quotas(c), id);
	c->changed = true;
	c->status = 204;
}

void onefs_quota_delete(struct onefs_call *c)
{
	if (find(c))
		forget(c, c->key);
}

static bool meant(const struct onefs_call *c, const json_t *q)
{
	const char *path = onefs_arg(c, "path"), *type = onefs_arg(c, "type"),
		   *at = text_of(q, "path");
	const char *enforced = onefs_arg(c, "enforced");

	if (type && strcmp(type, text_of(q, "type")) != 0)
		return false;
	if (enforced &&
	    onefs_arg_true(c, "enforced") != json_is_true(json_object_get(q, "enforced")))
		return false;
	if (!path || !strcmp(path, at))
		return true;
	return (onefs_arg_true(c, "recurse_path_children") && onefs_path_below(at, path)) ||
	       (onefs_arg_true(c, "recurse_path_parents") && onefs_path_below(path, at));
}

static json_t *matching(struct onefs_call *c)
{
	json_t *keys = json_array(), *q;
	const char *id;

	json_object_foreach(quotas(c), id, q) {
		if (meant(c, q))
			json_array_append_new(keys, json_string(id));
	}
	return keys;
}

void onefs_quotas_get(struct onefs_call *c)
{
	json_t *keys = onefs_arg(c, "resume") ? NULL : matching(c), *page, *list, *resume;

	page = onefs_page(c, onefs_quotas_get, keys, &resume);
	if (!page)
		return;
	list = json_array();
	for (size_t i = 0; i < json_array_size(page); i++) {
		const char *id = json_string_value(json_array_get(page, i));
		const json_t *q = json_object_get(quotas(c), id);

		if (q)
			json_array_append_new(list, shown(c, id, q));
	}
	json_decref(page);
	c->answer = json_pack("{s:o, s:o}", "quotas", list, "resume", resume);
}

void onefs_quotas_delete(struct onefs_call *c)
{
	json_t *keys;

	if (!onefs_arg(c, "path") && !onefs_arg(c, "type")) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "path", "path or type is required");
		return;
	}
	keys = matching(c);
	if (!json_array_size(keys))
		onefs_fail(c, 404, "AEC_NOT_FOUND", "path", "quota not found");
	for (size_t i = 0; i < json_array_size(keys); i++)
		forget(c, json_string_value(json_array_get(keys, i)));
	json_decref(keys);
}
