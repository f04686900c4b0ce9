/* SPDX-License-Identifier: Apache-2.0 */
/* nfsraw.c - how fast the NFS backend is alone: no FUSE, no cache, no copies
 *
 * Keeps a number of requests on one file in flight and measures. What it reaches at
 * its best depth and number of connections is the limit that a mount is held
 * against. One thread submits; the connections' threads complete, and what
 * they complete the main thread submits anew. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/backend.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/bench/args.h"

#define DEPTH_MAX 256

enum mode { MODE_READ, MODE_RREAD, MODE_WRITE, MODE_REWRITE };
static const char *const mode_names[] = { "read", "rread", "write", "rewrite" };

struct slot {
	struct be_io io;
	struct iovec iov;
	void *mem;
	struct slot *next; /* of the done ones */
};

struct run {
	const char *uri, *name;
	enum mode mode;
	uint64_t size, bytes; /* of the file; of one request */
	uint64_t depth, nconnect;
	uint64_t runtime_ms; /* of random reads */
	bool keep;
	uint8_t *kept; /* with keep: the whole file's memory */

	struct backend *be;
	struct be_cred *cred;
	struct be_node *root, *node;
	struct slot slots[DEPTH_MAX];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct slot *done; /* guarded by lock */
	unsigned inflight;
	uint64_t next, moved, requests;
	uint64_t seed;
	int error;
};

static void die(const char *what, int rc)
{
	fprintf(stderr, "nfsraw: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void on_done(struct be_io *io)
{
	struct slot *s = CONTAINER_OF(io, struct slot, io);
	struct run *r = io->priv;

	pthread_mutex_lock(&r->lock);
	s->next = r->done;
	r->done = s;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static bool is_random(const struct run *r)
{
	return r->mode == MODE_RREAD;
}

static bool is_write(const struct run *r)
{
	return r->mode == MODE_WRITE || r->mode == MODE_REWRITE;
}

/* Where the next request goes; false: enough. */
static bool next_place(struct run *r, uint64_t *off, uint64_t until_us)
{
	if (is_random(r)) {
		r->seed = r->seed * 6364136223846793005ULL + 1442695040888963407ULL;
		*off = (r->seed >> 20) % (r->size / r->bytes) * r->bytes;
		return clock_us() < until_us;
	}
	*off = r->next;
	r->next += r->bytes;
	return *off < r->size;
}

static void submit(struct run *r, struct slot *s, uint64_t off)
{
	uint64_t len = r->size - off < r->bytes ? r->size - off : r->bytes;
	enum be_submit how;

	s->iov = (struct iovec){ r->kept ? r->kept + off : s->mem, len };
	s->io = (struct be_io){ .node = r->node,
				.cred = r->cred,
				.iov = &s->iov,
				.niov = 1,
				.off = off,
				.len = len,
				.want = BE_UNSTABLE,
				.done = on_done,
				.priv = r };
	r->inflight++;
	how = is_write(r) ? backend_write(r->be, &s->io) : backend_read(r->be, &s->io);
	if (how == BE_DONE)
		on_done(&s->io);
}

static struct slot *take_done(struct run *r)
{
	struct slot *all;

	pthread_mutex_lock(&r->lock);
	while (!r->done)
		pthread_cond_wait(&r->cond, &r->lock);
	all = r->done;
	r->done = NULL;
	pthread_mutex_unlock(&r->lock);
	return all;
}

static void pump(struct run *r)
{
	uint64_t until = clock_us() + r->runtime_ms * 1000, off;

	for (unsigned i = 0; i < r->depth && next_place(r, &off, until); i++)
		submit(r, &r->slots[i], off);
	while (r->inflight) {
		struct slot *s = take_done(r), *next;

		for (; s; s = next) {
			next = s->next;
			r->inflight--;
			r->requests++;
			if (s->io.result < 0)
				r->error = (int)s->io.result;
			else
				r->moved += (uint64_t)s->io.result;
			if (!r->error && next_place(r, &off, until))
				submit(r, s, off);
		}
	}
	if (r->error)
		die(mode_names[r->mode], r->error);
}

static void commit(struct run *r)
{
	struct slot *s = &r->slots[0];

	s->io = (struct be_io){
		.node = r->node, .cred = r->cred, .len = SIZE_MAX, .done = on_done, .priv = r
	};
	if (backend_commit(r->be, &s->io) == BE_DONE)
		on_done(&s->io);
	s = take_done(r);
	if (s->io.result < 0)
		die("commit", (int)s->io.result);
}

/* Empty, so that the server has to find room as for a new file. */
static int truncate_file(struct run *r, const struct be_call *call, struct be_node *node)
{
	struct be_setattr set = { .valid = BE_SET_SIZE | BE_SET_OPENED };
	struct be_attr attr;

	return backend_setattr(r->be, call, node, &set, &attr);
}

static void open_file(struct run *r)
{
	struct be_env env = { .nconnect = (unsigned)r->nconnect };
	struct be_call call = { .cred = r->cred };
	struct be_entry root, e;
	struct err err;
	int rc = backend_open(r->uri, NULL, &env, &r->be, &err);

	if (rc) {
		fprintf(stderr, "nfsraw: %s\n", err.text);
		exit(1);
	}
	rc = backend_root(r->be, &root);
	r->root = root.node;
	if (!rc && is_write(r))
		rc = backend_create(r->be, &call, r->root, r->name, 0644, O_RDWR, &e);
	else if (!rc)
		rc = backend_lookup(r->be, &call, r->root, r->name, &e);
	if (!rc && !is_write(r))
		rc = backend_open_node(r->be, &call, e.node, O_RDONLY);
	if (!rc && r->mode == MODE_WRITE)
		rc = truncate_file(r, &call, e.node);
	if (rc)
		die(r->name, rc);
	r->node = e.node;
	if (!is_write(r))
		r->size = e.attr.size;
	if (r->size < r->bytes)
		r->bytes = r->size;
	if (!r->bytes)
		die(r->name, -ENODATA);
}

static void close_file(struct run *r)
{
	backend_release(r->be, r->node, is_write(r) ? O_RDWR : O_RDONLY);
	be_node_put(r->node);
	be_node_put(r->root);
	backend_close(r->be);
}

static void make_slots(struct run *r)
{
	for (unsigned i = 0; i < r->depth; i++) {
		struct slot *s = &r->slots[i];

		s->mem = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (s->mem == MAP_FAILED)
			die("memory", -errno);
		memset(s->mem, (int)i + 1, r->bytes);
	}
}

/* Memory as a cache has it, in huge pages where there are any; faults are part of the price. */
static void make_kept(struct run *r)
{
	size_t huge = 2u << 20;
	uint8_t *p = mmap(NULL, r->size + huge, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("memory", -errno);
	r->kept = p + (huge - (uintptr_t)p % huge) % huge;
	madvise(r->kept, r->size, MADV_HUGEPAGE);
}

static const char usage[] =
	"nfsraw [OPTION...] URI NAME read|rread|write|rewrite\n"
	"Moves the file NAME in the root of URI without a mount and prints one line of JSON.\n"
	"write makes it anew, rewrite goes over what is there.";

#define AT(member) offsetof(struct run, member)
static const struct opt_def table[] = {
	{ .name = "bs",
	  .type = OPT_SIZE,
	  .offset = AT(bytes),
	  .max = 1 << 20,
	  .help = "of a request; 0: 1m, for rread 4k" },
	{ .name = "depth",
	  .type = OPT_UINT,
	  .offset = AT(depth),
	  .min = 1,
	  .max = DEPTH_MAX,
	  .dflt = "16",
	  .help = "requests in flight" },
	{ .name = "keep",
	  .type = OPT_BOOL,
	  .offset = AT(keep),
	  .help = "read into memory for the whole file, not into DEPTH buffers again and again" },
	{ .name = "nconnect",
	  .type = OPT_UINT,
	  .offset = AT(nconnect),
	  .min = 1,
	  .max = 16,
	  .dflt = "1",
	  .help = "connections" },
	{ .name = "size",
	  .type = OPT_SIZE,
	  .offset = AT(size),
	  .min = 1 << 20,
	  .max = 1ULL << 40,
	  .dflt = "1g",
	  .help = "write: of the file" },
	ARGS_RUNTIME(AT(runtime_ms), "5s", "rread: how long"),
	{ .name = NULL },
};

static enum mode mode_of(const char *text)
{
	for (unsigned i = 0; i < ARRAY_LEN(mode_names); i++)
		if (!strcmp(text, mode_names[i]))
			return (enum mode)i;
	fprintf(stderr, "nfsraw: mode '%s': want read, rread, write or rewrite\n", text);
	exit(2);
}

static void parse(struct run *r, int argc, char **argv)
{
	int at = args_parse(usage, table, r, argc, argv, 3);

	r->uri = argv[at];
	r->name = argv[at + 1];
	r->mode = mode_of(argv[at + 2]);
	if (!r->bytes)
		r->bytes = is_random(r) ? 4096 : 1 << 20;
}

int main(int argc, char **argv)
{
	static struct run r = { .seed = 1,
				.lock = PTHREAD_MUTEX_INITIALIZER,
				.cond = PTHREAD_COND_INITIALIZER };
	uint64_t start, us;

	parse(&r, argc, argv);
	log_level = LOG_LEVEL_WARN;
	r.cred = be_cred_new(geteuid(), getegid(), 0, NULL);
	open_file(&r);
	make_slots(&r);
	if (r.keep && !is_write(&r))
		make_kept(&r);
	start = clock_us();
	pump(&r);
	if (is_write(&r))
		commit(&r);
	us = clock_us() - start;
	close_file(&r);
	be_cred_put(r.cred);
	printf("{\"mode\": \"%s\", \"depth\": %llu, \"nconnect\": %llu, \"bytes\": %llu, \"mib_s\": %.1f, "
	       "\"iops\": %.0f}\n",
	       mode_names[r.mode], (unsigned long long)r.depth, (unsigned long long)r.nconnect,
	       (unsigned long long)r.bytes, (double)r.moved / (1 << 20) / ((double)us / 1e6),
	       (double)r.requests / ((double)us / 1e6));
	return 0;
}
