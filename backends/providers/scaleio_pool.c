/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_pool.c - the system, and the pools that plans name; kept for SGW_CACHE_MS */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/jsonconf.h"

#define IOPS_MIN 11
#define BANDWIDTH_STEP (1ULL << 20)
#define VERSION_CODED 5 /* erasure-coded pools exist since then */

/* --- plans ----------------------------------------------------------------- */

static const char *const provisionings[] = { "thin", "thick", NULL };

#define AT(member) offsetof(struct sgw_plan, member)

static const struct opt_def plan_table[] = {
	{ "protection_domain", OPT_STRING, NULL, AT(domain), 0, 0, NULL, NULL,
	  "name or id; may be left out when only one has the pool", false },
	{ "pool", OPT_STRING, NULL, AT(pool), 0, 0, NULL, NULL, "storage pool, name or id", false },
	{ "provisioning", OPT_ENUM, NULL, AT(thick), 0, 0, "thin", provisionings,
	  "when blocks are taken from the pool", false },
	{ "iops_limit", OPT_UINT, NULL, AT(iops), 0, UINT32_MAX, "0", NULL,
	  "operations a second of the host; 0: no limit", false },
	{ "bandwidth_limit", OPT_SIZE, "bytes", AT(bandwidth), 0, 1ULL << 40, "0", NULL,
	  "bytes a second of the host; 0: no limit", false },
	{ "allow_unpadded", OPT_BOOL, NULL, AT(allow_unpadded), 0, 0, "no", NULL,
	  "take pools that hand out blocks with former content", false },
	{ 0 },
};

void sgw_plan_done(struct sgw_plan *p)
{
	opt_done(plan_table, p);
}

static int plan_check(const struct sgw_plan *p, struct err *err)
{
	if (p->iops && p->iops < IOPS_MIN)
		return err_set(err, -EINVAL, "iops_limit: want 0 (none) or at least %d", IOPS_MIN);
	if (p->bandwidth % BANDWIDTH_STEP)
		return err_set(err, -EINVAL, "bandwidth_limit: want a multiple of 1m");
	if ((p->pool && strlen(p->pool) >= SGW_KEY_MAX) ||
	    (p->domain && strlen(p->domain) >= SGW_KEY_MAX))
		return err_set(err, -EINVAL, "pool, protection_domain: want less than %d bytes",
			       SGW_KEY_MAX);
	return 0;
}

int sgw_plan_read(const json_t *plan, struct sgw_plan *out, struct err *err)
{
	const char *key;
	json_t *value;
	int rc = opt_defaults(plan_table, out);

	if (rc)
		return err_set(err, rc, "out of memory");
	json_object_foreach((json_t *)plan, key, value) {
		if (!opt_find(plan_table, key))
			continue;
		rc = jsonconf_scalar(plan_table, out, key, value, NULL, key, err);
		if (rc)
			break;
	}
	rc = rc ? rc : plan_check(out, err);
	if (rc)
		sgw_plan_done(out);
	return rc;
}

/* --- sizes ----------------------------------------------------------------- */

int sgw_round(uint64_t size, uint64_t step, uint64_t *out, struct err *err)
{
	uint64_t up;

	if (!size)
		size = 1;
	if (__builtin_add_overflow(size, step - 1, &up) || up - up % step > SGW_SIZE_MAX)
		return err_set(err, -EINVAL,
			       "size %" PRIu64 ": larger than 1 PiB, the most that a volume has",
			       size);
	*out = up - up % step;
	return 0;
}

/* --- the system ------------------------------------------------------------ */

int sgw_version_of(struct scaleio *s, struct sgw_version *out, struct err *err)
{
	struct sgw_session c;
	int rc = sgw_session_get(s, &c, err);

	if (rc)
		return rc;
	*out = c.version;
	sgw_session_done(&c);
	return 0;
}

static bool is_wanted(const struct scaleio *s, const json_t *system)
{
	return !s->own.system || !strcasecmp(rest_text(system, "id"), s->own.system) ||
	       !strcmp(rest_text(system, "name"), s->own.system);
}

static int take_system(const struct scaleio *s, const json_t *system, struct sgw_system *out,
		       struct err *err)
{
	const char *id = rest_text(system, "id"), *mode = rest_text(system, "restrictedSdcMode");

	if (!sgw_is_id(id))
		return err_set(err, -EPROTO, "%s: system: the answer has no id", s->base.name);
	memset(out, 0, sizeof *out);
	snprintf(out->id, sizeof out->id, "%s", id);
	out->restricted = json_is_true(json_object_get(system, "restrictedSdcModeEnabled")) ||
			  (*mode && strcasecmp(mode, "None") != 0);
	snprintf(out->state, sizeof out->state, "%s",
		 rest_text(json_object_get(system, "mdmCluster"), "clusterState"));
	out->at_ms = clock_ms();
	return 0;
}

static int pick_system(const struct scaleio *s, const json_t *list, struct sgw_system *out,
		       struct err *err)
{
	const json_t *found = NULL;

	if (!json_is_array(list))
		return err_set(err, -EPROTO, "%s: system: the answer is no list", s->base.name);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *system = json_array_get(list, i);

		if (!is_wanted(s, system))
			continue;
		if (found)
			return err_set(err, -EINVAL,
				       "%s: key \"system\": the gateway serves several, name one",
				       s->base.name);
		found = system;
	}
	if (!found && s->own.system)
		return err_set(err, -EINVAL, "%s: key \"system\": the gateway serves no \"%.64s\"",
			       s->base.name, s->own.system);
	if (!found)
		return err_set(err, -EPROTO, "%s: system: the gateway serves none", s->base.name);
	return take_system(s, found, out, err);
}

int sgw_system_get(struct scaleio *s, bool anew, struct sgw_system *out, struct err *err)
{
	json_t *list = NULL;
	bool kept;
	int rc;

	mutex_lock(&s->lock);
	kept = !anew && s->system.at_ms && clock_ms() - s->system.at_ms < SGW_CACHE_MS;
	if (kept)
		*out = s->system;
	mutex_unlock(&s->lock);
	if (kept)
		return 0;
	rc = sgw_get(s, "system", &list, NULL, err, "/api/types/System/instances");
	if (rc)
		return rc;
	rc = pick_system(s, list, out, err);
	json_decref(list);
	if (rc)
		return rc;
	mutex_lock(&s->lock);
	s->system = *out;
	mutex_unlock(&s->lock);
	return 0;
}

/* --- looking pools up ------------------------------------------------------ */

/* The id of an object by its name, by the call of today or that of the first releases. 0 with
 * *id "" when there is none. */
static int id_by_name(struct scaleio *s, const char *type, const char *old_type, const char *name,
		      const char *domain, char id[SGW_ID_MAX], struct err *err)
{
	AUTO_FREE char *escaped = rest_escape(name);
	json_t *body = *domain ?
			       json_pack("{s:s, s:s}", "name", name, "protectionDomainId", domain) :
			       json_pack("{s:s}", "name", name);
	json_t *answer = NULL;
	enum sgw_fault fault;
	int rc = sgw_post(s, "look up by name", true, body, &answer, &fault, err,
			  "/api/types/%s/instances/action/queryIdByKey", type);

	*id = '\0';
	if (fault == SGW_NO_ROUTE && escaped)
		rc = sgw_get(s, "look up by name", &answer, &fault, err,
			     "/api/types/%s/instances/getByName::%s%s%s", old_type, domain,
			     *domain ? "," : "", escaped);
	if (fault == SGW_ABSENT || fault == SGW_CONFIG)
		rc = 0;
	else if (!rc && !sgw_is_id(json_is_string(answer) ? json_string_value(answer) :
							    rest_text(answer, "id")))
		rc = err_set(err, -EPROTO, "%s: look up by name: the answer is no id",
			     s->base.name);
	else if (!rc)
		snprintf(id, SGW_ID_MAX, "%s",
			 json_is_string(answer) ? json_string_value(answer) :
						  rest_text(answer, "id"));
	json_decref(answer);
	return rc;
}

/* An object whose id is what a plan calls its name; NULL when there is none. */
static int object_by_id(struct scaleio *s, const char *type, const char *id, json_t **out,
			struct err *err)
{
	enum sgw_fault fault;
	int rc = sgw_get(s, "read pool", out, &fault, err, "/api/instances/%s::%s", type, id);

	if (fault == SGW_ABSENT || fault == SGW_CONFIG || fault == SGW_NO_ROUTE ||
	    fault == SGW_ARGUMENT) {
		*out = NULL;
		return 0;
	}
	if (!rc && !json_is_object(*out)) {
		json_decref(*out);
		*out = NULL;
		return err_set(err, -EPROTO, "%s: read pool: the answer is no object",
			       s->base.name);
	}
	return rc;
}

static int find_domain(struct scaleio *s, const char *key, char id[SGW_ID_MAX], struct err *err)
{
	json_t *object = NULL;
	int rc = sgw_is_id(key) ? object_by_id(s, "ProtectionDomain", key, &object, err) : 0;

	*id = '\0';
	if (!rc && object)
		snprintf(id, SGW_ID_MAX, "%s", key);
	else if (!rc)
		rc = id_by_name(s, "ProtectionDomain", "Domain", key, "", id, err);
	json_decref(object);
	if (!rc && !*id)
		rc = err_set(err, -EINVAL, "%s: key \"protection_domain\": the array has no \"%s\"",
			     s->base.name, key);
	return rc;
}

/* Without a protection domain: the only pool of that name. */
static int find_anywhere(struct scaleio *s, const char *name, json_t **out, struct err *err)
{
	json_t *list = NULL, *found = NULL;
	int rc = sgw_get(s, "list pools", &list, NULL, err, "/api/types/StoragePool/instances");

	for (size_t i = 0; !rc && i < json_array_size(list); i++) {
		json_t *pool = json_array_get(list, i);

		if (strcmp(rest_text(pool, "name"), name) != 0)
			continue;
		if (found)
			rc = err_set(err, -EINVAL,
				     "%s: key \"pool\": several protection domains have a \"%s\", "
				     "name one by \"protection_domain\"",
				     s->base.name, name);
		found = pool;
	}
	if (!rc && !found)
		rc = err_set(err, -EINVAL, "%s: key \"pool\": the array has no \"%s\"",
			     s->base.name, name);
	if (!rc)
		*out = json_incref(found);
	json_decref(list);
	return rc;
}

static int find_in_domain(struct scaleio *s, const char *name, const char *domain, json_t **out,
			  struct err *err)
{
	char id[SGW_ID_MAX];
	int rc = id_by_name(s, "StoragePool", "Pool", name, domain, id, err);

	if (!rc && *id)
		rc = object_by_id(s, "StoragePool", id, out, err);
	if (!rc && (!*id || !*out))
		rc = err_set(err, -EINVAL, "%s: key \"pool\": the protection domain has no \"%s\"",
			     s->base.name, name);
	return rc;
}

static int find_object(struct scaleio *s, const struct sgw_plan *plan, const char *domain,
		       json_t **out, struct err *err)
{
	int rc = sgw_is_id(plan->pool) ? object_by_id(s, "StoragePool", plan->pool, out, err) : 0;

	if (rc || *out)
		return rc;
	return *domain ? find_in_domain(s, plan->pool, domain, out, err) :
			 find_anywhere(s, plan->pool, out, err);
}

/* --- what a pool is -------------------------------------------------------- */

/* Since 5.0 a protection domain may be erasure-coded: other sizes, thin volumes only. */
static int learn_coding(struct scaleio *s, const json_t *object, struct sgw_pool *p,
			struct err *err)
{
	json_t *domain = NULL;
	struct sgw_version v;
	bool coded = !strcasecmp(rest_text(object, "genType"), "EC");
	int rc = sgw_version_of(s, &v, err);

	if (!rc && !coded && v.major >= VERSION_CODED) {
		rc = object_by_id(s, "ProtectionDomain", p->domain, &domain, err);
		coded = !rc && !strcasecmp(rest_text(domain, "genType"), "EC");
		json_decref(domain);
	}
	p->coded = coded;
	p->step = coded ? SGW_STEP_EC : SGW_STEP;
	return rc;
}

static int learn_pool(struct scaleio *s, const json_t *object, struct sgw_pool *p, struct err *err)
{
	const char *id = rest_text(object, "id"), *domain = rest_text(object, "protectionDomainId");
	int rc;

	if (!sgw_is_id(id) || !sgw_is_id(domain))
		return err_set(err, -EPROTO, "%s: read pool: the answer has no ids", s->base.name);
	snprintf(p->id, sizeof p->id, "%s", id);
	snprintf(p->domain, sizeof p->domain, "%s", domain);
	rc = learn_coding(s, object, p, err);
	p->thin_only = p->coded || !strcasecmp(rest_text(object, "dataLayout"), "FineGranularity");
	/* Not told: only coded pools need no padding. */
	p->padded = json_is_true(json_object_get(object, "zeroPaddingEnabled")) ||
		    (p->coded && !json_is_false(json_object_get(object, "zeroPaddingEnabled")));
	p->at_ms = clock_ms();
	return rc;
}

/* --- kept ------------------------------------------------------------------ */

static bool kept_pool(struct scaleio *s, const char *pool, const char *domain, const char *id,
		      struct sgw_pool *out)
{
	uint64_t now = clock_ms();
	bool found = false;

	mutex_lock(&s->lock);
	for (size_t i = 0; i < SGW_POOLS_MAX && !found; i++) {
		const struct sgw_pool *p = &s->pools[i];

		if (!p->at_ms || now - p->at_ms >= SGW_CACHE_MS)
			continue;
		found = id ? !strcmp(p->id, id) :
			     !strcmp(p->pool_key, pool) && !strcmp(p->domain_key, domain);
		if (found)
			*out = *p;
	}
	mutex_unlock(&s->lock);
	return found;
}

/* In place of the oldest. */
static void keep_pool(struct scaleio *s, const struct sgw_pool *p)
{
	size_t at = 0;

	mutex_lock(&s->lock);
	for (size_t i = 1; i < SGW_POOLS_MAX; i++)
		if (s->pools[i].at_ms < s->pools[at].at_ms)
			at = i;
	s->pools[at] = *p;
	mutex_unlock(&s->lock);
}

void sgw_pools_forget(struct scaleio *s)
{
	mutex_lock(&s->lock);
	memset(s->pools, 0, sizeof s->pools);
	mutex_unlock(&s->lock);
}

int sgw_pool_get(struct scaleio *s, const struct sgw_plan *plan, struct sgw_pool *out,
		 struct err *err)
{
	const char *domain_key = plan->domain ? plan->domain : "";
	struct sgw_pool p = { .at_ms = 0 };
	char domain[SGW_ID_MAX] = "";
	json_t *object = NULL;
	int rc = 0;

	if (!plan->pool)
		return err_set(err, -EINVAL, "%s: the plan has no key \"pool\"", s->base.name);
	if (kept_pool(s, plan->pool, domain_key, NULL, out))
		return 0;
	if (*domain_key)
		rc = find_domain(s, domain_key, domain, err);
	rc = rc ? rc : find_object(s, plan, domain, &object, err);
	rc = rc ? rc : learn_pool(s, object, &p, err);
	json_decref(object);
	if (!rc && *domain && strcasecmp(domain, p.domain) != 0)
		rc = err_set(err, -EINVAL,
			     "%s: key \"pool\": \"%s\" is in another protection domain",
			     s->base.name, plan->pool);
	if (rc)
		return rc;
	snprintf(p.pool_key, sizeof p.pool_key, "%s", plan->pool);
	snprintf(p.domain_key, sizeof p.domain_key, "%s", domain_key);
	keep_pool(s, &p);
	*out = p;
	return 0;
}

int sgw_pool_by_id(struct scaleio *s, const char *id, struct sgw_pool *out, struct err *err)
{
	struct sgw_pool p = { .at_ms = 0 };
	json_t *object = NULL;
	int rc;

	if (kept_pool(s, "", "", id, out))
		return 0;
	rc = object_by_id(s, "StoragePool", id, &object, err);
	if (!rc && !object)
		rc = err_set(err, -EPROTO, "%s: read pool: a volume's pool is not there",
			     s->base.name);
	rc = rc ? rc : learn_pool(s, object, &p, err);
	json_decref(object);
	if (rc)
		return rc;
	snprintf(p.pool_key, sizeof p.pool_key, "::%s", id); /* no name of a plan's */
	keep_pool(s, &p);
	*out = p;
	return 0;
}
