/* SPDX-License-Identifier: Apache-2.0 */
/* census.c - see census.h. The table of mounts is read once for all points, and mounts whose sockets
 * are links to the same one are those of one daemon. */
#include "tools/driver/census.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/runtime.h"
#include "tools/driver/daemons.h"

#define SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/* One point on its way to the daemon behind it. */
struct way {
	struct census_entry *entry;                         /* borrowed */
	char at[sizeof DAEMON_AT_SOCKET + SOCKET_PATH_MAX]; /* as a point; "" when there is none */
};

struct asking {
	struct way *ways; /* sorted by at */
	size_t n;
	_Atomic size_t next;
};

static int by_point(const void *a, const void *b)
{
	return strcmp(((const struct way *)a)->entry->point, ((const struct way *)b)->entry->point);
}

static int by_socket(const void *a, const void *b)
{
	return strcmp(((const struct way *)a)->at, ((const struct way *)b)->at);
}

/* Where the socket of the device leads: a link beside it, or itself. */
static void follow(unsigned maj, unsigned min, char *at, size_t cap)
{
	char path[SOCKET_PATH_MAX], target[SOCKET_PATH_MAX];
	ssize_t len;
	int dir;

	*at = '\0';
	if (runtime_socket_path(maj, min, path, sizeof path, NULL))
		return;
	len = readlink(path, target, sizeof target);
	if (len > 0 && (size_t)len < sizeof target) {
		dir = (int)(strrchr(path, '/') - path);
		snprintf(at, cap, DAEMON_AT_SOCKET "%.*s/%.*s", dir, path, (int)len, target);
	} else {
		snprintf(at, cap, DAEMON_AT_SOCKET "%s", path);
	}
}

/* The last line of a point is the topmost mount there. */
static void find_sockets(struct way *ways, size_t n)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	AUTO_FREE char *line = NULL;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	size_t cap = 0;

	while (in && e && getline(&line, &cap, in) > 0) {
		struct census_entry sought = { .point = e->point };
		struct way key = { .entry = &sought }, *w;

		if (mount_entry_parse(line, e))
			continue;
		w = bsearch(&key, ways, n, sizeof *ways, by_point);
		if (!w)
			continue;
		*w->at = *w->entry->device = '\0';
		if (strcmp(e->fstype, RUNTIME_FSTYPE))
			continue;
		snprintf(w->entry->device, sizeof w->entry->device, "%u:%u", e->maj, e->min);
		follow(e->maj, e->min, w->at, sizeof w->at);
	}
	if (in)
		fclose(in);
}

static bool is_first_of_daemon(const struct way *ways, size_t i)
{
	return *ways[i].at && (!i || strcmp(ways[i - 1].at, ways[i].at) != 0);
}

static void *ask_main(void *arg)
{
	struct asking *a = arg;
	size_t i;

	while ((i = atomic_fetch_add(&a->next, 1)) < a->n)
		if (is_first_of_daemon(a->ways, i))
			a->ways[i].entry->stat = daemon_stat(a->ways[i].at);
	return NULL;
}

static void ask_daemons(struct way *ways, size_t n)
{
	struct asking a = { .ways = ways, .n = n };
	pthread_t threads[CENSUS_PARALLEL_MAX];
	size_t started = 0, daemons = 0;

	for (size_t i = 0; i < n; i++)
		daemons += is_first_of_daemon(ways, i);
	while (started < CENSUS_PARALLEL_MAX && started + 1 < daemons &&
	       !pthread_create(&threads[started], NULL, ask_main, &a))
		started++;
	ask_main(&a);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 1; i < n; i++)
		if (*ways[i].at && !is_first_of_daemon(ways, i))
			ways[i].entry->stat = json_incref(ways[i - 1].entry->stat);
}

void census_take(struct census_entry *all, size_t n)
{
	AUTO_FREE struct way *ways = calloc(n + 1, sizeof *ways);

	for (size_t i = 0; i < n; i++) {
		all[i].stat = NULL;
		*all[i].device = '\0';
		if (!ways)
			continue;
		ways[i].entry = &all[i];
		if (!strncmp(all[i].point, DAEMON_AT_SOCKET, strlen(DAEMON_AT_SOCKET)))
			snprintf(ways[i].at, sizeof ways[i].at, "%s", all[i].point);
	}
	if (!ways)
		return;
	qsort(ways, n, sizeof *ways, by_point);
	find_sockets(ways, n);
	qsort(ways, n, sizeof *ways, by_socket);
	ask_daemons(ways, n);
}

void census_drop(struct census_entry *all, size_t n)
{
	for (size_t i = 0; all && i < n; i++)
		json_decref(all[i].stat);
}
