#include "support/vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static void give_up(const char *what, const char *which)
{
    (void)fprintf(stderr, "vectors: %s: %s\n", which, what);
    abort();
}

json_t *vectors_load(const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/tests/vectors/%s", BRAKEWIRE_SOURCE, name);
    json_error_t error;
    json_t *file = json_load_file(path, 0, &error);
    if (file == NULL)
        give_up(error.text, path);
    return file;
}

struct str vector_text(const json_t *object, const char *key)
{
    const json_t *text = json_object_get(object, key);
    if (!json_is_string(text))
        give_up("not a string", key);
    return (struct str){json_string_value(text), json_string_length(text)};
}

struct str vector_bytes(const json_t *object, const char *key)
{
    struct str hex = vector_text(object, key);
    size_t len = hex.len / 2;
    char *bytes = mem_new(len);
    if (bytes == NULL)
        give_up("no memory", key);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex.at[2 * i], hex.at[2 * i + 1], '\0'};
        char *end;
        bytes[i] = (char)strtoul(digits, &end, 16);
        if (end != digits + 2)
            give_up("not hex", key);
    }
    return (struct str){bytes, len};
}

void vector_free(struct str bytes)
{
    mem_free((void *)(uintptr_t)bytes.at);
}

void vector_add_hex(struct buf *out, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (buf_addf(out, "%02x", (unsigned char)bytes.at[i]) != ERR_OK)
            give_up("no memory", "hex");
}
