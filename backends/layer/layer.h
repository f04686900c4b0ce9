/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - stackable layers: faults, delays and traces above any backend
 *
 * A layer fills the same table as a backend and passes on what it does not
 * touch; nodes are the lower backend's own. Closing a layer closes what is
 * below it.
 *
 *   fault:write=3:EIO     the 3rd write fails; 3+ from the 3rd on; 3x2 the 3rd and 4th;
 *         p=0.01,seed=7   * each with probability p. p alone: every operation, with EIO
 *   delay:read=5ms        a read starts 5 ms late (us, ms, s; 1 ms resolution).
 *                         Data operations wait on a thread of the layer's own,
 *                         others in their caller
 *   trace                 a debug message for each operation and its result
 *
 * Operations have the names of enum layer_op; "all" stands for each of them. */
#ifndef BACKENDS_LAYER_LAYER_H
#define BACKENDS_LAYER_LAYER_H

#include "backends/backend.h"

/* A table: clang-format would make stairs of it. */
/* clang-format off */
#define LAYER_OPS_TABLE(X)                                                                         \
	X(read) X(write) X(commit) X(root) X(lookup) X(getattr) X(setattr) X(access) X(readlink)   \
	X(mknod) X(mkdir) X(symlink) X(link) X(unlink) X(rmdir) X(rename) X(create) X(tmpfile)     \
	X(open) X(release) X(opendir) X(readdir) X(closedir) X(fsyncdir) X(statfs) X(getxattr)     \
	X(setxattr) X(listxattr) X(removexattr) X(fallocate) X(seek) X(copy_range) X(reserve)      \
	X(unreserve) X(node_save) X(node_restore)

enum layer_op {
#define X(name) LAYER_##name,
	LAYER_OPS_TABLE(X)
#undef X
	LAYER_OPS
};
/* clang-format on */

/* Puts the layers of spec, first one lowest, above below. Layers are separated
 * by commas; a part that does not start with a layer's name belongs to the one
 * before it: "fault:write=3:EIO,read=1+:EIO,trace". NULL and "" give below
 * itself. On failure below is still the caller's and nothing is above it. */
int layers_open(const char *spec, struct backend *below, struct backend **out, struct err *err);

/* ---- for tests: the fault layer of the stack that be is the top of ---- */

/* The nth call of op from now on fails with error (EIO, ...); nth 0: none does.
 * Forgets what was set for op before and counts anew. */
void fault_set(struct backend *be, enum layer_op op, unsigned nth, int error);
/* Every call of op fails from now on. */
void fault_set_always(struct backend *be, enum layer_op op, int error);
/* Calls of op since the last fault_set(), failed ones included. */
unsigned fault_count(struct backend *be, enum layer_op op);

#endif
