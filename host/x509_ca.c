#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/rand.h"
#include "host/unconst.h"
#include "host/x509_priv.h"

/* Authorities: the root, the three issuing ones, and their self-signed anchors. */

enum { YEAR_S = 31557600, ROOT_YEARS = 20, ISSUING_YEARS = 5, SKEW_S = 3600, FILE_MAX = 65536 };

void pag_ca_free(struct pag_ca *ca)
{
    if (ca != NULL) {
        X509_free(ca->cert);
        EVP_PKEY_free(ca->key);
        EVP_PKEY_free(ca->throw_away);
        OPENSSL_free(ca->der);
        free(ca);
    }
}

struct pag_span pag_ca_der(const struct pag_ca *ca)
{
    return (struct pag_span){ ca->der, ca->der_n };
}

const struct pag_x509_info *pag_ca_info(const struct pag_ca *ca)
{
    return &ca->info;
}

enum pag_err pag_ca_key_save(const struct pag_ca *ca, const char *path, const char *passphrase,
                             struct pag_fail *why)
{
    return pag_x509_key_save(ca->key, path, passphrase, why);
}

/* Takes over cert and key, also when it fails. */
static enum pag_err own(X509 *cert, EVP_PKEY *key, struct pag_ca **out, struct pag_fail *why)
{
    struct pag_ca *ca = calloc(1, sizeof *ca);
    if (ca == NULL) {
        X509_free(cert);
        EVP_PKEY_free(key);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for an authority", 0);
    }
    ca->cert = cert;
    ca->key = key;
    ca->throw_away = pag_crypto_key_new();
    int n = i2d_X509(cert, &ca->der);
    ca->der_n = n > 0 ? (size_t)n : 0;
    if (n <= 0 || ca->throw_away == NULL || pag_x509_describe(cert, &ca->info) != PAG_OK) {
        pag_ca_free(ca);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "cannot prepare an authority", 0);
    }
    *out = ca;
    return PAG_OK;
}

static bool add_text(X509_NAME *name, int nid, const char *text)
{
    return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool organisation_ok(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) {
            return false;
        }
    }
    return n > 0 && n <= 40;
}

/* ---- root ---- */

static bool fill_root(X509 *cert, EVP_PKEY *key, const char *name, uint64_t now)
{
    char cn[64];
    char mark[9]; /* two installations of one organisation stay apart */
    pag_rand_hex(mark, 4);
    (void)snprintf(cn, sizeof cn, "Pagurus root %s", mark);
    X509_NAME *subject = X509_get_subject_name(cert);
    return X509_set_version(cert, 2) == 1 && pag_x509_add_serial(cert) &&
           add_text(subject, NID_organizationName, name) && add_text(subject, NID_commonName, cn) &&
           X509_set_issuer_name(cert, subject) == 1 &&
           pag_x509_add_times(cert, now - SKEW_S, now + (uint64_t)ROOT_YEARS * YEAR_S) &&
           X509_set_pubkey(cert, key) == 1 && pag_x509_add_ca(cert, false) &&
           pag_x509_add_key_ids(cert, NULL) && X509_sign(cert, key, EVP_sha256()) > 0;
}

enum pag_err pag_ca_root_new(const char *name, uint64_t now, struct pag_ca **out, struct pag_fail *why)
{
    if (!organisation_ok(name)) {
        return pag_fail_set(why, PAG_E_CONFIG, "organisation must be 1 to 40 printable ASCII characters", 0);
    }
    X509 *cert = X509_new();
    EVP_PKEY *key = pag_crypto_key_new();
    bool fine = cert != NULL && key != NULL && fill_root(cert, key, name, now);
    ERR_clear_error();
    if (!fine) {
        X509_free(cert);
        EVP_PKEY_free(key);
        return pag_fail_set(why, PAG_E_INTERNAL, "cannot make root certificate", 0);
    }
    return own(cert, key, out, why);
}

/* ---- issuing authorities ---- */

static const char *word_of(enum pag_ca_kind kind)
{
    switch (kind) {
    case PAG_CA_DEVICE:
        return "device";
    case PAG_CA_SERVER:
        return "server";
    case PAG_CA_OPERATOR:
        return "operator";
    }
    return "unknown";
}

/* O of the root and its mark, so that an authority is recognised as part of one installation. */
static bool issuing_name(X509_NAME *subject, const X509 *root, enum pag_ca_kind kind, const char *turn)
{
    char text[80];
    const X509_NAME *from = X509_get_subject_name(root);
    if (X509_NAME_get_text_by_NID(pag_unconst(from), NID_organizationName, text, sizeof text) <= 0 ||
        !add_text(subject, NID_organizationName, text) ||
        X509_NAME_get_text_by_NID(pag_unconst(from), NID_commonName, text, sizeof text) <= 0) {
        return false;
    }
    char cn[64];
    const char *mark = strrchr(text, ' ');
    (void)snprintf(cn, sizeof cn, "Pagurus %s CA %.8s%s", word_of(kind), mark == NULL ? "" : mark + 1, turn);
    return add_text(subject, NID_commonName, cn);
}

bool pag_x509_fill_issuing(X509 *cert, EVP_PKEY *key, const struct pag_ca *root, enum pag_ca_kind kind,
                           const char *turn, uint64_t now)
{
    uint64_t until = now + (uint64_t)ISSUING_YEARS * YEAR_S;
    until = until < root->info.not_after ? until : root->info.not_after;
    return X509_set_version(cert, 2) == 1 && pag_x509_add_serial(cert) &&
           issuing_name(X509_get_subject_name(cert), root->cert, kind, turn) &&
           X509_set_issuer_name(cert, X509_get_subject_name(root->cert)) == 1 &&
           pag_x509_add_times(cert, now - SKEW_S, until) && X509_set_pubkey(cert, key) == 1 &&
           pag_x509_add_ca(cert, true) &&
           pag_x509_add_use(cert, kind == PAG_CA_SERVER ? PAG_X509_SERVER : PAG_X509_CLIENT) &&
           pag_x509_add_key_ids(cert, root->cert) && X509_sign(cert, root->key, EVP_sha256()) > 0;
}

enum pag_err pag_ca_issuing_new(const struct pag_ca *root, enum pag_ca_kind kind, uint64_t now,
                                struct pag_ca **out, struct pag_fail *why)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = pag_crypto_key_new();
    bool fine = cert != NULL && key != NULL && pag_x509_fill_issuing(cert, key, root, kind, "", now);
    ERR_clear_error();
    if (!fine) {
        X509_free(cert);
        EVP_PKEY_free(key);
        return pag_fail_set(why, PAG_E_INTERNAL, "cannot make issuing authority", 0);
    }
    return own(cert, key, out, why);
}

static bool fill_anchor(X509 *cert, const struct pag_ca *ca, uint64_t now)
{
    bool server = (X509_get_extended_key_usage(ca->cert) & XKU_SSL_SERVER) != 0;
    const X509_NAME *subject = X509_get_subject_name(ca->cert);
    return X509_set_version(cert, 2) == 1 && pag_x509_add_serial(cert) &&
           X509_set_subject_name(cert, subject) == 1 && X509_set_issuer_name(cert, subject) == 1 &&
           pag_x509_add_times(cert, now - SKEW_S, ca->info.not_after) &&
           X509_set_pubkey(cert, ca->key) == 1 && pag_x509_add_ca(cert, true) &&
           pag_x509_add_use(cert, server ? PAG_X509_SERVER : PAG_X509_CLIENT) &&
           pag_x509_add_key_ids(cert, NULL) && X509_sign(cert, ca->key, EVP_sha256()) > 0;
}

enum pag_err pag_ca_anchor(const struct pag_ca *ca, uint64_t now, struct pag_buf *der, struct pag_fail *why)
{
    X509 *cert = X509_new();
    unsigned char *bytes = NULL;
    int n = cert != NULL && fill_anchor(cert, ca, now) ? i2d_X509(cert, &bytes) : -1;
    enum pag_err err = PAG_OK;
    if (n <= 0) {
        err = pag_fail_set(why, PAG_E_INTERNAL, "cannot make anchor", 0);
    } else if ((size_t)n > der->cap - der->n) {
        err = pag_fail_set(why, PAG_E_SPACE, "no space for anchor", (uint64_t)n);
    } else {
        memcpy(der->p + der->n, bytes, (size_t)n);
        der->n += (size_t)n;
    }
    OPENSSL_free(bytes);
    X509_free(cert);
    ERR_clear_error();
    return err;
}

/* ---- loading ---- */

static X509 *first_certificate(const char *path, struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    if (pag_fs_read(path, FILE_MAX, &pem, why) != PAG_OK) {
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    pag_fs_buf_free(&pem);
    ERR_clear_error();
    if (cert == NULL) {
        (void)pag_fail_set(why, PAG_E_CONFIG, "no certificate in the authority's file", 0);
    }
    return cert;
}

enum pag_err pag_ca_load(const char *cert_file, const char *key_file, const char *passphrase,
                         struct pag_ca **out, struct pag_fail *why)
{
    struct pag_fail local = { PAG_E_CONFIG, "", 0 };
    why = why == NULL ? &local : why;
    EVP_PKEY *key = NULL;
    X509 *cert = first_certificate(cert_file, why);
    if (cert == NULL) {
        return why->code;
    }
    enum pag_err err = pag_x509_key_load(key_file, passphrase, &key, why);
    if (err == PAG_OK && X509_check_private_key(cert, key) != 1) {
        err =
            pag_fail_set(why, PAG_E_CONFIG, "certificate and key of the authority do not belong together", 0);
    }
    if (err == PAG_OK && X509_check_ca(cert) != 1) {
        err = pag_fail_set(why, PAG_E_CONFIG, "certificate is not that of an authority", 0);
    }
    ERR_clear_error();
    if (err != PAG_OK) {
        X509_free(cert);
        EVP_PKEY_free(key);
        return err;
    }
    return own(cert, key, out, why);
}
