/* SPDX-License-Identifier: Apache-2.0 */
/* shadow.h - what each sector of a device may hold
 *
 * A sector (512 bytes) that was written tells its number, the generation of the write and the stamp of this table, and is
 * filled with bytes that follow from these: whatever is read is either one exact write of ours, zeros, or neither.
 *
 *   value = generation << 3 | kind; generations grow with each request that changes something
 *
 *   floor   durable: what a flush or FUA has acknowledged; nothing older may be found
 *   last    newest that was sent; found on a device that lives, unless a request failed (UNSURE)
 *   zeroed, discarded   the newest of these; a discarded sector holds anything until it is written
 *
 * The table may lie in a file, so that it outlives whoever is killed: a value stands there before its request is sent.
 * Threads: one at a time, but for sector_fill() and sector_find(). */
#ifndef TESTS_DEVICE_SHADOW_H
#define TESTS_DEVICE_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR 512u

enum kind { KIND_ANY, KIND_DATA, KIND_ZERO };
#define VALUE_UNSURE 4u
#define VALUE_KIND(v) ((enum kind)((v)&3))
#define VALUE_GENERATION(v) ((v) >> 3)
#define VALUE(generation, kind) ((uint32_t)(generation) << 3 | (kind))
#define GENERATION_MAX (1u << 28)

struct cell {
	uint32_t floor, last, zeroed, discarded;
};

struct shadow_head {
	uint64_t magic,
		stamp; /* stamp: another for each table, so that what lay there before is none of ours */
	uint64_t sectors, room; /* in use; in the table */
	uint32_t block, generation;
};

/* A change that is done and waits for a flush. */
struct shadow_change {
	uint64_t off, len;
	uint32_t value;
};

struct shadow {
	struct shadow_head *head;
	struct cell *cells;
	uint64_t map_bytes;
	/* changes in the order of their ends; those before covered are below the floor */
	struct shadow_change *changes;
	uint64_t nchanges, cap, covered;
};

/* A table of its own (path NULL), or the one in the file at path: made when missing, else its stamp and generations go
 * on. Complains on stderr and exits on failure, as do the others: this is a test. */
void shadow_open(struct shadow *s, const char *path, uint32_t block, uint64_t bytes,
		 uint64_t room_bytes);
void shadow_close(struct shadow *s);
/* The device has grown. */
void shadow_grow(struct shadow *s, uint64_t bytes);
uint64_t shadow_room(const struct shadow *s);

/* The next generation as a value of this kind. */
uint32_t shadow_next(struct shadow *s, enum kind kind);
/* A request that changes [off, off + len) to value is about to be sent; old gets what stood there. */
void shadow_begin(struct shadow *s, uint64_t off, uint64_t len, uint32_t value, struct cell *old);
/* It was refused: nothing has changed. */
void shadow_undo(struct shadow *s, uint64_t off, uint64_t len, const struct cell *old);
/* It is done; durable: by FUA. */
void shadow_done(struct shadow *s, uint64_t off, uint64_t len, uint32_t value, bool durable);
/* It failed: old or new, wholly or in parts. */
void shadow_failed(struct shadow *s, uint64_t off, uint64_t len, uint32_t value);
/* What a flush that is submitted now will cover, and that it is done. */
uint64_t shadow_flush_begin(const struct shadow *s);
void shadow_flush_done(struct shadow *s, uint64_t covers);

void sector_fill(uint8_t *p, uint64_t stamp, uint64_t sector, uint32_t generation);
/* What it holds: a value of KIND_DATA; VALUE(0, KIND_ZERO); 0 for neither. */
uint32_t sector_find(const uint8_t *p, uint64_t stamp, uint64_t sector);
/* May a live device answer with found? */
bool cell_is(const struct cell *c, uint32_t found);
/* May a device that was cut off, killed or closed hold found? */
bool cell_may_be(const struct cell *c, uint32_t found);
/* From here on it holds found, whatever was sent before. */
void shadow_settle(struct shadow *s, uint64_t sector, uint32_t found);
/* A sentence on sector, for a person. */
void cell_tell(const struct cell *c, uint64_t sector, uint32_t found, const uint8_t *bytes);

#endif
