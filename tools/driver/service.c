/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define PEM_BYTES_MAX (1 << 20)
#define UNDO_LOOK_US 2000
#define STATUS_OK 200
#define STATUS_NOT_FOUND 404
#define STATUS_METHOD 405

/* --- the plugin protocol --------------------------------------------------- */

static bool plugin_may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	return api_may_wait(httpd_path(rq));
}

static bool client_gone(void *arg)
{
	return httpd_client_gone(arg);
}

static void plugin_answer(void *arg, struct httpd_request *rq)
{
	struct service *s = arg;
	struct api_undo undo = { NULL };
	const char *path = httpd_path(rq), *body;
	json_t *answer;
	size_t len;

	if (strcmp(httpd_method(rq), "POST")) {
		httpd_reply_take(rq, STATUS_METHOD, strdup("{\"Err\":\"Every call is a POST\"}"),
				 NULL);
		return;
	}
	body = httpd_body(rq, &len);
	answer = api_answer(&s->api, path, body, len, client_gone, rq, &undo);
	*httpd_tag(rq) = undo.mounted;
	httpd_reply_take(rq, api_knows(path) ? STATUS_OK : STATUS_NOT_FOUND,
			 json_dumps(answer, JSON_COMPACT), NULL);
	json_decref(answer);
}

struct undoing {
	struct service *s;
	struct api_undo undo;
};

static void *undo_main(void *arg)
{
	struct undoing *u = arg;

	pthread_setname_np(pthread_self(), "driver-undo");
	api_undo(&u->s->api, &u->undo);
	atomic_fetch_sub(&u->s->undoing, 1);
	free(u);
	return NULL;
}

/* A Mount that was counted, and whose answer nobody got. The listener's thread may not wait
 * for the unmount, and nobody does: the process may end meanwhile. */
static void plugin_done(void *arg, struct httpd_request *rq, bool delivered)
{
	char *mounted = *httpd_tag(rq);
	struct undoing *u;
	pthread_attr_t attr;
	pthread_t thread;

	if (!mounted || delivered) {
		free(mounted);
		return;
	}
	u = calloc(1, sizeof *u);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (u) {
		*u = (struct undoing){ .s = arg, .undo = { mounted } };
		atomic_fetch_add(&u->s->undoing, 1);
	}
	if (!u || pthread_create(&thread, &attr, undo_main, u)) {
		if (u)
			atomic_fetch_sub(&u->s->undoing, 1);
		log_error("driver: '%s' stays mounted, though nobody heard of it", mounted);
		free(mounted);
		free(u);
	}
	pthread_attr_destroy(&attr);
}

static const struct httpd_handler plugin_handler = { plugin_may_wait, plugin_answer, plugin_done };

/* --- the admin port -------------------------------------------------------- */

static bool port_may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	return admin_may_wait(httpd_path(rq));
}

static void port_answer(void *arg, struct httpd_request *rq)
{
	struct service *s = arg;
	struct admin_reply reply;

	admin_answer(&s->admin, httpd_method(rq), httpd_path(rq), &reply);
	*httpd_tag(rq) = reply.ends ? s : NULL;
	httpd_reply_take(rq, reply.status, reply.text, reply.type);
}

/* The process ends when somebody heard what became of the evacuation, or hung up on it. */
static void port_done(void *arg, struct httpd_request *rq, bool delivered)
{
	struct service *s = arg;

	(void)delivered;
	if (*httpd_tag(rq))
		eventfd_write(s->end_fd, 1);
}

static const struct httpd_handler port_handler = { port_may_wait, port_answer, port_done };

/* --- start and stop -------------------------------------------------------- */

/* The whole file, the caller's; NULL with a sentence. path NULL: NULL without one. */
static char *read_pem(const char *path, struct err *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_FD int fd = -1;
	ssize_t n;

	if (!path)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	text = calloc(1, PEM_BYTES_MAX);
	n = fd < 0 || !text ? -1 : read(fd, text, PEM_BYTES_MAX - 1);
	if (n <= 0) {
		err_set(err, -EINVAL, "tls: cannot read '%.200s': %s", path,
			n ? strerror(errno) : "it is empty");
		return NULL;
	}
	return take_ptr(&text);
}

struct pems {
	char *cert, *key, *ca;
};

static int read_pems(const struct config *c, struct pems *p, struct err *err)
{
	p->cert = read_pem(c->tls_cert, err);
	p->key = read_pem(c->tls_key, err);
	p->ca = read_pem(c->tls_client_ca, err);
	return !p->cert == !c->tls_cert && !p->key == !c->tls_key && !p->ca == !c->tls_client_ca ?
		       0 :
		       -EINVAL;
}

static void pems_done(struct pems *p)
{
	if (p->key)
		explicit_bzero(p->key, strlen(p->key));
	free(p->cert);
	free(p->key);
	free(p->ca);
}

static void close_all(const struct httpd_listener *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(l[i].fd);
}

static int start_on(struct service *s, const struct httpd_listener *l, unsigned n,
		    const struct pems *p, bool admin, struct err *err)
{
	struct httpd_config cfg = { .name = admin ? "driver-admin" : "driver-work",
				    .listeners = l,
				    .nlisteners = n,
				    .cert_pem = p->cert,
				    .key_pem = p->key,
				    .client_ca_pem = p->ca,
				    .handler = admin ? &port_handler : &plugin_handler,
				    .arg = s };

	return httpd_start(&cfg, admin ? &s->admin_http : &s->plugin, err);
}

static int start_plugin(struct service *s, const struct config *c, const struct pems *p,
			struct err *err)
{
	struct httpd_listener l[CONFIG_LISTEN_MAX] = { { 0 } };
	unsigned n = 0;
	int rc = 0;

	for (size_t i = 0; i < c->nlisten && !rc; i++) {
		struct listen_addr a;

		rc = listen_parse(c->listen[i], &a, err);
		if (!rc)
			rc = l[n].fd = listen_open(&a, err);
		if (rc < 0)
			break;
		rc = 0;
		l[n].tls = !a.is_unix && c->tls_cert;
		if (!a.is_unix && !s->tcp_port)
			s->tcp_port = listen_port(l[n].fd);
		n++;
	}
	if (!rc)
		rc = start_on(s, l, n, p, false, err);
	if (rc)
		close_all(l, n);
	return rc;
}

static int start_admin(struct service *s, const struct config *c, const struct pems *p,
		       struct err *err)
{
	struct httpd_listener l = { 0 };
	struct listen_addr a;
	int rc = config_admin_addr(c, &a, err);

	if (rc)
		return rc;
	l.fd = listen_open(&a, err);
	if (l.fd < 0)
		return l.fd;
	l.tls = !a.is_loopback; /* drain scripts on the machine itself speak plain HTTP */
	rc = start_on(s, &l, 1, p, true, err);
	if (rc)
		close(l.fd);
	return rc;
}

int service_start(struct service *s, const struct config *c, struct err *err)
{
	struct pems p = { NULL, NULL, NULL };
	int rc = read_pems(c, &p, err);

	if (!rc)
		rc = start_plugin(s, c, &p, err);
	if (!rc)
		rc = start_admin(s, c, &p, err);
	pems_done(&p);
	return rc;
}

/* After the listeners, which start them. */
static bool wait_for_undoing(struct service *s, unsigned limit_ms)
{
	uint64_t deadline = clock_ms() + limit_ms;

	while (atomic_load(&s->undoing)) {
		if (clock_ms() >= deadline)
			return false;
		usleep(UNDO_LOOK_US);
	}
	return true;
}

bool service_stop(struct service *s, const struct config *c, unsigned limit_ms)
{
	bool plugin_ended, admin_ended;

	if (s->plugin)
		for (size_t i = 0; i < c->nlisten; i++)
			if (!strncmp(c->listen[i], "unix:", 5))
				unlink(c->listen[i] + 5);
	plugin_ended = httpd_stop(s->plugin, limit_ms);
	admin_ended = httpd_stop(s->admin_http, limit_ms);
	return plugin_ended && admin_ended && wait_for_undoing(s, limit_ms);
}
