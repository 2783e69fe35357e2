# Everything runs from .venv, which `make` builds and keeps up to date by itself.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
DEPS := .venv/.deps
BUILT := .venv/.built
CONSTRAINTS := .ci/constraints.txt
# Folders too: their time changes when a file comes or goes.
RUST := Cargo.toml Cargo.lock core_rs/Cargo.toml $(shell find core_rs/src)

export PIP_CONSTRAINT := $(CURDIR)/$(CONSTRAINTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One interpreter for every build of the bindings; otherwise cargo would build pyo3 again at each change of tool.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2 }' Makefile

# What the machine itself must have; everything else comes into .venv.
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
define CHECK_TOOLS
fail() { echo "error: $$1" >&2; exit 2; }; \
command -v $(PYTHON) >/dev/null || fail "$(PYTHON) not found: install Python >= 3.11, or name one: make PYTHON=/path/to/python3"; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): name another one: make PYTHON=/path/to/python3"; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
  || fail "$(PYTHON) cannot make virtual environments: install its venv module (on Debian: python3-venv)"; \
command -v cargo >/dev/null || fail "cargo not found: install Rust >= $(RUST_VERSION) with rustup, the core is built from source"; \
have=$$(rustc --version | cut -d' ' -f2); \
printf '%s\n' $(RUST_VERSION) "$$have" | sort -VC || fail "Rust >= $(RUST_VERSION) is needed, rustc is $$have: rustup update"; \
command -v $${CC:-cc} >/dev/null || fail "no C compiler ($${CC:-cc}): install gcc or clang, the core links zstd"
endef

.PHONY: venv
venv: $(DEPS) ## make .venv with the pinned tools
$(DEPS): pyproject.toml $(CONSTRAINTS)
	@$(CHECK_TOOLS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

.PHONY: build
build: $(BUILT) ## build the Rust core and install the package, editable
$(BUILT): $(DEPS) $(RUST) $(if $(wildcard python/headwater/_core*.so),,missing-extension) | links
	$(BIN)/maturin develop --release --locked
	touch $@
.PHONY: missing-extension
missing-extension:

# Some checkouts and archives hold a link as a text file that names its target; nothing could be imported then.
.PHONY: links
links:
	@for name in events actors; do \
	  test -L python/headwater/$$name || { rm -f python/headwater/$$name && ln -s ../../$$name python/headwater/$$name; }; \
	done

.PHONY: demo
demo: $(BUILT) ## the demonstration; more with ARGS="--dataset ml-1m --path DIR"
	$(BIN)/headwater demo $(ARGS)

# A folder with ml-1m/, diginetica/, retailrocket/ and online-retail/; the rows of what is not there say so.
DATA ?= $(wildcard ../shared/data)
PEERS := .venv/.peers
$(PEERS): pyproject.toml .ci/bench-constraints.txt $(DEPS)
	$(BIN)/python -m pip install --quiet --group bench -c .ci/bench-constraints.txt
	touch $@

# Open Bandit Pipeline in an environment of its own: it is not needed to build or test, and its pins are others.
OBP := .venv/obp
$(OBP)/.built: .ci/obp-constraints.txt $(DEPS)
	$(PYTHON) -m venv $(OBP)
	$(OBP)/bin/python -m pip install --quiet -c .ci/obp-constraints.txt numpy pandas scikit-learn
	$(OBP)/bin/python -m pip install --quiet -c .ci/obp-constraints.txt --no-deps obp
	touch $@

.PHONY: obp-parity
obp-parity: $(BUILT) $(OBP)/.built ## off-policy estimates against Open Bandit Pipeline's
	$(BIN)/python tests/parity/make_obp_golden.py --check $(OBP)/bin/python

# ranx in an environment of its own, as above: it brings numba and much else.
RANX := .venv/ranx
$(RANX)/.built: .ci/ranx-constraints.txt $(DEPS)
	$(PYTHON) -m venv $(RANX)
	PIP_CONSTRAINT= $(RANX)/bin/python -m pip install --quiet -c .ci/ranx-constraints.txt ranx
	touch $@

.PHONY: ranx-parity
ranx-parity: $(BUILT) $(RANX)/.built ## accuracy of lists against ranx
	$(BIN)/python tests/parity/make_ranx_golden.py --check $(RANX)/bin/python

.PHONY: bench bench-ann bench-kernels bench-engine bench-recall bench-rust fuzz sanitize miri
bench: bench-engine bench-kernels ## measure this machine: the engine, then the kernels
bench-kernels: $(BUILT) $(PEERS) ## every kernel beside its peers and the machine's limit
	$(BIN)/headwater bench kernels $(if $(DATA),--data $(DATA)) $(ARGS)
bench-engine: $(BUILT) ## a whole engine: import, rebuild, queries, freshness
	$(BIN)/headwater bench $(ARGS)
bench-recall: $(BUILT) $(PEERS) ## bounded co-occurrence rows against exact ones
	$(BIN)/headwater bench recall $(if $(DATA),--data $(DATA)) $(ARGS)
bench-ann: $(BUILT) ## approximate search against the exact scan
	$(BIN)/headwater bench ann $(ARGS)
bench-rust: ## criterion benchmarks of the core
	cargo bench --locked -p headwater-bench $(ARGS)
fuzz: ## damaged frames and snapshots for a minute; more with ARGS="600 7" (seconds, seed)
	cargo run --locked --release -p headwater-bench --bin fuzz -- $(or $(ARGS),60)
# The flag is for nightly compilers; the variable lets the stable one take it, so that the pinned compiler is what is tested.
# A test asks for more memory than there is: that is refused as it is elsewhere, instead of ending the process.
sanitize: ## the core's unit tests under AddressSanitizer; fewer with ARGS="diversity::"
	ASAN_OPTIONS=allocator_may_return_null=1 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address PROPTEST_CASES=$(or $(CASES),32) \
	  cargo test --locked -p headwater-core --lib --target $(shell rustc -vV | sed -n 's/^host: //p') --target-dir target/sanitize $(ARGS)

# Trees instead of stacks of borrows, and leaks ignored, because of crossbeam under rayon. Miri has neither AVX-512 nor the patience
# for the kernels' proptests; what it is for is memory that is handed between threads.
miri: ## unsafe hand-overs under Miri: rustup +nightly component add miri rust-src; others with ARGS="bitmap::"
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-ignore-leaks" PROPTEST_CASES=$(or $(CASES),2) \
	  cargo +nightly miri test --locked -p headwater-core --lib --target-dir target/miri -- \
	  $(or $(ARGS),beside:: spare_threads:: topk::)

# Python tests run in so many processes, each test module in one of them.
WORKERS ?= 2

.PHONY: test
test: $(BUILT) ## Rust and Python tests, without the slow and chaos ones
	cargo test --locked --quiet -p headwater-core -p headwater-bench
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not chaos and not slow" $(ARGS)

.PHONY: slow chaos
slow: $(BUILT) ## the tests that take minutes
	$(BIN)/pytest -m slow $(ARGS)
chaos: $(BUILT) ## the tests that kill processes
	$(BIN)/pytest -m chaos $(ARGS)

.PHONY: screenshots http-fuzz
screenshots: $(BUILT) ## the live page in Chromium, into artefacts/screenshots/
	$(BIN)/pytest tests/e2e/test_browser.py $(ARGS)
http-fuzz: $(BUILT) ## schemathesis against the HTTP gateway, more cases than `make test` tries
	HEADWATER_HTTP_CASES=$(or $(CASES),200) $(BIN)/pytest tests/e2e/test_http_schema.py $(ARGS)

.PHONY: lint lint-python lint-types lint-rust
lint: lint-python lint-types lint-rust ## formatting, lints, types, stubs and the direction of imports
# import-linter reads the installed package, hence the build.
lint-python: $(BUILT)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
lint-types: $(BUILT)
	$(BIN)/mypy
	$(BIN)/stubtest headwater._core
lint-rust: $(DEPS)
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p headwater-core --all-targets --features python -- -D warnings

.PHONY: format
format: $(DEPS) ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cargo fmt

.PHONY: wheel
wheel: $(DEPS) ## wheel and sdist into dist/
	$(BIN)/maturin build --release --locked --out dist
	$(BIN)/maturin sdist --out dist

.PHONY: clean
clean: ## remove what was built, .venv included
	rm -rf .venv dist target python/headwater/_core*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find python events actors tests -name __pycache__ -prune -exec rm -rf {} +
