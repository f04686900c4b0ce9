/* SPDX-License-Identifier: Apache-2.0 */
/* nbd.c - transport "nbd": URI, limits, open and close; see nbd_impl.h
 *
 *   nbd://host[:port]/export            nbd+unix:///export?socket=/path
 *   nbds://host[:port]/export           nbds+unix:///export?socket=/path      with TLS */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum { SIZE_MS = 60000 }; /* for an answer to size() where requests have no limit */

/* ---- URI --------------------------------------------------------------- */

static const char *const known_params[] = { "connections", "reply_timeout",
					    "socket",      "tls_certificates",
					    "tls_psk",     "tls_username",
					    NULL };

static void target_done(struct bdn_target *t)
{
	free(t->path);
	free(t->name);
	free(t->certificates);
	free(t->psk);
	free(t->username);
}

static int copy_param(const struct uri *uri, const char *key, char **out, struct err *err)
{
	const char *value = uri_param(uri, key);

	if (!value)
		return 0;
	if (!*value)
		return err_set(err, -EINVAL, "URI parameter %s is empty", key);
	*out = strdup(value);
	return *out ? 0 : err_set(err, -ENOMEM, "no memory");
}

static int parse_unix(const struct uri *uri, const struct bd_env *env, struct bdn_target *t,
		      struct err *err)
{
	if (*uri->host)
		return err_set(err, -EINVAL,
			       "URI %s: '%.100s' stands where no host may be; want "
			       "%s:///EXPORT?socket=/PATH",
			       uri->scheme, uri->host, uri->scheme);
	if (!t->path)
		return err_set(err, -EINVAL, "URI %s: parameter socket=/PATH is missing",
			       uri->scheme);
	if (strlen(t->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
		return err_set(err, -EINVAL,
			       "URI parameter socket=%.100s...: longer than %zu bytes", t->path,
			       sizeof((struct sockaddr_un *)0)->sun_path - 1);
	if (env && env->dial)
		return err_set(err, -ENOTSUP,
			       "URI parameter socket=%.100s: not supported in a process that has "
			       "its connections made by another",
			       t->path);
	snprintf(t->text, sizeof t->text, "%s", t->path);
	return 0;
}

static int parse_tcp(const struct uri *uri, const struct bd_env *env, struct bdn_target *t,
		     struct err *err)
{
	struct nsock_target *s = &t->sock;

	if (t->path)
		return err_set(err, -EINVAL,
			       "URI parameter socket=%.100s: only for nbd+unix and nbds+unix",
			       t->path);
	if (!*uri->host || strlen(uri->host) >= sizeof s->host)
		return err_set(err, -EINVAL, "URI %s: '%.100s' is no host", uri->scheme, uri->host);
	strcpy(s->host, uri->host);
	s->port = uri->port ? uri->port : BDN_PORT;
	if (env && env->dial) {
		s->dial = env->dial;
		s->dialled = env->dialled;
		s->dial_arg = env->dial_arg;
	}
	snprintf(t->text, sizeof t->text, "%s port %u", s->host, s->port);
	return 0;
}

/* What cannot be verified is refused: a certificate is compared with a host's name, which libnbd learns
 * only when it connects by itself. */
static int parse_tls(const struct uri *uri, const struct bd_env *env, struct bdn_target *t,
		     struct err *err)
{
	static const char *const keys[] = { "tls_certificates", "tls_psk", "tls_username" };

	for (unsigned i = 0; i < ARRAY_LEN(keys) && !t->tls; i++)
		if (uri_param(uri, keys[i]))
			return err_set(err, -EINVAL, "URI parameter %s=%.100s: only for nbds",
				       keys[i], uri_param(uri, keys[i]));
	if (!t->tls)
		return 0;
	if (!t->certificates == !t->psk)
		return err_set(err, -EINVAL,
			       "URI %s: want either tls_certificates=DIR or tls_psk=FILE",
			       uri->scheme);
	if (t->certificates && t->path)
		return err_set(err, -ENOTSUP,
			       "URI parameter tls_certificates=%.100s: a server at a unix socket "
			       "has no name that its certificate could carry; use tls_psk",
			       t->certificates);
	if (t->certificates && env && env->dial)
		return err_set(err, -ENOTSUP,
			       "URI parameter tls_certificates=%.100s: not supported in a process "
			       "that has its connections made by another; use tls_psk",
			       t->certificates);
	return 0;
}

static int target_parse(const struct uri *uri, const struct bd_env *env, struct bdn_target *t,
			struct err *err)
{
	uint64_t connections, reply_s;
	bool is_unix = strstr(uri->scheme, "+unix");
	int rc = uri_only_params(uri, known_params, err);

	if (!rc)
		rc = uri_param_u64(uri, "connections", 1, BDN_CONNECTIONS_MAX, BDN_CONNECTIONS,
				   &connections, err);
	if (!rc)
		rc = uri_param_u64(uri, "reply_timeout", 1, BDN_REPLY_MAX_S, BDN_REPLY_S, &reply_s,
				   err);
	if (!rc)
		rc = copy_param(uri, "socket", &t->path, err);
	if (!rc)
		rc = copy_param(uri, "tls_certificates", &t->certificates, err);
	if (!rc)
		rc = copy_param(uri, "tls_psk", &t->psk, err);
	if (!rc)
		rc = copy_param(uri, "tls_username", &t->username, err);
	if (rc)
		return rc;
	t->connections = (unsigned)connections;
	t->reply_ms = (uint32_t)reply_s * 1000;
	t->tls = !strncmp(uri->scheme, "nbds", 4);
	t->name = strdup(*uri->path == '/' ? uri->path + 1 : uri->path);
	if (!t->name)
		return err_set(err, -ENOMEM, "no memory");
	if (strlen(t->name) > BDN_EXPORT_MAX)
		return err_set(err, -EINVAL, "name of the export is longer than %d bytes",
			       BDN_EXPORT_MAX);
	rc = is_unix ? parse_unix(uri, env, t, err) : parse_tcp(uri, env, t, err);
	return rc ? rc : parse_tls(uri, env, t, err);
}

/* ---- the table --------------------------------------------------------- */

static struct bdn_dev *of(struct bd *dev)
{
	return CONTAINER_OF(dev, struct bdn_dev, bd);
}

static void dev_free(struct bdn_dev *d)
{
	if (d->ep >= 0)
		close(d->ep);
	if (d->ev >= 0)
		close(d->ev);
	bd_core_free(&d->bd);
	cond_done(&d->changed);
	mutex_done(&d->lock);
	target_done(&d->target);
	free(d);
}

static int dev_size(struct bd *dev, uint64_t *out)
{
	struct bdn_dev *d = of(dev);
	uint64_t until = clock_ms() + (d->timeout_ms ? d->timeout_ms : SIZE_MS);
	unsigned want;
	int rc = 0;

	mutex_lock(&d->lock);
	want = ++d->looks;
	bdn_wake(d);
	while (!rc && d->state != BDN_BROKEN && (int)(d->seen - want) < 0)
		if (atomic_load(&d->stop))
			rc = -ECANCELED;
		else if (!cond_wait_until(&d->changed, &d->lock, until))
			rc = -ETIMEDOUT;
	if (d->state == BDN_BROKEN)
		rc = d->broken;
	if (!rc)
		*out = d->export.size;
	mutex_unlock(&d->lock);
	return rc;
}

static void dev_cancel(struct bd *dev)
{
	struct bdn_dev *d = of(dev);

	atomic_store(&d->stop, true);
	mutex_lock(&d->lock);
	cond_broadcast(&d->changed);
	mutex_unlock(&d->lock);
	bdn_wake(d);
}

static void dev_close(struct bd *dev)
{
	struct bdn_dev *d = of(dev);

	atomic_store(&d->stop, true);
	atomic_store(&d->ending, true);
	bdn_wake(d);
	pthread_join(d->thread, NULL);
	bdn_part(d);
	dev_free(d);
}

static const struct bd_ops ops = {
	.name = "nbd",
	.submit = bdn_submit,
	.size = dev_size,
	.cancel = dev_cancel,
	.close = dev_close,
};

/* ---- open -------------------------------------------------------------- */

static void set_limits(struct bdn_dev *d, const struct bd_env *env)
{
	const struct bdn_export *e = &d->export;
	struct bd_limits *l = &d->bd.limits;

	*l = (struct bd_limits){
		.block = e->block,
		.align = 1,
		.preferred = e->preferred,
		.max_transfer = e->max_transfer,
		.max_zero = e->zero ? BDN_ZERO_MAX : 0,
		.max_discard = e->trim ? BDN_DISCARD_MAX : 0,
		.depth = BDN_DEPTH * d->nconns,
		.volatile_cache = e->flush,
		.fua = e->fua,
		.zero_fast = e->zero && e->fast_zero,
		.readonly = e->readonly || (env && env->readonly),
		.rotational = e->rotational,
		.keeps = e->flush,
	};
	if (l->depth > BD_DEPTH_MAX)
		l->depth = BD_DEPTH_MAX;
	atomic_store(&d->bd.size, e->size);
	if (!e->flush && !l->readonly)
		log_warn("nbd: %s, export '%s': the server takes no flushes; what it answers "
			 "counts as durable",
			 d->target.text, d->target.name);
}

static int start_thread(struct bdn_dev *d)
{
	sigset_t all, old;
	int rc;

	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&d->thread, NULL, bdn_thread, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

static struct bdn_dev *dev_new(const struct bd_env *env)
{
	struct bdn_dev *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->bd.ops = &ops;
	d->settle_ms = env && env->settle_ms ? env->settle_ms : BDN_SETTLE_MS;
	d->timeout_ms = env ? env->timeout_ms : 0;
	mutex_init(&d->lock, LOCK_bd_transport);
	cond_init(&d->changed);
	list_init(&d->done);
	list_init(&d->back);
	list_init(&d->bounce_wait);
	d->ep = epoll_create1(EPOLL_CLOEXEC);
	d->ev = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d;
}

static int watch_wakes(struct bdn_dev *d, struct err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	if (d->ep < 0 || d->ev < 0 || epoll_ctl(d->ep, EPOLL_CTL_ADD, d->ev, &ev))
		return err_set(err, -errno, "cannot make descriptors: %s", strerror(errno));
	return 0;
}

static int bdn_open(const struct uri *uri, const struct bd_env *env, struct bd **out,
		    struct err *err)
{
	struct bdn_dev *d = dev_new(env);
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "no memory");
	rc = watch_wakes(d, err);
	if (!rc)
		rc = target_parse(uri, env, &d->target, err);
	if (!rc)
		rc = bdn_connect_all(d, err);
	if (!rc) {
		set_limits(d, env);
		d->up_ms = clock_ms();
		rc = bd_core_new(&d->bd, env, err);
	}
	if (!rc) {
		rc = start_thread(d);
		if (rc)
			err_set(err, rc, "cannot start a thread: %s", strerror(-rc));
	}
	if (rc) {
		bdn_part(d);
		dev_free(d);
		return rc;
	}
	*out = &d->bd;
	return 0;
}

static const char *const schemes[] = { "nbd", "nbds", "nbd+unix", "nbds+unix", NULL };

const struct bd_transport bd_nbd = {
	.schemes = schemes,
	.uri_help =
		"nbd://host[:port]/export, nbds://, nbd+unix:///export?socket=/path, nbds+unix:",
	.open = bdn_open,
};
