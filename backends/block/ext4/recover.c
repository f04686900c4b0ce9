/* SPDX-License-Identifier: Apache-2.0 */
/* recover.c - replay of a log, see jrn_recover() in journal.h
 *
 *   scan     goes from commit to commit; where the next number is missing, the log ends
 *   revoke   notes until which transaction images of a block are void
 *   verify   reads every image that counts: nothing is written home before all of them are known to be sound
 *   replay   writes the newest image of each block, once
 *
 * The log is judged as jbd2 judges it, for another reader must not come to another result: a wrong checksum where the
 * commit block is newer than the last good one is damage, and an error; where it is older, the block is a remnant of
 * an earlier lap, and the log ends before it.
 *
 * A commit block says all that it has to say in its first sector. One whose other sectors are not there yet is good when
 * the checksum fits with zeros in their place.
 *
 * Memory: a window of the log, a batch of images, and a table that grows with the number of blocks in the log. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/journal.h"
#include "backends/block/ext4/mutant.h"
#include "backends/block/ext4/recover_impl.h"
#include "backends/block/ext4/super_impl.h"
#include "common/cleanup.h"

enum {
	WINDOW_BYTES = 256 << 10,
	BATCH_BYTES = 1 << 20,
	TABLE_MIN = 256, /* power of two */
	CRC32_V1 = 1,    /* checksum type of a V1 commit block */
};

/* What the log says of a block of the file system. */
struct home {
	uint64_t block;
	uint32_t pos;    /* where in the log its newest image lies; 0: none */
	uint32_t revoke; /* with revoked: images until this transaction are void */
	bool used, revoked;
};

/* An image on its way home. */
struct pending {
	uint64_t block;
	uint8_t *data; /* of mem */
};

struct recovery {
	struct bd *dev;
	const struct ext4_super *super;
	struct jlog_super log;
	struct ext4_extent *own; /* the journal's blocks, in order of the device; owned */
	struct err *err;

	/* a piece of the log, from block `at` on; owned */
	uint8_t *window;
	uint32_t at, n, cap;

	/* result of the scan */
	uint32_t end; /* the first sequence that is not committed */
	unsigned transactions;

	struct home *table; /* owned */
	size_t slots, used;

	uint8_t *mem; /* of the batch; owned */
	struct pending *batch;
	unsigned nbatch, batch_cap;
	unsigned written, revoked;
};

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "no memory to recover the journal");
}

static uint32_t be32_at(const uint8_t *p, size_t off)
{
	uint32_t v;

	memcpy(&v, p + off, sizeof v);
	return be32toh(v);
}

/* ---- reading the log ------------------------------------------------------ */

static void *io_alloc(size_t bytes)
{
	void *p = NULL;

	return posix_memalign(&p, BD_BLOCK_MAX, bytes) ? NULL : p;
}

/* The bytes of a block of the log, until the next call. */
static int block_at(struct recovery *r, uint32_t pos, uint8_t **out)
{
	uint32_t bs = r->log.format.block_size, run;
	uint64_t phys;
	int rc;

	if (!r->n || pos < r->at || pos - r->at >= r->n) {
		phys = ext4_journal_block(r->super, pos, &run);
		r->n = r->cap;
		if (r->n > run)
			r->n = run;
		if (r->n > r->log.total - pos)
			r->n = r->log.total - pos;
		r->at = pos;
		rc = bd_read(r->dev, r->window, (size_t)r->n * bs, phys * bs);
		if (rc) {
			r->n = 0;
			err_set(r->err, rc, "cannot read block %u of the journal: %s", pos,
				strerror(-rc));
			return rc;
		}
	}
	*out = r->window + (size_t)(pos - r->at) * bs;
	return 0;
}

/* ---- the table of blocks ---------------------------------------------------- */

static size_t slot_of(const struct recovery *r, uint64_t block)
{
	size_t i = (size_t)(block * 0x9e3779b97f4a7c15ull >> 17) & (r->slots - 1);

	while (r->table[i].used && r->table[i].block != block)
		i = (i + 1) & (r->slots - 1);
	return i;
}

static struct home *table_find(const struct recovery *r, uint64_t block)
{
	struct home *h;

	if (!r->slots)
		return NULL;
	h = &r->table[slot_of(r, block)];
	return h->used ? h : NULL;
}

static int table_grow(struct recovery *r)
{
	struct home *old = r->table;
	size_t n = r->slots;

	r->slots = n ? 2 * n : TABLE_MIN;
	r->table = calloc(r->slots, sizeof *r->table);
	if (!r->table) {
		r->table = old;
		r->slots = n;
		return no_memory(r->err);
	}
	for (size_t i = 0; i < n; i++)
		if (old[i].used)
			r->table[slot_of(r, old[i].block)] = old[i];
	free(old);
	return 0;
}

static int table_add(struct recovery *r, uint64_t block)
{
	struct home *h;

	if (r->used * 4 >= r->slots * 3) {
		int rc = table_grow(r);

		if (rc)
			return rc;
	}
	h = &r->table[slot_of(r, block)];
	if (!h->used) {
		*h = (struct home){ .block = block, .used = true };
		r->used++;
	}
	return 0;
}

/* Is an image of transaction sequence void? */
static bool is_revoked(const struct home *h, uint32_t sequence)
{
	return h->revoked && tid_geq(h->revoke, sequence);
}

/* ---- first pass: where the log ends ------------------------------------------ */

struct scan {
	uint32_t pos, sequence;
	uint64_t left;      /* blocks until all of the ring was seen */
	uint64_t last_time; /* of the last good commit, seconds */
	bool doubt;   /* a descriptor or revoke block of this transaction has a wrong checksum */
	uint32_t crc; /* V1 */
	bool ended;
};

/* V1: the blocks of a transaction run through one checksum. */
static int scan_crc(struct recovery *r, struct scan *s, uint32_t pos, uint32_t n)
{
	for (; n; n--, pos = jlog_next(&r->log, pos, 1)) {
		uint8_t *b;
		int rc = block_at(r, pos, &b);

		if (rc)
			return rc;
		s->crc = jlog_crc32_be(s->crc, b, r->log.format.block_size);
	}
	return 0;
}

static int scan_descriptor(struct recovery *r, struct scan *s, uint8_t *b)
{
	const struct jlog_format *f = &r->log.format;
	size_t at = sizeof(struct jbd2_header);
	struct jlog_tag tag = { .flags = 0 };
	uint32_t n = 0, pos = s->pos;
	int rc = 0;

	if (!jlog_tail_fits(f, b))
		s->doubt = true;
	if (f->compat)
		s->crc = jlog_crc32_be(s->crc, b, f->block_size);
	while (!(tag.flags & JBD2_TAG_LAST) && jlog_tag_get(f, b, &at, &tag)) {
		n++;
		rc = table_add(r, tag.block);
		if (rc)
			return rc;
	}
	if (n > s->left) {
		s->ended = true; /* more than the ring holds: no commit block can follow */
		return 0;
	}
	s->left -= n;
	s->pos = jlog_next(&r->log, s->pos, n);
	return f->compat ? scan_crc(r, s, pos, n) : 0;
}

static bool commit_v1_fits(const struct scan *s, const struct jbd2_commit *c)
{
	uint32_t stored = be32toh(c->checksum[0]);

	if (!c->checksum_type && !c->checksum_size && !stored)
		return true; /* none was made */
	return c->checksum_type == CRC32_V1 && c->checksum_size == 4 && stored == s->crc;
}

static bool commit_fits(struct recovery *r, const struct scan *s, uint8_t *b)
{
	const struct jlog_format *f = &r->log.format;
	size_t field = offsetof(struct jbd2_commit, checksum);
	struct jbd2_commit c;

	if (MUTANT(torn_commit_accepted))
		return true;
	memcpy(&c, b, sizeof c);
	if (f->compat)
		return commit_v1_fits(s, &c);
	if (!f->csum || jlog_block_crc(f, b, field) == be32toh(c.checksum[0]))
		return true;
	/* The window is read again for whoever wants these bytes: they are not needed here any more. */
	memset(b + sizeof c, 0, f->block_size - sizeof c);
	return jlog_block_crc(f, b, field) == be32toh(c.checksum[0]);
}

static int scan_commit(struct recovery *r, struct scan *s, uint8_t *b)
{
	struct jbd2_commit c;
	uint64_t time;
	bool fits;

	memcpy(&c, b, sizeof c);
	time = be64toh(c.seconds);
	fits = !s->doubt && commit_fits(r, s, b);
	if (!fits) {
		s->ended = true;
		if (time < s->last_time || (!s->doubt && r->log.format.async))
			return 0;
		return err_set(
			r->err, -EUCLEAN,
			"transaction %u of the journal has a wrong checksum: e2fsck is needed",
			s->sequence);
	}
	s->last_time = time;
	s->crc = ~0u;
	s->sequence++;
	r->transactions++;
	return 0;
}

static int scan_block(struct recovery *r, struct scan *s)
{
	uint8_t *b;
	int rc = block_at(r, s->pos, &b);

	if (rc)
		return rc;
	if (be32_at(b, 0) != JBD2_MAGIC ||
	    (be32_at(b, 8) != s->sequence && !MUTANT(stale_sequence_accepted))) {
		s->ended = true;
		return 0;
	}
	s->left--;
	s->pos = jlog_next(&r->log, s->pos, 1);
	switch (be32_at(b, 4)) {
	case JBD2_DESCRIPTOR:
		return scan_descriptor(r, s, b);
	case JBD2_COMMIT:
		return scan_commit(r, s, b);
	case JBD2_REVOKE:
		if (!jlog_tail_fits(&r->log.format, b))
			s->doubt = true;
		return 0;
	default:
		s->ended = true;
		return 0;
	}
}

static int scan(struct recovery *r)
{
	struct scan s = {
		.pos = r->log.start,
		.sequence = r->log.sequence,
		.left = r->log.total - r->log.first,
		.crc = ~0u,
	};
	int rc = 0;

	while (!rc && !s.ended && s.left)
		rc = scan_block(r, &s);
	r->end = s.sequence;
	return rc;
}

/* ---- the other passes go where the scan went ----------------------------------- */

struct pass {
	/* An image: tag, where it lies, its transaction. */
	int (*image)(struct recovery *r, const struct jlog_tag *tag, uint32_t pos,
		     uint32_t sequence);
	int (*revoke)(struct recovery *r, const uint8_t *b, uint32_t sequence);
};

static int changed_meanwhile(struct recovery *r, uint32_t pos)
{
	return err_set(r->err, -EIO, "block %u of the journal changed while it was read", pos);
}

static int pass_descriptor(struct recovery *r, const struct pass *p, uint8_t *b, uint32_t *pos,
			   uint32_t sequence)
{
	const struct jlog_format *f = &r->log.format;
	AUTO_FREE uint8_t *copy = malloc(f->block_size); /* images move the window */
	size_t at = sizeof(struct jbd2_header);
	struct jlog_tag tag = { .flags = 0 };
	int rc = 0;

	if (!copy)
		return no_memory(r->err);
	memcpy(copy, b, f->block_size);
	while (!rc && !(tag.flags & JBD2_TAG_LAST) && jlog_tag_get(f, copy, &at, &tag)) {
		if (p->image)
			rc = p->image(r, &tag, *pos, sequence);
		*pos = jlog_next(&r->log, *pos, 1);
	}
	return rc;
}

static int run_pass(struct recovery *r, const struct pass *p)
{
	uint32_t pos = r->log.start, sequence = r->log.sequence, here;
	unsigned left = r->transactions;
	int rc = 0;

	while (!rc && left) {
		uint8_t *b;

		rc = block_at(r, pos, &b);
		if (rc)
			break;
		here = pos;
		pos = jlog_next(&r->log, pos, 1);
		if (be32_at(b, 0) != JBD2_MAGIC)
			return changed_meanwhile(r, here);
		switch (be32_at(b, 4)) {
		case JBD2_DESCRIPTOR:
			rc = pass_descriptor(r, p, b, &pos, sequence);
			break;
		case JBD2_REVOKE:
			if (p->revoke)
				rc = p->revoke(r, b, sequence);
			break;
		case JBD2_COMMIT:
			sequence++;
			left--;
			break;
		default:
			return changed_meanwhile(r, here);
		}
	}
	return rc;
}

/* Blocks that are not in the table have no image in the log: their revokes say nothing. */
static int revoke_note(struct recovery *r, const uint8_t *b, uint32_t sequence)
{
	const struct jlog_format *f = &r->log.format;
	size_t bytes = jlog_revoke_bytes(f), at = sizeof(struct jbd2_revoke);
	uint32_t used = be32_at(b, sizeof(struct jbd2_header));

	if (used < at || used > f->block_size - jlog_tail_bytes(f))
		return err_set(r->err, -EUCLEAN,
			       "a revoke block of transaction %u says that it has %u bytes: e2fsck "
			       "is needed",
			       sequence, used);
	for (; at + bytes <= used; at += bytes) {
		uint64_t block = be32_at(b, at);
		struct home *h;

		if (f->bit64)
			block = block << 32 | be32_at(b, at + 4);
		h = table_find(r, block);
		if (h && (!h->revoked || tid_gt(sequence, h->revoke))) {
			h->revoked = true;
			h->revoke = sequence;
		}
	}
	return 0;
}

static int image_verify(struct recovery *r, const struct jlog_tag *tag, uint32_t pos,
			uint32_t sequence)
{
	struct home *h = table_find(r, tag->block);
	uint8_t *b;
	int rc;

	if (!h)
		return changed_meanwhile(r, pos);
	if (is_revoked(h, sequence)) {
		r->revoked++;
		return 0;
	}
	if (tag->block >= r->super->blocks ||
	    ext4_extents_hold(r->own, r->super->njournal, tag->block))
		return err_set(
			r->err, -EUCLEAN,
			"transaction %u of the journal writes block %llu, which %s: e2fsck is "
			"needed",
			sequence, (unsigned long long)tag->block,
			tag->block >= r->super->blocks ? "does not exist" : "is the journal's");
	rc = block_at(r, pos, &b);
	if (rc)
		return rc;
	if (!jlog_tag_fits(&r->log.format, tag, sequence, b))
		return err_set(
			r->err, -EUCLEAN,
			"the image of block %llu in transaction %u of the journal has a wrong "
			"checksum: e2fsck is needed",
			(unsigned long long)tag->block, sequence);
	h->pos = pos;
	return 0;
}

/* ---- writing home ----------------------------------------------------------- */

static int by_block(const void *a, const void *b)
{
	const struct pending *x = a, *y = b;

	return (x->block > y->block) - (x->block < y->block);
}

/* No block is twice in all batches together: so none overlaps another. */
static int batch_write(struct recovery *r)
{
	uint32_t bs = r->log.format.block_size;
	AUTO_FREE struct iovec *iov = calloc(r->nbatch ? r->nbatch : 1, sizeof *iov);
	AUTO_FREE struct jlog_run *runs = calloc(r->nbatch ? r->nbatch : 1, sizeof *runs);
	unsigned n = 0;
	int rc;

	if (!iov || !runs)
		return no_memory(r->err);
	qsort(r->batch, r->nbatch, sizeof *r->batch, by_block);
	for (unsigned i = 0; i < r->nbatch; i++) {
		iov[i] = (struct iovec){ .iov_base = r->batch[i].data, .iov_len = bs };
		if (i && r->batch[i].block == r->batch[i - 1].block + 1 &&
		    runs[n - 1].niov < BD_IOV_MAX) {
			runs[n - 1].niov++;
			runs[n - 1].len += bs;
		} else {
			runs[n++] = (struct jlog_run){
				.off = r->batch[i].block * bs, .len = bs, .iov = &iov[i], .niov = 1
			};
		}
	}
	rc = jlog_write(r->dev, runs, n, 0);
	if (rc)
		return err_set(r->err, rc, "cannot write what the journal holds: %s",
			       strerror(-rc));
	r->written += r->nbatch;
	r->nbatch = 0;
	return 0;
}

static int image_replay(struct recovery *r, const struct jlog_tag *tag, uint32_t pos,
			uint32_t sequence)
{
	uint32_t bs = r->log.format.block_size;
	const struct home *h = table_find(r, tag->block);
	struct pending *p;
	uint8_t *b;
	int rc;

	if (!h || h->pos != pos || is_revoked(h, sequence))
		return 0;
	rc = block_at(r, pos, &b);
	if (rc)
		return rc;
	p = &r->batch[r->nbatch];
	p->block = tag->block;
	p->data = r->mem + (size_t)r->nbatch * bs;
	r->nbatch++;
	memcpy(p->data, b, bs);
	if ((tag->flags & JBD2_TAG_ESCAPED) && !MUTANT(unescape_forgotten)) {
		uint32_t magic = htobe32(JBD2_MAGIC);

		memcpy(p->data, &magic, sizeof magic);
	}
	return r->nbatch == r->batch_cap ? batch_write(r) : 0;
}

/* ---- all of it ---------------------------------------------------------------- */

static int recovery_init(struct recovery *r)
{
	uint32_t bs = r->super->block_size;

	r->cap = WINDOW_BYTES / bs;
	r->batch_cap = BATCH_BYTES / bs;
	r->window = io_alloc((size_t)r->cap * bs);
	r->mem = io_alloc((size_t)r->batch_cap * bs);
	r->batch = calloc(r->batch_cap, sizeof *r->batch);
	r->own = ext4_journal_sorted(r->super);
	return r->window && r->mem && r->batch && r->own ? 0 : no_memory(r->err);
}

static void recovery_done(struct recovery *r)
{
	free(r->window);
	free(r->mem);
	free(r->batch);
	free(r->own);
	free(r->table);
}

static int replay(struct recovery *r)
{
	static const struct pass revoke = { .revoke = revoke_note };
	static const struct pass verify = { .image = image_verify };
	static const struct pass write = { .image = image_replay };
	int rc = scan(r);

	if (!rc)
		rc = run_pass(r, &revoke);
	if (!rc)
		rc = run_pass(r, &verify);
	if (!rc)
		rc = run_pass(r, &write);
	return rc ? rc : batch_write(r);
}

/* The log is empty before the flag says so: between the two a reader finds nothing to do. */
static int finish(struct recovery *r, uint32_t next)
{
	struct ext4_super s = *r->super;
	int rc = 0;

	if (!MUTANT(recovery_without_flush))
		rc = bd_flush(r->dev);
	if (!rc) {
		r->log.start = 0;
		r->log.sequence = next - 1;
		rc = jlog_super_write(r->dev, r->super, &r->log, BD_FUA);
	}
	if (!rc)
		rc = ext4_super_set_recovery(r->dev, &s, false);
	return rc ? err_set(r->err, rc, "cannot mark the journal as empty: %s", strerror(-rc)) : 0;
}

int jlog_find_next(struct bd *dev, const struct ext4_super *super, const struct jlog_super *log,
		   uint32_t *out, struct err *err)
{
	struct recovery r = { .dev = dev, .super = super, .log = *log, .err = err };
	int rc;

	if (!log->start) {
		*out = log->sequence + 1;
		return 0;
	}
	rc = recovery_init(&r);
	/* What cannot be read ends the log, here: nothing of it counts. */
	if (!rc && scan(&r) == -ENOMEM)
		rc = -ENOMEM;
	*out = r.end + 1;
	recovery_done(&r);
	return rc;
}

int jrn_recover(struct bd *dev, const struct ext4_super *super, struct jrn_recovered *out,
		struct err *err)
{
	struct recovery r = { .dev = dev, .super = super, .err = err };
	uint32_t next;
	int rc = jlog_super_read(dev, super, &r.log, err);

	if (rc)
		return rc;
	if (!super->needs_recovery || !r.log.start) {
		rc = jlog_find_next(dev, super, &r.log, &next, err);
	} else if (r.log.format.async && !r.log.format.compat && !r.log.format.csum) {
		return err_set(err, -EINVAL,
			       "a journal with asynchronous commits and no checksums is not "
			       "supported");
	} else {
		rc = recovery_init(&r);
		if (!rc)
			rc = replay(&r);
		next = r.end + 1; /* a transaction that was cut off may have used r.end */
	}
	if (!rc && super->needs_recovery)
		rc = finish(&r, next);
	if (!rc)
		*out = (struct jrn_recovered){
			.transactions = r.transactions,
			.blocks = r.written,
			.revoked = r.revoked,
			.next_sequence = next,
		};
	recovery_done(&r);
	return rc;
}
