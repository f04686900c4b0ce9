/* SPDX-License-Identifier: Apache-2.0 */
/* layers_impl.h - what the layers above a device share
 *
 *   core of the layer --> type->submit() --> layer_send() --> the device below
 *                           |      ^                            |
 *        layer_queue() <----'      |                            v
 *              |            layer_send()                  type->done()
 *              v                   |                            |
 *        type->work() on the layer's thread --> layer_end() <---'   = bd_complete()
 *
 * A request that the device below refuses comes to type->done() as well, by way of the thread: a transport may not
 * complete within its submit().
 *
 * Threads: submit() any, done() those of the device below or the layer's, work() the layer's. */
#ifndef BACKENDS_BLOCK_LAYERS_IMPL_H
#define BACKENDS_BLOCK_LAYERS_IMPL_H

#include <pthread.h>

#include "backends/block/layers.h"
#include "common/lock.h"

struct bd_layer;

/* What the thread of a layer has to do. */
struct layer_job {
	struct list link;
	uint64_t due_us; /* clock_us(); 0: now */
	bool refused;    /* of an io: by the device below, low.result tells why */
	unsigned kind;   /* the layer's; 0: of an io */
};

/* A request in the layer. */
struct layer_io {
	struct layer_job job;
	struct layer_job extra; /* for the layer's own use */
	struct bd_layer *l;
	struct bd_req *rq; /* of the layer; the core's until layer_end() */
	struct bd_req low; /* the same for the device below */
	uint64_t mine[4];  /* the layer's; 0 at first */
};

struct bd_layer_type {
	const char *name;
	/* params: NULL-ended "key=value" strings, which it may write to. On failure below is untouched. */
	int (*open)(char **params, struct bd *below, struct bd **out, struct err *err);
	/* May neither wait nor complete: layer_send() or layer_queue(). */
	void (*submit)(struct bd_layer *l, struct layer_io *io);
	/* The device below has answered in io->low.result. NULL: layer_end() with that. */
	void (*done)(struct bd_layer *l, struct layer_io *io);
	/* Jobs that are due, in their order. NULL: none are queued. */
	void (*work)(struct bd_layer *l, struct list *jobs);
	/* What open() made but the layer itself; also of a half-opened one. May be NULL. */
	void (*free)(struct bd_layer *l);
};

/* Embedded as first member of each layer's own struct, which is one piece of calloc(). */
struct bd_layer {
	struct bd bd;
	/* set at start, then read only */
	const struct bd_layer_type *type;
	struct bd *below; /* owned */
	struct layer_io *ios;
	pthread_t thread;
	bool running;
	struct mutex lock;
	struct cond more;
	/* guarded by lock */
	struct list idle;  /* ios */
	struct list queue; /* jobs, soonest first, then in the order of their coming */
	bool hurry;        /* what is not due yet is due */
	bool ending;
};

/* Of descriptions: enum bd_op, then "fua"; NULL-ended. */
extern const char *const bd_layer_op_names[BD_OPS + 2];
extern const struct bd_layer_type bd_layer_record, bd_layer_powercut, bd_layer_fault,
	bd_layer_delay;

/* First step of an open: lock, limits of below. */
void layer_init(struct bd_layer *l, const struct bd_layer_type *type, struct bd *below);
/* Last step: thread, requests, core. When it or a step before it fails, layer_drop(). */
int layer_start(struct bd_layer *l, struct err *err);
/* Frees the layer, leaving the device below as it is. */
void layer_drop(struct bd_layer *l);

/* To the device below: type->done() comes, sooner or later. */
void layer_send(struct layer_io *io);
/* The request has ended; io is another's from here on. */
void layer_end(struct layer_io *io, int result);
/* The thread gets the job, not before due_us. */
void layer_queue(struct bd_layer *l, struct layer_job *job, uint64_t due_us);
void layer_queue_locked(struct bd_layer *l, struct layer_job *job, uint64_t due_us);

static inline struct layer_io *layer_io_of(struct list *link)
{
	return CONTAINER_OF(list_entry(link, struct layer_job, link), struct layer_io, job);
}

/* The layer of this type that is uppermost in the stack with dev on top; NULL: none. */
struct bd_layer *layer_find(struct bd *dev, const struct bd_layer_type *type);

#endif
