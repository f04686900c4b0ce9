/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_host.h - a small NVMe/TCP host of bytes, for the tests of the simulated target
 *
 * Offsets and numbers are written out from the specification, and the digest is computed bit by bit: nothing here
 * comes from common/nvme_pdu.h, so that an error there is seen. */
#ifndef TESTS_UNIT_TOOLS_NVME_HOST_H
#define TESTS_UNIT_TOOLS_NVME_HOST_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tools/sim/nvme_target.h"

#define LIMIT_S 20 /* for an answer */
#define PDU_MAX (2u << 20)
#define DISCOVERY "nqn.2014-08.org.nvmexpress.discovery"
#define HOSTNQN "nqn.2014-08.example.persifs:host"

enum { H_ICREQ, H_ICRESP, H_H2CTERM, H_C2HTERM, H_CMD, H_RESP, H_H2C, H_C2H, H_R2T = 9 };
enum { H_EOF = -1 };

struct host {
	int fd;
	bool hd, dd; /* digests */
	uint16_t cid, cntlid;
	uint8_t *pdu;           /* the last one received */
	uint32_t len, at, dlen; /* its data */
	uint32_t attr;          /* of Connect: 4, no flow control */
};

static inline void p16(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void p32(uint8_t *b, uint32_t v)
{
	p16(b, v);
	p16(b + 2, v >> 16);
}
static inline void p64(uint8_t *b, uint64_t v)
{
	p32(b, (uint32_t)v);
	p32(b + 4, (uint32_t)(v >> 32));
}
static inline uint32_t g16(const uint8_t *b)
{
	return b[0] | (uint32_t)b[1] << 8;
}
static inline uint32_t g32(const uint8_t *b)
{
	return g16(b) | g16(b + 2) << 16;
}
static inline uint64_t g64(const uint8_t *b)
{
	return g32(b) | (uint64_t)g32(b + 4) << 32;
}

static inline uint32_t slow_crc(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* ---- sockets ---------------------------------------------------------- */

static inline bool host_dial(struct host *h, unsigned port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct timeval limit = { .tv_sec = LIMIT_S };
	const int one = 1;

	memset(h, 0, sizeof *h);
	h->attr = 4;
	h->pdu = malloc(PDU_MAX);
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (h->fd < 0 || !h->pdu)
		abort();
	setsockopt(h->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return !connect(h->fd, (struct sockaddr *)&in, sizeof in);
}

static inline void host_close(struct host *h)
{
	if (h->fd >= 0)
		close(h->fd);
	h->fd = -1;
	free(h->pdu);
	h->pdu = NULL;
}

static inline void host_send(struct host *h, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n) {
		ssize_t done = send(h->fd, b, n, MSG_NOSIGNAL);

		if (done <= 0)
			return; /* the answer will tell */
		b += done;
		n -= (size_t)done;
	}
}

static inline bool host_bytes(struct host *h, uint8_t *p, size_t n)
{
	while (n) {
		ssize_t got = recv(h->fd, p, n, 0);

		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

/* The type of the next PDU, or H_EOF. Digests are checked: a wrong one is -2 (header) or -3 (data). */
static inline int host_pdu(struct host *h)
{
	uint8_t *b = h->pdu;
	uint32_t hlen;

	if (!host_bytes(h, b, 8))
		return H_EOF;
	h->len = g32(b + 4);
	if (h->len < 8 || h->len > PDU_MAX)
		return -4;
	if (!host_bytes(h, b + 8, h->len - 8))
		return H_EOF;
	hlen = b[2];
	h->at = b[3] ? b[3] : hlen;
	h->dlen = h->len - h->at - (b[1] & 2 ? 4 : 0);
	if (b[1] & 1 && g32(b + hlen) != slow_crc(b, hlen))
		return -2;
	if (b[1] & 2 && g32(b + h->len - 4) != slow_crc(b + h->at, h->dlen))
		return -3;
	return b[0];
}

/* ---- PDUs ------------------------------------------------------------- */

static inline void host_icreq(struct host *h, unsigned digests, uint32_t maxr2t)
{
	uint8_t b[128] = { H_ICREQ, 0, 128, 0, 128 };

	b[11] = (uint8_t)digests;
	p32(b + 12, maxr2t);
	host_send(h, b, sizeof b);
}

/* Header of hlen bytes in b, which has room for the digest; type, cid and the like are set. */
static inline void host_frame(struct host *h, uint8_t *b, unsigned hlen, const void *data,
			      uint32_t len, unsigned flags)
{
	uint32_t head = hlen + (h->hd ? 4 : 0);
	uint8_t digest[4];

	b[1] = (uint8_t)(flags | (h->hd ? 1 : 0) | (h->dd && len ? 2 : 0));
	b[2] = (uint8_t)hlen;
	b[3] = (uint8_t)(len ? head : 0);
	p32(b + 4, head + len + (h->dd && len ? 4 : 0));
	if (h->hd)
		p32(b + hlen, slow_crc(b, hlen));
	host_send(h, b, head);
	host_send(h, data, len);
	p32(digest, slow_crc(data, len));
	if (h->dd && len)
		host_send(h, digest, 4);
}

/* A command capsule; the id is set and returned. */
static inline uint16_t host_capsule(struct host *h, const uint8_t *sqe, const void *data,
				    uint32_t len)
{
	uint8_t b[80] = { H_CMD };

	memcpy(b + 8, sqe, 64);
	p16(b + 8 + 2, ++h->cid);
	host_frame(h, b, 72, data, len, 0);
	return h->cid;
}

static inline void host_h2c(struct host *h, uint16_t cid, uint16_t tag, uint32_t off,
			    const void *data, uint32_t len, bool last)
{
	uint8_t b[32] = { H_H2C };

	p16(b + 8, cid);
	p16(b + 10, tag);
	p32(b + 12, off);
	p32(b + 16, len);
	host_frame(h, b, 24, data, len, last ? 4 : 0);
}

/* ---- commands --------------------------------------------------------- */

static inline void sqe_make(uint8_t *q, uint8_t opcode, uint32_t nsid, uint8_t sgl, uint32_t len)
{
	memset(q, 0, 64);
	q[0] = opcode;
	q[1] = 0x40;
	p32(q + 4, nsid);
	p32(q + 32, len);
	q[39] = sgl;
}

static inline void sqe_rw(uint8_t *q, uint8_t opcode, uint64_t slba, unsigned n, uint32_t flags,
			  uint8_t sgl, uint32_t len)
{
	sqe_make(q, opcode, 1, sgl, len);
	p64(q + 40, slba);
	p32(q + 48, (n - 1) | flags);
}

/* The status of the response that is awaited (without flags), or what came instead: 0x10000 | type, -1 for the end. */
static inline int host_status(struct host *h, uint16_t cid)
{
	int type = host_pdu(h);

	if (type != H_RESP)
		return type < 0 ? type : 0x10000 | type;
	if (g16(h->pdu + 8 + 12) != cid)
		return 0x20000;
	return (int)(g16(h->pdu + 8 + 14) >> 1 & 0x7ff);
}

static inline uint64_t host_result(const struct host *h)
{
	return g64(h->pdu + 8);
}

static inline int host_simple(struct host *h, const uint8_t *sqe, const void *data, uint32_t len)
{
	return host_status(h, host_capsule(h, sqe, data, len));
}

/* Data for the host, then SUCCESS or a response. The status, as host_status(). */
static inline int host_get(struct host *h, const uint8_t *sqe, void *out, uint32_t len)
{
	uint16_t cid = host_capsule(h, sqe, NULL, 0);
	uint32_t got = 0;

	for (;;) {
		int type = host_pdu(h);

		if (type == H_RESP)
			return g16(h->pdu + 20) == cid ? (int)(g16(h->pdu + 22) >> 1 & 0x7ff) :
							 0x20000;
		if (type != H_C2H)
			return type < 0 ? type : 0x10000 | type;
		if (g16(h->pdu + 8) != cid || g32(h->pdu + 12) > len ||
		    h->dlen > len - g32(h->pdu + 12) || h->dlen != g32(h->pdu + 16))
			return 0x20000;
		memcpy((uint8_t *)out + g32(h->pdu + 12), h->pdu + h->at, h->dlen);
		got += h->dlen;
		if (h->pdu[1] & 8)
			return got == len ? 0 : 0x30000;
	}
}

static inline int host_connect(struct host *h, const char *nqn, const char *host, unsigned qid,
			       unsigned entries, uint16_t cntlid, uint32_t kato_ms)
{
	uint8_t q[64], d[1024] = { 0x11, 0x22 };
	int rc;

	sqe_make(q, 0x7f, 1, 0x01, sizeof d);
	p16(q + 42, qid);
	p16(q + 44, entries - 1);
	q[46] = (uint8_t)h->attr;
	p32(q + 48, kato_ms);
	p16(d + 16, cntlid);
	strcpy((char *)d + 256, nqn);
	strcpy((char *)d + 512, host);
	rc = host_simple(h, q, d, sizeof d);
	if (!rc)
		h->cntlid = (uint16_t)host_result(h);
	return rc;
}

static inline int host_property(struct host *h, uint32_t offset, bool eight)
{
	uint8_t q[64];

	sqe_make(q, 0x7f, 4, 0, 0);
	q[40] = eight;
	p32(q + 44, offset);
	return host_simple(h, q, NULL, 0);
}

static inline int host_set_cc(struct host *h, uint32_t cc)
{
	uint8_t q[64];

	sqe_make(q, 0x7f, 0, 0, 0);
	p32(q + 44, 0x14);
	p64(q + 48, cc);
	return host_simple(h, q, NULL, 0);
}

static inline int host_identify(struct host *h, unsigned cns, uint32_t nsid, uint8_t *page)
{
	uint8_t q[64];

	sqe_make(q, 0x06, nsid, 0x5a, 4096);
	q[40] = (uint8_t)cns;
	return host_get(h, q, page, 4096);
}

static inline int host_log(struct host *h, unsigned lid, uint8_t *page, uint32_t len)
{
	uint8_t q[64];

	sqe_make(q, 0x02, 0, 0x5a, len);
	p32(q + 40, lid | (len / 4 - 1) << 16);
	return host_get(h, q, page, len);
}

static inline int host_feature(struct host *h, uint8_t opcode, uint32_t id, uint32_t value)
{
	uint8_t q[64];

	sqe_make(q, opcode, 0, 0, 0);
	p32(q + 40, id);
	p32(q + 44, value);
	return host_simple(h, q, NULL, 0);
}

static inline int host_read(struct host *h, uint64_t slba, unsigned n, void *out, uint32_t len)
{
	uint8_t q[64];

	sqe_rw(q, 0x02, slba, n, 0, 0x5a, len);
	return host_get(h, q, out, len);
}

/* In the capsule. */
static inline int host_write(struct host *h, uint64_t slba, unsigned n, uint32_t flags,
			     const void *data, uint32_t len)
{
	uint8_t q[64];

	sqe_rw(q, 0x01, slba, n, flags, 0x01, len);
	return host_simple(h, q, data, len);
}

static inline int host_flush(struct host *h)
{
	uint8_t q[64];

	sqe_make(q, 0x00, 1, 0, 0);
	return host_simple(h, q, NULL, 0);
}

/* By R2T: each is answered in pieces of at most step bytes. r2ts: how many came. */
static inline int host_write_r2t(struct host *h, uint64_t slba, unsigned n, const uint8_t *data,
				 uint32_t len, uint32_t step, unsigned *r2ts)
{
	uint8_t q[64];
	uint16_t cid;
	int type;

	sqe_rw(q, 0x01, slba, n, 0, 0x5a, len);
	cid = host_capsule(h, q, NULL, 0);
	*r2ts = 0;
	while ((type = host_pdu(h)) == H_R2T) {
		uint16_t tag = (uint16_t)g16(h->pdu + 10);
		uint32_t off = g32(h->pdu + 12), left = g32(h->pdu + 16);

		if (g16(h->pdu + 8) != cid || off > len || left > len - off)
			return 0x20000;
		++*r2ts;
		while (left) {
			uint32_t part = left < step ? left : step;

			left -= part;
			host_h2c(h, cid, tag, off, data + off, part, !left);
			off += part;
		}
	}
	if (type != H_RESP)
		return type < 0 ? type : 0x10000 | type;
	return g16(h->pdu + 20) == cid ? (int)(g16(h->pdu + 22) >> 1 & 0x7ff) : 0x20000;
}

/* ---- controllers ------------------------------------------------------ */

/* Admin queue, enabled. False: see errno and be surprised. */
static inline bool host_admin(struct host *h, unsigned port, unsigned digests, uint32_t kato_ms)
{
	if (!host_dial(h, port))
		return false;
	host_icreq(h, digests, 0);
	if (host_pdu(h) != H_ICRESP)
		return false;
	h->hd = h->pdu[11] & 1;
	h->dd = h->pdu[11] & 2;
	return !host_connect(h, NVME_TARGET_NQN, HOSTNQN, 0, 32, 0xffff, kato_ms) &&
	       !host_set_cc(h, 0x00460001) && !host_property(h, 0x1c, false) &&
	       (host_result(h) & 1);
}

static inline bool host_io(struct host *h, unsigned port, uint16_t cntlid, unsigned qid,
			   unsigned digests, uint32_t maxr2t, bool flow)
{
	if (!host_dial(h, port))
		return false;
	h->attr = flow ? 0 : 4;
	host_icreq(h, digests, maxr2t);
	if (host_pdu(h) != H_ICRESP)
		return false;
	h->hd = h->pdu[11] & 1;
	h->dd = h->pdu[11] & 2;
	return !host_connect(h, NVME_TARGET_NQN, HOSTNQN, qid, 32, cntlid, 0);
}

#endif
