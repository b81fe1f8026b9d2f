#include "wire/baggage.h"

#include <inttypes.h>

#include "core/id.h"

#define PATH_KEY "brakewire"
#define TTL_KEY  "brakewire-ttl"
#define VERSION  "1"

enum { IDS_KEPT_AT_END = 14 }; /* of a path that is cut, beside the root */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && is_blank(text.at[0]))
        text = (struct str){text.at + 1, text.len - 1};
    while (text.len > 0 && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

/* key "=" value *( ";" property ); properties say nothing to us. */
static struct str key_of(struct str member)
{
    struct str rest = member;
    return trimmed(str_cut(&rest, '='));
}

static struct str value_of(struct str member)
{
    struct str rest = member;
    (void)str_cut(&rest, '=');
    return trimmed(str_cut(&rest, ';'));
}

static bool parse_path(struct str value, struct str *path)
{
    struct str rest = str_cut(&value, '~');
    if (!str_is(str_cut(&rest, '.'), VERSION) || !path_is_valid(rest))
        return false;
    *path = rest;
    return true;
}

static bool parse_ttl(struct str value, struct span *ttl)
{
    return value.len > 0 && value.at[0] != '-' && str_to_int(value, &ttl->ms);
}

enum err baggage_parse(struct str header, struct str *path, struct span *ttl)
{
    if (header.len > BAGGAGE_MAX_BYTES)
        return ERR_TOO_LARGE;
    struct str found_path = STR_NONE;
    struct span found_ttl = SPAN_NONE;
    bool has_path = false, has_ttl = false;
    while (header.len > 0) {
        struct str member = str_cut(&header, ',');
        struct str key = key_of(member);
        if (str_is(key, PATH_KEY) && !has_path) {
            has_path = true;
            if (!parse_path(value_of(member), &found_path))
                return ERR_MALFORMED;
        }
        if (str_is(key, TTL_KEY) && !has_ttl) {
            has_ttl = true;
            if (!parse_ttl(value_of(member), &found_ttl))
                return ERR_MALFORMED;
        }
    }
    *path = found_path;
    *ttl = found_ttl;
    return ERR_OK;
}

/* The last `count` ids of a path that has more. */
static struct str last_ids(struct str path, size_t count)
{
    size_t start = path.len;
    while (count > 0) {
        start--;
        if (path.at[start] == '.')
            count--;
    }
    return (struct str){path.at + start + 1, path.len - start - 1};
}

static void add_path(struct buf *out, struct str path)
{
    const struct str head = STR(PATH_KEY "=" VERSION ".");
    buf_add_str(out, head);
    if (path_depth(path) <= BAGGAGE_IDS_MAX && head.len + path.len <= BAGGAGE_MEMBER_MAX) {
        buf_add_str(out, path);
        return;
    }
    buf_add_str(out, path_root(path));
    buf_add_text(out, "..");
    buf_add_str(out, last_ids(path, IDS_KEPT_AT_END));
}

static bool is_text(struct str member)
{
    for (size_t i = 0; i < member.len; i++)
        if ((unsigned char)member.at[i] < ' ' && member.at[i] != '\t')
            return false;
    return str_is_utf8(member);
}

/* What belongs to others goes on untouched, but never at the cost of ours. */
static void add_others(struct buf *out, struct str others, size_t room)
{
    while (others.len > 0) {
        struct str member = trimmed(str_cut(&others, ','));
        struct str key = key_of(member);
        if (member.len == 0 || member.len + 1 > room || str_is(key, PATH_KEY)
            || str_is(key, TTL_KEY) || !is_text(member))
            continue;
        buf_add_text(out, ",");
        buf_add_str(out, member);
        room -= member.len + 1;
    }
}

enum err baggage_format(struct str path, struct span ttl, struct str others, struct buf *out)
{
    if (!path_is_valid(path))
        return ERR_INVALID;
    size_t start = out->len;
    add_path(out, path);
    if (ttl.ms >= 0)
        buf_addf(out, "," TTL_KEY "=%" PRId64, ttl.ms);
    if (!out->failed)
        add_others(out, others, BAGGAGE_MAX_BYTES - (out->len - start));
    if (!out->failed)
        return ERR_OK;
    buf_cut(out, start);
    return ERR_NOMEM;
}
