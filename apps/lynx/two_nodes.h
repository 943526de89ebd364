/* SPDX-License-Identifier: MIT */
/*
 * two_nodes.h - a prefill node in a process of its own beside this one, which is the decode
 * node, with an emulated link between them: what measurements of transfers stand on.
 */
#ifndef TWO_NODES_H
#define TWO_NODES_H

#include <sched.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli.h"
#include "cli_remotes.h"
#include "ways.h"

typedef struct two_nodes {
    cli_options shared; /* the model, and the link of the next start */
    const char *folder; /* for the log, keys and files that pass between the processes */
    char model_path[4096], log_path[4200], keys_path[4200], own_keys[4300];
    char address[32];
    pid_t server;
    cpu_set_t all_cores, cores[2]; /* of the decode node and of the prefill node */
    bool is_strict;                /* how the prefill node decodes, where it does */
} two_nodes;

/* Make the folder and choose the model: that of -m, or what 'make models' leaves. CLI_OK or an
 * exit code after the message. */
int two_nodes_init(two_nodes *nodes);
void two_nodes_fini(two_nodes *nodes);

/* Nodes that are to work at the same time get half of the cores each, as two machines have
 * cores of their own; the others have all of them in turn. Counts for threads that the caller
 * makes and engines that it loads from now on; ends the prefill node where the cores are
 * others. */
void two_nodes_share(two_nodes *nodes, bool is_divided);

/* Start the prefill node behind the link of 'shared'; ends the one before. */
int two_nodes_start(two_nodes *nodes);

/* The prefill node in 'remotes', which is to be closed by the caller; none for ways that need
 * none. A way whose prefill node must choose the tokens of a strict decode node gets one that
 * is strict as well: it is started anew then. */
int two_nodes_open(two_nodes *nodes, const way *w, lynx_engine *engine, cli_remotes *remotes);

#endif
