/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds every file of a corpus folder to a fuzz target, without libFuzzer, so
 * that each ordinary test run replays what fuzzing once found. The names are
 * sorted, so that two runs are the same run.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Exactly n_bytes on the heap, so that the address sanitizer sees the end. */
static int replay_file(const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0 ||
        !S_ISREG(info.st_mode)) {
        fprintf(stderr, "%s: not a readable file\n", path);
        if (file != NULL) {
            (void)fclose(file);
        }
        return 1;
    }
    size_t n_bytes = (size_t)info.st_size;
    uint8_t *data = malloc(n_bytes > 0 ? n_bytes : 1);
    if (data == NULL || fread(data, 1, n_bytes, file) != n_bytes) {
        fprintf(stderr, "%s: cannot be read whole\n", path);
        free(data);
        (void)fclose(file);
        return 1;
    }
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, n_bytes);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    struct dirent **names = NULL;
    int count = scandir(argv[1], &names, is_visible, alphasort);
    if (count <= 0) {
        fprintf(stderr, "%s: no corpus files\n", argv[1]);
        free(names);
        return 1;
    }
    int failed = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
        failed |= replay_file(path);
        free(names[i]);
    }
    free(names);
    printf("%d inputs replayed\n", count);
    return failed;
}
