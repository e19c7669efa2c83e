#ifndef PAG_SERVER_DOMAIN_RELEASE_H
#define PAG_SERVER_DOMAIN_RELEASE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/image.h"
#include "core/manifest.h"
#include "server/domain/product.h"

enum pag_release_state { PAG_RELEASE_DRAFT = 0, PAG_RELEASE_PUBLISHED, PAG_RELEASE_WITHDRAWN };
const char *pag_release_state_word(enum pag_release_state s);
enum pag_err pag_release_state_by_word(struct pag_span word, enum pag_release_state *out);

enum { PAG_FILE_NAME_MAX = 64 };

struct pag_release_image {
    char id[PAG_ID_TEXT]; /* "img_…" */
    char release[PAG_ID_TEXT];
    char name[PAG_IMAGE_NAME_MAX + 1];
    enum pag_image_kind kind;
    enum pag_chip chip;
    uint64_t bytes; /* of the file as stored and served */
    uint8_t sha256[PAG_SHA256_BYTES];
    uint8_t md5[16];        /* of the file */
    uint32_t payload_bytes; /* without signature trailer */
    char project[33], version[33], hardware[17];
    uint32_t identity_epoch;
    uint32_t flash_size_bytes; /* of the header, 0: not said */
    uint8_t flash_mode;
    bool gzip;
    bool trailer;        /* signature trailer is there */
    bool trailer_legacy; /* … and it is of the form of Arduino core 2.5 */
    bool has_signed_by;  /* the trailer verified with this known key */
    uint8_t signed_by[PAG_KEY_ID_BYTES];
    bool has_embedded_key; /* the image checks the next one with this key */
    uint8_t embedded_key[PAG_KEY_ID_BYTES];
    uint8_t detached_n;               /* signatures that are kept beside it */
    uint32_t core;                    /* Arduino core it was built with: PAG_CORE(); 0: not said */
    char file[PAG_FILE_NAME_MAX + 1]; /* name that devices ask for, "" : not said */
    int64_t flash_offset;             /* where a cable writes it; -1: not said */
    uint32_t unpacked_bytes;          /* without signature, unpacked; 0: not known */
    uint8_t payload_md5[16];          /* of these bytes; zeros: not known */
    int64_t created_ms;
};

enum { PAG_RELEASE_IMAGES_MAX = 8 };

/* Devices, each by its newest action of the release that was not cancelled. */
struct pag_release_counts {
    uint32_t offered, downloading, installing, confirmed, failed, reverted;
};

struct pag_release {
    char id[PAG_ID_TEXT]; /* "rel_…" */
    char product[PAG_PRODUCT_HEX];
    char version[PAG_VERSION_MAX + 1];
    char channel[PAG_VERSION_MAX + 1];
    enum pag_release_state state;
    uint32_t sequence;
    uint32_t epoch;    /* of its manifests, 0 without one */
    const char *notes; /* may be NULL */
    int64_t created_ms, published_ms, withdrawn_ms;
    uint8_t image_n;
    struct pag_release_image image[PAG_RELEASE_IMAGES_MAX];
    struct pag_span manifest[PAG_RELEASE_IMAGES_MAX]; /* COSE_Sign1 of image[i], or empty */
    uint8_t manifest_digest[PAG_RELEASE_IMAGES_MAX][PAG_SHA256_BYTES];
    struct pag_release_counts counts; /* only where a view asks for them */
};

/* ---- the gate: what would brick, mislead or leak is refused ---- */

struct pag_gate_finding {
    const char *pointer; /* "/images/firmware" */
    const char *code;    /* "wrong-chip" …, stable */
    char detail[200];    /* a sentence with the numbers */
};

enum { PAG_GATE_MAX = 12 };

struct pag_gate {
    struct pag_gate_finding finding[PAG_GATE_MAX];
    size_t n;
};

/*
 * One image against its product: chip, flash size of the header against the flash, slot, hardware and project
 * of the identity block, version of the identity block against the release's, double header of ESP8266
 * images. gate: findings are added; none added means it fits.
 */
void pag_release_gate_image(const struct pag_product *p, const struct pag_release *r,
                            const struct pag_release_image *image, struct pag_gate *gate);

/* What publishing needs besides: an image, a firmware image, a manifest for each image when the product has a
 * trust set, draft state, the highest sequence, a version above newest (may be NULL, the newest published).
 */
void pag_release_gate_publish(const struct pag_product *p, const struct pag_release *r,
                              const struct pag_release *newest, struct pag_gate *gate);

/* A signature kept beside this image verifies with none of the product's keys. */
void pag_release_gate_signature(const struct pag_release_image *image, struct pag_gate *gate);

/* A verified manifest against what it is for. PAG_OK, or PAG_E_PRODUCT, PAG_E_HARDWARE, PAG_E_NOT_FOUND
 * (image), PAG_E_DIGEST, PAG_E_RANGE (size), PAG_E_CONFLICT (sequence, version), PAG_E_EXPIRED. */
enum pag_err pag_release_manifest_fits(const struct pag_product *p, const struct pag_release *r,
                                       const struct pag_manifest *m, uint64_t now_unix_s,
                                       struct pag_fail *why);

/* True when the file holds a private key: PEM text of any kind, DER of P-256 or RSA. Linear. */
bool pag_release_holds_private_key(struct pag_span file);

#endif
