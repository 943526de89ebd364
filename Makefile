# SPDX-License-Identifier: MIT
# A thin front: every target sets up what it needs. 'make help' lists them.
PRESET ?= release
BUILD := build/$(PRESET)
BIN := build/release/bin
DEMO_OPTIONS ?=
LINT_PACKAGES := clang clang-format-14

.PHONY: help setup build models demo test bench lint asan tsan clean
help:
	@echo "make demo    set up, build, and run the main job on a real model (report in build/demo)"
	@echo "make test    set up, build, and run every test"
	@echo "make bench   speed of the codec"
	@echo "make lint    format, layers, warnings of gcc and clang, headers, symbols"
	@echo "make asan | tsan   the fast tests under sanitizers"
	@echo "LLAMA_PREFIX=/path   use this installation of llama.cpp"

setup:
	@tools/setup.sh packages

build: setup
	@prefix=$$(tools/setup.sh llama) && \
	    cmake --preset $(PRESET) -DCMAKE_PREFIX_PATH=$$prefix >/dev/null && \
	    cmake --build $(BUILD)

models: build
	@tools/setup.sh models
	@tools/setup.sh requantize $(BIN)/lynx

demo: models
	$(BIN)/lynx demo $(DEMO_OPTIONS)

test: models
	ctest --test-dir $(BUILD) --output-on-failure

bench: build
	$(BIN)/lynx bench codec

lint: setup
	@tools/setup.sh packages $(LINT_PACKAGES)
	@tools/lint.sh

# Without the integration tests: llama.cpp itself is not built with sanitizers.
asan tsan: setup
	@prefix=$$(tools/setup.sh llama) && cmake --preset $@ -DCMAKE_PREFIX_PATH=$$prefix >/dev/null
	cmake --build build/$@
	ctest --test-dir build/$@ --output-on-failure -LE 'integration|cli'

clean:
	rm -rf build
