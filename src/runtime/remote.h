/* SPDX-License-Identifier: MIT */
/* remote.h - what a run needs of a remote. */
#ifndef LX_RUNTIME_REMOTE_H
#define LX_RUNTIME_REMOTE_H

#include "lynx/runtime.h"
#include "runtime/measure.h"

/* The receiver and the measures are used with the pump's lock held. All live as long as the
 * remote. */
lynx_receiver *lx_remote_receiver(lynx_remote *remote);
lynx_pump *lx_remote_pump(lynx_remote *remote);
lx_measure *lx_remote_measure(lynx_remote *remote);

/* Does somebody have to change something before another try can help? */
bool lx_is_users_to_mend(lynx_status status);

/* Fill 'bytes' from the system's source of secrets; LYNX_ERR_SYSTEM when it fails. */
lynx_status lx_random(void *bytes, size_t size);

#endif
