/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_pdu.c - see nvme_pdu.h; the shapes of PDUs and commands. Pages of data: nvme_pages.c */
#include "common/nvme_pdu.h"

#include <errno.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/le.h"

/* ---- digests ---------------------------------------------------------- */

uint32_t nvme_digest(const void *p, size_t n)
{
	return nvme_digest_end(crc32c(NVME_DIGEST_START, p, n));
}

void nvme_digest_put(uint8_t *out, uint32_t digest)
{
	le32_put(out, digest);
}

uint32_t nvme_digest_get(const uint8_t *b)
{
	return le32_get(b);
}

/* ---- the shape of each type ------------------------------------------- */

enum { DATA_NEVER, DATA_MAYBE, DATA_ALWAYS };

enum { AT_TYPE = 0, AT_FLAGS = 1, AT_HLEN = 2, AT_PDO = 3, AT_PLEN = 4 };

static const struct shape {
	uint8_t hlen; /* 0: no such type */
	bool from_host, digests;
	uint8_t data;
} shapes[] = {
	[NVME_ICREQ] = { NVME_IC_BYTES, true, false, DATA_NEVER },
	[NVME_ICRESP] = { NVME_IC_BYTES, false, false, DATA_NEVER },
	[NVME_H2C_TERM] = { 24, true, false, DATA_MAYBE },
	[NVME_C2H_TERM] = { 24, false, false, DATA_MAYBE },
	[NVME_CAPSULE_CMD] = { 72, true, true, DATA_MAYBE },
	[NVME_CAPSULE_RESP] = { 24, false, true, DATA_NEVER },
	[NVME_H2C_DATA] = { 24, true, true, DATA_ALWAYS },
	[NVME_C2H_DATA] = { 24, false, true, DATA_ALWAYS },
	[NVME_R2T] = { 24, false, true, DATA_NEVER },
};

static const struct shape *shape_of(uint8_t type)
{
	return type < sizeof shapes / sizeof shapes[0] && shapes[type].hlen ? &shapes[type] : NULL;
}

static bool is_term(uint8_t type)
{
	return type == NVME_H2C_TERM || type == NVME_C2H_TERM;
}

static int bad(struct nvme_pdu *pdu, uint16_t fes, uint32_t fei)
{
	pdu->bad = (struct nvme_term){ .fes = fes, .fei = fei };
	return -EBADMSG;
}

/* ---- decoding --------------------------------------------------------- */

/* Where the data of a PDU with data lies; plen is larger than head_len. */
static int place_data(const struct nvme_wire *w, uint8_t pdo, struct nvme_pdu *out)
{
	uint32_t digest, off = is_term(out->type) ? out->head_len : pdo;
	uint32_t max = is_term(out->type) ? NVME_TERM_DATA_MAX : w->data_max;

	/* A flag that says otherwise than what was agreed: the two sides count differently. */
	if (shape_of(out->type)->digests && w->ddgst != !!(out->flags & NVME_PDU_DDGST))
		return bad(out, NVME_FES_FIELD, AT_FLAGS);
	out->ddgst = w->ddgst && shape_of(out->type)->digests;
	digest = out->ddgst ? NVME_DIGEST_BYTES : 0;
	if (off < out->head_len || off % 4)
		return bad(out, NVME_FES_FIELD, AT_PDO);
	if (out->plen <= off + digest)
		return bad(out, NVME_FES_FIELD, AT_PLEN);
	if (out->plen - off - digest > max)
		return bad(out, NVME_FES_LIMIT, AT_PLEN);
	out->data_off = (uint8_t)off;
	out->data_len = out->plen - off - digest;
	return 0;
}

int nvme_pdu_begin(const struct nvme_wire *w, const uint8_t *b, struct nvme_pdu *out)
{
	const struct shape *s = shape_of(b[AT_TYPE]);
	bool hdgst;

	memset(out, 0, sizeof *out);
	out->type = b[AT_TYPE];
	out->flags = b[AT_FLAGS];
	out->plen = le32_get(b + AT_PLEN);
	if (!s || s->from_host != w->from_host)
		return bad(out, NVME_FES_FIELD, AT_TYPE);
	hdgst = s->digests && w->hdgst;
	if (s->digests && hdgst != !!(out->flags & NVME_PDU_HDGST))
		return bad(out, NVME_FES_FIELD, AT_FLAGS);
	if (b[AT_HLEN] != s->hlen)
		return bad(out, NVME_FES_FIELD, AT_HLEN);
	out->head_len = (uint8_t)(s->hlen + (hdgst ? NVME_DIGEST_BYTES : 0));
	if (out->plen < out->head_len)
		return bad(out, NVME_FES_FIELD, AT_PLEN);
	if (out->plen > out->head_len)
		return s->data == DATA_NEVER ? bad(out, NVME_FES_FIELD, AT_PLEN) :
					       place_data(w, b[AT_PDO], out);
	return s->data == DATA_ALWAYS ? bad(out, NVME_FES_FIELD, AT_PLEN) : 0;
}

static int decode_ic(const uint8_t *b, struct nvme_pdu *out)
{
	out->ic.pfv = le16_get(b + 8);
	out->ic.pda = b[10];
	out->ic.hdgst = b[11] & 1;
	out->ic.ddgst = b[11] & 2;
	out->ic.limit = le32_get(b + 12);
	if (out->ic.pfv)
		return bad(out, NVME_FES_UNSUPPORTED, 8);
	if (out->ic.pda > NVME_PDA_MAX)
		return bad(out, NVME_FES_FIELD, 10);
	/* What a host sends at a time: 4096 bytes at the least, in whole dwords. */
	if (out->type == NVME_ICRESP && (out->ic.limit < NVME_MAXH2CDATA_MIN || out->ic.limit % 4))
		return bad(out, NVME_FES_FIELD, 12);
	return 0;
}

static int decode_data(const uint8_t *b, struct nvme_pdu *out)
{
	out->data.cid = le16_get(b + 8);
	out->data.tag = le16_get(b + 10);
	out->data.off = le32_get(b + 12);
	out->data.len = le32_get(b + 16);
	if (!out->data.len || (out->type != NVME_R2T && out->data.len != out->data_len))
		return bad(out, NVME_FES_FIELD, 16);
	if (out->data.off % 4)
		return bad(out, NVME_FES_FIELD, 12);
	/* off + len never overflows for who comes after. */
	if (out->data.len > UINT32_MAX - out->data.off)
		return bad(out, NVME_FES_RANGE, 12);
	return 0;
}

int nvme_pdu_decode(const struct nvme_wire *w, const uint8_t *b, struct nvme_pdu *out)
{
	int rc = nvme_pdu_begin(w, b, out);
	uint8_t hlen = b[AT_HLEN];

	if (rc)
		return rc;
	if (out->head_len > hlen && nvme_digest_get(b + hlen) != nvme_digest(b, hlen))
		return bad(out, NVME_FES_HDGST, nvme_digest_get(b + hlen));
	switch (out->type) {
	case NVME_ICREQ:
	case NVME_ICRESP:
		return decode_ic(b, out);
	case NVME_H2C_TERM:
	case NVME_C2H_TERM:
		out->term.fes = le16_get(b + 8);
		out->term.fei = le32_get(b + 10);
		return 0;
	case NVME_CAPSULE_CMD:
		nvme_sqe_get(b + NVME_PDU_COMMON, &out->sqe);
		return 0;
	case NVME_CAPSULE_RESP:
		nvme_cqe_get(b + NVME_PDU_COMMON, &out->cqe);
		return 0;
	default:
		return decode_data(b, out);
	}
}

/* ---- encoding --------------------------------------------------------- */

static void put_body(const struct nvme_pdu *pdu, uint8_t *out)
{
	switch (pdu->type) {
	case NVME_ICREQ:
	case NVME_ICRESP:
		le16_put(out + 8, pdu->ic.pfv);
		out[10] = pdu->ic.pda;
		out[11] = (uint8_t)((pdu->ic.hdgst ? 1 : 0) | (pdu->ic.ddgst ? 2 : 0));
		le32_put(out + 12, pdu->ic.limit);
		return;
	case NVME_H2C_TERM:
	case NVME_C2H_TERM:
		le16_put(out + 8, pdu->term.fes);
		le32_put(out + 10, pdu->term.fei);
		return;
	case NVME_CAPSULE_CMD:
		nvme_sqe_put(out + NVME_PDU_COMMON, &pdu->sqe);
		return;
	case NVME_CAPSULE_RESP:
		nvme_cqe_put(out + NVME_PDU_COMMON, &pdu->cqe);
		return;
	default:
		le16_put(out + 8, pdu->data.cid);
		le16_put(out + 10, pdu->data.tag);
		le32_put(out + 12, pdu->data.off);
		le32_put(out + 16, pdu->data.len);
	}
}

size_t nvme_pdu_put(const struct nvme_wire *w, const struct nvme_pdu *pdu, uint8_t *out)
{
	const struct shape *s = shape_of(pdu->type);
	bool hdgst = s->digests && w->hdgst;
	bool ddgst = s->digests && w->ddgst && pdu->data_len;
	uint32_t head = s->hlen + (hdgst ? NVME_DIGEST_BYTES : 0), unit = (w->pda + 1u) * 4;

	/* A Term PDU knows no padding, and its data no place but behind the header. */
	if (pdu->data_len && !is_term(pdu->type))
		head = (head + unit - 1) / unit * unit;
	memset(out, 0, head);
	out[AT_TYPE] = pdu->type;
	out[AT_FLAGS] = (uint8_t)((pdu->flags & (NVME_PDU_LAST | NVME_PDU_SUCCESS)) |
				  (hdgst ? NVME_PDU_HDGST : 0) | (ddgst ? NVME_PDU_DDGST : 0));
	out[AT_HLEN] = s->hlen;
	out[AT_PDO] = pdu->data_len && !is_term(pdu->type) ? (uint8_t)head : 0;
	le32_put(out + AT_PLEN, head + pdu->data_len + (ddgst ? NVME_DIGEST_BYTES : 0));
	put_body(pdu, out);
	if (hdgst)
		nvme_digest_put(out + s->hlen, nvme_digest(out, s->hlen));
	return head;
}

/* ---- commands --------------------------------------------------------- */

void nvme_sqe_put(uint8_t *out, const struct nvme_sqe *sqe)
{
	memset(out, 0, NVME_SQE_BYTES);
	out[0] = sqe->opcode;
	out[1] = sqe->flags;
	le16_put(out + 2, sqe->cid);
	le32_put(out + 4, sqe->nsid);
	le64_put(out + 24, sqe->sgl_addr);
	le32_put(out + 32, sqe->sgl_len);
	out[39] = sqe->sgl_type;
	le32_put(out + 40, sqe->cdw10);
	le32_put(out + 44, sqe->cdw11);
	le32_put(out + 48, sqe->cdw12);
	le32_put(out + 52, sqe->cdw13);
	le32_put(out + 56, sqe->cdw14);
	le32_put(out + 60, sqe->cdw15);
}

void nvme_sqe_get(const uint8_t *b, struct nvme_sqe *out)
{
	out->opcode = b[0];
	out->flags = b[1];
	out->cid = le16_get(b + 2);
	out->nsid = le32_get(b + 4);
	out->sgl_addr = le64_get(b + 24);
	out->sgl_len = le32_get(b + 32);
	out->sgl_type = b[39];
	out->cdw10 = le32_get(b + 40);
	out->cdw11 = le32_get(b + 44);
	out->cdw12 = le32_get(b + 48);
	out->cdw13 = le32_get(b + 52);
	out->cdw14 = le32_get(b + 56);
	out->cdw15 = le32_get(b + 60);
}

void nvme_cqe_put(uint8_t *out, const struct nvme_cqe *cqe)
{
	le64_put(out, cqe->result);
	le16_put(out + 8, cqe->sq_head);
	le16_put(out + 10, cqe->sq_id);
	le16_put(out + 12, cqe->cid);
	le16_put(out + 14, (uint16_t)(cqe->status << 1));
}

void nvme_cqe_get(const uint8_t *b, struct nvme_cqe *out)
{
	out->result = le64_get(b);
	out->sq_head = le16_get(b + 8);
	out->sq_id = le16_get(b + 10);
	out->cid = le16_get(b + 12);
	out->status = le16_get(b + 14) >> 1;
}

void nvme_dsm_put(uint8_t *out, uint64_t slba, uint32_t blocks)
{
	le32_put(out, 0);
	le32_put(out + 4, blocks);
	le64_put(out + 8, slba);
}

void nvme_dsm_get(const uint8_t *b, uint64_t *slba, uint32_t *blocks)
{
	*blocks = le32_get(b + 4);
	*slba = le64_get(b + 8);
}
