/* SPDX-License-Identifier: Apache-2.0 */
/* cred.c - see cred.h: a small direct-mapped table; a collision costs a reread. */
#include "fusefs/cred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/lock.h"
#include "fusefs/errand.h"

struct cred_slot {
	const struct be_cred *cred;
	pid_t pid; /* 0: no groups were asked for */
	uint64_t read_at_ms;
};

struct cred_cache {
	const struct errand_client *errands; /* borrowed; may be NULL */
	struct mutex lock;
	struct cred_slot slot[CRED_SLOTS]; /* guarded by lock */
};

struct cred_cache *cred_cache_new(const struct errand_client *errands)
{
	struct cred_cache *cc = calloc(1, sizeof *cc);

	if (!cc)
		return NULL;
	mutex_init(&cc->lock, LOCK_cred);
	cc->errands = errands;
	return cc;
}

void cred_cache_free(struct cred_cache *cc)
{
	if (!cc)
		return;
	for (int i = 0; i < CRED_SLOTS; i++)
		be_cred_put(cc->slot[i].cred);
	mutex_done(&cc->lock);
	free(cc);
}

static unsigned parse_groups(const char *text, gid_t *groups)
{
	unsigned n = 0;
	char *end;

	while (n < BE_CRED_GROUPS_MAX) {
		unsigned long g = strtoul(text, &end, 10);

		if (end == text)
			break;
		groups[n++] = (gid_t)g;
		text = end;
	}
	return n;
}

/* A line of the status: that the process is who asked. */
static bool is_other(const char *line, const char *word, unsigned id)
{
	size_t len = strlen(word);
	unsigned fs;

	return !strncmp(line, word, len) &&
	       (sscanf(line + len, "%*u %*u %*u %u", &fs) != 1 || fs != id);
}

/* The groups of a process as far as they can be seen. A number may be somebody else's by now, when the
 * program was killed or another thread of it has executed a set-id program, or since it is one of
 * another namespace: then there are none. */
static unsigned read_groups(const struct errand_client *errands, uid_t uid, gid_t gid, pid_t pid,
			    gid_t *groups)
{
	int fd = errand_task(errands, ERRAND_TASK_STATUS, pid);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t cap = 0;
	unsigned n = 0;

	if (!f) {
		cleanup_fd(&fd);
		return 0;
	}
	while (getline(&line, &cap, f) > 0) {
		if (is_other(line, "Uid:", uid) || is_other(line, "Gid:", gid))
			break;
		if (strncmp(line, "Groups:", 7))
			continue;
		n = parse_groups(line + 7, groups);
		break;
	}
	free(line);
	fclose(f);
	return n;
}

static const struct be_cred *make(const struct errand_client *errands, uid_t uid, gid_t gid,
				  pid_t pid)
{
	gid_t groups[BE_CRED_GROUPS_MAX];

	return be_cred_new(uid, gid, pid ? read_groups(errands, uid, gid, pid, groups) : 0, groups);
}

const struct be_cred *cred_for(struct cred_cache *cc, uid_t uid, gid_t gid, pid_t pid, bool groups)
{
	struct cred_slot *s;
	const struct be_cred *cred;
	uint64_t now = clock_ms();

	if (!groups || !uid)
		pid = 0;
	s = &cc->slot[hash_u64(((uint64_t)uid << 32 | gid) ^ ((uint64_t)(uint32_t)pid << 20)) %
		      CRED_SLOTS];
	mutex_lock(&cc->lock);
	if (s->cred && s->cred->uid == uid && s->cred->gid == gid && s->pid == pid &&
	    (!pid || now - s->read_at_ms < CRED_TTL_MS)) {
		cred = be_cred_get(s->cred);
		mutex_unlock(&cc->lock);
		return cred;
	}
	mutex_unlock(&cc->lock);
	cred = make(cc->errands, uid, gid, pid);
	if (!cred)
		return NULL;
	mutex_lock(&cc->lock);
	be_cred_put(s->cred);
	*s = (struct cred_slot){ be_cred_get(cred), pid, now };
	mutex_unlock(&cc->lock);
	return cred;
}
