/* SPDX-License-Identifier: Apache-2.0 */
/* litter.h - a journal that mke2fs left as the disk was: the log of an older file system goes on behind ours
 *
 * Such a log has a transaction with the right number in the right place seldom, and then only the checksums and the time
 * of its commit tell that it is over. In one half of them all checksums are wrong, in the other that of the commit
 * block alone. The places are chosen by the run: behind commits of the first round through the log, where the run
 * had not written yet. Where the log begins nothing of it may ever be found (jrn_log_begin()):
 * no commit of ours is before it to compare times with, and every recovery would stop. */
#ifndef TESTS_CRASH_LITTER_H
#define TESTS_CRASH_LITTER_H

#include "backends/block/record.h"
#include "tests/crash/base.h"

/* Changes b, the file system that the log begins with; how many transactions it put there. */
unsigned litter_put(struct base *b, const struct record_log *log);

#endif
