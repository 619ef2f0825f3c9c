# The two commands that matter: `make test` is everything that CI runs, `make demo` shows keyward at work.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:

VENV := .venv
DEBUG := $(abspath $(or $(CARGO_TARGET_DIR),target)/debug)
KEYWARD_BIN ?= $(DEBUG)/keyward
# How long each fuzz target runs in `make fuzz`, and which ones do: all, unless they are named.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?=
# How many kills and power cuts in `make survive`.
SURVIVE_ROUNDS ?= 300

.PHONY: survive help build test lint tracer syslog verifier unit doc clients examples readers differential fuzz-short fuzz demo bench bench-trail clean-clients

help: ## Show the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: | cargo ## Build keyward
	cargo build

# The clients call the binary of `cargo build`, with the features that users get: what the tests' own dependencies switch
# on besides is left out, for which a cold run compiles keyward and two small crates once more, and nothing else.
test: lint unit doc clients readers fuzz-short ## Run everything that CI runs

lint: | cargo ## Check format and lints
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --no-default-features -- -D warnings

# The tests of failing disks inject faults by strace, and say so when they cannot.
tracer:
	@command -v strace >/dev/null || { [[ $$EUID -eq 0 ]] && command -v apt-get >/dev/null && \
	{ apt-get install -y strace || { apt-get update && apt-get install -y strace; }; } >/dev/null 2>&1; } || \
	echo 'strace is missing: the tests of failing disks will be skipped; install it, for example with `apt-get install strace`' >&2

# A real syslog server takes what is pushed, and says so when there is none.
syslog:
	@{ command -v rsyslogd && ls /usr/lib/*/rsyslog/lmnsd_gtls.so /usr/lib/*/rsyslog/lmnsd_ossl.so; } >/dev/null 2>&1 || { [[ $$EUID -eq 0 ]] && command -v apt-get >/dev/null && \
	{ apt-get install -y rsyslog rsyslog-gnutls rsyslog-openssl || { apt-get update && apt-get install -y rsyslog rsyslog-gnutls rsyslog-openssl; }; } >/dev/null 2>&1; } || \
	echo 'rsyslog is missing: no real syslog server will take what is pushed; install rsyslog, rsyslog-gnutls and rsyslog-openssl' >&2

# The independent verifier is Go, on Debian's package of golang.org/x/mod; without them its tests say that they are skipped.
verifier:
	@test -d /usr/share/gocode/src/golang.org/x/mod/sumdb && command -v go >/dev/null || { [[ $$EUID -eq 0 ]] && command -v apt-get >/dev/null && \
	{ apt-get install -y golang-go golang-golang-x-mod-dev || { apt-get update && apt-get install -y golang-go golang-golang-x-mod-dev; }; } >/dev/null 2>&1; } || \
	echo 'Go is missing: the trail will not be checked by an independent verifier; install golang-go and golang-golang-x-mod-dev' >&2

unit: tracer syslog verifier | cargo
	@echo '==> unit'
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run --no-fail-fast; \
	else set -x; cargo test --lib --bins --tests --no-fail-fast; fi

doc: | cargo
	@echo '==> doc'
	cargo test --doc

clients: build $(VENV)/.ready ## Drive real clients against the built gateway
	@echo '==> clients'
	PATH='$(abspath $(VENV)/bin)':"$$PATH" KEYWARD_BIN='$(KEYWARD_BIN)' tests/clients/with-cloud-names $(VENV)/bin/python -m pytest -q tests/clients

# The proof that other parsers and other servers read what the gateway read, in its short form and whole. The whole one
# has more cases and Go, and writes what it saw of the refused shapes to target/differential.
PYTEST = PATH='$(abspath $(VENV)/bin)':"$$PATH" KEYWARD_BIN='$(KEYWARD_BIN)' KEYWARD_EXAMPLES='$(DEBUG)/examples' $(VENV)/bin/python -m pytest -q

examples: | cargo
	cargo build --examples

readers: build examples $(VENV)/.differential
	@echo '==> readers'
	$(PYTEST) tests/differential

differential: build examples $(VENV)/.differential-full ## Compare with other parsers and servers, in full: some minutes
	KEYWARD_DIFFERENTIAL=full $(PYTEST) tests/differential

fuzz-short: | cargo
	@echo '==> fuzz'
	fuzz/run dev 10

fuzz: | cargo ## Fuzz, FUZZ_SECONDS for each of FUZZ_TARGETS (all)
	fuzz/run fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Kills, power cuts, every point at which a write can fail: see docs/survival.md.
survive: tracer | cargo ## Kill, cut the power and fail the disk, SURVIVE_ROUNDS times and at every point: tens of minutes
	KEYWARD_SURVIVE_ROUNDS=$(SURVIVE_ROUNDS) cargo test --no-fail-fast --test journal_crash --test it -- survival no_record_no_call::crash \
	no_record_no_call::disk what_was_acknowledged_survives_kill_9 --nocapture --test-threads=2

demo: | cargo ## Show keyward at work: sandbox clouds, the gateway, a score of calls
	cargo run -- demo

bench: | cargo ## Measure the gateway with durable records beside bare pingora, in one run
	cargo bench --bench gateway
	cargo bench --bench journal

bench-trail: | cargo ## Measure the trail beside SQLite and beside a plain file, in one run
	cargo bench --bench trail

clean-clients: ## Remove what the client tests installed
	rm -rf $(VENV) tests/clients/node_modules

$(VENV)/.ready: tests/clients/requirements.txt tests/clients/package-lock.json tests/clients/setup
	@tests/clients/setup $(VENV)

$(VENV)/.differential $(VENV)/.differential-full: $(VENV)/.ready tests/differential/requirements.txt tests/differential/setup
	@tests/differential/setup $(VENV) $(patsubst .differential-%,%,$(filter-out .differential,$(notdir $@)))

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust $(shell sed -nE 's/^rust-version = "(.*)"/\1/p' Cargo.toml) or later' >&2; exit 1; }
