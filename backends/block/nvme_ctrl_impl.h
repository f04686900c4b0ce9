/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_ctrl_impl.h - admin commands, for nvme_ctrl.c and nvme_ns.c */
#ifndef BACKENDS_BLOCK_NVME_CTRL_IMPL_H
#define BACKENDS_BLOCK_NVME_CTRL_IMPL_H

#include "backends/block/nvme_impl.h"

struct nvc_data {
	void *p; /* within path.buf: it outlives a command that is given up */
	uint32_t len;
	bool to_target;
};

/* Sends a command and serves the path until it is answered: 0, whatever its status; or -errno with a sentence. */
int nvc_exec(struct nvme_path *p, struct nvme_queue *q, const struct nvme_sqe *sqe,
	     const struct nvc_data *data, struct nvme_cqe *out, struct err *err);
/* 0, or -EIO with a sentence when the status is not good. */
int nvc_refused(const struct nvme_path *p, const char *what, const struct nvme_cqe *cqe,
		struct err *err);
/* NVME_IDENTIFY_BYTES to p->buf; its status is in cqe. */
int nvc_identify(struct nvme_path *p, enum nvme_cns cns, uint32_t nsid, struct nvme_cqe *cqe,
		 struct err *err);
/* Bytes of one command's data. */
uint32_t nvc_mdts(const struct nvme_path *p);
/* Finds the namespace that the configuration names: p->ns. */
int nvc_find_ns(struct nvme_path *p, struct err *err);

#endif
