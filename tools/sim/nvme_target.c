/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_target.c - the simulated NVMe target's life: configuration, ports, its thread
 *
 * The thread alone closes sockets and frees connections, between two polls; others leave it orders and wait. A port
 * that is down, or of a target that was killed, stays ours: a second socket is bound to it that never listens. */
#include "tools/sim/nvme_target.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/listen.h"
#include "tools/sim/nvme_impl.h"

#define RECEIVE_BYTES (64u << 10)
#define POLL_MS 50      /* at the most: tests move the clock */
#define ORDER_MS 10000u /* for the thread to do what it was told */
#define DEFAULT_SIZE (64ull << 20)
#define DEFAULT_QUEUE_SIZE 128u
#define MDTS_MAX 12u /* 16 MiB */

/* ---- configuration ---------------------------------------------------- */

static int bad(struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "%s", what);
}

static void fill_defaults(struct nvme_target_config *c)
{
	if (!c->size)
		c->size = DEFAULT_SIZE;
	if (!c->block_size)
		c->block_size = 512;
	if (!c->namespaces)
		c->namespaces = 1;
	if (!c->mdts)
		c->mdts = NVME_TARGET_MDTS;
	if (!c->in_capsule && !c->no_in_capsule)
		c->in_capsule = NVME_TARGET_IN_CAPSULE;
	if (c->no_in_capsule)
		c->in_capsule = 0;
	if (!c->maxh2cdata)
		c->maxh2cdata = NVME_TARGET_H2C;
	if (!c->queues)
		c->queues = NVME_TARGET_QUEUES;
	if (!c->queue_size)
		c->queue_size = DEFAULT_QUEUE_SIZE;
	if (!c->nqn)
		c->nqn = NVME_TARGET_NQN;
}

static int check_config(const struct nvme_target_config *c, struct err *err)
{
	if (c->block_size != 512 && c->block_size != 4096)
		return bad(err, "the block size is 512 or 4096");
	if (c->size % c->block_size || c->size > NVME_TARGET_SIZE_MAX)
		return bad(err, "the size wants a multiple of the block size, at most 1 TiB");
	if (c->namespaces > NVME_TARGET_NAMESPACES_MAX)
		return bad(err, "at most 2048 namespaces");
	if (c->mdts > MDTS_MAX)
		return bad(err, "mdts is at most 12");
	if (c->in_capsule % 16 || c->in_capsule > NVME_TARGET_IN_CAPSULE_MAX)
		return bad(err, "data in a capsule want a multiple of 16 bytes, at most 64 KiB");
	if (c->maxh2cdata % 4 || c->maxh2cdata < NVME_MAXH2CDATA_MIN ||
	    c->maxh2cdata > NVME_TARGET_H2C_MAX)
		return bad(err, "maxh2cdata wants a multiple of 4, from 4096 to 4 MiB");
	if (c->r2t_bytes % 4)
		return bad(err, "the size of an R2T wants a multiple of 4");
	if (c->cpda > NVME_PDA_MAX)
		return bad(err, "cpda is at most 31");
	if (c->queues > NVME_TARGET_QUEUES_MAX)
		return bad(err, "at most 16 I/O queues");
	if (c->queue_size < 2 || c->queue_size > NVME_TARGET_QUEUE_SIZE_MAX)
		return bad(err, "a queue has 2 to 1024 entries");
	if (!*c->nqn || strlen(c->nqn) >= NVME_NQN_SIZE || !strcmp(c->nqn, NVME_DISCOVERY_NQN))
		return bad(err, "the NQN has 1 to 223 bytes, and is not that of discovery");
	return 0;
}

static int copy_config(struct nvme_target *t, const struct nvme_target_config *cfg)
{
	t->cfg = *cfg;
	fill_defaults(&t->cfg);
	t->cfg.faults = NULL;
	t->cfg.nqn = strdup(t->cfg.nqn);
	t->cfg.file = cfg->file ? strdup(cfg->file) : NULL;
	t->cfg.host_nqn = cfg->host_nqn ? strdup(cfg->host_nqn) : NULL;
	return !t->cfg.nqn || !t->cfg.file != !cfg->file || !t->cfg.host_nqn != !cfg->host_nqn ?
		       -ENOMEM :
		       0;
}

static void init(struct nvme_target *t)
{
	mutex_init(&t->lock, LOCK_nvme_target);
	cond_init(&t->wake);
	list_init(&t->rules);
	list_init(&t->orders);
	list_init(&t->conns);
	list_init(&t->ctrls);
	list_init(&t->jobs);
	list_init(&t->late);
	t->store.fd = -1;
	t->wake_fd = -1;
	t->npaths = 1;
	t->generation = 1;
	for (unsigned p = 0; p < NVME_TARGET_PATHS_MAX; p++) {
		t->paths[p].listen_fd = t->paths[p].reserve_fd = -1;
		memset(t->paths[p].ana, NVME_ANA_STATE_OPTIMIZED, sizeof t->paths[p].ana);
	}
}

int nt_new(const struct nvme_target_config *cfg, struct nvme_target **out, struct err *err)
{
	struct nvme_target *t = calloc(1, sizeof *t);
	int rc;

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	init(t);
	rc = copy_config(t, cfg);
	rc = rc ? err_set(err, rc, "out of memory") : check_config(&t->cfg, err);
	if (!rc)
		rc = nt_store_open(&t->store, &t->cfg, err);
	if (rc) {
		nt_free(t);
		return rc;
	}
	t->rng = t->cfg.seed * 0x9e3779b97f4a7c15ull + 0x1234567;
	for (unsigned i = 0; i < t->cfg.namespaces; i++)
		t->ns[i].blocks = t->cfg.size / t->cfg.block_size;
	*out = t;
	return 0;
}

/* Connections, controllers and what was to be done for them. */
static void forget_hosts(struct nvme_target *t)
{
	struct list *l;

	while (!list_empty(&t->conns))
		nt_conn_free(list_first(&t->conns, struct nt_conn, link));
	while (!list_empty(&t->ctrls))
		nt_ctrl_free(list_first(&t->ctrls, struct nt_ctrl, link));
	while ((l = list_pop(&t->late)))
		nt_cmd_free(list_entry(l, struct nt_cmd, link));
}

void nt_free(struct nvme_target *t)
{
	struct list *l;

	forget_hosts(t);
	nt_rules_clear(t);
	while ((l = list_pop(&t->orders)))
		free(list_entry(l, struct nt_rule, link));
	for (unsigned p = 0; p < NVME_TARGET_PATHS_MAX; p++) {
		nt_path_down(t, p);
		if (t->paths[p].reserve_fd >= 0)
			close(t->paths[p].reserve_fd);
	}
	(void)nt_store_flush(&t->store);
	nt_store_close(&t->store);
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	free((char *)t->cfg.nqn);
	free((char *)t->cfg.file);
	free((char *)t->cfg.host_nqn);
	cond_done(&t->wake);
	mutex_done(&t->lock);
	free(t);
}

/* ---- ports ------------------------------------------------------------ */

int nt_path_up(struct nvme_target *t, unsigned path, struct err *err)
{
	struct nt_path *p = &t->paths[path];
	struct listen_addr a;
	char text[96];
	int rc;

	if (p->listen_fd >= 0)
		return 0;
	snprintf(text, sizeof text, strchr(p->address, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
		 p->address, p->port);
	rc = listen_parse(text, &a, err);
	if (rc)
		return rc;
	rc = listen_open(&a, err);
	if (rc < 0)
		return rc;
	p->listen_fd = rc;
	p->want_up = true;
	return 0;
}

void nt_path_down(struct nvme_target *t, unsigned path)
{
	struct nt_path *p = &t->paths[path];

	if (p->listen_fd >= 0)
		close(p->listen_fd);
	p->listen_fd = -1;
	p->want_up = false;
}

/* Binds the address without listening, so that the port is known and stays ours. */
static int reserve(struct nt_path *p, const char *listen, struct err *err)
{
	const int one = 1;
	struct listen_addr a;
	char text[96];
	int rc;

	if ((size_t)snprintf(text, sizeof text, "tcp:%s", listen) >= sizeof text)
		return err_set(err, -EINVAL, "address '%.60s...' is too long", listen);
	rc = listen_parse(text, &a, err);
	if (rc)
		return rc;
	if (getnameinfo((const struct sockaddr *)&a.addr, a.len, p->address, sizeof p->address,
			NULL, 0, NI_NUMERICHOST))
		return err_set(err, -EINVAL, "address '%.60s' is not numeric", listen);
	p->reserve_fd = socket(a.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->reserve_fd < 0 ||
	    setsockopt(p->reserve_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    bind(p->reserve_fd, (const struct sockaddr *)&a.addr, a.len))
		return err_set(err, -errno, "cannot bind %s: %s", listen, strerror(errno));
	p->port = listen_port(p->reserve_fd);
	return 0;
}

static int open_ports(struct nvme_target *t, struct err *err)
{
	int rc = 0;

	t->npaths = 0;
	while (t->npaths < NVME_TARGET_PATHS_MAX && t->cfg.listen[t->npaths])
		t->npaths++;
	if (!t->npaths) {
		t->cfg.listen[0] = "127.0.0.1:0";
		t->npaths = 1;
	}
	for (unsigned p = 0; p < t->npaths && !rc; p++) {
		rc = reserve(&t->paths[p], t->cfg.listen[p], err);
		if (!rc)
			rc = nt_path_up(t, p, err);
	}
	memset(t->cfg.listen, 0, sizeof t->cfg.listen); /* the caller's */
	return rc;
}

/* ---- sockets ---------------------------------------------------------- */

static void accept_all(struct nvme_target *t, unsigned path)
{
	const int one = 1;
	int fd;

	while ((fd = accept4(t->paths[path].listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >=
	       0) {
		(void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (t->nconns >= NT_CONNS_MAX)
			close(fd);
		else
			(void)nt_conn_new(t, fd, path);
	}
}

static void receive(struct nt_conn *c)
{
	uint8_t buf[RECEIVE_BYTES];
	ssize_t n = recv(c->fd, buf, sizeof buf, 0);

	if (n > 0)
		nt_conn_feed(c, buf, (size_t)n);
	else if (!n || (errno != EAGAIN && errno != EINTR))
		nt_conn_reset(c);
}

static void sent(struct nt_conn *c, struct nt_out *o)
{
	list_del(&o->link);
	c->out_bytes -= o->len;
	if (o->ends && !o->len)
		nt_conn_reset(c);
	else if (o->ends) {
		shutdown(c->fd, SHUT_WR);
		c->half_closed = true;
	}
	free(o);
}

/* Sends what can be; when the next is due, UINT64_MAX: not by time. */
static uint64_t transmit(struct nt_conn *c, uint64_t now)
{
	c->blocked = false;
	while (!list_empty(&c->out) && c->state != NTS_DEAD && !c->half_closed) {
		struct nt_out *o = list_first(&c->out, struct nt_out, link);
		size_t len = o->len - o->sent;
		ssize_t n;

		if (o->at_us > now)
			return o->at_us;
		if (o->step && o->step < len)
			len = o->step;
		n = len ? send(c->fd, o->bytes + o->sent, len, MSG_NOSIGNAL) : 0;
		if (n < 0) {
			c->blocked = errno == EAGAIN;
			if (!c->blocked && errno != EINTR)
				nt_conn_reset(c);
			return UINT64_MAX;
		}
		o->sent += (size_t)n;
		o->at_us = o->pause_ms ? now + o->pause_ms * 1000ull : 0;
		if (o->sent == o->len)
			sent(c, o);
	}
	return UINT64_MAX;
}

static void reap(struct nvme_target *t)
{
	list_for_each_safe(it, tmp, &t->conns) {
		struct nt_conn *c = list_entry(it, struct nt_conn, link);

		if (c->state == NTS_DEAD)
			nt_conn_free(c);
	}
}

/* ---- the thread ------------------------------------------------------- */

#define POLLS_MAX (NT_CONNS_MAX + NVME_TARGET_PATHS_MAX + 1)

struct polls {
	struct pollfd p[POLLS_MAX];
	struct nt_conn *conn[POLLS_MAX];
	unsigned n;
	uint64_t next;
};

static void die(struct nvme_target *t)
{
	for (unsigned p = 0; p < t->npaths; p++)
		nt_path_down(t, p);
	/* The kernel closes the sockets of a killed process in the ordinary way. */
	list_for_each(it, &t->conns)
		list_entry(it, struct nt_conn, link)->state = NTS_ENDING;
	forget_hosts(t);
	t->frozen_us = 0;
	t->n.lost_blocks += nt_store_lose(t, t->kill_keep);
	t->want_kill = false;
}

static void obey(struct nvme_target *t)
{
	struct list *l;

	if (t->want_kill)
		die(t);
	while ((l = list_pop(&t->orders))) {
		nt_order(t, list_entry(l, struct nt_rule, link));
		free(list_entry(l, struct nt_rule, link));
		t->obeyed++;
	}
	cond_broadcast(&t->wake);
}

static void add(struct polls *a, int fd, int events, struct nt_conn *c)
{
	a->p[a->n] = (struct pollfd){ .fd = fd, .events = (short)events };
	a->conn[a->n++] = c;
}

/* Everything that is due, then what to wait for. */
static void prepare(struct nvme_target *t, struct polls *a)
{
	uint64_t now, at;

	obey(t);
	a->next = nt_tick(t);
	a->n = 0;
	add(a, t->wake_fd, POLLIN, NULL);
	now = nt_now_us();
	if (t->frozen_us > now)
		return;
	list_for_each(it, &t->conns) {
		at = transmit(list_entry(it, struct nt_conn, link), now);
		a->next = at < a->next ? at : a->next;
	}
	reap(t);
	for (unsigned p = 0; p < t->npaths; p++)
		add(a, t->paths[p].listen_fd, POLLIN, NULL);
	list_for_each(it, &t->conns) {
		struct nt_conn *c = list_entry(it, struct nt_conn, link);

		add(a, c->fd, (c->out_bytes < NT_OUT_MAX ? POLLIN : 0) | (c->blocked ? POLLOUT : 0),
		    c);
	}
}

static void handle(struct nvme_target *t, const struct polls *a)
{
	uint64_t count;

	if (a->p[0].revents)
		(void)!read(t->wake_fd, &count, sizeof count);
	for (unsigned i = 1; i < a->n; i++) {
		struct nt_conn *c = a->conn[i];

		if (!a->p[i].revents)
			continue;
		if (!c)
			accept_all(t, i - 1);
		else if (c->state == NTS_DEAD)
			continue;
		else if (a->p[i].revents & (POLLIN | POLLHUP | POLLERR))
			receive(c);
	}
}

static int wait_ms(uint64_t next)
{
	uint64_t now = nt_now_us(), ms;

	if (next <= now)
		return 0;
	ms = (next - now + 999) / 1000;
	return ms < POLL_MS ? (int)ms : POLL_MS;
}

static void *serve(void *arg)
{
	struct nvme_target *t = arg;
	struct polls a;

	mutex_lock(&t->lock);
	while (!t->stopping) {
		prepare(t, &a);
		mutex_unlock(&t->lock);
		(void)!poll(a.p, a.n, wait_ms(a.next));
		mutex_lock(&t->lock);
		handle(t, &a);
	}
	mutex_unlock(&t->lock);
	return NULL;
}

static void wake(struct nvme_target *t)
{
	const uint64_t one = 1;

	(void)!write(t->wake_fd, &one, sizeof one);
}

static int set_faults(struct nvme_target *t, const char *const *faults, struct err *err)
{
	int rc = 0;

	for (; faults && *faults && !rc; faults++)
		rc = nvme_target_fault(t, *faults, err);
	return rc;
}

int nvme_target_start(const struct nvme_target_config *cfg, struct nvme_target **out,
		      struct err *err)
{
	struct nvme_target *t = NULL;
	int rc = nt_new(cfg, &t, err);

	if (rc || !t) /* the analyzer does not see that err_set() returns its code */
		return rc;
	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = t->wake_fd < 0 ? err_set(err, -errno, "eventfd: %s", strerror(errno)) :
			      open_ports(t, err);
	if (!rc)
		rc = set_faults(t, cfg->faults, err);
	if (!rc) {
		rc = pthread_create(&t->thread, NULL, serve, t);
		rc = rc ? err_set(err, -rc, "no thread: %s", strerror(rc)) : 0;
		t->running = !rc;
	}
	if (rc) {
		nt_free(t);
		return rc;
	}
	pthread_setname_np(t->thread, "sim-nvme");
	*out = t;
	return 0;
}

void nvme_target_stop(struct nvme_target *t)
{
	if (!t)
		return;
	mutex_lock(&t->lock);
	t->stopping = true;
	mutex_unlock(&t->lock);
	wake(t);
	pthread_join(t->thread, NULL);
	nt_free(t);
}

/* ---- for others ------------------------------------------------------- */

unsigned nvme_target_port(const struct nvme_target *t, unsigned path)
{
	return path < t->npaths ? t->paths[path].port : 0;
}

void nvme_target_kill(struct nvme_target *t, unsigned keep_permille)
{
	mutex_lock(&t->lock);
	t->want_kill = true;
	t->kill_keep = keep_permille;
	wake(t);
	while (t->want_kill)
		cond_wait(&t->wake, &t->lock);
	mutex_unlock(&t->lock);
}

int nvme_target_revive(struct nvme_target *t, struct err *err)
{
	int rc = 0;

	mutex_lock(&t->lock);
	for (unsigned p = 0; p < t->npaths && !rc; p++)
		rc = nt_path_up(t, p, err);
	mutex_unlock(&t->lock);
	wake(t);
	return rc;
}

/* Waits until the thread has done it. */
static int give_order(struct nvme_target *t, struct nt_rule *r_take, struct err *err)
{
	uint64_t deadline = clock_ms() + ORDER_MS, mine = ++t->ordered;

	list_push_back(&t->orders, &r_take->link);
	wake(t);
	while (t->obeyed < mine)
		if (!cond_wait_until(&t->wake, &t->lock, deadline) && t->obeyed < mine)
			return err_set(err, -ETIMEDOUT, "the target does not obey");
	return 0;
}

static int ports_are_up(const struct nvme_target *t, const struct nt_rule *r, struct err *err)
{
	for (unsigned p = 0; p < t->npaths; p++)
		if ((r->path == NT_ANY || r->path == (int)p) && t->paths[p].listen_fd < 0)
			return err_set(err, -EADDRINUSE, "path %u cannot listen at %s port %u", p,
				       t->paths[p].address, t->paths[p].port);
	return 0;
}

static int add_locked(struct nvme_target *t, const struct nt_rule *rule, struct err *err)
{
	struct nt_rule *r;
	int rc = nt_order_check(t, rule, err);

	if (rc)
		return rc;
	if (rule->fault < NTF_FIRST_ORDER && t->nrules == NVME_TARGET_FAULTS_MAX)
		return err_set(err, -ENOSPC, "there are %u faults already", t->nrules);
	r = malloc(sizeof *r);
	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	*r = *rule;
	if (rule->fault < NTF_FIRST_ORDER) {
		list_push_back(&t->rules, &r->link);
		t->nrules++;
		return 0;
	}
	if (!t->running) { /* not started yet, or fed by hand */
		nt_order(t, r);
		free(r);
	} else {
		rc = give_order(t, r, err);
	}
	return !rc && rule->fault == NTF_UP ? ports_are_up(t, rule, err) : rc;
}

int nvme_target_fault(struct nvme_target *t, const char *text, struct err *err)
{
	struct nt_rule rule;
	int rc = nt_rule_parse(text, &rule, err);

	if (rc)
		return rc;
	mutex_lock(&t->lock);
	rc = add_locked(t, &rule, err);
	mutex_unlock(&t->lock);
	return rc;
}

void nvme_target_counts(struct nvme_target *t, struct nvme_target_counts *out)
{
	mutex_lock(&t->lock);
	*out = t->n;
	out->connections = t->nconns;
	list_for_each(it, &t->jobs)
		out->delayed++;
	mutex_unlock(&t->lock);
}

int nvme_target_peek(struct nvme_target *t, unsigned ns, uint64_t off, void *buf, size_t len,
		     bool durable)
{
	int rc = -EINVAL;

	mutex_lock(&t->lock);
	if (ns && ns <= t->cfg.namespaces && off <= t->store.stride && len <= t->store.stride - off)
		rc = nt_store_read(&t->store, (ns - 1) * t->store.stride + off, buf, len, durable);
	mutex_unlock(&t->lock);
	return rc;
}
