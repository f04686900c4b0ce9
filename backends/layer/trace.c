/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - a debug message for each operation; see layer.h
 *
 * Data operations go down as copies, so that their end is seen as well. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/layer/layer_impl.h"
#include "common/log.h"

#define NAME_SHOWN 64

struct traced {
	struct be_io io;
	struct be_io *orig; /* borrowed until done */
	enum layer_op op;
};

/* Names are strangers' bytes: none may look like a message of ours. */
static const char *printable(const char *name, char buf[NAME_SHOWN + 1])
{
	size_t i;

	for (i = 0; name && name[i] && i < NAME_SHOWN; i++)
		buf[i] = isprint((unsigned char)name[i]) ? name[i] : '?';
	buf[i] = '\0';
	return buf;
}

static void trace_after(struct layer *l, const struct layer_what *what, ssize_t result)
{
	char name[NAME_SHOWN + 1];

	(void)l;
	log_debug("trace: %s ino=%llu name='%s' uid=%d result=%zd", layer_op_names[what->op],
		  what->node ? (unsigned long long)what->node->ino : 0, printable(what->name, name),
		  what->call ? (int)what->call->cred->uid : -1, result);
}

static void trace_io(enum layer_op op, const struct be_io *io)
{
	log_debug("trace: %s ino=%llu off=%llu len=%zu uid=%d result=%zd", layer_op_names[op],
		  (unsigned long long)io->node->ino, (unsigned long long)io->off, io->len,
		  (int)io->cred->uid, io->result);
}

/* Hands the results up and ends the copy. */
static struct be_io *traced_finish(struct traced *t)
{
	struct be_io *io = t->orig;

	io->result = t->io.result;
	io->stable = t->io.stable;
	io->verifier = t->io.verifier;
	io->post_valid = t->io.post_valid;
	io->post = t->io.post;
	trace_io(t->op, io);
	free(t);
	return io;
}

static void traced_done(struct be_io *copy)
{
	struct be_io *io = traced_finish((struct traced *)copy);

	io->done(io);
}

static enum be_submit trace_submit(struct layer *l, enum layer_op op, struct be_io *io)
{
	struct traced *t = log_level >= LOG_LEVEL_DEBUG ? malloc(sizeof *t) : NULL;

	if (!t)
		return layer_submit_below(l, op, io);
	t->io = *io;
	t->io.done = traced_done;
	t->orig = io;
	t->op = op;
	if (layer_submit_below(l, op, &t->io) == BE_QUEUED)
		return BE_QUEUED;
	traced_finish(t);
	return BE_DONE;
}

static void trace_free(struct layer *l)
{
	free(l);
}

static const struct layer_ops trace_ops = {
	.after = trace_after,
	.submit = trace_submit,
	.free = trace_free,
};

static int trace_open(char **params, struct layer **out, struct err *err)
{
	struct layer *l;

	if (*params)
		return err_set(err, -EINVAL, "trace: takes no parameter: '%.100s'", *params);
	l = calloc(1, sizeof *l);
	if (!l)
		return err_set(err, -ENOMEM, "trace: out of memory");
	l->lops = &trace_ops;
	*out = l;
	return 0;
}

const struct layer_type layer_trace = { .name = "trace", .open = trace_open };
