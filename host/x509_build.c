#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/rand.h"
#include "host/x509_priv.h"

/* bits of keyUsage, RFC 5280 4.2.1.3 */
enum { KEY_ID_BYTES = 20, BIT_SIGNATURE = 0, BIT_CERT_SIGN = 5, BIT_CRL_SIGN = 6 };

bool pag_x509_add_serial(X509 *cert)
{
    uint8_t bytes[16];
    pag_rand_bytes(bytes, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and always 16 bytes */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool fine = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return fine;
}

bool pag_x509_add_times(X509 *cert, uint64_t from, uint64_t to)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)to) != NULL;
}

static bool add_basic(X509 *cert, bool ca, bool pathlen_zero)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    if (bc == NULL) {
        return false;
    }
    bool fine = true;
    bc->ca = ca ? 0xff : 0;
    if (pathlen_zero) {
        bc->pathlen = ASN1_INTEGER_new();
        fine = bc->pathlen != NULL && ASN1_INTEGER_set(bc->pathlen, 0) == 1;
    }
    fine = fine && X509_add1_ext_i2d(cert, NID_basic_constraints, bc, 1, X509V3_ADD_DEFAULT) == 1;
    BASIC_CONSTRAINTS_free(bc);
    return fine;
}

static bool add_usage(X509 *cert, const int *bits, size_t n)
{
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    bool fine = usage != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        fine = ASN1_BIT_STRING_set_bit(usage, bits[i], 1) == 1;
    }
    fine = fine && X509_add1_ext_i2d(cert, NID_key_usage, usage, 1, X509V3_ADD_DEFAULT) == 1;
    ASN1_BIT_STRING_free(usage);
    return fine;
}

bool pag_x509_add_ca(X509 *cert, bool pathlen_zero)
{
    static const int bits[] = { BIT_CERT_SIGN, BIT_CRL_SIGN };
    return add_basic(cert, true, pathlen_zero) && add_usage(cert, bits, 2);
}

bool pag_x509_add_leaf(X509 *cert)
{
    static const int bits[] = { BIT_SIGNATURE };
    return add_basic(cert, false, false) && add_usage(cert, bits, 1);
}

bool pag_x509_add_use(X509 *cert, enum pag_x509_use use)
{
    EXTENDED_KEY_USAGE *list = sk_ASN1_OBJECT_new_null();
    ASN1_OBJECT *object =
        OBJ_nid2obj(use == PAG_X509_CLIENT ? NID_client_auth : NID_server_auth); /* static */
    bool fine = list != NULL && object != NULL && sk_ASN1_OBJECT_push(list, object) > 0 &&
                X509_add1_ext_i2d(cert, NID_ext_key_usage, list, 0, X509V3_ADD_DEFAULT) == 1;
    sk_ASN1_OBJECT_free(list);
    return fine;
}

/* RFC 7093 2 (1): the first 160 bits of the SHA-256 of the public key. */
static bool key_id(const X509 *cert, ASN1_OCTET_STRING *out)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return X509_pubkey_digest(cert, EVP_sha256(), digest, &n) == 1 &&
           ASN1_OCTET_STRING_set(out, digest, KEY_ID_BYTES) == 1;
}

bool pag_x509_add_key_ids(X509 *cert, const X509 *issuer)
{
    ASN1_OCTET_STRING *own = ASN1_OCTET_STRING_new();
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool fine = own != NULL && authority != NULL && key_id(cert, own) &&
                X509_add1_ext_i2d(cert, NID_subject_key_identifier, own, 0, X509V3_ADD_DEFAULT) == 1;
    if (fine) {
        authority->keyid = ASN1_OCTET_STRING_new();
        fine = authority->keyid != NULL && key_id(issuer == NULL ? cert : issuer, authority->keyid) &&
               X509_add1_ext_i2d(cert, NID_authority_key_identifier, authority, 0, X509V3_ADD_DEFAULT) == 1;
    }
    ASN1_OCTET_STRING_free(own);
    AUTHORITY_KEYID_free(authority);
    return fine;
}

/* ---- alternative names ---- */

/* type: GEN_URI, GEN_DNS (text) or GEN_IPADD (bytes). */
static bool push_name(GENERAL_NAMES *names, int type, const void *data, size_t n)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (name == NULL || value == NULL || ASN1_STRING_set(value, data, (int)n) != 1) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return true;
}

static bool add_san(X509 *cert, GENERAL_NAMES *names)
{
    return X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

bool pag_x509_add_uri(X509 *cert, const uint8_t *product, const char *cn)
{
    static const char digits[] = "0123456789abcdef";
    char uri[128];
    char hex[2 * PAG_PRODUCT_ID_BYTES + 1] = "";
    for (size_t i = 0; i < PAG_PRODUCT_ID_BYTES; i++) {
        hex[2 * i] = digits[product[i] >> 4];
        hex[2 * i + 1] = digits[product[i] & 15];
    }
    int n = snprintf(uri, sizeof uri, "urn:pagurus:%s:%s", hex, cn);
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool fine = names != NULL && n > 0 && (size_t)n < sizeof uri &&
                push_name(names, GEN_URI, uri, (size_t)n) && add_san(cert, names);
    GENERAL_NAMES_free(names);
    return fine;
}

/* Bytes of an address, 0 when the text is none. */
static size_t address_bytes(const char *text, uint8_t out[16])
{
    if (inet_pton(AF_INET, text, out) == 1) {
        return 4;
    }
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool label_ok(const char *label, size_t n)
{
    static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    return n > 0 && n <= 63 && label[0] != '-' && label[n - 1] != '-' && strspn(label, set) >= n;
}

bool pag_x509_name_ok(const char *name)
{
    uint8_t bytes[16];
    if (address_bytes(name, bytes) > 0) {
        return true;
    }
    if (strlen(name) > 253) {
        return false;
    }
    const char *at = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    while (true) {
        size_t n = strcspn(at, ".");
        if (!label_ok(at, n)) {
            return false;
        }
        if (at[n] == '\0') {
            return true;
        }
        at += n + 1;
    }
}

bool pag_x509_add_names(X509 *cert, const char *const *list, size_t n)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool fine = names != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        uint8_t bytes[16];
        size_t bytes_n = address_bytes(list[i], bytes);
        /* BearSSL looks at dNSName only, also for an address given as text */
        fine = push_name(names, GEN_DNS, list[i], strlen(list[i])) &&
               (bytes_n == 0 || push_name(names, GEN_IPADD, bytes, bytes_n));
    }
    fine = fine && add_san(cert, names);
    GENERAL_NAMES_free(names);
    return fine;
}
