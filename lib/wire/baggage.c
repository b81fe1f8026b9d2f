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

/* The part before the next '~', as str_cut(). Encoders that know no unreserved characters but
 * letters, digits and "-_." pass it on as %7E. */
static struct str cut_at_tilde(struct str *rest)
{
    struct str whole = *rest, part = str_cut(rest, '~');
    for (size_t i = 0; i + 3 <= part.len; i++)
        if (memcmp(part.at + i, "%7", 2) == 0 && (part.at[i + 2] | 0x20) == 'e') {
            *rest = (struct str){whole.at + i + 3, whole.len - i - 3};
            return (struct str){whole.at, i};
        }
    return part;
}

static bool parse_context(struct str value, struct baggage *out)
{
    struct str path = cut_at_tilde(&value);
    if (!str_is(str_cut(&path, '.'), VERSION) || !path_is_valid(path))
        return false;
    out->path = path;
    if (value.at != NULL) {
        out->key_id = cut_at_tilde(&value);
        out->mac = value;
    }
    return true;
}

static bool parse_ttl(struct str value, struct span *ttl)
{
    return value.len > 0 && value.at[0] != '-' && str_to_int(value, &ttl->ms);
}

enum err baggage_parse(struct str header, struct baggage *out)
{
    if (header.len > BAGGAGE_MAX_BYTES)
        return ERR_TOO_LARGE;
    struct baggage found = {.ttl = SPAN_NONE};
    bool has_path = false, has_ttl = false;
    while (header.len > 0) {
        struct str member = str_cut(&header, ',');
        struct str key = key_of(member);
        if (str_is(key, PATH_KEY) && !has_path) {
            has_path = true;
            if (!parse_context(value_of(member), &found))
                return ERR_MALFORMED;
        }
        if (str_is(key, TTL_KEY) && !has_ttl) {
            has_ttl = true;
            if (!parse_ttl(value_of(member), &found.ttl))
                return ERR_MALFORMED;
        }
    }
    *out = found;
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

static void add_value(struct str path, struct buf *out)
{
    const size_t head_len = strlen(PATH_KEY "=" VERSION ".");
    buf_add_text(out, VERSION ".");
    if (path_depth(path) <= BAGGAGE_IDS_MAX && head_len + path.len <= BAGGAGE_MEMBER_MAX) {
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

static bool is_ours(struct str key)
{
    return str_is(key, PATH_KEY) || str_is(key, TTL_KEY);
}

static bool has_key(struct str header, struct str key)
{
    while (header.len > 0)
        if (str_eq(key_of(str_cut(&header, ',')), key))
            return true;
    return false;
}

/* A header in the making: what fits into it is counted. */
struct header {
    struct buf *out;
    size_t start, members;
};

static void add_member(struct header *header, struct str member)
{
    size_t len = header->out->len - header->start, comma = header->members > 0 ? 1 : 0;
    if (header->members >= BAGGAGE_MEMBERS_MAX || len + comma + member.len > BAGGAGE_MAX_BYTES)
        return;
    if (comma > 0)
        buf_add_text(header->out, ",");
    buf_add_str(header->out, member);
    header->members++;
}

/* What belongs to others goes on untouched, but never at the cost of ours; of `others` whatever has
 * no key of `hidden`. */
static void add_others(struct header *header, struct str others, struct str hidden)
{
    while (others.len > 0) {
        struct str member = trimmed(str_cut(&others, ','));
        struct str key = key_of(member);
        if (member.len > 0 && !is_ours(key) && is_text(member) && !has_key(hidden, key))
            add_member(header, member);
    }
}

static enum err finish(const struct header *header)
{
    if (!header->out->failed)
        return ERR_OK;
    buf_cut(header->out, header->start);
    return ERR_NOMEM;
}

static void add_context(const struct baggage *context, struct header *header)
{
    buf_add_text(header->out, PATH_KEY "=");
    add_value(context->path, header->out);
    if (context->mac.len > 0)
        buf_addf(header->out, "~%.*s~%.*s", (int)context->key_id.len, context->key_id.at,
                 (int)context->mac.len, context->mac.at);
    header->members = 1;
    if (context->ttl.ms >= 0) {
        buf_addf(header->out, "," TTL_KEY "=%" PRId64, context->ttl.ms);
        header->members++;
    }
}

enum err baggage_add_signed_text(struct str path, struct buf *out)
{
    if (!path_is_valid(path))
        return ERR_INVALID;
    struct header header = {.out = out, .start = out->len};
    add_value(path, out);
    return finish(&header);
}

enum err baggage_format(const struct baggage *context, struct str others, struct buf *out)
{
    if (!path_is_valid(context->path))
        return ERR_INVALID;
    struct header header = {.out = out, .start = out->len};
    add_context(context, &header);
    add_others(&header, others, STR_NONE);
    return finish(&header);
}

enum err baggage_merge(struct str ours, struct str existing, struct buf *out)
{
    struct header header = {.out = out, .start = out->len};
    for (struct str rest = ours; rest.len > 0;) {
        struct str member = trimmed(str_cut(&rest, ','));
        if (is_ours(key_of(member)))
            add_member(&header, member);
    }
    add_others(&header, existing, STR_NONE);
    add_others(&header, ours, existing);
    return finish(&header);
}
