/* SPDX-License-Identifier: Apache-2.0 */
/* existing.c - shares that are there already; nothing is made, and nothing is deleted
 *
 * An instance names its share ("server/path"), or, where the plan names one, a folder below it. Sentences are those
 * of the brokers that people used before, where their users know them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/provider.h"
#include "common/cleanup.h"
#include "common/jsonconf.h"

#define SHARE_MAX 1000

struct existing {
	struct provider p;
};

static const char *const plan_keys[] = { "share", "allow_share", NULL };

static void existing_close(struct provider *p)
{
	free(CONTAINER_OF(p, struct existing, p));
}

static int existing_open(const char *name, const json_t *config, struct provider **out,
			 struct err *err)
{
	struct existing *e;
	const char *key;
	char who[80];
	json_t *unused;

	snprintf(who, sizeof who, "provider %.64s", name);
	json_object_foreach((json_t *)config, key, unused) {
		(void)unused;
		if (strcmp(key, "type"))
			return jsonconf_bad(err, who, key, "is not known");
	}
	e = calloc(1, sizeof *e);
	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	e->p.ops = &provider_existing;
	snprintf(e->p.name, sizeof e->p.name, "%s", name);
	*out = &e->p;
	return 0;
}

/* --- shares ---------------------------------------------------------------- */

/* No component is "..", nothing that a URI or a shell would read as something else. */
static bool is_clean(const char *s)
{
	size_t n = strlen(s);

	for (const char *c = s; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr("?#%\\\"'<>", *c))
			return false;
	return strncmp(s, "../", 3) && strcmp(s, "..") && !strstr(s, "/../") &&
	       (n < 3 || strcmp(s + n - 3, "/.."));
}

static int check_share(const char *share, struct err *err)
{
	const char *slash = share ? strchr(share, '/') : NULL;
	const char *colon = share ? strchr(share, ':') : NULL;
	bool bracket = share && *share == '['; /* an IPv6 address has colons of its own */

	if (!share || !*share || strlen(share) > SHARE_MAX)
		return err_set(err, -EINVAL, "parameter share: want server/path");
	if (strstr(share, "://"))
		return err_set(err, -EINVAL, "parameter share: want server/path, without nfs://");
	if (bracket)
		colon = strchr(share, ']') ? strchr(strchr(share, ']'), ':') : share;
	if (colon && (!slash || colon < slash))
		return err_set(
			err, -EINVAL,
			"syntax error for share: no colon allowed after server; want server/path");
	if (!slash || slash == share || !is_clean(share))
		return err_set(err, -EINVAL,
			       "parameter share: want server/path, without \"..\" "
			       "and without blanks and quotes");
	return 0;
}

static int existing_check_plan(struct provider *p, const json_t *plan, struct err *err)
{
	const json_t *share = json_object_get(plan, "share");
	const json_t *allow = json_object_get(plan, "allow_share");

	(void)p;
	if (share && check_share(json_string_value(share), err))
		return err_set(err, -EINVAL, "share: want server/path, without a colon");
	if (allow && !json_is_boolean(allow))
		return err_set(err, -EINVAL, "allow_share: want true or false");
	if (allow && !share)
		return err_set(err, -EINVAL, "allow_share: wants share beside it");
	return 0;
}

/* share of the parameters, or of the plan, and subdirectory behind it. Owned by the caller. */
static int whole_share(const json_t *plan, const json_t *params, char **out, struct err *err)
{
	const char *fixed = json_string_value(json_object_get(plan, "share"));
	const char *asked = json_string_value(json_object_get(params, "share"));
	const char *below = json_string_value(json_object_get(params, "subdirectory"));
	bool allowed = !fixed || json_is_true(json_object_get(plan, "allow_share"));
	const char *share = asked ? asked : fixed;

	if (json_object_get(params, "source"))
		return err_set(err, -EINVAL,
			       "create configuration contains the following invalid "
			       "option: ['source']; use share");
	if (asked && !allowed)
		return err_set(err, -EINVAL,
			       "parameter share: is set by the plan; choose a subdirectory");
	if (!share)
		return err_set(err, -EINVAL, "parameter share is required: server/path");
	if (check_share(share, err))
		return -EINVAL;
	if (below && (*below == '/' || !*below || !is_clean(below)))
		return err_set(err, -EINVAL,
			       "parameter subdirectory: want a relative path without \"..\"");
	if (asprintf(out, "%s%s%s", share, below ? "/" : "", below ? below : "") < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* --- volumes --------------------------------------------------------------- */

static int existing_create(struct provider *p, const struct provider_ref *ref,
			   const struct provider_spec *spec, json_t **handle, uint64_t *size,
			   struct err *err)
{
	AUTO_FREE char *share = NULL;
	int rc = whole_share(ref->plan, spec->params, &share, err);

	(void)p;
	if (rc)
		return rc;
	*handle = json_pack("{s:s}", "share", share);
	*size = 0;
	return *handle ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int existing_remove(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	(void)p;
	(void)ref;
	(void)err;
	return 0;
}

static int existing_get(struct provider *p, const struct provider_ref *ref,
			struct provider_volume *out, struct err *err)
{
	(void)err;
	memset(out, 0, sizeof *out);
	p->ops->name_of(p, ref->owner, out->name);
	out->used = PROVIDER_UNKNOWN;
	return 0;
}

static int existing_list(struct provider *p, provider_found *found, void *arg, struct err *err)
{
	(void)p;
	(void)found;
	(void)arg;
	(void)err;
	return 0; /* none of them is ours */
}

static void existing_name_of(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	(void)p;
	provider_make_name("ex-", owner, buf);
}

static int existing_remove_name(struct provider *p, const char *name, struct err *err)
{
	(void)p;
	return err_set(err, -EOPNOTSUPP, "'%.60s': shares that exist are never deleted", name);
}

static int existing_grow(struct provider *p, const struct provider_ref *ref, uint64_t want,
			 uint64_t *size, struct err *err)
{
	(void)p;
	(void)ref;
	(void)want;
	(void)size;
	return err_set(err, -EOPNOTSUPP, "the size of an existing share is its owner's business");
}

static int existing_mount_config(struct provider *p, const struct provider_ref *ref, json_t *config,
				 struct err *err)
{
	const char *share = json_string_value(json_object_get(ref->handle, "share"));
	AUTO_FREE char *source = NULL;

	(void)p;
	if (!share)
		return err_set(err, -EPROTO, "the instance has no share");
	if (asprintf(&source, "nfs://%s", share) < 0 ||
	    json_object_set_new(config, "source", json_string(source)))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int existing_map(struct provider *p, const struct provider_ref *ref,
			const struct provider_host *host, struct provider_mapping *out,
			struct err *err)
{
	const char *share = json_string_value(json_object_get(ref->handle, "share"));

	(void)p;
	(void)host;
	memset(out, 0, sizeof *out);
	if (!share)
		return err_set(err, -EPROTO, "the instance has no share");
	snprintf(out->source, sizeof out->source, "nfs://%.1000s", share);
	return 0;
}

static int existing_unmap(struct provider *p, const struct provider_ref *ref,
			  const struct provider_host *host, struct err *err)
{
	(void)host;
	return existing_remove(p, ref, err);
}

static int existing_set_used(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	return existing_remove(p, ref, err);
}

static int refuse_copy(struct err *err)
{
	return err_set(err, -EOPNOTSUPP, "existing shares are not copied");
}

static int existing_snapshot(struct provider *p, const struct provider_ref *from,
			     const struct provider_ref *ref, json_t **handle, struct err *err)
{
	(void)p;
	(void)from;
	(void)ref;
	(void)handle;
	return refuse_copy(err);
}

static int existing_restore(struct provider *p, const struct provider_ref *from,
			    const struct provider_ref *ref, const struct provider_spec *spec,
			    json_t **handle, uint64_t *size, struct err *err)
{
	(void)p;
	(void)from;
	(void)ref;
	(void)spec;
	(void)handle;
	(void)size;
	return refuse_copy(err);
}

static int existing_capacity(struct provider *p, const json_t *plan, struct provider_capacity *out,
			     struct err *err)
{
	(void)p;
	(void)plan;
	(void)err;
	out->total = out->free = PROVIDER_UNKNOWN;
	return 0;
}

static int existing_health(struct provider *p, struct err *err)
{
	(void)p;
	(void)err;
	return 0; /* nobody is asked */
}

const struct provider_ops provider_existing = {
	.type = "existing",
	.kind = PROVIDER_EXISTING,
	.open = existing_open,
	.close = existing_close,
	.check_plan = existing_check_plan,
	.plan_keys = plan_keys,
	.create = existing_create,
	.remove = existing_remove,
	.get = existing_get,
	.list = existing_list,
	.name_of = existing_name_of,
	.remove_name = existing_remove_name,
	.grow = existing_grow,
	.mount_config = existing_mount_config,
	.map = existing_map,
	.unmap = existing_unmap,
	.set_used = existing_set_used,
	.snapshot = existing_snapshot,
	.restore = existing_restore,
	.capacity = existing_capacity,
	.health = existing_health,
};
