/* SPDX-License-Identifier: MIT */
/* eval_plot.c - pictures of rows: their data, a script for gnuplot, and what it makes of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "cli.h"
#include "eval.h"

static const char script[] =
    "set terminal svg size 900,560 font 'sans,13' background 'white' noenhanced\n"
    "set datafile separator '\\t'\n"
    "set grid lc rgb '#dddddd'\n"
    "set border 3\n"
    "set tics nomirror\n"
    "set output 'kl.svg'\n"
    "set title 'KL divergence and size (95 % intervals)'\n"
    "set xlabel 'bits a value, raw tokens counted in 8,000'\n"
    "set ylabel 'KL, nats'\n"
    "set logscale xy\n"
    "set format y '%.0e'\n"
    "set xtics (3, 4, 5, 6, 8, 10, 12, 16)\n"
    "set xrange [3:20]\n"
    "set key off\n"
    "plot 'rows.tsv' using 3:($4>1e-8?$4:NaN):5:6 "
    "with yerrorbars pt 7 ps 0.6 lc rgb '#2060a0', "
    "'' using 3:($4>1e-8?$4:NaN):1 with labels left offset 0.7,0.3 font 'sans,10'\n"
    "set output 'vnmse.svg'\n"
    "set title 'Squared errors by squares'\n"
    "set ylabel 'vNMSE of the attention output'\n"
    "plot 'rows.tsv' using 3:($8>1e-10?$8:NaN) with points pt 7 ps 0.6 lc rgb '#a04020', "
    "'' using 3:($8>1e-10?$8:NaN):1 with labels left offset 0.7,0.3 font 'sans,10'\n"
    "unset logscale\n"
    "set xtics auto\n"
    "set format y '%g'\n"
    "set output 'accepted.svg'\n"
    "set title 'Drafts of anchors that stand'\n"
    "set xlabel 'tokens'\n"
    "set ylabel 'share of prompts with so many'\n"
    "set xrange [0:62]\n"
    "set yrange [0:1.02]\n"
    "set key outside right\n"
    "stats 'accepted.tsv' skip 1 nooutput\n"
    "plot for [i=2:STATS_columns] 'accepted.tsv' using 1:i with steps lw 2 lt i "
    "dt 1+(i>9) title columnheader(i)\n";

static FILE *create(const char *command, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file)
        (void)cli_error(command, "cannot write '%s': %s", path, strerror(errno));
    return file;
}

static bool put_rows(FILE *file, const eval_row rows[], uint32_t count, uint32_t text_count)
{
    fputs("codec\tplanes\tbits\tkl\tkl_low\tkl_high\taccepted\tvnmse_attention\n", file);
    for (uint32_t i = 0; i < count; i++) {
        const eval_summary s = eval_row_summary(&rows[i], text_count);
        fprintf(file, "%s\t%u\t%g\t%g\t%g\t%g\t%g\t%g\n", rows[i].method->name,
                rows[i].method->planes, s.bits_at_8000, s.kl.value, s.kl.low, s.kl.high,
                s.accepted.value, s.vnmse_attention);
    }
    return fclose(file) == 0;
}

/* Share of a row's prompts whose draft stands for at least 'tokens'. */
static double share_of(const eval_row *row, uint32_t tokens)
{
    uint32_t reached = 0;
    for (uint32_t i = 0; i < row->count; i++)
        reached += row->samples[i].accepted >= tokens;
    return row->count ? (double)reached / row->count : 0;
}

static bool put_accepted(FILE *file, const eval_row rows[], uint32_t count)
{
    fputs("tokens", file);
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].method->planes == 1)
            fprintf(file, "\t%s", rows[i].method->name);
    for (uint32_t tokens = 0; tokens <= EVAL_DRAFT; tokens++) {
        fprintf(file, "\n%u", tokens);
        for (uint32_t i = 0; i < count; i++)
            if (rows[i].method->planes == 1)
                fprintf(file, "\t%g", share_of(&rows[i], tokens));
    }
    fputc('\n', file);
    return fclose(file) == 0;
}

/* True with a message when there is no gnuplot: the data are there. */
static bool draw(const char *command, const char *folder)
{
    char line[] = "cd \"$1\" && { command -v gnuplot >/dev/null || exit 9; } && "
                  "gnuplot eval.gp";
    char shell[] = "/bin/sh", flag[] = "-c", name[] = "plot";
    char *place = strdup(folder);
    char *const arguments[] = {shell, flag, line, name, place, NULL};
    const int code = place ? child_wait(child_start(arguments, NULL, NULL)) : -1;
    free(place);
    if (code == 9)
        cli_say(command, CLI_LEVEL_WARNING,
                "no gnuplot here: '%s' has the data and the script eval.gp; install "
                "gnuplot-nox, or draw them elsewhere",
                folder);
    else if (code != 0)
        (void)cli_error(command, "gnuplot could not draw '%s/eval.gp'", folder);
    return code == 0 || code == 9;
}

bool eval_plot(const char *command, const char *folder, const eval_row rows[], uint32_t count,
               uint32_t text_count)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        (void)cli_error(command, "cannot make '%s': %s", folder, strerror(errno));
        return false;
    }
    FILE *file = create(command, folder, "rows.tsv");
    if (!file || !put_rows(file, rows, count, text_count))
        return false;
    file = create(command, folder, "accepted.tsv");
    if (!file || !put_accepted(file, rows, count))
        return false;
    file = create(command, folder, "eval.gp");
    if (!file || fputs(script, file) < 0 || fclose(file) != 0)
        return false;
    return draw(command, folder);
}
