#ifndef PAG_SERVER_APP_CHECK_IN_H
#define PAG_SERVER_APP_CHECK_IN_H

#include "core/native.h"
#include "core/trust.h"
#include "server/app/app.h"
#include "server/domain/command.h"
#include "server/domain/device.h"
#include "server/domain/history.h"
#include "server/domain/planner.h"

/* A device asks: every protocol enters here. */

enum pag_check_mode {
    PAG_CHECK_FIRMWARE,   /* may I have a newer image? */
    PAG_CHECK_FILESYSTEM, /* the same for the file system */
    PAG_CHECK_VERSION,    /* only: which version is current for me? */
};

struct pag_check_in {
    enum pag_protocol protocol;
    enum pag_proof proof;
    enum pag_check_mode mode;
    const char *device;  /* id, [0-9a-z-]{1,64} */
    const char *product; /* hex id or name; NULL: the device's. A device of another product: PAG_E_PRODUCT */
    const char *mac;     /* 12 hex digits or NULL */
    const char *address; /* where it comes from, when nothing but its word stands for it; NULL: not said */
    struct pag_facts facts;
    /* An image by the name of a file (domain/file.h); NULL: what mode says. A stand-in is no update: nothing
     * is begun or ended by asking for it. */
    const char *file;
    bool any_name;  /* in its wide sense */
    bool any_space; /* also what does not fit: the client needs that to go another way */
    bool no_gzip;   /* it cannot unpack */
    bool always;    /* also when nothing is new: the client reads no other answer */
    bool has_auth;  /* auth counts instead of the product's legacy_auth */
    enum pag_legacy_auth auth;
    bool only_look; /* HEAD: what the answer would be; nothing is recorded */
    bool has_nonce; /* wants a freshness token */
    uint8_t nonce[PAG_NONCE_BYTES];
};

enum pag_check_verdict {
    PAG_CHECK_NONE,     /* nothing to do: 204, 304 */
    PAG_CHECK_OFFER,    /* image (and manifest, when native) */
    PAG_CHECK_NO_IMAGE, /* the product has no image for this slot: 404 for file systems */
    PAG_CHECK_TEXT,     /* PAG_CHECK_VERSION: version is set */
};

struct pag_check_reply {
    enum pag_check_verdict verdict;
    uint32_t action_id;               /* OFFER; 0: there is none for this image */
    const char *version;              /* OFFER, TEXT */
    const char *image_name;           /* OFFER */
    uint8_t sha256[PAG_SHA256_BYTES]; /* OFFER: of the bytes to serve */
    uint8_t md5[16];                  /* OFFER: of the bytes to serve */
    uint64_t bytes;                   /* OFFER */
    uint32_t serves;                  /* OFFER: how often it has got this image already */
    struct pag_span manifest;         /* OFFER, native */
    struct pag_span permit;           /* OFFER, native: when it leads back */
    bool confirm;                     /* counts as done only when the device says so */
    uint32_t poll_s;
    uint32_t trust_version; /* newest of the product */
    struct pag_span token;  /* freshness token, when asked for */
    uint8_t command_n;
    struct pag_command command[PAG_NATIVE_COMMANDS_MAX];
    enum pag_plan_reason reason;
    const char *why; /* a sentence, for people */
};

/*
 * PAG_OK with *out; PAG_E_NOT_FOUND product or (native) device, PAG_E_PRODUCT, PAG_E_DENIED (revoked, or the
 * product's legacy_auth wants a stronger proof: then PAG_E_UNAUTHENTICATED), PAG_E_BUSY (queue full:
 * 503, legacy 304). Legacy devices are recorded at their first check-in. A poll without news calls done at
 * once and writes nothing.
 */
void pag_app_check_in(struct pag_call *call, const struct pag_check_in *in, struct pag_check_reply *out);

/*
 * The file behind a digest, for the device it was offered to: its open action's image. *fd is the caller's.
 * PAG_E_NOT_FOUND also when it exists but is not for this device; PAG_E_EXPIRED when its release has been
 * withdrawn since.
 */
enum pag_err pag_app_blob_open(struct pag_call *call, const char *device,
                               const uint8_t sha256[PAG_SHA256_BYTES], int *fd, uint64_t *bytes);

/* The file of an offer that this very call was given. *fd is the caller's. */
enum pag_err pag_app_offer_open(struct pag_call *call, const struct pag_check_reply *offer, int *fd,
                                uint64_t *bytes);

/*
 * The detached signature of a file, as "openssl dgst -sha256 -sign" made it, of at most 512 bytes: by the key
 * that the device's running image holds when there is one by it, else the newest. PAG_E_NOT_FOUND.
 * blob: entitled as for pag_app_blob_open. file: for heads that have served the file by other means; device
 * may be NULL.
 */
enum pag_err pag_app_blob_signature(struct pag_call *call, const char *device,
                                    const uint8_t sha256[PAG_SHA256_BYTES], struct pag_span *signature);
enum pag_err pag_app_file_signature(struct pag_call *call, const char *device, const char *product,
                                    const uint8_t sha256[PAG_SHA256_BYTES], struct pag_span *signature);

/* What became of an offer's bytes (legacy). */
struct pag_transfer {
    const char *device;
    uint32_t action_id; /* of the offer; 0: none */
    uint8_t sha256[PAG_SHA256_BYTES];
    const char *version;
    bool complete; /* the device has all of them */
    bool looked;   /* not complete: such a client reads the header and goes, which is no failure */
    bool followed; /* as pag_app_transfer_begins has said */
};
/* An offer is being handed out; serves: of the offer. Until it is told how it ended it counts as a serve. */
bool pag_app_transfer_begins(struct pag_app_thread *thread, const struct pag_transfer *t, uint32_t serves);
/* A transfer ended: complete counts as a serve, and as "installing" of the action that wants this image, as
 * nothing else will say so. No done; written in its own time. *t is copied. */
void pag_app_transfer(struct pag_app_thread *thread, const struct pag_transfer *said);

/* A trust set of the device's product: raw COSE into the arena. PAG_E_NOT_FOUND. */
enum pag_err pag_app_trust_get(struct pag_call *call, const char *product, uint32_t version,
                               struct pag_span *cose);

#endif
