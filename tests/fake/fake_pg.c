/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_pg.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 600 /* of 50 ms each: sanitizers and busy machines are slow */
#define STOP_TRIES 200
#define PAUSE_NS 50000000L
#define BIN_GLOB "/usr/lib/postgresql/*/bin/postgres"

struct fake_pg {
	char dir[64], bin[PATH_MAX];
	pid_t pid; /* of the server, 0: none */
	unsigned schemas;
};

static bool find_bin(char bin[PATH_MAX])
{
	glob_t g;
	bool found = !glob(BIN_GLOB, 0, NULL, &g);

	/* The last is the newest. */
	if (found) {
		snprintf(bin, PATH_MAX, "%s", g.gl_pathv[g.gl_pathc - 1]);
		*strrchr(bin, '/') = '\0';
		globfree(&g);
	}
	return found;
}

static const struct passwd *user(void)
{
	const struct passwd *pw = getpwnam("postgres");

	return pw ? pw : getpwnam("nobody");
}

const char *fake_pg_missing(void)
{
	char bin[PATH_MAX];

	if (!find_bin(bin))
		return "PostgreSQL is not installed (" BIN_GLOB ")";
	return geteuid() || user() ? NULL : "there is no unprivileged user to run PostgreSQL";
}

static void pause_shortly(void)
{
	const struct timespec ts = { .tv_nsec = PAUSE_NS };

	nanosleep(&ts, NULL);
}

/* Becomes the program, its output in the folder's log. */
static void become(const struct fake_pg *pg, const char *const argv[], int end_signal)
{
	const struct passwd *pw = geteuid() ? NULL : user();
	char path[PATH_MAX + 32];
	int fd;

	if (pw && (setgroups(0, NULL) || setgid(pw->pw_gid) || setuid(pw->pw_uid)))
		_exit(126);
	/* After the change of user, which would undo it. */
	prctl(PR_SET_PDEATHSIG, end_signal);
	snprintf(path, sizeof path, "%s/log", pg->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (chdir(pg->dir) || fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		_exit(126);
	/* No connection of the test's may stay open in the server. */
	close_range(3, ~0U, 0);
	snprintf(path, sizeof path, "%s/%s", pg->bin, argv[0]);
	execv(path, (char *const *)argv);
	_exit(127);
}

static bool run_initdb(const struct fake_pg *pg)
{
	char data[128];
	const char *const argv[] = { "initdb",
				     "-D",
				     data,
				     "-A",
				     "trust",
				     "-U",
				     "postgres",
				     "-E",
				     "UTF8",
				     "-N",
				     "--locale=C.UTF-8",
				     "--no-instructions",
				     NULL };
	int status = -1;
	pid_t pid;

	snprintf(data, sizeof data, "%s/data", pg->dir);
	pid = fork();
	if (!pid)
		become(pg, argv, SIGKILL);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       !WEXITSTATUS(status);
}

static void base_uri(const struct fake_pg *pg, char *uri, size_t cap)
{
	snprintf(uri, cap, "postgresql:///postgres?host=%s&user=postgres", pg->dir);
}

static bool server_gone(struct fake_pg *pg)
{
	if (pg->pid && waitpid(pg->pid, NULL, WNOHANG) == pg->pid)
		pg->pid = 0;
	return !pg->pid;
}

bool fake_pg_start(struct fake_pg *pg)
{
	char data[128], uri[256];
	const char *const argv[] = { "postgres",
				     "-D",
				     data,
				     "-k",
				     pg->dir,
				     "-h",
				     "",
				     "-cfsync=off",
				     "-cfull_page_writes=off",
				     "-cmax_connections=60",
				     "-cshared_buffers=32MB",
				     NULL };

	snprintf(data, sizeof data, "%s/data", pg->dir);
	base_uri(pg, uri, sizeof uri);
	for (int i = 0; i < START_TRIES; i++) {
		/* One that was killed may still hold its memory for a moment. */
		if (server_gone(pg)) {
			pg->pid = fork();
			if (!pg->pid)
				become(pg, argv, SIGQUIT);
		}
		if (PQping(uri) == PQPING_OK)
			return true;
		pause_shortly();
	}
	return false;
}

void fake_pg_kill(struct fake_pg *pg)
{
	if (!pg->pid)
		return;
	kill(pg->pid, SIGCONT);
	kill(pg->pid, SIGQUIT);
	for (int i = 0; i < STOP_TRIES && !server_gone(pg); i++)
		pause_shortly();
	if (pg->pid) {
		kill(pg->pid, SIGKILL);
		waitpid(pg->pid, NULL, 0);
		pg->pid = 0;
	}
}

static void show_log(const struct fake_pg *pg)
{
	char path[128], line[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/log", pg->dir);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

struct fake_pg *fake_pg_new(void)
{
	struct fake_pg *pg = calloc(1, sizeof *pg);
	const struct passwd *pw = geteuid() ? NULL : user();

	if (!pg)
		return NULL;
	strcpy(pg->dir, "/tmp/persifs-pg.XXXXXX");
	if (!mkdtemp(pg->dir)) {
		free(pg);
		return NULL;
	}
	if (find_bin(pg->bin) && (!pw || !chown(pg->dir, pw->pw_uid, pw->pw_gid)) &&
	    run_initdb(pg) && fake_pg_start(pg))
		return pg;
	fprintf(stderr, "fake_pg: PostgreSQL does not start:\n");
	show_log(pg);
	fake_pg_free(pg);
	return NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	remove(path);
	return 0;
}

void fake_pg_free(struct fake_pg *pg)
{
	if (!pg)
		return;
	fake_pg_kill(pg);
	nftw(pg->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(pg);
}

static void no_notice(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static bool run_sql(const struct fake_pg *pg, const char *sql)
{
	char uri[256];
	PGconn *h;
	PGresult *r;
	bool ok;

	base_uri(pg, uri, sizeof uri);
	h = PQconnectdb(uri);
	PQsetNoticeProcessor(h, no_notice, NULL);
	r = PQexec(h, sql);
	ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
	if (!ok)
		fprintf(stderr, "fake_pg: %s", PQerrorMessage(h));
	PQclear(r);
	PQfinish(h);
	return ok;
}

bool fake_pg_fresh(struct fake_pg *pg, char *uri, size_t cap)
{
	char sql[64];
	unsigned n = ++pg->schemas;

	snprintf(sql, sizeof sql, "CREATE SCHEMA t%u", n);
	snprintf(uri, cap,
		 "postgresql:///postgres?host=%s&user=postgres&options=-csearch_path%%3Dt%u",
		 pg->dir, n);
	return run_sql(pg, sql);
}

bool fake_pg_disconnect_all(struct fake_pg *pg)
{
	return run_sql(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
			   " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
}

pid_t fake_pg_pid(const struct fake_pg *pg)
{
	return pg->pid;
}
