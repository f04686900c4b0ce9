/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. Reading (config_read.c) fills the struct, here the whole is checked and what is made
 * of it is made. */
#include "tools/broker/config.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/jsonconf.h"
#include "common/log.h"
#include "tools/broker/catalog.h"
#include "tools/broker/schema.h"

#define HOUR_MS (3600ULL * 1000)
#define DAY_MS (24 * HOUR_MS)
#define URL_MAX 1024
#define ETAG_BYTES 12
#define DEFAULT_LISTEN "tcp:127.0.0.1:8999"

static const char *const levels[] = { "error", "warn", "info", "debug", NULL };

#define AT(member) offsetof(struct bconfig, member)
#define TEXT(name, member, dflt, help)                                            \
	{                                                                         \
		name, OPT_STRING, NULL, AT(member), 0, 0, dflt, NULL, help, false \
	}

const struct opt_def bconfig_table[] = {
	TEXT("admin", admin, NULL, "address and port of /health and /metrics; default off"),
	TEXT("key_file", key_file, NULL, "key that secrets in the store are sealed with"),
	TEXT("store", store, "sqlite:/var/lib/persifs-broker/broker.db",
	     "sqlite:/path or postgresql://...: where instances are remembered"),
	TEXT("audit_log", audit_log, NULL, "file with a line of JSON for each change"),
	TEXT("driver", driver, "persifs", "name of the volume driver on the cells"),
	{ "workers", OPT_UINT, "threads", AT(workers), 1, 64, "4", NULL,
	  "operations that run at a time", false },
	{ "lease", OPT_TIME, "seconds", AT(lease), 1000, HOUR_MS, "30", NULL,
	  "after this another broker may take over from one that died", false },
	{ "operation_timeout", OPT_TIME, "seconds", AT(operation_timeout), 1000, 7 * DAY_MS, "30m",
	  NULL, "an operation that cannot be done meanwhile has failed", false },
	{ "sync_wait", OPT_TIME, "seconds", AT(sync_wait), 1000, 50000, "30", NULL,
	  "how long a request waits for what is usually quick", false },
	{ "tombstone_days", OPT_UINT, "days", AT(tombstone_days), 1, 3650, "30", NULL,
	  "how long the end of a deleted instance can be asked for", false },
	{ "parameters_max", OPT_SIZE, "bytes", AT(parameters_max), 256, 48 << 10, "32k", NULL,
	  "longest parameters of one request", false },
	{ "maximum_polling_duration", OPT_TIME, "seconds", AT(polling_max), 60000, 7 * DAY_MS, "1h",
	  NULL, "told to the platform: how long it asks for an outcome", false },
	{ "log_level", OPT_ENUM, NULL, AT(log_level), 0, 0, "info", levels,
	  "least important message logged", false },
	TEXT("tls.cert", tls_cert, NULL, "server certificate (PEM); with it, TLS is spoken"),
	TEXT("tls.key", tls_key, NULL, "its key"),
	TEXT("dashboard.url", dashboard_url, NULL,
	     "where users reach the broker (https://...); none: no dashboard"),
	{ "dashboard.link_lifetime", OPT_TIME, "seconds", AT(link_lifetime), 60000, 30 * DAY_MS,
	  "1h", NULL, "how long a link to a page holds", false },
	{ 0 },
};

struct bconfig *bconfig_new(void)
{
	struct bconfig *c = calloc(1, sizeof *c);

	if (!c || opt_defaults(bconfig_table, c)) {
		free(c);
		return NULL;
	}
	c->open_provider = provider_open;
	c->refs = 1;
	return c;
}

struct bconfig *bconfig_get(struct bconfig *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

static void plan_done(struct bplan *p)
{
	opt_done(bconfig_plan_table, p);
	json_decref(p->object);
	json_decref(p->defaults);
	json_decref(p->bind_options);
	json_decref(p->metadata);
	json_decref(p->maintenance);
	json_decref(p->create_schema);
	json_decref(p->update_schema);
	json_decref(p->bind_schema);
}

static void service_done(struct bservice *s)
{
	free(s->id);
	free(s->name);
	free(s->description);
	json_decref(s->tags);
	json_decref(s->metadata);
	for (size_t i = 0; i < s->nplans; i++)
		plan_done(&s->plans[i]);
	free(s->plans);
}

static void user_done(struct bconfig_user *u)
{
	if (u->password)
		explicit_bzero(u->password, strlen(u->password));
	free(u->name);
	free(u->password);
	free(u->hash);
}

void bconfig_put(struct bconfig *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	for (size_t i = 0; i < c->nservices; i++)
		service_done(&c->services[i]);
	for (size_t i = 0; i < c->nproviders; i++) {
		if (c->providers[i].p)
			c->providers[i].p->ops->close(c->providers[i].p);
		free(c->providers[i].name);
	}
	for (size_t i = 0; i < c->nusers; i++)
		user_done(&c->users[i]);
	bconfig_clear_listen(c);
	opt_done(bconfig_table, c);
	free(c->file);
	free(c->catalog);
	free(c);
}

int bconfig_add_listen(struct bconfig *c, const char *text, struct err *err)
{
	struct listen_addr addr;

	if (listen_parse(text, &addr, err))
		return -EINVAL;
	if (c->nlisten == BCONFIG_LISTEN_MAX)
		return err_set(err, -EINVAL, "listen: at most %d addresses", BCONFIG_LISTEN_MAX);
	c->listen[c->nlisten] = strdup(text);
	if (!c->listen[c->nlisten])
		return err_set(err, -ENOMEM, "out of memory");
	c->nlisten++;
	return 0;
}

void bconfig_clear_listen(struct bconfig *c)
{
	while (c->nlisten)
		free(c->listen[--c->nlisten]);
}

/* --- looking up ------------------------------------------------------------ */

const struct bservice *bconfig_service(const struct bconfig *c, const char *id)
{
	for (size_t i = 0; id && i < c->nservices; i++)
		if (!strcmp(c->services[i].id, id))
			return &c->services[i];
	return NULL;
}

const struct bplan *bconfig_plan(const struct bconfig *c, const char *id)
{
	for (size_t i = 0; id && i < c->nservices; i++)
		for (size_t k = 0; k < c->services[i].nplans; k++)
			if (!strcmp(c->services[i].plans[k].id, id))
				return &c->services[i].plans[k];
	return NULL;
}

struct provider *bconfig_provider(const struct bconfig *c, const char *name)
{
	for (size_t i = 0; i < c->nproviders; i++)
		if (!strcmp(c->providers[i].name, name))
			return c->providers[i].p;
	return NULL;
}

bool bplan_is_block(const struct bplan *p)
{
	const char *kind = json_string_value(json_object_get(p->object, "kind"));

	return p->p->ops->kind == PROVIDER_BLOCK || (kind && !strcmp(kind, "image"));
}

bool bplan_is_async(const struct bplan *p)
{
	if (p->p->ops->kind == PROVIDER_EXISTING)
		return false;
	return strcmp(p->p->ops->type, "local") || bplan_is_block(p);
}

bool bplan_allows(const struct bplan *p, const char *bind_option)
{
	for (size_t i = 0; i < json_array_size(p->bind_options); i++)
		if (!strcmp(json_string_value(json_array_get(p->bind_options, i)), bind_option))
			return true;
	return false;
}

/* --- the whole ------------------------------------------------------------- */

static int bad(const struct bconfig *c, struct err *err, const char *key, const char *why)
{
	return jsonconf_bad(err, c->file, key, why);
}

static int check_tls(const struct bconfig *c, struct err *err)
{
	if (!c->tls_cert != !c->tls_key)
		return bad(c, err, c->tls_cert ? "tls.cert" : "tls.key",
			   c->tls_cert ? "wants tls.key beside it" : "wants tls.cert beside it");
	return 0;
}

static int check_url(const struct bconfig *c, struct err *err)
{
	const char *u = c->dashboard_url;

	if (!u)
		return 0;
	if (strncmp(u, "https://", 8) && strncmp(u, "http://", 7))
		return bad(c, err, "dashboard.url", "want https://HOST or http://HOST");
	if (strlen(u) > URL_MAX || strpbrk(u, " \"<>?#"))
		return bad(c, err, "dashboard.url", "want an address without query");
	return 0;
}

/* The scheme: whether there is such a store is seen at the start. */
static int check_store(const struct bconfig *c, struct err *err)
{
	if (!c->store)
		return bad(c, err, "store", "may not be empty");
	if (!strncmp(c->store, "sqlite:/", 8) || !strncmp(c->store, "postgresql:", 11))
		return 0;
	return bad(c, err, "store", "want sqlite:/path or postgresql://...");
}

static bool same(const char *a, const char *b)
{
	return !strcmp(a, b);
}

/* Ids hold for ever and in the whole platform, names within the broker or the service. */
static int check_unique(const struct bconfig *c, const struct bservice *s, const struct bplan *p,
			char *path, size_t cap, struct err *err)
{
	for (size_t i = 0; i < c->nservices; i++) {
		const struct bservice *t = &c->services[i];

		if (same(t->id, p->id))
			return bad(c, err, path, "id: is the id of a service, too");
		for (size_t k = 0; k < t->nplans; k++) {
			const struct bplan *q = &t->plans[k];

			if (q == p)
				return 0;
			if (same(q->id, p->id) || (t == s && same(q->name, p->name))) {
				snprintf(path + strlen(path), cap - strlen(path), ".%s",
					 same(q->id, p->id) ? "id" : "name");
				return bad(c, err, path, "another plan has the same");
			}
		}
	}
	return 0;
}

static int check_services(const struct bconfig *c, struct err *err)
{
	char path[JSONCONF_PATH_MAX];
	int rc = 0;

	for (size_t i = 0; i < c->nservices && !rc; i++) {
		const struct bservice *s = &c->services[i];

		snprintf(path, sizeof path, "services[%zu]", i);
		for (size_t k = 0; k < i; k++)
			if (same(c->services[k].id, s->id) || same(c->services[k].name, s->name))
				return bad(c, err, path, "another service has the same id or name");
		for (size_t k = 0; k < s->nplans && !rc; k++) {
			snprintf(path, sizeof path, "services[%zu].plans[%zu]", i, k);
			rc = check_unique(c, s, &s->plans[k], path, sizeof path, err);
		}
	}
	return rc;
}

static int check_addresses(struct bconfig *c, struct err *err)
{
	struct listen_addr a;
	char text[128];
	struct err why;

	if (!c->nlisten && bconfig_add_listen(c, DEFAULT_LISTEN, err))
		return -EINVAL;
	if (!c->admin)
		return 0;
	snprintf(text, sizeof text, "tcp:%s", c->admin);
	return listen_parse(text, &a, &why) ? bad(c, err, "admin", why.text) : 0;
}

static int make_schemas(struct bconfig *c)
{
	bool ok = true;

	for (size_t i = 0; i < c->nservices; i++)
		for (size_t k = 0; k < c->services[i].nplans; k++) {
			struct bplan *p = &c->services[i].plans[k];

			p->create_schema = schema_make(p, SCHEMA_CREATE);
			p->update_schema = schema_make(p, SCHEMA_UPDATE);
			p->bind_schema = schema_make(p, SCHEMA_BIND);
			ok &= p->create_schema && p->update_schema && p->bind_schema;
		}
	return ok ? 0 : -ENOMEM;
}

static int make_catalog(struct bconfig *c)
{
	unsigned char hash[ETAG_BYTES];
	char hex[2 * ETAG_BYTES + 1];
	json_t *j = catalog_make(c);

	c->catalog = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!c->catalog || sodium_init() < 0)
		return -ENOMEM;
	if (crypto_generichash_blake2b(hash, sizeof hash, (const unsigned char *)c->catalog,
				       strlen(c->catalog), NULL, 0))
		return -ENOMEM;
	snprintf(c->etag, sizeof c->etag, "\"%s\"",
		 sodium_bin2hex(hex, sizeof hex, hash, sizeof hash));
	return 0;
}

int bconfig_check(struct bconfig *c, struct err *err)
{
	if (check_store(c, err))
		return -EINVAL;
	if (!c->key_file)
		return bad(c, err, "key_file", "is required (persifs-broker make-key FILE)");
	if (!c->driver || strpbrk(c->driver, "/ \t"))
		return bad(c, err, "driver", "want a name without \"/\" and spaces");
	if (!c->nusers)
		return bad(c, err, "users", "want at least one user");
	if (!c->nservices)
		return bad(c, err, "services", "want at least one service");
	if (check_tls(c, err) || check_url(c, err) || check_services(c, err) ||
	    check_addresses(c, err))
		return -EINVAL;
	if (make_schemas(c) || make_catalog(c))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

int bconfig_check_files(const struct bconfig *c, struct err *err)
{
	const char *const files[][2] = { { "tls.cert", c->tls_cert },
					 { "tls.key", c->tls_key },
					 { "key_file", c->key_file } };
	char why[300];

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		if (!files[i][1] || !access(files[i][1], R_OK))
			continue;
		snprintf(why, sizeof why, "'%.200s': %s", files[i][1], strerror(errno));
		return bad(c, err, files[i][0], why);
	}
	return 0;
}
