#ifndef PAG_SERVER_DOMAIN_DEVICE_H
#define PAG_SERVER_DOMAIN_DEVICE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/native.h"
#include "server/domain/access.h"
#include "server/domain/product.h"

enum pag_protocol {
    PAG_PROTOCOL_UNKNOWN = 0,
    PAG_PROTOCOL_NATIVE,
    PAG_PROTOCOL_HTTP_UPDATE,
    PAG_PROTOCOL_SECUREESP,
    PAG_PROTOCOL_PUSH_ESPOTA,
    PAG_PROTOCOL_PUSH_ESPHOME,
    PAG_PROTOCOL_PUSH_WEB,
    PAG_PROTOCOL_PUSH_WLED,
    PAG_PROTOCOL_ESP32_UPDATE,
    PAG_PROTOCOL_FILES
};
const char *pag_protocol_word(enum pag_protocol p); /* "native", "esp8266-http-update", "secureesp8266" … */

/* It shows that it is there by asking alone. */
static inline bool pag_protocol_polls(enum pag_protocol p)
{
    return p == PAG_PROTOCOL_HTTP_UPDATE || p == PAG_PROTOCOL_ESP32_UPDATE || p == PAG_PROTOCOL_FILES;
}

/* How strongly an identity was proven. */
enum pag_proof { PAG_PROOF_NONE = 0, PAG_PROOF_SAID, PAG_PROOF_TOKEN, PAG_PROOF_CERTIFICATE };
const char *pag_proof_word(enum pag_proof p);
/* What a device of old firmware must at least prove where auth is asked for. */
enum pag_proof pag_proof_least(enum pag_legacy_auth auth);

/* Where a fact about a device comes from. */
enum pag_source { PAG_ABSENT = 0, PAG_ASSUMED, PAG_LEARNED, PAG_SAID };

struct pag_fact_u32 {
    enum pag_source source;
    uint32_t value;
};
struct pag_fact_digest {
    enum pag_source source;
    uint8_t value[PAG_SHA256_BYTES];
};
struct pag_fact_md5 {
    enum pag_source source;
    uint8_t value[16];
};
struct pag_fact_text {
    enum pag_source source;
    char value[PAG_DEVICE_ID_MAX + 1];
};

/* What a device is and holds, as last said, learned or assumed: protocol-neutral. */
struct pag_facts {
    struct pag_fact_u32 chip;
    struct pag_fact_text hardware;
    struct pag_fact_digest running;  /* SHA-256 of the running image */
    struct pag_fact_md5 running_md5; /* of the sketch in flash, legacy */
    struct pag_fact_text version;
    struct pag_fact_u32 sequence;
    struct pag_fact_u32 slot;
    struct pag_fact_u32 boot_state; /* core/native.h: 0 confirmed, 1 on trial, 2 came back */
    struct pag_fact_u32 trust_version;
    struct pag_fact_u32 epoch;
    struct pag_fact_u32 slot_bytes;   /* room for the next image */
    struct pag_fact_u32 flash_bytes;  /* real size of the flash chip */
    struct pag_fact_u32 sketch_bytes; /* of the running image */
    struct pag_fact_u32 boot_count;
    struct pag_fact_u32 capabilities;   /* bit 0 Range, 1 gzip, 2 delta */
    struct pag_fact_digest last_failed; /* image that the device itself has blacklisted */
};

enum pag_device_state {
    PAG_DEVICE_NEW = 0,
    PAG_DEVICE_UP_TO_DATE,
    PAG_DEVICE_UPDATE_OFFERED,
    PAG_DEVICE_UPDATING,
    PAG_DEVICE_ON_TRIAL,
    PAG_DEVICE_FAILED,
    PAG_DEVICE_REVERTED,
    PAG_DEVICE_BLOCKED,
    PAG_DEVICE_STALE,
    PAG_DEVICE_REVOKED,
    PAG_DEVICE_STATES,
};
const char *pag_device_state_word(enum pag_device_state s);
enum pag_err pag_device_state_by_word(struct pag_span word, enum pag_device_state *out);

enum { PAG_WHY_MAX = 200 };

struct pag_device {
    char id[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    char name[PAG_NAME_MAX + 1];
    char mac[13];
    enum pag_protocol protocol;
    enum pag_proof proof;
    struct pag_facts facts;
    int64_t running_since_ms;
    enum pag_device_state state;
    char why[PAG_WHY_MAX + 1];
    bool online;
    int64_t online_ms; /* of the last change */
    int64_t created_ms, enrolled_ms, last_seen_ms, last_poll_ms;
    char pin[PAG_VERSION_MAX + 1]; /* version it is held at, "" : none */
    const char *tags;              /* comma-separated; NULL: none */
    uint8_t cert_serial[20];
    uint8_t cert_serial_n; /* 0: none */
    int64_t cert_not_after_ms;
    int64_t revoked_ms;       /* 0: not revoked */
    uint32_t open_action;     /* action id, 0: none */
    uint32_t commands_queued; /* without a result and not known to have expired */
    uint32_t images_held;     /* rows of history (struct pag_device_image) */
    uint32_t revision;        /* rises with every change: the precondition of intents */
    /* Key inside the last image of ours that it was seen with: it checks the next one with it (not native) */
    bool has_verify_key;
    uint8_t verify_key[PAG_KEY_ID_BYTES];
};

/*
 * Takes what was said into the record: absent facts leave what is there. True when something that is kept
 * changed (so that it must be written). now_ms goes to running_since_ms when the running image changed.
 */
bool pag_device_learn(struct pag_device *d, const struct pag_facts *said, int64_t now_ms);

/* Silence after which a device is called stale: three polls and what clocks and batches need. */
int64_t pag_device_stale_after_ms(uint32_t poll_s);

/* The image that ran when an update began. */
struct pag_device_origin {
    uint8_t sha256[PAG_SHA256_BYTES]; /* zeros: not known */
    const char *version;              /* of the release it is of; "" : of none that is known */
    uint32_t sequence;                /* 0: not known */
};
/*
 * It gave up what it ran on trial and is back on the origin, until its next check says what runs. Nothing
 * when it was never seen on the target: what it said last still holds then.
 */
void pag_device_went_back(struct pag_device *d, const uint8_t target[PAG_SHA256_BYTES],
                          const struct pag_device_origin *origin, int64_t now_ms);

#endif
