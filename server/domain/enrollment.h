#ifndef PAG_SERVER_DOMAIN_ENROLLMENT_H
#define PAG_SERVER_DOMAIN_ENROLLMENT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/access.h"

/* One-time claims. Pure. */

enum { PAG_CODE_TAGS_MAX = 255 };
enum { PAG_CLAIM_REPEAT_MS = 600000 }; /* the same key gets the same answer for 10 minutes */

struct pag_claim_code {   /* row; the code is not in it */
    char id[PAG_ID_TEXT]; /* "code_…" */
    char product[PAG_PRODUCT_HEX];
    uint8_t sha256[PAG_SHA256_BYTES];
    uint32_t uses, uses_left;
    char mac[13]; /* "" : any */
    int64_t created_ms, expires_ms;
    char actor[PAG_ACTOR_MAX + 1];
    char name[PAG_NAME_MAX + 1];      /* of the device that it makes */
    char tags[PAG_CODE_TAGS_MAX + 1]; /* comma-separated */
};

/* A device that asks without a claim, and waits until an operator has looked at it. */
enum pag_request_state { PAG_REQUEST_WAITING = 0, PAG_REQUEST_APPROVED, PAG_REQUEST_DENIED };
const char *pag_request_word(enum pag_request_state state); /* "waiting" … */
enum {
    PAG_REQUESTS_MAX = 1000,        /* of a product */
    PAG_REQUESTS_ADDRESS_MAX = 250, /* of them from one address: strangers leave room for others */
    PAG_REQUEST_WAIT_S = 30
};
#define PAG_REQUEST_KEEP_MS INT64_C(604800000) /* a week: then it is forgotten */

struct pag_enroll_request {        /* row */
    char id[PAG_ID_TEXT];          /* "req_…" */
    uint8_t key[PAG_SHA256_BYTES]; /* SHA-256 of the SubjectPublicKeyInfo */
    char product[PAG_PRODUCT_HEX];
    char device[PAG_DEVICE_ID_MAX + 1];
    char address[46];
    enum pag_request_state state;
    char actor[PAG_ACTOR_MAX + 1]; /* who has decided */
    int64_t created_ms, changed_ms;
};

/* PAG_OK, PAG_E_EXPIRED, PAG_E_LIMIT (used up), PAG_E_DENIED (another MAC). */
enum pag_err pag_claim_check(const struct pag_claim_code *c, const char *mac, int64_t now_ms);

/* Device id for a MAC (the MAC itself), or PAG_E_SYNTAX. */
enum pag_err pag_claim_device_id(struct pag_span mac, char out[PAG_DEVICE_ID_MAX + 1]);

#endif
