# SPDX-License-Identifier: MIT
# A Debian package of all that 'cmake --install' writes: 'make package'.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME lynx-kv) # Debian's 'lynx' is a browser
set(CPACK_PACKAGE_VENDOR "The Lynx authors")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The Lynx authors <lynx@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Progressive transfer of KV caches between machines")
set(CPACK_PACKAGE_DESCRIPTION
    "Moves the key/value cache of a language model from the machine that prefills to the one that
decodes, a 4-bit anchor first, and answers with exact tokens after about a third of the bytes.
Holds the programs lynx and lynxd, their libraries and headers, and a private libllama.")
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY} ${BUNDLE_DIR})
set(CPACK_DEBIAN_PACKAGE_DEPENDS passwd)
set(CPACK_DEBIAN_PACKAGE_CONFLICTS "lynx, lynx-common") # /usr/bin/lynx and its page
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA)
foreach(file conffiles triggers postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/packaging/debian/${file})
endforeach()
set(CPACK_STRIP_FILES ON)
# The units name paths below the prefix, so it is the real one while files are collected.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
install(FILES packaging/debian/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/lynx-kv)
include(CPack)
