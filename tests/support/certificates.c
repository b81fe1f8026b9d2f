#include "support/certificates.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DAY_S = 24 * 60 * 60 };

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "certificates: %s: ", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static void extend(X509 *certificate, X509 *issuer, int what, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, what, value);
    must(extension != NULL && X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

static X509 *certificate_new(EVP_PKEY *key, const char *name, int days)
{
    X509 *certificate = X509_new();
    must(certificate != NULL, "out of memory");
    unsigned char serial[8];
    RAND_bytes(serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    X509_set_version(certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -(days < 0 ? 400L : 1L) * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * DAY_S);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(certificate, key);
    return certificate;
}

static struct certificate save(const char *folder, const char *name, X509 *certificate,
                               EVP_PKEY *key)
{
    struct certificate made;
    snprintf(made.cert_file, sizeof made.cert_file, "%s/%s.pem", folder, name);
    snprintf(made.key_file, sizeof made.key_file, "%s/%s.key", folder, name);
    FILE *file = fopen(made.cert_file, "w");
    must(file != NULL && PEM_write_X509(file, certificate) == 1, made.cert_file);
    fclose(file);
    file = fopen(made.key_file, "w");
    must(file != NULL && chmod(made.key_file, 0600) == 0
             && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1,
         made.key_file);
    fclose(file);
    return made;
}

static void finish(X509 *certificate, EVP_PKEY *signer)
{
    must(X509_sign(certificate, signer, EVP_sha256()) > 0, "cannot sign");
}

struct certificate certificate_authority(const char *folder, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key != NULL, "no key");
    X509 *certificate = certificate_new(key, name, 30);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    finish(certificate, key);
    struct certificate made = save(folder, name, certificate, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

struct certificate certificate_signed_by(const struct certificate *authority, const char *folder,
                                         const char *name, const char *names, int days)
{
    FILE *file = fopen(authority->cert_file, "r");
    X509 *issuer = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    must(issuer != NULL, authority->cert_file);
    fclose(file);
    file = fopen(authority->key_file, "r");
    EVP_PKEY *signer = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    must(signer != NULL, authority->key_file);
    fclose(file);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key != NULL, "no key");
    X509 *certificate = certificate_new(key, name, days);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    extend(certificate, issuer, NID_subject_alt_name, names);
    finish(certificate, signer);
    struct certificate made = save(folder, name, certificate, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    X509_free(issuer);
    EVP_PKEY_free(signer);
    return made;
}
