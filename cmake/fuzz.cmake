# SPDX-License-Identifier: MIT
# Each fuzz/fuzz_*.c is one target: under libFuzzer with LYNX_FUZZ, else with a driver that
# replays fuzz/corpora/<target> as a test.
file(GLOB FUZZ_SOURCES CONFIGURE_DEPENDS fuzz/fuzz_*.c)
# Two ends that talk, for the target of both and for the generator of the corpora.
set(PAIR_SUPPORT tests/support/failing_allocator.c tests/support/pair_nodes.c
                 tests/support/rng.c tests/support/session_pair.c)
foreach(source ${FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
  target_link_libraries(${name} PRIVATE lynx_static)
  if(name STREQUAL "fuzz_pair")
    target_sources(${name} PRIVATE ${PAIR_SUPPORT})
    target_include_directories(${name} PRIVATE tests)
  endif()
  if(LYNX_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE fuzz/replay.c)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${TEST_FOLDER})
    add_test(NAME ${name}_replay COMMAND ${name} ${PROJECT_SOURCE_DIR}/fuzz/corpora/${name})
    lynx_test_properties(${name}_replay fuzz)
  endif()
endforeach()

# The generator of the corpora.
if(NOT LYNX_FUZZ AND EXISTS ${PROJECT_SOURCE_DIR}/fuzz/make_corpora.c)
  add_executable(make_corpora fuzz/make_corpora.c ${PAIR_SUPPORT})
  target_include_directories(make_corpora PRIVATE tests)
  target_compile_definitions(make_corpora PRIVATE _GNU_SOURCE)
  target_link_libraries(make_corpora PRIVATE lynx_static)
  set_target_properties(make_corpora PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${TEST_FOLDER})
endif()
