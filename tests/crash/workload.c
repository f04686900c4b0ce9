/* SPDX-License-Identifier: Apache-2.0 */
/* workload.c - see workload.h: mounts, threads, and what a crash left */
#include "tests/crash/workload.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/layers.h"
#include "common/cleanup.h"
#include "tests/crash/workload_impl.h"

enum {
	BUFFERS = 48,
	BATCHES_MAX = 65536,
	COMMIT_MS = 50,
	GREEDY_BLOCKS = 30,
	ONE_IN_CHECKPOINT = 40
};

__attribute__((format(printf, 4, 0))) static void note(struct run *r, int *which, int rc,
						       const char *fmt, va_list ap)
{
	char text[300];

	vsnprintf(text, sizeof text, fmt, ap);
	pthread_mutex_lock(&r->lock);
	if (!r->rc && !r->later)
		err_set(r->err, rc, "mount %u: %s (%s)", r->h->mounts, text, strerror(-rc));
	if (!*which)
		*which = rc;
	pthread_mutex_unlock(&r->lock);
}

int run_fail(struct run *r, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, &r->rc, rc, fmt, ap);
	va_end(ap);
	atomic_store(&r->stop, true);
	return rc;
}

void run_complain(struct run *r, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, &r->later, rc, fmt, ap);
	va_end(ap);
}

/* ---- what the journal asks -------------------------------------------- */

/* How often the superblock was logged, in two places (judge.c, check_written()). */
static void count_up(struct run *r, struct txn *t, struct buf *b)
{
	char label[BASE_SUPER_LABEL + 1] = { 0 };
	uint64_t written;
	uint8_t *to;

	buf_lock(b);
	to = buf_change(t, b, r->super_at + BASE_SUPER_WRITTEN_AT, sizeof written);
	memcpy(&written, to, sizeof written);
	written = htole64(le64toh(written) + 1);
	memcpy(to, &written, sizeof written);
	to = buf_change(t, b, r->super_at + BASE_SUPER_LABEL_AT, BASE_SUPER_LABEL);
	memcpy(label, to, BASE_SUPER_LABEL);
	snprintf(label, sizeof label, "%08lx", strtoul(label, NULL, 16) + 1);
	memcpy(to, label, BASE_SUPER_LABEL);
	buf_unlock(b);
}

static int client_pack(void *arg, struct txn *t)
{
	struct run *r = arg;
	const struct buf_owner owner = { .type = BUF_SUPER };
	struct buf *b;
	int rc;

	if (!r->logs_super)
		return 0;
	rc = buf_get(r->bufs, r->super_block, owner, &b);
	if (rc)
		return rc;
	count_up(r, t, b);
	buf_put(b);
	return 0;
}

static void client_seal(void *arg, const struct buf *b, uint8_t *image)
{
	const struct run *r = arg;

	if (b->type == BUF_SUPER)
		ext4_super_balance(image + r->super_at);
}

static void client_committed(void *arg, uint32_t tid)
{
	struct run *r = arg;

	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < BASE_BLOCKS; i++)
		if (r->blocks[i].role == FREEING && r->blocks[i].freeing_tid == tid)
			r->blocks[i].role = FREE;
	pthread_mutex_unlock(&r->lock);
}

/* ---- a thread --------------------------------------------------------- */

static int act(struct actor *a)
{
	struct run *r = a->r;
	unsigned dice = (unsigned)rand_below(&a->seq, 100);
	int rc;

	if (r->style == STEADY) {
		rc = act_forge(a, r->steady);
		return rc ? rc : act_wait(a);
	}
	if (r->style == GREEDY) {
		rc = act_handle(a, GREEDY_BLOCKS);
		return rc || dice < 90 ? rc : act_wait(a);
	}
	if (dice < 50)
		return act_handle(a, 1 + (unsigned)rand_below(&a->seq, dice < 10 ? 30 : 8));
	if (dice < 56)
		return act_forge(a, 3 + (unsigned)rand_below(&a->seq, 7));
	if (dice < 76)
		return act_data(a);
	if (dice < 86)
		return act_trim(a);
	if (dice < 97 || rand_below(&a->seq, ONE_IN_CHECKPOINT / 10))
		return act_wait(a);
	rc = jrn_checkpoint(r->jrn);
	return rc ? run_fail(r, rc, "jrn_checkpoint() fails") : 0;
}

static void *actor_thread(void *arg)
{
	struct actor *a = arg;
	unsigned ops = a->r->conf->ops;

	if (a->r->style == GREEDY)
		ops *= 2;
	/* Twice round the log. */
	if (a->r->style == STEADY)
		ops = 2 * a->r->super.journal_blocks / (a->r->steady + 2);
	for (unsigned i = 0; i < ops && !atomic_load(&a->r->stop); i++)
		if (act(a))
			break;
	return NULL;
}

static void work(struct run *r)
{
	unsigned n = r->style == STEADY ? 1 : r->conf->threads;
	struct actor actors[WORKLOAD_THREADS] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		actors[i].r = r;
		actors[i].seq = mix64(r->conf->seed ^ (uint64_t)r->h->mounts << 32 ^ i);
		if (pthread_create(&actors[i].thread, NULL, actor_thread, &actors[i]))
			die("cannot start a thread");
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(actors[i].thread, NULL);
}

/* ---- the end of a mount ----------------------------------------------- */

/* Which transaction does the disk hold after a recovery? */
static int found_on_disk(struct run *r, uint32_t *ord)
{
	AUTO_FREE uint8_t *bytes = xalloc(BASE_BLOCKS, r->block_size);
	const struct record_log none = { 0 };
	struct oracle o;
	char why[WHY_MAX];
	struct err err;
	uint32_t mount;
	bool good;
	int rc = oracle_init(&o, r->h, &none, &err);

	base_payload(r->conf->base, &r->disk, bytes);
	o.needs[0] = (struct need){ .mount = r->h->mounts, .acked = r->acked };
	for (unsigned i = 0; i < o.nbatches; i++)
		if (r->batch_acked[i])
			o.batch_point[i] = 0;
	good = !rc && oracle_judge(&o, 0, bytes, &mount, ord, why);
	oracle_done(&o);
	return good ? 0 : run_fail(r, -EUCLEAN, "recovered after the crash: %s", why);
}

/* Roles as they were at the end of what was kept. */
static void roles_back(struct run *r)
{
	for (unsigned i = 0; i < BASE_BLOCKS; i++) {
		struct ablock *b = &r->blocks[i];
		const struct event *data, *e;
		unsigned n;

		e = history_at(r->h, i, r->h->mounts + 1, 0, &data, &n);
		b->untrimmed = false;
		b->role = FREE;
		for (; n; n--)
			if (data[n - 1].kind == EVENT_DATA && b->role == FREE) {
				b->role = DATA;
				memcpy(b->sector, data[n - 1].sector, sizeof b->sector);
			}
		if (!e || e->kind != EVENT_META)
			continue;
		b->role = META;
		memcpy(b->sector, e->sector, sizeof b->sector);
	}
}

static int end_clean(struct run *r)
{
	int rc = jrn_close(r->jrn);

	r->jrn = NULL;
	if (rc)
		return run_fail(r, rc, "jrn_close() fails");
	history_kept(r->h, r->h->mount[r->h->mounts].last);
	return 0;
}

static int recover(struct run *r)
{
	struct jrn_recovered found;
	struct err err = { "" };
	int rc = jrn_recover(r->dev, &r->super, &found, &err);

	return rc ? run_fail(r, rc, "own recovery: %s", err.text) : 0;
}

static int super_again(struct run *r)
{
	struct err err = { "" };
	int rc;

	ext4_super_done(&r->super);
	rc = ext4_super_read(r->dev, &r->super, &err);
	return rc ? run_fail(r, rc, "superblock: %s", err.text) : 0;
}

static int end_crashed(struct run *r)
{
	uint32_t ord = 0;
	int rc;

	jrn_abandon(r->jrn);
	r->jrn = NULL;
	rc = super_again(r);
	if (!rc)
		rc = recover(r);
	if (!rc)
		rc = found_on_disk(r, &ord);
	if (!rc)
		history_kept(r->h, ord);
	return rc;
}

/* ---- a mount ---------------------------------------------------------- */

static int mount_begin(struct run *r)
{
	const struct bufs_conf bc = { .dev = r->dev,
				      .block_size = r->block_size,
				      .blocks = r->super.blocks,
				      .memory = (size_t)BUFFERS * r->block_size };
	struct jrn_conf jc = { .dev = r->dev,
			       .super = &r->super,
			       .commit_ms = COMMIT_MS,
			       .client = &r->client,
			       .client_arg = r };
	struct err err = { "" };
	char text[32];
	int rc;

	snprintf(text, sizeof text, "mount %u", history_mount(r->h));
	rc = bd_record_mark(r->dev, text);
	if (rc)
		return run_fail(r, rc, "a mark cannot be written");
	r->acked = 0;
	r->any_now = false;
	rc = bufs_new(&bc, &r->bufs);
	if (rc)
		return run_fail(r, rc, "bufs_new() fails");
	jc.bufs = r->bufs;
	rc = jrn_open(&jc, &r->jrn, &err);
	if (rc)
		return run_fail(r, rc, "jrn_open(): %s", err.text);
	if (r->logs_super)
		jrn_set_pack_credits(r->jrn, 1);
	return 0;
}

static void mount_end(struct run *r)
{
	const struct mount_history *m = &r->h->mount[r->h->mounts];

	bufs_free(r->bufs);
	r->bufs = NULL;
	if (m->any && m->kept) {
		r->before = m->first_tid + m->kept - 1;
		r->any_before = true;
	}
	roles_back(r);
}

static int one_mount(struct run *r, uint64_t dice)
{
	static const enum style styles[] = { MIXED, MIXED, MIXED, STEADY, STEADY, GREEDY, GREEDY };
	static const unsigned sizes[] = { 6, 8, 6, 8, 5, 7 };
	bool crash = dice & 1;
	int rc;

	r->logs_super = dice >> 1 & 1;
	r->style = styles[(dice >> 2) % ARRAY_LEN(styles)];
	/* With 6 and 8 a descriptor of the next round comes to lie on a forged one of this. */
	r->steady = sizes[(dice >> 8) % ARRAY_LEN(sizes)];
	overlay_slow(r->bottom, r->style == GREEDY);
	rc = super_again(r);
	if (!rc)
		rc = mount_begin(r);
	if (!rc) {
		work(r);
		rc = r->rc;
	}
	if (!rc)
		rc = crash ? end_crashed(r) : end_clean(r);
	if (r->jrn)
		jrn_abandon(r->jrn);
	r->jrn = NULL;
	if (!rc)
		mount_end(r);
	bufs_free(r->bufs);
	r->bufs = NULL;
	return rc;
}

static int open_disk(struct run *r, const char *log_path)
{
	int rc, fd = open(log_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(r->err, -errno, "cannot write %s: %s", log_path, strerror(errno));
	overlay_base(&r->disk, r->conf->base->bytes, r->conf->base->size);
	rc = overlay_open(&r->disk, r->conf->seed | 1, &r->bottom, r->err);
	if (rc) {
		close(fd);
		return rc;
	}
	rc = bd_record_open(r->bottom, fd, &r->dev, r->err);
	if (rc)
		bd_close(r->bottom);
	return rc;
}

int workload_run(const struct workload_conf *conf, const char *log_path, struct history *out,
		 struct err *err)
{
	unsigned bs = conf->base->kind->block_size;
	struct run *r = xalloc(1, sizeof *r);
	uint64_t seq = conf->seed;
	int rc;

	r->conf = conf;
	r->h = out;
	r->err = err;
	r->block_size = bs;
	r->super_block = EXT4_SUPER_OFFSET / bs;
	r->super_at = EXT4_SUPER_OFFSET % bs;
	r->batch_cap = BATCHES_MAX;
	r->batch_acked = xalloc(r->batch_cap + 1, 1);
	r->client = (struct jrn_client){ .pack = client_pack,
					 .seal = client_seal,
					 .committed = client_committed };
	pthread_mutex_init(&r->lock, NULL);
	history_init(out, BASE_BLOCKS, bs);
	rc = open_disk(r, log_path);
	for (unsigned i = 0; !rc && i < conf->mounts; i++)
		rc = one_mount(r, rand_below(&seq, UINT64_MAX));
	rc = rc ? rc : r->later;
	bd_close(r->dev);
	overlay_done(&r->disk);
	ext4_super_done(&r->super);
	pthread_mutex_destroy(&r->lock);
	free(r->batch_acked);
	free(r);
	return rc;
}
