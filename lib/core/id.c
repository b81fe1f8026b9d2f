#include "core/id.h"

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool are_alphanumeric(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alphanumeric(text.at[i]))
            return false;
    return true;
}

bool id_is_valid(struct str text)
{
    if (text.len < 1 || text.len > RUN_ID_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_alphanumeric(text.at[i]) && text.at[i] != '_' && text.at[i] != '-')
            return false;
    return true;
}

bool alias_is_valid(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.len >= 1 && text.len <= ALIAS_MAX;
}

bool id_parse(struct str text, struct run_id *out)
{
    if (!id_is_valid(text))
        return false;
    struct run_id id = {0};
    memcpy(id.text, text.at, text.len);
    *out = id;
    return true;
}

struct str id_str(const struct run_id *id)
{
    return str_of(id->text);
}

bool id_eq(const struct run_id *a, const struct run_id *b)
{
    return strcmp(a->text, b->text) == 0;
}

enum { CHILD_SUFFIX_MAX = 16, CHILD_SUFFIX_MINTED = 8 };

struct str id_minted_root(struct str id)
{
    if (id.len < ROOT_MINTED_LEN || id.at[0] != '0')
        return STR_NONE;
    struct str root = {id.at, ROOT_MINTED_LEN};
    if (!are_alphanumeric(root))
        return STR_NONE;
    if (id.len == ROOT_MINTED_LEN)
        return root;

    struct str suffix = {id.at + ROOT_MINTED_LEN + 1, id.len - ROOT_MINTED_LEN - 1};
    bool is_child = id.at[ROOT_MINTED_LEN] == '-' && suffix.len >= 1
                    && suffix.len <= CHILD_SUFFIX_MAX && are_alphanumeric(suffix);
    return is_child ? root : STR_NONE;
}

bool id_is_minted(struct str id)
{
    return id_minted_root(id).len > 0;
}

struct run_id id_mint_root(struct rng *rng)
{
    struct run_id id = {.text = "0"};
    rng_name(rng, id.text + 1, ROOT_MINTED_LEN - 1);
    return id;
}

struct run_id id_mint_child(struct rng *rng, struct str root)
{
    struct run_id id = {.text = "r"};
    if (id_minted_root(root).len != root.len || root.len == 0) {
        rng_name(rng, id.text + 1, ROOT_MINTED_LEN - 1);
        return id;
    }
    memcpy(id.text, root.at, root.len);
    id.text[root.len] = '-';
    rng_name(rng, id.text + root.len + 1, CHILD_SUFFIX_MINTED);
    return id;
}

/* A path is read part by part; an empty part, which only a cut may leave, is no id. */
bool path_is_valid(struct str path)
{
    size_t ids = 0, cuts = 0;
    bool ends_in_id = false;
    for (struct str rest = path; rest.at != NULL;) {
        struct str part = str_cut(&rest, '.');
        ends_in_id = part.len > 0;
        if (ends_in_id ? !id_is_valid(part) : ids != 1 || cuts > 0)
            return false;
        ids += ends_in_id ? 1 : 0;
        cuts += ends_in_id ? 0 : 1;
        if (ids > PATH_MAX_IDS)
            return false;
    }
    return ends_in_id;
}

bool path_is_cut(struct str path)
{
    for (size_t i = 1; i < path.len; i++)
        if (path.at[i] == '.' && path.at[i - 1] == '.')
            return true;
    return false;
}

size_t path_depth(struct str path)
{
    size_t ids = 0;
    for (struct str rest = path; rest.at != NULL;)
        ids += str_cut(&rest, '.').len > 0 ? 1 : 0;
    return ids;
}

struct str path_root(struct str path)
{
    return str_cut(&path, '.');
}

/* The part that ends where `path` ends. */
static struct str last_part(struct str path)
{
    size_t start = path.len;
    while (start > 0 && path.at[start - 1] != '.')
        start--;
    return (struct str){path.len > 0 ? path.at + start : NULL, path.len - start};
}

struct str path_self(struct str path)
{
    return last_part(path);
}

struct str path_parent(struct str path)
{
    struct str self = last_part(path);
    if (self.len == path.len)
        return STR_NONE;
    return last_part((struct str){path.at, path.len - self.len - 1});
}

bool path_has(struct str path, struct str id)
{
    if (id.len == 0)
        return false;
    for (struct str rest = path; rest.at != NULL;)
        if (str_eq(str_cut(&rest, '.'), id))
            return true;
    return false;
}
