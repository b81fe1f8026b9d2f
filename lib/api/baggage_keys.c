#include "api/baggage_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/id.h"

/* ---- the file ------------------------------------------------------------------------------ */

static struct str without_end(struct str line)
{
    while (line.len > 0 && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == ' '))
        line.len--;
    return line;
}

static bool is_secret(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.len >= BAGGAGE_SECRET_MIN && text.len <= BAGGAGE_SECRET_MAX;
}

static const struct str *secret_of(const struct baggage_keys *keys, struct str id)
{
    for (size_t i = 0; i < keys->count; i++)
        if (str_eq(keys->key[i].id, id))
            return &keys->key[i].secret;
    return NULL;
}

/* What is wrong with a line; NULL: nothing. */
static const char *take_line(struct str line, struct baggage_keys *keys)
{
    struct str secret = line, id = str_cut(&secret, ' ');
    while (secret.len > 0 && secret.at[0] == ' ')
        secret = (struct str){secret.at + 1, secret.len - 1};
    if (keys->count == BAGGAGE_KEYS_MAX)
        return "at most 16 keys";
    if (!id_is_valid(id) || id.len > BAGGAGE_KEY_ID_MAX)
        return "each line is a key id (1 to 16 of A-Z a-z 0-9 _ -), a blank and a secret";
    if (!is_secret(secret))
        return "a secret is 16 to 256 printable characters without a blank";
    if (secret_of(keys, id) != NULL)
        return "a key id is there twice";
    keys->key[keys->count].id = id;
    keys->key[keys->count++].secret = secret;
    return NULL;
}

enum err baggage_keys_read(struct str text, struct baggage_keys *out, const char **why)
{
    struct baggage_keys keys = {0};
    while (text.len > 0) {
        struct str line = without_end(str_cut(&text, '\n'));
        const char *fault = line.len > 0 && line.at[0] != '#' ? take_line(line, &keys) : NULL;
        if (fault != NULL) {
            *why = fault;
            return ERR_MALFORMED;
        }
    }
    if (keys.count == 0) {
        *why = "there is no key in it";
        return ERR_MALFORMED;
    }
    *out = keys;
    return ERR_OK;
}

/* ---- signatures ---------------------------------------------------------------------------- */

/* base64url without padding of the first 132 bits: 22 characters of 6. */
static void encode(const unsigned char *bytes, char out[BAGGAGE_MAC_LEN])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (unsigned i = 0; i < BAGGAGE_MAC_LEN; i++) {
        unsigned bit = i * 6, pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        out[i] = digits[pair >> (10 - bit % 8) & 63];
    }
}

/* False: no memory. */
static bool sign(struct str secret, struct str text, char out[BAGGAGE_MAC_LEN])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    if (HMAC(EVP_sha256(), secret.at, (int)secret.len, (const unsigned char *)text.at, text.len,
             mac, NULL)
        == NULL)
        return false;
    encode(mac, out);
    return true;
}

enum baggage_trust baggage_keys_verify(const struct baggage_keys *keys,
                                       const struct baggage *context)
{
    char good[BAGGAGE_MAC_LEN];
    struct buf text = {0};
    if (context->key_id.at == NULL)
        return BAGGAGE_IS_UNSIGNED;
    const struct str *secret = secret_of(keys, context->key_id);
    if (secret == NULL)
        return BAGGAGE_HAS_UNKNOWN_KEY;
    buf_addf(&text, "1.%.*s", (int)context->path.len, context->path.at);
    bool is_good = !text.failed && sign(*secret, buf_str(&text), good)
                   && context->mac.len == sizeof good
                   && CRYPTO_memcmp(context->mac.at, good, sizeof good) == 0;
    buf_fini(&text);
    return is_good ? BAGGAGE_IS_GOOD : BAGGAGE_IS_FORGED;
}

enum err baggage_keys_format(const struct baggage_keys *keys, struct str path, struct span ttl,
                             struct str others, struct buf *out)
{
    char mac[BAGGAGE_MAC_LEN];
    struct baggage context = {.path = path, .ttl = ttl};
    if (keys->count > 0) {
        struct buf text = {0};
        enum err err = baggage_add_signed_text(path, &text);
        if (err == ERR_OK && !sign(keys->key[0].secret, buf_str(&text), mac))
            err = ERR_NOMEM;
        buf_fini(&text);
        if (err != ERR_OK)
            return err;
        context.key_id = keys->key[0].id;
        context.mac = (struct str){mac, sizeof mac};
    }
    return baggage_format(&context, others, out);
}
