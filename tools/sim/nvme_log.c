/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_log.c - what the simulated NVMe target tells of itself: identify pages, log pages */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/crc32c.h"
#include "tools/sim/nvme_impl.h"

#define ANATT_S 10
#define ANACAP 0x1f      /* all states are told */
#define KAS 1            /* 100 ms */
#define SGLS 0x00100005u /* SGLs, data in capsules by offset, as the kernel's target tells */
#define LOG_MAX (NVME_DISC_HEAD_BYTES + NVME_TARGET_PATHS_MAX * NVME_DISC_ENTRY_BYTES)
_Static_assert(LOG_MAX >= NVME_ANA_HEAD_BYTES + NVME_TARGET_GROUPS_MAX * NVME_ANA_GROUP_BYTES +
				  NVME_TARGET_NAMESPACES_MAX * 4,
	       "all groups and namespaces have room in a log page");
#define CHANGED_TOO_MANY UINT32_MAX   /* alone in the list: more than it has room for */
#define LOG_ANA_GROUPS_ONLY (1u << 8) /* cdw10: without the namespaces */
#define CTRL_IO 1
#define CTRL_DISCOVERY 2

/* ---- identify --------------------------------------------------------- */

static void identify_controller(const struct nt_cmd *cmd, uint8_t *out)
{
	const struct nt_ctrl *ctrl = cmd->conn->ctrl;
	const struct nvme_target *t = cmd->t;
	struct nvme_id_ctrl id = { .model = "persifs simulated NVMe target",
				   .firmware = PERSIFS_VERSION,
				   .mdts = (uint8_t)t->cfg.mdts,
				   .cntlid = ctrl->cntlid,
				   .version = 0x10400,
				   .oaes = NVME_OAES_NS_CHANGED | NVME_OAES_ANA,
				   .cntrltype = ctrl->discovery ? CTRL_DISCOVERY : CTRL_IO,
				   .aerl = NT_AERS_MAX - 1,
				   .kas = KAS,
				   .maxcmd = (uint16_t)t->cfg.queue_size,
				   .sgls = SGLS };

	snprintf(id.serial, sizeof id.serial, "%08x", crc32c(~0u, t->cfg.nqn, strlen(t->cfg.nqn)));
	snprintf(id.subnqn, sizeof id.subnqn, "%s",
		 ctrl->discovery ? NVME_DISCOVERY_NQN : t->cfg.nqn);
	if (!ctrl->discovery) {
		id.cmic = NVME_CMIC_MULTI_CTRL | NVME_CMIC_ANA;
		id.anatt = ANATT_S;
		id.anacap = ANACAP;
		id.anagrpmax = id.nanagrpid = NVME_TARGET_GROUPS_MAX;
		id.nn = t->cfg.namespaces;
		id.oncs = NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES;
		id.vwc = t->cfg.volatile_cache ? NVME_VWC_PRESENT : 0;
		id.ioccsz = (NVME_SQE_BYTES + t->cfg.in_capsule) / 16;
		id.iorcsz = NVME_CQE_BYTES / 16;
	}
	nvme_id_ctrl_put(out, &id);
}

/* Made of the subsystem's name, the number, and how often it changed. */
static void make_nguid(const struct nvme_target *t, uint32_t nsid, uint8_t *out)
{
	uint32_t crc = crc32c(~0u, t->cfg.nqn, strlen(t->cfg.nqn));

	nvme_digest_put(out, crc);
	nvme_digest_put(out + 4, ~crc);
	nvme_digest_put(out + 8, t->ns[nsid - 1].identity);
	nvme_digest_put(out + 12, nsid);
}

static void identify_namespace(const struct nvme_target *t, uint32_t nsid, uint8_t *out)
{
	struct nvme_id_ns ns = { .nsze = t->ns[nsid - 1].blocks, .anagrpid = nt_group(nsid) };

	while (1u << ns.lbads < t->cfg.block_size)
		ns.lbads++;
	make_nguid(t, nsid, ns.nguid);
	nvme_id_ns_put(out, &ns);
}

static void identify_ids(const struct nvme_target *t, uint32_t nsid, uint8_t *out)
{
	struct nvme_ns_ids ids = { .has_nguid = true, .has_uuid = true };

	make_nguid(t, nsid, ids.nguid);
	memcpy(ids.uuid, ids.nguid, sizeof ids.uuid);
	ids.uuid[6] = (uint8_t)(0x40 | (ids.uuid[6] & 0xf)); /* version 4, variant 1 */
	ids.uuid[8] = (uint8_t)(0x80 | (ids.uuid[8] & 0x3f));
	nvme_ns_ids_put(out, &ids);
}

static void identify_list(const struct nvme_target *t, uint32_t after, uint8_t *out)
{
	uint32_t ids[NVME_NS_LIST_MAX];
	unsigned n = 0;

	for (uint32_t i = after + 1; i <= t->cfg.namespaces && n < NVME_NS_LIST_MAX; i++)
		if (t->ns[i - 1].blocks)
			ids[n++] = i;
	nvme_ns_list_put(out, ids, n);
}

uint16_t nt_identify(struct nt_cmd *cmd, uint8_t *out)
{
	const struct nvme_target *t = cmd->t;
	uint32_t nsid = cmd->sqe.nsid, cns = cmd->sqe.cdw10 & 0xff;

	if (cns == NVME_CNS_CTRL) {
		identify_controller(cmd, out);
		return 0;
	}
	if (cmd->conn->ctrl->discovery || cns > NVME_CNS_NS_IDS)
		return NVME_INVALID_FIELD;
	if (cns == NVME_CNS_NS_LIST) {
		if (nsid >= UINT32_MAX - 1)
			return NVME_INVALID_NS;
		identify_list(t, nsid, out);
		return 0;
	}
	if (!nsid || nsid > t->cfg.namespaces)
		return NVME_INVALID_NS;
	/* A namespace without blocks is not there: a page of zeros. */
	if (cns == NVME_CNS_NS && t->ns[nsid - 1].blocks)
		identify_namespace(t, nsid, out);
	else if (cns == NVME_CNS_NS_IDS && !t->ns[nsid - 1].blocks)
		return NVME_INVALID_NS;
	else if (cns == NVME_CNS_NS_IDS)
		identify_ids(t, nsid, out);
	return 0;
}

/* ---- log pages -------------------------------------------------------- */

static void log_ana(const struct nt_cmd *cmd, uint8_t *out)
{
	const struct nvme_target *t = cmd->t;
	bool only = cmd->sqe.cdw10 & LOG_ANA_GROUPS_ONLY;

	uint32_t n = t->cfg.namespaces, ids[NVME_TARGET_NAMESPACES_MAX];
	uint32_t groups = n < NVME_TARGET_GROUPS_MAX ? n : NVME_TARGET_GROUPS_MAX;

	nvme_ana_head_put(out, t->ana_changes, (uint16_t)groups);
	out += NVME_ANA_HEAD_BYTES;
	for (uint32_t i = 1; i <= groups; i++) {
		struct nvme_ana_group g = { .id = i,
					    .changes = t->ana_changes,
					    .state = t->paths[cmd->conn->path].ana[i - 1] };

		for (uint32_t id = i; id <= n && !only; id += NVME_TARGET_GROUPS_MAX)
			ids[g.nnsids++] = id;
		out += nvme_ana_group_put(out, &g, ids);
	}
}

static void log_changed(const struct nt_cmd *cmd, uint8_t *out)
{
	uint32_t ids[NVME_TARGET_NAMESPACES_MAX];
	unsigned n = 0;

	for (uint32_t i = 0; i < cmd->t->cfg.namespaces; i++)
		if (cmd->conn->ctrl->changed[i])
			ids[n++] = i + 1;
	if (n > NVME_NS_LIST_MAX) {
		ids[0] = CHANGED_TOO_MANY;
		n = 1;
	}
	nvme_ns_list_put(out, ids, n);
}

static void log_discovery(const struct nvme_target *t, uint8_t *out)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < t->npaths; i++) {
		const struct nt_path *p = &t->paths[i];
		struct nvme_disc_entry e = { .trtype = NVME_TRTYPE_TCP,
					     .adrfam = strchr(p->address, ':') ? NVME_ADRFAM_IPV6 :
										 NVME_ADRFAM_IPV4,
					     .subtype = NVME_SUBTYPE_NVME,
					     .portid = (uint16_t)i,
					     .cntlid = NVME_CNTLID_ANY,
					     .asqsz = NT_ADMIN_ENTRIES };

		if (!p->want_up)
			continue;
		snprintf(e.trsvcid, sizeof e.trsvcid, "%u", p->port);
		snprintf(e.subnqn, sizeof e.subnqn, "%s", t->cfg.nqn);
		snprintf(e.traddr, sizeof e.traddr, "%s", p->address);
		nvme_disc_entry_put(out + NVME_DISC_HEAD_BYTES + n++ * NVME_DISC_ENTRY_BYTES, &e);
	}
	nvme_disc_head_put(out, t->generation, n);
}

uint16_t nt_log_page(struct nt_cmd *cmd, uint64_t off, uint8_t *out, uint32_t len)
{
	AUTO_FREE uint8_t *page = calloc(1, LOG_MAX);
	bool discovery = cmd->conn->ctrl->discovery;

	if (!page)
		return NVME_INTERNAL;
	switch (cmd->sqe.cdw10 & 0xff) {
	case NVME_LOG_ERROR:
	case NVME_LOG_SMART:
		if (discovery)
			return NVME_INVALID_LOG_PAGE;
		break; /* zeros: nothing to tell */
	case NVME_LOG_CHANGED_NS:
		if (discovery)
			return NVME_INVALID_LOG_PAGE;
		log_changed(cmd, page);
		break;
	case NVME_LOG_ANA:
		if (discovery)
			return NVME_INVALID_LOG_PAGE;
		log_ana(cmd, page);
		break;
	case NVME_LOG_DISCOVERY:
		if (!discovery)
			return NVME_INVALID_LOG_PAGE;
		log_discovery(cmd->t, page);
		break;
	default:
		return NVME_INVALID_LOG_PAGE;
	}
	if (off < LOG_MAX)
		memcpy(out, page + off, len < LOG_MAX - off ? len : LOG_MAX - off);
	return 0;
}
