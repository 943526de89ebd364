# SPDX-License-Identifier: MIT
# Manual pages, from docs/man and what the programs say of themselves; in build/<preset>/man.
find_package(Python3 COMPONENTS Interpreter)
set(LYNX_MAN_PAGES)
if(Python3_FOUND AND NOT CMAKE_CROSSCOMPILING)
  foreach(page lynx.1 lynxd.8 lynxd.ini.5)
    set(target ${CMAKE_BINARY_DIR}/man/${page})
    add_custom_command(
      OUTPUT ${target}
      COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/make_man.py
              ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${PROJECT_SOURCE_DIR}/docs/man/${page}.in ${target}
      DEPENDS app_lynx app_lynxd tools/make_man.py docs/man/${page}.in)
    list(APPEND LYNX_MAN_PAGES ${target})
  endforeach()
  add_custom_target(man ALL DEPENDS ${LYNX_MAN_PAGES})
endif()
