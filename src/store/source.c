/* SPDX-License-Identifier: MIT */
#include "lynx/source.h"

void lynx_source_destroy(lynx_source *source)
{
    if (source)
        source->ops->destroy(source);
}
