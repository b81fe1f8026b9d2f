/* Happy path: redis_trust_new -> read_files -> trust_authorities, prove_ourselves;
 * redis_trust_session -> expect_name -> (certificate_seen, once per certificate of the chain). */
#include "io/redis_trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/secret_file.h"

enum { KEY_MAX = 64 * 1024, FILES = 3, NAMES_ROOM = 96 };

struct fingerprint { /* of a file: another one, when it was written again */
    struct timespec changed;
    ino_t inode;
    off_t size;
};

struct redis_trust {
    SSL_CTX *context;
    char *ca_file, *cert_file, *key_file, *name;    /* NULL: not given */
    struct fingerprint seen[FILES], refused[FILES]; /* refused: complained of already */
};

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* The newest of OpenSSL's complaints, which says most; takes all of them off its queue. */
static const char *complaint(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);
    ERR_clear_error();
    return text != NULL ? text : "no reason given";
}

/* ---- the files ------------------------------------------------------------------------------ */
static enum err trust_authorities(const struct redis_trust *trust, SSL_CTX *context,
                                  struct buf *why)
{
    bool read = trust->ca_file != NULL ? SSL_CTX_load_verify_file(context, trust->ca_file) == 1
                                       : SSL_CTX_set_default_verify_paths(context) == 1;
    if (read)
        return ERR_OK;
    (void)buf_addf(why, "redis_ca_file: %s holds no certificates (PEM) that can be read: %s",
                   trust->ca_file != NULL ? trust->ca_file : "the system's store", complaint());
    return ERR_INVALID;
}

static EVP_PKEY *read_key(const char *path, struct buf *why)
{
    static char passphrase[] = ""; /* else OpenSSL would ask for one at the terminal */
    struct buf text = {0}, fault = {0};
    EVP_PKEY *key = NULL;
    if (secret_file_read(path, KEY_MAX, &text, &fault) == ERR_OK && text.len > 0) {
        BIO *bytes = BIO_new_mem_buf(text.bytes, (int)text.len);
        key = bytes != NULL ? PEM_read_bio_PrivateKey(bytes, NULL, NULL, passphrase) : NULL;
        BIO_free(bytes);
    }
    if (key == NULL && fault.len > 0)
        (void)buf_addf(why, "redis_key_file: %s %s", path, fault.bytes);
    else if (key == NULL)
        (void)buf_addf(why, "redis_key_file: %s holds no private key (PEM, without passphrase): %s",
                       path, complaint());
    secret_wipe(&text);
    buf_fini(&fault);
    return key;
}

static enum err prove_ourselves(const struct redis_trust *trust, SSL_CTX *context, struct buf *why)
{
    if (trust->cert_file == NULL)
        return ERR_OK;
    if (SSL_CTX_use_certificate_chain_file(context, trust->cert_file) != 1) {
        (void)buf_addf(why, "redis_cert_file: %s holds no certificate (PEM) that can be read: %s",
                       trust->cert_file, complaint());
        return ERR_INVALID;
    }
    EVP_PKEY *key = read_key(trust->key_file, why);
    if (key == NULL)
        return ERR_INVALID;
    bool fits = SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    if (fits)
        return ERR_OK;
    (void)buf_addf(why, "redis_key_file: %s is not the key of the certificate in %s: %s",
                   trust->key_file, trust->cert_file, complaint());
    return ERR_INVALID;
}

static int certificate_seen(int is_good, X509_STORE_CTX *store);

static SSL_CTX *context_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, certificate_seen);
    return context;
}

static enum err read_files(struct redis_trust *trust, struct buf *why)
{
    SSL_CTX *context = context_new();
    if (context == NULL)
        return ERR_NOMEM;
    enum err err = trust_authorities(trust, context, why);
    if (err == ERR_OK)
        err = prove_ourselves(trust, context, why);
    if (err != ERR_OK) {
        SSL_CTX_free(context);
        return err;
    }
    SSL_CTX_free(trust->context);
    trust->context = context;
    return ERR_OK;
}

static void take_fingerprints(const struct redis_trust *trust, struct fingerprint out[FILES])
{
    const char *const path[FILES] = {trust->ca_file, trust->cert_file, trust->key_file};
    memset(out, 0, FILES * sizeof *out);
    for (size_t i = 0; i < FILES; i++) {
        struct stat file;
        if (path[i] == NULL || stat(path[i], &file) != 0)
            continue;
        out[i].changed = file.st_mtim;
        out[i].inode = file.st_ino;
        out[i].size = file.st_size;
    }
}

static bool copy_option(const char *text, char **out)
{
    *out = is_given(text) ? mem_copy(str_of(text)) : NULL;
    return *out != NULL || !is_given(text);
}

static enum err copy_options(struct redis_trust *trust, const struct redis_tls_options *options,
                             struct buf *why)
{
    if (!copy_option(options->ca_file, &trust->ca_file)
        || !copy_option(options->cert_file, &trust->cert_file)
        || !copy_option(options->key_file, &trust->key_file)
        || !copy_option(options->name, &trust->name))
        return ERR_NOMEM;
    if ((trust->cert_file == NULL) == (trust->key_file == NULL))
        return ERR_OK;
    (void)buf_add_text(why, trust->cert_file != NULL ? "redis_cert_file needs redis_key_file"
                                                     : "redis_key_file needs redis_cert_file");
    return ERR_INVALID;
}

enum err redis_trust_new(const struct redis_tls_options *options, struct redis_trust **out,
                         struct buf *why)
{
    struct redis_trust *trust = mem_new(sizeof *trust);
    if (trust == NULL)
        return ERR_NOMEM;
    enum err err = copy_options(trust, options, why);
    take_fingerprints(trust, trust->seen);
    if (err == ERR_OK)
        err = read_files(trust, why);
    if (err != ERR_OK) {
        redis_trust_free(trust);
        return err;
    }
    *out = trust;
    return ERR_OK;
}

void redis_trust_free(struct redis_trust *trust)
{
    if (trust == NULL)
        return;
    SSL_CTX_free(trust->context);
    mem_free(trust->ca_file);
    mem_free(trust->cert_file);
    mem_free(trust->key_file);
    mem_free(trust->name);
    mem_free(trust);
}

/* Once for each state of the files: connections are tried again and again. */
static void complain(struct redis_trust *trust, const struct fingerprint now[FILES],
                     const struct buf *why)
{
    char quoted[512];
    if (memcmp(now, trust->refused, sizeof trust->refused) == 0)
        return;
    memcpy(trust->refused, now, sizeof trust->refused);
    log_warn("changed TLS files are not used", "because=%s",
             log_quoted(why->len > 0 ? why->bytes : "out of memory", quoted, sizeof quoted));
}

void redis_trust_renew(struct redis_trust *trust)
{
    struct fingerprint now[FILES];
    struct buf why = {0};
    take_fingerprints(trust, now);
    if (memcmp(now, trust->seen, sizeof now) == 0)
        return;
    if (read_files(trust, &why) == ERR_OK)
        memcpy(trust->seen, now, sizeof now);
    else
        complain(trust, now, &why);
    buf_fini(&why);
}

/* ---- one connection ------------------------------------------------------------------------- */
static bool expect_name(SSL *session, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), name) == 1)
        return true;
    ERR_clear_error(); /* it is no address */
    SSL_set_hostflags(session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(session, name) == 1 && SSL_set_tlsext_host_name(session, name) == 1;
}

enum err redis_trust_session(const struct redis_trust *trust, const char *host,
                             struct redis_fault *fault, struct ssl_st **out)
{
    const char *name = trust->name != NULL ? trust->name : host;
    SSL *session = SSL_new(trust->context);
    *fault = (struct redis_fault){.has_certificate = trust->cert_file != NULL};
    snprintf(fault->host, sizeof fault->host, "%s", name);
    if (session == NULL || !expect_name(session, name) || SSL_set_app_data(session, fault) != 1) {
        SSL_free(session);
        ERR_clear_error();
        return ERR_NOMEM;
    }
    SSL_set_connect_state(session);
    *out = session;
    return ERR_OK;
}

/* ---- what is wrong -------------------------------------------------------------------------- */
/* What a stranger's certificate says goes into our log: printable or not at all. */
static void add_name(char out[NAMES_ROOM], const char *bytes, int len)
{
    size_t used = strlen(out);
    if (len <= 0 || used + (size_t)len + 6 > NAMES_ROOM)
        return;
    used += (size_t)snprintf(out + used, NAMES_ROOM - used, "%s", used > 0 ? ", " : "");
    for (int i = 0; i < len; i++)
        out[used++] = bytes[i] > ' ' && bytes[i] < 0x7f ? bytes[i] : '?';
    out[used] = '\0';
}

static void add_alternative(char out[NAMES_ROOM], const GENERAL_NAME *name)
{
    char address[64];
    if (name->type == GEN_DNS) {
        add_name(out, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                 ASN1_STRING_length(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
        char *text = i2s_ASN1_OCTET_STRING(NULL, name->d.iPAddress); /* "7F:00:00:01" */
        const unsigned char *ip = ASN1_STRING_get0_data(name->d.iPAddress);
        bool is_ipv4 = ASN1_STRING_length(name->d.iPAddress) == 4;
        snprintf(address, sizeof address, "%d.%d.%d.%d", is_ipv4 ? ip[0] : 0, is_ipv4 ? ip[1] : 0,
                 is_ipv4 ? ip[2] : 0, is_ipv4 ? ip[3] : 0);
        const char *shown = is_ipv4 || text == NULL ? address : text;
        add_name(out, shown, (int)strlen(shown));
        OPENSSL_free(text);
    }
}

/* The names a certificate is for: "redis.internal, 10.0.0.7". */
static void names_of(X509 *certificate, char out[NAMES_ROOM])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        add_alternative(out, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    char common[NAMES_ROOM];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, common,
                                        sizeof common);
    if (out[0] == '\0')
        add_name(out, common, len);
    if (out[0] == '\0')
        snprintf(out, NAMES_ROOM, "nobody");
}

static void issuer_of(X509 *certificate, char out[NAMES_ROOM])
{
    char common[NAMES_ROOM];
    int len = X509_NAME_get_text_by_NID(X509_get_issuer_name(certificate), NID_commonName, common,
                                        sizeof common);
    out[0] = '\0';
    add_name(out, common, len);
    if (out[0] == '\0')
        snprintf(out, NAMES_ROOM, "somebody");
}

static void date_of(const ASN1_TIME *time, char out[32])
{
    struct tm date;
    if (ASN1_TIME_to_tm(time, &date) != 1 || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &date) == 0)
        snprintf(out, 32, "a date nobody can read");
}

static void explain_name(struct redis_fault *fault, X509 *certificate)
{
    char names[NAMES_ROOM];
    names_of(certificate, names);
    snprintf(fault->text, sizeof fault->text,
             "the certificate is for %s, not for %.60s: name that host, or set redis_tls_name",
             names, fault->host);
}

static void explain_dates(struct redis_fault *fault, X509 *certificate, bool is_over)
{
    char names[NAMES_ROOM], date[32];
    names_of(certificate, names);
    date_of(is_over ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), date);
    snprintf(fault->text, sizeof fault->text, "the certificate for %s %s %s: %s", names,
             is_over ? "expired on" : "is not valid before", date,
             is_over ? "renew it at the server" : "look at the clocks");
}

static void explain_issuer(struct redis_fault *fault, X509 *certificate)
{
    char issuer[NAMES_ROOM];
    issuer_of(certificate, issuer);
    snprintf(fault->text, sizeof fault->text,
             "the certificate is signed by %s, which is not trusted here: set redis_ca_file to the "
             "CA of the server",
             issuer);
}

static void explain_certificate(struct redis_fault *fault, int error, X509 *certificate)
{
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        explain_name(fault, certificate);
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        explain_dates(fault, certificate, error == X509_V_ERR_CERT_HAS_EXPIRED);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        explain_issuer(fault, certificate);
        break;
    default:
        snprintf(fault->text, sizeof fault->text, "the server's certificate is not accepted: %s",
                 X509_verify_cert_error_string(error));
    }
}

/* The answer is OpenSSL's own, always: this only remembers why. */
static int certificate_seen(int is_good, X509_STORE_CTX *store)
{
    SSL *session = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct redis_fault *fault = SSL_get_app_data(session);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!is_good && certificate != NULL && fault->text[0] == '\0')
        explain_certificate(fault, X509_STORE_CTX_get_error(store), certificate);
    return is_good;
}

static bool is_about_our_certificate(int reason)
{
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: /* TLS 1.2's way to say that one is required */
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        return true;
    default:
        return false;
    }
}

/* No TLS at all looks like a record of an odd version or length. */
static bool is_no_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG
           || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_UNEXPECTED_MESSAGE;
}

void redis_fault_explain(struct redis_fault *fault)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    const char *text = complaint();
    if (fault->text[0] != '\0')
        return;
    if (is_about_our_certificate(reason))
        snprintf(fault->text, sizeof fault->text, "%s (%s)",
                 fault->has_certificate
                     ? "the server does not accept our certificate: look at redis_cert_file"
                     : "the server wants a certificate of ours: set redis_cert_file and "
                       "redis_key_file",
                 text);
    else if (is_no_tls(reason))
        snprintf(fault->text, sizeof fault->text,
                 "what answers there is not TLS: name the tls-port of the server, or use a url "
                 "without TLS (%s)",
                 text);
    else
        snprintf(fault->text, sizeof fault->text, "TLS with %.60s failed: %s", fault->host, text);
}
