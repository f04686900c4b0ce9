/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/bindopts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/opt.h"

#define ID_MAX 4294967294UL
#define MEBIBYTE (1ULL << 20)

struct size_text {
	uint64_t size;
};

static const struct opt_def size_table[] = {
	{ "size", OPT_SIZE, "bytes", 0, 0, INT64_MAX, NULL, NULL, "size", false },
	{ 0 },
};

int bindopts_size(const struct bplan *plan, const json_t *params, uint64_t dflt, uint64_t *out,
		  struct err *err)
{
	const json_t *v = json_object_get(params, "size");
	struct size_text s = { dflt };

	if (json_is_integer(v))
		s.size = (uint64_t)json_integer_value(v);
	else if (v && opt_set(size_table, &s, "size", json_string_value(v), NULL))
		return err_set(err, -EINVAL,
			       "parameter size: want a number with k, m, g or t, as \"10g\"");
	if (v && s.size < MEBIBYTE)
		return err_set(err, -EINVAL, "parameter size: want 1m or more, as \"10g\"");
	if (v && s.size > plan->max_size)
		return err_set(err, -EINVAL,
			       "parameter size: this plan allows at most %" PRIu64 " MiB",
			       (uint64_t)(plan->max_size / MEBIBYTE));
	*out = s.size;
	return 0;
}

/* --- single values --------------------------------------------------------- */

static int check_id(const json_t *params, const char *key, struct err *err)
{
	const json_t *v = json_object_get(params, key);
	const char *s = json_string_value(v);
	unsigned long id = s && strspn(s, "0123456789") == strlen(s) ? strtoul(s, NULL, 10) : 0;

	if (!v || json_is_integer(v) || (id > 0 && id <= ID_MAX))
		return 0;
	return err_set(err, -EINVAL, "parameter %s: want a number above 0", key);
}

static bool is_clean_path(const char *p)
{
	size_t n = strlen(p);

	if (*p != '/' || n < 2 || strstr(p, "//") || strstr(p, "/./") || strstr(p, "/../"))
		return false;
	for (const char *s = p; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f || *s == ':')
			return false;
	return strcmp(p + n - 2, "/.") && (n < 3 || strcmp(p + n - 3, "/.."));
}

int bindopts_check(const json_t *params, struct err *err)
{
	const json_t *mount = json_object_get(params, "mount");

	if (check_id(params, "uid", err) || check_id(params, "gid", err))
		return -EINVAL;
	if (mount && !is_clean_path(json_string_value(mount)))
		return err_set(err, -EINVAL,
			       "parameter mount: want an absolute path without \"..\" and \":\"");
	return 0;
}

/* --- together -------------------------------------------------------------- */

/* Those that are no options of a mount. */
static bool is_for_broker(const char *key)
{
	return !strcmp(key, "mount") || !strcmp(key, "size") || !strcmp(key, "share") ||
	       !strcmp(key, "subdirectory");
}

/* Who owns the files is said as a whole, by ids or by a user: what says one takes the other's place. */
static void overlay(json_t *out, const json_t *from)
{
	const char *key;
	json_t *v;

	if (json_object_get(from, "username")) {
		json_object_del(out, "uid");
		json_object_del(out, "gid");
	}
	if (json_object_get(from, "uid")) {
		json_object_del(out, "username");
		json_object_del(out, "password");
	}
	json_object_foreach((json_t *)from, key, v) {
		if (!is_for_broker(key))
			json_object_set_new(out, key,
					    json_deep_copy(v)); /* a plan is everybody's */
	}
}

static int check_owner(const json_t *o, struct err *err)
{
	bool uid = json_object_get(o, "uid"), gid = json_object_get(o, "gid");
	bool user = json_object_get(o, "username"), password = json_object_get(o, "password");

	if (uid != gid)
		return err_set(err, -EINVAL, "parameter %s: wants %s beside it",
			       uid ? "uid" : "gid", uid ? "gid" : "uid");
	if (user != password)
		return err_set(err, -EINVAL, "parameter %s: wants %s beside it",
			       user ? "username" : "password", user ? "password" : "username");
	if (uid && user)
		return err_set(err, -EINVAL, "parameter username: excludes uid and gid");
	return 0;
}

int bindopts_merge(const struct bplan *plan, const json_t *instance, const json_t *bind,
		   json_t **out, struct err *err)
{
	json_t *merged = json_object();
	int rc;

	if (!merged)
		return err_set(err, -ENOMEM, "out of memory");
	overlay(merged, plan->defaults);
	overlay(merged, instance);
	overlay(merged, bind);
	rc = check_owner(merged, err);
	if (rc)
		json_decref(merged);
	else
		*out = merged;
	return rc;
}

bool bindopts_readonly(const json_t *merged)
{
	const json_t *v = json_object_get(merged, "readonly");

	return json_is_true(v) || (json_is_string(v) && !strcmp(json_string_value(v), "true"));
}

int bindopts_container_dir(const struct bplan *plan, const char *instance_id,
			   const json_t *instance, const json_t *bind, char out[BINDOPTS_DIR_MAX],
			   struct err *err)
{
	const json_t *mount = json_object_get(bind, "mount");
	const char *base = plan->container_dir;
	int n;

	if (!mount)
		mount = json_object_get(instance, "mount");
	if (mount)
		n = snprintf(out, BINDOPTS_DIR_MAX, "%s", json_string_value(mount));
	else
		n = snprintf(out, BINDOPTS_DIR_MAX, "%s%s%s", base,
			     base[strlen(base) - 1] == '/' ? "" : "/", instance_id);
	if (n >= BINDOPTS_DIR_MAX || !is_clean_path(out))
		return err_set(err, -EINVAL,
			       "parameter mount: want an absolute path without \"..\" and \":\"");
	return 0;
}
