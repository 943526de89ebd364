/* SPDX-License-Identifier: MIT */
/*
 * crash_test.c - writers that are killed, that meet, that find no permission: what is in the
 * store afterwards is whole.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/store_bed.h"

enum { PROMPT = 200, ROUNDS = 100, KILL_US = 12000 };

static void small_toy(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->page_tokens = 32;
    toy->context_tokens = 512;
}

/* Keep one prompt after the other, for ever. */
static void write_prompts(store_bed *bed, uint32_t seed)
{
    lynx_keep_result result;
    for (uint32_t i = 0;; i++) {
        bed->tokens[0] = (lynx_token)((seed + i) % 60);
        store_bed_keep(bed, PROMPT, &result);
    }
}

static uint32_t count_files(const char *folder, const char *part)
{
    char path[512];
    uint32_t count = 0;
    DIR *open_folder = opendir(folder);
    for (struct dirent *e = open_folder ? readdir(open_folder) : NULL; e;
         e = readdir(open_folder)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (e->d_type == DT_DIR)
            count += count_files(path, part);
        else
            count += strncmp(e->d_name, part, strlen(part)) == 0;
    }
    if (open_folder)
        closedir(open_folder);
    return count;
}

/* Make every draft look old, so that it can be swept now. */
static void age_drafts(const char *folder)
{
    char path[512];
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    DIR *open_folder = opendir(folder);
    for (struct dirent *e = open_folder ? readdir(open_folder) : NULL; e;
         e = readdir(open_folder)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (e->d_type == DT_DIR)
            age_drafts(path);
        else if (strncmp(e->d_name, ".part-", 6) == 0)
            assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    }
    if (open_folder)
        closedir(open_folder);
}

static void collect(store_bed *bed)
{
    lynx_store_removed removed;
    char text[LYNX_PLACE_TEXT_MAX];
    assert_int_equal(lynx_store_collect(bed->store, 0, false, &removed, text, sizeof(text)),
                     LYNX_OK);
}

/* S-12: two writers at once are killed at random moments. */
static void test_killed_writers(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    test_rng rng = test_rng_of(5);
    small_toy(&toy);
    uint32_t most_us = KILL_US;
    store_bed_begin(&bed, &toy, "range", NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pid_t writers[2];
        for (uint32_t i = 0; i < 2; i++) {
            writers[i] = fork();
            assert_true(writers[i] >= 0);
            if (writers[i] == 0)
                write_prompts(&bed, round * 3 + i);
        }
        usleep((useconds_t)test_rng_below(&rng, most_us));
        for (uint32_t i = 0; i < 2; i++) {
            kill(writers[i], SIGKILL);
            assert_int_equal(waitpid(writers[i], NULL, 0), writers[i]);
        }
        assert_int_equal(store_bed_verify(&bed), 0);
        if (store_bed_count(&bed, "segments/") == 0) /* a slow machine, or a sanitizer */
            most_us += KILL_US / 4;
    }
    assert_true(store_bed_count(&bed, "segments/") > 0);
    for (uint32_t i = 0; i < 60; i += 7) {
        bed.tokens[0] = (lynx_token)i;
        const uint32_t here = store_bed_read(&bed, PROMPT);
        if (here)
            store_bed_compare(&bed, here);
    }
    age_drafts(bed.folder);
    collect(&bed);
    assert_int_equal(count_files(bed.folder, ".part-"), 0);
    store_bed_end(&bed);
}

static lynx_status keep_status(store_bed *bed, char *text)
{
    lynx_keep_options options;
    lynx_keep_result result;
    lynx_keep_options_init(&options);
    options.engine = bed->engine;
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.token_count = PROMPT;
    options.store = bed->store;
    return lynx_keep(&options, &result, text);
}

/* A folder that may not be written serves readers, and refuses writers. As another user, since
 * the superuser may write anywhere. */
static void test_read_only_folder(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    char text[LYNX_TEXT_MAX], command[128];
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    assert_int_equal(keep_status(&bed, text), LYNX_OK);
    snprintf(command, sizeof(command), "chmod -R a+rX,a-w %s", bed.folder);
    assert_int_equal(system(command), 0);
    const pid_t child = fork();
    if (child == 0) {
        int code = 0;
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(9);
        if (access(bed.folder, R_OK | X_OK) != 0)
            _exit(77); /* the folder above is not open to others */
        code |= store_bed_length(&bed, PROMPT) == PROMPT ? 0 : 1;
        code |= store_bed_read(&bed, PROMPT + 1) == PROMPT ? 0 : 2;
        bed.tokens[0]++;
        code |= keep_status(&bed, text) == LYNX_ERR_DENIED ? 0 : 4;
        _exit(code);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(command, sizeof(command), "chmod -R u+w %s", bed.folder);
    assert_int_equal(system(command), 0);
    assert_true(WIFEXITED(status));
    store_bed_end(&bed);
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Segments and documents go while somebody reads: who has them open keeps them. */
static void test_removed_while_read(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    char text[LYNX_TEXT_MAX];
    lynx_source *source = NULL;
    lynx_source_plane plane;
    lynx_store_removed removed;
    uint32_t planes = 0;
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    assert_int_equal(keep_status(&bed, text), LYNX_OK);
    assert_int_equal(lynx_store_find(bed.store, bed.engine->ops->model(bed.engine), &bed.spec,
                                     bed.tokens, PROMPT + 1, &source, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(source->ops->next(source, &plane), LYNX_OK);
    assert_int_equal(lynx_store_collect(bed.store, 1, false, &removed, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(removed.objects, 4);
    assert_int_equal(store_bed_length(&bed, PROMPT), 0);
    do {
        source->ops->release(source, &plane);
        planes++;
    } while (source->ops->next(source, &plane) == LYNX_OK);
    assert_true(planes > 50);
    lynx_source_destroy(source);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_writers),
        cmocka_unit_test(test_read_only_folder),
        cmocka_unit_test(test_removed_while_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
