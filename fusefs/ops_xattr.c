/* SPDX-License-Identifier: Apache-2.0 */
/* ops_xattr.c - extended attributes, passed through. */
#include <errno.h>
#include <stdlib.h>

#include "fusefs/ops.h"

#define XATTR_BYTES_MAX 65536

static int begin(struct request *rq, struct inode **in)
{
	int rc;

	*in = request_inode(rq);
	rc = *in ? request_call(rq, false) : -ESTALE;
	/* The kernel remembers this answer and does not ask again. */
	if (!rc && !(rq->v->be->limits.caps & BE_CAP_XATTR && rq->s->opt.xattr))
		return -ENOSYS;
	return rc ? rc : request_must_punt(rq) ? OP_PUNT : 0;
}

static int reply_value(struct request *rq, const void *buf, ssize_t n, size_t size)
{
	struct fuse_getxattr_out out = { .size = (uint32_t)n };

	if (n < 0)
		return request_result(rq, (int)n);
	if (size)
		reply_buf(rq, buf, (size_t)n);
	else
		reply_buf(rq, &out, sizeof out);
	return 0;
}

static int value_buf(size_t *size, void **buf)
{
	if (*size > XATTR_BYTES_MAX)
		*size = XATTR_BYTES_MAX;
	*buf = malloc(*size ? *size : 1);
	return *buf ? 0 : -ENOMEM;
}

int op_getxattr(struct request *rq, const char *name, size_t size)
{
	struct inode *in;
	void *buf;
	int rc = begin(rq, &in);

	if (!rc)
		rc = value_buf(&size, &buf);
	if (rc)
		return rc;
	rc = reply_value(rq, buf, backend_getxattr(rq->v->be, &rq->call, in->node, name, buf, size),
			 size);
	free(buf);
	return rc;
}

int op_listxattr(struct request *rq, size_t size)
{
	struct inode *in;
	void *buf;
	int rc = begin(rq, &in);

	if (!rc)
		rc = value_buf(&size, &buf);
	if (rc)
		return rc;
	rc = reply_value(rq, buf, backend_listxattr(rq->v->be, &rq->call, in->node, buf, size),
			 size);
	free(buf);
	return rc;
}

/* The time of change is another one. */
static int changed(struct request *rq, struct inode *in, int rc)
{
	if (rc)
		return request_result(rq, rc);
	inode_changed(in, rq->s, BE_CHANGED_ATTR);
	reply_err(rq, 0);
	return 0;
}

int op_setxattr(struct request *rq, const char *name, const void *value, size_t size, int flags)
{
	struct inode *in;
	int rc = begin(rq, &in);

	if (!rc)
		rc = backend_setxattr(rq->v->be, &rq->call, in->node, name, value, size, flags);
	return changed(rq, in, rc);
}

int op_removexattr(struct request *rq, const char *name)
{
	struct inode *in;
	int rc = begin(rq, &in);

	if (!rc)
		rc = backend_removexattr(rq->v->be, &rq->call, in->node, name);
	return changed(rq, in, rc);
}
