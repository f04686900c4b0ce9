/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_live.c - see live.h: start, helpers, and connections that can be cut */
#include "tests/backend/live.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "common/log.h"

void live_die(const char *file, int line, const char *what, long long got, long long want)
{
	fprintf(stderr, "%s:%d: failed: %s (got %lld, want %lld)\n", file, line, what, got, want);
	exit(1);
}

/* ---- connections that can be cut -------------------------------------- */

static pthread_mutex_t cut_lock = PTHREAD_MUTEX_INITIALIZER;
static int cut_fds[64];
static unsigned cut_count;

static int cut_dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(want->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		close(fd);
		return err_set(err, -ECONNREFUSED, "no connection");
	}
	pthread_mutex_lock(&cut_lock);
	if (cut_count < ARRAY_LEN(cut_fds))
		cut_fds[cut_count++] = dup(fd);
	pthread_mutex_unlock(&cut_lock);
	return fd;
}

const struct be_env live_env_cut = { .nconnect = 2, .dial = cut_dial };

void live_cut(void)
{
	pthread_mutex_lock(&cut_lock);
	while (cut_count) {
		shutdown(cut_fds[--cut_count], SHUT_RDWR);
		close(cut_fds[cut_count]);
	}
	pthread_mutex_unlock(&cut_lock);
}

/* ---- helpers ---------------------------------------------------------- */

static void on_changed(void *arg, struct be_node *node, unsigned what)
{
	struct live *l = arg;

	(void)node;
	l->changed_attr += !!(what & BE_CHANGED_ATTR);
	l->changed_data += !!(what & BE_CHANGED_DATA);
	l->changed_names += !!(what & BE_CHANGED_NAMES);
}

struct backend *live_open(struct live *l, const struct be_env *env)
{
	struct backend *be;
	struct err err = { "" };

	if (backend_open(l->uri, NULL, env, &be, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return be;
}

struct be_node *live_lookup(struct live *l, struct backend *be, struct be_node *dir,
			    const char *name)
{
	struct be_entry e;

	CHECK_EQ(backend_lookup(be, &l->call, dir, name, &e), 0);
	return e.node;
}

struct be_node *live_dir_on(struct live *l, struct backend *be)
{
	char buf[BE_NODE_SAVE_MAX];
	ssize_t n = backend_node_save(l->be, l->dir, buf, sizeof buf);
	struct be_entry e;

	CHECK(n > 0);
	CHECK_EQ(backend_node_restore(be, buf, (size_t)n, &e), 0);
	return e.node;
}

struct be_node *live_file(struct live *l, const char *name)
{
	struct be_entry e;

	CHECK_EQ(backend_create(l->be, &l->call, l->dir, name, 0644, O_RDWR, &e), 0);
	backend_release(l->be, e.node, O_RDWR);
	return e.node;
}

struct be_node *live_mkdir(struct live *l, struct be_node *dir, const char *name)
{
	struct be_entry e;

	CHECK_EQ(backend_mkdir(l->be, &l->call, dir, name, 0777, &e), 0);
	return e.node;
}

struct be_attr live_attr(struct live *l, struct backend *be, struct be_node *node, unsigned flags)
{
	struct be_call call = l->call;
	struct be_attr attr;

	call.flags = flags;
	CHECK_EQ(backend_getattr(be, &call, node, &attr), 0);
	return attr;
}

int live_unlink(struct live *l, const char *name, struct be_removed *out)
{
	struct be_removed r = { .node = NULL };
	int rc = backend_unlink(l->be, &l->call, l->dir, name, &r);

	if (out)
		*out = r;
	be_node_put(r.node);
	return rc;
}

static bool count_emit(void *arg, const struct be_dirent *ent)
{
	if (ent->name[0] != '.' || ent->name_len > 2)
		++*(size_t *)arg;
	return true;
}

size_t live_count(struct live *l, struct be_node *dir)
{
	struct be_dir *d;
	size_t n = 0;

	CHECK_EQ(backend_opendir(l->be, &l->call, dir, &d), 0);
	CHECK_EQ(backend_readdir(l->be, &l->call, d, 0, false, count_emit, &n), 0);
	backend_closedir(l->be, d);
	return n;
}

ssize_t live_write(struct live *l, struct backend *be, struct be_node *node, const void *buf,
		   size_t len, uint64_t off, enum be_stable want)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct be_io io = { .node = node,
			    .cred = l->root,
			    .iov = &iov,
			    .niov = 1,
			    .off = off,
			    .len = len,
			    .want = want };

	return backend_write_wait(be, &io);
}

ssize_t live_read(struct live *l, struct backend *be, struct be_node *node, void *buf, size_t len,
		  uint64_t off)
{
	struct iovec iov = { buf, len };
	struct be_io io = {
		.node = node, .cred = l->root, .iov = &iov, .niov = 1, .off = off, .len = len
	};

	return backend_read_wait(be, &io);
}

/* ---- running ----------------------------------------------------------- */

static void remove_all(struct live *l, struct be_node *dir);

static bool remove_emit(void *arg, const struct be_dirent *ent)
{
	char *name = arg;

	if (ent->name_len <= 2 && ent->name[0] == '.')
		return true;
	memcpy(name, ent->name, ent->name_len);
	name[ent->name_len] = '\0';
	return false;
}

static void remove_one(struct live *l, struct be_node *dir, const char *name)
{
	struct be_removed r = { .node = NULL };
	struct be_node *node = live_lookup(l, l->be, dir, name);

	if (S_ISDIR(node->type)) {
		remove_all(l, node);
		CHECK_EQ(backend_rmdir(l->be, &l->call, dir, name, &r), 0);
	} else {
		CHECK_EQ(backend_unlink(l->be, &l->call, dir, name, &r), 0);
	}
	be_node_put(r.node);
	be_node_put(node);
}

static void remove_all(struct live *l, struct be_node *dir)
{
	for (;;) {
		char name[256] = "";
		struct be_dir *d;

		CHECK_EQ(backend_opendir(l->be, &l->call, dir, &d), 0);
		CHECK_EQ(backend_readdir(l->be, &l->call, d, 0, true, remove_emit, name), 0);
		backend_closedir(l->be, d);
		if (!*name)
			return;
		remove_one(l, dir, name);
	}
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc <= 2;
}

static void run(struct live *l, const struct scenario *s, int argc, char **argv)
{
	for (; s->name; s++) {
		struct timespec a, b;

		if (!wanted(s->name, argc, argv))
			continue;
		clock_gettime(CLOCK_MONOTONIC, &a);
		l->dir = live_mkdir(l, l->top, s->name);
		s->run(l);
		remove_all(l, l->dir);
		be_node_put(l->dir);
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("ok %-44s %7.1f ms\n", s->name,
		       (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct live l = { .uri = argc > 1 ? argv[1] : NULL };
	struct be_removed r = { .node = NULL };
	struct be_entry root;
	char name[64];

	if (!l.uri) {
		fprintf(stderr, "usage: nfs_live URI [scenario...]\n");
		return 2;
	}
	log_level = LOG_LEVEL_WARN;
	l.root = be_cred_new(0, 0, 0, NULL);
	l.user = be_cred_new(1000, 1000, 0, NULL);
	l.call.cred = l.root;
	l.as_user.cred = l.user;
	l.env = (struct be_env){ .nconnect = 2, .changed = on_changed, .changed_arg = &l };
	l.be = live_open(&l, &l.env);
	CHECK_EQ(backend_root(l.be, &root), 0);
	snprintf(name, sizeof name, "live-%ld", (long)getpid());
	l.top = live_mkdir(&l, root.node, name);
	run(&l, name_scenarios, argc, argv);
	run(&l, data_scenarios, argc, argv);
	remove_all(&l, l.top);
	CHECK_EQ(backend_rmdir(l.be, &l.call, root.node, name, &r), 0);
	be_node_put(r.node);
	be_node_put(l.top);
	be_node_put(root.node);
	backend_close(l.be);
	live_cut();
	be_cred_put(l.root);
	be_cred_put(l.user);
	return 0;
}
