/* SPDX-License-Identifier: MIT */
/* reply.h - the head of an answer, line by line, and the code in an error of S3. */
#ifndef LX_NET_REPLY_H
#define LX_NET_REPLY_H

#include "net/client.h"

/* 'data' need not be terminated. A status line begins anew. LYNX_ERR_SYSTEM: too much of it, or
 * a line that cannot be. */
lynx_status lx_reply_read_line(lx_reply *reply, const char *data, size_t size, lx_text said);

/* "NoSuchKey" of "<Code>NoSuchKey</Code>"; "" where there is none. */
void lx_reply_code(const lx_reply *reply, char *code, size_t size);

#endif
