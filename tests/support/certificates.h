/* Certificates for one test, in its own folder: an authority, and what it signs. Aborts the test
 * when OpenSSL fails. */
#ifndef SUPPORT_CERTIFICATES_H
#define SUPPORT_CERTIFICATES_H

enum { CERTIFICATE_PATH_MAX = 160 };

struct certificate { /* paths of PEM files; the key's is closed to everybody else */
    char cert_file[CERTIFICATE_PATH_MAX], key_file[CERTIFICATE_PATH_MAX];
};

/* Signed by itself, valid from yesterday for a month: NAME.pem and NAME.key in `folder`. */
struct certificate certificate_authority(const char *folder, const char *name);
/* names: "DNS:redis.internal,IP:127.0.0.1". days: until it expires, negative: expired. Files of the
 * same name are replaced. */
struct certificate certificate_signed_by(const struct certificate *authority, const char *folder,
                                         const char *name, const char *names, int days);

#endif
