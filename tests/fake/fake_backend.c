/* SPDX-License-Identifier: Apache-2.0 */
/* fake_backend.c - see fake_backend.h. The bytes of a queued write are taken when
 * it is submitted, those of a threaded one when it runs: both are allowed. */
#include "tests/fake/fake_backend.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define WAIT_S 5

struct fake_req {
	struct list link;
	struct be_io *io;
	enum fake_kind kind;
	uint64_t off;
	size_t len;
	unsigned call; /* its number among those of its kind */
	int err;
	bool running;
	uint8_t *data; /* owned: a queued write's bytes */
};

static struct fake *fake_of(struct backend *be)
{
	return (struct fake *)(void *)be;
}

static struct fake_node *node_of(struct be_node *node)
{
	return (struct fake_node *)(void *)node;
}

uint8_t fake_byte(uint64_t off)
{
	return (uint8_t)(off * 131 + (off >> 8) * 7 + (off >> 16) + 1);
}

/* A program may write to a page while it is sent: the cache sends it again. That
 * race is wanted, so this side of it is hidden from ThreadSanitizer. */
__attribute__((no_sanitize("thread"))) static void
copy_racy(volatile uint8_t *to, const volatile uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = from[i];
}

/* ---- running one request, lock held --------------------------------- */

static void iov_gather(const struct be_io *io, uint8_t *to)
{
	for (unsigned i = 0; i < io->niov; i++) {
		copy_racy(to, io->iov[i].iov_base, io->iov[i].iov_len);
		to += io->iov[i].iov_len;
	}
}

static void run_read(struct fake_node *n, struct be_io *io)
{
	uint64_t end = io->off + io->len, off = io->off;

	if (end > n->size)
		end = n->size > io->off ? n->size : io->off;
	io->result = (ssize_t)(end - io->off);
	for (unsigned i = 0; i < io->niov && off < end; i++) {
		size_t len = io->iov[i].iov_len < end - off ? io->iov[i].iov_len :
							      (size_t)(end - off);

		memcpy(io->iov[i].iov_base, n->live + off, len);
		off += len;
	}
}

static void make_durable(struct fake_node *n)
{
	uint64_t end = n->size > n->durable_size ? n->size : n->durable_size;

	memcpy(n->durable, n->live, end);
	n->durable_size = n->size;
}

static void run_write(struct fake *fb, struct fake_node *n, const struct fake_req *rq)
{
	struct be_io *io = rq->io;

	if (rq->data)
		memcpy(n->live + rq->off, rq->data, rq->len);
	else
		iov_gather(io, n->live + rq->off);
	if (rq->off + rq->len > n->size)
		n->size = rq->off + rq->len;
	n->mtime = io->mtime;
	io->stable = io->want > fb->stable && !fb->never_sure ? io->want : fb->stable;
	if (io->stable != BE_UNSTABLE) {
		memcpy(n->durable + rq->off, n->live + rq->off, rq->len);
		if (rq->off + rq->len > n->durable_size)
			n->durable_size = rq->off + rq->len;
	}
	io->result = (ssize_t)rq->len;
}

static int error_locked(struct fake *fb, enum fake_kind kind, const struct be_io *io, unsigned call)
{
	if (call >= fb->fail_first[kind] && call <= fb->fail_last[kind])
		return fb->fail_err[kind];
	if (kind == FAKE_WRITE && fb->refused_uid && io->cred->uid == fb->refused_uid)
		return -EACCES;
	return 0;
}

static void run_locked(struct fake *fb, struct fake_req *rq)
{
	struct be_io *io = rq->io;
	struct fake_node *n = node_of(io->node);

	io->verifier = fb->verifier;
	if (!rq->err)
		rq->err = error_locked(fb, rq->kind, io, rq->call);
	if (rq->err) {
		io->result = rq->err;
		return;
	}
	if (rq->kind == FAKE_READ)
		run_read(n, io);
	else if (rq->kind == FAKE_WRITE)
		run_write(fb, n, rq);
	else {
		make_durable(n);
		io->result = 0;
	}
	if (fb->post && rq->kind != FAKE_READ) {
		io->post_valid = true;
		io->post =
			(struct be_attr){ .size = n->size, .mtime = n->mtime, .ctime = n->mtime };
	}
}

/* Takes rq, which is off the queue, with the lock held; gives the lock up. */
static void complete_unlock(struct fake *fb, struct fake_req *rq)
{
	struct be_io *io = rq->io;

	fb->queued--;
	pthread_mutex_unlock(&fb->lock);
	if (fb->hook)
		fb->hook(fb, rq->kind, fb->hook_arg);
	pthread_mutex_lock(&fb->lock);
	run_locked(fb, rq);
	list_del(&rq->link); /* from here on it is not in flight */
	pthread_cond_broadcast(&fb->cond);
	pthread_mutex_unlock(&fb->lock);
	free(rq->data);
	free(rq);
	io->done(io);
	pthread_mutex_lock(&fb->lock);
	fb->running--;
	pthread_cond_broadcast(&fb->cond);
	pthread_mutex_unlock(&fb->lock);
}

/* ---- submitting ------------------------------------------------------ */

static void check_limits(const struct fake *fb, enum fake_kind kind, const struct be_io *io)
{
	size_t sum = 0;

	if (kind == FAKE_COMMIT)
		return;
	for (unsigned i = 0; i < io->niov; i++)
		sum += io->iov[i].iov_len;
	assert(io->niov > 0 && sum == io->len && io->len > 0);
	assert(io->len <= (kind == FAKE_READ ? fb->be.limits.read_max : fb->be.limits.write_max));
	assert(io->off + io->len <= FAKE_FILE_MAX);
}

static void check_overlap_locked(struct fake *fb, const struct be_io *io)
{
	list_for_each(it, &fb->queue) {
		const struct fake_req *o = list_entry(it, struct fake_req, link);

		assert(o->kind != FAKE_WRITE || o->io->node != io->node ||
		       o->off + o->len <= io->off || io->off + io->len <= o->off);
	}
}

static struct fake_req *req_new_locked(struct fake *fb, enum fake_kind kind, struct be_io *io)
{
	struct fake_req *rq = calloc(1, sizeof *rq);

	assert(rq);
	fb->calls[kind]++;
	if (fb->nlog < FAKE_LOG_MAX)
		fb->log[fb->nlog++] = (struct fake_log){ kind,     io->off,       io->len,
							 io->niov, io->cred->uid, io->background };
	if (kind == FAKE_WRITE)
		check_overlap_locked(fb, io);
	*rq = (struct fake_req){ .io = io, .kind = kind, .off = io->off, .len = io->len };
	rq->call = fb->calls[kind];
	if (kind == FAKE_WRITE && fb->mode == FAKE_QUEUED) {
		rq->data = malloc(io->len);
		assert(rq->data);
		iov_gather(io, rq->data);
	}
	list_push_back(&fb->queue, &rq->link);
	return rq;
}

static enum be_submit submit(struct backend *be, enum fake_kind kind, struct be_io *io)
{
	struct fake *fb = fake_of(be);
	struct fake_req *rq;

	check_limits(fb, kind, io);
	if (fb->mode == FAKE_INLINE && fb->hook)
		fb->hook(fb, kind, fb->hook_arg);
	pthread_mutex_lock(&fb->lock);
	rq = req_new_locked(fb, kind, io);
	if (fb->mode != FAKE_INLINE) {
		fb->queued++;
		pthread_cond_broadcast(&fb->cond);
		pthread_mutex_unlock(&fb->lock);
		return BE_QUEUED;
	}
	run_locked(fb, rq);
	list_del(&rq->link);
	free(rq);
	pthread_cond_broadcast(&fb->cond);
	pthread_mutex_unlock(&fb->lock);
	return BE_DONE;
}

static enum be_submit fake_submit_read(struct backend *be, struct be_io *io)
{
	return submit(be, FAKE_READ, io);
}

static enum be_submit fake_submit_write(struct backend *be, struct be_io *io)
{
	return submit(be, FAKE_WRITE, io);
}

static enum be_submit fake_submit_commit(struct backend *be, struct be_io *io)
{
	return submit(be, FAKE_COMMIT, io);
}

static void fake_node_free(struct be_node *node)
{
	struct fake_node *n = node_of(node);
	struct fake *fb = fake_of(node->be);

	pthread_mutex_lock(&fb->lock);
	list_del(&n->link);
	pthread_mutex_unlock(&fb->lock);
	free(n->live);
	free(n->durable);
	free(n);
}

static const struct backend_ops fake_ops = { .scheme = "fake",
					     .node_free = fake_node_free,
					     .submit_read = fake_submit_read,
					     .submit_write = fake_submit_write,
					     .submit_commit = fake_submit_commit };

/* ---- ending what was queued ------------------------------------------ */

/* The nth (from 0) request that nobody runs, of a kind or FAKE_KINDS; counts down. */
static struct fake_req *pick_locked(struct fake *fb, enum fake_kind kind, unsigned nth)
{
	list_for_each(it, &fb->queue) {
		struct fake_req *rq = list_entry(it, struct fake_req, link);

		if (rq->running || (kind != FAKE_KINDS && rq->kind != kind) || nth--)
			continue;
		rq->running = true;
		fb->running++;
		return rq;
	}
	return NULL;
}

bool fake_complete_kind(struct fake *fb, enum fake_kind kind)
{
	struct fake_req *rq;

	pthread_mutex_lock(&fb->lock);
	rq = pick_locked(fb, kind, 0);
	if (rq)
		complete_unlock(fb, rq);
	else
		pthread_mutex_unlock(&fb->lock);
	return rq != NULL;
}

bool fake_complete_next(struct fake *fb)
{
	return fake_complete_kind(fb, FAKE_KINDS);
}

void fake_complete_all(struct fake *fb)
{
	while (fake_complete_next(fb))
		;
}

static void *worker(void *arg)
{
	struct fake *fb = arg;

	pthread_mutex_lock(&fb->lock);
	while (!fb->stop) {
		struct fake_req *rq = NULL;

		if (fb->queued) {
			fb->seed = fb->seed * 1664525 + 1013904223;
			rq = pick_locked(fb, FAKE_KINDS, (fb->seed >> 16) % fb->queued);
		}
		if (rq) {
			complete_unlock(fb, rq);
			pthread_mutex_lock(&fb->lock);
		} else {
			pthread_cond_wait(&fb->cond, &fb->lock);
		}
	}
	pthread_mutex_unlock(&fb->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------- */

struct fake *fake_new(enum fake_mode mode)
{
	struct fake *fb = calloc(1, sizeof *fb);

	assert(fb);
	fb->log = calloc(FAKE_LOG_MAX, sizeof *fb->log);
	assert(fb->log);
	fb->be.ops = &fake_ops;
	fb->be.limits = (struct be_limits){ .read_max = 1 << 20,
					    .read_pref = 1 << 20,
					    .write_max = 1 << 20,
					    .write_pref = 1 << 20,
					    .inflight_max = 64,
					    .name_max = 255,
					    .file_max = FAKE_FILE_MAX };
	fb->mode = mode;
	fb->stable = BE_FILE_SYNC;
	fb->verifier = 1;
	fb->seed = 1;
	list_init(&fb->queue);
	list_init(&fb->nodes);
	pthread_mutex_init(&fb->lock, NULL);
	pthread_cond_init(&fb->cond, NULL);
	for (int i = 0; mode == FAKE_THREAD && i < FAKE_THREADS; i++)
		assert(!pthread_create(&fb->threads[i], NULL, worker, fb));
	return fb;
}

void fake_free(struct fake *fb)
{
	pthread_mutex_lock(&fb->lock);
	while (fb->running)
		pthread_cond_wait(&fb->cond, &fb->lock);
	assert(list_empty(&fb->queue));
	fb->stop = true;
	pthread_cond_broadcast(&fb->cond);
	pthread_mutex_unlock(&fb->lock);
	for (int i = 0; fb->mode == FAKE_THREAD && i < FAKE_THREADS; i++)
		pthread_join(fb->threads[i], NULL);
	assert(list_empty(&fb->nodes));
	pthread_mutex_destroy(&fb->lock);
	pthread_cond_destroy(&fb->cond);
	free(fb->log);
	free(fb);
}

struct fake_node *fake_node_new(struct fake *fb, uint64_t size)
{
	struct fake_node *n = calloc(1, sizeof *n);

	assert(n && size <= FAKE_FILE_MAX);
	n->live = calloc(1, FAKE_FILE_MAX);
	n->durable = calloc(1, FAKE_FILE_MAX);
	assert(n->live && n->durable);
	for (uint64_t i = 0; i < size; i++)
		n->live[i] = n->durable[i] = fake_byte(i);
	n->size = n->durable_size = size;
	n->node.be = &fb->be;
	n->node.refs = 1;
	n->node.type = S_IFREG;
	pthread_mutex_lock(&fb->lock);
	n->node.ino = ++fb->next_ino;
	list_push_back(&fb->nodes, &n->link);
	pthread_mutex_unlock(&fb->lock);
	return n;
}

void fake_truncate(struct fake_node *n, uint64_t size)
{
	struct fake *fb = fake_of(n->node.be);

	pthread_mutex_lock(&fb->lock);
	if (size < n->size)
		memset(n->live + size, 0, n->size - size);
	n->size = size;
	make_durable(n);
	pthread_mutex_unlock(&fb->lock);
}

uint64_t fake_size(struct fake_node *n)
{
	struct fake *fb = fake_of(n->node.be);
	uint64_t size;

	pthread_mutex_lock(&fb->lock);
	size = n->size;
	pthread_mutex_unlock(&fb->lock);
	return size;
}

void fake_peek(struct fake_node *n, uint64_t off, void *buf, size_t len, bool durable)
{
	struct fake *fb = fake_of(n->node.be);

	pthread_mutex_lock(&fb->lock);
	memcpy(buf, (durable ? n->durable : n->live) + off, len);
	pthread_mutex_unlock(&fb->lock);
}

/* ---- what the test asks for and about ---------------------------------- */

void fake_fail(struct fake *fb, enum fake_kind kind, unsigned nth, unsigned count, int err)
{
	pthread_mutex_lock(&fb->lock);
	fb->fail_first[kind] = fb->calls[kind] + nth;
	fb->fail_last[kind] = count ? fb->calls[kind] + nth + count - 1 : 0;
	fb->fail_err[kind] = err;
	pthread_mutex_unlock(&fb->lock);
}

void fake_refuse_uid(struct fake *fb, uid_t uid)
{
	pthread_mutex_lock(&fb->lock);
	fb->refused_uid = uid;
	pthread_mutex_unlock(&fb->lock);
}

void fake_crash(struct fake *fb)
{
	pthread_mutex_lock(&fb->lock);
	fb->verifier++;
	list_for_each(it, &fb->nodes) {
		struct fake_node *n = list_entry(it, struct fake_node, link);

		memcpy(n->live, n->durable, FAKE_FILE_MAX);
		n->size = n->durable_size;
	}
	pthread_mutex_unlock(&fb->lock);
}

unsigned fake_queued(struct fake *fb)
{
	unsigned n;

	pthread_mutex_lock(&fb->lock);
	n = fb->queued;
	pthread_mutex_unlock(&fb->lock);
	return n;
}

static struct timespec deadline(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += WAIT_S;
	return ts;
}

static bool wait_for(struct fake *fb, const unsigned *value, unsigned n)
{
	struct timespec end = deadline();
	int rc = 0;
	bool ok;

	pthread_mutex_lock(&fb->lock);
	while (*value < n && !rc)
		rc = pthread_cond_timedwait(&fb->cond, &fb->lock, &end);
	ok = *value >= n;
	pthread_mutex_unlock(&fb->lock);
	return ok;
}

bool fake_wait_queued(struct fake *fb, unsigned n)
{
	return wait_for(fb, &fb->queued, n);
}

bool fake_wait_calls(struct fake *fb, enum fake_kind kind, unsigned n)
{
	return wait_for(fb, &fb->calls[kind], n);
}

unsigned fake_calls(struct fake *fb, enum fake_kind kind)
{
	unsigned n;

	pthread_mutex_lock(&fb->lock);
	n = fb->calls[kind];
	pthread_mutex_unlock(&fb->lock);
	return n;
}

struct fake_log fake_logged(struct fake *fb, enum fake_kind kind, unsigned nth)
{
	struct fake_log found = { 0 };
	unsigned i;

	pthread_mutex_lock(&fb->lock);
	for (i = 0; i < fb->nlog; i++)
		if (fb->log[i].kind == kind && !nth--)
			break;
	assert(i < fb->nlog);
	found = fb->log[i];
	pthread_mutex_unlock(&fb->lock);
	return found;
}

void fake_log_clear(struct fake *fb)
{
	pthread_mutex_lock(&fb->lock);
	fb->nlog = 0;
	memset(fb->calls, 0, sizeof fb->calls);
	memset(fb->fail_first, 0, sizeof fb->fail_first);
	memset(fb->fail_last, 0, sizeof fb->fail_last);
	pthread_mutex_unlock(&fb->lock);
}
