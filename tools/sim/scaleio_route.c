/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_route.c - which call a path means. The gateway has a few shapes of paths (types, instances,
 * relationships, actions); behind them are tables of actions. What is in none is its page 404. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define PARTS_MAX 5
#define BY_NAME "getByName::"

struct path {
	char *text; /* owned; cut into the parts */
	char *parts[PARTS_MAX];
	unsigned n; /* PARTS_MAX + 1: more */
	char *id;   /* behind "::" of an instance, or NULL */
};

static const struct {
	const char *name;
	sio_volume_fn *run;
} volume_actions[] = {
	{ "setVolumeSize", sio_set_size },
	{ "setVolumeName", sio_set_name },
	{ "removeVolume", sio_remove },
	{ "setVolumeAccessModeLimit", sio_set_limit },
	{ "overwriteVolumeContent", sio_overwrite },
	{ "addMappedSdc", sio_map },
	{ "removeMappedSdc", sio_unmap },
	{ "addMappedHost", sio_map_host },
	{ "removeMappedHost", sio_unmap_host },
	{ "setMappedSdcLimits", sio_set_limits },
	{ "setVolumeMappingAccessMode", sio_set_access },
};

static const struct {
	const char *name;
	json_t *(*run)(struct sio_call *c);
} system_actions[] = {
	{ "querySystemLimits", sio_limits },
	{ "snapshotVolumes", sio_snapshot },
	{ "removeConsistencyGroupSnapshots", sio_remove_group },
	{ "approveSdc", sio_approve },
};

static json_t *version(struct sio_call *c)
{
	return json_string(c->s->opt->version);
}

static json_t *array(struct sio_call *c)
{
	return sio_saved(c->s);
}

static const struct fixed {
	const char *method, *path;
	unsigned since;
	bool logged_in;
	json_t *(*run)(struct sio_call *c);
} fixed[] = {
	{ "GET", "/api/login", 0, false, sio_login },
	{ "GET", "/api/logout", 0, true, sio_logout },
	{ "GET", "/api/version", 0, true, version },
	{ "POST", "/rest/auth/login", 400, false, sio_rest_login },
	{ "POST", "/rest/auth/logout", 400, false, sio_rest_logout },
	{ "POST", "/dtapi/rest/v1/metrics/query", 500, true, sio_metrics },
	{ "POST", "/_sim/scaleio/sdc", 0, false, sio_control_sdc },
	{ "GET", "/_sim/scaleio/array", 0, false, array },
};

/* --- instances ------------------------------------------------------------- */

static json_t *volume_action(struct sio_call *c, const char *id, const char *action)
{
	struct sio_volume *v;
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(volume_actions); i++) {
		if (strcmp(volume_actions[i].name, action) != 0)
			continue;
		if (!sio_id(id, &n))
			return sio_bad(c, 400, 0,
				       "id must be a hexadecimal number (unsigned long)");
		v = sio_find_volume(c->s, n);
		if (!v)
			return sio_fail(c, sio_not_found(c->s));
		return v->removed_ms ? sio_fail(c, 212) : volume_actions[i].run(c, v);
	}
	return sio_no_route(c);
}

static json_t *system_action(struct sio_call *c, const char *id, const char *action)
{
	uint64_t n;

	if (id && !sio_id(id, &n))
		return sio_bad(c, 400, 0, "id must be a hexadecimal number (unsigned long)");
	if (id && n != c->s->system)
		return sio_fail(c, 3);
	for (size_t i = 0; i < ARRAY_LEN(system_actions); i++)
		if (!strcmp(system_actions[i].name, action))
			return system_actions[i].run(c);
	return sio_no_route(c);
}

static json_t *sdc_action(struct sio_call *c, const char *id, const char *action)
{
	struct sio_sdc *h;
	uint64_t n;

	if (!sio_id(id, &n))
		return sio_bad(c, 400, 0, "id must be a hexadecimal number (unsigned long)");
	h = sio_find_sdc(c->s, n);
	return h ? sio_sdc_action(c, h, action) : sio_fail(c, 80);
}

static json_t *instance(struct sio_call *c, const struct path *p, bool post)
{
	const char *type = p->parts[1], *last = p->parts[p->n - 1];

	if (p->n == 2 && !post && p->id)
		return sio_get(c, type, p->id);
	if (p->n == 4 && !post && p->id && !strcmp(p->parts[2], "relationships"))
		return sio_related(c, type, p->id, last);
	if (p->n != 4 || !post || strcmp(p->parts[2], "action") != 0)
		return sio_no_route(c);
	if (!strcmp(type, "System"))
		return system_action(c, p->id, last);
	if (!strcmp(type, "Volume") && p->id)
		return volume_action(c, p->id, last);
	if (!strcmp(type, "Sdc") && p->id)
		return sdc_action(c, p->id, last);
	return sio_no_route(c);
}

/* --- types ----------------------------------------------------------------- */

static json_t *type_action(struct sio_call *c, const char *type, const char *action)
{
	if (!strcmp(action, "queryIdByKey"))
		return sio_query_id(c, type);
	if (!strcmp(action, "queryBySelectedIds") && !strcmp(type, "Volume"))
		return sio_selected(c);
	if (!strcmp(action, "querySelectedStatistics") && !strcmp(type, "StoragePool"))
		return sio_selected_statistics(c);
	return sio_no_route(c);
}

static json_t *type_call(struct sio_call *c, const struct path *p, bool post)
{
	const char *type = p->parts[1], *last = p->parts[p->n - 1];

	if (p->n < 3 || strcmp(p->parts[2], "instances") != 0 || !sio_type_known(c->s, type))
		return sio_no_route(c);
	if (p->n == 3 && !post)
		return sio_list(c, type);
	if (p->n == 3 && !strcmp(type, "Volume"))
		return sio_create(c);
	if (p->n == 3 && !strcmp(type, "Host"))
		return sio_create_host(c);
	if (p->n == 4 && !post && !strncmp(last, BY_NAME, strlen(BY_NAME)))
		return sio_by_name(c, type, last + strlen(BY_NAME));
	if (p->n == 5 && post && !strcmp(p->parts[3], "action"))
		return type_action(c, type, last);
	return sio_no_route(c);
}

/* --- the path -------------------------------------------------------------- */

static bool cut(const char *text, struct path *out)
{
	char *rest, *part;

	memset(out, 0, sizeof *out);
	out->text = rest = strdup(text);
	while (rest && (part = strsep(&rest, "/"))) {
		if (out->n < PARTS_MAX)
			out->parts[out->n] = part;
		if (++out->n > PARTS_MAX)
			break;
	}
	if (out->n >= 2 && !strcmp(out->parts[0], "instances")) {
		out->id = strstr(out->parts[1], "::");
		if (out->id) {
			*out->id = '\0';
			out->id += 2;
		}
	}
	return out->text && out->n >= 2 && out->n <= PARTS_MAX;
}

/* A monitor may ask, and log out. */
static bool may(struct sio_call *c, bool post)
{
	const char *last = strrchr(httpd_path(c->rq), '/');

	if (!post || c->s->opt->role == SIO_ROLE_ADMIN || !strncmp(last, "/query", 6))
		return true;
	sio_bad(c, 403, 0, "Forbidden");
	return false;
}

static json_t *api(struct sio_call *c, const char *rest)
{
	bool post = !strcmp(httpd_method(c->rq), "POST");
	json_t *answer = NULL;
	struct path p;

	if (!sio_logged_in(c) || !may(c, post))
		return NULL;
	if (cut(rest, &p) && (post || !strcmp(httpd_method(c->rq), "GET"))) {
		if (!strcmp(p.parts[0], "types"))
			answer = type_call(c, &p, post);
		else if (!strcmp(p.parts[0], "instances"))
			answer = instance(c, &p, post);
		else
			sio_no_route(c);
	} else {
		sio_no_route(c);
	}
	free(p.text);
	return answer;
}

json_t *sio_dispatch(struct sio_call *c)
{
	const char *method = httpd_method(c->rq), *path = httpd_path(c->rq);

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		const struct fixed *f = &fixed[i];

		if (strcmp(f->method, method) != 0 || strcmp(f->path, path) != 0 ||
		    c->s->version < f->since)
			continue;
		return f->logged_in && !sio_logged_in(c) ? NULL : f->run(c);
	}
	if (!strncmp(path, "/api/", 5))
		return api(c, path + 5);
	return sio_no_route(c);
}
