/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.h - which writes of a device may still land, and which its server may still lose
 *
 * Lies in memory that outlives the process (cache/arena.h), so offsets and numbers only. A successor
 * reads it before it writes anything: a range in flight when the predecessor died may change until the fence holds
 * (file: exclusive open) or the connection's remains are over (network); one that is unflushed
 * has to be written again from whoever still has the bytes when the server restarted too.
 *
 *   free --bd_submit--> in flight --done--> unflushed (devices with limits.keeps) --flush--> free
 *
 * L1 A record stands before its request reaches the transport, and goes after it is done (flushed) or refused. One that ends
 *    without an answer (expired, cancelled, cut off) may still land, and stays.
 * L2 Each record is written field by field and made valid by its last store, the state. A reader trusts nothing.
 *
 * A device takes (bd_env.ledger) what bd_ledger_init() made, or bd_ledger_read() accepted; a predecessor's records stay in
 * it, and are not used, until bd_ledger_clear(), which comes when no write is in flight or unflushed. It uses half of the
 * records at most, so that there is room beside those of one predecessor.
 *
 * Threads: the core's lock guards all of it; readers of a dead process's ledger run alone. */
#ifndef BACKENDS_BLOCK_LEDGER_H
#define BACKENDS_BLOCK_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "backends/block/device.h"

#define BD_LEDGER_MAGIC 0x72656764656c6462ULL /* "bdledger", little endian */
#define BD_LEDGER_RECORDS 16384u

enum bd_ledger_state { BD_LEDGER_FREE, BD_LEDGER_IN_FLIGHT, BD_LEDGER_UNFLUSHED };

struct bd_ledger_record {
	uint64_t off, len; /* bytes of the device */
	uint64_t stamp;    /* order of submission */
	_Atomic uint32_t state;
	uint32_t op; /* enum bd_op */
};

struct bd_ledger {
	uint64_t magic;
	uint32_t nrecords, pad;
	uint64_t pad2[6];
	struct bd_ledger_record records[];
};

#define BD_LEDGER_BYTES \
	(sizeof(struct bd_ledger) + BD_LEDGER_RECORDS * sizeof(struct bd_ledger_record))

/* Makes an empty ledger of bytes (BD_LEDGER_BYTES usually) of zeroed memory, 64-byte aligned; NULL: too small. */
struct bd_ledger *bd_ledger_init(void *mem, size_t bytes);

struct bd_ledger_range {
	uint64_t off, len, stamp;
	enum bd_ledger_state state;
	enum bd_op op;
};
/* What a dead process left, in order of submission: writes to out[0..cap), returns how many there are; ranges
 * that overflow, lie beyond size, or have unknown states are left out and counted in *nonsense.
 * -EINVAL: not a ledger, or its number of records does not fit bytes. */
int bd_ledger_read(const void *mem, size_t bytes, uint64_t size, struct bd_ledger_range *out,
		   unsigned cap, unsigned *nonsense);
/* Forgets all of it: the successor has dealt with it. */
void bd_ledger_clear(struct bd_ledger *l);

#endif
