/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - requests of files and block devices on threads that wait for them
 *
 * The whole engine where rings are refused; beside a ring it does what a ring cannot: discards of block
 * devices, and transfers that came back short.
 */
#include "backends/block/file_impl.h"
#include "common/pool.h"

static void work(void *arg, struct list *job)
{
	struct file *f = arg;
	struct bd_req *rq = list_entry(job, struct bd_req, link);
	int result = file_execute(f, rq);

	pool_ends_soon(f->pool);
	bd_complete(rq, result);
}

int file_pool_new(struct file *f, unsigned threads_max, struct pool **out)
{
	struct pool_conf conf = {
		.name = "bd-file",
		.rank = LOCK_bd_transport,
		.threads_min = 1,
		.threads_max = threads_max,
		.work = work,
		.arg = f,
	};

	return pool_new(&conf, out);
}

void file_pool_add(struct pool *p, struct bd_req *rq)
{
	pool_add(p, &rq->link);
}

void file_pool_free(struct pool *p)
{
	pool_free(p);
}

/* ---- the table --------------------------------------------------------- */

static void threads_submit(struct bd *dev, struct bd_req *rq)
{
	file_pool_add(file_of(dev)->pool, rq);
}

static void threads_close(struct bd *dev)
{
	file_free(file_of(dev));
}

const struct bd_ops file_threads_ops = {
	.name = "file",
	.submit = threads_submit,
	.size = file_size_now,
	.close = threads_close,
};
