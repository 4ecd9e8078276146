# SPDX-License-Identifier: Apache-2.0
# Entry commands. No logic here: presets and tools/ do the work. Every target
# first installs the packages that it misses (tools/install-deps).
SHELL  := /bin/bash
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
deps    = @tools/install-deps
build   = @tools/build

.PHONY: release demo test ci fmt lint asan tsan fuzz bench golden install \
        bundle nightly mutate clean
.DEFAULT_GOAL := release

release: ## the program: build/release/cornstarch
	$(deps) build
	$(build) release $(JOBS)

demo: ## prepares data, trains two models, evaluates, prints the report's path
	$(deps) build data
	$(build) release $(JOBS)
	@examples/stamps/demo.sh

test: ## builds and runs every test, replays the fuzz corpora
	$(deps) dev
	$(build) dev $(JOBS)
	@tools/run-tests dev

ci: ## test, lint, asan, tsan, fuzz; what .ci/run calls
	$(deps) dev
	@tools/ci $(JOBS)

fmt: ## formats all C files
	$(deps) dev
	@tools/format

lint: ## layers, format, clang-tidy, shellcheck
	$(deps) dev
	$(build) dev $(JOBS)
	@tools/lint $(JOBS)

asan: ## the tests under the address and undefined-behaviour sanitizers
	$(deps) dev
	$(build) asan $(JOBS)
	@tools/run-tests asan

tsan: ## the tests under the thread sanitizer, reference backend
	$(deps) dev
	$(build) tsan $(JOBS)
	@tools/run-tests tsan

fuzz: ## each fuzz target for SECONDS_EACH (60) seconds, two at a time
	$(deps) dev
	$(build) fuzz $(JOBS)
	@tools/fuzz --all

bench: ## figures of the README
	$(deps) build
	$(build) release $(JOBS)
	@tools/bench

golden: ## rewrites wanted outputs; read the diff before committing it
	$(deps) dev
	$(build) dev $(JOBS)
	@CORNSTARCH_UPDATE_GOLDEN=1 tools/run-tests dev

install: ## into $(DESTDIR)$(PREFIX)
	$(deps) build
	$(build) release $(JOBS)
	@cmake --install build/release --prefix $(PREFIX)

bundle: ## sources and packages for a machine without a registry
	$(deps) build
	@tools/bundle

nightly: ## valgrind, gcc -fanalyzer, long fuzzing, mutations
	$(deps) dev
	@tools/nightly $(JOBS)

mutate: ## plants faults one by one; a named test must fail for each
	$(deps) dev
	@tools/mutate

clean:
	@cmake -E rm -rf build
