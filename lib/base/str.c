#include "base/str.h"

struct str str_cut(struct str *rest, char mark)
{
    struct str part = *rest;
    const char *found = rest->len > 0 ? memchr(rest->at, mark, rest->len) : NULL;
    if (found == NULL) {
        *rest = STR_NONE;
        return part;
    }
    part.len = (size_t)(found - rest->at);
    rest->at = found + 1;
    rest->len -= part.len + 1;
    return part;
}

bool str_to_int(struct str text, int64_t *out)
{
    bool negative = text.len > 0 && text.at[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == text.len)
        return false;

    int64_t sum = 0; /* kept at or below zero: INT64_MIN has no positive twin */
    for (; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        int digit = text.at[i] - '0';
        if (sum < (INT64_MIN + digit) / 10)
            return false;
        sum = sum * 10 - digit;
    }
    if (!negative && sum == INT64_MIN)
        return false;
    *out = negative ? sum : -sum;
    return true;
}

size_t str_utf8_length(struct str text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4 || len > text.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool not_unicode = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return overlong || not_unicode ? 0 : len;
}

bool str_is_utf8(struct str text)
{
    for (size_t i = 0; i < text.len;) {
        size_t len = str_utf8_length((struct str){text.at + i, text.len - i});
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}
