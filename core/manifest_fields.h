#ifndef PAG_CORE_MANIFEST_FIELDS_H
#define PAG_CORE_MANIFEST_FIELDS_H

#include "core/cbor.h"
#include "core/manifest.h"

/* Keys and limits of the payload map, shared by reader and writer. docs/spec/manifest.md 3. */
enum pag_manifest_key {
    PAG_MK_FORMAT = 1,
    PAG_MK_KIND = 2,
    PAG_MK_PRODUCT = 3,
    PAG_MK_HARDWARE = 4,
    PAG_MK_CHIP = 5,
    PAG_MK_IMAGE = 6,
    PAG_MK_VERSION = 7,
    PAG_MK_BUILD = 8,
    PAG_MK_EPOCH = 9,
    PAG_MK_SEQUENCE = 10,
    PAG_MK_DIGEST = 11,
    PAG_MK_SIZE = 12,
    PAG_MK_TRANSPORTS = 13,
    PAG_MK_ISSUED = 14,
    PAG_MK_EXPIRES = 15,
    PAG_MK_CONDITIONS = 16,
    PAG_MK_STONE = 17,
    PAG_MK_DEPENDENCIES = 18,
    PAG_MK_TRUST = 19,
    PAG_MK_LAYOUT = 20,
    PAG_MK_SET = 21,
    PAG_MK_INNER = 22,
    PAG_MK_CRITICAL = 64, /* unknown keys below are refused, others skipped */
};

enum {
    PAG_MANIFEST_FORMAT = 1,
    PAG_EPOCH_MAX = 65536,
    PAG_ENCODING_MAX = 3, /* 0 plain, 1 delta, 2 deflate, 3 both */
    PAG_INNER_SCHEME_MAX = 3,
    PAG_HARDWARE_ID_MIN = 4,
    PAG_LAYOUT_BYTES = 4,
    PAG_BUILD_BYTES = 16,
    PAG_CONDITION_KEYS = 7,
};

/* Rules that hold between fields; both ends call it. */
enum pag_err pag_manifest_check(const struct pag_manifest *m, struct pag_fail *why);

/* Reads the payload map into *m, which is zero before. */
enum pag_err pag_manifest_payload_get(struct pag_span payload, struct pag_manifest *m, struct pag_fail *why);

/* Appends the payload map. PAG_E_RANGE for a field that no reader would take. */
enum pag_err pag_manifest_payload_put(struct pag_buf *out, const struct pag_manifest *m,
                                      struct pag_fail *why);

#endif
