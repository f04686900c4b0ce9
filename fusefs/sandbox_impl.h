/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_impl.h - the parts of the sandbox
 *
 * Each function says what it did, or what is missing, by sandbox_said() and sandbox_lacks(). */
#ifndef FUSEFS_SANDBOX_IMPL_H
#define FUSEFS_SANDBOX_IMPL_H

#include "fusefs/sandbox.h"

void sandbox_said(struct sandbox *s, enum sandbox_part part, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void sandbox_lacks(struct sandbox *s, enum sandbox_part part, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* sandbox_mounts.c: wants CAP_SYS_ADMIN. */
void sandbox_mounts(struct sandbox *s, struct be_prepared *p);
/* sandbox_ids.c: ids and capabilities; what is chosen while there is /proc, and what is done then. 0, or
 * -errno with a sentence, about the option for one. */
struct sandbox_ids {
	uint32_t id;         /* to become; 0: none */
	uint64_t caps, keep; /* bits of capabilities: that we have, that stay */
};
int sandbox_ids_choose(struct sandbox *s, struct sandbox_ids *out, struct err *err);
int sandbox_ids_enter(struct sandbox *s, const struct sandbox_ids *ids, struct err *err);
/* sandbox_landlock.c: wants no_new_privs. handles: dir finds files again by handle. */
void sandbox_landlock(struct sandbox *s, struct be_prepared *p, bool handles);
/* sandbox_filter.c: the last one. */
void sandbox_filter(struct sandbox *s);

#endif
