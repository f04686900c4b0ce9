/* SPDX-License-Identifier: Apache-2.0 */
/* layer_record.c - writes down what happens to a device; see layers.h, and record.h for the format
 *
 *   submit: FLUSH ----> slot queued ----> below        anything else ----> below
 *   done:   io queued (order of completion)
 *   thread: writes what is queued, in its order, then the head, and only then lets each io end
 *
 * What a reader may conclude from the order of entries:
 *  R1 What stands before a flush was done by the device below before that flush was sent to it. So the slot is queued
 *     first and the flush sent afterwards: a write that ends between the two stands behind the slot, and is
 *     not taken for durable although it may be.
 *  R2 What was done, for the layer's user, before he submitted a flush stands before that flush.
 *  R3 Nobody hears that a request is done before its entry is in the log, so a mark stands behind all that was
 *     done before it was made. Whoever is killed leaves a log that ends somewhere, and lacks nothing before that.
 *  R4 A flush is in the log only when it was done without an error. Until then its place is kept by an
 *     entry that says nothing (no flags, no sectors), which is what a failed one leaves.
 *  R5 A write that was submitted while flushes were not done may have reached the disk before what they cover. It
 *     stands behind those it is not covered by, and its entry counts how many of them it may have overtaken.
 * A request that failed is not in the log: what it left is not known. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/block/layers_impl.h"
#include "backends/block/record.h"
#include "common/log.h"
#include "common/spec.h"

#define MARKS_MAX 4096u /* queued; who marks more waits for the thread */

static_assert(sizeof(struct record_super) == 32, "as the kernel's, but for padding");
static_assert(sizeof(struct record_entry) == 32, "as the kernel's");
static_assert(sizeof(struct record_entry) + BD_MARK_MAX <= BD_BLOCK_MIN, "a mark is one sector");

enum job_kind { JOB_IO, JOB_SLOT, JOB_MARK };
enum mine { MINE_FLUSH, MINE_COVERED, MINE_SPAN, MINE_SLOT_AT }; /* of layer_io.mine */

struct mark {
	struct layer_job job;
	size_t len;
	char text[BD_MARK_MAX];
};

struct record {
	struct bd_layer l;
	/* set at start, then read only */
	int fd;
	uint32_t sector;
	/* owned by the layer's thread */
	uint64_t at; /* end of the log */
	uint64_t entries;
	uint8_t head[BD_BLOCK_MAX];
	/* guarded by l.lock */
	uint64_t flushes; /* slots that were queued */
	uint64_t covered; /* slots up to the newest that was done: what stands before them is durable (R1) */
	unsigned nmarks;
	struct cond fewer; /* marks */
	int error;         /* of the log */
};

/* ---- writing, on the thread ------------------------------------------------ */

/* All of iov at off; changes iov. */
static int write_at(int fd, struct iovec *iov, int n, uint64_t off)
{
	while (n > 0) {
		ssize_t done = pwritev(fd, iov, n, (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		off += (uint64_t)done;
		for (; n > 0 && (size_t)done >= iov->iov_len; iov++, n--)
			done -= (ssize_t)iov->iov_len;
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

static int put_at(int fd, void *p, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = p, .iov_len = len };

	return write_at(fd, &iov, 1, off);
}

/* Appends one entry: e in the head's sector, text behind it, then n pieces of data. */
static int append(struct record *r, const struct record_entry *e, const char *text,
		  const struct iovec *data, unsigned n)
{
	struct record_entry le = { .sector = htole64(e->sector),
				   .nr_sectors = htole64(e->nr_sectors),
				   .flags = htole64(e->flags),
				   .data_len = htole64(e->data_len) };
	struct iovec iov[1 + BD_IOV_MAX] = { { .iov_base = r->head, .iov_len = r->sector } };
	uint64_t len = r->sector;
	int rc;

	memset(r->head, 0, r->sector);
	memcpy(r->head, &le, sizeof le);
	if (text)
		memcpy(r->head + sizeof le, text, e->data_len);
	for (unsigned i = 0; i < n; i++) {
		iov[1 + i] = data[i];
		len += data[i].iov_len;
	}
	rc = write_at(r->fd, iov, 1 + (int)n, r->at);
	if (rc)
		return rc;
	r->at += len;
	r->entries++;
	return 0;
}

/* Zeros are a hole of the log, which was empty at first. */
static int append_zeros(struct record *r, struct record_entry e, uint64_t len)
{
	int rc = 0;

	while (len && !rc) {
		uint64_t piece = len < RECORD_ZERO_MAX ? len : RECORD_ZERO_MAX;

		e.nr_sectors = piece / 512;
		rc = append(r, &e, NULL, NULL, 0);
		if (!rc) {
			r->at += piece;
			rc = ftruncate(r->fd, (off_t)r->at) ? -errno : 0;
		}
		e.sector += e.nr_sectors;
		len -= piece;
	}
	return rc;
}

/* The flush of this io was done: its slot becomes an entry. */
static int fill_slot(struct record *r, const struct layer_io *io)
{
	struct record_entry e = { .flags = htole64(RECORD_FLUSH) };

	return put_at(r->fd, &e, sizeof e, io->mine[MINE_SLOT_AT]);
}

static int log_io(struct record *r, const struct layer_io *io)
{
	const struct bd_req *rq = io->rq;
	struct record_entry e = { .sector = rq->off / 512,
				  .nr_sectors = rq->len / 512,
				  .flags = rq->flags & BD_FUA ? RECORD_FUA : 0,
				  .data_len = io->mine[MINE_SPAN] };

	if (io->low.result)
		return 0;
	switch (rq->op) {
	case BD_WRITE:
		return append(r, &e, NULL, rq->iov, rq->niov);
	case BD_ZERO:
		return append_zeros(r, e, rq->len);
	case BD_DISCARD:
		e.flags = RECORD_DISCARD;
		return append(r, &e, NULL, NULL, 0);
	case BD_FLUSH:
		return fill_slot(r, io);
	default:
		return 0;
	}
}

static int log_job(struct record *r, struct layer_job *job)
{
	struct record_entry e = { .flags = 0 };

	if (job->kind == JOB_SLOT) {
		CONTAINER_OF(job, struct layer_io, extra)->mine[MINE_SLOT_AT] = r->at;
		return append(r, &e, NULL, NULL, 0);
	}
	if (job->kind == JOB_MARK) {
		struct mark *m = CONTAINER_OF(job, struct mark, job);

		e.flags = RECORD_MARK;
		e.data_len = m->len;
		return append(r, &e, m->text, NULL, 0);
	}
	return log_io(r, CONTAINER_OF(job, struct layer_io, job));
}

static int write_head(struct record *r)
{
	struct record_super s = { .magic = htole64(RECORD_MAGIC),
				  .version = htole64(RECORD_VERSION),
				  .nr_entries = htole64(r->entries),
				  .sector_size = htole32(r->sector) };

	return put_at(r->fd, &s, sizeof s, 0);
}

static void log_failed(struct record *r, int error)
{
	log_error("record: the log ends after entries=%llu bytes=%llu err=%s: the device fails",
		  (unsigned long long)r->entries, (unsigned long long)r->at,
		  strerrorname_np(-error));
	mutex_lock(&r->l.lock);
	r->error = error;
	mutex_unlock(&r->l.lock);
	bd_fail(&r->l.bd, -EIO);
}

static void mark_free(struct record *r, struct mark *m)
{
	mutex_lock(&r->l.lock);
	if (r->nmarks-- == MARKS_MAX)
		cond_broadcast(&r->fewer);
	mutex_unlock(&r->l.lock);
	free(m);
}

static void record_work(struct bd_layer *l, struct list *jobs)
{
	struct record *r = (struct record *)l;
	struct list *it;
	int rc = r->error;

	if (!rc) {
		for (it = jobs->next; it != jobs && !rc; it = it->next)
			rc = log_job(r, list_entry(it, struct layer_job, link));
		if (!rc)
			rc = write_head(r);
		if (rc)
			log_failed(r, rc);
	}
	while ((it = list_pop(jobs))) {
		struct layer_job *job = list_entry(it, struct layer_job, link);
		struct layer_io *io = CONTAINER_OF(job, struct layer_io, job);

		if (job->kind == JOB_MARK)
			mark_free(r, CONTAINER_OF(job, struct mark, job));
		else if (job->kind == JOB_IO)
			layer_end(io, io->low.result || !rc ? io->low.result : -EIO);
	}
}

/* ---- order, on all threads ------------------------------------------------- */

static void slot_queue_locked(struct record *r, struct layer_io *io)
{
	io->extra.kind = JOB_SLOT;
	io->mine[MINE_FLUSH] = ++r->flushes;
	layer_queue_locked(&r->l, &io->extra, 0);
}

static void record_submit(struct bd_layer *l, struct layer_io *io)
{
	struct record *r = (struct record *)l;

	mutex_lock(&l->lock);
	if (io->rq->op == BD_FLUSH)
		slot_queue_locked(r, io); /* R1 */
	else
		io->mine[MINE_COVERED] = r->covered;
	mutex_unlock(&l->lock);
	layer_send(io);
}

static void record_done(struct bd_layer *l, struct layer_io *io)
{
	struct record *r = (struct record *)l;

	if (io->rq->op == BD_READ) {
		layer_end(io, io->low.result);
		return;
	}
	mutex_lock(&l->lock);
	if (io->rq->op != BD_FLUSH)
		io->mine[MINE_SPAN] = r->flushes - io->mine[MINE_COVERED];
	else if (!io->low.result && io->mine[MINE_FLUSH] > r->covered)
		r->covered = io->mine[MINE_FLUSH];
	layer_queue_locked(l, &io->job, 0); /* R2, R3 */
	mutex_unlock(&l->lock);
}

static bool on_own_thread(const struct record *r)
{
	return pthread_equal(pthread_self(), r->l.thread);
}

int bd_record_mark(struct bd *dev, const char *text)
{
	struct record *r = (struct record *)layer_find(dev, &bd_layer_record);
	size_t len = strlen(text);
	struct mark *m;
	int rc;

	if (!r || len > BD_MARK_MAX)
		return -EINVAL;
	m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	m->job.kind = JOB_MARK;
	m->len = len;
	memcpy(m->text, text, len);
	mutex_lock(&r->l.lock);
	/* The thread takes up what is queued, always: a wait ends. A done() that marks runs on it and may not wait. */
	while (r->nmarks >= MARKS_MAX && !on_own_thread(r))
		cond_wait(&r->fewer, &r->l.lock);
	rc = r->error ? -EIO : 0;
	if (!rc) {
		r->nmarks++;
		layer_queue_locked(&r->l, &m->job, 0);
	}
	mutex_unlock(&r->l.lock);
	if (rc)
		free(m);
	return rc;
}

/* ---- opening ----------------------------------------------------------------- */

static void record_free(struct bd_layer *l)
{
	struct record *r = (struct record *)l;

	if (r->fd >= 0)
		close(r->fd);
	cond_done(&r->fewer);
}

int bd_record_open(struct bd *below, int log_fd_take, struct bd **out, struct err *err)
{
	AUTO_FD int fd = log_fd_take;
	struct record *r = calloc(1, sizeof *r);
	int rc;

	if (!r)
		return err_set(err, -ENOMEM, "record: out of memory");
	layer_init(&r->l, &bd_layer_record, below);
	/* So that the core hands down each flush and FUA as it is. */
	r->l.bd.limits.volatile_cache = r->l.bd.limits.fua = true;
	r->fd = take_fd(&fd);
	r->sector = below->limits.block;
	r->at = r->sector;
	cond_init(&r->fewer);
	rc = ftruncate(r->fd, 0) || ftruncate(r->fd, r->sector) ? -errno : write_head(r);
	if (rc)
		err_set(err, rc, "record: cannot write the log: %s", strerror(-rc));
	else
		rc = layer_start(&r->l, err);
	if (rc) {
		layer_drop(&r->l);
		return rc;
	}
	*out = &r->l.bd;
	return 0;
}

static int record_open(char **params, struct bd *below, struct bd **out, struct err *err)
{
	const char *path = NULL;
	int fd;

	for (; *params; params++) {
		char *value = spec_value(*params);

		if (!value || strcmp(*params, "file") != 0 || !*value)
			return err_set(err, -EINVAL, "record: '%.100s' is not file=PATH", *params);
		path = value;
	}
	if (!path)
		return err_set(err, -EINVAL, "record: no file=PATH for the log");
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "record: cannot write %.300s: %s", path,
			       strerror(errno));
	return bd_record_open(below, fd, out, err);
}

const struct bd_layer_type bd_layer_record = {
	.name = "record",
	.open = record_open,
	.submit = record_submit,
	.done = record_done,
	.work = record_work,
	.free = record_free,
};
