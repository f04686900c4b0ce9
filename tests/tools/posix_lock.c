/* SPDX-License-Identifier: Apache-2.0 */
/* posix_lock.c - POSIX corners of fcntl() and flock() locks between processes
 *
 * A second process ("peer") does what it is told, one letter at a time over a
 * socket pair, and answers with the errno; nothing here waits for time to pass
 * but where a call must be seen to block. */
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/tools/posix.h"

#define BLOCK_MS 200 /* a call that has not returned after this time waits */

struct order {
	char what; /* see peer_obey() */
	short type;
	off_t start, len;
};

struct peer {
	pid_t pid;
	int sock;
};

/* A lock goes when the kernel lets go of the open file, which may be a moment
 * after close() or the end of its process. */
#define SOON(call)                                                                          \
	do {                                                                                \
		int tries_ = 500;                                                           \
		while ((call) < 0 && errno == EAGAIN && tries_-- > 0)                       \
			nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL); \
		if (tries_ <= 0)                                                            \
			FAIL("%s: %s after 5 s", #call, strerror(errno));                   \
	} while (0)

static int set_lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &l);
}

/* Who holds a lock that stands in the way; 0: nobody. */
static pid_t holder_of(int fd, short type, off_t start, off_t len, struct flock *out)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	OK(fcntl(fd, F_GETLK, &l));
	if (out)
		*out = l;
	return l.l_type == F_UNLCK ? 0 : l.l_pid;
}

static void on_signal(int sig)
{
	(void)sig;
}

static int peer_obey(int fd, const struct order *o)
{
	switch (o->what) {
	case 's': /* set */
		return set_lock(fd, F_SETLK, o->type, o->start, o->len);
	case 'w': /* set, wait */
		return set_lock(fd, F_SETLKW, o->type, o->start, o->len);
	case 'o': /* set, lock of the open file */
		return set_lock(fd, F_OFD_SETLK, o->type, o->start, o->len);
	case 'f': /* flock */
		return flock(fd, o->type);
	case 'c': /* open and close a second descriptor of the file */
		return close(open("f", O_RDONLY));
	default:
		errno = ENOSYS;
		return -1;
	}
}

static void peer_main(void *arg)
{
	int sock = *(int *)arg, fd = OK_INT(open("f", O_RDWR));
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART */
	struct order o;

	sigaction(SIGINT, &sa, NULL);
	while (read(sock, &o, sizeof o) == (ssize_t)sizeof o && o.what != 'q') {
		int err = peer_obey(fd, &o) ? errno : 0;

		EQUAL(write(sock, &err, sizeof err), sizeof err);
	}
}

static struct peer peer_start(void)
{
	int sv[2];
	struct peer p;

	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	fflush(stdout);
	p.pid = fork();
	if (p.pid == 0) {
		close(sv[0]);
		peer_main(&sv[1]);
		_exit(0);
	}
	close(sv[1]);
	p.sock = sv[0];
	return p;
}

static void peer_send(struct peer *p, char what, short type, off_t start, off_t len)
{
	struct order o = { what, type, start, len };

	EQUAL(write(p->sock, &o, sizeof o), sizeof o);
}

static int peer_answer(struct peer *p)
{
	int err;

	EQUAL(read(p->sock, &err, sizeof err), sizeof err);
	return err;
}

static bool peer_waits(struct peer *p)
{
	struct pollfd pfd = { .fd = p->sock, .events = POLLIN };

	return poll(&pfd, 1, BLOCK_MS) == 0;
}

static int peer_do(struct peer *p, char what, short type, off_t start, off_t len)
{
	peer_send(p, what, type, start, len);
	return peer_answer(p);
}

/* The peer's process ends by itself. */
static void peer_end(struct peer *p)
{
	peer_send(p, 'q', 0, 0, 0);
	join_child(p->pid);
	close(p->sock);
}

static int lock_file(void)
{
	make_file("f", "0123456789", 0644);
	return OK_INT(open("f", O_RDWR));
}

/* ---- fcntl ------------------------------------------------------------ */

static void fcntl_locks_conflict_between_processes(void)
{
	int fd = lock_file();
	struct peer p = peer_start();
	struct flock l;

	OK(set_lock(fd, F_SETLK, F_WRLCK, 10, 10));
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 10), 0);
	EQUAL(peer_do(&p, 's', F_WRLCK, 20, 10), 0);
	EQUAL(peer_do(&p, 's', F_RDLCK, 19, 1), EAGAIN);
	EQUAL(peer_do(&p, 's', F_RDLCK, 0, 0), EAGAIN);
	EQUAL(holder_of(fd, F_WRLCK, 0, 0, &l), p.pid);
	EQUAL(l.l_start, 0);
	EQUAL(l.l_len, 10);
	EQUAL(l.l_type, F_WRLCK);
	EQUAL(holder_of(fd, F_WRLCK, 25, 0, &l), p.pid);
	EQUAL(l.l_start, 20);
	EQUAL(holder_of(fd, F_WRLCK, 30, 0, NULL), 0);
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
	EQUAL(peer_do(&p, 's', F_RDLCK, 0, 0), 0);
	OK(set_lock(fd, F_SETLK, F_RDLCK, 0, 0));
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
	peer_end(&p);
	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	close(fd);
	fd = OK_INT(open("f", O_RDONLY));
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 0, 0), EBADF);
	close(fd);
}

static void fcntl_ranges_split_and_merge(void)
{
	int fd = lock_file();
	struct peer p = peer_start();

	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 100), 0);
	EQUAL(peer_do(&p, 's', F_UNLCK, 40, 20), 0);
	OK(set_lock(fd, F_SETLK, F_WRLCK, 40, 20));
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 39, 1), EAGAIN);
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 60, 1), EAGAIN);
	EQUAL(peer_do(&p, 's', F_RDLCK, 0, 20), 0); /* downgrade of a part */
	OK(set_lock(fd, F_SETLK, F_RDLCK, 0, 20));
	FAILS(set_lock(fd, F_SETLK, F_RDLCK, 20, 1), EAGAIN);
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 20), EAGAIN); /* upgrade refused */
	EQUAL(peer_do(&p, 's', F_UNLCK, 0, 0), 0);
	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	EQUAL(peer_do(&p, 's', F_RDLCK, 1ll << 40, 1), EAGAIN);
	peer_end(&p);
	close(fd);
}

static void fcntl_waiter_gets_the_lock_when_it_is_free(void)
{
	int fd = lock_file();
	struct peer p = peer_start(), q = peer_start();

	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 10));
	peer_send(&p, 'w', F_WRLCK, 5, 10);
	peer_send(&q, 'w', F_RDLCK, 0, 1);
	CHECK(peer_waits(&p));
	CHECK(peer_waits(&q));
	OK(set_lock(fd, F_SETLK, F_UNLCK, 5, 5));
	EQUAL(peer_answer(&p), 0);
	CHECK(peer_waits(&q));
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
	OK(close(fd)); /* the first part goes by close */
	EQUAL(peer_answer(&q), 0);
	peer_end(&p);
	peer_end(&q);
}

static void fcntl_wait_ends_with_eintr_at_a_signal(void)
{
	int fd = lock_file();
	struct peer p = peer_start();

	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	peer_send(&p, 'w', F_WRLCK, 0, 0);
	CHECK(peer_waits(&p));
	OK(kill(p.pid, SIGINT));
	EQUAL(peer_answer(&p), EINTR);
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
	EQUAL(holder_of(fd, F_WRLCK, 0, 0, NULL), 0); /* the waiter left nothing */
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0);
	peer_end(&p);
	close(fd);
}

static void fcntl_waiter_can_be_killed(void)
{
	int fd = lock_file(), status;
	struct peer p = peer_start();

	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	peer_send(&p, 'w', F_WRLCK, 0, 0);
	CHECK(peer_waits(&p));
	OK(kill(p.pid, SIGKILL));
	EQUAL(waitpid(p.pid, &status, 0), p.pid);
	CHECK(WIFSIGNALED(status));
	close(p.sock);
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
	p = peer_start();
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0);
	peer_end(&p);
	close(fd);
}

static void fcntl_lock_goes_at_any_close_and_at_exit(void)
{
	int fd = lock_file(), status;
	struct peer p = peer_start();

	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0);
	FAILS(set_lock(fd, F_SETLK, F_RDLCK, 0, 0), EAGAIN);
	EQUAL(peer_do(&p, 'c', 0, 0, 0), 0); /* closes another descriptor */
	OK(set_lock(fd, F_SETLK, F_RDLCK, 0, 0));
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0);
	peer_end(&p); /* a normal end */
	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
	p = peer_start();
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0);
	OK(kill(p.pid, SIGKILL));
	EQUAL(waitpid(p.pid, &status, 0), p.pid);
	close(p.sock);
	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 0));
	close(fd);
}

static void fcntl_deadlock_is_refused(void)
{
	int fd = lock_file();
	struct peer p = peer_start();

	NEED("deadlk");
	OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 1));
	EQUAL(peer_do(&p, 's', F_WRLCK, 1, 1), 0);
	peer_send(&p, 'w', F_WRLCK, 0, 1);
	CHECK(peer_waits(&p));
	FAILS(set_lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
	OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 1));
	EQUAL(peer_answer(&p), 0);
	peer_end(&p);
	close(fd);
}

static void open_file_locks_belong_to_the_open_file(void)
{
	NEED("ofd");
	make_file("f", "0123456789", 0644);
	struct peer p = peer_start(); /* before the files it must not inherit */
	int fd = OK_INT(open("f", O_RDWR)), fd2 = OK_INT(open("f", O_RDWR));

	OK(set_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	FAILS(set_lock(fd2, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
	FAILS(set_lock(fd2, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
	EQUAL(peer_do(&p, 'o', F_RDLCK, 5, 1), EAGAIN);
	int copy = dup(fd);

	OK(close(fd)); /* the dup keeps the lock */
	FAILS(set_lock(fd2, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
	OK(close(copy));
	SOON(set_lock(fd2, F_OFD_SETLK, F_WRLCK, 0, 10));
	peer_end(&p);
	close(fd2);
}

/* ---- flock ------------------------------------------------------------ */

static void flock_conflicts_and_shares(void)
{
	int fd = lock_file(), fd2 = OK_INT(open("f", O_RDONLY));
	struct peer p = peer_start();

	OK(flock(fd, LOCK_EX));
	EQUAL(peer_do(&p, 'f', LOCK_EX | LOCK_NB, 0, 0), EAGAIN);
	EQUAL(peer_do(&p, 'f', LOCK_SH | LOCK_NB, 0, 0), EAGAIN);
	FAILS(flock(fd2, LOCK_SH | LOCK_NB), EAGAIN); /* another open file, same process */
	OK(flock(fd, LOCK_SH));
	EQUAL(peer_do(&p, 'f', LOCK_SH | LOCK_NB, 0, 0), 0);
	OK(flock(fd2, LOCK_SH | LOCK_NB));
	OK(flock(fd2, LOCK_UN));
	FAILS(flock(fd, LOCK_EX | LOCK_NB), EAGAIN);
	EQUAL(peer_do(&p, 'f', LOCK_UN, 0, 0), 0);
	OK(flock(fd, LOCK_EX | LOCK_NB));
	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 0), 0); /* the two kinds do not meet */
	peer_end(&p);
	close(fd);
	close(fd2);
}

static void flock_waiter_gets_it_or_eintr(void)
{
	int fd = lock_file();
	struct peer p = peer_start();

	OK(flock(fd, LOCK_EX));
	peer_send(&p, 'f', LOCK_EX, 0, 0);
	CHECK(peer_waits(&p));
	OK(kill(p.pid, SIGINT));
	EQUAL(peer_answer(&p), EINTR);
	peer_send(&p, 'f', LOCK_SH, 0, 0);
	CHECK(peer_waits(&p));
	OK(flock(fd, LOCK_UN));
	EQUAL(peer_answer(&p), 0);
	FAILS(flock(fd, LOCK_EX | LOCK_NB), EAGAIN);
	peer_end(&p);
	SOON(flock(fd, LOCK_EX | LOCK_NB));
	close(fd);
}

static void hold_until_read(void *arg)
{
	char c;

	EQUAL(read(*(int *)arg, &c, 1), 1);
}

static void flock_goes_with_the_last_descriptor(void)
{
	int fd = lock_file(), fd2 = OK_INT(open("f", O_RDWR)), pipefd[2];

	OK(pipe(pipefd));
	OK(flock(fd, LOCK_EX));
	pid_t pid = start_child(hold_until_read, &pipefd[0]); /* inherits fd and lock */

	OK(close(fd));
	FAILS(flock(fd2, LOCK_EX | LOCK_NB), EAGAIN);
	EQUAL(write(pipefd[1], "x", 1), 1);
	join_child(pid);
	SOON(flock(fd2, LOCK_EX | LOCK_NB));
	close(fd2);
}

static void locks_work_on_an_unlinked_file(void)
{
	int fd = lock_file();
	struct peer p = peer_start();

	EQUAL(peer_do(&p, 's', F_WRLCK, 0, 5), 0);
	OK(unlink("f"));
	FAILS(set_lock(fd, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
	OK(set_lock(fd, F_SETLK, F_WRLCK, 5, 5));
	OK(flock(fd, LOCK_EX));
	EQUAL(peer_do(&p, 'f', LOCK_EX | LOCK_NB, 0, 0), EAGAIN);
	peer_end(&p);
	close(fd);
}

/* ---- locks order data ------------------------------------------------- */

#define ROUNDS 100

static void count_up(void *arg)
{
	bool whole = *(bool *)arg;

	for (int i = 0; i < ROUNDS; i++) {
		int fd = OK_INT(open("f", O_RDWR));
		uint64_t n;

		if (whole)
			OK(flock(fd, LOCK_EX));
		else
			OK(set_lock(fd, F_SETLKW, F_WRLCK, 0, 8));
		EQUAL(pread(fd, &n, sizeof n, 0), sizeof n);
		n++;
		EQUAL(pwrite(fd, &n, sizeof n, 0), sizeof n);
		OK(close(fd));
	}
}

static void counter_under_a_lock_loses_no_step(void)
{
	for (int whole = 0; whole < 2; whole++) {
		uint64_t n = 0;
		bool arg = whole;
		pid_t pid[4];
		int fd = OK_INT(open("f", O_CREAT | O_RDWR, 0644));

		EQUAL(pwrite(fd, &n, sizeof n, 0), sizeof n);
		for (int i = 0; i < 4; i++)
			pid[i] = start_child(count_up, &arg);
		for (int i = 0; i < 4; i++)
			join_child(pid[i]);
		EQUAL(pread(fd, &n, sizeof n, 0), sizeof n);
		EQUAL(n, 4 * ROUNDS);
		close(fd);
	}
}

static const struct subtest tests[] = {
	SUBTEST(fcntl_locks_conflict_between_processes),
	SUBTEST(fcntl_ranges_split_and_merge),
	SUBTEST(fcntl_waiter_gets_the_lock_when_it_is_free),
	SUBTEST(fcntl_wait_ends_with_eintr_at_a_signal),
	SUBTEST(fcntl_waiter_can_be_killed),
	SUBTEST(fcntl_lock_goes_at_any_close_and_at_exit),
	SUBTEST(fcntl_deadlock_is_refused),
	SUBTEST(open_file_locks_belong_to_the_open_file),
	SUBTEST(flock_conflicts_and_shares),
	SUBTEST(flock_waiter_gets_it_or_eintr),
	SUBTEST(flock_goes_with_the_last_descriptor),
	SUBTEST(locks_work_on_an_unlinked_file),
	SUBTEST(counter_under_a_lock_loses_no_step),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
