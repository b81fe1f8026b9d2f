#include "wire/tree_fields.h"

#include "wire/message.h"

static bool cut_u32(struct str *rest, uint32_t *out)
{
    int64_t number;
    if (!str_to_int(str_cut(rest, ':'), &number) || number < 0 || number > UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool parse_state(struct str letter, enum run_state *out)
{
    enum run_state state;
    if (letter.len != 1 || !run_state_of_letter(letter.at[0], &state) || state == RUN_NONE
        || state == RUN_PENDING)
        return false;
    *out = state;
    return true;
}

/* letter:epoch:flags:incarnation:owner:parent:parent_epoch:children[:finished] */
static bool parse_run(struct str value, struct tree_run *run)
{
    struct str rest = value;
    if (!parse_state(str_cut(&rest, ':'), &run->state) || !cut_u32(&rest, &run->epoch)
        || !cut_u32(&rest, &run->flags))
        return false;
    run->incarnation = str_cut(&rest, ':');
    run->owner = str_cut(&rest, ':');
    run->parent = str_cut(&rest, ':');
    if (!cut_u32(&rest, &run->parent_epoch) || !cut_u32(&rest, &run->children)
        || (run->parent.len > 0 && !id_is_valid(run->parent)))
        return false;
    struct str finished = str_cut(&rest, ':');
    return finished.len == 0 || parse_state(finished, &run->finished_anyway);
}

/* What only a story may tell: an end that follows a phase at once overtakes its report. */
enum {
    STORY_FLAGS =
        RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED | RUN_FLAG_CLEANED_UP | RUN_FLAG_CHECKPOINTED
};

static enum err add_run(struct tree *tree, struct str id, struct str value)
{
    struct tree_run new = {0};
    if (!parse_run(value, &new))
        return ERR_MALFORMED;
    struct tree_run *run = tree_run_named(tree, id);
    if (run == NULL || tree_keep(tree, new.incarnation, &new.incarnation) != ERR_OK
        || tree_keep(tree, new.owner, &new.owner) != ERR_OK
        || tree_keep(tree, new.parent, &new.parent) != ERR_OK)
        return ERR_NOMEM;
    run->state = new.state;
    run->finished_anyway = new.finished_anyway;
    run->epoch = new.epoch;
    run->flags = new.flags | (run->flags & STORY_FLAGS);
    run->parent_epoch = new.parent_epoch;
    run->children = new.children;
    run->incarnation = new.incarnation;
    run->owner = new.owner;
    run->parent = new.parent;
    return ERR_OK;
}

static enum err add_meta(struct tree *tree, struct str id, struct str value)
{
    struct tree_run *run = tree_run_named(tree, id);
    return run != NULL ? tree_keep(tree, value, &run->meta) : ERR_NOMEM;
}

static uint32_t flags_of_story(const struct stop_story *story)
{
    return (story->delivered.ms != 0 ? RUN_FLAG_DELIVERED : 0U)
           | (story->acknowledged.ms != 0 ? RUN_FLAG_ACKNOWLEDGED : 0U)
           | (story->cleaned_up.ms != 0 ? RUN_FLAG_CLEANED_UP : 0U)
           | (story->checkpointed.ms != 0 ? RUN_FLAG_CHECKPOINTED : 0U);
}

static enum err add_story(struct tree *tree, struct str id, struct str value)
{
    struct stop_story story;
    struct tree_run *run = tree_run_named(tree, id);
    if (run == NULL)
        return ERR_NOMEM;
    if (wire_story_decode(value, &story) == ERR_OK)
        run->flags |= flags_of_story(&story);
    return tree_keep(tree, value, &run->story);
}

static enum err add_record(struct tree *tree, struct str id, struct str value)
{
    struct tree_run *run = tree_run_named(tree, id);
    return run != NULL ? tree_keep(tree, value, &run->record) : ERR_NOMEM;
}

static enum err add_deadline(struct tree *tree, struct str id, struct str value)
{
    int64_t deadline_ms;
    if (!str_to_int(value, &deadline_ms) || deadline_ms < 0)
        return ERR_MALFORMED;
    struct tree_run *run = tree_run_named(tree, id);
    if (run == NULL)
        return ERR_NOMEM;
    run->deadline_ms = deadline_ms;
    return ERR_OK;
}

/* epoch:record */
static enum err add_loss(struct tree *tree, struct str id, struct str value)
{
    uint32_t epoch;
    if (!cut_u32(&value, &epoch) || value.at == NULL)
        return ERR_MALFORMED;
    struct tree_run *run = tree_run_named(tree, id);
    if (run == NULL || tree_keep(tree, value, &run->loss) != ERR_OK)
        return ERR_NOMEM;
    run->lost_epoch = epoch;
    return ERR_OK;
}

static enum err add_link(struct tree *tree, struct str run, struct str id, struct str value)
{
    struct run_link link;
    enum err err = wire_link_decode(value, &link);
    if (err != ERR_OK)
        return err == ERR_NOMEM ? ERR_NOMEM : ERR_MALFORMED;
    return tree_add_link(tree, run, id, value, &link);
}

static enum err set_count(int64_t *count, struct str value)
{
    return str_to_int(value, count) ? ERR_OK : ERR_MALFORMED;
}

enum err wire_tree_field(struct tree *tree, struct str field, struct str value)
{
    static const struct {
        char letter;
        enum err (*add)(struct tree *tree, struct str id, struct str value);
    } known[] = {
        {'s', add_run},    {'m', add_meta},     {'e', add_story},
        {'c', add_record}, {'d', add_deadline}, {'x', add_loss},
    };
    if (str_is(field, "n"))
        return set_count(&tree->live, value);
    if (str_is(field, "b"))
        return set_count(&tree->bans, value);
    if (field.len < 2 || field.at[1] != ':')
        return ERR_OK;

    struct str rest = {field.at + 2, field.len - 2};
    struct str id = str_cut(&rest, ':');
    if (field.at[0] == 'l')
        return id_is_valid(id) && rest.len > 0 ? add_link(tree, id, rest, value) : ERR_MALFORMED;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (field.at[0] == known[i].letter)
            return id_is_valid(id) && rest.at == NULL ? known[i].add(tree, id, value)
                                                      : ERR_MALFORMED;
    return ERR_OK;
}
