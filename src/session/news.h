/* SPDX-License-Identifier: MIT */
/* news.h - what wakes the owner of a sender or receiver who waits. */
#ifndef LX_SESSION_NEWS_H
#define LX_SESSION_NEWS_H

#include "lynx/session.h"

/* Grows with each event and each plane that is given back. */
uint64_t lx_sender_news(const lynx_sender *sender);
uint64_t lx_receiver_news(const lynx_receiver *receiver);

#endif
