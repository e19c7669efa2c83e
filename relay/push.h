#ifndef PAG_RELAY_PUSH_H
#define PAG_RELAY_PUSH_H

#include <stdatomic.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Pushing an image to a device in the same network, by the protocols that devices in the field listen for:
 * docs/operating/relay.md. Blocking; any thread, nothing is shared.
 */

enum pag_push_protocol {
    PAG_PUSH_ESPOTA,  /* ArduinoOTA */
    PAG_PUSH_ESPHOME, /* ESPHome's native OTA */
    PAG_PUSH_WEB,     /* ESP8266HTTPUpdateServer */
    PAG_PUSH_WLED,
};
enum { PAG_PUSH_PROTOCOLS = 4 };
const char *pag_push_word(enum pag_push_protocol p); /* "espota", "esphome", "web", "wled" */
/* PAG_E_SYNTAX for an unknown word. */
enum pag_err pag_push_by_word(const char *word, enum pag_push_protocol *out);
/* Where devices of that chip listen. */
uint16_t pag_push_port(enum pag_push_protocol p, enum pag_chip chip);

enum pag_push_phase {
    PAG_PUSH_KNOCKING,   /* reaching the device, password */
    PAG_PUSH_SENDING,    /* done of all bytes */
    PAG_PUSH_INSTALLING, /* it has all bytes and checks them */
    PAG_PUSH_TAKEN,      /* it said that all is well, and restarts */
};
const char *pag_push_phase_word(enum pag_push_phase p);

struct pag_push_order {
    enum pag_push_protocol protocol;
    const char *host;      /* name or number */
    uint16_t port;         /* 0: pag_push_port */
    enum pag_chip chip;    /* of the image; PAG_CHIP_UNKNOWN for file systems */
    struct pag_span image; /* as it is to arrive */
    bool filesystem;       /* espota and web only */
    const char *user;      /* web; NULL: "admin" when there is a password */
    const char *password;  /* NULL: none */
    const char *path;      /* web; NULL: "/update" */
    uint16_t listen_port;  /* espota: the device connects back to it; 0: any */
    const char *mdns;      /* "address:port" to ask instead of the multicast group; NULL: the group */
    uint32_t silence_ms;   /* longest silence of the device; 0: 20 s (90 s while it prepares or ends) */
    void (*progress)(void *ctx, enum pag_push_phase phase, uint64_t done, uint64_t all); /* may be NULL */
    void *ctx;
    const atomic_bool *stop; /* NULL: none */
};

enum { PAG_PUSH_TEXT = 200 };
struct pag_push_result {
    enum pag_err err;
    int code;                  /* the protocol's own: error byte, ERROR[n], HTTP status; -1: none */
    enum pag_push_phase phase; /* how far it came */
    char text[PAG_PUSH_TEXT];  /* a sentence: what happened, and what to do */
    uint64_t sent_bytes;       /* over the wire: less than the image when it was packed */
};

/*
 * PAG_OK: the device has taken the image and says so. Else: PAG_E_NOT_FOUND no such host, PAG_E_TIMEOUT no
 * answer, PAG_E_CLOSED refused or the link was lost, PAG_E_UNAUTHENTICATED wants a password, PAG_E_DENIED the
 * password (or we) are refused, PAG_E_SPACE too large for it, PAG_E_DIGEST arrived broken, PAG_E_IO it could
 * not write, PAG_E_HARDWARE not for this board, PAG_E_SIGNATURE, PAG_E_SYNTAX it does not speak the protocol,
 * PAG_E_BUSY it wants its reset button first, PAG_E_UNSUPPORTED, PAG_E_CONDITION stopped. *r is always
 * filled.
 */
enum pag_err pag_push_run(const struct pag_push_order *o, struct pag_push_result *r);

/* What a device says of itself without being updated. */
struct pag_push_info {
    bool answers;
    char version[PAG_VERSION_MAX + 1]; /* "" : it does not say */
    char project[64];                  /* ESPHome's project name, or WLED's brand */
    char name[64];
    char build[16]; /* changes with the build; "" : not said */
    char mac[13];   /* "" : not said */
    enum pag_chip chip;
};
/* WLED: /json/info; ESPHome: its mDNS record; web: whether the page is there; espota: its mDNS record. */
enum pag_err pag_push_look(const struct pag_push_order *o, struct pag_push_info *info);

/*
 * Waits until the device is back after a push (at most ms): version, when it can say one. It counts as back
 * once it answers after it did not, or with another version, or when settle_ms have passed and it answers.
 * PAG_E_TIMEOUT: it is not back. PAG_E_UNSUPPORTED: nothing can be asked of it.
 */
enum pag_err pag_push_back(const struct pag_push_order *o, const struct pag_push_info *before, uint32_t ms,
                           struct pag_push_info *after);

#endif
