/* SPDX-License-Identifier: Apache-2.0 */
/* record_load.c - reads a log of writes; see record.h
 *
 * The file may come from anywhere. Up to the number of entries in the head each has to make sense; behind that
 * the log ends where the first one does not, or is not complete. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/record.h"
#include "common/cleanup.h"

#define SECTOR_MIN 512u
#define SECTOR_MAX 4096u
#define SECTORS_MAX (1ull << 51) /* of 512 bytes: where a device can end */

struct reader {
	const uint8_t *map;
	uint64_t bytes, at;
	uint32_t sector;
	unsigned places; /* of flushes, so far */
	unsigned *done; /* how many of the first n of them were done, for each n; NULL: they are only counted; owned by parse() */
};

static struct record_entry entry_at(const uint8_t *p)
{
	struct record_entry le;

	memcpy(&le, p, sizeof le);
	return (struct record_entry){ .sector = le64toh(le.sector),
				      .nr_sectors = le64toh(le.nr_sectors),
				      .flags = le64toh(le.flags),
				      .data_len = le64toh(le.data_len) };
}

static bool has_data(const struct record_entry *e)
{
	return e->nr_sectors && !(e->flags & RECORD_DISCARD);
}

/* What is wrong with it; NULL: nothing. */
static const char *complaint(const struct record_entry *e, uint32_t sector)
{
	const uint64_t known = RECORD_FLUSH | RECORD_FUA | RECORD_DISCARD | RECORD_MARK |
			       RECORD_METADATA;

	if (e->flags & ~known)
		return "flags";
	if (e->sector >= SECTORS_MAX)
		return "sector";
	if (e->nr_sectors > SECTORS_MAX - e->sector ||
	    (has_data(e) && e->nr_sectors > RECORD_DATA_MAX / 512) ||
	    ((e->flags & RECORD_MARK) && e->nr_sectors))
		return "nr_sectors";
	if ((e->flags & RECORD_MARK) && e->data_len > sector - sizeof *e)
		return "data_len";
	return NULL;
}

/* The next entry. 1: there is one; 0: the file ends before it does; -EINVAL: *wrong makes no sense. */
static int next(struct reader *rd, struct record_item *out, const char **wrong)
{
	uint64_t left = rd->bytes - rd->at, data = 0;

	if (left < rd->sector)
		return 0;
	*out = (struct record_item){ .e = entry_at(rd->map + rd->at) };
	*wrong = complaint(&out->e, rd->sector);
	if (*wrong)
		return -EINVAL;
	if (has_data(&out->e)) {
		data = out->e.nr_sectors * 512;
		data = (data + rd->sector - 1) & ~(uint64_t)(rd->sector - 1);
		out->data = rd->map + rd->at + rd->sector;
	} else if (out->e.flags & RECORD_MARK) {
		out->data = rd->map + rd->at + sizeof(struct record_entry);
	}
	if (data > left - rd->sector)
		return 0;
	rd->at += rd->sector + data;
	return 1;
}

/* The place of a flush that was not done. */
static bool says_nothing(const struct record_entry *e)
{
	return !e->flags && !e->nr_sectors;
}

/* What a write overtook is counted in places; a reader sees only the flushes that were done. */
static void count_flushes(struct reader *rd, struct record_entry *e)
{
	uint64_t span = e->data_len;

	if (e->flags & RECORD_MARK)
		return;
	if (e->nr_sectors && rd->done) {
		if (span > rd->places)
			span = rd->places;
		e->data_len = rd->done[rd->places] - rd->done[rd->places - span];
	}
	if (says_nothing(e) || e->flags & RECORD_FLUSH) {
		rd->places++;
		if (rd->done)
			rd->done[rd->places] = rd->done[rd->places - 1] + !says_nothing(e);
	}
}

/* Counts entries; those that say something also into items (NULL: they are only counted, in *n). */
static int read_all(struct reader *rd, uint64_t promised, struct record_item *items, unsigned *n,
		    struct err *err)
{
	struct record_item item;
	const char *wrong = NULL;
	uint64_t i = 0;
	int rc;

	*n = 0;
	rd->places = 0;
	for (; (rc = next(rd, &item, &wrong)) > 0; i++) {
		count_flushes(rd, &item.e);
		if (says_nothing(&item.e))
			continue;
		if (items)
			items[*n] = item;
		++*n;
	}
	if (i >= promised)
		return 0;
	if (rc < 0)
		return err_set(err, rc, "entry %llu of %llu: %s makes no sense",
			       (unsigned long long)i, (unsigned long long)promised, wrong);
	return err_set(err, -EINVAL, "the head says %llu entries, but the file ends after %llu",
		       (unsigned long long)promised, (unsigned long long)i);
}

static int check_head(const struct reader *rd, struct record_super *out, struct err *err)
{
	struct record_super le;

	if (rd->bytes < SECTOR_MIN)
		return err_set(err, -EINVAL, "%llu bytes are too short for a log of writes",
			       (unsigned long long)rd->bytes);
	memcpy(&le, rd->map, sizeof le);
	out->magic = le64toh(le.magic);
	out->version = le64toh(le.version);
	out->nr_entries = le64toh(le.nr_entries);
	out->sector_size = le32toh(le.sector_size);
	if (out->magic != RECORD_MAGIC)
		return err_set(err, -EINVAL, "not a log of writes: magic %llx",
			       (unsigned long long)out->magic);
	if (out->version != RECORD_VERSION)
		return err_set(err, -EINVAL, "a log of version %llu, %llu is known",
			       (unsigned long long)out->version, RECORD_VERSION);
	if (out->sector_size < SECTOR_MIN || out->sector_size > SECTOR_MAX ||
	    (out->sector_size & (out->sector_size - 1)))
		return err_set(err, -EINVAL, "sector_size %u is no power of two from %u to %u",
			       out->sector_size, SECTOR_MIN, SECTOR_MAX);
	return 0;
}

static int parse(struct record_log *log, struct err *err)
{
	struct reader rd = { .map = log->map, .bytes = log->map_bytes };
	struct record_super s = { .magic = 0 };
	AUTO_FREE unsigned *done = NULL;
	int rc;

	assert(rd.map);
	rc = check_head(&rd, &s, err);
	if (rc)
		return rc;
	rd.sector = s.sector_size;
	rd.at = rd.sector < rd.bytes ? rd.sector : rd.bytes;
	rc = read_all(&rd, s.nr_entries, NULL, &log->n, err);
	if (rc)
		return rc;
	log->items = calloc(log->n ? log->n : 1, sizeof *log->items);
	done = calloc((size_t)rd.places + 1, sizeof *done);
	if (!log->items || !done)
		return err_set(err, -ENOMEM, "no memory for %u entries", log->n);
	rd.done = done;
	rd.at = rd.sector < rd.bytes ? rd.sector : rd.bytes;
	return read_all(&rd, s.nr_entries, log->items, &log->n, err);
}

static int map_file(const char *path, struct record_log *log, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return err_set(err, -errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return err_set(err, -EINVAL, "not a file with a log of writes");
	log->map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (log->map == MAP_FAILED) {
		log->map = NULL;
		return err_set(err, -errno, "%s", strerror(errno));
	}
	log->map_bytes = (size_t)st.st_size;
	return 0;
}

int record_load(const char *path, struct record_log *out, struct err *err)
{
	struct record_log log = { .n = 0 };
	struct err why = { .text = "" };
	int rc = map_file(path, &log, &why);

	if (!rc)
		rc = parse(&log, &why);
	if (rc) {
		record_unload(&log);
		return err_set(err, rc, "%.250s: %.250s", path, why.text);
	}
	*out = log;
	return 0;
}

void record_unload(struct record_log *log)
{
	free(log->items);
	if (log->map)
		munmap(log->map, log->map_bytes);
	*log = (struct record_log){ .n = 0 };
}
