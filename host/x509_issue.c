#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/unconst.h"
#include "host/x509_priv.h"

/* Leaf certificates and revocation lists. */

enum { SKEW_S = 3600, CRL_SKEW_S = 300 };

static uint64_t until(const struct pag_ca *ca, const struct pag_cert_order *order)
{
    uint64_t end = order->now + order->lifetime_s;
    return end < ca->info.not_after ? end : ca->info.not_after;
}

static bool fill_leaf(X509 *cert, const struct pag_ca *ca, EVP_PKEY *key, const struct pag_cert_order *order,
                      enum pag_x509_use use)
{
    bool fine = X509_set_version(cert, 2) == 1 && pag_x509_add_serial(cert) &&
                X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_UTF8,
                                           (const unsigned char *)order->cn, -1, -1, 0) == 1 &&
                X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
                pag_x509_add_times(cert, order->now - SKEW_S, until(ca, order)) &&
                X509_set_pubkey(cert, key) == 1 && pag_x509_add_leaf(cert) && pag_x509_add_use(cert, use) &&
                pag_x509_add_key_ids(cert, ca->cert);
    if (fine && order->product != NULL) {
        fine = pag_x509_add_uri(cert, order->product, order->cn);
    }
    if (fine && order->names_n > 0) {
        fine = pag_x509_add_names(cert, order->names, order->names_n);
    }
    return fine;
}

/* Signs and encodes into out (der only). */
static enum pag_err sign_into(X509 *cert, EVP_PKEY *key, struct pag_issued *out, struct pag_fail *why)
{
    int n = X509_sign(cert, key, EVP_sha256()) > 0 ? i2d_X509(cert, NULL) : -1;
    if (n <= 0) {
        return pag_fail_set(why, PAG_E_INTERNAL, "cannot sign certificate", 0);
    }
    if ((size_t)n > sizeof out->der) {
        return pag_fail_set(why, PAG_E_LIMIT, "certificate would be longer than 2048 bytes", (uint64_t)n);
    }
    unsigned char *at = out->der;
    out->der_n = (size_t)i2d_X509(cert, &at);
    return PAG_OK;
}

/* The throw-away signature comes first: what the profile forbids is never signed by the authority. */
static enum pag_err sign_twice(X509 *cert, const struct pag_ca *ca, const struct pag_cert_order *order,
                               enum pag_x509_use use, struct pag_issued *out, struct pag_fail *why)
{
    enum pag_err err = sign_into(cert, ca->throw_away, out, why);
    if (err != PAG_OK) {
        return err;
    }
    const char *bad = pag_x509_lint((struct pag_span){ out->der, out->der_n }, ca, order, use);
    if (bad != NULL) {
        return pag_fail_set(why, PAG_E_INTERNAL, bad, 0);
    }
    err = sign_into(cert, ca->key, out, why);
    if (err == PAG_OK && X509_verify(cert, ca->key) != 1) {
        err = pag_fail_set(why, PAG_E_INTERNAL, "own signature does not verify", 0);
    }
    return err;
}

static enum pag_err issue(const struct pag_ca *ca, EVP_PKEY *key, const struct pag_cert_order *order,
                          enum pag_x509_use use, struct pag_issued *out, struct pag_fail *why)
{
    if (until(ca, order) <= order->now) {
        return pag_fail_set(why, PAG_E_EXPIRED, "the authority has expired", ca->info.not_after);
    }
    X509 *cert = X509_new();
    struct pag_issued made;
    memset(&made, 0, sizeof made);
    enum pag_err err = PAG_E_NO_MEMORY;
    if (cert != NULL && fill_leaf(cert, ca, key, order, use)) {
        err = sign_twice(cert, ca, order, use, &made, why);
    } else {
        (void)pag_fail_set(why, err, "cannot build certificate", 0);
    }
    if (err == PAG_OK) {
        err = pag_x509_describe(cert, &made.info);
    }
    X509_free(cert);
    ERR_clear_error();
    if (err == PAG_OK) {
        *out = made;
    }
    return err;
}

/* RSA is for devices whose TLS library is old: the server makes those keys itself. */
static bool key_fits(const EVP_PKEY *key)
{
    uint8_t spki[PAG_P256_SPKI_BYTES];
    return key != NULL && (pag_crypto_spki(key, spki) == PAG_OK ||
                           (EVP_PKEY_is_a(key, "RSA") == 1 && EVP_PKEY_get_bits(key) == PAG_X509_RSA_BITS));
}

static enum pag_err check_client_order(const struct pag_cert_order *order, bool service, struct pag_fail *why)
{
    if (!pag_x509_id_ok(order->cn)) {
        return pag_fail_set(why, PAG_E_DENIED, "name must be of [0-9a-z-], 1 to 64", 0);
    }
    if (!service && strncmp(order->cn, "svc-", 4) == 0) {
        return pag_fail_set(why, PAG_E_DENIED, "names that begin with svc- are the server's own", 0);
    }
    return order->names_n == 0 ? PAG_OK : pag_fail_set(why, PAG_E_INTERNAL, "a client has no host names", 0);
}

enum pag_err pag_ca_issue_client(const struct pag_ca *ca, struct pag_span csr,
                                 const struct pag_cert_order *order, struct pag_issued *out,
                                 struct pag_fail *why)
{
    X509_REQ *req = NULL;
    enum pag_err err = check_client_order(order, false, why);
    if (err == PAG_OK) {
        err = pag_x509_csr_parse(csr, order->rsa, &req, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    err = issue(ca, X509_REQ_get0_pubkey(req), order, PAG_X509_CLIENT, out, why);
    X509_REQ_free(req);
    return err;
}

enum pag_err pag_ca_issue_client_key(const struct pag_ca *ca, const EVP_PKEY *key,
                                     const struct pag_cert_order *order, struct pag_issued *out,
                                     struct pag_fail *why)
{
    uint8_t spki[PAG_P256_SPKI_BYTES];
    enum pag_err err = check_client_order(order, true, why);
    if (err == PAG_OK && pag_crypto_spki(key, spki) != PAG_OK) {
        err = pag_fail_set(why, PAG_E_UNSUPPORTED, "key is not of the curve P-256", 0);
    }
    return err != PAG_OK ? err : issue(ca, pag_unconst(key), order, PAG_X509_CLIENT, out, why);
}

enum pag_err pag_ca_issue_device_key(const struct pag_ca *ca, const EVP_PKEY *key,
                                     const struct pag_cert_order *order, struct pag_issued *out,
                                     struct pag_fail *why)
{
    enum pag_err err = check_client_order(order, false, why);
    if (err == PAG_OK && !key_fits(key)) {
        err =
            pag_fail_set(why, PAG_E_UNSUPPORTED, "key is neither of the curve P-256 nor RSA of 2048 bits", 0);
    }
    return err != PAG_OK ? err : issue(ca, pag_unconst(key), order, PAG_X509_CLIENT, out, why);
}

enum pag_err pag_ca_issue_server(const struct pag_ca *ca, const EVP_PKEY *key,
                                 const struct pag_cert_order *order, struct pag_issued *out,
                                 struct pag_fail *why)
{
    if (order->names_n == 0 || order->names_n > PAG_CERT_NAMES_MAX) {
        return pag_fail_set(why, PAG_E_CONFIG, "a server certificate needs 1 to 32 names", order->names_n);
    }
    for (size_t i = 0; i < order->names_n; i++) {
        if (!pag_x509_name_ok(order->names[i])) {
            return pag_fail_set(why, PAG_E_CONFIG, "neither a host name nor an address", i);
        }
    }
    struct pag_cert_order mine = *order;
    mine.product = NULL;
    mine.cn = order->cn != NULL ? order->cn : order->names[0];
    if (strlen(mine.cn) > PAG_DEVICE_ID_MAX) { /* ub-common-name; clients look at the alternative names */
        mine.cn = "pagurusd";
    }
    return issue(ca, pag_unconst(key), &mine, PAG_X509_SERVER, out, why);
}

/* ---- lint ---- */

static const char *lint_subject(X509 *cert, const struct pag_cert_order *order)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    if (X509_NAME_entry_count(subject) != 1) {
        return "subject is not a single name";
    }
    const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, 0);
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(entry);
    bool same = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == NID_commonName &&
                (size_t)ASN1_STRING_length(value) == strlen(order->cn) &&
                memcmp(ASN1_STRING_get0_data(value), order->cn, strlen(order->cn)) == 0;
    return same ? NULL : "subject is not the ordered name";
}

static const char *lint_extensions(X509 *cert, const struct pag_cert_order *order, enum pag_x509_use use)
{
    uint32_t xku = use == PAG_X509_CLIENT ? XKU_SSL_CLIENT : XKU_SSL_SERVER;
    bool san = order->product != NULL || order->names_n > 0;
    int want = san ? 6 : 5; /* basicConstraints, keyUsage, extKeyUsage, SKI, AKI, perhaps subjectAltName */
    int basic = X509_get_ext_by_NID(cert, NID_basic_constraints, -1);
    int usage = X509_get_ext_by_NID(cert, NID_key_usage, -1);
    if (X509_get_ext_count(cert) != want || basic < 0 || usage < 0) {
        return "extensions are not those of the profile";
    }
    if (X509_check_ca(cert) != 0 || !X509_EXTENSION_get_critical(X509_get_ext(cert, basic))) {
        return "basicConstraints is not CA:FALSE, critical";
    }
    if (X509_get_key_usage(cert) != X509v3_KU_DIGITAL_SIGNATURE ||
        !X509_EXTENSION_get_critical(X509_get_ext(cert, usage))) {
        return "keyUsage is not digitalSignature, critical";
    }
    if (X509_get_extended_key_usage(cert) != xku) {
        return "extendedKeyUsage is not the one ordered";
    }
    if ((X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) >= 0) != san) {
        return "subjectAltName is missing or too much";
    }
    return NULL;
}

static const char *lint_rest(X509 *cert, const struct pag_ca *ca, const struct pag_cert_order *order)
{
    struct pag_x509_info info;
    if (pag_x509_describe(cert, &info) != PAG_OK || info.serial_n != 16) {
        return "serial is not 128 bits";
    }
    if (X509_get_version(cert) != 2 || !key_fits(X509_get0_pubkey(cert))) {
        return "not a version 3 certificate of a P-256 or RSA-2048 key";
    }
    if (info.not_before >= info.not_after || info.not_before > order->now ||
        info.not_after > ca->info.not_after) {
        return "validity is wrong";
    }
    if (order->product != NULL && info.product[0] == '\0') {
        return "product is not in the subjectAltName";
    }
    const ASN1_OCTET_STRING *aki = X509_get0_authority_key_id(cert);
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(ca->cert);
    if (aki == NULL || ski == NULL || ASN1_OCTET_STRING_cmp(aki, ski) != 0) {
        return "authorityKeyIdentifier is not the authority's";
    }
    return X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(ca->cert)) == 0
               ? NULL
               : "issuer is not the authority";
}

const char *pag_x509_lint(struct pag_span der, const struct pag_ca *ca, const struct pag_cert_order *order,
                          enum pag_x509_use use)
{
    X509 *cert = pag_x509_parse(der);
    if (cert == NULL) {
        return "cannot be read back";
    }
    const char *bad = lint_subject(cert, order);
    bad = bad != NULL ? bad : lint_extensions(cert, order, use);
    bad = bad != NULL ? bad : lint_rest(cert, ca, order);
    X509_free(cert);
    return bad;
}

/* ---- revocation ---- */

static bool add_revoked(X509_CRL *crl, const struct pag_revoked *entry)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    BIGNUM *number = BN_bin2bn(entry->serial, entry->serial_n, NULL);
    ASN1_INTEGER *serial = number == NULL ? NULL : BN_to_ASN1_INTEGER(number, NULL);
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)entry->at);
    bool fine = revoked != NULL && serial != NULL && at != NULL &&
                X509_REVOKED_set_serialNumber(revoked, serial) == 1 &&
                X509_REVOKED_set_revocationDate(revoked, at) == 1 && X509_CRL_add0_revoked(crl, revoked) == 1;
    if (!fine) {
        X509_REVOKED_free(revoked);
    }
    ASN1_TIME_free(at);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    return fine;
}

static bool add_crl_extensions(X509_CRL *crl, const struct pag_ca *ca, uint64_t number)
{
    ASN1_INTEGER *n = ASN1_INTEGER_new();
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool fine = n != NULL && authority != NULL && ASN1_INTEGER_set_uint64(n, number) == 1;
    if (fine) {
        authority->keyid = ASN1_OCTET_STRING_dup(X509_get0_subject_key_id(ca->cert));
        fine =
            authority->keyid != NULL &&
            X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0, X509V3_ADD_DEFAULT) == 1 &&
            X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, X509V3_ADD_DEFAULT) == 1;
    }
    AUTHORITY_KEYID_free(authority);
    ASN1_INTEGER_free(n);
    return fine;
}

static bool set_crl_times(X509_CRL *crl, uint64_t from, uint64_t to)
{
    ASN1_TIME *last = ASN1_TIME_set(NULL, (time_t)from);
    ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)to);
    bool fine = last != NULL && next != NULL && X509_CRL_set1_lastUpdate(crl, last) == 1 &&
                X509_CRL_set1_nextUpdate(crl, next) == 1;
    ASN1_TIME_free(last);
    ASN1_TIME_free(next);
    return fine;
}

static bool fill_crl(X509_CRL *crl, const struct pag_ca *ca, const struct pag_crl_order *order)
{
    bool fine = X509_CRL_set_version(crl, 1) == 1 &&
                X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1 &&
                set_crl_times(crl, order->now - CRL_SKEW_S, order->now + order->valid_s) &&
                add_crl_extensions(crl, ca, order->number);
    for (size_t i = 0; i < order->n && fine; i++) {
        fine = add_revoked(crl, &order->list[i]);
    }
    return fine && X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0;
}

enum pag_err pag_ca_crl(const struct pag_ca *ca, const struct pag_crl_order *order, struct pag_buf *out,
                        struct pag_fail *why)
{
    X509_CRL *crl = X509_CRL_new();
    BIO *bio = BIO_new(BIO_s_mem());
    enum pag_err err = PAG_E_NO_MEMORY;
    if (crl != NULL && bio != NULL && fill_crl(crl, ca, order) && PEM_write_bio_X509_CRL(bio, crl) == 1) {
        err = pag_x509_drain_new(bio, out);
    }
    BIO_free(bio);
    X509_CRL_free(crl);
    ERR_clear_error();
    return err == PAG_OK ? PAG_OK : pag_fail_set(why, err, "cannot make revocation list", 0);
}
