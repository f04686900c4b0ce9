/* SPDX-License-Identifier: Apache-2.0 */
/* content.c - the bytes of the workload's blocks
 *
 *   0    random; or the head of a journal block
 *   64   stamp: block, transaction, version, checksum of these
 *   96   random
 *
 * A forged descriptor has one tag, for a block of the payload; behind it come a block of anything and a forged commit. When the log
 * has gone round, and old log blocks stand where the next transaction is expected, these are a transaction to a reader,
 * unless they were escaped. */
#include <arpa/inet.h>
#include <string.h>

#include "backends/block/ext4/jbd2.h"
#include "common/crc32c.h"
#include "tests/crash/workload_impl.h"

enum { SECTOR = 512, FORGED_SPREAD = 2 };

struct stamp {
	uint64_t version;
	uint32_t block, tid, checksum, pad[3];
};
static_assert(sizeof(struct stamp) == STAMP_BYTES, "layout");

void content_stamp(unsigned block, uint32_t tid, uint64_t version, uint8_t *stamp)
{
	struct stamp s = { .version = version, .block = block, .tid = tid };

	s.checksum = crc32c(~0u, &s, sizeof s);
	memcpy(stamp, &s, sizeof s);
}

void content_hash(const struct run *r, const uint8_t *bytes, uint64_t sector[SECTORS_MAX])
{
	for (unsigned i = 0; i < r->block_size / SECTOR; i++)
		sector[i] = hash_bytes(bytes + i * SECTOR, SECTOR, i);
}

uint32_t content_sequence(struct actor *a)
{
	struct run *r = a->r;
	struct jrn_counts c;
	uint64_t each;

	jrn_counts(r->jrn, &c);
	each = r->style == STEADY ? r->steady + 2 : c.commits ? c.blocks / c.commits + 3 : 16;
	return c.running + (uint32_t)(r->super.journal_blocks / each) +
	       (uint32_t)rand_below(&a->seq, FORGED_SPREAD);
}

static void forge(struct actor *a, enum flavour flavour, uint8_t *out)
{
	uint32_t type = flavour == FORGED_COMMIT ? JBD2_COMMIT : JBD2_DESCRIPTOR;
	struct jbd2_header head = { htonl(JBD2_MAGIC), htonl(type), htonl(a->forged) };
	uint64_t victim = a->r->conf->base->payload[rand_below(&a->seq, BASE_BLOCKS)];
	struct jbd2_tag tag = { htonl((uint32_t)victim), 0,
				htons(JBD2_TAG_LAST | JBD2_TAG_SAME_UUID), 0 };

	memset(out, 0, STAMP_AT);
	memcpy(out, &head, sizeof head);
	if (flavour == FORGED_DESCRIPTOR)
		memcpy(out + sizeof head, &tag, sizeof tag);
}

void content_fill(struct actor *a, unsigned block, enum flavour flavour, uint64_t version,
		  uint8_t *out)
{
	uint32_t magic = htonl(JBD2_MAGIC);
	uint64_t seq = mix64(a->r->conf->seed ^ version << 20 ^ block);

	for (unsigned i = 0; i < a->r->block_size; i += sizeof seq) {
		uint64_t word = rand_below(&seq, UINT64_MAX);

		memcpy(out + i, &word, sizeof word);
	}
	if (flavour == MAGIC)
		memcpy(out, &magic, sizeof magic);
	else if (flavour != PLAIN)
		forge(a, flavour, out);
}
