/* SPDX-License-Identifier: Apache-2.0 */
/* errand.h - what the supervisor opens for a worker that opens no paths
 *
 *   worker: errand_run()                 supervisor: errands_serve()
 *   errand, and one end of a
 *   socket pair for the answer  -------> checks it, opens, answers, in its own loop
 *   waits on the other end     <-------- result, with a descriptor
 *
 * Errands travel over the opener's request socket (opener.h). Each is answered at once: none
 * waits for anybody, so they need no child. The supervisor reads nothing that it opens.
 *
 * The worker names a process and one of two files in /proc that everybody may read, or nothing: the
 * log, the control socket, the device and the run file are the mount's own. ERRAND_FOLDER and
 * ERRAND_RUN_FILE tell the supervisor of things, and are refused from ERRAND_SEAL on, which the
 * worker sends before it reads its first foreign byte.
 *
 * A file handle leads to any object of its file system. So the worker gets them from the
 * supervisor, for descriptors that it has, and the supervisor opens only those that bear its own
 * tag: SipHash under a key that never leaves it. What the worker never had open stays out of reach.
 *
 * Threads: errands_*() on the only thread of the supervisor; errand_*() and the functions below
 * it on any thread of the worker. */
#ifndef FUSEFS_ERRAND_H
#define FUSEFS_ERRAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backends/backend.h"
#include "common/err.h"

#define ERRAND_WAIT_MS 2000 /* a supervisor that takes longer counts as gone for this errand */
#define ERRAND_NAME_MAX 32  /* bytes of a run file's name, with its end */

enum errand_kind {
	ERRAND_TASK_STATUS, /* pid: its /proc/PID/status; -> a descriptor */
	ERRAND_TASK_STAT,   /* pid: its /proc/PID/stat; -> a descriptor */
	ERRAND_LOG,         /* -> a socket of the log daemon */
	ERRAND_CONTROL,     /* -> the control socket, listening; once */
	ERRAND_DEVICE, /* -> /dev/fuse of a mount that was made after the worker started; once */
	ERRAND_HANDLE_GET, /* with a descriptor of an object on the folder's mount: -> its handle */
	ERRAND_HANDLE_OPEN, /* handle: -> an O_PATH descriptor */
	ERRAND_UNLINK_CONTROL,
	ERRAND_UNLINK_RUN_FILE,
	ERRAND_FOLDER,   /* with a descriptor: handles are for objects on its mount */
	ERRAND_RUN_FILE, /* name: in the runtime folder, for ERRAND_UNLINK_RUN_FILE */
	ERRAND_SEAL,
	ERRAND_KINDS
};

struct errand {
	uint32_t magic, kind; /* ERRAND_MAGIC, enum errand_kind */
	int32_t pid;
	char name[ERRAND_NAME_MAX];
	struct be_handle handle;
};
#define ERRAND_MAGIC 0x65727264u

struct errand_answer {
	int32_t rc; /* 0 or -errno */
	struct be_handle handle;
};

/* ---- the supervisor's side ------------------------------------------- */

struct errands {
	uint64_t key[2];
	int folder_fd; /* owned, as the next two; -1: none */
	int control_fd, device_fd;
	bool sealed;
	char run_file[ERRAND_NAME_MAX];
	char control_path[108]; /* "": none */
	dev_t control_dev;      /* of what was made at control_path */
	ino_t control_ino;
};

#define ERRANDS_NONE                                               \
	{                                                          \
		.folder_fd = -1, .control_fd = -1, .device_fd = -1 \
	}
int errands_init(struct errands *e); /* for a new worker; -errno without random bytes */
/* Removes the control socket if it is there yet; unused: and the run file, for nothing was done that it
 * stands for. */
void errands_done(struct errands *e, bool unused);
/* Listens at path, removed first: its mount is new. Only our own user can connect. */
int errands_listen(struct errands *e, const char *path, struct err *err);
/* Answers on sock, which stays the caller's. Never waits. */
void errands_serve(struct errands *e, const struct errand *req, int sock);

/* ---- the worker's side ----------------------------------------------- */

struct errand_client {
	int fd; /* the request socket, borrowed */
};

/* Runs one. fd: goes along, or -1. *out_fd: what came back, or -1; NULL when none is expected.
 * 0 or -errno; -EPIPE when the supervisor is gone, -ETIMEDOUT. */
int errand_run(const struct errand_client *c, struct errand *req, int fd, struct be_handle *handle,
	       int *out_fd);
/* One that names nothing. A descriptor (0 for the unlinks and ERRAND_SEAL), or -errno. */
int errand_plain(const struct errand_client *c, enum errand_kind kind);
/* /proc/PID/status or stat, open for reading; c NULL: opened here. -ENOENT: no such process. */
int errand_task(const struct errand_client *c, enum errand_kind kind, pid_t pid);

#endif
