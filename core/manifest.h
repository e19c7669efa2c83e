#ifndef PAG_CORE_MANIFEST_H
#define PAG_CORE_MANIFEST_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"
#include "core/trust.h"

/*
 * Release manifest, format 1: COSE_Sign1 (RFC 9052, tag 18), ES256, payload a deterministic CBOR map.
 * docs/spec/manifest.md. At most PAG_MANIFEST_MAX bytes whole; encoder and decoder both enforce it.
 */

enum {
    PAG_MANIFEST_MAX = 512,
    PAG_TRANSPORTS_MAX = 3,
    PAG_DEPENDENCIES_MAX = 2,
    PAG_SEQUENCE_STEP_MAX = 1 << 20, /* M4, fast-forward */
};

enum pag_payload_kind {
    PAG_KIND_FIRMWARE = 0,
    PAG_KIND_FILESYSTEM = 1,
    PAG_KIND_CONFIG = 2,
    PAG_KIND_TRUST = 3,
    PAG_KIND_AGENT_DATA = 4,
    PAG_KIND_DELTA_SUPPLEMENT = 5,
    PAG_KIND_ROLLBACK_PERMIT = 6,
    PAG_KIND_COMMAND = 7,
};

struct pag_transport { /* field 13: encoding, base digest prefix, wire digest, wire size */
    uint8_t encoding;
    uint8_t base[16];
    uint8_t digest[32];
    uint32_t size;
};

struct pag_dependency { /* field 18 */
    char image[PAG_IMAGE_NAME_MAX + 1];
    uint32_t min_sequence;
    uint32_t max_sequence;
};

struct pag_conditions { /* field 16; has_* bit i = key i+1 present */
    uint8_t has;
    uint8_t battery_min_pct;
    uint16_t heap_min_kib;
    int8_t rssi_min_dbm;
    uint32_t agent_min;
    uint32_t loader_min;
    uint8_t temp_max_c;
    bool external_power;
};

struct pag_hardware_id {
    uint8_t n;
    uint8_t id[PAG_HARDWARE_ID_MAX];
};

struct pag_manifest {
    enum pag_payload_kind kind;
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    uint8_t hardware_n;
    struct pag_hardware_id hardware[PAG_HARDWARE_IDS_MAX];
    enum pag_chip chip;
    char image[PAG_IMAGE_NAME_MAX + 1];
    char version[PAG_VERSION_MAX + 1];
    bool has_build;
    uint8_t build[16];
    uint32_t epoch;    /* security epoch, <= 65536 */
    uint32_t sequence; /* counter of the product's releases, below 2^32 */
    uint8_t digest[PAG_SHA256_BYTES];
    uint32_t size;
    uint8_t transport_n;
    struct pag_transport transport[PAG_TRANSPORTS_MAX];
    uint64_t issued_at;  /* Unix s */
    uint64_t expires_at; /* Unix s, 0 = never */
    bool has_conditions;
    struct pag_conditions conditions;
    bool has_stone;
    uint32_t stone_sequence;
    uint32_t stone_epoch;
    uint8_t dependency_n;
    struct pag_dependency dependency[PAG_DEPENDENCIES_MAX];
    uint32_t trust_version_min;
    bool has_layout;
    uint8_t layout[4];
    bool has_set;
    uint8_t set[PAG_SHA256_BYTES];
    uint8_t inner_scheme;
    uint8_t inner_key[PAG_KEY_ID_BYTES];
    /* of the envelope */
    uint8_t key_id[PAG_KEY_ID_BYTES];
};

/* Signs the SHA-256 of a COSE Sig_structure. Hosts only; ctx is the signer's. out: r||s. */
typedef enum pag_err (*pag_sign_fn)(void *ctx, const uint8_t digest[PAG_SHA256_BYTES],
                                    uint8_t out[PAG_P256_SIG_BYTES]);

/* Writes the signed object. m->key_id names the signer. PAG_E_SPACE over 512 bytes, PAG_E_RANGE for a bad
 * field. */
enum pag_err pag_manifest_sign(const struct pag_crypto *crypto, const struct pag_manifest *m,
                               pag_sign_fn sign, void *ctx, struct pag_buf *out, struct pag_fail *why);

/*
 * Parses without checking the signature: for display and for looking up the key. Strict as the spec. The
 * struct is too large for a device's stack, so *out is filled in place; it is all zero after a failure.
 */
enum pag_err pag_manifest_parse(struct pag_span cose, struct pag_manifest *out, struct pag_fail *why);

/*
 * Parses and verifies against trust: key listed for release with the role of the manifest's kind and its
 * epoch range. PAG_E_SIGNATURE otherwise; PAG_E_PRODUCT for a trust set of another product; PAG_E_UNSUPPORTED
 * for a release threshold above 1. *out is all zero after a failure.
 */
enum pag_err pag_manifest_verify(const struct pag_crypto *crypto, struct pag_span cose,
                                 const struct pag_trust_set *trust, struct pag_manifest *out,
                                 struct pag_fail *why);

/* Another image of the device, for dependencies (field 18). */
struct pag_manifest_installed {
    const char *image;
    uint32_t sequence; /* that it has, or will have once the set is installed */
};

/* What a device is and holds, to judge a verified manifest against. */
struct pag_manifest_target {
    enum pag_payload_kind kind; /* that the slot takes; 0 is firmware */
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    struct pag_hardware_id hardware;
    enum pag_chip chip;
    const char *image; /* name of the slot being written ("firmware") */
    uint32_t epoch;    /* security epoch in force */
    uint32_t sequence; /* of the installed image, 0 = none */
    uint32_t trust_version;
    uint32_t slot_bytes; /* room for the payload */
    uint64_t now_unix_s; /* clock floor, 0 = unknown */
    bool has_layout;
    uint8_t layout[4];
    /* digest of the installed image; an equal manifest is PAG_E_EXISTS (nothing to do) */
    uint8_t installed[PAG_SHA256_BYTES];
    /* verified rollback permit, or NULL: allows sequence == permit->sequence although lower
     * (docs/spec/manifest.md) */
    const struct pag_manifest *permit;
    /*
     * What the device measures now, against field 16: battery %, free heap KiB, RSSI, agent and loader
     * version, temperature, external power. A condition on something not measured (bit of has clear, or NULL)
     * is not met.
     */
    const struct pag_conditions *state;
    const struct pag_manifest_installed *other;
    uint8_t other_n;
};

/*
 * The device's rules, cheap first (docs/spec/manifest.md 5). PAG_OK, or: PAG_E_UNSUPPORTED kind,
 * PAG_E_PRODUCT, PAG_E_HARDWARE, PAG_E_NOT_FOUND image name, PAG_E_STALE trust set or stepping stone,
 * PAG_E_ROLLBACK, PAG_E_EXISTS, PAG_E_RANGE fast-forward, PAG_E_EXPIRED, PAG_E_CONDITION, PAG_E_CONFLICT
 * dependency, PAG_E_SPACE.
 */
enum pag_err pag_manifest_admit(const struct pag_manifest *m, const struct pag_manifest_target *t,
                                struct pag_fail *why);

#endif
