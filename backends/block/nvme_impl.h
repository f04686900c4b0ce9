/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_impl.h - what the files of the NVMe/TCP initiator share
 *
 *   device (nvme_tcp.c)      which path is used, pause and resume; one thread, "bd-nvme"
 *     path (nvme_path.c)     a way to the subsystem: one controller, up or being reconnected; one thread each,
 *       |                    "bd-nvme-pN", that runs all of its connections
 *       |-- nvme_ctrl.c      bring-up, admin commands, in that thread
 *       |-- nvme_io.c        requests to commands and back
 *       '-- queue (nvme_queue.c, nvme_rx.c)  a connection: commands in flight, send queue, receive machine
 *
 * Locks: device.lock and queue.lock are never held together, and never across done() or a bd_ function. */
#ifndef BACKENDS_BLOCK_NVME_IMPL_H
#define BACKENDS_BLOCK_NVME_IMPL_H

#include <pthread.h>

#include "backends/block/device.h"
#include "backends/sock.h"
#include "common/lock.h"
#include "common/nvme_pdu.h"

enum {
	NVME_PATHS_MAX = 8,
	NVME_IO_QUEUES_MAX = 16,
	NVME_IO_QUEUES_DEFAULT = 2,
	NVME_SLOTS_MAX = 128, /* commands of a queue at once; a queue has one entry more */
	NVME_ADMIN_SLOTS = 31,
	NVME_R2TS_MAX = 4,           /* of a command, not yet served; we ask for one at a time */
	NVME_GAPS_MAX = 8,           /* pieces of a command's data that do not touch */
	NVME_H2C_MAX = 128 << 10,    /* bytes of one H2CData, whatever the target takes */
	NVME_TRANSFER_MAX = 1 << 20, /* bytes of a command, whatever the target takes */
	NVME_ZERO_MAX = 8 << 20,     /* bytes of a WRITE ZEROES */
	NVME_DISCARD_MAX = 1 << 30,  /* bytes of a DSM range */
	NVME_ADMIN_CAPSULE = 8192,   /* data in a capsule of admin and fabrics commands */
	NVME_BUF_BYTES = 64 << 10,   /* admin data: identify pages, logs */
	NVME_STAGE_BYTES = 16 << 10, /* received at a time, but for payload */
	NVME_RETRIES = 3,            /* of a command that came damaged */
	NVME_TICK_MS = 500,          /* deadlines are looked at this often */
	NVME_CONNECT_MS = 10000,
	NVME_ADMIN_MS = 10000, /* an answer to an admin command */
	NVME_IO_MS = 30000,    /* an answer to any other */
	NVME_KATO_MS = 5000,
	NVME_PORT = 4420,
	NVME_DISCOVERY_PORT = 8009,
};

/* ---- which bytes of a command's data have been seen ------------------- */

struct nvme_cover {
	unsigned n;
	struct nvme_span {
		uint32_t off, end;
	} spans[NVME_GAPS_MAX]; /* ascending, do not touch */
};
/* -EBADMSG: overlaps what is there, or leaves too many gaps. */
int nvme_cover_add(struct nvme_cover *c, uint32_t off, uint32_t len);
static inline bool nvme_cover_full(const struct nvme_cover *c, uint32_t len)
{
	return len == 0 || (c->n == 1 && c->spans[0].off == 0 && c->spans[0].end == len);
}

/* ---- commands --------------------------------------------------------- */

/* Answered (error 0; cqe is set), answered with damaged data (-EILSEQ), or its connection was lost (-ECONNRESET).
 * On the path's thread, no lock held; the command may have been reused already. */
typedef void nvme_end_fn(void *arg, int error, const struct nvme_cqe *cqe);

enum nvme_cmd_state { NVME_CMD_FREE, NVME_CMD_QUEUED, NVME_CMD_SENT };

struct nvme_cmd {
	/* guarded by the queue's lock, with the exceptions below */
	struct list link; /* free, sendq, ended; alone while sent and without anything to send */
	enum nvme_cmd_state state;
	uint16_t slot, generation;
	struct nvme_sqe sqe;
	const struct iovec *iov; /* borrowed until the end; the sum is len */
	unsigned niov;
	uint32_t len;
	bool to_target; /* the direction of its data */
	bool capsule;   /* data go with the command */
	struct iovec small_iov;
	uint8_t small[NVME_DSM_RANGE_BYTES];
	uint64_t deadline_ms; /* 0: none */
	nvme_end_fn *end;     /* NULL: nobody waits any more */
	void *arg;

	/* the PDU that goes out: header, data[off, off + len), digest */
	struct nvme_tx {
		uint8_t head[NVME_HEAD_MAX], digest[NVME_DIGEST_BYTES];
		uint32_t head_len, off, len, digest_len;
		uint64_t sent;
	} tx;
	struct nvme_r2t {
		uint16_t tag;
		uint32_t off, len;
	} r2ts[NVME_R2TS_MAX]; /* the first is being served */
	unsigned nr2ts;
	bool answered; /* while something of it goes out: ends when that is over */
	struct nvme_cqe cqe;

	/* owned by the thread */
	struct nvme_cover seen; /* asked for by R2Ts, or received */
	bool damaged;           /* a data digest was wrong */
};

/* ---- queues ----------------------------------------------------------- */

enum nvme_phase { NVME_PHASE_IC, NVME_PHASE_READY };
enum nvme_rx_state { NVME_RX_HEAD, NVME_RX_PAD, NVME_RX_DATA, NVME_RX_DIGEST };

struct nvme_queue {
	/* set at start, then read only */
	unsigned id;            /* 0: admin */
	struct nvme_path *path; /* borrowed; NULL in tests of a queue alone */
	/* Sends some of it: bytes, or -errno. */
	ssize_t (*send)(struct nvme_queue *q, const struct iovec *iov, unsigned n);

	/* set by the thread before live, then read only until it is not */
	struct nvme_wire rx_wire, tx_wire;
	bool want_hdgst, want_ddgst;
	uint32_t h2c_max;     /* bytes of one H2CData */
	uint32_t capsule_max; /* bytes of data in a capsule */

	_Atomic unsigned big_reads; /* in flight: more than NVME_STAGE_BYTES */

	struct mutex lock;
	/* guarded by lock */
	bool live;  /* there is a connection */
	bool ready; /* for requests: the controller is up */
	int fd;
	int send_error; /* a submitter's; the thread deals with it */
	bool wants_out; /* the socket is full: the thread sends on */
	_Atomic unsigned nslots;
	_Atomic unsigned busy; /* slots that are not free */
	struct list free, sendq, ended;
	struct list waiting; /* bd_req without a slot */
	struct nvme_cmd cmds[NVME_SLOTS_MAX];

	/* owned by the thread */
	enum nvme_phase phase;
	bool dead;        /* was live; why tells more */
	uint32_t watched; /* epoll events; 0: not in the set */
	char why[128];
	struct nvme_term term; /* what to tell the target about it; fes 0: nothing */
	struct nvme_rx {
		enum nvme_rx_state state;
		uint8_t head[NVME_HEAD_MAX];
		unsigned have, want;
		uint32_t left; /* padding or data */
		struct nvme_pdu pdu;
		struct nvme_cmd *cmd; /* whose data come */
		unsigned piece;       /* where in its iov */
		size_t piece_off;
		uint32_t crc;
	} rx;
	uint8_t stage[NVME_STAGE_BYTES];
};

void nvq_init(struct nvme_queue *q, unsigned id);
void nvq_done(struct nvme_queue *q);
/* A new connection with so many slots; takes fd. Expects ICResp first. */
void nvq_open(struct nvme_queue *q, int fd_take, unsigned nslots);
/* Sends ICReq. */
int nvq_hello(struct nvme_queue *q);
/* No more of it is sent or received; its commands stay. Tells the target about q->term where it can. */
void nvq_close(struct nvme_queue *q);
/* Ends all commands of a closed queue with -ECONNRESET, and returns requests that waited. */
void nvq_drain(struct nvme_queue *q, struct list *waiting);
/* Marks the queue as dead (the first reason counts). Returns code. */
int nvq_fail(struct nvme_queue *q, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A free command or NULL. The caller fills sqe (but not cid and SGL), data, end, arg, deadline. */
struct nvme_cmd *nvq_get_locked(struct nvme_queue *q);
void nvq_put_locked(struct nvme_queue *q, struct nvme_cmd *cmd);
void nvq_issue_locked(struct nvme_queue *q, struct nvme_cmd *cmd);
/* The next H2CData of the command's first R2T goes out. */
void nvq_load_h2c_locked(struct nvme_queue *q, struct nvme_cmd *cmd);
/* 0: all is sent, -EAGAIN: the socket is full, or -errno. */
int nvq_flush_locked(struct nvme_queue *q);
/* The thread's flush; also ends commands whose end waited for it. Fails the queue. */
void nvq_flush(struct nvme_queue *q);
/* True when a command's deadline is over; the queue has failed then. */
bool nvq_overdue(struct nvme_queue *q, uint64_t now_ms);

/* ---- receiving (nvme_rx.c) -------------------------------------------- */

void nvr_reset(struct nvme_queue *q);
/* Where the next payload lands: pieces in out[0..max), their bytes in *len; 0: nowhere yet. */
unsigned nvr_direct(struct nvme_queue *q, struct iovec *out, unsigned max, size_t *len);
/* n bytes were received there. */
int nvr_received(struct nvme_queue *q, size_t n);
/* n bytes from the target. An error has failed the queue. */
int nvr_feed(struct nvme_queue *q, const uint8_t *p, size_t n);
/* All that the socket has, for a while. */
int nvr_receive(struct nvme_queue *q);

/* ---- paths ------------------------------------------------------------ */

/* Of a device, or of a look for subsystems; read only. */
struct nvme_conf {
	char subnqn[NVME_NQN_SIZE], hostnqn[NVME_NQN_SIZE];
	uint8_t hostid[16];
	bool hdgst, ddgst;
	unsigned queues;
	uint32_t kato_ms;
	enum { NVME_NS_ONLY, NVME_NS_NSID, NVME_NS_NGUID, NVME_NS_UUID } by;
	uint32_t nsid;
	uint8_t id[16];
};

struct nvme_dev;

/* What is known of a namespace and of the controller that has it. */
struct nvme_ns {
	uint32_t nsid, anagrpid;
	uint64_t blocks;
	uint32_t block;
	struct nvme_ns_ids ids;
	bool readonly, volatile_cache, dsm, write_zeroes;
	uint32_t max_transfer;
	unsigned nqueues;
	unsigned depth;
};

enum nvme_path_mode { NVME_PATH_STARTS, NVME_PATH_SERVES, NVME_PATH_ENDS };

#define NVME_TODO_ANA 1u /* read the log */
#define NVME_TODO_NS 2u  /* look at the namespace again */
#define NVME_ANA_UNKNOWN 0

struct nvme_path {
	/* set at start, then read only */
	const struct nvme_conf *conf;
	struct nvme_dev *dev;          /* NULL: a look for subsystems */
	char name[NSOCK_HOST_MAX + 8]; /* host and port, for people */
	char thread_name[16];
	struct nsock_target target;
	int ep, ev;
	pthread_t thread;
	bool started;
	struct nvme_queue *queues[1 + NVME_IO_QUEUES_MAX]; /* owned; NULL beyond conf.queues */
	uint8_t *buf; /* owned: NVME_BUF_BYTES, for the data of admin commands */

	atomic_bool stop;
	_Atomic unsigned todo;
	_Atomic unsigned nqueues; /* I/O queues that are ready */
	_Atomic unsigned next_queue;

	/* guarded by dev->lock */
	bool up;
	bool tried;       /* a first attempt is over */
	uint8_t ana;      /* enum nvme_ana_state, or NVME_ANA_UNKNOWN */
	struct err error; /* of the last attempt, "": it was good */
	int error_code;

	/* owned by the thread; ns is read by others while a queue is ready */
	enum nvme_path_mode mode;
	struct nsock_target
		pinned; /* where the admin queue is connected to: a name may have many addresses */
	uint16_t cntlid;
	uint64_t cap;
	uint32_t cc;
	struct nvme_id_ctrl id;
	struct nvme_ns ns;
	uint8_t ana_seen;
	uint64_t ka_due_ms, todo_due_ms, cancel_due_ms;
	unsigned backoff_ms, events;
	bool answered; /* a request was, since it came up */
};

int nvp_init(struct nvme_path *p, const struct nvme_conf *conf, struct nvme_dev *dev);
void nvp_done(struct nvme_path *p);
/* Where it leads, before it starts. */
void nvp_target(struct nvme_path *p, const char *host, uint16_t port, const struct bd_env *env);
int nvp_start(struct nvme_path *p, unsigned index, struct err *err);
void nvp_wake(struct nvme_path *p);
/* One round of the loop: receives and sends; waits up to timeout_ms for something to do. */
void nvp_poll(struct nvme_path *p, int timeout_ms);
/* True on p's thread, within its receiving. */
bool nvp_receives(const struct nvme_path *p);
/* What is due whatever the path waits for: deadlines, the keep-alive, the end of a cancelled device. */
void nvp_timers(struct nvme_path *p, uint64_t now);
/* Opens a connection and greets. */
int nvp_connect(struct nvme_path *p, struct nvme_queue *q, unsigned nslots, struct err *err);
/* The queue that has failed, or NULL. */
const struct nvme_queue *nvp_lost(const struct nvme_path *p);
/* Closes all connections and ends what was in flight. */
void nvp_drop(struct nvme_path *p);

/* ---- controllers (nvme_ctrl.c); on the path's thread ------------------- */

/* Connects the admin queue and makes the controller ready. */
int nvc_admin_up(struct nvme_path *p, struct err *err);
/* And I/O queues, and the namespace: p->ns. */
int nvc_io_up(struct nvme_path *p, struct err *err);
/* How many blocks the namespace has now. */
int nvc_count_blocks(struct nvme_path *p, uint64_t *out, struct err *err);
/* The state of the namespace's group, to p->ana_seen. */
int nvc_read_ana(struct nvme_path *p, struct err *err);
/* Reads len bytes of a log page to p->buf. */
int nvc_read_log(struct nvme_path *p, unsigned page, uint64_t off, uint32_t len, struct err *err);
/* Sends a keep-alive, and a look at the controller's state, without waiting for them. */
void nvc_keep_alive(struct nvme_path *p);
/* True when the controller confirmed it. */
bool nvc_shutdown(struct nvme_path *p);
/* How long a controller that hears nothing may go on with what it has. */
uint32_t nvc_settle_ms(const struct nvme_path *p);

/* ---- requests (nvme_io.c) ---------------------------------------------- */

void nvio_submit(struct bd *bd, struct bd_req *rq);
void nvio_kick(struct bd *bd);
/* Gives a slot to those that wait for one. */
void nvio_waiting(struct nvme_path *p);
int nvio_errno(uint16_t status, enum bd_op op);

/* ---- the device (nvme_tcp.c) ------------------------------------------- */

struct nvme_dev {
	struct bd bd;
	struct nvme_conf conf;
	struct bd_env env;
	unsigned npaths;
	struct nvme_path *paths[NVME_PATHS_MAX]; /* owned */
	pthread_t thread;
	bool started, opened;

	struct nvme_path *_Atomic active; /* NULL while paused */
	_Atomic unsigned on_wire;         /* requests that a path has */
	atomic_bool running, cancelled, stop;

	struct mutex lock;
	struct cond cond;
	/* guarded by lock */
	struct list parked; /* requests to give back to the core */
	uint64_t settle_until_ms;
	bool broken; /* the active path was lost: a pause is due */
	bool known;  /* ns is set */
	struct nvme_ns ns;
	uint64_t size_asked, size_answered; /* questions for the size, counted */
	uint64_t blocks_seen;               /* the answer */
	uint64_t told; /* grows with each change that the thread has to look at */
};

static inline struct nvme_dev *nvd_of(struct bd *bd)
{
	return CONTAINER_OF(bd, struct nvme_dev, bd);
}

/* From any path's thread, but for nvd_park(): any. */
/* rq is not answered and goes back to the core. */
void nvd_park(struct nvme_dev *d, struct bd_req *rq);
/* rq left its path. */
void nvd_off_wire(struct nvme_dev *d);
/* Compares p->ns with what the device is made of, or makes it (a part of) that while it is being opened. -ESTALE with a
 * sentence. */
int nvd_same_namespace(struct nvme_dev *d, const struct nvme_path *p, struct err *err);
void nvd_path_up(struct nvme_dev *d, struct nvme_path *p);
void nvd_path_failed(struct nvme_dev *d, struct nvme_path *p, int code, const struct err *err);
void nvd_path_down(struct nvme_dev *d, struct nvme_path *p);
/* Waits until nothing can be sent to p that does not know of its loss. */
void nvd_await_pause(struct nvme_dev *d, const struct nvme_path *p);
/* Requests that are given back are sent again after at_ms. */
void nvd_settle(struct nvme_dev *d, uint64_t at_ms);
void nvd_path_ana(struct nvme_dev *d, struct nvme_path *p, uint8_t state);
/* How many questions for the size there were, before a look; and what it saw. */
uint64_t nvd_size_asked(struct nvme_dev *d);
void nvd_blocks_seen(struct nvme_dev *d, uint64_t blocks, uint64_t asked);

/* The path that requests should use, or NULL. */
struct nvme_path *nvd_best_locked(const struct nvme_dev *d);
/* Without paths and threads; NULL: no memory. */
struct nvme_dev *nvd_new(const struct bd_env *env);
/* A namespace is known: makes it a device that runs. */
int nvd_run(struct nvme_dev *d, struct err *err);
/* Also of a half-made one. */
void nvd_free(struct nvme_dev *d);

/* ---- configuration (nvme_conf.c) ---------------------------------------- */

/* The parameters of a URI but for addresses. */
int nvme_conf_parse(const struct uri *uri, struct nvme_conf *out, struct err *err);
int nvme_uuid_parse(const char *text, uint8_t out[16]);
#define NVME_ID_TEXT 37 /* bytes of an id as a text */
/* As a UUID, or (without dashes) as an NGUID is written. */
void nvme_id_format(const uint8_t id[16], bool dashes, char out[NVME_ID_TEXT]);
/* "host", "host:port", "[v6]:port" */
int nvme_address_parse(const char *text, uint16_t port, struct nsock_target *out, struct err *err);

#endif
