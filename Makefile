# durable: build with `make`, install with `make install`; both follow PG_CONFIG.
# `make demo` and `make test` need nothing but a Debian machine: see test/sandbox.

EXTENSION = durable
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" durable.control)
MODULE_big = durable
OBJS = $(patsubst %.c,%.o,$(filter-out src/gateway/%,$(sort $(wildcard src/*/*.c))))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA = $(wildcard src/sql/upgrade/$(EXTENSION)--*--*.sql)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CPPFLAGS = -Isrc -DDURABLE_VERSION='"$(EXTVERSION)"'
EXTRA_CLEAN = src/.build-for results regression.diffs regression.out output_iso test/output

PG_CONFIG ?= pg_config

# The HTTP gateway is a program; PGXS builds and installs it as what it calls a script.
GATEWAY = src/gateway/durable-gateway
GATEWAY_CFLAGS = -D_GNU_SOURCE -DDURABLE_VERSION='"$(EXTVERSION)"' -I$(shell $(PG_CONFIG) --includedir 2>/dev/null)
ifeq ($(shell printf '\043include <%s>\n' microhttpd.h libpq-fe.h | $(CC) $(GATEWAY_CFLAGS) -E - >/dev/null 2>&1 && echo yes),yes)
SCRIPTS_built = $(GATEWAY)
endif

# For `make installcheck` against a running server; `make test` brings its own.
REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=durable
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=output_iso --load-extension=durable

# Bitcode needs clang, which is often missing: only `make with_llvm=yes` builds it.
override with_llvm ?= no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
else ifneq ($(filter-out test demo bench figures docs deps,$(or $(MAKECMDGOALS),all)),)
# On a fresh machine `make test` and `make demo` install the build tools first.
$(error no PGXS at "$(PGXS)": install postgresql-server-dev-15 (`make deps`) or set PG_CONFIG)
endif

# Objects built for one server must not be linked for another.
BUILD_FOR := $(shell ($(PG_CONFIG) --version --configure --pkglibdir; echo '$(COPT)') 2>/dev/null | cksum)
$(shell echo '$(BUILD_FOR)' | cmp -s - src/.build-for || { [ ! -d src ] || echo '$(BUILD_FOR)' >src/.build-for; })

$(OBJS): src/.build-for $(filter-out src/gateway/%,$(wildcard src/*/*.h))

ifeq ($(SCRIPTS_built)$(filter test demo docs deps clean,$(MAKECMDGOALS)),)
$(info durable-gateway is left out: it needs libmicrohttpd-dev and libpq-dev (`make deps`))
endif
.PHONY: gateway
gateway: $(GATEWAY)
GATEWAY_FLAGS = $(filter -D_FORTIFY_SOURCE=%,$(CPPFLAGS)) $(filter-out -Wdeclaration-after-statement,$(CFLAGS)) $(GATEWAY_CFLAGS)
$(GATEWAY): $(wildcard src/gateway/*.[ch]) src/common/links.h src/.build-for durable.control
	$(CC) $(GATEWAY_FLAGS) $(filter %.c,$^) -o $@ \
		-L$(shell $(PG_CONFIG) --libdir) -Wl,-z,relro,-z,now $(GATEWAY_LDFLAGS) -lmicrohttpd -lpq

# The directory is a prerequisite so that a removed part is noticed.
$(DATA_built): $(sort $(wildcard src/sql/*.sql)) src/sql durable.control
	cat $(filter %.sql,$^) >$@

deps:
	PG_CONFIG='$(PG_CONFIG)' test/deps

# T=pattern runs only the test files whose path matches the regular expression.
test:
	@PG_CONFIG='$(PG_CONFIG)' test/sandbox test/run '$(T)'

# The server in valgrind: slow, so that only some tests do, which say nothing about time.
memcheck:
	@command -v valgrind >/dev/null || { echo "memcheck needs valgrind: apt-get install valgrind" >&2; exit 1; }
	@VALGRIND=yes PG_CONFIG='$(PG_CONFIG)' test/sandbox test/run \
		'$(or $(T),sql/(hello|tasks|events|children|rewind|retries|query|call_sql|bad_input|purge|restart|determinism)\.sql)'

demo:
	@PG_CONFIG='$(PG_CONFIG)' test/sandbox test/demo.sh

# B="hello wal" runs only these workloads; PEERS=1 adds other engines, which npm installs into test/bench/peers.
bench:
	@mkdir -p test/bench/results
	@if [ '$(PEERS)' = 1 ]; then test/bench/peers/install; fi
	@results=test/bench/results/$$(date -u +%Y-%m-%d-%H%M).json; trap 'rm -f $$results.new' EXIT; \
	PG_CONFIG='$(PG_CONFIG)' BENCH_PEERS='$(PEERS)' test/sandbox test/bench/run $(B) 3>$$results.new; status=$$?; \
	if [ -s $$results.new ]; then mv $$results.new $$results; echo "$$results"; fi; exit $$status

# The figures of README.md and docs/performance.md, from the newest results.
figures:
	perl test/bench/figures.pl

# docs/reference.md, from the COMMENTs, the settings' descriptions and docs/errors.tsv.
docs:
	@PG_CONFIG='$(PG_CONFIG)' test/sandbox test/docs.sh
	@cp test/output/reference.md docs/reference.md

# What is wrong with the source, as two compilers, cppcheck and test/lint.pl see it. clang passes over what only gcc knows.
LINT_CLANG = clang -fsyntax-only -Werror
LINT_CLANG_FLAGS = -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes
EACH_SOURCE = printf '%s\n' $(OBJS:.o=.c) | xargs -P 2 -n 1
EACH_GATEWAY_SOURCE = printf '%s\n' $(if $(SCRIPTS_built),$(wildcard src/gateway/*.c)) | xargs -r -P 2 -n 1
# These are for the compilers: cppcheck does not know that ereport(ERROR) does not return.
CPPCHECK_FALSE = nullPointerRedundantCheck uninitvar legacyUninitvar missingReturn
lint:
	$(EACH_SOURCE) $(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_SL) -Werror -o /dev/null -c
	$(EACH_GATEWAY_SOURCE) $(CC) $(GATEWAY_FLAGS) -Werror -o /dev/null -c
	if command -v clang >/dev/null; then \
		$(EACH_SOURCE) $(LINT_CLANG) $(CPPFLAGS) $(CFLAGS) $(LINT_CLANG_FLAGS) && \
		$(EACH_GATEWAY_SOURCE) $(LINT_CLANG) $(GATEWAY_FLAGS) $(LINT_CLANG_FLAGS); fi
	if command -v cppcheck >/dev/null; then \
		cppcheck -q -j 2 --enable=warning,portability --inline-suppr --error-exitcode=1 \
			--suppress=unknownMacro --suppress=missingIncludeSystem $(CPPCHECK_FALSE:%=--suppress=%) src; fi
	perl test/lint.pl

.PHONY: deps test demo bench figures docs lint
