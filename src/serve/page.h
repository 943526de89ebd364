/* SPDX-License-Identifier: MIT */
/* page.h - the bytes of page.html, made a part of the library by cmake/embed.cmake. */
#ifndef LX_SERVE_PAGE_H
#define LX_SERVE_PAGE_H

#include <stddef.h>

extern const unsigned char lx_page[];
extern const size_t lx_page_size;

#endif
