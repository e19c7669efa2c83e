#ifndef PAG_TESTS_SUPPORT_TLS_PAIRS_H
#define PAG_TESTS_SUPPORT_TLS_PAIRS_H

#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* Certificates of any kind with their keys, for tests of TLS. After cmocka.h. */

enum { DAY = 86400 };

struct pair {
    X509 *cert;
    EVP_PKEY *key;
};

struct profile {
    const char *cn, *usage, *san;
    bool is_ca;
    long from_s, to_s; /* relative to now */
};

static inline void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

static inline struct pair issue(const struct profile *p, const struct pair *ca)
{
    static long serial = 1000;
    struct pair out = { X509_new(), EVP_EC_gen("P-256") };
    X509 *c = out.cert;
    (void)X509_set_version(c, X509_VERSION_3);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
    (void)X509_gmtime_adj(X509_getm_notBefore(c), p->from_s == 0 ? -DAY : p->from_s);
    (void)X509_gmtime_adj(X509_getm_notAfter(c), p->to_s == 0 ? 30 * DAY : p->to_s);
    (void)X509_set_pubkey(c, out.key);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                                     (const unsigned char *)p->cn, -1, -1, 0);
    X509 *issuer = ca == NULL ? c : ca->cert;
    (void)X509_set_issuer_name(c, X509_get_subject_name(issuer));
    add_extension(c, issuer, NID_basic_constraints, p->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(c, issuer, NID_key_usage, p->is_ca ? "critical,keyCertSign" : "critical,digitalSignature");
    if (p->usage != NULL) {
        add_extension(c, issuer, NID_ext_key_usage, p->usage);
    }
    if (p->san != NULL) {
        add_extension(c, issuer, NID_subject_alt_name, p->san);
    }
    assert_true(X509_sign(c, ca == NULL ? out.key : ca->key, EVP_sha256()) > 0);
    return out;
}

static inline void drop(struct pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
}

#endif
