#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): timegm */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/x509_priv.h"

enum { CERT_MAX = 8192 };

bool pag_x509_id_ok(const char *id)
{
    size_t n = strnlen(id, PAG_DEVICE_ID_MAX + 1);
    return n > 0 && n <= PAG_DEVICE_ID_MAX && strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-") == n;
}

/* ---- PEM ---- */

enum pag_err pag_x509_pem_of_der(const char *label, struct pag_span der, struct pag_buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || der.n > INT32_MAX) {
        BIO_free(bio);
        return PAG_E_NO_MEMORY;
    }
    bool fine = PEM_write_bio(bio, label, "", der.p, (long)der.n) > 0;
    enum pag_err err = fine ? pag_x509_drain(bio, out) : PAG_E_NO_MEMORY;
    BIO_free(bio);
    return err;
}

static enum pag_err take_block(const uint8_t *der, long n, struct pag_buf *out)
{
    if (n < 0 || (size_t)n > out->cap - out->n) {
        return PAG_E_SPACE;
    }
    memcpy(out->p + out->n, der, (size_t)n);
    out->n += (size_t)n;
    return PAG_OK;
}

enum pag_err pag_x509_der_of_pem(const char *label, struct pag_span pem, struct pag_buf *out)
{
    BIO *bio = pem.n > INT32_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    if (bio == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = PAG_E_AGAIN;
    while (err == PAG_E_AGAIN) {
        char *name = NULL;
        char *header = NULL;
        unsigned char *der = NULL;
        long n = 0;
        if (PEM_read_bio(bio, &name, &header, &der, &n) != 1) {
            err =
                ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? PAG_E_NOT_FOUND : PAG_E_SYNTAX;
            break;
        }
        if (strcmp(name, label) == 0) {
            err = take_block(der, n, out);
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    ERR_clear_error();
    BIO_free(bio);
    return err;
}

static X509 *parse_pem(struct pag_span in)
{
    BIO *bio = BIO_new_mem_buf(in.p, (int)in.n);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return cert;
}

static X509 *parse_der(struct pag_span in)
{
    const unsigned char *at = in.p;
    X509 *cert = d2i_X509(NULL, &at, (long)in.n);
    if (cert != NULL && at != in.p + in.n) { /* bytes behind it */
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}

X509 *pag_x509_parse(struct pag_span in)
{
    if (in.n == 0 || in.n > CERT_MAX) {
        return NULL;
    }
    X509 *cert = in.p[0] == 0x30 ? parse_der(in) : parse_pem(in); /* 0x30: a DER SEQUENCE */
    ERR_clear_error();
    return cert;
}

/* ---- describing ---- */

static uint64_t unix_of(const ASN1_TIME *t)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1) {
        return 0;
    }
    time_t s = timegm(&tm);
    return s < 0 ? 0 : (uint64_t)s;
}

static void name_line(const X509_NAME *name, char out[256])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    out[0] = '\0';
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        long n = BIO_get_mem_data(bio, &p);
        size_t keep = n < 0 ? 0 : (size_t)n;
        keep = keep > 255 ? 255 : keep;
        memcpy(out, p, keep);
        out[keep] = '\0';
    }
    BIO_free(bio);
}

static void single_cn(const X509_NAME *name, char out[PAG_DEVICE_ID_MAX + 1])
{
    char text[PAG_DEVICE_ID_MAX + 1] = "";
    out[0] = '\0';
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) {
        return;
    }
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    size_t n = (size_t)ASN1_STRING_length(value);
    int type = ASN1_STRING_type(value);
    bool bytes = type == V_ASN1_UTF8STRING || type == V_ASN1_PRINTABLESTRING || type == V_ASN1_IA5STRING;
    if (!bytes || n == 0 || n > PAG_DEVICE_ID_MAX || memchr(ASN1_STRING_get0_data(value), 0, n) != NULL) {
        return;
    }
    memcpy(text, ASN1_STRING_get0_data(value), n);
    if (pag_x509_id_ok(text)) {
        memcpy(out, text, sizeof text);
    }
}

/* urn:pagurus:<16 hex>:<cn> */
static bool product_of_uri(const ASN1_IA5STRING *uri, const char *cn, char out[33])
{
    static const char head[] = "urn:pagurus:";
    enum { HEAD = sizeof head - 1, HEX = 2 * PAG_PRODUCT_ID_BYTES };
    const char *p = (const char *)ASN1_STRING_get0_data(uri);
    size_t n = (size_t)ASN1_STRING_length(uri);
    size_t cn_n = strlen(cn);
    if (cn_n == 0 || n != HEAD + HEX + 1 + cn_n || memcmp(p, head, HEAD) != 0 || p[HEAD + HEX] != ':' ||
        memcmp(p + HEAD + HEX + 1, cn, cn_n) != 0) {
        return false;
    }
    for (int i = 0; i < HEX; i++) {
        if (p[HEAD + i] == '\0' || strchr("0123456789abcdef", p[HEAD + i]) == NULL) {
            return false;
        }
    }
    memcpy(out, p + HEAD, HEX);
    out[HEX] = '\0';
    return true;
}

static void find_product(const X509 *cert, struct pag_x509_info *info)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI &&
            product_of_uri(name->d.uniformResourceIdentifier, info->cn, info->product)) {
            break;
        }
    }
    GENERAL_NAMES_free(names);
}

static bool take_serial(const X509 *cert, struct pag_x509_info *info)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int n = ASN1_STRING_length(serial);
    if (n <= 0 || n > (int)sizeof info->serial || ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER) {
        return false;
    }
    memcpy(info->serial, ASN1_STRING_get0_data(serial), (size_t)n);
    info->serial_n = (uint8_t)n;
    return true;
}

enum pag_err pag_x509_describe(X509 *cert, struct pag_x509_info *out)
{
    struct pag_x509_info info;
    unsigned char *spki = NULL;
    unsigned n = 0;
    memset(&info, 0, sizeof info);
    int spki_n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
    if (spki_n <= 0 || X509_digest(cert, EVP_sha256(), info.fingerprint, &n) != 1 ||
        !take_serial(cert, &info)) {
        OPENSSL_free(spki);
        return PAG_E_SYNTAX;
    }
    (void)SHA256(spki, (size_t)spki_n, info.key_sha256);
    OPENSSL_free(spki);
    single_cn(X509_get_subject_name(cert), info.cn);
    name_line(X509_get_subject_name(cert), info.subject);
    name_line(X509_get_issuer_name(cert), info.issuer);
    find_product(cert, &info);
    info.not_before = unix_of(X509_get0_notBefore(cert));
    info.not_after = unix_of(X509_get0_notAfter(cert));
    info.is_ca = X509_check_ca(cert) == 1;
    ERR_clear_error();
    *out = info;
    return PAG_OK;
}

enum pag_err pag_x509_info(struct pag_span in, struct pag_x509_info *out)
{
    if (in.n > CERT_MAX) {
        return PAG_E_LIMIT;
    }
    X509 *cert = pag_x509_parse(in);
    if (cert == NULL) {
        return PAG_E_SYNTAX;
    }
    enum pag_err err = pag_x509_describe(cert, out);
    X509_free(cert);
    return err;
}

enum pag_err pag_x509_dns_names(struct pag_span in, void (*take)(void *ctx, const char *name), void *ctx)
{
    X509 *cert = in.n > CERT_MAX ? NULL : pag_x509_parse(in);
    if (cert == NULL) {
        return in.n > CERT_MAX ? PAG_E_LIMIT : PAG_E_SYNTAX;
    }
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char text[256];
        size_t n = name->type == GEN_DNS ? (size_t)ASN1_STRING_length(name->d.dNSName) : 0;
        if (n > 0 && n < sizeof text && memchr(ASN1_STRING_get0_data(name->d.dNSName), 0, n) == NULL) {
            memcpy(text, ASN1_STRING_get0_data(name->d.dNSName), n);
            text[n] = '\0';
            take(ctx, text);
        }
    }
    GENERAL_NAMES_free(names);
    X509_free(cert);
    return PAG_OK;
}

/* ---- verifying ---- */

static enum pag_err verify(X509_STORE *store, X509 *leaf, bool server, uint64_t now, struct pag_fail *why)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, store, leaf, NULL) != 1) {
        X509_STORE_CTX_free(ctx);
        return PAG_E_NO_MEMORY;
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)now);
    (void)X509_VERIFY_PARAM_set_purpose(param, server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
    enum pag_err err = PAG_OK;
    if (X509_verify_cert(ctx) != 1) {
        int code = X509_STORE_CTX_get_error(ctx);
        err = pag_fail_set(why, PAG_E_TLS, X509_verify_cert_error_string(code), (uint64_t)code);
    }
    X509_STORE_CTX_free(ctx);
    return err;
}

enum pag_err pag_x509_verify(struct pag_span leaf, const char *anchors_file, bool server, uint64_t now,
                             struct pag_fail *why)
{
    X509 *cert = pag_x509_parse(leaf);
    X509_STORE *store = X509_STORE_new();
    enum pag_err err = PAG_E_NO_MEMORY;
    if (cert == NULL) {
        err = pag_fail_set(why, PAG_E_SYNTAX, "not a certificate", 0);
    } else if (store != NULL && X509_STORE_load_file(store, anchors_file) != 1) {
        err = pag_fail_set(why, PAG_E_CONFIG, "cannot read trusted authorities", 0);
    } else if (store != NULL) {
        err = verify(store, cert, server, now, why);
    }
    X509_STORE_free(store);
    X509_free(cert);
    ERR_clear_error();
    return err;
}

enum pag_err pag_x509_key_of_cert(struct pag_span der, EVP_PKEY **out)
{
    const unsigned char *at = der.p;
    X509 *cert = d2i_X509(NULL, &at, (long)der.n);
    *out = cert != NULL && at == der.p + der.n ? X509_get_pubkey(cert) : NULL;
    X509_free(cert);
    return *out != NULL ? PAG_OK : PAG_E_SYNTAX;
}
