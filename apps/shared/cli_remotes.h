/* SPDX-License-Identifier: MIT */
/* cli_remotes.h - prefill nodes as the commands reach them, and decode nodes that come in. */
#ifndef CLI_REMOTES_H
#define CLI_REMOTES_H

#include "cli.h"

enum { CLI_REMOTES_MAX = 8 };

/* The prefill nodes of one command. 'wrap' (may be NULL) gets each new connection of lane 0 and
 * may put a link around it. Does not move once opened. */
typedef struct cli_remotes {
    const cli_options *options;
    const char *addresses[CLI_REMOTES_MAX];
    const cli_options *own_options[CLI_REMOTES_MAX]; /* how it is dialled; NULL: by 'options' */
    struct cli_dialer {
        struct cli_remotes *remotes;
        const cli_options *options;
        const char *address;
    } dialers[CLI_REMOTES_MAX];
    lynx_remote *remotes[CLI_REMOTES_MAX];
    uint32_t count;
    bool is_lasting; /* dial on after giving up: for daemons */
    lynx_status (*wrap)(void *user, lynx_link **link, char *text);
    void *user;
} cli_remotes;

/* Begin to connect to every address. CLI_OK or an exit code after the message. */
int cli_remotes_open(cli_remotes *remotes, const cli_options *options, lynx_engine *engine);
void cli_remotes_close(cli_remotes *remotes);

/* Lines of the log on stderr with --verbose: what matters without it shows in the result.
 * 'user' is the cli_options. */
void cli_log(void *user, lynx_status status, const char *text);

#endif
