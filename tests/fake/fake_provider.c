/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_provider.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VOLUMES_MAX 4096
#define RULES_MAX 16
#define PREFIX "cf-"
#define WAIT_S 5

struct rule {
	enum fake_call call;
	unsigned after, times;
	bool for_ever;
	int rc;
	bool executed;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	struct provider_volume of[VOLUMES_MAX];
	unsigned n;
	struct rule rules[RULES_MAX];
	unsigned nrules;
	unsigned calls[FAKE_CALLS];
	bool hang[FAKE_CALLS];
	unsigned hanging, generation;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static const struct provider_ops files_ops, block_ops;

/* --- what tests say -------------------------------------------------------- */

void fake_provider_reset(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.n = fake.nrules = 0;
	memset(fake.calls, 0, sizeof fake.calls);
	memset(fake.hang, 0, sizeof fake.hang);
	fake.generation++;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_fail(enum fake_call call, unsigned after, unsigned times, int rc, bool executed)
{
	pthread_mutex_lock(&fake.lock);
	if (fake.nrules < RULES_MAX)
		fake.rules[fake.nrules++] =
			(struct rule){ call, after, times, !times, rc, executed };
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_hang(enum fake_call call)
{
	pthread_mutex_lock(&fake.lock);
	fake.hang[call] = true;
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_release(void)
{
	pthread_mutex_lock(&fake.lock);
	memset(fake.hang, 0, sizeof fake.hang);
	fake.generation++;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

bool fake_provider_wait_hanging(unsigned n)
{
	struct timespec end;
	bool reached;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WAIT_S;
	pthread_mutex_lock(&fake.lock);
	while (fake.hanging < n && !pthread_cond_timedwait(&fake.changed, &fake.lock, &end))
		;
	reached = fake.hanging >= n;
	pthread_mutex_unlock(&fake.lock);
	return reached;
}

unsigned fake_provider_volumes(void)
{
	unsigned n;

	pthread_mutex_lock(&fake.lock);
	n = fake.n;
	pthread_mutex_unlock(&fake.lock);
	return n;
}

unsigned fake_provider_calls(enum fake_call call)
{
	unsigned n;

	pthread_mutex_lock(&fake.lock);
	n = fake.calls[call];
	pthread_mutex_unlock(&fake.lock);
	return n;
}

/* --- volumes; the lock is held --------------------------------------------- */

static struct provider_volume *find_name(const char *name)
{
	for (unsigned i = 0; i < fake.n; i++)
		if (!strcmp(fake.of[i].name, name))
			return &fake.of[i];
	return NULL;
}

static struct provider_volume *find(const char *owner)
{
	char name[PROVIDER_NAME_MAX];

	provider_make_name(PREFIX, owner, name);
	return find_name(name);
}

static struct provider_volume *add(const char *owner, uint64_t size, uint64_t created)
{
	struct provider_volume *v = fake.n < VOLUMES_MAX ? &fake.of[fake.n++] : NULL;

	if (!v)
		return NULL;
	*v = (struct provider_volume){
		.size = size, .used = size / 4, .created = created, .fresh = true
	};
	provider_make_name(PREFIX, owner, v->name);
	return v;
}

static void drop(struct provider_volume *v)
{
	if (v)
		*v = fake.of[--fake.n];
}

void fake_provider_add(const char *owner, uint64_t size, uint64_t created)
{
	pthread_mutex_lock(&fake.lock);
	add(owner, size, created);
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_drop(const char *owner)
{
	pthread_mutex_lock(&fake.lock);
	drop(find(owner));
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_resize(const char *owner, uint64_t size)
{
	pthread_mutex_lock(&fake.lock);
	find(owner)->size = size;
	pthread_mutex_unlock(&fake.lock);
}

void fake_provider_set_hosts(const char *owner, unsigned n)
{
	pthread_mutex_lock(&fake.lock);
	find(owner)->nhosts = n;
	pthread_mutex_unlock(&fake.lock);
}

/* --- calls ----------------------------------------------------------------- */

/* Counts, hangs, and says what comes of it: *executed, whether the work is done nevertheless. The lock is held on return. */
static int begin(enum fake_call call, bool *executed)
{
	unsigned generation;
	int rc = 0;

	pthread_mutex_lock(&fake.lock);
	*executed = true;
	fake.calls[call]++;
	generation = fake.generation;
	if (fake.hang[call]) {
		fake.hanging++;
		pthread_cond_broadcast(&fake.changed);
		while (fake.generation == generation)
			pthread_cond_wait(&fake.changed, &fake.lock);
		fake.hanging--;
	}
	for (unsigned i = 0; i < fake.nrules && !rc; i++) {
		struct rule *r = &fake.rules[i];

		if (r->call != call || (!r->for_ever && !r->times))
			continue;
		if (r->after) {
			r->after--;
			continue;
		}
		r->times -= !r->for_ever;
		rc = r->rc;
		*executed = r->executed;
	}
	return rc;
}

static int end(int rc, struct err *err)
{
	pthread_mutex_unlock(&fake.lock);
	return rc ? err_set(err, rc, "the fake storage says: %s", strerror(-rc)) : 0;
}

static void fake_close(struct provider *p)
{
	free(p);
}

static int fake_check_plan(struct provider *p, const json_t *plan, struct err *err)
{
	const json_t *pool = json_object_get(plan, "pool");

	(void)p;
	return pool && !json_is_string(pool) ? err_set(err, -EINVAL, "pool: want a string") : 0;
}

static int fake_create(struct provider *p, const struct provider_ref *ref,
		       const struct provider_spec *spec, json_t **handle, uint64_t *size,
		       struct err *err)
{
	struct provider_volume *v;
	bool executed;
	int rc = begin(FAKE_CREATE, &executed);

	(void)p;
	v = find(ref->owner);
	if (executed && !v)
		v = add(ref->owner, spec->size, (uint64_t)time(NULL));
	if (!rc) {
		*handle = json_pack("{s:s}", "name", v->name);
		*size = v->size;
	}
	return end(rc, err);
}

static int fake_remove(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	bool executed;
	int rc = begin(FAKE_REMOVE, &executed);

	(void)p;
	if (executed)
		drop(find(ref->owner));
	return end(rc, err);
}

static int fake_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
		    struct err *err)
{
	bool executed;
	int rc = begin(FAKE_GET, &executed);
	const struct provider_volume *v = find(ref->owner);

	(void)p;
	if (!rc && !v)
		rc = -ENOENT;
	if (!rc)
		*out = *v;
	return end(rc, err);
}

static int fake_list(struct provider *p, provider_found *found, void *arg, struct err *err)
{
	bool executed;
	int rc = begin(FAKE_LIST, &executed);

	(void)p;
	for (unsigned i = 0; !rc && i < fake.n; i++)
		if (!found(arg, &fake.of[i]))
			break;
	return end(rc, err);
}

static void fake_name_of(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	(void)p;
	provider_make_name(PREFIX, owner, buf);
}

static int fake_remove_name(struct provider *p, const char *name, struct err *err)
{
	bool executed;
	int rc = begin(FAKE_REMOVE, &executed);

	(void)p;
	if (executed)
		drop(find_name(name));
	return end(rc, err);
}

static int fake_grow(struct provider *p, const struct provider_ref *ref, uint64_t want,
		     uint64_t *size, struct err *err)
{
	bool executed;
	int rc = begin(FAKE_GROW, &executed);
	struct provider_volume *v = find(ref->owner);

	(void)p;
	if (!rc && !v)
		rc = -ENOENT;
	if (executed && v)
		v->size = want;
	if (!rc)
		*size = want;
	return end(rc, err);
}

static int fake_mount_config(struct provider *p, const struct provider_ref *ref, json_t *config,
			     struct err *err)
{
	bool files = p->ops->kind == PROVIDER_FILES;
	char source[192 + PROVIDER_NAME_MAX], name[PROVIDER_NAME_MAX];

	(void)err;
	fake_name_of(p, ref->owner, name);
	snprintf(source, sizeof source, "%s://%s/%s", files ? "nfs" : "scaleio",
		 files ? "fake" : p->name, name);
	return json_object_set_new(config, "source", json_string(source)) ? -ENOMEM : 0;
}

static int fake_health(struct provider *p, struct err *err)
{
	bool executed;

	(void)p;
	return end(begin(FAKE_HEALTH, &executed), err);
}

static const char *const keys[] = { "pool", NULL };

#define OPS(name, its_kind)                                                                  \
	{                                                                                    \
		.type = name, .kind = its_kind, .close = fake_close,                         \
		.check_plan = fake_check_plan, .plan_keys = keys, .create = fake_create,     \
		.remove = fake_remove, .get = fake_get, .list = fake_list,                   \
		.name_of = fake_name_of, .remove_name = fake_remove_name, .grow = fake_grow, \
		.mount_config = fake_mount_config, .health = fake_health                     \
	}
static const struct provider_ops files_ops = OPS("fake-files", PROVIDER_FILES);
static const struct provider_ops block_ops = OPS("fake-block", PROVIDER_BLOCK);

int fake_provider_open(const char *name, const json_t *config, struct provider **out,
		       struct err *err)
{
	const char *type = json_string_value(json_object_get(config, "type"));
	bool files = type && !strcmp(type, files_ops.type);
	struct provider *p;

	if (!files && (!type || strcmp(type, block_ops.type)))
		return provider_open(name, config, out, err);
	p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	p->ops = files ? &files_ops : &block_ops;
	strncpy(p->name, name, sizeof p->name - 1);
	*out = p;
	return 0;
}
