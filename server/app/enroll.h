#ifndef PAG_SERVER_APP_ENROLL_H
#define PAG_SERVER_APP_ENROLL_H

#include "core/native.h"
#include "host/x509.h"
#include "server/app/app.h"
#include "server/domain/enrollment.h"
#include "server/domain/product.h"

/* Claims and certificates. */

struct pag_enroll_in {
    struct pag_native_enroll enroll; /* spans live until done */
    const char *address;             /* of the peer, for the rate limit */
    const char *proven;              /* the device whose valid certificate the peer has shown; NULL: none */
    const EVP_PKEY *key;             /* made here for the device, in place of enroll.csr; NULL: none */
    const char *product;             /* name or hex id that the claim must be for; NULL: any */
    bool strict;                     /* a request that asks for more than it may get is refused */
};
struct pag_enroll_out {
    struct pag_native_enrolled enrolled; /* spans in the arena */
};
/*
 * Redeems a claim for a certificate. The same public key gets the same answer for 10 minutes. PAG_E_EXPIRED
 * (unknown, used, expired or another MAC's claim: one answer for all), PAG_E_DENIED (the device is in
 * service, and neither the claim names its MAC, nor the peer has shown its certificate, nor is the key one it
 * has), PAG_E_LIMIT (too many refused ones), PAG_E_SYNTAX, PAG_E_SIGNATURE, PAG_E_UNSUPPORTED (request),
 * PAG_E_BUSY.
 */
void pag_app_enroll(struct pag_call *call, const struct pag_enroll_in *in, struct pag_enroll_out *out);

/*
 * A new certificate for a device that shows the one it has: same id, same product; the old one stays valid
 * until its end. strict as above. The same key gets the same answer for 10 minutes. PAG_E_DENIED (revoked, or
 * another device's key), PAG_E_LIMIT (PAG_RENEWALS_A_DAY), errors of requests as for pag_app_enroll.
 */
enum { PAG_RENEWALS_A_DAY = 10 };
struct pag_renew_in {
    struct pag_device_identity device; /* as its certificate says */
    const struct pag_tls_peer *peer;   /* that certificate */
    struct pag_span csr;
};
void pag_app_renew(struct pag_call *call, const struct pag_renew_in *in, struct pag_enroll_out *out);

/* Whether the claim (text) would be redeemed for this MAC: before work is done for it. Errors and counting as
 * above, but for CONFLICT of keys. */
enum pag_err pag_app_claim_ready(struct pag_call *call, struct pag_span claim, const char *mac,
                                 const char *address);

/* The product a claim is for, by its SHA-256. PAG_E_NOT_FOUND. */
enum pag_err pag_app_claim_product(struct pag_call *call, const uint8_t sha256[PAG_SHA256_BYTES],
                                   struct pag_product *out);

struct pag_code_in {
    const char *product; /* name or hex id */
    uint32_t uses;       /* 1 .. 100000 */
    uint64_t ttl_s;
    const char *mac;         /* any spelling, NULL: any device */
    const char *name, *tags; /* of the device, which must be named by its MAC; NULL: none */
};
struct pag_code_out {
    struct pag_claim_code code;
    char text[40]; /* grouped with dashes; shown once */
};
void pag_app_code_create(struct pag_call *call, const struct pag_code_in *in, struct pag_code_out *out);
void pag_app_code_delete(struct pag_call *call, const char *id);
enum pag_err pag_app_codes(struct pag_call *call, struct pag_claim_code **list, size_t *n);

struct pag_issue_in {
    const char *device;
    const char *product;     /* name or hex id */
    struct pag_span csr;     /* PEM or DER */
    const EVP_PKEY *key;     /* made here for the device, in place of csr; NULL: none */
    uint32_t days;           /* 0: the configured lifetime */
    const char *name, *tags; /* of the device, if it is new; NULL: none */
};
struct pag_issue_out {
    struct pag_span der;
    char serial[41]; /* hex */
    uint8_t serial_bytes[20];
    uint8_t serial_n;
};
/* An administrator issues; the device is recorded when it is new. */
void pag_app_issue(struct pag_call *call, const struct pag_issue_in *in, struct pag_issue_out *out);

struct pag_certificate {
    uint8_t serial[20];
    uint8_t serial_n;
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    int64_t not_before_ms, not_after_ms, issued_ms, revoked_ms; /* revoked 0: valid */
    uint8_t fingerprint[PAG_SHA256_BYTES];
};
struct pag_certificate_query {
    const char *device; /* NULL: all of the scope */
    const char *after;  /* serial that the last page ended with, as hex; NULL: from the newest */
    uint32_t limit;     /* 1 .. 1000 */
};
struct pag_certificate_list {
    struct pag_certificate *item; /* newest first */
    size_t n;
    const char *next; /* for after; NULL: the end */
    uint64_t total;
};
enum pag_err pag_app_certificates(struct pag_call *call, const struct pag_certificate_query *q,
                                  struct pag_certificate_list *out);

/* Devices whose certificates are worth a look, of the scope. */
struct pag_certificate_state {
    uint64_t due;       /* two thirds of its life are over: it should renew */
    uint64_t expired;   /* it opens nothing any more */
    uint64_t suspected; /* something looks like a copy of it, in the last week */
    uint64_t old;       /* of another authority than that in force; not for tokens of one product */
};
enum pag_err pag_app_certificate_state(struct pag_call *call, struct pag_certificate_state *out);
/* Event and audit row about an authority: ca.retired or ca.rolled, kind "device" or "server". */
struct pag_ca_event_in {
    bool retired;
    const char *kind;
};
void pag_app_ca_event(struct pag_call *call, const struct pag_ca_event_in *in);

/* What the broker keeps out (server/broker.h): revoked, not yet expired certificates, and devices without
 * any valid one. For start; later changes come as events device.revoked. */
struct pag_denials {
    const struct pag_certificate *revoked;
    size_t revoked_n;
    const char *const *device;
    size_t device_n;
};
enum pag_err pag_app_denials(struct pag_call *call, struct pag_denials *out);

#endif
