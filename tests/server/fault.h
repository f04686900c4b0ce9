/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - which fault happens to which call; the table itself is fault.def
 *
 * A fault is off, or happens to the next `count` calls that it fits, or to each
 * with a probability. All chance comes from one generator, so that a seed and
 * the same calls in the same order make the same run. */
#ifndef TESTS_SERVER_FAULT_H
#define TESTS_SERVER_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bits: procedures of NFSv3 by number, and two that are none. */
#define P(name) (1u << NFS3_##name)
#define P_ACCEPT (1u << 22)
#define P_MNT (1u << 23)
#define P_ANY 0x3ffffeu /* all procedures but NULL */
#define P_LIST (P(READDIR) | P(READDIRPLUS))
#define P_MAKE (P(CREATE) | P(MKDIR) | P(SYMLINK) | P(MKNOD))
#define P_CHANGES (P_MAKE | P(SETATTR) | P(WRITE) | P(REMOVE) | P(RMDIR) | P(RENAME) | P(LINK))
#define P_OPAQUE (P(READ) | P(LOOKUP) | P(READLINK) | P_LIST | P_MAKE)

enum fault {
#define FAULT(name, class, procs, help) F_##name,
#include "tests/server/fault.def"
#undef FAULT
	F_COUNT
};

struct fault_state {
	uint32_t count, permille;
	uint32_t procs;    /* 0: those of the table */
	uint32_t at;       /* cut: the byte, or FAULT_ANYWHERE */
	uint64_t injected; /* ever */
};

#define FAULT_ANYWHERE UINT32_MAX

struct faults {
	struct fault_state f[F_COUNT];
	uint64_t rng;
};

void faults_init(struct faults *f, uint64_t seed);
/* Does it happen to this procedure (a bit) now? Counts it. */
bool fault_hit(struct faults *f, enum fault which, uint32_t proc_bit);
uint32_t fault_random(struct faults *f, uint32_t below);
/* "NAME [count=N] [permille=N] [proc=NAME] [at=N]", one call when nothing is said;
 * NULL, or what is wrong. Changes its argument. */
const char *faults_set(struct faults *f, char *words);
/* "PROFILE[:permille]": none, lossless, hostile, or names by comma. */
const char *faults_profile(struct faults *f, const char *profile);
void faults_clear(struct faults *f); /* keeps the counts */
void faults_list(FILE *out);
void faults_stats(const struct faults *f, FILE *out); /* "fault NAME N" */
const char *proc_name(unsigned proc);

#endif
