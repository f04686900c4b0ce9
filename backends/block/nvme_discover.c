/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_discover.c - see nvme_discover.h
 *
 * The path is one without a thread and without I/O queues: what nvme_ctrl.c does runs in the caller's. The log is
 * read again when its generation changed meanwhile. */
#include "backends/block/nvme_discover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/nvme_impl.h"
#include "common/cleanup.h"

enum { READS_MAX = 5, ENTRIES_AT_ONCE = NVME_BUF_BYTES / NVME_DISC_ENTRY_BYTES };

static int malformed(const struct nvme_path *p, struct err *err)
{
	return err_set(err, -EBADMSG, "nvme-tcp: %s: the discovery log is malformed", p->name);
}

static int read_head(struct nvme_path *p, uint64_t *generation, uint64_t *records, struct err *err)
{
	int rc = nvc_read_log(p, NVME_LOG_DISCOVERY, 0, NVME_DISC_HEAD_BYTES, err);

	if (!rc && nvme_disc_head_get(p->buf, generation, records))
		rc = malformed(p, err);
	return rc;
}

static int read_entries(struct nvme_path *p, struct nvme_found *f, struct err *err)
{
	unsigned want = f->total < NVME_FOUND_MAX ? (unsigned)f->total : NVME_FOUND_MAX;

	for (f->n = 0; f->n < want;) {
		unsigned n = want - f->n < ENTRIES_AT_ONCE ? want - f->n : ENTRIES_AT_ONCE;
		int rc = nvc_read_log(p, NVME_LOG_DISCOVERY,
				      NVME_DISC_HEAD_BYTES + (uint64_t)f->n * NVME_DISC_ENTRY_BYTES,
				      n * NVME_DISC_ENTRY_BYTES, err);

		if (rc)
			return rc;
		for (unsigned i = 0; i < n; i++)
			if (nvme_disc_entry_get(p->buf + (size_t)i * NVME_DISC_ENTRY_BYTES,
						&f->entries[f->n++]))
				return malformed(p, err);
	}
	return 0;
}

static int read_all(struct nvme_path *p, struct nvme_found *f, struct err *err)
{
	uint64_t before = 0, after = 0, records;
	int rc = read_head(p, &before, &f->total, err);

	for (unsigned i = 0; !rc && i < READS_MAX; i++) {
		rc = read_entries(p, f, err);
		if (!rc)
			rc = read_head(p, &after, &records, err);
		if (rc || after == before)
			return rc;
		before = after;
		f->total = records;
	}
	return rc ? rc :
		    err_set(err, -EAGAIN, "nvme-tcp: %s: the discovery log changes all the time",
			    p->name);
}

int nvme_discover(const struct uri *uri, const struct bd_env *env, struct nvme_found **out,
		  struct err *err)
{
	AUTO_FREE struct nvme_conf *conf = calloc(1, sizeof *conf);
	AUTO_FREE struct nvme_path *p = calloc(1, sizeof *p);
	AUTO_FREE struct nvme_found *f = calloc(1, sizeof *f);
	bool made;
	int rc;

	if (!conf || !p || !f)
		return err_set(err, -ENOMEM, "nvme-tcp: no memory");
	rc = nvme_conf_parse(uri, conf, err);
	if (rc)
		return rc;
	conf->queues = 0;
	memcpy(conf->subnqn, NVME_DISCOVERY_NQN, sizeof NVME_DISCOVERY_NQN);
	rc = nvp_init(p, conf, NULL);
	made = !rc;
	if (!rc) {
		nvp_target(p, uri->host, uri->port ? uri->port : NVME_DISCOVERY_PORT, env);
		rc = nvc_admin_up(p, err);
	}
	if (!rc)
		rc = read_all(p, f, err);
	if (!rc) {
		p->mode = NVME_PATH_ENDS;
		(void)nvc_shutdown(p);
	}
	if (made)
		nvp_drop(p);
	nvp_done(p);
	if (!rc)
		*out = take_ptr(&f);
	return rc;
}
