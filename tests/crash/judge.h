/* SPDX-License-Identifier: Apache-2.0 */
/* judge.h - is the image that a power cut left one that everybody recovers, to the same bytes, and rightly?
 *
 *   own      jrn_recover(), then e2fsck -fn, which must have nothing to say
 *   e2fsck   e2fsck -y -E journal_only, then e2fsck -fn
 *   kernel   a loop mount, read and write, and umount; then e2fsck -fn
 *   oracle   the bytes of the payload (oracle.h)
 *
 * All leave the same bytes everywhere but in the journal, where the state of the log is, and in some fields of the
 * superblock (judge.c, own_fields). The image lies in a memory file that is written only where it differs; the loop device is kept.
 *
 * Threads: one judge, one thread. The kernel's judge needs root, and makes a mount namespace for the process. */
#ifndef TESTS_CRASH_JUDGE_H
#define TESTS_CRASH_JUDGE_H

#include <stdbool.h>

#include "backends/block/ext4/journal.h"
#include "tests/crash/base.h"
#include "tests/crash/oracle.h"
#include "tests/crash/overlay.h"

#define JUDGE_OWN 1u
#define JUDGE_E2FSCK 2u
#define JUDGE_KERNEL 4u
#define JUDGE_ORACLE 8u
#define JUDGE_ALL 15u

#define JUDGE_SILENT 4096u

struct judge {
	unsigned which;
	const struct base *base;       /* borrowed; judge_base() */
	int image;                     /* the memory file */
	uint8_t *map;                  /* its bytes, */
	size_t map_bytes;              /* so many */
	uint8_t *ref;                  /* what the first judge left */
	const char *first;             /* who that was; NULL: none yet */
	uint8_t *unread;               /* a byte a block: e2fsck -fn does not read it; owned */
	uint64_t silent[JUDGE_SILENT]; /* hashes of what it had nothing to say of */
	unsigned skipped;
	/* The kernel's. */
	int loop;
	char device[32], mnt[256];
};

struct verdict {
	bool good;
	uint64_t payload; /* hash of it, after the recovery */
	uint32_t mount, ord;
	char why[1024];
};

/* dir: where an empty folder for mounts may be made. -ENOTSUP with a reason: the kernel's judge cannot work here. */
int judge_init(struct judge *j, unsigned which, const char *dir, struct err *err);
/* From now on images are states of this file system. */
int judge_base(struct judge *j, const struct base *base, struct err *err);
void judge_done(struct judge *j);
/* o NULL: the oracle is not asked. */
void judge_state(struct judge *j, const struct overlay *state, const struct oracle *o,
		 uint32_t point, struct verdict *out);

/* Our recovery of an image; log_fd_take >= 0: what it does is recorded there. */
int recover_image(struct overlay *o, int log_fd_take, struct jrn_recovered *out, struct err *err);

#endif
