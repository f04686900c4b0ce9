/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"

#define VOLUMES_MAX (1u << 20) /* of one provider */
#define BINDINGS_PAGE 100
#define MADE_CHARS 26 /* behind the prefix, see provider_make_name() */

struct listed {
	struct provider_volume v;
	bool owned;
};

struct sweep {
	const struct bconfig *c;
	struct store *store;
	const struct sweep_options *o;
	json_t *found;
	/* of the provider that is looked at */
	const char *name;
	struct provider *p;
	char prefix[PROVIDER_NAME_MAX];
	struct listed *all; /* owned; sorted by name */
	size_t n, cap;
	bool full;
};

static json_t *tell(struct sweep *s, const char *kind, const char *volume, const char *instance,
		    const char *detail)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "kind", kind, "provider", s->name,
			      "name", volume, "instance", instance, "detail", detail, "fixed", 0);

	json_array_append_new(s->found, j);
	return j;
}

/* --- what the storage has -------------------------------------------------- */

static bool collect(void *arg, const struct provider_volume *v)
{
	struct sweep *s = arg;
	struct listed *more;

	if (!provider_is_made_name(s->prefix, v->name))
		return true;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		more = s->cap > VOLUMES_MAX ? NULL : realloc(s->all, s->cap * sizeof *more);
		s->full = !more;
		if (!more)
			return false;
		s->all = more;
	}
	s->all[s->n++] = (struct listed){ .v = *v };
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->v.name, ((const struct listed *)b)->v.name);
}

static struct listed *find(const struct sweep *s, const char *name)
{
	struct listed key = { .owned = false };

	snprintf(key.v.name, sizeof key.v.name, "%s", name);
	return s->n ? bsearch(&key, s->all, s->n, sizeof key, by_name) : NULL;
}

static int list(struct sweep *s, struct err *err)
{
	int rc;

	/* All names of a provider begin alike. */
	s->p->ops->name_of(s->p, "x", s->prefix);
	s->prefix[strlen(s->prefix) - MADE_CHARS] = '\0';
	s->n = 0;
	s->full = false;
	rc = s->p->ops->list(s->p, collect, s, err);
	if (!rc && s->full)
		rc = err_set(err, -E2BIG, "too many volumes");
	if (!rc && s->n)
		qsort(s->all, s->n, sizeof *s->all, by_name);
	return rc;
}

/* --- what the store remembers ---------------------------------------------- */

static bool has_binding(struct sweep *s, const char *id)
{
	AUTO_FREE struct binding *b = calloc(BINDINGS_PAGE, sizeof *b);
	char after[STORE_ID_MAX] = "";
	unsigned n = BINDINGS_PAGE;
	bool found = !b;

	while (!found && n == BINDINGS_PAGE) {
		struct err err;

		if (store_bindings(s->store, id, after, BINDINGS_PAGE, b, &n, &err))
			return true; /* not known: nothing is claimed */
		for (unsigned i = 0; i < n; i++) {
			found |= !b[i].deleted;
			snprintf(after, sizeof after, "%s", b[i].id);
			binding_done(&b[i]);
		}
	}
	return found;
}

/* It was not there when the list was made; it may have come since. */
static void check_missing(struct sweep *s, const struct instance *i, const char *name)
{
	const struct bplan *plan = bconfig_plan(s->c, i->plan);
	struct provider_ref ref = { .owner = i->id,
				    .handle = i->handle,
				    .plan = plan ? plan->object : NULL };
	struct provider_volume v;
	struct err err = { "" };
	int rc = plan ? s->p->ops->get(s->p, &ref, &v, &err) : 0;

	if (rc == -ENOENT || rc == -EEXIST)
		tell(s, "missing", name, i->id, err.text);
}

static void check_listed(struct sweep *s, const struct instance *i, const struct provider_volume *v)
{
	char text[160];

	if (i->size && v->size && v->size != PROVIDER_UNKNOWN && v->size != i->size) {
		snprintf(text, sizeof text, "it has %" PRIu64 " bytes, and should have %" PRIu64,
			 v->size, i->size);
		tell(s, "size", v->name, i->id, text);
	}
	if (v->nhosts && !has_binding(s, i->id)) {
		snprintf(text, sizeof text, "%u machine%s may use it, and no app is bound",
			 v->nhosts, v->nhosts == 1 ? "" : "s");
		tell(s, "mapped", v->name, i->id, text);
	}
}

static void check_instance(struct sweep *s, const struct instance *i)
{
	char name[PROVIDER_NAME_MAX];
	struct listed *l;

	if (strcmp(i->provider, s->name) || i->state == INSTANCE_DELETED)
		return;
	s->p->ops->name_of(s->p, i->id, name);
	l = find(s, name);
	if (l)
		l->owned = true;
	if (i->state != INSTANCE_READY)
		return;
	if (l)
		check_listed(s, i, &l->v);
	else
		check_missing(s, i, name);
}

static int check_rows(struct sweep *s, struct err *err)
{
	AUTO_FREE struct instance *page = calloc(SWEEP_PAGE, sizeof *page);
	char after[STORE_ID_MAX] = "";
	unsigned n = SWEEP_PAGE;

	if (!page)
		return err_set(err, -ENOMEM, "out of memory");
	while (n == SWEEP_PAGE) {
		int rc = store_list(s->store, after, SWEEP_PAGE, page, &n, err);

		if (rc)
			return rc;
		for (unsigned i = 0; i < n; i++) {
			check_instance(s, &page[i]);
			snprintf(after, sizeof after, "%s", page[i].id);
			instance_done(&page[i]);
		}
	}
	return 0;
}

/* --- orphans --------------------------------------------------------------- */

static void check_orphan(struct sweep *s, const struct provider_volume *v)
{
	uint64_t now = (uint64_t)time(NULL), age = now > v->created ? now - v->created : 0;
	struct err err = { "" };
	char text[128];
	json_t *j;

	if (s->o->grace_s && v->created && age < s->o->grace_s)
		return;
	if (v->created)
		snprintf(text, sizeof text, "no instance has it; %" PRIu64 " hours old",
			 age / 3600);
	else
		snprintf(text, sizeof text, "no instance has it; its age is not known");
	j = tell(s, "orphan", v->name, "", text);
	if (!s->o->fix || (!v->created && s->o->grace_s))
		return;
	if (s->p->ops->remove_name(s->p, v->name, &err))
		json_object_set_new(j, "detail", json_string(err.text));
	else
		json_object_set_new(j, "fixed", json_true());
}

static int sweep_one(struct sweep *s, struct err *err)
{
	struct err why = { "" };
	int rc;

	if (s->p->ops->kind == PROVIDER_EXISTING)
		return 0;
	if (list(s, &why)) {
		tell(s, "unreachable", "", "", why.text);
		return 0;
	}
	rc = check_rows(s, err);
	for (size_t i = 0; i < s->n && !rc; i++)
		if (!s->all[i].owned)
			check_orphan(s, &s->all[i].v);
	return rc;
}

int sweep(const struct bconfig *c, struct store *store, const struct sweep_options *o,
	  json_t **found, struct err *err)
{
	struct sweep s = { .c = c, .store = store, .o = o, .found = json_array() };
	int rc = s.found ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->nproviders && !rc; i++) {
		s.name = c->providers[i].name;
		s.p = c->providers[i].p;
		rc = sweep_one(&s, err);
	}
	free(s.all);
	if (rc)
		json_decref(s.found);
	else
		*found = s.found;
	return rc;
}

bool sweep_is_clean(const json_t *found)
{
	for (size_t i = 0; i < json_array_size(found); i++)
		if (!json_is_true(json_object_get(json_array_get(found, i), "fixed")))
			return false;
	return true;
}

void sweep_print(FILE *out, const json_t *found)
{
	for (size_t i = 0; i < json_array_size(found); i++) {
		const json_t *j = json_array_get(found, i);
		const char *instance = json_string_value(json_object_get(j, "instance"));

		fprintf(out, "%-11s %s %s%s%s: %s%s\n",
			json_string_value(json_object_get(j, "kind")),
			json_string_value(json_object_get(j, "provider")),
			json_string_value(json_object_get(j, "name")), *instance ? " of " : "",
			instance, json_string_value(json_object_get(j, "detail")),
			json_is_true(json_object_get(j, "fixed")) ? "; removed" : "");
	}
	if (!json_array_size(found))
		fputs("nothing found\n", out);
}
