/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - persifs-sim: a storage array's REST interface, simulated */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/nvme_cli.h"
#include "tools/sim/sim.h"
#include "tools/sim/tls.h"

#define EXIT_USAGE 2
#define SETTINGS_MAX 64
#define PASSWORD_MAX 1024 /* bytes of its file */

static const struct sim_kind *const kinds[] = { &sim_scaleio, &sim_onefs };

enum {
	O_LISTEN = 256,
	O_TLS,
	O_CERT,
	O_KEY,
	O_CERT_OUT,
	O_STATE,
	O_ROOT,
	O_USER,
	O_PASSWORD_FILE,
	O_SET,
	O_VERSION
};

static const struct option longs[] = { { "listen", required_argument, NULL, O_LISTEN },
				       { "tls", no_argument, NULL, O_TLS },
				       { "cert", required_argument, NULL, O_CERT },
				       { "key", required_argument, NULL, O_KEY },
				       { "cert-out", required_argument, NULL, O_CERT_OUT },
				       { "state", required_argument, NULL, O_STATE },
				       { "root", required_argument, NULL, O_ROOT },
				       { "user", required_argument, NULL, O_USER },
				       { "password-file", required_argument, NULL,
					 O_PASSWORD_FILE },
				       { "set", required_argument, NULL, O_SET },
				       { "help", no_argument, NULL, 'h' },
				       { "version", no_argument, NULL, O_VERSION },
				       { 0 } };

struct program {
	const struct sim_kind *kind;
	struct sim_config cfg;
	const char *settings[SETTINGS_MAX + 1];
	unsigned nsettings;
	const char *cert_out, *password_file;
	bool tls;
	char cert[PATH_MAX], key[PATH_MAX];
	char password[PASSWORD_MAX + 1];
};

static int complain(int status, const char *text)
{
	fprintf(stderr, "persifs-sim: %s\n", text);
	return status;
}

static void usage(void)
{
	puts("usage: persifs-sim scaleio|onefs [OPTION...]\n"
	     "       persifs-sim nvme [OPTION...]    see persifs-sim nvme --help\n"
	     "\n"
	     "Answers as a storage array would, for tests and demonstrations. Runs in the foreground.\n"
	     "\n"
	     "  --listen ADDRESS      tcp:addr:port, port 0 for any; default tcp:127.0.0.1:0\n"
	     "  --tls                 with a certificate made for it, unless --cert names one\n"
	     "  --cert FILE           certificate (PEM); with --key\n"
	     "  --key FILE            its key\n"
	     "  --cert-out FILE       where a made certificate goes, its key to FILE.key; default:\n"
	     "                        beside the state\n"
	     "  --state FILE          what outlives a restart; default: nothing does\n"
	     "  --root DIR            folder for what backs the volumes; default: none is made\n"
	     "  --user USER           who may log in; default admin\n"
	     "  --password-file FILE  its first line is the password; default \"password\"\n"
	     "  --set NAME=VALUE      a setting of the kind; may be repeated\n"
	     "  --help, --version");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		printf("\nSettings of %s:\n", kinds[i]->name);
		opt_print_help(kinds[i]->options, stdout);
	}
}

/* --- command line ---------------------------------------------------------- */

static int apply(struct program *p, int option, const char *arg)
{
	switch (option) {
	case O_LISTEN:
		p->cfg.listen = arg;
		break;
	case O_TLS:
		p->tls = true;
		break;
	case O_CERT:
		p->cfg.cert = arg;
		break;
	case O_KEY:
		p->cfg.key = arg;
		break;
	case O_CERT_OUT:
		p->cert_out = arg;
		break;
	case O_STATE:
		p->cfg.state = arg;
		break;
	case O_ROOT:
		p->cfg.root = arg;
		break;
	case O_USER:
		p->cfg.user = arg;
		break;
	case O_PASSWORD_FILE:
		p->password_file = arg;
		break;
	default:
		if (p->nsettings == SETTINGS_MAX)
			return complain(EXIT_USAGE, "too many --set");
		p->settings[p->nsettings++] = arg;
	}
	return -1;
}

/* Before anything is made: what is wrong with the command line is said as such. */
static int check_settings(const struct program *p)
{
	AUTO_FREE void *values = calloc(1, p->kind->options_size);
	struct err err, why;
	int rc = 0;

	if (!values || opt_defaults(p->kind->options, values))
		return complain(1, "out of memory");
	for (unsigned i = 0; i < p->nsettings && !rc; i++) {
		const char *text = p->settings[i], *value = strchr(text, '=');
		AUTO_FREE char *name = strndup(text, strcspn(text, "="));

		rc = opt_set(p->kind->options, values, name ? name : "", value ? value + 1 : NULL,
			     &why);
		if (rc)
			err_set(&err, rc, "--set %.100s: %.300s", text, why.text);
	}
	opt_done(p->kind->options, values);
	return rc ? complain(EXIT_USAGE, err.text) : -1;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct program *p)
{
	int ch, rc;

	while ((ch = getopt_long(argc, argv, "h", longs, NULL)) >= 0) {
		if (ch == '?')
			return EXIT_USAGE;
		if (ch == 'h')
			return usage(), 0;
		if (ch == O_VERSION)
			return puts("persifs-sim " PERSIFS_VERSION) < 0;
		rc = apply(p, ch, optarg ? optarg : "");
		if (rc >= 0)
			return rc;
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds) && optind < argc; i++)
		if (!strcmp(kinds[i]->name, argv[optind]))
			p->kind = kinds[i];
	if (!p->kind)
		return complain(EXIT_USAGE, "the kind of array is wanted first, see --help");
	if (optind + 1 < argc)
		return complain(EXIT_USAGE, "takes one argument, the kind of array, see --help");
	if (!p->cfg.cert != !p->cfg.key)
		return complain(EXIT_USAGE, "--cert and --key belong together");
	if (p->cert_out && (!p->tls || p->cfg.cert))
		return complain(EXIT_USAGE, "--cert-out wants --tls, and no --cert");
	if (strncmp(p->cfg.listen, "tcp:", 4) != 0)
		return complain(EXIT_USAGE, "--listen wants tcp:addr:port");
	return check_settings(p);
}

static int read_password(struct program *p, struct err *err)
{
	AUTO_FD int fd = -1;
	ssize_t n;

	if (!p->password_file)
		return 0;
	fd = open(p->password_file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, p->password, PASSWORD_MAX);
	if (n < 0)
		return err_set(err, -errno, "--password-file '%.300s': %s", p->password_file,
			       strerror(errno));
	p->password[strcspn(p->password, "\r\n")] = '\0';
	if (!*p->password)
		return err_set(err, -EINVAL,
			       "--password-file '%.300s' has no password in its first line",
			       p->password_file);
	p->cfg.password = p->password;
	return 0;
}

/* --- certificate ----------------------------------------------------------- */

/* A file without a name; its path lives as long as the process. */
static int memory_file(const char *text, char *path, struct err *err)
{
	int fd = memfd_create("persifs-sim", MFD_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return err_set(err, -EIO, "cannot keep a certificate in memory");
	snprintf(path, PATH_MAX, "/proc/self/fd/%d", fd);
	return 0;
}

static int certify_in_memory(struct program *p, const char *address, struct err *err)
{
	AUTO_FREE char *cert = NULL, *key = NULL;
	int rc = tls_make(address, &cert, &key, err);

	if (!rc)
		rc = memory_file(cert, p->cert, err);
	return rc ? rc : memory_file(key, p->key, err);
}

/* The address of "tcp:addr:port". */
static void address_of(const char *listen, char *out, size_t cap)
{
	const char *from = strchr(listen, ':'), *to = strrchr(listen, ':');

	from = from ? from + 1 : listen;
	if (*from == '[')
		from++;
	while (to > from && (to[-1] == ']'))
		to--;
	snprintf(out, cap, "%.*s", to > from ? (int)(to - from) : 0, from);
}

static int certify(struct program *p, struct err *err)
{
	char address[64];
	int rc, n;

	if (!p->tls || p->cfg.cert)
		return 0;
	address_of(p->cfg.listen, address, sizeof address);
	if (!p->cert_out && !p->cfg.state) {
		rc = certify_in_memory(p, address, err);
	} else {
		if (p->cert_out)
			n = snprintf(p->cert, sizeof p->cert, "%s", p->cert_out);
		else
			n = snprintf(p->cert, sizeof p->cert, "%s.pem", p->cfg.state);
		if (n >= PATH_MAX - 8)
			return err_set(err, -ENAMETOOLONG, "the certificate's name is too long");
		snprintf(p->key, sizeof p->key, "%.*s.key", PATH_MAX - 8, p->cert);
		rc = tls_make_files(address, p->cert, p->key, err);
	}
	p->cfg.cert = p->cert;
	p->cfg.key = p->key;
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

static void serve(const struct program *p, struct sim *sim, int sig_fd)
{
	struct pollfd wait = { .fd = sig_fd, .events = POLLIN };
	char address[64];
	bool v6;

	address_of(p->cfg.listen, address, sizeof address);
	v6 = strchr(address, ':');
	printf("persifs-sim: listening on %s://%s%s%s:%u\n", p->cfg.cert ? "https" : "http",
	       v6 ? "[" : "", address, v6 ? "]" : "", sim_port(sim));
	fflush(stdout);
	while (poll(&wait, 1, -1) < 0 && errno == EINTR)
		;
}

int main(int argc, char **argv)
{
	static struct program p = { .cfg = { .listen = "tcp:127.0.0.1:0" } };
	struct err err = { "" };
	struct sim *sim = NULL;
	int rc, sig_fd;

	if (argc > 1 && !strcmp(argv[1], "nvme"))
		return nvme_cli(argc - 1, argv + 1);
	rc = parse(argc, argv, &p);
	if (rc >= 0)
		return rc;
	p.cfg.settings = p.settings;
	sig_fd = block_signals();
	if (read_password(&p, &err) || certify(&p, &err) || sim_start(p.kind, &p.cfg, &sim, &err))
		return complain(1, err.text);
	/* The password is in memory. Not sooner: it would hide our own files of /proc from us. */
	prctl(PR_SET_DUMPABLE, 0);
	serve(&p, sim, sig_fd);
	sim_stop(sim);
	return 0;
}
