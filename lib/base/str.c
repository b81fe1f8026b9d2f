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
