/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox.h - what the worker gives up before it reads its first foreign byte
 *
 *   uid           an id of its own where the namespace has one to spare, no groups (not dir: it acts
 *                 for callers; it keeps its id)
 *   capabilities  none; dir: the eight that acting for callers needs
 *   mounts        a namespace with one empty read-only folder; dir has the folder as a mount whose
 *                 ".." leads nowhere, and of /proc its own descriptors alone
 *   landlock      no file, dir: none but the folder's; no TCP connection, no signal to others
 *   limits        no core dump; descriptors and threads as needed
 *   seccomp       the system calls that the row needs; no program, socket, path from the root, ...
 *                 block: a ring that is there already, restricted to its device, may be started, entered and ended; no
 *                 other can be made; of ioctls its device's size and discard
 *
 * Besides no_new_privs, and not dumpable. All that needs a path or a privilege is done before, or
 * by the supervisor (errand.h, opener.h). What the kernel or the caller's rights do not offer lowers
 * the sandbox, with a line in the log each, or fails with sandbox=full.
 *
 * Threads: sandbox_enter() while there is only one; afterwards struct sandbox is read only. */
#ifndef FUSEFS_SANDBOX_H
#define FUSEFS_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "common/err.h"

#define SANDBOX_UID 65533   /* where it is to be had: systemd and Debian assign it to nobody */
#define SANDBOX_NOFILE 4096 /* descriptors of a worker without a folder: sessions, connections */
#define SANDBOX_NPROC 16384 /* threads of all workers with the same id of their own */
#define SANDBOX_SAID_MAX 112

enum sandbox_mode { SANDBOX_AUTO, SANDBOX_FULL, SANDBOX_OFF };

enum sandbox_part {
	SANDBOX_PART_UID,
	SANDBOX_PART_CAPABILITIES,
	SANDBOX_PART_MOUNTS,
	SANDBOX_PART_LANDLOCK,
	SANDBOX_PART_LIMITS,
	SANDBOX_PART_SECCOMP,
	SANDBOX_PARTS
};

struct sandbox {
	enum sandbox_mode mode;
	bool folder; /* dir's row; else that of nfs and memory */
	bool block;  /* and what a block device wants besides; never with folder */
	int64_t uid; /* -1: chosen */
	struct {
		bool missing;
		char said[SANDBOX_SAID_MAX];
	} part[SANDBOX_PARTS];
};

/* For stat. */
const char *sandbox_part_name(enum sandbox_part part);
/* "full", "partial" or "off" */
const char *sandbox_state(const struct sandbox *s);

/* Enters it. p: backend_prepare() filled it; dir's folder is replaced by a mount of it alone.
 * 0, or -errno with a sentence when something is missing and the mode is full, or an option
 * cannot be followed. */
int sandbox_enter(struct sandbox *s, struct be_prepared *p, struct err *err);

#endif
