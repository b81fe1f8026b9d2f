/* Stands in for libFuzzer where it is not: gives each file of the named folders to the target. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* The bytes in memory of exactly their size, so that ASan sees one read too many. */
static void replay_file(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    static uint8_t room[1 << 20];
    size_t len = fread(room, 1, sizeof room, file);
    (void)fclose(file);
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL)
        exit(1);
    memcpy(bytes, room, len);
    (void)LLVMFuzzerTestOneInput(bytes, len);
    free(bytes);
}

static unsigned replay_folder(const char *folder)
{
    DIR *files = opendir(folder);
    if (files == NULL) {
        perror(folder);
        exit(1);
    }
    unsigned count = 0;
    for (const struct dirent *file = readdir(files); file != NULL; file = readdir(files)) {
        if (file->d_name[0] == '.')
            continue;
        replay_file(folder, file->d_name);
        count++;
    }
    (void)closedir(files);
    return count;
}

int main(int argc, char *argv[])
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_folder(argv[i]);
    printf("%u inputs replayed\n", count);
    return count > 0 ? 0 : 1; /* a corpus that is not there proves nothing */
}
