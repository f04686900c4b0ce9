/* SPDX-License-Identifier: Apache-2.0 */
/* base.c - see base.h */
#include "tests/crash/base.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/ext4/super.h"
#include "common/cleanup.h"
#include "tests/crash/proc.h"

#define COMMON "has_journal,extent,filetype,sparse_super,large_file,flex_bg,extra_isize,ext_attr"
#define SEQUENCE_AT 0x18    /* of the journal superblock */
#define FREE_BLOCKS_AT 0x0c /* of the superblock */
enum { OUT_MAX = 65536 };

const struct base_kind base_kinds[] = {
	{ "1k", "blocks of 1 KiB, checksums, 64 bit", 1024, "1", "3M",
	  "none," COMMON ",64bit,metadata_csum", true, 0 },
	{ "4k", "blocks of 4 KiB, checksums with a seed of their own, 64 bit", 4096, "4", "12M",
	  "none," COMMON ",64bit,metadata_csum,metadata_csum_seed", false, 0 },
	/* No litter: without checksums nobody can tell. */
	{ "plain", "blocks of 1 KiB, no checksums, 32 bit", 1024, "1", "3M", "none," COMMON, false,
	  0x12345 },
};
const unsigned base_nkinds = ARRAY_LEN(base_kinds);

const struct base_kind *base_find(const char *name)
{
	for (unsigned i = 0; i < base_nkinds; i++)
		if (!strcmp(base_kinds[i].name, name))
			return &base_kinds[i];
	return NULL;
}

/* The blocks of a file as debugfs lists them; how many there are, at most max. */
static int blocks_of(const char *image, const char *file, uint64_t *out, unsigned max,
		     struct err *err)
{
	AUTO_FREE char *text = xalloc(1, OUT_MAX);
	char command[64];
	const char *argv[] = { "debugfs", "-R", command, image, NULL };
	unsigned n = 0;
	int rc;
	char *save = NULL;

	snprintf(command, sizeof command, "blocks %s", file);
	rc = proc_run(argv, -1, text, OUT_MAX);
	if (rc)
		return err_set(err, rc < 0 ? rc : -EIO, "debugfs %s: %s", image, text);
	for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		char *end;
		uint64_t block = strtoull(w, &end, 10);

		if (!*end && block && n < max)
			out[n++] = block;
	}
	return (int)n;
}

static int read_whole(const char *path, struct base *b, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t at = 0;

	if (fd < 0 || fstat(fd, &st))
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	b->size = (uint64_t)st.st_size / OVERLAY_UNIT * OVERLAY_UNIT;
	b->bytes = xalloc(1, b->size);
	while (at < b->size) {
		ssize_t n = pread(fd, b->bytes + at, b->size - at, (off_t)at);

		if (n <= 0)
			return err_set(err, -EIO, "cannot read %s", path);
		at += (uint64_t)n;
	}
	return 0;
}

/* mke2fs allocates from the beginning on, the payload last. What is free is nobody's business. */
static void find_used(struct base *b)
{
	const uint8_t *super = b->bytes + EXT4_SUPER_OFFSET;
	uint64_t end = 0;
	uint32_t free_blocks;

	for (unsigned i = 0; i < BASE_BLOCKS; i++)
		if (b->payload[i] >= end)
			end = b->payload[i] + 1;
	memcpy(&free_blocks, super + FREE_BLOCKS_AT, sizeof free_blocks);
	b->used = b->size;
	if (end + le32toh(free_blocks) == b->size / b->kind->block_size)
		b->used = end * b->kind->block_size;
}

int base_read(const struct base_kind *kind, const char *path, struct base *out, struct err *err)
{
	int n, rc;

	*out = (struct base){ .kind = kind };
	rc = read_whole(path, out, err);
	if (rc)
		goto out;
	out->log = xalloc(out->size / kind->block_size, 1);
	n = blocks_of(path, "payload", out->payload, BASE_BLOCKS, err);
	if (n != (int)BASE_BLOCKS) {
		rc = n < 0 ? n : err_set(err, -EINVAL, "%s: payload has %d blocks", path, n);
		goto out;
	}
	n = blocks_of(path, "<8>", out->journal, BASE_JOURNAL, err);
	rc = n == (int)BASE_JOURNAL ? 0 : n < 0 ? n : err_set(err, -EINVAL, "%s: no journal", path);
	for (int i = 0; i < n; i++)
		if (out->journal[i] < out->size / kind->block_size)
			out->log[out->journal[i]] = 1;
	if (!rc)
		find_used(out);
out:
	if (rc)
		base_done(out);
	return rc;
}

void base_payload(const struct base *b, const struct overlay *o, uint8_t *out)
{
	unsigned bs = b->kind->block_size;

	for (unsigned i = 0; i < BASE_BLOCKS; i++)
		overlay_read(o, out + (size_t)i * bs, bs, b->payload[i] * bs);
}

void base_done(struct base *b)
{
	free(b->bytes);
	free(b->log);
	b->bytes = b->log = NULL;
}

static void set_sequence(struct base *b)
{
	uint32_t be = htonl(b->kind->sequence);

	memcpy(b->bytes + b->journal[0] * b->kind->block_size + SEQUENCE_AT, &be, sizeof be);
}

static int make_payload(const struct base_kind *kind, const char *dir, struct err *err)
{
	AUTO_FREE uint8_t *bytes = xalloc(BASE_BLOCKS, kind->block_size);
	AUTO_FREE char *path = xprintf("%s/payload", dir);
	FILE *f;
	size_t n;

	memset(bytes, 0x5a, (size_t)BASE_BLOCKS * kind->block_size);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_set(err, -errno, "cannot make %s: %s", dir, strerror(errno));
	f = fopen(path, "we");
	if (!f)
		return err_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
	n = fwrite(bytes, kind->block_size, BASE_BLOCKS, f);
	return fclose(f) || n != BASE_BLOCKS ? err_set(err, -EIO, "cannot write %s", path) : 0;
}

int base_make(const struct base_kind *kind, const char *dir, struct base *out, struct err *err)
{
	AUTO_FREE char *image = xprintf("%s/base-%s.img", dir, kind->name);
	AUTO_FREE char *files = xprintf("%s/files-%s", dir, kind->name);
	AUTO_FREE char *payload = xprintf("%s/payload", files);
	char size[16], journal[32], said[1024];
	const char *argv[] = { "mke2fs",
			       "-q",
			       "-F",
			       "-t",
			       "ext4",
			       "-b",
			       size,
			       "-J",
			       journal,
			       "-N",
			       "16",
			       "-m",
			       "0",
			       "-I",
			       "256",
			       "-O",
			       kind->features,
			       "-E",
			       "lazy_itable_init=0,nodiscard",
			       "-d",
			       files,
			       image,
			       kind->size,
			       NULL };
	int rc;

	snprintf(size, sizeof size, "%u", kind->block_size);
	snprintf(journal, sizeof journal, "size=%s", kind->journal_mib);
	rc = make_payload(kind, files, err);
	if (rc)
		return rc;
	rc = proc_run(argv, -1, said, sizeof said);
	rc = rc ? err_set(err, rc < 0 ? rc : -EIO, "mke2fs: %s", said) :
		  base_read(kind, image, out, err);
	unlink(image);
	unlink(payload);
	rmdir(files);
	if (rc)
		return rc;
	if (kind->sequence)
		set_sequence(out);
	return 0;
}
