/* SPDX-License-Identifier: Apache-2.0 */
/* readahead.h - what an open handle's reads say about its next ones
 *
 * Several streams a handle, each with the offset where its next read should
 * start. A read that fits a stream grows the stream's window up to the limit; a
 * read that fits none takes over the stream longest unused and starts small.
 * Threads: the calls for one handle may run at once; the struct locks itself. */
#ifndef CACHE_READAHEAD_H
#define CACHE_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/lock.h"

#define RA_STREAMS 4
#define RA_START (128u << 10) /* first window, bytes */
#define RA_SLACK (1u << 20)   /* the kernel's own readahead reorders reads within this */

struct ra_stream {
	uint64_t next;  /* end of the last read */
	uint64_t ahead; /* end of what was asked for in advance */
	uint64_t window;
	uint64_t used; /* tick of last use */
};

struct readahead {
	struct mutex lock;
	struct ra_stream s[RA_STREAMS];
	uint64_t tick;
};

struct ra_advice {
	bool sequential;   /* whole frames are worth reading */
	uint64_t off, len; /* read this in advance; len 0: nothing */
};

void readahead_init(struct readahead *ra);
void readahead_done(struct readahead *ra);
/* A read of [off, off+len) is about to be served; max: the limit in bytes. */
struct ra_advice readahead_note(struct readahead *ra, uint64_t off, uint64_t len, uint64_t max);

#endif
