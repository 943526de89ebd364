# SPDX-License-Identifier: MIT
# cmake -DINPUT= -DOUTPUT= -DHEADER= -DNAME= -P embed.cmake: a file as an array in C.
cmake_minimum_required(VERSION 3.20)
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\n\nconst unsigned char ${NAME}[] = {\n${bytes}};\n"
                     "const size_t ${NAME}_size = sizeof(${NAME});\n")
