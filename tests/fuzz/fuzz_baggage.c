/* A baggage header of a stranger: a path that is read is valid, and written again it is read the
 * same. */
#include <assert.h>

#include "core/id.h"
#include "wire/baggage.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void write_and_read(struct str path, struct span ttl, struct str others)
{
    struct buf out = {0};
    struct str again;
    struct span ttl_again;
    assert(baggage_format(path, ttl, others, &out) == ERR_OK);
    assert(out.len <= BAGGAGE_MAX_BYTES);
    assert(baggage_parse(buf_str(&out), &again, &ttl_again) == ERR_OK);
    assert(ttl_again.ms == ttl.ms);
    assert(str_eq(path_root(again), path_root(path)) && str_eq(path_self(again), path_self(path)));
    assert(path_depth(again) <= BAGGAGE_IDS_MAX);
    assert(path_is_cut(again) || str_eq(again, path));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct str header = {(const char *)bytes, len};
    struct str path;
    struct span ttl;
    if (baggage_parse(header, &path, &ttl) != ERR_OK)
        return 0;
    assert(path.len == 0 || path_is_valid(path));
    write_and_read(path.len > 0 ? path : STR("r"), ttl, header);
    return 0;
}
