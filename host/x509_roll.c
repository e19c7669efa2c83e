#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "host/rand.h"
#include "host/x509_priv.h"

/* The next authority of a kind: its key is made where it is used, and signed where the root is. */

enum pag_err pag_ca_issuing_sign(const struct pag_ca *root, struct pag_span csr, enum pag_ca_kind kind,
                                 uint64_t now, struct pag_buf *der, struct pag_fail *why)
{
    char mark[5];
    char turn[8];
    X509_REQ *req = NULL;
    unsigned char *bytes = NULL;
    enum pag_err err = pag_x509_csr_parse(csr, false, &req, why);
    if (err != PAG_OK) {
        return err;
    }
    pag_rand_hex(mark, 2);
    (void)snprintf(turn, sizeof turn, "-%s", mark);
    X509 *cert = X509_new();
    bool fine = cert != NULL && pag_x509_fill_issuing(cert, X509_REQ_get0_pubkey(req), root, kind, turn, now);
    int n = fine ? i2d_X509(cert, &bytes) : -1;
    if (n <= 0) {
        err = pag_fail_set(why, PAG_E_INTERNAL, "cannot sign the authority", 0);
    } else if ((size_t)n > der->cap - der->n) {
        err = pag_fail_set(why, PAG_E_SPACE, "no space for the authority", (uint64_t)n);
    } else {
        memcpy(der->p + der->n, bytes, (size_t)n);
        der->n += (size_t)n;
    }
    OPENSSL_free(bytes);
    X509_free(cert);
    X509_REQ_free(req);
    ERR_clear_error();
    return err;
}

static const char *wrong_with(X509 *cert, enum pag_ca_kind kind, const EVP_PKEY *key)
{
    uint32_t use = kind == PAG_CA_SERVER ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
    if (X509_check_ca(cert) != 1 || X509_get_pathlen(cert) != 0) {
        return "it is not the certificate of an issuing authority";
    }
    if (X509_get_extended_key_usage(cert) != use) {
        return "it is an authority for something else";
    }
    if (EVP_PKEY_eq(X509_get0_pubkey(cert), key) != 1) {
        return "it is not for the key that waits here";
    }
    return NULL;
}

static enum pag_err check(X509 *cert, X509 *root, enum pag_ca_kind kind, const EVP_PKEY *key, uint64_t now,
                          struct pag_fail *why)
{
    struct pag_x509_info info;
    const char *wrong = wrong_with(cert, kind, key);
    if (wrong != NULL) {
        return pag_fail_set(why, PAG_E_CONFIG, wrong, 0);
    }
    if (X509_check_issued(root, cert) != X509_V_OK || X509_verify(cert, X509_get0_pubkey(root)) != 1) {
        return pag_fail_set(why, PAG_E_SIGNATURE, "it is not signed by this installation's root", 0);
    }
    enum pag_err err = pag_x509_describe(cert, &info);
    if (err == PAG_OK && (now < info.not_before || now >= info.not_after)) {
        err = pag_fail_set(why, PAG_E_EXPIRED, "it is not in its time: look at both clocks", info.not_before);
    }
    return err;
}

enum pag_err pag_ca_issuing_check(struct pag_span cert, struct pag_span root, enum pag_ca_kind kind,
                                  const EVP_PKEY *key, uint64_t now, struct pag_fail *why)
{
    X509 *one = pag_x509_parse(cert);
    X509 *top = pag_x509_parse(root);
    enum pag_err err = one != NULL && top != NULL
                           ? check(one, top, kind, key, now, why)
                           : pag_fail_set(why, PAG_E_CONFIG, "it is not a certificate", 0);
    X509_free(one);
    X509_free(top);
    ERR_clear_error();
    return err;
}
