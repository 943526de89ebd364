# SPDX-License-Identifier: MIT
# Runs during 'cmake --install': systemd units with the paths of this prefix, and the settings that
# they use, unless there are some. Reads UNITS, BINDIR, SETTINGS, CMAKE_INSTALL_PREFIX.
set(PREFIX ${CMAKE_INSTALL_PREFIX})
set(SYSCONFDIR ${PREFIX}/etc)
if(PREFIX STREQUAL "/usr")
  set(SYSCONFDIR /etc)
endif()
set(LYNXD ${PREFIX}/${BINDIR}/lynxd)
set(LYNXD_INI ${SYSCONFDIR}/lynx/lynxd.ini)
set(LYNX_KEYS ${SYSCONFDIR}/lynx/keys)

function(lynx_install source target)
  message(STATUS "Installing: $ENV{DESTDIR}${target}")
  file(READ ${source} text)
  string(CONFIGURE "${text}" text @ONLY)
  file(WRITE "$ENV{DESTDIR}${target}" "${text}")
endfunction()

file(GLOB units "${UNITS}/*.service")
foreach(unit ${units})
  get_filename_component(name ${unit} NAME)
  lynx_install(${unit} ${PREFIX}/lib/systemd/system/${name})
endforeach()
if(EXISTS "$ENV{DESTDIR}${LYNXD_INI}")
  message(STATUS "Kept: $ENV{DESTDIR}${LYNXD_INI}")
else()
  lynx_install(${SETTINGS} ${LYNXD_INI})
endif()
