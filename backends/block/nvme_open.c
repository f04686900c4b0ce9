/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_open.c - from "nvme-tcp://..." to a device that runs */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/nvme_discover.h"
#include "backends/block/nvme_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	OPEN_MS = 60000,
	OTHERS_MS = 3000, /* for a better path than the one that is there */
	LOOK_MS = 100,
};

/* ---- addresses --------------------------------------------------------- */

static void dial_with(struct nsock_target *t, const struct bd_env *env)
{
	t->dial = env->dial;
	t->dialled = env->dialled;
	t->dial_arg = env->dial_arg;
}

void nvp_target(struct nvme_path *p, const char *host, uint16_t port, const struct bd_env *env)
{
	struct nsock_target *t = &p->target;

	snprintf(t->host, sizeof t->host, "%s", host);
	t->port = port;
	dial_with(t, env);
	snprintf(p->name, sizeof p->name, strchr(host, ':') ? "[%s]:%u" : "%s:%u", t->host, port);
}

static int add_path(struct nvme_dev *d, const char *host, uint16_t port, struct err *err)
{
	struct nvme_path *p;
	int rc;

	if (d->npaths == NVME_PATHS_MAX)
		return err_set(err, -EINVAL, "nvme-tcp: more than %d paths", NVME_PATHS_MAX);
	p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, -ENOMEM, "nvme-tcp: no memory");
	d->paths[d->npaths++] = p;
	rc = nvp_init(p, &d->conf, d);
	if (rc)
		return err_set(err, rc, "nvme-tcp: cannot make a path: %s", strerror(-rc));
	nvp_target(p, host, port, &d->env);
	return 0;
}

static int add_paths(struct nvme_dev *d, const struct uri *uri, struct err *err)
{
	int rc = add_path(d, uri->host, uri->port ? uri->port : NVME_PORT, err);

	for (unsigned i = 0; !rc && i < uri->nparams; i++) {
		struct nsock_target t;

		if (strcmp(uri->params[i].key, "path") != 0)
			continue;
		rc = nvme_address_parse(uri->params[i].value, NVME_PORT, &t, err);
		if (!rc)
			rc = add_path(d, t.host, t.port, err);
	}
	return rc;
}

/* ---- no subsystem was named -------------------------------------------- */

#define MORE ", ..."

/* Whole entries, as many as have room before MORE. */
static void list_found(const struct nvme_found *f, char *out, size_t size)
{
	size_t at = 0;

	size -= sizeof MORE;

	for (unsigned i = 0; i < f->n; i++) {
		const struct nvme_disc_entry *e = &f->entries[i];
		int n;

		if (e->subtype != NVME_SUBTYPE_NVME || e->trtype != NVME_TRTYPE_TCP)
			continue;
		n = snprintf(out + at, size - at,
			     e->adrfam == NVME_ADRFAM_IPV6 ? "%s%s at [%s]:%s" : "%s%s at %s:%s",
			     at ? ", " : "", e->subnqn, e->traddr, e->trsvcid);
		if (n < 0 || (size_t)n >= size - at) {
			strcpy(out + at, MORE);
			return;
		}
		at += (size_t)n;
	}
}

static int which_subsystem(const struct uri *uri, const struct bd_env *env, struct err *err)
{
	AUTO_FREE struct nvme_found *f = NULL;
	struct err why = { "" };
	char found[400] = "", host[NSOCK_HOST_MAX + 2];

	snprintf(host, sizeof host, strchr(uri->host, ':') ? "[%s]" : "%s", uri->host);
	if (nvme_discover(uri, env, &f, &why))
		return err_set(err, -EINVAL,
			       "nvme-tcp://%s/NQN: the subsystem's NQN is missing, and discovery "
			       "failed: %.300s",
			       host, why.text);
	list_found(f, found, sizeof found);
	return err_set(err, -EINVAL, "nvme-tcp://%s/NQN: the subsystem's NQN is missing; found: %s",
		       host, found[0] ? found : "none over TCP");
}

/* ---- opening ----------------------------------------------------------- */

/* True when no path has its first attempt before it. */
static bool all_tried_locked(const struct nvme_dev *d)
{
	for (unsigned i = 0; i < d->npaths; i++)
		if (!d->paths[i]->tried)
			return false;
	return true;
}

static int none_usable_locked(const struct nvme_dev *d, struct err *err)
{
	char all[sizeof err->text] = "";
	size_t at = 0;
	int code = 0;

	for (unsigned i = 0; i < d->npaths && at < sizeof all; i++) {
		const struct nvme_path *p = d->paths[i];

		if (!p->error.text[0])
			continue;
		code = code ? code : p->error_code;
		at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", at ? "; " : "",
				       p->error.text);
	}
	if (code)
		return err_set(err, code, "%s", all);
	return err_set(err, -EHOSTUNREACH,
		       "nvme-tcp: no path to '%s' is accessible (asymmetric access)",
		       d->conf.subnqn);
}

/* Waits for a path that can be used; for the others only a little. */
static int await_path(struct nvme_dev *d, struct err *err)
{
	uint64_t start = clock_ms(), now;
	const struct nvme_path *best = NULL;
	int rc = 0;

	mutex_lock(&d->lock);
	for (now = start; now < start + OPEN_MS; now = clock_ms()) {
		best = nvd_best_locked(d);
		if (all_tried_locked(d) || (best && now >= start + OTHERS_MS))
			break;
		cond_wait_until(&d->cond, &d->lock, now + LOOK_MS);
	}
	if (!best)
		rc = none_usable_locked(d, err);
	mutex_unlock(&d->lock);
	return rc;
}

static int start_all(struct nvme_dev *d, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < d->npaths; i++)
		rc = nvp_start(d->paths[i], i, err);
	if (!rc)
		rc = await_path(d, err);
	return rc ? rc : nvd_run(d, err);
}

static bool names_subsystem(const struct uri *uri)
{
	return uri->path[0] && uri->path[1];
}

/* Who this host is stands in files. */
static int nvme_prepare(const struct uri *uri, const struct bd_env *env, struct bd **out,
			struct err *err)
{
	struct nvme_dev *d;
	int rc;

	if (!uri->host[0])
		return err_set(err, -EINVAL, "nvme-tcp: the URI names no host");
	if (strlen(uri->host) >= NSOCK_HOST_MAX)
		return err_set(err, -EINVAL, "nvme-tcp: host '%.100s...' is longer than %d bytes",
			       uri->host, NSOCK_HOST_MAX - 1);
	d = nvd_new(env);
	if (!d)
		return err_set(err, -ENOMEM, "nvme-tcp: no memory");
	rc = nvme_conf_parse(uri, &d->conf, err);
	if (!rc && names_subsystem(uri))
		rc = add_paths(d, uri, err);
	if (rc) {
		nvd_free(d);
		return rc;
	}
	*out = &d->bd;
	return 0;
}

static int nvme_open(const struct uri *uri, const struct bd_env *env, struct bd **out,
		     struct err *err)
{
	struct nvme_dev *d = nvd_of(env->prepared);
	int rc;

	d->env = *env;
	for (unsigned i = 0; i < d->npaths; i++)
		dial_with(&d->paths[i]->target, env);
	rc = names_subsystem(uri) ? start_all(d, err) : which_subsystem(uri, env, err);
	if (rc) {
		nvd_free(d);
		return rc;
	}
	log_info("nvme-tcp: '%s' namespace %u: %llu blocks of %u bytes, %u queues", d->conf.subnqn,
		 d->ns.nsid, (unsigned long long)d->ns.blocks, d->ns.block, d->ns.nqueues);
	*out = &d->bd;
	return 0;
}

static const char *const schemes[] = { "nvme-tcp", NULL };

const struct bd_transport bd_nvme_tcp = { .schemes = schemes,
					  .uri_help = "nvme-tcp://HOST[:PORT]/SUBSYSTEM-NQN",
					  .prepare = nvme_prepare,
					  .open = nvme_open };
