/* SPDX-License-Identifier: Apache-2.0 */
/* litter.c - see litter.h */
#include "tests/crash/litter.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jbd2.h"
#include "common/cleanup.h"
#include "common/crc32c.h"

enum { SECTOR = 512, LONG_AGO = 1000000000, NONE = BASE_JOURNAL };

struct litter {
	struct base *b;
	bool used[BASE_JOURNAL]; /* written by the run, or by us */
	unsigned *index;         /* of a block of the file system; NONE: not of the journal */
	uint64_t seq;
	unsigned n;
};

static unsigned index_of(const struct litter *l, uint64_t sector)
{
	uint64_t block = sector * SECTOR / l->b->kind->block_size;

	return block < l->b->size / l->b->kind->block_size ? l->index[block] : (unsigned)NONE;
}

/* What the journal's checksums begin with. */
static uint32_t seed_of(const struct base *b)
{
	const struct jbd2_super *s = (const void *)(b->bytes + b->journal[0] * b->kind->block_size);

	return crc32c(~0u, s->uuid, sizeof s->uuid);
}

/* A descriptor with one tag for a block of the payload, the block, and a commit of long ago. */
static void put(struct litter *l, const unsigned at[3], uint32_t number)
{
	struct jbd2_header head = { htonl(JBD2_MAGIC), htonl(JBD2_DESCRIPTOR), htonl(number) };
	struct jbd2_commit commit = { .h = head,
				      .checksum = { htonl(0xc0ffee) },
				      .seconds = htobe64(LONG_AGO) };
	struct jbd2_tag3 tag = { 0, htonl(JBD2_TAG_LAST), 0, 0 };
	uint32_t seed = ++l->n % 2 ? seed_of(l->b) : 0xbad, sum;
	unsigned bs = l->b->kind->block_size;
	uint8_t *block[3];

	for (unsigned i = 0; i < 3; i++) {
		block[i] = l->b->bytes + l->b->journal[at[i]] * bs;
		memset(block[i], 0, bs);
	}
	memset(block[1], 0x11, bs);
	sum = crc32c(seed, &head.sequence, sizeof head.sequence);
	tag.checksum = htonl(crc32c(sum, block[1], bs));
	tag.block_low = htonl((uint32_t)l->b->payload[rand_below(&l->seq, BASE_BLOCKS)]);
	memcpy(block[0], &head, sizeof head);
	memcpy(block[0] + sizeof head, &tag, sizeof tag);
	sum = htonl(crc32c(seed, block[0], bs));
	memcpy(block[0] + bs - sizeof sum, &sum, sizeof sum);
	commit.h.type = htonl(JBD2_COMMIT);
	memcpy(block[2], &commit, sizeof commit);
}

/* Behind a commit block at c. */
static void put_behind(struct litter *l, unsigned c, uint32_t number)
{
	unsigned at[3];

	for (unsigned i = 0; i < 3; i++) {
		c = c + 1 == BASE_JOURNAL ? 1 : c + 1;
		at[i] = c;
		if (l->used[c])
			return;
	}
	put(l, at, number);
	for (unsigned i = 0; i < 3; i++)
		l->used[at[i]] = true;
}

unsigned litter_put(struct base *b, const struct record_log *log)
{
	uint64_t nblocks = b->size / b->kind->block_size;
	struct litter *l = xalloc(1, sizeof *l);
	unsigned n;

	l->b = b;
	l->seq = log->n;
	l->index = xalloc(nblocks, sizeof *l->index);
	for (uint64_t i = 0; i < nblocks; i++)
		l->index[i] = NONE;
	for (unsigned i = 0; i < BASE_JOURNAL; i++)
		l->index[b->journal[i]] = i;
	for (unsigned i = 0; i < log->n; i++) {
		const struct record_item *it = &log->items[i];
		struct jbd2_header head;

		if (it->e.flags & (RECORD_MARK | RECORD_DISCARD) || !it->e.nr_sectors)
			continue;
		for (uint64_t s = 0; s < it->e.nr_sectors; s++)
			if (index_of(l, it->e.sector + s) != NONE)
				l->used[index_of(l, it->e.sector + s)] = true;
		memcpy(&head, it->data, sizeof head);
		if (it->e.flags & RECORD_FUA && index_of(l, it->e.sector) != NONE &&
		    head.magic == htonl(JBD2_MAGIC) && head.type == htonl(JBD2_COMMIT))
			put_behind(l, index_of(l, it->e.sector), ntohl(head.sequence) + 1);
	}
	n = l->n;
	free(l->index);
	free(l);
	return n;
}
