#ifndef PAG_SERVER_STORE_ROWS_H
#define PAG_SERVER_STORE_ROWS_H

#include "server/domain/command.h"
#include "server/domain/enrollment.h"
#include "server/domain/event.h"
#include "server/domain/history.h"
#include "server/domain/planner.h"
#include "server/domain/release.h"
#include "server/store/db.h"

/*
 * Rows of the tables in migrations/. db is a reader's or the writer's; what changes rows is called inside an
 * intent. "get": PAG_E_NOT_FOUND when there is none, *out untouched then. Lists and texts go to the arena
 * (PAG_E_LIMIT when it is full).
 */

/* ---- product ---- */
enum pag_err pag_product_insert(struct pag_db *db, const struct pag_product *p);
enum pag_err pag_product_update(struct pag_db *db,
                                const struct pag_product *p); /* settings, trust; revision+1 */
enum pag_err pag_product_get(struct pag_db *db, const char *name_or_id, struct pag_product *out);
enum pag_err pag_product_list(struct pag_db *db, struct pag_arena *arena, struct pag_product **list,
                              size_t *n);

/* ---- trust sets ---- */
struct pag_trust_record {
    uint32_t version;
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_span cose;
    uint64_t expires_s;
    int64_t created_ms;
};
enum pag_err pag_trust_insert(struct pag_db *db, const char *product, const struct pag_trust_record *t);
/* version 0: the newest */
enum pag_err pag_trust_row(struct pag_db *db, struct pag_arena *arena, const char *product, uint32_t version,
                           struct pag_trust_record *out);
enum pag_err pag_trust_rows(struct pag_db *db, struct pag_arena *arena, const char *product,
                            struct pag_trust_record **list, size_t *n);

/* ---- releases ---- */
enum pag_err pag_release_insert(struct pag_db *db, const struct pag_release *r);
/* With images and manifests. */
enum pag_err pag_release_get(struct pag_db *db, struct pag_arena *arena, const char *id,
                             struct pag_release *out);
enum pag_err pag_release_next_sequence(struct pag_db *db, const char *product, uint32_t *out);
/* State, epoch, times. */
enum pag_err pag_release_update(struct pag_db *db, const struct pag_release *r);
struct pag_release_filter {
    const char *product; /* hex id, "" : all */
    int state;           /* -1: all */
    int64_t before_ms;   /* created before; ties by id */
    const char *before_id;
    uint32_t limit;
};
/* Newest first, without images. *total: all that fit the filter. */
enum pag_err pag_release_list(struct pag_db *db, struct pag_arena *arena, const struct pag_release_filter *f,
                              struct pag_release **list, size_t *n);
enum pag_err pag_release_total(struct pag_db *db, const struct pag_release_filter *f, uint64_t *total);
/* The newest release of a product that holds this image, published or not. PAG_E_NOT_FOUND. */
enum pag_err pag_release_of_image(struct pag_db *db, const char *product,
                                  const uint8_t sha256[PAG_SHA256_BYTES], char version[PAG_VERSION_MAX + 1],
                                  uint32_t *sequence);
enum pag_err pag_release_count(struct pag_db *db, const char *id, struct pag_release_counts *out);

enum pag_err pag_blob_insert(struct pag_db *db, const uint8_t sha256[PAG_SHA256_BYTES], uint64_t bytes,
                             int64_t now_ms);
enum pag_err pag_image_insert(struct pag_db *db, const char *product, const struct pag_release_image *i);
enum pag_err pag_image_md5_insert(struct pag_db *db, const char *product, const char *image,
                                  const struct pag_md5_form *form);
enum pag_err pag_image_signature_insert(struct pag_db *db, const char *image,
                                        const uint8_t key[PAG_KEY_ID_BYTES]);
enum pag_err pag_manifest_insert(struct pag_db *db, const char *release, const char *image,
                                 const uint8_t digest[PAG_SHA256_BYTES], struct pag_span cose,
                                 int64_t now_ms);
enum pag_err pag_permit_put(struct pag_db *db, const char *product, const struct pag_plan_permit *p,
                            int64_t now_ms);

/* ---- devices ---- */
enum pag_err pag_device_insert(struct pag_db *db, const struct pag_device *d);
/* arena may be NULL: tags are left out. */
enum pag_err pag_device_get(struct pag_db *db, struct pag_arena *arena, const char *id,
                            struct pag_device *out);
/* Everything except last_seen and last_poll, where d->revision is still the row's; it rises by one there and
 * in *d. PAG_E_CONFLICT: changed meanwhile. */
enum pag_err pag_device_update(struct pag_db *db, struct pag_device *d);
/* What a row cannot hold: a device that is silent too long shows PAG_DEVICE_STALE, whatever its state. */
struct pag_shown {
    int64_t now_ms;
    uint32_t poll_s; /* for products that do not say */
};
struct pag_device_filter {
    const char *product; /* hex id, "" : all */
    int state;           /* as shown (struct pag_shown); -1: all */
    struct pag_shown shown;
    const char *version; /* NULL: all */
    const char *prefix;  /* of id, MAC or name; NULL: all */
    const char *after;   /* id, "" : from the start */
    uint32_t limit;
};
enum pag_err pag_device_list(struct pag_db *db, struct pag_arena *arena, const struct pag_device_filter *f,
                             struct pag_device **list, size_t *n);
enum pag_err pag_device_total(struct pag_db *db, const struct pag_device_filter *f, uint64_t *total);
enum pag_err pag_device_ids(struct pag_db *db, struct pag_arena *arena, const struct pag_device_filter *f,
                            char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);
/* Every device goes through a callback, one at a time; false stops. */
/* Another device, not revoked, to which this MAC (12 hex digits) belongs. PAG_E_NOT_FOUND: it is free. */
enum pag_err pag_device_mac_owner(struct pag_db *db, const char *mac, const char *device,
                                  char owner[PAG_DEVICE_ID_MAX + 1]);
/* Whether a product has at least so many devices that nothing but their own word stands for. */
enum pag_err pag_device_unproven(struct pag_db *db, const char *product, uint32_t least, bool *full);
enum pag_err pag_device_walk(struct pag_db *db, const char *product,
                             bool (*each)(void *ctx, const struct pag_device *d), void *ctx);
enum pag_err pag_device_online(struct pag_db *db, const char *id, bool online, int64_t now_ms);

/* ---- history ---- */
enum pag_err pag_action_insert(struct pag_db *db, const struct pag_action *a);
enum pag_err pag_action_update(struct pag_db *db, const struct pag_action *a);
enum pag_err pag_action_get(struct pag_db *db, uint32_t id, struct pag_action *out);
enum pag_err pag_action_last(struct pag_db *db, const char *device, struct pag_action *out);
enum pag_err pag_device_image_put(struct pag_db *db, const struct pag_device_image *h);
enum pag_err pag_device_image_get(struct pag_db *db, const char *device,
                                  const uint8_t sha256[PAG_SHA256_BYTES], struct pag_device_image *out);
enum pag_err pag_device_image_list(struct pag_db *db, struct pag_arena *arena, const char *device,
                                   struct pag_device_image **list, size_t *n);
enum pag_err pag_device_image_clear(struct pag_db *db, const char *device);
/* Serves of this image alone are forgotten: it was seen running. */
enum pag_err pag_device_image_forgive(struct pag_db *db, const char *device,
                                      const uint8_t sha256[PAG_SHA256_BYTES]);

/* ---- commands ---- */
enum pag_err pag_command_insert(struct pag_db *db, const struct pag_command *c);
enum pag_err pag_command_get(struct pag_db *db, struct pag_arena *arena, uint32_t id,
                             struct pag_command *out);
enum pag_err pag_command_update(struct pag_db *db, const struct pag_command *c); /* state, times, result */
/* Newest first; waiting: only those that are due (domain/command.h), oldest first. */
/* Newest first. after: id that the last page ended with, 0: from the newest. */
struct pag_command_filter {
    const char *device;
    uint32_t after, limit;
};
enum pag_err pag_command_list(struct pag_db *db, struct pag_arena *arena, const struct pag_command_filter *f,
                              struct pag_command **list, size_t *n);
enum pag_err pag_command_total(struct pag_db *db, const char *device, uint64_t *total);
/* *n: room in list, then how many were put there. */
enum pag_err pag_command_waiting(struct pag_db *db, struct pag_arena *arena, const char *device,
                                 int64_t now_ms, struct pag_command *list, size_t *n);
/* Highest counter of the device's signed commands, 0 none. */
enum pag_err pag_command_counter(struct pag_db *db, const char *device, uint32_t *counter);
enum pag_err pag_command_count_queued(struct pag_db *db, const char *device, uint32_t *n);

/* ---- what devices say ---- */
enum pag_err pag_status_put(struct pag_db *db, const char *device, struct pag_span json, int64_t now_ms);
enum pag_err pag_status_get(struct pag_db *db, struct pag_arena *arena, const char *device,
                            struct pag_span *json, int64_t *at_ms);
/* PAG_E_LIMIT: a new topic beyond max. */
enum pag_err pag_data_put(struct pag_db *db, const char *device, const char *topic, struct pag_span payload,
                          int64_t now_ms, uint32_t max);
struct pag_datum {
    const char *topic;
    int64_t at_ms;
    struct pag_span payload;
};
enum pag_err pag_data_list(struct pag_db *db, struct pag_arena *arena, const char *device,
                           struct pag_datum **list, size_t *n);

/* ---- enrolment and certificates ---- */
enum pag_err pag_code_insert(struct pag_db *db, const struct pag_claim_code *c);
enum pag_err pag_code_by_sha256(struct pag_db *db, const uint8_t sha256[PAG_SHA256_BYTES],
                                struct pag_claim_code *out);
/* One statement: only one of two parallel uses of the last one wins. PAG_E_CONFLICT: the other did. */
enum pag_err pag_code_redeem(struct pag_db *db, const char *id, int64_t now_ms);
enum pag_err pag_code_remove(struct pag_db *db, const char *id);
enum pag_err pag_code_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                           struct pag_claim_code **list, size_t *n);
struct pag_redeemed {
    uint8_t code[PAG_SHA256_BYTES], key[PAG_SHA256_BYTES];
    char device[PAG_DEVICE_ID_MAX + 1];
    uint8_t serial[20];
    uint8_t serial_n;
    int64_t at_ms;
};
enum pag_err pag_redeemed_put(struct pag_db *db, const struct pag_redeemed *r);
enum pag_err pag_redeemed_get(struct pag_db *db, const uint8_t code[PAG_SHA256_BYTES],
                              const uint8_t key[PAG_SHA256_BYTES], struct pag_redeemed *out);

enum { PAG_ISSUER_BYTES = 8 }; /* of the SHA-256 of an authority's key */
struct pag_cert_row {
    uint8_t serial[20];
    uint8_t serial_n;
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    uint8_t key[PAG_SHA256_BYTES], fingerprint[PAG_SHA256_BYTES];
    struct pag_span der;              /* not in lists */
    uint8_t issuer[PAG_ISSUER_BYTES]; /* only written */
    int64_t not_before_ms, not_after_ms, issued_ms, revoked_ms;
};
enum pag_err pag_cert_insert(struct pag_db *db, const struct pag_cert_row *c);
enum pag_err pag_cert_get(struct pag_db *db, struct pag_arena *arena, const uint8_t *serial, size_t n,
                          struct pag_cert_row *out);
/* Devices whose newest certificate is valid and of another authority. */
enum pag_err pag_cert_of_others(struct pag_db *db, const uint8_t issuer[PAG_ISSUER_BYTES], int64_t now_ms,
                                uint64_t *n);
/* Devices whose newest certificate has lived two thirds of its life (due), or all of it; those that end later
 * than within_ms from now are not looked at. product: hex id, "" any. */
struct pag_cert_ending {
    uint64_t due, expired;
};
enum pag_err pag_cert_ending(struct pag_db *db, const char *product, int64_t now_ms, int64_t within_ms,
                             struct pag_cert_ending *out);
/* Whether a certificate of another device, revoked or not, has this key (SHA-256 of its SPKI). */
enum pag_err pag_cert_key_taken(struct pag_db *db, const uint8_t key[PAG_SHA256_BYTES], const char *device,
                                bool *taken);
/* live: it has a valid certificate; same_key: one of them has this key. */
enum pag_err pag_cert_live(struct pag_db *db, const char *device, const uint8_t key[PAG_SHA256_BYTES],
                           int64_t now_ms, bool *live, bool *same_key);
/* device "" : all; revoked: only revoked ones that end after now_ms. Newest first. */
struct pag_cert_filter {
    const char *device;   /* "": any */
    const char *product;  /* hex id, "": any */
    const uint8_t *after; /* serial that the last page ended with, NULL: from the newest */
    size_t after_n;
};
enum pag_err pag_cert_list(struct pag_db *db, struct pag_arena *arena, const struct pag_cert_filter *f,
                           uint32_t limit, struct pag_cert_row **list, size_t *n);
enum pag_err pag_cert_total(struct pag_db *db, const struct pag_cert_filter *f, uint64_t *total);
enum pag_err pag_cert_revoked(struct pag_db *db, struct pag_arena *arena, int64_t now_ms,
                              struct pag_cert_row **list, size_t *n);
enum pag_err pag_cert_revoke(struct pag_db *db, const char *device, int64_t now_ms);

/* Events device.clone_suspected: the newest of a device (0: none); how many devices of a product (hex id, "":
 * any) have one since. */
enum pag_err pag_clone_last(struct pag_db *db, const char *device, int64_t *at_ms);
enum pag_err pag_clone_count(struct pag_db *db, const char *product, int64_t since_ms, uint64_t *n);

/* ---- access ---- */
enum pag_err pag_token_row_insert(struct pag_db *db, const struct pag_access_token *t);
enum pag_err pag_token_row_get(struct pag_db *db, const char *id, struct pag_access_token *out);
enum pag_err pag_token_row_revoke(struct pag_db *db, const char *id, int64_t now_ms);
enum pag_err pag_token_row_list(struct pag_db *db, struct pag_arena *arena, struct pag_access_token **list,
                                size_t *n);
struct pag_key_row {
    char id[17];
    char name[PAG_NAME_MAX + 1];
    char use[12];
    char product[PAG_PRODUCT_HEX]; /* "": of every product */
    const char *pem;
    int64_t created_ms;
};
enum pag_err pag_key_row_put(struct pag_db *db, const struct pag_key_row *k); /* the same key again: PAG_OK */
enum pag_err pag_key_row_list(struct pag_db *db, struct pag_arena *arena, struct pag_key_row **list,
                              size_t *n);

struct pag_answer { /* of an Idempotency-Key */
    const char *token, *route, *key;
    uint8_t body_sha256[PAG_SHA256_BYTES];
    uint32_t status;
    struct pag_span body;
    int64_t at_ms;
};
enum pag_err pag_answer_take(struct pag_db *db, const struct pag_answer *a); /* PAG_E_EXISTS */
enum pag_err pag_answer_put(struct pag_db *db, const struct pag_answer *a);  /* status and body */
enum pag_err pag_answer_get(struct pag_db *db, struct pag_arena *arena, struct pag_answer *io);
enum pag_err pag_answer_sweep(struct pag_db *db, int64_t before_ms);

/* ---- events ---- */
/* Ascending. */
struct pag_event_cursor {
    const char *product; /* hex id, "" : all */
    int64_t after;       /* seq, not included */
    uint32_t limit;
};
enum pag_err pag_event_after(struct pag_db *db, struct pag_arena *arena, const struct pag_event_cursor *from,
                             struct pag_event **list, size_t *n);
/* Newest first; before: seq that the last page ended with, 0: from the newest. */
struct pag_event_page {
    const char *device;
    int64_t before;
    uint32_t limit;
};
enum pag_err pag_event_of_device(struct pag_db *db, struct pag_arena *arena,
                                 const struct pag_event_page *page, struct pag_event **list, size_t *n);
enum pag_err pag_event_total_of_device(struct pag_db *db, const char *device, uint64_t *total);
/* The place after which the newest limit events of the product ("": of all) come. */
enum pag_err pag_event_tail(struct pag_db *db, const char *product, uint32_t limit, int64_t *after);
enum pag_err pag_event_newest(struct pag_db *db, int64_t *seq);

/* ---- counts ---- */
struct pag_count_row {
    const char *product; /* name */
    const char *version;
    uint32_t count;
};
/* By the state shown. Who only polls counts as online as long as it polls. */
enum pag_err pag_device_counts(struct pag_db *db, const char *product, struct pag_shown shown,
                               uint32_t by_state[16], uint32_t *online);
enum pag_err pag_device_versions(struct pag_db *db, struct pag_arena *arena, const char *product,
                                 struct pag_count_row **list, size_t *n);

/* Grows a list in the arena by one; NULL when it is full. Old copies stay until the arena closes. */
void *pag_list_grow(struct pag_arena *arena, void **list, size_t *n, size_t *cap, size_t size);

#endif
