#include "base/mono.h"

#include <stdio.h>

/* Days since 1970-01-01 to a date, by the Gregorian rule, without a time zone's help. Years are
 * counted from March, so that the leap day is the last of its year. */
static void date_of(int64_t days, int *year, int *month, int *day)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = shifted / 146097;
    int64_t in_era = shifted % 146097;
    int64_t in_era_year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * in_era_year + in_era_year / 4 - in_era_year / 100);
    int64_t from_march = (5 * in_year + 2) / 153;
    *day = (int)(in_year - (153 * from_march + 2) / 5 + 1);
    *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = (int)(in_era_year + era * 400 + (*month <= 2 ? 1 : 0));
}

const char *wall_text(struct wall at, char out[WALL_TEXT_MAX])
{
    const int64_t day_ms = 86400000;
    const int64_t last = INT64_C(253402300799999); /* 9999-12-31T23:59:59.999Z */
    int64_t ms = at.ms < 0 ? 0 : at.ms > last ? last : at.ms;
    int year, month, day;
    date_of(ms / day_ms, &year, &month, &day);
    int rest = (int)(ms % day_ms);
    snprintf(out, WALL_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day,
             rest / 3600000, rest / 60000 % 60, rest / 1000 % 60, rest % 1000);
    return out;
}
