/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/catalog.h"

#include <string.h>

static json_t *schemas(const struct bplan *p)
{
	return json_pack("{s:{s:{s:O}, s:{s:O}}, s:{s:{s:O}}}", "service_instance", "create",
			 "parameters", p->create_schema, "update", "parameters", p->update_schema,
			 "service_binding", "create", "parameters", p->bind_schema);
}

static json_t *plan(const struct bconfig *c, const struct bplan *p)
{
	json_t *out = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:o}", "id", p->id, "name", p->name,
				"description", p->description, "free", (int)p->free,
				"plan_updateable", (int)p->updateable, "binding_rotatable", 1,
				"schemas", schemas(p));

	if (out && bplan_is_async(p))
		json_object_set_new(out, "maximum_polling_duration",
				    json_integer((json_int_t)(c->polling_max / 1000)));
	if (out && p->metadata)
		json_object_set(out, "metadata", p->metadata);
	if (out && p->maintenance)
		json_object_set(out, "maintenance_info", p->maintenance);
	return out;
}

/* A block volume has one user at a time: sharing it among spaces would only make more of them fail. */
static json_t *metadata(const struct bservice *s)
{
	json_t *m = s->metadata ? json_deep_copy(s->metadata) : json_object();
	bool block = false;

	for (size_t i = 0; i < s->nplans; i++)
		block |= bplan_is_block(&s->plans[i]);
	if (block)
		json_object_set_new(m, "shareable", json_false());
	else if (!json_object_get(m, "shareable"))
		json_object_set_new(m, "shareable", json_true());
	return m;
}

static json_t *service(const struct bconfig *c, const struct bservice *s)
{
	json_t *plans = json_array();
	json_t *out = json_pack("{s:s, s:s, s:s, s:b, s:[s], s:b, s:b, s:b, s:b, s:o}", "id", s->id,
				"name", s->name, "description", s->description, "bindable", 1,
				"requires", "volume_mount", "instances_retrievable", 1,
				"bindings_retrievable", 1, "plan_updateable", (int)s->updateable,
				"allow_context_updates", 1, "metadata", metadata(s));

	for (size_t i = 0; i < s->nplans; i++)
		json_array_append_new(plans, plan(c, &s->plans[i]));
	if (out && s->tags)
		json_object_set(out, "tags", s->tags);
	if (out)
		json_object_set(out, "plans", plans);
	json_decref(plans);
	return out;
}

json_t *catalog_make(const struct bconfig *c)
{
	json_t *services = json_array();

	for (size_t i = 0; i < c->nservices; i++)
		json_array_append_new(services, service(c, &c->services[i]));
	return json_pack("{s:o}", "services", services);
}
