#ifndef PAG_SERVER_APP_DIALECT_H
#define PAG_SERVER_APP_DIALECT_H

#include "server/app/app.h"
#include "server/domain/dialect.h"

/* Products whose devices speak secureESP8266, and what their devices are told. */

struct pag_dialect_settings {
    enum pag_dialect dialect;
    struct pag_span config; /* JSON of the head that owns it; sealed in the database */
    enum pag_device_key_kind key_kind;
    uint32_t series_days, series_rows; /* of the product */
    int64_t changed_ms;                /* 0: there is none */
};

/* Of a product (name or hex id), and over it of a device (NULL: none asked for). Without any: dialect NONE,
 * config empty, the defaults. PAG_E_NOT_FOUND: no such product or device. */
enum pag_err pag_app_dialect(struct pag_call *call, const char *product, const char *device,
                             struct pag_dialect_settings *of_product, struct pag_dialect_settings *of_device);
/* The dialect alone, by hex id. */
enum pag_err pag_app_dialect_of(struct pag_call *call, const char *product, enum pag_dialect *out);
/* Whether any product speaks it. */
enum pag_err pag_app_dialect_used(struct pag_call *call, enum pag_dialect d, bool *used);

struct pag_dialect_in {
    const char *product;                       /* name or hex id; NULL: the device's */
    const char *device;                        /* NULL: for the product itself */
    const struct pag_dialect_settings *change; /* NULL: remove */
};
/* In place of what there is. PAG_E_UNSUPPORTED: this server has no key to seal with. Event dialect.changed.
 */
void pag_app_dialect_put(struct pag_call *call, const struct pag_dialect_in *in);

#endif
