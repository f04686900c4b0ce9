/* SPDX-License-Identifier: Apache-2.0 */
/* fake_pg.h - a PostgreSQL server of a test's own
 *
 * Debian's server, as an unprivileged user, in a new folder below /tmp, reached by a socket in it alone,
 * trusting whoever may open that; nothing is synced. It ends with the thread that started it,
 * and its folder with fake_pg_free(). One thread. */
#ifndef TESTS_FAKE_PG_H
#define TESTS_FAKE_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct fake_pg;

/* NULL: it is; otherwise what is missing, for the skipped test. */
const char *fake_pg_missing(void);
/* Takes about two seconds. NULL: it does not start; stderr says why. */
struct fake_pg *fake_pg_new(void);
void fake_pg_free(struct fake_pg *pg); /* NULL is fine */

/* "postgresql://..." of an empty schema that nobody else uses. */
bool fake_pg_fresh(struct fake_pg *pg, char *uri, size_t cap);
/* At once, as by a crash: what was committed is recovered at the next start. */
void fake_pg_kill(struct fake_pg *pg);
bool fake_pg_start(struct fake_pg *pg);
/* Ends all connections but its own. */
bool fake_pg_disconnect_all(struct fake_pg *pg);
pid_t fake_pg_pid(const struct fake_pg *pg);

#endif
