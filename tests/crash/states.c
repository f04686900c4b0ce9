/* SPDX-License-Identifier: Apache-2.0 */
/* states.c - see states.h */
#include "tests/crash/states.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, EDGES_ALL = 8, LAST_HALVES = 2, RANDOM_HALVES = 2, DISCARDS = 4 };
static const char groups[] = "pmnaxrutd";

static const struct record_entry *entry(const struct states *s, unsigned i)
{
	return &s->conf.log->items[i].e;
}

static bool is_mark(const struct record_entry *e)
{
	return e->flags & RECORD_MARK;
}

/* A flush may carry data (dm-log-writes knows such); then the data is behind it. */
static bool is_flush(const struct record_entry *e)
{
	return !is_mark(e) && e->flags & RECORD_FLUSH;
}

static bool is_change(const struct record_entry *e)
{
	return !is_mark(e) && e->nr_sectors;
}

static bool is_volatile(const struct record_entry *e)
{
	return is_change(e) && !(e->flags & RECORD_FUA);
}

/* ---- random but the same each time ------------------------------------ */

static uint64_t roll(const struct states *s, uint64_t a, uint64_t b)
{
	return mix64(s->conf.seed ^ mix64(a * 0x9e3779b97f4a7c15ULL + b + 1));
}

/* ---- putting an entry on an image ------------------------------------- */

static void put_garbage(const struct states *s, unsigned i, unsigned variant, struct overlay *o)
{
	const struct record_entry *e = entry(s, i);
	uint64_t first = 0, end = e->nr_sectors;
	uint8_t sector[SECTOR] = { 0 };

	if (variant == 2)
		end /= 2;
	else if (variant == 3)
		first = end / 2;
	for (uint64_t k = first; k < end; k++) {
		for (unsigned j = 0; variant != 1 && j < SECTOR; j += sizeof(uint64_t)) {
			uint64_t word = roll(s, (uint64_t)i << 32 | k, j);

			memcpy(sector + j, &word, sizeof word);
		}
		overlay_write(o, sector, SECTOR, (e->sector + k) * SECTOR);
	}
}

static void put_whole(const struct states *s, unsigned i, struct overlay *o)
{
	const struct record_entry *e = entry(s, i);

	if (!is_change(e))
		return;
	if (e->flags & RECORD_DISCARD)
		put_garbage(s, i, 0, o);
	else
		overlay_write(o, s->conf.log->items[i].data, (size_t)e->nr_sectors * SECTOR,
			      e->sector * SECTOR);
}

static unsigned edges(uint64_t sectors)
{
	if (sectors < 2)
		return 0;
	return sectors <= EDGES_ALL ? (unsigned)sectors - 1 : 4;
}

static unsigned torn_variants(uint64_t sectors)
{
	return sectors < 2 ? 0 : edges(sectors) + LAST_HALVES + RANDOM_HALVES;
}

/* Is sector k of a write of that many there, in this variant? */
static bool sector_there(const struct states *s, unsigned i, uint64_t sectors, unsigned variant,
			 uint64_t k)
{
	unsigned nedges = edges(sectors);

	if (variant < nedges) {
		const uint64_t far[] = { 1, sectors / 2, sectors - 1,
					 1 + roll(s, i, variant) % (sectors - 1) };

		return k < (sectors <= EDGES_ALL ? variant + 1 : far[variant]);
	}
	variant -= nedges;
	if (variant < LAST_HALVES)
		return k >= (variant ? sectors - 1 : sectors / 2);
	return roll(s, (uint64_t)i << 32 | k, variant) & 1;
}

static void put_torn(const struct states *s, unsigned i, unsigned variant, struct overlay *o)
{
	const struct record_entry *e = entry(s, i);
	uint64_t atomic = s->conf.atomic_off / SECTOR;
	uint64_t atomic_end = (s->conf.atomic_off + s->conf.atomic_len) / SECTOR;

	for (uint64_t k = 0; k < e->nr_sectors; k++) {
		uint64_t at = e->sector + k, decides = k;

		if (at > atomic && at < atomic_end)
			decides = e->sector > atomic ? 0 : atomic - e->sector;
		if (sector_there(s, i, e->nr_sectors, variant, decides))
			overlay_write(o, s->conf.log->items[i].data + k * SECTOR, SECTOR,
				      at * SECTOR);
	}
}

/* ---- which cuts there are --------------------------------------------- */

static bool ends_epoch(const struct states *s, uint32_t point)
{
	return point == s->conf.log->n || is_flush(entry(s, point)) ||
	       (is_change(entry(s, point)) && entry(s, point)->flags & RECORD_FUA);
}

static bool is_discard(const struct record_entry *e)
{
	return is_change(e) && e->flags & RECORD_DISCARD;
}

/* How many cuts of this kind the point has. A mark changes nothing: the point behind it has them. */
static uint32_t cuts_of(const struct states *s, char kind)
{
	bool last = s->point == s->conf.log->n, end = ends_epoch(s, s->point);
	bool small = s->nvol <= STATES_EXHAUSTIVE;
	const struct record_entry *e = last ? NULL : entry(s, s->point);

	if (e && is_mark(e))
		return 0;
	switch (kind) {
	case 'p':
		return 1;
	case 'm':
		return end && small ? (1u << s->nvol) - 1 : 0;
	case 'n':
		return end && !small;
	case 'a':
	case 'x':
		return end && !small ? s->nvol : 0;
	case 'r':
		return end && !small ? STATES_RANDOM : 0;
	case 'u':
		return end && s->nvol ? STATES_TORN_SUBSETS : 0;
	case 't':
		return e && is_change(e) && !is_discard(e) ? torn_variants(e->nr_sectors) : 0;
	default:
		return e && is_discard(e) ? DISCARDS : 0;
	}
}

static void window_add(struct states *s, unsigned i)
{
	if (!is_volatile(entry(s, i)))
		return;
	if (s->nvol == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->vol = realloc(s->vol, s->cap * sizeof *s->vol);
		if (!s->vol)
			die("out of memory");
	}
	s->vol[s->nvol++] = i;
}

/* The entry at the point is done: the next point. */
static void step(struct states *s)
{
	unsigned i = s->point++;

	if (is_flush(entry(s, i))) {
		s->nvol = 0;
		s->window = i;
	}
	window_add(s, i);
}

bool states_next(struct states *s, struct cut *out)
{
	while (s->point <= s->conf.log->n) {
		for (; groups[s->group]; s->group++, s->index = 0) {
			if (s->index >= cuts_of(s, groups[s->group]))
				continue;
			*out = (struct cut){ s->point, s->index++, groups[s->group] };
			return true;
		}
		s->group = s->index = 0;
		if (s->point == s->conf.log->n)
			break;
		step(s);
	}
	s->group = sizeof groups - 1;
	return false;
}

/* ---- the image of a cut ----------------------------------------------- */

static bool volatile_there(const struct states *s, const struct cut *c, unsigned v)
{
	switch (c->kind) {
	case 'm':
		return c->index >> v & 1;
	case 'n':
		return false;
	case 'a':
		return v == c->index;
	case 'x':
		return v != c->index;
	case 't':
		return !(c->index & 1) || roll(s, (uint64_t)c->point << 8 | 't', v) & 1;
	case 'r':
	case 'u':
		return roll(s, (uint64_t)c->point << 16 | c->index << 8 | (uint8_t)c->kind, v) & 1;
	default:
		return true;
	}
}

/* Which of the volatile writes a cut of kind u tears. */
static unsigned torn_one(const struct states *s, const struct cut *c)
{
	return s->vol[roll(s, c->point, c->index) % s->nvol];
}

static void durable_to(struct states *s)
{
	for (; s->flushed < s->window; s->flushed++)
		put_whole(s, s->flushed, &s->durable);
}

void states_image(struct states *s, const struct cut *c, struct overlay *out)
{
	unsigned v = 0;

	assert(c->point == s->point);
	durable_to(s);
	overlay_over(out, &s->durable);
	for (unsigned i = s->window; i < c->point; i++) {
		bool vol = v < s->nvol && s->vol[v] == i;
		bool there = !vol || volatile_there(s, c, v);
		bool torn = c->kind == 'u' && vol && i == torn_one(s, c);
		uint64_t sectors = entry(s, i)->nr_sectors;

		v += vol;
		if (torn && is_discard(entry(s, i)))
			put_garbage(s, i, 2 + c->index % 2, out);
		else if (torn && sectors > 1)
			put_torn(s, i, (unsigned)(roll(s, i, c->index) % torn_variants(sectors)),
				 out);
		else if (there)
			put_whole(s, i, out);
	}
	if (c->kind == 't')
		put_torn(s, c->point, c->index, out);
	else if (c->kind == 'd')
		put_garbage(s, c->point, c->index, out);
}

/* ---- making one ------------------------------------------------------- */

int states_init(struct states *s, const struct states_conf *conf, struct err *err)
{
	uint64_t sectors = conf->start->size / SECTOR;

	*s = (struct states){ .conf = *conf };
	for (unsigned i = 0; i < conf->log->n; i++) {
		const struct record_entry *e = &conf->log->items[i].e;

		if (is_change(e) && (e->sector > sectors || e->nr_sectors > sectors - e->sector))
			return err_set(err, -EINVAL,
				       "entry %u writes beyond the image: sector %llu", i,
				       (unsigned long long)e->sector);
	}
	overlay_over(&s->durable, conf->start);
	return 0;
}

void states_done(struct states *s)
{
	overlay_done(&s->durable);
	free(s->vol);
	s->vol = NULL;
}

void cut_text(const struct cut *c, char text[CUT_TEXT_MAX])
{
	snprintf(text, CUT_TEXT_MAX, "%u.%c%u", c->point, c->kind, c->index);
}
