/* SPDX-License-Identifier: Apache-2.0 */
/* live.h - scenarios against a real NFS server: what they share
 *
 * nfs_live URI [scenario...] opens the export, makes a folder of its own in it and
 * runs each scenario in a fresh folder below that. A failed check ends the program. */
#ifndef TESTS_BACKEND_LIVE_H
#define TESTS_BACKEND_LIVE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/backend.h"
#include "common/cleanup.h"

#define MIB (1u << 20)

#define CHECK(cond)                                                \
	do {                                                       \
		if (!(cond))                                       \
			live_die(__FILE__, __LINE__, #cond, 0, 0); \
	} while (0)
#define CHECK_EQ(got, want)                                                           \
	do {                                                                          \
		long long got_ = (long long)(got), want_ = (long long)(want);         \
		if (got_ != want_)                                                    \
			live_die(__FILE__, __LINE__, #got " == " #want, got_, want_); \
	} while (0)

__attribute__((noreturn)) void live_die(const char *file, int line, const char *what, long long got,
					long long want);

struct live {
	const char *uri;
	struct backend *be;
	struct be_env env;
	struct be_cred *root, *user; /* uid 0; uid 1000 */
	struct be_call call;         /* of root */
	struct be_call as_user;
	struct be_node *top; /* this program's folder, counted */
	struct be_node *dir; /* this scenario's, counted */
	_Atomic unsigned changed_attr, changed_data, changed_names;
};

struct scenario {
	const char *name;
	void (*run)(struct live *l);
};
extern const struct scenario name_scenarios[], data_scenarios[]; /* NULL-ended */

/* A second, independent client of the same export. */
struct backend *live_open(struct live *l, const struct be_env *env);
/* The node by the path of a folder entry, on any client; counted. */
struct be_node *live_lookup(struct live *l, struct backend *be, struct be_node *dir,
			    const char *name);
/* On another client: this scenario's folder, counted. */
struct be_node *live_dir_on(struct live *l, struct backend *be);
struct be_node *live_file(struct live *l, const char *name); /* made, closed; counted */
struct be_node *live_mkdir(struct live *l, struct be_node *dir, const char *name);
struct be_attr live_attr(struct live *l, struct backend *be, struct be_node *node, unsigned flags);
int live_unlink(struct live *l, const char *name, struct be_removed *out);
size_t live_count(struct live *l, struct be_node *dir); /* entries but the dots */
ssize_t live_write(struct live *l, struct backend *be, struct be_node *node, const void *buf,
		   size_t len, uint64_t off, enum be_stable want);
ssize_t live_read(struct live *l, struct backend *be, struct be_node *node, void *buf, size_t len,
		  uint64_t off);
/* Connections of live_open(l, &live_env_cut) can be broken. */
extern const struct be_env live_env_cut;
void live_cut(void);

#endif
