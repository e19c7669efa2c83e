#ifndef PAG_SERVER_DOMAIN_PLANNER_H
#define PAG_SERVER_DOMAIN_PLANNER_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/device.h"
#include "server/domain/history.h"
#include "server/domain/mount.h"
#include "server/domain/release.h"

/*
 * Which image a device gets next, or in words why none. Pure; the catalog is an immutable snapshot of one
 * product, built by the store when something of the product changes.
 */

struct pag_plan_release {
    const struct pag_release *release; /* state published or withdrawn */
    /* parsed manifest of image[i], NULL without one */
    const struct pag_manifest *manifest[PAG_RELEASE_IMAGES_MAX];
};

enum { PAG_FLASH_MODE_UNKNOWN = 255 };
struct pag_md5_form {
    uint8_t md5[16];
    uint8_t flash_mode;
};

struct pag_plan_md5 { /* sketch MD5 of one rewritten form of one image */
    uint8_t md5[16];
    uint32_t release; /* index in catalog.release */
    uint32_t image;
    uint8_t flash_mode; /* header byte 2 of this form, PAG_FLASH_MODE_UNKNOWN */
};

struct pag_plan_permit { /* signed rollback permit */
    uint32_t from_sequence, to_sequence;
    uint64_t expires_at; /* Unix s, 0: never */
    struct pag_span cose;
};

struct pag_catalog {
    struct pag_product product;
    const struct pag_plan_release *release; /* ascending sequence */
    size_t release_n;
    const struct pag_plan_md5 *md5; /* ascending md5 */
    size_t md5_n;
    const struct pag_plan_permit *permit;
    size_t permit_n;
    const struct pag_mount *mount;
    size_t mount_n;
    uint64_t generation; /* of the snapshot */
};

/* Release and image index by what runs: sketch MD5 or SHA-256. False: not one of ours. */
bool pag_catalog_by_md5(const struct pag_catalog *c, const uint8_t md5[16], uint32_t *release,
                        uint32_t *image);
bool pag_catalog_by_sha256(const struct pag_catalog *c, const uint8_t sha256[PAG_SHA256_BYTES],
                           uint32_t *release, uint32_t *image);
/* The row of a sketch MD5, NULL: none of ours. */
const struct pag_plan_md5 *pag_catalog_form(const struct pag_catalog *c, const uint8_t md5[16]);
/* The newest published release with an image that answers to a file name (domain/file.h). False: none. */
bool pag_catalog_by_file(const struct pag_catalog *c, const char *file, bool any, uint32_t *release,
                         uint32_t *image);
/* Exactly one release carries that version text. */
bool pag_catalog_by_version(const struct pag_catalog *c, const char *version, uint32_t *release);

enum pag_plan_reason {
    PAG_PLAN_OFFER = 0,
    PAG_PLAN_UP_TO_DATE,
    PAG_PLAN_NOTHING_PUBLISHED,
    PAG_PLAN_NO_IMAGE, /* no image of that name for it (file system) */
    PAG_PLAN_WRONG_CHIP,
    PAG_PLAN_WRONG_HARDWARE,
    PAG_PLAN_NO_MANIFEST, /* a native device needs a signed manifest */
    PAG_PLAN_FLASH_SIZE,  /* header says more flash than the chip has */
    PAG_PLAN_FREE_SPACE,
    PAG_PLAN_SLOT,
    PAG_PLAN_TRUST_VERSION, /* a newer trust set is needed first */
    PAG_PLAN_STONE,         /* a stepping stone is missing */
    PAG_PLAN_EPOCH,
    PAG_PLAN_KEY,  /* signed with a key that the running image does not know */
    PAG_PLAN_GZIP, /* packed, and it is not known that the device unpacks */
    PAG_PLAN_LOOP, /* served max_serves times */
    PAG_PLAN_BLACKLISTED,
    PAG_PLAN_PINNED,
    PAG_PLAN_EXPIRED,
    PAG_PLAN_REVOKED,
    PAG_PLAN_FAST_FORWARD,
    PAG_PLAN_KEY_STEP,       /* another release comes first, which brings the next signing key */
    PAG_PLAN_KEY_END,        /* brings a signing key from which no release leads on */
    PAG_PLAN_GZIP_SIGNED,    /* packed and signed: before core 3.0 that overwrites the boot loader */
    PAG_PLAN_FLASH_MODE,     /* packed, and its header has another flash mode than the device's */
    PAG_PLAN_UNPACK,         /* packed, and unpacking would run into what is not unpacked yet */
    PAG_PLAN_SIGNATURE_FORM, /* signed in a form that what runs does not check (Arduino core 2.5) */
    PAG_PLAN_REASONS,
};
/* Nothing is wrong and nothing is to be done. */
static inline bool pag_plan_is_quiet(enum pag_plan_reason r)
{
    return r == PAG_PLAN_UP_TO_DATE || r == PAG_PLAN_NOTHING_PUBLISHED || r == PAG_PLAN_PINNED;
}
const char *pag_plan_reason_word(enum pag_plan_reason r); /* "free-space" … */

struct pag_plan_in {
    const struct pag_catalog *catalog;
    const struct pag_device *device;      /* with its facts */
    const struct pag_device_image *image; /* its history, image_n rows in any order */
    size_t image_n;
    const char *slot; /* image name wanted: "firmware", "filesystem" */
    uint64_t now_unix_s;
    const char *file; /* only what answers to this file name (domain/file.h); NULL: any */
    bool any_name;    /* … in its wide sense */
    bool side;        /* file is of a stand-in: whatever runs, it may have it */
    bool any_space;   /* the client needs the too long answer to go another way (Tasmota) */
    bool no_gzip;     /* it cannot unpack, whatever is on record */
};

struct pag_plan {
    enum pag_plan_reason reason;
    const struct pag_plan_release *release; /* OFFER: this one; else the one that was refused, or NULL */
    uint32_t image;                         /* index in release */
    const struct pag_plan_permit *permit;   /* needed for this offer, or NULL */
    uint64_t have, need;                    /* numbers of the reason: bytes, versions, sequences, serves */
    const struct pag_device_image *history; /* for LOOP and BLACKLISTED */
    /* KEY, KEY_STEP: what has to come first; KEY_END: the release that would be out of reach. have and need
     * are numbers of signing keys then (pag_epochs_number). */
    const struct pag_plan_release *bridge;
};

/* Whether an image of a release is a form of the firmware for a device's chip and board, as far as they are
 * known. */
bool pag_plan_fits_board(const struct pag_catalog *c, const struct pag_facts *f,
                         const struct pag_plan_release *r, uint32_t image);

/* The newest release that this device can install now. For the reason: that of the newest published one. */
void pag_plan_next(const struct pag_plan_in *in, struct pag_plan *out);

/* One release alone: OFFER or the first reason against it. */
enum pag_plan_reason pag_plan_judge(const struct pag_plan_in *in, const struct pag_plan_release *candidate,
                                    struct pag_plan *out);

/* The verdict as a sentence for an operator, NUL-terminated, cut to PAG_WHY_MAX. */
void pag_plan_sentence(const struct pag_plan *plan, char out[PAG_WHY_MAX + 1]);

#endif
