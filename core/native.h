#ifndef PAG_CORE_NATIVE_H
#define PAG_CORE_NATIVE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Messages of the native v1 device protocol, both directions, both ends: docs/spec/native.md. Deterministic
 * CBOR maps with unsigned keys. Unknown keys >= 64 are skipped, below 64 refused. Spans of a decoded message
 * point into the input. Each has _put (append to buf; PAG_E_SPACE, PAG_E_RANGE) and _get (strict;
 * PAG_E_SYNTAX, PAG_E_RANGE, PAG_E_SHORT; *m is all zero then).
 */

enum { PAG_NATIVE_MAX = 4096 }; /* largest message either side accepts, enroll reply included */

/* States of a report. The numbers are on the wire. */
enum pag_report_state {
    PAG_REPORT_OFFERED = 0,
    PAG_REPORT_DOWNLOADING = 1,
    PAG_REPORT_DOWNLOADED = 2,
    PAG_REPORT_INSTALLING = 3,
    PAG_REPORT_REBOOTING = 4,
    PAG_REPORT_CONFIRMED = 5, /* final */
    PAG_REPORT_FAILED = 6,    /* final */
    PAG_REPORT_REVERTED = 7,  /* final: the trial failed, the old image runs */
    PAG_REPORT_DEFERRED = 8,
    PAG_REPORT_REJECTED = 9,   /* final: refused before a byte was asked for */
    PAG_REPORT_CANCELLED = 10, /* final */
};
const char *pag_report_state_word(enum pag_report_state s); /* "confirmed" … */

enum { PAG_CAP_SIGNED_COMMANDS = 8 }; /* bit of a check's capabilities: knows core/command.h */

struct pag_native_check {           /* key */
    struct pag_span running_digest; /* 1: 32 bytes, SHA-256 of the running image */
    struct pag_span version;        /* 2: text, for display */
    uint32_t sequence;              /* 3: of the running image's manifest, 0 = factory */
    uint32_t epoch;                 /* 4: security epoch in force */
    uint32_t trust_version;         /* 5 */
    uint8_t slot;                   /* 6: 0 = A */
    uint8_t boot_state;             /* 7: 0 confirmed, 1 on trial, 2 came back from a failed trial */
    uint32_t slot_bytes;            /* 8: room in the other slot */
    uint8_t chip;                   /* 9 */
    struct pag_span hardware;       /* 10: 4..16 bytes */
    uint32_t boot_count;            /* 11: for clone detection */
    bool has_nonce;                 /* 12: asks for a freshness token */
    struct pag_span nonce;
    uint32_t capabilities;       /* 13: bit 0 Range, 1 gzip, 2 delta, 3 signed commands */
    struct pag_span last_failed; /* 14: 32 bytes, digest of the blacklisted image, or empty */
};
enum pag_err pag_native_check_put(struct pag_buf *out, const struct pag_native_check *m);
enum pag_err pag_native_check_get(struct pag_span in, struct pag_native_check *m);

enum pag_command_kind {
    PAG_COMMAND_CHECK = 1, /* look now */
    PAG_COMMAND_REBOOT = 2,
    PAG_COMMAND_IDENTIFY = 3, /* blink */
    PAG_COMMAND_CONFIG = 4,   /* arg: text of key=value lines for the application */
    PAG_COMMAND_CANCEL = 5,   /* give up the open action; arg: action id in decimal */
    PAG_COMMAND_APP = 6,      /* handed to the application */
    /* Taken in signed form only (core/command.h): they take something away that a check does not bring back
     */
    PAG_COMMAND_RESET = 7, /* the application forgets its settings; restart */
    PAG_COMMAND_WIPE = 8,  /* the application forgets its data, the agent its key and certificate; restart */
    PAG_COMMAND_REENROLL = 9, /* the agent gives its key and certificate up and enrols anew; arg: claim */
};
struct pag_native_command { /* also the payload of MQTT pg/v1/d/<id>/cmd */
    uint8_t kind;           /* 1 */
    uint32_t id;            /* 2: positive 31 bits; 0 for a bare "check now" that wants no result */
    uint64_t expires_at;    /* 3: Unix s, 0 = never */
    struct pag_span arg;    /* 4: bytes, may be absent */
    struct pag_span order;  /* 5: signed command (COSE_Sign1, core/command.h); it decides, not 1, 3 and 4 */
};
enum pag_err pag_native_command_put(struct pag_buf *out, const struct pag_native_command *m);
enum pag_err pag_native_command_get(struct pag_span in, struct pag_native_command *m);

struct pag_native_result { /* MQTT pg/v1/d/<id>/up/result, and key 10 of a report */
    uint32_t id;           /* 1 */
    int32_t code;          /* 2: 0 done, negative pag_err */
    struct pag_span text;  /* 3: at most 200 bytes */
};
enum pag_err pag_native_result_put(struct pag_buf *out, const struct pag_native_result *m);
enum pag_err pag_native_result_get(struct pag_span in, struct pag_native_result *m);

enum { PAG_NATIVE_COMMANDS_MAX = 4 };
struct pag_native_offer { /* reply 200 to a check */
    bool has_manifest;
    uint32_t action_id;       /* 1: positive 31 bits, with a manifest */
    struct pag_span manifest; /* 2: COSE_Sign1 */
    uint32_t poll_s;          /* 3: next check in seconds */
    struct pag_span token;    /* 4: freshness token, or empty */
    uint32_t trust_version;   /* 5: newest trust set on the server; fetch GET /v1/trust/<n> when higher */
    uint8_t command_n;        /* 6: array of commands */
    struct pag_native_command command[PAG_NATIVE_COMMANDS_MAX];
    struct pag_span permit; /* 7: rollback permit (COSE_Sign1), or empty */
};
enum pag_err pag_native_offer_put(struct pag_buf *out, const struct pag_native_offer *m);
enum pag_err pag_native_offer_get(struct pag_span in, struct pag_native_offer *m);

struct pag_native_report {
    uint32_t action_id;              /* 1 */
    uint8_t state;                   /* 2: enum pag_report_state */
    uint8_t progress_pct;            /* 3: 0..100 */
    int32_t code;                    /* 4: pag_err of a failure, 0 otherwise */
    struct pag_span text;            /* 5: at most 200 bytes for people */
    struct pag_span manifest_digest; /* 6: SHA-256 of the manifest served (security.md D3) */
    struct pag_span running_digest;  /* 7: SHA-256 of the running image */
    uint32_t seq;                    /* 8: of the device's journal; duplicates carry the same */
    bool has_result; /* 10: outcome of a command that came with an offer; action_id may be 0 */
    struct pag_native_result result;
};
enum pag_err pag_native_report_put(struct pag_buf *out, const struct pag_native_report *m);
enum pag_err pag_native_report_get(struct pag_span in, struct pag_native_report *m);

struct pag_native_enroll {
    /* 1: text, as printed, dashes and case ignored by the server; empty: renewal over the certificate shown
     */
    struct pag_span claim;
    struct pag_span csr;      /* 2: PKCS#10 DER, at most 1024 */
    struct pag_span mac;      /* 3: text, 12 hex digits */
    uint8_t chip;             /* 4 */
    struct pag_span hardware; /* 5 */
    struct pag_span version;  /* 6 */
};
enum pag_err pag_native_enroll_put(struct pag_buf *out, const struct pag_native_enroll *m);
enum pag_err pag_native_enroll_get(struct pag_span in, struct pag_native_enroll *m);

struct pag_native_enrolled {     /* reply 200 to an enroll */
    struct pag_span device_id;   /* 1: text */
    struct pag_span certificate; /* 2: DER leaf */
    struct pag_span issuer;      /* 3: DER of the device issuing CA */
    struct pag_span product;     /* 4: 8 bytes */
    struct pag_span mqtt_host;   /* 5: text */
    uint16_t mqtt_port;          /* 6 */
    uint32_t trust_version;      /* 7: newest */
};
enum pag_err pag_native_enrolled_put(struct pag_buf *out, const struct pag_native_enrolled *m);
enum pag_err pag_native_enrolled_get(struct pag_span in, struct pag_native_enrolled *m);

#endif
