# SPDX-License-Identifier: MIT
# What 'cmake --install' writes: programs, libraries, libllama in a folder of its own, headers,
# a CMake package, .pc files, manual pages, systemd units, an example of settings.
include(CMakePackageConfigHelpers)
set(LYNX_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lynx)

# Installed programs and libraries find each other, and our libllama, beside them.
option(LYNX_BUNDLE_LLAMA "Install libllama, too, in a folder of its own" ON)
set(LYNX_BUNDLE_FROM "" CACHE PATH "Prefix of the libllama to install (default: that of the build)")
set(LYNX_PRIVATE_DIR ${CMAKE_INSTALL_LIBDIR}/lynx)
set(RUN_PATH "$ORIGIN" "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
if(TARGET lynx-llama AND LYNX_BUNDLE_LLAMA)
  set(BUNDLE_DIR ${LLAMA_LIB_DIR})
  if(LYNX_BUNDLE_FROM)
    set(BUNDLE_DIR ${LYNX_BUNDLE_FROM}/lib)
  endif()
  list(APPEND RUN_PATH "$ORIGIN/lynx" "$ORIGIN/../${LYNX_PRIVATE_DIR}")
  # Those that a name with a version leads to; links without one are for compilers.
  install(DIRECTORY ${BUNDLE_DIR}/ DESTINATION ${LYNX_PRIVATE_DIR}
          FILES_MATCHING PATTERN "libllama.so.*" PATTERN "libggml*.so.*"
          PATTERN cmake EXCLUDE PATTERN pkgconfig EXCLUDE)
elseif(TARGET lynx-llama)
  list(APPEND RUN_PATH ${LLAMA_LIB_DIR})
endif()
set_target_properties(${LYNX_INSTALLED} PROPERTIES INSTALL_RPATH "${RUN_PATH}")
install(TARGETS ${LYNX_INSTALLED} EXPORT lynxTargets
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/lynx DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h"
        PATTERN "serve.h" EXCLUDE) # of a library that only lynxd has
install(EXPORT lynxTargets NAMESPACE lynx:: DESTINATION ${LYNX_CMAKE_DIR}
        FILE lynxConfig.cmake)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/lynxConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/lynxConfigVersion.cmake DESTINATION ${LYNX_CMAKE_DIR})

# Debian's library folder is one deeper, lib/x86_64-linux-gnu, when the prefix is /usr.
file(RELATIVE_PATH PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
set(PC_NAME lynx)
set(PC_DESCRIPTION "Progressive transfer of KV caches")
set(PC_REQUIRES "")
configure_file(cmake/library.pc.in ${CMAKE_BINARY_DIR}/lynx.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/lynx.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(PC_NAME lynx-net)
set(PC_DESCRIPTION "Stored caches of Lynx on web servers and in S3")
set(PC_REQUIRES "lynx = ${PROJECT_VERSION}")
configure_file(cmake/library.pc.in ${CMAKE_BINARY_DIR}/lynx-net.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/lynx-net.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET lynx-llama)
  set(PC_NAME lynx-llama)
  set(PC_DESCRIPTION "Engine of Lynx on llama.cpp")
  set(PC_REQUIRES "lynx = ${PROJECT_VERSION}")
  configure_file(cmake/library.pc.in ${CMAKE_BINARY_DIR}/lynx-llama.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/lynx-llama.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

# ---- pages, units, settings

foreach(page ${LYNX_MAN_PAGES})
  string(REGEX REPLACE "^.*[.]" "" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
if(TARGET app_lynxd)
  # The units name paths, and the prefix is known when they are installed.
  set(UNITS ${PROJECT_SOURCE_DIR}/packaging/systemd)
  install(CODE "set(UNITS \"${UNITS}\")
set(BINDIR \"${CMAKE_INSTALL_BINDIR}\")
set(SETTINGS \"${PROJECT_SOURCE_DIR}/packaging/lynxd.ini\")
include(\"${PROJECT_SOURCE_DIR}/cmake/install_units.cmake\")")
endif()
