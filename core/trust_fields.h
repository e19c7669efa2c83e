#ifndef PAG_CORE_TRUST_FIELDS_H
#define PAG_CORE_TRUST_FIELDS_H

#include "core/trust.h"

/* Keys of the payload map, all needed. docs/spec/trust-set.md 3. */
enum pag_trust_field {
    PAG_TK_FORMAT = 1,
    PAG_TK_VERSION = 2,
    PAG_TK_PRODUCT = 3,
    PAG_TK_ROOT_THRESHOLD = 4,
    PAG_TK_ROOTS = 5,
    PAG_TK_RELEASE_THRESHOLD = 6,
    PAG_TK_RELEASES = 7,
    PAG_TK_DELTAS = 8,
    PAG_TK_FRESHNESS = 9,
    PAG_TK_EXPIRES = 10,
    PAG_TK_PREVIOUS = 11,
    PAG_TK_CRITICAL = 64, /* unknown keys below are refused, others skipped */
};

enum {
    PAG_TRUST_FORMAT = 1,
    PAG_TRUST_KINDS_ALL = 0xFF,
    PAG_TRUST_EPOCH_MAX = 65536,
    PAG_TRUST_RELEASE_THRESHOLD_MAX = 2,
};

/* Rules between fields; both ends call it. */
enum pag_err pag_trust_check(const struct pag_trust_set *t, struct pag_fail *why);

/* Reads the payload map into *t, which is zero before. */
enum pag_err pag_trust_payload_get(struct pag_span payload, struct pag_trust_set *t, struct pag_fail *why);

#endif
