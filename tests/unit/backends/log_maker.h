/* SPDX-License-Identifier: Apache-2.0 */
/* log_maker.h - logs made by hand for tests of the recovery, of every format that jbd2 has had
 *
 * It shares no code with what it tests but crc32c() and the numbers of jbd2.h. */
#ifndef TESTS_UNIT_LOG_MAKER_H
#define TESTS_UNIT_LOG_MAKER_H

#include "common/crc32c.h"
#include "tests/unit/backends/ext4_test.h"

struct maker {
	struct image im; /* owned */
	struct ext4_super s;
	uint32_t incompat, compat, seed;
	uint32_t first, total, start;
	uint32_t pos, seq; /* of the next block, transaction */
	uint64_t payload;
	uint64_t seconds; /* of the next commit block */
	uint32_t v1;      /* running checksum of the open transaction */
	uint8_t *last;    /* descriptor, revoke or commit block written last */
};

static inline void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}

static inline void put16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, 2);
}

static inline bool maker_csum(const struct maker *m)
{
	return m->incompat & (JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3);
}

/* Bit by bit, most significant first. */
static inline uint32_t maker_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n * 8; i++) {
		uint32_t bit = p[i / 8] >> (7 - i % 8) & 1;

		crc = (crc << 1) ^ (((crc >> 31) ^ bit) ? 0x04c11db7u : 0);
	}
	return crc;
}

static inline uint8_t *maker_log(struct maker *m, uint32_t log)
{
	return log_at(m->im.bytes, &m->s, log);
}

/* The journal superblock and the flag of the file system, after a change of what m says. */
static inline void maker_super(struct maker *m)
{
	uint8_t *j = maker_log(m, 0), *raw = m->im.bytes + EXT4_SUPER_OFFSET;
	uint32_t crc;

	put32(j + 0x18, m->seq);
	put32(j + 0x1c, m->start);
	put32(j + 0x24, m->compat);
	put32(j + 0x28, m->incompat);
	j[0x50] = maker_csum(m) ? JBD2_CRC32C : 0;
	put32(j + 0xfc, 0);
	if (maker_csum(m))
		put32(j + 0xfc, crc32c(~0u, j, 1024));
	raw[0x60] |= 4;
	if (m->s.csum) {
		crc = htole32(crc32c(~0u, raw, 0x3fc));
		memcpy(raw + 0x3fc, &crc, 4);
	}
}

static inline void maker_init(struct maker *m, const char *options, size_t mib, uint32_t incompat,
			      uint32_t compat)
{
	struct fake_device *f;
	struct bd *dev;
	struct err err = { "" };

	*m = (struct maker){ .im = image_make(options, mib), .incompat = incompat };
	m->compat = compat;
	m->seconds = 1000;
	m->v1 = ~0u;
	dev = device_with(&m->im, NULL, &f);
	if (ext4_super_read(dev, &m->s, &err))
		fail_msg("%s", err.text);
	bd_close(dev);
	m->payload = m->s.blocks - PAYLOAD;
	m->seed = crc32c(~0u, maker_log(m, 0) + 0x30, 16);
	m->first = m->start = m->pos = 1;
	m->total = m->s.journal_blocks;
	m->seq = 100;
	maker_super(m);
}

static inline void maker_done(struct maker *m)
{
	ext4_super_done(&m->s);
	image_done(&m->im);
}

/* The log begins at this block with this number. */
static inline void maker_begin(struct maker *m, uint32_t pos, uint32_t seq)
{
	m->start = m->pos = pos;
	m->seq = seq;
	maker_super(m);
}

static inline uint8_t *maker_next(struct maker *m)
{
	uint8_t *b = maker_log(m, m->pos);

	if (++m->pos == m->total)
		m->pos = m->first;
	return b;
}

static inline uint8_t *maker_block(struct maker *m, uint32_t type)
{
	uint8_t *b = maker_next(m);

	memset(b, 0, m->s.block_size);
	put32(b, JBD2_MAGIC);
	put32(b + 4, type);
	put32(b + 8, m->seq);
	m->last = b;
	return b;
}

static inline void maker_seal(const struct maker *m, uint8_t *b)
{
	uint32_t bs = m->s.block_size;

	put32(b + bs - 4, 0);
	if (maker_csum(m))
		put32(b + bs - 4, crc32c(m->seed, b, bs));
}

/* A tag for block at p, with the checksum of data; how many bytes it takes. */
static inline size_t maker_tag(const struct maker *m, uint8_t *p, uint64_t block, uint32_t flags,
			       const uint8_t *data)
{
	uint8_t be[4];
	uint32_t crc;
	size_t n;

	put32(be, m->seq);
	crc = crc32c(crc32c(m->seed, be, 4), data, m->s.block_size);
	put32(p, (uint32_t)block);
	if (m->incompat & JBD2_INCOMPAT_CSUM_V3) {
		put32(p + 4, flags);
		put32(p + 8, (uint32_t)(block >> 32));
		put32(p + 12, crc);
		n = 16;
	} else {
		put16(p + 4, maker_csum(m) ? (uint16_t)crc : 0);
		put16(p + 6, (uint16_t)flags);
		n = 8;
		if (m->incompat & JBD2_INCOMPAT_64BIT) {
			put32(p + 8, (uint32_t)(block >> 32));
			n = 12;
		}
		if (maker_csum(m))
			n += 2;
	}
	return flags & JBD2_TAG_SAME_UUID ? n : n + 16;
}

/* n blocks from `first` of the payload on, filled with fill; 0: with the magic at their begin, escaped. */
static inline void maker_images(struct maker *m, unsigned first, unsigned n, int fill)
{
	uint8_t *d = maker_block(m, JBD2_DESCRIPTOR), *data[64];
	size_t at = 12;

	assert_true(n <= 64);
	for (unsigned i = 0; i < n; i++) {
		uint32_t flags = (i ? JBD2_TAG_SAME_UUID : 0) | (i == n - 1 ? JBD2_TAG_LAST : 0) |
				 (fill ? 0 : JBD2_TAG_ESCAPED);

		data[i] = maker_next(m);
		memset(data[i], fill, m->s.block_size);
		at += maker_tag(m, d + at, m->payload + first + i, flags, data[i]);
	}
	maker_seal(m, d);
	m->v1 = maker_crc32(m->v1, d, m->s.block_size);
	for (unsigned i = 0; i < n; i++)
		m->v1 = maker_crc32(m->v1, data[i], m->s.block_size);
}

static inline void maker_revoke(struct maker *m, unsigned first, unsigned n)
{
	uint8_t *r = maker_block(m, JBD2_REVOKE);
	size_t at = 16;

	for (unsigned i = 0; i < n; i++) {
		uint64_t block = m->payload + first + i;

		if (m->incompat & JBD2_INCOMPAT_64BIT) {
			put32(r + at, (uint32_t)(block >> 32));
			at += 4;
		}
		put32(r + at, (uint32_t)block);
		at += 4;
	}
	put32(r + 12, (uint32_t)at);
	maker_seal(m, r);
}

static inline void maker_commit_seal(const struct maker *m, uint8_t *c)
{
	put32(c + 0x10, 0);
	if (maker_csum(m))
		put32(c + 0x10, crc32c(m->seed, c, m->s.block_size));
}

static inline void maker_commit(struct maker *m)
{
	uint8_t *c = maker_block(m, JBD2_COMMIT);

	put32(c + 0x30, (uint32_t)(m->seconds >> 32));
	put32(c + 0x34, (uint32_t)m->seconds);
	m->seconds++;
	if (m->compat & JBD2_COMPAT_CHECKSUM) {
		c[0xc] = 1;
		c[0xd] = 4;
		put32(c + 0x10, m->v1);
	} else {
		maker_commit_seal(m, c);
	}
	m->v1 = ~0u;
	m->seq++;
}

static inline void maker_txn(struct maker *m, unsigned first, unsigned n, int fill)
{
	maker_images(m, first, n, fill);
	maker_commit(m);
}

static inline bool maker_is(const struct maker *m, const struct image *im, unsigned n, int fill)
{
	const uint8_t *p = im->bytes + (m->payload + n) * m->s.block_size;

	for (size_t i = 0; i < m->s.block_size; i++)
		if (p[i] != (uint8_t)fill)
			return false;
	return true;
}

#endif
