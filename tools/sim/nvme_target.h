/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_target.h - a simulated NVMe/TCP subsystem that misbehaves on command
 *
 * One subsystem with some namespaces; each listener is a path to it, and makes a controller for each host
 * that connects. Every path also answers as discovery controller. What a host sends is checked as strictly
 * as the specification allows: a wrong PDU ends the connection with a C2HTermReq that names the field.
 *
 * One thread of its own does everything. Calls are for any thread; start, stop and free alone.
 *
 * Faults are sentences, "NAME KEY=VALUE ...". Those of a command, an answer or a PDU are rules, looked at for each
 * of these; others are orders, which are done once when the call returns.
 *
 *   Which:  op=read|write|flush|zero|dsm|io|admin|connect|property|identify|log|set|get|aer|abort|keepalive|any
 *           queue=N  path=N  pdu=icreq|cmd|h2c (received) icresp|resp|r2t|c2h (sent)
 *           (a connection is queue 0 before its Connect; pdu=any: all that are sent)
 *           after=N (such ones pass first)  times=N (so many fail; 0: always; default 1)  permille=N (so many of 1000)
 *   Commands:
 *     hang                      never answered
 *     status code=N [dnr]       not executed; N is type << 8 | code: 0x280, 0x302 (ANA inaccessible)
 *     drop                      the connection is reset, nothing is executed
 *     lost                      executed, then the connection is reset instead of the answer
 *     late ms=N                 the connection is reset; N ms later a write, zero or dsm is executed
 *     delay ms=N, slow ms=N     executed after N ms; executed, answered after N ms
 *     wrongid, twice            the answer has another command id; is sent twice
 *     csts                      answered, then the controller says fatal (CSTS.CFS)
 *     r2t-late ms=N             R2T after N ms
 *     r2t-pieces pieces=N [order=reverse|random]   as many R2Ts, as many at once as the host allows
 *     r2t-beyond, r2t-id        an R2T beyond the command's data; for a command that is not there
 *     data-pieces pieces=N [order=reverse|random]  as many C2HData
 *     data-nolast, data-nosuccess   without LAST; without SUCCESS and with a response
 *     data-pad bytes=N          N bytes (multiple of 4, at most 128) before the data
 *     data-short, data-long, data-beyond, data-id  a block less than asked and SUCCESS; a block more; at an
 *                               offset outside of the command; for a command that is not there
 *     log-changes               of log: answered, then the generation of the discovery log is another one
 *   PDUs:
 *     split bytes=N [ms=N]      sent N bytes at a time, ms between
 *     header-digest, data-digest    wrong
 *     cut [bytes=N]             sent: broken off by a reset after N bytes; received: reset
 *     term [fes=N]              a C2HTermReq instead
 *     garbage                   a PDU of a type that is not there, instead
 *     length bytes=N            the header tells this length
 *   While set (times=0 is implied):
 *     mute                      connections are made, nothing is answered
 *     nokato                    silent hosts are kept
 *     ready-late ms=N           CSTS.RDY after N ms; never: shutdown-never
 *     storm permille=N          so many commands meet one of the faults that lose nothing, by seed
 *   Orders:
 *     ana [path=N] [group=N] state=optimized|nonoptimized|inaccessible|lost|change     told by an event
 *     fatal [path=N]            CSTS.CFS of its controllers
 *     size [ns=N] blocks=N, identity [ns=N]     another size; another NGUID and UUID; told by an event
 *     reset [path=N], down [path=N], up [path=N]      connections are reset; and the port is closed; opened
 *     freeze ms=N               nothing happens for N ms, as if stopped
 *     clear                     all rules go away
 *   Paths, groups and namespaces: path=0 is the first, without it all; ns=1 is the first and default. Namespace N is in
 *   group (N - 1) % 8 + 1. */
#ifndef TOOLS_SIM_NVME_TARGET_H
#define TOOLS_SIM_NVME_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define NVME_TARGET_PATHS_MAX 8
#define NVME_TARGET_NAMESPACES_MAX 2048
#define NVME_TARGET_GROUPS_MAX 8
#define NVME_TARGET_FAULTS_MAX 64
#define NVME_TARGET_NQN "nqn.2014-08.example.persifs:sim"

struct nvme_target;

struct nvme_target_config {
	const char *listen
		[NVME_TARGET_PATHS_MAX]; /* "127.0.0.1:0", NULL-ended if shorter; none: that one */
	uint64_t size;                   /* bytes of each namespace; 0: 64 MiB */
	uint32_t block_size;             /* 512 (also 0) or 4096 */
	unsigned namespaces;             /* 0: 1 */
	const char *
		file; /* namespace N lies at (N - 1) * size of it; made when missing. NULL: memory */
	const char *nqn;      /* NULL: NVME_TARGET_NQN */
	const char *host_nqn; /* the only host that may connect; NULL: any */
	bool volatile_cache; /* writes are lost by nvme_target_kill() or the process' end, until FLUSH or FUA */
	bool no_digests;     /* refused in ICResp; else as the host asks */
	unsigned mdts;       /* 2^n * 4 KiB; 0: NVME_TARGET_MDTS */
	uint32_t in_capsule; /* bytes of data in a command capsule; 0: NVME_TARGET_IN_CAPSULE */
	bool no_in_capsule;  /* of I/O queues */
	uint32_t maxh2cdata; /* 0: NVME_TARGET_H2C */
	uint32_t r2t_bytes;  /* largest R2T; 0: all at once */
	unsigned cpda;   /* as in ICResp: data of the host begins at multiples of (cpda + 1) * 4 */
	unsigned queues; /* I/O queues of a host, 0: NVME_TARGET_QUEUES */
	unsigned queue_size;       /* entries (MQES + 1), 0: 128 */
	uint64_t seed;             /* of permille and order=random */
	const char *const *faults; /* NULL-ended; may be NULL */
};

#define NVME_TARGET_MDTS 8u                    /* 1 MiB */
#define NVME_TARGET_IN_CAPSULE (16u << 10)     /* as nvmet */
#define NVME_TARGET_IN_CAPSULE_MAX (64u << 10) /* as go-nvme */
#define NVME_TARGET_H2C (128u << 10)
#define NVME_TARGET_H2C_MAX (4u << 20)
#define NVME_TARGET_QUEUES 4u
#define NVME_TARGET_QUEUES_MAX 16u
#define NVME_TARGET_QUEUE_SIZE_MAX 1024u
#define NVME_TARGET_SIZE_MAX (1ull << 40)

/* Listens and answers when it returns. -errno with a sentence. */
int nvme_target_start(const struct nvme_target_config *cfg, struct nvme_target **out,
		      struct err *err);
/* Drops all connections, frees. What is in the volatile cache is written first. NULL is fine. */
void nvme_target_stop(struct nvme_target *t);
unsigned nvme_target_port(const struct nvme_target *t, unsigned path);

/* As SIGKILL: ports closed, connections gone, controllers, delayed things and the volatile cache forgotten, but for
 * so many of 1000 of its blocks, by seed. Rules stay. */
void nvme_target_kill(struct nvme_target *t, unsigned keep_permille);
/* Listens again, at the same ports. -errno with a sentence. */
int nvme_target_revive(struct nvme_target *t, struct err *err);

/* One sentence, see above. -EINVAL with a sentence that names what is wrong; -ENOSPC: too many. */
int nvme_target_fault(struct nvme_target *t, const char *text, struct err *err);

struct nvme_target_counts {
	uint64_t accepted;    /* connections */
	uint64_t controllers; /* made, discovery ones too */
	uint64_t reads, writes, flushes, zeroes, discards, keepalives; /* commands taken */
	uint64_t in_capsule, r2ts,
		h2c;            /* writes with data in the capsule; R2Ts sent; H2CData taken */
	uint64_t fua;           /* writes and zeroes with it */
	uint64_t terms;         /* C2HTermReq sent for what a host did wrong, not by a fault */
	uint64_t host_terms;    /* H2CTermReq received */
	uint64_t digest_errors; /* of data from a host */
	uint64_t conflicts;     /* command ids in use twice */
	uint64_t refused;       /* commands answered with an error that no fault made */
	uint64_t kato;          /* controllers dropped since their host was silent */
	uint64_t shutdowns;     /* controllers shut down as they should be */
	uint64_t faults;        /* rules that hit */
	uint64_t late;          /* commands executed after their connection was gone */
	uint64_t lost_blocks;   /* of the volatile cache, by kills */
	unsigned connections;   /* now */
	unsigned delayed;       /* things that wait for their time, now */
};
void nvme_target_counts(struct nvme_target *t, struct nvme_target_counts *out);

/* Bytes of namespace ns as a host would read them, or (durable) as they are after a kill. -EINVAL outside. */
int nvme_target_peek(struct nvme_target *t, unsigned ns, uint64_t off, void *buf, size_t len,
		     bool durable);

#endif
