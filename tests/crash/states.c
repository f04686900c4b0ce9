/* SPDX-License-Identifier: Apache-2.0 */
/* states.c - see states.h */
#include "tests/crash/states.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, EDGES_ALL = 8, LAST_HALVES = 2, RANDOM_HALVES = 2, DISCARDS = 4 };
static const char groups[] = "pmnaxrutdov";

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

	for (uint64_t k = 0; k < e->nr_sectors; k++)
		if (sector_there(s, i, e->nr_sectors, variant, k))
			overlay_write(o, s->conf.log->items[i].data + k * SECTOR, SECTOR,
				      (e->sector + k) * SECTOR);
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

/* Volatile ones and overtakers together are few. */
static bool all_subsets(const struct states *s)
{
	return s->vol.n + s->over.n <= STATES_EXHAUSTIVE;
}

static uint32_t overtaken_cuts(const struct states *s)
{
	if (!s->over.n)
		return 0;
	if (all_subsets(s))
		return (1u << (s->vol.n + s->over.n)) - (1u << s->vol.n);
	return 2 * s->over.n + s->vol.n + STATES_RANDOM;
}

/* How many cuts of this kind the point has. A mark changes nothing: the point behind it has them. */
static uint32_t cuts_of(const struct states *s, char kind)
{
	bool last = s->point == s->conf.log->n, end = ends_epoch(s, s->point);
	bool small = s->vol.n <= STATES_EXHAUSTIVE;
	const struct record_entry *e = last ? NULL : entry(s, s->point);

	if (e && is_mark(e))
		return 0;
	switch (kind) {
	case 'p':
		return 1;
	case 'm':
		return end && small ? (1u << s->vol.n) - 1 : 0;
	case 'n':
		return end && !small;
	case 'a':
	case 'x':
		return end && !small ? s->vol.n : 0;
	case 'r':
		return end && !small ? STATES_RANDOM : 0;
	case 'u':
		return end && s->vol.n ? STATES_TORN_SUBSETS : 0;
	case 't':
		return e && is_change(e) && !is_discard(e) ? torn_variants(e->nr_sectors) : 0;
	case 'd':
		return e && is_discard(e) ? DISCARDS : 0;
	case 'o':
		return overtaken_cuts(s);
	default:
		return s->over.n ? STATES_TORN_SUBSETS : 0;
	}
}

static void list_add(struct entry_list *l, unsigned i)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->at = realloc(l->at, l->cap * sizeof *l->at);
		if (!l->at)
			die("out of memory");
	}
	l->at[l->n++] = i;
}

/* M6, at the point. */
static void find_overtakers(struct states *s)
{
	s->over.n = 0;
	if (s->point == s->conf.log->n)
		return;
	if (s->reach[s->point] > s->far)
		s->far = s->reach[s->point];
	for (unsigned i = s->point; ends_epoch(s, s->point) && i <= s->far; i++)
		if (s->first[i] <= s->point)
			list_add(&s->over, i);
}

/* The entry at the point is done: the next point. */
static void step(struct states *s)
{
	unsigned i = s->point++;

	if (is_flush(entry(s, i))) {
		s->vol.n = 0;
		s->window = i;
	}
	if (is_volatile(entry(s, i)))
		list_add(&s->vol, i);
	find_overtakers(s);
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

static bool seeded(const struct states *s, const struct cut *c, unsigned v)
{
	return roll(s, (uint64_t)c->point << 16 | c->index << 8 | (uint8_t)c->kind, v) & 1;
}

/* The overtaker that a seeded subset has in any case: its number behind the volatile ones. */
static unsigned forced(const struct states *s, const struct cut *c)
{
	return s->vol.n +
	       (unsigned)(roll(s, c->point, (uint64_t)c->kind << 32 | c->index) % s->over.n);
}

/* Cuts of kind o. v: number among the volatile ones and, behind them, the overtakers. */
static bool overtaken_there(const struct states *s, const struct cut *c, unsigned v)
{
	unsigned nvol = s->vol.n, nover = s->over.n, i = c->index;

	if (all_subsets(s))
		return (i + (1u << nvol)) >> v & 1;
	if (i < 2 * nover)
		return v < nvol ? i >= nover : v - nvol == i % nover;
	if (i < 2 * nover + nvol)
		return v != i - 2 * nover;
	return v == forced(s, c) || seeded(s, c, v);
}

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
		return seeded(s, c, v);
	case 'o':
		return overtaken_there(s, c, v);
	case 'v':
		return v == forced(s, c) || seeded(s, c, v);
	default:
		return true;
	}
}

/* Which of the volatile writes a cut of kind u tears, and of these and the overtakers one of kind v; UINT_MAX: none. */
static unsigned torn_one(const struct states *s, const struct cut *c)
{
	uint64_t dice = roll(s, c->point, c->index);

	if (c->kind == 'u')
		return s->vol.at[dice % s->vol.n];
	if (c->kind != 'v')
		return UINT_MAX;
	return s->vol.n && !(c->index & 1) ? s->vol.at[dice % s->vol.n] :
					     s->over.at[dice % s->over.n];
}

static bool can_be_torn(const struct record_entry *e)
{
	return is_discard(e) || e->nr_sectors > 1;
}

/* Entry i of a cut that tears writes. */
static void put_one_torn(const struct states *s, const struct cut *c, unsigned i,
			 struct overlay *out)
{
	uint64_t sectors = entry(s, i)->nr_sectors;

	if (is_discard(entry(s, i)))
		put_garbage(s, i, 2 + c->index % 2, out);
	else
		put_torn(s, i, (unsigned)(roll(s, i, c->index) % torn_variants(sectors)), out);
}

static void durable_to(struct states *s)
{
	for (; s->flushed < s->window; s->flushed++)
		put_whole(s, s->flushed, &s->durable);
}

/* What is there of the overtakers, in the order of the log. */
static void put_overtakers(const struct states *s, const struct cut *c, struct overlay *out)
{
	unsigned nvol = s->vol.n, last = 0, torn = torn_one(s, c);

	for (unsigned k = 0; k < s->over.n; k++)
		if (volatile_there(s, c, nvol + k))
			last = k;
	for (unsigned k = 0; k < s->over.n; k++) {
		unsigned i = s->over.at[k];
		bool waited_for = k < last && !is_volatile(entry(s, i)); /* M7 */

		if (i == torn && !waited_for && can_be_torn(entry(s, i)))
			put_one_torn(s, c, i, out);
		else if (waited_for || volatile_there(s, c, nvol + k))
			put_whole(s, i, out);
	}
}

void states_image(struct states *s, const struct cut *c, struct overlay *out)
{
	unsigned v = 0, torn = torn_one(s, c);

	assert(c->point == s->point);
	durable_to(s);
	overlay_over(out, &s->durable);
	for (unsigned i = s->window; i < c->point; i++) {
		bool vol = v < s->vol.n && s->vol.at[v] == i;
		bool there = !vol || volatile_there(s, c, v);

		v += vol;
		if (i == torn && can_be_torn(entry(s, i)))
			put_one_torn(s, c, i, out);
		else if (there)
			put_whole(s, i, out);
	}
	if (c->kind == 't')
		put_torn(s, c->point, c->index, out);
	else if (c->kind == 'd')
		put_garbage(s, c->point, c->index, out);
	else if (c->kind == 'o' || c->kind == 'v')
		put_overtakers(s, c, out);
}

/* ---- making one ------------------------------------------------------- */

/* Of each entry the first flush that it overtook, and of these flushes how far that goes. Only so many
 * flushes as there are count. */
static void index_overtakers(struct states *s)
{
	const struct record_log *log = s->conf.log;
	struct entry_list flushes = { NULL, 0, 0 };

	s->first = xalloc(log->n + 1, sizeof *s->first);
	s->reach = xalloc(log->n + 1, sizeof *s->reach);
	for (unsigned i = 0; i < log->n; i++) {
		const struct record_entry *e = entry(s, i);
		uint64_t span = is_change(e) ? e->data_len : 0;

		if (span > flushes.n)
			span = flushes.n;
		s->first[i] = span ? flushes.at[flushes.n - span] : UINT_MAX;
		if (span)
			s->reach[s->first[i]] = i;
		if (is_flush(e))
			list_add(&flushes, i);
	}
	free(flushes.at);
}

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
	index_overtakers(s);
	find_overtakers(s);
	overlay_over(&s->durable, conf->start);
	return 0;
}

void states_done(struct states *s)
{
	overlay_done(&s->durable);
	free(s->vol.at);
	free(s->over.at);
	free(s->first);
	free(s->reach);
	s->vol.at = s->over.at = s->first = s->reach = NULL;
}

void cut_text(const struct cut *c, char text[CUT_TEXT_MAX])
{
	snprintf(text, CUT_TEXT_MAX, "%u.%c%u", c->point, c->kind, c->index);
}
