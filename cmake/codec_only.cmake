# SPDX-License-Identifier: MIT
# The codec and the test of its kernels, for compilers of other machines: no package is needed
# but the compiler, and an emulator that runs the test.
file(GLOB CODEC_SOURCES CONFIGURE_DEPENDS src/base/*.c src/kv/*.c src/codec/*.c)
list(FILTER CODEC_SOURCES EXCLUDE REGEX "digest") # it needs xxHash
add_library(lynx_codec STATIC ${CODEC_SOURCES} ${KERNEL_SOURCES})
target_link_libraries(lynx_codec PUBLIC lynx_flags m)

enable_testing()
add_executable(kernels_test tests/unit/codec/kernels_test.c)
target_link_libraries(kernels_test PRIVATE lynx_codec)
target_link_options(kernels_test PRIVATE -static) # no libraries of the other machine either
add_test(NAME kernels_test COMMAND kernels_test)
