/* SPDX-License-Identifier: Apache-2.0 */
/* fake_provider.h - a storage system in memory that fails, hangs and loses answers as it is told
 *
 * Types "fake-files" and "fake-block" (block plans may have the key pool). All providers of a process share one
 * set of volumes. Threads: any. */
#ifndef TESTS_FAKE_FAKE_PROVIDER_H
#define TESTS_FAKE_FAKE_PROVIDER_H

#include "backends/providers/provider.h"

enum fake_call {
	FAKE_CREATE,
	FAKE_REMOVE,
	FAKE_GET,
	FAKE_LIST,
	FAKE_GROW,
	FAKE_HEALTH,
	FAKE_CALLS
};

/* For bconfig.open_provider; other types go to provider_open(). */
int fake_provider_open(const char *name, const json_t *config, struct provider **out,
		       struct err *err);
/* No volumes, no faults, nobody hangs. */
void fake_provider_reset(void);
/* Calls number after+1 .. after+times (0: all later ones) fail with rc; executed: after they did their work, as
 * when an answer is lost. */
void fake_provider_fail(enum fake_call call, unsigned after, unsigned times, int rc, bool executed);
/* Such calls stand before their work until fake_provider_release(). */
void fake_provider_hang(enum fake_call call);
void fake_provider_release(void);
/* Until n calls hang; false after 5 s. */
bool fake_provider_wait_hanging(unsigned n);
unsigned fake_provider_volumes(void);
unsigned fake_provider_calls(enum fake_call call);
/* A volume that no broker knows; created: seconds since 1970. */
void fake_provider_add(const char *owner, uint64_t size, uint64_t created);
void fake_provider_drop(const char *owner);
void fake_provider_resize(const char *owner, uint64_t size);
void fake_provider_set_hosts(const char *owner, unsigned n);

#endif
