/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_live_data.c - scenarios about data in flight, many threads, lost connections */
#include "tests/backend/live.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#define BLOCK (256u << 10)
#define BLOCKS 64
#define FRAME 65536

/* The byte at position pos of the file called by seed. */
static unsigned char pattern(uint64_t pos, unsigned seed)
{
	return (unsigned char)((pos * 2654435761u) >> 13) ^ (unsigned char)(seed * 31 + pos);
}

struct flight {
	struct live *l;
	struct backend *be;
	struct be_node *node;
	sem_t free;
	_Atomic unsigned failed;
	uint64_t verifier;
	_Atomic bool unstable;
};

struct block {
	struct flight *fl;
	struct be_io io;
	struct iovec iov[BLOCK / FRAME];
	unsigned char data[BLOCK];
};

static void block_done(struct be_io *io)
{
	struct block *b = io->priv;

	if (io->result != (ssize_t)io->len)
		b->fl->failed++;
	if (io->stable == BE_UNSTABLE)
		b->fl->unstable = true;
	sem_post(&b->fl->free);
}

static void block_set(struct block *b, struct flight *fl, uint64_t off)
{
	b->fl = fl;
	b->io = (struct be_io){ .node = fl->node,
				.cred = fl->l->root,
				.iov = b->iov,
				.niov = ARRAY_LEN(b->iov),
				.off = off,
				.len = BLOCK,
				.done = block_done,
				.priv = b };
	for (unsigned i = 0; i < ARRAY_LEN(b->iov); i++)
		b->iov[i] = (struct iovec){ b->data + (size_t)i * FRAME, FRAME };
}

static void fly(struct flight *fl, struct block *blocks, bool write)
{
	fl->failed = 0;
	CHECK_EQ(sem_init(&fl->free, 0, 0), 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		block_set(&blocks[i], fl, (uint64_t)i * BLOCK);
		if ((write ? backend_write : backend_read)(fl->be, &blocks[i].io) == BE_DONE)
			block_done(&blocks[i].io);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		sem_wait(&fl->free);
	sem_destroy(&fl->free);
	CHECK_EQ(fl->failed, 0);
}

static void fill_blocks(struct block *blocks, unsigned seed)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		for (unsigned j = 0; j < BLOCK; j++)
			blocks[i].data[j] = pattern((uint64_t)i * BLOCK + j, seed);
}

static void check_blocks(const struct block *blocks, unsigned seed)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		for (unsigned j = 0; j < BLOCK; j++)
			CHECK_EQ(blocks[i].data[j], pattern((uint64_t)i * BLOCK + j, seed));
}

static void commit_all(struct flight *fl)
{
	struct be_io io = { .node = fl->node, .cred = fl->l->root };

	CHECK_EQ(backend_commit_wait(fl->be, &io), 0);
	fl->verifier = io.verifier;
}

static void data_comes_back_as_it_was_written(struct live *l)
{
	struct flight fl = { .l = l, .be = l->be, .node = live_file(l, "f") };
	struct block *blocks = calloc(BLOCKS, sizeof *blocks);

	fill_blocks(blocks, 1);
	fly(&fl, blocks, true);
	for (unsigned i = 1; i < BLOCKS && fl.unstable; i++)
		CHECK_EQ(blocks[i].io.verifier, blocks[0].io.verifier);
	commit_all(&fl);
	if (fl.unstable)
		CHECK_EQ(fl.verifier, blocks[0].io.verifier);
	CHECK_EQ(live_attr(l, l->be, fl.node, 0).size, (uint64_t)BLOCKS * BLOCK);
	for (unsigned i = 0; i < BLOCKS; i++)
		memset(blocks[i].data, 0, BLOCK);
	fly(&fl, blocks, false);
	check_blocks(blocks, 1);
	be_node_put(fl.node);
	free(blocks);
}

static void odd_pieces_and_ends_are_exact(struct live *l)
{
	struct be_node *f = live_file(l, "f");
	unsigned char *buf = malloc(3 * MIB), *back = malloc(3 * MIB);
	struct iovec iov[] = { { buf, 1 }, { buf + 1, 4095 }, { buf + 4096, 3 * MIB - 4096 - 5 } };
	struct be_io io = { .node = f,
			    .cred = l->root,
			    .iov = iov,
			    .niov = 3,
			    .off = 3,
			    .len = 3 * MIB - 5,
			    .want = BE_FILE_SYNC };

	for (size_t i = 0; i < 3 * MIB; i++)
		buf[i] = pattern(i, 7);
	/* Larger than a request may be: sent in several, completed once. */
	CHECK_EQ(backend_write_wait(l->be, &io), 3 * MIB - 5);
	CHECK_EQ(io.stable, BE_FILE_SYNC);
	CHECK(!io.post_valid || io.post.size == 3 * MIB - 2);
	CHECK_EQ(live_read(l, l->be, f, back, 3 * MIB, 0), 3 * MIB - 2);
	CHECK(back[0] == 0 && back[2] == 0 && !memcmp(back + 3, buf, 3 * MIB - 5));
	CHECK_EQ(live_read(l, l->be, f, back, 100, 3 * MIB - 12), 10);
	CHECK_EQ(live_read(l, l->be, f, back, 100, 3 * MIB), 0);
	be_node_put(f);
	free(buf);
	free(back);
}

static void write_errors_come_back(struct live *l)
{
	struct be_node *f = live_file(l, "f");
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct be_io io = { .node = f, .cred = l->user, .iov = &iov, .niov = 1, .len = 1 };

	CHECK_EQ(backend_write_wait(l->be, &io), -EACCES);
	CHECK_EQ(live_unlink(l, "f", NULL), 0);
	CHECK_EQ(live_write(l, l->be, f, "x", 1, 0, BE_UNSTABLE), -ESTALE);
	be_node_put(f);
}

/* ---- interruption, soft mounts ----------------------------------------------- */

static int dial_refused(void *arg, const struct be_dial *want, struct err *err)
{
	if (!atomic_load((_Atomic bool *)arg))
		return live_env_cut.dial(NULL, want, err);
	return -ECONNREFUSED;
}

static void *set_later(void *flag)
{
	usleep(200000);
	atomic_store((atomic_bool *)flag, true);
	return NULL;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void waiting_ends_by_interruption_or_time(struct live *l)
{
	_Atomic bool down = false;
	struct be_env env = { .nconnect = 1, .dial = dial_refused, .dial_arg = &down };
	struct backend *hard = live_open(l, &env), *soft;
	struct be_node *hard_dir = live_dir_on(l, hard), *soft_dir;
	atomic_bool interrupted = false;
	struct be_call call = l->call;
	struct iovec iov = { (char[1]){ 0 }, 1 };
	struct be_io io = { .cred = l->root, .iov = &iov, .niov = 1, .len = 1 };
	struct be_attr attr;
	struct be_entry e;
	pthread_t thread;
	double start;

	env.soft = true;
	env.timeout_ms = 700;
	soft = live_open(l, &env);
	soft_dir = live_dir_on(l, soft);
	CHECK_EQ(backend_create(soft, &l->call, soft_dir, "f", 0644, O_RDWR, &e), 0);
	atomic_store(&down, true);
	live_cut();

	call.interrupted = &interrupted;
	call.flags = BE_REVALIDATE;
	CHECK_EQ(pthread_create(&thread, NULL, set_later, &interrupted), 0);
	start = seconds();
	CHECK_EQ(backend_getattr(hard, &call, hard_dir, &attr), -EINTR);
	CHECK(seconds() - start > 0.1 && seconds() - start < 2);
	pthread_join(thread, NULL);

	call.interrupted = NULL;
	start = seconds();
	CHECK_EQ(backend_getattr(soft, &call, soft_dir, &attr), -ETIMEDOUT);
	CHECK(seconds() - start > 0.6 && seconds() - start < 3);
	io.node = e.node;
	CHECK_EQ(backend_write_wait(soft, &io), -ETIMEDOUT);

	atomic_store(&down, false); /* and both go on */
	CHECK_EQ(backend_getattr(hard, &call, hard_dir, &attr), 0);
	backend_release(soft, e.node, O_RDWR);
	be_node_put(e.node);
	be_node_put(soft_dir);
	be_node_put(hard_dir);
	backend_close(soft);
	backend_close(hard);
}

/* ---- lost connections ---------------------------------------------------------- */

static _Atomic bool cutting;

/* In growing intervals: a slow build, too, must get an answer through in the end,
 * for until then the back-off between its attempts grows. */
static void *cutter(void *arg)
{
	(void)arg;
	for (unsigned ms = 10; atomic_load(&cutting); ms += 5) {
		for (unsigned slept = 0; slept < ms && atomic_load(&cutting); slept += 5)
			usleep(5000);
		live_cut();
	}
	return NULL;
}

static void data_survives_lost_connections(struct live *l)
{
	struct backend *be = live_open(l, &live_env_cut);
	struct be_node *d = live_dir_on(l, be);
	struct block *blocks = calloc(BLOCKS, sizeof *blocks);
	struct flight fl = { .l = l, .be = be };
	struct be_entry e;
	pthread_t thread;

	CHECK_EQ(backend_create(be, &l->call, d, "f", 0644, O_RDWR, &e), 0);
	fl.node = e.node;
	atomic_store(&cutting, true);
	CHECK_EQ(pthread_create(&thread, NULL, cutter, NULL), 0);
	for (unsigned round = 0; round < 6; round++) {
		fill_blocks(blocks, round);
		fly(&fl, blocks, true);
		commit_all(&fl);
		for (unsigned i = 0; i < BLOCKS; i++)
			memset(blocks[i].data, 0, BLOCK);
		fly(&fl, blocks, false);
		check_blocks(blocks, round);
	}
	atomic_store(&cutting, false);
	pthread_join(thread, NULL);
	backend_release(be, e.node, O_RDWR);
	be_node_put(e.node);
	be_node_put(d);
	backend_close(be);
	free(blocks);
}

/* Each operation must succeed exactly once, however often its answer was lost. */
static void names_survive_lost_connections(struct live *l)
{
	struct backend *be = live_open(l, &live_env_cut);
	struct be_node *d = live_dir_on(l, be);
	pthread_t thread;

	atomic_store(&cutting, true);
	CHECK_EQ(pthread_create(&thread, NULL, cutter, NULL), 0);
	for (unsigned i = 0; i < 150; i++) {
		struct be_removed r;
		struct be_entry e, link;

		CHECK_EQ(backend_create(be, &l->call, d, "f", 0644, O_RDWR | (i & 1 ? O_EXCL : 0),
					&e),
			 0);
		backend_release(be, e.node, O_RDWR);
		CHECK_EQ(backend_link(be, &l->call, e.node, d, "l", &link), 0);
		be_node_put(link.node);
		be_node_put(e.node);
		CHECK_EQ(backend_rename(be, &l->call, d, "f", d, "g", 0, &r), 0);
		CHECK(!r.node);
		CHECK_EQ(backend_unlink(be, &l->call, d, "g", &r), 0);
		be_node_put(r.node);
		CHECK_EQ(backend_unlink(be, &l->call, d, "l", &r), 0);
		be_node_put(r.node);
		CHECK_EQ(backend_mkdir(be, &l->call, d, "d", 0755, &e), 0);
		be_node_put(e.node);
		CHECK_EQ(backend_symlink(be, &l->call, d, "s", "t", &e), 0);
		be_node_put(e.node);
		CHECK_EQ(backend_unlink(be, &l->call, d, "s", &r), 0);
		be_node_put(r.node);
		CHECK_EQ(backend_rmdir(be, &l->call, d, "d", &r), 0);
		be_node_put(r.node);
	}
	atomic_store(&cutting, false);
	pthread_join(thread, NULL);
	be_node_put(d);
	backend_close(be);
}

/* ---- many threads --------------------------------------------------------------- */

#define THREADS 6
#define STEPS 300

static bool any_emit(void *arg, const struct be_dirent *ent)
{
	(void)arg;
	(void)ent;
	return true;
}

static void race_read(struct live *l, const char *name)
{
	struct be_dir *d;
	struct be_entry e;
	char buf[4096];

	if (!backend_lookup(l->be, &l->call, l->dir, name, &e)) {
		if (!backend_open_node(l->be, &l->call, e.node, O_RDWR)) {
			live_read(l, l->be, e.node, buf, sizeof buf, 0);
			live_write(l, l->be, e.node, buf, sizeof buf, 0, BE_UNSTABLE);
			backend_release(l->be, e.node, O_RDWR);
		}
		be_node_put(e.node);
	}
	CHECK_EQ(backend_opendir(l->be, &l->call, l->dir, &d), 0);
	CHECK_EQ(backend_readdir(l->be, &l->call, d, 0, true, any_emit, NULL), 0);
	backend_closedir(l->be, d);
}

static void race_change(struct live *l, const char *name, const char *other, unsigned what)
{
	struct be_removed r = { .node = NULL };
	struct be_entry e;
	int rc;

	switch (what) {
	case 0:
		rc = backend_create(l->be, &l->call, l->dir, name, 0644, O_RDWR, &e);
		CHECK(!rc || rc == -ENOENT || rc == -ESTALE);
		if (!rc) {
			backend_release(l->be, e.node, O_RDWR);
			be_node_put(e.node);
		}
		return;
	case 1:
		rc = backend_unlink(l->be, &l->call, l->dir, name, &r);
		break;
	default:
		rc = backend_rename(l->be, &l->call, l->dir, name, l->dir, other, 0, &r);
		break;
	}
	CHECK(!rc || rc == -ENOENT || rc == -ESTALE);
	if (!rc)
		be_node_put(r.node);
}

static void *racer(void *arg)
{
	struct live *l = arg;
	static _Atomic unsigned seeds;
	unsigned seed = atomic_fetch_add(&seeds, 1) + 1;

	for (int i = 0; i < STEPS; i++) {
		char name[8], other[8];

		seed = seed * 1103515245 + 12345;
		snprintf(name, sizeof name, "n%u", seed >> 8 & 3);
		snprintf(other, sizeof other, "n%u", seed >> 12 & 3);
		if ((seed >> 16 & 7) < 3)
			race_read(l, name);
		else
			race_change(l, name, other, seed >> 20 & 3);
	}
	return NULL;
}

static void threads_race_over_few_names(struct live *l)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, racer, l), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- speed: told, not judged ------------------------------------------------------ */

static void speed(struct live *l)
{
	struct flight fl = { .l = l, .be = l->be, .node = live_file(l, "f") };
	struct block *blocks = calloc(BLOCKS, sizeof *blocks);
	double start, mib = 10.0 * BLOCKS * BLOCK / MIB;
	int rounds = 2000;

	start = seconds();
	for (int i = 0; i < 10; i++)
		fly(&fl, blocks, true);
	commit_all(&fl);
	printf("   write %.0f MiB/s", mib / (seconds() - start));
	start = seconds();
	for (int i = 0; i < 10; i++)
		fly(&fl, blocks, false);
	printf(", read %.0f MiB/s", mib / (seconds() - start));
	start = seconds();
	for (int i = 0; i < rounds; i++)
		live_attr(l, l->be, fl.node, BE_REVALIDATE);
	printf(", GETATTR %.0f us", (seconds() - start) / rounds * 1e6);
	start = seconds();
	for (int i = 0; i < rounds; i++)
		live_read(l, l->be, fl.node, blocks[0].data, 4096, (uint64_t)i * 4096);
	printf(", READ 4 KiB %.0f us\n", (seconds() - start) / rounds * 1e6);
	be_node_put(fl.node);
	free(blocks);
}

#define S(f)          \
	{             \
#f, f \
	}
const struct scenario data_scenarios[] = {
	S(data_comes_back_as_it_was_written),
	S(odd_pieces_and_ends_are_exact),
	S(write_errors_come_back),
	S(waiting_ends_by_interruption_or_time),
	S(data_survives_lost_connections),
	S(names_survive_lost_connections),
	S(threads_race_over_few_names),
	S(speed),
	{ NULL, NULL },
};
