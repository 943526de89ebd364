/* SPDX-License-Identifier: MIT */
/*
 * export.h - marks what the shared library shows, and results that may not be ignored.
 */
#ifndef LYNX_EXPORT_H
#define LYNX_EXPORT_H

#if defined(__GNUC__)
#define LYNX_API        __attribute__((visibility("default")))
#define LYNX_MUST_CHECK __attribute__((warn_unused_result))
#else
#define LYNX_API
#define LYNX_MUST_CHECK
#endif

#endif
