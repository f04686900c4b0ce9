/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/device/shadow.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hash.h"

#define MAGIC 0x31776f6461687364ULL /* "dshadow1" */
#define EXIT_TROUBLE 2

/* ---- the table -------------------------------------------------------- */

static void check_head(const struct shadow *s, const char *path, uint32_t block, uint64_t bytes)
{
	const struct shadow_head *h = s->head;

	if (h->magic != MAGIC || sizeof *h + h->room * sizeof(struct cell) > s->map_bytes ||
	    h->sectors > h->room)
		errx(EXIT_TROUBLE, "%s: not a state file", path);
	if (h->block != block || h->sectors * SECTOR > bytes)
		errx(EXIT_TROUBLE, "%s: of a device with %llu bytes in blocks of %u", path,
		     (unsigned long long)h->sectors * SECTOR, h->block);
}

void shadow_open(struct shadow *s, const char *path, uint32_t block, uint64_t bytes,
		 uint64_t room_bytes)
{
	uint64_t room = room_bytes / SECTOR;
	struct stat st = { .st_size = 0 };
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) :
			memfd_create("shadow", MFD_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		err(EXIT_TROUBLE, "%s", path ? path : "memfd");
	*s = (struct shadow){ .map_bytes = sizeof *s->head + room * sizeof(struct cell) };
	if (st.st_size)
		s->map_bytes = (uint64_t)st.st_size;
	else if (ftruncate(fd, (off_t)s->map_bytes))
		err(EXIT_TROUBLE, "%s", path ? path : "memfd");
	if (s->map_bytes < sizeof *s->head)
		errx(EXIT_TROUBLE, "%s: not a state file", path);
	s->head = mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s->head == MAP_FAILED)
		err(EXIT_TROUBLE, "mmap of %llu bytes", (unsigned long long)s->map_bytes);
	close(fd);
	s->cells = (struct cell *)(s->head + 1);
	if (!s->head->magic)
		*s->head = (struct shadow_head){ .magic = MAGIC,
						 .stamp = hash_u64(clock_us() ^ (uint64_t)getpid()
											<< 40),
						 .sectors = bytes / SECTOR,
						 .room = room,
						 .block = block };
	check_head(s, path, block, bytes);
}

void shadow_close(struct shadow *s)
{
	munmap(s->head, s->map_bytes);
	free(s->changes);
	*s = (struct shadow){ .head = NULL };
}

void shadow_grow(struct shadow *s, uint64_t bytes)
{
	uint64_t sectors = bytes / SECTOR;

	s->head->sectors = sectors < s->head->room ? sectors : s->head->room;
}

uint64_t shadow_room(const struct shadow *s)
{
	return s->head->room * SECTOR;
}

/* ---- changes ------------------------------------------------------------ */

uint32_t shadow_next(struct shadow *s, enum kind kind)
{
	if (++s->head->generation >= GENERATION_MAX)
		errx(EXIT_TROUBLE, "more than %u changes", GENERATION_MAX);
	return VALUE(s->head->generation, kind);
}

static struct cell *cells_of(const struct shadow *s, uint64_t off, uint64_t len, uint64_t *n)
{
	*n = len / SECTOR;
	if (off / SECTOR + *n > s->head->sectors)
		errx(EXIT_TROUBLE, "a change behind the end");
	return s->cells + off / SECTOR;
}

void shadow_begin(struct shadow *s, uint64_t off, uint64_t len, uint32_t value, struct cell *old)
{
	uint64_t n;
	struct cell *c = cells_of(s, off, len, &n);

	if (old)
		memcpy(old, c, n * sizeof *c);
	for (uint64_t i = 0; i < n; i++) {
		c[i].last = value;
		if (VALUE_KIND(value) == KIND_ZERO)
			c[i].zeroed = value;
		if (VALUE_KIND(value) == KIND_ANY)
			c[i].discarded = value;
	}
}

void shadow_undo(struct shadow *s, uint64_t off, uint64_t len, const struct cell *old)
{
	uint64_t n;
	struct cell *c = cells_of(s, off, len, &n);

	memcpy(c, old, n * sizeof *c);
}

static void raise_floor(struct shadow *s, const struct shadow_change *change)
{
	uint64_t n;
	struct cell *c = cells_of(s, change->off, change->len, &n);

	for (uint64_t i = 0; i < n; i++)
		if (VALUE_GENERATION(c[i].floor) < VALUE_GENERATION(change->value))
			c[i].floor = change->value;
}

void shadow_done(struct shadow *s, uint64_t off, uint64_t len, uint32_t value, bool durable)
{
	struct shadow_change change = { .off = off, .len = len, .value = value };

	if (durable) {
		raise_floor(s, &change);
		return;
	}
	if (s->nchanges == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 1024;
		s->changes = realloc(s->changes, s->cap * sizeof *s->changes);
		if (!s->changes)
			errx(EXIT_TROUBLE, "out of memory");
	}
	s->changes[s->nchanges++] = change;
}

void shadow_failed(struct shadow *s, uint64_t off, uint64_t len, uint32_t value)
{
	uint64_t n;
	struct cell *c = cells_of(s, off, len, &n);

	for (uint64_t i = 0; i < n; i++)
		if (c[i].last == value)
			c[i].last |= VALUE_UNSURE;
}

uint64_t shadow_flush_begin(const struct shadow *s)
{
	return s->nchanges;
}

void shadow_flush_done(struct shadow *s, uint64_t covers)
{
	for (; s->covered < covers; s->covered++)
		raise_floor(s, &s->changes[s->covered]);
}

void shadow_settle(struct shadow *s, uint64_t sector, uint32_t found)
{
	struct cell *c = &s->cells[sector];
	uint32_t value = found;

	if (VALUE_KIND(found) != KIND_DATA)
		value = VALUE(VALUE_GENERATION(c->last), VALUE_KIND(found));
	*c = (struct cell){ .floor = value, .last = value };
	if (VALUE_KIND(found) == KIND_ZERO)
		c->zeroed = value;
	if (VALUE_KIND(found) == KIND_ANY)
		c->discarded = value;
}

/* ---- sectors -------------------------------------------------------------- */

struct sector_head {
	uint64_t magic, sector;
	uint32_t generation, pad;
};

static uint64_t sector_magic(uint64_t stamp)
{
	return hash_u64(stamp ^ MAGIC);
}

void sector_fill(uint8_t *p, uint64_t stamp, uint64_t sector, uint32_t generation)
{
	struct sector_head h = { .magic = sector_magic(stamp),
				 .sector = sector,
				 .generation = generation };
	uint64_t x = hash_u64(h.magic + sector * 0x9e3779b97f4a7c15ULL + generation) | 1;

	memcpy(p, &h, sizeof h);
	for (unsigned at = sizeof h; at < SECTOR; at += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + at, &x, sizeof x);
	}
}

static bool all_zero(const uint8_t *p)
{
	return p[0] == 0 && memcmp(p, p + 1, SECTOR - 1) == 0;
}

uint32_t sector_find(const uint8_t *p, uint64_t stamp, uint64_t sector)
{
	uint8_t want[SECTOR];
	struct sector_head h;

	memcpy(&h, p, sizeof h);
	if (h.magic != sector_magic(stamp) || h.sector != sector)
		return all_zero(p) ? VALUE(0, KIND_ZERO) : 0;
	sector_fill(want, stamp, sector, h.generation);
	if (memcmp(p, want, SECTOR) != 0)
		return 0;
	return VALUE(h.generation, KIND_DATA);
}

bool cell_is(const struct cell *c, uint32_t found)
{
	if (c->last & VALUE_UNSURE)
		return cell_may_be(c, found);
	switch (VALUE_KIND(c->last)) {
	case KIND_DATA:
		return found == c->last;
	case KIND_ZERO:
		return VALUE_KIND(found) == KIND_ZERO;
	default:
		return true;
	}
}

bool cell_may_be(const struct cell *c, uint32_t found)
{
	uint32_t floor = VALUE_GENERATION(c->floor);

	if (VALUE_GENERATION(c->discarded) >= floor)
		return true;
	if (VALUE_KIND(found) == KIND_DATA)
		return VALUE_GENERATION(found) >= floor &&
		       VALUE_GENERATION(found) <= VALUE_GENERATION(c->last);
	return VALUE_KIND(found) == KIND_ZERO && c->zeroed && VALUE_GENERATION(c->zeroed) >= floor;
}

static const char *value_text(uint32_t v, char *buf, size_t cap)
{
	static const char *const kinds[] = { "anything", "data", "zeros", "?" };

	snprintf(buf, cap, "%s of %u%s", kinds[VALUE_KIND(v)], VALUE_GENERATION(v),
		 v & VALUE_UNSURE ? " (failed)" : "");
	return buf;
}

void cell_tell(const struct cell *c, uint64_t sector, uint32_t found, const uint8_t *bytes)
{
	char a[64], b[64], d[64];
	struct sector_head h;

	memcpy(&h, bytes, sizeof h);
	fprintf(stderr,
		"sector %llu holds %s; durable is %s, newest %s, zeroed by %u, discarded by %u\n",
		(unsigned long long)sector, value_text(found, a, sizeof a),
		value_text(c->floor, b, sizeof b), value_text(c->last, d, sizeof d),
		VALUE_GENERATION(c->zeroed), VALUE_GENERATION(c->discarded));
	if (!VALUE_KIND(found))
		fprintf(stderr, "  its head: magic %016llx sector %llu generation %u\n",
			(unsigned long long)h.magic, (unsigned long long)h.sector, h.generation);
}
