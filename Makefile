# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. VARIANT=release|debug|asan|tsan|cov chooses the build.
VARIANT ?= release
B := build/$(VARIANT)
Q := $(if $(V),,@)
CC ?= gcc
PREFIX ?= /usr/local
VERSION := 0.1.0

PKGS := fuse3 libnfs jansson
WARN := -Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla
FLAGS_release := -O2 -g
FLAGS_debug := -O1 -g -DPERSIFS_DEBUG
FLAGS_asan := $(FLAGS_debug) -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan := $(FLAGS_debug) -fsanitize=thread
FLAGS_cov := $(FLAGS_debug) --coverage
CPPFLAGS_ALL = -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -DPERSIFS_VERSION='"$(VERSION)"' \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CPPFLAGS)
C_ALL = -std=gnu17 -pthread $(CPPFLAGS_ALL) $(WARN) $(if $(CI),-Werror) $(FLAGS_$(VARIANT)) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -pthread

COMMON := $(wildcard common/*.c)
BACKENDS := $(wildcard backends/*.c backends/memory/*.c backends/dir/*.c backends/layer/*.c backends/nfs/*.c)
CACHE := $(wildcard cache/*.c)
FUSEFS := $(filter-out fusefs/main.c,$(wildcard fusefs/*.c))
LIB_SRC := $(COMMON) $(BACKENDS) $(CACHE) $(FUSEFS)
LIB := $(B)/libpersifs.a
PROGRAMS := $(B)/persifs $(B)/persifs-ctl
UNIT := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*/test_*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/tools/%,$(wildcard tests/tools/*.c))
FAKES := $(wildcard tests/fake/*.c)

all: $(PROGRAMS) ## build the programs into build/VARIANT/
unit-build: $(UNIT)
test-tools: $(TEST_TOOLS)

$(LIB): $(LIB_SRC:%.c=$(B)/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/persifs: $(B)/fusefs/main.o $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/persifs-ctl: $(patsubst %.c,$(B)/%.o,$(wildcard tools/ctl/*.c)) $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(FAKES:%.c=$(B)/%.o) $(LIB)
	$(Q)$(CC) $(C_ALL) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(B)/tests/tools/%: tests/tools/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) $(LDFLAGS) -o $@ $< -pthread
$(B)/%.o: %.c
	$(Q)mkdir -p $(@D) && $(CC) $(C_ALL) -MMD -MP -c -o $@ $<
-include $(shell find $(B) -name '*.d' 2>/dev/null)

help: ## this list
	@sed -n 's/^\([a-z_-]*\):.*## /  \1\t/p' Makefile | expand -t 22
clean: ## remove build/
	$(Q)rm -rf build

.PHONY: all unit-build test-tools help clean
.SECONDARY:
