#ifndef PAG_HOST_X509_PRIV_H
#define PAG_HOST_X509_PRIV_H

#include <openssl/x509.h>

#include "host/x509.h"

/* Shared by host/x509_*.c only. */

struct pag_ca {
    X509 *cert;
    EVP_PKEY *key;
    EVP_PKEY *throw_away; /* signs the copy that is checked before the real signature */
    uint8_t *der;
    size_t der_n;
    struct pag_x509_info info;
};

/* One certificate out of DER or PEM, whole input used; the caller frees it. NULL: it is none. */
X509 *pag_x509_parse(struct pag_span in);
/* Fills *out from a parsed certificate. */
enum pag_err pag_x509_describe(X509 *cert, struct pag_x509_info *out);
/* Checked request (pag_x509_csr_key); the caller frees it. */
enum pag_err pag_x509_csr_parse(struct pag_span csr, bool rsa, X509_REQ **out, struct pag_fail *why);
/* Everything written to bio, appended to out. PAG_E_SPACE. */
enum pag_err pag_x509_drain(BIO *bio, struct pag_buf *out);
/* Everything written to bio, in fresh memory with a zero behind it; pag_fs_buf_free. */
enum pag_err pag_x509_drain_new(BIO *bio, struct pag_buf *out);

/* ---- building (x509_build.c); false: out of memory or a value that OpenSSL refuses ---- */

enum pag_x509_use { PAG_X509_CLIENT, PAG_X509_SERVER };

bool pag_x509_add_serial(X509 *cert); /* 128 bits, random, positive */
bool pag_x509_add_times(X509 *cert, uint64_t from, uint64_t to);
bool pag_x509_add_ca(X509 *cert, bool pathlen_zero);
bool pag_x509_add_leaf(X509 *cert); /* CA:FALSE, digitalSignature */
bool pag_x509_add_use(X509 *cert, enum pag_x509_use use);
bool pag_x509_add_key_ids(X509 *cert, const X509 *issuer); /* issuer NULL: itself */
bool pag_x509_add_uri(X509 *cert, const uint8_t *product, const char *cn);
bool pag_x509_add_names(X509 *cert, const char *const *names, size_t n);
bool pag_x509_name_ok(const char *name); /* DNS name, wildcard or address */

/* An issuing authority, signed by root. turn: what follows the mark in the name, "" for the first of a kind.
 */
bool pag_x509_fill_issuing(X509 *cert, EVP_PKEY *key, const struct pag_ca *root, enum pag_ca_kind kind,
                           const char *turn, uint64_t now);

/* Looks at a leaf as others will see it (its DER): NULL when it is what was meant, else what is wrong. */
const char *pag_x509_lint(struct pag_span der, const struct pag_ca *ca, const struct pag_cert_order *order,
                          enum pag_x509_use use);

#endif
