/* Flags, environment and file of an agentd, in whatever state: no crash, and a configuration that
 * was accepted is printed in a form that is read back as the same.
 *
 * The input is flags, environment and file, with a byte 0x1e between them; flags and variables are
 * lines. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agentd/options.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { WORDS_MAX = 64 };

struct words { /* NULL-terminated */
    int count;
    char *word[WORDS_MAX + 2];
};

static void add_word(struct words *words, struct str text)
{
    if (words->count < WORDS_MAX) {
        words->word[words->count] = mem_copy(text);
        assert(words->word[words->count++] != NULL);
    }
}

static void add_lines(struct words *words, struct str text)
{
    while (text.len > 0)
        add_word(words, str_cut(&text, '\n'));
}

static void words_fini(struct words *words)
{
    for (int i = 0; i < words->count; i++)
        mem_free(words->word[i]);
}

/* A file that has a path and is nowhere. */
static void put_file(struct str text, char path[32])
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("conf", MFD_CLOEXEC);
    assert(fd >= 0 && fchmod(fd, 0600) == 0 && ftruncate(fd, 0) == 0);
    assert(text.len == 0 || pwrite(fd, text.at, text.len, 0) == (ssize_t)text.len);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* What an accepted configuration looks like in print; NULL: it was not accepted. */
static char *read_and_print(struct words *flags)
{
    static struct settings settings;
    char *told = NULL, *printed = NULL;
    size_t told_len, printed_len;
    FILE *err = open_memstream(&told, &told_len), *out = open_memstream(&printed, &printed_len);
    assert(err != NULL && out != NULL);
    enum conf_outcome outcome =
        conf_read(settings_program(), flags->count, flags->word, &settings, NULL, out, err);
    (void)fflush(err);
    assert(outcome != CONF_BAD || told_len > 0); /* it says why */
    if (outcome == CONF_GO) {
        conf_print(settings_program(), &settings, out);
        conf_fini(settings_program(), &settings);
    }
    (void)fclose(err);
    (void)fclose(out);
    free(told);
    if (outcome == CONF_GO)
        return printed;
    free(printed);
    return NULL;
}

static void reads_back_the_same(const char *printed)
{
    static char *nothing[] = {NULL};
    char path[32];
    struct words flags = {0};
    add_word(&flags, STR("agentd"));
    add_word(&flags, STR("--config"));
    put_file(str_of(printed), path);
    add_word(&flags, str_of(path));
    environ = nothing;
    char *again = read_and_print(&flags);
    assert(again != NULL && strcmp(printed, again) == 0);
    free(again);
    words_fini(&flags);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char path[32];
    char **before = environ;
    struct words flags = {0}, variables = {0};
    struct str rest = {(const char *)bytes, len};
    struct str words = str_cut(&rest, 0x1e), environment = str_cut(&rest, 0x1e);
    add_word(&flags, STR("agentd"));
    add_word(&flags, STR("--config"));
    put_file(rest, path);
    add_word(&flags, str_of(path));
    add_lines(&flags, words);
    add_lines(&variables, environment);
    environ = variables.word;
    char *printed = read_and_print(&flags);
    if (printed != NULL)
        reads_back_the_same(printed);
    environ = before;
    free(printed);
    words_fini(&flags);
    words_fini(&variables);
    return 0;
}
