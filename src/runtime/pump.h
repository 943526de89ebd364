/* SPDX-License-Identifier: MIT */
/* pump.h - what runtime's own files ask of a pump beyond lynx/runtime.h. */
#ifndef LX_RUNTIME_PUMP_H
#define LX_RUNTIME_PUMP_H

#include "lynx/runtime.h"

/* ---- pump_ends.c --------------------------------------------------------------------- */

/* A sender or a receiver. All are called with the pump's lock held. */
typedef struct lx_pump_ops {
    lynx_status (*connect)(void *end, lynx_time_ns now, const char *peer, uint32_t *lane);
    void (*disconnect)(void *end, lynx_time_ns now, uint32_t lane, lynx_status status,
                       const char *text);
    /* Where the next bytes of the lane are received to; '*room' 0: anywhere. */
    void (*room)(void *end, uint32_t lane, uint8_t **target, size_t *room);
    lynx_status (*read)(void *end, uint32_t lane, lynx_time_ns now, const uint8_t *data,
                        size_t size);
    lynx_status (*write)(void *end, uint32_t lane, lynx_time_ns now,
                         lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count);
    void (*wrote)(void *end, uint32_t lane, lynx_time_ns now, size_t size);
    lynx_time_ns (*deadline)(const void *end, uint32_t lane);
    lynx_lane_state (*lane_state)(const void *end, uint32_t lane);
    bool (*next_wake)(void *end, uint32_t *lane);
    uint64_t (*news)(const void *end);
} lx_pump_ops;

extern const lx_pump_ops lx_pump_sender;
extern const lx_pump_ops lx_pump_receiver;

/* ---- pump.c -------------------------------------------------------------------------- */

/* With the lock held: what waiters wait for may have happened. */
void lx_pump_changed(lynx_pump *pump);

/* A stop flag is set by a signal handler, on whatever thread, or by another thread. */
static inline bool lx_is_set(const volatile sig_atomic_t *flag)
{
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

#endif
