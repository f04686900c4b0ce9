/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - how the broker is set up: users, providers, services and their plans
 *
 * One JSON file. It is read as a whole, checked as a whole and never changed afterwards: SIGHUP makes a
 * new one, and requests and operations that run keep theirs by a reference. Scalars are option tables, a row
 * for each key; what a provider reads of its object and of a plan, the provider checks.
 *
 * Threads: any, after bconfig_check(). */
#ifndef TOOLS_BROKER_CONFIG_H
#define TOOLS_BROKER_CONFIG_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/providers/provider.h"
#include "common/err.h"
#include "common/listen.h"
#include "common/opt.h"

#define BCONFIG_LISTEN_MAX 8
#define BCONFIG_USERS_MAX 64
#define BCONFIG_PROVIDERS_MAX 64
#define BCONFIG_SERVICES_MAX 64
#define BCONFIG_PLANS_MAX 256 /* of one service */

typedef int bconfig_open_provider(const char *name, const json_t *config, struct provider **out,
				  struct err *err);

struct bconfig_user {
	char *name, *password, *hash; /* one of the last two; owned */
};

struct bconfig_provider {
	char *name;         /* owned */
	struct provider *p; /* owned */
};

struct bservice;

struct bplan {
	const struct bservice *service;
	/* the table's; strings owned */
	char *id, *name, *description, *provider, *mode, *container_dir;
	bool free, updateable;
	uint64_t size,
		max_size; /* bytes; size 0: the provider's default; max_size 0: size is fixed */
	int64_t uid, gid; /* -1: not told */
	/* owned */
	json_t *object;                 /* as it stands in the file: what providers are shown */
	json_t *defaults;               /* mount_defaults: an object, maybe empty */
	json_t *bind_options;           /* array of names */
	json_t *metadata, *maintenance; /* NULL: none */
	json_t *create_schema, *update_schema, *bind_schema;
	/* borrowed from the configuration */
	struct provider *p;
};

struct bservice {
	char *id, *name, *description; /* owned */
	bool updateable;               /* plan_updateable */
	json_t *tags, *metadata;       /* owned; NULL: none */
	struct bplan *plans;           /* owned */
	size_t nplans;
};

struct bconfig {
	/* the table's */
	char *admin, *key_file, *store, *audit_log, *driver;
	char *tls_cert, *tls_key, *dashboard_url;
	uint64_t workers, tombstone_days, parameters_max;
	uint64_t lease, operation_timeout, sync_wait, link_lifetime, polling_max; /* ms */
	unsigned log_level;
	/* owned */
	char *file;
	char *listen[BCONFIG_LISTEN_MAX];
	size_t nlisten;
	struct bconfig_user users[BCONFIG_USERS_MAX];
	size_t nusers;
	struct bconfig_provider providers[BCONFIG_PROVIDERS_MAX];
	size_t nproviders;
	struct bservice services[BCONFIG_SERVICES_MAX];
	size_t nservices;
	char *catalog; /* the answer of /v2/catalog */
	char etag[40];
	/* for tests: what opens a provider */
	bconfig_open_provider *open_provider;
	_Atomic unsigned refs;
};

extern const struct opt_def bconfig_table[], bconfig_plan_table[];

/* One reference, the caller's; NULL: no memory. */
struct bconfig *bconfig_new(void);
struct bconfig *bconfig_get(struct bconfig *c);
void bconfig_put(struct bconfig *c); /* NULL is fine */

/* -EINVAL with file, line of bad syntax and path of the key. Opens the providers (which asks nobody). */
int bconfig_load(struct bconfig *c, const char *file, struct err *err);
/* The same of what is in memory already; file is what sentences call it. For tests. */
int bconfig_take(struct bconfig *c, json_t *all, const char *file, struct err *err);
/* After file and command line: the whole; makes schemas and catalog. */
int bconfig_check(struct bconfig *c, struct err *err);
/* The files that keys name can be read. */
int bconfig_check_files(const struct bconfig *c, struct err *err);
int bconfig_add_listen(struct bconfig *c, const char *text, struct err *err);
void bconfig_clear_listen(struct bconfig *c);

const struct bservice *bconfig_service(const struct bconfig *c, const char *id);
/* Of whatever service. */
const struct bplan *bconfig_plan(const struct bconfig *c, const char *id);
struct provider *bconfig_provider(const struct bconfig *c, const char *name);

/* Something is made for an instance, so that its creation takes a while. */
bool bplan_is_async(const struct bplan *p);
/* One cell, so one app, at a time: also an image of a kind that makes folders, too. */
bool bplan_is_block(const struct bplan *p);
bool bplan_allows(const struct bplan *p, const char *bind_option);

#endif
