/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "settings_file.h"

extern char **environ;

/* An argument that was made from a setting. */
typedef struct setting {
    char *argument; /* "--listen=0.0.0.0:7600" */
    char *place;    /* "lynxd.ini:3: listen: " */
    const struct option *option;
} setting;

struct lynxd_settings {
    const lynxd_command *command;
    setting *all;
    size_t count, room;
    char *file;        /* its path; NULL: none */
    const char *where; /* "lynxd.ini: ", where there are no arguments but of the file */
    bool is_checking;  /* --check-config: every problem is told */
    bool is_mute;      /* another command told what is wrong with the file as such */
    bool wants_help;
    uint32_t problems;
    char **argv; /* all of 'count', a mark, the user's */
};

/* What messages are about: the setting that getopt is at, or one that was named. */
static const lynxd_settings *current;
static const char *subject;
static bool is_parsing;

/* ---- places -------------------------------------------------------------------------- */

static const char *place(void)
{
    if (!current)
        return NULL;
    if (subject)
        return subject;
    /* Arguments from settings stand first, each in one piece, and a mark is behind them. */
    const size_t at = (size_t)optind - 2;
    if (is_parsing && optind >= 2 && at < current->count)
        return current->all[at].place;
    return current->where; /* settings that do not go together */
}

void lynxd_settings_about(const char *option)
{
    static char text[4096];
    subject = NULL;
    if (!current || !option)
        return;
    for (size_t i = current->count; i-- > 0 && !subject;)
        if (strcmp(current->all[i].option->name, option) == 0)
            subject = current->all[i].place;
    if (subject || !current->file)
        return;
    snprintf(text, sizeof(text), "%s: ", current->file);
    subject = text;
}

/* One line about a place; only the first counts unless the file is being checked. */
static void complain(lynxd_settings *s, const char *where, const char *text)
{
    if (s->problems++ && !s->is_checking)
        return;
    current = s;
    subject = where;
    (void)!cli_usage(s->command->title, "%s", text);
    subject = NULL;
}

/* ---- one setting --------------------------------------------------------------------- */

static const struct option *find_option(const lynxd_command *command, const char *name)
{
    for (const struct option *o = command->options; o->name; o++)
        if (strcmp(o->name, name) == 0 && o->val != 'h' && o->val != CLI_OPT_CONFIG &&
            o->val != CLI_OPT_CHECK_CONFIG)
            return o;
    return NULL;
}

/* 1: yes, 0: no, -1: neither. */
static int truth(const char *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (strcasecmp(value, words[i]) == 0)
            return i % 2;
    return -1;
}

static void drop(lynxd_settings *s, size_t at)
{
    free(s->all[at].argument);
    free(s->all[at].place);
    s->count--;
    memmove(&s->all[at], &s->all[at + 1], (s->count - at) * sizeof(*s->all));
}

static bool make_room(lynxd_settings *s)
{
    if (s->count < s->room)
        return true;
    const size_t room = s->room ? 2 * s->room : 32;
    setting *grown = realloc(s->all, room * sizeof(*grown));
    if (!grown)
        return false;
    s->all = grown;
    s->room = room;
    return true;
}

/* A flag is given or not: what was said of it before does not count any more. */
static void take_flag_back(lynxd_settings *s, const struct option *option)
{
    for (size_t i = s->count; i-- > 0;)
        if (s->all[i].option == option)
            drop(s, i);
}

static void add(lynxd_settings *s, const struct option *option, const char *value,
                const char *where)
{
    const bool is_flag = option->has_arg == no_argument;
    const int yes = is_flag ? truth(value) : 1;
    if (yes < 0) {
        complain(s, where, "say true or false");
        return;
    }
    if (is_flag)
        take_flag_back(s, option);
    if (!yes)
        return;
    setting new = {.option = option, .place = strdup(where)};
    const int length =
        asprintf(&new.argument, is_flag ? "--%s" : "--%s=%s", option->name, value);
    if (length < 0 || !new.place || !make_room(s)) {
        free(length < 0 ? NULL : new.argument);
        free(new.place);
        complain(s, where, "there is no memory for it");
        return;
    }
    s->all[s->count++] = new;
}

/* ---- environment --------------------------------------------------------------------- */

/* "max-queue" of "LYNX_PREFILL_MAX_QUEUE=4096", with the value; NULL: not one of ours. */
static const char *split_variable(const lynxd_command *command, const char *variable,
                                  char *name, size_t size)
{
    char prefix[64];
    const int length = snprintf(prefix, sizeof(prefix), "LYNX_%s_", command->name);
    for (char *at = prefix; *at; at++)
        *at = (char)toupper((unsigned char)*at);
    const char *equals = strchr(variable, '=');
    if (!equals || strncmp(variable, prefix, (size_t)length) != 0 ||
        (size_t)(equals - variable) >= size)
        return NULL;
    size_t used = 0;
    for (const char *at = variable + length; at < equals; at++)
        name[used++] = *at == '_' ? '-' : (char)tolower((unsigned char)*at);
    name[used] = '\0';
    return equals + 1;
}

/* Variables of other names may be of others (a service called lynx-prefill has some), so they
 * are told and not refused. Empty ones count as not set. */
static void read_environment(lynxd_settings *s)
{
    char name[256], where[300];
    for (char **variable = environ; *variable; variable++) {
        const char *value = split_variable(s->command, *variable, name, sizeof(name));
        if (!value || !*value || strcmp(name, "config") == 0)
            continue;
        const int length = (int)(value - 1 - *variable);
        const struct option *option = find_option(s->command, name);
        snprintf(where, sizeof(where), "%.*s: ", length, *variable);
        if (option)
            add(s, option, value, where);
        else
            cli_say(s->command->title, CLI_LEVEL_WARNING, "%.*s names no option", length,
                    *variable);
    }
}

/* ---- file ---------------------------------------------------------------------------- */

static bool is_command(const char *name)
{
    for (const lynxd_command *const *c = lynxd_commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return true;
    return false;
}

static void on_section(void *user, const char *section, const char *where)
{
    lynxd_settings *s = user;
    char text[200];
    if (is_command(section) || s->is_mute)
        return;
    snprintf(text, sizeof(text), "there is no section [%.60s]; a section is a command of lynxd",
             section);
    complain(s, where, text);
}

static void on_key(void *user, const char *section, const char *key, const char *value,
                   const char *where)
{
    lynxd_settings *s = user;
    char text[200], place_of_key[4096 + 100];
    if (strcmp(section, s->command->name) != 0) {
        if (section[0] == '\0' && !s->is_mute)
            complain(s, where, "a key stands before the first [section]");
        return;
    }
    const struct option *option = find_option(s->command, key);
    snprintf(place_of_key, sizeof(place_of_key), "%s%.60s: ", where, key);
    if (!option) {
        snprintf(text, sizeof(text), "there is no such option, or none for a file");
        complain(s, place_of_key, text);
    } else if (!*value) {
        complain(s, place_of_key, "it has no value");
    } else {
        add(s, option, value, place_of_key);
    }
}

static void on_problem(void *user, const char *where, const char *text)
{
    lynxd_settings *s = user;
    if (!s->is_mute)
        complain(s, where, text);
}

static bool read_file(lynxd_settings *s, const char *path)
{
    static const settings_file_ops ops = {on_section, on_key, on_problem};
    s->file = strdup(path);
    return settings_file_read(path, &ops, s);
}

/* ---- all of them --------------------------------------------------------------------- */

/* What the command line says that counts before the rest: its last --config, --check-config and
 * --help, which needs no settings. */
static const char *look_ahead(lynxd_settings *s, int argc, char **argv)
{
    const char *path = NULL;
    int option;
    char **copy = calloc((size_t)argc + 1, sizeof(*copy)); /* getopt moves arguments */
    if (!copy)
        return NULL;
    memcpy(copy, argv, (size_t)argc * sizeof(*copy));
    for (char **variable = environ; *variable; variable++) {
        char name[256];
        const char *value = split_variable(s->command, *variable, name, sizeof(name));
        if (value && *value && strcmp(name, "config") == 0)
            path = value;
    }
    optind = 0;
    while ((option = getopt_long(argc, copy, LYNXD_LETTERS, s->command->options, NULL)) != -1) {
        if (option == CLI_OPT_CONFIG)
            path = optarg;
        s->is_checking |= option == CLI_OPT_CHECK_CONFIG;
        s->wants_help |= option == 'h';
    }
    free(copy);
    return path;
}

/* Name of the program, settings, a mark, the user's own. */
static int merge(lynxd_settings *s, int argc, char **argv)
{
    static char mark[] = "--config=";
    int count = 0;
    free(s->argv);
    s->argv = calloc(s->count + (size_t)argc + 2, sizeof(*s->argv));
    if (!s->argv)
        return -1;
    s->argv[count++] = argv[0];
    for (size_t i = 0; i < s->count; i++)
        s->argv[count++] = s->all[i].argument;
    s->argv[count++] = mark;
    for (int i = 1; i < argc; i++)
        s->argv[count++] = argv[i];
    return count;
}

/* Defaults, then the arguments into 'target'. -1: go on, else the exit code after a message. */
static int parse(const lynxd_command *command, void *target, int argc, char **argv)
{
    int option;
    command->set_defaults(target);
    while ((option = getopt_long(argc, argv, LYNXD_LETTERS, command->options, NULL)) != -1) {
        if (option == 'h') {
            command->put_help();
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command->title, option, argv);
        const int taken = command->take(target, option, optarg);
        if (taken != CLI_OK)
            return taken;
    }
    if (optind < argc)
        return cli_usage(command->title, "unexpected argument '%s'", argv[optind]);
    if (command->check_options && command->check_options(target) != CLI_OK)
        return CLI_USAGE;
    return -1;
}

/* Parse once, or, to tell every problem, again without the setting that was wrong. */
static int parse_all(lynxd_settings *s, void *target, int argc, char **argv)
{
    for (;;) {
        const int count = merge(s, argc, argv);
        if (count < 0)
            return cli_error(s->command->title, "no memory");
        optind = 0; /* from the beginning */
        current = s;
        is_parsing = true;
        const int code = parse(s->command, target, count, s->argv);
        const size_t at = (size_t)optind - 2;
        is_parsing = false;
        if (code != CLI_USAGE || !s->is_checking || optind < 2 || at >= s->count)
            return code;
        s->problems++;
        drop(s, at);
    }
}

static int check(lynxd_settings *s, void *target, int argc, char **argv)
{
    const int code = parse_all(s, target, argc, argv);
    if (code >= 0)
        s->problems++;
    else if (s->command->check(target) != CLI_OK)
        s->problems++;
    lynxd_settings_about(NULL);
    return s->problems ? CLI_USAGE : CLI_OK;
}

static int read_all(lynxd_settings *s, void *target, int argc, char **argv)
{
    const char *path = look_ahead(s, argc, argv);
    if (s->wants_help)
        return parse_all(s, target, argc, argv);
    if (s->is_checking && !path)
        return cli_usage(s->command->title, "there is no file to check; pass --config FILE");
    read_environment(s);
    if (path && !read_file(s, path))
        return CLI_USAGE;
    if (s->is_checking)
        return check(s, target, argc, argv);
    return s->problems ? CLI_USAGE : parse_all(s, target, argc, argv);
}

static lynxd_settings *make_settings(const lynxd_command *command)
{
    lynxd_settings *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->command = command;
    cli_out.place = place;
    return s;
}

int lynxd_settings_read(lynxd_settings **settings, const lynxd_command *command, void *target,
                        int argc, char **argv)
{
    *settings = NULL;
    lynxd_settings *s = make_settings(command);
    if (!s)
        return cli_error(command->title, "no memory");
    const int code = read_all(s, target, argc, argv);
    current = NULL;
    if (code < 0) {
        *settings = s;
        return -1;
    }
    if (code == CLI_OK && s->is_checking)
        printf("%s: in order\n", s->file);
    lynxd_settings_free(s);
    return code;
}

void lynxd_settings_free(lynxd_settings *s)
{
    if (!s)
        return;
    while (s->count)
        drop(s, s->count - 1);
    free(s->all);
    free(s->argv);
    free(s->file);
    free(s);
}

/* ---- a file alone -------------------------------------------------------------------- */

typedef struct search {
    const char *name;
    bool is_found;
} search;

static void note_section(void *user, const char *section, const char *where)
{
    search *s = user;
    (void)where;
    s->is_found |= strcmp(section, s->name) == 0;
}

static void pass_key(void *user, const char *section, const char *key, const char *value,
                     const char *where)
{
    (void)user;
    (void)section;
    (void)key;
    (void)value;
    (void)where;
}

static void pass_problem(void *user, const char *where, const char *text)
{
    (void)user;
    (void)where;
    (void)text;
}

static bool has_section(const lynxd_command *command, const char *path)
{
    static const settings_file_ops ops = {note_section, pass_key, pass_problem};
    search s = {.name = command->name};
    (void)settings_file_read(path, &ops, &s);
    return s.is_found;
}

/* The section of one command; with 'is_first' also what is wrong with the file as such. */
static int check_section(const lynxd_command *command, const char *path, bool is_first)
{
    char *argv[] = {(char *)(uintptr_t)command->name, NULL};
    char where[4096];
    const bool is_there = has_section(command, path);
    lynxd_settings *s = make_settings(command);
    void *target = calloc(1, command->target_size);
    int code = CLI_FAILED;
    snprintf(where, sizeof(where), "%s: ", path);
    if (s && target) {
        s->is_checking = true;
        s->is_mute = !is_first;
        s->where = where;
        if (is_there)
            read_environment(s);
        (void)read_file(s, path);
        code = s->problems ? CLI_USAGE : CLI_OK;
        if (is_there)
            code = check(s, target, 1, argv);
    }
    current = NULL;
    free(target);
    lynxd_settings_free(s);
    return code;
}

int lynxd_settings_check(const char *path)
{
    int worst = CLI_OK;
    bool has_any = false;
    for (uint32_t i = 0; lynxd_commands[i]; i++) {
        const int code = check_section(lynxd_commands[i], path, i == 0);
        has_any |= has_section(lynxd_commands[i], path);
        worst = code > worst ? code : worst;
    }
    if (worst == CLI_OK && !has_any)
        return cli_usage("lynxd", "%s: it has no section of a command, such as [%s]", path,
                         lynxd_commands[0]->name);
    if (worst == CLI_OK)
        printf("%s: in order\n", path);
    return worst;
}
