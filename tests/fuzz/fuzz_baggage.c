/* A baggage header of a stranger: a path that is read is valid, and written again it is read the
 * same; only what our key has signed is good; merged into another request there is one of ours. The
 * same bytes as a key file. */
#include <assert.h>

#include "api/baggage_keys.h"
#include "core/id.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct baggage_keys keys = {1, {{{"k1", 2}, {"a-secret-of-this-test", 21}}}};

static void expect_same(struct str header, struct str path, struct span ttl)
{
    struct baggage again;
    assert(header.len <= BAGGAGE_MAX_BYTES);
    assert(baggage_parse(header, &again) == ERR_OK);
    assert(again.ttl.ms == ttl.ms);
    assert(str_eq(path_root(again.path), path_root(path)));
    assert(str_eq(path_self(again.path), path_self(path)));
    assert(path_depth(again.path) <= BAGGAGE_IDS_MAX);
    assert(path_is_cut(again.path) || str_eq(again.path, path));
    assert(baggage_keys_verify(&keys, &again) == BAGGAGE_IS_GOOD);
}

static void write_and_read(struct str path, struct span ttl, struct str others)
{
    struct buf out = {0}, merged = {0};
    assert(baggage_keys_format(&keys, path, ttl, others, &out) == ERR_OK);
    expect_same(buf_str(&out), path, ttl);
    assert(baggage_merge(buf_str(&out), others, &merged) == ERR_OK);
    expect_same(buf_str(&merged), path, ttl);
    buf_fini(&merged);
    buf_fini(&out);
}

static void read_keys(struct str text)
{
    struct baggage_keys read;
    const char *why = NULL;
    if (baggage_keys_read(text, &read, &why) != ERR_OK) {
        assert(why != NULL);
        return;
    }
    assert(read.count > 0 && read.count <= BAGGAGE_KEYS_MAX);
    for (size_t i = 0; i < read.count; i++)
        assert(id_is_valid(read.key[i].id) && read.key[i].secret.len >= BAGGAGE_SECRET_MIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct str header = {(const char *)bytes, len};
    struct baggage read;
    struct buf merged = {0};
    read_keys(header);
    assert(baggage_merge(header, header, &merged) == ERR_OK && merged.len <= BAGGAGE_MAX_BYTES);
    buf_fini(&merged);
    if (baggage_parse(header, &read) != ERR_OK)
        return 0;
    assert(read.path.len == 0 || path_is_valid(read.path));
    write_and_read(read.path.len > 0 ? read.path : STR("r"), read.ttl, header);
    return 0;
}
