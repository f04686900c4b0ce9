# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. VARIANT=release|debug|asan|tsan|cov|fuzz chooses the build.
VERSION := 0.1.0
VARIANT ?= release
B := build/$(VARIANT)
Q := $(if $(V),,@)
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
BENCH ?= --pairs memory,nfs
BENCH_NFS ?=
BENCH_BLOCK ?=
ifeq ($(VARIANT),fuzz)
CC := clang
else ifeq ($(origin CC),default)
CC := gcc
endif
MAKEFLAGS += --no-print-directory
# Builds use all CPUs; goals named together (make check lint) still run one after another.
PAR = $(Q)$(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

# --- flags ---------------------------------------------------------------------
PKGS := fuse3 libnfs jansson libmicrohttpd gnutls ldap lber libseccomp libcurl libsodium sqlite3 libpq liburing libnbd
WARN := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla
FLAGS_release := -O2 -g
FLAGS_debug := -O1 -g -DPERSIFS_DEBUG
FLAGS_asan := $(FLAGS_debug) -DPERSIFS_NO_SANDBOX -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan := $(FLAGS_debug) -DPERSIFS_NO_SANDBOX -fsanitize=thread
FLAGS_cov := $(FLAGS_debug) -DPERSIFS_NO_SANDBOX --coverage
FLAGS_fuzz := $(FLAGS_asan) -fsanitize=fuzzer-no-link
# Asked once, at first use: `make deps` may have installed pkg-config by then.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
CPPFLAGS_ALL = -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 \
	-DPERSIFS_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS)
C_ALL = -std=gnu17 -pthread $(CPPFLAGS_ALL) $(WARN) $(if $(CI),-Werror) $(FLAGS_$(VARIANT)) $(CFLAGS)
# A program names only the libraries that it uses: a mount needs no LDAP.
LIBS = -Wl,--as-needed $(PKG_LIBS) -pthread

# --- sources -------------------------------------------------------------------
FOLDERS := common backends cache fusefs tools tests
C_FILES := $(sort $(shell find $(FOLDERS) -name '*.[ch]'))
SH_FILES := $(sort $(shell find $(FOLDERS) dist -name '*.sh' -o -name '*.bash')) .ci/run .ci/lint .ci/tidy
POD_FILES := $(sort $(shell find $(FOLDERS) -name '*.pod'))
LIB_SRC := $(wildcard common/*.c backends/*.c backends/*/*.c backends/*/*/*.c cache/*.c) \
	$(filter-out %/main.c,$(wildcard fusefs/*.c tools/driver/*.c tools/broker/*.c tools/sim/*.c))
LIB := $(B)/libpersifs.a
PROGRAMS := $(B)/persifs $(B)/persifs-ctl $(B)/persifs-driver $(B)/persifs-broker $(B)/persifs-sim
UNIT := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*/test_*.c))
REPLAY := $(patsubst tests/fuzz/%.c,$(B)/replay/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZERS := $(FUZZ:%=build/fuzz/fuzz/fuzz_%)
NFSFAULT := $(B)/tests/tools/nfsfault
# The program with a control command that tries what its sandbox refuses.
TRY := $(B)/tests/tools/persifs-try
# The broker with places where it kills itself (common/abortpoint.h).
ABORT := $(B)/tests/tools/persifs-broker-abort
# Devices against a shadow; crash states of the journal, whose rules can be broken (ext4/mutant.h).
DEVTEST := $(B)/tests/tools/devtest
CRASH := $(B)/tests/tools/crashjournal
# nbdkit's plugin: a cache that is lost with the server; the system's nbdkit has no sanitizer.
POWERCUT := $(B)/tests/tools/nbdkit-powercut-plugin.so
CRASH_SRC := $(wildcard backends/block/ext4/*.c)
ABORT_SRC := $(shell grep -lw abort_point common/*.c backends/providers/*.c tools/broker/*.c)
TEST_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(wildcard tests/tools/*.c)) $(NFSFAULT) $(TRY) $(ABORT) $(POWERCUT) \
	$(if $(wildcard tests/device/*.c),$(DEVTEST)) $(if $(wildcard tests/crash/*.c),$(CRASH))
FAKES := $(wildcard tests/fake/*.c)
SCENARIOS := $(sort $(wildcard tests/integration/*.sh))
MAN := $(patsubst %.pod,$(B)/man/%,$(notdir $(POD_FILES)))

# --- build ---------------------------------------------------------------------
all: ## build the programs into build/VARIANT/
	$(PAR) programs
programs: $(PROGRAMS)
	@:
deps: ## install what building and testing need (Debian 12, as root)
	$(Q)dist/deps.sh
unit-build: $(UNIT) $(REPLAY) $(POWERCUT) $(DEVTEST)
	@:
test-tools: $(TEST_TOOLS)
	@:
man: $(MAN) ## format the manual pages

$(LIB): $(LIB_SRC:%.c=$(B)/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/persifs: $(B)/fusefs/main.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/persifs-ctl: $(patsubst %.c,$(B)/%.o,$(wildcard tools/ctl/*.c)) $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/persifs-driver: $(B)/tools/driver/main.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/persifs-broker: $(B)/tools/broker/main.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/persifs-sim: $(B)/tools/sim/main.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/nfsraw $(B)/devbench $(B)/jrnbench: $(B)/%: $(B)/tools/bench/%.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(FAKES:%.c=$(B)/%.o) $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(B)/replay/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay_main.o $(FAKES:%.c=$(B)/%.o) $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(FAKES:%.c=$(B)/%.o) $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS)
$(NFSFAULT): $(patsubst %.c,$(B)/%.o,$(wildcard tests/server/*.c))
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^
$(B)/tests/sandbox/%.o: fusefs/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -DPERSIFS_SANDBOX_TEST -MMD -MP -c -o $@ $<
$(TRY): $(B)/fusefs/main.o $(B)/tests/sandbox/control_answer.o $(B)/tests/sandbox/try.o $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/abort/%.o: %.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -DPERSIFS_ABORT_POINTS -MMD -MP -c -o $@ $<
$(ABORT): $(B)/tools/broker/main.o $(ABORT_SRC:%.c=$(B)/tests/abort/%.o) $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/mutants/%.o: %.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -DPERSIFS_MUTANTS -MMD -MP -c -o $@ $<
$(CRASH): $(patsubst %.c,$(B)/tests/mutants/%.o,$(CRASH_SRC) $(wildcard tests/crash/*.c)) $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(DEVTEST): $(patsubst %.c,$(B)/%.o,$(wildcard tests/device/*.c)) $(LIB)
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(POWERCUT): tests/nbd/powercut.c
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) $(if $(CI),-Werror) $(FLAGS_release) -shared -fPIC -o $@ $<
$(B)/tests/tools/%: tests/tools/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -MMD -MP -MF $@.d -MT $@ -o $@ $< $(LIBS)
$(B)/%.o: %.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -MMD -MP -c -o $@ $<
-include $(shell find $(B) -name '*.d' 2>/dev/null)

vpath %.pod $(sort $(dir $(POD_FILES)))
$(B)/man/%: %.pod
	$(Q)mkdir -p $(@D) && pod2man --utf8 --center persifs --release 'persifs $(VERSION)' \
		--section $(subst .,,$(suffix $*)) --name $(basename $*) $< $@

# --- tests ---------------------------------------------------------------------
# tests/run.sh runs binaries and scripts, and says what failed; SCALE=ci|long is how much a
# scenario does. Sanitizers write files, for a daemon has no stderr left: a file is a failure.
SAN := $(abspath $(B))/san
RUN = $(Q)rm -rf $(SAN) && mkdir -p $(SAN) && export VARIANT=$(VARIANT) SCALE=$(1) \
	PERSIFS=$(abspath $(B))/persifs PERSIFS_CTL=$(abspath $(B))/persifs-ctl \
	ASAN_OPTIONS=log_path=$(SAN)/asan UBSAN_OPTIONS=log_path=$(SAN)/ubsan:print_stacktrace=1 \
	TSAN_OPTIONS=log_path=$(SAN)/tsan:second_deadlock_stack=1 && \
	{ tests/run.sh $(2); rc=$$?; ! cat $(SAN)/* 2>/dev/null && exit $$rc; }

check: deps ## install, build, and run the unit tests and the scenarios' short form
	$(Q)$(MAKE) check-short
check-short:
	$(PAR) programs unit-build
	$(PAR) VARIANT=release test-tools
	$(call RUN,ci,$(UNIT) $(REPLAY) $(SCENARIOS))
check-unit: ## unit tests and the replay of the fuzzers' corpus
	$(PAR) unit-build
	$(call RUN,ci,$(UNIT) $(REPLAY))
check-integration: ## the scenarios in full, on real mounts and servers
	$(PAR) programs
	$(PAR) VARIANT=release test-tools
	$(call RUN,long,$(SCENARIOS))
# CI's time is short: each scenario once under one of the sanitizers. FULL=1 runs all.
SHORT_asan := 02_git_sqlite_make.sh:nfs 03_fio.sh:dir 04_model.sh:dir 05_posix.sh:nfs 06_errors.sh:dir \
	07_leaks.sh:memory 08_warm.sh:nfs 10_cli.sh:dir 25_driver.sh:dir 35_sessions.sh:dir \
	nfs_backend.sh:nfs 49_block_devices.sh:uring 50_block_restart.sh:nbd
SHORT_tsan := 02_git_sqlite_make.sh:dir 03_fio.sh:nfs 04_model.sh:memory 05_posix.sh:memory 10_cli.sh:nfs \
	25_driver.sh:dir 35_sessions.sh:nfs nfs_backend.sh:nfs 49_block_devices.sh:threads
SAN_SET = $(if $(FULL),,SCENARIOS="$(SHORT_$(1):%=tests/integration/%)")
check-asan: ## unit tests and scenarios with AddressSanitizer and UBSan; FULL=1 for all of them
	$(Q)$(MAKE) VARIANT=asan $(call SAN_SET,asan) check-short
check-tsan: ## the same with ThreadSanitizer
	$(Q)$(MAKE) VARIANT=tsan $(call SAN_SET,tsan) check-short
check-crash: ## 200,000 states that a power cut can leave, each judged four ways, and every broken rule found
	$(PAR) $(CRASH)
	$(call RUN,long,tests/integration/52_crash_journal.sh)
# Valgrind 3.19 runs one thread at a time, and io_uring_enter() keeps the others from running: hence noring. It does not
# know pidfd_open(), fsopen() and open_tree(), and is too slow for what counts seconds.
NOT_VALGRIND := arena block_sdc sdc spawn sandbox driver_attach driver_attach_state driver_device driver_mounts \
	driver_spawn onefs_sim scaleio_sim sim_scaleio broker_store_crash
check-valgrind: ## unit tests under valgrind
	$(PAR) VARIANT=debug unit-build build/debug/tests/tools/noring
	$(Q)for t in $(filter-out $(foreach t,$(NOT_VALGRIND),%/test_$(t)),$(UNIT:$(B)/%=build/debug/%)); do build/debug/tests/tools/noring \
		valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9 $$t || exit; done
cov: ## line coverage of check-short, a file a line
	$(Q)$(MAKE) VARIANT=cov check-short
	$(Q)find build/cov -name '*.gcda' | xargs gcov -n 2>/dev/null | sed -n "s/^File '\(.*\.c\)'/\1/p; \
		s/^Lines executed:\(.*\)/  \1/p" | paste - - | grep -v '^/\|^tests/' | sort
# FUZZ="uri nfs_reply" chooses some of tests/fuzz/fuzz_NAME.c.
fuzz: ## run fuzz targets, or those of FUZZ="NAME...", FUZZ_SECONDS (60) of CPU each, with libFuzzer
	$(PAR) VARIANT=fuzz fuzz-build
	$(Q)tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS:build/fuzz/fuzz/%=%)
fuzz-build: $(FUZZERS)
	@:
bench: all ## measure beside peers; BENCH="--quick --pairs memory,dir,nfs --reps 9 ..."
	$(Q)tools/bench/compare.py --build $(B) --out build/bench.json $(BENCH)
	$(Q)tools/bench/mounttime.py --build $(B)
bench-nfs: all $(B)/nfsraw ## an NFS mount beside the backend alone; BENCH_NFS="--reps 9 ..."
	$(Q)tools/bench/nfslimit.py --build $(B) $(BENCH_NFS)
bench-broker: all ## a broker with 10,000 instances and 30,000 bindings, and 32 clients at once
	$(Q)work=$$(mktemp -d) && { PYTHONDONTWRITEBYTECODE=1 tests/tools/broker_load.py --broker $(B)/persifs-broker \
		--sim $(B)/persifs-sim --work $$work --goal-ms 10; rc=$$?; rm -rf $$work; exit $$rc; }
bench-block: all $(B)/devbench $(B)/jrnbench ## transports beside fio, commits beside the kernel's; BENCH_BLOCK="--reps 5"
	$(Q)tools/bench/blocklimit.py --build $(B) $(BENCH_BLOCK)
demo: deps ## install, build, then the whole way: array, broker, driver, containers, and the data proven
	$(Q)$(MAKE) all
	$(Q)dist/demo.sh $(B)

# --- lint ----------------------------------------------------------------------
TIDY_FILES := $(filter %.c,$(C_FILES))
lint: compile_commands.json ## format, clang-tidy, cppcheck, shellcheck, manual pages, layers
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)printf '%s\n' $(TIDY_FILES) | xargs -P$(JOBS) -n4 .ci/tidy
	$(Q)cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --std=c11 \
		--inline-suppr --suppressions-list=.ci/cppcheck -j$(JOBS) -I. -D_GNU_SOURCE $(TIDY_FILES)
	$(Q)shellcheck -x $(SH_FILES)
	$(Q)$(if $(POD_FILES),podchecker -warnings $(POD_FILES) 2>&1 | { ! grep -v 'pod syntax OK'; },:)
	$(Q).ci/lint
format: ## rewrite FILES (default: all C files) in the style of .clang-format
	$(Q)clang-format -i $(or $(FILES),$(C_FILES))
compile_commands.json: $(C_FILES) ## for editors and clangd
	$(Q)python3 -c 'import json,sys; a=sys.argv; i=a.index("--"); print(json.dumps([{"directory": a[1], \
		"file": f, "arguments": a[2:i] + ["-c", f]} for f in a[i+1:]], indent=1))' \
		'$(CURDIR)' $(CC) $(C_ALL) -- $(filter %.c,$(C_FILES)) > $@

# --- deliver -------------------------------------------------------------------
BIN := $(DESTDIR)$(PREFIX)/bin
SHARE := $(DESTDIR)$(PREFIX)/share
install: all man ## programs, manual pages, mount helpers, completion, units, samples; DESTDIR= PREFIX=
	$(Q)install -d $(BIN) $(DESTDIR)/sbin $(SHARE)/bash-completion/completions
	$(Q)install -m 755 $(PROGRAMS) $(BIN)/
	$(Q)for page in $(MAN); do install -D -m 644 $$page \
		$(SHARE)/man/man$${page##*.}/$${page##*/} || exit; done
	$(Q)ln -sfn $(PREFIX)/bin/persifs $(DESTDIR)/sbin/mount.fuse.persifs
	$(Q)ln -sfn $(PREFIX)/bin/persifs $(DESTDIR)/sbin/umount.fuse.persifs
	$(Q)install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(SHARE)/doc/persifs
	$(Q)for unit in dist/*.service; do sed 's|/usr/local/bin|$(PREFIX)/bin|' $$unit \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit; done
	$(Q)install -m 644 dist/*.example $(SHARE)/doc/persifs/
	$(Q)install -m 644 dist/persifs.bash $(SHARE)/bash-completion/completions/persifs
	$(Q)for name in persifs-ctl persifs-driver persifs-broker persifs-sim; do ln -sfn persifs $(SHARE)/bash-completion/completions/$$name; done
dist: ## build/persifs-VERSION.tar.gz of the commit checked out
	$(Q)mkdir -p build && git archive --prefix=persifs-$(VERSION)/ -o build/persifs-$(VERSION).tar.gz HEAD
help: ## this list
	@sed -n 's/^\([a-z_.-]*\):[^#]*## /  \1\t/p' Makefile | expand -t 26
clean: ## remove build/
	$(Q)rm -rf build compile_commands.json

.PHONY: all programs deps unit-build test-tools man check check-short check-unit check-integration check-asan \
	check-tsan check-crash check-valgrind cov fuzz fuzz-build bench bench-nfs bench-broker bench-block demo lint format install dist help clean
.SECONDARY:
.DELETE_ON_ERROR:
