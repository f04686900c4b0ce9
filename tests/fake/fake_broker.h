/* SPDX-License-Identifier: Apache-2.0 */
/* fake_broker.h - a whole broker without sockets, on the fake storage and a store in a folder of its own
 *
 * Services: "files" with the plans "small" (1 GiB, fixed), "big" (1 GiB to 10 GiB, may change to "bigger", "elsewhere" and
 * "small"), "bigger" (2 GiB to 20 GiB), "elsewhere" (another pool); "disks" with "disk" (block), "nfs" with "existing", "local" with
 * "folder". User "u", password "p". */
#ifndef TESTS_FAKE_FAKE_BROKER_H
#define TESTS_FAKE_FAKE_BROKER_H

#include "tools/broker/broker.h"
#include "tools/broker/osb.h"

struct fake_broker {
	char dir[64];
	struct broker b;
	bool has_workers;
};

/* more: merged over the configuration, stolen; NULL: nothing. -1 with a message. */
int fake_broker_start(struct fake_broker *f, json_t *more);
void fake_broker_stop(struct fake_broker *f);
/* Workers of this broker, as a process would end and begin. */
bool fake_broker_stop_workers(struct fake_broker *f, unsigned limit_ms);
int fake_broker_start_workers(struct fake_broker *f);
/* The file's object, the caller's. */
json_t *fake_broker_config(const struct fake_broker *f);
/* A configuration as a file would make it; NULL with a message. */
struct bconfig *fake_broker_load(json_t *all_steal);

struct fake_answer {
	unsigned status, retry_after;
	json_t *json; /* owned; NULL: no JSON */
	char *text;   /* owned */
};
/* path may have a query: service_id, plan_id, accepts_incomplete, operation, t. body NULL: none. */
struct fake_answer fake_call(struct fake_broker *f, const char *method, const char *path,
			     const char *body);
void fake_answer_done(struct fake_answer *a);
/* A member's text, "" without. */
const char *fake_text(const struct fake_answer *a, const char *key);
/* Polls last_operation until it is over: "succeeded", "failed", "410", or "" after 10 s. Static text of the thread. */
const char *fake_wait(struct fake_broker *f, const char *instance);

#endif
