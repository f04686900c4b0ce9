/* SPDX-License-Identifier: Apache-2.0 */
/* recover_impl.h - what jrn_open() needs of recover.c */
#ifndef BACKENDS_BLOCK_EXT4_RECOVER_IMPL_H
#define BACKENDS_BLOCK_EXT4_RECOVER_IMPL_H

#include "backends/block/ext4/jlog_impl.h"

/* The number of the next transaction of a log whose contents do not count (J5): greater than any in it. */
int jlog_find_next(struct bd *dev, const struct ext4_super *super, const struct jlog_super *log,
		   uint32_t *out, struct err *err);

#endif
