/* SPDX-License-Identifier: Apache-2.0 */
/* oracle.c - see oracle.h */
#include "tests/crash/oracle.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/crash/overlay.h"

#define HISTORY_MAGIC 0x79726f7473696870ULL
#define BLOCKS_MAX 65536u
#define EVENTS_MAX (1u << 22)
enum { SECTOR = 512 };

/* ---- the history ------------------------------------------------------ */

void history_init(struct history *h, unsigned nblocks, unsigned block_size)
{
	*h = (struct history){ .nblocks = nblocks, .block_size = block_size };
	assert(block_size / SECTOR <= SECTORS_MAX);
	h->blocks = xalloc(nblocks, sizeof *h->blocks);
}

void history_done(struct history *h)
{
	for (unsigned i = 0; h->blocks && i < h->nblocks; i++)
		free(h->blocks[i].events);
	free(h->blocks);
	h->blocks = NULL;
}

unsigned history_mount(struct history *h)
{
	if (h->mounts == HISTORY_MOUNTS)
		die("more than %u mounts in a run", HISTORY_MOUNTS);
	return ++h->mounts;
}

uint32_t history_ord(struct history *h, uint32_t tid)
{
	struct mount_history *m = &h->mount[h->mounts];

	if (!m->any) {
		m->any = true;
		m->first_tid = tid;
	}
	return tid - m->first_tid + 1;
}

void history_add(struct history *h, unsigned block, const struct event *e, const uint8_t *bytes)
{
	struct block_history *b = &h->blocks[block];
	struct event *to;

	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 16;
		b->events = realloc(b->events, b->cap * sizeof *b->events);
		if (!b->events)
			die("out of memory");
	}
	to = &b->events[b->n++];
	*to = *e;
	to->mount = h->mounts;
	for (unsigned i = 0; bytes && i < h->block_size / SECTOR; i++)
		to->sector[i] = hash_bytes(bytes + i * SECTOR, SECTOR, i);
	if (to->ord > h->mount[h->mounts].last)
		h->mount[h->mounts].last = to->ord;
}

void history_kept(struct history *h, uint32_t ord)
{
	h->mount[h->mounts].kept = ord;
}

int history_save(const struct history *h, const char *path)
{
	const uint64_t magic = HISTORY_MAGIC;
	FILE *f = fopen(path, "we");
	bool ok;

	if (!f)
		return -errno;
	ok = fwrite(&magic, sizeof magic, 1, f) == 1 && fwrite(h, sizeof *h, 1, f) == 1;
	for (unsigned i = 0; ok && i < h->nblocks; i++) {
		const struct block_history *b = &h->blocks[i];

		ok = fwrite(&b->n, sizeof b->n, 1, f) == 1 &&
		     fwrite(b->events, sizeof *b->events, b->n, f) == b->n;
	}
	return fclose(f) || !ok ? -EIO : 0;
}

static bool load_blocks(struct history *h, FILE *f)
{
	for (unsigned i = 0; i < h->nblocks; i++) {
		struct block_history *b = &h->blocks[i];
		unsigned n;

		if (fread(&n, sizeof n, 1, f) != 1 || n > EVENTS_MAX)
			return false;
		b->events = xalloc(n, sizeof *b->events);
		b->n = b->cap = n;
		if (fread(b->events, sizeof *b->events, n, f) != n)
			return false;
	}
	return true;
}

int history_load(struct history *h, const char *path, struct err *err)
{
	FILE *f = fopen(path, "re");
	uint64_t magic = 0;
	bool ok;

	*h = (struct history){ 0 };
	if (!f)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	ok = fread(&magic, sizeof magic, 1, f) == 1 && magic == HISTORY_MAGIC &&
	     fread(h, sizeof *h, 1, f) == 1 && h->nblocks <= BLOCKS_MAX &&
	     h->mounts <= HISTORY_MOUNTS && h->block_size / SECTOR <= SECTORS_MAX;
	h->blocks = ok ? xalloc(h->nblocks, sizeof *h->blocks) : NULL;
	ok = ok && load_blocks(h, f);
	fclose(f);
	return ok ? 0 : err_set(err, -EINVAL, "%s is no history of a run", path);
}

/* Does the event count in the view of what mount m could have on its disk? */
static bool lost(const struct history *h, const struct event *e, uint32_t m)
{
	return e->mount < m && e->ord > h->mount[e->mount].kept;
}

static bool until(const struct event *e, uint32_t m, uint32_t ord)
{
	return e->mount < m || (e->mount == m && e->ord <= ord);
}

const struct event *history_at(const struct history *h, unsigned block, uint32_t mount,
			       uint32_t ord, const struct event **data, unsigned *ndata)
{
	const struct block_history *b = &h->blocks[block];
	const struct event *last = NULL;
	unsigned first = 0, end;

	for (unsigned i = 0; i < b->n; i++) {
		const struct event *e = &b->events[i];

		if (e->kind == EVENT_DATA || lost(h, e, mount) || !until(e, mount, ord))
			continue;
		last = e;
		first = i + 1;
	}
	/* What follows up to the next change of its role, with roles that were lost in between left out. */
	for (end = first; end < b->n; end++) {
		const struct event *e = &b->events[end];

		if (e->mount > mount || (e->kind != EVENT_DATA && !lost(h, e, mount)))
			break;
	}
	*data = b->events + first;
	*ndata = end - first;
	return last;
}

/* ---- the oracle ------------------------------------------------------- */

static int take_mark(struct oracle *o, const char *text, uint32_t point, struct need *now,
		     struct err *err)
{
	unsigned m = 0, n = 0;

	now->marks++;
	if (sscanf(text, "mount %u", &m) == 1 && m == now->mount + 1 && m <= o->h->mounts) {
		now->mount = m;
		now->acked = 0;
		return 0;
	}
	if (sscanf(text, "ack %u %u", &m, &n) == 2 && m == now->mount && o->h->mount[m].any) {
		uint32_t ord = n - o->h->mount[m].first_tid + 1;

		if (ord > now->acked && ord < UINT32_MAX / 2)
			now->acked = ord;
		return 0;
	}
	if (sscanf(text, "data %u", &n) == 1 && n < o->nbatches) {
		if (o->batch_point[n] > point)
			o->batch_point[n] = point;
		return 0;
	}
	return err_set(err, -EINVAL, "the mark '%s' makes no sense", text);
}

static unsigned batches(const struct history *h)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < h->nblocks; i++)
		for (unsigned k = 0; k < h->blocks[i].n; k++)
			if (h->blocks[i].events[k].batch >= n)
				n = h->blocks[i].events[k].batch + 1;
	return n;
}

int oracle_init(struct oracle *o, const struct history *h, const struct record_log *log,
		struct err *err)
{
	struct need now = { 0 };
	int rc = 0;

	*o = (struct oracle){ .h = h, .nbatches = batches(h) };
	o->needs = xalloc(log->n + 1, sizeof *o->needs);
	o->batch_point = xalloc(o->nbatches, sizeof *o->batch_point);
	memset(o->batch_point, 0xff, o->nbatches * sizeof *o->batch_point);
	for (unsigned i = 0; !rc && i < log->n; i++) {
		const struct record_item *it = &log->items[i];
		char text[64];

		if (it->e.flags & RECORD_MARK) {
			snprintf(text, sizeof text, "%.*s", (int)it->e.data_len,
				 (const char *)it->data);
			rc = take_mark(o, text, i + 1, &now, err);
		}
		o->needs[i + 1] = now;
	}
	return rc;
}

void oracle_done(struct oracle *o)
{
	free(o->needs);
	free(o->batch_point);
	o->needs = NULL;
	o->batch_point = NULL;
}

uint64_t oracle_key(const struct oracle *o, uint32_t point)
{
	return mix64(o->needs[point].marks + 1);
}

/* Is the direct write e promised, to whoever finds transaction ord of mount? */
static bool promised(const struct oracle *o, const struct event *e, uint32_t point, uint32_t mount,
		     uint32_t ord)
{
	if (o->batch_point[e->batch] <= point)
		return true;
	return e->ord && !lost(o->h, e, mount) && until(e, mount, ord);
}

static bool sector_is_one_of(const struct event *e, unsigned n, unsigned sector, uint64_t hash)
{
	for (unsigned i = 0; i < n; i++)
		if (e[i].kind == EVENT_DATA && e[i].sector[sector] == hash)
			return true;
	return false;
}

/* O1 to O3 for one block; 0: as it must be, else which rule is broken. */
static int block_wrong(const struct oracle *o, unsigned block, uint32_t point, uint32_t mount,
		       uint32_t ord, const uint64_t *have)
{
	unsigned sectors = o->h->block_size / SECTOR, n, from = UINT32_MAX;
	const struct event *data, *e = history_at(o->h, block, mount, ord, &data, &n);

	if (e && e->kind == EVENT_META)
		return memcmp(e->sector, have, sectors * sizeof *have) ? 1 : 0;
	for (unsigned i = 0; i < n; i++)
		if (data[i].kind == EVENT_DATA && promised(o, &data[i], point, mount, ord))
			from = i;
	if (from == UINT32_MAX)
		return 0;
	for (unsigned s = 0; s < sectors; s++)
		if (!sector_is_one_of(data + from, n - from, s, have[s]))
			return 2;
	return 0;
}

/* How many blocks are wrong for this transaction; the first of them in why. */
static unsigned wrong_for(const struct oracle *o, uint32_t point, uint32_t mount, uint32_t ord,
			  const uint64_t *have, char why[WHY_MAX])
{
	unsigned sectors = o->h->block_size / SECTOR, n = 0;

	for (unsigned b = 0; b < o->h->nblocks; b++) {
		int rule = block_wrong(o, b, point, mount, ord, have + b * sectors);

		if (rule && !n++)
			snprintf(why, WHY_MAX, "mount %u transaction %u: block %u breaks O%d",
				 mount, ord, b, rule);
	}
	return n;
}

/* Whose bytes are these? For the message. */
static void name_bytes(const struct oracle *o, const uint8_t *blocks, char why[WHY_MAX])
{
	const char *at = strstr(why, "block ");
	unsigned b = at ? (unsigned)strtoul(at + 6, NULL, 10) : 0;
	const struct block_history *bh = &o->h->blocks[b];
	uint64_t first = hash_bytes(blocks + (size_t)b * o->h->block_size, SECTOR, 0);
	size_t len = strlen(why);

	for (unsigned i = bh->n; i-- > 0;) {
		const struct event *e = &bh->events[i];

		if (e->kind == EVENT_FREE || e->sector[0] != first)
			continue;
		snprintf(why + len, WHY_MAX - len,
			 ": it holds version %llu, %s in mount %u transaction %u",
			 (unsigned long long)e->version,
			 e->kind == EVENT_META ? "logged" : "written directly", e->mount, e->ord);
		return;
	}
	snprintf(why + len, WHY_MAX - len, ": it holds no version of its own");
}

bool oracle_judge(const struct oracle *o, uint32_t point, const uint8_t *blocks, uint32_t *mount,
		  uint32_t *ord, char why[WHY_MAX])
{
	const struct need *need = &o->needs[point];
	unsigned sectors = o->h->nblocks * (o->h->block_size / SECTOR);
	unsigned best = UINT32_MAX, per = o->h->block_size / SECTOR;
	AUTO_FREE uint64_t *have = xalloc(sectors, sizeof *have);

	for (unsigned s = 0; s < sectors; s++)
		have[s] = hash_bytes(blocks + (size_t)s * SECTOR, SECTOR, s % per);
	for (uint32_t n = need->acked; n <= o->h->mount[need->mount].last; n++) {
		char text[WHY_MAX];
		unsigned wrong = wrong_for(o, point, need->mount, n, have, text);

		if (!wrong) {
			*mount = need->mount;
			*ord = n;
			return true;
		}
		if (wrong < best) {
			best = wrong;
			snprintf(why, WHY_MAX, "acknowledged %u; nearest is %u off: %.300s",
				 need->acked, wrong, text);
		}
	}
	name_bytes(o, blocks, why);
	return false;
}
