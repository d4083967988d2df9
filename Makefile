# Every target sets up what it needs (tools/setup.sh): Debian packages, .venv, the build. A second run does none of it again.

SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
PYTHON_IN_TREE := .venv/bin/python
CXX_FILES = git ls-files -co --exclude-standard 'src/*.h' 'src/*.cc' 'tests/*.h' 'tests/*.cc' 'python/*.h' 'python/*.cc' \
	'examples/*.cc' 'benchmarks/*.h' 'benchmarks/*.cc'
PY_DIRS = $(wildcard python tests tools examples benchmarks recordings)

.PHONY: help setup setup-test setup-lint setup-profile configure module build demo test bench-tools bench scaling profile \
	micro performance wheel format lint tidy asan tsan soak fuzz fuzz-query fuzz-payloads fuzz-http load clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:
	@tools/setup.sh build
setup-test:
	@tools/setup.sh test
setup-lint:
	@tools/setup.sh lint
setup-profile:
	@tools/setup.sh profile

configure: setup
	@[ -e build/release/build.ninja ] || cmake --preset release

module: configure
	@cmake --build build/release -j $(JOBS) --target _core rushes
	@tools/link_build.sh build/release

build: configure ## library, module, executable and tests into build/release; `.venv/bin/python -c 'import rushes'` works then
	@cmake --build build/release -j $(JOBS)
	@tools/link_build.sh build/release

demo: module ## the how-to on the committed recordings
	$(PYTHON_IN_TREE) examples/how_to.py

test: setup-test ## everything that must pass: C++, Python, interop with the official SDK, the wheel
	@$(PYTHON_IN_TREE) tools/run_tests.py --jobs $(JOBS)

# What the benchmarks run beside the package; not part of a plain build.
bench-tools: configure
	@cmake --build build/release -j $(JOBS) --target bench_tools

bench: setup-test module bench-tools ## ours and the official engine and server on the same recordings, with ratios
	$(PYTHON_IN_TREE) benchmarks/run.py $(BENCH_ARGS)

# These write their parts of docs/performance.md; with arguments of your own in SCALING_ARGS and so on they only print.
scaling: setup-test module bench-tools ## how time grows with rows, columns, segments …; writes docs/performance.md
	$(PYTHON_IN_TREE) benchmarks/scaling.py $(or $(SCALING_ARGS),--write)

profile: setup-profile module ## the top symbols of each benchmark case, by perf; writes docs/performance.md
	$(PYTHON_IN_TREE) benchmarks/profiling.py $(or $(PROFILE_ARGS),--write)

micro: configure ## the stages of a scan beside the bandwidth of memory; writes docs/performance.md
	@cmake --build build/release -j $(JOBS) --target rushes_micro_benchmark
	$(PYTHON_IN_TREE) benchmarks/micro.py $(or $(MICRO_ARGS),--write)

performance: ## bench, scaling, profile and micro, one after another: all of docs/performance.md
	@$(MAKE) bench BENCH_ARGS="--no-check $(BENCH_ARGS)"
	@$(MAKE) scaling
	@$(MAKE) profile
	@$(MAKE) micro

wheel: setup-test ## a wheel that needs no Debian package, into dist/
	@tools/make_wheel.sh

format: setup-lint ## format C++ and Python in place
	@$(CXX_FILES) | xargs -r clang-format -i
	@.venv/bin/ruff format -q $(PY_DIRS)
	@.venv/bin/ruff check -q --fix $(PY_DIRS)

lint: setup-lint configure ## formatting, ruff, mypy, the locks as clang sees them
	@$(CXX_FILES) | xargs -r clang-format --dry-run -Werror
	@.venv/bin/ruff format --check $(PY_DIRS)
	@.venv/bin/ruff check $(PY_DIRS)
	@.venv/bin/mypy
	@cmake --build build/release --target rushes_proto_generated
	@tools/check_locks.sh build/release

tidy: setup-lint configure ## clang-tidy over src/ (slow)
	@cmake --build build/release --target rushes_proto_generated
	@git ls-files 'src/*.cc' | xargs -P $(JOBS) -n 4 clang-tidy -p build/release --quiet

asan: setup ## the C++ tests under the address and undefined behaviour sanitizers
	@[ -e build/asan/build.ninja ] || cmake --preset asan
	@cmake --build build/asan -j $(JOBS)
	@ctest --test-dir build/asan --output-on-failure

# The server's tests stand on the edge to gRPC, which is not built with the sanitizer.
tsan: setup ## the C++ tests under the thread sanitizer, without those on the edge to gRPC
	@[ -e build/tsan/build.ninja ] || cmake --preset tsan
	@cmake --build build/tsan -j $(JOBS)
	@ctest --test-dir build/tsan --output-on-failure -LE grpc_edge

soak: setup configure ## random stores against the naive query, SOAK_STORES of them (default 2 million)
	@cmake --build build/release -j $(JOBS) --target query_test
	RUSHES_RANDOM_STORES=$(or $(SOAK_STORES),2000000) build/release/bin/query_test --gtest_filter='*Random*'

fuzz: setup ## damaged recordings against the reader, under asan; FUZZ_SECONDS (default 600)
	@[ -e build/asan/build.ninja ] || cmake --preset asan
	@cmake --build build/asan -j $(JOBS) --target store_test
	ARROW_DEFAULT_MEMORY_POOL=system RUSHES_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) RUSHES_FUZZ_SEED=$(or $(FUZZ_SEED),0) \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 build/asan/bin/store_test --gtest_filter='RecordingFuzz*'

fuzz-query: setup ## random and senseless queries against the engine, FUZZ_SECONDS of them (default 600), under asan
	@[ -e build/asan/build.ninja ] || cmake --preset asan
	@cmake --build build/asan -j $(JOBS) --target query_test
	ARROW_DEFAULT_MEMORY_POOL=system LSAN_OPTIONS=suppressions=tools/lsan.supp UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		RUSHES_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) RUSHES_FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) \
		build/asan/bin/query_test --gtest_filter='FuzzQuery.*'

fuzz-payloads: setup ## damaged Arrow payloads against the calls of the server and the readers of answers, under asan; FUZZ_SECONDS each (default 600)
	@[ -e build/asan/build.ninja ] || cmake --preset asan
	@cmake --build build/asan -j $(JOBS) --target payload_fuzz_test
	ARROW_DEFAULT_MEMORY_POOL=system RUSHES_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) RUSHES_FUZZ_SEED=$(or $(FUZZ_SEED),0) \
		ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		LSAN_OPTIONS=suppressions=tools/lsan.supp build/asan/bin/payload_fuzz_test

fuzz-http: setup ## damaged gRPC-Web, HTTP/1.1 and first bytes of connections against the server, under asan; FUZZ_SECONDS each (default 600)
	@[ -e build/asan/build.ninja ] || cmake --preset asan
	@cmake --build build/asan -j $(JOBS) --target server_test
	ARROW_DEFAULT_MEMORY_POOL=system RUSHES_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) RUSHES_FUZZ_SEED=$(or $(FUZZ_SEED),0) \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 LSAN_OPTIONS=suppressions=tools/lsan.supp \
		build/asan/bin/server_test --gtest_filter='HttpFuzz*'

load: setup-test module ## 64 official clients at once for two minutes, with large recordings beside them; LOAD_ARGS
	$(PYTHON_IN_TREE) tests/load/load.py $(LOAD_ARGS)

clean: ## remove what was built; .venv stays
	rm -rf build dist python/rushes/_core*.so python/rushes/bin
