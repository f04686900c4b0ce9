/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c - see judge.h */
#include "tests/crash/judge.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/block/ext4/super.h"
#include "backends/block/layers.h"
#include "common/cleanup.h"
#include "tests/crash/kernel.h"
#include "tests/crash/proc.h"

static const char fd_path[] = "/proc/self/fd/3"; /* PROC_FD */
enum { SAID_MAX = 2048, SILENT_AGAIN = 32 };

/* ---- our recovery ----------------------------------------------------- */

int recover_image(struct overlay *o, int log_fd_take, struct jrn_recovered *out, struct err *err)
{
	struct bd *dev, *top = NULL;
	struct ext4_super super;
	int rc = overlay_open(o, 0, &dev, err);

	if (rc)
		return rc;
	top = dev;
	if (log_fd_take >= 0)
		rc = bd_record_open(dev, log_fd_take, &top, err);
	if (rc) {
		bd_close(dev);
		return rc;
	}
	rc = ext4_super_read(top, &super, err);
	if (!rc) {
		rc = jrn_recover(top, &super, out, err);
		ext4_super_done(&super);
	}
	bd_close(top);
	return rc;
}

/* ---- the parts of a verdict ------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void bad(struct verdict *v, const char *fmt, ...)
{
	va_list ap;

	v->good = false;
	va_start(ap, fmt);
	vsnprintf(v->why, sizeof v->why, fmt, ap);
	va_end(ap);
}

/* The first line of what e2fsck said that is not its ordinary course; NULL: none. */
static const char *complaint(char *said)
{
	char *save = NULL;

	for (char *l = strtok_r(said, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, "Pass ", 5) != 0 && strncmp(l, "e2fsck 1.", 9) != 0 &&
		    !strstr(l, " files (") && *l)
			return l;
	return NULL;
}

/* Of what e2fsck -fn reads: neither the bytes of files nor the log behind its superblock. */
static uint64_t read_hash(const struct judge *j)
{
	unsigned bs = j->base->kind->block_size;
	uint64_t h = 0;

	for (uint64_t b = 0; b < j->base->used / bs; b++)
		if (!j->unread[b])
			h = mix64(h + hash_bytes(j->map + b * bs, bs, b));
	return h ? h : 1;
}

/* e2fsck -fn must end well and have nothing to say. What it was content with is not shown to it again, but for
 * one in SILENT_AGAIN. */
static void check_silent(struct judge *j, const char *who, struct verdict *v)
{
	static const char *const argv[] = { "e2fsck", "-fn", fd_path, NULL };
	char said[SAID_MAX], all[SAID_MAX];
	uint64_t hash = read_hash(j), *known = &j->silent[hash % JUDGE_SILENT];
	const char *words;
	int rc;

	if (*known == hash && ++j->skipped % SILENT_AGAIN)
		return;
	rc = proc_run(argv, j->image, said, sizeof said);
	memcpy(all, said, sizeof all);
	words = complaint(said);
	if (rc || words)
		bad(v, "%s: e2fsck -fn afterwards ends with %d: %s", who, rc, words ? words : all);
	else
		*known = hash;
}

/* Of the superblock: what each of them writes as it likes. */
static const struct {
	unsigned at, len;
} own_fields[] = {
	{ 0x2c, 4 },                  /* s_mtime */
	{ 0x30, 4 },                  /* s_wtime */
	{ 0x34, 2 },                  /* s_mnt_count */
	{ 0xc8, 4 },                  /* what ours changes in place of the checksum */
	{ BASE_SUPER_WRITTEN_AT, 8 }, /* check_written() */
	{ 0x3fc, 4 },                 /* s_checksum */
};

static bool is_own_field(unsigned at)
{
	for (unsigned i = 0; i < ARRAY_LEN(own_fields); i++)
		if (at - own_fields[i].at < own_fields[i].len)
			return true;
	return false;
}

/* The first byte of the unit that must be the same whoever recovers, and is not; OVERLAY_UNIT: there is none. */
static unsigned differs(const struct judge *j, uint64_t unit)
{
	const uint8_t *a = j->map + unit * OVERLAY_UNIT, *b = j->ref + unit * OVERLAY_UNIT;
	bool super = unit == EXT4_SUPER_OFFSET / OVERLAY_UNIT;

	if (!memcmp(a, b, OVERLAY_UNIT) ||
	    j->base->log[unit * OVERLAY_UNIT / j->base->kind->block_size])
		return OVERLAY_UNIT;
	for (unsigned at = 0; at < OVERLAY_UNIT; at++)
		if (a[at] != b[at] && !(super && is_own_field(at)))
			return at;
	return OVERLAY_UNIT;
}

static uint64_t written(const uint8_t *image)
{
	uint64_t le;

	memcpy(&le, image + EXT4_SUPER_OFFSET + BASE_SUPER_WRITTEN_AT, sizeof le);
	return le64toh(le);
}

/* s_kbytes_written. A transaction of the workload that logs the superblock counts one up, and writes into the label how
 * often that was. Our recovery leaves what the log says; e2fsck adds what it wrote itself. The kernel adds that to
 * what stood there before the replay: of it nothing is asked. */
static void check_written(const struct judge *j, const char *who, bool adds, struct verdict *v)
{
	const uint8_t *label = j->map + EXT4_SUPER_OFFSET + BASE_SUPER_LABEL_AT;
	char text[BASE_SUPER_LABEL + 1] = { 0 };
	uint64_t logged, more;

	memcpy(text, label, BASE_SUPER_LABEL);
	logged = written(j->base->bytes) + strtoul(text, NULL, 16);
	more = written(j->map) - logged;
	if (more > (adds ? j->map_bytes / 1024 : 0))
		bad(v, "%s: s_kbytes_written is %llu, the log says %llu", who,
		    (unsigned long long)written(j->map), (unsigned long long)logged);
}

/* What stands in the memory file is what this judge left. */
static void check_same(struct judge *j, const char *who, struct verdict *v)
{
	if (!j->first) {
		j->first = who;
		memcpy(j->ref, j->map, j->base->used);
		return;
	}
	for (uint64_t u = 0; u < j->base->used / OVERLAY_UNIT; u++) {
		unsigned at = differs(j, u);
		uint64_t off = u * OVERLAY_UNIT + at;

		if (at == OVERLAY_UNIT)
			continue;
		bad(v, "%s and %s leave different bytes in block %llu, at %llu", j->first, who,
		    (unsigned long long)(off / j->base->kind->block_size),
		    (unsigned long long)(off % j->base->kind->block_size));
		return;
	}
}

static void judge_own(struct judge *j, struct overlay *o, struct jrn_recovered *found,
		      struct verdict *v)
{
	struct err err = { "" };
	int rc = recover_image(o, -1, found, &err);

	if (rc) {
		bad(v, "own recovery: %s (%s)", err.text, strerror(-rc));
		return;
	}
	for (unsigned i = 0; i < o->changed; i++)
		if (o->list[i] >= j->base->used / OVERLAY_UNIT) {
			bad(v, "own recovery writes to free space, at %u KiB", o->list[i]);
			return;
		}
	overlay_copy(o, j->map, j->base->used);
	check_silent(j, "own recovery", v);
	check_written(j, "own recovery", false, v);
	check_same(j, "own recovery", v);
}

static void judge_e2fsck(struct judge *j, const struct overlay *state, struct verdict *v)
{
	static const char *const argv[] = { "e2fsck", "-y", "-E", "journal_only", fd_path, NULL };
	char said[SAID_MAX];
	int rc;

	overlay_copy(state, j->map, j->base->used);
	rc = proc_run(argv, j->image, said, sizeof said);
	if (rc && rc != 1) {
		bad(v, "e2fsck -E journal_only ends with %d: %s", rc, said);
		return;
	}
	check_silent(j, "e2fsck", v);
	check_written(j, "e2fsck", true, v);
	check_same(j, "e2fsck", v);
}

static void judge_kernel(struct judge *j, const struct overlay *state, struct verdict *v)
{
	struct err err;

	overlay_copy(state, j->map, j->base->used);
	if (kernel_mount(j->loop, j->device, j->mnt, &err)) {
		bad(v, "kernel: %s", err.text);
		return;
	}
	check_silent(j, "kernel", v);
	check_same(j, "kernel", v);
}

/* The payload as the first judge left it. */
static void judge_payload(struct judge *j, const struct oracle *o, uint32_t point,
			  struct verdict *v)
{
	unsigned bs = j->base->kind->block_size;
	AUTO_FREE uint8_t *bytes = xalloc(BASE_BLOCKS, bs);
	char why[WHY_MAX];

	for (unsigned i = 0; i < BASE_BLOCKS; i++)
		memcpy(bytes + (size_t)i * bs, j->ref + j->base->payload[i] * bs, bs);
	v->payload = hash_bytes(bytes, (size_t)BASE_BLOCKS * bs, 0);
	if (o && j->which & JUDGE_ORACLE && !oracle_judge(o, point, bytes, &v->mount, &v->ord, why))
		bad(v, "oracle, after %s: %s", j->first, why);
}

/* J5: the next transaction has a number above the one that was found. */
static void judge_sequence(const struct oracle *o, const struct jrn_recovered *found,
			   struct verdict *v)
{
	const struct mount_history *m = &o->h->mount[v->mount];
	uint32_t tid = m->first_tid + v->ord - 1;

	if (m->any && v->ord && (int32_t)(found->next_sequence - tid) <= 0)
		bad(v, "own recovery: goes on with transaction %u after %u", found->next_sequence,
		    tid);
}

void judge_state(struct judge *j, const struct overlay *state, const struct oracle *o,
		 uint32_t point, struct verdict *out)
{
	struct jrn_recovered found = { 0 };
	struct overlay mine;

	*out = (struct verdict){ .good = true };
	j->first = NULL;
	overlay_over(&mine, state);
	if (j->which & JUDGE_OWN)
		judge_own(j, &mine, &found, out);
	overlay_done(&mine);
	if (out->good && j->which & JUDGE_E2FSCK)
		judge_e2fsck(j, state, out);
	if (out->good && j->which & JUDGE_KERNEL)
		judge_kernel(j, state, out);
	if (out->good && j->first)
		judge_payload(j, o, point, out);
	if (out->good && o && j->which & JUDGE_OWN && j->which & JUDGE_ORACLE && found.transactions)
		judge_sequence(o, &found, out);
}

/* ---- making one ------------------------------------------------------- */

int judge_init(struct judge *j, unsigned which, const char *dir, struct err *err)
{
	*j = (struct judge){ .which = which, .image = -1, .loop = -1 };
	j->image = memfd_create("crashjournal", MFD_CLOEXEC);
	if (j->image < 0)
		return err_set(err, -errno, "cannot make a file in memory: %s", strerror(errno));
	if (!(which & JUDGE_KERNEL))
		return 0;
	snprintf(j->mnt, sizeof j->mnt, "%s/mnt-%d", dir, (int)getpid());
	return kernel_prepare(j->mnt, err);
}

int judge_base(struct judge *j, const struct base *base, struct err *err)
{
	if (j->loop >= 0)
		close(j->loop);
	j->loop = -1;
	if (j->map)
		munmap(j->map, j->map_bytes);
	free(j->ref);
	j->map = NULL;
	j->base = base;
	j->map_bytes = base->size;
	free(j->unread);
	j->unread = xalloc(base->size / base->kind->block_size, 1);
	memset(j->silent, 0, sizeof j->silent);
	memcpy(j->unread, base->log, base->size / base->kind->block_size);
	j->unread[base->journal[0]] = 0;
	for (unsigned i = 0; i < BASE_BLOCKS; i++)
		j->unread[base->payload[i]] = 1;
	j->ref = xalloc(1, base->size);
	if (ftruncate(j->image, (off_t)base->size))
		return err_set(err, -errno, "cannot size a file in memory: %s", strerror(errno));
	j->map = mmap(NULL, base->size, PROT_READ | PROT_WRITE, MAP_SHARED, j->image, 0);
	if (j->map == MAP_FAILED) {
		j->map = NULL;
		return err_set(err, -ENOMEM, "cannot map a file in memory");
	}
	if (!(j->which & JUDGE_KERNEL))
		return 0;
	j->loop = kernel_loop(j->image, j->device, sizeof j->device, err);
	return j->loop < 0 ? j->loop : 0;
}

void judge_done(struct judge *j)
{
	if (j->loop >= 0)
		close(j->loop);
	if (j->map)
		munmap(j->map, j->map_bytes);
	free(j->ref);
	free(j->unread);
	if (j->image >= 0)
		close(j->image);
	if (j->mnt[0])
		rmdir(j->mnt);
}
