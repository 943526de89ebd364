/* SPDX-License-Identifier: MIT */
/* page_map.h - what other modules may ask of a map beyond kv.h. */
#ifndef LX_KV_PAGE_MAP_H
#define LX_KV_PAGE_MAP_H

#include "lynx/kv.h"

/* Pages in the map's index, needed or not. */
size_t lx_page_map_slots(const lynx_page_map *map);

/* Index of a needed page in [0, slots); SIZE_MAX for any other page. */
size_t lx_page_map_slot(const lynx_page_map *map, lynx_page_id id);

#endif
