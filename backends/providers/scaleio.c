/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio.c - see scaleio_impl.h; here: configuration, what has no better place, the table */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"

/* --- configuration --------------------------------------------------------- */

static const char *const logins[] = { "auto", "classic", "bearer", NULL };

#define AT(member) offsetof(struct sgw_config, member)

static const struct opt_def own_table[] = {
	{ "system", OPT_STRING, NULL, AT(system), 0, 0, NULL, NULL,
	  "id or name of the system; may be left out when the gateway serves one", false },
	{ "login", OPT_ENUM, NULL, AT(login), 0, 0, "auto", logins, "how to log in", false },
	{ 0 },
};

static const char *const plan_keys[] = {
	"protection_domain", "pool", "provisioning", "iops_limit", "bandwidth_limit",
	"allow_unpadded",    NULL
};

static void free_all(struct scaleio *s)
{
	rest_free(s->rest);
	array_config_done(&s->cfg);
	opt_done(own_table, &s->own);
	cond_done(&s->login_over);
	mutex_done(&s->lock);
	free(s);
}

/* Gateways are often named with the "/api" that their paths begin with. */
static void strip_api(char *url)
{
	size_t n = strlen(url);

	while (n && url[n - 1] == '/')
		url[--n] = '\0';
	if (n > 4 && !strcmp(url + n - 4, "/api"))
		url[n - 4] = '\0';
}

static int configure(struct scaleio *s, const json_t *config, struct err *err)
{
	const char *name = s->base.name;
	size_t n;
	struct err why;
	int rc = array_config_read(name, config, own_table, &s->own, NULL, &s->cfg, err);

	if (rc)
		return rc;
	n = strlen(s->cfg.name_prefix);
	/* Prefixes "x" and "xn" would take each other's volumes for their own. */
	if (n > SGW_PREFIX_MAX || s->cfg.name_prefix[n - 1] == 'n')
		return err_set(
			err, -EINVAL,
			"provider %s: key \"name_prefix\": want at most %d characters, the last "
			"of them no \"n\"",
			name, SGW_PREFIX_MAX);
	snprintf(s->fresh_prefix, sizeof s->fresh_prefix, "%sn", s->cfg.name_prefix);
	for (size_t i = 0; i < s->cfg.nurls; i++)
		strip_api(s->cfg.urls[i]);
	s->style = (enum sgw_login)s->own.login;
	rc = array_rest_new(&s->cfg, &s->rest, &why);
	return rc ? err_set(err, rc, "provider %s: %.400s", name, why.text) : 0;
}

static int scaleio_open(const char *name, const json_t *config, struct provider **out,
			struct err *err)
{
	struct scaleio *s = calloc(1, sizeof *s);
	int rc;

	if (!s || opt_defaults(own_table, &s->own)) {
		free(s);
		return err_set(err, -ENOMEM, "out of memory");
	}
	s->base.ops = &provider_scaleio;
	snprintf(s->base.name, sizeof s->base.name, "%s", name);
	mutex_init(&s->lock, LOCK_provider);
	cond_init(&s->login_over);
	rc = configure(s, config, err);
	if (rc)
		free_all(s);
	else
		*out = &s->base;
	return rc;
}

static void scaleio_close(struct provider *p)
{
	struct scaleio *s = scaleio_of(p);

	sgw_logout(s);
	free_all(s);
}

static int check_plan(struct provider *p, const json_t *plan, struct err *err)
{
	struct sgw_plan read;
	int rc = sgw_plan_read(plan, &read, err);

	if (rc)
		return rc;
	if (!read.pool)
		rc = err_set(err, -EINVAL, "%s: the plan has no key \"pool\"", p->name);
	sgw_plan_done(&read);
	return rc;
}

/* --- the rest -------------------------------------------------------------- */

static void name_of(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	provider_make_name(scaleio_of(p)->cfg.name_prefix, owner, buf);
}

static int mount_config(struct provider *p, const struct provider_ref *ref, json_t *config,
			struct err *err)
{
	const char *id = rest_text(ref->handle, "id");
	char source[160];
	struct sgw_volume v = { .mapped = NULL };
	int rc = sgw_is_id(id) ? 0 : sgw_volume_find(scaleio_of(p), ref, &v, err);

	if (rc)
		return rc;
	snprintf(source, sizeof source, "scaleio://%s/%s", p->name, *v.id ? v.id : id);
	sgw_volume_done(&v);
	return json_object_set_new(config, "source", json_string(source)) ?
		       err_set(err, -ENOMEM, "out of memory") :
		       0;
}

/* Releases name what they count differently: since 3.0 net of mirror and spare, before that raw. */
static int take_capacity(const struct scaleio *s, const json_t *stats,
			 struct provider_capacity *out, struct err *err)
{
	uint64_t used, unused, limit, spare;

	out->total = out->free = PROVIDER_UNKNOWN;
	if (rest_u64(json_object_get(stats, "netUnusedCapacityInKb"), &unused)) {
		if (unused > UINT64_MAX / 2048)
			return err_set(err, -EPROTO, "%s: capacity: makes no sense", s->base.name);
		out->free = unused * 1024;
		if (rest_u64(json_object_get(stats, "netCapacityInUseInKb"), &used) &&
		    used <= UINT64_MAX / 2048)
			out->total = (unused + used) * 1024;
		return 0;
	}
	if (!rest_u64(json_object_get(stats, "capacityAvailableForVolumeAllocationInKb"),
		      &unused) ||
	    unused > UINT64_MAX / 2048)
		return err_set(err, -EPROTO, "%s: capacity: the answer has no counters",
			       s->base.name);
	out->free = unused * 1024;
	if (rest_u64(json_object_get(stats, "capacityLimitInKb"), &limit) &&
	    rest_u64(json_object_get(stats, "spareCapacityInKb"), &spare) && spare <= limit &&
	    limit <= UINT64_MAX / 2048)
		out->total = (limit - spare) / 2 * 1024;
	return 0;
}

static uint64_t metric(const json_t *answer, const char *name)
{
	const json_t *resource = json_array_get(json_object_get(answer, "resources"), 0);
	const json_t *metrics = json_object_get(resource, "metrics");
	uint64_t v;

	for (size_t i = 0; i < json_array_size(metrics); i++) {
		const json_t *m = json_array_get(metrics, i);

		if (!strcmp(rest_text(m, "name"), name) &&
		    rest_u64(json_array_get(json_object_get(m, "values"), 0), &v))
			return v;
	}
	return PROVIDER_UNKNOWN;
}

/* Erasure-coded pools have their numbers elsewhere, in bytes. */
static int coded_capacity(struct scaleio *s, const char *id, struct provider_capacity *out,
			  struct err *err)
{
	json_t *answer = NULL;
	int rc = sgw_post(s, "capacity", true,
			  json_pack("{s:s, s:[s], s:[s, s]}", "resource_type", "storage_pool",
				    "ids", id, "metrics", "physical_total", "physical_free"),
			  &answer, NULL, err, "/dtapi/rest/v1/metrics/query");

	if (rc)
		return rc;
	out->total = metric(answer, "physical_total");
	out->free = metric(answer, "physical_free");
	json_decref(answer);
	if (out->free == PROVIDER_UNKNOWN)
		return err_set(err, -EPROTO, "%s: capacity: the answer has no counters",
			       s->base.name);
	return 0;
}

static int pool_capacity(struct scaleio *s, const struct sgw_pool *pool,
			 struct provider_capacity *out, enum sgw_fault *fault, struct err *err)
{
	json_t *stats = NULL;
	int rc;

	*fault = SGW_OK;
	if (pool->coded)
		return coded_capacity(s, pool->id, out, err);
	rc = sgw_get(s, "capacity", &stats, fault, err,
		     "/api/instances/StoragePool::%s/relationships/Statistics", pool->id);
	if (!rc)
		rc = take_capacity(s, stats, out, err);
	json_decref(stats);
	return rc;
}

static int capacity(struct provider *p, const json_t *plan, struct provider_capacity *out,
		    struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	enum sgw_fault fault;
	struct sgw_plan read;
	struct sgw_pool pool;
	int rc = sgw_plan_read(plan, &read, err);

	if (rc)
		return rc;
	rc = sgw_pool_get(s, &read, &pool, err);
	if (!rc) {
		rc = pool_capacity(s, &pool, out, &fault, err);
		if (fault == SGW_CONFIG || fault == SGW_ABSENT)
			sgw_pools_forget(s); /* the next call looks for another of its name */
	}
	sgw_plan_done(&read);
	return rc;
}

static int health(struct provider *p, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_system system;
	json_t *version = NULL;
	int rc = sgw_get(s, "version", &version, NULL, err, "/api/version");

	json_decref(version);
	rc = rc ? rc : sgw_system_get(s, true, &system, err);
	if (!rc && (strcasestr(system.state, "degraded") || strcasestr(system.state, "error") ||
		    strcasestr(system.state, "fail")))
		rc = err_set(err, -EAGAIN, "%s: the array's management cluster is %.60s", p->name,
			     system.state);
	return rc;
}

static const struct rest_stats *stats(const struct provider *p)
{
	return rest_stats(((const struct scaleio *)p)->rest);
}

const struct provider_ops provider_scaleio = {
	.type = "scaleio",
	.kind = PROVIDER_BLOCK,
	.open = scaleio_open,
	.close = scaleio_close,
	.check_plan = check_plan,
	.plan_keys = plan_keys,
	.create = scaleio_create,
	.remove = scaleio_remove,
	.get = scaleio_get,
	.list = scaleio_list,
	.name_of = name_of,
	.remove_name = scaleio_remove_name,
	.grow = scaleio_grow,
	.mount_config = mount_config,
	.map = scaleio_map,
	.unmap = scaleio_unmap,
	.set_used = scaleio_set_used,
	.snapshot = scaleio_snapshot,
	.restore = scaleio_restore,
	.capacity = capacity,
	.health = health,
	.stats = stats,
};
