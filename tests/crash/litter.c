/* SPDX-License-Identifier: Apache-2.0 */
/* litter.c - see litter.h */
#include "tests/crash/litter.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jbd2.h"
#include "common/cleanup.h"

enum { SECTOR = 512, LONG_AGO = 1000000000, NONE = BASE_JOURNAL };

struct litter {
	struct base *b;
	const struct record_log *log;
	bool used[BASE_JOURNAL]; /* written by the run, or by us */
	unsigned *index;         /* of a block of the file system; NONE: not of the journal */
	uint64_t seq;
};

static unsigned index_of(const struct litter *l, uint64_t sector)
{
	uint64_t block = sector * SECTOR / l->b->kind->block_size;

	return block < l->b->size / l->b->kind->block_size ? l->index[block] : (unsigned)NONE;
}

/* Does an entry let the log begin at block at, with transaction number? */
static bool begins_at(const struct litter *l, unsigned at, uint32_t number)
{
	uint64_t super = l->b->journal[0] * l->b->kind->block_size / SECTOR;

	for (unsigned i = 0; i < l->log->n; i++) {
		const struct record_item *it = &l->log->items[i];
		struct jbd2_super s;

		if (it->e.flags & (RECORD_MARK | RECORD_DISCARD) || it->e.sector != super ||
		    !it->e.nr_sectors)
			continue;
		memcpy(&s, it->data, offsetof(struct jbd2_super, error));
		if (ntohl(s.start) == at && ntohl(s.sequence) == number)
			return true;
	}
	return false;
}

/* A descriptor with one tag for a block of the payload, the block, and a commit of long ago. */
static void put(struct litter *l, const unsigned at[3], uint32_t number)
{
	struct jbd2_header head = { htonl(JBD2_MAGIC), htonl(JBD2_DESCRIPTOR), htonl(number) };
	struct jbd2_commit commit = { .h = head,
				      .checksum = { htonl(0xc0ffee) },
				      .seconds = htobe64(LONG_AGO) };
	struct jbd2_tag3 tag = { 0, htonl(JBD2_TAG_LAST | JBD2_TAG_SAME_UUID), 0, 0 };
	unsigned bs = l->b->kind->block_size;

	tag.block_low = htonl((uint32_t)l->b->payload[rand_below(&l->seq, BASE_BLOCKS)]);
	commit.h.type = htonl(JBD2_COMMIT);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *block = l->b->bytes + l->b->journal[at[i]] * bs;

		memset(block, i == 1 ? 0x11 : 0, bs);
		if (i == 0) {
			memcpy(block, &head, sizeof head);
			memcpy(block + sizeof head, &tag, sizeof tag);
		} else if (i == 2) {
			memcpy(block, &commit, sizeof commit);
		}
	}
}

/* Behind a commit block at c. */
static bool put_behind(struct litter *l, unsigned c, uint32_t number)
{
	unsigned at[3];

	for (unsigned i = 0; i < 3; i++) {
		c = c + 1 == BASE_JOURNAL ? 1 : c + 1;
		at[i] = c;
		if (l->used[c])
			return false;
	}
	if (begins_at(l, at[0], number))
		return false;
	put(l, at, number);
	for (unsigned i = 0; i < 3; i++)
		l->used[at[i]] = true;
	return true;
}

unsigned litter_put(struct base *b, const struct record_log *log)
{
	uint64_t nblocks = b->size / b->kind->block_size;
	struct litter *l = xalloc(1, sizeof *l);
	unsigned n = 0;

	l->b = b;
	l->log = log;
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
			n += put_behind(l, index_of(l, it->e.sector), ntohl(head.sequence) + 1);
	}
	free(l->index);
	free(l);
	return n;
}
