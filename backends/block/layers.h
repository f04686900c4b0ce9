/* SPDX-License-Identifier: Apache-2.0 */
/* layers.h - layers above a device: a log of all that happens, power cuts, faults, delays
 *
 * A layer is a device above another, and owns it: closing the top closes all. Each takes the lower one's limits, but for
 * what it says below. In a URI or option they are a list, first one lowest, parts as in
 * backends/layer/layer.h: "fault:write=3:EIO,record:file=/tmp/log".
 *
 *   record:file=PATH            writes the dm-log-writes format (record.h), all requests in the order of their
 *                               completion, with flushes where they were submitted and marks. It has a volatile
 *                               cache and FUA whatever is below, so that it sees each flush. Requests end when they
 *                               are in the log; when that cannot be written the device fails
 *   powercut:seed=N             holds writes in memory until a flush or FUA; bd_powercut() drops what was not
 *                               flushed, but for a subset chosen by seed, torn between blocks (512 bytes mostly).
 *                               Unflushed writes are lost at the close, too
 *   fault:write=3:EIO,p=0.01    the 3rd write fails; 3+ from the 3rd on; 3x2 the 3rd and 4th, then none (transient);
 *         ,seed=7               * each with probability p. Operations: read write flush discard zero fua; all stands
 *                               for each but fua. p alone: all of them, with EIO.
 *                               after=1: the lower device does the work, and the caller hears of an error
 *   delay:read=5ms,jitter=2ms   starts that much later (us, ms, s); jitter adds up to so much to the operations that
 *         ,seed=7               are named, or to all when none is, which reorders
 *
 * Threads: as a device. Tests' functions: any thread. */
#ifndef BACKENDS_BLOCK_LAYERS_H
#define BACKENDS_BLOCK_LAYERS_H

#include "backends/block/device.h"

/* Puts the layers of spec above below. NULL and "" give below itself. On failure below is still the caller's and
 * nothing is above it. */
int bd_layers_open(const char *spec, struct bd *below, struct bd **out, struct err *err);

/* Single ones. On failure below is still the caller's. */
int bd_record_open(struct bd *below, int log_fd_take, struct bd **out, struct err *err);
int bd_powercut_open(struct bd *below, uint64_t seed, struct bd **out, struct err *err);

/* A mark in the log of the record layer dev: "what was acknowledged until here". It stands behind all that was done
 * before the call. At most BD_MARK_MAX bytes of text. -EINVAL, -ENOMEM, -EIO when the log has failed. It does not wait
 * for the log, but for its thread when marks come much faster than they are written. */
#define BD_MARK_MAX 400u
int bd_record_mark(struct bd *dev, const char *text);

/* The plug is pulled from the powercut layer dev: of the unflushed writes a subset chosen by the seed reaches the lower
 * device, each wholly, not, or torn; all later requests fail with -EIO. Returns when the lower device holds what it
 * will. To go on: close, open anew. -EINVAL: no such layer; or an error of the lower device. */
int bd_powercut(struct bd *dev);

#endif
