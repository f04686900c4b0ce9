/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a ledger that a dead process left: refused, or ranges of the device in the order of their stamps. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ledger.h"

#define SIZE (1ull << 40)
#define CAP 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* As long as the input, so that a read behind it is seen. */
	uint8_t *mem = aligned_alloc(64, (size + 64) & ~(size_t)63);
	struct bd_ledger_range out[CAP];
	unsigned nonsense = 0;
	int n;

	if (!mem)
		abort();
	memset(mem, 0, (size + 64) & ~(size_t)63);
	memcpy(mem, data, size);
	n = bd_ledger_read(mem, size, SIZE, out, CAP, &nonsense);
	assert(n >= 0 || n == -EINVAL);
	for (int i = 0; i < n && i < (int)CAP; i++) {
		assert(out[i].len > 0 && out[i].off < SIZE && out[i].len <= SIZE - out[i].off);
		assert(out[i].state == BD_LEDGER_IN_FLIGHT || out[i].state == BD_LEDGER_UNFLUSHED);
		assert(i == 0 || out[i - 1].stamp <= out[i].stamp);
	}
	if (n >= 0) {
		struct bd_ledger *l = (struct bd_ledger *)mem;

		assert((size_t)n + nonsense <= l->nrecords);
		bd_ledger_clear(l);
		assert(bd_ledger_read(mem, size, SIZE, out, CAP, &nonsense) == 0 && nonsense == 0);
	}
	free(mem);
	return 0;
}
