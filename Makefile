# SPDX-License-Identifier: MIT
# A thin front: every target sets up what it needs. 'make help' lists them.
PRESET ?= release
LLAMA_PREFIX ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DESTDIR ?=
INSTALL_PREFIX ?= /usr/local
DEMO_OPTIONS ?=
TEST_OPTIONS ?=
BENCHMARKS ?=
FUZZ_SECONDS ?= 60
export LLAMA_PREFIX JOBS

BIN := build/release/bin
CHECKS := dev asan tsan dev-clang asan-clang
CONFIGURE = prefix=$$(tools/setup.sh llama) && \
    { cmake --preset $(1) "-DCMAKE_PREFIX_PATH=$$prefix" >build/$(1).log || \
      { cat build/$(1).log; exit 1; }; }
BUILD = mkdir -p build && $(call CONFIGURE,$(1)) && cmake --build build/$(1) -j $(JOBS)
CTEST = ctest --output-on-failure -j $(JOBS) --test-dir
# llama.cpp itself is not built with sanitizers, and is too slow under valgrind.
FAST := -LE 'integration|cli'

.PHONY: help setup build models demo test bench lint format tidy check $(CHECKS) neon \
    valgrind fuzz install package test-package clean

help:
	@echo "make demo      the main job on a real model, measured; writes build/demo"
	@echo "make test      every test"
	@echo "make bench     measure all figures of the documents anew (hours), or BENCHMARKS=\"codec link\""
	@echo "make lint      format, layers, text, warnings of gcc and clang, headers, symbols"
	@echo "make format    put all sources in the project's format"
	@echo "make check     the fast tests with each preset: $(CHECKS)"
	@echo "make asan | tsan | dev | dev-clang | asan-clang | valgrind   one of them"
	@echo "make fuzz      FUZZ_SECONDS=$(FUZZ_SECONDS) of libFuzzer for each target"
	@echo "make neon      the kernels of 64-bit ARM, by a cross compiler and qemu"
	@echo "make tidy      clang-tidy's bugprone checks"
	@echo "make install   INSTALL_PREFIX=$(INSTALL_PREFIX), DESTDIR="
	@echo "make package   a Debian package in build/release; make test-package installs, runs and"
	@echo "               removes it (root)"
	@echo "make setup     only install packages and build llama.cpp; make build; make clean"
	@echo
	@echo "Each target first installs what it lacks. LLAMA_PREFIX=/path uses that llama.cpp;"
	@echo "PRESET=dev builds and tests another preset; JOBS=$(JOBS); DEMO_OPTIONS; TEST_OPTIONS."

setup:
	@tools/setup.sh packages
	@tools/setup.sh llama >/dev/null

build: setup
	@$(call BUILD,$(PRESET))

models: build
	@tools/setup.sh models
	@tools/setup.sh requantize build/$(PRESET)/bin/lynx

demo: PRESET = release
demo: models
	$(BIN)/lynx demo $(DEMO_OPTIONS)

test: models
	@tools/setup.sh browser
	@tools/setup.sh clients >/dev/null
	@tools/setup.sh servers >/dev/null
	$(CTEST) build/$(PRESET) $(TEST_OPTIONS)

bench: PRESET = release
bench: models
	@tools/setup.sh packages gnuplot-nox
	bench/measure.py $(BENCHMARKS)
	bench/tables.py

lint: setup
	@tools/setup.sh packages clang-14 clang clang-format-14 mandoc
	@tools/lint.sh

format:
	@tools/setup.sh packages clang-format-14
	@tools/format.sh

tidy: setup
	@tools/setup.sh packages clang-14 clang clang-tidy-14
	@$(call BUILD,dev-clang)
	@tools/tidy.sh build/dev-clang

check:
	@set -e; for preset in $(CHECKS); do $(MAKE) --no-print-directory $$preset; done
	@$(MAKE) --no-print-directory neon

$(CHECKS): setup
	@case $@ in *clang) tools/setup.sh packages clang-14 clang libclang-rt-14-dev ;; esac
	@$(call BUILD,$@)
	$(CTEST) build/$@ $(FAST) $(TEST_OPTIONS)

# Skipped, with the reason, where the tools cannot be installed.
neon: setup
	@if tools/setup.sh packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; then \
	    cmake --preset aarch64 && cmake --build build/aarch64 -j $(JOBS) && \
	    $(CTEST) build/aarch64 $(TEST_OPTIONS); \
	else echo "neon: skipped: no cross compiler or no qemu"; fi

valgrind: setup
	@tools/setup.sh packages valgrind
	@$(call BUILD,valgrind)
	$(CTEST) build/valgrind $(FAST) $(TEST_OPTIONS)

fuzz: setup
	@tools/setup.sh packages clang-14 clang libclang-rt-14-dev
	@$(call BUILD,fuzz)
	@tools/fuzz.sh build/fuzz $(FUZZ_SECONDS)

install: build
	@cmake build/$(PRESET) -DLYNX_BUNDLE_FROM= >/dev/null
	DESTDIR=$(DESTDIR) cmake --install build/$(PRESET) --prefix $(INSTALL_PREFIX)

# With a libllama for other machines than this one.
package: PRESET = release
package: build
	@tools/setup.sh packages dpkg-dev
	@bundle=$$(LLAMA_CPU=portable tools/setup.sh llama) && \
	    cmake build/release "-DLYNX_BUNDLE_FROM=$$bundle" >/dev/null && \
	    cmake --build build/release -j $(JOBS) && rm -f build/release/*.deb && \
	    cpack -G DEB --config build/release/CPackConfig.cmake -B build/release

test-package: package
	@tools/test_package.sh build/release/*.deb || [ $$? -eq 77 ] # it says why

clean:
	rm -rf build
