/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_ns.c - a controller's namespaces: which one is ours, what it can do, and whether this controller may serve it */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/block/nvme_ctrl_impl.h"

enum {
	LISTS_MAX = 16,
	LBADS_MIN = 9,
	LBADS_MAX = 12,
	NAMES_MAX = 3, /* that are told when none fits */
	NAMES_BYTES = NAMES_MAX * (NVME_ID_TEXT + 14),
};

/* The active namespaces above after, to out[0..NVME_NS_LIST_MAX); how many, or -errno. */
static int list_above(struct nvme_path *p, uint32_t after, uint32_t *out, struct err *err)
{
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_identify(p, NVME_CNS_NS_LIST, after, &cqe, err);

	if (!rc)
		rc = nvc_refused(p, "list its namespaces", &cqe, err);
	if (rc)
		return rc;
	rc = nvme_ns_list_get(p->buf, out);
	return rc < 0 ? err_set(err, rc, "nvme-tcp: %s: the list of namespaces is malformed",
				p->name) :
			rc;
}

/* The namespace's page; -ENOENT: there is none of this number. */
static int read_page(struct nvme_path *p, uint32_t nsid, struct nvme_id_ns *out, struct err *err)
{
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_identify(p, NVME_CNS_NS, nsid, &cqe, err);

	if (rc)
		return rc;
	if (NVME_STATUS(cqe.status) == NVME_INVALID_NS)
		return err_set(err, -ENOENT, "nvme-tcp: %s has no namespace %u", p->name, nsid);
	rc = nvc_refused(p, "identify a namespace", &cqe, err);
	if (rc)
		return rc;
	if (nvme_id_ns_get(p->buf, out))
		return err_set(err, -EBADMSG,
			       "nvme-tcp: %s: namespace %u has a format that is not "
			       "in its table",
			       p->name, nsid);
	if (!out->nsze)
		return err_set(err, -ENOENT, "nvme-tcp: %s has no namespace %u", p->name, nsid);
	return 0;
}

/* All names that the namespace has. Controllers before 1.3 know no descriptors. */
static int read_ids(struct nvme_path *p, uint32_t nsid, const struct nvme_id_ns *page,
		    struct nvme_ns_ids *out, struct err *err)
{
	static const uint8_t none[16];
	struct nvme_cqe cqe = { 0 };
	int rc = nvc_identify(p, NVME_CNS_NS_IDS, nsid, &cqe, err);

	if (rc)
		return rc;
	memset(out, 0, sizeof *out);
	if (!NVME_STATUS(cqe.status) && nvme_ns_ids_get(p->buf, out))
		return err_set(err, -EBADMSG,
			       "nvme-tcp: %s: descriptors of namespace %u are "
			       "malformed",
			       p->name, nsid);
	if (!out->has_nguid && memcmp(page->nguid, none, sizeof page->nguid)) {
		memcpy(out->nguid, page->nguid, sizeof out->nguid);
		out->has_nguid = true;
	}
	if (!out->has_eui64 && memcmp(page->eui64, none, sizeof page->eui64)) {
		memcpy(out->eui64, page->eui64, sizeof out->eui64);
		out->has_eui64 = true;
	}
	return 0;
}

static bool is_named(const struct nvme_conf *c, const struct nvme_ns_ids *ids)
{
	if (c->by == NVME_NS_NGUID)
		return ids->has_nguid && !memcmp(ids->nguid, c->id, sizeof c->id);
	return ids->has_uuid && !memcmp(ids->uuid, c->id, sizeof c->id);
}

/* ---- which one --------------------------------------------------------- */

static int find_only(struct nvme_path *p, uint32_t *nsid, struct err *err)
{
	uint32_t list[NVME_NS_LIST_MAX] = { 0 };
	int n = list_above(p, 0, list, err);

	if (n < 0)
		return n;
	if (n == 0)
		return err_set(err, -ENOENT, "nvme-tcp: %s: subsystem '%s' has no namespace for us",
			       p->name, p->conf->subnqn);
	if (n > 1)
		return err_set(err, -EINVAL,
			       "nvme-tcp: %s: subsystem '%s' has %s%d namespaces (%u, %u%s): name "
			       "one by nsid=, nguid= or uuid=",
			       p->name, p->conf->subnqn, n == NVME_NS_LIST_MAX ? "at least " : "",
			       n, list[0], list[1], n > 2 ? ", ..." : "");
	*nsid = list[0];
	return 0;
}

/* What was looked at, for who is told that it is not there. */
struct seen {
	unsigned n;
	char names[NAMES_BYTES]; /* of the first */
};

static void remember(struct seen *s, const struct nvme_conf *c, uint32_t nsid,
		     const struct nvme_ns_ids *ids)
{
	bool nguid = c->by == NVME_NS_NGUID;
	size_t at = strlen(s->names);
	char id[NVME_ID_TEXT] = "none";

	if (nguid ? ids->has_nguid : ids->has_uuid)
		nvme_id_format(nguid ? ids->nguid : ids->uuid, !nguid, id);
	if (s->n++ < NAMES_MAX)
		snprintf(s->names + at, sizeof s->names - at, "%s%u: %s", at ? ", " : "", nsid, id);
}

static int look_at(struct nvme_path *p, uint32_t nsid, bool *found, struct seen *s, struct err *err)
{
	struct nvme_id_ns id = { 0 };
	struct nvme_ns_ids ids;
	int rc = read_page(p, nsid, &id, err);

	if (!rc)
		rc = read_ids(p, nsid, &id, &ids, err);
	if (!rc) {
		*found = is_named(p->conf, &ids);
		remember(s, p->conf, nsid, &ids);
	}
	/* One that has gone since is not the one. */
	return rc == -ENOENT ? 0 : rc;
}

static int find_named(struct nvme_path *p, uint32_t *nsid, struct err *err)
{
	uint32_t list[NVME_NS_LIST_MAX] = { 0 }, after = 0;
	int n = NVME_NS_LIST_MAX;
	struct seen seen = { 0 };
	bool found = false;

	for (unsigned page = 0; page < LISTS_MAX && n == NVME_NS_LIST_MAX; page++) {
		n = list_above(p, after, list, err);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			int rc = look_at(p, list[i], &found, &seen, err);

			after = *nsid = list[i];
			if (rc || found)
				return rc;
		}
	}
	return err_set(err, -ENOENT,
		       "nvme-tcp: %s: none of the %s%u namespaces that subsystem '%s' has for us "
		       "has this %s; there %s %s%s",
		       p->name, n == NVME_NS_LIST_MAX ? "first " : "", seen.n, p->conf->subnqn,
		       p->conf->by == NVME_NS_NGUID ? "nguid" : "uuid", seen.n > 1 ? "are" : "is",
		       seen.n ? seen.names : "none", seen.n > NAMES_MAX ? ", ..." : "");
}

/* ---- what it is -------------------------------------------------------- */

static int check_format(const struct nvme_path *p, uint32_t nsid, const struct nvme_id_ns *id,
			struct err *err)
{
	if (id->ms)
		return err_set(err, -EINVAL,
			       "nvme-tcp: %s: namespace %u has %u bytes of metadata in each block, "
			       "which is not supported",
			       p->name, nsid, id->ms);
	if (id->lbads < LBADS_MIN || id->lbads > LBADS_MAX)
		return err_set(err, -EINVAL,
			       "nvme-tcp: %s: namespace %u has blocks of 2^%u bytes; from 2^9 to "
			       "2^12 is supported",
			       p->name, nsid, id->lbads);
	if (id->nsze > BD_SIZE_MAX >> id->lbads)
		return err_set(err, -EFBIG, "nvme-tcp: %s: namespace %u is too large", p->name,
			       nsid);
	return 0;
}

int nvc_find_ns(struct nvme_path *p, struct err *err)
{
	uint32_t nsid = p->conf->nsid;
	struct nvme_id_ns id = { 0 };
	struct nvme_ns ns = { 0 };
	int rc = 0;

	if (p->conf->by == NVME_NS_ONLY)
		rc = find_only(p, &nsid, err);
	else if (p->conf->by != NVME_NS_NSID)
		rc = find_named(p, &nsid, err);
	if (!rc)
		rc = read_page(p, nsid, &id, err);
	if (!rc)
		rc = check_format(p, nsid, &id, err);
	if (!rc)
		rc = read_ids(p, nsid, &id, &ns.ids, err);
	if (rc)
		return rc;
	ns.nsid = nsid;
	ns.anagrpid = id.anagrpid;
	ns.blocks = id.nsze;
	ns.block = 1u << id.lbads;
	ns.readonly = id.nsattr & NVME_NSATTR_READONLY;
	ns.volatile_cache = p->id.vwc & NVME_VWC_PRESENT;
	ns.dsm = p->id.oncs & NVME_ONCS_DSM;
	ns.write_zeroes = p->id.oncs & NVME_ONCS_WRITE_ZEROES;
	/* Never more than NVME_RW_BLOCKS_MAX: the smallest block makes that 32 MiB. */
	ns.max_transfer = nvc_mdts(p);
	p->ns = ns;
	return 0;
}

int nvc_count_blocks(struct nvme_path *p, uint64_t *out, struct err *err)
{
	struct nvme_id_ns id = { 0 };
	struct nvme_ns_ids ids;
	int rc = read_page(p, p->ns.nsid, &id, err);

	if (!rc)
		rc = check_format(p, p->ns.nsid, &id, err);
	if (!rc)
		rc = read_ids(p, p->ns.nsid, &id, &ids, err);
	if (rc)
		return rc;
	if (memcmp(&ids, &p->ns.ids, sizeof ids) || 1u << id.lbads != p->ns.block)
		return err_set(err, -ESTALE, "nvme-tcp: %s: namespace %u is another one now",
			       p->name, p->ns.nsid);
	*out = id.nsze;
	return 0;
}

/* ---- asymmetric access -------------------------------------------------- */

static bool group_has(const uint8_t *group, const struct nvme_ana_group *g,
		      const struct nvme_ns *ns)
{
	if (g->id == ns->anagrpid)
		return true;
	for (uint32_t i = 0; !ns->anagrpid && i < g->nnsids; i++)
		if (nvme_ana_nsid(group, i) == ns->nsid)
			return true;
	return false;
}

/* The state of the namespace's group in n bytes of a log; NVME_ANA_UNKNOWN: it is not there. */
static uint8_t find_state(const uint8_t *log, size_t n, const struct nvme_ns *ns)
{
	size_t at = NVME_ANA_HEAD_BYTES;
	uint64_t changes;
	uint16_t groups;

	if (nvme_ana_head_get(log, n, &changes, &groups))
		return NVME_ANA_UNKNOWN;
	while (groups--) {
		struct nvme_ana_group g;
		int len = nvme_ana_group_get(log + at, n - at, &g);

		if (len < 0)
			break;
		if (group_has(log + at, &g, ns))
			return g.state;
		at += (size_t)len;
	}
	return NVME_ANA_UNKNOWN;
}

int nvc_read_ana(struct nvme_path *p, struct err *err)
{
	uint64_t len;
	int rc;

	p->ana_seen = NVME_ANA_STATE_OPTIMIZED;
	if (!(p->id.cmic & NVME_CMIC_ANA))
		return 0;
	len = NVME_ANA_HEAD_BYTES + (uint64_t)p->id.nanagrpid * NVME_ANA_GROUP_BYTES +
	      (uint64_t)p->id.nn * 4;
	if (len > NVME_BUF_BYTES)
		len = NVME_BUF_BYTES;
	memset(p->buf, 0, len);
	rc = nvc_read_log(p, NVME_LOG_ANA, 0, (uint32_t)len, err);
	if (!rc)
		p->ana_seen = find_state(p->buf, len, &p->ns);
	return rc;
}
