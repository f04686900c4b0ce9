/* SPDX-License-Identifier: Apache-2.0 */
/* overlay.h - a disk image that is another one, but for some units; and a device over it
 *
 *   flat bytes (the base) <- overlay <- overlay <- ...      the ones below must not change meanwhile
 *
 * Making one costs nothing, writing copies a unit of OVERLAY_UNIT bytes at a time. The hash is that of all bytes,
 * kept up by each write, so that two states with equal bytes are known without looking at them.
 *
 * Threads: one at a time; the device's own while one is open. Out of memory ends the program, as in all of tests/crash. */
#ifndef TESTS_CRASH_OVERLAY_H
#define TESTS_CRASH_OVERLAY_H

#include <stddef.h>
#include <stdint.h>

#include "backends/block/device.h"

#define OVERLAY_UNIT 1024u

struct overlay {
	const struct overlay *below; /* borrowed; NULL: flat is the base */
	const uint8_t *flat;         /* borrowed; size bytes */
	uint64_t size, hash;
	unsigned nunits, changed;
	uint8_t **own;  /* a unit each; NULL: as below */
	unsigned *list; /* those that are not NULL */
};

/* A multiple of OVERLAY_UNIT bytes. */
void overlay_base(struct overlay *o, const uint8_t *flat, uint64_t size);
void overlay_over(struct overlay *o, const struct overlay *below);
void overlay_done(struct overlay *o);
/* Gives up what was changed. */
void overlay_reset(struct overlay *o);

void overlay_read(const struct overlay *o, void *buf, size_t len, uint64_t off);
void overlay_write(struct overlay *o, const void *buf, size_t len, uint64_t off);
/* Makes the first len bytes of flat the same; how many units differed. */
unsigned overlay_copy(const struct overlay *o, uint8_t *flat, uint64_t len);

/* A device over o, volatile, with FUA, whose requests end in another order than they came when shuffle is not 0
 * (a seed). Then one write with FUA in four takes its time, too, and others overtake it: so who does not wait for it
 * shows in the order of what was done. Its thread: "overlay". */
int overlay_open(struct overlay *o, uint64_t shuffle, struct bd **out, struct err *err);
/* Of such a device: from now on small writes without FUA take their time, and the newest request ends first: who sends
 * many of them waits, and others overtake. */
void overlay_slow(struct bd *dev, bool on);

/* ---- what all of tests/crash uses ------------------------------------- */

/* Ends the program with a sentence. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void *xalloc(size_t n, size_t size);
/* The caller's to free. */
char *xprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* 64 bits of bytes; good enough to tell blocks apart, no more. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
uint64_t mix64(uint64_t x);
/* A number below n (not 0) from a sequence. */
uint64_t rand_below(uint64_t *seq, uint64_t n);

#endif
