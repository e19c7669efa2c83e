#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "host/x509_priv.h"

/* What requests ask for beyond a key. Nothing of it is ever copied into a certificate. */

static enum pag_err refuse(struct pag_fail *why, const char *what)
{
    return pag_fail_set(why, PAG_E_DENIED, what, 0);
}

/* An id, or a MAC with separators. */
static bool readable(struct pag_span cn)
{
    char mac[13];
    return cn.n <= PAG_DEVICE_ID_MAX && (pag_device_id_ok(cn) || pag_mac_text(cn, mac) == PAG_OK);
}

static enum pag_err read_cn(X509_REQ *req, char cn[PAG_DEVICE_ID_MAX + 1], struct pag_fail *why)
{
    const X509_NAME *name = X509_REQ_get_subject_name(req);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    cn[0] = '\0';
    if (at < 0) {
        return PAG_OK;
    }
    if (X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) {
        return refuse(why, "request has several common names");
    }
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    struct pag_span text = { ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value) };
    if (!readable(text) || pag_text_copy(cn, PAG_DEVICE_ID_MAX + 1, text) != PAG_OK) {
        return refuse(why, "request's common name is no device id");
    }
    return PAG_OK;
}

enum pag_err pag_x509_csr_cn(struct pag_span csr, char cn[PAG_DEVICE_ID_MAX + 1], struct pag_fail *why)
{
    X509_REQ *req = NULL;
    enum pag_err err = pag_x509_csr_parse(csr, true, &req, why);
    if (err == PAG_OK) {
        err = read_cn(req, cn, why);
    }
    X509_REQ_free(req);
    return err;
}

static bool is_text(const ASN1_STRING *value, const char *text)
{
    return pag_span_eq_str(
        (struct pag_span){ ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value) }, text);
}

static enum pag_err check_names(const STACK_OF(X509_EXTENSION) * list, const char *id, const char *urn,
                                struct pag_fail *why)
{
    GENERAL_NAMES *names = X509V3_get_d2i(list, NID_subject_alt_name, NULL, NULL);
    bool fine = true;
    for (int i = 0; fine && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        fine = (name->type == GEN_DNS && is_text(name->d.dNSName, id)) ||
               (name->type == GEN_URI && is_text(name->d.uniformResourceIdentifier, urn));
    }
    GENERAL_NAMES_free(names);
    return fine ? PAG_OK : refuse(why, "request asks for another's alternative name");
}

static enum pag_err check_uses(const STACK_OF(X509_EXTENSION) * list, struct pag_fail *why)
{
    EXTENDED_KEY_USAGE *uses = X509V3_get_d2i(list, NID_ext_key_usage, NULL, NULL);
    bool fine = true;
    for (int i = 0; fine && i < sk_ASN1_OBJECT_num(uses); i++) {
        fine = OBJ_obj2nid(sk_ASN1_OBJECT_value(uses, i)) == NID_client_auth;
    }
    EXTENDED_KEY_USAGE_free(uses);
    return fine ? PAG_OK : refuse(why, "request asks for a use other than that of a client");
}

static enum pag_err check_authority(const STACK_OF(X509_EXTENSION) * list, struct pag_fail *why)
{
    BASIC_CONSTRAINTS *basic = X509V3_get_d2i(list, NID_basic_constraints, NULL, NULL);
    ASN1_BIT_STRING *usage = X509V3_get_d2i(list, NID_key_usage, NULL, NULL);
    bool signs = usage != NULL && (ASN1_BIT_STRING_get_bit(usage, 5) == 1 || /* keyCertSign, cRLSign */
                                   ASN1_BIT_STRING_get_bit(usage, 6) == 1);
    bool fine = !signs && (basic == NULL || basic->ca == 0);
    BASIC_CONSTRAINTS_free(basic);
    ASN1_BIT_STRING_free(usage);
    return fine ? PAG_OK : refuse(why, "request asks to be an authority");
}

/* One extension of a kind: what cannot be read, or is there twice, is not guessed at. */
static enum pag_err check_shape(const STACK_OF(X509_EXTENSION) * list, struct pag_fail *why)
{
    static const int kinds[] = { NID_subject_alt_name, NID_ext_key_usage, NID_basic_constraints,
                                 NID_key_usage };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int at = X509v3_get_ext_by_NID(list, kinds[i], -1);
        void *value = at < 0 ? NULL : X509V3_EXT_d2i(X509v3_get_ext(list, at));
        bool bad = at >= 0 && (value == NULL || X509v3_get_ext_by_NID(list, kinds[i], at) >= 0);
        switch (kinds[i]) {
        case NID_subject_alt_name:
            GENERAL_NAMES_free(value);
            break;
        case NID_ext_key_usage:
            EXTENDED_KEY_USAGE_free(value);
            break;
        case NID_basic_constraints:
            BASIC_CONSTRAINTS_free(value);
            break;
        default:
            ASN1_BIT_STRING_free(value);
            break;
        }
        if (bad) {
            return refuse(why, "request has an extension that cannot be read");
        }
    }
    return PAG_OK;
}

static void urn_of(const uint8_t product[PAG_PRODUCT_ID_BYTES], const char *id, char *out, size_t n)
{
    int at = snprintf(out, n, "urn:pagurus:");
    for (size_t i = 0; i < PAG_PRODUCT_ID_BYTES; i++) {
        at += snprintf(out + at, n - (size_t)at, "%02x", product[i]);
    }
    (void)snprintf(out + at, n - (size_t)at, ":%s", id);
}

enum pag_err pag_x509_csr_modest(struct pag_span csr, const char *id,
                                 const uint8_t product[PAG_PRODUCT_ID_BYTES], struct pag_fail *why)
{
    char urn[16 + 2 * PAG_PRODUCT_ID_BYTES + PAG_DEVICE_ID_MAX];
    X509_REQ *req = NULL;
    enum pag_err err = pag_x509_csr_parse(csr, true, &req, why);
    if (err != PAG_OK) {
        return err;
    }
    STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(req);
    urn_of(product, id, urn, sizeof urn);
    err = check_shape(list, why);
    err = err == PAG_OK ? check_authority(list, why) : err;
    err = err == PAG_OK ? check_uses(list, why) : err;
    err = err == PAG_OK ? check_names(list, id, urn, why) : err;
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_REQ_free(req);
    ERR_clear_error();
    return err;
}
