/* SPDX-License-Identifier: Apache-2.0 */
/* config_read.c - the file's object into struct bconfig; each mistake is told with the path of its key */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/jsonconf.h"
#include "tools/broker/config.h"
#include "tools/broker/schema.h"

#define ID_BYTES_MAX 200 /* of services and plans: columns of the store have an end */
#define NAME_BYTES_MAX 100
#define USER_BYTES_MAX 200
#define ID_MAX 4294967294ULL

#define AT(member) offsetof(struct bplan, member)
#define TEXT(name, member, dflt, help)                                            \
	{                                                                         \
		name, OPT_STRING, NULL, AT(member), 0, 0, dflt, NULL, help, false \
	}

const struct opt_def bconfig_plan_table[] = {
	TEXT("id", id, NULL, "for ever the same"),
	TEXT("name", name, NULL, "in the marketplace"),
	TEXT("description", description, NULL, "one line"),
	TEXT("provider", provider, NULL, "key in providers"),
	TEXT("mode", mode, NULL, "of the folder that is made, octal"),
	TEXT("container_dir", container_dir, "/var/vcap/data",
	     "folder of the volumes in a container"),
	{ "free", OPT_BOOL, NULL, AT(free), 0, 0, "yes", NULL, "costs nothing", false },
	{ "plan_updateable", OPT_BOOL, NULL, AT(updateable), 0, 0, "no", NULL,
	  "instances may change to another plan", false },
	{ "size", OPT_SIZE, "bytes", AT(size), 0, 0, "0", NULL, "of a volume", false },
	{ "max_size", OPT_SIZE, "bytes", AT(max_size), 0, INT64_MAX, "0", NULL,
	  "that a developer may ask for; 0: the size is fixed", false },
	{ "uid", OPT_ID, NULL, AT(uid), 0, ID_MAX, "-1", NULL, "owner of what is made", false },
	{ "gid", OPT_ID, NULL, AT(gid), 0, ID_MAX, "-1", NULL, "group of what is made", false },
	{ 0 },
};

/* Where we are in the file. */
struct at {
	struct bconfig *c;
	char path[JSONCONF_PATH_MAX];
	struct err *err;
};

static int bad_at(const struct at *at, const char *key, const char *why)
{
	char path[JSONCONF_PATH_MAX + 64];

	snprintf(path, sizeof path, "%s%s%.60s", at->path, *at->path && *key ? "." : "", key);
	return jsonconf_bad(at->err, at->c->file, path, why);
}

static int text_of(const struct at *at, const json_t *object, const char *key, size_t max,
		   char **out)
{
	const json_t *v = json_object_get(object, key);
	const char *s = json_string_value(v);

	if (!v)
		return bad_at(at, key, "is required");
	if (!s || !*s || strlen(s) > max || strpbrk(s, "\n\r"))
		return bad_at(at, key, "want a string, one line, not empty and not too long");
	*out = strdup(s);
	return *out ? 0 : err_set(at->err, -ENOMEM, "out of memory");
}

static int refuse_others(const struct at *at, json_t *object, const char *const *keys)
{
	const char *key;
	json_t *unused;

	json_object_foreach(object, key, unused) {
		size_t i = 0;

		(void)unused;
		while (keys[i] && strcmp(keys[i], key))
			i++;
		if (!keys[i])
			return bad_at(at, key, "is not known");
	}
	return 0;
}

/* Names are typed in a shell. */
static bool is_plain_name(const char *s)
{
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
	       strlen(s);
}

/* --- users ----------------------------------------------------------------- */

static int read_user(struct at *at, json_t *object)
{
	static const char *const keys[] = { "name", "password", "password_hash", NULL };
	struct bconfig_user *u = &at->c->users[at->c->nusers];
	bool clear = json_object_get(object, "password"), hash;
	int rc;

	hash = json_object_get(object, "password_hash");
	if (!json_is_object(object))
		return bad_at(at, "", "want an object with name and password");
	if (clear == hash)
		return bad_at(at, "", "want either password or password_hash");
	at->c->nusers++;
	rc = refuse_others(at, object, keys);
	if (!rc)
		rc = text_of(at, object, "name", USER_BYTES_MAX, &u->name);
	if (!rc && strchr(u->name, ':'))
		rc = bad_at(at, "name", "may have no colon");
	if (!rc && clear)
		rc = text_of(at, object, "password", USER_BYTES_MAX, &u->password);
	if (!rc && hash)
		rc = text_of(at, object, "password_hash", crypto_pwhash_STRBYTES - 1, &u->hash);
	if (!rc && hash && strncmp(u->hash, crypto_pwhash_STRPREFIX, 10))
		rc = bad_at(at, "password_hash", "want the output of persifs-broker hash-password");
	return rc;
}

static int read_users(struct at *at, const json_t *list)
{
	int rc = 0;

	if (!json_is_array(list) || json_array_size(list) > BCONFIG_USERS_MAX)
		return bad_at(at, "users", "want a list of at most 64 objects");
	for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
		const struct bconfig_user *u = &at->c->users[i];

		snprintf(at->path, sizeof at->path, "users[%zu]", i);
		rc = read_user(at, json_array_get(list, i));
		for (size_t k = 0; k < i && !rc; k++)
			if (!strcmp(at->c->users[k].name, u->name))
				rc = bad_at(at, "name", "is there twice");
	}
	at->path[0] = '\0';
	return rc;
}

/* --- providers ------------------------------------------------------------- */

static int read_provider(struct at *at, const char *name, const json_t *object)
{
	struct bconfig *c = at->c;
	struct bconfig_provider *p = &c->providers[c->nproviders];
	struct err why = { "" };

	snprintf(at->path, sizeof at->path, "providers.%.64s", name);
	if (c->nproviders == BCONFIG_PROVIDERS_MAX)
		return bad_at(at, "", "at most 64 providers");
	if (!is_plain_name(name) || !*name || strlen(name) >= sizeof p->p->name)
		return bad_at(at, "", "want a name of letters, digits, \"-\", \"_\" and \".\"");
	if (!json_is_object(object) || !json_is_string(json_object_get(object, "type")))
		return bad_at(at, "type", "want scaleio, onefs, existing or local");
	p->name = strdup(name);
	if (!p->name)
		return err_set(at->err, -ENOMEM, "out of memory");
	c->nproviders++;
	if (c->open_provider(name, object, &p->p, &why)) {
		p->p = NULL;
		return bad_at(at, "", why.text);
	}
	return 0;
}

static int read_providers(struct at *at, json_t *object)
{
	const char *name;
	json_t *p;
	int rc = 0;

	if (!json_is_object(object))
		return bad_at(at, "providers", "want an object");
	json_object_foreach(object, name, p) {
		rc = read_provider(at, name, p);
		if (rc)
			break;
	}
	at->path[0] = '\0';
	return rc;
}

/* --- plans ----------------------------------------------------------------- */

static int read_bind_options(struct at *at, struct bplan *p, const json_t *list)
{
	if (!json_is_array(list))
		return bad_at(at, "bind_options", "want a list of names");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (!name || !schema_knows_option(name))
			return bad_at(at, "bind_options",
				      "want uid, gid, username, password, mount, readonly, "
				      "version, cache or persifs.OPTION");
	}
	p->bind_options = json_deep_copy(list);
	return p->bind_options ? 0 : err_set(at->err, -ENOMEM, "out of memory");
}

static int read_mount_defaults(struct at *at, struct bplan *p, json_t *object)
{
	const char *name;
	json_t *v;

	if (!json_is_object(object))
		return bad_at(at, "mount_defaults", "want an object");
	json_object_foreach(object, name, v) {
		if (!schema_knows_option(name) || !strcmp(name, "mount"))
			return bad_at(at, "mount_defaults", "names an option that is not known");
		if (!json_is_string(v) && !json_is_number(v) && !json_is_boolean(v))
			return bad_at(at, "mount_defaults", "want strings, numbers or booleans");
	}
	p->defaults = json_deep_copy(object);
	return p->defaults ? 0 : err_set(at->err, -ENOMEM, "out of memory");
}

/* "1.2.3", "1.2.3-beta" */
static bool is_version(const char *s)
{
	unsigned a, b, c;
	int n = 0;

	return s && sscanf(s, "%9u.%9u.%9u%n", &a, &b, &c, &n) == 3 && n &&
	       (!s[n] || s[n] == '-' || s[n] == '+');
}

static int read_maintenance(struct at *at, struct bplan *p, json_t *object)
{
	static const char *const keys[] = { "version", "description", NULL };
	const json_t *text = json_object_get(object, "description");

	if (!json_is_object(object) ||
	    !is_version(json_string_value(json_object_get(object, "version"))))
		return bad_at(at, "maintenance_info.version", "want a version as \"1.0.0\"");
	if (text && !json_is_string(text))
		return bad_at(at, "maintenance_info.description", "want a string");
	p->maintenance = json_incref(object);
	return refuse_others(at, object, keys);
}

static bool is_plan_key_of(const struct provider *p, const char *key)
{
	for (size_t i = 0; p->ops->plan_keys && p->ops->plan_keys[i]; i++)
		if (!strcmp(p->ops->plan_keys[i], key))
			return true;
	return false;
}

static int read_plan_key(struct at *at, struct bplan *p, const char *key, json_t *v)
{
	char path[JSONCONF_PATH_MAX + 80];

	if (!strcmp(key, "bind_options"))
		return read_bind_options(at, p, v);
	if (!strcmp(key, "mount_defaults"))
		return read_mount_defaults(at, p, v);
	if (!strcmp(key, "maintenance_info"))
		return read_maintenance(at, p, v);
	if (!strcmp(key, "metadata")) {
		p->metadata = json_incref(v);
		return json_is_object(v) ? 0 : bad_at(at, key, "want an object");
	}
	if (!opt_find(bconfig_plan_table, key) && is_plan_key_of(p->p, key))
		return 0;
	snprintf(path, sizeof path, "%s.%.64s", at->path, key);
	return jsonconf_scalar(bconfig_plan_table, p, key, v, at->c->file, path, at->err);
}

/* What is allowed when the plan says nothing. */
static int default_options(struct at *at, struct bplan *p)
{
	static const char *const existing[] = { "uid",   "gid",      "username", "password",
						"mount", "readonly", "version",  "cache" };
	static const char *const made[] = { "mount", "readonly", "cache" };
	bool all = p->p->ops->kind == PROVIDER_EXISTING;
	size_t n = all ? ARRAY_LEN(existing) : ARRAY_LEN(made);

	if (!p->defaults)
		p->defaults = json_object();
	if (!p->bind_options) {
		p->bind_options = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(p->bind_options,
					      json_string(all ? existing[i] : made[i]));
	}
	return p->defaults && json_array_size(p->bind_options) <= 256 ?
		       0 :
		       err_set(at->err, -ENOMEM, "out of memory");
}

static int check_container_dir(const struct at *at, const struct bplan *p)
{
	const char *d = p->container_dir;

	if (!d || *d != '/' || strstr(d, "/../") || strstr(d, "//") ||
	    (strlen(d) >= 3 && !strcmp(d + strlen(d) - 3, "/..")))
		return bad_at(at, "container_dir", "want an absolute path without \"..\"");
	return 0;
}

static int check_plan(struct at *at, struct bplan *p)
{
	struct err why = { "" };

	if (strlen(p->id) > ID_BYTES_MAX)
		return bad_at(at, "id", "is too long");
	if (!is_plain_name(p->name) || strlen(p->name) > NAME_BYTES_MAX)
		return bad_at(at, "name", "want letters, digits, \"-\", \"_\" and \".\"");
	if (strchr(p->description, '\n'))
		return bad_at(at, "description", "want one line");
	if (p->max_size && p->size > p->max_size)
		return bad_at(at, "size", "is more than max_size");
	if (p->mode && (strspn(p->mode, "01234567") != strlen(p->mode) || strlen(p->mode) > 4))
		return bad_at(at, "mode", "want octal digits, as \"0770\"");
	if (check_container_dir(at, p))
		return -EINVAL;
	if (p->p->ops->check_plan && p->p->ops->check_plan(p->p, p->object, &why))
		return bad_at(at, "", why.text);
	return default_options(at, p);
}

static int read_plan(struct at *at, struct bplan *p, json_t *object)
{
	static const char *const required[] = { "id", "name", "description", "provider" };
	const char *key, *provider;
	json_t *v;
	int rc = 0;

	if (!json_is_object(object))
		return bad_at(at, "", "want an object");
	for (size_t i = 0; i < ARRAY_LEN(required); i++) {
		const char *s = json_string_value(json_object_get(object, required[i]));

		if (!s || !*s)
			return bad_at(at, required[i], "is required, a string");
	}
	provider = json_string_value(json_object_get(object, "provider"));
	p->p = bconfig_provider(at->c, provider);
	if (!p->p)
		return bad_at(at, "provider", "is not among the providers");
	p->object = json_incref(object);
	json_object_foreach(object, key, v) {
		rc = read_plan_key(at, p, key, v);
		if (rc)
			return rc;
	}
	return check_plan(at, p);
}

/* --- services -------------------------------------------------------------- */

static int read_plans(struct at *at, struct bservice *s, const json_t *list)
{
	size_t n = json_array_size(list), used = strlen(at->path);
	int rc = 0;

	if (!n || n > BCONFIG_PLANS_MAX)
		return bad_at(at, "plans", "want a list of 1 to 256 plans");
	s->plans = calloc(n, sizeof *s->plans);
	if (!s->plans)
		return err_set(at->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n && !rc; i++) {
		if (opt_defaults(bconfig_plan_table, &s->plans[i]))
			return err_set(at->err, -ENOMEM, "out of memory");
		s->nplans++;
		s->plans[i].service = s;
		s->plans[i].updateable = s->updateable;
		snprintf(at->path + used, sizeof at->path - used, ".plans[%zu]", i);
		rc = read_plan(at, &s->plans[i], json_array_get(list, i));
	}
	at->path[used] = '\0';
	return rc;
}

static int read_extras(struct at *at, struct bservice *s, json_t *object)
{
	json_t *tags = json_object_get(object, "tags"), *meta = json_object_get(object, "metadata");
	const json_t *updateable = json_object_get(object, "plan_updateable");

	if (tags && !json_is_array(tags))
		return bad_at(at, "tags", "want a list of strings");
	for (size_t i = 0; i < json_array_size(tags); i++)
		if (!json_is_string(json_array_get(tags, i)))
			return bad_at(at, "tags", "want a list of strings");
	if (meta && !json_is_object(meta))
		return bad_at(at, "metadata", "want an object");
	if (updateable && !json_is_boolean(updateable))
		return bad_at(at, "plan_updateable", "want true or false");
	s->tags = json_incref(tags);
	s->metadata = json_incref(meta);
	s->updateable = json_is_true(updateable);
	return 0;
}

static int read_service(struct at *at, struct bservice *s, json_t *object)
{
	static const char *const keys[] = { "id",       "name",  "description",     "tags",
					    "metadata", "plans", "plan_updateable", NULL };
	int rc = json_is_object(object) ? refuse_others(at, object, keys) :
					  bad_at(at, "", "want an object");

	if (!rc)
		rc = text_of(at, object, "id", ID_BYTES_MAX, &s->id);
	if (!rc)
		rc = text_of(at, object, "name", NAME_BYTES_MAX, &s->name);
	if (!rc && !is_plain_name(s->name))
		rc = bad_at(at, "name", "want letters, digits, \"-\", \"_\" and \".\"");
	if (!rc)
		rc = text_of(at, object, "description", 1000, &s->description);
	if (!rc)
		rc = read_extras(at, s, object);
	return rc ? rc : read_plans(at, s, json_object_get(object, "plans"));
}

static int read_services(struct at *at, const json_t *list)
{
	int rc = 0;

	if (!json_is_array(list) || json_array_size(list) > BCONFIG_SERVICES_MAX)
		return bad_at(at, "services", "want a list of at most 64 services");
	for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
		snprintf(at->path, sizeof at->path, "services[%zu]", i);
		at->c->nservices++;
		rc = read_service(at, &at->c->services[i], json_array_get(list, i));
	}
	at->path[0] = '\0';
	return rc;
}

/* --- the file -------------------------------------------------------------- */

static int read_listen(struct at *at, const json_t *list)
{
	struct err why;

	if (!json_array_size(list))
		return bad_at(at, "listen", "want a list of one string or more");
	bconfig_clear_listen(at->c);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			return bad_at(at, "listen", "want a list of strings");
		if (bconfig_add_listen(at->c, text, &why))
			return bad_at(at, "listen", why.text);
	}
	return 0;
}

static int read_key(struct at *at, const char *key, json_t *v)
{
	if (!strcmp(key, "listen"))
		return read_listen(at, v);
	if (!strcmp(key, "users"))
		return read_users(at, v);
	if (!strcmp(key, "providers") || !strcmp(key, "services"))
		return 0; /* in this order, later */
	if (!strcmp(key, "tls") || !strcmp(key, "dashboard"))
		return jsonconf_inner(bconfig_table, at->c, key, v, at->c->file, at->err);
	if (strchr(key, '.'))
		return bad_at(at, key, "is not known");
	return jsonconf_scalar(bconfig_table, at->c, key, v, at->c->file, key, at->err);
}

int bconfig_take(struct bconfig *c, json_t *all, const char *file, struct err *err)
{
	struct at at = { .c = c, .err = err };
	const char *key;
	json_t *v;
	int rc = 0;

	free(c->file);
	c->file = strdup(file);
	json_object_foreach(all, key, v) {
		rc = read_key(&at, key, v);
		if (rc)
			return rc;
	}
	v = json_object_get(all, "providers");
	if (v)
		rc = read_providers(&at, v);
	v = json_object_get(all, "services");
	if (!rc && v)
		rc = read_services(&at, v);
	return rc;
}

int bconfig_load(struct bconfig *c, const char *file, struct err *err)
{
	json_t *all;
	int rc = jsonconf_read(file, &all, err);

	if (rc)
		return rc;
	rc = bconfig_take(c, all, file, err);
	json_decref(all);
	return rc;
}
