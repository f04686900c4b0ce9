/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - persifs-driver: the volume plugin of Docker and Volman
 *
 * Start: options, configuration, mount root, state file, services, discovery file,
 * the word on stdout. End: the same backwards; mounts stay. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/spawn.h"
#include "tools/driver/attach.h"
#include "tools/driver/budget.h"
#include "tools/driver/config.h"
#include "tools/driver/discovery.h"
#include "tools/driver/ldap.h"
#include "tools/driver/service.h"
#include "tools/driver/state.h"

#define EXIT_USAGE 2
#define CHECK_MS 10000 /* for `persifs mount` to refuse bad options */
#define STOP_MS \
	2000 /* for requests that run at SIGTERM; what is not done then is undone at the next start */

struct driver {
	struct config config;
	char root[PATH_MAX];
	int root_fd;                /* locked: one driver a root */
	int state_fd, state_dir_fd; /* likewise, of a state file elsewhere */
	char persifs[PATH_MAX];
	char reserved[NAME_MAX + 1];
	struct mounts mounts;
	struct directory directory;
	struct mountopts_rules rules;
	struct volumes_env env;
	char *arrays_state;    /* owned */
	struct attach *attach; /* NULL: no providers */
	struct volumes *volumes;
	struct budget *budget;
	struct metrics metrics;
	struct service service;
	char *discovery;
	int sig_fd;
};

static int complain(int status, const char *text)
{
	fprintf(stderr, "persifs-driver: %s\n", text);
	return status;
}

/* --- command line ---------------------------------------------------------- */

enum { O_CONFIG = 256, O_CHECK, O_LISTEN, O_ADMIN, O_ROOT, O_DISCOVERY, O_STATE, O_VERSION };

static const struct option longs[] = { { "config", required_argument, NULL, O_CONFIG },
				       { "check-config", no_argument, NULL, O_CHECK },
				       { "listen", required_argument, NULL, O_LISTEN },
				       { "admin", required_argument, NULL, O_ADMIN },
				       { "mount-root", required_argument, NULL, O_ROOT },
				       { "discovery", required_argument, NULL, O_DISCOVERY },
				       { "state", required_argument, NULL, O_STATE },
				       { "help", no_argument, NULL, 'h' },
				       { "version", no_argument, NULL, O_VERSION },
				       { 0 } };

static void usage(void)
{
	puts("usage: persifs-driver [OPTION...]\n"
	     "\n"
	     "Serves the volume plugin protocol of Docker and Volman. Runs in the foreground.\n"
	     "\n"
	     "  --config FILE           configuration (JSON), see persifs-driver.json(5)\n"
	     "  --check-config          say what is wrong with it, start nothing\n"
	     "  --listen ADDRESS        unix:/path or tcp:addr:port; may be repeated; default\n"
	     "                          unix:/run/docker/plugins/persifs.sock and tcp:127.0.0.1:7589\n"
	     "  --admin ADDR:PORT       /ping, /health, /metrics, /evacuate; default 127.0.0.1:7590\n"
	     "  --mount-root DIR        folder of the mountpoints; default /var/lib/persifs/volumes\n"
	     "  --discovery DIR         folder for persifs.json or persifs.spec\n"
	     "  --state FILE            default driver-state.json in the mount root\n"
	     "  --help, --version\n"
	     "\n"
	     "An option wins over the same key of the file. Keys of the file, beside listen,\n"
	     "sources and allowed_options (lists):");
	opt_print_help(config_table, stdout);
}

static int set(struct config *c, const char *key, const char *text, struct err *err)
{
	return opt_set(config_table, c, key, text, err);
}

static int apply(struct config *c, int option, const char *arg, bool *listens, struct err *err)
{
	switch (option) {
	case O_LISTEN:
		if (!*listens)
			config_clear_listen(c);
		*listens = true;
		return config_add_listen(c, arg, err);
	case O_ADMIN:
		return set(c, "admin", arg, err);
	case O_ROOT:
		return set(c, "mount_root", arg, err);
	case O_DISCOVERY:
		return set(c, "discovery", arg, err);
	case O_STATE:
		return set(c, "state", arg, err);
	default:
		return 0;
	}
}

/* Two passes: the file first, wherever it is named, then what overrides it.
 * -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct config *c, bool *check)
{
	const char *file = NULL;
	bool listens = false;
	struct err err;
	int ch;

	while ((ch = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		if (ch == '?')
			return EXIT_USAGE;
		if (ch == 'h')
			return usage(), 0;
		if (ch == O_VERSION)
			return puts("persifs-driver " PERSIFS_VERSION) < 0;
		if (ch == O_CONFIG)
			file = optarg;
		*check |= ch == O_CHECK;
	}
	if (optind < argc)
		return complain(EXIT_USAGE, "takes no arguments, see --help");
	if (file && config_load(c, file, &err))
		return complain(EXIT_USAGE, err.text);
	optind = 1;
	while ((ch = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
		if (apply(c, ch, optarg, &listens, &err))
			return complain(EXIT_USAGE, err.text);
	if (config_check(c, &err))
		return complain(EXIT_USAGE, err.text);
	return -1;
}

static void find_persifs(struct driver *d)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	d->mounts.persifs = d->config.persifs ? d->config.persifs : "persifs";
	if (d->config.persifs || n < 0)
		return;
	self[n] = '\0';
	if (snprintf(d->persifs, sizeof d->persifs, "%s/persifs", dirname(self)) <
		    (int)sizeof d->persifs &&
	    !access(d->persifs, X_OK))
		d->mounts.persifs = d->persifs;
}

/* What `persifs mount` says about the options that each mount will have. */
static int check_mount_defaults(struct driver *d, struct err *err)
{
	const struct config *c = &d->config;
	const char *argv[] = {
		NULL, "mount", "-o", c->mount_defaults, "memory:", "/dev/null", NULL
	};
	char text[SPAWN_STDERR_MAX];
	int status;

	find_persifs(d);
	argv[0] = d->mounts.persifs;
	if (c->persifs && strchr(c->persifs, '/') && access(c->persifs, X_OK))
		return err_set(err, -errno, "persifs '%.200s': %s", c->persifs, strerror(errno));
	if (!c->mount_defaults)
		return 0;
	status = spawn_wait(argv, CHECK_MS, NULL, text, sizeof text);
	if (status == MOUNTS_USAGE)
		return err_set(err, -EINVAL, "mount_defaults '%.100s': %.200s", c->mount_defaults,
			       text);
	return 0;
}

/* Opens the providers of the configuration, if there are any; they ask nobody yet. */
static int open_arrays(struct driver *d, struct err *err)
{
	const struct config *c = &d->config;
	struct attach_config ac = {
		.providers = c->providers,
		.device_dir = c->device_dir,
		.mkfs = c->mkfs,
		.cell = { .sdc_guid = c->cell_sdc_guid,
			  .drv_cfg = c->cell_drv_cfg,
			  .nqn = c->cell_nqn,
			  .address = c->cell_address },
		/* Docker's patience is for the whole mount. */
		.block_wait_ms = (unsigned)(c->block_wait < c->mount_timeout ? c->block_wait :
									       c->mount_timeout),
		.device_wait_ms = (unsigned)c->device_wait,
		.poll_ms = ATTACH_POLL_MS,
		.open = provider_open,
		.below = &mounts_real,
		.below_arg = &d->mounts,
	};

	if (!json_object_size(c->providers))
		return 0;
	if (attach_parse_fence(c->fence, &ac.fence, &ac.fence_s, err))
		return -EINVAL;
	if (asprintf(&d->arrays_state, "%s" ATTACH_STATE_TAIL, c->state) < 0) {
		d->arrays_state = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	ac.state = d->arrays_state;
	return attach_new(&ac, &d->attach, err);
}

static int check_arrays(struct driver *d, struct err *err)
{
	int rc = open_arrays(d, err);

	attach_free(d->attach);
	free(d->arrays_state);
	d->attach = NULL;
	d->arrays_state = NULL;
	return rc;
}

static int check_only(struct driver *d)
{
	struct err err, why;

	if (config_check_files(&d->config, &err))
		return complain(EXIT_USAGE, err.text);
	if (check_mount_defaults(d, &why) || check_arrays(d, &why)) {
		err_set(&err, 0, "%.150s: %.340s", d->config.file, why.text);
		return complain(EXIT_USAGE, err.text);
	}
	return puts("the configuration is valid") < 0;
}

/* --- start ----------------------------------------------------------------- */

/* Whoever can rename in the root could have us mount elsewhere. */
static int prepare_root(struct driver *d, struct err *err)
{
	struct stat st;

	if (paths_make_folder(d->config.mount_root, err))
		return -1;
	if (!realpath(d->config.mount_root, d->root))
		return err_set(err, -errno, "mount_root '%s': %s", d->config.mount_root,
			       strerror(errno));
	d->root_fd = open(d->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->root_fd < 0 || fstat(d->root_fd, &st))
		return err_set(err, -errno, "mount_root '%s': %s", d->root, strerror(errno));
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(
			err, -EPERM,
			"mount_root '%s' must belong to uid %u and be writable by nobody else",
			d->root, (unsigned)geteuid());
	if (flock(d->root_fd, LOCK_EX | LOCK_NB))
		return err_set(err, -EBUSY, "mount_root '%s': another driver works there", d->root);
	return 0;
}

/* Two drivers on one state file would each forget the other's volumes. In the root, the lock of that
 * holds; elsewhere a file beside it is locked, and nobody may use a folder that is another's root. */
static int lock_state(struct driver *d, const char *folder, struct err *err)
{
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof path, "%s" STATE_LOCK_TAIL, d->config.state) >= (int)sizeof path)
		return err_set(err, -ENAMETOOLONG, "state '%.200s': is too long", d->config.state);
	d->state_dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = d->state_dir_fd < 0 ? -1 : flock(d->state_dir_fd, LOCK_SH | LOCK_NB);
	if (!rc) {
		d->state_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		rc = d->state_fd < 0 ? -1 : flock(d->state_fd, LOCK_EX | LOCK_NB);
	}
	if (rc && errno == EWOULDBLOCK)
		return err_set(err, -EBUSY, "state '%s': another driver works with it",
			       d->config.state);
	return rc ? err_set(err, -errno, "state '%s': %s", path, strerror(errno)) : 0;
}

/* The name of the state file is none of a volume, when both lie in the root. */
static int prepare_state(struct driver *d, struct err *err)
{
	char dir[PATH_MAX], base[PATH_MAX], real[PATH_MAX];

	if (paths_make_parents(d->config.state, err))
		return -1;
	snprintf(dir, sizeof dir, "%s", d->config.state);
	snprintf(base, sizeof base, "%s", d->config.state);
	if (!realpath(dirname(dir), real))
		return err_set(err, -errno, "state '%s': %s", d->config.state, strerror(errno));
	if (strcmp(real, d->root))
		return lock_state(d, real, err);
	snprintf(d->reserved, sizeof d->reserved, "%s", basename(base));
	return 0;
}

static int save_state(void *arg, const char *text)
{
	const struct driver *d = arg;
	int rc = state_write(d->config.state, text, 0600);

	if (rc)
		log_error("driver: state file '%s': %s", d->config.state, strerror(-rc));
	return rc;
}

static void wire(struct driver *d)
{
	const struct config *c = &d->config;

	find_persifs(d);
	d->mounts.mount_timeout_ms = (unsigned)c->mount_timeout;
	d->directory = (struct directory){ .uri = c->ldap_uri,
					   .base = c->ldap_base,
					   .user_attr = c->ldap_user_attr,
					   .bind_dn = c->ldap_bind_dn,
					   .bind_password_file = c->ldap_bind_password_file,
					   .ca = c->ldap_ca,
					   .start_tls = c->ldap_start_tls };
	d->rules = (struct mountopts_rules){
		.sources = (const char *const *)c->sources,
		.nsources = c->nsources,
		.arrays = d->attach ? attach_sources(d->attach) : NULL,
		.options = (const char *const *)c->allowed_options,
		.noptions = c->nallowed_options,
		.defaults = c->mount_defaults,
		.identify = c->ldap_uri ? directory_identify : NULL,
		.identify_arg = &d->directory,
	};
	d->env = (struct volumes_env){ .root = d->root,
				       .reserved = *d->reserved ? d->reserved : NULL,
				       .mounts = d->attach ? &attach_ops : &mounts_real,
				       .mounts_arg = d->attach ? (void *)d->attach : &d->mounts,
				       .rules = &d->rules,
				       .unmount_wait_ms = (unsigned)c->unmount_wait,
				       .save = save_state,
				       .save_arg = d,
				       .share = budget_share,
				       .changed = budget_changed,
				       .budget_arg = d->budget };
}

static void adopt(void *arg, const char *name)
{
	volumes_adopt(arg, name);
}

/* A state file that makes no sense is put aside: what is mounted is known without it. */
static int restore(struct driver *d, struct err *err)
{
	char bad[PATH_MAX];
	json_t *state = NULL;
	struct failure f;
	int rc = d->attach ? attach_restore(d->attach, err) : 0;

	if (rc)
		return rc;
	rc = state_read(d->config.state, &state, err);
	if (!rc)
		rc = volumes_restore(d->volumes, state, err);
	json_decref(state);
	if (rc) {
		log_error("driver: %s; put aside", err->text);
		snprintf(bad, sizeof bad, "%.4000s" STATE_BAD_TAIL, d->config.state);
		if (rename(d->config.state, bad))
			return err_set(err, -errno, "cannot rename '%s': %s", d->config.state,
				       strerror(errno));
	}
	rc = mounts_real.below(&d->mounts, d->root, adopt, d->volumes);
	if (rc)
		return err_set(err, rc, "/proc/self/mountinfo: %s", strerror(-rc));
	mounts_sweep(d->root);
	if (volumes_save(d->volumes, &f))
		return err_set(err, -EIO, "%.400s", f.err.text);
	if (d->attach && attach_start(d->attach))
		return err_set(err, -EAGAIN, "cannot start a thread");
	return 0;
}

static int start(struct driver *d, struct err *err)
{
	int rc;

	if (prepare_root(d, err) || prepare_state(d, err))
		return -1;
	d->budget = budget_new(d->config.budget);
	if (!d->budget)
		return err_set(err, -ENOMEM, "out of memory");
	if (open_arrays(d, err))
		return -1;
	wire(d);
	d->volumes = volumes_new(&d->env);
	if (!d->volumes)
		return err_set(err, -ENOMEM, "out of memory");
	rc = restore(d, err);
	if (rc)
		return rc;
	d->service.end_fd = eventfd(0, EFD_CLOEXEC);
	d->service.api = (struct api){ .volumes = d->volumes,
				       .metrics = &d->metrics,
				       .scope = config_scopes[d->config.scope] };
	d->service.admin.volumes = d->volumes;
	d->service.admin.metrics = &d->metrics;
	d->service.admin.attach = d->attach;
	d->service.admin.root = d->root;
	d->service.admin.state = d->config.state;
	d->service.admin.evacuate_ms = (unsigned)d->config.evacuate_timeout;
	if (budget_start(d->budget, d->volumes))
		return err_set(err, -EAGAIN, "cannot start a thread");
	rc = service_start(&d->service, &d->config, err);
	if (!rc)
		rc = discovery_write(&d->config, d->service.tcp_port, &d->discovery, err);
	return rc;
}

/* --- the process ----------------------------------------------------------- */

static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void set_limits(void)
{
	struct rlimit files;

	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Opts in memory can hold passwords: no core file, and no look at it by others. */
	prctl(PR_SET_DUMPABLE, 0);
}

static void wait_for_end(const struct driver *d)
{
	struct pollfd p[2] = { { .fd = d->sig_fd, .events = POLLIN },
			       { .fd = d->service.end_fd, .events = POLLIN } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	log_info("driver: ends %s", p[0].revents ? "by a signal; mounts stay" : "after evacuation");
}

/* Mounts stay. Operations that do not end soon are left as kill -9 leaves them. */
static void stop(struct driver *d)
{
	bool ended;

	discovery_remove(d->discovery);
	if (d->volumes)
		volumes_close(d->volumes);
	ended = service_stop(&d->service, &d->config, STOP_MS) && attach_stop(d->attach, STOP_MS);
	if (!ended)
		_exit(0);
	budget_stop(d->budget);
	volumes_free(d->volumes);
	attach_free(d->attach);
	free(d->arrays_state);
	budget_free(d->budget);
	free(d->discovery);
	config_done(&d->config);
}

static struct driver driver;

int main(int argc, char **argv)
{
	struct driver *d = &driver;
	struct err err = { "" };
	bool check = false;
	int rc;

	if (config_defaults(&d->config))
		return complain(1, "out of memory");
	rc = parse(argc, argv, &d->config, &check);
	if (rc >= 0 || check) {
		rc = rc >= 0 ? rc : check_only(d);
		config_done(&d->config);
		return rc;
	}
	log_level = (enum log_level)d->config.log_level;
	d->sig_fd = block_signals();
	set_limits();
	if (start(d, &err)) {
		complain(1, err.text);
		stop(d);
		return 1;
	}
	puts("driver-server.started");
	fflush(stdout);
	log_info("driver: started, mount root '%s', program '%s'", d->root, d->mounts.persifs);
	wait_for_end(d);
	stop(d);
	return 0;
}
