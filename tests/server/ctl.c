/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.c - the control socket: one command a connection, its answer, the end
 *
 * An answer that starts with "error: " is one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/hash.h"
#include "tests/server/server.h"

#define LINE_BYTES 4096
#define PATIENCE_S 2

struct ctl {
	struct source src;
	struct server *srv;
	int fd;
};

static struct ctl ctl;

/* ---- commands --------------------------------------------------------------------- */

static void cmd_fault(struct server *srv, char *args, FILE *out)
{
	const char *wrong = faults_set(&srv->faults, args);

	fputs(wrong ? "error: " : "ok\n", out);
	if (wrong)
		fprintf(out, "%s\n", wrong);
}

static void cmd_profile(struct server *srv, char *args, FILE *out)
{
	const char *wrong = faults_profile(&srv->faults, args);

	fputs(wrong ? "error: " : "ok\n", out);
	if (wrong)
		fprintf(out, "%s\n", wrong);
}

static void cmd_clear(struct server *srv, char *args, FILE *out)
{
	(void)args;
	faults_clear(&srv->faults);
	conns_unstall(srv);
	for (unsigned n = 0; n < srv->nnodes; n++)
		if (!srv->node[n].down)
			node_up(&srv->node[n]);
	fputs("ok\n", out);
}

static void cmd_restart(struct server *srv, char *args, FILE *out)
{
	for (unsigned n = 0; n < srv->nnodes; n++)
		node_restart(&srv->node[n], strcmp(args, "keep-drc") == 0);
	fputs("ok\n", out);
}

static void cmd_node(struct server *srv, char *args, FILE *out)
{
	char *what;
	unsigned long k = strtoul(args, &what, 10);

	if (k < 1 || k > srv->nnodes)
		fputs("error: no such node\n", out);
	else if (strcmp(what, " down") == 0)
		node_down(&srv->node[k - 1]);
	else if (strcmp(what, " up") == 0 && node_up(&srv->node[k - 1]))
		fputs("error: the port is taken\n", out);
	else if (strcmp(what, " up") != 0)
		fputs("error: down or up\n", out);
	fputs("ok\n", out);
}

static void cmd_stats(struct server *srv, char *args, FILE *out)
{
	struct rusage use;
	uint64_t unstable = 0;

	(void)args;
	for (uint64_t n = 0; n < srv->store.next_ino; n++)
		if (srv->store.inode[n])
			unstable += data_unstable(srv->store.inode[n]);
	getrusage(RUSAGE_SELF, &use);
	for (unsigned n = 0; n < 24; n++)
		if (srv->calls[n])
			fprintf(out, "call %s %lu\n", proc_name(n), srv->calls[n]);
	faults_stats(&srv->faults, out);
	fprintf(out, "replies %lu\ndrc_hits %lu\naccepted %lu\nconnections %u\n", srv->replies,
		srv->drc_hits, srv->accepted, srv->nconns);
	fprintf(out, "inodes %lu\nbytes %lu\nunstable_pages %lu\nlost_pages %lu\nmax_kib %ld\n",
		srv->store.files, srv->store.pages * PAGE_BYTES, unstable, srv->store.lost,
		use.ru_maxrss);
}

static void cmd_check(struct server *srv, char *args, FILE *out)
{
	char msg[256];

	(void)args;
	if (store_check(&srv->store, msg, sizeof msg))
		fputs("ok\n", out);
	else
		fprintf(out, "error: %s\n", msg);
}

static void copy_file(const struct inode *i, bool stable, FILE *out)
{
	uint64_t size = stable ? i->stable_size : i->size;
	uint8_t buf[PAGE_BYTES];

	for (uint64_t off = 0; off < size; off += sizeof buf) {
		size_t n = size - off < sizeof buf ? (size_t)(size - off) : sizeof buf;

		data_read(i, off, buf, n, stable);
		fwrite(buf, 1, n, out);
	}
}

static uint64_t sum_of(const struct inode *i, bool stable)
{
	uint64_t size = stable ? i->stable_size : i->size, sum = size;
	uint8_t buf[PAGE_BYTES];

	for (uint64_t off = 0; off < size; off += sizeof buf) {
		size_t n = size - off < sizeof buf ? (size_t)(size - off) : sizeof buf;

		data_read(i, off, buf, n, stable);
		sum = hash_bytes(buf, n, sum);
	}
	return sum;
}

static struct inode *find_path(struct server *srv, const char *path, FILE *out)
{
	struct inode *i = store_walk(&srv->store, path);

	if (!i)
		fprintf(out, "error: no %s\n", path);
	return i;
}

static void cmd_dump(struct server *srv, char *args, FILE *out)
{
	const struct inode *i = find_path(srv, args, out);

	if (!i)
		return;
	fprintf(out, "ino %lu type %d mode %o nlink %u uid %u gid %u size %lu\n", i->ino,
		(int)i->type, i->mode, i->nlink, i->uid, i->gid, i->size);
	fprintf(out, "mtime %ld.%09ld ctime %ld.%09ld\n", i->mtime.tv_sec, i->mtime.tv_nsec,
		i->ctime.tv_sec, i->ctime.tv_nsec);
	fprintf(out, "sum %016lx stable_sum %016lx stable_size %lu unstable_pages %lu\n",
		sum_of(i, false), sum_of(i, true), i->stable_size, data_unstable(i));
	for (size_t n = 0; n < i->nnames; n++)
		fprintf(out, "name %s ino %lu\n", i->names[n].text, i->names[n].inode->ino);
}

/* cat [stable] PATH */
static void cmd_cat(struct server *srv, char *args, FILE *out)
{
	bool stable = strncmp(args, "stable ", 7) == 0;
	const struct inode *i = find_path(srv, stable ? args + 7 : args, out);

	if (i)
		copy_file(i, stable, out);
}

static void cmd_limit(struct server *srv, char *args, FILE *out)
{
	srv->store.limit = strtoull(args, NULL, 0);
	fputs("ok\n", out);
}

/* quota UID BYTES */
static void cmd_quota(struct server *srv, char *args, FILE *out)
{
	char *bytes;

	srv->store.quota_uid = (uint32_t)strtoul(args, &bytes, 0);
	srv->store.quota = strtoull(bytes, NULL, 0);
	fputs("ok\n", out);
}

/* snapshot PATH: a folder in the root that is hidden and read-only from now on */
static void cmd_snapshot(struct server *srv, char *args, FILE *out)
{
	struct inode *i = find_path(srv, args, out);

	if (i)
		fputs(name_freeze(&srv->store, i) ? "ok\n" : "error: no folder in the root\n", out);
}

/* grain NS: of times from now on, and of the next FSINFO */
static void cmd_grain(struct server *srv, char *args, FILE *out)
{
	srv->store.grain_ns = strtoull(args, NULL, 0);
	fputs("ok\n", out);
}

/* export remove|restore|PATH: what MNT leads to, and whether handles are known */
static void cmd_export(struct server *srv, char *args, FILE *out)
{
	bool remove = strcmp(args, "remove") == 0;

	if (remove || strcmp(args, "restore") == 0)
		srv->unexported = remove;
	else if (strlen(args) >= sizeof srv->export || !find_path(srv, args, out))
		return;
	else
		strcpy(srv->export, args);
	fputs("ok\n", out);
}

/* handles root|all: become others, the old ones are stale */
static void cmd_handles(struct server *srv, char *args, FILE *out)
{
	if (strcmp(args, "root") == 0)
		srv->root_gen++;
	else if (strcmp(args, "all") == 0)
		srv->handle_gen++;
	else
		fputs("error: root or all\n", out);
	fputs("ok\n", out);
}

static void cmd_quit(struct server *srv, char *args, FILE *out)
{
	(void)args;
	srv->stop = true;
	fputs("ok\n", out);
}

static const struct {
	const char *name;
	void (*run)(struct server *srv, char *args, FILE *out);
} commands[] = {
	{ "fault", cmd_fault },     { "profile", cmd_profile }, { "clear", cmd_clear },
	{ "node", cmd_node },       { "restart", cmd_restart }, { "stats", cmd_stats },
	{ "check", cmd_check },     { "dump", cmd_dump },       { "cat", cmd_cat },
	{ "limit", cmd_limit },     { "quota", cmd_quota },     { "quit", cmd_quit },
	{ "export", cmd_export },   { "grain", cmd_grain },     { "snapshot", cmd_snapshot },
	{ "handles", cmd_handles },
};

static void run_command(struct server *srv, char *line, FILE *out)
{
	size_t n = strcspn(line, " ");

	server_log(srv, "command: %s", line);
	for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strlen(commands[i].name) == n && strncmp(line, commands[i].name, n) == 0) {
			commands[i].run(srv, line + n + (line[n] == ' '), out);
			return;
		}
	fputs("error: no such command\n", out);
}

/* ---- the socket --------------------------------------------------------------------- */

static void ctl_event(struct source *src, uint32_t events)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct ctl *c = (struct ctl *)src;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
	char line[LINE_BYTES];
	FILE *f;

	(void)events;
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	f = fdopen(fd, "r+");
	if (!f) {
		close(fd);
		return;
	}
	if (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		run_command(c->srv, line, f);
	}
	fclose(f);
}

static int ctl_socket(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a->sun_path)
		return -ENAMETOOLONG;
	memcpy(a->sun_path, path, strlen(path) + 1);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int ctl_listen(struct server *srv, const char *path)
{
	struct sockaddr_un a;
	int fd = ctl_socket(path, &a);

	if (fd < 0)
		return -1;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 8)) {
		close(fd);
		return -1;
	}
	ctl = (struct ctl){ .src = { ctl_event }, .srv = srv, .fd = fd };
	server_watch(srv, fd, &ctl.src, EPOLLIN, true);
	return 0;
}

int ctl_say(const char *path, const char *command)
{
	struct sockaddr_un a;
	int fd = ctl_socket(path, &a), rc = 0;
	char buf[65536];
	ssize_t n, got = 0;

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) ||
	    dprintf(fd, "%s\n", command) < 0) {
		perror(path);
		return 1;
	}
	while ((n = read(fd, buf, sizeof buf)) > 0) {
		if (!got && n > 6 && memcmp(buf, "error:", 6) == 0)
			rc = 1;
		got += n;
		fwrite(buf, 1, (size_t)n, rc ? stderr : stdout);
	}
	close(fd);
	return rc || !got ? 1 : 0;
}
