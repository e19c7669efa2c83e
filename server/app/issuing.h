#ifndef PAG_SERVER_APP_ISSUING_H
#define PAG_SERVER_APP_ISSUING_H

#include "core/native.h"
#include "host/x509.h"
#include "server/app/op.h"
#include "server/domain/enrollment.h"

/* Of this room only. One certificate on its way: for claims, renewals and administrators. */

struct pag_issuing {
    struct pag_issued issued;
    struct pag_product product;
    struct pag_device device;
    bool is_new;
    bool rsa; /* the request's key */
    uint8_t key[PAG_SHA256_BYTES];
    /* claims */
    struct pag_claim_code code;
    const char *address;            /* of the peer */
    const char *proven;             /* whose certificate it has shown, or NULL */
    const EVP_PKEY *own;            /* made here, or NULL */
    char id[PAG_DEVICE_ID_MAX + 1]; /* of the device */
    uint8_t claim[PAG_SHA256_BYTES];
    char mac[13];
    bool repeated; /* the answer was given before */
    struct pag_cert_row row;
};

/* Whether a request is for this device and asks for no more than it may get. PAG_E_RANGE with a refusal. */
enum pag_err pag_issuing_check(struct pag_call *call, const struct pag_issuing *i, const char *device,
                               struct pag_span csr);
/* Signs; fills issued and row, whose der lies in issued. csr is not looked at when there is a key of our own.
 */
enum pag_err pag_issuing_make(struct pag_call *call, struct pag_issuing *i, const char *device,
                              struct pag_span csr, uint64_t lifetime_s);
/* The device's row with its new certificate, made when it is new. */
enum pag_err pag_issuing_keep(struct pag_store_tx *tx, struct pag_op *op, struct pag_issuing *i);

/* What a device is told. */
enum pag_err pag_issuing_answer(struct pag_call *call, const struct pag_issuing *i,
                                struct pag_native_enrolled *e);

#endif
