/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target without libFuzzer: every file of its corpus, then a bounded number of seeded
 * mutations of them. Usage: <name>_replay <file or directory>... ; SOMBRA_SEED and SOMBRA_FUZZ_RUNS
 * (mutations, default 20000) come from the environment.
 *
 * The input of the moment is kept in a mapped file, <program>.input, which outlives a crash and is
 * removed after success: `<name>_replay <name>_replay.input` with SOMBRA_FUZZ_RUNS=0 runs it again.
 */
#include "base/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { INPUT_BYTES_MAX = 1 << 20, RUNS_DEFAULT = 20000, CHANGES_MAX = 8 };

struct corpus {
    struct buf *inputs;
    size_t count;
};

struct record {
    uint8_t *bytes;
    int file;
    char path[512];
};

static _Noreturn void die(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "replay: %s failed\n", what);
    exit(2);
}

static void must(sombra_err err)
{
    if (err) {
        fprintf(stderr, "replay: %s\n", diag_text());
        exit(2);
    }
}

/* ---- corpus ------------------------------------------------------------------------------ */

static struct buf *corpus_add(struct corpus *corpus)
{
    size_t bytes = (corpus->count + 1) * sizeof *corpus->inputs;
    struct buf *inputs = mem_realloc(corpus->inputs, bytes);
    if (!inputs)
        must(diag_nomem("the corpus", bytes));
    corpus->inputs = inputs;
    inputs[corpus->count] = (struct buf)BUF_INIT;
    return &inputs[corpus->count++];
}

static void corpus_read_file(struct corpus *corpus, const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t chunk[4096];
    size_t bytes;
    if (!file)
        die("open", path);
    struct buf *input = corpus_add(corpus);
    while ((bytes = fread(chunk, 1, sizeof chunk, file)) > 0)
        must(buf_append(input, chunk, bytes));
    if (ferror(file))
        die("read", path);
    fclose(file);
    if (input->bytes > INPUT_BYTES_MAX) {
        fprintf(stderr, "replay: %s has more than %d bytes\n", path, INPUT_BYTES_MAX);
        exit(2);
    }
}

/* In the order of names, so that one seed means one run on every file system. */
static void corpus_read(struct corpus *corpus, const char *path)
{
    struct stat status;
    struct dirent **entries = NULL;
    if (stat(path, &status) != 0)
        die("stat", path);
    if (!S_ISDIR(status.st_mode)) {
        corpus_read_file(corpus, path);
        return;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        die("scandir", path);
    for (int i = 0; i < count; i++) {
        char child[1024];
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            corpus_read(corpus, child);
        free(entries[i]);
    }
    free(entries);
}

static void corpus_release(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++)
        buf_release(&corpus->inputs[i]);
    mem_free(corpus->inputs);
}

/* ---- the input of the moment ------------------------------------------------------------- */

static void record_open(struct record *record, const char *program)
{
    const char *slash = strrchr(program, '/');
    snprintf(record->path, sizeof record->path, "%s.input", slash ? slash + 1 : program);
    record->file = open(record->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (record->file < 0 || ftruncate(record->file, INPUT_BYTES_MAX) != 0)
        die("open", record->path);
    record->bytes =
        mmap(NULL, INPUT_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, record->file, 0);
    if (record->bytes == MAP_FAILED)
        die("mmap", record->path);
}

static void record_remove(struct record *record)
{
    munmap(record->bytes, INPUT_BYTES_MAX);
    close(record->file);
    unlink(record->path);
}

/* The target gets a heap block of exactly the input's size, so that a sanitizer sees a read behind
 * its end. */
static void run_target(struct record *record, const struct buf *input)
{
    uint8_t *exact = mem_alloc(input->bytes);
    if (!exact)
        must(diag_nomem("an input", input->bytes));
    if (input->bytes) {
        memcpy(exact, input->data, input->bytes);
        memcpy(record->bytes, input->data, input->bytes);
    }
    /* The file's length is part of the input; bytes of the mapping behind it are not touched. */
    if (ftruncate(record->file, (off_t)input->bytes) != 0 ||
        LLVMFuzzerTestOneInput(exact, input->bytes) != 0 ||
        ftruncate(record->file, INPUT_BYTES_MAX) != 0)
        die("run", record->path);
    mem_free(exact);
}

/* ---- mutations --------------------------------------------------------------------------- */

static void set_bytes(struct buf *input, struct random *random)
{
    static const uint64_t values[] = { 0,      1,          0x7f,       0x80,      0xff,      0x7fff,
                                       0xffff, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX };
    uint64_t value = values[random_below(random, COUNT_OF(values))];
    size_t width = (size_t)1 << random_below(random, 4);
    size_t at = (size_t)random_below(random, input->bytes);
    for (size_t i = 0; i < width && at + i < input->bytes; i++)
        input->data[at + i] = (uint8_t)(value >> (8 * i));
}

static void remove_bytes(struct buf *input, struct random *random)
{
    size_t at = (size_t)random_below(random, input->bytes);
    size_t count = 1 + (size_t)random_below(random, size_min(input->bytes - at, 64));
    memmove(input->data + at, input->data + at + count, input->bytes - at - count);
    input->bytes -= count;
}

static void insert_bytes(struct buf *input, struct random *random)
{
    uint8_t *unused;
    size_t at = (size_t)random_below(random, input->bytes + 1);
    size_t count = 1 + (size_t)random_below(random, 32);
    must(buf_extend(input, count, &unused));
    memmove(input->data + at + count, input->data + at, input->bytes - count - at);
    for (size_t i = 0; i < count; i++)
        input->data[at + i] = (uint8_t)random_u64(random);
}

/* Overwrites a range with bytes of another input at the same place: formats have fixed offsets. */
static void cross(struct buf *input, const struct buf *other, struct random *random)
{
    size_t common = size_min(input->bytes, other->bytes);
    if (common == 0)
        return;
    size_t at = (size_t)random_below(random, common);
    size_t count = 1 + (size_t)random_below(random, common - at);
    memcpy(input->data + at, other->data + at, count);
}

static void mutate(struct buf *input, const struct corpus *corpus, struct random *random)
{
    uint64_t kind = random_below(random, 8);
    if (input->bytes == 0 || (kind == 0 && input->bytes < INPUT_BYTES_MAX - 64))
        insert_bytes(input, random);
    else if (kind == 1)
        remove_bytes(input, random);
    else if (kind == 2)
        input->bytes = (size_t)random_below(random, input->bytes + 1);
    else if (kind == 3)
        cross(input, &corpus->inputs[random_below(random, corpus->count)], random);
    else if (kind < 6)
        set_bytes(input, random);
    else
        input->data[random_below(random, input->bytes)] ^= (uint8_t)(1u << random_below(random, 8));
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
    struct corpus corpus = { 0 };
    struct record record;
    struct random random;
    struct buf input = BUF_INIT;
    uint64_t seed = from_environment("SOMBRA_SEED", 1);
    uint64_t runs = from_environment("SOMBRA_FUZZ_RUNS", RUNS_DEFAULT);
    for (int i = 1; i < argc; i++)
        corpus_read(&corpus, argv[i]);
    if (corpus.count == 0) {
        fprintf(stderr, "usage: %s <file or directory with at least one input>...\n", argv[0]);
        return 2;
    }
    printf("%zu inputs, SOMBRA_SEED=%" PRIu64 " SOMBRA_FUZZ_RUNS=%" PRIu64 "\n", corpus.count, seed,
           runs);
    fflush(stdout);

    record_open(&record, argv[0]);
    for (size_t i = 0; i < corpus.count; i++)
        run_target(&record, &corpus.inputs[i]);
    random_seed(&random, seed);
    for (uint64_t run = 0; run < runs; run++) {
        must(buf_set(&input, buf_slice(&corpus.inputs[random_below(&random, corpus.count)])));
        for (uint64_t left = 1 + random_below(&random, CHANGES_MAX); left > 0; left--)
            mutate(&input, &corpus, &random);
        run_target(&record, &input);
    }
    record_remove(&record);
    buf_release(&input);
    corpus_release(&corpus);
    return 0;
}
