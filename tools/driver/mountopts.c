/* SPDX-License-Identifier: Apache-2.0 */
/* mountopts.c - see mountopts.h. The option list that comes out is parsed by opt_parse()
 * in another process: each value is escaped as it wants, so that none becomes a
 * second option. Those that the driver insists on stand last, where they win. */
#include "tools/driver/mountopts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/opt.h"
#include "tools/driver/source.h"

#define ID_MAX 4294967294UL /* the last one means "unchanged" to the kernel */
#define PREFIX "persifs."
#define REDACTED "REDACTED"

enum key {
	KEY_SOURCE,
	KEY_UID,
	KEY_GID,
	KEY_READONLY,
	KEY_RO,
	KEY_VERSION,
	KEY_CACHE,
	KEY_USERNAME,
	KEY_PASSWORD,
	KEY_VOLUME,
	KEY_IGNORED,
	KEYS,
};

static const struct {
	const char *name;
	enum key key;
	bool secret;
} known_keys[] = {
	{ "source", KEY_SOURCE, false },
	{ "uid", KEY_UID, false },
	{ "gid", KEY_GID, false },
	{ "readonly", KEY_READONLY, false },
	{ "ro", KEY_RO, false },
	{ "version", KEY_VERSION, false },
	{ "cache", KEY_CACHE, false },
	{ "username", KEY_USERNAME, true },
	{ "password", KEY_PASSWORD, true },
	{ "volume", KEY_VOLUME, false },
	{ "mount", KEY_IGNORED, false },
	{ "experimental", KEY_IGNORED, false },
	{ "auto_cache", KEY_IGNORED, false },
};

struct parsed {
	char *value[KEYS]; /* owned; NULL: not given */
};

static int find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(known_keys); i++)
		if (!strcmp(known_keys[i].name, name))
			return (int)i;
	return -1;
}

/* The value as text (malloc'd), or NULL: not a string, number or boolean; too long. */
static char *value_text(const json_t *v)
{
	char buf[32];

	if (json_is_string(v)) {
		const char *s = json_string_value(v);

		return strlen(s) == json_string_length(v) && strlen(s) <= MOUNTOPTS_VALUE_MAX ?
			       strdup(s) :
			       NULL;
	}
	if (json_is_integer(v))
		snprintf(buf, sizeof buf, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, sizeof buf, "%.12g", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(buf, sizeof buf, "%s", json_is_true(v) ? "true" : "false");
	else
		return NULL;
	return strdup(buf);
}

/* --- keys ------------------------------------------------------------------ */

static bool is_allowed_option(const struct mountopts_rules *r, const char *key)
{
	size_t n = strlen(PREFIX);

	if (strncmp(key, PREFIX, n))
		return false;
	for (size_t i = 0; i < r->noptions; i++)
		if (!strcmp(r->options[i], key + n))
			return true;
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "head: a, b", alphabetical, as much of it as fits. */
static int fail_with_list(struct failure *f, const char *head, const char **names, size_t n)
{
	char list[sizeof f->err.text] = "";

	qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; i < n; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof list - used, "%s%.60s", i ? ", " : "", names[i]);
	}
	return failure_set_safe(f, -EINVAL, "%s: %s", head, list);
}

static int refuse_unknown(json_t *opts, const struct mountopts_rules *r, struct failure *f)
{
	AUTO_FREE const char **bad = calloc(json_object_size(opts) + 1, sizeof *bad);
	const char *key;
	json_t *value;
	size_t n = 0;

	if (!bad)
		return failure_set(f, -ENOMEM, "out of memory");
	json_object_foreach(opts, key, value) {
		if (find_key(key) < 0 && !is_allowed_option(r, key))
			bad[n++] = key;
	}
	return n ? fail_with_list(f, "Not allowed options", bad, n) : 0;
}

static void parsed_done(struct parsed *p)
{
	for (size_t i = 0; i < KEYS; i++) {
		if (p->value[i] && i == KEY_PASSWORD)
			explicit_bzero(p->value[i], strlen(p->value[i]));
		free(p->value[i]);
	}
}

static int parse_known(json_t *opts, struct parsed *p, struct failure *f)
{
	for (size_t i = 0; i < ARRAY_LEN(known_keys); i++) {
		const json_t *v = json_object_get(opts, known_keys[i].name);
		enum key key = known_keys[i].key;

		if (!v || json_is_null(v) || key == KEY_IGNORED || key == KEY_VOLUME)
			continue;
		free(p->value[key]);
		p->value[key] = value_text(v);
		if (!p->value[key])
			return failure_set_safe(
				f, -EINVAL,
				"option %s: want a string, number or boolean of at most %d bytes",
				known_keys[i].name, MOUNTOPTS_VALUE_MAX);
	}
	return 0;
}

static int refuse_missing(const struct parsed *p, struct failure *f)
{
	const char *missing[3];
	size_t n = 0;

	if (p->value[KEY_USERNAME] && !p->value[KEY_PASSWORD])
		missing[n++] = "password";
	if (p->value[KEY_PASSWORD] && !p->value[KEY_USERNAME])
		missing[n++] = "username";
	if (!p->value[KEY_SOURCE])
		missing[n++] = "source";
	return n ? fail_with_list(f, "Missing mandatory options", missing, n) : 0;
}

/* --- values ---------------------------------------------------------------- */

static int parse_bool(const char *name, const char *text, bool *out, struct failure *f)
{
	if (text && strcmp(text, "true") && strcmp(text, "false"))
		return failure_set_safe(f, -EINVAL, "option %s: want true or false", name);
	*out = text && !strcmp(text, "true");
	return 0;
}

static int parse_id(const char *name, const char *text, uint32_t *out, struct failure *f)
{
	unsigned long v;

	if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
		return failure_set_safe(f, -EINVAL, "option %s: want a positive integer", name);
	v = strtoul(text, NULL, 10);
	if (v < 1 || v > ID_MAX)
		return failure_set_safe(f, -EINVAL, "option %s: want a positive integer up to %lu",
					name, ID_MAX);
	*out = (uint32_t)v;
	return 0;
}

static int check_version(const char *text, struct failure *f)
{
	static const char *const versions[] = { "3", "3.0", "4", "4.0", "4.1", "4.2" };

	for (size_t i = 0; text && i < ARRAY_LEN(versions); i++) {
		if (strcmp(text, versions[i]))
			continue;
		if (text[0] == '4')
			log_info("driver: version %s was asked for; the data protocol is NFSv3",
				 text);
		return 0;
	}
	return text ? failure_set_safe(f, -EINVAL, "option version: want 3, 4, 4.0, 4.1 or 4.2") :
		      0;
}

/* *mapped tells whether there is an identity; it comes from uid and gid or from the directory. */
static int find_identity(const struct parsed *p, const struct mountopts_rules *r, bool *mapped,
			 uint32_t *uid, uint32_t *gid, struct failure *f)
{
	const char *u = p->value[KEY_UID], *g = p->value[KEY_GID];
	const char *user = p->value[KEY_USERNAME];

	*mapped = u || user;
	if (user && (u || g))
		return failure_set_safe(f, -EINVAL,
					"options username and uid or gid exclude each other");
	if (u && !g)
		return failure_set_safe(f, -EINVAL, "option uid: wants gid beside it");
	if (g && !u)
		return failure_set_safe(f, -EINVAL, "option gid: wants uid beside it");
	if (u)
		return parse_id("uid", u, uid, f) || parse_id("gid", g, gid, f) ? -EINVAL : 0;
	if (!user)
		return 0;
	if (!r->identify)
		return failure_set_safe(
			f, -EINVAL,
			"options username and password: no directory is configured here");
	return r->identify(r->identify_arg, user, p->value[KEY_PASSWORD], uid, gid, f);
}

static const struct {
	const char *name;
	json_type type;
} volume_members[] = { { "provider", JSON_STRING },
		       { "owner", JSON_STRING },
		       { "handle", JSON_OBJECT },
		       { "plan", JSON_OBJECT } };

/* The broker's word on a volume of an array. */
static int take_volume(json_t *opts, struct mountopts *m, struct failure *f)
{
	json_t *volume = json_object_get(opts, "volume"), *value;
	const char *key;

	if (!volume || json_is_null(volume))
		return 0;
	if (!json_is_object(volume))
		return failure_set_safe(f, -EINVAL, "option volume: want an object");
	json_object_foreach(volume, key, value) {
		size_t i = 0;

		while (i < ARRAY_LEN(volume_members) && strcmp(volume_members[i].name, key))
			i++;
		if (i == ARRAY_LEN(volume_members))
			return failure_set_safe(f, -EINVAL, "option volume: %.60s is not known",
						key);
		if (json_typeof(value) != volume_members[i].type ||
		    (json_is_string(value) && (!json_string_length(value) ||
					       json_string_length(value) > MOUNTOPTS_NAME_MAX)))
			return failure_set_safe(f, -EINVAL, "option volume: %s: want %s", key,
						volume_members[i].type == JSON_STRING ?
							"a short string" :
							"an object");
	}
	m->volume = json_incref(volume);
	return 0;
}

static int resolve(const char *text, const struct mountopts_rules *r, char **uri, struct failure *f)
{
	AUTO_FREE const char **allowed = NULL;
	size_t n = 0;

	while (r->arrays && r->arrays[n])
		n++;
	allowed = calloc(r->nsources + n + 1, sizeof *allowed);
	if (!allowed)
		return failure_set(f, -ENOMEM, "out of memory");
	for (size_t i = 0; i < r->nsources; i++)
		allowed[i] = r->sources[i];
	for (size_t i = 0; i < n; i++)
		allowed[r->nsources + i] = r->arrays[i];
	return source_resolve(text, allowed, r->nsources + n, uri, f);
}

/* --- the list -------------------------------------------------------------- */

static void put_option(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=", name);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
	fputc(',', out);
}

static uint64_t parse_size(const char *text)
{
	static const struct opt_def table[] = {
		{ "size", OPT_SIZE, NULL, 0, 1, 0, NULL, NULL, NULL, false }, { 0 }
	};
	uint64_t size = 0;

	return opt_set(table, &size, "size", text, NULL) ? 0 : size;
}

/* The developer's persifs.NAME; that each NAME is allowed has been looked at. */
static int put_named(FILE *out, json_t *opts, struct mountopts *m, struct failure *f)
{
	const char *key;
	json_t *value;

	json_object_foreach(opts, key, value) {
		AUTO_FREE char *text = NULL;

		if (strncmp(key, PREFIX, strlen(PREFIX)))
			continue;
		text = value_text(value);
		if (!text)
			return failure_set_safe(
				f, -EINVAL, "option %.60s: want a string, number or boolean", key);
		if (!strcmp(key, PREFIX "cache_size")) {
			m->cache_wanted = parse_size(text);
			if (!m->cache_wanted)
				return failure_set_safe(f, -EINVAL,
							"option %s: want a size, as 64m", key);
			continue;
		}
		put_option(out, key + strlen(PREFIX), text);
	}
	return 0;
}

static int put_all(FILE *out, json_t *opts, const struct parsed *p, const struct mountopts_rules *r,
		   struct mountopts *m, struct failure *f)
{
	bool readonly = false, ro = false, cached = false, mapped = false;
	uint32_t uid = 0, gid = 0;

	if (parse_bool("readonly", p->value[KEY_READONLY], &readonly, f) ||
	    parse_bool("ro", p->value[KEY_RO], &ro, f) ||
	    parse_bool("cache", p->value[KEY_CACHE], &cached, f) ||
	    check_version(p->value[KEY_VERSION], f) || find_identity(p, r, &mapped, &uid, &gid, f))
		return -EINVAL;
	if (r->defaults && *r->defaults)
		fprintf(out, "%s,", r->defaults);
	if (p->value[KEY_CACHE] && !cached)
		fputs("attr_timeout=0,entry_timeout=0,", out);
	if (put_named(out, opts, m, f))
		return -EINVAL;
	if (mapped)
		fprintf(out, "uid=%u,gid=%u,", uid, gid);
	if (readonly || ro)
		fputs("ro,", out);
	fputs("locks=daemon", out);
	return 0;
}

static int build(json_t *opts, struct parsed *p, const struct mountopts_rules *r,
		 struct mountopts *m, struct failure *f)
{
	size_t len;
	FILE *out;
	int rc;

	if (refuse_unknown(opts, r, f) || parse_known(opts, p, f) || refuse_missing(p, f))
		return -EINVAL;
	rc = resolve(p->value[KEY_SOURCE], r, &m->uri, f);
	if (!rc)
		rc = take_volume(opts, m, f);
	if (rc)
		return rc;
	out = open_memstream(&m->options, &len);
	if (!out)
		return failure_set(f, -ENOMEM, "out of memory");
	rc = put_all(out, opts, p, r, m, f);
	if (fclose(out) && !rc)
		rc = failure_set(f, -ENOMEM, "out of memory");
	return rc;
}

int mountopts_build(const json_t *opts, const struct mountopts_rules *rules, struct mountopts *out,
		    struct failure *f)
{
	json_t *all = json_is_object(opts) ? json_incref((json_t *)opts) : json_object();
	struct parsed p = { { NULL } };
	struct mountopts m = { NULL, NULL, 0, NULL };
	int rc = build(all, &p, rules, &m, f);

	parsed_done(&p);
	json_decref(all);
	if (rc)
		mountopts_done(&m);
	else
		*out = m;
	return rc;
}

void mountopts_done(struct mountopts *m)
{
	free(m->uri);
	free(m->options);
	json_decref(m->volume);
	m->uri = m->options = NULL;
	m->volume = NULL;
}

/* --- copies without secrets ------------------------------------------------ */

/* user:password@host is refused at Mount, and until then a secret. */
static bool names_a_user(const char *source)
{
	const char *authority = strstr(source, "://");
	const char *at;

	authority = authority ? authority + 3 : source;
	at = strchr(authority, '@');
	return at && at < authority + strcspn(authority, "/");
}

/* Also when somebody takes it for an option of ours. */
static bool is_secret(const char *key)
{
	int i = find_key(strncmp(key, PREFIX, strlen(PREFIX)) ? key : key + strlen(PREFIX));

	return i >= 0 && known_keys[i].secret;
}

/* A value that may be shown: that of a key whose meaning is known to be harmless. */
static bool may_show(const char *key, const json_t *value)
{
	int i = find_key(key);

	if (is_secret(key) || json_is_object(value) || json_is_array(value))
		return false;
	if (i < 0)
		return !strncmp(key, PREFIX, strlen(PREFIX));
	return known_keys[i].key != KEY_SOURCE || !json_is_string(value) ||
	       !names_a_user(json_string_value(value));
}

#define VOLUME_DEPTH_MAX 8 /* of handle and plan; what lies deeper is not stored */

static bool is_plain(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

/* A stranger may have written anything into it: no secret, whatever it is a member of. */
static json_t *without_secrets(const json_t *value, unsigned depth)
{
	json_t *copy = json_is_array(value) ? json_array() : json_object(), *member;
	const char *key;

	if (is_plain(value) || depth == VOLUME_DEPTH_MAX) {
		json_decref(copy);
		return is_plain(value) ? json_incref((json_t *)value) : json_null();
	}
	for (size_t i = 0; i < json_array_size(value); i++)
		json_array_append_new(copy, without_secrets(json_array_get(value, i), depth + 1));
	json_object_foreach((json_t *)value, key, member) {
		if (!is_secret(key))
			json_object_set_new(copy, key, without_secrets(member, depth + 1));
	}
	return copy;
}

static json_t *volume_stored(const json_t *volume)
{
	json_t *copy = json_object();

	for (size_t i = 0; i < ARRAY_LEN(volume_members); i++) {
		const json_t *member = json_object_get(volume, volume_members[i].name);

		if (member)
			json_object_set_new(copy, volume_members[i].name,
					    without_secrets(member, 0));
	}
	return copy;
}

static json_t *copy_shown(const json_t *opts, bool keep_secret_keys, bool *had_secret)
{
	json_t *copy = json_object(), *value;
	const char *key;

	json_object_foreach((json_t *)opts, key, value) {
		bool secret = is_secret(key);

		*had_secret |= secret;
		if (secret && !keep_secret_keys)
			continue;
		if (may_show(key, value))
			json_object_set(copy, key, value);
		else if (!keep_secret_keys && !strcmp(key, "volume") && json_is_object(value))
			json_object_set_new(copy, key, volume_stored(value));
		else
			json_object_set_new(copy, key, json_string(REDACTED));
	}
	return copy;
}

json_t *mountopts_redacted(const json_t *opts)
{
	bool had = false;

	return copy_shown(opts, true, &had);
}

json_t *mountopts_stored(const json_t *opts, bool *had_secret)
{
	*had_secret = false;
	return copy_shown(opts, false, had_secret);
}
