/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_nfsd.c - nfs-ganesha as the NFS service of the simulated cluster
 *
 * Its configuration is written anew after each change of an export, and it reads it at SIGHUP; its log
 * tells when it has. A client mounts by the path of OneFS, which is ganesha's Pseudo there. What may
 * mount is told by CLIENT blocks, of which ganesha takes the first that fits:
 *
 *   root_clients         RW, No_Root_Squash
 *   read_write_clients   RW, as map_root says
 *   read_only_clients    RO, as map_root says
 *   clients              RW, or RO with read_only, as map_root says
 *   all four empty       everybody, as clients
 *
 * "localhost" is the cluster itself, and no client here; names are left out, as a simulated cluster's
 * names are none that a resolver knows. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/sim/onefs_impl.h"

#define START_MS 20000
#define RELOAD_MS 5000
#define STOP_MS 5000
#define LOOK_MS 5 /* between two looks at its log */
#define IDS_MAX 65535
#define STARTED "NFS SERVER INITIALIZED"
#define RELOADED "Reread exports complete"

struct onefs_nfsd {
	struct mutex lock; /* one change at a time; guards what follows */
	pid_t pid;
	int pidfd, log;
	char *conf, *next, *logfile, *pidfile, *ifs; /* owned; ifs: the real folder */
	unsigned port, mount_port;
};

/* --- the configuration ------------------------------------------------------ */

/* The text can stand between quotation marks. */
static bool is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || strchr("\"\\$", *text))
			return false;
	return true;
}

static bool is_address(const char *text)
{
	char addr[64];
	size_t n = strcspn(text, "/");
	struct in6_addr a;

	snprintf(addr, sizeof addr, "%.*s", (int)(n < 63 ? n : 63), text);
	return (inet_pton(AF_INET, addr, &a) == 1 || inet_pton(AF_INET6, addr, &a) == 1) &&
	       strspn(text + n, "/.:0123456789abcdefABCDEF") == strlen(text + n);
}

static void write_clients(FILE *f, const json_t *e, const char *list, const char *access,
			  const char *squash)
{
	const json_t *all = json_object_get(e, list);
	bool any = false;

	for (size_t i = 0; i < json_array_size(all); i++) {
		const char *name = json_string_value(json_array_get(all, i));

		if (!name || !is_address(name))
			continue;
		fprintf(f, "%s%s", any ? ", " : "  CLIENT { Clients = ", name);
		any = true;
	}
	if (any)
		fprintf(f, "; Access_Type = %s; Squash = %s; Protocols = 3; }\n", access, squash);
}

static const json_t *member(struct onefs *o, const json_t *e, const char *name)
{
	const json_t *v = json_object_get(e, name);

	return v ? v : json_object_get(o->defaults, name);
}

static const char *mapped_to(const json_t *map)
{
	const char *id = json_string_value(json_object_get(json_object_get(map, "user"), "id"));

	return json_is_true(json_object_get(map, "enabled")) ? id ? id : "USER:nobody" : NULL;
}

static const char *squash_of(struct onefs *o, const json_t *e, long *anonymous)
{
	const char *root = mapped_to(member(o, e, "map_root"));
	const char *others = mapped_to(member(o, e, "map_non_root"));
	const char *all = mapped_to(json_object_get(e, "map_all"));
	const char *to = all ? all : others ? others : root;

	*anonymous = 65534;
	if (to && !strncmp(to, "UID:", 4))
		*anonymous = strtol(to + 4, NULL, 10);
	if (all || others)
		return "All_Squash";
	if (!root || !strcmp(root, "USER:root") || !strcmp(root, "UID:0"))
		return "No_Root_Squash";
	return "Root_Squash";
}

static bool is_open(const json_t *e)
{
	return !json_array_size(json_object_get(e, "clients")) &&
	       !json_array_size(json_object_get(e, "root_clients")) &&
	       !json_array_size(json_object_get(e, "read_write_clients")) &&
	       !json_array_size(json_object_get(e, "read_only_clients"));
}

static void write_export(struct onefs *o, FILE *f, const json_t *e, const char *path, json_int_t id)
{
	bool ro = json_is_true(json_object_get(e, "read_only"));
	const char *access = ro ? "RO" : "RW";
	long anonymous;
	const char *squash = squash_of(o, e, &anonymous);

	fprintf(f,
		"EXPORT { Export_Id = %lld; Path = \"%s%s\"; Pseudo = \"%s\"; Access_Type = %s;\n"
		"  Squash = %s; Anonymous_Uid = %ld; SecType = sys; Protocols = 3; Transports = TCP;\n"
		"  MaxRead = 1048576; MaxWrite = 1048576; PrefRead = 131072; PrefWrite = 524288;\n",
		(long long)id, o->nfsd->ifs, path + 4, path, is_open(e) ? access : "None", squash,
		anonymous);
	write_clients(f, e, "root_clients", access, "No_Root_Squash");
	write_clients(f, e, "read_write_clients", access, squash);
	write_clients(f, e, "read_only_clients", "RO", squash);
	write_clients(f, e, "clients", access, squash);
	fprintf(f, "  FSAL { Name = VFS; } }\n");
}

/* A path that is exported twice is served by the first of its exports. */
static void write_exports_locked(struct onefs *o, FILE *f)
{
	const char *key;
	json_t *e, *done = json_object();

	mutex_assert_held(&o->lock);
	json_object_foreach(json_object_get(o->state, "exports"), key, e) {
		const json_t *paths = json_object_get(e, "paths");
		json_int_t id = json_integer_value(json_object_get(e, "nfsd"));

		for (size_t i = 0; i < json_array_size(paths); i++, id--) {
			const char *path = json_string_value(json_array_get(paths, i));
			struct stat st;

			if (id < 1 || id > IDS_MAX || !is_plain(path) ||
			    json_object_get(done, path) || onefs_stat(o, path, &st) ||
			    !S_ISDIR(st.st_mode))
				continue;
			json_object_set_new(done, path, json_true());
			write_export(o, f, e, path, id);
		}
	}
	json_decref(done);
}

static int write_config(struct onefs *o)
{
	struct onefs_nfsd *n = o->nfsd;
	FILE *f = fopen(n->next, "we");
	bool bad;

	if (!f)
		return -errno;
	fprintf(f,
		"NFS_CORE_PARAM {\n"
		"  NFS_Port = %u; MNT_Port = %u; Bind_addr = 127.0.0.1; Protocols = 3;\n"
		"  Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;\n"
		"  Mount_Path_Pseudo = true;\n"
		"}\n"
		"NFSv4 { Graceless = true; }\n"
		"LOG { Default_Log_Level = EVENT; }\n",
		n->port, n->mount_port);
	mutex_lock(&o->lock);
	write_exports_locked(o, f);
	mutex_unlock(&o->lock);
	bad = ferror(f);
	if (fclose(f) || bad)
		return -EIO;
	return rename(n->next, n->conf) ? -errno : 0;
}

/* --- its log ---------------------------------------------------------------- */

static bool has_ended(const struct onefs_nfsd *n)
{
	struct pollfd p = { .fd = n->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* What the log says from its present place on, until it says text. */
static int wait_for(struct onefs_nfsd *n, const char *text, unsigned limit_ms)
{
	uint64_t deadline = clock_us() / 1000 + limit_ms;
	char buf[8192];
	size_t have = 0;

	for (;;) {
		bool over = has_ended(n) || clock_us() / 1000 >= deadline;
		ssize_t got;

		if (n->log < 0)
			n->log = open(n->logfile, O_RDONLY | O_CLOEXEC);
		while (n->log >= 0 && (got = read(n->log, buf + have, sizeof buf - 1 - have)) > 0) {
			size_t keep = strlen(text);

			have += (size_t)got;
			buf[have] = '\0';
			if (strstr(buf, text))
				return 0;
			keep = have < keep ? have : keep;
			memmove(buf, buf + have - keep, keep);
			have = keep;
		}
		if (over)
			return has_ended(n) ? -ECHILD : -ETIMEDOUT;
		poll(NULL, 0, LOOK_MS);
	}
}

/* --- the process ------------------------------------------------------------ */

static void be_ganesha(const struct onefs_nfsd *n, pid_t parent, int out)
{
	char program[] = "ganesha.nfsd", fg[] = "-F", f[] = "-f", p[] = "-p", l[] = "-L";
	char *argv[] = { program, fg, f, n->conf, p, n->pidfile, l, n->logfile, NULL };
	sigset_t none;
	int null;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	setpgid(0, 0); /* what is typed at the terminal is for the simulator */
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	execvp(argv[0], argv);
	_exit(127);
}

static int spawn(struct onefs_nfsd *n)
{
	AUTO_FREE char *name = NULL;
	AUTO_FD int out = -1;
	pid_t parent = getpid(), pid;

	if (asprintf(&name, "%s.out", n->logfile) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	out = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		be_ganesha(n, parent, out);
	n->pid = pid;
	n->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return n->pidfd < 0 ? -errno : 0;
}

static int make_names(struct onefs *o, struct onefs_nfsd *n)
{
	AUTO_FREE char *root = realpath(sim_settings(o->sim)->root, NULL);

	if (!root)
		return -errno;
	if (asprintf(&n->conf, "%s/ganesha.conf", root) < 0 ||
	    asprintf(&n->next, "%s/ganesha.conf.new", root) < 0 ||
	    asprintf(&n->logfile, "%s/ganesha.log", root) < 0 ||
	    asprintf(&n->pidfile, "%s/ganesha.pid", root) < 0 ||
	    asprintf(&n->ifs, "%s/ifs", root) < 0)
		return -ENOMEM;
	return is_plain(root) ? 0 : -EINVAL;
}

int onefs_nfsd_start(struct onefs *o, struct err *err)
{
	struct onefs_nfsd *n = calloc(1, sizeof *n);
	int rc;

	if (!n)
		return err_set(err, -ENOMEM, "no memory");
	o->nfsd = n;
	n->log = n->pidfd = -1;
	mutex_init(&n->lock, LOCK_onefs_nfsd);
	n->port = (unsigned)o->opt->nfs_port;
	n->mount_port = (unsigned)(o->opt->mount_port ? o->opt->mount_port : o->opt->nfs_port + 1);
	if (!n->port || n->mount_port > 65535)
		return err_set(err, -EINVAL, "ganesha wants nfs_port: a free port of 127.0.0.1");
	rc = make_names(o, n);
	if (rc)
		return err_set(err, rc, "ganesha: the root folder's name cannot be used");
	unlink(n->logfile);
	rc = write_config(o);
	rc = rc ? rc : spawn(n);
	if (rc)
		return err_set(err, rc, "ganesha.nfsd cannot be started: %s", strerror(-rc));
	rc = wait_for(n, STARTED, START_MS);
	if (rc)
		return err_set(err, rc, "ganesha.nfsd %s; see '%s'",
			       rc == -ECHILD ? "has ended" : "does not start", n->logfile);
	return 0;
}

static void end_process(struct onefs_nfsd *n)
{
	struct pollfd p = { .fd = n->pidfd, .events = POLLIN };

	kill(n->pid, SIGTERM);
	if (n->pidfd < 0 || poll(&p, 1, STOP_MS) <= 0)
		kill(n->pid, SIGKILL);
	while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void onefs_nfsd_stop(struct onefs *o)
{
	struct onefs_nfsd *n = o->nfsd;

	if (!n)
		return;
	if (n->pid > 0)
		end_process(n);
	if (n->pidfd >= 0)
		close(n->pidfd);
	if (n->log >= 0)
		close(n->log);
	mutex_done(&n->lock);
	free(n->conf);
	free(n->next);
	free(n->logfile);
	free(n->pidfile);
	free(n->ifs);
	free(n);
	o->nfsd = NULL;
}

void onefs_nfsd_reload(struct onefs *o)
{
	struct onefs_nfsd *n = o->nfsd;
	int rc;

	if (!n)
		return;
	mutex_lock(&n->lock);
	rc = write_config(o);
	if (!rc && n->log >= 0)
		lseek(n->log, 0, SEEK_END);
	if (!rc && (has_ended(n) || kill(n->pid, SIGHUP)))
		rc = -ECHILD;
	rc = rc ? rc : wait_for(n, RELOADED, RELOAD_MS);
	mutex_unlock(&n->lock);
	if (rc)
		log_error("onefs: ganesha.nfsd does not know the exports of now: %s; see '%s'",
			  rc == -ECHILD ? "it has ended" : strerror(-rc), n->logfile);
}
