/* SPDX-License-Identifier: MIT */
#include "kv/page_map.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

struct lynx_page_map {
    const lynx_allocator *memory;
    lynx_shape shape;
    lynx_layer_shape *layers; /* own copy behind 'shape' */
    uint32_t prompt_tokens;
    uint32_t plane_count;
    size_t slots;
    uint8_t *planes; /* a byte of plane bits for each slot */
    uint64_t needed;
    uint64_t present[LYNX_PLANES_MAX];
};

static void count_needed(lynx_page_map *map)
{
    lynx_page_walk walk = lynx_page_walk_of(&map->shape, map->prompt_tokens);
    lynx_page_id id;
    while (lynx_page_walk_next(&walk, &id))
        map->needed++;
}

static lynx_status page_map_init(lynx_page_map *map, const lynx_shape *shape)
{
    map->layers = lx_alloc(map->memory, shape->layer_count, sizeof(*map->layers));
    LX_REQUIRE(map->layers, LYNX_ERR_MEMORY);
    memcpy(map->layers, shape->layers, shape->layer_count * sizeof(*map->layers));
    map->shape.layers = map->layers;
    map->slots =
        (size_t)lynx_shape_page_count(shape, map->prompt_tokens) * shape->layer_count * 2;
    map->planes = lx_alloc_zeroed(map->memory, map->slots, 1);
    LX_REQUIRE(map->planes, LYNX_ERR_MEMORY);
    count_needed(map);
    return LYNX_OK;
}

lynx_status lynx_page_map_create(lynx_page_map **map, const lynx_shape *shape,
                                 uint32_t prompt_tokens, uint32_t plane_count,
                                 const lynx_allocator *memory)
{
    LX_TRY(lynx_shape_check(shape));
    LX_REQUIRE(prompt_tokens >= 1 && prompt_tokens <= LYNX_PROMPT_TOKENS_MAX,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(plane_count >= 1 && plane_count <= LYNX_PLANES_MAX, LYNX_ERR_ARGUMENT);
    memory = lx_allocator_or_default(memory);
    lynx_page_map *m = lx_alloc_zeroed(memory, 1, sizeof(*m));
    LX_REQUIRE(m, LYNX_ERR_MEMORY);
    m->memory = memory;
    m->shape = *shape;
    m->prompt_tokens = prompt_tokens;
    m->plane_count = plane_count;
    const lynx_status status = page_map_init(m, shape);
    if (lynx_failed(status)) {
        lynx_page_map_destroy(m);
        return status;
    }
    *map = m;
    return LYNX_OK;
}

void lynx_page_map_destroy(lynx_page_map *map)
{
    if (!map)
        return;
    const lynx_allocator *memory = map->memory;
    lx_free(memory, map->layers, map->shape.layer_count, sizeof(*map->layers));
    lx_free(memory, map->planes, map->slots, 1);
    lx_free(memory, map, 1, sizeof(*map));
}

size_t lx_page_map_slots(const lynx_page_map *map)
{
    return map->slots;
}

size_t lx_page_map_slot(const lynx_page_map *map, lynx_page_id id)
{
    if (!lynx_page_is_needed(&map->shape, id, map->prompt_tokens))
        return SIZE_MAX;
    return ((size_t)id.page * map->shape.layer_count + id.layer) * 2 + id.side;
}

size_t lx_page_map_slots_before(const lynx_page_map *map, uint32_t tokens)
{
    return (size_t)(tokens / map->shape.page_tokens) * map->shape.layer_count * 2;
}

lynx_page_id lx_page_map_page(const lynx_page_map *map, size_t slot)
{
    return (lynx_page_id){(uint32_t)(slot / 2 / map->shape.layer_count),
                          (uint16_t)(slot / 2 % map->shape.layer_count), (uint8_t)(slot % 2)};
}

bool lynx_page_map_mark(lynx_page_map *map, lynx_page_id id, uint32_t plane)
{
    const size_t slot = lx_page_map_slot(map, id);
    if (slot == SIZE_MAX || plane >= map->plane_count)
        return false;
    const uint8_t bit = (uint8_t)(1u << plane);
    if (map->planes[slot] & bit)
        return false;
    map->planes[slot] |= bit;
    map->present[plane]++;
    return true;
}

bool lynx_page_map_has(const lynx_page_map *map, lynx_page_id id, uint32_t plane)
{
    const size_t slot = lx_page_map_slot(map, id);
    return slot != SIZE_MAX && plane < map->plane_count && (map->planes[slot] >> plane & 1);
}

uint64_t lynx_page_map_needed(const lynx_page_map *map)
{
    return map->needed;
}

uint64_t lynx_page_map_present(const lynx_page_map *map, uint32_t plane)
{
    return plane < map->plane_count ? map->present[plane] : 0;
}

bool lynx_page_map_is_complete(const lynx_page_map *map, uint32_t plane)
{
    if (plane >= map->plane_count)
        return false;
    for (uint32_t i = 0; i <= plane; i++)
        if (map->present[i] != map->needed)
            return false;
    return true;
}
