/* SPDX-License-Identifier: Apache-2.0 */
/* A log of writes from anybody: it is refused with a sentence, or its entries lie within it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/block/record.h"

static void check(const struct record_log *log)
{
	const uint8_t *begin = log->map, *end = begin + log->map_bytes;
	volatile uint8_t sum = 0;

	for (unsigned i = 0; i < log->n; i++) {
		const struct record_item *item = &log->items[i];
		uint64_t bytes = item->e.flags & RECORD_MARK ? item->e.data_len :
							       item->e.nr_sectors * 512;

		assert(item->e.flags || item->e.nr_sectors);
		if (!item->data)
			continue;
		assert(item->data >= begin && item->data <= end);
		assert(bytes <= (uint64_t)(end - item->data));
		for (uint64_t at = 0; at < bytes; at++)
			sum = (uint8_t)(sum + item->data[at]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[64];
	struct err err = { "" };
	struct record_log log;

	if (fd < 0) {
		fd = memfd_create("log", MFD_CLOEXEC);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	}
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	if (record_load(path, &log, &err) == 0) {
		check(&log);
		record_unload(&log);
	} else {
		assert(err.text[0]);
	}
	return 0;
}
