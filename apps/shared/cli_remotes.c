/* SPDX-License-Identifier: MIT */
#include "cli_remotes.h"

void cli_log(void *user, lynx_status status, const char *text)
{
    const cli_options *options = user;
    (void)status;
    if (options->is_verbose)
        fprintf(stderr, "%s: %s\n", options->command, text);
}

static lynx_status dial(void *user, uint32_t lane, lynx_link **link, char *text)
{
    const struct cli_dialer *dialer = user;
    const cli_remotes *remotes = dialer->remotes;
    lynx_status status = cli_dial(dialer->options, dialer->address, link, text, LYNX_TEXT_MAX);
    if (status != LYNX_OK || lane > 0 || !remotes->wrap)
        return status;
    status = remotes->wrap(remotes->user, link, text);
    if (status != LYNX_OK)
        lynx_link_destroy(*link);
    return status;
}

int cli_remotes_open(cli_remotes *remotes, const cli_options *options, lynx_engine *engine)
{
    remotes->options = options;
    for (uint32_t i = 0; i < remotes->count; i++) {
        lynx_remote_options remote;
        lynx_remote_options_init(&remote);
        remotes->dialers[i] =
            (struct cli_dialer){remotes,
                                remotes->own_options[i] ? remotes->own_options[i] : options,
                                remotes->addresses[i]};
        remote.session.model = engine->ops->model(engine);
        remote.session.allow_other_weights = options->allow_other_weights;
        remote.session.timeout_ns = options->timeout_ns;
        remote.session.lanes = options->lanes;
        remote.patience_ns = options->patience_ns;
        if (options->patience_ns < remote.first_patience_ns)
            remote.first_patience_ns = options->patience_ns;
        remote.is_lasting = remotes->is_lasting;
        remote.dial = dial;
        remote.dial_user = &remotes->dialers[i];
        remote.log = cli_log;
        remote.log_user = (void *)(uintptr_t)options;
        const lynx_status status = lynx_remote_open(&remotes->remotes[i], &remote);
        if (status != LYNX_OK)
            return cli_fail(options->command, status, NULL);
    }
    return CLI_OK;
}

void cli_remotes_close(cli_remotes *remotes)
{
    for (uint32_t i = 0; i < remotes->count; i++) {
        lynx_remote_close(remotes->remotes[i]);
        remotes->remotes[i] = NULL;
    }
}
