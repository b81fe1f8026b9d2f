#include "io/redis_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/mem.h"

enum { PIECE = 16 * 1024 };

struct redis_tls {
    SSL *session;
    BIO *from_network, *to_network; /* belong to the session */
    struct redis_fault fault;
};

static enum err take_sealed(struct redis_tls *tls, struct buf *sealed)
{
    char *bytes = NULL;
    long len = BIO_get_mem_data(tls->to_network, &bytes);
    enum err err = len > 0 ? buf_add(sealed, bytes, (size_t)len) : ERR_OK;
    (void)BIO_reset(tls->to_network);
    return err;
}

/* What SSL_get_error() says when nothing is wrong but that more bytes must come first. */
static enum err judge(struct redis_tls *tls, int result)
{
    switch (SSL_get_error(tls->session, result)) {
    case SSL_ERROR_NONE:
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return ERR_OK;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_OFFLINE;
    default:
        redis_fault_explain(&tls->fault);
        return ERR_REFUSED;
    }
}

static enum err shake_hands(struct redis_tls *tls, struct buf *sealed)
{
    ERR_clear_error();
    enum err err = judge(tls, SSL_do_handshake(tls->session));
    enum err sent = take_sealed(tls, sealed);
    return err != ERR_OK ? err : sent;
}

enum err redis_tls_new(const struct redis_trust *trust, const char *host, struct buf *sealed,
                       struct redis_tls **out)
{
    struct redis_tls *tls = mem_new(sizeof *tls);
    if (tls == NULL)
        return ERR_NOMEM;
    enum err err = redis_trust_session(trust, host, &tls->fault, &tls->session);
    tls->from_network = BIO_new(BIO_s_mem());
    tls->to_network = BIO_new(BIO_s_mem());
    if (err != ERR_OK || tls->from_network == NULL || tls->to_network == NULL) {
        BIO_free(tls->from_network);
        BIO_free(tls->to_network);
        SSL_free(tls->session);
        mem_free(tls);
        return ERR_NOMEM;
    }
    SSL_set_bio(tls->session, tls->from_network, tls->to_network);
    err = shake_hands(tls, sealed);
    if (err != ERR_OK) {
        redis_tls_free(tls);
        return ERR_NOMEM; /* the first word depends on nobody else */
    }
    *out = tls;
    return ERR_OK;
}

void redis_tls_free(struct redis_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->session);
    mem_free(tls);
}

bool redis_tls_is_established(const struct redis_tls *tls)
{
    return SSL_is_init_finished(tls->session) == 1;
}

static enum err read_opened(struct redis_tls *tls, struct buf *opened)
{
    char piece[PIECE];
    int len;
    ERR_clear_error();
    while ((len = SSL_read(tls->session, piece, sizeof piece)) > 0)
        if (buf_add(opened, piece, (size_t)len) != ERR_OK)
            return ERR_NOMEM;
    return judge(tls, len);
}

enum err redis_tls_open(struct redis_tls *tls, struct str bytes, struct buf *opened,
                        struct buf *sealed)
{
    if (BIO_write(tls->from_network, bytes.at, (int)bytes.len) != (int)bytes.len)
        return ERR_NOMEM;
    enum err err = redis_tls_is_established(tls) ? ERR_OK : shake_hands(tls, sealed);
    if (err == ERR_OK && redis_tls_is_established(tls))
        err = read_opened(tls, opened);
    enum err sent = take_sealed(tls, sealed);
    return err != ERR_OK ? err : sent;
}

enum err redis_tls_seal(struct redis_tls *tls, struct str bytes, struct buf *sealed)
{
    enum err err = ERR_OK;
    ERR_clear_error();
    while (bytes.len > 0 && err == ERR_OK) {
        int piece = bytes.len < PIECE ? (int)bytes.len : PIECE;
        int len = SSL_write(tls->session, bytes.at, piece);
        if (len <= 0) {
            redis_fault_explain(&tls->fault);
            return ERR_REFUSED;
        }
        bytes = (struct str){bytes.at + len, bytes.len - (size_t)len};
        err = take_sealed(tls, sealed);
    }
    return err;
}

const char *redis_tls_why(const struct redis_tls *tls)
{
    return tls->fault.text;
}
