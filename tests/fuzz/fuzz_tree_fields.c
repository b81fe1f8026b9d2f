/* A hash as somebody else wrote it: read, joined and counted without a crash, circles and all.
 *
 * The input is lines of "field=value". */
#include <assert.h>

#include "wire/tree_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void add_up(const struct tree *tree, const struct tree_run *target)
{
    static struct tally tally;
    tally_scope(tree, target, &tally);
    assert(tally.runs <= tree->run_count && tally.links <= tree->link_count);
    assert(tally.delivered <= tally.requested && tally.requested <= tally.runs);
    if (tally.complete)
        assert(tally.stopped.count + tally.finished_before == tally.runs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct tree tree;
    tree_init(&tree);
    struct str rest = {(const char *)bytes, len};
    while (rest.len > 0) {
        struct str value = str_cut(&rest, '\n');
        struct str field = str_cut(&value, '=');
        size_t runs = tree.run_count;
        if (wire_tree_field(&tree, field, value) == ERR_MALFORMED)
            assert(tree.run_count == runs);
    }
    tree_join(&tree);
    for (size_t i = 0; i < tree.run_count; i++) {
        const struct tree_run *run = tree.run[i];
        assert(tree_is_below(run, run));
        assert(run->ban == NULL || run->depth > 0);
        if (i < 64)
            add_up(&tree, run);
    }
    tree_fini(&tree);
    return 0;
}
