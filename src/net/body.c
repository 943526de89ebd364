/* SPDX-License-Identifier: MIT */
#include "net/body.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { ROOM_FIRST = 64 << 10 };

static lynx_status grow(lx_body *b, size_t needed)
{
    size_t room = b->room ? b->room : ROOM_FIRST;
    while (room < needed)
        room *= 2;
    uint8_t *larger = lx_alloc(b->memory, room, 1);
    LX_REQUIRE(larger, LYNX_ERR_MEMORY);
    if (b->size > 0)
        memcpy(larger, b->data, b->size);
    lx_free(b->memory, b->data, b->room, 1);
    b->data = larger;
    b->room = room;
    return LYNX_OK;
}

lynx_status lx_body_append(lx_body *b, const uint8_t *data, size_t size)
{
    if (b->size + size > b->room)
        LX_TRY(grow(b, b->size + size));
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return LYNX_OK;
}

void lx_body_fini(lx_body *b)
{
    lx_free(b->memory, b->data, b->room, 1);
}
