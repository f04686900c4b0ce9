/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_live_names.c - scenarios about names, attributes, directories */
#include "tests/backend/live.h"

#include <linux/fs.h>
#include <sys/sysmacros.h>

/* ---- open ---------------------------------------------------------------- */

static void expect_open_error(const char *uri, const char *words)
{
	struct be_env env = { .nconnect = 1 };
	struct backend *be;
	struct err err = { "" };

	if (!backend_open(uri, NULL, &env, &be, &err) || !strstr(err.text, words)) {
		fprintf(stderr, "%s: want '%s', got '%s'\n", uri, words, err.text);
		exit(1);
	}
}

static void open_errors_say_what_is_wrong(struct live *l)
{
	char uri[1024];
	const char *query = strchr(l->uri, '?');

	expect_open_error("nfs://no-such-host.invalid/x?nfsport=1&mountport=1",
			  "cannot resolve host 'no-such-host.invalid'");
	expect_open_error("nfs://127.0.0.1/x?nfsport=1&mountport=1", "Connection refused");
	expect_open_error("nfs://127.0.0.1/x?version=4", "version '4' is not supported");
	expect_open_error("nfs://127.0.0.1/x?colour=red", "unknown URI parameter 'colour'");
	expect_open_error("nfs://127.0.0.1/x?nfsport=0", "nfsport");
	expect_open_error("nfs:///x", "no host");
	expect_open_error("nfs://127.0.0.1", "no export path");
	snprintf(uri, sizeof uri, "nfs://127.0.0.1/no/such/export%s", query);
	expect_open_error(uri, "refuses export '/no/such/export'");
}

/* ---- lookups ------------------------------------------------------------- */

static void memory_answers_nowait_and_only_memory(struct live *l)
{
	struct be_call nowait = l->call;
	struct be_node *f = live_file(l, "f"), *g;
	struct be_attr attr;
	struct be_entry e;

	nowait.flags = BE_NOWAIT;
	CHECK_EQ(backend_lookup(l->be, &nowait, l->dir, "other", &e), -EAGAIN);
	g = live_lookup(l, l->be, l->dir, "f");
	CHECK(g == f);
	be_node_put(g);
	live_attr(l, l->be, l->dir, 0);
	live_attr(l, l->be, f, 0);
	CHECK_EQ(backend_lookup(l->be, &nowait, l->dir, "f", &e), 0);
	CHECK(e.node == f);
	be_node_put(e.node);
	CHECK_EQ(backend_getattr(l->be, &nowait, f, &attr), 0);
	nowait.cred = l->user; /* of whose right to search nothing is known */
	CHECK_EQ(backend_lookup(l->be, &nowait, l->dir, "f", &e), -EAGAIN);
	CHECK_EQ(backend_open_node(l->be, &nowait, f, O_RDONLY), -EAGAIN);
	CHECK_EQ(backend_mkdir(l->be, &nowait, l->dir, "d", 0755, &e), -EAGAIN);
	be_node_put(f);
}

static void long_names_are_refused_here(struct live *l)
{
	char name[300];
	struct be_entry e;

	memset(name, 'n', sizeof name);
	name[256] = '\0';
	CHECK_EQ(backend_lookup(l->be, &l->call, l->dir, name, &e), -ENAMETOOLONG);
	CHECK_EQ(backend_create(l->be, &l->call, l->dir, name, 0644, O_RDWR, &e), -ENAMETOOLONG);
	name[255] = '\0';
	be_node_put(live_file(l, name));
	CHECK_EQ(live_unlink(l, name, NULL), 0);
}

static void nodes_survive_being_saved(struct live *l)
{
	struct be_node *f = live_file(l, "f");
	char buf[BE_NODE_SAVE_MAX];
	ssize_t n = backend_node_save(l->be, f, buf, sizeof buf);
	struct be_entry e;

	CHECK(n > 0);
	CHECK_EQ(backend_node_restore(l->be, buf, (size_t)n, &e), 0);
	CHECK(e.node == f);
	be_node_put(e.node);
	CHECK(backend_node_restore(l->be, buf, (size_t)n - 1, &e) < 0);
	CHECK_EQ(live_unlink(l, "f", NULL), 0);
	be_node_put(f);
	CHECK_EQ(backend_node_restore(l->be, buf, (size_t)n, &e), -ESTALE);
}

static void every_type_is_made_and_read_back(struct live *l)
{
	static const mode_t types[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	char name[16], target[3000], back[4000];
	struct be_entry e;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		dev_t dev = S_ISCHR(types[i]) || S_ISBLK(types[i]) ? makedev(7, 300) : 0;

		snprintf(name, sizeof name, "t%zu", i);
		CHECK_EQ(backend_mknod(l->be, &l->call, l->dir, name, types[i] | 0640, dev, &e), 0);
		CHECK_EQ(e.attr.mode, types[i] | 0640);
		CHECK_EQ(e.attr.rdev, dev);
		be_node_put(e.node);
		CHECK_EQ(backend_mknod(l->be, &l->call, l->dir, name, types[i] | 0640, dev, &e),
			 -EEXIST);
	}
	memset(target, 'x', sizeof target);
	target[sizeof target - 1] = '\0';
	CHECK_EQ(backend_symlink(l->be, &l->call, l->dir, "link", target, &e), 0);
	CHECK(S_ISLNK(e.attr.mode));
	CHECK_EQ(backend_readlink(l->be, &l->call, e.node, back, sizeof back), sizeof target - 1);
	CHECK(!memcmp(back, target, sizeof target - 1));
	CHECK_EQ(backend_readlink(l->be, &l->call, e.node, back, 10), 10);
	be_node_put(e.node);
}

/* ---- attributes ---------------------------------------------------------- */

static void attributes_are_set(struct live *l)
{
	struct be_setattr set = { .valid = BE_SET_MODE | BE_SET_UID | BE_SET_GID | BE_SET_SIZE |
					   BE_SET_ATIME | BE_SET_MTIME,
				  .mode = 0604,
				  .uid = 1000,
				  .gid = 1001,
				  .size = 12345,
				  .atime = { 1000, 2000 },
				  .mtime = { 4000000000, 5 } };
	struct be_node *f = live_file(l, "f");
	struct be_attr attr;

	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	attr = live_attr(l, l->be, f, BE_REVALIDATE);
	CHECK_EQ(attr.mode, S_IFREG | 0604);
	CHECK_EQ(attr.uid, 1000);
	CHECK_EQ(attr.gid, 1001);
	CHECK_EQ(attr.size, 12345);
	CHECK_EQ(attr.atime.tv_sec, 1000);
	CHECK_EQ(attr.mtime.tv_sec, 4000000000);
	set.valid = BE_SET_MTIME_NOW;
	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	CHECK(attr.mtime.tv_sec > 1600000000 && attr.mtime.tv_sec < 4000000000);
	be_node_put(f);
}

static void set_id_bits_are_taken_away(struct live *l)
{
	struct be_setattr set = { .valid = BE_SET_UID, .mode = 06777, .uid = 1000 };
	struct be_node *f = live_file(l, "f");
	struct be_attr attr;

	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	set.valid = BE_SET_MODE;
	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	CHECK_EQ(attr.mode & 07777, 06777);
	set = (struct be_setattr){ .valid = BE_SET_SIZE | BE_SET_KILL_SUID, .size = 5 };
	CHECK_EQ(backend_setattr(l->be, &l->as_user, f, &set, &attr), 0);
	CHECK_EQ(attr.mode & 07777, 0777);
	CHECK_EQ(attr.size, 5);
	be_node_put(f);
}

static void the_server_judges_by_credential(struct live *l)
{
	struct be_node *d = live_mkdir(l, l->dir, "private"), *f = live_file(l, "f");
	struct be_setattr set = { .valid = BE_SET_MODE, .mode = 0600 };
	struct be_attr attr;
	struct be_entry e;

	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	CHECK_EQ(backend_open_node(l->be, &l->as_user, f, O_RDONLY), -EACCES);
	CHECK_EQ(backend_open_node(l->be, &l->call, f, O_RDWR), 0);
	backend_release(l->be, f, O_RDWR);
	set.mode = 0644;
	CHECK_EQ(backend_setattr(l->be, &l->call, f, &set, &attr), 0);
	CHECK_EQ(backend_open_node(l->be, &l->as_user, f, O_RDONLY),
		 0); /* ctime moved: asked anew */
	backend_release(l->be, f, O_RDONLY);
	CHECK_EQ(backend_open_node(l->be, &l->as_user, f, O_RDWR), -EACCES);
	CHECK_EQ(backend_access(l->be, &l->as_user, f, R_OK), 0);
	CHECK_EQ(backend_access(l->be, &l->as_user, f, W_OK), -EACCES);
	set.mode = 0700;
	CHECK_EQ(backend_setattr(l->be, &l->call, d, &set, &attr), 0);
	CHECK_EQ(backend_lookup(l->be, &l->as_user, d, "x", &e), -EACCES);
	CHECK_EQ(backend_create(l->be, &l->as_user, d, "x", 0644, O_RDWR, &e), -EACCES);
	be_node_put(d);
	be_node_put(f);
}

static void a_new_file_may_be_written_whatever_its_mode(struct live *l)
{
	struct be_entry e;

	for (int excl = 0; excl < 2; excl++) {
		int flags = O_RDWR | (excl ? O_EXCL : 0);
		const char *name = excl ? "b" : "a";

		CHECK_EQ(backend_create(l->be, &l->as_user, l->dir, name, 0400, flags, &e), 0);
		CHECK_EQ(e.attr.mode & 07777, 0400);
		CHECK_EQ(e.attr.uid, 1000);
		backend_release(l->be, e.node, flags);
		be_node_put(e.node);
		CHECK_EQ(backend_create(l->be, &l->as_user, l->dir, name, 0400, flags, &e),
			 excl ? -EEXIST : -EACCES);
	}
}

/* ---- silly renames --------------------------------------------------------- */

static void wait_for_count(struct live *l, size_t want)
{
	struct backend *other = live_open(l, NULL);
	struct be_node *d = live_dir_on(l, other);

	for (int i = 0; i < 1000 && live_attr(l, other, d, BE_REVALIDATE).nlink && i < 1000; i++) {
		if (live_count(l, l->dir) == want)
			break;
		usleep(2000);
	}
	CHECK_EQ(live_count(l, l->dir), want);
	be_node_put(d);
	backend_close(other);
}

static void an_open_file_outlives_its_last_name(struct live *l)
{
	struct be_node *f = live_file(l, "f"), *d;
	struct be_removed r;
	char buf[8];

	CHECK_EQ(backend_open_node(l->be, &l->call, f, O_RDWR), 0);
	CHECK_EQ(live_write(l, l->be, f, "data", 4, 0, BE_FILE_SYNC), 4);
	CHECK_EQ(live_unlink(l, "f", &r), 0);
	CHECK(r.node == f && r.gone);
	CHECK_EQ(live_count(l, l->dir), 0); /* hidden */
	CHECK_EQ(live_attr(l, l->be, f, BE_REVALIDATE).nlink, 0);
	CHECK_EQ(live_read(l, l->be, f, buf, 8, 0), 4);
	CHECK_EQ(live_write(l, l->be, f, "more", 4, 4, BE_UNSTABLE), 4);
	CHECK_EQ(live_unlink(l, "f", NULL), -ENOENT);
	backend_release(l->be, f, O_RDWR);
	be_node_put(f);
	/* A folder can be removed although the silly name was only just let go. */
	d = live_mkdir(l, l->dir, "d");
	be_node_put(l->dir);
	l->dir = d;
	f = live_file(l, "g");
	CHECK_EQ(backend_open_node(l->be, &l->call, f, O_RDONLY), 0);
	CHECK_EQ(live_unlink(l, "g", NULL), 0);
	backend_release(l->be, f, O_RDONLY);
	be_node_put(f);
	l->dir = live_lookup(l, l->be, l->top, "an_open_file_outlives_its_last_name");
	CHECK_EQ(backend_rmdir(l->be, &l->call, l->dir, "d", &r), 0);
	be_node_put(r.node);
	be_node_put(d);
}

static void replacing_an_open_file_keeps_it(struct live *l)
{
	struct be_node *old = live_file(l, "target"), *new = live_file(l, "new"), *now;
	struct be_removed r;
	char buf[8];

	CHECK_EQ(live_write(l, l->be, old, "old", 3, 0, BE_FILE_SYNC), 3);
	CHECK_EQ(live_write(l, l->be, new, "NEW!", 4, 0, BE_FILE_SYNC), 4);
	CHECK_EQ(backend_open_node(l->be, &l->call, old, O_RDONLY), 0);
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "new", l->dir, "target", 0, &r), 0);
	CHECK(r.node == old && r.gone);
	be_node_put(r.node);
	CHECK_EQ(live_read(l, l->be, old, buf, 8, 0), 3);
	CHECK_EQ(live_attr(l, l->be, old, BE_REVALIDATE).nlink, 0);
	now = live_lookup(l, l->be, l->dir, "target");
	CHECK(now == new);
	CHECK_EQ(live_count(l, l->dir), 1);
	backend_release(l->be, old, O_RDONLY);
	wait_for_count(l, 1);
	be_node_put(now);
	be_node_put(old);
	be_node_put(new);
}

static void links_count_when_names_go(struct live *l)
{
	struct be_node *f = live_file(l, "a");
	struct be_removed r;
	struct be_entry e;

	CHECK_EQ(backend_link(l->be, &l->call, f, l->dir, "b", &e), 0);
	CHECK_EQ(e.attr.nlink, 2);
	be_node_put(e.node);
	CHECK_EQ(backend_open_node(l->be, &l->call, f, O_RDONLY), 0);
	CHECK_EQ(live_unlink(l, "a", &r), 0); /* no silly name: "b" keeps it */
	CHECK(!r.gone);
	CHECK_EQ(live_attr(l, l->be, f, 0).nlink, 1);
	CHECK_EQ(live_unlink(l, "b", &r), 0);
	CHECK(r.gone);
	CHECK_EQ(live_attr(l, l->be, f, 0).nlink, 0);
	backend_release(l->be, f, O_RDONLY);
	be_node_put(f);
}

static void noreplace_never_replaces(struct live *l)
{
	struct be_node *a = live_file(l, "a"), *b = live_file(l, "b"), *d, *now;
	struct be_removed r;

	d = live_mkdir(l, l->dir, "d");
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "a", l->dir, "b", RENAME_NOREPLACE, &r),
		 -EEXIST);
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "a", l->dir, "c", RENAME_NOREPLACE, &r),
		 0);
	CHECK(!r.node);
	now = live_lookup(l, l->be, l->dir, "c");
	CHECK(now == a);
	CHECK_EQ(live_attr(l, l->be, a, 0).nlink, 1);
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "d", l->dir, "b", RENAME_NOREPLACE, &r),
		 -EEXIST);
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "d", l->dir, "e", RENAME_NOREPLACE, &r),
		 0);
	CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "b", l->dir, "c", RENAME_EXCHANGE, &r),
		 -EINVAL);
	be_node_put(now);
	be_node_put(a);
	be_node_put(b);
	be_node_put(d);
}

/* ---- directories ----------------------------------------------------------- */

#define MANY 3000

struct walk {
	unsigned char seen[MANY];
	unsigned count, max, nodes;
	uint64_t cookie;
};

static bool walk_emit(void *arg, const struct be_dirent *ent)
{
	struct walk *w = arg;
	char name[32];
	unsigned n;

	if (w->max && w->count == w->max)
		return false;
	w->count++;
	w->cookie = ent->cookie;
	w->nodes += ent->node && ent->attr;
	snprintf(name, sizeof name, "%.*s", (int)ent->name_len, ent->name);
	if (sscanf(name, "file-%u", &n) == 1 && n < MANY)
		w->seen[n]++;
	return true;
}

static void all_seen_once(const struct walk *w)
{
	for (unsigned i = 0; i < MANY; i++)
		CHECK_EQ(w->seen[i], 1);
}

/* Reads the whole folder in bites; max 0: in one. */
static void walk(struct live *l, struct be_dir *d, bool plus, unsigned max, struct walk *w)
{
	unsigned before;

	memset(w, 0, sizeof *w);
	do {
		before = w->count;
		w->max = max ? w->count + max : 0;
		CHECK_EQ(backend_readdir(l->be, &l->call, d, w->cookie, plus, walk_emit, w), 0);
	} while (w->count > before);
}

static void large_directories_are_read_in_any_bites(struct live *l)
{
	static const unsigned bites[] = { 0, 1000, 37 };
	struct walk *w = malloc(sizeof *w);
	struct be_dir *d;
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "file-%u", i);
		be_node_put(live_file(l, name));
	}
	CHECK_EQ(backend_opendir(l->be, &l->call, l->dir, &d), 0);
	for (int plus = 0; plus < 2; plus++)
		for (size_t i = 0; i < ARRAY_LEN(bites); i++) {
			walk(l, d, plus, bites[i], w);
			all_seen_once(w);
			CHECK_EQ(w->count, MANY + 2);
			CHECK_EQ(w->nodes, plus ? MANY : 0);
		}
	backend_closedir(l->be, d);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "file-%u", i);
		CHECK_EQ(live_unlink(l, name, NULL), 0);
	}
	CHECK_EQ(live_count(l, l->dir), 0);
	free(w);
}

/* ---- other clients ---------------------------------------------------------- */

static void own_changes_are_not_called_foreign(struct live *l)
{
	unsigned attr = l->changed_attr, data = l->changed_data, names = l->changed_names;
	struct be_removed r;

	for (int i = 0; i < 20; i++) {
		struct be_node *f = live_file(l, "f");

		CHECK_EQ(live_write(l, l->be, f, "x", 1, (uint64_t)i, BE_UNSTABLE), 1);
		live_attr(l, l->be, f, BE_REVALIDATE);
		live_attr(l, l->be, l->dir, BE_REVALIDATE);
		CHECK_EQ(backend_rename(l->be, &l->call, l->dir, "f", l->dir, "g", 0, &r), 0);
		be_node_put(r.node);
		live_attr(l, l->be, f, BE_REVALIDATE);
		CHECK_EQ(live_unlink(l, "g", NULL), 0);
		live_attr(l, l->be, l->dir, BE_REVALIDATE);
		be_node_put(f);
	}
	CHECK_EQ(l->changed_attr, attr);
	CHECK_EQ(l->changed_data, data);
	CHECK_EQ(l->changed_names, names);
}

static void changes_of_others_are_noticed(struct live *l)
{
	struct backend *other = live_open(l, NULL);
	struct be_node *f = live_file(l, "f"), *their_dir = live_dir_on(l, other), *their_f;
	unsigned data, names;
	struct be_entry e;

	live_attr(l, l->be, f, BE_REVALIDATE);
	live_attr(l, l->be, l->dir, BE_REVALIDATE);
	data = l->changed_data;
	names = l->changed_names;
	usleep(20000); /* a tick of the server's clock */
	their_f = live_lookup(l, other, their_dir, "f");
	CHECK_EQ(live_write(l, other, their_f, "theirs", 6, 0, BE_FILE_SYNC), 6);
	CHECK_EQ(live_attr(l, l->be, f, BE_REVALIDATE).size, 6);
	CHECK_EQ(l->changed_data, data + 1);
	CHECK_EQ(backend_create(other, &l->call, their_dir, "new", 0644, O_RDWR, &e), 0);
	backend_release(other, e.node, O_RDWR);
	be_node_put(e.node);
	live_attr(l, l->be, l->dir, BE_REVALIDATE);
	CHECK_EQ(l->changed_names, names + 1);
	be_node_put(their_f);
	be_node_put(their_dir);
	be_node_put(f);
	backend_close(other);
}

static void statfs_tells_sizes(struct live *l)
{
	struct statvfs st;

	CHECK_EQ(backend_statfs(l->be, &l->call, l->dir, &st), 0);
	CHECK(st.f_blocks > 0 && st.f_bfree <= st.f_blocks && st.f_namemax == 255);
	CHECK_EQ(backend_fsyncdir(l->be, &l->call, l->dir), 0);
}

#define S(f)          \
	{             \
#f, f \
	}
const struct scenario name_scenarios[] = {
	S(open_errors_say_what_is_wrong),
	S(memory_answers_nowait_and_only_memory),
	S(long_names_are_refused_here),
	S(nodes_survive_being_saved),
	S(every_type_is_made_and_read_back),
	S(attributes_are_set),
	S(set_id_bits_are_taken_away),
	S(the_server_judges_by_credential),
	S(a_new_file_may_be_written_whatever_its_mode),
	S(an_open_file_outlives_its_last_name),
	S(replacing_an_open_file_keeps_it),
	S(links_count_when_names_go),
	S(noreplace_never_replaces),
	S(large_directories_are_read_in_any_bites),
	S(own_changes_are_not_called_foreign),
	S(changes_of_others_are_noticed),
	S(statfs_tells_sizes),
	{ NULL, NULL },
};
