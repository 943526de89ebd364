/* SPDX-License-Identifier: MIT */
/* page_map.h - what other modules may ask of a map beyond kv.h. */
#ifndef LX_KV_PAGE_MAP_H
#define LX_KV_PAGE_MAP_H

#include "lynx/kv.h"

/* Pages in the map's index, needed or not. */
size_t lx_page_map_slots(const lynx_page_map *map);

/* Index of a needed page in [0, slots); SIZE_MAX for any other page. */
size_t lx_page_map_slot(const lynx_page_map *map, lynx_page_id id);

/* Slots of the pages of the first 'tokens' tokens, which end on a page boundary: they stand in
 * front of all others. */
size_t lx_page_map_slots_before(const lynx_page_map *map, uint32_t tokens);

/* The page of a slot, needed or not. */
lynx_page_id lx_page_map_page(const lynx_page_map *map, size_t slot);

#endif
