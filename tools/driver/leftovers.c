/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers.c - see leftovers.h. The runtime folder holds a socket for each daemon, and a link to it,
 * MAJOR-MINOR.sock, for each of its sessions. */
#include "tools/driver/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "tools/driver/daemons.h"

#define TAIL ".sock"

struct search {
	int dir; /* the runtime folder; borrowed */
	struct leftover *all;
	size_t n;
};

static bool has_tail(const char *name)
{
	size_t n = strlen(name);

	return n > strlen(TAIL) && !strcmp(name + n - strlen(TAIL), TAIL);
}

static struct leftover *find_key(struct search *s, const char *name)
{
	size_t n = strlen(name) - strlen(TAIL);

	for (size_t i = 0; i < s->n; i++)
		if (strlen(s->all[i].key) == n && !strncmp(s->all[i].key, name, n))
			return &s->all[i];
	return NULL;
}

static void add_socket(struct search *s, const char *dir, const char *name)
{
	struct leftover *l = &s->all[s->n];
	struct stat st;

	if (s->n == LEFTOVERS_MAX || fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) ||
	    !S_ISSOCK(st.st_mode))
		return;
	if (snprintf(l->key, sizeof l->key, "%.*s", (int)(strlen(name) - strlen(TAIL)), name) >=
		    (int)sizeof l->key ||
	    snprintf(l->at, sizeof l->at, DAEMON_AT_SOCKET "%s/%s", dir, name) >= (int)sizeof l->at)
		return;
	l->had_session = false;
	s->n++;
}

static bool is_mounted(unsigned maj, unsigned min)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	AUTO_FREE char *line = NULL;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	bool found = !in || !e; /* who cannot look leaves it alone */
	size_t cap = 0;

	while (!found && getline(&line, &cap, in) > 0)
		found = !mount_entry_parse(line, e) && e->maj == maj && e->min == min;
	if (in)
		fclose(in);
	return found;
}

/* A session that is mounted takes its daemon off the list. */
static void look_at_link(struct search *s, const char *name)
{
	char target[NAME_MAX + 1];
	ssize_t len = readlinkat(s->dir, name, target, sizeof target - 1);
	struct leftover *l;
	unsigned maj, min;

	if (len <= 0 || sscanf(name, "%u-%u", &maj, &min) != 2)
		return;
	target[len] = '\0';
	l = has_tail(target) ? find_key(s, target) : NULL;
	if (!l)
		return;
	l->had_session = true;
	if (is_mounted(maj, min))
		*l = s->all[--s->n];
}

static void each_socket(struct search *s, DIR *d, const char *dir)
{
	const struct dirent *e;

	rewinddir(d);
	while ((e = readdir(d))) {
		if (!has_tail(e->d_name))
			continue;
		if (dir)
			add_socket(s, dir, e->d_name);
		else
			look_at_link(s, e->d_name);
	}
}

ssize_t leftovers_find(struct leftover **out)
{
	char dir[PATH_MAX];
	struct search s = { .all = calloc(LEFTOVERS_MAX + 1, sizeof *s.all) };
	int rc = s.all ? runtime_dir(dir, sizeof dir, NULL) : -ENOMEM;
	DIR *d = rc ? NULL : opendir(dir);

	if (!d) {
		free(s.all);
		return rc ? rc : -errno;
	}
	s.dir = dirfd(d);
	each_socket(&s, d, dir);
	each_socket(&s, d, NULL);
	closedir(d);
	*out = s.all;
	return (ssize_t)s.n;
}

void leftovers_drain(const struct leftover *all, size_t n, uint64_t deadline_ms, json_t *dirty)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t now = clock_ms();
		uint64_t left = now < deadline_ms ? deadline_ms - now : 0;
		struct err err = { "" };
		int rc = daemon_drain(all[i].at,
				      left > LEFTOVER_LOOK_MS ? (unsigned)left : LEFTOVER_LOOK_MS,
				      NULL, &err);

		/* One that is not there any more has ended, and it ends when all is written. */
		if (!rc || rc == -ECONNREFUSED || rc == -ENOENT || rc == -ECONNRESET)
			continue;
		log_warn("driver: evacuate: unmounted volume '%s': %s", all[i].key, err.text);
		json_array_append_new(dirty, json_string(all[i].key));
	}
}
