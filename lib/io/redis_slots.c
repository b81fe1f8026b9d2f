#include "io/redis_slots.h"

#include <hiredis/hiredis.h>

enum { PORT_MAX = 65535 };

/* CRC-16/XMODEM, as the specification of Redis Cluster wants it. */
static unsigned crc16(struct str bytes)
{
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (unsigned)(unsigned char)bytes.at[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
        crc &= 0xffff;
    }
    return crc;
}

unsigned slot_of(struct str key)
{
    const char *open = key.len > 0 ? memchr(key.at, '{', key.len) : NULL;
    size_t left = open != NULL ? key.len - (size_t)(open - key.at) - 1 : 0;
    const char *close = left > 0 ? memchr(open + 1, '}', left) : NULL;
    if (close != NULL && close > open + 1)
        key = (struct str){open + 1, (size_t)(close - open) - 1};
    return crc16(key) % SLOT_COUNT;
}

static bool port_read(int64_t number, int *out)
{
    if (number < 1 || number > PORT_MAX)
        return false;
    *out = (int)number;
    return true;
}

/* The last colon counts: an IPv6 address has more of them. */
static bool place_read(struct str place, struct str *host, int *port)
{
    const char *colon = place.len > 0 ? memrchr(place.at, ':', place.len) : NULL;
    if (colon == NULL)
        return false;
    *host = (struct str){place.at, (size_t)(colon - place.at)};
    int64_t number = 0;
    return str_to_int((struct str){colon + 1, place.len - host->len - 1}, &number)
           && port_read(number, port);
}

bool redirect_read(struct str error, struct redirect *out)
{
    struct str verb = str_cut(&error, ' ');
    if (!str_is(verb, "MOVED") && !str_is(verb, "ASK"))
        return false;
    struct str number = str_cut(&error, ' ');
    int64_t slot = 0;
    if (!str_to_int(number, &slot) || slot < 0 || slot >= SLOT_COUNT)
        return false;
    out->is_ask = str_is(verb, "ASK");
    out->slot = (unsigned)slot;
    return error.at != NULL && place_read(error, &out->host, &out->port);
}

/* A server that was told to name hosts, and does not know one, says "?". */
static struct str host_of(const redisReply *host)
{
    struct str text = {host->str, host->len};
    return host->str == NULL || str_is(text, "?") ? STR_NONE : text;
}

bool slot_range_read(const struct redisReply *element, struct slot_range *out)
{
    if (element->type != REDIS_REPLY_ARRAY || element->elements < 3)
        return false;
    const redisReply *first = element->element[0], *last = element->element[1];
    const redisReply *master = element->element[2];
    if (master->type != REDIS_REPLY_ARRAY || master->elements < 2)
        return false;
    bool is_range = first->type == REDIS_REPLY_INTEGER && last->type == REDIS_REPLY_INTEGER
                    && first->integer >= 0 && first->integer <= last->integer
                    && last->integer < SLOT_COUNT;
    if (!is_range || !port_read(master->element[1]->integer, &out->port))
        return false;
    out->first = (unsigned)first->integer;
    out->last = (unsigned)last->integer;
    out->host = host_of(master->element[0]);
    return true;
}
