/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of backend.h, many threads at once: what they leave is consistent. */
#include <pthread.h>

#include "tests/unit/backends/contract.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define TSAN 1
#else
#define TSAN 0
#endif

#define THREADS 4
#define DIRS 3
#define NAMES 6
#define LANE 60000
#define STEPS 1500
#define STEPS_SLOW 150

struct shared {
	struct fixture *f;
	struct be_node *dirs[DIRS];
	_Atomic unsigned failures; /* results that no order of events explains */
};

struct worker {
	struct shared *s;
	pthread_t thread;
	unsigned seed, lane;
};

static bool among(int rc, const int *allowed)
{
	for (; *allowed; allowed++)
		if (rc == *allowed)
			return true;
	return rc == 0;
}
#define EXPECT(w, rc, ...) expect(w, #rc, rc, (const int[]){ __VA_ARGS__, 0 })

static bool expect(struct worker *w, const char *what, int rc, const int *allowed)
{
	if (!among(rc, allowed)) {
		print_error("%s = %d\n", what, rc);
		atomic_fetch_add(&w->s->failures, 1);
	}
	return rc == 0;
}

static unsigned pick(struct worker *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static struct be_node *pick_dir(struct worker *w)
{
	return w->s->dirs[pick(w, DIRS)];
}

static const char *pick_name(struct worker *w)
{
	static const char *const names[NAMES] = { "a", "b", "c", "d", "e", "f" };

	return names[pick(w, NAMES)];
}

static void step_make(struct worker *w)
{
	struct fixture *f = w->s->f;
	struct be_node *dir = pick_dir(w);
	const char *name = pick_name(w);
	struct be_entry e;
	int rc;

	switch (pick(w, 3)) {
	case 0:
		rc = backend_mkdir(f->be, &f->call, dir, name, 0755, &e);
		break;
	case 1:
		rc = backend_symlink(f->be, &f->call, dir, name, "target", &e);
		break;
	default:
		rc = backend_mknod(f->be, &f->call, dir, name, S_IFREG | 0644, 0, &e);
		break;
	}
	/* -ENOENT, -ESTALE: it was made and taken away before it could be looked at. */
	if (EXPECT(w, rc, -EEXIST, -ENOENT, -ESTALE))
		be_node_put(e.node);
}

static void step_write(struct worker *w)
{
	struct fixture *f = w->s->f;
	/* Transfers never overlap: the cache sees to it, here each thread has a lane. */
	uint64_t lane = (uint64_t)w->lane * (LANE + 5000);
	char buf[5000];
	struct be_entry e;
	int rc = backend_create(f->be, &f->call, pick_dir(w), pick_name(w), 0644, O_RDWR, &e);

	if (!EXPECT(w, rc, -EISDIR, -ESTALE))
		return;
	memset(buf, 'w', sizeof buf);
	EXPECT(w, write_at(f, e.node, buf, sizeof buf, lane + pick(w, LANE)) > 0 ? 0 : -1, 0);
	EXPECT(w, read_at(f, e.node, buf, sizeof buf, lane + pick(w, LANE)) >= 0 ? 0 : -1, 0);
	if (pick(w, 3) == 0) {
		struct be_setattr set = { .valid = BE_SET_SIZE, .size = pick(w, 100000) };
		struct be_attr attr;

		EXPECT(w, backend_setattr(f->be, &f->call, e.node, &set, &attr), 0);
	}
	backend_release(f->be, e.node, O_RDWR);
	be_node_put(e.node);
}

static void step_remove(struct worker *w)
{
	struct fixture *f = w->s->f;
	struct be_removed r = { .node = NULL };
	struct be_node *dir = pick_dir(w);
	const char *name = pick_name(w);
	int rc;

	if (pick(w, 2))
		rc = backend_unlink(f->be, &f->call, dir, name, &r);
	else
		rc = backend_rmdir(f->be, &f->call, dir, name, &r);
	if (EXPECT(w, rc, -ENOENT, -EISDIR, -ENOTDIR, -ENOTEMPTY))
		be_node_put(r.node);
}

static void step_rename(struct worker *w)
{
	static const unsigned flags[] = { 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	struct fixture *f = w->s->f;
	int rc = rename_name(f, pick_dir(w), pick_name(w), pick_dir(w), pick_name(w),
			     flags[pick(w, 4)]);

	EXPECT(w, rc, -ENOENT, -EEXIST, -EISDIR, -ENOTDIR, -ENOTEMPTY, -EINVAL);
}

static void step_link(struct worker *w)
{
	struct fixture *f = w->s->f;
	struct be_entry from, to;

	if (!EXPECT(w, lookup(f, pick_dir(w), pick_name(w), &from), -ENOENT))
		return;
	if (EXPECT(w, backend_link(f->be, &f->call, from.node, pick_dir(w), pick_name(w), &to),
		   -EEXIST, -EPERM, -ENOENT))
		be_node_put(to.node);
	be_node_put(from.node);
}

static bool ignore_emit(void *arg, const struct be_dirent *ent)
{
	(void)arg;
	return ent->name_len > 0;
}

static void step_look(struct worker *w)
{
	struct fixture *f = w->s->f;
	struct be_entry e;
	struct be_attr attr;
	struct be_dir *d;

	if (EXPECT(w, lookup(f, pick_dir(w), pick_name(w), &e), -ENOENT)) {
		EXPECT(w, backend_getattr(f->be, &f->call, e.node, &attr), 0);
		be_node_put(e.node);
	}
	if (pick(w, 4) || !EXPECT(w, backend_opendir(f->be, &f->call, pick_dir(w), &d), 0))
		return;
	EXPECT(w, backend_readdir(f->be, &f->call, d, 0, true, ignore_emit, NULL), 0);
	backend_closedir(f->be, d);
}

static void *work(void *arg)
{
	static void (*const steps[])(struct worker *) = { step_make,   step_write, step_remove,
							  step_rename, step_link,  step_look };
	struct worker *w = arg;
	unsigned n = *store_now->layers ? STEPS_SLOW : STEPS;

	for (unsigned i = 0; i < n; i++)
		steps[pick(w, ARRAY_LEN(steps))](w);
	return NULL;
}

/* Counts the names that lead to each object, as fsck would. */
static void check_links(struct shared *s)
{
	struct fixture *f = s->f;

	for (unsigned i = 0; i < DIRS; i++) {
		struct listing l;
		unsigned subdirs = 0;

		list_all(f, s->dirs[i], &l);
		for (size_t k = 0; k < l.count; k++) {
			struct be_entry e;

			if (l.names[k][0] == '.')
				continue;
			assert_int_equal(lookup(f, s->dirs[i], l.names[k], &e), 0);
			subdirs += S_ISDIR(e.attr.mode);
			assert_true(e.attr.nlink >= 1 && e.attr.nlink <= DIRS * NAMES);
			be_node_put(e.node);
		}
		assert_int_equal(attr_of(f, s->dirs[i]).nlink, 2 + subdirs);
		listing_done(&l);
	}
}

/* Takes everything away; what is the last name must say so. */
static void empty_all(struct shared *s)
{
	struct fixture *f = s->f;

	for (unsigned i = 0; i < DIRS; i++) {
		struct listing l;

		list_all(f, s->dirs[i], &l);
		for (size_t k = 0; k < l.count; k++) {
			struct be_entry e;
			struct be_removed r = { .node = NULL };
			bool last;

			if (l.names[k][0] == '.')
				continue;
			assert_int_equal(lookup(f, s->dirs[i], l.names[k], &e), 0);
			last = S_ISDIR(e.attr.mode) || e.attr.nlink == 1;
			assert_int_equal((S_ISDIR(e.attr.mode) ? backend_rmdir : backend_unlink)(
						 f->be, &f->call, s->dirs[i], l.names[k], &r),
					 0);
			assert_ptr_equal(r.node, e.node);
			assert_int_equal(r.gone, last);
			be_node_put(r.node);
			be_node_put(e.node);
		}
		listing_done(&l);
	}
}

static void threads_leave_a_consistent_tree(void **state)
{
	struct fixture *f = *state;
	struct shared s = { .f = f };
	struct worker w[THREADS];
	char name[4];

	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof name, "d%u", i);
		s.dirs[i] = make_dir(f, f->root, name);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .s = &s, .seed = i + 1, .lane = i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	assert_int_equal(atomic_load(&s.failures), 0);
	check_links(&s);
	empty_all(&s);
	for (unsigned i = 0; i < DIRS; i++)
		be_node_put(s.dirs[i]);
}

/* ---- one file -------------------------------------------------------- */

#define PART (256 * 1024)
#define ROUNDS 40

struct writer {
	struct fixture *f;
	struct be_node *n;
	pthread_t thread;
	unsigned index;
	bool ok;
};

/* Writes and reads its own part, over and over, beside the others. */
static void *write_part(void *arg)
{
	struct writer *w = arg;
	unsigned char *out = malloc(PART), *in = malloc(PART);
	uint64_t base = (uint64_t)w->index * (PART + 100);
	unsigned rounds = *store_now->layers ? ROUNDS / 10 : ROUNDS;

	w->ok = true;
	for (unsigned i = 0; i < rounds; i++) {
		memset(out, (int)(w->index * 40 + i % 40 + 1), PART);
		w->ok &= write_at(w->f, w->n, out, PART, base) == PART;
		w->ok &= read_at(w->f, w->n, in, PART, base) == PART;
		w->ok &= !memcmp(in, out, PART);
	}
	free(out);
	free(in);
	return NULL;
}

static void writers_of_one_file_do_not_disturb_each_other(void **state)
{
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n");
	struct writer w[THREADS];

	open_file(f, n, O_RDWR);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .f = f, .n = n, .index = i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, write_part, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_true(w[i].ok);
	}
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
}

#if !TSAN
static void *truncate_repeatedly(void *arg)
{
	struct writer *w = arg;
	struct be_setattr set = { .valid = BE_SET_SIZE };
	struct be_attr attr;

	w->ok = true;
	for (unsigned i = 0; i < 200; i++) {
		set.size = i % 3 ? i * 997 : 0;
		w->ok &= backend_setattr(w->f->be, &w->f->call, w->n, &set, &attr) == 0;
	}
	return NULL;
}

static void *read_only_x(void *arg)
{
	struct writer *w = arg;
	char *buf = malloc(PART);

	w->ok = true;
	for (unsigned i = 0; i < 200 && w->ok; i++) {
		ssize_t n = read_at(w->f, w->n, buf, PART, 0);

		w->ok &= n >= 0;
		for (ssize_t k = 0; k < n; k++)
			w->ok &= buf[k] == 'x' || buf[k] == 0;
	}
	free(buf);
	return NULL;
}

static void *write_x(void *arg)
{
	struct writer *w = arg;
	char *buf = malloc(PART);

	memset(buf, 'x', PART);
	w->ok = true;
	for (unsigned i = 0; i < 200; i++)
		w->ok &= write_at(w->f, w->n, buf, 1 + i * 1000, i * 100) == 1 + i * 1000;
	free(buf);
	return NULL;
}

/* What a reader sees beside writes and truncations is data or zeros, never
 * what another file left in memory. */
static void readers_never_see_strange_bytes(void **state)
{
	static void *(*const bodies[])(void *) = { write_x, read_only_x, truncate_repeatedly };
	struct fixture *f = *state;
	struct be_node *n = make_file(f, f->root, "n"), *dirt = make_file(f, f->root, "dirt");
	struct writer w[ARRAY_LEN(bodies)];
	char *junk = malloc(4 * PART);

	memset(junk, 'J', 4 * PART);
	open_file(f, dirt, O_RDWR);
	assert_int_equal(write_at(f, dirt, junk, 4 * PART, 0), 4 * PART);
	backend_release(f->be, dirt, O_RDWR);
	be_node_put(dirt);
	assert_int_equal(unlink_name(f, f->root, "dirt"), 0);
	free(junk);
	open_file(f, n, O_RDWR);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		w[i] = (struct writer){ .f = f, .n = n };
		assert_int_equal(pthread_create(&w[i].thread, NULL, bodies[i], &w[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		pthread_join(w[i].thread, NULL);
		assert_true(w[i].ok);
	}
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
}
#endif

/* ---- references ------------------------------------------------------- */

static void *look_and_drop(void *arg)
{
	struct writer *w = arg;
	struct be_entry e;

	w->ok = true;
	for (unsigned i = 0; i < 3000; i++) {
		if (lookup(w->f, w->f->root, "n", &e)) {
			w->ok = false;
			continue;
		}
		w->ok &= e.node->ino == e.attr.ino && e.node->be != NULL;
		be_node_put(e.node);
	}
	return NULL;
}

/* The last reference goes in one thread while another looks the name up. */
static void node_is_not_revived_after_its_last_put(void **state)
{
	struct fixture *f = *state;
	struct writer w[THREADS];

	be_node_put(make_file(f, f->root, "n"));
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .f = f };
		assert_int_equal(pthread_create(&w[i].thread, NULL, look_and_drop, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_true(w[i].ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONTRACT_TEST(threads_leave_a_consistent_tree),
		CONTRACT_TEST(writers_of_one_file_do_not_disturb_each_other),
#if !TSAN /* bytes of one read and one write may mix, as in any store */
		CONTRACT_TEST(readers_never_see_strange_bytes),
#endif
		CONTRACT_TEST(node_is_not_revived_after_its_last_put),
	};

	return contract_run("race", tests, ARRAY_LEN(tests));
}
