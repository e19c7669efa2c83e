#ifndef PAG_SERVER_APP_RELEASES_H
#define PAG_SERVER_APP_RELEASES_H

#include "server/app/app.h"
#include "server/domain/image_keys.h"
#include "server/domain/product.h"
#include "server/domain/release.h"

/* Products, trust sets, releases. */

/* ---- products ---- */
enum pag_err pag_app_products(struct pag_call *call, struct pag_product **list, size_t *n);
/* name or hex id (with or without "prd_"). */
enum pag_err pag_app_product(struct pag_call *call, const char *name, struct pag_product *out);
/* in: name, chip, hardware, flash_bytes, slot_bytes, settings. PAG_E_EXISTS "product-exists". */
void pag_app_product_create(struct pag_call *call, const struct pag_product *in, struct pag_product *out);
/* The members of to whose bit is in set, over what the product holds when the change is carried out. */
enum {
    PAG_SETTING_POLL = 1,
    PAG_SETTING_LEGACY_AUTH = 2,
    PAG_SETTING_PLAIN_HTTP = 4,
    PAG_SETTING_MAX_SERVES = 8,
    PAG_SETTING_TOPIC_COMMAND = 16,
    PAG_SETTING_TOPIC_STATUS = 32,
    PAG_SETTING_TOPIC_WILL = 64,
    PAG_SETTING_CORE = 128,
};
struct pag_settings_patch {
    struct pag_product_settings to;
    unsigned set;
};
void pag_app_product_settings(struct pag_call *call, const char *name,
                              const struct pag_settings_patch *settings, struct pag_product *out);

/* ---- trust ---- */
struct pag_trust_row {
    uint32_t version;
    uint8_t digest[PAG_SHA256_BYTES];
    int64_t created_ms;
    uint64_t expires_at; /* Unix s, 0: never */
    struct pag_span cose;
};
/* version: of the address; the set's must be the same and the next of the chain. PAG_E_EXISTS: other bytes;
 * the same bytes again: PAG_OK. PAG_E_STALE: a version between is missing. Else "trust-refused". */
void pag_app_trust_put(struct pag_call *call, const char *product, uint32_t version, struct pag_span cose);
enum pag_err pag_app_trust_list(struct pag_call *call, const char *product, struct pag_trust_row **list,
                                size_t *n);

/* ---- releases ---- */
struct pag_release_query {
    const char *product; /* name or hex id, NULL: all */
    const char *state;   /* word, NULL: all */
    const char *after;   /* id that the last page ended with */
    uint32_t limit;
};
struct pag_release_view {
    struct pag_release release;
    const char *product_name;
};
struct pag_release_list {
    struct pag_release_view *item; /* newest first */
    size_t n;
    const char *next;
    uint64_t total;
};
enum pag_err pag_app_releases(struct pag_call *call, const struct pag_release_query *q,
                              struct pag_release_list *out);
enum pag_err pag_app_release(struct pag_call *call, const char *id, struct pag_release_view *out);

struct pag_release_in {
    const char *product, *version;
    const char *channel; /* NULL: "stable" */
    const char *notes;   /* NULL: none; at most 4096 bytes */
};
/* PAG_E_EXISTS "version-exists". */
void pag_app_release_create(struct pag_call *call, const struct pag_release_in *in,
                            struct pag_release_view *out);

struct pag_image_in {
    const char *release, *name;
    int fd; /* the whole file, readable by pread; the caller's, open until done */
    uint64_t bytes;
    uint8_t sha256[PAG_SHA256_BYTES]; /* of the file, computed by the receiver */
    const char *file;                 /* name that devices ask for, NULL: none */
    uint32_t core;                    /* Arduino core, PAG_CORE(); 0: not said */
    int64_t flash_offset;             /* -1: not said */
    bool has_expected;                /* Repr-Digest was sent */
    uint8_t expected[PAG_SHA256_BYTES];
    const char *verify_key; /* which key the image checks the next one with: hex id or "none"; NULL: found */
};
/* Reads, judges and keeps an image. "image-refused" (PAG_E_SYNTAX …) with the byte check; "image-differs"
 * (PAG_E_EXISTS); PAG_E_DIGEST; PAG_E_SPACE disk full; PAG_E_DENIED "private-key". */
void pag_app_image_put(struct pag_call *call, const struct pag_image_in *in, struct pag_release_image *out);
/* For operators: *fd is the caller's. */
enum pag_err pag_app_image_open(struct pag_call *call, const char *release, const char *name, int *fd,
                                struct pag_release_image *image);

/* ---- signatures beside an image, as "openssl dgst -sha256 -sign" writes them ---- */
struct pag_signature_in {
    const char *release, *name;
    struct pag_span signature; /* RSA PKCS#1 v1.5, or DER of ECDSA; at most 512 bytes */
};
/* Kept when a key of the product has made it; PAG_E_SIGNATURE "signature-refused". */
void pag_app_signature_put(struct pag_call *call, const struct pag_signature_in *in,
                           struct pag_detached *out);
enum pag_err pag_app_signatures(struct pag_call *call, const char *release, const char *name,
                                struct pag_detached **list, size_t *n);

/* PAG_E_SIGNATURE … "manifest-refused". Again the same bytes: PAG_OK. */
void pag_app_manifest_put(struct pag_call *call, const char *release, struct pag_span cose,
                          struct pag_release_view *out);
void pag_app_permit_put(struct pag_call *call, const char *release, struct pag_span cose);
/* ---- publishing ---- */
struct pag_publish_in {
    const char *release;
    const char *strand_anyway; /* why devices may be cut off, for the record; NULL: they may not */
};
/* "release-refused" with errors (PAG_E_CONDITION); "release-strands" with the devices that would be cut off.
 * Published, or withdrawn, again: PAG_OK. */
void pag_app_publish(struct pag_call *call, const struct pag_publish_in *in, struct pag_release_view *out);
void pag_app_withdraw(struct pag_call *call, const struct pag_publish_in *in, struct pag_release_view *out);

enum { PAG_STRAND_MAX = 1000 };
struct pag_strand_device {
    char id[PAG_DEVICE_ID_MAX + 1];
    char name[PAG_NAME_MAX + 1];
    char version[PAG_VERSION_MAX + 1]; /* as it calls itself, "" : not known */
    int64_t last_seen_ms;
};
struct pag_strand {
    uint32_t total;
    struct pag_strand_device *device; /* the first n of them */
    size_t n;
};
/* Devices that come to the newest release now, if only step by step, and would not after publishing (or
 * withdrawing) this one: they check images with a key for which no release would be signed. */
enum pag_err pag_app_strand(struct pag_call *call, const char *release, bool publish, struct pag_strand *out);

struct pag_reach_group {
    const char *reason; /* word of enum pag_plan_reason */
    const char *text;   /* sentence about the example */
    uint32_t count;
    const char *example; /* a device id */
};
struct pag_reach {
    uint32_t total, will_update, up_to_date;
    struct pag_reach_group *blocked;
    size_t blocked_n;
};
/* Judges every device of the product; a draft is judged as if published. */
enum pag_err pag_app_reach(struct pag_call *call, const char *release, struct pag_reach *out);

#endif
