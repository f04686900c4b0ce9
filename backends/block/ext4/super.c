/* SPDX-License-Identifier: Apache-2.0 */
/* super.c - see super.h
 *
 * Nothing that is read is trusted: every number is checked before it is used, and the walk through the extent
 * tree ends because each leaf has to go on where the last one ended.
 *
 * The superblock is two sectors, its checksum lies in the second and the flag in the first: a write that is torn
 * between them leaves a superblock that nobody mounts. So the checksum stays as it is, and four bytes of the first
 * sector that nothing reads (BALANCE, a field for compression that never came) are chosen so that it is right.
 * Then only the first sector changes, and a sector is written wholly or not (B4). */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/super_impl.h"
#include "common/cleanup.h"
#include "common/crc32c.h"

/* Offsets in the superblock, in bytes. */
enum {
	S_INODES = 0x00,
	S_BLOCKS = 0x04,
	S_FIRST_DATA_BLOCK = 0x14,
	S_LOG_BLOCK_SIZE = 0x18,
	S_BLOCKS_PER_GROUP = 0x20,
	S_INODES_PER_GROUP = 0x28,
	S_MAGIC = 0x38,
	S_REVISION = 0x4c,
	S_INODE_SIZE = 0x58,
	S_COMPAT = 0x5c,
	S_INCOMPAT = 0x60,
	S_RO_COMPAT = 0x64,
	S_UUID = 0x68,
	S_BALANCE = 0xc8,
	S_JOURNAL_INODE = 0xe0,
	S_JOURNAL_DEVICE = 0xe4,
	S_DESC_SIZE = 0xfe,
	S_BLOCKS_HIGH = 0x150,
	S_CHECKSUM_TYPE = 0x175,
	S_CHECKSUM_SEED = 0x270,
	S_CHECKSUM = 0x3fc,
};

enum {
	SECTOR = 512, /* no device tears a smaller write */
	SUPER_MAGIC = 0xef53,
	JOURNAL_INODE = 8,
	UUID_BYTES = 16,
	BLOCK_MAX = 65536,
	DESC_MIN = 32,
	DESC_64BIT = 64,
	DESC_MAX = 1024,
	CRC32C = 1,
};

#define COMPAT_HAS_JOURNAL 0x4u
#define INCOMPAT_RECOVER 0x4u
#define INCOMPAT_64BIT 0x80u
#define INCOMPAT_CSUM_SEED 0x2000u
#define RO_COMPAT_METADATA_CSUM 0x400u

/* A feature that stands in the way, or (known) one that we write. */
struct feature {
	uint32_t bit;
	bool known;
	const char *name;
};

static const struct feature compat_features[] = {
	{ 0x400, false, "fast_commit" },
	{ 0x1000, false, "orphan_file" },
};
static const struct feature incompat_features[] = {
	{ 0x1, false, "compression" },
	{ 0x2, true, "filetype" },
	{ INCOMPAT_RECOVER, true, "needs_recovery" },
	{ 0x8, false, "journal_dev" },
	{ 0x10, false, "meta_bg" },
	{ 0x40, true, "extent" },
	{ INCOMPAT_64BIT, true, "64bit" },
	{ 0x100, false, "mmp" },
	{ 0x200, true, "flex_bg" },
	{ 0x400, false, "ea_inode" },
	{ 0x1000, false, "dirdata" },
	{ INCOMPAT_CSUM_SEED, true, "metadata_csum_seed" },
	{ 0x4000, false, "large_dir" },
	{ 0x8000, false, "inline_data" },
	{ 0x10000, false, "encrypt" },
	{ 0x20000, false, "casefold" },
};
static const struct feature ro_compat_features[] = {
	{ 0x1, true, "sparse_super" },
	{ 0x2, true, "large_file" },
	{ 0x8, true, "huge_file" },
	{ 0x10, true, "uninit_bg" },
	{ 0x20, true, "dir_nlink" },
	{ 0x40, true, "extra_isize" },
	{ 0x100, false, "quota" },
	{ 0x200, false, "bigalloc" },
	{ RO_COMPAT_METADATA_CSUM, true, "metadata_csum" },
	{ 0x1000, false, "read-only" },
	{ 0x2000, true, "project" },
	{ 0x4000, false, "shared_blocks" },
	{ 0x8000, false, "verity" },
	{ 0x10000, false, "orphan_present" },
};

/* ---- numbers ----------------------------------------------------------- */

static uint16_t le16(const uint8_t *p, size_t off)
{
	uint16_t v;

	memcpy(&v, p + off, sizeof v);
	return le16toh(v);
}

static uint32_t le32(const uint8_t *p, size_t off)
{
	uint32_t v;

	memcpy(&v, p + off, sizeof v);
	return le32toh(v);
}

static void put_le32(uint8_t *p, size_t off, uint32_t v)
{
	v = htole32(v);
	memcpy(p + off, &v, sizeof v);
}

static uint32_t crc_le32(uint32_t crc, uint32_t v)
{
	v = htole32(v);
	return crc32c(crc, &v, sizeof v);
}

/* ---- devices read and write whole blocks of theirs ---------------------- */

static void *io_alloc(size_t bytes)
{
	void *p = NULL;

	return posix_memalign(&p, BD_BLOCK_MAX, bytes) ? NULL : p;
}

/* The range of the device's blocks around [off, off + len). */
static void io_range(const struct bd *dev, uint64_t off, size_t len, uint64_t *start, size_t *bytes)
{
	uint64_t block = dev->limits.block, end = (off + len + block - 1) / block * block;

	*start = off / block * block;
	*bytes = (size_t)(end - *start);
}

int ext4_read_bytes(struct bd *dev, uint64_t off, void *out, size_t len)
{
	AUTO_FREE uint8_t *mem = NULL;
	uint64_t start;
	size_t bytes;
	int rc;

	io_range(dev, off, len, &start, &bytes);
	mem = io_alloc(bytes);
	if (!mem)
		return -ENOMEM;
	rc = bd_read(dev, mem, bytes, start);
	if (!rc)
		memcpy(out, mem + (off - start), len);
	return rc;
}

/* Within one of the device's blocks nothing else changes meanwhile: the caller runs alone. */
int ext4_write_bytes(struct bd *dev, uint64_t off, const void *from, size_t len, unsigned flags)
{
	AUTO_FREE uint8_t *mem = NULL;
	uint64_t start;
	size_t bytes;
	int rc = 0;

	io_range(dev, off, len, &start, &bytes);
	mem = io_alloc(bytes);
	if (!mem)
		return -ENOMEM;
	if (bytes != len)
		rc = bd_read(dev, mem, bytes, start);
	if (rc)
		return rc;
	memcpy(mem + (off - start), from, len);
	return bd_write(dev, mem, bytes, start, flags);
}

/* ---- the superblock ----------------------------------------------------- */

static bool has_csum(const uint8_t *raw)
{
	return le32(raw, S_RO_COMPAT) & RO_COMPAT_METADATA_CSUM;
}

static uint32_t super_crc(const uint8_t *raw)
{
	return crc32c(~0u, raw, S_CHECKSUM);
}

/* The register before n bytes at p went through it, when it is crc after them. */
static uint32_t crc_back(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc & 0x80000000u ? (crc ^ 0x82f63b78u) << 1 | 1 : crc << 1;
		crc ^= p[n];
	}
	return crc;
}

void ext4_super_balance(uint8_t *raw)
{
	static const uint8_t zeros[4];
	size_t after = S_BALANCE + sizeof zeros;
	uint32_t before, wanted;

	if (!has_csum(raw))
		return;
	before = crc32c(~0u, raw, S_BALANCE);
	wanted = crc_back(le32(raw, S_CHECKSUM), raw + after, S_CHECKSUM - after);
	put_le32(raw, S_BALANCE, before ^ crc_back(wanted, zeros, sizeof zeros));
}

/* Names the first feature of bits that we do not write; all of unnamed that is left counts, too. */
static int features_check(uint32_t bits, const struct feature *f, size_t n, bool unnamed,
			  const char *kind, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if ((bits & f[i].bit) && !f[i].known)
			return err_set(err, -EINVAL, "ext4 with the feature '%s' is not supported",
				       f[i].name);
		bits &= ~f[i].bit;
	}
	if (bits && unnamed)
		return err_set(err, -EINVAL, "ext4 with unknown %s features 0x%x is not supported",
			       kind, bits);
	return 0;
}

static int super_features(const uint8_t *raw, struct err *err)
{
	int rc = features_check(le32(raw, S_INCOMPAT), incompat_features,
				ARRAY_LEN(incompat_features), true, "incompatible", err);

	if (!rc)
		rc = features_check(le32(raw, S_RO_COMPAT), ro_compat_features,
				    ARRAY_LEN(ro_compat_features), true, "read-only compatible",
				    err);
	if (!rc)
		rc = features_check(le32(raw, S_COMPAT), compat_features,
				    ARRAY_LEN(compat_features), false, "compatible", err);
	if (rc)
		return rc;
	if (!(le32(raw, S_COMPAT) & COMPAT_HAS_JOURNAL))
		return err_set(err, -EINVAL,
			       "the file system has no journal (feature 'has_journal')");
	if (le32(raw, S_JOURNAL_DEVICE) || le32(raw, S_JOURNAL_INODE) != JOURNAL_INODE)
		return err_set(err, -EINVAL,
			       "the journal is inode %u of device 0x%x; only inode 8 of the file "
			       "system itself is supported",
			       le32(raw, S_JOURNAL_INODE), le32(raw, S_JOURNAL_DEVICE));
	return 0;
}

static int super_checksum(const uint8_t *raw, struct err *err)
{
	if (!has_csum(raw))
		return 0;
	if (raw[S_CHECKSUM_TYPE] != CRC32C)
		return err_set(err, -EINVAL, "ext4 checksums of type %u are not supported",
			       raw[S_CHECKSUM_TYPE]);
	if (super_crc(raw) != le32(raw, S_CHECKSUM))
		return err_set(err, -EINVAL,
			       "the checksum of the ext4 superblock is wrong: e2fsck is needed");
	return 0;
}

static int super_geometry(struct bd *dev, struct ext4_super *s, struct err *err)
{
	const uint8_t *raw = s->raw;
	uint32_t shift = le32(raw, S_LOG_BLOCK_SIZE);

	if (shift > 6)
		return err_set(err, -EINVAL, "ext4 superblock: block size 1024 << %u", shift);
	s->block_size = 1024u << shift;
	s->bit64 = le32(raw, S_INCOMPAT) & INCOMPAT_64BIT;
	s->csum = has_csum(raw);
	s->needs_recovery = le32(raw, S_INCOMPAT) & INCOMPAT_RECOVER;
	s->blocks = le32(raw, S_BLOCKS) | (s->bit64 ? (uint64_t)le32(raw, S_BLOCKS_HIGH) << 32 : 0);
	if (s->block_size < dev->limits.block)
		return err_set(err, -EINVAL,
			       "ext4 blocks of %u bytes on a device with blocks of %u",
			       s->block_size, dev->limits.block);
	if (le32(raw, S_FIRST_DATA_BLOCK) != (s->block_size == 1024))
		return err_set(err, -EINVAL, "ext4 superblock: first block %u",
			       le32(raw, S_FIRST_DATA_BLOCK));
	if (s->blocks < 16 || s->blocks > dev->size / s->block_size)
		return err_set(err, -EINVAL,
			       "the file system has %llu blocks of %u bytes, the device holds %llu",
			       (unsigned long long)s->blocks, s->block_size,
			       (unsigned long long)(dev->size / s->block_size));
	if (le32(raw, S_INCOMPAT) & INCOMPAT_CSUM_SEED)
		s->csum_seed = le32(raw, S_CHECKSUM_SEED);
	else
		s->csum_seed = crc32c(~0u, raw + S_UUID, UUID_BYTES);
	return 0;
}

static int super_load(struct bd *dev, uint8_t *raw, struct err *err)
{
	int rc;

	if (dev->size < EXT4_SUPER_OFFSET + EXT4_SUPER_BYTES)
		return err_set(err, -EINVAL, "a device of %llu bytes holds no ext4",
			       (unsigned long long)dev->size);
	rc = ext4_read_bytes(dev, EXT4_SUPER_OFFSET, raw, EXT4_SUPER_BYTES);
	if (rc)
		return err_set(err, rc, "cannot read the ext4 superblock: %s", strerror(-rc));
	if (le16(raw, S_MAGIC) != SUPER_MAGIC)
		return err_set(err, -EINVAL, "no ext4 file system on the device");
	if (le32(raw, S_REVISION) != 1)
		return err_set(err, -EINVAL, "ext4 revision %u is not supported",
			       le32(raw, S_REVISION));
	return super_checksum(raw, err);
}

/* ---- the journal's inode ------------------------------------------------ */

struct inode {
	uint8_t raw[BLOCK_MAX];
	uint32_t seed; /* of its extent blocks' checksums */
};

static int descriptor_check(const struct ext4_super *s, uint8_t *desc, size_t len, struct err *err)
{
	uint16_t stored = le16(desc, 0x1e);

	desc[0x1e] = desc[0x1f] = 0;
	if (s->csum && (uint16_t)crc32c(crc_le32(s->csum_seed, 0), desc, len) != stored)
		return err_set(err, -EINVAL, "the checksum of ext4 group 0 is wrong");
	return 0;
}

/* Where the table of inodes of group 0 begins. */
static int inode_table(struct bd *dev, const struct ext4_super *s, uint64_t *out, struct err *err)
{
	uint16_t size = le16(s->raw, S_DESC_SIZE), len = s->bit64 ? size : DESC_MIN;
	uint64_t at = (uint64_t)(le32(s->raw, S_FIRST_DATA_BLOCK) + 1) * s->block_size;
	uint8_t desc[DESC_MAX];
	int rc;

	if (len < (s->bit64 ? DESC_64BIT : DESC_MIN) || len > DESC_MAX || (len & (len - 1)))
		return err_set(err, -EINVAL, "ext4 superblock: group descriptors of %u bytes", len);
	rc = ext4_read_bytes(dev, at, desc, len);
	if (rc)
		return err_set(err, rc, "cannot read ext4 group 0: %s", strerror(-rc));
	*out = le32(desc, 8) | (s->bit64 ? (uint64_t)le32(desc, 0x28) << 32 : 0);
	rc = descriptor_check(s, desc, len, err);
	if (rc)
		return rc;
	if (!*out || *out >= s->blocks)
		return err_set(err, -EINVAL, "ext4 group 0: inodes at block %llu of %llu",
			       (unsigned long long)*out, (unsigned long long)s->blocks);
	return 0;
}

static int inode_check(const struct ext4_super *s, struct inode *ino, size_t size, struct err *err)
{
	bool wide = size > 128 && le16(ino->raw, 0x80) >= 4;
	uint32_t stored = le16(ino->raw, 0x7c), got, mask = wide ? ~0u : 0xffff;

	if (wide)
		stored |= (uint32_t)le16(ino->raw, 0x82) << 16;
	ino->seed = crc_le32(crc_le32(s->csum_seed, JOURNAL_INODE), le32(ino->raw, 0x64));
	memset(ino->raw + 0x7c, 0, 2);
	if (wide)
		memset(ino->raw + 0x82, 0, 2);
	got = crc32c(ino->seed, ino->raw, size) & mask;
	if (s->csum && got != stored)
		return err_set(err, -EINVAL, "the checksum of the journal's inode is wrong");
	return 0;
}

static int inode_read(struct bd *dev, const struct ext4_super *s, struct inode *out,
		      struct err *err)
{
	size_t size = le16(s->raw, S_INODE_SIZE);
	uint64_t table = 0;
	int rc;

	if (size < 128 || size > s->block_size || (size & (size - 1)))
		return err_set(err, -EINVAL, "ext4 superblock: inodes of %zu bytes", size);
	if (le32(s->raw, S_INODES_PER_GROUP) < JOURNAL_INODE)
		return err_set(err, -EINVAL, "ext4 superblock: %u inodes in a group",
			       le32(s->raw, S_INODES_PER_GROUP));
	rc = inode_table(dev, s, &table, err);
	if (rc)
		return rc;
	table = table * s->block_size + (JOURNAL_INODE - 1) * size;
	if (table + size > s->blocks * s->block_size)
		return err_set(err, -EINVAL, "ext4 group 0: the inodes lie beyond the end");
	rc = ext4_read_bytes(dev, table, out->raw, size);
	if (rc)
		return err_set(err, rc, "cannot read the journal's inode: %s", strerror(-rc));
	return inode_check(s, out, size, err);
}

/* ---- its extents -------------------------------------------------------- */

enum {
	EXTENT_MAGIC = 0xf30a,
	EXTENT_BYTES = 12, /* of a header, an extent and an index entry alike */
	EXTENT_DEPTH_MAX = 5,
	EXTENT_WRITTEN_MAX = 0x8000, /* longer: not written yet */
	ROOT_AT = 0x28,
	ROOT_BYTES = 60,
};

struct walk {
	struct bd *dev;
	struct ext4_super *s;
	const struct inode *ino;
	struct {
		uint8_t *node;
		unsigned next, entries;
	} level[EXTENT_DEPTH_MAX + 1];
	unsigned cap;
};

static int bad_extents(struct err *err, const char *what, uint64_t n)
{
	return err_set(err, -EINVAL, "the journal's extents make no sense: %s %llu", what,
		       (unsigned long long)n);
}

/* Checks the node of a level, bytes long, that has to have this depth. */
static int node_enter(struct walk *w, unsigned level, unsigned depth, size_t bytes, struct err *err)
{
	const uint8_t *node = w->level[level].node;
	unsigned entries = le16(node, 2), max = le16(node, 4);

	if (le16(node, 0) != EXTENT_MAGIC)
		return bad_extents(err, "magic", le16(node, 0));
	if (le16(node, 6) != depth)
		return bad_extents(err, "depth", le16(node, 6));
	if (!entries || entries > max || (max + 1u) * EXTENT_BYTES > bytes)
		return bad_extents(err, "number of entries", entries);
	w->level[level].next = 0;
	w->level[level].entries = entries;
	return 0;
}

static int node_read(struct walk *w, unsigned level, unsigned depth, uint64_t block,
		     struct err *err)
{
	uint32_t bs = w->s->block_size;
	uint8_t *node = w->level[level].node;
	size_t len;
	int rc;

	if (!block || block >= w->s->blocks)
		return bad_extents(err, "block", block);
	rc = ext4_read_bytes(w->dev, block * bs, node, bs);
	if (rc)
		return err_set(err, rc, "cannot read the journal's extents at block %llu: %s",
			       (unsigned long long)block, strerror(-rc));
	rc = node_enter(w, level, depth, bs, err);
	if (rc || !w->s->csum)
		return rc;
	len = (le16(node, 4) + 1u) * EXTENT_BYTES;
	if (len + 4 > bs || crc32c(w->ino->seed, node, len) != le32(node, len))
		return bad_extents(err, "checksum of block", block);
	return 0;
}

static int extent_add(struct walk *w, const uint8_t *e, struct err *err)
{
	struct ext4_super *s = w->s;
	struct ext4_extent x = { .log = le32(e, 0), .len = le16(e, 4) };
	uint32_t end =
		s->njournal ? s->journal[s->njournal - 1].log + s->journal[s->njournal - 1].len : 0;

	x.phys = (uint64_t)le16(e, 6) << 32 | le32(e, 8);
	if (!x.len || x.len > EXTENT_WRITTEN_MAX)
		return bad_extents(err, "length", x.len);
	if (x.log != end)
		return bad_extents(err, "a hole or an overlap at", x.log);
	if (x.len > UINT32_MAX - end)
		return bad_extents(err, "the file is too long at", x.log);
	if (x.phys <= le32(s->raw, S_FIRST_DATA_BLOCK) || x.phys >= s->blocks ||
	    x.len > s->blocks - x.phys)
		return bad_extents(err, "block", x.phys);
	if (s->njournal == EXT4_JOURNAL_EXTENTS_MAX)
		return err_set(err, -EINVAL, "the journal has more than %u extents",
			       EXT4_JOURNAL_EXTENTS_MAX);
	if (s->njournal == w->cap) {
		unsigned cap = w->cap ? 2 * w->cap : 16;
		struct ext4_extent *more = realloc(s->journal, cap * sizeof *more);

		if (!more)
			return err_set(err, -ENOMEM, "no memory");
		s->journal = more;
		w->cap = cap;
	}
	s->journal[s->njournal++] = x;
	return 0;
}

/* Each leaf has an entry at least, and each entry goes on where the last one ended: so the walk ends, whatever
 * the index blocks say. */
static int extents_walk(struct walk *w, unsigned depth, struct err *err)
{
	unsigned level = 0;
	int rc = node_enter(w, 0, depth, ROOT_BYTES, err);

	while (!rc) {
		unsigned i = w->level[level].next++;
		const uint8_t *e = w->level[level].node + (size_t)(i + 1) * EXTENT_BYTES;

		if (i == w->level[level].entries) {
			if (!level--)
				return 0;
		} else if (level == depth) {
			rc = extent_add(w, e, err);
		} else {
			level++;
			rc = node_read(w, level, depth - level,
				       le32(e, 4) | (uint64_t)le16(e, 8) << 32, err);
		}
	}
	return rc;
}

static int by_phys(const void *a, const void *b)
{
	const struct ext4_extent *x = a, *y = b;

	return (x->phys > y->phys) - (x->phys < y->phys);
}

struct ext4_extent *ext4_journal_sorted(const struct ext4_super *s)
{
	struct ext4_extent *sorted = malloc(s->njournal * sizeof *sorted);

	if (sorted) {
		memcpy(sorted, s->journal, s->njournal * sizeof *sorted);
		qsort(sorted, s->njournal, sizeof *sorted, by_phys);
	}
	return sorted;
}

static int extents_shared(const struct ext4_super *s, struct err *err)
{
	AUTO_FREE struct ext4_extent *sorted = ext4_journal_sorted(s);

	if (!sorted)
		return err_set(err, -ENOMEM, "no memory");
	for (unsigned i = 1; i < s->njournal; i++)
		if (sorted[i].phys < sorted[i - 1].phys + sorted[i - 1].len)
			return bad_extents(err, "used twice: block", sorted[i].phys);
	return 0;
}

static int journal_map(struct bd *dev, struct ext4_super *s, struct inode *ino, struct err *err)
{
	struct walk w = { .dev = dev, .s = s, .ino = ino };
	uint64_t size = le32(ino->raw, 4) | (uint64_t)le32(ino->raw, 0x6c) << 32;
	unsigned depth = le16(ino->raw, ROOT_AT + 6);
	AUTO_FREE uint8_t *blocks = NULL;
	int rc;

	if ((le16(ino->raw, 0) & 0xf000) != 0x8000 || !le16(ino->raw, 0x1a))
		return err_set(err, -EINVAL, "the journal's inode is no file");
	if (!(le32(ino->raw, 0x20) & 0x80000))
		return err_set(err, -EINVAL, "a journal file without extents is not supported");
	if (depth > EXTENT_DEPTH_MAX)
		return bad_extents(err, "depth", depth);
	blocks = malloc((size_t)s->block_size * EXTENT_DEPTH_MAX);
	if (!blocks)
		return err_set(err, -ENOMEM, "no memory");
	w.level[0].node = ino->raw + ROOT_AT;
	for (unsigned i = 1; i <= EXTENT_DEPTH_MAX; i++)
		w.level[i].node = blocks + (size_t)(i - 1) * s->block_size;
	rc = extents_walk(&w, depth, err);
	if (!rc)
		rc = extents_shared(s, err);
	if (rc)
		return rc;
	s->journal_blocks = s->journal[s->njournal - 1].log + s->journal[s->njournal - 1].len;
	if (size / s->block_size < s->journal_blocks)
		s->journal_blocks = (uint32_t)(size / s->block_size);
	else if (size / s->block_size > s->journal_blocks)
		return bad_extents(err, "they end before the file, at", s->journal_blocks);
	if (s->journal_blocks < 2)
		return err_set(err, -EINVAL, "a journal of %u blocks", s->journal_blocks);
	return 0;
}

/* ---- for callers -------------------------------------------------------- */

int ext4_super_read(struct bd *dev, struct ext4_super *out, struct err *err)
{
	AUTO_FREE struct inode *ino = NULL;
	struct ext4_super s = { .journal = NULL };
	int rc = super_load(dev, s.raw, err);

	if (!rc)
		rc = super_features(s.raw, err);
	if (!rc)
		rc = super_geometry(dev, &s, err);
	if (rc)
		return rc;
	ino = malloc(sizeof *ino);
	if (!ino)
		return err_set(err, -ENOMEM, "no memory");
	rc = inode_read(dev, &s, ino, err);
	if (!rc)
		rc = journal_map(dev, &s, ino, err);
	if (rc) {
		ext4_super_done(&s);
		return rc;
	}
	*out = s;
	return 0;
}

void ext4_super_done(struct ext4_super *s)
{
	free(s->journal);
	s->journal = NULL;
	s->njournal = 0;
}

int ext4_super_set_recovery(struct bd *dev, struct ext4_super *s, bool needed)
{
	uint8_t raw[EXT4_SUPER_BYTES];
	uint32_t incompat;
	int rc = super_load(dev, raw, NULL);

	if (rc)
		return rc;
	incompat = le32(raw, S_INCOMPAT);
	if (!(incompat & INCOMPAT_RECOVER) == needed) {
		put_le32(raw, S_INCOMPAT, incompat ^ INCOMPAT_RECOVER);
		ext4_super_balance(raw);
		rc = ext4_write_bytes(dev, EXT4_SUPER_OFFSET, raw, SECTOR, BD_FUA);
	}
	if (rc)
		return rc;
	memcpy(s->raw, raw, sizeof raw);
	s->needs_recovery = needed;
	return 0;
}

uint64_t ext4_journal_block(const struct ext4_super *s, uint32_t log, uint32_t *run)
{
	unsigned low = 0, high = s->njournal;

	while (high - low > 1) {
		unsigned mid = low + (high - low) / 2;

		if (s->journal[mid].log <= log)
			low = mid;
		else
			high = mid;
	}
	*run = s->journal[low].len - (log - s->journal[low].log);
	return s->journal[low].phys + (log - s->journal[low].log);
}

static int phys_order(const void *key, const void *element)
{
	uint64_t block = *(const uint64_t *)key;
	const struct ext4_extent *e = element;

	return block < e->phys ? -1 : block >= e->phys + e->len;
}

bool ext4_extents_hold(const struct ext4_extent *sorted, unsigned n, uint64_t block)
{
	return bsearch(&block, sorted, n, sizeof *sorted, phys_order);
}
