/* SPDX-License-Identifier: MIT */
/*
 * eval_items.c - items of tasks, made from words and a seed, the same everywhere.
 *
 *   passkey  one sentence with a number among others; which number was it?
 *   recall   many things with a number each; which number has this one?
 *   choice   solved questions of the same kinds; which of four answers is likeliest?
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum { DEPTHS = 5, CODE_LEAST = 10000, CODE_COUNT = 90000 };

static const char *const task_names[EVAL_TASKS] = {"passkey", "recall", "choice"};

bool eval_task_named(const char *name, eval_task *task)
{
    for (uint32_t i = 0; i < EVAL_TASKS; i++)
        if (strcmp(task_names[i], name) == 0) {
            *task = (eval_task)i;
            return true;
        }
    return false;
}

const char *eval_task_name(eval_task task)
{
    return task_names[task];
}

/* ---- words --------------------------------------------------------------------------- */

typedef struct dice {
    uint64_t state;
} dice;

static uint32_t throw(dice * d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->state >> 33) % below);
}

static const char *const adjectives[] = {"amber", "brave",  "calm",   "dusty",  "early",
                                         "faint", "gentle", "hollow", "iron",   "jolly",
                                         "keen",  "late",   "merry",  "narrow", "old",
                                         "pale",  "quick",  "rusty",  "silent", "tall",
                                         "upper", "vivid",  "warm",   "young"};
static const char *const nouns[] = {"falcon",  "garden", "harbour", "island",  "kettle",
                                    "lantern", "meadow", "needle",  "orchard", "palace",
                                    "quarry",  "river",  "saddle",  "temple",  "valley",
                                    "window",  "anchor", "bridge",  "castle",  "desert",
                                    "engine",  "forest", "glacier", "hammer"};
static const char *const verbs[] = {"faces", "follows", "hides",   "joins", "keeps", "leaves",
                                    "meets", "passes",  "reaches", "shows", "turns", "watches"};
static const char *const times[] = {"in the morning", "at noon",      "before winter",
                                    "after the rain", "every spring", "on quiet days",
                                    "near the coast", "in the north"};

#define PICK(dice, list) (list)[throw(dice, (uint32_t)COUNT(list))]

/* Text that grows; 'data' is NULL when memory is short. */
typedef struct text {
    char *data;
    size_t size, room;
    uint32_t words;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    const size_t size = strlen(line);
    if (t->room && !t->data)
        return;
    if (t->size + size + 1 > t->room) {
        t->room = 2 * t->room + size + 1024;
        char *grown = realloc(t->data, t->room);
        if (!grown)
            free(t->data);
        t->data = grown;
        if (!grown)
            return;
    }
    memcpy(t->data + t->size, line, size + 1);
    t->size += size;
    for (size_t i = 0; i < size; i++)
        t->words += line[i] == ' ';
}

static void put_filler(text *t, dice *d)
{
    put(t, "The %s %s ", PICK(d, adjectives), PICK(d, nouns));
    put(t, "%s the %s %s %s. ", PICK(d, verbs), PICK(d, adjectives), PICK(d, nouns),
        PICK(d, times));
}

/* ---- passkey and recall -------------------------------------------------------------- */

static void make_passkey(text *t, dice *d, uint32_t words, eval_item *item)
{
    const uint32_t code = CODE_LEAST + throw(d, CODE_COUNT);
    const uint32_t before = (uint32_t)(item->depth * words);
    put(t, "There is a pass key in this text. Remember it. ");
    while (t->words < before)
        put_filler(t, d);
    put(t, "The pass key is %u. Remember it, %u is the pass key. ", code, code);
    while (t->words < words)
        put_filler(t, d);
    snprintf(item->question, sizeof(item->question), "What is the pass key? The pass key is");
    snprintf(item->options[0], sizeof(item->options[0]), " %u", code);
    item->option_count = 1;
}

/* As many PAIRS as there are nouns, spread over the context. */
static void make_recall(text *t, dice *d, uint32_t words, eval_item *item)
{
    enum { PAIRS = 12 };
    const uint32_t first = throw(d, PAIRS);
    const uint32_t asked = (uint32_t)(item->depth * PAIRS);
    put(t, "Each thing has a code.\n");
    for (uint32_t i = 0; i < PAIRS; i++) {
        const char *noun = nouns[(first + i) % PAIRS];
        const uint32_t code = CODE_LEAST + throw(d, CODE_COUNT);
        put(t, "The code of the %s is %u.\n", noun, code);
        while (t->words < words * (i + 1) / PAIRS)
            put_filler(t, d);
        if (i == asked) {
            snprintf(item->question, sizeof(item->question), "The code of the %s is", noun);
            snprintf(item->options[0], sizeof(item->options[0]), " %u", code);
        }
    }
    item->option_count = 1;
}

/* ---- choice -------------------------------------------------------------------------- */

typedef struct fact {
    const char *of, *is;
} fact;

static const fact capitals[] = {
    {"France", "Paris"},    {"Italy", "Rome"},       {"Spain", "Madrid"},
    {"Germany", "Berlin"},  {"Japan", "Tokyo"},      {"China", "Beijing"},
    {"Russia", "Moscow"},   {"Greece", "Athens"},    {"Egypt", "Cairo"},
    {"Austria", "Vienna"},  {"Poland", "Warsaw"},    {"Ireland", "Dublin"},
    {"Norway", "Oslo"},     {"Sweden", "Stockholm"}, {"Finland", "Helsinki"},
    {"Portugal", "Lisbon"}, {"Hungary", "Budapest"}, {"Cuba", "Havana"},
    {"Kenya", "Nairobi"},   {"Iraq", "Baghdad"},     {"Iran", "Tehran"},
    {"Peru", "Lima"},       {"India", "New Delhi"},  {"England", "London"},
};
static const fact opposites[] = {
    {"hot", "cold"},   {"big", "small"},  {"old", "young"},      {"fast", "slow"},
    {"up", "down"},    {"left", "right"}, {"open", "closed"},    {"full", "empty"},
    {"light", "dark"}, {"hard", "soft"},  {"rich", "poor"},      {"early", "late"},
    {"happy", "sad"},  {"wet", "dry"},    {"strong", "weak"},    {"high", "low"},
    {"long", "short"}, {"first", "last"}, {"inside", "outside"}, {"day", "night"},
    {"good", "bad"},   {"true", "false"}, {"begin", "end"},      {"win", "lose"},
};
static const fact past[] = {
    {"go", "went"},       {"see", "saw"},     {"eat", "ate"},       {"take", "took"},
    {"give", "gave"},     {"come", "came"},   {"run", "ran"},       {"write", "wrote"},
    {"speak", "spoke"},   {"break", "broke"}, {"drive", "drove"},   {"fly", "flew"},
    {"grow", "grew"},     {"know", "knew"},   {"sing", "sang"},     {"swim", "swam"},
    {"think", "thought"}, {"buy", "bought"},  {"bring", "brought"}, {"teach", "taught"},
    {"find", "found"},    {"keep", "kept"},   {"sleep", "slept"},   {"stand", "stood"},
};
static const fact sounds[] = {
    {"dog", "bark"},   {"cat", "meow"},    {"cow", "moo"},     {"lion", "roar"},
    {"duck", "quack"}, {"sheep", "bleat"}, {"horse", "neigh"}, {"snake", "hiss"},
    {"wolf", "howl"},  {"bee", "buzz"},    {"frog", "croak"},  {"pig", "oink"},
};

static const struct {
    const char *question;
    const fact *facts;
    uint32_t count;
} kinds[] = {
    {"What is the capital of %s?", capitals, COUNT(capitals)},
    {"What is the opposite of %s?", opposites, COUNT(opposites)},
    {"What is the past tense of %s?", past, COUNT(past)},
    {"What sound does a %s make?", sounds, COUNT(sounds)},
};
enum { KINDS = COUNT(kinds) };

/* The question of a fact; 'room' bytes. */
static void ask(char *line, size_t room, uint32_t kind, uint32_t which)
{
    const char *question = kinds[kind].question;
    const char *gap = strstr(question, "%s");
    snprintf(line, room, "Question: %.*s%s%s Answer:", (int)(gap - question), question,
             kinds[kind].facts[which].of, gap + 2);
}

/* What comes after a number: never asked, and never short of examples. */
static void put_number(text *t, dice *d)
{
    const uint32_t number = 1 + throw(d, 900);
    put(t, "Question: Which number comes after %u? Answer: %u\n", number, number + 1);
}

static void make_choice(text *t, dice *d, uint32_t words, uint32_t index, eval_item *item)
{
    char line[256];
    const uint32_t kind = index % KINDS;
    const uint32_t asked = throw(d, kinds[kind].count);
    while (t->words < words) {
        const uint32_t other = throw(d, KINDS + 1);
        const uint32_t which = other < KINDS ? throw(d, kinds[other].count) : 0;
        if (other == KINDS) {
            put_number(t, d);
        } else if (other != kind || which != asked) {
            ask(line, sizeof(line), other, which);
            put(t, "%s %s\n", line, kinds[other].facts[which].is);
        }
    }
    ask(item->question, sizeof(item->question), kind, asked);
    /* The others follow the right one in the table. */
    const uint32_t step = 1 + throw(d, 3);
    for (uint32_t i = 0; i < EVAL_OPTIONS; i++)
        snprintf(item->options[i], sizeof(item->options[i]), " %s",
                 kinds[kind].facts[(asked + i * step) % kinds[kind].count].is);
    item->option_count = EVAL_OPTIONS;
}

void eval_item_make(eval_task task, uint32_t words, uint32_t index, eval_item *item)
{
    text t = {0};
    dice d = {(uint64_t)task << 48 | (uint64_t)words << 24 | index};
    memset(item, 0, sizeof(*item));
    (void) throw(&d, 2);
    item->depth = (index % DEPTHS + 0.5) / DEPTHS;
    if (task == EVAL_PASSKEY)
        make_passkey(&t, &d, words, item);
    else if (task == EVAL_RECALL)
        make_recall(&t, &d, words, item);
    else
        make_choice(&t, &d, words, index, item);
    item->context = t.data;
}
