/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_pages.c - see nvme_pdu.h; pages of data: Connect's, identify, logs */
#include <errno.h>
#include <string.h>

#include "common/le.h"
#include "common/nvme_pdu.h"

/* A name in a field of n bytes that ends in a NUL; size is that of out. */
static int name_get(const uint8_t *b, size_t n, char *out, size_t size)
{
	size_t len = strnlen((const char *)b, n);

	if (len == n || len >= size)
		return -EBADMSG;
	memcpy(out, b, len);
	out[len] = '\0';
	return 0;
}

/* Texts of other fields end in blanks or NULs; out has n + 1 bytes. */
static void text_get(const uint8_t *b, size_t n, char *out)
{
	size_t len = strnlen((const char *)b, n);

	while (len && b[len - 1] == ' ')
		len--;
	memcpy(out, b, len);
	out[len] = '\0';
}

static void text_put(uint8_t *out, size_t n, const char *text, char fill)
{
	size_t len = strlen(text); /* it ends within its own array, which may be shorter than n */

	if (len > n)
		len = n;
	memset(out, fill, n);
	memcpy(out, text, len);
}

static bool any_set(const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b[i])
			return true;
	return false;
}

/* ---- Connect ---------------------------------------------------------- */

#define CONNECT_NQN_FIELD 256u

void nvme_connect_put(uint8_t *out, const struct nvme_connect_data *c)
{
	memset(out, 0, NVME_CONNECT_BYTES);
	memcpy(out, c->hostid, sizeof c->hostid);
	le16_put(out + 16, c->cntlid);
	text_put(out + 256, CONNECT_NQN_FIELD, c->subnqn, 0);
	text_put(out + 512, CONNECT_NQN_FIELD, c->hostnqn, 0);
}

int nvme_connect_get(const uint8_t *b, struct nvme_connect_data *out)
{
	memcpy(out->hostid, b, sizeof out->hostid);
	out->cntlid = le16_get(b + 16);
	if (name_get(b + 256, CONNECT_NQN_FIELD, out->subnqn, sizeof out->subnqn) ||
	    name_get(b + 512, CONNECT_NQN_FIELD, out->hostnqn, sizeof out->hostnqn))
		return -EBADMSG;
	return out->subnqn[0] && out->hostnqn[0] ? 0 : -EBADMSG;
}

/* ---- identify --------------------------------------------------------- */

enum { ENTRY_SIZES = 0x66, ANSWER_SIZES = 0x44, CAPSULE_UNIT = 16 };

void nvme_id_ctrl_put(uint8_t *out, const struct nvme_id_ctrl *id)
{
	memset(out, 0, NVME_IDENTIFY_BYTES);
	text_put(out + 4, 20, id->serial, ' ');
	text_put(out + 24, 40, id->model, ' ');
	text_put(out + 64, 8, id->firmware, ' ');
	out[76] = id->cmic;
	out[77] = id->mdts;
	le16_put(out + 78, id->cntlid);
	le32_put(out + 80, id->version);
	le32_put(out + 92, id->oaes);
	le32_put(out + 96, id->ctratt);
	out[111] = id->cntrltype;
	out[259] = id->aerl;
	le16_put(out + 320, id->kas);
	out[342] = id->anatt;
	out[343] = id->anacap;
	le32_put(out + 344, id->anagrpmax);
	le32_put(out + 348, id->nanagrpid);
	out[512] = ENTRY_SIZES;
	out[513] = ANSWER_SIZES;
	le16_put(out + 514, id->maxcmd);
	le32_put(out + 516, id->nn);
	le16_put(out + 520, id->oncs);
	out[525] = id->vwc;
	le32_put(out + 536, id->sgls);
	text_put(out + 768, CONNECT_NQN_FIELD, id->subnqn, 0);
	le32_put(out + 1792, id->ioccsz);
	le32_put(out + 1796, id->iorcsz);
	le16_put(out + 1800, id->icdoff);
}

int nvme_id_ctrl_get(const uint8_t *b, struct nvme_id_ctrl *out)
{
	memset(out, 0, sizeof *out);
	text_get(b + 4, 20, out->serial);
	text_get(b + 24, 40, out->model);
	text_get(b + 64, 8, out->firmware);
	out->cmic = b[76];
	out->mdts = b[77];
	out->cntlid = le16_get(b + 78);
	out->version = le32_get(b + 80);
	out->oaes = le32_get(b + 92);
	out->ctratt = le32_get(b + 96);
	out->cntrltype = b[111];
	out->aerl = b[259];
	out->kas = le16_get(b + 320);
	out->anatt = b[342];
	out->anacap = b[343];
	out->anagrpmax = le32_get(b + 344);
	out->nanagrpid = le32_get(b + 348);
	out->maxcmd = le16_get(b + 514);
	out->nn = le32_get(b + 516);
	out->oncs = le16_get(b + 520);
	out->vwc = b[525];
	out->sgls = le32_get(b + 536);
	text_get(b + 768, NVME_NQN_SIZE - 1, out->subnqn);
	out->ioccsz = le32_get(b + 1792);
	out->iorcsz = le32_get(b + 1796);
	out->icdoff = le16_get(b + 1800);
	return out->ioccsz && out->ioccsz < NVME_SQE_BYTES / CAPSULE_UNIT ? -EBADMSG : 0;
}

enum { LBAF_TABLE = 128, LBAF_BYTES = 4 };

void nvme_id_ns_put(uint8_t *out, const struct nvme_id_ns *ns)
{
	uint8_t *lbaf = out + LBAF_TABLE + (size_t)LBAF_BYTES * (ns->flbas & 15u);

	memset(out, 0, NVME_IDENTIFY_BYTES);
	le64_put(out, ns->nsze);
	le64_put(out + 8, ns->nsze);
	le64_put(out + 16, ns->nsze);
	out[25] = ns->nlbaf;
	out[26] = ns->flbas;
	out[33] = ns->dlfeat;
	le32_put(out + 92, ns->anagrpid);
	out[99] = ns->nsattr;
	memcpy(out + 104, ns->nguid, sizeof ns->nguid);
	memcpy(out + 120, ns->eui64, sizeof ns->eui64);
	le16_put(lbaf, ns->ms);
	lbaf[2] = ns->lbads;
}

int nvme_id_ns_get(const uint8_t *b, struct nvme_id_ns *out)
{
	const uint8_t *lbaf = b + LBAF_TABLE + (size_t)LBAF_BYTES * (b[26] & 15u);

	memset(out, 0, sizeof *out);
	out->nsze = le64_get(b);
	out->nlbaf = b[25];
	out->flbas = b[26];
	out->dlfeat = b[33];
	out->anagrpid = le32_get(b + 92);
	out->nsattr = b[99];
	memcpy(out->nguid, b + 104, sizeof out->nguid);
	memcpy(out->eui64, b + 120, sizeof out->eui64);
	out->ms = le16_get(lbaf);
	out->lbads = lbaf[2];
	return (out->flbas & 15u) > out->nlbaf ? -EBADMSG : 0;
}

/* ---- descriptors of a namespace --------------------------------------- */

enum { ID_EUI64 = 1, ID_NGUID = 2, ID_UUID = 3, ID_HEAD = 4 };

static uint8_t *id_put(uint8_t *out, uint8_t type, const uint8_t *id, uint8_t len)
{
	out[0] = type;
	out[1] = len;
	memcpy(out + ID_HEAD, id, len);
	return out + ID_HEAD + len;
}

void nvme_ns_ids_put(uint8_t *out, const struct nvme_ns_ids *ids)
{
	memset(out, 0, NVME_IDENTIFY_BYTES);
	if (ids->has_eui64)
		out = id_put(out, ID_EUI64, ids->eui64, sizeof ids->eui64);
	if (ids->has_nguid)
		out = id_put(out, ID_NGUID, ids->nguid, sizeof ids->nguid);
	if (ids->has_uuid)
		id_put(out, ID_UUID, ids->uuid, sizeof ids->uuid);
}

static int id_get(const uint8_t *b, uint8_t *id, size_t len, bool *has)
{
	if (b[1] != len)
		return -EBADMSG;
	memcpy(id, b + ID_HEAD, len);
	*has = any_set(id, len);
	return 0;
}

int nvme_ns_ids_get(const uint8_t *b, struct nvme_ns_ids *out)
{
	size_t at = 0;

	memset(out, 0, sizeof *out);
	while (at + ID_HEAD <= NVME_IDENTIFY_BYTES && b[at + 1]) {
		const uint8_t *d = b + at;
		int rc = 0;

		at += ID_HEAD + (size_t)d[1];
		if (at > NVME_IDENTIFY_BYTES)
			return -EBADMSG;
		if (d[0] == ID_EUI64)
			rc = id_get(d, out->eui64, sizeof out->eui64, &out->has_eui64);
		else if (d[0] == ID_NGUID)
			rc = id_get(d, out->nguid, sizeof out->nguid, &out->has_nguid);
		else if (d[0] == ID_UUID)
			rc = id_get(d, out->uuid, sizeof out->uuid, &out->has_uuid);
		if (rc)
			return rc;
	}
	return 0;
}

void nvme_ns_list_put(uint8_t *out, const uint32_t *nsids, unsigned n)
{
	memset(out, 0, NVME_IDENTIFY_BYTES);
	for (unsigned i = 0; i < n && i < NVME_NS_LIST_MAX; i++)
		le32_put(out + 4 * (size_t)i, nsids[i]);
}

int nvme_ns_list_get(const uint8_t *b, uint32_t *out)
{
	int n = 0;

	for (; n < (int)NVME_NS_LIST_MAX; n++) {
		uint32_t nsid = le32_get(b + 4 * (size_t)n);

		if (!nsid)
			break;
		if (n && nsid <= out[n - 1])
			return -EBADMSG;
		out[n] = nsid;
	}
	return n;
}

/* ---- asymmetric access ------------------------------------------------ */

void nvme_ana_head_put(uint8_t *out, uint64_t changes, uint16_t groups)
{
	memset(out, 0, NVME_ANA_HEAD_BYTES);
	le64_put(out, changes);
	le16_put(out + 8, groups);
}

int nvme_ana_head_get(const uint8_t *b, size_t n, uint64_t *changes, uint16_t *groups)
{
	if (n < NVME_ANA_HEAD_BYTES)
		return -EBADMSG;
	*changes = le64_get(b);
	*groups = le16_get(b + 8);
	return 0;
}

size_t nvme_ana_group_put(uint8_t *out, const struct nvme_ana_group *g, const uint32_t *nsids)
{
	memset(out, 0, NVME_ANA_GROUP_BYTES);
	le32_put(out, g->id);
	le32_put(out + 4, g->nnsids);
	le64_put(out + 8, g->changes);
	out[16] = g->state;
	for (uint32_t i = 0; i < g->nnsids; i++)
		le32_put(out + NVME_ANA_GROUP_BYTES + 4 * (size_t)i, nsids[i]);
	return NVME_ANA_GROUP_BYTES + 4 * (size_t)g->nnsids;
}

int nvme_ana_group_get(const uint8_t *b, size_t n, struct nvme_ana_group *out)
{
	if (n < NVME_ANA_GROUP_BYTES)
		return -EBADMSG;
	out->id = le32_get(b);
	out->nnsids = le32_get(b + 4);
	out->changes = le64_get(b + 8);
	out->state = b[16] & 15u;
	if (out->nnsids > (n - NVME_ANA_GROUP_BYTES) / 4 || out->nnsids > INT32_MAX / 8)
		return -EBADMSG;
	return (int)(NVME_ANA_GROUP_BYTES + 4 * out->nnsids);
}

uint32_t nvme_ana_nsid(const uint8_t *group, uint32_t i)
{
	return le32_get(group + NVME_ANA_GROUP_BYTES + 4 * (size_t)i);
}

/* ---- discovery -------------------------------------------------------- */

void nvme_disc_head_put(uint8_t *out, uint64_t generation, uint64_t records)
{
	memset(out, 0, NVME_DISC_HEAD_BYTES);
	le64_put(out, generation);
	le64_put(out + 8, records);
}

int nvme_disc_head_get(const uint8_t *b, uint64_t *generation, uint64_t *records)
{
	*generation = le64_get(b);
	*records = le64_get(b + 8);
	return le16_get(b + 16) ? -EBADMSG : 0;
}

void nvme_disc_entry_put(uint8_t *out, const struct nvme_disc_entry *e)
{
	memset(out, 0, NVME_DISC_ENTRY_BYTES);
	out[0] = e->trtype;
	out[1] = e->adrfam;
	out[2] = e->subtype;
	out[3] = e->treq;
	le16_put(out + 4, e->portid);
	le16_put(out + 6, e->cntlid);
	le16_put(out + 8, e->asqsz);
	text_put(out + 32, 32, e->trsvcid, ' ');
	text_put(out + 256, CONNECT_NQN_FIELD, e->subnqn, 0);
	text_put(out + 512, 256, e->traddr, ' ');
}

int nvme_disc_entry_get(const uint8_t *b, struct nvme_disc_entry *out)
{
	memset(out, 0, sizeof *out);
	out->trtype = b[0];
	out->adrfam = b[1];
	out->subtype = b[2];
	out->treq = b[3];
	out->portid = le16_get(b + 4);
	out->cntlid = le16_get(b + 6);
	out->asqsz = le16_get(b + 8);
	text_get(b + 32, 32, out->trsvcid);
	text_get(b + 512, 256, out->traddr);
	return name_get(b + 256, CONNECT_NQN_FIELD, out->subnqn, sizeof out->subnqn);
}
