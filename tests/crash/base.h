/* SPDX-License-Identifier: Apache-2.0 */
/* base.h - the file system that a run begins with
 *
 * Made by mke2fs: a journal of the smallest size and one file, "payload", whose blocks are those that the
 * test journals and writes. Everything else stays as mke2fs made it, so that e2fsck has nothing to say. */
#ifndef TESTS_CRASH_BASE_H
#define TESTS_CRASH_BASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "tests/crash/overlay.h"

#define BASE_BLOCKS 256u   /* of payload */
#define BASE_JOURNAL 1024u /* of the journal */
/* Fields of the superblock that transactions change. */
#define BASE_SUPER_LABEL_AT 0x78u    /* s_volume_name; empty at first */
#define BASE_SUPER_LABEL 16u         /* bytes */
#define BASE_SUPER_WRITTEN_AT 0x178u /* s_kbytes_written */

struct base_kind {
	const char *name, *what;
	unsigned block_size;
	const char *journal_mib, *size, *features;
	bool litter;       /* litter.h */
	uint32_t sequence; /* that the journal begins with; 0: as mke2fs made it */
};
extern const struct base_kind base_kinds[];
extern const unsigned base_nkinds;

struct base {
	const struct base_kind *kind;
	uint8_t *bytes;                 /* owned */
	uint64_t size, used;            /* bytes; those from used on are free space */
	uint64_t payload[BASE_BLOCKS];  /* block numbers */
	uint64_t journal[BASE_JOURNAL]; /* the same of the journal */
	uint8_t *log;                   /* a byte a block: is it of the journal? Owned */
};

/* Makes the file system in dir/base-NAME and reads it; the file goes again. */
int base_make(const struct base_kind *kind, const char *dir, struct base *out, struct err *err);
/* The same of an image that base_make() made once. */
int base_read(const struct base_kind *kind, const char *path, struct base *out, struct err *err);
/* The payload's blocks, one after the other. */
void base_payload(const struct base *b, const struct overlay *o, uint8_t *out);
void base_done(struct base *b);
const struct base_kind *base_find(const char *name); /* NULL: none has this name */

#endif
