/* SPDX-License-Identifier: Apache-2.0 */
/* jlog.c - see jlog_impl.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jlog_impl.h"
#include "backends/block/ext4/mutant.h"
#include "backends/block/ext4/super_impl.h"
#include "common/cleanup.h"
#include "common/crc32c.h"
#include "common/lock.h"

#ifdef PERSIFS_MUTANTS
enum jrn_mutant_id jrn_mutant;
#endif

enum {
	JLOG_IN_FLIGHT = 64, /* writes of one jlog_write() at once */
	SECTOR = 512,
	UUID_BYTES = 16,
};

#define CRC32_BE_POLY 0x04c11db7u
#define CHECKSUM_AT offsetof(struct jbd2_super, checksum)
#define INCOMPAT_KNOWN                                                             \
	(JBD2_INCOMPAT_REVOKE | JBD2_INCOMPAT_64BIT | JBD2_INCOMPAT_ASYNC_COMMIT | \
	 JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3)

/* ---- numbers in blocks --------------------------------------------------- */

static uint16_t be16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static void put_be32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
}

static void put_be16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof v);
}

/* ---- checksums ------------------------------------------------------------ */

static uint32_t crc_without(uint32_t seed, const uint8_t *p, size_t len, size_t field)
{
	static const uint8_t zeros[4];
	uint32_t crc = crc32c(crc32c(seed, p, field), zeros, sizeof zeros);

	return crc32c(crc, p + field + sizeof zeros, len - field - sizeof zeros);
}

uint32_t jlog_block_crc(const struct jlog_format *f, const uint8_t *block, size_t field)
{
	return crc_without(f->seed, block, f->block_size, field);
}

uint32_t jlog_tag_crc(const struct jlog_format *f, uint32_t sequence, const uint8_t *block)
{
	uint8_t be[4];

	put_be32(be, sequence);
	return crc32c(crc32c(f->seed, be, sizeof be), block, f->block_size);
}

uint32_t jlog_crc32_be(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= (uint32_t)*p++ << 24;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc & 0x80000000u ? crc << 1 ^ CRC32_BE_POLY : crc << 1;
	}
	return crc;
}

size_t jlog_tail_bytes(const struct jlog_format *f)
{
	return f->csum ? sizeof(struct jbd2_tail) : 0;
}

void jlog_tail_put(const struct jlog_format *f, uint8_t *block)
{
	size_t at = f->block_size - sizeof(struct jbd2_tail);

	if (f->csum)
		put_be32(block + at, jlog_block_crc(f, block, at));
}

bool jlog_tail_fits(const struct jlog_format *f, const uint8_t *block)
{
	size_t at = f->block_size - sizeof(struct jbd2_tail);

	return !f->csum || be32(block + at) == jlog_block_crc(f, block, at);
}

void jlog_header_put(uint8_t *block, enum jbd2_type type, uint32_t sequence)
{
	put_be32(block, JBD2_MAGIC);
	put_be32(block + 4, type);
	put_be32(block + 8, sequence);
}

/* ---- tags ------------------------------------------------------------------ */

/* V2 counts two bytes more than its tag has: a slip in jbd2 that became the format. */
size_t jlog_tag_bytes(const struct jlog_format *f)
{
	size_t n = sizeof(struct jbd2_tag);

	if (f->v3)
		return sizeof(struct jbd2_tag3);
	if (f->csum)
		n += sizeof(uint16_t);
	return f->bit64 ? n : n - sizeof(uint32_t);
}

bool jlog_tag_get(const struct jlog_format *f, const uint8_t *block, size_t *at,
		  struct jlog_tag *out)
{
	size_t end = f->block_size - jlog_tail_bytes(f), bytes = jlog_tag_bytes(f);
	const uint8_t *p = block + *at;

	if (*at + bytes > end)
		return false;
	out->block = be32(p);
	if (f->v3) {
		out->flags = be32(p + 4);
		out->checksum = be32(p + 12);
	} else {
		out->checksum = be16(p + 4);
		out->flags = be16(p + 6);
	}
	if (f->bit64)
		out->block |= (uint64_t)be32(p + 8) << 32;
	*at += bytes;
	if (!(out->flags & JBD2_TAG_SAME_UUID))
		*at += UUID_BYTES;
	return true;
}

bool jlog_tag_put(const struct jlog_format *f, uint8_t *block, size_t *at,
		  const struct jlog_tag *tag)
{
	size_t bytes = jlog_tag_bytes(f);
	size_t uuid = tag->flags & JBD2_TAG_SAME_UUID ? 0 : UUID_BYTES;
	uint8_t *p = block + *at;

	if (*at + bytes + uuid + jlog_tail_bytes(f) > f->block_size)
		return false;
	memset(p, 0, bytes + uuid);
	put_be32(p, (uint32_t)tag->block);
	if (f->v3) {
		put_be32(p + 4, tag->flags);
		put_be32(p + 12, tag->checksum);
	} else {
		put_be16(p + 4, (uint16_t)tag->checksum);
		put_be16(p + 6, (uint16_t)tag->flags);
	}
	if (f->bit64)
		put_be32(p + 8, (uint32_t)(tag->block >> 32));
	*at += bytes + uuid;
	return true;
}

bool jlog_tag_fits(const struct jlog_format *f, const struct jlog_tag *tag, uint32_t sequence,
		   const uint8_t *block)
{
	uint32_t crc;

	if (!f->csum)
		return true;
	crc = jlog_tag_crc(f, sequence, block);
	return tag->checksum == (f->v3 ? crc : (crc & 0xffff));
}

/* ---- the journal superblock ------------------------------------------------- */

void jlog_format_of(const struct jbd2_super *raw, struct jlog_format *out)
{
	uint32_t incompat = be32toh(raw->incompat);

	*out = (struct jlog_format){ .block_size = be32toh(raw->block_size) };
	if (be32toh(raw->h.type) != JBD2_SUPER_V2)
		return;
	out->bit64 = incompat & JBD2_INCOMPAT_64BIT;
	out->v3 = incompat & JBD2_INCOMPAT_CSUM_V3;
	out->csum = out->v3 || (incompat & JBD2_INCOMPAT_CSUM_V2);
	out->async = incompat & JBD2_INCOMPAT_ASYNC_COMMIT;
	out->compat = be32toh(raw->compat) & JBD2_COMPAT_CHECKSUM;
	out->seed = crc32c(MUTANT(wrong_checksum_seed) ? 0 : ~0u, raw->uuid, sizeof raw->uuid);
}

static int super_features(const struct jbd2_super *raw, struct err *err)
{
	uint32_t incompat = be32toh(raw->incompat), compat = be32toh(raw->compat);
	bool v2 = incompat & JBD2_INCOMPAT_CSUM_V2, v3 = incompat & JBD2_INCOMPAT_CSUM_V3;

	if (be32toh(raw->h.type) == JBD2_SUPER_V1)
		return 0;
	if (incompat & JBD2_INCOMPAT_FAST_COMMIT)
		return err_set(err, -EINVAL,
			       "a journal with the feature 'fast_commit' is not supported");
	if (incompat & ~INCOMPAT_KNOWN)
		return err_set(err, -EINVAL,
			       "a journal with unknown incompatible features 0x%x is not supported",
			       incompat & ~INCOMPAT_KNOWN);
	if (raw->ro_compat)
		return err_set(err, -EINVAL,
			       "a journal with unknown read-only features 0x%x is not supported",
			       be32toh(raw->ro_compat));
	if ((v2 || v3) && ((v2 && v3) || (compat & JBD2_COMPAT_CHECKSUM)))
		return err_set(err, -EINVAL, "the journal has checksums of two kinds");
	if ((v2 || v3) && raw->checksum_type != JBD2_CRC32C)
		return err_set(err, -EINVAL, "journal checksums of type %u are not supported",
			       raw->checksum_type);
	return 0;
}

static int super_geometry(const struct ext4_super *super, const struct jlog_super *l,
			  struct err *err)
{
	if (l->format.block_size != super->block_size)
		return err_set(err, -EUCLEAN,
			       "the journal has blocks of %u bytes, the file system of %u",
			       l->format.block_size, super->block_size);
	if (l->total > super->journal_blocks)
		return err_set(err, -EUCLEAN,
			       "the journal says that it has %u blocks, its file has %u", l->total,
			       super->journal_blocks);
	if (l->total > JLOG_BLOCKS_MAX)
		return err_set(err, -EINVAL,
			       "a journal of %u blocks is not supported, the most are %u", l->total,
			       JLOG_BLOCKS_MAX);
	if (!l->first || l->first >= l->total || l->total - l->first < 4)
		return err_set(err, -EUCLEAN, "the journal's log is from block %u to %u", l->first,
			       l->total);
	if (l->start && (l->start < l->first || l->start >= l->total))
		return err_set(err, -EUCLEAN, "the journal begins at block %u of a log %u to %u",
			       l->start, l->first, l->total);
	return 0;
}

int jlog_super_read(struct bd *dev, const struct ext4_super *super, struct jlog_super *out,
		    struct err *err)
{
	struct jlog_super l;
	uint32_t run, type;
	int rc = ext4_read_bytes(dev, ext4_journal_block(super, 0, &run) * super->block_size,
				 &l.raw, sizeof l.raw);

	if (rc)
		return err_set(err, rc, "cannot read the journal superblock: %s", strerror(-rc));
	type = be32toh(l.raw.h.type);
	if (be32toh(l.raw.h.magic) != JBD2_MAGIC ||
	    (type != JBD2_SUPER_V1 && type != JBD2_SUPER_V2))
		return err_set(err, -EUCLEAN, "the journal has no superblock: e2fsck is needed");
	rc = super_features(&l.raw, err);
	if (rc)
		return rc;
	jlog_format_of(&l.raw, &l.format);
	if (l.format.csum && be32toh(l.raw.checksum) !=
				     crc_without(~0u, (uint8_t *)&l.raw, sizeof l.raw, CHECKSUM_AT))
		return err_set(err, -EUCLEAN,
			       "the checksum of the journal superblock is wrong: e2fsck is needed");
	l.total = be32toh(l.raw.total);
	l.first = be32toh(l.raw.first);
	l.sequence = be32toh(l.raw.sequence);
	l.start = be32toh(l.raw.start);
	rc = super_geometry(super, &l, err);
	if (!rc)
		*out = l;
	return rc;
}

int jlog_super_write(struct bd *dev, const struct ext4_super *super, struct jlog_super *l,
		     unsigned flags)
{
	uint32_t run;

	l->raw.sequence = htobe32(l->sequence);
	l->raw.start = htobe32(l->start);
	l->raw.checksum = 0;
	if (l->format.csum)
		l->raw.checksum =
			htobe32(crc_without(~0u, (uint8_t *)&l->raw, sizeof l->raw, CHECKSUM_AT));
	return ext4_write_bytes(dev, ext4_journal_block(super, 0, &run) * super->block_size,
				&l->raw, SECTOR, flags);
}

/* ---- many writes at once ----------------------------------------------------- */

struct batch {
	struct mutex lock;
	struct cond ended;
	/* guarded by lock */
	unsigned in_flight;
	int error;
};

static void batch_done(struct bd_req *rq)
{
	struct batch *b = rq->arg;

	mutex_lock(&b->lock);
	if (rq->result && !b->error)
		b->error = rq->result;
	/* Under the lock: whoever waits frees the batch. */
	if (!--b->in_flight)
		cond_signal(&b->ended);
	mutex_unlock(&b->lock);
}

static int batch_run(struct bd *dev, struct batch *b, struct bd_req *rqs, unsigned n)
{
	struct bd_req *list[JLOG_IN_FLIGHT];
	unsigned taken;
	int rc = 0;

	for (unsigned i = 0; i < n; i++)
		list[i] = &rqs[i];
	b->in_flight = n;
	taken = bd_submit_all(dev, list, n, &rc);
	mutex_lock(&b->lock);
	if (taken < n && !b->error)
		b->error = rc;
	b->in_flight -= n - taken;
	while (b->in_flight)
		cond_wait(&b->ended, &b->lock);
	rc = b->error;
	mutex_unlock(&b->lock);
	return rc;
}

int jlog_write(struct bd *dev, const struct jlog_run *runs, unsigned n, unsigned flags)
{
	unsigned most = n < JLOG_IN_FLIGHT ? n : JLOG_IN_FLIGHT;
	AUTO_FREE struct bd_req *rqs = calloc(most ? most : 1, sizeof *rqs);
	struct batch b = { .error = 0 };

	if (!rqs)
		return -ENOMEM;
	mutex_init(&b.lock, LOCK_jrn_io);
	cond_init(&b.ended);
	while (n && !b.error) {
		unsigned count = n < most ? n : most;

		for (unsigned i = 0; i < count; i++)
			rqs[i] = (struct bd_req){
				.op = BD_WRITE,
				.flags = flags,
				.off = runs[i].off,
				.len = runs[i].len,
				.iov = runs[i].iov,
				.niov = runs[i].niov,
				.done = batch_done,
				.arg = &b,
			};
		batch_run(dev, &b, rqs, count);
		runs += count;
		n -= count;
	}
	cond_done(&b.ended);
	mutex_done(&b.lock);
	return b.error;
}
