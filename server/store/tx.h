#ifndef PAG_SERVER_STORE_TX_H
#define PAG_SERVER_STORE_TX_H

#include "host/arena.h"
#include "server/domain/event.h"
#include "server/domain/planner.h"
#include "server/store/db.h"
#include "server/store/store.h"

/* Inside intents and reads: what store.h keeps opaque. */

struct pag_db *pag_store_tx_db(struct pag_store_tx *tx);
int64_t pag_store_tx_now(const struct pag_store_tx *tx); /* Unix ms, the same for a whole group */
struct pag_db *pag_store_reader_db(struct pag_store_reader *r);

/* ---- events and audit ---- */
struct pag_event_in {
    const char *type;
    const char *product, *device, *actor; /* NULL: "" */
    const struct pag_field *field;
    size_t field_n;
};
enum pag_err pag_store_event_add(struct pag_store_tx *tx, const struct pag_event_in *in);
/* One operator action in the hash chain (docs/operating/storage.md), and the same as an event. object: what
 * was acted on. */
enum pag_err pag_store_audit_add(struct pag_store_tx *tx, const struct pag_event_in *in, const char *object);
/* Walks the chain. PAG_E_DIGEST: *seq is the first row that does not fit. */
enum pag_err pag_store_audit_verify(struct pag_db *db, int64_t *seq);

#define PAG_EVENT_FIELDS(...)                                                                                \
    (const struct pag_field[])                                                                               \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define PAG_EVENT_N(...) (sizeof((const struct pag_field[]){ __VA_ARGS__ }) / sizeof(struct pag_field))

/* ---- what memory holds beside the database; all take effect after the commit, before done ---- */

/* The product's catalog must be built again. */
void pag_store_tx_dirty(struct pag_store_tx *tx, const char *product);
/* This certificate is refused from now on. */
void pag_store_tx_deny(struct pag_store_tx *tx, const uint8_t *serial, size_t n);

bool pag_store_denied(struct pag_store *store, const uint8_t *serial, size_t n); /* any thread */
uint64_t pag_store_deny_epoch(struct pag_store *store);

/*
 * Snapshot of a product by hex id or name; NULL: no such product. Valid until the next call of this function
 * with this reader.
 */
const struct pag_catalog *pag_store_catalog(struct pag_store_reader *r, const char *product);
/* The product that owns the longest mount which takes path (as sent); NULL: none. *mount and the answer are
 * valid as above; *rest points into path. */
const struct pag_catalog *pag_store_mount(struct pag_store_reader *r, struct pag_span path,
                                          const struct pag_mount **mount, struct pag_span *rest);

/*
 * The same inside an intent, valid until it returns. PAG_E_BUSY: the product has changed in this very group;
 * submit again. PAG_E_NOT_FOUND.
 */
enum pag_err pag_store_tx_catalog(struct pag_store_tx *tx, const char *id, const struct pag_catalog **out);

/* It was seen (polled) now; written later, newest wins. */
void pag_store_touch(struct pag_store_reader *r, const char *device, int64_t seen_ms, bool polled);
void pag_store_touch_token(struct pag_store_reader *r, const char *token, int64_t used_ms);

/* ---- blobs: content-addressed files ---- */

/* Copies bytes of fd (from 0) into the store. PAG_OK also when it is there already. PAG_E_DIGEST the content
 * is not that, PAG_E_SPACE disk full, PAG_E_IO. Nothing is visible on an error. Blocks: call on the worker.
 */
enum pag_err pag_store_blob_put(struct pag_store *store, int fd, uint64_t bytes,
                                const uint8_t sha256[PAG_SHA256_BYTES]);
/* *fd is the caller's. PAG_E_NOT_FOUND. */
enum pag_err pag_store_blob_open(struct pag_store *store, const uint8_t sha256[PAG_SHA256_BYTES], int *fd,
                                 uint64_t *bytes);
/* Reads a whole file (at most max) into memory; release with pag_store_file_free. */
enum pag_err pag_store_file_read(int fd, uint64_t bytes, uint64_t max, struct pag_buf *out);
/* The same by its digest. */
enum pag_err pag_store_blob_read(struct pag_store *store, const uint8_t sha256[PAG_SHA256_BYTES],
                                 uint64_t max, struct pag_buf *out);
void pag_store_file_free(struct pag_buf *b);

/* MD5 of a file, and of each form its header may have in flash (docs/spec/httpupdate.md 4). Not for security.
 */
void pag_store_md5(struct pag_span file, uint8_t md5[16]);
enum { PAG_MD5_FORMS_MAX = 5 * 37 };
/* How many were written. form[0] is the file as it is. */
size_t pag_store_md5_forms(struct pag_span file, struct pag_md5_form form[PAG_MD5_FORMS_MAX]);

/* SHA-256 of the DER SubjectPublicKeyInfo in a PEM text. PAG_E_SYNTAX: not one public key. */
enum pag_err pag_public_key_id(struct pag_span pem, uint8_t sha256[PAG_SHA256_BYTES]);

#endif
