/* SPDX-License-Identifier: Apache-2.0 */
/* provider.h - who makes volumes: one table of functions for each kind of storage system
 *
 * A provider stands for one configured array (or folder, or list of shares). The broker asks
 * it to make, find, grow and delete volumes; the driver on a cell has it map them. Kinds: "scaleio",
 * "onefs", "existing", "local"; provider.c knows them by name.
 *
 * Names. A volume is known by its owner, the id of its service instance: the array's name for it is
 * derived from that alone, so every call finds again what an earlier, killed one has begun. A handle
 * is what create() tells beyond it (the array's ids); it speeds a call up and guards it: where the
 * handle's id has another name by now, it is somebody else's volume.
 *
 * Repeats. Each call may come again after an answer that was lost, or beside a copy of itself
 * that is still on its way: create() ends in the same volume, delete(), unmap() and set_used() of what
 * is done already succeed. A call that failed has changed nothing, or something that the same call, or
 * delete(), puts right.
 *
 * Errors, all with a sentence that a developer or operator can read and that holds no secret:
 *   -ENOENT      the volume is not there            -EEXIST  its name is taken by something different
 *   -EBUSY       mapped, or used by somebody         -ENOSPC  no room, or a limit of the array
 *   -EINVAL      refused for what was asked          -ERANGE  smaller than it is, or than what is used
 *   -EACCES      credentials, role, certificate      -EOPNOTSUPP  this kind does not do that
 *   -EAGAIN      not now: network, time limit, a restart, a busy array. Trying later makes sense
 *   -EPROTO      an answer that makes no sense       -ENOMEM, -ECANCELED
 *
 * Threads: any, several at a time, except open() and close(). Calls wait for the array, within
 * the configured limits; none is made under a lock of the caller's. */
#ifndef BACKENDS_PROVIDERS_PROVIDER_H
#define BACKENDS_PROVIDERS_PROVIDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define PROVIDER_NAME_MAX 64        /* bytes of an array's name for a volume, with the NUL */
#define PROVIDER_NQN_MAX 224        /* bytes of an NVMe host's name, with the NUL */
#define PROVIDER_UNKNOWN UINT64_MAX /* of a number that the array does not tell */

struct provider_ops;
struct rest_stats; /* rest.h */

struct provider {
	const struct provider_ops *ops;
	char name[64]; /* its key in "providers" */
};

/* One volume that is meant. All borrowed. */
struct provider_ref {
	const char *owner; /* id of the service instance; NULL on a cell that has the handle only */
	const json_t *handle; /* of create(), or NULL: then it is looked for by its name */
	const json_t *plan;   /* the plan's object in the configuration */
};

struct provider_spec {
	uint64_t size;        /* bytes; 0: the kind's default, or none */
	const json_t *params; /* of the developer, checked against the schema; may be NULL */
};

struct provider_volume {
	char name[PROVIDER_NAME_MAX];
	uint64_t size, used; /* bytes; 0: no limit; PROVIDER_UNKNOWN */
	uint64_t created;    /* seconds since 1970; 0: unknown */
	bool fresh;          /* block: new, and the mark that it was never formatted stands */
	unsigned nhosts; /* to which it is mapped, or that may mount it by an entry of their own */
};

/* A machine that maps volumes; what is unknown is NULL. */
struct provider_host {
	const char *sdc_guid, *nqn, *address;
};

struct provider_mapping {
	char source[1024]; /* URI for persifs mount ("nfs://..."), or "" */
	char device[512];  /* block: link of /dev/disk/by-id that appears, or "" */
	uint64_t size;     /* bytes that the device has to have; 0: unknown */
	bool was_mapped;   /* before this call */
	/* with -EBUSY: who has it, for the sentence and for fencing */
	char holder[128];                  /* name or address */
	char holder_guid[64];              /* for a host of unmap(); "" unknown */
	char holder_nqn[PROVIDER_NQN_MAX]; /* the same */
	bool holder_connected;             /* as the array sees it */
	uint64_t holder_since; /* seconds since 1970 of its last sign of life; 0: unknown */
};

struct provider_capacity {
	uint64_t total, free; /* bytes; PROVIDER_UNKNOWN */
};

typedef bool provider_found(void *arg, const struct provider_volume *v); /* false: no more */

enum provider_kind {
	PROVIDER_FILES,    /* a share that is made; many cells at a time */
	PROVIDER_BLOCK,    /* a device; one cell at a time */
	PROVIDER_EXISTING, /* a share that is there already; nothing is made */
};

struct provider_ops {
	const char *type; /* in the configuration */
	enum provider_kind kind;
	/* config: the object in "providers", "type" included; unknown keys are -EINVAL with their
	 * name. Asks nobody: an array that is down does not keep a broker from starting. */
	int (*open)(const char *name, const json_t *config, struct provider **out, struct err *err);
	void (*close)(struct provider *p);
	/* Keys of a plan that are the provider's (pool, zone, ...), and their values. */
	int (*check_plan)(struct provider *p, const json_t *plan, struct err *err);
	/* Which keys those are, NULL-ended: the broker refuses others. */
	const char *const *plan_keys;

	/* The handle is a new object. Size is rounded up to what the array has; *size tells. */
	int (*create)(struct provider *p, const struct provider_ref *ref,
		      const struct provider_spec *spec, json_t **handle, uint64_t *size,
		      struct err *err);
	/* 0 also when it is not there. -EBUSY while a host other than a dummy is mapped. */
	int (*remove)(struct provider *p, const struct provider_ref *ref, struct err *err);
	int (*get)(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
		   struct err *err);
	/* Those whose names look as if made by us (name_prefix), foreign brokers' among them. */
	int (*list)(struct provider *p, provider_found *found, void *arg, struct err *err);
	/* The name that owner's volume has or would have. */
	void (*name_of)(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX]);
	/* Removes what list() told of, by its name: for sweeping. */
	int (*remove_name)(struct provider *p, const char *name, struct err *err);
	/* -ERANGE when it would become smaller. */
	int (*grow)(struct provider *p, const struct provider_ref *ref, uint64_t want,
		    uint64_t *size, struct err *err);

	/* What the driver is told: adds "source", and "uid" and "gid" where files have one owner. */
	int (*mount_config)(struct provider *p, const struct provider_ref *ref, json_t *config,
			    struct err *err);
	/* Makes it usable on the host. Block: exclusive; -EBUSY with *out->holder when another has it. */
	int (*map)(struct provider *p, const struct provider_ref *ref,
		   const struct provider_host *host, struct provider_mapping *out, struct err *err);
	int (*unmap)(struct provider *p, const struct provider_ref *ref,
		     const struct provider_host *host, struct err *err);
	/* Block: it holds a file system now; the mark of provider_volume.fresh goes for ever. */
	int (*set_used)(struct provider *p, const struct provider_ref *ref, struct err *err);

	/* of: what is copied; ref: what comes to be (owner and plan). A snapshot is a volume. */
	int (*snapshot)(struct provider *p, const struct provider_ref *of,
			const struct provider_ref *ref, json_t **handle, struct err *err);
	/* A volume of its own with what the snapshot holds. */
	int (*restore)(struct provider *p, const struct provider_ref *of,
		       const struct provider_ref *ref, const struct provider_spec *spec,
		       json_t **handle, uint64_t *size, struct err *err);

	int (*capacity)(struct provider *p, const json_t *plan, struct provider_capacity *out,
			struct err *err);
	/* 0: the array answers, knows us, and says that it is well. */
	int (*health)(struct provider *p, struct err *err);
	/* Calls to the array so far, for metrics; NULL: this kind makes none. */
	const struct rest_stats *(*stats)(const struct provider *p);
};

/* By "type" of config; -EINVAL with a sentence naming provider, key and value. */
int provider_open(const char *name, const json_t *config, struct provider **out, struct err *err);
void provider_close(struct provider *p); /* NULL is fine */

extern const struct provider_ops provider_scaleio, provider_onefs, provider_existing,
	provider_local;

/* prefix and 26 characters of base32 (lower case) of a 128-bit hash of owner: at most 31 characters for a
 * prefix of up to 5. The same for all kinds, so that a name can be recognised. */
void provider_make_name(const char *prefix, const char *owner, char buf[PROVIDER_NAME_MAX]);
bool provider_is_made_name(const char *prefix, const char *name);

#endif
