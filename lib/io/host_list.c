#include "io/host_list.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

enum { RULES_MAX = 256, HOST_MAX = 253, ADDRESS_BYTES = 16, MAPPED_BITS = 96 };

/* IPv4 is kept as ::ffff:a.b.c.d, so that there is one kind of bytes. */
struct block {
    unsigned char bytes[ADDRESS_BYTES];
    unsigned bits;
};
struct rule {
    bool is_any, is_block, is_suffix;
    struct block block;
    char name[HOST_MAX + 1]; /* of a suffix: with its dot */
};
struct host_list {
    bool loopback;
    size_t count;
    struct rule rule[];
};

/* ---- addresses ----------------------------------------------------------------------------- */
static const unsigned char mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const unsigned char address[ADDRESS_BYTES])
{
    return memcmp(address, mapped, sizeof mapped) == 0;
}

/* A block of IPv6 holds no IPv4, though its bytes may: ::/0. */
static bool in_block(const struct block *block, const unsigned char address[ADDRESS_BYTES])
{
    size_t whole = block->bits / 8;
    unsigned rest = block->bits % 8;
    bool is_of_v4 = block->bits >= MAPPED_BITS && is_v4(block->bytes);
    if (is_of_v4 != is_v4(address) || memcmp(block->bytes, address, whole) != 0)
        return false;
    return rest == 0 || ((block->bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

static bool read_address(const char *text, unsigned char out[ADDRESS_BYTES], bool *has_dots)
{
    *has_dots = inet_pton(AF_INET, text, out + sizeof mapped) == 1;
    if (*has_dots)
        memcpy(out, mapped, sizeof mapped);
    return *has_dots || inet_pton(AF_INET6, text, out) == 1;
}

static void take_address(const struct sockaddr *address, unsigned char out[ADDRESS_BYTES])
{
    if (address->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)address)->sin6_addr, ADDRESS_BYTES);
        return;
    }
    memcpy(out, mapped, sizeof mapped);
    memcpy(out + sizeof mapped, &((const struct sockaddr_in *)address)->sin_addr, 4);
}

/* Where a gateway or the system itself would take a packet to this IPv6 address: the IPv4 that is
 * in it. RFC 4291, section 2.5.5 (compatible); RFC 2765 (translated); RFC 6052 (NAT64); RFC 3056
 * (6to4). :: and ::1 are none. */
static bool find_v4_inside(const unsigned char address[ADDRESS_BYTES],
                           unsigned char out[ADDRESS_BYTES])
{
    static const struct {
        unsigned char prefix[12];
        size_t len, at;
    } forms[] = {
        {{0}, 12, 12},
        {{[8] = 0xff, [9] = 0xff}, 12, 12},
        {{0x00, 0x64, 0xff, 0x9b}, 12, 12},
        {{0x20, 0x02}, 2, 2},
    };
    if (memcmp(address, forms[0].prefix, forms[0].len) == 0 && address[12] == 0)
        return false;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (memcmp(address, forms[i].prefix, forms[i].len) == 0) {
            memcpy(out, mapped, sizeof mapped);
            memcpy(out + sizeof mapped, address + forms[i].at, 4);
            return true;
        }
    return false;
}

/* ---- rules --------------------------------------------------------------------------------- */
static bool read_block(struct str word, struct block *out)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct str bits = word, address = str_cut(&bits, '/');
    int64_t count = 0;
    bool has_dots;
    if (address.len == 0 || address.len >= sizeof text)
        return false;
    memcpy(text, address.at, address.len);
    text[address.len] = '\0';
    if (!read_address(text, out->bytes, &has_dots))
        return false;
    int64_t most = has_dots ? 32 : 128;
    if (bits.at == NULL)
        count = most;
    else if (!str_to_int(bits, &count) || count < 0 || count > most)
        return false;
    out->bits = (unsigned)count + (has_dots ? MAPPED_BITS : 0);
    return true;
}

static bool is_in_any(const char *const *blocks, const unsigned char address[ADDRESS_BYTES])
{
    struct block block;
    for (; *blocks != NULL; blocks++)
        if (read_block(str_of(*blocks), &block) && in_block(&block, address))
            return true;
    return false;
}

static bool read_name(struct str word, struct rule *out)
{
    out->is_suffix = word.len > 2 && word.at[0] == '*' && word.at[1] == '.';
    if (out->is_suffix)
        word = (struct str){word.at + 1, word.len - 1};
    if (word.len == 0 || word.len > HOST_MAX)
        return false;
    for (size_t i = 0; i < word.len; i++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", word.at[i])
            == NULL)
            return false;
    memcpy(out->name, word.at, word.len);
    return true;
}

static bool read_rule(struct str word, struct rule *out)
{
    *out = (struct rule){.is_any = str_is(word, "*")};
    if (out->is_any)
        return true;
    out->is_block = read_block(word, &out->block);
    return out->is_block || read_name(word, out);
}

static bool next_word(struct str *rest, struct str *word)
{
    static const char between[] = ", \t";
    while (rest->len > 0 && strchr(between, rest->at[0]) != NULL)
        *rest = (struct str){rest->at + 1, rest->len - 1};
    size_t len = 0;
    while (len < rest->len && strchr(between, rest->at[len]) == NULL)
        len++;
    *word = (struct str){rest->at, len};
    *rest = (struct str){rest->at + len, rest->len - len};
    return len > 0;
}

enum err host_list_new(const char *words, bool loopback, struct host_list **out, struct str *bad)
{
    struct str rest = str_of(words != NULL ? words : ""), word;
    size_t count = 0;
    while (next_word(&rest, &word))
        count++;
    if (count == 0 && words != NULL && words[0] != '\0') {
        *bad = STR_NONE;
        return ERR_INVALID;
    }
    if (count > RULES_MAX) {
        *bad = word;
        return ERR_TOO_LARGE;
    }
    struct host_list *list = mem_new(sizeof *list + (count + 1) * sizeof list->rule[0]);
    if (list == NULL)
        return ERR_NOMEM;
    list->loopback = loopback;
    list->count = count > 0 ? count : 1;
    list->rule[0].is_any = true;
    rest = str_of(words != NULL ? words : "");
    for (size_t i = 0; next_word(&rest, &word); i++)
        if (!read_rule(word, &list->rule[i])) {
            *bad = word;
            host_list_free(list);
            return ERR_INVALID;
        }
    *out = list;
    return ERR_OK;
}

void host_list_free(struct host_list *list)
{
    mem_free(list);
}

const char *host_list_fault(const char *words)
{
    enum { SHOWN_MAX = 200 };
    static char text[SHOWN_MAX + 96];
    struct host_list *list;
    struct str bad = STR_NONE;
    enum err err = host_list_new(words, true, &list, &bad);
    if (err == ERR_OK) {
        host_list_free(list);
        return NULL;
    }
    if (err == ERR_INVALID && bad.len == 0)
        return "call_hosts: names no host; write names, *.suffix, addresses or address/bits, or * "
               "for any";
    snprintf(text, sizeof text, "call_hosts: %.*s%s",
             (int)(bad.len < SHOWN_MAX ? bad.len : SHOWN_MAX), bad.len > 0 ? bad.at : "",
             err == ERR_INVALID ? " is no name, *.suffix, address or address/bits"
                                : "at most 256 words");
    return text;
}

/* ---- questions ----------------------------------------------------------------------------- */
static bool has_name(const struct rule *rule, struct str host)
{
    size_t len = strlen(rule->name);
    if (rule->is_any || rule->is_block || host.len < len || (host.len > len && !rule->is_suffix))
        return false;
    return strncasecmp(host.at + host.len - len, rule->name, len) == 0;
}

static struct str without_brackets(struct str host)
{
    if (host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']')
        return (struct str){host.at + 1, host.len - 2};
    return host;
}

static bool has_address(const struct rule *rule, const unsigned char address[ADDRESS_BYTES])
{
    unsigned char inside[ADDRESS_BYTES];
    if (!rule->is_block)
        return false;
    return in_block(&rule->block, address)
           || (find_v4_inside(address, inside) && in_block(&rule->block, inside));
}

/* Any name may turn out to have an address that a block allows. */
bool host_list_names(const struct host_list *list, struct str host)
{
    struct block only;
    bool is_address = read_block(without_brackets(host), &only);
    for (size_t i = 0; i < list->count; i++) {
        const struct rule *rule = &list->rule[i];
        if (rule->is_any || has_name(rule, host))
            return true;
        if (rule->is_block && (!is_address || has_address(rule, only.bytes)))
            return true;
    }
    return false;
}

/* Of 64:ff9b:1::/48 (RFC 8215) and Teredo (RFC 4380) nobody can say from here where they end. */
static bool is_reserved(const struct host_list *list, const unsigned char address[ADDRESS_BYTES])
{
    static const char *const never[] = {
        "169.254.0.0/16",  "fe80::/10",     "224.0.0.0/4",    "ff00::/8",  "0.0.0.0/8", "::/128",
        "255.255.255.255", "fd00:ec2::254", "64:ff9b:1::/48", "2001::/32", NULL};
    static const char *const itself[] = {"127.0.0.0/8", "::1/128", NULL};
    return is_in_any(never, address) || (!list->loopback && is_in_any(itself, address));
}

static bool leads_to_reserved(const struct host_list *list,
                              const unsigned char address[ADDRESS_BYTES])
{
    unsigned char inside[ADDRESS_BYTES];
    return is_reserved(list, address)
           || (find_v4_inside(address, inside) && is_reserved(list, inside));
}

bool host_list_reaches(const struct host_list *list, struct str host,
                       const struct sockaddr *address)
{
    unsigned char bytes[ADDRESS_BYTES];
    bool any = false;
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    take_address(address, bytes);
    for (size_t i = 0; i < list->count; i++) {
        const struct rule *rule = &list->rule[i];
        if (has_name(rule, host) || has_address(rule, bytes))
            return true;
        any = any || rule->is_any;
    }
    return any && !leads_to_reserved(list, bytes);
}
