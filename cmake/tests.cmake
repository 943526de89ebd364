# SPDX-License-Identifier: MIT
# One program for each tests/<label>/**/*_test.c, one ctest for each *_test.py.
#
#   LYNX_SOURCE_DIR   the repository (definition)
#   LYNX_BINARY_DIR   where bin/lynx and bin/lynxd are (definition)
#   LYNX_BIN          the folder of the programs (environment)
#   LYNX_TEST_MODELS  the folder of the models (environment)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_package(Python3 COMPONENTS Interpreter)

set(CACHE_HOME "$ENV{XDG_CACHE_HOME}")
if(NOT IS_ABSOLUTE "${CACHE_HOME}")
  set(CACHE_HOME "$ENV{HOME}/.cache")
endif()
set(LYNX_MODELS "${CACHE_HOME}/lynx/models" CACHE PATH "Folder of the test models")

# Where tools/setup.sh puts rclone.
file(SHA256 ${PROJECT_SOURCE_DIR}/tools/servers.txt SERVERS_KEY)
string(SUBSTRING ${SERVERS_KEY} 0 12 SERVERS_KEY)

# As in apps/shared/cli_threads.c: threads of the engine that wait in a loop for long take ten
# times as long on a busy machine.
set(TEST_ENVIRONMENT
    "LYNX_TEST_MODELS=${LYNX_MODELS}"
    "LYNX_BIN=${CMAKE_BINARY_DIR}/bin"
    "LYNX_RCLONE=${CACHE_HOME}/lynx/servers-${SERVERS_KEY}/bin/rclone"
    "XDG_CONFIG_HOME=${CMAKE_BINARY_DIR}/tests/config" # not the keys that the user has
    "GOMP_SPINCOUNT=5000"
    "OMP_WAIT_POLICY=active"
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1")
set(TEST_FOLDER ${CMAKE_BINARY_DIR}/tests)
file(MAKE_DIRECTORY ${TEST_FOLDER})

set(TEST_TIMEOUT 300)
if(CMAKE_CROSSCOMPILING_EMULATOR) # valgrind
  set(TEST_TIMEOUT 1500)
endif()
function(lynx_test_properties name label)
  set_tests_properties(
    ${name} PROPERTIES LABELS ${label} ENVIRONMENT "${TEST_ENVIRONMENT}" TIMEOUT
                       ${TEST_TIMEOUT} SKIP_RETURN_CODE 77)
  if(label MATCHES "^(integration|cli)$")
    set_tests_properties(${name} PROPERTIES TIMEOUT 1800)
  endif()
endfunction()

file(GLOB TEST_SUPPORT CONFIGURE_DEPENDS tests/support/*.c)
set(PURE_SUPPORT ${TEST_SUPPORT}) # writers of GGUF files need the engine's library
list(FILTER PURE_SUPPORT EXCLUDE REGEX "gguf")
set(GGUF_SUPPORT ${TEST_SUPPORT})
list(FILTER GGUF_SUPPORT INCLUDE REGEX "gguf")
add_library(test_support OBJECT ${PURE_SUPPORT})
target_link_libraries(test_support PUBLIC lynx_static PkgConfig::CMOCKA)
target_include_directories(test_support PUBLIC tests)
target_compile_definitions(
  test_support PUBLIC _GNU_SOURCE LYNX_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                      LYNX_BINARY_DIR="${CMAKE_BINARY_DIR}")
set(TOOL_SUPPORT ${PURE_SUPPORT}) # without cmocka
list(FILTER TOOL_SUPPORT EXCLUDE REGEX "test_keys|store_bed")

file(GLOB_RECURSE TEST_SOURCES CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} tests/*_test.c)
foreach(source ${TEST_SOURCES})
  string(REGEX REPLACE "^tests/([^/]*)/.*$" "\\1" label ${source})
  get_filename_component(name ${source} NAME_WE)
  if(source MATCHES "^tests/unit/serve/" AND llama_FOUND)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE lynx_serve)
  elseif(source MATCHES "^tests/unit/serve/")
    continue()
  elseif(NOT label MATCHES "^(integration|cli)$")
    add_executable(${name} ${source})
  elseif(llama_FOUND)
    add_executable(${name} ${source} ${GGUF_SUPPORT})
    target_link_libraries(${name} PRIVATE lynx_llama_static)
    add_dependencies(${name} app_lynx app_lynxd)
  else()
    continue()
  endif()
  if(source MATCHES "^tests/[a-z]+/net/")
    target_link_libraries(${name} PRIVATE lynx_net_static)
  endif()
  target_link_libraries(${name} PRIVATE test_support)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${TEST_FOLDER})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${TEST_FOLDER})
  lynx_test_properties(${name} ${label})
endforeach()

if(llama_FOUND AND Python3_FOUND)
  file(GLOB_RECURSE PYTHON_TESTS CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
       tests/*_test.py)
  foreach(source ${PYTHON_TESTS})
    string(REGEX REPLACE "^tests/([^/]*)/.*$" "\\1" label ${source})
    get_filename_component(name ${source} NAME_WE)
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/${source} -v
             WORKING_DIRECTORY ${TEST_FOLDER})
    lynx_test_properties(${name} ${label})
  endforeach()
endif()

# What takes minutes begins first, so that nothing waits for it alone at the end.
set(cost 600)
foreach(name IN ITEMS two_process_test store_daemon_test serve_test suffix_test faults_test
                      slots_test answer_test)
  if(TEST ${name})
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
  math(EXPR cost "${cost} - 50")
endforeach()
