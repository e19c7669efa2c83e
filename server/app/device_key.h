#ifndef PAG_SERVER_APP_DEVICE_KEY_H
#define PAG_SERVER_APP_DEVICE_KEY_H

#include "server/app/app.h"
#include "server/domain/dialect.h"

/*
 * Keys that the server makes for devices that cannot: sealed in the database until their device fetches them,
 * erased with the first fetch, before the answer goes out.
 */

enum pag_device_file { PAG_DEVICE_FILE_CERT, PAG_DEVICE_FILE_KEY };

struct pag_device_file_in {
    enum pag_device_file file;
    const char *product;   /* hex id or name: of the address */
    const char *device;    /* whose file: 12 hex digits */
    const char *proven;    /* whose certificate the peer has shown; NULL: none */
    struct pag_span claim; /* text, empty: none */
    const char *address;   /* of the peer */
};
/*
 * out: certificate (DER) or private key (PKCS#8 PEM), in the arena. To the device whose own certificate says
 * so; without one for a claim, which makes key and certificate when it is redeemed and answers for both
 * files. PAG_E_UNAUTHENTICATED neither; PAG_E_DENIED another device's, or the claim was refused;
 * PAG_E_PRODUCT a claim or device of another product; PAG_E_EXPIRED the key was fetched before;
 * PAG_E_NOT_FOUND none is there; PAG_E_LIMIT; PAG_E_UNSUPPORTED no key to seal with.
 */
void pag_app_device_file(struct pag_call *call, const struct pag_device_file_in *in, struct pag_span *out);

struct pag_device_key_out {
    char serial[41]; /* of the new certificate, hex */
};
/* An administrator has a new key and certificate made, to be fetched by the device with the ones it has. */
void pag_app_device_key_new(struct pag_call *call, const char *device, struct pag_device_key_out *out);

#endif
