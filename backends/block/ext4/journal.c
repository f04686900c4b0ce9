/* SPDX-License-Identifier: Apache-2.0 */
/* journal.c - the journal's life, its waits and its errors; see journal.h */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jrn_impl.h"
#include "backends/block/ext4/mutant.h"
#include "backends/block/ext4/recover_impl.h"
#include "backends/block/ext4/super_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

/* ---- errors ---------------------------------------------------------------- */

static void wake_all_locked(struct jrn *j)
{
	cond_broadcast(&j->room);
	cond_broadcast(&j->quiet);
	cond_broadcast(&j->commit_work);
	cond_broadcast(&j->home_work);
	cond_broadcast(&j->settled);
}

void jrn_fail(struct jrn *j, int error, const char *what)
{
	bool first;

	mutex_lock(&j->lock);
	first = !j->error;
	if (first)
		j->error = error;
	mutex_unlock(&j->lock);
	if (first) {
		log_error("journal: stopped: %s: %s", what, strerror(-error));
		if (j->client && j->client->aborted)
			j->client->aborted(j->client_arg, error);
	}
	mutex_lock(&j->lock);
	wake_all_locked(j);
	mutex_unlock(&j->lock);
}

int jrn_may_write(struct jrn *j)
{
	int rc;

	mutex_lock(&j->lock);
	rc = j->error;
	mutex_unlock(&j->lock);
	return rc;
}

int jrn_error(struct jrn *j)
{
	return jrn_may_write(j);
}

/* ---- flush and superblock ---------------------------------------------------- */

static bool flush_begins_locked(struct jrn *j, uint64_t *number)
{
	if (j->flushing)
		return false;
	j->flushing = true;
	*number = ++j->flushes_begun;
	j->counts.flushes++;
	return true;
}

int jrn_flush(struct jrn *j)
{
	uint64_t wanted, mine;
	int rc;

	if (!j->dev->limits.volatile_cache)
		return jrn_may_write(j);
	mutex_lock(&j->lock);
	wanted = j->flushes_begun + 1;
	while (!j->error && j->flushes_done < wanted) {
		if (!flush_begins_locked(j, &mine)) {
			cond_wait(&j->settled, &j->lock);
			continue;
		}
		mutex_unlock(&j->lock);
		rc = bd_flush(j->dev);
		if (rc)
			jrn_fail(j, rc, "the device failed to flush");
		mutex_lock(&j->lock);
		j->flushing = false;
		if (!rc)
			j->flushes_done = mine;
		cond_broadcast(&j->settled);
	}
	rc = j->error;
	mutex_unlock(&j->lock);
	return rc;
}

int jrn_barrier(struct jrn *j)
{
	return jrn_flush(j);
}

static void super_take(struct jrn *j)
{
	mutex_lock(&j->lock);
	while (j->super_busy)
		cond_wait(&j->settled, &j->lock);
	j->super_busy = true;
	mutex_unlock(&j->lock);
}

static void super_give(struct jrn *j)
{
	mutex_lock(&j->lock);
	j->super_busy = false;
	cond_broadcast(&j->settled);
	mutex_unlock(&j->lock);
}

/* With super_busy. */
static int super_write(struct jrn *j, uint32_t start, uint32_t sequence, unsigned flags)
{
	int rc = jrn_may_write(j);

	if (rc)
		return rc;
	j->disk.start = start;
	j->disk.sequence = sequence;
	return jlog_super_write(j->dev, &j->super, &j->disk, flags);
}

int jrn_log_begin(struct jrn *j, struct sealed *s)
{
	int rc;

	mutex_lock(&j->lock);
	s->begun = !j->log_empty;
	mutex_unlock(&j->lock);
	if (s->begun)
		return 0;
	super_take(j);
	rc = super_write(j, s->pos, s->tid, BD_FUA);
	mutex_lock(&j->lock);
	s->begun = !rc;
	j->log_empty = rc;
	mutex_unlock(&j->lock);
	super_give(j);
	return rc;
}

int jrn_log_tail(struct jrn *j, const struct sealed *last, unsigned flags)
{
	const struct sealed *next = NULL;
	uint32_t start = 0;
	int rc;

	super_take(j);
	mutex_lock(&j->lock);
	if (last->link.next != &j->log)
		next = list_entry(last->link.next, struct sealed, link);
	if (next && next->begun)
		start = next->pos;
	j->log_empty = !start;
	mutex_unlock(&j->lock);
	rc = super_write(j, start, start ? last->tid + 1 : last->tid, flags);
	super_give(j);
	return rc;
}

/* ---- where the log lies --------------------------------------------------------- */

int jrn_log_runs(const struct jrn *j, uint32_t pos, uint8_t *mem, uint32_t n, struct jlog_run *runs,
		 struct iovec *iov, unsigned cap)
{
	uint32_t bs = j->super.block_size;
	unsigned count = 0;

	while (n) {
		uint32_t run;
		uint64_t phys = ext4_journal_block(&j->super, pos, &run);

		if (count == cap)
			return -E2BIG;
		if (run > j->disk.total - pos)
			run = j->disk.total - pos;
		if (run > n)
			run = n;
		iov[count] = (struct iovec){ .iov_base = mem, .iov_len = (size_t)run * bs };
		runs[count] = (struct jlog_run){
			.off = phys * bs, .len = (size_t)run * bs, .iov = &iov[count], .niov = 1
		};
		count++;
		mem += (size_t)run * bs;
		pos = jlog_next(&j->disk, pos, run);
		n -= run;
	}
	return (int)count;
}

/* ---- waiting --------------------------------------------------------------------- */

static void want_commit_locked(struct jrn *j)
{
	j->commit_wanted = true;
	cond_signal(&j->commit_work);
}

/* Done when tid is durable, or when a seal that began after the call found that the running transaction is empty: then all
 * before it is durable, and it holds nothing of the caller's. */
static int wait_locked(struct jrn *j, uint32_t tid)
{
	uint64_t seals = j->seals;
	bool asked = false;

	while (!j->error && !tid_geq(j->durable, tid) && j->empty_seal <= seals) {
		if (tid_gt(tid, j->run.tid))
			return -EINVAL;
		/* Asked once: a commit that is under way already takes only what is in it. */
		if (tid == j->run.tid && !j->sealing && !asked) {
			want_commit_locked(j);
			asked = true;
		}
		cond_wait(&j->settled, &j->lock);
	}
	return j->error;
}

/* Nothing was committed where nothing had changed: what was done on the device before is durable all the same. */
static int wait_unlock(struct jrn *j, uint32_t tid)
{
	int rc = wait_locked(j, tid);
	bool empty = !rc && !tid_geq(j->durable, tid);

	mutex_unlock(&j->lock);
	return empty ? jrn_flush(j) : rc;
}

int jrn_wait(struct jrn *j, uint32_t tid)
{
	mutex_lock(&j->lock);
	return wait_unlock(j, tid);
}

int jrn_commit(struct jrn *j)
{
	mutex_lock(&j->lock);
	return wait_unlock(j, j->run.tid);
}

bool jrn_durable(struct jrn *j, uint32_t tid)
{
	bool is;

	mutex_lock(&j->lock);
	is = tid_geq(j->durable, tid);
	mutex_unlock(&j->lock);
	return is;
}

static bool log_has_locked(const struct jrn *j, uint32_t tid)
{
	return !list_empty(&j->log) && tid_geq(tid, list_first(&j->log, struct sealed, link)->tid);
}

int jrn_checkpoint(struct jrn *j)
{
	uint32_t tid;
	int rc;

	mutex_lock(&j->lock);
	tid = j->run.tid;
	rc = wait_locked(j, tid);
	while (!rc && log_has_locked(j, tid)) {
		if (!j->home_asked || tid_gt(tid, j->home_upto)) {
			j->home_asked = true;
			j->home_upto = tid;
		}
		cond_signal(&j->home_work);
		cond_wait(&j->settled, &j->lock);
		rc = j->error;
	}
	mutex_unlock(&j->lock);
	return rc;
}

void jrn_counts(struct jrn *j, struct jrn_counts *out)
{
	mutex_lock(&j->lock);
	*out = j->counts;
	out->running = j->run.tid;
	out->durable = j->durable;
	out->log_used = j->used;
	out->log_blocks = j->log_blocks;
	mutex_unlock(&j->lock);
}

/* ---- open -------------------------------------------------------------------------- */

/* How many blocks may a transaction hold, with descriptors and a commit block, in its part of the log? */
static uint32_t credits_max(const struct jlog_format *f, uint32_t log_blocks)
{
	uint32_t part = log_blocks / JRN_TRANSACTION_PART, per = jlog_tags_per_block(f);
	uint32_t n = part;

	while (n && n + n / per + 3 > part)
		n--;
	return n;
}

static int check_device(const struct jrn_conf *conf, struct err *err)
{
	const struct bd_limits *l = &conf->dev->limits;

	if (l->align > conf->super->block_size)
		return err_set(
			err, -EINVAL,
			"the device wants memory in pieces of %u bytes, file system blocks have %u",
			l->align, conf->super->block_size);
	if (conf->bufs->conf.block_size != conf->super->block_size)
		return err_set(err, -EINVAL,
			       "buffers of %u bytes for a file system with blocks of %u",
			       conf->bufs->conf.block_size, conf->super->block_size);
	if (l->readonly)
		return err_set(err, -EROFS, "the device can only be read");
	return 0;
}

/* What this mount writes, and with which number it goes on: nothing of it is on the disk yet. */
static int open_log(struct jrn *j, bool needs_recovery, struct err *err)
{
	struct jlog_super *l = &j->disk;
	uint32_t next;
	int rc = jlog_super_read(j->dev, &j->super, l, err);

	if (rc)
		return rc;
	if (l->start && needs_recovery)
		return err_set(err, -EUCLEAN,
			       "the journal holds something: it has to be recovered");
	if (be32toh(l->raw.h.type) != JBD2_SUPER_V2)
		return err_set(err, -EINVAL, "a journal of version 1 cannot be written");
	if (l->total < JBD2_MIN_BLOCKS)
		return err_set(err, -EINVAL,
			       "a journal of %u blocks is too small, the least are %u", l->total,
			       JBD2_MIN_BLOCKS);
	rc = jlog_find_next(j->dev, &j->super, l, &next, err);
	if (rc)
		return rc;
	if (MUTANT(sequence_restarted))
		next = 1;
	l->raw.incompat =
		htobe32(JBD2_INCOMPAT_REVOKE | (j->super.bit64 ? JBD2_INCOMPAT_64BIT : 0) |
			(j->super.csum ? JBD2_INCOMPAT_CSUM_V3 : 0));
	l->raw.compat &= htobe32(~JBD2_COMPAT_CHECKSUM);
	l->raw.checksum_type = j->super.csum ? JBD2_CRC32C : 0;
	l->raw.head = 0;
	jlog_format_of(&l->raw, &l->format);
	l->start = 0;
	l->sequence = next - 1;
	run_init(&j->run, next);
	j->durable = next - 1;
	j->head = l->first;
	j->log_blocks = l->total - l->first;
	j->credits_max = credits_max(&l->format, j->log_blocks);
	if (l->raw.error)
		log_warn("journal: an earlier mount stopped it: %s",
			 strerror(-(int32_t)be32toh(l->raw.error)));
	return 0;
}

/* J6: the flag is durable before anything is logged. A superblock that is in memory has it not: it is read again. */
static int mark_open(struct jrn *j, struct err *err)
{
	int rc;

	if (!bufs_drop_unheld(j->bufs, EXT4_SUPER_OFFSET / j->super.block_size))
		return err_set(err, -EBUSY, "somebody holds the superblock's buffer");
	rc = jlog_super_write(j->dev, &j->super, &j->disk, BD_FUA);
	if (!rc)
		rc = ext4_super_set_recovery(j->dev, &j->super, true);
	return rc ? err_set(err, rc, "cannot open the journal for writing: %s", strerror(-rc)) : 0;
}

static int start_threads(struct jrn *j, struct err *err)
{
	int rc = pthread_create(&j->commit_thread, NULL, jrn_commit_main, j);

	if (rc)
		return err_set(err, -rc, "cannot start a thread: %s", strerror(rc));
	rc = pthread_create(&j->home_thread, NULL, jrn_home_main, j);
	if (!rc)
		return 0;
	mutex_lock(&j->lock);
	j->stop = true;
	wake_all_locked(j);
	mutex_unlock(&j->lock);
	pthread_join(j->commit_thread, NULL);
	return err_set(err, -rc, "cannot start a thread: %s", strerror(rc));
}

static void jrn_free(struct jrn *j)
{
	cond_done(&j->room);
	cond_done(&j->quiet);
	cond_done(&j->commit_work);
	cond_done(&j->home_work);
	cond_done(&j->settled);
	mutex_done(&j->lock);
	ext4_super_done(&j->super);
	free(j);
}

static struct jrn *jrn_alloc(const struct jrn_conf *conf)
{
	struct jrn *j = calloc(1, sizeof *j);

	if (!j)
		return NULL;
	j->dev = conf->dev;
	j->bufs = conf->bufs;
	j->client = conf->client;
	j->client_arg = conf->client_arg;
	j->commit_ms = conf->commit_ms ? conf->commit_ms : JRN_COMMIT_MS;
	mutex_init(&j->lock, LOCK_jrn);
	cond_init(&j->room);
	cond_init(&j->quiet);
	cond_init(&j->commit_work);
	cond_init(&j->home_work);
	cond_init(&j->settled);
	list_init(&j->log);
	j->log_empty = true;
	run_init(&j->run, 0);
	return j;
}

int jrn_open(const struct jrn_conf *conf, struct jrn **out, struct err *err)
{
	struct jrn *j;
	int rc = check_device(conf, err);

	if (rc)
		return rc;
	j = jrn_alloc(conf);
	if (!j)
		return err_set(err, -ENOMEM, "no memory for a journal");
	/* Read anew: a recovery may have changed it since the caller did. */
	rc = ext4_super_read(conf->dev, &j->super, err);
	if (!rc)
		rc = open_log(j, j->super.needs_recovery, err);
	if (!rc) {
		rc = images_init(j->bufs, j->log_blocks);
		if (rc)
			err_set(err, rc,
				"the buffers have a journal already, or no memory is left");
	}
	if (rc)
		goto out_free;
	rc = mark_open(j, err);
	if (!rc)
		rc = start_threads(j, err);
	if (rc)
		goto out_images;
	*out = j;
	return 0;

out_images:
	images_done(j->bufs);
out_free:
	jrn_free(j);
	return rc;
}

/* ---- close --------------------------------------------------------------------------- */

static void stop_threads(struct jrn *j)
{
	mutex_lock(&j->lock);
	assert(!j->run.handles);
	j->stop = j->home_stop = true;
	wake_all_locked(j);
	mutex_unlock(&j->lock);
	pthread_join(j->commit_thread, NULL);
	pthread_join(j->home_thread, NULL);
}

static void drop_running(struct jrn *j)
{
	struct list *l;

	while ((l = list_pop(&j->run.dirty))) {
		struct buf *b = list_entry(l, struct buf, txn_link);

		b->dirty = false;
		bufs_drop(j->bufs, b->block); /* its changes are lost */
		buf_put(b);
	}
	while (!list_empty(&j->run.revokes))
		run_revoke_drop(&j->run, list_first(&j->run.revokes, struct jrn_revoke, link));
	while ((l = list_pop(&j->log))) {
		struct sealed *s = list_entry(l, struct sealed, link);

		for (unsigned i = 0; i < s->nimages; i++) /* and so are these */
			if (s->images[i].data)
				bufs_drop(j->bufs, s->images[i].block);
		mutex_lock(&j->bufs->image_lock);
		for (unsigned i = 0; i < s->nimages; i++)
			image_remove_locked(&s->images[i]);
		mutex_unlock(&j->bufs->image_lock);
		sealed_free(s);
	}
}

static int mark_clean(struct jrn *j)
{
	int rc = super_write(j, 0, j->run.tid - 1, BD_FUA); /* the threads have ended */

	if (!rc)
		rc = ext4_super_set_recovery(j->dev, &j->super, false);
	if (!rc)
		bufs_drop(j->bufs, EXT4_SUPER_OFFSET / j->super.block_size);
	return rc;
}

int jrn_close(struct jrn *j)
{
	int rc;

	if (!j)
		return 0;
	rc = jrn_checkpoint(j);
	stop_threads(j);
	if (!rc)
		rc = mark_clean(j);
	drop_running(j);
	images_done(j->bufs);
	jrn_free(j);
	return rc;
}

void jrn_abandon(struct jrn *j)
{
	if (!j)
		return;
	mutex_lock(&j->lock);
	j->abandoned = true;
	if (!j->error)
		j->error = -ESHUTDOWN;
	wake_all_locked(j);
	mutex_unlock(&j->lock);
	stop_threads(j);
	drop_running(j);
	images_done(j->bufs);
	jrn_free(j);
}
