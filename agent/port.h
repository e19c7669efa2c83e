#ifndef PAG_AGENT_PORT_H
#define PAG_AGENT_PORT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"

/*
 * What a board must supply. One const struct of functions, first argument the port's own context. No function
 * blocks longer than PAG_PORT_BLOCK_MS except erase, p256_verify and those that say so; nothing allocates on
 * behalf of the agent. docs/porting/ has a page a board.
 *
 * The struct, its ctx and crypto must outlive the agent. What is handed to a function is valid during the
 * call only, unless said otherwise.
 */

enum { PAG_PORT_BLOCK_MS = 50 };

/* Flash areas the agent uses. NOR rules: erase sets whole sectors to 0xFF, program only clears bits. */
enum pag_area {
    PAG_AREA_JOURNAL, /* two sectors: boot journal (core/journal.h) */
    PAG_AREA_TRUST,   /* two sectors: trust set, each with length, version and CRC (agent/twin_store.h) */
    PAG_AREA_CONFIG,  /* two sectors: identity, certificate, key, settings */
    PAG_AREA_SLOT_A,
    PAG_AREA_SLOT_B,
    PAG_AREA_COUNT,
};

struct pag_flash {
    uint32_t sector_bytes; /* erase unit, 4096 on every supported part */
    uint32_t
        area_bytes[PAG_AREA_COUNT]; /* multiples of sector_bytes; a slot's last sector is for the manifest */
    /* off and n multiples of sector_bytes. PAG_E_RANGE outside the area, PAG_E_IO when the part failed. */
    enum pag_err (*erase)(void *ctx, enum pag_area area, uint32_t off, uint32_t n);
    /* off and data.n multiples of 4; does not cross the area's end. */
    enum pag_err (*program)(void *ctx, enum pag_area area, uint32_t off, struct pag_span data);
    /* Any off, any n and any alignment of out: a port whose part reads whole words copies. */
    enum pag_err (*read)(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n);
};

/*
 * One stream connection (TCP, or TLS with the device's certificate). Non-blocking: PAG_E_AGAIN means call
 * again later. The port verifies the server against the CA of struct pag_net_trust and the host name against
 * its SAN. Two are open at most, HTTP and MQTT: their buffers are the port's RAM.
 */
struct pag_conn {
    void *p; /* the port's */
};

struct pag_net_trust {
    struct pag_span ca;          /* PEM or DER of the pinned CA; as long as the settings */
    struct pag_span certificate; /* the device's, DER; empty before enrolment */
    struct pag_span key;         /* the device's private key, DER (SEC 1 or PKCS#8); empty before enrolment */
    /* Unix s, 0 unknown: has passed for sure. A board without a clock, or whose clock is behind it, judges
     * certificate dates at the floor, "not yet valid" up to 24 h after it (docs/spec/trust-set.md 4). */
    uint64_t clock_floor;
};

struct pag_net {
    /*
     * Starts connecting. trust NULL: plain TCP. trust itself, certificate and key lie in memory that is used
     * for something else as soon as this returns: a port whose TLS reads them later (BearSSL) copies. host
     * and ca stay as long as agent and settings. Fills out->p, which is the port's until close.
     * PAG_E_NO_MEMORY, PAG_E_IO, PAG_E_TLS (certificate or key not usable).
     */
    enum pag_err (*open)(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                         struct pag_conn *out);
    /* PAG_OK connected (and verified), PAG_E_AGAIN, PAG_E_TLS refused, PAG_E_IO, PAG_E_TIMEOUT. */
    enum pag_err (*ready)(void *ctx, struct pag_conn *c);
    /* *n: in: bytes wanted; out: bytes moved (>0 on PAG_OK). PAG_E_AGAIN, PAG_E_CLOSED, PAG_E_IO. out and
     * data are the agent's and valid during the call only. */
    enum pag_err (*read)(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n);
    enum pag_err (*write)(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n);
    void (*close)(void *ctx, struct pag_conn *c); /* also half-open ones; c->p is NULL afterwards */
};

struct pag_conditions; /* core/manifest.h */

struct pag_port {
    void *ctx;
    struct pag_flash flash;
    struct pag_net net;
    const struct pag_crypto *crypto;
    uint32_t (*now_ms)(void *ctx);                     /* monotonic, wraps */
    uint64_t (*now_unix_s)(void *ctx);                 /* 0 while unknown */
    void (*random)(void *ctx, uint8_t *out, size_t n); /* hardware quality */
    /* PKCS#10 for subject CN=id (the server sets the real subject). key_der empty: a new P-256 key is made
     * and appended to it; else that key is used again and key_der stays as it is. May take seconds. */
    enum pag_err (*make_csr)(void *ctx, const char *id, struct pag_buf *key_der, struct pag_buf *csr_der);
    /*
     * 0 = A, 1 = B: what the loader jumped to. The loader either calls pag_boot_decide, or knows no journal
     * and keeps this: it starts the slot of TRY 0 when the agent reboots after it, for one attempt; any reset
     * before the agent has written CONFIRM, and each start after REVERT, is of the other slot. TRY for the
     * running slot always means a trial: with count 0 the agent writes TRY 1 itself.
     */
    uint8_t (*running_slot)(void *ctx);
    /* Boots what the journal says; may return in tests and in the simulator. The application's may_update was
     * asked before, except when a trial ends. */
    void (*reboot)(void *ctx);
    /* Once a step, and between two verifications within one. May be NULL, and so may all below. */
    void (*feed_watchdog)(void *ctx);
    void (*log)(void *ctx, const char *event, const char *text, int64_t value); /* text may be NULL */
    /* figures for status, 0 when unknown */
    int32_t (*rssi_dbm)(void *ctx);
    uint32_t (*free_heap)(void *ctx);
    uint32_t (*restarts)(void *ctx); /* since the device was made, or since power came on */
    /* "power", "software", "watchdog", "crash" …; "" or NULL unknown. Read before the next call of the port.
     */
    const char *(*reset_reason)(void *ctx);
    /* What manifest conditions are judged by (core/manifest.h, field 16): set has bits of what is measured.
     * May be NULL: then heap and RSSI above count, nothing else. */
    void (*measure)(void *ctx, struct pag_conditions *out);
};

#endif
