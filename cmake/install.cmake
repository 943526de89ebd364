# SPDX-License-Identifier: MIT
# What 'cmake --install' writes: programs, both libraries, headers, a CMake package, .pc files.
include(CMakePackageConfigHelpers)
set(LYNX_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lynx)

# Installed programs find the libraries beside them; llama.cpp's run path is in the link options.
set_target_properties(${LYNX_INSTALLED} PROPERTIES INSTALL_RPATH
                                                   "$ORIGIN;$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
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
if(TARGET lynx-llama)
  set(PC_NAME lynx-llama)
  set(PC_DESCRIPTION "Engine of Lynx on llama.cpp")
  set(PC_REQUIRES "lynx = ${PROJECT_VERSION}")
  configure_file(cmake/library.pc.in ${CMAKE_BINARY_DIR}/lynx-llama.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/lynx-llama.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
