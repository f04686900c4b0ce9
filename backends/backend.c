/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c - identities, counted nodes, and opening a volume by URI
 *
 * The checked wrappers are in calls.c. */
#include "backends/backend.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/layer/layer.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/uri.h"

/* ---- coarse times ---------------------------------------------------- */

/* A store that rounds its times shows it in each; others may claim a coarse grain for
 * times that are set. When a time was seen its tick had begun, so one grain later it is
 * over, whatever our clocks think of each other. */
bool be_time_hides_changes(const struct be_limits *l, const struct timespec *ctime,
			   uint64_t seen_ms, uint64_t read_ms)
{
	enum { CLOCK_SLACK_MS = 20, NS_PER_S = 1000000000, NS_PER_MS = 1000000 };
	uint64_t grain = l->time_grain_ns;

	if (!grain)
		return false;
	if (((uint64_t)ctime->tv_sec * NS_PER_S + (uint64_t)ctime->tv_nsec) % grain)
		return false;
	return read_ms < seen_ms + grain / NS_PER_MS + CLOCK_SLACK_MS;
}

/* ---- identities ----------------------------------------------------- */

struct be_cred *be_cred_new(uid_t uid, gid_t gid, unsigned ngroups, const gid_t *groups)
{
	static _Atomic uint32_t last_id;
	struct be_cred *cred;

	if (ngroups > BE_CRED_GROUPS_MAX) {
		log_warn("backend: uid %u has %u groups, the first %d count", (unsigned)uid,
			 ngroups, BE_CRED_GROUPS_MAX);
		ngroups = BE_CRED_GROUPS_MAX;
	}
	cred = malloc(sizeof *cred + ngroups * sizeof cred->groups[0]);
	if (!cred)
		return NULL;
	atomic_init(&cred->refs, 1);
	cred->id = atomic_fetch_add(&last_id, 1) + 1;
	cred->uid = uid;
	cred->gid = gid;
	cred->ngroups = ngroups;
	if (ngroups)
		memcpy(cred->groups, groups, ngroups * sizeof groups[0]);
	return cred;
}

/* Only the count of a credential ever changes, so that its users hold it const. */
struct be_cred *be_cred_get(const struct be_cred *cred)
{
	struct be_cred *c = (struct be_cred *)(uintptr_t)cred;
	unsigned old = atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);

	assert(old > 0);
	return c;
}

void be_cred_put(const struct be_cred *cred)
{
	struct be_cred *c = (struct be_cred *)(uintptr_t)cred;
	unsigned old;

	if (!c)
		return;
	old = atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel);
	assert(old > 0);
	if (old == 1)
		free(c);
}

bool be_cred_in_group(const struct be_cred *cred, gid_t gid)
{
	if (cred->gid == gid)
		return true;
	for (unsigned i = 0; i < cred->ngroups; i++)
		if (cred->groups[i] == gid)
			return true;
	return false;
}

/* ---- nodes ---------------------------------------------------------- */

struct be_node *be_node_get(struct be_node *node)
{
	unsigned old = atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);

	assert(old > 0);
	return node;
}

bool be_node_tryget(struct be_node *node)
{
	unsigned old = atomic_load_explicit(&node->refs, memory_order_relaxed);

	while (old > 0)
		if (atomic_compare_exchange_weak_explicit(
			    &node->refs, &old, old + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

void be_node_put(struct be_node *node)
{
	unsigned old;

	if (!node)
		return;
	old = atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel);
	assert(old > 0);
	if (old == 1)
		node->be->ops->node_free(node);
}

/* ---- volumes -------------------------------------------------------- */

extern const struct backend_type backend_memory;
extern const struct backend_type backend_dir;
extern const struct backend_type backend_nfs;

static const struct backend_type *type_find(const char *uri)
{
	static const struct backend_type *const types[] = { &backend_memory, &backend_dir,
							    &backend_nfs };
	const char *colon = strchr(uri, ':');
	size_t len = colon ? (size_t)(colon - uri) : 0;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (strlen(types[i]->scheme) == len && !memcmp(types[i]->scheme, uri, len))
			return types[i];
	return NULL;
}

static int no_backend(const char *uri, struct err *err)
{
	return err_set(err, -EINVAL, "no backend for '%.200s' (memory:, dir:, nfs: are known)",
		       uri);
}

int backend_prepare(const char *uri, const struct be_env *env, struct be_prepared *out,
		    struct err *err)
{
	const struct backend_type *type = type_find(uri);

	if (!type)
		return no_backend(uri, err);
	return type->prepare ? type->prepare(uri, env, out, err) : 0;
}

int backend_uri_key(const char *uri, char *out)
{
	const struct backend_type *type = type_find(uri);

	return type && type->uri_key ? type->uri_key(uri, out) : -ENOTSUP;
}

bool backend_key_fits(const char *text, const char *key)
{
	const struct backend_type *type = type_find(text);
	AUTO_FREE struct uri *uri = malloc(sizeof *uri);
	char own[BE_KEY_BYTES];

	if (!type || !uri || uri_parse(text, uri, NULL))
		return false;
	if (type->key_fits)
		return type->key_fits(uri, key);
	return type->uri_key && !type->uri_key(text, own) && !strcmp(own, key);
}

void be_prepared_done(struct be_prepared *p)
{
	cleanup_fd(&p->folder_fd);
	cleanup_fd(&p->proc_fd);
	cleanup_fd(&p->lock_fd);
	free(p->state);
	*p = (struct be_prepared)BE_PREPARED_NONE;
}

int backend_open(const char *uri, const char *layers, const struct be_env *env,
		 struct backend **out, struct err *err)
{
	static const struct be_env no_env;
	const struct backend_type *type = type_find(uri);
	struct backend *be = NULL, *top = NULL;
	int rc;

	if (!type)
		return no_backend(uri, err);
	rc = type->open(uri, env ? env : &no_env, &be, err);
	if (rc)
		return rc;
	rc = layers_open(layers, be, &top, err);
	if (rc) {
		backend_close(be);
		return rc;
	}
	*out = top;
	return 0;
}

void backend_close(struct backend *be)
{
	if (be)
		be->ops->close(be);
}
