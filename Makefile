# cwguard: one file builds, tests and installs everything. `make help` lists the targets.
#
#   make V=1                    show the commands
#   make CC=clang               gcc is the default
#   make SAN=address            also undefined, thread: objects go to build-address/ …
#   make BUILD=DIR              put everything somewhere else
#   make NO_DEPS=1 check        do not look for missing packages first
#   make WERROR=                for compilers that know warnings we have not met

ifeq ($(origin CC),default)
CC := gcc
endif
SAN     ?=
BUILD   ?= build$(if $(SAN),-$(SAN))
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
BINDIR  ?= $(PREFIX)/bin
MANDIR  ?= $(PREFIX)/share/man
DOCDIR  ?= $(PREFIX)/share/doc/cwguard
COMPDIR ?= $(PREFIX)/share/bash-completion/completions
DESTDIR ?=
CFLAGS  ?= -O2 -g
WERROR  ?= -Werror
V       ?= 0
Q       := $(if $(filter 0,$(V)),@)
say     = $(if $(filter 0,$(V)),@printf '  %-7s %s\n' $(1) $(2))

.DEFAULT_GOAL := all
.SECONDEXPANSION:
.DELETE_ON_ERROR:
.SECONDARY:

# --- packages: the one list, by their Debian and Ubuntu names ---

# To build, for `make demo` and for `make check`.
DEPS      := libc6-dev libunwind-dev libdw-dev libelf-dev libiberty-dev libsodium-dev libncurses-dev libcmocka-dev \
             binutils g++ iproute2 musl-tools libcap2-bin libdebuginfod1 procps util-linux python3 strace tmux man-db
# For `make check-real`: servers and runtimes that people run.
DEPS_REAL := nginx apache2-bin gunicorn redis-server redis-tools nodejs python3-urllib3 default-jdk-headless wrk curl golang-go
# For `make lint` and the clang build of .ci/run; for `make check-fresh`.
DEPS_LINT := clang clang-format clang-tidy cppcheck shellcheck
DEPS_FRESH := debootstrap
DEPS_FUZZ  := clang libclang-rt-14-dev

# --- sources ---

CORE_SRC    := $(sort $(wildcard core/*.c))
PRELOAD_SRC := $(sort $(wildcard preload/*.c))
PRELOAD_ASM := $(sort $(wildcard preload/*.S))
CLI_SRC     := $(sort $(wildcard cli/*.c cli/*/*.c))
UNIT_SRC    := $(sort $(wildcard test/unit/test_*.c))
EXAMPLE_SRC := $(sort $(wildcard examples/*/*.c))

objs        = $(patsubst %,$(BUILD)/%.o,$(basename $(1)))
bins        = $(patsubst %,$(BUILD)/%,$(basename $(1)))
CORE_OBJ    := $(call objs,$(CORE_SRC))
PRELOAD_OBJ := $(call objs,$(PRELOAD_SRC) $(PRELOAD_ASM))
CLI_OBJ     := $(call objs,$(CLI_SRC))
UNIT_BIN    := $(call bins,$(UNIT_SRC))
EXAMPLE_BIN := $(call bins,$(EXAMPLE_SRC))

LIB  := $(BUILD)/libcwguard.so
TOOL := $(BUILD)/cwguard
COMPLETION := $(BUILD)/cwguard.bash

# --- flags ---

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 $(WERROR)
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer \
             $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all))
# Core goes into both halves, so it is position-independent and hidden; nothing in it is exported.
CW_CFLAGS := -std=gnu11 -I. $(WARN) -fPIC -fvisibility=hidden $(SAN_FLAGS)

# The shim: frame pointers for the hooks' own call site, unwind tables so that a cancellation passes through, no fortify
# (distributions switch it on, and its inline `read` would collide with ours), TLS that fits the static surplus. Functions
# that libc calls deprecated are hooked like any other.
PRELOAD_CFLAGS := -fno-omit-frame-pointer -fexceptions -fno-plt -ftls-model=initial-exec -U_FORTIFY_SOURCE \
                  -Wno-deprecated-declarations
# Bound at load (a lazy binding takes the loader's lock), never unloaded (it has fork handlers and signal handlers).
LIB_LDFLAGS := -shared -Wl,-soname,libcwguard.so -Wl,-z,now -Wl,-z,relro -Wl,-z,nodelete -Wl,-z,noexecstack \
               -Wl,--as-needed -static-libgcc $(if $(SAN),,-Wl,-z,defs)
TOOL_LDFLAGS := -pie -Wl,-z,now -Wl,-z,relro -Wl,--as-needed
TOOL_LIBS   := -ldw -lelf -liberty -lunwind-ptrace -lunwind-x86_64 -lsodium -lncursesw -ltinfo

# --- build ---

all: $(LIB) $(TOOL) $(COMPLETION) ## build build/libcwguard.so and build/cwguard (the default)

# Changes when the compiler or the flags do, so that a build directory never mixes two.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS) $(CW_CFLAGS) $(PRELOAD_CFLAGS) $(LDFLAGS)' | cmp -s - $@ || \
	    echo '$(CC) $(CFLAGS) $(CW_CFLAGS) $(PRELOAD_CFLAGS) $(LDFLAGS)' > $@

$(BUILD)/preload/%: OWN_CFLAGS = $(PRELOAD_CFLAGS)
# AddressSanitizer's runtime calls hooks before its shadow memory is there: what they enter first is left as it is.
ifeq ($(SAN),address)
$(BUILD)/preload/hooks% $(BUILD)/preload/wrap%: OWN_CFLAGS = $(PRELOAD_CFLAGS) -fno-sanitize=address
endif
$(BUILD)/examples/%: OWN_CFLAGS = -O1 -g

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(CPPFLAGS) $(CW_CFLAGS) $(OWN_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.S $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CFLAGS) $(CPPFLAGS) -I. -MMD -MP -c -o $@ $<

# The names that the library exports: the rows of preload/hooks.inc, put through the preprocessor.
$(BUILD)/exports.list: preload/exports.h $(wildcard preload/*.inc) $(BUILD)/flags
	$(Q)$(CC) -E -P -x c -I. -DCW_EXPORT_LIST -o - preload/exports.h | tr -s '; \t' '\n' | sed '/^$$/d' | sort -u > $@

# The node has no name: with a name, a program that asks for close@GLIBC_2.2.5 would silently go past us.
$(BUILD)/exports.map: $(BUILD)/exports.list
	$(Q)sed -e '1i { global:' -e 's/$$/;/' -e '$$a local: *; };' $< > $@

$(LIB): $(PRELOAD_OBJ) $(CORE_OBJ) $(BUILD)/exports.map
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) $(LIB_LDFLAGS) $(LDFLAGS) -Wl,--version-script=$(BUILD)/exports.map \
	    -o $@ $(PRELOAD_OBJ) $(CORE_OBJ)

$(TOOL): $(CLI_OBJ) $(CORE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) $(TOOL_LDFLAGS) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS)

# What the shell can complete is what the tool's own tables say.
$(COMPLETION): $(TOOL)
	$(call say,GEN,$@)
	$(Q)$(TOOL) completion bash >$@

$(EXAMPLE_BIN): %: %.o
	$(call say,LD,$@)
	$(Q)$(CC) -g $(SAN_FLAGS) $(LDFLAGS) -pthread -o $@ $<

examples: $(EXAMPLE_BIN) ## build the example servers and the demo's client

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# --- install: one list for both directions ---

# Documents for users, placed as in the source tree, so that the links between them hold.
DOCUMENTS := README.md README.zh.md docs/diagnoses.md docs/options.md docs/tcp-states.md docs/tcp-states.zh.md \
             docs/report.schema.json
INSTALLED := $(LIBDIR)/libcwguard.so $(BINDIR)/cwguard $(MANDIR)/man1/cwguard.1 $(MANDIR)/man7/cwguard.7 \
             $(COMPDIR)/cwguard $(addprefix $(DOCDIR)/,$(DOCUMENTS))
from_libcwguard.so      = $(LIB)
from_cwguard            = $(TOOL)
from_cwguard.1          = docs/man/cwguard.1
from_cwguard.7          = docs/man/cwguard.7
installed_from          = $(if $(filter $(COMPDIR)/%,$1),$(COMPLETION),$(or $(from_$(notdir $1)),$(1:$(DOCDIR)/%=%)))

install: all ## install library, tool, man pages, completion, documents (PREFIX, LIBDIR, DESTDIR)
	$(Q)set -e; $(foreach f,$(INSTALLED),\
	    install -D -m $(if $(filter $(BINDIR)/%,$f),755,644) $(call installed_from,$f) '$(DESTDIR)$f'; echo '  INSTALL $(DESTDIR)$f';)

uninstall: ## remove what install put there
	$(Q)rm -f $(foreach f,$(INSTALLED),'$(DESTDIR)$f')
	$(Q)rmdir '$(DESTDIR)$(DOCDIR)/docs' '$(DESTDIR)$(DOCDIR)' 2>/dev/null || :

# --- packages ---

install_deps = $(if $(NO_DEPS),:,sh test/support/deps.sh)

deps: ## install the packages that build, demo and check need, if any is missing (Debian, Ubuntu)
	@$(install_deps) $(DEPS)

deps-real: ## likewise the servers and runtimes of check-real
	@$(install_deps) $(DEPS_REAL)

deps-lint: ## likewise clang and the linters
	@$(install_deps) $(DEPS_LINT)

# --- first use ---

# Two commands do everything, so they use the whole machine unless told otherwise by -j.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

demo: deps ## build, let a server leak sockets under the library, show its report
	@$(MAKE) --no-print-directory $(JOBS) all examples
	@BUILD=$(BUILD) sh examples/demo/run.sh

# --- tests ---
#
# Every suite goes through test/support/run.sh, which counts; `check` adds the counts up.
# A test in test/preload, test/stress or test/bench that includes test/support/X.h is linked with X.c and with those
# parts of the shim that it needs, hooks apart. Any other is an ordinary program; in test/preload it runs with the library
# preloaded.

PRELOAD_TEST_SRC := $(sort $(wildcard test/preload/test_*.c))
STRESS_SRC := $(sort $(wildcard test/stress/*.c))
BENCH_SRC  := $(sort $(wildcard test/bench/*.c))
support_of  = $(patsubst %.h,$(BUILD)/%.o,$(shell grep -oh 'test/support/[a-z_]*\.h' $(1)))
$(foreach t,$(PRELOAD_TEST_SRC) $(STRESS_SRC) $(BENCH_SRC),$(eval SUPPORT_$(notdir $(basename $t)) := $(call support_of,$t)))
PRELOAD_LINKED := $(call bins,$(foreach t,$(PRELOAD_TEST_SRC),$(if $(SUPPORT_$(notdir $(basename $t))),$t)))
PRELOAD_PLAIN  := $(call bins,$(foreach t,$(PRELOAD_TEST_SRC),$(if $(SUPPORT_$(notdir $(basename $t))),,$t)))
# AddressSanitizer's own interceptors stand in front of our rows, and catch the bad pointers that this test passes on purpose.
PRELOAD_PLAIN  := $(if $(filter address,$(SAN)),$(filter-out %/test_hooks,$(PRELOAD_PLAIN)),$(PRELOAD_PLAIN))
STRESS_BIN := $(call bins,$(STRESS_SRC))
BENCH_BIN  := $(call bins,$(BENCH_SRC))
TEST_SCRIPTS := $(sort $(wildcard test/cli/test_*.sh))

FIXTURE := $(call objs,$(wildcard test/unit/fixture.c))
# What the tool shows is tested with made-up reports, too.
$(BUILD)/test/unit/test_top: $(call objs,cli/top/model.c cli/top/rows.c cli/top/text.c cli/top/detail.c)

$(UNIT_BIN): %: %.o $(FIXTURE) $(CORE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ -lcmocka

# An archive, so that what a harness defines in place of the shim's own is taken from the harness.
PARTS := $(BUILD)/shim-parts.a
$(PARTS): $(filter-out %/hooks.o %/wrap.o,$(call objs,$(PRELOAD_SRC)))
	$(Q)rm -f $@ && ar rcs $@ $^

$(PRELOAD_LINKED) $(STRESS_BIN) $(BENCH_BIN): %: %.o $$(SUPPORT_$$(notdir $$*)) $(PARTS) $(CORE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) $(LDFLAGS) -pthread -o $@ $(filter %.o,$^) $(PARTS) -lcmocka -ldl

$(PRELOAD_PLAIN): %: %.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) $(LDFLAGS) -pthread -o $@ $< -lcmocka -ldl

# Libraries preloaded into ordinary programs: a sanitizer's runtime has to come before what was built with it.
SAN_LIB_address := libasan.so
SAN_LIB_thread  := libtsan.so
SAN_RUNTIME := $(if $(SAN_LIB_$(SAN)),$(shell $(CC) -print-file-name=$(SAN_LIB_$(SAN))):)

RUN := BUILD=$(BUILD) sh test/support/run.sh
SUITES := rules unit preload cli e2e

check: deps ## all tests but those with real servers; the last line says how many passed
	@rm -rf $(BUILD)/results
	@$(MAKE) --no-print-directory $(JOBS) all examples
	@rc=0; for s in $(SUITES); do $(MAKE) --no-print-directory $(JOBS) check-$$s || rc=1; done; \
	    sh test/support/total.sh $(BUILD)/results || rc=1; exit $$rc

check-unit: $(UNIT_BIN) ## core, with a fake clock and kernel
	@$(RUN) unit $^

check-preload: $(LIB) $(TOOL) $(PRELOAD_LINKED) $(PRELOAD_PLAIN) ## parts of the shim, and programs under it
	@$(RUN) preload $(PRELOAD_LINKED) --preload '$(SAN_RUNTIME)$(abspath $(LIB))' $(PRELOAD_PLAIN)

check-cli: all ## the tool
	@$(RUN) cli $(TEST_SCRIPTS)

check-e2e: all examples ## small victims, the examples, causes by event style, 10,000 sockets, process trees: compared with ss
	@$(RUN) e2e --stream test/e2e/run test/e2e/examples test/e2e/matrix test/e2e/scale test/e2e/runs test/e2e/trees test/e2e/watch

check-real: deps deps-real ## nginx, apache2, redis, python, node, java, go: under load, idle, forking, in whole trees
	@$(MAKE) --no-print-directory $(JOBS) all
	@$(RUN) real --stream test/real/run test/real/trees

check-stress: ## many threads, under ThreadSanitizer
	@$(MAKE) --no-print-directory $(JOBS) SAN=thread BUILD=$(BUILD)-thread run-stress

run-stress: $(STRESS_BIN)
	@$(RUN) stress $^

# Every file in test/fuzz is a libFuzzer target.
FUZZ_SECONDS ?= 60
FUZZ_SRC := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ_BIN := $(call bins,$(FUZZ_SRC))

$(FUZZ_BIN): %: %.o $(call objs,cli/ledger/load.c cli/ledger/adopt.c cli/ledger/find.c) $(CORE_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN_FLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^

fuzz: deps ## what comes from outside: each target of test/fuzz for FUZZ_SECONDS=60
	@$(install_deps) $(DEPS_FUZZ)
	@$(MAKE) --no-print-directory $(JOBS) all examples
	@$(MAKE) --no-print-directory $(JOBS) CC=clang SAN=address,undefined BUILD=$(BUILD)-fuzz \
	    CPPFLAGS='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all' fuzz-targets
	@BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) test/fuzz/run $(FUZZ_BIN:$(BUILD)/%=$(BUILD)-fuzz/%)

fuzz-targets: $(FUZZ_BIN)

check-rules: all ## what design and packaging promise: include rule, purity, ABI, documents
	+@$(RUN) rules $(foreach r,includes purity abi docs flow links translations,--make check-$r)

check-includes: ## include <- core <- preload, include <- core <- cli
	@sh test/support/check-includes.sh

check-purity: $(CORE_OBJ) $(PRELOAD_OBJ) ## core touches nothing outside itself, the shim no malloc, stdio or lock
	@sh test/support/check-purity.sh '$(CORE_OBJ)' '$(PRELOAD_OBJ)'

check-abi: $(LIB) $(BUILD)/exports.list ## the library needs libc alone, little TLS, exports its hooks and no more
	@sh test/support/check-abi.sh $(LIB) $(BUILD)/exports.list $(SAN)

check-fresh: ## make demo and make check in a new minimal Debian (root; debootstrap)
	@$(install_deps) $(DEPS_FRESH)
	@sh test/support/fresh-root.sh

# --- documents that are generated ---

docs: $(TOOL) ## regenerate docs/options.md, diagnoses.md, hooks.md and the lists in docs/man/cwguard.7
	@sh test/support/gen-docs.sh $(TOOL) docs '$(CC)'

check-docs: $(TOOL) ## whether they are fresh
	@rm -rf $(BUILD)/docs && mkdir -p $(BUILD)/docs && sh test/support/gen-docs.sh $(TOOL) $(BUILD)/docs '$(CC)'
	@for f in options.md diagnoses.md hooks.md man/cwguard.7; do diff -u docs/$$f $(BUILD)/docs/$$f || \
	    { echo "docs/$$f is not fresh: run 'make docs' and commit it"; exit 1; }; done

# --- documents that are written by hand ---

check-flow: ## docs/tcp-states.md against core/diagnoses.inc and the examples
	@python3 test/support/check_prose.py flow

check-links: ## links from one document to another file
	@python3 test/support/check_prose.py links

check-translations: ## whether each *.zh.md translates its original as it is now
	@python3 test/support/check_prose.py translations

translation-done: ## FILE=README.zh.md: say that it has been brought up to date with its original
	@python3 test/support/check_prose.py refresh $(FILE)

# --- lint, bench, clean, help ---

C_FILES := $(sort $(wildcard include/*.h core/*.[ch] preload/*.[ch] cli/*.[ch] cli/*/*.[ch] examples/*/*.[ch] \
             test/unit/*.[ch] test/preload/*.[ch] test/stress/*.[ch] test/bench/*.[ch] test/support/*.[ch] \
             test/e2e/*.[ch] test/e2e/victims/*.[ch] test/e2e/victims/*/*.[ch] test/cli/*.[ch] test/real/*.[ch] test/fuzz/*.[ch]))

# The ledger's layout is a set of tables, aligned by hand.
FORMAT_FILES := $(filter-out include/cwguard_ledger.h,$(C_FILES))

lint: lint-format lint-tidy lint-cppcheck lint-shell ## clang-format, clang-tidy, cppcheck, shellcheck

lint-format: ## layout only: `make format` mends it
	$(Q)clang-format --dry-run -Werror $(FORMAT_FILES)

lint-tidy:
	$(Q)printf '%s\n' $(CORE_SRC) $(PRELOAD_SRC) $(CLI_SRC) | xargs -P 2 -n 4 sh -c \
	    'clang-tidy --quiet --warnings-as-errors="*" "$$@" -- -std=gnu11 -I. $(PRELOAD_CFLAGS)' tidy

# What it cannot know: that a raw system call fills what it points at, and returns no pointer when below zero.
HASH := \#
CPPCHECK_BLIND := missingInclude arrayIndexOutOfBoundsCond nullPointerRedundantCheck nullPointerArithmeticRedundantCheck \
                  uninitvar

lint-cppcheck:
	$(Q)cppcheck --quiet -j 2 --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
	    $(CPPCHECK_BLIND:%=--suppress=%) -D__x86_64__ -D__linux__ -D__GNUC__=12 \
	    '-DElfW(type)=Elf64_$(HASH)$(HASH)type' -I. $(CORE_SRC) $(PRELOAD_SRC) $(CLI_SRC)

lint-shell:
	$(Q)shellcheck -s sh -S warning .ci/run test/support/*.sh examples/demo/run.sh $(TEST_SCRIPTS)

format: ## lay out all C files as .clang-format says
	$(Q)clang-format -i $(FORMAT_FILES)

bench: all $(BENCH_BIN) ## what the shim's parts cost, and what watching takes
	$(Q)for b in $(BENCH_BIN) test/bench/watch; do echo "== $$b"; BUILD=$(BUILD) $$b || exit 1; done

clean: ## remove build/ and the sanitizers' build directories
	rm -rf $(BUILD) $(if $(filter build,$(BUILD)),build-address build-undefined build-thread build-fuzz build-ci-gcc build-ci-clang)

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'
	@echo "Variables: CC, CFLAGS, SAN=address|undefined|thread, BUILD, PREFIX, LIBDIR, DESTDIR, V=1, NO_DEPS=1"

FORCE:
.PHONY: all examples install uninstall deps deps-real deps-lint demo check check-unit check-preload check-cli check-e2e \
    check-real check-stress run-stress fuzz fuzz-targets check-rules check-includes check-purity check-abi check-docs check-flow \
    check-links check-translations translation-done check-fresh docs \
    lint lint-format lint-tidy lint-cppcheck lint-shell format bench clean help FORCE
