/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINES_PER_S = 20, TEXT_MAX = 8192 };

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const format_names[] = {"text", "json"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below */
static const char *command_name = "lynxd";
static lynxd_log_options log_options = {.level = CLI_LEVEL_INFO};
static bool is_journal;
static lynx_time_ns second_began; /* when 'lines' were counted from */
static uint32_t lines;

void lynxd_log_options_init(lynxd_log_options *options)
{
    *options = (lynxd_log_options){.level = CLI_LEVEL_INFO};
}

static int find_name(const char *value, const char *const names[], int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return -1;
}

int lynxd_log_take_option(lynxd_log_options *options, int option, const char *value)
{
    if (option != CLI_OPT_LOG_LEVEL && option != CLI_OPT_LOG_FORMAT)
        return -1;
    const bool is_level = option == CLI_OPT_LOG_LEVEL;
    const int index = find_name(value, is_level ? level_names : format_names, is_level ? 4 : 2);
    if (index < 0)
        return 0;
    if (is_level)
        options->level = (cli_level)index;
    else
        options->is_json = index == 1;
    return 1;
}

/* stderr is the journal when it is the file that systemd named. */
static bool find_journal(void)
{
    const char *name = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat found;
    return name && sscanf(name, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &found) == 0 && found.st_dev == (dev_t)device &&
           found.st_ino == (ino_t)inode;
}

/* ---- lines --------------------------------------------------------------------------- */

static void put_time(char text[40])
{
    struct timespec now;
    struct tm parts;
    char date[24];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, 40, "%s.%03ldZ", date, now.tv_nsec / 1000000);
}

/* Control characters are blanks; what is no UTF-8 is '?'. */
static json_t *json_text(char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    for (char *at = text; *at; at++)
        *at = (unsigned char)*at >= 128 ? '?' : *at;
    return json_string(text);
}

static void write_json(cli_level level, char *text)
{
    char time[40];
    put_time(time);
    json_t *line = json_pack("{s:s, s:s, s:s, s:o}", "time", time, "level", level_names[level],
                             "command", command_name, "event", json_text(text));
    char *dumped = line ? json_dumps(line, JSON_PRESERVE_ORDER) : NULL;
    if (dumped)
        fprintf(stderr, "%s\n", dumped);
    free(dumped);
    json_decref(line);
}

/* Called with the lock held. */
static void write_line(cli_level level, const char *text)
{
    static const int priorities[] = {3, 4, 6, 7}; /* of syslog */
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    char copy[TEXT_MAX];
    if (level > log_options.level)
        return;
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *at = copy; *at; at++)
        *at = (unsigned char)*at < 32 ? ' ' : *at;
    if (is_journal)
        fprintf(stderr, "<%d>", priorities[level]);
    if (log_options.is_json)
        write_json(level, copy);
    else
        fprintf(stderr, "%s: %s%s\n", command_name, words[level], copy);
}

/* Begin the next second when it is time. Called with the lock held. */
static void turn_second(void)
{
    const lynx_time_ns now = lynx_clock_now();
    char text[80];
    if (now - second_began < 1000000000ull)
        return;
    if (lines > LINES_PER_S) {
        snprintf(text, sizeof(text), "%u more lines in a second, left out",
                 lines - LINES_PER_S);
        write_line(CLI_LEVEL_WARNING, text);
    }
    second_began = now;
    lines = 0;
}

/* ---- what others call ---------------------------------------------------------------- */

static void say(const char *command, cli_level level, const char *text)
{
    (void)command;
    pthread_mutex_lock(&lock);
    write_line(level, text);
    pthread_mutex_unlock(&lock);
}

void lynxd_log_start(const char *command, const lynxd_log_options *options)
{
    pthread_mutex_lock(&lock);
    command_name = command;
    log_options = *options;
    is_journal = find_journal();
    pthread_mutex_unlock(&lock);
    cli_out.say = say;
}

void lynxd_log(cli_level level, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    say(command_name, level, text);
}

void lynxd_log_event(void *user, lynx_status status, const char *text)
{
    const cli_level level = status == LYNX_OK ? CLI_LEVEL_INFO : CLI_LEVEL_WARNING;
    (void)user;
    pthread_mutex_lock(&lock);
    turn_second();
    if (level <= log_options.level && ++lines <= LINES_PER_S)
        write_line(level, text);
    pthread_mutex_unlock(&lock);
}

void lynxd_log_turn(void)
{
    pthread_mutex_lock(&lock);
    turn_second();
    pthread_mutex_unlock(&lock);
}
