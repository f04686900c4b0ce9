/* SPDX-License-Identifier: Apache-2.0 */
/* Any header over a good arena: attached only when nothing of the layout differs. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/arena.h"

#define PAGE 4096u
#define FRAMES 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t fixed = offsetof(struct arena_header, init_len);
	struct arena_header good, h;
	struct arena *a = NULL;
	struct err err = { "" };
	int fd;

	if (arena_create(PAGE, FRAMES, &fd) || pread(fd, &good, sizeof good, 0) != sizeof good)
		abort();
	h = good;
	/* What is xored in starts as no change: the fuzzer gets past the checksum. */
	for (size_t i = 0; i < size && i < sizeof h; i++)
		((uint8_t *)&h)[i] ^= data[i];
	if (pwrite(fd, &h, sizeof h, 0) != sizeof h)
		abort();
	if (arena_attach(fd, &a, &err)) {
		assert(!a && err.text[0]);
		close(fd);
		return 0;
	}
	assert(!memcmp(&h, &good, fixed));
	assert(a->hdr->init_len <= sizeof h.init_msg &&
	       a->hdr->init_reply_len <= sizeof h.init_reply);
	arena_frame(a, FRAMES - 1)[PAGE - 1] = 1;
	((uint8_t *)arena_ledger(a))[ARENA_LEDGER_BYTES - 1] = 1;
	arena_slot_buf(a, ARENA_SLOTS - 1)[ARENA_SLOT_LARGE - 1] = 1;
	arena_free(a);
	return 0;
}
