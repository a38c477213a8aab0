# SPDX-License-Identifier: BSD-2-Clause
# xdpcache: one Makefile, sections in pipeline order: abi -> bpf object -> skeleton -> user objects
# -> programs -> tests.
# Everything built lands in build/. `make help` lists the targets.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

B := build
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
LLVM_STRIP ?= $(firstword $(wildcard /usr/bin/llvm-strip /usr/bin/llvm-strip-14) llvm-strip)
PREFIX ?= /usr/local
# A system's own prefixes share /etc; any other is complete in itself.
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
DESTDIR ?=
VERSION := 0.1.0

Q := $(if $(V),,@)
msg = @printf '  %-8s %s\n' '$(1)' '$(2)'

WARN := -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wwrite-strings
CPPFLAGS := -D_GNU_SOURCE -DXC_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(B)
CFLAGS := -std=gnu17 -O2 -g $(WARN) -fno-strict-aliasing -fstack-protector-strong
SANFLAGS := -std=gnu17 -O1 -g $(WARN) -fno-strict-aliasing \
	-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
DEPFLAGS = -MMD -MP
# A program is linked to what its own rooms use.
LIBS := -Wl,--as-needed -lbpf -lelf -lz -lconfig -lcurl -ljansson -lmicrohttpd -lcap-ng \
	-lseccomp -lsystemd -lxxhash -lmnl -lpq -lsqlite3 -lssl -lcrypto -lpthread -lm

.PHONY: all
all: $(B)/xdpcache.bpf.o $(B)/xdpcached $(B)/xdpcache bench-programs
	@:

# --- bpf object and skeleton ----------------------------------------------------------------------
BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
BPF_CFLAGS := -std=gnu17 -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Iinclude -Ibpf \
	-D__TARGET_ARCH_$(BPF_ARCH) -I/usr/include/$(shell uname -m)-linux-gnu

$(B)/%.bpf.o: bpf/%.bpf.c Makefile
	$(call msg,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) $(DEPFLAGS) -MF $(@:.o=.d) -MT $@ -c $< -o $@
	$(Q)$(LLVM_STRIP) -g $@

# The object carries the product's name; its source, the program's.
$(B)/xdpcache.bpf.o: $(B)/fastpath.bpf.o
	$(Q)cp $< $@

$(B)/fastpath.skel.h: $(B)/xdpcache.bpf.o
	$(call msg,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name fastpath_bpf > $@

# Objects of tests and benchmarks: {tests,bench}/<path>/<name>.bpf.c -> build/<same>.{bpf.o,skel.h}
define bpf_side_rule
$(B)/$(1)/%.bpf.o: $(1)/%.bpf.c Makefile
	$$(call msg,BPF,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CLANG) $$(BPF_CFLAGS) $$(DEPFLAGS) -MF $$(@:.o=.d) -MT $$@ -c $$< -o $$@
	$$(Q)$$(LLVM_STRIP) -g $$@

$(B)/$(1)/%.skel.h: $(B)/$(1)/%.bpf.o
	$$(call msg,SKEL,$$@)
	$$(Q)$$(BPFTOOL) gen skeleton $$< name $$(notdir $$*)_bpf > $$@
endef
$(foreach d,tests bench,$(eval $(call bpf_side_rule,$(d))))
# Before the first depfile exists make cannot know who includes them: all beside them may.
skeletons_in = $(patsubst %.bpf.c,$(B)/%.skel.h,$(wildcard $(1)/*.bpf.c))
objects_in = $(patsubst %.c,$(B)/obj/%.o,$(filter-out %.bpf.c,$(wildcard $(1)/*.c)))
$(call objects_in,tests/bpf): | $(call skeletons_in,tests/bpf)
$(call objects_in,bench): | $(call skeletons_in,bench)

# --- user objects ---------------------------------------------------------------------------------
USER_SRC := $(filter-out user/main.c,$(wildcard user/*.c user/*/*.c))
USER_OBJ := $(USER_SRC:%.c=$(B)/obj/%.o)
ASAN_OBJ := $(USER_SRC:%.c=$(B)/asan/%.o)
CLI_SRC := $(wildcard tools/xdpcache/*.c)
CLI_OBJ := $(CLI_SRC:%.c=$(B)/obj/%.o)

$(B)/obj/%.o: %.c Makefile | $(B)/fastpath.skel.h
	$(call msg,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/asan/%.o: %.c Makefile | $(B)/fastpath.skel.h
	$(call msg,CC-SAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(SANFLAGS) $(DEPFLAGS) -c $< -o $@

# It has the status page's files in it.
$(foreach d,obj asan tsan,$(B)/$(d)/user/observe/page.o): $(wildcard user/observe/page/*)

$(B)/libxdpcache.a: $(USER_OBJ)
	$(call msg,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/libxdpcache_asan.a: $(ASAN_OBJ)
	$(call msg,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/xdpcached: $(B)/obj/user/main.o $(B)/libxdpcache.a
	$(call msg,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LIBS) -o $@

$(B)/xdpcache: $(CLI_OBJ) $(B)/libxdpcache.a
	$(call msg,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LIBS) -lncursesw -ltinfo -o $@

# --- benchmarks: bench/<name>.c -> build/bench/<name>, bench/<name>/*.c -> build/bench/<name> -----
BENCH_ONE := $(patsubst bench/%.c,$(B)/bench/%,$(filter-out %.bpf.c,$(wildcard bench/*.c)))
BENCH_DIR := $(sort $(patsubst bench/%/,$(B)/bench/%,$(dir $(wildcard bench/*/*.c))))
.PHONY: bench-programs
bench-programs: $(BENCH_ONE) $(BENCH_DIR)

$(BENCH_ONE): $(B)/bench/%: $(B)/obj/bench/%.o $(B)/libxdpcache.a
	$(call msg,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lm -o $@

# The packet benchmark makes its packets and fills its maps as the packet tests do.
$(B)/bench/packet: $(B)/obj/tests/lib/pktgen.o $(B)/obj/tests/lib/fastrig.o
# That of detection plays requests as their tests do, drawn or read as other benchmarks do.
$(B)/bench/hotset: $(addprefix $(B)/obj/,tests/lib/hotsim.o tests/lib/fake_clock.o \
	bench/hitratio/trace.o bench/load/zipf.o)
$(B)/obj/bench/%.o: CPPFLAGS += -Itests

define bench_dir_rule
$(1): $(patsubst %.c,$(B)/obj/%.o,$(wildcard bench/$(notdir $(1))/*.c)) $(B)/libxdpcache.a
	$$(call msg,LINK,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS) $$^ $$(LIBS) -lm -o $$@
endef
$(foreach d,$(BENCH_DIR),$(eval $(call bench_dir_rule,$(d))))

# --- tests ----------------------------------------------------------------------------------------
# tests/unit/test_*.c: ASan+UBSan, cmocka, no root. tests/bpf/test_*.c: root, BPF_PROG_TEST_RUN.
# tests/replica/test_*.c: no root, and no sanitizer: histories by the ten thousand.
TESTLIB_SRC := $(wildcard tests/lib/*.c)
UNIT_BIN := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
ROOT_BIN := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bpf/test_*.c tests/parity/test_*.c \
	tests/coherence/test_*.c tests/replica/test_*.c))

$(UNIT_BIN): $(B)/tests/%: $(B)/asan/tests/%.o $(TESTLIB_SRC:%.c=$(B)/asan/%.o) \
		$(B)/libxdpcache_asan.a
	$(call msg,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SANFLAGS) $^ $(LIBS) -lcmocka -lm -o $@

# It compares rings with the real client's.
$(B)/tests/unit/test_cluster_ring: LIBS += -lmemcached

$(ROOT_BIN): $(B)/tests/%: $(B)/obj/tests/%.o $(TESTLIB_SRC:%.c=$(B)/obj/%.o) $(B)/libxdpcache.a
	$(call msg,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $^ $(LIBS) -lcmocka -lm -o $@

# What several threads share, under the thread sanitizer: the store, with its tests that have some,
# and the whole daemon, for tests/protocol/test_races.py.
TSAN_OBJ := $(patsubst %.c,$(B)/tsan/%.o,$(wildcard user/store/*.c) \
	$(addprefix user/base/,alloc.c clock.c log.c rand.c utf8.c) \
	$(addprefix tests/lib/,fake_clock.c runopts.c store_rig.c))
TSAN_BIN := $(addprefix $(B)/tsan/test_store_,threads limit)

$(B)/tsan/%.o: %.c Makefile | $(B)/fastpath.skel.h
	$(call msg,CC-TSAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests -std=gnu17 -O1 -g $(WARN) -Wno-tsan -fno-strict-aliasing \
		-fsanitize=thread $(DEPFLAGS) -c $< -o $@

$(TSAN_BIN): $(B)/tsan/%: $(B)/tsan/tests/unit/%.o $(TSAN_OBJ)
	$(call msg,LINK,$@)
	$(Q)$(CC) -fsanitize=thread $^ -lxxhash -lcmocka -lpthread -o $@

$(B)/tsan/xdpcached: $(USER_SRC:%.c=$(B)/tsan/%.o) $(B)/tsan/user/main.o
	$(call msg,LINK,$@)
	$(Q)$(CC) -fsanitize=thread $^ $(LIBS) -o $@

.PHONY: tsan-programs
tsan-programs: $(TSAN_BIN) $(B)/tsan/xdpcached

## check-tsan: the store's tests with threads under the thread sanitizer; no root
.PHONY: check-tsan
check-tsan: $(TSAN_BIN)
	$(Q)for test in $^; do TSAN_OPTIONS=halt_on_error=1 $$test || exit; done

$(B)/obj/tests/%.o: CPPFLAGS += -Itests
.PHONY: test-programs
test-programs: $(UNIT_BIN) $(ROOT_BIN)

# --- packages -------------------------------------------------------------------------------------
# Root gets what is missing installed; anyone else is told. NO_DEPS=1: neither.
# A second make follows wherever packages may have come in: this one has looked for tools already.
deps = $(if $(NO_DEPS),true,tools/deps.sh $(1))
JOBS ?= $(shell nproc)
phase = +$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(1)

# --- running tests: docs/testing.md ---------------------------------------------------------------
## test: install what is missing, build, run every suite this machine can run (root: all of them)
.PHONY: test
test:
	$(Q)$(call deps,build test vm lint fuzz)
	$(call phase,all test-programs tsan-programs fuzz-programs $(NPM))
	$(call phase,vmtest-kernels)
	$(Q)tools/run_tests.sh

# Clients of npm, fetched here since tests run without a network; without them theirs are skipped.
NPM := $(B)/tests/npm/node_modules
NPM_LISTS := $(addprefix tests/protocol/clients/,package.json package-lock.json)
$(NPM): $(NPM_LISTS)
	$(call msg,NPM,$@)
	$(Q)mkdir -p $(@D) $@ && cp $(NPM_LISTS) $(@D) && touch $@
	-$(Q)cd $(@D) && npm ci --no-audit --no-fund --silent

## test-long: the long forms of the suites that have one; BUDGET=30m is for all of them together
.PHONY: test-long
BUDGET ?= 30m
test-long:
	$(Q)$(call deps,build test)
	$(call phase,all test-programs)
	$(Q)tools/run_tests.sh --long --budget $(BUDGET)

## check-unit: unit tests (address and undefined-behaviour sanitizers) and the tools' own; no root
.PHONY: check-unit check-bpf check-net check-vm
check-unit: $(UNIT_BIN)
	$(Q)tools/run_tests.sh --suite unit --suite tools

## check-bpf: packet, parity and coherence tests against the kernel's verifier and test runs; root
check-bpf: all test-programs
	$(Q)tools/run_tests.sh --suite bpf --suite parity --suite coherence

## check-net: daemon and fast path over veth and lo with real clients; root
check-net: all test-programs tsan-programs
	$(Q)tools/run_tests.sh --suite protocol --suite net

## check-vm, vmtest: packet tests on other kernels in virtual machines (KERNEL=6.1: that one); root
.PHONY: vmtest vmtest-kernels
check-vm vmtest: all test-programs vmtest-kernels
	$(Q)$(if $(KERNEL),XC_VM_KERNEL=$(KERNEL)) tools/run_tests.sh --suite vm

# Tests have no network: kernels are fetched before. Without one the suite says so and skips.
vmtest-kernels:
	$(Q)vmtest/fetch.sh || true

## lint: layers, style, format, cppcheck, shellcheck
.PHONY: lint
lint:
	$(Q)tools/lint.sh

## fmt: rewrites C files the way .clang-format says
.PHONY: fmt
fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

# --- showing and measuring ------------------------------------------------------------------------
## run: a demonstration: two namespaces, a veth pair, the daemon, traffic (TRACE=FILE); root
.PHONY: run
run:
	$(Q)$(call deps,build)
	$(call phase,all)
	$(Q)tools/demo.sh

## fuzz: every parser and a whole server under libFuzzer, FUZZ_SEC seconds each (1800)
FUZZ_SEC ?= 1800
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_FLAGS := -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all

# What the targets call, compiled with them: coverage of it is what the fuzzer follows.
$(FUZZ_BIN): $(B)/fuzz/%: tests/fuzz/%.c $(wildcard user/base/*.c user/protocol/*.c)
	$(call msg,FUZZER,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_FLAGS) $^ $(LIBS) -o $@
$(B)/fuzz/fuzz_frame: $(wildcard user/replica/*.c)
$(B)/fuzz/fuzz_pgoutput: user/origin/pgoutput.c
# The whole server but the kernel's part.
FUZZ_ROOMS := store command net hotkey observe replica route cluster origin
$(B)/fuzz/fuzz_session: $(foreach room,$(FUZZ_ROOMS),$(wildcard user/$(room)/*.c))

.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ_BIN)
fuzz:
	$(Q)$(call deps,build fuzz)
	$(call phase,$(FUZZ_BIN))
	$(Q)for f in $(FUZZ_BIN); do \
		mkdir -p $(B)/fuzz/found/$${f##*/}; \
		$$f -max_total_time=$(FUZZ_SEC) -print_final_stats=1 \
			-artifact_prefix=$(B)/fuzz/found/$${f##*/}/ $(B)/fuzz/found/$${f##*/} \
			tests/fuzz/corpus/$${f##*/fuzz_} || exit 1; \
	done

## bench: nanoseconds a packet on this machine's kernel; root
.PHONY: bench
bench: all
	$(Q)$(B)/bench/packet $(BENCH_ARGS)

# --- installing -----------------------------------------------------------------------------------
# MODE:FILE:PLACE, what install puts there and uninstall takes away; folders that are ours alone.
CONF := $(SYSCONFDIR)/xdpcache/xdpcached.conf
DOCS := $(PREFIX)/share/doc/xdpcache
INSTALLED := 0755:$(B)/xdpcached:$(PREFIX)/sbin/xdpcached \
	0755:$(B)/xdpcache:$(PREFIX)/bin/xdpcache \
	0644:$(B)/xdpcache.bpf.o:$(PREFIX)/lib/xdpcache/xdpcache.bpf.o \
	0644:$(B)/packaging/xdpcached.service:$(PREFIX)/lib/systemd/system/xdpcached.service \
	0644:tools/packaging/xdpcache.sysusers:$(PREFIX)/lib/sysusers.d/xdpcache.conf \
	0644:tools/packaging/xdpcached.conf:$(DOCS)/xdpcached.conf \
	$(foreach f,README.md LICENSE,0644:$(f):$(DOCS)/$(f)) \
	$(foreach f,$(wildcard docs/*.md docs/*.svg docs/*.png docs/decisions/*.md),\
		0644:$(f):$(DOCS)/$(f)) \
	$(foreach f,$(wildcard tools/observability/*),0644:$(f):$(DOCS)/$(f:tools/%=%))
OWN_DIRS := $(PREFIX)/lib/xdpcache $(DOCS)/docs/decisions $(DOCS)/docs $(DOCS)/observability \
	$(DOCS) \
	$(SYSCONFDIR)/xdpcache

# The unit names where things were installed.
EXEC := $(PREFIX)/sbin/xdpcached --config $(SYSCONFDIR)/
$(B)/packaging/xdpcached.service: tools/packaging/xdpcached.service FORCE
	$(Q)mkdir -p $(@D)
	$(Q)sed -e 's|=xdpcached --config /etc/|=$(EXEC)|' \
		-e 's|file:/usr/share/doc/xdpcache/|file:$(DOCS)/docs/|' $< > $@
.PHONY: FORCE

## install: into $(DESTDIR)$(PREFIX), which is /usr/local unless given; a configuration is kept
.PHONY: install uninstall
install: $(B)/xdpcached $(B)/xdpcache $(B)/xdpcache.bpf.o $(B)/packaging/xdpcached.service
	$(Q)for f in $(INSTALLED); do IFS=: read -r mode from to <<< "$$f"; \
		install -D -m $$mode $$from $(DESTDIR)$$to || exit; \
	done
	$(Q)if [ -e $(DESTDIR)$(CONF) ]; then echo '$(CONF) was there and stays'; else \
		install -D -m 0644 tools/packaging/xdpcached.conf $(DESTDIR)$(CONF); fi
	@echo 'installed; next, to run it under systemd: docs/operations.md, "Starting"'

## uninstall: removes what install put there; a configuration that was changed stays
uninstall:
	$(Q)for f in $(INSTALLED); do rm -f $(DESTDIR)$${f##*:} || exit; done
	$(Q)if cmp -s tools/packaging/xdpcached.conf $(DESTDIR)$(CONF); then rm $(DESTDIR)$(CONF); \
		elif [ -e $(DESTDIR)$(CONF) ]; then echo '$(CONF) was changed and stays'; fi
	$(Q)for d in $(OWN_DIRS); do \
		[ ! -d $(DESTDIR)$$d ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$d; \
	done

## all: the daemon, the command, the BPF object (make alone does this)
## clean: removes build/
## help: this list
.PHONY: help
help:
	@echo 'make TARGET [V=1 shows commands] [JOBS=N]'
	@sed -n 's/^## \([a-z, -]*\): \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | \
		sort | awk -F'\t' '{ printf "  %-18s %s\n", $$1, $$2 }'

.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf $(B)
