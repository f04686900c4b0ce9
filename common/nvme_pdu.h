/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_pdu.h - what NVMe over TCP puts on the wire, for both sides, as pure functions
 *
 *   a connection = one queue = PDUs:  header [header digest] [padding] [data [data digest]]
 *
 *   receiver: 8 bytes -> nvme_pdu_begin() -> head_len bytes -> nvme_pdu_decode() -> padding to data_off,
 *             data_len bytes, 4 of digest where ddgst is set
 *   sender:   nvme_pdu_put() writes all that comes before the data; digest behind them: nvme_digest_put()
 *
 * Commands (struct nvme_sqe) and their answers (struct nvme_cqe) are parts of PDUs; Connect's data, identify pages
 * and log pages are data. All numbers are little endian on the wire, and plain here.
 * Decoders trust nothing: -EBADMSG for what is not well-formed. Nothing is allocated, nothing waits. Any thread. */
#ifndef COMMON_NVME_PDU_H
#define COMMON_NVME_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- PDUs ------------------------------------------------------------- */

enum nvme_pdu_type {
	NVME_ICREQ = 0,
	NVME_ICRESP = 1,
	NVME_H2C_TERM = 2,
	NVME_C2H_TERM = 3,
	NVME_CAPSULE_CMD = 4,
	NVME_CAPSULE_RESP = 5,
	NVME_H2C_DATA = 6,
	NVME_C2H_DATA = 7,
	NVME_R2T = 9,
};

#define NVME_PDU_HDGST 1u /* flags */
#define NVME_PDU_DDGST 2u
#define NVME_PDU_LAST 4u
#define NVME_PDU_SUCCESS 8u

#define NVME_PDU_COMMON 8u /* bytes that all PDUs begin with */
#define NVME_HEAD_MAX \
	144u /* bytes before the data: header, digest, padding (76 to a multiple of 72) */
#define NVME_DIGEST_BYTES 4u
#define NVME_IC_BYTES 128u
#define NVME_PDA_MAX 31u        /* alignment of data: (pda + 1) * 4 bytes */
#define NVME_TERM_DATA_MAX 152u /* the header that was wrong comes behind a Term header */
#define NVME_MAXH2CDATA_MIN 4096u

/* "Fatal error status" of a Term PDU. */
enum nvme_fes {
	NVME_FES_FIELD = 1, /* fei: offset of the field */
	NVME_FES_SEQUENCE = 2,
	NVME_FES_HDGST = 3, /* fei: the digest that came */
	NVME_FES_RANGE = 4,
	NVME_FES_LIMIT = 5,
	NVME_FES_UNSUPPORTED = 6,
};

struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;     /* fabrics commands: their type, see below */
	uint64_t sgl_addr; /* in-capsule: offset */
	uint32_t sgl_len;
	uint8_t sgl_type;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

struct nvme_cqe {
	uint64_t result;
	uint16_t sq_head, sq_id, cid;
	uint16_t status; /* without the phase bit: type << 8 | code, and flags */
};

struct nvme_ic {
	uint16_t pfv;
	uint8_t pda; /* how the sender wants its data aligned */
	bool hdgst, ddgst;
	uint32_t limit; /* ICReq: R2Ts at once, less one; ICResp: bytes of one H2CData */
};

struct nvme_data {
	uint16_t cid, tag; /* tag: R2T and H2CData */
	uint32_t off, len; /* of the command's data */
};

struct nvme_term {
	uint16_t fes;
	uint32_t fei;
};

/* What a receiver expects, or a sender does. */
struct nvme_wire {
	bool from_host;    /* direction of what is decoded */
	bool hdgst, ddgst; /* as agreed in ICReq and ICResp */
	uint8_t pda;       /* for data that is sent */
	uint32_t data_max; /* decoding: bytes of data in one PDU */
};

struct nvme_pdu {
	uint8_t type, flags;
	uint8_t head_len;  /* header with its digest */
	uint8_t data_off;  /* from the start of the PDU; 0: no data */
	bool ddgst;        /* a digest follows the data */
	uint32_t data_len; /* without digest */
	uint32_t plen;     /* the whole PDU */
	union {
		struct nvme_ic ic;
		struct nvme_term term;
		struct nvme_sqe sqe;
		struct nvme_cqe cqe;
		struct nvme_data data; /* R2T, H2CData, C2HData */
	};
	struct nvme_term bad; /* of a decoder that returns -EBADMSG: what to say in a Term PDU */
};

/* Looks at the first NVME_PDU_COMMON bytes: type, lengths, offsets. Sets all but the union. */
int nvme_pdu_begin(const struct nvme_wire *w, const uint8_t *b, struct nvme_pdu *out);
/* The same with out->head_len bytes, which nvme_pdu_begin() has told: digest and union. */
int nvme_pdu_decode(const struct nvme_wire *w, const uint8_t *b, struct nvme_pdu *out);
/* Writes header, digest and padding to out[0..NVME_HEAD_MAX); returns their bytes. Of pdu it takes type, LAST and
 * SUCCESS of flags, data_len, and the union; a data PDU has data.len == data_len. */
size_t nvme_pdu_put(const struct nvme_wire *w, const struct nvme_pdu *pdu, uint8_t *out);

#define NVME_DIGEST_START 0xffffffffu /* crc32c() goes on from here */
static inline uint32_t nvme_digest_end(uint32_t crc)
{
	return ~crc;
}
uint32_t nvme_digest(const void *p, size_t n);
void nvme_digest_put(uint8_t *out, uint32_t digest);
uint32_t nvme_digest_get(const uint8_t *b);

/* ---- commands --------------------------------------------------------- */

#define NVME_SQE_BYTES 64u
#define NVME_CQE_BYTES 16u
#define NVME_SQE_SGL 0x40u /* flags: data are told by an SGL, always in fabrics */
#define NVME_SQE_PSDT 0xc0u
#define NVME_SGL_CAPSULE 0x01u
#define NVME_SGL_TRANSPORT 0x5au

enum nvme_admin_opcode {
	NVME_ADMIN_LOG_PAGE =
		0x02, /* cdw10: page | (dwords - 1) << 16; cdw11: upper dwords; cdw12, 13: offset */
	NVME_ADMIN_IDENTIFY = 0x06, /* cdw10: NVME_CNS_ */
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09, /* cdw10: NVME_FEAT_, cdw11: value */
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT = 0x0c,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
	NVME_FABRICS = 0x7f, /* on all queues */
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09, /* cdw10: ranges - 1, cdw11: NVME_DSM_DEALLOCATE */
};

/* READ, WRITE, WRITE_ZEROES: first block in cdw10 (low) and cdw11, cdw12: blocks - 1 | flags */
#define NVME_RW_BLOCKS_MAX 65536u
#define NVME_RW_DEAC (1u << 25)
#define NVME_RW_FUA (1u << 30)
#define NVME_DSM_DEALLOCATE (1u << 2)
#define NVME_DSM_RANGE_BYTES 16u
#define NVME_DSM_RANGES_MAX 256u

enum nvme_fabrics_type { NVME_FABRICS_SET = 0, NVME_FABRICS_CONNECT = 1, NVME_FABRICS_GET = 4 };
/* Connect: cdw10: record format | queue id << 16; cdw11: entries - 1 | attributes << 16; cdw12: keep-alive ms.
 * Set, Get: cdw10: NVME_PROP_8BYTES or 0; cdw11: NVME_PROP_; Set: value in cdw12 (low), cdw13. */
#define NVME_CONNECT_NO_FLOW (1u << 2) /* attributes */
#define NVME_CONNECT_AUTH (3ull << 17) /* result: authentication is asked for */
#define NVME_PROP_8BYTES 1u
enum nvme_property {
	NVME_PROP_CAP = 0,
	NVME_PROP_VS = 8,
	NVME_PROP_CC = 0x14,
	NVME_PROP_CSTS = 0x1c
};

#define NVME_CAP_ENTRIES(cap) (((cap)&0xffffu) + 1)
#define NVME_CAP_TIMEOUT_MS(cap) (((cap) >> 24 & 0xffu) * 500u)
#define NVME_CAP_MIN_PAGE(cap) (4096ull << ((cap) >> 48 & 0xfu))
#define NVME_CC_ENABLE 0x00460001u /* 64-byte commands, 16-byte answers, 4 KiB pages */
#define NVME_CC_EN 1u
#define NVME_CC_SHN (3u << 14)
#define NVME_CC_SHN_NORMAL (1u << 14)
#define NVME_CSTS_RDY 1u
#define NVME_CSTS_CFS 2u
#define NVME_CSTS_SHST (3u << 2)
#define NVME_CSTS_SHST_DONE (2u << 2)

enum nvme_cns { NVME_CNS_NS = 0, NVME_CNS_CTRL = 1, NVME_CNS_NS_LIST = 2, NVME_CNS_NS_IDS = 3 };
enum nvme_feature {
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_ASYNC = 0x0b,
	NVME_FEAT_KEEP_ALIVE = 0x0f,
	NVME_FEAT_VWC = 0x06,
};
#define NVME_ASYNC_NS_CHANGED (1u << 8)
#define NVME_ASYNC_ANA (1u << 11)
/* Result of an asynchronous event: type | info << 8 | log page << 16. */
#define NVME_EVENT_TYPE(r) ((r)&7u)
#define NVME_EVENT_INFO(r) ((r) >> 8 & 0xffu)
enum nvme_event { NVME_EVENT_ERROR = 0, NVME_EVENT_NOTICE = 2 };
enum nvme_notice { NVME_NOTICE_NS_CHANGED = 0, NVME_NOTICE_ANA = 3 };
enum nvme_log {
	NVME_LOG_ERROR = 1,
	NVME_LOG_SMART = 2,
	NVME_LOG_CHANGED_NS = 4,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_DISCOVERY = 0x70
};

/* Status: type in bits 8 to 10, code in 0 to 7. */
#define NVME_STATUS(s) ((s)&0x7ffu)
#define NVME_STATUS_DNR 0x4000u
#define NVME_STATUS_MORE 0x2000u
#define NVME_STATUS_TYPE(s) ((s) >> 8 & 7u)
enum nvme_status_type { NVME_TYPE_GENERIC, NVME_TYPE_COMMAND, NVME_TYPE_MEDIA, NVME_TYPE_PATH };
enum nvme_status {
	NVME_OK = 0,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_CID_CONFLICT = 0x003,
	NVME_TRANSFER_ERROR = 0x004,
	NVME_POWER_LOSS = 0x005,
	NVME_INTERNAL = 0x006,
	NVME_ABORTED = 0x007,
	NVME_SQ_DELETED = 0x008,
	NVME_INVALID_NS = 0x00b,
	NVME_SEQUENCE = 0x00c,
	NVME_SGL_INVALID = 0x00f,
	NVME_KATO_EXPIRED = 0x01a,
	NVME_NS_READONLY = 0x020,
	NVME_TRANSIENT = 0x022,
	NVME_LBA_RANGE = 0x080,
	NVME_CAPACITY = 0x081,
	NVME_NS_NOT_READY = 0x082,
	NVME_INVALID_LOG_PAGE = 0x109,
	NVME_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_EVENT_LIMIT = 0x105,
	NVME_CONNECT_FORMAT = 0x180,
	NVME_CONNECT_BUSY = 0x181,
	NVME_CONNECT_PARAM = 0x182,
	NVME_CONNECT_RESTART = 0x183,
	NVME_CONNECT_HOST = 0x184,
	NVME_AUTH_REQUIRED = 0x191,
	NVME_WRITE_FAULT = 0x280,
	NVME_READ_ERROR = 0x281,
	NVME_GUARD = 0x282,
	NVME_DEALLOCATED = 0x287,
	NVME_PATH_INTERNAL = 0x300,
	NVME_ANA_LOST = 0x301,
	NVME_ANA_INACCESSIBLE = 0x302,
	NVME_ANA_CHANGE = 0x303,
	NVME_PATH_CTRL = 0x360,
	NVME_PATH_HOST = 0x370,
};

void nvme_sqe_put(uint8_t *out, const struct nvme_sqe *sqe); /* NVME_SQE_BYTES */
void nvme_sqe_get(const uint8_t *b, struct nvme_sqe *out);
void nvme_cqe_put(uint8_t *out, const struct nvme_cqe *cqe); /* NVME_CQE_BYTES */
void nvme_cqe_get(const uint8_t *b, struct nvme_cqe *out);

void nvme_dsm_put(uint8_t *out, uint64_t slba, uint32_t blocks); /* NVME_DSM_RANGE_BYTES */
void nvme_dsm_get(const uint8_t *b, uint64_t *slba, uint32_t *blocks);

/* ---- Connect's data --------------------------------------------------- */

#define NVME_CONNECT_BYTES 1024u
#define NVME_NQN_SIZE 224u /* with the terminating NUL */
#define NVME_CNTLID_ANY 0xffffu
#define NVME_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

struct nvme_connect_data {
	uint8_t hostid[16];
	uint16_t cntlid;
	char subnqn[NVME_NQN_SIZE], hostnqn[NVME_NQN_SIZE];
};
void nvme_connect_put(uint8_t *out, const struct nvme_connect_data *c);
/* -EBADMSG: a name that is empty or does not end. */
int nvme_connect_get(const uint8_t *b, struct nvme_connect_data *out);

/* ---- identify --------------------------------------------------------- */

#define NVME_IDENTIFY_BYTES 4096u
#define NVME_LBAF_MAX 16u
#define NVME_NS_LIST_MAX 1024u
#define NVME_CMIC_MULTI_CTRL 2u
#define NVME_CMIC_ANA 8u
#define NVME_ONCS_DSM 4u
#define NVME_ONCS_WRITE_ZEROES 8u
#define NVME_OAES_NS_CHANGED (1u << 8)
#define NVME_OAES_ANA (1u << 11)
#define NVME_VWC_PRESENT 1u
#define NVME_NSATTR_READONLY 1u

struct nvme_id_ctrl {
	char serial[21], model[41], firmware[9]; /* written padded with blanks, read without */
	uint8_t cmic, mdts; /* mdts: 2^n pages of 4 KiB at the least; 0: no limit */
	uint16_t cntlid;
	uint32_t version, oaes, ctratt;
	uint8_t cntrltype; /* 1 I/O, 2 discovery */
	uint8_t aerl;      /* asynchronous events at once, less one */
	uint16_t kas;      /* 100 ms */
	uint8_t anatt, anacap;
	uint32_t anagrpmax, nanagrpid;
	uint16_t maxcmd;
	uint32_t nn;
	uint16_t oncs;
	uint8_t vwc;
	uint32_t sgls;
	char subnqn[NVME_NQN_SIZE];
	uint32_t ioccsz, iorcsz; /* 16 bytes */
	uint16_t icdoff;
};
void nvme_id_ctrl_put(uint8_t *out, const struct nvme_id_ctrl *id);
/* -EBADMSG: capsules of I/O queues (if there are any) too small for a command. */
int nvme_id_ctrl_get(const uint8_t *b, struct nvme_id_ctrl *out);

struct nvme_id_ns {
	uint64_t nsze; /* blocks; 0: there is no such namespace */
	uint8_t nlbaf; /* formats, less one */
	uint8_t flbas, dlfeat, nsattr;
	uint32_t anagrpid;
	uint8_t nguid[16], eui64[8]; /* zeros: none */
	uint8_t lbads;               /* log2 of the block size, of the format in use */
	uint16_t ms;                 /* bytes of metadata a block, of the format in use */
};
void nvme_id_ns_put(uint8_t *out, const struct nvme_id_ns *ns);
/* -EBADMSG: a format that is not in the table. */
int nvme_id_ns_get(const uint8_t *b, struct nvme_id_ns *out);

struct nvme_ns_ids {
	bool has_eui64, has_nguid, has_uuid;
	uint8_t eui64[8], nguid[16], uuid[16];
};
void nvme_ns_ids_put(uint8_t *out, const struct nvme_ns_ids *ids);
/* -EBADMSG: a known type with a wrong length, or one that does not fit the page. */
int nvme_ns_ids_get(const uint8_t *b, struct nvme_ns_ids *out);

/* n <= NVME_NS_LIST_MAX */
void nvme_ns_list_put(uint8_t *out, const uint32_t *nsids, unsigned n);
/* How many there are, in out[0..NVME_NS_LIST_MAX); -EBADMSG: not in ascending order. */
int nvme_ns_list_get(const uint8_t *b, uint32_t *out);

/* ---- log pages -------------------------------------------------------- */

#define NVME_ANA_HEAD_BYTES 16u
#define NVME_ANA_GROUP_BYTES 32u /* and 4 for each namespace */
enum nvme_ana_state {
	NVME_ANA_STATE_OPTIMIZED = 1,
	NVME_ANA_STATE_NON_OPTIMIZED = 2,
	NVME_ANA_STATE_INACCESSIBLE = 3,
	NVME_ANA_STATE_LOST = 4,
	NVME_ANA_STATE_CHANGE = 15,
};
struct nvme_ana_group {
	uint32_t id, nnsids;
	uint64_t changes;
	uint8_t state;
};
void nvme_ana_head_put(uint8_t *out, uint64_t changes, uint16_t groups);
int nvme_ana_head_get(const uint8_t *b, size_t n, uint64_t *changes, uint16_t *groups);
/* One group with its namespaces; returns its bytes. */
size_t nvme_ana_group_put(uint8_t *out, const struct nvme_ana_group *g, const uint32_t *nsids);
/* The group at b, which has n bytes left: its bytes, or -EBADMSG. Namespaces: nvme_ana_nsid(b, i). */
int nvme_ana_group_get(const uint8_t *b, size_t n, struct nvme_ana_group *out);
uint32_t nvme_ana_nsid(const uint8_t *group, uint32_t i);

#define NVME_DISC_HEAD_BYTES 1024u
#define NVME_DISC_ENTRY_BYTES 1024u
#define NVME_TRTYPE_TCP 3u
enum nvme_adrfam { NVME_ADRFAM_IPV4 = 1, NVME_ADRFAM_IPV6 = 2 };
enum nvme_subtype { NVME_SUBTYPE_REFERRAL = 1, NVME_SUBTYPE_NVME = 2, NVME_SUBTYPE_CURRENT = 3 };
struct nvme_disc_entry {
	uint8_t trtype, adrfam, subtype, treq;
	uint16_t portid, cntlid, asqsz;
	char trsvcid[33], subnqn[NVME_NQN_SIZE], traddr[257];
};
void nvme_disc_head_put(uint8_t *out, uint64_t generation, uint64_t records);
/* -EBADMSG: a record format that we do not know. */
int nvme_disc_head_get(const uint8_t *b, uint64_t *generation, uint64_t *records);
void nvme_disc_entry_put(uint8_t *out, const struct nvme_disc_entry *e);
/* -EBADMSG: a name that does not end. */
int nvme_disc_entry_get(const uint8_t *b, struct nvme_disc_entry *out);

#endif
