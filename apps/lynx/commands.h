/* SPDX-License-Identifier: MIT */
/* commands.h - one function for each subcommand of 'lynx'; argv[0] is the command's name. */
#ifndef LYNX_COMMANDS_H
#define LYNX_COMMANDS_H

int lx_command_run(int argc, char **argv);
int lx_command_cache(int argc, char **argv);
int lx_command_demo(int argc, char **argv);
int lx_command_eval(int argc, char **argv);
int lx_command_inspect(int argc, char **argv);
int lx_command_keys(int argc, char **argv);
int lx_command_plan(int argc, char **argv);
int lx_command_requantize(int argc, char **argv);
int lx_bench_codec(int argc, char **argv);
int lx_bench_e2e(int argc, char **argv);
int lx_bench_engine(int argc, char **argv);
int lx_bench_guess(int argc, char **argv);
int lx_bench_link(int argc, char **argv);

#endif
