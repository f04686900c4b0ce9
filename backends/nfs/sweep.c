/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.c - silly names that nobody holds any more
 *
 * A daemon that is killed leaves the silly names of its open files behind. Whoever
 * removes one of a daemon that lives takes a program's open file away, so only proof
 * counts, never age: an open file may be as old as it likes.
 *
 * A silly name carries the number of the backend that gave it. A backend holds a lock on
 * a file of that number in the folder that daemons of this machine share (be_env.run_dir)
 * for as long as its process lives. Another one that gets the lock has the proof.
 * The folder goes with the machine or the container, and with it the proof: then
 * the names stay, hidden, until somebody removes them by hand.
 *
 * Names are looked at when a listing shows them: only there are they in the way. Our own
 * ones that no file holds are those whose removal failed; they get another try. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/nfs/silly_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define ALIVE_SUFFIX ".nfs"
enum { ID_DIGITS = 16, ALIVE_NAME_BYTES = 32 };

/* Whose names are nobody's: of backends whose locks were free when we came. */
struct proof {
	uint64_t id; /* our own number */
	unsigned ndead;
	uint64_t dead[NFS_DEAD_MAX];
};

enum { DEAD_KEEP_S = 30 * 24 * 3600 }; /* proofs are kept so long: for other exports */

static uint64_t new_id(void)
{
	uint64_t id;

	if (getrandom(&id, sizeof id, GRND_NONBLOCK) != sizeof id)
		id = (uint64_t)clock_wall().tv_nsec << 32 ^ (uint64_t)getpid();
	return id;
}

static void alive_name(uint64_t id, const char *suffix, char *out)
{
	snprintf(out, ALIVE_NAME_BYTES, "%016llx%s", (unsigned long long)id, suffix);
}

/* Our own lock. It is seen by others only when it is held. */
static int hold(uint64_t id, int dir, const char *name)
{
	char tmp[ALIVE_NAME_BYTES];
	AUTO_FD int fd = -1;

	alive_name(id, ".new", tmp);
	fd = openat(dir, tmp, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) || renameat(dir, tmp, dir, name)) {
		unlinkat(dir, tmp, 0);
		return -1;
	}
	return take_fd(&fd);
}

/* Is name the lock of a backend that is gone? */
static bool is_dead(int dir, const char *name, uint64_t *id)
{
	AUTO_FD int fd = -1;
	struct stat st;
	char *end;

	*id = strtoull(name, &end, 16);
	if (end != name + ID_DIGITS || strcmp(end, ALIVE_SUFFIX))
		return false;
	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &st))
		return false;
	if (clock_wall().tv_sec - st.st_mtim.tv_sec > DEAD_KEEP_S) {
		unlinkat(dir, name, 0);
		return false;
	}
	return true;
}

static void find_dead(struct proof *p, int dir_take)
{
	DIR *d = fdopendir(dir_take);
	struct dirent *e;

	if (!d) {
		close(dir_take);
		return;
	}
	while (p->ndead < NFS_DEAD_MAX && (e = readdir(d)))
		if (is_dead(dir_take, e->d_name, &p->dead[p->ndead]))
			p->ndead++;
	closedir(d);
}

int nsweep_prepare(const char *uri, const struct be_env *env, struct be_prepared *out,
		   struct err *err)
{
	struct proof *p = calloc(1, sizeof *p);
	const char *dir = env->run_dir;
	AUTO_FD int fd = -1;

	(void)uri;
	if (!p)
		return err_set(err, -ENOMEM, "no memory");
	out->state = p;
	p->id = new_id();
	fd = dir ? open(dir, O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	find_dead(p, fcntl(fd, F_DUPFD_CLOEXEC, 0));
	alive_name(p->id, ALIVE_SUFFIX, out->run_file);
	out->lock_fd = hold(p->id, fd, out->run_file);
	if (out->lock_fd < 0) {
		out->run_file[0] = '\0';
		log_warn("nfs: no lock in %s: should this daemon be killed, silly names of its "
			 "open files will stay",
			 dir);
	}
	return 0;
}

static void take_proof(struct nfs_backend *b, struct be_prepared *prepared)
{
	const struct proof *p = prepared->state;

	b->id = p->id;
	b->ndead = p->ndead;
	memcpy(b->dead, p->dead, p->ndead * sizeof *p->dead);
	b->alive_fd = take_fd(&prepared->lock_fd);
}

int nsweep_open(struct nfs_backend *b)
{
	struct be_prepared own = BE_PREPARED_NONE;
	int rc = 0;

	mutex_init(&b->silly_lock, LOCK_be_queue);
	list_init(&b->sillies);
	b->alive_fd = b->run_fd = -1;
	if (b->env.prepared && b->env.prepared->state) {
		take_proof(b, b->env.prepared);
	} else {
		rc = nsweep_prepare(NULL, &b->env, &own, NULL);
		if (own.state)
			take_proof(b, &own);
		if (b->env.run_dir)
			b->run_fd = open(b->env.run_dir, O_DIRECTORY | O_CLOEXEC);
		be_prepared_done(&own);
	}
	b->env.prepared = NULL;
	return rc;
}

static void remove_lock(struct nfs_backend *b)
{
	char name[ALIVE_NAME_BYTES];

	alive_name(b->id, ALIVE_SUFFIX, name);
	if (b->run_fd >= 0)
		unlinkat(b->run_fd, name, 0);
	else if (b->env.run_file_done)
		b->env.run_file_done(b->env.helper_arg);
}

void nsweep_close(struct nfs_backend *b)
{
	/* With names left behind the lock, now free, is the proof for the next one. */
	if (b->alive_fd >= 0 && !atomic_load(&b->silly_left) && list_empty(&b->sillies))
		remove_lock(b);
	cleanup_fd(&b->alive_fd);
	cleanup_fd(&b->run_fd);
	mutex_done(&b->silly_lock);
}

/* ---- names --------------------------------------------------------------- */

void nsweep_add(struct nfs_backend *b, struct nfs_silly *s)
{
	mutex_lock(&b->silly_lock);
	list_push_back(&b->sillies, &s->link);
	mutex_unlock(&b->silly_lock);
}

void nsweep_del(struct nfs_backend *b, struct nfs_silly *s)
{
	mutex_lock(&b->silly_lock);
	list_del(&s->link);
	mutex_unlock(&b->silly_lock);
}

static bool in_use(struct nfs_backend *b, const struct nfs_node *dir, const char *name)
{
	bool found = false;

	mutex_lock(&b->silly_lock);
	list_for_each(it, &b->sillies) {
		const struct nfs_silly *s = list_entry(it, struct nfs_silly, link);

		found |= s->dir == dir && !strcmp(s->name, name);
	}
	mutex_unlock(&b->silly_lock);
	return found;
}

/* Whose name is it: nobody's? */
static bool giver_is_gone(const struct nfs_backend *b, const char *name)
{
	uint64_t id;

	if (!silly_giver(name, &id))
		return false;
	for (unsigned i = 0; i < b->ndead; i++)
		if (b->dead[i] == id)
			return true;
	return id == b->id;
}

void nsweep_name(struct nfs_node *dir, const struct be_cred *cred, const uint8_t *text, size_t len)
{
	struct nfs_backend *b = nnode_backend(dir);
	struct nfs_silly *s;
	char name[sizeof s->name];

	if (len >= sizeof name || atomic_load(&dir->silly_pending) >= NFS_SWEEP_MAX)
		return;
	memcpy(name, text, len);
	name[len] = '\0';
	if (!giver_is_gone(b, name) || in_use(b, dir, name))
		return;
	s = silly_found(dir, name, cred);
	if (!s)
		return;
	log_info("nfs: '%s' is removed: nobody has it open any more", name);
	atomic_fetch_add(&dir->silly_swept, 1);
	silly_remove(s);
}

/* ---- folders that look empty ----------------------------------------------- */

/* Stops at the first name that a program would see. */
static bool seen(void *arg, const struct be_dirent *ent)
{
	(void)arg;
	return ent->name_len <= 2 && !memcmp(ent->name, "..", ent->name_len);
}

bool nsweep_dir(struct nfs_node *dir, const struct be_call *call)
{
	unsigned before = atomic_load(&dir->silly_swept);
	struct backend *be = dir->base.be;
	struct be_dir *d;

	if (be_nfs_opendir(be, call, &dir->base, &d))
		return false;
	be_nfs_readdir(be, call, d, 0, false, seen, NULL);
	be_nfs_closedir(be, d);
	return atomic_load(&dir->silly_swept) != before;
}
