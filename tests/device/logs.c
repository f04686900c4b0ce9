/* SPDX-License-Identifier: Apache-2.0 */
/* logs.c - the record layer's log against what really happened, and power cuts */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/block/layers.h"
#include "backends/block/record.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/device/devtest.h"

/* ---- the log ------------------------------------------------------------------- */

/* All zero, durable, and so in the shadow. */
static bool start_with_zeros(struct devtest *t)
{
	struct bd *dev = devtest_open(t, NULL);
	uint64_t bytes = t->shadow.head->sectors * SECTOR, covers;
	uint32_t value = shadow_next(&t->shadow, KIND_ZERO);
	int rc;

	shadow_begin(&t->shadow, 0, bytes, value, NULL);
	rc = bd_zero(dev, 0, bytes, 0);
	if (!rc)
		shadow_done(&t->shadow, 0, bytes, value, false);
	covers = shadow_flush_begin(&t->shadow);
	if (!rc)
		rc = bd_flush(dev);
	if (!rc)
		shadow_flush_done(&t->shadow, covers);
	bd_close(dev);
	return !rc || wrong("zeroing the device: %s", strerror(-rc));
}

/* Where the entries of each write are. */
struct places {
	uint32_t first_generation, n;
	struct place {
		uint32_t sectors; /* seen so far */
		unsigned last;    /* entry */
		bool fua;
	} * at;
};

static void note_write(struct devtest *t, struct places *p, const struct record_item *item,
		       unsigned entry)
{
	uint32_t found = sector_find(item->data, t->shadow.head->stamp, item->e.sector);
	uint32_t generation = VALUE_GENERATION(found);
	struct place *place;

	if (VALUE_KIND(found) != KIND_DATA || generation < p->first_generation ||
	    generation - p->first_generation >= p->n)
		return;
	place = &p->at[generation - p->first_generation];
	place->sectors += (uint32_t)item->e.nr_sectors;
	place->last = entry;
}

/* What the flush had covered that this mark tells of stands before the last flush that stands before the mark. */
static bool mark_holds(struct devtest *t, const struct places *p, uint64_t from, uint64_t covers,
		       unsigned flush)
{
	for (uint64_t i = from; i < covers && i < t->shadow.nchanges; i++) {
		const struct shadow_change *c = &t->shadow.changes[i];
		const struct place *place;

		if (VALUE_KIND(c->value) != KIND_DATA)
			continue;
		place = &p->at[VALUE_GENERATION(c->value) - p->first_generation];
		if (place->sectors != c->len / SECTOR)
			return wrong("the write of generation %u has %u of %llu sectors in the log",
				     VALUE_GENERATION(c->value), place->sectors,
				     (unsigned long long)(c->len / SECTOR));
		if (place->last > flush)
			return wrong(
				"the write of generation %u was flushed, and stands behind the flush",
				VALUE_GENERATION(c->value));
	}
	return true;
}

static bool apply(uint8_t *image, uint64_t sectors, const struct record_item *item)
{
	if (item->e.flags & RECORD_DISCARD)
		return true;
	if (item->e.sector + item->e.nr_sectors > sectors)
		return wrong("an entry of sectors %llu, %llu", (unsigned long long)item->e.sector,
			     (unsigned long long)item->e.nr_sectors);
	memcpy(image + item->e.sector * SECTOR, item->data, item->e.nr_sectors * SECTOR);
	return true;
}

struct replayed {
	unsigned writes, flushes, discards, marks, overtakers;
};

static bool replay_item(struct devtest *t, struct places *p, const struct record_item *item,
			unsigned entry, unsigned *flush, uint64_t *covered, struct replayed *out)
{
	unsigned long long covers;
	char text[BD_MARK_MAX + 1];

	if (item->e.flags & RECORD_MARK) {
		memcpy(text, item->data, item->e.data_len);
		text[item->e.data_len] = '\0';
		out->marks++;
		if (sscanf(text, "flushed %llu", &covers) != 1)
			return wrong("a mark '%s'", text);
		if (!mark_holds(t, p, *covered, covers, *flush))
			return false;
		*covered = covers > *covered ? covers : *covered;
		return true;
	}
	if (item->e.data_len > out->flushes)
		return wrong("entry %u may have overtaken %llu flushes of %u", entry,
			     (unsigned long long)item->e.data_len, out->flushes);
	out->overtakers += item->e.data_len > 0;
	if (item->e.flags & RECORD_FLUSH) {
		out->flushes++;
		*flush = entry;
	} else if (item->e.flags & RECORD_DISCARD) {
		out->discards++;
	} else {
		out->writes++;
		note_write(t, p, item, entry);
	}
	return true;
}

/* The log put onto zeros, and each mark judged on the way. */
static bool replay(struct devtest *t, const struct record_log *log, struct places *p,
		   uint8_t *image, struct replayed *out)
{
	unsigned flush = 0;
	uint64_t covered = 0;

	for (unsigned i = 0; i < log->n; i++) {
		const struct record_item *item = &log->items[i];

		if (!replay_item(t, p, item, i, &flush, &covered, out))
			return false;
		if (item->data && !(item->e.flags & RECORD_MARK) &&
		    !apply(image, t->shadow.head->sectors, item))
			return false;
	}
	return true;
}

static bool same_bytes(struct devtest *t, const uint8_t *image)
{
	uint64_t bytes = t->shadow.head->sectors * SECTOR, n = 1u << 20;
	AUTO_FREE uint8_t *buf = aligned_alloc(BD_BLOCK_MAX, n);
	struct bd *dev = devtest_open(t, NULL);
	bool good = buf != NULL;

	for (uint64_t off = 0; good && off < bytes; off += n) {
		uint64_t len = bytes - off < n ? bytes - off : n;
		int rc = bd_read(dev, buf, len, off);

		good = !rc || wrong("reading at %llu: %s", (unsigned long long)off, strerror(-rc));
		for (uint64_t at = 0; good && at < len; at += SECTOR) {
			const struct cell *c = &t->shadow.cells[(off + at) / SECTOR];

			if (VALUE_KIND(c->last) != KIND_ANY &&
			    memcmp(buf + at, image + off + at, SECTOR))
				good = wrong("sector %llu is not what the log leaves",
					     (unsigned long long)((off + at) / SECTOR));
		}
	}
	bd_close(dev);
	return good;
}

static bool load_recorded(struct devtest *t, const char *path)
{
	AUTO_FREE char *layer = NULL;
	struct load_conf conf;
	struct bd *dev;
	bool good;

	if (asprintf(&layer, "record:file=%s", path) < 0)
		errx(EXIT_TROUBLE, "out of memory");
	dev = devtest_open(t, layer);
	devtest_load_conf(t, dev, t->ops, &conf);
	conf.marked = dev;
	good = load_run(&conf, &t->stats);
	bd_close(dev);
	return good;
}

static bool judge_log(struct devtest *t, const char *path, uint32_t first_generation)
{
	struct places p = { .first_generation = first_generation,
			    .n = t->shadow.head->generation - first_generation + 1 };
	AUTO_FREE uint8_t *image = calloc(t->shadow.head->sectors, SECTOR);
	struct replayed r = { .writes = 0 };
	struct err err = { "" };
	struct record_log log;
	bool good;

	p.at = calloc(p.n, sizeof *p.at);
	if (!p.at || !image)
		errx(EXIT_TROUBLE, "out of memory");
	if (record_load(path, &log, &err)) {
		free(p.at);
		return wrong("%s", err.text);
	}
	good = replay(t, &log, &p, image, &r) && same_bytes(t, image);
	printf("replay: %u entries: %u writes (%u may have overtaken flushes), %u flushes, %u discards, %u marks\n",
	       log.n, r.writes, r.overtakers, r.flushes, r.discards, r.marks);
	if (good && (r.marks != t->stats.marks || r.marks == 0))
		good = wrong("%u marks of %llu are in the log", r.marks,
			     (unsigned long long)t->stats.marks);
	record_unload(&log);
	free(p.at);
	return good;
}

bool test_replay(struct devtest *t)
{
	char path[] = "/tmp/devtest-log-XXXXXX";
	struct verify_stats v = { .wrong = 0 };
	uint32_t first;
	bool good;
	int fd;

	if (!t->log) {
		fd = mkstemp(path);
		if (fd < 0)
			err(EXIT_TROUBLE, "%s", path);
		close(fd);
	}
	good = start_with_zeros(t);
	first = t->shadow.head->generation + 1;
	t->shadow.nchanges = t->shadow.covered = 0;
	t->stats = (struct load_stats){ .seconds = 0 };
	good = good && load_recorded(t, t->log ? t->log : path) &&
	       judge_log(t, t->log ? t->log : path, first);
	if (!t->log)
		unlink(path);
	return good && devtest_verify(t, true, &v);
}

/* ---- power cuts ------------------------------------------------------------------ */

struct cutter {
	struct bd *dev;
	atomic_bool cut;
	int rc;
};

/* The plug is pulled while the other half of the requests comes. */
static uint64_t pull(void *arg)
{
	struct cutter *c = arg;

	atomic_store(&c->cut, true);
	c->rc = bd_powercut(c->dev);
	return atomic_load(&c->dev->size);
}

static bool dead_after_cut(struct bd *dev)
{
	AUTO_FREE uint8_t *buf = aligned_alloc(BD_BLOCK_MAX, BD_BLOCK_MAX);
	int rd = bd_read(dev, buf, dev->limits.block, 0);
	int wr = bd_write(dev, buf, dev->limits.block, 0, 0), fl = bd_flush(dev);

	return (rd == -EIO && wr == -EIO && fl == -EIO) ||
	       wrong("after the cut: read %d, write %d, flush %d", rd, wr, fl);
}

static bool cut_once(struct devtest *t, unsigned i, struct verify_stats *v)
{
	struct cutter cutter = { .rc = 0 };
	uint64_t random = rnd_seed(t->seed, 3000 + i), ops;
	struct load_conf conf;
	char layer[64];
	bool good;

	snprintf(layer, sizeof layer, "powercut:seed=%llu",
		 (unsigned long long)rnd_below(&random, 1000000000));
	ops = 2 * (1 + rnd_below(&random, t->ops / t->cuts + 1));
	cutter.dev = devtest_open(t, layer);
	devtest_load_conf(t, cutter.dev, ops, &conf);
	conf.halfway = pull;
	conf.halfway_arg = &cutter;
	conf.cut = &cutter.cut;
	good = load_run(&conf, &t->stats);
	if (cutter.rc)
		good = wrong("cut %u: %s", i, strerror(-cutter.rc));
	good = good && dead_after_cut(cutter.dev);
	bd_close(cutter.dev);
	return good && devtest_verify(t, true, v);
}

bool test_cuts(struct devtest *t)
{
	struct verify_stats v = { .wrong = 0 };
	bool good = true;

	t->stats = (struct load_stats){ .seconds = 0 };
	for (unsigned i = 0; good && i < t->cuts; i++)
		good = cut_once(t, i, &v);
	printf("cuts: %u, %llu of %llu sectors had lost something, %llu requests met a cut\n",
	       t->cuts, (unsigned long long)v.lost, (unsigned long long)v.sectors,
	       (unsigned long long)t->stats.errors);
	if (good && t->ops >= 1000 && v.lost == 0)
		good = wrong("nothing was ever lost: that was no test");
	return good;
}
