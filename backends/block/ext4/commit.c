/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c - seals transactions and writes them to the log; see journal.h
 *
 * The commit block is two writes. Its place is in the log write, all zeros; then, after the flush, its first sector alone,
 * which holds all that it says. So it cannot be torn: readers that take a checksum over all of it see it as a
 * whole or not at all. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jrn_impl.h"
#include "backends/block/ext4/mutant.h"
#include "backends/block/ext4/super_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum { IDLE_MS = 3600 * 1000 };

/* ---- memory of a sealed transaction ------------------------------------------- */

void image_drop_locked(struct jrn_image *im)
{
	struct sealed *s = im->in;

	if (!im->data)
		return;
	im->data = NULL;
	if (!--s->live) {
		free(s->area);
		s->area = NULL;
	}
}

static void revokes_free(struct list *revokes)
{
	struct list *l;

	while ((l = list_pop(revokes)))
		free(list_entry(l, struct jrn_revoke, link));
}

void sealed_free(struct sealed *s)
{
	if (!s)
		return;
	revokes_free(&s->revokes);
	free(s->area);
	free(s->images);
	free(s);
}

static uint32_t blocks_for(unsigned things, uint32_t per)
{
	return (things + per - 1) / per;
}

/* Where image i lies in the area, in blocks: behind the revokes and the descriptors up to its own. */
static size_t image_place(const struct jrn *j, const struct sealed *s, unsigned i)
{
	return (size_t)s->nrevoke_blocks + i / jlog_tags_per_block(&j->disk.format) + 1 + i;
}

static struct sealed *sealed_new(const struct jrn *j)
{
	const struct running *r = &j->run;
	uint32_t bs = j->super.block_size;
	struct sealed *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	list_init(&s->link);
	list_init(&s->revokes);
	s->tid = r->tid;
	s->nimages = r->nblocks;
	s->nrevokes = r->nrevokes;
	s->nrevoke_blocks = blocks_for(s->nrevokes, jlog_revokes_per_block(&j->disk.format));
	s->ndescriptors = blocks_for(s->nimages, jlog_tags_per_block(&j->disk.format));
	s->blocks = s->nrevoke_blocks + s->ndescriptors + s->nimages + 1;
	s->images = calloc(s->nimages ? s->nimages : 1, sizeof *s->images);
	s->area = bufs_memory(j->bufs, (size_t)s->blocks * bs);
	if (!s->images || !s->area) {
		sealed_free(s);
		return NULL;
	}
	return s;
}

/* ---- the seal ------------------------------------------------------------------- */

/* Handles that are open go on and end; none begins. */
static bool seal_begin(struct jrn *j)
{
	bool rc;

	mutex_lock(&j->lock);
	j->sealing = true;
	j->seals++;
	j->commit_wanted = false;
	while (j->run.handles && !j->error)
		cond_wait(&j->quiet, &j->lock);
	rc = !j->error;
	mutex_unlock(&j->lock);
	return rc;
}

static int seal_pack(struct jrn *j)
{
	struct txn t = { .j = j };
	int rc;

	if (!j->client || !j->client->pack)
		return 0;
	mutex_lock(&j->lock);
	t.tid = j->run.tid;
	t.credits = j->pack_credits;
	j->run.handles++;
	j->run.reserved += t.credits;
	mutex_unlock(&j->lock);
	rc = j->client->pack(j->client_arg, &t);
	txn_end(&t);
	return rc;
}

/* No handle is open, so nobody changes b: its bytes need no lock, but for the checksum that they get. */
static void seal_image(struct jrn *j, struct sealed *s, unsigned i, struct buf *b)
{
	uint32_t bs = j->super.block_size;
	struct jrn_image *im = &s->images[i];

	*im = (struct jrn_image){ .block = b->block, .in = s, .buf = b };
	list_init(&im->bucket);
	im->data = s->area + image_place(j, s, i) * bs;
	memcpy(im->data, b->data, bs);
	if (j->client && j->client->seal) {
		j->client->seal(j->client_arg, b, im->data);
		if (memcmp(im->data, b->data, bs)) {
			buf_lock(b);
			memcpy(b->data, im->data, bs);
			buf_unlock(b);
		}
	}
}

static struct sealed *seal_images(struct jrn *j)
{
	struct sealed *s = sealed_new(j);
	unsigned i = 0;

	if (!s)
		return NULL;
	list_for_each(l, &j->run.dirty)
		seal_image(j, s, i++, list_entry(l, struct buf, txn_link));
	assert(i == s->nimages);
	mutex_lock(&j->bufs->image_lock);
	for (i = 0; i < s->nimages; i++)
		image_insert_locked(j->bufs, &s->images[i]);
	s->live = s->nimages;
	mutex_unlock(&j->bufs->image_lock);
	return s;
}

/* What was dirty is clean, and the next transaction runs. s NULL: there was nothing. */
static void seal_end(struct jrn *j, struct sealed *s)
{
	mutex_lock(&j->lock);
	if (s) {
		struct list *l;

		while ((l = list_pop(&j->run.dirty)))
			list_entry(l, struct buf, txn_link)->dirty = false;
		list_splice(&s->revokes, &j->run.revokes);
		list_push_back(&j->log, &s->link);
		run_init(&j->run, s->tid + 1);
	} else if (!j->error) {
		j->empty_seal = j->seals;
		j->run.since_ms = 0;
	}
	j->sealing = false;
	cond_broadcast(&j->room);
	cond_broadcast(&j->settled);
	mutex_unlock(&j->lock);
	for (unsigned i = 0; s && i < s->nimages; i++) {
		buf_put(s->images[i].buf);
		s->images[i].buf = NULL;
	}
}

static void seal_count(struct jrn *j, uint64_t began_us, const struct sealed *s)
{
	uint64_t us = clock_us() - began_us;

	mutex_lock(&j->lock);
	if (us > j->counts.seal_us_max)
		j->counts.seal_us_max = us;
	j->counts.blocks += s->nimages;
	j->counts.revokes += s->nrevokes;
	mutex_unlock(&j->lock);
}

/* The transaction that ran, or NULL: nothing was in it, or the journal has stopped. */
static struct sealed *seal(struct jrn *j)
{
	struct sealed *s = NULL;
	uint64_t began;
	int rc;

	if (!seal_begin(j)) {
		seal_end(j, NULL);
		return NULL;
	}
	began = clock_us();
	rc = seal_pack(j);
	if (rc)
		jrn_fail(j, rc, "what changed could not be put into its blocks");
	/* No handle is open: nobody changes these. */
	if (!rc && (j->run.nblocks || j->run.nrevokes)) {
		s = seal_images(j);
		if (!s)
			jrn_fail(j, -ENOMEM, "no memory for a transaction");
		else
			seal_count(j, began, s);
	}
	seal_end(j, s);
	return s;
}

/* ---- the blocks of the log --------------------------------------------------------- */

static uint8_t *area_block(const struct jrn *j, const struct sealed *s, size_t i)
{
	return s->area + i * j->super.block_size;
}

static void put_revokes(struct jrn *j, struct sealed *s)
{
	const struct jlog_format *f = &j->disk.format;
	size_t bytes = jlog_revoke_bytes(f), at = 0;
	uint32_t per = jlog_revokes_per_block(f), i = 0;

	list_for_each(l, &s->revokes) {
		const struct jrn_revoke *v = list_entry(l, struct jrn_revoke, link);
		uint8_t *b = area_block(j, s, i / per);
		uint64_t wide = htobe64(v->block);
		uint32_t narrow = htobe32((uint32_t)v->block), used;

		if (i % per == 0) {
			memset(b, 0, f->block_size);
			jlog_header_put(b, JBD2_REVOKE, s->tid);
			at = sizeof(struct jbd2_revoke);
		}
		memcpy(b + at, bytes == 8 ? (void *)&wide : (void *)&narrow, bytes);
		at += bytes;
		used = htobe32((uint32_t)at);
		memcpy(b + sizeof(struct jbd2_header), &used, sizeof used);
		i++;
	}
	assert(i == s->nrevokes);
	for (i = 0; i < s->nrevoke_blocks; i++)
		jlog_tail_put(f, area_block(j, s, i));
}

/* In the log no image begins with the magic. Buffers that are read from the image meanwhile get it back. */
static bool escape(struct jrn *j, struct jrn_image *im)
{
	uint32_t magic = htobe32(JBD2_MAGIC);

	if (memcmp(im->data, &magic, sizeof magic) || MUTANT(escape_forgotten))
		return false;
	mutex_lock(&j->bufs->image_lock);
	im->escaped = true;
	memset(im->data, 0, sizeof magic);
	mutex_unlock(&j->bufs->image_lock);
	mutex_lock(&j->lock);
	j->counts.escapes++;
	mutex_unlock(&j->lock);
	return true;
}

static void put_descriptors(struct jrn *j, struct sealed *s)
{
	const struct jlog_format *f = &j->disk.format;
	uint32_t per = jlog_tags_per_block(f);
	uint8_t *d = NULL;
	size_t at = 0;

	for (unsigned i = 0; i < s->nimages; i++) {
		struct jrn_image *im = &s->images[i];
		struct jlog_tag tag = { .block = im->block };
		bool fits;

		if (i % per == 0) {
			d = im->data - f->block_size;
			memset(d, 0, f->block_size);
			jlog_header_put(d, JBD2_DESCRIPTOR, s->tid);
			at = sizeof(struct jbd2_header);
		} else {
			tag.flags |= JBD2_TAG_SAME_UUID;
		}
		if (escape(j, im))
			tag.flags |= JBD2_TAG_ESCAPED;
		if (f->csum)
			tag.checksum = jlog_tag_crc(f, s->tid, im->data);
		if (i % per == per - 1 || i == s->nimages - 1)
			tag.flags |= JBD2_TAG_LAST;
		fits = jlog_tag_put(f, d, &at, &tag);
		assert(fits);
		if (tag.flags & JBD2_TAG_LAST)
			jlog_tail_put(f, d);
	}
}

static void put_commit(struct jrn *j, uint32_t tid, uint8_t *block)
{
	const struct jlog_format *f = &j->disk.format;
	struct jbd2_commit c = { .pad = { 0 } };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	/* J5: a clock that is set back stands still. */
	if ((uint64_t)now.tv_sec > j->last_seconds ||
	    ((uint64_t)now.tv_sec == j->last_seconds && now.tv_nsec > j->last_nanoseconds)) {
		j->last_seconds = (uint64_t)now.tv_sec;
		j->last_nanoseconds = (uint32_t)now.tv_nsec;
	}
	c.seconds = htobe64(j->last_seconds);
	c.nanoseconds = htobe32(j->last_nanoseconds);
	memset(block, 0, f->block_size);
	memcpy(block, &c, sizeof c);
	jlog_header_put(block, JBD2_COMMIT, tid);
	if (f->csum) {
		uint32_t crc =
			htobe32(jlog_block_crc(f, block, offsetof(struct jbd2_commit, checksum)));

		memcpy(block + offsetof(struct jbd2_commit, checksum), &crc, sizeof crc);
	}
}

/* ---- writing it -------------------------------------------------------------------- */

/* Waits until the log has room for s, and gives it its place. */
static int place(struct jrn *j, struct sealed *s)
{
	int rc;

	if (s->blocks > j->log_blocks / JRN_TRANSACTION_PART)
		return -ENOSPC; /* pack() took more than it had set aside */
	mutex_lock(&j->lock);
	while (!j->error && j->used + s->blocks > j->log_blocks) {
		j->space_wanted = true;
		cond_signal(&j->home_work);
		cond_wait(&j->settled, &j->lock);
	}
	rc = j->error;
	if (!rc) {
		s->pos = j->head;
		j->head = jlog_next(&j->disk, j->head, s->blocks);
		j->used += s->blocks;
	}
	mutex_unlock(&j->lock);
	return rc;
}

/* All but the first sector of the commit block, which is zero. */
static int write_blocks(struct jrn *j, struct sealed *s, const uint8_t *commit)
{
	unsigned cap = j->super.njournal + 4;
	AUTO_FREE struct jlog_run *runs = calloc(cap, sizeof *runs);
	AUTO_FREE struct iovec *iov = calloc(cap, sizeof *iov);
	uint8_t *last = area_block(j, s, s->blocks - 1);
	int n;

	if (!runs || !iov)
		return -ENOMEM;
	memset(last, 0, j->super.block_size);
	if (MUTANT(commit_early))
		memcpy(last, commit, j->super.block_size);
	/* The rule that is broken then is half of what keeps readers from a torn one. */
	n = jrn_log_runs(j, s->pos, s->area, s->blocks - (MUTANT(torn_commit_accepted) ? 1 : 0),
			 runs, iov, cap);
	if (n < 0)
		return n;
	if (MUTANT(commit_early) && runs[n - 1].len > j->super.block_size) {
		size_t bs = j->super.block_size;

		runs[n - 1].len -= bs;
		iov[n - 1].iov_len -= bs;
		iov[n] = (struct iovec){ .iov_base = last, .iov_len = bs };
		runs[n] = (struct jlog_run){ .off = runs[n - 1].off + runs[n - 1].len,
					     .len = bs,
					     .iov = &iov[n],
					     .niov = 1 };
		n++;
	}
	return jlog_write(j->dev, runs, (unsigned)n, 0);
}

static uint64_t commit_off(const struct jrn *j, const struct sealed *s)
{
	uint32_t pos = jlog_next(&j->disk, s->pos, s->blocks - 1), run;

	return ext4_journal_block(&j->super, pos, &run) * j->super.block_size;
}

static int write_commit(struct jrn *j, const struct sealed *s, const uint8_t *commit)
{
	size_t len = MUTANT(torn_commit_accepted) ? j->super.block_size : j->dev->limits.block;

	return bd_write(j->dev, commit, len, commit_off(j, s), MUTANT(no_fua_commit) ? 0 : BD_FUA);
}

static int commit_before_flush_done(struct jrn *j, struct sealed *s, const uint8_t *commit)
{
	struct early flush = { .rq = { .op = BD_FLUSH } };
	int rc = jrn_log_begin(j, s);

	if (!rc)
		rc = early_begin(j->dev, &flush);
	return rc ? rc : early_end(&flush, write_commit(j, s, commit));
}

static void tell_client(struct jrn *j, uint32_t tid)
{
	if (j->client && j->client->committed)
		j->client->committed(j->client_arg, tid);
}

/* Somebody is told already. */
static int told_before_fua(struct jrn *j, const struct sealed *s, uint8_t *commit)
{
	struct iovec iov = { .iov_base = commit, .iov_len = j->dev->limits.block };
	struct early write = { .rq = { .op = BD_WRITE,
				       .flags = BD_FUA,
				       .off = commit_off(j, s),
				       .len = iov.iov_len,
				       .iov = &iov,
				       .niov = 1 } };
	int rc = early_begin(j->dev, &write);

	if (rc)
		return rc;
	if (MUTANT(freed_before_fua))
		tell_client(j, s->tid);
	mutex_lock(&j->lock);
	if (MUTANT(ack_before_fua))
		j->durable = s->tid;
	cond_broadcast(&j->settled);
	mutex_unlock(&j->lock);
	return early_end(&write, 0);
}

static int write_home_now(struct jrn *j, const struct sealed *s)
{
	uint32_t bs = j->super.block_size;
	int rc = 0;

	for (unsigned i = 0; !rc && i < s->nimages; i++)
		rc = bd_write(j->dev, s->images[i].data, bs, s->images[i].block * bs, 0);
	return rc;
}

/* J1. The flush covers the log's blocks, which are done, and all that was done before them. */
static int write_transaction(struct jrn *j, struct sealed *s)
{
	uint32_t bs = j->super.block_size;
	AUTO_FREE uint8_t *commit = bufs_memory(j->bufs, bs);
	int rc = commit ? place(j, s) : -ENOMEM;

	if (rc)
		return rc;
	if (MUTANT(checkpoint_before_commit))
		rc = write_home_now(j, s);
	put_revokes(j, s);
	put_descriptors(j, s);
	put_commit(j, s->tid, commit);
	if (!rc)
		rc = write_blocks(j, s, commit);
	if (!rc && MUTANT(commit_before_flush_done))
		return commit_before_flush_done(j, s, commit);
	if (!rc)
		rc = MUTANT(no_flush_before_commit) ? jrn_may_write(j) : jrn_flush(j);
	if (!rc)
		rc = jrn_log_begin(j, s);
	if (!rc && (MUTANT(ack_before_fua) || MUTANT(freed_before_fua)))
		return told_before_fua(j, s, commit);
	return rc ? rc : write_commit(j, s, commit);
}

/* ---- durable ------------------------------------------------------------------------ */

/* Older images of im's block are void. One on its way home stays until it is there. */
static void supersede_locked(struct jrn *j, uint64_t block, uint32_t tid)
{
	list_for_each(l, image_bucket_locked(j->bufs, block)) {
		struct jrn_image *im = list_entry(l, struct jrn_image, bucket);

		if (im->block == block && im->in->tid != tid && !im->homing)
			image_drop_locked(im);
	}
}

/* s is durable, the next one is not sealed yet: so all other images are older. */
static void settle_images(struct jrn *j, struct sealed *s)
{
	uint32_t magic = htobe32(JBD2_MAGIC);

	mutex_lock(&j->bufs->image_lock);
	for (unsigned i = 0; i < s->nimages; i++) {
		struct jrn_image *im = &s->images[i];

		if (im->escaped)
			memcpy(im->data, &magic, sizeof magic);
		im->escaped = false;
		supersede_locked(j, im->block, s->tid);
	}
	list_for_each(l, &s->revokes)
		supersede_locked(j, list_entry(l, struct jrn_revoke, link)->block, s->tid);
	mutex_unlock(&j->bufs->image_lock);
}

static bool revoked_homing(struct jrn *j, const struct list *revokes)
{
	bool homing = false;

	mutex_lock(&j->bufs->image_lock);
	list_for_each(l, revokes) {
		uint64_t block = list_entry(l, struct jrn_revoke, link)->block;

		list_for_each(m, image_bucket_locked(j->bufs, block)) {
			const struct jrn_image *im = list_entry(m, struct jrn_image, bucket);

			homing |= im->block == block && im->homing;
		}
	}
	mutex_unlock(&j->bufs->image_lock);
	return homing;
}

static void become_durable(struct jrn *j, struct sealed *s)
{
	uint32_t tid = s->tid;
	struct list revokes;
	int rc;

	settle_images(j, s);
	list_init(&revokes);
	mutex_lock(&j->lock);
	list_splice(&revokes, &s->revokes);
	/* From here on s is the home thread's, which may free it as soon as the lock is given up. */
	s->durable = true;
	j->durable = tid;
	j->counts.commits++;
	cond_broadcast(&j->settled);
	if (jrn_home_due_locked(j))
		cond_signal(&j->home_work);
	/* J4 */
	while (!j->error && revoked_homing(j, &revokes))
		cond_wait(&j->settled, &j->lock);
	rc = j->error;
	mutex_unlock(&j->lock);
	revokes_free(&revokes);
	if (!rc && !MUTANT(freed_reused_early))
		tell_client(j, tid);
}

static void commit_one(struct jrn *j)
{
	struct sealed *s = seal(j);
	int rc;

	if (!s)
		return;
	if (MUTANT(freed_reused_early))
		tell_client(j, s->tid);
	rc = write_transaction(j, s);
	if (rc)
		jrn_fail(j, rc, "a transaction could not be written to the log");
	else
		become_durable(j, s);
}

/* ---- the thread ----------------------------------------------------------------------- */

/* J7: the next one who opens the file system is told. Nothing hangs on it. */
static void note_error(struct jrn *j)
{
	bool note;

	mutex_lock(&j->lock);
	note = j->error && !j->abandoned && !j->noted;
	j->noted = j->error;
	while (note && j->super_busy)
		cond_wait(&j->settled, &j->lock);
	if (note) {
		j->super_busy = true;
		j->disk.raw.error = htobe32((uint32_t)j->error);
	}
	mutex_unlock(&j->lock);
	if (!note)
		return;
	if (jlog_super_write(j->dev, &j->super, &j->disk, BD_FUA))
		log_warn("journal: its error could not be noted in its superblock");
	mutex_lock(&j->lock);
	j->super_busy = false;
	cond_broadcast(&j->settled);
	mutex_unlock(&j->lock);
}

/* Until there is something to commit: true; or the end. */
static bool wait_for_work(struct jrn *j)
{
	bool due = false;

	mutex_lock(&j->lock);
	while (!due && !j->stop && (!j->error || j->noted)) {
		uint64_t now = clock_ms(), until = now + IDLE_MS;

		if (j->run.since_ms && !j->error)
			until = j->run.since_ms + j->commit_ms;
		due = !j->error && (j->commit_wanted || until <= now);
		if (!due)
			cond_wait_until(&j->commit_work, &j->lock, until);
	}
	due = due || (!j->stop && j->error && !j->noted);
	mutex_unlock(&j->lock);
	return due;
}

void *jrn_commit_main(void *arg)
{
	struct jrn *j = arg;

	pthread_setname_np(pthread_self(), "ext4-commit");
	while (wait_for_work(j)) {
		if (jrn_may_write(j))
			note_error(j);
		else
			commit_one(j);
	}
	if (jrn_may_write(j))
		note_error(j);
	return NULL;
}
