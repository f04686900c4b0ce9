/* SPDX-License-Identifier: Apache-2.0 */
/* onefs.c - the OneFS provider: configuration, plans, what mounts are told; see onefs_impl.h for the other parts */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/jsonconf.h"

#define BASE_MAX 900 /* of base_path, so that names fit behind it */
#define HOST_MAX 256
#define ID_MAX 4294967294u
#define ENTRY_MAX 255

static const char *const auths[] = { "session", "basic", NULL };
static const char *const client_modes[] = { "fixed", "managed", NULL };

#define AT(member) offsetof(struct isi_settings, member)

static const struct opt_def table[] = {
	{ "auth", OPT_ENUM, NULL, AT(auth), 0, 0, "session", auths, "how to log in", false },
	{ "zone", OPT_STRING, NULL, AT(zone), 0, 0, ONEFS_SYSTEM, NULL, "access zone of exports",
	  false },
	{ "base_path", OPT_STRING, NULL, AT(base_path), 0, 0, "/ifs/data/persifs", NULL,
	  "folder of the volumes", false },
	{ "nfs_host", OPT_STRING, NULL, AT(nfs_host), 0, 0, NULL, NULL,
	  "name or address that cells mount from, as a SmartConnect name", false },
	{ "clients", OPT_ENUM, NULL, AT(clients), 0, 0, "fixed", client_modes,
	  "who may mount: networks, or the cells that drivers add", false },
	{ "ignore_unresolvable_hosts", OPT_BOOL, NULL, AT(ignore_hosts), 0, 0, "yes", NULL,
	  "accept clients whose names have no address", false },
	{ 0 },
};

static const char *const lists[] = { "networks", NULL };
static const char *const plan_keys[] = { "base_path", "zone",     "uid",   "gid",
					 "mode",      "nfs_host", "quota", NULL };

static struct onefs *of_provider(const struct provider *p)
{
	return CONTAINER_OF(p, struct onefs, base);
}

/* --- values -------------------------------------------------------------------------------- */

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			return false;
	return true;
}

bool isi_path_is_good(const char *path)
{
	if (strncmp(path, "/ifs/", 5) != 0 || !is_printable(path))
		return false;
	for (const char *at = path; *at;) {
		size_t n;

		at++; /* the slash */
		n = strcspn(at, "/");
		if (!n || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += n;
	}
	return true;
}

static bool is_good_base(const char *path)
{
	return strlen(path) <= BASE_MAX && isi_path_is_good(path) && !strstr(path, "/.snapshot");
}

static bool is_good_zone(const char *zone)
{
	return *zone && strlen(zone) < ONEFS_ZONE_MAX && is_printable(zone);
}

static bool is_good_host(const char *host)
{
	if (!*host || strlen(host) >= HOST_MAX)
		return false;
	for (; *host; host++)
		if (!isalnum((unsigned char)*host) && !strchr(".-_:", *host))
			return false;
	return true;
}

/* An entry of a list of clients: address, network, name or @netgroup, but never everybody. */
static bool is_good_network(const char *text)
{
	const char *slash = strchr(text, '/');
	char address[ENTRY_MAX + 1], *end;
	unsigned char bytes[16];
	unsigned long bits;

	if (!*text || strlen(text) > ENTRY_MAX || strpbrk(text, " *,\"") || !is_printable(text))
		return false;
	if (!slash)
		return strcmp(text, "0.0.0.0") != 0 && strcmp(text, "::") != 0;
	snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
	bits = strtoul(slash + 1, &end, 10);
	if (!isdigit((unsigned char)slash[1]) || *end || !bits)
		return false;
	return (bits <= 32 && inet_pton(AF_INET, address, bytes) == 1) ||
	       (bits <= 128 && inet_pton(AF_INET6, address, bytes) == 1);
}

/* --- configuration -------------------------------------------------------------------------- */

static int read_networks(struct onefs *o, const char *who, const json_t *config, struct err *err)
{
	const json_t *list = json_object_get(config, "networks");

	o->networks = json_array();
	if (!o->networks)
		return err_set(err, -ENOMEM, "out of memory");
	if (list && (!json_is_array(list) || json_array_size(list) > ONEFS_NETWORKS_MAX))
		return jsonconf_bad(err, who, "networks", "want a list of at most 256 strings");
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_array_get(list, i);
		const char *text = json_string_value(item);

		if (!text || !is_good_network(text))
			return jsonconf_bad(err, who, "networks",
					    "want addresses, networks (10.30.0.0/16), host names "
					    "or @netgroups, and not everybody");
		if (json_array_append(o->networks, item))
			return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int check_settings(struct onefs *o, const char *who, struct err *err)
{
	const struct isi_settings *s = &o->set;

	if (!s->base_path || !is_good_base(s->base_path))
		return jsonconf_bad(err, who, "base_path", "want a folder below /ifs");
	if (!s->zone || !is_good_zone(s->zone))
		return jsonconf_bad(err, who, "zone", "want a name of 1 to 127 bytes");
	if (s->nfs_host && !is_good_host(s->nfs_host))
		return jsonconf_bad(err, who, "nfs_host", "want a host name or an address");
	if (o->managed && json_array_size(o->networks))
		return jsonconf_bad(err, who, "networks",
				    "not together with \"clients\": \"managed\"");
	if (!o->managed && !json_array_size(o->networks))
		return jsonconf_bad(err, who, "networks",
				    "is missing: nobody could mount; or want \"clients\": "
				    "\"managed\"");
	return 0;
}

static void isi_free(struct onefs *o)
{
	rest_free(o->rest);
	array_config_done(&o->cfg);
	opt_done(table, &o->set);
	json_decref(o->networks);
	explicit_bzero(&o->session, sizeof o->session);
	cond_done(&o->changed);
	mutex_done(&o->lock);
	free(o);
}

static int set_up(struct onefs *o, const char *name, const json_t *config, struct err *err)
{
	char who[80];
	int rc = opt_defaults(table, &o->set);

	if (rc)
		return err_set(err, rc, "out of memory");
	snprintf(who, sizeof who, "provider %.64s", name);
	rc = array_config_read(name, config, table, &o->set, lists, &o->cfg, err);
	if (rc)
		return rc;
	o->basic = !strcmp(auths[o->set.auth], "basic");
	o->managed = !strcmp(client_modes[o->set.clients], "managed");
	rc = read_networks(o, who, config, err);
	if (!rc)
		rc = check_settings(o, who, err);
	if (!rc)
		rc = array_rest_new(&o->cfg, &o->rest, err);
	if (rc)
		return rc;
	isi_place_of(o, NULL, &o->places[0]);
	o->nplaces = 1;
	return 0;
}

static int isi_open(const char *name, const json_t *config, struct provider **out, struct err *err)
{
	struct onefs *o = calloc(1, sizeof *o);
	int rc;

	if (!o)
		return err_set(err, -ENOMEM, "out of memory");
	mutex_init(&o->lock, LOCK_provider);
	cond_init(&o->changed);
	o->base.ops = &provider_onefs;
	o->send = rest_call;
	o->pause_ms = ONEFS_PAUSE_MS;
	o->settle_ms = ONEFS_SETTLE_MS;
	snprintf(o->base.name, sizeof o->base.name, "%s", name);
	rc = set_up(o, name, config, err);
	if (rc) {
		isi_free(o);
		return rc;
	}
	*out = &o->base;
	return 0;
}

static void isi_close(struct provider *p)
{
	struct onefs *o = of_provider(p);

	isi_logout(o);
	isi_free(o);
}

/* --- plans --------------------------------------------------------------------------------------- */

uint32_t isi_plan_id(const json_t *plan, const char *key)
{
	uint64_t id;

	return rest_u64(json_object_get(plan, key), &id) && id && id <= ID_MAX ? (uint32_t)id :
										 ONEFS_ID_DEFAULT;
}

/* False when it is none: octal, with everything for the owner. */
static bool parse_mode(const char *text, mode_t *out)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (!isdigit((unsigned char)*text) || *end || mode > 07777 || (mode & 0700) != 0700)
		return false;
	*out = (mode_t)mode;
	return true;
}

mode_t isi_plan_mode(const json_t *plan)
{
	mode_t mode;

	return parse_mode(rest_text(plan, "mode"), &mode) ? mode : ONEFS_MODE_DEFAULT;
}

bool isi_plan_quota_optional(const json_t *plan)
{
	return !strcmp(rest_text(plan, "quota"), "ignore");
}

void isi_place_of(const struct onefs *o, const json_t *plan, struct isi_place *out)
{
	const char *base = rest_text(plan, "base_path"), *zone = rest_text(plan, "zone");

	memset(out, 0, sizeof *out);
	snprintf(out->base, sizeof out->base, "%s", *base ? base : o->set.base_path);
	snprintf(out->zone, sizeof out->zone, "%s", *zone ? zone : o->set.zone);
}

static int bad(struct err *err, const char *key, const char *why)
{
	return err_set(err, -EINVAL, "key \"%s\": %s", key, why);
}

static int check_texts(const struct onefs *o, const json_t *plan, struct err *err)
{
	static const char *const texts[] = { "base_path", "zone", "nfs_host", "quota", "mode" };
	const char *host = rest_text(plan, "nfs_host"), *quota = rest_text(plan, "quota");
	mode_t mode;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const json_t *value = json_object_get(plan, texts[i]);

		if (value && (!json_is_string(value) || !*json_string_value(value)))
			return bad(err, texts[i], "want a text");
	}
	if (json_object_get(plan, "base_path") && !is_good_base(rest_text(plan, "base_path")))
		return bad(err, "base_path", "want a folder below /ifs");
	if (json_object_get(plan, "zone") && !is_good_zone(rest_text(plan, "zone")))
		return bad(err, "zone", "want a name of 1 to 127 bytes");
	if (*host && !is_good_host(host))
		return bad(err, "nfs_host", "want a host name or an address");
	if (!*host && !o->set.nfs_host)
		return bad(err, "nfs_host", "is missing in the plan and in its provider");
	if (*quota && strcmp(quota, "required") != 0 && strcmp(quota, "ignore") != 0)
		return bad(err, "quota", "want required or ignore");
	if (json_object_get(plan, "mode") && !parse_mode(rest_text(plan, "mode"), &mode))
		return bad(err, "mode", "want octal text as \"0770\", with 7 for the owner");
	return 0;
}

static int check_id(const json_t *plan, const char *key, struct err *err)
{
	const json_t *value = json_object_get(plan, key);
	uint64_t id;

	/* Root is nobody to the array. */
	if (value && (!rest_u64(value, &id) || !id || id > ID_MAX))
		return bad(err, key, "want a number of 1 to 4294967294");
	return 0;
}

/* Volumes may lie there from now on: list() and remove_name() have to look. */
static int add_place(struct onefs *o, const struct isi_place *place, struct err *err)
{
	bool known = false;
	int rc = 0;

	mutex_lock(&o->lock);
	for (size_t i = 0; i < o->nplaces; i++)
		known |= !strcmp(o->places[i].base, place->base) &&
			 !strcasecmp(o->places[i].zone, place->zone);
	if (!known && o->nplaces == ONEFS_PLACES_MAX)
		rc = err_set(err, -EINVAL, "key \"base_path\": more than %d folders and zones",
			     ONEFS_PLACES_MAX);
	else if (!known)
		o->places[o->nplaces++] = *place;
	mutex_unlock(&o->lock);
	return rc;
}

static int isi_check_plan(struct provider *p, const json_t *plan, struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_place place;
	int rc = check_texts(o, plan, err);

	if (!rc)
		rc = check_id(plan, "uid", err);
	if (!rc)
		rc = check_id(plan, "gid", err);
	if (rc)
		return rc;
	isi_place_of(o, plan, &place);
	return add_place(o, &place, err);
}

size_t isi_places(struct onefs *o, struct isi_place out[ONEFS_PLACES_MAX])
{
	size_t n;

	mutex_lock(&o->lock);
	n = o->nplaces;
	memcpy(out, o->places, n * sizeof *out);
	mutex_unlock(&o->lock);
	return n;
}

/* --- which volume ----------------------------------------------------------------------------------- */

static void isi_name_of(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	provider_make_name(of_provider(p)->cfg.name_prefix, owner, buf);
}

static int bad_handle(const struct onefs *o, struct err *err)
{
	return err_set(err, -EINVAL, "%s: the handle of the volume makes no sense", o->base.name);
}

/* Its path and zone are where the volume was made, whatever the plan says by now. */
static int locate_handle(struct onefs *o, const struct provider_ref *ref, struct isi_volume *v,
			 struct err *err)
{
	const char *name = rest_text(ref->handle, "name"), *path = rest_text(ref->handle, "path");
	const char *zone = rest_text(ref->handle, "zone");
	const char *last = strrchr(path, '/');
	char own[PROVIDER_NAME_MAX] = "";

	v->is_snapshot = json_object_get(ref->handle, "snapshot") != NULL;
	if (!rest_u64(json_object_get(ref->handle, "export"), &v->export_id))
		v->export_id = 0;
	if (ref->owner && *ref->owner)
		isi_name_of(&o->base, ref->owner, own);
	if (!*name)
		name = own;
	if (!provider_is_made_name(o->cfg.name_prefix, name) || (*own && strcmp(own, name) != 0))
		return bad_handle(o, err);
	snprintf(v->name, sizeof v->name, "%s", name);
	if (*zone && is_good_zone(zone))
		snprintf(v->zone, sizeof v->zone, "%s", zone);
	if (!*path)
		return 0;
	if (strlen(path) >= sizeof v->path || !isi_path_is_good(path) ||
	    (!v->is_snapshot && strcmp(last + 1, name) != 0))
		return bad_handle(o, err);
	snprintf(v->path, sizeof v->path, "%s", path);
	return 0;
}

int isi_locate(struct onefs *o, const struct provider_ref *ref, struct isi_volume *out,
	       struct err *err)
{
	struct isi_place place;
	int rc = 0, len;

	memset(out, 0, sizeof *out);
	isi_place_of(o, ref->plan, &place);
	memcpy(out->zone, place.zone, sizeof out->zone);
	if (json_is_object(ref->handle))
		rc = locate_handle(o, ref, out, err);
	else if (ref->owner && *ref->owner)
		isi_name_of(&o->base, ref->owner, out->name);
	else
		rc = err_set(err, -EINVAL, "%s: neither owner nor handle of the volume is given",
			     o->base.name);
	if (rc || *out->path)
		return rc;
	len = snprintf(out->path, sizeof out->path, "%s/%s", place.base, out->name);
	if (len < 0 || (size_t)len >= sizeof out->path)
		return err_set(err, -EINVAL, "%s: base_path is too long", o->base.name);
	return 0;
}

/* --- mounts ---------------------------------------------------------------------------------------------- */

/* "nfs://host/path" */
static int nfs_source(const struct onefs *o, const struct provider_ref *ref,
		      const struct isi_volume *v, char *buf, size_t cap, struct err *err)
{
	const char *host = rest_text(ref->plan, "nfs_host");
	AUTO_FREE char *url = isi_ns_url(v->path, NULL);
	bool brackets;
	int len;

	if (!*host)
		host = o->set.nfs_host ? o->set.nfs_host : "";
	if (!is_good_host(host))
		return err_set(err, -EINVAL, "%s: key \"nfs_host\" is missing", o->base.name);
	if (!url)
		return err_set(err, -ENOMEM, "out of memory");
	brackets = strchr(host, ':') != NULL;
	len = snprintf(buf, cap, "nfs://%s%s%s%s", brackets ? "[" : "", host, brackets ? "]" : "",
		       url + strlen("/namespace"));
	if (len < 0 || (size_t)len >= cap)
		return err_set(err, -EINVAL, "%s: the path of volume %s is too long to be mounted",
			       o->base.name, v->name);
	return 0;
}

/* "onefs://ARRAY/NAME", with where it lies when that is not the provider's own place. */
static int managed_source(const struct onefs *o, const struct isi_volume *v, char *buf, size_t cap,
			  struct err *err)
{
	AUTO_FREE char *base = NULL;
	AUTO_FREE char *url = NULL;
	struct isi_place own;
	size_t n = (size_t)(strrchr(v->path, '/') - v->path);
	bool elsewhere;
	int len;

	isi_place_of(o, NULL, &own);
	elsewhere = strlen(own.base) != n || strncmp(own.base, v->path, n) != 0 ||
		    strcasecmp(own.zone, v->zone) != 0;
	if (asprintf(&base, "onefs://%s/%s", o->base.name, v->name) < 0) {
		base = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	url = isi_url(base, "path", elsewhere ? v->path : NULL, "zone", elsewhere ? v->zone : NULL);
	if (!url)
		return err_set(err, -ENOMEM, "out of memory");
	len = snprintf(buf, cap, "%s", url);
	return (size_t)len < cap ? 0 :
				   err_set(err, -EINVAL, "%s: the path of volume %s is too long",
					   o->base.name, v->name);
}

static int locate_share(struct onefs *o, const struct provider_ref *ref, struct isi_volume *v,
			struct err *err)
{
	int rc = isi_locate(o, ref, v, err);

	if (!rc && v->is_snapshot)
		rc = err_set(err, -EOPNOTSUPP,
			     "%s: a snapshot cannot be mounted; restore it as a volume",
			     o->base.name);
	return rc;
}

static int isi_mount_config(struct provider *p, const struct provider_ref *ref, json_t *config,
			    struct err *err)
{
	struct onefs *o = of_provider(p);
	char source[sizeof((struct provider_mapping *)0)->source];
	struct isi_volume v;
	int rc = locate_share(o, ref, &v, err);

	if (!rc)
		rc = o->managed ? managed_source(o, &v, source, sizeof source, err) :
				  nfs_source(o, ref, &v, source, sizeof source, err);
	if (rc)
		return rc;
	if (json_object_set_new(config, "source", json_string(source)) ||
	    json_object_set_new(config, "uid", json_integer(isi_plan_id(ref->plan, "uid"))) ||
	    json_object_set_new(config, "gid", json_integer(isi_plan_id(ref->plan, "gid"))))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* One entry that stands for one machine. */
static bool is_good_address(const char *address)
{
	return address && is_good_host(address) && is_good_network(address) &&
	       strcasecmp(address, ONEFS_DUMMY) != 0;
}

static int change_host(struct onefs *o, const struct isi_volume *v,
		       const struct provider_host *host, bool add, bool *was, struct err *err)
{
	json_t *object = NULL, *entries;
	uint64_t id = 0;
	int rc;

	if (!is_good_address(host->address))
		return err_set(err, -EINVAL,
			       "%s: the cell's address is not known, or is no address",
			       o->base.name);
	rc = isi_export_get(o, v, &object, err);
	if (rc)
		return rc;
	rest_u64(json_object_get(object, "id"), &id);
	json_decref(object);
	entries = json_pack("[s]", host->address);
	if (!entries)
		return err_set(err, -ENOMEM, "out of memory");
	rc = isi_clients_change(o, v, id, entries, add, was, err);
	json_decref(entries);
	return rc;
}

static int isi_map(struct provider *p, const struct provider_ref *ref,
		   const struct provider_host *host, struct provider_mapping *out, struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_volume v;
	int rc = locate_share(o, ref, &v, err);

	memset(out, 0, sizeof *out);
	out->was_mapped = true; /* by the networks of the export */
	if (!rc)
		rc = nfs_source(o, ref, &v, out->source, sizeof out->source, err);
	if (!rc && o->managed)
		rc = change_host(o, &v, host, true, &out->was_mapped, err);
	return rc;
}

static int isi_unmap(struct provider *p, const struct provider_ref *ref,
		     const struct provider_host *host, struct err *err)
{
	struct onefs *o = of_provider(p);
	struct isi_volume v;
	int rc = locate_share(o, ref, &v, err);

	if (rc || !o->managed)
		return rc;
	rc = change_host(o, &v, host, false, NULL, err);
	return rc == -ENOENT ? 0 : rc;
}

static int isi_set_used(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	(void)ref;
	return err_set(err, -EOPNOTSUPP, "%s: shares are not formatted", p->name);
}

/* --- the array -------------------------------------------------------------------------------------------- */

static int isi_capacity(struct provider *p, const json_t *plan, struct provider_capacity *out,
			struct err *err)
{
	(void)plan; /* one file system for all */
	return isi_statistics(of_provider(p), out, err);
}

static int isi_is_well(struct provider *p, struct err *err)
{
	return isi_health(of_provider(p), err);
}

static const struct rest_stats *isi_stats(const struct provider *p)
{
	return rest_stats(of_provider(p)->rest);
}

const struct provider_ops provider_onefs = {
	.type = "onefs",
	.kind = PROVIDER_FILES,
	.open = isi_open,
	.close = isi_close,
	.check_plan = isi_check_plan,
	.plan_keys = plan_keys,
	.create = isi_create,
	.remove = isi_remove,
	.get = isi_get,
	.list = isi_list_volumes,
	.name_of = isi_name_of,
	.remove_name = isi_remove_name,
	.grow = isi_grow,
	.mount_config = isi_mount_config,
	.map = isi_map,
	.unmap = isi_unmap,
	.set_used = isi_set_used,
	.snapshot = isi_snapshot,
	.restore = isi_restore,
	.capacity = isi_capacity,
	.health = isi_is_well,
	.stats = isi_stats,
};
