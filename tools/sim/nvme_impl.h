/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_impl.h - the parts of the simulated NVMe target (nvme_target.h)
 *
 *   nvme_target.c          nvme_conn.c                nvme_command.c      nvme_admin.c, nvme_log.c
 *   sockets, thread --bytes--> PDUs, strict --command--> faults, R2T, ------> nvme_io.c
 *                   <--pieces-- queue       <--answer-- data                  nvme_store.c
 *
 * Rules of nvme_fault.c are asked for each command (once, when it comes: its plan) and for each PDU. All of it runs
 * under the target's lock. Only nvme_target.c knows of sockets and of the thread: tests/fuzz/ feeds connections by hand. */
#ifndef TOOLS_SIM_NVME_IMPL_H
#define TOOLS_SIM_NVME_IMPL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "common/lock.h"
#include "common/nvme_pdu.h"
#include "tools/sim/nvme_target.h"

#define NT_CONNS_MAX 160u      /* more are closed when they come */
#define NT_CTRLS_MAX 32u       /* more are refused */
#define NT_AERS_MAX 4u         /* asynchronous event requests of a controller */
#define NT_ADMIN_CAPSULE 8192u /* bytes of data in a command capsule of an admin queue */
#define NT_ADMIN_ENTRIES 32u   /* of an admin queue */
#define NT_OUT_MAX (8u << 20)  /* bytes that wait to be sent, above it nothing more is received */
#define NT_MEMORY_MAX \
	(512ull << 20)      /* data of all commands; above it they are answered "internal error" */
#define NT_PIECES_MAX 1024u /* R2Ts, or C2HData, of one command */
#define NT_MS_MAX 3600000u  /* of any fault */
#define NT_STATUS_SGL_OFFSET 0x016u

/* ---- faults (nvme_fault.c) -------------------------------------------- */

enum nt_op {
	NT_READ,
	NT_WRITE,
	NT_FLUSH,
	NT_ZERO,
	NT_DSM,
	NT_CONNECT,
	NT_PROPERTY,
	NT_IDENTIFY,
	NT_LOG,
	NT_SET,
	NT_GET,
	NT_AER,
	NT_ABORT,
	NT_KEEPALIVE,
	NT_OTHER, /* no command that is known */
	NT_OPS
};
#define NT_OPS_IO (1u << NT_READ | 1u << NT_WRITE | 1u << NT_FLUSH | 1u << NT_ZERO | 1u << NT_DSM)
#define NT_OPS_CHANGE (1u << NT_WRITE | 1u << NT_ZERO | 1u << NT_DSM)

enum nt_fault {
	/* of commands */
	NTF_HANG,
	NTF_STATUS,
	NTF_DROP,
	NTF_LOST,
	NTF_LATE,
	NTF_DELAY,
	NTF_SLOW,
	NTF_WRONGID,
	NTF_TWICE,
	NTF_CSTS,
	NTF_R2T_LATE,
	NTF_R2T_PIECES,
	NTF_R2T_BEYOND,
	NTF_R2T_ID,
	NTF_DATA_PIECES,
	NTF_DATA_NOLAST,
	NTF_DATA_NOSUCCESS,
	NTF_DATA_PAD,
	NTF_DATA_SHORT,
	NTF_DATA_LONG,
	NTF_DATA_BEYOND,
	NTF_DATA_ID,
	NTF_LOG_CHANGES,
	NTF_COMMANDS, /* so many */
	/* of PDUs */
	NTF_SPLIT = NTF_COMMANDS,
	NTF_HDGST,
	NTF_DDGST,
	NTF_CUT,
	NTF_TERM,
	NTF_GARBAGE,
	NTF_LENGTH,
	/* while set */
	NTF_MUTE,
	NTF_NOKATO,
	NTF_READY_LATE,
	NTF_SHUTDOWN_NEVER,
	NTF_STORM,
	/* orders */
	NTF_ANA,
	NTF_FATAL,
	NTF_SIZE,
	NTF_IDENTITY,
	NTF_RESET,
	NTF_DOWN,
	NTF_UP,
	NTF_FREEZE,
	NTF_CLEAR,
	NT_FAULTS
};
#define NTF_FIRST_WHILE NTF_MUTE
#define NTF_FIRST_ORDER NTF_ANA

enum nt_key {
	NTK_MS,
	NTK_BYTES,
	NTK_PIECES,
	NTK_CODE,
	NTK_FES,
	NTK_BLOCKS,
	NTK_ORDER,
	NTK_STATE,
	NTK_NS,
	NTK_GROUP,
	NTK_DNR,
	NT_KEYS
};
enum nt_order { NTO_FORWARD, NTO_REVERSE, NTO_RANDOM };

#define NT_ANY (-1)
#define NT_QUEUE_IO (-2)

struct nt_rule {
	struct list link;
	enum nt_fault fault;
	unsigned ops, pdus; /* bits: enum nt_op; types of PDUs */
	int queue, path;    /* or NT_ANY, NT_QUEUE_IO */
	uint64_t after, times, seen, hits;
	unsigned permille;
	uint32_t v[NT_KEYS]; /* without it: 0 */
};

/* What the rules want of one command. */
struct nt_plan {
	uint32_t has;                     /* bits: enum nt_fault */
	uint32_t arg[NTF_COMMANDS];       /* ms, pieces, bytes or code */
	uint8_t order[NTF_COMMANDS], dnr; /* order: enum nt_order */
};
#define NT_HAS(plan, fault) ((plan)->has >> (fault)&1u)

/* What a command gives rules to look at. */
struct nt_what {
	enum nt_op op;
	int queue;
	unsigned path;
	bool r2t, data; /* it needs R2Ts; has data for the host */
};

struct nvme_target;
int nt_rule_parse(const char *text, struct nt_rule *out, struct err *err);
void nt_plan_make(struct nvme_target *t, const struct nt_what *what, struct nt_plan *out);
/* The first rule that meets a PDU of that type and has this fault; NULL: none. */
const struct nt_rule *nt_rule_of_pdu(struct nvme_target *t, enum nt_fault fault, unsigned type,
				     int queue, unsigned path);
/* A fault that lasts is set for this path. */
const struct nt_rule *nt_rule_while(struct nvme_target *t, enum nt_fault fault, unsigned path);
void nt_rules_clear(struct nvme_target *t);
uint64_t nt_random(struct nvme_target *t, uint64_t below);

/* ---- blocks (nvme_store.c) -------------------------------------------- */

struct nt_store {
	uint64_t stride; /* bytes from one namespace to the next: how large one can grow */
	uint64_t total;
	uint32_t block;
	int fd;           /* -1: memory */
	uint8_t *durable; /* memory: mapped; else NULL */
	uint8_t *cache;   /* mapped; NULL: no volatile cache */
	uint8_t *dirty;   /* a bit a block: cache holds it */
	uint64_t ndirty;
};
int nt_store_open(struct nt_store *s, const struct nvme_target_config *cfg, struct err *err);
void nt_store_close(struct nt_store *s);
/* Offsets are those of the whole store. 0 or -errno. */
int nt_store_read(struct nt_store *s, uint64_t off, void *buf, size_t len, bool durable);
int nt_store_write(struct nt_store *s, uint64_t off, const void *buf, size_t len, bool fua);
int nt_store_fill(struct nt_store *s, uint64_t off, uint64_t len, uint8_t byte, bool fua);
int nt_store_flush(struct nt_store *s);
/* Forgets the cache but for so many of 1000 of its blocks; how many are lost. */
uint64_t nt_store_lose(struct nvme_target *t, unsigned keep_permille);

/* ---- the target ------------------------------------------------------- */

struct nt_namespace {
	uint64_t blocks;
	uint32_t identity; /* how often it changed */
};

struct nt_path {
	char address[64]; /* "127.0.0.1" */
	unsigned port;
	int reserve_fd, listen_fd;           /* bound, not listening: keeps the port; -1: down */
	uint8_t ana[NVME_TARGET_GROUPS_MAX]; /* enum nvme_ana_state of each group */
	bool want_up;
};

struct nt_job {
	struct list link; /* t->jobs while it waits */
	uint64_t at_us;
	void (*run)(struct nvme_target *t, struct nt_job *job);
};

struct nt_conn;
struct nt_ctrl {
	struct list link;
	struct nvme_target *t;
	uint16_t cntlid;
	unsigned path;
	bool discovery;
	char hostnqn[NVME_NQN_SIZE];
	uint8_t hostid[16];
	uint32_t cc, csts;
	uint64_t kato_us, heard_us; /* kato_us 0: for ever */
	uint32_t async;             /* feature: which events the host wants */
	uint32_t pending, masked;   /* bits: enum nvme_notice; told, log page not read since */
	bool changed[NVME_TARGET_NAMESPACES_MAX]; /* for the log page */
	struct nt_job ready;
	struct nt_conn *queues[NVME_TARGET_QUEUES_MAX + 1]; /* 0: admin */
};

struct nt_r2t {
	uint32_t off, len, got;
	uint16_t tag;
	bool sent, done;
};

struct nt_cmd {
	struct list link;     /* conn->cmds; without a connection: t->late */
	struct nt_conn *conn; /* NULL: it is gone */
	struct nvme_target *t;
	struct nvme_sqe sqe;
	enum nt_op op;
	struct nt_plan plan;
	uint8_t *data; /* owned: from or for the host */
	uint32_t len;
	struct nt_r2t *r2ts; /* owned; in the order of sending */
	unsigned nr2ts, r2ts_sent, r2ts_done;
	struct nt_job job;
	bool hung, to_host; /* to_host: data is for the host */
	uint16_t status;
	uint64_t result;
};

struct nt_out {
	struct list link;
	size_t len, sent;
	size_t step; /* bytes at a time; 0: all */
	uint32_t pause_ms;
	uint64_t at_us; /* not before */
	bool ends;      /* the connection, when it is sent */
	uint8_t bytes[];
};

enum nt_state {
	NTS_NEW, /* ICReq is awaited */
	NTS_LIVE,
	NTS_ENDING, /* what is queued is sent, what comes is dropped, until the host closes or end_us */
	NTS_DEAD /* to be closed */
};

struct nt_conn {
	struct list link;
	struct nvme_target *t;
	int fd;
	unsigned path;
	enum nt_state state;
	bool rst, half_closed, blocked; /* blocked: the socket takes no more now */
	uint64_t end_us;
	struct nvme_wire wire;
	uint32_t maxr2t;      /* R2Ts of a command at once */
	struct nt_ctrl *ctrl; /* NULL: before Connect */
	uint16_t qid, entries, sq_head, next_tag;
	bool no_flow;
	/* receiving */
	uint8_t *rx;
	size_t rx_len, rx_cap;
	struct nvme_pdu pdu;
	/* commands that are not answered */
	struct list cmds;
	unsigned ncmds;
	/* sending */
	struct list out;
	size_t out_bytes;
};

static inline unsigned nt_group(uint32_t nsid)
{
	return (nsid - 1) % NVME_TARGET_GROUPS_MAX + 1;
}

struct nvme_target {
	struct nvme_target_config cfg; /* strings owned */
	struct mutex lock;
	struct cond wake;
	/* all below is guarded by lock */
	struct nt_store store;
	struct nt_namespace ns[NVME_TARGET_NAMESPACES_MAX];
	struct nt_path paths[NVME_TARGET_PATHS_MAX];
	unsigned npaths;
	struct list rules, orders; /* orders: for the thread to do, */
	uint64_t ordered, obeyed;  /* so many were given and done */
	struct list conns, ctrls, jobs, late;
	unsigned nconns, nctrls, nrules;
	uint16_t next_cntlid;
	uint64_t ana_changes, generation;
	uint64_t memory;    /* bytes of commands' data */
	uint64_t frozen_us; /* until then nothing happens */
	uint64_t rng;
	struct nvme_target_counts n;
	/* the thread */
	pthread_t thread;
	bool running, stopping, want_kill;
	unsigned kill_keep;
	int wake_fd;
};

uint64_t nt_now_us(void);
/* The core without sockets and thread. */
int nt_new(const struct nvme_target_config *cfg, struct nvme_target **out, struct err *err);
void nt_free(struct nvme_target *t);
void nt_job_add(struct nvme_target *t, struct nt_job *job, uint64_t after_ms,
		void (*run)(struct nvme_target *t, struct nt_job *job));
/* Does jobs, silences and ends whose time has come; when to look again, UINT64_MAX: never. */
uint64_t nt_tick(struct nvme_target *t);
/* -EINVAL with a sentence: an order for something that is not there. */
int nt_order_check(const struct nvme_target *t, const struct nt_rule *r, struct err *err);
void nt_order(struct nvme_target *t, const struct nt_rule *r);
/* Ports of a path; nvme_target.c. 0 or -errno. */
int nt_path_up(struct nvme_target *t, unsigned path, struct err *err);
void nt_path_down(struct nvme_target *t, unsigned path);
static inline int nt_queue(const struct nt_conn *c)
{
	return c->ctrl ? c->qid : 0;
}

/* ---- connections (nvme_conn.c) ---------------------------------------- */

/* fd is taken; NULL: no memory. */
struct nt_conn *nt_conn_new(struct nvme_target *t, int fd_take, unsigned path);
/* Bytes from the host, any number. */
void nt_conn_feed(struct nt_conn *c, const uint8_t *p, size_t n);
void nt_conn_reset(struct nt_conn *c); /* dead from here on, freed by the thread */
void nt_conn_free(struct nt_conn *c);
/* A PDU with data_len bytes of data, pad bytes before them; the rules may do something else with it. */
void nt_send(struct nt_conn *c, const struct nvme_pdu *pdu, const void *data, unsigned pad);
/* The host did something wrong: C2HTermReq, then the end. */
void nt_term(struct nt_conn *c, uint16_t fes, uint32_t fei);

/* ---- commands --------------------------------------------------------- */

/* nvme_command.c: a command capsule with its data; data of a write that R2T asked for. */
void nt_command(struct nt_conn *c, const struct nvme_pdu *pdu, const uint8_t *data, bool data_bad);
void nt_h2c_data(struct nt_conn *c, const struct nvme_pdu *pdu, const uint8_t *data, bool data_bad);
void nt_cmd_free(struct nt_cmd *cmd);
bool nt_cmd_room(struct nt_cmd *cmd, uint32_t len); /* cmd->data, zeros; false: too much */
/* Both free cmd, perhaps later. nt_refuse: an error that no fault made; cmd->result goes along. */
void nt_answer(struct nt_cmd *cmd, uint16_t status, uint64_t result);
void nt_refuse(struct nt_cmd *cmd, uint16_t status);

/* Data of a command: bytes, 0 for none; status 0 or what is wrong with it. Before anything is executed. */
struct nt_need {
	uint32_t len;
	bool to_host;
	bool at_most; /* less is fine, too */
};
uint16_t nt_io_check(struct nt_cmd *cmd, struct nt_need *out);
void nt_io_run(struct nt_cmd *cmd);
uint16_t nt_admin_check(struct nt_cmd *cmd, struct nt_need *out);
void nt_admin_run(struct nt_cmd *cmd);
enum nt_op nt_op_of(const struct nvme_sqe *sqe, bool admin);

/* nvme_admin.c */
void nt_ctrl_free(struct nt_ctrl *ctrl); /* its connections are reset */
void nt_ctrl_fatal(struct nt_ctrl *ctrl);
/* Something that a controller may want to tell its host. */
void nt_notice(struct nvme_target *t, struct nt_ctrl *ctrl, enum nvme_notice notice);

/* nvme_log.c: pages of data, NVME_IDENTIFY_BYTES; log pages len bytes from offset off. Status. */
uint16_t nt_identify(struct nt_cmd *cmd, uint8_t *out);
uint16_t nt_log_page(struct nt_cmd *cmd, uint64_t off, uint8_t *out, uint32_t len);

#endif
