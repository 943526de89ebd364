/* SPDX-License-Identifier: MIT */
/*
 * copy_test.c - documents from one store to another: what is copied and what is not, what stays
 * when it breaks off, and that nothing broken comes across.
 */
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/fault_place.h"
#include "support/rng.h"
#include "support/store_bed.h"

enum { PROMPT = 200, SEGMENTS = 4 /* of it: 32, 64, 128, 200 tokens */, KILLS = 100 };

static const uint8_t key_a[LYNX_STORE_KEY_BYTES] = {1, 2, 3};
static const uint8_t key_b[LYNX_STORE_KEY_BYTES] = {1, 2, 4};

/* Two stores, the first with the document "one". */
typedef struct pair {
    store_bed source, target;
    fault_place before_source, before_target;
    lynx_store_copied copied;
    uint32_t calls, cancel_at; /* of progress */
    uint64_t last_done, last_total;
    char text[LYNX_PLACE_TEXT_MAX];
} pair;

static void small_toy(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->page_tokens = 32;
    toy->context_tokens = 512;
}

static void put_document(store_bed *bed, const char *name, uint8_t weights)
{
    const lynx_model *model = bed->engine->ops->model(bed->engine);
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_document document = {
        .model = {model->name, model->fingerprint, model->shape, bed->spec},
        .text_bytes = 4 * PROMPT,
        .made_at = 1700000000,
        .tokens = bed->tokens,
        .token_count = PROMPT,
    };
    document.model.fingerprint.weights[0] ^= weights;
    strcpy(document.name, name);
    assert_int_equal(lynx_store_put_document(bed->store, &document, text, sizeof(text)),
                     LYNX_OK);
}

/* The store again, behind a place that can break things. */
static void open_behind(store_bed *bed, fault_place *before, const uint8_t *key,
                        const lynx_allocator *memory)
{
    lynx_store_options options;
    lynx_place *folder = NULL;
    lynx_store_destroy(bed->store);
    assert_int_equal(lynx_place_folder(&folder, bed->folder, memory), LYNX_OK);
    fault_place_init(before, folder);
    lynx_store_options_init(&options);
    options.place = &before->base;
    options.key = key;
    options.memory = memory;
    assert_int_equal(lynx_store_create(&bed->store, &options), LYNX_OK);
}

static void begin_with(pair *p, const lx_toy_options *toy, const uint8_t *key)
{
    lynx_keep_result result;
    memset(p, 0, sizeof(*p));
    store_bed_begin(&p->source, toy, "range", key);
    store_bed_begin(&p->target, toy, "range", key);
    store_bed_keep(&p->source, PROMPT, &result);
    put_document(&p->source, "one", 0);
    open_behind(&p->source, &p->before_source, key, NULL);
    open_behind(&p->target, &p->before_target, key, NULL);
}

static void begin(pair *p, const uint8_t *key)
{
    lx_toy_options toy;
    small_toy(&toy);
    begin_with(p, &toy, key);
}

static void end(pair *p)
{
    store_bed_end(&p->source);
    store_bed_end(&p->target);
}

static bool on_progress(void *user, uint64_t done, uint64_t total)
{
    pair *p = user;
    assert_true(done <= total);
    p->last_done = done;
    p->last_total = total;
    return ++p->calls != p->cancel_at;
}

static lynx_status copy(pair *p, const char *name)
{
    p->text[0] = '\0';
    p->calls = 0;
    const lynx_status status =
        lynx_store_copy(p->source.store, p->target.store, name, on_progress, p, &p->copied,
                        p->text, sizeof(p->text));
    assert_true(status == LYNX_OK || p->text[0]);
    return status;
}

static void assert_target_is_whole(pair *p)
{
    assert_int_equal(store_bed_verify(&p->target), 0);
    assert_int_equal(store_bed_count(&p->target, "documents/"), 1);
    assert_int_equal(store_bed_read(&p->target, PROMPT + 1), PROMPT);
    store_bed_compare(&p->target, PROMPT);
}

static char found_path[600];
static const char *wanted_part;

static int take_path(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)walk;
    if (type == FTW_F && strstr(path, wanted_part))
        snprintf(found_path, sizeof(found_path), "%s", path);
    return 0;
}

/* A file of the store whose path has this in it. */
static const char *path_of(const store_bed *bed, const char *part)
{
    wanted_part = part;
    found_path[0] = '\0';
    assert_int_equal(nftw(bed->folder, take_path, 16, FTW_PHYS), 0);
    assert_true(found_path[0] != '\0');
    return found_path;
}

static size_t size_of(const char *path)
{
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    return (size_t)found.st_size;
}

/* Another bit in the byte at 'at'. */
static void flip(const char *path, size_t at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 1 << at % 8, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

/* ---- what is copied ------------------------------------------------------------------ */

static void only_what_is_lacking_is_copied(void **state)
{
    (void)state;
    pair p;
    lynx_keep_result result;
    begin(&p, NULL);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, SEGMENTS + 1);
    assert_int_equal(p.copied.objects_present, 0);
    assert_int_equal(p.copied.bytes_written, store_bed_bytes(&p.source));
    assert_int_equal(p.copied.token_count, PROMPT);
    assert_int_equal(p.copied.tokens_here, PROMPT);
    assert_int_equal(p.last_done, p.last_total);
    assert_int_equal(p.last_total, store_bed_bytes(&p.source));
    assert_target_is_whole(&p);

    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 0);
    assert_int_equal(p.copied.objects_present, SEGMENTS + 1);
    assert_int_equal(p.copied.bytes_present, store_bed_bytes(&p.source));

    /* Another text with the same beginning: its last segment and the document. */
    p.source.tokens[150]++;
    store_bed_keep(&p.source, PROMPT, &result);
    put_document(&p.source, "two", 0);
    p.source.tokens[150]--;
    assert_int_equal(copy(&p, "two"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 2);
    assert_int_equal(p.copied.objects_present, SEGMENTS - 1);
    assert_int_equal(store_bed_verify(&p.target), 0);

    assert_int_equal(copy(&p, "none"), LYNX_OK);
    assert_int_equal(p.copied.objects_written + p.copied.objects_present, 0);
    assert_int_equal(copy(&p, "../one"), LYNX_ERR_ARGUMENT);
    end(&p);
}

static void everything_is_copied(void **state)
{
    (void)state;
    pair p;
    lynx_keep_result result;
    begin(&p, NULL);
    p.source.tokens[0]++;
    store_bed_keep(&p.source, PROMPT, &result); /* of no document */
    p.source.tokens[0]--;
    assert_int_equal(copy(&p, NULL), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 2 * SEGMENTS + 1);
    assert_int_equal(store_bed_bytes(&p.target), store_bed_bytes(&p.source));
    assert_target_is_whole(&p);
    assert_int_equal(copy(&p, NULL), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 0);
    p.before_source.ops.list = NULL;
    assert_int_equal(copy(&p, NULL), LYNX_ERR_UNSUPPORTED);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    p.before_target.ops.write = NULL;
    assert_int_equal(copy(&p, "one"), LYNX_ERR_UNSUPPORTED);
    end(&p);
}

/* What the source has lost is not there to be copied; the document is, and says so. */
static void a_prefix_is_copied(void **state)
{
    (void)state;
    pair p;
    begin(&p, NULL);
    assert_int_equal(unlink(path_of(&p.source, "/64-128-")), 0);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.token_count, PROMPT);
    assert_int_equal(p.copied.tokens_here, 64);
    assert_int_equal(store_bed_length(&p.target, PROMPT), 64);
    end(&p);
}

static void the_limit_of_the_target_holds(void **state)
{
    (void)state;
    pair p;
    begin(&p, NULL);
    const uint64_t limit = store_bed_bytes(&p.source) - 1;
    store_bed_open(&p.target, NULL, limit);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_true(store_bed_bytes(&p.target) <= limit);
    assert_int_equal(store_bed_count(&p.target, "documents/"), 1);
    end(&p);
}

/* ---- names and keys ------------------------------------------------------------------ */

static void a_name_is_not_taken_from_another_model(void **state)
{
    (void)state;
    pair p;
    begin(&p, NULL);
    put_document(&p.target, "one", 1);
    const uint64_t before = store_bed_bytes(&p.target);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(copy(&p, i ? NULL : "one"), LYNX_ERR_STATE);
    assert_true(store_bed_count(&p.target, "documents/") == 1 && before > 0);
    end(&p);
}

static void sealed_stores_are_copied_as_they_are(void **state)
{
    (void)state;
    pair p;
    begin(&p, key_a);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, SEGMENTS + 1);
    assert_target_is_whole(&p);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 0);

    open_behind(&p.target, &p.before_target, key_b, NULL);
    assert_int_equal(copy(&p, "one"), LYNX_ERR_ARGUMENT);
    open_behind(&p.source, &p.before_source, key_b, NULL);
    assert_int_equal(copy(&p, NULL), LYNX_ERR_DENIED);
    end(&p);
}

static void a_sealed_store_is_copied_without_its_key(void **state)
{
    (void)state;
    pair p;
    begin(&p, key_a);
    open_behind(&p.source, &p.before_source, NULL, NULL);
    open_behind(&p.target, &p.before_target, NULL, NULL);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(copy(&p, NULL), LYNX_OK);
        assert_int_equal(p.copied.objects_written, i ? 0 : SEGMENTS + 1);
    }
    /* One that is cut off, or whose header was changed, does not pass. */
    const char *path = path_of(&p.source, "/64-128-");
    assert_int_equal(unlink(path_of(&p.target, "/64-128-")), 0);
    path = path_of(&p.source, "/64-128-");
    flip(path, 120);
    assert_int_equal(copy(&p, NULL), LYNX_ERR_CORRUPT);
    flip(path, 120);
    assert_int_equal(truncate(path, (off_t)size_of(path) - 1), 0);
    assert_int_equal(copy(&p, NULL), LYNX_ERR_CORRUPT);
    open_behind(&p.target, &p.before_target, key_a, NULL);
    assert_int_equal(store_bed_verify(&p.target), 0);
    assert_int_equal(store_bed_count(&p.target, "segments/"), SEGMENTS - 1);
    end(&p);
}

/* ---- what breaks off ----------------------------------------------------------------- */

/* At every call of progress, and at every write: what arrived stays, and is not copied again.
 */
static void what_arrived_stays(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 40; n++) {
        pair p;
        begin(&p, NULL);
        p.cancel_at = n / 2 + 1;
        p.before_target.fail_write = n % 2 ? n / 2 + 1 : 0;
        if (n % 2)
            p.cancel_at = 0;
        const lynx_status status = copy(&p, "one");
        const uint32_t arrived = p.copied.objects_written;
        const bool is_over = status == LYNX_OK;
        if (!is_over) {
            assert_int_equal(status, n % 2 ? LYNX_ERR_LIMIT : LYNX_ERR_CANCELLED);
            assert_int_equal(store_bed_count(&p.target, "documents/"), 0);
            assert_int_equal(store_bed_count(&p.target, ""), arrived);
            assert_int_equal(store_bed_verify(&p.target), 0);
        } else {
            assert_true(n > SEGMENTS);
        }
        p.cancel_at = p.before_target.fail_write = 0;
        assert_int_equal(copy(&p, "one"), LYNX_OK);
        assert_int_equal(p.copied.objects_present, arrived);
        assert_int_equal(p.copied.objects_written, SEGMENTS + 1 - arrived);
        assert_target_is_whole(&p);
        end(&p);
    }
}

static void remove_all(store_bed *bed)
{
    char command[192];
    snprintf(command, sizeof(command), "rm -rf %s/segments %s/documents", bed->folder,
             bed->folder);
    assert_int_equal(system(command), 0);
}

/* Killed at random moments: what is in the target is right, a document has its segments, and
 * the next copy is complete. */
static void killed_copies(void **state)
{
    (void)state;
    pair p;
    test_rng rng = test_rng_of(77);
    uint32_t kills = 0, whole = 0, partial = 0;
    begin(&p, NULL);
    for (uint32_t n = 0; n < KILLS; n++) {
        remove_all(&p.target);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(copy(&p, "one") != LYNX_OK);
        const struct timespec pause = {.tv_nsec = (long)test_rng_below(&rng, 12000000)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        kills += WIFSIGNALED(status);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);

        assert_int_equal(store_bed_verify(&p.target), 0);
        const uint32_t arrived = store_bed_count(&p.target, "");
        const bool has_document = store_bed_count(&p.target, "documents/") > 0;
        whole += has_document;
        partial += arrived > 0 && !has_document;
        if (has_document)
            assert_int_equal(store_bed_length(&p.target, PROMPT), PROMPT);
        assert_int_equal(copy(&p, "one"), LYNX_OK);
        assert_int_equal(p.copied.objects_present, arrived);
        assert_int_equal(p.copied.objects_written, SEGMENTS + 1 - arrived);
    }
    assert_target_is_whole(&p);
    print_message("%u killed, %u with all, %u with a part of it\n", kills, whole, partial);
    assert_true(kills > 0);
    end(&p);
}

/* Every allocation of both stores fails once. */
static void no_memory(void **state)
{
    (void)state;
    pair p;
    test_allocator memory;
    lynx_status status = LYNX_ERR_MEMORY;
    begin(&p, NULL);
    for (uint64_t n = 1; status != LYNX_OK; n++) {
        assert_true(n < 5000);
        test_allocator_init(&memory);
        open_behind(&p.source, &p.before_source, NULL, &memory.allocator);
        open_behind(&p.target, &p.before_target, NULL, &memory.allocator);
        memory.fail_at = memory.calls + n;
        status = copy(&p, "one");
        memory.fail_at = 0;
        assert_true(status == LYNX_OK || status == LYNX_ERR_MEMORY);
        store_bed_open(&p.source, NULL, 0);
        store_bed_open(&p.target, NULL, 0);
        assert_int_equal(memory.live_blocks, 0);
    }
    assert_target_is_whole(&p);
    end(&p);
}

/* ---- what is broken ------------------------------------------------------------------ */

/* Every byte of a segment and of the document in the source: nothing of it comes across. */
static void broken_objects_are_not_copied(void **state)
{
    (void)state;
    static const char *const parts[] = {"/32-64-", "documents/"};
    char path[600];
    pair p;
    begin(&p, NULL);
    for (size_t f = 0; f < 2; f++) {
        strcpy(path, path_of(&p.source, parts[f]));
        const size_t size = size_of(path);
        for (size_t at = 0; at < size; at += at < 600 ? 1 : 97) {
            flip(path, at);
            const lynx_status status = copy(&p, "one");
            flip(path, at);
            /* A header that is broken is a segment that is not there. */
            if (status == LYNX_OK)
                assert_true(f == 0 && p.copied.tokens_here == 32);
            else
                assert_true(status == LYNX_ERR_CORRUPT || status == LYNX_ERR_PROTOCOL ||
                            status == LYNX_ERR_VERSION || status == LYNX_ERR_DENIED);
            assert_int_equal(store_bed_verify(&p.target), 0);
        }
    }
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_target_is_whole(&p);
    end(&p);
}

/* Bytes that are wrong on the way once are read again; when they stay so, they are refused. */
static void broken_on_the_way(void **state)
{
    (void)state;
    pair p;
    lx_toy_options toy;
    small_toy(&toy);
    toy.layer_count = 4; /* segments of more than 64 KiB */
    toy.channels = 256;
    begin_with(&p, &toy, NULL);
    p.before_source.flips = 1;
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.before_source.flips, 0);
    assert_target_is_whole(&p);
    end(&p);
    begin_with(&p, &toy, NULL);
    p.before_source.flips = 1000;
    assert_int_equal(copy(&p, "one"), LYNX_ERR_CORRUPT);
    assert_non_null(strstr(p.text, "is not copied"));
    assert_int_equal(store_bed_verify(&p.target), 0);
    end(&p);
}

/* A target that says it has written and has not, and one whose segment was broken before. */
static void broken_in_the_target(void **state)
{
    (void)state;
    pair p;
    begin(&p, NULL);
    p.before_target.is_torn = true;
    assert_int_equal(copy(&p, "one"), LYNX_ERR_CORRUPT);
    assert_non_null(strstr(p.text, "did not arrive whole"));
    p.before_target.is_torn = false;
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, SEGMENTS + 1);

    const char *path = path_of(&p.target, "/64-128-");
    flip(path, 100);
    assert_int_equal(copy(&p, "one"), LYNX_OK);
    assert_int_equal(p.copied.objects_written, 1);
    assert_target_is_whole(&p);
    end(&p);
}

/* ---- a document where there are no lists --------------------------------------------- */

static uint32_t prefix_of(pair *p, const lynx_document *document, uint32_t count,
                          lynx_status want)
{
    lynx_source *source = NULL;
    const lynx_model *model = p->source.engine->ops->model(p->source.engine);
    p->text[0] = '\0';
    const lynx_status status =
        lynx_store_find_document(p->source.store, model, document, p->source.tokens, count,
                                 &source, p->text, sizeof(p->text));
    assert_int_equal(status, want);
    assert_true(status == LYNX_OK || p->text[0]);
    const uint32_t prefix = source ? source->ops->prefix(source)->token_count : 0;
    lynx_source_destroy(source);
    return prefix;
}

static void the_end_of_a_document_is_found(void **state)
{
    (void)state;
    pair p;
    lynx_document *document = NULL;
    begin(&p, NULL);
    assert_int_equal(lynx_store_get_document(p.source.store, "one", &document, p.text,
                                             sizeof(p.text)),
                     LYNX_OK);
    for (size_t has_list = 2; has_list-- > 0;) {
        if (!has_list)
            p.before_source.ops.list = NULL;
        assert_int_equal(prefix_of(&p, document, PROMPT + 9, LYNX_OK), PROMPT);
        assert_int_equal(prefix_of(&p, document, PROMPT, LYNX_ERR_ARGUMENT), 0);
    }
    assert_int_equal(store_bed_length(&p.source, PROMPT + 9), 128); /* by its cuts alone */
    assert_int_equal(unlink(path_of(&p.source, "/128-200-")), 0);
    assert_int_equal(prefix_of(&p, document, PROMPT + 9, LYNX_OK), 128);
    p.source.tokens[3]++;
    assert_int_equal(prefix_of(&p, document, PROMPT + 9, LYNX_ERR_ARGUMENT), 0);
    lynx_document_destroy(document);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_lacking_is_copied),
        cmocka_unit_test(everything_is_copied),
        cmocka_unit_test(a_prefix_is_copied),
        cmocka_unit_test(the_limit_of_the_target_holds),
        cmocka_unit_test(a_name_is_not_taken_from_another_model),
        cmocka_unit_test(sealed_stores_are_copied_as_they_are),
        cmocka_unit_test(a_sealed_store_is_copied_without_its_key),
        cmocka_unit_test(what_arrived_stays),
        cmocka_unit_test(killed_copies),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(broken_objects_are_not_copied),
        cmocka_unit_test(broken_on_the_way),
        cmocka_unit_test(broken_in_the_target),
        cmocka_unit_test(the_end_of_a_document_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
