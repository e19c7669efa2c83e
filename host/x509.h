#ifndef PAG_HOST_X509_H
#define PAG_HOST_X509_H

#include <openssl/types.h>
#include <stdbool.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * The installation's certificate authority on OpenSSL 3 (EVP only). P-256 and SHA-256 throughout. Profiles:
 * docs/operating/certificates.md. Times are Unix seconds and passed in. Everything is thread-safe; a loaded
 * CA is never changed.
 */

/* ---- keys ---- */

/* PKCS#8 PEM, mode 0600; passphrase NULL: plain, else encrypted (PBES2, AES-256-CBC, PBKDF2-SHA-256,
 * 600,000). */
enum pag_err pag_x509_key_save(const EVP_PKEY *key, const char *path, const char *passphrase,
                               struct pag_fail *why);
/* P-256 only. The file must be private (host/fs.h). The caller frees *out with EVP_PKEY_free.
 * PAG_E_NOT_FOUND, PAG_E_DENIED (mode or passphrase), PAG_E_CONFIG (not such a key). passphrase may be NULL.
 */
enum pag_err pag_x509_key_load(const char *path, const char *passphrase, EVP_PKEY **out,
                               struct pag_fail *why);
/* The same from and to memory. out->p is allocated; release with pag_fs_buf_free (host/fs.h). */
enum pag_err pag_x509_key_pem(const EVP_PKEY *key, const char *passphrase, struct pag_buf *out);
enum pag_err pag_x509_key_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                 struct pag_fail *why);
/* A private key of any kind; pag_signing_key_of_pem (host/signing.h) and the above say which they take. */
enum pag_err pag_x509_private_of_pem(struct pag_span pem, const char *passphrase, EVP_PKEY **out,
                                     struct pag_fail *why);

/* A new key for a device that cannot make one. rsa: 2048 bits, which takes up to a second; else P-256. The
 * caller frees it with EVP_PKEY_free. NULL: failed. */
enum { PAG_X509_RSA_BITS = 2048 };
EVP_PKEY *pag_x509_key_new(bool rsa);
void pag_x509_key_free(EVP_PKEY *key); /* for rooms without OpenSSL; NULL is fine */
/* SHA-256 of the SubjectPublicKeyInfo of any key. PAG_E_CONFIG. */
enum pag_err pag_x509_key_sha256(const EVP_PKEY *key, uint8_t out[PAG_SHA256_BYTES]);
/* The public key that a certificate (DER) is for. The caller frees *out with pag_x509_key_free. PAG_E_SYNTAX.
 */
enum pag_err pag_x509_key_of_cert(struct pag_span der, EVP_PKEY **out);

/* ---- reading certificates ---- */

struct pag_x509_info {
    char cn[PAG_DEVICE_ID_MAX + 1]; /* "" when there is not exactly one CN of [0-9a-z-]{1,64} */
    char product[33];               /* hex of SAN URI urn:pagurus:<product>:<cn>, or "" */
    char subject[256];              /* one line, RFC 2253, control characters escaped; cut to fit */
    char issuer[256];
    uint8_t serial[20];
    uint8_t serial_n;
    uint64_t not_before, not_after;
    uint8_t fingerprint[PAG_SHA256_BYTES]; /* SHA-256 of the DER */
    uint8_t key_sha256[PAG_SHA256_BYTES];  /* SHA-256 of the SubjectPublicKeyInfo */
    bool is_ca;
};

/* in: one certificate, DER or PEM, at most 8 KiB. PAG_E_SYNTAX, PAG_E_LIMIT. */
enum pag_err pag_x509_info(struct pag_span in, struct pag_x509_info *out);

/* Calls take for each DNS name of a certificate (as pag_x509_info), in order; others and those with a NUL
 * inside are passed over. ctx: handed to take. PAG_E_SYNTAX, PAG_E_LIMIT. */
enum pag_err pag_x509_dns_names(struct pag_span in, void (*take)(void *ctx, const char *name), void *ctx);

/* DER to PEM with the label "CERTIFICATE", "CERTIFICATE REQUEST" or "X509 CRL"; out: appended. PAG_E_SPACE.
 */
enum pag_err pag_x509_pem_of_der(const char *label, struct pag_span der, struct pag_buf *out);
/* First block with that label; out: appended. PAG_E_NOT_FOUND, PAG_E_SYNTAX, PAG_E_SPACE. */
enum pag_err pag_x509_der_of_pem(const char *label, struct pag_span pem, struct pag_buf *out);

/* Verifies leaf (DER or PEM) against the anchors in a PEM file at a time, for clientAuth or serverAuth. */
enum pag_err pag_x509_verify(struct pag_span leaf, const char *anchors_file, bool server, uint64_t now,
                             struct pag_fail *why);

bool pag_x509_id_ok(const char *id); /* [0-9a-z-]{1,64}: the only CN that is ever issued */

/* ---- certificate requests ---- */

/* What a PKCS#10 (DER or PEM, at most 4 KiB) proves: a P-256 key whose owner signed it. Subject and
 * extensions are not looked at. PAG_E_SYNTAX, PAG_E_LIMIT, PAG_E_UNSUPPORTED (not P-256 or point not on it),
 * PAG_E_SIGNATURE. */
enum pag_err pag_x509_csr_check(struct pag_span csr, uint8_t key_sha256[PAG_SHA256_BYTES],
                                struct pag_fail *why);
/* The same; rsa: a key of RSA-2048, signed with SHA-2, is as good as one of P-256. */
enum pag_err pag_x509_csr_key(struct pag_span csr, bool rsa, uint8_t key_sha256[PAG_SHA256_BYTES],
                              bool *is_rsa, struct pag_fail *why);
/* The one CN of a request (as pag_x509_csr_key with rsa), "" without any. PAG_E_DENIED: there are several, or
 * it is no id and no MAC in a usual spelling (17 characters). */
enum pag_err pag_x509_csr_cn(struct pag_span csr, char cn[PAG_DEVICE_ID_MAX + 1], struct pag_fail *why);
/*
 * Whether a request (as pag_x509_csr_key with rsa) asks for no more than a device's certificate: alternative
 * names are id as DNS name and urn:pagurus:<product>:<id> at most, no authority, no use but clientAuth.
 * PAG_E_DENIED with why.
 */
enum pag_err pag_x509_csr_modest(struct pag_span csr, const char *id,
                                 const uint8_t product[PAG_PRODUCT_ID_BYTES], struct pag_fail *why);
/* A PKCS#10 for tests, the CLI and the simulator. der: appended. */
enum pag_err pag_x509_csr_make(const EVP_PKEY *key, const char *cn, struct pag_buf *der);

/* ---- authorities ---- */

enum pag_ca_kind { PAG_CA_DEVICE, PAG_CA_SERVER, PAG_CA_OPERATOR };

struct pag_ca; /* certificate with its private key */

/* New self-signed root. name: organisation shown in the subject, printable ASCII up to 40. */
enum pag_err pag_ca_root_new(const char *name, uint64_t now, struct pag_ca **out, struct pag_fail *why);
/* New issuing authority below root: pathlen 0, one extended key usage, 5 years. */
enum pag_err pag_ca_issuing_new(const struct pag_ca *root, enum pag_ca_kind kind, uint64_t now,
                                struct pag_ca **out, struct pag_fail *why);
/*
 * The same for a key whose owner has sent a request (P-256; its subject is not looked at), with a mark in the
 * name that tells it from the authority that it follows. der: appended. Errors of pag_x509_csr_check.
 */
enum pag_err pag_ca_issuing_sign(const struct pag_ca *root, struct pag_span csr, enum pag_ca_kind kind,
                                 uint64_t now, struct pag_buf *der, struct pag_fail *why);
/*
 * Whether cert (DER) is an authority of that kind as above, for this key, signed by root (DER) and in its
 * time. PAG_E_CONFIG, PAG_E_SIGNATURE, PAG_E_EXPIRED with why.
 */
enum pag_err pag_ca_issuing_check(struct pag_span cert, struct pag_span root, enum pag_ca_kind kind,
                                  const EVP_PKEY *key, uint64_t now, struct pag_fail *why);
/* The same key and subject as a self-signed trust anchor, so that a listener can trust exactly this authority
 * and none of its sisters under the root. der: appended. */
enum pag_err pag_ca_anchor(const struct pag_ca *ca, uint64_t now, struct pag_buf *der, struct pag_fail *why);
/* cert_file: first certificate is the authority's. passphrase may be NULL. */
enum pag_err pag_ca_load(const char *cert_file, const char *key_file, const char *passphrase,
                         struct pag_ca **out, struct pag_fail *why);
void pag_ca_free(struct pag_ca *ca); /* NULL is fine */
/* Encrypted or plain, mode 0600. */
enum pag_err pag_ca_key_save(const struct pag_ca *ca, const char *path, const char *passphrase,
                             struct pag_fail *why);
struct pag_span pag_ca_der(const struct pag_ca *ca); /* its certificate; lives as long as ca */
const struct pag_x509_info *pag_ca_info(const struct pag_ca *ca);

/* ---- issuing ---- */

enum { PAG_CERT_DER_MAX = 2048 };

struct pag_issued {
    uint8_t der[PAG_CERT_DER_MAX];
    size_t der_n;
    struct pag_x509_info info;
};

struct pag_cert_order {
    const char *cn;         /* pag_x509_id_ok; a device's must not start with "svc-" */
    const uint8_t *product; /* PAG_PRODUCT_ID_BYTES, for the SAN URI; NULL: no SAN (services, operators) */
    uint64_t now;           /* notBefore is an hour earlier */
    uint64_t lifetime_s;    /* cut to the authority's own end */
    bool rsa;               /* a request's key may be RSA-2048 */
    /* Server certificates only, at most PAG_CERT_NAMES_MAX: DNS names (also "*.example.org") and addresses as
     * text. An address becomes an IP SAN and, as text, a DNS SAN, because BearSSL compares dNSName only. */
    const char *const *names;
    size_t names_n;
};

enum { PAG_CERT_NAMES_MAX = 32 };

/*
 * Client certificate for the key in csr: subject is CN=order->cn and nothing else, whatever the request said.
 * Made with a throw-away key first and checked against the profile, only then signed for real. Errors of
 * pag_x509_csr_check, PAG_E_DENIED (bad cn), PAG_E_INTERNAL (lint failed: a bug).
 */
enum pag_err pag_ca_issue_client(const struct pag_ca *ca, struct pag_span csr,
                                 const struct pag_cert_order *order, struct pag_issued *out,
                                 struct pag_fail *why);
/* The same for a key at hand (service certificates). "svc-" is allowed here. */
enum pag_err pag_ca_issue_client_key(const struct pag_ca *ca, const EVP_PKEY *key,
                                     const struct pag_cert_order *order, struct pag_issued *out,
                                     struct pag_fail *why);

/* The same for a key that was made here for a device: P-256 or RSA-2048. "svc-" is not allowed. */
enum pag_err pag_ca_issue_device_key(const struct pag_ca *ca, const EVP_PKEY *key,
                                     const struct pag_cert_order *order, struct pag_issued *out,
                                     struct pag_fail *why);

/* Server certificate; CN=order->cn, or the first name when that is NULL. PAG_E_CONFIG: a name is not one. */
enum pag_err pag_ca_issue_server(const struct pag_ca *ca, const EVP_PKEY *key,
                                 const struct pag_cert_order *order, struct pag_issued *out,
                                 struct pag_fail *why);

/* ---- bundles ---- */

/* PKCS#7 with certificates and nothing else (RFC 8551 3.8), DER. in: each one certificate in DER, or PEM with
 * any number; what is there twice goes in once. out: appended. PAG_E_SYNTAX, PAG_E_SPACE. */
enum pag_err pag_x509_certs_only(const struct pag_span *in, size_t n, struct pag_buf *out);

/* ---- revocation ---- */

struct pag_revoked {
    uint8_t serial[20];
    uint8_t serial_n;
    uint64_t at; /* Unix s */
};

struct pag_crl_order {
    const struct pag_revoked *list;
    size_t n;
    uint64_t number; /* CRL number, rising */
    uint64_t now;
    uint64_t valid_s; /* 24 h as a habit */
};

/* CRL (v2) as PEM. out->p is allocated; free() it. */
enum pag_err pag_ca_crl(const struct pag_ca *ca, const struct pag_crl_order *order, struct pag_buf *out,
                        struct pag_fail *why);

#endif
