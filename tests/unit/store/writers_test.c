/* SPDX-License-Identifier: MIT */
/*
 * writers_test.c - a store and a cache file that grow while their writer is killed, while
 * others write and evict, or on a disk that is full: what was there before stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lynx/keep.h"
#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/store_bed.h"

enum { TOKENS = 200, KILLS = 100, PROMPTS = 8, PAGE_TOKENS = 32 };

static void small_toy(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->page_tokens = PAGE_TOKENS;
    toy->context_tokens = 512;
    toy->piece_tokens = 64;
    toy->window_tokens = 40;
}

/* Another prompt: all differ from their first token on. */
static void choose_prompt(store_bed *bed, uint32_t number)
{
    bed->tokens[0] = (lynx_token)(1 + number % 60);
}

/* ---- what lies in the folder --------------------------------------------------------- */

static uint32_t drafts;
static bool must_age;

static int look_at_draft(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    (void)found;
    if (type != FTW_F || strncmp(path + walk->base, ".part-", 6) != 0)
        return 0;
    drafts++;
    return must_age ? utimensat(AT_FDCWD, path, long_ago, 0) : 0;
}

/* Files of writers that did not finish; 'age' makes them old. */
static uint32_t count_drafts(const char *folder, bool age)
{
    drafts = 0;
    must_age = age;
    assert_int_equal(nftw(folder, look_at_draft, 16, FTW_PHYS), 0);
    return drafts;
}

static void sweep(store_bed *bed)
{
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_store_removed removed;
    (void)count_drafts(bed->folder, true);
    assert_int_equal(lynx_store_collect(bed->store, 0, false, &removed, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(count_drafts(bed->folder, false), 0);
}

/* ---- appending to a file ------------------------------------------------------------- */

/* Append one more page to 'path', which ends at 'first_token' ('0': make it). */
static lynx_status append_page(store_bed *bed, const char *path, uint32_t first_token)
{
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_segment_options options;
    lynx_segment *segment = NULL;
    const lynx_model *model = bed->engine->ops->model(bed->engine);
    uint8_t bytes[3000];
    memset(bytes, (int)(first_token / PAGE_TOKENS), sizeof(bytes));
    lynx_segment_options_init(&options);
    options.model = model;
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.first_token = first_token;
    options.end_token = first_token + PAGE_TOKENS;
    lynx_status status = lynx_segment_create(&segment, &options);
    for (uint32_t i = 0; i < model->shape.layer_count * 2 && status == LYNX_OK; i++) {
        const lynx_page_id id = {first_token / PAGE_TOKENS, (uint16_t)(i / 2),
                                 (uint8_t)(i % 2)};
        const lynx_bytes planes[2] = {{bytes, 900}, {bytes, 700}};
        if (lynx_segment_wants(segment, id))
            status = lynx_segment_add(segment, id, planes, 2);
    }
    if (status == LYNX_OK)
        status = lynx_cache_file_append(path, segment, text, sizeof(text));
    lynx_segment_destroy(segment);
    return status;
}

static bool note_fault(void *user, const char *object, const char *what)
{
    (void)object;
    (void)what;
    *(bool *)user = true;
    return true;
}

/* Tokens of the file; 0: there is none. Its planes are right, a torn tail aside. */
static uint32_t tokens_of_file(const char *path)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    uint32_t count = 0;
    bool has_fault = false;
    assert_int_equal(lynx_place_files(&place, NULL), LYNX_OK);
    if (lynx_cache_file_open(&file, place, path, NULL, NULL, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    if (file) {
        (void)lynx_cache_file_tokens(file, &count);
        assert_int_equal(lynx_cache_file_verify(file, note_fault, &has_fault, text,
                                                sizeof(text)),
                         LYNX_OK);
        assert_true(has_fault == (lynx_cache_file_tail(file) > 0));
        lynx_cache_file_close(file);
    }
    lynx_place_destroy(place);
    return count;
}

/* ---- kills --------------------------------------------------------------------------- */

/* Write without end, and tell when the first turn is over; for a child, which is killed. */
static void write_for_ever(store_bed *bed, const char *path, uint32_t tokens, int begun)
{
    lynx_keep_result result;
    for (uint32_t turn = 0;; turn++) {
        choose_prompt(bed, turn);
        lynx_store_removed removed;
        char text[LYNX_PLACE_TEXT_MAX];
        store_bed_keep(bed, TOKENS, &result);
        if (turn % PROMPTS == PROMPTS - 1 &&
            lynx_store_collect(bed->store, 1, false, &removed, text, sizeof(text)) != LYNX_OK)
            _exit(1);
        choose_prompt(bed, 0);
        if (tokens + PAGE_TOKENS > STORE_BED_TOKENS) {
            (void)unlink(path);
            tokens = 0;
        }
        if (append_page(bed, path, tokens) != LYNX_OK)
            _exit(2);
        tokens += PAGE_TOKENS;
        if (turn == 0 && write(begun, "", 1) != 1)
            _exit(3);
    }
}

/* Wait for the child, which was killed; false: it ended by itself. */
static bool was_killed(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void test_kills(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    test_rng rng = test_rng_of(71);
    uint32_t found = 0, appended = 0;
    char path[128];
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    snprintf(path, sizeof(path), "%s/grows.lynx", bed.folder);
    for (uint32_t i = 0; i < KILLS; i++) {
        const uint32_t tokens = tokens_of_file(path);
        int begun[2];
        uint8_t byte;
        assert_int_equal(pipe(begun), 0);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            write_for_ever(&bed, path, tokens, begun[1]);
        close(begun[1]);
        assert_int_equal(read(begun[0], &byte, 1), 1); /* not before it has written something */
        close(begun[0]);
        const struct timespec pause = {.tv_nsec = (long)test_rng_below(&rng, 10000000)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        assert_true(was_killed(child));

        assert_int_equal(store_bed_verify(&bed), 0);
        choose_prompt(&bed, 0);
        const uint32_t here = store_bed_read(&bed, TOKENS);
        if (here)
            store_bed_compare(&bed, here);
        found += here > 0;
        choose_prompt(&bed, 0);
        appended += tokens_of_file(path) > tokens;
    }
    assert_true(found > 0 && appended > 0);
    sweep(&bed);
    lynx_keep_result result;
    store_bed_keep(&bed, TOKENS, &result);
    assert_int_equal(store_bed_length(&bed, TOKENS), TOKENS);
    store_bed_end(&bed);
}

/* ---- several at once ----------------------------------------------------------------- */

/* Writers of the same prompts, one that evicts, and a reader, in processes of their own. */
static void test_writers_at_once(void **state)
{
    (void)state;
    enum { WRITERS = 4, TURNS = 12 };
    lx_toy_options toy;
    store_bed bed;
    pid_t children[WRITERS];
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    for (uint32_t i = 0; i < WRITERS; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i])
            continue;
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            lynx_keep_result result;
            lynx_store_removed removed;
            char text[LYNX_PLACE_TEXT_MAX];
            choose_prompt(&bed, turn);
            store_bed_keep(&bed, TOKENS, &result);
            const uint32_t here = store_bed_read(&bed, TOKENS);
            if (here)
                store_bed_compare(&bed, here);
            if (i == 0 && lynx_store_collect(bed.store, 100000, false, &removed, text,
                                             sizeof(text)) != LYNX_OK)
                _exit(1);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(store_bed_verify(&bed), 0);
    assert_int_equal(count_drafts(bed.folder, false), 0);
    lynx_keep_result result;
    choose_prompt(&bed, TURNS - 1);
    store_bed_keep(&bed, TOKENS, &result);
    assert_int_equal(store_bed_length(&bed, TOKENS), TOKENS);
    store_bed_end(&bed);
}

/* ---- no room, no leave --------------------------------------------------------------- */

/* Keep a prompt; the sentence of an error in 'text'. */
static lynx_status try_to_keep(store_bed *bed, uint32_t prompt, char *text)
{
    lynx_keep_options options;
    lynx_keep_result result;
    choose_prompt(bed, prompt);
    text[0] = '\0';
    lynx_keep_options_init(&options);
    options.engine = bed->engine;
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.token_count = TOKENS;
    options.store = bed->store;
    return lynx_keep(&options, &result, text);
}

static void assert_old_is_whole(store_bed *bed)
{
    choose_prompt(bed, 0);
    assert_int_equal(store_bed_verify(bed), 0);
    assert_int_equal(count_drafts(bed->folder, false), 0);
    assert_int_equal(store_bed_read(bed, TOKENS + 1), TOKENS);
    store_bed_compare(bed, TOKENS);
}

/* A file that may not grow is as good as a disk that is full. */
static void test_no_room(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    struct rlimit was, small;
    char text[LYNX_TEXT_MAX], path[128];
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    snprintf(path, sizeof(path), "%s/grows.lynx", bed.folder);
    choose_prompt(&bed, 0);
    store_bed_keep(&bed, TOKENS, &result);
    assert_int_equal(append_page(&bed, path, 0), LYNX_OK);
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    for (rlim_t bytes = 0; bytes <= 4096; bytes += 1024) {
        small = (struct rlimit){bytes, was.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const lynx_status kept = try_to_keep(&bed, 1, text);
        choose_prompt(&bed, 0);
        const lynx_status appended = append_page(&bed, path, PAGE_TOKENS);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
        assert_int_equal(kept, LYNX_ERR_LIMIT);
        assert_non_null(strstr(text, bed.folder));
        assert_int_equal(appended, LYNX_ERR_LIMIT);
        assert_old_is_whole(&bed);
        assert_int_equal(tokens_of_file(path), PAGE_TOKENS);
    }
    signal(SIGXFSZ, handler);
    assert_int_equal(append_page(&bed, path, PAGE_TOKENS), LYNX_OK);
    assert_int_equal(tokens_of_file(path), 2 * PAGE_TOKENS);
    store_bed_end(&bed);
}

/* A disk of 256 KiB that fills up, then one that cannot be written. */
static void test_a_full_disk(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    char text[LYNX_TEXT_MAX];
    lynx_status status = LYNX_OK;
    uint32_t prompt = 1;
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    if (mount("lynx-test", bed.folder, "tmpfs", 0, "size=256k") != 0) {
        print_message("cannot mount a small disk: %s\n", strerror(errno));
        store_bed_end(&bed);
        skip();
    }
    choose_prompt(&bed, 0);
    store_bed_keep(&bed, TOKENS, &result);
    while (status == LYNX_OK && prompt < 60)
        status = try_to_keep(&bed, prompt++, text);
    const uint32_t filled = prompt;
    if (status == LYNX_ERR_LIMIT)
        assert_old_is_whole(&bed);
    const bool has_words = strstr(text, "No space") != NULL;

    assert_int_equal(mount(NULL, bed.folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_old_is_whole(&bed); /* readers do not need to write */
    const lynx_status denied = try_to_keep(&bed, 59, text);
    const bool names_reason = strstr(text, "Read-only") != NULL;
    assert_int_equal(umount2(bed.folder, MNT_DETACH), 0);
    assert_true(filled < 60);
    assert_int_equal(status, LYNX_ERR_LIMIT);
    assert_true(has_words);
    assert_int_equal(denied, LYNX_ERR_SYSTEM);
    assert_true(names_reason);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_writers_at_once),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
