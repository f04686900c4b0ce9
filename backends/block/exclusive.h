/* SPDX-License-Identifier: Apache-2.0 */
/* exclusive.h - a file or block device, opened so that no second one of us has it: the fence
 *
 * A block device is opened with O_EXCL, a file is locked with flock(). Both last as long as any descriptor
 * that was made from this one is open, or a request of its last owner is under way: so who gets the
 * descriptor knows that nothing of a predecessor can land any more, even of one that was killed.
 *
 * It may be handed to another process; who opened it then closes his own, for both hold it.
 *
 * path may be a link, as those of arrays are, whose targets get other names and letters: what was opened
 * is what it led to before and leads to afterwards.
 *
 * Threads: any. */
#ifndef BACKENDS_BLOCK_EXCLUSIVE_H
#define BACKENDS_BLOCK_EXCLUSIVE_H

#include <stdint.h>

#include "common/err.h"

#define BD_BUSY_MS 30000u   /* wait for a predecessor's last requests, where nobody says how long */
#define BD_BUSY_LOOK_MS 20u /* between two attempts */
#define BD_STALE_TRIES 8u   /* looks at a link that moves, where nothing is waited for */

#define BD_OPEN_READONLY 1u /* for reading alone; as exclusive */
#define BD_OPEN_BUFFERED 2u /* without O_DIRECT */

/* Opens path, with O_DIRECT where its file system has it (F_GETFL tells), and waits up to busy_ms while
 * another has it; 0: one attempt. Returns the descriptor, close-on-exec, or -errno with a sentence that
 * names path: -EBUSY another has it still, -ENOTBLK neither file nor block device, -ESTALE
 * it led somewhere else each time. */
int bd_exclusive_open(const char *path, unsigned flags, uint32_t busy_ms, struct err *err);

/* How large it is, in bytes. 0 or -errno. */
int bd_exclusive_size(int fd, uint64_t *out);

#endif
