/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_store.c - the blocks of a simulated NVMe subsystem
 *
 * Durable is a file or memory. The volatile cache is as large, and sparse; a bit a block says that the cache holds
 * it. A block is written in whole there or not at all, so a kill never tears one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/sim/nvme_impl.h"

#define FILL_STEP (1u << 16)

/* Whole words can be read at the end. */
static size_t bitmap_bytes(const struct nt_store *s)
{
	return s->total / s->block / 8 + sizeof(uint64_t);
}

static void *map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int open_file(struct nt_store *s, const char *path, struct err *err)
{
	struct stat st;

	s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (s->fd < 0 || fstat(s->fd, &st))
		return err_set(err, -errno, "file '%.300s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "file '%.300s' is no regular file", path);
	if ((uint64_t)st.st_size < s->total && ftruncate(s->fd, (off_t)s->total))
		return err_set(err, -errno, "file '%.300s': %s", path, strerror(errno));
	return 0;
}

int nt_store_open(struct nt_store *s, const struct nvme_target_config *cfg, struct err *err)
{
	int rc = 0;

	*s = (struct nt_store){ .fd = -1, .block = cfg->block_size, .stride = 2 * cfg->size };
	s->total = s->stride * cfg->namespaces;
	if (cfg->file)
		rc = open_file(s, cfg->file, err);
	else if (!(s->durable = map(s->total)))
		rc = err_set(err, -ENOMEM, "no memory for the namespaces");
	if (!rc && cfg->volatile_cache) {
		s->cache = map(s->total);
		s->dirty = map(bitmap_bytes(s));
		if (!s->cache || !s->dirty)
			rc = err_set(err, -ENOMEM, "no memory for the volatile cache");
	}
	if (rc)
		nt_store_close(s);
	return rc;
}

void nt_store_close(struct nt_store *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->durable)
		munmap(s->durable, s->total);
	if (s->cache)
		munmap(s->cache, s->total);
	if (s->dirty)
		munmap(s->dirty, bitmap_bytes(s));
	*s = (struct nt_store){ .fd = -1 };
}

static bool is_dirty(const struct nt_store *s, uint64_t block)
{
	return s->dirty[block / 8] >> (block % 8) & 1;
}

static void set_dirty(struct nt_store *s, uint64_t block, bool on)
{
	uint8_t bit = (uint8_t)(1u << (block % 8));

	if (is_dirty(s, block) == on)
		return;
	s->dirty[block / 8] ^= bit;
	s->ndirty += on ? 1 : -1ull;
}

static int durable_read(struct nt_store *s, uint64_t off, uint8_t *buf, size_t len)
{
	if (s->durable) {
		memcpy(buf, s->durable + off, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(s->fd, buf, len, (off_t)off);

		if (n <= 0)
			return n ? -errno : -EIO;
		buf += n;
		off += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int durable_write(struct nt_store *s, uint64_t off, const uint8_t *buf, size_t len)
{
	if (s->durable) {
		memcpy(s->durable + off, buf, len);
		return 0;
	}
	while (len) {
		ssize_t n = pwrite(s->fd, buf, len, (off_t)off);

		if (n <= 0)
			return n ? -errno : -EIO;
		buf += n;
		off += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int nt_store_read(struct nt_store *s, uint64_t off, void *buf, size_t len, bool durable)
{
	int rc = durable_read(s, off, buf, len);

	if (rc || !s->cache || durable || !s->ndirty)
		return rc;
	/* Whoever peeks may begin or end within a block. */
	for (uint64_t at = off, next; at < off + len; at = next) {
		next = (at / s->block + 1) * s->block;
		if (next > off + len)
			next = off + len;
		if (is_dirty(s, at / s->block))
			memcpy((uint8_t *)buf + (at - off), s->cache + at, next - at);
	}
	return 0;
}

int nt_store_write(struct nt_store *s, uint64_t off, const void *buf, size_t len, bool fua)
{
	if (s->cache && !fua) {
		memcpy(s->cache + off, buf, len);
		for (uint64_t b = off / s->block; b < (off + len) / s->block; b++)
			set_dirty(s, b, true);
		return 0;
	}
	for (uint64_t b = off / s->block; s->cache && b < (off + len) / s->block; b++)
		set_dirty(s, b, false);
	return durable_write(s, off, buf, len);
}

int nt_store_fill(struct nt_store *s, uint64_t off, uint64_t len, uint8_t byte, bool fua)
{
	uint8_t bytes[FILL_STEP];
	int rc = 0;

	memset(bytes, byte, sizeof bytes);
	while (len && !rc) {
		size_t n = len < FILL_STEP ? (size_t)len : FILL_STEP;

		rc = nt_store_write(s, off, bytes, n, fua);
		off += n;
		len -= n;
	}
	return rc;
}

/* Of the 64 blocks from that one on. */
static bool any_dirty(const struct nt_store *s, uint64_t block)
{
	uint64_t word;

	memcpy(&word, s->dirty + block / 8, sizeof word);
	return word;
}

int nt_store_flush(struct nt_store *s)
{
	int rc = 0;

	for (uint64_t b = 0; s->cache && s->ndirty && b < s->total / s->block && !rc; b++) {
		if (!(b % 64) && !any_dirty(s, b)) {
			b += 63;
			continue;
		}
		if (!is_dirty(s, b))
			continue;
		rc = durable_write(s, b * s->block, s->cache + b * s->block, s->block);
		if (!rc)
			set_dirty(s, b, false);
	}
	return rc;
}

uint64_t nt_store_lose(struct nvme_target *t, unsigned keep_permille)
{
	struct nt_store *s = &t->store;
	uint64_t lost = 0;

	for (uint64_t b = 0; s->cache && s->ndirty && b < s->total / s->block; b++) {
		if (!is_dirty(s, b))
			continue;
		if (keep_permille && nt_random(t, 1000) < keep_permille)
			(void)durable_write(s, b * s->block, s->cache + b * s->block, s->block);
		else
			lost++;
		set_dirty(s, b, false);
	}
	return lost;
}
