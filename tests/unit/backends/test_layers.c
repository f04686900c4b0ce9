/* SPDX-License-Identifier: Apache-2.0 */
/* Layers do what their description says, and nothing when it is wrong. */
#include <time.h>

#include "backends/layer/layer.h"
#include "common/log.h"
#include "tests/unit/backends/contract.h"

/* A store with layers of the test's own. */
static struct fixture *stack_open(const char *layers)
{
	static struct store s = { .name = "stack", .uri = "memory:?size=16m" };
	void *state;

	s.layers = layers;
	store_now = &s;
	store_open(&state);
	return state;
}

static void stack_close(struct fixture *f)
{
	void *state = f;

	store_close(&state);
}

static struct be_node *open_new_file(struct fixture *f)
{
	struct be_entry e;

	assert_int_equal(backend_create(f->be, &f->call, f->root, "file", 0644, O_RDWR, &e), 0);
	return e.node;
}

static void close_file(struct fixture *f, struct be_node *n)
{
	backend_release(f->be, n, O_RDWR);
	be_node_put(n);
}

static void fault_fails_the_nth_call_only(void **state)
{
	struct fixture *f = stack_open("fault:write=2:ENOSPC");
	struct be_node *n = open_new_file(f);

	(void)state;
	assert_int_equal(write_at(f, n, "a", 1, 0), 1);
	assert_int_equal(write_at(f, n, "b", 1, 1), -ENOSPC);
	assert_int_equal(write_at(f, n, "c", 1, 1), 1);
	assert_int_equal(attr_of(f, n).size, 2);
	close_file(f, n);
	stack_close(f);
}

static void fault_with_plus_goes_on(void **state)
{
	struct fixture *f = stack_open("fault:mkdir=2+:EIO,commit=1+:EIO");
	struct be_node *n = open_new_file(f);
	struct be_entry e;

	(void)state;
	be_node_put(make_dir(f, f->root, "a"));
	assert_int_equal(backend_mkdir(f->be, &f->call, f->root, "b", 0755, &e), -EIO);
	assert_int_equal(backend_mkdir(f->be, &f->call, f->root, "c", 0755, &e), -EIO);
	assert_null(find(f, f->root, "b"));
	assert_int_equal(commit(f, n), -EIO);
	close_file(f, n);
	stack_close(f);
}

static unsigned count_random_failures(const char *layers)
{
	struct fixture *f = stack_open(layers);
	struct be_node *n = open_new_file(f);
	unsigned failed = 0;

	for (int i = 0; i < 1000; i++)
		failed += write_at(f, n, "x", 1, 0) == -EIO;
	close_file(f, n);
	stack_close(f);
	return failed;
}

static void random_faults_repeat_with_their_seed(void **state)
{
	unsigned a = count_random_failures("fault:write=*:EIO,p=0.1,seed=7");

	(void)state;
	assert_in_range(a, 50, 170);
	assert_int_equal(count_random_failures("fault:write=*:EIO,p=0.1,seed=7"), a);
	assert_int_equal(count_random_failures("fault:write=*:EIO,p=0,seed=7"), 0);
	assert_int_equal(count_random_failures("fault:write=*:EIO,p=1,seed=7"), 1000);
}

static void faults_are_set_by_tests(void **state)
{
	struct fixture *f = stack_open("fault,trace");
	struct be_node *n = open_new_file(f);
	char c;

	(void)state;
	fault_set(f->be, LAYER_read, 3, EIO);
	assert_int_equal(read_at(f, n, &c, 1, 0), 0);
	assert_int_equal(read_at(f, n, &c, 1, 0), 0);
	assert_int_equal(read_at(f, n, &c, 1, 0), -EIO);
	assert_int_equal(read_at(f, n, &c, 1, 0), 0);
	assert_int_equal(fault_count(f->be, LAYER_read), 4);
	fault_set_always(f->be, LAYER_lookup, ESTALE);
	assert_int_equal(lookup(f, f->root, "x", &(struct be_entry){ 0 }), -ESTALE);
	assert_int_equal(lookup(f, f->root, "x", &(struct be_entry){ 0 }), -ESTALE);
	fault_set(f->be, LAYER_lookup, 0, 0);
	assert_int_equal(lookup(f, f->root, "x", &(struct be_entry){ 0 }), -ENOENT);
	close_file(f, n);
	stack_close(f);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static _Atomic unsigned ended;

static void count_done(struct be_io *io)
{
	(void)io;
	atomic_fetch_add(&ended, 1);
}

static void delayed_data_does_not_hold_its_submitter(void **state)
{
	struct fixture *f = stack_open("delay:write=30ms");
	struct be_node *n = open_new_file(f);
	struct be_io io[20];
	struct iovec iov[20];
	uint64_t start = now_ms();

	(void)state;
	atomic_store(&ended, 0);
	for (unsigned i = 0; i < ARRAY_LEN(io); i++) {
		iov[i] = (struct iovec){ (void *)(uintptr_t) "x", 1 };
		io[i] = (struct be_io){ .node = n,
					.cred = f->cred,
					.iov = &iov[i],
					.niov = 1,
					.off = i,
					.len = 1,
					.done = count_done };
		assert_int_equal(backend_write(f->be, &io[i]), BE_QUEUED);
	}
	/* In a row they would have taken 600 ms. */
	assert_true(now_ms() - start < 300);
	while (atomic_load(&ended) < ARRAY_LEN(io))
		assert_true(now_ms() - start < 10000);
	assert_true(now_ms() - start >= 30);
	for (unsigned i = 0; i < ARRAY_LEN(io); i++)
		assert_int_equal(io[i].result, 1);
	close_file(f, n);
	stack_close(f);
}

static void delayed_call_ends_when_interrupted(void **state)
{
	struct fixture *f = stack_open("delay:getattr=1s,lookup=2ms");
	atomic_bool interrupted = true;
	struct be_call call = { .cred = f->cred, .interrupted = &interrupted };
	uint64_t start = now_ms();
	struct be_attr attr;

	(void)state;
	assert_int_equal(backend_getattr(f->be, &call, f->root, &attr), -EINTR);
	assert_true(now_ms() - start < 900);
	start = now_ms();
	assert_null(find(f, f->root, "x"));
	assert_true(now_ms() - start >= 1);
	stack_close(f);
}

static void trace_shows_results_and_hides_control_characters(void **state)
{
	struct fixture *f = stack_open("trace");
	enum log_level was = log_level;
	char text[4096];
	FILE *out = tmpfile();
	int saved = dup(STDERR_FILENO);
	ssize_t len;

	(void)state;
	dup2(fileno(out), STDERR_FILENO);
	log_level = LOG_LEVEL_DEBUG;
	find(f, f->root, "new\nline");
	struct be_node *n = open_new_file(f);
	write_at(f, n, "abc", 3, 5);
	log_level = was;
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	len = pread(fileno(out), text, sizeof text - 1, 0);
	fclose(out);
	assert_true(len > 0);
	text[len] = '\0';
	assert_non_null(strstr(text, "trace: lookup"));
	assert_non_null(strstr(text, "name='new?line'"));
	assert_non_null(strstr(text, "off=5 len=3"));
	close_file(f, n);
	stack_close(f);
}

static void wrong_descriptions_are_refused_with_a_sentence(void **state)
{
	static const char *const wrong[] = {
		"nonsense",
		"fault:write",
		"fault:write=0:EIO",
		"fault:write=x:EIO",
		"fault:write=1:ENOTHING",
		"fault:nothing=1:EIO",
		"fault:p=2",
		"delay:read=5",
		"delay:read=ms",
		"delay:read=5h",
		"delay:read=9999999999s",
		"trace:x=1",
		"trace,fault:write=1",
		"faulty:write=1:EIO",
	};
	struct backend *be;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		err.text[0] = '\0';
		assert_int_equal(backend_open("memory:", wrong[i], NULL, &be, &err), -EINVAL);
		assert_true(strlen(err.text) > 10);
	}
	assert_int_equal(backend_open("nothing:", NULL, NULL, &be, &err), -EINVAL);
	assert_int_equal(backend_open("", NULL, NULL, &be, &err), -EINVAL);
}

static void layers_stack(void **state)
{
	struct fixture *f = stack_open("fault:read=1:EIO,delay:read=1ms,write=1ms,trace,trace");
	struct be_node *n = open_new_file(f);
	char c;

	(void)state;
	assert_int_equal(write_at(f, n, "a", 1, 0), 1);
	assert_int_equal(read_at(f, n, &c, 1, 0), -EIO);
	assert_int_equal(read_at(f, n, &c, 1, 0), 1);
	assert_int_equal(c, 'a');
	close_file(f, n);
	stack_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_fails_the_nth_call_only),
		cmocka_unit_test(fault_with_plus_goes_on),
		cmocka_unit_test(random_faults_repeat_with_their_seed),
		cmocka_unit_test(faults_are_set_by_tests),
		cmocka_unit_test(delayed_data_does_not_hold_its_submitter),
		cmocka_unit_test(delayed_call_ends_when_interrupted),
		cmocka_unit_test(trace_shows_results_and_hides_control_characters),
		cmocka_unit_test(wrong_descriptions_are_refused_with_a_sentence),
		cmocka_unit_test(layers_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
