#ifndef PAG_SERVER_STORE_ROWS_DIALECT_H
#define PAG_SERVER_STORE_ROWS_DIALECT_H

#include "server/domain/dialect.h"
#include "server/store/rows.h"

/* Dialects of products and devices, and keys that the server has made for devices: migrations/0006. */

struct pag_dialect_row {
    char product[PAG_PRODUCT_HEX];
    char device[PAG_DEVICE_ID_MAX + 1]; /* "": the product's */
    enum pag_dialect dialect;
    struct pag_span config; /* sealed JSON */
    enum pag_device_key_kind key_kind;
    uint32_t series_days, series_rows;
    int64_t changed_ms;
};
enum pag_err pag_dialect_put(struct pag_db *db, const struct pag_dialect_row *r);
enum pag_err pag_dialect_get(struct pag_db *db, struct pag_arena *arena, const char *product,
                             const char *device, struct pag_dialect_row *out);
/* The dialect of a product, without its configuration; NONE also when it has no row. */
enum pag_err pag_dialect_of(struct pag_db *db, const char *product, struct pag_dialect_row *out);
enum pag_err pag_dialect_remove(struct pag_db *db, const char *product, const char *device);
/* Whether any product has this dialect. */
enum pag_err pag_dialect_used(struct pag_db *db, enum pag_dialect d, bool *used);

struct pag_sealed_key {
    char device[PAG_DEVICE_ID_MAX + 1];
    uint8_t serial[20];
    uint8_t serial_n;
    struct pag_span claim;  /* SHA-256, or empty */
    struct pag_span sealed; /* empty: it was fetched */
    int64_t made_ms;
};
/* In place of the one before. */
enum pag_err pag_sealed_key_put(struct pag_db *db, const struct pag_sealed_key *k);
enum pag_err pag_sealed_key_get(struct pag_db *db, struct pag_arena *arena, const char *device,
                                struct pag_sealed_key *out);
/* Only the first of two parallel fetches erases it. PAG_E_CONFLICT: the other did, or there is a newer one.
 */
enum pag_err pag_sealed_key_erase(struct pag_db *db, const struct pag_sealed_key *k);

#endif
